//! Tests of the journal as a file: round trips, damage, faults of the sink, messages.

mod acts;
mod damage;
mod export;
mod faults;
mod files;
mod forgeries;
mod format;
mod index;
mod messages;
mod page;
mod provenance;
mod resume;
mod sinks;
mod trust;

use super::*;
use crate::samples;
