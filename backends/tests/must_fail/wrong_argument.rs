//! A mistake inside of a function with operations.

use interloom_backends::{Operations, operations};

struct Block {
    scale: f64,
    source: Operations,
}

#[operations]
impl Block {
    fn forward(&self, x: f64) -> f64 {
        shift(x.sqrt(), self.label())
    }

    fn label(&self) -> &'static str {
        "label"
    }
}

fn shift(x: f64, by: f64) -> f64 {
    x + by
}

fn main() {}
