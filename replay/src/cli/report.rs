//! How results and errors are shown.

use anstream::{eprintln, println};
use anstyle::{AnsiColor, Style};
use interloom::Conclusion;

use super::Ending;

const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();

/// Shows an error with its code, and where to read more.
pub(super) fn error(code: &str, message: &str) {
    eprintln!("{RED}error[{code}]{RED:#}: {message}");
    eprintln!("  `interloom explain {code}` says more");
}

/// Shows a heading.
pub(super) fn heading(text: &str) {
    println!("{BOLD}{text}{BOLD:#}");
}

/// Shows what a session came to.
pub(super) fn conclusion(conclusion: &Conclusion) -> Ending {
    match conclusion {
        Conclusion::Recorded {
            exchanges,
            digest,
            bytes,
        } => {
            println!("recorded {exchanges} exchanges in {bytes} bytes, digest {digest}");
            Ending::Done
        }
        Conclusion::Verified {
            exchanges,
            digest,
            divergence,
            environment,
        } => {
            if let Some(divergence) = divergence {
                println!("{divergence}");
            }
            if let Some(environment) = environment {
                println!("{environment}");
            }
            if conclusion.is_identical() {
                println!("{GREEN}bit-identical{GREEN:#}, {exchanges} exchanges, digest {digest}");
                return Ending::Done;
            }
            if divergence.is_none() {
                println!(
                    "{exchanges} exchanges are equal, but what they are made from is not: this is no proof"
                );
            }
            Ending::Diverged
        }
        _ => Ending::Done,
    }
}
