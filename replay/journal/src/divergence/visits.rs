//! The comparison of the visits of two runs' models.

use super::{DivergenceClass, DivergenceSide, FieldDifference, TensorPair, fields, trees};
use crate::record::BackwardTurn;
use crate::{Names, Visit};

/// What the model of a run passed since the last thing that was compared.
#[derive(Clone, Debug, Default)]
pub(super) struct Visits(Vec<SeenVisit>);

/// A visit that is compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SeenVisit(Visit);

impl Visits {
    /// Takes a visit. What was passed without a value before it belongs to it: a writer may say it
    /// in pieces.
    pub(super) fn add(&mut self, visit: &Visit) {
        match self.0.last_mut() {
            Some(SeenVisit(last)) if last.brought.is_none() && last.backward.is_none() => {
                last.passed.extend(&visit.passed);
                last.brought.clone_from(&visit.brought);
                last.backward = visit.backward;
            }
            _ => self.0.push(SeenVisit(visit.clone())),
        }
    }

    /// Forgets the visits, which were compared.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn get(&self, place: usize) -> Option<&SeenVisit> {
        self.0.get(place)
    }

    /// How many visits from the first on are the same on both sides.
    pub(super) fn same_as(&self, live: &Self, names: [&Names; 2]) -> usize {
        let pairs = self.0.iter().zip(&live.0);
        let same = pairs.take_while(|(recorded, live)| {
            let (a, b) = (&recorded.0, &live.0);
            let is_same = a.brought == b.brought && a.backward == b.backward;
            is_same && recorded.passes_as(live, names).is_none()
        });
        same.count()
    }
}

impl SeenVisit {
    /// The place of the first point that is another on the other side, or is there on one side
    /// only.
    fn passes_as(&self, live: &Self, [recorded_names, live_names]: [&Names; 2]) -> Option<usize> {
        let (a, b) = (&self.0.passed, &live.0.passed);
        let is_same = |(a, b): (&u32, &u32)| match (recorded_names.path(*a), live_names.path(*b)) {
            // Without texts the numbers are all there is.
            (None, None) => a == b,
            (a, b) => a == b,
        };
        let other = a.iter().zip(b).position(|pair| !is_same(pair));
        other.or_else(|| (a.len() != b.len()).then(|| a.len().min(b.len())))
    }

    /// What differs between this recorded visit and a live one, and the first tensors of the same
    /// form that do.
    pub(super) fn differences(
        &self,
        live: &Self,
        names: [&Names; 2],
    ) -> (DivergenceClass, Vec<FieldDifference>, Option<TensorPair>) {
        let (a, b) = (&self.0, &live.0);
        let mut differences = Vec::new();
        let parted = self.passes_as(live, names);
        if let Some(place) = parted {
            fields::add(
                &mut differences,
                "points passed",
                a.passed.len(),
                b.passed.len(),
            );
            let field = format!("point {}", place + 1);
            let text = |visit: &Visit, names: &Names| match visit.passed.get(place) {
                Some(path) => names.path(*path).unwrap_or("?").to_owned(),
                None => "none".to_owned(),
            };
            let (recorded, live) = (text(a, names[0]), text(b, names[1]));
            fields::push(&mut differences, &field, recorded, live);
        }
        let turns = a.backward != b.backward;
        if turns {
            let (recorded, live) = (turn(a).to_owned(), turn(b).to_owned());
            fields::push(&mut differences, "phase", recorded, live);
        }
        // Which it is says nothing where the model is elsewhere.
        let sites = a.site().zip(b.site()).filter(|_| parted.is_none());
        let other = sites.filter(|(a, b)| a.iteration != b.iteration);
        if let Some((a, b)) = other {
            fields::add(&mut differences, "iteration", a.iteration, b.iteration);
        }
        let class = if parted.is_some() || other.is_some() || turns {
            DivergenceClass::Schedule
        } else {
            DivergenceClass::Value
        };
        differences.extend(trees::between_values(a.value(), b.value()));
        // Values that were brought to different sites say nothing about one another.
        let tensors = match class {
            DivergenceClass::Value => trees::first_pair(a.value(), b.value()),
            _ => None,
        };
        (class, differences, tensors)
    }

    /// The visit as a side of a divergence.
    pub(super) fn side(&self, names: &Names) -> DivergenceSide {
        let Self(visit) = self;
        let last = visit.passed.last();
        let path = || names.path(*last?).map(str::to_owned);
        let site = visit.site().map(|site| names.site(site));
        let site = match visit.backward {
            Some(_) => Some(turn(visit).to_owned()),
            None => site.or_else(path),
        };
        DivergenceSide::Visit {
            site: site.unwrap_or_default(),
            passed: visit.passed.len() as u64,
            value: visit.value().cloned(),
        }
    }
}

/// What a visit comes to, where it is no site.
const fn turn(visit: &Visit) -> &'static str {
    match visit.backward {
        Some(BackwardTurn::Begin) => "the beginning of a backward pass",
        Some(BackwardTurn::End) => "the end of a backward pass",
        None => "the forward pass or a backward pass",
    }
}
