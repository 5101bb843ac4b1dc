// What the other files should have done.

use interloom_backends::{Forward, Hooked, Operations, operations};

struct Mine;

impl Forward<f64> for Mine {
    type Output = f64;

    fn forward(&self, x: f64) -> f64 {
        x
    }
}

struct Other;

impl Other {
    fn forward(&self, x: f64) -> f64 {
        x
    }
}

struct Scaled {
    scale: f64,
    source: Operations,
}

#[operations]
impl Forward<f64> for Scaled {
    type Output = f64;

    fn forward(&self, x: f64) -> f64 {
        x.max(self.scale)
    }
}

fn main() {
    let source = Operations::new(Scaled::OPERATIONS);
    Hooked::from(Scaled { scale: 2.0, source }).forward(1.0);
    Hooked::from(Mine).forward(1.0);
    Hooked::from(Other).call(1.0, |other, x| other.forward(x));
    Hooked::from(Other).inner().forward(1.0);
}
