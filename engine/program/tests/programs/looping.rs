//! Loops, barriers, the blackboard and caches in programs: the exchanges of the async closures of
//! equal steps.

use interloom_engine::array::Array;
use interloom_engine::{CacheSpec, Cx, Fault, Invoke};
use interloom_program::{Datum, Machine, Over, Program, Results, Side, caught, get, read, var};

use crate::support::{Model, Ran, Trial, table};

/// A model whose cell is called five times.
fn recurrent() -> Model {
    Model::tree(&[
        ("", &["cell", "cell", "cell", "cell", "cell", "head"]),
        ("cell", &["cell.fc"]),
        ("cell.fc", &[]),
        ("head", &[]),
    ])
}

/// Runs programs, each on one row.
fn run<const N: usize>(programs: [Program; N]) -> (Ran, Results<Array>) {
    let model = recurrent();
    let results = Results::new();
    let mut trial = Trial::of(&model);
    trial.barrier("b", 2);
    for (index, program) in programs.iter().enumerate() {
        program.check(&*model.map).unwrap();
        let machine = Machine::new(program, &model.map).unwrap();
        let machine = machine.share_results(results.clone());
        trial.invoke(Invoke::new(format!("m{index}"), machine).rows(1));
    }
    (trial.run(table(N as u64, 1.0)), results)
}

fn collect(over: impl Into<Over>) -> Program {
    let body = Program::new().append("xs", read("cell.output"));
    Program::new().list("xs").save("xs").each(over, "i", body)
}

/// The numbers of the iterations that a program has collected.
fn collected(over: impl Into<Over>) -> Vec<usize> {
    let (plain, all) = run([collect(0..5)]);
    assert!(plain.report.result.is_ok());
    let all = all.list("xs").unwrap();
    let (ran, results) = run([collect(over).mark("after")]);
    assert!(ran.report.result.is_ok(), "{:?}", ran.report.result);
    assert_eq!(results.marks(), ["after"]);
    let places = results.list("xs").unwrap().into_iter();
    places
        .map(|x| all.iter().position(|other| *other == x).unwrap())
        .collect()
}

#[test]
fn r31_r32_a_loop_runs_over_slices_lists_numbers_and_all() {
    assert_eq!(collected(1..3), [1, 2]);
    assert_eq!(collected([4, 0, 2]), [0, 2, 4]);
    assert_eq!(collected(2), [2]);
    assert_eq!(collected(2..2), [] as [usize; 0]);
    assert_eq!(collected(..), [0, 1, 2, 3, 4]);
    assert_eq!(collected(3..), [3, 4]);
    assert_eq!(collected(..2), [0, 1]);
    assert_eq!(collected(3..8), [3, 4]);
}

#[test]
fn r80_a_loop_makes_the_exchanges_of_the_closure() {
    let body = Program::new()
        .read("cell.fc.output", "x")
        .write("cell.output", var("x") * 2.0 + var("i"));
    let inner = Program::new().each(4, "j", Program::new().read("cell.input", "last"));
    let program = Program::new()
        .each(1..3, "i", body)
        .each([3], "i", inner)
        .read("cell.output.i4", "x")
        .next(1)
        .attempt(Program::new().read("cell.output", "late"))
        .next(7)
        .attempt(Program::new().read("head.output", "never"));
    let (ran, _) = run([program]);

    let model = recurrent();
    let mut trial = Trial::of(&model);
    trial.barrier("b", 2);
    trial.rows("m0", 1, async |cx: Cx<Array>| {
        cx.for_each(1..3, async |cx, i| {
            let x = cx.output("cell.fc").await?;
            cx.set_output("cell", x.map(|x| x * 2.0 + f64::from(i)))
                .await
        })
        .await?;
        cx.for_each([3], async |cx, _| {
            cx.for_each(4, async |cx, _| cx.input("cell").await).await
        })
        .await?;
        cx.value("cell.output.i4").await?;
        cx.next(1);
        let _ = cx.output("cell").await;
        cx.next(7);
        let _ = cx.output("head").await;
        Ok(())
    });
    let expected = trial.run(table(1, 1.0));

    assert_eq!(ran.log, expected.log);
    assert_eq!(ran.output, expected.output);
    insta::assert_snapshot!(ran.lines().join("\n"), @r#"
    0 REGISTER i1 @ - served
    0 VALUE cell.fc.output.i1 @ cell.fc.output.i1 served
    0 SWAP cell.output.i1 @ cell.output.i1 served
    0 END @ cell.output.i1 served
    0 REGISTER i2 @ cell.output.i1 served
    0 VALUE cell.fc.output.i2 @ cell.fc.output.i2 served
    0 SWAP cell.output.i2 @ cell.output.i2 served
    0 END @ cell.output.i2 served
    0 REGISTER i3 @ cell.output.i2 served
    0 REGISTER i4 @ cell.output.i2 served
    0 VALUE cell.input.i4 @ cell.input.i4 served
    0 END @ cell.input.i4 served
    0 END @ cell.input.i4 served
    0 VALUE cell.output.i4 @ cell.output.i4 served
    0 VALUE cell.output.i1 @ cell.output.i4 E002
    0 VALUE head.output.i8 @ - E003
    0 END @ - served
    "#);
}

#[test]
fn a_loop_shares_its_variables_with_the_program() {
    let body = Program::new()
        .read("cell.output", "x")
        .set("sum", var("sum") + var("i"))
        .when(var("i").equals(2.0), Program::new().set("at_two", var("x")))
        .save("sum");
    let program = Program::new()
        .set("sum", 0.0)
        .each(1..4, "i", body)
        .save("at_two")
        .save("i");
    let (ran, results) = run([program]);
    assert!(ran.report.result.is_ok(), "{:?}", ran.report.result);
    assert_eq!(results.get("sum"), Some(Datum::Number(6.0)));
    assert_eq!(results.get("i"), Some(Datum::Number(3.0)));
    assert!(results.value("at_two").is_some());
}

#[test]
fn what_an_iteration_catches_is_its_own() {
    let body = Program::new()
        .catch(
            "odd",
            Program::new().when(var("i").equals(1.0), Program::new().raise("odd")),
        )
        .choose(
            caught("odd"),
            Program::new().mark("caught"),
            Program::new().mark("quiet"),
        );
    let (ran, results) = run([Program::new().each(0..3, "i", body)]);
    assert!(ran.report.result.is_ok(), "{:?}", ran.report.result);
    assert_eq!(results.marks(), ["quiet", "caught", "quiet"]);
    assert_eq!(results.caught()["odd"], Fault::raise("odd"));
}

#[test]
fn r34_a_fault_that_leaves_the_body_fails_the_mediator_at_its_line() {
    let body = Program::new()
        .read("cell.output", "x")
        .line(7)
        .raise("boom");
    let program = Program::new()
        .in_file("loop.json")
        .attempt(Program::new().each(1..3, "i", body));
    let (ran, _) = run([program.mark("never")]);
    insta::assert_snapshot!(ran.error(), @"mediator `m0` failed at `cell.output.i1` (loop.json:7): boom");
}

#[test]
fn r40_r72_programs_meet_at_barriers_and_share_values() {
    let donor = Program::new()
        .read("cell.output", "h")
        .put("h", var("h"))
        .barrier("b")
        .mark("donor");
    let patched = Program::new()
        .barrier("b")
        .write("cell.output", get("h") * 1.0)
        .mark("patched");
    let early = Program::new()
        .catch("early", Program::new().set("x", get("h")))
        .read("head.output", "x");
    let (ran, results) = run([donor, patched, early]);
    assert!(ran.report.result.is_ok(), "{:?}", ran.report.result);
    insta::assert_snapshot!(ran.lines().join("\n"), @r#"
    2 GET h @ - E016
    0 VALUE cell.output.i0 @ cell.output.i0 served
    0 PUT h @ cell.output.i0 served
    0 BARRIER b @ cell.output.i0 served
    0 END @ cell.output.i0 served
    1 BARRIER b @ cell.output.i0 served
    1 GET h @ cell.output.i0 served
    1 SWAP cell.output.i0 @ cell.output.i0 served
    1 END @ cell.output.i0 served
    2 VALUE head.output.i0 @ head.output.i0 served
    2 END @ head.output.i0 served
    "#);
    insta::assert_snapshot!(results.caught()["early"], @"nothing is on the blackboard by the name `h` yet; there is nothing at all");
}

#[test]
fn r70_a_program_declares_caches() {
    let program = Program::new()
        .cache("cells", ["cell"], Side::Both)
        .cache_all("all", Side::Outputs)
        .write("cell.output.i1", read("cell.output.i1") * 0.0)
        .catch("late", Program::new().cache("late", ["cell"], Side::Inputs));
    let (ran, results) = run([program]);
    assert!(ran.report.result.is_ok(), "{:?}", ran.report.result);
    let cells = results.cache("cells").unwrap();
    assert_eq!(
        (cells.inputs("cell").len(), cells.outputs("cell").len()),
        (5, 5)
    );
    assert_eq!(cells.outputs("cell")[1].data(), [0.0, 0.0]);
    assert_eq!(results.cache("all").unwrap().outputs("head").len(), 1);
    insta::assert_snapshot!(results.caught()["late"], @"the cache comes too late for `cell.input`, which the model has passed; declare it before the mediator's first request");
    assert!(results.cache("none").is_none());

    let model = recurrent();
    let mut trial = Trial::of(&model);
    let cached = trial.whole("closure", async |cx: Cx<Array>| {
        cx.cache(CacheSpec::of(["cell"]).both()).await
    });
    assert!(trial.run(table(1, 1.0)).report.result.is_ok());
    assert_eq!(
        cached.take().unwrap().inputs("cell")[0],
        cells.inputs("cell")[0]
    );
}

/// The interleaver ends what would never let the model go on.
#[test]
fn a_loop_without_end_that_asks_for_nothing_is_failed() {
    let endless = Program::new().each(0..u32::MAX, "i", Program::new());
    let (ran, _) = run([endless]);
    assert_eq!(ran.codes(), [("m0", "E012")]);
}
