//! R7: modules of a language model, called on values outside their place in it.

use std::rc::Rc;

use burn::tensor::TensorData;
use interloom_backends::{Erase, Run, Sites, Value};
use interloom_engine::Invoke;
use interloom_models::LanguageModel;
use interloom_models::induction::Induction;
use interloom_program::{Machine, Modules, Operand, Program, module, var};

use crate::families::{families, layers_of, opened};
use crate::gpt2_files;
use crate::llama_files::{GROUPED, POSITIONS, Tiny};
use crate::support::{bits, cpu};

const PROMPT: [u32; 5] = [72, 101, 3, 25, 0];

fn load() -> Rc<LanguageModel> {
    let tiny = Tiny::write(GROUPED);
    Rc::new(LanguageModel::load(tiny.path(), &cpu()).unwrap())
}

fn load_gpt2() -> LanguageModel {
    let folder = gpt2_files::folder(gpt2_files::CONFIG, &gpt2_files::stored("model.f32"));
    LanguageModel::load(folder.path().to_str().unwrap(), &cpu()).unwrap()
}

fn same(left: Value, right: Value) -> bool {
    bits(left.tensor::<3>().unwrap()) == bits(right.tensor::<3>().unwrap())
}

#[test]
fn every_module_computes_what_it_computes_in_its_place() {
    computes_in_its_place(&load(), GROUPED.layers);
    computes_in_its_place(&load_gpt2(), 3);
}

fn computes_in_its_place(model: &LanguageModel, layers: usize) {
    let mut run = Run::new("read", model.sites());
    let read = run.mediator("read", |cx| async move {
        Ok([
            cx.input("embed").await?,
            cx.output("embed").await?,
            cx.input("layers.0").await?,
            cx.output("layers.0.ln1").await?,
            cx.output("layers.0.attn").await?,
            cx.output("layers.0.resid_mid").await?,
            cx.output("layers.0.ln2").await?,
            cx.output("layers.0.mlp").await?,
            cx.output("layers.0").await?,
        ])
    });
    let logits = run
        .execute(|| model.batch(&[&PROMPT]).unwrap().logits())
        .unwrap();
    let logits = logits.output.ok().unwrap().erase();
    let [
        tokens,
        embedded,
        before,
        ln1,
        attended,
        middle,
        ln2,
        mlp,
        after,
    ] = read.take().unwrap();
    let call = |path: &str, input: &Value| Modules::call(model, path, input.clone()).unwrap();
    assert!(same(call("embed", &tokens), embedded.clone()));
    assert!(same(call("layers.0.ln1", &before), ln1.clone()));
    assert!(same(call("layers.0.attn", &ln1), attended));
    assert!(same(call("layers.0.ln2", &middle), ln2.clone()));
    assert!(same(call("layers.0.mlp", &ln2), mlp));
    assert!(same(call("layers.0", &before), after.clone()));
    let last = (1..layers).fold(after, |residual, layer| {
        call(&format!("layers.{layer}"), &residual)
    });
    assert!(same(call("unembed", &call("norm", &last)), logits.clone()));
    assert!(same(call("", &tokens), logits));
}

/// A program that calls modules with sites inside them finds its own sites uncounted.
#[test]
fn calls_pass_no_site_of_the_run() {
    let model = load();
    let last = format!("layers.{}.output", GROUPED.layers - 1);
    let program = Program::new()
        .read("embed.output", "h")
        .set(
            "early",
            module("unembed", module("norm", module("layers.0", var("h")))),
        )
        .read("layers.0.attn.pattern.output.i0", "pattern")
        .read(&last, "h")
        .set("late", module("unembed", module("norm", var("h"))))
        .save("late");
    let modules = model.clone();
    let machine = Machine::new(&program, model.sites().map()).unwrap();
    let machine = machine.modules(move |path: &str, input| Modules::call(&*modules, path, input));
    let results = machine.results();
    let mut run = Run::new("lens", model.sites());
    run.add(Invoke::new("lens", machine));
    let logits = run
        .execute(|| model.batch(&[&PROMPT]).unwrap().logits())
        .unwrap();
    let late = results.value("late").unwrap();
    assert!(same(late, logits.output.ok().unwrap().erase()));
}

#[test]
fn what_a_module_does_not_take_is_said() {
    let model = load();
    let tokens = model
        .batch(&[&PROMPT])
        .unwrap()
        .logits()
        .argmax(2)
        .squeeze_dim::<2>(2)
        .erase();
    let fault = |path: &str, input: &Value| {
        let result = Modules::call(&*model, path, input.clone());
        result.unwrap_err().to_string()
    };
    let long = Value::from(burn::tensor::Tensor::<3>::zeros([1, 4000, 16], &cpu()));
    insta::assert_snapshot!(fault("norm", &tokens), @"`norm` takes floats of [batch, 1 to 24 positions, 16], found i32[1, 5]");
    insta::assert_snapshot!(fault("layers.0", &long), @"`layers.0` takes floats of [batch, 1 to 24 positions, 16], found f32[1, 4000, 16]");
    insta::assert_snapshot!(fault("embed", &Value::Float(1.0)), @"`embed` takes tokens below 260 of [batch, 1 to 24 positions], found 1.0");
    insta::assert_snapshot!(fault("layers.0.attn.q", &tokens), @"`layers.0.attn.q` cannot be called on a value; of this model `embed`, `layers.N`, its norms, `attn` and `mlp`, and, of those that it has, `project_in`, `embed_norm`, `norm`, `project_out`, `transform` and `unembed` can");
    insta::assert_snapshot!(fault("layers.7", &tokens), @"`layers.7` cannot be called on a value; of this model `embed`, `layers.N`, its norms, `attn` and `mlp`, and, of those that it has, `project_in`, `embed_norm`, `norm`, `project_out`, `transform` and `unembed` can");
    insta::assert_snapshot!(fault("position", &tokens), @"`position` cannot be called on a value; of this model `embed`, `layers.N`, its norms, `attn` and `mlp`, and, of those that it has, `project_in`, `embed_norm`, `norm`, `project_out`, `transform` and `unembed` can");
}

#[test]
fn r7_the_lens_on_the_last_block_of_every_family_is_its_logits() {
    for name in families() {
        let folder = opened(&name, "config.json").unwrap();
        let model = LanguageModel::load(folder.path().to_str().unwrap(), &cpu()).unwrap();
        lens_is_logits(&name, &model);
        // Attention over the longest sequence takes long where there is no short one.
        let positions = model.positions() as u64;
        if positions <= 64 {
            let widths = ["layers.0.input", "unembed.input"].map(|site| width_of(&model, site));
            let taken = widths.map(|width| taken_of(&model, model.sites(), width, positions));
            assert!(taken.iter().sum::<u32>() > 10, "{name}: {taken:?}");
        }
    }
}

/// Checks that what is behind the blocks, called on what the last of them makes, makes the logits.
pub(crate) fn lens_is_logits(name: &str, model: &LanguageModel) {
    let has = |site: &str| model.sites().point(site).is_some();
    let last = format!("layers.{}", layers_of(model) - 1);
    let mut run = Run::new("lens", model.sites());
    let read = run.mediator("read", async move |cx| cx.output(last.as_str()).await);
    let logits = run.execute(|| model.batch(&[&PROMPT]).unwrap().logits());
    let logits = logits.unwrap().output.ok().unwrap();
    let mut x = read.take().unwrap();
    let behind = ["norm", "project_out", "transform", "unembed"];
    for path in behind.iter().filter(|path| has(&format!("{path}.output"))) {
        x = Modules::call(model, path, x).unwrap();
    }
    assert!(same(x, logits.erase()), "{name}");
}

fn width_of(model: &LanguageModel, site: &str) -> u64 {
    let mut run = Run::new("width", model.sites());
    let site = site.to_owned();
    let read = run.mediator("read", async move |cx| cx.value(site.as_str()).await);
    run.execute(|| model.batch(&[&PROMPT]).unwrap().logits())
        .unwrap();
    *Operand::shape(&read.take().unwrap())
        .unwrap()
        .last()
        .unwrap()
}

fn zeros(shape: &[u64], is_float: bool) -> Value {
    let shape: Vec<usize> = shape.iter().map(|&length| length as usize).collect();
    let data = match is_float {
        true => TensorData::zeros::<f32, _>(shape),
        false => TensorData::zeros::<i32, _>(shape),
    };
    Value::from_data(data, &cpu()).unwrap()
}

fn calls_are_foreseen(model: &impl Modules<Value>, sites: &Sites, width: u64, positions: u64) {
    let taken = taken_of(model, sites, width, positions);
    assert!(taken > 10, "{taken}");
}

/// A shape is refused exactly if no tensor of that shape is taken, and the shape of what comes out
/// is known. Returns how many are taken.
fn taken_of(model: &impl Modules<Value>, sites: &Sites, width: u64, positions: u64) -> u32 {
    let shapes: [&[u64]; 9] = [
        &[1, 5],
        &[3, positions],
        &[3, positions + 1],
        &[1, 5, width],
        &[2, positions, width],
        &[2, positions + 1, width],
        &[1, 5, width + 1],
        &[width],
        &[1, 1, 5, width],
    ];
    let mut taken = 0;
    for path in sites.map().paths() {
        for shape in shapes {
            let called = [true, false].map(|is_float| {
                let made = model.call(path, zeros(shape, is_float)).ok()?;
                Operand::shape(&made)
            });
            let made = called.into_iter().flatten().next();
            let foreseen = model.shape(path, shape).expect("it says of every path");
            assert_eq!(foreseen.as_ref().ok(), made.as_ref(), "{path} {shape:?}");
            taken += u32::from(made.is_some());
        }
    }
    assert!(model.shape("embed", &[0, 5]).unwrap().is_err());
    taken
}

#[test]
fn what_a_call_makes_is_known_by_its_shape() {
    let tiny = Tiny::write(GROUPED);
    let model = LanguageModel::load(tiny.path(), &cpu()).unwrap();
    let gpt2 = load_gpt2();
    calls_are_foreseen(&gpt2, gpt2.sites(), 32, 64);
    let (width, positions) = (GROUPED.width as u64, POSITIONS as u64);
    calls_are_foreseen(&model, model.sites(), width, positions);
    let model = Induction::trained(&cpu());
    let inner: &Induction = model.inner();
    calls_are_foreseen(inner, model.sites(), 64, 48);
}
