//! The model live, mediators from a journal: what they asked for is asked for again.

use std::cell::Cell;
use std::rc::Rc;

use interloom_backends::{Sites, Value};
use interloom_engine::{
    Delivery, Fault, Invoke, Mediator, Origin, Port, Request, Round, Step, Target,
};

use super::recorded::{Recorded, fault};
use crate::error::Error;
use crate::journal::{self, Event, Exchange, ExchangeResult};

/// Makes mediators that ask for what those of a recorded run did.
pub(super) fn cast(
    recorded: &Recorded,
    run: &journal::Run,
    sites: &Sites,
) -> Result<Vec<Invoke<Value>>, Error> {
    let batch = run.start.mediators.iter().filter_map(|line| line.rows);
    let batch = batch
        .map(|(start, count)| start.saturating_add(count))
        .max()
        .unwrap_or(0);
    let never = never(sites);
    let outcome = run.end.as_ref().map_or("", |end| &end.outcome.text);
    let numbered = run.start.mediators.iter().zip(0..);
    let invokes = numbered.map(|(line, number)| {
        let own = run
            .exchanges
            .iter()
            .filter(|exchange| exchange.mediator == number);
        let owns_batch = line.rows.map_or(0, |(_, count)| count) == batch;
        let own: Vec<&Exchange> = own.collect();
        let lines = own.iter().enumerate().map(|(place, exchange)| {
            let round = round(&own, place);
            script_line(recorded, exchange, sites, owns_batch, round)
        });
        let script = Script {
            lines: lines.collect::<Result<_, Error>>()?,
            last: match barrier_of(&line.name, outcome) {
                Some(barrier) => Cue::Barrier(barrier.into()),
                None => Cue::Value(never.clone()),
            },
        };
        let mediator = Scripted {
            script: Rc::new(script),
            next: Rc::default(),
        };
        let mut invoke = Invoke::new(line.name.clone(), mediator);
        if let Some((_, count)) = line.rows {
            invoke = invoke.rows(count);
        }
        Ok(if line.optional {
            invoke.optional()
        } else {
            invoke
        })
    });
    invokes.collect()
}

/// What a mediator said, in order, with its children.
struct Script {
    lines: Vec<(Cue, Origin)>,
    /// What the mediator waited for when the recorded run ended, as far as that is known: an exchange has an answer, and this
    /// had none.
    last: Cue,
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
    fn resume(self: Box<Self>, _: Delivery<Value>) -> Step<Value> {
        let place = self.next.get();
        self.next.set(place + 1);
        let script = self.script.clone();
        let (cue, origin) = match script.lines.get(place) {
            Some((cue, origin)) => (cue, origin),
            None => (&script.last, &Origin::Unknown),
        };
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
) -> Result<(Cue, Origin), Error> {
    let target = || match exchange.asked {
        Some(site) => recorded.target(site, sites.map()),
        None => Target::Unknown("".into()),
    };
    let name = || Rc::from(exchange.asked.map_or("", |site| recorded.text(site)));
    let value = || Ok::<Value, Error>(recorded.value_of(exchange)?.unwrap_or(Value::Unit));
    let cue = match exchange.event {
        Event::Value => Cue::Value(target()),
        // A refused swap is in the journal without its value, so that it cannot be made again.
        Event::Swap | Event::Skip | Event::Put if exchange.result == ExchangeResult::Refused => {
            refused(recorded, exchange, target(), name())
        }
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
    Ok((cue, origin))
}

/// A request that is refused again: a stand-in of the same kind and shape takes the place of the value that was refused.
fn refused(recorded: &Recorded, exchange: &Exchange, target: Target, name: Rc<str>) -> Cue {
    let fault = exchange.fault.as_ref();
    let code = fault.map(|fault| fault.code.as_str());
    match exchange.event {
        Event::Skip => Cue::Skip(target, Value::Unit),
        Event::Put => Cue::Put(name, Value::Unit),
        _ => {
            let message = fault.map_or("", |fault| &fault.message);
            let value = recorded.stand_in(message).unwrap_or(Value::Unit);
            Cue::Swap(target, value, code == Some("E006"))
        }
    }
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
