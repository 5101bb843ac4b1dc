//! The message of each error, as people see it.

use insta::assert_snapshot;

use super::frame::{FrameHeader, Kind, PREAMBLE_BYTES, Preamble};
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
    assert_snapshot!(message(b"\x89PNG\r\n\x1a\nand so on"), @"E062: test.ilj is not an Interloom journal: expected it to start with 89 49 4c 4a 0d 0a 1a 0a, found 89 50 4e 47 0d 0a 1a 0a");
    assert_snapshot!(message(b""), @"E062: test.ilj is not an Interloom journal: expected it to start with 89 49 4c 4a 0d 0a 1a 0a, found an empty file");
    assert_snapshot!(message(b"\x89IL"), @"E062: test.ilj is not an Interloom journal: expected it to start with 89 49 4c 4a 0d 0a 1a 0a, found 89 49 4c");
}

#[test]
fn e063_newer_format() {
    let mut bytes = samples::golden();
    let mut preamble = Preamble::decode(bytes[..PREAMBLE_BYTES].try_into().unwrap()).unwrap();
    preamble.major = 3;
    bytes[..PREAMBLE_BYTES].copy_from_slice(&preamble.encode());
    assert_snapshot!(message(&bytes), @"E063: test.ilj has journal format 3.4, and this version of Interloom reads up to 1.x; upgrade Interloom to read it");
}

#[test]
fn e074_newer_behaviour() {
    let head = Head {
        version: "0.9.0".into(),
        quirks: ["words-2", "words-1", "swap-twice"].into_iter().collect(),
        ..samples::head()
    };
    let mut bytes = Vec::new();
    JournalWriter::new(&mut bytes, "run.ilj", &head).unwrap();
    let reader = JournalReader::new(&bytes[..], "run.ilj").unwrap();
    assert_snapshot!(describe(&reader.check_behaviour().unwrap_err()), @"E074: run.ilj was recorded by Interloom 0.9.0, which behaves in a way that this version does not know (swap-twice, words-2), so that a replay would prove nothing; replay it with that version (`show`, `check` and `diff` read it here too)");
    // What it has can be read all the same.
    assert_eq!(samples::read_all(&bytes).1, None);
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
    assert_snapshot!(message(&golden[..offset + 30]), @"E065: test.ilj ends early: the payload of frame 5 has 6 of 53 bytes; the first 1224 bytes are good (5 frames, 0 exchanges)");
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
        deep = ValueTree::List(vec![deep]);
    }
    let exchange = Exchange {
        value: Some(deep),
        ..samples::exchange(0, 0, Event::Value)
    };
    assert_snapshot!(describe(&writer().exchange(&exchange).unwrap_err()), @"E066: frame 2 at byte 944 of run.ilj is not a valid exchange: the value is more than 64 levels deep");
    let error = writer()
        .tensor(&Digest::ZERO, DType::F32, &[2, 3], &[0; 20])
        .unwrap_err();
    assert_snapshot!(describe(&error), @"E066: frame 2 at byte 944 of run.ilj is not a valid tensor: f32[2, 3] does not have 20 bytes");
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
        kind: Kind::Head as u8,
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
    assert_snapshot!(describe(&error), @"E067: frame 2 at byte 944 of run.ilj is out of sequence: expected exchange 0, found 7");
    let error = writer()
        .exchange(&samples::exchange(4, 0, Event::Stop))
        .unwrap_err();
    assert_snapshot!(describe(&error), @"E067: frame 2 at byte 944 of run.ilj is out of sequence: expected an exchange of run 0, found one of run 4");
    let unknown_path = samples::tensor_exchange(0, 0, Event::Value, 9, &[]);
    let error = writer().exchange(&unknown_path).unwrap_err();
    assert_snapshot!(describe(&error), @"E067: frame 2 at byte 944 of run.ilj is out of sequence: expected a path below 0, found path 9");
    let error = writer().start_run(&samples::run_start(1)).unwrap_err();
    assert_snapshot!(describe(&error), @"E067: frame 2 at byte 944 of run.ilj is out of sequence: expected the end of run 0, found the start of run 1");
    assert_snapshot!(describe(&writer().finish().unwrap_err()), @"E067: frame 2 at byte 944 of run.ilj is out of sequence: expected the end of run 0, found the footer");
    let mut ended = writer();
    ended.end_run(samples::completed()).unwrap();
    assert_snapshot!(describe(&ended.end_run(samples::completed()).unwrap_err()), @"E067: frame 3 at byte 1056 of run.ilj is out of sequence: expected the start of a run, found the end of run 1");
}

#[test]
fn e068_digest_mismatch() {
    let mut bytes = Vec::new();
    let mut writer = JournalWriter::new(&mut bytes, "run.ilj", &samples::head()).unwrap();
    writer
        .tensor(&Digest::ZERO, DType::F32, &[2], &[0; 8])
        .unwrap();
    writer.finish().unwrap();
    assert_snapshot!(message(&bytes), @"E068: frame 1 at byte 808 of test.ilj: the digest of a tensor f32[2] should be b3:000000000000, but the content has b3:b7d7909a9f5f");
}

#[test]
fn e069_limit() {
    let value = Some(ValueTree::Text("x".repeat(1 << 20)));
    let exchange = Exchange {
        value,
        ..samples::exchange(0, 0, Event::Value)
    };
    assert_snapshot!(describe(&writer().exchange(&exchange).unwrap_err()), @"E069: frame 2 at byte 944 of run.ilj: the size of this exchange in bytes is 1048593, the limit is 1048576");
    let error = writer().path(&"x".repeat(1 << 16)).unwrap_err();
    assert_snapshot!(describe(&error), @"E069: frame 2 at byte 944 of run.ilj: the size of this path in bytes is 65543, the limit is 65536");
    let error = writer()
        .tensor(&Digest::ZERO, DType::U8, &[0; 256], &[])
        .unwrap_err();
    assert_snapshot!(describe(&error), @"E069: frame 2 at byte 944 of run.ilj: a tensor's rank is 256, the limit is 255");
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
