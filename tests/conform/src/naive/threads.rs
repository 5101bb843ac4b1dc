//! A run in the manner of the reference's generation of threads (v050).
//!
//! Each visit of a site steps every body once, in their order. A request that is for another site
//! notes that this one has passed, and only so is it known later that it is too late. An iteration
//! of a loop is a child, whose parent goes on when the child has ended. Rows are written in place.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Entered, Gates, Unfit, Value};
use super::rows::{join, written};
use super::stage::{Cache, CameTo, Stage, has_zero_dimensions, point};
use super::task::Ask;
use crate::cause::{Cause, STOP};
use crate::outcome::{Fault, OF_GRADIENTS, Served};
use crate::user::{Halt, Thing};

pub(super) fn run(mut stage: Stage) -> CameTo {
    // With edits before them the rows of invokes are taken for those of the edits, which then
    // belong to no body.
    let has_lost_rows = stage.edits > 0 && stage.is_batched();
    if has_lost_rows {
        stage.groups.fill(None);
    }
    let bodies = stage.tasks.len();
    let mut run = Run {
        stage,
        has_lost_rows,
        events: vec![None; bodies],
        children: vec![Vec::new(); bodies],
        history: vec![BTreeSet::new(); bodies],
        meeting: BTreeMap::new(),
        here: None,
        value: Thing::None,
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
    has_lost_rows: bool,
    /// What each body has sent and what has not been handled.
    events: Vec<Option<Event>>,
    /// The iterations that each body is in, the innermost last.
    children: Vec<Vec<Child>>,
    /// The sites that passed while a body waited for another one.
    history: Vec<BTreeSet<String>>,
    /// Who has come to each barrier.
    meeting: BTreeMap<String, Vec<usize>>,
    /// The site at hand.
    here: Option<String>,
    value: Value,
    is_stopped: bool,
    broken: Option<Fault>,
    came_to: CameTo,
}

#[derive(Clone, Debug)]
enum Event {
    Ask(Ask),
    /// The last to come to a barrier lets these go.
    Release(Vec<usize>),
    Wait,
    End,
    Exception(Fault),
}

#[derive(Clone, Default)]
struct Child {
    history: BTreeSet<String>,
    has_ended: bool,
}

/// What a step may come to, other than its end.
enum Thrown {
    Fault(Fault),
    /// The module at hand is not computed.
    Skip(Value),
}

struct Halted;

impl Run {
    fn play(&mut self) {
        for who in self.stage.all() {
            self.resume(who, None);
        }
        for who in self.stage.all() {
            match self.step(who, 0) {
                Ok(()) | Err(Thrown::Skip(_)) => {}
                // A stop before the model starts ends nothing but itself.
                Err(Thrown::Fault(fault)) if fault.cause == STOP => break,
                Err(Thrown::Fault(fault)) => return self.broken = Some(fault),
            }
        }
        let (network, input) = (self.stage.network(), self.stage.input.clone());
        let see = |run: &mut Self, output: Value| run.came_to.outputs.extend(output.item());
        let _halted = match self.stage.tokens {
            Some(tokens) => network.generate(self, input, tokens, see),
            None => network.forward(self, input).map(|output| see(self, output)),
        };
        self.here = None;
        if self.broken.is_none() {
            self.broken = self.trips_over_list().or_else(|| self.unwind());
        }
    }

    /// At the end the reference looks whether a cache has all that it lists, and takes the passes
    /// of a module for one.
    fn trips_over_list(&self) -> Option<Fault> {
        let mut caches = self
            .stage
            .caches
            .iter()
            .filter(|cache| cache.owner.is_some());
        let trips = caches.any(|cache| {
            cache.collects.inputs
                && cache.collects.outputs
                && cache
                    .collects
                    .modules
                    .iter()
                    .flatten()
                    .any(|path| cache.passes(path) > 1)
        });
        trips.then(|| Fault::of(Cause::Class("AttributeError")))
    }

    /// Refuses every body that still waits for a site, as not provided; an iteration ends its body
    /// with that.
    fn unwind(&mut self) -> Option<Fault> {
        for who in self.stage.all() {
            let Some(Event::Ask(ask)) = self.events[who].take() else {
                continue;
            };
            let site = self.site_of(who, &ask)?;
            let fault = Fault::about(Cause::Class("ValueError"), &site);
            self.resume(who, Some(Err(Halt::Fault(fault.clone()))));
            let is_child = !self.children[who].is_empty();
            let level = self.children[who].len();
            match self.step(who, level) {
                Err(Thrown::Fault(thrown))
                    if is_child && thrown.cause == Cause::Class("ValueError") => {}
                Err(Thrown::Fault(thrown)) => return Some(thrown),
                // Who ends now changes what is gone through.
                Ok(()) if self.has_ended(who) => {
                    return Some(Fault::of(Cause::Class("RuntimeError")));
                }
                Ok(()) | Err(Thrown::Skip(_)) => {}
            }
        }
        None
    }

    fn has_ended(&self, who: usize) -> bool {
        self.stage.tasks[who].is_over()
            || self.children[who]
                .last()
                .is_some_and(|child| child.has_ended)
    }

    /// Lets a body run until it sends something that has to be handled.
    fn resume(&mut self, who: usize, mut answer: Option<Result<Value, Halt<Fault>>>) {
        loop {
            if let Some(came_to) = self.stage.tasks[who].resume(answer) {
                self.events[who] = Some(match came_to {
                    Ok(()) | Err(Halt::Stopped) => Event::End,
                    Err(Halt::Fault(fault) | Halt::Fatal(fault)) => Event::Exception(fault),
                });
                return;
            }
            let ask = self.stage.tasks[who]
                .ask
                .clone()
                .expect("who waits has asked");
            answer = Some(match ask {
                Ask::Begin {
                    number,
                    last: None,
                    is_first: false,
                } if self.stage.tokens.is_some_and(|tokens| number >= tokens) => {
                    Err(Halt::Fault(Fault::of(Cause::Class("over"))))
                }
                Ask::Cache(name, collects) => {
                    self.stage
                        .caches
                        .push(Cache::new(&name, Some(who), collects));
                    Ok(Thing::None)
                }
                Ask::Served(event, of) => {
                    let served = Served(OF_GRADIENTS, event, format!("<tensor{of}>.grad"));
                    self.came_to.served.push(served);
                    Ok(Thing::None)
                }
                Ask::Barrier(name) => match self.arrive(who, &name) {
                    Ok(event) => {
                        self.events[who] = Some(event);
                        return;
                    }
                    Err(fault) => Err(Halt::Fault(fault)),
                },
                ask => match self.site_of(who, &ask) {
                    Some(_) if !self.has_point(&ask) => {
                        Err(Halt::Fault(Fault::of(Cause::Class("AttributeError"))))
                    }
                    _ => {
                        self.events[who] = Some(Event::Ask(ask));
                        return;
                    }
                },
            });
        }
    }

    fn arrive(&mut self, who: usize, name: &str) -> Result<Event, Fault> {
        let Some(&participants) = self.stage.barriers.get(name) else {
            return Err(Fault::of(Cause::UnknownBarrier));
        };
        let here = self.meeting.entry(name.to_owned()).or_default();
        here.push(who);
        Ok(if here.len() < participants as usize {
            Event::Wait
        } else {
            Event::Release(std::mem::take(here))
        })
    }

    /// Handles what the iteration of a body at this level has sent, and what is in it.
    fn step(&mut self, who: usize, level: usize) -> Result<(), Thrown> {
        if level < self.children[who].len() {
            self.step(who, level + 1)?;
            if !self.children[who][level].has_ended {
                return Ok(());
            }
            self.children[who].truncate(level);
            self.resume(who, Some(Ok(Thing::None)));
        }
        while let Some(event) = self.events[who].take() {
            match event {
                Event::End => break,
                Event::Wait => break,
                Event::Exception(fault) => return Err(Thrown::Fault(fault)),
                Event::Release(several) => {
                    for other in self.stage.all().filter(|who| several.contains(who)) {
                        self.resume(other, Some(Ok(Thing::None)));
                        self.step(other, self.children[other].len())?;
                    }
                    break;
                }
                Event::Ask(Ask::Begin { .. }) => {
                    self.children[who].push(Child::default());
                    self.resume(who, Some(Ok(Thing::None)));
                    self.step(who, level + 1)?;
                    break;
                }
                Event::Ask(Ask::Finish { came_to, .. }) => {
                    came_to.map_err(Thrown::Fault)?;
                    let child = self.children[who].last_mut();
                    child.expect("an iteration ends").has_ended = true;
                    break;
                }
                Event::Ask(ask) => match self.answer(who, &ask)? {
                    Some(answer) => self.resume(who, Some(answer)),
                    None => {
                        self.events[who] = Some(Event::Ask(ask));
                        break;
                    }
                },
            }
        }
        if level == 0
            && let Some(here) = self.here.clone()
        {
            self.observe(who, &here)?;
        }
        Ok(())
    }

    /// Answers a request for a site, if it can be answered now.
    fn answer(
        &mut self,
        who: usize,
        ask: &Ask,
    ) -> Result<Option<Result<Value, Halt<Fault>>>, Thrown> {
        let site = self.site_of(who, ask).expect("a request for a site");
        let history = match self.children[who].last_mut() {
            Some(child) => &mut child.history,
            None => &mut self.history[who],
        };
        if self.here.as_ref() != Some(&site) {
            if history.contains(&site) {
                let class = match ask {
                    Ask::Swap(..) => "ValueError",
                    _ => "OutOfOrderError",
                };
                return Ok(Some(Err(Halt::Fault(Fault::about(
                    Cause::Class(class),
                    &site,
                )))));
            }
            history.extend(self.here.clone());
            return Ok(None);
        }
        let rows = self.stage.groups[who].filter(|_| self.stage.is_batched());
        let event = match ask {
            Ask::Value(_) => "VALUE",
            Ask::Swap(..) => "SWAP",
            _ => "SKIP",
        };
        let logged = if site.contains(".i") {
            site.clone()
        } else {
            format!("{site}.i0")
        };
        self.came_to.served.push(Served(who as u32, event, logged));
        if rows.is_some() && has_zero_dimensions(&self.value) {
            return Err(Thrown::Fault(Fault::of(Cause::Class("IndexError"))));
        }
        match ask {
            Ask::Value(_) => {
                let own = rows.map_or_else(|| self.value.clone(), |rows| rows.of(&self.value));
                Ok(Some(Ok(own)))
            }
            Ask::Swap(_, part) => {
                let is_lost = self.has_lost_rows && who < self.stage.edits;
                self.value = match rows {
                    _ if is_lost => self.value.clone(),
                    None => part.clone(),
                    Some(rows) => {
                        let fault = |_| Thrown::Fault(Fault::of(Cause::Class("RuntimeError")));
                        written(rows, &self.value, part).map_err(fault)?
                    }
                };
                Ok(Some(Ok(Thing::None)))
            }
            Ask::Skip(_, value) => {
                history.insert(site);
                self.resume(who, Some(Ok(Thing::None)));
                Err(Thrown::Skip(value.clone()))
            }
            other => unreachable!("{other:?} waits for no site"),
        }
    }

    /// Shows the caches of a body what passes.
    fn observe(&mut self, who: usize, here: &str) -> Result<(), Thrown> {
        let point = here.rsplit_once(".i").map_or(here, |(point, _)| point);
        let is_own = |cache: &&mut Cache| cache.owner == Some(who) && cache.has(point);
        let rows = self.stage.groups[who].filter(|_| self.stage.is_batched());
        let own = rows.map_or_else(|| self.value.clone(), |rows| rows.of(&self.value));
        for cache in self.stage.caches.iter_mut().filter(is_own) {
            if rows.is_some() && has_zero_dimensions(&self.value) {
                return Err(Thrown::Fault(Fault::of(Cause::Class("IndexError"))));
            }
            cache.collect(point, own.clone());
        }
        Ok(())
    }

    /// The site of a request; operations have no iterations.
    fn site_of(&self, who: usize, ask: &Ask) -> Option<String> {
        let point = match ask {
            Ask::Value(point) | Ask::Swap(point, _) => point.clone(),
            Ask::Skip(path, _) => point(path, "input"),
            _ => return None,
        };
        let iteration = self.stage.tasks[who].own().iteration;
        Some(if point.contains(".source.") {
            point
        } else {
            format!("{point}.i{iteration}")
        })
    }

    fn has_point(&self, ask: &Ask) -> bool {
        match ask {
            Ask::Value(point) | Ask::Swap(point, _) => self.stage.has_point(point),
            Ask::Skip(path, _) => self.stage.has_point(&point(path, "input")),
            _ => true,
        }
    }

    /// Passes a site; returns the value, and what the module is skipped with.
    fn pass(&mut self, point: &str, value: Value) -> Result<(Value, Option<Value>), Halted> {
        let count = self.stage.count(point);
        self.stage.counts.insert(point.to_owned(), count + 1);
        let here = if point.contains(".source.") {
            point.to_owned()
        } else {
            format!("{point}.i{count}")
        };
        (self.here, self.value) = (Some(here), value);
        let mut skips = Vec::new();
        for who in self.stage.all() {
            match self.step(who, 0) {
                Ok(()) => {}
                Err(Thrown::Skip(value)) => {
                    for cache in &mut self.stage.caches {
                        if cache.owner == Some(who) {
                            cache.collect(point, value.clone());
                        }
                    }
                    skips.push(value);
                }
                Err(Thrown::Fault(fault)) => return Err(self.fail(fault)),
            }
        }
        let value = std::mem::replace(&mut self.value, Thing::None);
        if !skips.is_empty() && skips.len() < self.stage.tasks.len() {
            return Err(self.fail(Fault::of(Cause::Class("ValueError"))));
        }
        for cache in &mut self.stage.caches {
            if cache.owner.is_none() {
                cache.collect(point, value.clone());
            }
        }
        let joined = if skips.is_empty() {
            None
        } else {
            match join(&skips) {
                Ok(joined) => Some(joined),
                Err(_) => return Err(self.fail(Fault::of(Cause::Class("RuntimeError")))),
            }
        };
        Ok((value, joined))
    }

    fn fail(&mut self, fault: Fault) -> Halted {
        match fault.cause {
            STOP => self.is_stopped = true,
            _ => self.broken = Some(fault),
        }
        Halted
    }
}

impl Gates for Run {
    type Halt = Halted;

    fn enter(&mut self, path: &str, call: Value) -> Result<Entered, Halted> {
        let (call, skipped) = self.pass(&point(path, "input"), call)?;
        Ok(match skipped {
            // Nothing is no skip.
            None | Some(Thing::None) => Entered::Compute(call),
            Some(output) => Entered::Skip(output),
        })
    }

    fn leave(&mut self, path: &str, output: Value) -> Result<Value, Halted> {
        Ok(self.pass(&point(path, "output"), output)?.0)
    }

    fn passes_operations(&mut self, _: &str) -> bool {
        true
    }

    fn unfit(&mut self, unfit: Unfit) -> Halted {
        self.fail(Fault::of(Cause::Class(match unfit {
            Unfit::Kind => "TypeError",
            Unfit::Shape => "RuntimeError",
        })))
    }
}
