//! A journal that is damaged, cut, or cannot be written any more: always an error, never another
//! result.

use std::fs;
use std::process::Command;

use interloom::{Conclusion, Error, Mode};
use interloom_journal::{Journal, JournalReader};

use crate::identical::assert_same;
use crate::plan::{Plan, make};
use crate::{Recording, child, in_a_new_process, journal_of_the_parent};

/// A small recording, and what it says.
fn small() -> (Recording, Vec<u8>, Plan) {
    let plan = Plan {
        runs: 0..1,
        ..Plan::default()
    };
    let recording = Recording::of(&plan);
    let bytes = fs::read(recording.path()).unwrap();
    (recording, bytes, plan)
}

/// Verifies a recording whose file has these bytes instead.
fn verify_bytes(recording: &Recording, bytes: &[u8], plan: &Plan) -> Result<Conclusion, Error> {
    fs::write(recording.path(), bytes).unwrap();
    make(Mode::Verify(recording.path()), plan)
}

#[track_caller]
fn assert_refused(result: Result<Conclusion, Error>, what: &str) -> String {
    match result {
        Err(Error::Journal(error)) => error.code().to_owned(),
        other => panic!("{what} was not noticed: {other:?}"),
    }
}

#[test]
fn a_flipped_bit_is_an_error_wherever_it_is() {
    let (recording, bytes, plan) = small();
    let mut flipped = bytes.clone();
    let mut flip = |bit: usize| {
        flipped[bit / 8] ^= 1 << (bit % 8);
        let result = verify_bytes(&recording, &flipped, &plan);
        flipped[bit / 8] = bytes[bit / 8];
        assert_refused(result, &format!("bit {bit} of {}", bytes.len() * 8))
    };
    // One bit of each byte, another one each time; all bits of the preamble and of the last frame.
    let mut codes: Vec<String> = (0..bytes.len())
        .map(|byte| flip(byte * 8 + byte % 8))
        .collect();
    let ends = (0..32 * 8).chain((bytes.len() - 64) * 8..bytes.len() * 8);
    codes.extend(ends.map(&mut flip));
    codes.sort();
    codes.dedup();
    for code in codes {
        assert!(["E062", "E063", "E064", "E065"].contains(&&*code), "{code}");
    }
    assert_same(
        &recording.conclusion,
        &verify_bytes(&recording, &bytes, &plan).unwrap(),
    );
}

#[test]
fn a_cut_is_an_error_unless_nothing_but_the_footer_is_gone() {
    let (recording, bytes, plan) = small();
    let reader = JournalReader::open(recording.path()).unwrap();
    let footer = reader.map(|item| item.unwrap().0.offset).last().unwrap() as usize;
    for cut in 0..bytes.len() {
        let result = verify_bytes(&recording, &bytes[..cut], &plan);
        if cut == footer {
            assert_same(&recording.conclusion, &result.unwrap());
            continue;
        }
        match result {
            // After the head, before the run: a recording without runs.
            Ok(conclusion) => {
                let journal = Journal::load(recording.path()).unwrap();
                assert!(
                    journal.runs.is_empty() && !conclusion.is_identical(),
                    "cut at {cut}"
                );
            }
            result => {
                let code = assert_refused(result, &format!("the cut at {cut}"));
                assert_eq!(code, if cut < 8 { "E062" } else { "E065" }, "cut at {cut}");
            }
        }
    }
}

#[test]
fn a_journal_that_goes_away_is_an_error() {
    let (recording, _, plan) = small();
    let missing = recording.path().with_extension("gone");
    let result = make(Mode::Verify(missing), &plan);
    assert_eq!(assert_refused(result, "no journal"), "E060");
    let folder = Mode::Record(recording.folder.path().to_owned());
    assert_eq!(assert_refused(make(folder, &plan), "a folder"), "E070");
    let nowhere = Mode::Record(recording.path().join("below a file"));
    assert_eq!(assert_refused(make(nowhere, &plan), "no folder"), "E061");
}

#[test]
fn recording_replaces_nothing_but_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thesis.txt");
    fs::write(&path, "chapter one").unwrap();
    let result = make(Mode::Record(path.clone()), &Plan::default());
    assert_eq!(assert_refused(result, "another file"), "E070");
    assert_eq!(fs::read_to_string(&path).unwrap(), "chapter one");
}

/// Bytes that a file may have in a process whose parent has set a limit, as `ulimit -f` counts.
const LIMIT_BLOCKS: u64 = 4;

/// The system stops a file from growing, which to a writer is what a full disk is.
#[cfg(unix)]
#[test]
fn a_journal_that_cannot_grow_is_an_error_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("cut.ilj");
    let mut shell = Command::new("sh");
    // Without the trap the system ends the process instead of refusing the write.
    let script = format!("trap '' XFSZ; ulimit -f {LIMIT_BLOCKS}; exec \"$0\" \"$@\"");
    shell
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap());
    let output = child(shell, "damaged::child_records_under_a_limit", &journal);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("refused: E061"), "{text}");

    let (journal, error) = Journal::load_prefix(&journal).unwrap();
    assert_eq!(error.expect("the rest is missing").code(), "E065");
    let whole = Journal::load(Recording::of(&many_runs()).path()).unwrap();
    let (kept, all) = (journal.exchanges().count(), whole.exchanges().count());
    assert!(0 < kept && kept < all, "{kept} of {all} exchanges");
    assert!(journal.exchanges().eq(whole.exchanges().take(kept)));
}

/// More than fits under the limit, which is twice as much on systems with larger blocks.
fn many_runs() -> Plan {
    Plan {
        runs: 0..12,
        ..Plan::default()
    }
}

#[test]
#[ignore = "the other process of `a_journal_that_cannot_grow_is_an_error_and_keeps_what_it_has`"]
fn child_records_under_a_limit() {
    let Some(journal) = journal_of_the_parent() else {
        return;
    };
    let result = make(Mode::Record(journal), &many_runs());
    println!("refused: {}", assert_refused(result, "the limit"));
}

#[test]
fn a_child_without_a_test_would_be_noticed() {
    let output = in_a_new_process("no_such_test", &Recording::of(&Plan::default()).path());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("0 passed"), "{text}");
}
