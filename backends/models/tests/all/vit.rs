//! A tiny ViT against what PyTorch and transformers computed of it.

use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Int, Tensor, TensorData, activation};
use interloom_backends::{Parameters, Run, Value, backward};
use interloom_engine::CacheSpec;
use interloom_models::files::{Safetensors, Weights};
use interloom_models::vit::{Vit, VitConfig};

use crate::gpt2_files::{Stored, read_stored};
use crate::support::{bits, cpu, floats, reader};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vit")
        .join(name)
}

fn load(config: &str) -> Vit {
    let text = std::fs::read_to_string(file(config)).unwrap();
    let weights = Safetensors::open(&file("model.safetensors")).unwrap();
    let weights = Weights::from_safetensors(weights);
    Vit::load(&text, config, weights, &cpu().autodiff()).unwrap()
}

fn find<'e>(expected: &'e [(String, Stored)], key: &str) -> &'e Stored {
    let found = expected.iter().find(|(name, _)| name == key);
    &found.unwrap_or_else(|| panic!("{key}")).1
}

fn pixels(stored: &Stored) -> Tensor<4> {
    let values: Vec<f32> = stored.numbers().into_iter().map(|x| x as f32).collect();
    Tensor::from_data(TensorData::new(values, stored.1.clone()), &cpu().autodiff())
}

fn loss(logits: Tensor<2>, labels: &Stored) -> Tensor<1> {
    let labels = labels.numbers().into_iter().map(|label| label as i32);
    let labels: Vec<i32> = labels.collect();
    let shape = [labels.len(), 1];
    let labels = Tensor::<2, Int>::from_data(TensorData::new(labels, shape), &logits.device());
    activation::log_softmax(logits, 1)
        .gather(1, labels)
        .mean()
        .neg()
}

#[track_caller]
fn assert_close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let furthest = apart.fold(0.0, f64::max);
    assert!(
        furthest <= 1e-4 * largest,
        "{what}: {furthest} of {largest}"
    );
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Tensor(tensor) => tensor.to_data().iter::<f64>().collect(),
        other => panic!("a tensor, found {other}"),
    }
}

#[test]
fn everything_is_what_pytorch_computed() {
    let model = load("config.json");
    let expected = read_stored(&file("expected.safetensors"));
    for case in ["long", "short"] {
        let expected = |key: &str| find(&expected, &format!("{case}.{key}"));
        let mut run = Run::new(case, model.sites());
        let modules = ["layers.0", "layers.1", "layers.2"];
        let cached = run.cache(CacheSpec::of(modules).both().gradients());
        let mut read = vec![(reader(&mut run, "pos_embed.output"), "embed".to_owned())];
        for (layer, module) in modules.into_iter().enumerate() {
            let pattern = reader(&mut run, &format!("{module}.attn.pattern.output"));
            read.push((pattern, format!("attn.{layer}")));
            let output = reader(&mut run, &format!("{module}.output"));
            read.push((output, format!("block.{layer}")));
        }
        let ran = run.execute(|| {
            let logits = model.forward(pixels(expected("pixel_values"))).unwrap();
            let loss = loss(logits.clone(), expected("labels"));
            drop(backward(&loss));
            (logits, loss)
        });
        let (logits, loss) = ran.unwrap().completed().unwrap();
        for (saved, key) in read {
            let found = numbers(&saved.take().unwrap().unwrap());
            assert_close(&key, &found, &expected(&key).numbers());
        }
        let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
        assert_close(
            "logits",
            &wide(floats(logits)),
            &expected("logits").numbers(),
        );
        assert_close("loss", &wide(floats(loss)), &expected("loss").numbers());
        let gradient = numbers(&cached.input_grads("layers.0")[0]);
        assert_close("grad.embed", &gradient, &expected("grad.embed").numbers());
        for (layer, module) in modules.into_iter().enumerate() {
            let key = format!("grad.block.{layer}");
            let gradient = numbers(&cached.output_grads(module)[0]);
            assert_close(&key, &gradient, &expected(&key).numbers());
        }
    }
}

#[test]
fn every_parameter_has_the_gradient_of_pytorch() {
    struct Visitor<'g>(&'g burn::tensor::Gradients, f64);
    impl ModuleVisitor for Visitor<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = param.val().grad(self.0).unwrap().into_data();
            self.1 += gradient.iter::<f64>().map(|x| x * x).sum::<f64>();
        }
    }
    let model = load("config.json");
    let expected = read_stored(&file("expected.safetensors"));
    let gradients = std::fs::read_to_string(file("gradients.json")).unwrap();
    let gradients: serde_json::Value = serde_json::from_str(&gradients).unwrap();
    for case in ["long", "short"] {
        let expected = |key: &str| find(&expected, &format!("{case}.{key}"));
        let logits = model.forward(pixels(expected("pixel_values"))).unwrap();
        let found = loss(logits, expected("labels")).backward();
        let mut visitor = Visitor(&found, 0.0);
        model.model().visit(&mut visitor);
        let of = gradients[case].as_object().unwrap().values();
        let squares = of.map(|one| one["l2"].as_f64().unwrap().powi(2));
        assert_close(case, &[visitor.1.sqrt()], &[squares.sum::<f64>().sqrt()]);
    }
}

#[test]
fn other_configurations_and_images_are_refused() {
    let model = load("config.json");
    let expected = read_stored(&file("expected.safetensors"));
    let image = pixels(find(&expected, "short.pixel_values"));
    if file("config.old.json").exists() {
        let old = load("config.old.json").forward(image.clone()).unwrap();
        assert_eq!(bits(old), bits(model.forward(image.clone()).unwrap()));
    }
    let small = model.forward(image.narrow(3, 0, 8)).unwrap_err();
    insta::assert_snapshot!(small, @"the input does not fit the model: pixels [1, 3, 16, 8]; give it [batch, 3, 16, 16]");
    let read = |text: &str| {
        let error = VitConfig::from_json(text, "config.json").unwrap_err();
        format!("{} {error}", error.code())
    };
    let errors = [
        read(r#"{"model_type": "deit"}"#),
        read(r#"{"model_type": "vit", "image_size": [8, 8, 3]}"#),
        read(r#"{"model_type": "vit", "patch_size": 0}"#),
        read(r#"{"model_type": "vit", "patch_size": 300}"#),
        read(r#"{"model_type": "vit", "hidden_size": 10}"#),
    ];
    insta::assert_snapshot!(errors.join("\n"), @r"
    E043 expected vit, found deit (at key `model_type` of config.json); use a model of the family without it
    E042 expected a height and a width, found [8.0, 8.0, 3.0] (at key `image_size` of config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
    E042 expected 1 to 224, found 0 (at the height of a patch of config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
    E042 expected 1 to 224, found 300 (at the height of a patch of config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
    E042 expected a multiple of the 12 heads, found 10 (at key `hidden_size` of config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
    ");
}

#[test]
fn r96_a_vit() {
    let model = load("config.json");
    let expected = read_stored(&file("expected.safetensors"));
    let pixels = pixels(find(&expected, "short.pixel_values"));
    let forward = || model.forward(pixels.clone()).unwrap().unsqueeze::<3>();
    let count = crate::gradients::compared(model.sites(), &forward);
    assert!(count >= 40, "{count}");
    let parameters = Parameters::of(&**model.model());
    crate::gradients::unchanged(model.sites(), &parameters, &forward);
}
