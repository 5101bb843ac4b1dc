//! What is equal is called identical, in this process and in another.

use burn::tensor::Device;
use interloom::{Conclusion, Error, Mode, Proof, Session};
use interloom_backends::Run;
use interloom_cli::experiment::{FileExperiment, replay};
use interloom_journal::{Journal, Policy};
use interloom_models::induction::{Induction, Sampler};

use crate::plan::{Plan, make};
use crate::{Recording, in_a_new_process, journal_of_the_parent};

/// Checks that a replay of what `recorded` says is identical, with as many exchanges and the same
/// digest.
#[track_caller]
pub(crate) fn assert_same(recorded: &Conclusion, replayed: &Conclusion) {
    let (
        Conclusion::Recorded {
            exchanges, digest, ..
        },
        Conclusion::Verified { .. },
    ) = (recorded, replayed)
    else {
        panic!("{recorded:?} and {replayed:?}");
    };
    let expected = Conclusion::Verified {
        proof: Proof::Reexecution,
        exchanges: *exchanges,
        digest: *digest,
        divergence: None,
        environment: None,
    };
    assert_eq!(*replayed, expected);
    assert!(replayed.is_identical());
}

#[test]
fn a_second_session_makes_the_same_exchanges() {
    for policy in [Policy::Digest, Policy::Full] {
        let plan = Plan {
            policy,
            ..Plan::default()
        };
        let recording = Recording::of(&plan);
        for _ in 0..3 {
            assert_same(&recording.conclusion, &recording.verify(&plan));
        }
    }
}

#[test]
fn what_is_kept_of_tensors_is_no_difference() {
    let recording = Recording::of(&Plan::default());
    let full = Plan {
        policy: Policy::Full,
        ..Plan::default()
    };
    assert_same(&recording.conclusion, &recording.verify(&full));
}

#[test]
fn recordings_are_equal_byte_for_byte() {
    let bytes = || std::fs::read(Recording::of(&Plan::default()).path()).unwrap();
    assert!(bytes() == bytes());
}

#[test]
fn the_journal_has_what_the_conclusion_says() {
    let recording = Recording::of(&Plan::default());
    let journal = Journal::load(recording.path()).unwrap();
    let Conclusion::Recorded {
        exchanges,
        digest,
        bytes,
        ..
    } = recording.conclusion
    else {
        panic!("{:?}", recording.conclusion);
    };
    assert_eq!(journal.exchanges().count() as u64, exchanges);
    assert_eq!(journal.digest(), digest);
    assert_eq!(recording.path().metadata().unwrap().len(), bytes);
    // Each run: three values and an END, a value, a swap and an END, a value and an END.
    assert_eq!(exchanges, 2 * (4 + 3 + 2));
}

#[test]
fn a_new_process_makes_the_same_exchanges() {
    let recording = Recording::of(&Plan::default());
    let output = in_a_new_process("identical::child_verifies", &recording.path());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let Conclusion::Recorded {
        exchanges, digest, ..
    } = recording.conclusion
    else {
        panic!("{:?}", recording.conclusion);
    };
    assert!(
        text.contains(&format!("identical: {exchanges} {digest}")),
        "{text}"
    );
}

#[test]
#[ignore = "the other process of `a_new_process_makes_the_same_exchanges`"]
fn child_verifies() {
    let Some(journal) = journal_of_the_parent() else {
        return;
    };
    match make(Mode::Verify(journal), &Plan::default()).unwrap() {
        Conclusion::Verified {
            proof: Proof::Reexecution,
            exchanges,
            digest,
            divergence: None,
            environment: None,
        } => {
            println!("identical: {exchanges} {digest}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_trained_model_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("patched.ilj");
    let recorded = patched(Mode::Record(journal.clone())).unwrap();
    assert_same(&recorded, &patched(Mode::Verify(journal)).unwrap());
}

/// Puts an attention pattern of one run into the next, and reads the logits of both.
fn patched(mode: Mode) -> Result<Conclusion, Error> {
    let device = Device::flex();
    let model = Induction::trained(&device);
    let batch = Sampler::new(11).batch(2);
    let session = Session::of(&model).policy(Policy::Full).seed(11);
    let mut session = session.open(mode)?;

    let mut clean = Run::new("clean", model.sites());
    let pattern = clean.mediator("read", |cx| async move {
        cx.output("layers.0.attn.pattern").await
    });
    session.run(clean, || model.forward(batch.tokens(&device)))?;

    let pattern = pattern.take().expect("the run has succeeded");
    let mut run = Run::new("patched", model.sites());
    run.mediator("write", |cx| async move {
        cx.set_output("layers.1.attn.pattern", pattern).await
    });
    run.mediator("logits", |cx| async move { cx.output("").await });
    session.run(run, || model.forward(batch.tokens(&device)))?;
    session.note("remark", "notes are no exchanges")?;
    session.conclude()
}

#[test]
fn a_known_experiment_is_replayed_from_its_journal_alone() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("heads.ilj");
    let text = include_str!("../../../replay/cli/experiments/ablation.toml");
    let experiment = FileExperiment::new("ablation.toml", text);
    let mode = Mode::Record(journal.clone());
    let (_, recorded) = experiment.run(mode, Policy::Digest, &mut ()).unwrap();
    assert_same(
        &recorded,
        &replay(&journal, Mode::Verify, None, &mut ()).unwrap(),
    );
}

#[test]
fn a_run_that_fails_is_recorded_and_fails_the_same_way() {
    let plan = Plan {
        fails: true,
        ..Plan::default()
    };
    let recording = Recording::of(&plan);
    let journal = Journal::load(recording.path()).unwrap();
    for run in &journal.runs {
        let outcome = &run.end.as_ref().unwrap().outcome;
        assert_eq!(outcome.code(), Some("E002"));
        let text = outcome.to_string();
        assert!(
            text.contains("mediator `scale` failed at `act.output.i0`"),
            "{text}"
        );
    }
    assert_same(&recording.conclusion, &recording.verify(&plan));
}
