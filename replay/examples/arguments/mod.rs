//! What the programs that train have in common: how a training run is asked for, and how a failure
//! is said.

use std::error::Error;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use interloom::training::TrainingMode;

/// How a training run is opened.
#[derive(Args)]
pub(crate) struct TrainingArguments {
    /// The folder of the training run; without it nothing is recorded.
    #[arg(long)]
    journal: Option<PathBuf>,
    /// Goes on with the run in the folder, from its last checkpoint.
    #[arg(long, requires = "journal", conflicts_with_all = ["verify", "fork"])]
    resume: bool,
    /// Makes some steps of the run again, such as `137..150`, and compares them.
    #[arg(long, requires = "journal", conflicts_with = "fork", value_parser = steps)]
    verify: Option<Range<u64>>,
    /// Forks the run at a step, into another folder.
    #[arg(long, requires_all = ["journal", "into"])]
    fork: Option<u64>,
    /// The folder of the fork.
    #[arg(long, requires = "fork")]
    into: Option<PathBuf>,
}

impl TrainingArguments {
    /// Returns the mode that is asked for.
    pub(crate) fn mode(&self) -> TrainingMode {
        let Some(folder) = self.journal.clone() else {
            return TrainingMode::Plain;
        };
        match (self.verify.clone(), self.fork, self.into.clone()) {
            (Some(steps), ..) => TrainingMode::Verify { folder, steps },
            (None, Some(step), Some(into)) => TrainingMode::Fork {
                from: folder,
                step,
                into,
            },
            _ if self.resume => TrainingMode::Resume(folder),
            _ => TrainingMode::Record(folder),
        }
    }

    /// Says which steps were verified, and returns whether any were.
    pub(crate) fn say_verified(&self) -> bool {
        if let Some(Range { start, end }) = self.verify {
            println!(
                "steps {start} to {} are the recorded ones, bit for bit",
                end - 1
            );
        }
        self.verify.is_some()
    }
}

fn steps(text: &str) -> Result<Range<u64>, String> {
    let parts = text
        .split_once("..")
        .ok_or("two numbers with `..` between")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    let range = number(parts.0)?..number(parts.1)?;
    if range.is_empty() {
        return Err("there is no step in it".to_owned());
    }
    Ok(range)
}

/// Ends the program; a failure is said with its code, which `interloom explain` knows.
pub(crate) fn ended(result: Result<(), Box<dyn Error>>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    match error.downcast_ref::<interloom::Error>() {
        Some(known) => eprintln!("error[{}]: {known}", known.code()),
        None => eprintln!("error: {error}"),
    }
    ExitCode::FAILURE
}
