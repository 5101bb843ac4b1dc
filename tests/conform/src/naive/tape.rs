//! Gradients, as naively as can be: how each array was computed is kept, and what changes if one of
//! its numbers changes is tried out.
//!
//! No derivative of any operation is written down here: of each the differences of what it computes
//! a little above and a little below are taken, in double precision. So nothing is shared with the
//! library whose gradients are judged, nor with the one that was recorded.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::array::Array;
use crate::user::Tensor;

/// How far from each number the differences are taken.
const STEP: f64 = 1e-5;

thread_local! {
    static NODES: Cell<u64> = const { Cell::new(0) };
}

/// How an array was computed.
pub(crate) struct Node {
    /// Whatever is computed of an array has a higher number than it.
    number: u64,
    made: Made,
    is_used: Cell<bool>,
}

/// Computes an array of others.
type Operation = Box<dyn Fn(&[Array]) -> Array>;

enum Made {
    /// It was not; its gradient is wanted or not.
    Leaf {
        is_wanted: bool,
    },
    /// It is another one.
    Same(Array),
    Computed {
        of: Vec<Array>,
        by: Operation,
    },
}

impl Node {
    fn new(made: Made) -> Rc<Self> {
        let number = NODES.get() + 1;
        NODES.set(number);
        Rc::new(Self {
            number,
            made,
            is_used: Cell::new(false),
        })
    }

    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    fn parents(&self) -> &[Array] {
        match &self.made {
            Made::Leaf { .. } => &[],
            Made::Same(other) => std::slice::from_ref(other),
            Made::Computed { of, .. } => of,
        }
    }
}

impl Array {
    /// Makes it one that gradients go back to.
    pub(super) fn leaf(&self, is_wanted: bool) -> Self {
        self.untracked()
            .with_node(Node::new(Made::Leaf { is_wanted }))
    }

    /// Returns the same array with a gradient of its own.
    pub(super) fn hooked(&self) -> Self {
        self.untracked()
            .with_node(Node::new(Made::Same(self.clone())))
    }

    /// Computes an array of others, and keeps how if one of them has a gradient.
    pub(super) fn computed(of: &[&Self], by: impl Fn(&[Self]) -> Self + 'static) -> Self {
        let plain: Vec<Self> = of.iter().map(|array| array.untracked()).collect();
        let computed = by(&plain);
        if of.iter().all(|array| array.node().is_none()) {
            return computed;
        }
        let of = of.iter().map(|array| (*array).clone()).collect();
        let by: Operation = Box::new(by);
        computed.with_node(Node::new(Made::Computed { of, by }))
    }
}

/// Why a loss cannot be differentiated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoPass {
    /// It depends on nothing that has a gradient.
    NoGraph,
    /// What it was computed by is differentiated already.
    UsedUp,
}

/// A backward pass that is under way, from later arrays to earlier ones.
pub(super) struct Pass {
    /// The gradients of what the pass has not come to yet, as far as they are known.
    ahead: BTreeMap<u64, (Rc<Node>, Vec<f64>)>,
    /// Those of leaves, and what the pass has come to.
    over: BTreeMap<u64, Vec<f64>>,
}

impl Pass {
    /// Begins a pass over the sum of these losses, of one number each.
    pub(super) fn new(losses: &[Array]) -> Result<Self, NoPass> {
        let mut pass = Self {
            ahead: BTreeMap::new(),
            over: BTreeMap::new(),
        };
        let mut seen = BTreeSet::new();
        for loss in losses {
            let node = loss.node().ok_or(NoPass::NoGraph)?;
            use_up(node, &mut seen, true)?;
            pass.add(node, &[1.0]);
        }
        let mut seen = BTreeSet::new();
        let nodes = losses.iter().filter_map(Array::node);
        for node in nodes {
            use_up(node, &mut seen, false)?;
        }
        Ok(pass)
    }

    fn add(&mut self, node: &Rc<Node>, gradient: &[f64]) {
        let zeros = || (node.clone(), vec![0.0; gradient.len()]);
        let (_, sum) = self.ahead.entry(node.number).or_insert_with(zeros);
        let pairs = sum.iter_mut().zip(gradient);
        pairs.for_each(|(sum, own)| *sum += own);
    }

    /// Returns what the pass comes to next, whose gradient is whole.
    pub(super) fn next(&self) -> Option<u64> {
        self.ahead.last_key_value().map(|(number, _)| *number)
    }

    /// Returns whether the pass has come to an array and gone on.
    pub(super) fn is_over(&self, number: u64) -> bool {
        self.over.contains_key(&number)
    }

    /// Returns the gradient of an array, as far as it is known.
    pub(super) fn gradient(&self, number: u64) -> Option<&[f64]> {
        let ahead = self.ahead.get(&number).map(|(_, gradient)| gradient);
        ahead.or_else(|| self.over.get(&number)).map(|own| &own[..])
    }

    /// Puts another gradient in the place of that of what the pass comes to.
    pub(super) fn replace(&mut self, number: u64, with: Vec<f64>) {
        if let Some((_, gradient)) = self.ahead.get_mut(&number) {
            *gradient = with;
        }
    }

    /// Goes back over what the pass comes to next.
    pub(super) fn step(&mut self) {
        let Some((number, (node, gradient))) = self.ahead.pop_last() else {
            return;
        };
        for (place, parent) in node.parents().iter().enumerate() {
            let Some(of) = parent.node() else { continue };
            let back = match (&node.made, &of.made) {
                (_, Made::Leaf { is_wanted: false }) => continue,
                (Made::Computed { of, by }, _) => differences(of, place, by, &gradient),
                _ => gradient.clone(),
            };
            self.add(of, &back);
        }
        self.over.insert(number, gradient);
    }

    /// Goes on until it comes to an array, and returns whether it does.
    pub(super) fn come_to(&mut self, number: u64) -> bool {
        while self.next().is_some_and(|next| next > number) {
            self.step();
        }
        self.next() == Some(number)
    }

    /// Goes on to its end.
    pub(super) fn finish(&mut self) {
        while self.next().is_some() {
            self.step();
        }
    }
}

/// Notes that what an array was computed by is differentiated, or finds that it was before.
fn use_up(node: &Rc<Node>, seen: &mut BTreeSet<u64>, is_asking: bool) -> Result<(), NoPass> {
    let mut nodes = vec![node.clone()];
    while let Some(node) = nodes.pop() {
        if !seen.insert(node.number) || matches!(node.made, Made::Leaf { .. }) {
            continue;
        }
        if is_asking && node.is_used.get() {
            return Err(NoPass::UsedUp);
        }
        node.is_used.set(node.is_used.get() || !is_asking);
        nodes.extend(node.parents().iter().filter_map(Array::node).cloned());
    }
    Ok(())
}

/// How much what is computed, weighted by its own gradient, changes with each number of one array
/// that it is computed of.
fn differences(of: &[Array], place: usize, by: &Operation, gradient: &[f64]) -> Vec<f64> {
    let plain: Vec<Array> = of.iter().map(Array::untracked).collect();
    let numbers = plain[place].numbers();
    let shape = plain[place].shape();
    let weighted = |at: usize, by_much: f64| -> f64 {
        let mut moved = numbers.clone();
        moved[at] += by_much;
        let mut all = plain.clone();
        all[place] = Array::new(&shape, moved);
        let computed = by(&all).numbers();
        let terms = computed.iter().zip(gradient);
        terms.map(|(computed, weight)| computed * weight).sum()
    };
    let at = |at| (weighted(at, STEP) - weighted(at, -STEP)) / (2.0 * STEP);
    (0..numbers.len()).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user;

    /// `sum(tanh(x · w))`, whose gradients are known.
    #[test]
    fn differences_are_the_derivatives_that_are_known() {
        let x = Array::new(&[1, 2], vec![0.5, -1.5]).leaf(true);
        let weight = Array::new(&[2, 1], vec![2.0, 0.25]).leaf(true);
        let h = super::super::array::product(&x, &weight).unwrap();
        let loss = h.map(f64::tanh).sum().unwrap();
        let mut pass = Pass::new(&[loss]).unwrap();
        pass.finish();
        let of = |array: &Array| {
            pass.gradient(array.node().unwrap().number())
                .unwrap()
                .to_vec()
        };
        let slope = 1.0 - (0.5f64 * 2.0 - 1.5 * 0.25).tanh().powi(2);
        let is_close = |own: &[f64], known: [f64; 2]| {
            own.iter()
                .zip(known)
                .all(|(own, known)| (own - known).abs() < 1e-9)
        };
        assert!(is_close(&of(&x), [2.0 * slope, 0.25 * slope]));
        assert!(is_close(&of(&weight), [0.5 * slope, -1.5 * slope]));
    }

    #[test]
    fn a_pass_comes_to_later_arrays_first_and_once() {
        let x = Array::new(&[1], vec![3.0]).leaf(true);
        let first = x.hooked();
        let second = first.map(|x| 2.0 * x).hooked();
        let both = first.combine(user::Operation::Mul, &second).unwrap();
        let number = |array: &Array| array.node().unwrap().number();
        let mut pass = Pass::new(std::slice::from_ref(&both)).unwrap();
        assert!(pass.come_to(number(&second)));
        // What comes before it sees what it is replaced by.
        pass.replace(number(&second), vec![10.0]);
        assert!(pass.come_to(number(&first)));
        assert!(pass.is_over(number(&second)));
        let own = pass.gradient(number(&first)).unwrap()[0];
        assert!((own - (6.0 + 20.0)).abs() < 1e-8, "{own}");
        assert!(!pass.come_to(number(&second)));
        assert_eq!(Pass::new(&[both]).err(), Some(NoPass::UsedUp));
        let plain = Array::new(&[1], vec![3.0]);
        assert_eq!(Pass::new(&[plain]).err(), Some(NoPass::NoGraph));
    }
}
