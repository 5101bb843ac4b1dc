//! Training on several devices, with a replica of the model on each.

use std::collections::BTreeSet;

use burn::tensor::Device;
use burn::tensor::distributed::DistributedConfig;
use burn::train::ExecutionStrategy;
use interloom_backends::device_name;

use crate::error::Error;

/// Returns burn's strategy for training a replica on each device (DDP), where burn can.
///
/// Burn trains each rank on a thread of its own, where [`step`](super::step) runs its mediators,
/// without a journal: the loop of this strategy cannot be entered at a step, and ranks of one
/// process draw from one generator.
///
/// # Errors
///
/// [`Error::NoCollectives`] if a device is no GPU with CUDA, or is there twice: burn panics then.
pub fn replicas(
    devices: Vec<Device>,
    config: DistributedConfig,
) -> Result<ExecutionStrategy, Error> {
    let mut seen = BTreeSet::new();
    let names = devices.iter().map(device_name);
    let mut unfit = names.filter(|name| !name.starts_with("cuda:") || !seen.insert(name.clone()));
    match unfit.next() {
        Some(device) => Err(Error::NoCollectives { device }),
        None => Ok(ExecutionStrategy::ddp(devices, config)),
    }
}
