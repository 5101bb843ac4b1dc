//! What the prompts of an experiment became: their tokens, and what is remarkable about them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use interloom_journal::{Argument, Experiment};
use interloom_models::files::Tokenizer;
use serde_json::{Value as Json, json};

use super::plan::{Content, Input, Plan};
use super::rows::Rows;
use super::subject::Subject;

/// How many tokens of a prompt are shown in a line at its beginning, and as many at its end.
const SHOWN: usize = 48;

/// The argument of a journal's head that has what is remarkable about the prompts.
const WARNINGS: &str = "warnings";
/// How the arguments begin that have the texts of chats, before the input's name.
const RENDERED: &str = "rendered.";

/// What a prompt became.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PromptReport {
    /// The input's name.
    pub input: String,
    /// The text that a chat was made to, by the model's template.
    pub rendered: Option<String>,
    /// The tokens; their places are the positions that programs name.
    pub tokens: Vec<PromptToken>,
    /// What is remarkable about them.
    pub warnings: Vec<String>,
}

/// A token of a prompt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PromptToken {
    /// Its number in the vocabulary.
    pub id: u32,
    /// How it reads.
    pub text: String,
    /// Whether it is a command to the model rather than text.
    pub is_special: bool,
}

impl PromptToken {
    /// Returns how the tokens of a text read.
    pub(crate) fn all(ids: &[u32], tokenizer: &Tokenizer) -> Vec<Self> {
        let token = |&id: &u32| Self {
            id,
            text: tokenizer.token_text(id),
            is_special: tokenizer.is_special(id),
        };
        ids.iter().map(token).collect()
    }

    /// Returns how the token reads: in quotes, but for a special one.
    pub fn shown(&self) -> String {
        match self.is_special {
            true => self.text.clone(),
            false => format!("{:?}", self.text),
        }
    }

    /// Returns tokens as JSON, with their positions.
    pub(crate) fn to_json(tokens: &[Self]) -> Json {
        let tokens = tokens.iter().enumerate();
        let token = |(position, token): (usize, &Self)| {
            json!({
                "position": position,
                "id": token.id,
                "text": token.text,
                "special": token.is_special,
            })
        };
        Json::Array(tokens.map(token).collect())
    }
}

/// Says that tokens begin twice with the token that the model's files put in front of every prompt,
/// if they do; `what` is what they are of.
pub(crate) fn doubled_begin(what: &str, ids: &[u32], tokenizer: &Tokenizer) -> Option<String> {
    let begin = tokenizer.begin_token().ok()??;
    let text = tokenizer.token_text(begin);
    ids.starts_with(&[begin, begin]).then(|| {
        format!(
            "{what} begins with {text} (token {begin}), and the model's files put one in front of every prompt, so that there \
             are two; leave it out"
        )
    })
}

impl PromptReport {
    /// Returns what the prompts of a file became, if the model is here and has a tokenizer.
    pub(super) fn all(plan: &Plan, inputs: &[Rows], subject: &Subject) -> Vec<Self> {
        let Some(tokenizer) = subject.tokenizer() else {
            return Vec::new();
        };
        let pairs = plan.inputs.iter().zip(inputs);
        let report = |(input, rows): (&Input, &Rows)| {
            let (kind, rendered) = match &input.content {
                Content::Prompt(_) => ("prompt", None),
                // It was made to text before, without an error.
                Content::Pair(_) => ("pair", None),
                Content::Chat(chat) => ("chat", subject.chat(chat).ok()),
                Content::Tokens(_) | Content::Tensor(_) | Content::Pixels(_) => return None,
            };
            let ids = rows.tokens.first().map_or(&[][..], Vec::as_slice);
            let at = plan.source.spot(input.at);
            let what = format!("{at}: the {kind} `{}`", input.name);
            Some(Self {
                input: input.name.clone(),
                rendered,
                tokens: PromptToken::all(ids, tokenizer),
                warnings: doubled_begin(&what, ids, tokenizer).into_iter().collect(),
            })
        };
        pairs.filter_map(report).collect()
    }

    /// Returns what a journal's head has of prompts beside their tokens: the texts of chats, and
    /// what is remarkable.
    pub(super) fn to_arguments(prompts: &[Self]) -> BTreeMap<String, Argument> {
        let rendered = prompts.iter().filter_map(|prompt| {
            let name = format!("{RENDERED}{}", prompt.input);
            Some((name, Argument::Text(prompt.rendered.clone()?)))
        });
        let mut arguments = BTreeMap::from_iter(rendered);
        let warnings = prompts.iter().flat_map(|prompt| &prompt.warnings);
        let warnings: Vec<Argument> = warnings.cloned().map(Argument::Text).collect();
        if !warnings.is_empty() {
            arguments.insert(WARNINGS.to_owned(), Argument::List(warnings));
        }
        arguments
    }

    /// Takes the same out of a journal's head.
    pub(super) fn of_arguments(experiment: &Experiment) -> BTreeMap<String, Argument> {
        let arguments = experiment.arguments.iter();
        let own = arguments.filter(|(name, _)| *name == WARNINGS || name.starts_with(RENDERED));
        own.map(|(name, argument)| (name.clone(), argument.clone()))
            .collect()
    }

    pub(super) fn to_json(&self) -> Json {
        json!({
            "input": self.input,
            "rendered": self.rendered,
            "tokens": PromptToken::to_json(&self.tokens),
            "warnings": self.warnings,
        })
    }

    /// Returns the tokens in one line, each behind its position; of a long prompt the first and the
    /// last.
    pub fn line(&self) -> String {
        let left_out = self.tokens.len().saturating_sub(2 * SHOWN);
        let mut line = String::new();
        for (position, token) in self.tokens.iter().enumerate() {
            if left_out > 0 && (SHOWN..SHOWN + left_out).contains(&position) {
                if position == SHOWN {
                    line.push_str("…  ");
                }
                continue;
            }
            // Writing to a string cannot fail.
            let _ = write!(line, "{position} {}  ", token.shown());
        }
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_prompts_show_their_ends_with_the_right_positions() {
        let token = |id: u32| PromptToken {
            id,
            text: format!(" {id}"),
            is_special: id == 0,
        };
        let report = |count: u32| PromptReport {
            input: "p".to_owned(),
            rendered: None,
            tokens: (0..count).map(token).collect(),
            warnings: Vec::new(),
        };
        assert_eq!(report(3).line(), r#"0  0  1 " 1"  2 " 2""#);
        let long = report(100).line();
        assert!(long.contains(r#"47 " 47"  …  52 " 52""#), "{long}");
        assert!(long.ends_with(r#"99 " 99""#) && !report(96).line().contains('…'));
    }
}
