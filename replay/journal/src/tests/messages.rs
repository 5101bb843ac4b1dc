//! The message of each error, as people see it.

use insta::assert_snapshot;

use super::frame::{FrameHeader, FrameKind, PREAMBLE_BYTES, Preamble};
use super::*;

fn message(bytes: &[u8]) -> String {
    describe(&samples::read_all(bytes).1.unwrap())
}

fn describe(error: &JournalError) -> String {
    format!("{}: {error}", error.code())
}

fn writer() -> JournalWriter<Vec<u8>> {
    let mut writer = JournalWriter::new(Vec::new(), "run.ilj", &samples::head()).unwrap();
    writer.start_run(&samples::run_start(0)).unwrap();
    writer
}

#[test]
fn e060_not_found() {
    let error = JournalReader::open("missing/run.ilj").unwrap_err();
    assert_snapshot!(describe(&error), @"E060: no journal at missing/run.ilj: the file does not exist; check the path");
}

#[test]
fn e061_io() {
    let error = JournalWriter::create("missing/run.ilj", &samples::head()).unwrap_err();
    assert_snapshot!(describe(&error), @"E061: could not create missing/run.ilj: No such file or directory (os error 2)");
}

#[test]
fn e062_not_a_journal() {
    assert_snapshot!(message(b"\x89PNG\r\n\x1a\nand so on"), @"E062: test.ilj is not an Interloom journal: expected it to start with 89 49 4c 4a 0d 0a 1a 0a, found 89 50 4e 47 0d 0a 1a 0a; check the path: journals are what `interloom run --journal` writes");
    assert_snapshot!(message(b""), @"E062: test.ilj is not an Interloom journal: expected it to start with 89 49 4c 4a 0d 0a 1a 0a, found an empty file; check the path: journals are what `interloom run --journal` writes");
    assert_snapshot!(message(b"\x89IL"), @"E062: test.ilj is not an Interloom journal: expected it to start with 89 49 4c 4a 0d 0a 1a 0a, found 89 49 4c; check the path: journals are what `interloom run --journal` writes");
}

#[test]
fn e063_newer_format() {
    let mut bytes = samples::golden();
    let mut preamble = Preamble::decode(bytes[..PREAMBLE_BYTES].try_into().unwrap()).unwrap();
    preamble.major = 3;
    bytes[..PREAMBLE_BYTES].copy_from_slice(&preamble.encode());
    assert_snapshot!(message(&bytes), @"E063: test.ilj has journal format 3.0, and this version of Interloom reads up to 1.x; upgrade Interloom to read it");
}

#[test]
fn e064_damaged() {
    let golden = samples::golden();
    let offset = samples::read_all(&golden).0[5].0.offset as usize;
    let flipped = |at: usize| {
        let mut bytes = golden.clone();
        bytes[at] ^= 1;
        message(&bytes)
    };
    assert_snapshot!(flipped(20), @"E064: test.ilj is damaged in frame 0 at byte 0: the preamble's CRC does not match its bytes; the 0 frames before it are good");
    assert_snapshot!(flipped(offset), @"E064: test.ilj is damaged in frame 5 at byte 1224: the header's CRC does not match: damaged, or a frame of another journal; the 5 frames before it are good");
    assert_snapshot!(flipped(offset + 24), @"E064: test.ilj is damaged in frame 5 at byte 1224: the payload's CRC does not match its bytes; the 5 frames before it are good");
}

#[test]
fn e065_torn() {
    let golden = samples::golden();
    let offset = samples::read_all(&golden).0[5].0.offset as usize;
    assert_snapshot!(message(&golden[..50]), @"E065: test.ilj ends early: the preamble has 50 of 64 bytes; the first 0 bytes are good (0 frames, 0 exchanges)");
    assert_snapshot!(message(&golden[..PREAMBLE_BYTES]), @"E065: test.ilj ends early: the head is missing; the first 64 bytes are good (0 frames, 0 exchanges)");
    assert_snapshot!(message(&golden[..offset + 3]), @"E065: test.ilj ends early: the header of frame 5 has 3 of 24 bytes; the first 1224 bytes are good (5 frames, 0 exchanges)");
    assert_snapshot!(message(&golden[..offset + 30]), @"E065: test.ilj ends early: the payload of frame 5 has 6 of 56 bytes; the first 1224 bytes are good (5 frames, 0 exchanges)");
    assert_snapshot!(message(&golden[..offset]), @"E065: test.ilj ends early: run 0 has no end; the first 1224 bytes are good (5 frames, 0 exchanges)");
}

#[test]
fn e066_malformed() {
    let mut preamble_and_head = golden_with_payload(b"\x01");
    assert_snapshot!(message(&preamble_and_head), @"E066: frame 0 at byte 64 of test.ilj is not a valid head: expected a msgpack map");
    preamble_and_head = golden_with_payload(b"\x81\xa6format\xa5other");
    assert_snapshot!(message(&preamble_and_head), @"E066: frame 0 at byte 64 of test.ilj is not a valid head: missing field `version`");

    let mut deep = ValueTree::Unit;
    for _ in 0..65 {
        deep = ValueTree::List([deep].into());
    }
    let exchange = ExchangeRecord {
        value: Some(deep),
        ..samples::exchange(0, 0, Event::Value)
    };
    assert_snapshot!(describe(&writer().exchange(&exchange).unwrap_err()), @"E066: frame 2 at byte 952 of run.ilj is not a valid exchange: the value is more than 64 levels deep");
    let error = writer()
        .tensor(&Digest::ZERO, DType::F32, &[2, 3], &[0; 20])
        .unwrap_err();
    assert_snapshot!(describe(&error), @"E066: frame 2 at byte 952 of run.ilj is not a valid tensor: f32[2, 3] does not have 20 bytes");
    let head = Head {
        format: "json".into(),
        ..samples::head()
    };
    let error = JournalWriter::new(Vec::new(), "run.ilj", &head).unwrap_err();
    assert_snapshot!(describe(&error), @r#"E066: frame 0 at byte 0 of run.ilj is not a valid head: expected the format "interloom-journal", found "json""#);
}

/// A journal whose head has this payload, with right CRCs.
fn golden_with_payload(payload: &[u8]) -> Vec<u8> {
    let preamble = Preamble::for_head(payload);
    let header = FrameHeader {
        kind: FrameKind::Head as u8,
        length: payload.len() as u32,
        sequence: 0,
        payload_crc: crc32fast::hash(payload),
    };
    let zeros = vec![0; frame::padding(payload.len() as u64)];
    [
        &preamble.encode()[..],
        &header.encode(preamble.header_seed()),
        payload,
        &zeros,
    ]
    .concat()
}

#[test]
fn e067_out_of_sequence() {
    let mut bytes = samples::golden();
    let offsets: Vec<_> = samples::read_all(&bytes)
        .0
        .iter()
        .map(|(info, _)| info.offset as usize)
        .collect();
    bytes.drain(offsets[5]..offsets[6]);
    assert_snapshot!(message(&bytes), @"E067: frame 5 at byte 1224 of test.ilj is out of sequence: expected frame 5, found 6");

    let error = writer()
        .exchange(&samples::exchange(0, 7, Event::Stop))
        .unwrap_err();
    assert_snapshot!(describe(&error), @"E067: frame 2 at byte 952 of run.ilj is out of sequence: expected exchange 0, found 7");
    let error = writer()
        .exchange(&samples::exchange(4, 0, Event::Stop))
        .unwrap_err();
    assert_snapshot!(describe(&error), @"E067: frame 2 at byte 952 of run.ilj is out of sequence: expected an exchange of run 0, found one of run 4");
    let unknown_path = samples::tensor_exchange(0, 0, Event::Value, 9, &[]);
    let error = writer().exchange(&unknown_path).unwrap_err();
    assert_snapshot!(describe(&error), @"E067: frame 2 at byte 952 of run.ilj is out of sequence: expected a path below 0, found path 9");
    let error = writer().start_run(&samples::run_start(1)).unwrap_err();
    assert_snapshot!(describe(&error), @"E067: frame 2 at byte 952 of run.ilj is out of sequence: expected the end of run 0, found the start of run 1");
    assert_snapshot!(describe(&writer().finish().unwrap_err()), @"E067: frame 2 at byte 952 of run.ilj is out of sequence: expected the end of run 0, found the footer");
    let mut ended = writer();
    ended.end_run(samples::completed()).unwrap();
    assert_snapshot!(describe(&ended.end_run(samples::completed()).unwrap_err()), @"E067: frame 3 at byte 1096 of run.ilj is out of sequence: expected the start of a run, found the end of run 1");
}

#[test]
fn e067_where_nothing_of_that_kind_can_be() {
    let with_path = || {
        let mut writer = writer();
        let path = writer.path("a.output").unwrap();
        (writer, path)
    };
    let site = |path, iteration| Some(SiteRef { path, iteration });
    let error = JournalWriter::new(Vec::new(), "run.ilj", &samples::head())
        .and_then(|mut writer| writer.path("a.output"))
        .unwrap_err();
    assert_snapshot!(describe(&error), @"E067: frame 1 at byte 776 of run.ilj is out of sequence: expected the start of a run, found a path");

    let (mut elsewhere, path) = with_path();
    elsewhere
        .visit(&samples::visit(
            0,
            &[path, path],
            Some((1, ValueTree::Unit)),
        ))
        .unwrap();
    let exchange = ExchangeRecord {
        at: site(path, 0),
        ..samples::exchange(0, 0, Event::End)
    };
    assert_snapshot!(describe(&elsewhere.exchange(&exchange).unwrap_err()), @"E067: frame 4 at byte 1032 of run.ilj is out of sequence: expected an exchange at path 0.i1, where the model is, found one at path 0.i0");

    let open = ExchangeRecord {
        asked: None,
        origin: None,
        ..samples::open_request(0, 0)
    };
    let after_open = |write: fn(&mut JournalWriter<Vec<u8>>) -> Result<(), JournalError>| {
        let (mut over, _) = with_path();
        over.open_request(&open).unwrap();
        over.open_request(&open).unwrap();
        describe(&write(&mut over).unwrap_err())
    };
    let refused = [
        after_open(|writer| writer.exchange(&samples::exchange(0, 0, Event::End))),
        after_open(|writer| writer.visit(&samples::visit(0, &[0], None))),
        after_open(|writer| writer.cache_declaration(&samples::cache_declaration(0))),
    ];
    assert_snapshot!(refused.join("\n"), @"
    E067: frame 5 at byte 1152 of run.ilj is out of sequence: expected the end of run 0, after its open requests, found an exchange
    E067: frame 5 at byte 1152 of run.ilj is out of sequence: expected the end of run 0, after its open requests, found a visit
    E067: frame 5 at byte 1152 of run.ilj is out of sequence: expected the end of run 0, after its open requests, found a cache declaration
    ");
}

#[test]
fn e066_a_result_that_a_record_cannot_have() {
    let open = samples::open_request(0, 0);
    assert_snapshot!(describe(&writer().exchange(&open).unwrap_err()), @"E066: frame 2 at byte 952 of run.ilj is not a valid exchange: its result is open");
    let served = samples::exchange(0, 0, Event::Stop);
    assert_snapshot!(describe(&writer().open_request(&served).unwrap_err()), @"E066: frame 2 at byte 952 of run.ilj is not a valid open request: its result is served");
    let nowhere = samples::visit(0, &[], None);
    assert_snapshot!(describe(&writer().visit(&nowhere).unwrap_err()), @"E066: frame 2 at byte 952 of run.ilj is not a valid visit: it is without the paths that were passed, one or more");
}

#[test]
fn e068_digests_of_a_run() {
    use super::faults::{framed, split};
    let golden = samples::golden();
    let (records, _) = samples::read_all(&golden);
    let altered = |change: fn(&mut RunEndRecord)| {
        let at = records
            .iter()
            .position(|(_, record)| matches!(record, Record::RunEnd(_)));
        let at = at.unwrap();
        let Record::RunEnd(mut end) = records[at].1.clone() else {
            panic!("it is one");
        };
        change(&mut end);
        let mut payload = Vec::new();
        crate::wire::encode_named(&end, &mut payload).unwrap();
        let mut frames = split(&golden);
        frames[at + 1] = framed(&golden, FrameKind::RunEnd as u8, at as u64, &payload);
        message(&frames.concat())
    };
    let refused = [
        altered(|end| end.outcome = samples::stopped()),
        altered(|end| end.sources = Digest::ZERO),
        altered(|end| end.passages = None),
    ];
    assert_snapshot!(refused.join("\n"), @"
    E068: frame 54 at byte 4816 of test.ilj: the digest of run 0 should be b3:c5277973db4f, but the content has b3:e5327f05b6cb
    E068: frame 54 at byte 4816 of test.ilj: the digest of the source lines of run 0 should be b3:000000000000, but the content has b3:37f4f004c82b
    E068: frame 54 at byte 4816 of test.ilj: the digest of the passages of run 0 should be b3:000000000000, but the content has b3:212d4b976289
    ");
}

#[test]
fn e068_digest_mismatch() {
    let mut bytes = Vec::new();
    let mut writer = JournalWriter::new(&mut bytes, "run.ilj", &samples::head()).unwrap();
    writer
        .tensor(&Digest::ZERO, DType::F32, &[2], &[0; 8])
        .unwrap();
    writer.finish().unwrap();
    assert_snapshot!(message(&bytes), @"E068: frame 1 at byte 776 of test.ilj: the digest of a tensor f32[2] should be b3:000000000000, but the content has b3:b7d7909a9f5f");
}

#[test]
fn e069_limit() {
    let value = Some(ValueTree::Text("x".repeat(1 << 20).into()));
    let exchange = ExchangeRecord {
        value,
        ..samples::exchange(0, 0, Event::Value)
    };
    assert_snapshot!(describe(&writer().exchange(&exchange).unwrap_err()), @"E069: frame 2 at byte 952 of run.ilj: the size of this exchange in bytes is 1048594, the limit is 1048576");
    let error = writer().path(&"x".repeat(1 << 16)).unwrap_err();
    assert_snapshot!(describe(&error), @"E069: frame 2 at byte 952 of run.ilj: the size of this path in bytes is 65543, the limit is 65536");
    let error = writer()
        .tensor(&Digest::ZERO, DType::U8, &[0; 256], &[])
        .unwrap_err();
    assert_snapshot!(describe(&error), @"E069: frame 2 at byte 952 of run.ilj: a tensor's rank is 256, the limit is 255");
}

#[test]
fn e070_would_overwrite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thesis.tex");
    std::fs::write(&path, "text").unwrap();
    let error = JournalWriter::create(&path, &samples::head()).unwrap_err();
    let shown = describe(&error).replace(folder.path().to_str().unwrap(), "FOLDER");
    assert_snapshot!(shown, @"E070: will not overwrite FOLDER/thesis.tex: it exists and is not an Interloom journal; move it away or record to another path");
}

#[test]
fn e071_missing_tensor() {
    let error = JournalError::MissingTensor {
        journal: "run.ilj".into(),
        exchange: 7,
        digest: Digest([0x77; 32]),
    };
    assert_snapshot!(describe(&error), @"E071: run.ilj does not have the tensor b3:777777777777, which exchange 7 names and its policy keeps");
}

#[test]
fn e072_absent() {
    let error = JournalError::Absent {
        journal: "run.ilj".into(),
        what: "run 7".into(),
        has: "runs 0 to 1".into(),
    };
    assert_snapshot!(describe(&error), @"E072: run.ilj has no run 7; it has runs 0 to 1");
}

#[test]
fn e073_busy() {
    let error = JournalError::Busy {
        journal: "run.ilj".into(),
    };
    assert_snapshot!(describe(&error), @"E073: run.ilj is being written by another program, or by another part of this one; wait until it is done, or record to another path");
}

#[test]
fn a_padding_stands_once_before_all_that_the_model_passes_and_is_of_the_rows() {
    let told = |tell: fn(&mut JournalWriter<Vec<u8>>) -> Result<(), JournalError>| {
        let mut writer = JournalWriter::new(Vec::new(), "run.ilj", &samples::head()).unwrap();
        writer.start_run(&samples::padded_start(0)).unwrap();
        writer.path("layers.0.attn.output").unwrap();
        describe(&tell(&mut writer).unwrap_err())
    };
    let refused = [
        told(|writer| {
            writer.padding(&samples::padding(0, &[1, 2, 3]))?;
            writer.padding(&samples::padding(0, &[1, 2, 3]))
        }),
        told(|writer| {
            writer.visit(&samples::visit(0, &[0], None))?;
            writer.padding(&samples::padding(0, &[1, 2, 3]))
        }),
        told(|writer| writer.padding(&samples::padding(1, &[1, 2, 3]))),
        told(|writer| writer.padding(&samples::padding(0, &[1, 2]))),
        told(|writer| writer.padding(&samples::padding(0, &[1, 0, 3]))),
    ];
    assert_snapshot!(refused.join("\n"), @"
    E067: frame 4 at byte 1032 of run.ilj is out of sequence: expected one padding at most, before the model comes to a site, found a padding
    E067: frame 4 at byte 1032 of run.ilj is out of sequence: expected one padding at most, before the model comes to a site, found a padding
    E067: frame 3 at byte 1000 of run.ilj is out of sequence: expected a padding of run 0, found one of run 1
    E066: frame 3 at byte 1000 of run.ilj is not a valid padding: expected 3 rows, which the mediators have together, found rows of [1, 2] tokens, padded on the left
    E066: frame 3 at byte 1000 of run.ilj is not a valid padding: expected rows of one token or more, found rows of [1, 0, 3] tokens, padded on the left
    ");
}

#[test]
fn a_head_has_positions_in_dimensions_that_a_tensor_can_have() {
    let mut head = samples::positioned_head();
    let sites = head.sites.as_mut().unwrap();
    sites.positions[0].0[0][0] = 255;
    let error = JournalWriter::new(Vec::new(), "run.ilj", &head).unwrap_err();
    assert_snapshot!(describe(&error), @"E066: frame 0 at byte 0 of run.ilj is not a valid head: expected positions in a dimension below 255, found 255");
}
