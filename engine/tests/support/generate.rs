//! Where the programs of the laws come from.

use interloom_engine::{Flow, Point, Port, Site, Target};
use proptest::prelude::*;

use crate::programs::{BARRIERS, Case, Form, Line, Program, Span, Step};
use crate::support::{Model, Module, table};

/// A line before it is known which sites the model has.
#[derive(Clone, Debug)]
struct RawLine {
    kind: Kind,
    /// Where among the sites of a run, as a fraction of 2^16.
    place: u16,
    aim: Aim,
    scale: u8,
    shift: u8,
    form: Form,
    reshape: bool,
    catches: bool,
    /// The lines of a loop.
    body: Vec<RawLine>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Read,
    Write,
    Skip,
    Stop,
    Raise,
    Next,
    Each,
    Meet,
    Put,
    Get,
}

/// How a line names its site.
#[derive(Clone, Copy, Debug)]
enum Aim {
    Exact,
    /// Without an iteration.
    Plain,
    /// An iteration that never comes.
    Beyond,
    /// A path that the model does not have.
    Unknown,
    /// A port that the model does not have.
    Portless,
}

#[derive(Clone, Debug)]
struct RawProgram {
    lines: Vec<RawLine>,
    rows: Option<u32>,
    is_sorted: bool,
    is_optional: bool,
}

/// A line, or a loop over lines and loops.
fn raw_line() -> impl Strategy<Value = RawLine> {
    simple_line().prop_recursive(2, 12, 3, |inner| {
        let body = prop::collection::vec(inner, 1..4);
        let looping = (simple_line(), body).prop_map(|(line, body)| RawLine {
            kind: Kind::Each,
            body,
            ..line
        });
        prop_oneof![3 => simple_line(), 1 => looping]
    })
}

fn simple_line() -> impl Strategy<Value = RawLine> {
    let kind = prop_oneof![
        10 => Just(Kind::Read),
        8 => Just(Kind::Write),
        2 => Just(Kind::Skip),
        1 => Just(Kind::Stop),
        1 => Just(Kind::Raise),
        1 => Just(Kind::Next),
        3 => Just(Kind::Meet),
        2 => Just(Kind::Put),
        2 => Just(Kind::Get),
    ];
    let aim = prop_oneof![
        14 => Just(Aim::Exact),
        4 => Just(Aim::Plain),
        1 => Just(Aim::Beyond),
        1 => Just(Aim::Unknown),
        1 => Just(Aim::Portless),
    ];
    let form = prop_oneof![8 => Just(Form::Fit), 1 => Just(Form::Longer), 1 => Just(Form::Wider)];
    let reshape = prop::bool::weighted(0.1);
    let catches = prop::bool::weighted(0.8);
    let numbers = (any::<u16>(), 0u8..4, 0u8..10);
    (kind, aim, form, reshape, catches, numbers).prop_map(
        |(kind, aim, form, reshape, catches, (place, scale, shift))| RawLine {
            kind,
            place,
            aim,
            scale,
            shift,
            form,
            reshape,
            catches,
            body: Vec::new(),
        },
    )
}

/// Makes a line that can fail no run: a read, or a write that fits, with every refusal caught, or a loop over such.
fn quieted(line: RawLine) -> RawLine {
    RawLine {
        kind: match line.kind {
            Kind::Read | Kind::Stop | Kind::Meet | Kind::Get => Kind::Read,
            Kind::Write | Kind::Skip | Kind::Raise | Kind::Put => Kind::Write,
            Kind::Each | Kind::Next => line.kind,
        },
        form: Form::Fit,
        reshape: false,
        catches: true,
        body: line.body.into_iter().map(quieted).collect(),
        ..line
    }
}

fn quiet_line() -> impl Strategy<Value = RawLine> {
    raw_line().prop_map(quieted)
}

fn raw_program() -> impl Strategy<Value = RawProgram> {
    let lines = prop::collection::vec(raw_line(), 0..7);
    let rows = prop::option::weighted(0.6, 1u32..3);
    let flags = (prop::bool::weighted(0.7), prop::bool::weighted(0.5));
    (lines, rows, flags).prop_map(|(lines, rows, (is_sorted, is_optional))| RawProgram {
        lines,
        rows,
        is_sorted,
        is_optional,
    })
}

fn quiet_program() -> impl Strategy<Value = RawProgram> {
    let lines = prop::collection::vec(quiet_line(), 0..7);
    (lines, 1u32..4, any::<bool>()).prop_map(|(lines, rows, is_sorted)| RawProgram {
        lines,
        rows: Some(rows),
        is_sorted,
        is_optional: true,
    })
}

/// Models of up to six modules; one that has several callers, or is called twice, has several iterations.
pub(crate) fn models() -> impl Strategy<Value = Model> {
    let module = (prop::collection::vec(any::<u16>(), 0..3), 1u8..6, 0u8..10);
    prop::collection::vec(module, 1..7).prop_map(|modules| {
        let count = modules.len();
        let module = |(index, (children, scale, shift)): (usize, (Vec<u16>, u8, u8))| Module {
            path: match index {
                0 => String::new(),
                index => format!("m{index}"),
            },
            scale: f64::from(scale),
            shift: f64::from(shift),
            // Only later modules, so that no module calls itself.
            children: children
                .iter()
                .filter(|_| index + 1 < count)
                .map(|&child| index + 1 + pick(child, count - index - 1))
                .collect(),
        };
        Model::new(modules.into_iter().enumerate().map(module).collect())
    })
}

/// Runs of every kind.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let programs = prop::collection::vec(raw_program(), 1..5);
    let joint = prop::option::weighted(0.3, any::<u16>());
    let declared = (
        prop::array::uniform3(1u32..4),
        prop::option::weighted(0.3, 0u32..4),
    );
    (models(), programs, joint, declared).prop_map(|(model, programs, joint, (barriers, steps))| {
        Case {
            barriers,
            steps,
            ..assemble(model, programs, joint, false)
        }
    })
}

/// Runs that cannot fail, and in which every mediator has rows of its own.
///
/// A module that all of them skip is skipped first of all, so that nobody is late for it.
pub(crate) fn quiet_cases() -> impl Strategy<Value = Case> {
    let programs = prop::collection::vec(quiet_program(), 1..5);
    let joint = prop::option::weighted(0.3, any::<u16>());
    (models(), programs, joint)
        .prop_map(|(model, programs, joint)| assemble(model, programs, joint, true))
}

/// Returns a place below `count`, in proportion to `fraction`.
pub(crate) fn pick(fraction: u16, count: usize) -> usize {
    usize::from(fraction) * count / (usize::from(u16::MAX) + 1)
}

/// The sites that the model passes when nobody intervenes.
pub(crate) fn sites_of(model: &Model) -> Vec<Site> {
    let mut sites: Vec<Site> = Vec::new();
    let x = table(1, 0.0);
    model.forward(x, &mut |point, value| {
        let before = sites.iter().filter(|site| site.point == point).count();
        sites.push(point.at(before as u32));
        Flow::Continue(value)
    });
    sites
}

/// Aims the lines at the sites of the model; with `joint`, all programs with rows skip one module together.
fn assemble(model: Model, programs: Vec<RawProgram>, joint: Option<u16>, is_quiet: bool) -> Case {
    let sites = sites_of(&model);
    let program = |raw: RawProgram| {
        let mut lines = raw.lines;
        if raw.is_sorted {
            lines.sort_by_key(|line| line.place);
        }
        let skip = joint.filter(|_| raw.rows.is_some()).map(|place| RawLine {
            kind: Kind::Skip,
            place,
            aim: Aim::Exact,
            scale: 1,
            // Below 8, so that it is aimed at an input.
            shift: lines.first().map_or(3, |line| line.shift % 8),
            // What does not fit the others, now and then.
            form: lines.first().map_or(Form::Fit, |line| line.form),
            reshape: false,
            catches: true,
            body: Vec::new(),
        });
        if let Some(skip) = skip {
            let at = match is_quiet {
                true => 0,
                false => lines.partition_point(|line| line.place <= skip.place),
            };
            lines.insert(at, skip);
        }
        Program {
            lines: lines.iter().map(|line| aim(&model, &sites, line)).collect(),
            rows: raw.rows,
            is_optional: raw.is_optional,
        }
    };
    let programs = programs.into_iter().map(program).collect();
    Case {
        model,
        programs,
        barriers: [1; 3],
        steps: None,
    }
}

fn aim(model: &Model, sites: &[Site], raw: &RawLine) -> Line {
    let place = pick(raw.place, sites.len());
    let mut site = sites[place];
    if matches!(raw.kind, Kind::Skip) && raw.shift < 8 {
        // Most skips are meant for an input; the root's is the first site.
        let inputs = sites[..=place].iter().rev();
        let mut inputs = inputs.filter(|site| site.point.port == Port::Input);
        site = *inputs.next().expect("the first site is an input");
    }
    let target = match raw.aim {
        Aim::Exact => exact(site.point, site.iteration),
        Aim::Plain => site.point.into(),
        Aim::Beyond => exact(site.point, site.iteration + sites.len() as u32),
        Aim::Unknown => Target::Unknown("nowhere.output".into()),
        Aim::Portless => Point::new(site.point.path, Port::Grad).into(),
    };
    debug_assert!(model.map.has(site.point));
    let (scale, shift) = (f64::from(raw.scale), f64::from(raw.shift));
    let (form, reshape) = (raw.form, raw.reshape);
    let step = match raw.kind {
        Kind::Read => Step::Read(target),
        Kind::Write => Step::Write {
            target,
            scale,
            shift,
            form,
            reshape,
        },
        Kind::Skip => Step::Skip {
            target,
            shift,
            form,
        },
        Kind::Stop => Step::Stop,
        Kind::Raise => Step::Raise,
        Kind::Next => Step::Next(u32::from(raw.scale)),
        Kind::Each => return looping(model, sites, raw, site.point),
        // One in ten is of no barrier that is declared.
        Kind::Meet => Step::Meet(BARRIERS.get(usize::from(raw.shift) / 3).unwrap_or(&"b")),
        Kind::Put => Step::Put(["x", "y"][usize::from(raw.scale) % 2], shift),
        Kind::Get => Step::Get(["x", "y"][usize::from(raw.scale) % 2]),
    };
    Line {
        step,
        catches: raw.catches,
    }
}

/// A loop; one without an upper bound begins with a line that waits, so that it ends with the model.
fn looping(model: &Model, sites: &[Site], raw: &RawLine, point: Point) -> Line {
    let (scale, shift) = (u32::from(raw.scale), u32::from(raw.shift));
    let span = match shift {
        0..3 => Span::Slice {
            start: Some(scale / 2),
            end: Some(shift),
        },
        3 => Span::List(vec![scale]),
        4 => Span::List(vec![scale, 0, scale / 2]),
        5 => Span::Slice {
            start: None,
            end: Some(scale),
        },
        6 | 7 => Span::Slice {
            start: Some(scale),
            end: None,
        },
        _ => Span::Slice {
            start: None,
            end: None,
        },
    };
    let mut body: Vec<Line> = Vec::new();
    if let Span::Slice { end: None, .. } = span {
        body.push(Line {
            step: Step::Read(point.into()),
            catches: raw.catches,
        });
    }
    body.extend(raw.body.iter().map(|line| aim(model, sites, line)));
    Line {
        step: Step::Each(span, body.into()),
        catches: raw.catches,
    }
}

fn exact(point: Point, iteration: u32) -> Target {
    Target::Point {
        point,
        iteration: Some(iteration),
    }
}
