//! Causal tracing: where in a model, and at which token, does the answer come from?
//!
//! Two prompts of equal length differ in a word, and the model answers them differently. The residual stream of the
//! *clean* prompt after a block, at one position, is put into a run on the *corrupt* prompt; how far the logit difference
//! between answer and foil moves from its corrupt to its clean value is the *restored share* (activation patching: Vig et
//! al. 2020, Meng et al. 2022). One block is one batch, in which each invoke patches its own position in its own row.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use interloom_backends::models::llama::{LanguageModel, LanguageModelError};
use interloom_backends::{ModelError, Run, Sites, Value, parse_device};
use interloom_engine::{Cx, Fault, Saved};

use super::{HeatMap, NO_SITES, Progress, text};
use crate::environment;
use crate::error::Error;
use crate::journal::{Argument, Experiment, Head, Policy, Tokens};
use crate::session::{Conclusion, Mode, Session};

/// How many positions are patched in one batch.
const BATCH_MAX: usize = 16;

/// Patches the residual stream after every block, at every position.
#[derive(Clone, Debug, PartialEq)]
pub struct CausalTrace {
    /// The model, as [`LanguageModel::load`] finds it.
    pub model: String,
    /// Where the same model is now, if it is not there any more; this is not recorded.
    pub moved_to: Option<String>,
    /// The prompt whose activations are put in.
    pub clean: String,
    /// The prompt that they are put into.
    pub corrupt: String,
    /// The answer to the clean prompt: one token.
    pub answer: String,
    /// The answer to the corrupt prompt: one token.
    pub foil: String,
    /// The device, as [`parse_device`] reads it.
    pub device: String,
    /// The head of the journal that serves the runs, if it stands in for the model too; this is not recorded.
    pub served_by: Option<Box<Head>>,
}

/// What patching shows.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceReport {
    /// The logit difference, answer minus foil, after the clean prompt.
    pub clean: f64,
    /// The same after the corrupt prompt.
    pub corrupt: f64,
    /// The clean prompt's tokens as text.
    pub tokens: Vec<String>,
    /// Which tokens of the corrupt prompt are others.
    pub differing: Vec<bool>,
    /// One entry for each block and position, block by block.
    pub restored: Vec<Restored>,
}

/// The effect of patching at one place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restored {
    /// After which block.
    pub block: usize,
    /// At which position.
    pub position: usize,
    /// The share of the logit difference that is restored: 0 is as corrupt, 1 as clean.
    pub share: f64,
}

impl TraceReport {
    /// Returns the restored share after a block at a position.
    pub fn share(&self, block: usize, position: usize) -> f64 {
        self.restored[block * self.tokens.len() + position].share
    }

    /// Returns how many blocks there are.
    pub fn blocks(&self) -> usize {
        self.restored.len() / self.tokens.len().max(1)
    }

    /// Returns the report as comma-separated values: block, position, token, restored share.
    pub fn csv(&self) -> String {
        let mut csv = String::from("block,position,token,restored\n");
        for Restored {
            block,
            position,
            share,
        } in &self.restored
        {
            let token = self.tokens[*position].replace('"', "\"\"");
            csv.push_str(&format!("{block},{position},\"{token}\",{share:.6}\n"));
        }
        csv
    }

    /// Returns the report as a picture: blocks downwards, positions across.
    pub fn heat_map(&self) -> HeatMap {
        let rows = (0..self.blocks()).map(|block| {
            let shares = (0..self.tokens.len()).map(|position| self.share(block, position));
            (format!("block {block}"), shares.collect())
        });
        HeatMap {
            columns: self.tokens.clone(),
            marked: self.differing.clone(),
            rows: rows.collect(),
        }
    }
}

impl CausalTrace {
    /// The experiment's name in journals.
    pub const NAME: &'static str = "causal-trace";

    pub(super) fn from_arguments(experiment: &Experiment) -> Result<Self, Error> {
        let text = |argument| text(experiment, Self::NAME, argument);
        Ok(Self {
            model: text("model")?,
            moved_to: None,
            clean: text("clean")?,
            corrupt: text("corrupt")?,
            answer: text("answer")?,
            foil: text("foil")?,
            device: text("device")?,
            served_by: None,
        })
    }

    fn describe(&self) -> Experiment {
        let arguments = [
            ("model", &self.model),
            ("clean", &self.clean),
            ("corrupt", &self.corrupt),
            ("answer", &self.answer),
            ("foil", &self.foil),
            ("device", &self.device),
        ];
        let arguments =
            arguments.map(|(name, value)| (name.to_owned(), Argument::Text(value.clone())));
        Experiment {
            name: Self::NAME.to_owned(),
            arguments: BTreeMap::from(arguments),
        }
    }

    /// Makes the experiment: one run on each prompt, and one batch for each block and 16 positions.
    ///
    /// # Errors
    ///
    /// [`Error::File`] and [`Error::Model`] if the model cannot be used or a prompt does not fit it;
    /// [`Error::UnequalPrompts`] and [`Error::NothingToRestore`] if the prompts cannot be compared; [`Error::Forward`] if
    /// a run fails; [`Error::Journal`] if the journal cannot be written or read.
    pub fn run(
        &self,
        mode: Mode,
        policy: Policy,
        progress: &mut dyn Progress,
    ) -> Result<(TraceReport, Conclusion), Error> {
        let (subject, prompts, model) = match self.absent_model(progress) {
            Some((sites, prompts, head)) => (Subject::Absent(sites), prompts, head.model.clone()),
            None => {
                let lm = self.load(progress)?;
                let prompts = self.prompts(&lm)?;
                progress.begin("digesting the model", 1);
                let model = environment::model_identity(&self.model, &**lm.model());
                progress.step();
                (Subject::Here(Box::new(lm)), prompts, Some(model))
            }
        };
        let mut head = environment::head(self.describe(), &self.device, policy);
        head.model = model;
        head.sites = Some(environment::site_table(subject.sites().map()));
        head.tokens = prompts.as_tokens();
        head.inputs = vec![
            (
                "clean".to_owned(),
                environment::tokens_digest(&prompts.clean),
            ),
            (
                "corrupt".to_owned(),
                environment::tokens_digest(&prompts.corrupt),
            ),
        ];
        let session = Session::open(mode, head)?;
        Trace {
            subject,
            prompts,
            session,
            progress,
        }
        .finish()
    }

    fn load(&self, progress: &mut dyn Progress) -> Result<LanguageModel, Error> {
        let device = parse_device(&self.device)?;
        progress.begin("loading the model", 1);
        let place = self.moved_to.as_ref().unwrap_or(&self.model);
        let lm = LanguageModel::load_with(place, &device, &mut |part| progress.download(part))?;
        progress.step();
        Ok(lm)
    }

    /// Returns what the journal that serves the runs has of the model, if that is enough.
    fn absent_model(&self, progress: &mut dyn Progress) -> Option<(Sites, Prompts, &Head)> {
        let head = self.served_by.as_deref()?;
        let sites = head.sites.as_ref().and_then(environment::sites_of);
        let found = sites.zip(Prompts::of_tokens(&head.tokens));
        if found.is_none() {
            progress.remark(NO_SITES);
        }
        found.map(|(sites, prompts)| (sites, prompts, head))
    }

    fn prompts(&self, lm: &LanguageModel) -> Result<Prompts, Error> {
        let clean = lm.encode(&self.clean).map_err(of_prompt("clean"))?;
        let corrupt = lm.encode(&self.corrupt).map_err(of_prompt("corrupt"))?;
        if clean.len() != corrupt.len() {
            let split = |prompt: &str, tokens: &[u32]| {
                let texts = token_texts(lm, tokens).join("|");
                format!("`{prompt}` has {} ({texts})", tokens.len())
            };
            return Err(Error::UnequalPrompts {
                clean: split(&self.clean, &clean),
                corrupt: split(&self.corrupt, &corrupt),
            });
        }
        Ok(Prompts {
            answer: lm.tokenizer().single(&self.answer)?,
            foil: lm.tokenizer().single(&self.foil)?,
            clean,
            corrupt,
        })
    }
}

/// Names the prompt that does not fit the model.
fn of_prompt(name: &str) -> impl Fn(LanguageModelError) -> LanguageModelError {
    move |error| match error {
        LanguageModelError::Model(ModelError::Input { what, instead }) => {
            let what = format!("the {name} prompt: {what}");
            ModelError::Input { what, instead }.into()
        }
        other => other,
    }
}

struct Prompts {
    clean: Vec<u32>,
    corrupt: Vec<u32>,
    answer: u32,
    foil: u32,
}

impl Prompts {
    fn as_tokens(&self) -> Tokens {
        let rows = [
            ("clean", self.clean.clone()),
            ("corrupt", self.corrupt.clone()),
            ("answer", vec![self.answer]),
            ("foil", vec![self.foil]),
        ];
        Tokens::from(rows.map(|(name, row)| (name.to_owned(), vec![row])))
    }

    fn of_tokens(tokens: &Tokens) -> Option<Self> {
        let row = |name| Some(tokens.get(name)?.first()?.clone());
        let token = |name| row(name)?.first().copied();
        let (clean, corrupt) = (row("clean")?, row("corrupt")?);
        (clean.len() == corrupt.len()).then_some(Self {
            answer: token("answer")?,
            foil: token("foil")?,
            clean,
            corrupt,
        })
    }
}

/// The model, or what a journal that stands in for it knows.
enum Subject {
    Here(Box<LanguageModel>),
    Absent(Sites),
}

impl Subject {
    const fn sites(&self) -> &Sites {
        match self {
            Self::Here(lm) => lm.sites(),
            Self::Absent(sites) => sites,
        }
    }

    fn blocks(&self) -> usize {
        let map = self.sites().map();
        let is_block = |block: &usize| map.path(&format!("layers.{block}")).is_some();
        (0..).take_while(is_block).count()
    }

    fn logits(&self, prompts: &[&[u32]]) -> Tensor<3> {
        match self {
            Self::Here(lm) => lm.logits(prompts),
            Self::Absent(_) => unreachable!("a run that is served calls no model"),
        }
    }

    fn token_texts(&self, tokens: &[u32]) -> Vec<String> {
        match self {
            Self::Here(lm) => token_texts(lm, tokens),
            Self::Absent(_) => tokens.iter().map(u32::to_string).collect(),
        }
    }
}

/// The experiment under way.
struct Trace<'a> {
    subject: Subject,
    prompts: Prompts,
    session: Session,
    progress: &'a mut dyn Progress,
}

impl Trace<'_> {
    fn finish(mut self) -> Result<(TraceReport, Conclusion), Error> {
        let (blocks, positions) = (self.subject.blocks(), self.prompts.clean.len());
        let batches = blocks * positions.div_ceil(BATCH_MAX);
        self.progress.begin("patching", (2 + batches) as u64);

        let (clean, residuals) = self.clean(blocks)?;
        let corrupt = self.corrupt()?;
        if clean == corrupt {
            return Err(Error::NothingToRestore { difference: clean });
        }
        let mut restored = Vec::with_capacity(blocks * positions);
        let mut residuals = residuals.into_iter();
        for block in 0..blocks {
            // Where a journal stands in for the mediators, or they part from it, there is nothing to patch in, and nobody does.
            let residual = residuals.next();
            for start in (0..positions).step_by(BATCH_MAX) {
                let range = start..(start + BATCH_MAX).min(positions);
                let patched = self.patched(block, range.clone(), residual.as_ref())?;
                let shares = range.zip(patched).map(|(position, difference)| Restored {
                    block,
                    position,
                    share: (difference - corrupt) / (clean - corrupt),
                });
                restored.extend(shares);
            }
        }
        let pairs = self.prompts.clean.iter().zip(&self.prompts.corrupt);
        let report = TraceReport {
            clean,
            corrupt,
            tokens: self.subject.token_texts(&self.prompts.clean),
            differing: pairs.map(|(clean, corrupt)| clean != corrupt).collect(),
            restored,
        };
        Ok((report, self.session.finish()?))
    }

    /// Runs the clean prompt, and keeps the residual stream after each block.
    fn clean(&mut self, blocks: usize) -> Result<(f64, Vec<Tensor<3>>), Error> {
        let mut run = Run::new("clean", self.subject.sites());
        let residuals = run.mediator("residual stream", move |cx| async move {
            let mut residuals: Vec<Tensor<3>> = Vec::with_capacity(blocks);
            for block in 0..blocks {
                residuals.push(cx.output(&format!("layers.{block}")).await?.tensor()?);
            }
            Ok(residuals)
        });
        let (answer, foil) = (self.prompts.answer, self.prompts.foil);
        let difference = run.mediator("logits", move |cx| logit_difference(cx, answer, foil));
        self.make(run, &[&self.prompts.clean.clone()])?;
        Ok((saved(&difference), residuals.take().unwrap_or_default()))
    }

    /// Runs the corrupt prompt.
    fn corrupt(&mut self) -> Result<f64, Error> {
        let mut run = Run::new("corrupt", self.subject.sites());
        let (answer, foil) = (self.prompts.answer, self.prompts.foil);
        let difference = run.mediator("logits", move |cx| logit_difference(cx, answer, foil));
        self.make(run, &[&self.prompts.corrupt.clone()])?;
        Ok(saved(&difference))
    }

    /// Patches one position in each row of a batch of corrupt prompts, after one block.
    fn patched(
        &mut self,
        block: usize,
        positions: std::ops::Range<usize>,
        residual: Option<&Tensor<3>>,
    ) -> Result<Vec<f64>, Error> {
        let mut run = Run::new(format!("block {block}"), self.subject.sites());
        let (answer, foil) = (self.prompts.answer, self.prompts.foil);
        let invoke = |position: usize| {
            let residual = residual.cloned();
            run.invoke(
                format!("patch position {position}"),
                1,
                move |cx| async move {
                    let path = format!("layers.{block}");
                    let corrupt: Tensor<3> = cx.output(&path).await?.tensor()?;
                    cx.set_output(&path, patch(corrupt, residual, position))
                        .await?;
                    logit_difference(cx, answer, foil).await
                },
            )
        };
        let differences: Vec<Saved<f64>> = positions.map(invoke).collect();
        let corrupt = self.prompts.corrupt.clone();
        self.make(run, &vec![corrupt.as_slice(); differences.len()])?;
        Ok(differences.iter().map(saved).collect())
    }

    fn make(&mut self, run: Run, prompts: &[&[u32]]) -> Result<(), Error> {
        self.session.run(run, || self.subject.logits(prompts))?;
        self.progress.step();
        Ok(())
    }
}

/// Puts one position of the clean residual stream into the corrupt one, both `[1, position, width]`.
fn patch(corrupt: Tensor<3>, clean: Option<Tensor<3>>, position: usize) -> Tensor<3> {
    let Some(clean) = clean else {
        return corrupt;
    };
    let [_, _, width] = corrupt.dims();
    let range = [0..1, position..position + 1, 0..width];
    let clean = clean.slice(range.clone());
    corrupt.slice_assign(range, clean)
}

/// Reads the logits, and returns how much more likely the answer is than the foil at the last position, in nats.
async fn logit_difference(cx: Cx<Value>, answer: u32, foil: u32) -> Result<f64, Fault> {
    let logits: Tensor<3> = cx.output("").await?.tensor()?;
    let [_, positions, _] = logits.dims();
    let logit = |token: u32| {
        let token = token as usize;
        let logit = logits
            .clone()
            .slice([0..1, positions - 1..positions, token..token + 1]);
        f64::from(logit.into_scalar::<f32>())
    };
    Ok(logit(answer) - logit(foil))
}

/// Returns what a mediator has computed; no number where a journal stands in for it.
fn saved(difference: &Saved<f64>) -> f64 {
    difference.take().unwrap_or(f64::NAN)
}

fn token_texts(lm: &LanguageModel, tokens: &[u32]) -> Vec<String> {
    tokens
        .iter()
        .map(|&token| lm.tokenizer().token_text(token))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> TraceReport {
        let share = |index: usize| Restored {
            block: index / 2,
            position: index % 2,
            share: index as f64 / 4.0,
        };
        TraceReport {
            clean: 3.0,
            corrupt: -1.0,
            tokens: vec!["The".to_owned(), " \"x\",".to_owned()],
            differing: vec![false, true],
            restored: (0..4).map(share).collect(),
        }
    }

    #[test]
    fn csv_quotes_tokens() {
        insta::assert_snapshot!(report().csv(), @r#"
        block,position,token,restored
        0,0,"The",0.000000
        0,1," ""x"",",0.250000
        1,0,"The",0.500000
        1,1," ""x"",",0.750000
        "#);
    }

    #[test]
    fn arguments_round_trip() {
        let trace = CausalTrace {
            model: "m".to_owned(),
            moved_to: None,
            clean: "a".to_owned(),
            corrupt: "b".to_owned(),
            answer: "c".to_owned(),
            foil: "d".to_owned(),
            device: "cpu".to_owned(),
            served_by: None,
        };
        let described = trace.describe();
        assert_eq!(CausalTrace::from_arguments(&described).unwrap(), trace);
        for name in described.arguments.keys() {
            let mut cut = described.clone();
            cut.arguments.remove(name);
            assert_eq!(
                CausalTrace::from_arguments(&cut).unwrap_err().code(),
                "E091"
            );
        }
    }
}
