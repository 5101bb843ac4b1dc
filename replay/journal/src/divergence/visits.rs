//! The comparison of the visits of two runs' models.

use super::{DivergenceClass, DivergenceSide, FieldDifference, TensorPair, fields, trees};
use crate::backward::Passes;
use crate::{BackwardTurn, Names, Visit};

/// What the model of a run passed since the last thing that was compared.
#[derive(Clone, Debug, Default)]
pub(super) struct Visits {
    seen: Vec<SeenVisit>,
    passes: Passes,
}

/// A visit that is compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SeenVisit {
    visit: Visit,
    /// The backward pass that it belongs to; also of one that begins or ends it.
    pass: Option<u32>,
}

impl Visits {
    /// Takes a visit. What was passed without a value before it belongs to it: a writer may say it
    /// in pieces.
    pub(super) fn add(&mut self, visit: &Visit) {
        let pass = self.passes.visit(visit.backward);
        match self.seen.last_mut() {
            Some(last) if last.visit.brought.is_none() && last.visit.backward.is_none() => {
                last.visit.passed.extend(&visit.passed);
                last.visit.brought.clone_from(&visit.brought);
                last.visit.backward = visit.backward;
                last.pass = pass;
            }
            _ => self.seen.push(SeenVisit {
                visit: visit.clone(),
                pass,
            }),
        }
    }

    /// Forgets the visits, which were compared.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
    }

    /// The backward pass under way after these visits.
    pub(super) fn pass(&self) -> Option<u32> {
        self.passes.under_way()
    }

    pub(super) fn get(&self, place: usize) -> Option<&SeenVisit> {
        self.seen.get(place)
    }

    /// How many visits from the first on are the same on both sides.
    pub(super) fn same_as(&self, live: &Self, names: [&Names; 2]) -> usize {
        let pairs = self.seen.iter().zip(&live.seen);
        let same = pairs.take_while(|(recorded, live)| {
            let is_same = recorded.visit.brought == live.visit.brought;
            is_same && recorded.phase() == live.phase() && recorded.passes_as(live, names).is_none()
        });
        same.count()
    }
}

impl SeenVisit {
    /// The place of the first point that is another on the other side, or is there on one side
    /// only.
    fn passes_as(&self, live: &Self, [recorded_names, live_names]: [&Names; 2]) -> Option<usize> {
        let (a, b) = (&self.visit.passed, &live.visit.passed);
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
        let (a, b) = (&self.visit, &live.visit);
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
        let is_elsewhere = parted.is_some() || self.phase() != live.phase();
        if self.phase() != live.phase() {
            fields::push(&mut differences, "phase", self.words(), live.words());
        }
        // Which it is says nothing where the model is elsewhere.
        let brought = a.brought.as_ref().zip(b.brought.as_ref());
        let brought = brought.filter(|_| !is_elsewhere);
        let other = brought.filter(|(a, b)| a.iteration != b.iteration);
        if let Some((a, b)) = other {
            fields::add(&mut differences, "iteration", a.iteration, b.iteration);
        }
        let class = if is_elsewhere || other.is_some() {
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

    /// The backward pass that it belongs to.
    pub(super) const fn pass(&self) -> Option<u32> {
        self.pass
    }

    /// Whether that begins or ends.
    pub(super) const fn turn(&self) -> Option<BackwardTurn> {
        self.visit.backward
    }

    /// The visit as a side of a divergence.
    pub(super) fn side(&self, names: &Names) -> DivergenceSide {
        let Self { visit, pass } = self;
        let last = visit.passed.last().filter(|_| visit.backward.is_none());
        let path = || names.path(*last?).map(str::to_owned);
        let site = visit.site().map(|site| names.site(site));
        DivergenceSide::Visit {
            site: site.or_else(path),
            backward_pass: *pass,
            turn: visit.backward,
            passed: visit.passed.len() as u64,
            value: visit.value().cloned(),
        }
    }

    /// In which pass it is, and whether that begins or ends.
    const fn phase(&self) -> (Option<u32>, Option<BackwardTurn>) {
        (self.pass, self.visit.backward)
    }

    /// Where in its run the model is.
    fn words(&self) -> String {
        let pass = self.pass.map(|pass| format!("backward pass {pass}"));
        let named = pass.as_deref().unwrap_or("a backward pass");
        match self.visit.backward {
            Some(BackwardTurn::Begin) => format!("the beginning of {named}"),
            Some(BackwardTurn::End) => format!("the end of {named}"),
            None => pass.unwrap_or_else(|| "the forward pass".to_owned()),
        }
    }
}
