//! Sessions: runs that share a journal.
//!
//! A [`Session`] is opened in one [`Mode`]: plainly, to record, or to verify a journal by making
//! its runs again. The experiment is the same code in every mode, which is the point:
//!
//! ```
//! use burn::tensor::Device;
//! use interloom::{Error, Session};
//! use interloom_backends::Run;
//! use interloom_models::induction::{Induction, Sampler};
//!
//! let device = Device::flex();
//! let model = Induction::trained(&device);
//! let batch = Sampler::new(7).batch(2);
//!
//! /// Reads how much the heads of layer 1 attend where.
//! let experiment = |mut session: Session| -> Result<(), Error> {
//!     let mut run = Run::new("read", model.sites());
//!     run.mediator("pattern", async |cx| cx.output("layers.1.attn.pattern").await);
//!     session.run(run, || model.forward(batch.tokens(&device)))?;
//!     session.finish()?;
//!     Ok(())
//! };
//!
//! # let folder = std::env::temp_dir().join(format!("interloom-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! let journal = folder.join("read.ilj");
//! experiment(Session::record(&journal, &model)?)?;
//! // A divergence would be an error of `finish`.
//! experiment(Session::verify(&journal, &model)?)?;
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Exactness
//!
//! All that a session promises is bit for bit, and holds if equal inputs give equal bits. In a
//! build with burn's default features they do not (see
//! [`arithmetic`](interloom_backends::arithmetic())), and a comparison that finds nothing would be
//! luck. So no session with a journal opens in such a build, or with a journal that was recorded in
//! one (E082), unless its caller says that this is known: [`SessionBuilder::accept_inexact`]. The
//! head of the journal names the arithmetic either way.

mod builder;
mod cached;
mod convert;
mod passages;
mod play;
mod prefix;
mod readback;
mod recorded;
mod sink;
mod source;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use burn::tensor::Device;
use interloom_backends::{ForwardError, PrefixCache, Ran, ReuseStats, Run, Value};
use interloom_engine::Setup;

use crate::divergence::{Divergence, EnvironmentReport};
use crate::error::Error;
use crate::journal::{BarrierLine, Declared, Digest, Head, MediatorLine, Policy, RunStart};

pub(crate) use builder::check_exact;
#[cfg(feature = "train")]
pub(crate) use builder::short_name;
pub use builder::{SessionBuilder, Subject};
use cached::Collected;
pub(crate) use convert::{digest_of_tensor, tensor_parts};
use play::{Made, is_of_model, play};
use readback::Readback;
use recorded::Recorded;
use sink::JournalSink;
use source::{Driven, Forked, Live, Model, Served, Source, Staged};

/// The mode of a session: what it does with its exchanges.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Mode {
    /// Makes runs, and keeps nothing.
    Plain,
    /// Writes them to a new journal.
    Record(PathBuf),
    /// Adds them to a journal of earlier runs with the same head, so that a later sitting goes on
    /// where the last one stopped.
    ///
    /// What is written is what one sitting would have written, byte for byte. Where a journal was
    /// made whole after a crash ([`recover`](crate::journal::recover())), what was recovered stays
    /// as it is, with the note that says so and the run that was interrupted.
    Append(PathBuf),
    /// Compares them with those of a journal; model and mediators are live.
    Verify(PathBuf),
    /// The same, from one of the journal's runs on: the first run of the session is that one.
    VerifyFrom {
        /// The journal.
        path: PathBuf,
        /// The number of the first run that is made again.
        run: u32,
    },
    /// Answers live mediators with the values of a journal, and compares what they ask for; no
    /// model runs.
    ///
    /// The journal must have kept its tensors ([`Policy::Full`](crate::journal::Policy::Full)).
    Serve(PathBuf),
    /// Asks a live model for what the mediators of a journal asked for, and compares what it gives;
    /// no mediator runs.
    ///
    /// The journal must have kept the tensors that were swapped in. Of a replacement it has the
    /// value, and not the graph that it was computed in: a backward pass that a mediator asks for
    /// is taken from the journal, too; one that the code around the model makes ends at what was
    /// replaced. If its gradients are not the recorded ones because of that, the run fails (E058);
    /// gradients that nothing in the run declares are then without what went through a mediator.
    Drive(PathBuf),
    /// Replays a journal up to an exchange, then continues live, into a new journal.
    ///
    /// The runs before that of the exchange are served and not computed. In its own run the model
    /// is asked what was asked, and has to give what it gave; live mediators, which have been
    /// given the recorded answers, take over at the exchange. Modules that were over by then
    /// are not computed either if the journal has what they returned
    /// ([`Session::keep_passages`]); otherwise the model computes from the beginning. All that
    /// comes after is new. The journal must have kept its tensors.
    Fork {
        /// The journal.
        from: PathBuf,
        /// The number of the first exchange that is new.
        exchange: u64,
        /// The new journal; it begins with the exchanges of the old one.
        into: PathBuf,
    },
}

impl Mode {
    /// Returns the journal that runs are compared with.
    fn compared(&self) -> Option<&Path> {
        match self {
            Self::Plain | Self::Record(_) | Self::Append(_) => None,
            Self::Verify(path) | Self::Serve(path) | Self::Drive(path) => Some(path),
            Self::VerifyFrom { path, .. } | Self::Fork { from: path, .. } => Some(path),
        }
    }
}

/// The proof that an equal replay gives; the levels are those of the README.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Proof {
    /// Model and mediators were live.
    Reexecution,
    /// The mediators were live, and were given the recorded values.
    Mediators,
    /// The model was live, and was asked what the recorded mediators asked.
    Model,
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reexecution => {
                "L3: model and mediators ran again, and every exchange is the recorded one, bit for bit"
            }
            Self::Mediators => {
                "L2: given the recorded values, the mediators asked for and gave what was recorded, bit for bit; no model ran"
            }
            Self::Model => {
                "L3 for the model: asked what was recorded, it gave the recorded values, bit for bit; no mediator ran"
            }
        })
    }
}

/// Runs that share a journal.
pub struct Session {
    sink: Option<Rc<RefCell<JournalSink>>>,
    head: Head,
    source: Box<dyn Source>,
    proof: Proof,
    readback: Readback,
    keeps_passages: bool,
    /// The patterns of the points whose tensors are kept, in the runs to come.
    keeps: Arc<[String]>,
    effort: ReuseStats,
}

/// The conclusion of a session.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Conclusion {
    /// Nothing was recorded.
    Plain,
    /// A journal was written.
    Recorded {
        /// How many exchanges it has.
        exchanges: u64,
        /// The digest of all of them.
        digest: Digest,
        /// How long the file is.
        bytes: u64,
        /// How many calls of modules were computed and how many known, in the runs that
        /// [kept](Session::keep_passages) what their modules returned and in the one that
        /// left a [forked](Mode::Fork) journal which has that.
        effort: ReuseStats,
    },
    /// A journal was compared with.
    Verified {
        /// What it proves if nothing differs.
        proof: Proof,
        /// How many exchanges are equal, from the first on.
        exchanges: u64,
        /// The digest of the exchanges that were made now.
        digest: Digest,
        /// The first difference.
        divergence: Option<Box<Divergence>>,
        /// How the environments differ.
        environment: Option<EnvironmentReport>,
    },
}

impl Conclusion {
    /// Returns whether nothing differed from a journal.
    pub fn is_identical(&self) -> bool {
        match self {
            Self::Verified {
                divergence,
                environment,
                ..
            } => divergence.is_none() && !environment.as_ref().is_some_and(changes_values),
            Self::Plain | Self::Recorded { .. } => true,
        }
    }
}

impl Session {
    /// Describes a session of a model, which its methods then open; see [`record`](Self::record)
    /// and the others for the short way.
    pub fn of(model: &(impl Subject + ?Sized)) -> SessionBuilder {
        SessionBuilder::new(model)
    }

    /// Opens a session that records to a new journal, with all that its runs depend on gathered
    /// from the model: the digest of each parameter, the sites, the device, and from this build
    /// and processor.
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if the journal cannot be created.
    pub fn record(path: impl AsRef<Path>, model: &(impl Subject + ?Sized)) -> Result<Self, Error> {
        Self::of(model).record(path)
    }

    /// Opens a session that compares its runs with those of a journal; model and mediators are
    /// live.
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if the journal cannot be opened.
    pub fn verify(path: impl AsRef<Path>, model: &(impl Subject + ?Sized)) -> Result<Self, Error> {
        Self::of(model).verify(path)
    }

    /// Opens a session in which a journal stands in for the model, see [`Mode::Serve`].
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if the journal cannot be opened.
    pub fn serve(path: impl AsRef<Path>, model: &(impl Subject + ?Sized)) -> Result<Self, Error> {
        Self::of(model).serve(path)
    }

    /// Opens a session in which a journal stands in for the mediators, see [`Mode::Drive`].
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if the journal cannot be opened.
    pub fn drive(path: impl AsRef<Path>, model: &(impl Subject + ?Sized)) -> Result<Self, Error> {
        Self::of(model).drive(path)
    }

    /// Opens a session that forks a journal at an exchange into a new one, see [`Mode::Fork`].
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if a journal cannot be opened or created, or the two are one (E070).
    pub fn fork(
        from: impl AsRef<Path>,
        exchange: u64,
        into: impl AsRef<Path>,
        model: &(impl Subject + ?Sized),
    ) -> Result<Self, Error> {
        Self::of(model).fork(from, exchange, into)
    }

    /// Opens a session that keeps nothing.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn plain(model: &(impl Subject + ?Sized)) -> Result<Self, Error> {
        Self::of(model).plain()
    }

    /// Opens a session; `head` says what it depends on, and `device` where mediators make tensors
    /// of their own.
    pub(crate) fn open(mode: &Mode, head: Head, device: Device) -> Result<Self, Error> {
        let recorded = |path: &PathBuf| Recorded::load(path, device);
        let (mut source, mut proof): (Box<dyn Source>, _) = (Box::new(Live), Proof::Reexecution);
        let sink = match mode {
            Mode::Plain => None,
            Mode::Record(path) => Some(JournalSink::record(path, &head)?),
            Mode::Append(path) => Some(JournalSink::append(path, &head)?),
            Mode::Verify(path) => Some(JournalSink::verify(path, &head)?),
            Mode::VerifyFrom { path, run } => Some(JournalSink::verify_from(path, *run, &head)?),
            Mode::Serve(path) => {
                source = Box::new(Served(recorded(path)?));
                proof = Proof::Mediators;
                Some(JournalSink::verify(path, &head)?)
            }
            Mode::Drive(path) => {
                source = Box::new(Driven::new(recorded(path)?));
                proof = Proof::Model;
                Some(JournalSink::verify(path, &head)?)
            }
            Mode::Fork {
                from,
                exchange,
                into,
            } => {
                source = Box::new(Forked::new(recorded(from)?, *exchange)?);
                Some(JournalSink::fork(into, from, &head)?)
            }
        };
        Ok(Self::new(sink, head, source, proof))
    }

    /// Opens a session that digests what happens, and neither keeps nor compares it.
    pub(crate) fn unwritten(head: Head) -> Result<Self, Error> {
        let sink = JournalSink::unwritten(&head)?;
        Ok(Self::new(
            Some(sink),
            head,
            Box::new(Live),
            Proof::Reexecution,
        ))
    }

    fn new(sink: Option<JournalSink>, head: Head, source: Box<dyn Source>, proof: Proof) -> Self {
        Self {
            sink: sink.map(|sink| Rc::new(RefCell::new(sink))),
            head,
            source,
            proof,
            readback: Readback::default(),
            keeps_passages: false,
            keeps: Arc::default(),
            effort: ReuseStats::default(),
        }
    }

    /// Begins a step of a training run: its runs have a digest of their own, and the journal keeps
    /// their tensors as these patterns say, or else as its policy does.
    pub(crate) fn begin_step(&mut self, keeps: Vec<String>) {
        self.keeps = keeps.into();
        if let Some(sink) = &self.sink {
            sink.borrow_mut().begin_step();
        }
    }

    /// Returns the digest of the runs of the step that was begun last, and how many they are.
    pub(crate) fn step_digest(&self) -> Option<(Digest, u32)> {
        let sink = self.sink.as_ref()?;
        sink.borrow().step_digest()
    }

    /// Returns where the session has diverged from what it is compared with.
    pub(crate) fn divergence(&self) -> Option<Divergence> {
        let sink = self.sink.as_ref()?;
        sink.borrow().divergence().cloned()
    }

    /// Lets tensors of up to this many bytes wait until they are read together; 0 reads each when
    /// it is exchanged.
    ///
    /// Without this, up to 256 MiB of a GPU's tensors wait, because to read one is to wait for all
    /// that the GPU has to do, and tensors in memory do not wait at all. What is recorded is
    /// the same, byte for byte. Exchanges that wait are lost if the process is killed; at the
    /// end of a run none waits.
    pub fn set_readback_budget(&mut self, bytes: u64) {
        self.readback = Readback::UpTo(bytes);
    }

    /// Keeps with the runs from now on also what every hooked module returned, or no longer, if the
    /// journal keeps all tensors ([`Policy::Full`](crate::journal::Policy::Full)).
    ///
    /// A [fork](Mode::Fork) of such a run computes no module that was over before its exchange. The
    /// models of these runs must be functions of their input: a module that keeps something
    /// between its calls (keys and values of the tokens before, a random state) must not be
    /// left out. Each run keeps up to [`PrefixCache::BYTES`] of tensors, in memory until it ends.
    pub const fn keep_passages(&mut self, keeps: bool) {
        self.keeps_passages = keeps;
    }

    /// Makes a run, as [`Run::execute`] does, and records or compares all that happens.
    ///
    /// A run that fails is recorded too. Where a journal [serves](Mode::Serve) the values, `model`
    /// is not called, and there is no output; where it [drives](Mode::Drive) the model, the
    /// mediators of `run` are not asked.
    ///
    /// # Errors
    ///
    /// [`Error::Forward`] if the run fails; [`Error::Journal`] if the journal cannot be written or
    /// read; [`Error::NotKept`] or [`Error::Unwatched`] if it has not kept what is to be replayed;
    /// [`Error::RecordedFailure`] if the model of a run that is served failed when it was
    /// recorded; [`Error::ForkParted`] if a run that is forked is not, before that, the recorded
    /// one.
    pub fn run<Y>(&mut self, run: Run, model: impl FnOnce() -> Y) -> Result<Ran<Y>, Error> {
        let Some(sink) = self.sink.clone() else {
            return Ok(run.execute(model)?);
        };
        let keeps = self.keeps_passages && self.head.policy == Policy::Full;
        let Staged {
            mut run,
            model: side,
            mut shared,
            prefix,
            fork,
        } = self.source.stage(run, &self.head)?;
        if keeps && shared.is_none() && matches!(side, Model::Live) {
            let kept = PrefixCache::new();
            run.share(&kept, 0);
            shared = Some(kept);
        }
        if let Some(prefix) = prefix {
            sink.borrow_mut().leave(prefix);
        }
        let was_equal = sink.borrow().divergence().is_none();
        let start = RunStart {
            keeps: self.keeps.to_vec(),
            ..start_of(&run)?
        };
        let number = sink.borrow_mut().start_run(start.clone())?;
        let sites = run.sites().clone();
        let recorder = convert::Recorder::new(
            sink.clone(),
            sites.clone(),
            RunStart {
                run: number,
                ..start
            },
            self.head.policy,
            self.readback,
        );
        let collected = Collected::default();
        run.observer(recorder.clone());
        run.observer(collected.clone());
        run.trace();
        let made = match side {
            Model::Live => Made::of(run.execute(model)),
            Model::Recorded(past) => {
                let past = past.as_deref();
                play(run, past, self.source.recorded())?
            }
        };
        recorder.flush()?;
        if let Some(shared) = shared {
            self.effort += shared.effort();
            if keeps {
                recorder.passage(&shared.passage())?;
            }
        }
        let mut sink = sink.borrow_mut();
        let cached = collected.lines(&mut sink, &sites)?;
        sink.end_run(made.outcome, cached)?;
        let divergence = sink.divergence();
        let severed = divergence.filter(|_| was_equal);
        if let Some(error) = severed.and_then(|divergence| self.source.severed(divergence)) {
            return Err(error.into());
        }
        match (fork, divergence, &made.result) {
            // A model that fails by itself keeps its mediators from saying what they said.
            (_, _, Err(Error::Forward(error))) if is_of_model(error) => made.result,
            (Some(exchange), Some(divergence), _) => Err(Error::ForkParted {
                exchange,
                divergence: Box::new(divergence.clone()),
            }),
            _ => made.result,
        }
    }

    /// Adds a remark to the journal.
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if it cannot be written.
    pub fn note(&mut self, key: &str, value: &str) -> Result<(), Error> {
        match &self.sink {
            Some(sink) => Ok(sink.borrow_mut().note(key, value)?),
            None => Ok(()),
        }
    }

    /// Closes the journal, or ends the comparison.
    ///
    /// # Errors
    ///
    /// [`Error::Diverged`] if the runs were not those of the journal that they were compared with,
    /// with the report in it; [`Error::Journal`] if the journal cannot be written or read to
    /// its end.
    pub fn finish(self) -> Result<Conclusion, Error> {
        let conclusion = self.conclude()?;
        if conclusion.is_identical() {
            Ok(conclusion)
        } else {
            Err(Error::Diverged(Box::new(conclusion)))
        }
    }

    /// Closes the journal, or ends the comparison and returns what it came to, also a divergence.
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if the journal cannot be written or read to its end.
    pub fn conclude(self) -> Result<Conclusion, Error> {
        let Some(sink) = self.sink else {
            return Ok(Conclusion::Plain);
        };
        let sink = Rc::into_inner(sink).map(RefCell::into_inner);
        // Each run has given back its recorder when it ended.
        let sink = sink.expect("no run is under way");
        let mut conclusion = sink.finish(&self.head, self.effort)?;
        if let Conclusion::Verified {
            proof, environment, ..
        } = &mut conclusion
        {
            *proof = self.proof;
            if self.proof == Proof::Mediators {
                // Nothing of the machine is in what a journal serves.
                *environment = None;
            }
        }
        Ok(conclusion)
    }
}

/// Returns whether environments differ in what values are made from, so that equal exchanges would
/// be an accident.
fn changes_values(report: &EnvironmentReport) -> bool {
    report
        .differences
        .iter()
        .any(|difference| difference.makes_values())
}

fn start_of(run: &Run) -> Result<RunStart, Error> {
    use interloom_engine::Group;

    let setup = run.setup();
    let groups = setup.groups().map_err(ForwardError::from)?;
    let lines = setup
        .invokes()
        .iter()
        .zip(groups)
        .map(|(invoke, group)| MediatorLine {
            name: invoke.name().to_owned(),
            rows: match group {
                Group::Rows(rows) => Some((rows.start, rows.count)),
                Group::Whole => None,
            },
            optional: invoke.is_optional(),
        });
    Ok(RunStart {
        run: 0,
        name: run.name().to_owned(),
        mediators: lines.collect(),
        scheduler: setup.schedule(),
        declared: declared_by(setup),
        keeps: Vec::new(),
    })
}

fn declared_by(setup: &Setup<Value>) -> Declared {
    let mut barriers: Vec<_> = setup
        .barriers()
        .map(|(name, participants)| BarrierLine {
            name: name.to_owned(),
            participants,
        })
        .collect();
    barriers.sort_by(|a, b| a.name.cmp(&b.name));
    Declared {
        barriers,
        steps: setup.declared_steps(),
        gradients: gradients_of(setup),
    }
}

/// Returns the names of the gradients that a run declares; a run that cannot start has none.
fn gradients_of(setup: &Setup<Value>) -> Vec<String> {
    let points = setup.declared_gradients().unwrap_or_default();
    let names = points
        .into_iter()
        .map(|point| setup.map().point_name(point));
    names.collect()
}
