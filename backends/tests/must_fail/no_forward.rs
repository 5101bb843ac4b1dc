// A module whose `forward` is its own is called through its hook.

use interloom_backends::Hooked;

struct Mine;

impl Mine {
    fn forward(&self, x: f64) -> f64 {
        x
    }
}

fn main() {
    let hooked = Hooked::from(Mine);
    hooked.forward(1.0);
}
