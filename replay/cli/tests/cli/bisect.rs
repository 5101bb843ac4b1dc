//! `bisect`: where journals, builds, devices and orders part.

use std::fs;

use serde_json::Value;

use crate::sample::{Sample, pair};
use crate::{GOLDEN, Place};

/// Two mediators at one site that do not commute, between two others that commute with all.
const ORDERS: &str = r#"
model = "induction"

[[input]]
name = "in"
tokens = [5, 3, 8, 1, 5, 3, 8]

[[run]]
name = "first"
input = "in"
program = 'save h = layers.1[.., -1]'

[[run]]
name = "both"
input = "in"
report.top = 1

[[run.invoke]]
name = "watch"
program = 'save h = layers.1[.., -1]'

[[run.invoke]]
name = "double"
program = 'layers.0 *= 2'

[[run.invoke]]
name = "patch"
program = 'layers.0[.., -1] = $first.h'

[[run.invoke]]
name = "look"
program = 'save h = layers.1[.., 0]'
"#;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn orders() -> Place {
    let place = Place::new();
    fs::write(place.path("o.toml"), ORDERS).unwrap();
    place
}

/// The two schedules of `both` that `explore` finds, as options.
fn schedules(place: &Place) -> [String; 2] {
    let found = json(&place.run(&["explore", "o.toml", "--json"]).with(1).out);
    let classes = &found["runs"][1]["classes"];
    assert_eq!(classes.as_array().unwrap().len(), 2);
    [0, 1].map(|class| {
        let schedule = classes[class]["schedule"].as_str().unwrap();
        format!("both={schedule}")
    })
}

#[test]
fn journals_part_where_they_differ_first() {
    let other = Sample {
        computed: [6.0, 8.000_001],
        ..Sample::default()
    };
    let place = pair(&Sample::default(), &other);
    let same = place.run(&["bisect", "journals", "a.ilj", "a.ilj"]).with(0);
    assert_eq!(same.out, "8 exchanges equal; nothing parts\n");
    let out = place
        .run(&["bisect", "journals", "a.ilj", "b.ilj"])
        .with(4)
        .out;
    // What `diff` says, but for what comes after the first difference.
    let diff = place.run(&["diff", "a.ilj", "b.ilj"]).with(4).out;
    let (report, help) = out.split_once("  help: ").unwrap();
    assert!(diff.starts_with(report), "{report}");
    insta::assert_snapshot!(help, @"
    interloom step a.ilj --at 5
      help: interloom why a.ilj --exchange 5
      help: interloom step b.ilj --at 5
      help: interloom why b.ilj --exchange 5
    ");
    let out = place
        .run(&["bisect", "journals", "a.ilj", "b.ilj", "--json"])
        .with(4)
        .out;
    let found = json(&out);
    assert_eq!(found["class"], "value");
    assert_eq!(
        (&found["index"], &found["exchanges"]),
        (&5.into(), &5.into())
    );
    assert_eq!(found["divergence"]["tensor"]["ulp_max"], 1);
    assert_eq!(found["help"][0], "interloom step a.ilj --at 5");
}

#[test]
fn journals_that_end_early_are_compared_as_far_as_they_go() {
    let other = Sample {
        computed: [6.0, 8.000_001],
        ..Sample::default()
    };
    let place = pair(&Sample::default(), &other);
    let whole = fs::read(place.path("a.ilj")).unwrap();
    fs::write(place.path("cut.ilj"), &whole[..whole.len() - 100]).unwrap();
    let ended = place.run(&["bisect", "journals", "a.ilj", "cut.ilj"]);
    ended.error("E065", 1);
    let ended = place
        .run(&["bisect", "journals", "a.ilj", "cut.ilj"])
        .with(1);
    assert_eq!(
        ended.out,
        "8 exchanges equal; nothing parts as far as both can be read\n"
    );
    let found = json(
        &place
            .run(&["bisect", "journals", "cut.ilj", "a.ilj", "--json"])
            .with(1)
            .out,
    );
    assert_eq!(found["problems"][0]["code"], "E065");
    // The difference comes before what was lost.
    let found = json(
        &place
            .run(&["bisect", "journals", "cut.ilj", "b.ilj", "--json"])
            .with(4)
            .out,
    );
    assert_eq!(found["index"], 5);
    let made = &found["divergence"]["made"];
    assert_eq!(made[0]["device"], "cpu");
    assert_eq!(made[0]["id"].as_str().unwrap().len(), 64);
    assert_eq!(made[0], made[1], "the heads are the same");
}

#[test]
fn the_change_of_order_that_flips_the_result_is_found() {
    let place = orders();
    let [first, second] = schedules(&place);
    let out = place
        .run(&["bisect", "schedules", "o.toml", &first, &second])
        .with(4)
        .out;
    insta::assert_snapshot!(out, @"
    both: one change of order flips the result, found in 2 runs
      at layers.0.output.i0: `double` before `patch`, or after it
      `double` and `patch` race at `layers.0.output.i0` for the same rows: SWAP (o.toml:24), then VALUE (o.toml:28)
      these are exchanges 1 and 3 of the run
      1. completed, digest b3:f3a2c3f2fca7
         watch.h  f32 [1, 1, 64]  mean 0.2755  min -11.3363  max 11.9661  [-5.1259, 0.0936, -2.5399, 0.6243, …]
         interloom run o.toml --schedule both=ilsched1:d59776a8ca8c0000:2x2:f105c2dc
      2. completed, digest b3:182d68dd462e
         watch.h  f32 [1, 1, 64]  mean 0.4467  min -15.0162  max 16.6903  [-7.1558, 0.4940, -2.4828, 1.5481, …]
         interloom run o.toml --schedule both=ilsched1:d59776a8ca8c0000:1/2,2:264ef901
    ");
    // Whatever else is in another order does not count.
    let mut flipped = 0;
    for seed in 0..12 {
        let other = format!("both=shuffle:{seed}");
        let ended = place.run(&[
            "bisect",
            "schedules",
            "o.toml",
            "both=in-order",
            &other,
            "--json",
        ]);
        let found = json(&ended.out);
        if ended.code == Some(0) {
            assert_eq!(found["same"], true);
            continue;
        }
        flipped += 1;
        let turns = &found["turns"];
        assert_eq!(
            (&turns["earlier"], &turns["later"]),
            (&"double".into(), &"patch".into())
        );
        assert_eq!(turns["site"], "layers.0.output.i0");
        // The schedules are for `run`.
        for side in ["before", "after"] {
            let schedule = found[side]["schedule"].as_str().unwrap();
            let option = format!("--schedule=both={schedule}");
            place.run(&["run", "o.toml", &option]).with(0);
        }
    }
    assert!(flipped > 0 && flipped < 12, "{flipped}");
}

#[test]
fn journals_of_two_orders_lead_to_the_change_between_them() {
    let place = orders();
    place.run(&["explore", "o.toml", "--out", "found"]).with(1);
    let ended = place.run(&[
        "bisect",
        "journals",
        "found/both.1.ilj",
        "found/both.2.ilj",
        "--json",
    ]);
    let found = json(&ended.with(4).out);
    assert_eq!(found["class"], "schedule");
    let help = found["help"].as_array().unwrap();
    let command = help.last().unwrap().as_str().unwrap();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let out = place.run(&words).with(4).out;
    assert!(out.contains("`double` before `patch`"), "{out}");
}

#[test]
fn a_journal_is_compared_with_its_runs_in_another_order() {
    let place = orders();
    let [first, second] = schedules(&place);
    place.run(&["run", "o.toml", "--journal", "o.ilj"]).with(0);
    let [first, second] = [first, second].map(|schedule| format!("--schedule={schedule}"));
    let same = place.run(&["bisect", "rerun", "o.ilj", &first]).with(0).out;
    assert!(same.ends_with("exchanges equal; nothing parts\n"), "{same}");
    let out = place
        .run(&["bisect", "rerun", "o.ilj", &second])
        .with(4)
        .out;
    assert!(out.contains("\n  class: schedule ("), "{out}");
    assert!(
        out.contains("\n  help: interloom step o.ilj --at "),
        "{out}"
    );
    let found = json(
        &place
            .run(&["bisect", "rerun", "o.ilj", &second, "--json"])
            .with(4)
            .out,
    );
    assert_eq!(
        found["divergence"]["recorded"]["exchange"]["mediator"],
        "double"
    );
    assert_eq!(found["divergence"]["live"]["exchange"]["mediator"], "patch");
}

#[test]
fn a_build_is_compared_with_itself() {
    let place = orders();
    place.run(&["run", "o.toml", "--journal", "o.ilj"]).with(0);
    let program = env!("CARGO_BIN_EXE_interloom");
    let out = place
        .run(&["bisect", "build", "o.ilj", "--with", program])
        .with(0)
        .out;
    let out = out.replace(program, "PROGRAM");
    assert!(
        out.ends_with("both make every exchange of the journal\n"),
        "{out}"
    );
    let out = place
        .run(&["bisect", "build", "o.ilj", "--with", program, "--json"])
        .with(0)
        .out;
    let found = json(&out);
    assert_eq!(
        (&found["same"], &found["verdict"]),
        (&true.into(), &"same".into())
    );
    assert_eq!(
        found["this_build"]["digest"],
        found["other"]["report"]["digest"]
    );
}

/// A program that says of every journal that it parts from it at exchange 3.
#[cfg(unix)]
fn other_build(place: &Place) -> String {
    use std::os::unix::fs::PermissionsExt as _;

    let report = serde_json::json!({
        "identical": false,
        "exchanges": 3,
        "digest": "00",
        "divergence": {
            "class": "value",
            "index": 3,
            "recorded": { "exchange": { "index": 3, "event": "SWAP", "mediator": "double", "asked": "layers.0.output.i0", "value": 1 } },
            "live": { "exchange": { "index": 3, "event": "SWAP", "mediator": "double", "asked": "layers.0.output.i0", "value": 2 } },
            "differences": [{ "field": "value", "recorded": "1", "live": "2" }],
            "notes": ["it rounds otherwise"],
            "environment": [{ "subject": "compiler", "recorded": "\"a\"", "live": "\"b\"" }],
        },
    });
    let path = place.path("other");
    fs::write(&path, format!("#!/bin/sh\necho '{report}'\nexit 4\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[cfg(unix)]
#[test]
fn a_build_that_parts_is_reported() {
    let place = orders();
    place.run(&["run", "o.toml", "--journal", "o.ilj"]).with(0);
    let other = other_build(&place);
    let out = place
        .run(&["bisect", "build", "o.ilj", "--with", &other])
        .with(4)
        .out;
    insta::assert_snapshot!(crate::without_folder(&place, &out), @r#"
    this build: makes its 12 exchanges
    other: parts from o.ilj at exchange 3, class value
    the builds part at exchange 3:
      - 3  SWAP  double  layers.0.output.i0  1  <- recorded
      + 3  SWAP  double  layers.0.output.i0  2  <- other
      value: 1 recorded, 2 by other
      note: it rounds otherwise
      environment: compiler: "a" recorded, "b" in other
    "#);
    let out = place
        .run(&["bisect", "build", "o.ilj", "--with", &other, "--json"])
        .with(4)
        .out;
    let found = json(&out);
    assert_eq!(
        (&found["index"], &found["class"]),
        (&3.into(), &"value".into())
    );
}

#[test]
fn what_cannot_be_bisected_is_said() {
    let place = orders();
    fs::copy(GOLDEN, place.path("golden.ilj")).unwrap();
    place.run(&["demo", "--journal", "demo.ilj"]).with(0);
    let usage = |arguments: &[&str]| place.run(&[&["bisect"], arguments].concat()).with(2).err;
    insta::assert_snapshot!(usage(&["schedules", "o.toml", "both=in-order", "first=in-order"]), @"both schedules must be of one run, and these are of both and first");
    usage(&[]);
    usage(&["o.toml"]);
    usage(&["journals", "golden.ilj"]);
    usage(&["journals", "a.ilj", "b.ilj", "--device", "cpu"]);
    usage(&["build", "demo.ilj"]);
    usage(&["rerun", "demo.ilj"]);
    usage(&["rerun", "demo.ilj", "--device=cpu", "--context=2"]);
    usage(&["rerun", "demo.ilj", "--device=cpu", "--set=a=b"]);
    usage(&["rerun", "demo.ilj", "--device=cpu", "--granularity=site"]);
    usage(&["schedules", "o.toml", "in-order"]);
    let error = |arguments: &[&str], code: &str, exit: i32| {
        let ended = place.run(&[&["bisect"], arguments].concat());
        crate::without_folder(&place, &ended.error(code, exit))
    };
    let both = ["in-order", "shuffle:1"];
    insta::assert_snapshot!(error(&["schedules", "o.toml", both[0], both[1]], "E116", 1), @"o.toml:1:1: there are several runs, and schedules are of one; write RUN=SCHEDULE, with one of first, both");
    insta::assert_snapshot!(error(&["schedules", "o.toml", "bath=in-order", both[1]], "E115", 1), @"o.toml:1:1: there is no run to bisect `bath`; nearest: `both`, `first`");
    insta::assert_snapshot!(error(&["schedules", "o.toml", "both=in-order", "both=ilsched1:x"], "E120", 1), @"the schedule cannot be read at byte 9: expected the programme's digest, 16 digits of 0-9 and a-f, found `x`; copy the whole text");
    insta::assert_snapshot!(error(&["rerun", "demo.ilj", "--device=abacus"], "E034", 5), @"no device `abacus`: known devices are `cpu`, `cuda` and `cuda:N`");
    error(&["rerun", "golden.ilj", "--device=cpu"], "E090", 1);
    error(&["journals", "none.ilj", "golden.ilj"], "E060", 1);
    error(&["journals", "golden.ilj", "none.ilj"], "E060", 1);
    error(&["schedules", "none.toml", both[0], both[1]], "E110", 1);
    error(&["journals", "o.toml", "demo.ilj"], "E062", 1);
    let message = error(&["build", "demo.ilj", "--with", "./nothing"], "E099", 1);
    assert!(
        message.starts_with("cannot compare with ./nothing: it cannot be started: "),
        "{message}"
    );
    // The demo is an experiment file like any other, so that its runs have an order, too.
    let same = place
        .run(&["bisect", "rerun", "demo.ilj", "--schedule=in-order"])
        .with(0)
        .out;
    assert!(same.ends_with("exchanges equal; nothing parts\n"), "{same}");
}
