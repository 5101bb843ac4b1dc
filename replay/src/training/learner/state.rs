//! The state of a `Learner`: model, optimizer and schedule.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use burn::lr_scheduler::LrSchedulerRecord;
use burn::optim::{GradientsParams, OptimizerRecord};
use burn::store::ModuleRecord;
use burn::tensor::{Bytes, TensorData};
use burn::train::checkpoint::{
    AsyncCheckpointer, Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction,
    CheckpointingStrategy,
};
use burn::train::metric::store::EventStoreClient;
use burn::train::{Learner, LearnerModel, LearningCheckpointer};

use crate::error::Error;
use crate::training::optimizer::{NamedState, check_taken, named_state, record_of};
use crate::training::state::{by_kind, paths_of, tensors_of, with_parameters};
use crate::training::{StateKind, StatePart, StateTensors, TrainingState, TrainingStep};

/// The model, the optimizer and the schedule of a `Learner`, as the state of a training run.
///
/// It is one part. Among the state of its optimizer are the schedule, under the name `schedule`,
/// and under the name `plan` which items its steps are fed: how many an epoch has, a batch, and how
/// many batches a step.
pub struct LearnerState<M: LearnerModel> {
    pub(super) learner: Learner<M>,
    name: String,
    plan: [u64; 3],
    records: RefCell<Records<M>>,
}

/// Names among the optimizer's state, where every other one has a dot.
const SCHEDULE: &str = "schedule";
const PLAN: &str = "plan";

impl<M: LearnerModel> LearnerState<M> {
    pub(super) fn new(
        learner: Learner<M>,
        name: &str,
        plan: [u64; 3],
        store: Arc<EventStoreClient>,
    ) -> Self {
        Self {
            learner,
            name: name.to_owned(),
            plan,
            records: RefCell::new(Records::new(store)),
        }
    }

    /// Takes a step of the schedule, updates the model, and notes both in the step.
    pub(super) fn update(
        &mut self,
        step: &mut TrainingStep<'_>,
        gradients: GradientsParams,
    ) -> Result<(), Error> {
        let model = self.learner.model();
        self.learner.lr_step();
        let rates = self.learner.lr_current();
        step.note_update(&self.name, &model, rates.base(), &gradients)?;
        let paths = paths_of(&model).map_err(Error::Training)?.into_iter();
        let by_path = paths.map(|(id, path)| (rates.lr_from_param(id, Some(&path)), path));
        for (rate, path) in by_path.filter(|(rate, _)| *rate != rates.base()) {
            step.scheduled(&format!("{}.{path}.learning rate", self.name), rate);
        }
        self.learner.optimizer_step(gradients);
        Ok(())
    }

    /// Checks that the steps of a checkpoint are fed as those of now: another batch or another
    /// number of them would be another place in the data.
    fn check_plan(&self, saved: Option<TensorData>) -> Result<(), String> {
        let saved = saved.and_then(|plan| plan.try_to_vec::<u64>().ok());
        let saved = saved.ok_or("its plan is missing")?;
        if saved == self.plan {
            return Ok(());
        }
        let words = |plan: &[u64]| match plan {
            [items, batch, batches] => {
                format!("{items} items an epoch, {batch} a batch, {batches} batches a step")
            }
            _ => "another plan".to_owned(),
        };
        Err(format!(
            "it is of {}, and now it is {}",
            words(&saved),
            words(&self.plan)
        ))
    }

    fn read_optimizer(&self) -> Result<(NamedState, LrSchedulerRecord), String> {
        let (optimizer, schedule) = self.records.borrow_mut().read(&self.learner)?;
        let state = named_state(optimizer, &paths_of(&self.learner.model())?)?;
        Ok((state, schedule))
    }
}

impl<M: LearnerModel> TrainingState for LearnerState<M> {
    fn parts(&mut self) -> Vec<&mut dyn StatePart> {
        vec![self]
    }
}

impl<M: LearnerModel> StatePart for LearnerState<M> {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&self) -> Result<StateTensors, String> {
        let (state, schedule) = self.read_optimizer()?;
        let mut tensors = tensors_of(&self.learner.model(), state);
        let bytes = schedule.into_bytes().map_err(words)?.to_vec();
        let length = bytes.len();
        let schedule = TensorData::new(bytes, [length]);
        let plan = TensorData::from(self.plan);
        tensors.insert((StateKind::Optimizer, SCHEDULE.to_owned()), schedule);
        tensors.insert((StateKind::Optimizer, PLAN.to_owned()), plan);
        Ok(tensors)
    }

    fn load(&mut self, saved: StateTensors) -> Result<(), String> {
        let (parameters, mut state) = by_kind(saved);
        self.check_plan(state.remove(PLAN))?;
        let schedule = state.remove(SCHEDULE).ok_or("its schedule is missing")?;
        let schedule = schedule.try_to_vec::<u8>();
        let schedule = schedule.map_err(|error| format!("its schedule: {error:?}"))?;
        let schedule = LrSchedulerRecord::from_bytes(Bytes::from_bytes_vec(schedule));
        let model = with_parameters(self.learner.model(), parameters)?;
        self.learner.load_model(model.into_record());
        let paths = paths_of(&self.learner.model())?;
        self.learner.load_optim(record_of(&state, &paths)?);
        self.learner.load_scheduler(schedule.map_err(words)?);
        check_taken(&state, &self.read_optimizer()?.0)
    }
}

/// Reads the optimizer and the schedule of a `Learner`, which has no methods for that: through what
/// burn makes its checkpoints with.
struct Records<M: LearnerModel> {
    reader: LearningCheckpointer<M>,
    store: Arc<EventStoreClient>,
    models: Receiver<ModuleRecord>,
    optimizers: Receiver<OptimizerRecord>,
    schedules: Receiver<LrSchedulerRecord>,
}

impl<M: LearnerModel> Records<M> {
    fn new(store: Arc<EventStoreClient>) -> Self {
        let (model, models) = passed_on();
        let (optimizer, optimizers) = passed_on();
        let (schedule, schedules) = passed_on();
        Self {
            reader: LearningCheckpointer::new(model, optimizer, schedule, Box::new(EachTime)),
            store,
            models,
            optimizers,
            schedules,
        }
    }

    fn read(
        &mut self,
        learner: &Learner<M>,
    ) -> Result<(OptimizerRecord, LrSchedulerRecord), String> {
        self.reader.checkpoint(learner, 0, &self.store);
        self.models.recv().map_err(words)?;
        let optimizer = self.optimizers.recv().map_err(words)?;
        let schedule = self.schedules.recv().map_err(words)?;
        Ok((optimizer, schedule))
    }
}

/// Returns a checkpointer, and where what is saved with it arrives.
fn passed_on<R: Checkpoint>() -> (AsyncCheckpointer<R>, Receiver<R>) {
    let (sender, receiver) = channel();
    (AsyncCheckpointer::new(PassOn(sender)), receiver)
}

struct PassOn<R>(Sender<R>);

impl<R: Checkpoint> Checkpointer<R> for PassOn<R> {
    fn save(&self, _: usize, record: R) -> Result<(), CheckpointerError> {
        let sent = self.0.send(record);
        sent.map_err(|error| CheckpointerError::Unknown(error.to_string()))
    }

    fn delete(&self, _: usize) -> Result<(), CheckpointerError> {
        Ok(())
    }

    fn restore(&self, _: usize) -> Result<R, CheckpointerError> {
        Err(CheckpointerError::Unknown("nothing is kept".to_owned()))
    }
}

struct EachTime;

impl CheckpointingStrategy for EachTime {
    fn checkpointing(&mut self, _: usize, _: &EventStoreClient) -> Vec<CheckpointingAction> {
        vec![CheckpointingAction::Save]
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
