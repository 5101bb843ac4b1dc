//! Refusals: requests that cannot be served, and why.

use super::settle::restless;
use super::{Halt, Interleaver};
use crate::audit::Refusal;
use crate::event::{Delivery, Origin, Step, Target};
use crate::fault::{Fault, FaultKind};
use crate::lane::{SiteRequest, Waiting};
use crate::mediator::{Mediator, MediatorId};
use crate::observer::{Asked, AskedSite, Message, Outcome};
use crate::site::{Point, Site};
use crate::value::Value;

/// How many of them may be for a site that is not passed any more, or never: each looks for the
/// nearest names.
pub(crate) const REFUSALS_PER_VISIT_MAX: u32 = 1 << 12;

/// How many iterations of a point, or nearest sites, the hint of a fault names.
const HINT_MAX: usize = 3;

impl<V: Value> Interleaver<V> {
    /// Refuses a request for a site that will not be passed, and returns what the mediator does
    /// then.
    #[cold]
    pub(super) fn turn_down(
        &mut self,
        id: MediatorId,
        (target, request): (Target, SiteRequest<V>),
        origin: Origin,
        rest: Box<dyn Mediator<V>>,
        at: Option<Site>,
    ) -> Step<V> {
        // Before the nearest names are looked for.
        if self.is_weary(id) {
            return restless(REFUSALS_PER_VISIT_MAX, origin);
        }
        let fault = self.not_awaited(id, &target, at);
        let asked = match fault.kind() {
            FaultKind::UnknownSite { asked, .. } | FaultKind::NoValue { asked, .. } => {
                AskedSite::Unknown(asked)
            }
            _ => AskedSite::Known(self.site_of(id, &target)),
        };
        self.refused(id, request.message(asked), at, &fault, &origin);
        self.resume(id, rest, Delivery::Refused(fault), &origin)
    }

    /// Refuses a request that is for no site, and returns what the mediator does then.
    #[cold]
    pub(super) fn decline(
        &mut self,
        id: MediatorId,
        (message, fault): (Message<'_, V>, Fault),
        origin: Origin,
        rest: Box<dyn Mediator<V>>,
        at: Option<Site>,
    ) -> Step<V> {
        if self.is_weary(id) {
            return restless(REFUSALS_PER_VISIT_MAX, origin);
        }
        self.refused(id, message, at, &fault, &origin);
        self.resume(id, rest, Delivery::Refused(fault), &origin)
    }

    /// Refuses the request of a mediator that waited, between sites, and returns what the mediator
    /// does then.
    pub(super) fn refuse_waiting(
        &mut self,
        id: MediatorId,
        waiting: Waiting<V>,
        fault: Fault,
    ) -> Step<V> {
        let asked = AskedSite::Known(waiting.site);
        let message = waiting.request.message(asked);
        self.refused(id, message, None, &fault, &waiting.origin);
        self.resume(id, waiting.rest, Delivery::Refused(fault), &waiting.origin)
    }

    /// Counts a refusal, and returns whether there were too many at this visit.
    pub(super) fn is_weary(&mut self, id: MediatorId) -> bool {
        let patience = self.patience(id);
        patience.refusals += 1;
        patience.refusals > REFUSALS_PER_VISIT_MAX
    }

    /// Returns the fault of a request for `target` for which no mediator can wait.
    fn not_awaited(&self, id: MediatorId, target: &Target, at: Option<Site>) -> Fault {
        let site = match target {
            Target::Point { point, .. } if self.map.has(*point) => self.site_of(id, target),
            Target::Point { point, .. } => return self.unknown(self.map.any_name(*point)),
            Target::Unknown(name) => return self.unknown(name.to_string()),
        };
        let is_passed = match site.point.port.is_gradient() {
            true => self.gradients.has_passed(site),
            false => self.passed(site.point) > site.iteration,
        };
        match is_passed {
            true => Fault::from(FaultKind::OutOfOrder {
                asked: self.map.site_name(site),
                at: at.map(|at| self.map.site_name(at)),
            }),
            false => self.not_provided(site),
        }
    }

    pub(super) fn unknown(&self, asked: String) -> Fault {
        if let Some(parameter) = self.map.as_parameter(&asked) {
            let gradient = self.map.point_name(parameter);
            return Fault::from(FaultKind::NoValue { asked, gradient });
        }
        let nearest = self.map.nearest(&asked);
        Fault::from(FaultKind::UnknownSite { asked, nearest })
    }

    pub(super) fn not_provided(&self, site: Site) -> Fault {
        if site.point.port.is_gradient()
            && let Some(fault) = self.no_gradient(site)
        {
            return fault;
        }
        let stopped_by = match self.halt {
            Some(Halt::Stopped { by, at }) => {
                let name = self.lanes[by.0 as usize].account.name.clone();
                Some((name, at.map(|at| self.map.site_name(at))))
            }
            _ => None,
        };
        Fault::from(FaultKind::NotProvided {
            asked: self.map.site_name(site),
            stopped_by,
            hint: self.passed_like(site),
        })
    }

    /// Returns the last visit of the point, or else the passed sites with the most similar names.
    pub(super) fn passed_like(&self, site: Site) -> Vec<String> {
        // Of a gradient whose value never passed, it is asked what values did.
        let site = site.point.forward().at(site.iteration);
        let passed = |point: Point| Some(point.at(self.last_passing(point)?));
        if let Some(last) = passed(site.point) {
            return vec![self.map.site_name(last)];
        }
        let asked = self.map.site_name(site);
        let sites = self.map.points().filter_map(passed);
        let mut names: Vec<(usize, String)> = sites
            .map(|site| self.map.site_name(site))
            .map(|name| (strsim::damerau_levenshtein(&asked, &name), name))
            .collect();
        names.sort();
        names.truncate(HINT_MAX);
        names.into_iter().map(|(_, name)| name).collect()
    }

    pub(super) fn refused(
        &mut self,
        id: MediatorId,
        message: Message<'_, V>,
        at: Option<Site>,
        fault: &Fault,
        origin: &Origin,
    ) {
        let map = self.map.clone();
        let event = message.event();
        let refusal = || Refusal {
            event,
            site: match message.asked() {
                Some(Asked::Site(site)) => map.site_name(site),
                Some(Asked::Unknown(name) | Asked::Name(name)) => name.to_owned(),
                Some(Asked::Iteration(iteration)) => format!("iteration {iteration}"),
                None => String::new(),
            },
            fault: Some(fault.clone()),
            origin: origin.clone(),
        };
        self.lane(id).account.refuse(refusal, event);
        self.observe(id, message, at, Outcome::Refused(fault), origin);
    }
}
