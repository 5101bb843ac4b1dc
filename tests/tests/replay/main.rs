//! Recording and replaying, proved: what is equal is called identical, what differs is found and
//! named.
//!
//! The experiment is the same code each time ([`plan::make`]); a [`plan::Plan`] says what is
//! different about it. Its model computes with small fractions of powers of two, so that digests
//! are the same on every machine.

mod changed;
mod damaged;
mod devices;
mod driven;
mod full;
mod gradients;
mod identical;
mod known;
mod modes;
mod operations;
mod padded;
mod plan;
mod planted;
mod rows;
mod sittings;
mod skips;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use interloom::{Conclusion, Mode};
use interloom_journal::Digest;
use interloom_journal::divergence::Divergence;
use plan::{Plan, make};

/// A journal in a folder of its own, which is removed with it.
struct Recording {
    folder: tempfile::TempDir,
    conclusion: Conclusion,
}

impl Recording {
    fn of(plan: &Plan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mode = Mode::Record(folder.path().join("a.ilj"));
        let conclusion = make(mode, plan).unwrap();
        Self { folder, conclusion }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a.ilj")
    }

    /// Makes another plan against this recording.
    fn verify(&self, plan: &Plan) -> Conclusion {
        make(Mode::Verify(self.path()), plan).unwrap()
    }
}

/// Hides the digests of both heads, which are others on every machine, but for whether they are
/// equal.
fn without_heads(mut divergence: Divergence) -> Divergence {
    let [recorded, live] = &mut divergence.made;
    let (recorded, live) = (recorded.as_mut().unwrap(), live.as_mut().unwrap());
    let is_same = recorded.id == live.id;
    recorded.id = Digest::ZERO;
    live.id = Digest([if is_same { 0 } else { 1 }; 32]);
    divergence
}

/// Runs one ignored test of this program in a process of its own, with the journal's path in its
/// environment.
fn in_a_new_process(test: &str, journal: &Path) -> Output {
    child(
        Command::new(std::env::current_exe().unwrap()),
        test,
        journal,
    )
}

const JOURNAL: &str = "INTERLOOM_TEST_JOURNAL";

fn child(mut command: Command, test: &str, journal: &Path) -> Output {
    let arguments = ["--exact", test, "--ignored", "--nocapture"];
    let command = command.args(arguments).env(JOURNAL, journal);
    command.output().unwrap()
}

/// The journal that the parent process speaks of; without a parent there is none.
fn journal_of_the_parent() -> Option<PathBuf> {
    std::env::var_os(JOURNAL).map(PathBuf::from)
}
