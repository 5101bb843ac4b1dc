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

/// Returns the name of a device with what its arithmetic may depend on: of a GPU, its model and its driver.
///
/// Such as `cuda:0, NVIDIA H200, compute capability 9.0, driver 580.159.04`; what cannot be found out is left out.
pub fn describe_device(name: &str) -> String {
    match name.split_once(':').unwrap_or((name, "0")) {
        ("cuda", index) => [name.to_owned()]
            .into_iter()
            .chain(about_gpu(index))
            .collect::<Vec<_>>()
            .join(", "),
        _ => name.to_owned(),
    }
}

#[cfg(feature = "cuda")]
fn about_gpu(index: &str) -> Vec<String> {
    let mut about = Vec::new();
    let context = index
        .parse()
        .ok()
        .filter(|_| parse_device(&format!("cuda:{index}")).is_ok());
    let context = context.and_then(|index| cudarc::driver::CudaContext::new(index).ok());
    if let Some(context) = context {
        about.extend(context.name());
        let capability = context.compute_capability();
        about
            .extend(capability.map(|(major, minor)| format!("compute capability {major}.{minor}")));
    }
    let driver = std::fs::read_to_string("/sys/module/nvidia/version");
    about.extend(driver.map(|version| format!("driver {}", version.trim())));
    about
}

#[cfg(not(feature = "cuda"))]
fn about_gpu(_index: &str) -> Vec<String> {
    Vec::new()
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
