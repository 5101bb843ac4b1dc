//! Structures, calls and skips, checked before a run with what is known of the model.

use std::collections::BTreeMap;

use interloom_engine::{Port, Site, SiteMap};
use interloom_program::{
    CheckContext, Comparison, Effects, Form, ModelShapes, Over, Program, Shapes, Side,
    SuppliedModules, given, map, module, read, tuple, var,
};

/// A module `pair` that puts out two tensors, and one after it, `join`, that puts out one.
fn model() -> (SiteMap, Shapes) {
    let mut map = SiteMap::new();
    let mut shapes = Shapes::new(4);
    let tensor = |width| Form::Tensor(vec![4, width]);
    let forms = [
        (
            "pair",
            tensor(3),
            Form::Tuple(vec![tensor(3), Form::Tensor(vec![7])]),
        ),
        ("join", Form::Tuple(vec![tensor(3), Form::Other]), tensor(5)),
    ];
    for (path, input, output) in forms {
        map.add(path, &[Port::Input, Port::Output]);
        for (port, form) in [("input", input), ("output", output)] {
            let site = map.point(&format!("{path}.{port}")).unwrap().at(0);
            shapes.pass(site);
            shapes.add_form(site, form);
        }
    }
    (map, shapes)
}

/// `join` takes what is three wide, and the model goes on with what is five wide, or one.
struct Widths;

impl ModelShapes for Widths {
    fn call(&self, path: &str, input: &[u64]) -> Option<Result<Vec<u64>, String>> {
        let gives = |width| [&input[..input.len() - 1], &[width]].concat();
        match (path, input.last()) {
            ("join", Some(3)) => Some(Ok(gives(5))),
            ("join", _) => Some(Err(format!("`join` takes [.., 3], found {input:?}"))),
            _ => None,
        }
    }

    fn skip(&self, input: Site, output: &[u64]) -> Option<String> {
        assert_eq!((input.iteration, output[0]), (0, 4), "the whole batch");
        let fits = matches!(output, [_, 1 | 5]);
        (!fits).then(|| "no tensor of that width".to_owned())
    }
}

/// Checks the program of a mediator with two of the four rows, beside others.
fn check_beside(program: &Program, others: Effects) -> Result<(), String> {
    let (map, shapes) = model();
    let donors = BTreeMap::from([("donor".to_owned(), Form::Tensor(vec![2, 5]))]);
    let known = CheckContext::of(&map)
        .named("m")
        .given_forms(&donors)
        .shapes(&shapes, Some(2))
        .whole_order(&shapes)
        .effects(others | Effects::of(program))
        .steps(None)
        .model(&Widths);
    let checked = program.check(known);
    checked.map_err(|error| format!("{} {error}", error.code()))
}

fn check(program: &Program) -> Result<(), String> {
    check_beside(program, Effects::default())
}

fn refused(program: &Program) -> String {
    check(program).unwrap_err()
}

fn program() -> Program {
    Program::new().in_file("a.toml").line(3)
}

#[test]
fn a_tuple_does_not_go_where_a_tensor_is_nor_a_tensor_where_a_tuple_is() {
    let pair = program().write(
        "join.output",
        tuple([read("pair.input"), read("join.output")]),
    );
    insta::assert_snapshot!(refused(&pair), @"E109 a.toml:3, mediator `m`: the replacement for `join.output` is a tuple (a tensor [2, 3], a tensor [2, 5]), but the site has a tensor [2, 5] for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write");
    let one = program().write("pair.output", read("pair.input"));
    insta::assert_snapshot!(refused(&one), @"E109 a.toml:3, mediator `m`: the replacement for `pair.output` is a tensor [2, 3], but the site has a tuple (a tensor [2, 3], a tensor [7]) for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write");
    let short = program().write("pair.output", tuple([read("pair.input")]));
    insta::assert_snapshot!(refused(&short), @"E109 a.toml:3, mediator `m`: the replacement for `pair.output` is a tuple (a tensor [2, 3]), but the site has a tuple (a tensor [2, 3], a tensor [7]) for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write");
    let named = program().write("pair.output", map([("a", read("pair.input"))]));
    insta::assert_snapshot!(refused(&named), @"E109 a.toml:3, mediator `m`: the replacement for `pair.output` is a map {a: a tensor [2, 3]}, but the site has a tuple (a tensor [2, 3], a tensor [7]) for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write");
    // A number stands for no tensor.
    let number = program().write("pair.output", read("pair.output").replace(1, 2.0));
    assert!(refused(&number).starts_with("E109"), "{}", refused(&number));
}

#[test]
fn what_is_inside_a_tuple_is_known() {
    check(&program().write("pair.output", read("pair.output"))).unwrap();
    let item = || read("pair.output").index(0);
    check(&program().write("pair.output", read("pair.output").replace(0, item() * 2.0))).unwrap();
    let other = program().write(
        "pair.output",
        read("pair.output").replace(0, item().columns(0, 1)),
    );
    insta::assert_snapshot!(refused(&other), @"E109 a.toml:3, mediator `m`: the replacement for `pair.output` is a tuple (a tensor [2, 1], a tensor [7]), but the site has a tuple (a tensor [2, 3], a tensor [7]) for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write");
    // The second item has no rows, and passes whole.
    check(&program().set("x", read("pair.output").index(1).slice([6..7]))).unwrap();
    let none = program().set("x", read("pair.output").index(2));
    insta::assert_snapshot!(refused(&none), @"E108 a.toml:3, mediator `m`: `index` is not possible: expected a value with the item 2, found a tuple (a tensor [2, 3], a tensor [7])");
    let sum = program().set("x", read("pair.output") + 1.0);
    insta::assert_snapshot!(refused(&sum), @"E108 a.toml:3, mediator `m`: `add` is not possible: expected tensors and numbers, found a tuple (a tensor [2, 3], a tensor [7])");
    // Whether what is no tensor is a number is not known.
    check(&program().write("join.input", read("join.input").replace(1, 2.0))).unwrap();
    check(&program().set("x", read("join.input").index(1) * 2.0)).unwrap();
}

#[test]
fn a_given_value_has_the_form_that_was_read() {
    check(&program().write("join.output", given("donor"))).unwrap();
    let wide = program().write("pair.input", given("donor"));
    insta::assert_snapshot!(refused(&wide), @"E109 a.toml:3, mediator `m`: the replacement for `pair.input` is a tensor [2, 5], but the site has a tensor [2, 3] for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write");
}

#[test]
fn a_call_takes_what_the_module_takes_and_gives_what_it_gives() {
    let call = |input| program().write("join.output", module("join", input));
    check(&call(read("pair.input"))).unwrap();
    let twice = call(module("join", read("pair.input")));
    insta::assert_snapshot!(refused(&twice), @"E108 a.toml:3, mediator `m`: `join` takes [.., 3], found [2, 5]; give it what it takes, or call another module");
    // What the model does not tell is not known, and what a `try` catches is let through.
    let unknown = program().set("x", module("pair", read("pair.input")));
    check(&unknown.write("join.output", var("x"))).unwrap();
    check(&program().attempt(twice)).unwrap();
}

#[test]
fn a_skip_puts_out_what_the_model_can_go_on_with() {
    let skip = |width| {
        let value = read("pair.input").columns(0, width);
        program().skip("join", value)
    };
    // Another width than five, but the model does not mind.
    check(&skip(1)).unwrap();
    insta::assert_snapshot!(refused(&skip(2)), @"E108 a.toml:3, mediator `m`: skipping `join.input` with a tensor [2, 2] in place of a tensor [2, 5] is not possible, because the model cannot go on: no tensor of that width; put out what the module does");
    let parts = program().skip("join", tuple([read("pair.input")]));
    insta::assert_snapshot!(refused(&parts), @"E108 a.toml:3, mediator `m`: skipping `join.input` with a tuple (a tensor [2, 3]) in place of a tensor [2, 5] is not possible, because the model cannot go on: it is of another structure; put out what the module does");
    // A mediator may put it right, or stop the run before the model goes on.
    let whole = Program::new().reshape("join.output", read("join.output"));
    for other in [whole, Program::new().stop(), skip(1)] {
        check_beside(&skip(2), Effects::of(&other)).unwrap();
    }
    // Of the right shape it changes nothing of what is known.
    let same = program().skip("join", given("donor"));
    let late = same.write("join.output", read("join.output").columns(0, 2));
    assert!(refused(&late).starts_with("E109"), "{}", refused(&late));
}

#[test]
fn a_skip_of_a_rank_too_many_is_of_the_whole_batch() {
    let odd = program().skip("join", given("donor").slice([0..1]));
    // One row of two, so that it is not known how many rows there are together.
    let (map, shapes) = model();
    let known = CheckContext::of(&map)
        .shapes(&shapes, Some(2))
        .model(&Widths);
    odd.check(known.effects(Effects::of(&odd))).unwrap();
}

#[test]
fn what_is_never_passed_or_was_passed_before_is_refused() {
    let late = program().set("x", read("join.output.i1"));
    insta::assert_snapshot!(refused(&late), @"E108 a.toml:3, mediator `m`: the model never passes `join.output.i1` in this run, and `join.output.i0` is the last of its passings; ask for that");
    check(&program().attempt(late.clone())).unwrap();
    // In a loop it is how that ends.
    check(&Program::new().each(0..3, "i", Program::new().read("join.output", "x"))).unwrap();
    let cache = |read: &str| {
        program()
            .read(read, "x")
            .line(4)
            .cache("c", ["pair"], Side::Both)
    };
    insta::assert_snapshot!(refused(&cache("join.output")), @"E108 a.toml:4, mediator `m`: the cache comes too late for `pair.input`, `pair.output`, which the model has passed by then, for `join.output.i0` has been asked for before (a.toml:3); declare it before the first request");
    // What is at hand is collected.
    check(&cache("pair.input")).unwrap();
    let skip = Effects::of(&Program::new().skip("pair", 0.0));
    check_beside(&cache("join.output"), skip).unwrap();
    let output = program().skip_at("join.output", read("join.output"));
    insta::assert_snapshot!(refused(&output), @"E108 a.toml:3, mediator `m`: `join.output` cannot be skipped; a module is skipped at its input");
}

/// A site that is longer in every iteration, as in a generation.
#[test]
fn the_first_round_of_a_loop_is_known_and_others_are_not() {
    let mut map = SiteMap::new();
    map.add("cell", &[Port::Output]);
    let point = map.point("cell.output").unwrap();
    let mut shapes = Shapes::new(1);
    for iteration in 0..2 {
        shapes.pass(point.at(iteration));
        shapes.add(point.at(iteration), vec![1, 3 + u64::from(iteration)]);
    }
    let known = CheckContext::of(&map).shapes(&shapes, None).order(&shapes);
    let check = |body: Program, over: Over| {
        let program = Program::new().each(over, "i", body);
        let known = known.effects(Effects::of(&program)).steps(Some(9));
        let doubts = program.doubts(known).len();
        program
            .check(known)
            .map(|()| doubts)
            .map_err(|error| error.code())
    };
    let cut = |width| Program::new().write("cell.output", read("cell.output").columns(0, width));
    assert_eq!(check(cut(2), Over::ALL), Err("E109"));
    assert_eq!(check(cut(3), Over::ALL), Ok(0));
    assert_eq!(check(cut(5), Over::ALL), Err("E108"));
    // Nothing is known of the ninth iteration, which may never come.
    assert_eq!(check(cut(2), Over::One(8)), Ok(0));
    // In a branch it may be another round, also for what was read before.
    let late = |inner: Program| {
        let program = Program::new().read("cell.output", "h");
        program.when(var("i").is(Comparison::Greater, 3.0), inner)
    };
    let wide = Program::new().set("x", var("h").columns(0, 6));
    assert_eq!(check(late(wide.clone()), Over::ALL), Ok(0));
    assert_eq!(check(late(cut(6)), Over::ALL), Ok(0));
    // After it, it is the first again.
    let after = late(wide).write("cell.output", var("h").columns(0, 1));
    assert_eq!(check(after, Over::ALL), Err("E109"));
}

/// `swap` takes two tensors of one shape and makes the second of them.
struct Supplied;

impl SuppliedModules for Supplied {
    fn names(&self) -> Vec<String> {
        vec!["swap".to_owned(), "swap.odd".to_owned()]
    }

    fn form(&self, name: &str, input: &Form) -> Option<Result<Form, String>> {
        match input {
            _ if name == "swap.odd" => None,
            Form::Tuple(items) if items.len() == 2 && items[0] == items[1] => {
                Some(Ok(items[1].clone()))
            }
            other => Some(Err(format!(
                "`{name}` takes two of one shape, found {other}"
            ))),
        }
    }
}

#[test]
fn r111_modules_that_the_run_is_supplied_with_are_called_beside_those_of_the_model() {
    let (map, shapes) = model();
    let check = |program: Program| {
        let known = CheckContext::of(&map).supplied(&Supplied).model(&Widths);
        let known = known.shapes(&shapes, Some(2)).whole_order(&shapes);
        program
            .check(known)
            .map_err(|error| format!("{} {error}", error.code()))
    };
    let x = || read("pair.input");
    let swap = |input| program().write("pair.input", module("swap", input));
    check(swap(tuple([x(), x()]))).unwrap();
    check(program().write("join.output", module("join", x()))).unwrap();
    // What is not known is not refused.
    check(program().write("pair.input", module("swap.odd", x()))).unwrap();
    insta::assert_snapshot!(check(swap(x())).unwrap_err(), @"E108 a.toml:3: `swap` takes two of one shape, found a tensor [2, 3]; give it what it takes, or call another module");
    let wide = program().write("join.output", module("swap", tuple([x(), x()])));
    insta::assert_snapshot!(check(wide).unwrap_err(), @"E109 a.toml:3: the replacement for `join.output` is a tensor [2, 3], but the site has a tensor [2, 5] for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write");
    let unknown = program().write("pair.input", module("swop", x()));
    insta::assert_snapshot!(check(unknown).unwrap_err(), @"E102 a.toml:3: the model has no module `swop` to call; nearest: `swap`, `join`, `pair`");
}
