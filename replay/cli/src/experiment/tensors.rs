//! Tensors in files, which an experiment file names as `FILE#NAME`.

use std::io::Read;
use std::path::Path;

use burn::tensor::{Device, TensorData};
use interloom_backends::Value;
use interloom_journal::Reason;
use interloom_models::Pixels;
use interloom_models::files::safetensors::whole_numbers;
use interloom_models::files::{FileError, Safetensors};
use safetensors::tensor::{Dtype, SafeTensors};

/// How large a file of tokens may be, in bytes.
const TOKENS_BYTES_MAX: u64 = 64 << 20;
/// How large a `.npy` of images may be, in bytes.
const PIXELS_BYTES_MAX: u64 = 1 << 30;

/// Reads a tensor of numbers as floats; `folder` is where the file is looked for.
pub(super) fn floats(folder: &Path, tensor: &str, device: &Device) -> Result<Value, Reason> {
    let (file, name) = split(tensor)?;
    let files = Safetensors::open(&folder.join(file)).map_err(of_file)?;
    let raw = files.load_numbers(name).map_err(of_file)?;
    let data = TensorData::new(raw.data, raw.shape);
    Value::from_data(data, device).map_err(|misfit| misfit.to_string().into())
}

fn of_file(error: FileError) -> Reason {
    match error {
        // The system's own words are in the message as well.
        FileError::Unreadable { ref source, .. } => {
            let kind = source.kind();
            Reason::from(std::io::Error::new(kind, error.to_string()))
        }
        other => other.to_string().into(),
    }
}

/// Reads rows of tokens: integers of one dimension or two.
pub(super) fn rows(folder: &Path, tensor: &str) -> Result<Vec<Vec<u32>>, Reason> {
    let (file, name) = split(tensor)?;
    let path = folder.join(file);
    let bytes = read(&path, TOKENS_BYTES_MAX)?;
    let file = SafeTensors::deserialize(&bytes);
    // What it is instead, if that is known.
    let file = file.map_err(|error| match Safetensors::open(&path) {
        Err(other @ FileError::Stray { .. }) => other.to_string(),
        _ => format!("the file is no safetensors file: {error}"),
    })?;
    let view = file.tensor(name);
    let view = view.map_err(|_| {
        let mut names = file.names();
        names.sort_unstable();
        format!("the file has no such tensor; it has {names:?}")
    })?;
    let tokens = tokens(view.dtype(), view.data())?;
    let width = match *view.shape() {
        [length] | [_, length] => length,
        _ => {
            return Err(format!(
                "tokens have one dimension or two, and these {:?}",
                view.shape()
            )
            .into());
        }
    };
    match tokens.is_empty() {
        true => Err(format!("there are no tokens in it, its shape is {:?}", view.shape()).into()),
        false => Ok(tokens.chunks(width).map(<[u32]>::to_vec).collect()),
    }
}

/// Reads images, `[channel, height, width]` or several of them, that are as large as a model's:
/// from a safetensors file, or a `.npy` of NumPy, which has no names.
pub(super) fn images(folder: &Path, tensor: &str, size: [usize; 3]) -> Result<Vec<Pixels>, Reason> {
    let (shape, data) = if tensor.ends_with(".npy") {
        super::npy::read(&read(&folder.join(tensor), PIXELS_BYTES_MAX)?)?
    } else {
        let (file, name) = split(tensor)?;
        let files = Safetensors::open(&folder.join(file)).map_err(of_file)?;
        let raw = files.load_numbers(name).map_err(of_file)?;
        (raw.shape, raw.data)
    };
    let one: usize = size.iter().product();
    match (shape.strip_suffix(&size), data.is_empty()) {
        (Some([] | [_]), false) => Ok(data.chunks(one).map(Pixels::from).collect()),
        _ => {
            let [channels, height, width] = size;
            let expected = format!(
                "[{channels}, {height}, {width}] or [images, {channels}, {height}, {width}]"
            );
            Err(format!("the model takes images {expected}, and this is {shape:?}").into())
        }
    }
}

fn split(tensor: &str) -> Result<(&str, &str), String> {
    let parts = tensor.split_once('#');
    let parts = parts.filter(|(file, name)| !file.is_empty() && !name.is_empty());
    parts.ok_or_else(|| {
        "it is written FILE#NAME, with a safetensors file and a tensor in it".to_owned()
    })
}

fn read(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(std::io::Error::other(format!(
            "the file has more than {most} bytes"
        ))),
        false => Ok(bytes),
    }
}

/// Returns whole numbers as tokens, or says which is none.
fn tokens(dtype: Dtype, bytes: &[u8]) -> Result<Vec<u32>, String> {
    const EXPECTED: &str = "tokens are integers from 0 to 2^32 - 1";
    let numbers = whole_numbers(dtype, bytes).filter(|_| dtype != Dtype::BOOL);
    let numbers = numbers.ok_or_else(|| format!("{EXPECTED}, and these are {dtype:?}"))?;
    let numbers = numbers.into_iter().enumerate();
    let token = |(place, number): (usize, i128)| {
        number.try_into().map_err(|_| match number {
            -100 => format!(
                "{EXPECTED}, and number {place} of these (from 0) is -100, which marks labels that a loss leaves out; take the \
                 inputs that belong to them"
            ),
            _ => format!("{EXPECTED}, and number {place} of these (from 0) is {number}"),
        })
    };
    numbers.map(token).collect()
}
