//! Steps that give a value to a variable or a site, or to a part of it.

use interloom_program::{Action, Expr};

use super::SyntaxError;
use super::brackets::Brackets;
use super::lexer::Token;
use super::steps::Parser;

impl Parser<'_> {
    /// Reads `target = value`, also with brackets and with an operator.
    pub(super) fn assignment(&mut self) -> Result<Action, SyntaxError> {
        let target = self.target()?;
        let brackets = match self.peek() {
            Token::Symbol("[") => Some(self.brackets()?),
            _ => None,
        };
        let operator = match self.peek() {
            Token::Symbol(symbol @ ("=" | "+=" | "-=" | "*=" | "/=")) => *symbol,
            _ => return Err(self.unexpected("`=`, `+=`, `-=`, `*=` or `/=`")),
        };
        self.advance();
        if let (Target::Variable(variable), None, "=") = (&target, &brackets, operator)
            && self.empty_list()
        {
            let variable = variable.clone();
            return Ok(Action::List { variable });
        }
        let right = self.value()?;
        Ok(target.assign(brackets.as_ref(), operator, right))
    }

    pub(super) fn empty_list(&mut self) -> bool {
        let start = self.next;
        if self.take("[") {
            self.skip_lines();
            if self.take("]") {
                return true;
            }
        }
        self.next = start;
        false
    }

    fn target(&mut self) -> Result<Target, SyntaxError> {
        let token = self.peek().clone();
        let target = match token {
            Token::Path(site) | Token::Text(site) => {
                self.check_name(&site)?;
                Target::Site(site)
            }
            Token::Word(site) if site == "input" || site == "output" => Target::Site(site),
            Token::Word(_) => return self.word("a variable").map(Target::Variable),
            _ => return Err(self.unexpected("a step")),
        };
        self.advance();
        Ok(target)
    }
}

/// What an assignment gives a value to.
enum Target {
    Variable(String),
    Site(String),
}

impl Target {
    fn assign(self, brackets: Option<&Brackets>, operator: &str, right: Expr) -> Action {
        let now = match &self {
            Self::Variable(name) => Expr::Var(name.clone()),
            Self::Site(name) => Expr::Read(name.clone()),
        };
        let part = match brackets {
            Some(brackets) => brackets.of(now.clone()),
            None => now.clone(),
        };
        let value = match operator {
            "+=" => part + right,
            "-=" => part - right,
            "*=" => part * right,
            "/=" => part / right,
            _ => right,
        };
        let value = match brackets {
            Some(brackets) => brackets.patch(now, value),
            None => value,
        };
        match self {
            Self::Variable(variable) => Action::Let { variable, value },
            Self::Site(site) => Action::Write {
                site,
                value,
                reshape: false,
            },
        }
    }
}
