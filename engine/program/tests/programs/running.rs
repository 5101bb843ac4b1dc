//! What programs do: the exchanges of the async closure of equal steps, and what they leave.

use interloom_engine::array::Array;
use interloom_engine::{Cx, Fault, Invoke, RunEnd};
use interloom_program::{
    Comparison, Datum, Machine, Program, Results, Span, caught, given, is_set, module, read, var,
};

use crate::support::{Ran, Trial, stack, table};

/// Runs a program alone on two rows.
fn run(program: &Program) -> (Ran, Results<Array>) {
    run_with(program, |machine| machine)
}

fn run_with(
    program: &Program,
    equip: impl FnOnce(Machine<Array>) -> Machine<Array>,
) -> (Ran, Results<Array>) {
    let model = stack();
    program.check(&*model.map).unwrap();
    let machine = equip(Machine::new(program, &model.map).unwrap());
    let results = machine.results();
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("program", machine));
    (trial.run(table(2, 1.0)), results)
}

/// Runs steps that touch no model, and returns what `x` is in the end.
fn compute(program: Program) -> Datum<Array> {
    let (ran, results) = run_with(&program.save("x"), |machine| {
        machine
            .given("t", Array::new(&[2, 3], &[0., 1., 2., 3., 4., 5.]))
            .modules(|path: &str, x: Array| match path {
                "head" => Ok(x.map(|x| -x)),
                _ => Err(Fault::raise("no such module")),
            })
    });
    assert!(ran.report.result.is_ok(), "{:?}", ran.report.result);
    results.get("x").unwrap()
}

fn value(datum: Datum<Array>) -> Array {
    match datum {
        Datum::Value(value) => value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn r80_a_program_makes_the_exchanges_of_the_closure() {
    let program = Program::new()
        .read("embed.output", "h")
        .write(
            "layers.0.output",
            var("h") * 2.0 + read("layers.0.fc.output"),
        )
        .catch(
            "late",
            Program::new().write("layers.0.input", 3.0 * read("embed.input")),
        )
        .skip("layers.1", read("layers.1.input") - var("h"))
        .write("head.output.i1", read("head.output").zeros_like())
        .save("h");
    let (ran, results) = run(&program);

    let model = stack();
    let mut trial = Trial::of(&model);
    let saved = trial.whole("closure", async |cx: Cx<Array>| {
        let h = cx.output("embed").await?;
        let inner = cx.output("layers.0.fc").await?;
        let sum: Vec<f64> = h
            .data()
            .iter()
            .zip(inner.data())
            .map(|(h, x)| h * 2.0 + x)
            .collect();
        cx.set_output("layers.0", Array::new(h.shape(), &sum))
            .await?;
        if let Ok(x) = cx.input("embed").await {
            cx.set_input("layers.0", x.map(|x| 3.0 * x)).await?;
        }
        let x = cx.input("layers.1").await?;
        let rest: Vec<f64> = x.data().iter().zip(h.data()).map(|(x, h)| x - h).collect();
        cx.skip("layers.1", Array::new(h.shape(), &rest)).await?;
        let logits = cx.output("head").await?;
        cx.set("head.output.i1", logits.map(|_| 0.0)).await?;
        Ok(h)
    });
    let expected = trial.run(table(2, 1.0));

    assert_eq!(ran.log, expected.log);
    assert_eq!(ran.output, expected.output);
    assert_eq!(ran.report.result, expected.report.result);
    assert_eq!(results.value("h"), saved.take());
    insta::assert_snapshot!(ran.lines().join("\n"), @r#"
    0 VALUE embed.output.i0 @ embed.output.i0 served
    0 VALUE layers.0.fc.output.i0 @ layers.0.fc.output.i0 served
    0 SWAP layers.0.output.i0 @ layers.0.output.i0 served
    0 VALUE embed.input.i0 @ layers.0.output.i0 E002
    0 VALUE layers.1.input.i0 @ layers.1.input.i0 served
    0 SKIP layers.1.input.i0 @ layers.1.input.i0 served
    0 VALUE head.output.i0 @ head.output.i0 served
    0 SWAP head.output.i1 @ head.output.i1 served
    0 END @ head.output.i1 served
    "#);
}

/// What is written is computed before it is asked to be written, also where that fails.
#[test]
fn the_right_hand_side_comes_before_the_swap() {
    let program = Program::new().catch(
        "error",
        Program::new().write("embed.output", given("t") + read("embed.input")),
    );
    let (ran, results) = run_with(&program, |machine| {
        machine.given("t", Array::new(&[3], &[0.0; 3]))
    });
    insta::assert_snapshot!(ran.lines().join("\n"), @r#"
    0 VALUE embed.input.i0 @ embed.input.i0 served
    0 END @ embed.input.i0 served
    "#);
    insta::assert_snapshot!(results.caught()["error"], @"`add` is not possible: expected f64[3], found f64[2, 2]");
}

#[test]
fn what_is_saved_is_the_value_of_that_moment() {
    let program = Program::new()
        .set("x", 1.0)
        .save("x")
        .set("x", 2.0)
        .read("embed.output", "h")
        .save("h")
        .set("h", var("h") * 0.0);
    let (_, results) = run(&program);
    assert_eq!(results.get("x"), Some(Datum::Number(1.0)));
    assert_ne!(results.value("h"), Some(table(2, 0.0).map(|_| 0.0)));
    let names: Vec<String> = results.saved().into_keys().collect();
    assert_eq!(names, ["h", "x"]);
    assert_eq!((results.value("x"), results.list("h")), (None, None));
}

#[test]
fn a_saved_list_goes_on_growing_until_its_name_is_given_away() {
    let program = Program::new()
        .list("xs")
        .append("xs", read("layers.0.output"))
        .save("xs")
        .append("xs", read("layers.1.output"))
        .set("first", var("xs").index(0))
        .set("copy", var("xs"))
        .append("xs", var("first"))
        .save("copy")
        .list("xs")
        .append("xs", 1.0);
    let (ran, results) = run(&program);
    let xs = results.list("xs").unwrap();
    assert_eq!(xs.len(), 3);
    assert_eq!(xs[0], xs[2]);
    assert_eq!(
        &xs[1],
        ran.value_at("0 VALUE layers.1.output.i0 @ layers.1.output.i0 served")
    );
    assert_eq!(results.list("copy").unwrap().len(), 2);
}

#[test]
fn a_saved_list_does_not_grow_in_another_that_is_saved_by_its_name() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let first = Program::new()
        .list("xs")
        .save("xs")
        .read("layers.1.output", "h")
        .append("xs", 1.0);
    let second = Program::new()
        .read("layers.0.output", "h")
        .list("xs")
        .append("xs", 2.0)
        .save("xs")
        .append("xs", 3.0);
    let results = Results::new();
    for (name, program) in [("first", first), ("second", second)] {
        let machine = Machine::<Array>::new(&program, &model.map).unwrap();
        trial.invoke(Invoke::new(name, machine.share_results(results.clone())).rows(1));
    }
    assert!(trial.run(table(2, 1.0)).report.result.is_ok());
    let list = vec![Datum::Number(2.0), Datum::Number(3.0)];
    assert_eq!(results.get("xs"), Some(Datum::List(list.into())));
}

#[test]
fn lists_stand_in_lists_and_are_clipped() {
    let program = Program::new()
        .list("xs")
        .append("xs", 1.0)
        .append("xs", read("layers.0.output"))
        .list("all")
        .append("all", var("xs"))
        .append("xs", 2.0)
        .append("all", var("xs").clip([-2..9]))
        .set("last", var("all").index(1).index(1))
        .append("all", var("last"))
        .save("all");
    let (ran, results) = run(&program);
    let read = ran.value_at("0 VALUE layers.0.output.i0 @ layers.0.output.i0 served");
    let (one, two) = (Datum::Number(1.0), Datum::Number(2.0));
    let list = |items: Vec<Datum<Array>>| Datum::List(items.into());
    let value = Datum::Value(read.clone());
    let items = vec![
        list(vec![one, value.clone()]),
        list(vec![value, two.clone()]),
        two,
    ];
    assert_eq!(results.get("all"), Some(list(items)));
}

#[test]
fn a_run_that_fails_keeps_what_was_saved_before() {
    let program = Program::new()
        .in_file("a.json")
        .read("embed.output", "h")
        .save("h")
        .mark("saved")
        .line(9)
        .raise("boom")
        .mark("never");
    let (ran, results) = run(&program);
    insta::assert_snapshot!(ran.error(), @"mediator `program` failed at `embed.output.i0` (a.json:9): boom");
    assert!(results.value("h").is_some());
    assert_eq!(results.marks(), ["saved"]);
}

#[test]
fn the_machines_of_a_run_may_share_their_results() {
    let model = stack();
    let marks = |name: &str| {
        Program::new()
            .mark(&format!("{name} starts"))
            .read("embed.output", name)
            .save(name)
            .mark(&format!("{name} ends"))
    };
    let results = Results::new();
    let mut trial = Trial::of(&model);
    for name in ["a", "b"] {
        let machine = Machine::new(&marks(name), &model.map).unwrap();
        trial.invoke(Invoke::new(name, machine.share_results(results.clone())).rows(1));
    }
    assert!(trial.run(table(2, 1.0)).report.result.is_ok());
    assert_eq!(
        results.marks(),
        ["a starts", "b starts", "a ends", "b ends"]
    );
    assert_eq!(results.saved().len(), 2);
}

#[test]
fn stop_ends_the_run_and_says_where() {
    let (ran, results) = run(&Program::new()
        .read("embed.output", "h")
        .stop()
        .mark("never"));
    let at = Some("embed.output.i0".to_owned());
    let by = "program".to_owned();
    assert_eq!(ran.report.result, Ok(RunEnd::Stopped { by, at }));
    assert!(results.marks().is_empty());
    // Nothing to catch: a stop is no fault.
    let (ran, _) = run(&Program::new().attempt(Program::new().stop()));
    assert!(matches!(
        ran.report.result,
        Ok(RunEnd::Stopped { at: None, .. })
    ));
}

#[test]
fn the_innermost_try_catches() {
    let inner = Program::new()
        .set("y", read("embed.output").sum())
        .raise("boom")
        .mark("never");
    let outer = Program::new()
        .catch("inner", inner)
        .when(caught("inner"), Program::new().mark("inner caught"))
        .raise("again");
    let program = Program::new()
        .catch("third", Program::new().mark("nothing to catch"))
        .catch("outer", outer)
        .choose(
            caught("third"),
            Program::new().mark("never"),
            Program::new().mark("after"),
        );
    let (ran, results) = run(&program);
    assert!(ran.report.result.is_ok());
    assert_eq!(
        results.marks(),
        ["nothing to catch", "inner caught", "after"]
    );
    let caught = results.caught();
    assert_eq!(caught["inner"], Fault::raise("boom"));
    assert_eq!(caught["outer"], Fault::raise("again"));
    assert_eq!(caught.len(), 2);
}

/// What an expression had computed when it failed is forgotten.
#[test]
fn a_caught_fault_leaves_the_stack_as_it_was() {
    let late = Program::new().set("y", var("x") + (var("x") * read("embed.input")));
    let program = Program::new()
        .set("x", read("embed.output") * 0.0 + 2.0)
        .attempt(late.clone())
        .attempt(late)
        .when(var("x").mean().equals(2.0), Program::new().mark("two"));
    let (ran, results) = run(&program);
    assert!(ran.report.result.is_ok());
    assert_eq!(results.marks(), ["two"]);
}

#[test]
fn conditions_compare_and_combine() {
    use Comparison::*;
    let x = || Program::new().set("x", 2.0);
    let holds = |condition| {
        let program = x().choose(
            condition,
            Program::new().set("x", 1.0),
            Program::new().set("x", 0.0),
        );
        compute(program) == Datum::Number(1.0)
    };
    assert!(holds(var("x").equals(2.0)));
    assert!(holds(var("x").is(Less, given("t").sum())));
    assert!(!holds(given("t").mean().is(GreaterOrEqual, 2.6)));
    assert!(holds(is_set("x")) && !holds(is_set("y")));
    let (yes, no) = (|| is_set("x"), || is_set("y"));
    use interloom_program::{all, any};
    for (a, b) in [(true, true), (true, false), (false, true), (false, false)] {
        let pick = |bit| if bit { yes() } else { no() };
        assert_eq!(holds(all([pick(a), pick(b)])), a && b);
        assert_eq!(holds(any([pick(a), pick(b)])), a || b);
        assert_eq!(holds(!any([pick(a), !pick(b)])), !a && b);
    }
    assert!(holds(all([])) && !holds(any([])));
    // What follows the one that decides is not evaluated: it would fail.
    let broken = || given("t").equals(1.0);
    assert!(holds(any([yes(), broken()])) && !holds(all([no(), broken()])));
}

#[test]
fn arithmetic_takes_numbers_on_either_side() {
    let t = || given("t");
    let data = |expr| {
        value(compute(Program::new().set("x", expr)))
            .data()
            .to_vec()
    };
    assert_eq!(data(t() + 1.0), [1., 2., 3., 4., 5., 6.]);
    assert_eq!(data(10.0 - t()), [10., 9., 8., 7., 6., 5.]);
    assert_eq!(data(t() / 2.0 * t()), [0., 0.5, 2., 4.5, 8., 12.5]);
    assert_eq!(data(-t().rows(1, 2)), [-3., -4., -5.]);
    assert_eq!(data(t().columns(1, 2).copy()), [1., 4.]);
    assert_eq!(data(t().slice([-1.., -2..])), [4., 5.]);
    assert_eq!(data(t() - t().mean()), [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]);
    assert_eq!(
        data(t().patch([0..1], t().rows(1, 2))),
        [3., 4., 5., 3., 4., 5.]
    );
    assert_eq!(data(t().clip([1..9])), [3., 4., 5.]);
    assert_eq!(
        data(t().clip([Span::ALL, Span::from(-9..-1)])),
        [0., 1., 3., 4.]
    );
    assert!(data(t().clip([5..9])).is_empty());
    assert_eq!(data(t().index(1)), [3., 4., 5.]);
    assert_eq!(data(t().index(1).index(2)), [5.]);
    assert_eq!(data(t().argmax_last()), [1.]);
    assert_eq!(data(t().zeros_like()), [0.; 6]);
    let number = compute(
        Program::new()
            .set("x", 1.0)
            .set("x", (var("x") + 2.0) * 4.0 / 8.0 - var("x")),
    );
    assert_eq!(number, Datum::Number(0.5));
}

#[test]
fn r7_a_module_is_called_on_a_value_and_passes_no_site() {
    let program = Program::new()
        .read("layers.0.output", "h")
        .set("lens", module("head", var("h")))
        .save("h")
        .save("lens");
    let (ran, results) = run_with(&program, |machine| {
        machine.modules(|path: &str, x: Array| {
            assert_eq!(path, "head");
            Ok(x.map(|x| x + 1000.0))
        })
    });
    assert_eq!(ran.log.len(), 2); // The read, and the end.
    let lens = results.value("h").unwrap().map(|x| x + 1000.0);
    assert_eq!(results.value("lens"), Some(lens));
}
