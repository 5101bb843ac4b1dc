//! A reader of safetensors: one `model.safetensors`, or a folder of shards with an index.
//!
//! The header of each file is parsed and checked by the `safetensors` crate; the data stays on
//! disk until a tensor is loaded. An index (`model.safetensors.index.json`) and the shards that
//! it names must agree on where every tensor is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::safetensors::Dtype;
use ::safetensors::tensor::Metadata;
use half::{bf16, f16};
use serde::Deserialize;

use super::input::{Decode, Input, read_text};
use super::{FileError, RawTensor};

/// The file of a model that is not sharded.
pub const SINGLE_FILE: &str = "model.safetensors";
/// The file that says which shard holds which tensor.
pub const INDEX_FILE: &str = "model.safetensors.index.json";
/// The longest header of a file, in bytes.
pub const MAX_HEADER_BYTES: u64 = 64 << 20;
/// The longest index, in bytes.
pub const MAX_INDEX_BYTES: u64 = 64 << 20;
/// The most shards.
pub const MAX_SHARDS: usize = 4096;

/// The bytes in front of a header, which are its length.
const LENGTH_BYTES: u64 = 8;

/// Open safetensors files: a table of tensors, and a way to load them.
pub struct Safetensors {
    name: String,
    shards: Vec<Shard>,
    /// Which shard holds a tensor.
    places: BTreeMap<String, usize>,
}

struct Shard {
    input: Input,
    metadata: Metadata,
    data_start: u64,
}

impl Safetensors {
    /// Opens the weights in a folder: `model.safetensors`, else the shards of
    /// `model.safetensors.index.json`, else the only `*.safetensors` file.
    ///
    /// # Errors
    ///
    /// E040 or E041 if a file is missing or cannot be read, E042 if one breaks the format or the
    /// index and the shards disagree.
    pub fn open_folder(folder: &Path) -> Result<Self, FileError> {
        let single = folder.join(SINGLE_FILE);
        if single.exists() {
            return Self::open(&single);
        }
        let index = folder.join(INDEX_FILE);
        if index.exists() {
            return Self::open_index(&index);
        }
        match &files_in(folder)?[..] {
            [only] => Self::open(only),
            files => Err(FileError::NotFound {
                expected: format!("{SINGLE_FILE} or {INDEX_FILE} in {}", folder.display()),
                found: format!(
                    "{} files with other names that end in .safetensors",
                    files.len()
                ),
                advice: "fetch the model again, with its index".to_owned(),
            }),
        }
    }

    /// Opens a single file.
    ///
    /// # Errors
    ///
    /// E040 or E041 if it cannot be read, E042 if it breaks the format.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::single(Shard::read(Input::open(path)?)?)
    }

    /// Reads a single file that is in memory; `name` is what messages call it.
    ///
    /// # Errors
    ///
    /// E042 if it breaks the format.
    pub fn from_bytes(bytes: Vec<u8>, name: &str) -> Result<Self, FileError> {
        Self::single(Shard::read(Input::from_bytes(bytes, name))?)
    }

    /// Opens an index and all shards that it names.
    ///
    /// # Errors
    ///
    /// As for [`Safetensors::open_folder`].
    pub fn open_index(path: &Path) -> Result<Self, FileError> {
        let name = path.display().to_string();
        let files = shard_of_tensors(path, &name)?;
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for file in files.values() {
            let next = numbers.len();
            numbers.entry(file).or_insert(next);
        }
        if numbers.len() > MAX_SHARDS {
            let expected = format!("at most {MAX_SHARDS} shards");
            let found = numbers.len().to_string();
            return Err(FileError::malformed(&name, "`weight_map`", expected, found));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut in_order: Vec<(usize, &str)> = numbers.iter().map(|(f, n)| (*n, *f)).collect();
        in_order.sort_unstable();
        let shards = in_order
            .into_iter()
            .map(|(_, file)| Shard::read(Input::open(&folder.join(file))?))
            .collect::<Result<Vec<_>, _>>()?;
        let places = files
            .iter()
            .map(|(t, file)| (t.clone(), numbers[file.as_str()]))
            .collect();
        Self {
            name,
            shards,
            places,
        }
        .agreed()
    }

    fn single(shard: Shard) -> Result<Self, FileError> {
        let places = shard
            .metadata
            .offset_keys()
            .into_iter()
            .map(|tensor| (tensor, 0))
            .collect();
        Ok(Self {
            name: shard.input.name().to_owned(),
            shards: vec![shard],
            places,
        })
    }

    /// Checks that the shards hold the tensors that the index says, and no others.
    fn agreed(self) -> Result<Self, FileError> {
        for (tensor, &number) in &self.places {
            let shard = &self.shards[number];
            if shard.metadata.info(tensor).is_none() {
                let expected = format!("tensor `{tensor}`, which {} says is here", self.name);
                let place = "the table of tensors";
                return Err(FileError::malformed(
                    shard.input.name(),
                    place,
                    expected,
                    "no such tensor",
                ));
            }
        }
        for (number, shard) in self.shards.iter().enumerate() {
            for tensor in shard.metadata.offset_keys() {
                if self.places.get(&tensor) != Some(&number) {
                    let expected = format!("`{tensor}` of {} to be listed", shard.input.name());
                    let place = "`weight_map`";
                    return Err(FileError::malformed(
                        &self.name,
                        place,
                        expected,
                        "no entry for it",
                    ));
                }
            }
        }
        Ok(self)
    }

    /// Returns the name that messages use: the path of the file or of the index.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the names and shapes (outermost first) of all tensors, sorted by name.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.places.iter().filter_map(|(tensor, &shard)| {
            let info = self.shards[shard].metadata.info(tensor)?;
            Some((tensor.as_str(), info.shape.as_slice()))
        })
    }

    /// Reads one tensor and turns its values into `f32`; F64 is rounded to the nearest.
    ///
    /// # Errors
    ///
    /// E044 if there is no such tensor, E043 if its numbers are neither F32, F16, BF16 nor F64,
    /// E041 if the file cannot be read any more.
    pub fn load(&self, tensor: &str) -> Result<RawTensor, FileError> {
        let shard = self.places.get(tensor).map(|&shard| &self.shards[shard]);
        let found = shard.and_then(|shard| Some((shard, shard.metadata.info(tensor)?)));
        let Some((shard, info)) = found else {
            return Err(FileError::TensorMissing {
                file: self.name.clone(),
                name: tensor.to_owned(),
                found: "no such tensor".to_owned(),
                advice: "see the file's table of tensors".to_owned(),
            });
        };
        let (width, decode) = decoder(info.dtype).ok_or_else(|| {
            FileError::unsupported(
                shard.input.name(),
                format!("tensor `{tensor}`"),
                "one of the types F32, F16, BF16, F64",
                info.dtype.to_string(),
                "use a checkpoint that is not quantised",
            )
        })?;
        // Offsets were checked against each other and against the file when the header was read.
        let (start, end) = info.data_offsets;
        let (offset, length) = (shard.data_start + start as u64, (end - start) as u64);
        let data = shard.input.decode_at(offset, length, [width, 1], decode)?;
        Ok(RawTensor {
            shape: info.shape.clone(),
            data,
        })
    }
}

impl Shard {
    fn read(input: Input) -> Result<Self, FileError> {
        let fault = |input: &Input, place: &str, expected: String, found: String| {
            Err(FileError::malformed(input.name(), place, expected, found))
        };
        let mut length = [0; LENGTH_BYTES as usize];
        length.copy_from_slice(&input.read_at(0, LENGTH_BYTES)?);
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER_BYTES {
            let expected = format!("a header of at most {MAX_HEADER_BYTES} bytes");
            return fault(&input, "byte 0", expected, format!("{length} bytes"));
        }
        let header = input.read_at(LENGTH_BYTES, length)?;
        let metadata: Metadata = match serde_json::from_slice(&header) {
            Ok(metadata) => metadata,
            Err(error) => {
                let expected = "a table of tensors without gaps in JSON".to_owned();
                return fault(&input, "the header at byte 8", expected, error.to_string());
            }
        };
        let data_start = LENGTH_BYTES + length;
        let expected = data_start.checked_add(metadata.data_len() as u64);
        if expected != Some(input.length()) {
            let expected = format!("{} bytes of data", metadata.data_len());
            let found = format!("{} bytes", input.length() - data_start);
            return fault(&input, &format!("byte {data_start}"), expected, found);
        }
        Ok(Self {
            input,
            metadata,
            data_start,
        })
    }
}

/// The `*.safetensors` files in a folder, sorted.
pub(crate) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    super::source::files_ending_in(folder, "safetensors")
}

/// The shards that an index names, each once, sorted.
#[cfg(feature = "hub")]
pub(crate) fn shards_of_index(path: &Path) -> Result<Vec<String>, FileError> {
    let files = shard_of_tensors(path, &path.display().to_string())?;
    let unique: std::collections::BTreeSet<String> = files.into_values().collect();
    Ok(unique.into_iter().collect())
}

/// Reads an index: which file holds a tensor.
fn shard_of_tensors(path: &Path, name: &str) -> Result<BTreeMap<String, String>, FileError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = read_text(path, MAX_INDEX_BYTES)?;
    let index: Index = serde_json::from_str(&text).map_err(|error| {
        let expected = "an object with a `weight_map` from tensors to files";
        FileError::malformed(name, "the JSON", expected, error.to_string())
    })?;
    for (tensor, file) in &index.weight_map {
        if !is_plain_name(file) {
            let expected = "the name of a .safetensors file in the same folder";
            let place = format!("`weight_map`, tensor `{tensor}`,");
            return Err(FileError::malformed(
                name,
                place,
                expected,
                format!("{file:?}"),
            ));
        }
    }
    Ok(index.weight_map)
}

/// Whether a name stays in its folder, on any system.
fn is_plain_name(file: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    file.ends_with(".safetensors") && file.chars().all(plain) && !file.starts_with('.')
}

/// Returns the bytes of a number of a type, and what decodes it.
fn decoder(dtype: Dtype) -> Option<(usize, Decode)> {
    Some(match dtype {
        Dtype::F32 => (4, |b, v| convert(b, v, f32::from_le_bytes)),
        Dtype::F16 => (2, |b, v| convert(b, v, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => (2, |b, v| convert(b, v, |b| bf16::from_le_bytes(b).to_f32())),
        Dtype::F64 => (8, |b, v| convert(b, v, |b| f64::from_le_bytes(b) as f32)),
        _ => return None,
    })
}

fn convert<const N: usize>(bytes: &[u8], values: &mut [f32], read: impl Fn([u8; N]) -> f32) {
    let numbers = bytes.as_chunks::<N>().0;
    for (value, &number) in values.iter_mut().zip(numbers) {
        *value = read(number);
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_files::safetensors_bytes;
    use super::*;

    fn floats(values: &[f32]) -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    }

    fn example() -> Vec<u8> {
        let half: Vec<u8> = [1.5_f32, -2.0]
            .iter()
            .flat_map(|&v| f16::from_f32(v).to_le_bytes())
            .collect();
        let brain: Vec<u8> = [3.0_f32]
            .iter()
            .flat_map(|&v| bf16::from_f32(v).to_le_bytes())
            .collect();
        let double: Vec<u8> = [0.1_f64].iter().flat_map(|v| v.to_le_bytes()).collect();
        safetensors_bytes(&[
            ("single", "F32", &[2, 2], &floats(&[1.0, 2.0, 3.0, -0.0])),
            ("half", "F16", &[2], &half),
            ("brain", "BF16", &[1], &brain),
            ("double", "F64", &[1], &double),
            ("whole", "I64", &[1], &[0; 8]),
        ])
    }

    #[test]
    fn every_float_type_becomes_f32() {
        let file = Safetensors::from_bytes(example(), "m.safetensors").unwrap();
        let load = |name: &str| file.load(name).unwrap();
        assert_eq!(
            load("single"),
            RawTensor {
                shape: vec![2, 2],
                data: vec![1.0, 2.0, 3.0, -0.0]
            }
        );
        assert_eq!(load("half").data, [1.5, -2.0]);
        assert_eq!(load("brain").data, [3.0]);
        assert_eq!(load("double").data, [0.1_f32]);
    }

    #[test]
    fn other_types_and_names_are_refused() {
        let file = Safetensors::from_bytes(example(), "m.safetensors").unwrap();
        let whole = file.load("whole").unwrap_err();
        assert_eq!(whole.code(), "E043");
        insta::assert_snapshot!(whole, @"expected one of the types F32, F16, BF16, F64, found I64 (at tensor `whole` of m.safetensors); use a checkpoint that is not quantised");
        assert_eq!(file.load("none").unwrap_err().code(), "E044");
    }

    #[test]
    fn no_cut_and_no_added_byte_is_accepted() {
        let bytes = example();
        for length in 0..bytes.len() {
            let cut = Safetensors::from_bytes(bytes[..length].to_vec(), "m").map(drop);
            assert_eq!(cut.unwrap_err().code(), "E042", "{length}");
        }
        let longer = [bytes, vec![0]].concat();
        assert_eq!(
            Safetensors::from_bytes(longer, "m")
                .map(drop)
                .unwrap_err()
                .code(),
            "E042"
        );
    }

    #[test]
    fn flipped_bits_never_panic() {
        let bytes = example();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(file) = Safetensors::from_bytes(flipped, "m") else {
                continue;
            };
            let shapes: Vec<(String, usize)> = file
                .shapes()
                .map(|(name, shape)| (name.to_owned(), shape.iter().product()))
                .collect();
            for (name, size) in shapes {
                if let Ok(tensor) = file.load(&name) {
                    assert_eq!(tensor.data.len(), size);
                }
            }
        }
    }

    fn sharded(index: &str) -> Result<Safetensors, FileError> {
        let folder = tempfile::tempdir().unwrap();
        let shard =
            |name: &str, value: f32| safetensors_bytes(&[(name, "F32", &[1], &floats(&[value]))]);
        std::fs::write(folder.path().join("m-1.safetensors"), shard("a", 1.0)).unwrap();
        std::fs::write(folder.path().join("m-2.safetensors"), shard("b", 2.0)).unwrap();
        std::fs::write(folder.path().join(INDEX_FILE), index).unwrap();
        // Open files stay readable when the folder goes.
        Safetensors::open_folder(folder.path())
    }

    #[test]
    fn shards_are_found_through_their_index() {
        let index = r#"{"weight_map": {"b": "m-2.safetensors", "a": "m-1.safetensors"}}"#;
        let file = sharded(index).unwrap();
        assert_eq!(
            file.shapes().map(|(name, _)| name).collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(file.load("a").unwrap().data, [1.0]);
        assert_eq!(file.load("b").unwrap().data, [2.0]);
    }

    #[test]
    fn an_index_that_lies_is_refused() {
        for (index, code) in [
            (
                r#"{"weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors"}}"#,
                "E042",
            ),
            (
                r#"{"weight_map": {"a": "m-1.safetensors", "c": "m-2.safetensors"}}"#,
                "E042",
            ),
            (
                r#"{"weight_map": {"a": "m-1.safetensors", "b": "m-3.safetensors"}}"#,
                "E040",
            ),
            (r#"{"weight_map": {"a": "../m-1.safetensors"}}"#, "E042"),
            (r#"{"weight_map": {"a": "/m-1.safetensors"}}"#, "E042"),
            (r#"{"weight_map": ["a"]}"#, "E042"),
            ("{", "E042"),
        ] {
            assert_eq!(
                sharded(index).map(drop).unwrap_err().code(),
                code,
                "{index}"
            );
        }
    }

    #[test]
    fn a_folder_needs_an_index_or_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let code = || {
            Safetensors::open_folder(folder.path())
                .map(drop)
                .map_err(|error| error.code())
        };
        assert_eq!(code(), Err("E040"));
        std::fs::write(folder.path().join("other.safetensors"), example()).unwrap();
        assert_eq!(code(), Ok(()));
        std::fs::write(folder.path().join("third.safetensors"), example()).unwrap();
        assert_eq!(code(), Err("E040"));
    }
}
