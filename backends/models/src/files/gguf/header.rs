//! The header of a GGUF file: metadata and table of tensors, with every length checked.

use std::collections::BTreeMap;
use std::io::Read;

use super::quant::ggml_name;
use super::value::{GgufArray, GgufValue};
use super::{FileError, Input, TensorInfo, TensorType};

/// The most bytes a header may take, metadata and table of tensors together.
pub const MAX_HEADER_BYTES: u64 = 256 << 20;
/// The most metadata keys.
pub const MAX_KEYS: u64 = 65_536;
/// The most tensors.
pub const MAX_TENSORS: u64 = 65_536;
/// The longest key or tensor name, in bytes; the format allows no longer key.
pub const MAX_NAME_BYTES: u64 = 65_535;
/// The most arrays inside one another.
pub const MAX_ARRAY_DEPTH: usize = 4;
/// The most dimensions of a tensor; the format allows no more.
pub const MAX_DIMENSIONS: u32 = 4;
/// The largest alignment of the tensors' data, in bytes.
pub const MAX_ALIGNMENT: u64 = 1 << 20;

const DEFAULT_ALIGNMENT: u64 = 32;
const ALIGNMENT_KEY: &str = "general.alignment";
/// A key is at least its length, a type and a value of one byte.
const LEAST_KEY_BYTES: u64 = 8 + 4 + 1;
/// A tensor is at least its name's length, dimension count, one extent, type and offset.
const LEAST_TENSOR_BYTES: u64 = 8 + 4 + 8 + 4 + 8;

/// What the header of a file says.
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) metadata: BTreeMap<String, GgufValue>,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
}

/// Reads a header from the beginning of a file.
pub(super) fn parse(input: &Input) -> Result<Header, FileError> {
    let mut reader = input.reader();
    let mut cursor = Cursor {
        input,
        reader: &mut reader,
        at: 0,
        end: input.length().min(MAX_HEADER_BYTES),
    };
    let version = preamble(&mut cursor)?;
    let tensor_count = cursor.count("tensors", MAX_TENSORS, LEAST_TENSOR_BYTES)?;
    let key_count = cursor.count("metadata keys", MAX_KEYS, LEAST_KEY_BYTES)?;

    let mut metadata = BTreeMap::new();
    for _ in 0..key_count {
        let start = cursor.at;
        let key = cursor.string("a metadata key", MAX_NAME_BYTES)?;
        let value = value(&mut cursor)?;
        if metadata.contains_key(&key) {
            return Err(cursor.fault(start, "every key once", format!("`{key}` again")));
        }
        metadata.insert(key, value);
    }
    let alignment = alignment(&cursor, &metadata)?;

    let mut tensors = BTreeMap::new();
    for _ in 0..tensor_count {
        let start = cursor.at;
        let (name, info) = tensor_info(&mut cursor, alignment)?;
        if tensors.contains_key(&name) {
            return Err(cursor.fault(start, "every tensor once", format!("`{name}` again")));
        }
        tensors.insert(name, info);
    }
    // At most a few hundred megabytes, so there is no overflow.
    let data_start = cursor.at.next_multiple_of(alignment);
    place(&mut tensors, data_start, input)?;
    Ok(Header {
        version,
        metadata,
        tensors,
    })
}

/// Checks the magic number and the version.
fn preamble(cursor: &mut Cursor<'_>) -> Result<u32, FileError> {
    let magic = cursor.bytes::<4>("the four letters `GGUF`")?;
    if magic != *b"GGUF" {
        let found = format!("`{}`", magic.escape_ascii());
        return Err(cursor.fault(0, "a GGUF file, which begins with `GGUF`", found));
    }
    let version = u32::from_le_bytes(cursor.bytes("a version")?);
    if matches!(version, 2 | 3) {
        return Ok(version);
    }
    let (found, advice) = if matches!(version.swap_bytes(), 1..=3) {
        (
            "a big-endian file".to_owned(),
            "convert it to a little-endian one",
        )
    } else {
        (
            format!("version {version}"),
            "convert it to version 3 with a current llama.cpp",
        )
    };
    let file = cursor.input.name();
    Err(FileError::unsupported(
        file,
        "byte 4",
        "GGUF version 2 or 3",
        found,
        advice,
    ))
}

fn alignment(
    cursor: &Cursor<'_>,
    metadata: &BTreeMap<String, GgufValue>,
) -> Result<u64, FileError> {
    let Some(value) = metadata.get(ALIGNMENT_KEY) else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    let sound =
        |alignment: &u64| alignment.is_power_of_two() && (8..=MAX_ALIGNMENT).contains(alignment);
    value.as_u64().filter(sound).ok_or_else(|| {
        FileError::malformed(
            cursor.input.name(),
            format!("metadata key `{ALIGNMENT_KEY}`"),
            format!("a power of two from 8 to {MAX_ALIGNMENT}"),
            value
                .as_u64()
                .map_or_else(|| value.type_name(), |number| number.to_string()),
        )
    })
}

fn value(cursor: &mut Cursor<'_>) -> Result<GgufValue, FileError> {
    let start = cursor.at;
    let kind = u32::from_le_bytes(cursor.bytes("a value type")?);
    Ok(match kind {
        0 => GgufValue::U8(u8::from_le_bytes(cursor.bytes("a u8")?)),
        1 => GgufValue::I8(i8::from_le_bytes(cursor.bytes("an i8")?)),
        2 => GgufValue::U16(u16::from_le_bytes(cursor.bytes("a u16")?)),
        3 => GgufValue::I16(i16::from_le_bytes(cursor.bytes("an i16")?)),
        4 => GgufValue::U32(u32::from_le_bytes(cursor.bytes("a u32")?)),
        5 => GgufValue::I32(i32::from_le_bytes(cursor.bytes("an i32")?)),
        6 => GgufValue::F32(f32::from_le_bytes(cursor.bytes("an f32")?)),
        7 => GgufValue::Bool(cursor.boolean()?),
        8 => GgufValue::String(cursor.string("a string", MAX_HEADER_BYTES)?),
        9 => GgufValue::Array(array(cursor, 1)?),
        10 => GgufValue::U64(u64::from_le_bytes(cursor.bytes("a u64")?)),
        11 => GgufValue::I64(i64::from_le_bytes(cursor.bytes("an i64")?)),
        12 => GgufValue::F64(f64::from_le_bytes(cursor.bytes("an f64")?)),
        _ => return Err(cursor.fault(start, "a value type from 0 to 12", kind.to_string())),
    })
}

fn array(cursor: &mut Cursor<'_>, depth: usize) -> Result<GgufArray, FileError> {
    let start = cursor.at;
    let kind = u32::from_le_bytes(cursor.bytes("an element type")?);
    if kind == 9 && depth == MAX_ARRAY_DEPTH {
        let expected = format!("at most {MAX_ARRAY_DEPTH} arrays inside one another");
        return Err(cursor.fault(start, expected, "one more"));
    }
    Ok(match kind {
        0 => GgufArray::U8(numbers(cursor, u8::from_le_bytes)?),
        1 => GgufArray::I8(numbers(cursor, i8::from_le_bytes)?),
        2 => GgufArray::U16(numbers(cursor, u16::from_le_bytes)?),
        3 => GgufArray::I16(numbers(cursor, i16::from_le_bytes)?),
        4 => GgufArray::U32(numbers(cursor, u32::from_le_bytes)?),
        5 => GgufArray::I32(numbers(cursor, i32::from_le_bytes)?),
        6 => GgufArray::F32(numbers(cursor, f32::from_le_bytes)?),
        7 => GgufArray::Bool(elements(cursor, 1, |c| c.boolean())?),
        8 => GgufArray::String(elements(cursor, 8, |c| {
            c.string("a string", MAX_HEADER_BYTES)
        })?),
        9 => GgufArray::Array(elements(cursor, 4 + 8, |c| array(c, depth + 1))?),
        10 => GgufArray::U64(numbers(cursor, u64::from_le_bytes)?),
        11 => GgufArray::I64(numbers(cursor, i64::from_le_bytes)?),
        12 => GgufArray::F64(numbers(cursor, f64::from_le_bytes)?),
        _ => return Err(cursor.fault(start, "an element type from 0 to 12", kind.to_string())),
    })
}

fn numbers<const N: usize, T>(
    cursor: &mut Cursor<'_>,
    read: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, FileError> {
    elements(cursor, N as u64, |cursor| {
        cursor.bytes("an array element").map(&read)
    })
}

/// Reads an array's length and elements, of which each takes at least `least` bytes.
fn elements<T>(
    cursor: &mut Cursor<'_>,
    least: u64,
    read: impl Fn(&mut Cursor<'_>) -> Result<T, FileError>,
) -> Result<Vec<T>, FileError> {
    let count = cursor.count("array elements", MAX_HEADER_BYTES, least)?;
    (0..count).map(|_| read(cursor)).collect()
}

/// Reads a line of the table; the offset is still relative to the tensors' data.
fn tensor_info(cursor: &mut Cursor<'_>, alignment: u64) -> Result<(String, TensorInfo), FileError> {
    let name = cursor.string("a tensor name", MAX_NAME_BYTES)?;
    let start = cursor.at;
    let dimensions = u32::from_le_bytes(cursor.bytes("a number of dimensions")?);
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        let expected = format!("1 to {MAX_DIMENSIONS} dimensions for tensor `{name}`");
        return Err(cursor.fault(start, expected, dimensions.to_string()));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let extent = u64::from_le_bytes(cursor.bytes("an extent")?);
        shape.push(usize::try_from(extent).unwrap_or(usize::MAX));
    }
    // The file has the contiguous dimension first.
    shape.reverse();

    let kind = tensor_type(cursor, &name)?;
    let Some(length) = data_length(&shape, kind) else {
        let expected = format!(
            "a shape of whole {} blocks (of {}) for tensor `{name}`",
            kind.name(),
            kind.block_values()
        );
        return Err(cursor.fault(start, expected, format!("{shape:?}")));
    };
    let at = cursor.at;
    let offset = u64::from_le_bytes(cursor.bytes("an offset")?);
    if offset % alignment != 0 {
        let expected = format!("an offset that is a multiple of {alignment} for tensor `{name}`");
        return Err(cursor.fault(at, expected, offset.to_string()));
    }
    Ok((
        name,
        TensorInfo {
            shape,
            kind,
            offset,
            length,
        },
    ))
}

fn tensor_type(cursor: &mut Cursor<'_>, name: &str) -> Result<TensorType, FileError> {
    let id = u32::from_le_bytes(cursor.bytes("a tensor type")?);
    TensorType::from_id(id).ok_or_else(|| {
        let supported: Vec<&str> = TensorType::all().map(TensorType::name).collect();
        FileError::unsupported(
            cursor.input.name(),
            format!("tensor `{name}`"),
            format!("one of the types {}", supported.join(", ")),
            format!("{} (type {id})", ggml_name(id)),
            "take a file of another kind, such as Q4_K_M or Q8_0, or make one: \
             llama-quantize --allow-requantize FILE NEW Q8_0",
        )
    })
}

/// The bytes of a tensor; none if it is empty, too large to count, or not of whole blocks.
fn data_length(shape: &[usize], kind: TensorType) -> Option<u64> {
    let values = shape
        .iter()
        .try_fold(1_usize, |product, &extent| product.checked_mul(extent))?;
    // The decoded tensor must be addressable as well.
    values
        .checked_mul(size_of::<f32>())
        .filter(|&bytes| bytes <= isize::MAX as usize)?;
    let rows_are_whole = shape
        .last()
        .is_some_and(|inner| inner % kind.block_values() == 0);
    if values == 0 || !rows_are_whole {
        return None;
    }
    (values / kind.block_values())
        .checked_mul(kind.block_bytes())?
        .try_into()
        .ok()
}

/// Makes offsets absolute, and checks that the data lies in the file and does not overlap.
fn place(
    tensors: &mut BTreeMap<String, TensorInfo>,
    data_start: u64,
    input: &Input,
) -> Result<(), FileError> {
    let fault = |name: &str, place: u64, expected: String, found: String| {
        let place = format!("byte {place}, the data of tensor `{name}`,");
        Err(FileError::malformed(input.name(), place, expected, found))
    };
    let mut ranges = Vec::with_capacity(tensors.len());
    for (name, info) in tensors.iter_mut() {
        info.offset = info.offset.saturating_add(data_start);
        let end = info.offset.saturating_add(info.length);
        if end > input.length() {
            let found = format!("the end of the file after {} bytes", input.length());
            return fault(name, info.offset, format!("{} bytes", info.length), found);
        }
        ranges.push((info.offset, end, name.as_str()));
    }
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        let ((_, end, first), (start, _, second)) = (pair[0], pair[1]);
        if start < end {
            let expected = "data of its own".to_owned();
            return fault(
                second,
                start,
                expected,
                format!("bytes of tensor `{first}`"),
            );
        }
    }
    Ok(())
}

/// A place in the header, which never moves past the end.
struct Cursor<'a> {
    input: &'a Input,
    reader: &'a mut dyn Read,
    at: u64,
    end: u64,
}

impl Cursor<'_> {
    fn bytes<const N: usize>(&mut self, expected: &str) -> Result<[u8; N], FileError> {
        self.need(N as u64, expected)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn boolean(&mut self) -> Result<bool, FileError> {
        let start = self.at;
        match self.bytes("a boolean")? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(self.fault(start, "a boolean, 0 or 1", other.to_string())),
        }
    }

    /// Reads a number of things, of which each takes at least `least` bytes.
    fn count(&mut self, things: &str, most: u64, least: u64) -> Result<u64, FileError> {
        let start = self.at;
        let count = u64::from_le_bytes(self.bytes(&format!("a number of {things}"))?);
        let most = most.min((self.end - self.at) / least);
        if count > most {
            let expected = format!("at most {most} {things}");
            return Err(self.fault(start, expected, count.to_string()));
        }
        Ok(count)
    }

    fn string(&mut self, what: &str, most: u64) -> Result<String, FileError> {
        let start = self.at;
        let length = self.count("bytes of text", most, 1)?;
        // At most MAX_HEADER_BYTES, and no more than the file has left.
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes)
            .map_err(|_| self.fault(start, format!("{what} in UTF-8"), "other bytes"))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), FileError> {
        let filled = self.reader.read_exact(bytes);
        filled.map_err(|source| self.input.fault(source))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn need(&self, length: u64, expected: &str) -> Result<(), FileError> {
        if length <= self.end - self.at {
            return Ok(());
        }
        let found = if self.end < self.input.length() {
            format!("a header of more than {MAX_HEADER_BYTES} bytes")
        } else {
            format!("the end of the file after {} bytes", self.end)
        };
        Err(self.fault(self.at, expected, found))
    }

    fn fault(&self, at: u64, expected: impl Into<String>, found: impl Into<String>) -> FileError {
        FileError::malformed(self.input.name(), format!("byte {at}"), expected, found)
    }
}
