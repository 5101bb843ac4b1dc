//! The states of a mediator and the one table of its transitions.
//!
//! [`TRANSITIONS`] is the authority: the interleaver looks every change of state up in it, and a
//! pair that it does not list is a defect of the interleaver, never of a mediator.

use std::fmt;

/// The state of a mediator in its run.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum State {
    /// Added to the run, not started.
    Registered,
    /// Its own code runs now.
    Running,
    /// It waits for a site.
    Waiting,
    /// A child acts in its place until that ends.
    Delegating,
    /// It waits for other mediators.
    AtBarrier,
    /// It is done.
    Ended,
    /// It ended the model's run.
    Stopped,
    /// It failed.
    Failed,
    /// The run ended before it did.
    Cancelled,
}

impl State {
    /// Every state, in order.
    pub const ALL: [Self; 9] = [
        Self::Registered,
        Self::Running,
        Self::Waiting,
        Self::Delegating,
        Self::AtBarrier,
        Self::Ended,
        Self::Stopped,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Returns whether nothing can happen to a mediator in this state any more.
    pub const fn is_retired(self) -> bool {
        matches!(
            self,
            Self::Ended | Self::Stopped | Self::Failed | Self::Cancelled
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registered => "registered",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Delegating => "delegating",
            Self::AtBarrier => "at a barrier",
            Self::Ended => "ended",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// A trigger, which moves a mediator from one state to the next.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Trigger {
    /// The run starts it.
    Start,
    /// It asks for a VALUE, a SWAP or a SKIP.
    Ask,
    /// The model is at the site that it waits for, and its request is answered.
    Serve,
    /// The model will not pass that site any more, and its request is refused.
    Refuse,
    /// REGISTER: it hands control to a child.
    Register,
    /// Its child ended.
    Return,
    /// BARRIER: it arrived.
    Arrive,
    /// The last participant of its barrier arrived.
    Release,
    /// BACKWARD: its loss is taken for the next backward pass.
    Backward,
    /// STOP.
    Stop,
    /// END.
    End,
    /// EXCEPTION.
    Exception,
    /// The run is over.
    Cancel,
}

impl Trigger {
    /// Every trigger, in order.
    pub const ALL: [Self; 13] = [
        Self::Start,
        Self::Ask,
        Self::Serve,
        Self::Refuse,
        Self::Register,
        Self::Return,
        Self::Arrive,
        Self::Release,
        Self::Backward,
        Self::Stop,
        Self::End,
        Self::Exception,
        Self::Cancel,
    ];
}

/// One legal change of state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// What happens.
    pub on: Trigger,
    /// The state after.
    pub to: State,
}

const fn transition(from: State, on: Trigger, to: State) -> Transition {
    Transition { from, on, to }
}

/// Every legal change of state.
pub const TRANSITIONS: &[Transition] = &[
    transition(State::Registered, Trigger::Start, State::Running),
    transition(State::Running, Trigger::Ask, State::Waiting),
    transition(State::Running, Trigger::Register, State::Delegating),
    transition(State::Running, Trigger::Arrive, State::AtBarrier),
    transition(State::Running, Trigger::Backward, State::Running),
    transition(State::Running, Trigger::Stop, State::Stopped),
    transition(State::Running, Trigger::End, State::Ended),
    transition(State::Running, Trigger::Exception, State::Failed),
    transition(State::Waiting, Trigger::Serve, State::Running),
    transition(State::Waiting, Trigger::Refuse, State::Running),
    transition(State::Waiting, Trigger::Cancel, State::Cancelled),
    transition(State::Delegating, Trigger::Return, State::Running),
    transition(State::Delegating, Trigger::Stop, State::Stopped),
    transition(State::Delegating, Trigger::Exception, State::Failed),
    transition(State::Delegating, Trigger::Cancel, State::Cancelled),
    transition(State::AtBarrier, Trigger::Release, State::Running),
    transition(State::AtBarrier, Trigger::Cancel, State::Cancelled),
];

/// Returns the state that `from` changes to on `on`, if that is legal.
pub const fn next(from: State, on: Trigger) -> Option<State> {
    NEXT[from as usize][on as usize]
}

/// [`TRANSITIONS`] as a square, so that a look-up is two index operations.
const NEXT: [[Option<State>; Trigger::ALL.len()]; State::ALL.len()] = {
    let mut square = [[None; Trigger::ALL.len()]; State::ALL.len()];
    let mut row = 0;
    while row < TRANSITIONS.len() {
        let Transition { from, on, to } = TRANSITIONS[row];
        assert!(
            square[from as usize][on as usize].is_none(),
            "two transitions for one pair"
        );
        square[from as usize][on as usize] = Some(to);
        row += 1;
    }
    square
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_as_the_table_says() {
        for from in State::ALL {
            for on in Trigger::ALL {
                let listed = TRANSITIONS
                    .iter()
                    .find(|row| row.from == from && row.on == on);
                assert_eq!(next(from, on), listed.map(|row| row.to), "{from:?} {on:?}");
            }
        }
    }

    #[test]
    fn r61_a_retired_mediator_stays_so() {
        for from in State::ALL.into_iter().filter(|state| state.is_retired()) {
            assert!(Trigger::ALL.into_iter().all(|on| next(from, on).is_none()));
        }
    }

    #[test]
    fn whoever_waits_can_be_cancelled() {
        for from in State::ALL.into_iter().filter(|state| !state.is_retired()) {
            let cancelled = next(from, Trigger::Cancel) == Some(State::Cancelled);
            // Every mediator is started with the run, and none is moved while its own code runs.
            let waits = !matches!(from, State::Registered | State::Running);
            assert_eq!(cancelled, waits, "{from:?}");
        }
    }
}
