//! The values that the caches of a run collect, for the end of the run in the journal.
//!
//! It is evidence, but no exchange: observers see it as a moment, and the end of a run has a digest
//! of it. Where a journal stands in for the mediators, nothing collects.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::rc::Rc;

use interloom_backends::{AnyTensor, Sites, Value};
use interloom_engine::{Exchange, Moment, Observer, Point};

use super::convert::{digested, tree};
use super::readback::TensorReads;
use super::sink::JournalSink;
use crate::journal::{CachedLine, JournalError, ValueTree};

/// Watches the caches of a run. The values are those that the caches have, so that they take no
/// room of their own.
#[derive(Clone, Default)]
pub(super) struct Collected(Rc<RefCell<BTreeMap<Place, Vec<Kept>>>>);

/// Whose cache, which of its own, and where.
type Place = (Option<u32>, u32, Point);

/// An iteration and its value.
type Kept = (u32, Value);

impl Collected {
    /// Returns what was collected, as the journal has it. The tensors are read together.
    pub(super) fn lines(
        &self,
        sink: &mut JournalSink,
        sites: &Sites,
    ) -> Result<Vec<CachedLine>, JournalError> {
        let places = self.0.take();
        let mut tensors = Vec::new();
        for (_, value) in places.values().flatten() {
            value.each_tensor(&mut |tensor| tensors.push(tensor.clone()));
        }
        let mut reads = TensorReads::Made(AnyTensor::read(&tensors).into_iter());
        let mut lines = Vec::with_capacity(places.len());
        for ((owner, number, point), values) in places {
            let values: Vec<_> = values
                .iter()
                .map(|(iteration, value)| (*iteration, with_digests(value, &mut reads)))
                .collect();
            lines.push(sink.cached((owner, number), sites.point_name(point), &values)?);
        }
        lines.sort();
        Ok(lines)
    }
}

impl Observer<Value> for Collected {
    fn exchange(&mut self, _: &Exchange<'_, Value>) {}

    fn moment(&mut self, moment: &Moment<'_, Value>) {
        if let Moment::Cached {
            owner,
            number,
            site,
            value,
        } = *moment
        {
            let place = (owner.map(|owner| owner.0), number, site.point);
            let mut places = self.0.borrow_mut();
            let values = places.entry(place).or_default();
            values.push((site.iteration, value.clone()));
        }
    }
}

/// Returns a value with the digests of its tensors.
fn with_digests(value: &Value, reads: &mut TensorReads) -> ValueTree {
    let tensor = &mut |tensor: &AnyTensor| Ok::<_, Infallible>(digested(reads.of(tensor)).0);
    match tree(value, tensor) {
        Ok(tree) => tree,
    }
}
