//! Runs whose rows differ in length: the journal says how they are padded and which dimensions are
//! positions, so that it stands in for the model alone.

use std::fs;
use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor, TensorData};
use interloom::{Conclusion, Mode, Session, Subject};
use interloom_backends::{Run, Sites, Value};
use interloom_engine::{Cx, Fault, Padding, PaddingSide, Saved};
use interloom_journal::divergence::{Divergence, DivergenceClass, DivergenceSide};
use interloom_journal::{Journal, Policy, check};
use interloom_models::{INDUCTION, LanguageModel};

use crate::known::Known;

const PROMPTS: [&[u32]; 4] = [&[17, 3, 29, 17, 3], &[8, 35], &[5, 9, 14], &[4]];

/// How a run learns of the padding of its batch.
#[derive(Clone, Copy, Debug)]
enum Told {
    /// By the code around the model, before the run.
    Before(PaddingSide),
    /// By the model, when it is called.
    ByModel,
}

use Told::{Before, ByModel};

const TOLD: [Told; 3] = [
    Before(PaddingSide::Left),
    Before(PaddingSide::Right),
    ByModel,
];

/// What mediators have returned: tensors, and whether some of their positions are padding.
type Read = Vec<(bool, TensorData)>;

async fn scale(cx: Cx<Value>, factor: f64) -> Result<Vec<Value>, Fault> {
    let early = cx.output("layers.0").await?;
    cx.update_output("layers.0", |h| h * factor).await?;
    let pattern = cx.output("layers.1.attn.pattern").await?;
    Ok(vec![early, pattern, cx.output("").await?])
}

/// A run in which one mediator owns rows that differ in length, one gives what it has to another,
/// and all but one replace what passes.
fn patched(sites: &Sites, saved: &mut Vec<Saved<Vec<Value>>>) -> Run {
    let mut run = Run::new("patched", sites);
    saved.push(run.invoke("from", 1, async |cx| {
        let h = cx.output("layers.0").await?;
        cx.put("h", h.clone()).await?;
        Ok(vec![h])
    }));
    saved.push(run.invoke("two", 2, async |cx| scale(cx, 0.5).await));
    saved.push(run.invoke("one", 1, async |cx| {
        let own = cx.output("layers.0").await?;
        let h: Tensor<3> = cx.get("h").await?.tensor()?;
        cx.set_output("layers.0", h.narrow(1, 0, 1)).await?;
        Ok(vec![own, cx.output("layers.1").await?])
    }));
    run
}

/// A run in which all mediators skip a module, each with what it makes of its own rows.
fn skipped(sites: &Sites, saved: &mut Vec<Saved<Vec<Value>>>) -> Run {
    let mut run = Run::new("skipped", sites);
    for (name, rows, factor) in [("a", 1, 0.5), ("b", 2, 2.0), ("c", 1, -1.0)] {
        saved.push(run.invoke(name, rows, async move |cx| {
            let h: Tensor<3> = cx.input("layers.1").await?.tensor()?;
            cx.skip("layers.1", h * factor).await?;
            Ok(vec![cx.output("").await?])
        }));
    }
    run
}

/// A generation, whose steps after the first have one position for each row.
fn generated(sites: &Sites, saved: &mut Vec<Saved<Vec<Value>>>) -> Run {
    let mut run = Run::new("generated", sites);
    run.steps(3);
    for (name, rows) in [("a", 1), ("b", 3)] {
        saved.push(run.invoke(name, rows, async |cx| {
            let mut read = Vec::new();
            for _ in 0..3 {
                read.push(cx.output("layers.0").await?);
                cx.update_output("layers.1", |h| h * 1.5).await?;
                cx.next(1);
            }
            Ok(read)
        }));
    }
    run
}

/// Makes runs of `model`, or of what a journal knows of it, and returns what mediators have read;
/// `declares` says whether the code around the model tells the runs what it knows.
fn make(
    mode: Mode,
    subject: &dyn Subject,
    model: Option<&LanguageModel>,
    told: Told,
    declares: bool,
) -> (Conclusion, Vec<Read>) {
    let session = Session::of(subject).policy(Policy::Full);
    let mut session = session.open(mode).unwrap();
    let sites = subject.sites();
    let padding = match told {
        Before(side) if declares => Padding::new(side, PROMPTS.map(|prompt| prompt.len() as u32)),
        Before(_) | ByModel => None,
    };
    let is_right = matches!(told, Before(PaddingSide::Right));
    let mut saved = Vec::new();
    let mut runs = vec![patched(sites, &mut saved), skipped(sites, &mut saved)];
    // What continues texts is padded on the left.
    runs.extend((!is_right).then(|| generated(sites, &mut saved)));
    for mut run in runs {
        run.padding(padding.clone());
        let generates = run.name() == "generated";
        let forward = || {
            let model = model.expect("a model that is called");
            let batch = || model.batch(&PROMPTS).unwrap();
            match (is_right, generates) {
                (true, _) => drop(model.model().forward(padded_on_the_right())),
                (false, false) => drop(batch().logits()),
                (false, true) => drop(batch().generate(3)),
            }
        };
        session.run(run, forward).unwrap();
    }
    let read = saved.into_iter().map(|saved| read_of(saved.take()));
    (session.conclude().unwrap(), read.collect())
}

fn padded_on_the_right() -> Tensor<2, Int> {
    let rows = PROMPTS.map(|prompt| {
        let tokens = prompt.iter().map(|&token| token as i32);
        let mut row = [0; 5];
        row.iter_mut()
            .zip(tokens)
            .for_each(|(at, token)| *at = token);
        row
    });
    Tensor::from_data(rows, &Device::flex())
}

fn read_of(values: Option<Vec<Value>>) -> Read {
    let mut read = Vec::new();
    // A mediator that was replaced has returned nothing.
    for value in values.unwrap_or_default() {
        value.each_tensor(&mut |tensor| read.push((tensor.ragged().is_some(), tensor.to_data())));
    }
    read
}

/// A recording of the runs, and what mediators read in it.
struct Recorded {
    folder: tempfile::TempDir,
    model: LanguageModel,
    conclusion: Conclusion,
    read: Vec<Read>,
    told: Told,
}

impl Recorded {
    fn of(told: Told) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = LanguageModel::load(INDUCTION, &Device::flex()).unwrap();
        let mode = Mode::Record(folder.path().join("a.ilj"));
        let (conclusion, read) = make(mode, &model, Some(&model), told, true);
        Self {
            folder,
            model,
            conclusion,
            read,
            told,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a.ilj")
    }

    fn replay(&self, mode: Mode) -> (Conclusion, Vec<Read>) {
        make(mode, &self.model, Some(&self.model), self.told, true)
    }

    /// Checks that a replay has nothing that differs, and the digest of the recording.
    fn is_recorded(&self, conclusion: &Conclusion) {
        let Conclusion::Recorded { digest, .. } = &self.conclusion else {
            panic!("{:?}", self.conclusion);
        };
        match conclusion {
            Conclusion::Verified {
                digest: found,
                divergence,
                ..
            } => {
                let told = self.told;
                assert!(
                    divergence.is_none(),
                    "{told:?}: {}",
                    divergence.as_ref().unwrap()
                );
                assert_eq!(found, digest, "{told:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn r52_a_journal_serves_rows_of_different_length_without_their_model() {
    for told in TOLD {
        let recorded = Recorded::of(told);
        // Of two rows of three and two tokens, one is marked; of one row none is.
        assert!(recorded.read[1][0].0, "{told:?}");
        assert!(!recorded.read[0][0].0, "{told:?}");
        let known = Known::of(&recorded.path());
        // Also without a word of the code around it.
        for declares in [true, false] {
            let mode = Mode::Serve(recorded.path());
            let (conclusion, read) = make(mode, &known, None, told, declares);
            recorded.is_recorded(&conclusion);
            assert_eq!(read, recorded.read, "{told:?}");
        }
    }
}

#[test]
fn rows_of_different_length_are_replayed_with_their_model_in_every_mode() {
    for told in TOLD {
        let recorded = Recorded::of(told);
        for mode in [Mode::Verify, Mode::Serve, Mode::Drive] {
            let (conclusion, _) = recorded.replay(mode(recorded.path()));
            recorded.is_recorded(&conclusion);
        }
    }
}

#[test]
fn a_fork_is_served_the_rows_of_the_runs_before_it() {
    for told in TOLD {
        let recorded = Recorded::of(told);
        let journal = Journal::load(recorded.path()).unwrap();
        let runs = journal.runs.iter();
        for first in runs.map(|run| run.exchanges[0].index) {
            let into = recorded.folder.path().join("fork.ilj");
            let fork = Mode::Fork {
                from: recorded.path(),
                exchange: first + 1,
                into: into.clone(),
            };
            let (conclusion, read) = recorded.replay(fork);
            assert_eq!(read, recorded.read);
            assert!(fs::read(&into).unwrap() == fs::read(recorded.path()).unwrap());
            assert_eq!(conclusion, recorded.conclusion);
        }
    }
}

#[test]
fn a_journal_says_how_rows_are_padded() {
    for told in TOLD {
        let recorded = Recorded::of(told);
        let journal = Journal::load(recorded.path()).unwrap();
        let side = match told {
            Before(side) => side,
            ByModel => PaddingSide::Left,
        };
        for run in &journal.runs {
            let (_, record) = run.padding.as_ref().unwrap();
            assert_eq!(
                (record.padding.side(), record.padding.lengths()),
                (side, &[5, 2, 3, 1][..])
            );
        }
        assert_eq!(check(recorded.path()).unwrap().problem, None);
    }
}

/// The divergence of the recording from a replay in which another padding is declared.
fn padded_otherwise(mode: fn(PathBuf) -> Mode, padding: Option<Padding>) -> Divergence {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ilj");
    let model = LanguageModel::load(INDUCTION, &Device::flex()).unwrap();
    let make = |mode: Mode, padding: Option<Padding>| {
        let session = Session::of(&model).policy(Policy::Full);
        let mut session = session.open(mode).unwrap();
        let mut run = Run::new("run", model.sites());
        run.padding(padding);
        run.mediator("read", async |cx| cx.output("layers.0").await);
        let forward = || model.model().forward(padded_on_the_right());
        session.run(run, forward).unwrap();
        session.conclude().unwrap()
    };
    let recorded = Padding::new(PaddingSide::Right, [5, 2, 3, 1]);
    make(Mode::Record(path.clone()), recorded);
    match make(mode(path), padding) {
        Conclusion::Verified { divergence, .. } => *divergence.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_that_are_padded_otherwise_are_a_divergence() {
    let left = || Padding::new(PaddingSide::Left, [5, 2, 3, 1]);
    for mode in [Mode::Verify, Mode::Serve, Mode::Drive] {
        let divergence = padded_otherwise(mode, left());
        assert_eq!(divergence.class, DivergenceClass::Value);
        let padding = |side: &DivergenceSide| matches!(side, DivergenceSide::Padding(_));
        assert!(padding(&divergence.recorded) && padding(&divergence.live));
        insta::allow_duplicates! {
            insta::assert_snapshot!(field(&divergence), @"padding: rows of [5, 2, 3, 1] tokens, padded on the right recorded, rows of [5, 2, 3, 1] tokens, padded on the left in this run");
        }
    }
    insta::assert_snapshot!(field(&padded_otherwise(Mode::Verify, None)), @"padding: rows of [5, 2, 3, 1] tokens, padded on the right recorded, rows of one length in this run");
}

/// The line of the report that says of both runs how their rows are padded.
fn field(divergence: &Divergence) -> String {
    let report = divergence.to_string();
    let line = report.lines().find(|line| line.contains("padding: "));
    line.unwrap_or(&report).trim().to_owned()
}
