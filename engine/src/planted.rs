//! Defects of the interleaver that its own tests switch on, to see that they would be found.
//!
//! A test that cannot fail shows nothing. Each [`Bug`] is a plausible mistake; `tests` below finds
//! every one by comparing the interleaver with the reference, or by exploring, and shrinks the
//! program that shows it to the size that is known to be the least. Outside the unit tests of this
//! crate no bug can be switched on, and the compiler removes the questions.

/// A mistake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Bug {
    /// A swap by a mediator with rows of its own changes nothing.
    LostSwap,
    /// A swap changes nothing while an earlier mediator has not had its turn; in definition order
    /// this never happens.
    LostOutOfTurn,
    /// An exchange at a site is seen twice.
    DoubleServe,
    /// Every mediator with rows reads the first ones.
    WrongRows,
    /// A mediator that sees the whole batch reads the value as it was before all swaps.
    #[cfg(test)] // It takes a value that is kept for this only.
    StaleRead,
    /// A swap of the whole value may change its shape.
    UncheckedSwap,
    /// A barrier opens when one is missing.
    BarrierOffByOne,
    /// Who is released continues in the order of arrival.
    ReleaseByArrival,
    /// Who is released does not get the value at hand.
    DeafRelease,
    /// A module is skipped although not all invokes skip it.
    SkipInOneInvoke,
    /// Of several skips of the whole batch the first one counts.
    FirstSkipWins,
    /// A replacement for the whole batch counts, whichever mediators skip for their own rows.
    WholeSkipWins,
    /// A pass of a module that is skipped does not count for the sites inside it.
    SkipUncounted,
    /// A name on the blackboard is written once.
    KeepsFirstPut,
    /// A loop over all steps continues after the last one.
    OneStepMore,
    /// A parent has its child's iteration when it continues.
    WrongIteration,
    /// A mediator cannot advance its own iteration.
    ForgottenNext,
    /// A site that has just been passed is waited for.
    LateRefusal,
    /// A child comes too late for the site at hand.
    LateRegistration,
    /// The END of a child is not seen.
    DroppedEnd,
    /// The model continues after a STOP.
    IgnoredStop,
    /// After a STOP no mediator is served at this site.
    HastyStop,
    /// Of several stops the last one is named.
    LastStopNamed,
    /// A cache has the values before the swaps.
    CacheBeforeSwap,
    /// A gradient that was passed is waited for.
    LateGradient,
    /// Who asked for a backward pass waits on for what it did not reach.
    UnreachedWaits,
    /// A stop keeps the backward pass at its site from being made.
    StopDropsLosses,
    /// The gradient of what is not declared is waited for.
    UndeclaredWaits,
    /// A mediator with some of the rows swaps the gradient of a parameter.
    ParameterOfRows,
}

/// Returns whether a bug is switched on: never.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn has(_: Bug) -> bool {
    false
}

#[cfg(test)]
pub(crate) use self::switch::has;

#[cfg(test)]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Returns whether a bug is switched on.
    pub(crate) fn has(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Switches a bug on while something is done on this thread.
    pub(super) fn with<T>(bug: Bug, work: impl FnOnce() -> T) -> T {
        PLANTED.set(Some(bug));
        let done = work();
        PLANTED.set(None);
        done
    }
}

#[cfg(test)]
mod tests;
