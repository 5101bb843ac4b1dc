//! What runs have in common, computed once.
//!
//! Two runs of a model on one input, with equal mediators, are equal until the scheduler chooses differently. What the model
//! does up to there need not be computed again: [`Shared`] keeps, of the last run, which sites were passed, the values that
//! somebody was given there, and what each hooked module put out. In the next run a module that was over before the first
//! other choice is not computed. Its sites are passed all the same, one by one, with the values that were kept, so that
//! mediators, caches, counters and observers notice nothing; what comes out are the same bits.
//!
//! A module that is not a function of its input (one that keeps keys and values between calls, say) must not be left out.
//! Nothing here can tell, so that a run shares only if it is told to: [`Run::share`](crate::Run::share).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use interloom_engine::Point;

use crate::value::Value;

/// What the runs of an exploration have in common.
#[derive(Clone, Debug)]
pub struct Shared(Rc<RefCell<Record>>);

/// How many modules were computed, and how many were not, because they were known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Effort {
    /// The calls of hooked modules that were computed, in all runs.
    pub computed: u64,
    /// The calls that were not, those inside of others counted too.
    pub known: u64,
}

impl Shared {
    /// The bytes of tensors that are kept at most, unless another number is given.
    pub const BYTES: u64 = 256 << 20;

    /// Keeps up to [`BYTES`](Self::BYTES) of tensors.
    pub fn new() -> Self {
        Self::with_bytes(Self::BYTES)
    }

    /// Keeps up to `bytes` of tensors; what a run computes after they are used up is computed again.
    pub fn with_bytes(bytes: u64) -> Self {
        Self(Rc::new(RefCell::new(Record {
            budget: bytes,
            ..Record::default()
        })))
    }

    /// Returns what was computed so far.
    pub fn effort(&self) -> Effort {
        self.0.borrow().effort
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}

/// The passings and the calls of the last run.
#[derive(Debug, Default)]
struct Record {
    passings: Vec<Passing>,
    /// The calls that are over, by the place of the passing at which they begin.
    calls: BTreeMap<usize, Call>,
    budget: u64,
    effort: Effort,
}

/// One passing of a site.
#[derive(Debug)]
struct Passing {
    point: Point,
    /// The value as it was before all changes, if somebody was there for it.
    given: Option<Value>,
    /// How many turns the mediators had had when the site was left; nothing while the model is at it.
    turns: Option<u64>,
}

/// One call of a hooked module that is over.
#[derive(Debug)]
struct Call {
    /// The place after that of the passing with which it ends.
    end: usize,
    /// What the model went on with.
    output: Value,
}

/// A run that shares: where it stands in the record.
pub(crate) struct Sharing {
    record: Rc<RefCell<Record>>,
    /// The place of the next passing.
    next: usize,
    /// How many of the passings are those of the last run.
    known: usize,
    bytes: u64,
    /// Whether there was no more room, so that a passing is missing, and all that follow it.
    is_full: bool,
}

/// What is to be done with a call.
pub(crate) enum Sharable {
    /// It is to be computed, and ended with the place at which it begins.
    Compute(usize),
    /// It need not be computed: the sites that it passes, with the values for whoever is there, and what it puts out.
    Known(Vec<(Point, Option<Value>)>, Value),
}

impl Sharing {
    /// Begins a run whose first `turns` turns are those of the last one.
    pub(crate) fn begin(shared: &Shared, turns: u64) -> Self {
        let record = shared.0.clone();
        let mut sharing = Self {
            record,
            next: 0,
            known: usize::MAX,
            bytes: 0,
            is_full: false,
        };
        let is_shared = |passing: &Passing| passing.turns.is_some_and(|had| had <= turns);
        let known = sharing.record.borrow().passings.partition_point(is_shared);
        sharing.forget_from(known);
        sharing
    }

    /// Notes that the model comes to a site; `given` is what it brings, if somebody is there for it.
    pub(crate) fn enter(&mut self, point: Point, given: Option<&Value>) {
        let is_known = |record: &Record| record.passings[self.next].point == point;
        if self.next < self.known && !is_known(&self.record.borrow()) {
            // The model does not do what it did: it is computed from here on.
            self.forget_from(self.next);
        }
        let record = &mut *self.record.borrow_mut();
        self.is_full |= self.bytes > record.budget;
        if self.next < self.known || self.is_full {
            return;
        }
        self.bytes += given.map_or(0, Value::bytes);
        record.passings.push(Passing {
            point,
            given: given.cloned(),
            turns: None,
        });
    }

    /// Notes that the model leaves the site, after so many turns.
    pub(crate) fn leave(&mut self, turns: u64) {
        let mut record = self.record.borrow_mut();
        if let Some(passing) = record.passings.get_mut(self.next) {
            passing.turns = Some(turns);
            self.next += 1;
        }
    }

    /// Returns what is to be done with the call that begins at the next passing, which is that of `point`.
    pub(crate) fn call(&mut self, point: Point) -> Sharable {
        let record = &mut *self.record.borrow_mut();
        let begin = self.next;
        let call = record
            .calls
            .get(&begin)
            .filter(|call| call.end <= self.known && record.passings[begin].point == point);
        let Some(call) = call else {
            record.effort.computed += 1;
            return Sharable::Compute(begin);
        };
        record.effort.known += record.calls.range(begin..call.end).count() as u64;
        let passings = record.passings[begin..call.end].iter();
        let passings = passings.map(|passing| (passing.point, passing.given.clone()));
        Sharable::Known(passings.collect(), call.output.clone())
    }

    /// Keeps what a call that began at `begin` has put out.
    pub(crate) fn end_call(&mut self, begin: usize, output: &Value) {
        if self.next > self.known && !self.is_full {
            self.bytes += output.bytes();
            let (end, output) = (self.next, output.clone());
            let call = Call { end, output };
            self.record.borrow_mut().calls.insert(begin, call);
        }
    }

    /// Forgets what was passed at a place and after it.
    fn forget_from(&mut self, place: usize) {
        let record = &mut *self.record.borrow_mut();
        record.passings.truncate(place);
        record.calls.retain(|_, call| call.end <= place);
        self.known = self.known.min(place);
        let given = record
            .passings
            .iter()
            .filter_map(|passing| passing.given.as_ref());
        let outputs = record.calls.values().map(|call| &call.output);
        self.bytes = given.chain(outputs).map(Value::bytes).sum();
    }
}
