//! Work on one to eight threads gives the bits of burn's own operations.

use burn::tensor::{Device, Tensor, TensorData, activation};
use interloom_backends::parallel::{self, Division, by_row, in_parts, linear};
use proptest::prelude::*;

/// Numbers of which no sum is exact, so that another order shows.
fn numbers<const D: usize>(shape: [usize; D], seed: u32) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let number = |index: usize| ((index as f32 + seed as f32) * 0.713).sin() * 1.7 + 0.01;
    let data = TensorData::new((0..count).map(number).collect::<Vec<f32>>(), shape);
    Tensor::from_data(data, &Device::flex())
}

fn bits<const D: usize>(tensor: Tensor<D>) -> Vec<u32> {
    let floats: Vec<f32> = tensor.into_data().try_into_vec().unwrap();
    floats.into_iter().map(f32::to_bits).collect()
}

/// Checks that `made` is the same in pools of one to eight threads, and as `expected`.
fn check<const D: usize>(expected: Tensor<D>, made: impl Fn() -> Tensor<D> + Sync, what: &str) {
    let expected = bits(expected);
    for threads in 1..=8 {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let made = pool.unwrap().install(|| bits(made()));
        assert!(made == expected, "{what} on {threads} threads");
    }
}

fn check_linear([rows, inputs, outputs]: [usize; 3]) {
    let x = numbers([rows, inputs], 1);
    let weight = numbers([outputs, inputs], 2);
    let expected = x.clone().matmul(weight.clone().transpose());
    let made = || linear(x.clone(), weight.clone());
    check(expected, made, &format!("{rows} x {inputs} x {outputs}"));
}

#[test]
fn products_have_the_bits_of_one_thread() {
    // On both sides of where the kernel has other ways, and of where parts begin.
    let of_rows = [1, 2, 3, 4, 63, 64, 65, 66, 129, 300];
    for rows in of_rows {
        for [inputs, outputs] in [
            [576, 65],
            [513, 64],
            [1_100, 257],
            [2_048, 1],
            [64, 3_000],
            [600, 3],
        ] {
            check_linear([rows, inputs, outputs]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn products_of_any_shape_have_the_bits_of_one_thread(
        rows in 1_usize..200,
        inputs in 1_usize..1_600,
        outputs in 1_usize..700,
    ) {
        check_linear([rows, inputs, outputs]);
    }

    #[test]
    fn rows_of_any_number_have_the_bits_of_one_thread(
        batch in 1_usize..4,
        positions in 1_usize..90,
        width in 1_usize..700,
    ) {
        let x = numbers([batch, positions, width], 3);
        check(activation::silu(x.clone()), || by_row(x.clone(), activation::silu), "silu");
        let softmax = |x| activation::softmax(x, 2);
        check(softmax(x.clone()), || by_row(x.clone(), softmax), "softmax");
    }

    #[test]
    fn parts_are_joined_in_order(pieces in 1_usize..50, parts in 0_usize..60, least in 1_usize..9) {
        let x = numbers([pieces, 3], 4);
        let parts = Division::of(pieces, parts, least);
        let same = |range: std::ops::Range<usize>| {
            assert!(range.len() >= least.min(pieces));
            x.clone().narrow(0, range.start, range.len())
        };
        check(x.clone(), || in_parts([pieces, 3], parts, &Device::flex(), same), "parts");
    }
}

#[test]
fn what_a_graph_has_to_know_of_is_not_divided() {
    let weight = numbers([600, 600], 5).autodiff().require_grad();
    let x = numbers([70, 600], 6);
    assert!(parallel::is_divisible(&x) && !parallel::is_divisible(&weight));
    let gradient = |product: Tensor<2>| {
        let gradients = product.sum_dim(0).backward();
        bits(weight.grad(&gradients).unwrap())
    };
    let x = x.autodiff();
    let expected = gradient(x.clone().matmul(weight.clone().transpose()));
    assert_eq!(gradient(linear(x, weight.clone())), expected);
}

#[test]
fn a_panic_in_a_part_is_one_of_the_caller() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build();
    let panic = pool.unwrap().install(|| {
        std::panic::catch_unwind(|| {
            let part = |range: std::ops::Range<usize>| {
                assert!(range.start == 0, "not this part");
                numbers([1, 2], 7)
            };
            in_parts([2, 2], Division::each(2), &Device::flex(), part)
        })
    });
    let panic = panic.unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"not this part"));
}
