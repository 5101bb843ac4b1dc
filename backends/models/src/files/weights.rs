//! The weights of a model, under the names that Hugging Face gives them.
//!
//! A GGUF file has names of its own, and some tensors are [`GgufLayout`] otherwise: llama.cpp
//! rotates neighbouring values by the position, for example, Hugging Face values that are half a
//! head apart. [`Weights`] undoes both, so that a model is written once, for one layout.
//!
//! A tensor is read and decoded when it is taken, so that no more than one is ever held twice.

use std::collections::{BTreeMap, BTreeSet};

use super::similar::most_similar;
use super::{FileError, Gguf, Safetensors};

/// A tensor as plain data.
#[derive(Debug, Clone, PartialEq)]
pub struct RawTensor {
    /// The extents, outermost first.
    pub shape: Vec<usize>,
    /// The values, with the last dimension contiguous.
    pub data: Vec<f32>,
}

/// The weights of a model, each of which can be taken once.
pub struct Weights {
    source: Source,
    left: BTreeMap<String, Entry>,
    taken: BTreeSet<String>,
}

enum Source {
    Gguf(Gguf),
    Safetensors(Safetensors),
}

struct Entry {
    /// The name in the file.
    stored: String,
    /// Which index of the stored tensor's outermost dimension it is, if it is not all of it.
    part: Option<usize>,
    shape: Vec<usize>,
    how: GgufLayout,
}

/// How a tensor is stored in a GGUF file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GgufLayout {
    /// As the model has it.
    AsIs,
    /// With rows in an order in which, within each head, the pairs that are rotated together are
    /// neighbours.
    Interleaved {
        /// The number of heads.
        heads: usize,
    },
    /// With one added to each value.
    PlusOne,
    /// As minus the exponential of each value.
    MinusExponential,
    /// With several tensors as one, whose outermost dimension counts them.
    Stacked,
}

/// What the names of weights begin with that were saved with what trained them: of `torch.compile`,
/// of distributed training.
const WRAPPERS: [&str; 2] = ["_orig_mod.", "module."];

impl Weights {
    /// Takes the weights in a GGUF file; `name` says what Hugging Face calls each, and how it is
    /// stored. In the name of one that is [stacked](GgufLayout::Stacked), `*` stands for the
    /// number.
    #[must_use]
    pub fn from_gguf(gguf: Gguf, name: impl Fn(&str) -> (String, GgufLayout)) -> Self {
        let mut left = BTreeMap::new();
        for (stored, info) in gguf.tensors() {
            let (name, how) = name(stored);
            let entry = |part, shape: &[usize]| Entry {
                stored: stored.clone(),
                part,
                shape: shape.to_vec(),
                how,
            };
            match (how, &info.shape[..]) {
                (GgufLayout::Stacked, &[count, ref shape @ ..]) => {
                    let one = |part: usize| {
                        let name = name.replace('*', &part.to_string());
                        (name, entry(Some(part), shape))
                    };
                    left.extend((0..count).map(one));
                }
                (_, shape) => drop(left.insert(name, entry(None, shape))),
            }
        }
        Self {
            source: Source::Gguf(gguf),
            left,
            taken: BTreeSet::new(),
        }
    }

    /// Takes the weights in safetensors files.
    #[must_use]
    pub fn from_safetensors(files: Safetensors) -> Self {
        let entry = |(name, shape): (&str, &[usize])| {
            let (stored, shape) = (name.to_owned(), shape.to_vec());
            (
                name.to_owned(),
                Entry {
                    stored,
                    part: None,
                    shape,
                    how: GgufLayout::AsIs,
                },
            )
        };
        let left = files.shapes().map(entry).collect();
        Self {
            source: Source::Safetensors(files),
            left,
            taken: BTreeSet::new(),
        }
    }

    /// Returns the names of the tensors that were not taken yet, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.left.keys().map(String::as_str)
    }

    /// Returns the shape of a tensor that was not taken yet, outermost first.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.left.get(name).map(|entry| entry.shape.as_slice())
    }

    /// Reads a tensor and takes it out.
    ///
    /// # Errors
    ///
    /// E044 if there is no such tensor or it was taken before, E045 if it has another shape, E043
    /// if its numbers are of an unsupported type, E041 if the file cannot be read any more. After
    /// an error the tensor is still there.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<RawTensor, FileError> {
        let Some(entry) = self.left.get(name) else {
            return Err(self.missing(name));
        };
        if !self.source.has_shape(&entry.shape, shape) {
            return Err(FileError::TensorShape {
                file: self.file().to_owned(),
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: entry.shape.clone(),
            });
        }
        let mut tensor = match &self.source {
            Source::Gguf(gguf) => gguf.load_part(&entry.stored, entry.part)?,
            Source::Safetensors(files) => files.load(&entry.stored)?,
        };
        tensor.shape = shape.to_vec();
        let tensor = entry.how.undone(tensor);
        self.left.remove(name);
        self.taken.insert(name.to_owned());
        Ok(tensor)
    }

    /// Leaves out a tensor that is no weight of the model; it is not read.
    pub fn leave(&mut self, name: &str) {
        self.left.remove(name);
    }

    /// Ends the reading, when the model has all it needs.
    ///
    /// # Errors
    ///
    /// E046 if tensors are left over: the model in the file is then not the one that was built.
    /// `rotary_emb.inv_freq`, which old checkpoints carry along and the configuration determines,
    /// may be left.
    pub fn finish(self) -> Result<(), FileError> {
        let counts = |name: &&str| !name.ends_with("rotary_emb.inv_freq");
        let names: Vec<String> = self.names().filter(counts).map(str::to_owned).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(FileError::UnexpectedTensors {
            file: self.file().to_owned(),
            names,
        })
    }

    fn file(&self) -> &str {
        match &self.source {
            Source::Gguf(gguf) => gguf.name(),
            Source::Safetensors(files) => files.name(),
        }
    }

    /// Returns whether there are tensors left, and the names of all begin like this.
    fn begin_with(&self, prefix: &str) -> bool {
        let mut names = self.names().peekable();
        names.peek().is_some() && names.all(|name| name.starts_with(prefix))
    }

    fn missing(&self, name: &str) -> FileError {
        let (found, advice) = if self.taken.contains(name) {
            (
                "that it was taken before",
                "take every tensor once".to_owned(),
            )
        } else if let Some(prefix) = WRAPPERS.iter().find(|prefix| self.begin_with(prefix)) {
            (
                "no such tensor",
                format!(
                    "all names in the file begin with `{prefix}`, which is of what the model was wrapped in when it was trained: \
                     take it off in Python, with `str.removeprefix` and `safetensors.torch.save_file`"
                ),
            )
        } else if let Some(nearest) = most_similar(name, self.names()) {
            (
                "no such tensor",
                format!("the most similar name left is `{nearest}`"),
            )
        } else {
            (
                "no such tensor",
                "check that the file is of the model that its configuration describes".to_owned(),
            )
        };
        FileError::TensorMissing {
            file: self.file().to_owned(),
            name: name.to_owned(),
            found: found.to_owned(),
            advice,
        }
    }
}

impl Source {
    /// Returns whether a tensor has the shape that is asked for. In GGUF files, dimensions of
    /// extent 1 may be left out.
    fn has_shape(&self, stored: &[usize], shape: &[usize]) -> bool {
        let wide = |shape: &[usize]| -> Vec<usize> {
            shape
                .iter()
                .copied()
                .filter(|&extent| extent != 1)
                .collect()
        };
        stored == shape || (matches!(self, Self::Gguf(_)) && wide(stored) == wide(shape))
    }
}

impl GgufLayout {
    /// Returns the tensor that was stored so.
    fn undone(self, mut tensor: RawTensor) -> RawTensor {
        let values = tensor.data.iter_mut();
        match self {
            Self::AsIs | Self::Stacked => {}
            Self::Interleaved { heads } => return halves_apart(tensor, heads),
            Self::PlusOne => values.for_each(|value| *value -= 1.0),
            Self::MinusExponential => {
                values.for_each(|value| *value = f64::from(-*value).ln() as f32);
            }
        }
        tensor
    }
}

/// Reorders the rows of `[heads * width, ..]` from interleaved pairs to halves.
///
/// In NumPy: `w.reshape(heads, width / 2, 2, -1).swapaxes(1, 2).reshape(w.shape)`, the inverse of
/// `permute` in llama.cpp's `convert_hf_to_gguf.py`. Rows that are not whole heads stay, as the
/// shape that the model asks for then differs as well.
fn halves_apart(tensor: RawTensor, heads: usize) -> RawTensor {
    let rows = tensor.shape.first().copied().unwrap_or(0);
    let width = rows.checked_div(heads).unwrap_or(0);
    if rows == 0 || width * heads != rows || !width.is_multiple_of(2) {
        return tensor;
    }
    let length = tensor.data.len() / rows;
    let mut data = Vec::with_capacity(tensor.data.len());
    for head in 0..heads {
        for side in 0..2 {
            for pair in 0..width / 2 {
                let row = head * width + 2 * pair + side;
                data.extend_from_slice(&tensor.data[row * length..(row + 1) * length]);
            }
        }
    }
    RawTensor {
        shape: tensor.shape,
        data,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ModelFiles;
    use super::super::test_files::{safetensors_bytes, tiny_model};
    use super::*;
    use crate::families::llama;

    fn tiny() -> Weights {
        let files = ModelFiles::Gguf(tiny_model().open());
        llama::open(files).unwrap().1
    }

    #[test]
    fn query_and_key_rows_are_reordered() {
        let mut weights = tiny();
        // The value of a tensor's element is its number, and a row has 8 elements.
        let first_of_rows = |tensor: &RawTensor| -> Vec<f32> {
            tensor.data.chunks(8).map(|row| row[0] / 8.0).collect()
        };
        let query = weights
            .take("model.layers.0.self_attn.q_proj.weight", &[8, 8])
            .unwrap();
        assert_eq!(
            first_of_rows(&query),
            [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
        );
        let key = weights
            .take("model.layers.0.self_attn.k_proj.weight", &[4, 8])
            .unwrap();
        assert_eq!(first_of_rows(&key), [0.0, 2.0, 1.0, 3.0]);
        let value = weights
            .take("model.layers.0.self_attn.v_proj.weight", &[4, 8])
            .unwrap();
        assert_eq!(first_of_rows(&value), [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn biases_are_reordered_like_their_weights() {
        let bias = RawTensor {
            shape: vec![6],
            data: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        };
        assert_eq!(
            halves_apart(bias.clone(), 1).data,
            [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]
        );
        // Heads of width 3 cannot be paired.
        assert_eq!(halves_apart(bias.clone(), 2), bias);
    }

    #[test]
    fn a_tensor_is_taken_once_and_with_its_shape() {
        let mut weights = tiny();
        let name = "model.layers.0.mlp.up_proj.weight";
        let shape = weights.take(name, &[8, 12]).unwrap_err();
        assert_eq!(shape.code(), "E045");
        insta::assert_snapshot!(shape, @"expected shape [8, 12] for tensor `model.layers.0.mlp.up_proj.weight`, found [12, 8] in tiny.gguf; the weights and the configuration are of different models: fetch both again");
        assert!(weights.take(name, &[12, 8]).is_ok());
        let again = weights.take(name, &[12, 8]).unwrap_err();
        assert_eq!(again.code(), "E044");
        insta::assert_snapshot!(again, @"expected a tensor `model.layers.0.mlp.up_proj.weight` in tiny.gguf, found that it was taken before; take every tensor once");
    }

    #[test]
    fn a_missing_tensor_names_the_nearest() {
        let mut weights = tiny();
        insta::assert_snapshot!(weights.take("model.layers.0.mlp.gate_porj.weight", &[1]).unwrap_err(), @"expected a tensor `model.layers.0.mlp.gate_porj.weight` in tiny.gguf, found no such tensor; the most similar name left is `model.layers.0.mlp.gate_proj.weight`");
        insta::assert_snapshot!(weights.take("transformer.wte", &[1]).unwrap_err(), @"expected a tensor `transformer.wte` in tiny.gguf, found no such tensor; check that the file is of the model that its configuration describes");
    }

    #[test]
    fn names_of_a_wrapped_model_are_said_to_be() {
        let tensors = [("_orig_mod.model.norm.weight", "F32", &[1][..], &[0; 4][..])];
        let file = Safetensors::from_bytes(safetensors_bytes(&tensors), "model.safetensors");
        let mut weights = Weights::from_safetensors(file.unwrap());
        insta::assert_snapshot!(weights.take("model.norm.weight", &[1]).unwrap_err(), @"expected a tensor `model.norm.weight` in model.safetensors, found no such tensor; all names in the file begin with `_orig_mod.`, which is of what the model was wrapped in when it was trained: take it off in Python, with `str.removeprefix` and `safetensors.torch.save_file`");
    }

    #[test]
    fn all_tensors_must_be_taken() {
        let mut weights = tiny();
        let left: Vec<(String, Vec<usize>)> = weights
            .left
            .iter()
            .map(|(name, entry)| (name.clone(), entry.shape.clone()))
            .collect();
        for (name, shape) in &left[1..] {
            weights.take(name, shape).unwrap();
        }
        let error = weights.finish().unwrap_err();
        assert_eq!(error.code(), "E046");
        insta::assert_snapshot!(error, @"expected every tensor of tiny.gguf to be part of the model, found 1 more: `model.embed_tokens.weight`; the model would compute something else without them: use a plain model of its architecture");
    }

    #[test]
    fn stored_frequencies_may_be_left() {
        let value = 1.0_f32.to_le_bytes();
        let bytes = safetensors_bytes(&[
            (
                "model.layers.0.self_attn.rotary_emb.inv_freq",
                "F32",
                &[1],
                &value,
            ),
            ("model.norm.weight", "F32", &[1], &value),
        ]);
        let mut weights = Weights::from_safetensors(Safetensors::from_bytes(bytes, "m").unwrap());
        assert_eq!(weights.take("model.norm.weight", &[1]).unwrap().data, [1.0]);
        assert!(weights.finish().is_ok());
    }
}
