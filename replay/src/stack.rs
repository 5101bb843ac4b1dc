//! A model whose computed blocks are counted, and mediators to be generated for it.

use std::cell::Cell;

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData};
use interloom_backends::{Bound, Forward, Hooked, Run, Value};
use interloom_engine::{CacheSpec, Cx, Fault};
use proptest::prelude::*;

const LAYERS: usize = 12;
const WIDTH: usize = 4;

thread_local! {
    /// How many blocks were computed on this thread.
    pub(crate) static COMPUTED: Cell<u64> = const { Cell::new(0) };
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
pub(crate) struct Stack {
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

/// Makes the model.
pub(crate) fn stack() -> Bound<Hooked<Stack>> {
    changed_stack(None)
}

/// Makes the model with other weights in one layer.
pub(crate) fn changed_stack(changed: Option<usize>) -> Bound<Hooked<Stack>> {
    let block = |layer| {
        let salt = if Some(layer) == changed {
            LAYERS
        } else {
            layer
        };
        let weight = Param::from_tensor(tensor(WIDTH, salt));
        let fc = Linear { weight, bias: None }.into();
        Hooked::from(Block { fc })
    };
    let layers = (0..LAYERS).map(block).collect();
    Bound::new(Hooked::from(Stack { layers })).unwrap()
}

/// What a mediator does at one layer.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Read(usize, &'static str),
    Scale(usize, &'static str),
    Skip(usize),
    Cache(usize),
    Put(usize),
    Get,
    Loop(usize),
    Stop(usize),
}

/// Adds the mediator of a plan to a run.
pub(crate) fn invoke(run: &mut Run, number: usize, (rows, acts): &Plan) {
    let acts = acts.clone();
    let program = |cx: Cx<Value>| async move {
        for step in &acts {
            // A refusal is an exchange like any other.
            let _refused = act(&cx, step).await;
        }
        Ok(())
    };
    let name = format!("m{number}");
    match *rows {
        Some(rows) => drop(run.invoke(name, rows, program)),
        None => drop(run.mediator(name, program)),
    }
}

/// Makes an input with the rows of the plans.
pub(crate) fn input(plans: &[Plan]) -> Tensor<2> {
    let rows: u32 = plans.iter().filter_map(|(rows, _)| *rows).sum();
    tensor(if rows == 0 { 2 } else { rows as usize }, 77)
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
pub(crate) type Plan = (Option<u32>, Vec<Act>);

/// Any act.
pub(crate) fn an_act() -> impl Strategy<Value = Act> {
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

/// Up to three mediators, whose acts come in the order of layers.
pub(crate) fn plans() -> impl Strategy<Value = Vec<Plan>> {
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
