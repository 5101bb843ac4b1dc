//! Values and conditions.
//!
//! Both are read by one function, since only what follows tells a condition in parentheses from a
//! value in parentheses. How high the tree grows is counted as it is built: a chain of sums grows
//! without any recursion here, but dropping it recurses.

use std::collections::BTreeMap;

use interloom_program::{Along, Comparison, Condition, DEPTH_MAX, Expr};

use super::SyntaxError;
use super::binding::{AND, COMPARE, NOT, OR, PRODUCT, SUM};
use super::lexer::{Token, is_word};
use super::resolve::split_iteration;
use super::steps::{Parser, is_reserved};

/// The names whose call is a function of the language, and not of a module.
const FUNCTIONS: [&str; 18] = [
    "abs",
    "all",
    "any",
    "argmax_last",
    "caught",
    "clip",
    "copy",
    "get",
    "grad",
    "matmul",
    "mean",
    "module",
    "patch",
    "set",
    "softmax",
    "sum",
    "text",
    "zeros_like",
];

/// Returns whether a call of this word is one of a module.
pub(in crate::experiment) fn is_free(word: &str) -> bool {
    is_word(word) && !is_reserved(word) && !FUNCTIONS.contains(&word)
}

/// How many parentheses, calls and signs may stand inside one another.
const NESTING_MAX: u32 = 64;

/// What was read: a value or a condition, and how high its tree is.
struct Node {
    term: Term,
    height: u32,
}

enum Term {
    Value(Expr),
    Condition(Condition),
}

impl Parser<'_> {
    /// Reads a value.
    pub(super) fn value(&mut self) -> Result<Expr, SyntaxError> {
        self.value_node().map(|(value, _)| value)
    }

    /// Reads a condition.
    pub(super) fn condition(&mut self) -> Result<Condition, SyntaxError> {
        self.condition_node().map(|(condition, _)| condition)
    }

    fn value_node(&mut self) -> Result<(Expr, u32), SyntaxError> {
        let at = self.at();
        let node = self.binary(OR)?;
        value_of(at, node)
    }

    fn condition_node(&mut self) -> Result<(Condition, u32), SyntaxError> {
        let at = self.at();
        let node = self.binary(OR)?;
        condition_of(at, node)
    }

    /// Reads operators that bind at least as tightly as `loosest`.
    fn binary(&mut self, loosest: u8) -> Result<Node, SyntaxError> {
        self.nested(|parser| {
            let start = parser.at();
            let mut left = parser.unary()?;
            while let Some((operator, binds)) = parser.operator() {
                if binds < loosest {
                    break;
                }
                let at = parser.at();
                left = match binds {
                    OR | AND => parser.joined(start, left, operator, binds)?,
                    _ => {
                        parser.advance();
                        parser.skip_lines();
                        let right_at = parser.at();
                        let right = parser.binary(binds + 1)?;
                        let (left, left_height) = value_of(start, left)?;
                        let (right, right_height) = value_of(right_at, right)?;
                        let height = 1 + left_height.max(right_height);
                        node(at, combined(operator, left, right), height)?
                    }
                };
            }
            Ok(left)
        })
    }

    /// Reads conditions with one word between them.
    fn joined(
        &mut self,
        start: usize,
        first: Node,
        word: &'static str,
        binds: u8,
    ) -> Result<Node, SyntaxError> {
        let at = self.at();
        let (first, mut height) = condition_of(start, first)?;
        let mut conditions = vec![first];
        while self.take_word(word) {
            self.skip_lines();
            let at = self.at();
            let next = self.binary(binds + 1)?;
            let (next, next_height) = condition_of(at, next)?;
            conditions.push(next);
            height = height.max(next_height);
        }
        let joined = match binds {
            AND => Condition::All(conditions),
            _ => Condition::Any(conditions),
        };
        node(at, Term::Condition(joined), height + 1)
    }

    /// Returns the operator at hand and how tightly it binds.
    fn operator(&self) -> Option<(&'static str, u8)> {
        match self.peek() {
            Token::Word(word) if word == "or" => Some(("or", OR)),
            Token::Word(word) if word == "and" => Some(("and", AND)),
            Token::Symbol(symbol @ ("==" | "!=" | "<" | "<=" | ">" | ">=")) => {
                Some((symbol, COMPARE))
            }
            Token::Symbol(symbol @ ("+" | "-")) => Some((symbol, SUM)),
            Token::Symbol(symbol @ ("*" | "/")) => Some((symbol, PRODUCT)),
            _ => None,
        }
    }

    fn unary(&mut self) -> Result<Node, SyntaxError> {
        let at = self.at();
        if self.take_word("not") {
            let operand = self.binary(NOT)?;
            let (condition, height) = condition_of(at, operand)?;
            let not = Condition::Not(Box::new(condition));
            return node(at, Term::Condition(not), height + 1);
        }
        if !self.take("-") {
            return self.postfix();
        }
        let is_number = matches!(self.peek(), Token::Number(..))
            || matches!(self.peek(), Token::Word(word) if word == "inf" || word == "nan");
        let operand_at = self.at();
        let operand = self.nested(Self::unary)?;
        let (value, height) = value_of(operand_at, operand)?;
        match value {
            Expr::Number(number) if is_number => node(at, Term::Value(Expr::Number(-number)), 1),
            value => node(at, Term::Value(-value), height + 1),
        }
    }

    /// Reads a term with brackets after it.
    fn postfix(&mut self) -> Result<Node, SyntaxError> {
        let start = self.at();
        let mut term = self.primary()?;
        while self.peek() == &Token::Symbol("[") {
            let at = self.at();
            let brackets = self.brackets()?;
            let (value, height) = value_of(start, term)?;
            term = node(at, Term::Value(brackets.of(value)), height + 1)?;
        }
        Ok(term)
    }

    fn primary(&mut self) -> Result<Node, SyntaxError> {
        let at = self.at();
        let leaf = |value| node(at, Term::Value(value), 1);
        let token = self.peek().clone();
        match token {
            Token::Number(number, _) => {
                self.advance();
                leaf(Expr::Number(number))
            }
            Token::Text(site) => {
                self.check_name(&site)?;
                self.advance();
                leaf(Expr::Read(site))
            }
            Token::Word(name) | Token::Path(name) => self.named(name),
            Token::Symbol("$") => {
                self.advance();
                let name = self.name("the name of a given value after `$`")?;
                leaf(Expr::Given(name))
            }
            Token::Symbol("(") => self.parentheses(),
            Token::Symbol("{") => self.map(),
            found => Err(SyntaxError::new(at, "a value", found.to_string())),
        }
    }

    /// Reads a variable, a site, or a call.
    fn named(&mut self, name: String) -> Result<Node, SyntaxError> {
        let at = self.at();
        let is_path = matches!(self.peek(), Token::Path(_));
        if !is_path && is_reserved(&name) {
            let found = format!("`{name}`, which is a word of the language");
            return Err(SyntaxError::new(at, "a value", found));
        }
        self.advance();
        if self.peek() == &Token::Symbol("(") {
            return self.nested(|parser| parser.call(at, name, is_path));
        }
        let value = match name.as_str() {
            "inf" => Expr::Number(f64::INFINITY),
            "nan" => Expr::Number(f64::NAN),
            "input" | "output" => Expr::Read(name),
            _ if is_path => Expr::Read(name),
            _ => Expr::Var(name),
        };
        node(at, Term::Value(value), 1)
    }

    fn call(&mut self, at: usize, name: String, is_path: bool) -> Result<Node, SyntaxError> {
        self.expect("(")?;
        self.skip_lines();
        let (term, height) = match name.as_str() {
            _ if is_path => self.module(name)?,
            "zeros_like" => self.of_one(Expr::ZerosLike)?,
            "sum" => self.along(Along::Sum, Some(Expr::Sum))?,
            "mean" => self.along(Along::Mean, Some(Expr::Mean))?,
            "softmax" => self.along(Along::Softmax, None)?,
            "abs" => self.of_one(Expr::Abs)?,
            "matmul" => self.matmul()?,
            "copy" => self.of_one(Expr::Clone)?,
            "argmax_last" => self.of_one(Expr::ArgmaxLast)?,
            "text" => (Term::Value(Expr::Text(self.text("a text in quotes")?)), 0),
            "grad" => (Term::Value(Expr::Read(self.gradient()?)), 0),
            "patch" => self.patch()?,
            "clip" => self.clip()?,
            "get" => (Term::Value(Expr::Get(self.name("a name")?)), 0),
            "set" => (
                Term::Condition(Condition::IsSet(self.word("a variable")?)),
                0,
            ),
            "caught" => (Term::Condition(Condition::Caught(self.word("a name")?)), 0),
            "all" => self.conditions(Condition::All)?,
            "any" => self.conditions(Condition::Any)?,
            "module" => {
                let path = self.text("a module's path in quotes")?;
                self.comma()?;
                self.module(path)?
            }
            _ => self.module(name)?,
        };
        self.skip_lines();
        self.expect(")")?;
        node(at, term, height + 1)
    }

    fn module(&mut self, path: String) -> Result<(Term, u32), SyntaxError> {
        let (input, height) = self.value_node()?;
        let input = Box::new(input);
        self.skip_lines();
        if self.peek() == &Token::Symbol(",") {
            let expected = "one value; several make a tuple: `path((a, b))`";
            return Err(SyntaxError::new(self.at(), expected, "`,`".to_owned()));
        }
        Ok((Term::Value(Expr::Module { path, input }), height))
    }

    /// Reads what the gradient is of, and returns its site's name.
    fn gradient(&mut self) -> Result<String, SyntaxError> {
        let of = self.name("a parameter, or what else has a gradient")?;
        let (of, iteration) = split_iteration(&of);
        Ok(format!("{of}.grad{iteration}"))
    }

    fn of_one(&mut self, make: fn(Box<Expr>) -> Expr) -> Result<(Term, u32), SyntaxError> {
        let (value, height) = self.value_node()?;
        Ok((Term::Value(make(Box::new(value))), height))
    }

    /// Reads a value and the dimension along which it is summed; without one `whole` is of all
    /// elements.
    fn along(
        &mut self,
        operation: Along,
        whole: Option<fn(Box<Expr>) -> Expr>,
    ) -> Result<(Term, u32), SyntaxError> {
        let (of, height) = self.value_node()?;
        let of = Box::new(of);
        self.skip_lines();
        if let (Some(whole), false) = (whole, self.peek() == &Token::Symbol(",")) {
            return Ok((Term::Value(whole(of)), height));
        }
        self.comma()?;
        let dimension = self.dimension()?;
        let along = Expr::Along {
            operation,
            of,
            dimension,
        };
        Ok((Term::Value(along), height))
    }

    fn matmul(&mut self) -> Result<(Term, u32), SyntaxError> {
        let (left, left_height) = self.value_node()?;
        self.comma()?;
        let (right, right_height) = self.value_node()?;
        let product = Expr::Matmul(Box::new(left), Box::new(right));
        Ok((Term::Value(product), left_height.max(right_height)))
    }

    fn clip(&mut self) -> Result<(Term, u32), SyntaxError> {
        let (of, height) = self.value_node()?;
        self.comma()?;
        let (of, spans) = (Box::new(of), self.spans()?);
        Ok((Term::Value(Expr::Clip { of, spans }), height))
    }

    fn patch(&mut self) -> Result<(Term, u32), SyntaxError> {
        let (of, of_height) = self.value_node()?;
        self.comma()?;
        let brackets = self.brackets()?;
        self.comma()?;
        let (with, with_height) = self.value_node()?;
        let term = Term::Value(brackets.patch(of, with));
        Ok((term, of_height.max(with_height)))
    }

    fn conditions(
        &mut self,
        make: fn(Vec<Condition>) -> Condition,
    ) -> Result<(Term, u32), SyntaxError> {
        let (mut conditions, mut height) = (Vec::new(), 0);
        while self.peek() != &Token::Symbol(")") {
            let (condition, own) = self.condition_node()?;
            conditions.push(condition);
            height = height.max(own);
            self.skip_lines();
            if !self.take(",") {
                break;
            }
            self.skip_lines();
        }
        Ok((Term::Condition(make(conditions)), height))
    }

    /// Reads a tuple, or one value or condition that is only kept together.
    fn parentheses(&mut self) -> Result<Node, SyntaxError> {
        self.nested(|parser| {
            let at = parser.at();
            parser.expect("(")?;
            parser.skip_lines();
            let (mut items, mut height) = (Vec::new(), 0);
            while !parser.take(")") {
                let item_at = parser.at();
                let item = parser.binary(OR)?;
                parser.skip_lines();
                if items.is_empty() && parser.take(")") {
                    return Ok(item);
                }
                let (item, own) = value_of(item_at, item)?;
                items.push(item);
                height = height.max(own);
                if parser.take(")") {
                    break;
                }
                parser.separator(")")?;
            }
            node(at, Term::Value(Expr::Tuple(items)), height + 1)
        })
    }

    fn map(&mut self) -> Result<Node, SyntaxError> {
        self.nested(|parser| {
            let at = parser.at();
            parser.expect("{")?;
            parser.skip_lines();
            let (mut items, mut height) = (BTreeMap::new(), 0);
            while !parser.take("}") {
                let key_at = parser.at();
                let key = parser.name("a name")?;
                parser.expect(":")?;
                parser.skip_lines();
                let (item, own) = parser.value_node()?;
                height = height.max(own);
                if items.insert(key.clone(), item).is_some() {
                    let found = format!("`{key}` twice");
                    return Err(SyntaxError::new(key_at, "each name once", found));
                }
                parser.skip_lines();
                if parser.take("}") {
                    break;
                }
                parser.separator("}")?;
            }
            node(at, Term::Value(Expr::Map(items)), height + 1)
        })
    }

    /// Takes the comma between two parts of a list that does not end here.
    pub(super) fn separator(&mut self, close: &str) -> Result<(), SyntaxError> {
        if !self.take(",") {
            return Err(self.unexpected(&format!("`,` or `{close}`")));
        }
        self.skip_lines();
        Ok(())
    }

    fn comma(&mut self) -> Result<(), SyntaxError> {
        self.skip_lines();
        self.expect(",")?;
        self.skip_lines();
        Ok(())
    }

    /// Reads something that may stand inside itself.
    fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        if self.nesting == NESTING_MAX {
            return Err(too_deep(self.at()));
        }
        self.nesting += 1;
        let result = read(self);
        self.nesting -= 1;
        result
    }
}

fn node(at: usize, term: Term, height: u32) -> Result<Node, SyntaxError> {
    match height > DEPTH_MAX {
        true => Err(too_deep(at)),
        false => Ok(Node { term, height }),
    }
}

fn too_deep(at: usize) -> SyntaxError {
    let expected = format!("at most {DEPTH_MAX} expressions inside one another");
    let found = "more; give an inner value a name".to_owned();
    SyntaxError::new(at, &expected, found)
}

fn value_of(at: usize, node: Node) -> Result<(Expr, u32), SyntaxError> {
    match node.term {
        Term::Value(value) => Ok((value, node.height)),
        Term::Condition(_) => {
            let found = "a condition; conditions stand after `if`".to_owned();
            Err(SyntaxError::new(at, "a value", found))
        }
    }
}

fn condition_of(at: usize, node: Node) -> Result<(Condition, u32), SyntaxError> {
    match node.term {
        Term::Condition(condition) => Ok((condition, node.height)),
        Term::Value(_) => {
            let expected = "a condition, such as `x > 0`, `set(x)` or `caught(e)`";
            Err(SyntaxError::new(at, expected, "a value".to_owned()))
        }
    }
}

fn combined(operator: &str, left: Expr, right: Expr) -> Term {
    let is = match operator {
        "+" => return Term::Value(left + right),
        "-" => return Term::Value(left - right),
        "*" => return Term::Value(left * right),
        "/" => return Term::Value(left / right),
        "==" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        _ => Comparison::GreaterOrEqual,
    };
    Term::Condition(left.is(is, right))
}
