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
    /// Whether it belongs to the model.
    pub(crate) is_edit: bool,
    /// Whether it sees the whole batch, though it has an input.
    pub(crate) is_whole: bool,
    /// What the block does.
    pub(crate) program: Program,
}

/// Why a scenario has no programs.
#[derive(Debug)]
pub(crate) enum Untranslated {
    /// A step is about gradients.
    Gradients,
    /// A step or an expression has no counterpart, and which.
    NoCounterpart(String),
    /// A body uses a list that it has not made.
    ForeignList {
        list: String,
        /// Who has made it, in words.
        maker: &'static str,
    },
}

impl From<String> for Untranslated {
    fn from(what: String) -> Self {
        Self::NoCounterpart(what)
    }
}

/// Makes programs of a scenario; `by_name` says at which paths the input is a tuple of the arguments by place and a map of
/// those by name.
///
/// A variable that one block sets and another uses is shared over the blackboard.
///
/// # Errors
///
/// The step or expression that has no counterpart.
pub(crate) fn translate(
    scenario: &Scenario,
    by_name: &dyn Fn(&str) -> bool,
) -> Result<Vec<Plan>, Untranslated> {
    let mut models = edited(&scenario.edits);
    let mut earlier = Names::default();
    let mut plans = Vec::new();
    for run in &scenario.traces {
        let edits = models.entry(&run.on).or_default();
        if run.clear_edits {
            edits.clear();
        }
        let bodies = bodies(run, edits);
        plans.push(plan(run, &bodies, &earlier, by_name)?);
        for body in bodies {
            earlier.variables.extend(body.names.variables);
            earlier.lists.extend(body.names.lists);
        }
    }
    Ok(plans)
}

/// What becomes a program.
struct Body<'s> {
    input: Option<&'s str>,
    is_edit: bool,
    sees_all: bool,
    steps: &'s [RawStep],
    names: Names<'s>,
}

/// The names that steps give.
#[derive(Default)]
struct Names<'s> {
    variables: BTreeSet<&'s str>,
    lists: BTreeSet<&'s str>,
}

/// The bodies of a run, edits first.
fn bodies<'s>(run: &'s Run, edits: &[&'s Edit]) -> Vec<Body<'s>> {
    let edits = edits.iter().map(|edit| Body {
        input: None,
        is_edit: true,
        sees_all: true,
        steps: &edit.steps,
        names: Names::set_by(&edit.steps),
    });
    let blocks = blocks(run).map(|block| Body {
        input: block.input.as_deref(),
        is_edit: false,
        sees_all: block.sees_all,
        steps: &block.steps,
        names: Names::set_by(&block.steps),
    });
    edits.chain(blocks).collect()
}

fn blocks(run: &Run) -> impl Iterator<Item = &RawBlock> {
    run.direct
        .iter()
        .chain(run.invokes.iter().flat_map(|invokes| invokes.iter()))
}

fn plan(
    run: &Run,
    bodies: &[Body<'_>],
    earlier: &Names<'_>,
    by_name: &dyn Fn(&str) -> bool,
) -> Result<Plan, Untranslated> {
    let shared = shared(bodies);
    let mut programs = Vec::new();
    for body in bodies {
        refuse_lists_of_others(body, bodies, earlier)?;
        let translator = Translator {
            by_name,
            own: &body.names.variables,
            shared: &shared,
            earlier: &earlier.variables,
            read_at: BTreeMap::new(),
        };
        programs.push(Block {
            input: body.input.map(str::to_owned),
            is_edit: body.is_edit,
            is_whole: body.sees_all && bodies.iter().any(|body| body.is_edit),
            program: translator.program(body.steps)?,
        });
    }
    let generate = blocks(run).find_map(|block| block.generate.as_ref());
    let caches = run.pre.iter().map(cache_of_run);
    Ok(Plan {
        blocks: programs,
        barriers: run.barriers.clone(),
        caches: caches.collect::<Result<_, String>>()?,
        tokens: generate.map(|generate| generate.max_new_tokens),
    })
}

/// The variables that a body uses which only others set.
fn shared<'s>(bodies: &[Body<'s>]) -> BTreeSet<&'s str> {
    let is_set = |name: &str| {
        let mut bodies = bodies.iter();
        bodies.any(|body| body.names.variables.contains(name))
    };
    let foreign = bodies.iter().flat_map(|body| {
        let used = used_by(body.steps).into_iter();
        used.filter(|name| !body.names.contain(name) && is_set(name))
    });
    foreign.collect()
}

/// Refuses a body that uses a list which another one, or an earlier run, has made: what is shared is a value, which does not
/// grow for whoever has it already.
fn refuse_lists_of_others(
    body: &Body<'_>,
    bodies: &[Body<'_>],
    earlier: &Names<'_>,
) -> Result<(), Untranslated> {
    let used = used_by(body.steps).into_iter();
    for name in used.filter(|name| !body.names.contain(name)) {
        let is_made = |body: &Body<'_>| body.names.lists.contains(name);
        let maker = match (bodies.iter().any(is_made), earlier.lists.contains(name)) {
            (true, _) => "another invoke or edit",
            (false, true) => "an earlier run",
            (false, false) => continue,
        };
        return Err(Untranslated::ForeignList {
            list: name.to_owned(),
            maker,
        });
    }
    Ok(())
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
    shared: &'s BTreeSet<&'s str>,
    /// The variables that earlier runs set.
    earlier: &'s BTreeSet<&'s str>,
    /// Where each variable was read.
    read_at: BTreeMap<String, String>,
}

impl Translator<'_> {
    fn program(mut self, steps: &[RawStep]) -> Result<Program, Untranslated> {
        self.steps(steps)
    }

    fn steps(&mut self, steps: &[RawStep]) -> Result<Program, Untranslated> {
        let mut program = Program::new();
        for step in steps {
            program = self.step(program, step)?;
        }
        Ok(program)
    }

    fn step(&mut self, program: Program, step: &RawStep) -> Result<Program, Untranslated> {
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
            RawStep::Iter { iter, var, body } => program.each(over(iter), var, self.steps(body)?),
            RawStep::Next { step } => program.next(step.unwrap_or(1)),
            RawStep::IfEq {
                var: name,
                value,
                body,
            } => program.when(self.variable(name).equals(*value), self.steps(body)?),
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
            RawStep::InplaceFill { var: name, value } => self.fill(program, name, *value),
            RawStep::Backward {} | RawStep::SaveParamGrad {} => {
                return Err(Untranslated::Gradients);
            }
        })
    }

    /// A filled copy takes the value's place, also in the model.
    fn fill(&self, program: Program, name: &str, value: f64) -> Program {
        let filled = self.variable(name).zeros_like() + value;
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

    fn variable(&self, name: &str) -> Expr {
        self.foreign(name).unwrap_or_else(|| var(name))
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
            "var" => self.variable(text(1)?),
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
            "inputs" => self.arguments(items).ok_or_else(unknown)??,
            _ => return Err(unknown()),
        })
    }

    /// All arguments of a module: those by place, and a map of those by name; nothing if these are not there.
    fn arguments(&self, items: &[Value]) -> Option<Result<Expr, String>> {
        let (places, names) = (items.get(1)?.as_array()?, items.get(2)?.as_object()?);
        let places: Result<Vec<Expr>, String> = places.iter().map(|item| self.expr(item)).collect();
        let names = names
            .iter()
            .map(|(name, item)| Ok((name.as_str(), self.expr(item)?)));
        let names: Result<Vec<(&str, Expr)>, String> = names.collect();
        Some(places.and_then(|places| Ok(inputs(places, names?))))
    }
}

/// Iterations of a loop.
fn over(iter: &RawIter) -> Over {
    match iter {
        RawIter::Slice(start, end) => Over::Slice {
            start: *start,
            end: *end,
        },
        RawIter::List(list) => list.clone().into(),
        RawIter::Int(iteration) => (*iteration).into(),
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

impl<'s> Names<'s> {
    fn set_by(steps: &'s [RawStep]) -> Self {
        let mut names = Self::default();
        names.add(steps);
        names
    }

    fn contain(&self, name: &str) -> bool {
        self.variables.contains(name) || self.lists.contains(name)
    }

    fn add(&mut self, steps: &'s [RawStep]) {
        for step in steps {
            match step {
                RawStep::Read { r#as, .. } | RawStep::Let { r#as, .. } => {
                    self.variables.insert(r#as);
                }
                RawStep::List { r#as } => {
                    self.lists.insert(r#as);
                }
                RawStep::Try { body, .. } | RawStep::IfEq { body, .. } => self.add(body),
                RawStep::Iter { var, body, .. } => {
                    self.variables.insert(var);
                    self.add(body);
                }
                RawStep::Save { .. }
                | RawStep::Write { .. }
                | RawStep::Mark { .. }
                | RawStep::Raise { .. }
                | RawStep::Stop
                | RawStep::Skip { .. }
                | RawStep::Barrier { .. }
                | RawStep::Next { .. }
                | RawStep::Append { .. }
                | RawStep::Cache { .. }
                | RawStep::InplaceFill { .. }
                | RawStep::Backward {}
                | RawStep::SaveParamGrad {} => {}
            }
        }
    }
}

/// The variables and lists that a block uses.
fn used_by(steps: &[RawStep]) -> BTreeSet<&str> {
    let mut used = BTreeSet::new();
    for step in steps {
        match step {
            RawStep::Write { expr, .. }
            | RawStep::Let { expr, .. }
            | RawStep::Skip { expr, .. } => variables(expr, &mut used),
            RawStep::Append { list, expr } => {
                used.insert(list.as_str());
                variables(expr, &mut used);
            }
            RawStep::Save { name } | RawStep::InplaceFill { var: name, .. } => {
                used.insert(name.as_str());
            }
            RawStep::Try { body, .. } | RawStep::Iter { body, .. } => {
                used.extend(used_by(body));
            }
            RawStep::IfEq { var, body, .. } => {
                used.insert(var.as_str());
                used.extend(used_by(body));
            }
            RawStep::Read { .. }
            | RawStep::Mark { .. }
            | RawStep::Raise { .. }
            | RawStep::Stop
            | RawStep::Barrier { .. }
            | RawStep::Next { .. }
            | RawStep::List { .. }
            | RawStep::Cache { .. }
            | RawStep::Backward {}
            | RawStep::SaveParamGrad {} => {}
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
