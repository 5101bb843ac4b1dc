//! Kinds and shapes, checked before a run: what is refused would fail, and what works is let
//! through.

use interloom_engine::array::Array;
use interloom_engine::{CacheSpec, Invoke};
use interloom_program::{
    Arithmetic, CheckContext, Expr, Machine, Program, Shapes, Span, module, read, tuple, var,
};
use proptest::prelude::*;

use crate::support::{Model, Trial, stack, table};

/// The shapes of a pass without mediators over two rows of two numbers.
fn shapes(model: &Model) -> Shapes {
    let mut trial = Trial::of(model);
    let cached = trial.cache(CacheSpec::all().both());
    trial.run(table(2, 1.0));
    let mut shapes = Shapes::new(2);
    for site in cached.sites() {
        shapes.add(site, cached.at(site).unwrap().shape().to_vec());
    }
    shapes
}

/// Checks a program for an invoke of one row of the two.
fn check(program: &Program) -> Result<(), String> {
    let model = stack();
    let shapes = shapes(&model);
    let known = CheckContext::of(&model.map).shapes(&shapes, Some(1));
    let checked = program.check(known);
    checked.map_err(|error| format!("{} {error}", error.code()))
}

fn refused(program: &Program) -> String {
    check(program).unwrap_err()
}

#[test]
fn a_write_of_another_shape_is_refused_with_both() {
    let h = || {
        Program::new()
            .in_file("a.toml")
            .line(3)
            .read("embed.output", "h")
            .line(4)
    };
    let sliced = h().write("layers.0.output", var("h").columns(0, 1));
    insta::assert_snapshot!(refused(&sliced), @"E109 a.toml:4: the replacement for `layers.0.output` is a tensor [1, 1], but the site has a tensor [1, 2] for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write");
    check(&h().write("layers.0.output", var("h") + var("h").columns(0, 1))).unwrap();
    // Where a mediator may have changed the shapes, or what a module returns, nothing is known.
    check(
        &h().reshape("embed.output", var("h").columns(0, 1))
            .write("layers.0.output", var("h").columns(0, 1)),
    )
    .unwrap();
    check(&h().write("layers.0.output", module("head", var("h").columns(0, 1)))).unwrap();
}

#[test]
fn a_span_outside_its_tensor_is_refused() {
    let rows = Program::new().set("x", read("embed.output").rows(0, 2));
    insta::assert_snapshot!(refused(&rows), @"E108 step 1: the span `0..2` does not lie in dimension 0 of [1, 2]");
    let deep = Program::new().set("x", read("embed.output").slice([Span::ALL; 3]));
    insta::assert_snapshot!(refused(&deep), @"E108 step 1: `slice` is not possible: expected a tensor of 3 dimensions or more, found a tensor [1, 2]");
    let patch = read("embed.output").patch([Span::ALL, Span::from(0..1)], read("embed.output"));
    insta::assert_snapshot!(refused(&Program::new().set("x", patch)), @"E108 step 1: `patch` is not possible: expected a tensor [1, 1], found a tensor [1, 2]");
}

#[test]
fn kinds_that_do_not_go_together_are_refused() {
    let number = Program::new().write("embed.output", 1.0);
    insta::assert_snapshot!(refused(&number), @"E108 step 1: a write takes a value, not a number");
    let list = Program::new().list("xs").set("x", var("xs") + 1.0);
    insta::assert_snapshot!(refused(&list), @"E108 step 2: `add` takes numbers and values, not a list");
    let item = Program::new().set("x", read("embed.output").index(1));
    insta::assert_snapshot!(refused(&item), @"E108 step 1: `index` is not possible: expected a tensor with a place 1 in dimension 0, found a tensor [1, 2]");
    let named = Program::new().set("x", read("embed.output").index("h"));
    insta::assert_snapshot!(refused(&named), @"E108 step 1: `index` is not possible: expected a map, found a tensor [1, 2]");
    let deep = Program::new().set("x", read("embed.output").clip([.., .., ..]));
    insta::assert_snapshot!(refused(&deep), @"E108 step 1: `clip` is not possible: expected a tensor of 3 dimensions or more, found a tensor [1, 2]");
    let row = read("embed.output").index(0);
    insta::assert_snapshot!(refused(&Program::new().write("embed.output", row)), @"E109 step 1: the replacement for `embed.output` is a tensor [2], but the site has a tensor [1, 2] for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write");
    let none = read("embed.output").clip([5..9]);
    insta::assert_snapshot!(refused(&Program::new().write("embed.output", none)), @"E109 step 1: the replacement for `embed.output` is a tensor [0, 2], but the site has a tensor [1, 2] for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write");
    let pair = Program::new().set("x", tuple([read("embed.output")]).sum());
    insta::assert_snapshot!(refused(&pair), @"E108 step 1: `sum` is not possible: expected a tensor, found a tuple (a tensor [1, 2])");
    let condition = Program::new().when(read("embed.output").equals(1.0), Program::new());
    insta::assert_snapshot!(refused(&condition), @"E108 step 1: a comparison takes numbers and values of one element, not a value of several");
}

#[test]
fn what_only_some_paths_know_is_let_through() {
    let wrong = || Program::new().write("embed.output", 1.0);
    check(&Program::new().catch("error", wrong())).unwrap();
    let branch = Program::new()
        .set("x", read("embed.output"))
        .when(var("x").sum().equals(0.0), Program::new().set("x", 1.0))
        .write("layers.0.output", var("x"));
    check(&branch).unwrap();
    // What an iteration sets, the next one has, and the model's own iterations may differ in shape.
    let body = Program::new().set("x", var("i")).set("y", var("x") * 1.0);
    check(
        &Program::new()
            .set("x", read("embed.output"))
            .each(.., "i", body),
    )
    .unwrap();
    let inside = Program::new().each(0..2, "i", Program::new().write("head.output", var("i")));
    insta::assert_snapshot!(refused(&inside), @"E108 step 2: a write takes a value, not a number");
}

fn exprs() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        4 => Just(read("embed.output")),
        1 => Just(var("n")),
        1 => (-2i32..3).prop_map(|number| Expr::Number(number.into())),
    ];
    let span = (prop::option::of(-3i64..4), prop::option::of(-3i64..4));
    let spans = prop::collection::vec(span.prop_map(|(start, end)| Span { start, end }), 0..3);
    leaf.prop_recursive(4, 12, 2, move |inner| {
        let two = (inner.clone(), inner.clone());
        let operation =
            prop::sample::select(vec![Arithmetic::Add, Arithmetic::Sub, Arithmetic::Mul]);
        prop_oneof![
            (operation, two.clone()).prop_map(|(operation, (left, right))| match operation {
                Arithmetic::Add => left + right,
                Arithmetic::Sub => left - right,
                _ => left * right,
            }),
            (inner.clone(), spans.clone()).prop_map(|(of, spans)| of.slice(spans)),
            (inner.clone(), spans.clone()).prop_map(|(of, spans)| of.clip(spans)),
            (inner.clone(), 0u32..3).prop_map(|(of, place)| of.index(place)),
            (two, spans.clone()).prop_map(|((of, with), spans)| of.patch(spans, with)),
            inner.clone().prop_map(Expr::sum),
            inner.clone().prop_map(|of| of.zeros_like()),
            inner.prop_map(|of| of.argmax_last()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every step of these programs is reached, so that what is refused has to fail.
    #[test]
    fn what_is_refused_fails_and_what_works_passes(value in exprs()) {
        let program = Program::new().set("n", 2.0).set("x", value).write("layers.0.output", var("x"));
        let model = stack();
        let mut trial = Trial::of(&model);
        let machine = Machine::<Array>::new(&program, &model.map).unwrap();
        trial.invoke(Invoke::new("program", machine).rows(1));
        trial.invoke(Invoke::new("mate", Machine::new(&Program::new(), &model.map).unwrap()).rows(1));
        let ran = trial.run(table(2, 1.0));
        if let Err(message) = check(&program) {
            prop_assert!(ran.report.result.is_err(), "{message}");
        }
    }
}
