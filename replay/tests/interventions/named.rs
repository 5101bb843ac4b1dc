//! Interventions by name, called on values without their type.

use interloom::engine::Fault;
use interloom::interventions::NamedInterventions;
use interloom::models::induction::{Induction, Sampler, WIDTH};
use interloom::program::{Form, Modules};
use interloom::{Mode, Run, Session, SessionBuilder};

use interloom_backends::{Erase, Value};

use super::*;

fn table(device: &Device) -> NamedInterventions {
    let mut named = NamedInterventions::new();
    named.add("steer", SteeringVector::of(numbers(1, [6], device)));
    let (rotation, weight) = (numbers(1, [2, 6], device), numbers(2, [2, 6], device));
    let loreft = LoReft::of(rotation, weight, numbers(3, [2], device)).unwrap();
    named.add("reft", loreft);
    named.add("das", Rotation::of(numbers(4, [4, 6], device)).unwrap());
    named.add("sae", autoencoder(FeatureActivation::Relu, device));
    let probe = LinearProbe::of(numbers(5, [2, 6], device), numbers(6, [2], device));
    named.add("probe", probe.unwrap());
    named
}

fn tuple(left: &Tensor<3>, right: &Tensor<3>) -> Value {
    Value::Tuple([left.clone().erase(), right.clone().erase()].into())
}

#[test]
fn r111_a_call_by_name_is_the_call_of_the_module() {
    let device = Device::flex();
    let named = table(&device);
    let (h, other) = (
        numbers(8, [2, 3, 6], &device),
        numbers(9, [2, 3, 6], &device),
    );
    let das = Rotation::of(numbers(4, [4, 6], &device)).unwrap();
    let sae = autoencoder(FeatureActivation::Relu, &device);
    let features = sae.encode(h.clone());
    let edited = features.clone() * 2.0;
    let probe = LinearProbe::of(numbers(5, [2, 6], &device), numbers(6, [2], &device)).unwrap();
    let cases = [
        (
            "steer",
            h.clone().erase(),
            h.clone() + numbers(1, [6], &device).unsqueeze(),
        ),
        ("das", h.clone().erase(), das.rotate(h.clone())),
        (
            "das.interchange",
            tuple(&h, &other),
            das.interchange(h.clone(), other.clone()),
        ),
        ("sae", h.clone().erase(), sae.forward(h.clone())),
        ("sae.encode", h.clone().erase(), features.clone()),
        (
            "sae.decode",
            features.clone().erase(),
            sae.decode(features.clone()),
        ),
        (
            "sae.insert",
            tuple(&h, &edited),
            sae.insert(h.clone(), edited.clone()),
        ),
        ("probe", h.clone().erase(), probe.forward(h.clone())),
    ];
    for (name, input, expected) in cases {
        let made = named.call(name, input.clone()).unwrap();
        assert_eq!(
            bits(&made.tensor::<3>().unwrap()),
            bits(&expected),
            "{name}"
        );
        let form = interloom::program::Operand::form(&input);
        let shape = expected.dims().map(|length| length as u64).to_vec();
        let found = named.form(name, &form).unwrap().unwrap();
        assert_eq!(found, Form::Tensor(shape), "{name}");
    }
    // Of whatever rank.
    let vector = numbers(8, [6], &device);
    let made = named.call("steer", vector.clone().erase()).unwrap();
    assert_eq!(made.tensor::<1>().unwrap().dims(), [6]);
    let callable: Vec<String> = named.callable().collect();
    let expected = "das das.interchange probe reft sae sae.encode sae.decode sae.insert steer";
    assert_eq!(callable.join(" "), expected);
}

#[test]
fn r111_a_call_that_cannot_be_says_why() {
    let device = Device::flex();
    let named = table(&device);
    let h = numbers(8, [2, 3, 5], &device);
    let fault = |name: &str, input: Value| {
        let form = interloom::program::Operand::form(&input);
        let before = named
            .form(name, &form)
            .map(|form| form.unwrap_err().to_string());
        (named.call(name, input).unwrap_err().to_string(), before)
    };
    let (run, before) = fault("steer", h.clone().erase());
    assert_eq!(
        run,
        "`steer` takes floats with a last dimension of 6, found f32[2, 3, 5]"
    );
    assert_eq!(
        before.unwrap(),
        "`steer` takes floats with a last dimension of 6, found a tensor [2, 3, 5]"
    );
    let (run, before) = fault("ste", h.clone().erase());
    assert_eq!(run, before.unwrap());
    assert!(
        run.starts_with("no intervention is called `ste`; nearest: "),
        "{run}"
    );
    assert!(run.contains("`steer`"), "{run}");
    let (run, _) = fault("sae.encod", h.clone().erase());
    assert!(run.contains("`sae.encode`"), "{run}");
    let (other, wide) = (
        numbers(8, [2, 2, 6], &device),
        numbers(8, [2, 3, 6], &device),
    );
    let (run, before) = fault("das.interchange", tuple(&wide, &other));
    assert!(
        run.contains("found [2, 2] before that of the second"),
        "{run}"
    );
    assert!(
        before
            .unwrap()
            .contains("equal but for last dimensions of [6, 6]")
    );
    for (name, input) in [
        ("steer", Value::Unit),
        ("das.interchange", h.clone().erase()),
        ("sae.insert", tuple(&wide, &wide)),
        ("steer", numbers(1, [0, 6], &device).erase()),
    ] {
        assert!(named.call(name, input.clone()).is_err(), "{name} {input}");
    }
}

#[test]
fn r111_names_stand_beside_the_modules_of_a_model() {
    let device = Device::flex();
    let model = |path: &str, _: Value| -> Result<Value, Fault> {
        Ok(Value::Text(format!("the model's {path}").into()))
    };
    let both = table(&device).beside(model);
    let called = both.call("layers.0", Value::Unit).unwrap();
    assert_eq!(
        called.to_string(),
        Value::Text("the model's layers.0".into()).to_string()
    );
    let h = numbers(8, [2, 6], &device);
    assert!(both.call("steer", h.erase()).is_ok());
    assert_eq!(both.shape("probe", &[4, 6]).unwrap().unwrap(), [4, 2]);
    assert!(both.shape("probe", &[4, 5]).unwrap().is_err());
}

#[test]
fn r110_a_changed_parameter_of_a_module_is_named_when_a_journal_is_verified() {
    let device = Device::flex();
    let model = Induction::trained(&device);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ilj");
    let tokens = Sampler::new(3).batch(1).tokens(&device);
    let run = |session: SessionBuilder, mode: Mode, loreft: &LoReft| {
        let mut session = session.module("reft", loreft).open(mode).unwrap();
        let mut run = Run::new("run", model.sites());
        let own = loreft.clone();
        run.mediator("reft", async move |cx| {
            let h = cx.output("layers.0").await?.tensor::<3>()?;
            cx.set_output("layers.0", own.forward(h)).await
        });
        session.run(run, || model.forward(tokens.clone())).unwrap();
        session.finish()
    };
    let loreft = |bias: f32| {
        let (rotation, weight) = (
            numbers(1, [2, WIDTH], &device),
            numbers(2, [2, WIDTH], &device),
        );
        LoReft::of(rotation, weight, numbers(3, [2], &device) + bias).unwrap()
    };
    let recorded = run(
        Session::of(&model),
        Mode::Record(path.clone()),
        &loreft(0.0),
    )
    .unwrap();
    assert!(recorded.is_identical());
    run(
        Session::of(&model),
        Mode::Verify(path.clone()),
        &loreft(0.0),
    )
    .unwrap();
    let error = run(
        Session::of(&model),
        Mode::Verify(path.clone()),
        &loreft(1e-3),
    )
    .unwrap_err();
    assert_eq!(error.code(), "E080");
    let message = error.to_string();
    assert!(
        message.contains("modules: 3 recorded, 3 in this run; 1 changed: reft.bias"),
        "{message}"
    );
    // One that is there without a name in the head is found missing.
    let reader = interloom::journal::JournalReader::open(&path).unwrap();
    let names: Vec<&str> = reader
        .head()
        .modules
        .iter()
        .map(|module| &*module.name)
        .collect();
    assert_eq!(names, ["reft"]);
}
