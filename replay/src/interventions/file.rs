//! The file of an intervention: safetensors, with its kind and sizes in the metadata.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use interloom_backends::parameters;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::InterventionError;
use super::orthonormal::{DEFECT_MAX, defect};
use crate::journal::Unfinished;

/// The key of the metadata under which everything stands: with several keys the library would write
/// them in another order each time.
const KEY: &str = "interloom";
const FORMAT: u32 = 1;

/// The parameters of an intervention, by name, with their shapes.
pub(super) type Layout = Vec<(&'static str, Vec<usize>)>;

/// An intervention of one kind, as far as files are concerned.
pub trait Stored: Module {
    /// The name of the kind in files.
    const KIND: &'static str;

    /// What a file says of it beside its tensors.
    type Settings: Serialize + DeserializeOwned;

    /// Returns what a file is to say.
    fn settings(&self) -> Self::Settings;

    /// Returns which parameters there are with these settings.
    fn layout(settings: &Self::Settings) -> Layout;

    /// Makes the intervention from parameters that fit the layout.
    fn assemble(settings: &Self::Settings, parts: &Parts<'_>) -> Self;

    /// Returns the law that the parameters break, if they break one.
    fn law(&self) -> Option<Law> {
        None
    }

    /// Makes the parameters what they stand for, after an update that knows nothing of their laws.
    fn restored(self) -> Self {
        self
    }
}

/// A law that parameters break.
pub struct Law {
    pub(super) place: String,
    pub(super) expected: String,
    pub(super) found: String,
}

impl Law {
    pub(super) fn orthonormal(name: &str, rows: &Tensor<2>) -> Option<Self> {
        let defect = defect(rows);
        // What is not a number is not small.
        let holds = defect <= DEFECT_MAX;
        (!holds).then(|| Self {
            place: format!("parameter `{name}`"),
            expected: format!("orthonormal rows, to {DEFECT_MAX:e}"),
            found: format!("rows whose products are up to {defect:.1e} off"),
        })
    }

    pub(super) fn broken(self, of: &str) -> InterventionError {
        InterventionError::contents(of, self.place, self.expected, self.found)
    }
}

/// The parameters in a file, which have been found to fit.
pub struct Parts<'f> {
    tensors: &'f SafeTensors<'f>,
    device: &'f Device,
}

impl Parts<'_> {
    /// Returns a parameter that the layout has, to be trained.
    pub(super) fn param<const D: usize>(&self, name: &str) -> Param<Tensor<D>> {
        let view = self.tensors.tensor(name).expect("the layout has it");
        let data = floats(&view);
        Param::from_tensor(Tensor::from_data(data, self.device))
    }
}

/// What the metadata say.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Label<S> {
    format: u32,
    kind: String,
    settings: S,
}

/// Returns the kind of the intervention in a file.
pub(super) fn kind_of(bytes: &[u8], file: &str) -> Result<String, InterventionError> {
    open(bytes, file)?;
    let label: Label<serde_json::Value> = label(bytes, file)?;
    Ok(label.kind)
}

/// Writes an intervention as the bytes of a file; equal ones give equal bytes.
pub(super) fn to_bytes<S: Stored>(intervention: &S) -> Result<Vec<u8>, InterventionError> {
    let label = Label {
        format: FORMAT,
        kind: S::KIND.to_owned(),
        settings: intervention.settings(),
    };
    let label = serde_json::to_string(&label);
    let label = label.map_err(|error| InterventionError::damaged(S::KIND, error.to_string()))?;
    let parameters = parameters(intervention);
    let views = parameters.iter().map(|(name, data)| {
        if data.dtype() != DType::F32 {
            let place = format!("parameter `{name}`");
            let found = format!("{:?}", data.dtype());
            return Err(InterventionError::contents(S::KIND, place, "of f32", found));
        }
        let view = TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes());
        let view = view.map_err(|error| InterventionError::damaged(S::KIND, error.to_string()))?;
        Ok((name.clone(), view))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>()?;
    let metadata = HashMap::from([(KEY.to_owned(), label)]);
    safetensors::serialize(views, Some(metadata))
        .map_err(|error| InterventionError::damaged(S::KIND, error.to_string()))
}

/// Reads an intervention of one kind, and checks everything that must hold of it.
pub(super) fn from_bytes<S: Stored>(
    bytes: &[u8],
    file: &str,
    device: &Device,
) -> Result<S, InterventionError> {
    let tensors = open(bytes, file)?;
    let label: Label<serde_json::Value> = label(bytes, file)?;
    if label.kind != S::KIND {
        let expected = format!("`{}`", S::KIND);
        let found = format!("`{}`", label.kind);
        return Err(InterventionError::contents(
            file, "the kind", expected, found,
        ));
    }
    let settings: S::Settings = serde_json::from_value(label.settings)
        .map_err(|error| InterventionError::damaged(file, format!("its settings: {error}")))?;
    check_layout(&tensors, &S::layout(&settings), file)?;
    let parts = Parts {
        tensors: &tensors,
        device,
    };
    let made = S::assemble(&settings, &parts);
    match made.law() {
        Some(law) => Err(law.broken(file)),
        None => Ok(made),
    }
}

/// Opens a safetensors file; what is cut or damaged is found here.
pub(super) fn open<'b>(bytes: &'b [u8], file: &str) -> Result<SafeTensors<'b>, InterventionError> {
    SafeTensors::deserialize(bytes).map_err(|error| {
        let reason = format!("it is no whole safetensors file ({error}); save it again");
        InterventionError::damaged(file, reason)
    })
}

fn label<S: DeserializeOwned>(bytes: &[u8], file: &str) -> Result<Label<S>, InterventionError> {
    let damaged = |reason: String| InterventionError::damaged(file, reason);
    let header = SafeTensors::read_metadata(bytes);
    let (_, header) = header.map_err(|error| damaged(error.to_string()))?;
    let text = header.metadata().as_ref().and_then(|all| all.get(KEY));
    let text = text.ok_or_else(|| {
        damaged(format!(
            "its metadata have no `{KEY}`, with which an intervention says of which kind it is; \
             a SAELens folder is loaded as such"
        ))
    })?;
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let format: Format = serde_json::from_str(text)
        .map_err(|error| damaged(format!("`{KEY}` in its metadata: {error}")))?;
    if format.format != FORMAT {
        return Err(damaged(format!(
            "it has format {}, and this version reads {FORMAT}; use a newer one",
            format.format
        )));
    }
    serde_json::from_str(text).map_err(|error| damaged(format!("`{KEY}` in its metadata: {error}")))
}

/// Checks that a file has these tensors and no others, all of finite `f32`.
fn check_layout(
    tensors: &SafeTensors<'_>,
    layout: &Layout,
    file: &str,
) -> Result<(), InterventionError> {
    check_names(tensors, layout, file)?;
    for (name, shape) in layout {
        let view = tensors.tensor(name).expect("its name was found");
        let place = format!("parameter `{name}`");
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            let expected = format!("f32{shape:?}");
            let found = described(&view);
            return Err(InterventionError::contents(file, place, expected, found));
        }
        check_finite(&floats(&view), name, file)?;
    }
    Ok(())
}

/// Checks that a file has tensors of these names and no others.
pub(super) fn check_names(
    tensors: &SafeTensors<'_>,
    layout: &Layout,
    file: &str,
) -> Result<(), InterventionError> {
    let mut found: Vec<&str> = tensors.names();
    found.sort_unstable();
    let is_in = |name: &str| layout.iter().any(|(own, _)| *own == name);
    if let Some((name, _)) = layout.iter().find(|(name, _)| !found.contains(name)) {
        let place = format!("parameter `{name}`");
        let found = format!("none, but {found:?}");
        return Err(InterventionError::contents(file, place, "there", found));
    }
    match found.iter().find(|name| !is_in(name)) {
        Some(name) => {
            let names: Vec<&str> = layout.iter().map(|(name, _)| *name).collect();
            let expected = format!("one of {names:?}");
            Err(InterventionError::contents(
                file,
                "every parameter",
                expected,
                format!("`{name}`"),
            ))
        }
        None => Ok(()),
    }
}

pub(super) fn check_finite(
    data: &TensorData,
    name: &str,
    file: &str,
) -> Result<(), InterventionError> {
    let place = data.iter::<f32>().position(|number| !number.is_finite());
    match place {
        Some(at) => Err(InterventionError::contents(
            file,
            format!("parameter `{name}`"),
            "of finite numbers",
            format!("another at place {at}"),
        )),
        None => Ok(()),
    }
}

/// Says what a tensor in a file is, as `f32[2, 3]`.
pub(super) fn described(view: &TensorView<'_>) -> String {
    format!("{:?}{:?}", view.dtype(), view.shape()).to_lowercase()
}

/// Returns the floats of a tensor in a file, without a change of a bit.
pub(super) fn floats(view: &TensorView<'_>) -> TensorData {
    let floats = view.data().chunks_exact(4);
    let floats: Vec<f32> = floats
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    TensorData::new(floats, view.shape().to_vec())
}

/// Reads a whole file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, InterventionError> {
    fs::read(path).map_err(|error| InterventionError::unread(path, &error))
}

/// Writes a file beside its place and renames it, so that there is never half of one.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), InterventionError> {
    let written = Unfinished::beside(path).and_then(|unfinished| {
        unfinished.file().write_all(bytes)?;
        unfinished.put()
    });
    written.map_err(|error| InterventionError::unwritten(path, &error))
}

pub(super) fn check_size(kind: &str, place: &str, size: usize) -> Result<(), InterventionError> {
    if size == 0 {
        return Err(InterventionError::contents(kind, place, "1 or more", "0"));
    }
    Ok(())
}

pub(super) fn check_rank(kind: &str, width: usize, rank: usize) -> Result<(), InterventionError> {
    check_size(kind, "the width", width)?;
    if (1..=width).contains(&rank) {
        return Ok(());
    }
    let expected = format!("1 to {width}, the width");
    Err(InterventionError::contents(
        kind,
        "the rank",
        expected,
        rank.to_string(),
    ))
}

pub(super) fn check_shape(
    kind: &str,
    name: &str,
    found: &[usize],
    expected: &[usize],
) -> Result<(), InterventionError> {
    if found == expected {
        return Ok(());
    }
    let place = format!("the shape of `{name}`");
    let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
    Err(InterventionError::contents(kind, place, expected, found))
}
