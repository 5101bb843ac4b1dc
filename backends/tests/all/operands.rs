//! What programs compute of burn values, beside the same of the engine's arrays of `f64`.

use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Bool, Int, Tensor};
use interloom_backends::{Bound, Erase, Hooked, Value};
use interloom_engine::Misfit;
use interloom_engine::array::Array;
use interloom_program::{Along, Arithmetic, CheckContext, Item, Operand, Program, read};
use proptest::prelude::*;

use crate::support::cpu;

const OPERATIONS: [Arithmetic; 4] = [
    Arithmetic::Add,
    Arithmetic::Sub,
    Arithmetic::Mul,
    Arithmetic::Div,
];

/// A tensor and the array of the same small whole numbers, so that `f32` and `f64` agree but for
/// the quotient.
fn both(shape: &[usize], salt: u64) -> (Value, Array) {
    let count = shape.iter().product::<usize>() as u64;
    let numbers: Vec<f64> = (0..count)
        .map(|i| ((i * 7 + salt) % 11) as f64 - 5.0)
        .collect();
    let long: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
    let data: Vec<f32> = numbers.iter().map(|&x| x as f32).collect();
    let data = burn::tensor::TensorData::new(data, shape.to_vec());
    (
        Value::from_data(data, &cpu()).unwrap(),
        Array::new(&long, &numbers),
    )
}

/// A tensor `[1, N]`.
fn floats<const N: usize>(numbers: [f32; N]) -> Value {
    Tensor::<2>::from_floats([numbers], &cpu()).erase()
}

fn numbers(value: &Value) -> (Vec<u64>, Vec<f32>) {
    let Value::Tensor(tensor) = value else {
        panic!("{value} is no tensor")
    };
    let shape = Operand::shape(value).unwrap();
    (shape, tensor.to_data().iter::<f32>().collect())
}

fn agrees(own: Result<Value, Misfit>, naive: Result<Array, Misfit>) {
    match (own, naive) {
        (Ok(own), Ok(naive)) => {
            let rounded: Vec<f32> = naive.data().iter().map(|&x| x as f32).collect();
            let (shape, data) = numbers(&own);
            // Burn has no tensors without dimensions.
            let expected = if naive.shape().is_empty() {
                vec![1]
            } else {
                naive.shape().to_vec()
            };
            assert_eq!(shape, expected);
            let is_same = |(a, b): (&f32, &f32)| a == b || (a.is_nan() && b.is_nan());
            assert!(
                data.iter().zip(&rounded).all(is_same),
                "{data:?} {rounded:?}"
            );
        }
        (own, naive) => assert_eq!(own.is_err(), naive.is_err()),
    }
}

/// As [`agrees`], where `f32` rounds.
fn agrees_nearly(own: Result<Value, Misfit>, naive: Result<Array, Misfit>) {
    let (Ok(own), Ok(naive)) = (&own, &naive) else {
        assert_eq!(own.is_err(), naive.is_err());
        return;
    };
    let (shape, data) = numbers(own);
    assert_eq!(shape, naive.shape());
    let is_near = |(&a, &b): (&f32, &f64)| (f64::from(a) - b).abs() < 1e-5;
    assert!(
        data.iter().zip(naive.data()).all(is_near),
        "{data:?} {naive:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn arithmetic_is_that_of_arrays(shape in prop::collection::vec(1..4_usize, 1..5), salt in 0..99_u64, number in -3..4_i32) {
        let ((x, naive_x), (y, naive_y)) = (both(&shape, salt), both(&shape, salt + 3));
        let number = f64::from(number);
        for operation in OPERATIONS {
            agrees(x.combine(operation, &y), naive_x.combine(operation, &naive_y));
            agrees(x.with_number(operation, number), naive_x.with_number(operation, number));
            agrees(x.after_number(number, operation), naive_x.after_number(number, operation));
        }
        agrees(Operand::zeros_like(&x), naive_x.zeros_like());
        agrees(x.sum(), naive_x.sum());
        agrees(x.argmax_last(), naive_x.argmax_last());
    }

    #[test]
    fn what_is_done_along_a_dimension_is_that_of_arrays(shape in prop::collection::vec(0..4_usize, 1..5), salt in 0..99_u64) {
        let (x, naive_x) = both(&shape, salt);
        agrees(x.abs(), naive_x.abs());
        for dimension in 0..shape.len() {
            agrees(x.along(Along::Sum, dimension), naive_x.along(Along::Sum, dimension));
            for operation in [Along::Mean, Along::Softmax] {
                agrees_nearly(x.along(operation, dimension), naive_x.along(operation, dimension));
            }
        }
    }

    #[test]
    fn matrix_products_are_those_of_arrays(
        before in prop::collection::vec((1..3_usize, prop::bool::ANY, prop::bool::ANY), 0..3),
        [rows, inner, columns] in prop::array::uniform3(0..4_usize),
        (left, right) in (0..3_usize, 0..3_usize),
        fits in prop::bool::weighted(0.9),
    ) {
        // A dimension before the matrices may be 1 on either side, or missing in front.
        let side = |skip: usize, is_left: bool, matrix: [usize; 2]| {
            let lengths = before.iter().skip(skip).map(|&(length, one_left, one_right)| {
                let is_one = if is_left { one_left } else { one_right };
                if is_one { 1 } else { length }
            });
            lengths.chain(matrix).collect::<Vec<_>>()
        };
        let inner_right = if fits { inner } else { inner + 1 };
        let (x, naive_x) = both(&side(left, true, [rows, inner]), 1);
        let (y, naive_y) = both(&side(right, false, [inner_right, columns]), 4);
        agrees(x.matmul(&y), naive_x.matmul(&naive_y));
    }

    #[test]
    fn parts_are_those_of_arrays(
        lengths in prop::collection::vec((1..5_u64, 0..5_u64, 0..5_u64), 1..5), salt in 0..99_u64,
    ) {
        let shape: Vec<usize> = lengths.iter().map(|&(length, ..)| length as usize).collect();
        let range = |&(length, a, b): &(u64, u64, u64)| {
            let (a, b) = (a.min(length), b.min(length));
            a.min(b)..a.max(b)
        };
        let ranges: Vec<_> = lengths.iter().map(range).collect();
        let (x, naive_x) = both(&shape, salt);
        let (part, naive_part) = (x.slice(&ranges).unwrap(), naive_x.slice(&ranges).unwrap());
        agrees(Ok(part.clone()), Ok(naive_part.clone()));
        let (zeros, naive_zeros) = (Operand::zeros_like(&part).unwrap(), naive_part.zeros_like().unwrap());
        agrees(x.patch(&ranges, &zeros), naive_x.patch(&ranges, &naive_zeros));
        for place in 0..=shape[0] as u64 {
            agrees(x.at(place), naive_x.at(place));
        }
        let before = numbers(&x);
        agrees(Ok(x.clone()), Ok(naive_x));
        prop_assert_eq!(numbers(&x.patch(&ranges, &part).unwrap()), before);
    }
}

#[test]
fn shapes_are_broadcast_from_the_last_dimension() {
    let x = both(&[2, 3, 4], 0).0;
    let row = both(&[4], 5).0;
    let column = both(&[3, 1], 5).0;
    let sum = |l: &Value, r: &Value| l.combine(Arithmetic::Add, r);
    let typed = x.clone().tensor::<3>().unwrap() + row.clone().tensor::<1>().unwrap().unsqueeze();
    assert_eq!(numbers(&sum(&x, &row).unwrap()), numbers(&typed.erase()));
    assert_eq!(
        numbers(&sum(&row, &x).unwrap()),
        numbers(&sum(&x, &row).unwrap())
    );
    assert_eq!(
        Operand::shape(&sum(&column, &row).unwrap()),
        Some(vec![3, 4])
    );
    assert_eq!(
        Operand::shape(&sum(&x, &column).unwrap()),
        Some(vec![2, 3, 4])
    );
    let misfit = sum(&x, &both(&[3], 0).0).unwrap_err();
    insta::assert_snapshot!(misfit, @"expected a tensor that goes with f32[2, 3, 4] element by element, found f32[3]");
}

#[test]
fn plain_numbers_go_with_tensors_and_with_one_another() {
    let x = floats([1.0, 2.0]);
    let half = Value::Float(0.5);
    let product = x.combine(Arithmetic::Mul, &half).unwrap();
    assert_eq!(numbers(&product).1, [0.5, 1.0]);
    let left = half.combine(Arithmetic::Sub, &x).unwrap();
    assert_eq!(numbers(&left).1, [-0.5, -1.5]);
    let plain = |value: Result<Value, Misfit>| value.unwrap().to_string();
    let (seven, two) = (Value::Int(7), Value::Int(2));
    assert_eq!(plain(seven.combine(Arithmetic::Sub, &two)), "5");
    assert_eq!(plain(seven.combine(Arithmetic::Div, &two)), "3.5");
    assert_eq!(
        plain(Value::Int(i64::MAX).combine(Arithmetic::Mul, &two)),
        "1.8446744073709552e19"
    );
    assert_eq!(plain(half.with_number(Arithmetic::Add, 1.0)), "1.5");
    assert_eq!(plain(half.after_number(1.0, Arithmetic::Sub)), "0.5");
    assert_eq!((half.number(), x.number()), (Some(0.5), None));
    assert_eq!(x.mean().unwrap().number(), Some(1.5));
}

#[test]
fn whole_numbers_stay_whole() {
    let ids: Value = Tensor::<1, Int>::from_ints([3, 4], &cpu()).erase();
    assert_eq!(
        numbers(&ids.with_number(Arithmetic::Mul, 2.0).unwrap()).1,
        [6.0, 8.0]
    );
    assert_eq!(ids.sum().unwrap().number(), Some(7.0));
    let misfit = ids.with_number(Arithmetic::Add, 0.5).unwrap_err();
    insta::assert_snapshot!(misfit, @"expected a whole number to go with i32[2], found 0.5");
    let misfit = ids.with_number(Arithmetic::Div, 2.0).unwrap_err();
    insta::assert_snapshot!(misfit, @"expected floats, which can be divided, found i32[2]");
    assert!(
        ids.with_number(Arithmetic::Add, 2_147_483_648.0).is_err(),
        "no number of 32 bits"
    );
    assert!(ids.mean().is_err() && ids.combine(Arithmetic::Div, &ids).is_err());
}

#[test]
fn tuples_and_maps_are_made_read_and_changed() {
    let (x, one) = (floats([1.0]), Value::Int(1));
    let map = Operand::map(vec![("a".to_owned(), x.clone()), ("b".to_owned(), one)]).unwrap();
    let tuple = Value::tuple(vec![map.clone(), x.clone()]).unwrap();
    assert_eq!((tuple.leaves(), map.leaves()), (3, 2));
    let (first, name) = (Item::Place(0), Item::Name("b".to_owned()));
    let other = Operand::with_item(&map, &name, Value::Int(2)).unwrap();
    let replaced = Operand::with_item(&tuple, &first, other).unwrap();
    assert_eq!(replaced.to_string(), "({a: f32[1, 1], b: 2}, f32[1, 1])");
    assert_eq!(
        tuple.to_string(),
        "({a: f32[1, 1], b: 1}, f32[1, 1])",
        "values never change"
    );
    let half = Value::plain_number(0.5).expect("a part of a tuple may be a number");
    assert_eq!(Value::tuple(vec![half]).unwrap().to_string(), "(0.5)");
    let zeros = Operand::zeros_like(&replaced).unwrap();
    assert_eq!(zeros.to_string(), "({a: f32[1, 1], b: 0}, f32[1, 1])");
    for item in [Item::Place(2), name] {
        assert!(Operand::item(&tuple, &item).is_err());
        assert!(Operand::with_item(&tuple, &item, Value::Unit).is_err());
    }
}

#[test]
fn programs_are_checked_with_the_shapes_of_a_plain_pass() {
    let model: Bound<Hooked<Linear>> =
        Bound::new(Hooked::from(LinearConfig::new(2, 3).init(&cpu()))).unwrap();
    let x = Tensor::<2>::zeros([4, 2], &cpu());
    let shapes = model.sites().shapes(4, || model.forward(x)).unwrap();
    let known = CheckContext::of(model.sites()).shapes(&shapes, Some(1));
    let steer = |width: i64| Program::new().write("output", read("output").columns(0, width) * 2.0);
    steer(3).check(known).unwrap();
    let error = steer(2).check(known).unwrap_err();
    insta::assert_snapshot!(error, @"step 1: the replacement for `output` is a tensor [1, 2], but the site has a tensor [1, 3] for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write");
}

#[test]
fn what_cannot_be_computed_with_is_a_misfit_and_no_panic() {
    let flags: Value = Tensor::<1, Bool>::from_data([true], &cpu()).erase();
    let x = floats([1.0, 2.0]);
    for bad in [
        Value::Unit,
        Value::Text("a".into()),
        flags,
        Value::tuple(vec![x.clone()]).unwrap(),
    ] {
        assert!(bad.combine(Arithmetic::Add, &x).is_err(), "{bad}");
        assert!(x.combine(Arithmetic::Add, &bad).is_err(), "{bad}");
        assert!(bad.with_number(Arithmetic::Add, 1.0).is_err());
        assert!(bad.after_number(1.0, Arithmetic::Add).is_err());
        assert!(bad.abs().is_err() && bad.along(Along::Sum, 0).is_err());
        assert!(bad.matmul(&x).is_err() && x.matmul(&bad).is_err());
        assert!(bad.sum().is_err() && bad.mean().is_err() && bad.argmax_last().is_err());
        assert_eq!(bad.number(), None);
    }
    assert!(
        x.slice(&[0..1]).is_err() && x.slice(&[0..2, 0..1]).is_err(),
        "the tensor is [1, 2]"
    );
    assert!(
        x.patch(&[0..1, 0..1], &x).is_err(),
        "the part has another shape"
    );
    assert!(Value::Unit.slice(&[]).is_err() && both(&[0, 2], 0).0.argmax_last().is_err());
}
