//! What the runs of an exploration have in common is computed once, and nothing else is different.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData};
use interloom_backends::{Bound, Effort, Forward, Hooked, Value};
use interloom_engine::{CacheSpec, Cx, Exchange, Fault};
use proptest::prelude::*;

use super::super::*;

const LAYERS: usize = 12;
const WIDTH: usize = 4;

thread_local! {
    /// How many blocks were computed on this thread.
    static COMPUTED: Cell<u64> = const { Cell::new(0) };
}

/// A residual block, whose layer is a site of its own.
#[derive(Module, Debug)]
struct Block {
    fc: Hooked<Linear>,
}

impl Forward<Tensor<2>> for Block {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        COMPUTED.set(COMPUTED.get() + 1);
        x.clone() + self.fc.forward(x).tanh()
    }
}

#[derive(Module, Debug)]
struct Stack {
    layers: Vec<Hooked<Block>>,
}

impl Forward<Tensor<2>> for Stack {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let mut layers = self.layers.iter();
        // The last layer is called twice, so that it has iterations.
        let x = layers
            .by_ref()
            .take(LAYERS - 1)
            .fold(x, |x, layer| layer.forward(x));
        layers.fold(x, |x, layer| layer.forward(layer.forward(x)))
    }
}

fn wave(count: usize, salt: usize) -> Vec<f32> {
    let value = |index: usize| (index as f32 * 0.731 + salt as f32 * 1.37).sin();
    (0..count).map(value).collect()
}

fn tensor(rows: usize, salt: usize) -> Tensor<2> {
    let data = TensorData::new(wave(rows * WIDTH, salt), [rows, WIDTH]);
    Tensor::from_data(data, &Device::flex())
}

fn stack() -> Bound<Hooked<Stack>> {
    let block = |salt| {
        let weight = Param::from_tensor(tensor(WIDTH, salt));
        let fc = Linear { weight, bias: None }.into();
        Hooked::from(Block { fc })
    };
    let layers = (0..LAYERS).map(block).collect();
    Bound::new(Hooked::from(Stack { layers })).unwrap()
}

/// What a mediator does at one layer.
#[derive(Clone, Debug)]
enum Act {
    Read(usize, &'static str),
    Scale(usize, &'static str),
    Skip(usize),
    Cache(usize),
    Put(usize),
    Get,
    Loop(usize),
    Stop(usize),
}

async fn act(cx: &Cx<Value>, act: &Act) -> Result<(), Fault> {
    let site = |layer: &usize, part: &str| format!("layers.{layer}{part}");
    match act {
        Act::Read(layer, part) => drop(cx.value(&site(layer, part)).await?),
        Act::Scale(layer, part) => {
            let value = cx.value(&site(layer, part)).await?;
            cx.set(&site(layer, part), value * 1.5 + 0.25).await?;
        }
        Act::Skip(layer) => {
            let value = cx.value(&site(layer, ".input")).await?;
            cx.skip(&site(layer, ""), value * 0.5).await?;
        }
        Act::Cache(layer) => {
            cx.cache(CacheSpec::of([site(layer, ".fc")]).both())
                .await
                .map(drop)?;
        }
        Act::Put(layer) => {
            let value = cx.output(&site(layer, "")).await?;
            cx.put("shared", value).await?;
        }
        Act::Get => drop(cx.get("shared").await?),
        Act::Loop(to) => {
            let last = LAYERS - 1;
            let body = move |cx: Cx<Value>, _| async move {
                let value = cx.output(&format!("layers.{last}.fc")).await?;
                cx.set_output(&format!("layers.{last}"), value).await
            };
            cx.for_each(..*to as u32, body).await?;
        }
        Act::Stop(layer) => {
            cx.output(&site(layer, "")).await?;
            cx.stop().await?;
        }
    }
    Ok(())
}

/// A mediator: how many rows it has, if any, and what it does, layer by layer.
type Plan = (Option<u32>, Vec<Act>);

/// Explores the plans; returns what was found, and every exchange of every run.
fn explored(plans: &[Plan], exploration: &Exploration) -> (Findings, Vec<String>) {
    let model = stack();
    let log = Rc::new(RefCell::new(Vec::new()));
    let rows: u32 = plans.iter().filter_map(|(rows, _)| *rows).sum();
    let found = exploration.explore(
        |trial| {
            let mut run = Run::new("run", model.sites());
            let all = run.cache(CacheSpec::all());
            for (number, (rows, acts)) in plans.iter().cloned().enumerate() {
                let program = |cx: Cx<Value>| async move {
                    for step in &acts {
                        // A refusal is an exchange like any other.
                        let _refused = act(&cx, step).await;
                    }
                    Ok(())
                };
                let name = format!("m{number}");
                match rows {
                    Some(rows) => drop(run.invoke(name, rows, program)),
                    None => drop(run.mediator(name, program)),
                }
            }
            let lines = log.clone();
            run.observer(move |exchange: &Exchange<'_, Value>| {
                let line = match &exchange.outcome {
                    interloom_engine::Outcome::Served(value) => {
                        format!("{:?}", value.map(outcome::digest_of))
                    }
                    interloom_engine::Outcome::Refused(fault)
                    | interloom_engine::Outcome::Failed(fault) => fault.to_string(),
                };
                let Exchange {
                    index,
                    mediator,
                    event,
                    asked,
                    at,
                    ..
                } = exchange;
                lines.borrow_mut().push(format!(
                    "{index} {mediator:?} {event} {asked:?} {at:?} {line}"
                ));
            });
            trial.attach(&mut run);
            let ran = run
                .execute(|| model.forward(tensor(if rows == 0 { 2 } else { rows as usize }, 77)));
            let audit = ran.as_ref().map(|ran| ran.audit.to_string());
            log.borrow_mut()
                .push(format!("{:?}", audit.map_err(|error| error.to_string())));
            Outcome::of(&ran, |output, shown| {
                if let Some(output) = output {
                    shown.add("output", output.clone());
                }
                for site in all.sites() {
                    shown.value("cached", &all.at(site).unwrap());
                }
            })
        },
        |_| true,
    );
    (found.unwrap(), log.take())
}

/// Explores with and without sharing, and returns what was computed with it, and without.
fn effort(plans: &[Plan]) -> (Effort, u64, u64) {
    let exploration = Exploration::new().runs(60);
    let count = |exploration: &Exploration| {
        COMPUTED.set(0);
        let (found, log) = explored(plans, exploration);
        (found, log, COMPUTED.get())
    };
    let (plain, plain_log, without) = count(&exploration);
    let (shared, shared_log, with) = count(&exploration.clone().stateless());
    assert_eq!(plain.effort, Effort::default());
    assert_eq!(shared_log, plain_log);
    assert_eq!(shared.verdict, plain.verdict);
    assert!(with <= without);
    (shared.effort, with, without)
}

#[test]
fn layers_before_the_first_difference_are_not_computed_again() {
    let swap = |_| {
        (
            None,
            vec![Act::Read(3, ".fc.output"), Act::Scale(10, ".output")],
        )
    };
    let plans: Vec<Plan> = (0..3).map(swap).collect();
    let (effort, with, without) = effort(&plans);
    // Three mediators have six orders at layer 10. At layer 3 they only read, and their order does not matter.
    assert_eq!(without, 6 * 13);
    // Layers 0 to 9 are computed once; layer 10 itself, at whose output the runs part, and the two calls of layer 11 each time.
    assert_eq!(with, 10 + 6 * 3);
    // Each block counts with its layer, and the stack counts too; the layer in block 10 is over before the runs part.
    assert_eq!(effort.computed, (10 * 2 + 1) + 6 * (1 + 2 * 2 + 1));
    assert_eq!(effort.known, 5 * (10 * 2 + 1));
}

#[test]
fn what_differs_inside_a_module_is_computed_and_what_comes_before_it_in_there_is_not() {
    // The output of the layer inside block 5: the block is computed, what is inside of it too.
    let at = |part| {
        let plans: Vec<Plan> = (0..2).map(|_| (None, vec![Act::Scale(5, part)])).collect();
        effort(&plans)
    };
    let (inside, with, _) = at(".fc.output");
    assert_eq!((with, inside.known), (13 + 8, 5 * 2));
    // At the output of the block its layer is over before the runs part.
    let (after, with, _) = at(".output");
    assert_eq!((with, after.known), (13 + 8, 5 * 2 + 1));
    let (before, with, _) = at(".input");
    assert_eq!((with, before.known), (13 + 8, 5 * 2));
}

#[test]
fn what_is_kept_is_bounded() {
    use interloom_backends::Shared;
    let model = stack();
    let computed = |bytes: u64| {
        let shared = Shared::with_bytes(bytes);
        COMPUTED.set(0);
        for _ in 0..2 {
            let mut run = Run::new("run", model.sites());
            let read = run.mediator("read", |cx| async move { cx.output("layers.2.fc").await });
            run.share(&shared, u64::MAX);
            run.execute(|| model.forward(tensor(2, 77))).unwrap();
            assert!(read.take().is_some());
        }
        COMPUTED.get()
    };
    assert_eq!(computed(Shared::BYTES), 13, "nothing is computed twice");
    assert_eq!(
        computed(0),
        26,
        "no block was over before the room was used up"
    );
    // The outputs of five blocks and of their layers, and one value that was given; the last is taken in whole.
    assert_eq!(computed(10 * 32), 26 - 5);
}

#[test]
fn a_mediator_that_is_another_in_the_next_run_is_an_error() {
    let model = stack();
    let shared = interloom_backends::Shared::new();
    let ran = [1, 2].map(|layer| {
        let mut run = Run::new("run", model.sites());
        run.mediator("read", move |cx| async move {
            cx.output(&format!("layers.{layer}")).await
        });
        run.share(&shared, u64::MAX);
        run.execute(|| model.forward(tensor(2, 77)))
            .map(|ran| ran.end)
    });
    let error = ran[1].as_ref().unwrap_err();
    assert_eq!(error.code(), "E039");
    assert!(error.to_string().contains("`layers.2.output`"), "{error}");
}

fn an_act() -> impl Strategy<Value = Act> {
    let part = prop::sample::select(vec![".input", ".output", ".fc.input", ".fc.output"]);
    let layer = 0..LAYERS;
    prop_oneof![
        4 => (layer.clone(), part.clone()).prop_map(|(layer, part)| Act::Read(layer, part)),
        6 => (layer.clone(), part).prop_map(|(layer, part)| Act::Scale(layer, part)),
        1 => layer.clone().prop_map(Act::Skip),
        1 => layer.clone().prop_map(Act::Cache),
        1 => layer.clone().prop_map(Act::Put),
        1 => Just(Act::Get),
        1 => (1..4_usize).prop_map(Act::Loop),
        1 => layer.prop_map(Act::Stop),
    ]
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let acts = prop::collection::vec(an_act(), 1..4).prop_map(|mut acts| {
        acts.sort_by_key(|act| match act {
            Act::Read(layer, _) | Act::Scale(layer, _) => *layer,
            Act::Skip(layer) | Act::Put(layer) | Act::Stop(layer) => *layer,
            Act::Cache(_) => 0,
            Act::Get => LAYERS / 2,
            Act::Loop(_) => LAYERS,
        });
        acts
    });
    let rows = prop_oneof![2 => Just(None), 1 => Just(Some(1))];
    prop::collection::vec((rows, acts), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sharing_changes_no_exchange_no_audit_and_no_verdict(plans in plans()) {
        effort(&plans);
    }
}
