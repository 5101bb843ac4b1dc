//! The recorded run that a session answers from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{BoolStore, DType as BurnDType, Device, TensorData};
use interloom_backends::Value;
use interloom_engine::{Site, SiteMap, Target};

use crate::error::Error;
use crate::journal::{
    self, DType, ExchangeRecord, Journal, JournalError, SiteRef, TensorLine, ValueTree, Visit,
};

/// A journal whose values are given back to mediators, or to a model.
pub(super) struct Recorded {
    path: PathBuf,
    journal: Journal,
    device: Device,
    /// How many runs have been taken.
    taken: usize,
}

impl Recorded {
    pub(super) fn load(path: &Path, device: Device) -> Result<Self, Error> {
        Ok(Self {
            path: path.to_owned(),
            journal: Journal::load(path)?,
            device,
            taken: 0,
        })
    }

    /// Refuses an exchange that cannot be continued from, because the journal ends before it.
    pub(super) fn up_to(self, exchange: u64) -> Result<Self, Error> {
        let count = self.journal.exchanges().count() as u64;
        if exchange <= count {
            return Ok(self);
        }
        Err(JournalError::Absent {
            journal: self.name().into(),
            what: format!("exchange {exchange}"),
            has: format!("{count} exchanges"),
        }
        .into())
    }

    /// Returns what errors call the journal.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Takes the next run; nothing if the journal has no more.
    pub(super) fn next_run(&mut self) -> Option<journal::RunRecord> {
        let run = self.journal.runs.get(self.taken)?.clone();
        self.taken += 1;
        Some(run)
    }

    pub(super) const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Returns the value that a mediator gave or received in an exchange, with its tensors.
    ///
    /// # Errors
    ///
    /// [`Error::NotKept`] if the journal has not kept a tensor of it.
    pub(super) fn value_of(&self, exchange: &ExchangeRecord) -> Result<Value, Error> {
        match &exchange.value {
            Some(tree) => self.value(tree, exchange.index),
            None => Ok(Value::Unit),
        }
    }

    /// Returns the text of a path.
    pub(super) fn path(&self, path: u32) -> &str {
        self.journal.path(path).unwrap_or_default()
    }

    /// Returns the text of a site's point, or of whatever else was asked for.
    pub(super) fn text(&self, site: SiteRef) -> &str {
        self.journal.path(site.path).unwrap_or_default()
    }

    /// Returns what a request for a recorded site is for.
    pub(super) fn target(&self, asked: Option<SiteRef>, map: &SiteMap) -> Target {
        let Some(site) = asked else {
            return Target::Unknown("".into());
        };
        let text = self.text(site);
        match map.point(text) {
            Some(point) => Target::Point {
                point,
                iteration: Some(site.iteration),
            },
            None => Target::Unknown(text.into()),
        }
    }

    /// Returns the sites that a recorded model passed, without those that this model does not have,
    /// for which no mediator can wait; and what it brought to the last of them, or the loss of a
    /// backward pass. `exchange` stands in the error.
    ///
    /// Of a forward pass only the site at hand has its iteration: a run counts the others itself.
    ///
    /// # Errors
    ///
    /// [`Error::NotKept`] if the journal has not kept a tensor of it.
    pub(super) fn visit(
        &self,
        visit: &Visit,
        exchange: u64,
        map: &SiteMap,
    ) -> Result<(Vec<Site>, Option<Value>), Error> {
        let visited = visit.site();
        let site = |(place, path): (usize, &u32)| {
            let (point, named) = map.site(self.path(*path))?;
            let is_last = place + 1 == visit.passed.len();
            let visited = visited.filter(|_| is_last).map(|site| site.iteration);
            Some(point.at(visited.or(named).unwrap_or(0)))
        };
        let sites = visit.passed.iter().enumerate().filter_map(site);
        let brought = match visit.value() {
            Some(tree) => Some(self.value(tree, exchange)?),
            None => None,
        };
        Ok((sites.collect(), brought))
    }

    /// Returns a value of the journal, with its tensors; `exchange` stands in the error.
    ///
    /// # Errors
    ///
    /// [`Error::NotKept`] if the journal has not kept a tensor of it.
    pub(super) fn value(&self, tree: &ValueTree, exchange: u64) -> Result<Value, Error> {
        build(tree, &mut |line| {
            let digest = &line.digest;
            let not_kept = || Error::NotKept {
                journal: self.name(),
                exchange,
            };
            let tensor = self.journal.tensor(digest).ok_or_else(not_kept)?;
            // The journal has compared the length of the bytes with shape and type.
            let shape: Vec<usize> = tensor.shape.iter().map(|&length| length as usize).collect();
            let dtype = burn_dtype(tensor.dtype);
            let data = TensorData::from_bytes_vec(tensor.bytes.clone(), shape, dtype);
            Value::from_data(data, &self.device).map_err(|_| not_kept())
        })
    }
}

/// Makes a value from its tree, with what `tensor` makes of each tensor.
pub(super) fn build<E>(
    tree: &ValueTree,
    tensor: &mut impl FnMut(&TensorLine) -> Result<Value, E>,
) -> Result<Value, E> {
    let mut all = |items: &[ValueTree]| -> Result<Arc<[Value]>, E> {
        items.iter().map(|item| build(item, tensor)).collect()
    };
    Ok(match tree {
        ValueTree::Unit => Value::Unit,
        ValueTree::Bool(value) => Value::Bool(*value),
        ValueTree::Int(value) => Value::Int(*value),
        ValueTree::Float(value) => Value::Float(*value),
        ValueTree::Text(value) => Value::Text(value.clone()),
        ValueTree::Tuple(items) => Value::Tuple(all(items)?),
        ValueTree::List(items) => Value::List(all(items)?),
        ValueTree::Map(entries) => {
            let entry =
                |(key, item): &(Arc<str>, ValueTree)| Ok((key.clone(), build(item, tensor)?));
            Value::Map(entries.iter().map(entry).collect::<Result<_, E>>()?)
        }
        ValueTree::Leaf(line) => tensor(line)?,
    })
}

pub(super) fn burn_dtype(dtype: DType) -> BurnDType {
    match dtype {
        DType::F64 => BurnDType::F64,
        DType::F32 => BurnDType::F32,
        DType::F16 => BurnDType::F16,
        DType::BF16 => BurnDType::BF16,
        DType::I64 => BurnDType::I64,
        DType::I32 => BurnDType::I32,
        DType::I16 => BurnDType::I16,
        DType::I8 => BurnDType::I8,
        DType::U64 => BurnDType::U64,
        DType::U32 => BurnDType::U32,
        DType::U16 => BurnDType::U16,
        DType::U8 => BurnDType::U8,
        DType::Bool => BurnDType::Bool(BoolStore::Native),
    }
}
