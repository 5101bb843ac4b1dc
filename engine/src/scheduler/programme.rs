//! What a schedule belongs to.

use std::fmt;

use super::Granularity;
use crate::digest::Digester;
use crate::setup::Setup;
use crate::value::Value;

/// What a run is made of, as far as the engine knows it: the sites, the mediators' names and rows, barriers and steps.
///
/// The mediators' own code is not part of it. The digest is made when it is asked for.
pub struct Programme<'a>(&'a dyn Fn() -> u64);

impl<'a> Programme<'a> {
    pub(crate) const fn new(digest: &'a dyn Fn() -> u64) -> Self {
        Self(digest)
    }

    /// Returns the digest that schedules carry.
    pub fn digest(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Programme<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Programme({:016x})", self.digest())
    }
}

/// Digests what a run is made of.
pub(crate) fn digest<V: Value>(setup: &Setup<V>) -> u64 {
    let mut digester = Digester::new();
    let points = setup.map.points();
    for point in points {
        digester.text(&setup.map.point_name(point));
    }
    digester.number(setup.invokes.len() as u64);
    for invoke in &setup.invokes {
        digester.text(&invoke.name);
        digester.number(invoke.rows.map_or(u64::MAX, u64::from));
    }
    let mut barriers: Vec<(&str, u32)> = setup.barriers().collect();
    barriers.sort_unstable();
    for (name, participants) in barriers {
        digester.text(name).number(u64::from(participants));
    }
    digester.number(setup.steps.map_or(u64::MAX, u64::from));
    digester.number(match setup.granularity {
        Granularity::Site => 0,
        Granularity::Exchange => 1,
    });
    digester.finish_short()
}
