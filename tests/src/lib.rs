//! What the tests of several rooms share.
#![forbid(unsafe_code)]

pub mod conformance;
