//! Journals as files: written, read, loaded, found in, and never written over something else.

use std::fs;

use super::*;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1_0.ilj");

#[test]
fn the_golden_journal_is_written_byte_for_byte() {
    assert!(fs::read(GOLDEN).unwrap() == samples::golden());
}

/// Run by hand when a new format version gets a golden journal of its own; the older ones stay as
/// they are.
#[test]
#[ignore = "writes the golden journal: cargo test -p interloom-journal --lib -- --ignored write_the_golden"]
fn write_the_golden_journal() {
    fs::write(GOLDEN, samples::golden()).unwrap();
}

#[test]
fn the_golden_journal_reads_as_what_was_written() {
    let journal = Journal::load(GOLDEN).unwrap();
    assert_eq!(journal.head, samples::positioned_head());
    assert_eq!(
        journal.paths,
        [
            "layers.0.attn.output",
            "layers.0.mlp.output",
            "layers.0.attn.output.grad",
            "layers.0.mlp.output.grad.i1",
            "iteration"
        ]
    );
    let [watched, unwatched, failed] = &journal.runs[..] else {
        panic!("three runs");
    };
    let start = RunStart {
        declared: samples::declared(),
        ..samples::run_start(0)
    };
    assert_eq!(watched.start, start);
    let found = watched.exchanges.iter();
    let found: Vec<_> = found.map(|exchange| exchange.event).collect();
    assert_eq!(found, [&Event::ALL[..], &[Event::Value]].concat());
    let before: Vec<_> = watched.visits.iter().map(|(index, _)| *index).collect();
    assert_eq!(
        before,
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 11, 12, 12, 12]
    );
    let (_, loss) = &watched.visits[14];
    assert_eq!((loss.site(), &*loss.passed), (None, &[][..]));
    assert_eq!(loss.backward, Some(BackwardTurn::Begin));
    assert_eq!(loss.brought, samples::brought(1, samples::tensor(&[3.0])));
    let expected = ExchangeRecord {
        index: 12,
        ..samples::exchange_with_everything()
    };
    assert_eq!(unwatched.exchanges, [expected]);
    assert_eq!(unwatched.visits, []);
    assert_eq!(failed.exchanges[0].round, interloom_engine::Round::Open);
    assert_eq!(failed.exchanges[1].fault, Some(samples::later_fault()));
    let position = RunPosition {
        exchange: 14,
        visits: 0,
    };
    assert_eq!(
        failed.cache_declarations,
        [(position, samples::cache_declaration(2))]
    );
    assert_eq!(failed.padding, Some((2, samples::padding(2, &[3, 300, 1]))));
    assert_eq!(failed.open, [samples::open_request(2, 16)]);
    assert_eq!(failed.visits[1], (15, samples::visit(2, &[1], None)));
    let outcomes = journal
        .runs
        .iter()
        .map(|run| &run.end.as_ref().unwrap().outcome);
    let outcomes: Vec<_> = outcomes.cloned().collect();
    assert_eq!(
        outcomes,
        [samples::completed(), samples::stopped(), samples::failed()]
    );
    assert_eq!(journal.tensors.len(), 15);
    assert_eq!(check(GOLDEN).unwrap().problem, None);
    assert_eq!(journal.notes[0].key, "made by");
    let footer = journal.footer.as_ref().unwrap();
    assert_eq!(
        (footer.exchanges, footer.digest),
        (samples::GOLDEN_EXCHANGES, journal.digest())
    );
    assert_eq!(JournalReader::open(GOLDEN).unwrap().version(), (1, 0));
}

#[test]
fn a_loaded_journal_gives_its_records_in_their_order() {
    let is_of_run = |record: &Record| {
        matches!(
            record,
            Record::RunStart(_)
                | Record::Exchange(_)
                | Record::Visit(_)
                | Record::CacheDeclaration(_)
                | Record::Padding(_)
                | Record::Open(_)
                | Record::RunEnd(_)
        )
    };
    let written = samples::read_all(&samples::golden()).0.into_iter();
    let written = written.map(|(_, record)| record).filter(is_of_run);
    let loaded = Journal::load(GOLDEN).unwrap();
    let loaded = loaded.records().map(Result::unwrap).filter(is_of_run);
    assert_eq!(written.collect::<Vec<_>>(), loaded.collect::<Vec<_>>());
}

#[test]
fn exchanges_share_the_text_of_their_line_of_source() {
    let journal = Journal::load(GOLDEN).unwrap();
    let origins = journal.exchanges().chain(&journal.runs[2].open);
    let origins = origins.filter_map(|exchange| exchange.origin.as_ref());
    let files: Vec<_> = origins.map(|origin| &origin.file).collect();
    let of = |name| files.iter().filter(move |file| &****file == name);
    for name in ["steer.rs", "other.rs"] {
        let first = of(name).next().unwrap();
        assert!(of(name).count() > 1);
        assert!(of(name).all(|file| std::sync::Arc::ptr_eq(file, first)));
    }
}

#[test]
fn cache_declarations_and_the_padding_keep_their_place_among_visits_and_exchanges() {
    let mut bytes = Vec::new();
    let mut writer = JournalWriter::new(&mut bytes, "test.ilj", &samples::head()).unwrap();
    let mut start = samples::run_start(0);
    start.mediators[0].rows = None;
    writer.start_run(&start).unwrap();
    let path = writer.path("a.output").unwrap();
    let padding = samples::padding(0, &[2, 1]);
    let refuse = |writer: &mut JournalWriter<_>, number| {
        let cache = CacheDeclaration {
            number,
            ..samples::cache_declaration(0)
        };
        writer.cache_declaration(&cache).unwrap();
    };
    let visit = |iteration| samples::visit(0, &[path], Some((iteration, ValueTree::Unit)));
    refuse(&mut writer, 0);
    writer.padding(&padding).unwrap();
    refuse(&mut writer, 5);
    writer.visit(&visit(0)).unwrap();
    refuse(&mut writer, 1);
    writer.visit(&visit(1)).unwrap();
    refuse(&mut writer, 2);
    let at = Some(SiteRef { path, iteration: 1 });
    let exchange = ExchangeRecord {
        at,
        ..samples::exchange(0, 0, Event::End)
    };
    writer.exchange(&exchange).unwrap();
    refuse(&mut writer, 3);
    writer.visit(&visit(2)).unwrap();
    refuse(&mut writer, 4);
    writer.end_run(samples::completed()).unwrap();
    writer.finish().unwrap();
    let reader = JournalReader::new(&bytes[..], "test.ilj").unwrap();
    let (journal, error) = Journal::read_prefix(reader);
    assert_eq!(error, None);
    let order = journal.runs[0].records().map(|record| match record {
        Record::Visit(_) => "visit".to_owned(),
        Record::Exchange(_) => "exchange".to_owned(),
        Record::CacheDeclaration(cache) => cache.number.to_string(),
        Record::Padding(_) => "padding".to_owned(),
        _ => "?".to_owned(),
    });
    let order: Vec<_> = order.collect();
    assert_eq!(
        order.join(" "),
        "0 padding 5 visit 1 visit 2 exchange 3 visit 4"
    );
}

#[test]
fn a_visit_of_very_many_points_is_written_in_pieces() {
    let passed = 10_000;
    let mut bytes = Vec::new();
    let mut writer = JournalWriter::new(&mut bytes, "test.ilj", &samples::head()).unwrap();
    writer.start_run(&samples::run_start(0)).unwrap();
    let path = writer.path("a.output").unwrap();
    let iteration = passed as u32 - 1;
    let brought = Some((iteration, ValueTree::Unit));
    let visit = samples::visit(0, &vec![path; passed], brought);
    writer.visit(&visit).unwrap();
    let site = Some(SiteRef { path, iteration });
    let exchange = ExchangeRecord {
        at: site,
        ..samples::exchange(0, 0, Event::End)
    };
    writer.exchange(&exchange).unwrap();
    writer.end_run(samples::completed()).unwrap();
    writer.finish().unwrap();
    let reader = JournalReader::new(&bytes[..], "test.ilj").unwrap();
    let journal = Journal::read_prefix(reader).0;
    let pieces = journal.runs[0].visits.iter();
    let pieces: Vec<_> = pieces
        .map(|(_, piece)| (piece.passed.len(), piece.brought.is_some()))
        .collect();
    assert_eq!(pieces, [(4096, false), (4096, false), (1808, true)]);
}

#[test]
fn the_digest_of_a_run_does_not_depend_on_lines_of_source_which_have_their_own() {
    let write = |file: &str, line: u32| {
        let mut bytes = Vec::new();
        let mut writer = JournalWriter::new(&mut bytes, "test.ilj", &samples::head()).unwrap();
        writer.start_run(&samples::run_start(0)).unwrap();
        for (index, line) in (0..).zip([line, line + 1, line]) {
            let exchange = ExchangeRecord {
                origin: Some(samples::origin(file, line)),
                ..samples::exchange(0, index, Event::Stop)
            };
            writer.exchange(&exchange).unwrap();
        }
        let end = writer.end_run(samples::completed()).unwrap();
        writer.finish().unwrap();
        assert_eq!(samples::read_all(&bytes).1, None);
        let sources = samples::read_all(&bytes).0;
        let sources = sources
            .iter()
            .filter(|(_, record)| matches!(record, Record::Source(_)));
        (end.digest, end.sources, sources.count())
    };
    let recorded = write("e.toml", 3);
    assert_eq!(recorded.2, 2, "each line is there once");
    for (file, line) in [("./e.toml", 3), ("/home/e.toml", 3), ("e.toml", 9)] {
        let moved = write(file, line);
        assert_eq!(moved.0, recorded.0);
        assert_ne!(moved.1, recorded.1);
    }
}

#[test]
fn a_journal_answers_by_index_site_and_digest() {
    let journal = Journal::load(GOLDEN).unwrap();
    for (index, exchange) in (0..).zip(journal.exchanges()) {
        assert_eq!(journal.exchange(index), Some(exchange));
    }
    assert_eq!(journal.exchange(samples::GOLDEN_EXCHANGES), None);
    let site = SiteRef {
        path: 1,
        iteration: 2,
    };
    assert_eq!(journal.site(site), "layers.0.mlp.output.i2");
    assert_eq!(journal.site(SiteRef { path: 9, ..site }), "path 9.i2");

    let digest = *journal.tensors.keys().next().unwrap();
    assert_eq!(
        find_tensor(GOLDEN, &digest).unwrap().as_ref(),
        journal.tensor(&digest)
    );
    assert_eq!(find_tensor(GOLDEN, &Digest::ZERO).unwrap(), None);
}

#[test]
fn frames_are_numbered_and_aligned() {
    let bytes = samples::golden();
    let (records, error) = samples::read_all(&bytes);
    assert_eq!(error, None);
    for (number, (info, _)) in (0..).zip(&records) {
        assert_eq!(info.sequence, number);
        assert_eq!(info.offset % 8, 0);
    }
    assert!(matches!(records[0].1, Record::Head(_)));
    assert!(matches!(records.last().unwrap().1, Record::Footer(_)));
}

#[test]
fn a_summary_tells_size_exchanges_and_digest() {
    let mut bytes = Vec::new();
    let writer = JournalWriter::new(&mut bytes, "test.ilj", &samples::positioned_head()).unwrap();
    let summary = samples::write_golden(writer).unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64);
    assert_eq!(summary.exchanges, samples::GOLDEN_EXCHANGES);
    let (journal, _) = Journal::read_prefix(JournalReader::new(&bytes[..], "test.ilj").unwrap());
    assert_eq!(journal.digest(), summary.digest);
}

#[test]
fn the_digest_of_a_run_covers_all_before_it_but_not_the_head() {
    let digests = |device: &str, event| {
        let head = Head {
            device: device.into(),
            ..samples::head()
        };
        let mut writer = JournalWriter::new(Vec::new(), "test.ilj", &head).unwrap();
        let mut digests = Vec::new();
        for (run, event) in (0..).zip([event, Event::End]) {
            writer.start_run(&samples::run_start(run)).unwrap();
            writer
                .exchange(&samples::exchange(run, run.into(), event))
                .unwrap();
            digests.push(writer.end_run(samples::completed()).unwrap().digest);
        }
        digests
    };
    let cpu = digests("cpu", Event::Stop);
    assert_eq!(cpu, digests("cuda:0", Event::Stop));
    assert_ne!(cpu[1], digests("cpu", Event::End)[1]);
}

#[test]
fn ticks_are_digests_of_what_a_run_has_had_so_far() {
    let write = |count| {
        let mut bytes = Vec::new();
        let writer = JournalWriter::new(&mut bytes, "test.ilj", &samples::head()).unwrap();
        let mut writer = writer.ticking(3);
        let mut index = 0..;
        for (run, count) in [(0, 3), (1, count)] {
            writer.start_run(&samples::run_start(run)).unwrap();
            for index in index.by_ref().take(count) {
                let exchange = samples::exchange(run, index, Event::Stop);
                writer.exchange(&exchange).unwrap();
            }
            writer.end_run(samples::completed()).unwrap();
        }
        writer.finish().unwrap();
        let (records, error) = samples::read_all(&bytes);
        assert_eq!(error, None);
        records.into_iter().map(|(_, record)| record)
    };
    let ticks = |count| -> Vec<_> {
        let ticks = write(count).filter_map(|record| match record {
            Record::Tick(tick) => Some((tick.exchanges, tick.digest)),
            _ => None,
        });
        ticks.collect()
    };
    // None where a run has just begun, or ends.
    let (few, many) = (ticks(4), ticks(8));
    let exchanges: Vec<_> = many.iter().map(|(exchanges, _)| *exchanges).collect();
    assert_eq!(exchanges, [6, 9]);
    // What comes later is not in them, nor how the run ends.
    assert_eq!(few, many[..1]);
    assert_ne!(many[0].1, many[1].1);
}

#[test]
fn tensors_are_written_once_and_only_under_the_full_policy() {
    for (policy, expected) in [
        (Policy::Full, [true, false]),
        (Policy::Digest, [false, false]),
    ] {
        let head = Head {
            policy,
            ..samples::head()
        };
        let mut writer = JournalWriter::new(Vec::new(), "test.ilj", &head).unwrap();
        let digest = Digest::of_tensor(DType::F32, &[1], &[0; 4]);
        let written = [(); 2].map(|()| writer.tensor(&digest, DType::F32, &[1], &[0; 4]).unwrap());
        assert_eq!(written, expected);
    }
}

#[test]
fn creating_replaces_a_journal_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.ilj");
    for content in [None, Some(vec![]), Some(samples::golden())] {
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        JournalWriter::create(&path, &samples::head())
            .unwrap()
            .finish()
            .unwrap();
        assert_eq!(Journal::load(&path).unwrap().runs, []);
    }
    for content in [&b"precious"[..], b"\x89IL"] {
        fs::write(&path, content).unwrap();
        let error = JournalWriter::create(&path, &samples::head()).unwrap_err();
        assert_eq!(error.code(), "E070");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    let error = JournalWriter::create(folder.path(), &samples::head()).unwrap_err();
    assert_eq!(error.code(), "E070");
}

#[cfg(not(windows))]
#[test]
fn a_journal_has_one_writer_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.ilj");
    let mut writer = JournalWriter::create(&path, &samples::head()).unwrap();
    writer.start_run(&samples::run_start(0)).unwrap();
    writer.flush().unwrap();
    let before = fs::read(&path).unwrap();
    let others = [
        JournalWriter::create(&path, &samples::head()).err(),
        JournalWriter::resume(&path).err(),
        recover(&path, RecoveryTarget::InPlace).err(),
        recover(folder.path().join("none.ilj"), RecoveryTarget::Copy(&path)).err(),
    ];
    let codes = others.map(|error| error.unwrap().code());
    assert_eq!(codes, ["E073", "E073", "E073", "E060"]);
    assert_eq!(fs::read(&path).unwrap(), before);
    // Readers may come, and the next writer when the first is done.
    assert_eq!(Journal::load_prefix(&path).unwrap().0.runs.len(), 1);
    writer.end_run(samples::completed()).unwrap();
    writer.finish().unwrap();
    let resumed = JournalWriter::resume(&path).unwrap();
    assert_eq!((resumed.lost, resumed.open_run), (None, None));
}

#[test]
fn a_dropped_writer_leaves_what_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.ilj");
    let mut writer = JournalWriter::create(&path, &samples::head()).unwrap();
    writer.start_run(&samples::run_start(0)).unwrap();
    writer
        .exchange(&samples::exchange(0, 0, Event::Stop))
        .unwrap();
    drop(writer);
    let (journal, error) = Journal::load_prefix(&path).unwrap();
    assert_eq!(journal.exchanges().count(), 1);
    assert_eq!(error.unwrap().code(), "E065");
    assert_eq!(Journal::load(&path).unwrap_err().code(), "E065");
}

#[test]
fn a_journal_without_footer_is_whole_but_not_complete() {
    let mut bytes = Vec::new();
    let mut writer = JournalWriter::new(&mut bytes, "test.ilj", &samples::head()).unwrap();
    writer.start_run(&samples::run_start(0)).unwrap();
    writer.end_run(samples::completed()).unwrap();
    drop(writer);
    let mut reader = JournalReader::new(&bytes[..], "test.ilj").unwrap();
    assert_eq!(reader.by_ref().filter(Result::is_ok).count(), 3);
    assert!(!reader.is_complete());
    assert_eq!(reader.good_bytes(), bytes.len() as u64);
    assert_eq!(reader.version(), (1, 0));

    let golden = samples::golden();
    let mut reader = JournalReader::new(&golden[..], "test.ilj").unwrap();
    assert!(reader.by_ref().all(|record| record.is_ok()));
    assert!(reader.is_complete());
}

/// Kind and payload of each.
type Frames = Vec<(u8, Vec<u8>)>;

/// The frames that a skim gives, and whether it ends well.
fn skimmed(bytes: &[u8]) -> Result<(Frames, bool), JournalError> {
    let mut frames = JournalReader::new(bytes, "test.ilj")?.skim();
    let mut seen = Vec::new();
    loop {
        match frames.next_frame() {
            Ok(Some(frame)) => seen.push((frame.kind, frame.payload.to_vec())),
            Ok(None) => return Ok((seen, true)),
            Err(_) => {
                assert!(frames.next_frame().unwrap().is_none());
                return Ok((seen, false));
            }
        }
    }
}

#[test]
fn a_skim_gives_the_frames_that_a_reader_gives() {
    let bytes = samples::golden();
    let mut reader = JournalReader::new(&bytes[..], "test.ilj").unwrap();
    let mut read = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        read.push((frame.kind, frame.payload.to_vec()));
    }
    assert_eq!(skimmed(&bytes).unwrap(), (read, true));
}

#[test]
fn a_skim_of_what_is_damaged_gives_an_exact_beginning_and_then_an_error() {
    let bytes = samples::golden();
    let (whole, _) = skimmed(&bytes).unwrap();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        if let Ok((seen, is_well)) = skimmed(&flipped) {
            assert!(whole.starts_with(&seen) && !is_well, "byte {at}");
        }
        if let Ok((seen, _)) = skimmed(&bytes[..at]) {
            assert!(whole.starts_with(&seen), "cut at {at}");
        }
    }
}
