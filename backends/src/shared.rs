//! The prefix that runs have in common, computed once.
//!
//! Two runs of a model on one input, with equal mediators, are equal until the scheduler chooses
//! differently. What the model does up to there need not be computed again: [`PrefixCache`] keeps,
//! of the last run, which sites were passed, the values that mediators were given there, and what
//! each hooked module returned. In the next run a module that was over before the first other
//! choice is not computed. Its sites are passed all the same, one by one, with the values that were
//! kept, so that mediators, caches, counters and observers notice nothing; what comes out are the
//! same bits.
//!
//! The same record of a run, a [`Passage`], can be kept with its journal; a fork of that run then
//! computes no module that was over before its exchange
//! ([`Run::share_exchanges`](crate::Run::share_exchanges)).
//!
//! A module that is not a function of its input (one that keeps keys and values between calls, say)
//! must not be left out. Nothing here can tell, so that a run shares only if its caller asks for
//! it: [`Run::share`](crate::Run::share).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::rc::Rc;

use interloom_engine::Point;

use crate::value::Value;

/// A cache of the prefix that the runs of an exploration have in common.
#[derive(Clone, Debug)]
pub struct PrefixCache(Rc<RefCell<Record>>);

/// The numbers of calls of modules that were computed, and that were reused.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReuseStats {
    /// The calls of hooked modules that were computed, in all runs.
    pub computed: u64,
    /// The calls that were not, those inside of others counted too.
    pub known: u64,
}

impl AddAssign for ReuseStats {
    fn add_assign(&mut self, more: Self) {
        self.computed += more.computed;
        self.known += more.known;
    }
}

impl PrefixCache {
    /// The bytes of tensors that are kept at most, unless another number is given.
    pub const BYTES: u64 = 256 << 20;

    /// Keeps up to [`BYTES`](Self::BYTES) of tensors.
    pub fn new() -> Self {
        Self::with_bytes(Self::BYTES)
    }

    /// Keeps up to `bytes` of tensors; what a run computes after they are used up is computed
    /// again.
    pub fn with_bytes(bytes: u64) -> Self {
        Self(Rc::new(RefCell::new(Record {
            budget: bytes,
            ..Record::default()
        })))
    }

    /// Shares with a run that was recorded.
    pub fn of(passage: Passage) -> Self {
        let shared = Self::new();
        shared.0.borrow_mut().passage = passage;
        shared
    }

    /// Returns what was computed so far.
    pub fn effort(&self) -> ReuseStats {
        self.0.borrow().effort
    }

    /// Returns what the last run passed and returned.
    pub fn passage(&self) -> Passage {
        let mut passage = self.0.borrow().passage.clone();
        // The model was still at it when the run ended.
        passage.passings.retain(|passing| passing.had.is_some());
        passage
    }

    pub(crate) const fn record(&self) -> &Rc<RefCell<Record>> {
        &self.0
    }
}

/// The progress of the mediators of a run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    /// How many turns they had.
    pub turns: u64,
    /// How many exchanges there were.
    pub exchanges: u64,
}

/// The sites that the model of a run passed and the outputs of its modules, up to a budget of
/// bytes.
#[derive(Clone, Debug, Default)]
pub struct Passage {
    /// The sites that were passed, in order.
    pub passings: Vec<Passing>,
    /// The calls of hooked modules that are over, by the place of the visit at which they begin.
    pub calls: BTreeMap<usize, PassedCall>,
}

impl Passage {
    /// Iterates over the values that are kept: those that were given at sites, then what calls put
    /// out, each in order.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        let given = self.passings.iter();
        let given = given.filter_map(|passing| passing.given.as_ref());
        given.chain(self.calls.values().map(|call| &call.output))
    }
}

/// One visit of a site.
#[derive(Clone, Debug)]
pub struct Passing {
    /// The site's point.
    pub point: Point,
    /// The value as it was before all changes, if a mediator was given it.
    pub given: Option<Value>,
    /// How far the mediators were when the site was left; nothing while the model is at it.
    pub had: Option<Standing>,
}

/// One call of a hooked module that is over.
#[derive(Clone, Debug)]
pub struct PassedCall {
    /// The place after that of the visit with which it ends.
    pub end: usize,
    /// What the model continued with.
    pub output: Value,
}

/// How much of a run is known to be as it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Known {
    /// All up to the first turn after so many.
    Turns(u64),
    /// The first exchanges, with others in between once `certain` of them are over.
    Exchanges { all: u64, certain: u64 },
}

impl Default for PrefixCache {
    fn default() -> Self {
        Self::new()
    }
}

/// The visits and the calls of the last run.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) passage: Passage,
    /// The bytes of tensors that are kept at most.
    pub(crate) budget: u64,
    pub(crate) effort: ReuseStats,
}
