//! Modules with sites.
//!
//! Wrap a field of a burn module in [`Hooked`], and its input and output become sites under the field's path. Parameter
//! and record paths stay as burn has them, for the wrapper adds no level. Wrap the whole model as well, and its own input
//! and output are the sites `input` and `output`.
//!
//! ```
//! use burn::{nn::{Gelu, Linear, LinearConfig}, prelude::*};
//! use interloom_backends::{Bound, Forward, Hooked, Run};
//!
//! #[derive(Module, Debug)]
//! struct Mlp { up: Hooked<Linear>, act: Hooked<Gelu>, down: Hooked<Linear> }
//!
//! impl Forward<Tensor<2>> for Mlp {
//!     type Output = Tensor<2>;
//!     fn forward(&self, x: Tensor<2>) -> Tensor<2> {
//!         self.down.forward(self.act.forward(self.up.forward(x)))
//!     }
//! }
//!
//! let device = Device::flex();
//! let mlp = Mlp {
//!     up: LinearConfig::new(4, 8).init(&device).into(),
//!     act: Gelu::new().into(),
//!     down: LinearConfig::new(8, 4).init(&device).into(),
//! };
//! let model = Bound::new(Hooked::from(mlp))?;
//!
//! let mut run = Run::new("ablate", model.sites());
//! run.mediator("zero", |cx| async move {
//!     let hidden = cx.output("act").await?;
//!     cx.set_output("act", hidden * 0.0).await?;
//!     Ok(())
//! });
//! let output = run.execute(|| model.forward(Tensor::ones([1, 4], &device)))?.output;
//! # let _ = output;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A module with several arguments takes a tuple, and each argument is an item of the value at its input site; what must
//! not be seen (a cache, a flag) is captured by the closure of [`Hooked::call`]. A tuple that a module returns is a tuple
//! at its output site. A value in the middle of a module, such as an attention pattern, passes a [`Tap`].

use std::ops::Deref;

use burn::module::{
    Content, Devices, DisplaySettings, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper,
    ModuleVisitor,
};
use burn::nn;
use burn::tensor::{Device, Int, Tensor};
use interloom_engine::Port;

use crate::active::{self, Call, Passed, is_running, pass, pass_input};
use crate::bind::{Place, visit_place};
use crate::erase::Erase;
use crate::shared::Sharable;

/// A module whose input and output are sites.
#[derive(Clone, Debug)]
pub struct Hooked<M> {
    inner: M,
    place: Place,
}

/// What a module does with its input; burn itself has no such trait.
///
/// It is implemented for the common layers of `burn::nn`; implement it for your own modules.
pub trait Forward<I> {
    /// What comes out.
    type Output;

    /// Computes the output.
    fn forward(&self, input: I) -> Self::Output;
}

impl<M> Hooked<M> {
    /// Computes the module, passing its input and output sites.
    #[inline]
    pub fn forward<I>(&self, input: I) -> M::Output
    where
        M: Forward<I>,
        I: Erase,
        M::Output: Erase,
    {
        self.call(input, |module, input| module.forward(input))
    }

    /// Computes `f` of the module, passing its input and output sites.
    ///
    /// For modules that do not implement [`Forward`], or that take more than a value: what `f` captures is not part of
    /// the input site.
    #[inline]
    pub fn call<I: Erase, O: Erase>(&self, input: I, f: impl FnOnce(&M, I) -> O) -> O {
        // Apart, so that without a run nothing is moved that plain burn would not move.
        match active::begin_call(&self.place) {
            Call::Plain => f(&self.inner, input),
            Call::Hooked => self.pass_through(input, f),
            Call::Unchecked => {
                let input = active::check_input(&self.place, input);
                self.pass_through(input, f)
            }
            Call::Shared => self.share(input, f),
        }
    }

    #[cold]
    fn share<I: Erase, O: Erase>(&self, input: I, f: impl FnOnce(&M, I) -> O) -> O {
        match active::shared_call(&self.place) {
            Sharable::Compute(begin) => {
                let input = active::check_input(&self.place, input);
                let output = self.pass_through(input, f);
                active::end_call(&self.place, begin, output)
            }
            Sharable::Known(passings, output) => active::pass_known(&self.place, passings, output),
        }
    }

    fn pass_through<I: Erase, O: Erase>(&self, input: I, f: impl FnOnce(&M, I) -> O) -> O {
        let output = match pass_input(&self.place, input) {
            Passed::Compute(input) => f(&self.inner, input),
            Passed::Skipped(output) => output,
        };
        pass(&self.place, Port::Output, output)
    }

    /// Gives back the module.
    pub fn into_inner(self) -> M {
        self.inner
    }
}

impl<M> From<M> for Hooked<M> {
    fn from(inner: M) -> Self {
        Self {
            inner,
            place: Place::default(),
        }
    }
}

impl<M> Deref for Hooked<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.inner
    }
}

impl<M: Module> Module for Hooked<M> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.inner.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        self.map_inner(|inner| inner.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.map_inner(|inner| inner.to_device(device))
    }

    fn train(self) -> Self {
        self.map_inner(M::train)
    }

    fn valid(&self) -> Self {
        Self {
            inner: self.inner.valid(),
            place: self.place.clone(),
        }
    }

    fn materialize(self) -> Self {
        self.map_inner(M::materialize)
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visit_place(&self.place, &[Port::Input, Port::Output]);
        self.inner.visit(visitor);
    }

    fn map<P: ModuleMapper>(self, mapper: &mut P) -> Self {
        self.map_inner(|inner| inner.map(mapper))
    }
}

impl<M> Hooked<M> {
    fn map_inner(self, f: impl FnOnce(M) -> M) -> Self {
        Self {
            inner: f(self.inner),
            place: self.place,
        }
    }
}

impl<M: ModuleDisplay> ModuleDisplay for Hooked<M> {
    fn format(&self, settings: DisplaySettings) -> String {
        self.inner.format(settings)
    }
}

impl<M: ModuleDisplay> ModuleDisplayDefault for Hooked<M> {
    fn content(&self, content: Content) -> Option<Content> {
        self.inner.content(content)
    }
}

/// A site for a value inside a module: a field without parameters, whose path gets an `output`.
///
/// ```
/// # use burn::prelude::*;
/// # use burn::nn::Linear;
/// use interloom_backends::Tap;
///
/// #[derive(Module, Debug)]
/// struct Attention { query: Linear, key: Linear, pattern: Tap }
///
/// impl Attention {
///     fn pattern(&self, x: Tensor<3>) -> Tensor<3> {
///         let scores = self.query.forward(x.clone()).matmul(self.key.forward(x).transpose());
///         self.pattern.pass(burn::tensor::activation::softmax(scores, 2))
///     }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tap {
    place: Place,
}

impl Tap {
    /// Makes a tap.
    pub fn new() -> Self {
        Self::default()
    }

    /// Passes `value` through the site.
    #[inline]
    pub fn pass<T: Erase>(&self, value: T) -> T {
        match is_running() {
            false => value,
            true => pass(&self.place, Port::Output, value),
        }
    }
}

impl Module for Tap {
    fn collect_devices(&self, devices: Devices) -> Devices {
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

    fn visit<V: ModuleVisitor>(&self, _: &mut V) {
        visit_place(&self.place, &[Port::Output]);
    }

    fn map<P: ModuleMapper>(self, _: &mut P) -> Self {
        self
    }
}

impl ModuleDisplay for Tap {}

impl ModuleDisplayDefault for Tap {
    fn content(&self, content: Content) -> Option<Content> {
        content.optional()
    }
}

/// Implements [`Forward`] for layers that take a tensor of any rank and return one of that rank.
macro_rules! forward {
    ($($module:ty),* $(,)?) => {
        $(impl<const D: usize> Forward<Tensor<D>> for $module {
            type Output = Tensor<D>;

            fn forward(&self, input: Tensor<D>) -> Tensor<D> {
                <$module>::forward(self, input)
            }
        })*
    };
}

forward!(
    nn::Dropout,
    nn::Gelu,
    nn::LayerNorm,
    nn::LeakyRelu,
    nn::Linear,
    nn::Relu,
    nn::RmsNorm,
    nn::Sigmoid,
    nn::Tanh,
);

impl Forward<Tensor<2, Int>> for nn::Embedding {
    type Output = Tensor<3>;

    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        nn::Embedding::forward(self, ids)
    }
}
