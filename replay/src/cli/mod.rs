//! The command line: one file for each command.

mod causal_trace;
mod conform;
mod demo;
mod explain;
mod progress;
mod replay;
mod report;
mod sites;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use interloom::{Error, codes};
use interloom_engine::AtFault;

/// Open up a neural network while it runs, and prove bit for bit what happened.
///
/// Exit codes: 0 done or identical, 1 failed, 2 wrong usage, 4 the replay diverged, 5 refused by the environment.
#[derive(Parser)]
#[command(name = "interloom", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Look into a small trained model: which head does what? Records, and replays in a new process.
    Demo(demo::Arguments),
    /// Make the runs of a journal again, and compare every exchange.
    Replay(replay::Arguments),
    /// Find out where in a language model, and at which token, an answer comes from.
    CausalTrace(causal_trace::Arguments),
    /// Run recorded scenarios of a reference interleaver, and compare what happens.
    Conform(conform::Arguments),
    /// List the sites of a model, with their TransformerLens names.
    Sites(sites::Arguments),
    /// Say what an error code means and what to do.
    Explain(explain::Arguments),
}

/// How a command ends that does not fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    Done,
    Diverged,
    /// Something that the command was asked for could not be done, and it has said what.
    Failed,
    /// What the command could not do was the user's to know.
    Usage,
    /// As a process that the command started has ended.
    Child(u8),
}

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    log_if_asked();
    let cli = Cli::parse();
    let ending = match cli.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::CausalTrace(arguments) => causal_trace::run(&arguments),
        Command::Conform(arguments) => conform::run(&arguments),
        Command::Sites(arguments) => sites::run(&arguments),
        Command::Explain(arguments) => Ok(explain::run(&arguments)),
    };
    ending.map_or_else(|error| fail(&error), Ending::exit_code)
}

impl Ending {
    fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Diverged => 4,
            Self::Child(code) => code,
        })
    }
}

/// Shows an error, and returns the exit code that goes with it.
fn fail(error: &Error) -> ExitCode {
    let code = error.code();
    report::error(code, &error.to_string());
    let at_fault = codes()
        .into_iter()
        .find(|known| known.code == code)
        .map(|known| known.at_fault);
    match at_fault {
        Some(AtFault::Environment) => ExitCode::from(5),
        _ => ExitCode::FAILURE,
    }
}

/// Writes spans and events to standard error if `INTERLOOM_LOG` says which, such as `interloom=trace`.
fn log_if_asked() {
    use tracing_subscriber::EnvFilter;

    if let Ok(filter) = EnvFilter::try_from_env("INTERLOOM_LOG") {
        let subscriber = tracing_subscriber::fmt();
        subscriber
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
    }
}
