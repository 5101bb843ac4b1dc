//! R73: edits belong to a model, and run before the mediators of every run.

use burn::nn::{Linear, LinearConfig};
use burn::tensor::Tensor;
use interloom_backends::{Bound, Edit, Hooked, Run, Value};
use interloom_program::{Machine, Program, var};

use crate::support::cpu;

type Model = Bound<Hooked<Linear>>;

fn base() -> Model {
    Bound::new(Hooked::from(LinearConfig::new(2, 2).init(&cpu()))).unwrap()
}

/// Adds a number to the model's input.
fn plus(name: &str, number: f64) -> Edit {
    Edit::new(name, move |cx| async move {
        let x = cx.input("").await?;
        cx.set_input("", x + number).await
    })
}

/// Returns what arrives at the model's input in a run of `rows` invokes of one row each.
fn arrives(model: &Model, rows: u32) -> Vec<f32> {
    let mut run = Run::new("run", model.sites());
    let reads: Vec<_> = (0..rows)
        .map(|row| {
            run.invoke(format!("row {row}"), 1, |cx| async move {
                cx.input("").await?.tensor::<2>().map_err(Into::into)
            })
        })
        .collect();
    let x = Tensor::<2>::zeros([rows as usize, 2], &cpu());
    run.execute(|| model.forward(x)).unwrap();
    let first = |saved: interloom_engine::Saved<Tensor<2>>| {
        saved.take().unwrap().slice([0..1, 0..1]).into_scalar()
    };
    reads.into_iter().map(first).collect()
}

#[test]
fn r73_edits_run_first_on_the_whole_batch_and_stack() {
    let mut model = base();
    model.edit(plus("one", 1.0));
    model.edit(Edit::new("double", |cx| async move {
        let x = cx.input("").await?;
        cx.set_input("", x * 2.0).await
    }));
    assert_eq!(arrives(&model, 3), [2.0, 2.0, 2.0], "(0 + 1) * 2");
    let names: Vec<&str> = model.sites().edits().iter().map(Edit::name).collect();
    assert_eq!(names, ["one", "double"]);
}

#[test]
fn r73_an_edited_copy_leaves_the_base_alone_and_edits_can_be_cleared() {
    let mut base = base();
    base.edit(plus("one", 1.0));
    let mut copy = base.clone();
    copy.edit(plus("ten", 10.0));
    assert_eq!(
        (arrives(&base, 1), arrives(&copy, 1)),
        (vec![1.0], vec![11.0])
    );
    base.clear_edits();
    assert_eq!(
        (arrives(&base, 1), arrives(&copy, 1)),
        (vec![0.0], vec![11.0])
    );
}

#[test]
fn r73_a_program_can_be_an_edit() {
    let mut model = base();
    let program = Program::new()
        .read("input", "x")
        .write("input", var("x") - 3.0);
    model.edit(Edit::of("program", move |map| {
        Box::new(Machine::<Value>::new(&program, map).unwrap())
    }));
    assert_eq!(arrives(&model, 2), [-3.0, -3.0]);
    assert_eq!(
        arrives(&model, 2),
        [-3.0, -3.0],
        "it is made anew for each run"
    );
}

#[test]
fn r73_an_edit_that_never_fires_fails_the_run_unless_it_is_optional() {
    let never = || {
        Edit::new("never", |cx| async move {
            let refused = cx.output("nowhere").await;
            assert_eq!(refused.unwrap_err().code(), "E001");
            Ok(())
        })
    };
    let mut model = base();
    model.edit(never());
    let run = Run::new("run", model.sites());
    let x = || Tensor::<2>::zeros([1, 2], &cpu());
    let error = run.execute(|| model.forward(x())).unwrap_err();
    assert_eq!(error.code(), "E022");
    model.clear_edits();
    model.edit(never().optional());
    Run::new("run", model.sites())
        .execute(|| model.forward(x()))
        .unwrap();
    let shown = format!("{:?}", model.sites().edits());
    insta::assert_snapshot!(shown, @r#"[Edit { name: "never", is_optional: true, gradients: [], .. }]"#);
}
