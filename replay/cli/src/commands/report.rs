//! How results and errors are shown.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use anstream::eprintln;
use anstyle::{AnsiColor, Style};
use interloom::Conclusion;
use interloom_backends::ReuseStats;
use interloom_journal::divergence::{Divergence, DivergenceClass, DivergenceSide};
use interloom_journal::{JournalError, plain};

use super::Ending;
use crate::CliError;
use crate::experiment::ExperimentError;
pub(super) use interloom_journal::count;

const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();

/// Writes a line to standard output, as `println!` does, but without a panic where the reader is
/// gone.
macro_rules! outln {
    () => { $crate::commands::report::line(format_args!("")) };
    ($($text:tt)*) => { $crate::commands::report::line(format_args!($($text)*)) };
}
pub(super) use outln;

/// Writes a line to standard output; ends the process if that is closed, as a reader such as `head`
/// does.
pub(super) fn line(text: fmt::Arguments<'_>) {
    let Err(reason) = writeln!(anstream::stdout(), "{text}") else {
        return;
    };
    if reason.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    let error = cannot_write(Path::new("standard output"), reason);
    self::error(error.code(), &error.to_string());
    std::process::exit(5);
}

/// Shows an error with its code, and where to read more.
pub(super) fn error(code: &str, message: &str) {
    eprintln!("{RED}error[{code}]{RED:#}: {message}");
    eprintln!("  `interloom explain {code}` says more");
}

/// Shows what may go wrong.
pub(super) fn warning(message: &str) {
    eprintln!("{YELLOW}warning{YELLOW:#}: {message}");
}

/// Shows what is wrong with a journal, and what can be done with one that ends early.
pub(super) fn problem(problem: &JournalError) {
    error(problem.code(), &problem.to_string());
    if let JournalError::Torn { frames: 1.., .. } = problem {
        eprintln!("  `interloom recover` makes a whole journal of what is good");
    }
}

/// How a command ends that has done what a journal's good beginning allows: `torn` says that there
/// was more.
pub(super) fn of_good_beginning(
    done: Result<Ending, CliError>,
    torn: Option<JournalError>,
) -> Result<Ending, CliError> {
    match (done, torn) {
        (done, None) => done,
        (Ok(_), Some(torn)) => Err(torn.into()),
        (Err(failed), Some(torn)) => {
            // What is missing may be in what is lost.
            error(failed.code(), &failed.to_string());
            Err(torn.into())
        }
    }
}

/// The error of something that cannot be written.
pub(super) fn cannot_write(path: &Path, reason: impl ToString) -> CliError {
    ExperimentError::Output {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
    .into()
}

/// Shows a heading, which may be a name.
pub(super) fn heading(text: &str) {
    let text = plain(text);
    outln!("{BOLD}{text}{BOLD:#}");
}

/// The commands that go on from a divergence: both sides at the exchange, and where its value came
/// from.
///
/// `first` is the journal of the first side, `second` that of the second, if that is one too.
pub(super) fn next(divergence: &Divergence, first: &Path, second: Option<&Path>) -> Vec<String> {
    let mut commands = Vec::new();
    let sides = [
        (Some(first), &divergence.recorded),
        (second, &divergence.live),
    ];
    for (journal, side) in sides {
        let (Some(journal), DivergenceSide::Exchange(line)) = (journal, side) else {
            continue;
        };
        let (journal, index) = (word(journal), line.index);
        commands.push(format!("interloom step {journal} --at {index}"));
        // Where a value is not the same, the question is who made it.
        let is_value = matches!(
            divergence.class,
            DivergenceClass::Value | DivergenceClass::Environment
        );
        if is_value && line.value.is_some() {
            commands.push(format!("interloom why {journal} --exchange {index}"));
        }
    }
    commands
}

/// A path as one word of a command line.
fn word(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |character: char| character.is_alphanumeric() || "._-/:\\".contains(character);
    match path.chars().all(is_plain) {
        true => path,
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

/// Shows commands that go on from a report.
pub(super) fn help(commands: &[String]) {
    for command in commands {
        outln!("  help: {command}");
    }
}

/// What a session has recorded, for programs.
pub(super) fn recorded_json(conclusion: &Conclusion) -> serde_json::Value {
    match conclusion {
        Conclusion::Recorded {
            exchanges,
            digest,
            bytes,
            ..
        } => {
            serde_json::json!({ "exchanges": exchanges, "bytes": bytes, "digest": digest.to_string() })
        }
        _ => serde_json::Value::Null,
    }
}

/// Shows what a session came to that recorded, or compared with, the journal at `path`.
pub(super) fn conclusion(conclusion: &Conclusion, path: &Path) -> Ending {
    match conclusion {
        Conclusion::Recorded {
            exchanges,
            digest,
            bytes,
            effort,
        } => {
            let exchanges = count(*exchanges, "exchange");
            outln!("recorded {exchanges} in {bytes} bytes, digest {digest}");
            if effort.known > 0 {
                let ReuseStats { computed, known } = effort;
                outln!("modules: {computed} calls computed, {known} taken from the journal");
            }
            Ending::Done
        }
        Conclusion::Verified {
            proof,
            exchanges,
            digest,
            divergence,
            environment,
        } => {
            if let Some(divergence) = divergence {
                outln!("{divergence}");
                help(&next(divergence, path, None));
            }
            if let Some(environment) = environment {
                outln!("{environment}");
            }
            let equal = count(*exchanges, "exchange");
            if conclusion.is_identical() {
                outln!("{GREEN}bit-identical{GREEN:#}, {equal}, digest {digest}");
                outln!("proves {proof}");
                return Ending::Done;
            }
            if divergence.is_none() {
                let are = if *exchanges == 1 { "is" } else { "are" };
                outln!("{equal} {are} equal, but what they are made from is not: this is no proof");
            }
            Ending::Diverged
        }
        _ => Ending::Done,
    }
}
