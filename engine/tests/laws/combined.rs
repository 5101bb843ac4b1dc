//! Runs in which several rules meet, with what must happen written out; the reference says it too, and the engine does it.

use interloom_engine::Site;
use interloom_engine::array::Array;

use crate::programs::{Case, Program, Style};
use crate::reference::judge;
use crate::steps::{Collects, Form, Made, Span, Step};
use crate::support::{Model, to_array};
use crate::verdict::{End, Verdict, engine};

const ALL: Span = Span::Slice(None, None);

fn within(start: u32, end: u32) -> Span {
    Span::Slice(Some(start), Some(end))
}

/// A cell that is called three times.
fn model() -> Model {
    Model::tree(&[
        ("", &["embed", "cell", "cell", "cell", "head"]),
        ("embed", &[]),
        ("cell", &["cell.fc"]),
        ("cell.fc", &[]),
        ("head", &[]),
    ])
}

fn read(target: &str) -> Step {
    Step::read(target)
}

/// What is written is one number everywhere.
fn constant(number: f64, form: Form) -> Made {
    Made {
        scale: 0.0,
        shift: number,
        form,
    }
}

fn write(target: &str, number: f64) -> Step {
    Step::Write {
        target: target.to_owned(),
        expr: constant(number, Form::Fit),
        reshape: false,
    }
}

fn skip(target: &str, number: f64) -> Step {
    Step::Skip {
        target: target.to_owned(),
        expr: constant(number, Form::Fit),
    }
}

fn each<const N: usize>(span: Span, body: [Step; N]) -> Step {
    Step::each(span, body.into())
}

fn caught<const N: usize>(body: [Step; N]) -> Step {
    Step::attempt(body.into())
}

fn next(step: u32) -> Step {
    Step::Next { step }
}

fn meet(name: &str) -> Step {
    let name = name.to_owned();
    Step::Barrier { name }
}

fn raise() -> Step {
    let message = "on purpose".to_owned();
    Step::Raise { message }
}

fn put(name: &str, number: f64) -> Step {
    Step::Put {
        name: name.to_owned(),
        expr: constant(number, Form::Fit),
    }
}

/// Collects the outputs of a module.
fn cache(name: &str, module: &str) -> Step {
    Step::Cache {
        r#as: name.to_owned(),
        collects: Collects {
            modules: Some(vec![module.to_owned()]),
            include_output: true,
            include_inputs: false,
        },
    }
}

fn whole<const N: usize>(lines: [Step; N]) -> Program {
    Program {
        lines: lines.into(),
        rows: None,
        is_optional: false,
    }
}

fn row<const N: usize>(lines: [Step; N]) -> Program {
    Program {
        rows: Some(1),
        ..whole(lines)
    }
}

/// A run in which each barrier is for two.
fn case<const N: usize>(programs: [Program; N]) -> Case {
    Case {
        model: model(),
        programs: programs.into(),
        barriers: [2; 3],
        steps: None,
        cache: None,
    }
}

fn site(name: &str) -> Site {
    let (point, iteration) = model().map.site(name).expect("a site of the model");
    point.at(iteration.expect("written out"))
}

/// Asserts what is exchanged and how the run ends, in every style in which a mediator can be written.
#[track_caller]
fn holds(case: &Case, end: &End, log: &str) -> Verdict {
    let (verdict, _) = judge(case);
    let line = |line: &str| match is_refused(line) {
        true => line.to_owned(),
        false => format!("{line} served"),
    };
    let expected: Vec<String> = log.trim().lines().map(|text| line(text.trim())).collect();
    let lines = verdict
        .log
        .iter()
        .map(|record| record.line(&case.model.map));
    assert_eq!(lines.collect::<Vec<_>>(), expected);
    assert_eq!(&verdict.end, end);
    for style in [Style::Machine, Style::Async, Style::Program] {
        assert_eq!(engine(case, style), verdict, "{style:?}");
    }
    verdict
}

/// Returns whether a line ends with the code of a fault.
fn is_refused(line: &str) -> bool {
    let last = line.rsplit(' ').next().expect("a word");
    last.len() == 4 && last.starts_with("E0")
}

/// The value of an exchange, by its place.
fn value(verdict: &Verdict, place: usize) -> &Array {
    verdict.log[place].value.as_ref().expect("a value")
}

fn rows(numbers: &[f64]) -> Array {
    let table: Vec<Vec<f64>> = numbers.iter().map(|number| vec![*number; 2]).collect();
    to_array(&table)
}

#[test]
fn r34_r60_a_stop_in_an_inner_loop_retires_both_parents_after_the_site_is_served() {
    let inner = each(within(1, 2), [read("cell.output"), Step::Stop]);
    let case = case([
        whole([each(within(0, 3), [read("cell.input"), inner])]),
        whole([read("cell.output.i1"), caught([read("head.input")])]),
    ]);
    let end = End::Stopped(0, Some(site("cell.output.i1")));
    let log = "
        0 REGISTER i0 @ -
        0 VALUE cell.input.i0 @ cell.input.i0
        0 REGISTER i1 @ cell.input.i0
        0 VALUE cell.output.i1 @ cell.output.i1
        0 STOP @ cell.output.i1
        1 VALUE cell.output.i1 @ cell.output.i1
        1 VALUE head.input.i0 @ - E003
        1 END @ -";
    holds(&case, &end, log);
}

#[test]
fn r34_r42_children_meet_in_each_iteration_and_who_is_released_swaps_in_the_same_pass() {
    let case = case([
        row([each(within(0, 2), [read("cell.output"), meet("b0")])]),
        row([each(
            within(0, 2),
            [read("cell.input"), meet("b0"), write("cell.output", 7.0)],
        )]),
    ]);
    let log = "
        0 REGISTER i0 @ -
        1 REGISTER i0 @ -
        1 VALUE cell.input.i0 @ cell.input.i0
        0 VALUE cell.output.i0 @ cell.output.i0
        0 BARRIER b0 @ cell.output.i0
        0 END @ cell.output.i0
        0 REGISTER i1 @ cell.output.i0
        1 BARRIER b0 @ cell.output.i0
        1 SWAP cell.output.i0 @ cell.output.i0
        1 END @ cell.output.i0
        1 REGISTER i1 @ cell.output.i0
        1 VALUE cell.input.i1 @ cell.input.i1
        0 VALUE cell.output.i1 @ cell.output.i1
        0 BARRIER b0 @ cell.output.i1
        0 END @ cell.output.i1
        0 END @ cell.output.i1
        1 BARRIER b0 @ cell.output.i1
        1 SWAP cell.output.i1 @ cell.output.i1
        1 END @ cell.output.i1
        1 END @ cell.output.i1";
    let verdict = holds(&case, &End::Completed, log);
    // The model goes on with what was swapped.
    assert_eq!(value(&verdict, 11), &rows(&[7.0]));
}

#[test]
fn r12_r20_the_inner_sites_of_a_module_that_was_skipped_once_count_on() {
    let case = case([
        whole([each(within(1, 2), [skip("cell.input", 9.0)])]),
        whole([each(ALL, [read("cell.fc.output")])]),
    ]);
    let log = "
        0 REGISTER i1 @ -
        1 REGISTER i0 @ -
        1 VALUE cell.fc.output.i0 @ cell.fc.output.i0
        1 END @ cell.fc.output.i0
        1 REGISTER i1 @ cell.fc.output.i0
        0 SKIP cell.input.i1 @ cell.input.i1
        0 END @ cell.input.i1
        0 END @ cell.input.i1
        1 VALUE cell.fc.output.i1 @ cell.fc.output.i1
        1 END @ cell.fc.output.i1
        1 REGISTER i2 @ cell.fc.output.i1
        1 VALUE cell.fc.output.i2 @ - E003
        1 EXCEPTION @ - E003
        1 END @ -";
    holds(&case, &End::Completed, log);
}

#[test]
fn r33_r35_a_child_that_has_jumped_leaves_its_parents_iteration_as_it_was() {
    let case = case([whole([
        each(
            within(0, 1),
            [read("cell.input"), next(2), read("cell.input")],
        ),
        caught([read("cell.input")]),
        read("head.input"),
    ])]);
    let log = "
        0 REGISTER i0 @ -
        0 VALUE cell.input.i0 @ cell.input.i0
        0 VALUE cell.input.i2 @ cell.input.i2
        0 END @ cell.input.i2
        0 VALUE cell.input.i0 @ cell.input.i2 E002
        0 VALUE head.input.i0 @ head.input.i0
        0 END @ head.input.i0";
    holds(&case, &End::Completed, log);
}

#[test]
fn r31_r33_a_loop_without_a_start_begins_where_the_parent_has_jumped_to() {
    let open = Span::Slice(None, Some(3));
    let case = case([whole([
        next(1),
        each(
            open,
            [read("cell.output"), next(1), caught([read("cell.input")])],
        ),
        caught([read("cell.input")]),
    ])]);
    let log = "
        0 REGISTER i1 @ -
        0 VALUE cell.output.i1 @ cell.output.i1
        0 VALUE cell.input.i2 @ cell.input.i2
        0 END @ cell.input.i2
        0 REGISTER i2 @ cell.input.i2
        0 VALUE cell.output.i2 @ cell.output.i2
        0 VALUE cell.input.i3 @ - E003
        0 END @ -
        0 VALUE cell.input.i1 @ - E002
        0 END @ -";
    holds(&case, &End::Completed, log);
}

#[test]
fn r4_r50_with_and_without_rows_each_sees_what_was_swapped_before_its_turn() {
    let case = case([
        row([write("cell.output", 5.0), read("cell.output")]),
        whole([read("cell.output"), write("cell.output", 6.0)]),
        row([read("cell.output"), write("cell.output", 8.0)]),
        whole([read("cell.input.i1")]),
    ]);
    let log = "
        0 SWAP cell.output.i0 @ cell.output.i0
        0 VALUE cell.output.i0 @ cell.output.i0
        0 END @ cell.output.i0
        1 VALUE cell.output.i0 @ cell.output.i0
        1 SWAP cell.output.i0 @ cell.output.i0
        1 END @ cell.output.i0
        2 VALUE cell.output.i0 @ cell.output.i0
        2 SWAP cell.output.i0 @ cell.output.i0
        2 END @ cell.output.i0
        3 VALUE cell.input.i1 @ cell.input.i1
        3 END @ cell.input.i1";
    let verdict = holds(&case, &End::Completed, log);
    assert_eq!(value(&verdict, 1), &rows(&[5.0]));
    assert_eq!(value(&verdict, 3).data()[..2], [5.0; 2]);
    assert_eq!(value(&verdict, 6), &rows(&[6.0]));
    assert_eq!(value(&verdict, 9), &rows(&[6.0, 8.0]));
}

#[test]
fn r41_r60_a_barrier_that_opens_at_the_site_of_a_stop_lets_go_on_what_is_there() {
    let case = case([
        whole([read("cell.output"), Step::Stop]),
        whole([meet("b0"), read("cell.output")]),
        whole([each(within(0, 3), [read("cell.output"), meet("b0")])]),
    ]);
    let end = End::Stopped(0, Some(site("cell.output.i0")));
    let log = "
        2 REGISTER i0 @ -
        0 VALUE cell.output.i0 @ cell.output.i0
        0 STOP @ cell.output.i0
        2 VALUE cell.output.i0 @ cell.output.i0
        1 BARRIER b0 @ cell.output.i0
        1 VALUE cell.output.i0 @ cell.output.i0
        1 END @ cell.output.i0
        2 BARRIER b0 @ cell.output.i0
        2 END @ cell.output.i0
        2 REGISTER i1 @ cell.output.i0
        2 VALUE cell.output.i1 @ - E003
        2 EXCEPTION @ - E003
        2 END @ -";
    holds(&case, &end, log);
}

#[test]
fn r43_r60_a_barrier_that_a_stop_leaves_closed_fails_the_run() {
    let case = Case {
        barriers: [3; 3],
        ..case([
            whole([read("cell.output"), Step::Stop]),
            whole([meet("b0"), read("cell.output")]),
            whole([each(within(0, 3), [read("cell.output"), meet("b0")])]),
        ])
    };
    let log = "
        2 REGISTER i0 @ -
        0 VALUE cell.output.i0 @ cell.output.i0
        0 STOP @ cell.output.i0
        2 VALUE cell.output.i0 @ cell.output.i0";
    holds(&case, &End::Unmet(vec![(0, vec![1, 2])]), log);
}

#[test]
fn r70_r71_a_childs_cache_collects_after_the_child_and_a_second_one_is_late() {
    let case = case([
        row([
            each(
                Span::List(vec![1]),
                [cache("c", "cell"), read("cell.output")],
            ),
            caught([cache("d", "cell"), raise()]),
            write("cell.output.i2", 4.0),
        ]),
        row([read("output")]),
    ]);
    let log = "
        0 REGISTER i1 @ -
        0 VALUE cell.output.i1 @ cell.output.i1
        0 END @ cell.output.i1
        0 SWAP cell.output.i2 @ cell.output.i2
        0 END @ cell.output.i2
        1 VALUE output.i0 @ output.i0
        1 END @ output.i0";
    let verdict = holds(&case, &End::Completed, log);
    for style in [Style::Machine, Style::Async, Style::Program] {
        let (trial, shelves) = case.trial_with_shelves(style);
        trial.run(case.input());
        let cached = shelves[1]("c").expect("it was declared");
        let sites = ["cell.output.i0", "cell.output.i1", "cell.output.i2"].map(site);
        assert_eq!(cached.sites(), sites, "{style:?}");
        assert_eq!(cached.at(sites[1]).as_ref(), Some(value(&verdict, 1)));
        assert_eq!(cached.at(sites[2]), Some(rows(&[4.0])));
    }
}

#[test]
fn r21_r73_an_edit_swaps_an_input_in_vain_and_reads_what_the_invokes_skip_with() {
    let case = case([
        whole([each(ALL, [write("cell.input", 1.0), read("cell.output")])]),
        row([next(1), read("cell.input"), skip("cell.input", 5.0)]),
        row([next(1), skip("cell.input", 8.0), read("cell.output")]),
    ]);
    let log = "
        0 REGISTER i0 @ -
        0 SWAP cell.input.i0 @ cell.input.i0
        0 VALUE cell.output.i0 @ cell.output.i0
        0 END @ cell.output.i0
        0 REGISTER i1 @ cell.output.i0
        0 SWAP cell.input.i1 @ cell.input.i1
        1 VALUE cell.input.i1 @ cell.input.i1
        1 SKIP cell.input.i1 @ cell.input.i1
        1 END @ cell.input.i1
        2 SKIP cell.input.i1 @ cell.input.i1
        0 VALUE cell.output.i1 @ cell.output.i1
        0 END @ cell.output.i1
        0 REGISTER i2 @ cell.output.i1
        2 VALUE cell.output.i1 @ cell.output.i1
        2 END @ cell.output.i1
        0 SWAP cell.input.i2 @ cell.input.i2
        0 VALUE cell.output.i2 @ cell.output.i2
        0 END @ cell.output.i2
        0 REGISTER i3 @ cell.output.i2
        0 SWAP cell.input.i3 @ - E003
        0 EXCEPTION @ - E003
        0 END @ -";
    let verdict = holds(&case, &End::Completed, log);
    assert_eq!(value(&verdict, 6), &rows(&[1.0]));
    assert_eq!(value(&verdict, 10), &rows(&[5.0, 8.0]));
    assert_eq!(value(&verdict, 13), &rows(&[8.0]));
}

#[test]
fn r10_r51_who_catches_a_refused_swap_may_swap_again_at_the_same_site() {
    let wider = Step::Write {
        target: "embed.output".to_owned(),
        expr: constant(1.0, Form::Wider),
        reshape: false,
    };
    let case = case([
        row([
            caught([wider, raise()]),
            caught([read("nowhere.output")]),
            caught([read("embed.input")]),
            write("embed.output", 2.0),
            read("cell.input"),
        ]),
        row([read("embed.output")]),
    ]);
    let log = "
        0 SWAP embed.output.i0 @ embed.output.i0 E004
        0 VALUE nowhere.output? @ embed.output.i0 E001
        0 VALUE embed.input.i0 @ embed.output.i0 E002
        0 SWAP embed.output.i0 @ embed.output.i0
        1 VALUE embed.output.i0 @ embed.output.i0
        1 END @ embed.output.i0
        0 VALUE cell.input.i0 @ cell.input.i0
        0 END @ cell.input.i0";
    let verdict = holds(&case, &End::Completed, log);
    assert_eq!(value(&verdict, 6), &rows(&[2.0]));
}

#[test]
fn r10_r20_who_skips_and_asks_for_an_inner_site_gets_it_from_the_next_call() {
    let case = case([whole([
        skip("cell.input", 3.0),
        read("cell.fc.input"),
        caught([read("cell.output")]),
        read("cell.output.i1"),
    ])]);
    let log = "
        0 SKIP cell.input.i0 @ cell.input.i0
        0 VALUE cell.fc.input.i0 @ cell.fc.input.i0
        0 VALUE cell.output.i0 @ cell.fc.input.i0 E002
        0 VALUE cell.output.i1 @ cell.output.i1
        0 END @ cell.output.i1";
    let verdict = holds(&case, &End::Completed, log);
    assert_eq!(value(&verdict, 1), &rows(&[3.0, 3.0]));
}

#[test]
fn r41_r43_one_arrival_too_many_waits_for_the_next_round_and_is_served_where_it_opens() {
    let case = case([
        whole([meet("b0"), read("embed.output"), meet("b0")]),
        whole([meet("b0")]),
        whole([meet("b0"), write("embed.output", 2.0)]),
        whole([read("embed.output")]),
    ]);
    let log = "
        0 BARRIER b0 @ -
        1 BARRIER b0 @ -
        1 END @ -
        0 VALUE embed.output.i0 @ embed.output.i0
        0 BARRIER b0 @ embed.output.i0
        0 END @ embed.output.i0
        2 BARRIER b0 @ embed.output.i0
        2 SWAP embed.output.i0 @ embed.output.i0
        2 END @ embed.output.i0
        3 VALUE embed.output.i0 @ embed.output.i0
        3 END @ embed.output.i0";
    let verdict = holds(&case, &End::Completed, log);
    assert_eq!(value(&verdict, 9), &rows(&[2.0, 2.0]));
}

#[test]
fn r34_r44_a_child_closes_a_circle_where_it_arrives() {
    let case = case([
        whole([each(within(1, 3), [read("cell.output"), meet("b0")])]),
        whole([read("embed.output"), meet("b1")]),
    ]);
    let end = End::Circle(vec![(0, vec![0]), (1, vec![1])]);
    let log = "
        0 REGISTER i1 @ -
        1 VALUE embed.output.i0 @ embed.output.i0
        0 VALUE cell.output.i1 @ cell.output.i1";
    let verdict = holds(&case, &end, log);
    assert_eq!(verdict.output, None);
}

#[test]
fn r34_r62_what_leaves_the_body_of_a_loop_is_not_caught_around_it() {
    let case = case([
        whole([caught([each(
            within(0, 2),
            [caught([raise()]), read("cell.output"), raise()],
        )])]),
        whole([read("cell.output")]),
    ]);
    let end = End::Failed(vec![(0, "E013")]);
    let log = "
        0 REGISTER i0 @ -
        0 VALUE cell.output.i0 @ cell.output.i0
        0 EXCEPTION @ cell.output.i0 E013";
    holds(&case, &end, log);
}

#[test]
fn r12_r34_an_inner_loop_that_outlives_the_model_ends_and_its_parent_goes_on() {
    let inner = each(within(2, 5), [read("cell.output")]);
    let case = case([whole([each(
        within(0, 1),
        [inner, caught([read("head.output")]), put("x", 1.0)],
    )])]);
    let log = "
        0 REGISTER i0 @ -
        0 REGISTER i2 @ -
        0 VALUE cell.output.i2 @ cell.output.i2
        0 END @ cell.output.i2
        0 REGISTER i3 @ cell.output.i2
        0 VALUE cell.output.i3 @ - E003
        0 EXCEPTION @ - E003
        0 VALUE head.output.i0 @ - E002
        0 PUT x @ -
        0 END @ -
        0 END @ -";
    holds(&case, &End::Completed, log);
}

#[test]
fn r21_r41_who_is_released_at_the_site_of_a_skip_may_still_join_it() {
    let case = case([
        row([meet("b0"), skip("cell.input", 5.0)]),
        row([read("cell.input"), skip("cell.input", 8.0), meet("b0")]),
        whole([read("cell.output")]),
    ]);
    let log = "
        1 VALUE cell.input.i0 @ cell.input.i0
        1 SKIP cell.input.i0 @ cell.input.i0
        0 BARRIER b0 @ cell.input.i0
        0 SKIP cell.input.i0 @ cell.input.i0
        0 END @ cell.input.i0
        1 BARRIER b0 @ cell.input.i0
        1 END @ cell.input.i0
        2 VALUE cell.output.i0 @ cell.output.i0
        2 END @ cell.output.i0";
    let verdict = holds(&case, &End::Completed, log);
    assert_eq!(value(&verdict, 7), &rows(&[5.0, 8.0]));
}

#[test]
fn r1_r60_a_stop_before_the_model_leaves_the_others_their_verdicts_and_the_blackboard() {
    let case = case([
        whole([put("x", 3.0), Step::Stop]),
        whole([
            caught([read("input")]),
            Step::get("x"),
            each(ALL, [read("cell.output")]),
        ]),
    ]);
    let log = "
        0 PUT x @ -
        0 STOP @ -
        1 VALUE input.i0 @ - E003
        1 GET x @ -
        1 REGISTER i0 @ -
        1 VALUE cell.output.i0 @ - E003
        1 EXCEPTION @ - E003
        1 END @ -";
    let verdict = holds(&case, &End::Stopped(0, None), log);
    assert_eq!(verdict.output, None);
}

#[test]
fn r31_declared_steps_end_a_loop_at_a_site_at_which_the_parent_goes_on() {
    let case = Case {
        steps: Some(2),
        ..case([whole([
            each(ALL, [read("cell.output")]),
            write("cell.output.i1", 2.0),
            each(Span::Slice(Some(2), None), [read("cell.output")]),
            read("cell.output.i2"),
        ])])
    };
    let log = "
        0 REGISTER i0 @ -
        0 VALUE cell.output.i0 @ cell.output.i0
        0 END @ cell.output.i0
        0 REGISTER i1 @ cell.output.i0
        0 VALUE cell.output.i1 @ cell.output.i1
        0 END @ cell.output.i1
        0 SWAP cell.output.i1 @ cell.output.i1
        0 REGISTER i2 @ cell.output.i1 E014
        0 VALUE cell.output.i2 @ cell.output.i2
        0 END @ cell.output.i2";
    holds(&case, &End::Completed, log);
}

#[test]
fn r23_r63_where_the_whole_model_is_skipped_a_loop_over_its_inside_never_fired() {
    let case = case([
        whole([skip("input", 4.0), write("output", 6.0)]),
        whole([each(ALL, [read("cell.output")])]),
        whole([read("output")]),
    ]);
    let log = "
        1 REGISTER i0 @ -
        0 SKIP input.i0 @ input.i0
        0 SWAP output.i0 @ output.i0
        0 END @ output.i0
        2 VALUE output.i0 @ output.i0
        2 END @ output.i0
        1 VALUE cell.output.i0 @ - E003
        1 EXCEPTION @ - E003
        1 END @ -";
    let verdict = holds(&case, &End::NeverFired(vec![1]), log);
    assert_eq!(verdict.output, Some(rows(&[6.0, 6.0])));
}
