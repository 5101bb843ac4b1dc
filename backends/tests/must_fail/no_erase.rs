// A module takes a struct that cannot pass a site.

use interloom_backends::{Forward, Hooked};

struct Pair {
    left: f64,
    right: f64,
}

struct Sum;

impl Forward<Pair> for Sum {
    type Output = f64;

    fn forward(&self, pair: Pair) -> f64 {
        pair.left + pair.right
    }
}

fn main() {
    let pair = Pair { left: 1.0, right: 2.0 };
    Hooked::from(Sum).forward(pair);
}
