//! From scenarios to programs.

use std::collections::{BTreeMap, BTreeSet};

use interloom_engine::CacheSpec;
use interloom_engine::program::{
    Action, Expr, Over, Program, Side, get, given, inputs, module, read, tuple, var,
};
use serde_json::Value;

use super::scenario::{Edit, RawBlock, RawIter, RawStep, Run, Scenario};

/// A run of several programs.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The programs, edits first, in definition order.
    pub(crate) blocks: Vec<Block>,
    /// The barriers and the numbers of their participants.
    pub(crate) barriers: BTreeMap<String, u32>,
    /// The caches of the whole run.
    pub(crate) caches: Vec<(String, CacheSpec)>,
    /// How many tokens are generated, if the run is a generation.
    pub(crate) tokens: Option<u32>,
}

/// A program with its input.
#[derive(Debug)]
pub(crate) struct Block {
    /// The name of the input; none for a block without rows.
    pub(crate) input: Option<String>,
    /// What the block does.
    pub(crate) program: Program,
}

/// Makes programs of a scenario; `by_name` says at which paths the input is a tuple of the arguments by place and a map of
/// those by name.
///
/// A variable that one block sets and another uses is shared over the blackboard.
///
/// # Errors
///
/// The step or expression that has no counterpart.
pub(crate) fn translate<'s>(
    scenario: &'s Scenario,
    by_name: &dyn Fn(&str) -> bool,
) -> Result<Vec<Plan>, String> {
    let mut models = edited(&scenario.edits);
    let mut earlier = BTreeSet::new();
    let plan = |run: &'s Run| {
        let edits = models.entry(&run.on).or_default();
        if run.clear_edits {
            edits.clear();
        }
        let edits = edits.iter().copied();
        let blocks: Vec<&RawBlock> = run
            .direct
            .iter()
            .chain(run.invokes.iter().flatten())
            .collect();
        let mut generations = blocks.iter().filter_map(|block| block.generate.as_ref());
        let tokens = generations.next().map(|generate| generate.max_new_tokens);
        let mut bodies: Vec<(Option<String>, &'s [RawStep])> = Vec::new();
        bodies.extend(edits.map(|edit| (None, &edit.steps[..])));
        bodies.extend(
            blocks
                .iter()
                .map(|block| (block.input.clone(), &block.steps[..])),
        );
        let sets: Vec<BTreeSet<&str>> = bodies.iter().map(|(_, steps)| set_by(steps)).collect();
        let is_set = |name: &str| sets.iter().any(|set| set.contains(name));
        let mut shared = BTreeSet::new();
        for ((_, steps), own) in bodies.iter().zip(&sets) {
            let foreign = used_by(steps)
                .into_iter()
                .filter(|name| !own.contains(name) && is_set(name));
            shared.extend(foreign);
        }
        let blocks = bodies.into_iter().zip(&sets).map(|((input, steps), own)| {
            let shared = shared.clone();
            let translator = Translator {
                by_name,
                own,
                shared,
                earlier: &earlier,
                read_at: BTreeMap::new(),
            };
            let program = translator.program(steps)?;
            Ok(Block { input, program })
        });
        let blocks = blocks.collect::<Result<_, String>>()?;
        earlier.extend(sets.into_iter().flatten());
        Ok(Plan {
            blocks,
            barriers: run.barriers.clone(),
            tokens,
            caches: run
                .pre
                .iter()
                .map(cache_of_run)
                .collect::<Result<_, String>>()?,
        })
    };
    scenario.traces.iter().map(plan).collect()
}

/// The edits of each model: a copy begins with those that its original had by then.
fn edited(edits: &[Edit]) -> BTreeMap<&str, Vec<&Edit>> {
    let mut models: BTreeMap<&str, Vec<&Edit>> = BTreeMap::new();
    for edit in edits {
        let own = models.get(edit.name.as_str()).cloned();
        let original = || models.get(edit.on.as_deref().unwrap_or("base")).cloned();
        let mut stack = own.or_else(original).unwrap_or_default();
        stack.push(edit);
        models.insert(&edit.name, stack);
    }
    models
}

/// The name under which a program is given what an earlier run has saved.
pub(super) fn saved_name(variable: &str) -> String {
    format!("saved {variable}")
}

/// The name under which programs are given nothing.
pub(super) const NONE: &str = "none";

/// Variables of the translator's own; no scenario has names with a space.
const CALL: &str = "the call";
const FIRST: &str = "the first argument";

struct Translator<'s> {
    by_name: &'s dyn Fn(&str) -> bool,
    /// The variables that this block sets.
    own: &'s BTreeSet<&'s str>,
    /// The variables that a block uses which another one sets.
    shared: BTreeSet<&'s str>,
    /// The variables that earlier runs set.
    earlier: &'s BTreeSet<&'s str>,
    /// Where each variable was read.
    read_at: BTreeMap<String, String>,
}

impl Translator<'_> {
    fn program(mut self, steps: &[RawStep]) -> Result<Program, String> {
        self.steps(steps)
    }

    fn steps(&mut self, steps: &[RawStep]) -> Result<Program, String> {
        let mut program = Program::new();
        for step in steps {
            program = self.step(program, step)?;
        }
        Ok(program)
    }

    fn step(&mut self, program: Program, step: &RawStep) -> Result<Program, String> {
        Ok(match step {
            RawStep::Read { target, r#as, save } => {
                self.read_at.insert(r#as.clone(), target.clone());
                let value = self.read(target);
                self.set(program, r#as, value, *save)
            }
            RawStep::Let { r#as, expr, save } => {
                if let ("read", Some(target)) = (expr[0].as_str().unwrap_or(""), expr[1].as_str()) {
                    self.read_at.insert(r#as.clone(), target.to_owned());
                }
                let value = self.expr(expr)?;
                self.set(program, r#as, value, *save)
            }
            // A block may save what another one, or an earlier run, has set.
            RawStep::Save { name } => match self.foreign(name) {
                Some(value) => program.set(name, value).save(name),
                None => program.save(name),
            },
            RawStep::Write { target, expr } => self.write(program, target, expr)?,
            RawStep::Mark { text } => program.mark(text),
            RawStep::Raise { message } => program.raise(message),
            RawStep::Try { body, r#as } => program.catch(r#as, self.steps(body)?),
            RawStep::Stop => program.stop(),
            RawStep::Skip { module, expr } => program.skip(module, self.expr(expr)?),
            RawStep::Barrier { name } => program.barrier(name),
            RawStep::Iter { iter, var, body } => {
                let over = match iter {
                    RawIter::Slice(start, end) => Over::Slice {
                        start: *start,
                        end: *end,
                    },
                    RawIter::List(list) => list.clone().into(),
                    RawIter::Int(iteration) => (*iteration).into(),
                };
                program.each(over, var, self.steps(body)?)
            }
            RawStep::Next { step } => program.next(step.unwrap_or(1)),
            RawStep::IfEq {
                var: name,
                value,
                body,
            } => program.when(var(name).equals(*value), self.steps(body)?),
            // What is saved in the reference is the list itself, which goes on growing.
            RawStep::List { r#as } => program.list(r#as).save(r#as),
            RawStep::Append { list, expr } => program.append(list, self.expr(expr)?),
            RawStep::Cache {
                r#as,
                modules,
                include_output,
                include_inputs,
            } => program.then(Action::Cache {
                name: r#as.clone(),
                modules: modules.clone(),
                side: side(*include_inputs, *include_output)?,
            }),
            RawStep::InplaceFill { var: name, value } => {
                let filled = self.foreign(name).unwrap_or_else(|| var(name));
                let filled = filled.zeros_like() + *value;
                let program = self.set(program, name, filled, false);
                match self.read_at.get(name) {
                    // Where the model is past the site, nobody but the program sees the filled value.
                    Some(target) => {
                        let body = Program::new().write(target, var(name)).steps;
                        program.then(Action::Try { body, error: None })
                    }
                    None => program,
                }
            }
            RawStep::Backward {} | RawStep::SaveParamGrad {} => {
                return Err("a step about gradients".to_owned());
            }
        })
    }

    fn set(&self, program: Program, name: &str, value: Expr, save: bool) -> Program {
        let program = program.set(name, value);
        let program = match save {
            true => program.save(name),
            false => program,
        };
        // Who else uses it gets it from the blackboard.
        match self.shared.contains(name) {
            true => program.put(name, var(name)),
            false => program,
        }
    }

    /// Where a variable that this block does not set is taken from.
    fn foreign(&self, name: &str) -> Option<Expr> {
        if self.own.contains(name) {
            return None;
        }
        let shared = self.shared.contains(name).then(|| get(name));
        shared.or_else(|| {
            let is_saved = self.earlier.contains(name);
            is_saved.then(|| given(&saved_name(name)))
        })
    }

    fn read(&self, target: &str) -> Expr {
        match port(target) {
            (path, "inputs") if (self.by_name)(path) => read(&input_of(path)),
            (path, "inputs") => inputs([read(&input_of(path))], []),
            (path, "input") if (self.by_name)(path) => read(target).index(0).index(0),
            _ => read(target),
        }
    }

    fn write(&self, program: Program, target: &str, expr: &Value) -> Result<Program, String> {
        let value = self.expr(expr)?;
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

    fn expr(&self, expr: &Value) -> Result<Expr, String> {
        if let Some(number) = expr.as_f64() {
            return Ok(number.into());
        }
        let unknown = || format!("the expression {expr}");
        let items = expr.as_array().ok_or_else(unknown)?;
        let text = |place: usize| items.get(place).and_then(Value::as_str).ok_or_else(unknown);
        let number = |place: usize| items.get(place).and_then(Value::as_i64).ok_or_else(unknown);
        let of = |place: usize| self.expr(items.get(place).ok_or_else(unknown)?);
        Ok(match text(0)? {
            "var" => {
                let name = text(1)?;
                self.foreign(name).unwrap_or_else(|| var(name))
            }
            "tensor" => given(text(1)?),
            "read" => self.read(text(1)?),
            "add" => of(1)? + of(2)?,
            "sub" => of(1)? - of(2)?,
            "mul" => of(1)? * of(2)?,
            "zeros_like" => of(1)?.zeros_like(),
            "rows" => of(1)?.rows(number(2)?, number(3)?),
            "rows2" => of(1)?.columns(number(2)?, number(3)?),
            "sum" => of(1)?.sum(),
            "clone" => of(1)?.copy(),
            "index" => of(1)?.index(u32::try_from(number(2)?).map_err(|_| unknown())?),
            "tuple" => tuple((1..items.len()).map(of).collect::<Result<Vec<_>, _>>()?),
            "tuple_replace0" => of(1)?.replace(0, of(2)?),
            "module" => module(text(1)?, of(2)?),
            "argmax_last" => of(1)?.argmax_last(),
            "none" => given(NONE),
            "inputs" => {
                let places = items.get(1).and_then(Value::as_array).ok_or_else(unknown)?;
                let names = items
                    .get(2)
                    .and_then(Value::as_object)
                    .ok_or_else(unknown)?;
                let places = places
                    .iter()
                    .map(|item| self.expr(item))
                    .collect::<Result<Vec<_>, _>>()?;
                let named = |(name, item): (&_, &_)| Ok((String::clone(name), self.expr(item)?));
                let names: Vec<(String, Expr)> =
                    names.iter().map(named).collect::<Result<_, String>>()?;
                inputs(
                    places,
                    names
                        .iter()
                        .map(|(name, item)| (name.as_str(), item.clone())),
                )
            }
            _ => return Err(unknown()),
        })
    }
}

/// Splits a target into the path and the port.
fn port(target: &str) -> (&str, &str) {
    target.rsplit_once('.').unwrap_or(("", target))
}

fn input_of(path: &str) -> String {
    match path {
        "" => "input".to_owned(),
        path => format!("{path}.input"),
    }
}

fn side(inputs: bool, outputs: bool) -> Result<Side, String> {
    match (inputs, outputs) {
        (true, true) => Ok(Side::Both),
        (true, false) => Ok(Side::Inputs),
        (false, true) => Ok(Side::Outputs),
        (false, false) => Err("a cache of nothing".to_owned()),
    }
}

fn cache_of_run(step: &RawStep) -> Result<(String, CacheSpec), String> {
    let RawStep::Cache {
        r#as,
        modules,
        include_output,
        include_inputs,
    } = step
    else {
        return Err(format!("{step:?} before the invokes"));
    };
    let spec = match modules {
        Some(modules) => CacheSpec::of(modules),
        None => CacheSpec::all(),
    };
    let spec = match side(*include_inputs, *include_output)? {
        Side::Both => spec.both(),
        Side::Inputs => spec.inputs(),
        Side::Outputs => spec,
    };
    Ok((r#as.clone(), spec))
}

/// The variables that a block sets.
fn set_by(steps: &[RawStep]) -> BTreeSet<&str> {
    let mut set = BTreeSet::new();
    for step in steps {
        match step {
            RawStep::Read { r#as, .. } | RawStep::Let { r#as, .. } => {
                set.insert(r#as.as_str());
            }
            RawStep::Try { body, .. } | RawStep::IfEq { body, .. } => set.extend(set_by(body)),
            RawStep::Iter { var, body, .. } => {
                set.insert(var.as_str());
                set.extend(set_by(body));
            }
            _ => {}
        }
    }
    set
}

/// The variables that a block uses.
fn used_by(steps: &[RawStep]) -> BTreeSet<&str> {
    let mut used = BTreeSet::new();
    for step in steps {
        match step {
            RawStep::Write { expr, .. }
            | RawStep::Let { expr, .. }
            | RawStep::Skip { expr, .. }
            | RawStep::Append { expr, .. } => variables(expr, &mut used),
            RawStep::Save { name } | RawStep::InplaceFill { var: name, .. } => {
                used.insert(name.as_str());
            }
            RawStep::Try { body, .. } | RawStep::IfEq { body, .. } | RawStep::Iter { body, .. } => {
                used.extend(used_by(body));
            }
            _ => {}
        }
    }
    used
}

fn variables<'e>(expr: &'e Value, used: &mut BTreeSet<&'e str>) {
    match expr {
        Value::Array(items) => {
            if let [Value::String(kind), Value::String(name)] = &items[..]
                && kind == "var"
            {
                used.insert(name);
            }
            items.iter().for_each(|item| variables(item, used));
        }
        Value::Object(items) => items.values().for_each(|item| variables(item, used)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
