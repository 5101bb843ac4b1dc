//! From the steps of a body to those of a program.

use std::collections::BTreeMap;

use interloom_program::{
    Action, BODIES_MAX, Expr, Item, Over, Program, Side, get, given, is_set, module, read, var,
};
use serde_json::Value;

use super::expr::{input_of, port};
use super::names::{Bound, Kind, Scope};
use super::shared::{SharedNames, Uses};
use super::{NONE, saved_name, side};
use crate::live::models::AS_STORED;
use crate::scenario::{RawIter, RawStep, Unsupported, parameters};

/// Variables of the translator's own; no scenario has names with a space.
const CALL: &str = "the call";
const FIRST: &str = "the first argument";
const ITEM: &str = "the item";
const LIST: &str = "the list";
const KEPT: &str = "kept ";
const SLOPE: &str = "the gradient of ";

/// Why a body fails that asks for the gradient of what passed no site.
const NO_GRADIENT: &str = "a gradient of what passes no site";

/// Passes the steps of a body, in order, and makes a program of them.
pub(super) struct Translator<'s> {
    pub(super) by_name: &'s dyn Fn(&str) -> bool,
    shared: &'s SharedNames,
    /// What the body's own names stand for, at the step at hand.
    pub(super) scope: Scope,
    /// What it has used of others.
    uses: Uses,
    /// Where each variable was read, and which item of what was read it is.
    read_at: BTreeMap<String, (String, Vec<Item>)>,
    /// The parameters whose gradients the body saves, in the order of the model.
    parameters: Vec<String>,
    /// How many backward passes there are before the step at hand.
    passes: u32,
    /// Steps that come before those of the step at hand.
    before: Program,
    /// Whether the parts of an expression are kept first, for something in it is found out by
    /// steps.
    pub(super) is_in_steps: bool,
    temporaries: usize,
    /// How many loops the step at hand is in.
    loops: u32,
}

impl<'s> Translator<'s> {
    pub(super) fn new(by_name: &'s dyn Fn(&str) -> bool, shared: &'s SharedNames) -> Self {
        Self {
            by_name,
            shared,
            scope: Scope::default(),
            uses: Uses::default(),
            read_at: BTreeMap::new(),
            parameters: Vec::new(),
            passes: 0,
            before: Program::new(),
            is_in_steps: false,
            temporaries: 0,
            loops: 0,
        }
    }

    /// Makes the program of a body.
    pub(super) fn program(&mut self, steps: &[RawStep]) -> Result<Program, Unsupported> {
        let seeds = self.shared.seeds.iter();
        let mut program = seeds.fold(Program::new(), |program, name| {
            // It may be that no earlier run came to it.
            let seed = Program::new().put(name, given(&saved_name(name)));
            program.attempt(seed)
        });
        self.parameters = parameters(steps);
        program.steps.extend(self.steps(steps)?.steps);
        Ok(program)
    }

    /// Returns what the body uses of others.
    pub(super) fn uses(mut self, steps: &[RawStep]) -> Result<Uses, Unsupported> {
        self.parameters = parameters(steps);
        self.steps(steps)?;
        Ok(self.uses)
    }

    fn steps(&mut self, steps: &[RawStep]) -> Result<Program, Unsupported> {
        let mut program = Program::new();
        for step in steps {
            let made = self.step(step)?;
            let before = std::mem::take(&mut self.before);
            program.steps.extend(before.steps);
            program.steps.extend(made.steps);
        }
        Ok(program)
    }

    fn step(&mut self, step: &RawStep) -> Result<Program, Unsupported> {
        let program = Program::new();
        Ok(match step {
            RawStep::Read { target, r#as, save } => {
                let value = self.read(target);
                let program = self.assign(r#as, Kind::Variable, value, *save);
                self.read_at
                    .insert(r#as.clone(), (target.clone(), Vec::new()));
                program
            }
            RawStep::Let { r#as, expr, save } => self.set(r#as, expr, *save)?,
            RawStep::Save { name } => self.save(name)?,
            RawStep::Write { target, expr } => self.write(target, expr)?,
            RawStep::Mark { text } => program.mark(text),
            RawStep::Raise { message } => program.raise(message),
            RawStep::Try { body, r#as } => {
                let entry = self.scope.clone();
                let body = self.steps(body)?;
                self.join(&entry);
                program.catch(r#as, body)
            }
            RawStep::Stop => program.stop(),
            RawStep::Skip { module, expr } => program.skip(module, self.value(expr)?),
            RawStep::Barrier { name } => program.barrier(name),
            RawStep::Iter { iter, var, body } => self.each(iter, var, body)?,
            RawStep::Next { step } => program.next(step.unwrap_or(1)),
            RawStep::IfEq { var, value, body } => self.choose(var, *value, body)?,
            RawStep::List { r#as } => {
                self.scope.bind(r#as, Kind::List);
                // What is saved in the reference is the list itself, which goes on growing.
                self.share(program.list(r#as).save(r#as), r#as)
            }
            RawStep::Append { list, expr } => self.append(list, expr)?,
            RawStep::Cache { r#as, modules, .. } => program.then(Action::Cache {
                name: r#as.clone(),
                modules: modules.clone(),
                side: step
                    .cache()
                    .map_or(Side::Both, |(_, collects)| side(&collects)),
                gradients: false,
            }),
            RawStep::InplaceFill { var, value } => self.fill(var, *value),
            RawStep::Backward { of, body } => self.backward(of, body)?,
            RawStep::ReadGrad { var, r#as } => match self.gradient(var) {
                Some(gradient) => self.assign(r#as, Kind::Variable, gradient, true),
                None => program.raise(NO_GRADIENT),
            },
            RawStep::WriteGrad { var, expr } => self.write_gradient(var, expr)?,
            RawStep::SaveParamGrad { param, r#as } => self.save_gradient(param, r#as),
        })
    }

    fn set(&mut self, name: &str, expr: &Value, save: bool) -> Result<Program, Unsupported> {
        let read_at = self.origin(expr);
        let kind = self.kind(expr);
        let value = self.value(expr)?;
        if let Kind::Alias(list) = &kind {
            // It stands for this list already.
            if list == name {
                let program = Program::new().set(name, value);
                return Ok(if save { program.save(name) } else { program });
            }
        } else {
            self.hold(expr);
        }
        let program = self.assign(name, kind, value, save);
        if let Some(read_at) = read_at {
            self.read_at.insert(name.to_owned(), read_at);
        }
        Ok(program)
    }

    /// Where the value of an expression was read, if it is what was read, or an item of that.
    fn origin(&self, expr: &Value) -> Option<(String, Vec<Item>)> {
        match (expr[0].as_str()?, expr[1].as_str()) {
            ("read", Some(target)) => Some((target.to_owned(), Vec::new())),
            ("var", Some(name)) => self.read_at.get(name).cloned(),
            ("index", _) => {
                let (target, mut items) = self.origin(&expr[1])?;
                items.push(item(&expr[2])?);
                Some((target, items))
            }
            _ => None,
        }
    }

    /// The gradient of what a name stands for: of what was read where it was.
    fn gradient(&self, name: &str) -> Option<Expr> {
        let (target, items) = self.read_at.get(name)?;
        let gradient = match port(target) {
            (path, "inputs") => read(&format!("{}.grad", input_of(path))),
            (path, "input") if (self.by_name)(path) => {
                let call = read(&format!("{}.grad", input_of(path)));
                call.index(0).index(0)
            }
            _ => read(&format!("{target}.grad")),
        };
        let items = items.iter().cloned();
        Some(items.fold(gradient, |gradient, item| gradient.index(item)))
    }

    fn write_gradient(&mut self, name: &str, expr: &Value) -> Result<Program, Unsupported> {
        let value = self.value(expr)?;
        let program = Program::new();
        let Some((target, items)) = self.read_at.get(name) else {
            return Ok(program.raise(NO_GRADIENT));
        };
        let site = format!("{target}.grad");
        let is_call = match port(target) {
            (_, "inputs") => return Ok(program.raise(NO_GRADIENT)),
            (path, port) => port == "input" && (self.by_name)(path),
        };
        // The first of the arguments or of the items; the others stay.
        let whole = || read(&site);
        Ok(match &items[..] {
            [] if !is_call => program.write(&site, value),
            [] => {
                let places = var(CALL).index(0).replace(0, var(FIRST));
                let program = program.set(FIRST, value).set(CALL, whole());
                program.write(&site, var(CALL).replace(0, places))
            }
            [Item::Place(0)] if !is_call => {
                let program = program.set(FIRST, value);
                program.write(&site, whole().replace(0, var(FIRST)))
            }
            _ => program.raise(NO_GRADIENT),
        })
    }

    /// A backward pass, and at its end the gradients of all parameters that are saved anywhere:
    /// they come in the order of the model and not of the steps.
    fn backward(&mut self, of: &Value, body: &[RawStep]) -> Result<Program, Unsupported> {
        let loss = self.value(of)?;
        let before = std::mem::take(&mut self.before);
        let mut program = Program::new().backward(loss);
        program.steps.extend(self.steps(body)?.steps);
        self.before = before;
        let number = self.passes;
        self.passes += 1;
        for path in self.parameters.clone() {
            let site = match self.loops {
                0 => format!("{path}.grad.i{number}"),
                _ => format!("{path}.grad"),
            };
            let kept = format!("{SLOPE}{path}");
            // One that the loss does not reach has none; those of several passes are added up.
            let come = Program::new()
                .set(ITEM, module(AS_STORED, read(&site)))
                .choose(
                    is_set(&kept),
                    Program::new().set(&kept, var(&kept) + var(ITEM)),
                    Program::new().set(&kept, var(ITEM)),
                );
            program = program.attempt(come);
        }
        Ok(program)
    }

    fn save_gradient(&mut self, path: &str, name: &str) -> Program {
        let kept = format!("{SLOPE}{path}");
        let value = self.temporary();
        let choice = |own| Program::new().set(&value, own);
        let chosen = Program::new().choose(is_set(&kept), choice(var(&kept)), choice(given(NONE)));
        self.before.steps.extend(chosen.steps);
        self.assign(name, Kind::Variable, var(&value), true)
    }

    fn assign(&mut self, name: &str, kind: Kind, value: Expr, save: bool) -> Program {
        self.scope.bind(name, kind);
        self.read_at.remove(name);
        let mut program = Program::new().set(name, value);
        if save {
            self.scope.save(name);
            program = program.save(name);
        }
        self.share(program, name)
    }

    /// Who else uses a name gets its value from the blackboard.
    fn share(&self, program: Program, name: &str) -> Program {
        if self.shared.wanted.contains(name) {
            program.put(name, var(name))
        } else {
            program
        }
    }

    /// A body may save what another one, or an earlier run, has set.
    fn save(&mut self, name: &str) -> Result<Program, Unsupported> {
        let is_list = self.list_of(name).is_some();
        if self.list_of(name).is_some_and(|list| list != name) {
            self.scope.save(name);
        }
        let value = self.variable(name);
        let program = Program::new();
        if value == var(name) {
            return Ok(program.save(name));
        }
        if !is_list {
            self.scope.bind(name, Kind::Variable);
        }
        Ok(program.set(name, value).save(name))
    }

    fn write(&mut self, target: &str, expr: &Value) -> Result<Program, Unsupported> {
        let (program, value) = (Program::new(), self.value(expr)?);
        Ok(match port(target) {
            (path, "inputs") if (self.by_name)(path) => program.write(&input_of(path), value),
            (path, "inputs") => program.write(&input_of(path), value.index(0).index(0)),
            (path, "input") if (self.by_name)(path) => {
                // The first of the arguments by place; the others stay.
                let places = var(CALL).index(0).replace(0, var(FIRST));
                let program = program.set(FIRST, value).set(CALL, read(&input_of(path)));
                program.write(&input_of(path), var(CALL).replace(0, places))
            }
            _ => program.write(target, value),
        })
    }

    fn each(
        &mut self,
        iter: &RawIter,
        variable: &str,
        body: &[RawStep],
    ) -> Result<Program, Unsupported> {
        // Each level is passed twice, and no program may have more.
        if self.loops == BODIES_MAX {
            return Err(format!("a loop in {BODIES_MAX} others").into());
        }
        self.loops += 1;
        let entry = self.scope.clone();
        // What one iteration leaves, the next one begins with.
        self.scope.bind(variable, Kind::Variable);
        self.steps(body)?;
        self.join(&entry);
        self.scope.bind(variable, Kind::Variable);
        let mut inner = self.share(Program::new(), variable);
        inner.steps.extend(self.steps(body)?.steps);
        self.join(&entry);
        self.loops -= 1;
        Ok(Program::new().each(over(iter), variable, inner))
    }

    fn choose(&mut self, name: &str, value: f64, body: &[RawStep]) -> Result<Program, Unsupported> {
        let compared = self.variable(name);
        if self.list_of(name).is_some() {
            // No list equals a number.
            return Ok(Program::new().set(LIST, compared));
        }
        let before = std::mem::take(&mut self.before);
        let entry = self.scope.clone();
        let body = self.steps(body)?;
        self.join(&entry);
        self.before = before;
        Ok(Program::new().when(compared.equals(value), body))
    }

    /// Goes on where the path from `entry` to here may not have been taken.
    fn join(&mut self, entry: &Scope) {
        self.scope = entry.joined(std::mem::take(&mut self.scope));
    }

    /// A filled copy takes the value's place, also in the model.
    fn fill(&mut self, name: &str, value: f64) -> Program {
        let filled = self.variable(name).zeros_like() + value;
        let read_at = self.read_at.get(name).cloned();
        let program = self.assign(name, Kind::Variable, filled, false);
        if let Some(read_at) = &read_at {
            self.read_at.insert(name.to_owned(), read_at.clone());
        }
        match read_at {
            // Where the model is past the site, only the program sees the filled value.
            Some((target, items)) if items.is_empty() => {
                let body = Program::new().write(&target, var(name)).steps;
                program.then(Action::Try { body, error: None })
            }
            _ => program,
        }
    }

    fn append(&mut self, name: &str, expr: &Value) -> Result<Program, Unsupported> {
        let list = self.list_of(name).unwrap_or_else(|| name.to_owned());
        let bound = self.scope.get(&list).cloned();
        if self.may_be_in_two_places(name, &list) {
            let what = "which may be a list that is in two places,";
            return Err(format!("an append to `{name}`, {what}").into());
        }
        let is_wanted = self.shared.wanted.contains(&list);
        let program = match bound {
            _ if is_wanted => self.append_to_shared(&list, expr)?,
            Some(bound) if bound.is_certain || !self.shared.has(&list) => {
                self.append_to_own(&list, expr, bound.is_certain)?
            }
            Some(_) if !self.shared.is_draft => {
                let what = "which may be the body's own list or another's,";
                return Err(format!("an append to `{name}`, {what}").into());
            }
            None if !self.shared.has(&list) => self.append_to_own(&list, expr, false)?,
            _ => self.append_to_shared(&list, expr)?,
        };
        self.hold_item(expr);
        Ok(self.renew_aliases(program, &list))
    }

    /// Returns whether a list may be an item of something, or have names that are not known to be
    /// its own.
    fn may_be_in_two_places(&self, name: &str, list: &str) -> bool {
        let is_open = |bound: &Bound| matches!(bound.kind, Kind::Alias(_)) && !bound.is_certain;
        let is_second = match self.scope.get(list) {
            Some(bound) => bound.kind == Kind::Item,
            None => self.shared.seconds.contains(list),
        };
        is_second || self.scope.is_held(list) || self.scope.get(name).is_some_and(is_open)
    }

    fn append_to_own(
        &mut self,
        list: &str,
        expr: &Value,
        is_certain: bool,
    ) -> Result<Program, Unsupported> {
        if !is_certain && reads(expr) {
            self.look_up(var(list));
        }
        Ok(Program::new().append(list, self.value(expr)?))
    }

    /// All who share a list see it grow.
    fn append_to_shared(&mut self, list: &str, expr: &Value) -> Result<Program, Unsupported> {
        self.foreign(list);
        self.uses.appended.insert(list.to_owned());
        let program = Program::new();
        if !reads(expr) {
            let value = self.value(expr)?;
            let program = program.set(list, get(list)).append(list, value);
            return Ok(program.put(list, var(list)).save(list));
        }
        if self.shared.remade.contains(list) {
            let what = "which may be made again meanwhile,";
            return Err(format!("an append of what is read to the list `{list}`, {what}").into());
        }
        self.look_up(get(list));
        // Others may append to it before the item is there.
        let program = program.set(ITEM, self.value(expr)?);
        let program = program.set(list, get(list)).append(list, var(ITEM));
        Ok(program.put(list, var(list)).save(list))
    }

    /// A list has to be there before anything is read that is to be appended.
    fn look_up(&mut self, list: Expr) {
        let before = std::mem::take(&mut self.before);
        self.before = before.set(LIST, list);
    }

    /// A list grows under all its names.
    fn renew_aliases(&mut self, mut program: Program, list: &str) -> Program {
        for name in self.scope.aliases(list) {
            program = program.set(&name, self.variable(list));
            if self.scope.is_saved(&name) {
                program = program.save(&name);
            }
            program = self.share(program, &name);
        }
        program
    }

    /// Returns what a name stands for that is given this value.
    fn kind(&self, expr: &Value) -> Kind {
        let name = expr[1].as_str();
        match (expr[0].as_str(), name) {
            (Some("var"), Some(name)) => match (self.list_of(name), self.scope.get(name)) {
                (Some(list), _) => Kind::Alias(list),
                (None, Some(bound)) => bound.kind.clone(),
                (None, None) => Kind::Variable,
            },
            (Some("rows"), _) if self.is_list(&expr[1]) => Kind::List,
            (Some("index"), _) => Kind::Item,
            _ => Kind::Variable,
        }
    }

    fn is_list(&self, expr: &Value) -> bool {
        match (expr[0].as_str(), expr[1].as_str()) {
            (Some("var"), Some(name)) => self.list_of(name).is_some(),
            (Some("rows"), _) => self.is_list(&expr[1]),
            _ => false,
        }
    }

    /// Returns the name under which a list was made that this one stands for; nothing if it is not
    /// known to be a list.
    fn list_of(&self, name: &str) -> Option<String> {
        match self.scope.get(name).map(|bound| &bound.kind) {
            Some(Kind::Alias(list)) => Some(list.clone()),
            Some(Kind::List) => Some(name.to_owned()),
            Some(Kind::Variable | Kind::Item) => None,
            None => self.shared.lists.contains(name).then(|| name.to_owned()),
        }
    }

    /// Notes the lists that become items of something.
    fn hold(&mut self, expr: &Value) {
        let Some(items) = expr.as_array() else { return };
        if let Some("tuple" | "tuple_replace0" | "inputs") = expr[0].as_str() {
            for item in &items[1..] {
                self.hold_item(item);
            }
        }
    }

    fn hold_item(&mut self, expr: &Value) {
        match (expr, expr[0].as_str(), expr[1].as_str()) {
            (_, Some("var"), Some(name)) => {
                if let Some(list) = self.list_of(name) {
                    self.scope.hold(&list);
                }
            }
            (Value::Array(items), None, _) => items.iter().for_each(|item| self.hold_item(item)),
            (Value::Object(items), ..) => items.values().for_each(|item| self.hold_item(item)),
            _ => self.hold(expr),
        }
    }

    /// Returns the value of a name.
    pub(super) fn variable(&mut self, name: &str) -> Expr {
        let Some(Bound { kind, is_certain }) = self.scope.get(name).cloned() else {
            return self.foreign(name).unwrap_or_else(|| var(name));
        };
        let own = match kind {
            Kind::Alias(list) if is_certain => return self.variable(&list),
            Kind::List if self.shared.wanted.contains(name) => get(name),
            _ => var(name),
        };
        if is_certain {
            own
        } else {
            match self.foreign(name) {
                Some(foreign) if foreign != own => self.either(name, own, foreign),
                _ => own,
            }
        }
    }

    /// Whether the body has come to give the name a value, only the run says.
    fn either(&mut self, name: &str, own: Expr, foreign: Expr) -> Expr {
        let kept = self.temporary();
        let choice = |value| Program::new().set(&kept, value);
        let before = std::mem::take(&mut self.before);
        self.before = before.choose(is_set(name), choice(own), choice(foreign));
        var(&kept)
    }

    /// Returns whether a name is found out by steps.
    pub(super) fn is_open(&self, name: &str) -> bool {
        let bound = self.scope.get(name);
        bound.is_some_and(|bound| !bound.is_certain) && self.shared.has(name)
    }

    /// Where a name that this body gives no value is taken from.
    fn foreign(&mut self, name: &str) -> Option<Expr> {
        if self.shared.others.contains(name) {
            self.uses.shared.insert(name.to_owned());
            return Some(get(name));
        }
        let is_earlier = self.shared.earlier.contains(name);
        is_earlier.then(|| given(&saved_name(name)))
    }

    /// Keeps a value before the step at hand, unless it is kept already.
    pub(super) fn keep(&mut self, value: Expr) -> Expr {
        match &value {
            Expr::Number(_) => return value,
            Expr::Var(name) if name.starts_with(KEPT) => return value,
            _ => {}
        }
        let kept = self.temporary();
        let before = std::mem::take(&mut self.before);
        self.before = before.set(&kept, value);
        var(&kept)
    }

    fn temporary(&mut self) -> String {
        self.temporaries += 1;
        format!("{KEPT}{}", self.temporaries)
    }
}

/// Iterations of a loop.
pub(crate) fn over(iter: &RawIter) -> Over {
    match iter {
        RawIter::Slice(start, end) => Over::Slice {
            start: *start,
            end: *end,
        },
        RawIter::List(list) => list.clone().into(),
        RawIter::Int(iteration) => (*iteration).into(),
    }
}

/// The item that an index names; a place that counts from the end is none.
fn item(key: &Value) -> Option<Item> {
    match key {
        Value::String(name) => Some(Item::Name(name.clone())),
        place => Some(Item::Place(u32::try_from(place.as_u64()?).ok()?)),
    }
}

/// Whether an expression asks for something of the model.
fn reads(expr: &Value) -> bool {
    match expr {
        Value::Array(items) => {
            items.first().is_some_and(|kind| kind == "read") || items.iter().any(reads)
        }
        Value::Object(items) => items.values().any(reads),
        _ => false,
    }
}
