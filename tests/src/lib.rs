//! Tests of Interloom that need more than one room; they stand in `tests/`.
