//! What a run must do, said as naively as possible.
//!
//! The model is plain recursion over its modules, and a mediator over its lines. It is given an
//! answer, or left where it waits; at the next site it begins anew, and is given the same answers
//! again. The sites that were passed and the answers are nearly all that a run remembers. Only the
//! vocabulary (events, sites) is shared with the interleaver.

use std::collections::BTreeMap;

use interloom_engine::array::Array;
use interloom_engine::{Event, Point, Port, Request, Site};

use crate::programs::{BARRIERS, Case};
use crate::steps::{Action, Collects, Span, Step, action, site_of};
use crate::support::{Asked, Record, Table, parameter_of, to_array, to_table};
use crate::verdict::{End, Verdict};

/// An answer to a mediator: of a fault, its code; nothing of what is still to come.
type Told<T> = Result<T, Option<&'static str>>;

/// The value that is exchanged, if there is one.
type Answer = Told<Option<Array>>;

struct Run<'c> {
    case: &'c Case,
    states: Vec<State>,
    /// The answers that each mediator was given.
    told: Vec<Vec<Answer>>,
    /// How much of that the mediator whose turn it is has heard in this turn.
    heard: usize,
    register: Array,
    passed: Vec<Pass>,
    /// The iterations that are counted for sites inside skipped modules and not passed, and when:
    /// after so many passes.
    left_out: Vec<(Site, usize)>,
    /// How many answers each mediator had been given, and how many sites were passed, when it
    /// asked for what it waits for.
    asked: Vec<(usize, usize)>,
    out_of_step: Vec<(Site, Vec<Point>)>,
    log: Vec<Record>,
    /// The values whose gradients pass, and parameters: also those that caches collect.
    hooked: Vec<Point>,
    /// Who asked for a backward pass from which loss, since the last one.
    losses: Vec<(usize, Array)>,
    /// What the next backward pass goes back over, and by how much each step multiplied.
    tape: Vec<(Site, Table, f64)>,
    passes: u32,
    /// How many backward passes have come to their end.
    over: u32,
    /// Who is refused the gradients that a pass has not reached, and whether the pass is its own.
    unreached: Option<(usize, bool)>,
    stopped: Option<End>,
    failures: Vec<(usize, &'static str)>,
    broken: Option<End>,
    is_closing: bool,
}

#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum State {
    Running,
    AtBarrier(usize),
    /// From a barrier that opened when the log was that long.
    Released(usize),
    Retired,
}

/// A site with its value, and the skips asked for there.
pub(crate) struct Pass {
    pub(crate) site: Site,
    pub(crate) value: Table,
    pub(crate) skips: Vec<(usize, Table)>,
    /// Not every mediator has been looked at, or one has failed here.
    pub(crate) is_open: bool,
}

/// Runs a case; the second are the sites that were passed.
pub(crate) fn judge(case: &Case) -> (Verdict, Vec<Pass>) {
    let of_run = |point: &Point| {
        let gradient = point.gradient().unwrap_or(*point);
        let cache = case.cache.as_ref();
        cache.is_some_and(|cache| cache.has(gradient, &case.model.map))
    };
    let map = &case.model.map;
    let parameters = map.parameters().filter_map(|path| map.parameter(path));
    let hooked = map.points().chain(parameters);
    let hooked = hooked.filter(|point| case.gradients.contains(point) || of_run(point));
    let mut run = Run {
        case,
        states: vec![State::Running; case.programs.len()],
        told: vec![Vec::new(); case.programs.len()],
        heard: 0,
        register: case.input(),
        passed: Vec::new(),
        left_out: Vec::new(),
        asked: vec![(usize::MAX, 0); case.programs.len()],
        out_of_step: Vec::new(),
        log: Vec::new(),
        hooked: hooked.collect(),
        losses: Vec::new(),
        tape: Vec::new(),
        passes: 0,
        over: 0,
        unreached: None,
        stopped: None,
        failures: Vec::new(),
        broken: None,
        is_closing: false,
    };
    let output = run.play().as_deref().map(to_array);
    let end = run.end();
    let verdict = Verdict {
        log: run.log,
        end,
        output,
        out_of_step: run.out_of_step,
    };
    (verdict, run.passed)
}

impl Run<'_> {
    fn play(&mut self) -> Option<Table> {
        self.all().for_each(|who| self.turn(who)); // R1: each, also if one fails.
        let input = (!self.is_halted()).then(|| to_table(&self.case.input()));
        let output = input.and_then(|input| self.call(0, input));
        if self.broken.is_none() {
            self.is_closing = true;
            self.all().for_each(|who| self.turn(who)); // R11: each its own verdict.
            let unmet = self.meetings(&[0, 1, 2]).map(End::Unmet); // R43
            self.broken = self.broken.take().or(self.circle()).or(unmet);
        }
        output
    }

    fn call(&mut self, index: usize, x: Table) -> Option<Table> {
        let Case { model, .. } = self.case;
        let module = &model.modules[index];
        let path = model.map.path(&module.path)?;
        let (mut x, skipped) = self.pass(Point::new(path, Port::Input), x, 1.0)?;
        if skipped.is_none() {
            for &child in &module.children {
                x = self.call(child, x)?;
            }
        }
        let output = skipped.unwrap_or_else(|| to_table(&module.arithmetic(&to_array(&x))));
        Some(
            self.pass(Point::new(path, Port::Output), output, module.scale)?
                .0,
        )
    }

    /// Passes a site, and returns its value and what it is skipped with; nothing if the model must
    /// not go on.
    fn pass(&mut self, point: Point, value: Table, scale: f64) -> Option<(Table, Option<Table>)> {
        let site = point.at(self.counted(point)); // R30
        self.tape.push((site, value.clone(), scale));
        self.passed.push(Pass {
            site,
            value,
            skips: Vec::new(),
            is_open: true,
        });
        self.all().for_each(|who| self.turn(who)); // R2: definition order. R60: also after a stop.
        let joined = self.joined();
        if !self.is_halted() {
            self.broken = joined.as_ref().err().cloned();
        }
        let here = self.passed.last_mut()?;
        here.is_open = self.broken.is_some();
        let passed = (here.value.clone(), joined.ok().flatten());
        if passed.1.is_some() && !self.is_halted() {
            self.leave_out(point);
            self.tape.clear();
        }
        if !self.losses.is_empty() && self.broken.is_none() {
            self.backward();
        }
        (!self.is_halted()).then_some(passed)
    }

    /// R93: one pass over the sum of the losses, when all have had their turn. A stop before it
    /// does not keep it from being made.
    fn backward(&mut self) {
        let (tape, mut losses) = (
            std::mem::take(&mut self.tape),
            std::mem::take(&mut self.losses),
        );
        losses.sort_by_key(|(who, _)| *who);
        let sum = |table: &Table| table.concat().iter().sum::<f64>();
        let loss: f64 = losses.iter().map(|(_, loss)| loss.data()[0]).sum();
        let mut gradient = vec![vec![loss.rem_euclid(1009.0)]];
        let has_stopped = self.stopped.is_some();
        let mut shifts = BTreeMap::new();
        self.passes += 1;
        for (site, value, scale) in tape.into_iter().rev() {
            if (gradient.len(), gradient[0].len()) != (value.len(), value[0].len()) {
                let all = sum(&gradient).rem_euclid(1009.0);
                gradient = vec![vec![all; value[0].len()]; value.len()];
            }
            if self.hooked.contains(&site.point) {
                let of = site.point.gradient().expect("of a value");
                let of = of.at(site.iteration); // R91: the iteration of the value
                match self.pass_gradient(of, gradient, has_stopped) {
                    Some(swapped) => gradient = swapped, // R91: upstream sees the swap
                    None => return,
                }
            }
            if site.point.port == Port::Output {
                *shifts.entry(site.point.path).or_default() += sum(&gradient);
            }
            let scaled = |x: &f64| (x * scale).rem_euclid(1009.0);
            let rows = gradient.iter();
            gradient = rows.map(|row| row.iter().map(scaled).collect()).collect();
        }
        // R95: the parameters that the loss reaches, in their order; the iteration is the pass.
        let map = self.case.model.map.clone();
        for path in map.paths() {
            let shift = map.parameter(&parameter_of(path)).expect("each has one");
            let sum: Option<&f64> = map.path(path).and_then(|path| shifts.get(&path));
            if let Some(sum) = sum.filter(|_| self.hooked.contains(&shift)) {
                let gradient = vec![vec![sum.rem_euclid(1009.0)]];
                let pass = self.passes - 1;
                if self
                    .pass_gradient(shift.at(pass), gradient, has_stopped)
                    .is_none()
                {
                    return;
                }
            }
        }
        self.over += 1;
        for who in self.all() {
            if self.broken.is_none() {
                let has_asked = losses.iter().any(|(asking, _)| *asking == who);
                self.unreached = Some((who, has_asked));
                self.turn(who);
            }
        }
        self.unreached = None;
    }

    /// Passes a gradient, and returns what became of it; nothing if the pass goes no further.
    fn pass_gradient(&mut self, site: Site, value: Table, has_stopped: bool) -> Option<Table> {
        self.passed.push(Pass {
            site,
            value,
            skips: Vec::new(),
            is_open: true,
        });
        self.all().for_each(|who| self.turn(who));
        let is_broken = self.broken.is_some();
        let here = self.passed.last_mut().expect("a gradient");
        here.is_open = is_broken;
        let value = here.value.clone();
        (!is_broken && self.stopped.is_some() == has_stopped).then_some(value)
    }

    /// R24: how many iterations of a point are over, or left out.
    fn counted(&self, point: Point) -> u32 {
        let passed = self.passed.iter().map(|pass| pass.site);
        let sites = passed.chain(self.left_out.iter().map(|(site, _)| *site));
        sites.filter(|site| site.point == point).count() as u32
    }

    /// R24: what is inside a module that is skipped for the k-th time goes on by a k-th part of its
    /// count.
    fn leave_out(&mut self, module: Point) {
        let map = &self.case.model.map;
        let prefix = match map.path_name(module.path) {
            "" => String::new(),
            path => path.to_owned() + ".",
        };
        let others = map.points().filter(|point| point.path != module.path);
        let inner = others.filter(|point| map.path_name(point.path).starts_with(&prefix));
        let inner: Vec<Point> = inner.collect();
        let before = self.counted(module) - 1;
        let mut uneven = Vec::new();
        for point in inner {
            let count = self.counted(point);
            let share = (0..=count).find(|share| share * before == count);
            match share.filter(|_| before > 0).or((before == 0).then_some(1)) {
                Some(more) => {
                    let now = self.passed.len();
                    let over = (count..count + more).map(|iteration| (point.at(iteration), now));
                    self.left_out.extend(over);
                }
                None => uneven.push(point),
            }
        }
        if !uneven.is_empty() {
            self.out_of_step.push((module.at(before), uneven));
        }
    }

    /// R21, R22: one output from the replacements of all.
    fn joined(&self) -> Result<Option<Table>, End> {
        let Pass { site, skips, .. } = self.passed.last().expect("a site");
        let skipping: Vec<usize> = skips.iter().map(|(who, _)| *who).collect();
        let has_rows = |who: usize| self.case.programs[who].rows.is_some();
        let is_absent = |who: &usize| has_rows(*who) && !skipping.contains(who);
        let absent: Vec<usize> = self.all().filter(is_absent).collect();
        let own = |who| skips.iter().filter(move |(skipping, _)| *skipping == who);
        let mut parts = self.all().filter(|who| has_rows(*who)).flat_map(own);
        let is_odd = |(_, part): &&(usize, Table)| part[0].len() != skips[0].1[0].len();
        let Some((_, whole)) = skips.iter().rfind(|(who, _)| !has_rows(*who)) else {
            return match absent.is_empty() {
                _ if skips.is_empty() => Ok(None),
                false => Err(End::PartialSkip(*site, skipping, absent)),
                true if skips.iter().any(|part| is_odd(&part)) => {
                    Err(End::SkipMisfit(*site, skipping))
                }
                true => Ok(Some(parts.flat_map(|(_, part)| part.clone()).collect())),
            };
        };
        let mut whole = whole.clone();
        let is_laid_over = parts.all(|(who, part)| {
            let rows = self.case.own_rows(*who, whole.len());
            let fits = rows.len() == part.len() && whole[0].len() == part[0].len();
            if fits {
                whole.splice(rows, part.clone());
            }
            fits
        });
        match is_laid_over {
            true => Ok(Some(whole)),
            false => Err(End::SkipMisfit(*site, skipping)),
        }
    }

    /// R2, R3: lets a mediator run until it waits for something that is not here. R41: after it
    /// come those that it has released, and then those that they have.
    fn turn(&mut self, who: usize) {
        let is_over = self.at().is_some() && self.broken.is_some();
        let mut next = Some(who).filter(|who| !is_over && self.states[*who] == State::Running);
        while let Some(who) = next {
            let program = &self.case.programs[who];
            (self.heard, self.register) = (0, self.case.register_of(program));
            let _: Told<()> = match self.lines(who, &program.lines, &mut 0) {
                Ok(()) => self.retire(who, Event::End, Ok(None)),
                Err(Some(code)) => self.retire(who, Event::Exception, Err(Some(code))),
                Err(None) => Err(None),
            };
            next = self.go_on();
        }
    }

    fn lines(&mut self, who: usize, lines: &[Step], own: &mut u32) -> Told<()> {
        for line in lines {
            match action(line, &self.register, &self.case.model.map) {
                Action::Next(by) => *own += by, // R33
                Action::Raise => return Err(Some("E013")),
                Action::Stop => return self.retire(who, Event::Stop, Ok(None)),
                Action::Each(span, body) => self.each(who, span, body, *own)?,
                Action::Try(body) if self.lines(who, body, own) == Err(None) => return Err(None),
                Action::Try(_) => {}
                Action::Cache(_, what) => drop(self.tell(who, |run| run.cache(what))?),
                Action::Ask(request) => {
                    let told = self.tell(who, |run| run.ask(who, *own, &request))?;
                    if matches!(request.event(), Event::Value | Event::Get) {
                        self.register = told.expect("a value that is asked for");
                    }
                }
            }
        }
        Ok(())
    }

    /// R31: one child for each iteration. R35: the parent's own iteration is not touched.
    fn each(&mut self, who: usize, span: &Span, body: &[Step], own: u32) -> Told<()> {
        let steps = self.case.steps;
        let (numbers, last) = span.numbers(own);
        let is_beyond = |number| last.is_none() && steps.is_some_and(|steps| number >= steps);
        for number in numbers {
            let asked = Some(Err(format!("i{number}")));
            let fault = is_beyond(number).then_some(Some("E014"));
            let told = fault.map_or(Ok(None), Err);
            let begun = self.tell(who, |run| run.note(who, Event::Register, asked, told));
            if begun.is_err() {
                break;
            }
            let (event, told) = match self.lines(who, body, &mut number.clone()) {
                Ok(()) => (Event::End, Ok(None)),
                // R12: it ends the loop.
                Err(Some("E003")) => (Event::Exception, Err(Some("E003"))),
                Err(Some(code)) => return self.retire(who, Event::Exception, Err(Some(code))),
                Err(None) => return Err(None),
            };
            let over = self.tell(who, |run| match run.note(who, event, None, told) {
                Ok(_) if last.is_none() && run.is_closing => Err(Some("E003")),
                told => told,
            });
            if over.is_err() || is_beyond(number + 1) {
                break;
            }
        }
        Ok(())
    }

    /// Gives a mediator the answer that it was given the last time, or a new one.
    fn tell(&mut self, who: usize, answer: impl FnOnce(&mut Self) -> Answer) -> Answer {
        if self.heard == self.told[who].len() {
            let told = answer(self);
            self.told[who].extend((told != Err(None)).then_some(told));
        }
        self.heard += 1;
        let told = self.told[who].get(self.heard - 1);
        told.cloned().unwrap_or(Err(None))
    }

    /// Answers a request, if it can be answered now.
    fn ask(&mut self, who: usize, own: u32, wish: &Request<Array>) -> Answer {
        let asked = match wish {
            Request::Barrier { name } | Request::Put { name, .. } | Request::Get { name } => {
                Err(name.to_string())
            }
            Request::Backward { loss } => {
                let told = self.lose(who, loss).map(Some);
                return self.note(who, Event::Backward, None, told);
            }
            _ => site_of(wish, own, &self.case.model.map),
        };
        let is_it = |put: &&Record| put.event == Event::Put && put.asked.as_ref() == Some(&asked);
        // After a backward pass, what was left out at the site before it is over.
        let now = self.passed.len() + usize::from(self.unreached.is_some());
        let told = self.told[who].len();
        if self.asked[who].0 != told {
            self.asked[who] = (told, now);
        }
        // R24: who waited already, waits on.
        let since = self.asked[who].1;
        let is_over = |site| {
            self.left_out
                .iter()
                .any(|(over, at)| *over == site && *at < since)
        };
        let is_passed = |site| self.passed.iter().any(|pass| pass.site == site) || is_over(site);
        let told = match (wish, asked.clone()) {
            (Request::Barrier { name }, _) => self.arrive(who, name),
            (Request::Put { value, .. }, _) => Ok(Some(value.clone())),
            (Request::Get { .. }, _) => {
                let put = self.log.iter().rfind(is_it); // R72
                put.map(|put| put.value.clone()).ok_or(Some("E016"))
            }
            (_, Err(_)) => Err(Some("E001")), // R13
            (_, Ok(site)) if self.at() == Some(site) => self.serve(who, wish).map(Some),
            (_, Ok(site)) if is_passed(site) => Err(Some("E002")), // R10
            (_, Ok(site)) if self.has_no_gradient(who, site) => Err(Some("E054")), // R91
            (_, Ok(_)) => Err(self.is_closing.then_some("E003")),  // R11
        };
        self.note(who, wish.event(), Some(asked), told)
    }

    /// Does what a mediator asks for at this very site, and returns the value that was exchanged.
    fn serve(&mut self, who: usize, request: &Request<Array>) -> Told<Array> {
        let here = self.passed.last_mut().expect("a site");
        let rows = match here.site.point.is_parameter() {
            true => 0..here.value.len(), // R95: it has no rows
            false => self.case.own_rows(who, here.value.len()),
        };
        let own = to_array(&here.value[rows.clone()]);
        let is_gradient = here.site.point.port.is_gradient();
        let own_count = self.case.programs[who].rows;
        let is_owner = own_count.unwrap_or(0) == self.case.batch();
        let is_shared = own_count.is_some() && !is_owner;
        match request {
            // R20.
            Request::Skip { .. } if here.site.point.port != Port::Input => Err(Some("E005")),
            Request::Skip { value, .. } => {
                here.skips.retain(|(skipping, _)| *skipping != who);
                here.skips.push((who, to_table(value)));
                Ok(value.clone())
            }
            // R95: nobody's alone.
            Request::Swap { .. } if here.site.point.is_parameter() && is_shared => {
                Err(Some("E006"))
            }
            // R51; a gradient keeps its shape.
            Request::Swap { reshape: true, .. } if !is_owner && !is_gradient => Err(Some("E006")),
            Request::Swap { value, reshape, .. }
                if (*reshape && !is_gradient) || value.shape() == own.shape() =>
            {
                here.value.splice(rows, to_table(value));
                Ok(value.clone())
            }
            Request::Swap { .. } => Err(Some("E004")), // R51
            _ => Ok(own),
        }
    }

    /// R93: takes a loss for the pass after the site at hand.
    fn lose(&mut self, who: usize, loss: &Array) -> Told<Array> {
        let is_forward = |at: Site| !at.point.port.is_gradient();
        match self.at().is_some_and(is_forward) {
            false => Err(Some("E056")),
            true if loss.data().len() != 1 => Err(Some("E055")),
            true => {
                self.losses.push((who, loss.clone()));
                Ok(loss.clone())
            }
        }
    }

    /// R91: whether there is no gradient to wait for: it is not declared, or its value has passed,
    /// and no pass will come to it.
    fn has_no_gradient(&self, who: usize, site: Site) -> bool {
        let value = site.point.forward().at(site.iteration);
        let is_declared = self.case.gradients.contains(&value.point);
        if site.point.is_parameter() {
            let has_no_pass = self.is_closing && self.passes == 0;
            return !is_declared || has_no_pass || site.iteration < self.over;
        }
        let is_too_late = self.is_closing || self.unreached == Some((who, true));
        let count = self.counted(value.point);
        site.point.port.is_gradient() && (!is_declared || (is_too_late && value.iteration < count))
    }

    /// R71; what a cache collects can be seen from what the sites have passed on. The gradient of
    /// what is at hand comes too late.
    fn cache(&mut self, what: &Collects) -> Answer {
        let map = &self.case.model.map;
        let gradient = |point: Point| point.gradient().expect("of a value");
        let passed = self.passed.iter().map(|pass| pass.site);
        let mut passed = passed.filter(|site| !site.point.port.is_gradient());
        let is_late = |site: Site| {
            let is_value = self.at() != Some(site) && what.has(site.point, map);
            is_value || what.has(gradient(site.point), map)
        };
        let modules = || what.modules.iter().flatten();
        let parameters: Vec<Point> = modules().filter_map(|path| map.parameter(path)).collect();
        let at_parameter = self.at().is_some_and(|at| at.point.is_parameter());
        let is_parameter_late = !parameters.is_empty() && (self.over > 0 || at_parameter);
        let unfit = |path: &&String| match map.parameter(path) {
            Some(_) => !what.include_gradients, // R95: it has nothing else
            None => map.path(path).is_none(),
        };
        match modules().find(unfit) {
            Some(path) if map.parameter(path).is_some() => Err(Some("E075")),
            Some(_) => Err(Some("E001")),
            None if passed.any(is_late) || is_parameter_late => Err(Some("E017")),
            None => {
                let values = map.points().filter(|point| what.has(gradient(*point), map));
                self.hooked.extend(values.chain(parameters));
                Ok(None)
            }
        }
    }

    /// R40, R42: lets a mediator wait until it is released.
    fn arrive(&mut self, who: usize, name: &str) -> Answer {
        let place = BARRIERS.iter().position(|known| *known == name);
        let place = place.ok_or(Some("E015"))?;
        if matches!(self.states[who], State::Released(_)) {
            self.states[who] = State::Running;
            return Ok(None);
        }
        self.states[who] = State::AtBarrier(place);
        let there = self.waiting_at(place);
        if there.len() >= self.case.barriers[place] as usize {
            for who in there {
                self.states[who] = State::Released(self.log.len());
            }
        }
        Err(None)
    }

    /// Returns who goes on because its barrier has opened: the first of those of the barrier that
    /// opened first.
    fn go_on(&mut self) -> Option<usize> {
        if !self.is_closing && !self.is_halted() {
            self.broken = self.circle(); // R44: as soon as it is certain.
        }
        let is_released = |who: &usize| matches!(self.states[*who], State::Released(_));
        let released = self.all().filter(is_released);
        let first = released.min_by_key(|who| self.states[*who]);
        first.filter(|_| self.is_closing || self.broken.is_none())
    }

    /// R44: of the barriers none of which can open, whichever mediators still come, those that
    /// could if only the others did.
    fn circle(&self) -> Option<End> {
        let is_live = |who: &usize| !matches!(self.states[*who], State::Retired);
        let live = self.all().filter(is_live).count();
        let here = |place: usize| self.waiting_at(place).len();
        let waiting = |places: &[usize]| places.iter().map(|&place| here(place)).sum::<usize>();
        let is_open = |place: usize, count: usize| count >= self.case.barriers[place] as usize;
        let mut stuck: Vec<usize> = (0..3).filter(|&place| here(place) > 0).collect();
        for _ in BARRIERS {
            let free = live - waiting(&stuck);
            stuck.retain(|&place| !is_open(place, free + here(place)));
        }
        let free = live - waiting(&stuck);
        for _ in BARRIERS {
            let all = free + waiting(&stuck);
            stuck.retain(|&place| is_open(place, all));
        }
        self.meetings(&stuck).map(End::Circle)
    }

    fn waiting_at(&self, place: usize) -> Vec<usize> {
        let is_there = |who: &usize| self.states[*who] == State::AtBarrier(place);
        self.all().filter(is_there).collect()
    }

    /// The mediators that wait at each of these barriers, if there are any.
    fn meetings(&self, places: &[usize]) -> Option<Vec<(usize, Vec<usize>)>> {
        let meeting = |&place: &usize| (place, self.waiting_at(place));
        let mut meetings: Vec<_> = places.iter().map(meeting).collect();
        meetings.retain(|(_, who)| !who.is_empty());
        (!meetings.is_empty()).then_some(meetings)
    }

    /// Logs an exchange, unless it is still to come.
    fn note(&mut self, who: usize, event: Event, asked: Option<Asked>, told: Answer) -> Answer {
        let mut record = Record::bare(who, event, self.at());
        record.asked = asked;
        match &told {
            Ok(value) => record.value = value.clone(),
            Err(Some(code)) => record.outcome = code,
            Err(None) => return told,
        }
        self.log.push(record);
        told
    }

    /// Retires a mediator, for which there is nothing more to come.
    fn retire(&mut self, who: usize, event: Event, told: Answer) -> Told<()> {
        if let Err(Some(code)) = self.note(who, event, None, told) {
            self.failures.push((who, code));
            self.failures.sort();
            self.broken = Some(End::Failed(self.failures.clone()));
        }
        self.states[who] = State::Retired;
        if event == Event::Stop && !self.is_closing && self.stopped.is_none() {
            self.stopped = Some(End::Stopped(who, self.at())); // R60
        }
        Err(None)
    }

    fn at(&self) -> Option<Site> {
        Some(self.passed.last().filter(|pass| pass.is_open)?.site)
    }

    fn all(&self) -> std::ops::Range<usize> {
        0..self.case.programs.len()
    }

    fn is_halted(&self) -> bool {
        self.stopped.is_some() || self.broken.is_some()
    }

    fn end(&mut self) -> End {
        let silent: Vec<_> = self.all().filter(|who| self.is_silent(*who)).collect();
        let silent = (!silent.is_empty()).then_some(End::NeverFired(silent));
        let end = self.broken.take().or(silent).or(self.stopped.take());
        end.unwrap_or(End::Completed)
    }

    /// R63: whether a mediator was refused all that it asked for; to register a child is not to ask
    /// for something.
    fn is_silent(&self, who: usize) -> bool {
        let is_served = |record: &Record| match (record.event, record.outcome == "served") {
            (Event::End | Event::Exception, _) | (Event::Register, true) => None,
            (_, is_served) => (record.mediator == who as u32).then_some(is_served),
        };
        let served: Vec<bool> = self.log.iter().filter_map(is_served).collect();
        !self.case.programs[who].is_optional && !served.is_empty() && !served.contains(&true)
    }
}
