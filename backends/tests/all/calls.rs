//! R7: modules of a language model, called on values outside their place in it.

use std::rc::Rc;

use interloom_backends::models::llama::LanguageModel;
use interloom_backends::{Erase, Run, Value};
use interloom_engine::Invoke;
use interloom_engine::program::{Machine, Modules, Program, module, var};

use crate::llama_files::{GROUPED, Tiny};
use crate::support::{bits, cpu};

const PROMPT: [u32; 5] = [72, 101, 3, 258, 0];

fn load() -> Rc<LanguageModel> {
    let tiny = Tiny::write(GROUPED);
    Rc::new(LanguageModel::load(tiny.path(), &cpu()).unwrap())
}

fn same(left: Value, right: Value) -> bool {
    bits(left.tensor::<3>().unwrap()) == bits(right.tensor::<3>().unwrap())
}

#[test]
fn every_module_computes_what_it_computes_in_its_place() {
    let model = load();
    let mut run = Run::new("read", model.sites());
    let read = run.mediator("read", |cx| async move {
        Ok([
            cx.input("embed").await?,
            cx.output("embed").await?,
            cx.output("layers.0.ln1").await?,
            cx.output("layers.0.attn").await?,
            cx.output("layers.0.resid_mid").await?,
            cx.output("layers.0.ln2").await?,
            cx.output("layers.0.mlp").await?,
            cx.output("layers.0").await?,
        ])
    });
    let logits = run.execute(|| model.logits(&[&PROMPT])).unwrap();
    let logits = logits.output.unwrap().erase();
    let [tokens, embedded, ln1, attended, middle, ln2, mlp, after] = read.take().unwrap();
    let call = |path: &str, input: &Value| Modules::call(&*model, path, input.clone()).unwrap();
    assert!(same(call("embed", &tokens), embedded.clone()));
    assert!(same(call("layers.0.ln1", &embedded), ln1.clone()));
    assert!(same(call("layers.0.attn", &ln1), attended));
    assert!(same(call("layers.0.ln2", &middle), ln2.clone()));
    assert!(same(call("layers.0.mlp", &ln2), mlp));
    assert!(same(call("layers.0", &embedded), after.clone()));
    let last = (1..model.config().layers).fold(after, |residual, layer| {
        call(&format!("layers.{layer}"), &residual)
    });
    assert!(same(call("unembed", &call("norm", &last)), logits.clone()));
    assert!(same(call("", &tokens), logits));
}

/// A program that calls modules with sites inside them finds its own sites uncounted.
#[test]
fn calls_pass_no_site_of_the_run() {
    let model = load();
    let last = format!("layers.{}.output", model.config().layers - 1);
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
    let logits = run.execute(|| model.logits(&[&PROMPT])).unwrap();
    let late = results.value("late").unwrap();
    assert!(same(late, logits.output.unwrap().erase()));
}

#[test]
fn what_a_module_does_not_take_is_said() {
    let model = load();
    let tokens = model
        .logits(&[&PROMPT])
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
    insta::assert_snapshot!(fault("layers.0.attn.q", &tokens), @"`layers.0.attn.q` cannot be called on a value; of this model `embed`, `layers.N`, its `ln1`, `attn`, `ln2` and `mlp`, `norm` and `unembed` can");
    insta::assert_snapshot!(fault("layers.7", &tokens), @"`layers.7` cannot be called on a value; of this model `embed`, `layers.N`, its `ln1`, `attn`, `ln2` and `mlp`, `norm` and `unembed` can");
    insta::assert_snapshot!(fault("position", &tokens), @"`position` cannot be called on a value; of this model `embed`, `layers.N`, its `ln1`, `attn`, `ln2` and `mlp`, `norm` and `unembed` can");
}
