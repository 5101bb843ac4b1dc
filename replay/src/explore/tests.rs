//! Explorations of runs that are written in Rust.

mod sharing;

use std::cell::Cell;

use burn::tensor::{Device, Tensor};
use interloom_backends::{Bound, Hooked};
use interloom_engine::explore::OrderDependence;
use interloom_engine::scheduler::Recorded;
use interloom_models::induction::{Induction, Sampler};

use super::*;
use crate::batch_invariance::{BatchDependence, BatchScope, compare_batches};

struct Lab {
    model: Bound<Hooked<Induction>>,
    device: Device,
}

impl Lab {
    fn new() -> Self {
        let device = Device::flex();
        let model = Induction::trained(&device);
        Self { model, device }
    }

    /// A run with a mediator for each factor, which multiplies the stream after layer 0 and then
    /// adds one.
    fn run(&self, factors: &[f64]) -> Run {
        let mut run = Run::new("lab", self.model.sites());
        for (place, &factor) in factors.iter().enumerate() {
            run.mediator(format!("m{place}"), move |cx| async move {
                let h = cx.output("layers.0").await?;
                cx.set_output("layers.0", h * factor + 1.0).await
            });
        }
        run
    }

    fn forward(&self, rows: usize) -> Tensor<3> {
        let batch = Sampler::new(7).batch(rows);
        self.model.forward(batch.tokens(&self.device))
    }

    fn outcome(&self, factors: &[f64], trial: &Trial<'_>) -> Result<ExploredOutcome, Error> {
        trial.run(self.run(factors), || self.forward(1), show)
    }
}

fn show(output: Option<&Tensor<3>>, shown: &mut Shown) {
    if let Some(logits) = output {
        shown.add("logits", logits.clone());
    }
}

#[test]
fn each_outcome_has_a_witness_that_leads_to_it_again() {
    let lab = Lab::new();
    let factors = [2.0, 3.0, 2.0];
    let found = Exploration::new()
        .explore(|trial| lab.outcome(&factors, trial), |_| true)
        .unwrap();
    // Of six orders those that swap the two equal ones are alike.
    assert_eq!(
        found.verdict.to_string(),
        "order-dependent: 3 outcomes of 6 schedules, which cover all"
    );
    assert_eq!(found.races.len(), 3);
    assert!(found.verdict.classes[0].witness.deviations() == 0);
    for class in &found.verdict.classes {
        let mut run = lab.run(&factors);
        run.scheduler(Recorded::new(class.witness.clone()));
        let again = ExploredOutcome::of(&run.execute(|| lab.forward(1)), show).unwrap();
        assert_eq!(again, class.outcome);
    }
}

#[test]
fn an_exploration_can_be_ended_from_outside() {
    let lab = Lab::new();
    for orders in [
        Orders::All,
        Orders::Random { seed: 3 },
        Orders::Pct { depth: 2 },
    ] {
        let mut seen = Vec::new();
        let found = Exploration::new().orders(orders).explore(
            |trial| lab.outcome(&[1.0, 1.0, 1.0], trial),
            |made| {
                seen.push(made.runs);
                made.runs < 3
            },
        );
        let verdict = found.unwrap().verdict;
        assert_eq!((verdict.runs, verdict.is_complete), (3, false));
        assert_eq!(verdict.conclusion(), OrderDependence::Unknown);
        assert_eq!(seen, [1, 2, 3]);
    }
}

#[test]
fn a_run_that_is_not_attached_or_not_the_same_again_is_an_error() {
    let lab = Lab::new();
    let loose =
        |_: &Trial<'_>| ExploredOutcome::of(&lab.run(&[2.0]).execute(|| lab.forward(1)), show);
    let error = Exploration::new().explore(loose, |_| true).unwrap_err();
    assert_eq!(error.code(), "E127");
    let made = Cell::new(0);
    let unsteady = |trial: &Trial<'_>| {
        made.set(made.get() + 1);
        let factors = [2.0, 3.0, 4.0];
        lab.outcome(&factors[..made.get().min(2) + 1], trial)
    };
    let error = Exploration::new().explore(unsteady, |_| true).unwrap_err();
    assert_eq!(error.code(), "E126", "{error}");
    let twice = |trial: &Trial<'_>| {
        let mut run = lab.run(&[2.0]);
        run.mediator("m0", async |_| Ok(()));
        trial.run(run, || lab.forward(1), show)
    };
    let error = Exploration::new().explore(twice, |_| true).unwrap_err();
    assert_eq!(error.code(), "E023");
}

/// Makes an invoke with a row of its own, and in a batch another one, with a mediator that may look
/// at the whole batch.
fn dependence(lab: &Lab, meddles: bool) -> Result<Option<BatchDependence>, Error> {
    compare_batches("own", |batch| {
        let mut run = Run::new("mates", lab.model.sites());
        run.invoke("own", 1, |cx| async move { cx.output("layers.1").await });
        let rows = match batch {
            BatchScope::Alone => 1,
            BatchScope::Together => {
                run.invoke("other", 1, |cx| async move {
                    cx.output("layers.0").await.map(drop)
                });
                2
            }
        };
        if meddles && batch == BatchScope::Together {
            run.mediator("all", |cx| async move {
                let h = cx.output("layers.0").await?;
                cx.set_output("layers.0", h * 2.0).await
            });
        }
        Ok((run, move || drop(lab.forward(rows))))
    })
}

#[test]
fn an_invoke_whose_mates_leave_it_alone_is_the_same_alone() {
    assert_eq!(dependence(&Lab::new(), false).unwrap(), None);
}

#[test]
fn the_first_exchange_that_differs_in_a_batch_is_named() {
    let found = dependence(&Lab::new(), true).unwrap().unwrap();
    let text = found.to_string();
    let start = "`own`, exchange 0: alone VALUE `layers.1.output.i0` f32[1, 48, 64] b3:";
    assert!(text.starts_with(start), "{text}");
    let elements = found.elements.unwrap();
    assert!(elements.absolute > 0.0 && elements.relative > 0.0);
    assert!(elements.tensor.ulp_max.unwrap() > 0);
    // Nothing at all is another thing than something.
    let lab = Lab::new();
    let silent = compare_batches("own", |batch| {
        let mut run = Run::new("mates", lab.model.sites());
        run.invoke("own", 1, move |cx| async move {
            match batch {
                BatchScope::Alone => cx.output("layers.0").await.map(drop),
                BatchScope::Together => Ok(()),
            }
        });
        Ok::<_, Error>((run, || drop(lab.forward(1))))
    });
    let found = silent.unwrap().unwrap();
    assert!(found.alone.is_some() && found.together != found.alone);
}

#[test]
fn an_invoke_that_there_is_not_is_no_invoke_without_differences() {
    let lab = Lab::new();
    let compared = |invoke: &str, factors: &[f64]| {
        let compared = compare_batches(invoke, |_| {
            let run = lab.run(factors);
            Ok::<_, Error>((run, || drop(lab.forward(1))))
        });
        compared.unwrap_err()
    };
    let error = compared("nobody", &[2.0]);
    assert_eq!(error.code(), "E144");
    insta::assert_snapshot!(error, @"run `lab` has no mediator `nobody`, only `m0`; give the name of one that it has, or add one of that name");
    insta::assert_snapshot!(compared("own", &[]), @"run `lab` has no mediator `own`, none at all; give the name of one that it has, or add one of that name");
}
