//! Gradients of parameters, as sites and as what the optimizer is given.

use burn::module::Module;
use burn::nn::Linear;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use interloom_backends::{BackwardFailure, Bound, ForwardError, Hooked, Run, Value, backward};
use interloom_engine::{Cx, Fault};

use crate::gradients::{autodiff, loss, model, typed, x};
use crate::support::{Mlp, bits};

/// The parameters of [`Mlp`], in the order of the module tree.
const PARAMETERS: [&str; 4] = ["up.weight", "up.bias", "down.weight", "down.bias"];

#[test]
fn r95_the_parameters_of_a_bound_model_are_those_that_it_names() {
    let model = model();
    let named = interloom_backends::parameters(model.inner());
    let named: Vec<String> = named.into_iter().map(|(path, _)| path).collect();
    let bound: Vec<&str> = model.sites().parameters().collect();
    assert_eq!(bound, named);
    assert_eq!(bound, PARAMETERS);
}

/// The gradients of all parameters without a run.
fn plain_gradients() -> [Vec<u32>; 4] {
    let plain = Mlp::new(1, &autodiff());
    let h = plain.act.inner().forward(plain.up.inner().forward(x()));
    let gradients = loss(plain.down.inner().forward(h)).backward();
    let of = |layer: &Linear| {
        let bias = layer.bias.as_ref().expect("it has one");
        let weight = layer.weight.grad(&gradients).expect("reached");
        [bits(weight), bits(bias.grad(&gradients).expect("reached"))]
    };
    let [[up, up_bias], [down, down_bias]] = [of(plain.up.inner()), of(plain.down.inner())];
    [up, up_bias, down, down_bias]
}

fn bits_of(gradient: Value) -> Vec<u32> {
    match gradient.clone().tensor::<2>() {
        Ok(weight) => bits(weight),
        Err(_) => bits(gradient.tensor::<1>().expect("a bias")),
    }
}

/// What the optimizer is given for each parameter, after a pass in which a mediator did something.
fn given_to_the_optimizer<T, F, Fut>(
    model: &Bound<Hooked<Mlp>>,
    of: &[&str],
    program: F,
) -> (Vec<Option<Vec<u32>>>, Option<T>)
where
    T: 'static,
    F: FnOnce(Cx<Value>) -> Fut,
    Fut: Future<Output = Result<T, Fault>> + 'static,
{
    let mut run = Run::new("test", model.sites());
    run.parameters(model);
    let saved = run.mediator("m", program).gradients(of.iter().copied());
    let ran = run.execute(|| {
        let gradients = backward(&loss(model.forward(x())));
        let gradients = GradientsParams::from_grads(gradients, model.inner());
        [model.inner().up.inner(), model.inner().down.inner()]
            .into_iter()
            .flat_map(|layer| {
                let bias = layer.bias.as_ref().expect("it has one").id;
                let weight = gradients.get::<2>(layer.weight.id).map(bits);
                [weight, gradients.get::<1>(bias).map(bits)]
            })
            .collect()
    });
    (ran.unwrap().completed().unwrap(), saved.take())
}

#[test]
fn r95_parameters_are_read_after_all_gradients_and_the_optimizer_is_given_what_it_would_be() {
    let (given, read) = given_to_the_optimizer(
        &model(),
        &[&PARAMETERS[..], &["input"]].concat(),
        async |cx| {
            cx.grad("input").await?;
            let mut gradients = Vec::new();
            for path in PARAMETERS {
                let gradient = cx.grad(path).await?;
                // R96: an identity edit.
                cx.set_grad(path, gradient.clone()).await?;
                gradients.push(bits_of(gradient));
            }
            Ok(gradients)
        },
    );
    assert_eq!(read.unwrap(), plain_gradients());
    assert_eq!(given, plain_gradients().map(Some));
}

#[test]
fn r95_the_optimizer_is_given_what_a_mediator_made_of_a_gradient() {
    let (given, _) = given_to_the_optimizer(&model(), &["up.bias"], async |cx| {
        let misfit = cx.set_grad("up.bias", Tensor::<1>::ones([4], &Device::flex()));
        assert_eq!(misfit.await.expect_err("five").code(), "E004");
        let tracked = Tensor::<1>::ones([5], &autodiff()).require_grad() * 2.0;
        let tracked = cx.set_grad("up.bias", tracked).await;
        assert_eq!(tracked.expect_err("of a graph").code(), "E004");
        cx.set_grad("up.bias", Tensor::<1>::ones([5], &Device::flex()) * 3.0)
            .await
    });
    let mut expected = plain_gradients().map(Some);
    expected[1] = Some(vec![3.0f32.to_bits(); 5]);
    assert_eq!(given, expected);
}

#[test]
fn r95_parameters_have_gradients_in_each_pass_that_mediators_ask_for() {
    let model = model();
    let mut run = Run::new("test", model.sites());
    run.parameters(&model);
    let saved = run
        .mediator("m", async |cx| {
            let mut all = Vec::new();
            for pass in 0..2 {
                let output = typed(cx.value(&*format!("output.i{pass}")).await?);
                cx.backward(loss(output)).await?;
                for path in PARAMETERS {
                    let gradient = cx.value(&*format!("{path}.grad.i{pass}")).await?;
                    all.push(bits_of(gradient));
                }
            }
            Ok(all)
        })
        .gradients(PARAMETERS);
    run.execute(|| {
        for _ in 0..2 {
            model.forward(x());
        }
    })
    .unwrap();
    let once = plain_gradients();
    assert_eq!(saved.take().unwrap(), [once.clone(), once].concat());
}

#[test]
fn r95_a_parameter_that_the_loss_does_not_reach_is_absent() {
    let model = model();
    let mut run = Run::new("test", model.sites());
    run.parameters(&model);
    let saved = run
        .mediator("m", async |cx| {
            let act = typed(cx.output("act").await?);
            cx.backward(act.sum()).await?;
            cx.grad("up.weight").await?;
            let fault = cx.grad("down.weight").await.expect_err("not reached");
            // The pass is over, and the model goes on.
            cx.output("down").await?;
            Ok(fault.code())
        })
        .gradients(PARAMETERS);
    run.execute(|| model.forward(x())).unwrap();
    assert_eq!(saved.take(), Some("E054"));
}

#[test]
fn r95_the_parameters_of_a_frozen_model_have_no_gradients() {
    let frozen = Mlp::new(1, &autodiff()).no_grad();
    let model = Bound::new(Hooked::from(frozen)).unwrap();
    let mut run = Run::new("test", model.sites());
    run.parameters(&model);
    let saved = run
        .mediator("m", async |cx| {
            let output = typed(cx.output("").await?);
            cx.backward(loss(output)).await?;
            cx.grad("up").await?;
            Ok(cx.grad("up.weight").await.expect_err("frozen").code())
        })
        .gradients(["up", "up.weight"]);
    run.execute(|| model.forward(x())).unwrap();
    assert_eq!(saved.take(), Some("E054"));
}

#[test]
fn r95_a_run_that_was_not_shown_its_parameters_says_so() {
    let model = model();
    let mut run = Run::new("test", model.sites());
    run.mediator("m", async |cx| cx.grad("up.weight").await)
        .gradients(["up.weight"]);
    let error = run.execute(|| drop(backward(&loss(model.forward(x())))));
    let Err(ForwardError::Backward { why, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(why, BackwardFailure::Parameter("up.weight".to_owned()));
    // The model can be run again at once.
    let (given, _) = given_to_the_optimizer(&model, &[], async |_| Ok(()));
    assert_eq!(given, plain_gradients().map(Some));
}
