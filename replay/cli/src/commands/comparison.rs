//! What the commands that compare two prompts have in common: arguments, and what becomes of
//! results.

use std::path::{Path, PathBuf};

use clap::Args;
use interloom::{Conclusion, Mode};
use serde_json::{Value, json};

use super::effects::Effects;
use super::keep::Keep;
use super::progress::Bars;
use super::report::{cannot_write, outln};
use super::trace::{Method, Question, What};
use super::{Ending, replay, report};
use crate::CliError;

/// The model, the two prompts and their answers.
#[derive(Args)]
pub(super) struct Compared {
    /// A GGUF file, a Hugging Face folder, `smollm2-135m` (see scripts/fetch-smollm2),
    /// `hf:ORG/NAME`, or `induction`.
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// The prompt whose activations are put in; numbers, if the model has no tokenizer.
    #[arg(long, value_name = "TEXT")]
    clean: String,
    /// The prompt that they are put into, of as many tokens.
    #[arg(long, value_name = "TEXT")]
    corrupt: String,
    /// The answer to the clean prompt: one token, most often with a space in front.
    #[arg(long, value_name = "TEXT")]
    answer: String,
    /// The answer to the corrupt prompt: one token.
    #[arg(long, value_name = "TEXT")]
    foil: String,
}

/// How the runs are made, kept and reported.
#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    keep: Keep,
    /// Do not replay the journal at the end.
    #[arg(long)]
    no_replay: bool,
    /// The device: `cpu`, `cuda` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

/// A command with all its arguments.
pub(super) struct Comparison<'c> {
    pub(super) compared: &'c Compared,
    pub(super) method: Method,
    pub(super) what: What,
    pub(super) csv: Option<&'c PathBuf>,
    pub(super) svg: Option<&'c PathBuf>,
    pub(super) journal: &'c Path,
    pub(super) options: &'c Options,
}

/// What a command says of effects.
pub(super) struct Shown {
    /// What the table of numbers shows.
    pub(super) about: String,
    /// The numbers as comma-separated values.
    pub(super) csv: String,
    /// What the command has of its own in its report as JSON.
    pub(super) json: Value,
}

impl Comparison<'_> {
    /// Makes the runs, and shows, writes and replays what comes of them.
    pub(super) fn run(
        &self,
        file: &str,
        shown: impl FnOnce(&Effects) -> Shown,
    ) -> Result<Ending, CliError> {
        let (compared, options) = (self.compared, self.options);
        let question = Question {
            model: &compared.model,
            device: &options.device,
            clean: &compared.clean,
            corrupt: &compared.corrupt,
            answer: &compared.answer,
            foil: &compared.foil,
            method: self.method,
            what: self.what,
        };
        let policy = options.keep.policy();
        // Before hours of work, not after them.
        for path in [self.csv, self.svg].into_iter().flatten() {
            check_writable(path)?;
        }
        let mode = Mode::Record(self.journal.to_owned());
        let (effects, conclusion) = question.ask(file, mode, policy, &mut Bars::default())?;
        let shown = shown(&effects);
        if !options.json {
            self.show(&effects, &shown.about);
        }
        if let Some(path) = self.csv {
            self.write("table", path, &shown.csv)?;
        }
        if let Some(path) = self.svg {
            let (answer, foil) = (compared.answer.trim(), compared.foil.trim());
            let title = format!("{answer} rather than {foil}");
            self.write("picture", path, &effects.heat_map().svg(&title))?;
        }
        if options.json {
            return self.report_as_json(&effects, shown.json, &conclusion);
        }
        report::conclusion(&conclusion, self.journal);
        outln!("journal: {}", self.journal.display());
        match options.no_replay {
            true => Ok(Ending::Done),
            false => replay::in_new_process(self.journal),
        }
    }

    fn show(&self, effects: &Effects, about: &str) {
        let (answer, foil) = (&self.compared.answer, &self.compared.foil);
        report::heading(&format!(
            "Where does `{answer}` rather than `{foil}` come from?"
        ));
        outln!(
            "logit difference: clean {:+.3}, corrupt {:+.3}",
            effects.clean,
            effects.corrupt
        );
        outln!("{about}\n");
        outln!("{}", effects.heat_map());
    }

    /// Writes a file, and says so; in JSON the caller knows.
    fn write(&self, what: &str, path: &Path, text: &str) -> Result<(), CliError> {
        std::fs::write(path, text).map_err(|error| cannot_write(path, error))?;
        if !self.options.json {
            outln!("{what}: {}", path.display());
        }
        Ok(())
    }

    fn report_as_json(
        &self,
        effects: &Effects,
        own: Value,
        conclusion: &Conclusion,
    ) -> Result<Ending, CliError> {
        let (replayed, ending) = match self.options.no_replay {
            true => (Value::Null, Ending::Done),
            false => replay::report_of_new_process(self.journal)?,
        };
        let mut json = json!({
            "clean": effects.clean,
            "corrupt": effects.corrupt,
            "tokens": effects.tokens,
            "differing": effects.differing,
            "journal": self.journal.display().to_string(),
            "recorded": report::recorded_json(conclusion),
            "replay": replayed,
        });
        if let (Value::Object(json), Value::Object(own)) = (&mut json, own) {
            json.extend(own);
        }
        outln!("{json}");
        Ok(ending)
    }
}

/// Checks that a file can be written, without leaving a new one or changing an old one.
fn check_writable(path: &Path) -> Result<(), CliError> {
    let (is_new, is_special) = match path.metadata() {
        Ok(metadata) => (false, !metadata.is_file() && !metadata.is_dir()),
        Err(_) => (true, false),
    };
    // To open and close a pipe would tell its reader that all is written.
    if is_special {
        return Ok(());
    }
    let mut options = std::fs::OpenOptions::new();
    let opened = options.append(true).create(true).open(path);
    opened.map_err(|error| cannot_write(path, error))?;
    if is_new {
        std::fs::remove_file(path).map_err(|error| cannot_write(path, error))?;
    }
    Ok(())
}
