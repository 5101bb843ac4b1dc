//! What a run must do, said as naively as possible.
//!
//! The model is plain recursion over its modules, and so is a mediator over its lines ([`mediate`]): where it has to wait
//! it is left alone, and looked at again at each site, in definition order. The sites that were passed and the exchanges are
//! nearly all that a run remembers. Only the vocabulary (events, sites) is shared with the interleaver.

use std::cell::RefCell;
use std::task::{Context, Poll, Waker};

use interloom_engine::array::Array;
use interloom_engine::{Event, Point, Port, Request, Site};

use crate::mind::{Running, mediate};
use crate::programs::{BARRIERS, Case};
use crate::steps::{Collects, site_of};
use crate::support::{Asked, Record, Table, to_array, to_table};
use crate::verdict::{End, Verdict};

/// What is told to a mediator: of a fault, its code.
pub(crate) type Told<T> = Result<T, &'static str>;

/// The value that is exchanged, if there is one.
type Outcome = Told<Option<Array>>;

pub(crate) struct Run<'c> {
    pub(crate) case: &'c Case,
    states: Vec<State>,
    passed: Vec<Pass>,
    log: Vec<Record>,
    /// Who goes on next, and from which barrier.
    released: Vec<(usize, usize)>,
    stopped: Option<End>,
    broken: Option<End>,
    pub(crate) is_closing: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Running,
    AtBarrier(usize),
    Released,
    Ended,
    Failed(&'static str),
}

/// A site with its value, and the skips asked for there.
pub(crate) struct Pass {
    pub(crate) site: Site,
    pub(crate) value: Table,
    skips: Vec<(usize, Table)>,
    /// Not every mediator has been looked at, or one has failed here.
    pub(crate) is_open: bool,
}

/// The model with its mediators.
struct Stage<'r, 'c> {
    run: &'r RefCell<Run<'c>>,
    mediators: Vec<Running<'r>>,
}

/// Runs a case; the second are the sites that were passed.
pub(crate) fn judge(case: &Case) -> (Verdict, Vec<Pass>) {
    let run = RefCell::new(Run {
        case,
        states: vec![State::Running; case.programs.len()],
        passed: Vec::new(),
        log: Vec::new(),
        released: Vec::new(),
        stopped: None,
        broken: None,
        is_closing: false,
    });
    let all = 0..case.programs.len();
    let mut stage = Stage {
        run: &run,
        mediators: all.map(|who| mediate(&run, case, who)).collect(),
    };
    let output = stage.play();
    drop(stage);
    let run = run.into_inner();
    let verdict = Verdict {
        end: run.end(),
        output: output.as_deref().map(to_array),
        log: run.log,
    };
    (verdict, run.passed)
}

impl Stage<'_, '_> {
    fn play(&mut self) -> Option<Table> {
        (0..self.mediators.len()).for_each(|who| self.turn(who)); // R1: each, also if one fails.
        let run = self.run.borrow_mut();
        let input = (!run.is_halted()).then(|| to_table(&run.case.input()));
        drop(run);
        let output = input.and_then(|input| self.call(0, input));
        if !self.run.borrow().has_failed() {
            self.run.borrow_mut().is_closing = true;
            (0..self.mediators.len()).for_each(|who| self.turn(who)); // R11: each its own verdict.
            let mut run = self.run.borrow_mut();
            let unmet = run.meetings(&[0, 1, 2]).map(End::Unmet); // R43
            run.broken = run.circle().or(unmet);
        }
        output
    }

    fn call(&mut self, index: usize, x: Table) -> Option<Table> {
        let case = self.run.borrow().case;
        let module = &case.model.modules[index];
        let path = case.model.map.path(&module.path)?;
        let (mut x, skipped) = self.pass(Point::new(path, Port::Input), x)?;
        if skipped.is_none() {
            for &child in &module.children {
                x = self.call(child, x)?;
            }
        }
        let output = skipped.unwrap_or_else(|| to_table(&module.arithmetic(&to_array(&x))));
        Some(self.pass(Point::new(path, Port::Output), output)?.0)
    }

    /// Passes a site, and returns its value and what it is skipped with; nothing if the model must not go on.
    fn pass(&mut self, point: Point, value: Table) -> Option<(Table, Option<Table>)> {
        self.run.borrow_mut().begin(point, value);
        for who in 0..self.mediators.len() {
            if !self.run.borrow().has_failed() {
                self.turn(who); // R2: definition order. R60: also after a stop.
            }
        }
        self.run.borrow_mut().conclude()
    }

    /// R41: after a mediator come those that it has released, and then those that they have.
    fn turn(&mut self, who: usize) {
        let mut next = Some(who);
        while let Some(who) = next {
            self.step(who);
            next = self.run.borrow_mut().next_released();
        }
    }

    /// R2, R3: lets a mediator run until it waits for something that is not here.
    fn step(&mut self, who: usize) {
        if self.run.borrow().is_running(who) {
            let mut context = Context::from_waker(Waker::noop());
            let _: Poll<_> = self.mediators[who].as_mut().poll(&mut context);
        }
        let mut run = self.run.borrow_mut();
        if !run.is_closing && !run.is_halted() {
            run.broken = run.circle(); // R44: as soon as it is certain.
        }
    }
}

impl Run<'_> {
    fn begin(&mut self, point: Point, value: Table) {
        let before = self.passed.iter().filter(|pass| pass.site.point == point);
        self.passed.push(Pass {
            site: point.at(before.count() as u32), // R30
            value,
            skips: Vec::new(),
            is_open: true,
        });
    }

    fn conclude(&mut self) -> Option<(Table, Option<Table>)> {
        let here = self.passed.last()?;
        let mut output = None;
        if !here.skips.is_empty() && !self.is_halted() {
            match self.joined(here) {
                Ok(joined) => output = Some(joined),
                Err(broken) => self.broken = Some(broken),
            }
        }
        let (is_open, is_halted) = (self.has_failed(), self.is_halted());
        let here = self.passed.last_mut()?;
        here.is_open = is_open;
        (!is_halted).then(|| (here.value.clone(), output))
    }

    /// R21, R22: one output from the replacements of all.
    fn joined(&self, Pass { site, skips, .. }: &Pass) -> Result<Table, End> {
        let skipping: Vec<usize> = skips.iter().map(|(who, _)| *who).collect();
        let has_rows = |who: &usize| self.case.programs[*who].rows.is_some();
        let all = (0..self.states.len()).filter(has_rows);
        let absent: Vec<usize> = all.filter(|who| !skipping.contains(who)).collect();
        if !absent.is_empty() {
            return Err(End::PartialSkip(*site, skipping, absent));
        }
        let batch = self.case.batch();
        let rows = |who: usize| self.case.programs[who].rows.unwrap_or(batch);
        let is_odd = |(_, part): &(usize, Table)| part[0].len() != skips[0].1[0].len();
        match skips.iter().rfind(|(who, _)| rows(*who) == batch) {
            Some((_, part)) => Ok(part.clone()),
            None if skips.iter().any(is_odd) => Err(End::SkipMisfit(*site, skipping)),
            None => {
                let mut parts = skips.clone();
                parts.sort_by_key(|(who, _)| *who);
                Ok(parts.into_iter().flat_map(|(_, part)| part).collect())
            }
        }
    }

    /// Answers a request for a site or of the blackboard, if it can be answered now.
    pub(crate) fn ask(&mut self, who: usize, own: u32, wish: &Request<Array>) -> Poll<Told<Array>> {
        let (asked, told) = match wish {
            Request::Put { name, value } => (Err(name.to_string()), Ok(value.clone())),
            Request::Get { name } => {
                let asked = Err(name.to_string());
                let is_it =
                    |put: &&Record| put.event == Event::Put && put.asked.as_ref() == Some(&asked);
                let put = self.log.iter().rfind(is_it); // R72
                let value = put.and_then(|put| put.value.clone());
                (asked, value.ok_or("E016"))
            }
            _ => {
                let asked = site_of(wish, own, &self.case.model.map);
                let is_passed = |site| self.passed.iter().any(|pass| pass.site == site);
                let told = match asked {
                    Err(_) => Err("E001"), // R13
                    Ok(site) if self.at() == Some(site) => self.serve(who, wish),
                    Ok(site) if is_passed(site) => Err("E002"), // R10
                    Ok(_) if self.is_closing => Err("E003"),    // R11
                    Ok(_) => return Poll::Pending,
                };
                (asked, told)
            }
        };
        self.note(who, wish.event(), Some(asked), told.clone().map(Some));
        Poll::Ready(told)
    }

    /// Does what a mediator asks for at this very site, and returns the value that was exchanged.
    fn serve(&mut self, who: usize, request: &Request<Array>) -> Told<Array> {
        let here = self.passed.last_mut().expect("a site");
        let rows = self.case.own_rows(who, here.value.len());
        let own = to_array(&here.value[rows.clone()]);
        let is_owner = self.case.programs[who].rows.unwrap_or(0) == self.case.batch();
        match request {
            Request::Skip { .. } if here.site.point.port != Port::Input => Err("E005"), // R20
            Request::Skip { value, .. } => {
                here.skips.retain(|(skipping, _)| *skipping != who);
                here.skips.push((who, to_table(value)));
                Ok(value.clone())
            }
            Request::Swap { reshape: true, .. } if !is_owner => Err("E006"), // R51
            Request::Swap { value, reshape, .. } if *reshape || value.shape() == own.shape() => {
                here.value.splice(rows, to_table(value));
                Ok(value.clone())
            }
            Request::Swap { .. } => Err("E004"), // R51
            _ => Ok(own),
        }
    }

    /// R71; what a cache collects can be seen from what the sites have passed on.
    pub(crate) fn cache(&self, what: &Collects) -> Told<()> {
        let map = &self.case.model.map;
        let is_late = |pass: &Pass| self.at() != Some(pass.site) && what.has(pass.site.point, map);
        let mut modules = what.modules.iter().flatten();
        match modules.all(|path| map.path(path).is_some()) {
            false => Err("E001"),
            true if self.passed.iter().any(is_late) => Err("E017"),
            true => Ok(()),
        }
    }

    pub(crate) fn retire(&mut self, who: usize, event: Event, told: Told<()>) {
        self.note(who, event, None, told.map(|()| None));
        self.states[who] = told.map_or_else(State::Failed, |()| State::Ended);
        if event == Event::Stop && !self.is_closing && self.stopped.is_none() {
            self.stopped = Some(End::Stopped(who, self.at())); // R60
        }
    }

    pub(crate) fn arrive(&mut self, who: usize, name: &str) -> Told<()> {
        let Some(place) = BARRIERS.iter().position(|known| *known == name) else {
            self.note(who, Event::Barrier, Some(Err(name.to_owned())), Err("E015"));
            return Err("E015");
        };
        self.states[who] = State::AtBarrier(place);
        let there = self.waiting_at(&[place]);
        if there.len() >= self.case.barriers[place] as usize {
            for who in there {
                self.states[who] = State::Released; // R40, R42
                self.released.push((who, place));
            }
        }
        Ok(())
    }

    fn next_released(&mut self) -> Option<usize> {
        if self.released.is_empty() || (self.has_failed() && !self.is_closing) {
            return None;
        }
        let (who, place) = self.released.remove(0);
        self.states[who] = State::Running;
        let asked = Some(Err(BARRIERS[place].to_owned()));
        self.note(who, Event::Barrier, asked, Ok(None));
        Some(who)
    }

    pub(crate) fn is_running(&self, who: usize) -> bool {
        self.states[who] == State::Running
    }

    /// R44: of the barriers none of which can open, whoever else comes, those that could if only the others did.
    fn circle(&self) -> Option<End> {
        let is_live = |state: &&State| !matches!(state, State::Ended | State::Failed(_));
        let live = self.states.iter().filter(is_live).count();
        let waiting = |places: &[usize]| self.waiting_at(places).len();
        let needed = |place: usize| self.case.barriers[place] as usize;
        let stuck = largest(vec![0, 1, 2], &|place, set| {
            let here = waiting(&[place]);
            here > 0 && live - waiting(set) + here < needed(place)
        });
        let free = live - waiting(&stuck);
        let circle = largest(stuck, &|place, set| free + waiting(set) >= needed(place));
        self.meetings(&circle).map(End::Circle)
    }

    fn waiting_at(&self, places: &[usize]) -> Vec<usize> {
        let is_there = |who: &usize| match self.states[*who] {
            State::AtBarrier(place) => places.contains(&place),
            _ => false,
        };
        (0..self.states.len()).filter(is_there).collect()
    }

    /// Who waits at which of these barriers, if anybody does.
    fn meetings(&self, places: &[usize]) -> Option<Vec<(usize, Vec<usize>)>> {
        let meetings = places
            .iter()
            .map(|&place| (place, self.waiting_at(&[place])));
        let meetings: Vec<_> = meetings.filter(|(_, who)| !who.is_empty()).collect();
        Some(meetings).filter(|meetings| !meetings.is_empty())
    }

    pub(crate) fn note(&mut self, who: usize, event: Event, asked: Option<Asked>, told: Outcome) {
        self.log.push(Record {
            asked,
            outcome: told.as_ref().err().unwrap_or(&"served"),
            value: told.ok().flatten(),
            ..Record::bare(who, event, self.at())
        });
    }

    fn at(&self) -> Option<Site> {
        let here = self.passed.last().filter(|pass| pass.is_open);
        here.map(|pass| pass.site)
    }

    fn has_failed(&self) -> bool {
        let is_failed = |state: &State| matches!(state, State::Failed(_));
        self.broken.is_some() || self.states.iter().any(is_failed)
    }

    fn is_halted(&self) -> bool {
        self.stopped.is_some() || self.has_failed()
    }

    fn end(&self) -> End {
        let all = 0..self.states.len();
        let code = |who| match self.states[who] {
            State::Failed(code) => Some((who, code)),
            _ => None,
        };
        let failed: Vec<_> = all.clone().filter_map(code).collect();
        let silent: Vec<usize> = all.filter(|who| self.is_silent(*who)).collect();
        match (&self.broken, &self.stopped) {
            _ if !failed.is_empty() => End::Failed(failed),
            (Some(broken), _) => broken.clone(),
            _ if !silent.is_empty() => End::NeverFired(silent),
            (None, Some(stopped)) => stopped.clone(),
            (None, None) => End::Completed,
        }
    }

    /// R63: whether a mediator was refused all that it asked for; to register a child is not to ask for something.
    fn is_silent(&self, who: usize) -> bool {
        let is_request = |record: &&Record| match record.event {
            Event::End | Event::Exception => false,
            Event::Register => record.outcome != "served",
            _ => true,
        };
        let own = self
            .log
            .iter()
            .filter(|record| record.mediator == who as u32);
        let mut requests = own.filter(is_request).peekable();
        let is_optional = self.case.programs[who].is_optional || requests.peek().is_none();
        !is_optional && requests.all(|record| record.outcome != "served")
    }
}

/// The largest part of a set of barriers of each of which something holds, given that part.
fn largest(mut set: Vec<usize>, holds: &dyn Fn(usize, &[usize]) -> bool) -> Vec<usize> {
    while let Some(other) = set.iter().position(|&place| !holds(place, &set)) {
        set.remove(other);
    }
    set
}
