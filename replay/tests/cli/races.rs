//! `races`: what only the order decided, found in a journal, is what an exploration says of the same run.

use std::fs;

use serde_json::Value as Json;

use crate::{GOLDEN, Place};

/// Programs that race for everything that there is to race for, and some that do not.
const CASES: [(&str, &str, &[(&str, &str)]); 8] = [
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

fn with_case(more: &str, programs: &[(&str, &str)]) -> Place {
    let mut text = format!(
        "model = 'induction'\n[[input]]\nname = 'a'\ntokens = [1, 2, 3]\n[[run]]\nname = 'r'\ninput = 'a'\n{more}\n"
    );
    for (name, program) in programs {
        text += &format!("[[run.invoke]]\nname = '{name}'\nprogram = \"\"\"\n{program}\n\"\"\"\n");
    }
    let place = Place::new();
    fs::write(place.path("e.toml"), text).unwrap();
    place
}

fn json(place: &Place, arguments: &[&str]) -> Json {
    let ended = place.run(arguments);
    serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{arguments:?}: {}", ended.err))
}

#[test]
fn a_journal_has_the_races_that_an_exploration_reports() {
    let mut all = String::new();
    for (name, more, programs) in CASES {
        for granularity in ["site", "exchange"] {
            let place = with_case(more, programs);
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
        let place = with_case(more, programs);
        // A run that fails has its races all the same.
        place.run(&["explore", "e.toml", "--runs", "1", "--out", "w"]);
        let out = place.run(&["races", "w/r.1.ilj"]).with(0).out;
        all += &format!("{name}: {out}");
    }
    insta::assert_snapshot!(all, @"");
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
