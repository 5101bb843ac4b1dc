//! A limit to how deep a file nests that a program is read from.
//!
//! Who writes a file chooses how deep it goes, and not every reader has a limit of its own:
//! msgpack's does not count enums. Serde hands nothing down from one value to the values inside it,
//! so that the depth is counted for the thread that reads. The count is back at what it was when
//! reading returns, and nothing else depends on it.

use std::cell::Cell;

use serde::de::Error;

use crate::check::{BODIES_MAX, DEPTH_MAX};

/// A little more than what a check lets pass, so that the check says where it is too deep.
const NESTING_MAX: u32 = 2 * (BODIES_MAX + DEPTH_MAX);

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Reads something that may have others of its kind inside it.
pub(crate) fn read<T, E: Error>(read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    /// Counts back also when reading panics.
    struct Level;

    impl Drop for Level {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }

    DEPTH.set(DEPTH.get() + 1);
    let _level = Level;
    match DEPTH.get() > NESTING_MAX {
        true => Err(E::custom(format!(
            "the program nests deeper than {NESTING_MAX} levels; give an inner value a name with `let`"
        ))),
        false => read(),
    }
}

/// Reads and writes a type as its derived functions do, with the limit.
macro_rules! limit {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::nesting::read(|| Self::deserialize(deserializer))
            }
        }
    };
}

pub(crate) use limit;
