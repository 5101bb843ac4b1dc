//! Reuse of what the last run has computed.
//!
//! [`PrefixCache`] holds the record of the last run: its visits of sites, and its calls of hooked
//! modules. A run that shares it goes through the record as long as it does the same, and leaves
//! out what it would only compute again. See [`crate::shared`] for what that is good for.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use interloom_engine::{Flow, Interleaver, Misfit, Point, Port};

use super::slot::{halt_with, look, visit};
use super::{Active, Visitor, recover};
use crate::erase::Erase;
use crate::error::ForwardError;
use crate::shared::{Known, Passage, PassedCall, Passing, PrefixCache, Record, Standing};
use crate::value::Value;

/// A run that reuses what the last one has computed: where it stands in the record.
///
/// # States
///
/// A run goes through these states in this order, may begin in any of them, and never goes back:
///
/// 1. **Repeating**, `next < known`: the visits are those of the record, and a call that ends by
///    `known` need not be computed. Until `sure`, the mediators do only what is recorded. From
///    there to `known`, one of them may do something else as soon as it is served.
/// 2. **Recording**, `next >= known`, not `is_full`: the run may differ from the last one. What was
///    recorded from `known` on is forgotten, and the visits and calls of this run take its place.
/// 3. **Full**, `is_full`: the record has used up its bytes. A visit is missing in it, and with it
///    all that follow: nothing is added any more, and `next` stands still. A run that is full while
///    it still repeats keeps repeating, and does not record after that.
///
/// A cache is no exchange. While a recorded run is repeated, a mediator that does only what is
/// recorded may ask for one all the same, inside of a call that is not computed, and the cache may
/// wait there for a value that was not kept. Then the call is computed after all: its visits so
/// far, which are not made again, have left in `made` what the mediators made of the values.
///
/// A visit that is left with another number of exchanges than is recorded ends the repeating: a
/// mediator was served there that had not been, or the other way round, and may have changed what
/// follows.
pub(super) struct Reuse {
    record: Rc<RefCell<Record>>,
    /// The place of the next visit in the record.
    next: usize,
    /// How many of the visits are those of the last run.
    known: usize,
    /// During how many of those the mediators do nothing but what is recorded; `known` at most.
    sure: usize,
    /// The bytes of the values in the record.
    bytes: u64,
    is_full: bool,
    /// Whether mediators may ask for other caches than in the last run, as those of a fork may.
    may_cache: bool,
    /// What is still to come of the visits that a call, computed after all, has made already.
    made: VecDeque<(Point, Made)>,
    /// What the visit that is repeated has made.
    repeated: Option<Flow<Value>>,
}

/// What a visit has made without its call being computed.
enum Made {
    /// No mediator waited.
    Nothing,
    /// A mediator was served.
    Served(Flow<Value>),
    /// It is counted, and is to be made when the value is there. The last one.
    Due,
}

/// A call that has to be computed after all: where it began, how many visits it has, and what those
/// have made that were made without it.
pub(super) struct Interrupted {
    begin: usize,
    visits: usize,
    made: VecDeque<(Point, Made)>,
}

/// What is to be done with a call of a hooked module.
pub(super) enum Planned {
    /// It is computed; the visit at which it begins.
    Compute(usize),
    /// It need not be.
    Reuse(Passed),
}

/// A call that need not be computed.
pub(super) struct Passed {
    /// The visit at which it begins.
    begin: usize,
    /// Its visits, with the values for the mediators that wait there.
    visits: Vec<(Point, Option<Value>)>,
    output: Value,
}

impl Reuse {
    /// Begins a run of which so much is as in the last one.
    pub(super) fn begin(shared: &PrefixCache, known: Known) -> Self {
        let record = shared.record().clone();
        let visits = |is_known: &dyn Fn(Standing) -> bool| {
            let passings = &record.borrow().passage.passings;
            passings.partition_point(|passing| passing.had.is_some_and(is_known))
        };
        let may_cache = matches!(known, Known::Exchanges { .. });
        let (known, sure) = match known {
            Known::Turns(turns) => {
                let known = visits(&|had| had.turns <= turns);
                (known, known)
            }
            Known::Exchanges { all, certain } => (
                visits(&|had| had.exchanges <= all),
                // Where the last of them is made, a mediator may make its next request at once.
                visits(&|had| had.exchanges < certain),
            ),
        };
        let mut reuse = Self {
            record,
            next: 0,
            known,
            sure,
            bytes: 0,
            is_full: false,
            may_cache,
            made: VecDeque::new(),
            repeated: None,
        };
        reuse.forget_from(known);
        reuse
    }

    /// Plans the call that begins with the next visit, that of `point`.
    ///
    /// A call is left out if what it computes is known to be what the last run has returned, and if
    /// every mediator that waits for one of its sites can be served from the record.
    fn plan(&self, point: Point, is_awaited: impl Fn(Point) -> bool) -> Planned {
        let record = &mut *self.record.borrow_mut();
        let (begin, passage) = (self.place(), &record.passage);
        let reusable = passage.calls.get(&begin).filter(|call| {
            let visits = &passage.passings[begin..call.end];
            let is_quiet = || visits.iter().all(|visit| visit.given.is_none());
            let is_missing = |visit: &Passing| visit.given.is_none() && is_awaited(visit.point);
            // The mediators were the same, and did the same, until the call was over in the last
            // run; so its input is the same, and everything that happened to it inside.
            self.made.is_empty() && call.end <= self.known
                // The record is by place, and the model may call another module here than it did:
                // this call is the one of the record only if it begins at the same point.
                && visits[0].point == point
                // Beyond `sure`, a mediator that is served may do something else than it did, such
                // as ask for another site inside of this call. In a call in which no mediator is
                // served, none can.
                && (call.end <= self.sure || is_quiet())
                // A value that no mediator was given in the last run was not kept, and cannot be
                // served now.
                && !visits.iter().any(is_missing)
        });
        let Some(call) = reusable else {
            record.effort.computed += 1;
            return Planned::Compute(begin);
        };
        record.effort.known += passage.calls.range(begin..call.end).count() as u64;
        let visits = passage.passings[begin..call.end].iter();
        let visits = visits.map(|visit| (visit.point, visit.given.clone()));
        Planned::Reuse(Passed {
            begin,
            visits: visits.collect(),
            output: call.output.clone(),
        })
    }

    /// Returns the place in the record of the visit that the model comes to next.
    fn place(&self) -> usize {
        // The last of those that were made already stands at `next`.
        match self.made.len() {
            0 => self.next,
            left => self.next + 1 - left,
        }
    }

    /// Lets a call be computed whose visits were made in part; returns where it begins.
    pub(super) fn interrupt(&mut self, call: Interrupted) -> usize {
        let record = &mut *self.record.borrow_mut();
        let calls = record
            .passage
            .calls
            .range(call.begin..call.begin + call.visits);
        record.effort.known -= calls.count() as u64;
        record.effort.computed += 1;
        self.made = call.made;
        call.begin
    }

    /// Passes a point that was visited already, and returns whether a mediator waited there;
    /// nothing if it was not, and an error if another point was.
    pub(super) fn repeat(&mut self, point: Point) -> Option<Result<bool, Unsteady>> {
        let (expected, made) = self.made.pop_front()?;
        if expected != point {
            self.made.clear();
            return Some(Err(Unsteady));
        }
        let is_awaited = match made {
            Made::Nothing => false,
            Made::Served(flow) => {
                self.repeated = Some(flow);
                true
            }
            Made::Due => true,
        };
        Some(Ok(is_awaited))
    }

    /// Returns what the visit under way has made already.
    pub(super) fn take_repeated(&mut self) -> Option<Flow<Value>> {
        self.repeated.take()
    }

    /// Keeps what a call that began at the visit `begin` has returned.
    pub(super) fn keep(&mut self, begin: usize, output: &Value) {
        // A call that was over before `known` is in the record already; one that is computed again
        // although it was over then returns the same.
        if self.next > self.known && !self.is_full {
            self.bytes += output.bytes();
            let (end, output) = (self.next, output.clone());
            let call = PassedCall { end, output };
            self.record.borrow_mut().passage.calls.insert(begin, call);
        }
    }

    /// Returns whether all visits so far are known to be those of the last run.
    const fn is_known(&self) -> bool {
        self.next <= self.known
    }

    /// Forgets the visits from a place on, and the calls that are not over before it.
    fn forget_from(&mut self, place: usize) {
        let Passage { passings, calls } = &mut self.record.borrow_mut().passage;
        passings.truncate(place);
        calls.retain(|_, call| call.end <= place);
        self.known = self.known.min(place);
        self.sure = self.sure.min(place);
        let given = passings.iter().filter_map(|visit| visit.given.as_ref());
        let put_out = calls.values().map(|call| &call.output);
        self.bytes = given.chain(put_out).map(Value::bytes).sum();
    }
}

/// The model does not do again what it did.
pub(super) struct Unsteady;

impl Visitor for Reuse {
    fn enter(&mut self, _: &Interleaver<Value>, point: Point, value: Option<&Value>) {
        let is_recorded = |record: &Record| record.passage.passings[self.next].point == point;
        if self.next < self.known && !is_recorded(&self.record.borrow()) {
            // The model does not do what it did: it is computed from here on.
            self.forget_from(self.next);
        }
        let record = &mut *self.record.borrow_mut();
        let passings = &mut record.passage.passings;
        self.is_full |= self.bytes > record.budget;
        if self.next < self.known {
            let visit = &mut passings[self.next];
            if let (None, Some(value)) = (&visit.given, value) {
                self.bytes += value.bytes();
                visit.given = Some(value.clone());
            }
        } else if !self.is_full {
            self.bytes += value.map_or(0, Value::bytes);
            passings.push(Passing {
                point,
                given: value.cloned(),
                had: None,
            });
        }
    }

    fn leave(
        &mut self,
        run: &Interleaver<Value>,
        _: Point,
        _: Option<&Value>,
    ) -> Result<(), Misfit> {
        let had = Standing {
            turns: run.turns(),
            exchanges: run.exchanges(),
        };
        let before = match self.record.borrow_mut().passage.passings.get_mut(self.next) {
            Some(visit) => visit.had.replace(had),
            // The record is full.
            None => return Ok(()),
        };
        if before.is_some_and(|before| before.exchanges != had.exchanges) {
            self.known = self.known.min(self.next);
            self.forget_from(self.next + 1);
        }
        self.next += 1;
        Ok(())
    }
}

impl Active {
    /// Returns what is to be done with a call, if the run reuses what the last one has computed.
    pub(super) fn plan(&self, point: Point) -> Option<Planned> {
        let reuse = self.visitors.1.as_ref()?;
        Some(reuse.plan(point, |point| self.interleaver.is_awaited(point)))
    }

    fn is_known(&self) -> bool {
        self.visitors.1.as_ref().is_some_and(Reuse::is_known)
    }

    fn may_cache(&self) -> bool {
        let reuse = self.visitors.1.as_ref();
        reuse.is_some_and(|reuse| reuse.may_cache)
    }
}

/// Visits the sites of a call that is not computed, one by one, so that mediators, caches, counters
/// and observers notice nothing; returns what comes out, which a mediator may have changed at the
/// last of them.
///
/// # Errors
///
/// The call if it has to be computed, since a cache has begun to wait in it for a value that is not
/// known.
pub(super) fn visit_again<O: Erase>(input: Point, call: Passed) -> Result<O, Interrupted> {
    let mut changed = None;
    let (count, mut made) = (call.visits.len(), VecDeque::new());
    for (point, given) in call.visits {
        let is_awaited = look(|run| run.passes(point)).unwrap_or(false);
        let visited = match given.filter(|_| is_awaited) {
            Some(value) => Made::Served(visit(point, value).into()),
            None if !is_awaited => Made::Nothing,
            None if look(|run| run.may_cache()) == Some(true) => {
                made.push_back((point, Made::Due));
                let (begin, visits) = (call.begin, count);
                return Err(Interrupted {
                    begin,
                    visits,
                    made,
                });
            }
            None => halt_with(point, unsteady),
        };
        changed = match &visited {
            Made::Served(Flow::Continue(value) | Flow::Skip(value)) => Some(value.clone()),
            _ => None,
        };
        made.push_back((point, visited));
        // Whatever the mediators do here they have done in the last run, unless they take something
        // from outside of it.
        if look(|run| run.is_known()) != Some(true) {
            halt_with(point, unsteady);
        }
    }
    let point = Point::new(input.path, Port::Output);
    Ok(recover(point, changed.unwrap_or(call.output)))
}

fn unsteady<B>(site: String, _: B) -> ForwardError {
    ForwardError::Unsteady { site }
}
