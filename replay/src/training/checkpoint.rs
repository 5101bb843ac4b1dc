//! Checkpoints: a folder with the state before a step.
//!
//! ```text
//! checkpoint-00000100/
//!   manifest.json            what is in the others, with the digest of each file and tensor
//!   parameters.safetensors   the parameters, by name
//!   optimizer.safetensors    moments, counts, schedules, by name
//! ```
//!
//! The folder is written under another name and renamed when it is whole, so that a process that is
//! killed leaves no half of one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use burn::tensor::{Bytes, DType as BurnDType, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::digests::StateDigests;
use super::state::{StateKind, StateTensors, TrainingState};
use crate::error::Error;
use crate::journal::training::{Ledger, checkpoint_folder};
use crate::journal::{Digest, FileAction, JournalError};

const FORMAT: &str = "interloom-checkpoint-1";
const MANIFEST: &str = "manifest.json";

/// What a checkpoint says of itself.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub(super) struct Manifest {
    format: String,
    /// The first step that has not been made.
    step: u64,
    /// The ledger's chain before that step.
    chain: Digest,
    files: Vec<FileLine>,
    pub(super) tensors: StateDigests,
}

#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
struct FileLine {
    file: String,
    bytes: u64,
    digest: Digest,
}

/// The tensors of all parts, by name of the part.
pub(super) type Parts = BTreeMap<String, StateTensors>;

/// Writes the checkpoint before `step` into the folder of a training run, of a state that was read,
/// with its digests.
pub(super) fn write(
    run: &Path,
    step: u64,
    chain: Digest,
    parts: &Parts,
    digests: &StateDigests,
) -> Result<(), Error> {
    let target = run.join(checkpoint_folder(step));
    let is_there = |manifest: Manifest| {
        let is_same = manifest.step == step && manifest.chain == chain;
        is_same && read_files(&target, &manifest).is_ok()
    };
    if read_manifest(&target).is_ok_and(is_there) {
        // A run that was killed behind it makes the same one again.
        return Ok(());
    }
    let unfinished = run.join(format!(".unfinished-{}", checkpoint_folder(step)));
    let cannot = |error: io::Error| refused(&target, "write", &error);
    remove(&unfinished).map_err(cannot)?;
    fs::create_dir_all(&unfinished).map_err(cannot)?;
    let mut files = Vec::new();
    for kind in StateKind::ALL {
        let bytes = encode(parts, kind).map_err(|problem| unusable(&target, problem))?;
        write_file(&unfinished.join(kind.file()), &bytes).map_err(cannot)?;
        files.push(FileLine {
            file: kind.file().to_owned(),
            bytes: bytes.len() as u64,
            digest: Digest::of_bytes("file", &bytes),
        });
    }
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        step,
        chain,
        files,
        tensors: digests.clone(),
    };
    let json = serde_json::to_vec_pretty(&manifest).map_err(|error| cannot(error.into()))?;
    write_file(&unfinished.join(MANIFEST), &json).map_err(cannot)?;
    // What is there is of other steps.
    remove(&target).map_err(cannot)?;
    fs::rename(&unfinished, &target).map_err(cannot)?;
    sync_folder(run).map_err(cannot)
}

/// Loads the checkpoint before `step` into the state, and returns what it says of itself.
pub(super) fn load(
    run: &Path,
    step: u64,
    state: &mut impl TrainingState,
) -> Result<Manifest, Error> {
    let folder = run.join(checkpoint_folder(step));
    let bad = |problem: String| unusable(&folder, problem);
    let other = |problem: String| Error::Checkpoint {
        checkpoint: folder.clone(),
        problem,
        advice: "go on with the models, optimizers and parts that it was made of",
    };
    let manifest = read_manifest(&folder).map_err(bad)?;
    if manifest.step != step {
        let problem = format!("it is of step {}; it was renamed", manifest.step);
        return Err(bad(problem));
    }
    let mut saved = read_files(&folder, &manifest).map_err(bad)?;
    for part in state.parts() {
        let name = part.name().to_owned();
        // A part without parameters has nothing in it.
        let tensors = saved.remove(&name).unwrap_or_default();
        let loaded = part.load(tensors);
        loaded.map_err(|problem| other(format!("`{name}` does not take it: {problem}")))?;
    }
    if let Some(part) = saved.keys().next() {
        return Err(other(format!(
            "it has `{part}`, which the training run does not have"
        )));
    }
    // What is derived when it is loaded, or was left out by who loads it, is another state.
    let now = StateDigests::of(&read_parts(state).map_err(bad)?);
    match manifest.tensors.first_difference(&now) {
        None => Ok(manifest),
        Some(entry) => Err(bad(format!(
            "`{}.{}` is not what was saved when it is loaded",
            entry.part, entry.name
        ))),
    }
}

/// Checks the checkpoint before a step of a training run: that its files are those that were saved,
/// and the run that of its ledger. What is trained need not be there.
///
/// # Errors
///
/// [`Error::Checkpoint`] if it is not whole.
pub fn check_checkpoint(ledger: &Ledger, step: u64) -> Result<(), Error> {
    let folder = ledger.folder().join(checkpoint_folder(step));
    let bad = |problem: String| unusable(&folder, problem);
    let manifest = read_manifest(&folder).map_err(bad)?;
    let saved = read_files(&folder, &manifest).map_err(bad)?;
    if StateDigests::of(&saved) != manifest.tensors {
        return Err(bad("its tensors are not those of its manifest".to_owned()));
    }
    check_is_of(ledger, &manifest)
}

/// Checks that a checkpoint is of the training run of a ledger.
pub(super) fn check_is_of(ledger: &Ledger, manifest: &Manifest) -> Result<(), Error> {
    if ledger.chain_before(manifest.step) == Some(manifest.chain) {
        return Ok(());
    }
    let problem =
        "it is of another training run than the ledger beside it, or the ledger ends before it";
    let folder = ledger.folder().join(checkpoint_folder(manifest.step));
    Err(unusable(&folder, problem.to_owned()))
}

/// Removes the oldest checkpoints in a folder, so that `keep` are left besides the one before
/// step 0.
pub(super) fn thin_out(run: &Path, steps: &[u64], keep: usize) -> Result<(), Error> {
    let steps = steps.iter().filter(|step| **step > 0);
    let steps: Vec<u64> = steps.copied().collect();
    for step in steps.iter().rev().skip(keep) {
        let folder = run.join(checkpoint_folder(*step));
        let removed = remove(&folder);
        removed.map_err(|error| refused(&folder, "remove", &error))?;
    }
    Ok(())
}

/// Copies the checkpoint before `step` of one training run to another.
pub(super) fn copy(from: &Path, to: &Path, step: u64) -> Result<(), Error> {
    let name = checkpoint_folder(step);
    let (source, target) = (from.join(&name), to.join(&name));
    let copied = || -> io::Result<()> {
        fs::create_dir_all(&target)?;
        let files = StateKind::ALL.map(StateKind::file).into_iter();
        for file in files.chain([MANIFEST]) {
            fs::copy(source.join(file), target.join(file))?;
        }
        Ok(())
    };
    copied().map_err(|error| refused(&source, "copy", &error))
}

/// Returns all that a state has, by part.
pub(super) fn read_parts(state: &mut impl TrainingState) -> Result<Parts, String> {
    let mut parts = Parts::new();
    for part in state.parts() {
        let name = part.name().to_owned();
        let tensors = part
            .read()
            .map_err(|problem| format!("`{name}`: {problem}"))?;
        if parts.insert(name.clone(), tensors).is_some() {
            return Err(format!("two parts are called `{name}`"));
        }
    }
    Ok(parts)
}

impl StateKind {
    /// Every kind.
    pub(super) const ALL: [Self; 2] = [Self::Parameter, Self::Optimizer];

    const fn file(self) -> &'static str {
        match self {
            Self::Parameter => "parameters.safetensors",
            Self::Optimizer => "optimizer.safetensors",
        }
    }
}

/// The separator between a part and a name in a file: neither has one.
const SEPARATOR: char = '/';

fn encode(parts: &Parts, kind: StateKind) -> Result<Vec<u8>, String> {
    let mut views = Vec::new();
    for (part, tensors) in parts {
        if part.contains(SEPARATOR) {
            return Err(format!("the name `{part}` has a `{SEPARATOR}`"));
        }
        for ((of, name), data) in tensors {
            if *of == kind {
                let dtype = dtype_of(data.dtype())
                    .ok_or_else(|| format!("`{part}.{name}` is {:?}", data.dtype()))?;
                let view = TensorView::new(dtype, data.shape().to_vec(), data.as_bytes());
                let view = view.map_err(|error| error.to_string())?;
                views.push((format!("{part}{SEPARATOR}{name}"), view));
            }
        }
    }
    safetensors::serialize(views, None).map_err(|error| error.to_string())
}

fn read_manifest(folder: &Path) -> Result<Manifest, String> {
    let bytes = fs::read(folder.join(MANIFEST));
    let bytes = bytes.map_err(|error| format!("its {MANIFEST} cannot be read: {error}"))?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| format!("its {MANIFEST} is damaged: {error}"))?;
    if manifest.format == FORMAT {
        Ok(manifest)
    } else {
        Err(format!(
            "its format is `{}`, expected `{FORMAT}`",
            manifest.format
        ))
    }
}

fn read_files(folder: &Path, manifest: &Manifest) -> Result<Parts, String> {
    let mut parts = Parts::new();
    for kind in StateKind::ALL {
        let file = kind.file();
        let line = manifest.files.iter().find(|line| line.file == file);
        let line = line.ok_or_else(|| format!("its {MANIFEST} does not name {file}"))?;
        let bytes = fs::read(folder.join(file));
        let bytes = bytes.map_err(|error| format!("its {file} cannot be read: {error}"))?;
        if bytes.len() as u64 != line.bytes || Digest::of_bytes("file", &bytes) != line.digest {
            return Err(format!(
                "its {file} is not the one that was saved ({} bytes, expected {}); it is damaged, or of another checkpoint",
                bytes.len(),
                line.bytes
            ));
        }
        decode(&bytes, kind, &mut parts).map_err(|problem| format!("its {file}: {problem}"))?;
    }
    Ok(parts)
}

fn decode(bytes: &[u8], kind: StateKind, parts: &mut Parts) -> Result<(), String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    for (full, view) in file.iter() {
        let (part, name) = full
            .split_once(SEPARATOR)
            .ok_or_else(|| format!("`{full}` names no part"))?;
        let dtype =
            burn_dtype(view.dtype()).ok_or_else(|| format!("`{full}` is {:?}", view.dtype()))?;
        let data = Bytes::from_bytes_vec(view.data().to_vec());
        let data = TensorData::from_bytes(data, view.shape().to_vec(), dtype);
        let part = parts.entry(part.to_owned()).or_default();
        part.insert((kind, name.to_owned()), data);
    }
    Ok(())
}

/// The element types that a checkpoint can have.
const DTYPES: [(BurnDType, Dtype); 12] = [
    (BurnDType::F64, Dtype::F64),
    (BurnDType::F32, Dtype::F32),
    (BurnDType::F16, Dtype::F16),
    (BurnDType::BF16, Dtype::BF16),
    (BurnDType::I64, Dtype::I64),
    (BurnDType::I32, Dtype::I32),
    (BurnDType::I16, Dtype::I16),
    (BurnDType::I8, Dtype::I8),
    (BurnDType::U64, Dtype::U64),
    (BurnDType::U32, Dtype::U32),
    (BurnDType::U16, Dtype::U16),
    (BurnDType::U8, Dtype::U8),
];

fn dtype_of(dtype: BurnDType) -> Option<Dtype> {
    if matches!(dtype, BurnDType::Bool(_)) {
        return Some(Dtype::BOOL);
    }
    let mut known = DTYPES.iter().filter(|(burn, _)| *burn == dtype);
    known.next().map(|(_, file)| *file)
}

fn burn_dtype(dtype: Dtype) -> Option<BurnDType> {
    if dtype == Dtype::BOOL {
        return Some(TensorData::from([true]).dtype());
    }
    let mut known = DTYPES.iter().filter(|(_, file)| *file == dtype);
    known.next().map(|(burn, _)| *burn)
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Lets a rename survive a loss of power, where the system knows how.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}

/// The system refuses to do something to a file or folder of a training run.
pub(super) fn refused(path: &Path, doing: &'static str, error: &io::Error) -> Error {
    let refused = JournalError::Io {
        journal: path.display().to_string().into(),
        doing: FileAction::Other(doing),
        kind: error.kind(),
        reason: error.to_string(),
    };
    refused.into()
}

fn unusable(checkpoint: &Path, problem: String) -> Error {
    Error::Checkpoint {
        checkpoint: PathBuf::from(checkpoint),
        problem,
        advice: "remove it to go back to the one before",
    }
}
