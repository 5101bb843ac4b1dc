//! The rotation of queries and keys by the angles of their positions.

use burn::tensor::Tensor;
use interloom_backends::parallel::{are_divisible, floats, in_place};

use super::rotary::Layout;

/// The cosines and sines of the positions at hand, `[1, position, 1, pair]`, or `[batch, position,
/// 1, pair]` where rows differ.
#[derive(Clone, Debug)]
pub(super) struct Angles {
    pub(super) cos: Tensor<4>,
    pub(super) sin: Tensor<4>,
    pub(super) layout: Layout,
}

impl Angles {
    /// Rotates `[batch, position, head, width]`; dimensions beyond the rotated ones stay.
    pub(super) fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        match self.rotate_in_place(x) {
            Ok(rotated) => rotated,
            Err(x) => self.rotate_in_steps(x),
        }
    }

    /// Rotates row by row, with the bits of the other way; gives `x` back where that is not
    /// possible.
    #[expect(clippy::result_large_err, reason = "both are a tensor")]
    fn rotate_in_place(&self, x: Tensor<4>) -> Result<Tensor<4>, Tensor<4>> {
        if !are_divisible(&[&x, &self.cos, &self.sin]) {
            return Err(x);
        }
        let (heads, half) = (x.dims()[2], self.cos.dims()[3]);
        let (cos, sin) = (floats(&self.cos), floats(&self.sin));
        let turn = |a: &mut f32, b: &mut f32, cos: f32, sin: f32| {
            (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
        };
        in_place(x, |row, place| {
            // Those of a position; all rows of a batch have the same ones if they have one table.
            let first = (row / heads * half) % cos.len();
            let angles = cos[first..][..half].iter().zip(&sin[first..][..half]);
            let place = &mut place[..2 * half];
            match self.layout {
                Layout::Halves => {
                    let (a, b) = place.split_at_mut(half);
                    for ((a, b), (cos, sin)) in a.iter_mut().zip(b).zip(angles) {
                        turn(a, b, *cos, *sin);
                    }
                }
                Layout::Neighbours => {
                    for ([a, b], (cos, sin)) in place.as_chunks_mut().0.iter_mut().zip(angles) {
                        turn(a, b, *cos, *sin);
                    }
                }
            }
        })
    }

    fn rotate_in_steps(&self, x: Tensor<4>) -> Tensor<4> {
        let (width, rotated) = (x.dims()[3], 2 * self.cos.dims()[3]);
        if rotated == width {
            return self.rotate_all(x);
        }
        let rest = x.clone().narrow(3, rotated, width - rotated);
        Tensor::cat(vec![self.rotate_all(x.narrow(3, 0, rotated)), rest], 3)
    }

    fn rotate_all(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, positions, heads, width] = x.dims();
        let half = width / 2;
        let (a, b) = match self.layout {
            Layout::Halves => (x.clone().narrow(3, 0, half), x.narrow(3, half, half)),
            Layout::Neighbours => {
                let pairs = x.reshape([batch, positions, heads, half, 2]);
                let side = |side| pairs.clone().narrow(4, side, 1).squeeze_dim::<4>(4);
                (side(0), side(1))
            }
        };
        let (cos, sin) = (self.cos.clone(), self.sin.clone());
        let first = a.clone() * cos.clone() - b.clone() * sin.clone();
        let second = a * sin + b * cos;
        match self.layout {
            Layout::Halves => Tensor::cat(vec![first, second], 3),
            Layout::Neighbours => {
                let pairs = Tensor::stack::<5>(vec![first, second], 4);
                pairs.reshape([batch, positions, heads, width])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use interloom_engine::{Padding, PaddingSide};

    use super::super::place::Place;
    use super::super::rotary::{Rotary, RotaryConfig, Scaling};
    use super::super::samples::counted;
    use super::*;

    fn rotary(layout: Layout, positions: usize) -> Rotary {
        let config = RotaryConfig {
            width: 4,
            base: 10_000.0,
            scaling: Scaling::None,
            layout,
        };
        Rotary::new(&config, positions, &Device::flex())
    }

    #[test]
    fn rotation_keeps_lengths_and_the_first_position() {
        for layout in [Layout::Halves, Layout::Neighbours] {
            let rotary = rotary(layout, 8);
            let x = counted([1, 8, 4, 6]);
            let rotated = floats(&rotary.at(&Place::new(None, 1, 0, 8)).rotate(x.clone()));
            let x = floats(&x);
            assert_eq!(rotated[..24], x[..24], "position 0 is not rotated");
            let square = |values: &[f32]| values.iter().map(|x| x * x).sum::<f32>();
            for (before, after) in x.chunks(6).zip(rotated.chunks(6)) {
                assert!((square(before) - square(after)).abs() < 1e-5);
                assert_eq!(before[4..], after[4..], "the rest stays");
            }
            assert_ne!(rotated[24..], x[24..]);
        }
    }

    #[test]
    fn rotation_in_place_has_the_bits_of_its_steps() {
        let rows = Padding::new(PaddingSide::Left, [3, 5]).unwrap();
        for layout in [Layout::Halves, Layout::Neighbours] {
            let rotary = rotary(layout, 8);
            for place in [Place::new(None, 2, 2, 5), Place::new(Some(&rows), 2, 0, 5)] {
                for width in [4, 6] {
                    let (angles, x) = (rotary.at(&place), counted([2, 5, 3, width]));
                    let in_place = angles.rotate_in_place(x.clone()).unwrap();
                    assert_eq!(floats(&in_place), floats(&angles.rotate_in_steps(x)));
                }
            }
        }
    }

    #[test]
    fn rotated_products_depend_on_the_distance_only() {
        for layout in [Layout::Halves, Layout::Neighbours] {
            let rotary = rotary(layout, 16);
            let (q, k) = (counted([1, 1, 1, 4]), counted([1, 1, 1, 4]) * 0.5 + 0.1);
            let product = |from: usize, to: usize| {
                let q = rotary.at(&Place::new(None, 1, from, 1)).rotate(q.clone());
                let k = rotary.at(&Place::new(None, 1, to, 1)).rotate(k.clone());
                floats(&(q * k)).iter().sum::<f32>()
            };
            assert!((product(3, 1) - product(9, 7)).abs() < 1e-5);
            assert!((product(3, 1) - product(3, 2)).abs() > 1e-4);
        }
    }
}
