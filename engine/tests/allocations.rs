//! What the interleaver allocates: nothing where no mediator waits, and nothing for an exchange
//! once a run is under way.
//!
//! R6 says that passing a site costs next to nothing; here it is counted.
#![allow(unsafe_code)] // A global allocator cannot be written without; see below.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use interloom_engine::{
    Cx, Delivery, Flow, Interleaver, Invoke, Mediator, Misfit, Origin, Point, Port, Request,
    RowLayout, Rows, RunEnd, Setup, SiteMap, Step, Target, Value, mediator,
};

/// The system's allocator, which counts the calls of each thread.
struct Counting;

thread_local! {
    // Constant and without a destructor, so that using it allocates nothing, also while a thread begins or ends.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    CALLS.with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call is passed on unchanged to `System`, which keeps the contract of `GlobalAlloc`;
// counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` comes from `System`, as all that this allocator gives out.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as for `dealloc`, and the caller vouches for `size`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts the allocations of `work`.
fn allocations<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = CALLS.get();
    let result = work();
    (CALLS.get() - before, result)
}

/// A value that needs no memory of its own: what is counted is the interleaver's.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Number(i64);

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

/// How many sites a run warms up on, and how many are counted.
const WARM_UP: u32 = 10;
const COUNTED: u32 = 1_000;

fn chain() -> (Arc<SiteMap>, Point) {
    let mut map = SiteMap::new();
    map.add("layer", &[Port::Input, Port::Output]);
    let point = map.point("layer.output").expect("added above");
    (Arc::new(map), point)
}

/// Passes `point` many times, and counts the allocations after the first few; every value is one
/// more.
fn drive(run: &mut Interleaver<Number>, point: Point) -> u64 {
    let mut value = Number(0);
    let mut pass = |times: u32| {
        for _ in 0..times {
            if run.passes(point) {
                match run.provide(point, value) {
                    Flow::Continue(next) => value = next,
                    other => panic!("{other:?}"),
                }
            }
        }
    };
    pass(WARM_UP);
    let (counted, ()) = allocations(|| pass(COUNTED));
    assert_eq!(value, Number(i64::from(WARM_UP + COUNTED)));
    counted
}

/// Adds one at each passing of a point.
struct Increment {
    point: Point,
    iteration: u32,
    is_reading: bool,
}

impl Mediator<Number> for Increment {
    fn resume(mut self: Box<Self>, delivery: Delivery<Number>) -> Step<Number> {
        let target = |iteration| Target::Point {
            point: self.point,
            iteration: Some(iteration),
        };
        let request = match delivery {
            Delivery::Value(Number(number)) if self.is_reading => {
                self.is_reading = false;
                Request::Swap {
                    target: target(self.iteration),
                    value: Number(number + 1),
                    reshape: false,
                }
            }
            Delivery::Start | Delivery::Done => {
                if matches!(delivery, Delivery::Done) {
                    self.iteration += 1;
                }
                if self.iteration == WARM_UP + COUNTED {
                    return Step::End;
                }
                self.is_reading = true;
                Request::Value {
                    target: target(self.iteration),
                }
            }
            other => panic!("{other:?}"),
        };
        Step::Ask {
            request,
            origin: Origin::Unknown,
            rest: self,
        }
    }
}

#[test]
fn the_counter_counts() {
    let (counted, held) = allocations(|| (Box::new(1), vec![1, 2, 3]));
    assert_eq!(counted, 2);
    let (counted, ()) = allocations(|| drop(held));
    assert_eq!(counted, 0);
}

#[test]
fn r6_a_site_that_nobody_waits_for_allocates_nothing() {
    let (map, point) = chain();
    let mut setup = Setup::<Number>::new(map.clone());
    let (waiter, _) = mediator(map.clone(), async |cx: Cx<Number>| cx.input("layer").await);
    setup.invoke(Invoke::new("waits elsewhere", waiter));
    let mut run = setup.start().unwrap();
    let (counted, asked) = allocations(|| (0..COUNTED).filter(|_| run.passes(point)).count());
    assert_eq!((counted, asked), (0, 0));
}

#[test]
fn a_hand_written_exchange_allocates_nothing() {
    let (map, point) = chain();
    let mut setup = Setup::new(map);
    let increment = Increment {
        point,
        iteration: 0,
        is_reading: false,
    };
    setup.invoke(Invoke::new("increment", increment));
    let mut run = setup.start().unwrap();
    assert_eq!(drive(&mut run, point), 0);
    assert_eq!(run.finish().result, Ok(RunEnd::Completed));
}

#[test]
fn an_async_exchange_allocates_nothing() {
    let (map, point) = chain();
    let mut setup = Setup::new(map.clone());
    let (increment, _) = mediator(map, async move |cx: Cx<Number>| {
        for iteration in 0..WARM_UP + COUNTED {
            let site = point.at(iteration);
            let Number(number) = cx.value(site).await?;
            cx.set(site, Number(number + 1)).await?;
        }
        Ok(())
    });
    setup.invoke(Invoke::new("increment", increment));
    let mut run = setup.start().unwrap();
    assert_eq!(drive(&mut run, point), 0);
    assert_eq!(run.finish().result, Ok(RunEnd::Completed));
}

#[test]
fn exchanges_of_several_mediators_with_rows_allocate_nothing() {
    let (map, point) = chain();
    let mut setup = Setup::new(map.clone());
    let increment = Increment {
        point,
        iteration: 0,
        is_reading: false,
    };
    setup.invoke(Invoke::new("increment", increment).rows(1));
    let (reader, _) = mediator(map, async move |cx: Cx<Number>| {
        for iteration in 0..WARM_UP + COUNTED {
            let Number(number) = cx.value(point.at(iteration)).await?;
            assert_eq!(number, i64::from(iteration) + 1);
        }
        Ok(())
    });
    setup.invoke(Invoke::new("reader", reader).rows(1));
    let mut run = setup.start().unwrap();
    assert_eq!(drive(&mut run, point), 0);
    assert_eq!(run.finish().result, Ok(RunEnd::Completed));
}
