//! The line in a model's `TrainStep::step`.
//!
//! Burn calls `TrainStep::step` with the batch alone. What is recorded therefore waits on the
//! thread: the strategy lays the training run and its open step there before the call, and takes
//! them back after it.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::train::{LearnerModel, TrainOutput, TrainStep};
use interloom_backends::{Run, Sites, backward};

use super::state::LearnerState;
use crate::error::Error;
use crate::session::short_name;
use crate::training::step::OpenStep;
use crate::training::{Training, TrainingStep};

thread_local! {
    /// The step that is made on this thread.
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// A training run in the middle of a step.
pub(super) struct Current {
    pub(super) training: Training,
    pub(super) open: OpenStep,
    /// The sites of the learner's model, which it alone can bind: the strategy has clones.
    pub(super) sites: Option<Sites>,
    /// What came of the pass over the batch at hand.
    passed: Passed,
}

/// What came of the pass over a batch.
enum Passed {
    /// [`step`] was not called.
    Nothing,
    Twice,
    Loss(f64),
    Failed(Box<Error>),
}

/// Makes the forward and the backward pass over a batch, with mediators: the line in
/// `TrainStep::step`.
///
/// `mediators` adds them to the run; `forward` computes the loss, which must be one number, and
/// what burn's metrics are to see. Where a [`Recorder`](super::Recorder) trains, the run is a part
/// of its step; elsewhere, as with burn's own strategies, it runs without a journal.
///
/// # Panics
///
/// `TrainStep::step` returns no error. Where a [`Recorder`](super::Recorder) trains, a mediator
/// that fails unwinds to it, and is an error of [`Recorder::training`](super::Recorder::training).
/// Elsewhere this panics with the error.
pub fn step<M: Module, T>(
    model: &M,
    mediators: impl FnOnce(&mut Run),
    forward: impl FnOnce() -> (Tensor<1>, T),
) -> TrainOutput<T> {
    let pass = move || {
        let (loss, item) = forward();
        let gradients = GradientsParams::from_grads(backward(&loss), model);
        let loss: Vec<f64> = loss.into_data().iter::<f64>().collect();
        let output = TrainOutput {
            grads: gradients,
            item,
        };
        (loss, output)
    };
    match CURRENT.take() {
        Some(current) => recorded(current, model, mediators, pass),
        None => {
            let (_, output) = unrecorded(model, mediators, pass)
                .unwrap_or_else(|error| panic!("[{}] {error}", error.code()));
            output
        }
    }
}

/// Makes the pass as a run of the open step, and lays it back.
fn recorded<T>(
    mut current: Current,
    model: &impl Module,
    mediators: impl FnOnce(&mut Run),
    pass: impl FnOnce() -> (Vec<f64>, TrainOutput<T>),
) -> TrainOutput<T> {
    let made = || {
        let sites = match &mut current.sites {
            Some(sites) => sites,
            sites => sites.insert(Sites::bind(model)?),
        };
        let mut step = TrainingStep {
            training: &mut current.training,
            open: &mut current.open,
        };
        let mut run = step.run(sites);
        mediators(&mut run);
        let (loss, output) = step.record(run, pass)?;
        match loss[..] {
            [loss] => Ok((loss, output)),
            _ => Err(Error::Training(format!(
                "the loss of step {} is a tensor of {} numbers, expected one; take its mean or its sum",
                step.number(),
                loss.len()
            ))),
        }
    };
    let (passed, output) = match made() {
        // Which of two losses is that of the step?
        Ok(_) if !matches!(current.passed, Passed::Nothing) => (Passed::Twice, None),
        Ok((loss, output)) => (Passed::Loss(loss), Some(output)),
        Err(error) => (Passed::Failed(Box::new(error)), None),
    };
    current.passed = passed;
    CURRENT.set(Some(current));
    output.unwrap_or_else(|| resume_unwind(Box::new(Stopped)))
}

fn unrecorded<T>(
    model: &impl Module,
    mediators: impl FnOnce(&mut Run),
    pass: impl FnOnce() -> T,
) -> Result<T, Error> {
    let mut run = Run::new("step", &Sites::bind(model)?);
    mediators(&mut run);
    Ok(run.execute(pass)?.completed()?)
}

/// What unwinds from [`step`] to the strategy when a run fails; the error waits on the thread.
struct Stopped;

impl Current {
    pub(super) const fn new(training: Training, open: OpenStep, sites: Option<Sites>) -> Self {
        Self {
            training,
            open,
            sites,
            passed: Passed::Nothing,
        }
    }

    /// Returns the open step, to note something in it.
    pub(super) const fn step(&mut self) -> TrainingStep<'_> {
        TrainingStep {
            training: &mut self.training,
            open: &mut self.open,
        }
    }

    /// Lets the learner's model make its step over a batch.
    ///
    /// A panic of the model goes on.
    pub(super) fn pass<M: LearnerModel>(
        self,
        state: &LearnerState<M>,
        batch: <M as TrainStep>::Input,
    ) -> Result<Pass<M>, Error> {
        CURRENT.set(Some(self));
        let made = catch_unwind(AssertUnwindSafe(|| state.learner.train_step(batch)));
        let current = CURRENT.take();
        let output = made.map_err(unless_stopped);
        let mut current = current.expect("the step that was laid there");
        let passed = std::mem::replace(&mut current.passed, Passed::Nothing);
        match (passed, output) {
            (Passed::Loss(loss), Ok(output)) => Ok(Pass {
                current,
                loss,
                output,
            }),
            (Passed::Failed(error), _) => Err(*error),
            (passed, _) => Err(Error::LearnerStep {
                model: short_name::<M>(),
                calls: match passed {
                    Passed::Twice => "two calls",
                    _ => "no call",
                },
            }),
        }
    }
}

/// The pass over a batch, and the step that goes on.
pub(super) struct Pass<M: LearnerModel> {
    pub(super) current: Current,
    pub(super) loss: f64,
    pub(super) output: TrainOutput<<M as TrainStep>::Output>,
}

/// Lets a panic go on, unless it is the one of a run that failed.
fn unless_stopped(payload: Box<dyn Any + Send>) -> Stopped {
    *payload
        .downcast::<Stopped>()
        .unwrap_or_else(|other| resume_unwind(other))
}
