//! A vector that is added.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::InterventionError;
use super::file::{Layout, Parts, Stored, check_size};

/// A steering vector: `h + v` at every position (Turner et al. 2023).
///
/// It has `width` parameters. As burn's own layers do, [`forward`](Self::forward) panics on a value
/// of another width; a call by name is checked.
#[derive(Module, Debug)]
pub struct SteeringVector {
    vector: Param<Tensor<1>>,
}

impl SteeringVector {
    /// Makes a vector of zeros, which changes nothing.
    ///
    /// # Errors
    ///
    /// [`InterventionError::Contents`] if the width is 0.
    pub fn new(width: usize, device: &Device) -> Result<Self, InterventionError> {
        check_size(Self::KIND, "the width", width)?;
        Ok(Self::of(Tensor::zeros([width], device)))
    }

    /// Makes a steering vector of `[width]` floats, such as a difference of means.
    pub fn of(vector: Tensor<1>) -> Self {
        Self {
            vector: Param::from_tensor(vector),
        }
    }

    /// Returns the vector, `[width]`.
    pub fn vector(&self) -> Tensor<1> {
        self.vector.val()
    }

    /// Returns the width of the values that are steered.
    pub fn width(&self) -> usize {
        self.vector.lazy_shape()[0]
    }

    /// Computes `h + v` for `h` of `[.., width]`.
    pub fn forward<const D: usize>(&self, h: Tensor<D>) -> Tensor<D> {
        h + self.vector.val().unsqueeze()
    }
}

/// What a file says of a steering vector.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SteeringSettings {
    width: usize,
}

impl Stored for SteeringVector {
    const KIND: &'static str = "steering-vector";
    type Settings = SteeringSettings;

    fn settings(&self) -> SteeringSettings {
        SteeringSettings {
            width: self.width(),
        }
    }

    fn layout(settings: &SteeringSettings) -> Layout {
        vec![("vector", vec![settings.width])]
    }

    fn assemble(_: &SteeringSettings, parts: &Parts<'_>) -> Self {
        Self {
            vector: parts.param("vector"),
        }
    }
}
