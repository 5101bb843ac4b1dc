//! Backward passes in programs: the exchanges of the async closure, what is declared by itself, and
//! what is refused before a run.

use interloom_engine::array::Array;
use interloom_engine::{Cx, Invoke, Mediator, Port, SiteMap};
use interloom_program::{
    Action, CheckContext, Effects, Form, Machine, Program, Results, Shapes, Side, caught, given,
    read, tuple, var,
};

use crate::support::{Model, Ran, Trial, table};

/// Three modules in a row, the last one called twice.
fn chain() -> Model {
    let mut model = Model::tree(&[
        ("", &["a", "b", "c", "c"]),
        ("a", &[]),
        ("b", &[]),
        ("c", &[]),
    ]);
    for (module, scale) in model.modules.iter_mut().zip([1.0, 2.0, 3.0, 4.0]) {
        (module.scale, module.shift) = (scale, 0.0);
    }
    model
}

/// Runs a program alone on two rows, with nothing declared but what it declares itself.
fn run(program: &Program) -> (Ran, Results<Array>) {
    let model = chain();
    program.check(&*model.map).unwrap();
    let machine = Machine::new(program, &model.map).unwrap();
    let machine = machine.given("one", Array::scalar(1.0));
    let results = machine.results();
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("program", machine));
    (trial.run(table(2, 1.0)), results)
}

fn filled(value: f64) -> Array {
    table(2, 0.0).map(|_| value)
}

/// A loss of one element, which the tests' model takes for the gradient.
fn backward(program: Program) -> Program {
    let zero = read("output").sum() * 0.0;
    program.backward(zero + 1.0)
}

#[test]
fn r80_r93_a_program_makes_the_exchanges_of_the_closure() {
    let program = backward(Program::new())
        .each(
            [0, 1],
            "i",
            Program::new().catch("late", Program::new().read("c.grad", "second")),
        )
        .write("b.grad", read("b.output.grad") * 10.0)
        .read("input.grad", "first")
        .save("second")
        .save("first");
    let (ran, results) = run(&program);

    let model = chain();
    let mut trial = Trial::of(&model);
    trial.gradients(&["c.output", "b.output", "input"].map(|name| model.point(name)));
    trial.whole("closure", async |cx: Cx<Array>| {
        let zero = cx.output("").await?.map(|x| x * 0.0);
        cx.backward(Array::scalar(zero.data()[0] + 1.0)).await?;
        cx.for_each([0, 1], async |cx, _| {
            let _ = cx.grad("c").await;
            Ok(())
        })
        .await
        .map(drop)?;
        cx.update_grad("b", |gradient| gradient.map(|x| x * 10.0))
            .await?;
        cx.grad("input").await.map(drop)
    });
    let other = trial.run(table(2, 1.0));
    assert!(ran.report.result.is_ok(), "{:?}", ran.report.result);
    assert_eq!(ran.log, other.log);
    // The last iteration comes first, so that the loop asks too late for its second one.
    assert_eq!(results.value("second"), Some(filled(4.0)));
    assert_eq!(results.value("first"), Some(filled(960.0)));
    assert!(ran.lines().iter().any(|line| line.contains("E002")));
}

#[test]
fn r91_a_program_declares_what_it_names_wherever_it_stands() {
    let model = chain();
    let declared = |program: &Program| {
        let machine: Machine<Array> = Machine::new(program, &model.map).unwrap();
        let mut names: Vec<String> = machine
            .gradients()
            .into_iter()
            .map(|point| model.map.point_name(point))
            .collect();
        names.sort();
        names.dedup();
        names
    };
    let everywhere = Program::new()
        .read("b.output", "h")
        .each(
            0..2,
            "i",
            Program::new().attempt(Program::new().read("c.input.grad.i1", "g")),
        )
        .choose(
            read("a.grad").sum().equals(0.0),
            Program::new().write("input.grad", var("h")),
            Program::new().set("x", read("c.output.grad") + read("nowhere.grad")),
        );
    assert_eq!(
        declared(&everywhere),
        [
            "a.output.grad",
            "c.input.grad",
            "c.output.grad",
            "input.grad"
        ]
    );
    assert!(declared(&backward(Program::new())).is_empty());
    let cached = Program::new().cache_gradients("c", ["a"], Side::Both);
    assert_eq!(declared(&cached), ["a.input.grad", "a.output.grad"]);
    assert!(declared(&Program::new().cache("c", ["a"], Side::Both)).is_empty());
}

#[test]
fn r70_a_cache_of_gradients_collects_them_too() {
    let program =
        backward(Program::new().cache_gradients("kept", ["a", "c"], Side::Outputs)).save("kept");
    let (ran, results) = run(&program);
    assert!(ran.report.result.is_ok(), "{:?}", ran.report.result);
    let kept = results.cache("kept").unwrap();
    assert_eq!(kept.output_grads("c"), [filled(4.0), filled(1.0)]);
    assert_eq!(kept.output_grads("a"), [filled(48.0)]);
    assert_eq!(kept.outputs("a").len(), 1);
    assert!(kept.input_grads("a").is_empty());
}

#[test]
fn a_cache_without_gradients_is_written_as_ever() {
    let plain = Program::new().cache("c", ["a"], Side::Both);
    let text = serde_json::to_string(&plain).unwrap();
    assert_eq!(
        text,
        r#"{"steps":[{"action":{"cache":{"name":"c","modules":["a"],"side":"both"}}}]}"#
    );
    let gradients = Program::new().cache_gradients("c", ["a"], Side::Both);
    let text = serde_json::to_string(&gradients).unwrap();
    assert!(text.contains(r#""gradients":true"#), "{text}");
    assert_eq!(serde_json::from_str::<Program>(&text).unwrap(), gradients);
}

#[test]
fn r93_what_is_no_loss_and_where_no_pass_begins_can_be_caught() {
    let program = Program::new()
        .catch("early", Program::new().backward(given("one")))
        .catch("number", Program::new().backward(1.0))
        .catch("large", Program::new().backward(read("output")))
        .catch("good", backward(Program::new()))
        .read("c.grad.i1", "g")
        .catch("nested", Program::new().backward(var("g").sum()))
        .when(caught("nested"), Program::new().mark("after"));
    let (ran, results) = run(&program);
    assert!(ran.report.result.is_ok(), "{:?}", ran.report.result);
    let caught = results.caught();
    let code = |name: &str| caught.get(name).map(|fault| fault.code());
    assert_eq!(code("early"), Some("E056"));
    assert_eq!(code("number"), Some("E103"));
    assert_eq!(code("large"), Some("E055"));
    assert_eq!(code("good"), None);
    assert_eq!(code("nested"), Some("E056"));
    assert_eq!(results.marks(), ["after"]);
}

/// A module that puts out a tensor and one that puts out two, passed once each.
fn outlook() -> (SiteMap, Shapes) {
    let mut map = SiteMap::new();
    let mut shapes = Shapes::new(2);
    let tensor = |width| Form::Tensor(vec![2, width]);
    let outputs = [
        ("one", tensor(5)),
        ("two", Form::Tuple(vec![tensor(3), tensor(1)])),
    ];
    for (path, output) in outputs {
        map.add(path, &[Port::Input, Port::Output]);
        for (port, form) in [("input", tensor(3)), ("output", output)] {
            let site = map.point(&format!("{path}.{port}")).unwrap().at(0);
            shapes.pass(site);
            shapes.add_form(site, form);
        }
    }
    (map, shapes)
}

fn check(program: &Program) -> Result<(), String> {
    let (map, shapes) = outlook();
    let known = CheckContext::of(&map)
        .shapes(&shapes, Some(1))
        .whole_order(&shapes)
        .effects(Effects::of(program));
    let checked = program.check(known);
    checked.map_err(|error| format!("{} {error}", error.code()))
}

fn refused(program: &Program) -> String {
    check(program).unwrap_err()
}

fn program() -> Program {
    Program::new().in_file("a.toml").line(3)
}

/// A backward pass, with which the third line begins.
fn passed() -> Program {
    let loss = program().read("two.output", "h");
    loss.backward(read("two.output").index(0).sum()).line(4)
}

#[test]
fn a_gradient_has_the_kind_and_the_shape_of_its_value() {
    check(&passed().write("one.grad", read("one.grad") * 2.0)).unwrap();
    let narrow = passed().write("one.grad", read("one.grad").columns(0, 2));
    insta::assert_snapshot!(refused(&narrow), @"E109 a.toml:4: the replacement for `one.grad` is a tensor [1, 2], but the site has a tensor [1, 5] for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write");
    // Also a reshaping write keeps its shape.
    let reshaped = passed().reshape("one.grad", read("one.grad").columns(0, 2));
    assert!(refused(&reshaped).starts_with("E109"));
    let span = passed().set("x", read("one.input.grad").columns(2, 4));
    assert!(refused(&span).starts_with("E108"));
    // Which parts of a tuple have one is not known.
    check(&passed().set("x", read("two.grad").index(7))).unwrap();
    let skip = passed().skip_at("one.input.grad", read("one.input.grad"));
    insta::assert_snapshot!(refused(&skip), @"E108 a.toml:4: `one.input.grad` cannot be skipped; a module is skipped at its input");
}

#[test]
fn a_gradient_is_refused_only_if_its_value_never_passes() {
    // Another mediator, or the code around the model, may begin the pass.
    check(&program().read("one.grad", "g")).unwrap();
    // Which of two comes first is for the graph to say.
    check(&passed().read("one.grad", "g").read("two.input.grad", "h")).unwrap();
    let never = passed().read("one.grad.i3", "g");
    insta::assert_snapshot!(refused(&never), @"E108 a.toml:4: the model never passes `one.output.grad.i3` in this run, and `one.output.grad.i0` is the last of its passings; ask for that");
    let unknown = passed().read("onee.grad", "g");
    insta::assert_snapshot!(refused(&unknown), @"E104 a.toml:4: the model has no site `onee.grad`; nearest: `one.output.grad`, `two.output.grad`, `one.input.grad`");
}

#[test]
fn r95_a_program_declares_the_parameters_that_it_asks_for_and_nothing_of_them_is_refused() {
    let program = backward(Program::new())
        .read("c.grad.i1", "c")
        .read("a.shift.grad", "first")
        .save("first")
        .write("b.shift.grad", read("b.shift.grad") * 2.0)
        .read("b.shift.grad.i0", "second")
        .save("second")
        .catch("late", Program::new().read("a.shift.grad", "again"))
        .catch(
            "undeclared",
            Program::new().read("c.shift.grad.i1", "never"),
        );
    let (ran, results) = run(&program);
    assert!(ran.report.result.is_ok(), "{:?}", ran.report.result);
    let saved = |name: &str| results.value(name).unwrap().data().to_vec();
    // Four numbers go out of each module: those of `a` go through the other two, one of them twice.
    assert_eq!(saved("first"), [4.0 * 3.0 * 4.0 * 4.0]);
    assert_eq!(saved("second"), [2.0 * 4.0 * 4.0 * 4.0]);
    let caught = results.caught();
    let codes = ["late", "undeclared"].map(|name| caught[name].code());
    assert_eq!(codes, ["E002", "E003"]);
}

#[test]
fn after_a_gradient_its_value_and_what_came_before_it_is_gone() {
    let late = program()
        .read("two.input.grad", "g")
        .line(4)
        .read("one.output", "h");
    insta::assert_snapshot!(refused(&late), @"E119 a.toml:4: `one.output.i0` is asked for after `two.input.grad.i0` (a.toml:3), but the model passes it before; ask for it first, and keep the value if it is needed later");
    // The model goes on after the pass.
    check(&program().read("one.grad", "g").read("two.output", "h")).unwrap();
    let cached = |site: &str| {
        let read = program().read(site, "h").line(4);
        read.cache_gradients("c", ["one"], Side::Outputs)
    };
    insta::assert_snapshot!(refused(&cached("one.output")), @"E108 a.toml:4: the cache comes too late for `one.output.grad`, which the model has passed by then, for `one.output.i0` has been asked for before (a.toml:3); declare it before the first request");
    check(&cached("one.input")).unwrap();
}

#[test]
fn r93_a_pass_that_cannot_begin_is_refused() {
    let early = program().backward(tuple([]));
    insta::assert_snapshot!(refused(&early), @"E108 a.toml:3: no backward pass can begin before the model has started or after it has finished; ask for it at a site of the forward pass");
    let nested = passed()
        .read("one.grad", "g")
        .line(5)
        .backward(var("g").sum());
    insta::assert_snapshot!(refused(&nested), @"E108 a.toml:5: no backward pass can begin at `one.output.grad.i0`, within another one; ask for it at a site of the forward pass");
    let large = program().backward(read("one.output"));
    insta::assert_snapshot!(refused(&large), @"E108 a.toml:3: a backward pass is not possible: expected a loss of one element, found a tensor [1, 5]");
    let number = program().read("one.output", "h").line(4).backward(1.0);
    insta::assert_snapshot!(refused(&number), @"E108 a.toml:4: a backward pass takes a value, not a number");
    // Where the mediator is by then is not known.
    let pass = || Program::new().backward(var("loss"));
    let set = |program: Program| program.set("loss", read("one.input").sum());
    check(&set(program()).barrier("b").backward(var("loss"))).unwrap();
    let body = Program::new().attempt(Program::new().read("one.grad", "g"));
    let after = set(program()).then(body.steps[0].action.clone());
    check(&after.backward(var("loss"))).unwrap();
    let later = |body: Program| Program::new().each(0..2, "i", body.read("two.input", "h"));
    let in_second = later(Program::new().when(var("i").equals(1.0), pass()));
    let mut whole = program().set("loss", tuple([]));
    whole.steps.extend(in_second.steps);
    check(&whole).unwrap();
}

#[test]
fn the_limits_count_a_loss() {
    let deep = (0..40).fold(read("output"), |deep, _| deep.copy());
    let program = Program::new().then(Action::Backward { loss: deep });
    let error = program.check(&*chain().map).unwrap_err();
    assert_eq!(error.code(), "E100");
}
