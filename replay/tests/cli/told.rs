//! Scenarios that nobody recorded, for the rules that no recorded one needs.

use serde_json::{Value, json};

use crate::Place;
use crate::conform::{read_json, recorded};

/// A scenario that nobody recorded, with what a rule says that the reference would have been recorded doing.
pub(crate) struct Told {
    rule: &'static str,
    /// The version of the reference.
    pub(crate) version: &'static str,
    /// A recorded scenario with the same model and inputs, whose output is this one's.
    like: &'static str,
    /// The steps of each invoke; the inputs are `x0` and `x1`.
    steps: Vec<Value>,
    expected: Value,
    log: &'static str,
}

/// The rules that no recorded scenario needs.
pub(crate) fn told() -> [Told; 6] {
    let output = json!({ "0": [{ "kind": "tensor", "key": "output/0.0" }] });
    [
        Told {
            rule: "R60",
            version: "v081",
            like: "read_one",
            steps: vec![json!([
                { "op": "try", "as": "e", "body": [
                    { "op": "read", "target": "layers.1.output", "as": "a" },
                    { "op": "stop" },
                    { "op": "mark", "text": "never" },
                ]},
                { "op": "mark", "text": "after" },
            ])],
            expected: json!({
                "status": "ok", "error": null, "saved": {}, "marks": ["after"], "caches": {}, "outputs": output,
                "caught": { "e": { "class": "EarlyStopException", "message": "" } },
            }),
            log: r#"["resume", "m0", ["VALUE", "model.layers.1.output", 0], "END"]"#,
        },
        Told {
            rule: "R34",
            version: "v081",
            like: "iter_past_end",
            steps: vec![json!([
                { "op": "try", "as": "e", "body": [
                    { "op": "iter", "iter": { "slice": [0, 2] }, "var": "i", "body": [
                        { "op": "read", "target": "cell.output", "as": "a" },
                        { "op": "raise", "message": "no" },
                    ]},
                ]},
                { "op": "mark", "text": "after" },
            ])],
            expected: json!({
                "status": "ok", "error": null, "saved": {}, "marks": ["after"], "caches": {}, "outputs": output,
                "caught": { "e": { "class": "ValueError", "message": "no" } },
            }),
            log: r#"["resume", "m0", ["VALUE", "model.cell.output", 0], "END"]"#,
        },
        Told {
            rule: "R71",
            version: "v081",
            like: "read_one",
            steps: vec![json!([
                { "op": "read", "target": "layers.1.output", "as": "a" },
                { "op": "mark", "text": "before" },
                { "op": "cache", "as": "c", "modules": ["layers.3"] },
            ])],
            expected: json!({
                "status": "error", "saved": {}, "marks": ["before"], "caught": {}, "caches": {}, "outputs": {},
                "error": {
                    "class": "RuntimeError",
                    "message": "a cache must be declared before reading or modifying a module",
                },
            }),
            log: r#"["resume", "m0", ["VALUE", "model.layers.1.output", 0], ["EXCEPTION", "RuntimeError"]]"#,
        },
        // The second invoke has seen a 1 when it began.
        Told {
            rule: "R72",
            version: "v081",
            like: "two_invokes_read",
            steps: vec![
                json!([
                    { "op": "let", "as": "n", "expr": 1.0 },
                    { "op": "read", "target": "layers.0.output", "as": "a" },
                    { "op": "let", "as": "n", "expr": 2.0 },
                ]),
                json!([
                    { "op": "read", "target": "layers.1.output", "as": "b" },
                    { "op": "if_eq", "var": "n", "value": 1.0, "body": [{ "op": "mark", "text": "one" }] },
                    { "op": "if_eq", "var": "n", "value": 2.0, "body": [{ "op": "mark", "text": "two" }] },
                ]),
            ],
            expected: json!({
                "status": "ok", "error": null, "saved": {}, "marks": ["one"], "caught": {}, "caches": {}, "outputs": output,
            }),
            log: "[\"resume\", \"m0\", [\"VALUE\", \"model.layers.0.output\", 0], \"END\"]\n\
                  [\"resume\", \"m1\", [\"VALUE\", \"model.layers.1.output\", 0], \"END\"]",
        },
        // The block around the iteration has asked for nothing since.
        Told {
            rule: "R72",
            version: "v050",
            like: "iter_two_invokes",
            steps: vec![
                json!([{ "op": "iter", "iter": { "int": 4 }, "var": "i", "body": [
                    { "op": "let", "as": "n", "expr": 1.0 },
                    { "op": "read", "target": "cell.output", "as": "a" },
                ]}]),
                json!([
                    { "op": "read", "target": "cell.input", "as": "b" },
                    { "op": "if_eq", "var": "n", "value": 1.0, "body": [{ "op": "mark", "text": "one" }] },
                ]),
            ],
            expected: json!({
                "status": "error", "saved": {}, "marks": [], "caught": {}, "caches": {}, "outputs": {},
                "error": { "class": "NameError", "message": "name 'v_n' is not defined" },
            }),
            log: "[\"send\", \"m1\", \"VALUE\", \"model.cell.input.i0\"]\n\
                  [\"handle\", \"m1\", \"VALUE\", \"model.cell.input.i0\", \"model.cell.input.i0\", \"served\"]",
        },
        // The block around the iteration began before.
        Told {
            rule: "R72",
            version: "v050",
            like: "iter_two_invokes",
            steps: vec![
                json!([
                    { "op": "read", "target": "cell.input", "as": "a" },
                    { "op": "let", "as": "n", "expr": 1.0 },
                ]),
                json!([{ "op": "iter", "iter": { "int": 2 }, "var": "i", "body": [
                    { "op": "read", "target": "cell.output", "as": "b" },
                    { "op": "if_eq", "var": "n", "value": 1.0, "body": [{ "op": "mark", "text": "one" }] },
                ]}]),
            ],
            expected: json!({
                "status": "error", "saved": {}, "marks": [], "caught": {}, "caches": {}, "outputs": {},
                "error": { "class": "NameError", "message": "name 'v_n' is not defined" },
            }),
            log: "[\"send\", \"m0\", \"VALUE\", \"model.cell.input.i0\"]\n\
                  [\"handle\", \"m0\", \"VALUE\", \"model.cell.input.i0\", \"model.cell.input.i0\", \"served\"]\n\
                  [\"handle\", \"m1.i2\", \"VALUE\", \"model.cell.output.i2\", \"model.cell.output.i2\", \"served\"]",
        },
    ]
}

/// Writes a scenario that nobody recorded; returns its name.
pub(crate) fn tell(place: &Place, told: &Told, number: usize) -> String {
    let like: Value = read_json(
        &recorded()
            .join("scenarios")
            .join(told.like)
            .join("scenario.json"),
    );
    let invokes = ["x0", "x1"].iter().zip(&told.steps);
    let invokes = invokes.map(|(input, steps)| json!({ "input": input, "steps": steps }));
    let scenario = json!({
        "model": like["model"],
        "traces": [{ "on": "base", "invokes": invokes.collect::<Vec<_>>() }],
    });
    let id = format!("told_{number}_{}", told.rule);
    let home = place.path("recorded/scenarios").join(&id);
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("scenario.json"), scenario.to_string()).unwrap();
    let version = told.version;
    let expected = home.join(format!("expected.{version}.json"));
    std::fs::write(expected, told.expected.to_string()).unwrap();
    std::fs::write(home.join(format!("log.{version}.jsonl")), told.log).unwrap();
    let tensors = format!("expected.{version}.safetensors");
    let tensors = tensors.as_str();
    let from = recorded().join("scenarios").join(told.like).join(tensors);
    std::fs::copy(from, home.join(tensors)).unwrap();
    id
}
