//! Runs of planned programs, or of other mediators, on the models.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use interloom::Session;
use interloom_backends::{ForwardError, Run, Value};
use interloom_engine::{
    Asked, Cached, Exchange, FaultKind, Invoke, Mediator, Moment, Observer, RunError, Site,
    Value as _,
};
use interloom_program::{Datum, Machine, Program, ProgramError, Results};

use super::models::Model;
use super::translate::{NONE, Plan, saved_name};
use crate::cause::Cause;
use crate::outcome::{Collected, Entry, Fault, Item, Outcome, Said, Served, without_last_arrivals};

/// What a program can reach, to be made into a mediator.
#[derive(Clone)]
pub struct Surroundings {
    pub(crate) model: Model,
    pub(crate) inputs: Rc<BTreeMap<String, Value>>,
    /// The parameters whose gradients are asked for, if gradients are.
    pub(crate) gradients: Option<Vec<String>>,
    /// Where it saves.
    pub(crate) results: Results<Value>,
}

/// Makes a mediator of what the block at this place of a plan does.
pub(crate) type Make<'m, P> =
    dyn Fn(&Plan<P>, usize, &Surroundings) -> Box<dyn Mediator<Value>> + 'm;

impl Surroundings {
    /// Makes the machine that steps through a program.
    pub fn machine(&self, program: &Program) -> Result<Machine<Value>, ProgramError> {
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

    /// Returns what a program is given that is no input: nothing, or by `saved NAME` what an
    /// earlier run has saved.
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
    pub fn call(&self, path: &str, x: Value) -> Result<Value, interloom_engine::Fault> {
        self.model.call(path, x)
    }

    /// Returns whether the input at this point is all arguments of a module.
    pub(crate) fn is_by_name(&self, input: &str) -> bool {
        let path = input.trim_end_matches("input").trim_end_matches('.');
        self.model.is_by_name(path)
    }
}

/// Returns a datum as a value.
fn plain(datum: &Datum<Value>) -> Value {
    match datum {
        Datum::Number(number) => Value::Float(*number),
        Datum::Value(value) => value.clone(),
        Datum::List(items) => Value::List(items.iter().map(plain).collect()),
    }
}

/// Returns a value as it can be compared.
pub(crate) fn item(value: &Value) -> Item {
    let all = |items: &[Value]| Item::Sequence(items.iter().map(item).collect());
    match value {
        Value::Unit => Item::None,
        Value::Bool(truth) => Item::Bool(*truth),
        Value::Int(number) => Item::Number(*number as f64),
        Value::Float(number) => Item::Number(*number),
        Value::Text(text) => Item::Text(text.to_string()),
        Value::Tensor(tensor) => Item::Tensor {
            shape: tensor.shape(),
            numbers: tensor.to_data().iter::<f64>().collect(),
            is_on_host: tensor.is_on_host(),
        },
        Value::Tuple(items) | Value::List(items) => all(items),
        Value::Map(items) => {
            let items = items.iter();
            Item::Map(
                items
                    .map(|(name, value)| (name.to_string(), item(value)))
                    .collect(),
            )
        }
    }
}

fn datum(datum: &Datum<Value>) -> Item {
    item(&plain(datum))
}

/// Makes the runs of a scenario, one after another, up to the first that fails: the script that was
/// recorded ends with its first error.
///
/// # Errors
///
/// What keeps a run from being made.
pub(crate) fn play<P>(
    around: &Surroundings,
    plans: &[Plan<P>],
    make: &Make<'_, P>,
    mut session: Option<&mut Session>,
) -> Result<Outcome, String> {
    let mut all = Outcome::default();
    for (number, plan) in plans.iter().enumerate() {
        let came_to = run(around, plan, make, session.as_deref_mut())?;
        all.served.extend(came_to.served);
        all.exchanges.extend(came_to.exchanges);
        all.caches.extend(came_to.caches);
        all.faults.extend(came_to.faults);
        if let Some(outputs) = came_to.outputs.into_values().next() {
            all.outputs.insert(number, outputs);
        }
        if !all.faults.is_empty() {
            break;
        }
    }
    let saved = around.results.saved();
    all.saved = saved
        .iter()
        .map(|(name, own)| (name.clone(), datum(own)))
        .collect();
    all.marks = around.results.marks();
    let caught = around.results.caught();
    all.caught = caught
        .iter()
        .map(|(name, own)| (name.clone(), fault(own)))
        .collect();
    Ok(all)
}

/// What caches of programs and scripts have collected, by name.
pub(crate) fn collected<'n>(
    around: &Surroundings,
    names: impl Iterator<Item = &'n str>,
) -> BTreeMap<String, Collected> {
    let caches = names.filter_map(|name| {
        let cache = around.results.cache(name)?;
        Some((name.to_owned(), entries(around, &cache)))
    });
    caches.collect()
}

/// Makes one run; in a session, if there is one, the requests that were served are in its journal
/// only.
fn run<P>(
    around: &Surroundings,
    plan: &Plan<P>,
    make: &Make<'_, P>,
    session: Option<&mut Session>,
) -> Result<Outcome, String> {
    let mut run = Run::new("scenario", around.sites());
    let x = add_invokes(&mut run, around, plan, make)?;
    for (name, participants) in &plan.barriers {
        run.barrier(name, *participants);
    }
    if let Some(tokens) = plan.tokens {
        run.steps(tokens);
    }
    if let Some(parameters) = &around.gradients {
        run.all_gradients();
        run.parameters(around.model.parameters());
        run.gradients(parameters);
    }
    let caches = plan.caches.iter();
    let caches: Vec<(String, Cached<Value>)> = caches
        .map(|(name, spec)| (name.clone(), run.cache(spec.clone())))
        .collect();
    let model = around.model.clone();
    // Kept apart: a run that fails after the model has finished returns no output, and a generation
    // may end early.
    let outputs = Rc::new(RefCell::new(Vec::new()));
    let kept = outputs.clone();
    let forward = move || match plan.tokens {
        Some(tokens) => model.generate(x, tokens, |logits| kept.borrow_mut().push(logits)),
        None => kept.borrow_mut().push(model.forward(x)),
    };
    let log = Log::default();
    run.observer(log.clone());
    let result = match session {
        Some(session) => {
            if plan.tokens.is_some() {
                // A generation keeps keys and values between its steps.
                session.keep_passages(false);
            }
            session.run(run, forward)
        }
        None => run.execute(forward).map_err(interloom::Error::Forward),
    };
    let faults = match result {
        Ok(_) => Vec::new(),
        Err(interloom::Error::Forward(error)) => faults(&error),
        Err(interloom::Error::RecordedFailure { .. }) => vec![Fault::of(Cause::Class("recorded"))],
        Err(other) => return Err(other.to_string()),
    };
    let (served, exchanges) = log.written(around);
    let outputs: Vec<Item> = outputs.take().iter().map(item).collect();
    let caches = caches.iter();
    Ok(Outcome {
        faults,
        outputs: (!outputs.is_empty())
            .then_some((0, outputs))
            .into_iter()
            .collect(),
        served: without_last_arrivals(served, &plan.barriers),
        exchanges,
        caches: caches
            .map(|(name, cache)| (name.clone(), entries(around, cache)))
            .collect(),
        ..Outcome::default()
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
        let mediator = Boxed(make(plan, index, around));
        let mut invoke = Invoke::new(format!("m{index}"), mediator).optional();
        if let Some(input) = &block.input {
            let value = around.input(input);
            let value = value.ok_or_else(|| format!("there is no input `{input}`"))?;
            invoke = invoke.rows(rows(value)?);
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

fn rows(value: &Value) -> Result<u32, String> {
    use interloom_program::Operand;

    let shape = Operand::shape(value);
    let rows = shape.and_then(|shape| u32::try_from(*shape.first()?).ok());
    rows.ok_or_else(|| format!("{value} has no rows"))
}

fn faults(error: &ForwardError) -> Vec<Fault> {
    match error {
        ForwardError::Run { error, .. } => match &**error {
            RunError::Mediators(failures) => {
                let failures = failures.iter();
                failures.map(|failure| fault(&failure.fault)).collect()
            }
            RunError::PartialSkip { site, .. } | RunError::SkipMisfit { site, .. } => {
                vec![Fault::about(Cause::of_code(error.code()), site)]
            }
            other => vec![Fault::of(Cause::of_code(other.code()))],
        },
        other => vec![Fault::of(Cause::of_code(other.code()))],
    }
}

fn fault(fault: &interloom_engine::Fault) -> Fault {
    match fault.kind() {
        FaultKind::OutOfOrder { asked, .. }
        | FaultKind::NotProvided { asked, .. }
        | FaultKind::NotShared { asked, .. } => Fault::about(Cause::of_code(fault.code()), asked),
        FaultKind::Misfit { site, .. } => Fault::about(Cause::of_code(fault.code()), site),
        _ => Fault::of(Cause::of_code(fault.code())),
    }
}

/// What a cache has of each module; operations, and values inside a module, are none.
fn entries(around: &Surroundings, cache: &Cached<Value>) -> Collected {
    let map = around.sites().map();
    let mut collected = Collected::new();
    for site in cache.sites() {
        let Some(value) = cache.at(site) else {
            continue;
        };
        let name = map.point_name(site.point);
        let (path, port) = name.rsplit_once('.').unwrap_or(("", &name));
        let has_input = path.is_empty() || map.point(&format!("{path}.input")).is_some();
        if path.contains(".source.") || !has_input {
            continue;
        }
        let passes = collected.entry(path.to_owned()).or_default();
        let is_input = port == "input";
        let is_missing = |entry: &Entry| {
            if is_input {
                entry.inputs.is_none()
            } else {
                entry.output.is_none()
            }
        };
        let place = passes.iter().position(is_missing);
        let place = place.unwrap_or_else(|| {
            passes.push(Entry::default());
            passes.len() - 1
        });
        let side = if is_input {
            &mut passes[place].inputs
        } else {
            &mut passes[place].output
        };
        *side = Some(if is_input && !around.is_by_name(&name) {
            Item::Sequence(vec![
                Item::Sequence(vec![item(&value)]),
                Item::Map(BTreeMap::new()),
            ])
        } else {
            item(&value)
        });
    }
    collected
}

/// The exchanges of a run.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<Line>>>);

struct Line {
    who: u32,
    event: &'static str,
    asked: Option<Result<Site, String>>,
    at: Option<Site>,
    fault: Option<Cause>,
}

impl Observer<Value> for Log {
    fn exchange(&mut self, exchange: &Exchange<'_, Value>) {
        let asked = exchange.asked().map(|asked| match asked {
            Asked::Site(site) => Ok(site),
            Asked::Unknown(name) | Asked::Name(name) => Err(name.to_owned()),
            Asked::Iteration(number) => Err(format!("i{number}")),
        });
        self.0.borrow_mut().push(Line {
            who: exchange.mediator.0,
            event: exchange.event().name(),
            asked,
            at: exchange.at,
            fault: exchange.fault().map(|fault| Cause::of_code(fault.code())),
        });
    }

    fn moment(&mut self, _: &Moment<'_, Value>) {}
}

impl Log {
    /// Returns the requests that were served, and all exchanges; what programs have on the
    /// blackboard is their way to share names.
    fn written(&self, around: &Surroundings) -> (Vec<Served>, Vec<Said>) {
        let map = around.sites().map();
        let lines = self.0.borrow();
        let lines = lines
            .iter()
            .filter(|line| !["PUT", "GET"].contains(&line.event));
        let exchanges: Vec<Said> = lines
            .map(|line| Said {
                who: line.who,
                event: line.event,
                asked: match &line.asked {
                    None => String::new(),
                    Some(Ok(site)) => map.site_name(*site),
                    Some(Err(name)) => name.clone(),
                },
                at: line.at.map(|site| map.site_name(site)),
                fault: line.fault,
            })
            .collect();
        let served = exchanges.iter().filter(|said| {
            said.fault.is_none() && ["VALUE", "SWAP", "SKIP", "BARRIER"].contains(&said.event)
        });
        let served = served.map(|said| Served(said.who, said.event, said.asked.clone()));
        (served.collect(), exchanges)
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
