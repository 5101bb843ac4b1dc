//! The tokenizer in a GGUF file's metadata.
//!
//! `tokenizer.ggml.model` is `gpt2` for byte-level tokens that merges make, which the `tokenizers`
//! crate does, and `llama` for [pieces](super::pieces) of SentencePiece.

use std::collections::BTreeMap;

use tokenizers::AddedToken;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::Replace;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::pieces::{Pieces, SPACE};
use super::words::Words;
use super::{Gguf, GgufArray, GgufValue};
use crate::files::FileError;
use crate::files::begin::Begin;
use crate::files::tokenizer::{MAX_VOCABULARY, damaged, other_kind};

/// What a tokenizer is made of.
pub(in crate::files) struct Parts {
    pub(in crate::files) inner: tokenizers::Tokenizer,
    /// What splits a text in place of `inner`, which then only knows the tokens.
    pub(in crate::files) pieces: Option<Pieces>,
    pub(in crate::files) begin: Begin,
}

/// What `tokenizer.ggml.token_type` says of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// One like others.
    Normal,
    /// One that stands for what has no token.
    Unknown,
    /// A command to the model.
    Control,
    /// One that is always cut out of a text first.
    UserDefined,
}

/// Reads the parts of a tokenizer.
pub(in crate::files) fn read(gguf: &Gguf) -> Result<Parts, FileError> {
    match gguf.text("tokenizer.ggml.model")? {
        "gpt2" => merged(gguf),
        "llama" => pieced(gguf),
        other => {
            let expected = "the tokenizer `gpt2` or `llama`";
            Err(other_kind(gguf.name(), expected, other))
        }
    }
}

fn merged(gguf: &Gguf) -> Result<Parts, FileError> {
    let file = gguf.name();
    let pre = gguf.optional("tokenizer.ggml.pre", "a string", GgufValue::as_str)?;
    let pre = pre.unwrap_or("default");
    let words = Words::named(pre).ok_or_else(|| {
        let names: Vec<&str> = Words::names().collect();
        let expected = format!("a word splitting as one of {}", names.join(", "));
        other_kind(file, &expected, pre)
    })?;
    let tokens = gguf.texts("tokenizer.ggml.tokens")?;
    let vocabulary = vocabulary(tokens, file)?;
    let merges = merges(gguf.texts("tokenizer.ggml.merges")?, &vocabulary, file)?;
    let added = kinds(gguf, tokens)?.into_iter().zip(tokens);
    let added = added.filter(|(kind, _)| *kind != Kind::Unknown);
    let mut inner = known(gguf, &vocabulary, merges, words.keeps_words)?;
    let fault = |error| unsound(gguf, error);
    inner.with_pre_tokenizer(Some(words.pre_tokenizer().map_err(fault)?));
    inner.with_decoder(Some(ByteLevel::default()));
    add(&mut inner, added, |token| token).map_err(fault)?;
    Ok(Parts {
        inner,
        pieces: None,
        begin: Begin::from_gguf(gguf, words.begins, [None; 2])?,
    })
}

fn pieced(gguf: &Gguf) -> Result<Parts, FileError> {
    let tokens = gguf.texts("tokenizer.ggml.tokens")?;
    let vocabulary = vocabulary(tokens, gguf.name())?;
    let key = "tokenizer.ggml.scores";
    let scores = gguf.required(key, "an array of numbers", scores)?;
    if scores.len() != tokens.len() {
        let expected = format!("a score for each of the {} tokens", tokens.len());
        let found = format!("{} scores", scores.len());
        return Err(damaged(gguf.name(), &expected, found));
    }
    let flag = |key: &str| gguf.optional(key, "true or false", GgufValue::as_bool);
    let adds_space = flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let fault = |error| unsound(gguf, error);
    let mut inner = known(gguf, &vocabulary, Merges::new(), false)?;
    let space = Replace::new(SPACE.to_string(), " ").map_err(fault)?;
    let mut steps: Vec<DecoderWrapper> =
        vec![space.into(), ByteFallback::new().into(), Fuse::new().into()];
    if adds_space {
        steps.push(Strip::new(' ', 1, 0).into());
    }
    inner.with_decoder(Some(Sequence::new(steps)));
    let added = kinds(gguf, tokens)?.into_iter().zip(tokens);
    // As llama.cpp, which knows these files by their name.
    let name = gguf.optional("general.name", "a string", GgufValue::as_str)?;
    let name = name.unwrap_or_default().to_lowercase();
    let strips = ["phi-3", "phi3"].iter().any(|phi| name.contains(phi));
    let keeps = ["<unk>", "<s>", "<|endoftext|>"];
    add(&mut inner, added, |token| {
        let strips = strips && !keeps.contains(&token.content.as_str());
        token.rstrip(strips)
    })
    .map_err(fault)?;
    Ok(Parts {
        inner,
        pieces: Some(Pieces::new(&vocabulary, scores, adds_space)),
        begin: Begin::from_gguf(gguf, true, [Some(1), Some(2)])?,
    })
}

/// Makes a tokenizer that knows the tokens and merges.
fn known(
    gguf: &Gguf,
    vocabulary: &BTreeMap<&str, u32>,
    merges: Merges,
    keeps_words: bool,
) -> Result<tokenizers::Tokenizer, FileError> {
    // Nothing is ordered by this map: it is only looked up in.
    let vocabulary: Vocab = vocabulary
        .iter()
        .map(|(token, &id)| ((*token).to_owned(), id))
        .collect();
    let model = BPE::builder()
        .vocab_and_merges(vocabulary, merges)
        .ignore_merges(keeps_words)
        .build();
    let model = model.map_err(|error| unsound(gguf, error))?;
    Ok(tokenizers::Tokenizer::new(model))
}

/// Adds the tokens that are cut out of a text.
fn add<'t>(
    inner: &mut tokenizers::Tokenizer,
    tokens: impl Iterator<Item = (Kind, &'t String)>,
    change: impl Fn(AddedToken) -> AddedToken,
) -> tokenizers::Result<()> {
    let added = tokens.filter_map(|(kind, token)| match kind {
        Kind::Normal => None,
        Kind::Control | Kind::Unknown => Some(AddedToken::from(token.clone(), true)),
        Kind::UserDefined => Some(AddedToken::from(token.clone(), false).normalized(false)),
    });
    inner.add_tokens(added.map(change))?;
    Ok(())
}

fn unsound(gguf: &Gguf, error: tokenizers::Error) -> FileError {
    damaged(gguf.name(), "a sound tokenizer", error.to_string())
}

fn vocabulary<'a>(tokens: &'a [String], file: &str) -> Result<BTreeMap<&'a str, u32>, FileError> {
    if tokens.len() > MAX_VOCABULARY {
        let expected = format!("at most {MAX_VOCABULARY} tokens");
        return Err(damaged(file, &expected, tokens.len().to_string()));
    }
    let mut vocabulary = BTreeMap::new();
    for (id, token) in (0_u32..).zip(tokens) {
        if let Some(earlier) = vocabulary.insert(token.as_str(), id) {
            let found = format!("{token:?} as token {earlier} and {id}");
            return Err(damaged(file, "every token once", found));
        }
    }
    Ok(vocabulary)
}

/// Splits the merges, and checks that both sides and the result are tokens.
fn merges(
    lines: &[String],
    vocabulary: &BTreeMap<&str, u32>,
    file: &str,
) -> Result<Merges, FileError> {
    let mut merges = Vec::with_capacity(lines.len());
    for (number, line) in lines.iter().enumerate() {
        let pair = line.split_once(' ').filter(|(left, right)| {
            let joined = [*left, *right].concat();
            [*left, *right, &joined]
                .iter()
                .all(|side| vocabulary.contains_key(side))
        });
        let Some((left, right)) = pair else {
            let expected = format!("merge {number} to join two tokens into a third");
            return Err(damaged(file, &expected, format!("{line:?}")));
        };
        merges.push((left.to_owned(), right.to_owned()));
    }
    Ok(merges)
}

/// Reads the kinds of all tokens.
fn kinds(gguf: &Gguf, tokens: &[String]) -> Result<Vec<Kind>, FileError> {
    let key = "tokenizer.ggml.token_type";
    let numbers = |value: &GgufValue| match value {
        GgufValue::Array(array) => array.as_u64s(),
        _ => None,
    };
    let Some(numbers) = gguf.optional(key, "an array of whole numbers", numbers)? else {
        return Ok(vec![Kind::Normal; tokens.len()]);
    };
    if numbers.len() != tokens.len() {
        let expected = format!("a type for each of the {} tokens", tokens.len());
        let found = format!("{} types", numbers.len());
        return Err(damaged(gguf.name(), &expected, found));
    }
    let kind = |number: u64| match number {
        2 => Kind::Unknown,
        3 => Kind::Control,
        4 => Kind::UserDefined,
        _ => Kind::Normal,
    };
    Ok(numbers.into_iter().map(kind).collect())
}

fn scores(value: &GgufValue) -> Option<Vec<f32>> {
    match value {
        GgufValue::Array(GgufArray::F32(scores)) => Some(scores.clone()),
        GgufValue::Array(GgufArray::I32(scores)) => {
            Some(scores.iter().map(|&score| score as f32).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
mod tests;
