//! What is refused before a run would fail in it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use interloom_engine::array::Array;
use interloom_engine::{FaultKind, Flow, RunError, SiteMap};
use interloom_program::{
    Action, CheckContext, Comparison, Effects, Expr, Operand, Over, Program, ProgramError,
    ProgramFault, ProgramStep, Shapes, Span, read, var,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::as_program::{machine_of, program};
use crate::config;
use crate::generate::{cases, models, pick, sites_of};
use crate::programs::{BARRIERS, Case, DEFAULT_BATCH};
use crate::support::{Model, Ran, table};

/// What passes the sites of a model, and in which order, without mediators.
fn shapes_of(model: &Model, input: Array) -> Shapes {
    let batch = input.shape()[0] as u32;
    let mut shapes = Shapes::new(batch);
    let mut counts = BTreeMap::new();
    model.forward(input, &mut |point, value| {
        let count = counts.entry(point).or_insert(0);
        let site = point.at(*count);
        *count += 1;
        shapes.pass(site);
        shapes.add_form(site, value.form());
        Flow::Continue(value)
    });
    shapes
}

/// The programs of a case, with names that the model has, and shapes that are known where the case
/// has a module's.
fn programs_of(case: &Case) -> Vec<Program> {
    let lines = case.programs.iter().map(|own| &own.lines);
    let programs = lines.map(|lines| {
        let mut program = program(lines);
        mend_steps(&mut program.steps, &case.model.map);
        let steps = program.steps.into_iter().enumerate();
        program.steps = steps.map(|(place, step)| guarded(place, step)).collect();
        program
    });
    programs.collect()
}

/// Puts every fourth step into a branch, which only some runs take.
fn guarded(place: usize, step: ProgramStep) -> ProgramStep {
    if place % 4 != 3 {
        return step;
    }
    let condition = var("register").sum().is(Comparison::Less, 50.0);
    let mut then = Program::new();
    then.steps.push(step);
    let guarded = Program::new().when(condition, then);
    guarded.steps.into_iter().next().expect("one step")
}

fn mend_steps(steps: &mut [ProgramStep], map: &SiteMap) {
    for ProgramStep { action, .. } in steps {
        match action {
            Action::Write { site, .. } | Action::Skip { site, .. } => mend_site(site, map),
            Action::Barrier { name } if !BARRIERS.contains(&name.as_str()) => {
                *name = BARRIERS[0].to_owned();
            }
            Action::Cache { modules, .. } => *modules = None,
            _ => {}
        }
        for value in action.values_mut() {
            mend_value(value, map);
        }
        for body in action.bodies_mut() {
            mend_steps(body, map);
        }
    }
}

fn mend_value(value: &mut Expr, map: &SiteMap) {
    for operand in value.operands_mut() {
        mend_value(operand, map);
    }
    match value {
        Expr::Read(site) => mend_site(site, map),
        Expr::Module { path, input } => {
            let input = std::mem::replace(&mut **input, Expr::Number(0.0));
            *value = match path.as_str() {
                "wider" => input.columns(0, 1),
                // More spans than there are dimensions.
                _ => input.slice([Span::ALL; 3]),
            };
        }
        _ => {}
    }
}

fn mend_site(site: &mut String, map: &SiteMap) {
    if map.site(site).is_none() {
        *site = "output".to_owned();
    }
}

/// Checks the programs of a case with all that is known of its run.
fn check(case: &Case, programs: &[Program]) -> Vec<Result<(), ProgramError>> {
    let shapes = shapes_of(&case.model, case.input());
    let effects = programs.iter().map(Effects::of);
    let effects = effects.fold(Effects::default(), |all, own| all | own);
    let holds = programs.len() < 2 || !effects.may_reshape();
    let pairs = case.programs.iter().zip(programs);
    let check = |(own, program): (&crate::programs::Program, &Program)| {
        let zeros = case.register_of(own).form();
        let forms = BTreeMap::from([("zeros".to_owned(), zeros)]);
        let known = CheckContext::of(&case.model.map)
            .givens(&["zeros"])
            .given_forms(&forms)
            .barriers(&BARRIERS)
            .whole_order(&shapes)
            .effects(effects)
            .steps(case.steps);
        program.check(match holds {
            true => known.shapes(&shapes, own.rows),
            false => known,
        })
    };
    pairs.map(check).collect()
}

fn run(case: &Case, programs: &[Program]) -> Ran {
    let mut trial = case.empty_trial();
    // As every program declares by itself what it names.
    let all: Vec<_> = case.model.map.points().collect();
    trial.gradients(&all);
    for (index, program) in programs.iter().enumerate() {
        let zeros = case.register_of(&case.programs[index]);
        let machine = machine_of(program, zeros, &case.model.map, Rc::new(()));
        trial.invoke(case.invoke(index, Box::new(machine)));
    }
    trial.run(case.input())
}

/// Programs of every kind, loops, `try`s, skips and stops among them, beside others.
fn what_is_refused_must_fail(cases_max: u32) {
    let refused = RefCell::new(BTreeMap::new());
    let law = |case: Case| {
        let programs = programs_of(&case);
        let errors = check(&case, &programs).into_iter();
        let errors: Vec<ProgramError> = errors.filter_map(Result::err).collect();
        if errors.is_empty() {
            return Ok(());
        }
        let ran = run(&case, &programs);
        for error in errors {
            prop_assert!(ran.report.result.is_err(), "{error}");
            let is_pass = matches!(
                &error,
                ProgramError::Impossible { fault, .. }
                    if matches!(**fault, ProgramFault::NoBackward { .. })
            );
            let kind = if is_pass { "no pass" } else { error.code() };
            *refused.borrow_mut().entry(kind).or_insert(0) += 1;
        }
        Ok(())
    };
    TestRunner::new(config(cases_max))
        .run(&cases(), law)
        .unwrap();
    // The law says nothing of what is never refused.
    let refused = refused.into_inner();
    for code in ["E108", "E109", "E119", "no pass"] {
        let count = refused.get(code).copied().unwrap_or(0);
        assert!(
            count > cases_max / 1000,
            "{code} was found {count} times: {refused:?}"
        );
    }
}

#[test]
fn what_is_refused_fails() {
    what_is_refused_must_fail(6_000);
}

#[test]
#[ignore = "many cases, in release: cargo test --release -p interloom-program --test laws -- --ignored"]
fn what_is_refused_fails_in_many() {
    what_is_refused_must_fail(100_000);
}

/// Reads and writes of sites that the model passes, or now and then does not, one after the other,
/// by one mediator.
fn straight() -> impl Strategy<Value = (Model, Vec<(u16, bool, bool)>)> {
    let beyond = prop::bool::weighted(0.05);
    let requests = prop::collection::vec((any::<u16>(), any::<bool>(), beyond), 1..5);
    (models(), requests)
}

proptest! {
    #![proptest_config(config(2_000))]

    /// Of such programs the check knows everything: they are refused exactly if they fail, and for the same request.
    #[test]
    fn straight_programs_are_refused_exactly_if_they_fail((model, requests) in straight()) {
        let sites = sites_of(&model);
        let name = |place: u16, is_beyond: bool| {
            let site = sites[pick(place, sites.len())];
            let beyond = if is_beyond { sites.len() as u32 } else { 0 };
            model.map.site_name(site.point.at(site.iteration + beyond))
        };
        let add = |(program, line): (Program, u32), (place, writes, beyond): &(u16, bool, bool)| {
            let (site, program) = (name(*place, *beyond), program.line(line));
            let program = match writes {
                true => program.write(&site, read(&site) + 1.0),
                false => program.read(&site, "h"),
            };
            (program, line + 1)
        };
        let (program, _) = requests.iter().fold((Program::new(), 1), add);
        let input = table(DEFAULT_BATCH.into(), 1.0);
        let shapes = shapes_of(&model, input.clone());
        let known = CheckContext::of(&model.map).shapes(&shapes, None);
        let known = known.whole_order(&shapes).effects(Effects::of(&program));
        let case = without_programs(&model);
        let mut trial = case.empty_trial();
        let machine = machine_of(&program, Array::scalar(0.0), &model.map, ());
        trial.invoke(interloom_engine::Invoke::new("m0", machine));
        let ran = trial.run(input);
        match (program.check(known), ran.report.result) {
            (Ok(()), Ok(_)) => {}
            (Err(error), Err(RunError::Mediators(failures))) => {
                let [failure] = &failures[..] else { panic!("{failures:?}") };
                let (at, asked) = match (&error, failure.fault.kind()) {
                    (ProgramError::Order { at, asked, .. }, FaultKind::OutOfOrder { .. }) => {
                        (at, asked)
                    }
                    (ProgramError::Impossible { at, fault }, FaultKind::NotProvided { .. }) => {
                        let ProgramFault::NeverPassed { site, .. } = &**fault else {
                            panic!("{error}");
                        };
                        (at, site)
                    }
                    (error, fault) => panic!("{error} but {fault}"),
                };
                let named = format!("`{asked}`");
                prop_assert!(failure.fault.to_string().contains(&named), "{}", failure.fault);
                prop_assert_eq!(at.line, failure.origin.file_line().map(|(_, line)| line));
            }
            (checked, ran) => prop_assert!(false, "{checked:?} but {ran:?}"),
        }
    }
}

#[test]
fn a_program_that_no_run_can_leave_out_is_refused_and_no_other() {
    let model = crate::support::stack();
    let shapes = shapes_of(&model, table(2, 1.0));
    let known = CheckContext::of(&model.map).whole_order(&shapes);
    let code = |program: &Program, others: Effects, steps: Option<u32>| {
        let effects = others | Effects::of(program);
        let checked = program.check(known.effects(effects).steps(steps));
        checked.map_err(|error| error.code())
    };
    let late = |program: Program| {
        let program = program.read("layers.1.output", "h");
        program.read("layers.0.output", "h")
    };
    let (none, stop) = (Effects::default(), Effects::of(&Program::new().stop()));
    let each = Program::new().each(.., "i", late(Program::new()));
    assert_eq!(code(&each, none, None), Err("E119"));
    assert_eq!(code(&each, none, Some(2)), Err("E119"));
    // There may be no iteration, or another mediator may stop the run before it comes so far.
    assert_eq!(code(&each, none, Some(0)), Ok(()));
    assert_eq!(code(&each, stop, None), Ok(()));
    // Outside of a loop the mediator fails then, too.
    assert_eq!(code(&late(Program::new()), stop, None), Err("E119"));
    let caught = Program::new().attempt(late(Program::new()));
    assert_eq!(code(&caught, none, None), Ok(()));
    assert_eq!(code(&late(Program::new().stop()), none, None), Ok(()));
    // A branch is a doubt.
    let branch = Program::new().read("layers.1.output", "h").when(
        var("h").sum().equals(0.0),
        Program::new().line(9).read("layers.0.output", "h"),
    );
    assert_eq!(code(&branch, none, None), Ok(()));
    let doubts = branch.doubts(known.effects(none));
    assert_eq!(doubts.len(), 1, "{doubts:?}");
    insta::assert_snapshot!(doubts[0], @"line 9: `layers.0.output.i0` is asked for after `layers.1.output.i0` (step 1), but the model passes it before; ask for it first, and keep the value if it is needed later");
}

/// A loop over all iterations ends with the model, and one over the steps of a run in the last of
/// them.
#[test]
fn what_comes_behind_a_loop_is_refused_if_it_was_passed() {
    let model = Model::tree(&[
        ("", &["step", "step"]),
        ("step", &["one", "two"]),
        ("one", &[]),
        ("two", &[]),
    ]);
    let shapes = shapes_of(&model, table(2, 1.0));
    let behind = |over: Over, site: &str| {
        let body = Program::new().read("one.output", "x");
        Program::new().each(over, "i", body).read(site, "y")
    };
    let code = |program: &Program, steps: Option<u32>| {
        let known = CheckContext::of(&model.map)
            .effects(Effects::of(program))
            .steps(steps);
        let known = match steps {
            Some(_) => known.order(&shapes),
            None => known.whole_order(&shapes),
        };
        program.check(known).map_err(|error| error.code())
    };
    let late = Err("E119");
    for (over, steps, site, expected) in [
        // A generation of five steps, of which two are known.
        (Over::ALL, Some(5), "two.output", late),
        (Over::ALL, Some(5), "one.output.i1", late),
        (Over::ALL, Some(5), "two.output.i3", late),
        (Over::ALL, Some(5), "one.output.i4", Ok(())),
        (Over::ALL, Some(5), "two.output.i4", Ok(())),
        (Over::ALL, Some(1), "two.output", Ok(())),
        ((1..3).into(), Some(5), "two.output.i1", late),
        ((1..3).into(), Some(5), "two.output.i2", Ok(())),
        ([0, 3].into(), Some(5), "two.output.i2", late),
        ([0, 3].into(), Some(5), "two.output.i3", Ok(())),
        // The loop asks for more than there is, so that the model has come to its end.
        ((0..9).into(), Some(5), "two.output.i4", late),
        // One pass, in which each is called twice.
        (Over::ALL, None, "two.output", late),
        (Over::ALL, None, "two.output.i1", late),
        ((0..9).into(), None, "two.output.i1", late),
        ((0..2).into(), None, "two.output", late),
        ((0..2).into(), None, "two.output.i1", Ok(())),
        (0.into(), None, "two.output", Ok(())),
    ] {
        let program = behind(over.clone(), site);
        assert_eq!(code(&program, steps), expected, "{over:?} {steps:?} {site}");
    }
    // What a try, a branch or a stop may keep from happening is not refused.
    let body = Program::new().attempt(Program::new().read("one.output", "x"));
    let caught = Program::new().each(.., "i", body).read("two.output", "y");
    assert_eq!(code(&caught, Some(5)), Ok(()));
    let all = behind(Over::ALL, "two.output");
    let known = CheckContext::of(&model.map)
        .whole_order(&shapes)
        .steps(None);
    let stops = Effects::of(&Program::new().stop()) | Effects::of(&all);
    assert!(all.check(known.effects(stops)).is_ok());
    let error = all.check(known.effects(Effects::of(&all))).unwrap_err();
    insta::assert_snapshot!(error, @"step 3: `two.output.i0` is asked for after all of `one.output` (step 2), but the model passes it before; ask for it first, and keep the value if it is needed later");
}

/// If a module is skipped, what it calls is passed where it is called next.
#[test]
fn the_order_of_what_is_called_twice_is_not_known_beside_a_skip() {
    let model = Model::tree(&[
        ("", &["a", "b", "cell"]),
        ("a", &["cell"]),
        ("b", &[]),
        ("cell", &[]),
    ]);
    let shapes = shapes_of(&model, table(2, 1.0));
    let reader = Program::new()
        .read("b.output", "h")
        .read("cell.output.i0", "g");
    let skipper = Program::new().skip("a", read("a.input"));
    let known = CheckContext::of(&model.map).whole_order(&shapes);
    let alone = reader.check(known.effects(Effects::of(&reader)));
    assert_eq!(alone.unwrap_err().code(), "E119");
    reader.check(known.effects(Effects::of(&skipper))).unwrap();
    reader.check(known).unwrap();
    let case = without_programs(&model);
    let mut trial = case.empty_trial();
    for (name, program) in [("reader", &reader), ("skipper", &skipper)] {
        let machine = machine_of(program, Array::scalar(0.0), &model.map, ());
        trial.invoke(interloom_engine::Invoke::new(name, machine));
    }
    trial.run(table(2, 1.0)).report.result.unwrap();
}

/// A run of a model, to which mediators are added.
fn without_programs(model: &Model) -> Case {
    Case {
        model: model.clone(),
        programs: Vec::new(),
        barriers: [1; 3],
        steps: None,
        cache: None,
        gradients: Vec::new(),
    }
}
