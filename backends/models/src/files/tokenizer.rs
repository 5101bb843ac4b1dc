//! Text to tokens and back, with the model's own tokenizer.
//!
//! A [`Tokenizer`] is built from the `tokenizer.json` of a folder and the files beside it, or from
//! the vocabulary and the merges in a GGUF file's metadata. The work is done by the `tokenizers`
//! crate; what is added here are checks. The crate indexes by what a file says, so merges are
//! compared with the vocabulary first; it leaves out, silently, what has no token, so a text with a
//! character that has none, and none for what is unknown either, is an error. A file can ask for
//! merges that are left out at random (`dropout`, which is for training): they never are.
//!
//! What of a GGUF file is a tokenizer is read by `gguf::tokenizer`. Of those of SentencePiece the
//! crate only knows the tokens, and texts are split by `gguf::pieces`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::ModelWrapper;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::{Model as _, OffsetReferential, OffsetType, PostProcessor as _};

use super::begin::Begin;
use super::gguf::pieces::Pieces;
use super::gguf::tokenizer::Parts;
use super::input::read_text;
use super::settings::Settings;
use super::stray::{self, Content};
use super::{FileError, Gguf, gguf};

/// The longest `tokenizer.json`, in bytes.
pub const MAX_TOKENIZER_BYTES: u64 = 256 << 20;
/// The largest vocabulary.
pub const MAX_VOCABULARY: usize = 1 << 22;

/// A model's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    file: String,
    /// What the characters of byte-level tokens stand for; none for other tokenizers.
    bytes: Option<BTreeMap<char, u8>>,
    /// Whether the bytes of all tokens together must be those of the text.
    lossless: bool,
    /// What splits a text that holds no added tokens, if it is not the crate.
    pieces: Option<Pieces>,
    begin: Begin,
    /// What was made otherwise than the files say, with the reason.
    notes: Vec<String>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json` and the files beside it, which may add tokens and say what comes
    /// before and after a text.
    ///
    /// Truncation and padding that the file asks for are switched off.
    ///
    /// # Errors
    ///
    /// E040 or E041 if a file cannot be read, E047 if one is not valid or of another model, E145 if
    /// one is something else than its name says.
    pub fn from_json_file(path: &Path) -> Result<Self, FileError> {
        stray::check(path, Content::Json)?;
        let text = read_text(path, MAX_TOKENIZER_BYTES)?;
        Self::from_parts(&text, &path.display().to_string(), &Settings::beside(path)?)
    }

    /// Reads the text of a `tokenizer.json`; `file` is what messages call it.
    ///
    /// # Errors
    ///
    /// E047 as for [`Tokenizer::from_json_file`].
    pub fn from_json(text: &str, file: &str) -> Result<Self, FileError> {
        Self::from_parts(text, file, &Settings::default())
    }

    fn from_parts(text: &str, file: &str, settings: &Settings) -> Result<Self, FileError> {
        check_json(text, file)?;
        let mut inner = tokenizers::Tokenizer::from_str(text)
            .map_err(|error| damaged(file, "a valid tokenizer.json", error.to_string()))?;
        inner
            .with_padding(None)
            .with_truncation(None)
            .map_err(|error| {
                damaged(
                    file,
                    "a tokenizer that does not truncate",
                    error.to_string(),
                )
            })?;
        settings.add_to(&mut inner)?;
        settings.set_splitting(&mut inner)?;
        let begin = settings.begin(|token| inner.token_to_id(token))?;
        let note = settings.note(&inner, begin)?;
        let mut tokenizer = Self::wrap(inner, file, begin);
        tokenizer.notes.extend(note);
        Ok(tokenizer)
    }

    /// Builds the tokenizer that a GGUF file describes in its metadata.
    ///
    /// Supported are byte-level vocabularies (`tokenizer.ggml.model` is `gpt2`) with the word
    /// splittings of the causal families, and those of SentencePiece (`llama`).
    ///
    /// # Errors
    ///
    /// E042 if a key is missing or of the wrong type, E047 if the tokenizer is of another kind or
    /// its parts do not fit together.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, FileError> {
        let Parts {
            inner,
            pieces,
            begin,
        } = gguf::tokenizer::read(gguf)?;
        Ok(Self {
            pieces,
            ..Self::wrap(inner, gguf.name(), begin)
        })
    }

    fn wrap(mut inner: tokenizers::Tokenizer, file: &str, begin: Begin) -> Self {
        let notes = harden(&mut inner).map(|dropout| {
            format!(
                "{file} leaves out merges at random (dropout {dropout}), which is for training; here none are, so that a \
                 text always has the same tokens"
            )
        });
        let bytes = inner
            .get_decoder()
            .is_some_and(is_byte_level)
            .then(byte_of_char);
        let added = inner.get_added_vocabulary().get_added_tokens_decoder();
        // Whether any does is the same in every order.
        #[allow(clippy::disallowed_methods)]
        let strips = added.values().any(|token| token.lstrip || token.rstrip);
        let lossless = bytes.is_some() && inner.get_normalizer().is_none() && !strips;
        Self {
            inner,
            file: file.to_owned(),
            bytes,
            lossless,
            pieces: None,
            begin,
            notes: notes.into_iter().collect(),
        }
    }

    /// Returns what is done otherwise than the files say, with the reason.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the number of tokens, special ones included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Returns the token with the greatest number among those that were not added to the
    /// vocabulary.
    #[must_use]
    pub fn last_of_vocabulary(&self) -> Option<u32> {
        // The greatest is the same in every order.
        #[allow(clippy::disallowed_methods)]
        self.inner.get_vocab(false).values().copied().max()
    }

    /// Returns the tokens of a text. None is added in front or behind; a special token that is
    /// spelled out in the text is one token.
    ///
    /// # Errors
    ///
    /// E047 if parts of the text have no token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, FileError> {
        let ids = self.split(text, false)?;
        if self.lossless {
            self.check_covered(text, &ids)?;
        }
        Ok(ids)
    }

    /// Returns the tokens of a text as the model was trained to see it begin: after a token that
    /// marks the beginning, if the model's files ask for one.
    ///
    /// # Errors
    ///
    /// E047 as for [`Tokenizer::encode`].
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, FileError> {
        let ids = self.encode(text)?;
        match self.begin {
            Begin::Nothing => Ok(ids),
            Begin::Token(id) => Ok([&[id], &ids[..]].concat()),
            Begin::Around { bos, eos } => Ok(bos.into_iter().chain(ids).chain(eos).collect()),
            Begin::PostProcessor => self.split(text, true),
        }
    }

    /// Returns the tokens of two texts as the model was trained to see a pair, and the type of each
    /// token.
    ///
    /// # Errors
    ///
    /// E047 as for [`Tokenizer::encode`], and if the model's files do not say what comes between
    /// two texts.
    pub fn encode_pair(
        &self,
        first: &str,
        second: &str,
    ) -> Result<(Vec<u32>, Vec<u32>), FileError> {
        [first, second]
            .map(|text| self.encode(text))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        let is_known = matches!(self.begin, Begin::PostProcessor) && self.pieces.is_none();
        let joins = self
            .inner
            .get_post_processor()
            .is_some_and(|processor| processor.added_tokens(true) > 0);
        let encoding = self.inner.encode_fast((first, second), true);
        match encoding {
            Ok(encoding) if is_known && joins => Ok((
                encoding.get_ids().to_vec(),
                encoding.get_type_ids().to_vec(),
            )),
            _ => Err(FileError::Tokenizer {
                file: self.file.clone(),
                expected: "a post-processor that puts two texts together".to_owned(),
                found: "none".to_owned(),
                advice: "give the model tokens, and their types".to_owned(),
            }),
        }
    }

    /// Returns the token that begins every prompt, if one does.
    ///
    /// # Errors
    ///
    /// E047 as for [`Tokenizer::encode`].
    pub fn begin_token(&self) -> Result<Option<u32>, FileError> {
        Ok(match self.begin {
            Begin::Nothing => None,
            Begin::Token(id) => Some(id),
            Begin::Around { bos, .. } => bos,
            Begin::PostProcessor => self.split("", true)?.first().copied(),
        })
    }

    fn split(&self, text: &str, post_process: bool) -> Result<Vec<u32>, FileError> {
        if let Some(pieces) = &self.pieces {
            return self.split_in_pieces(pieces, text);
        }
        let encoding = self.inner.encode_fast(text, post_process);
        match encoding {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(error) => Err(self.without_token(text).unwrap_or(FileError::Tokenizer {
                file: self.file.clone(),
                expected: "a text that can be tokenised".to_owned(),
                found: error.to_string(),
                advice: "change the text".to_owned(),
            })),
        }
    }

    /// Cuts added tokens out of a text, and splits what is between them.
    fn split_in_pieces(&self, pieces: &Pieces, text: &str) -> Result<Vec<u32>, FileError> {
        let added = self.inner.get_added_vocabulary();
        let cut = added.extract_and_normalize::<NormalizerWrapper>(None, text);
        let mut ids = Vec::new();
        for (part, (start, _), tokens) in
            cut.get_splits(OffsetReferential::Original, OffsetType::Byte)
        {
            match tokens {
                Some(tokens) => ids.extend(tokens.iter().map(|token| token.id)),
                None => ids.extend(pieces.split(part).map_err(|character| {
                    self.uncovered(text, start + part.find(character).unwrap_or(0))
                })?),
            }
        }
        Ok(ids)
    }

    /// Names the first character of a text that has no token by itself.
    fn without_token(&self, text: &str) -> Option<FileError> {
        let mut characters = text.char_indices();
        let fails = |character: char| {
            self.inner
                .encode_fast(character.to_string(), false)
                .is_err()
        };
        let (byte, _) = characters.find(|&(_, character)| fails(character))?;
        Some(self.uncovered(text, byte))
    }

    /// Says that the character at a byte of a text has no token.
    fn uncovered(&self, text: &str, byte: usize) -> FileError {
        let byte = text.floor_char_boundary(byte);
        let found = match text[byte..].chars().next() {
            Some(character) => format!(
                "none for {:?} (U+{:04X}) at byte {byte}",
                character.to_string(),
                u32::from(character)
            ),
            None => "more than the text".to_owned(),
        };
        FileError::Tokenizer {
            file: self.file.clone(),
            expected: "a token for every character of the text".to_owned(),
            found,
            advice: "leave this character out: the vocabulary has no token for it, and none for what is unknown".to_owned(),
        }
    }

    /// Returns the text of tokens, special ones included.
    ///
    /// Tokens can end within a character; what is then not UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    ///
    /// E047 if there is no such token.
    pub fn decode(&self, ids: &[u32]) -> Result<String, FileError> {
        if let Some(id) = ids.iter().find(|&&id| self.inner.id_to_token(id).is_none()) {
            return Err(FileError::Tokenizer {
                file: self.file.clone(),
                expected: format!("tokens below {}", self.vocab_size()),
                found: id.to_string(),
                advice: "use the tokenizer that belongs to the model".to_owned(),
            });
        }
        let text = self.inner.decode(ids, false);
        text.map_err(|error| damaged(&self.file, "tokens that can be decoded", error.to_string()))
    }

    /// Returns how a token reads, with its leading space.
    ///
    /// Of a token that ends within a character each byte reads like `<0xE2>`; an id without a
    /// token reads `<no token 49152>`.
    #[must_use]
    pub fn token_text(&self, id: u32) -> String {
        let Some(token) = self.inner.id_to_token(id) else {
            return format!("<no token {id}>");
        };
        if self.is_added(id) {
            return token;
        }
        match self.bytes_of(&token) {
            Some(bytes) => String::from_utf8(bytes).unwrap_or_else(|error| {
                error
                    .as_bytes()
                    .iter()
                    .map(|byte| format!("<0x{byte:02X}>"))
                    .collect()
            }),
            // Tokenizers that are not byte-level write a space as U+2581.
            None => token.replace('\u{2581}', " "),
        }
    }

    /// Returns whether a token is a command to the model rather than text.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        added.get(&id).is_some_and(|token| token.special)
    }

    /// Returns the token of a text that is exactly one.
    ///
    /// # Errors
    ///
    /// E050, which shows how the text splits, if it is none or several; E047 as for
    /// [`Tokenizer::encode`].
    pub fn single(&self, text: &str) -> Result<u32, FileError> {
        match self.encode(text)?[..] {
            [id] => Ok(id),
            ref ids => Err(FileError::NotOneToken {
                file: self.file.clone(),
                text: text.to_owned(),
                pieces: ids.iter().map(|&id| self.token_text(id)).collect(),
            }),
        }
    }

    fn is_added(&self, id: u32) -> bool {
        self.inner
            .get_added_vocabulary()
            .get_added_tokens_decoder()
            .contains_key(&id)
    }

    /// The bytes of a byte-level token.
    fn bytes_of(&self, token: &str) -> Option<Vec<u8>> {
        let bytes = self.bytes.as_ref()?;
        token
            .chars()
            .map(|character| bytes.get(&character).copied())
            .collect()
    }

    fn check_covered(&self, text: &str, ids: &[u32]) -> Result<(), FileError> {
        let mut covered = Vec::with_capacity(text.len());
        for &id in ids {
            let token = self.inner.id_to_token(id).unwrap_or_default();
            match self.bytes_of(&token).filter(|_| !self.is_added(id)) {
                Some(bytes) => covered.extend(bytes),
                None => covered.extend(token.as_bytes()),
            }
        }
        // Some tokenizers put a space in front of every text.
        let spaced = covered.strip_prefix(b" ").unwrap_or(&covered);
        if covered == text.as_bytes() || spaced == text.as_bytes() {
            return Ok(());
        }
        let same = covered
            .iter()
            .zip(text.as_bytes())
            .take_while(|(a, b)| a == b)
            .count();
        Err(self.uncovered(text, same))
    }
}

/// Switches off what would make the tokens of a text depend on chance, and returns how much that
/// was; lets a character without a token fail that would be left out.
fn harden(tokenizer: &mut tokenizers::Tokenizer) -> Option<f32> {
    let ModelWrapper::BPE(model) = tokenizer.get_model() else {
        return None;
    };
    let dropout = model.dropout.filter(|&dropout| dropout != 0.0);
    if dropout.is_none() && model.unk_token.is_some() {
        return None;
    }
    let mut model = model.clone();
    model.dropout = None;
    if model.unk_token.is_none() {
        // With the name of a token that is not there the model fails where it would leave out.
        let mut name = "<no token>".to_owned();
        while model.token_to_id(&name).is_some() {
            name.push('>');
        }
        model.unk_token = Some(name);
    }
    tokenizer.with_model(model);
    dropout
}

/// The parts of a `tokenizer.json` that the tokenizers crate believes without a check.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct JsonFile {
    model: JsonModel,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct JsonModel {
    r#type: Option<String>,
    #[serde(default)]
    vocab: serde_json::Value,
    #[serde(default)]
    merges: Vec<JsonMerge>,
    continuing_subword_prefix: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JsonMerge {
    Line(String),
    Pair(String, String),
}

fn check_json(text: &str, file: &str) -> Result<(), FileError> {
    let json: JsonFile = serde_json::from_str(text)
        .map_err(|error| damaged(file, "a valid tokenizer.json", error.to_string()))?;
    let model = json.model;
    match model.r#type.as_deref().unwrap_or("BPE") {
        "BPE" => {}
        // They index by nothing that a file says.
        "WordPiece" | "WordLevel" | "Unigram" => return Ok(()),
        kind => {
            let expected =
                "a tokenizer of one of the models `BPE`, `WordPiece`, `WordLevel`, `Unigram`";
            return Err(other_kind(file, expected, kind));
        }
    }
    let vocab: BTreeMap<String, u32> = serde_json::from_value(model.vocab).map_err(|error| {
        damaged(
            file,
            "a vocabulary from tokens to numbers",
            error.to_string(),
        )
    })?;
    let ids: BTreeSet<u32> = vocab.values().copied().collect();
    if ids.len() != vocab.len() || vocab.len() > MAX_VOCABULARY {
        let expected = format!("at most {MAX_VOCABULARY} tokens with a number each");
        let found = format!("{} tokens with {} numbers", vocab.len(), ids.len());
        return Err(damaged(file, &expected, found));
    }
    let prefix = model.continuing_subword_prefix.unwrap_or_default();
    for (number, merge) in model.merges.iter().enumerate() {
        let pair = match merge {
            JsonMerge::Line(line) => line.split_once(' '),
            JsonMerge::Pair(left, right) => Some((left.as_str(), right.as_str())),
        };
        let joins = pair.is_some_and(|(left, right)| {
            let joined = right
                .strip_prefix(&prefix)
                .map(|rest| [left, rest].concat());
            let joined = joined.is_some_and(|joined| vocab.contains_key(&joined));
            joined && vocab.contains_key(left) && vocab.contains_key(right)
        });
        if !joins {
            let found = pair.map_or_else(
                || "no pair".to_owned(),
                |(left, right)| format!("{left:?} and {right:?}"),
            );
            let expected = format!("merge {number} to join two tokens into a third");
            return Err(damaged(file, &expected, found));
        }
    }
    Ok(())
}

fn is_byte_level(decoder: &DecoderWrapper) -> bool {
    match decoder {
        DecoderWrapper::ByteLevel(_) => true,
        DecoderWrapper::Sequence(steps) => steps.get_decoders().iter().any(is_byte_level),
        _ => false,
    }
}

/// What the characters of byte-level tokens stand for: printable Latin-1 for itself, the other
/// bytes in order for the characters from U+0100 on (`bytes_to_unicode` of GPT-2's `encoder.py`).
fn byte_of_char() -> BTreeMap<char, u8> {
    let mut others = 0x100_u32..;
    (0..=u8::MAX)
        .filter_map(|byte| {
            let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
            let code = if printable {
                Some(byte.into())
            } else {
                others.next()
            };
            code.and_then(char::from_u32)
                .map(|character| (character, byte))
        })
        .collect()
}

pub(super) fn damaged(file: &str, expected: &str, found: impl Into<String>) -> FileError {
    FileError::Tokenizer {
        file: file.to_owned(),
        expected: expected.to_owned(),
        found: found.into(),
        advice: "fetch the file again".to_owned(),
    }
}

pub(super) fn other_kind(file: &str, expected: &str, found: &str) -> FileError {
    FileError::Tokenizer {
        file: file.to_owned(),
        expected: expected.to_owned(),
        found: format!("{found:?}"),
        advice:
            "use the model as a folder with config.json, *.safetensors and a tokenizer.json of \
                 the model BPE"
                .to_owned(),
    }
}

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
mod tests;
