//! Laws that hold in whatever style the mediators are written.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use interloom_engine::{Event, Flow};
use proptest::prelude::*;

use crate::generate::{cases, quiet_cases};
use crate::programs::Style;
use crate::reference::judge;
use crate::steps::{Span, Step};
use crate::verdict::engine;
use crate::{STYLES, config};

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn r80_a_mediator_of_every_style_is_a_hand_written_machine(case in cases()) {
        let machine = case.run(Style::Machine);
        for style in STYLES {
            let ran = case.run(style);
            prop_assert_eq!(&machine.log, &ran.log);
            prop_assert_eq!(&machine.output, &ran.output);
            prop_assert_eq!(&machine.sites, &ran.sites);
        }
    }

    #[test]
    fn r62_a_run_that_is_cut_short_leaves_nothing(case in cases(), sites in 0u32..20, is_dropped: bool) {
        let alive = Rc::new(Cell::new(0));
        let mut trial = case.empty_trial();
        for index in 0..case.programs.len() {
            let style = STYLES[index % STYLES.len()];
            let (mediator, _) = case.mediator(index, style, &alive);
            trial.invoke(case.invoke(index, mediator));
        }
        let mut run = trial.into_setup().start().unwrap();
        let mut left = sites;
        if !run.is_halted() {
            case.model.forward(case.input(), &mut |point, value| {
                if left == 0 {
                    return Flow::Halt;
                }
                left -= 1;
                match run.passes(point) {
                    true => run.provide(point, value),
                    false => Flow::Continue(value),
                }
            });
        }
        match is_dropped {
            true => drop(run),
            false => {
                let audit = run.cancel();
                prop_assert!(audit.mediators.iter().all(|account| account.state.is_retired()));
            }
        }
        prop_assert_eq!(alive.get(), 0);
        // The model can be run again at once.
        prop_assert_eq!(&engine(&case, Style::Machine), &judge(&case).0);
    }

    #[test]
    fn r32_an_empty_slice_is_no_loop(case in quiet_cases(), at in any::<prop::sample::Index>(), start in 0u32..4) {
        let mut looping = case.clone();
        let lines = &mut looping.programs[0].lines;
        let body = case.programs[0].lines.clone();
        let empty = Step::each(Span::Slice(Some(start), Some(start / 2)), body);
        lines.insert(at.index(lines.len() + 1), empty);
        for style in STYLES {
            let (without, with) = (case.run(style), looping.run(style));
            prop_assert_eq!(without.log, with.log);
            prop_assert_eq!(without.output, with.output);
        }
    }

    /// A GET that is served gets what was put last by that name.
    #[test]
    fn r72_who_gets_gets_what_was_put_last(case in cases()) {
        for style in STYLES {
            let mut board = BTreeMap::new();
            for record in case.run(style).log {
                let name = record.asked.clone().and_then(Result::err).unwrap_or_default();
                match record.event {
                    Event::Put => drop(board.insert(name, record.value)),
                    Event::Get => match board.get(&name) {
                        Some(value) => prop_assert_eq!(&record.value, value),
                        None => prop_assert_eq!(record.outcome, "E016"),
                    },
                    _ => {}
                }
            }
        }
    }
}
