//! Where others answer wrongly in silence: an edit before a reshape, a backward pass that nobody
//! waits for, a module that is called twice, updates that look as if they were in place, a panic
//! inside of a backward pass.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use interloom_backends::{
    Bound, Forward, ForwardError, Hooked, ModelError, Run, Tap, Value, backward,
};
use interloom_engine::{FaultKind, NoGradient};

use crate::support::{bits, linear, tensor_on};

/// A model that reshapes what passed a site, calls a module twice, and overwrites a part of what
/// passed another one.
#[derive(Module, Debug)]
struct Winding {
    twice: Hooked<Linear>,
    heads: Tap,
    overwritten: Tap,
}

impl Winding {
    fn bound() -> Bound<Hooked<Self>> {
        let model: Result<_, ModelError> = Bound::new(Hooked::from(Self {
            twice: linear(4, 4, 1, &autodiff()).into(),
            heads: Tap::new(),
            overwritten: Tap::new(),
        }));
        model.expect("its paths are distinct")
    }

    /// The loss, with what is added to each value after it passed its site.
    fn loss(&self, x: Tensor<2>, leaves: Option<&Leaves>) -> Tensor<1> {
        let add = |value: Tensor<2>, leaf: fn(&Leaves) -> &Tensor<2>| match leaves {
            Some(leaves) => value + leaf(leaves).clone(),
            None => value,
        };
        let first = add(self.twice.forward(x), |leaves| &leaves.twice[0]);
        let second = add(self.twice.forward(first.tanh()), |leaves| &leaves.twice[1]);
        let heads = add(self.heads.pass(second), |leaves| &leaves.heads);
        let heads = heads.reshape([3, 2, 2]).swap_dims(0, 1).reshape([2, 6]);
        let whole = add(
            self.overwritten.pass(heads.powi_scalar(2).reshape([3, 4])),
            |leaves| &leaves.overwritten,
        );
        let part = whole.clone().slice([0..1, 0..4]) * 3.0;
        whole.slice_assign([1..2, 0..4], part).powi_scalar(3).sum()
    }
}

impl Forward<Tensor<2>> for Winding {
    type Output = Tensor<1>;

    fn forward(&self, x: Tensor<2>) -> Tensor<1> {
        self.loss(x, None)
    }
}

/// Negative zeros, which change no bit, and whose gradients are those of what they are added to.
struct Leaves {
    twice: [Tensor<2>; 2],
    heads: Tensor<2>,
    overwritten: Tensor<2>,
}

impl Leaves {
    fn new() -> Self {
        let zeros = Tensor::<2>::zeros([3, 4], &Device::flex())
            .neg()
            .into_data();
        let leaf = || Tensor::from_data(zeros.clone(), &autodiff()).require_grad();
        Self {
            twice: [leaf(), leaf()],
            heads: leaf(),
            overwritten: leaf(),
        }
    }

    /// The bits of their gradients, the last value's first.
    fn gradients(&self, loss: &Tensor<1>) -> Vec<Vec<u32>> {
        let gradients = loss.backward();
        let [first, second] = &self.twice;
        let all = [&self.overwritten, &self.heads, second, first];
        let of = |leaf: &Tensor<2>| bits(leaf.grad(&gradients).expect("the loss depends on it"));
        all.map(of).into()
    }
}

/// The sites of these values, in the order of the backward pass.
const SITES: [&str; 4] = [
    "overwritten.output.grad.i0",
    "heads.output.grad.i0",
    "twice.output.grad.i1",
    "twice.output.grad.i0",
];

fn autodiff() -> Device {
    Device::flex().autodiff()
}

fn x() -> Tensor<2> {
    tensor_on([3, 4], 3, &autodiff())
}

/// Reads the gradients of all sites in a backward pass.
fn read(model: &Bound<Hooked<Winding>>) -> Result<Vec<Vec<u32>>, ForwardError> {
    let mut run = Run::new("read", model.sites());
    let seen = run
        .mediator("read", async |cx| {
            let mut gradients = Vec::new();
            for of in ["overwritten", "heads"] {
                gradients.push(bits(cx.grad(of).await?.tensor::<2>()?));
            }
            for site in &SITES[2..] {
                gradients.push(bits(cx.value(*site).await?.tensor::<2>()?));
            }
            Ok(gradients)
        })
        .gradients(["overwritten", "heads", "twice"]);
    run.execute(|| drop(backward(&model.forward(x()))))?;
    Ok(seen.take().expect("it returned"))
}

fn by_leaves(model: &Bound<Hooked<Winding>>) -> Vec<Vec<u32>> {
    let leaves = Leaves::new();
    leaves.gradients(&model.inner().loss(x(), Some(&leaves)))
}

#[test]
fn r91_values_that_are_reshaped_overwritten_or_of_a_module_called_twice_have_their_gradients() {
    let model = Winding::bound();
    assert_eq!(read(&model).unwrap(), by_leaves(&model));
}

/// What the model makes of a value afterwards makes no edit of its gradient, or of the value
/// itself, go by unseen.
#[test]
fn r91_edits_of_what_is_reshaped_or_overwritten_afterwards_are_seen() {
    let model = Winding::bound();
    let weight = |name: &'static str, factor: f64| {
        let mut run = Run::new("edit", model.sites());
        run.mediator("edit", async move |cx| {
            cx.update_grad(name, move |gradient| gradient * factor)
                .await
        })
        .gradients([name]);
        let gradients = run.execute(|| backward(&model.forward(x())));
        let gradients = gradients.unwrap().completed().unwrap();
        let weight = &model.inner().twice.inner().weight;
        weight.grad(&gradients).expect("it is used").into_data()
    };
    for name in ["overwritten", "heads"] {
        let [plain, doubled, none] = [1.0, 2.0, 0.0].map(|factor| weight(name, factor));
        let twice = plain.iter::<f32>().map(|value| value * 2.0);
        assert!(twice.eq(doubled.iter::<f32>()), "{name}");
        assert!(none.iter::<f32>().all(|value| value == 0.0), "{name}");
    }
    let value = |factor: f64| {
        let mut run = Run::new("edit", model.sites());
        run.mediator("edit", async move |cx| {
            cx.update_output("heads", move |h| h * factor).await
        });
        let loss = run.execute(|| model.forward(x()).into_scalar::<f32>());
        loss.unwrap().completed().unwrap()
    };
    assert!(value(0.0) == 0.0 && value(1.0) != 0.0 && value(1.5) != value(1.0));
}

/// A value that a mediator has read stays what it was, whoever replaces it, and however.
#[test]
fn r50_what_was_read_is_not_changed_by_an_update() {
    let model = Winding::bound();
    let mut run = Run::new("update", model.sites());
    let kept = run
        .mediator("update", async |cx| {
            let before = cx.output("heads").await?;
            let kept = bits(before.clone().tensor::<2>()?);
            let whole = before.clone().tensor::<2>()?;
            let zeros = Tensor::zeros([1, 4], &whole.device());
            cx.set_output("heads", whole.slice_assign([0..1, 0..4], zeros))
                .await?;
            let gradient = bits(cx.grad("heads").await?.tensor::<2>()?);
            Ok((kept == bits(before.tensor::<2>()?), gradient))
        })
        .gradients(["heads"]);
    let ran = run.execute(|| {
        let gradients = backward(&model.forward(x()));
        model
            .inner()
            .twice
            .inner()
            .weight
            .grad(&gradients)
            .is_some()
    });
    assert!(ran.unwrap().completed().unwrap());
    let (is_same, gradient) = kept.take().unwrap();
    assert!(is_same);
    // The first row is zeros, whose square has no slope; the others are not.
    assert!(gradient[..4].iter().all(|bits| bits << 1 == 0));
    assert!(gradient[4..].iter().any(|bits| bits << 1 != 0));
}

/// Without anybody waiting a pass changes nothing, and what it would have brought is not taken for
/// something afterwards.
#[test]
fn r93_a_backward_pass_that_nobody_waits_for() {
    let model = Winding::bound();
    let mut run = Run::new("nobody", model.sites());
    let fault = run.mediator("asks", async |cx| {
        let loss = cx.output("").await?.tensor::<1>()?;
        cx.backward(loss).await?;
        let fault = cx.grad("heads").await.expect_err("it was not declared");
        match fault.kind() {
            FaultKind::NoGradient { why, .. } => Ok(*why),
            _ => Err(fault),
        }
    });
    run.execute(|| model.forward(x())).unwrap();
    assert_eq!(fault.take(), Some(NoGradient::Undeclared));

    let weight = || model.inner().twice.inner().weight.clone();
    let plain = bits(weight().grad(&model.forward(x()).backward()).unwrap());
    let mut run = Run::new("nobody", model.sites());
    run.all_gradients();
    let gradients = run.execute(|| backward(&model.forward(x())));
    let gradients = gradients.unwrap().completed().unwrap();
    assert_eq!(bits(weight().grad(&gradients).unwrap()), plain);
}

/// A panic of the code between two hooks in a backward pass: of a mediator's own, or of an
/// observer.
#[test]
fn r62_a_run_after_a_panic_inside_of_a_backward_pass_is_as_any_other() {
    let model = Winding::bound();
    let expected = by_leaves(&model);
    for at in ["overwritten", "heads", "twice"] {
        let mut run = Run::new("panic", model.sites());
        run.mediator("panic", async move |cx| {
            let gradient = cx.grad(at).await?;
            let _: Value = gradient.item(7).expect("no such item");
            Ok(())
        })
        .gradients(["overwritten", "heads", "twice"]);
        run.execute(|| drop(backward(&model.forward(x()))))
            .unwrap_err();
        assert_eq!(read(&model).unwrap(), expected, "{at}");
    }
}
