//! The steps of generated mediators, and how they are written in a file.
//!
//! The words are those of the recorded scenarios of the conformance tests. Added are `put`, `get`,
//! the `target` of a skip (whose iteration may be named), and whether a write may change the shape.

use interloom_engine::array::Array;
use interloom_engine::{CacheSpec, Iterations, Point, Port, Request, SiteMap, Target};
use serde::{Deserialize, Serialize};

use crate::support::Asked;

/// One step of a program. The register holds the value that was read last, at first zeros of the
/// mediator's rows.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Step {
    Read {
        target: String,
        r#as: Register,
        save: bool,
    },
    Write {
        target: String,
        expr: Made,
        reshape: bool,
    },
    Skip {
        target: String,
        expr: Made,
    },
    Stop,
    Raise {
        message: String,
    },
    /// Advances the own iteration.
    Next {
        step: u32,
    },
    /// Runs the body once for each iteration.
    Iter {
        iter: Span,
        var: String,
        body: Vec<Step>,
    },
    Barrier {
        name: String,
    },
    Put {
        name: String,
        expr: Made,
    },
    Get {
        name: String,
        r#as: Register,
    },
    Cache {
        r#as: String,
        #[serde(flatten)]
        collects: Collects,
    },
    /// A backward pass from a loss: the sum of what is made.
    Backward {
        expr: Made,
    },
    /// A fault in the body leaves the body only.
    Try {
        body: Vec<Step>,
        r#as: String,
    },
}

/// The only variable.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Register {
    Register,
}

/// The iterations of a loop.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Span {
    Slice(Option<u32>, Option<u32>),
    List(Vec<u32>),
}

/// What a cache collects.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Collects {
    pub(crate) modules: Option<Vec<String>>,
    pub(crate) include_output: bool,
    pub(crate) include_inputs: bool,
    #[serde(default)]
    pub(crate) include_gradients: bool,
}

/// What a step writes: `register · scale + shift`, in some form.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(into = "Expression", try_from = "Expression")]
pub(crate) struct Made {
    pub(crate) scale: f64,
    pub(crate) shift: f64,
    pub(crate) form: Form,
}

/// The shape of what is written, compared with the register's.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    Fit,
    /// One row more.
    Longer,
    /// One number more in each row.
    Wider,
}

/// `["add", ["mul", ["var", "register"], scale], shift]`, or that with a module called on it.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Expression {
    Plain(Sum),
    Formed(Word, Form, Sum),
}

type Sum = (Word, (Word, (Word, Register), f64), f64);

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Add,
    Mul,
    Var,
    Module,
}

impl Step {
    pub(crate) fn read(target: impl Into<String>) -> Self {
        Self::Read {
            target: target.into(),
            r#as: Register::Register,
            save: false,
        }
    }

    pub(crate) fn get(name: &str) -> Self {
        Self::Get {
            name: name.to_owned(),
            r#as: Register::Register,
        }
    }

    /// Goes on after a fault of these steps.
    pub(crate) fn attempt(body: Vec<Self>) -> Self {
        Self::Try {
            body,
            r#as: "error".to_owned(),
        }
    }

    pub(crate) fn each(iter: Span, body: Vec<Self>) -> Self {
        Self::Iter {
            iter,
            var: "i".to_owned(),
            body,
        }
    }
}

/// What a step does, given the register.
pub(crate) enum Action<'s> {
    Ask(Request<Array>),
    Next(u32),
    Each(&'s Span, &'s [Step]),
    Try(&'s [Step]),
    Cache(&'s str, &'s Collects),
    Stop,
    Raise,
}

pub(crate) fn action<'s>(step: &'s Step, register: &Array, map: &SiteMap) -> Action<'s> {
    Action::Ask(match step {
        Step::Read { target, .. } => Request::Value {
            target: locate(target, map),
        },
        Step::Write {
            target,
            expr,
            reshape,
        } => Request::Swap {
            target: locate(target, map),
            value: expr.of(register),
            reshape: *reshape,
        },
        Step::Skip { target, expr } => Request::Skip {
            target: locate(target, map),
            value: expr.of(register),
        },
        Step::Barrier { name } => Request::Barrier {
            name: name.as_str().into(),
        },
        Step::Put { name, expr } => Request::Put {
            name: name.as_str().into(),
            value: expr.of(register),
        },
        Step::Get { name, .. } => Request::Get {
            name: name.as_str().into(),
        },
        Step::Backward { expr } => Request::Backward {
            loss: expr.loss(register),
        },
        Step::Next { step } => return Action::Next(*step),
        Step::Iter { iter, body, .. } => return Action::Each(iter, body),
        Step::Try { body, .. } => return Action::Try(body),
        Step::Cache { r#as, collects } => return Action::Cache(r#as, collects),
        Step::Stop => return Action::Stop,
        Step::Raise { .. } => return Action::Raise,
    })
}

/// Looks a site up; a port that a known path does not have is asked for all the same.
fn locate(name: &str, map: &SiteMap) -> Target {
    let portless = || {
        let (path, port) = name.rsplit_once('.').unwrap_or(("", name));
        Some(Point::new(map.path(path)?, Port::from_name(port)?))
    };
    match map.site(name) {
        Some((point, iteration)) => Target::Point { point, iteration },
        None => portless().map_or_else(|| Target::Unknown(name.into()), Target::from),
    }
}

/// The site that a request is for, or the name that the model does not have.
pub(crate) fn site_of(request: &Request<Array>, own: u32, map: &SiteMap) -> Asked {
    match request.target().expect("a request for a site") {
        Target::Unknown(name) => Err(format!("{name}?")),
        Target::Point { point, iteration } => match map.has(*point) {
            true => Ok(point.at(iteration.unwrap_or(own))),
            false => Err(format!("{}?", map.point_name(*point))),
        },
    }
}

impl Made {
    /// A loss of one element; of another form, one that has too many.
    pub(crate) fn loss(self, register: &Array) -> Array {
        let fit = register.map(|x| x * self.scale + self.shift);
        let sum = fit.data().iter().sum::<f64>();
        self.form.apply(&Array::new(&[1, 1], &[sum]))
    }

    pub(crate) fn of(self, register: &Array) -> Array {
        let fit = register.map(|x| x * self.scale + self.shift);
        self.form.apply(&fit)
    }
}

impl From<Made> for Expression {
    fn from(Made { scale, shift, form }: Made) -> Self {
        let product = (Word::Mul, (Word::Var, Register::Register), scale);
        let sum = (Word::Add, product, shift);
        match form {
            Form::Fit => Self::Plain(sum),
            form => Self::Formed(Word::Module, form, sum),
        }
    }
}

impl TryFrom<Expression> for Made {
    type Error = &'static str;

    fn try_from(expression: Expression) -> Result<Self, Self::Error> {
        let (form, sum) = match expression {
            Expression::Plain(sum) => (Form::Fit, sum),
            Expression::Formed(Word::Module, form, sum) => (form, sum),
            Expression::Formed(..) => return Err("only a module is called on a value"),
        };
        match sum {
            (Word::Add, (Word::Mul, (Word::Var, _), scale), shift) => {
                Ok(Self { scale, shift, form })
            }
            _ => Err("what is written is the register, times a number, plus a number"),
        }
    }
}

impl Form {
    pub(crate) fn apply(self, value: &Array) -> Array {
        let (rows, width) = (value.shape()[0], value.shape()[1]);
        let mut data = value.data().to_vec();
        match self {
            Self::Fit => value.clone(),
            Self::Longer => {
                data.extend(vec![0.0; width as usize]);
                Array::new(&[rows + 1, width], &data)
            }
            Self::Wider => {
                let chunks = data.chunks(width as usize);
                let data: Vec<f64> = chunks
                    .flat_map(|row| row.iter().copied().chain([0.0]))
                    .collect();
                Array::new(&[rows, width + 1], &data)
            }
        }
    }
}

impl Span {
    pub(crate) fn iterations(&self) -> Iterations {
        match self {
            Self::Slice(Some(start), Some(end)) => (*start..*end).into(),
            Self::Slice(Some(start), None) => (*start..).into(),
            Self::Slice(None, Some(end)) => (..*end).into(),
            Self::Slice(None, None) => Iterations::all(),
            Self::List(list) => list.clone().into(),
        }
    }

    /// The numbers of a loop (R32), and the last of them unless there is no upper bound.
    pub(crate) fn numbers(&self, own: u32) -> (Box<dyn Iterator<Item = u32>>, Option<u32>) {
        match self {
            Self::List(list) => {
                let mut list = list.clone();
                list.sort();
                let last = list.last().copied();
                (Box::new(list.into_iter()), last)
            }
            Self::Slice(start, None) => (Box::new(start.unwrap_or(own)..), None),
            Self::Slice(start, Some(end)) => {
                let last = Some(end.saturating_sub(1));
                (Box::new(start.unwrap_or(own)..*end), last)
            }
        }
    }
}

impl Collects {
    /// Returns whether a point of the model is one of these.
    pub(crate) fn has(&self, point: Point, map: &SiteMap) -> bool {
        let path = map.path_name(point.path);
        let is_listed = |modules: &Vec<String>| modules.iter().any(|module| module == path);
        if point.is_parameter() {
            return self.include_gradients && self.modules.as_ref().is_some_and(is_listed);
        }
        let is_side = match point.port.forward() {
            Port::Input => self.include_inputs,
            _ => self.include_output,
        };
        let is_kind = self.include_gradients || !point.port.is_gradient();
        is_side && is_kind && self.modules.as_ref().is_none_or(is_listed)
    }

    pub(crate) fn spec(&self) -> CacheSpec {
        let spec = match &self.modules {
            Some(modules) => CacheSpec::of(modules),
            None => CacheSpec::all(),
        };
        let spec = match (self.include_inputs, self.include_output) {
            (true, true) => spec.both(),
            (true, false) => spec.inputs(),
            (false, _) => spec,
        };
        match self.include_gradients {
            true => spec.gradients(),
            false => spec,
        }
    }
}
