//! The names that steps give values, and what is known of them as a body is passed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::scenario::RawStep;

/// The names that steps give.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) variables: BTreeSet<String>,
    pub(super) lists: BTreeSet<String>,
    /// Those of the variables that may be second names of a list.
    pub(super) seconds: BTreeSet<String>,
    /// Those of the lists that are made more than once.
    pub(super) remade: BTreeSet<String>,
    /// Those of both that are saved.
    pub(super) saved: BTreeSet<String>,
}

impl Names {
    pub(super) fn set_by(steps: &[RawStep]) -> Self {
        let mut names = Self::default();
        names.add(steps);
        names
    }

    pub(super) fn contain(&self, name: &str) -> bool {
        self.variables.contains(name) || self.lists.contains(name)
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.variables.extend(other.variables);
        self.lists.extend(other.lists);
        self.seconds.extend(other.seconds);
        self.remade.extend(other.remade);
        self.saved.extend(other.saved);
    }

    fn add(&mut self, steps: &[RawStep]) {
        for step in steps {
            match step {
                RawStep::Read { r#as, save, .. } | RawStep::Let { r#as, save, .. } => {
                    self.variables.insert(r#as.clone());
                    if *save {
                        self.saved.insert(r#as.clone());
                    }
                    if let RawStep::Let { expr, .. } = step
                        && let Some("var" | "index") = expr[0].as_str()
                    {
                        self.seconds.insert(r#as.clone());
                    }
                }
                RawStep::List { r#as } => {
                    if !self.lists.insert(r#as.clone()) {
                        self.remade.insert(r#as.clone());
                    }
                    self.saved.insert(r#as.clone());
                }
                RawStep::Save { name } => {
                    self.saved.insert(name.clone());
                }
                RawStep::ReadGrad { r#as, .. } | RawStep::SaveParamGrad { r#as, .. } => {
                    self.variables.insert(r#as.clone());
                    self.saved.insert(r#as.clone());
                }
                RawStep::Try { body, .. }
                | RawStep::IfEq { body, .. }
                | RawStep::Backward { body, .. } => self.add(body),
                RawStep::Iter { var, body, .. } => {
                    self.variables.insert(var.clone());
                    let inner = Self::set_by(body);
                    self.remade.extend(inner.lists.iter().cloned());
                    self.extend(inner);
                }
                RawStep::Write { .. }
                | RawStep::Mark { .. }
                | RawStep::Raise { .. }
                | RawStep::Stop
                | RawStep::Skip { .. }
                | RawStep::Barrier { .. }
                | RawStep::Next { .. }
                | RawStep::Append { .. }
                | RawStep::Cache { .. }
                | RawStep::InplaceFill { .. }
                | RawStep::WriteGrad { .. } => {}
            }
        }
    }
}

/// What a name of a body's own stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Variable,
    /// An item of something else, which may be a list that is in two places then.
    Item,
    List,
    /// The list that another name stands for.
    Alias(String),
}

/// A name that a body has given a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Bound {
    pub(super) kind: Kind,
    /// Whether it has on every path that leads here.
    pub(super) is_certain: bool,
}

/// The names of a body's own at some step of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    bound: BTreeMap<String, Bound>,
    /// The lists that are items of something else.
    held: BTreeSet<String>,
    /// The second names of lists that are saved.
    saved: BTreeSet<String>,
}

impl Scope {
    pub(super) fn get(&self, name: &str) -> Option<&Bound> {
        self.bound.get(name)
    }

    /// Gives a name a value, from here on.
    pub(super) fn bind(&mut self, name: &str, kind: Kind) {
        let mut others = self.aliases(name).into_iter();
        // The list goes on under its other names.
        if let Some(first) = others.next() {
            self.insert(&first, Kind::List);
            others.for_each(|other| self.insert(&other, Kind::Alias(first.clone())));
        }
        self.held.remove(name);
        self.saved.remove(name);
        self.insert(name, kind);
    }

    fn insert(&mut self, name: &str, kind: Kind) {
        let bound = Bound {
            kind,
            is_certain: true,
        };
        self.bound.insert(name.to_owned(), bound);
    }

    /// The other names of a list.
    pub(super) fn aliases(&self, list: &str) -> Vec<String> {
        let is_one = |bound: &Bound| matches!(&bound.kind, Kind::Alias(of) if of == list);
        let bound = self.bound.iter().filter(|(_, bound)| is_one(bound));
        bound.map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn hold(&mut self, list: &str) {
        self.held.insert(list.to_owned());
    }

    pub(super) fn is_held(&self, list: &str) -> bool {
        self.held.contains(list)
    }

    pub(super) fn save(&mut self, name: &str) {
        self.saved.insert(name.to_owned());
    }

    pub(super) fn is_saved(&self, name: &str) -> bool {
        self.saved.contains(name)
    }

    /// What is known where either of two paths may have led.
    pub(super) fn joined(&self, mut other: Self) -> Self {
        for (name, bound) in &mut other.bound {
            match self.bound.get(name) {
                Some(own) if own.kind == bound.kind => bound.is_certain &= own.is_certain,
                Some(own) => {
                    let kinds = [&own.kind, &bound.kind];
                    let is_shared = |kind: &&Kind| matches!(kind, Kind::Alias(_) | Kind::Item);
                    bound.kind = if kinds.iter().any(is_shared) {
                        Kind::Item
                    } else {
                        Kind::Variable
                    };
                    bound.is_certain &= own.is_certain;
                }
                None => bound.is_certain = false,
            }
        }
        for (name, bound) in &self.bound {
            if !other.bound.contains_key(name) {
                let bound = Bound {
                    is_certain: false,
                    ..bound.clone()
                };
                other.bound.insert(name.clone(), bound);
            }
        }
        other.held.extend(self.held.iter().cloned());
        other.saved.extend(self.saved.iter().cloned());
        other
    }
}

/// The variables in an expression.
pub(super) fn variables(expr: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    add_variables(expr, &mut found);
    found
}

fn add_variables<'e>(expr: &'e Value, found: &mut Vec<&'e str>) {
    match expr {
        Value::Array(items) => {
            if let [Value::String(kind), Value::String(name)] = &items[..]
                && kind == "var"
            {
                found.push(name);
            }
            items.iter().for_each(|item| add_variables(item, found));
        }
        Value::Object(items) => items.values().for_each(|item| add_variables(item, found)),
        _ => {}
    }
}
