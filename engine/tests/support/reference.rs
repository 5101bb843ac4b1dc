//! What a run must do, said as naively as possible.
//!
//! Plain recursion over the model, and at each site one look at every mediator in order. No queue, no counter, no table of
//! states: the list of the sites that were passed is all there is, and a value is a list of rows. Nothing here calls the
//! interleaver; only the vocabulary (events, sites) is shared with it, so that the two can be compared.

use interloom_engine::array::Array;
use interloom_engine::{Event, Point, Port, Request, Site, SiteMap, Target};

use crate::programs::{Action, Case, Program, action};
use crate::support::{Record, Table, to_array, to_table};
use crate::{End, Verdict};

/// The value that was exchanged, or the code of the refusal.
type Outcome = Result<Array, &'static str>;

struct Actor<'c> {
    program: &'c Program,
    first_row: usize,
    next: usize,
    register: Array,
    is_retired: bool,
    fault: Option<&'static str>,
    was_refused: bool,
    has_fired: bool,
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
    passed: Vec<Site>,
    log: Vec<Record>,
    stopped: Option<(u32, Option<Site>)>,
    broken: Option<End>,
    is_closing: bool,
}

/// Runs a case.
pub(crate) fn judge(case: &Case) -> Verdict {
    let mut first_row = 0;
    let actor = |program| {
        let actor = Actor {
            program,
            first_row,
            next: 0,
            register: case.register_of(program),
            is_retired: false,
            fault: None,
            was_refused: false,
            has_fired: false,
        };
        first_row += program.rows.unwrap_or(0) as usize;
        actor
    };
    let mut reference = Reference {
        case,
        actors: case.programs.iter().map(actor).collect(),
        passed: Vec::new(),
        log: Vec::new(),
        stopped: None,
        broken: None,
        is_closing: false,
    };
    let output = reference.run();
    Verdict {
        output: output.as_deref().map(to_array),
        end: reference.end(),
        log: reference.log,
    }
}

impl Reference<'_> {
    fn run(&mut self) -> Option<Table> {
        for who in 0..self.actors.len() {
            self.step(who, &mut None); // R1: all are started, also when one fails.
        }
        let output = match self.is_halted() {
            true => None,
            false => self.call(0, to_table(&self.case.input())),
        };
        if !self.has_failed() {
            self.is_closing = true;
            for who in 0..self.actors.len() {
                self.step(who, &mut None); // R11: each its own verdict.
            }
        }
        output
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
        let site = point.at(before as u32); // R30
        self.passed.push(site);
        let mut here = Some(Here {
            site,
            value,
            skips: Vec::new(),
        });
        for who in 0..self.actors.len() {
            if !self.has_failed() {
                self.step(who, &mut here); // R2: definition order. R60: also after a stop.
            }
        }
        here.filter(|_| !self.is_halted())
    }

    /// R2, R3: lets a mediator run until it waits for a site that is not here.
    fn step(&mut self, who: usize, here: &mut Option<Here>) {
        let at = here.as_ref().map(|here| here.site);
        while !self.actors[who].is_retired {
            let actor = &self.actors[who];
            let Some(line) = actor.program.lines.get(actor.next) else {
                return self.retire(who, Event::End, at, "served");
            };
            let request = match action(&line.step, &actor.register) {
                Action::Raise => return self.fail(who, at, "E013"),
                Action::Stop => {
                    let stop = (!self.is_closing).then_some((who as u32, at));
                    self.stopped = self.stopped.or(stop);
                    self.actors[who].has_fired = true;
                    return self.retire(who, Event::Stop, at, "served");
                }
                Action::Ask(request) => request,
            };
            let event = request.event();
            let asked = locate(&self.case.model.map, request.target().expect("a site"));
            let outcome = match (&asked, here.as_mut()) {
                (Err(_), _) => Err("E001"), // R13
                (Ok(site), Some(here)) if *site == here.site => self.serve(who, request, here),
                (Ok(site), _) if self.passed.contains(site) => Err("E002"), // R10
                _ if self.is_closing => Err("E003"),                        // R11
                _ => return,
            };
            let text = outcome.as_ref().err().unwrap_or(&"served");
            self.log.push(Record {
                asked: Some(asked),
                outcome: text,
                value: outcome.clone().ok(),
                ..Record::bare(who, event, at)
            });
            let actor = &mut self.actors[who];
            actor.next += 1;
            actor.has_fired |= outcome.is_ok();
            actor.was_refused |= outcome.is_err();
            match outcome {
                Ok(value) if event == Event::Value => actor.register = value,
                Err(code) if !line.catches => return self.fail(who, at, code),
                _ => {}
            }
        }
    }

    /// Does what a mediator asks for at this very site, and returns the value that was exchanged.
    fn serve(&mut self, who: usize, request: Request<Array>, here: &mut Here) -> Outcome {
        let actor = &self.actors[who];
        let batch = self.case.batch() as usize;
        let own = actor.program.rows.unwrap_or(0) as usize;
        let rows = match here.value.len() == batch && own > 0 {
            true => actor.first_row..actor.first_row + own, // R50
            false => 0..here.value.len(),
        };
        let part = match request {
            Request::Value { .. } => return Ok(to_array(&here.value[rows])),
            Request::Skip { .. } if here.site.point.port != Port::Input => return Err("E005"), // R20
            Request::Skip { value, .. } => {
                here.skips.retain(|(skipping, _)| *skipping != who);
                here.skips.push((who, to_table(&value)));
                return Ok(value);
            }
            Request::Swap { reshape: true, .. } if own != batch => return Err("E006"), // R51
            Request::Swap {
                reshape: true,
                value,
                ..
            } => {
                here.value = to_table(&value);
                return Ok(value);
            }
            Request::Swap { value, .. } => value,
            _ => unreachable!("no other request exists"),
        };
        if part.shape() != to_array(&here.value[rows.clone()]).shape() {
            return Err("E004"); // R51
        }
        here.value.splice(rows, to_table(&part));
        Ok(part)
    }

    /// R21, R22: one output from the replacements of all.
    fn skip(&mut self, Here { site, skips, .. }: &Here) -> Option<Table> {
        let (at, batch) = (*site, self.case.batch());
        let skipping: Vec<u32> = skips.iter().map(|(who, _)| *who as u32).collect();
        let mut others = Vec::new();
        let mut whole = None;
        for (who, actor) in (0u32..).zip(&self.actors) {
            let own = skips.iter().find(|(skipping, _)| *skipping == who as usize);
            match own {
                Some((_, part)) if actor.program.rows.unwrap_or(batch) == batch => {
                    whole = Some(part)
                }
                None if actor.program.rows.is_some() => others.push(who),
                _ => {}
            }
        }
        let mut widths = skips.iter().map(|(_, part)| part[0].len());
        let width = widths.next();
        if !others.is_empty() {
            self.broken = Some(End::PartialSkip {
                at,
                skipping,
                others,
            });
        } else if whole.is_none() && widths.any(|other| Some(other) != width) {
            self.broken = Some(End::SkipMisfit { at, skipping });
        }
        let joined = || skips.iter().flat_map(|(_, part)| part.clone()).collect();
        let output = whole.cloned().unwrap_or_else(joined);
        self.broken.is_none().then_some(output)
    }

    fn fail(&mut self, who: usize, at: Option<Site>, code: &'static str) {
        self.actors[who].fault = Some(code);
        self.retire(who, Event::Exception, at, code);
    }

    fn retire(&mut self, who: usize, event: Event, at: Option<Site>, outcome: &'static str) {
        self.actors[who].is_retired = true;
        let bare = Record::bare(who, event, at);
        self.log.push(Record { outcome, ..bare });
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
            if actor.was_refused && !actor.has_fired && !actor.program.is_optional {
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

fn locate(map: &SiteMap, target: &Target) -> Result<Site, String> {
    match target {
        Target::Unknown(name) => Err(format!("{name}?")),
        Target::Point { point, .. } if !map.has(*point) => {
            Err(format!("{}?", map.point_name(*point)))
        }
        Target::Point { point, iteration } => Ok(point.at(iteration.unwrap_or(0))),
    }
}
