//! Ways in which Interloom behaves otherwise than it once did, so that older journals are replayed as they were meant.
//!
//! A head names the behaviours of the version that recorded. One that is not named is an older one, and is made allowance
//! for; one that this version does not know is a newer one, and nobody here can replay what it did.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A behaviour that came after format 1.0.
///
/// Variants are added and never taken away: a version that changes a behaviour again has the older quirk too.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Quirk {
    /// Caches that are refused stand in notes. Where they do not, [`Serve`](crate::Mode::Serve) and
    /// [`Fork`](crate::Mode::Fork) grant every cache.
    RefusedCaches,
    /// Faults and outcomes are worded as this version words them. Where they are not, comparisons take two of the same code
    /// for the same.
    Words,
}

impl Quirk {
    /// All of them, sorted by name.
    pub const ALL: [Self; 2] = [Self::RefusedCaches, Self::Words];

    /// The name in heads.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RefusedCaches => "refused-caches",
            Self::Words => "words-1",
        }
    }
}

/// The behaviours that a head names, sorted.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Quirks(Vec<String>);

impl Quirks {
    /// Those of this version.
    pub fn current() -> Self {
        Self(Quirk::ALL.map(|quirk| quirk.name().to_owned()).into())
    }

    /// Whether a behaviour is named.
    pub fn has(&self, quirk: Quirk) -> bool {
        self.0.iter().any(|name| name == quirk.name())
    }

    /// The names of those that this version does not have.
    pub fn unknown(&self) -> Vec<&str> {
        let is_known = |name: &&str| Quirk::ALL.iter().any(|quirk| quirk.name() == *name);
        let names = self.0.iter().map(String::as_str);
        names.filter(|name| !is_known(name)).collect()
    }

    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> FromIterator<&'a str> for Quirks {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        names.sort();
        names.dedup();
        Self(names)
    }
}

/// The names, with spaces between them.
impl fmt::Display for Quirks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_version_knows_its_own_and_no_other() {
        let current = Quirks::current();
        assert_eq!(current.to_string(), "refused-caches words-1");
        assert_eq!(
            current,
            current.0.iter().map(String::as_str).rev().collect()
        );
        assert!(Quirk::ALL.iter().all(|quirk| current.has(*quirk)));
        assert!(current.unknown().is_empty());

        let other: Quirks = ["words-2", "refused-caches", "words-2"]
            .into_iter()
            .collect();
        assert_eq!(other.unknown(), ["words-2"]);
        assert!(other.has(Quirk::RefusedCaches) && !other.has(Quirk::Words));
    }
}
