//! What is found before a run.

use interloom_engine::SiteMap;
use interloom_program::{
    CheckContext, Condition, Program, Side, all, any, caught, given, is_set, module, read, var,
};

use crate::support::stack;

fn message(program: &Program) -> String {
    let error = program
        .check(CheckContext::of(&stack().map).givens(&["donor", "mask"]))
        .unwrap_err();
    format!("{} {error}", error.code())
}

fn is_fine(program: &Program) {
    program
        .check(CheckContext::of(&stack().map).givens(&["donor"]))
        .unwrap();
}

#[test]
fn an_unknown_site_is_named_with_its_line() {
    let read = Program::new()
        .in_file("a.json")
        .line(7)
        .read("layers.1.ouput", "h");
    insta::assert_snapshot!(message(&read), @"E104 a.json:7: the model has no site `layers.1.ouput`; nearest: `layers.1.output`, `layers.0.output`, `layers.1.input`");
    let write = Program::new().write("layer.1.output.i2", 0.0);
    insta::assert_snapshot!(message(&write), @"E104 step 1: the model has no site `layer.1.output.i2`; nearest: `layers.1.output`, `layers.0.output`, `layers.1.fc.output`");
    let skip = Program::new().line(3).skip("layers.1.fcc", 0.0);
    insta::assert_snapshot!(message(&skip), @"E104 line 3: the model has no site `layers.1.fcc.input`; nearest: `layers.1.fc.input`, `layers.0.fc.input`, `layers.1.fc.output`");
    let nowhere = Program::new()
        .read("x.output", "h")
        .check(&SiteMap::new())
        .unwrap_err();
    insta::assert_snapshot!(nowhere, @"step 1: the model has no site `x.output`; it has no sites at all");
}

#[test]
fn a_variable_without_a_value_on_any_path_is_named() {
    let unset = Program::new().read("embed.output", "h1").save("h2");
    insta::assert_snapshot!(message(&unset), @"E105 step 2: `h2` has no value here, whichever way the program comes; nearest: `h1`");
    let nothing = Program::new().set("x", var("x") + 1.0);
    insta::assert_snapshot!(message(&nothing), @"E105 step 1: `x` has no value here, whichever way the program comes; no step before this one gives anything a value");
    let list = Program::new().in_file("a.json").append("xs", 1.0);
    insta::assert_snapshot!(message(&list), @"E105 a.json, step 1: `xs` has no value here, whichever way the program comes; no step before this one gives anything a value");
    let error = Program::new().when(caught("late"), Program::new());
    insta::assert_snapshot!(message(&error), @"E105 step 1: `late` has no value here, whichever way the program comes; no step before this one gives anything a value");
    let inner = Program::new()
        .set("x", 1.0)
        .write("embed.output", (var("x") + var("y")).sum());
    insta::assert_snapshot!(message(&inner), @"E105 step 2: `y` has no value here, whichever way the program comes; nearest: `x`");
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
    insta::assert_snapshot!(message(&other), @"E105 step 3: `x` has no value here, whichever way the program comes; no step before this one gives anything a value");
}

#[test]
fn conditions_are_looked_into() {
    let equal = |name: &str| var(name).equals(1.0);
    let deep = |inner: Condition| Program::new().when(all([any([!inner])]), Program::new());
    assert!(message(&deep(equal("x"))).starts_with("E105 step 1: `x`"));
    let right = var("y").equals(read("nowhere"));
    assert!(message(&deep(right)).starts_with("E105 step 1: `y`"));
    assert!(message(&deep(read("nowhere").equals(1.0))).starts_with("E104"));
}

#[test]
fn an_unknown_given_value_is_named_if_the_names_are_known() {
    let program = Program::new().line(2).write("embed.output", given("doner"));
    insta::assert_snapshot!(message(&program), @"E107 line 2: the program is given no value `doner`; nearest: `donor`, `mask`");
    program.check(&*stack().map).unwrap();
    let none = program
        .check(CheckContext::of(&stack().map).givens(&[]))
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
        message(&program).starts_with("E104 step 3"),
        "{}",
        message(&program)
    );
}

#[test]
fn an_unknown_barrier_is_named_if_the_names_are_known() {
    let program = Program::new().barrier("b").line(2).barrier("bb");
    let map = stack().map;
    program.check(&*map).unwrap();
    let check = |barriers: &[&str]| program.check(CheckContext::of(&map).barriers(barriers));
    check(&["bb", "b"]).unwrap();
    let error = check(&["a", "b"]).unwrap_err();
    assert_eq!(error.code(), "E106");
    insta::assert_snapshot!(error, @"line 2: the run has no barrier `bb`; nearest: `b`, `a`");
    insta::assert_snapshot!(check(&[]).unwrap_err(), @"step 1: the run has no barrier `b`; it has none at all");
}

#[test]
fn a_cache_of_what_the_model_does_not_have_is_named() {
    let program =
        Program::new()
            .cache_all("c", Side::Both)
            .cache("d", ["embed", "layer.0"], Side::Inputs);
    insta::assert_snapshot!(message(&program), @"E104 step 2: the model has no site `layer.0.input`; nearest: `layers.0.input`, `layers.1.input`, `layers.0.fc.input`");
}

#[test]
fn what_one_iteration_sets_the_next_one_has() {
    let body = Program::new()
        .when(
            is_set("last"),
            Program::new().set("change", var("last") - 1.0),
        )
        .each(1, "j", Program::new().set("last", var("i") + var("j")));
    is_fine(&Program::new().each(0..3, "i", body).save("last").save("i"));
    let unset = Program::new().each(0..3, "i", Program::new().save("x"));
    insta::assert_snapshot!(message(&unset), @"E105 step 2: `x` has no value here, whichever way the program comes; nearest: `i`");
}
