//! Readers that go away, and disks that are full.

use std::process::Command;

use interloom_journal::Journal;

use crate::{Ended, Place, plain, program};

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let place = Place::new();
    for arguments in [
        &["explain"][..],
        &["sites", "--model", "induction"],
        &["explain", "E002"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = program(&place.path(""));
        let child = command.args(arguments).stdout(writer).output().unwrap();
        assert_eq!(Ended::from(child).with(0).err, "");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let place = Place::new();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = program(&place.path(""));
    let ended: Ended = command.arg("explain").stdout(full).output().unwrap().into();
    let message = ended.error("E094", 5);
    assert!(
        message.starts_with("cannot write standard output: "),
        "{message}"
    );
}

/// The system stops the file from growing, which to a writer is what a full disk is.
#[cfg(unix)]
#[test]
fn a_journal_that_cannot_grow_is_an_error_and_keeps_what_it_has() {
    let place = Place::new();
    let mut shell = plain(Command::new("sh"), &place.path(""));
    // The head has the experiment's text, and is 15 KB; the limit is in blocks of 512 bytes.
    // Without the trap the system ends the process instead of refusing the write.
    let script = "trap '' XFSZ; ulimit -f 36; exec \"$0\" demo --journal cut.ilj";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_interloom")]);
    let message = Ended::from(shell.output().unwrap()).error("E061", 5);
    assert!(
        message.starts_with("could not write to cut.ilj: "),
        "{message}"
    );
    let (journal, error) = Journal::load_prefix(place.path("cut.ilj")).unwrap();
    assert_eq!(error.unwrap().code(), "E065");
    assert!(journal.footer.is_none());
}
