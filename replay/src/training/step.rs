//! One step, while it is made.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::TensorData;
use interloom_backends::{Run, RunOutput, Sites, Value};
use interloom_engine::CacheSpec;

use super::order::DataOrder;
use super::seed::seed_for;
use super::state::{Trained, gradients_of};
use super::trace::{SiteTracer, TracedValue};
use super::{StatePart as _, Training};
use crate::environment::tensor_digest;
use crate::error::Error;
use crate::interventions::Learned;
use crate::journal::training::{NamedDigest, ShortDigest, StepPhase};

/// One step of a training run, while it is made: its number and seeds, and what it notes of itself
/// for the ledger.
pub struct TrainingStep<'t> {
    pub(super) training: &'t mut Training,
    pub(super) open: &'t mut OpenStep,
}

/// What a step has noted of itself so far.
pub(super) struct OpenStep {
    pub(super) number: u64,
    pub(super) seed: u64,
    pub(super) rate: f64,
    /// What was fed and scheduled, and the gradients.
    pub(super) named: Vec<NamedDigest>,
    pub(super) exchanges: ShortDigest,
    /// How many runs it had so far; the journal has as many of it, if it keeps the step.
    pub(super) runs: u32,
    /// The values of a step that is traced.
    pub(super) traced: Option<Vec<TracedValue>>,
}

impl TrainingStep<'_> {
    /// Returns the number of the step, from 0 on.
    pub const fn number(&self) -> u64 {
        self.open.number
    }

    /// Returns the seed that the device was given for this step.
    pub const fn seed(&self) -> u64 {
        self.open.seed
    }

    /// Returns a seed of the step for one purpose, such as a generator of one's own.
    pub fn seed_for(&self, purpose: &str) -> u64 {
        seed_for(self.training.seed(), self.open.number, purpose)
    }

    /// Returns the items that the step is fed, `count` of them in the order of the data, and notes
    /// which they are.
    pub fn items(&mut self, order: &DataOrder, count: u64) -> Vec<u64> {
        let items = order.batch(self.open.number, count);
        self.fed_items("items", &items);
        items
    }

    /// Notes which items the step is fed, by number.
    pub fn fed_items(&mut self, name: &str, items: &[u64]) {
        let data = TensorData::new(items.to_vec(), [items.len()]);
        self.note(StepPhase::Batch, name.to_owned(), data);
    }

    /// Notes what the step is fed, by its digest.
    pub fn fed(&mut self, name: &str, value: impl Into<Value>) {
        let mut number = 0;
        value.into().each_tensor(&mut |tensor| {
            let name = if number == 0 {
                name.to_owned()
            } else {
                format!("{name}.{number}")
            };
            self.note(StepPhase::Batch, name, tensor.to_data());
            number += 1;
        });
    }

    /// Notes what a schedule set for the step, besides the learning rate.
    pub fn scheduled(&mut self, name: &str, value: f64) {
        self.note(
            StepPhase::Schedule,
            name.to_owned(),
            TensorData::from([value]),
        );
    }

    /// Describes a run of the step, for mediators to be added.
    pub fn run(&self, sites: &(impl AsRef<Sites> + ?Sized)) -> Run {
        let number = self.open.number;
        let name = match self.open.runs {
            0 => format!("step {number}"),
            more => format!("step {number}.{more}"),
        };
        Run::new(name, sites)
    }

    /// Makes a run of the step with its mediators, and writes or compares their exchanges. A step
    /// may have several, for the parts of its batch.
    ///
    /// The backward pass belongs into it if mediators are to see gradients: with
    /// [`backward`](crate::backward).
    ///
    /// # Errors
    ///
    /// As for [`Session::run`](crate::Session::run); [`Error::StepParted`] if it is compared and
    /// differs; [`Error::Training`] if a mediator stopped it.
    pub fn record<Y>(&mut self, mut run: Run, model: impl FnOnce() -> Y) -> Result<Y, Error> {
        let sites = run.sites().clone();
        let tracer = self.open.traced.as_ref().map(|_| SiteTracer::new(&sites));
        if let Some(tracer) = &tracer {
            run.cache(CacheSpec::all().both().gradients());
            run.observer(tracer.clone());
        }
        let nth = self.open.runs;
        let ran = self.training.run(self.open, run, model)?;
        if let (Some(traced), Some(tracer)) = (&mut self.open.traced, tracer) {
            // The runs of a step pass the same sites.
            traced.extend(tracer.take().into_iter().map(|value| TracedValue {
                name: match nth {
                    0 => value.name,
                    nth => format!("{} of run {nth}", value.name),
                },
                ..value
            }));
        }
        match ran.output {
            RunOutput::Completed(output) => Ok(output),
            _ => Err(Error::Training(format!(
                "a mediator stopped step {} before the model was through, so that it has no loss; let it fail instead, or go on",
                self.open.number
            ))),
        }
    }

    /// Updates a module with the gradients of a backward pass, at a learning rate, and notes them
    /// by name.
    ///
    /// # Errors
    ///
    /// [`Error::Training`] if there is not one gradient.
    pub fn update<M: Module>(
        &mut self,
        trained: &mut Trained<M>,
        rate: f64,
        gradients: GradientsParams,
    ) -> Result<(), Error> {
        self.note_update(trained.name(), &trained.module, rate, &gradients)?;
        // The tensors of a clone are those of the module.
        let module = trained.module.clone();
        trained.module = trained.optimizer.step(rate, module, gradients);
        Ok(())
    }

    /// Updates an intervention as [`update`](Self::update) does a module, and restores what must
    /// hold of its parameters.
    ///
    /// # Errors
    ///
    /// As for [`update`](Self::update).
    pub fn learn<L: Learned>(
        &mut self,
        trained: &mut Trained<L>,
        rate: f64,
        gradients: GradientsParams,
    ) -> Result<(), Error> {
        self.note_update(trained.name(), &trained.module, rate, &gradients)?;
        let module = trained.module.clone();
        trained.module = module.update(&mut trained.optimizer, rate, gradients);
        Ok(())
    }

    /// Notes the gradients and the learning rate of an update of a part.
    pub(super) fn note_update(
        &mut self,
        part: &str,
        module: &impl Module,
        rate: f64,
        gradients: &GradientsParams,
    ) -> Result<(), Error> {
        let read = gradients_of(module, gradients);
        if read.is_empty() {
            return Err(Error::Training(format!(
                "step {} has no gradient for any parameter of `{part}`: its loss does not depend on it, or the module is \
                 frozen; give the gradients of this module",
                self.open.number
            )));
        }
        for (path, data) in read {
            self.note(StepPhase::Gradients, format!("{part}.{path}"), data);
        }
        self.open.rate = rate;
        let rate_name = format!("{part}.learning rate");
        self.note(StepPhase::Schedule, rate_name, TensorData::from([rate]));
        Ok(())
    }

    pub(super) fn note(&mut self, phase: StepPhase, name: String, data: TensorData) {
        if let Some(traced) = &mut self.open.traced {
            let (name, data) = (name.clone(), data.clone());
            traced.push(TracedValue { phase, name, data });
        }
        if self.training.is_recording() {
            let digest = NamedDigest::new(phase, name, tensor_digest(data));
            self.open.named.push(digest);
        }
    }
}
