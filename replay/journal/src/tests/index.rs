//! Journals that are gone through in any direction.

use std::fs;
use std::path::Path;

use super::*;

fn golden(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("a.ilj");
    fs::write(&path, samples::golden()).unwrap();
    path
}

#[test]
fn every_exchange_is_found_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = golden(folder.path());
    let whole = Journal::load(&path).unwrap();
    let (mut journal, problem) = IndexedJournal::open(&path).unwrap();
    assert_eq!(problem, None);
    assert_eq!(journal.head(), &whole.head);
    assert_eq!(journal.paths(), whole.paths);
    let starts: Vec<_> = journal.runs().iter().map(|run| run.first).collect();
    assert_eq!(starts, [0, 12, 13]);
    for index in (0..journal.exchanges()).chain((0..journal.exchanges()).rev()) {
        assert_eq!(
            Some(&journal.exchange(index).unwrap()),
            whole.exchange(index)
        );
    }
    let error = journal.exchange(16).unwrap_err();
    insta::assert_snapshot!(error.to_string().replace(&*path.display().to_string(), "a.ilj"), @"a.ilj has no exchange 16; it has exchanges 0 to 15");
}

#[test]
fn exchanges_are_found_forwards_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = IndexedJournal::open(golden(folder.path())).unwrap();
    let mut find = |from, direction, event| {
        journal
            .find(from, direction, |_, exchange| exchange.event == event)
            .unwrap()
    };
    assert_eq!(find(0, Direction::Forward, Event::Swap), Some(1));
    assert_eq!(find(1, Direction::Forward, Event::Swap), Some(12));
    assert_eq!(find(12, Direction::Back, Event::Swap), Some(1));
    assert_eq!(find(13, Direction::Back, Event::Swap), Some(12));
    assert_eq!(find(0, Direction::Back, Event::Swap), None);
    assert_eq!(find(12, Direction::Forward, Event::Swap), None);
    assert_eq!(find(u64::MAX, Direction::Forward, Event::Swap), None);
}

#[test]
fn a_journal_that_changes_under_the_index_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = golden(folder.path());
    let (mut journal, _) = IndexedJournal::open(&path).unwrap();
    let bytes = samples::golden();
    let exchange = samples::read_all(&bytes)
        .0
        .into_iter()
        .find(|(_, record)| matches!(record, Record::Exchange(_)))
        .unwrap();
    let offset = exchange.0.offset as usize;
    for at in offset..offset + 24 + 40 {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x20;
        fs::write(&path, flipped).unwrap();
        assert_eq!(journal.exchange(0).unwrap_err().code(), "E064", "byte {at}");
    }
    fs::write(&path, &bytes[..offset + 30]).unwrap();
    assert_eq!(journal.exchange(0).unwrap_err().code(), "E061");
    fs::write(&path, &bytes).unwrap();
    journal.exchange(0).unwrap();
}

#[test]
fn a_torn_journal_is_indexed_up_to_its_tail() {
    let folder = tempfile::tempdir().unwrap();
    let path = golden(folder.path());
    let bytes = samples::golden();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let (mut journal, problem) = IndexedJournal::open(&path).unwrap();
    assert_eq!(problem.unwrap().code(), "E065");
    let last = journal.exchanges() - 1;
    assert_eq!(journal.exchange(last).unwrap().index, last);
}

/// Run by hand: `cargo test --workspace --lib -- --ignored --nocapture a_step_back`.
#[test]
#[ignore = "writes 10^6 exchanges: cargo test --workspace --lib -- --ignored --nocapture a_step_back"]
#[expect(clippy::disallowed_types, reason = "it measures time")]
fn a_step_back_in_a_million_exchanges_takes_less_than_50_milliseconds() {
    const COUNT: u64 = 1_000_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.ilj");
    let mut writer = JournalWriter::create(&path, &samples::head()).unwrap();
    writer.start_run(&samples::run_start(0)).unwrap();
    let site = writer.path("layers.0.attn.output").unwrap();
    for index in 0..COUNT {
        let exchange = samples::tensor_exchange(index, 0, Event::Value, site, &[index as f32]);
        writer.exchange(&exchange).unwrap();
    }
    writer.end_run(samples::completed()).unwrap();
    let bytes = writer.finish().unwrap().bytes;

    let start = std::time::Instant::now();
    let (mut journal, _) = IndexedJournal::open(&path).unwrap();
    let opening = start.elapsed();
    let mut slowest = std::time::Duration::ZERO;
    let start = std::time::Instant::now();
    for index in (COUNT - 10_000..COUNT).rev() {
        let step = std::time::Instant::now();
        let exchange = journal.exchange(index).unwrap();
        assert_eq!(
            journal.text(&exchange).split_whitespace().next(),
            Some(&*index.to_string())
        );
        slowest = slowest.max(step.elapsed());
    }
    let mean = start.elapsed() / 10_000;
    let memory = journal.index_bytes();
    println!(
        "{bytes} bytes, opened in {opening:?}, step back {mean:?} in the mean, {slowest:?} at most, index of {memory} bytes"
    );
    assert!(slowest.as_millis() < 50);
    assert!(memory as u64 <= COUNT);
}
