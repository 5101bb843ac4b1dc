//! Conversion of what an observer sees to the records of a journal.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use burn::tensor::{DType as BurnDType, TensorData};
use interloom_backends::{AnyTensor, Passage, Sites, Value};
use interloom_engine::{Exchange, Moment, Observer, Point, Port, Site};

use super::passages;
use super::readback::{AskedName, Pending, PendingExchange, Queue, Readback, TensorReads};
use super::sink::{JournalSink, Keeps};
use crate::journal::{
    self, BackwardTurn, Brought, CacheDeclaration, DType, Digest, JournalError, PaddingRecord,
    Policy, RunStart, SiteRef, TensorLine, ValueTree, Visit,
};

/// Writes all that happens in one run to a sink, in order.
///
/// A GPU computes on while the host goes ahead, and to read a tensor of it is to wait for it. So a
/// record with such tensors waits in a queue, with all that come after it, until their tensors are
/// read together: when the queue is full, and when the run ends. What is written is the same, byte
/// for byte.
#[derive(Clone)]
pub(super) struct Recorder(Rc<RefCell<Recording>>);

struct Recording {
    sink: Rc<RefCell<JournalSink>>,
    sites: Sites,
    run: RunStart,
    policy: Policy,
    readback: Readback,
    queue: Queue,
    /// The journal's number of each point, by [`Point::index`].
    points: Vec<Option<u32>>,
    /// The tensors that the model brought to the site at hand, as the journal has them: mediators
    /// that see the whole batch read the very same, and their digests are computed once.
    brought: Vec<(AnyTensor, TensorLine)>,
}

impl Recorder {
    pub(super) fn new(
        sink: Rc<RefCell<JournalSink>>,
        sites: Sites,
        run: RunStart,
        policy: Policy,
        readback: Readback,
    ) -> Self {
        let points = vec![None; sites.len() * Port::ALL.len()];
        Self(Rc::new(RefCell::new(Recording {
            sink,
            sites,
            run,
            policy,
            readback,
            queue: Queue::default(),
            points,
            brought: Vec::new(),
        })))
    }

    /// Writes what a model passed and returned.
    pub(super) fn passage(&self, passage: &Passage) -> Result<(), JournalError> {
        let recording = &mut *self.0.borrow_mut();
        let mut tensors = Vec::new();
        for value in passage.values() {
            value.each_tensor(&mut |tensor| tensors.push(tensor.clone()));
        }
        let mut reads = TensorReads::Made(AnyTensor::read(&tensors).into_iter());
        let sink = recording.sink.clone();
        let sink = &mut *sink.borrow_mut();
        let (run, sites) = (recording.run.run, recording.sites.clone());
        let write = |value: &Value| recording.value(sink, None, value, &mut reads);
        let passage = passages::to_journal(passage, run, &sites, write)?;
        sink.passage(&passage)
    }

    /// Writes what waits in the queue.
    pub(super) fn flush(&self) -> Result<(), JournalError> {
        self.0.borrow_mut().flush()
    }

    fn note(&self, pending: Pending) {
        // The first failure poisons the sink, which reports it when the run ends: an observer
        // changes nothing.
        let _reported_at_the_end = self.0.borrow_mut().note(pending);
    }
}

impl Observer<Value> for Recorder {
    fn exchange(&mut self, exchange: &Exchange<'_, Value>) {
        self.note(Pending::Exchange(PendingExchange::of(exchange)));
    }

    fn moment(&mut self, moment: &Moment<'_, Value>) {
        match *moment {
            Moment::Enter {
                site,
                passed,
                value,
                ..
            } => {
                let brought = Some((site.iteration, value.clone()));
                self.note(Pending::Visit(passed.to_vec(), brought, None));
            }
            Moment::Padded { padding } => self.note(Pending::Padding(padding.clone())),
            Moment::BeginBackward {
                number,
                loss,
                passed,
            } => {
                let brought = loss.map(|loss| (number, loss.clone()));
                let turn = Some(BackwardTurn::Begin);
                self.note(Pending::Visit(passed.to_vec(), brought, turn));
            }
            Moment::EndBackward { passed, .. } => {
                let turn = Some(BackwardTurn::End);
                self.note(Pending::Visit(passed.to_vec(), None, turn));
            }
            Moment::Finish { passed } if !passed.is_empty() => {
                self.note(Pending::Visit(passed.to_vec(), None, None));
            }
            Moment::Open {
                mediator,
                message,
                origin,
            } => self.note(Pending::Open(PendingExchange::open(
                mediator, &message, origin,
            ))),
            Moment::CacheDeclared {
                mediator,
                number,
                spec,
                fault,
                ..
            } => self.note(Pending::Cache {
                mediator,
                number,
                spec: spec.clone(),
                fault: fault.cloned(),
            }),
            _ => {}
        }
    }
}

impl Recording {
    fn note(&mut self, pending: Pending) -> Result<(), JournalError> {
        let waits_for = self.readback.bytes(pending.value());
        if waits_for == 0 && self.queue.is_empty() {
            return self.put(&pending, &mut TensorReads::Now);
        }
        self.queue.push(pending, waits_for);
        if self.queue.is_full(self.readback) {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        if self.queue.is_empty() {
            return Ok(());
        }
        let (pending, data) = self.queue.take();
        let mut reads = TensorReads::Made(data.into_iter());
        pending
            .iter()
            .try_for_each(|pending| self.put(pending, &mut reads))
    }

    fn put(&mut self, pending: &Pending, reads: &mut TensorReads) -> Result<(), JournalError> {
        let sink = self.sink.clone();
        let sink = &mut *sink.borrow_mut();
        match pending {
            Pending::Exchange(exchange) => {
                let line = self.exchange(sink, exchange, reads)?;
                sink.exchange(line, |digest| {
                    let value = exchange.value.as_ref();
                    value.and_then(|value| tensor_with(value, digest))
                })
            }
            Pending::Open(exchange) => {
                let line = self.exchange(sink, exchange, reads)?;
                sink.open_request(line)
            }
            Pending::Visit(passed, brought, backward) => {
                self.brought.clear();
                let passed = self.passed(sink, passed, brought.is_some() && backward.is_none())?;
                let point = passed.last().copied();
                let visit = Visit {
                    run: self.run.run,
                    passed,
                    backward: *backward,
                    brought: match brought {
                        Some((iteration, value)) => Some(Brought {
                            iteration: *iteration,
                            value: self.brought(sink, point, value, reads)?,
                        }),
                        None => None,
                    },
                };
                sink.visit(&visit, |digest| {
                    let value = brought.as_ref();
                    value.and_then(|(_, value)| tensor_with(value, digest))
                })
            }
            Pending::Padding(padding) => sink.padding(&PaddingRecord {
                run: self.run.run,
                padding: padding.clone(),
            }),
            Pending::Cache {
                mediator,
                number,
                spec,
                fault,
            } => {
                let (inputs, outputs) = spec.sides();
                sink.cache_declaration(&CacheDeclaration {
                    run: self.run.run,
                    mediator: mediator.0,
                    number: *number,
                    modules: spec.modules().map(<[String]>::to_vec),
                    inputs,
                    outputs,
                    gradients: spec.has_gradients(),
                    fault: fault.clone(),
                })
            }
        }
    }

    fn exchange(
        &mut self,
        sink: &mut JournalSink,
        pending: &PendingExchange,
        reads: &mut TensorReads,
    ) -> Result<journal::ExchangeRecord, JournalError> {
        let asked = match &pending.asked {
            None => None,
            Some(AskedName::Site(site)) => Some(self.site(sink, *site)?),
            Some(AskedName::Name(name)) => Some(SiteRef {
                path: sink.path(name)?,
                iteration: 0,
            }),
            Some(AskedName::Iteration(iteration)) => Some(SiteRef {
                path: sink.path("iteration")?,
                iteration: *iteration,
            }),
        };
        let at = match pending.at {
            None => None,
            Some(site) => Some(self.site(sink, site)?),
        };
        let point = at.or(asked).map(|site: SiteRef| site.path);
        let value = match &pending.value {
            None => None,
            Some(value) => Some(self.value(sink, point, value, reads)?),
        };
        Ok(journal::ExchangeRecord {
            run: self.run.run,
            // The sink numbers them.
            index: 0,
            mediator: pending.mediator,
            event: pending.event,
            asked,
            at,
            result: pending.result,
            value,
            reshape: pending.reshape,
            round: pending.round,
            fault: pending.fault.clone(),
            origin: pending.origin.clone(),
        })
    }

    /// Returns the numbers of what was passed; a gradient that was not visited is named with its
    /// iteration, which does not follow from the order.
    fn passed(
        &mut self,
        sink: &mut JournalSink,
        passed: &[Site],
        is_visited: bool,
    ) -> Result<Vec<u32>, JournalError> {
        let visited = passed.len().checked_sub(1).filter(|_| is_visited);
        let passed = passed.iter().enumerate();
        passed
            .map(|(place, site)| {
                if site.point.port.is_gradient() && Some(place) != visited {
                    sink.path(&self.sites.map().site_name(*site))
                } else {
                    self.point(sink, site.point)
                }
            })
            .collect()
    }

    fn site(&mut self, sink: &mut JournalSink, site: Site) -> Result<SiteRef, JournalError> {
        Ok(SiteRef {
            path: self.point(sink, site.point)?,
            iteration: site.iteration,
        })
    }

    fn point(&mut self, sink: &mut JournalSink, point: Point) -> Result<u32, JournalError> {
        let known = |points: &[Option<u32>]| points.get(point.index()).copied().flatten();
        if let Some(path) = known(&self.points) {
            return Ok(path);
        }
        let path = sink.path(&self.sites.point_name(point))?;
        // A parameter has no place in the table; its name is looked up each time.
        if let Some(known) = self.points.get_mut(point.index()) {
            *known = Some(path);
        }
        Ok(path)
    }

    /// Writes the value that the model brings to a site, and remembers its tensors until the next.
    fn brought(
        &mut self,
        sink: &mut JournalSink,
        point: Option<u32>,
        value: &Value,
        reads: &mut TensorReads,
    ) -> Result<ValueTree, JournalError> {
        let keeps = self.keeps(sink, point);
        let brought = &mut self.brought;
        tree(value, &mut |tensor| {
            let line = written(sink, keeps, reads.of(tensor))?;
            brought.push((tensor.clone(), line.clone()));
            Ok(line)
        })
    }

    /// Writes a value at a point, or of none.
    fn value(
        &self,
        sink: &mut JournalSink,
        point: Option<u32>,
        value: &Value,
        reads: &mut TensorReads,
    ) -> Result<ValueTree, JournalError> {
        let keeps = self.keeps(sink, point);
        tree(value, &mut |tensor| {
            let mut brought = self.brought.iter();
            if let Some((_, line)) = brought.find(|(other, _)| other.is_same(tensor)) {
                reads.skip();
                return Ok(line.clone());
            }
            written(sink, keeps, reads.of(tensor))
        })
    }

    fn keeps(&self, sink: &JournalSink, point: Option<u32>) -> Keeps {
        let own = self
            .run
            .keeps_at(point.and_then(|path| sink.path_text(path)));
        match own {
            Some(true) => Keeps::Bytes,
            None if self.policy != Policy::Digest => Keeps::ByPolicy,
            Some(false) | None => Keeps::Digests,
        }
    }
}

/// Writes the elements of a tensor, if they are kept, and returns the tensor as the journal has it.
fn written(
    sink: &mut JournalSink,
    keeps: Keeps,
    data: TensorData,
) -> Result<TensorLine, JournalError> {
    let (tensor, data) = digested(data);
    let TensorLine {
        dtype,
        shape,
        digest,
    } = &tensor;
    sink.tensor(keeps, digest, *dtype, shape, data.as_bytes())?;
    Ok(tensor)
}

/// Returns a tensor as the journal has it, with its digest, and the data that this is of.
pub(super) fn digested(data: TensorData) -> (TensorLine, TensorData) {
    let (dtype, shape, data) = tensor_parts(data);
    let digest = Digest::of_tensor(dtype, &shape, data.as_bytes());
    let tensor = TensorLine {
        dtype,
        shape,
        digest,
    };
    (tensor, data)
}

/// Returns a value as the journal has it; `tensor` says what it has of a tensor.
pub(super) fn tree<E>(
    value: &Value,
    tensor: &mut impl FnMut(&AnyTensor) -> Result<TensorLine, E>,
) -> Result<ValueTree, E> {
    Ok(match value {
        Value::Unit => ValueTree::Unit,
        Value::Bool(value) => ValueTree::Bool(*value),
        Value::Int(value) => ValueTree::Int(*value),
        Value::Float(value) => ValueTree::Float(*value),
        Value::Text(value) => ValueTree::Text(value.clone()),
        Value::Tensor(whole) => ValueTree::Leaf(tensor(whole)?),
        Value::Tuple(items) => ValueTree::Tuple(trees(items, tensor)?),
        Value::List(items) => ValueTree::List(trees(items, tensor)?),
        Value::Map(entries) => {
            let entries = entries.iter();
            let trees = entries.map(|(key, value)| Ok((key.clone(), tree(value, tensor)?)));
            ValueTree::Map(trees.collect::<Result<_, E>>()?)
        }
    })
}

fn trees<E>(
    items: &[Value],
    tensor: &mut impl FnMut(&AnyTensor) -> Result<TensorLine, E>,
) -> Result<Arc<[ValueTree]>, E> {
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

/// Returns the element type, the shape and the data of a tensor as the journal has them; truth
/// values are bytes.
pub(crate) fn tensor_parts(data: TensorData) -> (DType, Vec<u64>, TensorData) {
    let shape = journal_shape(&data);
    let (dtype, data) = match (journal_dtype(data.dtype()), data.dtype()) {
        (Some(dtype), _) => (dtype, data),
        (None, BurnDType::Bool(_)) => (DType::Bool, data.convert::<bool>()),
        // Quantised values are compared as what they stand for.
        (None, _) => (DType::F32, data.convert::<f32>()),
    };
    (dtype, shape, data)
}

/// Returns the digest of a tensor, as the journal has it.
pub(crate) fn digest_of_tensor(data: &TensorData) -> Digest {
    match journal_dtype(data.dtype()) {
        Some(dtype) => Digest::of_tensor(dtype, &journal_shape(data), data.as_bytes()),
        None => {
            let (dtype, shape, data) = tensor_parts(data.clone());
            Digest::of_tensor(dtype, &shape, data.as_bytes())
        }
    }
}

fn journal_shape(data: &TensorData) -> Vec<u64> {
    data.shape().iter().map(|&length| length as u64).collect()
}

/// Returns the element type that the journal has for one of burn's, if its bytes are the same.
const fn journal_dtype(dtype: BurnDType) -> Option<DType> {
    Some(match dtype {
        BurnDType::F64 => DType::F64,
        BurnDType::F32 | BurnDType::Flex32 => DType::F32,
        BurnDType::F16 => DType::F16,
        BurnDType::BF16 => DType::BF16,
        BurnDType::I64 => DType::I64,
        BurnDType::I32 => DType::I32,
        BurnDType::I16 => DType::I16,
        BurnDType::I8 => DType::I8,
        BurnDType::U64 => DType::U64,
        BurnDType::U32 => DType::U32,
        BurnDType::U16 => DType::U16,
        BurnDType::U8 => DType::U8,
        BurnDType::Bool(_) | BurnDType::QFloat(_) => return None,
    })
}
