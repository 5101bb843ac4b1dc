// A field of a hooked module is reached past its hook.

use interloom_backends::Hooked;

struct Outer {
    inner: Hooked<Inner>,
}

struct Inner;

impl Inner {
    fn embed(&self, x: f64) -> f64 {
        x
    }
}

fn main() {
    let outer = Outer { inner: Inner.into() };
    outer.inner.embed(1.0);
}
