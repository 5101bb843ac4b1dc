//! Experiment files: a model, inputs, programs and what to show of them, written by hand in TOML.
//!
//! docs/EXPERIMENTS.md says how they are written. A [`FileExperiment`] is the text of such a file;
//! everything that can be known before the first run is checked before it, and says at which line
//! of which file it stands. A journal's head has the text in it, so that the experiment can be made
//! again without the file. The experiments that come with the program are such files, too, so that
//! a journal is replayed from one kind of thing.
//!
//! Programs are text inside of TOML: arithmetic over sites is unpleasant as tables, and all else is
//! keys, each of which is checked.
//!
//! ```
//! use interloom::Mode;
//! use interloom_cli::experiment::FileExperiment;
//! use interloom_journal::Policy;
//!
//! let text = r#"
//! model = "induction"
//!
//! [[input]]
//! name = "repeated"
//! tokens = [5, 3, 8, 1, 5, 3, 8]
//!
//! [[run]]
//! name = "ablated"
//! input = "repeated"
//! program = '''
//!     layers.0.attn.z[.., .., 0] *= 0
//!     save h = layers.1
//! '''
//! "#;
//! let experiment = FileExperiment::new("ablated.toml", text);
//! let (report, _) = experiment.run(Mode::Plain, Policy::Digest, &mut ())?;
//! assert_eq!(report.runs[0].invokes[0].kept[0].0, "h");
//! # Ok::<(), interloom_cli::experiment::ExperimentError>(())
//! ```

mod bisect;
mod checks;
mod error;
mod estimate;
mod execute;
mod explore;
mod file;
mod formulas;
mod heads;
mod kept;
mod language;
mod npy;
mod outlook;
mod plan;
mod plot;
mod prompts;
mod readout;
mod replay;
mod report;
mod rows;
mod schedules;
mod shrink;
mod skips;
mod source;
mod subject;
mod sweep;
mod table;
mod tensors;

#[cfg(test)]
mod gradients;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod padding;
#[cfg(test)]
mod sampling;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use interloom::{Conclusion, Mode, Session, SessionBuilder};
use interloom_journal::frame::MAGIC;
use interloom_journal::{Argument, Experiment, Head, Policy, Reason};
use interloom_models::LanguageModel;
use interloom_models::files::Download;

use crate::Progress;

pub use bisect::{Flip, FlipSide, Turns};
pub(crate) use error::CODES;
pub use error::ExperimentError;
pub use estimate::Estimate;
pub use explore::{FileFindings, MateFindings, RunFindings, SiteOrder, explore};
pub use formulas::Programs;
pub(crate) use kept::number_to_json;
pub use kept::{Kept, Summary};
pub use language::to_text;
pub use plot::Plot;
pub(crate) use prompts::doubled_begin;
pub use prompts::{PromptReport, PromptToken};
pub use readout::TokenProbability;
pub use replay::{Changes, replay, replay_changed};
pub use report::{FailureReport, FileReport, Generated, InvokeReport, Lens, RowReport, RunReport};
pub use schedules::Schedules;
pub use shrink::{ExperimentSize, Shrunken};
pub use source::Spot;

use checks::calls_modules;
use execute::Prepared;
use plan::Plan;
use replay::text;
use subject::{NamedSubject, Subject, device_for};

/// Why a served experiment loads its model.
const NO_SITES: &str = "the journal does not have its model's sites, for which the model is loaded; \
                        nothing is computed with it";

/// How long an experiment file may be, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The experiment that a file describes.
#[derive(Clone, Debug, PartialEq)]
pub struct FileExperiment {
    /// The file, as messages and lines call it; tensors are looked for beside it.
    pub file: String,
    /// What is in it.
    pub text: String,
    /// Another model than the file names.
    pub model: Option<String>,
    /// Another device than the file names.
    pub device: Option<String>,
    /// Other values for what the file sets.
    pub set: BTreeMap<String, String>,
    /// In which order the mediators of its runs have their turns.
    pub schedules: Schedules,
    /// Whether a journal that keeps all tensors keeps also what every module put out in a single
    /// pass, so that a fork need not compute what was over before
    /// ([`Session::keep_passages`]).
    pub passages: bool,
    /// The last run that is made, if not all are.
    ///
    /// That it fails is then what it shows: the journal is completed, and a replay that fails in
    /// the same way is identical.
    pub through: Option<String>,
    /// Where the model is now, if it is not there any more; this is not recorded.
    pub moved_to: Option<String>,
    /// What the prompts became, as the journal of a recording has it.
    noted: BTreeMap<String, Argument>,
    /// The head of the journal that serves the runs, if it stands in for the model too; this is
    /// not recorded.
    pub served_by: Option<Box<Head>>,
}

impl FileExperiment {
    /// The experiment's name in journals.
    pub const NAME: &'static str = "file";

    /// Takes the text of a file.
    pub fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
            model: None,
            device: None,
            set: BTreeMap::new(),
            schedules: Schedules::default(),
            passages: false,
            through: None,
            moved_to: None,
            noted: BTreeMap::new(),
            served_by: None,
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`ExperimentError::Unreadable`] if it is not there, or is no text of at most
    /// [`FILE_BYTES_MAX`].
    pub fn open(path: &Path) -> Result<Self, ExperimentError> {
        let file = path.display().to_string();
        match read(path) {
            Ok(text) => Ok(Self::new(&file, &text)),
            Err(reason) => Err(ExperimentError::Unreadable { file, reason }),
        }
    }

    fn from_arguments(experiment: &Experiment) -> Result<Self, ExperimentError> {
        let text = |argument| text(experiment, argument);
        let optional = |argument| match experiment.arguments.contains_key(argument) {
            true => text(argument).map(Some),
            false => Ok(None),
        };
        Ok(Self {
            file: text("file")?,
            text: text("text")?,
            model: optional("model")?,
            device: optional("device")?,
            set: set_of(experiment)?,
            schedules: Schedules::from_arguments(experiment)?,
            passages: false,
            through: optional("through")?,
            moved_to: None,
            noted: PromptReport::of_arguments(experiment),
            served_by: None,
        })
    }

    fn describe(&self) -> Experiment {
        let arguments = [
            ("file", Some(&self.file)),
            ("text", Some(&self.text)),
            ("model", self.model.as_ref()),
            ("device", self.device.as_ref()),
            ("through", self.through.as_ref()),
        ];
        let arguments = arguments
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), Argument::Text(value?.clone()))));
        let mut arguments = BTreeMap::from_iter(arguments);
        if !self.set.is_empty() {
            let set = self.set.iter();
            let set = set.map(|(name, value)| Argument::Text(format!("{name}={value}")));
            arguments.insert("set".to_owned(), Argument::List(set.collect()));
        }
        arguments.extend(self.noted.clone());
        self.schedules.describe_into(&mut arguments);
        Experiment {
            name: Self::NAME.to_owned(),
            arguments,
        }
    }

    /// Reads the text and checks what needs no model.
    ///
    /// # Errors
    ///
    /// An [`ExperimentError`] with the place of what is wrong first.
    pub fn check(&self) -> Result<(), ExperimentError> {
        self.schedules.check(&self.plan()?)
    }

    fn plan(&self) -> Result<Plan, ExperimentError> {
        Plan::read(&self.file, &self.text, &self.set)
    }

    /// Returns how large a journal of the file will be at most; its runs are not made.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run), before the first run.
    pub fn estimate(&self, progress: &mut dyn Progress) -> Result<Estimate, ExperimentError> {
        let opened = self.open_model(Policy::Digest, progress)?;
        let mut estimate = opened.prepared.estimate();
        // As JSON they are no shorter than in the head.
        let head = opened.session.head();
        let names = serde_json::json!([head.sites, head.tokens]);
        estimate.name_bytes += names.to_string().len() as u64;
        Ok(estimate)
    }

    /// Makes the runs of the file.
    ///
    /// # Errors
    ///
    /// An [`ExperimentError`] with its place if something is wrong with the file or one of its
    /// programs; [`ExperimentError::Session`] if the model cannot be used, a run fails, or the
    /// journal cannot be written or read.
    pub fn run(
        &self,
        mode: Mode,
        policy: Policy,
        progress: &mut dyn Progress,
    ) -> Result<(FileReport, Conclusion), ExperimentError> {
        let (report, ended) = self.run_until_failure(mode, policy, progress)?;
        Ok((report, ended?))
    }

    /// Makes the runs of the file, up to one that fails: what those before it show, and what it had
    /// saved itself, is returned with its error.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), before the first run.
    pub fn run_until_failure(
        &self,
        mode: Mode,
        policy: Policy,
        progress: &mut dyn Progress,
    ) -> Result<(FileReport, Result<Conclusion, ExperimentError>), ExperimentError> {
        let opened = self.open_model(policy, progress)?;
        let mut reports = Vec::new();
        let ended = opened.run(self, mode, progress, &mut reports);
        let ended = ended.and_then(|(ran, conclusion)| ran.map(|()| conclusion));
        Ok((opened.report(reports, ended.as_ref().err()), ended))
    }

    /// Makes the runs of the file on a language model that has been loaded already.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), but for the loading.
    pub(crate) fn run_on(
        &self,
        model: &Rc<LanguageModel>,
        mode: Mode,
        policy: Policy,
        progress: &mut dyn Progress,
    ) -> Result<(FileReport, Conclusion), ExperimentError> {
        let subject = Subject::Language(model.clone());
        let opened = self.open_on(subject, Purpose::Run, policy, progress)?;
        let mut reports = Vec::new();
        let (ran, conclusion) = opened.run(self, mode, progress, &mut reports)?;
        ran?;
        Ok((opened.report(reports, None), conclusion))
    }

    /// Makes the runs of the file again; that the last one fails as it did when it was recorded is
    /// no error.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    fn replay(
        &self,
        mode: Mode,
        policy: Policy,
        progress: &mut dyn Progress,
    ) -> Result<Conclusion, ExperimentError> {
        let opened = self.open_model_for(Purpose::Replay, policy, progress)?;
        let (ran, conclusion) = opened.run(self, mode, progress, &mut Vec::new())?;
        match ran {
            Err(error) if self.through.is_none() => Err(error),
            _ => Ok(conclusion),
        }
    }

    /// Loads the model, and checks the whole file against it.
    fn open_model(
        &self,
        policy: Policy,
        progress: &mut dyn Progress,
    ) -> Result<Opened, ExperimentError> {
        self.open_model_for(Purpose::Run, policy, progress)
    }

    fn open_model_for(
        &self,
        purpose: Purpose,
        policy: Policy,
        progress: &mut dyn Progress,
    ) -> Result<Opened, ExperimentError> {
        let plan = self.plan()?;
        self.schedules.check(&plan)?;
        let model = self.model.as_ref().unwrap_or(&plan.model);
        let device_name = self.device.as_ref().unwrap_or(&plan.device);
        // What the command line names instead stands in no line of the file.
        let of_file = |is_of_file: bool, at, error| match is_of_file {
            true => ExperimentError::at(plan.source.spot(at), error),
            false => error,
        };
        if let Some(subject) = self.absent_model(&plan, progress)? {
            return self.open_on(subject, purpose, policy, progress);
        }
        let device = device_for(device_name, &plan.runs)
            .map_err(|error| of_file(self.device.is_none(), plan.device_at, error.into()))?;
        progress.begin("loading the model", 1);
        let place = self.moved_to.as_ref().unwrap_or(model);
        let is_of_file = self.model.is_none() && self.moved_to.is_none();
        let report = &mut |part: Download<'_>| progress.download(part);
        let subject = Subject::load(place, &device, plan.positions, report)
            .map_err(|error| of_file(is_of_file, plan.model_at, error))?;
        progress.step();
        self.open_on(subject, purpose, policy, progress)
    }

    /// Returns the model as the journal that serves it knows it, if that is enough.
    fn absent_model(
        &self,
        plan: &Plan,
        progress: &mut dyn Progress,
    ) -> Result<Option<Subject>, ExperimentError> {
        let Some(head) = &self.served_by else {
            return Ok(None);
        };
        if calls_modules(plan) {
            progress.remark("a program calls modules of the model, which is loaded for that");
            return Ok(None);
        }
        let Some(subject) = Subject::absent(head)? else {
            progress.remark(NO_SITES);
            return Ok(None);
        };
        Ok(Some(subject))
    }

    /// Checks the whole file against its model.
    fn open_on(
        &self,
        subject: Subject,
        purpose: Purpose,
        policy: Policy,
        progress: &mut dyn Progress,
    ) -> Result<Opened, ExperimentError> {
        let plan = self.plan()?;
        let about = plan.about.clone();
        let model = self.model.as_ref().unwrap_or(&plan.model).clone();
        let prepared = Prepared::new(plan, subject.clone(), &self.folder(), purpose, progress)?;
        progress.begin("digesting the model", 1);
        let subject = NamedSubject {
            name: &model,
            subject: &subject,
        };
        let session = Session::of(&subject).policy(policy);
        progress.step();
        let session = session.tokens(prepared.tokens().clone());
        let session = session.interventions(prepared.interventions());
        let session = prepared
            .digests()
            .into_iter()
            .fold(session, |session, (name, digest)| {
                session.input_digest(name, digest)
            });
        let noted = match purpose {
            Purpose::Run => PromptReport::to_arguments(prepared.prompts()),
            Purpose::Replay => BTreeMap::new(),
        };
        Ok(Opened {
            prepared,
            session,
            noted,
            file: self.file.clone(),
            about,
            model,
        })
    }

    /// Returns where tensors are looked for.
    fn folder(&self) -> PathBuf {
        let folder = Path::new(&self.file).parent();
        folder.unwrap_or(Path::new("")).to_owned()
    }
}

/// What the runs of an experiment are made for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Purpose {
    /// For what they show, so that one that must fail is not begun.
    Run,
    /// To compare them with what was recorded, failures too.
    Replay,
}

/// An experiment with its model.
struct Opened {
    prepared: Prepared,
    /// Its sessions, but for the order of its mediators.
    session: SessionBuilder,
    /// What the prompts became, which is recorded with the experiment.
    noted: BTreeMap<String, Argument>,
    file: String,
    about: Option<String>,
    model: String,
}

impl Opened {
    /// Makes the runs in the order that `experiment` says; if one fails, what was recorded is
    /// complete all the same. What they show is added to `reports`.
    fn run(
        &self,
        experiment: &FileExperiment,
        mode: Mode,
        progress: &mut dyn Progress,
        reports: &mut Vec<RunReport>,
    ) -> Result<(Result<(), ExperimentError>, Conclusion), ExperimentError> {
        let mut described = experiment.describe();
        described.arguments.extend(self.noted.clone());
        let session = self.session.clone().experiment(described);
        let session = session.schedule(experiment.schedules.describe());
        let mut session = session.open(mode)?;
        let through = experiment.through.as_deref();
        let ran = self
            .prepared
            .run(experiment, &mut session, progress, reports);
        match ran {
            Err(error) if through.is_none() || !is_failed_run(&error) => Err(error),
            ran => Ok((ran, session.conclude()?)),
        }
    }

    fn report(&self, runs: Vec<RunReport>, failure: Option<&ExperimentError>) -> FileReport {
        FileReport {
            file: self.file.clone(),
            about: self.about.clone(),
            model: self.model.clone(),
            prompts: self.prepared.prompts().to_vec(),
            runs,
            failure: failure.map(|error| FailureReport {
                code: error.code(),
                message: error.to_string(),
            }),
        }
    }
}

/// Returns whether a run was made and failed.
const fn is_failed_run(error: &ExperimentError) -> bool {
    matches!(
        error,
        ExperimentError::Session(interloom::Error::Forward(_))
    )
}

/// Takes what was set out of a journal's head.
fn set_of(experiment: &Experiment) -> Result<BTreeMap<String, String>, ExperimentError> {
    let unlike = |found: &Argument| ExperimentError::Argument {
        experiment: FileExperiment::NAME,
        argument: "set",
        expected: "a list of texts such as `layer=3`",
        found: found.to_string(),
    };
    let pair = |argument: &Argument| match argument {
        Argument::Text(text) => match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(unlike(argument)),
        },
        other => Err(unlike(other)),
    };
    match experiment.arguments.get("set") {
        None => Ok(BTreeMap::new()),
        Some(Argument::List(pairs)) => pairs.iter().map(pair).collect(),
        Some(other) => Err(unlike(other)),
    }
}

/// Reads a text of limited length, or says what is wrong with it.
fn read(path: &Path) -> Result<String, Reason> {
    let cannot = |error: std::io::Error| Reason::from(error).with("check the path");
    if path.is_dir() {
        return Err("it is a folder; name a file in it".into());
    }
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!(
            "it has more than {FILE_BYTES_MAX} bytes; put tensors into a safetensors file"
        )
        .into());
    }
    if bytes.starts_with(&MAGIC) {
        let path = path.display();
        return Err(format!(
            "it is a journal, of runs that `interloom replay {path}` makes again; name an experiment file, which is TOML"
        )
        .into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("it is no text in UTF-8 from byte {at} on; experiment files are TOML").into()
    })
}
