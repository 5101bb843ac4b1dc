//! A target for the interleaver: bytes become a model, mediators and a schedule, and are run twice.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use interloom_engine::array::Array;
use interloom_engine::{
    Delivery, Exchange, Fault, Flow, Group, Interleaver, Invoke, Mediator, MediatorId, Origin,
    Point, Port, Request, RowLayout, ScheduleError, Scheduler, Setup, Site, SiteMap, Step, Target,
};

/// Numbers in a row of each value.
const WIDTH: u64 = 2;

/// Runs a script twice.
///
/// # Panics
///
/// Panics if the two runs differ, or the account does not fit the exchanges.
pub fn engine(bytes: &[u8]) -> bool {
    let first = transcript(bytes);
    assert_eq!(first, transcript(bytes), "two runs of one script differ");
    first.succeeded
}

/// All that can be seen of a run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transcript {
    /// Each exchange, in order.
    pub exchanges: Vec<String>,
    /// How the run ended, and what each mediator asked for and got.
    pub report: String,
    /// Whether it succeeded.
    pub succeeded: bool,
}

/// Runs a script.
///
/// # Panics
///
/// Panics if the account does not fit the exchanges.
pub fn transcript(bytes: &[u8]) -> Transcript {
    let mut script = Script(bytes);
    let tree = Tree::from_script(&mut script);
    let (setup, exchanges) = setup(&mut script, &tree);
    let rows = batch(&setup);
    let interleaver = match setup.start() {
        Ok(interleaver) => interleaver,
        Err(error) => {
            return Transcript {
                exchanges: exchanges.take(),
                report: error.to_string(),
                succeeded: false,
            };
        }
    };
    // Most models put out a row for each row of the invokes; some do not.
    let rows = rows + u64::from(script.next() == 1);
    let mut model = Model { tree, interleaver };
    if !model.interleaver.is_halted() {
        let x = Array::new(&[rows, WIDTH], &vec![1.0; (rows * WIDTH) as usize]);
        let _output = model.call(0, x);
    }
    let report = model.interleaver.finish();
    let exchanges = exchanges.take();
    assert_eq!(report.audit.exchanges(), exchanges.len() as u64);
    let succeeded = report.result.is_ok();
    Transcript {
        exchanges,
        report: format!("{:?}\n{:?}", report.result, report.audit),
        succeeded,
    }
}

/// Bytes, then zeros.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn next(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn below(&mut self, limit: u8) -> u8 {
        self.next() % limit
    }
}

/// The modules of a model; module 0 is the model itself.
struct Tree {
    modules: Vec<Module>,
    map: Arc<SiteMap>,
}

struct Module {
    children: Vec<usize>,
    calls: u8,
    input: Option<Point>,
    output: Point,
}

impl Tree {
    fn from_script(script: &mut Script<'_>) -> Self {
        let mut map = SiteMap::new();
        let mut modules: Vec<Module> = Vec::new();
        for number in 0..=usize::from(script.below(6)) {
            let parent = (number > 0).then(|| usize::from(script.next()) % number);
            let is_tap = number > 0 && script.below(4) == 3;
            let name = if number == 0 {
                String::new()
            } else {
                format!("m{number}")
            };
            let ports: &[Port] = if is_tap {
                &[Port::Output]
            } else {
                &[Port::Input, Port::Output]
            };
            let path = map.add(&name, ports);
            let output = Point::new(path, Port::Output);
            map.declare_rows(output, layout(script));
            modules.push(Module {
                children: Vec::new(),
                calls: if number == 0 { 1 } else { 1 + script.below(2) },
                input: (!is_tap).then(|| Point::new(path, Port::Input)),
                output,
            });
            if let Some(parent) = parent {
                modules[parent].children.push(number);
            }
        }
        Self {
            modules,
            map: Arc::new(map),
        }
    }
}

fn layout(script: &mut Script<'_>) -> RowLayout {
    match script.below(8) {
        1 => RowLayout::Shared,
        2 => RowLayout::Leaves(vec![false]),
        3 => RowLayout::Batched,
        _ => RowLayout::ByShape,
    }
}

type Log = Rc<RefCell<Vec<String>>>;

fn setup(script: &mut Script<'_>, tree: &Tree) -> (Setup<Array>, Log) {
    let mut setup = Setup::new(tree.map.clone());
    let points: Rc<[Point]> = tree.map.points().collect();
    for number in 0..script.below(5) {
        let steps = (0..script.below(9)).map(|_| Op::from_script(script, &points));
        let machine = Machine {
            steps: steps.collect(),
            catches: script.below(2) == 1,
            held: None,
        };
        // Now and then two have one name.
        let name = format!(
            "mediator {}",
            if script.below(16) == 15 { 0 } else { number }
        );
        let mut invoke = Invoke::new(name, machine);
        invoke = match script.below(5) {
            0 => invoke,
            rows => invoke.rows(u32::from(rows - 1)),
        };
        setup.invoke(if script.below(2) == 1 {
            invoke.optional()
        } else {
            invoke
        });
    }
    if script.below(2) == 1 {
        let choices = (0..4).map(|_| script.next()).collect();
        setup.scheduler(Chosen(choices));
    }
    let log = Log::default();
    let (seen, map) = (log.clone(), tree.map.clone());
    setup.observer(move |exchange: &Exchange<'_, Array>| {
        let mut log = seen.borrow_mut();
        assert_eq!(exchange.index, log.len() as u64);
        let at = exchange.at.map(|site| map.site_name(site));
        let Exchange {
            mediator,
            message,
            outcome,
            ..
        } = exchange;
        let event = exchange.event();
        log.push(format!(
            "{event} {mediator:?} {message:?} {at:?} {outcome:?}"
        ));
    });
    (setup, log)
}

fn batch(setup: &Setup<Array>) -> u64 {
    let groups = setup.groups().unwrap_or_default();
    let ends = groups.iter().map(|group| match group {
        Group::Rows(rows) => u64::from(rows.end()),
        Group::Whole => 0,
    });
    ends.max().unwrap_or(0)
}

/// A schedule that repeats itself.
struct Chosen(VecDeque<u8>);

impl Scheduler for Chosen {
    fn choose(&mut self, _: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
        self.0.rotate_left(1);
        let choice = self.0.front();
        Ok(choice.map_or(0, |&choice| usize::from(choice) % ready.len()))
    }

    fn describe(&self) -> String {
        "chosen".to_owned()
    }
}

/// A model under way.
struct Model {
    tree: Tree,
    interleaver: Interleaver<Array>,
}

impl Model {
    /// Calls a module as often as it says; `None` if the run was halted.
    fn call(&mut self, number: usize, mut x: Array) -> Option<Array> {
        for _ in 0..self.tree.modules[number].calls {
            let Module { input, output, .. } = self.tree.modules[number];
            let entered = match input {
                Some(input) => self.pass(input, x)?,
                None => Flow::Continue(x),
            };
            let computed = match entered {
                Flow::Continue(x) => self.compute(number, x)?,
                Flow::Skip(replaced) => replaced,
                Flow::Halt => return None,
            };
            x = match self.pass(output, computed)? {
                Flow::Continue(x) => x,
                Flow::Skip(_) | Flow::Halt => return None,
            };
        }
        Some(x)
    }

    fn compute(&mut self, number: usize, mut x: Array) -> Option<Array> {
        for child in self.tree.modules[number].children.clone() {
            x = self.call(child, x)?;
        }
        Some(x.map(|x| 0.5 * x + number as f64))
    }

    fn pass(&mut self, point: Point, x: Array) -> Option<Flow<Array>> {
        if !self.interleaver.passes(point) {
            return Some(Flow::Continue(x));
        }
        match self.interleaver.provide(point, x) {
            Flow::Halt => None,
            flow => Some(flow),
        }
    }
}

/// A mediator as data.
struct Machine {
    steps: VecDeque<Op>,
    catches: bool,
    held: Option<Array>,
}

enum Op {
    Read(Target),
    Swap(Target),
    Reshape(Target, u64),
    Skip(Target),
    Stop,
    Fail,
}

impl Op {
    fn from_script(script: &mut Script<'_>, points: &[Point]) -> Self {
        let (code, point, iteration) = (script.below(10), script.next(), script.below(5));
        let target = match iteration {
            4 => Target::Unknown("m9.output".into()),
            iteration => Target::Point {
                point: points[usize::from(point) % points.len()],
                iteration: u32::from(iteration).checked_sub(1),
            },
        };
        match code {
            4 | 5 => Self::Swap(target),
            6 => Self::Reshape(target, u64::from(point % 4)),
            7 => Self::Skip(target),
            8 => Self::Stop,
            9 => Self::Fail,
            _ => Self::Read(target),
        }
    }
}

impl Mediator<Array> for Machine {
    fn resume(mut self: Box<Self>, delivery: Delivery<Array>) -> Step<Array> {
        let origin = Origin::Unknown;
        match delivery {
            Delivery::Value(value) => self.held = Some(value),
            Delivery::Refused(fault) if !self.catches => return Step::Fail { fault, origin },
            _ => {}
        }
        let value = self.held.clone().unwrap_or_else(|| Array::scalar(1.0));
        let request = match self.steps.pop_front() {
            None => return Step::End,
            Some(Op::Stop) => return Step::Stop { origin },
            Some(Op::Fail) => {
                let fault = Fault::raise("as the script says");
                return Step::Fail { fault, origin };
            }
            Some(Op::Read(target)) => Request::Value { target },
            Some(Op::Swap(target)) => swap(target, value.map(|x| 2.0 * x), false),
            Some(Op::Reshape(target, rows)) => {
                let data = vec![3.0; (rows * WIDTH) as usize];
                swap(target, Array::new(&[rows, WIDTH], &data), true)
            }
            Some(Op::Skip(target)) => Request::Skip { target, value },
        };
        Step::Ask {
            request,
            origin,
            rest: self,
        }
    }
}

fn swap(target: Target, value: Array, reshape: bool) -> Request<Array> {
    Request::Swap {
        target,
        value,
        reshape,
    }
}
