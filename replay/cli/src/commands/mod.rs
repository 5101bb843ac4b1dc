//! The command line of the program `interloom`: one file for each command.

mod attribute;
mod bisect;
mod causal_trace;
mod check;
mod comparison;
mod demo;
mod diff;
mod effects;
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
mod tokens;
mod trace;
mod training;
mod why;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use interloom_engine::AtFault;

use crate::CliError;

/// Open up a neural network while it runs, and prove bit for bit what happened.
///
/// Exit codes: 0 done or identical, 1 failed, 2 wrong usage, 3 recovered with loss, 4 diverged, 5
/// refused by the environment.
///
/// What is named and is not there, or is not what it should be (a folder, an empty, cut or damaged
/// file, another format), is a failure: 1. The environment refuses with 5: a file that it does not
/// let be read, whatever the file is for; a place that cannot be written, be it that its folder is
/// not there; a device or a network that is not there; a journal of a newer format.
#[derive(Parser)]
#[command(name = "interloom", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What each command is for stands with its arguments.
#[derive(Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Run(run::Arguments),
    Explore(explore::Arguments),
    Replay(replay::Arguments),
    Check(check::Arguments),
    Show(show::Arguments),
    Diff(diff::Arguments),
    Bisect(bisect::Arguments),
    Step(step::Arguments),
    Races(races::Arguments),
    Why(why::Arguments),
    Export(export::Arguments),
    Recover(recover::Arguments),
    CausalTrace(causal_trace::Arguments),
    Attribute(attribute::Arguments),
    Sites(sites::Arguments),
    Tokens(tokens::Arguments),
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
    hush_panics_that_are_errors();
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
        Command::Attribute(arguments) => attribute::run(&arguments),
        Command::Sites(arguments) => sites::run(&arguments),
        Command::Tokens(arguments) => tokens::run(&arguments),
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
fn fail(error: &CliError) -> ExitCode {
    let code = error.code();
    match error {
        CliError::Session(interloom::Error::Journal(problem)) => report::problem(problem),
        error => report::error(code, &error.to_string()),
    }
    match error.at_fault() {
        AtFault::Environment => ExitCode::from(5),
        _ => ExitCode::FAILURE,
    }
}

/// Shows no panic of a model that ends as an error: that says what happened, and where.
fn hush_panics_that_are_errors() {
    let shown = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !interloom_backends::panics_are_caught() {
            shown(panic);
        }
    }));
}

/// Writes spans and events to standard error if `INTERLOOM_LOG` says which, such as
/// `interloom=trace`.
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
