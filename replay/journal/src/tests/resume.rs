//! Journals that are continued, followed while they grow, and made whole again.

use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use super::super::resume::Scan;
use super::*;

/// The frames of a journal's run as calls on a writer, from its `skip`th record on.
fn write_rest<S: Sink>(mut writer: JournalWriter<S>, skip: usize) -> JournalSummary {
    let golden = samples::golden();
    for (_, record) in samples::read_all(&golden).0.into_iter().skip(skip) {
        match record {
            Record::Head(_) => unreachable!("the head is there"),
            Record::RunStart(start) => writer.start_run(&start).unwrap(),
            Record::Path(path) => assert_eq!(writer.path(&path.text).unwrap(), path.id),
            Record::Exchange(exchange) => writer.exchange(&exchange).unwrap(),
            Record::Tensor(tensor) => {
                let TensorRecord {
                    digest,
                    dtype,
                    shape,
                    bytes,
                } = tensor;
                assert!(writer.tensor(&digest, dtype, &shape, &bytes).unwrap());
            }
            Record::RunEnd(end) => {
                let (outcome, cached) = (end.outcome.clone(), end.cached.clone());
                assert_eq!(writer.end_run_with(outcome, cached).unwrap(), end);
            }
            Record::Note(note) => writer.note(&note.key, &note.value).unwrap(),
            Record::Passage(passage) => writer.passage(&passage).unwrap(),
            Record::Visit(visit) => writer.visit(&visit).unwrap(),
            Record::CacheDeclaration(cache) => writer.cache_declaration(&cache).unwrap(),
            Record::Padding(padding) => writer.padding(&padding).unwrap(),
            Record::Open(open) => writer.open_request(&open).unwrap(),
            // The exchange that names it brings it.
            Record::Source(_) => {}
            // The writer knows when.
            Record::Tick(_) => {}
            Record::Footer(_) => return writer.finish().unwrap(),
        }
    }
    unreachable!("the golden journal has a footer")
}

/// Where the head of the golden journal ends.
fn head_end() -> usize {
    samples::read_all(&samples::golden()).0[1].0.offset as usize
}

#[test]
fn a_journal_cut_at_any_byte_is_gone_on_with_to_the_same_bytes() {
    let golden = samples::golden();
    for cut in head_end()..golden.len() {
        let reader = JournalReader::new(&golden[..cut], "test.ilj").unwrap();
        let state = Scan::of(reader).into_state().unwrap();
        let (offset, frames) = (state.offset as usize, state.frames as usize);
        assert!(offset <= cut);
        let mut rest = Vec::new();
        let Resumed { writer, lost, .. } = state.into_writer(&mut rest, cut as u64);
        if let Some(loss) = &lost {
            assert_eq!(
                (loss.offset, loss.bytes),
                (offset as u64, (cut - offset) as u64)
            );
        } else {
            assert_eq!(offset, cut);
        }
        let summary = write_rest(writer.ticking(samples::GOLDEN_TICKS), frames);
        assert_eq!(summary.bytes, golden.len() as u64);
        assert!(
            [&golden[..offset], &rest].concat() == golden,
            "cut at {cut}"
        );
    }
}

#[test]
fn a_finished_journal_is_gone_on_with_in_place_of_its_footer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.ilj");
    fs::write(&path, samples::golden()).unwrap();
    let resumed = JournalWriter::resume(&path).unwrap();
    assert_eq!((resumed.lost, resumed.open_run), (None, None));
    assert_eq!(resumed.head, samples::positioned_head());
    let mut writer = resumed.writer;
    writer.start_run(&samples::run_start(3)).unwrap();
    assert_eq!(writer.path("layers.0.mlp.output").unwrap(), 1);
    assert_eq!(writer.path("layers.1.mlp.output").unwrap(), 5);
    let exchange = ExchangeRecord {
        origin: Some(samples::origin("other.rs", 7)),
        ..samples::exchange(3, samples::GOLDEN_EXCHANGES, Event::Stop)
    };
    writer.exchange(&exchange).unwrap();
    writer.end_run(samples::completed()).unwrap();
    writer.finish().unwrap();

    let journal = Journal::load(&path).unwrap();
    assert_eq!((journal.runs.len(), journal.paths.len()), (4, 6));
    assert_eq!(journal.runs[3].exchanges, [exchange]);
    let records = samples::read_all(&fs::read(&path).unwrap()).0;
    let sources = records.iter();
    let sources = sources.filter(|(_, record)| matches!(record, Record::Source(_)));
    assert_eq!(sources.count(), 2, "a line that is there is named again");
}

#[test]
fn an_open_run_is_given_with_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.ilj");
    let golden = samples::golden();
    let (records, _) = samples::read_all(&golden);
    fs::write(&path, &golden[..records[12].0.offset as usize + 5]).unwrap();
    let resumed = JournalWriter::resume(&path).unwrap();
    let open = resumed.open_run.unwrap();
    let is_exchange = |(_, record): &&(_, Record)| matches!(record, Record::Exchange(_));
    let exchanges = records[..12].iter().filter(is_exchange).count() as u64;
    assert_eq!((open.start.run, open.exchanges), (0, exchanges));
    let loss = resumed.lost.unwrap();
    assert_eq!((loss.offset, loss.bytes), (records[12].0.offset, 5));
    insta::assert_snapshot!(loss.error.to_string().replace(&*path.display().to_string(), "run.ilj"), @"run.ilj ends early: the header of frame 12 has 5 of 24 bytes; the first 1696 bytes are good (12 frames, 1 exchanges)");
}

#[test]
fn damage_before_the_end_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.ilj");
    let mut bytes = samples::golden();
    let offset = samples::read_all(&bytes).0[9].0.offset as usize;
    bytes[offset + 25] ^= 4;
    for (content, code) in [
        (&bytes[..], "E064"),
        (&bytes[..100], "E065"),
        (b"something else", "E062"),
    ] {
        fs::write(&path, content).unwrap();
        assert_eq!(JournalWriter::resume(&path).unwrap_err().code(), code);
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    let missing = JournalWriter::resume(folder.path().join("none.ilj")).unwrap_err();
    assert_eq!(missing.code(), "E060");
    assert_eq!(
        JournalWriter::resume(folder.path()).unwrap_err().code(),
        "E061"
    );
}

#[test]
fn a_reader_follows_a_file_that_grows_byte_by_byte() {
    let golden = samples::golden();
    let (whole, _) = samples::read_all(&golden);
    for step in [1, 7, 100, golden.len()] {
        let mut length = head_end();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.ilj");
        fs::write(&path, &golden[..length]).unwrap();
        let mut reader = JournalReader::open(&path).unwrap();
        let mut records = Vec::new();
        loop {
            match reader.follow().unwrap() {
                Followed::Record(info, record) => records.push((info, record)),
                Followed::Finished => break,
                Followed::Waiting => {
                    assert!(whole[records.len()].0.offset <= length as u64);
                    assert!(length < golden.len(), "the reader waits for nothing");
                    length = (length + step).min(golden.len());
                    fs::write(&path, &golden[..length]).unwrap();
                }
            }
        }
        assert!(records == whole);
        assert_eq!(reader.follow().unwrap(), Followed::Finished);
    }
}

#[test]
fn a_reader_follows_a_writer_that_flushes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.ilj");
    let mut writer = JournalWriter::create(&path, &samples::head()).unwrap();
    let mut reader = JournalReader::open(&path).unwrap();
    assert!(matches!(
        reader.follow(),
        Ok(Followed::Record(_, Record::Head(_)))
    ));
    assert_eq!(reader.follow(), Ok(Followed::Waiting));
    writer.start_run(&samples::run_start(0)).unwrap();
    assert_eq!(reader.follow(), Ok(Followed::Waiting));
    writer.flush().unwrap();
    assert!(matches!(
        reader.follow(),
        Ok(Followed::Record(_, Record::RunStart(_)))
    ));
    writer.end_run(samples::completed()).unwrap();
    writer.finish().unwrap();
    assert!(matches!(
        reader.follow(),
        Ok(Followed::Record(_, Record::RunEnd(_)))
    ));
    assert!(matches!(
        reader.follow(),
        Ok(Followed::Record(_, Record::Footer(_)))
    ));
    assert_eq!(reader.follow(), Ok(Followed::Finished));
}

#[test]
fn a_follower_reports_damage_again_and_again() {
    let mut bytes = samples::golden();
    bytes[head_end() + 30] ^= 1;
    let mut reader = JournalReader::new(Cursor::new(&bytes), "test.ilj").unwrap();
    assert!(matches!(reader.follow(), Ok(Followed::Record(..))));
    let error = reader.follow().unwrap_err();
    assert_eq!(error.code(), "E064");
    assert_eq!(reader.follow().unwrap_err(), error);
    assert_eq!(reader.next_record(), Ok(None));
}

/// A folder with a journal of these bytes.
fn damaged(bytes: &[u8]) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("a.ilj"), folder.path().join("b.ilj"));
    fs::write(&path, bytes).unwrap();
    (folder, path, out)
}

#[test]
fn a_whole_journal_is_recovered_as_it_is() {
    let golden = samples::golden();
    let (_folder, path, out) = damaged(&golden);
    for target in [RecoveryTarget::Copy(&out), RecoveryTarget::InPlace] {
        let recovery = recover(&path, target).unwrap();
        assert!(recovery.is_lossless());
        assert_eq!(
            (recovery.runs, recovery.exchanges),
            (3, samples::GOLDEN_EXCHANGES)
        );
        assert_eq!(recovery.good_bytes, golden.len() as u64);
    }
    assert!(fs::read(&path).unwrap() == golden && fs::read(&out).unwrap() == golden);
}

#[test]
fn what_is_recovered_can_be_loaded_and_is_an_exact_beginning() {
    let golden = samples::golden();
    let (whole, _) = samples::read_all(&golden);
    let whole_journal = {
        let reader = JournalReader::new(&golden[..], "test.ilj").unwrap();
        Journal::read_prefix(reader).0
    };
    let (_folder, path, out) = damaged(&golden);
    for at in (head_end()..golden.len()).step_by(41) {
        for flip in [false, true] {
            let mut bytes = golden.clone();
            if flip {
                bytes[at] ^= 0x40;
            } else {
                bytes.truncate(at);
            }
            fs::write(&path, &bytes).unwrap();
            let recovery = recover(&path, RecoveryTarget::Copy(&out)).unwrap();
            assert!(
                fs::read(&path).unwrap() == bytes,
                "the original was touched"
            );
            let journal = Journal::load(&out).unwrap();
            assert!(journal.footer.is_some());
            let exchanges = recovery.exchanges as usize;
            assert!(
                journal
                    .exchanges()
                    .eq(whole_journal.exchanges().take(exchanges))
            );
            let good = &whole[..recovery.frames as usize];
            let kept = samples::read_all(&fs::read(&out).unwrap()).0;
            assert!(kept.starts_with(good));
            if let Some(loss) = &recovery.lost {
                assert_eq!(loss.offset + loss.bytes, bytes.len() as u64);
                assert_eq!(journal.notes.last().unwrap().key, "recovered");
            }
            if let Some(open) = &recovery.interrupted {
                let end = journal.runs[open.start.run as usize].end.as_ref().unwrap();
                assert_eq!(end.outcome.code(), Some("E065"));
            }
            recover(&path, RecoveryTarget::InPlace).unwrap();
            let in_place = Journal::load(&path).unwrap();
            assert_eq!(in_place.runs, journal.runs);
        }
    }
}

#[test]
fn a_journal_is_not_recovered_over_itself_or_another_file() {
    let (folder, path, out) = damaged(&samples::golden()[..2000]);
    let same = folder.path().join(".").join("a.ilj");
    assert_eq!(
        recover(&path, RecoveryTarget::Copy(&same))
            .unwrap_err()
            .code(),
        "E070"
    );
    fs::write(&out, "chapter one").unwrap();
    assert_eq!(
        recover(&path, RecoveryTarget::Copy(&out))
            .unwrap_err()
            .code(),
        "E070"
    );
    assert_eq!(fs::read(&out).unwrap(), b"chapter one");
    let nowhere = out.join("c.ilj");
    assert_eq!(
        recover(&path, RecoveryTarget::Copy(&nowhere))
            .unwrap_err()
            .code(),
        "E061"
    );
    assert_eq!(fs::read(&path).unwrap().len(), 2000);
}
