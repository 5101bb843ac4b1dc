//! Sessions: runs that share a journal.
//!
//! A [`Session`] is opened in one [`Mode`]: plainly, to record, or to verify a journal by making its runs again. The
//! experiment is the same code in every mode, which is the point:
//!
//! ```
//! use burn::tensor::Device;
//! use interloom::{Mode, Session, environment, journal::{Experiment, Policy}};
//! use interloom_backends::{Run, models::induction::{Induction, Sampler}};
//!
//! /// Reads how much the heads of layer 1 attend where.
//! fn experiment(mode: Mode) -> Result<interloom::Conclusion, interloom::Error> {
//!     let device = Device::flex();
//!     let model = Induction::trained(&device);
//!     let batch = Sampler::new(7).batch(2);
//!     let head = environment::head(Experiment::default(), "cpu", Policy::Digest);
//!     let mut session = Session::open(mode, head)?;
//!
//!     let mut run = Run::new("read", model.sites());
//!     run.mediator("pattern", |cx| async move { cx.output("layers.1.attn.pattern").await });
//!     session.run(run, || model.forward(batch.tokens(&device)))?;
//!     Ok(session.finish()?)
//! }
//!
//! # let folder = std::env::temp_dir().join(format!("interloom-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! let journal = folder.join("read.ilj");
//! experiment(Mode::Record(journal.clone()))?;
//! let replayed = experiment(Mode::Verify(journal))?;
//! assert!(replayed.is_identical());
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cached;
mod convert;
mod drive;
mod fork;
mod late;
mod passages;
mod recorded;
mod refusals;
mod serve;
mod stand_in;
mod tape;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use interloom_backends::{Effort, ForwardError, Ran, Run, Shared, Value, described_device};
use interloom_engine::{RunEnd, Setup};

use crate::divergence::{Divergence, EnvironmentReport};
use crate::error::Error;
use crate::journal::{
    BarrierLine, Declared, Digest, Head, JournalError, MediatorLine, Outcome, Policy, RunStart,
    check_is_another,
};

use cached::Collected;
use convert::Recorder;
pub(crate) use convert::tensor_parts;
use fork::Fork;
use late::Late;
use recorded::Recorded;
use tape::Tape;

/// What a session does with its exchanges.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Mode {
    /// Nothing.
    Plain,
    /// Writes them to a new journal.
    Record(PathBuf),
    /// Compares them with those of a journal; model and mediators are live.
    Verify(PathBuf),
    /// Answers live mediators with the values of a journal, and compares what they ask for; no model runs.
    ///
    /// The journal must have kept its tensors ([`Policy::Full`](crate::journal::Policy::Full)).
    Serve(PathBuf),
    /// Asks a live model for what the mediators of a journal asked for, and compares what it gives; no mediator runs.
    ///
    /// The journal must have kept the tensors that were swapped in.
    Drive(PathBuf),
    /// Goes along a journal up to an exchange and lives on from there, into a new journal.
    ///
    /// The runs before that of the exchange are served and not computed. In its own run the model is asked what was asked, and
    /// has to give what it gave; live mediators, which have been given the recorded answers, take over at the exchange. Modules
    /// that were over by then are not computed either if the journal has what they put out
    /// ([`Session::keep_passages`]); otherwise the model computes from the beginning. All that comes after is new. The journal
    /// must have kept its tensors.
    Fork {
        /// The journal.
        from: PathBuf,
        /// The number of the first exchange that is new.
        exchange: u64,
        /// The new journal; it begins with the exchanges of the old one.
        into: PathBuf,
    },
}

/// What an equal replay proves; the levels are those of the README.
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
    tape: Option<Rc<RefCell<Tape>>>,
    head: Head,
    source: Source,
    late: Late,
    keeps_passages: bool,
    effort: Effort,
}

/// Which side of a session's runs a journal stands in for.
enum Source {
    Live,
    /// The model.
    Serve(Box<Recorded>),
    /// The mediators.
    Drive(Box<Recorded>),
    /// Everything up to an exchange.
    Fork(Box<Fork>),
}

/// What a session came to.
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
        /// How many calls of modules were computed and how many known, in the runs that [kept](Session::keep_passages) what
        /// their modules put out and in the one that left a [forked](Mode::Fork) journal which has that.
        effort: Effort,
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
    /// Opens a session; `head` says what it depends on.
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if the journal cannot be created or opened, or a fork would replace the one that it goes along (E070);
    /// [`Error::Model`] if a journal is to stand in for something
    /// on a device that `head` names and this machine does not have.
    pub fn open(mode: Mode, head: Head) -> Result<Self, Error> {
        if let Mode::Fork { from, into, .. } = &mode {
            check_is_another(from, into, "it is the journal that is forked")?;
        }
        // Where the model is, and where mediators make tensors of their own.
        let device = || described_device(&head.device);
        let recorded = |path: &PathBuf| Recorded::load(path, device()?).map(Box::new);
        let source = match &mode {
            Mode::Serve(path) => Source::Serve(recorded(path)?),
            Mode::Drive(path) => Source::Drive(recorded(path)?),
            Mode::Fork { from, exchange, .. } => {
                let watch = Tape::verify(from, &head)?;
                Source::Fork(Box::new(Fork::new(*recorded(from)?, *exchange, watch)?))
            }
            Mode::Plain | Mode::Record(_) | Mode::Verify(_) => Source::Live,
        };
        let tape = match mode {
            Mode::Plain => None,
            Mode::Record(path) | Mode::Fork { into: path, .. } => Some(Tape::record(&path, &head)?),
            Mode::Verify(path) | Mode::Serve(path) | Mode::Drive(path) => {
                Some(Tape::verify(&path, &head)?)
            }
        };
        let tape = tape.map(|tape| Rc::new(RefCell::new(tape)));
        Ok(Self {
            tape,
            head,
            source,
            late: Late::default(),
            keeps_passages: false,
            effort: Effort::default(),
        })
    }

    /// Lets tensors of up to this many bytes wait until they are read together; 0 reads each when it is exchanged.
    ///
    /// Without this, up to 256 MiB of a GPU's tensors wait, because to read one is to wait for all that the GPU has to do, and
    /// tensors in memory do not wait at all. What is recorded is the same, byte for byte. Exchanges that wait are lost if the
    /// process is killed; at the end of a run none waits.
    pub fn read_late(&mut self, bytes: u64) {
        self.late = Late::UpTo(bytes);
    }

    /// Keeps with the runs from now on also what every hooked module put out, or no longer, if the journal keeps all tensors
    /// ([`Policy::Full`](crate::journal::Policy::Full)).
    ///
    /// A [fork](Mode::Fork) of such a run computes no module that was over before its exchange. The models of these runs
    /// must be functions of their input: a module that keeps something between its calls (keys and values of the tokens
    /// before, a random state) must not be left out. Each run keeps up to [`Shared::BYTES`] of tensors, in memory until it ends.
    pub const fn keep_passages(&mut self, keeps: bool) {
        self.keeps_passages = keeps;
    }

    /// Makes a run, as [`Run::execute`] does, and records or compares every exchange.
    ///
    /// A run that fails is recorded too. Where a journal [serves](Mode::Serve) the values, `model` is not called, and there
    /// is no output and no audit; where it [drives](Mode::Drive) the model, the mediators of `run` are not asked.
    ///
    /// # Errors
    ///
    /// [`Error::Forward`] if the run fails; [`Error::Journal`] if the journal cannot be written or read;
    /// [`Error::NotKept`] if it has not kept what is to be replayed; [`Error::RecordedFailure`] if a run that is served
    /// failed when it was recorded.
    pub fn run<Y>(&mut self, mut run: Run, model: impl FnOnce() -> Y) -> Result<Ran<Y>, Error> {
        let Some(tape) = &self.tape else {
            return Ok(run.execute(model)?);
        };
        // The caches that were refused before a fork went on live.
        let mut refused = Vec::new();
        let keeps = self.keeps_passages && self.head.policy == Policy::Full;
        let mut shared = keeps.then(Shared::new);
        if let Some(shared) = &shared {
            run.share(shared, 0);
        }
        match &mut self.source {
            Source::Live => {}
            Source::Serve(recorded) => {
                let tapes = [tape.clone()];
                return match recorded.next_run() {
                    Some(past) => serve::run(recorded, &past, run, &tapes, self.head.policy),
                    None => serve::extra_run(&run, tape),
                };
            }
            Source::Fork(fork) => match fork.next_run() {
                Some(past) if fork.is_after(&past) => {
                    return fork.serve(&past, run, tape, self.head.policy);
                }
                Some(past) => {
                    let left = fork.leave(past, &mut run, self.head.policy)?;
                    refused = left.refused;
                    shared = left.shared.or(shared);
                }
                None => {}
            },
            Source::Drive(recorded) => {
                if let Some(past) = recorded.next_run() {
                    let cast = drive::cast(recorded, &past, run.sites())?;
                    run.recast(cast);
                }
            }
        }
        let number = tape.borrow_mut().start_run(start_of(&run)?)?;
        let sites = run.sites().clone();
        let recorder = Recorder::new(
            tape.clone(),
            sites.clone(),
            number,
            self.head.policy,
            self.late,
        );
        run.observer(recorder.clone());
        refusals::note(&refused, tape, number);
        let watch = refusals::Watch::new(tape.clone(), recorder.clone(), number, &refused);
        run.observer(watch);
        let collected = Collected::default();
        run.observer(collected.clone());
        let result = run.execute(model);
        recorder.flush()?;
        if let Some(shared) = shared {
            self.effort += shared.effort();
            if keeps {
                recorder.passage(&shared.passage())?;
            }
        }
        let mut tape = tape.borrow_mut();
        // What is driven has no mediators whose caches there could be.
        let cached = match self.source {
            Source::Drive(_) => None,
            Source::Live | Source::Serve(_) | Source::Fork(_) => {
                Some(collected.lines(&mut tape, &sites)?)
            }
        };
        tape.end_run(outcome_of(&result), cached)?;
        Ok(result?)
    }

    /// Adds a remark to the journal.
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if it cannot be written.
    pub fn note(&mut self, key: &str, value: &str) -> Result<(), Error> {
        match &self.tape {
            Some(tape) => Ok(tape.borrow_mut().note(key, value)?),
            None => Ok(()),
        }
    }

    /// Closes the journal, or says what the comparison came to.
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if the journal cannot be written or read to its end.
    pub fn finish(self) -> Result<Conclusion, Error> {
        let Some(tape) = self.tape else {
            return Ok(Conclusion::Plain);
        };
        let tape = Rc::into_inner(tape).map(RefCell::into_inner);
        // Each run has given back its recorder when it ended.
        let tape = tape.expect("no run is under way");
        let mut conclusion = tape.finish(&self.head, self.effort)?;
        if let Conclusion::Verified {
            proof, environment, ..
        } = &mut conclusion
        {
            match self.source {
                Source::Live | Source::Fork(_) => {}
                // Nothing of the machine is in what a journal serves.
                Source::Serve(_) => (*proof, *environment) = (Proof::Mediators, None),
                Source::Drive(_) => *proof = Proof::Model,
            }
        }
        Ok(conclusion)
    }
}

/// Returns whether environments differ in what values are made from, so that equal exchanges would be an accident.
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
        declared: Some(declared_by(setup)),
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
    }
}

fn outcome_of<Y>(result: &Result<Ran<Y>, ForwardError>) -> Outcome {
    match result {
        Ok(ran) => Outcome {
            text: match &ran.end {
                RunEnd::Completed => "completed".to_owned(),
                RunEnd::Stopped { by, at: Some(at) } => format!("stopped by `{by}` at `{at}`"),
                RunEnd::Stopped { by, at: None } => {
                    format!("stopped by `{by}` before the model ran")
                }
            },
            code: None,
        },
        Err(error) => Outcome {
            // The exchanges have the lines, and these do not count when runs are compared.
            text: error.without_origins().to_string(),
            code: Some(error.code().to_owned()),
        },
    }
}

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        Self::Journal(Box::new(error))
    }
}
