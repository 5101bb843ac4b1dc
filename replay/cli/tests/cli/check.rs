//! `check` and `recover`: good journals, cut ones, damaged ones, and files that are none.

use std::fs;

use interloom_journal::Journal;
use serde_json::{Value, json};

use crate::{GOLDEN, Place};

fn golden() -> (Place, Vec<u8>) {
    let place = Place::new();
    fs::copy(GOLDEN, place.path("a.ilj")).unwrap();
    let bytes = fs::read(GOLDEN).unwrap();
    (place, bytes)
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_good_journal_is_described() {
    let (place, _) = golden();
    let ended = place.run(&["check", "a.ilj"]).with(0);
    assert_eq!(ended.err, "");
    insta::assert_snapshot!(ended.out, @r#"
    journal format 1.0, policy full, finished
    run 0 "forward 0": 12 exchanges, 3 values cached at 2 points, completed, digest b3:c5277973db4f
    run 1 "forward 1": 1 exchange, stopped by `steer` at `layers.0.attn.output.i70000`, digest b3:9b40d2bf5d9f
    run 2 "forward 2": 3 exchanges, mediator `read` failed at `layers.0.attn.output.i1`: `x` has no value yet; give it one on every path that leads here [E103], digest b3:67cad1130352
    72 frames, 3 runs, 16 exchanges, 5 paths, 15 tensors of 116 bytes, 1 note, 1 passage
    6880 bytes, all of them good
    digest 67cad1130352a84ff27421f68d0c44492af9cd8aad54557eed8d09c6fd35e8e5
    "#);
    let json = json_of(&place.run(&["check", "a.ilj", "--json"]).with(0).out);
    assert_eq!(json["good"], true);
    assert_eq!(
        (&json["frames"], &json["exchanges"]),
        (&json!(72), &json!(16))
    );
    assert_eq!(json["runs"][2]["code"], "E103");
    assert_eq!(json["problem"], Value::Null);
}

#[test]
fn damage_is_found_with_its_byte() {
    let (place, mut bytes) = golden();
    bytes[2040] ^= 1;
    fs::write(place.path("a.ilj"), &bytes).unwrap();
    let ended = place.run(&["check", "a.ilj"]).with(1);
    insta::assert_snapshot!(ended.out, @r#"
    journal format 1.0, policy full, not finished
    run 0 "forward 0": 3 exchanges, no end
    16 frames, 1 run, 3 exchanges, 2 paths, 3 tensors of 24 bytes, 1 note, 0 passages
    2008 bytes, good up to there
    digest 0000000000000000000000000000000000000000000000000000000000000000
    "#);
    insta::assert_snapshot!(ended.error("E064", 1), @"a.ilj is damaged in frame 16 at byte 2008: the payload's CRC does not match its bytes; the 16 frames before it are good");
    let ended = place.run(&["check", "a.ilj", "--json"]).with(1);
    let json = json_of(&ended.out);
    assert_eq!(
        (&json["good"], &json["problem"]["code"]),
        (&json!(false), &json!("E064"))
    );
    assert_eq!(ended.err, "");
}

#[test]
fn a_journal_without_its_footer_is_good_but_not_finished() {
    let (place, bytes) = golden();
    let footer = interloom_journal::JournalReader::open(GOLDEN).unwrap();
    let footer = footer
        .map(|record| record.unwrap().0.offset)
        .last()
        .unwrap();
    fs::write(place.path("a.ilj"), &bytes[..footer as usize]).unwrap();
    let out = place.run(&["check", "a.ilj"]).with(0).out;
    assert!(
        out.starts_with("journal format 1.0, policy full, not finished\n"),
        "{out}"
    );
}

#[test]
fn nothing_is_lost_of_a_good_journal() {
    let (place, bytes) = golden();
    let out = place.run(&["recover", "a.ilj"]).with(0).out;
    insta::assert_snapshot!(out, @"
    72 frames, 3 runs and 16 exchanges are good, in 6880 bytes
    nothing was lost
    journal: a.recovered.ilj
    ");
    assert!(fs::read(place.path("a.recovered.ilj")).unwrap() == bytes);
    place.run(&["recover", "a.ilj", "--in-place"]).with(0);
    assert!(fs::read(place.path("a.ilj")).unwrap() == bytes);
}

#[test]
fn a_cut_journal_is_recovered_up_to_the_cut() {
    let (place, bytes) = golden();
    fs::write(place.path("a.ilj"), &bytes[..2050]).unwrap();
    let out = place
        .run(&["recover", "a.ilj", "--out", "b.ilj"])
        .with(3)
        .out;
    insta::assert_snapshot!(out, @r#"
    16 frames, 1 run and 3 exchanges are good, in 2008 bytes
    lost: 42 bytes from byte 2008 on: a.ilj ends early: the payload of frame 16 has 18 of 56 bytes; the first 2008 bytes are good (16 frames, 3 exchanges) (E065)
    run 0 "forward 0" had no end, and was given one after 3 exchanges
    journal: b.ilj
    "#);
    assert!(fs::read(place.path("a.ilj")).unwrap() == bytes[..2050]);
    place.run(&["check", "b.ilj"]).with(0);
    place.run(&["check", "a.ilj"]).error("E065", 1);

    let json = json_of(
        &place
            .run(&["recover", "a.ilj", "--in-place", "--json"])
            .with(3)
            .out,
    );
    assert_eq!(json["lossless"], false);
    assert_eq!(json["lost"]["problem"]["code"], "E065");
    assert_eq!(json["interrupted"]["run"], 0);
    let (a, b) = (
        Journal::load(place.path("a.ilj")),
        Journal::load(place.path("b.ilj")),
    );
    assert_eq!(a.unwrap().runs, b.unwrap().runs);
    place.run(&["recover", "a.ilj"]).with(0);
}

#[test]
fn what_is_no_journal_is_refused_by_both() {
    let (place, bytes) = golden();
    fs::write(place.path("b.ilj"), "chapter one").unwrap();
    fs::create_dir(place.path("folder")).unwrap();
    fs::write(place.path("short.ilj"), &bytes[..70]).unwrap();
    for command in ["check", "recover"] {
        place.run(&[command, "none.ilj"]).error("E060", 1);
        place.run(&[command, "folder"]).error("E061", 1);
        place.run(&[command, "b.ilj"]).error("E062", 1);
        place.run(&[command, "short.ilj"]).error("E065", 1);
        place.run(&[command]).with(2);
    }
    place
        .run(&["recover", "a.ilj", "--out", "a.ilj"])
        .error("E070", 1);
    place
        .run(&["recover", "a.ilj", "--out", "b.ilj"])
        .error("E070", 1);
    place
        .run(&["recover", "a.ilj", "--out", "c.ilj", "--in-place"])
        .with(2);
    assert_eq!(place.files(), ["a.ilj", "b.ilj", "folder", "short.ilj"]);
}

#[test]
fn a_recording_keeps_as_many_tensors_as_it_was_asked_to() {
    let place = Place::new();
    let tensors = |options: &[&str]| {
        let all = [&["demo", "--journal", "a.ilj"], options].concat();
        place.run(&all).with(0);
        let json = json_of(&place.run(&["check", "a.ilj", "--json"]).with(0).out);
        assert_eq!(json["good"], true);
        (json["policy"].clone(), json["tensors"].as_u64().unwrap())
    };
    assert_eq!(tensors(&[]), ("digest".into(), 0));
    let (policy, sampled) = tensors(&["--sample", "4"]);
    assert_eq!(policy, "sampled (one in 4)");
    let (_, all) = tensors(&["--full"]);
    assert!(0 < sampled && sampled < all, "{sampled} of {all}");
    let json = json_of(
        &place
            .run(&["demo", "--journal", "a.ilj", "--json"])
            .with(0)
            .out,
    );
    assert_eq!(json["heads"].as_array().unwrap().len(), 8);
    assert!(json["heads"][0]["loss"].as_f64() > json["intact"]["loss"].as_f64());
    assert_eq!(json["recorded"]["digest"], json["replay"]["digest"]);
    assert_eq!(json["replay"]["identical"], true);
    place.run(&["demo", "--sample", "0"]).with(2);
    place.run(&["demo", "--sample", "2", "--full"]).with(2);
}

#[cfg(unix)]
#[test]
fn a_journal_is_not_recovered_or_exported_onto_itself_by_another_name() {
    let (place, _) = golden();
    let before = fs::read(place.path("a.ilj")).unwrap();
    fs::hard_link(place.path("a.ilj"), place.path("hard.ilj")).unwrap();
    std::os::unix::fs::symlink("a.ilj", place.path("soft.ilj")).unwrap();
    for name in ["hard.ilj", "soft.ilj"] {
        let recover = ["recover", "a.ilj", "--out", name];
        place.run(&recover).error("E070", 1);
        let export = ["export", "a.ilj", "--format", "jsonl", "--out", name];
        place.run(&export).error("E070", 1);
        assert!(fs::read(place.path("a.ilj")).unwrap() == before, "{name}");
    }
    assert_eq!(place.files(), ["a.ilj", "hard.ilj", "soft.ilj"]);
}
