//! Work on one to eight threads gives the bits of burn's own operations.

use burn::tensor::{Bool, Device, Tensor, TensorData, activation};
use interloom_backends::parallel::{self, Division, attention, by_row, in_parts, in_place, linear};
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

/// Which keys a query does not see: in the future, out of a window, or all of them.
fn hidden([queries, keys]: [usize; 2], window: usize, blind: usize) -> Tensor<4, Bool> {
    let offset = keys - queries;
    let hides = |index: usize| {
        let (query, key) = (index / keys, index % keys);
        key > query + offset || key + window < query + offset || query == blind
    };
    let flags: Vec<bool> = (0..queries * keys).map(hides).collect();
    let data = TensorData::new(flags, [1, 1, queries, keys]);
    Tensor::from_data(data, &Device::flex())
}

/// Checks an attention against burn's operations one after the other.
fn check_attention(
    [batch, heads, groups]: [usize; 3],
    [queries, keys, width]: [usize; 3],
    (window, blind): (usize, usize),
) {
    let hidden = hidden([queries, keys], window, blind).expand([batch, heads, queries, keys]);
    // Positions lie before heads, as a projection makes them.
    let made = |count, heads, seed| numbers([batch, count, heads, width], seed).swap_dims(1, 2);
    let (q, k, v) = (
        made(queries, heads, 1),
        made(keys, groups, 2),
        made(keys, groups, 3),
    );
    let share = |x: &Tensor<4>| {
        let shape = [batch, groups, heads / groups, keys, width];
        let shared = x.clone().unsqueeze_dim::<5>(2).expand(shape);
        shared.reshape([batch, heads, keys, width])
    };
    let scores = q.clone().matmul(share(&k).swap_dims(2, 3)) / 2.5;
    let scores = scores.mask_fill(hidden.clone(), f64::NEG_INFINITY);
    let expected = activation::softmax(scores, 3).matmul(share(&v));
    let what = format!("{heads} heads of {groups}, {queries} of {keys} x {width}, {window}");
    let made = || attention(&q, [&k, &v], &hidden, 2.5).expect("more than a few queries");
    check(expected, made, &what);
}

#[test]
fn attention_in_one_has_the_bits_of_its_operations() {
    let none = (usize::MAX / 2, usize::MAX);
    // On both sides of where the kernel has other ways, and of where parts begin.
    for [queries, keys, width] in [
        [69, 69, 64],
        [130, 130, 64],
        [140, 600, 32],
        [333, 333, 8],
        [300, 1_100, 65],
        [200, 200, 600],
        [1_024, 1_024, 4],
    ] {
        check_attention([1, 2, 1], [queries, keys, width], none);
    }
    // A window, a query that sees nothing, and as many groups as heads.
    check_attention([1, 2, 2], [150, 150, 16], (40, usize::MAX));
    check_attention([2, 3, 1], [260, 300, 16], (0, usize::MAX));
    check_attention([1, 4, 2], [150, 150, 16], (300, 77));
}

#[test]
fn attention_of_few_queries_or_in_a_graph_is_left_to_its_operations() {
    let q = numbers([1, 1, 64, 64], 1);
    let hidden = hidden([64, 64], 64, 64);
    assert!(attention(&q, [&q, &q], &hidden, 1.0).is_none());
    let q = numbers([1, 1, 128, 64], 1);
    let tracked = q.clone().autodiff().require_grad();
    let hidden = hidden.repeat_dim(2, 2).repeat_dim(3, 2);
    assert!(attention(&q, [&q, &q], &hidden, 1.0).is_some());
    assert!(attention(&q, [&tracked, &q], &hidden, 1.0).is_none());
    let column = q.clone().reshape([1, 1, 8_192, 1]).narrow(2, 0, 512);
    let all = hidden.clone().repeat_dim(2, 4).repeat_dim(3, 4);
    assert!(attention(&column, [&column, &column], &all, 1.0).is_none());
    let graphs = q.clone().autodiff();
    assert!(attention(&graphs, [&graphs, &graphs], &hidden, 1.0).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn attention_of_any_shape_has_the_bits_of_its_operations(
        of in (1_usize..3, 1_usize..4, 1_usize..3),
        queries in 69_usize..300,
        before in 0_usize..300,
        width in 2_usize..90,
        window in 0_usize..400,
    ) {
        let (batch, groups, each) = of;
        let queries = if width < 64 { queries.max(65 + 256 / width) } else { queries };
        let shape = [queries, queries + before, width];
        check_attention([batch, groups * each, groups], shape, (window, usize::MAX));
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
        let number = |row: usize, place: &mut [f32]| {
            place.iter_mut().for_each(|x| *x = *x * *x + row as f32);
        };
        let rows = (0..(batch * positions) as u32).map(|row| row as f32).collect::<Vec<_>>();
        let rows = TensorData::new(rows, [batch, positions, 1]);
        let rows = Tensor::<3>::from_data(rows, &Device::flex());
        let expected = x.clone() * x.clone() + rows;
        check(expected, || in_place(x.clone(), number).unwrap(), "in place");
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
    // As burn has it, what is made of a device that keeps graphs, and one that does not, is of the
    // first.
    let untracked = numbers([600, 600], 5).autodiff();
    assert!(linear(x.clone(), untracked.clone()).is_autodiff());
    assert!(linear(x.clone().autodiff(), untracked.clone().without_autodiff()).is_autodiff());
    assert!(parallel::is_divisible(&untracked));
    assert!(!parallel::are_divisible(&[&x, &untracked]));
    assert!(parallel::are_divisible(&[
        &x.clone().autodiff(),
        &untracked
    ]));
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
