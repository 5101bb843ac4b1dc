//! Why something failed, as the rules, Interloom and the reference tell it apart.

use std::fmt;

/// Cause of a failure: of the rules, under Interloom's code, or a class of the reference's errors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cause {
    UnknownSite,
    OutOfOrder,
    NotProvided,
    Misfit,
    NotSkippable,
    NotOwner,
    Type,
    Panicked,
    Raised,
    BeyondSteps,
    UnknownBarrier,
    NotShared,
    LateCache,
    PartialSkip,
    SkipMisfit,
    BarrierUnmet,
    Circle,
    Unusable,
    ModelPanicked,
    NoGradient,
    Loss,
    NoBackward,
    Backward,
    Program,
    /// One that no rule of the behaviour is about, by its code.
    Other(&'static str),
    /// A class of the reference's errors, or what its interpreter says in place of one.
    Class(&'static str),
}

/// The code of each cause that the rules are about.
const CODES: [(Cause, &str); 24] = [
    (Cause::UnknownSite, "E001"),
    (Cause::OutOfOrder, "E002"),
    (Cause::NotProvided, "E003"),
    (Cause::Misfit, "E004"),
    (Cause::NotSkippable, "E005"),
    (Cause::NotOwner, "E006"),
    (Cause::Type, "E007"),
    (Cause::Panicked, "E011"),
    (Cause::Raised, "E013"),
    (Cause::BeyondSteps, "E014"),
    (Cause::UnknownBarrier, "E015"),
    (Cause::NotShared, "E016"),
    (Cause::LateCache, "E017"),
    (Cause::PartialSkip, "E020"),
    (Cause::SkipMisfit, "E021"),
    (Cause::BarrierUnmet, "E025"),
    (Cause::Circle, "E026"),
    (Cause::Unusable, "E035"),
    (Cause::ModelPanicked, "E036"),
    (Cause::NoGradient, "E054"),
    (Cause::Loss, "E055"),
    (Cause::NoBackward, "E056"),
    (Cause::Backward, "E058"),
    (Cause::Program, "E103"),
];

/// What the reference raises in order to stop.
pub(crate) const STOP: Cause = Cause::Class("EarlyStopException");

impl Cause {
    /// Returns the cause that has a code.
    pub(crate) fn of_code(code: &'static str) -> Self {
        let known = CODES.iter().find(|(_, own)| *own == code);
        known.map_or(Self::Other(code), |(cause, _)| *cause)
    }

    /// Returns what stands for all causes of one kind: an expression that cannot be computed is
    /// worded in several ways.
    pub(crate) const fn kind(self) -> Self {
        match self {
            Self::Type | Self::Panicked => Self::Program,
            other => other,
        }
    }

    /// Returns the reference's classes for it; it words some of them differently in each version
    /// (R10).
    pub(crate) fn classes(self) -> &'static [&'static str] {
        const PYTHON: &[&str] = &[
            "AttributeError",
            "IndexError",
            "KeyError",
            "NameError",
            "RuntimeError",
            "TypeError",
            "UnboundLocalError",
            "ValueError",
        ];
        match self {
            Self::UnknownSite => &["AttributeError", "ValueError"],
            Self::OutOfOrder | Self::NotProvided => &["OutOfOrderError", "ValueError"],
            // A gradient that does not come; what is asked for then has no name but that of a
            // tensor.
            Self::NoGradient => &["OutOfOrderError", "RuntimeError", "ValueError"],
            Self::Loss | Self::NoBackward | Self::Backward => &["RuntimeError"],
            Self::Misfit | Self::NotSkippable | Self::NotOwner => {
                &["IndexError", "RuntimeError", "TypeError", "ValueError"]
            }
            // A barrier that was not declared is a name that is not there.
            Self::UnknownBarrier => &["KeyError", "NameError", "RuntimeError", "ValueError"],
            Self::LateCache
            | Self::PartialSkip
            | Self::SkipMisfit
            | Self::BarrierUnmet
            | Self::Circle => &["RuntimeError", "ValueError"],
            Self::NotShared => &["KeyError", "NameError", "UnboundLocalError"],
            // The user's own error, an expression's, or the model's on a value that it cannot take.
            Self::Type
            | Self::Panicked
            | Self::Raised
            | Self::Unusable
            | Self::ModelPanicked
            | Self::Program => PYTHON,
            // What the interpreter of the reference says by its class.
            Self::Class("AttributeError") => &["AttributeError"],
            Self::Class("KeyError") => &["KeyError"],
            Self::Class("EarlyStopException") => &["EarlyStopException"],
            Self::Class("OutOfOrderError") => &["OutOfOrderError"],
            Self::Class("ValueError") => &["ValueError"],
            Self::Class("IndexError" | "RuntimeError" | "TypeError") => PYTHON,
            Self::BeyondSteps | Self::Other(_) | Self::Class(_) => &[],
        }
    }
}

/// Writes the code, or the class.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = CODES.iter().find(|(own, _)| own == self);
        f.write_str(match (known, self) {
            (Some((_, code)), _) => code,
            (None, Self::Other(text) | Self::Class(text)) => text,
            (None, _) => unreachable!("every other cause has a code"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_code_of_its_own_that_is_known() {
        let known: Vec<&str> = interloom::codes().iter().map(|code| code.code).collect();
        for (cause, code) in CODES {
            assert!(known.contains(&code), "{code}");
            assert_eq!((Cause::of_code(code), &*cause.to_string()), (cause, code));
        }
        assert_eq!(Cause::of_code("E999"), Cause::Other("E999"));
    }
}
