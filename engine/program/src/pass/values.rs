//! Expressions and conditions with shapes in place of values.

use interloom_engine::{Misfit, ProgramFault};

use super::Pass;
use super::shape::Shape;
use super::sites::Stand;
use crate::error::ProgramError;
use crate::expr::{Condition, Expr, Item, Span};
use crate::operand::{
    Along, NOT_EMPTY, along, broadcast, multiplied_by, product, resolve_dimension,
};

impl Pass<'_> {
    pub(super) fn condition(&mut self, condition: &Condition) -> Result<(), ProgramError> {
        match condition {
            Condition::Compare { left, right, .. } => {
                for side in [left, right] {
                    let shape = self.expr(side)?;
                    let is_one = match &shape {
                        Shape::Tensor(shape) => shape.iter().product::<u64>() == 1,
                        Shape::Number | Shape::Unknown => true,
                        Shape::List | Shape::Tuple(_) | Shape::Values(_) | Shape::Map(_) => false,
                    };
                    if !is_one {
                        let expected = "numbers and values of one element";
                        return Err(self.kind("a comparison", expected, &shape));
                    }
                }
                Ok(())
            }
            Condition::Not(condition) => self.condition(condition),
            Condition::All(conditions) | Condition::Any(conditions) => self.conditions(conditions),
            Condition::IsSet(_) | Condition::Caught(_) => Ok(()),
        }
    }

    /// The first may decide, so that the others are not looked at.
    fn conditions(&mut self, conditions: &[Condition]) -> Result<(), ProgramError> {
        let Some((first, others)) = conditions.split_first() else {
            return Ok(());
        };
        self.condition(first)?;
        let before = std::mem::replace(&mut self.is_doubtful, true);
        for other in others {
            let result = self.condition(other);
            self.weigh(result)?;
        }
        self.is_doubtful = before;
        self.stand = Stand::Anywhere;
        Ok(())
    }

    /// Checks a loss, and that a backward pass can begin where the mediator is.
    pub(super) fn backward(&mut self, loss: &Expr) -> Result<(), ProgramError> {
        let loss = self.value("a backward pass", loss)?;
        let at = match &self.stand {
            Stand::Start => None,
            Stand::Gradient(site) => Some(self.known.map.site_name(*site)),
            Stand::Anywhere => return self.check_loss(&loss),
        };
        Err(self.fault(ProgramFault::NoBackward { at }))
    }

    fn check_loss(&self, loss: &Shape) -> Result<(), ProgramError> {
        match loss {
            Shape::Tensor(lengths) if lengths.iter().product::<u64>() != 1 => {
                Err(self.misfit("a backward pass", "a loss of one element", loss))
            }
            _ => Ok(()),
        }
    }

    /// Returns the shape of an expression that has to be a value.
    pub(super) fn value(
        &mut self,
        place: &'static str,
        expr: &Expr,
    ) -> Result<Shape, ProgramError> {
        match self.expr(expr)? {
            shape @ (Shape::Number | Shape::List) => Err(self.kind(place, "a value", &shape)),
            shape => Ok(shape),
        }
    }

    pub(super) fn expr(&mut self, expr: &Expr) -> Result<Shape, ProgramError> {
        Ok(match expr {
            Expr::Number(_) => Shape::Number,
            Expr::Text(_) => Shape::Unknown,
            Expr::Var(name) => self.variables.get(name).cloned().unwrap_or(Shape::Unknown),
            Expr::Get(_) => Shape::Unknown,
            Expr::Given(name) => {
                let form = self.known.forms.and_then(|forms| forms.get(name));
                form.cloned().map_or(Shape::Unknown, Shape::from)
            }
            Expr::Read(site) => {
                self.ask(site)?;
                self.form_at(site).map_or(Shape::Unknown, Shape::from)
            }
            Expr::Add(left, right) => self.combine("`add`", left, right)?,
            Expr::Sub(left, right) => self.combine("`sub`", left, right)?,
            Expr::Mul(left, right) => self.combine("`mul`", left, right)?,
            Expr::Div(left, right) => self.combine("`div`", left, right)?,
            Expr::Clone(of) => self.expr(of)?,
            Expr::ZerosLike(of) => self.value("`zeros_like`", of)?,
            Expr::Sum(of) => self.one("`sum`", of)?,
            Expr::Mean(of) => self.one("`mean`", of)?,
            Expr::Abs(of) => self.abs(of)?,
            Expr::Along {
                operation,
                of,
                dimension,
            } => self.along(*operation, of, *dimension)?,
            Expr::Matmul(left, right) => self.matmul(left, right)?,
            Expr::ArgmaxLast(of) => self.argmax_last(of)?,
            Expr::Slice { of, spans } => {
                let of = self.value("`slice`", of)?;
                self.slice("`slice`", of, spans)?
            }
            Expr::Clip { of, spans } => self.clip(of, spans)?,
            Expr::Patch { of, spans, with } => self.patch(of, spans, with)?,
            Expr::Index { of, item } => self.index(of, item)?,
            Expr::Replace { of, item, with } => self.replace(of, item, with)?,
            Expr::Tuple(items) => {
                let items = items.iter();
                let items = items.map(|item| self.expr(item));
                Shape::Tuple(items.collect::<Result<_, _>>()?).parts()
            }
            Expr::Map(items) => {
                let items = items.iter();
                let items = items.map(|(name, item)| Ok((name.clone(), self.expr(item)?)));
                Shape::Map(items.collect::<Result<_, _>>()?).parts()
            }
            Expr::Module { path, input } => self.call(path, input)?,
        })
    }

    /// A module that is called takes what the model says that it takes.
    fn call(&mut self, path: &str, input: &Expr) -> Result<Shape, ProgramError> {
        let input = self.value("a call", input)?;
        if let Some(supplied) = self.known.supplied.filter(|supplied| supplied.has(path)) {
            let form = input.form().and_then(|form| supplied.0.form(path, &form));
            return match form {
                None => Ok(Shape::Unknown),
                Some(Ok(form)) => Ok(Shape::from(form)),
                Some(Err(reason)) => Err(self.fault(ProgramFault::Call { reason })),
            };
        }
        let (Shape::Tensor(shape), Some(model)) = (&input, self.known.model) else {
            return Ok(Shape::Unknown);
        };
        match model.0.call(path, shape) {
            None => Ok(Shape::Unknown),
            Some(Ok(output)) => Ok(Shape::Tensor(output)),
            Some(Err(reason)) => Err(self.fault(ProgramFault::Call { reason })),
        }
    }

    fn patch(&mut self, of: &Expr, spans: &[Span], with: &Expr) -> Result<Shape, ProgramError> {
        let of = self.value("`patch`", of)?;
        let part = self.slice("`patch`", of.clone(), spans)?;
        match (&part, self.expr(with)?) {
            (_, list @ Shape::List) => Err(self.kind("`patch`", "a value", &list)),
            // A number fills it.
            (_, Shape::Number | Shape::Unknown) => Ok(of),
            (Shape::Tensor(own), with) if part != with => {
                Err(self.misfit("`patch`", &format!("a tensor {own:?}"), &with))
            }
            _ => Ok(of),
        }
    }

    fn index(&mut self, of: &Expr, item: &Item) -> Result<Shape, ProgramError> {
        let of = self.expr(of)?;
        match &of {
            Shape::Unknown | Shape::List => Ok(Shape::Unknown),
            Shape::Number => Err(self.kind("`index`", "a value or a list", &Shape::Number)),
            Shape::Tensor(lengths) => self.row(lengths, item),
            parts => match part_of(parts, item) {
                Some(part) => Ok(part.clone()),
                None => Err(self.misfit("`index`", &having(item, &of), &of)),
            },
        }
    }

    /// A place of a tensor is its index in dimension 0.
    fn row(&self, lengths: &[u64], item: &Item) -> Result<Shape, ProgramError> {
        let tensor = || Shape::Tensor(lengths.to_vec());
        let Item::Place(place) = item else {
            return Err(self.misfit("`index`", "a map", &tensor()));
        };
        match lengths {
            [length, rest @ ..] if u64::from(*place) < *length => Ok(match rest {
                // How a tensor of one element is shaped is the library's to say.
                [] => Shape::Unknown,
                rest => Shape::Tensor(rest.to_vec()),
            }),
            _ => {
                let expected = format!("a tensor with a place {place} in dimension 0");
                Err(self.misfit("`index`", &expected, &tensor()))
            }
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
            Shape::Unknown | Shape::Tuple(_) | Shape::Values(_) | Shape::Map(_) => {
                Ok(Shape::Unknown)
            }
        }
    }

    fn replace(&mut self, of: &Expr, item: &Item, with: &Expr) -> Result<Shape, ProgramError> {
        let mut whole = self.value("`replace`", of)?;
        let with = self.expr(with)?;
        if matches!(whole, Shape::Unknown) {
            return Ok(Shape::Unknown);
        }
        if part_of(&whole, item).is_none() {
            return Err(self.misfit("`replace`", &having(item, &whole), &whole));
        }
        match (&mut whole, item) {
            (Shape::Tuple(items) | Shape::Values(items), Item::Place(place)) => {
                items[*place as usize] = with;
            }
            (Shape::Map(items), Item::Name(name)) => {
                let own = items.iter_mut().find(|(other, _)| other == name);
                own.expect("it has the item").1 = with;
            }
            _ => unreachable!("it has the item"),
        }
        Ok(whole.parts())
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
            (parts, _) | (_, parts) if parts.has_parts() => {
                return Err(self.misfit(place, "tensors and numbers", &parts));
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
        let of = self.value(place, of)?;
        match of.has_parts() {
            true => Err(self.misfit(place, "a tensor", &of)),
            false => Ok(Shape::Unknown),
        }
    }

    fn abs(&mut self, of: &Expr) -> Result<Shape, ProgramError> {
        let of = self.value("`abs`", of)?;
        if of.has_parts() {
            Err(self.misfit("`abs`", "a tensor", &of))
        } else {
            Ok(of)
        }
    }

    fn along(
        &mut self,
        operation: Along,
        of: &Expr,
        dimension: i32,
    ) -> Result<Shape, ProgramError> {
        let place = operation.name();
        let of = self.value(place, of)?;
        if let Shape::Unknown = of {
            return Ok(Shape::Unknown);
        }
        let lengths = match &of {
            Shape::Tensor(lengths) => Some(lengths),
            _ => None,
        };
        let found = lengths
            .and_then(|lengths| Some((lengths, resolve_dimension(dimension, lengths.len())?)));
        let Some((lengths, dimension)) = found else {
            let expected = format!("a tensor with a dimension {dimension}");
            return Err(self.misfit(place, &expected, &of));
        };
        match along(operation, lengths, dimension) {
            Some(shape) => Ok(Shape::Tensor(shape)),
            None => Err(self.misfit(place, NOT_EMPTY, &of)),
        }
    }

    fn matmul(&mut self, left: &Expr, right: &Expr) -> Result<Shape, ProgramError> {
        let left = self.value("`matmul`", left)?;
        let right = self.value("`matmul`", right)?;
        for side in [&left, &right] {
            if side.has_parts() {
                return Err(self.misfit("`matmul`", "a tensor", side));
            }
        }
        let (Shape::Tensor(a), Shape::Tensor(b)) = (&left, &right) else {
            return Ok(Shape::Unknown);
        };
        match product(a, b) {
            Some(shape) => Ok(Shape::Tensor(shape)),
            None => Err(self.misfit("`matmul`", &multiplied_by(&left.to_string()), &right)),
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
            Shape::Unknown | Shape::Number | Shape::List => return Ok(Shape::Unknown),
            parts => return Err(self.misfit(place, "a tensor", &parts)),
        };
        if spans.len() > lengths.len() {
            let expected = format!("a tensor of {} dimensions or more", spans.len());
            return Err(self.misfit(place, &expected, &Shape::Tensor(lengths)));
        }
        let mut part = lengths.clone();
        for (dimension, (length, span)) in part.iter_mut().zip(spans).enumerate() {
            let Some(range) = span.resolve(*length) else {
                return Err(self.fault(ProgramFault::Span {
                    start: span.start,
                    end: span.end,
                    dimension,
                    shape: lengths,
                }));
            };
            *length = range.end - range.start;
        }
        Ok(Shape::Tensor(part))
    }

    pub(super) fn append(&mut self, list: &str, value: &Expr) -> Result<(), ProgramError> {
        self.expr(value)?;
        match self.variables.get(list).cloned() {
            // What was got may be a list.
            None | Some(Shape::Unknown | Shape::List) => Ok(()),
            // A list of the model's, too, and then it is longer.
            Some(Shape::Values(_)) => {
                self.variables.insert(list.to_owned(), Shape::Unknown);
                Ok(())
            }
            Some(other) => Err(self.kind("an append", "a list", &other)),
        }
    }

    fn kind(&self, place: &'static str, expected: &'static str, found: &Shape) -> ProgramError {
        self.fault(ProgramFault::Kind {
            place: place.into(),
            expected: expected.into(),
            found: match found {
                Shape::Number => "a number",
                Shape::List => "a list",
                Shape::Tensor(_) => "a value of several",
                _ => "a value",
            }
            .into(),
        })
    }

    fn misfit(&self, place: &'static str, expected: &str, found: &Shape) -> ProgramError {
        let misfit = Misfit {
            expected: expected.to_owned(),
            found: found.to_string(),
        };
        self.fault(ProgramFault::Misfit {
            place: place.into(),
            misfit,
        })
    }

    pub(super) fn fault(&self, fault: ProgramFault) -> ProgramError {
        ProgramError::Impossible {
            at: self.cursor.place(),
            fault: Box::new(fault),
        }
    }
}

/// Returns an item of a tuple, a list or a map, if it has that.
fn part_of<'s>(shape: &'s Shape, item: &Item) -> Option<&'s Shape> {
    match (shape, item) {
        (Shape::Tuple(items) | Shape::Values(items), Item::Place(place)) => {
            items.get(*place as usize)
        }
        (Shape::Map(items), Item::Name(name)) => {
            let item = items.iter().find(|(other, _)| other == name);
            item.map(|(_, shape)| shape)
        }
        _ => None,
    }
}

/// Says what a value must have that has not this item.
fn having(item: &Item, shape: &Shape) -> String {
    match shape.has_parts() {
        true => format!("a value with the item {item}"),
        false => "a tuple, list or map".to_owned(),
    }
}
