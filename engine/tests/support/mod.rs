//! A simulated model, and runs of it: what every test of the engine stands on.
//!
//! The model is a tree of modules over [`Array`] values. A module passes its input site, calls its
//! children one after the other, does a little arithmetic, and passes its output site; it does what
//! the [`Flow`] says. A module that is listed twice is called twice, so that its sites have several
//! iterations.
#![allow(dead_code)] // Each test binary uses a part.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use interloom_engine::array::Array;
use interloom_engine::{
    Asked as About, CacheSpec, Cached, Cx, Delivery, Event, Exchange, Fault, FaultKind, Flow,
    Granularity, Interleaver, Invoke, Mediator, MediatorId, Origin, Point, Port, Report, Request,
    RunError, Saved, ScheduleError, Scheduler, Setup, Site, SiteMap, Step, mediator,
};

/// Numbers stay small and whole, so that every comparison is exact.
const MODULUS: f64 = 1009.0;

/// One module: `(x · scale + shift) mod 1009` of what its children make of its input. Its shift is
/// a parameter.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    pub(crate) path: String,
    pub(crate) scale: f64,
    pub(crate) shift: f64,
    /// Places in [`Model::modules`], in the order of the calls.
    pub(crate) children: Vec<usize>,
}

impl Module {
    pub(crate) fn arithmetic(&self, x: &Array) -> Array {
        x.map(|x| (x * self.scale + self.shift).rem_euclid(MODULUS))
    }
}

/// A model; module 0 is its root.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) modules: Vec<Module>,
    pub(crate) map: Arc<SiteMap>,
}

impl Model {
    pub(crate) fn new(modules: Vec<Module>) -> Self {
        let mut map = SiteMap::new();
        for module in &modules {
            map.add(&module.path, &[Port::Input, Port::Output]);
        }
        for module in &modules {
            map.add_parameter(&parameter_of(&module.path));
        }
        let map = Arc::new(map);
        Self { modules, map }
    }

    /// Makes a model of paths and their children; scale and shift follow from the place.
    pub(crate) fn tree(paths: &[(&str, &[&str])]) -> Self {
        let place = |child: &&str| paths.iter().position(|(path, _)| path == child).unwrap();
        let module = |(index, (path, children)): (usize, &(&str, &[&str]))| Module {
            path: (*path).to_owned(),
            scale: 2.0 + index as f64,
            shift: 1.0 + index as f64,
            children: children.iter().map(place).collect(),
        };
        Self::new(paths.iter().enumerate().map(module).collect())
    }

    /// Runs the model, asking `gate` at every site; `None` if it was halted.
    pub(crate) fn forward(
        &self,
        x: Array,
        gate: &mut dyn FnMut(Point, Array) -> Flow<Array>,
    ) -> Option<Array> {
        self.call(0, x, gate)
    }

    /// Runs the model without a run.
    pub(crate) fn plain(&self, x: Array) -> Array {
        self.forward(x, &mut |_, value| Flow::Continue(value))
            .expect("nobody halts it")
    }

    fn call(
        &self,
        index: usize,
        x: Array,
        gate: &mut dyn FnMut(Point, Array) -> Flow<Array>,
    ) -> Option<Array> {
        let module = &self.modules[index];
        let path = self.map.path(&module.path)?;
        let output = match gate(Point::new(path, Port::Input), x) {
            Flow::Halt => return None,
            Flow::Skip(output) => output,
            Flow::Continue(mut x) => {
                for &child in &module.children {
                    x = self.call(child, x, gate)?;
                }
                module.arithmetic(&x)
            }
        };
        match gate(Point::new(path, Port::Output), output) {
            Flow::Continue(output) => Some(output),
            Flow::Halt => None,
            Flow::Skip(_) => panic!("an output cannot be skipped"),
        }
    }

    pub(crate) fn point(&self, name: &str) -> Point {
        self.map.point(name).expect("a site of the model")
    }
}

/// The path of a module's parameter.
pub(crate) fn parameter_of(module: &str) -> String {
    match module {
        "" => "shift".to_owned(),
        path => format!("{path}.shift"),
    }
}

/// The model of most tests: two layers with a module inside each, and a head that is called twice.
pub(crate) fn stack() -> Model {
    Model::tree(&[
        ("", &["embed", "layers.0", "layers.1", "head", "head"]),
        ("embed", &[]),
        ("layers.0", &["layers.0.fc"]),
        ("layers.0.fc", &[]),
        ("layers.1", &["layers.1.fc"]),
        ("layers.1.fc", &[]),
        ("head", &[]),
    ])
}

/// Every site of one run of [`stack`], in the order in which they are passed.
pub(crate) const STACK_SITES: [&str; 16] = [
    "input.i0",
    "embed.input.i0",
    "embed.output.i0",
    "layers.0.input.i0",
    "layers.0.fc.input.i0",
    "layers.0.fc.output.i0",
    "layers.0.output.i0",
    "layers.1.input.i0",
    "layers.1.fc.input.i0",
    "layers.1.fc.output.i0",
    "layers.1.output.i0",
    "head.input.i0",
    "head.output.i0",
    "head.input.i1",
    "head.output.i1",
    "output.i0",
];

/// An array of `rows` rows of two numbers, counted up from `first`.
pub(crate) fn table(rows: u64, first: f64) -> Array {
    let data: Vec<f64> = (0..rows * 2).map(|i| first + i as f64).collect();
    Array::new(&[rows, 2], &data)
}

/// A matrix, row by row.
pub(crate) type Table = Vec<Vec<f64>>;

pub(crate) fn to_table(array: &Array) -> Table {
    let rows = array.data().chunks(array.shape()[1] as usize);
    rows.map(<[f64]>::to_vec).collect()
}

pub(crate) fn to_array(table: &[Vec<f64>]) -> Array {
    let shape = [table.len() as u64, table[0].len() as u64];
    Array::new(&shape, &table.concat())
}

/// A site, or the text of what else is asked for.
pub(crate) type Asked = Result<Site, String>;

/// An exchange, kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) mediator: u32,
    pub(crate) event: Event,
    pub(crate) asked: Option<Asked>,
    pub(crate) at: Option<Site>,
    /// `served`, or the code of the fault.
    pub(crate) outcome: &'static str,
    pub(crate) value: Option<Array>,
}

impl Record {
    pub(crate) fn of(exchange: &Exchange<'_, Array>) -> Self {
        let outcome = exchange.fault().map_or("served", Fault::code);
        let value = exchange.value().cloned();
        Self {
            mediator: exchange.mediator.0,
            event: exchange.event(),
            asked: exchange.asked().map(|asked| match asked {
                About::Site(site) => Ok(site),
                About::Unknown(name) => Err(format!("{name}?")),
                About::Name(name) => Err(name.to_owned()),
                About::Iteration(iteration) => Err(format!("i{iteration}")),
            }),
            at: exchange.at,
            outcome,
            value,
        }
    }

    /// An exchange that is about no site.
    pub(crate) fn bare(mediator: usize, event: Event, at: Option<Site>) -> Self {
        Self {
            mediator: mediator as u32,
            event,
            asked: None,
            at,
            outcome: "served",
            value: None,
        }
    }

    /// `0 VALUE embed.output.i0 @ embed.output.i0 served`
    pub(crate) fn line(&self, map: &SiteMap) -> String {
        let asked = match &self.asked {
            None => String::new(),
            Some(Ok(site)) => format!(" {}", map.site_name(*site)),
            Some(Err(text)) => format!(" {text}"),
        };
        let at = self.at.map_or("-".to_owned(), |site| map.site_name(site));
        format!(
            "{} {}{asked} @ {at} {}",
            self.mediator, self.event, self.outcome
        )
    }
}

/// What a finished run shows.
pub(crate) struct Ran {
    /// The model's output; `None` if it was halted or never ran.
    pub(crate) output: Option<Array>,
    pub(crate) report: Report,
    pub(crate) log: Vec<Record>,
    /// The sites that were passed.
    pub(crate) sites: Vec<String>,
    map: Arc<SiteMap>,
}

impl Ran {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.log
            .iter()
            .map(|record| record.line(&self.map))
            .collect()
    }

    pub(crate) fn error(&self) -> &RunError {
        self.report
            .result
            .as_ref()
            .expect_err("the run should have failed")
    }

    /// The faults of the failed mediators, with their names.
    pub(crate) fn faults(&self) -> Vec<(&str, &FaultKind)> {
        let RunError::Mediators(failures) = self.error() else {
            panic!("{:?}", self.error());
        };
        failures
            .iter()
            .map(|failure| (failure.mediator.as_str(), failure.fault.kind()))
            .collect()
    }

    /// The codes of the failed mediators.
    pub(crate) fn codes(&self) -> Vec<(&str, &'static str)> {
        self.faults()
            .into_iter()
            .map(|(name, fault)| (name, fault.code()))
            .collect()
    }

    pub(crate) fn value_at(&self, line: &str) -> &Array {
        let record = self
            .log
            .iter()
            .find(|record| record.line(&self.map) == line);
        record
            .and_then(|record| record.value.as_ref())
            .unwrap_or_else(|| panic!("no `{line}` in {:#?}", self.lines()))
    }
}

/// A run that is being set up.
pub(crate) struct Trial<'m> {
    model: &'m Model,
    setup: Setup<Array>,
}

impl<'m> Trial<'m> {
    pub(crate) fn of(model: &'m Model) -> Self {
        let setup = Setup::new(model.map.clone());
        Self { model, setup }
    }

    /// Adds a mediator that sees the whole batch.
    #[track_caller]
    pub(crate) fn whole<T, F, Fut>(&mut self, name: &str, program: F) -> Saved<T>
    where
        T: 'static,
        F: FnOnce(Cx<Array>) -> Fut,
        Fut: Future<Output = Result<T, Fault>> + 'static,
    {
        let (mediator, saved) = mediator(self.model.map.clone(), program);
        self.setup.invoke(Invoke::new(name, mediator));
        saved
    }

    /// Adds a mediator with rows of its own.
    #[track_caller]
    pub(crate) fn rows<T, F, Fut>(&mut self, name: &str, rows: u32, program: F) -> Saved<T>
    where
        T: 'static,
        F: FnOnce(Cx<Array>) -> Fut,
        Fut: Future<Output = Result<T, Fault>> + 'static,
    {
        let (mediator, saved) = mediator(self.model.map.clone(), program);
        self.setup.invoke(Invoke::new(name, mediator).rows(rows));
        saved
    }

    pub(crate) fn barrier(&mut self, name: &str, participants: u32) {
        self.setup.barrier(name, participants);
    }

    pub(crate) fn steps(&mut self, steps: u32) {
        self.setup.steps(steps);
    }

    pub(crate) fn cache(&mut self, spec: CacheSpec) -> Cached<Array> {
        self.setup.cache(spec)
    }

    /// Declares the values whose gradients may be asked for.
    pub(crate) fn gradients<'p>(&mut self, of: impl IntoIterator<Item = &'p Point>) {
        let map = self.model.map.clone();
        let names = of.into_iter().map(|point| map.point_name(*point));
        self.setup.gradients(names);
    }

    pub(crate) fn invoke(&mut self, invoke: Invoke<Array>) {
        self.setup.invoke(invoke);
    }

    pub(crate) fn scheduler(&mut self, scheduler: impl Scheduler + 'static) {
        self.setup.scheduler(scheduler);
    }

    pub(crate) fn granularity(&mut self, granularity: Granularity) {
        self.setup.granularity(granularity);
    }

    /// Starts the run, runs the model unless it is halted, and finishes.
    pub(crate) fn run(self, x: Array) -> Ran {
        self.try_run(x).expect("the run should have started")
    }

    pub(crate) fn try_run(mut self, x: Array) -> Result<Ran, RunError> {
        let log = Rc::new(RefCell::new(Vec::new()));
        let recorder = log.clone();
        self.setup.observer(move |exchange: &Exchange<'_, Array>| {
            recorder.borrow_mut().push(Record::of(exchange));
        });
        let (output, report, sites) = drive(self.model, self.setup, x)?;
        Ok(Ran {
            output,
            report,
            log: log.take(),
            sites,
            map: self.model.map.clone(),
        })
    }

    /// Runs without an observer.
    pub(crate) fn run_unobserved(self, x: Array) -> (Option<Array>, Report) {
        let (output, report, _) = drive(self.model, self.setup, x).expect("should have started");
        (output, report)
    }

    pub(crate) fn into_setup(self) -> Setup<Array> {
        self.setup
    }
}

pub(crate) type Driven = (Option<Array>, Report, Vec<String>);

/// Runs a model with what was set up.
pub(crate) fn drive(model: &Model, setup: Setup<Array>, x: Array) -> Result<Driven, RunError> {
    let mut run = setup.start()?;
    let mut sites = Vec::new();
    let mut tape = Tape::default();
    let output = match run.is_halted() {
        true => None,
        false => model.forward(x, &mut |point, value| {
            let flow = tape.pass(model, &mut run, point, value);
            sites.push(model.map.site_name(point.at(run.passed(point) - 1)));
            flow
        }),
    };
    Ok((output, run.finish(), sites))
}

/// What a backward pass of the simulated model goes back over: the sites that were passed since the
/// last one, or since a module that was skipped.
///
/// The gradient of what a module puts out is multiplied by its scale, modulo 1009, to be that of
/// what its arithmetic takes in. Where mediators have changed the shape, all numbers of the next
/// gradient are the sum of the last. The gradient of a module's shift is the sum of those of all
/// that the module put out.
#[derive(Default)]
pub(crate) struct Tape(Vec<(Site, Array)>);

impl Tape {
    /// Passes a site, and performs the backward pass that mediators ask for there.
    pub(crate) fn pass(
        &mut self,
        model: &Model,
        run: &mut Interleaver<Array>,
        point: Point,
        value: Array,
    ) -> Flow<Array> {
        let is_awaited = run.passes(point);
        self.0
            .push((point.at(run.passed(point) - 1), value.clone()));
        let flow = match is_awaited {
            true => run.provide(point, value),
            false => Flow::Continue(value),
        };
        if let Flow::Skip(_) = flow {
            self.0.clear();
        }
        let losses = run.take_losses();
        match losses.is_empty() {
            true => flow,
            false => {
                run.begin_backward(None);
                match self.back(model, run, &losses) {
                    Some(()) if run.is_halted() => Flow::Halt,
                    Some(()) => flow,
                    None => Flow::Halt,
                }
            }
        }
    }

    fn back(
        &mut self,
        model: &Model,
        run: &mut Interleaver<Array>,
        losses: &[Array],
    ) -> Option<()> {
        let sum = |array: &Array| array.data().iter().sum::<f64>();
        let loss: f64 = losses.iter().map(sum).sum();
        let mut gradient = Array::scalar(loss.rem_euclid(MODULUS));
        let mut shifts: BTreeMap<Point, f64> = BTreeMap::new();
        for (site, value) in self.0.drain(..).rev() {
            if gradient.shape() != value.shape() {
                let all = sum(&gradient).rem_euclid(MODULUS);
                gradient = value.map(|_| all);
            }
            let of = site.point.gradient().expect("all of the model's have one");
            let of = of.at(site.iteration);
            if run.is_hooked(site.point) && run.passes_gradient(of) {
                gradient = match run.provide_gradient(of, gradient) {
                    Flow::Continue(gradient) => gradient,
                    Flow::Halt => return None,
                    Flow::Skip(_) => panic!("a gradient cannot be skipped"),
                };
            }
            if site.point.port == Port::Output {
                let path = model.map.path_name(site.point.path);
                let shift = model
                    .map
                    .parameter(&parameter_of(path))
                    .expect("each has one");
                *shifts.entry(shift).or_default() += sum(&gradient);
                let mut modules = model.modules.iter();
                let module = modules.find(|module| module.path == path);
                let scale = module.expect("a module of the model").scale;
                gradient = gradient.map(|x| (x * scale).rem_euclid(MODULUS));
            }
        }
        for site in run.parameter_sites() {
            if let Some(sum) = shifts.get(&site.point)
                && run.passes_gradient(site)
            {
                let gradient = Array::new(&[1, 1], &[sum.rem_euclid(MODULUS)]);
                match run.provide_gradient(site, gradient) {
                    Flow::Continue(_) => {}
                    Flow::Halt => return None,
                    Flow::Skip(_) => panic!("a gradient cannot be skipped"),
                }
            }
        }
        run.end_backward();
        Some(())
    }
}

/// Last defined, first stepped.
pub(crate) struct Backwards;

impl Scheduler for Backwards {
    fn choose(&mut self, _: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
        assert!(ready.is_sorted());
        Ok(ready.len() - 1)
    }

    fn describe(&self) -> String {
        "backwards".to_owned()
    }
}

/// What a hand-written machine does next.
pub(crate) enum Move {
    Value(Point),
    Swap(Point, Array),
    Skip(Point, Array),
    Ask(Request<Array>),
    /// Advance the own iteration.
    Next(u32),
    Cache(CacheSpec, Cached<Array>),
    Stop,
    End,
    Fail(Fault),
}

/// A hand-written machine: a function of the delivery.
pub(crate) struct Machine<F>(F);

pub(crate) fn machine<F: FnMut(Delivery<Array>) -> Move + 'static>(function: F) -> Machine<F> {
    Machine(function)
}

impl<F: FnMut(Delivery<Array>) -> Move + 'static> Mediator<Array> for Machine<F> {
    fn resume(mut self: Box<Self>, delivery: Delivery<Array>) -> Step<Array> {
        let request = match (self.0)(delivery) {
            Move::Ask(request) => request,
            Move::Value(point) => Request::Value {
                target: point.into(),
            },
            Move::Swap(point, value) => Request::Swap {
                target: point.into(),
                value,
                reshape: false,
            },
            Move::Skip(point, value) => Request::Skip {
                target: point.into(),
                value,
            },
            Move::Next(by) => return Step::Next { by, rest: self },
            Move::Cache(spec, into) => {
                return Step::Cache {
                    spec,
                    into,
                    origin: Origin::Unknown,
                    rest: self,
                };
            }
            Move::Stop => {
                return Step::Stop {
                    origin: Origin::Unknown,
                };
            }
            Move::End => return Step::End,
            Move::Fail(fault) => {
                return Step::Fail {
                    fault,
                    origin: Origin::Unknown,
                };
            }
        };
        Step::Ask {
            request,
            origin: Origin::Unknown,
            rest: self,
        }
    }
}
