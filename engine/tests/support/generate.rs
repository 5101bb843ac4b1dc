//! Where the programs of the laws come from.

use interloom_engine::{Flow, Point, Port, Site};
use proptest::prelude::*;

use crate::programs::{BARRIERS, CACHES, Case, Program};
use crate::steps::{Collects, Form, Made, Span, Step};
use crate::support::{Model, Module, parameter_of, table};

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
    /// The lines of a loop, or of a `try`.
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
    Cache,
    Backward,
    Try,
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
    /// The gradient of what passes the site.
    Gradient,
}

#[derive(Clone, Debug)]
struct RawProgram {
    lines: Vec<RawLine>,
    rows: Option<u32>,
    is_sorted: bool,
    is_optional: bool,
}

/// A line, or a loop or a `try` over lines, loops and `try`s.
fn raw_line() -> impl Strategy<Value = RawLine> {
    simple_line().prop_recursive(2, 12, 3, |inner| {
        let body = prop::collection::vec(inner, 1..4);
        let kind = prop_oneof![3 => Just(Kind::Each), 1 => Just(Kind::Try)];
        let nested = (simple_line(), kind, body).prop_map(|(line, kind, body)| RawLine {
            kind,
            body,
            ..line
        });
        prop_oneof![3 => simple_line(), 1 => nested]
    })
}

fn simple_line() -> impl Strategy<Value = RawLine> {
    let kind = prop_oneof![
        10 => Just(Kind::Read),
        8 => Just(Kind::Write),
        3 => Just(Kind::Skip),
        1 => Just(Kind::Stop),
        1 => Just(Kind::Raise),
        1 => Just(Kind::Next),
        3 => Just(Kind::Meet),
        2 => Just(Kind::Put),
        2 => Just(Kind::Get),
        2 => Just(Kind::Cache),
        2 => Just(Kind::Backward),
    ];
    let aim = prop_oneof![
        14 => Just(Aim::Exact),
        4 => Just(Aim::Plain),
        1 => Just(Aim::Beyond),
        1 => Just(Aim::Unknown),
        1 => Just(Aim::Portless),
        4 => Just(Aim::Gradient),
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

/// Makes a line that can fail no run: a read, or a write that fits, with every refusal caught, or a
/// loop over such.
fn quieted(line: RawLine) -> RawLine {
    RawLine {
        kind: match line.kind {
            Kind::Read | Kind::Stop | Kind::Meet | Kind::Get => Kind::Read,
            Kind::Write | Kind::Skip | Kind::Raise | Kind::Put => Kind::Write,
            // A loss is of all rows.
            Kind::Backward => Kind::Read,
            Kind::Each | Kind::Next | Kind::Cache | Kind::Try => line.kind,
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

/// Models of up to six modules; one that has several callers, or is called twice, has several
/// iterations.
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

/// Models in which one module is called several times, with another one inside it, which may be
/// called from elsewhere, too.
fn recurrent_models() -> impl Strategy<Value = Model> {
    let calls = prop::collection::vec(prop::bool::weighted(0.7), 3..7);
    let inside = 1usize..3;
    (calls, inside, 1u8..6, 0u8..10).prop_map(|(calls, inside, scale, shift)| {
        let module = |path: &str, children| Module {
            path: path.to_owned(),
            scale: f64::from(scale),
            shift: f64::from(shift),
            children,
        };
        let calls = calls.iter().map(|is_outer| if *is_outer { 1 } else { 2 });
        Model::new(vec![
            module("", calls.collect()),
            module("m1", vec![2; inside]),
            module("m1.m2", Vec::new()),
        ])
    })
}

/// Runs of every kind.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    prop_oneof![
        9 => mixed_cases().boxed(),
        4 => recurrent_cases().boxed(),
        1 => differentiated_cases().boxed(),
    ]
}

fn mixed_cases() -> impl Strategy<Value = Case> {
    let programs = prop::collection::vec(raw_program(), 1..5);
    let joint = prop::option::weighted(0.3, joint());
    let declared = (
        prop::array::uniform3(1u32..4),
        prop::option::weighted(0.3, 0u32..4),
        prop::option::weighted(0.3, (any::<u16>(), 0u8..10)),
        any::<u8>(),
    );
    (models(), programs, joint, declared).prop_map(
        |(model, programs, joint, (barriers, steps, cache, gradients))| Case {
            barriers,
            steps,
            gradients: chosen(&model, gradients),
            cache: cache.map(|(place, shift)| {
                let sides = sides(shift);
                let modules = listed(&model, place).filter(|_| shift < 5);
                let has_value = |path: &String| model.map.path(path).is_some();
                let modules = modules.into_iter().flatten();
                let modules = modules.filter(|path| sides.include_gradients || has_value(path));
                let modules: Vec<String> = modules.collect();
                Collects {
                    modules: Some(modules).filter(|modules| !modules.is_empty()),
                    ..sides
                }
            }),
            ..assemble(model, programs, joint, false)
        },
    )
}

/// Runs of a model with a module that is called several times and, mostly, skipped in one of its
/// iterations first of all.
fn recurrent_cases() -> impl Strategy<Value = Case> {
    let program = prop_oneof![1 => raw_program().boxed(), 3 => quiet_program().boxed()];
    let programs = prop::collection::vec(program, 1..4);
    let joint = prop::option::weighted(0.8, joint());
    (recurrent_models(), programs, joint)
        .prop_map(|(model, programs, joint)| assemble(model, programs, joint, true))
}

/// Runs in which one program asks for a backward pass or two, and for gradients in each.
fn differentiated_cases() -> impl Strategy<Value = Case> {
    let program = (passes(), prop::option::weighted(0.6, 1u32..3));
    let others = prop::collection::vec(prop_oneof![raw_program(), quiet_program()], 0..3);
    (models(), program, others).prop_map(|(model, (lines, rows), mut programs)| {
        programs.push(RawProgram {
            lines,
            rows,
            is_sorted: false,
            is_optional: true,
        });
        Case {
            gradients: chosen(&model, u8::MAX),
            ..assemble(model, programs, None, false)
        }
    })
}

/// The lines of one backward pass or two: a read, a loss, and gradients.
fn passes() -> impl Strategy<Value = Vec<RawLine>> {
    let gradient = (simple_line(), any::<bool>()).prop_map(|(line, is_parameter)| RawLine {
        kind: match line.kind {
            Kind::Write | Kind::Put | Kind::Skip => Kind::Write,
            _ => Kind::Read,
        },
        aim: Aim::Gradient,
        shift: if is_parameter { 8 } else { line.shift },
        ..line
    });
    let pass = (simple_line(), prop::collection::vec(gradient, 1..5));
    let passes = prop::collection::vec(pass, 1..3);
    passes.prop_map(|mut passes| {
        passes.sort_by_key(|(line, _)| line.place);
        let numbered = (0u8..).zip(passes);
        let lines = numbered.flat_map(|(pass, (line, gradients))| {
            let line = |kind| RawLine {
                kind,
                aim: Aim::Exact,
                form: Form::Fit,
                catches: true,
                ..line.clone()
            };
            // What is written fits what was read.
            let gradients = gradients.into_iter().flat_map(move |line| {
                let line = RawLine {
                    scale: line.scale % 2 + 2 * pass,
                    ..line
                };
                let read = RawLine {
                    kind: Kind::Read,
                    ..line.clone()
                };
                [read, line]
            });
            let head = [line(Kind::Read), line(Kind::Backward)];
            head.into_iter().chain(gradients)
        });
        lines.collect()
    })
}

/// A skip of one module by several programs.
#[derive(Clone, Copy, Debug)]
struct Joint {
    place: u16,
    by: By,
}

/// Who skips.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum By {
    Rows,
    Rowless,
    All,
}

fn joint() -> impl Strategy<Value = Joint> {
    let by = prop_oneof![4 => Just(By::Rows), 1 => Just(By::Rowless), 1 => Just(By::All)];
    (any::<u16>(), by).prop_map(|(place, by)| Joint { place, by })
}

/// Reads a run of any kind from bytes, after whose end there are zeros.
#[allow(dead_code, reason = "for the law of scripts and for fuzzing")]
pub(crate) fn scripted(bytes: &[u8]) -> Case {
    let mut bytes = bytes.iter().copied();
    let mut next = || bytes.next().unwrap_or(0);
    let first = next();
    let count = 1 + first % 6;
    // The second one may be around all others.
    let outer = if first / 6 % 2 == 0 { "" } else { "m1." };
    let modules = (0..count).map(|index| {
        let later = count - index - 1;
        let children = if later == 0 { 0 } else { next() % 3 };
        Module {
            path: if index == 0 {
                String::new()
            } else if index == 1 {
                "m1".to_owned()
            } else {
                format!("{outer}m{index}")
            },
            scale: f64::from(1 + next() % 5),
            shift: f64::from(next() % 10),
            children: (0..children)
                .map(|_| usize::from(index + 1 + next() % later))
                .collect(),
        }
    });
    let model = Model::new(modules.collect());
    let programs = 1 + next() % 4;
    let programs = (0..programs).map(|_| RawProgram {
        lines: (0..next() % 7)
            .map(|_| scripted_line(&mut next, 2))
            .collect(),
        rows: (1..3)
            .contains(&(next() % 4))
            .then(|| 1 + u32::from(next() % 2)),
        is_sorted: !next().is_multiple_of(4),
        is_optional: next().is_multiple_of(2),
    });
    let programs = programs.collect();
    let barriers = [(); 3].map(|()| 1 + u32::from(next() % 3));
    let steps = next().checked_sub(200).map(|steps| u32::from(steps % 4));
    let joint = next().checked_sub(200).map(|place| Joint {
        place: u16::from(place) << 8,
        by: [By::Rows, By::Rowless, By::All][usize::from(place) % 3],
    });
    let cache = next().checked_sub(200).map(sides);
    let gradients = chosen(&model, next());
    Case {
        barriers,
        steps,
        cache,
        gradients,
        ..assemble(model, programs, joint, false)
    }
}

fn scripted_line(next: &mut dyn FnMut() -> u8, depth: u8) -> RawLine {
    use Kind::*;
    let kinds = [
        Read, Read, Write, Write, Skip, Stop, Raise, Next, Meet, Put, Get, Cache, Each, Try,
        Backward,
    ];
    let kind = match kinds[usize::from(next()) % kinds.len()] {
        Each | Try if depth == 0 => Read,
        kind => kind,
    };
    let aims = [
        Aim::Gradient,
        Aim::Gradient,
        Aim::Gradient,
        Aim::Beyond,
        Aim::Unknown,
        Aim::Portless,
        Aim::Plain,
        Aim::Plain,
    ];
    let forms = [Form::Longer, Form::Wider];
    let body = match kind {
        Each | Try => (0..=next() % 3)
            .map(|_| scripted_line(next, depth - 1))
            .collect(),
        _ => Vec::new(),
    };
    RawLine {
        kind,
        place: u16::from(next()) << 8,
        aim: aims
            .get(usize::from(next() % 24))
            .copied()
            .unwrap_or(Aim::Exact),
        scale: next() % 4,
        shift: next() % 10,
        form: forms
            .get(usize::from(next() % 16))
            .copied()
            .unwrap_or(Form::Fit),
        reshape: next() % 10 == 1,
        catches: next() % 5 != 1,
        body,
    }
}

/// Runs that cannot fail, and in which every mediator has rows of its own.
///
/// A module that all of them skip is skipped first of all, so that no mediator is late for it.
pub(crate) fn quiet_cases() -> impl Strategy<Value = Case> {
    let programs = prop::collection::vec(quiet_program(), 1..5);
    let joint = prop::option::weighted(0.3, joint());
    (models(), programs, joint)
        .prop_map(|(model, programs, joint)| assemble(model, programs, joint, true))
}

/// Returns a place below `count`, in proportion to `fraction`.
pub(crate) fn pick(fraction: u16, count: usize) -> usize {
    usize::from(fraction) * count / (usize::from(u16::MAX) + 1)
}

/// The sites that the model passes without mediators.
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

/// Aims the lines at the sites of the model; with `joint`, several programs skip one module
/// together, before all else where `is_first`.
fn assemble(model: Model, programs: Vec<RawProgram>, joint: Option<Joint>, is_first: bool) -> Case {
    let sites = sites_of(&model);
    let program = |raw: RawProgram| {
        let mut lines = raw.lines;
        if raw.is_sorted {
            lines.sort_by_key(|line| line.place);
        }
        let skips = |joint: &Joint| match joint.by {
            By::Rows => raw.rows.is_some(),
            By::Rowless => raw.rows.is_none(),
            By::All => true,
        };
        let skip = joint.filter(skips).map(|Joint { place, .. }| RawLine {
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
            let at = match is_first {
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
        cache: None,
        gradients: Vec::new(),
    }
}

/// Some of the points and parameters of a model, or all.
fn chosen(model: &Model, which: u8) -> Vec<Point> {
    let is_chosen = |(place, _): &(usize, Point)| which > 160 || which >> (place % 5) & 1 == 1;
    let parameters = model.map.parameters();
    let parameters = parameters.filter_map(|path| model.map.parameter(path));
    let points = model.map.points().chain(parameters);
    let points = points.enumerate().filter(is_chosen);
    points.map(|(_, point)| point).collect()
}

/// Turns a line to a site; most lines catch what they are refused.
fn aim(model: &Model, sites: &[Site], raw: &RawLine) -> Step {
    let step = aimed(model, sites, raw);
    let is_caught = !matches!(raw.kind, Kind::Raise | Kind::Each | Kind::Try) && raw.catches;
    match is_caught {
        true => Step::attempt(vec![step]),
        false => step,
    }
}

fn aimed(model: &Model, sites: &[Site], raw: &RawLine) -> Step {
    let place = pick(raw.place, sites.len());
    let mut site = sites[place];
    if matches!(raw.kind, Kind::Skip) && raw.shift < 8 {
        // Most skips are meant for an input; the root's is the first site.
        let inputs = sites[..=place].iter().rev();
        let mut inputs = inputs.filter(|site| site.point.port == Port::Input);
        site = *inputs.next().expect("the first site is an input");
    }
    let map = &model.map;
    let target = match raw.aim {
        Aim::Exact => map.site_name(site),
        Aim::Plain => map.point_name(site.point),
        Aim::Beyond => map.site_name(site.point.at(site.iteration + sites.len() as u32)),
        Aim::Unknown => "nowhere.output".to_owned(),
        Aim::Portless => map.point_name(Point::new(site.point.path, Port::Fn)),
        Aim::Gradient if raw.shift > 7 => {
            let module = map.path_name(site.point.path);
            let gradient = map.parameter(&parameter_of(module)).expect("each has one");
            match raw.catches {
                true => map.site_name(gradient.at(u32::from(raw.scale / 2))),
                false => map.point_name(gradient),
            }
        }
        Aim::Gradient => {
            let gradient = site.point.gradient().expect("all of the model's have one");
            match raw.catches {
                true => map.site_name(gradient.at(site.iteration)),
                false => map.point_name(gradient),
            }
        }
    };
    let (scale, shift, form) = (f64::from(raw.scale), f64::from(raw.shift), raw.form);
    let body = || {
        raw.body
            .iter()
            .map(|line| aim(model, sites, line))
            .collect()
    };
    let shared = ["x", "y"][usize::from(raw.scale) % 2];
    match raw.kind {
        Kind::Read => Step::read(target),
        Kind::Write => Step::Write {
            target,
            expr: Made { scale, shift, form },
            reshape: raw.reshape,
        },
        Kind::Skip => Step::Skip {
            target,
            expr: Made {
                scale: 1.0,
                shift,
                form,
            },
        },
        Kind::Stop => Step::Stop,
        Kind::Raise => Step::Raise {
            message: "raised".to_owned(),
        },
        Kind::Next => Step::Next {
            step: u32::from(raw.scale),
        },
        Kind::Each => looping(raw, map.point_name(site.point), body()),
        Kind::Try => Step::attempt(body()),
        // One in ten is of no barrier that is declared.
        Kind::Meet => Step::Barrier {
            name: BARRIERS
                .get(usize::from(raw.shift) / 3)
                .unwrap_or(&"b")
                .to_string(),
        },
        Kind::Put => Step::Put {
            name: shared.to_owned(),
            expr: Made {
                scale: 1.0,
                shift,
                form: Form::Fit,
            },
        },
        Kind::Get => Step::get(shared),
        Kind::Backward => Step::Backward {
            expr: Made { scale, shift, form },
        },
        Kind::Cache => Step::Cache {
            r#as: CACHES[usize::from(raw.scale) % 2].to_owned(),
            collects: Collects {
                modules: match raw.aim {
                    Aim::Unknown => Some(vec!["nowhere".to_owned()]),
                    _ => listed(model, raw.place).filter(|_| raw.shift < 8),
                },
                ..sides(raw.shift)
            },
        },
    }
}

/// One module or two, or a module and a parameter.
fn listed(model: &Model, place: u16) -> Option<Vec<String>> {
    let count = model.modules.len();
    let (first, second) = (pick(place, count), usize::from(place) % count);
    let mut modules = [first, second].map(|place| model.modules[place].path.clone());
    if place % 4 == 3 {
        modules[1] = parameter_of(&modules[1]);
    }
    Some(modules.into())
}

/// Which sides of all modules a cache collects.
fn sides(shift: u8) -> Collects {
    Collects {
        modules: None,
        include_inputs: !shift.is_multiple_of(3),
        include_output: shift % 3 != 1,
        include_gradients: shift.is_multiple_of(4),
    }
}

/// A loop; one without an upper bound begins with a line that waits, so that it ends with the
/// model.
fn looping(raw: &RawLine, point: String, body: Vec<Step>) -> Step {
    let (scale, shift) = (u32::from(raw.scale), u32::from(raw.shift));
    let span = match shift {
        0..3 => Span::Slice(Some(scale / 2), Some(shift)),
        3 => Span::List(vec![scale]),
        4 => Span::List(vec![scale, 0, scale / 2]),
        5 => Span::Slice(None, Some(scale)),
        6 | 7 => Span::Slice(Some(scale), None),
        _ => Span::Slice(None, None),
    };
    let waiting = match span {
        Span::Slice(_, None) if raw.catches => vec![Step::attempt(vec![Step::read(point)])],
        Span::Slice(_, None) => vec![Step::read(point)],
        _ => Vec::new(),
    };
    Step::each(span, waiting.into_iter().chain(body).collect())
}
