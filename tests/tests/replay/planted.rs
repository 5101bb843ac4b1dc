//! One hash map in an experiment, in whose order a mediator acts: every replay must notice.

use interloom::Conclusion;
use interloom_journal::divergence::DivergenceClass;

use crate::Recording;
use crate::identical::assert_same;
use crate::plan::{Plan, Table};

fn plan(table: Table) -> Plan {
    Plan {
        table: Some(table),
        ..Plan::default()
    }
}

#[test]
fn a_mediator_in_a_sorted_order_does_the_same_each_time() {
    let recording = Recording::of(&plan(Table::Sorted));
    for _ in 0..3 {
        assert_same(
            &recording.conclusion,
            &recording.verify(&plan(Table::Sorted)),
        );
    }
}

#[test]
fn a_mediator_in_the_order_of_a_hash_map_is_noticed() {
    // Two maps have twelve entries in the same order once in half a billion times.
    let recording = Recording::of(&plan(Table::Hashed));
    for _ in 0..5 {
        let conclusion = recording.verify(&plan(Table::Hashed));
        assert!(!conclusion.is_identical());
        let Conclusion::Verified { divergence, .. } = conclusion else {
            panic!("{conclusion:?}");
        };
        assert_eq!(divergence.unwrap().class, DivergenceClass::Value);
    }
}
