use proptest::prelude::*;

use super::*;

fn halves(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|&value| f16::from_f32(value).to_le_bytes())
        .collect()
}

/// Bytes whose low nibbles count up from 0 to 15 and whose high nibbles count down.
fn nibbles() -> Vec<u8> {
    (0..16).map(|i| i | ((15 - i) << 4)).collect()
}

/// The `q` of those nibbles in the order of the values.
fn counted() -> Vec<f32> {
    (0..16)
        .chain((0..16).rev())
        .map(|q: u8| f32::from(q))
        .collect()
}

#[test]
fn plain_numbers_are_converted_exactly() {
    let values = [0.0, -0.0, 1.5, -65504.0, f32::INFINITY];
    let single: Vec<u8> = values
        .iter()
        .flat_map(|value: &f32| value.to_le_bytes())
        .collect();
    assert_eq!(TensorType::F32.dequantise(&single), values);
    assert_eq!(TensorType::F16.dequantise(&halves(&values)), values);
    let brain: Vec<u8> = [1.5_f32, -3.0e38, 0.0]
        .iter()
        .flat_map(|&value| bf16::from_f32(value).to_le_bytes())
        .collect();
    assert_eq!(
        TensorType::Bf16.dequantise(&brain),
        [1.5, bf16::from_f32(-3.0e38).to_f32(), 0.0]
    );
}

#[test]
fn four_bit_blocks_have_low_nibbles_first() {
    let block = [halves(&[0.5]), nibbles()].concat();
    let expected: Vec<f32> = counted().iter().map(|q| (q - 8.0) * 0.5).collect();
    assert_eq!(TensorType::Q4_0.dequantise(&block), expected);

    let block = [halves(&[0.5, -3.0]), nibbles()].concat();
    let expected: Vec<f32> = counted().iter().map(|q| q * 0.5 - 3.0).collect();
    assert_eq!(TensorType::Q4_1.dequantise(&block), expected);
}

#[test]
fn five_bit_blocks_have_their_fifth_bits_in_order() {
    // The fifth bits of values 0, 9, 16 and 31.
    let fifths: u32 = 1 | 1 << 9 | 1 << 16 | 1 << 31;
    let fifth = |index: usize| if fifths >> index & 1 == 1 { 16.0 } else { 0.0 };
    let q = || {
        counted()
            .into_iter()
            .enumerate()
            .map(|(index, q)| q + fifth(index))
    };

    let block = [halves(&[0.25]), fifths.to_le_bytes().to_vec(), nibbles()].concat();
    let expected: Vec<f32> = q().map(|q| (q - 16.0) * 0.25).collect();
    assert_eq!(TensorType::Q5_0.dequantise(&block), expected);

    let block = [
        halves(&[0.25, 7.0]),
        fifths.to_le_bytes().to_vec(),
        nibbles(),
    ]
    .concat();
    let expected: Vec<f32> = q().map(|q| q * 0.25 + 7.0).collect();
    assert_eq!(TensorType::Q5_1.dequantise(&block), expected);
}

#[test]
fn eight_bit_blocks_are_signed() {
    let bytes: Vec<u8> = (0..32_u8).map(|i| i.wrapping_mul(8)).collect();
    let block = [halves(&[2.0]), bytes.clone()].concat();
    let expected: Vec<f32> = bytes
        .iter()
        .map(|&b| f32::from(b.cast_signed()) * 2.0)
        .collect();
    assert_eq!(
        TensorType::Q8_0.dequantise(&[block.clone(), block].concat()),
        [expected.clone(), expected].concat()
    );
}

#[test]
fn ids_and_names_are_those_of_ggml() {
    for kind in TensorType::all() {
        assert_eq!(FORMATS[kind as usize].kind, kind);
        assert_eq!(TensorType::from_id(kind.id()), Some(kind));
        assert_eq!(ggml_name(kind.id()), kind.name());
    }
    assert_eq!(TensorType::from_id(16), None);
    assert_eq!(
        (ggml_name(16), ggml_name(99)),
        ("IQ2_XXS", "an unknown type")
    );
}

/// Bits `at` and above of a row of bytes, least first.
fn bits(bytes: &[u8], at: usize, count: usize) -> f64 {
    let bit = |at: usize| u32::from(bytes[at / 8] >> (at % 8) & 1);
    f64::from(
        (0..count)
            .map(|index| bit(at + index) << index)
            .sum::<u32>(),
    )
}

/// The value of a K-quant in double precision, from the place of each of its bits.
fn k_quant(kind: TensorType, block: &[u8], index: usize) -> f64 {
    let double_at = |at: usize| f64::from(half_at(block, at));
    // The bits of `q` that are in a plane of `width` bytes: value after value takes the next byte,
    // and after each row of bytes the next bits.
    let plane = |start: usize, width: usize, index: usize, count: usize| {
        bits(
            &block[start + index % width..],
            index / width * count,
            count,
        )
    };
    // The scale and the minimum of 32 values.
    let six = |start: usize| {
        let (group, bytes) = (index / 32, &block[start..]);
        if group < 4 {
            return [group, group + 4].map(|at| bits(&bytes[at..], 0, 6));
        }
        let upper = |at: usize| 16.0 * bits(&bytes[at..], 6, 2);
        let low = &bytes[group + 4..];
        [
            bits(low, 0, 4) + upper(group - 4),
            bits(low, 4, 4) + upper(group),
        ]
    };
    let half = index / 128;
    match kind {
        TensorType::Q2K => {
            let q = plane(16 + half * 32, 32, index % 128, 2);
            let scales = &block[index / 16..];
            double_at(80) * bits(scales, 0, 4) * q - double_at(82) * bits(scales, 4, 4)
        }
        TensorType::Q3K => {
            let q = plane(32 + half * 32, 32, index % 128, 2) + 4.0 * plane(0, 32, index, 1);
            let group = index / 16;
            let low = bits(&block[96 + group % 8..], group / 8 * 4, 4);
            let high = bits(&block[104 + group % 4..], group / 4 * 2, 2);
            double_at(108) * (low + 16.0 * high - 32.0) * (q - 4.0)
        }
        TensorType::Q4K => {
            let [scale, minimum] = six(4);
            let q = plane(16 + index / 64 * 32, 32, index % 64, 4);
            double_at(0) * scale * q - double_at(2) * minimum
        }
        TensorType::Q5K => {
            let [scale, minimum] = six(4);
            let q = plane(48 + index / 64 * 32, 32, index % 64, 4) + 16.0 * plane(16, 32, index, 1);
            double_at(0) * scale * q - double_at(2) * minimum
        }
        TensorType::Q6K => {
            let q = plane(half * 64, 64, index % 128, 4);
            let q = q + 16.0 * plane(128 + half * 32, 32, index % 128, 2);
            let scale = f64::from(block[192 + index / 16].cast_signed());
            double_at(208) * scale * (q - 32.0)
        }
        TensorType::Iq4Xs => {
            let group = index / 32;
            let low = bits(&block[4..], group * 4, 4);
            let high = bits(&block[2..], group * 2, 2);
            let number = plane(8 + group * 16, 16, index % 32, 4);
            double_at(0) * (low + 16.0 * high - 32.0) * f64::from(level(number as u8))
        }
        other => panic!("{other:?}"),
    }
}

fn block(kind: TensorType) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), kind.block_bytes())
}

proptest! {
    #[test]
    fn k_quants_are_the_exact_result_rounded_once(
        (kind, block) in prop::sample::select(vec![
            TensorType::Q2K,
            TensorType::Q3K,
            TensorType::Q4K,
            TensorType::Q5K,
            TensorType::Q6K,
            TensorType::Iq4Xs,
        ])
        .prop_flat_map(|kind| (Just(kind), block(kind)))
    ) {
        for (index, found) in kind.dequantise(&block).into_iter().enumerate() {
            let expected = k_quant(kind, &block, index) as f32;
            let is_same = found == expected || (found.is_nan() && expected.is_nan());
            prop_assert!(is_same, "{kind:?} {index}: {found} {expected}");
        }
    }

    #[test]
    fn blocks_are_decoded_each_by_itself(
        (kind, first, second, cut) in prop::sample::select(TensorType::all().collect::<Vec<_>>())
            .prop_flat_map(|kind| (Just(kind), block(kind), block(kind), 0..kind.block_bytes()))
    ) {
        let bits = |bytes: &[u8]| -> Vec<u32> {
            kind.dequantise(bytes).into_iter().map(f32::to_bits).collect()
        };
        let both = [bits(&first), bits(&second)].concat();
        prop_assert_eq!(both.len(), 2 * kind.block_values());
        prop_assert_eq!(&bits(&[&first[..], &second].concat()), &both);
        prop_assert_eq!(bits(&[&first[..], &second[..cut]].concat()), bits(&first));
    }
}
