//! Runs of planned programs.

use std::cell::RefCell;
use std::rc::Rc;

use interloom_engine::program::{Machine, Results};
use interloom_engine::{
    Asked, Cached, Event, Exchange, Fault, Flow, Invoke, Outcome, Port, Report, Setup, Value,
};

use super::models::{Model, Stop, Tensors};
use super::translate::Plan;
use super::tree::Tree;

/// What a run shows.
pub struct Trace {
    /// The model's output, if it came to its end.
    pub output: Option<Tree>,
    /// How the run ended; nothing if the model itself failed.
    pub report: Option<Report>,
    /// The requests for sites that were served, in order.
    pub served: Vec<Served>,
    /// The caches of the whole run.
    pub caches: Vec<(String, Cached<Tree>)>,
}

/// A served request: which mediator, the event, and the site.
pub type Served = (u32, Event, String);

/// Runs a plan on a model; what it saves goes to `results`.
///
/// # Errors
///
/// What keeps the run from starting.
pub fn run(
    model: &Model,
    inputs: &Tensors,
    plan: &Plan,
    results: &Results<Tree>,
) -> Result<Trace, String> {
    let map = model.map();
    let mut setup = Setup::<Tree>::new(map.clone());
    let mut parts = Vec::new();
    for (index, block) in plan.blocks.iter().enumerate() {
        let caller = model.clone();
        let modules = move |path: &str, x: Tree| caller.call(path, &x).map_err(Fault::from);
        let machine = Machine::new(&block.program, map).map_err(|error| error.to_string())?;
        let machine = machine.modules(modules).share_results(results.clone());
        let machine = inputs.iter().fold(machine, |machine, (name, array)| {
            machine.given(name, Tree::Leaf(array.clone()))
        });
        let mut invoke = Invoke::new(format!("m{index}"), machine).optional();
        if let Some(input) = &block.input {
            let input = inputs
                .get(input)
                .ok_or_else(|| format!("no input `{input}`"))?;
            invoke = invoke.rows(input.shape()[0] as u32);
            parts.push(Tree::Leaf(input.clone()));
        }
        setup.invoke(invoke);
    }
    for (name, participants) in &plan.barriers {
        setup.barrier(name, *participants);
    }
    let caches = plan.caches.iter();
    let caches = caches
        .map(|(name, spec)| (name.clone(), setup.cache(spec.clone())))
        .collect();
    let served = record(&mut setup, model);
    let x = Tree::join(parts).map_err(|misfit| misfit.to_string())?;
    let (output, report) = drive(model, setup, x)?;
    Ok(Trace {
        output,
        report,
        served: served.take(),
        caches,
    })
}

fn record(setup: &mut Setup<Tree>, model: &Model) -> Rc<RefCell<Vec<Served>>> {
    let served = Rc::new(RefCell::new(Vec::new()));
    let (log, map) = (served.clone(), model.map().clone());
    setup.observer(move |exchange: &Exchange<'_, Tree>| {
        if let (Some(Asked::Site(site)), Outcome::Served(_)) = (exchange.asked, &exchange.outcome) {
            let site = map.site_name(site);
            log.borrow_mut()
                .push((exchange.mediator.0, exchange.event, site));
        }
    });
    served
}

type Driven = (Option<Tree>, Option<Report>);

fn drive(model: &Model, setup: Setup<Tree>, x: Tree) -> Result<Driven, String> {
    let map = model.map();
    let mut run = setup.start().map_err(|error| error.to_string())?;
    if run.is_halted() {
        return Ok((None, Some(run.finish())));
    }
    let gate = &mut |path: &str, port: Port, value: Tree| {
        let point = map.point_at(path, port).expect("a site of the model");
        match run.passes(point) {
            true => run.provide(point, value),
            false => Flow::Continue(value),
        }
    };
    match model.forward(x, gate) {
        Ok(output) => Ok((Some(output), Some(run.finish()))),
        Err(Stop::Halted) => Ok((None, Some(run.finish()))),
        Err(Stop::Failed(_)) => {
            run.cancel();
            Ok((None, None))
        }
    }
}
