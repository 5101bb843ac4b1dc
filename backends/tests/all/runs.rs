//! Runs of a model: reading, replacing, skipping, stopping, batches, runs within runs, gradients.

use std::cell::RefCell;
use std::rc::Rc;

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Int, Tensor};
use interloom_backends::{Bound, Erase, Forward, ForwardError, Hooked, Ran, Run, Tap, Value};
use interloom_engine::{
    Asked, Cx, Delivery, Event, Exchange, Fault, Mediator, Observer, Origin, Point, Request,
    RowLayout, RunEnd, Step,
};

use crate::support::{Mlp, bits, cpu, linear, reader, tensor, tensor_on};

pub(crate) fn x() -> Tensor<2> {
    tensor([2, 4], 3)
}

pub(crate) fn typed(value: Value) -> Tensor<2> {
    value.tensor().unwrap()
}

/// Runs the model on [`x`] with one mediator.
pub(crate) fn run_with<T, F, Fut>(
    model: &Bound<Hooked<Mlp>>,
    program: F,
) -> Result<(Ran<Tensor<2>>, Option<T>), ForwardError>
where
    T: 'static,
    F: FnOnce(Cx<Value>) -> Fut,
    Fut: Future<Output = Result<T, Fault>> + 'static,
{
    let mut run = Run::new("test", model.sites());
    let saved = run.mediator("m", program);
    let ran = run.execute(|| model.forward(x()))?;
    Ok((ran, saved.take()))
}

/// Asserts that the model works as if there had never been a run.
pub(crate) fn assert_untouched(model: &Bound<Hooked<Mlp>>) {
    let expected = Mlp::new(1, &cpu()).forward(x());
    assert_eq!(bits(model.forward(x())), bits(expected.clone()));
    let (ran, read) = run_with(model, |cx| async move { cx.value("output.i0").await }).unwrap();
    assert_eq!(bits(ran.output.ok().unwrap()), bits(expected.clone()));
    assert_eq!(bits(typed(read.unwrap())), bits(expected));
}

#[test]
fn a_value_is_read_as_it_passes() {
    let model = Mlp::bound(1);
    let (ran, read) = run_with(&model, |cx| async move {
        let input = cx.input("").await?;
        let up = cx.output("up").await?;
        let output = cx.output("").await?;
        Ok([input, up, output])
    })
    .unwrap();
    let [input, up, output] = read.unwrap().map(typed);
    assert_eq!(bits(input), bits(x()));
    assert_eq!(bits(up), bits(model.inner().up.forward(x())));
    assert_eq!(bits(output), bits(ran.output.ok().unwrap()));
    assert_eq!(ran.end, RunEnd::Completed);
    assert_eq!(ran.audit.mediators[0].served(Event::Value), 3);
}

#[test]
fn a_swap_is_what_the_model_goes_on_with() {
    let model = Mlp::bound(1);
    let (ran, read) = run_with(&model, |cx| async move {
        let act = cx.output("act").await?;
        cx.set_output("act", act * 0.5).await?;
        // R3: the second read sees the swap.
        cx.output("act").await
    })
    .unwrap();
    let halved = model.inner().act.forward(model.inner().up.forward(x())) * 0.5;
    assert_eq!(bits(typed(read.unwrap())), bits(halved.clone()));
    assert_eq!(
        bits(ran.output.ok().unwrap()),
        bits(model.inner().down.forward(halved))
    );
    assert_untouched(&model);
}

#[test]
fn inputs_can_be_replaced() {
    let model = Mlp::bound(1);
    let (ran, _) = run_with(&model, |cx| async move {
        cx.set_input("down", tensor([2, 5], 8)).await
    })
    .unwrap();
    let expected = model.inner().down.forward(tensor([2, 5], 8));
    assert_eq!(bits(ran.output.ok().unwrap()), bits(expected));
}

#[test]
fn a_skipped_module_is_not_computed() {
    /// Counts how often it is computed.
    #[derive(Module, Debug)]
    struct Counting {
        inner: Tap,
    }
    #[derive(Module, Debug)]
    struct Net {
        counting: Hooked<Counting>,
    }
    let net = Net {
        counting: Counting { inner: Tap::new() }.into(),
    };
    let model = Bound::new(net).unwrap();
    let mut computed = 0;
    let mut run = Run::new("skip", model.sites());
    run.mediator("skips", |cx| async move {
        cx.skip("counting", tensor([2, 4], 9)).await?;
        let output = typed(cx.output("counting").await?);
        cx.set_output("counting", output * 2.0).await
    });
    let inner = reader(&mut run, "counting.inner.output");
    let ran = run.execute(|| {
        model.counting.call(x(), |counting, x| {
            computed += 1;
            counting.inner.pass(x)
        })
    });
    assert_eq!(computed, 0);
    assert!(
        inner.take().unwrap().is_none(),
        "its inner sites are not passed"
    );
    let output = ran.unwrap().output.ok().unwrap();
    assert_eq!(bits(output), bits(tensor([2, 4], 9) * 2.0));
}

#[test]
fn r23_the_whole_model_can_be_skipped() {
    let model = Mlp::bound(1);
    let (ran, _) = run_with(
        &model,
        |cx| async move { cx.skip("", tensor([2, 3], 9)).await },
    )
    .unwrap();
    assert_eq!(bits(ran.output.ok().unwrap()), bits(tensor([2, 3], 9)));
    assert_eq!(ran.end, RunEnd::Completed);
    assert_untouched(&model);
}

#[test]
fn r60_a_stop_leaves_the_model_at_once() {
    let model = Mlp::bound(1);
    let mut run = Run::new("stop", model.sites());
    run.mediator("stops", |cx| async move {
        cx.output("up").await?;
        cx.stop().await?;
        Ok(())
    });
    let same = run.mediator("same site", |cx| async move { cx.output("up").await });
    let mut finished = false;
    let ran = run.execute(|| {
        model.forward(x());
        finished = true;
    });
    let ran = ran.unwrap();
    assert!(!finished && ran.output.ok().is_none());
    assert_eq!(
        ran.end,
        RunEnd::Stopped {
            by: "stops".to_owned(),
            at: Some("up.output.i0".to_owned())
        }
    );
    assert!(same.take().is_some());
    assert_untouched(&model);
}

#[test]
fn r1_a_stop_before_the_model_runs_keeps_it_from_running() {
    let model = Mlp::bound(1);
    let mut run = Run::new("stop", model.sites());
    run.mediator("stops", |cx| async move {
        cx.stop().await?;
        Ok(())
    });
    let mut started = false;
    let ran = run.execute(|| started = true).unwrap();
    assert!(!started && ran.output.ok().is_none());
    let stopped = RunEnd::Stopped {
        by: "stops".to_owned(),
        at: None,
    };
    assert_eq!(ran.end, stopped);
}

#[test]
fn r50_invokes_read_and_swap_their_own_rows() {
    let model = Mlp::bound(1);
    let batch = || tensor([3, 4], 5);
    let plain = model.inner().act.forward(model.inner().up.forward(batch()));
    let rows = |start, count| plain.clone().narrow(0, start, count);

    let mut run = Run::new("batch", model.sites());
    let first = run.mediator("first", |cx| async move {
        let act = cx.output("act").await?;
        cx.set_output("act", act.clone() * 2.0).await?;
        Ok(act)
    });
    let first = first.rows(1);
    let second = run.mediator("second", async |cx| cx.output("act").await);
    let second = second.rows(2);
    let whole = run.mediator("whole", |cx| async move { cx.output("act").await });
    let output = run.execute(|| model.forward(batch())).unwrap().output;

    let [first, second, whole] = [first, second, whole].map(|saved| typed(saved.take().unwrap()));
    assert_eq!(bits(first), bits(rows(0, 1)));
    assert_eq!(bits(second), bits(rows(1, 2)));
    // R4: who comes later sees the swap.
    let swapped = Tensor::cat(vec![rows(0, 1) * 2.0, rows(1, 2)], 0);
    assert_eq!(bits(whole), bits(swapped.clone()));
    assert_eq!(
        bits(output.ok().unwrap()),
        bits(model.inner().down.forward(swapped))
    );
}

#[test]
fn r50_a_declared_layout_overrules_the_shape() {
    #[derive(Module, Debug)]
    struct Net {
        tap: Tap,
    }
    let net = || Bound::new(Net { tap: Tap::new() }).unwrap();
    // A `[2, 2]` of which the batch is not dimension 0, in a batch of two rows.
    let shared = || tensor([2, 2], 1);
    let shape_seen = |model: Bound<Net>| {
        let mut run = Run::new("rows", model.sites());
        let one = run.invoke("one", 1, |cx| async move { cx.output("tap").await });
        run.invoke("two", 1, |cx| async move { cx.output("tap").await });
        run.execute(|| model.tap.pass((shared(), shared())))
            .unwrap();
        one.take().unwrap().to_string()
    };
    let declared = |layout| net().with_rows("tap.output", layout).unwrap();
    let seen = [
        shape_seen(net()),
        shape_seen(declared(RowLayout::Shared)),
        shape_seen(declared(RowLayout::Leaves(vec![false, true]))),
    ];
    insta::assert_snapshot!(seen.join("\n"), @r"
    (f32[1, 2], f32[1, 2])
    (f32[2, 2], f32[2, 2])
    (f32[2, 2], f32[1, 2])
    ");
}

#[test]
fn rows_that_the_model_does_not_have_are_an_error() {
    let model = Mlp::bound(1)
        .with_rows("up.output", RowLayout::Batched)
        .unwrap();
    let mut run = Run::new("too many rows", model.sites());
    run.invoke("a", 2, |cx| async move { cx.output("up").await });
    run.invoke("b", 2, |cx| async move { cx.output("up").await });
    let error = run.execute(|| model.forward(x())).unwrap_err();
    assert_eq!(error.code(), "E036");
    insta::assert_snapshot!(error, @"the model panicked: rows 2..4 of f32[2, 5]: the run's invokes have more rows than the model's batch");
    let model = Mlp::bound(1);
    assert_untouched(&model);
}

#[test]
fn r21_the_rows_of_a_skip_are_joined() {
    let model = Mlp::bound(1);
    let mut run = Run::new("skip", model.sites());
    for (name, salt) in [("a", 1), ("b", 2)] {
        run.invoke(name, 1, move |cx| async move {
            cx.skip("act", tensor([1, 5], salt)).await
        });
    }
    let output = run.execute(|| model.forward(x())).unwrap().output;
    let joined = Tensor::cat(vec![tensor([1, 5], 1), tensor([1, 5], 2)], 0);
    assert_eq!(
        bits(output.ok().unwrap()),
        bits(model.inner().down.forward(joined))
    );
}

#[test]
fn r21_skips_that_cannot_be_joined_name_both_shapes() {
    let model = Mlp::bound(1);
    let mut run = Run::new("skip", model.sites());
    for (name, width) in [("a", 5), ("b", 6)] {
        run.invoke(name, 1, move |cx| async move {
            cx.skip("act", tensor([1, width], 1)).await
        });
    }
    let error = run.execute(|| model.forward(x())).unwrap_err();
    assert_eq!(error.code(), "E021");
    // In between stand the lines of both.
    let text = error.to_string();
    assert!(text.starts_with("the replacements of `a` ("), "{text}");
    let end = "for the skipped `act.input.i0` cannot be joined: expected f32[1, 5], found f32[1, 6]; let them differ in \
               rows only";
    assert!(text.ends_with(end), "{text}");
    assert_untouched(&model);
}

#[test]
fn r51_a_swap_of_another_shape_kind_or_structure_names_both() {
    let model = Mlp::bound(1);
    let attempts: [(&str, Value); 4] = [
        ("shape", tensor([2, 6], 1).erase()),
        ("rank", tensor([2, 5, 1], 1).erase()),
        ("kind", Tensor::<2, Int>::zeros([2, 5], &cpu()).erase()),
        ("structure", (tensor([2, 5], 1), true).erase()),
    ];
    let mut messages = Vec::new();
    for (what, value) in attempts {
        let (_, fault) = run_with(&model, |cx| async move {
            let fault = cx.set_output("up", value).await.unwrap_err();
            // A refused swap changes nothing, and the mediator may go on.
            let untouched = cx.output("up").await?;
            Ok((fault, untouched))
        })
        .unwrap();
        let (fault, untouched) = fault.unwrap();
        assert_eq!(fault.code(), "E004", "{what}");
        assert_eq!(bits(typed(untouched)), bits(model.inner().up.forward(x())));
        messages.push(fault.to_string());
    }
    insta::assert_snapshot!(messages.join("\n"), @r"
    the replacement for `up.output.i0` does not fit: expected f32[2, 5], found f32[2, 6]; a swap keeps kind and shape, a mediator that owns the whole batch may ask for a reshaping swap
    the replacement for `up.output.i0` does not fit: expected f32[2, 5], found f32[2, 5, 1]; a swap keeps kind and shape, a mediator that owns the whole batch may ask for a reshaping swap
    the replacement for `up.output.i0` does not fit: expected f32[2, 5], found i32[2, 5]; a swap keeps kind and shape, a mediator that owns the whole batch may ask for a reshaping swap
    the replacement for `up.output.i0` does not fit: expected f32[2, 5], found (f32[2, 5], true); a swap keeps kind and shape, a mediator that owns the whole batch may ask for a reshaping swap
    ");
}

#[test]
fn r51_the_owner_of_the_batch_may_reshape() {
    let model = Mlp::bound(1);
    let (ran, _) = run_with(&model, |cx| async move {
        cx.reshape("up.output", tensor([6, 5], 1)).await
    })
    .unwrap();
    assert_eq!(ran.output.ok().unwrap().dims(), [6, 3]);
}

#[test]
fn a_mediator_can_run_a_model_itself() {
    let model = Mlp::bound(1);
    let copy = model.clone();
    let (ran, inner) = run_with(&model, |cx| async move {
        let before = cx.output("up").await?;
        let (ran, read) = run_with(&copy, |cx| async move {
            let up = cx.output("up").await?;
            cx.set_output("up", up.clone() * 0.0).await?;
            Ok(up)
        })
        .map_err(Fault::raise)?;
        let failed = run_with(
            &copy,
            |_| async move { Err::<(), _>(Fault::raise("inner")) },
        );
        assert_eq!(failed.map(|_| ()).unwrap_err().code(), "E013");
        // The outer run is where it was.
        let after = cx.output("up").await?;
        cx.output("act").await?;
        Ok((before, after, read.unwrap(), ran.output.ok().unwrap()))
    })
    .unwrap();
    let (before, after, read, inner) = inner.unwrap();
    let up = bits(model.inner().up.forward(x()));
    for value in [before, after, read] {
        assert_eq!(bits(typed(value)), up);
    }
    let zeroed = model.inner().act.forward(tensor([2, 5], 1) * 0.0);
    assert_eq!(bits(inner), bits(model.inner().down.forward(zeroed)));
    assert_eq!(bits(ran.output.ok().unwrap()), bits(model.forward(x())));
}

#[test]
fn a_run_inside_the_model_is_a_run_of_its_own() {
    let (outer, inner) = (Mlp::bound(1), Mlp::bound(2));
    let mut run = Run::new("outer", outer.sites());
    let read = reader(&mut run, "up.output");
    let ran = run.execute(|| {
        let (ran, _) = run_with(&inner, |cx| async move {
            cx.output("up").await?;
            cx.stop().await?;
            Ok(())
        })
        .unwrap();
        assert!(ran.output.ok().is_none());
        let _ = run_with(
            &inner,
            |_| async move { Err::<(), _>(Fault::raise("inner")) },
        );
        outer.forward(x())
    });
    let output = ran.unwrap().output.ok().unwrap();
    assert_eq!(bits(output), bits(outer.forward(x())));
    assert!(read.take().unwrap().is_some());
}

/// A mediator written as a machine, which doubles what passes a point.
enum Double {
    Begin(Point),
    Reading(Point),
    Writing,
}

impl Mediator<Value> for Double {
    fn resume(self: Box<Self>, delivery: Delivery<Value>) -> Step<Value> {
        let (state, request) = match (*self, delivery) {
            (Self::Begin(at), Delivery::Start) => {
                (Self::Reading(at), Request::Value { target: at.into() })
            }
            (Self::Reading(at), Delivery::Value(value)) => {
                let swap = Request::Swap {
                    target: at.into(),
                    value: value * 2.0,
                    reshape: false,
                };
                (Self::Writing, swap)
            }
            _ => return Step::End,
        };
        Step::Ask {
            request,
            origin: Origin::Unknown,
            rest: Box::new(state),
        }
    }
}

/// Notes every exchange.
struct Log(Rc<RefCell<Vec<String>>>);

impl Observer<Value> for Log {
    fn exchange(&mut self, exchange: &Exchange<'_, Value>) {
        let site = match exchange.asked() {
            Some(Asked::Site(site)) => format!(" i{}", site.iteration),
            _ => String::new(),
        };
        let line = format!("{} {}{site}", exchange.index, exchange.event());
        self.0.borrow_mut().push(line);
    }
}

#[test]
fn machines_and_observers_take_part() {
    let model = Mlp::bound(1);
    let log = Rc::new(RefCell::new(Vec::new()));
    let mut run = Run::new("machine", model.sites());
    run.machine(
        "double",
        Double::Begin(model.sites().point("act.output").unwrap()),
    );
    run.observer(Log(log.clone()));
    assert_eq!((run.name(), run.setup().invokes().len()), ("machine", 1));
    let output = run.execute(|| model.forward(x())).unwrap().output;
    let expected = model
        .inner()
        .down
        .forward(model.inner().act.forward(model.inner().up.forward(x())) * 2.0);
    assert_eq!(bits(output.ok().unwrap()), bits(expected));
    insta::assert_snapshot!(log.borrow().join(", "), @"0 VALUE i0, 1 SWAP i0, 2 END");
}

#[derive(Module, Debug)]
struct Trainable {
    up: Linear,
    hidden: Tap,
    down: Linear,
}

impl Trainable {
    fn bound(device: &Device) -> Bound<Hooked<Self>> {
        let model = Self {
            up: linear(4, 5, 1, device),
            hidden: Tap::new(),
            down: linear(5, 3, 2, device),
        };
        Bound::new(model.into()).unwrap()
    }
}

impl Forward<Tensor<2>> for Trainable {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.down.forward(
            self.hidden
                .pass(burn::tensor::activation::tanh(self.up.forward(x))),
        )
    }
}

#[test]
fn gradients_flow_through_a_swap() {
    let device = cpu().autodiff();
    let model = Trainable::bound(&device);
    let x = || tensor_on([2, 4], 3, &device);
    let gradient = |factor: Option<f64>, detach: bool| {
        let mut run = Run::new("swap", model.sites());
        run.mediator("scales", move |cx| async move {
            let hidden = cx.output("hidden").await?;
            let hidden = if detach { hidden.detached() } else { hidden };
            match factor {
                Some(factor) => cx.set_output("hidden", hidden * factor).await,
                None => Ok(()),
            }
        });
        let output = run
            .execute(|| model.forward(x()))
            .unwrap()
            .output
            .ok()
            .unwrap();
        let gradients = output.sum().backward();
        let upstream = model
            .inner()
            .up
            .weight
            .val()
            .grad(&gradients)
            .map(floats_of);
        let downstream = model
            .inner()
            .down
            .weight
            .val()
            .grad(&gradients)
            .map(floats_of);
        (upstream, downstream.unwrap())
    };
    let (plain, _) = gradient(None, false);
    let (doubled, _) = gradient(Some(2.0), false);
    let twice: Vec<f32> = plain.unwrap().iter().map(|value| value * 2.0).collect();
    assert_eq!(doubled.unwrap(), twice, "powers of two scale exactly");
    let (cut, downstream) = gradient(Some(2.0), true);
    assert!(cut.is_none_or(|gradient| gradient.iter().all(|&value| value == 0.0)));
    assert!(downstream.iter().any(|&value| value != 0.0));
}

fn floats_of(tensor: Tensor<2>) -> Vec<f32> {
    crate::support::floats(tensor)
}

#[test]
fn a_swap_without_a_graph_cuts_upstream_gradients_only() {
    let device = cpu().autodiff();
    let model = Trainable::bound(&device);
    let mut run = Run::new("swap", model.sites());
    // Activations of another run, say: a tensor on the plain device.
    run.mediator("patches", |cx| async move {
        cx.set_output("hidden", tensor([2, 5], 8)).await
    });
    let ran = run.execute(|| model.forward(tensor_on([2, 4], 3, &device)));
    let output = ran.unwrap().output.ok().unwrap();
    let gradients = output.sum().backward();
    assert!(model.inner().up.weight.val().grad(&gradients).is_none());
    let down = model.inner().down.weight.val().grad(&gradients).unwrap();
    // The gradient of the sum with respect to the weight is the hidden layer's column sums.
    let sums = tensor([2, 5], 8)
        .sum_dim(0)
        .reshape([5, 1])
        .repeat_dim(1, 3);
    assert_eq!(bits(down), bits(sums));
}

/// Closures in both ways of writing them, with what a mediator may have beside its code.
#[test]
fn a_mediator_is_added_with_its_options_and_returns_what_it_saves() {
    let model = Mlp::bound(1);
    let mut run = Run::new("options", &model);
    let steered = run.mediator("steer", async |cx| {
        cx.update_output("act", |h| h * 2.0).await?;
        cx.output("down").await
    });
    let added = tensor::<1>([5], 2);
    let first = run
        .mediator("first", async move |cx| {
            cx.update_output("up", |h| h + added).await?;
            cx.output("up").await
        })
        .rows(1);
    let second = run.mediator("second", |cx| async move { cx.output("up").await });
    let second: interloom_engine::Saved<Value> = second.rows(1).into();
    run.mediator("idle", async |cx| Ok(cx.output("nowhere").await.is_err()))
        .optional();
    assert_eq!(run.setup().groups().unwrap().len(), 4);
    let ran = run.execute(|| model.forward(x())).unwrap();
    let parts = &model.inner();
    let up = parts.up.forward(x());
    let row = |row: usize| up.clone().slice([row..row + 1]);
    let moved = row(0) + tensor::<1>([5], 2).unsqueeze();
    assert_eq!(bits(typed(first.take().unwrap())), bits(moved.clone()));
    assert_eq!(bits(typed(second.take().unwrap())), bits(row(1)));
    let hidden = parts.act.forward(Tensor::cat(vec![moved, row(1)], 0)) * 2.0;
    let expected = parts.down.forward(hidden);
    assert_eq!(bits(typed(steered.take().unwrap())), bits(expected.clone()));
    assert_eq!(bits(ran.output.ok().unwrap()), bits(expected));
    assert!(ran.audit.mediators[3].optional);
}
