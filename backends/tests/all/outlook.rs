//! What is known of a model before a run, beside what it does in one.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Tensor, TensorData};
use interloom_backends::{Bound, Forward, ForwardError, Hooked, Run, Value};
use interloom_engine::{Invoke, Port};
use interloom_program::{CheckContext, Effects, Expr, Form, Machine, Program, read, tuple};

use crate::runs::x;
use crate::support::{Mlp, cpu, linear, tensor};

fn zeros(shape: &[u64], is_float: bool) -> Value {
    let shape: Vec<usize> = shape.iter().map(|&length| length as usize).collect();
    let data = match is_float {
        true => TensorData::zeros::<f32, _>(shape),
        false => TensorData::zeros::<i32, _>(shape),
    };
    Value::from_data(data, &cpu()).unwrap()
}

/// A shape is refused exactly if a run that skips with such a tensor fails for it.
#[test]
fn a_skip_is_refused_with_which_the_model_cannot_go_on() {
    let model = Mlp::bound(1);
    let shapes: [&[u64]; 6] = [&[2, 5], &[2, 3], &[2, 1], &[7, 5], &[5], &[2, 5, 1]];
    let (mut refused, mut taken) = (0, 0);
    for module in ["", "up", "act", "down"] {
        let input = model
            .sites()
            .map()
            .point_at(module, Port::Input)
            .unwrap()
            .at(0);
        for shape in shapes {
            let reason = model
                .sites()
                .refuses(input, shape, &cpu(), || model.forward(x()));
            let mut run = Run::new("skip", model.sites());
            let zeros = zeros(shape, true);
            run.mediator("m", async move |cx| cx.skip(module, zeros).await);
            let ran = run.execute(|| model.forward(x()));
            assert_eq!(
                reason.is_some(),
                ran.is_err(),
                "{module} {shape:?}: {reason:?}"
            );
            if let Err(error) = ran {
                assert!(["E035", "E036"].contains(&error.code()), "{error}");
                refused += 1;
            } else {
                taken += 1;
            }
        }
    }
    assert!(refused > 8 && taken > 8, "{refused} {taken}");
    // A site that is not passed says nothing, nor does what is too large to be tried.
    let up = model.sites().map().point("up.input").unwrap();
    let refuses = |site, shape: &[u64]| {
        model
            .sites()
            .refuses(site, shape, &cpu(), || model.forward(x()))
    };
    assert_eq!(refuses(up.at(1), &[5]), None);
    assert_eq!(refuses(up.at(0), &[1 << 40, 1 << 40]), None);
}

/// A module that puts out two tensors, and one that puts out one.
#[derive(Module, Debug)]
struct Forked {
    fork: Hooked<Fork>,
    join: Hooked<Linear>,
}

#[derive(Module, Debug)]
struct Fork {
    fc: Linear,
}

impl Forward<Tensor<2>> for Fork {
    type Output = (Tensor<2>, Tensor<1>);

    fn forward(&self, x: Tensor<2>) -> Self::Output {
        (self.fc.forward(x), tensor([3], 4))
    }
}

impl Forked {
    fn run(&self) -> Tensor<2> {
        let (x, scale) = self.fork.forward(tensor([2, 3], 2));
        self.join.forward(x * scale.unsqueeze::<2>())
    }
}

/// A structure is refused exactly if the swap of it fails.
#[test]
fn structures_are_refused_that_a_swap_refuses() {
    let model = Bound::new(Forked {
        fork: Fork {
            fc: linear(3, 3, 1, &cpu()),
        }
        .into(),
        join: linear(3, 3, 2, &cpu()).into(),
    })
    .unwrap();
    let shapes = model.sites().shapes(2, || model.run()).unwrap();
    let point = model.sites().map().point("fork.output").unwrap();
    let form = shapes
        .form(model.sites().map(), point.at(0), Some(1))
        .unwrap();
    assert_eq!(
        form,
        Form::Tuple(vec![Form::Tensor(vec![1, 3]), Form::Tensor(vec![3])])
    );

    let pair = || read("fork.output");
    let item = |place: u32| pair().index(place);
    let values: [Expr; 9] = [
        pair(),
        item(0) * 2.0,
        item(1),
        tuple([item(0), item(1)]),
        tuple([item(1), item(0)]),
        tuple([item(0)]),
        pair().replace(1, item(1) + 1.0),
        pair().replace(1, item(0)),
        pair().replace(2, item(0)),
    ];
    let mut refused = 0;
    for site in ["fork.output", "join.input", "join.output"] {
        for value in &values {
            let program = Program::new().write(site, value.clone());
            let known = CheckContext::of(model.sites().map()).shapes(&shapes, None);
            let known = known.whole_order(&shapes).effects(Effects::of(&program));
            let machine = Machine::new(&program, model.sites().map()).unwrap();
            let mut run = Run::new("swap", model.sites());
            run.add(Invoke::new("m", machine));
            let ran = run.execute(|| model.run());
            let checked = program.check(known);
            assert_eq!(
                checked.is_err(),
                ran.is_err(),
                "{site} {value:?}: {checked:?} {ran:?}"
            );
            if let Err(error) = ran {
                let ForwardError::Run { error, .. } = error else {
                    panic!("{error}")
                };
                assert!(["E004", "E103"].contains(&error.code()), "{error}");
                refused += 1;
            }
        }
    }
    assert!((10..25).contains(&refused), "{refused}");
}
