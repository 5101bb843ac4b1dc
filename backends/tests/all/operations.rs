//! Operations: the calls inside a forward function as sites.

use std::cell::RefCell;
use std::rc::Rc;

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, activation};
use interloom_backends::{
    CallFailure, Forward, ForwardError, Hooked, Operations, Run, RunOutput, Sites, Tap, Value,
    operations,
};
use interloom_engine::{CacheSpec, Exchange, FaultKind, Misfit, Moment, Observer, RunError, Site};

use super::support::*;

/// A block whose calls are of every sort.
#[derive(Module, Debug)]
struct Block {
    fc: Hooked<Linear>,
    plain: Vec<Linear>,
    tap: Tap,
    scale: f64,
    source: Operations,
}

/// What cannot pass a site, and is lent to the function.
struct Memory {
    calls: usize,
    kept: Option<Tensor<2>>,
}

impl Memory {
    fn swap(&mut self, _label: &str, x: Tensor<2>) -> (Tensor<2>, usize) {
        self.calls += 1;
        (self.kept.replace(x.clone()).unwrap_or(x), self.calls)
    }
}

fn count(memory: &mut Memory, step: usize) -> usize {
    memory.calls += step;
    memory.calls
}

#[operations]
impl Block {
    fn run(&self, x: Tensor<2>, memory: &mut Memory) -> Tensor<2> {
        let [rows, width] = x.dims();
        let h = self.fc.forward(x.clone());
        let (old, calls) = memory.swap("h", h.clone());
        let total = count(memory, calls) + count(memory, rows);
        let h = self.plain.iter().fold(h, |h, layer| layer.forward(h));
        let start = 0;
        let parts = vec![
            h.clone().narrow(1, start, width / 2),
            h.narrow(1, width / 2, width / 2),
        ];
        let h = Tensor::cat(parts, 1).mul_scalar(0.5).mul_scalar(self.scale);
        let h = self.tap.pass(activation::softmax(h, 1));
        if total == 0 {
            return h;
        }
        h.matmul(old.transpose().matmul(x))
    }

    /// The same, as it is without the attribute.
    fn untouched(x: Tensor<2>) -> Tensor<2> {
        x.mul_scalar(2.0)
    }
}

impl Forward<Tensor<2>> for Block {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let mut memory = Memory {
            calls: 0,
            kept: None,
        };
        self.run(Self::untouched(x), &mut memory)
    }
}

/// Two blocks of one type, of which the first is called twice.
#[derive(Module, Debug)]
struct Stack {
    first: Hooked<Block>,
    second: Hooked<Block>,
}

impl Forward<Tensor<2>> for Stack {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.first.forward(self.first.forward(x));
        self.second.forward(x)
    }
}

fn block(seed: usize, device: &Device) -> Block {
    Block {
        fc: linear(WIDTH, WIDTH, seed, device).into(),
        plain: vec![
            linear(WIDTH, WIDTH, seed + 2, device),
            linear(WIDTH, WIDTH, seed + 4, device),
        ],
        tap: Tap::new(),
        scale: 0.25,
        source: Operations::new(Block::OPERATIONS),
    }
}

const WIDTH: usize = 4;

fn model() -> Hooked<Block> {
    block(1, &Device::flex()).into()
}

fn stack() -> Hooked<Stack> {
    let device = Device::flex();
    Hooked::from(Stack {
        first: block(1, &device).into(),
        second: block(7, &device).into(),
    })
}

fn x() -> Tensor<2> {
    tensor([3, WIDTH], 5)
}

fn same(left: &Tensor<2>, right: &Tensor<2>) -> bool {
    left.to_data() == right.to_data()
}

/// The sites that are passed, in their order.
struct Passed(Rc<RefCell<Vec<Site>>>);

impl Observer<Value> for Passed {
    fn exchange(&mut self, _: &Exchange<'_, Value>) {}

    fn moment(&mut self, moment: &Moment<'_, Value>) {
        if let Moment::Enter { site, .. } = moment {
            self.0.borrow_mut().push(*site);
        }
    }
}

#[test]
fn r90_each_call_has_sites_named_after_it() {
    let listed: Vec<String> = Block::OPERATIONS
        .iter()
        .map(|(name, ports)| format!("{name}: {}", ports.join(" ")))
        .collect();
    insta::assert_snapshot!(listed.join("\n"), @r"
    self_fc_0: fn input output
    swap_0: fn input output
    count_0: fn input output
    count_1: fn input output
    layer_0: fn input output
    fold_0: output
    cat_0: fn input output
    mul_scalar_0: fn input output
    mul_scalar_1: fn input output
    softmax_0: fn input output
    transpose_0: fn input output
    matmul_0: fn input output
    matmul_1: fn input output
    ");
    let sites = Sites::bind(&stack()).unwrap();
    for block in ["first", "second"] {
        for (name, ports) in Block::OPERATIONS {
            for port in *ports {
                assert!(
                    sites
                        .point(&format!("{block}.source.{name}.{port}"))
                        .is_some()
                );
            }
        }
    }
    assert!(sites.point("first.source.self_fc_0.fn.grad").is_none());
}

#[test]
fn r90_sites_are_passed_in_the_order_of_the_forward_and_change_nothing() {
    let model = model();
    let sites = Sites::bind(&model).unwrap();
    let plain = model.forward(x());
    let mut run = Run::new("all", &sites);
    let cached = run.cache(CacheSpec::all().both().operations());
    let seen = Rc::new(RefCell::new(Vec::new()));
    run.observer(Passed(seen.clone()));
    run.trace();
    let output = run
        .execute(|| model.forward(x()))
        .unwrap()
        .completed()
        .unwrap();
    assert!(same(&output, &plain));
    let names: Vec<String> = seen
        .borrow()
        .iter()
        .map(|site| sites.site_name(*site))
        .collect();
    insta::assert_snapshot!(names.join("\n"), @r"
    input.i0
    source.self_fc_0.input.i0
    fc.input.i0
    fc.output.i0
    source.self_fc_0.output.i0
    source.swap_0.input.i0
    source.swap_0.output.i0
    source.layer_0.input.i0
    source.layer_0.output.i0
    source.layer_0.input.i1
    source.layer_0.output.i1
    source.fold_0.output.i0
    source.cat_0.input.i0
    source.cat_0.output.i0
    source.mul_scalar_0.input.i0
    source.mul_scalar_0.output.i0
    source.mul_scalar_1.input.i0
    source.mul_scalar_1.output.i0
    source.softmax_0.input.i0
    source.softmax_0.output.i0
    tap.output.i0
    source.transpose_0.input.i0
    source.transpose_0.output.i0
    source.matmul_0.input.i0
    source.matmul_0.output.i0
    source.matmul_1.input.i0
    source.matmul_1.output.i0
    output.i0
    ");
    // What was computed in between is what is computed by hand.
    let h = model.inner().fc.inner().forward(x().mul_scalar(2.0));
    let first = cached
        .output("source.self_fc_0")
        .unwrap()
        .tensor::<2>()
        .unwrap();
    assert!(same(&first, &h));
}

#[test]
fn r90_reads_and_swaps_of_operands_and_outputs() {
    let model = model();
    let sites = Sites::bind(&model).unwrap();
    let mut run = Run::new("swap", &sites);
    let read = run.mediator("swap", async |cx| {
        let function = cx.value("source.mul_scalar_1.fn").await?;
        let operands = cx.input("source.mul_scalar_1").await?;
        cx.set_input(
            "source.mul_scalar_1",
            operands.with_item(1, Value::Float(0.0))?,
        )
        .await?;
        let zero = cx.output("source.mul_scalar_1").await?;
        let even = cx.output("source.softmax_0").await?;
        cx.set_output("source.softmax_0", even * 2.0).await?;
        let twice = cx.output("tap").await?;
        Ok((function, operands, zero, twice))
    });
    run.execute(|| model.forward(x())).unwrap();
    let (function, operands, zero, twice) = read.take().unwrap();
    assert!(matches!(&function, Value::Text(name) if **name == *"mul_scalar"));
    assert!(matches!(operands.item(1), Ok(Value::Float(0.25))));
    let floats = |value: Value| -> Vec<f32> {
        value
            .tensor::<2>()
            .unwrap()
            .into_data()
            .try_into_vec()
            .unwrap()
    };
    assert_eq!(floats(zero), [0.0; 3 * WIDTH]);
    assert_eq!(floats(twice), [0.5; 3 * WIDTH]);
}

#[test]
fn r90_what_cannot_pass_a_site_is_left_alone() {
    let model = model();
    let sites = Sites::bind(&model).unwrap();
    let mut run = Run::new("all", &sites);
    let names = points(&sites);
    let saved: Vec<_> = names.iter().map(|name| reader(&mut run, name)).collect();
    run.execute(|| model.forward(x())).unwrap();
    // Neither sizes nor what returns them; of `swap`, the tensor alone.
    let all = names.iter().zip(&saved);
    insta::assert_snapshot!(passed_operations(all, "source."), @r#"
    self_fc_0.input f32[3, 4]
    self_fc_0.output f32[3, 4]
    self_fc_0.fn "self.fc"
    swap_0.input f32[3, 4]
    swap_0.output (f32[3, 4], 1)
    swap_0.fn "swap"
    layer_0.input f32[3, 4]
    layer_0.output f32[3, 4]
    layer_0.fn "layer"
    fold_0.output f32[3, 4]
    cat_0.input [f32[3, 2], f32[3, 2]]
    cat_0.output f32[3, 4]
    cat_0.fn "Tensor::cat"
    mul_scalar_0.input (f32[3, 4], 0.5)
    mul_scalar_0.output f32[3, 4]
    mul_scalar_0.fn "mul_scalar"
    mul_scalar_1.input (f32[3, 4], 0.25)
    mul_scalar_1.output f32[3, 4]
    mul_scalar_1.fn "mul_scalar"
    softmax_0.input f32[3, 4]
    softmax_0.output f32[3, 4]
    softmax_0.fn "activation::softmax"
    transpose_0.input f32[3, 4]
    transpose_0.output f32[4, 3]
    transpose_0.fn "transpose"
    matmul_0.input (f32[4, 3], f32[3, 4])
    matmul_0.output f32[4, 4]
    matmul_0.fn "matmul"
    matmul_1.input (f32[3, 4], f32[4, 4])
    matmul_1.output f32[3, 4]
    matmul_1.fn "matmul"
    "#);
}

#[test]
fn r90_iterations_are_counted_for_each_instance() {
    let model = stack();
    let sites = Sites::bind(&model).unwrap();
    let plain = model.forward(x());
    let mut run = Run::new("iterations", &sites);
    let second = run.mediator("second", async |cx| {
        let inner = cx.value("first.source.softmax_0.output.i1").await?;
        let other = cx.output("second.source.softmax_0").await?;
        Ok((inner, other))
    });
    let output = run
        .execute(|| model.forward(x()))
        .unwrap()
        .completed()
        .unwrap();
    assert!(same(&output, &plain));
    let (inner, other) = second.take().unwrap();
    assert!(!same(&inner.tensor().unwrap(), &other.tensor().unwrap()));
    // A clone of a bound model has its places; each place in a closure counts every time.
    let copy = model.clone();
    let mut run = Run::new("clone", &sites);
    let layers = run.mediator("layers", async |cx| {
        let mut layers = Vec::new();
        for iteration in 0..6 {
            let block = if iteration < 4 { "first" } else { "second" };
            let iteration = iteration % 4;
            layers.push(
                cx.value(&*format!("{block}.source.layer_0.output.i{iteration}"))
                    .await?,
            );
        }
        Ok(layers.len())
    });
    run.execute(|| copy.forward(x())).unwrap();
    assert_eq!(layers.take(), Some(6));
}

#[test]
fn r90_a_swapped_function_is_called_instead() {
    let model = model();
    let sites = Sites::bind(&model).unwrap();
    let calls = Rc::new(RefCell::new(0));
    let mut run = Run::new("functions", &sites);
    let counted = calls.clone();
    run.function("relu", move |x: Value| {
        *counted.borrow_mut() += 1;
        Ok(activation::relu(x.tensor::<2>()?).into())
    });
    let functions = run.functions();
    let read = run.mediator("swap", async move |cx| {
        cx.set("source.softmax_0.fn", "relu").await?;
        let input = cx.input("source.softmax_0").await?;
        let output = cx.output("source.softmax_0").await?;
        // One of the mediator's own, which has several operands.
        functions.add("sum", |pair: Value| {
            Ok((pair.item(0)?.tensor::<2>()? + pair.item(1)?.tensor::<2>()?).into())
        });
        cx.set("source.matmul_1.fn", "sum").await?;
        let operands = cx.input("source.matmul_1").await?;
        Ok((input, output, operands, cx.output("").await?))
    });
    let error = run.execute(|| model.forward(x()));
    // A sum of `[3, 4]` and `[4, 4]` does not go: burn panics in it, as it does in a model.
    assert_eq!(error.unwrap_err().code(), "E036");
    assert_eq!(*calls.borrow(), 1);
    assert!(read.take().is_none());

    let mut run = Run::new("relu", &sites);
    run.function("relu", |x: Value| {
        Ok(activation::relu(x.tensor::<2>()?).into())
    });
    let read = run.mediator("swap", async |cx| {
        cx.set("source.softmax_0.fn", "relu").await?;
        let input = cx.input("source.softmax_0").await?;
        Ok((input, cx.output("tap").await?))
    });
    run.execute(|| model.forward(x())).unwrap();
    let (input, output) = read.take().unwrap();
    let expected = activation::relu(input.tensor::<2>().unwrap());
    assert!(same(&output.tensor().unwrap(), &expected));
    // One that the mediator adds itself, and that has two operands.
    let mut run = Run::new("own", &sites);
    let functions = run.functions();
    let read = run.mediator("swap", async move |cx| {
        let factor = 3.0;
        functions.add("scaled", move |operands: Value| {
            Ok(operands.item(0)? * factor)
        });
        cx.set("source.mul_scalar_1.fn", "scaled").await?;
        let operands = cx.input("source.mul_scalar_1").await?;
        Ok((operands.item(0)?, cx.output("source.mul_scalar_1").await?))
    });
    run.execute(|| model.forward(x())).unwrap();
    let (operand, output) = read.take().unwrap();
    let expected = operand.tensor::<2>().unwrap() * 3.0;
    assert!(same(&output.tensor().unwrap(), &expected));
    // What the source writes is no swap.
    let mut run = Run::new("same", &sites);
    run.mediator("same", async |cx| {
        cx.set("source.softmax_0.fn", "activation::softmax").await
    });
    let output = run
        .execute(|| model.forward(x()))
        .unwrap()
        .completed()
        .unwrap();
    assert!(same(&output, &model.forward(x())));
}

#[test]
fn r90_a_module_of_the_model_is_a_function_and_passes_no_site() {
    let model = stack();
    let sites = Sites::bind(&model).unwrap();
    let mut run = Run::new("module", &sites);
    let called = model.clone();
    run.modules(move |path: &str, x: Value| match path {
        "second.fc" => Ok(called
            .inner()
            .second
            .inner()
            .fc
            .forward(x.tensor::<2>()?)
            .into()),
        _ => Err(Misfit {
            expected: "`second.fc`".into(),
            found: path.into(),
        }
        .into()),
    });
    let read = run.mediator("swap", async |cx| {
        cx.set("first.source.self_fc_0.fn", "second.fc").await?;
        let input = cx.input("first.source.self_fc_0").await?;
        let output = cx.output("first.source.self_fc_0").await?;
        let own = cx.input("second.fc").await?;
        Ok((input, output, own))
    });
    run.execute(|| model.forward(x())).unwrap();
    let (input, output, own) = read.take().unwrap();
    let fc = &model.inner().second.inner().fc;
    assert!(same(
        &output.tensor().unwrap(),
        &fc.forward(input.clone().tensor::<2>().unwrap())
    ));
    assert!(!same(&own.tensor().unwrap(), &input.tensor().unwrap()));
}

#[test]
fn r90_a_name_that_there_is_not_is_a_coded_error_with_the_nearest() {
    let model = model();
    let sites = Sites::bind(&model).unwrap();
    let mut run = Run::new("unknown", &sites);
    run.function("relu", Ok);
    run.mediator("swap", async |cx| {
        cx.set("source.softmax_0.fn", "rleu").await
    });
    let error = run.execute(|| model.forward(x())).unwrap_err();
    assert_eq!(error.code(), "E059");
    let said = error.to_string();
    let (said, _) = said.split_once(" (").unwrap();
    assert!(
        said.ends_with("cannot call `rleu`, which mediator `swap`"),
        "{said}"
    );
    let ForwardError::Call {
        why: CallFailure::Unknown { nearest },
        site,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((&*nearest[0], &**site), ("relu", "source.softmax_0.fn"));

    let mut run = Run::new("failing", &sites);
    run.function("failing", |_| {
        Err(Misfit {
            expected: "more".into(),
            found: "less".into(),
        }
        .into())
    });
    run.mediator("swap", async |cx| {
        cx.set("source.softmax_0.fn", "failing").await
    });
    let error = run.execute(|| model.forward(x())).unwrap_err();
    assert!(
        matches!(
            error,
            ForwardError::Call {
                why: CallFailure::Failed { .. },
                ..
            }
        ),
        "{error}"
    );
    // The model can run again at once.
    assert!(same(&model.forward(x()), &model.forward(x())));

    let mut run = Run::new("kind", &sites);
    run.mediator("swap", async |cx| cx.set("source.softmax_0.fn", x()).await);
    let error = run.execute(|| model.forward(x())).unwrap_err();
    assert_eq!(error.code(), "E004", "{error}");
}

#[test]
fn r90_a_mediator_with_rows_swaps_no_function() {
    let model = model();
    let sites = Sites::bind(&model).unwrap();
    let mut run = Run::new("rows", &sites);
    run.function("identity", Ok);
    run.invoke("reader", 1, async |cx| {
        cx.value("source.softmax_0.fn").await
    });
    run.invoke("swapper", 2, async |cx| {
        cx.set("source.softmax_0.fn", "identity").await
    });
    let error = run.execute(|| model.forward(x())).unwrap_err();
    let ForwardError::Run { error, .. } = error else {
        panic!("{error}");
    };
    let RunError::Mediators(failed) = *error else {
        panic!("{error}");
    };
    let fault = failed
        .iter()
        .map(|failed| failed.fault.clone())
        .next()
        .unwrap();
    assert!(
        matches!(
            fault.kind(),
            FaultKind::NotOwner {
                rows: 2,
                batch: 3,
                ..
            }
        ),
        "{fault}"
    );
    // An edit, or a mediator that sees the whole batch, does.
    let mut run = Run::new("whole", &sites);
    run.function("identity", Ok);
    run.mediator("swapper", async |cx| {
        cx.set("source.softmax_0.fn", "identity").await
    });
    run.invoke("reader", 3, async |cx| {
        cx.value("source.softmax_0.fn").await
    });
    run.execute(|| model.forward(x())).unwrap();
}

#[test]
fn r90_an_operation_is_skipped_at_its_input() {
    let model = model();
    let sites = Sites::bind(&model).unwrap();
    let mut run = Run::new("skip", &sites);
    let read = run.mediator("skip", async |cx| {
        cx.skip("source.self_fc_0", x()).await?;
        cx.output("source.self_fc_0").await
    });
    let output = run.execute(|| model.forward(x())).unwrap().output;
    assert!(matches!(output, RunOutput::Completed(_)));
    assert!(same(&read.take().unwrap().tensor().unwrap(), &x()));
}

#[test]
fn r91_what_passes_an_operation_has_a_gradient() {
    let device = Device::flex().autodiff();
    let model = Hooked::from(block(1, &device));
    let sites = Sites::bind(&model).unwrap();
    let names = [
        "source.self_fc_0",
        "fc",
        "source.matmul_1.input",
        "source.softmax_0",
        "tap",
    ];
    let mut run = Run::new("gradients", &sites);
    let read = run
        .mediator("read", async |cx| {
            let loss = cx.output("").await?.tensor::<2>()?.sum();
            cx.backward(loss).await?;
            let of_operands = cx.grad("source.matmul_1.input").await?;
            let after = cx.grad("tap").await?;
            let softmax = cx.grad("source.softmax_0").await?;
            let operation = cx.grad("source.self_fc_0").await?;
            let module = cx.grad("fc").await?;
            Ok([of_operands.item(0)?, after, softmax, operation, module])
        })
        .gradients(names);
    run.execute(|| model.forward(tensor_on([3, WIDTH], 5, &device)))
        .unwrap();
    let bits = |value: Value| bits(value.tensor::<2>().unwrap());
    let [operand, after, softmax, operation, module] = read.take().unwrap().map(bits);
    assert_eq!(operand, after);
    assert_eq!(after, softmax);
    assert_eq!(operation, module);
}

#[test]
fn operations_of_another_model_and_without_a_run_pass_no_site() {
    let (model, other) = (model(), model_unbound());
    let sites = Sites::bind(&model).unwrap();
    let mut run = Run::new("other", &sites);
    run.mediator("read", async |cx| cx.output("source.softmax_0").await);
    let error = run
        .execute(|| {
            other.run(
                x(),
                &mut Memory {
                    calls: 0,
                    kept: None,
                },
            )
        })
        .unwrap_err();
    assert_eq!(error.code(), "E051", "{error}");
    let before = other.run(
        x(),
        &mut Memory {
            calls: 0,
            kept: None,
        },
    );
    assert!(same(
        &before,
        &other.run(
            x(),
            &mut Memory {
                calls: 0,
                kept: None
            }
        )
    ));
}

fn model_unbound() -> Block {
    block(1, &Device::flex())
}

/// A function that does one of three things, as its instance says.
#[derive(Module, Debug)]
struct Either {
    #[module(skip)]
    number: usize,
    source: Operations,
}

#[operations]
impl Forward<Tensor<2>> for Either {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = match self.number {
            0 => activation::relu(x),
            1 => activation::silu(x),
            _ => x.tanh(),
        };
        x.mul_scalar(2.0)
    }
}

#[test]
fn r90_what_an_instance_never_comes_to_has_no_sites() {
    let names = ["relu_0", "silu_0", "tanh_0"];
    for number in 0..4 {
        let without = |name: &str| names.get(number).is_some_and(|own| *own != name);
        let without = |name: &str| names.contains(&name) && without(name);
        let model = Hooked::from(Either {
            number,
            source: Operations::new(Either::OPERATIONS).without(without),
        });
        let sites = Sites::bind(&model).unwrap();
        let paths: Vec<_> = sites.paths().skip(1).collect();
        let of = |name: &str| format!("source.{name}");
        let expected: Vec<String> = match names.get(number) {
            Some(own) => [own, "mul_scalar_0"].map(of).to_vec(),
            None => names.into_iter().chain(["mul_scalar_0"]).map(of).collect(),
        };
        assert_eq!(paths, expected);
        let mut run = Run::new("read", &sites);
        let points: Vec<String> = sites
            .points()
            .map(|point| sites.point_name(point))
            .collect();
        let read: Vec<_> = points.iter().map(|name| reader(&mut run, name)).collect();
        let output = run
            .execute(|| model.forward(x()))
            .unwrap()
            .completed()
            .unwrap();
        assert!(same(&output, &model.forward(x())));
        let passed = read
            .into_iter()
            .map(|saved| saved.take().unwrap().is_some());
        let passed: Vec<bool> = passed.collect();
        let never = points.iter().zip(&passed).filter(|(_, passed)| !**passed);
        let never: Vec<_> = never.map(|(name, _)| name.clone()).collect();
        assert!(
            never
                .iter()
                .all(|name| number == 3 && name.contains("_0.") && !name.contains("tanh")),
            "{never:?}"
        );
    }
    // What is left out passes nothing, even where an instance comes to it after all.
    let model = Hooked::from(Either {
        number: 0,
        source: Operations::new(Either::OPERATIONS).without(|name| name == "relu_0"),
    });
    let sites = Sites::bind(&model).unwrap();
    let mut run = Run::new("read", &sites);
    let silu = reader(&mut run, "source.silu_0.output");
    let doubled = reader(&mut run, "source.mul_scalar_0.output");
    run.execute(|| model.forward(x())).unwrap();
    assert!(silu.take().unwrap().is_none());
    assert!(doubled.take().unwrap().is_some());
}
