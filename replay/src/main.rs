//! The program `interloom`: look into a model, record what happened, and prove it.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
