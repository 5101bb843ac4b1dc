//! Where in a model does an answer come from: patching, and estimates of it from gradients.
//!
//! Two prompts of equal length differ in a word, and the model answers them differently. A part of
//! the run on the *clean* prompt, as the residual stream after a block at one position, is put into
//! a run on the *corrupt* prompt; its *effect* is how far the logit difference between answer and
//! foil then moves (activation patching: Vig et al. 2020, Meng et al. 2022). One block is one
//! batch, in which each invoke patches its own part in its own row.
//!
//! To first order, the effect is the difference between the clean and the corrupt value of the part
//! times the gradient of the logit difference in the corrupt run, which a single backward pass has
//! for all parts (attribution patching: Nanda 2023, Syed et al. 2023). The mean of the gradients
//! along the straight way from the corrupt to the clean value of a whole site comes closer, and
//! over a whole residual stream the effects then add up to the difference (integrated gradients:
//! Sundararajan et al. 2017).
//!
//! The runs are those of an experiment file, which is written here and kept nowhere but in the
//! journal.

use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::str::FromStr;

use clap::ValueEnum;
use interloom::{Conclusion, Mode};
use interloom_backends::{ModelError, parse_device};
use interloom_journal::Policy;
use interloom_models::{LanguageModel, LanguageModelError};
use interloom_program::Form;
use toml_writer::{ToTomlValue as _, TomlStringBuilder};

use super::effects::Effects;
use crate::Progress;
use crate::experiment::{
    ExperimentError, FileExperiment, FileReport, Kept, RunReport, TokenProbability,
};

/// How many parts are patched, or midpoints taken, in one batch.
const BATCH_MAX: usize = 16;

/// How many midpoints there may be: what sweeps make of a file has a limit.
const MIDPOINTS_MAX: usize = 256;

/// How effects are found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Method {
    /// By the gradient in the corrupt run.
    Attribution,
    /// By the mean of the gradients at so many midpoints.
    Integrated(usize),
    /// By patching.
    Exact,
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let midpoints = |text: &str| {
            let number = text.parse().ok();
            number.filter(|number| (1..=MIDPOINTS_MAX).contains(number))
        };
        match text {
            "attribution" => Ok(Self::Attribution),
            "exact" => Ok(Self::Exact),
            _ => {
                let number = text.strip_prefix("ig:").and_then(midpoints);
                number.map(Self::Integrated).ok_or_else(|| {
                    format!(
                        "expected `attribution`, `ig:N` with N from 1 to {MIDPOINTS_MAX}, or `exact`"
                    )
                })
            }
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribution => f.write_str("attribution"),
            Self::Integrated(midpoints) => write!(f, "ig:{midpoints}"),
            Self::Exact => f.write_str("exact"),
        }
    }
}

/// What the parts are whose effects are found.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum What {
    /// The residual stream after a block, by position.
    Resid,
    /// The heads of a block before they are projected, each at all positions.
    Head,
    /// The output of a block's feed-forward layer, by position.
    Mlp,
}

impl What {
    /// Returns the name on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Resid => "resid",
            Self::Head => "head",
            Self::Mlp => "mlp",
        }
    }

    /// Returns what the parts of a block are counted by.
    pub(super) const fn column(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Resid | Self::Mlp => "position",
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::Resid => "residual stream",
            Self::Head => "heads",
            Self::Mlp => "feed-forward layers",
        }
    }

    fn site(self, block: impl fmt::Display) -> String {
        let below = match self {
            Self::Resid => "",
            Self::Head => ".attn.z",
            Self::Mlp => ".mlp",
        };
        format!("layers.{block}{below}")
    }

    /// Writes the effects of a block's parts: what patching changes, times the gradient.
    fn effect(self, block: impl fmt::Display, value: &str) -> String {
        let site = self.site(&block);
        let product = format!("($clean.block{block} - {value}) * {site}.grad");
        match self {
            Self::Resid | Self::Mlp => format!("sum({product}, -1)"),
            Self::Head => format!("sum(sum({product}, -1), 1)"),
        }
    }
}

/// What is asked: where a model's answer to the clean prompt comes from.
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
    /// How effects are found.
    pub(super) method: Method,
    /// Of which parts.
    pub(super) what: What,
}

impl Question<'_> {
    /// Loads the model, makes the runs of an experiment file that is called `file`, and reads the
    /// effects off them.
    pub(super) fn ask(
        &self,
        file: &str,
        mode: Mode,
        policy: Policy,
        progress: &mut dyn Progress,
    ) -> Result<(Effects, Conclusion), ExperimentError> {
        let device = parse_device(self.device)?;
        let device = match self.method {
            Method::Exact => device,
            Method::Attribution | Method::Integrated(_) => device.autodiff(),
        };
        progress.begin("loading the model", 1);
        let lm =
            LanguageModel::load_with(self.model, &device, &mut |part| progress.download(part))?;
        progress.step();
        let lm = Rc::new(lm);
        let prompts = self.prompts(&lm)?;
        let size = self.size(&lm, &prompts)?;
        let experiment = FileExperiment::new(file, &self.experiment(&prompts, size));
        let (results, conclusion) = experiment.run_on(&lm, mode, policy, progress)?;
        Ok((self.effects(&prompts, size, &results, &lm)?, conclusion))
    }

    /// Returns how many blocks there are, and how many rows the batches of one block have together.
    fn size(&self, lm: &LanguageModel, prompts: &Prompts) -> Result<Size, ExperimentError> {
        let rows = match (self.method, self.what) {
            (Method::Attribution, _) => 0,
            (Method::Integrated(midpoints), _) => midpoints,
            (Method::Exact, What::Head) => heads(lm, &prompts.clean)?,
            (Method::Exact, What::Resid | What::Mlp) => prompts.clean.len(),
        };
        Ok(Size {
            blocks: blocks(lm),
            rows,
        })
    }

    /// Reads the prompts and the answers as tokens, and checks that there is something to restore.
    fn prompts(&self, lm: &LanguageModel) -> Result<Prompts, ExperimentError> {
        let clean = tokens_of(self.clean, lm).map_err(of_prompt("clean"))?;
        let corrupt = tokens_of(self.corrupt, lm).map_err(of_prompt("corrupt"))?;
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
        Ok(Prompts {
            clean,
            corrupt,
            answer,
            foil,
            are_texts: lm.tokenizer().is_some(),
        })
    }

    /// Writes the experiment file.
    fn experiment(&self, prompts: &Prompts, size: Size) -> String {
        let quoted = |text| TomlStringBuilder::new(text).as_basic().to_toml_value();
        let input = |text, tokens: &[u32]| match prompts.are_texts {
            true => format!("prompt = {}", quoted(text)),
            false => format!("tokens = {tokens:?}"),
        };
        let (what, noun) = (self.what, self.what.noun());
        let about = match self.method {
            Method::Exact => format!(
                "Which part of the {noun} moves the answer from the corrupt to the clean one?"
            ),
            Method::Attribution | Method::Integrated(_) => format!(
                "How far would each part of the {noun} move the answer from the corrupt to the clean \
                 one, by gradients?"
            ),
        };
        let values = |save: &str| {
            let value = |block| format!("    {save}block{block} = {}\n", what.site(block));
            (0..size.blocks).map(value).collect::<String>()
        };
        let saver = format!(
            "[[run.invoke]]\nname = \"{}\"\nprogram = '''\n{}'''\n\n",
            noun.replace([' ', '-'], "_"),
            values("save ")
        );
        let loss = format!(
            "    logits = output[.., -1]\n    backward logits[.., .., {}] - logits[.., .., {}]\n",
            prompts.answer, prompts.foil
        );
        let mut text = format!(
            "about = \"{about}\"\n\
             model = {model}\n\
             device = {device}\n\n\
             [[input]]\nname = \"clean\"\n{clean}\n\n\
             [[input]]\nname = \"corrupt\"\n{corrupt}\n\n\
             [report]\nanswers = [{answer}, {foil}]\n\n\
             [[run]]\nname = \"clean\"\ninput = \"clean\"\n\n\
             {saver}\
             [[run.invoke]]\nname = \"logits\"\nprogram = 'logits = output'\n\n\
             [[run]]\nname = \"corrupt\"\ninput = \"corrupt\"\n\n",
            model = quoted(self.model),
            device = quoted(self.device),
            clean = input(self.clean, &prompts.clean),
            corrupt = input(self.corrupt, &prompts.corrupt),
            answer = quoted(self.answer),
            foil = quoted(self.foil),
        );
        let site = what.site("{block}");
        let (each, program) = match self.method {
            Method::Attribution => {
                let effect = |block| {
                    let effect = what.effect(block, &format!("block{block}"));
                    format!("    save effect{block} = {effect}\n")
                };
                // A backward pass comes to later blocks first.
                let effects = (0..size.blocks).rev().map(effect).collect::<String>();
                text += &format!(
                    "[[run.invoke]]\nname = \"attribution\"\nprogram = '''\n{}{loss}{effects}'''\n",
                    values("")
                );
                return text;
            }
            Method::Integrated(midpoints) => {
                text += &saver;
                let corrupt = "$corrupt.block{block}";
                let effect = what.effect("{block}", corrupt);
                let program = format!(
                    "    way = ({{step}} + 0.5) / {midpoints}\n    \
                     {site} = {corrupt} + way * ($clean.block{{block}} - {corrupt})\n\
                     {loss}    save effect = {effect}\n"
                );
                ("step", program)
            }
            Method::Exact => {
                let part = match what {
                    What::Head => "[.., .., {head}]",
                    What::Resid | What::Mlp => "[.., {position}]",
                };
                let program = format!(
                    "    {site}{part} = $clean.block{{block}}{part}\n    logits = output\n"
                );
                (what.column(), program)
            }
        };
        text += "[[run.invoke]]\nname = \"logits\"\nprogram = 'logits = output'\n";
        for Range { start, end } in batches(size.rows) {
            let from = if size.rows > BATCH_MAX {
                format!("_from_{start}")
            } else {
                String::new()
            };
            text += &format!(
                "\n[[run]]\nname = \"block_{{block}}{from}\"\neach = {{ block = \"0..{blocks}\" }}\n\n\
                 [[run.invoke]]\nname = \"{each}_{{{each}}}\"\neach = {{ {each} = \"{start}..{end}\" }}\n\
                 input = \"corrupt\"\nprogram = '''\n{program}'''\n",
                blocks = size.blocks
            );
        }
        text
    }

    /// Reads the effects off the runs: first those of the prompts, then for each batch one for each
    /// block.
    fn effects(
        &self,
        prompts: &Prompts,
        size: Size,
        results: &FileReport,
        lm: &LanguageModel,
    ) -> Result<Effects, ExperimentError> {
        let of_prompt = |run: usize| differences(&results.runs[run])[0];
        let (clean, corrupt) = (of_prompt(0), of_prompt(1));
        if clean == corrupt {
            return Err(ExperimentError::NothingToRestore { difference: clean });
        }
        let of_block = |block: usize| -> Vec<f64> {
            let runs = results.runs.iter().skip(2 + block).step_by(size.blocks);
            match self.method {
                Method::Attribution => saved(&results.runs[1], &format!("effect{block}")).concat(),
                Method::Integrated(midpoints) => {
                    let steps: Vec<_> = runs.flat_map(|run| saved(run, "effect")).collect();
                    let sum = |part: usize| steps.iter().map(|step| step[part]).sum::<f64>();
                    let parts = 0..steps[0].len();
                    parts.map(|part| sum(part) / midpoints as f64).collect()
                }
                Method::Exact => {
                    let differences = runs.flat_map(differences);
                    differences.map(|difference| difference - corrupt).collect()
                }
            }
        };
        let pairs = prompts.clean.iter().zip(&prompts.corrupt);
        Ok(Effects {
            clean,
            corrupt,
            tokens: token_texts(lm, &prompts.clean),
            differing: pairs.map(|(clean, corrupt)| clean != corrupt).collect(),
            what: self.what,
            blocks: (0..size.blocks).map(of_block).collect(),
        })
    }
}

/// The rows of each batch.
fn batches(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let starts = (0..rows).step_by(BATCH_MAX);
    starts.map(move |start| start..(start + BATCH_MAX).min(rows))
}

/// Reads a prompt as tokens: of a model without a tokenizer, their numbers.
fn tokens_of(prompt: &str, lm: &LanguageModel) -> Result<Vec<u32>, LanguageModelError> {
    if lm.tokenizer().is_some() {
        return lm.encode(prompt);
    }
    let numbers = prompt.split_whitespace();
    let tokens: Vec<u32> = numbers
        .map(|number| lm.token(number))
        .collect::<Result<_, _>>()?;
    lm.batch(&[&tokens])?;
    Ok(tokens)
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

/// Returns how many heads a block has; 1 of a model without them, whose check says what is missing.
fn heads(lm: &LanguageModel, prompt: &[u32]) -> Result<usize, ExperimentError> {
    let (batch, map) = (lm.batch(&[prompt])?, lm.sites().map());
    let shapes = lm.sites().shapes(1, || batch.logits())?;
    let point = map.point(&format!("{}.output", What::Head.site(0)));
    match point.and_then(|point| shapes.form(map, point.at(0), None)) {
        Some(Form::Tensor(shape)) if shape.len() == 4 => Ok(shape[2] as usize),
        _ => Ok(1),
    }
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

/// The tokens of two prompts of equal length, and of the answers.
struct Prompts {
    clean: Vec<u32>,
    corrupt: Vec<u32>,
    answer: u32,
    foil: u32,
    /// Whether the model reads texts, and not only numbers.
    are_texts: bool,
}

/// How many blocks a model has, and how many rows the batches of each.
#[derive(Clone, Copy)]
struct Size {
    blocks: usize,
    rows: usize,
}

/// The numbers that each invoke of a run has saved under this name.
fn saved(run: &RunReport, name: &str) -> Vec<Vec<f64>> {
    let kept = run.invokes.iter().flat_map(|invoke| &invoke.kept);
    let numbers = kept.filter_map(|(other, kept)| match kept {
        Kept::Tensor(data) if other == name => Some(data.iter::<f64>().collect()),
        _ => None,
    });
    numbers.collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_read_as_they_are_shown() {
        for method in [Method::Attribution, Method::Integrated(16), Method::Exact] {
            assert_eq!(method.to_string().parse(), Ok(method));
        }
        for text in ["ig", "ig:", "ig:0", "ig:-1", "ig:257", "Exact", ""] {
            text.parse::<Method>().unwrap_err();
        }
    }

    /// Whatever a prompt is, the file has it, and each batch has its own rows.
    #[test]
    fn the_file_is_read_as_it_is_meant() {
        let prompts = Prompts {
            clean: vec![0],
            corrupt: vec![1],
            answer: 2,
            foil: 3,
            are_texts: true,
        };
        let methods = [Method::Exact, Method::Integrated(17), Method::Attribution];
        for (method, what) in methods.into_iter().zip(What::value_variants()) {
            let question = Question {
                model: "a \"model\"",
                device: "cpu",
                clean: "line\nline '''",
                corrupt: "{block}",
                answer: " \\ ",
                foil: " d",
                method,
                what: *what,
            };
            for (rows, batches) in [(2, 1), (16, 1), (17, 2)] {
                let text = question.experiment(&prompts, Size { blocks: 3, rows });
                let experiment = FileExperiment::new("t.toml", &text);
                experiment
                    .check()
                    .unwrap_or_else(|error| panic!("{error}\n{text}"));
                let batches = if method == Method::Attribution {
                    0
                } else {
                    batches
                };
                assert_eq!(text.matches("[[run]]").count(), 2 + batches);
            }
        }
    }
}
