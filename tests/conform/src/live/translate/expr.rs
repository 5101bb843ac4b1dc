//! Expressions.

use interloom_program::{Expr, Span, given, inputs, module, read, tuple};
use serde_json::Value;

use super::NONE;
use super::names::variables;
use super::steps::Translator;

impl Translator<'_> {
    /// Returns the expression, after steps that it may need.
    pub(super) fn value(&mut self, expr: &Value) -> Result<Expr, String> {
        let mut names = variables(expr).into_iter();
        self.is_in_steps = names.any(|name| self.is_open(name));
        self.expr(expr)
    }

    pub(super) fn read(&self, target: &str) -> Expr {
        match port(target) {
            (path, "inputs") if (self.by_name)(path) => read(&input_of(path)),
            (path, "inputs") => inputs([read(&input_of(path))], []),
            (path, "input") if (self.by_name)(path) => read(target).index(0).index(0),
            _ => read(target),
        }
    }

    fn expr(&mut self, expr: &Value) -> Result<Expr, String> {
        if let Some(number) = expr.as_f64() {
            return Ok(number.into());
        }
        let unknown = || format!("the expression {expr}");
        let items = expr.as_array().ok_or_else(unknown)?;
        let text = |place: usize| items.get(place).and_then(Value::as_str).ok_or_else(unknown);
        let mut of = |place: usize| self.operand(items.get(place).ok_or_else(unknown)?);
        Ok(match text(0)? {
            "var" => self.variable(text(1)?),
            "tensor" => given(text(1)?),
            "read" => self.read(text(1)?),
            "add" => of(1)? + of(2)?,
            "sub" => of(1)? - of(2)?,
            "mul" => of(1)? * of(2)?,
            "zeros_like" => of(1)?.zeros_like(),
            "rows" => of(1)?.clip([span(items).ok_or_else(unknown)?]),
            "rows2" => of(1)?.clip([Span::ALL, span(items).ok_or_else(unknown)?]),
            "sum" => of(1)?.sum(),
            "clone" => of(1)?.copy(),
            "index" => index(of(1)?, &expr[2]).ok_or_else(unknown)?,
            "tuple" => tuple((1..items.len()).map(of).collect::<Result<Vec<_>, _>>()?),
            "tuple_replace0" => of(1)?.replace(0, of(2)?),
            "module" => module(text(1)?, of(2)?),
            "argmax_last" => of(1)?.argmax_last(),
            "none" => given(NONE),
            "inputs" => self.arguments(items).ok_or_else(unknown)??,
            _ => return Err(unknown()),
        })
    }

    /// Returns a part of an expression, which comes before what comes after it also if that is
    /// found out by steps.
    fn operand(&mut self, expr: &Value) -> Result<Expr, String> {
        let value = self.expr(expr)?;
        Ok(if self.is_in_steps {
            self.keep(value)
        } else {
            value
        })
    }

    /// All arguments of a module: those by place, and a map of those by name; nothing if these are
    /// not there.
    fn arguments(&mut self, items: &[Value]) -> Option<Result<Expr, String>> {
        let (places, names) = (items.get(1)?.as_array()?, items.get(2)?.as_object()?);
        let places: Result<Vec<Expr>, String> =
            places.iter().map(|item| self.operand(item)).collect();
        let names = names
            .iter()
            .map(|(name, item)| Ok((name.as_str(), self.operand(item)?)));
        let names: Result<Vec<(&str, Expr)>, String> = names.collect();
        Some(places.and_then(|places| Ok(inputs(places, names?))))
    }
}

/// The places `i:j` of an expression that ends with them: as much of them as there is.
pub(crate) fn span(items: &[Value]) -> Option<Span> {
    let place = |place: usize| match items.get(place)? {
        Value::Null => Some(None),
        number => number.as_i64().map(Some),
    };
    Some(Span {
        start: place(2)?,
        end: place(3)?,
    })
}

/// An item, or what is at a place of dimension 0; a negative place counts from the end.
fn index(of: Expr, place: &Value) -> Option<Expr> {
    if let Some(name) = place.as_str() {
        return Some(of.index(name));
    }
    let place = place.as_i64()?;
    if place >= 0 {
        return Some(of.index(u32::try_from(place).ok()?));
    }
    let span = Span {
        start: Some(place),
        // What ends at the last place has no end to write down.
        end: Some(place + 1).filter(|&end| end != 0),
    };
    Some(of.clip([span]).index(0))
}

/// Splits a target into the path and the port.
pub(crate) fn port(target: &str) -> (&str, &str) {
    target.rsplit_once('.').unwrap_or(("", target))
}

pub(crate) fn input_of(path: &str) -> String {
    match path {
        "" => "input".to_owned(),
        path => format!("{path}.input"),
    }
}
