//! Programs that are read, and programs that are none.

use interloom_program::{
    Action, Comparison, Expr, Program, ProgramStep, Side, Span, all, any, caught, get, given,
    is_set, map, module, read, tuple, var,
};

use super::*;

pub(super) fn parsed(text: &str) -> Result<Program, SyntaxError> {
    let located = Located::whole(text);
    let line = |at: usize| text[..at.min(text.len())].matches('\n').count() as u32 + 1;
    parse(&located, line)
}

/// Reads a program and forgets its lines, as the builder makes none.
#[track_caller]
fn steps(text: &str) -> Program {
    let mut program = parsed(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    forget_lines(&mut program.steps);
    program
}

pub(super) fn forget_lines(steps: &mut [ProgramStep]) {
    for step in steps {
        step.line = None;
        let bodies = step.action.bodies_mut();
        bodies.into_iter().for_each(forget_lines);
    }
}

fn program() -> Program {
    Program::new()
}

/// Each line is a program, and the same one as the builder makes.
#[test]
fn every_step_can_be_written() {
    let h = || var("h");
    let cases: Vec<(&str, Program)> = vec![
        (
            "h = layers.3.output",
            program().read("layers.3.output", "h"),
        ),
        (
            "h = blocks.3.hook_resid_post.i2",
            program().read("blocks.3.hook_resid_post.i2", "h"),
        ),
        ("h = 'hook_embed'", program().read("hook_embed", "h")),
        ("save h", program().save("h")),
        ("save h, g", program().save("h").save("g")),
        ("save h = output", program().read("output", "h").save("h")),
        ("save acc = []", program().list("acc").save("acc")),
        (
            "layers.0.output = h",
            program().write("layers.0.output", h()),
        ),
        ("write hook_embed = h", program().write("hook_embed", h())),
        ("\"hook_embed\" = h", program().write("hook_embed", h())),
        ("reshape layers.0 = h", program().reshape("layers.0", h())),
        ("input = h", program().write("input", h())),
        ("skip layers.0.input = h", program().skip("layers.0", h())),
        ("stop", program().stop()),
        ("raise 'no'", program().raise("no")),
        ("mark \"a \\\"b\\\"\"", program().mark("a \"b\"")),
        ("try { stop }", program().attempt(program().stop())),
        (
            "try { stop } catch e",
            program().catch("e", program().stop()),
        ),
        (
            "try {\n stop\n}\n\ncatch e",
            program().catch("e", program().stop()),
        ),
        (
            "if h > 0 { stop } else { next }",
            program().choose(
                h().is(Comparison::Greater, 0.0),
                program().stop(),
                program().next(1),
            ),
        ),
        (
            "if set(h) { stop }\nelse if caught(e) { next 3 } else { mark 'x' }",
            program().choose(
                is_set("h"),
                program().stop(),
                program().choose(caught("e"), program().next(3), program().mark("x")),
            ),
        ),
        ("a = []", program().list("a")),
        ("append(a, h)", program().append("a", h())),
        (
            "for i in .. { stop }",
            program().each(.., "i", program().stop()),
        ),
        (
            "for i in 2.. { stop }",
            program().each(2.., "i", program().stop()),
        ),
        (
            "for i in ..5 { stop }",
            program().each(..5, "i", program().stop()),
        ),
        ("for i in 0..8 { a = b; b = a }", {
            let body = program().set("a", var("b")).set("b", var("a"));
            program().each(0..8, "i", body)
        }),
        (
            "for i in [0, 2] { stop }",
            program().each([0, 2], "i", program().stop()),
        ),
        ("for i in 4 { }", program().each(4, "i", program())),
        ("next", program().next(1)),
        ("barrier met", program().barrier("met")),
        ("put clean.h = h * 2", program().put("clean.h", h() * 2.0)),
        (
            "cache c = outputs(layers.0, embed)",
            program().cache("c", ["layers.0", "embed"], Side::Outputs),
        ),
        (
            "cache c = inputs(..)",
            program().cache_all("c", Side::Inputs),
        ),
        ("cache c = both()", program().cache("c", [], Side::Both)),
        (
            "cache c = inputs(layers.0, embed) grad",
            program().cache_gradients("c", ["layers.0", "embed"], Side::Inputs),
        ),
        ("backward sum(h)", program().backward(h().sum())),
        ("backward h {}", program().backward(h())),
        ("backward ({}) {}", program().backward(map([]))),
        (
            "backward h[0] * 2 { g = layers.0.grad; layers.0.input.grad *= 0.5 }\nsave g",
            program()
                .backward(h().index(0) * 2.0)
                .read("layers.0.grad", "g")
                .write("layers.0.input.grad", read("layers.0.input.grad") * 0.5)
                .save("g"),
        ),
        (
            "backward h { g = grad(layers.0.mlp.weight) + grad(\"position.i1\")[0] }",
            program().backward(var("h")).set(
                "g",
                read("layers.0.mlp.weight.grad") + read("position.grad.i1").index(0),
            ),
        ),
        (
            "layers.0.source.tanh_0.fn = text('layers.0.\\\"norm\\\"')",
            program().write(
                "layers.0.source.tanh_0.fn",
                Expr::Text("layers.0.\"norm\"".to_owned()),
            ),
        ),
        ("output.grad[.., -1] = 0; grad = input.grad.i2", {
            let spans = [Span::ALL, (-1..).into()];
            let last = read("output.grad").patch(spans, 0.0);
            let program = program().write("output.grad", last);
            program.read("input.grad.i2", "grad")
        }),
        (
            "h[.., 4] = g",
            program().set("h", h().patch([Span::ALL, (4..5).into()], var("g"))),
        ),
        ("h[0] = g", program().set("h", h().replace(0, var("g")))),
        ("h += 1", program().set("h", h() + 1.0)),
        (
            "layers.0[.., -1] *= 0",
            program().write("layers.0", {
                let spans = [Span::ALL, (-1..).into()];
                read("layers.0").patch(spans, read("layers.0").slice(spans) * 0.0)
            }),
        ),
        ("# nothing\n\n  \n;;\nstop # at once", program().stop()),
    ];
    for (text, expected) in cases {
        assert_eq!(steps(text), expected, "{text}");
    }
}

#[test]
fn every_expression_can_be_written() {
    let (a, b, c) = (|| var("a"), || var("b"), || var("c"));
    let cases: Vec<(&str, Expr)> = vec![
        ("a + b * c", a() + b() * c()),
        ("(a + b) * c", (a() + b()) * c()),
        ("a - b - c", a() - b() - c()),
        ("a - (b - c)", a() - (b() - c())),
        ("a / b * c", a() / b() * c()),
        ("-a", -a()),
        ("-2 * a", Expr::from(-2.0) * a()),
        ("a - -2", a() - -2.0),
        ("1.5e-3", Expr::from(1.5e-3)),
        ("-inf", Expr::from(f64::NEG_INFINITY)),
        ("a +\n b", a() + b()),
        ("a[1..3]", a().slice([1..3])),
        ("a[.., -2.., ..-1, 3, -1]", {
            let last: Span = (-1..).into();
            a().slice([Span::ALL, (-2..).into(), (..-1).into(), (3..4).into(), last])
        }),
        ("a[-3..-1][0]", a().slice([-3..-1]).index(0)),
        ("a['k']", a().index("k")),
        (
            "a[]",
            Expr::Slice {
                of: Box::new(a()),
                spans: Vec::new(),
            },
        ),
        ("(a, b)", tuple([a(), b()])),
        ("(a,)", tuple([a()])),
        ("()", tuple([])),
        ("{x: a, 'y z': b}", map([("x", a()), ("y z", b())])),
        ("{}", map([])),
        ("$clean.h", given("clean.h")),
        ("$'any name'", given("any name")),
        ("get(h)", get("h")),
        ("zeros_like(a)", a().zeros_like()),
        ("sum(a) + mean(b)", a().sum() + b().mean()),
        ("argmax_last(copy(a))", a().copy().argmax_last()),
        (
            "clip(a, [.., 2..99])",
            a().clip([Span::ALL, (2..99).into()]),
        ),
        ("clip(get(a), [2])", get("a").clip([2..3])),
        ("patch(a, [0..1], b)", a().patch([0..1], b())),
        ("patch(a, ['k'], b)", a().replace("k", b())),
        ("unembed(norm(a))", module("unembed", module("norm", a()))),
        ("layers.0.mlp(a)", module("layers.0.mlp", a())),
        ("module('', a)", module("", a())),
        ("input + output", read("input") + read("output")),
        ("mean", var("mean")),
    ];
    for (text, expected) in cases {
        assert_eq!(
            steps(&format!("x = {text}")),
            program().set("x", expected),
            "{text}"
        );
    }
}

#[test]
fn conditions_bind_as_they_read() {
    let less = |name: &str| var(name).is(Comparison::Less, 1.0);
    let (a, b, c) = (|| less("a"), || less("b"), || less("c"));
    let cases = [
        ("a < 1 and b < 1 or c < 1", any([all([a(), b()]), c()])),
        ("a < 1 and (b < 1 or c < 1)", all([a(), any([b(), c()])])),
        ("not a < 1 and b < 1", all([!a(), b()])),
        ("not (a < 1 and b < 1)", !all([a(), b()])),
        ("(a < 1 and b < 1) and c < 1", all([all([a(), b()]), c()])),
        ("all() or any(a < 1)", any([all([]), any([a()])])),
        ("((a)) < (1)", a()),
        ("not not set(x)", !!is_set("x")),
        ("a == 1 and b != 1", {
            let (a, b) = (var("a").equals(1.0), var("b").is(Comparison::NotEqual, 1.0));
            all([a, b])
        }),
        ("a >= 1 or b <= 1", {
            let a = var("a").is(Comparison::GreaterOrEqual, 1.0);
            any([a, var("b").is(Comparison::LessOrEqual, 1.0)])
        }),
    ];
    for (text, condition) in cases {
        let expected = program().when(condition, program().stop());
        assert_eq!(steps(&format!("if {text} {{ stop }}")), expected, "{text}");
    }
}

#[test]
fn steps_know_their_lines() {
    let text = "h = layers.0\n\nfor i in .. {\n  if h > 0 {\n    stop\n  } else if h < 0 { next }\n}\nsave h, h";
    let program = parsed(text).unwrap();
    let lines: Vec<Option<u32>> = program.steps.iter().map(|step| step.line).collect();
    assert_eq!(lines, [Some(1), Some(3), Some(8), Some(8)]);
    let Action::Each { body, .. } = &program.steps[1].action else {
        unreachable!()
    };
    let Action::If {
        then, otherwise, ..
    } = &body[0].action
    else {
        unreachable!()
    };
    assert_eq!(
        (body[0].line, then[0].line, otherwise[0].line),
        (Some(4), Some(5), Some(6))
    );
}

#[test]
fn what_is_no_program_is_said_with_its_place() {
    let errors: Vec<String> = [
        "save",
        "save layers.0",
        "save for",
        "h = ",
        "h = a b",
        "h == 2",
        "= 2",
        "h = (a",
        "h = a[0",
        "h = a[-1]",
        "h = a[x]",
        "h = a[99999999999999999999]",
        "h = and",
        "h = layers.0.attn(a, b)",
        "h = sum()",
        "h = a < b",
        "h = a + (b and c)",
        "if a { stop }",
        "if a > b stop",
        "if a < b < c { stop }",
        "if a > b { stop",
        "stop }",
        "else { stop }",
        "while x { }",
        "for i over .. { }",
        "for i in x { }",
        "for i in [1.5] { }",
        "next 4294967296",
        "try { } catch 5",
        "skip layers.0",
        "put h 3",
        "cache c = layers.0",
        "backward",
        "backward { }",
        "backward h {",
        "backward h }",
        "backward = h",
        "cache c = both(..) grads",
        "h = backward",
        "mark hello",
        "append a, b",
        "h = {a: b, a: c}",
        "h = {a b}",
        "h = $",
        "h = §",
    ]
    .map(|text| match parsed(text) {
        Ok(program) => panic!("{text} is {program:?}"),
        Err(error) => {
            let (before, after) = text.split_at(error.at);
            format!(
                "{before}▸{after}: expected {}, found {}",
                error.expected, error.found
            )
        }
    })
    .to_vec();
    insta::assert_snapshot!(errors.join("\n"), @"
    save▸: expected the variable that is saved, found the end of the program
    save ▸layers.0: expected the variable that is saved, found `layers.0`
    save ▸for: expected the variable that is saved, found `for`, which is a word of the language
    h = ▸: expected a value, found the end of the program
    h = a ▸b: expected the end of the step, found `b`
    h ▸== 2: expected `=`, `+=`, `-=`, `*=` or `/=`, found `==`
    ▸= 2: expected a step, found `=`
    h = (a▸: expected `,` or `)`, found the end of the program
    h = a[0▸: expected `,` or `]`, found the end of the program
    h = a[▸-1]: expected the place of an item, from 0; the last place of a dimension is `[-1..]`, found -1
    h = a[▸x]: expected a place such as 4 or -1, or a span such as `..`, `2..` or `0..8`, found `x`
    h = a[▸99999999999999999999]: expected a whole number below 2^63, found 100000000000000000000
    h = ▸and: expected a value, found `and`, which is a word of the language
    h = layers.0.attn(a▸, b): expected one value; several make a tuple: `path((a, b))`, found `,`
    h = sum(▸): expected a value, found `)`
    h = ▸a < b: expected a value, found a condition; conditions stand after `if`
    h = a + (▸b and c): expected a condition, such as `x > 0`, `set(x)` or `caught(e)`, found a value
    if ▸a { stop }: expected a condition, such as `x > 0`, `set(x)` or `caught(e)`, found a value
    if a > b ▸stop: expected `{`, found `stop`
    if ▸a < b < c { stop }: expected a value, found a condition; conditions stand after `if`
    if a > b { stop▸: expected a step, or the `}` of this body, found the end of the program
    stop ▸}: expected a step, found `}`
    ▸else { stop }: expected a step, found `else`, which begins no step
    ▸while x { }: expected a step, found `while`, which begins no step
    for i ▸over .. { }: expected `in`, found `over`
    for i in ▸x { }: expected iterations, such as `..`, `0..8`, `[0, 2, 5]` or `3`, found `x`
    for i in [▸1.5] { }: expected a whole number below 2^32, found 1.5
    next ▸4294967296: expected a whole number below 2^32, found 4294967296
    try { } catch ▸5: expected the name of the error that is caught, found the number 5
    skip layers.0▸: expected `=`, found the end of the program
    put h ▸3: expected `=`, found the number 3
    cache c = ▸layers.0: expected `outputs(…)`, `inputs(…)` or `both(…)`, found `layers.0`
    backward▸: expected a value, found the end of the program
    backward ▸{ }: expected a loss, which is a value of one element, found `{`
    backward h {▸: expected a step, or the `}` of this body, found the end of the program
    backward h ▸}: expected a step, found `}`
    backward ▸= h: expected a value, found `=`
    cache c = both(..) ▸grads: expected the end of the step, found `grads`
    h = ▸backward: expected a value, found `backward`, which is a word of the language
    mark ▸hello: expected a note in quotes, found `hello`
    append ▸a, b: expected `(`, found `a`
    h = {a: b, ▸a: c}: expected each name once, found `a` twice
    h = {a ▸b}: expected `:`, found `b`
    h = $▸: expected the name of a given value after `$`, found the end of the program
    h = ▸§: expected a step or an expression, found the character '§'
    ");
}

#[test]
fn depth_is_limited_where_it_is_written() {
    let depths = [
        (
            "parentheses",
            format!("h = {}a{}", "(".repeat(500), ")".repeat(500)),
        ),
        ("sums", format!("h = {}a", "a + ".repeat(5000))),
        ("signs", format!("h = {}a", "-".repeat(5000))),
        ("brackets", format!("h = a{}", "[0]".repeat(5000))),
        (
            "calls",
            format!("h = {}a{}", "sum(".repeat(500), ")".repeat(500)),
        ),
        ("nots", format!("if {}a > 0 {{ }}", "not ".repeat(5000))),
        ("bodies", "try { ".repeat(500)),
        ("passes", "backward h { ".repeat(500)),
        (
            "else ifs",
            format!("if a > 0 {{ }} {}", "else if a > 0 { } ".repeat(500)),
        ),
        ("lists", format!("h = {}", "[".repeat(500))),
        ("maps", format!("h = {}", "{a: ".repeat(500))),
    ];
    for (what, text) in depths {
        let error = parsed(&text).expect_err(what);
        let is_limit = error.expected.starts_with("at most ") || what == "lists";
        assert!(is_limit, "{what}: {error:?}");
    }
    // What is just not too deep is read, and passes the program's own check.
    let text = format!("h = {}1", "1 + ".repeat(31));
    let map = interloom_engine::SiteMap::new();
    assert!(parsed(&text).unwrap().check(&map).is_ok());
    assert!(parsed(&format!("h = {}1", "1 + ".repeat(32))).is_err());
    let flat: Vec<&str> = std::iter::repeat_n("a > 0", 500).collect();
    assert!(parsed(&format!("if {} {{ }}", flat.join(" and "))).is_ok());
}
