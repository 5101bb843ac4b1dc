//! What an exchange costs, beside a plain list of hooks.
//!
//! A simulated chain of 1,000 sites over integers, so that all that is measured is the interleaver.
//! A criterion *element* is one site or one exchange, as the name of the benchmark says; setting up
//! and finishing the run is part of the time, and measured by itself too.
#![allow(missing_docs)] // criterion's macros make public items.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use interloom_engine::{
    Cx, Delivery, Flow, Interleaver, Invoke, Mediator, Misfit, Origin, Point, Port, Request,
    RowLayout, Rows, Setup, SiteMap, Step, Value, mediator,
};

const SITES: usize = 1_000;

/// A value that costs nothing to clone.
#[derive(Clone, Copy, Debug, PartialEq)]
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

struct Chain {
    map: Arc<SiteMap>,
    points: Arc<[Point]>,
}

impl Chain {
    fn new() -> Self {
        let mut map = SiteMap::new();
        let add = |index| {
            let path = map.add(&format!("layers.{index}"), &[Port::Output]);
            Point::new(path, Port::Output)
        };
        let points = (0..SITES).map(add).collect();
        Self {
            map: Arc::new(map),
            points,
        }
    }

    /// Runs a model that adds one at each site.
    fn forward(&self, run: &mut Interleaver<Number>) -> Number {
        let mut value = Number(0);
        for &point in &*self.points {
            value.0 += 1;
            if run.passes(point) {
                match run.provide(point, value) {
                    Flow::Continue(next) => value = next,
                    Flow::Skip(_) | Flow::Halt => panic!("nobody skips or stops"),
                }
            }
        }
        value
    }

    fn run(&self, invokes: impl IntoIterator<Item = Invoke<Number>>) -> Number {
        let mut setup = Setup::new(self.map.clone());
        for invoke in invokes {
            setup.invoke(invoke);
        }
        let mut run = setup.start().expect("a run");
        let value = self.forward(&mut run);
        assert!(run.finish().result.is_ok());
        value
    }

    fn machine(&self, swaps: bool) -> Invoke<Number> {
        let points = self.points.clone();
        Invoke::new(
            "machine",
            Every {
                points,
                next: 0,
                is_reading: false,
                swaps,
            },
        )
    }

    fn asynchronous(&self, swaps: bool) -> Invoke<Number> {
        let points = self.points.clone();
        let (program, _) = mediator(self.map.clone(), async move |cx: Cx<Number>| {
            for &point in &*points {
                let Number(number) = cx.value(point).await?;
                if swaps {
                    cx.set(point, Number(number + 1)).await?;
                }
            }
            Ok(())
        });
        Invoke::new("async", program)
    }
}

/// Reads, or reads and swaps, at every site.
struct Every {
    points: Arc<[Point]>,
    next: usize,
    is_reading: bool,
    swaps: bool,
}

impl Mediator<Number> for Every {
    fn resume(mut self: Box<Self>, delivery: Delivery<Number>) -> Step<Number> {
        let origin = Origin::Unknown;
        if let Delivery::Value(Number(number)) = delivery {
            if self.swaps && self.is_reading {
                self.is_reading = false;
                let target = self.points[self.next - 1].into();
                let value = Number(number + 1);
                let request = Request::Swap {
                    target,
                    value,
                    reshape: false,
                };
                return Step::Ask {
                    request,
                    origin,
                    rest: self,
                };
            }
            black_box(number);
        }
        let Some(&point) = self.points.get(self.next) else {
            return Step::End;
        };
        self.next += 1;
        self.is_reading = true;
        let request = Request::Value {
            target: point.into(),
        };
        Step::Ask {
            request,
            origin,
            rest: self,
        }
    }
}

type Hook = Box<dyn FnMut(&mut Number)>;

/// The plainest thing that could do: for each site a list of closures.
fn plain_hooks(hooks: &mut [Vec<Hook>]) -> Number {
    let mut value = Number(0);
    for site in hooks {
        value.0 += 1;
        for hook in site {
            hook(&mut value);
        }
    }
    value
}

fn hooks(per_site: usize) -> Vec<Vec<Hook>> {
    let hook = |_| Box::new(|value: &mut Number| value.0 += 1) as Hook;
    (0..SITES)
        .map(|_| (0..per_site).map(hook).collect())
        .collect()
}

fn sites(criterion: &mut Criterion) {
    let chain = Chain::new();
    let mut group = criterion.benchmark_group("site");
    group.throughput(Throughput::Elements(SITES as u64));
    let mut run = Setup::new(chain.map.clone()).start().expect("a run");
    group.bench_function("unwatched", |bencher| {
        bencher.iter(|| chain.forward(black_box(&mut run)))
    });
    let mut none = hooks(0);
    group.bench_function("plain list, empty", |bencher| {
        bencher.iter(|| plain_hooks(black_box(&mut none)));
    });
    let mut one = hooks(1);
    group.bench_function("plain list, one hook", |bencher| {
        bencher.iter(|| plain_hooks(black_box(&mut one)));
    });
    group.finish();
}

fn exchanges(criterion: &mut Criterion) {
    let chain = Chain::new();
    let mut group = criterion.benchmark_group("exchange");
    group.throughput(Throughput::Elements(SITES as u64));
    group.bench_function("VALUE, machine", |bencher| {
        bencher.iter(|| chain.run([chain.machine(false)]));
    });
    group.bench_function("VALUE, async", |bencher| {
        bencher.iter(|| chain.run([chain.asynchronous(false)]));
    });
    group.throughput(Throughput::Elements(2 * SITES as u64));
    group.bench_function("VALUE and SWAP, machine", |bencher| {
        bencher.iter(|| chain.run([chain.machine(true)]));
    });
    group.bench_function("VALUE and SWAP, async", |bencher| {
        bencher.iter(|| chain.run([chain.asynchronous(true)]));
    });
    group.finish();
}

fn set_up(criterion: &mut Criterion) {
    let chain = Chain::new();
    let mut group = criterion.benchmark_group("set-up");
    group.bench_function("a run without mediators", |bencher| {
        bencher.iter(|| {
            Setup::<Number>::new(chain.map.clone())
                .start()
                .expect("a run")
                .finish()
        });
    });
    group.bench_function("a run with one async mediator", |bencher| {
        bencher.iter(|| {
            let (program, _) = mediator(chain.map.clone(), async |_| Ok(()));
            let mut setup = Setup::<Number>::new(chain.map.clone());
            setup.invoke(Invoke::new("idle", program));
            setup.start().expect("a run").finish()
        });
    });
    group.finish();
}

criterion_group!(benches, sites, exchanges, set_up);
criterion_main!(benches);
