//! The device that a model runs on, by name.

use burn::tensor::Device;

use crate::error::ModelError;

/// Returns the device that is written `cpu`, `cuda` or `cuda:1`.
///
/// Nothing is ever chosen by default: burn's own default device depends on the features of the
/// whole build.
///
/// # Errors
///
/// [`ModelError::Device`] if the name is unknown, the build has no such device, or the machine has
/// none.
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

/// Returns the name that [`parse_device`] reads for a device: `cpu`, or `cuda:N`.
///
/// A device that a server has is `remote`: where the server is does not matter. One of another kind
/// has the name that burn shows.
pub fn device_name(device: &Device) -> String {
    let device = &device.clone().without_autodiff();
    let shown = format!("{device:?}");
    if *device == Device::flex() {
        return "cpu".to_owned();
    }
    // What burn shows of it has the address, and whatever else it takes to get there.
    if is_remote(device) {
        return "remote".to_owned();
    }
    #[cfg(feature = "cuda")]
    for index in 0..burn::tensor::Device::enumerate(burn::tensor::DeviceType::Cuda)
        .into_vec()
        .len()
    {
        if *device == Device::cuda(index) {
            return format!("cuda:{index}");
        }
    }
    shown
}

/// Returns whether a server has the device.
#[cfg(feature = "remote")]
pub(crate) fn is_remote(device: &Device) -> bool {
    let device = device.clone().without_autodiff();
    matches!(
        device.as_dispatch(),
        burn::backend::DispatchDevice::Remote(_)
    )
}

#[cfg(not(feature = "remote"))]
pub(crate) const fn is_remote(_: &Device) -> bool {
    false
}

/// Returns the name of a device with what its arithmetic may depend on: of a GPU, its model and its
/// driver.
///
/// Such as `cuda:0, NVIDIA H200, compute capability 9.0, driver 580.159.04`; what cannot be found
/// out is left out.
pub fn describe_device(name: &str) -> String {
    let mut described = vec![name.to_owned()];
    described.extend(about_gpu(name));
    described.join(", ")
}

#[cfg(feature = "cuda")]
fn about_gpu(name: &str) -> Vec<String> {
    let index = match name.split_once(':').unwrap_or((name, "0")) {
        ("cuda", index) if parse_device(name).is_ok() => index.parse().ok(),
        _ => None,
    };
    let context = index.and_then(|index| cudarc::driver::CudaContext::new(index).ok());
    let Some(context) = context else {
        return Vec::new();
    };
    let mut about = Vec::new();
    about.extend(context.name());
    let capability = context.compute_capability();
    about.extend(capability.map(|(major, minor)| format!("compute capability {major}.{minor}")));
    let driver = std::fs::read_to_string("/sys/module/nvidia/version");
    about.extend(driver.map(|version| format!("driver {}", version.trim())));
    about
}

#[cfg(not(feature = "cuda"))]
fn about_gpu(_name: &str) -> Vec<String> {
    Vec::new()
}

#[cfg(feature = "cuda")]
fn cuda(name: &str, index: &str) -> Result<Device, ModelError> {
    use burn::tensor::DeviceType;

    let index: usize = index
        .parse()
        .map_err(|_| missing(name, "the part after the colon is the number of a GPU"))?;
    // A device is opened lazily and panics when it is first used; enumerating is the check that
    // does not.
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
