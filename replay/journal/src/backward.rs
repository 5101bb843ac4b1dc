//! The backward passes of a run, as its visits say, and how they are called in words.

use super::record::BackwardTurn;

/// The backward passes of a run up to some visit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Passes {
    begun: u32,
    is_under_way: bool,
}

impl Passes {
    /// Takes the turn of a visit, and returns the number of the pass that the visit is of, from 0.
    pub(super) fn visit(&mut self, turn: Option<BackwardTurn>) -> Option<u32> {
        match turn {
            Some(BackwardTurn::Begin) => {
                self.begun = self.begun.saturating_add(1);
                self.is_under_way = true;
            }
            Some(BackwardTurn::End) => self.is_under_way = false,
            None => {}
        }
        self.of(turn)
    }

    /// Returns the number of the pass that the last visit is of, if that had this turn.
    pub(super) fn of(self, turn: Option<BackwardTurn>) -> Option<u32> {
        let is_of_one = self.is_under_way || turn.is_some();
        self.begun.checked_sub(1).filter(|_| is_of_one)
    }

    /// Returns the number of the pass under way.
    pub(super) fn under_way(self) -> Option<u32> {
        self.of(None)
    }
}

/// Returns in which pass a model is, in words: `in backward pass 0`, `backward pass 0 begins`.
pub(super) fn phase(pass: Option<u32>, turn: Option<BackwardTurn>) -> String {
    let pass = pass.map(|pass| format!("backward pass {pass}"));
    // A pass that ends without having begun has no number.
    let named = pass.as_deref().unwrap_or("a backward pass");
    match turn {
        Some(turn) => format!("{named} {}", turn.name()),
        None => format!("in {}", pass.as_deref().unwrap_or("the forward pass")),
    }
}
