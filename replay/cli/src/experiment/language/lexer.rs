//! From the text of a program to its words.

use std::fmt;

use super::SyntaxError;

/// How long a name may be, in bytes.
pub(in crate::experiment) const NAME_BYTES_MAX: usize = 256;

/// How long a name in quotes may be, in bytes: it is compared with others. Other texts are as long
/// as the file.
pub(super) const QUOTED_BYTES_MAX: usize = 4096;

/// How much of a text a message shows, in characters.
const TEXT_SHOWN_MAX: usize = 64;

/// The longest symbols first, so that `..` is not two.
const SYMBOLS: [&str; 26] = [
    "..", "+=", "-=", "*=", "/=", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", ",", ":",
    ";", "=", "+", "-", "*", "/", "<", ">", "$",
];

/// The smallest part of a program that means something.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A number that is not negative; also as a whole one, if it is written so.
    Number(f64, Option<u64>),
    /// A name without dots.
    Word(String),
    /// A name with dots, such as `layers.3.output`.
    Path(String),
    /// A text in quotes.
    Text(String),
    Symbol(&'static str),
    /// The end of a line.
    Line,
    /// The end of the program.
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number, _) => write!(f, "the number {number}"),
            Self::Word(name) | Self::Path(name) => write!(f, "`{name}`"),
            Self::Text(text) => {
                let shown: String = text.chars().take(TEXT_SHOWN_MAX).collect();
                let more = if shown.len() < text.len() { "…" } else { "" };
                write!(f, "the text {shown:?}{more}")
            }
            Self::Symbol(symbol) => write!(f, "`{symbol}`"),
            Self::Line => f.write_str("the end of the line"),
            Self::End => f.write_str("the end of the program"),
        }
    }
}

/// Returns the tokens of a text with the byte at which each begins; the last one is the end.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, SyntaxError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks();
        let at = lexer.at;
        let token = lexer.token()?;
        let is_end = token == Token::End;
        tokens.push((token, at));
        if is_end {
            return Ok(tokens);
        }
    }
}

/// Returns whether a name is one word.
pub(in crate::experiment) fn is_word(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(is_of_word)
}

/// Returns whether a name is one word, in which numbers may have a point and signs: what sweeps
/// make of their values.
///
/// A point or a sign stands before a digit, so that no such name begins or ends with one, and none
/// has two points in a row: it can be a part of a path in a program, and of the name of a file.
pub(in crate::experiment) fn is_swept_word(name: &str) -> bool {
    let is_part = |(at, part): (usize, char)| {
        let is_mark = matches!(part, '.' | '-' | '+');
        is_of_word(part)
            || is_mark && name[at + 1..].starts_with(|next: char| next.is_ascii_digit())
    };
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.char_indices().all(is_part)
}

/// Returns whether a name is words and numbers with dots between them.
pub(super) fn is_path(name: &str) -> bool {
    let mut parts = name.split('.');
    name.len() <= NAME_BYTES_MAX
        && parts.next().is_some_and(is_word)
        && name.contains('.')
        && parts.all(|part| !part.is_empty() && part.chars().all(is_of_word))
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        let rest = rest.trim_start_matches([' ', '\t', '\r']);
        let rest = match rest.starts_with('#') {
            true => rest.find('\n').map_or("", |end| &rest[end..]),
            false => rest,
        };
        self.at = self.text.len() - rest.len();
    }

    fn token(&mut self) -> Result<Token, SyntaxError> {
        let Some(first) = self.rest().chars().next() else {
            return Ok(Token::End);
        };
        match first {
            '\n' => {
                self.at += 1;
                Ok(Token::Line)
            }
            '0'..='9' => self.number(),
            '"' | '\'' => self.quoted(first),
            first if first.is_ascii_alphabetic() || first == '_' => self.name(),
            _ => self.symbol(),
        }
    }

    fn symbol(&mut self) -> Result<Token, SyntaxError> {
        let rest = self.rest();
        let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) else {
            let found = rest.chars().next().unwrap_or(' ');
            let found = format!("the character {found:?}");
            return Err(SyntaxError::new(self.at, "a step or an expression", found));
        };
        self.at += symbol.len();
        Ok(Token::Symbol(symbol))
    }

    fn name(&mut self) -> Result<Token, SyntaxError> {
        let start = self.at;
        self.take(is_of_word);
        let mut is_path = false;
        while let Some(after) = self.rest().strip_prefix('.') {
            if !after.starts_with(is_of_word) {
                break;
            }
            self.at += 1;
            self.take(is_of_word);
            is_path = true;
        }
        let name = self.text[start..self.at].to_owned();
        check_length(start, name.len(), NAME_BYTES_MAX)?;
        Ok(match is_path {
            true => Token::Path(name),
            false => Token::Word(name),
        })
    }

    fn number(&mut self) -> Result<Token, SyntaxError> {
        let start = self.at;
        let digit = |character: char| character.is_ascii_digit();
        self.take(digit);
        let mut is_whole = true;
        let fraction = self.rest().strip_prefix('.');
        if fraction.is_some_and(|fraction| fraction.starts_with(digit)) {
            self.at += 1;
            self.take(digit);
            is_whole = false;
        }
        if let Some(exponent) = self.rest().strip_prefix(['e', 'E']) {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.starts_with(digit) {
                self.at += 1 + (exponent.len() - digits.len());
                self.take(digit);
                is_whole = false;
            }
        }
        let text = &self.text[start..self.at];
        if let Some(found) = self.rest().chars().next().filter(|&next| is_of_word(next)) {
            let found = format!("`{text}` and then {found:?}");
            return Err(SyntaxError::new(
                start,
                "a number such as 3 or 0.5e-3",
                found,
            ));
        }
        let number = text.parse().expect("digits, a fraction and an exponent");
        let whole = is_whole.then(|| text.parse().ok()).flatten();
        Ok(Token::Number(number, whole))
    }

    fn quoted(&mut self, quote: char) -> Result<Token, SyntaxError> {
        let start = self.at;
        let mut text = String::new();
        self.at += 1;
        let mut characters = self.rest().char_indices();
        while let Some((at, character)) = characters.next() {
            let character = match character {
                '\n' => break,
                '\\' => match characters.next().map(|(_, escaped)| escaped) {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some(escaped @ ('\\' | '"' | '\'')) => escaped,
                    other => {
                        let found = other.map_or(String::new(), String::from);
                        let found = format!("`\\{found}`");
                        let expected = r#"one of the escapes \\ \" \' \n \r \t"#;
                        return Err(SyntaxError::new(self.at + at, expected, found));
                    }
                },
                end if end == quote => {
                    self.at += at + 1;
                    return Ok(Token::Text(text));
                }
                other => other,
            };
            text.push(character);
        }
        let expected = format!("a closing {quote} on the same line");
        Err(SyntaxError::new(start, &expected, "none".to_owned()))
    }

    fn take(&mut self, is_part: impl Fn(char) -> bool) {
        let rest = self.rest();
        let end = rest.find(|character| !is_part(character));
        self.at += end.unwrap_or(rest.len());
    }
}

pub(super) fn check_length(at: usize, length: usize, limit: usize) -> Result<(), SyntaxError> {
    match length > limit {
        false => Ok(()),
        true => {
            let expected = format!("at most {limit} bytes");
            Err(SyntaxError::new(at, &expected, format!("{length} of them")))
        }
    }
}

fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let tokens = tokens(text).unwrap();
        tokens.iter().map(|(token, _)| token.to_string()).collect()
    }

    #[test]
    fn a_range_is_not_a_fraction_and_a_path_is_one_token() {
        assert_eq!(
            words("0..8 1.5e-3 layers.3.attn.pattern.i2 h[..] # comment").join(" | "),
            "the number 0 | `..` | the number 8 | the number 0.0015 | `layers.3.attn.pattern.i2` | `h` | `[` | `..` | `]` \
             | the end of the program"
        );
        assert_eq!(words("'a\\'b\\\\'")[0], r#"the text "a'b\\""#);
    }

    #[test]
    fn names_are_words_or_paths_or_neither() {
        for (name, word, path) in [
            ("h", true, false),
            ("_1", true, false),
            ("1a", false, false),
            ("a.0", false, true),
            ("a..b", false, false),
            ("a.", false, false),
            ("", false, false),
            ("a b", false, false),
        ] {
            assert_eq!((is_word(name), is_path(name)), (word, path), "{name:?}");
        }
    }

    #[test]
    fn numbers_in_swept_names_have_points_and_signs() {
        for name in ["a", "scale_-0.5", "k_1e-3", "k_1.5e+3", "x_2.h_3", "a-1"] {
            assert_eq!(is_swept_word(name), name != "x_2.h_3", "{name:?}");
        }
        for name in [
            "", "-1", "0.5", ".5", "a.", "a-", "a..5", "a--1", "a.b", "a/1", "a b", "é",
        ] {
            assert!(!is_swept_word(name), "{name:?}");
        }
    }

    #[test]
    fn what_is_no_token_is_shown() {
        let message = |text: &str| {
            let error = tokens(text).unwrap_err();
            format!(
                "byte {}: expected {}, found {}",
                error.at, error.expected, error.found
            )
        };
        insta::assert_snapshot!(message("h = 3x"), @"byte 4: expected a number such as 3 or 0.5e-3, found `3` and then 'x'");
        let long = "a".repeat(257);
        insta::assert_snapshot!(message(&long), @"byte 0: expected at most 256 bytes, found 257 of them");
        assert!(!is_word(&long) && !is_path(&format!("{long}.a")));
        insta::assert_snapshot!(message("h ? x"), @"byte 2: expected a step or an expression, found the character '?'");
        insta::assert_snapshot!(message("mark \"abc"), @r#"byte 5: expected a closing " on the same line, found none"#);
        insta::assert_snapshot!(message(r#"mark "a\q""#), @r#"byte 7: expected one of the escapes \\ \" \' \n \r \t, found `\q`"#);
    }
}
