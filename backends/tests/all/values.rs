//! Values: types forgotten and got back, rows taken, put back and joined, arithmetic.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::{Bool, Device, Float, Int, Tensor, TensorData};
use interloom_backends::{ElementKind, Erase, Value};
use interloom_engine::{RowLayout, Rows, Value as _};
use proptest::prelude::*;

use crate::naive::{
    BATCH, Element, Naive, data, elements, is_batched, layouts, leaf, naive, other_elements, rows,
    values,
};
use crate::support::{bits, cpu, tensor};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn r50_rows_are_those_of_the_batched_tensors(value in values(), rows in rows(), layout in layouts()) {
        let expected = naive(&value).rows(rows, &|_, length| is_batched(&layout, length));
        prop_assert_eq!(naive(&value.rows(rows, BATCH, &layout)), expected);
    }

    #[test]
    fn r50_what_is_spliced_in_is_read_back_and_nothing_else_changes(
        value in values(), rows in rows(), layout in layouts(),
    ) {
        let before = naive(&value);
        let part = other_elements(value.rows(rows, BATCH, &layout));
        let batched = |_: usize, length: usize| is_batched(&layout, length);
        let expected = naive(&value).splice(rows, &naive(&part), &batched);
        let spliced = value.splice(rows, BATCH, &layout, part.clone()).unwrap();
        prop_assert_eq!(naive(&spliced), expected);
        prop_assert_eq!(naive(&spliced.rows(rows, BATCH, &layout)), naive(&part));
        prop_assert_eq!(naive(&value), before, "the value held before is as it was");
    }

    #[test]
    fn splicing_the_own_rows_changes_nothing(value in values(), rows in rows(), layout in layouts()) {
        let part = value.rows(rows, BATCH, &layout);
        let spliced = value.splice(rows, BATCH, &layout, part).unwrap();
        prop_assert_eq!(naive(&spliced), naive(&value));
    }

    #[test]
    fn the_rows_of_all_join_to_the_whole(
        element in elements(), rest in prop::collection::vec(1..3_usize, 0..5), cut in 1..BATCH, salt in any::<u32>(),
    ) {
        let shape: Vec<usize> = [BATCH as usize].into_iter().chain(rest).collect();
        let tensor = |salt| leaf(element, shape.clone(), salt);
        let inner = Value::Tuple([tensor(salt), Value::Int(3)].into());
        let value = Value::Tuple([inner, Value::List([tensor(!salt)].into())].into());
        let part = |start, end: u32| {
            value.rows(Rows { start, count: end - start }, BATCH, &RowLayout::ByShape)
        };
        let joined = Value::join(vec![part(0, cut), part(cut, BATCH)]).unwrap();
        prop_assert_eq!(naive(&joined), naive(&value));
        let single = (0..BATCH).map(|row| part(row, row + 1)).collect();
        prop_assert_eq!(naive(&Value::join(single).unwrap()), naive(&value));
    }

    #[test]
    fn a_value_fits_itself_and_what_has_its_shape(value in values()) {
        prop_assert!(value.fits(&value).is_ok());
        prop_assert!(value.fits(&other_elements(value.clone())).is_ok());
        let wrapped = Value::Tuple([value.clone()].into());
        prop_assert!(value.fits(&wrapped).is_err());
    }

    #[test]
    fn structures_survive_being_erased(
        shape in [1..4_usize, 1..4, 1..4], number in any::<i64>(), count in any::<u32>(), truth in any::<bool>(),
        text in ".{0,8}", length in 0..4_usize, names in prop::collection::btree_set("[a-z]{1,3}", 0..4),
    ) {
        let t = |salt| tensor(shape, salt);
        let list: Vec<Tensor<3>> = (0..length).map(t).collect();
        let map: BTreeMap<String, Tensor<3>> = names.into_iter().zip((5..).map(t)).collect();
        type Everything = (
            (Tensor<3>, i64, f64), Option<Tensor<3>>, Option<Tensor<3>>, Vec<Tensor<3>>,
            BTreeMap<String, Tensor<3>>, (usize, bool, String, ()),
        );
        let first = (t(1), number, 0.1 * number as f64);
        let last = (count as usize, truth, text, ());
        let original: Everything = (first, Some(t(2)), None, list, map, last);
        let value = original.clone().erase();
        let back = Everything::recover(value.clone()).unwrap();
        prop_assert_eq!(naive(&back.clone().erase()), naive(&value));
        prop_assert_eq!(back.0.1, original.0.1);
        prop_assert_eq!(back.0.2.to_bits(), original.0.2.to_bits());
        prop_assert!(back.2.is_none());
        prop_assert_eq!(back.3.len(), length);
        prop_assert_eq!(back.4.keys().collect::<Vec<_>>(), original.4.keys().collect::<Vec<_>>());
        prop_assert_eq!(back.5, original.5);
        prop_assert_eq!(bits(back.0.0), bits(original.0.0));
    }
}

#[test]
fn r50_declared_layouts_count_and_shapes_do_not() {
    // Of the two tensors with a batch's rows only the first is batched; the third has no such
    // dimension at all.
    let value = (tensor([5, 2], 1), (tensor([5], 2), tensor([3, 5], 3))).erase();
    let rows = Rows { start: 1, count: 2 };
    let shown = |layout: RowLayout| value.rows(rows, BATCH, &layout).to_string();
    let shown = [
        shown(RowLayout::ByShape),
        shown(RowLayout::Shared),
        shown(RowLayout::Leaves(vec![true, false])),
        shown(RowLayout::Leaves(vec![false, true, false])),
        // Whatever its length: a tensor of another length has the rows that it has.
        shown(RowLayout::Batched),
    ];
    insta::assert_snapshot!(shown.join("\n"), @r"
        (f32[2, 2], (f32[2], f32[3, 5]))
        (f32[5, 2], (f32[5], f32[3, 5]))
        (f32[2, 2], (f32[5], f32[3, 5]))
        (f32[5, 2], (f32[2], f32[3, 5]))
        (f32[2, 2], (f32[2], f32[2, 5]))
        ");

    let layout = RowLayout::Leaves(vec![true, false]);
    let part = (tensor([2, 2], 7), (tensor([5], 8), tensor([3, 5], 9))).erase();
    let spliced = value.splice(rows, BATCH, &layout, part.clone()).unwrap();
    let by_layout = |leaf: usize, _: usize| leaf == 0;
    let expected = naive(&value).splice(rows, &naive(&part), &by_layout);
    assert_eq!(naive(&spliced), expected);
}

#[test]
#[should_panic(expected = "rows 2..4 of f32[3]")]
fn rows_that_a_tensor_does_not_have_are_refused() {
    let _ = tensor([3], 1)
        .erase()
        .rows(Rows { start: 2, count: 2 }, 4, &RowLayout::Batched);
}

#[test]
fn splices_of_another_shape_kind_or_structure_name_both() {
    let whole = (tensor([5, 2], 1), tensor([3], 2)).erase();
    let rows = Rows { start: 1, count: 2 };
    let parts: [Value; 6] = [
        (tensor([3, 2], 1), tensor([3], 2)).erase(),
        (tensor([2, 2], 1), tensor([4], 2)).erase(),
        (tensor([2, 2], 1).int(), tensor([3], 2)).erase(),
        (leaf(Element::F64, vec![2, 2], 1), tensor([3], 2)).erase(),
        (tensor([2, 2], 1),).erase(),
        tensor([2, 2], 1).erase(),
    ];
    let messages = parts.map(|part| {
        let splice = whole.splice(rows, BATCH, &RowLayout::ByShape, part);
        splice.unwrap_err().to_string()
    });
    insta::assert_snapshot!(messages.join("\n"), @r"
        expected f32[2, 2] within (f32[2, 2], f32[3]), found f32[3, 2] within (f32[3, 2], f32[3])
        expected f32[3] within (f32[2, 2], f32[3]), found f32[4] within (f32[2, 2], f32[4])
        expected f32[2, 2] within (f32[2, 2], f32[3]), found i32[2, 2] within (i32[2, 2], f32[3])
        expected f32[2, 2] within (f32[2, 2], f32[3]), found f64[2, 2] within (f64[2, 2], f32[3])
        expected (f32[2, 2], f32[3]), found (f32[2, 2])
        expected (f32[2, 2], f32[3]), found f32[2, 2]
        ");
}

#[test]
fn values_that_do_not_fit_name_both() {
    let text = |text: &str| Value::Text(text.into());
    let map = |keys: &[&str]| {
        let entry = |&key: &&str| (Arc::from(key), Value::Int(1));
        Value::Map(keys.iter().map(entry).collect())
    };
    let pairs = [
        (tensor([2], 1).erase(), tensor([3], 1).erase()),
        (Value::Int(1), Value::Float(1.0)),
        (Value::Unit, Value::Bool(true)),
        (text("a"), Value::Tuple([text("a")].into())),
        (
            Value::Tuple([Value::Unit].into()),
            Value::List([Value::Unit].into()),
        ),
        (map(&["a", "b"]), map(&["a", "c"])),
    ];
    let messages = pairs.map(|(left, right)| left.fits(&right).unwrap_err().to_string());
    insta::assert_snapshot!(messages.join("\n"), @r#"
    expected f32[2], found f32[3]
    expected 1, found 1.0
    expected nothing, found true
    expected "a", found ("a")
    expected (nothing), found [nothing]
    expected {a: 1, b: 1}, found {a: 1, c: 1}
    "#);
    // Of plain values the kind counts, not the value.
    assert!(text("a").fits(&text("b")).is_ok());
    assert!(Value::Int(1).fits(&Value::Int(2)).is_ok());
}

#[test]
fn joins_differ_in_dimension_0_only() {
    let pairs = [
        (tensor([1, 2], 1).erase(), tensor([1, 3], 1).erase()),
        (tensor([1, 2], 1).erase(), tensor([1, 2], 1).int().erase()),
        (tensor([1, 2], 1).erase(), tensor([1], 1).erase()),
        (tensor([1, 2], 1).erase(), leaf(Element::F64, vec![1, 2], 1)),
        (tensor([1], 1).erase(), Value::Unit),
    ];
    let messages = pairs.map(|(left, right)| {
        let joined = Value::join(vec![left, right]);
        joined.unwrap_err().to_string()
    });
    insta::assert_snapshot!(messages.join("\n"), @r"
        expected f32[1, 2], found f32[1, 3]
        expected f32[1, 2], found i32[1, 2]
        expected f32[1, 2], found f32[1]
        expected f32[1, 2], found f64[1, 2]
        expected f32[1], found nothing
        ");
    assert!(matches!(Value::join(Vec::new()), Ok(Value::Unit)));
    let unequal = Value::join(vec![tensor([1, 2], 1).erase(), tensor([4, 2], 1).erase()]);
    assert_eq!(unequal.unwrap().to_string(), "f32[5, 2]");
}

/// Erases a tensor of rank `D`, gets it back, and asks for every other rank and kind.
fn round_trip<const D: usize, K: ElementKind>(original: Tensor<D, K>)
where
    Tensor<D, K>: Clone,
{
    let data = original.clone().into_data();
    let value = original.erase();
    let Value::Tensor(any) = value.clone() else {
        panic!("a tensor is erased to a tensor");
    };
    assert_eq!((any.kind(), any.rank()), (K::ELEMENT, D));
    assert_eq!(any.shape(), data.shape().to_vec());
    assert_eq!(any.to_data(), data);
    let again = Value::from_data(data.clone(), &cpu()).unwrap();
    assert_eq!(naive(&again), Naive::Leaf(data.clone()));

    macro_rules! ask {
        ($kind:ty; $($rank:literal)*) => {
            $(
                let expected = $rank == D && <$kind>::ELEMENT == K::ELEMENT;
                let typed = Tensor::<$rank, $kind>::recover(value.clone());
                assert_eq!(typed.is_ok(), expected, "{value} as {} of rank {}", <$kind>::ELEMENT, $rank);
                if let Ok(typed) = typed {
                    assert_eq!(typed.into_data(), data);
                }
            )*
        };
    }
    ask!(Float; 1 2 3 4 5 6 7 8);
    ask!(Int; 1 2 3 4 5 6 7 8);
    ask!(Bool; 1 2 3 4 5 6 7 8);
}

#[test]
fn every_rank_and_kind_comes_back_and_no_other() {
    macro_rules! all {
        ($($rank:literal)*) => {
            $({
                let shape: [usize; $rank] = std::array::from_fn(|index| 1 + index % 3);
                let floats = tensor(shape, $rank);
                round_trip(floats.clone().greater_elem(0.2));
                round_trip((floats.clone() * 100.0).int());
                round_trip(floats);
            })*
        };
    }
    all!(1 2 3 4 5 6 7 8);
}

#[test]
fn a_wrong_type_names_both() {
    let messages = [
        Tensor::<3>::recover(tensor([2, 2], 1).erase())
            .unwrap_err()
            .to_string(),
        Tensor::<2, Int>::recover(tensor([2, 2], 1).erase())
            .unwrap_err()
            .to_string(),
        Tensor::<1, Bool>::recover(Value::Bool(true))
            .unwrap_err()
            .to_string(),
        <(Value, Value)>::recover((1_i64, 2_i64, 3_i64).erase())
            .unwrap_err()
            .to_string(),
        <(Value,)>::recover(Value::List([Value::Unit].into()))
            .unwrap_err()
            .to_string(),
        Vec::<i64>::recover((1_i64, 2_i64).erase())
            .unwrap_err()
            .to_string(),
        Vec::<i64>::recover(vec![1.5].erase())
            .unwrap_err()
            .to_string(),
        BTreeMap::<String, i64>::recover(Value::Unit)
            .unwrap_err()
            .to_string(),
        bool::recover(Value::Int(1)).unwrap_err().to_string(),
        i64::recover(Value::Float(1.0)).unwrap_err().to_string(),
        f64::recover(Value::Int(1)).unwrap_err().to_string(),
        usize::recover(Value::Int(-1)).unwrap_err().to_string(),
        String::recover(Value::Unit).unwrap_err().to_string(),
        <()>::recover(Value::Text("x".into()))
            .unwrap_err()
            .to_string(),
        Option::<f64>::recover(Value::Bool(true))
            .unwrap_err()
            .to_string(),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r#"
            expected a tensor of 3 dimensions and kind float, found f32[2, 2]
            expected a tensor of 2 dimensions and kind int, found f32[2, 2]
            expected a tensor of 1 dimensions and kind bool, found true
            expected a tuple of 2, found (1, 2, 3)
            expected a tuple of 1, found [nothing]
            expected a list, found (1, 2)
            expected an integer, found 1.5
            expected a map, found nothing
            expected a truth value, found 1
            expected an integer, found 1.0
            expected a number, found 1
            expected an integer that is not negative, found -1
            expected text, found nothing
            expected nothing, found "x"
            expected a number, found true
            "#);
}

#[test]
fn data_of_no_or_too_many_dimensions_is_refused() {
    let of_rank = |rank: usize| TensorData::new(vec![1_f32], vec![1; rank]);
    let messages = [0, 9].map(|rank| {
        let value = Value::from_data(of_rank(rank), &cpu());
        value.unwrap_err().to_string()
    });
    insta::assert_snapshot!(messages.join("\n"), @r"
        expected a tensor of 1 to 8 dimensions that is not quantised, found F32 of 0 dimensions
        expected a tensor of 1 to 8 dimensions that is not quantised, found F32 of 9 dimensions
        ");
    assert!(Value::from_data(of_rank(8), &cpu()).is_ok());
}

#[test]
fn element_types_pass_unchanged() {
    let names = [
        data([1_u8].into_iter(), vec![1]),
        data([1_i8].into_iter(), vec![1]),
        data([1_u16].into_iter(), vec![1]),
        data([1_i16].into_iter(), vec![1]),
        data([1_u32].into_iter(), vec![1]),
        data([1_i32].into_iter(), vec![1]),
        data([1_u64].into_iter(), vec![1]),
        data([1_i64].into_iter(), vec![1]),
        data([1_f32].into_iter(), vec![1]),
        data([1_f64].into_iter(), vec![1]),
        data([true].into_iter(), vec![1]),
    ]
    .map(|data| {
        let value = Value::from_data(data.clone(), &cpu()).unwrap();
        assert_eq!(naive(&value), Naive::Leaf(data));
        value.to_string()
    });
    insta::assert_snapshot!(names.join(" "), @"u8[1] i8[1] u16[1] i16[1] u32[1] i32[1] u64[1] i64[1] f32[1] f64[1] bool[1]");
}

#[test]
fn items_and_names_are_found_and_replaced() {
    let tuple = (1_i64, tensor([2], 1), true).erase();
    assert!(matches!(tuple.item(0), Ok(Value::Int(1))));
    let replaced = tuple.with_item(0, tensor([1], 2)).unwrap();
    assert_eq!(replaced.to_string(), "(f32[1], f32[2], true)");
    assert_eq!(
        tuple.to_string(),
        "(1, f32[2], true)",
        "the original is as it was"
    );
    let map = BTreeMap::from([("loss".to_owned(), 0.5), ("step".to_owned(), 3.0)]).erase();
    assert!(matches!(map.get("step"), Ok(Value::Float(3.0))));
    let list = vec![tensor([1], 1); 2].erase();
    let messages = [
        tuple.item(3).unwrap_err().to_string(),
        map.item(0).unwrap_err().to_string(),
        list.with_item(2, tensor([1], 1)).unwrap_err().to_string(),
        map.get("lost").unwrap_err().to_string(),
        tuple.get("loss").unwrap_err().to_string(),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r"
        expected a tuple or list of more than 3 items, found (1, f32[2], true)
        expected a tuple or list of more than 0 items, found {loss: 0.5, step: 3.0}
        expected a tuple or list of more than 2 items, found [f32[1], f32[1]]
        expected a map with `lost`, found {loss: 0.5, step: 3.0}
        expected a map with `loss`, found (1, f32[2], true)
        ");
}

#[test]
fn arithmetic_is_that_of_burn() {
    let (a, b) = (tensor([2, 3], 1), tensor([2, 3], 4) + 2.0);
    let (left, right) = (a.clone().erase(), b.clone().erase());
    let pairs = [
        (left.clone() + right.clone(), a.clone() + b.clone()),
        (left.clone() - right.clone(), a.clone() - b.clone()),
        (left.clone() * right.clone(), a.clone() * b.clone()),
        (left.clone() / right.clone(), a.clone() / b.clone()),
        (left.clone() + 0.3, a.clone() + 0.3),
        (left.clone() - 0.3, a.clone() - 0.3),
        (left.clone() * 0.3, a.clone() * 0.3),
        (-left.clone(), -a.clone()),
        // Broadcast along dimension 0, which may also be missing.
        (
            left.clone() + tensor([1, 3], 9).erase(),
            a.clone() + tensor([1, 3], 9),
        ),
        (
            left.clone() + tensor::<1>([3], 9).erase(),
            a.clone() + tensor([1, 3], 9),
        ),
        // By reference, with burn's own tensors, and with numbers on the left.
        (&left - &right, a.clone() - b.clone()),
        (&left * right.clone(), a.clone() * b.clone()),
        (left.clone() / &right, a.clone() / b.clone()),
        (-&left, -a.clone()),
        (left.clone() + b.clone(), a.clone() + b.clone()),
        (&left - b.clone(), a.clone() - b.clone()),
        (left.clone() * &b, a.clone() * b.clone()),
        (&left / &b, a.clone() / b.clone()),
        (a.clone() - right.clone(), a.clone() - b.clone()),
        (a.clone() / &right, a.clone() / b.clone()),
        (2.0 - left.clone(), a.full_like(2.0) - a.clone()),
        (2.0 / &right, b.full_like(2.0) / b.clone()),
    ];
    for (ours, burns) in pairs {
        assert_eq!(bits(ours.tensor::<2>().unwrap()), bits(burns));
    }
    // Shared with the operands, which are as they were.
    assert_eq!(bits(left.tensor::<2>().unwrap()), bits(a));
    assert_eq!(bits(right.tensor::<2>().unwrap()), bits(b));
}

#[test]
fn arithmetic_of_what_cannot_be_added_panics_with_both() {
    let message = |f: fn() -> Value| {
        let payload = std::panic::catch_unwind(f).unwrap_err();
        interloom_engine::panic_message(&*payload)
    };
    let messages = [
        message(|| tensor([2], 1).erase() + tensor([2, 3], 1).erase()),
        message(|| tensor([2], 1).erase() + tensor([2], 1).int()),
        message(|| tensor([2], 1).int().erase() * 0.5),
        message(|| tensor([2], 1).int().erase() / 2.0),
        message(|| tensor([2], 1).bool().erase() + 1.0),
        message(|| Value::Unit + 1.0),
        message(|| tensor([2], 1) - Value::Text("one".into())),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r#"
    arithmetic: expected a tensor that goes with f32[2] element by element, found f32[2, 3]
    arithmetic: expected a tensor that goes with f32[2] element by element, found i32[2]
    arithmetic: expected a whole number to go with i32[2], found 0.5
    arithmetic: expected floats, which can be divided, found i32[2]
    arithmetic: expected a tensor of numbers, found bool[2]
    arithmetic: expected a tensor or a number, found nothing
    arithmetic: expected a tensor or a number, found "one"
    "#);
}

/// R50: swaps never change a value that a mediator holds, also where burn could write in place.
#[test]
fn r50_a_held_value_never_changes() {
    let whole = leaf(Element::F32, vec![5, 3], 1);
    let held = whole.clone();
    let typed: Tensor<2> = whole.clone().tensor().unwrap();
    let before = naive(&held);
    let rows = Rows { start: 1, count: 3 };
    let part = leaf(Element::F32, vec![3, 3], 9);
    let swapped = whole
        .splice(rows, BATCH, &RowLayout::ByShape, part.clone())
        .unwrap();
    drop(whole);
    let again = swapped.splice(rows, BATCH, &RowLayout::ByShape, part * 3.0);
    // Operations that burn does in place where it may.
    let _ = (typed.clone() * 2.0).slice_fill(0..2, 7.0);
    assert_ne!(naive(&again.unwrap()), before);
    assert_eq!(naive(&held), before);
    assert_eq!(Naive::Leaf(typed.into_data()), before);
}

#[test]
fn a_detached_value_has_no_graph_and_the_same_elements() {
    let device: Device = cpu().autodiff();
    let leaf = crate::support::tensor_on([2, 3], 1, &device).require_grad();
    let value = (leaf.clone() * 2.0, leaf.clone().int()).erase();
    let tracked: Tensor<2> = value.item(0).unwrap().tensor().unwrap();
    let detached: Tensor<2> = value.detached().item(0).unwrap().tensor().unwrap();
    assert_eq!(bits(tracked.clone()), bits(detached.clone()));
    let gradients = (tracked + detached).sum().backward();
    let gradient = leaf.grad(&gradients).unwrap();
    // Both count once for the elements, the tracked one alone for the gradient.
    assert_eq!(crate::support::floats(gradient), [2.0; 6]);
}
