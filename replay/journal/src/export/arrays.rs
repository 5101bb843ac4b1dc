//! The tensors of a journal, for NumPy and everything else that reads safetensors.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, Write};
use std::sync::Arc;

use serde_json::{Map, json};

use super::{Exported, Out, Selection, next_record, no_tensors};
use crate::digest::{DType, Digest};
use crate::error::{JournalError, Place};
use crate::index::Frames;
use crate::names::Names;
use crate::read::JournalReader;
use crate::record::{ExchangeRecord, Head, Record};
use crate::value::ValueTree;

/// The tensors of selected exchanges: where their bytes are, and what they are called.
struct Arrays<R> {
    frames: Frames<R>,
    journal: String,
    head: Head,
    arrays: Vec<Array>,
    torn: Option<JournalError>,
}

/// One tensor.
struct Array {
    /// Site and exchange, such as `layers.3.attn.output.i0#17`, and the place in its value.
    name: String,
    dtype: DType,
    shape: Vec<u64>,
    /// Where its frame starts.
    offset: u64,
}

/// A tensor that the journal has.
struct Kept {
    /// Where its frame starts.
    offset: u64,
    dtype: DType,
    shape: Vec<u64>,
}

/// Writes the tensors of the selected exchanges of a journal as a safetensors file.
///
/// A tensor is called by its site and the index of its exchange, `layers.3.attn.output.i0#17`; one
/// within a value also by its place, as in `…#17[1].hidden`. `name` is what errors call the output.
///
/// # Errors
/// Those of [`JournalReader`], E061 if the output cannot be written, E066 if an exchange names a
/// tensor of another shape than it has, E071 if a tensor is missing that the journal should have,
/// and E072 if it keeps none of these, or a site is not in it.
pub fn safetensors<R: Read + Seek, W: Write>(
    reader: JournalReader<R>,
    selection: Selection,
    sink: &mut W,
    name: &str,
) -> Result<Exported, JournalError> {
    let mut arrays = gather(reader, selection)?;
    // As the format's own writer does: the widest elements first keep all of them aligned.
    arrays.arrays.sort_by(|a, b| {
        let widths = b.dtype.element_bytes().cmp(&a.dtype.element_bytes());
        widths.then_with(|| a.name.cmp(&b.name))
    });
    let mut header = Map::new();
    let mut end = 0;
    for array in &arrays.arrays {
        let start = end;
        end += array.bytes();
        header.insert(
            array.name.clone(),
            json!({
                "dtype": safetensors_name(array.dtype),
                "shape": array.shape,
                "data_offsets": [start, end],
            }),
        );
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut out = Out::new(sink, name);
    out.put(&(header.len() as u64).to_le_bytes())?;
    out.put(&header)?;
    for array in &arrays.arrays {
        out.put(&arrays.frames.tensor(array.offset)?.bytes)?;
    }
    out.flush()?;
    Ok(arrays.exported())
}

/// Writes the tensors of the selected exchanges of a journal as an `.npz` file, which
/// `numpy.load` reads: an uncompressed ZIP archive of arrays, named as by [`safetensors()`].
///
/// NumPy has no bfloat16: such tensors are exported as `u2`, their bits.
///
/// # Errors
/// As [`safetensors()`], and E069 if the archive would not fit in 4 GiB or 65,535 arrays.
pub fn npz<R: Read + Seek, W: Write>(
    reader: JournalReader<R>,
    selection: Selection,
    sink: &mut W,
    name: &str,
) -> Result<Exported, JournalError> {
    let mut arrays = gather(reader, selection)?;
    let mut out = Out::new(sink, name);
    let mut archive = Archive::default();
    for array in &arrays.arrays {
        let tensor = arrays.frames.tensor(array.offset)?;
        let header = npy_header(array.dtype, &array.shape);
        let content = [&header[..], &tensor.bytes].concat();
        // Unpacking the archive makes no folders.
        let name = array.name.replace(['/', '\\'], "_");
        archive.add(&mut out, &arrays.journal, &format!("{name}.npy"), &content)?;
    }
    archive.finish(&mut out)?;
    out.flush()?;
    Ok(arrays.exported())
}

impl<R> Arrays<R> {
    fn exported(self) -> Exported {
        Exported {
            items: self.arrays.len() as u64,
            torn: self.torn,
        }
    }
}

impl Array {
    fn bytes(&self) -> u64 {
        // The size of the tensor, which has this type and shape.
        self.dtype.tensor_bytes(&self.shape).unwrap_or(0)
    }
}

fn gather<R: Read + Seek>(
    mut reader: JournalReader<R>,
    mut selection: Selection,
) -> Result<Arrays<R>, JournalError> {
    let journal = reader.name().to_owned();
    let mut names = Names::default();
    let mut wanted = Vec::new();
    let mut kept: BTreeMap<Digest, Kept> = BTreeMap::new();
    let mut torn = None;
    let mut patterns = Vec::new();
    while let Some((info, record)) = next_record(&mut reader, &mut torn)? {
        names.see(&record);
        match &record {
            Record::RunStart(start) => patterns.clone_from(&start.keeps),
            Record::Tensor(tensor) => {
                kept.entry(tensor.digest).or_insert_with(|| Kept {
                    offset: info.offset,
                    dtype: tensor.dtype,
                    shape: tensor.shape.clone(),
                });
            }
            Record::Exchange(exchange) if selection.takes(&names, exchange) => {
                let named = named(exchange, &names).into_iter();
                let point = exchange.point().and_then(|path| names.path(path));
                let policy = reader.head().policy;
                let is_kept = policy.keeps_at(exchange.index, point, &patterns);
                wanted.extend(named.map(|(digest, array)| {
                    let missed = is_kept.then_some(exchange.index);
                    (info, missed, digest, array)
                }));
            }
            _ => {}
        }
    }
    selection.check(&journal, &names)?;
    let head = reader.head().clone();
    let mut arrays = Arrays {
        frames: Frames::new(reader.into_parts()),
        journal,
        head,
        arrays: Vec::new(),
        torn,
    };
    let mut used = BTreeSet::new();
    let named_any = !wanted.is_empty();
    for (info, missed, digest, mut array) in wanted {
        match kept.get(&digest) {
            // The digest of a tensor is also that of its type and shape.
            Some(kept) if (kept.dtype, &kept.shape) != (array.dtype, &array.shape) => {
                let journal: Arc<str> = arrays.journal.as_str().into();
                let place = Place {
                    journal: &journal,
                    frame: info.sequence,
                    offset: info.offset,
                };
                let (Array { dtype, shape, .. }, own) = (&array, kept);
                let own = format!("{}{:?}", own.dtype, own.shape);
                let reason =
                    format!("it names a tensor {dtype}{shape:?}, which by its digest is {own}");
                return Err(place.malformed("exchange", reason));
            }
            Some(kept) => {
                array.offset = kept.offset;
                // Keys of maps may look like places; a name stands for one tensor all the same.
                while !used.insert(array.name.clone()) {
                    array.name.push('~');
                }
                arrays.arrays.push(array);
            }
            None => {
                if let Some(exchange) = missed {
                    return Err(JournalError::MissingTensor {
                        journal: arrays.journal.as_str().into(),
                        exchange,
                        digest,
                    });
                }
            }
        }
    }
    if arrays.arrays.is_empty() && (named_any || kept.is_empty()) {
        return Err(no_tensors(&arrays.journal, &arrays.head));
    }
    Ok(arrays)
}

/// The tensors of an exchange, with their digests.
fn named(exchange: &ExchangeRecord, names: &Names) -> Vec<(Digest, Array)> {
    let site = exchange.asked.or(exchange.at).map(|site| names.site(site));
    let name = format!("{}#{}", site.unwrap_or_default(), exchange.index);
    let mut tensors = Vec::new();
    if let Some(value) = &exchange.value {
        walk(name, value, &mut tensors);
    }
    tensors
}

fn walk(name: String, value: &ValueTree, tensors: &mut Vec<(Digest, Array)>) {
    match value {
        ValueTree::Leaf(tensor) => {
            let array = Array {
                name,
                dtype: tensor.dtype,
                shape: tensor.shape.clone(),
                offset: 0,
            };
            tensors.push((tensor.digest, array));
        }
        ValueTree::Tuple(items) | ValueTree::List(items) => {
            for (position, item) in items.iter().enumerate() {
                walk(format!("{name}[{position}]"), item, tensors);
            }
        }
        ValueTree::Map(entries) => {
            for (key, item) in entries.iter() {
                walk(format!("{name}.{key}"), item, tensors);
            }
        }
        _ => {}
    }
}

const fn safetensors_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "F64",
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::I64 => "I64",
        DType::I32 => "I32",
        DType::I16 => "I16",
        DType::I8 => "I8",
        DType::U64 => "U64",
        DType::U32 => "U32",
        DType::U16 => "U16",
        DType::U8 => "U8",
        DType::Bool => "BOOL",
    }
}

/// What stands before the elements in an `.npy` file, version 1.0: magic, length, description,
/// padded to a multiple of 64 bytes.
pub(super) fn npy_header(dtype: DType, shape: &[u64]) -> Vec<u8> {
    let kind = match dtype {
        DType::F64 => "<f8",
        DType::F32 => "<f4",
        DType::F16 => "<f2",
        DType::BF16 => "<u2",
        DType::I64 => "<i8",
        DType::I32 => "<i4",
        DType::I16 => "<i2",
        DType::I8 => "|i1",
        DType::U64 => "<u8",
        DType::U32 => "<u4",
        DType::U16 => "<u2",
        DType::U8 => "|u1",
        DType::Bool => "|b1",
    };
    let shape: String = shape.iter().map(|length| format!("{length}, ")).collect();
    let shape = shape.trim_end();
    let text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}");
    const BEFORE: usize = 10;
    let length = (BEFORE + text.len() + 1).next_multiple_of(64) - BEFORE;
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    // A rank of 255 gives at most 6 KiB.
    header.extend((length as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header.resize(BEFORE + length - 1, b' ');
    header.push(b'\n');
    header
}

/// A ZIP archive without compression, as it is written.
#[derive(Default)]
struct Archive {
    directory: Vec<u8>,
    entries: u64,
    bytes: u64,
}

impl Archive {
    fn add<W: Write>(
        &mut self,
        out: &mut Out<'_, W>,
        journal: &str,
        name: &str,
        content: &[u8],
    ) -> Result<(), JournalError> {
        let after = self.bytes + 30 + name.len() as u64 + content.len() as u64;
        let limit = |subject: &str, found, limit| JournalError::Limit {
            journal: journal.into(),
            frame: 0,
            offset: 0,
            subject: subject.to_owned(),
            found,
            limit,
        };
        let all = after + self.directory.len() as u64 + 46 + name.len() as u64;
        if all > u64::from(u32::MAX) {
            return Err(limit(
                "the size of the archive in bytes",
                all,
                u64::from(u32::MAX),
            ));
        }
        if self.entries == u64::from(u16::MAX) || name.len() > usize::from(u16::MAX) {
            let found = (self.entries + 1).max(name.len() as u64);
            return Err(limit(
                "the number or a name of the arrays",
                found,
                u64::from(u16::MAX),
            ));
        }
        let common = common_fields(name, content);
        out.put(b"PK\x03\x04")?;
        out.put(&common)?;
        out.put(name.as_bytes())?;
        out.put(content)?;
        self.directory.extend(b"PK\x01\x02\x14\x00");
        self.directory.extend(common);
        // No comment, disk 0, no attributes.
        self.directory.extend([0; 10]);
        self.directory.extend((self.bytes as u32).to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.entries += 1;
        self.bytes = after;
        Ok(())
    }

    fn finish<W: Write>(&self, out: &mut Out<'_, W>) -> Result<(), JournalError> {
        out.put(&self.directory)?;
        let entries = (self.entries as u16).to_le_bytes();
        let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
        end.extend([entries, entries].concat());
        end.extend((self.directory.len() as u32).to_le_bytes());
        end.extend((self.bytes as u32).to_le_bytes());
        end.extend([0, 0]);
        out.put(&end)
    }
}

/// What the two headers of an entry have in common: version, UTF-8 names, stored, the oldest date
/// there is, CRC, sizes, length of the name, nothing extra.
fn common_fields(name: &str, content: &[u8]) -> Vec<u8> {
    let size = (content.len() as u32).to_le_bytes();
    let mut fields = vec![0x14, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x00, 0x21, 0x00];
    fields.extend(crc32fast::hash(content).to_le_bytes());
    fields.extend(size);
    fields.extend(size);
    fields.extend((name.len() as u16).to_le_bytes());
    fields.extend([0, 0]);
    fields
}
