//! The trace of one step: everything that it computed, in the order in which it did.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use burn::tensor::TensorData;
use interloom_backends::{AnyTensor, Sites, Value};
use interloom_engine::{Exchange, Moment, Observer};

use crate::divergence::{TensorDifference, TensorMismatch};
use crate::journal::training::StepPhase;
use crate::session::tensor_parts;

/// Everything that one step was given and computed, with values.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTrace {
    /// The step.
    pub step: u64,
    /// Its values, by phase and in the order in which they came.
    pub values: Vec<TracedValue>,
}

/// One value of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedValue {
    /// The phase of the step.
    pub phase: StepPhase,
    /// The site, parameter, input or setting.
    pub name: String,
    /// The value.
    pub data: TensorData,
}

/// The first place in which two traces of one step differ.
#[derive(Clone, Debug, PartialEq)]
pub struct StepDifference {
    /// The step.
    pub step: u64,
    /// The phase of it.
    pub phase: StepPhase,
    /// The site, parameter, input or setting.
    pub name: String,
    /// What differs there.
    pub kind: StepDifferenceKind,
}

/// How two values of a step differ.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StepDifferenceKind {
    /// In elements; the side of the first trace is the recorded one.
    Elements(Box<TensorDifference>),
    /// In type or shape.
    Shape,
    /// Only the first trace has it.
    OnlyFirst,
    /// Only the second trace has it.
    OnlySecond,
}

/// The place, then the elements: `step 7, forward pass, blocks.1.mlp.output.i0: ...`.
impl std::fmt::Display for StepDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            step, phase, name, ..
        } = self;
        write!(f, "step {step}, {phase}, `{name}`: ")?;
        match &self.kind {
            StepDifferenceKind::Elements(difference) => {
                write!(
                    f,
                    "{} of {} elements differ, first at {:?}: {} in the first run, {} in the second",
                    difference.differing,
                    difference.elements,
                    difference.first,
                    difference.first_recorded,
                    difference.first_live
                )?;
                match difference.ulp_max {
                    Some(distance) => write!(f, "; at most {distance} ulp apart"),
                    None => Ok(()),
                }
            }
            StepDifferenceKind::Shape => f.write_str("of another type or shape"),
            StepDifferenceKind::OnlyFirst => f.write_str("only in the first run"),
            StepDifferenceKind::OnlySecond => f.write_str("only in the second run"),
        }
    }
}

impl StepTrace {
    /// Returns the first place in which two traces differ: the earliest phase, and in it what came
    /// first.
    ///
    /// ```
    /// use burn::tensor::TensorData;
    /// use interloom::journal::training::StepPhase;
    /// use interloom::training::{StepTrace, TracedValue};
    ///
    /// let value = |number: f32| TracedValue {
    ///     phase: StepPhase::Loss,
    ///     name: "loss".into(),
    ///     data: TensorData::from([number]),
    /// };
    /// let trace = |number| StepTrace { step: 3, values: vec![value(number)] };
    /// assert_eq!(trace(1.0).first_difference(&trace(1.0)), None);
    /// let difference = trace(1.0).first_difference(&trace(1.0000001)).unwrap();
    /// assert_eq!((difference.step, difference.phase), (3, StepPhase::Loss));
    /// ```
    pub fn first_difference(&self, other: &Self) -> Option<StepDifference> {
        StepPhase::ALL
            .into_iter()
            .find_map(|phase| self.first_difference_in(phase, other))
    }

    fn first_difference_in(&self, phase: StepPhase, other: &Self) -> Option<StepDifference> {
        let ours = self.by_name(phase);
        let theirs = other.by_name(phase);
        let mut values = self.values.iter().filter(|value| value.phase == phase);
        let differing = values.find_map(|value| {
            let kind = match theirs.get(&*value.name) {
                None => Some(StepDifferenceKind::OnlyFirst),
                Some(twin) => difference(&value.data, &twin.data),
            };
            kind.map(|kind| self.at(value, kind))
        });
        differing.or_else(|| {
            let mut extra = theirs.iter().filter(|(name, _)| !ours.contains_key(*name));
            let (_, value) = extra.next()?;
            Some(self.at(value, StepDifferenceKind::OnlySecond))
        })
    }

    /// Returns the values of a phase by name; of several with one name, the first.
    fn by_name(&self, phase: StepPhase) -> BTreeMap<&str, &TracedValue> {
        let mut named = BTreeMap::new();
        for value in self.values.iter().filter(|value| value.phase == phase) {
            named.entry(&*value.name).or_insert(value);
        }
        named
    }

    fn at(&self, value: &TracedValue, kind: StepDifferenceKind) -> StepDifference {
        StepDifference {
            step: self.step,
            phase: value.phase,
            name: value.name.clone(),
            kind,
        }
    }
}

fn difference(a: &TensorData, b: &TensorData) -> Option<StepDifferenceKind> {
    let (dtype, shape, a) = tensor_parts(a.clone());
    let (other_dtype, other_shape, b) = tensor_parts(b.clone());
    if (dtype, &shape) != (other_dtype, &other_shape) {
        return Some(StepDifferenceKind::Shape);
    }
    match TensorDifference::between(dtype, &shape, a.as_bytes(), b.as_bytes()) {
        Ok(difference) => Some(StepDifferenceKind::Elements(Box::new(difference))),
        Err(TensorMismatch::Equal) => None,
        Err(_) => Some(StepDifferenceKind::Shape),
    }
}

/// Whether it is a gradient, the site, and what passed there.
type Passed = (bool, String, Vec<AnyTensor>);

/// Collects what passes every site of a run, through a cache of all of them.
#[derive(Clone)]
pub(super) struct SiteTracer {
    sites: Sites,
    passed: Rc<RefCell<Vec<Passed>>>,
}

impl SiteTracer {
    pub(super) fn new(sites: &Sites) -> Self {
        Self {
            sites: sites.clone(),
            passed: Rc::default(),
        }
    }

    /// Returns what passed, in order.
    pub(super) fn take(&self) -> Vec<TracedValue> {
        let mut values = Vec::new();
        for (is_gradient, site, tensors) in self.passed.take() {
            let phase = if is_gradient {
                StepPhase::Backward
            } else {
                StepPhase::Forward
            };
            for (number, data) in AnyTensor::read(&tensors).into_iter().enumerate() {
                let name = match tensors.len() {
                    1 => site.clone(),
                    _ => format!("{site} ({number})"),
                };
                values.push(TracedValue { phase, name, data });
            }
        }
        values
    }
}

impl Observer<Value> for SiteTracer {
    fn exchange(&mut self, _: &Exchange<'_, Value>) {}

    fn moment(&mut self, moment: &Moment<'_, Value>) {
        if let Moment::Cached { site, value, .. } = moment {
            let mut tensors = Vec::new();
            value.each_tensor(&mut |tensor| tensors.push(tensor.clone()));
            let is_gradient = site.point.port.is_gradient();
            let name = self.sites.map().site_name(*site);
            self.passed.borrow_mut().push((is_gradient, name, tensors));
        }
    }
}
