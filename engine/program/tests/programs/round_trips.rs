//! R81: a program is the same after a round trip, in each format.

use interloom_engine::Invoke;
use interloom_program::{Expr, Machine, Program, caught, given, inputs, read, var};
use proptest::prelude::*;

use crate::generate::programs;
use crate::support::{Trial, stack, table};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn r81_json_and_msgpack_round_trip(program in programs()) {
        let json = serde_json::to_string(&program).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Program>(&json).unwrap(), &program);
        // Once with the names of the fields, and once without.
        let named = rmp_serde::to_vec_named(&program).unwrap();
        prop_assert_eq!(&rmp_serde::from_slice::<Program>(&named).unwrap(), &program);
        let compact = rmp_serde::to_vec(&program).unwrap();
        prop_assert_eq!(&rmp_serde::from_slice::<Program>(&compact).unwrap(), &program);
    }

    #[test]
    fn what_is_cut_or_changed_is_refused_or_another_program(
        program in programs(),
        place: prop::sample::Index,
        byte: u8,
    ) {
        let mut bytes = rmp_serde::to_vec_named(&program).unwrap();
        let place = place.index(bytes.len());
        let _: Result<Program, _> = rmp_serde::from_slice(&bytes[..place]);
        bytes[place] = byte;
        let _: Result<Program, _> = rmp_serde::from_slice(&bytes);
    }

    /// A program that says anything at all may fail its run, and no more.
    #[test]
    fn whatever_a_program_says_it_ends(program in programs()) {
        let model = stack();
        if let Ok(machine) = Machine::new(&program, &model.map) {
            let results = machine.results();
            let mut trial = Trial::of(&model);
            // So that loops without an upper bound are soon over.
            trial.steps(3);
            trial.invoke(Invoke::new("any", machine));
            let ran = trial.run(table(2, 1.0));
            prop_assert!(ran.report.audit.mediators[0].state.is_retired());
            prop_assert!(results.saved().len() <= ran.log.len() + program.steps.len() * 40);
        }
    }
}

/// Everything once, so that a change of the format is seen.
#[test]
fn the_json_of_a_program() {
    let body = Program::new().line(4).skip(
        "layers.1",
        inputs([read("embed.output")], [("scale", given("v"))]),
    );
    let program = Program::new()
        .in_file("steer.json")
        .line(2)
        .read("layers.0.output", "h")
        .line(3)
        .catch("late", body)
        .when(!caught("late"), Program::new().save("h").stop())
        .write(
            "layers.1.output",
            var("h").slice([-1..]).mean() * 2.0 - f64::INFINITY,
        )
        .list("xs")
        .append("xs", var("h").patch([0..1], var("h").rows(1, 2)));
    let json = serde_json::to_string(&program).unwrap();
    insta::assert_snapshot!(json.replace("{\"action\":", "\n{\"action\":"), @r#"
    {"steps":[
    {"action":{"let":{"variable":"h","value":{"read":"layers.0.output"}}},"line":2},
    {"action":{"try":{"body":[
    {"action":{"skip":{"site":"layers.1.input","value":{"tuple":[{"tuple":[{"read":"embed.output"}]},{"map":{"scale":{"given":"v"}}}]}}},"line":4}],"error":"late"}},"line":3},
    {"action":{"if":{"condition":{"not":{"caught":"late"}},"then":[
    {"action":{"save":{"variable":"h"}}},
    {"action":"stop"}],"otherwise":[]}}},
    {"action":{"write":{"site":"layers.1.output","value":{"sub":[{"mul":[{"mean":{"slice":{"of":{"var":"h"},"spans":[{"start":-1,"end":null}]}}},{"number":2.0}]},{"number":"inf"}]},"reshape":false}}},
    {"action":{"list":{"variable":"xs"}}},
    {"action":{"append":{"list":"xs","value":{"patch":{"of":{"var":"h"},"spans":[{"start":0,"end":1}],"with":{"slice":{"of":{"var":"h"},"spans":[{"start":1,"end":2}]}}}}}}}],"file":"steer.json"}
    "#);
}

#[test]
fn numbers_that_json_does_not_have_are_words() {
    let text = |number| serde_json::to_string(&Expr::Number(number)).unwrap();
    assert_eq!(text(f64::NEG_INFINITY), r#"{"number":"-inf"}"#);
    assert_eq!(text(f64::NAN), r#"{"number":"nan"}"#);
    let Ok(Expr::Number(number)) = serde_json::from_str(r#"{"number":"nan"}"#) else {
        panic!("not a number");
    };
    assert!(number.is_nan());
    assert_eq!(
        serde_json::from_str::<Expr>(r#"{"number":3}"#).unwrap(),
        Expr::Number(3.0)
    );
    assert_eq!(
        serde_json::from_str::<Expr>(r#"{"number":-3}"#).unwrap(),
        Expr::Number(-3.0)
    );
}

#[test]
fn what_a_program_does_not_have_is_named() {
    let error = |text: &str| {
        serde_json::from_str::<Program>(text)
            .unwrap_err()
            .to_string()
    };
    insta::assert_snapshot!(error(r#"{"steps":[{"action":{"let":{"variable":"h","valeu":{"var":"x"}}}}]}"#), @"unknown field `valeu`, expected `variable` or `value` at line 1 column 50");
    insta::assert_snapshot!(error(r#"{"steps":[{"action":{"fly":{}}}]}"#), @"unknown variant `fly`, expected one of `let`, `save`, `write`, `skip`, `stop`, `raise`, `try`, `if`, `list`, `append`, `each`, `next`, `barrier`, `put`, `backward`, `cache`, `mark` at line 1 column 26");
    insta::assert_snapshot!(error(r#"{"steps":[{"action":{"append":{"list":"x","value":{"number":"many"}}}}]}"#), @r#"invalid value: string "many", expected a number, `inf`, `-inf` or `nan` at line 1 column 66"#);
    insta::assert_snapshot!(error(r#"{"steps":[{"line":-1,"action":"stop"}]}"#), @"invalid value: integer `-1`, expected u32 at line 1 column 20");
}

/// Every number is the same bit for bit, which JSON readers do not promise.
#[test]
fn numbers_keep_their_last_bit() {
    for number in [
        0.1 + 0.2,
        1.0 / 3.0,
        5e-324,
        1.797_693_134_862_315_7e308,
        -0.0,
    ] {
        let text = serde_json::to_string(&Expr::Number(number)).unwrap();
        let Ok(Expr::Number(read)) = serde_json::from_str(&text) else {
            panic!("{text}");
        };
        assert_eq!(read.to_bits(), number.to_bits(), "{text}");
    }
}
