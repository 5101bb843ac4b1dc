//! What the tests of several rooms share; the tests themselves stand in `tests/`.
#![forbid(unsafe_code)]

use burn::tensor::{Device, TensorData};
use interloom::Subject;
use interloom_backends::Sites;
use interloom_engine::SiteMap;

pub mod interpret;

/// The models of recorded scenarios, of which each run has its own, on a device.
pub struct Scenarios {
    device: Device,
    sites: Sites,
}

impl Scenarios {
    /// Returns those on this device.
    pub fn on(device: Device) -> Self {
        let sites = Sites::without_model(SiteMap::new());
        Self { device, sites }
    }
}

impl Subject for Scenarios {
    fn name(&self) -> &str {
        "scenarios"
    }

    fn sites(&self) -> &Sites {
        &self.sites
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn visit_parameters(&self, _: &mut dyn FnMut(&str, TensorData)) {}
}
