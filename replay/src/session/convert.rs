//! From the engine's exchanges to the journal's.

use std::cell::RefCell;
use std::rc::Rc;

use burn::tensor::{DType as BurnDType, TensorData};
use interloom_backends::{AnyTensor, Sites, Value};
use interloom_engine::{Asked, Exchange, Fault, Observer, Origin, Outcome, Point, Port, Site};

use super::tape::Tape;
use crate::journal::{
    self, DType, Digest, ExchangeResult, FaultLine, JournalError, Policy, SiteRef, ValueTree,
};

/// Puts every exchange of one run on a tape.
pub(super) struct Recorder {
    tape: Rc<RefCell<Tape>>,
    sites: Sites,
    run: u32,
    policy: Policy,
    /// The journal's number of each point, by [`Point::index`].
    points: Vec<Option<u32>>,
}

impl Recorder {
    pub(super) fn new(tape: Rc<RefCell<Tape>>, sites: Sites, run: u32, policy: Policy) -> Self {
        let points = vec![None; sites.len() * Port::ALL.len()];
        Self {
            tape,
            sites,
            run,
            policy,
            points,
        }
    }
}

impl Observer<Value> for Recorder {
    fn exchange(&mut self, exchange: &Exchange<'_, Value>) {
        // The first failure poisons the tape, which reports it when the run ends: an observer changes nothing.
        let _reported_at_the_end = self.put(exchange);
    }
}

impl Recorder {
    fn put(&mut self, exchange: &Exchange<'_, Value>) -> Result<(), JournalError> {
        let tape = self.tape.clone();
        let mut tape = tape.borrow_mut();
        let asked = match exchange.asked {
            None => None,
            Some(Asked::Site(site)) => Some(self.site(&mut tape, site)?),
            Some(Asked::Unknown(name) | Asked::Name(name)) => Some(SiteRef {
                path: tape.path(name)?,
                iteration: 0,
            }),
            Some(Asked::Iteration(iteration)) => Some(SiteRef {
                path: tape.path("iteration")?,
                iteration,
            }),
        };
        let at = match exchange.at {
            None => None,
            Some(site) => Some(self.site(&mut tape, site)?),
        };
        let (result, value, fault) = match exchange.outcome {
            Outcome::Served(None) => (ExchangeResult::Served, None, None),
            Outcome::Served(Some(value)) => (
                ExchangeResult::Served,
                Some(self.value(&mut tape, value)?),
                None,
            ),
            Outcome::Refused(fault) => (ExchangeResult::Refused, None, Some(fault_line(fault))),
            Outcome::Failed(fault) => (ExchangeResult::Served, None, Some(fault_line(fault))),
        };
        let line = journal::Exchange {
            run: self.run,
            index: 0,
            mediator: exchange.mediator.0,
            event: event(exchange.event),
            asked,
            at,
            result,
            value,
            fault,
            origin: origin(exchange.origin),
        };
        tape.exchange(line, |digest| match exchange.outcome {
            Outcome::Served(Some(value)) => tensor_with(value, digest),
            _ => None,
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

    fn value(&self, tape: &mut Tape, value: &Value) -> Result<ValueTree, JournalError> {
        Ok(match value {
            Value::Unit => ValueTree::Unit,
            Value::Bool(value) => ValueTree::Bool(*value),
            Value::Int(value) => ValueTree::Int(*value),
            Value::Float(value) => ValueTree::Float(*value),
            Value::Text(value) => ValueTree::Text(value.to_string()),
            Value::Tensor(tensor) => self.tensor(tape, tensor)?,
            Value::Tuple(items) => ValueTree::Tuple(self.values(tape, items)?),
            Value::List(items) => ValueTree::List(self.values(tape, items)?),
            Value::Map(entries) => {
                let entries = entries.iter();
                let trees =
                    entries.map(|(key, value)| Ok((key.to_string(), self.value(tape, value)?)));
                ValueTree::Map(trees.collect::<Result<_, JournalError>>()?)
            }
        })
    }

    fn values(&self, tape: &mut Tape, values: &[Value]) -> Result<Vec<ValueTree>, JournalError> {
        values.iter().map(|value| self.value(tape, value)).collect()
    }

    fn tensor(&self, tape: &mut Tape, tensor: &AnyTensor) -> Result<ValueTree, JournalError> {
        let (dtype, shape, data) = tensor_parts(tensor.to_data());
        let digest = Digest::of_tensor(dtype, &shape, data.as_bytes());
        if self.policy != Policy::Digest {
            tape.tensor(&digest, dtype, &shape, data.as_bytes())?;
        }
        Ok(ValueTree::Tensor {
            dtype,
            shape,
            digest,
        })
    }
}

/// Returns the bytes of the tensor in `value` that has this digest.
fn tensor_with(value: &Value, digest: &Digest) -> Option<Vec<u8>> {
    match value {
        Value::Tensor(tensor) => {
            let (dtype, shape, data) = tensor_parts(tensor.to_data());
            let same = Digest::of_tensor(dtype, &shape, data.as_bytes()) == *digest;
            same.then(|| data.as_bytes().to_vec())
        }
        Value::Tuple(items) | Value::List(items) => {
            items.iter().find_map(|item| tensor_with(item, digest))
        }
        Value::Map(entries) => {
            let mut values = entries.iter();
            values.find_map(|(_, value)| tensor_with(value, digest))
        }
        _ => None,
    }
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
