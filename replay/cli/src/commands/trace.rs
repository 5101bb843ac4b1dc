//! Causal tracing: where in a model, and at which token, does the answer come from?
//!
//! Two prompts of equal length differ in a word, and the model answers them differently. The
//! residual stream of the *clean* prompt after a block, at one position, is put into a run on the
//! *corrupt* prompt; how far the logit difference between answer and foil moves from its corrupt to
//! its clean value is the *restored share* (activation patching: Vig et al. 2020, Meng et al.
//! 2022). One block is one batch, in which each invoke patches its own position in its own row.
//!
//! The runs are those of an experiment file, which is written here and kept nowhere but in the
//! journal.

use std::ops::Range;
use std::rc::Rc;

use interloom::{Conclusion, Mode};
use interloom_backends::{ModelError, parse_device};
use interloom_journal::Policy;
use interloom_models::{LanguageModel, LanguageModelError};
use toml_writer::{ToTomlValue as _, TomlStringBuilder};

use crate::experiment::{ExperimentError, FileExperiment, FileReport, RunReport, TokenProbability};
use crate::{HeatMap, Progress};

/// How many positions are patched in one batch.
const BATCH_MAX: usize = 16;

/// What is traced: where a model's answer to the clean prompt comes from.
pub(super) struct Question<'q> {
    /// The model, as [`LanguageModel::load`] finds it.
    pub(super) model: &'q str,
    /// The device, as [`parse_device`] reads it.
    pub(super) device: &'q str,
    /// The prompt whose activations are put in.
    pub(super) clean: &'q str,
    /// The prompt that they are put into.
    pub(super) corrupt: &'q str,
    /// The answer to the clean prompt: one token.
    pub(super) answer: &'q str,
    /// The answer to the corrupt prompt: one token.
    pub(super) foil: &'q str,
}

/// What patching shows.
pub(super) struct TraceReport {
    /// The logit difference, answer minus foil, after the clean prompt.
    pub(super) clean: f64,
    /// The same after the corrupt prompt.
    pub(super) corrupt: f64,
    /// The clean prompt's tokens as text.
    pub(super) tokens: Vec<String>,
    /// Which tokens of the corrupt prompt are others.
    pub(super) differing: Vec<bool>,
    /// One entry for each block and position, block by block.
    pub(super) restored: Vec<Restored>,
}

/// The effect of patching at one place.
pub(super) struct Restored {
    /// After which block.
    pub(super) block: usize,
    /// At which position.
    pub(super) position: usize,
    /// The share of the logit difference that is restored: 0 is as corrupt, 1 as clean.
    pub(super) share: f64,
}

impl Question<'_> {
    /// Loads the model, and makes one run on each prompt and one batch for each block and 16
    /// positions.
    pub(super) fn trace(
        &self,
        mode: Mode,
        policy: Policy,
        progress: &mut dyn Progress,
    ) -> Result<(TraceReport, Conclusion), ExperimentError> {
        let device = parse_device(self.device)?;
        progress.begin("loading the model", 1);
        let lm =
            LanguageModel::load_with(self.model, &device, &mut |part| progress.download(part))?;
        progress.step();
        let lm = Rc::new(lm);
        let prompts = self.prompts(&lm)?;
        let (blocks, positions) = (blocks(&lm), prompts.clean.len());
        let text = self.experiment(blocks, positions);
        let experiment = FileExperiment::new("causal-trace.toml", &text);
        let (results, conclusion) = experiment.run_on(&lm, mode, policy, progress)?;
        Ok((prompts.report(&results, &lm, blocks)?, conclusion))
    }

    /// Reads the prompts and the answers as tokens, and checks that there is something to restore.
    fn prompts(&self, lm: &LanguageModel) -> Result<Prompts, ExperimentError> {
        let clean = lm.encode(self.clean).map_err(of_prompt("clean"))?;
        let corrupt = lm.encode(self.corrupt).map_err(of_prompt("corrupt"))?;
        if clean.len() != corrupt.len() {
            let split = |prompt: &str, tokens: &[u32]| {
                let texts = token_texts(lm, tokens).join("|");
                format!("`{prompt}` has {} ({texts})", tokens.len())
            };
            return Err(ExperimentError::UnequalPrompts {
                clean: split(self.clean, &clean),
                corrupt: split(self.corrupt, &corrupt),
            });
        }
        let answer = lm.token(self.answer)?;
        let foil = lm.token(self.foil)?;
        // Known before hours of work.
        if clean == corrupt || answer == foil {
            let difference = plain_difference(lm, &clean, answer, foil)?;
            return Err(ExperimentError::NothingToRestore { difference });
        }
        Ok(Prompts { clean, corrupt })
    }

    /// Writes the experiment file.
    fn experiment(&self, blocks: usize, positions: usize) -> String {
        let quoted = |text| TomlStringBuilder::new(text).as_basic().to_toml_value();
        let saves = (0..blocks).map(|block| format!("    save block{block} = layers.{block}\n"));
        let mut text = format!(
            "about = \"Which part of the residual stream moves the answer from the corrupt to the clean one?\"\n\
             model = {model}\n\
             device = {device}\n\n\
             [[input]]\nname = \"clean\"\nprompt = {clean}\n\n\
             [[input]]\nname = \"corrupt\"\nprompt = {corrupt}\n\n\
             [report]\nanswers = [{answer}, {foil}]\n\n\
             [[run]]\nname = \"clean\"\ninput = \"clean\"\n\n\
             [[run.invoke]]\nname = \"residual_stream\"\nprogram = '''\n{saves}'''\n\n\
             [[run.invoke]]\nname = \"logits\"\nprogram = 'logits = output'\n\n\
             [[run]]\nname = \"corrupt\"\ninput = \"corrupt\"\n\n\
             [[run.invoke]]\nname = \"logits\"\nprogram = 'logits = output'\n",
            model = quoted(self.model),
            device = quoted(self.device),
            clean = quoted(self.clean),
            corrupt = quoted(self.corrupt),
            answer = quoted(self.answer),
            foil = quoted(self.foil),
            saves = saves.collect::<String>(),
        );
        for Range { start, end } in batches(positions) {
            let from = if positions > BATCH_MAX {
                format!("_from_{start}")
            } else {
                String::new()
            };
            text += &format!(
                "\n[[run]]\nname = \"block_{{block}}{from}\"\neach = {{ block = \"0..{blocks}\" }}\n\n\
                 [[run.invoke]]\nname = \"position_{{position}}\"\neach = {{ position = \"{start}..{end}\" }}\n\
                 input = \"corrupt\"\nprogram = '''\n    \
                 layers.{{block}}[.., {{position}}] = $clean.block{{block}}[.., {{position}}]\n    \
                 logits = output\n'''\n"
            );
        }
        text
    }
}

/// The positions of each batch.
fn batches(positions: usize) -> impl Iterator<Item = Range<usize>> {
    let starts = (0..positions).step_by(BATCH_MAX);
    starts.map(move |start| start..(start + BATCH_MAX).min(positions))
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

fn blocks(lm: &LanguageModel) -> usize {
    let map = lm.sites().map();
    let is_block = |block: &usize| map.path(&format!("layers.{block}")).is_some();
    (0..).take_while(is_block).count()
}

/// The logit difference after a prompt, without any mediator.
fn plain_difference(
    lm: &LanguageModel,
    prompt: &[u32],
    answer: u32,
    foil: u32,
) -> Result<f64, LanguageModelError> {
    let logits = lm.batch(&[prompt])?.logits();
    let last = prompt.len() - 1;
    let logit = |token: u32| {
        let token = token as usize;
        let logit = logits
            .clone()
            .slice([0..1, last..last + 1, token..token + 1]);
        f64::from(logit.into_scalar::<f32>())
    };
    Ok(logit(answer) - logit(foil))
}

fn token_texts(lm: &LanguageModel, tokens: &[u32]) -> Vec<String> {
    let text = |&token| lm.token_text(token);
    tokens.iter().map(text).collect()
}

/// The tokens of two prompts of equal length.
struct Prompts {
    clean: Vec<u32>,
    corrupt: Vec<u32>,
}

impl Prompts {
    /// Reads the restored shares off the runs: first those of the prompts, then for each batch one
    /// for each block.
    fn report(
        &self,
        results: &FileReport,
        lm: &LanguageModel,
        blocks: usize,
    ) -> Result<TraceReport, ExperimentError> {
        let mut runs = results.runs.iter();
        let mut next = || runs.next().map_or(Vec::new(), differences);
        let first = |differences: Vec<f64>| differences.first().copied().unwrap_or(f64::NAN);
        let (clean, corrupt) = (first(next()), first(next()));
        if clean == corrupt {
            return Err(ExperimentError::NothingToRestore { difference: clean });
        }
        let mut restored = Vec::with_capacity(blocks * self.clean.len());
        for positions in batches(self.clean.len()) {
            for block in 0..blocks {
                let shares = positions.clone().zip(next());
                restored.extend(shares.map(|(position, difference)| Restored {
                    block,
                    position,
                    share: (difference - corrupt) / (clean - corrupt),
                }));
            }
        }
        restored.sort_by_key(|at| (at.block, at.position));
        let pairs = self.clean.iter().zip(&self.corrupt);
        Ok(TraceReport {
            clean,
            corrupt,
            tokens: token_texts(lm, &self.clean),
            differing: pairs.map(|(clean, corrupt)| clean != corrupt).collect(),
            restored,
        })
    }
}

/// The logit difference of each row of a run.
fn differences(run: &RunReport) -> Vec<f64> {
    let difference = |answers: &[TokenProbability]| match answers {
        [answer, foil] => answer.logit - foil.logit,
        _ => f64::NAN,
    };
    let rows = run.rows.iter();
    rows.map(|row| difference(&row.answers)).collect()
}

impl TraceReport {
    /// Returns the report as comma-separated values: block, position, token, restored share.
    pub(super) fn csv(&self) -> String {
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
    pub(super) fn heat_map(&self) -> HeatMap {
        let blocks = self.restored.chunks(self.tokens.len().max(1));
        let rows = blocks.enumerate().map(|(block, restored)| {
            let shares = restored.iter().map(|at| at.share);
            (format!("block {block}"), shares.collect())
        });
        HeatMap {
            columns: self.tokens.clone(),
            marked: self.differing.clone(),
            rows: rows.collect(),
            range: (0.0, 1.0),
        }
    }
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

    /// Whatever a prompt is, the file has it, and each batch patches its own positions.
    #[test]
    fn the_file_is_read_as_it_is_meant() {
        let question = Question {
            model: "a \"model\"",
            device: "cpu",
            clean: "line\nline '''",
            corrupt: "{block}",
            answer: " \\ ",
            foil: " d",
        };
        for (positions, batches) in [(2, 1), (16, 1), (17, 2)] {
            let text = question.experiment(3, positions);
            let experiment = FileExperiment::new("t.toml", &text);
            experiment
                .check()
                .unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(text.matches("[[run]]").count(), 2 + batches);
        }
    }
}
