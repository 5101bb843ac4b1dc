//! Mamba, which is no decoder: [`mamba`](crate::mamba).

use super::Kind;
use crate::architecture::Architecture;
use crate::mamba::MambaLm;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["mamba"],
    gguf: Some("mamba"),
    kind: Kind::Other(|files, device| Ok(Box::new(MambaLm::load(files, device)?))),
};
