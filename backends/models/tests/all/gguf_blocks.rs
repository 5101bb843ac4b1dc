//! Blocks of every number format of GGUF files against the values that the Python library gguf
//! gives them.
//!
//! The blocks in `tests/gguf/blocks` are random bytes under scales of both signs; in some all bits
//! are set, or none, or the scales are subnormal or zero.

use std::path::Path;

use interloom_models::files::gguf::TensorType;

use crate::gpt2_files::read_stored;

#[test]
fn values_are_those_of_gguf_bit_for_bit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gguf/blocks");
    for kind in TensorType::all().filter(|&kind| kind != TensorType::F64) {
        let stored = read_stored(&folder.join(format!("{}.safetensors", kind.name())));
        let find = |name: &str| &stored.iter().find(|(it, _)| it == name).unwrap().1;
        let (blocks, values) = (find("blocks"), find("values"));
        assert_eq!(blocks.1[1], kind.block_bytes(), "{kind:?}");
        let found = kind.dequantise(&blocks.2);
        assert!(found.len() > 100, "{kind:?}");
        let found: Vec<u8> = found.into_iter().flat_map(f32::to_le_bytes).collect();
        assert!(found == values.2, "{kind:?}");
    }
}

#[test]
fn numbers_and_sizes_are_those_of_gguf() {
    #[derive(serde::Deserialize)]
    struct Format {
        type_id: u32,
        block_bytes: usize,
        block_values: usize,
    }
    let formats: std::collections::BTreeMap<String, Format> =
        serde_json::from_str(include_str!("../gguf/blocks/blocks.json")).unwrap();
    assert_eq!(formats.len() + 1, TensorType::all().len());
    for (name, format) in formats {
        let kind = TensorType::from_id(format.type_id).unwrap();
        assert_eq!(kind.name(), name);
        let found = (kind.block_bytes(), kind.block_values());
        assert_eq!(found, (format.block_bytes, format.block_values), "{name}");
    }
}
