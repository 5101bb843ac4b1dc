//! Tiny GPT-2 models as Hugging Face folders, with what PyTorch and transformers made of them.
//!
//! Weights, configurations and expected values are in `tests/gpt2`: three blocks of width 32 with
//! four heads, in float32 and in half precision. Expected are, for two batches of tokens, what
//! enters the first block and leaves each, the attention patterns, the logits and the loss, and the
//! gradients of the loss.

use std::borrow::Cow;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, View};
use tempfile::TempDir;

pub(crate) const CONFIG: &str = include_str!("../gpt2/config.json");
pub(crate) const OLD_CONFIG: &str = include_str!("../gpt2/config.old.json");
pub(crate) const TOKENIZER: &str = include_str!("../gpt2/tokenizer.json");

/// A tensor of a file: type, shape and bytes.
#[derive(Clone)]
pub(crate) struct Stored(pub(crate) Dtype, pub(crate) Vec<usize>, pub(crate) Vec<u8>);

impl Stored {
    fn of(view: &TensorView<'_>) -> Self {
        let (shape, bytes) = (view.shape().to_vec(), view.data().to_vec());
        Self(view.dtype(), shape, bytes)
    }

    /// What it holds, as integers or floats.
    pub(crate) fn numbers(&self) -> Vec<f64> {
        let Self(dtype, _, bytes) = self;
        match dtype {
            Dtype::F32 => numbers(bytes, |four| f64::from(f32::from_le_bytes(four))),
            Dtype::I64 => numbers(bytes, |eight| i64::from_le_bytes(eight) as f64),
            other => panic!("{other}"),
        }
    }
}

fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let chunks = bytes.chunks_exact(N);
    chunks
        .map(|chunk| number(chunk.try_into().unwrap()))
        .collect()
}

impl View for &Stored {
    fn dtype(&self) -> Dtype {
        self.0
    }

    fn shape(&self) -> &[usize] {
        &self.1
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.2)
    }

    fn data_len(&self) -> usize {
        self.2.len()
    }
}

/// Reads `tests/gpt2/NAME.safetensors`.
pub(crate) fn stored(name: &str) -> Vec<(String, Stored)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpt2");
    read_stored(&folder.join(format!("{name}.safetensors")))
}

/// Reads a file of tensors.
pub(crate) fn read_stored(path: &Path) -> Vec<(String, Stored)> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter();
    tensors
        .map(|(name, view)| (name.to_owned(), Stored::of(&view)))
        .collect()
}

/// Writes the folder of a model.
pub(crate) fn folder(config: &str, weights: &[(String, Stored)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    put("config.json", config.as_bytes());
    put("tokenizer.json", TOKENIZER.as_bytes());
    let views = weights.iter().map(|(name, stored)| (name.as_str(), stored));
    put(
        "model.safetensors",
        &safetensors::serialize(views, None).unwrap(),
    );
    folder
}
