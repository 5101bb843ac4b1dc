//! Tuples, lists and maps in programs.

use std::collections::BTreeMap;
use std::sync::Arc;

use interloom_engine::array::Array;
use interloom_engine::{Delivery, Mediator, Request, SiteMap, Step};
use interloom_program::{Datum, Machine, Program, Results, get, given, inputs, map, tuple, var};

use crate::nest::Nest;

#[test]
fn tuples_and_maps_are_taken_apart_and_put_together() {
    let leaf = |number| Nest::Leaf(Array::scalar(number));
    let program = Program::new()
        .set(
            "pair",
            tuple([given("a"), map([("h", given("b")), ("g", given("a"))])]),
        )
        .set("h", var("pair").index(1).index("h"))
        .set(
            "swapped",
            var("pair")
                .replace(0, var("h"))
                .replace(1, var("pair").index(1).replace("h", given("a"))),
        )
        .set("call", inputs([given("a")], [("scale", given("b") * 2.0)]));
    let program = ["pair", "h", "swapped", "call"]
        .into_iter()
        .fold(program, Program::save);
    let results = alone(&program, [("a", leaf(1.0)), ("b", leaf(2.0))]);
    let named = |items: &[(&str, f64)]| {
        Nest::Map(
            items
                .iter()
                .map(|&(name, number)| (name.to_owned(), leaf(number)))
                .collect(),
        )
    };
    let value = |name| results.value(name).unwrap();
    assert_eq!(
        value("pair"),
        Nest::Tuple(vec![leaf(1.0), named(&[("g", 1.0), ("h", 2.0)])])
    );
    assert_eq!(value("h"), leaf(2.0));
    assert_eq!(
        value("swapped"),
        Nest::Tuple(vec![leaf(2.0), named(&[("g", 1.0), ("h", 1.0)])])
    );
    assert_eq!(
        value("call"),
        Nest::Tuple(vec![Nest::Tuple(vec![leaf(1.0)]), named(&[("scale", 4.0)])])
    );
}

#[test]
fn a_tuple_is_clipped_to_a_tuple() {
    let leaf = |number| Nest::Leaf(Array::scalar(number));
    let program = Program::new()
        .set(
            "t",
            tuple([given("a"), given("b"), given("a")]).clip([-2..]),
        )
        .save("t");
    let results = alone(&program, [("a", leaf(1.0)), ("b", leaf(2.0))]);
    assert_eq!(
        results.value("t"),
        Some(Nest::Tuple(vec![leaf(2.0), leaf(1.0)]))
    );
}

#[test]
fn r72_a_list_goes_over_the_blackboard_and_grows_for_whoever_has_it() {
    let leaf = |number| Nest::Leaf(Array::scalar(number));
    let program = Program::new()
        .list("xs")
        .append("xs", given("a"))
        .put("xs", var("xs"))
        .append("xs", given("a"))
        .set("own", get("xs"))
        .save("own")
        .append("own", given("b"))
        .append("own", tuple([var("xs"), given("a")]))
        .set("item", get("xs").index(0))
        .save("item")
        .set("none", get("xs").clip([3..]))
        .save("none");
    let results = alone(&program, [("a", leaf(1.0)), ("b", leaf(2.0))]);
    let list = |items: Vec<Datum<Nest>>| Datum::List(items.into());
    let [a, b] = [1.0, 2.0].map(|number| Datum::Value(leaf(number)));
    let both = Nest::List(vec![leaf(1.0), leaf(1.0)]);
    let pair = Datum::Value(Nest::Tuple(vec![both, leaf(1.0)]));
    assert_eq!(results.get("own"), Some(list(vec![a.clone(), b, pair])));
    assert_eq!(results.get("item"), Some(a));
    assert_eq!(results.get("none"), Some(list(Vec::new())));
}

#[test]
fn nothing_is_doubled_without_end() {
    let tuples = Program::new().set("x", tuple([var("x"), var("x")]));
    let lists = Program::new().append("x", var("x"));
    let begun = [
        Program::new().set("x", given("a")),
        Program::new().list("x").append("x", 1.0),
    ];
    let messages = begun
        .into_iter()
        .zip([tuples, lists])
        .map(|(mut program, double)| {
            program
                .steps
                .extend((0..60).flat_map(|_| double.steps.clone()));
            let caught = Program::new().catch("error", program).save("x");
            let results = alone(&caught, [("a", Nest::Leaf(Array::scalar(1.0)))]);
            results.caught()["error"].to_string()
        });
    insta::assert_snapshot!(messages.collect::<Vec<_>>().join("\n"), @r"
    the tuple, list or map would have more than 65536 tensors in it; save them one by one
    the tuple, list or map would have more than 65536 tensors in it; save them one by one
    ");
}

/// Runs a program that asks for nothing but what it has put on the blackboard, without a model.
fn alone<const N: usize>(program: &Program, givens: [(&str, Nest); N]) -> Results<Nest> {
    let machine = Machine::new(program, &Arc::new(SiteMap::new())).unwrap();
    let machine = givens
        .into_iter()
        .fold(machine, |machine, (name, value)| machine.given(name, value));
    let results = machine.results();
    let mut blackboard = BTreeMap::new();
    let mut step = Box::new(machine).resume(Delivery::Start);
    while let Step::Ask { request, rest, .. } = step {
        let delivery = match request {
            Request::Put { name, value } => {
                blackboard.insert(name, value);
                Delivery::Done
            }
            Request::Get { name } => Delivery::Value(blackboard[&name].clone()),
            _ => panic!("there is no model"),
        };
        step = rest.resume(delivery);
    }
    assert!(matches!(step, Step::End));
    results
}
