//! What an experiment has saved, as plain data: to show, to write to a file, and to give to later
//! programs.

use std::fmt;

use burn::tensor::TensorData;
use interloom_backends::{Value, dtype_name};
use interloom_program::Datum;
use serde_json::json;

/// How many numbers of a tensor are shown.
const SHOWN_MAX: usize = 4;

/// Something that was saved: a number, a text, or a tensor.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Kept {
    /// A number.
    Number(f64),
    /// What else is no tensor, as text.
    Text(String),
    /// A tensor.
    Tensor(TensorData),
}

/// A tensor in a few numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The length of each dimension.
    pub shape: Vec<usize>,
    /// The type of the elements.
    pub dtype: &'static str,
    /// The mean of the elements, in double precision; nothing of an empty tensor.
    pub mean: Option<f64>,
    /// The least element.
    pub min: Option<f64>,
    /// The greatest element.
    pub max: Option<f64>,
    /// The first elements.
    pub first: Vec<f64>,
}

impl Summary {
    /// Returns the summary of a tensor.
    pub fn of(data: &TensorData) -> Self {
        let numbers: Vec<f64> = data.iter::<f64>().collect();
        let count = numbers.len() as f64;
        Self {
            shape: data.shape().to_vec(),
            dtype: dtype_name(data.dtype()),
            mean: (count > 0.0).then(|| numbers.iter().sum::<f64>() / count),
            min: numbers.iter().copied().reduce(f64::min),
            max: numbers.iter().copied().reduce(f64::max),
            first: numbers.into_iter().take(SHOWN_MAX).collect(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.dtype, self.shape)?;
        if let (Some(mean), Some(min), Some(max)) = (self.mean, self.min, self.max) {
            write!(f, "  mean {mean:.4}  min {min:.4}  max {max:.4}  [")?;
            let first: Vec<String> = self
                .first
                .iter()
                .map(|number| format!("{number:.4}"))
                .collect();
            f.write_str(&first.join(", "))?;
            let count: usize = self.shape.iter().product();
            let more = if count > self.first.len() {
                ", …]"
            } else {
                "]"
            };
            f.write_str(more)?;
        }
        Ok(())
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
            Self::Tensor(data) => Summary::of(data).fmt(f),
        }
    }
}

impl Kept {
    /// Returns a number, a text, or the summary of a tensor as JSON; a number that JSON does not
    /// have is a text.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Number(number) => number_to_json(*number),
            Self::Text(text) => json!(text),
            Self::Tensor(data) => {
                let summary = Summary::of(data);
                let number = |number: Option<f64>| number.map(number_to_json);
                let first = summary.first.iter().copied().map(number_to_json);
                json!({
                    "dtype": summary.dtype,
                    "shape": summary.shape,
                    "mean": number(summary.mean),
                    "min": number(summary.min),
                    "max": number(summary.max),
                    "first": first.collect::<Vec<_>>(),
                })
            }
        }
    }
}

/// Returns a number as JSON, or as a text if JSON does not have it.
pub(crate) fn number_to_json(number: f64) -> serde_json::Value {
    match number.is_finite() {
        true => json!(number),
        false => json!(number.to_string()),
    }
}

/// Takes something that was saved apart: each number and tensor in it with its name.
pub(super) fn leaves(name: &str, datum: &Datum<Value>) -> Vec<(String, Kept)> {
    let mut all = Vec::new();
    datum_leaves(name, datum, &mut all);
    all
}

/// Takes a value apart in the same way.
pub(super) fn value_leaves(name: &str, value: &Value, into: &mut Vec<(String, Kept)>) {
    let kept = match value {
        Value::Tensor(tensor) => Kept::Tensor(tensor.to_data()),
        Value::Float(number) => Kept::Number(*number),
        Value::Int(number) => Kept::Number(*number as f64),
        Value::Tuple(items) | Value::List(items) => {
            for (place, item) in items.iter().enumerate() {
                value_leaves(&format!("{name}.{place}"), item, into);
            }
            return;
        }
        Value::Map(entries) => {
            for (key, item) in entries.iter() {
                value_leaves(&format!("{name}.{key}"), item, into);
            }
            return;
        }
        other => Kept::Text(other.to_string()),
    };
    into.push((name.to_owned(), kept));
}

fn datum_leaves(name: &str, datum: &Datum<Value>, into: &mut Vec<(String, Kept)>) {
    match datum {
        Datum::Number(number) => into.push((name.to_owned(), Kept::Number(*number))),
        Datum::Value(value) => value_leaves(name, value, into),
        Datum::List(items) => {
            for (place, item) in items.iter().enumerate() {
                datum_leaves(&format!("{name}.{place}"), item, into);
            }
        }
    }
}

/// Returns what was saved as a value that another program can be given; a list stays one.
pub(super) fn as_value(datum: &Datum<Value>) -> Value {
    match datum {
        Datum::Number(number) => Value::Float(*number),
        Datum::Value(value) => value.clone(),
        Datum::List(items) => Value::List(items.iter().map(as_value).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_is_summarised() {
        let data = TensorData::new(vec![1.0f32, -2.0, 3.0, 4.0, 5.5, 0.5], [2, 3]);
        insta::assert_snapshot!(Summary::of(&data), @"f32 [2, 3]  mean 2.0000  min -2.0000  max 5.5000  [1.0000, -2.0000, 3.0000, 4.0000, …]");
        let empty = TensorData::new(Vec::<f32>::new(), [0, 3]);
        insta::assert_snapshot!(Summary::of(&empty), @"f32 [0, 3]");
        let json = Kept::Tensor(TensorData::new(vec![f32::NAN], [1])).to_json();
        insta::assert_snapshot!(json, @r#"{"dtype":"f32","first":["NaN"],"max":"NaN","mean":"NaN","min":"NaN","shape":[1]}"#);
    }
}
