//! A learned subspace, and interchange interventions in it.

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor};
use serde::{Deserialize, Serialize};

use super::InterventionError;
use super::file::{Law, Layout, Parts, Stored, check_rank};
use super::orthonormal::{gram_schmidt, orthonormal_along, settle};
use super::rows::{as_rows, over_rows};

/// The rotation of distributed alignment search (Geiger et al. 2023): `rank` orthonormal
/// directions of a space of `width` dimensions, all of it if the two are equal.
///
/// An interchange intervention replaces what a value has in some of these directions by what
/// another value has there. See [`Learned`](super::Learned) for how the directions stay
/// orthonormal.
#[derive(Module, Debug)]
pub struct Rotation {
    directions: Param<Tensor<2>>,
}

impl Rotation {
    /// Draws directions from the device's random numbers.
    ///
    /// # Errors
    ///
    /// [`InterventionError::Contents`] if a size is 0, or there are more directions than
    /// dimensions.
    pub fn new(width: usize, rank: usize, device: &Device) -> Result<Self, InterventionError> {
        check_rank(Self::KIND, width, rank)?;
        let normal = Distribution::Normal(0.0, 1.0);
        Self::of(Tensor::random([rank, width], normal, device))
    }

    /// Makes a rotation of given directions, `[rank, width]`, which are made orthonormal.
    ///
    /// # Errors
    ///
    /// [`InterventionError::Contents`] if a size is 0, or there are more directions than
    /// dimensions.
    pub fn of(directions: Tensor<2>) -> Result<Self, InterventionError> {
        let [rank, width] = directions.dims();
        check_rank(Self::KIND, width, rank)?;
        Ok(Self {
            directions: Param::from_tensor(gram_schmidt(directions)),
        })
    }

    /// Returns the directions as they are used, `[rank, width]`.
    pub fn directions(&self) -> Tensor<2> {
        orthonormal_along(&self.directions)
    }

    /// Returns the width of the values that are rotated.
    pub fn width(&self) -> usize {
        self.directions.lazy_shape()[1]
    }

    /// Returns the number of directions.
    pub fn rank(&self) -> usize {
        self.directions.lazy_shape()[0]
    }

    /// Computes what `h` of `[.., width]` has in each direction, `[.., rank]`: `R h`.
    pub fn rotate<const D: usize>(&self, h: Tensor<D>) -> Tensor<D> {
        over_rows(h, |h| h.matmul(self.directions().transpose()))
    }

    /// Replaces what `base` has in all directions by what `source` has there:
    /// `base + R^T (R source - R base)`; both are `[.., width]`.
    pub fn interchange<const D: usize>(&self, base: Tensor<D>, source: Tensor<D>) -> Tensor<D> {
        self.interchange_in(base, source, 0..self.rank())
    }

    /// Replaces what `base` has in some of the directions by what `source` has there, as
    /// [`interchange`](Self::interchange) does; the ranges of several variables are apart.
    pub fn interchange_in<const D: usize>(
        &self,
        base: Tensor<D>,
        source: Tensor<D>,
        directions: Range<usize>,
    ) -> Tensor<D> {
        let rows = self.directions();
        let rows = rows.narrow(0, directions.start, directions.len());
        let source = as_rows(source);
        over_rows(base, |base| {
            let difference = (source - base.clone()).matmul(rows.clone().transpose());
            base + difference.matmul(rows)
        })
    }
}

/// What a file says of a rotation.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotationSettings {
    width: usize,
    rank: usize,
}

impl Stored for Rotation {
    const KIND: &'static str = "rotation";
    type Settings = RotationSettings;

    fn settings(&self) -> RotationSettings {
        RotationSettings {
            width: self.width(),
            rank: self.rank(),
        }
    }

    fn layout(settings: &RotationSettings) -> Layout {
        vec![("directions", vec![settings.rank, settings.width])]
    }

    fn assemble(_: &RotationSettings, parts: &Parts<'_>) -> Self {
        Self {
            directions: parts.param("directions"),
        }
    }

    fn law(&self) -> Option<Law> {
        Law::orthonormal("directions", &self.directions.val())
    }

    fn restored(self) -> Self {
        Self {
            directions: settle(self.directions),
        }
    }
}
