//! The keys and values of earlier tokens.

use burn::tensor::{Bool, Device, Tensor, TensorData};
use interloom_engine::Padding;

/// The keys and values of the tokens so far, in memory that is taken once.
#[derive(Debug)]
pub struct KvCache {
    /// None before the first tokens.
    layers: Vec<Option<(Tensor<4>, Tensor<4>)>>,
    positions: usize,
    capacity: usize,
    padding: Option<Padding>,
}

impl KvCache {
    /// Makes an empty cache of a model with so many layers, for sequences of up to `capacity`
    /// tokens.
    pub fn new(layers: usize, capacity: usize) -> Self {
        Self {
            layers: vec![None; layers],
            positions: 0,
            capacity,
            padding: None,
        }
    }

    /// Makes an empty cache for sequences of which the first tokens are padded so.
    pub fn padded(layers: usize, capacity: usize, padding: Option<Padding>) -> Self {
        Self {
            padding,
            ..Self::new(layers, capacity)
        }
    }

    /// Returns the padding of the first tokens, if they have any.
    pub const fn padding(&self) -> Option<&Padding> {
        self.padding.as_ref()
    }

    /// Returns how many tokens of each sequence the cache holds.
    pub const fn len(&self) -> usize {
        self.positions
    }

    /// Returns whether the cache holds nothing yet.
    pub const fn is_empty(&self) -> bool {
        self.positions == 0
    }

    /// Returns how many tokens of each sequence the cache has room for.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all tokens.
    pub(super) fn clear(&mut self) {
        self.layers.fill(None);
        self.positions = 0;
    }

    /// Writes the keys and values of new tokens, `[batch, head, position, width]`, and returns
    /// those of all tokens.
    ///
    /// The values of padding are zeros: it has no share of what is mixed, whatever it was made.
    pub(super) fn extend(
        &mut self,
        layer: usize,
        k: Tensor<4>,
        v: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        let [batch, heads, new, width] = k.dims();
        let (start, end) = (self.positions, self.positions + new);
        assert!(
            end <= self.capacity,
            "{end} tokens in a cache for {}",
            self.capacity
        );
        let v = match &self.padding {
            Some(padding) if start == 0 => cleared(v, padding),
            _ => v,
        };
        // Moved out, so that the tensors are not shared and are written in place.
        let (keys, values) = self.layers[layer].take().unwrap_or_else(|| {
            let empty = || Tensor::zeros([batch, heads, self.capacity, width], &k.device());
            (empty(), empty())
        });
        assert_eq!(keys.dims()[0], batch, "the sequences of a cache stay");
        let range = [0..batch, 0..heads, start..end, 0..width];
        let keys = keys.slice_assign(range.clone(), k);
        let values = values.slice_assign(range, v);
        let held = |tensor: &Tensor<4>| tensor.clone().narrow(2, 0, end);
        let all = (held(&keys), held(&values));
        self.layers[layer] = Some((keys, values));
        all
    }

    /// Counts the tokens that every layer has written.
    pub const fn advance(&mut self, new: usize) {
        self.positions += new;
    }
}

/// Puts zeros in the place of padding, in the first tokens of sequences.
pub(crate) fn cleared(v: Tensor<4>, padding: &Padding) -> Tensor<4> {
    let [_, _, positions, _] = v.dims();
    let padded = is_padding(padding, positions, &v.device());
    let padded = padded.unsqueeze_dims::<4>(&[1, -1]).expand(v.dims());
    v.mask_fill(padded, 0.0)
}

/// Returns where there is padding among the first `positions` of each row, `[batch, position]`;
/// those after the prompt are the row's own.
pub(crate) fn is_padding(padding: &Padding, positions: usize, device: &Device) -> Tensor<2, Bool> {
    let rows = padding.lengths().len();
    let length = padding.length() as usize;
    let of_row = |row: usize| {
        let own = padding.own(row);
        (0..positions).map(move |at| at < length && !own.contains(&(at as u32)))
    };
    let values: Vec<bool> = (0..rows).flat_map(of_row).collect();
    Tensor::from_data(TensorData::new(values, [rows, positions]), device)
}

#[cfg(test)]
mod tests {
    use interloom_backends::parallel::floats;

    use super::super::samples::counted;
    use super::*;

    #[test]
    fn the_cache_returns_what_was_written() {
        let mut cache = KvCache::new(2, 6);
        let (first, second) = (counted([1, 2, 3, 4]), counted([1, 2, 1, 4]) + 1.0);
        cache.extend(0, first.clone(), first.clone());
        cache.extend(1, first.clone(), first.clone());
        cache.advance(3);
        let (k, _) = cache.extend(0, second.clone(), second.clone());
        assert_eq!(floats(&k), floats(&Tensor::cat(vec![first, second], 2)));
        assert_eq!((cache.len(), cache.capacity()), (3, 6));
    }
}
