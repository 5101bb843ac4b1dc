//! A journal in the place of a model.

use std::path::Path;

use burn::tensor::{Device, TensorData};
use interloom::{Subject, environment};
use interloom_backends::Sites;
use interloom_journal::{Head, JournalReader, ModelIdentity};

/// A model of which a journal's head has all that there is.
pub(crate) struct Known {
    head: Head,
    sites: Sites,
}

impl Known {
    pub(crate) fn of(journal: &Path) -> Self {
        let head = JournalReader::open(journal).unwrap().head().clone();
        let sites = environment::sites_of(&head).unwrap();
        Self { head, sites }
    }
}

impl Subject for Known {
    fn name(&self) -> &str {
        &self.head.model.as_ref().unwrap().name
    }

    fn sites(&self) -> &Sites {
        &self.sites
    }

    fn device(&self) -> Device {
        Device::flex()
    }

    fn visit_parameters(&self, _: &mut dyn FnMut(&str, TensorData)) {}

    fn identity(&self) -> Option<ModelIdentity> {
        self.head.model.clone()
    }
}
