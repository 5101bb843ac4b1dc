//! Calls of a model's modules on values: the value as the module takes it, or a fault that says
//! how.

use burn::tensor::{Int, Tensor};
use interloom_backends::Value;
use interloom_engine::{Fault, Padding};

/// What a module takes, and what it makes of that.
#[derive(Clone, Copy)]
pub(super) struct Callable {
    /// Whether it takes tokens, `[batch, position]`, rather than the residual stream.
    pub(super) tokens: bool,
    /// Whether it makes logits rather than the residual stream.
    pub(super) logits: bool,
}

/// What the modules of a model have in common.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) width: usize,
    /// How wide is what is made of that, unless it is logits.
    pub(super) made: usize,
    pub(super) vocabulary: usize,
    pub(super) positions: usize,
}

impl Callable {
    /// Returns the shape of what the module at `path` makes of a tensor of this shape.
    pub(super) fn shape(self, path: &str, input: &[u64], sizes: Sizes) -> Result<Vec<u64>, Fault> {
        let Sizes {
            width,
            made,
            vocabulary,
            positions,
        } = sizes;
        let has_room =
            |batch: u64, length: u64| batch > 0 && (1..=positions as u64).contains(&length);
        let (batch, length) = match (self.tokens, input) {
            (true, &[batch, length]) if has_room(batch, length) => (batch, length),
            (false, &[batch, length, inner])
                if has_room(batch, length) && inner == width as u64 =>
            {
                (batch, length)
            }
            _ => {
                let expected = match self.tokens {
                    true => these_tokens(vocabulary, positions),
                    false => this_stream(width, positions),
                };
                return Err(unlike(path, &expected, &format!("a tensor {input:?}")));
            }
        };
        let last = if self.logits { vocabulary } else { made };
        Ok(vec![batch, length, last as u64])
    }
}

fn this_stream(width: usize, positions: usize) -> String {
    format!("floats of [batch, 1 to {positions} positions, {width}]")
}

fn these_tokens(vocabulary: usize, positions: usize) -> String {
    format!("tokens below {vocabulary} of [batch, 1 to {positions} positions]")
}

/// Returns how the rows of a value are padded, along dimension 1, if they differ in length.
pub(super) fn padding(input: &Value) -> Option<Padding> {
    let Value::Tensor(tensor) = input else {
        return None;
    };
    let (ragged, length) = (tensor.ragged()?, tensor.shape()[1] as u32);
    let pads = ragged.pads(1)?.iter();
    Padding::new(ragged.side(), pads.map(|&pad| length - pad as u32))
}

/// Takes `[batch, position, width]` out of a value.
pub(super) fn stream(
    path: &str,
    input: Value,
    width: usize,
    positions: usize,
) -> Result<Tensor<3>, Fault> {
    let expected = this_stream(width, positions);
    let found = input.to_string();
    let fits = |tensor: &Tensor<3>| {
        let [batch, length, inner] = tensor.dims();
        batch > 0 && (1..=positions).contains(&length) && inner == width
    };
    let tensor = input.tensor::<3>().ok().filter(fits);
    tensor.ok_or_else(|| unlike(path, &expected, &found))
}

/// Takes `[batch, position]` tokens out of a value.
pub(super) fn tokens(
    path: &str,
    input: Value,
    vocabulary: usize,
    positions: usize,
) -> Result<Tensor<2, Int>, Fault> {
    let expected = these_tokens(vocabulary, positions);
    let found = input.to_string();
    let fits = |tensor: &Tensor<2, Int>| {
        let [batch, length] = tensor.dims();
        batch > 0 && (1..=positions).contains(&length)
    };
    let tensor = input.typed::<2, Int>().ok().filter(fits);
    let tensor = tensor.ok_or_else(|| unlike(path, &expected, &found))?;
    let ids: Vec<i64> = tensor.clone().into_data().iter::<i64>().collect();
    let outside = ids.iter().find(|&&id| id < 0 || id >= vocabulary as i64);
    match outside {
        Some(id) => Err(unlike(path, &expected, &format!("token {id}"))),
        None => Ok(tensor),
    }
}

/// Splits `layers.3.mlp` into 3 and `mlp`, for a layer that there is.
pub(super) fn in_layer(path: &str, layers: usize) -> Option<(usize, &str)> {
    let rest = path.strip_prefix("layers.")?;
    let (number, part) = rest.split_once('.').unwrap_or((rest, ""));
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let layer = number.parse().ok().filter(|_| is_number)?;
    (layer < layers).then_some((layer, part))
}

/// Says that a module cannot be called, and which ones can.
pub(super) fn not_callable(path: &str, callable: &str) -> Fault {
    Fault::raise(format!(
        "`{path}` cannot be called on a value; of this model {callable} can"
    ))
}

fn unlike(path: &str, expected: &str, found: &str) -> Fault {
    let module = match path {
        "" => "the model".to_owned(),
        path => format!("`{path}`"),
    };
    Fault::raise(format!("{module} takes {expected}, found {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_layer_is_split() {
        for (path, split) in [
            ("layers.1", Some((1, ""))),
            ("layers.1.attn", Some((1, "attn"))),
            ("layers.1.attn.q", Some((1, "attn.q"))),
            ("layers.2", None),
            ("layers.+1", None),
            ("layers.", None),
            ("layers", None),
            ("layers.99999999999999999999", None),
        ] {
            assert_eq!(in_layer(path, 2), split, "{path}");
        }
    }
}
