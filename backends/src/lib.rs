//! Burn for Interloom: models and their files.

#![forbid(unsafe_code)]

pub mod files;
