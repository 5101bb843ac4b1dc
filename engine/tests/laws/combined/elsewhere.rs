//! Rules that meet where there is no loop, or where the loop is not the point.

use super::{
    ALL, case, caught, constant, each, holds, meet, next, put, raise, read, row, rows, site, skip,
    value, whole, within, write,
};
use crate::programs::Case;
use crate::steps::{Form, Step};
use crate::verdict::End;

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
fn r10_r24_who_skips_and_asks_for_an_inner_site_has_to_ask_for_that_of_the_next_call() {
    let case = case([whole([
        skip("cell.input", 3.0),
        caught([each(within(1, 2), [read("cell.fc.input")])]),
        caught([read("cell.fc.input")]),
        caught([read("cell.output")]),
        read("cell.output.i1"),
    ])]);
    let log = "
        0 SKIP cell.input.i0 @ cell.input.i0
        0 REGISTER i1 @ cell.input.i0
        0 VALUE cell.fc.input.i1 @ cell.fc.input.i1
        0 END @ cell.fc.input.i1
        0 VALUE cell.fc.input.i0 @ cell.fc.input.i1 E002
        0 VALUE cell.output.i0 @ cell.fc.input.i1 E002
        0 VALUE cell.output.i1 @ cell.output.i1
        0 END @ cell.output.i1";
    let verdict = holds(&case, &End::Completed, log);
    assert_eq!(value(&verdict, 2), &rows(&[3.0, 3.0]));
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
