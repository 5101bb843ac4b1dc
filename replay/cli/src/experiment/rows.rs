//! The rows of an experiment's inputs: tokens, with types or not, and images.

use std::path::Path;

use interloom_models::Pixels;

use super::error::ExperimentError;
use super::plan::{Content, Input, Plan};
use super::subject::{NotEncoded, Subject};
use super::tensors;

/// The rows of one input.
pub(super) struct Rows {
    pub(super) name: String,
    /// The tokens of each row; those of an image are the numbers of its positions.
    pub(super) tokens: Vec<Vec<u32>>,
    pub(super) beside: Beside,
}

/// What rows have beside their tokens.
pub(super) enum Beside {
    Nothing,
    /// The types of the tokens of each row.
    Types(Vec<Vec<u32>>),
    /// The image that each row is.
    Images(Vec<Pixels>),
}

/// A row, as a model is given it.
#[derive(Clone, Copy)]
pub(super) struct RowRef<'a> {
    pub(super) tokens: &'a [u32],
    pub(super) types: Option<&'a [u32]>,
    pub(super) image: Option<&'a Pixels>,
}

impl<'a> RowRef<'a> {
    /// Returns its first tokens; an image is not cut.
    pub(super) fn cut(self, length: usize) -> Self {
        match self.image {
            Some(_) => self,
            None => Self {
                tokens: &self.tokens[..length],
                types: self.types.map(|types| &types[..length]),
                image: None,
            },
        }
    }

    pub(super) fn len(self) -> usize {
        self.tokens.len()
    }
}

impl Rows {
    /// Reads the rows of an input; files are looked for in `folder`.
    pub(super) fn of(
        plan: &Plan,
        input: &Input,
        subject: &Subject,
        folder: &Path,
    ) -> Result<Self, ExperimentError> {
        let at = || plan.source.spot(input.at);
        let not_encoded = |reason: NotEncoded| reason.at(at());
        let of_tensor = |tensor: &String, reason| ExperimentError::Tensor {
            at: at(),
            tensor: tensor.clone(),
            reason,
        };
        let recorded = subject.recorded_rows(&input.name);
        let rows = |tokens: Vec<Vec<u32>>, beside: Beside| Self {
            name: input.name.clone(),
            tokens,
            beside,
        };
        // Those of each row are compared with its tokens when it is in a batch.
        let typed = |tokens: &[Vec<u32>]| match &input.types {
            None => Ok(Beside::Nothing),
            Some(types) if types.len() == tokens.len() => Ok(Beside::Types(types.clone())),
            Some(types) => Err(ExperimentError::Input {
                at: at(),
                reason: format!(
                    "types of {} rows; give it those of {}",
                    types.len(),
                    tokens.len()
                ),
            }),
        };
        Ok(match (&input.content, recorded) {
            (Content::Tokens(tokens), _) => rows(tokens.clone(), typed(tokens)?),
            // No model is called on them.
            (_, Some(recorded)) => rows(recorded, Beside::Nothing),
            (Content::Prompt(prompt), None) => {
                let tokens = subject.encode(prompt).map_err(not_encoded)?;
                rows(vec![tokens], Beside::Nothing)
            }
            (Content::Pair(pair), None) => {
                let (tokens, types) = subject.encode_pair(pair).map_err(not_encoded)?;
                rows(vec![tokens], Beside::Types(vec![types]))
            }
            (Content::Chat(chat), None) => {
                let text = subject.chat(chat);
                let tokens = text.and_then(|text| subject.encode_whole(&text));
                rows(vec![tokens.map_err(not_encoded)?], Beside::Nothing)
            }
            (Content::Tensor(tensor), None) => {
                let tokens = tensors::rows(folder, tensor);
                let tokens = tokens.map_err(|reason| of_tensor(tensor, reason))?;
                let beside = typed(&tokens)?;
                rows(tokens, beside)
            }
            (Content::Pixels(tensor), None) => {
                let size = subject.image().map_err(not_encoded)?;
                let images = tensors::images(folder, tensor, size);
                let images = images.map_err(|reason| of_tensor(tensor, reason))?;
                let positions: Vec<u32> = (0..subject.positions()).collect();
                rows(vec![positions; images.len()], Beside::Images(images))
            }
        })
    }

    /// Iterates over the rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = RowRef<'_>> {
        self.tokens
            .iter()
            .enumerate()
            .map(|(place, tokens)| RowRef {
                tokens,
                types: match &self.beside {
                    Beside::Types(types) => types.get(place).map(Vec::as_slice),
                    Beside::Nothing | Beside::Images(_) => None,
                },
                image: match &self.beside {
                    Beside::Images(images) => images.get(place),
                    Beside::Nothing | Beside::Types(_) => None,
                },
            })
    }

    /// Returns what a row is called.
    pub(super) fn label(&self, place: usize) -> String {
        self.label_of(&self.name, place)
    }

    /// Returns what a row is called whose owner has this name.
    pub(super) fn label_of(&self, name: &str, place: usize) -> String {
        match self.tokens.len() {
            1 => name.to_owned(),
            _ => format!("{name}.{place}"),
        }
    }
}
