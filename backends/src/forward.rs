//! The forward pass of a module as a trait: burn itself has none.

/// A module that computes an output of an input.
///
/// It is implemented for every layer of `burn::nn` that has a `forward`; implement it for your own
/// modules, and [`Hooked::forward`](crate::Hooked::forward) passes their sites. A module with
/// several arguments takes a tuple of them.
///
/// ```
/// # use burn::{nn::Linear, prelude::*};
/// use interloom_backends::Forward;
///
/// #[derive(Module, Debug)]
/// struct Gate { value: Linear, gate: Linear }
///
/// impl Forward<Tensor<2>> for Gate {
///     type Output = Tensor<2>;
///
///     fn forward(&self, x: Tensor<2>) -> Tensor<2> {
///         let gate = burn::tensor::activation::sigmoid(self.gate.forward(x.clone()));
///         self.value.forward(x) * gate
///     }
/// }
/// ```
///
/// Without it, a module cannot be called through a hook, rather than be called past it:
///
/// ```compile_fail
/// # use interloom_backends::Hooked;
/// struct Mine;
/// impl Mine {
///     fn forward(&self, x: f64) -> f64 { x }
/// }
/// Hooked::from(Mine).forward(1.0);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be called with `{I}` through its hook: it has no `Forward<{I}>`",
    label = "no `Forward<{I}>`, so that no site could be passed",
    note = "for a module of your own, implement `interloom_backends::Forward<{I}>` where its \
            `forward` is now",
    note = "for any other, name the function: \
            `hooked.call(input, |module, input| module.forward(input))`",
    note = "a layer of `burn::nn` with several arguments takes a tuple of them; attention and \
            transformers take the inputs in `interloom_backends::layers`"
)]
pub trait Forward<I> {
    /// What comes out.
    type Output;

    /// Computes the output.
    fn forward(&self, input: I) -> Self::Output;
}
