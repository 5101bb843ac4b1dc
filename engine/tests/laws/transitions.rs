//! The generated runs take every change of state that the table lists, and none else.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use interloom_engine::transition::TRANSITIONS;
use proptest::test_runner::TestRunner;

use crate::generate::cases;
use crate::programs::{Case, Style};
use crate::spy::{Taken, Watch};
use crate::support::Tape;
use crate::{STYLES, config};

/// Runs a case whose mediators are watched, and returns the changes of state of all of them.
fn taken(case: &Case, style: Style) -> Vec<Taken> {
    let mut trial = case.empty_trial();
    let watches: Vec<Watch> = case.programs.iter().map(|_| Watch::default()).collect();
    for (index, watch) in watches.iter().enumerate() {
        let (mediator, _) = case.mediator(index, style, &Rc::default());
        let spy = watch.over(mediator);
        trial.invoke(case.invoke(index, Box::new(spy)));
    }
    let mut run = trial.into_setup().start().expect("names that differ");
    if !run.is_halted() {
        let mut tape = Tape::default();
        case.model.forward(case.input(), &mut |point, value| {
            tape.pass(&case.model, &mut run, point, value)
        });
    }
    watches.iter().for_each(Watch::close);
    let audit = run.finish().audit;
    let accounts = audit.mediators.iter().zip(&watches);
    accounts
        .flat_map(|(account, watch)| watch.taken(account.state))
        .collect()
}

#[test]
fn the_generated_runs_take_every_transition_and_none_else() {
    let seen = RefCell::new(BTreeMap::<Taken, u32>::new());
    let count = |case: Case| {
        for style in STYLES {
            for change in taken(&case, style) {
                *seen.borrow_mut().entry(change).or_default() += 1;
            }
        }
        Ok(())
    };
    let ran = TestRunner::new(config(300)).run(&cases(), count);
    ran.expect("nothing is asserted");
    let mut seen = seen.into_inner();
    println!("| in state | on | to state | taken |\n|---|---|---|---|");
    for row in TRANSITIONS {
        let count = seen.remove(&(row.from, row.on, row.to)).unwrap_or(0);
        let on = format!("{:?}", row.on).to_lowercase();
        println!("| {} | {on} | {} | {count} |", row.from, row.to);
        assert!(count > 0, "no generated run takes {row:?}");
    }
    assert!(seen.is_empty(), "not in the table: {seen:?}");
}
