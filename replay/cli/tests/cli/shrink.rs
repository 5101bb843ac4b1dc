//! `explore --shrink`: of a difference the smallest experiment that still shows it.

use std::fs;

use serde_json::Value as Json;

use crate::Place;
use crate::experiment::{with_programs, with_text};
use crate::explore::explored;

/// Six mediators of which two matter, with loops, reads, a run before them and tokens that do not.
fn of_six() -> Place {
    with_text(
        r#"
model = "induction"
[[input]]
name = "clean"
tokens = [17, 3, 29, 8, 35, 11, 22, 0]
[[input]]
name = "corrupt"
tokens = [17, 3, 29, 8, 35, 30, 22, 0]
[[run]]
name = "clean"
input = "clean"
program = 'save h = layers.0'
[[run]]
name = "six"
input = "corrupt"
[[run.invoke]]
name = "reader"
program = """
    h = layers.0.input
    save h
"""
[[run.invoke]]
name = "scale"
program = """
    g = layers.0.input
    for i in 0..1 { layers.0 *= 0.25 }
    save g
"""
[[run.invoke]]
name = "ablate"
program = 'layers.0.attn.z[.., .., 0] *= 0'
[[run.invoke]]
name = "patch"
program = """
    mark "patching"
    if not set(h) { layers.0[.., 5] = $clean.h[.., 5] }
"""
[[run.invoke]]
name = "lens"
program = """
    try { save l = unembed(layers.1) }
"""
[[run.invoke]]
name = "head"
program = 'layers.1.attn.z[.., .., 1] *= 0'
"#,
    )
}

#[test]
fn a_difference_is_shrunk_to_the_mediators_that_make_it() {
    let place = of_six();
    let found = explored(&place, &["--shrink", "--out", "w"], 1);
    let small = &found["shrunken"][0];
    assert_eq!(
        (&small["run"], &small["smallest"]),
        (&"six".into(), &true.into())
    );
    insta::assert_snapshot!(small["after"], @r#"{"mediators":2,"runs":1,"steps":2,"tokens":1}"#);
    insta::assert_snapshot!(small["before"], @r#"{"mediators":6,"runs":2,"steps":16,"tokens":16}"#);
    let text = fs::read_to_string(place.path("w/six.2.small.toml")).unwrap();
    insta::assert_snapshot!(text, @r#"
    # Made by `interloom explore --shrink`: the order of the mediators of `six` makes a difference, as shown by
    #
    #     interloom explore w/six.2.small.toml
    #     interloom run w/six.2.small.toml --schedule six=ilsched1:d597caa8ca8c0000:1/2:86fcbe50

    model = "induction"

    [[input]]
    name = "corrupt"
    tokens = [0]

    [[run]]
    name = "six"
    input = "corrupt"

    [[run.invoke]]
    name = "scale"
    program = '''
        layers.0 = 0.25
    '''

    [[run.invoke]]
    name = "patch"
    program = '''
        layers.0 = 1
    '''
    "#);
    assert_eq!(small["text"].as_str(), Some(&*text));

    // It shows the difference by itself, in the way that its first lines say, and there is nothing
    // left to take away.
    let again = ["explore", "w/six.2.small.toml", "--shrink", "--json"];
    let again: Json = serde_json::from_str(&place.run(&again).with(1).out).unwrap();
    assert_eq!(
        again["runs"][0]["verdict"],
        "order-dependent: 2 outcomes of 2 schedules, which cover all"
    );
    assert_eq!(
        again["shrunken"][0]["before"],
        again["shrunken"][0]["after"]
    );
    let commands = text
        .lines()
        .filter_map(|line| line.strip_prefix("#     interloom "));
    let commands: Vec<Vec<&str>> = commands.map(|line| line.split(' ').collect()).collect();
    assert_eq!(commands.len(), 2);
    place.run(&commands[0]).with(1);
    place.run(&commands[1]).with(0);

    // Both orders are kept as journals, which are made again without any file, and differ.
    fs::remove_file(place.path("w/six.2.small.toml")).unwrap();
    fs::remove_file(place.path("e.toml")).unwrap();
    let journals = ["w/six.2.small.1.ilj", "w/six.2.small.2.ilj"];
    assert_eq!(small["journals"], Json::from(&journals[..]));
    for journal in journals {
        let out = place.run(&["replay", journal]).with(0).out;
        assert!(out.starts_with("bit-identical, "), "{out}");
    }
    place.run(&["diff", journals[0], journals[1]]).with(4);
}

/// Whatever makes the difference is what is left of it.
#[test]
fn only_what_makes_the_difference_is_left() {
    type Programs = &'static [(&'static str, &'static str)];
    let cases: [(&str, Programs, &[&str]); 5] = [
        (
            "barriers = { b = 3 }",
            &[
                ("first", "h = layers.0\nbarrier b\nput x = layers.1"),
                ("second", "barrier b\nh = layers.1\nsave g = get(x)\nsave h"),
                ("third", "barrier b\nsave h = layers.1"),
            ],
            &[],
        ),
        (
            "",
            &[
                ("a", "for i in 0..1 { layers.0 *= 2; mark \"a\" }"),
                ("b", "if 1 > 0 { layers.0 += layers.0 } else { stop }"),
                ("c", "try { layers.0 += 3 } catch e"),
            ],
            &[],
        ),
        (
            "",
            &[
                ("a", "layers.0 *= 2"),
                ("b", "h = layers.0\nsave h\nlayers.0 = h * 2"),
            ],
            &["--granularity", "exchange"],
        ),
        (
            "generate = 4",
            &[
                ("a", "for i in .. { output *= 2 }"),
                ("b", "for i in .. { if i == 2 { save h = output } }"),
            ],
            &[],
        ),
        (
            "",
            &[
                ("end", "h = layers.0\nstop"),
                ("look", "g = layers.0\nsave g\nf = layers.1"),
                ("other", "k = layers.0\nmark \"here\"\nstop"),
            ],
            &[],
        ),
    ];
    let mut all = String::new();
    for (more, programs, flags) in cases {
        let place = with_programs(more, programs);
        let found = explored(&place, &[&["--shrink", "--out", "w"], flags].concat(), 1);
        for small in found["shrunken"].as_array().unwrap() {
            let text = small["text"].as_str().unwrap();
            let (_, programs) = text.split_once("[[run]]").unwrap();
            let lines = programs.lines().filter(|line| !line.is_empty());
            let lines = lines.filter(|line| !line.contains("[[") && !line.ends_with("'''"));
            all += &format!("{}\n", small["outcomes"]);
            all.extend(lines.map(|line| format!("{line}\n")));
            for order in ["first", "other"] {
                let (end, _) = small[order]
                    .as_str()
                    .unwrap()
                    .split_once(", digest")
                    .unwrap();
                all += &format!("{order}: {end}\n");
            }
            for journal in small["journals"].as_array().unwrap() {
                place.run(&["replay", journal.as_str().unwrap()]).with(0);
            }
        }
        all += "---\n";
    }
    insta::assert_snapshot!(all, @r#"
    [1,2]
    name = "r"
    input = "a"
    barriers = { "b" = 2 }
    name = "first"
        barrier b
        put x = layers.1
    name = "second"
        barrier b
        h = layers.1
        g = get(x)
    first: completed
    other: failed with E016: second E016
    ---
    [1,2]
    name = "r"
    input = "a"
    name = "b"
        layers.0 = 1
    name = "c"
        layers.0 = 3
    first: completed
    other: completed
    ---
    [1]
    name = "r"
    input = "a"
    name = "a"
        layers.0 = 1
    name = "b"
        h = layers.0
        save h
    first: completed
    other: completed
    [2]
    name = "r"
    input = "a"
    name = "a"
        layers.0 = 2
    name = "b"
        h = layers.0
        save h
    first: completed
    other: completed
    ---
    [1]
    name = "r"
    input = "a"
    generate = 1
    name = "a"
        output = 2
    name = "b"
        h = output
        save h
    first: completed
    other: completed
    ---
    [1]
    name = "r"
    input = "a"
    name = "end"
        h = layers.0
        stop
    name = "look"
        f = layers.1
    name = "other"
        k = layers.0
        stop
    first: failed with E003: look E003
    other: failed with E003: look E003
    ---
    "#);
}

/// Who ends the run is the difference; what else there is between outcomes that end alike makes
/// none of its own.
#[test]
fn outcomes_that_end_alike_are_shrunk_once() {
    let place = with_programs(
        "",
        &[
            ("x", "h = layers.0\nstop"),
            ("y", "layers.0 *= 2\nstop"),
            ("w", "save z = layers.0"),
        ],
    );
    let flags = ["explore", "e.toml", "--shrink", "--out", "w"];
    let out = place.run(&flags).with(1).out;
    assert!(out.contains("order-dependent: 4 outcomes"), "{out}");
    let shrunk = out
        .lines()
        .filter_map(|line| line.strip_prefix("  shrunk, for "));
    let pairs: Vec<&str> = shrunk
        .filter_map(|line| Some(line.split_once(':')?.0))
        .collect();
    assert_eq!(pairs, ["1 and 2", "1 and 3, 1 and 4"]);
    assert!(!place.path("w/r.4.small.toml").exists());
    for file in ["w/r.2.small.toml", "w/r.3.small.toml"] {
        place.run(&["explore", file]).with(1);
    }
}

/// A budget of runs that is too small leaves something that shows the difference, too.
#[test]
fn a_spent_budget_leaves_a_larger_experiment() {
    let place = of_six();
    let found = explored(
        &place,
        &["--shrink", "--shrink-runs", "12", "--out", "w"],
        1,
    );
    let small = &found["shrunken"][0];
    assert_eq!(small["smallest"], false);
    assert!(small["after"]["tokens"].as_u64() > Some(2), "{small}");
    place.run(&["explore", "w/six.2.small.toml"]).with(1);
    // Without a folder it is printed, and nothing is written.
    let out = place.run(&["explore", "e.toml", "--shrink"]).with(1).out;
    assert!(out.contains("nothing more can be taken away\n"), "{out}");
    assert!(out.contains("\n     | name = \"patch\"\n"), "{out}");
    assert_eq!(place.files(), ["e.toml", "w"]);
}
