//! `explore`: whether the order matters, with a witness for each outcome; and `run --schedule`.

use std::fs;

use interloom_journal::{Argument, Journal};
use serde_json::Value as Json;

use crate::Place;
use crate::experiment::{with_programs, with_text};

const COMMUTE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/experiments/orders-commute.toml"
);
const MATTER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/experiments/orders-matter.toml"
);

/// A folder with one of the experiments that come with the program, `e.toml`.
fn with_file(shipped: &str) -> Place {
    with_text(&fs::read_to_string(shipped).unwrap())
}

/// Explores `e.toml`, and returns what is reported as JSON.
pub(crate) fn explored(place: &Place, arguments: &[&str], code: i32) -> Json {
    let all = [&["explore", "e.toml", "--json"], arguments].concat();
    serde_json::from_str(&place.run(&all).with(code).out).unwrap()
}

/// The words of a report that do not depend on how a machine rounds.
fn without_digests(text: &str) -> String {
    let words = text.split_inclusive(' ');
    let word = |word: &str| match word.starts_with("b3:") {
        true => "b3:…, ".to_owned(),
        false => word.to_owned(),
    };
    words.map(word).collect()
}

#[test]
fn ablations_that_commute_are_independent_of_their_order() {
    let place = with_file(COMMUTE);
    let out = place.run(&["explore", "e.toml"]).with(0).out;
    let (_, rest) = out.split_once("\n\n").unwrap();
    insta::assert_snapshot!(rest, @"
    apart
      order-independent: 1 schedule covers all
      1 schedule run, 0 choices pruned

    together
      `first` and `second` race at `layers.1.attn.z.output.i0` for the same rows: SWAP (e.toml:37), then VALUE (e.toml:41)
      order-independent: 2 schedules cover all
      2 schedules run, 0 choices pruned
    ");
}

#[test]
fn a_patch_and_a_scale_do_not_commute_and_each_outcome_has_a_witness() {
    let place = with_file(MATTER);
    let out = place.run(&["explore", "e.toml", "--out", "w"]).with(1).out;
    let (_, rest) = out.split_once("\n\n").unwrap();
    insta::assert_snapshot!(without_digests(rest), @r#"
    clean
      order-independent: 1 schedule covers all
      1 schedule run, 0 choices pruned
      1. completed, digest b3:…, in 1 run
         interloom replay w/clean.1.ilj
         interloom run e.toml --schedule clean=ilsched1:d59cb9a8ca8c0000::4fef8660

    both
      `patch` and `scale` race at `layers.0.output.i0` for the same rows: SWAP (e.toml:34), then VALUE (e.toml:38)
      order-dependent: 2 outcomes of 2 schedules, which cover all
      2 schedules run, 0 choices pruned
      1. completed, digest b3:…, in 1 run
         corrupt  "11" 2.2 %, "30" 2.8 %; difference -0.2530
         order at layers.0.output.i0: `patch`, then `scale`
         interloom replay w/both.1.ilj
         interloom run e.toml --schedule both=ilsched1:d591cda8ca8c0000:2:f7d9bfc0
      2. completed, digest b3:…, in 1 run
         corrupt  "11" 70.1 %, "30" 0.4 %; difference +5.1725
         order at layers.0.output.i0: `scale`, then `patch`
         interloom replay w/both.2.ilj
         interloom run e.toml --schedule both=ilsched1:d591cda8ca8c0000:1/2:f2d9dfc3
    "#);

    // Every journal has its schedule in its head, and is made again without the file.
    let found = explored(&place, &["--out", "w"], 1);
    fs::remove_file(place.path("e.toml")).unwrap();
    let witnesses = found["runs"][1]["classes"].as_array().unwrap();
    assert_eq!(witnesses.len(), 2);
    let mut digests = Vec::new();
    for witness in witnesses {
        let path = witness["journal"].as_str().unwrap();
        let journal = Journal::load(place.path(path)).unwrap();
        let schedule = format!("both={}", witness["schedule"].as_str().unwrap());
        assert_eq!(journal.head.schedule, schedule);
        assert_eq!(
            journal.head.experiment.arguments["schedules"],
            Argument::List(vec![Argument::Text(schedule)])
        );
        let proof = crate::proof(journal.exchanges().count(), journal.digest());
        assert_eq!(place.run(&["replay", path]).with(0).out, proof);
        digests.push(journal.digest());
    }
    assert_ne!(digests[0], digests[1]);
    let outcome = |place: usize| witnesses[place]["digest"].as_str().unwrap();
    assert_ne!(outcome(0), outcome(1));
}

/// A schedule that was printed makes the run again that it was found in.
#[test]
fn a_schedule_can_be_run() {
    let place = with_file(MATTER);
    let found = explored(&place, &[], 1);
    let classes = found["runs"][1]["classes"].as_array().unwrap();
    for class in classes {
        let line = class["differs"][0][1].as_str().unwrap();
        let schedule = format!("both={}", class["schedule"].as_str().unwrap());
        let run = [
            "run",
            "e.toml",
            "--schedule",
            &schedule,
            "--journal",
            "s.ilj",
        ];
        let out = place.run(&run).with(0).out;
        assert!(out.contains(line), "{line}\n{out}");
        place.run(&["replay", "s.ilj"]).with(0);
    }
    for schedule in ["in-order", "shuffle:3", "pct:2:10:1", "both=shuffle:1"] {
        place
            .run(&["run", "e.toml", "--schedule", schedule])
            .with(0);
    }
}

#[test]
fn a_stale_schedule_is_refused_with_what_has_changed() {
    let programs = [("double", "layers.0 *= 2"), ("raise", "layers.0 += 1")];
    let place = with_programs("", &programs);
    let found = explored(&place, &[], 1);
    let witness = found["runs"][0]["classes"][1]["schedule"].as_str().unwrap();
    let refused = |place: &Place, schedule: &str, code: &str| {
        place
            .run(&["run", "e.toml", "--schedule", schedule])
            .error(code, 1)
    };
    place.run(&["run", "e.toml", "--schedule", witness]).with(0);
    // Another mediator.
    let more = with_programs("", &[programs[0], programs[1], ("third", "layers.1 *= 2")]);
    let message = refused(&more, witness, "E122");
    let differs = "what differs: mediators (here 3: `double`, `raise`, `third`); ";
    assert!(message.contains(differs), "{message}");
    // Another name.
    let renamed = with_programs("", &[programs[0], ("lift", programs[1].1)]);
    let message = refused(&renamed, witness, "E122");
    let differs = "what differs: mediators (here 2: `double`, `lift`); ";
    assert!(message.contains(differs), "{message}");
    // More steps, and a mediator to meet.
    let many = with_programs("generate = 3\nbarriers = { b = 2 }", &programs);
    let message = refused(&many, witness, "E122");
    let differs = "what differs: barriers (here 1: `b` of 2), steps (here 3, there none); ";
    assert!(message.contains(differs), "{message}");
    // The same mediators, at other sites.
    let apart = with_programs("", &[programs[0], ("raise", "layers.1 += 1")]);
    let message = refused(&apart, witness, "E125");
    assert!(message.contains("ended after 0 of"), "{message}");
    let again = "layers.0 += 1\nlayers.1 += 1";
    let longer = with_programs(
        "",
        &[("double", "layers.0 *= 2\nlayers.1 *= 2"), ("raise", again)],
    );
    let message = refused(&longer, witness, "E124");
    assert!(message.contains("`layers.1.output.i0`"), "{message}");
    // A turn of another length.
    let message = place
        .run(&[
            "run",
            "e.toml",
            "--schedule",
            witness,
            "--granularity",
            "exchange",
        ])
        .error("E122", 1);
    let differs = "what differs: granularity (here exchange, there site); ";
    assert!(message.contains(differs), "{message}");
    // Damage, and what is none; both before the model is loaded.
    fs::write(
        place.path("e.toml"),
        fs::read_to_string(place.path("e.toml"))
            .unwrap()
            .replace("induction", "nowhere"),
    )
    .unwrap();
    refused(&place, &witness.replace(":1/2:", ":0/2:"), "E121");
    refused(&place, &witness[..witness.len() - 1], "E120");
    refused(&place, "backwards", "E120");
    let message = refused(&place, "s=in-order", "E115");
    assert!(message.contains("no run for a schedule `s`"), "{message}");
    assert_eq!(place.files(), ["e.toml"]);
}

#[test]
fn an_exploration_that_ends_early_proves_nothing() {
    let place = with_file(MATTER);
    for budget in [["--runs", "1"], ["--seconds", "0"]] {
        let out = place
            .run(&[&["explore", "e.toml"], &budget[..]].concat())
            .with(0)
            .out;
        let says = "\n  no difference found in 1 of at least 2 schedules, which proves nothing\n";
        assert!(out.contains(says), "{out}");
        // The race is known from one run.
        assert!(out.contains("`patch` and `scale` race at"), "{out}");
        // What one run can prove is proven.
        assert!(out.contains("1 schedule covers all"), "{out}");
    }
    let found = explored(&place, &["--runs", "1"], 0);
    assert_eq!(found["runs"][1]["conclusion"], "unknown");
    assert_eq!(found["runs"][1]["pending"], 1);
}

/// What is not tried, because it leads to what others lead to, is counted in both reports.
#[test]
fn the_number_of_choices_pruned_is_said() {
    let rows = "[[run.invoke]]\nname = 'one'\ninput = 'a'\nprogram = 'layers.0 *= 2'\n\
        [[run.invoke]]\nname = 'two'\ninput = 'a'\nprogram = 'layers.0 += 1'\n";
    let place = with_text(&format!(
        "model = 'induction'\n[[input]]\nname = 'a'\ntokens = [1, 2, 3]\n[[run]]\nname = 'r'\n{rows}"
    ));
    let out = place.run(&["explore", "e.toml"]).with(0).out;
    let says = "\n  order-independent: 1 schedule covers all\n  1 schedule run, 1 choice pruned\n";
    assert!(out.contains(says), "{out}");
    assert_eq!(explored(&place, &[], 0)["runs"][0]["pruned"], 1);
}

#[test]
fn samples_find_a_difference_and_prove_no_independence() {
    let place = with_file(MATTER);
    for orders in ["random:7", "pct:2"] {
        let found = explored(&place, &["--schedules", orders, "--runs", "12"], 1);
        let run = &found["runs"][1];
        assert_eq!(
            (run["conclusion"].as_str(), run["runs"].as_u64()),
            (Some("dependent"), Some(12))
        );
        assert_eq!(
            found,
            explored(&place, &["--schedules", orders, "--runs", "12"], 1)
        );
        // Without mediators that meet there is nothing to find, and it is not proven either.
        assert_eq!(found["runs"][0]["conclusion"], "unknown");
    }
}

/// Two equal mediators commute, unless one may go on between the other's read and write.
#[test]
fn finer_turns_find_a_lost_update() {
    let programs = [("a", "layers.0 *= 2"), ("b", "layers.0 *= 2")];
    let place = with_programs("", &programs);
    let found = explored(&place, &[], 0);
    assert_eq!(found["runs"][0]["conclusion"], "independent");
    let fine = ["--granularity", "exchange"];
    let found = explored(&place, &[&fine[..], &["--out", "w"]].concat(), 1);
    let classes = found["runs"][0]["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 2);
    for class in classes {
        place
            .run(&["replay", class["journal"].as_str().unwrap()])
            .with(0);
        let schedule = class["schedule"].as_str().unwrap();
        place
            .run(&[&["run", "e.toml", "--schedule", schedule], &fine[..]].concat())
            .with(0);
    }
    let out = place
        .run(&[&["explore", "e.toml"], &fine[..]].concat())
        .with(1)
        .out;
    assert!(out.contains(" --granularity exchange\n"), "{out}");
}

/// A GET before the PUT fails the run, which is an outcome, with a journal whose replay is
/// identical.
#[test]
fn a_failure_is_an_outcome() {
    let giver = ("giver", "h = layers.0\nput x = h");
    let taker = ("taker", "h = layers.0\nsave g = get(x)");
    let place = with_programs("", &[giver, taker]);
    let found = explored(&place, &["--out", "w"], 1);
    let classes = found["runs"][0]["classes"].as_array().unwrap();
    let ends: Vec<&str> = classes
        .iter()
        .map(|class| class["end"].as_str().unwrap())
        .collect();
    assert_eq!(ends, ["completed", "failed with E016: taker E016"]);
    for class in classes {
        let path = class["journal"].as_str().unwrap();
        let out = place.run(&["replay", path]).with(0).out;
        assert!(out.starts_with("bit-identical, "), "{out}");
    }
    let race = &found["runs"][0]["races"][0];
    assert_eq!(race["over"], "blackboard x");
    assert_eq!(
        (
            race["first"]["line"].as_u64(),
            race["first"]["event"].as_str()
        ),
        (Some(13), Some("PUT"))
    );
    assert_eq!(
        (
            race["second"]["line"].as_u64(),
            race["second"]["event"].as_str()
        ),
        (Some(19), Some("GET"))
    );
}

/// Two failures of one program with one code, and other words, are two outcomes.
#[test]
fn failures_are_told_apart_by_what_they_say() {
    let judge = "h = layers.0\nif sum(h) == 0 { raise \"nothing\" } else { raise \"something\" }";
    let place = with_programs("", &[("clear", "layers.0 *= 0"), ("judge", judge)]);
    let found = explored(&place, &["--out", "w"], 1);
    let classes = found["runs"][0]["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 2);
    assert_eq!(classes[0]["end"], classes[1]["end"]);
    for class in classes {
        place
            .run(&["replay", class["journal"].as_str().unwrap()])
            .with(0);
    }
}

/// What happens in every order is no difference, even if it is a failure; what comes after it is
/// not explored.
#[test]
fn failures_in_every_order_are_one_outcome() {
    let alone = with_programs("barriers = { b = 2 }", &[("a", "h = layers.0\nbarrier b")]);
    let found = explored(&alone, &["--out", "w"], 0);
    let run = &found["runs"][0];
    assert_eq!(run["conclusion"], "independent");
    assert_eq!(run["classes"][0]["end"], "failed with E025: a at b");
    alone.run(&["replay", "w/r.1.ilj"]).with(0);
    let never = with_programs("", &[("a", "for i in 5 { h = layers.0 }")]);
    let found = explored(&never, &[], 0);
    let end = found["runs"][0]["classes"][0]["end"].as_str().unwrap();
    assert!(end.starts_with("failed with E0"), "{end}");
    let text = fs::read_to_string(alone.path("e.toml")).unwrap();
    fs::write(
        alone.path("e.toml"),
        text + "[[run]]\nname = 'after'\ninput = 'a'\n",
    )
    .unwrap();
    // Nothing is known of it, which is no success.
    let found = explored(&alone, &[], 1);
    assert_eq!(found["order_dependent"], false);
    assert_eq!(found["unexplored"][0], "after");
    let out = alone.run(&["explore", "e.toml"]).with(1).out;
    let says = "\n\nnot explored, because `r` before them fails in definition order: after; whether the order matters there is \
        not known\n";
    assert!(out.ends_with(says), "{out}");
}

#[test]
fn batch_mates_are_compared() {
    let text = "model = 'induction'\n[[input]]\nname = 'a'\ntokens = [1, 2, 3]\n[[input]]\nname = 'b'\ntokens = [4, 5, 6]\n\
        [[run]]\nname = 'pure'\n\
        [[run.invoke]]\nname = 'one'\ninput = 'a'\nprogram = 'save h = layers.0'\n\
        [[run.invoke]]\nname = 'two'\ninput = 'b'\nprogram = 'layers.0 *= 2'\n\
        [[run]]\nname = 'meddled'\n\
        [[run.invoke]]\nname = 'one'\ninput = 'a'\nprogram = 'save h = layers.1'\n\
        [[run.invoke]]\nname = 'two'\ninput = 'b'\nprogram = 'layers.1 *= 2'\n\
        [[run.invoke]]\nname = 'all'\nprogram = 'layers.0 += 1'\n\
        [[run]]\nname = 'single'\ninput = 'a'\n";
    let place = with_text(text);
    let out = place
        .run(&["explore", "e.toml", "--batch-mates"])
        .with(0)
        .out;
    for invoke in ["one", "two"] {
        let same = format!("\n  batch-mates: `{invoke}` is the same alone, bit for bit\n");
        assert_eq!(out.matches(&same).count(), 1, "{out}");
        let differs = format!(
            "\n  batch-mates: `{invoke}`, exchange 0: alone VALUE `layers.1.output.i0` f32[1, "
        );
        assert_eq!(out.matches(&differs).count(), 1, "{out}");
    }
    assert!(
        out.contains("not compared, for it has not two invokes"),
        "{out}"
    );
    let found = explored(&place, &["--batch-mates"], 0);
    let mates = |run: usize| &found["runs"][run]["batch_mates"]["compared"];
    assert!(mates(0)[0]["mismatch"].is_null());
    let largest = mates(1)[0]["mismatch"]["largest"].as_f64().unwrap();
    assert!(largest > 0.0, "{largest}");
    let relative = mates(1)[0]["mismatch"]["relative"].as_f64().unwrap();
    assert!(relative > 0.0 && relative <= 2.0, "{relative}");
    assert!(mates(1)[0]["mismatch"]["ulp"].as_u64().unwrap() > 0);
}

#[test]
fn bad_input_is_refused() {
    let place = with_file(MATTER);
    for usage in [
        &[][..],
        &["e.toml", "--runs", "0"],
        &["e.toml", "--runs", "-1"],
        &["e.toml", "--seconds", "soon"],
        &["e.toml", "--granularity", "turn"],
        &["e.toml", "--schedules", "pct:0"],
        &["e.toml", "--schedules", "random"],
        &["e.toml", "--set", "x"],
    ] {
        let ended = place.run(&[&["explore"], usage].concat()).with(2);
        assert!(ended.err.contains("--help"), "{}", ended.err);
    }
    place.run(&["explore", "f.toml"]).error("E110", 1);
    place
        .run(&["explore", "e.toml", "--set", "x=1"])
        .error("E115", 1);
    place
        .run(&["explore", "e.toml", "--model", "nowhere", "--out", "w"])
        .error("E040", 1);
    place
        .run(&["explore", "e.toml", "--device", "abacus"])
        .error("E034", 5);
    place
        .run(&["explore", "e.toml", "--out", "e.toml"])
        .error("E094", 5);
    assert_eq!(place.files(), ["e.toml"]);
    fs::write(place.path("e.toml"), "model = 3").unwrap();
    place.run(&["explore", "e.toml"]).error("E113", 1);
}
