//! The language of programs: steps, line by line, over sites, variables and given values.
//!
//! docs/EXPERIMENTS.md has the grammar. [`parse`] reads a program, [`to_text`] writes one, and the
//! two agree: what is written is read as the same program. A program is read without a model;
//! [`resolve`] then completes the names that a model's sites make clear, such as `layers.3.attn`
//! for `layers.3.attn.output`.

mod assignment;
mod binding;
mod brackets;
mod expression;
mod lexer;
mod resolve;
mod steps;
mod write;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

use interloom_program::Program;

use super::source::Located;

pub(super) use expression::is_free;
pub(super) use lexer::{NAME_BYTES_MAX, is_swept_word, is_word};
pub(super) use resolve::resolve;
pub use write::to_text;

/// What the text of a program should be at a place, and what it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SyntaxError {
    /// The place in bytes.
    pub(super) at: usize,
    pub(super) expected: String,
    pub(super) found: String,
}

impl SyntaxError {
    fn new(at: usize, expected: &str, found: String) -> Self {
        Self {
            at,
            expected: expected.to_owned(),
            found,
        }
    }
}

/// Reads a program; `line` says in which line of the file a byte stands.
///
/// # Errors
///
/// The first place at which the text is no program, in bytes of the file.
pub(super) fn parse(text: &Located, line: impl Fn(usize) -> u32) -> Result<Program, SyntaxError> {
    let in_file = |error: SyntaxError| SyntaxError {
        at: text.offset(error.at),
        ..error
    };
    let tokens = lexer::tokens(text.text()).map_err(in_file)?;
    let line_of = |at: usize| line(text.offset(at));
    let steps = steps::parse(tokens, &line_of).map_err(in_file)?;
    let mut program = Program::new();
    program.steps = steps;
    Ok(program)
}
