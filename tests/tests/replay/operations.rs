//! Operations, whose functions a journal has by name only.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, activation};
use interloom::{Conclusion, Error, Mode, Session};
use interloom_backends::{Run, Value};
use interloom_engine::Fault;
use interloom_journal::divergence::DivergenceClass;
use interloom_journal::{Journal, Policy};
use interloom_models::induction::{Induction, Sampler};

use crate::identical::assert_same;

const SOFTMAX: &str = "layers.1.attn.source.softmax_0";

/// Attends by another function, which is found by `name`, and to nothing beyond a half.
fn attend(mode: Mode, name: &'static str, known: &[&'static str]) -> Result<Conclusion, Error> {
    let device = Device::flex();
    let model = Induction::trained(&device);
    let batch = Sampler::new(11).batch(2);
    let session = Session::of(&model).policy(Policy::Full).seed(11);
    let mut session = session.open(mode)?;
    let mut run = Run::new("attend", model.sites());
    for name in known {
        run.function(*name, half);
    }
    run.mediator("swap", async move |cx| {
        let function = format!("{SOFTMAX}.fn");
        let before = cx.value(&*function).await?;
        cx.set(&*function, name).await?;
        let scores = cx.input(SOFTMAX).await?;
        let pattern = cx.output(SOFTMAX).await?;
        Ok((before, scores, pattern, cx.output("").await?))
    });
    session.run(run, || model.forward(batch.tokens(&device)))?;
    session.conclude()
}

fn half(scores: Value) -> Result<Value, Fault> {
    let scores: Tensor<4> = scores.tensor()?;
    Ok(activation::softmax(scores, 3).clamp_max(0.5).into())
}

fn recorded(folder: &Path) -> PathBuf {
    let journal = folder.join("attend.ilj");
    let known = ["half", "other"];
    let conclusion = attend(Mode::Record(journal.clone()), "half", &known).unwrap();
    let again = attend(Mode::Verify(journal.clone()), "half", &known).unwrap();
    assert_same(&conclusion, &again);
    journal
}

#[test]
fn r90_a_journal_names_the_function_and_is_replayed_in_every_mode() {
    let folder = tempfile::tempdir().unwrap();
    let journal = recorded(folder.path());
    let lines = &Journal::load(&journal).unwrap().runs[0].exchanges;
    let texts: Vec<String> = lines[..2].iter().map(|line| format!("{line:?}")).collect();
    assert!(texts[0].contains("activation::softmax"), "{}", texts[0]);
    assert!(texts[1].contains("half"), "{}", texts[1]);
    // No function is needed where no model runs.
    let served = attend(Mode::Serve(journal.clone()), "half", &[]).unwrap();
    assert!(served.is_identical());
    let driven = attend(Mode::Drive(journal), "half", &["half"]).unwrap();
    assert!(driven.is_identical());
}

#[test]
fn r90_another_function_is_found_at_its_swap() {
    let folder = tempfile::tempdir().unwrap();
    let journal = recorded(folder.path());
    for mode in [Mode::Verify(journal.clone()), Mode::Serve(journal)] {
        let conclusion = attend(mode, "other", &["half", "other"]).unwrap();
        let Conclusion::Verified {
            divergence: Some(divergence),
            ..
        } = conclusion
        else {
            panic!("{conclusion:?}");
        };
        assert_eq!(divergence.index, 1);
        assert_eq!(divergence.class, DivergenceClass::Value);
        assert!(divergence.to_string().contains("half"), "{divergence}");
    }
}

#[test]
fn r90_a_replay_without_the_function_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let journal = recorded(folder.path());
    for mode in [Mode::Verify(journal.clone()), Mode::Drive(journal)] {
        let said = match attend(mode, "half", &["other"]) {
            Err(error) => format!("{error} {}", error.code()),
            Ok(conclusion) => panic!("{conclusion:?}"),
        };
        assert!(said.contains("cannot call `half`"), "{said}");
        assert!(said.ends_with("E059"), "{said}");
    }
}
