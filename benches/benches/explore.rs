//! How many complete runs an exploration makes, beside Shuttle, which explores the interleavings of
//! threads.
//!
//! Three mediators make four exchanges each at one site, by turns of one exchange; three threads
//! take a lock four times each. Both begin, interleave and end everything in each run. A criterion
//! *element* is one complete run.
#![allow(missing_docs)] // criterion's macros make public items.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use interloom_engine::explore::{Attempt, Explorer, Reduction};
use interloom_engine::scheduler::{Pct, Shuffle};
use interloom_engine::{
    Delivery, Flow, Granularity, Invoke, Mediator, Misfit, Origin, Point, Port, Request, RowLayout,
    Rows, RunError, Scheduler, Setup, SiteMap, Step, Value,
};

const WORKERS: usize = 3;
const STEPS: u32 = 4;

/// Runs in one iteration of a benchmark of random orders.
const RUNS: u64 = 1_000;

/// The orders of three times four exchanges: 12! / (4!)³.
const ORDERS: u64 = 34_650;

/// A value that costs nothing to clone.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Number(u64);

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

/// Reads the number and writes one more, by turns.
struct Worker {
    point: Point,
    made: u32,
    held: Number,
}

impl Mediator<Number> for Worker {
    fn resume(mut self: Box<Self>, delivery: Delivery<Number>) -> Step<Number> {
        if let Delivery::Value(value) = delivery {
            self.held = value;
        }
        if self.made == STEPS {
            return Step::End;
        }
        self.made += 1;
        let target = self.point.into();
        let request = match self.made % 2 {
            1 => Request::Value { target },
            _ => Request::Swap {
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

struct Shop {
    map: Arc<SiteMap>,
    point: Point,
}

impl Shop {
    fn new() -> Self {
        let mut map = SiteMap::new();
        let point = Point::new(map.add("counter", &[Port::Output]), Port::Output);
        Self {
            map: Arc::new(map),
            point,
        }
    }

    fn setup(&self, granularity: Granularity) -> Setup<Number> {
        let mut setup = Setup::new(self.map.clone());
        for name in ["a", "b", "c"].iter().take(WORKERS) {
            let worker = Worker {
                point: self.point,
                made: 0,
                held: Number(0),
            };
            setup.invoke(Invoke::new(*name, worker));
        }
        setup.granularity(granularity);
        setup
    }

    fn drive(&self, setup: Setup<Number>) -> Result<Number, RunError> {
        let mut run = setup.start()?;
        run.passes(self.point);
        let Flow::Continue(value) = run.provide(self.point, Number(0)) else {
            panic!("nobody skips or stops");
        };
        run.finish().result?;
        Ok(value)
    }

    fn random<S: Scheduler + 'static>(
        &self,
        granularity: Granularity,
        of: impl Fn(u64) -> S,
    ) -> u64 {
        let run = |seed| {
            let mut setup = self.setup(granularity);
            setup.scheduler(of(seed));
            self.drive(setup).expect("a run").0
        };
        (0..RUNS).map(run).sum()
    }

    fn explore(&self, reduction: Reduction) -> u64 {
        let run = |attempt: &Attempt| {
            let mut setup = self.setup(Granularity::Exchange);
            attempt.attach(&mut setup);
            self.drive(setup)
        };
        let explorer = Explorer::new().budget(u64::MAX).reduction(reduction);
        let verdict = explorer.explore(run).expect("it can be explored");
        assert!(verdict.is_complete);
        verdict.runs
    }
}

/// Three threads that take a lock four times each, in as many random orders.
fn shuttle_random() {
    use shuttle::scheduler::RandomScheduler;
    use shuttle::sync::{Arc, Mutex};

    let scheduler = RandomScheduler::new_from_seed(0, RUNS as usize);
    let runner = shuttle::Runner::new(scheduler, shuttle::Config::default());
    runner.run(|| {
        let counter = Arc::new(Mutex::new(0u64));
        let worker = |_| {
            let counter = counter.clone();
            shuttle::thread::spawn(move || {
                for _ in 0..STEPS {
                    *counter.lock().unwrap() += 1;
                }
            })
        };
        let threads: Vec<_> = (0..WORKERS).map(worker).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

fn explore(criterion: &mut Criterion) {
    let shop = Shop::new();
    let mut group = criterion.benchmark_group("explore");
    group.throughput(Throughput::Elements(RUNS));
    group.bench_function("shuffle, turns of a site", |bencher| {
        bencher.iter(|| black_box(shop.random(Granularity::Site, Shuffle::new)));
    });
    group.bench_function("shuffle, turns of an exchange", |bencher| {
        bencher.iter(|| black_box(shop.random(Granularity::Exchange, Shuffle::new)));
    });
    group.bench_function("pct, turns of an exchange", |bencher| {
        bencher
            .iter(|| black_box(shop.random(Granularity::Exchange, |seed| Pct::new(3, 12, seed))));
    });
    group.bench_function("shuttle, random", |bencher| bencher.iter(shuttle_random));
    group.throughput(Throughput::Elements(ORDERS));
    group.sample_size(20);
    group.bench_function("every order of exchanges", |bencher| {
        bencher.iter(|| assert_eq!(shop.explore(Reduction::None), ORDERS));
    });
    let reduced = shop.explore(Reduction::Commuting);
    group.throughput(Throughput::Elements(reduced));
    group.bench_function("one order of those that commute", |bencher| {
        bencher.iter(|| assert_eq!(shop.explore(Reduction::Commuting), reduced));
    });
    group.finish();
}

criterion_group!(benches, explore);
criterion_main!(benches);
