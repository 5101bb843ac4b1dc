//! Loops, with what else may happen in them.

use super::{
    ALL, cache, case, caught, each, holds, meet, next, put, raise, read, row, rows, site, skip,
    value, whole, within, write,
};
use crate::STYLES;
use crate::programs::Case;
use crate::steps::{Span, Step};
use crate::verdict::End;

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
fn r12_r24_the_inner_sites_of_a_module_that_was_skipped_once_count_on_without_being_passed() {
    let case = case([
        whole([each(within(1, 2), [skip("cell.input", 9.0)])]),
        whole([each(ALL, [read("cell.fc.output")])]),
        whole([each(
            within(2, 3),
            [read("cell.input"), read("cell.fc.input")],
        )]),
    ]);
    let log = "
        0 REGISTER i1 @ -
        1 REGISTER i0 @ -
        2 REGISTER i2 @ -
        1 VALUE cell.fc.output.i0 @ cell.fc.output.i0
        1 END @ cell.fc.output.i0
        1 REGISTER i1 @ cell.fc.output.i0
        0 SKIP cell.input.i1 @ cell.input.i1
        0 END @ cell.input.i1
        0 END @ cell.input.i1
        2 VALUE cell.input.i2 @ cell.input.i2
        2 VALUE cell.fc.input.i2 @ cell.fc.input.i2
        2 END @ cell.fc.input.i2
        2 END @ cell.fc.input.i2
        1 VALUE cell.fc.output.i1 @ - E003
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
    for style in STYLES {
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
