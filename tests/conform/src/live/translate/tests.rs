//! What programs become of scenarios.

use interloom_program::{get, given, is_set, var};
use serde_json::Value;

use super::*;

fn plans(scenario: &Value) -> Vec<Plan> {
    let scenario: Scenario = serde_json::from_value(scenario.clone()).unwrap();
    translate(&scenario, &|_| false).unwrap()
}

fn run(on: &str, steps: Value) -> Value {
    serde_json::json!({
        "on": on, "direct": { "input": "x0", "steps": steps }, "invokes": null, "barriers": {}, "pre": [],
    })
}

#[test]
fn what_an_earlier_run_has_saved_is_given_to_a_later_one() {
    let read =
        serde_json::json!([{ "op": "read", "target": "embed.output", "as": "h", "save": true }]);
    let uses =
        serde_json::json!([{ "op": "write", "target": "embed.output", "expr": ["var", "h"] }]);
    let scenario = serde_json::json!({
        "model": "stack4", "edits": [], "traces": [run("base", read), run("base", uses)],
    });
    let plans = plans(&scenario);
    let expected = Program::new().write("embed.output", given(&saved_name("h")));
    assert_eq!(plans[1].blocks[0].program, expected);
}

#[test]
fn what_is_saved_by_a_step_of_its_own_is_saved_by_the_block_that_says_so() {
    let reads = serde_json::json!([
        { "op": "read", "target": "embed.output", "as": "h" },
        { "op": "save", "name": "h" },
    ]);
    let saves = serde_json::json!([{ "op": "save", "name": "h" }]);
    let scenario = serde_json::json!({ "model": "stack4", "traces": [
        { "on": "base", "direct": { "input": "x0", "steps": reads } },
        { "on": "base", "invokes": [{ "input": "x0", "steps": reads }, { "input": null, "steps": saves }] },
    ] });
    let plans = plans(&scenario);
    let own = Program::new().read("embed.output", "h").save("h");
    assert_eq!(plans[0].blocks[0].program, own);
    // What the earlier run saved is there until the first invoke reads.
    let put = Program::new()
        .attempt(Program::new().put("h", given(&saved_name("h"))))
        .read("embed.output", "h")
        .put("h", var("h"))
        .save("h");
    assert_eq!(plans[1].blocks[0].program, put);
    let got = Program::new().set("h", get("h")).save("h");
    assert_eq!(plans[1].blocks[1].program, got);
}

#[test]
fn a_copy_has_the_edits_of_its_original_and_clearing_leaves_it_alone() {
    let mark = |text: &str| serde_json::json!([{ "op": "mark", "text": text }]);
    let edit = |name: &str, base: Value| serde_json::json!({ "name": name, "base": base, "inplace": name == "base", "steps": mark(name) });
    let mut cleared = run("base", mark("run"));
    cleared["clear_edits"] = true.into();
    let scenario = serde_json::json!({
        "model": "stack4",
        "edits": [edit("base", Value::Null), edit("e", Value::Null), edit("f", "e".into())],
        "traces": [run("base", mark("run")), run("f", mark("run")), cleared, run("e", mark("run"))],
    });
    let marks = |plan: &Plan| -> Vec<Program> {
        plan.blocks
            .iter()
            .map(|block| block.program.clone())
            .collect()
    };
    let program = |text: &str| Program::new().mark(text);
    let expected: [&[&str]; 4] = [
        &["base", "run"],
        &["base", "e", "f", "run"],
        &["run"],
        &["base", "e", "run"],
    ];
    for (plan, names) in plans(&scenario).iter().zip(expected) {
        let names: Vec<Program> = names.iter().map(|name| program(name)).collect();
        assert_eq!(marks(plan), names);
    }
}

/// The programs of two invokes.
fn invokes(first: &Value, second: &Value) -> [Program; 2] {
    let [a, b] = [first, second].map(|steps| serde_json::json!({ "input": "x0", "steps": steps }));
    let scenario = serde_json::json!({
        "model": "stack4", "traces": [{ "on": "base", "invokes": [a, b] }],
    });
    let programs = plans(&scenario).remove(0).blocks.into_iter();
    let programs: Vec<Program> = programs.map(|block| block.program).collect();
    programs.try_into().unwrap()
}

fn list(name: &str) -> Value {
    serde_json::json!({ "op": "list", "as": name })
}

fn append(name: &str, expr: &Value) -> Value {
    serde_json::json!({ "op": "append", "list": name, "expr": expr })
}

#[test]
fn all_who_share_a_list_append_to_the_one_on_the_blackboard() {
    let read = serde_json::json!(["read", "embed.output"]);
    let [maker, other] = invokes(
        &serde_json::json!([list("l"), append("l", &1.0.into())]),
        &serde_json::json!([append("l", &read)]),
    );
    let made = Program::new().list("l").save("l").put("l", var("l"));
    let made = made.set("l", get("l")).append("l", 1.0);
    assert_eq!(maker, made.put("l", var("l")).save("l"));
    // The list has to be there before anything is read.
    let used = Program::new()
        .set("the list", get("l"))
        .read("embed.output", "the item")
        .set("l", get("l"))
        .append("l", var("the item"));
    assert_eq!(other, used.put("l", var("l")).save("l"));
}

#[test]
fn a_list_of_an_earlier_run_is_on_the_blackboard_before_all_else() {
    let scenario = serde_json::json!({ "model": "stack4", "traces": [
        run("base", serde_json::json!([list("l")])),
        run("base", serde_json::json!([append("l", &1.0.into())])),
    ] });
    let seed = Program::new().put("l", given(&saved_name("l")));
    let expected = Program::new().attempt(seed).set("l", get("l"));
    let expected = expected.append("l", 1.0).put("l", var("l")).save("l");
    assert_eq!(plans(&scenario)[1].blocks[0].program, expected);
}

#[test]
fn a_list_has_several_names() {
    let [own, _] = invokes(
        &serde_json::json!([
            list("l"),
            { "op": "let", "as": "k", "expr": ["var", "l"], "save": true },
            append("k", &1.0.into()),
            list("l"),
            append("k", &2.0.into()),
        ]),
        &serde_json::json!([]),
    );
    let made = Program::new()
        .list("l")
        .save("l")
        .set("k", var("l"))
        .save("k");
    let made = made.append("l", 1.0).set("k", var("l")).save("k");
    assert_eq!(own, made.list("l").save("l").append("k", 2.0));
}

#[test]
fn a_name_is_that_of_another_until_the_body_gives_it_a_value() {
    let read = |target: &str| serde_json::json!({ "op": "read", "target": target, "as": "h" });
    let write =
        serde_json::json!({ "op": "write", "target": "layers.0.output", "expr": ["var", "h"] });
    let first = serde_json::json!([read("embed.output")]);
    let [maker, user] = invokes(
        &first,
        &serde_json::json!([write, read("layers.1.output"), write]),
    );
    assert_eq!(
        maker,
        Program::new().read("embed.output", "h").put("h", var("h"))
    );
    let used = Program::new().write("layers.0.output", get("h"));
    let used = used.read("layers.1.output", "h");
    assert_eq!(used.write("layers.0.output", var("h")), user);

    // In a loop only the run says. What stands before it is read before it is found out.
    let sum = serde_json::json!({
        "op": "write", "target": "head.output", "expr": ["add", ["read", "head.output"], ["var", "h"]],
    });
    let body = serde_json::json!([sum, read("layers.1.output")]);
    let looped =
        serde_json::json!([{ "op": "iter", "iter": { "int": 0 }, "var": "i", "body": body }]);
    let [_, user] = invokes(&first, &looped);
    let (own, others) = (
        Program::new().set("kept 2", var("h")),
        Program::new().set("kept 2", get("h")),
    );
    let body = Program::new()
        .read("head.output", "kept 1")
        .choose(is_set("h"), own, others)
        .write("head.output", var("kept 1") + var("kept 2"))
        .read("layers.1.output", "h");
    assert_eq!(user, Program::new().each(0, "i", body));
}

#[test]
fn the_number_of_an_iteration_is_shared() {
    let looped =
        serde_json::json!([{ "op": "iter", "iter": { "int": 3 }, "var": "i", "body": [] }]);
    let asks =
        serde_json::json!([{ "op": "if_eq", "var": "i", "value": 3, "body": [{ "op": "stop" }] }]);
    let [maker, user] = invokes(&looped, &asks);
    let put = Program::new().put("i", var("i"));
    assert_eq!(maker, Program::new().each(3, "i", put));
    let asked = Program::new().when(get("i").equals(3.0), Program::new().stop());
    assert_eq!(user, asked);
}

#[test]
fn what_would_need_one_list_in_two_places_is_refused() {
    let item = serde_json::json!({ "op": "let", "as": "r", "expr": ["index", ["var", "l"], 0] });
    let held = append("l", &serde_json::json!(["var", "k"]));
    let one = 1.0.into();
    let save = serde_json::json!({ "op": "save", "name": "l" });
    let read = append("l", &serde_json::json!(["read", "embed.output"]));
    let again =
        serde_json::json!({ "op": "iter", "iter": { "int": 0 }, "var": "i", "body": [list("l")] });
    let nested = (0..9).fold(serde_json::json!([]), |body, _| {
        serde_json::json!([{ "op": "iter", "iter": { "int": 0 }, "var": "i", "body": body }])
    });
    let nested = nested.as_array().unwrap().clone();
    let cases = [
        (vec![list("l"), item, append("r", &one)], vec![]),
        (vec![again], vec![read]),
        (nested, vec![]),
        (vec![list("l"), list("k"), held, append("k", &one)], vec![]),
        (vec![list("l")], vec![append("l", &one), list("l"), save]),
    ];
    let messages = cases.map(|(first, second)| {
        let third = append("l", &one);
        let bodies = [first, second, vec![third]];
        let bodies = bodies.map(|steps| serde_json::json!({ "input": "x0", "steps": steps }));
        let scenario = serde_json::json!({
            "model": "stack4", "traces": [{ "on": "base", "invokes": bodies }],
        });
        let scenario: Scenario = serde_json::from_value(scenario).unwrap();
        match translate(&scenario, &|_| false) {
            Err(Unsupported::Unknown(what)) => what,
            other => panic!("{other:?}"),
        }
    });
    insta::assert_snapshot!(messages.join("\n"), @r"
    an append to `r`, which may be a list that is in two places,
    an append of what is read to the list `l`, which may be made again meanwhile,
    a loop in 8 others
    an append to `k`, which may be a list that is in two places,
    the list `l`, which several bodies make and others use,
    ");
}

#[test]
fn slices_and_places_are_those_of_the_reference() {
    let expr = |expr: Value| {
        let steps = serde_json::json!([{ "op": "let", "as": "x", "expr": expr }]);
        let [program, _] = invokes(&steps, &serde_json::json!([]));
        match program.steps.into_iter().next().unwrap().action {
            interloom_program::Action::Let { value, .. } => value,
            other => panic!("{other:?}"),
        }
    };
    let (x, all) = (|| given("t"), interloom_program::Span::ALL);
    let t = serde_json::json!(["tensor", "t"]);
    for (written, made) in [
        (serde_json::json!(["rows", t, 0, 99]), x().clip([0..99])),
        (serde_json::json!(["rows", t, null, -1]), x().clip([..-1])),
        (
            serde_json::json!(["rows2", t, 1, 2]),
            x().clip([all, (1..2).into()]),
        ),
        (serde_json::json!(["index", t, 3]), x().index(3)),
        (serde_json::json!(["index", t, "h"]), x().index("h")),
        (
            serde_json::json!(["index", t, -1]),
            x().clip([-1..]).index(0),
        ),
        (
            serde_json::json!(["index", t, -3]),
            x().clip([-3..-2]).index(0),
        ),
    ] {
        assert_eq!(expr(written), made);
    }
}

#[test]
fn a_condition_may_be_about_what_another_invoke_has_set() {
    let sets = serde_json::json!([{ "op": "let", "as": "n", "expr": 1.0 }]);
    let asks = serde_json::json!([{ "op": "if_eq", "var": "n", "value": 1.0, "body": [{ "op": "stop" }] }]);
    let scenario = serde_json::json!({ "model": "stack4", "traces": [
        { "on": "base", "invokes": [{ "input": "x0", "steps": sets }, { "input": null, "steps": asks }] },
    ] });
    let plans = plans(&scenario);
    let put = Program::new().set("n", 1.0).put("n", var("n"));
    assert_eq!(plans[0].blocks[0].program, put);
    let asked = Program::new().when(get("n").equals(1.0), Program::new().stop());
    assert_eq!(plans[0].blocks[1].program, asked);
}

#[test]
fn a_list_is_not_taken_for_another_invokes_variable_of_that_name() {
    let lists = serde_json::json!([
        { "op": "list", "as": "h" }, { "op": "append", "list": "h", "expr": 1.0 }, { "op": "save", "name": "h" },
    ]);
    let reads = serde_json::json!([{ "op": "read", "target": "embed.output", "as": "h" }]);
    let scenario = serde_json::json!({ "model": "stack4", "traces": [
        { "on": "base", "invokes": [{ "input": "x0", "steps": lists }, { "input": null, "steps": reads }] },
    ] });
    let plans = plans(&scenario);
    let own = Program::new()
        .list("h")
        .save("h")
        .append("h", 1.0)
        .save("h");
    assert_eq!(plans[0].blocks[0].program, own);
    let read = Program::new().read("embed.output", "h");
    assert_eq!(plans[0].blocks[1].program, read);
}

#[test]
fn loops_in_many_others_are_refused_at_once() {
    let mut body = serde_json::json!([{ "op": "list", "as": "l" }]);
    for depth in 0..100 {
        let var = format!("i{depth}");
        body =
            serde_json::json!([{ "op": "iter", "iter": { "int": 1 }, "var": var, "body": body }]);
    }
    let scenario = serde_json::json!({ "model": "recur5", "traces": [run("base", body)] });
    let scenario: Scenario = serde_json::from_value(scenario).unwrap();
    let refused = translate(&scenario, &|_| false).unwrap_err();
    let Unsupported::Unknown(what) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(what, "a loop in 8 others");
}
