//! Programs as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use interloom_program::{
    Action, Comparison, Condition, Expr, Item, Over, Program, ProgramStep, Side, Span,
};

use super::binding::{AND, COMPARE, NOT, OR, POSTFIX, PRODUCT, SUM, UNARY};
use super::expression::is_free;
use super::lexer::{QUOTED_BYTES_MAX, is_path, is_word};
use super::steps::is_variable;

/// Returns the text of a program, as experiment files have it, which is read as the same steps.
///
/// There is none if a variable has a name that is not one word, or is a word of the language, if a
/// name is longer than the language has them, or if it has no word for a step or an expression.
///
/// ```
/// use interloom_cli::experiment::to_text;
/// use interloom_program::{Program, var};
///
/// let program = Program::new()
///     .read("layers.1.output", "h")
///     .write("layers.1.output", (var("h") + 1.0) * 2.0)
///     .save("h");
/// let text = "h = layers.1.output\nlayers.1.output = (h + 1) * 2\nsave h\n";
/// assert_eq!(to_text(&program).as_deref(), Some(text));
/// ```
pub fn to_text(program: &Program) -> Option<String> {
    let mut writer = Writer {
        text: String::new(),
        indent: 0,
        is_writable: true,
    };
    writer.steps(&program.steps);
    writer.is_writable.then_some(writer.text)
}

struct Writer {
    text: String,
    indent: usize,
    is_writable: bool,
}

impl Writer {
    fn steps(&mut self, steps: &[ProgramStep]) {
        for step in steps {
            let indent = "    ".repeat(self.indent);
            self.text.push_str(&indent);
            self.action(&step.action);
            self.text.push('\n');
        }
    }

    fn action(&mut self, action: &Action) {
        let line = match action {
            Action::Let { variable, value } => {
                let target = self.variable(variable);
                self.assignment(&target, &Expr::Var(variable.clone()), value)
            }
            Action::Save { variable } => format!("save {}", self.variable(variable)),
            Action::Write {
                site,
                value,
                reshape,
            } => {
                let target = match is_site(site) {
                    true => site.clone(),
                    false => self.quoted_name(site),
                };
                match reshape {
                    true => format!("reshape {} = {}", self.name(site), self.value(value, OR)),
                    false => self.assignment(&target, &Expr::Read(site.clone()), value),
                }
            }
            Action::Skip { site, value } => {
                format!("skip {} = {}", self.name(site), self.value(value, OR))
            }
            Action::Stop => "stop".to_owned(),
            Action::Raise { message } => format!("raise {}", quoted(message)),
            Action::List { variable } => format!("{} = []", self.variable(variable)),
            Action::Append { list, value } => {
                let list = self.variable(list);
                format!("append({list}, {})", self.value(value, OR))
            }
            Action::Next { by } => format!("next {by}"),
            Action::Barrier { name: barrier } => format!("barrier {}", self.name(barrier)),
            Action::Put { name: key, value } => {
                format!("put {} = {}", self.name(key), self.value(value, OR))
            }
            Action::Backward { loss } => {
                let loss = self.value(loss, OR);
                // Braces at once would be those of a body.
                let is_map = loss.starts_with('{');
                format!("backward {}", in_parentheses(loss, is_map))
            }
            Action::Cache {
                name: key,
                modules,
                side,
                gradients,
            } => format!(
                "cache {} = {}{}",
                self.name(key),
                self.cached(modules.as_deref(), *side),
                if *gradients { " grad" } else { "" }
            ),
            Action::Mark { text } => format!("mark {}", quoted(text)),
            with_body => return self.with_body(with_body),
        };
        self.text.push_str(&line);
    }

    fn with_body(&mut self, action: &Action) {
        match action {
            Action::Try { body, error } => {
                self.text.push_str("try ");
                self.body(body);
                if let Some(error) = error {
                    let error = self.variable(error);
                    let _ = write!(self.text, " catch {error}");
                }
            }
            Action::If {
                condition,
                then,
                otherwise,
            } => {
                let condition = self.condition(condition, OR);
                let _ = write!(self.text, "if {condition} ");
                self.body(then);
                if !otherwise.is_empty() {
                    self.text.push_str(" else ");
                    self.body(otherwise);
                }
            }
            Action::Each {
                iterations,
                variable,
                body,
            } => {
                let (variable, over) = (self.variable(variable), self.over(iterations));
                let _ = write!(self.text, "for {variable} in {over} ");
                self.body(body);
            }
            _ => self.is_writable = false,
        }
    }

    /// Writes `target = value`, or in short what changes a part of the target, or the target by
    /// arithmetic.
    fn assignment(&mut self, target: &str, now: &Expr, value: &Expr) -> String {
        match value {
            Expr::Patch { of, spans, with } if **of == *now && !spans.is_empty() => {
                let target = format!("{target}[{}]", write_spans(spans));
                let (of, spans) = (of.clone(), spans.clone());
                self.change(&target, &Expr::Slice { of, spans }, with)
            }
            Expr::Replace { of, item, with } if **of == *now => {
                let target = format!("{target}[{}]", self.item(item));
                let (of, item) = (of.clone(), item.clone());
                self.change(&target, &Expr::Index { of, item }, with)
            }
            value => self.change(target, now, value),
        }
    }

    fn change(&mut self, target: &str, now: &Expr, value: &Expr) -> String {
        let (operator, value) = match value {
            Expr::Add(left, right) if **left == *now => ("+=", &**right),
            Expr::Sub(left, right) if **left == *now => ("-=", &**right),
            Expr::Mul(left, right) if **left == *now => ("*=", &**right),
            Expr::Div(left, right) if **left == *now => ("/=", &**right),
            value => ("=", value),
        };
        format!("{target} {operator} {}", self.value(value, OR))
    }

    fn body(&mut self, body: &[ProgramStep]) {
        self.text.push_str("{\n");
        self.indent += 1;
        self.steps(body);
        self.indent -= 1;
        self.text.push_str(&"    ".repeat(self.indent));
        self.text.push('}');
    }

    fn variable(&mut self, name: &str) -> String {
        self.is_writable &= is_variable(name);
        name.to_owned()
    }

    /// Writes a value, in parentheses if its operator binds less tightly than the place needs.
    fn value(&mut self, value: &Expr, needed: u8) -> String {
        let (text, binds) = self.bare_value(value);
        in_parentheses(text, binds < needed)
    }

    fn bare_value(&mut self, value: &Expr) -> (String, u8) {
        let text = match value {
            Expr::Number(number) => return write_number(*number),
            Expr::Text(text) => format!("text({})", quoted(text)),
            Expr::Var(name) => self.variable(name),
            Expr::Given(key) => format!("${}", self.name(key)),
            Expr::Read(site) if is_site(site) => site.clone(),
            Expr::Read(site) => self.quoted_name(site),
            Expr::Get(key) => format!("get({})", self.name(key)),
            Expr::Add(left, right) => return self.operation(left, "+", right, SUM),
            Expr::Sub(left, right) => return self.operation(left, "-", right, SUM),
            Expr::Mul(left, right) => return self.operation(left, "*", right, PRODUCT),
            Expr::Div(left, right) => return self.operation(left, "/", right, PRODUCT),
            Expr::ZerosLike(of) => format!("zeros_like({})", self.value(of, OR)),
            Expr::Sum(of) => format!("sum({})", self.value(of, OR)),
            Expr::Mean(of) => format!("mean({})", self.value(of, OR)),
            Expr::Abs(of) => format!("abs({})", self.value(of, OR)),
            Expr::Along {
                operation,
                of,
                dimension,
            } => {
                let name = operation.name().trim_matches('`');
                format!("{name}({}, {dimension})", self.value(of, OR))
            }
            Expr::Matmul(left, right) => {
                let (left, right) = (self.value(left, OR), self.value(right, OR));
                format!("matmul({left}, {right})")
            }
            Expr::Clone(of) => format!("copy({})", self.value(of, OR)),
            Expr::ArgmaxLast(of) => format!("argmax_last({})", self.value(of, OR)),
            Expr::Slice { of, spans } => {
                format!("{}[{}]", self.value(of, POSTFIX), write_spans(spans))
            }
            Expr::Clip { of, spans } => {
                format!("clip({}, [{}])", self.value(of, OR), write_spans(spans))
            }
            Expr::Index { of, item } => {
                format!("{}[{}]", self.value(of, POSTFIX), self.item(item))
            }
            Expr::Patch { of, spans, with } => {
                let (of, with) = (self.value(of, OR), self.value(with, OR));
                format!("patch({of}, [{}], {with})", write_spans(spans))
            }
            Expr::Replace { of, item, with } => {
                let (of, with) = (self.value(of, OR), self.value(with, OR));
                format!("patch({of}, [{}], {with})", self.item(item))
            }
            Expr::Tuple(items) => self.tuple(items),
            Expr::Map(items) => self.map(items),
            Expr::Module { path, input } => self.module(path, input),
            // A program that came as data may say what the language cannot.
            _ => {
                self.is_writable = false;
                String::new()
            }
        };
        (text, POSTFIX)
    }

    fn operation(&mut self, left: &Expr, operator: &str, right: &Expr, binds: u8) -> (String, u8) {
        let left = self.value(left, binds);
        let right = self.value(right, binds + 1);
        (format!("{left} {operator} {right}"), binds)
    }

    fn tuple(&mut self, items: &[Expr]) -> String {
        let texts: Vec<String> = items.iter().map(|item| self.value(item, OR)).collect();
        match &texts[..] {
            [one] => format!("({one},)"),
            _ => format!("({})", texts.join(", ")),
        }
    }

    fn map(&mut self, items: &BTreeMap<String, Expr>) -> String {
        let item =
            |(key, item): (&String, &Expr)| format!("{}: {}", self.name(key), self.value(item, OR));
        let texts: Vec<String> = items.iter().map(item).collect();
        format!("{{{}}}", texts.join(", "))
    }

    /// Writes a call, in the long form if the path would be read as something else.
    fn module(&mut self, path: &str, input: &Expr) -> String {
        let input = self.value(input, OR);
        match is_path(path) || is_free(path) {
            true => format!("{path}({input})"),
            false => format!("module({}, {input})", self.quoted_name(path)),
        }
    }

    /// Writes the iterations of a loop.
    fn over(&mut self, iterations: &Over) -> String {
        let text = |place: Option<u32>| place.map_or(String::new(), |place| place.to_string());
        match iterations {
            Over::Slice { start, end } => format!("{}..{}", text(*start), text(*end)),
            Over::List(list) => {
                let list: Vec<String> = list.iter().map(u32::to_string).collect();
                format!("[{}]", list.join(", "))
            }
            Over::One(iteration) => iteration.to_string(),
            _ => {
                self.is_writable = false;
                String::new()
            }
        }
    }

    fn condition(&mut self, condition: &Condition, needed: u8) -> String {
        let (text, binds) = self.bare_condition(condition);
        in_parentheses(text, binds < needed)
    }

    fn bare_condition(&mut self, condition: &Condition) -> (String, u8) {
        match condition {
            Condition::Compare { left, is, right } => {
                let (left, right) = (self.value(left, SUM), self.value(right, SUM));
                (format!("{left} {} {right}", comparison(*is)), COMPARE)
            }
            Condition::Not(condition) => (format!("not {}", self.condition(condition, NOT)), NOT),
            Condition::All(conditions) => self.joined(conditions, "all", " and ", AND),
            Condition::Any(conditions) => self.joined(conditions, "any", " or ", OR),
            Condition::IsSet(name) => (format!("set({})", self.variable(name)), POSTFIX),
            Condition::Caught(name) => (format!("caught({})", self.variable(name)), POSTFIX),
            _ => {
                self.is_writable = false;
                (String::new(), POSTFIX)
            }
        }
    }

    fn joined(
        &mut self,
        conditions: &[Condition],
        function: &str,
        between: &str,
        binds: u8,
    ) -> (String, u8) {
        let is_call = conditions.len() < 2;
        let needed = if is_call { OR } else { binds + 1 };
        let texts: Vec<String> = conditions
            .iter()
            .map(|condition| self.condition(condition, needed))
            .collect();
        match is_call {
            true => (format!("{function}({})", texts.concat()), POSTFIX),
            false => (texts.join(between), binds),
        }
    }
}

impl Writer {
    /// Writes a name of any form.
    fn name(&mut self, name: &str) -> String {
        match is_word(name) || is_path(name) {
            true => name.to_owned(),
            false => self.quoted_name(name),
        }
    }

    /// Writes a name in quotes, which has a limit that other texts do not have.
    fn quoted_name(&mut self, name: &str) -> String {
        self.is_writable &= name.len() <= QUOTED_BYTES_MAX;
        quoted(name)
    }

    fn item(&mut self, item: &Item) -> String {
        match item {
            Item::Place(place) => place.to_string(),
            Item::Name(name) => self.quoted_name(name),
        }
    }

    fn cached(&mut self, modules: Option<&[String]>, side: Side) -> String {
        let side = match side {
            Side::Inputs => "inputs",
            Side::Outputs => "outputs",
            Side::Both => "both",
        };
        let modules = match modules {
            None => "..".to_owned(),
            Some(modules) => {
                let modules: Vec<String> = modules.iter().map(|module| self.name(module)).collect();
                modules.join(", ")
            }
        };
        format!("{side}({modules})")
    }
}

/// Returns whether a site can stand without quotes.
fn is_site(name: &str) -> bool {
    is_path(name) || name == "input" || name == "output"
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '"' | '\\' => quoted.extend(['\\', character]),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn write_number(number: f64) -> (String, u8) {
    if number.is_nan() {
        return ("nan".to_owned(), POSTFIX);
    }
    let binds = if number.is_sign_negative() {
        UNARY
    } else {
        POSTFIX
    };
    // As short as it can be without another number being read.
    let text = format!("{number:?}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    (text.to_owned(), binds)
}

fn write_spans(spans: &[Span]) -> String {
    let spans: Vec<String> = spans.iter().map(Span::to_string).collect();
    spans.join(", ")
}

const fn comparison(is: Comparison) -> &'static str {
    match is {
        Comparison::Equal => "==",
        Comparison::NotEqual => "!=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

fn in_parentheses(text: String, needed: bool) -> String {
    match needed {
        true => format!("({text})"),
        false => text,
    }
}
