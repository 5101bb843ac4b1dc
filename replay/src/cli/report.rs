//! How results and errors are shown.

use std::fmt;
use std::io::{self, Write};

use anstream::eprintln;
use anstyle::{AnsiColor, Style};
use interloom::Conclusion;

use super::Ending;

const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();

/// Writes a line to standard output, as `println!` does, but without a panic where nobody reads it.
macro_rules! outln {
    () => { $crate::cli::report::line(format_args!("")) };
    ($($text:tt)*) => { $crate::cli::report::line(format_args!($($text)*)) };
}
pub(super) use outln;

/// Writes a line to standard output; ends the process if that is closed, as a reader such as `head` does.
pub(super) fn line(text: fmt::Arguments<'_>) {
    let Err(reason) = writeln!(anstream::stdout(), "{text}") else {
        return;
    };
    if reason.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    let error = interloom::Error::Output {
        path: "standard output".to_owned(),
        reason: reason.to_string(),
    };
    self::error(error.code(), &error.to_string());
    std::process::exit(5);
}

/// Shows an error with its code, and where to read more.
pub(super) fn error(code: &str, message: &str) {
    eprintln!("{RED}error[{code}]{RED:#}: {message}");
    eprintln!("  `interloom explain {code}` says more");
}

/// A number of things, such as `1 run` and `2 runs`.
pub(super) fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// Shows a heading.
pub(super) fn heading(text: &str) {
    outln!("{BOLD}{text}{BOLD:#}");
}

/// Shows what a session came to.
pub(super) fn conclusion(conclusion: &Conclusion) -> Ending {
    match conclusion {
        Conclusion::Recorded {
            exchanges,
            digest,
            bytes,
        } => {
            outln!("recorded {exchanges} exchanges in {bytes} bytes, digest {digest}");
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
            }
            if let Some(environment) = environment {
                outln!("{environment}");
            }
            if conclusion.is_identical() {
                outln!("{GREEN}bit-identical{GREEN:#}, {exchanges} exchanges, digest {digest}");
                outln!("proves {proof}");
                return Ending::Done;
            }
            if divergence.is_none() {
                outln!(
                    "{exchanges} exchanges are equal, but what they are made from is not: this is no proof"
                );
            }
            Ending::Diverged
        }
        _ => Ending::Done,
    }
}
