//! The names of the two sides of a comparison in a report.

use super::Divergence;

/// The words for the two sides: a recording and a run, or two journals.
pub(super) struct Sides {
    /// What stands before something of either side.
    pub(super) names: [String; 2],
    /// What stands after something of the first side, such as `recorded`.
    pub(super) recorded: String,
    /// What stands after something of the second side, such as `in this run`.
    pub(super) live: String,
    /// The marks at the two exchanges.
    pub(super) marks: [String; 2],
    /// The mark at what follows on the first side.
    pub(super) next: String,
}

impl Sides {
    /// A recording and a run.
    pub(super) fn replay() -> Self {
        Self {
            names: ["recorded", "this run"].map(str::to_owned),
            recorded: "recorded".to_owned(),
            live: "in this run".to_owned(),
            marks: ["<- recorded", "<- this run"].map(str::to_owned),
            next: "(recorded next)".to_owned(),
        }
    }

    fn journals([recorded, live]: &[String; 2]) -> Self {
        Self {
            names: [recorded.clone(), live.clone()],
            recorded: format!("in {recorded}"),
            live: format!("in {live}"),
            marks: [format!("<- {recorded}"), format!("<- {live}")],
            next: format!("(next in {recorded})"),
        }
    }

    pub(super) fn of(divergence: &Divergence) -> Self {
        let journals = divergence.journals.as_ref();
        journals.map_or_else(Self::replay, Self::journals)
    }

    /// `this recorded, that in this run`.
    pub(super) fn both(&self, recorded: &str, live: &str) -> String {
        format!("{recorded} {}, {live} {}", self.recorded, self.live)
    }
}
