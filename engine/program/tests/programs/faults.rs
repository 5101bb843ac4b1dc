//! What a program that cannot go on says, at which line, and that it can be caught.

use interloom_engine::array::Array;
use interloom_engine::{FaultKind, Invoke};
use interloom_program::{
    Expr, Machine, Program, Span, given, is_set, map, module, read, tuple, var,
};

use crate::support::{Trial, stack, table};

/// The fault of a single step, which is the same whether it is caught or not.
fn fault_of(step: Program) -> String {
    let model = stack();
    let run = |program: &Program| {
        let machine = Machine::new(program, &model.map).unwrap();
        let machine = machine.given("t", Array::new(&[2, 3], &[0.0; 6]));
        let results = machine.results();
        let mut trial = Trial::of(&model);
        trial.invoke(Invoke::new("program", machine).optional());
        (trial.run(table(2, 1.0)), results.caught())
    };
    let (ran, _) = run(&step);
    let faults = ran.faults();
    let (_, fault) = faults[0];
    let (ran, caught) = run(&Program::new().catch("it", step));
    assert!(ran.report.result.is_ok());
    assert_eq!(caught["it"].kind(), fault);
    format!("{} {fault}", fault.code())
}

fn of(expr: impl Into<Expr>) -> String {
    fault_of(Program::new().set("x", expr))
}

fn list() -> Program {
    Program::new().list("xs").append("xs", 1.0)
}

#[test]
fn what_has_no_value_is_named() {
    insta::assert_snapshot!(of(var("h")), @"E103 `h` has no value yet; give it one on every path that leads here");
    let branch = Program::new()
        .when(is_set("x"), Program::new().set("x", 1.0))
        .save("x");
    insta::assert_snapshot!(fault_of(branch), @"E103 `x` has no value yet; give it one on every path that leads here");
    insta::assert_snapshot!(fault_of(Program::new().append("xs", 1.0)), @"E103 `xs` has no value yet; give it one on every path that leads here");
    insta::assert_snapshot!(of(given("donor")), @"E103 the machine was given no value `donor`; give it one before the run");
    insta::assert_snapshot!(of(module("head", given("t"))), @"E103 module `head` cannot be called, because the machine was given no modules; give it some before the run");
}

#[test]
fn what_is_of_another_kind_is_named() {
    insta::assert_snapshot!(fault_of(Program::new().write("embed.output", 1.0)), @"E103 a write takes a value, not a number");
    insta::assert_snapshot!(fault_of(Program::new().skip("embed", 1.0)), @"E103 a skip takes a value, not a number");
    insta::assert_snapshot!(fault_of(list().set("y", var("xs") + 1.0)), @"E103 `add` takes numbers and values, not a list");
    insta::assert_snapshot!(fault_of(Program::new().set("xs", 1.0).append("xs", 1.0)), @"E103 an append takes a list, not a number");
    insta::assert_snapshot!(fault_of(Program::new().set("xs", given("t")).append("xs", 1.0)), @"E103 an append takes a list, not a value");
    insta::assert_snapshot!(of(tuple([given("t"), 1.0.into()])), @"E103 `tuple` takes a value, not a number");
    insta::assert_snapshot!(of(Expr::from(1.0).index(0)), @"E103 `index` takes a value or a list, not a number");
    let compared = |expr: Expr| fault_of(Program::new().when(expr.equals(1.0), Program::new()));
    insta::assert_snapshot!(compared(given("t")), @"E103 a comparison takes numbers and values of one element, not a value of several");
}

#[test]
fn what_cannot_be_computed_says_why() {
    let t = || given("t");
    insta::assert_snapshot!(of(t() + t().rows(0, 1)), @"E103 `add` is not possible: expected f64[2, 3], found f64[1, 3]");
    insta::assert_snapshot!(of(tuple([t()])), @"E103 `tuple` is not possible: expected an array, which has no structure, found a tuple of 1 items");
    insta::assert_snapshot!(of(map([("a", t())])), @"E103 `map` is not possible: expected an array, which has no structure, found a map of 1 items");
    insta::assert_snapshot!(fault_of(Program::new().list("xs").put("xs", var("xs"))), @"E103 a put is not possible: expected a kind of value that has lists, found a list of 0 items");
    insta::assert_snapshot!(of(t().index("h")), @"E103 `index` is not possible: expected a tuple, list or map with item `h`, found f64[2, 3]");
    insta::assert_snapshot!(of(t().index(2)), @"E103 `index` is not possible: expected a tensor with a place 2 in dimension 0, found f64[2, 3]");
    insta::assert_snapshot!(of(t().clip([.., .., ..])), @"E103 `clip` is not possible: expected a tuple, a list, or a tensor of 3 dimensions or more, found a tensor [2, 3]");
    insta::assert_snapshot!(of(Expr::from(1.0).clip([0..1])), @"E103 `clip` takes a value, not a number");
    insta::assert_snapshot!(fault_of(list().set("y", var("xs").clip([.., ..]))), @"E103 `clip` is not possible: expected one span, for a tuple or a list, found 2 of them");
    insta::assert_snapshot!(of(t().replace(1, t())), @"E103 `replace` is not possible: expected a tuple, list or map with item 1, found f64[2, 3]");
    insta::assert_snapshot!(of(t().patch([0..1], t())), @"E103 `patch` is not possible: expected f64[1, 3], found f64[2, 3]");
    insta::assert_snapshot!(of(t().rows(0, 0).mean()), @"E103 `mean` is not possible: expected elements to take the mean of, found f64[0, 3]");
    insta::assert_snapshot!(of(t().sum().argmax_last()), @"E103 `argmax_last` is not possible: expected two dimensions or more, none of them empty, found f64[]");
    insta::assert_snapshot!(fault_of(list().set("y", var("xs").index(1))), @"E103 the list has no item 1, its length is 1");
    insta::assert_snapshot!(fault_of(list().set("y", var("xs").index("h"))), @"E103 the list has no item `h`, its length is 1");
}

#[test]
fn a_span_outside_its_tensor_is_named() {
    insta::assert_snapshot!(of(given("t").rows(1, 3)), @"E103 the span `1..3` does not lie in dimension 0 of [2, 3]");
    insta::assert_snapshot!(of(given("t").slice([Span::ALL, Span::from(-4..)])), @"E103 the span `-4..` does not lie in dimension 1 of [2, 3]");
    insta::assert_snapshot!(of(given("t").slice([.., .., ..])), @"E103 the span `..` does not lie in dimension 2 of [2, 3]");
}

#[test]
fn a_refusal_is_as_good_as_any_fault() {
    assert!(fault_of(Program::new().read("embed.outputs", "h")).starts_with("E001"));
    assert!(fault_of(Program::new().read("embed.output.i7", "h")).starts_with("E003"));
    assert!(fault_of(Program::new().write("embed.output", given("t"))).starts_with("E004"));
    assert!(fault_of(Program::new().raise("boom")).starts_with("E013 boom"));
}

#[test]
fn a_fault_that_nobody_catches_stands_at_its_line() {
    let model = stack();
    let program = Program::new()
        .in_file("patch.json")
        .line(4)
        .read("layers.1.output", "h")
        .line(5)
        .attempt(Program::new().line(6).raise("caught"))
        .line(8)
        .write("layers.0.output", var("h") + read("head.output"));
    let machine = Machine::<Array>::new(&program, &model.map).unwrap();
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("patch", machine));
    insta::assert_snapshot!(trial.run(table(2, 1.0)).error(), @"mediator `patch` failed at `head.output.i0` (patch.json:8): `layers.0.output.i0` was already passed when it was asked for, with the model at `head.output.i0`; ask for it before you ask for a later site, or keep the value when it passes");

    let unset = Program::new().line(3).save("h");
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new(
        "unset",
        Machine::<Array>::new(&unset, &model.map).unwrap(),
    ));
    let ran = trial.run(table(2, 1.0));
    insta::assert_snapshot!(ran.error(), @"mediator `unset` failed (program:3): `h` has no value yet; give it one on every path that leads here");
    assert!(matches!(ran.faults()[0].1, FaultKind::Program(_)));
}
