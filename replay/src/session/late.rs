//! Exchanges whose tensors are read later, together.

use burn::tensor::TensorData;
use interloom_backends::{AnyTensor, Value};
use interloom_engine::{Asked, Exchange, Fault, Origin, Outcome, Site};

use crate::journal::{self, ExchangeResult, FaultLine};

/// Which tensors are read later than they are exchanged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Late {
    /// Those of a device that has to be waited for, up to [`QUEUE_BYTES`].
    #[default]
    OfDevices,
    /// All, up to this many bytes.
    UpTo(u64),
}

/// How many bytes of tensors wait at most, unless a session says otherwise: more than the activations of a small model, and
/// little beside the memory of a GPU.
const QUEUE_BYTES: u64 = 256 << 20;

/// How many exchanges wait at most: those are lost if the process is killed.
const QUEUE_EXCHANGES: usize = 4096;

impl Late {
    /// Returns how many bytes of a value there are to wait for.
    pub(super) fn bytes(self, value: Option<&Value>) -> u64 {
        let mut bytes = 0;
        if let Some(value) = value {
            value.each_tensor(&mut |tensor| {
                if self.is_late(tensor) {
                    // An empty tensor is waited for, too.
                    bytes += tensor.bytes().max(1);
                }
            });
        }
        bytes
    }

    fn is_late(self, tensor: &AnyTensor) -> bool {
        match self {
            Self::OfDevices => !tensor.is_on_host(),
            Self::UpTo(limit) => limit > 0,
        }
    }

    const fn limit(self) -> u64 {
        match self {
            Self::OfDevices => QUEUE_BYTES,
            Self::UpTo(bytes) => bytes,
        }
    }
}

/// An exchange as it was seen.
///
/// It holds its tensors, and nobody changes a tensor that is held.
pub(super) struct Noted {
    pub(super) mediator: u32,
    pub(super) event: journal::Event,
    pub(super) asked: Option<NotedName>,
    pub(super) at: Option<Site>,
    pub(super) result: ExchangeResult,
    pub(super) value: Option<Value>,
    pub(super) fault: Option<FaultLine>,
    pub(super) origin: Option<journal::Origin>,
}

/// What was asked for.
pub(super) enum NotedName {
    Site(Site),
    Name(Box<str>),
    Iteration(u32),
}

impl Noted {
    pub(super) fn of(exchange: &Exchange<'_, Value>) -> Self {
        let (result, value, fault) = match exchange.outcome {
            Outcome::Served(value) => (ExchangeResult::Served, value.cloned(), None),
            Outcome::Refused(fault) => (ExchangeResult::Refused, None, Some(fault_line(fault))),
            Outcome::Failed(fault) => (ExchangeResult::Served, None, Some(fault_line(fault))),
        };
        Self {
            mediator: exchange.mediator.0,
            event: event(exchange.event),
            asked: exchange.asked.map(NotedName::of),
            at: exchange.at,
            result,
            value,
            fault,
            origin: origin(exchange.origin),
        }
    }
}

impl NotedName {
    fn of(asked: Asked<'_>) -> Self {
        match asked {
            Asked::Site(site) => Self::Site(site),
            Asked::Unknown(name) | Asked::Name(name) => Self::Name(name.into()),
            Asked::Iteration(iteration) => Self::Iteration(iteration),
        }
    }
}

/// What waits to be written, in order.
#[derive(Default)]
pub(super) struct Queue {
    noted: Vec<Noted>,
    bytes: u64,
}

impl Queue {
    pub(super) const fn is_empty(&self) -> bool {
        self.noted.is_empty()
    }

    pub(super) const fn is_full(&self, late: Late) -> bool {
        self.bytes >= late.limit() || self.noted.len() >= QUEUE_EXCHANGES
    }

    pub(super) fn push(&mut self, noted: Noted, bytes: u64) {
        self.noted.push(noted);
        self.bytes += bytes;
    }

    /// Takes all of it, with the elements of its tensors in order.
    pub(super) fn take(&mut self) -> (Vec<Noted>, Vec<TensorData>) {
        let Self { noted, bytes: _ } = std::mem::take(self);
        let mut tensors = Vec::new();
        for value in noted.iter().filter_map(|noted| noted.value.as_ref()) {
            value.each_tensor(&mut |tensor| tensors.push(tensor.clone()));
        }
        let data = AnyTensor::read(&tensors);
        (noted, data)
    }
}

/// Where the elements of tensors come from.
pub(super) enum Reads {
    /// Each is read when it is asked for.
    Now,
    /// They have been read, in the order of [`Value::each_tensor`].
    Made(std::vec::IntoIter<TensorData>),
}

impl Reads {
    pub(super) fn of(&mut self, tensor: &AnyTensor) -> TensorData {
        match self {
            Self::Now => tensor.to_data(),
            Self::Made(data) => {
                let data = data.next().expect("every tensor in the queue was read");
                assert_eq!(data.shape().to_vec(), tensor.shape(), "they come in order");
                data
            }
        }
    }
}

fn event(event: interloom_engine::Event) -> journal::Event {
    journal::Event::from_code(event as u8).expect("the engine's numbers are the journal's")
}

fn fault_line(fault: &Fault) -> FaultLine {
    FaultLine {
        code: fault.code().to_owned(),
        message: fault.to_string(),
    }
}

fn origin(origin: &Origin) -> Option<journal::Origin> {
    origin.file_line().map(|(file, line)| journal::Origin {
        file: file.to_owned(),
        line,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_and_the_journal_number_events_alike() {
        for live in interloom_engine::Event::ALL {
            assert_eq!(event(live).name(), live.name());
        }
    }
}
