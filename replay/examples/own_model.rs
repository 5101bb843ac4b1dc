//! A model of one's own: its fields are hooked, one activation is replaced, and the run is recorded
//! and verified.
//!
//! ```sh
//! cargo run -p interloom --example own_model
//! ```

use burn::module::Module;
use burn::nn::{Gelu, Linear, LinearConfig};
use interloom::prelude::*;

#[derive(Module, Debug)]
struct Mlp {
    up: Hooked<Linear>,
    act: Hooked<Gelu>,
    down: Hooked<Linear>,
}

impl Forward<Tensor<2>> for Mlp {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.down.forward(self.act.forward(self.up.forward(x)))
    }
}

/// The experiment: the same code, whether its session records or verifies.
fn ablate(model: &Bound<Hooked<Mlp>>, mut session: Session) -> Result<Conclusion, Error> {
    let mut run = Run::new("ablate", model);
    run.mediator("zero", async |cx| {
        cx.update_output("act", |h| h * 0.0).await
    });
    let x = Tensor::<2>::ones([1, 4], &Device::flex());
    println!("{}", session.run(run, || model.forward(x))?.completed()?);
    session.finish()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();
    device.seed(7);
    let mlp = Mlp {
        up: LinearConfig::new(4, 8).init(&device).into(),
        act: Gelu::new().into(),
        down: LinearConfig::new(8, 4).init(&device).into(),
    };
    let model = Bound::new(Hooked::from(mlp))?;
    ablate(&model, Session::record("mlp.ilj", &model)?)?;
    println!("{:?}", ablate(&model, Session::verify("mlp.ilj", &model)?)?);
    Ok(())
}
