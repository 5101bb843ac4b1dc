//! A reader of safetensors: one `model.safetensors`, or a folder of shards with an index.
//!
//! The header of each file is parsed and checked by the `safetensors` crate; the data stays on
//! disk until a tensor is loaded. An index (`model.safetensors.index.json`) and the shards that
//! it names must agree on where every tensor is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::safetensors::Dtype;
use ::safetensors::tensor::{Metadata, TensorInfo};
use half::{bf16, f16};
use serde::Deserialize;

use super::input::{Decode, Input, read_text};
use super::stray::{self, Content};
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

/// The types of numbers that weights may have.
const FLOATS: &str = "one of the types F32, F16, BF16, F64";

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
                advice: "fetch the model's index as well, or name its only file model.safetensors"
                    .to_owned(),
            }),
        }
    }

    /// Opens a single file.
    ///
    /// # Errors
    ///
    /// E040 or E041 if it cannot be read, E042 if it breaks the format.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::single(Shard::open(path)?)
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
            .map(|(_, file)| Shard::of_index(&folder.join(file), path))
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

    /// Returns the number format and the number of values of each tensor.
    pub(crate) fn formats(&self) -> impl Iterator<Item = (String, u64)> {
        let tables = self.shards.iter().map(|shard| shard.metadata.tensors());
        let infos = tables.flat_map(|tensors| tensors.into_values());
        infos.map(|info| {
            let values: usize = info.shape.iter().product();
            (info.dtype.to_string(), values as u64)
        })
    }

    /// Reads one tensor and turns its values into `f32`; F64 is rounded to the nearest.
    ///
    /// # Errors
    ///
    /// E044 if there is no such tensor, E043 if its numbers are neither F32, F16, BF16 nor F64,
    /// E041 if the file cannot be read any more.
    pub fn load(&self, tensor: &str) -> Result<RawTensor, FileError> {
        let (shard, info) = self.find(tensor)?;
        let Some((width, decode)) = decoder(info.dtype) else {
            let advice = "use weights that are not quantised";
            return Err(shard.unsupported(tensor, info, FLOATS, advice));
        };
        let (offset, length) = shard.range(info);
        Ok(RawTensor {
            shape: info.shape.clone(),
            data: shard.input.decode_at(offset, length, [width, 1], decode)?,
        })
    }

    /// Reads one tensor of floats, whole numbers or truths, which are 0 and 1, and turns its values
    /// into `f32`, as [`load`](Self::load) does.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load); E043 also if `f32` does not hold a whole number exactly.
    pub fn load_numbers(&self, tensor: &str) -> Result<RawTensor, FileError> {
        let (shard, info) = self.find(tensor)?;
        if decoder(info.dtype).is_some() {
            return self.load(tensor);
        }
        let (offset, length) = shard.range(info);
        let bytes = shard.input.read_at(offset, length)?;
        let data = decode_whole(info.dtype, &bytes).ok_or_else(|| {
            let expected = "floats, or whole numbers that F32 holds exactly";
            let advice = "write it as one of the types F32, F16, BF16, F64";
            shard.unsupported(tensor, info, expected, advice)
        })?;
        Ok(RawTensor {
            shape: info.shape.clone(),
            data,
        })
    }

    fn find(&self, tensor: &str) -> Result<(&Shard, &TensorInfo), FileError> {
        let shard = self.places.get(tensor).map(|&shard| &self.shards[shard]);
        let found = shard.and_then(|shard| Some((shard, shard.metadata.info(tensor)?)));
        found.ok_or_else(|| FileError::TensorMissing {
            file: self.name.clone(),
            name: tensor.to_owned(),
            found: "no such tensor".to_owned(),
            advice: "see the file's table of tensors".to_owned(),
        })
    }
}

impl Shard {
    fn open(path: &Path) -> Result<Self, FileError> {
        stray::check(path, Content::Safetensors)?;
        Self::read(Input::open(path)?)
    }

    /// Opens a shard that an index names.
    fn of_index(path: &Path, index: &Path) -> Result<Self, FileError> {
        if path.exists() {
            return Self::open(path);
        }
        Err(FileError::NotFound {
            expected: format!(
                "the shard {} that {} names",
                path.display(),
                index.display()
            ),
            found: "nothing there".to_owned(),
            advice: "fetch this file as well".to_owned(),
        })
    }

    /// Where a tensor's bytes are, and how many there are: offsets were checked against each other
    /// and against the file when the header was read.
    fn range(&self, info: &TensorInfo) -> (u64, u64) {
        let (start, end) = info.data_offsets;
        (self.data_start + start as u64, (end - start) as u64)
    }

    fn unsupported(
        &self,
        tensor: &str,
        info: &TensorInfo,
        expected: &str,
        advice: &str,
    ) -> FileError {
        let place = format!("tensor `{tensor}`");
        let found = info.dtype.to_string();
        FileError::unsupported(self.input.name(), place, expected, found, advice)
    }

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
    #[serde(expecting = "an object")]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    stray::check(path, Content::Json)?;
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

/// Whole numbers and truths, if all are the same as `f32`.
fn decode_whole(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let numbers = whole_numbers(dtype, bytes)?.into_iter();
    numbers
        .map(|number| Some(number as f32).filter(|&float| float as i128 == number))
        .collect()
}

/// Whole numbers of any width; truths are 0 and 1. Nothing if the type is another one.
#[must_use]
pub fn whole_numbers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<i128>> {
    fn all<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> i128) -> Vec<i128> {
        let numbers = bytes.as_chunks::<N>().0.iter();
        numbers.map(|&number| read(number)).collect()
    }
    Some(match dtype {
        Dtype::BOOL => all(bytes, |[byte]| i128::from(byte != 0)),
        Dtype::U8 => all(bytes, |b| u8::from_le_bytes(b).into()),
        Dtype::I8 => all(bytes, |b| i8::from_le_bytes(b).into()),
        Dtype::U16 => all(bytes, |b| u16::from_le_bytes(b).into()),
        Dtype::I16 => all(bytes, |b| i16::from_le_bytes(b).into()),
        Dtype::U32 => all(bytes, |b| u32::from_le_bytes(b).into()),
        Dtype::I32 => all(bytes, |b| i32::from_le_bytes(b).into()),
        Dtype::U64 => all(bytes, |b| u64::from_le_bytes(b).into()),
        Dtype::I64 => all(bytes, |b| i64::from_le_bytes(b).into()),
        _ => return None,
    })
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
        insta::assert_snapshot!(whole, @"expected one of the types F32, F16, BF16, F64, found I64 (at tensor `whole` of m.safetensors); use weights that are not quantised");
        assert_eq!(file.load("none").unwrap_err().code(), "E044");
    }

    #[test]
    fn whole_numbers_and_truths_are_numbers_if_they_stay_the_same() {
        let file = safetensors_bytes(&[
            ("truths", "BOOL", &[2], &[1, 0]),
            ("small", "I8", &[2], &[1, 0xff]),
            ("wide", "I64", &[1], &(-(1_i64 << 24)).to_le_bytes()),
            ("odd", "U32", &[1], &((1_u32 << 24) + 1).to_le_bytes()),
            ("float", "F32", &[1], &floats(&[0.5])),
        ]);
        let file = Safetensors::from_bytes(file, "m.safetensors").unwrap();
        let load = |name| file.load_numbers(name).map(|tensor| tensor.data);
        assert_eq!(load("truths").unwrap(), [1.0, 0.0]);
        assert_eq!(load("small").unwrap(), [1.0, -1.0]);
        assert_eq!(load("wide").unwrap(), [-16_777_216.0]);
        assert_eq!(load("float").unwrap(), [0.5]);
        let odd = load("odd").unwrap_err();
        assert_eq!(odd.code(), "E043");
        insta::assert_snapshot!(odd, @"expected floats, or whole numbers that F32 holds exactly, found U32 (at tensor `odd` of m.safetensors); write it as one of the types F32, F16, BF16, F64");
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
