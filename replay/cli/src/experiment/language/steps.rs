//! Steps, and the parser's way along the tokens.

use interloom_program::{Action, BODIES_MAX, Expr, Over, ProgramStep, Side};

use super::SyntaxError;
use super::lexer::{QUOTED_BYTES_MAX, Token, check_length};

/// The words that are no variables.
const RESERVED: [&str; 23] = [
    "and", "append", "backward", "barrier", "cache", "catch", "else", "for", "if", "in", "mark",
    "next", "not", "or", "put", "raise", "reshape", "save", "skip", "stop", "try", "while",
    "write",
];

/// The names that stand for something else than a variable where a value is read.
const NAMED: [&str; 4] = ["inf", "nan", "input", "output"];

pub(super) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// Returns whether a word can be the name of a variable.
pub(super) fn is_variable(word: &str) -> bool {
    super::is_word(word) && !is_reserved(word) && !NAMED.contains(&word)
}

/// Reads the steps of a whole program.
pub(super) fn parse(
    tokens: Vec<(Token, usize)>,
    line: &dyn Fn(usize) -> u32,
) -> Result<Vec<ProgramStep>, SyntaxError> {
    let mut parser = Parser {
        tokens,
        next: 0,
        line,
        nesting: 0,
        bodies: 0,
    };
    let steps = parser.steps()?;
    match parser.peek() {
        Token::End => Ok(steps),
        _ => Err(parser.unexpected("a step")),
    }
}

pub(super) struct Parser<'l> {
    /// They end with [`Token::End`].
    tokens: Vec<(Token, usize)>,
    pub(super) next: usize,
    line: &'l dyn Fn(usize) -> u32,
    pub(super) nesting: u32,
    bodies: u32,
}

impl Parser<'_> {
    pub(super) fn peek(&self) -> &Token {
        &self.tokens[self.next].0
    }

    /// Returns the byte at which the next token begins.
    pub(super) fn at(&self) -> usize {
        self.tokens[self.next].1
    }

    pub(super) fn advance(&mut self) {
        self.next = (self.next + 1).min(self.tokens.len() - 1);
    }

    pub(super) fn take(&mut self, symbol: &'static str) -> bool {
        let is_next = self.peek() == &Token::Symbol(symbol);
        if is_next {
            self.advance();
        }
        is_next
    }

    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let is_next = matches!(self.peek(), Token::Word(next) if next == word);
        if is_next {
            self.advance();
        }
        is_next
    }

    pub(super) fn expect(&mut self, symbol: &'static str) -> Result<(), SyntaxError> {
        match self.take(symbol) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("`{symbol}`"))),
        }
    }

    pub(super) fn skip_lines(&mut self) {
        while self.peek() == &Token::Line {
            self.advance();
        }
    }

    /// Says that something else should be next.
    pub(super) fn unexpected(&self, expected: &str) -> SyntaxError {
        SyntaxError::new(self.at(), expected, self.peek().to_string())
    }

    /// Reads a variable's name, or one like it.
    pub(super) fn word(&mut self, what: &str) -> Result<String, SyntaxError> {
        match self.peek().clone() {
            Token::Word(word) if is_variable(&word) => {
                self.advance();
                Ok(word)
            }
            Token::Word(word) => {
                let found = format!("`{word}`, which is a word of the language");
                Err(SyntaxError::new(self.at(), what, found))
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// Reads a name of any form: a word, a path, or a text in quotes.
    pub(super) fn name(&mut self, what: &str) -> Result<String, SyntaxError> {
        match self.peek().clone() {
            Token::Word(name) | Token::Path(name) | Token::Text(name) => {
                self.check_name(&name)?;
                self.advance();
                Ok(name)
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// Checks that the text at hand is short enough to be a name.
    pub(super) fn check_name(&self, name: &str) -> Result<(), SyntaxError> {
        check_length(self.at(), name.len(), QUOTED_BYTES_MAX)
    }

    pub(super) fn text(&mut self, what: &str) -> Result<String, SyntaxError> {
        match self.peek().clone() {
            Token::Text(text) => {
                self.advance();
                Ok(text)
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// Reads steps up to the end of the body or of the program.
    fn steps(&mut self) -> Result<Vec<ProgramStep>, SyntaxError> {
        let mut steps = Vec::new();
        loop {
            while self.peek() == &Token::Line || self.peek() == &Token::Symbol(";") {
                self.advance();
            }
            if matches!(self.peek(), Token::End | Token::Symbol("}")) {
                return Ok(steps);
            }
            let line = Some((self.line)(self.at()));
            let actions = self.actions()?;
            let is_pass = matches!(actions[..], [Action::Backward { .. }]);
            steps.extend(
                actions
                    .into_iter()
                    .map(|action| ProgramStep { action, line }),
            );
            // What is done in the pass is done after it was asked for: the braces only show it.
            if is_pass && self.peek() == &Token::Symbol("{") {
                steps.extend(self.body()?);
            }
            let is_end = matches!(
                self.peek(),
                Token::End | Token::Line | Token::Symbol("}" | ";")
            );
            if !is_end {
                return Err(self.unexpected("the end of the step"));
            }
        }
    }

    fn body(&mut self) -> Result<Vec<ProgramStep>, SyntaxError> {
        self.inside(|parser| {
            parser.expect("{")?;
            let steps = parser.steps()?;
            match parser.take("}") {
                true => Ok(steps),
                false => Err(parser.unexpected("a step, or the `}` of this body")),
            }
        })
    }

    /// Reads what is inside one body more.
    fn inside<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        if self.bodies == BODIES_MAX {
            let expected = format!("at most {BODIES_MAX} bodies inside one another");
            return Err(SyntaxError::new(self.at(), &expected, "more".to_owned()));
        }
        self.bodies += 1;
        let result = read(self);
        self.bodies -= 1;
        result
    }

    /// Reads one line: a step, or several that it stands for.
    fn actions(&mut self) -> Result<Vec<Action>, SyntaxError> {
        let word = match self.peek() {
            Token::Word(word) if is_reserved(word) => word.clone(),
            _ => return self.assignment().map(|action| vec![action]),
        };
        if word == "save" {
            self.advance();
            return self.save();
        }
        let start = self.at();
        self.advance();
        let action = match word.as_str() {
            "reshape" => self.write(true)?,
            "write" => self.write(false)?,
            "skip" => {
                let site = self.name("the module that is skipped")?;
                let value = self.assigned()?;
                Action::Skip { site, value }
            }
            "stop" => Action::Stop,
            "raise" => {
                let message = self.text("a message in quotes")?;
                Action::Raise { message }
            }
            "mark" => {
                let text = self.text("a note in quotes")?;
                Action::Mark { text }
            }
            "try" => self.attempt()?,
            "if" => self.choice()?,
            "for" => self.each()?,
            "next" => self.step_on()?,
            "append" => self.append()?,
            "barrier" => {
                let name = self.name("the name of a barrier")?;
                Action::Barrier { name }
            }
            "put" => {
                let name = self.name("a name")?;
                let value = self.assigned()?;
                Action::Put { name, value }
            }
            // Braces would be those of the steps after a loss that is missing.
            "backward" if self.peek() == &Token::Symbol("{") => {
                return Err(self.unexpected("a loss, which is a value of one element"));
            }
            "backward" => {
                let loss = self.value()?;
                Action::Backward { loss }
            }
            "cache" => self.cache()?,
            word => {
                let found = format!("`{word}`, which begins no step");
                return Err(SyntaxError::new(start, "a step", found));
            }
        };
        Ok(vec![action])
    }

    fn write(&mut self, reshape: bool) -> Result<Action, SyntaxError> {
        let site = self.name("a site")?;
        let value = self.assigned()?;
        Ok(Action::Write {
            site,
            value,
            reshape,
        })
    }

    /// Reads `= value`.
    fn assigned(&mut self) -> Result<Expr, SyntaxError> {
        self.expect("=")?;
        self.value()
    }

    fn save(&mut self) -> Result<Vec<Action>, SyntaxError> {
        let variable = self.word("the variable that is saved")?;
        if self.take("=") {
            if self.empty_list() {
                let list = variable.clone();
                return Ok(vec![
                    Action::List { variable: list },
                    Action::Save { variable },
                ]);
            }
            let value = self.value()?;
            let set = Action::Let {
                variable: variable.clone(),
                value,
            };
            return Ok(vec![set, Action::Save { variable }]);
        }
        let mut actions = vec![Action::Save { variable }];
        while self.take(",") {
            let variable = self.word("the variable that is saved")?;
            actions.push(Action::Save { variable });
        }
        Ok(actions)
    }

    fn attempt(&mut self) -> Result<Action, SyntaxError> {
        let body = self.body()?;
        let error = match self.take_after_lines("catch") {
            true => Some(self.word("the name of the error that is caught")?),
            false => None,
        };
        Ok(Action::Try { body, error })
    }

    fn choice(&mut self) -> Result<Action, SyntaxError> {
        let condition = self.condition()?;
        let then = self.body()?;
        let otherwise = match self.take_after_lines("else") {
            true => self.otherwise()?,
            false => Vec::new(),
        };
        Ok(Action::If {
            condition,
            then,
            otherwise,
        })
    }

    /// Reads what stands after `else`: a body, or another `if`, whose steps are inside of it and
    /// count so.
    fn otherwise(&mut self) -> Result<Vec<ProgramStep>, SyntaxError> {
        if !matches!(self.peek(), Token::Word(word) if word == "if") {
            return self.body();
        }
        let line = Some((self.line)(self.at()));
        let action = self.inside(|parser| {
            parser.advance();
            parser.choice()
        })?;
        Ok(vec![ProgramStep { action, line }])
    }

    /// Takes a word that may stand on a later line; if it is not there, the lines are left as they
    /// are.
    fn take_after_lines(&mut self, word: &str) -> bool {
        let start = self.next;
        self.skip_lines();
        let found = self.take_word(word);
        if !found {
            self.next = start;
        }
        found
    }

    fn each(&mut self) -> Result<Action, SyntaxError> {
        let variable = self.word("the variable of the loop")?;
        if !self.take_word("in") {
            return Err(self.unexpected("`in`"));
        }
        let iterations = self.over()?;
        let body = self.body()?;
        Ok(Action::Each {
            iterations,
            variable,
            body,
        })
    }

    fn over(&mut self) -> Result<Over, SyntaxError> {
        if self.take("[") {
            self.skip_lines();
            let mut list = Vec::new();
            while !self.take("]") {
                list.push(self.count()?);
                self.skip_lines();
                if self.take("]") {
                    break;
                }
                self.separator("]")?;
            }
            return Ok(Over::List(list));
        }
        let start = self.optional_count()?;
        if self.take("..") {
            let end = self.optional_count()?;
            return Ok(Over::Slice { start, end });
        }
        match start {
            Some(start) => Ok(Over::One(start)),
            None => Err(self.unexpected("iterations, such as `..`, `0..8`, `[0, 2, 5]` or `3`")),
        }
    }

    fn step_on(&mut self) -> Result<Action, SyntaxError> {
        let by = self.optional_count()?.unwrap_or(1);
        Ok(Action::Next { by })
    }

    fn optional_count(&mut self) -> Result<Option<u32>, SyntaxError> {
        match self.peek() {
            Token::Number(..) => self.count().map(Some),
            _ => Ok(None),
        }
    }

    fn count(&mut self) -> Result<u32, SyntaxError> {
        const EXPECTED: &str = "a whole number below 2^32";
        let Token::Number(number, whole) = *self.peek() else {
            return Err(self.unexpected(EXPECTED));
        };
        let at = self.at();
        self.advance();
        let count = whole.and_then(|whole| u32::try_from(whole).ok());
        count.ok_or_else(|| SyntaxError::new(at, EXPECTED, number.to_string()))
    }

    fn append(&mut self) -> Result<Action, SyntaxError> {
        self.expect("(")?;
        let list = self.word("the variable of a list")?;
        self.expect(",")?;
        self.skip_lines();
        let value = self.value()?;
        self.skip_lines();
        self.expect(")")?;
        Ok(Action::Append { list, value })
    }

    fn cache(&mut self) -> Result<Action, SyntaxError> {
        const SIDES: &str = "`outputs(…)`, `inputs(…)` or `both(…)`";
        let name = self.name("the name of the cache")?;
        self.expect("=")?;
        let side = match self.peek() {
            Token::Word(word) if word == "outputs" => Side::Outputs,
            Token::Word(word) if word == "inputs" => Side::Inputs,
            Token::Word(word) if word == "both" => Side::Both,
            _ => return Err(self.unexpected(SIDES)),
        };
        self.advance();
        self.expect("(")?;
        self.skip_lines();
        let modules = match self.take("..") {
            true => None,
            false => Some(self.modules()?),
        };
        self.skip_lines();
        self.expect(")")?;
        let gradients = self.take_word("grad");
        Ok(Action::Cache {
            name,
            modules,
            side,
            gradients,
        })
    }

    fn modules(&mut self) -> Result<Vec<String>, SyntaxError> {
        let mut modules = Vec::new();
        while self.peek() != &Token::Symbol(")") {
            modules.push(self.name("the path of a module, or `..` for all of them")?);
            self.skip_lines();
            if !self.take(",") {
                break;
            }
            self.skip_lines();
        }
        Ok(modules)
    }
}
