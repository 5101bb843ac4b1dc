//! Backward passes: losses, and the gradients of what passed.
//!
//! A gradient's site has the iteration of its value: `layers.3.output.grad.i2` is the gradient of
//! `layers.3.output.i2`. So it passes at most once in a run, and those of one point pass last
//! iteration first. Which gradients may be asked for is known before the model starts, because a
//! value needs a hook in the graph behind it while it passes.
//!
//! A parameter's gradient is complete when the pass has come to its end. Those that may be asked
//! for are passed then, in the order of the model's parameters; their iteration is the number of
//! the pass.

use std::collections::{BTreeMap, BTreeSet};

use super::refuse::REFUSALS_PER_VISIT_MAX;
use super::settle::restless;
use super::{Flow, Halt, Interleaver, Visit};
use crate::audit::Note;
use crate::event::{Delivery, Event, Origin, Step};
use crate::fault::{Fault, FaultKind, NoGradient};
use crate::lane::Phase;
use crate::mediator::{Mediator, MediatorId};
use crate::observer::{Message, Moment, Outcome};
use crate::planted::{self, Bug};
use crate::site::{Point, Port, Site};
use crate::transition::Trigger;
use crate::value::{Ticket, Value};

/// What a run knows of its gradients.
pub(super) struct Gradients<V> {
    /// Whether each gradient may be asked for, by [`Point::place`]; empty if none may.
    declared: Vec<bool>,
    /// Whether the value of each gradient is hooked: what caches collect is, too.
    hooked: Vec<bool>,
    /// The parameters whose gradients are asked for or collected, and whether they may be asked
    /// for.
    parameters: BTreeMap<Point, bool>,
    /// The value that each hook is behind, by the hook's number.
    hooks: Vec<Site>,
    /// The hook behind what left a site: the last of those that were made there.
    last: BTreeMap<Site, Ticket>,
    passed: BTreeSet<Site>,
    /// What mediators asked to differentiate at the site at hand.
    losses: Vec<(MediatorId, V)>,
    /// How many passes have begun.
    passes: u32,
    /// Who asked for the pass under way; `None` while there is none.
    under_way: Option<Vec<MediatorId>>,
    /// Whether the run was stopped before the pass began.
    is_after_stop: bool,
}

impl<V> Gradients<V> {
    pub(super) fn declare(points: &[Point], paths: usize) -> Self {
        let (parameters, points): (Vec<Point>, Vec<Point>) =
            points.iter().partition(|point| point.is_parameter());
        let mut declared = Vec::new();
        if !points.is_empty() {
            declared.resize(paths * Port::GRADIENTS.len(), false);
        }
        for point in points {
            declared[point.place()] = true;
        }
        Self {
            hooked: declared.clone(),
            declared,
            parameters: parameters.into_iter().map(|point| (point, true)).collect(),
            hooks: Vec::new(),
            last: BTreeMap::new(),
            passed: BTreeSet::new(),
            losses: Vec::new(),
            passes: 0,
            under_way: None,
            is_after_stop: false,
        }
    }

    /// Returns whether a backward pass has passed a gradient's site.
    pub(super) fn has_passed(&self, site: Site) -> bool {
        self.passed.contains(&site)
    }

    /// Returns the last iteration in which a gradient was passed.
    pub(super) fn last_passing(&self, gradient: Point) -> Option<u32> {
        let passed = self.passed.range(gradient.at(0)..=gradient.at(u32::MAX));
        passed.last().map(|site| site.iteration)
    }

    /// Returns whether a pass is over.
    pub(super) fn has_ended(&self) -> bool {
        self.passes_over() > 0
    }

    /// Returns how many passes are over.
    fn passes_over(&self) -> u32 {
        self.passes - u32::from(self.under_way.is_some())
    }

    pub(super) const fn is_after_stop(&self) -> bool {
        self.is_after_stop
    }

    #[inline]
    fn is_declared(&self, gradient: Point) -> bool {
        if gradient.is_parameter() {
            return self.parameters.get(&gradient) == Some(&true);
        }
        self.declared.get(gradient.place()) == Some(&true)
    }
}

impl<V: Value> Interleaver<V> {
    /// Returns whether the gradient of what passes at `point` may be asked for, so that its value
    /// has to be [hooked](Self::hook).
    #[inline]
    pub fn is_hooked(&self, point: Point) -> bool {
        let is_hooked = |gradient: Point| self.gradients.hooked[gradient.place()];
        !self.gradients.hooked.is_empty() && point.gradient().is_some_and(is_hooked)
    }

    /// Returns whether gradients of the run are to be passed, so that what it computes has to
    /// belong to its own graph.
    pub fn has_hooks(&self) -> bool {
        !self.gradients.hooked.is_empty() || !self.gradients.parameters.is_empty()
    }

    /// Puts a gradient hook behind what passes `point` just now, if its gradient may be asked for.
    ///
    /// [`provide`](Self::provide) does so by itself; a driver calls this for a value that it does
    /// not have to provide.
    pub fn hook(&mut self, point: Point, value: V) -> V {
        let passed = self.passed(point);
        let site = point.at(passed.saturating_sub(1));
        self.hook_at(site, value)
    }

    /// Takes what mediators asked to differentiate at the site that was just left, in definition
    /// order. The driver performs one backward pass over the sum.
    #[inline]
    pub fn take_losses(&mut self) -> Vec<V> {
        if self.gradients.losses.is_empty() {
            return Vec::new();
        }
        self.losses()
    }

    #[cold]
    fn losses(&mut self) -> Vec<V> {
        let is_dropped = planted::has(Bug::StopDropsLosses) && self.is_halted();
        if self.has_failed() || is_dropped {
            self.gradients.losses.clear();
        }
        let mut losses = std::mem::take(&mut self.gradients.losses);
        losses.sort_by_key(|(id, _)| *id);
        self.gradients.under_way = match losses.is_empty() {
            true => None,
            false => Some(losses.iter().map(|(id, _)| *id).collect()),
        };
        losses.into_iter().map(|(_, loss)| loss).collect()
    }

    /// Returns whether mediators have asked for a backward pass that has not been taken.
    pub fn has_losses(&self) -> bool {
        !self.gradients.losses.is_empty() && !self.has_failed()
    }

    /// Begins a backward pass: of the losses that were [taken](Self::take_losses), or of `loss`,
    /// which is that of the code around the model.
    pub fn begin_backward(&mut self, loss: Option<&V>) {
        let number = self.gradients.passes;
        self.gradients.passes += 1;
        self.gradients.under_way.get_or_insert_default();
        self.gradients.is_after_stop = self.is_stopped();
        let passed = std::mem::take(&mut self.passed);
        self.moment(&Moment::BeginBackward {
            number,
            loss,
            passed: &passed,
        });
    }

    /// Returns whether a backward pass is under way.
    pub const fn is_backward(&self) -> bool {
        self.gradients.under_way.is_some()
    }

    /// Returns the site of the gradient that a hook reports; `None` if another has taken its place,
    /// because a mediator replaced the value.
    pub fn gradient_of(&self, ticket: Ticket) -> Option<Site> {
        let value = *self.gradients.hooks.get(usize::try_from(ticket.0).ok()?)?;
        let gradient = value.point.gradient()?.at(value.iteration);
        (self.gradients.last.get(&value) == Some(&ticket)).then_some(gradient)
    }

    /// Notes the passing of a gradient's site, and returns whether the gradient has to be
    /// [provided](Self::provide_gradient).
    pub fn passes_gradient(&mut self, site: Site) -> bool {
        let tally = self.tallies.of_mut(site.point);
        tally.count += 1;
        let interest = tally.interest;
        self.gradients.passed.insert(site);
        interest != 0 && self.attends(site, interest)
    }

    /// Serves the mediators that wait for a gradient, right after
    /// [`passes_gradient`](Self::passes_gradient) has noted it.
    #[cold]
    pub fn provide_gradient(&mut self, site: Site, gradient: V) -> Flow<V> {
        self.visit(site, gradient)
    }

    /// Notes for the audit that no gradient came to a part of the value behind a hook, so that what
    /// only that part was computed from is given zeros.
    #[cold]
    pub fn note_unreached_part(&mut self, ticket: Ticket) {
        if let Some(site) = self.gradient_of(ticket) {
            let gradient = self.map.site_name(site);
            self.notes.push(Note::PartUnreached { gradient });
        }
    }

    /// Returns the sites of the parameters' gradients that may be asked for or are collected in the
    /// backward pass under way, in the order in which a driver passes them: at its end, each that
    /// the loss reaches.
    pub fn parameter_sites(&self) -> Vec<Site> {
        let pass = self.gradients.passes_over();
        let points = self.gradients.parameters.keys();
        points.map(|point| point.at(pass)).collect()
    }

    /// Ends a backward pass: who asked for it, and for a gradient that it did not reach, is
    /// refused; so is who waits for a parameter's gradient of this pass.
    pub fn end_backward(&mut self) {
        let number = self.gradients.passes.saturating_sub(1);
        let asked = self.gradients.under_way.take().unwrap_or_default();
        let passed = std::mem::take(&mut self.passed);
        self.moment(&Moment::EndBackward {
            number,
            passed: &passed,
        });
        self.visits += 1;
        if planted::has(Bug::UnreachedWaits) {
            return;
        }
        let waits_for_parameters = match self.gradients.parameters.is_empty() {
            true => 0,
            false => self.lanes.len() as u32,
        };
        let mut all: Vec<MediatorId> = (0..waits_for_parameters).map(MediatorId).collect();
        all.extend(&asked);
        all.sort_unstable();
        all.dedup();
        for id in all {
            let has_asked = asked.contains(&id);
            // It may ask for the next one that was not reached.
            while !self.has_failed() && self.refuse_unreached(id, has_asked) {}
        }
    }

    /// Takes a loss for the backward pass after the site at hand.
    pub(super) fn backward(
        &mut self,
        id: MediatorId,
        loss: V,
        origin: Origin,
        rest: Box<dyn Mediator<V>>,
        at: Option<Site>,
    ) -> Step<V> {
        if let Err(fault) = self.check_loss(&loss, at) {
            let message = Message::Backward { loss: &loss };
            return self.decline(id, (message, fault), origin, rest, at);
        }
        self.lane(id).on(Trigger::Backward, Phase::Running);
        self.lane(id).account.serve(Event::Backward);
        let message = Message::Backward { loss: &loss };
        self.observe(id, message, at, Outcome::Served(None), &origin);
        self.gradients.losses.push((id, loss));
        self.resume(id, rest, Delivery::Done, &origin)
    }

    /// Returns why a gradient that is asked for will not come, as far as that is known by now.
    pub(super) fn no_gradient(&self, site: Site) -> Option<Fault> {
        let is_passed = match site.point.is_parameter() {
            true => self.gradients.passes == 0 || site.iteration < self.gradients.passes_over(),
            false => self.passed(site.point.forward()) > site.iteration,
        };
        let why = if !self.gradients.is_declared(site.point) {
            NoGradient::Undeclared
        } else if !is_passed {
            return None;
        } else if self.gradients.passes == 0 {
            NoGradient::NoPass
        } else {
            NoGradient::Unreached
        };
        let asked = self.map.site_name(site);
        Some(Fault::from(FaultKind::NoGradient { asked, why }))
    }

    /// Returns whether a gradient can still be asked for.
    pub(super) fn is_gradient_ahead(&self, site: Site) -> bool {
        let is_declared =
            self.gradients.is_declared(site.point) || planted::has(Bug::UndeclaredWaits);
        let is_over = site.point.is_parameter() && site.iteration < self.gradients.passes_over();
        let is_passed = self.gradients.has_passed(site) && !planted::has(Bug::LateGradient);
        is_declared && !is_passed && !is_over
    }

    /// Has the values hooked whose gradients a cache collects. No mediator may ask for them because
    /// of that, for whether one may must not depend on what others have declared so far.
    pub(super) fn hook_for_cache(&mut self, points: &[Point]) {
        let gradients = points.iter().copied();
        let gradients = gradients.filter(|point| point.port.is_gradient());
        let (parameters, gradients): (Vec<Point>, Vec<Point>) =
            gradients.partition(|point| point.is_parameter());
        for parameter in parameters {
            self.gradients.parameters.entry(parameter).or_insert(false);
        }
        if self.gradients.hooked.is_empty() && !gradients.is_empty() {
            let paths = self.map.len();
            self.gradients.hooked = vec![false; paths * Port::GRADIENTS.len()];
        }
        for gradient in gradients {
            self.gradients.hooked[gradient.place()] = true;
        }
    }

    /// Puts a hook behind a value at a site of the forward pass, in the place of earlier ones.
    #[inline]
    pub(super) fn hook_at(&mut self, site: Site, value: V) -> V {
        if self.is_hooked(site.point) {
            self.add_hook(site, value)
        } else {
            value
        }
    }

    #[cold]
    fn add_hook(&mut self, site: Site, value: V) -> V {
        let ticket = Ticket(self.gradients.hooks.len() as u64);
        self.gradients.hooks.push(site);
        self.gradients.last.insert(site, ticket);
        value.hooked(ticket)
    }

    /// Puts a new hook behind what a mediator made of the value at hand.
    #[inline]
    pub(super) fn hook_change(&mut self, visit: &mut Visit<V>) {
        if self.is_hooked(visit.site.point) {
            visit.value = self.hook_at(visit.site, visit.value.clone());
        }
    }

    fn check_loss(&self, loss: &V, at: Option<Site>) -> Result<(), Fault> {
        let Some(at) = at.filter(|at| !at.point.port.is_gradient()) else {
            return Err(Fault::from(FaultKind::NoBackward {
                at: at.map(|at| self.map.site_name(at)),
            }));
        };
        let site = || self.map.site_name(at);
        loss.is_loss()
            .map_err(|misfit| Fault::from(FaultKind::Loss { at: site(), misfit }))
    }

    /// Refuses a mediator the gradient that it waits for, if its value has passed and the pass did
    /// not come to it, and returns whether that was so. One that has not asked for the pass may
    /// wait for another one, unless it is for a parameter's gradient of this one.
    fn refuse_unreached(&mut self, id: MediatorId, has_asked: bool) -> bool {
        let waits =
            |site: Site| site.point.is_parameter() || (has_asked && site.point.port.is_gradient());
        let fault = match &self.lanes[id.0 as usize].phase {
            Phase::Waiting(waiting) if waits(waiting.site) => self.no_gradient(waiting.site),
            _ => None,
        };
        let Some(fault) = fault else { return false };
        let waiting = self.unpark(id, Trigger::Refuse, |_| true);
        let waiting = waiting.expect("it waits");
        let step = match self.is_weary(id) {
            true => restless(REFUSALS_PER_VISIT_MAX, waiting.origin),
            false => self.refuse_waiting(id, waiting, fault),
        };
        self.settle(id, step, None);
        self.release_between_sites();
        true
    }

    /// Returns whether the run was stopped, and has not failed.
    fn is_stopped(&self) -> bool {
        matches!(self.halt, Some(Halt::Stopped { .. }))
    }
}
