//! A sparse autoencoder, inserted with its error term.

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, IndexingUpdateOp, Tensor, activation};
use serde::{Deserialize, Serialize};

use super::InterventionError;
use super::file::{Law, Layout, Parts, Stored, check_shape, check_size};
use super::rows::{as_rows, over_rows};

/// What makes features of what the encoder computes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FeatureActivation {
    /// `max(x, 0)` (Bricken et al. 2023).
    Relu,
    /// `x` where it is positive and more than the feature's threshold, else 0 (Rajamanoharan et al.
    /// 2024b). Thresholds receive no gradient.
    JumpRelu,
    /// `max(x, 0)` where the feature's gate is open, else 0 (Rajamanoharan et al. 2024a). `x` and
    /// the gate read the same product of `h` and `W_enc`: `x = exp(r_mag) product + b_mag`, and
    /// the gate is open where `product + b_gate` is more than 0. The gate passes no gradient
    /// on.
    Gated,
    /// `max(x, 0)` of the `k` largest, else 0 (Gao et al. 2024).
    TopK {
        /// How many features a position has at most.
        k: usize,
    },
}

const THRESHOLD: &str = "threshold";
const GATE_BIAS: &str = "gate_bias";
const MAGNITUDE: &str = "magnitude";

impl FeatureActivation {
    /// Returns the names of the parameters that only this activation has, one number a feature.
    pub(super) const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Relu | Self::TopK { .. } => &[],
            Self::JumpRelu => &[THRESHOLD],
            Self::Gated => &[GATE_BIAS, MAGNITUDE],
        }
    }
}

/// The tensors of a sparse autoencoder.
#[derive(Clone, Debug)]
pub struct AutoencoderParts {
    /// `W_enc`, `[width, features]`.
    pub encoder: Tensor<2>,
    /// `b_enc`, or `b_mag` of [`FeatureActivation::Gated`], `[features]`.
    pub encoder_bias: Tensor<1>,
    /// `W_dec`, `[features, width]`.
    pub decoder: Tensor<2>,
    /// `b_dec`, `[width]`.
    pub decoder_bias: Tensor<1>,
    /// The thresholds of [`FeatureActivation::JumpRelu`], `[features]`.
    pub threshold: Option<Tensor<1>>,
    /// `b_gate` of [`FeatureActivation::Gated`], `[features]`.
    pub gate_bias: Option<Tensor<1>>,
    /// `r_mag` of [`FeatureActivation::Gated`], `[features]`.
    pub magnitude: Option<Tensor<1>>,
}

/// A sparse autoencoder: features `f = act(W_enc^T (h - b_dec) + b_enc)`, from which `h` is decoded
/// as `W_dec^T f + b_dec`. Whether `b_dec` is subtracted first is a setting.
///
/// [`insert`](Self::insert) changes features in a model without what the autoencoder cannot
/// represent being lost.
#[derive(Module, Debug)]
pub struct SparseAutoencoder {
    encoder: Param<Tensor<2>>,
    encoder_bias: Param<Tensor<1>>,
    decoder: Param<Tensor<2>>,
    decoder_bias: Param<Tensor<1>>,
    threshold: Option<Param<Tensor<1>>>,
    gate_bias: Option<Param<Tensor<1>>>,
    magnitude: Option<Param<Tensor<1>>>,
    #[module(skip)]
    activation: FeatureActivation,
    subtracts_bias: bool,
}

impl SparseAutoencoder {
    /// Draws decoder directions of length 0.1 from the device's random numbers; the encoder is
    /// their transpose, biases, thresholds and magnitudes are zero, and `b_dec` is subtracted
    /// first.
    ///
    /// # Errors
    ///
    /// [`InterventionError::Contents`] if a size is 0, or `k` is 0 or more than the features.
    pub fn new(
        width: usize,
        features: usize,
        activation: FeatureActivation,
        device: &Device,
    ) -> Result<Self, InterventionError> {
        check_size(Self::KIND, "the width", width)?;
        check_size(Self::KIND, "the number of features", features)?;
        let normal = Distribution::Normal(0.0, 1.0);
        let decoder = Tensor::<2>::random([features, width], normal, device);
        let length = decoder.clone().square().sum_dim(1).sqrt();
        let decoder = decoder / length * 0.1;
        let zeros = |name| {
            let has = activation.parameters().contains(&name);
            has.then(|| Tensor::zeros([features], device))
        };
        let parts = AutoencoderParts {
            encoder: decoder.clone().transpose(),
            encoder_bias: Tensor::zeros([features], device),
            decoder,
            decoder_bias: Tensor::zeros([width], device),
            threshold: zeros(THRESHOLD),
            gate_bias: zeros(GATE_BIAS),
            magnitude: zeros(MAGNITUDE),
        };
        Self::of(parts, activation, true)
    }

    /// Makes an autoencoder of given tensors; `subtracts_bias` says whether `b_dec` is subtracted
    /// from what is encoded.
    ///
    /// # Errors
    ///
    /// [`InterventionError::Contents`] if the shapes do not go together, thresholds, gates or
    /// magnitudes are there for an activation that has none or missing for one that has, or `k` is
    /// 0 or more than the features.
    pub fn of(
        parts: AutoencoderParts,
        activation: FeatureActivation,
        subtracts_bias: bool,
    ) -> Result<Self, InterventionError> {
        let [width, features] = parts.encoder.dims();
        let check = |place, found: &[usize], expected: &[usize]| {
            check_shape(Self::KIND, place, found, expected)
        };
        check("encoder_bias", &parts.encoder_bias.dims(), &[features])?;
        check("decoder", &parts.decoder.dims(), &[features, width])?;
        check("decoder_bias", &parts.decoder_bias.dims(), &[width])?;
        let own = [
            (THRESHOLD, &parts.threshold),
            (GATE_BIAS, &parts.gate_bias),
            (MAGNITUDE, &parts.magnitude),
        ];
        for (name, tensor) in own {
            let found = tensor.iter().map(|tensor| tensor.dims()[0]);
            let has = activation.parameters().contains(&name);
            let expected = has.then_some(features).into_iter();
            check(
                name,
                &found.collect::<Vec<_>>(),
                &expected.collect::<Vec<_>>(),
            )?;
        }
        let made = Self {
            encoder: Param::from_tensor(parts.encoder),
            encoder_bias: Param::from_tensor(parts.encoder_bias),
            decoder: Param::from_tensor(parts.decoder),
            decoder_bias: Param::from_tensor(parts.decoder_bias),
            threshold: parts.threshold.map(Param::from_tensor),
            gate_bias: parts.gate_bias.map(Param::from_tensor),
            magnitude: parts.magnitude.map(Param::from_tensor),
            activation,
            subtracts_bias,
        };
        match made.law() {
            Some(law) => Err(law.broken(Self::KIND)),
            None => Ok(made),
        }
    }

    /// Returns the width of the values that are encoded.
    pub fn width(&self) -> usize {
        self.encoder.lazy_shape()[0]
    }

    /// Returns the number of features.
    pub fn features(&self) -> usize {
        self.encoder.lazy_shape()[1]
    }

    /// Returns what makes features of what the encoder computes.
    pub const fn activation(&self) -> FeatureActivation {
        self.activation
    }

    /// Returns the direction that each feature writes, `[features, width]`.
    pub fn decoder(&self) -> Tensor<2> {
        self.decoder.val()
    }

    /// Computes the features `[.., features]` of `h` of `[.., width]`.
    pub fn encode<const D: usize>(&self, h: Tensor<D>) -> Tensor<D> {
        over_rows(h, |h| {
            let h = if self.subtracts_bias {
                h - self.decoder_bias.val().unsqueeze()
            } else {
                h
            };
            self.activate(h.matmul(self.encoder.val()))
        })
    }

    /// Makes features of products with the encoder, `[row, features]`.
    fn activate(&self, products: Tensor<2>) -> Tensor<2> {
        let own = |part: &Option<Param<Tensor<1>>>| {
            let part = part.as_ref().map(Param::val);
            part.expect("checked where it is made").unsqueeze()
        };
        let bias = self.encoder_bias.val().unsqueeze();
        match self.activation {
            FeatureActivation::Relu => activation::relu(products + bias),
            FeatureActivation::JumpRelu => {
                let x = products + bias;
                let passes = x.clone().detach().greater(own(&self.threshold).detach());
                activation::relu(x).mask_fill(passes.bool_not(), 0.0)
            }
            FeatureActivation::Gated => {
                let gates = products.clone().detach() + own(&self.gate_bias).detach();
                let x = products * own(&self.magnitude).exp() + bias;
                activation::relu(x).mask_fill(gates.greater_elem(0.0).bool_not(), 0.0)
            }
            FeatureActivation::TopK { k } => {
                let x = products + bias;
                let (_, largest) = x.clone().detach().topk_with_indices(k, 1);
                let kept = activation::relu(x.clone().gather(1, largest.clone()));
                // Each place once, so that it is the same in whatever order they are added.
                x.zeros_like()
                    .scatter(1, largest, kept, IndexingUpdateOp::Add)
            }
        }
    }

    /// Computes the value `[.., width]` that features of `[.., features]` stand for.
    pub fn decode<const D: usize>(&self, features: Tensor<D>) -> Tensor<D> {
        over_rows(features, |features| {
            features.matmul(self.decoder.val()) + self.decoder_bias.val().unsqueeze()
        })
    }

    /// Computes what is left of `h` when it is encoded and decoded, both `[.., width]`.
    pub fn forward<const D: usize>(&self, h: Tensor<D>) -> Tensor<D> {
        self.decode(self.encode(h))
    }

    /// Puts edited features in the place of those of `h`, and keeps what the autoencoder cannot
    /// represent: `decode(edited) + (h - decode(encode(h)))`; `h` is `[.., width]`, `edited` is
    /// `[.., features]`.
    ///
    /// It is computed as `h + W_dec^T (edited - encode(h))`, which is the same but for rounding,
    /// and a position of which no feature is edited keeps every bit of `h`. Gradients pass to `h`
    /// and to `edited` at all positions, edited or not.
    pub fn insert<const D: usize>(&self, h: Tensor<D>, edited: Tensor<D>) -> Tensor<D> {
        let edited = as_rows(edited);
        over_rows(h, |h| {
            let own = self.encode(h.clone());
            let both_nan = own.clone().is_nan().bool_and(edited.clone().is_nan());
            let same = own.clone().equal(edited.clone()).bool_or(both_nan);
            let difference = edited - own;
            // What is not finite, and not edited, is no difference.
            let no_number = same.clone().bool_and(difference.clone().is_nan());
            let written = difference
                .mask_fill(no_number, 0.0)
                .matmul(self.decoder.val());
            let whole = h.dims();
            let untouched = same.all_dim(1).expand(whole);
            // 0 less 0 is +0, and `h - (+0)` is `h`, also for a negative zero; the gradient of
            // `written` is the one that `h + written` has.
            let kept = h.clone() - (written.clone().detach() - written.clone());
            (h + written).mask_where(untouched, kept)
        })
    }

    /// Computes a loss to be minimised for `h` of `[row, width]`: the squared error of what is
    /// decoded, and `sparsity` times the features, each times the length of its direction; both
    /// summed over a row, and the mean over rows.
    pub fn loss(&self, h: Tensor<2>, sparsity: f64) -> Tensor<1> {
        let features = self.encode(h.clone());
        let error = (self.decode(features.clone()) - h).square().sum_dim(1);
        let lengths = self.decoder.val().square().sum_dim(1).sqrt().transpose();
        let size = (features * lengths).sum_dim(1);
        (error + size * sparsity).mean()
    }
}

/// What a file says of a sparse autoencoder.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderSettings {
    width: usize,
    features: usize,
    activation: FeatureActivation,
    subtracts_bias: bool,
}

impl Stored for SparseAutoencoder {
    const KIND: &'static str = "sparse-autoencoder";
    type Settings = AutoencoderSettings;

    fn settings(&self) -> AutoencoderSettings {
        AutoencoderSettings {
            width: self.width(),
            features: self.features(),
            activation: self.activation,
            subtracts_bias: self.subtracts_bias,
        }
    }

    fn layout(settings: &AutoencoderSettings) -> Layout {
        let (width, features) = (settings.width, settings.features);
        let mut layout = vec![
            ("encoder", vec![width, features]),
            ("encoder_bias", vec![features]),
            ("decoder", vec![features, width]),
            ("decoder_bias", vec![width]),
        ];
        let own = settings.activation.parameters().iter();
        layout.extend(own.map(|&name| (name, vec![features])));
        layout
    }

    fn assemble(settings: &AutoencoderSettings, parts: &Parts<'_>) -> Self {
        let own = |name| {
            let has = settings.activation.parameters().contains(&name);
            has.then(|| parts.param(name))
        };
        Self {
            encoder: parts.param("encoder"),
            encoder_bias: parts.param("encoder_bias"),
            decoder: parts.param("decoder"),
            decoder_bias: parts.param("decoder_bias"),
            threshold: own(THRESHOLD),
            gate_bias: own(GATE_BIAS),
            magnitude: own(MAGNITUDE),
            activation: settings.activation,
            subtracts_bias: settings.subtracts_bias,
        }
    }

    fn law(&self) -> Option<Law> {
        match self.activation {
            FeatureActivation::TopK { k } if k == 0 || k > self.features() => Some(Law {
                place: "`k`".to_owned(),
                expected: format!("1 to {}, the number of features", self.features()),
                found: k.to_string(),
            }),
            _ => None,
        }
    }
}
