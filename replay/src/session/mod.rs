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

mod convert;
mod tape;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use interloom_backends::{ForwardError, Ran, Run};

use crate::divergence::{Divergence, EnvironmentReport};
use crate::error::Error;
use crate::journal::{Digest, Head, JournalError, MediatorLine, Outcome, RunStart};

use convert::Recorder;
pub(crate) use convert::tensor_parts;
use tape::Tape;

/// What a session does with its exchanges.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Mode {
    /// Nothing.
    Plain,
    /// Writes them to a new journal.
    Record(PathBuf),
    /// Compares them with those of a journal.
    Verify(PathBuf),
}

/// Runs that share a journal.
pub struct Session {
    tape: Option<Rc<RefCell<Tape>>>,
    head: Head,
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
    },
    /// A journal was compared with.
    Verified {
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
    /// [`Error::Journal`] if the journal cannot be created or opened.
    pub fn open(mode: Mode, head: Head) -> Result<Self, Error> {
        let tape = match mode {
            Mode::Plain => None,
            Mode::Record(path) => Some(Tape::record(&path, &head)?),
            Mode::Verify(path) => Some(Tape::verify(&path, &head)?),
        };
        let tape = tape.map(|tape| Rc::new(RefCell::new(tape)));
        Ok(Self { tape, head })
    }

    /// Makes a run, as [`Run::execute`] does, and records or compares every exchange.
    ///
    /// A run that fails is recorded too.
    ///
    /// # Errors
    ///
    /// [`Error::Forward`] if the run fails; [`Error::Journal`] if the journal cannot be written or read.
    pub fn run<Y>(&mut self, mut run: Run, model: impl FnOnce() -> Y) -> Result<Ran<Y>, Error> {
        let Some(tape) = &self.tape else {
            return Ok(run.execute(model)?);
        };
        let number = tape.borrow_mut().start_run(start_of(&run)?)?;
        let sites = run.sites().clone();
        run.observer(Recorder::new(tape.clone(), sites, number, self.head.policy));
        let result = run.execute(model);
        tape.borrow_mut().end_run(outcome_of(&result))?;
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
        Ok(tape.finish(&self.head)?)
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
    })
}

fn outcome_of<Y>(result: &Result<Ran<Y>, ForwardError>) -> Outcome {
    use interloom_engine::RunEnd;

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
            text: match error {
                // The exchanges have the lines, and these do not count when runs are compared.
                ForwardError::Run { error, .. } => error.without_origins().to_string(),
                other => other.to_string(),
            },
            code: Some(error.code().to_owned()),
        },
    }
}

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        Self::Journal(Box::new(error))
    }
}
