//! Two ranks of one training run, each with a share of the data and a ledger of its own.
//!
//! Who distributes is not Interloom: here the gradients of two threads are averaged by hand.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use interloom::journal::training::{RankDrift, Ranks, StepPhase};
use interloom::training::{DataOrder, Training};
use interloom::{Error, Sites, backward};
use interloom_backends::Forward as _;

use crate::net::{ITEMS, Net, SEED, State, alone, device, fresh, settings};

const STEPS: u64 = 15;
const SHARE: u64 = 4;

/// One of two ranks, and how it hears of the other's gradients.
struct Rank {
    number: u64,
    send: Sender<Vec<TensorData>>,
    receive: Receiver<Vec<TensorData>>,
    /// A step in which this rank takes another rate.
    wrong: Option<u64>,
}

impl Rank {
    fn train(&self, training: &mut Training, state: &mut State) -> Result<(), Error> {
        let sites = Sites::bind(&state.module)?;
        let order = DataOrder::new(SEED, ITEMS).unwrap();
        while training.goes_on(STEPS) {
            training.step(state, |step, state| {
                // Both ranks together are fed what one alone would be.
                let items = order.batch(2 * step.number() + self.number, SHARE);
                step.fed_items("items", &items);
                let mut run = step.run(&sites);
                run.mediator("scale", async |cx| {
                    cx.update_output("act", |h| h * 0.9).await
                });
                let (loss, gradients) = step.record(run, || {
                    let loss = loss(&state.module, &items);
                    let gradients = backward(&loss);
                    (loss.into_scalar::<f32>(), gradients)
                })?;
                let own = GradientsParams::from_grads(gradients, &state.module);
                let rate = if self.wrong == Some(step.number()) {
                    0.02
                } else {
                    0.01
                };
                step.update(state, rate, self.averaged(&state.module, &own))?;
                Ok(f64::from(loss))
            })?;
        }
        Ok(())
    }

    /// Averages the gradients of both ranks, in the order of the ranks.
    fn averaged(&self, net: &Net, own: &GradientsParams) -> GradientsParams {
        let mut read = Read {
            gradients: own,
            found: Vec::new(),
        };
        net.visit(&mut read);
        self.send.send(read.found.clone()).expect("the other rank");
        let other = self.receive.recv().expect("the other rank");
        let ranks = if self.number == 0 {
            [read.found, other]
        } else {
            [other, read.found]
        };
        let [first, second] = ranks;
        let mut write = Write {
            pairs: first.into_iter().zip(second).collect(),
            averaged: GradientsParams::new(),
        };
        write.pairs.reverse();
        net.clone().map(&mut write);
        write.averaged
    }
}

fn loss(net: &Net, items: &[u64]) -> Tensor<1> {
    let x: Vec<f32> = items.iter().map(|item| *item as f32 / 40.0).collect();
    let x = Tensor::<1>::from_floats(&x[..], &device()).reshape([items.len(), 1]);
    (net.forward(x.clone().repeat_dim(1, 3)) - x.repeat_dim(1, 2).sin())
        .square()
        .mean()
}

struct Read<'a> {
    gradients: &'a GradientsParams,
    found: Vec<TensorData>,
}

impl ModuleVisitor for Read<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.get::<D>(param.id).expect("a gradient");
        self.found.push(gradient.into_data());
    }
}

struct Write {
    /// The gradients of both ranks, the first parameter last.
    pairs: Vec<(TensorData, TensorData)>,
    averaged: GradientsParams,
}

impl ModuleMapper for Write {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (first, second) = self.pairs.pop().expect("gradients of each parameter");
        let on = device().inner();
        let sum = Tensor::<D>::from_data(first, &on) + Tensor::from_data(second, &on);
        self.averaged.register(param.id, sum / 2.0);
        param
    }
}

/// Trains both ranks, each on a thread, into folders that begin with a name.
fn trained(scratch: &Path, name: &str, wrong: Option<u64>) -> Ranks {
    let (to_second, from_first) = channel();
    let (to_first, from_second) = channel();
    let folder = |rank: u64| scratch.join(format!("{name}-rank-{rank}"));
    let rank = |number, send, receive, wrong| {
        // Weights are drawn here: threads share burn's generator.
        let (folder, mut state) = (folder(number), fresh(SEED));
        move || {
            let rank = Rank {
                number,
                send,
                receive,
                wrong,
            };
            let mut training = settings().record(folder, &mut state).unwrap();
            rank.train(&mut training, &mut state).unwrap();
            training.finish().unwrap();
        }
    };
    let first = rank(0, to_second, from_second, None);
    #[allow(clippy::disallowed_methods, reason = "the other rank")]
    let second = thread::spawn(rank(1, to_first, from_first, wrong));
    first();
    second.join().unwrap();
    Ranks::read([folder(0), folder(1)]).unwrap()
}

#[test]
fn ranks_are_replicas_that_are_merged_by_step_and_rank() {
    let _alone = alone();
    let scratch = tempfile::tempdir().unwrap();
    let ranks = trained(scratch.path(), "right", None);
    ranks.check().unwrap();
    let merged: Vec<(u64, usize)> = ranks
        .lines()
        .map(|(rank, line)| (line.step, rank))
        .collect();
    let expected = (0..STEPS).flat_map(|step| [(step, 0), (step, 1)]);
    assert_eq!(merged, expected.collect::<Vec<_>>());
    let [first, second] = [0, 1].map(|rank| ranks.ledgers()[rank].lines());
    for (first, second) in first.iter().zip(second) {
        assert_ne!(first.batch, second.batch);
        assert_ne!(first.exchanges, second.exchanges);
        assert_eq!(first.parameters, second.parameters);
    }
    // Each has journals of its own, which a step of the run opens.
    assert!(
        ranks
            .ledgers()
            .iter()
            .all(|ledger| ledger.segment(12).exists())
    );
}

#[test]
fn a_rank_that_is_no_replica_any_more_is_named_with_step_and_phase() {
    let _alone = alone();
    let scratch = tempfile::tempdir().unwrap();
    let ranks = trained(scratch.path(), "wrong", Some(7));
    let drift = RankDrift {
        step: 7,
        rank: 1,
        phase: StepPhase::Schedule,
        names: vec!["net.learning rate".to_owned()],
    };
    assert_eq!(ranks.first_drift().unwrap(), Some(drift));
    let error = ranks.check().unwrap_err();
    assert_eq!(error.code(), "E130");
    let place = "step 7, rank 1, schedule: `net.learning rate`";
    assert!(error.to_string().contains(place), "{error}");
}
