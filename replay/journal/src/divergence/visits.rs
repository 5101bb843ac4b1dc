//! The comparison of the visits of two runs' models.

use super::{DivergenceClass, DivergenceSide, FieldDifference, TensorPair, fields, trees};
use crate::model_side::PassCounts;
use crate::{Names, SiteRef, Visit};

/// What the model of a run passed since the last thing that was compared.
#[derive(Clone, Debug, Default)]
pub(super) struct Visits {
    seen: Vec<SeenVisit>,
    passes: PassCounts,
}

/// A visit, and the site to which it leads.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SeenVisit {
    visit: Visit,
    site: Option<SiteRef>,
}

impl Visits {
    /// Takes a visit. What was passed without a value before it belongs to it: a writer may say it
    /// in pieces.
    pub(super) fn add(&mut self, visit: &Visit, names: &Names) {
        let site = self.passes.pass_all(&visit.passed, names.paths().len());
        match self.seen.last_mut() {
            Some(last) if last.visit.value.is_none() => {
                last.visit.passed.extend(&visit.passed);
                last.visit.value.clone_from(&visit.value);
                last.site = site;
            }
            _ => self.seen.push(SeenVisit {
                visit: visit.clone(),
                site,
            }),
        }
    }

    /// Forgets the visits, which were compared.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
    }

    /// Forgets all of it, for the next run.
    pub(super) fn restart(&mut self) {
        self.seen.clear();
        self.passes.clear();
    }

    pub(super) fn get(&self, place: usize) -> Option<&SeenVisit> {
        self.seen.get(place)
    }

    /// How many visits from the first on are the same on both sides.
    pub(super) fn same_as(&self, live: &Self, names: [&Names; 2]) -> usize {
        let pairs = self.seen.iter().zip(&live.seen);
        let same = pairs.take_while(|(recorded, live)| {
            recorded.visit.value == live.visit.value && recorded.passes_as(live, names).is_none()
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
        let class = if parted.is_some() {
            DivergenceClass::Schedule
        } else {
            DivergenceClass::Value
        };
        differences.extend(trees::between_values(&a.value, &b.value));
        // Values that were brought to different sites say nothing about one another.
        let tensors = match class {
            DivergenceClass::Value => trees::first_pair(&a.value, &b.value),
            _ => None,
        };
        (class, differences, tensors)
    }

    /// The visit as a side of a divergence.
    pub(super) fn side(&self, names: &Names) -> DivergenceSide {
        DivergenceSide::Visit {
            site: self.site.map(|site| names.site(site)).unwrap_or_default(),
            passed: self.visit.passed.len() as u64,
            value: self.visit.value.clone(),
        }
    }
}
