//! The state of burn's optimizers, by name.
//!
//! Burn keeps the state of each parameter under a number that it draws when the parameter is made,
//! and drops what belongs to a number that the module does not have: a module that was loaded in
//! another way goes on with fresh moments, without a word. Here the state is that of a path, and
//! what does not fit is an error.

use std::collections::BTreeMap;

use burn::module::ParamId;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::tensor::{Bytes, DType, TensorData};
use burn_pack::{Reader, Scalar, Tensor as PackedTensor, Writer};

/// Moments and counts by the path of their parameter and their own name, `up.weight.moment_1`.
pub(super) type NamedState = BTreeMap<String, TensorData>;

/// Returns the state of an optimizer: moments as they are, counts as tensors of one number.
pub(super) fn named_state(
    record: OptimizerRecord,
    paths: &BTreeMap<ParamId, String>,
) -> Result<NamedState, String> {
    let bytes = record.into_bytes().map_err(words)?;
    let reader = Reader::from_bytes(bytes).map_err(words)?;
    let mut named = BTreeMap::new();
    for (key, scalar) in reader.scalars() {
        named.insert(name_of(key, paths)?, scalar_data(*scalar));
    }
    for tensor in reader.into_tensors().map_err(words)? {
        let (key, dtype, shape, _, bytes) = tensor.into_parts().map_err(words)?;
        named.insert(
            name_of(&key, paths)?,
            TensorData::from_bytes(bytes, shape, dtype),
        );
    }
    Ok(named)
}

/// Returns the optimizer with a state that [`named_state`] returned.
pub(super) fn with_named_state(
    optimizer: ModuleOptimizer,
    paths: &BTreeMap<ParamId, String>,
    state: &NamedState,
) -> Result<ModuleOptimizer, String> {
    let optimizer = optimizer.load_record(record_of(state, paths)?);
    check_taken(state, &named_state(optimizer.to_record(), paths)?)?;
    Ok(optimizer)
}

/// Returns the record of a state that [`named_state`] returned.
pub(super) fn record_of(
    state: &NamedState,
    paths: &BTreeMap<ParamId, String>,
) -> Result<OptimizerRecord, String> {
    let ids: BTreeMap<&str, ParamId> = paths.iter().map(|(id, path)| (&**path, *id)).collect();
    let mut tensors = Vec::new();
    let mut scalars = Vec::new();
    let mut groups = BTreeMap::new();
    for (name, data) in state {
        let (path, field) = split(name, |path| ids.contains_key(path))?;
        let id = ids[path].val();
        groups.insert(id, path);
        let key = format!("{id}.{field}");
        match scalar_of(data) {
            Some(scalar) => scalars.push((key, scalar)),
            None => {
                let bytes = Bytes::from_bytes_vec(data.as_bytes().to_vec());
                let (dtype, shape) = (data.dtype(), data.shape().clone());
                tensors.push(PackedTensor::new(key, dtype, shape, Some(id), bytes));
            }
        }
    }
    let mut writer = Writer::new(tensors);
    for (key, scalar) in scalars {
        writer = writer.with_scalar(&key, scalar);
    }
    for (id, path) in groups {
        writer = writer.with_metadata(&id.to_string(), path);
    }
    let bytes = writer.into_bytes().map_err(words)?;
    OptimizerRecord::from_bytes(bytes).map_err(words)
}

/// Checks that an optimizer has the state that it was given: burn leaves out what it cannot use.
pub(super) fn check_taken(state: &NamedState, taken: &NamedState) -> Result<(), String> {
    let mut states = state.iter();
    match states.find(|(name, data)| taken.get(*name) != Some(*data)) {
        None => Ok(()),
        Some((name, _)) => Err(format!(
            "the optimizer does not take `{name}`: it is of another kind"
        )),
    }
}

/// Returns the name of `NUMBER.FIELD`: the path of the parameter in the place of its number.
fn name_of(key: &str, paths: &BTreeMap<ParamId, String>) -> Result<String, String> {
    let parts = key.split_once('.');
    let known = parts.and_then(|(id, field)| {
        let path = paths.get(&ParamId::from(id.parse::<u64>().ok()?))?;
        Some(format!("{path}.{field}"))
    });
    known.ok_or_else(|| format!("its state `{key}` belongs to no parameter of the module"))
}

/// Splits a name into the path of a parameter, the longest that is one, and a field.
fn split(name: &str, is_path: impl Fn(&str) -> bool) -> Result<(&str, &str), String> {
    let dots = name.rmatch_indices('.').map(|(at, _)| at);
    let mut splits = dots.map(|at| (&name[..at], &name[at + 1..]));
    let found = splits.find(|(path, _)| is_path(path));
    found.ok_or_else(|| format!("the module has no parameter for the state `{name}`"))
}

fn scalar_data(scalar: Scalar) -> TensorData {
    match scalar {
        Scalar::Int(number) => TensorData::new(vec![number], [0_usize; 0]),
        Scalar::UInt(number) => TensorData::new(vec![number], [0_usize; 0]),
        Scalar::Float(number) => TensorData::new(vec![number], [0_usize; 0]),
        Scalar::Bool(is_set) => TensorData::new(vec![is_set], [0_usize; 0]),
    }
}

/// Returns the number of a tensor without dimensions; burn's states have none of those.
fn scalar_of(data: &TensorData) -> Option<Scalar> {
    if !data.shape().is_empty() {
        return None;
    }
    match data.dtype() {
        DType::I64 => Some(Scalar::Int(*data.as_slice::<i64>().ok()?.first()?)),
        DType::U64 => Some(Scalar::UInt(*data.as_slice::<u64>().ok()?.first()?)),
        DType::F64 => Some(Scalar::Float(*data.as_slice::<f64>().ok()?.first()?)),
        DType::Bool(_) => Some(Scalar::Bool(*data.as_slice::<bool>().ok()?.first()?)),
        _ => None,
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
