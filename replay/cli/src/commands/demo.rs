//! `interloom demo`: which head of a small trained model does what?

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use clap::Args;
use interloom::{Conclusion, Mode};
use interloom_models::induction::{
    Batch, HEADS, HeadScores, Induction, LAYERS, Sampler, VOCABULARY, head_scores, score,
};
use serde_json::{Value, json};

use super::keep::Keep;
use super::progress::Bars;
use super::report::outln;
use super::{Ending, replay, report};
use crate::CliError;
use crate::experiment::{FileExperiment, FileReport, Kept, RunReport};

/// The experiment: a run of the intact model, and one without each head.
const EXPERIMENT: &str = include_str!("demo.toml");

/// How many sequences the experiment has, and what they are drawn from; training used another seed.
const SEQUENCES: usize = 64;
const SEED: u64 = 2026;

/// The longest bar of the table, in characters, and the loss at which it is reached: that of
/// guessing.
const BAR_MAX: f64 = 24.0;

/// Ablate each head of a trained two-layer transformer, record every exchange, and replay the
/// journal in a new process.
#[derive(Args)]
pub(super) struct Arguments {
    /// Where to write the journal; an older journal there is replaced.
    #[arg(long, value_name = "FILE", default_value = "interloom-demo.ilj")]
    journal: PathBuf,
    #[command(flatten)]
    keep: Keep,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    if !arguments.json {
        introduce();
    }
    let experiment = FileExperiment::new("demo.toml", EXPERIMENT);
    let policy = arguments.keep.policy();
    let mode = Mode::Record(arguments.journal.clone());
    let (results, conclusion) = experiment.run(mode, policy, &mut Bars::default())?;
    let table = Table::of(&results);
    if arguments.json {
        let (replayed, ending) = replay::report_of_new_process(&arguments.journal)?;
        outln!("{}", as_json(&table, arguments, &conclusion, &replayed));
        return Ok(ending);
    }
    show(&table);
    outln!();
    report::heading("The proof");
    report::conclusion(&conclusion, &arguments.journal);
    outln!("journal: {}", arguments.journal.display());
    replay::in_new_process(&arguments.journal)
}

/// What the runs show.
struct Table {
    /// The loss of the intact model on what repeats, in nats.
    intact: f64,
    /// One line for each head, in order.
    heads: Vec<HeadLine>,
}

/// What is known of one head.
struct HeadLine {
    layer: usize,
    head: usize,
    /// What it attends to in the intact model.
    attention: HeadScores,
    /// The loss without it.
    loss: f64,
}

impl Table {
    /// Reads the table off the runs: first that of the intact model, then one for each head.
    fn of(results: &FileReport) -> Self {
        let batch = Sampler::new(SEED).batch(SEQUENCES);
        let mut losses = results.runs.iter().map(|run| loss(run, &batch));
        let intact = losses.next().unwrap_or(f64::NAN);
        let attention = results.runs.iter().take(1).flat_map(|run| {
            let patterns = (0..LAYERS).filter_map(|layer| kept(run, &format!("layer{layer}")));
            patterns.flat_map(|pattern| head_scores(pattern, &batch))
        });
        let lines = (0..).zip(attention.zip(losses));
        let line = |(place, (attention, loss))| HeadLine {
            layer: place / HEADS,
            head: place % HEADS,
            attention,
            loss,
        };
        Self {
            intact,
            heads: lines.map(line).collect(),
        }
    }

    /// Returns the head whose ablation costs most.
    fn most_needed(&self) -> Option<&HeadLine> {
        let by_loss = |left: &&HeadLine, right: &&HeadLine| left.loss.total_cmp(&right.loss);
        self.heads.iter().max_by(by_loss)
    }
}

/// The loss of a run on what repeats, by the logits that it has saved.
fn loss(run: &RunReport, batch: &Batch) -> f64 {
    kept(run, "logits").map_or(f64::NAN, |logits| score(logits, batch).loss)
}

/// A tensor of `D` dimensions that a run has saved under this name.
fn kept<const D: usize>(run: &RunReport, name: &str) -> Option<Tensor<D>> {
    let mut kept = run.invokes.iter().flat_map(|invoke| &invoke.kept);
    kept.find_map(|(own, kept)| match kept {
        Kept::Tensor(data) if own == name && data.shape().len() == D => {
            Some(Tensor::from_data(data.clone(), &Device::flex()))
        }
        _ => None,
    })
}

fn as_json(
    table: &Table,
    arguments: &Arguments,
    conclusion: &Conclusion,
    replayed: &Value,
) -> Value {
    let head = |line: &HeadLine| {
        json!({
            "layer": line.layer,
            "head": line.head,
            "prefix_matching": line.attention.prefix_matching,
            "previous_token": line.attention.previous_token,
            "loss": line.loss,
        })
    };
    json!({
        "sequences": SEQUENCES,
        "intact": { "loss": table.intact },
        "heads": table.heads.iter().map(head).collect::<Vec<_>>(),
        "journal": arguments.journal.display().to_string(),
        "recorded": report::recorded_json(conclusion),
        "replay": replayed,
    })
}

fn introduce() {
    let provenance = Induction::provenance();
    let known = |key: &str| provenance.get(key).map_or("?", String::as_str);
    report::heading(
        "Induction: a two-layer attention-only transformer that continues repeated sequences",
    );
    outln!(
        "trained from seed {} for {} steps, to a loss of {} nats; {SEQUENCES} new sequences of random tokens that repeat themselves",
        known("seed"),
        known("steps"),
        known("loss"),
    );
    outln!();
}

fn show(table: &Table) {
    report::heading("head   prefix matching   previous token   loss without it");
    for line in &table.heads {
        outln!("{}", row(line));
    }
    outln!(
        "intact                                     {:.3}  {}",
        table.intact,
        bar(table.intact)
    );
    outln!();
    if let Some(needed) = table.most_needed() {
        outln!(
            "Without L{}H{} the loss on the repeated part rises from {:.3} to {:.3}: it attends to the token before \
             ({:.2}), and the induction heads of layer 1 build on what it writes.",
            needed.layer,
            needed.head,
            table.intact,
            needed.loss,
            needed.attention.previous_token,
        );
    }
}

fn row(line: &HeadLine) -> String {
    format!(
        "L{}H{}             {:.3}            {:.3}             {:.3}  {}",
        line.layer,
        line.head,
        line.attention.prefix_matching,
        line.attention.previous_token,
        line.loss,
        bar(line.loss)
    )
}

fn bar(loss: f64) -> String {
    let guessing = (VOCABULARY as f64).ln();
    let length = (loss / guessing * BAR_MAX).round().clamp(0.0, BAR_MAX);
    "█".repeat(length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The periods of the sequences are the sampler's, so that the tokens must be, too.
    #[test]
    fn the_sequences_of_the_file_are_those_that_the_sampler_draws() {
        let batch = Sampler::new(SEED).batch(SEQUENCES);
        let ids = batch.ids();
        let rows = ids.chunks(ids.len() / SEQUENCES);
        let rows: Vec<String> = rows.map(|row| format!("    {row:?},\n")).collect();
        let rows = format!("tokens = [\n{}]\n", rows.concat());
        assert!(EXPERIMENT.contains(&rows), "{rows}");
    }
}
