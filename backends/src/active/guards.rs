//! Checks of what a model is given, by its caller and by mediators.
//!
//! - An input that does not have the rows of the invokes: each of them would be served whole
//!   values.
//! - A tensor without elements where there were some: what the kernels of a device do with one is
//!   not defined, and some read what is not theirs. A model's own input without elements is let
//!   through, for some models can do with it, and is kept in mind for the case that this one
//!   panics.

use interloom_engine::{Interleaver, Misfit, Point, Port};

use super::slot::{halt_with, look};
use super::{Visitor, recover};
use crate::erase::Erase;
use crate::error::ForwardError;
use crate::value::Value;

/// The guards of a run.
pub(super) struct Guards {
    /// The model's input, until it has been seen.
    unchecked: Option<Point>,
    /// The model's output, which goes into no kernel.
    last: Option<Point>,
    /// What the model was given, if a tensor of it has no elements.
    empty_input: Option<String>,
    /// Whether the model has come to the site at hand with a tensor that has no elements.
    was_empty: bool,
}

impl Guards {
    pub(super) fn of(run: &Interleaver<Value>) -> Self {
        Self {
            unchecked: run.map().point_at("", Port::Input),
            last: run.map().point_at("", Port::Output),
            empty_input: None,
            was_empty: false,
        }
    }

    /// Returns whether the model's input has not been seen yet.
    #[inline]
    pub(super) const fn expects_input(&self) -> bool {
        self.unchecked.is_some()
    }

    /// Returns what the model was given, if a tensor of it has no elements.
    pub(super) fn into_empty_input(self) -> Option<String> {
        self.empty_input
    }

    /// Looks at the model's input; returns how many rows the invokes declare if it has not as many.
    fn see_input(&mut self, run: &Interleaver<Value>, input: &Value) -> Result<(), u32> {
        self.unchecked = None;
        if input.has_empty() {
            self.empty_input = Some(input.to_string());
        }
        // A model that declares where its rows are is taken at its word.
        let declared = run.batch();
        let counts = declared > 0 && !run.map().declares_rows();
        if counts && input.has_rows(declared) == Some(false) {
            return Err(declared);
        }
        Ok(())
    }
}

impl Visitor for Guards {
    fn enter(&mut self, _: &Interleaver<Value>, _: Point, value: Option<&Value>) {
        self.was_empty = value.is_some_and(Value::has_empty);
    }

    fn leave(
        &mut self,
        run: &Interleaver<Value>,
        point: Point,
        value: Option<&Value>,
    ) -> Result<(), Misfit> {
        let Some(value) = value.filter(|_| !self.was_empty && self.last != Some(point)) else {
            return Ok(());
        };
        // Only a reshaping swap or a skip can have emptied it.
        if run.has_reshaped(point) && value.has_empty() {
            return Err(Misfit {
                expected: "tensors with elements".to_owned(),
                found: value.to_string(),
            });
        }
        Ok(())
    }
}

/// Looks at the input of the whole model, once in a run, and unwinds the model if the rows of the
/// invokes are not in it.
pub(super) fn check_input<I: Erase>(point: Point, input: I) -> I {
    let is_due = look(|run| run.visitors.0.unchecked == Some(point));
    if is_due != Some(true) {
        return input;
    }
    let input = input.erase();
    let seen = look(|run| run.visitors.0.see_input(&run.interleaver, &input));
    if let Some(Err(declared)) = seen {
        let input = input.to_string();
        halt_with(point, |_, _| ForwardError::Rows { declared, input });
    }
    recover(point, input)
}
