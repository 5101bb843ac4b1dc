//! A type with operations, and no field for their places.

use interloom_backends::operations;

struct Block {
    scale: f64,
}

#[operations]
impl Block {
    fn forward(&self, x: f64) -> f64 {
        shift(x, self.scale)
    }
}

fn shift(x: f64, by: f64) -> f64 {
    x + by
}

fn main() {}
