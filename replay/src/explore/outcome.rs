//! Outcomes of runs, in a form that can be compared.

use std::fmt;

use burn::tensor::TensorData;
use interloom_backends::{Erase, ForwardError, Ran, Value};
use interloom_engine::explore::describe_end;
use interloom_engine::{Audit, RunError};

use crate::error::Error;
use crate::journal::Digest;
use crate::session::tensor_parts;

/// The outcome of a run: how it ended, and a digest of all that it showed.
///
/// What mediators saw on the way is no part of it, unless they save it: two orders in which other
/// values were read but nothing else came out are one outcome.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ExploredOutcome {
    /// How the run ended: `completed`, who stopped it, or the code of the error with the mediators
    /// concerned.
    pub end: String,
    /// Whether the run failed.
    pub has_failed: bool,
    /// The digest of the end, of the state of each mediator, and of what was shown.
    pub digest: Digest,
}

/// The contents that are added to the outcome of a run.
#[derive(Debug, Default)]
pub struct Shown {
    bytes: Vec<u8>,
}

impl ExploredOutcome {
    /// Takes the outcome of a run; `show` adds what it showed, given the model's output if there is
    /// one.
    ///
    /// # Errors
    ///
    /// [`Error::Forward`] if the run did not take place at all: two things have one name, a cache
    /// lists what there is not, the scheduler is for another run, or the program cannot unwind.
    pub fn of<Y>(
        result: &Result<Ran<Y>, ForwardError>,
        show: impl FnOnce(Option<&Y>, &mut Shown),
    ) -> Result<Self, Error> {
        let mut shown = Shown::default();
        let (end, output) = match result {
            Ok(ran) => {
                shown.states(&ran.audit);
                (describe_end(Ok(&ran.end)), ran.output.as_ref().ok())
            }
            Err(error) if took_place(error) => {
                if let ForwardError::Run { error, audit } = error {
                    shown.states(audit);
                    shown.failures(error);
                }
                (end_of_failure(error), None)
            }
            Err(error) => return Err(error.clone().into()),
        };
        shown.text("end", &end);
        show(output, &mut shown);
        Ok(Self {
            end,
            has_failed: result.is_err(),
            digest: shown.digest(),
        })
    }
}

impl fmt::Display for ExploredOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, digest {}", self.end, self.digest.short())
    }
}

/// Says how a failed run ended, in words that do not depend on the order of those who failed.
pub fn end_of_failure(error: &ForwardError) -> String {
    match error {
        ForwardError::Run { error, .. } => describe_end(Err(error)),
        other => format!("failed with {}: {}", other.code(), other.without_origins()),
    }
}

/// Returns whether a failure is one of a run that was under way, and so what the run showed.
pub fn took_place(error: &ForwardError) -> bool {
    match error {
        ForwardError::Run { error, .. } => !matches!(
            **error,
            RunError::DuplicateName(_)
                | RunError::BatchTooLarge
                | RunError::DuplicateBarrier(_)
                | RunError::UnknownCached { .. }
                | RunError::Schedule(_)
        ),
        ForwardError::Unusable { .. } | ForwardError::ModelPanicked { .. } => true,
        _ => false,
    }
}

impl Shown {
    /// Adds something by its name: a tensor, a number, a text, or several of them.
    pub fn add(&mut self, name: &str, value: impl Erase) {
        self.value(name, &value.erase());
    }

    /// Adds a value by its name.
    pub fn value(&mut self, name: &str, value: &Value) {
        self.part(name);
        add_value(&mut self.bytes, value);
    }

    /// Adds a text by its name.
    pub fn text(&mut self, name: &str, text: &str) {
        self.part(name);
        add_text(&mut self.bytes, text);
    }

    /// Adds the data of a tensor by its name.
    pub fn data(&mut self, name: &str, data: TensorData) {
        self.part(name);
        add_tensor(&mut self.bytes, data);
    }

    /// Returns the digest of what was added.
    pub fn digest(&self) -> Digest {
        Digest::of_bytes("outcome", &self.bytes)
    }

    fn part(&mut self, name: &str) {
        add_text(&mut self.bytes, name);
    }

    /// Adds why mediators failed, in an order that does not depend on who failed first.
    fn failures(&mut self, error: &RunError) {
        if let RunError::Mediators(failures) = error {
            let texts = failures.iter();
            let texts = texts.map(|failure| (&*failure.mediator, failure.fault.to_string()));
            let mut texts: Vec<(&str, String)> = texts.collect();
            texts.sort();
            texts.iter().for_each(|(name, text)| self.text(name, text));
        }
    }

    fn states(&mut self, audit: &Audit) {
        for account in &audit.mediators {
            self.text(&account.name, &account.state.to_string());
        }
    }
}

/// Returns the digest of a value: of its structure, and of the content of its tensors.
pub(crate) fn digest_of(value: &Value) -> Digest {
    let mut bytes = Vec::new();
    add_value(&mut bytes, value);
    Digest::of_bytes("value", &bytes)
}

/// Adds a value in a form in which no two values are alike: what it is, how long, and its parts.
fn add_value(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Unit => bytes.push(0),
        Value::Bool(value) => bytes.extend([1, u8::from(*value)]),
        Value::Int(value) => {
            bytes.push(2);
            bytes.extend(value.to_le_bytes());
        }
        Value::Float(value) => {
            bytes.push(3);
            bytes.extend(value.to_bits().to_le_bytes());
        }
        Value::Text(text) => {
            bytes.push(4);
            add_text(bytes, text);
        }
        Value::Tensor(tensor) => add_tensor(bytes, tensor.to_data()),
        Value::Tuple(items) => {
            bytes.push(6);
            add_items(bytes, items);
        }
        Value::List(items) => {
            bytes.push(7);
            add_items(bytes, items);
        }
        Value::Map(entries) => {
            bytes.push(8);
            add_length(bytes, entries.len());
            for (key, item) in entries.iter() {
                add_text(bytes, key);
                add_value(bytes, item);
            }
        }
    }
}

fn add_tensor(bytes: &mut Vec<u8>, data: TensorData) {
    let (dtype, shape, data) = tensor_parts(data);
    bytes.push(5);
    bytes.extend(Digest::of_tensor(dtype, &shape, data.as_bytes()).0);
}

fn add_items(bytes: &mut Vec<u8>, items: &[Value]) {
    add_length(bytes, items.len());
    items.iter().for_each(|item| add_value(bytes, item));
}

fn add_text(bytes: &mut Vec<u8>, text: &str) {
    add_length(bytes, text.len());
    bytes.extend(text.as_bytes());
}

fn add_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend((length as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};
    use interloom_engine::RunEnd;

    use super::*;

    fn outcome(show: impl FnOnce(&mut Shown)) -> ExploredOutcome {
        let ran = Ran {
            output: interloom_backends::RunOutput::Completed(()),
            end: RunEnd::Completed,
            audit: Audit::default(),
        };
        ExploredOutcome::of(&Ok(ran), |_, shown| show(shown)).unwrap()
    }

    #[test]
    fn outcomes_are_equal_exactly_when_what_was_shown_is() {
        let ones = |count: usize| Tensor::<1>::ones([count], &Device::flex());
        let all = [
            outcome(|_| {}),
            outcome(|shown| shown.add("h", 1.0)),
            outcome(|shown| shown.add("g", 1.0)),
            outcome(|shown| shown.add("h", -1.0)),
            outcome(|shown| shown.text("h", "1")),
            outcome(|shown| shown.add("h", ones(1))),
            outcome(|shown| shown.add("h", ones(2))),
            outcome(|shown| shown.add("h", (ones(1), ones(1)))),
            outcome(|shown| shown.add("h", vec![ones(1), ones(1)])),
        ];
        for (place, one) in all.iter().enumerate() {
            assert_eq!(one.end, "completed");
            for (other_place, other) in all.iter().enumerate() {
                assert_eq!(one == other, place == other_place);
            }
        }
        assert_eq!(outcome(|shown| shown.add("h", ones(1))), all[5]);
    }

    #[test]
    fn a_run_that_failed_has_an_outcome_and_one_that_could_not_start_has_none() {
        let failed = |error: RunError| -> Result<ExploredOutcome, Error> {
            ExploredOutcome::of::<()>(&Err(error.into()), |output, _| assert!(output.is_none()))
        };
        let never = failed(RunError::NeverFired(Vec::new())).unwrap();
        assert_eq!(never.end, "failed with E022");
        let twin = failed(RunError::DuplicateName("a".to_owned())).unwrap_err();
        assert_eq!(twin.code(), "E023");
        let panicked = ForwardError::ModelPanicked {
            message: "shapes".to_owned(),
            after: None,
            empty_input: None,
            changed: None,
        };
        let panicked = ExploredOutcome::of::<()>(&Err(panicked), |_, _| {}).unwrap();
        assert_eq!(panicked.end, "failed with E036: the model panicked: shapes");
        let lost = ExploredOutcome::of::<()>(&Err(ForwardError::Lost), |_, _| {});
        assert_eq!(lost.unwrap_err().code(), "E038");
    }
}
