//! What passes a hook: arguments, results, ad hoc calls.

use std::cell::Cell;
use std::rc::Rc;

use burn::module::{Module, Param};
use burn::nn::{Embedding, Linear};
use burn::tensor::{Int, Tensor};
use interloom_backends::{Bound, Forward, Hooked, Run, Tap, Value};

use crate::support::{Mlp, bits, cpu, linear, read, reader, tensor};

/// A module of two arguments and two results.
#[derive(Module, Debug)]
struct Gate {
    fc: Linear,
}

impl Forward<(Tensor<2>, Tensor<1>)> for Gate {
    type Output = (Tensor<2>, Tensor<1>);

    fn forward(&self, (x, scale): (Tensor<2>, Tensor<1>)) -> Self::Output {
        let y = self.fc.forward(x) * scale.clone().unsqueeze::<2>();
        (y, scale * 2.0)
    }
}

#[derive(Module, Debug)]
struct Gated {
    gate: Hooked<Gate>,
}

fn gated() -> Bound<Gated> {
    let gate = Gate {
        fc: linear(3, 3, 1, &cpu()),
    };
    Bound::new(Gated { gate: gate.into() }).unwrap()
}

#[test]
fn several_arguments_and_results_are_tuples() {
    let model = gated();
    let (x, scale) = (tensor([2, 3], 2), tensor([3], 3));
    let [input, output] = read(model.sites(), ["gate.input", "gate.output"], || {
        model.gate.forward((x.clone(), scale.clone()))
    });
    let (input, output) = (input.unwrap(), output.unwrap());
    insta::assert_snapshot!(input, @"(f32[2, 3], f32[3])");
    insta::assert_snapshot!(output, @"(f32[2, 3], f32[3])");
    let second: Tensor<1> = output.item(1).unwrap().tensor().unwrap();
    assert_eq!(bits(second), bits(scale * 2.0));
}

#[test]
fn one_argument_can_be_replaced() {
    let model = gated();
    let (x, scale) = (tensor([2, 3], 2), tensor([3], 3));
    let mut run = Run::new("swap", model.sites());
    run.mediator("double the scale", |cx| async move {
        let input = cx.input("gate").await?;
        let scale = input.item(1)? * 2.0;
        cx.set_input("gate", input.with_item(1, scale)?).await
    });
    let call = |scale| model.gate.forward((x.clone(), scale));
    let (changed, _) = run
        .execute(|| call(scale.clone()))
        .unwrap()
        .output
        .ok()
        .unwrap();
    let (expected, _) = call(scale.clone() * 2.0);
    assert_eq!(bits(changed), bits(expected));
}

#[test]
fn what_a_call_captures_is_not_part_of_its_input() {
    let model = gated();
    let (x, scale) = (tensor([2, 3], 2), tensor([3], 3));
    let mut calls = 0;
    let mut cache = Vec::new();
    let [input, output] = read(model.sites(), ["gate.input", "gate.output"], || {
        model.gate.call(x.clone(), |gate, x| {
            calls += 1;
            cache.push(scale.clone());
            gate.forward((x, scale.clone())).0
        })
    });
    assert_eq!((calls, cache.len()), (1, 1));
    insta::assert_snapshot!(input.unwrap(), @"f32[2, 3]");
    insta::assert_snapshot!(output.unwrap(), @"f32[2, 3]");
}

#[derive(Module, Debug)]
struct Reader {
    embed: Hooked<Embedding>,
    masked: Tap,
}

#[test]
fn tokens_and_masks_pass_as_what_they_are() {
    let embed = Embedding {
        weight: Param::from_tensor(tensor([5, 2], 1)),
    };
    let model = Bound::new(Reader {
        embed: embed.into(),
        masked: Tap::new(),
    })
    .unwrap();
    let mut run = Run::new("read", model.sites());
    let ids = reader(&mut run, "embed.input");
    let mask = reader(&mut run, "masked.output");
    run.mediator("negate", |cx| async move {
        let mask: Tensor<3, burn::tensor::Bool> = cx.output("masked").await?.typed()?;
        cx.set_output("masked", mask.bool_not()).await
    });
    let tokens = Tensor::<2, Int>::from_data([[1, 4, 0]], &cpu());
    let ran = run.execute(|| {
        let embedded = model.embed.forward(tokens);
        model.masked.pass(embedded.greater_elem(0.0))
    });
    let kinds = [ids, mask].map(|saved| saved.take().unwrap().unwrap().to_string());
    insta::assert_snapshot!(kinds.join(" "), @"i32[1, 3] bool[1, 3, 2]");
    let flipped = ran.unwrap().output.ok().unwrap().into_data();
    let expected = tensor([5, 2], 1).greater_elem(0.0).bool_not().into_data();
    let expected = expected.try_to_vec::<bool>().unwrap();
    let rows = [1, 4, 0].map(|row| [expected[2 * row], expected[2 * row + 1]]);
    assert_eq!(flipped.try_to_vec::<bool>().unwrap(), rows.concat());
}

/// R7: calls that a mediator makes itself pass and count no site of its run, wherever it stands.
#[test]
fn r7_ad_hoc_calls_pass_no_site() {
    let model = Mlp::bound(1);
    let x = || tensor([2, 4], 3);
    let calls = Rc::new(Cell::new(0));
    let mut run = Run::new("ad hoc", model.sites());
    let (copy, counted) = (model.clone(), calls.clone());
    run.mediator("lens", |cx| async move {
        // At the start, at a site, and after the model: a layer, and the whole model with its
        // children.
        let ad_hoc = || {
            copy.inner().down.forward(tensor([2, 5], 1));
            copy.forward(tensor([2, 4], 1));
            counted.set(counted.get() + 1);
        };
        ad_hoc();
        cx.output("up").await?;
        ad_hoc();
        let refused = cx.value("down.output.i1").await;
        ad_hoc();
        assert_eq!(refused.unwrap_err().code(), "E003");
        Ok(())
    });
    let first = reader(&mut run, "down.output.i0");
    let second = reader(&mut run, "down.output.i1");
    let output = run
        .execute(|| model.forward(x()))
        .unwrap()
        .output
        .ok()
        .unwrap();
    assert_eq!(calls.get(), 3);
    let first: Tensor<2> = first.take().unwrap().unwrap().tensor().unwrap();
    assert_eq!(bits(first), bits(output));
    assert!(second.take().unwrap().is_none());
}

/// R7, for a run that the model itself starts: its mediators pass no site of the outer run either.
#[test]
fn r7_mediators_of_an_inner_run_pass_no_site_of_the_outer() {
    let (outer, inner) = (Mlp::bound(1), Mlp::bound(2));
    let mut run = Run::new("outer", outer.sites());
    let first = reader(&mut run, "up.output.i0");
    let second = reader(&mut run, "up.output.i1");
    let ran = run.execute(|| {
        let copy = outer.clone();
        let mut nested = Run::new("inner", inner.sites());
        nested.mediator("ad hoc", |cx| async move {
            copy.inner().up.forward(tensor([1, 4], 8));
            cx.output("up").await?;
            copy.inner().up.forward(tensor([1, 4], 8));
            let late = cx.value("up.output.i1").await;
            copy.inner().up.forward(tensor([1, 4], 8));
            assert!(late.is_err());
            Ok(())
        });
        nested.execute(|| inner.forward(tensor([1, 4], 7))).unwrap();
        outer.forward(tensor([1, 4], 3))
    });
    ran.unwrap();
    let first: Tensor<2> = first.take().unwrap().unwrap().tensor().unwrap();
    assert_eq!(
        bits(first),
        bits(outer.inner().up.forward(tensor([1, 4], 3)))
    );
    assert!(second.take().unwrap().is_none());
}

#[test]
fn without_a_run_hooks_are_plain_burn_bit_for_bit() {
    let model = Mlp::bound(1);
    let x = || tensor([7, 4], 3);
    let plain = |x| {
        let hidden = model.inner().up.inner().forward(x);
        let hidden = burn::nn::Gelu::new().forward(hidden);
        model.inner().down.inner().forward(hidden)
    };
    assert_eq!(bits(model.forward(x())), bits(plain(x())));
    // Nor does reading every site change a bit.
    let mut run = Run::new("read all", model.sites());
    for point in crate::support::points(model.sites()) {
        reader(&mut run, &point);
    }
    let output = run
        .execute(|| model.forward(x()))
        .unwrap()
        .output
        .ok()
        .unwrap();
    assert_eq!(bits(output), bits(plain(x())));
}

#[test]
fn a_module_of_values_passes_them_as_they_are() {
    #[derive(Module, Debug)]
    struct Wrap {
        tap: Tap,
    }
    let model = Bound::new(Wrap { tap: Tap::new() }).unwrap();
    let value = (true, 3_i64, "text".to_owned(), Some(2.5), None::<f64>);
    let mut run = Run::new("read", model.sites());
    let seen = reader(&mut run, "tap.output");
    let ran = run.execute(|| model.tap.pass(value.clone())).unwrap();
    assert_eq!(ran.output.ok(), Some(value));
    let seen: Value = seen.take().unwrap().unwrap();
    insta::assert_snapshot!(seen, @r#"(true, 3, "text", 2.5, nothing)"#);
}

#[test]
fn a_value_for_a_site_alone_is_made_if_somebody_waits_there() {
    #[derive(Module, Debug)]
    struct Lazy {
        tap: Tap,
        other: Tap,
    }
    let made = Cell::new(0);
    let model = Bound::new(Lazy {
        tap: Tap::new(),
        other: Tap::new(),
    })
    .unwrap();
    let forward = || {
        for _ in 0..2 {
            let passed = model.tap.pass_if_awaited(|| {
                made.set(made.get() + 1);
                tensor([2], 1)
            });
            let x = passed.unwrap_or_else(|| tensor::<1>([2], 2));
            model.other.pass(x);
        }
    };
    forward();
    let mut run = Run::new("elsewhere", model.sites());
    let other = reader(&mut run, "other.output");
    run.execute(forward).unwrap();
    assert!(other.take().unwrap().is_some());
    assert_eq!(made.get(), 0);
    // Each time counts as an iteration, made or not.
    let mut run = Run::new("second", model.sites());
    let second = reader(&mut run, "tap.output.i1");
    run.execute(forward).unwrap();
    assert!(second.take().unwrap().is_some());
    assert_eq!(made.get(), 1);
}
