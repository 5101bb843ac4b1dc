//! Runs of planned programs on the models.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use interloom_backends::{ForwardError, Ran, Run, Value};
use interloom_engine::program::{Datum, Machine, Results};
use interloom_engine::{
    Asked, Cached, Event, Exchange, Fault, Invoke, Mediator, Outcome, RunError, Value as _,
};

use super::models::Model;
use super::translate::{Block, NONE, Plan, saved_name};
use crate::session::Session;

/// What a program can reach, to be made into a mediator.
#[derive(Clone)]
pub struct Surroundings {
    pub(super) model: Model,
    pub(super) inputs: Rc<BTreeMap<String, Value>>,
    /// Where it saves.
    pub(super) results: Results<Value>,
}

/// What a run shows.
pub(super) struct Trace {
    /// The model's output of each step, if it came to its end.
    pub(super) outputs: Option<Vec<Value>>,
    /// Why the run failed.
    pub(super) error: Option<String>,
    /// The same, if it was the run itself that failed.
    pub(super) cause: Option<RunError>,
    /// The codes of everything that failed.
    pub(super) codes: Vec<&'static str>,
    /// The requests that were served, in order.
    pub(super) served: Vec<Served>,
    /// The caches of the whole run.
    pub(super) caches: Vec<(String, Cached<Value>)>,
}

/// A served request: which mediator, the event, and the site, or the barrier's name.
pub(super) type Served = (u32, Event, String);

/// Makes a mediator of what the block at this place of a plan does.
pub(super) type Make<'m, P> =
    dyn Fn(&Plan<P>, usize, &Surroundings) -> Box<dyn Mediator<Value>> + 'm;

impl Surroundings {
    /// Makes the machine that steps through a program.
    pub fn machine(
        &self,
        program: &interloom_engine::program::Program,
    ) -> Result<Machine<Value>, interloom_engine::program::ProgramError> {
        let machine = Machine::new(program, self.sites().map())?;
        let model = self.model.clone();
        let modules = move |path: &str, x: Value| model.call(path, x);
        let machine = machine.modules(modules).share_results(self.results.clone());
        let inputs = self.inputs.iter();
        let machine = inputs.fold(machine, |machine, (name, value)| {
            machine.given(name, value.clone())
        });
        let saved = self.results.saved();
        let machine = saved.iter().fold(machine, |machine, (name, datum)| {
            machine.given(saved_name(name), plain(datum))
        });
        Ok(machine.given(NONE, Value::Unit))
    }

    /// Returns the model's sites.
    pub fn sites(&self) -> &interloom_backends::Sites {
        self.model.sites()
    }

    /// Returns an input.
    pub fn input(&self, name: &str) -> Option<&Value> {
        self.inputs.get(name)
    }

    /// Returns what a program is given that is no input: nothing, or by `saved NAME` what an earlier run has saved.
    pub fn given(&self, name: &str, saved: &BTreeMap<String, Datum<Value>>) -> Option<Value> {
        match name {
            NONE => Some(Value::Unit),
            name => saved.get(name.strip_prefix("saved ")?).map(plain),
        }
    }

    /// Computes a module on a value outside its place in the model.
    ///
    /// # Errors
    ///
    /// A fault if there is no such module, or it cannot take this value.
    pub fn call(&self, path: &str, x: Value) -> Result<Value, Fault> {
        self.model.call(path, x)
    }
}

/// Returns a datum as a value.
pub(super) fn plain(datum: &Datum<Value>) -> Value {
    match datum {
        Datum::Number(number) => Value::Float(*number),
        Datum::Value(value) => value.clone(),
        Datum::List(items) => Value::List(items.iter().map(plain).collect()),
    }
}

/// Runs a plan; in a session, if there is one, the requests that were served are in its journal only.
pub(super) fn run<P>(
    around: &Surroundings,
    plan: &Plan<P>,
    make: &Make<'_, P>,
    session: Option<&mut Session>,
) -> Result<Trace, String> {
    let mut run = Run::new("scenario", around.sites());
    let x = add_invokes(&mut run, around, plan, make)?;
    for (name, participants) in &plan.barriers {
        run.barrier(name, *participants);
    }
    if let Some(tokens) = plan.tokens {
        run.steps(tokens);
    }
    let caches = plan.caches.iter();
    let caches = caches
        .map(|(name, spec)| (name.clone(), run.cache(spec.clone())))
        .collect();
    let model = around.model.clone();
    // Kept apart: a run that fails after the model has finished returns no output.
    let outputs = Rc::new(RefCell::new(None));
    let kept = outputs.clone();
    let forward = move || {
        *kept.borrow_mut() = Some(match plan.tokens {
            Some(tokens) => model.generate(x, tokens),
            None => vec![model.forward(x)],
        });
    };
    let log = observe(&mut run, around, plan);
    let result = match session {
        Some(session) => {
            if plan.tokens.is_some() {
                // A generation keeps keys and values between its steps.
                session.keep_passages(false);
            }
            session.run(run, forward)
        }
        None => run.execute(forward).map_err(crate::Error::Forward),
    };
    let end = End::of(result)?;
    Ok(Trace {
        // What is served from a journal ends as it did when it was recorded, without a model.
        outputs: outputs.take().filter(|_| !end.is_recorded),
        error: end.error,
        cause: end.cause,
        codes: end.codes,
        served: log.take().served.into_iter().flatten().collect(),
        caches,
    })
}

/// Adds an invoke for each program, and returns their inputs joined.
fn add_invokes<P>(
    run: &mut Run,
    around: &Surroundings,
    plan: &Plan<P>,
    make: &Make<'_, P>,
) -> Result<Value, String> {
    let mut parts = Vec::new();
    for (index, block) in plan.blocks.iter().enumerate() {
        let Block {
            input, is_whole, ..
        } = block;
        let mediator = Boxed(make(plan, index, around));
        let mut invoke = Invoke::new(format!("m{index}"), mediator).optional();
        if let Some(input) = input {
            let value = around.input(input);
            let value = value.ok_or_else(|| format!("there is no input `{input}`"))?;
            let rows = rows(value)?;
            if !is_whole {
                invoke = invoke.rows(rows);
            }
            parts.push(value.clone());
        }
        run.add(invoke);
    }
    if parts.is_empty() {
        return Err(
            "no invoke of a run has an input, and the model's is made of theirs".to_owned(),
        );
    }
    Value::join(parts).map_err(|misfit| format!("the inputs do not join: {misfit}"))
}

/// How a run ended.
#[derive(Default)]
struct End {
    error: Option<String>,
    cause: Option<RunError>,
    codes: Vec<&'static str>,
    is_recorded: bool,
}

impl End {
    /// The end of a run that was made; an error if it could not be made.
    fn of(result: Result<Ran<()>, crate::Error>) -> Result<Self, String> {
        match result {
            Ok(_) => Ok(Self::default()),
            Err(crate::Error::Forward(error)) => Ok(Self {
                error: Some(error.to_string()),
                codes: codes(&error),
                cause: match error {
                    ForwardError::Run { error, .. } => Some(*error),
                    _ => None,
                },
                is_recorded: false,
            }),
            Err(crate::Error::RecordedFailure { message, .. }) => Ok(Self {
                error: Some(message),
                is_recorded: true,
                ..Self::default()
            }),
            Err(other) => Err(other.to_string()),
        }
    }
}

fn codes(error: &ForwardError) -> Vec<&'static str> {
    match error {
        ForwardError::Run { error, .. } => match &**error {
            interloom_engine::RunError::Mediators(failures) => failures
                .iter()
                .map(|failure| failure.fault.code())
                .collect(),
            other => vec![other.code()],
        },
        other => vec![other.code()],
    }
}

fn rows(value: &Value) -> Result<u32, String> {
    use interloom_engine::program::Operand;

    let shape = value.shape();
    let rows = shape.and_then(|shape| u32::try_from(*shape.first()?).ok());
    rows.ok_or_else(|| format!("{value} has no rows"))
}

/// Notes the requests that are served.
fn observe<P>(run: &mut Run, around: &Surroundings, plan: &Plan<P>) -> Rc<RefCell<Log>> {
    let log = Rc::new(RefCell::new(Log::new(&plan.barriers)));
    let (kept, map) = (log.clone(), around.sites().map().clone());
    run.observer(move |exchange: &Exchange<'_, Value>| {
        let Outcome::Served(_) = exchange.outcome else {
            return;
        };
        let (who, event) = (exchange.mediator.0, exchange.event);
        match exchange.asked {
            Some(Asked::Site(site)) => log.borrow_mut().note(who, event, map.site_name(site)),
            Some(Asked::Name(name)) if event == Event::Barrier => log.borrow_mut().pass(who, name),
            _ => {}
        }
    });
    kept
}

/// The requests that were served, without those of whoever came last to a barrier: the reference does not log these.
#[derive(Default)]
struct Log {
    served: Vec<Option<Served>>,
    rounds: BTreeMap<String, Round>,
}

/// Who has passed a barrier since it last opened.
struct Round {
    participants: u32,
    /// Places in the log, and who.
    passed: Vec<(usize, u32)>,
    /// Whose request was served last before it opened; nobody's before the model started.
    before: Option<u32>,
}

impl Log {
    fn new(barriers: &BTreeMap<String, u32>) -> Self {
        let round = |(name, &participants): (&String, &u32)| {
            let round = Round {
                participants,
                passed: Vec::new(),
                before: None,
            };
            (name.clone(), round)
        };
        Self {
            served: Vec::new(),
            rounds: barriers.iter().map(round).collect(),
        }
    }

    fn note(&mut self, who: u32, event: Event, what: String) {
        self.served.push(Some((who, event, what)));
    }

    fn pass(&mut self, who: u32, barrier: &str) {
        let (place, before) = (self.served.len(), self.last());
        self.note(who, Event::Barrier, String::new());
        let Some(round) = self.rounds.get_mut(barrier) else {
            return;
        };
        if round.passed.is_empty() {
            round.before = before;
        }
        round.passed.push((place, who));
        if round.passed.len() < round.participants as usize {
            return;
        }
        // It opened in the turn of the last to come. Before the model starts mediators run in their order, so that the
        // last has the highest number.
        let passed = std::mem::take(&mut round.passed);
        let is_in = |who: &u32| passed.iter().any(|(_, other)| other == who);
        let last = round.before.filter(is_in);
        let last = last.or_else(|| passed.iter().map(|(_, who)| *who).max());
        if let Some((place, _)) = passed.iter().find(|(_, who)| Some(*who) == last) {
            self.served[*place] = None;
        }
    }

    fn last(&self) -> Option<u32> {
        self.served
            .iter()
            .rev()
            .flatten()
            .map(|(who, ..)| *who)
            .next()
    }
}

/// A mediator that was boxed already.
struct Boxed(Box<dyn Mediator<Value>>);

impl Mediator<Value> for Boxed {
    fn resume(
        self: Box<Self>,
        delivery: interloom_engine::Delivery<Value>,
    ) -> interloom_engine::Step<Value> {
        self.0.resume(delivery)
    }
}
