//! The shape of a datum, as far as it is known before a run.

use std::fmt;

use crate::form::{Form, listed, named};

/// How many tensors and numbers the structure of a value may have in it; of larger ones nothing is
/// known.
const LEAVES_MAX: usize = 1 << 10;

/// What is known of a datum.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Unknown,
    Number,
    /// A list of the program's.
    List,
    Tensor(Vec<u64>),
    Tuple(Vec<Shape>),
    /// A list that is a value of the model's.
    Values(Vec<Shape>),
    Map(Vec<(String, Shape)>),
}

impl Shape {
    /// Makes a tuple, a list or a map that is not too large to be kept.
    pub(super) fn parts(self) -> Self {
        match self.leaves() > LEAVES_MAX {
            true => Self::Unknown,
            false => self,
        }
    }

    fn leaves(&self) -> usize {
        match self {
            Self::Tuple(items) | Self::Values(items) => items.iter().map(Self::leaves).sum(),
            Self::Map(items) => items.iter().map(|(_, item)| item.leaves()).sum(),
            Self::Unknown | Self::Number | Self::List | Self::Tensor(_) => 1,
        }
    }

    /// Returns the form of a tensor, or of a tuple of tensors; of all else nothing is asked.
    pub(super) fn form(&self) -> Option<Form> {
        match self {
            Self::Tensor(shape) => Some(Form::Tensor(shape.clone())),
            Self::Tuple(items) => {
                let items = items.iter().map(Self::form);
                items.collect::<Option<_>>().map(Form::Tuple)
            }
            _ => None,
        }
    }

    /// Returns whether this is a tuple, a list of the model's or a map.
    pub(super) const fn has_parts(&self) -> bool {
        matches!(self, Self::Tuple(_) | Self::Values(_) | Self::Map(_))
    }

    /// Returns whether a value of this shape is certainly no value of that form.
    pub(super) fn is_unlike(&self, form: &Form) -> bool {
        let all_alike = |items: &[Self], forms: &[Form]| {
            let mut pairs = items.iter().zip(forms);
            items.len() == forms.len() && pairs.all(|(item, form)| !item.is_unlike(form))
        };
        match (self, form) {
            (Self::Unknown | Self::List, _) | (Self::Number, Form::Other) => false,
            (Self::Tensor(own), Form::Tensor(other)) => own != other,
            (Self::Tuple(items), Form::Tuple(forms)) | (Self::Values(items), Form::List(forms)) => {
                !all_alike(items, forms)
            }
            (Self::Map(items), Form::Map(forms)) => {
                // In which order their names are is for the value to say.
                let is_unlike = |(name, item): &(String, Self)| {
                    let form = forms.iter().find(|(other, _)| other == name);
                    form.is_none_or(|(_, form)| item.is_unlike(form))
                };
                items.len() != forms.len() || items.iter().any(is_unlike)
            }
            _ => true,
        }
    }
}

impl From<Form> for Shape {
    fn from(form: Form) -> Self {
        let all = |forms: Vec<Form>| forms.into_iter().map(Self::from).collect();
        let shape = match form {
            Form::Tensor(shape) => Self::Tensor(shape),
            Form::Tuple(items) => Self::Tuple(all(items)),
            Form::List(items) => Self::Values(all(items)),
            Form::Map(items) => {
                let items = items.into_iter();
                Self::Map(items.map(|(name, form)| (name, form.into())).collect())
            }
            // It may be a number.
            Form::Other => Self::Unknown,
        };
        shape.parts()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("something"),
            Self::Number => f.write_str("a number"),
            Self::List => f.write_str("a list"),
            Self::Tensor(shape) => write!(f, "a tensor {shape:?}"),
            Self::Tuple(items) => write!(f, "a tuple ({})", listed(items)),
            Self::Values(items) => write!(f, "a list [{}]", listed(items)),
            Self::Map(items) => write!(f, "a map {{{}}}", listed(items.iter().map(named))),
        }
    }
}
