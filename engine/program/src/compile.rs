//! The compiler: from the tree of a program to the flat code of its machine.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use interloom_engine::{CacheSpec, Iterations, Locate, Origin, Point, SiteMap, Target};

use crate::expr::{Comparison, Condition, Expr, Item, Span};
use crate::operand::{Along, Arithmetic};
use crate::step::{Action, Over, Program, ProgramStep};

/// A compiled program.
pub(crate) struct Code {
    pub(crate) instructions: Vec<Instruction>,
    /// The line of each instruction.
    pub(crate) lines: Vec<Option<u32>>,
    pub(crate) file: Arc<str>,
    /// The variables, by their slots.
    pub(crate) variables: Vec<String>,
}

impl Code {
    pub(crate) fn origin(&self, place: usize) -> Origin {
        match self.lines.get(place).copied().flatten() {
            Some(line) => Origin::Program {
                file: self.file.clone(),
                line,
            },
            None => Origin::Unknown,
        }
    }

    /// Iterates over the gradients that are asked for or collected.
    pub(crate) fn gradients(&self, map: &SiteMap) -> impl Iterator<Item = Point> {
        let points = |instruction: &Instruction| match instruction {
            Instruction::Ask(Ask::Read(target) | Ask::Swap { target, .. } | Ask::Skip(target)) => {
                match target {
                    Target::Point { point, .. } => vec![*point],
                    Target::Unknown(_) => Vec::new(),
                }
            }
            Instruction::Cache { spec, .. } => spec.points(map).unwrap_or_default(),
            _ => Vec::new(),
        };
        let points = self.instructions.iter().flat_map(points);
        points.filter(|point| point.port.is_gradient())
    }
}

/// What a machine does at once; values go over its stack.
#[derive(Clone, Debug)]
pub(crate) enum Instruction {
    /// Asks for something outside of the program, and waits for the answer.
    Ask(Ask),
    /// Puts one datum on the stack.
    Push(Push),
    Store(usize),
    Save(usize),
    Stop,
    Raise(String),
    /// Enters a `try` that ends before the given place.
    Try {
        end: usize,
        error: Option<String>,
    },
    LeaveTry,
    Jump(usize),
    JumpUnless(usize),
    List(usize),
    Append(usize),
    Mark(String),
    /// Runs a child from the next instruction on for each iteration of a loop, and continues at the
    /// given place.
    Each {
        iterations: Iterations,
        slot: usize,
        end: usize,
    },
    /// Ends the child that runs the body of a loop.
    EndEach,
    Next(u32),
    Cache {
        name: String,
        spec: CacheSpec,
    },
}

/// What is asked for: the value that goes with it is on the stack.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Read(Target),
    Get(Arc<str>),
    Swap { target: Target, reshape: bool },
    Skip(Target),
    Barrier(Arc<str>),
    Put(Arc<str>),
    Backward,
}

/// What is put on the stack.
#[derive(Clone, Debug)]
pub(crate) enum Push {
    Load(usize),
    Given(String),
    Module(String),
    Compare(Comparison),
    Not,
    IsSet(usize),
    Caught(String),
    Compute(Compute),
}

/// What is computed from the stack alone.
#[derive(Clone, Debug)]
pub(crate) enum Compute {
    Number(f64),
    Text(String),
    Arithmetic(Arithmetic),
    ZerosLike,
    Sum,
    Mean,
    Abs,
    /// A negative dimension counts from the end.
    Along(Along, i32),
    Matmul,
    ArgmaxLast,
    Slice(Vec<Span>),
    Clip(Vec<Span>),
    Patch(Vec<Span>),
    Index(Item),
    Replace(Item),
    Tuple(usize),
    Map(Vec<String>),
}

impl From<Ask> for Instruction {
    fn from(ask: Ask) -> Self {
        Self::Ask(ask)
    }
}

impl From<Push> for Instruction {
    fn from(push: Push) -> Self {
        Self::Push(push)
    }
}

impl From<Compute> for Instruction {
    fn from(compute: Compute) -> Self {
        Self::Push(Push::Compute(compute))
    }
}

/// Compiles a program whose limits have been checked.
pub(crate) fn compile(program: &Program, map: &SiteMap) -> Rc<Code> {
    let mut compiler = Compiler {
        map,
        caches: program.caches(),
        slots: BTreeMap::new(),
        line: None,
        code: Code {
            instructions: Vec::new(),
            lines: Vec::new(),
            file: program.file.as_deref().unwrap_or("program").into(),
            variables: Vec::new(),
        },
    };
    compiler.steps(&program.steps);
    Rc::new(compiler.code)
}

struct Compiler<'m> {
    map: &'m SiteMap,
    /// The names of caches, which keep what they collect without being saved.
    caches: BTreeSet<String>,
    slots: BTreeMap<String, usize>,
    line: Option<u32>,
    code: Code,
}

impl Compiler<'_> {
    fn steps(&mut self, steps: &[ProgramStep]) {
        for step in steps {
            self.line = step.line;
            self.action(&step.action);
        }
    }

    fn action(&mut self, action: &Action) {
        match action {
            Action::Let { variable, value } => {
                self.expr(value);
                self.on(variable, Instruction::Store);
            }
            Action::Save { variable } if self.caches.contains(variable) => {}
            Action::Save { variable } => self.on(variable, Instruction::Save),
            Action::Write {
                site,
                value,
                reshape,
            } => {
                let (target, reshape) = (self.target(site), *reshape);
                self.of([value], Ask::Swap { target, reshape });
            }
            Action::Skip { site, value } => {
                let target = self.target(site);
                self.of([value], Ask::Skip(target));
            }
            Action::Stop => self.emit(Instruction::Stop),
            Action::Raise { message } => self.emit(Instruction::Raise(message.clone())),
            Action::Try { body, error } => self.attempt(body, error),
            Action::If {
                condition,
                then,
                otherwise,
            } => self.choose(condition, then, otherwise),
            Action::List { variable } => self.on(variable, Instruction::List),
            Action::Append { list, value } => {
                self.expr(value);
                self.on(list, Instruction::Append);
            }
            Action::Mark { text } => self.emit(Instruction::Mark(text.clone())),
            Action::Each {
                iterations,
                variable,
                body,
            } => self.each(iterations, variable, body),
            Action::Next { by } => self.emit(Instruction::Next(*by)),
            Action::Barrier { name } => self.emit(Ask::Barrier(name.as_str().into())),
            Action::Put { name, value } => self.of([value], Ask::Put(name.as_str().into())),
            Action::Backward { loss } => self.of([loss], Ask::Backward),
            Action::Cache {
                name,
                modules,
                side,
                gradients,
            } => self.emit(Instruction::Cache {
                name: name.clone(),
                spec: side.of(modules.as_deref(), *gradients),
            }),
        }
    }

    fn attempt(&mut self, body: &[ProgramStep], error: &Option<String>) {
        let entry = self.place();
        let error = error.clone();
        self.emit(Instruction::Try { end: 0, error });
        self.steps(body);
        self.emit(Instruction::LeaveTry);
        let here = self.place();
        if let Instruction::Try { end, .. } = &mut self.code.instructions[entry] {
            *end = here;
        }
    }

    fn each(&mut self, iterations: &Over, variable: &str, body: &[ProgramStep]) {
        let slot = self.slot(variable);
        let entry = self.open(Instruction::Each {
            iterations: iterations.iterations(),
            slot,
            end: 0,
        });
        self.steps(body);
        self.emit(Instruction::EndEach);
        let here = self.place();
        if let Instruction::Each { end, .. } = &mut self.code.instructions[entry] {
            *end = here;
        }
    }

    fn choose(&mut self, condition: &Condition, then: &[ProgramStep], otherwise: &[ProgramStep]) {
        self.condition(condition);
        let unless = self.open(Instruction::JumpUnless(0));
        self.steps(then);
        if otherwise.is_empty() {
            return self.close([unless]);
        }
        let over = self.open(Instruction::Jump(0));
        self.close([unless]);
        self.steps(otherwise);
        self.close([over]);
    }

    fn condition(&mut self, condition: &Condition) {
        match condition {
            Condition::Compare { left, is, right } => {
                self.expr(left);
                self.expr(right);
                self.emit(Push::Compare(*is));
            }
            Condition::Not(condition) => {
                self.condition(condition);
                self.emit(Push::Not);
            }
            Condition::All(conditions) => self.all(conditions, false),
            // One holds if it is not so that all do not.
            Condition::Any(conditions) => {
                self.all(conditions, true);
                self.emit(Push::Not);
            }
            Condition::IsSet(variable) => self.on(variable, Push::IsSet),
            Condition::Caught(error) => self.emit(Push::Caught(error.clone())),
        }
    }

    /// Holds if all conditions do, or with `negated` if all do not; stops at the first that decides
    /// it.
    fn all(&mut self, conditions: &[Condition], negated: bool) {
        let mut exits = Vec::new();
        for condition in conditions {
            self.condition(condition);
            if negated {
                self.emit(Push::Not);
            }
            exits.push(self.open(Instruction::JumpUnless(0)));
        }
        self.emit(Compute::Number(1.0));
        let over = self.open(Instruction::Jump(0));
        self.close(exits);
        self.emit(Compute::Number(0.0));
        self.close([over]);
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Number(number) => self.emit(Compute::Number(*number)),
            Expr::Text(text) => self.emit(Compute::Text(text.clone())),
            Expr::Var(variable) => self.on(variable, Push::Load),
            Expr::Given(name) => self.emit(Push::Given(name.clone())),
            Expr::Read(site) => {
                let target = self.target(site);
                self.emit(Ask::Read(target));
            }
            Expr::Get(name) => self.emit(Ask::Get(name.as_str().into())),
            Expr::Add(left, right) => self.arithmetic(Arithmetic::Add, left, right),
            Expr::Sub(left, right) => self.arithmetic(Arithmetic::Sub, left, right),
            Expr::Mul(left, right) => self.arithmetic(Arithmetic::Mul, left, right),
            Expr::Div(left, right) => self.arithmetic(Arithmetic::Div, left, right),
            // Values never change, so that one is as good as its copy.
            Expr::Clone(value) => self.expr(value),
            Expr::ZerosLike(value) => self.of([&**value], Compute::ZerosLike),
            Expr::Sum(value) => self.of([&**value], Compute::Sum),
            Expr::Mean(value) => self.of([&**value], Compute::Mean),
            Expr::Abs(value) => self.of([&**value], Compute::Abs),
            Expr::Along {
                operation,
                of,
                dimension,
            } => self.of([&**of], Compute::Along(*operation, *dimension)),
            Expr::Matmul(left, right) => self.of([&**left, &**right], Compute::Matmul),
            Expr::ArgmaxLast(value) => self.of([&**value], Compute::ArgmaxLast),
            Expr::Slice { of, spans } => self.of([&**of], Compute::Slice(spans.clone())),
            Expr::Clip { of, spans } => self.of([&**of], Compute::Clip(spans.clone())),
            Expr::Patch { of, spans, with } => {
                self.of([&**of, &**with], Compute::Patch(spans.clone()));
            }
            Expr::Index { of, item } => self.of([&**of], Compute::Index(item.clone())),
            Expr::Replace { of, item, with } => {
                self.of([&**of, &**with], Compute::Replace(item.clone()));
            }
            Expr::Tuple(items) => self.of(items, Compute::Tuple(items.len())),
            Expr::Map(items) => {
                let names = items.keys().cloned().collect();
                self.of(items.values(), Compute::Map(names));
            }
            Expr::Module { path, input } => self.of([&**input], Push::Module(path.clone())),
        }
    }

    fn arithmetic(&mut self, operation: Arithmetic, left: &Expr, right: &Expr) {
        self.of([left, right], Compute::Arithmetic(operation));
    }

    /// Emits an instruction after what it needs on the stack.
    fn of<'e>(
        &mut self,
        operands: impl IntoIterator<Item = &'e Expr>,
        instruction: impl Into<Instruction>,
    ) {
        for operand in operands {
            self.expr(operand);
        }
        self.emit(instruction);
    }

    /// Emits an instruction about a variable.
    fn on<I: Into<Instruction>>(&mut self, variable: &str, instruction: impl FnOnce(usize) -> I) {
        let slot = self.slot(variable);
        self.emit(instruction(slot));
    }

    fn target(&self, site: &str) -> Target {
        site.locate(self.map)
    }

    fn slot(&mut self, variable: &str) -> usize {
        if let Some(&slot) = self.slots.get(variable) {
            return slot;
        }
        let slot = self.code.variables.len();
        self.slots.insert(variable.to_owned(), slot);
        self.code.variables.push(variable.to_owned());
        slot
    }

    fn place(&self) -> usize {
        self.code.instructions.len()
    }

    fn emit(&mut self, instruction: impl Into<Instruction>) {
        self.code.instructions.push(instruction.into());
        self.code.lines.push(self.line);
    }

    /// Emits a jump whose end is not known yet.
    fn open(&mut self, jump: Instruction) -> usize {
        self.emit(jump);
        self.place() - 1
    }

    /// Lets jumps end here.
    fn close(&mut self, jumps: impl IntoIterator<Item = usize>) {
        let here = self.place();
        for jump in jumps {
            if let Instruction::Jump(end) | Instruction::JumpUnless(end) =
                &mut self.code.instructions[jump]
            {
                *end = here;
            }
        }
    }
}

/// Returns the ranges of some spans in a tensor: one for each dimension.
///
/// # Errors
///
/// The dimension whose span does not lie in it.
pub(crate) fn resolve(spans: &[Span], shape: &[u64]) -> Result<Vec<Range<u64>>, usize> {
    if spans.len() > shape.len() {
        return Err(shape.len());
    }
    let spans = spans.iter().copied().chain(std::iter::repeat(Span::ALL));
    let pairs = spans.zip(shape).enumerate();
    pairs
        .map(|(dimension, (span, &length))| span.resolve(length).ok_or(dimension))
        .collect()
}
