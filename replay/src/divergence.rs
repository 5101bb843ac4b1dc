//! The first difference between a recording and another run, with all that helps to find its cause.
//!
//! A [`Comparer`] is told each exchange of a live run (or of a second journal) as it happens and
//! compares it with the recorded one. What is compared is everything in an exchange but its
//! [`origin`](crate::journal::Exchange::origin), so that a mediator's source may move: mediator,
//! sites by their text, event, result, fault and value; at the ends of a run also its name, its
//! mediators, its barriers and steps (where both sides have them) and its outcome. The schedulers' names may differ: the order that they make may not.
//!
//! The first difference is a [`Divergence`], which keeps the exchanges before it and both sides.
//! Its class says what kind of cause to look for:
//!
//! | class | what differs |
//! |---|---|
//! | schedule | another mediator or another site came next |
//! | protocol | the same mediator did something else, or got another answer |
//! | value | the same exchange carried another value, or a cache collected one |
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

use crate::journal::{DType, Digest, Event, ExchangeResult, FaultLine, Origin, ValueTree};

pub use compare::{CONTEXT_DEFAULT, Comparer, Comparison};
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
    pub class: Class,
    /// The index of the exchange at which the runs part.
    pub index: u64,
    /// The name of the run.
    pub run: String,
    /// The mediator of the recorded exchange, or of the live one where nothing was recorded.
    pub mediator: Option<String>,
    /// The site of that exchange, such as `layers.3.attn.output.i0`.
    pub site: Option<String>,
    /// What the recording has here.
    pub recorded: Side,
    /// What this run has here.
    pub live: Side,
    /// The fields that differ, most telling first.
    pub differences: Vec<FieldDifference>,
    /// The last exchanges before, which are equal on both sides.
    pub context: Vec<Line>,
    /// The next exchanges of the recording.
    pub following: Vec<Line>,
    /// How the two go on, where that could be seen.
    pub alignment: Option<Alignment>,
    /// Where a differing value came from.
    pub source: Option<ValueSource>,
    /// The first tensors that differ.
    pub tensors: Option<TensorPair>,
    /// How the elements of those differ, if both sides' bytes were at hand.
    pub tensor: Option<TensorDifference>,
    /// How the environments differ.
    pub environment: Vec<EnvironmentDifference>,
    /// What the run was made with on both sides, the recorded one first; nothing of a side whose head is not known.
    pub made: [Option<Made>; 2],
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

/// What a run was made with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Made {
    /// The digest of all that it depended on: of its journal's head.
    pub id: Digest,
    /// The device.
    pub device: String,
    /// The order of the mediators.
    pub schedule: String,
}

/// What kind of difference a divergence is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Another mediator or another site came next.
    Schedule,
    /// The same mediator did something else, or got another answer.
    Protocol,
    /// The same exchange carried another value, or a cache collected one.
    Value,
    /// A value differs, and the heads differ in what values are made from.
    Environment,
}

impl Class {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Protocol => "protocol",
            Self::Value => "value",
            Self::Environment => "environment",
        }
    }
}

/// What one of the two runs has at the divergence.
#[derive(Clone, Debug, PartialEq)]
pub enum Side {
    /// An exchange.
    Exchange(Box<Line>),
    /// A run starts.
    RunStart {
        /// Its name.
        name: String,
        /// The names of its mediators.
        mediators: Vec<String>,
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

/// An exchange with names in place of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
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
    /// Why it was refused, or how the mediator failed.
    pub fault: Option<FaultLine>,
    /// Where the request stands in the source.
    pub origin: Option<Origin>,
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

/// How two runs go on after the point where they part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Alignment {
    /// What this run did was recorded so many exchanges later: it left those out, or makes them
    /// in another order.
    Missing(u64),
    /// What was recorded came so many exchanges later in this run: those were added, or made in
    /// another order.
    Extra(u64),
}

/// Where a value that differs came from, given that everything before it is equal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ValueSource {
    /// The model computed it.
    Model,
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
