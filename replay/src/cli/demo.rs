//! `interloom demo`: which head of a small trained model does what?

use std::path::PathBuf;

use clap::Args;
use interloom_backends::models::induction::{Induction, VOCABULARY};
use serde_json::{Value, json};

use super::keep::Keep;
use super::progress::Bars;
use super::report::outln;
use super::{Ending, replay, report};
use crate::experiments::{AblationReport, HeadAblation, HeadLine};
use crate::{Conclusion, Error, Mode};

/// The longest bar of the table, in characters, and the loss at which it is reached: that of guessing.
const BAR_MAX: f64 = 24.0;

/// Ablate each head of a trained two-layer transformer, record every exchange, and replay the journal in a new process.
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

pub(super) fn run(arguments: &Arguments) -> Result<Ending, Error> {
    let experiment = HeadAblation::default();
    if !arguments.json {
        introduce(&experiment);
    }
    let policy = arguments.keep.policy();
    let mode = Mode::Record(arguments.journal.clone());
    let (table, conclusion) = experiment.run(mode, policy, &mut Bars::default())?;
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

fn as_json(
    table: &AblationReport,
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
            "loss": line.ablated.loss,
        })
    };
    json!({
        "sequences": table.sequences,
        "intact": { "loss": table.intact.loss },
        "heads": table.heads.iter().map(head).collect::<Vec<_>>(),
        "journal": arguments.journal.display().to_string(),
        "recorded": report::recorded_json(conclusion),
        "replay": replayed,
    })
}

fn introduce(experiment: &HeadAblation) {
    let provenance = Induction::provenance();
    let known = |key: &str| provenance.get(key).map_or("?", String::as_str);
    report::heading(
        "Induction: a two-layer attention-only transformer that continues repeated sequences",
    );
    outln!(
        "trained from seed {} for {} steps, to a loss of {} nats; {} new sequences of random tokens that repeat themselves",
        known("seed"),
        known("steps"),
        known("loss"),
        experiment.sequences,
    );
    outln!();
}

fn show(report: &AblationReport) {
    report::heading("head   prefix matching   previous token   loss without it");
    for line in &report.heads {
        outln!("{}", row(line));
    }
    outln!(
        "intact                                     {:.3}  {}",
        report.intact.loss,
        bar(report.intact.loss)
    );
    outln!();
    if let Some(needed) = report.most_needed() {
        outln!(
            "Without L{}H{} the loss on the repeated part rises from {:.3} to {:.3}: it attends to the token before \
             ({:.2}), and the induction heads of layer 1 build on what it writes.",
            needed.layer,
            needed.head,
            report.intact.loss,
            needed.ablated.loss,
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
        line.ablated.loss,
        bar(line.ablated.loss)
    )
}

fn bar(loss: f64) -> String {
    let guessing = (VOCABULARY as f64).ln();
    let length = (loss / guessing * BAR_MAX).round().clamp(0.0, BAR_MAX);
    "█".repeat(length as usize)
}
