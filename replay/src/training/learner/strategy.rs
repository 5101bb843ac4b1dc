//! The strategy that burn trains a recorded `Learner` with.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use burn::data::dataloader::{DataLoader as _, Progress};
use burn::data::dataset::DatasetError;
use burn::optim::GradientsAccumulator;
use burn::tensor::Device;
use burn::train::checkpoint::CheckpointerError;
use burn::train::{
    EventProcessorTraining as _, InferenceStep, Interrupter, Learner, LearnerEvent, LearnerModel,
    LearningResult, SupervisedLearningStrategy, SupervisedTrainingEventProcessor, TrainLoader,
    TrainStep, TrainingComponents, TrainingError, TrainingItem, TrainingStrategy, ValidLoader,
};
use interloom_backends::{Sites, device_name};

use super::loader::OrderedLoader;
use super::refusal::LearnerRefusal;
use super::state::LearnerState;
use super::step::Current;
use crate::error::Error;
use crate::training::{Training, TrainingBuilder, seed_for};

/// Records the training of a `Learner`: the strategy that burn trains with, and what comes of it.
///
/// The guide [`burns_learner`](crate::guide::burns_learner) has a worked example.
pub struct Recorder<I, M: LearnerModel>(Rc<Shared<I, M>>);

struct Shared<I, M: LearnerModel> {
    name: String,
    loader: Arc<OrderedLoader<I, <M as TrainStep>::Input>>,
    settings: TrainingBuilder,
    stage: RefCell<Stage<M>>,
}

/// How the training run is opened, once the learner is there.
type Open<M> = Box<dyn FnOnce(TrainingBuilder, &mut LearnerState<M>) -> Result<Training, Error>>;

enum Stage<M: LearnerModel> {
    /// Burn has not called the strategy yet.
    Ready(Open<M>),
    Begun,
    Ended(Box<Result<Training, Error>>),
}

impl<I: 'static, M: LearnerModel> Recorder<I, M> {
    /// Describes the recording of a `Learner`, whose parameters and moments get names that begin
    /// with `name`.
    ///
    /// `open` opens the training run with these settings and the state that it is given, in any of
    /// the ways that there are, such as `|settings, state| settings.record_or_resume(folder,
    /// state)`.
    pub fn new(
        name: impl Into<String>,
        loader: &Arc<OrderedLoader<I, <M as TrainStep>::Input>>,
        settings: TrainingBuilder,
        open: impl FnOnce(TrainingBuilder, &mut LearnerState<M>) -> Result<Training, Error> + 'static,
    ) -> Self {
        Self(Rc::new(Shared {
            name: name.into(),
            loader: loader.clone(),
            settings,
            stage: RefCell::new(Stage::Ready(Box::new(open))),
        }))
    }

    /// Returns the strategy, for `SupervisedTraining::with_training_strategy`.
    pub fn strategy(&self) -> TrainingStrategy<M> {
        // Burn has an `Arc` there, and asks for nothing that threads could share.
        #[allow(clippy::arc_with_non_send_sync, reason = "burn's interface")]
        TrainingStrategy::Custom(Arc::new(Strategy(self.0.clone())))
    }

    /// Returns the training run after its last step, to be
    /// [finished](Training::finish).
    ///
    /// # Errors
    ///
    /// What ended it: [`Error::LearnerRefused`] if this training cannot be recorded or was not
    /// launched with the strategy; [`Error::LearnerStep`] if the model's `TrainStep::step` does not
    /// call [`step`](super::step); those of opening it and of its steps.
    pub fn training(self) -> Result<Training, Error> {
        match self.0.stage.replace(Stage::Begun) {
            Stage::Ended(result) => *result,
            Stage::Ready(_) | Stage::Begun => Err(LearnerRefusal::Strategy.into()),
        }
    }
}

struct Strategy<I, M: LearnerModel>(Rc<Shared<I, M>>);

impl<I: 'static, M: LearnerModel> SupervisedLearningStrategy<M> for Strategy<I, M> {
    /// Opens the training run, and lets burn's own `train` begin at the epoch of its next step.
    fn train(
        &self,
        mut learner: Learner<M>,
        train: TrainLoader<M>,
        valid: ValidLoader<M>,
        mut components: TrainingComponents<M>,
    ) -> LearningResult<M> {
        let Stage::Ready(open) = self.0.stage.replace(Stage::Begun) else {
            return self.refused(learner, components, LearnerRefusal::Strategy.into());
        };
        learner.fork(&self.0.device());
        let accumulated = self.0.plan(&components).accumulated;
        let [items, batch] = self.0.loader.sizes();
        let mut state = LearnerState::new(
            learner,
            &self.0.name,
            [items, batch, accumulated],
            components.event_store.clone(),
        );
        let opened = self
            .0
            .check(&train, &components)
            .and_then(|()| open(self.0.settings.clone(), &mut state));
        match opened {
            Ok(training) => {
                let epoch = self.0.plan(&components).epoch_of(training.next());
                components.checkpoint = Some(epoch as usize);
                let begun = Begun {
                    shared: &self.0,
                    opened: RefCell::new(Some((training, state))),
                };
                // The learner is in the state; burn's own `train` passes one on.
                let learner = begun.learner();
                begun.train(learner, train, valid, components)
            }
            Err(error) => self.refused(state.learner, components, error),
        }
    }

    fn fit(
        &self,
        components: TrainingComponents<M>,
        learner: Learner<M>,
        _: TrainLoader<M>,
        _: ValidLoader<M>,
        _: usize,
    ) -> (M, SupervisedTrainingEventProcessor<M>) {
        // Only `train` is called of a strategy; it does not come here.
        (learner.model(), components.event_processor)
    }
}

impl<I: 'static, M: LearnerModel> Strategy<I, M> {
    fn refused(
        &self,
        learner: Learner<M>,
        components: TrainingComponents<M>,
        error: Error,
    ) -> LearningResult<M> {
        self.0.fail(&components.interrupter, error);
        LearningResult {
            model: learner.model().valid(),
            renderer: components.event_processor.renderer(),
            interrupted: None,
            error: components.interrupter.error(),
        }
    }
}

/// Which steps and batches an epoch has.
#[derive(Clone, Copy)]
struct Plan {
    /// How many batches an epoch has.
    batches: u64,
    /// From how many batches the gradients of a step come, unless an epoch ends before.
    accumulated: u64,
    epochs: u64,
}

impl Plan {
    const fn steps_an_epoch(self) -> u64 {
        self.batches.div_ceil(self.accumulated)
    }

    const fn steps(self) -> u64 {
        self.epochs * self.steps_an_epoch()
    }

    /// Returns the epoch of a step, from 0 on.
    const fn epoch_of(self, step: u64) -> u64 {
        step / self.steps_an_epoch()
    }

    /// Returns the batches of a step, as numbers in its epoch.
    fn batches_of(self, step: u64) -> std::ops::Range<u64> {
        let first = step % self.steps_an_epoch() * self.accumulated;
        first..(first + self.accumulated).min(self.batches)
    }
}

impl<I: 'static, M: LearnerModel> Shared<I, M> {
    /// Returns the device of the loader, with gradients.
    fn device(&self) -> Device {
        let device = self.loader.device().clone();
        if device.is_autodiff() {
            device
        } else {
            device.autodiff()
        }
    }

    fn plan(&self, components: &TrainingComponents<M>) -> Plan {
        Plan {
            batches: self.loader.batches(),
            accumulated: components.grad_accumulation.unwrap_or(1) as u64,
            epochs: components.num_epochs as u64,
        }
    }

    /// Checks what the training is, before its run is opened.
    fn check(
        &self,
        train: &TrainLoader<M>,
        components: &TrainingComponents<M>,
    ) -> Result<(), Error> {
        if !std::ptr::addr_eq(Arc::as_ptr(train), Arc::as_ptr(&self.loader)) {
            return Err(LearnerRefusal::Loader.into());
        }
        if let Some(epoch) = components.checkpoint {
            return Err(LearnerRefusal::Checkpoint { epoch }.into());
        }
        let TrainingBuilder {
            device,
            checkpoint_every: checkpoints,
            ..
        } = &self.settings;
        let [loader, run] = [self.loader.device(), device].map(device_name);
        if loader != run {
            return Err(LearnerRefusal::Device { loader, run }.into());
        }
        let epoch = self.plan(components).steps_an_epoch();
        let checkpoints = *checkpoints;
        if components.early_stopping.is_some() && !checkpoints.is_multiple_of(epoch) {
            return Err(LearnerRefusal::EarlyStopping { epoch, checkpoints }.into());
        }
        Ok(())
    }

    /// Keeps what ended the training run, and tells burn.
    fn fail(&self, interrupter: &Interrupter, error: Error) {
        // Of the errors that burn knows, the one that takes words.
        let words = format!("[{}] {error}", error.code());
        interrupter.fail(TrainingError::Checkpoint(CheckpointerError::Unknown(words)));
        self.stage.replace(Stage::Ended(Box::new(Err(error))));
    }
}

/// The strategy with an open training run, whose loop burn calls.
struct Begun<'a, I, M: LearnerModel> {
    shared: &'a Shared<I, M>,
    opened: RefCell<Option<(Training, LearnerState<M>)>>,
}

impl<I, M: LearnerModel> Begun<'_, I, M> {
    fn learner(&self) -> Learner<M> {
        let opened = self.opened.borrow();
        let (_, state) = opened.as_ref().expect("an open training run");
        state.learner.clone()
    }
}

impl<I: 'static, M: LearnerModel> SupervisedLearningStrategy<M> for Begun<'_, I, M> {
    fn fit(
        &self,
        components: TrainingComponents<M>,
        _: Learner<M>,
        _: TrainLoader<M>,
        valid: ValidLoader<M>,
        starting_epoch: usize,
    ) -> (M, SupervisedTrainingEventProcessor<M>) {
        let (training, state) = self.opened.take().expect("an open training run");
        let device = self.shared.device();
        let mut looping = Loop {
            plan: self.shared.plan(&components),
            loader: &self.shared.loader,
            valid: valid.to_device(&device.clone().inner()),
            device,
            components,
            state,
            sites: None,
        };
        match looping.run(training, starting_epoch) {
            Ok(training) => {
                let ended = Stage::Ended(Box::new(Ok(training)));
                self.shared.stage.replace(ended);
            }
            Err(error) => self.shared.fail(&looping.components.interrupter, error),
        }
        (
            looping.state.learner.model(),
            looping.components.event_processor,
        )
    }
}

/// Burn's loop on a single device, made of steps that are recorded.
struct Loop<'a, I, M: LearnerModel> {
    plan: Plan,
    device: Device,
    loader: &'a OrderedLoader<I, <M as TrainStep>::Input>,
    valid: ValidLoader<M>,
    components: TrainingComponents<M>,
    state: LearnerState<M>,
    sites: Option<Sites>,
}

impl<I: 'static, M: LearnerModel> Loop<'_, I, M> {
    /// Makes epochs, which burn counts from 1 on.
    fn run(&mut self, mut training: Training, starting_epoch: usize) -> Result<Training, Error> {
        if let ControlFlow::Break(()) = self.catch_up(&training, starting_epoch) {
            return Ok(training);
        }
        let mut epoch = starting_epoch;
        while training.is_before(self.plan.steps()) {
            self.train_event(LearnerEvent::StartSplit {
                epoch_number: epoch,
                total_items: self.loader.num_items(),
            });
            let end = (epoch as u64 * self.plan.steps_an_epoch()).min(self.plan.steps());
            while training.is_before(end) && !self.components.interrupter.should_stop() {
                training = self.make_step(training)?;
            }
            self.train_event(LearnerEvent::EndSplit(epoch));
            let is_whole = training.next() == end;
            if !is_whole || !training.is_excerpt() && self.end_epoch(&training, epoch).is_break() {
                break;
            }
            epoch += 1;
        }
        Ok(training)
    }

    /// Brings early stopping to where it was before the first step, from the metrics of the epochs
    /// before; and makes the end of the last one, which another process may not have come to.
    fn catch_up(&mut self, training: &Training, starting_epoch: usize) -> ControlFlow<()> {
        if training.is_excerpt() || starting_epoch == 1 {
            return ControlFlow::Continue(());
        }
        let is_between = training.next().is_multiple_of(self.plan.steps_an_epoch());
        let judged = starting_epoch - usize::from(is_between);
        for epoch in 1..judged {
            if self.judge(epoch).is_break() {
                return ControlFlow::Break(());
            }
        }
        if is_between {
            return self.end_epoch(training, judged);
        }
        ControlFlow::Continue(())
    }

    /// Makes one step from the batches that it takes, and moves the training run through it.
    fn make_step(&mut self, mut training: Training) -> Result<Training, Error> {
        let number = training.next();
        let epoch = self.plan.epoch_of(number);
        let batches = self.plan.batches_of(number);
        let items = |batch| self.loader.items(epoch, batch);
        let fed: Vec<u64> = batches.clone().flat_map(items).collect();
        let open = training.open_step(&mut self.state)?;
        let mut current = Current::new(training, open, self.sites.take());
        current.step().fed_items("items", &fed);
        let mut sum = GradientsAccumulator::new();
        let mut loss = 0.0;
        let mut outputs = Vec::new();
        for batch in batches {
            let input = self.loader.batch_on(&self.device, &items(batch));
            let input = input.map_err(unreadable)?;
            let pass = current.pass(&self.state, input)?;
            current = pass.current;
            loss += pass.loss;
            sum.accumulate(&self.state.learner.model(), pass.output.grads);
            outputs.push((batch + 1, pass.output.item));
        }
        self.state.update(&mut current.step(), sum.grads())?;
        self.sites = current.sites;
        training = current.training;
        training.close_step(current.open, loss, &mut self.state)?;
        // Steps that are made again would be written over the metrics of the whole.
        if !training.is_excerpt() {
            for (delivered, item) in outputs {
                self.report(delivered, item);
            }
        }
        Ok(training)
    }

    /// Tells burn's metrics what came of a batch.
    fn report(&mut self, delivered: u64, item: <M as TrainStep>::Output) {
        let progress = self.loader.progress_after(delivered);
        let rate = self.state.learner.lr_current();
        let item = TrainingItem::new(item, progress, Some(delivered as usize), Some(rate));
        self.train_event(LearnerEvent::ProcessedItem(item));
    }

    /// Makes what burn makes at the end of an epoch: validation, a checkpoint, early stopping.
    fn end_epoch(&mut self, training: &Training, epoch: usize) -> ControlFlow<()> {
        if self.components.interrupter.should_stop() {
            return ControlFlow::Break(());
        }
        // What validation draws is that of the epoch, also in a process that begins with it.
        let seed = seed_for(training.seed(), training.next(), "validation");
        training.device().seed(seed);
        self.validate(epoch);
        self.train_event(LearnerEvent::EndEpoch(epoch));
        let TrainingComponents {
            interrupter,
            event_processor,
            checkpointer,
            event_store,
            ..
        } = &mut self.components;
        interrupter.fail_on_error(event_processor.flush());
        if interrupter.should_stop() {
            return ControlFlow::Break(());
        }
        if let Some(checkpointer) = checkpointer {
            checkpointer.checkpoint(&self.state.learner, epoch, event_store);
        }
        self.judge(epoch)
    }

    fn judge(&mut self, epoch: usize) -> ControlFlow<()> {
        let store = &self.components.event_store;
        let stopping = &mut self.components.early_stopping;
        let stops = stopping
            .as_mut()
            .is_some_and(|it| it.should_stop(epoch, store));
        if stops {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn validate(&mut self, epoch: usize) {
        let valid = self.valid.clone();
        self.valid_event(LearnerEvent::StartSplit {
            epoch_number: epoch,
            total_items: valid.num_items(),
        });
        let model = self.state.learner.model().valid();
        let mut batches = valid.iter();
        let mut iteration = 0;
        while let Some(batch) = batches.next() {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => return self.components.interrupter.fail(error),
            };
            iteration += 1;
            let progress: Progress = batches.progress();
            let item = InferenceStep::step(&model, batch);
            let item = TrainingItem::new(item, progress, Some(iteration), None);
            self.valid_event(LearnerEvent::ProcessedItem(item));
            if self.components.interrupter.should_stop() {
                break;
            }
        }
        self.valid_event(LearnerEvent::EndSplit(epoch));
    }

    fn train_event(&mut self, event: LearnerEvent<<M as TrainStep>::Output>) {
        let told = self.components.event_processor.process_train(event);
        self.components.interrupter.fail_on_error(told);
    }

    fn valid_event(&mut self, event: LearnerEvent<<M as InferenceStep>::Output>) {
        let told = self.components.event_processor.process_valid(event);
        self.components.interrupter.fail_on_error(told);
    }
}

fn unreadable(error: DatasetError) -> Error {
    Error::Training(format!("the data set cannot be read: {error}"))
}
