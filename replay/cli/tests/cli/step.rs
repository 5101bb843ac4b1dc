//! `step`: through a journal and back, by commands on standard input.

use std::fs::{self, File};

use serde_json::{Value, json};

use crate::sample::Sample;
use crate::{Ended, Place, program};

fn step(place: &Place, journal: &str, commands: &str) -> Ended {
    step_with(place, &[journal], commands)
}

fn step_with(place: &Place, arguments: &[&str], commands: &str) -> Ended {
    let script = place.path("commands");
    fs::write(&script, commands).unwrap();
    let mut command = program(&place.path(""));
    command
        .arg("step")
        .args(arguments)
        .stdin(File::open(&script).unwrap());
    command.output().unwrap().into()
}

fn sample() -> Place {
    let place = Place::new();
    Sample::default().write(&place.path("a.ilj"));
    place
}

#[test]
fn a_journal_is_gone_through_in_both_directions() {
    let commands = "next\nnext 2\n\nback\ngoto 7\nnext\nback 8\nsite layers.1.mlp\ngoto 0\nmediator patch\nshow\nquit\nnext\n";
    let ended = step(&sample(), "a.ilj", commands).with(0);
    assert_eq!(ended.err, "");
    insta::assert_snapshot!(ended.out, @"
    8 exchanges in 2 runs
         0  run 0  VALUE      read  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
         1  run 0  END        read  at layers.0.attn.output.i0  served
         3  run 1  SWAP       patch  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
         2  run 1  VALUE      patch  layers.0.attn.output.i0  served  f32[2] b3:3956c2eac076
         7  run 1  EXCEPTION  read  at layers.1.mlp.output.i0  failed: E013: it failed
    that is after the last exchange; still at exchange 7
    that is before the first exchange; still at exchange 7
    no exchange at layers.1.mlp after exchange 7
         0  run 0  VALUE      read  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
         2  run 1  VALUE      patch  layers.0.attn.output.i0  served  f32[2] b3:3956c2eac076
         2  run 1  VALUE      patch  layers.0.attn.output.i0  served  f32[2] b3:3956c2eac076
            f32[2] b3:3956c2eac076  2 elements, 0 NaN, 0 infinite  min 3  max 4  mean 3.5  norm 5
    ");
}

#[test]
fn the_exchange_at_hand_is_explained() {
    let out = step(&sample(), "a.ilj", "goto 4\nwhy\nnext 3\nwhy\n")
        .with(0)
        .out;
    insta::assert_snapshot!(out, @"
    8 exchanges in 2 runs
         0  run 0  VALUE      read  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
         4  run 1  VALUE      read  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
         4  run 1  VALUE      read  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
            <- put there by exchange 3
         3  run 1  SWAP       patch  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
            <- the same value was read by exchange 0
         0  run 0  VALUE      read  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
            <- the model computed it
         7  run 1  EXCEPTION  read  at layers.1.mlp.output.i0  failed: E013: it failed
    a.ilj has no value in exchange 7; it has a request without one there
    ");
}

#[test]
fn scripts_are_answered_in_json() {
    let commands = "next\nwhy\nback 9\ngoto 7\nwhy\n";
    let ended = step_with(&sample(), &["a.ilj", "--json", "--at", "4"], commands).with(0);
    let lines: Vec<Value> = ended
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0], json!({ "exchanges": 8, "runs": 2 }));
    assert_eq!(
        (&lines[1]["index"], &lines[2]["index"]),
        (&json!(4), &json!(5))
    );
    assert_eq!(lines[3][0]["exchange"]["index"], 5);
    assert_eq!(
        lines[3][0]["from"],
        "\"patch\" computed it from some of what it had been given: exchange 2"
    );
    assert_eq!(
        lines[4]["message"],
        "that is before the first exchange; still at exchange 5"
    );
    assert_eq!(lines[5]["fault"]["code"], "E013");
    assert_eq!(lines[6]["at"], 7);
    assert_eq!(lines.len(), 7);
}

#[test]
fn it_begins_where_it_is_told() {
    let out = step_with(&sample(), &["a.ilj", "--plain", "--at", "5"], "")
        .with(0)
        .out;
    assert!(
        out.lines()
            .nth(1)
            .unwrap()
            .starts_with("     5  run 1  SWAP"),
        "{out}"
    );
    let message = step_with(&sample(), &["a.ilj", "--at", "8"], "").error("E072", 1);
    insta::assert_snapshot!(message, @"a.ilj has no exchange 8; it has exchanges 0 to 7");
}

#[test]
fn a_command_that_is_not_understood_is_exit_code_2() {
    let ended = step(&sample(), "a.ilj", "jump\ngoto x\nnext\n").with(2);
    insta::assert_snapshot!(ended.err, @r#"
    no command "jump"; commands: next [N], back [N], goto N, site SITE, mediator NAME, show, why, quit
    `goto` needs a whole number, found "x"; commands: next [N], back [N], goto N, site SITE, mediator NAME, show, why, quit
    "#);
    assert_eq!(ended.out.lines().count(), 3, "{}", ended.out);
}

#[test]
fn journals_that_are_none_or_are_cut_are_errors() {
    let place = sample();
    step(&place, "none.ilj", "").error("E060", 1);
    step(&place, "commands", "").error("E062", 1);
    let bytes = fs::read(place.path("a.ilj")).unwrap();
    fs::write(place.path("a.ilj"), &bytes[..bytes.len() * 3 / 4]).unwrap();
    let ended = step(&place, "a.ilj", "next\n").with(1);
    assert_eq!(ended.out.lines().count(), 3, "{}", ended.out);
    ended.error("E065", 1);
}

#[test]
fn the_figures_of_tensors_are_shown_where_they_are_kept() {
    let place = sample();
    let out = step(&place, "a.ilj", "goto 5\nshow\ngoto 7\nshow\n")
        .with(0)
        .out;
    insta::assert_snapshot!(out, @"
    8 exchanges in 2 runs
         0  run 0  VALUE      read  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
         5  run 1  SWAP       patch  layers.1.mlp.output.i0  served  f32[2] b3:63d355adf510
         5  run 1  SWAP       patch  layers.1.mlp.output.i0  served  f32[2] b3:63d355adf510
            f32[2] b3:63d355adf510  2 elements, 0 NaN, 0 infinite  min 6  max 8  mean 7  norm 10
         7  run 1  EXCEPTION  read  at layers.1.mlp.output.i0  failed: E013: it failed
         7  run 1  EXCEPTION  read  at layers.1.mlp.output.i0  failed: E013: it failed
    ");
    let out = step_with(&place, &["a.ilj", "--json", "--at", "5"], "goto 7\n")
        .with(0)
        .out;
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let digest = lines[1]["value"]["tensor"]["digest"].as_str().unwrap();
    let figures = &lines[1]["figures"][digest];
    assert_eq!(
        (&figures["min"], &figures["max"]),
        (&json!(6.0), &json!(8.0))
    );
    assert_eq!(
        (&figures["mean"], &figures["norm"]),
        (&json!(7.0), &json!(10.0))
    );
    assert_eq!(lines[2].get("figures"), None);

    let digests = Sample {
        policy: interloom_journal::Policy::Digest,
        ..Sample::default()
    };
    digests.write(&place.path("b.ilj"));
    let out = step(&place, "b.ilj", "show\n").with(0).out;
    assert!(out.ends_with("  only its digest was kept\n"), "{out}");
}
