//! The exactness of a build's arithmetic: whether it computes the same bits every time.
//!
//! Features of burn add up over a whole build: a program that takes burn with its default features
//! has `burn-flex/rayon` in it, whatever this crate asks for. Sums of many elements are then made
//! of partial sums, in an order that depends on threads, and no journal of such a build can be
//! exact. A crate cannot ask which features another was built with, so [`arithmetic`] looks at what
//! comes out. Interloom itself takes burn without `rayon`.

use std::fmt;
use std::sync::OnceLock;

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::device::is_remote;

/// The dependence of a build's arithmetic on the CPU on anything beside its inputs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BuildArithmetic {
    /// Nothing: equal inputs give equal bits.
    Exact,
    /// The order of threads, in sums of many elements.
    Threads {
        /// The feature that brings threads in, as `crate/feature`.
        feature: &'static str,
    },
    /// The order of partial sums on the server that has the device.
    Served,
    /// Nothing, on a thread that shares its work with no other: sums of many elements are made of
    /// partial sums, always in one order.
    OneThread {
        /// The feature that brings threads in, as `crate/feature`.
        feature: &'static str,
    },
}

impl BuildArithmetic {
    /// Returns whether the arithmetic that has this name in the head of a journal is
    /// [exact](Self::is_exact).
    pub fn is_exact_name(name: &str) -> bool {
        let exact = [Self::Exact, Self::OneThread { feature: THREADS }];
        exact
            .iter()
            .any(|arithmetic| arithmetic.to_string() == name)
    }

    /// Returns whether equal inputs give equal bits.
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::Exact | Self::OneThread { .. })
    }
}

/// Writes the name that stands in the head of a journal: `exact`, or what breaks it.
impl fmt::Display for BuildArithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::Threads { feature } => write!(f, "threads ({feature})"),
            Self::Served => f.write_str("partial sums (on the server)"),
            Self::OneThread { feature } => write!(f, "one thread ({feature})"),
        }
    }
}

/// Returns what the arithmetic of this build on the CPU depends on, beside its inputs.
///
/// The first call sums a tensor of 16 MiB, which takes milliseconds; later ones cost nothing.
pub fn arithmetic() -> BuildArithmetic {
    static FOUND: OnceLock<BuildArithmetic> = OnceLock::new();
    *FOUND.get_or_init(|| {
        if is_running_sum(&Device::flex()) {
            BuildArithmetic::Exact
        } else {
            BuildArithmetic::Threads { feature: THREADS }
        }
    })
}

/// Returns what the arithmetic of a device depends on, beside its inputs.
///
/// Of a device that a server has, the server is asked, each time; of another one, it is the
/// [`arithmetic`] of this build.
pub fn arithmetic_of(device: &Device) -> BuildArithmetic {
    if !is_remote(device) {
        arithmetic()
    } else if is_running_sum(&device.clone().without_autodiff()) {
        BuildArithmetic::Exact
    } else {
        BuildArithmetic::Served
    }
}

/// The feature that brings threads in.
const THREADS: &str = "burn-flex/rayon";

/// The number of elements from which burn-flex makes a sum of partial sums, with threads.
const PARALLEL_FROM: usize = 4 << 20;
/// How many elements each of these has.
const CHUNK: usize = 64 << 10;
/// A number to which 1 can be added any number of times without a change: the next one is larger by
/// 4.
const LARGE: f32 = (1 << 25) as f32;
/// The distance between two ones: a multiple of the elements that any processor adds at once, so
/// that one running sum takes in the large number and all of the ones.
const STRIDE: usize = 1 << 10;

/// Sums a large number and many ones, and returns whether that was with one running sum.
///
/// A running sum meets the large number first, and every one that follows is lost: the sum is the
/// large number, however many lanes a processor has. Of partial sums, only the first has the large
/// number in it. The others are 64 each, which is not lost when they are added to it, in whichever
/// order, so that the sum is another number, also with one thread.
fn is_running_sum(device: &Device) -> bool {
    // One column of a table, so that the zeros are made where the device is.
    let mut column = vec![0.0_f32; PARALLEL_FROM / STRIDE];
    column[0] = LARGE;
    column[CHUNK / STRIDE..].fill(1.0);
    let rows = column.len();
    let column = TensorData::new(column, [rows, 1]);
    let column = Tensor::<2>::from_data(column, (device, DType::F32));
    let table = Tensor::zeros([rows, STRIDE], (device, DType::F32));
    let table = table.slice_assign([0..rows, 0..1], column);
    table.reshape([PARALLEL_FROM]).sum().into_scalar::<f32>() == LARGE
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two ways to sum, written out: they differ, and the order of partial sums changes
    /// nothing.
    #[test]
    fn what_is_summed_tells_a_running_sum_from_partial_ones() {
        let mut elements = vec![0.0_f32; PARALLEL_FROM];
        elements[0] = LARGE;
        for one in (CHUNK..PARALLEL_FROM).step_by(STRIDE) {
            elements[one] = 1.0;
        }
        // With 1 to 1024 lanes, each of which has a running sum of its own.
        for lanes in (0..=10).map(|power| 1 << power) {
            let mut sums = vec![0.0_f32; lanes];
            for group in elements.chunks(lanes) {
                for (sum, element) in sums.iter_mut().zip(group) {
                    *sum += element;
                }
            }
            assert_eq!(sums.iter().sum::<f32>(), LARGE, "{lanes}");
        }
        let mut partial: Vec<f32> = elements.chunks(CHUNK).map(|c| c.iter().sum()).collect();
        let expected = LARGE + 63.0 * 64.0;
        for turn in 0..partial.len() {
            partial.rotate_left(1);
            assert_eq!(partial.iter().sum::<f32>(), expected, "{turn}");
            let pairs = partial.chunks(2).map(|pair| pair.iter().sum::<f32>());
            assert_eq!(pairs.sum::<f32>(), expected, "{turn}");
        }
    }

    #[test]
    fn names_stand_in_the_head() {
        let feature = "burn-flex/rayon";
        let threads = BuildArithmetic::Threads { feature };
        assert_eq!(threads.to_string(), "threads (burn-flex/rayon)");
        assert_eq!(BuildArithmetic::Exact.to_string(), "exact");
        let one = BuildArithmetic::OneThread { feature };
        assert_eq!(one.to_string(), "one thread (burn-flex/rayon)");
        for (arithmetic, is_exact) in [
            (BuildArithmetic::Exact, true),
            (one, true),
            (threads, false),
            (BuildArithmetic::Served, false),
        ] {
            assert_eq!(arithmetic.is_exact(), is_exact);
            let name = arithmetic.to_string();
            assert_eq!(BuildArithmetic::is_exact_name(&name), is_exact);
        }
    }
}
