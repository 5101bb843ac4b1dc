//! Batches of a language model: prompts or images, and what the model makes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData};
use interloom_backends::{ModelError, declare_padding};
use interloom_engine::{Padding, PaddingSide};

use super::{LanguageModel, LanguageModelError, input, is_below};
use crate::sampling::{Draw, DrawnRow, Sampling};

impl LanguageModel {
    /// Makes a batch of one text.
    ///
    /// # Errors
    ///
    /// As for [`encode`](Self::encode).
    pub fn prompt(&self, text: &str) -> Result<TokenBatch<'_>, LanguageModelError> {
        let tokens = self.encode(text)?;
        Ok(self.batch(&[&tokens])?)
    }

    /// Makes a batch of prompts. Those that are shorter than the longest are padded, and a row of
    /// logits, and what mediators see of it, is that of the prompt alone as far as the arithmetic
    /// allows.
    ///
    /// # Errors
    ///
    /// [`ModelError::Input`] if there is no prompt, one is empty, they differ in length and the
    /// model does not [take padding](crate::CausalLm::padding_side), do not fit into the model's
    /// positions, or have a token that the model does not know.
    pub fn batch(&self, prompts: &[&[u32]]) -> Result<TokenBatch<'_>, ModelError> {
        let lengths: Vec<usize> = prompts.iter().map(|prompt| prompt.len()).collect();
        let missing = match lengths[..] {
            [] => Some("no prompt, at least one is expected".to_owned()),
            [0] => Some("a prompt of 0 tokens, at least 1 is expected".to_owned()),
            _ if lengths.contains(&0) => Some(format!(
                "prompts of {lengths:?} tokens, at least 1 in each is expected"
            )),
            _ => None,
        };
        if let Some(what) = missing {
            return Err(input(what, "give it some text"));
        }
        if let Some(images) = self.model.images() {
            let what = format!("tokens, but the model `{}` takes images", self.name);
            let instead = format!("give it pixels {:?}", images.size());
            return Err(input(what, &instead));
        }
        let side = self.model.padding_side();
        let counts = lengths.iter().map(|&length| length as u32);
        let padding = Padding::new(side.unwrap_or(PaddingSide::Left), counts);
        if padding.is_some() && side.is_none() {
            let what = format!(
                "the prompts of a batch have {lengths:?} tokens, and the model `{}` takes no padding",
                self.name
            );
            return Err(input(
                what,
                "run them one by one, or make them equally long",
            ));
        }
        let batch = TokenBatch {
            lm: self,
            copies: copies_of(prompts),
            prompts: prompts.iter().map(|prompt| prompt.to_vec()).collect(),
            padding,
            beside: Beside::Nothing,
        };
        let batch = batch.with_room(0)?;
        let known = self.model.vocabulary();
        let unknown = |token: &&u32| !is_below(**token, known);
        match batch.prompts.iter().flatten().find(unknown) {
            Some(token) => Err(match &self.tokenizer {
                Some(tokenizer) => {
                    let text = tokenizer.token_text(*token);
                    let what =
                        format!("token {token}, {text:?}, but the model knows {known} tokens");
                    input(what, "leave it out, there is no embedding for it")
                }
                None => {
                    let what = format!("token {token}, but the model knows {known} tokens");
                    input(what, &format!("they are 0 to {}", known.saturating_sub(1)))
                }
            }),
            None => Ok(batch),
        }
    }

    /// Makes a batch of images, each of the pixels `[channel, height, width]` as the model sees
    /// them: scaled and normalized. The positions of a row are those in which the model divides an
    /// image.
    ///
    /// # Errors
    ///
    /// [`ModelError::Input`] if there is none, they are not as large as those of the model, or it
    /// takes none.
    pub fn images(&self, images: &[Pixels]) -> Result<TokenBatch<'_>, ModelError> {
        let Some(model) = self.model.images() else {
            let what = format!("images, but the model `{}` takes tokens", self.name);
            return Err(input(what, "give it some text"));
        };
        let size = model.size();
        let expected: usize = size.iter().product();
        let other = images.iter().find(|pixels| pixels.len() != expected);
        match (other, images.len()) {
            (None, 1..) => {}
            (Some(pixels), _) => {
                let what = format!("an image of {} numbers", pixels.len());
                return Err(input(what, &format!("give it pixels {size:?}")));
            }
            (None, _) => return Err(input("no image".to_owned(), "give it at least one")),
        }
        let positions: Vec<u32> = (0..self.model.positions() as u32).collect();
        Ok(TokenBatch {
            lm: self,
            copies: vec![0; images.len()],
            prompts: vec![positions; images.len()],
            padding: None,
            beside: Beside::Pixels(images.to_vec()),
        })
    }
}

/// The pixels of an image, `[channel, height, width]`.
pub type Pixels = Arc<[f32]>;

/// What the rows of a batch have beside their tokens.
#[derive(Clone, Debug)]
enum Beside {
    Nothing,
    /// The types of the tokens of each row.
    Types(Vec<Vec<u32>>),
    /// The image that each row is.
    Pixels(Vec<Pixels>),
}

/// Prompts that fit the language model that made the batch.
#[derive(Clone, Debug)]
pub struct TokenBatch<'m> {
    lm: &'m LanguageModel,
    /// At least one, each of at least one token.
    prompts: Vec<Vec<u32>>,
    padding: Option<Padding>,
    beside: Beside,
    /// How many prompts are before each one that are equal to it.
    copies: Vec<u64>,
}

/// The token at padded places, which no row sees.
const PADDING: u32 = 0;

impl<'m> TokenBatch<'m> {
    /// Returns the tokens of each prompt.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.prompts.iter().map(Vec::as_slice)
    }

    /// Returns which positions of the prompts are padding, if they differ in length.
    ///
    /// The run that [`logits`](Self::logits) or [`generate`](Self::generate) is called in knows it
    /// from there. One whose model a journal stands in for has to be told
    /// ([`Run::padding`](interloom_backends::Run::padding)).
    pub const fn padding(&self) -> Option<&Padding> {
        self.padding.as_ref()
    }

    /// Returns how many tokens the longest prompt has.
    fn length(&self) -> usize {
        self.prompts.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Returns how many tokens the model could add to each prompt.
    pub fn room(&self) -> usize {
        match self.lm.model.continues() {
            true => self.lm.positions().saturating_sub(self.length()),
            false => 0,
        }
    }

    /// Returns the batch if the model has positions for `new` more tokens.
    ///
    /// # Errors
    ///
    /// [`ModelError::Input`] if it has not.
    pub fn with_room(self, new: usize) -> Result<Self, ModelError> {
        let (length, positions) = (self.length(), self.lm.model.positions());
        if new > 0 && !self.lm.model.continues() {
            let what = format!(
                "{new} new tokens of the model `{}`, which {} and continues no text",
                self.lm.name,
                match self.lm.model.images() {
                    Some(_) => "takes images",
                    None => "fills in masked ones",
                }
            );
            return Err(input(what, "ask for its logits"));
        }
        let tokens = length.saturating_add(new);
        let limit = self.lm.limit;
        if tokens > limit && tokens <= positions {
            return Err(ModelError::Limit {
                tokens,
                limit,
                positions,
            });
        }
        if tokens > positions {
            let what = format!(
                "{length} tokens and {new} new ones, but the model has {positions} positions"
            );
            return Err(input(what, "shorten the prompt"));
        }
        Ok(self)
    }

    /// Gives the tokens of each row types, as the two texts of a pair have in BERT. Without, all
    /// tokens are of the first type.
    ///
    /// # Errors
    ///
    /// [`ModelError::Input`] if the model's tokens have no types, there is not one for each token,
    /// or there is another one than the model knows.
    pub fn with_types(self, types: &[&[u32]]) -> Result<Self, ModelError> {
        let Some(typed) = self.lm.model.typed() else {
            let what = format!(
                "types of tokens, which the model `{}` has not",
                self.lm.name
            );
            return Err(input(what, "leave them out"));
        };
        let lengths = |rows: &mut dyn Iterator<Item = &[u32]>| rows.map(<[u32]>::len).collect();
        let expected: Vec<usize> = lengths(&mut self.rows());
        let found: Vec<usize> = lengths(&mut types.iter().copied());
        if expected != found {
            let what = format!("types of {found:?} tokens");
            return Err(input(what, &format!("give it those of {expected:?}")));
        }
        let known = typed.types();
        match types
            .iter()
            .copied()
            .flatten()
            .find(|&&kind| !is_below(kind, known))
        {
            Some(kind) => {
                let what = format!("a token of type {kind}, but the model knows {known} types");
                Err(input(what, "they are counted from 0"))
            }
            None => {
                let types = types.iter().map(|row| row.to_vec()).collect();
                Ok(Self {
                    beside: Beside::Types(types),
                    ..self
                })
            }
        }
    }

    /// Computes `[batch, position, token]` logits; where the prompts are
    /// [padded](Self::padding), those of padding mean nothing. Those of images are `[batch, 1,
    /// class]`.
    pub fn logits(&self) -> Tensor<3> {
        let model = &self.lm.model;
        declare_padding(self.lm.sites(), self.padding());
        match (&self.beside, model.typed(), model.images(), self.padding()) {
            (Beside::Types(types), Some(model), _, padding) => {
                model.forward_typed(self.tokens(), self.padded(types), padding)
            }
            (Beside::Pixels(images), _, Some(model), _) => {
                let [channels, height, width] = model.size();
                let shape = [images.len(), channels, height, width];
                let data = TensorData::new(images.concat(), shape);
                model.forward_images(Tensor::from_data(data, &self.lm.device))
            }
            (.., None) => model.forward(self.tokens()),
            (.., padding) => model.padded_decoder(self.length(), padding)(self.tokens()),
        }
    }

    /// Numbers the copies of a prompt otherwise than in the order of the batch: for rows that are
    /// to draw what they draw without some of the others.
    ///
    /// # Errors
    ///
    /// [`ModelError::Input`] if there is not one number for each prompt.
    pub fn copies(self, copies: Vec<u64>) -> Result<Self, ModelError> {
        let (found, expected) = (copies.len(), self.prompts.len());
        if found == expected {
            Ok(Self { copies, ..self })
        } else {
            let what = format!("numbers of {found} copies, and {expected} prompts");
            Err(input(what, "give each prompt its number"))
        }
    }

    /// Continues each prompt greedily by up to `new` tokens, and returns those of each.
    ///
    /// A prompt is complete with an end-of-text token, and all are where the model has no more
    /// positions ([`with_room`](Self::with_room) refuses that before). The prompts are
    /// iteration 0 of every site, each further token one more. A prompt that is complete stays as
    /// it is: it is given its last token again for as long as others are not.
    pub fn generate(&self, new: usize) -> Vec<Vec<u32>> {
        self.go_on(new, |logits, _, _| Draw {
            token: largest_of(logits),
            probability: 1.0,
        })
    }

    /// Continues each prompt as [`generate`](Self::generate) does, by tokens that are drawn.
    ///
    /// What was drawn, from which probability, passes the site [`DRAWS`](super::DRAWS).
    pub fn sample(&self, new: usize, sampling: &Sampling) -> Vec<Vec<u32>> {
        self.go_on(new, |logits, row, step| {
            let prompt = &self.prompts[row];
            let copy = self.copies[row];
            sampling.draw(logits, DrawnRow { prompt, copy }, step)
        })
    }

    /// Continues each prompt by tokens that are chosen by the logits of a row, its number and the
    /// step.
    fn go_on(&self, new: usize, choose: impl Fn(&[f32], usize, u64) -> Draw) -> Vec<Vec<u32>> {
        let new = new.min(self.room());
        let mut generated = vec![Vec::with_capacity(new); self.rows().len()];
        declare_padding(self.lm.sites(), self.padding());
        let positions = self.length() + new;
        let mut decode = match self.padding() {
            None => self.lm.model.decoder(positions),
            padding => self.lm.model.padded_decoder(positions, padding),
        };
        let mut tokens = self.tokens();
        for step in 0..new {
            let logits = last_of(decode(tokens));
            let rows = logits.iter().zip(&generated).enumerate();
            let draws = rows.map(|(number, (logits, row))| match row.last() {
                Some(&token) if self.is_complete(row) => Draw {
                    token,
                    probability: 1.0,
                },
                _ => choose(logits, number, step as u64),
            });
            let next = self.pass(draws.collect());
            for (row, token) in generated.iter_mut().zip(next) {
                if !self.is_complete(row) {
                    row.push(token);
                }
            }
            if generated.iter().all(|row| self.is_complete(row)) {
                break;
            }
            let last: Vec<u32> = generated
                .iter()
                .filter_map(|row| row.last().copied())
                .collect();
            tokens = self.tensor(last);
        }
        generated
    }

    /// Passes draws through their site, and returns the tokens that come of it.
    fn pass(&self, draws: Vec<Draw>) -> Vec<u32> {
        let passed = self.lm.draws.as_ref().and_then(|tap| {
            tap.pass_if_awaited(|| {
                let tokens: Vec<i32> = draws.iter().map(|draw| draw.token as i32).collect();
                let shares: Vec<f32> = draws.iter().map(|draw| draw.probability as f32).collect();
                let device = &self.lm.device;
                let tokens = Tensor::<1, Int>::from_data(&tokens[..], device);
                (tokens, Tensor::<1>::from_data(&shares[..], device))
            })
        });
        match passed {
            Some((tokens, _)) => tokens.into_data().iter::<u32>().collect(),
            None => draws.iter().map(|draw| draw.token).collect(),
        }
    }

    fn is_complete(&self, generated: &[u32]) -> bool {
        let last = generated.last();
        last.is_some_and(|token| self.lm.end_tokens.contains(token))
    }

    /// Makes the `[batch, position]` tensor of the prompts, padded to one length.
    fn tokens(&self) -> Tensor<2, Int> {
        self.padded(&self.prompts)
    }

    /// Makes the `[batch, position]` tensor of rows that are as long as the prompts.
    fn padded(&self, rows: &[Vec<u32>]) -> Tensor<2, Int> {
        let length = self.length();
        let mut tokens = Vec::with_capacity(rows.len() * length);
        for prompt in rows {
            let padding = std::iter::repeat_n(PADDING, length - prompt.len());
            match self.padding().map(Padding::side) {
                Some(PaddingSide::Right) => tokens.extend(prompt.iter().copied().chain(padding)),
                _ => tokens.extend(padding.chain(prompt.iter().copied())),
            }
        }
        self.tensor(tokens)
    }

    /// Makes the `[batch, position]` tensor of equally long rows.
    fn tensor(&self, tokens: Vec<u32>) -> Tensor<2, Int> {
        let rows = self.rows().len();
        let tokens: Vec<i32> = tokens.into_iter().map(|token| token as i32).collect();
        let shape = [rows, tokens.len() / rows];
        Tensor::from_data(TensorData::new(tokens, shape), &self.lm.device)
    }
}

/// Returns the logits at the last position of each row.
fn last_of(logits: Tensor<3>) -> Vec<Vec<f32>> {
    let [rows, positions, tokens] = logits.dims();
    let last = logits
        .slice([0..rows, positions - 1..positions, 0..tokens])
        .into_data();
    let last: Vec<f32> = last.iter::<f32>().collect();
    last.chunks(tokens).map(<[f32]>::to_vec).collect()
}

/// Returns how many prompts are before each one that are equal to it.
fn copies_of(prompts: &[&[u32]]) -> Vec<u64> {
    let mut seen: BTreeMap<&[u32], u64> = BTreeMap::new();
    let mut copies = Vec::with_capacity(prompts.len());
    for &prompt in prompts {
        let count = seen.entry(prompt).or_default();
        copies.push(*count);
        *count += 1;
    }
    copies
}

/// Returns the most likely token; the lowest of equals.
fn largest_of(row: &[f32]) -> u32 {
    let better = |best: usize, index: usize| if row[index] > row[best] { index } else { best };
    (1..row.len()).fold(0, better) as u32
}
