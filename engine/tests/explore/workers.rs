//! The smallest contention: workers that read and write one number at one site, or at several.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use interloom_engine::{
    Delivery, Exchange, Flow, Granularity, Invoke, Mediator, Misfit, Origin, Point, Port, Report,
    Request, RowLayout, Rows, RunError, Scheduler, Setup, SiteMap, Step, Value,
};

/// A value that costs nothing to clone.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Number(pub(crate) u64);

impl Value for Number {
    fn rows(&self, _: Rows, _: u32, _: &RowLayout) -> Self {
        *self
    }

    fn splice(&self, _: Rows, _: u32, _: &RowLayout, part: Self) -> Result<Self, Misfit> {
        Ok(part)
    }

    fn fits(&self, _: &Self) -> Result<(), Misfit> {
        Ok(())
    }

    fn join(parts: Vec<Self>) -> Result<Self, Misfit> {
        Ok(parts[0])
    }
}

/// Reads the number and writes one more, in turn, so many times at each site.
pub(crate) struct Worker {
    points: Arc<[Point]>,
    /// How many requests were made.
    made: usize,
    per_site: usize,
    /// Whether every request is a read.
    only_reads: bool,
    held: Number,
}

impl Mediator<Number> for Worker {
    fn resume(mut self: Box<Self>, delivery: Delivery<Number>) -> Step<Number> {
        if let Delivery::Value(value) = delivery {
            self.held = value;
        }
        let Some(&point) = self.points.get(self.made / self.per_site) else {
            return Step::End;
        };
        let is_read = self.only_reads || self.made.is_multiple_of(2);
        self.made += 1;
        let target = point.into();
        let request = match is_read {
            true => Request::Value { target },
            false => Request::Swap {
                target,
                value: Number(self.held.0 + 1),
                reshape: false,
            },
        };
        Step::Ask {
            request,
            origin: Origin::Unknown,
            rest: self,
        }
    }
}

/// Some workers, at some sites, with so many requests at each.
pub(crate) struct Shop {
    map: Arc<SiteMap>,
    points: Arc<[Point]>,
    names: Vec<String>,
    per_site: usize,
    only_reads: bool,
    granularity: Granularity,
}

impl Shop {
    pub(crate) fn new(
        workers: usize,
        sites: usize,
        per_site: usize,
        granularity: Granularity,
    ) -> Self {
        let mut map = SiteMap::new();
        let add = |index| Point::new(map.add(&format!("m{index}"), &[Port::Output]), Port::Output);
        let points = (0..sites).map(add).collect();
        Self {
            map: Arc::new(map),
            points,
            names: (0..workers).map(|index| format!("w{index}")).collect(),
            per_site,
            only_reads: false,
            granularity,
        }
    }

    pub(crate) fn only_reads(mut self) -> Self {
        self.only_reads = true;
        self
    }

    pub(crate) fn setup(&self) -> Setup<Number> {
        let mut setup = Setup::new(self.map.clone());
        for name in &self.names {
            let worker = Worker {
                points: self.points.clone(),
                made: 0,
                per_site: self.per_site,
                only_reads: self.only_reads,
                held: Number(0),
            };
            setup.invoke(Invoke::new(name.as_str(), worker));
        }
        setup.granularity(self.granularity);
        setup
    }

    /// Runs the model, which passes a zero through all its sites.
    pub(crate) fn drive(&self, setup: Setup<Number>) -> Result<(Number, Report), RunError> {
        let mut run = setup.start()?;
        let mut value = Number(0);
        for &point in &*self.points {
            if !run.passes(point) {
                continue;
            }
            match run.provide(point, value) {
                Flow::Continue(next) => value = next,
                Flow::Skip(_) | Flow::Halt => break,
            }
        }
        Ok((value, run.finish()))
    }

    pub(crate) fn run(&self, scheduler: impl Scheduler + 'static) -> Number {
        let mut setup = self.setup();
        setup.scheduler(scheduler);
        let (value, report) = self.drive(setup).expect("it starts");
        assert!(report.result.is_ok());
        value
    }

    /// Lets a run keep whose exchanges at sites came when.
    pub(crate) fn order(setup: &mut Setup<Number>) -> Rc<RefCell<Vec<u8>>> {
        let order = Rc::new(RefCell::new(Vec::new()));
        let into = order.clone();
        setup.observer(move |exchange: &Exchange<'_, Number>| {
            if exchange.asked().is_some() {
                into.borrow_mut().push(exchange.mediator.0 as u8);
            }
        });
        order
    }
}
