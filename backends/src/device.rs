//! Which device a model runs on, by name.

use burn::tensor::Device;

use crate::error::ModelError;

/// Returns the device that is written `cpu`, `cuda` or `cuda:1`.
///
/// Nothing is ever chosen by default: burn's own default device depends on the features of the whole build.
///
/// # Errors
///
/// [`ModelError::Device`] if the name is unknown, the build has no such device, or the machine has none.
pub fn parse_device(name: &str) -> Result<Device, ModelError> {
    match name.split_once(':').unwrap_or((name, "0")) {
        ("cpu", "0") => Ok(Device::flex()),
        ("cuda", index) => cuda(name, index),
        _ => Err(missing(
            name,
            "known devices are `cpu`, `cuda` and `cuda:N`",
        )),
    }
}

#[cfg(feature = "cuda")]
fn cuda(name: &str, index: &str) -> Result<Device, ModelError> {
    use burn::tensor::DeviceType;

    let index: usize = index
        .parse()
        .map_err(|_| missing(name, "the part after the colon is the number of a GPU"))?;
    // A device is opened lazily and panics when it is first used; enumerating is the check that does not.
    match Device::enumerate(DeviceType::Cuda).into_vec().len() {
        0 => Err(missing(
            name,
            "this machine has no CUDA driver or no GPU; use `cpu`",
        )),
        count if index >= count => Err(missing(
            name,
            &format!("this machine has {count} GPU(s), from `cuda:0`"),
        )),
        _ => Ok(Device::cuda(index)),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(name: &str, _index: &str) -> Result<Device, ModelError> {
    Err(missing(
        name,
        "this build has no CUDA; build with `--features cuda`, or use `cpu`",
    ))
}

fn missing(asked: &str, reason: &str) -> ModelError {
    ModelError::Device {
        asked: asked.to_owned(),
        reason: reason.to_owned(),
    }
}
