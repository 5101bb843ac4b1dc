//! What programs become of scenarios.

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
    let put = Program::new()
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
    let edit = |name: &str, on: Value| serde_json::json!({ "name": name, "on": on, "inplace": name == "base", "steps": mark(name) });
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

#[test]
fn a_list_is_used_by_whoever_made_it_only() {
    let list = |name: &str| serde_json::json!({ "op": "list", "as": name });
    let append = |name: &str| serde_json::json!({ "op": "append", "list": name, "expr": 1.0 });
    let refused = |traces: Value| {
        let scenario = serde_json::json!({ "model": "stack4", "traces": traces });
        let scenario: Scenario = serde_json::from_value(scenario).unwrap();
        match translate(&scenario, &|_| false) {
            Ok(_) => None,
            Err(Untranslated::ForeignList { list, maker }) => Some((list, maker)),
            Err(other) => panic!("{other:?}"),
        }
    };
    let invokes = |first: Value, second: Value| {
        let [a, b] =
            [first, second].map(|steps| serde_json::json!({ "input": "x0", "steps": steps }));
        refused(serde_json::json!([{ "on": "base", "invokes": [a, b] }]))
    };
    // Also in a loop, and if the other one comes later.
    let looped = serde_json::json!({ "op": "iter", "iter": { "int": 0 }, "var": "i", "body": [append("l")] });
    for (first, second) in [
        (vec![list("l")], vec![append("l")]),
        (vec![list("l")], vec![looped]),
        (
            vec![serde_json::json!({ "op": "save", "name": "l" })],
            vec![list("l")],
        ),
    ] {
        let found = invokes(first.into(), second.into());
        assert_eq!(found, Some(("l".to_owned(), "another invoke or edit")));
    }
    let runs = [
        run("base", serde_json::json!([list("l")])),
        run("base", serde_json::json!([append("l")])),
    ];
    let found = refused(serde_json::json!(runs));
    assert_eq!(found, Some(("l".to_owned(), "an earlier run")));
    // Each with a list of its own, or with one that nobody has made: that is for the check of programs to refuse.
    let own = [list("l"), append("l")];
    assert_eq!(invokes(own.to_vec().into(), own.to_vec().into()), None);
    assert_eq!(
        invokes(Value::Array(vec![]), vec![append("l")].into()),
        None
    );
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
