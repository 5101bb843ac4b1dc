//! The generated mediators as programs of the engine.

use std::sync::Arc;

use interloom_engine::array::Array;
use interloom_engine::program::{Expr, Machine, Over, Program, get, given, module, var};
use interloom_engine::{Fault, SiteMap, Target};

use crate::programs::{Form, Line, Span, Step};

/// Makes the machine of a program that does what the lines say; `guard` lives as long as the machine.
pub(crate) fn machine(
    lines: &[Line],
    register: Array,
    map: &Arc<SiteMap>,
    guard: impl Sized + 'static,
) -> Machine<Array> {
    let mut program = Program::new().set("register", given("zeros"));
    program.steps.extend(body(lines, map).steps);
    let forms = move |path: &str, value: Array| {
        let _ = &guard;
        match path {
            "longer" => Ok(Form::Longer.apply(&value)),
            "wider" => Ok(Form::Wider.apply(&value)),
            other => Err(Fault::raise(format!("no form `{other}`"))),
        }
    };
    let machine = Machine::new(&program, map).expect("a short program");
    machine.given("zeros", register).modules(forms)
}

fn body(lines: &[Line], map: &SiteMap) -> Program {
    let mut program = Program::new();
    for Line { step, catches } in lines {
        let is_caught = *catches && !matches!(step, Step::Raise);
        program = match is_caught {
            true => program.attempt(add(Program::new(), step, map)),
            false => add(program, step, map),
        };
    }
    program
}

fn add(program: Program, step: &Step, map: &SiteMap) -> Program {
    let name = |target: &Target| match target {
        Target::Unknown(name) => name.to_string(),
        Target::Point { point, iteration } => match iteration {
            Some(iteration) => map.site_name(point.at(*iteration)),
            None => map.point_name(*point),
        },
    };
    let formed = |value: Expr, form: Form| match form {
        Form::Fit => value,
        Form::Longer => module("longer", value),
        Form::Wider => module("wider", value),
    };
    match step {
        Step::Read(target) => program.read(&name(target), "register"),
        Step::Write {
            target,
            scale,
            shift,
            form,
            reshape,
        } => {
            let value = formed(var("register") * *scale + *shift, *form);
            match reshape {
                true => program.reshape(&name(target), value),
                false => program.write(&name(target), value),
            }
        }
        Step::Skip {
            target,
            shift,
            form,
        } => program.skip_at(&name(target), formed(var("register") + *shift, *form)),
        Step::Stop => program.stop(),
        Step::Raise => program.raise("raised"),
        Step::Next(by) => program.next(*by),
        Step::Each(span, lines) => {
            let over = match span {
                Span::Slice { start, end } => Over::Slice {
                    start: *start,
                    end: *end,
                },
                Span::List(list) => list.clone().into(),
            };
            program.each(over, "i", body(lines, map))
        }
        Step::Meet(barrier) => program.barrier(barrier),
        Step::Put(name, shift) => program.put(name, var("register") + *shift),
        Step::Get(name) => program.set("register", get(name)),
    }
}
