//! The recorded scenarios, as programs on naive models, compared with the reference.
//!
//! `reasons.json` names each scenario that is not compared, or that differs on purpose: in which aspects, by which rule, and
//! why. A difference that is listed and not there fails the test as well as one that is there and not listed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use interloom_engine::Event;
use interloom_engine::array::Array;
use interloom_engine::program::{Datum, Results};
use interloom_tests::conformance::{
    Model, Scenario, Served, Tensors, Trace, Tree, load, run, translate,
};
use serde_json::Value;

/// Sums of another library round differently.
const TOLERANCE: f64 = 1e-5;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The aspects in which a scenario differs from the reference, or why it cannot be run.
fn differences(id: &str) -> Result<BTreeSet<&'static str>, String> {
    let home = folder().join("scenarios").join(id);
    let scenario: Scenario = serde_json::from_value(json(&home.join("scenario.json"))).unwrap();
    assert_eq!(scenario.id, id);
    let model = Model::load(&folder(), &scenario.model)?;
    let by_name = if model.has_names() {
        Model::by_name_in_blocks
    } else {
        Model::by_name
    };
    let plans = translate(&scenario, by_name)?;
    let inputs = load(&folder().join("inputs.safetensors"))?;
    let results = Results::new();
    let mut traces = Vec::new();
    for plan in &plans {
        traces.push(run(&model, &inputs, plan, &results)?);
    }
    let expected = json(&home.join("expected.v081.json"));
    let tensors = load(&home.join("expected.v081.safetensors")).unwrap_or_default();
    let is_same = [
        (
            "status",
            status(&traces) == expected["status"].as_str().unwrap(),
        ),
        ("saved", saved(&results, &expected, &tensors)),
        ("marks", Value::from(results.marks()) == expected["marks"]),
        (
            "caught",
            results
                .caught()
                .keys()
                .eq(expected["caught"].as_object().unwrap().keys()),
        ),
        ("outputs", outputs(&traces, &expected, &tensors)),
        ("caches", caches(&results, &traces, &expected, &tensors)),
        (
            "order",
            order(&traces) == logged(&home.join("log.v081.jsonl")),
        ),
    ];
    Ok(is_same
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(aspect, _)| aspect)
        .collect())
}

fn status(traces: &[Trace]) -> &'static str {
    let is_fine = |trace: &Trace| {
        trace
            .report
            .as_ref()
            .is_some_and(|report| report.result.is_ok())
    };
    if traces.iter().all(is_fine) {
        "ok"
    } else {
        "error"
    }
}

/// Compares what was saved; a value that was changed in place later counts as it was when it was saved.
fn saved(results: &Results<Tree>, expected: &Value, tensors: &Tensors) -> bool {
    let expected = expected["saved"].as_object().unwrap();
    let mut names: BTreeMap<&str, &Value> = BTreeMap::new();
    for (name, value) in expected {
        let name = name.strip_suffix("@snapshot").unwrap_or(name);
        let value = expected.get(&format!("{name}@snapshot")).unwrap_or(value);
        names.insert(name, value);
    }
    let own = results.saved();
    own.keys().map(String::as_str).eq(names.keys().copied())
        && own
            .iter()
            .all(|(name, datum)| is_datum(datum, names[name.as_str()], tensors))
}

fn is_datum(datum: &Datum<Tree>, expected: &Value, tensors: &Tensors) -> bool {
    match datum {
        Datum::Number(number) => expected["value"].as_f64() == Some(*number),
        Datum::Value(tree) => is_tree(tree, expected, tensors),
        Datum::List(items) => {
            let others = expected["items"].as_array().unwrap();
            let mut pairs = items.iter().zip(others);
            items.len() == others.len() && pairs.all(|(item, other)| is_datum(item, other, tensors))
        }
    }
}

fn is_tree(tree: &Tree, expected: &Value, tensors: &Tensors) -> bool {
    match (tree, expected["kind"].as_str().unwrap()) {
        (Tree::Leaf(own), "tensor") => is_close(own, &tensors[expected["key"].as_str().unwrap()]),
        (Tree::Leaf(own), "float") => own.data() == [expected["value"].as_f64().unwrap()],
        (Tree::Tuple(items), "tuple") => {
            let others = expected["items"].as_array().unwrap();
            let mut pairs = items.iter().zip(others);
            items.len() == others.len() && pairs.all(|(item, other)| is_tree(item, other, tensors))
        }
        (Tree::Map(items), "dict") => {
            let others = expected["items"].as_object().unwrap();
            let is_same = |(name, item): &(String, Tree)| {
                others
                    .get(name)
                    .is_some_and(|other| is_tree(item, other, tensors))
            };
            items.len() == others.len() && items.iter().all(is_same)
        }
        _ => false,
    }
}

fn is_close(own: &Array, other: &Array) -> bool {
    let scale = other
        .data()
        .iter()
        .fold(1e-3, |scale: f64, x| scale.max(x.abs()));
    let mut pairs = own.data().iter().zip(other.data());
    own.shape() == other.shape() && pairs.all(|(a, b)| (a - b).abs() <= TOLERANCE * scale)
}

/// Compares the outputs of the runs that came to their end.
fn outputs(traces: &[Trace], expected: &Value, tensors: &Tensors) -> bool {
    let others = expected["outputs"].as_object().unwrap();
    traces.iter().enumerate().all(|(index, trace)| {
        match (&trace.output, others.get(&index.to_string())) {
            (Some(own), Some(other)) => is_tree(own, &other[0], tensors),
            (own, other) => own.is_none() == other.is_none(),
        }
    })
}

/// Compares caches by module and iteration; the reference notes the model itself as an empty path or not at all.
fn caches(results: &Results<Tree>, traces: &[Trace], expected: &Value, tensors: &Tensors) -> bool {
    let expected = expected["caches"].as_object().unwrap();
    let whole: BTreeMap<_, _> = traces
        .iter()
        .flat_map(|trace| trace.caches.clone())
        .collect();
    expected.iter().all(|(name, modules)| {
        let Some(cache) = results.cache(name).or_else(|| whole.get(name).cloned()) else {
            return false;
        };
        modules.as_object().unwrap().iter().all(|(path, entries)| {
            let (inputs, outputs) = (cache.inputs(path), cache.outputs(path));
            let entries = entries.as_array().unwrap();
            entries.iter().enumerate().all(|(iteration, entry)| {
                is_entry(outputs.get(iteration), &entry["output"], tensors)
                    && is_entry(
                        inputs.get(iteration),
                        first_argument(&entry["inputs"]),
                        tensors,
                    )
            })
        })
    })
}

fn is_entry(own: Option<&Tree>, expected: &Value, tensors: &Tensors) -> bool {
    match own {
        Some(own) => is_tree(own, expected, tensors),
        None => expected["kind"] == "none",
    }
}

fn first_argument(inputs: &Value) -> &Value {
    match inputs["kind"].as_str() {
        Some("tuple") => &inputs["items"][0]["items"][0],
        _ => inputs,
    }
}

fn order(traces: &[Trace]) -> Vec<Served> {
    traces
        .iter()
        .flat_map(|trace| trace.served.clone())
        .collect()
}

/// The served requests of the reference: what each resumed mediator was given.
///
/// Barriers are left out: the reference does not log the answer to whoever arrives last.
fn logged(path: &Path) -> Vec<Served> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let served = lines.filter(|line| line[0] == "resume" && line[2][1].is_string());
    served
        .map(|line| {
            let mediator = line[1].as_str().unwrap()[1..].parse().unwrap();
            let name = line[2][0].as_str().unwrap();
            let event = Event::ALL
                .into_iter()
                .find(|event| event.name() == name)
                .unwrap();
            // What the reference calls a skip's place is the module's input.
            let site = line[2][1].as_str().unwrap().replace(".skip", ".input");
            let site = site.strip_prefix("model.").unwrap();
            let site = format!("{site}.i{}", line[2][2]);
            (mediator, event, site)
        })
        .collect()
}

#[test]
fn every_scenario_is_as_the_reference_or_differs_for_a_reason() {
    let reasons = json(&folder().join("reasons.json"));
    let reasons = reasons.as_object().unwrap();
    let entries = std::fs::read_dir(folder().join("scenarios")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> = names.collect();
    assert!(names.len() >= 89 && reasons.keys().all(|id| names.contains(id)));
    let mut wrong = Vec::new();
    for id in &names {
        let found = match differences(id) {
            Ok(aspects) => Value::from(aspects.into_iter().collect::<Vec<_>>()),
            Err(missing) => Value::from(missing),
        };
        let reason = reasons.get(id);
        let listed = reason.map_or(Value::Array(Vec::new()), |reason| reason["differs"].clone());
        let is_explained =
            |reason: &Value| reason["rule"].is_string() && reason["reason"].is_string();
        if found != listed || !reason.is_none_or(is_explained) {
            wrong.push(format!("{id}: found {found}, listed {listed}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
