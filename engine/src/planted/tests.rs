use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::Bug;
use super::switch::with;
use crate::array::Array;
use crate::explore::{Explorer, OrderDependence, Reduction, RunOutcome, shrink_programme, without};
use crate::generate::{cases, quiet_cases};
use crate::programs::{Case, Style};
use crate::reference::judge;
use crate::steps::{Span, Step};
use crate::support::{Model, drive};
use crate::verdict::engine;
use crate::{CacheSpec, Flow, RunError};

/// How many generated programmes are tried.
const CASES: usize = 6_000;

/// How many of those that show a bug are made smaller: which is the smallest cannot be seen before.
const SHRUNK: usize = 12;

/// How a bug is noticed.
#[derive(Clone, Copy)]
enum By {
    /// The interleaver and the reference say different things.
    Reference,
    /// A cache has not what the model continued with.
    Cache,
    /// Mediators with different rows have different outcomes in different orders.
    Exploring,
}

impl By {
    fn notices(self, case: &Case) -> bool {
        let notices = || match self {
            Self::Reference => engine(case, Style::Machine) != judge(case).0,
            Self::Cache => collected(case).is_some_and(|(cached, passed)| cached != passed),
            Self::Exploring => depends_on_order(case),
        };
        // A bug may also break what the interleaver asserts.
        catch_unwind(AssertUnwindSafe(notices)).unwrap_or(true)
    }
}

/// Returns what a cache of everything has, and what the model continued with, site by site; nothing
/// of a failed run.
fn collected(case: &Case) -> Option<(Vec<Array>, Vec<Array>)> {
    let mut setup = case.trial(Style::Machine).into_setup();
    let cached = setup.cache(CacheSpec::all().both());
    let mut run = setup.start().ok()?;
    let mut passed = Vec::new();
    case.model.forward(case.input(), &mut |point, value| {
        run.passes(point);
        let site = point.at(run.passed(point) - 1);
        let flow = run.provide(point, value);
        if let Flow::Continue(value) = &flow {
            passed.push((site, value.clone()));
        }
        flow
    })?;
    passed.sort_by_key(|(site, _)| *site);
    let cached = passed.iter().filter_map(|(site, _)| cached.at(*site));
    let cached = cached.collect();
    Some((cached, passed.into_iter().map(|(_, value)| value).collect()))
}

/// Tries every order: that mediators with different rows commute is what is in doubt.
fn depends_on_order(case: &Case) -> bool {
    let explorer = Explorer::new()
        .reduction(Reduction::None)
        .budget(200)
        .ends_at_difference();
    let verdict = explorer.explore(|attempt| {
        let mut setup = case.trial(Style::Machine).into_setup();
        let watch = RunOutcome::watch(&mut setup, |array: &Array, digester| {
            array.data().iter().for_each(|x| {
                digester.number(x.to_bits());
            });
        });
        attempt.attach(&mut setup);
        let (output, report, _) = drive(&case.model, setup, case.input())?;
        Ok::<_, RunError>((watch.outcome(&report), format!("{output:?}")))
    });
    verdict.is_ok_and(|verdict| verdict.conclusion() == OrderDependence::Dependent)
}

/// Returns the first generated programmes that show a bug.
fn find(by: By) -> Vec<Case> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Default::default(), rng);
    let strategy = match by {
        By::Reference => cases().boxed(),
        By::Cache | By::Exploring => quiet_cases().boxed(),
    };
    let mut case = || strategy.new_tree(&mut runner).expect("a case").current();
    let cases = (0..CASES).map(|_| case());
    cases.filter(|case| by.notices(case)).take(SHRUNK).collect()
}

/// Lists what a list of lines can be made into: without some of them, and what is nested with less
/// in it or without its frame.
fn fewer_lines(lines: &[Step]) -> Vec<Vec<Step>> {
    let mut all = without(lines);
    for (place, line) in lines.iter().enumerate() {
        let (Step::Iter { body, .. } | Step::Try { body, .. }) = line else {
            continue;
        };
        let with = |new: &[Step]| [&lines[..place], new, &lines[place + 1..]].concat();
        // A loop without an upper bound needs the line that waits, at its beginning, to end with
        // the model.
        let (kept, rest) = match line {
            Step::Iter {
                iter: Span::Slice(_, None),
                ..
            } => body.split_at(1),
            _ => body.split_at(0),
        };
        all.push(with(body));
        all.extend(fewer_lines(rest).into_iter().map(|rest| {
            let mut shorter = line.clone();
            if let Step::Iter { body, .. } | Step::Try { body, .. } = &mut shorter {
                *body = [kept, &rest].concat();
            }
            with(&[shorter])
        }));
    }
    all
}

/// Lists what a case can be made into, the smallest first.
fn smaller(case: &Case) -> Vec<Case> {
    let fewer = without(&case.programs).into_iter();
    let mut all: Vec<Case> = fewer
        .map(|programs| Case {
            programs,
            ..case.clone()
        })
        .collect();
    // What several do at once may have to go at once.
    let longest = case
        .programs
        .iter()
        .map(|program| program.lines.len())
        .max();
    all.extend((0..longest.unwrap_or(0)).map(|place| {
        let mut shorter = case.clone();
        let programs = shorter.programs.iter_mut();
        for program in programs.filter(|program| place < program.lines.len()) {
            program.lines.remove(place);
        }
        shorter
    }));
    for (place, program) in case.programs.iter().enumerate() {
        all.extend(fewer_lines(&program.lines).into_iter().map(|lines| {
            let mut shorter = case.clone();
            shorter.programs[place].lines = lines;
            shorter
        }));
    }
    let leafless = |index: usize| case.model.modules[index].children.len();
    for index in (0..case.model.modules.len()).filter(|&index| leafless(index) > 0) {
        all.extend(
            without(&case.model.modules[index].children)
                .into_iter()
                .map(|children| {
                    let mut modules = case.model.modules.clone();
                    modules[index].children = children;
                    Case {
                        model: Model::new(modules),
                        ..case.clone()
                    }
                }),
        );
    }
    for place in (0..3).filter(|&place| case.barriers[place] > 1) {
        let mut lower = case.clone();
        lower.barriers[place] -= 1;
        all.push(lower);
    }
    if case.steps.is_some() {
        all.push(Case {
            steps: None,
            ..case.clone()
        });
    }
    all
}

/// Counts the lines; a `try` is none.
fn count(lines: &[Step]) -> usize {
    let inner = |line: &Step| match line {
        Step::Iter { body, .. } => 1 + count(body),
        Step::Try { body, .. } => count(body),
        _ => 1,
    };
    lines.iter().map(inner).sum()
}

fn size(case: &Case) -> (usize, usize) {
    let lines = case.programs.iter().map(|program| count(&program.lines));
    (case.programs.len(), lines.sum())
}

/// Finds a bug, shrinks what shows it, and compares its mediators and lines with the least that are
/// known to.
fn finds(bug: Bug, by: By, least: (usize, usize)) {
    let shrunk = |case| {
        let shows = |case: &Case| Ok::<_, ()>(by.notices(case));
        shrink_programme(case, smaller, shows).expect("no error")
    };
    let smallest = with(bug, || find(by).into_iter().map(shrunk).min_by_key(size));
    let smallest = smallest.unwrap_or_else(|| panic!("none of {CASES} programmes shows {bug:?}"));
    assert!(!by.notices(&smallest), "{bug:?} is switched off");
    assert_eq!(size(&smallest), least, "{bug:?}: {:#?}", smallest.programs);
}

macro_rules! planted {
    ($($name:ident: $bug:ident, $by:ident, $least:expr;)*) => {
        $(#[test]
        fn $name() {
            finds(Bug::$bug, By::$by, $least);
        })*
    };
}

// The name, the bug, how it is noticed, and the least mediators and lines that show it.
planted! {
    a_lost_swap: LostSwap, Reference, (2, 1);
    a_swap_that_is_lost_out_of_turn: LostOutOfTurn, Exploring, (2, 2);
    an_exchange_that_is_seen_twice: DoubleServe, Reference, (1, 1);
    wrong_rows: WrongRows, Reference, (2, 1);
    a_stale_read: StaleRead, Reference, (1, 2);
    an_unchecked_swap: UncheckedSwap, Reference, (1, 1);
    a_barrier_that_opens_too_early: BarrierOffByOne, Reference, (1, 1);
    a_release_in_the_order_of_arrival: ReleaseByArrival, Reference, (2, 3);
    a_release_that_is_not_served: DeafRelease, Reference, (1, 3);
    a_skip_in_one_invoke: SkipInOneInvoke, Reference, (2, 1);
    the_first_skip: FirstSkipWins, Reference, (2, 2);
    the_whole_skip: WholeSkipWins, Reference, (2, 2);
    a_skip_that_is_not_counted: SkipUncounted, Reference, (1, 1);
    a_name_that_is_written_once: KeepsFirstPut, Reference, (1, 3);
    one_step_more: OneStepMore, Reference, (1, 2);
    a_parent_in_the_wrong_iteration: WrongIteration, Reference, (1, 2);
    a_forgotten_next: ForgottenNext, Reference, (1, 2);
    a_late_refusal: LateRefusal, Reference, (1, 2);
    a_late_registration: LateRegistration, Reference, (1, 2);
    an_end_that_is_not_seen: DroppedEnd, Reference, (1, 1);
    an_ignored_stop: IgnoredStop, Reference, (1, 1);
    a_hasty_stop: HastyStop, Reference, (2, 3);
    the_last_stop: LastStopNamed, Reference, (2, 2);
    a_late_gradient: LateGradient, Reference, (1, 4);
    an_unreached_gradient: UnreachedWaits, Reference, (1, 3);
    a_stop_before_a_pass: StopDropsLosses, Reference, (2, 4);
    an_undeclared_gradient: UndeclaredWaits, Reference, (1, 1);
    a_parameter_with_rows: ParameterOfRows, Reference, (2, 3);
    a_cache_before_the_swaps: CacheBeforeSwap, Cache, (1, 1);
}
