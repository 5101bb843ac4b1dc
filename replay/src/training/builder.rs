//! How a training run is opened: its settings, and what a folder must be for it.

use std::ops::Range;
use std::path::Path;

use burn::tensor::Device;

use super::digests::StateDigests;
use super::state::TrainingState;
use super::{Training, checkpoint, read_state};
use crate::divergence::EnvironmentReport;
use crate::environment;
use crate::error::Error;
use crate::journal::training::{
    KeepRule, LEDGER_FILE, Ledger, LedgerHead, LedgerParent, LedgerWriter, StepPhase,
    checkpoint_folder, digest_of_names,
};
use crate::journal::{Digest, Experiment, Policy};
use crate::session::check_exact;

/// The settings of a training run that is about to be opened.
#[derive(Clone)]
#[must_use]
pub struct TrainingBuilder {
    pub(super) seed: u64,
    pub(super) device: Device,
    pub(super) experiment: Experiment,
    pub(super) policy: Policy,
    pub(super) rules: Vec<KeepRule>,
    pub(super) checkpoint_every: u64,
    pub(super) keep: usize,
    pub(super) names_every: u64,
    pub(super) checks_every: u64,
    pub(super) rehearses: bool,
    pub(super) accepts_inexact: bool,
}

impl TrainingBuilder {
    /// Notes which experiment this is, with arguments from which it can be made again.
    pub fn experiment(mut self, experiment: Experiment) -> Self {
        self.experiment = experiment;
        self
    }

    /// Chooses what the journals keep of the tensors that are exchanged; digests, unless this says
    /// otherwise.
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Adds a rule of what the journals keep, by step and by site; the last rule that is of both
    /// decides, and where none is, the [`policy`](Self::policy).
    ///
    /// Whatever the rules, the ledger has the digest of all exchanges of each step.
    pub fn rule(mut self, rule: KeepRule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Makes a checkpoint before each multiple of `steps`, 100 unless this says otherwise. A
    /// journal of exchanges has as many steps. With 0 there is no training run to open.
    pub const fn checkpoint_every(mut self, steps: u64) -> Self {
        self.checkpoint_every = steps;
        self
    }

    /// Keeps the last `count` checkpoints, and the one before step 0; all, unless this says
    /// otherwise.
    pub const fn keep(mut self, count: usize) -> Self {
        self.keep = count;
        self
    }

    /// Keeps the digests of gradients, moments and parameters by name only for every `steps`th
    /// step, or for none if that is 0. They are what names the parameter in which two runs part; a
    /// name takes some 18 bytes for each step.
    pub const fn names_every(mut self, steps: u64) -> Self {
        self.names_every = steps;
        self
    }

    /// Looks before every `steps`th step whether the state is the one that the step before left
    /// ([`Error::StateChanged`]), before each one unless this says otherwise. It costs about as
    /// much as the digests of a step.
    ///
    /// For 0 it is done only where a step is made again and where a journal begins: elsewhere a
    /// change between two steps then shows in what comes after it, or not at all if that is rounded
    /// away.
    pub const fn check_state_every(mut self, steps: u64) -> Self {
        self.checks_every = steps;
        self
    }

    /// Resumes at the last checkpoint also where no step has been made behind it.
    ///
    /// Without this a run that ended just there goes on from the checkpoint before, if that is
    /// kept: the steps between the two are made again, so that a loop which would go on with other
    /// data, another rate or another model is refused as it is everywhere else.
    pub const fn trust_checkpoint(mut self) -> Self {
        self.rehearses = false;
        self
    }

    /// Accepts that equal steps may give other bits, as
    /// [`SessionBuilder::accept_inexact`](crate::SessionBuilder::accept_inexact) does.
    pub const fn accept_inexact(mut self) -> Self {
        self.accepts_inexact = true;
        self
    }

    /// Makes steps, and keeps nothing.
    pub fn plain(self) -> Training {
        let head = self.head();
        Training::new(self, head)
    }

    /// Begins a training run in a folder.
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if the folder has one (E070) or cannot be written; [`Error::Inexact`] in
    /// a build that is not exact.
    pub fn record(
        self,
        folder: impl AsRef<Path>,
        state: &mut impl TrainingState,
    ) -> Result<Training, Error> {
        let folder = folder.as_ref();
        self.check_settings()?;
        let head = self.head();
        if !self.accepts_inexact {
            check_exact(&"this build", &head.environment)?;
        }
        let writer = LedgerWriter::create(folder, &head)?;
        let parts = read_state(state)?;
        let left = StateDigests::of(&parts);
        checkpoint::write(folder, 0, writer.chain(), &parts, &left)?;
        writer.publish(folder)?;
        Ok(Training {
            folder: Some(folder.to_owned()),
            writer: Some(writer),
            left,
            ..Training::new(self, head)
        })
    }

    /// Continues the training run in a folder from its last checkpoint, which `state` takes over.
    ///
    /// Steps that were made after it are made again, and have to come out the same; if there are
    /// none, those from the checkpoint before on, unless it is
    /// [trusted](Self::trust_checkpoint).
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if there is no training run or its ledger is damaged;
    /// [`Error::OtherTraining`] if it has another seed, other settings or another environment;
    /// [`Error::Checkpoint`] if its last checkpoint is not whole or does not fit.
    pub fn resume(
        self,
        folder: impl AsRef<Path>,
        state: &mut impl TrainingState,
    ) -> Result<Training, Error> {
        let ledger = Ledger::read(folder)?;
        self.check_is_of(&ledger)?;
        let from = self.resumed_from(&ledger)?;
        let left = load(&ledger, from, state)?;
        let writer = LedgerWriter::append(&ledger)?;
        let head = ledger.head().clone();
        Ok(Training {
            folder: Some(ledger.folder().to_owned()),
            writer: Some(writer),
            recorded: Some(ledger),
            next: from,
            left,
            ..Training::new(self, head)
        })
    }

    /// Begins a training run in a folder, or continues the one that is there.
    ///
    /// # Errors
    ///
    /// As for [`record`](Self::record) and [`resume`](Self::resume).
    pub fn record_or_resume(
        self,
        folder: impl AsRef<Path>,
        state: &mut impl TrainingState,
    ) -> Result<Training, Error> {
        let is_there = folder.as_ref().join(LEDGER_FILE).exists();
        if is_there {
            self.resume(folder, state)
        } else {
            self.record(folder, state)
        }
    }

    /// Makes some steps of the training run in a folder again, from the nearest checkpoint before
    /// them, and compares all that comes of them; nothing is written.
    ///
    /// # Errors
    ///
    /// As for [`resume`](Self::resume); E072 if the ledger does not have the steps,
    /// [`Error::Training`] if there are none between the two.
    pub fn verify(
        self,
        folder: impl AsRef<Path>,
        steps: Range<u64>,
        state: &mut impl TrainingState,
    ) -> Result<Training, Error> {
        let ledger = Ledger::read(folder)?;
        self.check_is_of(&ledger)?;
        if steps.is_empty() {
            let Range { start, end } = steps;
            return Err(Error::Training(format!(
                "there is no step from {start} up to {end}, which is not counted; verify one step as {start}..{}",
                start.saturating_add(1)
            )));
        }
        ledger.line(steps.end - 1)?;
        let from = nearest_checkpoint(&ledger, steps.start)?;
        let left = load(&ledger, from, state)?;
        let head = ledger.head().clone();
        Ok(Training {
            folder: Some(ledger.folder().to_owned()),
            recorded: Some(ledger),
            next: from,
            end: Some(steps.end),
            left,
            ..Training::new(self, head)
        })
    }

    /// Makes one step of the training run in a folder again, as [`verify`](Self::verify) does, and
    /// keeps everything that it is given and computes, with values, for [`Training::take_trace`].
    ///
    /// Every site is watched in it, in both passes. Its exchanges are not compared with those of
    /// the recording, which was made without that.
    ///
    /// # Errors
    ///
    /// As for [`verify`](Self::verify).
    pub fn trace(
        self,
        folder: impl AsRef<Path>,
        step: u64,
        state: &mut impl TrainingState,
    ) -> Result<Training, Error> {
        let training = self.verify(folder, step..step.saturating_add(1), state)?;
        Ok(Training {
            traced_step: Some(step),
            ..training
        })
    }

    /// Forks the training run in `from` at a step into a new one in `into`: the steps before are
    /// those of the old one, and from there on they may be others.
    ///
    /// The lines of the ledger before the step are the same, byte for byte. Steps from the nearest
    /// checkpoint on are made again, and have to come out the same up to the fork; nothing before
    /// that is computed.
    ///
    /// # Errors
    ///
    /// As for [`verify`](Self::verify) and [`record`](Self::record).
    pub fn fork(
        self,
        from: impl AsRef<Path>,
        step: u64,
        into: impl AsRef<Path>,
        state: &mut impl TrainingState,
    ) -> Result<Training, Error> {
        let ledger = Ledger::read(from)?;
        let before = TrainingBuilder {
            seed: last_seed(&ledger),
            ..self.clone()
        };
        before.check_is_of(&ledger)?;
        if let Some(last) = step.checked_sub(1) {
            ledger.line(last)?;
        }
        let chain = ledger.chain_before(step).unwrap_or(Digest::ZERO);
        let nearest = nearest_checkpoint(&ledger, step)?;
        let left = load(&ledger, nearest, state)?;
        let grandparent = ledger.head().parent.clone();
        let head = LedgerHead {
            parent: Some(LedgerParent {
                step,
                chain,
                seed: self.seed,
                // Of one that was forked later no step is left.
                parent: grandparent
                    .filter(|earlier| earlier.step < step)
                    .map(Box::new),
            }),
            ..ledger.head().clone()
        };
        let into = into.as_ref();
        let mut writer = LedgerWriter::create(into, &head)?;
        for line in &ledger.lines()[..step as usize] {
            writer.write(*line, ledger.names(line.step)?.as_deref())?;
        }
        checkpoint::copy(ledger.folder(), into, nearest)?;
        writer.publish(into)?;
        Ok(Training {
            folder: Some(into.to_owned()),
            writer: Some(writer),
            recorded: Some(ledger.until(step)),
            next: nearest,
            left,
            ..Training::new(self, head)
        })
    }

    /// Returns the step from which a training run is resumed.
    fn resumed_from(&self, ledger: &Ledger) -> Result<u64, Error> {
        let checkpoints = ledger.checkpoints()?;
        let last = checkpoints.last().copied();
        let last = last.ok_or_else(|| no_checkpoint(ledger, 0))?;
        let has_none_behind = last == ledger.lines().len() as u64;
        let before = last.checked_sub(ledger.head().segment_steps);
        let before = before.filter(|step| checkpoints.contains(step));
        Ok(before
            .filter(|_| self.rehearses && has_none_behind)
            .unwrap_or(last))
    }

    fn head(&self) -> LedgerHead {
        let experiment = self.experiment.clone();
        let mut environment = environment::head(experiment, &self.device, self.policy);
        environment.seeds.push(self.seed);
        LedgerHead {
            environment,
            seed: self.seed,
            segment_steps: self.checkpoint_every,
            keeps: self.rules.clone(),
            parent: None,
        }
    }

    fn check_settings(&self) -> Result<(), Error> {
        if self.checkpoint_every > 0 {
            return Ok(());
        }
        Err(Error::Training(
            "a checkpoint before every 0th step is none; give `checkpoint_every` how many steps there are from one to the next"
                .to_owned(),
        ))
    }

    /// Refuses to go on with a training run that would not be the same with these settings.
    fn check_is_of(&self, ledger: &Ledger) -> Result<(), Error> {
        self.check_settings()?;
        let (mut ours, theirs) = (self.head(), ledger.head());
        let mut differences = Vec::new();
        let seed = last_seed(ledger);
        if ours.seed != seed {
            differences.push(format!("seed {seed} recorded, {} now", ours.seed));
        }
        ours.environment.seeds.clone_from(&theirs.environment.seeds);
        if ours.segment_steps != theirs.segment_steps {
            differences.push(format!(
                "checkpoints every {} steps recorded, every {} now",
                theirs.segment_steps, ours.segment_steps
            ));
        }
        if ours.keeps != theirs.keeps {
            let rules = |head: &LedgerHead| match &head.keeps[..] {
                [] => "no rules".to_owned(),
                rules => {
                    let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
                    rules.join("; ")
                }
            };
            let (recorded, now) = (rules(theirs), rules(&ours));
            differences.push(format!("journals keep [{recorded}] recorded, [{now}] now"));
        }
        if !self.accepts_inexact {
            let report = EnvironmentReport::between(&theirs.environment, &ours.environment);
            let environment = report.into_iter().flat_map(|report| report.differences);
            differences.extend(environment.map(|difference| difference.to_string()));
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::OtherTraining {
            folder: ledger.folder().to_owned(),
            differences,
        })
    }
}

/// Loads the checkpoint before a step, which must be the state that the step before left, and
/// returns its digests.
fn load(ledger: &Ledger, step: u64, state: &mut impl TrainingState) -> Result<StateDigests, Error> {
    let manifest = checkpoint::load(ledger.folder(), step, state)?;
    checkpoint::check_is_of(ledger, &manifest)?;
    // What was loaded is what the manifest says.
    let left = manifest.tensors;
    let Some(before) = step.checked_sub(1) else {
        return Ok(left);
    };
    let line = ledger.line(before)?;
    let names = left.named();
    let is_same = |phase, recorded| digest_of_names(&names, phase) == recorded;
    if is_same(StepPhase::Parameters, line.parameters)
        && is_same(StepPhase::Optimizer, line.optimizer)
    {
        return Ok(left);
    }
    Err(Error::Checkpoint {
        checkpoint: ledger.folder().join(checkpoint_folder(step)),
        problem: format!("it is not the state that step {before} left, as the ledger has it"),
        advice: "remove it to go back to the one before",
    })
}

/// Returns the seed of the steps behind the last one of a ledger.
fn last_seed(ledger: &Ledger) -> u64 {
    ledger.head().seed_at(ledger.lines().len() as u64)
}

fn nearest_checkpoint(ledger: &Ledger, step: u64) -> Result<u64, Error> {
    let mut steps = ledger.checkpoints()?.into_iter();
    let nearest = steps.rfind(|before| *before <= step);
    nearest.ok_or_else(|| no_checkpoint(ledger, step))
}

fn no_checkpoint(ledger: &Ledger, step: u64) -> Error {
    let from_where = match &ledger.head().parent {
        None => "restore one from a copy".to_owned(),
        Some(fork) => format!(
            "this run was forked at step {}: take the one that it was forked from",
            fork.step
        ),
    };
    Error::Training(format!(
        "{} has no checkpoint at or before step {step}; {from_where}",
        ledger.folder().display()
    ))
}
