//! The digests of a state: what it was, without its values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::checkpoint::Parts;
use super::state::StateKind;
use crate::journal::Digest;
use crate::journal::training::{NamedDigest, StepPhase};
use crate::session::digest_of_tensor;

/// The digest of each tensor of a state, in the order of parts, kinds and names.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct StateDigests(Vec<TensorEntry>);

/// One tensor of a state.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub(super) struct TensorEntry {
    pub(super) part: String,
    kind: StateKind,
    pub(super) name: String,
    digest: Digest,
}

impl StateDigests {
    /// Digests a state that was read.
    pub(super) fn of(parts: &Parts) -> Self {
        let all = parts.iter().flat_map(|(part, tensors)| {
            tensors.iter().map(move |((kind, name), data)| TensorEntry {
                part: part.clone(),
                kind: *kind,
                name: name.clone(),
                digest: digest_of_tensor(data),
            })
        });
        Self(all.collect())
    }

    /// Returns the first tensor that only one of two states has, or has so.
    pub(super) fn first_difference<'a>(&'a self, other: &'a Self) -> Option<&'a TensorEntry> {
        let missing = |from: &Self, entry: &&TensorEntry| !from.0.contains(entry);
        let ours = self.0.iter().find(|entry| missing(other, entry));
        ours.or_else(|| other.0.iter().find(|entry| missing(self, entry)))
    }

    /// Returns the digests as a ledger names them, in the order of phases and names.
    pub(super) fn named(&self) -> Vec<NamedDigest> {
        let named = self.0.iter().map(|entry| {
            let name = format!("{}.{}", entry.part, entry.name);
            NamedDigest::new(phase_of(entry.kind), name, entry.digest)
        });
        let mut named: Vec<_> = named.collect();
        named.sort_by(|a, b| (a.phase, &a.name).cmp(&(b.phase, &b.name)));
        named
    }

    /// Returns the part that has all of some parameters, by path, and their digests; nothing if
    /// none does.
    pub(super) fn part_with<'a>(&'a self, paths: &[&str]) -> Option<(&'a str, Vec<Digest>)> {
        let mut parts: BTreeMap<&str, BTreeMap<&str, Digest>> = BTreeMap::new();
        let parameters = self.0.iter();
        for entry in parameters.filter(|entry| entry.kind == StateKind::Parameter) {
            let part = parts.entry(&entry.part).or_default();
            part.insert(&entry.name, entry.digest);
        }
        parts.into_iter().find_map(|(part, digests)| {
            let of_paths = paths.iter().map(|path| digests.get(*path).copied());
            Some((part, of_paths.collect::<Option<_>>()?))
        })
    }
}

pub(super) const fn phase_of(kind: StateKind) -> StepPhase {
    match kind {
        StateKind::Parameter => StepPhase::Parameters,
        StateKind::Optimizer => StepPhase::Optimizer,
    }
}
