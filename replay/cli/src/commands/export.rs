//! `interloom export`: a journal for other programs.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use anstream::eprintln;
use clap::{Args, ValueEnum};
use interloom_journal::divergence::diff_page;
use interloom_journal::export::{
    Exported, PAGE_EXCHANGES_DEFAULT, Selection, json_lines, npz, page, safetensors, trace,
};
use interloom_journal::{JournalReader, Unfinished, check_is_another};
use serde_json::{Value, json};

use super::report::{cannot_write, count, outln};
use super::{Ending, check, report, training};
use crate::CliError;

/// Write a journal, or the tensors in it, in a format that other programs read.
#[derive(Args)]
pub(super) struct Arguments {
    /// The journal; or the folder of a training run, whose losses a page shows.
    #[arg(value_name = "FILE")]
    journal: PathBuf,
    /// The format.
    #[arg(long, value_enum)]
    format: Format,
    /// Only exchanges at this site, or at any of several: `layers.3.attn.output.i0`, or without
    /// iteration, or without port.
    #[arg(long = "site", value_name = "SITE")]
    sites: Vec<String>,
    /// With `html`: show this journal beside it, aligned as by `interloom diff`, with the first
    /// divergence marked.
    #[arg(long, value_name = "B", conflicts_with = "sites")]
    diff: Option<PathBuf>,
    /// How many exchanges a page has; it says how many it leaves out.
    #[arg(long, value_name = "N", default_value_t = PAGE_EXCHANGES_DEFAULT)]
    limit: usize,
    /// Where to write it; a file that is there is replaced.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// One JSON object for each frame.
    Jsonl,
    /// A trace for Perfetto or `chrome://tracing`: a lane for each mediator, exchanges in place of
    /// time.
    Trace,
    /// The tensors of a journal that keeps them, for NumPy.
    Npz,
    /// The tensors of a journal that keeps them, each called SITE#EXCHANGE.
    Safetensors,
    /// An MCAP file: a channel for each mediator, exchanges as JSON in place of time, the tensors
    /// that are kept as attachments.
    Mcap,
    /// A page for browsers, in one file: lanes of mediators, rows of sites, every exchange with its
    /// details.
    Html,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    if training::is_training(&arguments.journal) {
        return export_training(arguments);
    }
    let (journal, out) = (&arguments.journal, &arguments.out);
    if arguments.diff.is_some() && !matches!(arguments.format, Format::Html) {
        eprintln!("two journals are exported as a page only; add `--format html`");
        return Ok(Ending::Usage);
    }
    // Before anything is replaced: is there a journal, and is it another file?
    for journal in [Some(journal), arguments.diff.as_ref()]
        .into_iter()
        .flatten()
    {
        drop(JournalReader::open(journal)?);
        check_is_another(journal, out, "it is the journal itself")?;
    }
    let cannot = |error| cannot_write(out, error);
    let unfinished = Unfinished::beside(out).map_err(cannot)?;
    let exported = write(arguments, unfinished.file())?;
    unfinished.put().map_err(cannot)?;
    let thing = match arguments.format {
        Format::Jsonl => "frame",
        Format::Trace | Format::Mcap | Format::Html => "exchange",
        Format::Npz | Format::Safetensors => "tensor",
    };
    match arguments.json {
        true => outln!("{}", as_json(arguments, &exported, thing)),
        false => outln!("{} in {}", count(exported.items, thing), out.display()),
    }
    report::of_good_beginning(Ok(Ending::Done), exported.torn)
}

/// Writes the loss of a training run, or of two, as a page.
fn export_training(arguments: &Arguments) -> Result<Ending, CliError> {
    if !matches!(arguments.format, Format::Html) {
        eprintln!(
            "a training run is exported as a page only; add `--format html`, or export the journal of a step"
        );
        return Ok(Ending::Usage);
    }
    training::page(
        &arguments.journal,
        arguments.diff.as_deref(),
        &arguments.out,
    )
}

fn as_json(arguments: &Arguments, exported: &Exported, thing: &str) -> Value {
    json!({
        "out": arguments.out.display().to_string(),
        "of": thing,
        "items": exported.items,
        "problem": exported.torn.as_ref().map(check::problem),
    })
}

fn write(arguments: &Arguments, file: &File) -> Result<Exported, CliError> {
    let mut sink = BufWriter::new(file);
    let reader = JournalReader::open(&arguments.journal)?;
    let sink = &mut sink;
    let selection = Selection::of(&arguments.sites);
    let name = arguments.out.display().to_string();
    Ok(match arguments.format {
        Format::Jsonl => json_lines(reader, selection, sink, &name),
        Format::Trace => trace(reader, selection, sink, &name),
        Format::Npz => npz(reader, selection, sink, &name),
        Format::Safetensors => safetensors(reader, selection, sink, &name),
        #[cfg(feature = "mcap")]
        Format::Mcap => interloom_journal::export::mcap(reader, selection, sink, &name),
        #[cfg(not(feature = "mcap"))]
        Format::Mcap => {
            return Err(CliError::NotBuiltIn {
                what: "to write an MCAP file",
                feature: "mcap",
            });
        }
        Format::Html if let Some(second) = &arguments.diff => {
            diff_page(&arguments.journal, second, arguments.limit, sink, &name)
        }
        Format::Html => page(reader, selection, arguments.limit, sink, &name),
    }?)
}
