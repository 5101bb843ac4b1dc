//! A scenario run once more, as naively as can be: by the rules, and in the manner of the
//! reference.
//!
//! Nothing here knows the engine, programs or sessions. The models are plain functions of plain
//! arrays ([`model`]), the bodies are futures that wait for an answer ([`task`]), and whose turn it
//! is [`rules`] say in the words of the rules, by their numbers. Beside them stand the two
//! generations of the reference, [`coroutines`] and [`threads`], which take as few lines as they
//! need: so that what was recorded is itself understood, to the last request, before a rule may say
//! why it differs.

mod array;
mod coroutines;
mod model;
mod rows;
mod rules;
mod stage;
mod tape;
mod task;
mod threads;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use self::array::Array;
pub(crate) use self::model::Network;
use self::model::Value;
use self::rows::Rows;
use self::stage::Stage;
pub(crate) use self::task::Manner;
use self::task::{Scene, Task};
use crate::outcome::{Outcome, without_last_arrivals};
use crate::scenario::{Plan, RawStep, Scenario};
use crate::tensors::Tensors;
use crate::user::{Body, Globals, Names, Saved, Tensor, Thing};

/// What there is to run scenarios with: the models by name, and the inputs.
#[derive(Clone)]
pub(crate) struct Material {
    networks: BTreeMap<String, Network>,
    inputs: BTreeMap<String, Array>,
}

impl Material {
    pub(crate) fn new(models: &BTreeMap<&str, Tensors>, inputs: &Tensors) -> Self {
        let arrays = |tensors: &Tensors| -> BTreeMap<String, Array> {
            let tensors = tensors.iter();
            tensors
                .map(|(name, plain)| {
                    let array = Array::new(&plain.shape, plain.data.clone());
                    let array = if plain.is_whole { array.whole() } else { array };
                    (name.clone(), array)
                })
                .collect()
        };
        let networks = models.iter().map(|(name, weights)| {
            let network = Network::new(name, arrays(weights));
            ((*name).to_owned(), network)
        });
        Self {
            networks: networks.collect(),
            inputs: arrays(inputs),
        }
    }
}

/// Runs a scenario, whose steps were checked.
///
/// # Errors
///
/// What keeps it from being run: an unknown model or input, a run without rows.
pub(crate) fn play(
    scenario: &Scenario,
    material: &Material,
    manner: Manner,
) -> Result<Outcome, String> {
    let network = material.networks.get(&scenario.model);
    let network = network.ok_or_else(|| format!("there is no model `{}`", scenario.model))?;
    let (has_gradients, parameters) = (scenario.has_gradients(), scenario.parameters());
    let scene = Rc::new(Scene {
        network: match has_gradients {
            true => network.differentiable(&parameters),
            false => network.clone(),
        },
        has_gradients,
        parameters,
        inputs: material.inputs.clone(),
        marks: RefCell::default(),
        caught: RefCell::default(),
        named: RefCell::default(),
        manner,
    });
    let mut all = Outcome::default();
    let saved = Saved::default();
    // What an edit has saved is no name for others in the reference.
    let apart = if manner == Manner::Rules {
        saved.clone()
    } else {
        Saved::default()
    };
    let plans = scenario.plans().map_err(|error| format!("{error:?}"))?;
    for (number, plan) in plans.into_iter().enumerate() {
        let stage = staged(&scene, &plan, &saved, &apart)?;
        let came_to = match manner {
            Manner::Rules => rules::run(stage),
            Manner::Coroutines => coroutines::run(stage),
            Manner::Threads => threads::run(stage),
        };
        all.served.extend(match manner {
            Manner::Rules => without_last_arrivals(came_to.served, plan.barriers),
            Manner::Threads | Manner::Coroutines => came_to.served,
        });
        all.exchanges.extend(came_to.exchanges);
        all.faults.extend(came_to.faults);
        all.caches.extend(came_to.caches);
        if !came_to.outputs.is_empty() {
            all.outputs.insert(number, came_to.outputs);
        }
        // The script that was recorded ends with its first error.
        if !all.faults.is_empty() {
            break;
        }
    }
    all.marks = scene.marks.take();
    all.caught = scene.caught.take();
    for (name, saved) in apart.borrow().iter().chain(saved.borrow().iter()) {
        let endless = || format!("`{name}` is saved, and a list in it is in itself, or too long");
        let item = saved.thing.item().ok_or_else(endless)?;
        all.saved.insert(name.clone(), item);
        let snapshot = saved.snapshot.item().ok_or_else(endless)?;
        all.snapshots.insert(name.clone(), snapshot);
    }
    Ok(all)
}

/// Puts the bodies of a run up.
fn staged(
    scene: &Rc<Scene>,
    plan: &Plan<'_>,
    saved: &Saved<Array>,
    apart: &Saved<Array>,
) -> Result<Stage, String> {
    let input = |name: &str| {
        let input = scene.inputs.get(name).map(Tensor::copy);
        input.ok_or_else(|| format!("there is no input `{name}`"))
    };
    let inputs: Vec<Option<Array>> = plan
        .parts
        .iter()
        .map(|part| part.input.map(input).transpose())
        .collect::<Result<_, String>>()?;
    let rows = |array: &Array| array.shape().first().copied().unwrap_or(0);
    let batch = inputs.iter().flatten().map(rows).sum();
    let given: Vec<Array> = inputs.iter().flatten().cloned().collect();
    if given.is_empty() {
        return Err(
            "no invoke of a run has an input, and the model's is made of theirs".to_owned(),
        );
    }
    let input = match &given[..] {
        [only] => only.clone(),
        several => Array::join(several).ok_or("the inputs do not join")?,
    };
    let earlier: BTreeMap<String, Value> = saved
        .borrow()
        .iter()
        .map(|(name, saved)| (name.clone(), saved.thing.clone()))
        .collect();
    // In the reference a body sees what earlier runs saved before all else, and what stands beside
    // it last of all.
    let (before, board) = match scene.manner {
        Manner::Rules => (BTreeMap::new(), earlier),
        Manner::Threads | Manner::Coroutines => (earlier, BTreeMap::new()),
    };
    let board = Globals::new(RefCell::new(board));
    let (mut start, mut tasks, mut groups) = (0, Vec::new(), Vec::new());
    for (part, input) in plan.parts.iter().zip(&inputs) {
        let is_apart = part.is_edit && scene.manner != Manner::Rules;
        let names = if is_apart {
            Names::new(BTreeMap::new(), Globals::default(), apart.clone())
        } else {
            Names::new(before.clone(), board.clone(), saved.clone())
        };
        let body = Body::new(names, part.steps);
        let steps: Rc<[RawStep]> = part.steps.into();
        tasks.push(Task::new(scene, |line| body.steps(line, steps)));
        let count = input.as_ref().map_or(0, rows);
        groups.push(input.as_ref().map(|_| Rows {
            start,
            count,
            batch,
        }));
        start += count;
    }
    Ok(Stage::new(
        scene.clone(),
        plan,
        tasks,
        groups,
        Thing::Tensor(input),
    ))
}
