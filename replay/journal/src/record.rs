//! The records of a journal, as plain data: no engine, no tensors, no files.
//!
//! A journal starts with one [`Head`], which says where and how it was recorded. Each run is a
//! [`RunStart`], its [`ExchangeRecord`]s and a [`RunEndRecord`]. Paths are interned: an exchange
//! names a site by the number of its path, and a [`PathLine`] gives the text before the first use.
//! The bytes of tensors are only there if the [`Policy`] keeps them; an exchange always has their
//! digests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The engine's events, by whose codes a journal has them.
pub use interloom_engine::Event;
use interloom_engine::{Code, Fault, NoLeaf, Padding, Round, RunError, Tree};
use serde::{Deserialize, Serialize};

use super::argument::Argument;
use super::cached::CachedLine;
use super::digest::{DType, Digest};
use super::particulars;
use super::pattern;
use super::policy::Policy;
use super::sites::{SiteTable, Tokens};
use super::value::ValueTree;

/// The format's name, as [`Head::format`] has it.
pub const FORMAT_NAME: &str = "interloom-journal";

/// One record of a journal: the content of one frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Record {
    /// The head, in the first frame.
    Head(Box<Head>),
    /// A run starts.
    RunStart(RunStart),
    /// A path gets its number.
    Path(PathLine),
    /// An exchange between a mediator and the interleaver.
    Exchange(ExchangeRecord),
    /// The bytes of a tensor that exchanges name by its digest.
    Tensor(TensorRecord),
    /// A run ends.
    RunEnd(RunEndRecord),
    /// The journal ends.
    Footer(Footer),
    /// A remark for people or other programs; it takes no part in any comparison.
    Note(NoteRecord),
    /// The digest of the open run so far.
    Tick(Tick),
    /// The passage of a run's model.
    Passage(PassageRecord),
    /// A line of source gets its number.
    Source(SourceLine),
    /// The model passed sites.
    Visit(Visit),
    /// A request is open when the run is over; its result is [`ExchangeResult::Open`] and its index
    /// that of the next exchange.
    Open(ExchangeRecord),
    /// A mediator declares a cache.
    CacheDeclaration(CacheDeclaration),
    /// The rows of a run's batch differ in length.
    Padding(PaddingRecord),
}

/// The head of a journal: where, from what and how it was recorded.
///
/// Fields that a later minor version adds are ignored when read.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Head {
    /// Always [`FORMAT_NAME`].
    pub format: String,
    /// The version of Interloom that recorded.
    pub version: String,
    /// How that Interloom was built.
    pub build: Build,
    /// The seeds of everything that was drawn at random.
    pub seeds: Vec<u64>,
    /// The device the model ran on, such as `cpu`, `cpu, autodiff` if it keeps graphs, or `cuda:0,
    /// NVIDIA H200`.
    pub device: String,
    /// The processor features that arithmetic may depend on, sorted: vector instructions, and how
    /// many products its matrix kernel adds at once, such as `gemm-512`.
    pub cpu_features: Vec<String>,
    /// The policy for arithmetic, such as `exact`.
    pub arithmetic: String,
    /// What is kept of tensors.
    pub policy: Policy,
    /// How to run it again.
    pub experiment: Experiment,
    /// The model, if there was one.
    pub model: Option<ModelIdentity>,
    /// The number formats of the weights in the model's files, that of the most values first; none
    /// if they are those that are computed with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub number_formats: Vec<String>,
    /// The modules with parameters of their own that mediators call, by the names that they have
    /// there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<ModelIdentity>,
    /// The name and digest of each input.
    pub inputs: Vec<(String, Digest)>,
    /// The schedule, as text that a scheduler can be made from.
    pub schedule: String,
    /// The model's sites, with which its mediators can be served where the model is not.
    pub sites: Option<SiteTable>,
    /// The tokens that the experiment's texts were turned into.
    pub tokens: Tokens,
}

impl Head {
    /// Makes the head of a recording by this version of Interloom of `experiment`, with all else
    /// empty.
    pub fn new(experiment: Experiment) -> Self {
        Self {
            format: FORMAT_NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: Build::default(),
            seeds: Vec::new(),
            device: String::new(),
            cpu_features: Vec::new(),
            arithmetic: String::new(),
            policy: Policy::default(),
            experiment,
            model: None,
            number_formats: Vec::new(),
            modules: Vec::new(),
            inputs: Vec::new(),
            schedule: String::new(),
            sites: None,
            tokens: Tokens::new(),
        }
    }

    /// Returns the digest of everything in the head: of all that the runs depend on, and what is
    /// kept of them.
    pub fn id(&self) -> Digest {
        let mut payload = Vec::new();
        // What cannot be written has no journal, and needs no digest.
        let _written = super::wire::encode_named(self, &mut payload);
        Digest::of_bytes("head", &payload)
    }
}

/// The build of the recording program.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct Build {
    /// The compiler's version.
    pub rustc: String,
    /// The target triple.
    pub target: String,
    /// The cargo profile.
    pub profile: String,
    /// The cargo features, sorted.
    pub features: Vec<String>,
}

/// A program and its arguments, with which the recording can be run again.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct Experiment {
    /// The name that the experiment is registered under.
    pub name: String,
    /// Its arguments by name.
    pub arguments: BTreeMap<String, Argument>,
}

/// A model, known by the content of its parameters.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct ModelIdentity {
    /// The model's name.
    pub name: String,
    /// The digest over everything that makes the model.
    pub digest: Digest,
    /// The path and digest of each parameter, in the model's order.
    pub parameters: Vec<(String, Digest)>,
}

/// A run starts: one forward pass, or one generation.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct RunStart {
    /// The run's number, without gaps from 0.
    pub run: u32,
    /// A name for people.
    pub name: String,
    /// The mediators, in definition order; exchanges name them by position, also those of their
    /// children.
    pub mediators: Vec<MediatorLine>,
    /// The scheduler's name.
    pub scheduler: String,
    /// What the run declared.
    pub declared: Declared,
    /// Patterns of the points whose tensors the journal keeps in this run, where that is not what
    /// the policy of its head says; see [`keeps_at`](Self::keeps_at).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keeps: Vec<String>,
}

impl RunStart {
    /// Returns how many rows of the batch the mediators have together; 0 if none has rows of its
    /// own.
    pub fn rows(&self) -> u32 {
        let rows = self.mediators.iter().filter_map(|line| line.rows);
        let ends = rows.map(|(first, count)| first.saturating_add(count));
        ends.max().unwrap_or(0)
    }

    /// Returns whether the run itself says that the tensors at a point are kept, or are not;
    /// nothing if the policy of the journal decides.
    ///
    /// The last pattern that matches does. A `*` in it stands for any text, one that ends before a
    /// dot has all that is inside, and one that begins with `!` is of what is not kept.
    pub fn keeps_at(&self, point: Option<&str>) -> Option<bool> {
        pattern::is_kept(&self.keeps, point?)
    }
}

/// The declarations of a run before its model ran, besides its mediators.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct Declared {
    /// The barriers, sorted by name.
    pub barriers: Vec<BarrierLine>,
    /// How many steps the run has, if that was said.
    pub steps: Option<u32>,
    /// The gradients that may be asked for, such as `layers.0.output.grad`, in the order of the
    /// model's sites.
    pub gradients: Vec<String>,
}

/// One barrier of a run.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct BarrierLine {
    /// The barrier's name.
    pub name: String,
    /// How many arrivals open it.
    pub participants: u32,
}

/// One mediator of a run.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct MediatorLine {
    /// The mediator's name.
    pub name: String,
    /// Its batch group, as first row and row count, or `None` for the whole batch.
    pub rows: Option<(u32, u32)>,
    /// Whether the run may succeed when this mediator never fired.
    pub optional: bool,
}

/// A path and its port, with the number that exchanges use for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathLine {
    /// The number, without gaps from 0 in the whole journal.
    pub id: u32,
    /// The path and port, such as `layers.3.attn.output`.
    pub text: String,
}

/// A line of source in which requests stand, with the number that exchanges use for it; it is in no
/// digest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SourceLine {
    /// The number, without gaps from 0 in the whole journal.
    pub id: u32,
    /// The file and the line.
    pub origin: OriginRecord,
}

/// A visit: the model's side of the run up to a site at which something was served or collected, or
/// up to its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Visit {
    /// The run it belongs to.
    pub run: u32,
    /// The paths that were passed since the visit before, in order; the last is the site at hand.
    /// A gradient that is not served stands there with its iteration, as in
    /// `layers.0.output.grad.i2`: in a backward pass the last iteration of a point comes first.
    pub passed: Vec<u32>,
    /// What the model brought to the last of them, or the loss with which a backward pass begins;
    /// `None` where nothing was served or collected.
    pub brought: Option<Brought>,
    /// The turn of a backward pass, if that is what the model came to.
    pub backward: Option<BackwardTurn>,
}

/// What happens to a backward pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BackwardTurn {
    /// It begins.
    Begin,
    /// It ends.
    End,
}

impl BackwardTurn {
    /// Returns the name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begin => "begins",
            Self::End => "ends",
        }
    }
}

impl Visit {
    /// The site at hand; `None` where nothing was served or collected.
    pub fn site(&self) -> Option<SiteRef> {
        if self.backward.is_some() {
            return None;
        }
        let (path, brought) = (*self.passed.last()?, self.brought.as_ref()?);
        Some(SiteRef {
            path,
            iteration: brought.iteration,
        })
    }

    /// What the model brought there; `None` where nothing was served or collected.
    pub fn value(&self) -> Option<&ValueTree> {
        self.brought.as_ref().map(|brought| &brought.value)
    }
}

/// What a model brought to a site.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Brought {
    /// How often the path was passed before in this run, calls of skipped modules counted; of a
    /// gradient, the iteration of its value; of a loss, the number of its backward pass.
    pub iteration: u32,
    /// The value, before all changes.
    pub value: ValueTree,
}

/// The padding of a run's batch, whose rows differ in length.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PaddingRecord {
    /// The run it belongs to.
    pub run: u32,
    /// The side of the padding, and the own positions of each row.
    pub padding: Padding,
}

/// A cache that a mediator declares.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CacheDeclaration {
    /// The run it belongs to.
    pub run: u32,
    /// The mediator, as a position in [`RunStart::mediators`].
    pub mediator: u32,
    /// Which of its caches, from 0; those of its children count.
    pub number: u32,
    /// The paths of the modules that it collects; `None` is every module.
    pub modules: Option<Vec<String>>,
    /// Whether it collects what modules receive.
    pub inputs: bool,
    /// Whether it collects what modules return.
    pub outputs: bool,
    /// Whether it collects the gradients of what it collects.
    pub gradients: bool,
    /// Why it was refused, if it was.
    pub fault: Option<Fault>,
}

/// One message of a mediator and what became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExchangeRecord {
    /// The run it belongs to.
    pub run: u32,
    /// Its number, without gaps from 0 in the whole journal.
    pub index: u64,
    /// The mediator, as a position in [`RunStart::mediators`].
    pub mediator: u32,
    /// What the mediator said.
    pub event: Event,
    /// The site that it asked for.
    pub asked: Option<SiteRef>,
    /// The site that the model was passing.
    pub at: Option<SiteRef>,
    /// Whether it was served.
    pub result: ExchangeResult,
    /// The value that the mediator received, or the one that it gave: swapped in, skipped to or
    /// put, also where that was refused.
    pub value: Option<ValueTree>,
    /// Whether a SWAP may change the shape.
    pub reshape: bool,
    /// The loop that the child of a REGISTER is an iteration of.
    pub round: Round,
    /// Why it was refused, or why the mediator failed.
    pub fault: Option<Fault>,
    /// Where the request stands in the source. Never compared, and in no digest.
    pub origin: Option<OriginRecord>,
}

impl ExchangeRecord {
    /// Returns the path at which its value is: where the model was, or what was asked for.
    pub fn point(&self) -> Option<u32> {
        self.at.or(self.asked).map(|site| site.path)
    }
}

/// The result of a request.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ExchangeResult {
    /// It was granted.
    Served,
    /// It was not; [`ExchangeRecord::fault`] says why.
    Refused,
    /// The run was over before it was served; only [`Record::Open`] has this.
    Open,
}

impl ExchangeResult {
    /// Every result, ordered by code.
    pub const ALL: [Self; 3] = [Self::Served, Self::Refused, Self::Open];

    /// Returns the code that stands for this result in a journal.
    pub const fn code(self) -> u8 {
        match self {
            Self::Served => 0,
            Self::Refused => 1,
            Self::Open => 2,
        }
    }

    /// Returns the result with this code, if there is one.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Served),
            1 => Some(Self::Refused),
            2 => Some(Self::Open),
            _ => None,
        }
    }

    /// Returns the name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Refused => "refused",
            Self::Open => "open",
        }
    }
}

/// A site: an interned path and port, at one iteration.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SiteRef {
    /// The number of the [`PathLine`].
    pub path: u32,
    /// How often the path was passed before in this run.
    pub iteration: u32,
}

/// A place in a mediator's source.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct OriginRecord {
    /// The source file. Exchanges share the text with their line of source, however many there
    /// are.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: u32,
}

/// The bytes of a tensor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TensorRecord {
    /// The digest of the rest: [`Digest::of_tensor`].
    pub digest: Digest,
    /// The element type.
    pub dtype: DType,
    /// The shape.
    pub shape: Vec<u64>,
    /// The elements, little-endian, in row-major order.
    pub bytes: Vec<u8>,
}

/// A run ends.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct RunEndRecord {
    /// The run's number.
    pub run: u32,
    /// How many exchanges the run had.
    pub exchanges: u64,
    /// How it ended.
    pub outcome: OutcomeRecord,
    /// The digest of all that happened up to here: BLAKE3 over the previous run's digest
    /// ([`Digest::ZERO`] for the first), what the run's start declares, the evidence of all
    /// paths, visits, exchanges, cache declarations and open requests, and the outcome.
    pub digest: Digest,
    /// The digest of the lines of source, which stand beside the evidence: BLAKE3 over
    /// [`Digest::ZERO`], the payloads of the run's source frames, and which of them each
    /// exchange and open request names.
    pub sources: Digest,
    /// The digest of the run's passages, if it has any: BLAKE3 over [`Digest::ZERO`] and their
    /// payloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passages: Option<Digest>,
    /// What the run's caches collected, sorted; `None` for runs in which a journal stood in for
    /// the mediators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<Vec<CachedLine>>,
}

/// The outcome of a run.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeRecord {
    /// The model finished.
    #[default]
    Completed,
    /// A mediator stopped it.
    Stopped {
        /// The mediator's name.
        by: String,
        /// The site at which it did; `None` before the model started.
        at: Option<String>,
    },
    /// It failed.
    Failed(FailureLine),
}

impl OutcomeRecord {
    /// Returns the code of the error that failed the run, if one did.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Completed | Self::Stopped { .. } => None,
            Self::Failed(failure) => Some(&failure.code),
        }
    }
}

/// Writes the outcome for people: `completed`, or how the run failed.
impl fmt::Display for OutcomeRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => interloom_engine::RunEnd::Completed.fmt(f),
            Self::Stopped { by, at } => {
                let (by, at) = (by.clone(), at.clone());
                interloom_engine::RunEnd::Stopped { by, at }.fmt(f)
            }
            Self::Failed(failure) => write!(f, "{failure}"),
        }
    }
}

/// Why a run failed: a code, and the particulars by name.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct FailureLine {
    /// The stable code, such as `E020`.
    pub code: String,
    /// The particulars, as the error serialises.
    pub why: Tree<NoLeaf>,
}

impl FailureLine {
    /// Makes the line of an error that serialises as its code and particulars.
    pub fn new(code: &str, error: &impl Serialize) -> Self {
        Self {
            code: code.to_owned(),
            why: particulars::tree_of(error),
        }
    }

    /// Returns the error that the interleaver failed the run with, if it was one of these.
    pub fn run_error(&self) -> Option<RunError> {
        particulars::from_tree(&self.why)
    }
}

/// Writes the sentence of an error of the interleaver; the title and the particulars of any other.
impl fmt::Display for FailureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = self.run_error() {
            return write!(f, "{error}");
        }
        let mut known = interloom_engine::codes();
        match known.find(|known: &&Code| known.code == self.code) {
            Some(known) => write!(f, "{}: {}", known.title, self.why),
            None => write!(f, "{}: {}", self.code, self.why),
        }
    }
}

/// The end of a journal that was finished; never needed to read it.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Footer {
    /// How many frames stand before this one.
    pub frames: u64,
    /// How many exchanges the journal has.
    pub exchanges: u64,
    /// The digest of the last run, or [`Digest::ZERO`] without a run.
    pub digest: Digest,
}

/// A remark.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct NoteRecord {
    /// What it is about.
    pub key: String,
    /// The remark.
    pub value: String,
}

/// The digest of the open run so far, so that damage and divergence are found before the run's end.
///
/// Two journals that agree in a tick have had the same paths and exchanges up to there.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Tick {
    /// How many exchanges the journal has so far.
    pub exchanges: u64,
    /// That of all that [`RunEndRecord::digest`] covers up to here.
    pub digest: Digest,
}

/// The passage of a run's model, so that a fork of the run need not compute it again.
///
/// It names its points itself, and is in no digest: a journal with passages has the digest that it
/// has without.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PassageRecord {
    /// The run's number.
    pub run: u32,
    /// The texts of the points that were passed.
    pub points: Vec<String>,
    /// The visits, in order.
    pub passings: Vec<PassingRecord>,
    /// The calls of hooked modules that were over when the run ended, in the order in which they
    /// begin.
    pub calls: Vec<PassedCallRecord>,
}

/// One visit of a site.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PassingRecord {
    /// Which of [`PassageRecord::points`].
    pub point: u32,
    /// How many exchanges the run had when the site was left.
    pub exchanges: u64,
    /// The value before all changes, if a mediator was given it.
    pub given: Option<ValueTree>,
}

/// One call of a hooked module.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PassedCallRecord {
    /// The place of the visit with which it begins.
    pub begin: u32,
    /// The place after that of the visit with which it ends.
    pub end: u32,
    /// What the model continued with.
    pub output: ValueTree,
}

impl From<SiteRef> for (u32, u32) {
    fn from(site: SiteRef) -> Self {
        (site.path, site.iteration)
    }
}

impl From<(u32, u32)> for SiteRef {
    fn from((path, iteration): (u32, u32)) -> Self {
        Self { path, iteration }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_events_and_results_go_both_ways() {
        for (code, event) in Event::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(event.code()), code);
            assert_eq!(Event::from_code(event.code()), Some(event));
        }
        assert_eq!(Event::from_code(11), None);
        for result in ExchangeResult::ALL {
            assert_eq!(ExchangeResult::from_code(result.code()), Some(result));
        }
        assert_eq!(ExchangeResult::from_code(3), None);
    }
}
