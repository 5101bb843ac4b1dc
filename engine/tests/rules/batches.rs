//! Rows of the batch: R50 and R51.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use interloom_engine::array::Array;
use interloom_engine::{
    Exchange, Fault, FaultKind, Flow, Group, Invoke, Moment, Observer, Padding, PaddingSide, Port,
    RowLayout, Rows, RunEnd, Setup, SiteMap, mediator,
};

use crate::support::{Model, Trial, stack, table};

#[test]
fn r50_each_invoke_reads_and_swaps_its_own_rows() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let a = trial.rows("a", 1, async |cx| {
        let x = cx.input("").await?;
        cx.set_output("", table(1, 500.0)).await?;
        Ok(x)
    });
    let b = trial.rows("b", 2, async |cx| cx.input("").await);
    let all = trial.whole("all", async |cx| cx.input("").await);
    let plain = model.plain(table(3, 0.0));
    let ran = trial.run(table(3, 0.0));
    assert_eq!(a.take(), Some(table(1, 0.0)));
    assert_eq!(b.take(), Some(table(2, 2.0)));
    assert_eq!(all.take(), Some(table(3, 0.0)));
    let output = ran.output.unwrap();
    assert_eq!(output.data()[..2], [500.0, 501.0]);
    assert_eq!(output.data()[2..], plain.data()[2..]);
}

#[test]
fn r50_rows_are_given_out_in_definition_order() {
    let model = stack();
    let mut setup = Setup::new(model.map.clone());
    for (name, rows) in [("a", Some(2)), ("b", None), ("c", Some(0)), ("d", Some(3))] {
        let (program, _) = mediator(model.map.clone(), async |_| Ok(()));
        let invoke = Invoke::<Array>::new(name, program);
        setup.invoke(match rows {
            Some(rows) => invoke.rows(rows),
            None => invoke,
        });
    }
    let rows = |start, count| Group::Rows(Rows { start, count });
    let expected = [rows(0, 2), Group::Whole, rows(2, 0), rows(2, 3)];
    assert_eq!(setup.groups().unwrap(), expected);
}

#[test]
fn r50_an_invoke_with_no_rows_at_all_reads_an_empty_batch() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let none = trial.rows("none", 0, async |cx| {
        let x = cx.input("").await?;
        cx.set_input("", x.clone()).await?;
        Ok(x)
    });
    trial.rows("all", 2, async |_| Ok(()));
    let ran = trial.run(table(2, 0.0));
    assert_eq!(none.take().unwrap().shape(), [0, 2]);
    assert_eq!(ran.output, Some(model.plain(table(2, 0.0))));
}

#[test]
fn r50_a_swap_never_changes_a_value_that_somebody_holds() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let held = trial.whole("holder", async |cx| {
        let held = cx.input("").await?;
        cx.output("").await?;
        Ok(held)
    });
    for name in ["a", "b"] {
        trial.rows(name, 1, async |cx| cx.set_input("", table(1, 900.0)).await);
    }
    let input = table(2, 0.0);
    let ran = trial.run(input.clone());
    assert_eq!(held.take(), Some(table(2, 0.0)));
    assert_eq!(input, table(2, 0.0));
    assert_eq!(
        ran.output,
        Some(model.plain(Array::new(&[2, 2], &[900.0, 901.0, 900.0, 901.0])))
    );
}

#[test]
fn r50_a_tensor_that_is_not_batched_passes_whole() {
    let model = stack();
    for value in [Array::scalar(7.0), Array::new(&[3], &[1.0, 2.0, 3.0])] {
        let mut trial = Trial::of(&model);
        let a = trial.rows("a", 1, async |cx| {
            let x = cx.input("").await?;
            cx.set_input("", x.map(|x| x + 1.0)).await?;
            Ok(x)
        });
        let b = trial.rows("b", 1, async |cx| cx.input("").await);
        let ran = trial.run(value.clone());
        assert_eq!(ran.report.result, Ok(RunEnd::Completed));
        assert_eq!(a.take(), Some(value.clone()));
        assert_eq!(b.take(), Some(value.map(|x| x + 1.0)));
    }
}

/// A run of one site, `m.output`, with the layout declared; two invokes of one row each read it.
fn read_declared(layout: RowLayout, value: Array) -> [Array; 2] {
    let mut map = SiteMap::new();
    map.add("m", &[Port::Output]);
    let point = map.point("m.output").unwrap();
    map.declare_rows(point, layout);
    let map = Arc::new(map);
    let mut setup = Setup::new(map.clone());
    let saved = ["a", "b"].map(|name| {
        let (program, saved) = mediator(map.clone(), async |cx| cx.output("m").await);
        setup.invoke(Invoke::new(name, program).rows(1));
        saved
    });
    let mut run = setup.start().unwrap();
    assert!(run.passes(point));
    assert!(matches!(run.provide(point, value), Flow::Continue(_)));
    assert_eq!(run.finish().result, Ok(RunEnd::Completed));
    saved.map(|saved| saved.take().unwrap())
}

#[test]
fn r50_a_declared_layout_counts_and_coincidence_does_not() {
    let value = table(2, 0.0);
    let rows = [table(1, 0.0), table(1, 2.0)];
    assert_eq!(read_declared(RowLayout::ByShape, value.clone()), rows);
    assert_eq!(read_declared(RowLayout::Batched, value.clone()), rows);
    assert_eq!(
        read_declared(RowLayout::Leaves(vec![true]), value.clone()),
        rows
    );
    let whole = [value.clone(), value.clone()];
    assert_eq!(read_declared(RowLayout::Shared, value.clone()), whole);
    assert_eq!(
        read_declared(RowLayout::Leaves(vec![false]), value.clone()),
        whole
    );
}

#[test]
fn r51_a_swap_of_another_shape_is_refused_with_both_shapes() {
    let model = stack();
    for (rows, shape, expected) in [
        (Some(1), [2, 2], "expected f64[1, 2], found f64[2, 2]"),
        (Some(1), [1, 3], "expected f64[1, 2], found f64[1, 3]"),
        (None, [1, 2], "expected f64[2, 2], found f64[1, 2]"),
    ] {
        let mut trial = Trial::of(&model);
        let program = async move |cx: interloom_engine::Cx<Array>| {
            let value = Array::new(&shape, &vec![0.0; (shape[0] * shape[1]) as usize]);
            match cx.set_input("", value).await.map_err(Fault::into_kind) {
                Err(FaultKind::Misfit { site, misfit }) => Ok((site, misfit.to_string())),
                other => panic!("{other:?}"),
            }
        };
        let saved = match rows {
            Some(rows) => trial.rows("a", rows, program),
            None => trial.whole("a", program),
        };
        trial.rows("b", if rows.is_some() { 1 } else { 2 }, async |_| Ok(()));
        let ran = trial.run(table(2, 0.0));
        let (site, misfit) = saved.take().unwrap();
        assert_eq!((site.as_str(), misfit.as_str()), ("input.i0", expected));
        // The refused swap changed nothing.
        assert_eq!(ran.output, Some(model.plain(table(2, 0.0))));
    }
}

#[test]
fn r51_the_owner_of_the_whole_batch_may_reshape() {
    let model = stack();
    let wide = Array::new(&[2, 3], &[1.0; 6]);
    let mut trial = Trial::of(&model);
    let replacement = wide.clone();
    trial.rows("owner", 2, async move |cx| {
        cx.reshape("input", replacement).await
    });
    assert_eq!(
        trial.run(table(2, 0.0)).output,
        Some(model.plain(wide.clone()))
    );

    let mut trial = Trial::of(&model);
    let replacement = wide.clone();
    trial.whole("alone", async move |cx| {
        cx.reshape("input", replacement).await
    });
    assert_eq!(trial.run(table(2, 0.0)).output, Some(model.plain(wide)));
}

fn reshape_refused(model: &Model, rows: Option<u32>, others: u32) -> (u32, u32) {
    let mut trial = Trial::of(model);
    let program = async |cx: interloom_engine::Cx<Array>| match cx
        .reshape("input", Array::new(&[1, 1], &[0.0]))
        .await
        .map_err(Fault::into_kind)
    {
        Err(FaultKind::NotOwner { rows, batch, .. }) => Ok((rows, batch)),
        other => panic!("{other:?}"),
    };
    let saved = match rows {
        Some(rows) => trial.rows("a", rows, program),
        None => trial.whole("a", program),
    };
    trial.rows("b", others, async |_| Ok(()));
    let batch = rows.unwrap_or(0) + others;
    let ran = trial.run(table(u64::from(batch), 0.0));
    assert_eq!(ran.output, Some(model.plain(table(u64::from(batch), 0.0))));
    saved.take().unwrap()
}

#[test]
fn r51_whoever_shares_the_batch_may_not_reshape() {
    let model = stack();
    assert_eq!(reshape_refused(&model, Some(1), 2), (1, 3));
    // A mediator without rows sees all of them, but owns none.
    assert_eq!(reshape_refused(&model, None, 2), (0, 2));
}

/// Notes how often it is said how rows are padded, and whether the model had come to a site then.
#[derive(Clone, Default)]
struct Told(Rc<RefCell<Vec<Option<Padding>>>>);

impl Observer<Array> for Told {
    fn exchange(&mut self, _: &Exchange<'_, Array>) {}

    fn moment(&mut self, moment: &Moment<'_, Array>) {
        let told = match *moment {
            Moment::Padded { padding } => Some(padding.clone()),
            Moment::Enter { .. } => None,
            _ => return,
        };
        self.0.borrow_mut().push(told);
    }
}

#[test]
fn r52_a_run_has_one_padding_which_is_said_before_its_model_comes_to_a_site() {
    let padding = |first| Padding::new(PaddingSide::Left, [first, 3]);
    let mut map = SiteMap::new();
    map.add("act", &[Port::Output]);
    let map = Arc::new(map);
    let act = map.point("act.output").unwrap();
    let start = |declared: Option<Padding>| {
        let told = Told::default();
        let mut setup = Setup::new(map.clone());
        setup.padding(declared);
        setup.observer(told.clone());
        let (program, _) = mediator(map.clone(), async |cx| cx.output("act").await);
        setup.invoke(Invoke::new("read", program));
        (setup.start().unwrap(), told)
    };
    let expected = [padding(1), None];
    for declared in [None, padding(1)] {
        let (mut run, told) = start(declared);
        assert!(run.take_padding(padding(1).as_ref()));
        assert!(run.passes(act));
        drop(run.provide(act, Array::scalar(1.0)));
        // Another one, and none, are not that of the run.
        assert!(!run.take_padding(padding(2).as_ref()) && !run.take_padding(None));
        assert_eq!(told.0.borrow()[..], expected);
    }
    let (mut even, told) = start(None);
    assert!(even.take_padding(None) && !even.take_padding(padding(1).as_ref()));
    assert_eq!(told.0.borrow()[..], []);
    let (mut late, _) = start(None);
    assert!(late.passes(act));
    drop(late.provide(act, Array::scalar(1.0)));
    assert!(!late.take_padding(padding(1).as_ref()));
}
