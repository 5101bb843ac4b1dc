//! The first difference between a recording and another run, with all that helps to find its cause.
//!
//! A [`Comparer`] takes what happens in a live run (or stands in a second journal) and compares it
//! with what was recorded: everything in an exchange but its
//! [`origin`](crate::ExchangeRecord::origin), so that a mediator's source may move (mediator, sites
//! by their text, event, result, what was asked for and answered, fault and value); what the model
//! passed and brought; which caches were refused; which requests were open at the end; how a run
//! was declared and how it ended. The schedulers' names may differ: the order that they make may
//! not. Faults and outcomes are compared by code and particulars, and no sentence is.
//!
//! The first difference is a [`Divergence`], which keeps the exchanges before it and both sides.
//! Its class says what kind of cause to look for:
//!
//! | class | what differs |
//! |---|---|
//! | schedule | another mediator or another site came next |
//! | protocol | the same mediator did something else, or got another answer |
//! | value | the same exchange carried another value, the model brought one, or a cache collected one |
//! | environment | a value differs, and so do the model, inputs, seeds or arguments that it comes from |

mod compare;
mod ends;
mod environment;
mod fields;
mod journals;
mod json;
mod page;
mod report;
mod sides;
mod tensor;
#[cfg(test)]
mod tests;
mod trees;
mod visits;

use interloom_engine::{AtFault, Code, Fault, Padding, Round};

use crate::{BackwardTurn, DType, Digest, Event, ExchangeResult, OriginRecord, ValueTree};

pub use compare::{CONTEXT_DEFAULT, Comparer, ReplayComparison};
pub(crate) use environment::between_heads;
pub use environment::{EnvironmentDifference, EnvironmentReport};
pub use journals::{Aligned, AlignedPair, JournalDiff, compare_journals, first_difference};
pub use page::diff_page;
pub use tensor::{TensorDifference, TensorMismatch};

/// The first difference between a recorded and a live run.
///
/// `Display` gives the report for people, [`to_json`](Divergence::to_json) the same facts for
/// programs.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// What kind of difference it is.
    pub class: DivergenceClass,
    /// The index of the exchange at which the runs diverge.
    pub index: u64,
    /// The name of the run.
    pub run: String,
    /// The mediator of the recorded exchange, or of the live one where nothing was recorded.
    pub mediator: Option<String>,
    /// The site of that exchange, such as `layers.3.attn.output.i0`.
    pub site: Option<String>,
    /// The backward pass of the run, from 0, in which the recording is here; `None` in the forward
    /// pass.
    pub backward_pass: Option<u32>,
    /// What the recording has here.
    pub recorded: DivergenceSide,
    /// What this run has here.
    pub live: DivergenceSide,
    /// The fields that differ, most telling first.
    pub differences: Vec<FieldDifference>,
    /// The last exchanges before, which are equal on both sides.
    pub context: Vec<ExchangeLine>,
    /// The next exchanges of the recording.
    pub following: Vec<ExchangeLine>,
    /// How the two continue, where that could be seen.
    pub alignment: Option<Alignment>,
    /// Where a differing value came from.
    pub source: Option<ValueSource>,
    /// The first tensors that differ.
    pub tensors: Option<TensorPair>,
    /// How the elements of those differ, if both sides' bytes were at hand.
    pub tensor: Option<TensorDifference>,
    /// How the environments differ.
    pub environment: Vec<EnvironmentDifference>,
    /// What the run was made with on both sides, the recorded one first; nothing of a side whose
    /// head is not known.
    pub made: [Option<RunIdentity>; 2],
    /// What the two sides are called, where they are two journals and not a recording and a run.
    pub journals: Option<[String; 2]>,
}

impl Divergence {
    /// The stable code.
    pub const CODE: &'static str = "E080";

    /// Compares the elements of [`tensors`](Self::tensors), whose bytes the caller has found: the
    /// recorded ones in the journal, the live ones in the run.
    ///
    /// # Errors
    /// There is no such pair, or the bytes do not fit its shape.
    pub fn compare_tensors(&mut self, recorded: &[u8], live: &[u8]) -> Result<(), TensorMismatch> {
        let pair = self.tensors.as_ref().ok_or(TensorMismatch::NoPair)?;
        let difference = TensorDifference::between(pair.dtype, &pair.shape, recorded, live)?;
        self.tensor = Some(difference);
        Ok(())
    }
}

/// The identity of a run: what it was made with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunIdentity {
    /// The digest of all that it depended on: of its journal's head.
    pub id: Digest,
    /// The device.
    pub device: String,
    /// The order of the mediators.
    pub schedule: String,
}

/// The class of a divergence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DivergenceClass {
    /// Another mediator or another site came next.
    Schedule,
    /// The same mediator did something else, or got another answer.
    Protocol,
    /// The same exchange carried another value, the model brought one, a cache collected one, or
    /// the rows of the batch are padded otherwise.
    Value,
    /// A value differs, and the heads differ in what values are made from.
    Environment,
}

impl DivergenceClass {
    /// Returns the name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Protocol => "protocol",
            Self::Value => "value",
            Self::Environment => "environment",
        }
    }
}

/// One side of a divergence: what that run has there.
#[derive(Clone, Debug, PartialEq)]
pub enum DivergenceSide {
    /// An exchange.
    Exchange(Box<ExchangeLine>),
    /// A run starts.
    RunStart {
        /// Its name.
        name: String,
        /// The names of its mediators.
        mediators: Vec<String>,
    },
    /// A request that is open when the run is over.
    Open(Box<ExchangeLine>),
    /// A mediator declares a cache.
    CacheDeclaration {
        /// The mediator's name.
        mediator: String,
        /// Which of its caches, from 0.
        number: u32,
        /// Why it is refused, if it is.
        fault: Option<Fault>,
    },
    /// The rows of the batch differ in length.
    Padding(Padding),
    /// The model passes sites.
    Visit {
        /// The site that it comes to, such as `layers.3.attn.output.i0`; `None` where a backward
        /// pass begins or ends.
        site: Option<String>,
        /// The backward pass in which it does so, from 0; `None` in the forward pass.
        backward_pass: Option<u32>,
        /// Whether that begins or ends.
        turn: Option<BackwardTurn>,
        /// How many points it has passed since the last such visit, this one included.
        passed: u64,
        /// What it brings, or the loss with which a backward pass begins; nothing where nothing is
        /// served.
        value: Option<ValueTree>,
    },
    /// The run ends.
    RunEnd {
        /// How, in words.
        outcome: String,
        /// The code of the error that failed it.
        code: Option<String>,
    },
    /// Nothing: it is over.
    Nothing,
}

impl DivergenceSide {
    /// The mediator and the site, of a side that has one of them.
    fn place(&self) -> Option<(Option<String>, Option<String>)> {
        match self {
            Self::Exchange(line) | Self::Open(line) => {
                let site = line.asked.clone().or(line.at.clone());
                Some((Some(line.mediator.clone()), site))
            }
            Self::CacheDeclaration { mediator, .. } => Some((Some(mediator.clone()), None)),
            Self::Visit { site, .. } => Some((None, site.clone())),
            Self::RunStart { .. } | Self::Padding(_) | Self::RunEnd { .. } | Self::Nothing => None,
        }
    }
}

/// An exchange with names in place of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeLine {
    /// Its index.
    pub index: u64,
    /// The mediator's name.
    pub mediator: String,
    /// What the mediator said.
    pub event: Event,
    /// The site that it asked for.
    pub asked: Option<String>,
    /// The site that the model was passing.
    pub at: Option<String>,
    /// Whether it was served.
    pub result: ExchangeResult,
    /// The value.
    pub value: Option<ValueTree>,
    /// Whether a SWAP may change the shape.
    pub reshape: bool,
    /// The loop that the child of a REGISTER is an iteration of.
    pub round: Round,
    /// Why it was refused, or why the mediator failed.
    pub fault: Option<Fault>,
    /// Where the request stands in the source.
    pub origin: Option<OriginRecord>,
}

/// A field that differs, with both sides as text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FieldDifference {
    /// The field, such as `event` or `value[1].hidden shape`.
    pub field: String,
    /// What was recorded.
    pub recorded: String,
    /// What this run has.
    pub live: String,
}

/// The alignment of two runs after the point where they diverge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Alignment {
    /// What this run did was recorded so many exchanges later: it left those out, or makes them
    /// in another order.
    Missing(u64),
    /// What was recorded came so many exchanges later in this run: those were added, or made in
    /// another order.
    Extra(u64),
}

/// The source of a value that differs, given that everything before it is equal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ValueSource {
    /// The model computed it.
    Model,
    /// The code around the model gave it as the loss of a backward pass.
    Loss,
    /// The mediator gave it.
    Mediator {
        /// The exchange in which the mediator was last served a value: the same one on both
        /// sides, or `None` if it was served none.
        last_served: Option<u64>,
    },
}

/// Two tensors of the same type and shape with different content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TensorPair {
    /// Where they stand in the value, such as `[1].hidden`; empty for the value itself.
    pub place: String,
    /// The element type of both.
    pub dtype: DType,
    /// The shape of both.
    pub shape: Vec<u64>,
    /// The digest of the recorded one.
    pub recorded: Digest,
    /// The digest of the live one.
    pub live: Digest,
}

/// The codes of replays that differ.
pub(crate) const CODES: &[Code] = &[
    Code::new("E080", "the replay diverged", AtFault::Mediator),
    Code::new(
        "E081",
        "the environment differs from the recording",
        AtFault::Environment,
    ),
];
