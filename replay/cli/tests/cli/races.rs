//! `races`: what only the order decided, found in a journal, is what an exploration says of the
//! same run.

use std::fs;

use serde_json::Value as Json;

use crate::experiment::with_programs;
use crate::{GOLDEN, Place};

/// A name, what else the run has, and its mediators with their programs.
type Case = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

/// Programs that race for everything that there is to race for, and some that do not.
const CASES: [Case; 8] = [
    (
        "rows",
        "",
        &[
            ("a", "layers.0 *= 2"),
            ("b", "save h = layers.0"),
            ("c", "save h = layers.1"),
        ],
    ),
    (
        "reads",
        "",
        &[("a", "save h = layers.0"), ("b", "save h = layers.0")],
    ),
    (
        "blackboard",
        "",
        &[
            ("a", "h = layers.0\nput x = h"),
            ("b", "h = layers.0\nsave g = get(x)"),
        ],
    ),
    (
        "missed",
        "",
        &[
            ("a", "h = layers.0\ntry { save g = get(x) }"),
            ("b", "h = layers.0\nput x = h"),
        ],
    ),
    (
        "stop",
        "",
        &[("a", "h = layers.0\nstop"), ("b", "h = layers.0\nstop")],
    ),
    (
        "skip",
        "",
        &[
            ("a", "h = layers.1.input\nskip layers.1 = h"),
            ("b", "h = layers.1.input\nskip layers.1 = h * 2"),
        ],
    ),
    (
        "rounds",
        "barriers = { b = 2 }",
        &[
            ("a", "h = layers.0\nbarrier b\nbarrier b"),
            ("b", "h = layers.0\nbarrier b"),
            ("c", "h = layers.0\nbarrier b"),
        ],
    ),
    (
        "ordered",
        "barriers = { b = 2 }",
        &[
            ("a", "h = layers.0\nput x = h\nbarrier b\nlayers.1 *= 2"),
            ("b", "barrier b\ng = get(x)\nlayers.1 += 1"),
        ],
    ),
];

fn json(place: &Place, arguments: &[&str]) -> Json {
    let ended = place.run(arguments);
    serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{arguments:?}: {}", ended.err))
}

#[test]
fn a_journal_has_the_races_that_an_exploration_reports() {
    let mut all = String::new();
    for (name, more, programs) in CASES {
        for granularity in ["site", "exchange"] {
            let place = with_programs(more, programs);
            let explore = ["explore", "e.toml", "--runs", "1", "--json", "--out", "w"];
            let explored = json(
                &place,
                &[&explore[..], &["--granularity", granularity]].concat(),
            );
            let found = json(&place, &["races", "w/r.1.ilj", "--json"]);
            assert_eq!(
                found[0]["races"], explored["runs"][0]["races"],
                "{name} {granularity}"
            );
        }
        let place = with_programs(more, programs);
        // A run that fails has its races all the same.
        place.run(&["explore", "e.toml", "--runs", "1", "--out", "w"]);
        let out = place.run(&["races", "w/r.1.ilj"]).with(0).out;
        all += &format!("{name}: {out}");
    }
    insta::assert_snapshot!(all, @"
    rows: r
      `a` and `b` race at `layers.0.output.i0` for the same rows: SWAP (e.toml:12), then VALUE (e.toml:17)
    reads: r
      nothing races
    blackboard: r
      `a` and `b` race at `layers.0.output.i0` for `x` on the blackboard: PUT (e.toml:13), then GET (e.toml:19)
    missed: r
      `a` and `b` race at `layers.0.output.i0` for `x` on the blackboard: GET (e.toml:13), then PUT (e.toml:19)
    stop: r
      `a` and `b` race at `layers.0.output.i0` for the end of the run: STOP (e.toml:13), then STOP (e.toml:19)
    skip: r
      `a` and `b` race at `layers.1.input.i0` for the output of the skipped module: SKIP (e.toml:13), then SKIP (e.toml:19)
    rounds: r
      `a` and `c` race at `layers.0.output.i0` for a place at barrier `b`: BARRIER (e.toml:13), then BARRIER (e.toml:26)
      `b` and `c` race at `layers.0.output.i0` for a place at barrier `b`: BARRIER (e.toml:20), then BARRIER (e.toml:26)
    ordered: r
      `a` and `b` race at `layers.1.output.i0` for the same rows: SWAP (e.toml:15), then VALUE (e.toml:22)
    ");
}

/// The experiments that come with the program, of the model that does, and so do many generated
/// ones.
#[test]
fn shipped_and_generated_experiments_have_the_races_of_the_live_run() {
    let shipped = [
        "ablation",
        "attribution",
        "caching",
        "orders-commute",
        "orders-matter",
        "patching",
    ];
    let home = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments");
    let shipped = shipped.map(|name| fs::read_to_string(format!("{home}/{name}.toml")).unwrap());
    let generated = (0..GENERATED).map(generated);
    let (mut compared, mut raced) = (0, 0);
    for text in shipped.into_iter().chain(generated) {
        let place = Place::new();
        fs::write(place.path("e.toml"), &text).unwrap();
        let ran = place.run(&["run", "e.toml", "--journal", "j.ilj"]);
        if !place.path("j.ilj").exists() {
            // It was refused before the run, and is by an exploration.
            let explored = place.run(&["explore", "e.toml", "--runs", "1"]);
            assert_eq!(explored.with(1).err, ran.with(1).err);
            continue;
        }
        let found = json(&place, &["races", "j.ilj", "--json"]);
        let explored = json(&place, &["explore", "e.toml", "--runs", "1", "--json"]);
        // A run that fails is the last one of `run`, but not of `explore`.
        for run in found.as_array().unwrap() {
            let name = &run["name"];
            let live = explored["runs"].as_array().unwrap().iter();
            let live = live.filter(|live| live["name"] == *name);
            let live: Vec<&Json> = live.map(|live| &live["races"]).collect();
            assert_eq!(live, [&run["races"]], "{name} of {text}");
            compared += 1;
            raced += usize::from(run["races"] != Json::Array(vec![]));
        }
    }
    assert!(
        compared >= 60 && raced >= 20,
        "{raced} of {compared} have races"
    );
}

const GENERATED: u64 = 56;

/// An experiment of two to four mediators that read, change, skip, put, get and meet, always the
/// same one for a seed.
fn generated(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    let mediators = 2 + below(3);
    let have_rows = below(2) == 0;
    let meet = below(mediators + 1);
    let mut text = "model = 'induction'\n[[input]]\nname = 'a'\ntokens = [1, 2, 3]\n[[input]]\nname = 'b'\ntokens = [4, 5, 6]\n\
        [[run]]\nname = 'r'\n"
        .to_owned();
    if !have_rows {
        text += "input = 'a'\n";
    }
    if meet > 0 {
        text += &format!("barriers = {{ b = {meet} }}\n");
    }
    for mediator in 0..mediators {
        text += &format!("[[run.invoke]]\nname = 'm{mediator}'\n");
        if have_rows && (mediator == 0 || below(3) > 0) {
            text += ["input = 'a'\n", "input = 'b'\n"][below(2) as usize];
        }
        let mut lines = vec!["h = layers.0"];
        let at_first = [
            "layers.0 *= 2",
            "put x = h",
            "put y = h",
            "try { save g = get(x) }",
        ];
        lines.extend((0..below(3)).map(|_| at_first[below(4) as usize]));
        lines.extend((mediator < meet).then_some("barrier b"));
        lines.extend((0..below(2)).map(|_| at_first[1 + below(3) as usize]));
        let last = ["h = layers.1.input", "layers.1 += 1", "save k = layers.1"];
        lines.push(last[below(3) as usize]);
        if lines.last() == Some(&last[0]) {
            lines.push(["skip layers.1 = h", "stop", "layers.1 *= 3"][below(3) as usize]);
        }
        text += &format!("program = \"\"\"\n{}\n\"\"\"\n", lines.join("\n"));
    }
    text
}

/// Rows that are different do not race, as far as the values are of rows.
#[test]
fn rows_of_ones_own_do_not_race() {
    let text = "model = 'induction'\n[[input]]\nname = 'a'\ntokens = [1, 2, 3]\n[[input]]\nname = 'b'\ntokens = [4, 5, 6]\n\
        [[run]]\nname = 'own'\n\
        [[run.invoke]]\nname = 'one'\ninput = 'a'\nprogram = 'layers.0 *= 2'\n\
        [[run.invoke]]\nname = 'two'\ninput = 'b'\nprogram = 'layers.0 *= 3'\n\
        [[run]]\nname = 'watched'\n\
        [[run.invoke]]\nname = 'one'\ninput = 'a'\nprogram = 'layers.0 *= 2'\n\
        [[run.invoke]]\nname = 'two'\ninput = 'b'\nprogram = 'layers.0 *= 3'\n\
        [[run.invoke]]\nname = 'all'\nprogram = 'save h = layers.0'\n";
    let place = Place::new();
    fs::write(place.path("e.toml"), text).unwrap();
    place.run(&["run", "e.toml", "--journal", "j.ilj"]).with(0);
    let found = json(&place, &["races", "j.ilj", "--json"]);
    assert_eq!(found[0]["races"], Json::Array(vec![]));
    let explored = json(&place, &["explore", "e.toml", "--json"]);
    for run in [0, 1] {
        assert_eq!(found[run]["races"], explored["runs"][run]["races"]);
    }
    assert_eq!(found[1]["races"].as_array().unwrap().len(), 2);
}

#[test]
fn what_is_no_journal_has_no_races() {
    let place = Place::new();
    place.run(&["races", GOLDEN]).with(0);
    place.run(&["races", "nowhere.ilj"]).error("E060", 1);
    fs::write(place.path("text"), "hello").unwrap();
    place.run(&["races", "text"]).error("E062", 1);
    let golden = fs::read(GOLDEN).unwrap();
    fs::write(place.path("cut"), &golden[..golden.len() - 9]).unwrap();
    place.run(&["races", "cut"]).error("E065", 1);
    place.run(&["races"]).with(2);
}

#[test]
fn names_do_not_control_the_terminal() {
    use interloom_journal::{
        Experiment, Head, JournalWriter, MediatorLine, OutcomeRecord, RunStart,
    };

    let place = Place::new();
    let head = Head::new(Experiment::default());
    let mut writer = JournalWriter::create(place.path("a.ilj"), &head).unwrap();
    let name = "\u{1b}[31mred\u{202e}";
    writer
        .start_run(&RunStart {
            run: 0,
            name: name.to_owned(),
            mediators: vec![MediatorLine {
                name: name.to_owned(),
                rows: None,
                optional: false,
            }],
            scheduler: String::new(),
            declared: Default::default(),
            keeps: Vec::new(),
        })
        .unwrap();
    writer.end_run(OutcomeRecord::default()).unwrap();
    writer.finish().unwrap();
    let out = place.run(&["races", "a.ilj"]).with(0).out;
    assert_eq!(out, "\\u{1b}[31mred\\u{202e}\n  nothing races\n");
    let out = place.run(&["check", "a.ilj"]).with(0).out;
    assert!(out.contains(r"\u{1b}[31mred\u{202e}"), "{out}");
}
