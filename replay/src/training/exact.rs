//! Sums, losses and clipping in a fixed order.
//!
//! Burn sums a whole tensor on a GPU with atomic additions, in an order that changes from call to
//! call, and with it the last bits; and so do what it builds on such a sum: clipping by norm,
//! losses that are summed, cross entropy with weights or smoothing. A sum along a dimension has a
//! fixed order on every device (docs/DETERMINISM.md), and what is here is made of those alone. On a
//! CPU without threads either has a fixed order, and the two may differ in the last bits.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Int, Tensor, activation};

/// Returns the sum of all elements, `[1]`: along one dimension after another, the last first.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use interloom::training::sum_in_order;
///
/// let sum = sum_in_order(Tensor::<2>::ones([3, 4], &Device::flex()));
/// assert_eq!(sum.into_scalar::<f32>(), 12.0);
/// ```
pub fn sum_in_order<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let summed = (0..D).rev().fold(tensor, |sum, dim| sum.sum_dim(dim));
    summed.reshape([1])
}

/// Returns the mean cross entropy in nats, `[1]`, of `logits` `[rows, classes]` and the class of
/// each row.
pub fn cross_entropy(logits: Tensor<2>, classes: Tensor<1, Int>) -> Tensor<1> {
    let rows = logits.dims()[0];
    sum_in_order(surprisals(logits, classes)).div_scalar(rows as f64)
}

/// Returns the mean cross entropy in nats, `[1]`, in which each row counts with its weight,
/// `[rows]`: the sum of the weighted surprisals over that of the weights. A weight of zero leaves a
/// row out, such as one of padding.
pub fn weighted_cross_entropy(
    logits: Tensor<2>,
    classes: Tensor<1, Int>,
    weights: Tensor<1>,
) -> Tensor<1> {
    let weighed = surprisals(logits, classes) * weights.clone();
    sum_in_order(weighed) / sum_in_order(weights)
}

/// Returns the mean cross entropy in nats, `[1]`, with label smoothing (Szegedy and others 2016):
/// the class of a row counts with `1 - smoothing`, and all classes together, it included, with
/// `smoothing`.
pub fn smoothed_cross_entropy(
    logits: Tensor<2>,
    classes: Tensor<1, Int>,
    smoothing: f64,
) -> Tensor<1> {
    let [rows, count] = logits.dims();
    let logs = activation::log_softmax(logits, 1);
    let of_class = logs.clone().gather(1, classes.reshape([rows, 1]));
    let of_all = logs.sum_dim(1).div_scalar(count as f64);
    let mixed = of_class.mul_scalar(1.0 - smoothing) + of_all.mul_scalar(smoothing);
    sum_in_order(mixed).div_scalar(-(rows as f64))
}

/// Returns the mean squared error, `[1]`, of two tensors of one shape.
pub fn mean_squared_error<const D: usize>(output: Tensor<D>, target: Tensor<D>) -> Tensor<1> {
    let count = output.shape().num_elements();
    let difference = output - target;
    sum_in_order(difference.clone() * difference).div_scalar(count as f64)
}

/// Scales the gradients of a module so that their norm, over all of them, is at most `norm_max`
/// (Pascanu, Mikolov and Bengio 2013), and returns them with the norm that they had.
///
/// The squares are added up parameter after parameter, in the order of the module tree. Burn's own
/// clipping ([`GradientClipping::Norm`](burn::grad_clipping::GradientClipping)) is of each
/// parameter by itself.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::optim::GradientsParams;
/// use burn::tensor::{Device, Tensor};
/// use interloom::training::clip_by_norm;
///
/// let device = Device::flex().autodiff();
/// let linear = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// let input = Tensor::<2>::from_data([[3.0, 4.0]], &device);
/// let loss = linear.forward(input).sum();
/// let gradients = GradientsParams::from_grads(loss.backward(), &linear);
/// let (gradients, norm) = clip_by_norm(&linear, gradients, 1.0).expect("a gradient");
/// assert_eq!(norm, 5.0);
/// let clipped = gradients.get::<2>(linear.weight.id).unwrap().into_data();
/// let clipped = clipped.try_to_vec::<f32>().unwrap();
/// assert!((clipped[0] - 0.6).abs() < 1e-5 && (clipped[1] - 0.8).abs() < 1e-5);
/// ```
///
/// Nothing, if no parameter of the module has a gradient.
pub fn clip_by_norm<M: Module>(
    module: &M,
    gradients: GradientsParams,
    norm_max: f64,
) -> Option<(GradientsParams, f64)> {
    let mut squares = Squares {
        gradients: &gradients,
        sum: None,
    };
    module.visit(&mut squares);
    let norm = squares.sum?.sqrt();
    // As PyTorch's `clip_grad_norm_`, which has the same small number against a division by zero.
    let scale = (norm.clone() + 1e-6)
        .recip()
        .mul_scalar(norm_max)
        .clamp_max(1.0);
    let mut scaling = Scaling {
        gradients,
        scale,
        scaled: GradientsParams::new(),
    };
    module.visit(&mut scaling);
    Some((scaling.scaled, f64::from(norm.into_scalar::<f32>())))
}

/// The surprisal of each row, in nats: `[rows]`.
fn surprisals(logits: Tensor<2>, classes: Tensor<1, Int>) -> Tensor<1> {
    let [rows, _] = logits.dims();
    let logs = activation::log_softmax(logits, 1).gather(1, classes.reshape([rows, 1]));
    logs.neg().reshape([rows])
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let square = sum_in_order(gradient.clone() * gradient);
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }
}

struct Scaling {
    gradients: GradientsParams,
    scale: Tensor<1>,
    scaled: GradientsParams,
}

impl ModuleVisitor for Scaling {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let scale = self.scale.clone().reshape([1; D]);
            self.scaled.register(param.id, gradient * scale);
        }
    }
}
