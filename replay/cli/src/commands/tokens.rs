//! `interloom tokens`: what does a text become?

use clap::Args;
use interloom_backends::parse_device;
use interloom_models::files::{ModelSource, Tokenizer};
use interloom_models::{INDUCTION, LanguageModel};
use serde_json::{Value, json};

use super::Ending;
use super::progress::Bars;
use super::report::{outln, warning};
use crate::CliError;
use crate::Progress as _;
use crate::experiment::{PromptToken, doubled_begin};

/// Show the tokens of texts: their positions, numbers and pieces, as a prompt has them.
///
/// The positions are those that programs name (`layers.3[.., 2]`). Special tokens are commands to
/// the model; what stands in front of every prompt is said first. The weights are not read.
#[derive(Args)]
pub(super) struct Arguments {
    /// A GGUF file, a Hugging Face folder, `smollm2-135m`, or `hf:ORG/NAME`.
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// The texts, each as a prompt of its own.
    #[arg(value_name = "TEXT", required = true)]
    texts: Vec<String>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    let tokenizer = tokenizer(&arguments.model)?;
    let begin = tokenizer.begin_token()?;
    let begin = begin.map(|begin| PromptToken::all(&[begin], &tokenizer).remove(0));
    let mut texts = Vec::with_capacity(arguments.texts.len());
    for text in &arguments.texts {
        let ids = tokenizer.encode_prompt(text)?;
        let doubled = doubled_begin(&format!("the text {text:?}"), &ids, &tokenizer);
        texts.push((text, PromptToken::all(&ids, &tokenizer), doubled));
    }
    if arguments.json {
        let texts = texts.iter().map(|(text, tokens, doubled)| {
            let warnings = Vec::from_iter(doubled);
            json!({ "text": text, "tokens": PromptToken::to_json(tokens), "warnings": warnings })
        });
        let begin = begin.map(|begin| json!({ "id": begin.id, "text": begin.text }));
        outln!(
            "{}",
            json!({
                "model": arguments.model,
                "begin": begin,
                "notes": tokenizer.notes(),
                "texts": texts.collect::<Value>(),
            })
        );
        return Ok(Ending::Done);
    }
    match &begin {
        Some(begin) => outln!(
            "every prompt begins with {} (token {})",
            begin.text,
            begin.id
        ),
        None => outln!("nothing is put in front of a prompt"),
    }
    for note in tokenizer.notes() {
        outln!("note: {note}");
    }
    for (text, tokens, doubled) in &texts {
        outln!(
            "\n{text:?}: {}",
            super::report::count(tokens.len() as u64, "token")
        );
        show(tokens);
        if let Some(doubled) = doubled {
            warning(doubled);
        }
    }
    Ok(Ending::Done)
}

/// Reads the tokenizer of a model, without its weights.
fn tokenizer(model: &str) -> Result<Tokenizer, CliError> {
    if model == INDUCTION {
        // Its tokens are written as their numbers, which this says.
        let lm = LanguageModel::load(model, &parse_device("cpu")?)?;
        lm.encode("")?;
    }
    let mut bars = Bars::default();
    let source = ModelSource::resolve_with(model, &mut |part| bars.download(part))?;
    Ok(source.open()?.tokenizer()?)
}

fn show(tokens: &[PromptToken]) {
    outln!("  position      id  token");
    for (position, token) in tokens.iter().enumerate() {
        let special = if token.is_special { "  special" } else { "" };
        outln!("  {position:8}  {:6}  {}{special}", token.id, token.shown());
    }
}
