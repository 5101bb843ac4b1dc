//! What can be known before the run about the kinds and shapes of a program's values.
//!
//! The program is gone through with shapes in place of values. Where a shape is not known, because a branch, a called module or
//! a tuple hides it, nothing is said: what is refused here would fail whichever way the run goes, and what passes may still
//! fail.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{Known, may_set};
use super::error::{Cursor, ProgramError, ProgramFault};
use super::expr::{Condition, Expr, Item, Span};
use super::step::{Action, Program, Step};
use crate::map::SiteMap;
use crate::site::Site;
use crate::value::Misfit;

/// The shapes of the tensors that pass a model's sites, as they were in a pass without mediators.
///
/// Sites at which something else passes, such as a tuple, are left out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shapes {
    batch: u32,
    sites: BTreeMap<Site, Vec<u64>>,
}

impl Shapes {
    /// Knows nothing yet of a pass with `batch` rows.
    pub const fn new(batch: u32) -> Self {
        Self {
            batch,
            sites: BTreeMap::new(),
        }
    }

    /// Adds the shape of the whole tensor at a site.
    pub fn add(&mut self, site: Site, shape: Vec<u64>) {
        self.sites.insert(site, shape);
    }

    /// Returns the shape of what a mediator with `rows` rows reads at a site; with none, it reads everything.
    pub fn of(&self, map: &SiteMap, site: Site, rows: Option<u32>) -> Option<Vec<u64>> {
        let mut shape = self.sites.get(&site)?.clone();
        let layout = map.layout(site.point);
        if let (Some(rows), true) = (
            rows,
            layout.is_batched(0, shape.first().copied(), self.batch),
        ) {
            shape[0] = rows.into();
        }
        Some(shape)
    }

    /// Returns the shape at a point if it is the same in every iteration that is known.
    fn of_point(&self, map: &SiteMap, site: Site, rows: Option<u32>) -> Option<Vec<u64>> {
        let iterations = self.sites.range(site.point.at(0)..=site.point.at(u32::MAX));
        let mut shapes = iterations.map(|(site, _)| self.of(map, *site, rows));
        let first = shapes.next()??;
        shapes
            .all(|other| other.as_ref() == Some(&first))
            .then_some(first)
    }
}

/// Checks the kinds and shapes of a program's values, as far as they are known.
pub(super) fn check(program: &Program, known: &Known<'_>) -> Result<(), ProgramError> {
    let mut pass = Pass {
        known,
        cursor: Cursor::of(program),
        variables: BTreeMap::new(),
        is_moving: false,
        is_reshaped: false,
        tries: 0,
    };
    pass.steps(&program.steps)
}

/// What is known of a datum.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Unknown,
    Number,
    List,
    Tensor(Vec<u64>),
    /// A tuple or a map.
    Parts,
}

struct Pass<'p> {
    known: &'p Known<'p>,
    cursor: Cursor<'p>,
    variables: BTreeMap<String, Shape>,
    /// Whether the mediator's own iteration may be another than 0.
    is_moving: bool,
    /// Whether the program may have changed shapes.
    is_reshaped: bool,
    /// How many `try` there are around the step: they catch what goes wrong.
    tries: u32,
}

impl Pass<'_> {
    fn steps(&mut self, steps: &[Step]) -> Result<(), ProgramError> {
        for step in steps {
            self.cursor.enter(step);
            let result = self.action(&step.action);
            if self.tries == 0 {
                result?;
            }
        }
        Ok(())
    }

    fn action(&mut self, action: &Action) -> Result<(), ProgramError> {
        match action {
            Action::Let { variable, value } => {
                let shape = self.expr(value);
                let kept = shape.as_ref().map_or(Shape::Unknown, Clone::clone);
                self.variables.insert(variable.clone(), kept);
                shape?;
            }
            Action::Write {
                site,
                value,
                reshape,
            } => {
                let shape = self.value("a write", value)?;
                match reshape {
                    true => self.is_reshaped = true,
                    false => self.check_write(site, &shape)?,
                }
            }
            Action::Skip { value, .. } => {
                self.value("a skip", value)?;
                self.is_reshaped = true;
            }
            Action::Put { value, .. } => self.part(value)?,
            Action::Append { list, value } => self.append(list, value)?,
            Action::List { variable } => drop(self.variables.insert(variable.clone(), Shape::List)),
            Action::Try { body, .. } => self.attempt(body)?,
            Action::If {
                condition,
                then,
                otherwise,
            } => self.choose(condition, then, otherwise)?,
            Action::Each { variable, body, .. } => self.each(variable, body)?,
            Action::Next { .. } => self.is_moving = true,
            Action::Save { .. }
            | Action::Stop
            | Action::Raise { .. }
            | Action::Barrier { .. }
            | Action::Cache { .. }
            | Action::Mark { .. } => {}
        }
        Ok(())
    }

    /// How far the body comes is not known.
    fn attempt(&mut self, body: &[Step]) -> Result<(), ProgramError> {
        self.tries += 1;
        let ran = self.steps(body);
        self.tries -= 1;
        self.forget(body);
        ran
    }

    /// What one iteration leaves, the next one begins with; and there may be none.
    fn each(&mut self, variable: &str, body: &[Step]) -> Result<(), ProgramError> {
        let was_moving = std::mem::replace(&mut self.is_moving, true);
        self.forget(body);
        self.variables.insert(variable.to_owned(), Shape::Number);
        self.steps(body)?;
        self.forget(body);
        self.is_moving = was_moving;
        Ok(())
    }

    /// What only one branch knows is not known after both.
    fn choose(
        &mut self,
        condition: &Condition,
        then: &[Step],
        otherwise: &[Step],
    ) -> Result<(), ProgramError> {
        self.condition(condition)?;
        let before = self.variables.clone();
        self.steps(then)?;
        let after = std::mem::replace(&mut self.variables, before);
        self.steps(otherwise)?;
        for (name, shape) in &mut self.variables {
            if after.get(name) != Some(shape) {
                *shape = Shape::Unknown;
            }
        }
        for name in after.into_keys() {
            self.variables.entry(name).or_insert(Shape::Unknown);
        }
        Ok(())
    }

    fn condition(&mut self, condition: &Condition) -> Result<(), ProgramError> {
        match condition {
            Condition::Compare { left, right, .. } => {
                for side in [left, right] {
                    let shape = self.expr(side)?;
                    let is_one = match &shape {
                        Shape::Tensor(shape) => shape.iter().product::<u64>() == 1,
                        Shape::List | Shape::Parts => false,
                        Shape::Number | Shape::Unknown => true,
                    };
                    if !is_one {
                        let expected = "numbers and values of one element";
                        return Err(self.kind("a comparison", expected, &shape));
                    }
                }
                Ok(())
            }
            Condition::Not(condition) => self.condition(condition),
            Condition::All(conditions) | Condition::Any(conditions) => {
                let mut conditions = conditions.iter();
                conditions.try_for_each(|condition| self.condition(condition))
            }
            Condition::IsSet(_) | Condition::Caught(_) => Ok(()),
        }
    }

    /// Returns the shape of an expression that has to be a value.
    fn value(&mut self, place: &'static str, expr: &Expr) -> Result<Shape, ProgramError> {
        match self.expr(expr)? {
            shape @ (Shape::Number | Shape::List) => Err(self.kind(place, "a value", &shape)),
            shape => Ok(shape),
        }
    }

    /// Checks a part of a tuple or a map: whether it may be a number or a list is the library's to say.
    fn part(&mut self, expr: &Expr) -> Result<(), ProgramError> {
        self.expr(expr).map(drop)
    }

    fn expr(&mut self, expr: &Expr) -> Result<Shape, ProgramError> {
        Ok(match expr {
            Expr::Number(_) => Shape::Number,
            Expr::Var(name) => self.variables.get(name).cloned().unwrap_or(Shape::Unknown),
            Expr::Given(_) | Expr::Get(_) => Shape::Unknown,
            Expr::Read(site) => self.read(site),
            Expr::Add(left, right) => self.combine("`add`", left, right)?,
            Expr::Sub(left, right) => self.combine("`sub`", left, right)?,
            Expr::Mul(left, right) => self.combine("`mul`", left, right)?,
            Expr::Div(left, right) => self.combine("`div`", left, right)?,
            Expr::Clone(of) => self.expr(of)?,
            Expr::ZerosLike(of) => self.value("`zeros_like`", of)?,
            Expr::Sum(of) => self.one("`sum`", of)?,
            Expr::Mean(of) => self.one("`mean`", of)?,
            Expr::ArgmaxLast(of) => self.argmax_last(of)?,
            Expr::Slice { of, spans } => {
                let of = self.value("`slice`", of)?;
                self.slice("`slice`", of, spans)?
            }
            Expr::Clip { of, spans } => self.clip(of, spans)?,
            Expr::Patch { of, spans, with } => {
                let of = self.value("`patch`", of)?;
                let part = self.slice("`patch`", of.clone(), spans)?;
                match self.expr(with)? {
                    // It fills the part.
                    Shape::Number => {}
                    list @ Shape::List => return Err(self.kind("`patch`", "a value", &list)),
                    with => self.check_fits("`patch`", &part, &with)?,
                }
                of
            }
            Expr::Index { of, item } => self.index(of, item)?,
            Expr::Replace { of, with, .. } => self.replace(of, with)?,
            Expr::Tuple(items) => self.parts(items)?,
            Expr::Map(items) => self.parts(items.values())?,
            Expr::Module { input, .. } => {
                self.value("a call", input)?;
                Shape::Unknown
            }
        })
    }

    fn index(&mut self, of: &Expr, item: &Item) -> Result<Shape, ProgramError> {
        match (self.expr(of)?, item) {
            (Shape::Tensor(lengths), Item::Place(place)) => match &lengths[..] {
                [length, rest @ ..] if u64::from(*place) < *length => Ok(match rest {
                    // How a tensor of one element is shaped is the library's to say.
                    [] => Shape::Unknown,
                    rest => Shape::Tensor(rest.to_vec()),
                }),
                _ => {
                    let expected = format!("a tensor with a place {place} in dimension 0");
                    Err(self.misfit("`index`", &expected, &Shape::Tensor(lengths)))
                }
            },
            (tensor @ Shape::Tensor(_), Item::Name(_)) => {
                Err(self.misfit("`index`", "a map", &tensor))
            }
            (Shape::Number, _) => Err(self.kind("`index`", "a value or a list", &Shape::Number)),
            (Shape::Unknown | Shape::List | Shape::Parts, _) => Ok(Shape::Unknown),
        }
    }

    fn clip(&mut self, of: &Expr, spans: &[Span]) -> Result<Shape, ProgramError> {
        match self.expr(of)? {
            Shape::Tensor(mut lengths) if spans.len() <= lengths.len() => {
                for (length, span) in lengths.iter_mut().zip(spans) {
                    let range = span.clip(*length);
                    *length = range.end - range.start;
                }
                Ok(Shape::Tensor(lengths))
            }
            tensor @ Shape::Tensor(_) => {
                let expected = format!("a tensor of {} dimensions or more", spans.len());
                Err(self.misfit("`clip`", &expected, &tensor))
            }
            Shape::Number => Err(self.kind("`clip`", "a value or a list", &Shape::Number)),
            Shape::List => Ok(Shape::List),
            Shape::Unknown | Shape::Parts => Ok(Shape::Unknown),
        }
    }

    fn replace(&mut self, of: &Expr, with: &Expr) -> Result<Shape, ProgramError> {
        self.part(with)?;
        match self.value("`replace`", of)? {
            tensor @ Shape::Tensor(_) => {
                Err(self.misfit("`replace`", "a tuple, list or map", &tensor))
            }
            other => Ok(other),
        }
    }

    fn parts<'e>(
        &mut self,
        items: impl IntoIterator<Item = &'e Expr>,
    ) -> Result<Shape, ProgramError> {
        for item in items {
            self.part(item)?;
        }
        Ok(Shape::Parts)
    }

    fn read(&self, name: &str) -> Shape {
        match self.shape_at(name) {
            Some(shape) => Shape::Tensor(shape),
            None => Shape::Unknown,
        }
    }

    fn shape_at(&self, name: &str) -> Option<Vec<u64>> {
        let (shapes, rows) = self.known.shapes?;
        let (point, iteration) = self.known.map.site(name)?;
        match iteration {
            _ if self.is_reshaped => None,
            Some(iteration) => shapes.of(self.known.map, point.at(iteration), rows),
            None if self.is_moving => shapes.of_point(self.known.map, point.at(0), rows),
            None => shapes.of(self.known.map, point.at(0), rows),
        }
    }

    fn combine(
        &mut self,
        place: &'static str,
        left: &Expr,
        right: &Expr,
    ) -> Result<Shape, ProgramError> {
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        Ok(match (left, right) {
            (list @ Shape::List, _) | (_, list @ Shape::List) => {
                return Err(self.kind(place, "numbers and values", &list));
            }
            (Shape::Number, shape) | (shape, Shape::Number) => shape,
            (Shape::Tensor(left), Shape::Tensor(right)) => match broadcast(&left, &right) {
                Some(shape) => Shape::Tensor(shape),
                None => {
                    let expected = format!("a tensor that goes with {left:?} element by element");
                    return Err(self.misfit(place, &expected, &Shape::Tensor(right)));
                }
            },
            _ => Shape::Unknown,
        })
    }

    /// How a tensor of one element is shaped is the library's to say.
    fn one(&mut self, place: &'static str, of: &Expr) -> Result<Shape, ProgramError> {
        match self.value(place, of)? {
            Shape::Parts => Err(self.misfit(place, "a tensor", &Shape::Parts)),
            _ => Ok(Shape::Unknown),
        }
    }

    fn argmax_last(&mut self, of: &Expr) -> Result<Shape, ProgramError> {
        let shape = self.value("`argmax_last`", of)?;
        match &shape {
            Shape::Tensor(lengths) if lengths.len() > 2 && !lengths.contains(&0) => {
                let kept = [&lengths[..1], &lengths[2..lengths.len() - 1]];
                Ok(Shape::Tensor(kept.concat()))
            }
            Shape::Tensor(lengths) if lengths.len() == 2 && !lengths.contains(&0) => {
                Ok(Shape::Unknown)
            }
            Shape::Unknown => Ok(Shape::Unknown),
            other => {
                let expected = "two dimensions or more, none of them empty";
                Err(self.misfit("`argmax_last`", expected, other))
            }
        }
    }

    fn slice(&self, place: &'static str, of: Shape, spans: &[Span]) -> Result<Shape, ProgramError> {
        let lengths = match of {
            Shape::Tensor(lengths) => lengths,
            Shape::Parts => return Err(self.misfit(place, "a tensor", &Shape::Parts)),
            Shape::Unknown | Shape::Number | Shape::List => return Ok(Shape::Unknown),
        };
        if spans.len() > lengths.len() {
            let expected = format!("a tensor of {} dimensions or more", spans.len());
            return Err(self.misfit(place, &expected, &Shape::Tensor(lengths)));
        }
        let mut part = lengths.clone();
        for (dimension, (length, span)) in part.iter_mut().zip(spans).enumerate() {
            let Some(range) = span.resolve(*length) else {
                return Err(self.fault(ProgramFault::Span {
                    span: *span,
                    dimension,
                    shape: lengths,
                }));
            };
            *length = range.end - range.start;
        }
        Ok(Shape::Tensor(part))
    }

    fn append(&mut self, list: &str, value: &Expr) -> Result<(), ProgramError> {
        self.expr(value)?;
        match self.variables.get(list).cloned() {
            // What was got may be a list.
            None | Some(Shape::Unknown | Shape::List) => Ok(()),
            Some(other) => Err(self.kind("an append", "a list", &other)),
        }
    }

    fn check_write(&self, site: &str, found: &Shape) -> Result<(), ProgramError> {
        let (Some(expected), Shape::Tensor(found)) = (self.shape_at(site), found) else {
            return Ok(());
        };
        match expected == *found {
            true => Ok(()),
            false => Err(ProgramError::Shape {
                at: self.cursor.place(),
                site: site.to_owned(),
                expected,
                found: found.clone(),
            }),
        }
    }

    fn check_fits(
        &self,
        place: &'static str,
        expected: &Shape,
        found: &Shape,
    ) -> Result<(), ProgramError> {
        match (expected, found) {
            (Shape::Tensor(own), Shape::Tensor(_) | Shape::Parts) if expected != found => {
                Err(self.misfit(place, &format!("a tensor {own:?}"), found))
            }
            _ => Ok(()),
        }
    }

    /// Forgets what is known of all that the steps may set.
    fn forget(&mut self, steps: &[Step]) {
        let mut set = BTreeSet::new();
        may_set(steps, &mut set);
        for name in set {
            self.variables.insert(name, Shape::Unknown);
        }
    }

    fn kind(&self, place: &'static str, expected: &'static str, found: &Shape) -> ProgramError {
        self.fault(ProgramFault::Kind {
            place,
            expected,
            found: match found {
                Shape::Number => "a number",
                Shape::List => "a list",
                Shape::Tensor(_) => "a value of several",
                Shape::Parts | Shape::Unknown => "a value",
            },
        })
    }

    fn misfit(&self, place: &'static str, expected: &str, found: &Shape) -> ProgramError {
        let misfit = Misfit {
            expected: expected.to_owned(),
            found: match found {
                Shape::Tensor(shape) => format!("a tensor {shape:?}"),
                Shape::Unknown | Shape::Number | Shape::List | Shape::Parts => {
                    "a value of several parts".to_owned()
                }
            },
        };
        self.fault(ProgramFault::Misfit { place, misfit })
    }

    fn fault(&self, fault: ProgramFault) -> ProgramError {
        ProgramError::Impossible {
            at: self.cursor.place(),
            fault,
        }
    }
}

/// Returns the shape that two tensors have together: aligned at the last dimension, where 1 goes with any length.
fn broadcast(left: &[u64], right: &[u64]) -> Option<Vec<u64>> {
    let (long, short) = match left.len() >= right.len() {
        true => (left, right),
        false => (right, left),
    };
    // A single element goes with everything, whatever its rank.
    if short.iter().product::<u64>() == 1 {
        return Some(long.to_vec());
    }
    let mut shape = long.to_vec();
    let offset = long.len() - short.len();
    for (own, &other) in shape[offset..].iter_mut().zip(short) {
        *own = match (*own, other) {
            (own, other) if own == other || other == 1 => own,
            (1, other) => other,
            _ => return None,
        };
    }
    Some(shape)
}
