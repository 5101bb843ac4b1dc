//! R52: an invoke's values do not depend on the invokes that share its batch, and where they do,
//! the first exchange that differs is named.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig, Relu};
use burn::tensor::{Device, Tensor};
use interloom::batch_invariance::{BatchDependence, BatchMate, check_batch_invariance};
use interloom_backends::{Bound, Erase, Forward, Hooked, Value};
use interloom_models::induction::Induction;

/// Multiplies by 2, subtracts a share of the mean over the whole batch, and cuts off what is
/// negative.
#[derive(Module, Debug)]
struct Coupled {
    double: Hooked<Linear>,
    centre: Hooked<Centre>,
    act: Hooked<Relu>,
}

#[derive(Module, Debug)]
struct Centre {
    share: f32,
}

impl Forward<Tensor<2>> for Centre {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let mean = x.clone().mean_dim(0);
        x - mean * self.share
    }
}

impl Forward<Tensor<2>> for Coupled {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.centre.forward(self.double.forward(x));
        self.act.forward(x)
    }
}

fn coupled(share: f32) -> Bound<Hooked<Coupled>> {
    let device = Device::flex();
    let linear = LinearConfig::new(2, 2).with_bias(false);
    let weight = Tensor::<2>::from_floats([[2.0, 0.0], [0.0, 2.0]], &device);
    let double = Linear {
        weight: burn::module::Param::from_tensor(weight),
        ..linear.init(&device)
    };
    let model = Coupled {
        double: double.into(),
        centre: Centre { share }.into(),
        act: Relu::new().into(),
    };
    Bound::new(Hooked::from(model)).unwrap()
}

/// Reads all the way; `number` is in its one row.
fn reader(name: &str, number: f32) -> BatchMate {
    let input = Tensor::<2>::from_floats([[number, 1.0]], &Device::flex());
    BatchMate::new(name, input, |cx| async move {
        for site in ["double", "centre", "act"] {
            cx.output(site).await?;
        }
        Ok(())
    })
}

fn dependences(share: f32, mates: &[BatchMate]) -> Vec<BatchDependence> {
    let model = coupled(share);
    let forward = |x: Value| model.forward(x.tensor::<2>().unwrap());
    check_batch_invariance(model.sites(), mates, forward).unwrap()
}

#[test]
fn r52_rows_that_the_model_keeps_apart_do_not_depend_on_the_batch() {
    let mates = [reader("a", 1.0), reader("b", -3.0), reader("c", 0.5)];
    assert_eq!(dependences(0.0, &mates), []);
}

#[test]
fn r52_a_model_that_mixes_rows_is_found_at_the_first_exchange_that_differs() {
    let mates = [reader("a", 1.0), reader("b", -3.0)];
    let found = dependences(0.5, &mates);
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    `a`, exchange 1: alone VALUE `centre.output.i0` f32[1, 2] b3:3a13b50b6819, in the batch VALUE `centre.output.i0` f32[1, 2] b3:af2301f406cc; 1 of 2 elements differ, the first at [0, 0] (0x3f800000 (1.0) alone, 0x40400000 (3.0) in the batch), by at most 12582912 ulp, 6.7e-1 relative
    `b`, exchange 1: alone VALUE `centre.output.i0` f32[1, 2] b3:607781702097, in the batch VALUE `centre.output.i0` f32[1, 2] b3:a0f609e62c33; 1 of 2 elements differ, the first at [0, 0] (0xc0400000 (-3.0) alone, 0xc0a00000 (-5.0) in the batch), by at most 6291456 ulp, 4.0e-1 relative
    ");
    assert_eq!(
        found[0].exchange, 1,
        "`double` keeps rows apart, `centre` does not"
    );
}

#[test]
fn r52_an_invoke_that_needs_another_one_depends_on_its_batch() {
    let shares = |name: &str, puts: bool| {
        let input = Tensor::<2>::ones([1, 2], &Device::flex());
        BatchMate::new(name, input, move |cx| async move {
            let x = cx.output("double").await?;
            match puts {
                true => cx.put("x", x).await,
                false => cx.get("x").await.map(drop),
            }
        })
    };
    let found = dependences(0.0, &[shares("giver", true), shares("taker", false)]);
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @"`taker`, exchange 1: alone GET `x` refused (E016), in the batch GET `x` f32[1, 2] b3:f12ff1d5b2df");
}

#[test]
fn r52_a_language_model_keeps_prompts_apart() {
    let device = Device::flex();
    let model = Induction::trained(&device);
    let prompt = |name: &str, tokens: [i32; 6], factor: f64| {
        let input = Tensor::<2, burn::tensor::Int>::from_ints([tokens], &device);
        BatchMate::new(name, input.erase(), move |cx| async move {
            let h = cx.output("layers.0").await?;
            cx.set_output("layers.0", h * factor).await?;
            cx.output("").await.map(drop)
        })
    };
    let mates = [
        prompt("a", [1, 2, 3, 1, 2, 3], 1.0),
        prompt("b", [4, 9, 4, 9, 4, 9], 0.5),
    ];
    let forward = |x: Value| model.forward(x.typed::<2, burn::tensor::Int>().unwrap());
    let found = check_batch_invariance(model.sites(), &mates, forward).unwrap();
    // A backend may sum a larger batch in another order; then the distance is small, and it is
    // said.
    for dependence in found {
        let tensor = dependence
            .elements
            .expect("the same but for its elements")
            .tensor;
        assert!(
            tensor.ulp_max.is_some_and(|distance| distance < 1 << 12),
            "{tensor:?}"
        );
    }
}

#[test]
fn inputs_that_make_no_batch_are_refused() {
    let model = coupled(0.0);
    let wide = BatchMate::new(
        "wide",
        Tensor::<2>::ones([1, 3], &Device::flex()),
        |_| async { Ok(()) },
    );
    let forward = |x: Value| model.forward(x.tensor::<2>().unwrap());
    let error =
        check_batch_invariance(model.sites(), &[reader("a", 1.0), wide], forward).unwrap_err();
    assert_eq!(error.code(), "E033");
    insta::assert_snapshot!(error, @"the input does not fit the model: the inputs of the invokes do not make a batch: expected f32[1, 2], found f32[1, 3]; let them differ in rows only");
}
