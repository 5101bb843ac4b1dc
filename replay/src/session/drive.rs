//! The model live, mediators from a journal: what they asked for is asked for again.
//!
//! In a fork the mediators take over where the script ends: they have been given the recorded answers up to there.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use interloom_backends::{Sites, Value};
use interloom_engine::{
    CacheSpec, Cached, Delivery, Fault, Invoke, Mediator, Origin, Port, Request, Round, Step,
    Target, Unfinished, UnfinishedParent,
};

use super::convert::tensor_parts;
use super::recorded::{Recorded, fault};
use crate::error::Error;
use crate::journal::{self, Event, Exchange, ExchangeResult, MediatorLine};

/// Makes mediators that ask for what those of a recorded run did before exchange `end`, and go on as `unfinished` do.
pub(super) fn fork(
    recorded: &Recorded,
    run: &journal::Run,
    sites: &Sites,
    live: &[MediatorLine],
    (end, unfinished): (u64, Vec<Unfinished<Value>>),
) -> Result<Vec<Invoke<Value>>, Error> {
    let past = MediatorLines::of(run);
    let numbered = live.iter().zip(unfinished).zip(0..);
    let invokes = numbered.map(|((line, unfinished), number)| {
        let mut lines = past.lines(recorded, run, sites, number, end)?;
        let own = run.exchanges.iter();
        let own = own.filter(|exchange| exchange.mediator == number);
        for (line, exchange) in lines.iter_mut().zip(own) {
            if matches!(exchange.event, Event::Value | Event::Get) {
                let answer = recorded.value_of(exchange)?;
                line.answer = answer.map(|value| (exchange.index, value));
            }
        }
        // Of a child that has not ended the journal does not tell which loop it is of.
        for (place, parent) in open_children(&lines).into_iter().zip(&unfinished.parents) {
            if let Cue::Register(_, round) = &mut lines[place].cue {
                *round = parent.round;
            }
        }
        Ok(invoke(
            line,
            lines,
            Last::Live(RefCell::new(Live::of(unfinished))),
        ))
    });
    invokes.collect()
}

/// Makes mediators that ask for what those of a recorded run did.
pub(super) fn cast(
    recorded: &Recorded,
    run: &journal::Run,
    sites: &Sites,
) -> Result<Vec<Invoke<Value>>, Error> {
    let never = never(sites);
    let outcome = run.end.as_ref().map_or("", |end| &end.outcome.text);
    let past = MediatorLines::of(run);
    let numbered = run.start.mediators.iter().zip(0..);
    let invokes = numbered.map(|(line, number)| {
        let lines = past.lines(recorded, run, sites, number, u64::MAX)?;
        let last = match barrier_of(&line.name, outcome) {
            Some(barrier) => Cue::Barrier(barrier.into()),
            None => Cue::Value(never.clone()),
        };
        Ok(invoke(line, lines, Last::Cue(last)))
    });
    invokes.collect()
}

fn invoke(line: &MediatorLine, lines: Vec<ScriptLine>, last: Last) -> Invoke<Value> {
    let mediator = Scripted {
        script: Rc::new(Script { lines, last }),
        next: Rc::default(),
    };
    let mut invoke = Invoke::new(line.name.clone(), mediator);
    if let Some((_, count)) = line.rows {
        invoke = invoke.rows(count);
    }
    match line.optional {
        true => invoke.optional(),
        false => invoke,
    }
}

/// The recorded mediators, as far as their rows matter to what they may ask for.
struct MediatorLines<'r> {
    lines: &'r [MediatorLine],
    batch: u32,
}

impl<'r> MediatorLines<'r> {
    fn of(run: &'r journal::Run) -> Self {
        let lines = &run.start.mediators[..];
        let ends = lines.iter().filter_map(|line| line.rows);
        let ends = ends.map(|(start, count)| start.saturating_add(count));
        Self {
            lines,
            batch: ends.max().unwrap_or(0),
        }
    }

    /// Makes the script of one mediator up to an exchange; a mediator that was not recorded has none.
    fn lines(
        &self,
        recorded: &Recorded,
        run: &journal::Run,
        sites: &Sites,
        number: u32,
        end: u64,
    ) -> Result<Vec<ScriptLine>, Error> {
        let Some(line) = self.lines.get(number as usize) else {
            return Ok(Vec::new());
        };
        let owns_batch = line.rows.map_or(0, |(_, count)| count) == self.batch;
        let own = run.exchanges.iter();
        let own: Vec<&Exchange> = own.filter(|exchange| exchange.mediator == number).collect();
        let before = own.iter().enumerate();
        let before = before.filter(|(_, exchange)| exchange.index < end);
        let lines = before.map(|(place, exchange)| {
            let round = round(&own, place);
            script_line(recorded, exchange, sites, owns_batch, round)
        });
        lines.collect()
    }
}

/// What a mediator said, in order, with its children.
struct Script {
    lines: Vec<ScriptLine>,
    last: Last,
}

/// One line of a script.
struct ScriptLine {
    cue: Cue,
    /// Where in the user's source it stands.
    origin: Origin,
    is_refused: bool,
    /// The number of the exchange, and the value that was its answer, if a fork has to give the same.
    answer: Option<(u64, Value)>,
}

/// What comes after the last line.
enum Last {
    /// What the mediator waited for when the recorded run ended, as far as that is known: an exchange has an answer, and this
    /// had none.
    Cue(Cue),
    /// The mediator itself goes on.
    Live(RefCell<Live>),
}

/// A mediator that has been given the recorded answers, and goes on from there.
struct Live {
    /// The caches that it has declared, to be declared in this run.
    caches: Vec<(CacheSpec, Cached<Value>)>,
    /// What it does next, and by how many iterations it has advanced before.
    step: Option<(u32, Step<Value>)>,
    /// Those that wait for it, outermost first, with the same.
    parents: Vec<UnfinishedParent<Value>>,
    /// The answer to a parent that first has to advance.
    answer: Option<Delivery<Value>>,
}

impl Live {
    fn of(unfinished: Unfinished<Value>) -> Self {
        let advanced = unfinished.advanced;
        Self {
            caches: unfinished.caches,
            step: unfinished.step.map(|step| (advanced, step)),
            parents: unfinished.parents,
            answer: None,
        }
    }

    /// Returns what the mediator does now: first the one that acts, later, one after another, those that waited for it.
    fn go_on(&mut self, rest: Box<Scripted>, delivery: Delivery<Value>) -> Step<Value> {
        if let Some((advanced, step)) = self.step.take() {
            if advanced == 0 {
                return step;
            }
            self.step = Some((0, step));
            return Step::Next { by: advanced, rest };
        }
        let delivery = self.answer.take().unwrap_or(delivery);
        match self.parents.pop() {
            None => Step::End,
            Some(parent) if parent.advanced == 0 => parent.rest.resume(delivery),
            Some(parent) => {
                let by = parent.advanced;
                self.parents.push(UnfinishedParent {
                    advanced: 0,
                    ..parent
                });
                self.answer = Some(delivery);
                Step::Next { by, rest }
            }
        }
    }
}

/// One thing that a mediator says.
enum Cue {
    Value(Target),
    Swap(Target, Value, bool),
    Skip(Target, Value),
    Register(u32, Round),
    Barrier(Rc<str>),
    Put(Rc<str>, Value),
    Get(Rc<str>),
    Stop,
    End,
    Fail(Fault),
}

/// A mediator that says what stands in a script; its children go on in the same script.
struct Scripted {
    script: Rc<Script>,
    next: Rc<Cell<usize>>,
}

impl Mediator<Value> for Scripted {
    fn resume(self: Box<Self>, delivery: Delivery<Value>) -> Step<Value> {
        let script = self.script.clone();
        if let (Last::Live(live), 0) = (&script.last, self.next.get())
            && let Some((spec, into)) = live.borrow_mut().caches.pop()
        {
            let origin = Origin::Unknown;
            return Step::Cache {
                spec,
                into,
                origin,
                rest: self,
            };
        }
        let place = self.next.get();
        let before = place
            .checked_sub(1)
            .and_then(|before| script.lines.get(before));
        if let Some(fault) = before.and_then(|line| other_answer(line, &delivery)) {
            let origin = before.map_or(Origin::Unknown, |line| line.origin.clone());
            return Step::Fail { fault, origin };
        }
        let (cue, origin) = match (script.lines.get(place), &script.last) {
            (Some(line), _) => (&line.cue, &line.origin),
            (None, Last::Cue(cue)) => (cue, &Origin::Unknown),
            (None, Last::Live(live)) => return live.borrow_mut().go_on(self, delivery),
        };
        self.next.set(place + 1);
        let origin = origin.clone();
        let request = match cue {
            Cue::Stop => return Step::Stop { origin },
            Cue::End => return Step::End,
            Cue::Fail(fault) => {
                let fault = fault.clone();
                return Step::Fail { fault, origin };
            }
            Cue::Value(target) => Request::Value {
                target: target.clone(),
            },
            Cue::Swap(target, value, reshape) => Request::Swap {
                target: target.clone(),
                value: value.clone(),
                reshape: *reshape,
            },
            Cue::Skip(target, value) => Request::Skip {
                target: target.clone(),
                value: value.clone(),
            },
            Cue::Register(iteration, round) => Request::Register {
                child: Box::new(Self {
                    script: self.script.clone(),
                    next: self.next.clone(),
                }),
                iteration: Some(*iteration),
                round: *round,
            },
            Cue::Barrier(name) => Request::Barrier {
                name: (**name).into(),
            },
            Cue::Put(name, value) => Request::Put {
                name: (**name).into(),
                value: value.clone(),
            },
            Cue::Get(name) => Request::Get {
                name: (**name).into(),
            },
        };
        self.ask(request, origin)
    }
}

/// Says that the model gave another value than the journal has, if it did.
fn other_answer(line: &ScriptLine, delivery: &Delivery<Value>) -> Option<Fault> {
    let (Some((exchange, past)), Delivery::Value(live)) = (&line.answer, delivery) else {
        return None;
    };
    (!is_same(past, live)).then(|| {
        Fault::raise(format!(
            "the model gave another value than the journal has for exchange {exchange}; a fork needs the model and the inputs of \
             the recording"
        ))
    })
}

/// Returns whether two values are equal bit for bit.
fn is_same(left: &Value, right: &Value) -> bool {
    let bytes = |value: &Value| {
        let mut all = Vec::new();
        value.each_tensor(&mut |tensor| {
            all.push(tensor_parts(tensor.to_data()).2.as_bytes().to_vec());
        });
        all
    };
    left.to_string() == right.to_string() && bytes(left) == bytes(right)
}

impl Scripted {
    fn ask(self: Box<Self>, request: Request<Value>, origin: Origin) -> Step<Value> {
        Step::Ask {
            request,
            origin,
            rest: self,
        }
    }
}

/// Returns the barrier at which a mediator waited in vain, of which the outcome of the run tells.
fn barrier_of<'o>(name: &str, outcome: &'o str) -> Option<&'o str> {
    let between = |text: &'o str, before: &str, after: &str| {
        let (_, rest) = text.split_once(before)?;
        Some(rest.split_once(after)?.0)
    };
    let is_among = |who: &str| who.contains(&format!("`{name}`"));
    let unmet = outcome.lines().filter_map(|line| {
        let barrier = between(line, "with barrier `", "` closed")?;
        Some((barrier, between(line, " came: ", ";")?))
    });
    let circle = outcome
        .split_once("in a circle: ")
        .map_or("", |(_, rest)| rest);
    let circle = circle.split("; ").filter_map(|part| {
        let (barrier, who) = part.strip_prefix("at `")?.split_once("`, which is for ")?;
        Some((barrier, who))
    });
    let mut waits = unmet.chain(circle);
    waits
        .find(|(_, who)| is_among(who))
        .map(|(barrier, _)| barrier)
}

/// Returns a site that waits until the run is over: no model passes a point so often.
fn never(sites: &Sites) -> Target {
    let ports = [Port::Output, Port::Input];
    let mut points = sites
        .paths()
        .flat_map(|path| ports.map(|port| sites.point_at(path, port)));
    match points.find_map(|point| point) {
        Some(point) => Target::Point {
            point,
            iteration: Some(u32::MAX),
        },
        None => Target::Unknown("".into()),
    }
}

fn script_line(
    recorded: &Recorded,
    exchange: &Exchange,
    sites: &Sites,
    owns_batch: bool,
    round: Round,
) -> Result<ScriptLine, Error> {
    let target = || match exchange.asked {
        Some(site) => recorded.target(site, sites.map()),
        None => Target::Unknown("".into()),
    };
    let name = || Rc::from(exchange.asked.map_or("", |site| recorded.text(site)));
    let value = || Ok::<Value, Error>(recorded.value_of(exchange)?.unwrap_or(Value::Unit));
    let cue = match exchange.event {
        Event::Value => Cue::Value(target()),
        // What was refused is in the journal without its value, so that it cannot be made again.
        Event::Swap if exchange.result == ExchangeResult::Refused => {
            refused_swap(recorded, exchange, target())?
        }
        Event::Skip if exchange.result == ExchangeResult::Refused => {
            Cue::Skip(target(), Value::Unit)
        }
        Event::Put if exchange.result == ExchangeResult::Refused => Cue::Put(name(), Value::Unit),
        Event::Swap => Cue::Swap(target(), value()?, owns_batch),
        Event::Skip => Cue::Skip(target(), value()?),
        Event::Register => Cue::Register(exchange.asked.map_or(0, |site| site.iteration), round),
        Event::Barrier => Cue::Barrier(name()),
        Event::Put => Cue::Put(name(), value()?),
        Event::Get => Cue::Get(name()),
        Event::Stop => Cue::Stop,
        Event::End => Cue::End,
        Event::Exception => Cue::Fail(match &exchange.fault {
            Some(line) => fault(line),
            None => Fault::raise("the journal does not say why"),
        }),
    };
    let origin = exchange.origin.as_ref();
    let origin = origin.map_or(Origin::Unknown, |origin| Origin::Program {
        file: origin.file.as_str().into(),
        line: origin.line,
    });
    Ok(ScriptLine {
        cue,
        origin,
        is_refused: exchange.result == ExchangeResult::Refused,
        answer: None,
    })
}

/// A swap that is refused again: only where its value did not fit does it matter which it was.
fn refused_swap(recorded: &Recorded, exchange: &Exchange, target: Target) -> Result<Cue, Error> {
    let code = exchange.fault.as_ref().map(|fault| fault.code.as_str());
    let value = match code {
        Some("E004") => recorded.misfit(exchange)?,
        _ => Value::Unit,
    };
    Ok(Cue::Swap(target, value, code == Some("E006")))
}

/// Returns the places of the children that are registered and have not ended, outermost first.
fn open_children(lines: &[ScriptLine]) -> Vec<usize> {
    let mut open = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        match &line.cue {
            Cue::Register(..) if !line.is_refused => open.push(place),
            Cue::End | Cue::Fail(_) => drop(open.pop()),
            _ => {}
        }
    }
    open
}

/// Returns what kind of loop the child that is registered at `place` belongs to.
///
/// A child whose failure is not the last that is heard of its mediator was an iteration that never came.
fn round(own: &[&Exchange], place: usize) -> Round {
    if own[place].event != Event::Register {
        return Round::Alone;
    }
    if own[place].result == ExchangeResult::Refused {
        return Round::Open;
    }
    let mut depth = 0_usize;
    for (later, exchange) in own.iter().enumerate().skip(place) {
        match exchange.event {
            Event::Register if exchange.result != ExchangeResult::Refused => depth += 1,
            Event::End | Event::Exception => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let goes_on = later + 1 < own.len();
            let has_failed = exchange.event == Event::Exception;
            return if has_failed && goes_on {
                Round::Open
            } else {
                Round::Alone
            };
        }
    }
    Round::Alone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_at_a_barrier_is_told_by_the_outcome() {
        let unmet = "the model finished with barrier `b` closed: it is for 3, 2 came: `m0` (a.rs:1), `m1`; missing: `m2`\n\
                     the model finished with barrier `c` closed: it is for 2, 1 came: `m3`; missing: `m2`";
        let circle = "mediators wait for one another in a circle: at `b`, which is for 2, `m0`; at `c`, which is for 2, \
                      `m1` and `m2`; arrive at barriers in one order";
        for (name, outcome, barrier) in [
            ("m0", unmet, Some("b")),
            ("m1", unmet, Some("b")),
            ("m3", unmet, Some("c")),
            ("m2", unmet, None),
            ("m0", circle, Some("b")),
            ("m2", circle, Some("c")),
            ("m3", circle, None),
            ("m0", "completed", None),
        ] {
            assert_eq!(barrier_of(name, outcome), barrier, "{name}");
        }
    }
}
