//! What runs have in common, computed once.
//!
//! Two runs of a model on one input, with equal mediators, are equal until the scheduler chooses differently. What the model
//! does up to there need not be computed again: [`Shared`] keeps, of the last run, which sites were passed, the values that
//! somebody was given there, and what each hooked module put out. In the next run a module that was over before the first
//! other choice is not computed. Its sites are passed all the same, one by one, with the values that were kept, so that
//! mediators, caches, counters and observers notice nothing; what comes out are the same bits.
//!
//! The same record of a run, a [`Passage`], can be kept with its journal; a fork of that run then computes no module that was
//! over before its exchange ([`Run::share_exchanges`](crate::Run::share_exchanges)).
//!
//! A module that is not a function of its input (one that keeps keys and values between calls, say) must not be left out.
//! Nothing here can tell, so that a run shares only if it is told to: [`Run::share`](crate::Run::share).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::AddAssign;
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

impl AddAssign for Effort {
    fn add_assign(&mut self, more: Self) {
        self.computed += more.computed;
        self.known += more.known;
    }
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

    /// Shares with a run that was recorded.
    pub fn of(passage: Passage) -> Self {
        let shared = Self::new();
        shared.0.borrow_mut().passage = passage;
        shared
    }

    /// Returns what was computed so far.
    pub fn effort(&self) -> Effort {
        self.0.borrow().effort
    }

    /// Returns what the last run passed and put out.
    pub fn passage(&self) -> Passage {
        let mut passage = self.0.borrow().passage.clone();
        // The model was still at it when the run ended.
        passage.passings.retain(|passing| passing.had.is_some());
        passage
    }
}

/// How far the mediators of a run are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    /// How many turns they had.
    pub turns: u64,
    /// How many exchanges there were.
    pub exchanges: u64,
}

/// What the model of a run passed and put out, up to a budget of bytes.
#[derive(Clone, Debug, Default)]
pub struct Passage {
    /// The sites that were passed, in order.
    pub passings: Vec<Passing>,
    /// The calls of hooked modules that are over, by the place of the passing at which they begin.
    pub calls: BTreeMap<usize, PassedCall>,
}

impl Passage {
    /// Iterates over the values that are kept: those that were given at sites, then what calls put out, each in order.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        let given = self.passings.iter();
        let given = given.filter_map(|passing| passing.given.as_ref());
        given.chain(self.calls.values().map(|call| &call.output))
    }
}

/// One passing of a site.
#[derive(Clone, Debug)]
pub struct Passing {
    /// The site's point.
    pub point: Point,
    /// The value as it was before all changes, if somebody was there for it.
    pub given: Option<Value>,
    /// How far the mediators were when the site was left; nothing while the model is at it.
    pub had: Option<Standing>,
}

/// One call of a hooked module that is over.
#[derive(Clone, Debug)]
pub struct PassedCall {
    /// The place after that of the passing with which it ends.
    pub end: usize,
    /// What the model went on with.
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

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}

/// The passings and the calls of the last run.
#[derive(Debug, Default)]
struct Record {
    passage: Passage,
    budget: u64,
    effort: Effort,
}

/// A run that shares: where it stands in the record.
pub(crate) struct Sharing {
    record: Rc<RefCell<Record>>,
    /// The place of the next passing.
    next: usize,
    /// How many of the passings are those of the last run, if nobody comes in between.
    known: usize,
    /// How many of those nobody comes in between of.
    sure: usize,
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
    /// Begins a run of which so much is as in the last one.
    pub(crate) fn begin(shared: &Shared, known: Known) -> Self {
        let record = shared.0.clone();
        let mut sharing = Self {
            record,
            next: 0,
            known: usize::MAX,
            sure: usize::MAX,
            bytes: 0,
            is_full: false,
        };
        let passed = |is_known: &dyn Fn(Standing) -> bool| {
            let record = sharing.record.borrow();
            let passings = &record.passage.passings;
            passings.partition_point(|passing| passing.had.is_some_and(is_known))
        };
        let (known, sure) = match known {
            Known::Turns(turns) => {
                let known = passed(&|had| had.turns <= turns);
                (known, known)
            }
            Known::Exchanges { all, certain } => (
                passed(&|had| had.exchanges <= all),
                // Where the last of them is made, somebody may go on at once.
                passed(&|had| had.exchanges < certain),
            ),
        };
        sharing.forget_from(known);
        sharing.sure = sure;
        sharing
    }

    /// Notes that the model comes to a site; `given` is what it brings, if somebody is there for it.
    pub(crate) fn enter(&mut self, point: Point, given: Option<&Value>) {
        let is_known = |record: &Record| record.passage.passings[self.next].point == point;
        if self.next < self.known && !is_known(&self.record.borrow()) {
            // The model does not do what it did: it is computed from here on.
            self.forget_from(self.next);
        }
        let record = &mut *self.record.borrow_mut();
        let passings = &mut record.passage.passings;
        self.is_full |= self.bytes > record.budget;
        if self.next < self.known {
            let passing = &mut passings[self.next];
            if let (None, Some(given)) = (&passing.given, given) {
                self.bytes += given.bytes();
                passing.given = Some(given.clone());
            }
        } else if !self.is_full {
            self.bytes += given.map_or(0, Value::bytes);
            passings.push(Passing {
                point,
                given: given.cloned(),
                had: None,
            });
        }
    }

    /// Notes that the model leaves the site, and how far the mediators are.
    pub(crate) fn leave(&mut self, had: Standing) {
        let before = {
            let mut record = self.record.borrow_mut();
            let Some(passing) = record.passage.passings.get_mut(self.next) else {
                return;
            };
            passing.had.replace(had)
        };
        if before.is_some_and(|before| before.exchanges != had.exchanges) {
            // Somebody is there who was not, or the other way round, and may have changed what follows.
            self.known = self.known.min(self.next);
            self.forget_from(self.next + 1);
        }
        self.next += 1;
    }

    /// Returns what is to be done with the call that begins at the next passing, which is that of `point`.
    ///
    /// Where somebody is there for a value that nobody was there for, it has to be computed.
    pub(crate) fn call(&mut self, point: Point, is_awaited: impl Fn(Point) -> bool) -> Sharable {
        let record = &mut *self.record.borrow_mut();
        let (begin, passage) = (self.next, &record.passage);
        let known = passage.calls.get(&begin).filter(|call| {
            let passings = || &passage.passings[begin..call.end];
            let is_quiet = || passings().iter().all(|passing| passing.given.is_none());
            let is_missing =
                |passing: &Passing| passing.given.is_none() && is_awaited(passing.point);
            call.end <= self.known
                && passings()[0].point == point
                && (call.end <= self.sure || is_quiet())
                && !passings().iter().any(is_missing)
        });
        let Some(call) = known else {
            record.effort.computed += 1;
            return Sharable::Compute(begin);
        };
        record.effort.known += passage.calls.range(begin..call.end).count() as u64;
        let passings = passage.passings[begin..call.end].iter();
        let passings = passings.map(|passing| (passing.point, passing.given.clone()));
        Sharable::Known(passings.collect(), call.output.clone())
    }

    /// Returns whether all passings so far are known to be those of the last run.
    pub(crate) const fn is_known(&self) -> bool {
        self.next <= self.known
    }

    /// Keeps what a call that began at `begin` has put out.
    pub(crate) fn end_call(&mut self, begin: usize, output: &Value) {
        if self.next > self.known && !self.is_full {
            self.bytes += output.bytes();
            let (end, output) = (self.next, output.clone());
            let call = PassedCall { end, output };
            self.record.borrow_mut().passage.calls.insert(begin, call);
        }
    }

    /// Forgets what was passed at a place and after it.
    fn forget_from(&mut self, place: usize) {
        let passage = &mut self.record.borrow_mut().passage;
        passage.passings.truncate(place);
        passage.calls.retain(|_, call| call.end <= place);
        self.known = self.known.min(place);
        self.sure = self.sure.min(place);
        self.bytes = passage.values().map(Value::bytes).sum();
    }
}
