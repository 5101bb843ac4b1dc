//! Journals that end early: their good beginnings can be read and exported.

use std::fs;

use serde_json::Value;

use crate::sample::Sample;
use crate::{Ended, GOLDEN, Place};

/// A whole journal at `a.ilj`, and its beginning at `b.ilj`.
fn pair() -> Place {
    let place = Place::new();
    Sample::default().write(&place.path("a.ilj"));
    let bytes = fs::read(place.path("a.ilj")).unwrap();
    fs::write(place.path("b.ilj"), &bytes[..bytes.len() * 3 / 4]).unwrap();
    place
}

/// Runs a command on the beginning, which has to be said on standard error, with a way on.
fn run(place: &Place, line: &str) -> Ended {
    let arguments: Vec<&str> = line.split(' ').collect();
    let ended = place.run(&arguments);
    let said = ended.err.starts_with("error[E065]: b.ilj ends early: ");
    assert!(said, "{line}\n{}", ended.err);
    assert!(
        ended.err.contains("bytes are good"),
        "{line}\n{}",
        ended.err
    );
    let way = "  `interloom recover` makes a whole journal of what is good\n";
    assert!(ended.err.ends_with(way), "{line}\n{}", ended.err);
    ended
}

#[test]
fn a_torn_tail_keeps_nobody_from_what_is_good() {
    let place = pair();
    let whole = |line: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        place.run(&arguments).with(0).out
    };
    let show = run(&place, "show b.ilj").with(1).out;
    let (lines, proof) = show.trim_end().rsplit_once('\n').unwrap();
    assert!(whole("show a.ilj").starts_with(lines) && lines.lines().count() > 2);
    let proves = "proves that the journal is good so far: ";
    let nothing = "and nothing says that it ends here; none of L1 to L4, ";
    assert!(
        proof.starts_with(proves) && proof.contains(nothing),
        "{proof}"
    );
    assert_eq!(
        run(&place, "why b.ilj --exchange 3").with(1).out,
        whole("why a.ilj --exchange 3")
    );
    let races = run(&place, "races b.ilj").with(1).out;
    assert!(whole("races a.ilj").starts_with(&races) && races.contains(" race at "));
    run(&place, "check b.ilj").with(1);
}

#[test]
fn what_is_good_is_exported() {
    let place = pair();
    for format in ["jsonl", "trace", "npz", "safetensors", "mcap", "html"] {
        let line = format!("export b.ilj --format {format} --out {format}");
        let out = run(&place, &line).with(1).out;
        assert!(out.ends_with(&format!(" in {format}\n")), "{out}");
        assert!(fs::metadata(place.path(format)).unwrap().len() > 100);
    }
    let lines = fs::read_to_string(place.path("jsonl")).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert!(lines.lines().count() > 8 && last["kind"] != "footer");
    let trace = fs::read(place.path("trace")).unwrap();
    assert!(serde_json::from_slice::<Value>(&trace).is_ok());
    let page = "export a.ilj --diff b.ilj --format html --out page";
    run(&place, page).with(1);
    let page = fs::read_to_string(place.path("page")).unwrap();
    assert!(page.contains("exchanges are equal that both can be read for."));
    // Of what is not there nothing is left behind.
    let site = ["export", "b.ilj", "--format", "jsonl", "--out", "none"];
    let with_site = [&site[..], &["--site", "layers.9"]].concat();
    place.run(&with_site).error("E072", 1);
    assert!(!place.path("none").exists());
}

#[test]
fn that_one_ends_early_is_no_difference() {
    let place = pair();
    for line in ["diff a.ilj b.ilj", "diff b.ilj a.ilj"] {
        let out = run(&place, line).with(1).out;
        assert!(
            out.ends_with(" equal, as far as both can be read\n"),
            "{out}"
        );
        let json = run(&place, &format!("{line} --json")).with(1).out;
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["equal"], false);
        assert_eq!(json["divergence"], Value::Null);
        assert_eq!(json["problems"][0]["code"], "E065");
    }
    // A difference before the tear is one.
    let other = Sample {
        is_short: true,
        ..Sample::default()
    };
    other.write(&place.path("c.ilj"));
    for line in ["diff c.ilj b.ilj", "diff b.ilj c.ilj"] {
        let out = run(&place, line).with(4).out;
        assert!(out.contains(" part at exchange "), "{out}");
    }
}

#[test]
fn damage_before_the_end_is_not_passed_over() {
    let place = Place::new();
    let mut bytes = fs::read(GOLDEN).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(place.path("b.ilj"), bytes).unwrap();
    for line in [
        "why b.ilj --exchange 0",
        "races b.ilj",
        "diff b.ilj b.ilj",
        "export b.ilj --format jsonl --out out",
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        place.run(&arguments).error("E064", 1);
    }
    assert_eq!(place.files(), ["b.ilj"]);
}
