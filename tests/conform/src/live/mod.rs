//! Scenarios on Interloom: as programs, and as they are written.

pub(crate) mod models;
pub(crate) mod run;
pub(crate) mod script;
pub(crate) mod translate;
