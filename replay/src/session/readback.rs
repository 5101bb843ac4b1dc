//! Deferred readback: tensors of a GPU are recorded later than they are exchanged, and read
//! together.
//!
//! To read a tensor of a GPU is to wait for all that the GPU has to do. So exchanges queue until
//! the end of the run, or until they hold 256 MiB. The journal is the same, byte for byte; a
//! process that is killed loses the queue.

use burn::tensor::TensorData;
use interloom_backends::{AnyTensor, Value};
use interloom_engine::{
    Asked, CacheSpec, Exchange, Fault, MediatorId, Message, Origin, Outcome, Padding, Round, Site,
};

use crate::journal::{self, BackwardTurn, ExchangeResult};

/// Which tensors are read later than they are exchanged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Readback {
    /// Those of a device that has to be waited for, up to [`QUEUE_BYTES`].
    #[default]
    OfDevices,
    /// All, up to this many bytes.
    UpTo(u64),
}

/// How many bytes of tensors wait at most, unless a session says otherwise: more than the
/// activations of a small model, and little beside the memory of a GPU.
const QUEUE_BYTES: u64 = 256 << 20;

/// How many records wait at most: those are lost if the process is killed.
const QUEUE_RECORDS: usize = 4096;

impl Readback {
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

/// What happened, as an observer saw it: it holds its tensors, which no later operation changes.
pub(super) enum Pending {
    /// A message and what became of it.
    Exchange(PendingExchange),
    /// A request that was open when the run was over.
    Open(PendingExchange),
    /// What the model passed, and what it brought to the last of it, in which iteration; or the
    /// turn of a backward pass that it came to.
    Visit(Vec<Site>, Option<(u32, Value)>, Option<BackwardTurn>),
    /// How the rows of the batch are padded.
    Padding(Padding),
    /// A cache that a mediator declares.
    Cache {
        mediator: MediatorId,
        number: u32,
        spec: CacheSpec,
        fault: Option<Fault>,
    },
}

/// An exchange that is not written yet.
pub(super) struct PendingExchange {
    pub(super) mediator: u32,
    pub(super) event: interloom_engine::Event,
    pub(super) asked: Option<AskedName>,
    pub(super) at: Option<Site>,
    pub(super) result: ExchangeResult,
    pub(super) value: Option<Value>,
    pub(super) reshape: bool,
    pub(super) round: Round,
    pub(super) fault: Option<Fault>,
    pub(super) origin: Option<journal::OriginRecord>,
}

/// What was asked for.
pub(super) enum AskedName {
    Site(Site),
    Name(Box<str>),
    Iteration(u32),
}

impl Pending {
    pub(super) fn value(&self) -> Option<&Value> {
        match self {
            Self::Exchange(exchange) | Self::Open(exchange) => exchange.value.as_ref(),
            Self::Visit(_, brought, _) => brought.as_ref().map(|(_, value)| value),
            Self::Padding(_) | Self::Cache { .. } => None,
        }
    }
}

impl PendingExchange {
    /// Keeps an exchange.
    pub(super) fn of(exchange: &Exchange<'_, Value>) -> Self {
        let (result, answer) = match exchange.outcome {
            Outcome::Served(answer) => (ExchangeResult::Served, answer),
            Outcome::Refused(_) => (ExchangeResult::Refused, None),
        };
        let value = answer.or(exchange.message.value());
        Self {
            at: exchange.at,
            result,
            value: value.cloned(),
            fault: exchange.fault().cloned(),
            ..Self::open(exchange.mediator, &exchange.message, exchange.origin)
        }
    }

    /// Keeps a request that is open when the run is over.
    pub(super) fn open(
        mediator: MediatorId,
        message: &Message<'_, Value>,
        origin: &Origin,
    ) -> Self {
        let (reshape, round) = match *message {
            Message::Swap { reshape, .. } => (reshape, Round::Alone),
            Message::Register { round, .. } => (false, round),
            _ => (false, Round::Alone),
        };
        Self {
            mediator: mediator.0,
            event: message.event(),
            asked: message.asked().map(AskedName::of),
            at: None,
            result: ExchangeResult::Open,
            value: message.value().cloned(),
            reshape,
            round,
            fault: None,
            origin: line(origin),
        }
    }
}

impl AskedName {
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
    pending: Vec<Pending>,
    bytes: u64,
}

impl Queue {
    pub(super) const fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) const fn is_full(&self, readback: Readback) -> bool {
        self.bytes >= readback.limit() || self.pending.len() >= QUEUE_RECORDS
    }

    pub(super) fn push(&mut self, pending: Pending, bytes: u64) {
        self.pending.push(pending);
        self.bytes += bytes;
    }

    /// Takes all of it, with the elements of its tensors in order.
    pub(super) fn take(&mut self) -> (Vec<Pending>, Vec<TensorData>) {
        let Self { pending, bytes: _ } = std::mem::take(self);
        let mut tensors = Vec::new();
        for value in pending.iter().filter_map(Pending::value) {
            value.each_tensor(&mut |tensor| tensors.push(tensor.clone()));
        }
        let data = AnyTensor::read(&tensors);
        (pending, data)
    }
}

/// Where the elements of tensors come from.
pub(super) enum TensorReads {
    /// Each is read when it is asked for.
    Now,
    /// They have been read, in the order of [`Value::each_tensor`].
    Made(std::vec::IntoIter<TensorData>),
}

impl TensorReads {
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

    /// Passes over a tensor whose elements are known already.
    pub(super) fn skip(&mut self) {
        if let Self::Made(data) = self {
            data.next();
        }
    }
}

fn line(origin: &Origin) -> Option<journal::OriginRecord> {
    origin
        .file_line()
        .map(|(file, line)| journal::OriginRecord {
            file: file.into(),
            line,
        })
}
