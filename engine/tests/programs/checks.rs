//! What is found before a run.

use interloom_engine::SiteMap;
use interloom_engine::program::{
    Condition, Known, Program, all, any, caught, given, is_set, module, read, var,
};

use crate::support::stack;

fn message(program: &Program) -> String {
    let error = program
        .check(Known::of(&stack().map).givens(&["donor", "mask"]))
        .unwrap_err();
    format!("{} {error}", error.code())
}

fn is_fine(program: &Program) {
    program
        .check(Known::of(&stack().map).givens(&["donor"]))
        .unwrap();
}

#[test]
fn an_unknown_site_is_named_with_its_line() {
    let read = Program::new()
        .in_file("a.json")
        .line(7)
        .read("layers.1.ouput", "h");
    insta::assert_snapshot!(message(&read), @"E026 a.json:7: the model has no site `layers.1.ouput`; nearest: `layers.1.output`, `layers.0.output`, `layers.1.input`");
    let write = Program::new().write("layer.1.output.i2", 0.0);
    insta::assert_snapshot!(message(&write), @"E026 step 1: the model has no site `layer.1.output.i2`; nearest: `layers.1.output`, `layers.0.output`, `layers.1.fc.output`");
    let skip = Program::new().line(3).skip("layers.1.fcc", 0.0);
    insta::assert_snapshot!(message(&skip), @"E026 line 3: the model has no site `layers.1.fcc.input`; nearest: `layers.1.fc.input`, `layers.0.fc.input`, `layers.1.fc.output`");
    let nowhere = Program::new()
        .read("x.output", "h")
        .check(&SiteMap::new())
        .unwrap_err();
    insta::assert_snapshot!(nowhere, @"step 1: the model has no site `x.output`; it has no sites at all");
}

#[test]
fn a_variable_without_a_value_on_any_path_is_named() {
    let unset = Program::new().read("embed.output", "h1").save("h2");
    insta::assert_snapshot!(message(&unset), @"E027 step 2: `h2` has no value here, whichever way the program comes; nearest: `h1`");
    let nothing = Program::new().set("x", var("x") + 1.0);
    insta::assert_snapshot!(message(&nothing), @"E027 step 1: `x` has no value here, whichever way the program comes; no step before this one gives anything a value");
    let list = Program::new().in_file("a.json").append("xs", 1.0);
    insta::assert_snapshot!(message(&list), @"E027 a.json, step 1: `xs` has no value here, whichever way the program comes; no step before this one gives anything a value");
    let error = Program::new().when(caught("late"), Program::new());
    insta::assert_snapshot!(message(&error), @"E027 step 1: `late` has no value here, whichever way the program comes; no step before this one gives anything a value");
    let inner = Program::new()
        .set("x", 1.0)
        .write("embed.output", (var("x") + var("y")).sum());
    insta::assert_snapshot!(message(&inner), @"E027 step 2: `y` has no value here, whichever way the program comes; nearest: `x`");
}

#[test]
fn a_variable_with_a_value_on_some_path_is_left_to_the_run() {
    let branch = |program: Program| program.set("x", 1.0);
    let holds = || is_set("x");
    is_fine(
        &Program::new()
            .when(holds(), branch(Program::new()))
            .save("x"),
    );
    is_fine(
        &Program::new()
            .choose(holds(), Program::new(), branch(Program::new()))
            .save("x"),
    );
    is_fine(&Program::new().attempt(branch(Program::new())).save("x"));
    is_fine(
        &Program::new()
            .catch("error", Program::new())
            .when(caught("error"), Program::new()),
    );
    // What one branch sets is unset in the other.
    let other = Program::new().choose(holds(), branch(Program::new()), Program::new().save("x"));
    insta::assert_snapshot!(message(&other), @"E027 step 3: `x` has no value here, whichever way the program comes; no step before this one gives anything a value");
}

#[test]
fn conditions_are_looked_into() {
    let equal = |name: &str| var(name).equals(1.0);
    let deep = |inner: Condition| Program::new().when(all([any([!inner])]), Program::new());
    assert!(message(&deep(equal("x"))).starts_with("E027 step 1: `x`"));
    let right = var("y").equals(read("nowhere"));
    assert!(message(&deep(right)).starts_with("E027 step 1: `y`"));
    assert!(message(&deep(read("nowhere").equals(1.0))).starts_with("E026"));
}

#[test]
fn an_unknown_given_value_is_named_if_the_names_are_known() {
    let program = Program::new().line(2).write("embed.output", given("doner"));
    insta::assert_snapshot!(message(&program), @"E029 line 2: the program is given no value `doner`; nearest: `donor`, `mask`");
    program.check(&*stack().map).unwrap();
    let none = program
        .check(Known::of(&stack().map).givens(&[]))
        .unwrap_err();
    insta::assert_snapshot!(none, @"line 2: the program is given no value `doner`; it is given none at all");
}

#[test]
fn an_unknown_module_is_named() {
    let program = Program::new()
        .read("embed.output", "h")
        .line(9)
        .set("logits", module("haed", var("h")));
    insta::assert_snapshot!(message(&program), @"E102 line 9: the model has no module `haed` to call; nearest: `head`, `embed`, `layers.0`");
}

#[test]
fn the_first_mistake_in_order_is_named() {
    let program = Program::new()
        .attempt(Program::new().mark("a").read("nowhere", "h"))
        .save("x");
    assert!(
        message(&program).starts_with("E026 step 3"),
        "{}",
        message(&program)
    );
}
