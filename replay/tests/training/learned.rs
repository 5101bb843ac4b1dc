//! Mediators that own parameters: trained while the model is frozen, killed, resumed.

use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Tensor, TensorData};
use interloom::interventions::LoReft;
use interloom::journal::training::{LEDGER_FILE, NAMES_FILE};
use interloom::training::{DataOrder, Trained, Training, mean_squared_error};
use interloom::{Error, Sites, backward};
use interloom_backends::Forward as _;

use crate::net::{SEED, State, alone, device, fresh, settings};

const STEPS: u64 = 25;

fn reft(seed: u64) -> Trained<LoReft> {
    let device = device();
    device.seed(seed);
    let reft = LoReft::new(6, 2, &device).expect("a rank below the width");
    Trained::new("reft", reft, AdamConfig::new().init())
}

/// Trains the intervention at the net's activation, so that the outputs become a constant.
fn train(
    training: &mut Training,
    net: &State,
    reft: &mut Trained<LoReft>,
    total: u64,
) -> Result<(), Error> {
    let sites = Sites::bind(&net.module)?;
    let order = DataOrder::new(training.seed(), 40).unwrap();
    while training.goes_on(total) {
        training.step(reft, |step, reft| {
            let items = step.items(&order, 8);
            let x: Vec<f32> = items
                .iter()
                .flat_map(|item| [*item as f32 / 40.0, 0.5, 1.0])
                .collect();
            let x = Tensor::<2>::from_data(TensorData::new(x, [8, 3]), &device());
            let own = reft.module.clone();
            let mut run = step.run(&sites);
            run.mediator("reft", async move |cx| {
                let h = cx.output("act").await?.tensor::<2>()?;
                cx.set_output("act", own.forward(h)).await
            });
            let (loss, gradients) = step.record(run, || {
                let output = net.module.forward(x);
                let loss = mean_squared_error(output.clone(), output.ones_like());
                let gradients = backward(&loss);
                (loss.into_scalar::<f32>(), gradients)
            })?;
            let gradients = GradientsParams::from_grads(gradients, &reft.module);
            step.learn(reft, 0.05, gradients)?;
            Ok(f64::from(loss))
        })?;
    }
    Ok(())
}

fn until(folder: &Path, stop: u64, seed: u64) -> f64 {
    let net = fresh(SEED);
    let mut reft = reft(seed);
    let mut training = settings().record_or_resume(folder, &mut reft).unwrap();
    train(&mut training, &net, &mut reft, stop).unwrap();
    if stop == STEPS {
        training.finish().unwrap();
    }
    orthogonality_error(&reft.module)
}

/// The largest element of `R R^T - I`.
fn orthogonality_error(reft: &LoReft) -> f64 {
    let rows = reft.rotation();
    let [rank, _] = rows.dims();
    let product = rows.clone().matmul(rows.transpose());
    let identity = Tensor::<2>::eye(rank, &product.device());
    let error = (product - identity).abs().max();
    f64::from(error.into_scalar::<f32>())
}

#[test]
fn r110_an_intervention_learns_is_killed_and_goes_on_byte_for_byte() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (whole, pieces) = (folder.path().join("whole"), folder.path().join("pieces"));
    let error = until(&whole, STEPS, SEED);
    assert!(error <= 1e-6, "{error}");
    for (sitting, stop) in [7, 16, STEPS].into_iter().enumerate() {
        // Each process begins with other weights, and takes those of the checkpoint.
        let error = until(&pieces, stop, SEED + if sitting == 0 { 0 } else { 5 });
        assert!(error <= 1e-6, "after {stop} steps: {error}");
    }
    for file in [LEDGER_FILE, NAMES_FILE, "steps-00000020.ilj"] {
        let [a, b] = [&whole, &pieces].map(|run| fs::read(run.join(file)).unwrap());
        assert!(a == b, "{file}");
    }
    assert_eq!(reft(1).module.num_params(), 2 * 2 * 6 + 2);
}
