//! What an experiment shows, as text, as JSON and as files.

use std::fmt;
use std::path::Path;

use burn::tensor::{DType, TensorData};
use interloom_engine::RunEnd;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value as Json, json};

use super::kept::{Kept, number_to_json};
use super::prompts::PromptReport;
use super::readout::TokenProbability;

/// What an experiment file shows, run by run.
#[derive(Clone, Debug, PartialEq)]
pub struct FileReport {
    /// The file.
    pub file: String,
    /// What the file says that it is about.
    pub about: Option<String>,
    /// The model.
    pub model: String,
    /// What the prompts became, if the model has a tokenizer.
    pub prompts: Vec<PromptReport>,
    /// The runs, in order; the last one failed if there is a failure.
    pub runs: Vec<RunReport>,
    /// Why the last run failed and those after it were not made, if it did.
    pub failure: Option<FailureReport>,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq)]
pub struct FailureReport {
    /// The stable code of the error.
    pub code: &'static str,
    /// Its message.
    pub message: String,
}

/// What one run shows.
#[derive(Clone, Debug, PartialEq)]
pub struct RunReport {
    /// The run's name.
    pub name: String,
    /// Which of the file's tables `[[run]]` it is from, from 0.
    pub table: usize,
    /// What it is swept over, with its own values; the last changes fastest.
    pub each: Vec<(String, String)>,
    /// How the run ended; in a few words, if it failed.
    pub end: Result<RunEnd, String>,
    /// What each invoke has saved.
    pub invokes: Vec<InvokeReport>,
    /// What is read off the model's output, row by row.
    pub rows: Vec<RowReport>,
    /// What was generated, in a run of one row.
    pub generated: Option<Generated>,
    /// What is read off saved logits.
    pub lenses: Vec<Lens>,
    /// What was asked for and did not come, such as iterations after the last token.
    pub warnings: Vec<String>,
}

/// What one invoke has saved.
#[derive(Clone, Debug, PartialEq)]
pub struct InvokeReport {
    /// The invoke's name.
    pub name: String,
    /// What it is swept over within its run, with its own values.
    pub each: Vec<(String, String)>,
    /// Each number, text and tensor that was saved or cached, with its name.
    pub kept: Vec<(String, Kept)>,
    /// The names of those of them whose tokens are shown, rather than their numbers.
    pub read_off: Vec<String>,
    /// The notes, in order.
    pub marks: Vec<String>,
    /// The errors that were caught, by their names.
    pub caught: Vec<(String, String)>,
}

/// What is read off the model's output for one row.
#[derive(Clone, Debug, PartialEq)]
pub struct RowReport {
    /// The input that the row is from.
    pub input: String,
    /// The invoke that owns the row, if one does.
    pub invoke: Option<String>,
    /// The place of that invoke among those of the run.
    pub owner: Option<usize>,
    /// The most likely next tokens.
    pub top: Vec<TokenProbability>,
    /// The tokens that were asked about.
    pub answers: Vec<TokenProbability>,
    /// The mean cross entropy of the next token, in nats, over the row's own positions.
    pub loss: Option<f64>,
    /// What was generated, in a run of several rows.
    pub generated: Option<Generated>,
}

/// What was generated.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The new tokens.
    pub tokens: Vec<u32>,
    /// How they read.
    pub text: String,
}

/// What is read off saved logits for one row: the likely tokens of each.
#[derive(Clone, Debug, PartialEq)]
pub struct Lens {
    /// The place of the invoke that saved it among those of the run.
    pub invoke: usize,
    /// What the invoke calls it.
    pub saved: String,
    /// The name of what was saved, with that of its invoke if there are several.
    pub name: String,
    /// The row, if there are several: by its input or invoke, or its number.
    pub row: Option<String>,
    /// The most likely tokens of each of the logits.
    pub tops: Vec<Vec<TokenProbability>>,
}

impl FileReport {
    /// Returns the whole report as JSON, tensors as summaries.
    pub fn to_json(&self) -> Json {
        let mut json = json!({
            "file": self.file,
            "about": self.about,
            "model": self.model,
            "runs": self.runs.iter().map(RunReport::to_json).collect::<Vec<_>>(),
        });
        if !self.prompts.is_empty() {
            json["prompts"] = self.prompts.iter().map(PromptReport::to_json).collect();
        }
        if let Some(FailureReport { code, message }) = &self.failure {
            json["failure"] = json!({ "code": code, "message": message });
        }
        json
    }

    /// Returns whether there is something to show: a run that came to its end, or something that
    /// one had saved before it failed.
    pub fn has_results(&self) -> bool {
        let shown = self.runs.iter().any(RunReport::has_results);
        shown || self.runs.len() > usize::from(self.failure.is_some())
    }

    /// Returns every tensor that was saved, by its name: run, invoke and its own name with slashes
    /// between them.
    pub fn tensors(&self) -> Vec<(String, &TensorData)> {
        let mut tensors = Vec::new();
        for run in &self.runs {
            for invoke in &run.invokes {
                for (name, kept) in &invoke.kept {
                    if let Kept::Tensor(data) = kept {
                        tensors.push((format!("{}/{}/{name}", run.name, invoke.name), data));
                    }
                }
            }
        }
        tensors
    }

    /// Writes `results.json`, `tensors.safetensors` and for each sweep with a plot `sweep-1.svg`
    /// and so on into a folder, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// What the file system says, or that a tensor's type has no name in safetensors.
    pub fn write(&self, folder: &Path) -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        std::fs::create_dir_all(folder).map_err(text)?;
        let json =
            serde_json::to_string_pretty(&self.to_json()).map_err(|error| error.to_string())?;
        std::fs::write(folder.join("results.json"), json + "\n").map_err(text)?;
        for (number, plot) in (1..).zip(self.plots()) {
            let path = folder.join(format!("sweep-{number}.svg"));
            std::fs::write(path, plot.map.svg(&plot.title)).map_err(text)?;
        }
        let tensors = self.tensors();
        let bytes = to_safetensors(tensors.iter().map(|(name, data)| (name.as_str(), *data)))?;
        std::fs::write(folder.join("tensors.safetensors"), bytes).map_err(text)
    }
}

impl RunReport {
    fn to_json(&self) -> Json {
        json!({
            "name": self.name,
            "each": each(&self.each),
            "end": self.end_text(),
            "invokes": self.invokes.iter().map(InvokeReport::to_json).collect::<Vec<_>>(),
            "rows": self.rows.iter().map(RowReport::to_json).collect::<Vec<_>>(),
            "generated": self.generated.as_ref().map(Generated::to_json),
            "lenses": self.lenses.iter().map(|lens| json!({
                "name": lens.name,
                "row": lens.row,
                "tops": lens.tops.iter().map(|top| choices(top)).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "warnings": self.warnings,
        })
    }
}

impl InvokeReport {
    fn to_json(&self) -> Json {
        let kept = self.kept.iter();
        let kept = kept.map(|(name, kept)| (name.clone(), kept.to_json()));
        let caught = self.caught.iter();
        let caught = caught.map(|(name, fault)| (name.clone(), json!(fault)));
        json!({
            "name": self.name,
            "each": each(&self.each),
            "saved": kept.collect::<serde_json::Map<_, _>>(),
            "marks": self.marks,
            "caught": caught.collect::<serde_json::Map<_, _>>(),
        })
    }
}

impl RowReport {
    fn to_json(&self) -> Json {
        let mut json = json!({
            "input": self.input,
            "invoke": self.invoke,
            "top": choices(&self.top),
            "answers": choices(&self.answers),
            "loss": self.loss.map(number_to_json),
        });
        if let Some(generated) = &self.generated {
            json["generated"] = generated.to_json();
        }
        json
    }
}

impl Generated {
    fn to_json(&self) -> Json {
        json!({ "tokens": self.tokens, "text": self.text })
    }
}

impl RunReport {
    fn has_results(&self) -> bool {
        let of_invoke = |invoke: &InvokeReport| !invoke.kept.is_empty() || !invoke.marks.is_empty();
        self.invokes.iter().any(of_invoke)
    }

    /// Returns what the run shows line by line: what each line is about, and what it says.
    pub fn lines(&self) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        if self.end != Ok(RunEnd::Completed) {
            lines.push(("end".to_owned(), self.end_text()));
        }
        for invoke in &self.invokes {
            // The only program of a run has the run's name.
            let prefix = match invoke.name == self.name {
                true => String::new(),
                false => format!("{}.", invoke.name),
            };
            lines.extend(invoke.lines(&prefix));
        }
        if let Some(generated) = &self.generated {
            lines.push(("generated".to_owned(), format!("{:?}", generated.text)));
        }
        lines.extend(self.rows.iter().flat_map(RowReport::lines));
        lines.extend(self.lenses.iter().flat_map(Lens::lines));
        let warnings = self.warnings.iter();
        lines.extend(warnings.map(|warning| ("warning".to_owned(), warning.clone())));
        if lines.is_empty() {
            lines.push(("end".to_owned(), self.end_text()));
        }
        lines
    }

    fn end_text(&self) -> String {
        match &self.end {
            Ok(end) => end.to_string(),
            Err(failed) => failed.clone(),
        }
    }
}

impl InvokeReport {
    fn lines(&self, prefix: &str) -> Vec<(String, String)> {
        let kept = self.kept.iter();
        let kept = kept.filter(|(name, _)| !self.read_off.contains(name));
        let kept = kept.map(|(name, kept)| (format!("{prefix}{name}"), kept.to_string()));
        let marks = self.marks.iter();
        let marks = marks.map(|mark| (format!("{prefix}mark"), format!("{mark:?}")));
        let caught = self.caught.iter();
        let caught =
            caught.map(|(name, fault)| (format!("{prefix}{name}"), format!("caught: {fault}")));
        kept.chain(marks).chain(caught).collect()
    }
}

impl RowReport {
    /// Shows nothing yet of a row.
    pub(super) fn of(input: String, invoke: Option<(usize, String)>) -> Self {
        let (owner, invoke) = invoke.unzip();
        Self {
            input,
            invoke,
            owner,
            top: Vec::new(),
            answers: Vec::new(),
            loss: None,
            generated: None,
        }
    }

    fn lines(&self) -> Vec<(String, String)> {
        let label = self.invoke.as_ref().unwrap_or(&self.input);
        let mut texts = Vec::new();
        if let Some(generated) = &self.generated {
            texts.push(format!("generated {:?}", generated.text));
        }
        if let Some(loss) = self.loss {
            texts.push(format!("loss {loss:.4}"));
        }
        if !self.top.is_empty() {
            texts.push(format!("next {}", Choices(&self.top)));
        }
        if !self.answers.is_empty() {
            texts.push(Choices(&self.answers).to_string());
        }
        if let [first, second, ..] = &self.answers[..] {
            texts.push(format!("difference {:+.4}", first.logit - second.logit));
        }
        vec![(label.clone(), texts.join("; "))]
    }
}

impl Lens {
    fn lines(&self) -> Vec<(String, String)> {
        let of_row = self.row.as_ref().map(|row| format!(" of {row}"));
        let of_row = of_row.unwrap_or_default();
        let label = |place: usize| match self.tops.len() {
            1 => format!("{}{of_row}", self.name),
            _ => format!("{}.{place}{of_row}", self.name),
        };
        let tops = self.tops.iter().enumerate();
        tops.map(|(place, top)| (label(place), Choices(top).to_string()))
            .collect()
    }
}

/// Tokens in one line.
struct Choices<'c>(&'c [TokenProbability]);

impl fmt::Display for Choices<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |choice: &TokenProbability| {
            format!("{:?} {:.1} %", choice.text, choice.probability * 100.0)
        };
        let texts: Vec<String> = self.0.iter().map(text).collect();
        f.write_str(&texts.join(", "))
    }
}

fn choices(choices: &[TokenProbability]) -> Json {
    let choice = |choice: &TokenProbability| {
        json!({
            "token": choice.token,
            "text": choice.text,
            "logit": number_to_json(choice.logit),
            "probability": number_to_json(choice.probability),
        })
    };
    Json::Array(choices.iter().map(choice).collect())
}

/// What is swept over as JSON: a value is a number if it is written as one.
fn each(values: &[(String, String)]) -> Json {
    let value = |text: &String| match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(whole), _) => json!(whole),
        (_, Ok(number)) if number.is_finite() => json!(number),
        _ => json!(text),
    };
    let values = values.iter();
    Json::Object(
        values
            .map(|(name, text)| (name.clone(), value(text)))
            .collect(),
    )
}

/// Writes tensors in the format of safetensors, or says what does not go into it.
pub(super) fn to_safetensors<'d>(
    tensors: impl IntoIterator<Item = (&'d str, &'d TensorData)>,
) -> Result<Vec<u8>, String> {
    let tensors = tensors.into_iter();
    let views = tensors.map(|(name, data)| Ok((name, view(name, data)?)));
    let views = views.collect::<Result<Vec<_>, String>>()?;
    safetensors::serialize(views, None).map_err(|error| error.to_string())
}

/// Looks at a tensor as safetensors does.
fn view<'d>(name: &str, data: &'d TensorData) -> Result<TensorView<'d>, String> {
    let dtype = match data.dtype() {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool(_) if data.as_bytes().len() == data.num_elements() => Dtype::BOOL,
        other => {
            return Err(format!(
                "`{name}` has the type {other:?}, which safetensors does not have"
            ));
        }
    };
    let view = TensorView::new(dtype, data.shape().to_vec(), data.as_bytes());
    view.map_err(|error| format!("`{name}`: {error}"))
}
