//! Backward passes of burn models: what gradients are, where they come, and what goes wrong aloud.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use interloom_backends::{
    BackwardFailure, Bound, Forward, ForwardError, Hooked, Ran, Run, RunOutput, Tap, Value,
    backward,
};
use interloom_engine::{CacheSpec, Cx, Fault, FaultKind, NoGradient, Note};

use crate::support::{Mlp, bits, floats, linear, tensor_on};

pub(crate) fn autodiff() -> Device {
    Device::flex().autodiff()
}

pub(crate) fn model() -> Bound<Hooked<Mlp>> {
    Bound::new(Mlp::new(1, &autodiff()).into()).expect("its paths are distinct")
}

pub(crate) fn x() -> Tensor<2> {
    tensor_on([2, 4], 3, &autodiff())
}

/// Runs a forward and a backward pass of the sum of squares with a mediator.
fn run_with<T, F, Fut>(
    model: &Bound<Hooked<Mlp>>,
    of: &[&str],
    program: F,
) -> Result<(Vec<f32>, Option<T>), ForwardError>
where
    T: 'static,
    F: FnOnce(Cx<Value>) -> Fut,
    Fut: Future<Output = Result<T, Fault>> + 'static,
{
    let mut run = Run::new("test", model.sites());
    let saved = run.mediator("m", program).gradients(of.iter().copied());
    let ran = run.execute(|| {
        let gradients = backward(&loss(model.forward(x())));
        let weight = model.inner().up.inner().weight.val();
        floats(weight.grad(&gradients).expect("the loss depends on it"))
    })?;
    Ok((ran.completed()?, saved.take()))
}

pub(crate) fn loss(output: Tensor<2>) -> Tensor<1> {
    (output.clone() * output).sum()
}

pub(crate) fn typed(value: Value) -> Tensor<2> {
    value.tensor().expect("a matrix")
}

const ALL: [&str; 8] = [
    "output",
    "down",
    "down.input",
    "act",
    "act.input",
    "up",
    "up.input",
    "input",
];

/// Gradients at every site, read by a mediator.
async fn all(cx: Cx<Value>) -> Result<Vec<Vec<u32>>, Fault> {
    let mut gradients = Vec::new();
    for of in ALL {
        gradients.push(bits(typed(cx.grad(of).await?)));
    }
    Ok(gradients)
}

/// The same gradients without any hook: each activation plus a leaf of negative zeros, which
/// changes no bit, and the gradient of that leaf.
fn by_leaves() -> Vec<Vec<u32>> {
    let plain = Mlp::new(1, &autodiff());
    let mut leaves = Vec::new();
    // An output, and the same value as the input of what comes next.
    let mut two_leaves = |value: Tensor<2>| {
        let both = [(); 2].map(|()| value.zeros_like().neg().detach().require_grad());
        leaves.extend(both.clone());
        let [first, second] = both;
        value + first + second
    };
    let h = two_leaves(x());
    let h = two_leaves(plain.up.inner().forward(h));
    let h = two_leaves(plain.act.inner().forward(h));
    let h = two_leaves(plain.down.inner().forward(h));
    let gradients = loss(h).backward();
    let gradients = leaves
        .iter()
        .rev()
        .map(|leaf| leaf.grad(&gradients).expect("reached"));
    gradients.map(bits).collect()
}

#[test]
fn r96_each_gradient_is_that_of_a_leaf_beside_the_activation_bit_for_bit() {
    let (_, gradients) = run_with(&model(), &ALL, all).unwrap();
    assert_eq!(gradients.unwrap(), by_leaves());
}

#[test]
fn r96_reading_and_identity_edits_change_no_bit() {
    let (plain, _) = run_with(&model(), &[], async |_| Ok(())).unwrap();
    let (read, before) = run_with(&model(), &ALL, all).unwrap();
    let (edited, after) = run_with(&model(), &ALL, async |cx| {
        let mut gradients = Vec::new();
        for of in ALL {
            let gradient = cx.grad(of).await?;
            cx.set_grad(of, gradient.clone()).await?;
            gradients.push(bits(typed(gradient)));
        }
        Ok(gradients)
    })
    .unwrap();
    assert_eq!(read, plain);
    assert_eq!(edited, plain);
    assert_eq!(after, before);
}

#[test]
fn r91_a_scaled_gradient_scales_what_comes_before_it() {
    let (plain, _) = run_with(&model(), &[], async |_| Ok(())).unwrap();
    for factor in [0.0, 2.0, -0.5] {
        let (scaled, _) = run_with(&model(), &["act"], async move |cx| {
            cx.update_grad("act", move |gradient| gradient * factor)
                .await
        })
        .unwrap();
        let expected: Vec<f32> = plain.iter().map(|x| x * factor as f32).collect();
        let is_close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
        assert!(scaled.iter().zip(&expected).all(is_close), "{factor}");
    }
}

#[test]
fn a_gradient_agrees_with_finite_differences() {
    let (_, gradient) = run_with(&model(), &["act"], async |cx| {
        Ok(floats(typed(cx.grad("act").await?)))
    })
    .unwrap();
    let nudged = |place: usize, by: f32| {
        let mut run = Run::new("nudge", model().sites());
        let _ = &mut run;
        let model = model();
        let mut run = Run::new("nudge", model.sites());
        run.mediator("nudge", async move |cx| {
            cx.update_output("act", move |h| {
                let h = typed(h);
                let mut nudge = vec![0.0f32; 10];
                nudge[place] = by;
                let nudge = Tensor::<1>::from_floats(nudge.as_slice(), &h.device());
                Value::from(h + nudge.reshape([2, 5]))
            })
            .await
        });
        let ran = run.execute(|| floats(loss(model.forward(x())))[0]).unwrap();
        f64::from(ran.completed().unwrap())
    };
    for (place, &gradient) in gradient.unwrap().iter().enumerate() {
        let difference = (nudged(place, 1e-2) - nudged(place, -1e-2)) / 2e-2;
        assert!(
            (difference - f64::from(gradient)).abs() < 1e-3 * (1.0 + difference.abs()),
            "{place}: {difference} and {gradient}"
        );
    }
}

#[test]
fn r93_a_mediator_asks_for_the_pass() {
    let model = model();
    let mut run = Run::new("test", model.sites());
    let saved = run
        .mediator("m", async |cx| {
            let output = typed(cx.output("").await?);
            cx.backward(loss(output)).await?;
            all(cx).await
        })
        .gradients(ALL);
    let ran = run.execute(|| model.forward(x())).unwrap();
    assert!(matches!(ran.output, RunOutput::Completed(_)));
    assert_eq!(saved.take().unwrap(), by_leaves());
}

#[test]
fn r93_batched_invokes_get_the_gradients_that_they_get_alone() {
    let model = model();
    let alone = |row: usize| {
        let mut run = Run::new("alone", model.sites());
        let saved = run
            .mediator("m", async |cx| {
                let output = typed(cx.output("").await?);
                cx.backward(loss(output)).await?;
                Ok(bits(typed(cx.grad("up").await?)))
            })
            .gradients(["up"]);
        let input = x().slice([row..row + 1]);
        run.execute(|| model.forward(input)).unwrap();
        saved.take().unwrap()
    };
    let mut run = Run::new("together", model.sites());
    let saved = ["first", "second"].map(|name| {
        run.mediator(name, async |cx| {
            let output = typed(cx.output("").await?);
            cx.backward(loss(output)).await?;
            Ok(bits(typed(cx.grad("up").await?)))
        })
        .rows(1)
        .gradients(["up"])
    });
    run.execute(|| model.forward(x())).unwrap();
    for (row, saved) in saved.iter().enumerate() {
        assert_eq!(saved.take().unwrap(), alone(row), "row {row}");
    }
}

#[test]
fn r93_a_graph_that_is_used_up_is_an_error_that_says_so() {
    let model = model();
    let mut run = Run::new("twice", model.sites());
    run.mediator("m", async |cx| cx.grad("up").await)
        .gradients(["up"]);
    let error = run.execute(|| {
        let loss = loss(model.forward(x()));
        let _ = backward(&loss);
        let _ = backward(&loss);
    });
    let Err(ForwardError::Backward {
        why: BackwardFailure::Burn(_),
        ..
    }) = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(error.unwrap_err().code(), "E058");
    // The model can be run again at once.
    let (_, gradients) = run_with(&model, &ALL, all).unwrap();
    assert_eq!(gradients.unwrap(), by_leaves());
}

#[test]
fn r93_several_passes_over_graphs_of_their_own() {
    let model = model();
    let mut run = Run::new("accumulate", model.sites());
    let saved = run
        .mediator("m", async |cx| {
            let first = typed(cx.grad("up.output.i0").await?);
            let second = typed(cx.grad("up.output.i1").await?);
            Ok((bits(first), bits(second)))
        })
        .gradients(["up"]);
    run.execute(|| {
        for _ in 0..2 {
            let _ = backward(&loss(model.forward(x())));
        }
    })
    .unwrap();
    let (first, second) = saved.take().unwrap();
    assert_eq!(first, second);
    assert_eq!(first, by_leaves()[5]);
}

#[test]
fn burns_own_backward_in_a_run_that_hooks_gradients_says_what_to_call() {
    let model = model();
    let mut run = Run::new("test", model.sites());
    run.mediator("m", async |cx| cx.grad("up").await)
        .gradients(["up"]);
    let error = run.execute(|| {
        let _ = loss(model.forward(x())).backward();
    });
    let Err(ForwardError::Backward { why, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(why, BackwardFailure::Unseen);
}

#[test]
fn a_backward_pass_after_the_run_passes_the_hooks_as_they_are() {
    let model = model();
    let mut run = Run::new("test", model.sites());
    run.mediator("m", async |cx| match cx.grad("up").await {
        Err(fault) => match fault.kind() {
            FaultKind::NoGradient { why, .. } => Ok(*why),
            _ => Err(fault),
        },
        Ok(_) => Err(Fault::raise("there is no pass")),
    })
    .gradients(["up"])
    .optional();
    let output = run
        .execute(|| model.forward(x()))
        .unwrap()
        .completed()
        .unwrap();
    let gradients = loss(output).backward();
    let weight = model.inner().up.inner().weight.grad(&gradients).unwrap();
    let (plain, _) = run_with(&model, &[], async |_| Ok(())).unwrap();
    assert_eq!(floats(weight), plain);
}

#[test]
fn a_model_without_a_graph_says_so() {
    let model = Mlp::bound(1);
    let mut run = Run::new("test", model.sites());
    run.mediator("m", async |cx| {
        let output = typed(cx.output("").await?);
        cx.backward(loss(output)).await?;
        cx.grad("up").await
    })
    .gradients(["up"]);
    let error = run.execute(|| model.forward(x().without_autodiff()));
    let Err(ForwardError::Backward { why, after }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (why, after.as_deref()),
        (BackwardFailure::NoGraph, Some("output.i0"))
    );
}

#[test]
fn a_frozen_model_has_gradients_of_its_activations() {
    let frozen = Mlp::new(1, &autodiff()).no_grad();
    let model = Bound::new(Hooked::from(frozen)).unwrap();
    let mut run = Run::new("test", model.sites());
    let saved = run
        .mediator("m", async |cx| {
            let output = typed(cx.output("").await?);
            cx.backward(loss(output)).await?;
            all(cx).await
        })
        .gradients(ALL);
    run.execute(|| model.forward(x())).unwrap();
    assert_eq!(saved.take().unwrap(), by_leaves());
}

#[test]
fn r94_saved_activations_can_be_used_in_the_backward_pass() {
    // Gradient times activation, as attribution does; the graph is locked meanwhile.
    let (_, attribution) = run_with(&model(), &["act", "up"], async |cx| {
        let up = cx.output("up").await?;
        let act = cx.output("act").await?;
        let of_act = cx.grad("act").await? * act.clone();
        let of_up = typed(cx.grad("up").await?) * typed(up);
        let both = floats(typed(of_act).sum())[0] + floats(of_up.sum())[0];
        Ok(both)
    })
    .unwrap();
    assert!(attribution.unwrap().is_finite());
}

#[test]
fn r94_a_tensor_of_the_graph_is_refused_as_a_gradient() {
    let (_, fault) = run_with(&model(), &["act"], async |cx| {
        let act = typed(cx.output("act").await?);
        let tracked = act * 2.0;
        let fault = cx.set_grad("act", tracked).await.expect_err("of the graph");
        Ok(fault.code())
    })
    .unwrap();
    assert_eq!(fault, Some("E004"));
}

#[test]
fn a_failure_inside_of_a_backward_pass_leaves_nothing_behind() {
    let model = model();
    for _ in 0..3 {
        let failed = run_with(&model, &["act"], async |cx| {
            cx.grad("act").await?;
            panic!("inside");
            #[allow(unreachable_code)]
            Ok(())
        });
        assert_eq!(failed.unwrap_err().code(), "E011");
        let (_, gradients) = run_with(&model, &ALL, all).unwrap();
        assert_eq!(gradients.unwrap(), by_leaves());
    }
}

#[test]
fn a_stop_inside_of_a_backward_pass_ends_the_run() {
    let model = model();
    let mut run = Run::new("test", model.sites());
    run.mediator("m", async |cx| {
        cx.grad("act").await?;
        cx.stop().await.map(|never| match never {})
    })
    .gradients(["act"]);
    let ran: Ran<()> = run
        .execute(|| drop(backward(&loss(model.forward(x())))))
        .unwrap();
    assert!(matches!(ran.output, RunOutput::Stopped));
}

#[test]
fn r93_a_swap_makes_the_gradient_that_of_what_the_model_goes_on_with() {
    let (weights, gradients) = run_with(&model(), &["act", "up"], async |cx| {
        cx.update_output("act", |h| h * 3.0).await?;
        let act = typed(cx.grad("act").await?);
        let up = typed(cx.grad("up").await?);
        Ok((floats(act), floats(up)))
    })
    .unwrap();
    // The same by hand.
    let plain = Mlp::new(1, &autodiff());
    let up = plain.up.inner().forward(x());
    let zeros = |h: &Tensor<2>| h.zeros_like().neg().detach().require_grad();
    let (z_up, z_act) = (zeros(&up), zeros(&up));
    let act = plain.act.inner().forward(up + z_up.clone()) * 3.0 + z_act.clone();
    let by_hand = loss(plain.down.inner().forward(act)).backward();
    let (act, up) = gradients.unwrap();
    assert_eq!(act, floats(z_act.grad(&by_hand).unwrap()));
    assert_eq!(up, floats(z_up.grad(&by_hand).unwrap()));
    let weight = plain.up.inner().weight.grad(&by_hand).unwrap();
    assert_eq!(weights, floats(weight));
}

/// A module that puts out two tensors and a number.
#[derive(Module, Debug)]
struct Two {
    left: Linear,
    right: Linear,
}

impl Forward<Tensor<2>> for Two {
    type Output = (Tensor<2>, i64, Tensor<2>);

    fn forward(&self, x: Tensor<2>) -> Self::Output {
        (self.left.forward(x.clone()), 7, self.right.forward(x))
    }
}

#[derive(Module, Debug)]
struct OfTwo {
    two: Hooked<Two>,
    tap: Tap,
}

impl OfTwo {
    fn new() -> Bound<Self> {
        let device = autodiff();
        let two = Two {
            left: linear(4, 3, 1, &device),
            right: linear(4, 3, 5, &device),
        };
        let (two, tap) = (two.into(), Tap::new());
        Bound::new(Self { two, tap }).unwrap()
    }

    /// Uses the left part, and the right one where asked to.
    fn forward(&self, uses_right: bool) -> Tensor<1> {
        let (left, _, right) = self.two.forward(x());
        let left = self.tap.pass(left);
        if uses_right {
            ((left.clone() * right) + left.powi_scalar(3)).sum()
        } else {
            left.powi_scalar(3).sum()
        }
    }
}

#[test]
fn r91_a_tuples_gradient_has_its_structure_and_what_is_not_reached_is_absent() {
    for uses_right in [true, false] {
        let model = OfTwo::new();
        let mut run = Run::new("test", model.sites());
        let saved = run
            .mediator("m", async |cx| {
                cx.grad("tap").await?;
                let gradient = cx.grad("two").await?;
                let left = gradient.item(0)?;
                let doubled = gradient.with_item(0, left * 2.0)?;
                cx.set_grad("two", doubled).await?;
                Ok(gradient)
            })
            .gradients(["two", "tap"]);
        let ran = run
            .execute(|| {
                let gradients = backward(&model.forward(uses_right));
                let weight = |linear: &Linear| linear.weight.grad(&gradients).map(floats);
                (
                    weight(&model.two.inner().left),
                    weight(&model.two.inner().right),
                )
            })
            .unwrap();
        let audit = ran.audit.clone();
        let (of_left, of_right) = ran.completed().unwrap();
        let gradient = saved.take().unwrap();
        assert!(matches!(gradient.item(0), Ok(Value::Tensor(_))));
        assert!(matches!(gradient.item(1), Ok(Value::Unit)));
        assert_eq!(matches!(gradient.item(2), Ok(Value::Tensor(_))), uses_right);
        // The same without a run.
        let gradients = model.forward(uses_right).backward();
        let plain = |param: &Param<Tensor<2>>| param.grad(&gradients).map(floats);
        let left = plain(&model.two.inner().left.weight).unwrap();
        let doubled: Vec<f32> = left.iter().map(|x| x * 2.0).collect();
        assert_eq!(of_left, Some(doubled));
        let right = plain(&model.two.inner().right.weight);
        if uses_right {
            assert_eq!(of_right, right);
        } else {
            // Tied to the left part, it gets zeros in place of none, which is said.
            assert_eq!(right, None);
            assert_eq!(of_right, Some(vec![0.0; 12]));
        }
        let told = match uses_right {
            true => vec![],
            false => vec![Note::PartUnreached {
                gradient: "two.output.grad.i0".to_owned(),
            }],
        };
        assert_eq!(audit.notes, told);
    }
}

/// What an unreached part gets changes no bit of what comes to its tensor another way, -0 among it.
#[test]
fn r96_an_unreached_part_adds_nothing_to_its_tensor() {
    let model = OfTwo::new();
    let mut run = Run::new("test", model.sites());
    run.gradients(["two"]);
    let gradient = run.execute(|| {
        let x = x().require_grad();
        let parts = |two: &Two, x| (two.left.forward(self::x()), 7_i64, x);
        let (left, _, _) = model.two.call(x.clone(), parts);
        let loss = left.sum() + (x.clone() * -0.0).sum();
        bits(x.grad(&backward(&loss)).expect("it is used"))
    });
    let gradient = gradient.unwrap().completed().unwrap();
    assert_eq!(gradient, [(-0.0_f32).to_bits(); 8]);
}

#[test]
fn r91_a_loss_that_does_not_depend_on_a_value_leaves_its_gradient_absent() {
    let model = model();
    let mut run = Run::new("test", model.sites());
    let saved = run
        .mediator("m", async |cx| {
            // Constant from here on, so that the loss has no way back to `up`.
            let act = cx.output("act").await?;
            cx.set_output("act", act.detached()).await?;
            let output = typed(cx.output("").await?);
            cx.backward(loss(output)).await?;
            cx.grad("down").await?;
            let fault = cx.grad("up").await.expect_err("not reached");
            match fault.kind() {
                FaultKind::NoGradient { why, .. } => Ok(*why),
                _ => Err(fault),
            }
        })
        .gradients(["down", "up"]);
    run.execute(|| model.forward(x())).unwrap();
    assert_eq!(saved.take(), Some(NoGradient::Unreached));
}

#[test]
fn a_cache_collects_gradients() {
    let model = model();
    let mut run = Run::new("test", model.sites());
    let cached = run.cache(CacheSpec::all().both().gradients());
    run.execute(|| drop(backward(&loss(model.forward(x())))))
        .unwrap();
    let collected = |of: &str| {
        let (path, is_input) = match of.strip_suffix("input") {
            Some(path) => (path.trim_end_matches('.'), true),
            None if of == "output" => ("", false),
            None => (of, false),
        };
        let gradients = match is_input {
            true => cached.input_grads(path),
            false => cached.output_grads(path),
        };
        bits(typed(gradients[0].clone()))
    };
    assert_eq!(ALL.map(collected).to_vec(), by_leaves());
}

#[test]
fn a_module_that_a_mediator_calls_while_it_waits_adds_to_the_gradient() {
    // Two uses of one activation: their gradients are summed before the site.
    let model = model();
    let mut run = Run::new("test", model.sites());
    let saved = run
        .mediator("m", async |cx| {
            let act = typed(cx.output("act").await?);
            let output = typed(cx.output("").await?);
            cx.backward(loss(output) + act.sum()).await?;
            Ok(floats(typed(cx.grad("act").await?)))
        })
        .gradients(["act"]);
    run.execute(|| model.forward(x())).unwrap();
    let (_, alone) = run_with(&model, &["act"], async |cx| {
        Ok(floats(typed(cx.grad("act").await?)))
    })
    .unwrap();
    let sums = saved.take().unwrap();
    let expected: Vec<f32> = alone.unwrap().iter().map(|x| x + 1.0).collect();
    assert_eq!(sums, expected);
}

/// Resident memory in KiB, where the system says it.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
#[ignore = "measures this process: cargo test -p interloom-backends --test all -- --ignored memory --test-threads 1"]
fn memory_is_flat_over_ten_thousand_backward_passes() {
    let model = model();
    let passes = |count: usize| {
        for _ in 0..count {
            let (_, gradients) = run_with(&model, &ALL, all).unwrap();
            assert_eq!(gradients.unwrap().len(), ALL.len());
        }
    };
    passes(1_000);
    let before = resident();
    passes(10_000);
    let after = resident();
    println!("{before:?} KiB before, {after:?} KiB after");
    if let (Some(before), Some(after)) = (before, after) {
        assert!(after < before + 2048, "{before} KiB and {after} KiB");
    }
}
