//! Batch invariance: whether an invoke's values depend on the invokes that share its batch.
//!
//! An invoke reads and replaces its own rows, so that its values should be the same alone and in a
//! batch, as far as the model keeps rows apart and its arithmetic does not depend on the size of
//! the batch. [`check_batch_invariance`] runs each invoke both ways and names the first exchange
//! that differs; [`compare_batches`] does so for runs that a closure creates.
//!
//! ```
//! use burn::{nn::{Linear, LinearConfig}, prelude::*};
//! use interloom::batch_invariance::{BatchMate, check_batch_invariance};
//! use interloom_backends::{Bound, Hooked, Value};
//!
//! let device = Device::flex();
//! let model: Bound<Hooked<Linear>> = Bound::new(LinearConfig::new(2, 2).init(&device).into())?;
//! let double = |name: &str| {
//!     BatchMate::new(name, Tensor::<2>::ones([1, 2], &device), |cx| async move {
//!         let x = cx.input("").await?;
//!         cx.set_input("", x * 2.0).await?;
//!         cx.output("").await.map(drop)
//!     })
//! };
//! let mates = [double("a"), double("b")];
//! let forward = |x: Value| model.forward(x.tensor::<2>().unwrap());
//! let dependences = check_batch_invariance(model.sites(), &mates, forward)?;
//! assert!(dependences.is_empty(), "{dependences:?}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use burn::tensor::TensorData;
use interloom_backends::{AnyTensor, ForwardError, ModelError, Run, Sites, Value};
use interloom_engine::{
    Asked, Cx, Delivery, Exchange, Fault, Invoke, Mediator, Outcome, SiteMap, Step, Value as _,
};
use interloom_program::Operand;

use crate::divergence::TensorDifference;
use crate::error::Error;
use crate::explore::{digest_of, took_place};
use crate::session::tensor_parts;

/// An invoke that can be repeated: a mediator with its rows of the input.
pub struct BatchMate {
    name: String,
    input: Value,
    make: Make,
}

type Make = Box<dyn Fn(&Arc<SiteMap>) -> Box<dyn Mediator<Value>>>;

/// The scope in which an invoke runs: alone, or in its batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BatchScope {
    /// Its own rows only.
    Alone,
    /// The rows of all invokes.
    Together,
}

/// Dependence of an invoke on its batch: the first exchange that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchDependence {
    /// The invoke.
    pub mediator: String,
    /// The number of the exchange among those of the invoke, from 0.
    pub exchange: u64,
    /// The exchange alone; `None` if the invoke made fewer exchanges then.
    pub alone: Option<String>,
    /// The exchange in the batch; `None` if the invoke made fewer exchanges then.
    pub together: Option<String>,
    /// The difference between the elements, if the exchanges differ in the elements of a tensor
    /// only.
    pub elements: Option<ElementDifference>,
}

/// Difference between the elements of a tensor alone and in a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct ElementDifference {
    /// The number of elements that differ, the first of them, and the largest distance in units in
    /// the last place; `recorded` is alone, `live` in the batch.
    pub tensor: TensorDifference,
    /// The largest absolute difference of two elements.
    pub absolute: f64,
    /// The largest difference of two elements divided by the larger magnitude of the two.
    pub relative: f64,
}

impl BatchMate {
    /// Makes an invoke of an async closure and its rows of the input, along dimension 0.
    pub fn new<F, Fut>(name: impl Into<String>, input: impl Into<Value>, program: F) -> Self
    where
        F: Fn(Cx<Value>) -> Fut + Clone + 'static,
        Fut: Future<Output = Result<(), Fault>> + 'static,
    {
        Self::of(name, input, move |map| {
            let (mediator, _) = interloom_engine::mediator(map.clone(), program.clone());
            Box::new(mediator)
        })
    }

    /// Makes an invoke of mediators of any make, such as machines of a program.
    pub fn of(
        name: impl Into<String>,
        input: impl Into<Value>,
        make: impl Fn(&Arc<SiteMap>) -> Box<dyn Mediator<Value>> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            input: input.into(),
            make: Box::new(make),
        }
    }

    fn rows(&self) -> u32 {
        let shape = self.input.shape().unwrap_or_default();
        shape
            .first()
            .map_or(0, |&rows| u32::try_from(rows).unwrap_or(u32::MAX))
    }
}

/// Runs each invoke alone and all of them together, and returns the first exchange of each that
/// differs.
///
/// An invoke that waits for another one at a barrier, or reads what another one has put on the
/// blackboard, depends on its batch and is reported. Values are compared bit for bit: a difference
/// may be rounding, because kernels may sum in another order for another batch.
///
/// # Errors
///
/// [`Error::Forward`] if the model itself fails, and [`Error::Model`] if the inputs do not make a
/// batch. A mediator that fails is no error here: its failure is an exchange like others.
pub fn check_batch_invariance<Y>(
    sites: &Sites,
    mates: &[BatchMate],
    mut model: impl FnMut(Value) -> Y,
) -> Result<Vec<BatchDependence>, Error> {
    let mut exchanges = |mates: &[&BatchMate]| -> Result<Vec<Vec<Line>>, Error> {
        let names: Vec<&str> = mates.iter().map(|mate| &*mate.name).collect();
        let (run, input) = (run_of(sites, mates), join(mates)?);
        let is_run = |error: &ForwardError| matches!(error, ForwardError::Run { .. });
        listen(run, || drop(model(input)), &names, is_run)
    };
    let together = exchanges(&mates.iter().collect::<Vec<_>>())?;
    let mut dependences = Vec::new();
    for (mate, together) in mates.iter().zip(together) {
        let alone = exchanges(&[mate])?.concat();
        dependences.extend(first_difference(&mate.name, &alone, &together));
    }
    Ok(dependences)
}

/// Runs an invoke alone and in its batch, and returns its first exchange that differs.
///
/// `make` creates the run for either [`BatchScope`], its mediators included, and returns it with a
/// closure that calls the model. The invoke is the mediator of the name `invoke`, and owns rows in
/// both. Values are compared bit for bit. If a run fails, the exchanges before the failure are
/// compared.
///
/// # Errors
///
/// The error of `make`; [`Error::Forward`] if a run could not start, and
/// [`Error::UnknownMediator`] if one has no mediator of that name.
pub fn compare_batches<M: FnOnce(), E: From<Error>>(
    invoke: &str,
    mut make: impl FnMut(BatchScope) -> Result<(Run, M), E>,
) -> Result<Option<BatchDependence>, E> {
    let mut exchanges = |batch| -> Result<Vec<Line>, E> {
        let (run, model) = make(batch)?;
        Ok(listen(run, model, &[invoke], took_place)?.concat())
    };
    let alone = exchanges(BatchScope::Alone)?;
    let together = exchanges(BatchScope::Together)?;
    Ok(first_difference(invoke, &alone, &together))
}

fn run_of(sites: &Sites, mates: &[&BatchMate]) -> Run {
    let mut run = Run::new("batch", sites);
    for mate in mates {
        let mediator = Boxed((mate.make)(sites.map()));
        let invoke = Invoke::new(&mate.name, mediator).rows(mate.rows());
        run.add(invoke.optional());
    }
    run
}

fn join(mates: &[&BatchMate]) -> Result<Value, Error> {
    let inputs = mates.iter().map(|mate| mate.input.clone()).collect();
    let input = Value::join(inputs).map_err(|misfit| ModelError::Input {
        what: format!("the inputs of the invokes do not make a batch: {misfit}"),
        instead: "let them differ in rows only".to_owned(),
    })?;
    Ok(input)
}

/// Exchange of an invoke, as it is compared.
#[derive(Clone)]
struct Line {
    /// The event, the name that was asked for, and how the request ended.
    text: String,
    value: Option<Value>,
}

impl Line {
    fn of(exchange: &Exchange<'_, Value>, map: &SiteMap) -> Self {
        let asked = match exchange.asked() {
            None => String::new(),
            Some(Asked::Site(site)) => format!(" `{}`", map.site_name(site)),
            Some(Asked::Unknown(name) | Asked::Name(name)) => format!(" `{name}`"),
            Some(Asked::Iteration(iteration)) => format!(" iteration {iteration}"),
        };
        let end = match (exchange.fault(), &exchange.outcome) {
            (None, _) => String::new(),
            (Some(fault), Outcome::Refused(_)) => format!(" refused ({})", fault.code()),
            (Some(fault), Outcome::Served(_)) => format!(" failed ({})", fault.code()),
        };
        let value = exchange.value().cloned();
        let shape = value.as_ref().map(|value| format!(" {value}"));
        Self {
            text: format!(
                "{}{asked}{}{end}",
                exchange.event(),
                shape.unwrap_or_default()
            ),
            value,
        }
    }

    fn differs_from(&self, other: &Self) -> bool {
        self.text != other.text
            || self.value.as_ref().map(digest_of) != other.value.as_ref().map(digest_of)
    }

    fn tensors(&self) -> Vec<AnyTensor> {
        let mut tensors = Vec::new();
        if let Some(value) = &self.value {
            value.each_tensor(&mut |tensor| tensors.push(tensor.clone()));
        }
        tensors
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.value {
            Some(value) => write!(f, " {}", digest_of(value).short()),
            None => Ok(()),
        }
    }
}

/// Executes a run and returns the exchanges of some of its mediators; `keeps` says after which
/// failures of the run the exchanges up to it still count.
fn listen(
    mut run: Run,
    model: impl FnOnce(),
    names: &[&str],
    keeps: impl Fn(&ForwardError) -> bool,
) -> Result<Vec<Vec<Line>>, Error> {
    let places = places_of(names, &mut run)?;
    let lines = Rc::new(RefCell::new(vec![Vec::new(); names.len()]));
    let (log, map) = (lines.clone(), run.sites().map().clone());
    run.observer(move |exchange: &Exchange<'_, Value>| {
        let own = places
            .iter()
            .position(|&place| place == exchange.mediator.0);
        if let Some(own) = own {
            log.borrow_mut()[own].push(Line::of(exchange, &map));
        }
    });
    match run.execute(model) {
        Err(error) if !keeps(&error) => Err(error.into()),
        _ => Ok(lines.take()),
    }
}

/// Returns the numbers by which an observer knows mediators: their places among those of the run,
/// edits included.
fn places_of(names: &[&str], run: &mut Run) -> Result<Vec<u32>, Error> {
    let title = run.name().to_owned();
    let invokes = run.setup_mut().invokes();
    let place = |name: &&str| {
        let place = invokes.iter().position(|own| own.name() == *name);
        place
            .map(|place| place as u32)
            .ok_or_else(|| Error::UnknownMediator {
                run: title.clone(),
                asked: (*name).to_owned(),
                has: invokes.iter().map(|own| own.name().to_owned()).collect(),
            })
    };
    names.iter().map(place).collect()
}

fn first_difference(mediator: &str, alone: &[Line], together: &[Line]) -> Option<BatchDependence> {
    let longest = alone.len().max(together.len());
    let differs = |&place: &usize| match (alone.get(place), together.get(place)) {
        (Some(alone), Some(together)) => alone.differs_from(together),
        _ => true,
    };
    let exchange = (0..longest).find(differs)?;
    let (alone, together) = (alone.get(exchange), together.get(exchange));
    Some(BatchDependence {
        mediator: mediator.to_owned(),
        exchange: exchange as u64,
        alone: alone.map(Line::to_string),
        together: together.map(Line::to_string),
        elements: alone
            .zip(together)
            .and_then(|(alone, together)| element_difference(alone, together)),
    })
}

/// Compares the first tensors that differ, if the exchanges are the same except for them.
fn element_difference(alone: &Line, together: &Line) -> Option<ElementDifference> {
    if alone.text != together.text {
        return None;
    }
    let mut pairs = alone.tensors().into_iter().zip(together.tensors());
    pairs.find_map(|(alone, together)| {
        ElementDifference::between(alone.to_data(), together.to_data())
    })
}

impl ElementDifference {
    /// Compares two tensors; `None` if they are equal, or not of one type and shape.
    fn between(alone: TensorData, together: TensorData) -> Option<Self> {
        let pairs = alone.iter::<f64>().zip(together.iter::<f64>());
        let (mut absolute, mut relative) = (0.0f64, 0.0f64);
        for (a, b) in pairs {
            let distance = (a - b).abs();
            absolute = absolute.max(distance);
            // Both zeros are at no distance: 0 / 0 must not count.
            if distance > 0.0 {
                relative = relative.max(distance / a.abs().max(b.abs()));
            }
        }
        let (dtype, shape, alone) = tensor_parts(alone);
        let (_, _, together) = tensor_parts(together);
        let tensor =
            TensorDifference::between(dtype, &shape, alone.as_bytes(), together.as_bytes()).ok()?;
        Some(Self {
            tensor,
            absolute,
            relative,
        })
    }
}

impl fmt::Display for BatchDependence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |line: &Option<String>| line.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(
            f,
            "`{}`, exchange {}: alone {}, in the batch {}",
            self.mediator,
            self.exchange,
            side(&self.alone),
            side(&self.together)
        )?;
        match &self.elements {
            Some(elements) => write!(f, "; {elements}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ElementDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tensor = &self.tensor;
        write!(
            f,
            "{} of {} elements differ, the first at {:?} ({} alone, {} in the batch), by at most ",
            tensor.differing,
            tensor.elements,
            tensor.first,
            tensor.first_recorded,
            tensor.first_live
        )?;
        if let Some(distance) = tensor.ulp_max {
            write!(f, "{distance} ulp, ")?;
        }
        write!(f, "{:.1e} relative", self.relative)
    }
}

/// A mediator that was boxed already.
struct Boxed(Box<dyn Mediator<Value>>);

impl Mediator<Value> for Boxed {
    fn resume(self: Box<Self>, delivery: Delivery<Value>) -> Step<Value> {
        self.0.resume(delivery)
    }
}
