//! The command line of the program `interloom`: one file for each command.
//!
//! It is no part of the interface. The program is [`main`], and the fuzz targets read arguments as it does.

mod bisect;
mod causal_trace;
mod check;
mod conform;
mod demo;
mod diff;
mod explain;
mod explore;
mod export;
mod file;
mod keep;
mod progress;
mod races;
mod recover;
mod replay;
mod report;
mod run;
mod show;
mod sites;
mod step;
mod why;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use interloom_engine::AtFault;

use crate::{Error, codes};

/// Open up a neural network while it runs, and prove bit for bit what happened.
///
/// Exit codes: 0 done or identical, 1 failed, 2 wrong usage, 3 recovered with loss, 4 diverged, 5 refused by the environment.
#[derive(Parser)]
#[command(name = "interloom", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Look into a small trained model: which head does what? Records, and replays in a new process.
    Demo(demo::Arguments),
    /// Run an experiment file: a model, inputs and programs, written by hand.
    Run(run::Arguments),
    /// Tell whether the order of the mediators makes a difference in an experiment file.
    Explore(explore::Arguments),
    /// Make the runs of a journal again, and compare every exchange.
    Replay(replay::Arguments),
    /// Read a journal to its end, and say what it holds and what is wrong with it.
    Check(check::Arguments),
    /// Print the exchanges of a journal.
    Show(show::Arguments),
    /// Show where two journals part.
    Diff(diff::Arguments),
    /// Find the first exchange at which two journals, builds, devices or orders part.
    Bisect(bisect::Arguments),
    /// Go through a journal, forwards and back.
    Step(step::Arguments),
    /// Name what only the order of the mediators decided in a recorded run.
    Races(races::Arguments),
    /// Follow a value back to where it came from.
    Why(why::Arguments),
    /// Write a journal, or the tensors in it, for other programs.
    Export(export::Arguments),
    /// Make a whole journal of the good beginning of one that was cut or damaged.
    Recover(recover::Arguments),
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
    /// What was looked at is not good, and that has been said.
    Failed,
    /// Something was recovered, and something was lost.
    Lossy,
    Diverged,
    /// What the command could not do was the user's to know.
    Usage,
    /// As a process that the command started has ended.
    Child(u8),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    log_if_asked();
    let cli = read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let ending = match cli.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Explore(arguments) => explore::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Show(arguments) => show::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Bisect(arguments) => bisect::run(&arguments),
        Command::Step(arguments) => step::run(&arguments),
        Command::Races(arguments) => races::run(&arguments),
        Command::Why(arguments) => why::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Recover(arguments) => recover::run(&arguments),
        Command::CausalTrace(arguments) => causal_trace::run(&arguments),
        Command::Conform(arguments) => conform::run(&arguments),
        Command::Sites(arguments) => sites::run(&arguments),
        Command::Explain(arguments) => Ok(explain::run(&arguments)),
    };
    ending.map_or_else(|error| fail(&error), Ending::exit_code)
}

/// Reads arguments, the first of which is the name of the program.
///
/// # Errors
///
/// Fails with what is to be shown: what is wrong with them, the help or the version.
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(arguments)
}

impl Ending {
    fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Lossy => 3,
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
