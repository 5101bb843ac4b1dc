//! Laws of mediators as data: what is written and read again is the same.

use interloom_engine::Invoke;
use interloom_program::Program;
use proptest::prelude::*;

use crate::as_program::{PROGRAM, machine_of, program};
use crate::config;
use crate::generate::cases;
use crate::programs::Case;
use crate::support::Ran;

/// Runs a case whose mediators are programs that have been somewhere else.
fn run_through(case: &Case, there_and_back: fn(Program) -> Program) -> Ran {
    let mut trial = case.empty_trial();
    for (index, own) in case.programs.iter().enumerate() {
        let program = there_and_back(program(&own.lines));
        let machine = machine_of(&program, case.register_of(own), &case.model.map, ());
        let invoke = Invoke::new(format!("m{index}"), machine).optional();
        trial.invoke(match own.rows {
            Some(rows) => invoke.rows(rows),
            None => invoke,
        });
    }
    trial.run(case.input())
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn r81_a_program_that_was_written_and_read_makes_the_same_exchanges(case in cases()) {
        let here = case.run(PROGRAM);
        let json = run_through(&case, |program| {
            let text = serde_json::to_string(&program).unwrap();
            serde_json::from_str(&text).unwrap()
        });
        let msgpack = run_through(&case, |program| {
            let bytes = rmp_serde::to_vec_named(&program).unwrap();
            rmp_serde::from_slice(&bytes).unwrap()
        });
        prop_assert_eq!(&json.log, &here.log);
        prop_assert_eq!(&msgpack.log, &here.log);
        prop_assert_eq!(&json.output, &here.output);
        prop_assert_eq!(&msgpack.output, &here.output);
    }
}
