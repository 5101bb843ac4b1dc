//! Modules with sites.
//!
//! Wrap a field of a burn module in [`Hooked`], and its input and output become sites under the
//! field's path. Parameter and record paths stay as burn has them, for the wrapper adds no level.
//! Wrap the whole model as well, and its own input and output are the sites `input` and `output`.
//!
//! ```
//! use burn::{nn::{Gelu, Linear, LinearConfig}, prelude::*};
//! use interloom_backends::{Forward, Hooked, Run, Sites};
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
//! let model = Hooked::from(mlp);
//! let sites = Sites::bind(&model)?;
//!
//! let mut run = Run::new("ablate", &sites);
//! run.mediator("zero", async |cx| cx.update_output("act", |h| h * 0.0).await);
//! let output = run.execute(|| model.forward(Tensor::ones([1, 4], &device)))?.output;
//! # let _ = output;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The layers of `burn::nn` can be hooked as they are ([`layers`](crate::layers)). A module with
//! several arguments takes a tuple, and each argument is an item of the value at its input site;
//! what must not be seen (a cache, a flag) is captured by the closure of [`Hooked::call`]. A tuple
//! that a module returns is a tuple at its output site. A value in the middle of a module, such as
//! an attention pattern, passes a [`Tap`].
//!
//! # Why a wrapper
//!
//! A derive would have to read the bodies of forward functions. And the wrapper does not
//! dereference to its module, because a call past the hook would be silent: it would compile,
//! compute the same and pass no site.

use std::fmt;

use burn::module::{
    Content, Devices, DisplaySettings, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper,
    ModuleVisitor,
};
use burn::tensor::Device;
use interloom_engine::Port;

use crate::active::{self, Entered};
use crate::bind::{Place, visit_place};
use crate::erase::Erase;
use crate::forward::Forward;

/// A module whose input and output are sites.
#[derive(Clone, Debug)]
pub struct Hooked<M> {
    inner: M,
    place: Place,
}

impl<M> Hooked<M> {
    /// Computes the module, passing its input and output sites.
    // With `M::Output` for `O`, the compiler would not come to say what `Forward` has it say.
    #[inline]
    pub fn forward<I, O>(&self, input: I) -> O
    where
        M: Forward<I, Output = O>,
        I: Erase,
        O: Erase,
    {
        self.call(input, |module, input| module.forward(input))
    }

    /// Computes `f` of the module, passing its input and output sites.
    ///
    /// For modules that do not implement [`Forward`], or that take more than a value: what `f`
    /// captures is not part of the input site.
    #[inline]
    pub fn call<I: Erase, O: Erase>(&self, input: I, f: impl FnOnce(&M, I) -> O) -> O {
        // Asked first, so that without a run nothing is moved that plain burn would not move.
        if !active::is_running() {
            return f(&self.inner, input);
        }
        let (call, output) = match active::enter(&self.place, input) {
            Entered::Compute(call, input) => (call, f(&self.inner, input)),
            Entered::Skipped(call, output) => (call, output),
            Entered::Reused(output) => return output,
        };
        active::leave(&self.place, call, output)
    }

    /// Returns the module itself: for its fields, and for functions that are no part of the model.
    ///
    /// What is called of it passes no site of this hook, so that a model's own code calls
    /// [`forward`](Self::forward) or [`call`](Self::call) instead.
    pub const fn inner(&self) -> &M {
        &self.inner
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

/// A hooked module is shown as it is without its hook.
impl<M: ModuleDisplay> ModuleDisplay for Hooked<M> {
    fn format(&self, settings: DisplaySettings) -> String {
        self.inner.format(settings)
    }

    fn custom_settings(&self) -> Option<DisplaySettings> {
        self.inner.custom_settings()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        self.inner.custom_content(content)
    }
}

impl<M: ModuleDisplay> ModuleDisplayDefault for Hooked<M> {
    fn content(&self, content: Content) -> Option<Content> {
        self.inner.content(content)
    }

    fn num_params(&self) -> usize {
        self.inner.num_params()
    }
}

impl<M: ModuleDisplay> fmt::Display for Hooked<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format(DisplaySettings::default()))
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

    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// Passes `value` through the site.
    #[inline]
    pub fn pass<T: Erase>(&self, value: T) -> T {
        if !active::is_running() {
            return value;
        }
        active::pass(&self.place, value)
    }

    /// Returns whether a value that passes the site now would be of use to anybody: to a mediator
    /// that waits for it, a cache, or a backward pass.
    ///
    /// As long as nothing inside a function is attended to, it may compute in one what it computes
    /// in steps for its sites, with the same bits. The sites are to be passed all the same, for
    /// they are counted: the values may be any of the right type, as nothing looks at them.
    pub fn is_attended(&self) -> bool {
        active::is_attended(&self.place, 1)
    }

    /// Passes a value that is made for the site only, if somebody waits there; returns what becomes
    /// of it.
    #[inline]
    pub fn pass_if_awaited<T: Erase>(&self, make: impl FnOnce() -> T) -> Option<T> {
        if !active::is_running() {
            return None;
        }
        active::pass_if_awaited(&self.place, make)
    }
}

/// Implements burn's traits for a field that has sites and no parameters; `$visit` says what it
/// tells the walk that binds a model.
macro_rules! module_without_parameters {
    ($module:ident, |$this:ident| $visit:expr) => {
        impl Module for $module {
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
                let $this = self;
                $visit;
            }

            fn map<P: ModuleMapper>(self, _: &mut P) -> Self {
                self
            }
        }

        impl ModuleDisplay for $module {}

        impl ModuleDisplayDefault for $module {
            fn content(&self, content: Content) -> Option<Content> {
                // Burn panics over a module that shows nothing, not even its type.
                content.set_top_level_type(stringify!($module)).optional()
            }
        }

        impl fmt::Display for $module {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.format(DisplaySettings::default()))
            }
        }
    };
}

pub(crate) use module_without_parameters;

module_without_parameters!(Tap, |tap| visit_place(&tap.place, &[Port::Output]));
