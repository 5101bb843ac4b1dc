//! From the engine's exchanges to the journal's.

use std::cell::RefCell;
use std::rc::Rc;

use burn::tensor::{DType as BurnDType, TensorData};
use interloom_backends::{AnyTensor, Passage, Sites, Value};
use interloom_engine::{Exchange, Observer, Point, Port, Site};

use super::late::{Late, Noted, NotedName, Queue, Reads};
use super::passages;
use super::tape::Tape;
use crate::journal::{self, DType, Digest, JournalError, Policy, SiteRef, ValueTree};

/// Puts every exchange of one run on a tape, in order.
///
/// A GPU computes on while the host goes ahead, and to read a tensor of it is to wait for it. So an exchange with such tensors
/// waits in a queue, with all that come after it, until their tensors are read together: when the queue is full, and when the
/// run ends. What comes on the tape is the same, byte for byte.
#[derive(Clone)]
pub(super) struct Recorder(Rc<RefCell<Recording>>);

struct Recording {
    tape: Rc<RefCell<Tape>>,
    sites: Sites,
    run: u32,
    policy: Policy,
    late: Late,
    queue: Queue,
    /// The journal's number of each point, by [`Point::index`].
    points: Vec<Option<u32>>,
}

impl Recorder {
    pub(super) fn new(
        tape: Rc<RefCell<Tape>>,
        sites: Sites,
        run: u32,
        policy: Policy,
        late: Late,
    ) -> Self {
        let points = vec![None; sites.len() * Port::ALL.len()];
        Self(Rc::new(RefCell::new(Recording {
            tape,
            sites,
            run,
            policy,
            late,
            queue: Queue::default(),
            points,
        })))
    }

    /// Puts what a model passed and put out on the tape.
    pub(super) fn passage(&self, passage: &Passage) -> Result<(), JournalError> {
        let recording = self.0.borrow();
        let mut tensors = Vec::new();
        for value in passage.values() {
            value.each_tensor(&mut |tensor| tensors.push(tensor.clone()));
        }
        let mut reads = Reads::Made(AnyTensor::read(&tensors).into_iter());
        let mut tape = recording.tape.borrow_mut();
        let write = |value: &Value| recording.value(&mut tape, value, &mut reads);
        let passage = passages::to_journal(passage, recording.run, &recording.sites, write)?;
        tape.passage(&passage)
    }

    /// Puts what waits in the queue on the tape.
    pub(super) fn flush(&self) -> Result<(), JournalError> {
        self.0.borrow_mut().flush()
    }
}

impl Observer<Value> for Recorder {
    fn exchange(&mut self, exchange: &Exchange<'_, Value>) {
        // The first failure poisons the tape, which reports it when the run ends: an observer changes nothing.
        let _reported_at_the_end = self.0.borrow_mut().note(Noted::of(exchange));
    }
}

impl Recording {
    fn note(&mut self, noted: Noted) -> Result<(), JournalError> {
        let waits_for = self.late.bytes(noted.value.as_ref());
        if waits_for == 0 && self.queue.is_empty() {
            return self.put(&noted, &mut Reads::Now);
        }
        self.queue.push(noted, waits_for);
        match self.queue.is_full(self.late) {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        if self.queue.is_empty() {
            return Ok(());
        }
        let (noted, data) = self.queue.take();
        let mut reads = Reads::Made(data.into_iter());
        noted
            .iter()
            .try_for_each(|noted| self.put(noted, &mut reads))
    }

    fn put(&mut self, noted: &Noted, reads: &mut Reads) -> Result<(), JournalError> {
        let tape = self.tape.clone();
        let mut tape = tape.borrow_mut();
        let asked = match &noted.asked {
            None => None,
            Some(NotedName::Site(site)) => Some(self.site(&mut tape, *site)?),
            Some(NotedName::Name(name)) => Some(SiteRef {
                path: tape.path(name)?,
                iteration: 0,
            }),
            Some(NotedName::Iteration(iteration)) => Some(SiteRef {
                path: tape.path("iteration")?,
                iteration: *iteration,
            }),
        };
        let at = match noted.at {
            None => None,
            Some(site) => Some(self.site(&mut tape, site)?),
        };
        let value = match &noted.value {
            None => None,
            Some(value) => Some(self.value(&mut tape, value, reads)?),
        };
        let line = journal::Exchange {
            run: self.run,
            index: 0,
            mediator: noted.mediator,
            event: noted.event,
            asked,
            at,
            result: noted.result,
            value,
            fault: noted.fault.clone(),
            origin: noted.origin.clone(),
        };
        tape.exchange(line, |digest| {
            let value = noted.value.as_ref();
            value.and_then(|value| tensor_with(value, digest))
        })
    }

    fn site(&mut self, tape: &mut Tape, site: Site) -> Result<SiteRef, JournalError> {
        Ok(SiteRef {
            path: self.point(tape, site.point)?,
            iteration: site.iteration,
        })
    }

    fn point(&mut self, tape: &mut Tape, point: Point) -> Result<u32, JournalError> {
        if let Some(path) = self.points[point.index()] {
            return Ok(path);
        }
        let path = tape.path(&self.sites.point_name(point))?;
        self.points[point.index()] = Some(path);
        Ok(path)
    }

    fn value(
        &self,
        tape: &mut Tape,
        value: &Value,
        reads: &mut Reads,
    ) -> Result<ValueTree, JournalError> {
        tree(value, &mut |tensor| self.tensor(tape, reads.of(tensor)))
    }

    fn tensor(&self, tape: &mut Tape, data: TensorData) -> Result<ValueTree, JournalError> {
        let (tensor, data) = digested(data);
        if let (
            ValueTree::Tensor {
                dtype,
                shape,
                digest,
            },
            true,
        ) = (&tensor, self.policy != Policy::Digest)
        {
            tape.tensor(digest, *dtype, shape, data.as_bytes())?;
        }
        Ok(tensor)
    }
}

/// Returns a tensor as the journal has it, with its digest, and the data that this is of.
pub(super) fn digested(data: TensorData) -> (ValueTree, TensorData) {
    let (dtype, shape, data) = tensor_parts(data);
    let digest = Digest::of_tensor(dtype, &shape, data.as_bytes());
    let tensor = ValueTree::Tensor {
        dtype,
        shape,
        digest,
    };
    (tensor, data)
}

/// Returns a value as the journal has it; `tensor` says what it has of a tensor.
pub(super) fn tree<E>(
    value: &Value,
    tensor: &mut impl FnMut(&AnyTensor) -> Result<ValueTree, E>,
) -> Result<ValueTree, E> {
    Ok(match value {
        Value::Unit => ValueTree::Unit,
        Value::Bool(value) => ValueTree::Bool(*value),
        Value::Int(value) => ValueTree::Int(*value),
        Value::Float(value) => ValueTree::Float(*value),
        Value::Text(value) => ValueTree::Text(value.to_string()),
        Value::Tensor(whole) => tensor(whole)?,
        Value::Tuple(items) => ValueTree::Tuple(trees(items, tensor)?),
        Value::List(items) => ValueTree::List(trees(items, tensor)?),
        Value::Map(entries) => {
            let entries = entries.iter();
            let trees = entries.map(|(key, value)| Ok((key.to_string(), tree(value, tensor)?)));
            ValueTree::Map(trees.collect::<Result<_, E>>()?)
        }
    })
}

fn trees<E>(
    items: &[Value],
    tensor: &mut impl FnMut(&AnyTensor) -> Result<ValueTree, E>,
) -> Result<Vec<ValueTree>, E> {
    items.iter().map(|item| tree(item, tensor)).collect()
}

/// Returns the bytes of the tensor in `value` that has this digest.
fn tensor_with(value: &Value, digest: &Digest) -> Option<Vec<u8>> {
    let mut found = None;
    value.each_tensor(&mut |tensor| {
        if found.is_none() {
            let (dtype, shape, data) = tensor_parts(tensor.to_data());
            let is_same = Digest::of_tensor(dtype, &shape, data.as_bytes()) == *digest;
            found = is_same.then(|| data.as_bytes().to_vec());
        }
    });
    found
}

/// Returns the element type, the shape and the data of a tensor as the journal has them; truth values are bytes.
pub(crate) fn tensor_parts(data: TensorData) -> (DType, Vec<u64>, TensorData) {
    let shape = data.shape().iter().map(|&length| length as u64).collect();
    let (dtype, data) = match data.dtype() {
        BurnDType::F64 => (DType::F64, data),
        BurnDType::F32 | BurnDType::Flex32 => (DType::F32, data),
        BurnDType::F16 => (DType::F16, data),
        BurnDType::BF16 => (DType::BF16, data),
        BurnDType::I64 => (DType::I64, data),
        BurnDType::I32 => (DType::I32, data),
        BurnDType::I16 => (DType::I16, data),
        BurnDType::I8 => (DType::I8, data),
        BurnDType::U64 => (DType::U64, data),
        BurnDType::U32 => (DType::U32, data),
        BurnDType::U16 => (DType::U16, data),
        BurnDType::U8 => (DType::U8, data),
        BurnDType::Bool(_) => (DType::Bool, data.convert::<bool>()),
        // Quantised values are compared as what they stand for.
        BurnDType::QFloat(_) => (DType::F32, data.convert::<f32>()),
    };
    (dtype, shape, data)
}
