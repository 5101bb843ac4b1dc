//! What a run must do, said as naively as possible.
//!
//! Plain recursion over the model, and at each site one look at every mediator in order. No counter and no table of
//! states: the list of the sites that were passed is all there is, and a value is a list of rows. Nothing here calls the
//! interleaver; only the vocabulary (events, sites) is shared with it, so that the two can be compared.

use std::collections::{BTreeMap, VecDeque};

use interloom_engine::array::Array;
use interloom_engine::{Event, Point, Port, Request, Site, SiteMap, Target};

use crate::programs::{Action, BARRIERS, Case, Line, Program, action};
use crate::support::{Record, Table, to_array, to_table};
use crate::verdict::{End, Verdict};

type Asked = Result<Site, String>;

/// The value that was exchanged, if there was one, or the code of the refusal.
type Outcome = Result<Option<Array>, &'static str>;

#[derive(Default)]
struct Actor<'c> {
    /// The program, and the bodies of the loops that it is in.
    frames: Vec<Frame<'c>>,
    register: Table,
    meets: Option<Asked>,
    is_retired: bool,
    fault: Option<&'static str>,
    was_refused: bool,
    has_fired: bool,
    ended: Vec<(u32, Option<u32>)>,
}

#[derive(Default)]
struct Frame<'c> {
    lines: &'c [Line],
    next: usize,
    iteration: u32,
    looping: Option<Loop<'c>>,
}

/// A loop that is under way.
struct Loop<'c> {
    numbers: Box<dyn Iterator<Item = u32>>,
    child: u32,
    /// The last iteration, unless there is no upper bound.
    last: Option<u32>,
    body: &'c [Line],
}

/// A site with its value, and the skips asked for there.
struct Here {
    site: Site,
    value: Table,
    skips: Vec<(usize, Table)>,
}

struct Reference<'c> {
    case: &'c Case,
    actors: Vec<Actor<'c>>,
    here: Option<Here>,
    passed: Vec<Site>,
    log: Vec<Record>,
    stopped: Option<(u32, Option<Site>)>,
    broken: Option<End>,
    is_closing: bool,
    arrived: [Vec<usize>; 3],
    released: VecDeque<usize>,
    board: BTreeMap<String, Array>,
}

/// Runs a case.
pub(crate) fn judge<'c>(case: &'c Case) -> Verdict {
    let actor = |program: &'c Program| Actor {
        frames: vec![frame(&program.lines, 0)],
        register: to_table(&case.register_of(program)),
        ..Actor::default()
    };
    let mut reference = Reference {
        case,
        actors: case.programs.iter().map(actor).collect(),
        here: None,
        passed: Vec::new(),
        log: Vec::new(),
        stopped: None,
        broken: None,
        is_closing: false,
        arrived: Default::default(),
        released: VecDeque::new(),
        board: BTreeMap::new(),
    };
    let output = reference.run();
    let mut ended = Vec::new();
    for (who, actor) in (0u32..).zip(&reference.actors) {
        ended.extend(actor.ended.iter().map(|(child, last)| (who, *child, *last)));
    }
    Verdict {
        ended,
        output: output.as_deref().map(to_array),
        end: reference.end(),
        log: reference.log,
    }
}

impl<'c> Reference<'c> {
    fn run(&mut self) -> Option<Table> {
        self.turns(); // R1
        let output = match self.is_halted() {
            true => None,
            false => self.call(0, to_table(&self.case.input())),
        };
        if !self.has_failed() {
            self.is_closing = true;
            self.turns(); // R11: each its own verdict.
            let unmet = self.meetings(|place| !self.arrived[place].is_empty());
            let unmet = (!unmet.is_empty()).then_some(End::Unmet(unmet)); // R43
            self.broken = self.circle().or(unmet);
        }
        output
    }

    /// Lets all have a turn, also when one fails: before the model and after it.
    fn turns(&mut self) {
        for who in 0..self.actors.len() {
            self.turn(who);
        }
    }

    fn call(&mut self, index: usize, x: Table) -> Option<Table> {
        let case = self.case;
        let module = &case.model.modules[index];
        let path = case.model.map.path(&module.path)?;
        let mut here = self.pass(Point::new(path, Port::Input), x)?;
        let output = match here.skips.is_empty() {
            false => self.skip(&here)?,
            true => {
                for &child in &module.children {
                    here.value = self.call(child, here.value)?;
                }
                to_table(&module.arithmetic(&to_array(&here.value)))
            }
        };
        Some(self.pass(Point::new(path, Port::Output), output)?.value)
    }

    /// Passes a site; nothing if the model must not go on.
    fn pass(&mut self, point: Point, value: Table) -> Option<Here> {
        let is_same = |site: &&Site| site.point == point;
        let before = self.passed.iter().filter(is_same).count();
        let (site, skips) = (point.at(before as u32), Vec::new()); // R30
        self.passed.push(site);
        self.here = Some(Here { site, value, skips });
        for who in 0..self.actors.len() {
            if !self.has_failed() {
                self.turn(who); // R2: definition order. R60: also after a stop.
            }
        }
        self.here.take().filter(|_| !self.is_halted())
    }

    /// R41: after each mediator come those that it has released.
    fn turn(&mut self, who: usize) {
        self.step(who);
        while (self.is_closing || !self.has_failed())
            && let Some(who) = self.released.pop_front()
        {
            let asked = self.actors[who].meets.take();
            self.say(who, Event::Barrier, asked, &Ok(None));
            self.step(who);
        }
    }

    /// R2, R3: lets a mediator run until it waits for a site that is not here.
    fn step(&mut self, who: usize) {
        while !self.actors[who].is_retired && self.actors[who].meets.is_none() {
            if self.register(who) {
                continue;
            }
            let register = to_array(&self.actors[who].register);
            let top = self.top(who);
            let Some(line) = top.lines.get(top.next) else {
                self.end_frame(who);
                continue;
            };
            let own = top.iteration;
            top.next += 1;
            let request = match action(&line.step, &register) {
                Action::Next(by) => {
                    top.iteration += by; // R33
                    continue;
                }
                Action::Each(span, body) => {
                    let ((numbers, last), child) = (span.numbers(own), 0);
                    top.looping = Some(Loop {
                        numbers,
                        child,
                        last,
                        body,
                    });
                    continue;
                }
                Action::Raise => return self.fail(who, "E013"),
                Action::Stop => {
                    let stop = (!self.is_closing).then_some((who as u32, self.at()));
                    self.stopped = self.stopped.or(stop);
                    return self.retire(who, Event::Stop, &Ok(None));
                }
                Action::Ask(request) => request,
            };
            let event = request.event();
            let Some((asked, outcome)) = self.answer(who, own, request) else {
                // It waits, and asks again when something has come, but for a barrier only once.
                let is_again = self.actors[who].meets.is_none();
                return self.top(who).next -= usize::from(is_again);
            };
            self.say(who, event, Some(asked), &outcome);
            match outcome {
                Ok(Some(value)) if matches!(event, Event::Value | Event::Get) => {
                    self.actors[who].register = to_table(&value);
                }
                Err(code) if !line.catches => self.fail(who, code),
                _ => {}
            }
        }
    }

    /// Answers a request that can be answered now.
    fn answer(
        &mut self,
        who: usize,
        own: u32,
        request: Request<Array>,
    ) -> Option<(Asked, Outcome)> {
        let at = self.at();
        let (name, outcome) = match request {
            Request::Put { name, value } => {
                self.board.insert(name.to_string(), value.clone()); // R72
                (name, Ok(Some(value)))
            }
            Request::Get { name } => {
                let there = self.board.get(&*name).cloned();
                (name, there.map(Some).ok_or("E016"))
            }
            Request::Barrier { name } => match BARRIERS.iter().position(|known| **known == *name) {
                None => (name, Err("E015")),
                Some(place) => return self.arrive(who, place),
            },
            request => {
                let target = request.target().expect("no other request exists");
                let asked = locate(&self.case.model.map, target, own);
                let outcome = match &asked {
                    Err(_) => Err("E001"), // R13
                    Ok(site) if at == Some(*site) => self.serve(who, request).map(Some),
                    Ok(site) if self.passed.contains(site) => Err("E002"), // R10
                    Ok(_) if self.is_closing => Err("E003"),               // R11
                    Ok(_) => return None,
                };
                return Some((asked, outcome));
            }
        };
        Some((Err(name.to_string()), outcome))
    }

    fn arrive<T>(&mut self, who: usize, place: usize) -> Option<T> {
        self.actors[who].meets = Some(Err(BARRIERS[place].to_owned()));
        self.arrived[place].push(who);
        self.arrived[place].sort(); // R40
        match self.arrived[place].len() >= self.case.barriers[place] as usize {
            true => self.released.extend(self.arrived[place].drain(..)),
            false => self.check_circle(),
        }
        None
    }

    fn check_circle(&mut self) {
        if !self.is_closing && !self.is_halted() {
            self.broken = self.circle();
        }
    }

    /// R44, by looking at every set of barriers: the largest of which none can open, whoever else comes, and in that the
    /// largest of which each could open if only the others did.
    fn circle(&self) -> Option<End> {
        let waiting = |set| -> usize { members(set).map(|place| self.arrived[place].len()).sum() };
        let live = self.actors.iter().filter(|actor| !actor.is_retired).count();
        // Whether as many can come as a barrier is for, if those at `kept` cannot, but those at `helping` can.
        let can_open = |place: usize, kept: usize, helping: usize| {
            let came: usize = live - waiting(kept) + waiting(helping | 1 << place);
            came >= self.case.barriers[place] as usize
        };
        let is_stuck = |&set: &usize| {
            members(set).all(|place| waiting(1 << place) > 0 && !can_open(place, set, 0))
        };
        let stuck = (0..8).filter(is_stuck).fold(0, |all, set| all | set);
        let is_circle = |&set: &usize| {
            set & !stuck == 0 && members(set).all(|place| can_open(place, stuck, set))
        };
        let circle = (0..8).filter(is_circle).fold(0, |all, set| all | set);
        let met = self.meetings(|place| circle >> place & 1 == 1);
        (!met.is_empty()).then_some(End::Circle(met))
    }

    fn meetings(&self, is_named: impl Fn(usize) -> bool) -> Vec<(String, Vec<u32>)> {
        let meeting = |place: usize| {
            let waiting = self.arrived[place].iter().map(|&who| who as u32);
            (BARRIERS[place].to_owned(), waiting.collect())
        };
        (0..3)
            .filter(|&place| is_named(place))
            .map(meeting)
            .collect()
    }

    /// R31: registers the next child of a loop that is under way.
    fn register(&mut self, who: usize) -> bool {
        let steps = self.case.steps;
        let Some(mut looping) = self.top(who).looping.take() else {
            return false;
        };
        let Some(number) = looping.numbers.next() else {
            return true;
        };
        let is_beyond = looping.last.is_none() && steps.is_some_and(|steps| number >= steps);
        let outcome = if is_beyond { Err("E014") } else { Ok(None) };
        self.say(
            who,
            Event::Register,
            Some(Err(format!("i{number}"))),
            &outcome,
        );
        if !is_beyond {
            let child = frame(looping.body, number);
            looping.child = number;
            self.top(who).looping = Some(looping);
            self.actors[who].frames.push(child);
        }
        true
    }

    fn end_frame(&mut self, who: usize) {
        if self.actors[who].frames.len() == 1 {
            self.retire(who, Event::End, &Ok(None));
            return self.check_circle();
        }
        self.say(who, Event::End, None, &Ok(None));
        self.actors[who].frames.pop();
        let (is_closing, steps) = (self.is_closing, self.case.steps);
        let goes_on = |looping: &mut Loop<'_>| {
            let is_last = |steps| looping.child + 1 >= steps;
            looping.last.is_some() || !(is_closing || steps.is_some_and(is_last))
        };
        let top = self.top(who);
        top.looping = top.looping.take_if(goes_on);
    }

    /// Does what a mediator asks for at this very site, and returns the value that was exchanged.
    fn serve(&mut self, who: usize, request: Request<Array>) -> Result<Array, &'static str> {
        let here = self.here.as_mut().expect("a site");
        let rows_of = |program: &Program| program.rows.unwrap_or(0) as usize;
        let (before, own) = self.case.programs.split_at(who);
        let (first, own) = (before.iter().map(rows_of).sum::<usize>(), rows_of(&own[0]));
        let batch = self.case.batch() as usize;
        let rows = match here.value.len() == batch && own > 0 {
            true => first..first + own, // R50
            false => 0..here.value.len(),
        };
        let (part, reshape) = match request {
            Request::Value { .. } => return Ok(to_array(&here.value[rows])),
            Request::Skip { .. } if here.site.point.port != Port::Input => return Err("E005"), // R20
            Request::Skip { value, .. } => {
                here.skips.retain(|(skipping, _)| *skipping != who);
                here.skips.push((who, to_table(&value)));
                return Ok(value);
            }
            Request::Swap { value, reshape, .. } => (value, reshape),
            _ => unreachable!("no other request exists"),
        };
        match reshape {
            true if own != batch => return Err("E006"), // R51
            true => here.value = to_table(&part),
            false if part.shape() != to_array(&here.value[rows.clone()]).shape() => {
                return Err("E004"); // R51
            }
            false => drop(here.value.splice(rows, to_table(&part))),
        }
        Ok(part)
    }

    /// R21, R22: one output from the replacements of all.
    fn skip(&mut self, Here { site, skips, .. }: &Here) -> Option<Table> {
        let (at, batch) = (*site, self.case.batch());
        let skipping: Vec<u32> = skips.iter().map(|(who, _)| *who as u32).collect();
        let owns = |who: &u32| self.case.programs[*who as usize].rows.is_some();
        let all = (0..self.actors.len() as u32).filter(owns);
        let others: Vec<u32> = all.filter(|who| !skipping.contains(who)).collect();
        let rows = |who: usize| self.case.programs[who].rows.unwrap_or(batch);
        let whole = skips.iter().rfind(|(who, _)| rows(*who) == batch);
        let widths: Vec<usize> = skips.iter().map(|(_, part)| part[0].len()).collect();
        self.broken = match &whole {
            _ if !others.is_empty() => Some(End::PartialSkip {
                at,
                skipping,
                others,
            }),
            None if widths.iter().any(|width| *width != widths[0]) => {
                Some(End::SkipMisfit { at, skipping })
            }
            _ => None,
        };
        let mut sorted = skips.clone();
        sorted.sort_by_key(|(who, _)| *who);
        let joined = || sorted.into_iter().flat_map(|(_, part)| part).collect();
        let output = whole.map_or_else(joined, |(_, part)| part.clone());
        self.broken.is_none().then_some(output)
    }

    /// R12: what never came ends a loop; any other fault fails the mediator.
    fn fail(&mut self, who: usize, code: &'static str) {
        if code != "E003" || self.actors[who].frames.len() == 1 {
            self.actors[who].fault = Some(code);
            return self.retire(who, Event::Exception, &Err(code));
        }
        self.say(who, Event::Exception, None, &Err(code));
        self.actors[who].frames.pop();
        let looping = self.top(who).looping.take().expect("a loop has a child");
        self.actors[who].ended.push((looping.child, looping.last));
    }

    fn retire(&mut self, who: usize, event: Event, outcome: &Outcome) {
        self.actors[who].is_retired = true;
        self.say(who, event, None, outcome);
    }

    fn say(&mut self, who: usize, event: Event, asked: Option<Asked>, outcome: &Outcome) {
        let is_silent = matches!(event, Event::Register | Event::End | Event::Exception);
        let actor = &mut self.actors[who];
        actor.has_fired |= outcome.is_ok() && !is_silent;
        actor.was_refused |= outcome.is_err() && event != Event::Exception;
        self.log.push(Record {
            asked,
            outcome: outcome.as_ref().err().unwrap_or(&"served"),
            value: outcome.clone().ok().flatten(),
            ..Record::bare(who, event, self.at())
        });
    }

    fn at(&self) -> Option<Site> {
        self.here.as_ref().map(|here| here.site)
    }

    fn top(&mut self, who: usize) -> &mut Frame<'c> {
        self.actors[who].frames.last_mut().expect("it runs")
    }

    fn has_failed(&self) -> bool {
        self.broken.is_some() || self.actors.iter().any(|actor| actor.fault.is_some())
    }

    fn is_halted(&self) -> bool {
        self.stopped.is_some() || self.has_failed()
    }

    fn end(&self) -> End {
        let (mut failed, mut silent) = (Vec::new(), Vec::new());
        for (who, actor) in (0u32..).zip(&self.actors) {
            failed.extend(actor.fault.map(|code| (who, code)));
            if actor.was_refused
                && !actor.has_fired
                && !self.case.programs[who as usize].is_optional
            {
                silent.push(who); // R63
            }
        }
        match (&self.broken, self.stopped) {
            _ if !failed.is_empty() => End::Failed(failed),
            (Some(broken), _) => broken.clone(),
            _ if !silent.is_empty() => End::NeverFired(silent),
            (None, Some((by, at))) => End::Stopped { by, at },
            (None, None) => End::Completed,
        }
    }
}

fn frame(lines: &[Line], iteration: u32) -> Frame<'_> {
    Frame {
        lines,
        iteration,
        ..Frame::default()
    }
}

/// The places in a set of barriers.
fn members(set: usize) -> impl Iterator<Item = usize> {
    (0..3).filter(move |place| set >> place & 1 == 1)
}

fn locate(map: &SiteMap, target: &Target, own: u32) -> Result<Site, String> {
    match target {
        Target::Unknown(name) => Err(format!("{name}?")),
        Target::Point { point, .. } if !map.has(*point) => {
            Err(format!("{}?", map.point_name(*point)))
        }
        Target::Point { point, iteration } => Ok(point.at(iteration.unwrap_or(own))),
    }
}
