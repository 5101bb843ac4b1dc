//! Low-rank linear representation finetuning.

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor};
use serde::{Deserialize, Serialize};

use super::InterventionError;
use super::file::{Law, Layout, Parts, Stored, check_rank, check_shape};
use super::orthonormal::{gram_schmidt, orthonormal, settle};
use super::rows::over_rows;

/// LoReFT: `h + R^T (W h + b - R h)`, with `R` of orthonormal rows (Wu et al. 2024).
///
/// `R` and `W` are `[rank, width]`, `b` is `[rank]`: together `2 * rank * width + rank` parameters,
/// 32,772 at a width of 4096 and a rank of 4. See [`Learned`](super::Learned) for how the rows of
/// `R` stay orthonormal.
#[derive(Module, Debug)]
pub struct LoReft {
    rotation: Param<Tensor<2>>,
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl LoReft {
    /// Draws `R` and `W` from the device's random numbers; `b` is zero.
    ///
    /// # Errors
    ///
    /// [`InterventionError::Contents`] if a size is 0, or the rank is more than the width.
    pub fn new(width: usize, rank: usize, device: &Device) -> Result<Self, InterventionError> {
        check_rank(Self::KIND, width, rank)?;
        let rows = Tensor::random([rank, width], Distribution::Normal(0.0, 1.0), device);
        let bound = 1.0 / (width as f64).sqrt();
        let weight = Tensor::random([rank, width], Distribution::Uniform(-bound, bound), device);
        Ok(Self {
            rotation: Param::from_tensor(gram_schmidt(rows)),
            weight: Param::from_tensor(weight),
            bias: Param::from_tensor(Tensor::zeros([rank], device)),
        })
    }

    /// Makes the intervention of given tensors: `rotation` and `weight` of `[rank, width]`, `bias`
    /// of `[rank]`; the rows of `rotation` are made orthonormal.
    ///
    /// # Errors
    ///
    /// [`InterventionError::Contents`] if the shapes do not go together.
    pub fn of(
        rotation: Tensor<2>,
        weight: Tensor<2>,
        bias: Tensor<1>,
    ) -> Result<Self, InterventionError> {
        let [rank, width] = rotation.dims();
        check_rank(Self::KIND, width, rank)?;
        check_shape(Self::KIND, "weight", &weight.dims(), &[rank, width])?;
        check_shape(Self::KIND, "bias", &bias.dims(), &[rank])?;
        Ok(Self {
            rotation: Param::from_tensor(gram_schmidt(rotation)),
            weight: Param::from_tensor(weight),
            bias: Param::from_tensor(bias),
        })
    }

    /// Returns the rows of `R` as they are used, `[rank, width]`.
    pub fn rotation(&self) -> Tensor<2> {
        orthonormal(&self.rotation)
    }

    /// Returns `W`, `[rank, width]`.
    pub fn weight(&self) -> Tensor<2> {
        self.weight.val()
    }

    /// Returns `b`, `[rank]`.
    pub fn bias(&self) -> Tensor<1> {
        self.bias.val()
    }

    /// Returns the width of the values that are changed.
    pub fn width(&self) -> usize {
        self.rotation.lazy_shape()[1]
    }

    /// Returns the number of dimensions in which they are changed.
    pub fn rank(&self) -> usize {
        self.rotation.lazy_shape()[0]
    }

    /// Computes `h + R^T (W h + b - R h)` for `h` of `[.., width]`.
    pub fn forward<const D: usize>(&self, h: Tensor<D>) -> Tensor<D> {
        let rotation = self.rotation();
        over_rows(h, |h| {
            let wanted = h.clone().matmul(self.weight().transpose()) + self.bias().unsqueeze();
            let present = h.clone().matmul(rotation.clone().transpose());
            h + (wanted - present).matmul(rotation)
        })
    }
}

/// What a file says of a LoReFT.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoReftSettings {
    width: usize,
    rank: usize,
}

impl Stored for LoReft {
    const KIND: &'static str = "loreft";
    type Settings = LoReftSettings;

    fn settings(&self) -> LoReftSettings {
        LoReftSettings {
            width: self.width(),
            rank: self.rank(),
        }
    }

    fn layout(settings: &LoReftSettings) -> Layout {
        let LoReftSettings { width, rank } = *settings;
        vec![
            ("rotation", vec![rank, width]),
            ("weight", vec![rank, width]),
            ("bias", vec![rank]),
        ]
    }

    fn assemble(_: &LoReftSettings, parts: &Parts<'_>) -> Self {
        Self {
            rotation: parts.param("rotation"),
            weight: parts.param("weight"),
            bias: parts.param("bias"),
        }
    }

    fn law(&self) -> Option<Law> {
        Law::orthonormal("rotation", &self.rotation.val())
    }

    fn restored(self) -> Self {
        Self {
            rotation: settle(self.rotation),
            ..self
        }
    }
}
