//! Interventions that learn: modules with parameters of their own, trained by burn's optimizers
//! while the model that they intervene in is frozen or not.
//!
//! | module | computes | parameters |
//! |---|---|---|
//! | [`SteeringVector`] | `h + v` | `width` |
//! | [`LoReft`] | `h + R^T (W h + b - R h)` | `2 * rank * width + rank` |
//! | [`Rotation`] | what values have in a learned subspace, and interchanges of it | `rank * width` |
//! | [`SparseAutoencoder`] | features of a value, inserted with the error term | `2 * width * features + width + features` |
//! | [`LinearProbe`] | logits of a value | `classes * width + classes` |
//!
//! Each is a burn `Module`, and is called by a mediator, which captures a clone of it: the clone
//! has the same parameters to autodiff and to an optimizer. [`Learned`] has what they share: an
//! update that keeps what must hold of the parameters, and a safetensors file.
//!
//! ```
//! use burn::optim::{AdamConfig, GradientsParams};
//! use burn::tensor::{Device, Tensor};
//! use interloom::interventions::{Learned, SteeringVector};
//! use interloom::models::induction::{Induction, Sampler, WIDTH};
//! use interloom::Run;
//!
//! // The model is frozen: only the optimizer's module is updated.
//! let device = Device::flex().autodiff();
//! let model = Induction::trained(&device);
//! let tokens = Sampler::new(7).batch(2).tokens(&device);
//! let mut steer = SteeringVector::new(WIDTH, &device)?;
//! let mut adam = AdamConfig::new().init();
//!
//! let mut losses = Vec::new();
//! for _ in 0..3 {
//!     let mut run = Run::new("step", model.sites());
//!     let own = steer.clone();
//!     run.mediator("steer", async move |cx| {
//!         let h = cx.output("layers.0").await?.tensor::<3>()?;
//!         cx.set_output("layers.0", own.forward(h)).await
//!     });
//!     let logits: Tensor<3> = run.execute(|| model.forward(tokens.clone()))?.completed()?;
//!     // Token 5 is to become likely everywhere.
//!     let loss = burn::tensor::activation::log_softmax(logits, 2);
//!     let loss = loss.narrow(2, 5, 1).mean().neg();
//!     losses.push(loss.clone().into_scalar::<f32>());
//!     let gradients = GradientsParams::from_grads(loss.backward(), &steer);
//!     steer = steer.update(&mut adam, 0.1, gradients);
//! }
//! assert!(losses[2] < losses[0]);
//!
//! // What is loaded is what was saved, bit for bit.
//! # let folder = std::env::temp_dir().join(format!("interloom-steer-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! let path = folder.join("steer.safetensors");
//! steer.save(&path)?;
//! let loaded = SteeringVector::load(&path, &device)?;
//! assert_eq!(loaded.vector().into_data(), steer.vector().into_data());
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod autoencoder;
mod error;
mod file;
mod loreft;
mod named;
mod orthonormal;
mod probe;
mod rotation;
mod rows;
mod sae_lens;
mod steering;

use std::path::Path;

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Device;

pub use autoencoder::{AutoencoderParts, FeatureActivation, SparseAutoencoder};
pub(crate) use error::CODES;
pub use error::InterventionError;
pub use loreft::LoReft;
pub use named::{Intervention, NamedInterventions};
pub use probe::LinearProbe;
pub use rotation::Rotation;
pub use sae_lens::SaeLens;
pub use steering::SteeringVector;

/// What interventions that learn share.
///
/// The rows of a [`LoReft`] and a [`Rotation`] are orthonormal by construction: the rows in use are
/// a pure function (Gram-Schmidt, in 64 bits) of the stored parameter. The gradient passes straight
/// through to it, of a rotation the part along which rows stay orthonormal. So they are orthonormal
/// whatever an optimizer makes of the parameter, and after a file, a checkpoint or a resume they
/// are the same bits. An [`update`](Self::update) also puts the rows in use in the place of the
/// stored ones, so that training is that of a retraction: a step of the optimizer, then the
/// orthonormal rows nearest in order; moments of the optimizer are left alone.
pub trait Learned: file::Stored {
    /// Makes one step of an optimizer, and restores what must hold of the parameters.
    ///
    /// It is `optimizer.step(rate, self, gradients)` for those of whom nothing must.
    fn update(
        self,
        optimizer: &mut ModuleOptimizer,
        rate: f64,
        gradients: GradientsParams,
    ) -> Self {
        optimizer.step(rate, self, gradients).restored()
    }

    /// Saves the intervention as a safetensors file, with its kind and sizes in the metadata; equal
    /// ones make equal files. The file is written beside its place and then renamed.
    ///
    /// # Errors
    ///
    /// [`InterventionError::File`] if it cannot be written; [`InterventionError::Contents`] if a
    /// parameter is not of f32.
    fn save(&self, path: impl AsRef<Path>) -> Result<(), InterventionError> {
        file::write(path.as_ref(), &file::to_bytes(self)?)
    }

    /// Loads an intervention of this kind, bit for bit as it was saved.
    ///
    /// # Errors
    ///
    /// [`InterventionError::File`] if the file cannot be read, is cut or damaged, or is none of an
    /// intervention; [`InterventionError::Contents`] if it is one of another kind, parameters are
    /// missing, too many, of another shape or type or not finite, or what must hold of them
    /// does not.
    fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, InterventionError> {
        let path = path.as_ref();
        Self::from_bytes(&file::read(path)?, &path.display().to_string(), device)
    }

    /// Returns the bytes of the file that [`save`](Self::save) writes.
    ///
    /// # Errors
    ///
    /// [`InterventionError::Contents`] if a parameter is not of f32.
    fn to_bytes(&self) -> Result<Vec<u8>, InterventionError> {
        file::to_bytes(self)
    }

    /// Loads an intervention from the bytes of a file; `file` is what messages call it.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    fn from_bytes(bytes: &[u8], file: &str, device: &Device) -> Result<Self, InterventionError> {
        file::from_bytes(bytes, file, device)
    }
}

impl<T: file::Stored> Learned for T {}
