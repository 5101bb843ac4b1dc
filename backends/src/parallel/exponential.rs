//! The exponential function, of many numbers at once.
//!
//! burn-flex calls that of the platform's C library, for one number after the other, which takes
//! more of a long prompt than its norms and rotations together. This is the algorithm of glibc
//! (`expf`, of Arm's Optimized Routines), made of operations that vector instructions have too: the
//! bits are those of glibc's for each of the 2³² floats, on any platform and in vectors of any
//! width.

use pulp::NullaryFnOnce;

/// Into how many parts an octave is divided.
const PARTS: u64 = 32;

/// `2^(i / 32)`, without the exponent that `i` alone would give: what is left is added to the bits.
const OCTAVE: [u64; PARTS as usize] = [
    0x3ff0_0000_0000_0000,
    0x3fef_d9b0_d315_8574,
    0x3fef_b558_6cf9_890f,
    0x3fef_9301_d012_5b51,
    0x3fef_72b8_3c7d_517b,
    0x3fef_5487_3168_b9aa,
    0x3fef_387a_6e75_6238,
    0x3fef_1e9d_f51f_dee1,
    0x3fef_06fe_0a31_b715,
    0x3fee_f1a7_373a_a9cb,
    0x3fee_dea6_4c12_3422,
    0x3fee_ce08_6061_892d,
    0x3fee_bfda_d536_2a27,
    0x3fee_b42b_569d_4f82,
    0x3fee_ab07_dd48_5429,
    0x3fee_a47e_b03a_5585,
    0x3fee_a09e_667f_3bcd,
    0x3fee_9f75_e8ec_5f74,
    0x3fee_a114_73eb_0187,
    0x3fee_a589_994c_ce13,
    0x3fee_ace5_422a_a0db,
    0x3fee_b737_b0cd_c5e5,
    0x3fee_c491_82a3_f090,
    0x3fee_d503_b23e_255d,
    0x3fee_e89f_995a_d3ad,
    0x3fee_ff76_f2fb_5e47,
    0x3fef_199b_dd85_529c,
    0x3fef_3720_dcef_9069,
    0x3fef_5818_dcfb_a487,
    0x3fef_7c97_337b_9b5f,
    0x3fef_a4af_a2a4_90da,
    0x3fef_d076_5b6e_4540,
];

/// `32 / ln 2`.
const PARTS_PER_UNIT: f64 = f64::from_bits(0x4047_1547_652b_82fe);

/// A polynomial for `2^(r / 32)` where `r` is at most a half, from the third power to the first.
const POLYNOMIAL: [f64; 3] = [
    f64::from_bits(0x3ebc_6af8_4b91_2394),
    f64::from_bits(0x3f2e_bfce_50fa_c4f3),
    f64::from_bits(0x3f96_2e42_ff0c_52d6),
];

/// To a number to which this is added the nearest integer is in its lowest bits.
const SHIFT: f64 = f64::from_bits(0x4338_0000_0000_0000);

/// Exponentials of what is less are zero, and of what is greater infinite, as that of the limit is.
const LIMITS: [f32; 2] = [-104.0, 89.0];

/// How many numbers are looked at together.
pub(super) const LANES: usize = 8;

/// Returns the exponential of each number, within 0.502 units in the last place.
///
/// Each step is taken for all of them before the next. In a loop of all steps a compiler weighs
/// the table, which has to be looked at for one number after the other, against everything else,
/// and takes one number after the other through all of it.
#[inline(always)]
pub(super) fn exponentials<const N: usize>(numbers: [f32; N]) -> [f32; N] {
    let [third, second, first] = POLYNOMIAL;
    let mut wide = [0.0; N];
    for (wide, number) in wide.iter_mut().zip(numbers) {
        *wide = f64::from(limited(number));
    }
    let mut shifted = [0.0; N];
    for (shifted, wide) in shifted.iter_mut().zip(wide) {
        *shifted = PARTS_PER_UNIT.mul_add(wide, SHIFT);
    }
    let mut octaves = [0.0; N];
    for (octave, shifted) in octaves.iter_mut().zip(shifted) {
        *octave = octave_of(shifted.to_bits());
    }
    let mut found = [0.0; N];
    for lane in 0..N {
        let rest = PARTS_PER_UNIT.mul_add(wide[lane], SHIFT - shifted[lane]);
        let (high, low) = (third.mul_add(rest, second), first.mul_add(rest, 1.0));
        found[lane] = (high.mul_add(rest * rest, low) * octaves[lane]) as f32;
    }
    found
}

/// Keeps a number within the limits, without a branch, which vectors have not. A number that is
/// none passes through it.
#[inline(always)]
fn limited(x: f32) -> f32 {
    let [least, greatest] = LIMITS;
    let x = if x < least { least } else { x };
    if x > greatest { greatest } else { x }
}

/// Returns two to the power of so many parts.
#[inline(always)]
fn octave_of(parts: u64) -> f64 {
    let within = OCTAVE[(parts % PARTS) as usize];
    f64::from_bits(within.wrapping_add(parts << (52 - PARTS.ilog2())))
}

/// Does work on numbers with the vector instructions that the processor has, not only with those
/// that each one of its kind has. The bits are the same.
///
/// What is to use them has to be compiled into [`NullaryFnOnce::call`]: all of it is
/// `#[inline(always)]`, and no closure.
#[inline]
pub(super) fn vectorised<W: NullaryFnOnce>(work: W) -> W::Output {
    // AVX2 and FMA. Elsewhere those that each one has are wide enough.
    #[cfg(target_arch = "x86_64")]
    if let Some(vectors) = pulp::x86::V3::try_new() {
        return pulp::Simd::vectorize(vectors, work);
    }
    work.call()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Exponentials<'n>(&'n mut [f32]);

    impl NullaryFnOnce for Exponentials<'_> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let (chunks, rest) = self.0.as_chunks_mut::<LANES>();
            for chunk in chunks {
                *chunk = exponentials(*chunk);
            }
            for x in rest {
                [*x] = exponentials([*x]);
            }
        }
    }

    fn of_all(mut numbers: Vec<f32>) -> Vec<f32> {
        vectorised(Exponentials(&mut numbers));
        numbers
    }

    /// Recorded of glibc 2.36 on x86-64, so that it holds on every platform.
    #[test]
    fn the_bits_are_those_of_glibc() {
        let expected = [
            (0.0, 0x3f80_0000),
            (-0.0, 0x3f80_0000),
            (1e-42, 0x3f80_0000),
            (1.0, 0x402d_f854),
            (-1.0, 0x3ebc_5ab2),
            (0.3, 0x3fac_c82d),
            (-7.77, 0x39dd_5c82),
            (88.722_83, 0x7f7f_ff84),
            (88.722_84, 0x7f80_0000),
            (-87.5, 0x006c_b2bc),
            (-103.972_07, 0x0000_0001),
            (-103.972_09, 0),
            (f32::MAX, 0x7f80_0000),
            (f32::MIN, 0),
            (f32::INFINITY, 0x7f80_0000),
            (f32::NEG_INFINITY, 0),
            (f32::from_bits(0xffc0_0000), 0xffc0_0000),
        ];
        let found = of_all(expected.iter().map(|(x, _)| *x).collect());
        for ((x, expected), found) in expected.into_iter().zip(found) {
            let found = found.to_bits();
            assert_eq!(found, expected, "{x:e}: {found:#x}, {expected:#x}");
        }
    }

    #[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
    #[test]
    #[ignore = "4 Gi numbers: cargo test --release --workspace --lib exponential -- --ignored"]
    fn each_float_has_the_bits_of_the_library() {
        for high in 0..1 << 16 {
            let numbers = (0..1 << 16).map(|low| f32::from_bits(high << 16 | low));
            let numbers: Vec<f32> = numbers.collect();
            for (x, found) in numbers.iter().zip(of_all(numbers.clone())) {
                let is_alike = x.is_nan() && found.is_nan();
                assert!(is_alike || x.exp().to_bits() == found.to_bits(), "{x:e}");
            }
        }
    }
}
