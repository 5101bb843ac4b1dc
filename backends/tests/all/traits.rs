//! Every burn trait that a module has, on modules with hooks and taps in all kinds of places.
//!
//! A twin without hooks goes through the same, and must come out the same.

use std::path::Path;

use burn::module::{
    DisplaySettings, Lora, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, Param,
    ParamGroup,
};
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear};
use burn::store::ModuleRecord;
use burn::tensor::{Device, Tensor};
use interloom_backends::{Bound, Forward, Hooked, Tap, parameters};

use crate::support::{bits, cpu, linear, points, read, tensor_on};

/// Hooks and taps as fields, in lists, options, arrays and tuples, and inside of one another.
#[derive(Module, Debug)]
struct Net {
    one: Hooked<Linear>,
    tap: Tap,
    list: Vec<Hooked<Inner>>,
    maybe: Option<Hooked<Linear>>,
    nothing: Option<Hooked<Linear>>,
    array: [Hooked<Dropout>; 2],
    pair: (Hooked<Linear>, Tap),
    taps: Vec<Tap>,
    some: Option<Tap>,
    none: Option<Tap>,
    norm: Hooked<BatchNorm>,
}

#[derive(Module, Debug)]
struct Inner {
    fc: Hooked<Linear>,
    mid: Tap,
}

impl Net {
    fn new(salt: usize, device: &Device) -> Self {
        let fc = |place| Hooked::from(linear(3, 3, salt + place, device));
        let inner = |place| {
            Hooked::from(Inner {
                fc: fc(place),
                mid: Tap::new(),
            })
        };
        Self {
            one: fc(0),
            tap: Tap::new(),
            list: vec![inner(1), inner(2)],
            maybe: Some(fc(3)),
            nothing: None,
            array: [0, 1].map(|_| DropoutConfig::new(0.0).init().into()),
            pair: (fc(4), Tap::new()),
            taps: vec![Tap::new(), Tap::new()],
            some: Some(Tap::new()),
            none: None,
            norm: BatchNormConfig::new(3).init(device).into(),
        }
    }
}

impl Forward<Tensor<2>> for Inner {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.mid.pass(self.fc.forward(x))
    }
}

impl Forward<Tensor<2>> for Net {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.tap.pass(self.one.forward(x));
        let x = self.list.iter().fold(x, |x, inner| inner.forward(x));
        let x = self.maybe.iter().fold(x, |x, fc| fc.forward(x));
        let x = self.array.iter().fold(x, |x, dropout| dropout.forward(x));
        let x = self.pair.1.pass(self.pair.0.forward(x));
        let taps = self.taps.iter().chain(&self.some);
        let x = taps.fold(x, |x, tap| tap.pass(x));
        self.norm.forward(x)
    }
}

/// The same without hooks.
#[derive(Module, Debug)]
struct Plain {
    one: Linear,
    list: Vec<PlainInner>,
    maybe: Option<Linear>,
    nothing: Option<Linear>,
    array: [Dropout; 2],
    pair: (Linear, Vec<Linear>),
    norm: BatchNorm,
}

#[derive(Module, Debug)]
struct PlainInner {
    fc: Linear,
}

impl Plain {
    fn new(salt: usize, device: &Device) -> Self {
        let fc = |place| linear(3, 3, salt + place, device);
        Self {
            one: fc(0),
            list: vec![PlainInner { fc: fc(1) }, PlainInner { fc: fc(2) }],
            maybe: Some(fc(3)),
            nothing: None,
            array: [0, 1].map(|_| DropoutConfig::new(0.0).init()),
            pair: (fc(4), Vec::new()),
            norm: BatchNormConfig::new(3).init(device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.one.forward(x);
        let x = self.list.iter().fold(x, |x, inner| inner.fc.forward(x));
        let x = self.maybe.iter().fold(x, |x, fc| fc.forward(x));
        let x = self.array.iter().fold(x, |x, dropout| dropout.forward(x));
        self.norm.forward(self.pair.0.forward(x))
    }
}

/// What can be done to a module.
#[derive(Clone, Copy, Debug)]
enum Conversion {
    Clone,
    Fork,
    ToDevice,
    Train,
    Valid,
    Materialize,
    NoGrad,
    Freeze,
    Unfreeze,
    FreezeGroup,
    Map,
    Record,
    Bytes,
    File,
    Lora,
}

impl Conversion {
    const ALL: [Self; 15] = [
        Self::Clone,
        Self::Fork,
        Self::ToDevice,
        Self::Train,
        Self::Valid,
        Self::Materialize,
        Self::NoGrad,
        Self::Freeze,
        Self::Unfreeze,
        Self::FreezeGroup,
        Self::Map,
        Self::Record,
        Self::Bytes,
        Self::File,
        Self::Lora,
    ];

    /// Converts `model`; `other` is one of other weights, which records come from.
    fn convert<M: Module>(self, model: M, other: M, device: &Device, folder: &Path) -> M {
        match self {
            Self::Clone => model.clone(),
            Self::Fork => model.fork(device),
            Self::ToDevice => model.to_device(device),
            Self::Train => model.train(),
            Self::Valid => model.valid(),
            Self::Materialize => model.materialize(),
            Self::NoGrad => model.no_grad(),
            Self::Freeze => model.freeze(),
            Self::Unfreeze => model.unfreeze(),
            Self::FreezeGroup => model.freeze_group(ParamGroup::from_path("pair.0.weight")),
            Self::Map => model.map(&mut Doubled),
            Self::Record => model.load_record(other.into_record()),
            Self::Bytes => {
                let bytes = other.into_record().into_bytes().unwrap();
                model.load_record(ModuleRecord::from_bytes(bytes).unwrap())
            }
            Self::File => {
                let file = folder.join("net.bpk");
                other.save_file(&file).unwrap();
                model.load_file(&file)
            }
            Self::Lora => model.apply_lora(Lora::new(1, 1.0)),
        }
    }
}

struct Doubled;

impl ModuleMapper for Doubled {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor * 2.0)
    }
}

#[test]
fn every_conversion_does_what_it_does_without_hooks_and_keeps_the_sites() {
    // Adapters are drawn.
    let _seed = crate::support::seed_lock();
    // Burn reads a file when its parameters are used.
    let [hooked, unhooked] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for device in [cpu(), cpu().autodiff()] {
        for conversion in Conversion::ALL {
            let model = Bound::new(Hooked::from(Net::new(1, &device))).unwrap();
            let names = points(model.sites());
            let other = Hooked::from(Net::new(7, &device));
            device.seed(5);
            let model = model.map(|model| conversion.convert(model, other, &device, hooked.path()));
            let all = parameters(&*model);
            device.seed(5);
            let (plain, other) = (Plain::new(1, &device), Plain::new(7, &device));
            let plain = conversion.convert(plain, other, &device, unhooked.path());
            assert_eq!(all, parameters(&plain), "{conversion:?}");
            assert_eq!(Module::num_params(&*model), Module::num_params(&plain));
            assert_eq!(model.devices(), plain.devices());

            let device = plain.one.weight.val().device();
            let x = || tensor_on::<2>([2, 3], 3, &device);
            let mut output = None;
            let names: [&str; 27] = std::array::from_fn(|place| &*names[place]);
            let read = read(model.sites(), names, || {
                output = Some(model.forward(x()));
            });
            assert!(read.iter().all(Option::is_some), "{conversion:?}");
            let output = output.unwrap();
            let expected = plain.forward(x());
            assert_eq!(output.is_tracked(), expected.is_tracked(), "{conversion:?}");
            assert_eq!(bits(output), bits(expected), "{conversion:?}");
        }
    }
}

#[test]
fn a_model_with_hooks_and_taps_is_displayed() {
    let (net, plain) = (Net::new(1, &cpu()), Plain::new(1, &cpu()));
    insta::assert_snapshot!(net, @"
    Net {
      one: Linear {d_input: 3, d_output: 3, bias: true, params: 12}
      tap: Tap
      list: Vec<0..2> {
        0: Inner {
          fc: Linear {d_input: 3, d_output: 3, bias: true, params: 12}
          mid: Tap
          params: 12
        }
        1: Inner {
          fc: Linear {d_input: 3, d_output: 3, bias: true, params: 12}
          mid: Tap
          params: 12
        }
      }
      maybe: Linear {d_input: 3, d_output: 3, bias: true, params: 12}
      nothing: None
      array: [0..2] {
        0: Dropout {prob: 0}
        1: Dropout {prob: 0}
      }
      pair: (L0, L1) {
        0: Linear {d_input: 3, d_output: 3, bias: true, params: 12}
        1: Tap
      }
      taps: Vec<0..2> {
        0: Tap
        1: Tap
      }
      some: Tap
      none: None
      norm: BatchNorm {num_features: 3, momentum: 0.1, epsilon: 0.00001, params: 12}
      params: 72
    }
    ");
    let shown = |settings: DisplaySettings| {
        let (net, plain) = (net.one.format(settings.clone()), plain.one.format(settings));
        assert_eq!(net, plain);
    };
    shown(DisplaySettings::new());
    shown(DisplaySettings::new().with_show_all_attributes(true));
    shown(DisplaySettings::new().with_show_num_parameters(false));
    shown(DisplaySettings::new().with_new_line_after_attribute(false));
    assert_eq!(net.one.to_string(), plain.one.to_string());
    assert_eq!(
        ModuleDisplayDefault::num_params(&net.one),
        ModuleDisplayDefault::num_params(&plain.one)
    );
    // By themselves, and in whatever burn has them in.
    insta::assert_snapshot!(Tap::new(), @"Tap");
    let settings = DisplaySettings::new;
    insta::assert_snapshot!(vec![Tap::new()].format(settings()), @"
    Vec<0..1> {
      0: Tap
    }
    ");
    insta::assert_snapshot!(Some(Tap::new()).format(settings()), @"Tap");
    insta::assert_snapshot!((Tap::new(), net.one.clone()).format(settings()), @"
    (L0, L1) {
      0: Tap
      1: Linear {d_input: 3, d_output: 3, bias: true, params: 12}
    }
    ");
    insta::assert_snapshot!([Tap::new()].format(settings()), @"
    [0..1] {
      0: Tap
    }
    ");
    insta::assert_snapshot!(format!("{:?}", Tap::new()).split(' ').next().unwrap(), @"Tap");
}
