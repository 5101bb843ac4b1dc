//! ViT, which takes images: [`vit`](crate::vit).

use super::Kind;
use crate::architecture::Architecture;
use crate::vit::VitLm;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["vit"],
    gguf: None,
    kind: Kind::Images(|files, device| Ok(Box::new(VitLm::load(files, device)?))),
};
