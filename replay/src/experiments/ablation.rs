//! Which head of the induction transformer does what: attention scores, and the loss without each head.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use interloom_backends::models::induction::{
    Batch, HEADS, HeadScores, Induction, LAYERS, Sampler, Score, head_scores, score,
};
use interloom_backends::{Bound, Hooked, Run, parse_device};
use interloom_engine::{Fault, Saved};

use super::{Progress, count, text};
use crate::environment;
use crate::error::Error;
use crate::journal::{Argument, Experiment, Policy};
use crate::session::{Conclusion, Mode, Session};

/// Ablates each head of the trained induction transformer in turn, through a mediator that zeroes what the head reads.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadAblation {
    /// How many repeated sequences to measure on.
    pub sequences: u64,
    /// What the sequences are drawn from; training used another.
    pub seed: u64,
    /// The device, as [`parse_device`] reads it.
    pub device: String,
}

impl Default for HeadAblation {
    fn default() -> Self {
        Self {
            sequences: 64,
            seed: 2026,
            device: "cpu".to_owned(),
        }
    }
}

/// What the ablations show.
#[derive(Clone, Debug, PartialEq)]
pub struct AblationReport {
    /// How many sequences were measured on.
    pub sequences: u64,
    /// The intact model's score.
    pub intact: Score,
    /// One line for each head, in order.
    pub heads: Vec<HeadLine>,
}

/// What is known of one head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadLine {
    /// The head's layer.
    pub layer: usize,
    /// The head's number in it.
    pub head: usize,
    /// What it attends to in the intact model.
    pub attention: HeadScores,
    /// The model's score without it.
    pub ablated: Score,
}

impl AblationReport {
    /// Returns the head whose ablation costs most.
    pub fn most_needed(&self) -> Option<&HeadLine> {
        let by_loss =
            |left: &&HeadLine, right: &&HeadLine| left.ablated.loss.total_cmp(&right.ablated.loss);
        self.heads.iter().max_by(by_loss)
    }
}

impl HeadAblation {
    /// The experiment's name in journals.
    pub const NAME: &'static str = "head-ablation";

    pub(super) fn from_arguments(experiment: &Experiment) -> Result<Self, Error> {
        Ok(Self {
            sequences: count(experiment, Self::NAME, "sequences")?,
            seed: count(experiment, Self::NAME, "seed")?,
            device: text(experiment, Self::NAME, "device")?,
        })
    }

    fn describe(&self) -> Experiment {
        Experiment {
            name: Self::NAME.to_owned(),
            arguments: BTreeMap::from([
                ("sequences".to_owned(), Argument::Int(self.sequences as i64)),
                ("seed".to_owned(), Argument::Int(self.seed as i64)),
                ("device".to_owned(), Argument::Text(self.device.clone())),
            ]),
        }
    }

    /// Makes the experiment: one run of the intact model, and one for each head.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if there is no such device; [`Error::Forward`] if a run fails; [`Error::Journal`] if the journal
    /// cannot be written or read.
    pub fn run(
        &self,
        mode: Mode,
        policy: Policy,
        progress: &mut dyn Progress,
    ) -> Result<(AblationReport, Conclusion), Error> {
        let device = parse_device(&self.device)?;
        let model = Induction::trained(&device);
        let batch = Sampler::new(self.seed).batch(self.sequences as usize);
        let mut head = environment::head(self.describe(), &self.device, policy);
        head.seeds = vec![self.seed];
        head.model = Some(environment::model_identity("induction", &*model));
        head.inputs = vec![(
            "sequences".to_owned(),
            environment::tokens_digest(&batch.ids()),
        )];
        let session = Session::open(mode, head)?;
        progress.begin("ablating heads", (1 + LAYERS * HEADS) as u64);
        Measurement {
            model,
            batch,
            device,
            session,
            progress,
        }
        .finish()
    }
}

/// The experiment under way.
struct Measurement<'a> {
    model: Bound<Hooked<Induction>>,
    batch: Batch,
    device: Device,
    session: Session,
    progress: &'a mut dyn Progress,
}

impl Measurement<'_> {
    fn finish(mut self) -> Result<(AblationReport, Conclusion), Error> {
        let (intact, attention) = self.intact()?;
        let unread = HeadScores {
            prefix_matching: f64::NAN,
            previous_token: f64::NAN,
        };
        let mut heads = Vec::with_capacity(LAYERS * HEADS);
        for layer in 0..LAYERS {
            for head in 0..HEADS {
                heads.push(HeadLine {
                    layer,
                    head,
                    attention: attention
                        .get(layer * HEADS + head)
                        .copied()
                        .unwrap_or(unread),
                    ablated: self.without(layer, head)?,
                });
            }
        }
        let report = AblationReport {
            sequences: self.batch.len() as u64,
            intact,
            heads,
        };
        Ok((report, self.session.finish()?))
    }

    /// Scores the intact model, and what its heads attend to.
    fn intact(&mut self) -> Result<(Score, Vec<HeadScores>), Error> {
        let mut run = Run::new("intact", self.model.sites());
        let patterns = run.mediator("patterns", |cx| async move {
            let mut patterns: Vec<Tensor<4>> = Vec::new();
            for layer in 0..LAYERS {
                let path = format!("layers.{layer}.attn.pattern");
                patterns.push(cx.output(&path).await?.tensor()?);
            }
            Ok(patterns)
        });
        let logits = read_logits(&mut run);
        self.make(run)?;
        let patterns = patterns.take().into_iter().flatten();
        let attention = patterns.flat_map(|pattern| head_scores(pattern, &self.batch));
        Ok((self.score(&logits), attention.collect()))
    }

    /// Scores the model without one head.
    fn without(&mut self, layer: usize, head: usize) -> Result<Score, Error> {
        let mut run = Run::new(format!("without L{layer}H{head}"), self.model.sites());
        run.mediator(format!("ablate L{layer}H{head}"), move |cx| async move {
            let path = format!("layers.{layer}.attn.z");
            let z = cx.output(&path).await?;
            cx.set_output(&path, zero_head(z.tensor()?, head)).await
        });
        let logits = read_logits(&mut run);
        self.make(run)?;
        Ok(self.score(&logits))
    }

    fn make(&mut self, run: Run) -> Result<(), Error> {
        let tokens = self.batch.tokens(&self.device);
        self.session.run(run, || self.model.forward(tokens))?;
        self.progress.step();
        Ok(())
    }

    /// Scores what a mediator has read; no number where a journal stands in for it.
    fn score(&self, logits: &Saved<Tensor<3>>) -> Score {
        let unknown = Score {
            loss: f64::NAN,
            accuracy: f64::NAN,
        };
        logits
            .take()
            .map_or(unknown, |logits| score(logits, &self.batch))
    }
}

/// Reads the model's logits as a mediator, so that they stand in the journal.
fn read_logits(run: &mut Run) -> Saved<Tensor<3>> {
    run.mediator("logits", |cx| async move {
        let logits = cx.output("").await?.tensor()?;
        Ok::<_, Fault>(logits)
    })
}

/// Zeroes one head of `[batch, position, head, width]`.
fn zero_head(z: Tensor<4>, head: usize) -> Tensor<4> {
    let [batch, positions, _, width] = z.dims();
    let zeros = Tensor::zeros([batch, positions, 1, width], &z.device());
    z.slice_assign([0..batch, 0..positions, head..head + 1, 0..width], zeros)
}
