//! What the tests of several rooms share; the tests themselves stand in `tests/`.
#![forbid(unsafe_code)]

pub mod interpret;
