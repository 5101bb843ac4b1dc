//! `show` and `why`: what was exchanged, and where a value came from.

use std::fs;

use crate::sample::Sample;
use crate::{GOLDEN, Place};

fn sample() -> Place {
    let place = Place::new();
    Sample::default().write(&place.path("a.ilj"));
    place
}

#[test]
fn every_exchange_is_a_line() {
    let out = sample().run(&["show", "a.ilj"]).with(0).out;
    insta::assert_snapshot!(out, @"
         0  run 0  VALUE      read  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
         1  run 0  END        read  at layers.0.attn.output.i0  served
         2  run 1  VALUE      patch  layers.0.attn.output.i0  served  f32[2] b3:3956c2eac076
         3  run 1  SWAP       patch  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
         4  run 1  VALUE      read  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
         5  run 1  SWAP       patch  layers.1.mlp.output.i0  served  f32[2] b3:63d355adf510
         6  run 1  VALUE      read  layers.1.mlp.output.i0  served  f32[2] b3:63d355adf510
         7  run 1  EXCEPTION  read  at layers.1.mlp.output.i0  failed: E001: it failed
    proves that the journal is whole: 19 frames by CRCs and numbers, 8 of 8 exchanges by the digests of 2 runs up to frame 17, and its end by the footer; none of L1 to L4, because neither model nor mediators ran
    ");
    let place = Place::new();
    fs::copy(GOLDEN, place.path("a.ilj")).unwrap();
    let out = place.run(&["show", "a.ilj"]).with(0).out;
    assert_eq!(out.lines().count(), 12);
    let refused = out.lines().nth_back(1).unwrap();
    insta::assert_snapshot!(refused, @r#"    10  run 1  SWAP       steer  layers.0.mlp.output.i2 at layers.0.attn.output.i70000  refused: E010: out of order  ((), true, -7, -0.0, "é", f32[2] b3:acc346244904, [], {"k": 9223372036854775807})"#);
}

#[test]
fn exchanges_are_chosen_by_run_site_and_mediator() {
    let place = sample();
    let count = |arguments: &[&str]| {
        let all = [&["show", "a.ilj"], arguments].concat();
        let out = place.run(&all).with(0).out;
        assert!(out.lines().last().unwrap().starts_with("proves that "));
        out.lines().count() - 1
    };
    assert_eq!(count(&[]), 8);
    assert_eq!(count(&["--run", "0"]), 2);
    assert_eq!(count(&["--mediator", "patch"]), 3);
    assert_eq!(count(&["--site", "layers.0.attn"]), 5);
    assert_eq!(
        count(&["--site", "layers.0.attn.output.i0", "--run", "1"]),
        3
    );
    assert_eq!(count(&["--site", "layers.1.mlp", "--mediator", "patch"]), 1);
    // Each is there, and no exchange is all of them.
    assert_eq!(count(&["--site", "layers.1.mlp", "--run", "0"]), 0);
}

#[test]
fn what_the_journal_does_not_have_is_said() {
    let place = sample();
    let refused = |arguments: &[&str]| {
        let all = [&["show", "a.ilj"], arguments].concat();
        place.run(&all).error("E072", 1)
    };
    insta::assert_snapshot!(refused(&["--run", "2"]), @"a.ilj has no run 2; it has runs 0 to 1");
    insta::assert_snapshot!(refused(&["--site", "layers.9"]), @r#"a.ilj has no exchange at the site "layers.9"; it has layers.0.attn.output, layers.1.mlp.output"#);
    insta::assert_snapshot!(refused(&["--mediator", "nobody"]), @r#"a.ilj has no exchange of the mediator "nobody"; it has ["read", "patch"]"#);
}

#[test]
fn an_exchange_is_json_too() {
    let out = sample()
        .run(&["show", "a.ilj", "--json", "--site", "layers.1.mlp"])
        .with(0)
        .out;
    let lines: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 4);
    insta::assert_snapshot!(lines[3], @r#"{"digested_exchanges":8,"exchanges":8,"frames":19,"last_digest_frame":17,"level":null,"proves":"that the journal is whole: 19 frames by CRCs and numbers, 8 of 8 exchanges by the digests of 2 runs up to frame 17, and its end by the footer; none of L1 to L4, because neither model nor mediators ran","runs":2,"ticks":0,"whole":true}"#);
    assert_eq!(lines[0]["event"], "SWAP");
    assert_eq!(lines[0]["asked"], "layers.1.mlp.output.i0");
    assert_eq!(lines[0]["value"]["tensor"]["shape"][0], 2);
    assert_eq!(lines[2]["fault"]["code"], "E001");
}

#[test]
fn a_cut_journal_is_shown_up_to_the_cut() {
    let place = sample();
    let bytes = fs::read(place.path("a.ilj")).unwrap();
    fs::write(place.path("a.ilj"), &bytes[..bytes.len() / 2]).unwrap();
    let ended = place.run(&["show", "a.ilj"]).with(1);
    let lines = ended.out.lines().count();
    assert!(0 < lines && lines < 8, "{}", ended.out);
    ended.error("E065", 1);
}

#[test]
fn a_value_is_followed_back_through_the_other_run() {
    let place = sample();
    let out = place.run(&["why", "a.ilj", "layers.0.attn"]).with(0).out;
    insta::assert_snapshot!(out, @"
    4  run 1  VALUE      read  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
       <- put there by exchange 3
    3  run 1  SWAP       patch  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
       <- the same value was read by exchange 0
    0  run 0  VALUE      read  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
       <- the model computed it
    ");
    let out = place
        .run(&["why", "a.ilj", "layers.1.mlp.output.i0"])
        .with(0)
        .out;
    insta::assert_snapshot!(out, @r#"
    6  run 1  VALUE      read  layers.1.mlp.output.i0  served  f32[2] b3:63d355adf510
       <- put there by exchange 5
    5  run 1  SWAP       patch  layers.1.mlp.output.i0  served  f32[2] b3:63d355adf510
       <- "patch" computed it, after it had been served exchange 2
    "#);
    let first = place
        .run(&["why", "a.ilj", "layers.0.attn", "--run", "0"])
        .with(0)
        .out;
    assert_eq!(first.lines().count(), 2, "{first}");
    let again = place.run(&["why", "a.ilj", "--exchange", "0"]).with(0).out;
    assert_eq!(first, again);
    let json = place
        .run(&["why", "a.ilj", "layers.0.attn", "--json"])
        .with(0)
        .out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 3);
    assert_eq!(json[2]["from"], "the model computed it");
}

#[test]
fn a_value_that_there_is_not_has_no_origin() {
    let place = sample();
    let message = place.run(&["why", "a.ilj", "layers.7"]).error("E072", 1);
    insta::assert_snapshot!(message, @r#"a.ilj has no value at the site "layers.7"; it has others; `interloom show` lists them"#);
    place
        .run(&["why", "a.ilj", "layers.1.mlp", "--run", "0"])
        .error("E072", 1);
    let message = place
        .run(&["why", "a.ilj", "--exchange", "1"])
        .error("E072", 1);
    insta::assert_snapshot!(message, @"a.ilj has no value in exchange 1; it has a request without one there");
    let message = place
        .run(&["why", "a.ilj", "--exchange", "99"])
        .error("E072", 1);
    insta::assert_snapshot!(message, @"a.ilj has no exchange 99; it has exchanges 0 to 7");
    place.run(&["why", "a.ilj"]).with(2);
}
