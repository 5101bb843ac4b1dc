//! Which paths hooked modules get, and what leaves them alone.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::{Gelu, Linear, LinearConfig, Relu};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Distribution, Tensor};
use interloom_backends::{Bound, Forward, Hooked, Run, Sites, Tap, parameters};
use interloom_engine::RowLayout;

use crate::support::{Mlp, bits, cpu, linear, points, read, seed_lock, tensor, tensor_on};

#[derive(Module, Debug)]
enum Choice {
    Wide(Hooked<Linear>),
    Gelu(Hooked<Gelu>),
}

#[derive(Module, Debug)]
struct Inner {
    fc: Hooked<Linear>,
    mid: Tap,
}

#[derive(Module, Debug)]
struct Everything {
    plain: Linear,
    first: Hooked<Linear>,
    some: Option<Hooked<Linear>>,
    none: Option<Hooked<Linear>>,
    list: Vec<Hooked<Inner>>,
    array: [Hooked<Relu>; 2],
    pair: (Hooked<Linear>, Inner),
    choice: Choice,
    other: Choice,
    empty: Vec<Hooked<Linear>>,
    taps: Vec<Tap>,
    width: usize,
}

fn inner(salt: usize) -> Inner {
    Inner {
        fc: linear(2, 2, salt, &cpu()).into(),
        mid: Tap::new(),
    }
}

#[test]
fn paths_follow_fields_lists_options_arrays_tuples_and_variants() {
    let fc = |salt| linear(2, 2, salt, &cpu());
    let model = Everything {
        plain: fc(0),
        first: fc(1).into(),
        some: Some(fc(2).into()),
        none: None,
        list: vec![inner(3).into(), inner(4).into()],
        array: [Relu::new().into(), Relu::new().into()],
        pair: (fc(5).into(), inner(6)),
        choice: Choice::Wide(fc(7).into()),
        other: Choice::Gelu(Gelu::new().into()),
        empty: Vec::new(),
        taps: vec![Tap::new(), Tap::new()],
        width: 2,
    };
    assert_eq!(model.width, 2);
    let model = Bound::new(model).unwrap();
    insta::assert_snapshot!(points(model.sites()).join("\n"), @r"
    first.input
    first.output
    some.input
    some.output
    list.0.input
    list.0.output
    list.0.fc.input
    list.0.fc.output
    list.0.mid.output
    list.1.input
    list.1.output
    list.1.fc.input
    list.1.fc.output
    list.1.mid.output
    array.0.input
    array.0.output
    array.1.input
    array.1.output
    pair.0.input
    pair.0.output
    pair.1.fc.input
    pair.1.fc.output
    pair.1.mid.output
    choice.Wide.input
    choice.Wide.output
    other.Gelu.input
    other.Gelu.output
    taps.0.output
    taps.1.output
    ");
}

#[test]
fn the_model_itself_is_the_empty_path() {
    let model = Mlp::bound(1);
    insta::assert_snapshot!(points(model.sites()).join("\n"), @r"
    input
    output
    up.input
    up.output
    act.input
    act.output
    down.input
    down.output
    ");
}

mod plain {
    use super::*;

    #[derive(Module, Debug)]
    pub(super) struct Net {
        pub(super) layers: Vec<Layer>,
        pub(super) head: Linear,
    }

    #[derive(Module, Debug)]
    pub(super) struct Layer {
        pub(super) fc: Linear,
        pub(super) act: Gelu,
    }

    pub(super) fn net(salt: usize) -> Net {
        let layer = |index| Layer {
            fc: linear(3, 3, salt + index, &cpu()),
            act: Gelu::new(),
        };
        Net {
            layers: (0..2).map(layer).collect(),
            head: linear(3, 2, salt + 9, &cpu()),
        }
    }
}

mod hooked {
    use super::*;

    #[derive(Module, Debug)]
    pub(super) struct Net {
        pub(super) layers: Vec<Hooked<Layer>>,
        pub(super) head: Hooked<Linear>,
    }

    #[derive(Module, Debug)]
    pub(super) struct Layer {
        pub(super) fc: Hooked<Linear>,
        pub(super) act: Hooked<Gelu>,
    }

    pub(super) fn net(salt: usize) -> Hooked<Net> {
        let layer = |index| {
            Hooked::from(Layer {
                fc: linear(3, 3, salt + index, &cpu()).into(),
                act: Gelu::new().into(),
            })
        };
        Net {
            layers: (0..2).map(layer).collect(),
            head: linear(3, 2, salt + 9, &cpu()).into(),
        }
        .into()
    }
}

#[test]
fn parameter_paths_are_those_without_hooks() {
    let (plain, hooked) = (plain::net(1), hooked::net(1));
    assert_eq!(parameters(&plain), parameters(&hooked));
    assert_eq!(plain.num_params(), hooked.num_params());
    let paths: Vec<String> = parameters(&hooked)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    insta::assert_snapshot!(paths.join(" "), @"layers.0.fc.weight layers.0.fc.bias layers.1.fc.weight layers.1.fc.bias head.weight head.bias");
}

#[test]
fn records_go_both_ways_between_hooked_and_plain() {
    // Burn refuses a record with a missing or an unused entry.
    let hooked = hooked::net(2).load_record(plain::net(1).into_record());
    assert_eq!(parameters(&hooked), parameters(&plain::net(1)));
    let bytes = hooked.into_record().into_bytes().unwrap();
    let record = burn::store::ModuleRecord::from_bytes(bytes).unwrap();
    let plain = plain::net(3).load_record(record);
    assert_eq!(parameters(&plain), parameters(&plain::net(1)));
}

#[test]
fn display_is_that_without_hooks() {
    assert_eq!(plain::net(1).to_string(), hooked::net(1).to_string());
    let bound = Bound::new(hooked::net(1)).unwrap();
    assert_eq!(plain::net(1).to_string(), bound.to_string());
}

/// Asserts that the model's layers are still at their paths.
fn assert_passes(model: &Hooked<Mlp>, sites: &Sites, device: &Device, what: &str) {
    let x = tensor_on([2, 4], 3, device);
    let read = read(
        sites,
        ["input", "up.output", "act.output", "output"],
        || model.forward(x),
    );
    assert!(read.iter().all(Option::is_some), "{what}: {read:?}");
}

#[test]
fn clones_and_conversions_keep_paths() {
    struct Doubled;
    impl ModuleMapper for Doubled {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor * 2.0)
        }
    }
    type Conversion = fn(Hooked<Mlp>) -> Hooked<Mlp>;
    let conversions: [(&str, Conversion); 9] = [
        ("clone", |model| model.clone()),
        ("fork", |model| model.fork(&cpu())),
        ("to_device", |model| model.to_device(&cpu())),
        ("valid", |model| model.valid()),
        ("train", Module::train),
        ("materialize", Module::materialize),
        ("no_grad", Module::no_grad),
        ("map", |model| model.map(&mut Doubled)),
        ("load_record", |model| {
            let record = Mlp::new(7, &cpu()).into_record();
            model.load_record(record)
        }),
    ];
    for (what, convert) in conversions {
        let model = Mlp::bound(1).map(convert);
        let device = if what == "train" {
            cpu().autodiff()
        } else {
            cpu()
        };
        assert_passes(&model, model.sites(), &device, what);
    }
}

#[test]
fn an_optimiser_step_keeps_paths() {
    let device = cpu().autodiff();
    let model = Bound::new(Hooked::from(Mlp::new(1, &device))).unwrap();
    let before = parameters(&*model);
    let mut optimizer = SgdConfig::new().init();
    let loss = model.forward(tensor_on([2, 4], 3, &device)).mean();
    let gradients = GradientsParams::from_grads(loss.backward(), &*model);
    let model = model.map(|model| optimizer.step(0.1, model, gradients));
    assert_ne!(before, parameters(&*model), "the step changed something");
    assert_passes(&model, model.sites(), &device, "optimiser step");
    assert_passes(
        &model.valid(),
        model.sites(),
        &cpu(),
        "valid after the step",
    );
}

#[derive(Module, Debug)]
struct Stack {
    layers: Vec<Hooked<Linear>>,
}

impl Forward<Tensor<2>> for Stack {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.layers.iter().fold(x, |x, layer| layer.forward(x))
    }
}

#[test]
fn a_layer_cloned_four_times_has_four_paths() {
    let layer = Hooked::from(linear(3, 3, 1, &cpu()));
    let stack = Stack {
        layers: vec![layer; 4],
    };
    let model = Bound::new(stack).unwrap();
    let names = [
        "layers.0.input",
        "layers.0.output",
        "layers.1.output",
        "layers.2.output",
        "layers.3.output",
    ];
    let read = read(model.sites(), names, || model.forward(tensor([1, 3], 5)));
    let mut expected = tensor([1, 3], 5);
    for value in read {
        let value: Tensor<2> = value.unwrap().tensor().unwrap();
        assert_eq!(bits(value), bits(expected.clone()));
        expected = model.layers[0].forward(expected);
    }
}

#[derive(Module, Debug)]
struct Twins {
    left: Hooked<Linear>,
    right: Hooked<Linear>,
}

#[test]
fn a_parameter_that_is_shared_at_two_places_has_two_paths() {
    let left = Hooked::from(linear(3, 3, 1, &cpu()));
    let right = left.clone();
    assert_eq!(left.inner().weight.id, right.inner().weight.id);
    let model = Bound::new(Twins { left, right }).unwrap();
    let x = || tensor([1, 3], 2);
    let names = ["left.output.i0", "left.output.i1", "right.output.i0"];
    let [left, again, right] = read(model.sites(), names, || {
        model.left.forward(x());
        model.right.forward(x() * 2.0);
    });
    assert!(again.is_none());
    let bits =
        |value: Option<interloom_backends::Value>| bits::<2>(value.unwrap().tensor().unwrap());
    assert_ne!(bits(left), bits(right));
}

#[test]
fn one_cell_called_five_times_counts_iterations() {
    let model = Mlp::bound(1);
    let names = [
        "up.output.i0",
        "up.output.i1",
        "up.output.i4",
        "up.input.i4",
        "up.output.i5",
    ];
    let read = read(model.sites(), names, || {
        for step in 0..5 {
            model.inner().up.forward(tensor([1, 4], step));
        }
    });
    for (value, step) in read.iter().zip([0, 1, 4]) {
        let value: Tensor<2> = value.clone().unwrap().tensor().unwrap();
        let expected = model.inner().up.forward(tensor([1, 4], step));
        assert_eq!(bits(value), bits(expected), "iteration {step}");
    }
    assert!(read[3].is_some());
    assert!(read[4].is_none());
}

#[test]
fn a_module_moved_to_another_model_has_its_new_path_and_the_old_model_still_works() {
    let old = Mlp::bound(1);
    let x = || tensor([2, 4], 3);
    // Once as a clone, once moved out of the bound model.
    let cloned = old.inner().up.clone();
    let moved = old.clone().into_inner().into_inner().up;
    for layer in [cloned, moved] {
        let new = Bound::new(Stack {
            layers: vec![layer],
        })
        .unwrap();
        let [passed] = read(new.sites(), ["layers.0.output"], || new.forward(x()));
        assert!(passed.is_some());
        assert_passes(&old, old.sites(), &cpu(), "the old model");
        // In a run of the old model the new one passes nothing, although its layer came from there.
        let [passed] = read(old.sites(), ["up.output"], || new.forward(x()));
        assert!(passed.is_none());
    }
}

#[test]
fn a_run_of_one_model_passes_no_sites_of_another() {
    let (one, two) = (Mlp::bound(1), Mlp::bound(2));
    let x = || tensor([2, 4], 3);
    assert_eq!(points(one.sites()), points(two.sites()));
    let names = ["up.output.i0", "up.output.i1", "output.i0"];
    let [first, second, output] = read(one.sites(), names, || {
        two.forward(x());
        one.forward(x());
        two.forward(x());
    });
    let first: Tensor<2> = first.unwrap().tensor().unwrap();
    assert_eq!(bits(first), bits(one.inner().up.forward(x())));
    assert!(second.is_none());
    let output: Tensor<2> = output.unwrap().tensor().unwrap();
    assert_eq!(bits(output), bits(one.forward(x())));
}

#[test]
fn unbound_modules_pass_no_site() {
    let (bound, unbound) = (Mlp::bound(1), Hooked::from(Mlp::new(1, &cpu())));
    let [output] = read(bound.sites(), ["output"], || {
        unbound.forward(tensor([2, 4], 3))
    });
    assert!(output.is_none());
}

#[test]
fn a_module_is_hooked_once_only() {
    let twice = || Hooked::<Hooked<Linear>>::from(Hooked::from(linear(2, 2, 1, &cpu())));
    let error = Bound::new(twice()).unwrap_err();
    assert_eq!(error.code(), "E030");
    insta::assert_snapshot!(error, @"two hooked modules have the path ``; wrap a module in `Hooked` once only");

    let layers = vec![twice(), twice()];
    insta::assert_snapshot!(Bound::new(layers).unwrap_err(), @"two hooked modules have the path `0`; wrap a module in `Hooked` once only");
}

#[test]
fn a_model_needs_a_site() {
    let error = Bound::new(linear(2, 2, 1, &cpu())).unwrap_err();
    assert_eq!(error.code(), "E031");
    insta::assert_snapshot!(error, @"the model has no sites; wrap the modules that you want to reach in `Hooked`");
}

#[test]
fn aliases_and_row_layouts_need_points() {
    let alias = |point: &str| ("resid".to_owned(), point.to_owned());
    let model = Mlp::bound(1).with_aliases([alias("act.output")]).unwrap();
    let [aliased, plain] = read(model.sites(), ["resid", "act.output"], || {
        model.forward(tensor([1, 4], 1))
    });
    let bits =
        |value: Option<interloom_backends::Value>| bits::<2>(value.unwrap().tensor().unwrap());
    assert_eq!(bits(aliased), bits(plain));

    let error = Mlp::bound(1)
        .with_aliases([alias("act.outptu")])
        .unwrap_err();
    assert_eq!(error.code(), "E032");
    insta::assert_snapshot!(error, @"the model has no point `act.outptu`; nearest: act.output, act.input, up.output");
    let error = Mlp::bound(1)
        .with_rows("upp.input", RowLayout::Shared)
        .unwrap_err();
    assert_eq!(error.code(), "E032");
    insta::assert_snapshot!(error, @"the model has no point `upp.input`; nearest: up.input, act.input, down.input");
}

#[test]
fn an_alias_of_a_copy_leaves_the_original_alone() {
    let model = Mlp::bound(1);
    let copy = model
        .clone()
        .with_aliases([("resid".to_owned(), "act.output".to_owned())])
        .unwrap();
    assert!(copy.sites().point("resid").is_some());
    assert!(model.sites().point("resid").is_none());
}

/// A module whose walk fails.
#[derive(Clone, Debug)]
struct Broken(Hooked<Linear>);

impl Module for Broken {
    fn collect_devices(&self, devices: Vec<Device>) -> Vec<Device> {
        devices
    }
    fn fork(self, _: &Device) -> Self {
        self
    }
    fn to_device(self, _: &Device) -> Self {
        self
    }
    fn train(self) -> Self {
        self
    }
    fn valid(&self) -> Self {
        self.clone()
    }
    fn materialize(self) -> Self {
        self
    }
    fn visit<V: burn::module::ModuleVisitor>(&self, visitor: &mut V) {
        self.0.visit(visitor);
        panic!("this module cannot be walked");
    }
    fn map<M: ModuleMapper>(self, _: &mut M) -> Self {
        self
    }
}

#[test]
fn a_binding_that_panics_leaves_nothing_behind() {
    let bound = Mlp::bound(1);
    let broken = Broken(linear(2, 2, 1, &cpu()).into());
    let result = catch_unwind(AssertUnwindSafe(|| Bound::new(broken).map(|_| ())));
    assert!(result.is_err());
    // A walk for another purpose must not be taken for the rest of that binding.
    parameters(&*bound);
    assert_passes(&bound, bound.sites(), &cpu(), "after a failed binding");
}

/// A model whose parameters are drawn, as `init` has them.
fn drawn(device: &Device) -> Hooked<Mlp> {
    let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
    Hooked::from(Mlp {
        up: linear(4, 5).into(),
        act: Gelu::new().into(),
        down: linear(5, 3).into(),
    })
}

/// Burn draws a parameter when it is first used, so that a skip or another draw in the first run
/// would give a variant other weights than its control.
#[test]
fn the_first_run_of_a_fresh_model_does_not_change_its_weights() {
    let _seed = seed_lock();
    let device = cpu();
    let weights = |intervene: fn(&mut Run)| {
        device.seed(11);
        let model = Bound::new(drawn(&device)).unwrap();
        let mut run = Run::new("first", model.sites());
        intervene(&mut run);
        run.execute(|| model.forward(tensor([2, 4], 3))).unwrap();
        parameters(&*model)
    };
    let control = weights(|_| {});
    let skips = weights(|run| {
        run.mediator("skips", async |cx| cx.skip("up", tensor([2, 5], 1)).await);
    });
    let draws = weights(|run| {
        run.mediator("draws", async |cx| {
            let noise = Tensor::<2>::random([2, 5], Distribution::Default, &cpu());
            cx.set_output("up", noise).await
        });
    });
    let stops = weights(|run| {
        run.mediator("stops", async |cx| cx.stop().await.map(drop));
    });
    assert_eq!(control, skips);
    assert_eq!(control, draws);
    assert_eq!(control, stops);
    // They are those of burn, in the order of the module tree.
    device.seed(11);
    assert_eq!(control, parameters(&drawn(&device)));
}
