//! The generated mediators as programs.

use std::sync::Arc;

use interloom_engine::array::Array;
use interloom_engine::{Fault, Mediator, SiteMap};
use interloom_program::{Action, Expr, Machine, Over, Program, Side, get, given, module, var};

use crate::programs::{Shared, Shelf, Style};
use crate::steps::{Collects, Form, Made, Span, Step};

/// The style in which a mediator is a program.
pub(crate) const PROGRAM: Style = Style::Other(machine);

/// Makes the machine of a program that does what the lines say.
fn machine(lines: Vec<Step>, register: Array, shared: Shared) -> (Box<dyn Mediator<Array>>, Shelf) {
    let map = shared.map.clone();
    let machine = machine_of(&program(&lines), register, &map, shared);
    let results = machine.results();
    (Box::new(machine), Box::new(move |name| results.cache(name)))
}

/// Makes the machine of a program that is made of lines; `guard` lives as long as the machine.
pub(crate) fn machine_of(
    program: &Program,
    register: Array,
    map: &Arc<SiteMap>,
    guard: impl Sized + 'static,
) -> Machine<Array> {
    let forms = move |path: &str, value: Array| {
        let _ = &guard;
        match path {
            "longer" => Ok(Form::Longer.apply(&value)),
            "wider" => Ok(Form::Wider.apply(&value)),
            other => Err(Fault::raise(format!("no form `{other}`"))),
        }
    };
    let machine = Machine::new(program, map).expect("a short program");
    machine.given("zeros", register).modules(forms)
}

/// Makes the program that does what the lines say.
pub(crate) fn program(lines: &[Step]) -> Program {
    add_all(Program::new().set("register", given("zeros")), lines)
}

fn add_all(program: Program, lines: &[Step]) -> Program {
    lines.iter().fold(program, add)
}

fn add(program: Program, step: &Step) -> Program {
    let inner = |lines: &[Step]| add_all(Program::new(), lines);
    match step {
        Step::Read { target, .. } => program.read(target, "register"),
        Step::Write {
            target,
            expr,
            reshape: true,
        } => program.reshape(target, made(*expr)),
        Step::Write { target, expr, .. } => program.write(target, made(*expr)),
        Step::Skip { target, expr } => program.skip_at(target, made(*expr)),
        Step::Stop => program.stop(),
        Step::Raise { message } => program.raise(message),
        Step::Next { step } => program.next(*step),
        Step::Iter { iter, var, body } => program.each(over(iter), var, inner(body)),
        Step::Barrier { name } => program.barrier(name),
        Step::Put { name, expr } => program.put(name, made(*expr)),
        Step::Get { name, .. } => program.set("register", get(name)),
        Step::Try { body, .. } => program.attempt(inner(body)),
        Step::Cache { r#as, collects } => program.then(Action::Cache {
            name: r#as.clone(),
            modules: collects.modules.clone(),
            side: side(collects),
            gradients: collects.include_gradients,
        }),
        Step::Backward { expr } => {
            let sum = fit(*expr).sum_along(0).sum_along(1);
            program.backward(formed(expr.form, sum))
        }
    }
}

fn made(made: Made) -> Expr {
    formed(made.form, fit(made))
}

fn fit(Made { scale, shift, .. }: Made) -> Expr {
    var("register") * scale + shift
}

fn formed(form: Form, fit: Expr) -> Expr {
    match form {
        Form::Fit => fit,
        Form::Longer => module("longer", fit),
        Form::Wider => module("wider", fit),
    }
}

fn over(span: &Span) -> Over {
    match span {
        Span::Slice(start, end) => Over::Slice {
            start: *start,
            end: *end,
        },
        Span::List(list) => Over::List(list.clone()),
    }
}

fn side(collects: &Collects) -> Side {
    match (collects.include_inputs, collects.include_output) {
        (true, true) => Side::Both,
        (true, false) => Side::Inputs,
        (false, _) => Side::Outputs,
    }
}
