//! Training runs: steps that are recorded, resumed, made again alone, compared and forked, bit for
//! bit.
//!
//! A [`Training`] is opened on a folder in one way or another, and the loop is the same in each:
//!
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::optim::{AdamConfig, GradientsParams};
//! use burn::tensor::{Device, Tensor, TensorData};
//! use interloom::training::{DataOrder, Trained, Training};
//! use interloom::{Error, Hooked, Sites, backward};
//!
//! /// Fits a line to sixty-four points.
//! fn fit(mut training: Training, line: &mut Trained<Hooked<Linear>>) -> Result<(), Error> {
//!     let device = Device::flex().autodiff();
//!     let sites = Sites::bind(&line.module)?;
//!     let order = DataOrder::new(training.seed(), 64)?;
//!     while training.goes_on(20) {
//!         training.step(line, |step, line| {
//!             let items = step.items(&order, 8);
//!             let points = items.iter().map(|item| *item as f32 / 64.0).collect();
//!             let x = Tensor::<2>::from_data(TensorData::new::<f32, _>(points, [8, 1]), &device);
//!             let mut run = step.run(&sites);
//!             run.mediator("damp", async |cx| cx.update_grad("output", |g| g * 0.5).await)
//!                 .gradients(["output"]);
//!             let (loss, gradients) = step.record(run, || {
//!                 let loss = (line.module.forward(x.clone()) - x * 3.0).square().mean();
//!                 let gradients = backward(&loss);
//!                 (loss.into_scalar::<f32>(), gradients)
//!             })?;
//!             let gradients = GradientsParams::from_grads(gradients, &line.module);
//!             step.update(line, 0.05, gradients)?;
//!             Ok(f64::from(loss))
//!         })?;
//!     }
//!     training.finish()
//! }
//!
//! # let folder = std::env::temp_dir().join(format!("interloom-training-{}", std::process::id()));
//! # let _ = std::fs::remove_dir_all(&folder);
//! let device = Device::flex().autodiff();
//! let new = || {
//!     device.seed(7);
//!     let module = Hooked::from(LinearConfig::new(1, 1).init(&device));
//!     Trained::new("line", module, AdamConfig::new().init())
//! };
//! let run = folder.join("a");
//! let settings = Training::of(7, &device).checkpoint_every(5);
//! let mut line = new();
//! fit(settings.clone().record(&run, &mut line)?, &mut line)?;
//!
//! // Steps 12 to 14 alone, from the checkpoint before step 10: a difference would be an error.
//! let mut line = new();
//! fit(settings.clone().verify(&run, 12..15, &mut line)?, &mut line)?;
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What makes a step
//!
//! All randomness of a step comes from the run's seed, the number of the step and what it is for
//! ([`seed_for`]): the device is seeded anew for each step. The items of its batch are a function
//! of seed, epoch and position ([`DataOrder`]). The rest is the state ([`TrainingState`]): so a
//! step is a function of its number and the state before, and a checkpoint is that state.
//!
//! What a step does with a clock, with numbers from elsewhere, or with a loader that delivers in
//! the order of arrival, is outside of this; [`verify`](TrainingBuilder::verify) finds it.
//!
//! # What is kept
//!
//! The folder is described at [`journal::training`](crate::journal::training). A ledger has one
//! line for each step with digests of all that the step was given and what came of it, chained; by
//! name, too, unless [`names_every`](TrainingBuilder::names_every) says otherwise. Exchanges of
//! mediators are in ordinary journals, each of the steps from one checkpoint to the next.

mod builder;
mod checkpoint;
mod digests;
mod exact;
#[cfg(feature = "train")]
pub mod learner;
mod mode;
mod optimizer;
mod order;
mod seed;
mod state;
mod step;
mod trace;

use std::path::PathBuf;

use burn::tensor::{Device, TensorData};
use interloom_backends::{Ran, Run};
use interloom_engine::SiteMap;

use crate::environment;
use crate::error::Error;
use crate::journal::training::{
    KeepRule, Ledger, LedgerHead, LedgerWriter, NamedDigest, ShortDigest, StepKeeps, StepLine,
    StepPhase, differing_names, digest_of_names, segment_file,
};
use crate::journal::{Digest, Experiment, Head, JournalSummary, ModelIdentity, Policy};
use crate::session::{Conclusion, Mode, Session};

use self::checkpoint::Parts;
use self::digests::{StateDigests, phase_of};
use self::step::OpenStep;

pub use builder::TrainingBuilder;
pub use checkpoint::check_checkpoint;
pub use exact::{
    clip_by_norm, cross_entropy, mean_squared_error, smoothed_cross_entropy, sum_in_order,
    weighted_cross_entropy,
};
pub use mode::TrainingMode;
pub use order::DataOrder;
pub use seed::seed_for;
pub use state::{
    SavedBytes, Scheduled, StateKind, StatePart, StateTensors, Trained, TrainingState,
};
pub use step::TrainingStep;
pub use trace::{StepDifference, StepDifferenceKind, StepTrace, TracedValue};

/// A training run: steps with a ledger, journals and checkpoints.
pub struct Training {
    folder: Option<PathBuf>,
    settings: TrainingBuilder,
    head: LedgerHead,
    writer: Option<LedgerWriter>,
    /// What the steps so far have been, where they are made again.
    recorded: Option<Ledger>,
    next: u64,
    /// The step before which it ends, if that is known.
    end: Option<u64>,
    /// The step whose values are kept.
    traced_step: Option<u64>,
    /// The journal that is open for the exchanges of some steps.
    segment: Option<OpenSegment>,
    /// What digests the exchanges of those steps of which the journals keep nothing.
    unkept: Option<Session>,
    /// The state before the first step of the segment.
    began: Option<StateDigests>,
    traced: Option<StepTrace>,
    /// The state that the last step left, or with which the training run began.
    left: StateDigests,
    /// Whether a step was begun that has not ended well: the state is none of a step then.
    has_failed: bool,
}

/// The journal of the steps from one checkpoint to the next, while it is written or compared with.
struct OpenSegment {
    session: Session,
    place: SegmentPlace,
}

/// Where a journal of a training run is.
struct SegmentPlace {
    /// The first step of it.
    first: u64,
    path: PathBuf,
    /// Where it is until its steps have come out as before.
    beside: Option<PathBuf>,
}

/// How many steps there are from one checkpoint to the next, unless a training run says otherwise.
const CHECKPOINT_EVERY: u64 = 100;

impl Training {
    /// Describes a training run of a seed on a device, for its steps to be recorded, resumed,
    /// verified or forked.
    pub fn of(seed: u64, device: &Device) -> TrainingBuilder {
        TrainingBuilder {
            seed,
            device: device.clone(),
            experiment: Experiment::default(),
            policy: Policy::Digest,
            checkpoint_every: CHECKPOINT_EVERY,
            rules: Vec::new(),
            keep: usize::MAX,
            names_every: 1,
            checks_every: 1,
            rehearses: true,
            accepts_inexact: false,
        }
    }

    fn new(settings: TrainingBuilder, head: LedgerHead) -> Self {
        Self {
            folder: None,
            settings,
            head,
            writer: None,
            recorded: None,
            next: 0,
            end: None,
            traced_step: None,
            segment: None,
            unkept: None,
            began: None,
            traced: None,
            left: StateDigests::default(),
            has_failed: false,
        }
    }

    /// Returns the seed of the training run at its next step; one that was forked may have another
    /// seed from there on.
    pub fn seed(&self) -> u64 {
        self.head.seed_at(self.next)
    }

    /// Returns the number of the next step.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Returns the step at which the run was forked from another one, if it was: what is new in the
    /// fork is so from that step on, and no earlier, also after a resume.
    pub fn forked_at(&self) -> Option<u64> {
        self.head.parent.as_ref().map(|parent| parent.step)
    }

    /// Returns whether there is a step to be made, of `total` steps in all.
    ///
    /// Where steps are verified it is of these, whatever the total. A run that is resumed or forked
    /// first makes again what its ledger has, even if that is more: the journals of these steps are
    /// written anew.
    pub fn goes_on(&self, total: u64) -> bool {
        let made = self.writer.as_ref().map_or(0, LedgerWriter::next);
        self.next < self.end.unwrap_or(total.max(made))
    }

    /// Returns the trace of the step that was to be [traced](TrainingBuilder::trace), once it was
    /// made.
    pub const fn take_trace(&mut self) -> Option<StepTrace> {
        self.traced.take()
    }

    /// Makes the next step: seeds the device, lets `make` compute the step and update the state,
    /// and writes or compares what came of it. `make` returns the loss.
    ///
    /// # Errors
    ///
    /// That of `make`; [`Error::StepParted`] if the step was made before and came out otherwise,
    /// with the phase and the parameters; [`Error::StateChanged`] if the state was changed since
    /// the step before, which is looked at where a step is made again and where a journal
    /// begins; [`Error::Journal`] and [`Error::Checkpoint`] if something cannot be written. The
    /// state may have been updated then, and the training run is over: each further step is
    /// [`Error::CutShort`].
    pub fn step<S: TrainingState>(
        &mut self,
        state: &mut S,
        make: impl FnOnce(&mut TrainingStep<'_>, &mut S) -> Result<f64, Error>,
    ) -> Result<StepLine, Error> {
        let mut open = self.open_step(state)?;
        let mut step = TrainingStep {
            training: self,
            open: &mut open,
        };
        let loss = make(&mut step, state)?;
        self.close_step(open, loss, state)
    }

    /// Begins the next step: seeds the device.
    fn open_step(&mut self, state: &mut impl TrainingState) -> Result<OpenStep, Error> {
        let number = self.next;
        if self.has_failed {
            return Err(Error::CutShort(format!(
                "the step before step {number} failed, so that the state is that of no step; resume from the last checkpoint"
            )));
        }
        self.has_failed = true;
        let seed = seed_for(self.seed(), number, "device");
        let traced = if self.traced_step == Some(number) {
            Some(state_before(values_of(state)?, seed))
        } else {
            None
        };
        self.check_state(state)?;
        if self.is_recording() && self.began.is_none() {
            self.began = Some(self.left.clone());
        }
        self.settings.device.seed(seed);
        Ok(OpenStep {
            number,
            seed,
            rate: 0.0,
            named: Vec::new(),
            exchanges: ShortDigest::default(),
            runs: 0,
            traced,
        })
    }

    /// Refuses a state that is not the one that the step before left: the ledger would say of the
    /// step what is not so, and a checkpoint between the two would not have it.
    ///
    /// Reading the state costs as much as the digests of a step, which is why a run may look at it
    /// more seldom. Where a step is made again, and where a journal begins, it is always looked
    /// at. A trace has the state itself.
    fn check_state(&self, state: &mut impl TrainingState) -> Result<(), Error> {
        let every = self.settings.checks_every;
        let is_asked = every > 0 && self.next.is_multiple_of(every);
        let is_due = is_asked || self.began.is_none() || self.makes_again();
        if !self.is_recording() || !is_due || self.traced_step == Some(self.next) {
            return Ok(());
        }
        let now = StateDigests::of(&read_state(state)?);
        if now == self.left {
            return Ok(());
        }
        let (left, now) = (self.left.named(), now.named());
        let changed = |phase| differing_names(&left, &now, phase);
        Err(Error::StateChanged {
            step: self.next,
            names: [
                changed(StepPhase::Parameters),
                changed(StepPhase::Optimizer),
            ]
            .concat(),
        })
    }

    /// Ends a step: writes or compares what came of it.
    fn close_step<S: TrainingState>(
        &mut self,
        open: OpenStep,
        loss: f64,
        state: &mut S,
    ) -> Result<StepLine, Error> {
        let line = StepLine {
            step: open.number,
            seed: open.seed,
            rate: open.rate,
            loss,
            batch: ShortDigest::default(),
            schedule: ShortDigest::default(),
            exchanges: open.exchanges,
            runs: open.runs,
            gradients: ShortDigest::default(),
            optimizer: ShortDigest::default(),
            parameters: ShortDigest::default(),
            names_at: None,
            chain: Digest::ZERO,
        };
        let is_traced = open.traced.is_some();
        if let Some(mut values) = open.traced {
            values.push(TracedValue {
                phase: StepPhase::Loss,
                name: "loss".to_owned(),
                data: TensorData::from([loss]),
            });
            values.extend(values_of(state)?);
            self.traced = Some(StepTrace {
                step: open.number,
                values,
            });
        }
        self.conclude(line, open.named, state, is_traced)
    }

    /// Ends the training run; without this its last journal has no end, as if the process had been
    /// killed.
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if something cannot be written; [`Error::CutShort`] if a step failed, or
    /// not all steps that were to be verified were made.
    pub fn finish(mut self) -> Result<(), Error> {
        if self.has_failed {
            return Err(Error::CutShort(
                "its last step failed; resume from the last checkpoint".to_owned(),
            ));
        }
        if let Some(end) = self.end.filter(|end| self.next < *end) {
            return Err(Error::CutShort(format!(
                "of the steps that were to be verified, those from {} to {} were not made; let the loop go on as long as \
                 `goes_on` says",
                self.next,
                end - 1
            )));
        }
        if let Some(writer) = &self.writer {
            writer.sync()?;
        }
        self.close_segment()
    }

    /// Returns whether some steps of a training run are made again, and no others.
    #[cfg(feature = "train")]
    const fn is_excerpt(&self) -> bool {
        self.end.is_some()
    }

    /// Returns whether the next step is before a step, and is to be made.
    #[cfg(feature = "train")]
    fn is_before(&self, step: u64) -> bool {
        self.next < step && self.goes_on(step)
    }

    #[cfg(feature = "train")]
    const fn device(&self) -> &Device {
        &self.settings.device
    }

    const fn is_recording(&self) -> bool {
        self.writer.is_some() || self.recorded.is_some()
    }

    /// Returns whether the next step was made before.
    fn makes_again(&self) -> bool {
        let ledger = self.recorded.as_ref();
        ledger.is_some_and(|ledger| self.next < ledger.lines().len() as u64)
    }

    /// Adds what came of a step to its line, compares it, writes it, and makes a checkpoint if one
    /// is due.
    fn conclude<S: TrainingState>(
        &mut self,
        mut line: StepLine,
        mut names: Vec<NamedDigest>,
        state: &mut S,
        is_traced: bool,
    ) -> Result<StepLine, Error> {
        self.next += 1;
        if !self.is_recording() {
            self.has_failed = false;
            return Ok(line);
        }
        // Read once: for the line, and for a checkpoint if one is due.
        let parts = read_state(state)?;
        let left = StateDigests::of(&parts);
        names.extend(left.named());
        // Of the same state in the same order, whatever the order in which it was read.
        names.sort_by(|a, b| (a.phase, &a.name).cmp(&(b.phase, &b.name)));
        line.batch = digest_of_names(&names, StepPhase::Batch);
        line.schedule = digest_of_names(&names, StepPhase::Schedule);
        line.gradients = digest_of_names(&names, StepPhase::Gradients);
        line.optimizer = digest_of_names(&names, StepPhase::Optimizer);
        line.parameters = digest_of_names(&names, StepPhase::Parameters);
        self.compare(&mut line, &names, is_traced)?;
        let keeps_names =
            self.settings.names_every > 0 && line.step.is_multiple_of(self.settings.names_every);
        if let Some(writer) = &mut self.writer
            && writer.next() == line.step
        {
            line = writer.write(line, keeps_names.then_some(&names[..]))?;
        }
        if !self.makes_again() {
            self.put_segment()?;
        }
        self.make_checkpoint(&parts, &left)?;
        self.left = left;
        self.has_failed = false;
        Ok(line)
    }

    /// Compares a step with what it was when it was recorded.
    fn compare(
        &self,
        line: &mut StepLine,
        names: &[NamedDigest],
        is_traced: bool,
    ) -> Result<(), Error> {
        let Some(ledger) = &self.recorded else {
            return Ok(());
        };
        let Some(recorded) = ledger.lines().get(line.step as usize) else {
            return Ok(());
        };
        if is_traced {
            line.exchanges = recorded.exchanges;
        }
        let Some(phase) = recorded.first_difference(line) else {
            line.chain = recorded.chain;
            return Ok(());
        };
        let names = match ledger.names(line.step)? {
            Some(recorded) => differing_names(&recorded, names, phase),
            None => Vec::new(),
        };
        Err(Error::StepParted {
            step: line.step,
            phase,
            names,
            lines: Box::new((*recorded, *line)),
            divergence: None,
        })
    }

    /// Makes the checkpoint before the next step, if one is due.
    fn make_checkpoint(&mut self, parts: &Parts, digests: &StateDigests) -> Result<(), Error> {
        if !self.next.is_multiple_of(self.head.segment_steps) {
            return Ok(());
        }
        self.close_segment()?;
        let (Some(writer), Some(folder)) = (&self.writer, &self.folder) else {
            return Ok(());
        };
        if writer.next() == self.next {
            writer.sync()?;
        }
        let Some(chain) = self.chain() else {
            return Ok(());
        };
        checkpoint::write(folder, self.next, chain, parts, digests)?;
        let ledger_steps = Ledger::checkpoints_in(folder)?;
        checkpoint::thin_out(folder, &ledger_steps, self.settings.keep)
    }

    /// Returns the ledger's chain before the next step; nothing if it is not written.
    fn chain(&self) -> Option<Digest> {
        let writer = self.writer.as_ref()?;
        if writer.next() == self.next {
            return Some(writer.chain());
        }
        // A resumed run that has not caught up.
        self.recorded.as_ref()?.chain_before(self.next)
    }

    /// Makes a run of a step, and notes what the step has exchanged up to its end: also of a run
    /// that fails, which the journal has as well.
    fn run<Y>(
        &mut self,
        open: &mut OpenStep,
        run: Run,
        model: impl FnOnce() -> Y,
    ) -> Result<Ran<Y>, Error> {
        if !self.is_recording() {
            open.runs += 1;
            return Ok(run.execute(model)?);
        }
        let step = open.number;
        let keeps = KeepRule::of_step(&self.head.keeps, step);
        let session = self.session(step, &run, &keeps)?;
        if open.runs == 0 {
            session.begin_step(match keeps {
                StepKeeps::Exchanges(patterns) => patterns,
                StepKeeps::Nothing => Vec::new(),
            });
        }
        let ran = session.run(run, model);
        if let Some(divergence) = session.divergence() {
            let line = self
                .recorded
                .as_ref()
                .map(|ledger| ledger.line(step))
                .transpose()?;
            let line = line.copied().expect("a step that is compared");
            return Err(Error::StepParted {
                step,
                phase: StepPhase::Exchanges,
                names: Vec::new(),
                lines: Box::new((line, line)),
                divergence: Some(Box::new(divergence)),
            });
        }
        if let Some((digest, runs)) = session.step_digest() {
            open.exchanges = digest.into();
            open.runs = runs;
        }
        ran
    }

    /// Returns the session for the exchanges of a step.
    fn session(&mut self, step: u64, run: &Run, keeps: &StepKeeps) -> Result<&mut Session, Error> {
        if *keeps == StepKeeps::Nothing || self.folder.is_none() {
            if self.unkept.is_none() {
                self.unkept = Some(Session::unwritten(self.segment_head(run))?);
            }
            return Ok(self.unkept.as_mut().expect("a session that was opened"));
        }
        if self.segment.is_none() {
            self.segment = Some(self.open_segment(step, run)?);
        }
        let segment = self.segment.as_mut().expect("a journal that was opened");
        Ok(&mut segment.session)
    }

    /// Returns the head of the journal that begins with a run.
    fn segment_head(&self, run: &Run) -> Head {
        let mut head = self.head.environment.clone();
        head.sites = Some(environment::site_table(run.sites().map()));
        let began = self.began.as_ref();
        head.model = began.and_then(|began| identity(began, run.sites().map()));
        head
    }

    /// Opens the journal for the exchanges from a step on: to compare with, where steps are only
    /// verified, else to be written.
    ///
    /// That of steps that were made before stands beside its place at first: if they come out
    /// otherwise, what was exchanged in them is still there.
    fn open_segment(&mut self, step: u64, run: &Run) -> Result<OpenSegment, Error> {
        let first = step - step % self.head.segment_steps;
        let head = self.segment_head(run);
        let folder = self.folder.as_ref().expect("a training run in a folder");
        let path = folder.join(segment_file(first));
        let device = self.settings.device.clone();
        let makes_again = self.makes_again();
        let mut beside = None;
        let session = match &mut self.writer {
            Some(_) if makes_again => {
                let path = folder.join(format!(".unfinished-{}", segment_file(first)));
                beside = Some(path.clone());
                Session::open(&Mode::Record(path), head, device)?
            }
            Some(writer) => {
                writer.begin_segment(first)?;
                Session::open(&Mode::Record(path.clone()), head, device)?
            }
            None if self.traced_step.is_none() && path.exists() => {
                Session::open(&Mode::Verify(path.clone()), head, device)?
            }
            None => Session::unwritten(head)?,
        };
        let place = SegmentPlace {
            first,
            path,
            beside,
        };
        Ok(OpenSegment { session, place })
    }

    /// Puts the journal that is open in its place.
    fn put_segment(&mut self) -> Result<(), Error> {
        match (&mut self.segment, &mut self.writer) {
            (Some(segment), Some(writer)) => segment.place.put(writer),
            _ => Ok(()),
        }
    }

    /// Ends the journal that is open. It is put in its place and gets its line in the index, unless
    /// it stops before the end of one that is there.
    fn close_segment(&mut self) -> Result<(), Error> {
        self.began = None;
        self.unkept = None;
        let is_early = self.makes_again() && !self.next.is_multiple_of(self.head.segment_steps);
        let (chain, Some(OpenSegment { session, mut place })) = (self.chain(), self.segment.take())
        else {
            return Ok(());
        };
        // What is compared with only up to here has no end to be compared.
        let (Some(writer), Some(chain)) = (&mut self.writer, chain) else {
            return Ok(());
        };
        let Conclusion::Recorded {
            exchanges,
            digest,
            bytes,
            ..
        } = session.conclude()?
        else {
            return Ok(());
        };
        if is_early {
            return Ok(());
        }
        place.put(writer)?;
        let steps = place.first..self.next;
        let written = JournalSummary {
            exchanges,
            digest,
            bytes,
        };
        Ok(writer.end_segment(&place.path, steps, chain, &written)?)
    }
}

impl SegmentPlace {
    /// Puts the journal in its place, if it is beside it, after what is there has lost its line in
    /// the index.
    fn put(&mut self, writer: &mut LedgerWriter) -> Result<(), Error> {
        let Some(beside) = self.beside.take() else {
            return Ok(());
        };
        writer.begin_segment(self.first)?;
        let renamed = std::fs::rename(beside, &self.path);
        renamed.map_err(|error| checkpoint::refused(&self.path, "replace", &error))
    }
}

/// Returns the identity of the part that has the sites of a map; nothing, if its model is no part
/// of the state, as one that is frozen.
fn identity(state: &StateDigests, map: &SiteMap) -> Option<ModelIdentity> {
    let paths: Vec<&str> = map.parameters().collect();
    let (part, digests) = state.part_with(&paths)?;
    let paths = paths.into_iter().map(str::to_owned);
    let parameters = paths.zip(digests).collect();
    Some(environment::identity_of_digests(part, parameters))
}

fn read_state(state: &mut impl TrainingState) -> Result<Parts, Error> {
    let unreadable = |problem| Error::Training(format!("the state cannot be read: {problem}"));
    checkpoint::read_parts(state).map_err(unreadable)
}

/// Returns the values of a state, each under the name of its part.
fn values_of<S: TrainingState>(
    state: &mut S,
) -> Result<impl Iterator<Item = TracedValue> + use<S>, Error> {
    let values = read_state(state)?.into_iter().flat_map(|(part, tensors)| {
        tensors
            .into_iter()
            .map(move |((kind, name), data)| TracedValue {
                phase: phase_of(kind),
                name: format!("{part}.{name}"),
                data,
            })
    });
    Ok(values)
}

/// Returns the values with which the trace of a step begins.
fn state_before(values: impl Iterator<Item = TracedValue>, seed: u64) -> Vec<TracedValue> {
    let state = values.map(|value| TracedValue {
        phase: StepPhase::State,
        ..value
    });
    let seed = TracedValue {
        phase: StepPhase::Seed,
        name: "seed".to_owned(),
        data: TensorData::from([seed]),
    };
    state.chain([seed]).collect()
}
