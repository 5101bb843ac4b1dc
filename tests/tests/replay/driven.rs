//! Drives of runs whose own code calls `backward` after a mediator has replaced what passed: the
//! journal has the replacement, and not the graph that it was computed in.

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor};
use interloom::{Conclusion, Error, Mode, Session};
use interloom_backends::{BackwardFailure, Bound, ForwardError, Hooked, Run, backward};
use interloom_journal::Policy;
use interloom_models::induction::{Induction, Sampler};
use tempfile::TempDir;

struct Subject {
    model: Bound<Hooked<Induction>>,
    tokens: Tensor<2, Int>,
}

/// How the value at `layers.1.attn` is replaced.
#[derive(Clone, Copy, Debug)]
enum Replacement {
    /// By what is computed from it.
    Scaled,
    /// By what belongs to no graph.
    Zeros,
}

impl Subject {
    fn new(change: impl Fn(Hooked<Induction>) -> Hooked<Induction>) -> Self {
        let device = Device::flex().autodiff();
        let model = change(Induction::trained(&device).into_inner());
        let model = Bound::new(model).unwrap();
        let tokens = Sampler::new(7).batch(2).tokens(&device);
        Self { model, tokens }
    }

    fn run(
        &self,
        mode: Mode,
        replacement: Replacement,
        gradient: &'static str,
    ) -> Result<Conclusion, Error> {
        let mut session = Session::of(&self.model).policy(Policy::Full).open(mode)?;
        let mut run = Run::new("step", self.model.sites());
        run.mediator("scale", async move |cx| {
            cx.update_output("layers.1.attn", |h| match replacement {
                Replacement::Scaled => h * 0.5,
                Replacement::Zeros => Tensor::<3>::zeros([2, 48, 64], &Device::flex()).into(),
            })
            .await
        });
        run.parameters(&self.model);
        run.mediator("read", async move |cx| cx.grad(gradient).await)
            .gradients([gradient]);
        session.run(run, || {
            let logits = self.model.forward(self.tokens.clone());
            backward(&log_softmax(logits, 2).narrow(2, 0, 1).mean())
        })?;
        session.conclude()
    }

    fn recorded(&self, replacement: Replacement, gradient: &'static str) -> (TempDir, Mode) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a.ilj");
        let record = Mode::Record(path.clone());
        self.run(record, replacement, gradient).unwrap();
        (folder, Mode::Drive(path))
    }
}

fn severed(result: Result<Conclusion, Error>) -> (Option<String>, String, String) {
    match result {
        Err(Error::Forward(ForwardError::Backward { why, .. })) => match why {
            BackwardFailure::Severed {
                gradient,
                site,
                mediator,
            } => (gradient, site, mediator),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn r92_what_no_gradient_flows_through_is_said() {
    let subject = Subject::new(|model| model);
    for gradient in [
        "layers.0",
        "layers.0.attn.z",
        "layers.1.input",
        "layers.1.attn.v",
        "layers.1.attn.query.weight",
        "embed.weight",
    ] {
        let (_folder, drive) = subject.recorded(Replacement::Scaled, gradient);
        let result = subject.run(drive, Replacement::Scaled, gradient);
        let (named, site, mediator) = severed(result);
        let named = named.unwrap_or_default();
        assert!(named.starts_with(gradient), "{gradient}: {named}");
        assert_eq!((&*site, &*mediator), ("layers.1.attn.output.i0", "scale"));
    }
    let (_folder, drive) = subject.recorded(Replacement::Scaled, "layers.0");
    let error = subject
        .run(drive, Replacement::Scaled, "layers.0")
        .unwrap_err();
    insta::assert_snapshot!(error, @"the backward pass after `layers.1.attn.output.i0` failed: the gradient `layers.0.output.grad.i0` is not the recorded one: mediator `scale` replaced `layers.1.attn.output.i0` before the pass, and the journal has the replacement without the graph that it was computed in, so that no gradient flows through it; whether the model differs as well cannot be told. Verify or serve the journal, which have the mediators live, or let a mediator ask for the pass (`cx.backward`), which a drive takes from the journal");
}

#[test]
fn r92_gradients_after_what_was_replaced_are_compared() {
    let subject = Subject::new(|model| model);
    for gradient in [
        "unembed.input",
        "layers.1",
        "layers.1.attn",
        "unembed.weight",
    ] {
        let (_folder, drive) = subject.recorded(Replacement::Scaled, gradient);
        let driven = subject.run(drive, Replacement::Scaled, gradient).unwrap();
        assert!(driven.is_identical(), "{gradient}: {driven:?}");
    }
}

#[test]
fn r92_what_belongs_to_no_graph_severs_none() {
    let subject = Subject::new(|model| model);
    for gradient in ["layers.0", "layers.1.input", "layers.1", "embed.weight"] {
        let (_folder, drive) = subject.recorded(Replacement::Zeros, gradient);
        let driven = subject.run(drive, Replacement::Zeros, gradient).unwrap();
        assert!(driven.is_identical(), "{gradient}: {driven:?}");
    }
}

/// Without parameters that are trained, all of the graph begins at a hook before the replacement.
#[test]
fn r92_a_graph_of_which_nothing_is_left() {
    let subject = Subject::new(|model| model.no_grad());
    let (_folder, drive) = subject.recorded(Replacement::Scaled, "layers.1.attn.z");
    let (_, site, _) = severed(subject.run(drive, Replacement::Scaled, "layers.1.attn.z"));
    assert_eq!(site, "layers.1.attn.output.i0");
}

/// What differs before the pass is a divergence, whatever was replaced.
#[test]
fn a_model_that_passes_something_else_diverges() {
    let subject = Subject::new(|model| model);
    let (_folder, drive) = subject.recorded(Replacement::Scaled, "layers.0");
    let other = Subject {
        model: Induction::new(3, &Device::flex().autodiff()),
        tokens: subject.tokens.clone(),
    };
    let driven = other.run(drive, Replacement::Scaled, "layers.0").unwrap();
    assert!(!driven.is_identical());
}
