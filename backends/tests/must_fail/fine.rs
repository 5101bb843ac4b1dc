// What the other files should have done.

use interloom_backends::{Forward, Hooked};

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

fn main() {
    Hooked::from(Mine).forward(1.0);
    Hooked::from(Other).call(1.0, |other, x| other.forward(x));
    Hooked::from(Other).inner().forward(1.0);
}
