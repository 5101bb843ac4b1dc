//! A run in the manner of the reference's generation of coroutines (v081).
//!
//! Bodies that wait for the site at hand are served in their order, and again, until none waits for
//! it any more. A body that asks for what is over learns so when the model has finished. An
//! iteration of a loop is waited for by its first request; those that follow are for what comes
//! next. A stop is an error, which a body may catch.

use std::collections::BTreeMap;

use super::model::{Entered, Gates, Unfit, Value};
use super::rows::{join, widened};
use super::stage::{Cache, CameTo, Stage, has_zero_dimensions, point};
use super::task::{Ask, Own};
use crate::cause::{Cause, STOP};
use crate::outcome::{Fault, OF_GRADIENTS, Served};
use crate::user::{Halt, Thing};

pub(super) fn run(stage: Stage) -> CameTo {
    let mut run = Run {
        parked: vec![None; stage.tasks.len()],
        stage,
        meeting: BTreeMap::new(),
        has_started: false,
        is_stopped: false,
        broken: None,
        came_to: CameTo::default(),
    };
    run.play();
    let caches = run.stage.caches.iter();
    run.came_to.caches = caches
        .map(|cache| (cache.name.clone(), cache.collected()))
        .collect();
    run.came_to.faults.extend(run.broken.take());
    run.came_to
}

struct Run {
    stage: Stage,
    /// For what each body waits.
    parked: Vec<Option<Parked>>,
    /// Who waits at each barrier, in the order of arrival.
    meeting: BTreeMap<String, Vec<usize>>,
    /// Whether all bodies have come to their first request.
    has_started: bool,
    is_stopped: bool,
    broken: Option<Fault>,
    came_to: CameTo,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Parked {
    At { location: String, occurrence: u32 },
    Barrier,
}

struct Halted;

impl Run {
    fn play(&mut self) {
        if self.stage.caches.iter().any(|cache| cache.owner.is_none()) {
            // There are caches of bodies only.
            self.broken = Some(Fault::of(Cause::Class("ValueError")));
            self.stage.caches.clear();
            return;
        }
        for who in self.stage.all() {
            if let Err(fault) = self.step(who, None) {
                self.broken = Some(fault).filter(|fault| fault.cause != STOP);
                return;
            }
        }
        self.has_started = true;
        let (network, input) = (self.stage.network(), self.stage.input.clone());
        let see = |run: &mut Self, output: Value| run.came_to.outputs.extend(output.item());
        let _halted = match self.stage.tokens {
            Some(tokens) => network.generate(self, input, tokens, see),
            None => network.forward(self, input).map(|output| see(self, output)),
        };
        if self.broken.is_none() {
            self.broken = self.unwind();
        }
    }

    /// Refuses every body that still waits, as too late; in a loop that is how it ends.
    fn unwind(&mut self) -> Option<Fault> {
        for who in self.stage.all() {
            let Some(parked) = self.parked[who].clone() else {
                continue;
            };
            let Own { iteration, is_met } = self.stage.tasks[who].own();
            let (fault, is_expected) = match parked {
                Parked::Barrier => (Fault::of(Cause::Class("ValueError")), false),
                Parked::At {
                    location,
                    occurrence,
                } => {
                    let site = format!("{}.i{occurrence}", location.replace(".skip", ".input"));
                    let fault = Fault::about(Cause::Class("OutOfOrderError"), &site);
                    (fault, iteration != 0 || is_met)
                }
            };
            if let Err(thrown) = self.step(who, Some(Err(Halt::Fault(fault.clone()))))
                && !(is_expected && thrown == fault)
            {
                return Some(thrown);
            }
        }
        None
    }

    /// Lets a body go on until it waits for the model or at a barrier.
    fn step(
        &mut self,
        who: usize,
        mut answer: Option<Result<Value, Halt<Fault>>>,
    ) -> Result<(), Fault> {
        loop {
            self.parked[who] = None;
            if let Some(came_to) = self.stage.tasks[who].resume(answer) {
                return match came_to {
                    Ok(()) | Err(Halt::Stopped) => Ok(()),
                    Err(Halt::Fault(fault) | Halt::Fatal(fault)) => Err(fault),
                };
            }
            let ask = self.stage.tasks[who].ask.clone();
            answer = Some(match ask.expect("who waits has asked") {
                Ask::Value(point) | Ask::Swap(point, _) => match self.park(who, &point, &point) {
                    Some(fault) => Err(Halt::Fault(fault)),
                    None => return Ok(()),
                },
                Ask::Skip(path, _) => {
                    match self.park(who, &point(&path, "input"), &point(&path, "skip")) {
                        Some(fault) => Err(Halt::Fault(fault)),
                        None => return Ok(()),
                    }
                }
                Ask::Cache(..) if self.has_started => Err(Halt::Fault(Fault::about(
                    Cause::Class("ValueError"),
                    "tracer.cache()",
                ))),
                Ask::Cache(name, collects) => {
                    self.stage
                        .caches
                        .push(Cache::new(&name, Some(who), collects));
                    Ok(Thing::None)
                }
                Ask::Barrier(name) => match self.arrive(who, &name) {
                    Some(answer) => answer.map_err(Halt::Fault),
                    None => return Ok(()),
                },
                Ask::Served(event, of) => {
                    let served = Served(OF_GRADIENTS, event, format!("<tensor{of}>.grad"));
                    self.came_to.served.push(served);
                    Ok(Thing::None)
                }
                Ask::Begin { .. }
                | Ask::Finish { .. }
                | Ask::Stop
                | Ask::Backward(_)
                | Ask::Gradient { .. } => {
                    unreachable!("coroutines loop and stop by themselves")
                }
            });
        }
    }

    /// Lets a body wait for a location; returns the error of one that the model does not have.
    fn park(&mut self, who: usize, point: &str, location: &str) -> Option<Fault> {
        if let Some((module, _)) = point.split_once(".source.") {
            // From its next call on the operations of a module are passed.
            let mut named = self.stage.scene.named.borrow_mut();
            named.insert(module.to_owned());
        }
        if !self.stage.has_point(point) {
            return Some(Fault::of(Cause::Class("AttributeError")));
        }
        let Own { iteration, is_met } = self.stage.tasks[who].own();
        let occurrence = if is_met {
            self.stage.count(location)
        } else {
            iteration
        };
        self.parked[who] = Some(Parked::At {
            location: location.to_owned(),
            occurrence,
        });
        None
    }

    /// The last to come lets the others go, and goes on without waiting; what fails then fails in
    /// it.
    fn arrive(&mut self, who: usize, name: &str) -> Option<Result<Value, Fault>> {
        let Some(&participants) = self.stage.barriers.get(name) else {
            return Some(Err(Fault::of(Cause::UnknownBarrier)));
        };
        let here = self.meeting.entry(name.to_owned()).or_default();
        if here.len() + 1 < participants as usize {
            here.push(who);
            self.parked[who] = Some(Parked::Barrier);
            return None;
        }
        for other in std::mem::take(here) {
            let served = Served(other as u32, "BARRIER", String::new());
            self.came_to.served.push(served);
            if let Err(fault) = self.step(other, Some(Ok(Thing::None))) {
                return Some(Err(fault));
            }
        }
        Some(Ok(Thing::None))
    }

    /// Passes a location; `skips` are the replacements of a module, if this is where it is skipped.
    fn pass(
        &mut self,
        location: &str,
        mut value: Value,
        skips: &mut Skips,
    ) -> Result<Value, Halted> {
        let occurrence = self.stage.count(location);
        let here = Parked::At {
            location: location.to_owned(),
            occurrence,
        };
        let mut is_stopping = false;
        loop {
            let waits = |who: &usize| self.parked[*who].as_ref() == Some(&here);
            let ready: Vec<usize> = self.stage.all().filter(waits).collect();
            if ready.is_empty() {
                break;
            }
            for who in ready {
                match self.serve(who, &here, value.clone(), skips) {
                    Ok(changed) => value = changed,
                    // What it has changed here is lost; the others are served.
                    Err(fault) if fault.cause == STOP => is_stopping = true,
                    Err(fault) => return Err(self.fail(fault)),
                }
            }
        }
        self.stage
            .counts
            .insert(location.to_owned(), occurrence + 1);
        if self.stage.is_batched() && self.is_observed(location) && has_zero_dimensions(&value) {
            return Err(self.fail(Fault::of(Cause::Class("IndexError"))));
        }
        self.stage.collect(location, &value);
        if is_stopping {
            self.is_stopped = true;
            return Err(Halted);
        }
        Ok(value)
    }

    /// Serves a body as long as it waits for this visit; returns the value with its changes.
    fn serve(
        &mut self,
        who: usize,
        here: &Parked,
        mut value: Value,
        skips: &mut Skips,
    ) -> Result<Value, Fault> {
        let rows = self.stage.groups[who].filter(|_| self.stage.is_batched());
        while self.parked[who].as_ref() == Some(here) {
            let Own { iteration, is_met } = self.stage.tasks[who].own();
            self.stage.tasks[who].set_own(Own {
                iteration,
                is_met: is_met || iteration != 0,
            });
            if rows.is_some() && has_zero_dimensions(&value) {
                return Err(Fault::of(Cause::Class("IndexError")));
            }
            let ask = self.stage.tasks[who].ask.clone();
            let (event, answer) = match ask.expect("who waits has asked") {
                Ask::Value(_) => {
                    let own = rows.map_or_else(|| value.clone(), |rows| rows.of(&value));
                    ("VALUE", own)
                }
                Ask::Swap(_, part) => {
                    value = match rows {
                        Some(rows) => {
                            let widened = widened(rows, &value, &part);
                            widened.map_err(|_| Fault::of(Cause::Class("RuntimeError")))?
                        }
                        None => part,
                    };
                    ("SWAP", Thing::None)
                }
                Ask::Skip(_, part) => {
                    skips.add(rows, part);
                    ("SKIP", Thing::None)
                }
                other => unreachable!("{other:?} waits for no location"),
            };
            let Parked::At {
                location,
                occurrence,
            } = here
            else {
                unreachable!("the model passes locations")
            };
            let site = format!("{}.i{occurrence}", location.replace(".skip", ".input"));
            self.came_to.served.push(Served(who as u32, event, site));
            self.step(who, Some(Ok(answer)))?;
        }
        Ok(value)
    }

    fn is_observed(&self, location: &str) -> bool {
        let mut caches = self.stage.caches.iter();
        caches.any(|cache| {
            cache.has(location)
                && cache
                    .owner
                    .is_some_and(|who| self.stage.groups[who].is_some())
        })
    }

    fn fail(&mut self, fault: Fault) -> Halted {
        self.broken = Some(fault);
        Halted
    }
}

/// What a module is skipped with.
enum Skips {
    Nothing,
    Whole(Value),
    /// Parts by their first rows.
    Parts(Vec<(usize, usize, Value)>),
}

impl Skips {
    /// One for the whole batch and those for rows take the place of each other.
    fn add(&mut self, rows: Option<super::rows::Rows>, value: Value) {
        match (rows, &mut *self) {
            (None, _) => *self = Self::Whole(value),
            (Some(rows), Self::Parts(parts)) => parts.push((rows.start, rows.count, value)),
            (Some(rows), _) => *self = Self::Parts(vec![(rows.start, rows.count, value)]),
        }
    }

    /// One output of them all; the parts must have every row.
    fn joined(self, batch: usize) -> Result<Option<Value>, Fault> {
        let mut parts = match self {
            Self::Nothing => return Ok(None),
            Self::Whole(value) => return Ok(Some(value)),
            Self::Parts(parts) => parts,
        };
        parts.sort_by_key(|(start, ..)| *start);
        let covered = parts.iter().try_fold(0, |covered, (start, count, _)| {
            (*start == covered).then_some(covered + count)
        });
        if covered != Some(batch) {
            return Err(Fault::of(Cause::Class("ValueError")));
        }
        let parts: Vec<Value> = parts.into_iter().map(|(.., value)| value).collect();
        let joined = join(&parts).map_err(|_| Fault::of(Cause::Class("RuntimeError")))?;
        Ok(Some(joined))
    }
}

impl Gates for Run {
    type Halt = Halted;

    fn enter(&mut self, path: &str, call: Value) -> Result<Entered, Halted> {
        let call = self.pass(&point(path, "input"), call, &mut Skips::Nothing)?;
        let mut skips = Skips::Nothing;
        self.pass(&point(path, "skip"), Thing::None, &mut skips)?;
        let batch = self
            .stage
            .groups
            .iter()
            .flatten()
            .map(|rows| rows.batch)
            .next();
        let joined = skips.joined(batch.unwrap_or(0));
        Ok(match joined.map_err(|fault| self.fail(fault))? {
            Some(output) => Entered::Skip(output),
            None => Entered::Compute(call),
        })
    }

    fn leave(&mut self, path: &str, output: Value) -> Result<Value, Halted> {
        self.pass(&point(path, "output"), output, &mut Skips::Nothing)
    }

    fn passes_operations(&mut self, path: &str) -> bool {
        self.stage.scene.named.borrow().contains(path)
    }

    fn unfit(&mut self, unfit: Unfit) -> Halted {
        self.fail(Fault::of(Cause::Class(match unfit {
            Unfit::Kind => "TypeError",
            Unfit::Shape => "RuntimeError",
        })))
    }
}
