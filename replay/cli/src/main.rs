//! The program `interloom`: look into a model, record what happened, and prove it.

use std::process::ExitCode;

fn main() -> ExitCode {
    interloom_cli::main()
}
