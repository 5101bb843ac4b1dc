//! A linear probe.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::InterventionError;
use super::file::{Layout, Parts, Stored, check_shape, check_size};
use super::rows::over_rows;

/// A linear probe: logits `W h + b` of what a value is thought to say (Alain & Bengio 2016).
///
/// `W` is `[classes, width]`, `b` is `[classes]`. A probe of one class is one of yes and no, or of
/// a number.
#[derive(Module, Debug)]
pub struct LinearProbe {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl LinearProbe {
    /// Makes a probe of zeros.
    ///
    /// # Errors
    ///
    /// [`InterventionError::Contents`] if a size is 0.
    pub fn new(width: usize, classes: usize, device: &Device) -> Result<Self, InterventionError> {
        let weight = Tensor::zeros([classes, width], device);
        Self::of(weight, Tensor::zeros([classes], device))
    }

    /// Makes a probe of `weight`, `[classes, width]`, and `bias`, `[classes]`.
    ///
    /// # Errors
    ///
    /// [`InterventionError::Contents`] if a size is 0, or the shapes do not go together.
    pub fn of(weight: Tensor<2>, bias: Tensor<1>) -> Result<Self, InterventionError> {
        let [classes, width] = weight.dims();
        check_size(Self::KIND, "the number of classes", classes)?;
        check_size(Self::KIND, "the width", width)?;
        check_shape(Self::KIND, "bias", &bias.dims(), &[classes])?;
        Ok(Self {
            weight: Param::from_tensor(weight),
            bias: Param::from_tensor(bias),
        })
    }

    /// Returns the direction of each class, `[classes, width]`.
    pub fn weight(&self) -> Tensor<2> {
        self.weight.val()
    }

    /// Returns the width of the values that are probed.
    pub fn width(&self) -> usize {
        self.weight.lazy_shape()[1]
    }

    /// Returns the number of classes.
    pub fn classes(&self) -> usize {
        self.weight.lazy_shape()[0]
    }

    /// Computes the logits `[.., classes]` of `h` of `[.., width]`.
    pub fn forward<const D: usize>(&self, h: Tensor<D>) -> Tensor<D> {
        over_rows(h, |h| {
            h.matmul(self.weight().transpose()) + self.bias.val().unsqueeze()
        })
    }
}

/// What a file says of a probe.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeSettings {
    width: usize,
    classes: usize,
}

impl Stored for LinearProbe {
    const KIND: &'static str = "linear-probe";
    type Settings = ProbeSettings;

    fn settings(&self) -> ProbeSettings {
        ProbeSettings {
            width: self.width(),
            classes: self.classes(),
        }
    }

    fn layout(settings: &ProbeSettings) -> Layout {
        let ProbeSettings { width, classes } = *settings;
        vec![("weight", vec![classes, width]), ("bias", vec![classes])]
    }

    fn assemble(_: &ProbeSettings, parts: &Parts<'_>) -> Self {
        Self {
            weight: parts.param("weight"),
            bias: parts.param("bias"),
        }
    }
}
