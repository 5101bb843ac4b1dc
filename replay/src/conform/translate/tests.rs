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
