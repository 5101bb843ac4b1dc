//! What a run counts at each point.

use std::collections::BTreeMap;

use crate::site::{Point, Port};

/// How often a point was passed, and how many attend to it.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    /// How often the point was passed.
    pub(super) count: u32,
    /// How many mediators wait for it, at whichever of its iterations, and how many caches collect
    /// it; and one more if the observers learn of all that passes.
    ///
    /// One number, so that a hook to which nothing attends asks one question.
    pub(super) interest: u32,
}

/// The tally of each point of a model.
///
/// A hook of the forward pass looks into one dense table. Gradients have one of their own, which is
/// made when the first is counted: most runs have none, and each run makes its tables anew. A
/// parameter has its gradient alone, and no place in a table.
pub(super) struct Tallies {
    forward: Vec<Tally>,
    gradients: Vec<Tally>,
    parameters: BTreeMap<Point, Tally>,
    untouched: Tally,
}

impl Tallies {
    /// Makes the tallies of a run, of which observers learn all that passes if it `traces`.
    pub(super) fn new(paths: usize, traces: bool) -> Self {
        // All zeros are memory as it comes.
        let mut forward = vec![Tally::default(); paths * Port::FORWARD.len()];
        let untouched = Tally {
            count: 0,
            interest: u32::from(traces),
        };
        if traces {
            forward.fill(untouched);
        }
        Self {
            forward,
            gradients: Vec::new(),
            parameters: BTreeMap::new(),
            untouched,
        }
    }

    #[inline]
    pub(super) fn of(&self, point: Point) -> Tally {
        if point.port.is_gradient() {
            self.gradient(point)
        } else {
            self.forward[point.forward_place()]
        }
    }

    #[inline]
    pub(super) fn of_mut(&mut self, point: Point) -> &mut Tally {
        if point.port.is_gradient() {
            self.gradient_mut(point)
        } else {
            &mut self.forward[point.forward_place()]
        }
    }

    /// Counts a visit of a point of the forward pass, and returns which of its iterations that is,
    /// and how many attend to the point.
    #[inline]
    pub(super) fn count(&mut self, point: Point) -> (u32, u32) {
        debug_assert!(!point.port.is_gradient(), "a gradient in a forward pass");
        let tally = &mut self.forward[point.forward_place()];
        let iteration = tally.count;
        tally.count += 1;
        (iteration, tally.interest)
    }

    #[cold]
    fn gradient(&self, gradient: Point) -> Tally {
        let tally = match gradient.is_parameter() {
            true => self.parameters.get(&gradient),
            false => self.gradients.get(gradient.place()),
        };
        tally.copied().unwrap_or(self.untouched)
    }

    #[cold]
    fn gradient_mut(&mut self, gradient: Point) -> &mut Tally {
        if gradient.is_parameter() {
            return self.parameters.entry(gradient).or_insert(self.untouched);
        }
        if self.gradients.is_empty() {
            let paths = self.forward.len() / Port::FORWARD.len();
            self.gradients = vec![self.untouched; paths * Port::GRADIENTS.len()];
        }
        &mut self.gradients[gradient.place()]
    }
}
