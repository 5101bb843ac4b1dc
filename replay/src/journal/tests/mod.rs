//! Tests of the journal as a file: round trips, damage, faults of the sink, messages.

mod damage;
mod files;
mod messages;
mod resume;
mod sinks;

use super::*;
use crate::journal::samples;
