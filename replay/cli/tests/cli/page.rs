//! `export --format html`: pages for browsers.

use std::fs;

use serde_json::Value;

use crate::sample::{Sample, pair};
use crate::{GOLDEN, Place};

/// Exports and gives the page with its JSON.
fn page(place: &Place, more: &[&str]) -> (String, Value) {
    let all = [
        &["export", "a.ilj", "--format", "html", "--out", "page.html"],
        more,
    ]
    .concat();
    place.run(&all).with(0);
    let page = fs::read_to_string(place.path("page.html")).unwrap();
    let (_, rest) = page.split_once("id=\"data\">").unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    let json = serde_json::from_str(json).unwrap();
    (page, json)
}

/// What each row of a page of two journals is, with its indices.
fn rows(data: &Value) -> Vec<String> {
    let side = |side: &Value| match side {
        Value::Null => "-".to_owned(),
        side => side["index"].to_string(),
    };
    let rows = data["items"].as_array().unwrap().iter();
    rows.map(|row| {
        let sides = (side(&row["first"]), side(&row["second"]));
        format!("{} {} {}", row["is"].as_str().unwrap(), sides.0, sides.1)
    })
    .collect()
}

#[test]
fn a_journal_is_one_file_that_says_the_same_wherever_it_lies() {
    let place = Place::new();
    fs::copy(GOLDEN, place.path("a.ilj")).unwrap();
    let (first, data) = page(&place, &[]);
    assert!(first.starts_with("<!DOCTYPE html>"));
    assert_eq!(data["kind"], "journal");
    assert_eq!(data["items"].as_array().unwrap().len(), 16);
    fs::create_dir(place.path("deeper")).unwrap();
    fs::copy(GOLDEN, place.path("deeper/a.ilj")).unwrap();
    place
        .run(&[
            "export",
            "deeper/a.ilj",
            "--format",
            "html",
            "--out",
            "other.html",
        ])
        .with(0);
    assert_eq!(fs::read_to_string(place.path("other.html")).unwrap(), first);
    let (_, few) = page(&place, &["--limit", "2", "--site", "layers.0.mlp"]);
    assert_eq!(few["items"].as_array().unwrap().len(), 2);
    assert!(
        few["left_out"]
            .as_str()
            .unwrap()
            .starts_with("This page has the first 2 exchanges")
    );
}

#[test]
fn two_journals_are_aligned_and_the_divergence_is_marked() {
    let place = pair(
        &Sample::default(),
        &Sample {
            reads_again: true,
            ..Sample::default()
        },
    );
    let (_, data) = page(&place, &["--diff", "b.ilj"]);
    assert_eq!(
        rows(&data),
        [
            "equal 0 0",
            "equal 1 1",
            "equal 2 2",
            "equal 3 3",
            "equal 4 4",
            "second - 5",
            "equal 5 6",
            "equal 6 7",
            "equal 7 8"
        ]
    );
    assert_eq!(data["divergence"], 5);
    insta::assert_snapshot!(data["report"]["summary"].as_str().unwrap(), @"The first divergence is at exchange 5 (schedule).");
    let report = data["report"]["text"].as_str().unwrap();
    let diff = place.run(&["diff", "a.ilj", "b.ilj"]).with(4).out;
    assert!(diff.starts_with(report), "{report}");
    assert_eq!(data["items"][5]["second"]["mediator"], "read");
}

#[test]
fn rows_around_the_divergence_are_shown_first() {
    let place = pair(
        &Sample::default(),
        &Sample {
            computed: [6.0, 9.0],
            ..Sample::default()
        },
    );
    let (_, data) = page(&place, &["--diff", "b.ilj", "--limit", "2"]);
    assert_eq!(rows(&data), ["equal 4 4", "other 5 5"]);
    assert_eq!(data["divergence"], 1);
    insta::assert_snapshot!(data["left_out"].as_str().unwrap(), @"This page has 2 rows and leaves out 4 before and 2 after them. `interloom export --limit N` shows more.");
    let first = &data["items"][1]["first"]["tensors"][0]["digest"];
    assert_eq!(data["tensors"][0][first.as_str().unwrap()]["max"], 8.0);
    let (_, none) = page(&place, &["--diff", "b.ilj", "--limit", "0"]);
    assert_eq!(none["divergence"], Value::Null);
}

#[test]
fn equal_journals_have_a_page_too() {
    let place = pair(
        &Sample::default(),
        &Sample {
            device: "cuda:0",
            ..Sample::default()
        },
    );
    let (page_text, data) = page(&place, &["--diff", "b.ilj"]);
    assert_eq!(data["is_equal"], true);
    assert_eq!(data["divergence"], Value::Null);
    insta::assert_snapshot!(data["report"], @r#"{"summary":"All 8 exchanges are equal.","text":"device: \"cpu\" in a.ilj, \"cuda:0\" in b.ilj"}"#);
    assert_eq!(page(&place, &["--diff", "b.ilj"]).0, page_text);
}

#[test]
fn pages_that_cannot_be_made_leave_nothing_behind() {
    let place = pair(&Sample::default(), &Sample::default());
    let run = |more: &[&str]| {
        let all = [&["export", "a.ilj", "--out", "out"], more].concat();
        place.run(&all)
    };
    let err = run(&["--format", "trace", "--diff", "b.ilj"]).with(2).err;
    insta::assert_snapshot!(err, @"two journals are exported as a page only; add `--format html`");
    run(&["--format", "html", "--diff", "b.ilj", "--site", "x"]).with(2);
    run(&["--format", "html", "--diff", "none.ilj"]).error("E060", 1);
    run(&["--format", "html", "--site", "layers.9"]).error("E072", 1);
    run(&["--format", "html", "--limit", "-1"]).with(2);
    place
        .run(&[
            "export", "a.ilj", "--format", "html", "--diff", "b.ilj", "--out", "b.ilj",
        ])
        .error("E070", 1);
    assert_eq!(place.files(), ["a.ilj", "b.ilj"]);
}

#[test]
fn a_page_says_where_journals_part_that_part_between_exchanges() {
    let short = Sample {
        is_short: true,
        ..Sample::default()
    };
    let place = pair(&Sample::default(), &short);
    let (_, data) = page(&place, &["--diff", "b.ilj"]);
    assert_eq!(data["divergence"], Value::Null);
    insta::assert_snapshot!(data["report"]["summary"].as_str().unwrap(), @r#"The first divergence is at exchange 2 (protocol). No row is marked, for they part between exchanges: a.ilj begins run "patched", b.ilj has nothing more."#);
}
