//! Races: what only the scheduler orders, found in a single run.
//!
//! Two exchanges of different mediators race if they are made at one visit of a site, touch the
//! same thing in a way that does not commute (the table in `footprint`), and nothing but the
//! scheduler's choice puts one before the other. What does put one before the other is found with
//! vector clocks (Fidge 1988, Mattern 1989), one for each mediator:
//!
//! - the order of a mediator's own program, in which its children are, from REGISTER to their END;
//! - a barrier: what was done before an arrival of a round comes before what is done after the
//!   release;
//! - the blackboard: what was done before a PUT comes before what is done after a GET that read it.
//!   The PUT and the GET themselves do race, for in the other order the GET is refused.
//!
//! Different sites never race, for the model passes them in an order of its own. Two arrivals at
//! one barrier race if they belong to different rounds, so that who meets whom depends on the
//! order.
//!
//! A race is a question, not an error: definition order is a promise (rule R2), and a later
//! mediator may well be meant to see an earlier one's swap. [`Explorer`](super::Explorer) finds out
//! whether the answer changes anything.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::footprint::{Access, Ground};
use crate::event::{Event, Origin};
use crate::map::SiteMap;
use crate::mediator::MediatorId;
use crate::observer::{Asked, Exchange, Moment, Observer};
use crate::setup::Setup;
use crate::site::Site;
use crate::value::Value;

/// A race: two exchanges that only the scheduler orders.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Race {
    /// The site at which both were made.
    pub site: String,
    /// What both touch.
    pub over: Contended,
    /// The one that came first in this run.
    pub first: Party,
    /// The other one.
    pub second: Party,
}

/// The resource that two exchanges race for.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Contended {
    /// Rows of the value that passes.
    Rows,
    /// The output of a module that both skip for the whole batch.
    Skip,
    /// A name on the blackboard; of a GET that found nothing, the name that was put.
    Blackboard(String),
    /// The rounds of a barrier.
    Barrier(String),
    /// The end of the run, which either would stop.
    Stop,
}

/// One side of a race.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Party {
    /// The mediator's name.
    pub mediator: String,
    /// What it asked for.
    pub event: Event,
    /// Where in the user's source the request stands.
    pub origin: Origin,
}

impl fmt::Display for Race {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            site,
            over,
            first,
            second,
        } = self;
        write!(
            f,
            "`{}` and `{}` race at `{site}` for ",
            first.mediator, second.mediator
        )?;
        match over {
            Contended::Rows => f.write_str("the same rows")?,
            Contended::Skip => f.write_str("the output of the skipped module")?,
            Contended::Blackboard(name) => write!(f, "`{name}` on the blackboard")?,
            Contended::Barrier(name) => write!(f, "a place at barrier `{name}`")?,
            Contended::Stop => f.write_str("the end of the run")?,
        }
        write!(f, ": {first}, then {second}")
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.event, self.origin)
    }
}

/// The races of a run.
///
/// A handle: it is read when the run is over.
#[derive(Clone)]
pub struct Races(Rc<RefCell<Detector>>);

impl Races {
    /// Watches the run for races; called when all its mediators have been added.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use interloom_engine::{array::Array, explore::Races, mediator, Cx, Flow, Invoke, Port, Setup, SiteMap};
    ///
    /// let mut map = SiteMap::new();
    /// map.add("layer", &[Port::Output]);
    /// let map = Arc::new(map);
    /// let mut setup = Setup::new(map.clone());
    /// for name in ["scale", "shift"] {
    ///     let (program, _) = mediator(map.clone(), async |cx: Cx<Array>| {
    ///         let x = cx.output("layer").await?;
    ///         cx.set_output("layer", x.map(|x| 2.0 * x + 1.0)).await
    ///     });
    ///     setup.invoke(Invoke::new(name, program));
    /// }
    /// let races = Races::of(&mut setup);
    /// let mut run = setup.start()?;
    /// let point = map.point("layer.output").unwrap();
    /// run.passes(point);
    /// let Flow::Continue(_) = run.provide(point, Array::scalar(1.0)) else { unreachable!() };
    /// run.finish().result?;
    /// let found = races.found();
    /// assert!(found[0].to_string().starts_with("`scale` and `shift` race at `layer.output.i0` for the same rows: SWAP"));
    /// # Ok::<(), interloom_engine::RunError>(())
    /// ```
    pub fn of<V: Value>(setup: &mut Setup<V>) -> Self {
        let races = Self::unwatched(setup);
        setup.observer(races.clone());
        races
    }

    /// Prepares for a run like this one whose exchanges come from elsewhere, through [`Observer`]:
    /// a recorded one.
    pub fn unwatched<V: Value>(setup: &Setup<V>) -> Self {
        let names = setup
            .invokes()
            .iter()
            .map(|invoke| invoke.name().to_owned());
        let mut detector = Detector {
            map: setup.map.clone(),
            names: names.collect(),
            participants: setup.barriers.iter().cloned().collect(),
            ..Detector::default()
        };
        detector.ground.survey(setup);
        Self(Rc::new(RefCell::new(detector)))
    }

    /// Returns the races so far, in the order in which they showed, each pair of mediators once for
    /// each thing and site.
    pub fn found(&self) -> Vec<Race> {
        self.0.borrow().races.clone()
    }
}

impl<V: Value> Observer<V> for Races {
    fn exchange(&mut self, exchange: &Exchange<'_, V>) {
        self.0.borrow_mut().exchange(exchange);
    }

    fn moment(&mut self, moment: &Moment<'_, V>) {
        self.0.borrow_mut().moment(moment);
    }
}

/// How far each mediator has come, as far as another one knows; who is not named has not been heard
/// of.
#[derive(Clone, Debug, Default)]
struct Clock(BTreeMap<u32, u64>);

impl Clock {
    fn of(&self, id: MediatorId) -> u64 {
        self.0.get(&id.0).copied().unwrap_or(0)
    }

    fn tick(&mut self, id: MediatorId) -> u64 {
        let time = self.0.entry(id.0).or_default();
        *time += 1;
        *time
    }

    fn join(&mut self, other: &Self) {
        for (&id, &theirs) in &other.0 {
            let own = self.0.entry(id).or_default();
            *own = (*own).max(theirs);
        }
    }
}

/// An exchange or arrival at the site at hand.
struct Seen {
    mediator: MediatorId,
    /// The mediator's own time.
    time: u64,
    access: Access,
    /// The round, if it is an arrival.
    round: u64,
    event: Event,
    origin: Origin,
}

/// A barrier while the model runs.
#[derive(Default)]
struct Gate {
    round: u64,
    arrived: u32,
    /// What those that have arrived in this round know together.
    coming: Clock,
    /// What those of the last full round knew.
    gone: Clock,
}

#[derive(Default)]
struct Detector {
    map: Arc<SiteMap>,
    names: Vec<String>,
    participants: BTreeMap<Arc<str>, u32>,
    ground: Ground,
    site: Option<Site>,
    clocks: Vec<Clock>,
    seen: Vec<Seen>,
    /// What the writer of each name knew when it put it.
    board: BTreeMap<u32, Clock>,
    gates: BTreeMap<u32, Gate>,
    races: Vec<Race>,
    /// Where among them those of each site are.
    of_site: BTreeMap<String, Vec<usize>>,
}

impl Detector {
    fn moment<V: Value>(&mut self, moment: &Moment<'_, V>) {
        match *moment {
            Moment::Enter { site, .. } => {
                self.ground.enter(moment);
                self.site = Some(site);
                self.seen.clear();
            }
            Moment::Leave { .. } => self.site = None,
            Moment::Begin
            | Moment::Padded { .. }
            | Moment::CacheDeclared { .. }
            | Moment::Cached { .. }
            | Moment::BeginBackward { .. }
            | Moment::EndBackward { .. }
            | Moment::Finish { .. }
            | Moment::Open { .. } => {}
            Moment::Arrive {
                mediator,
                barrier,
                origin,
                ..
            } => {
                if let Some(number) = self.ground.arrival(barrier) {
                    self.arrive(mediator, barrier, number, origin);
                }
            }
        }
    }

    fn exchange<V>(&mut self, exchange: &Exchange<'_, V>) {
        let id = exchange.mediator;
        // A barrier's exchange is its release, which comes after every arrival of the round.
        if exchange.event() == Event::Barrier {
            if let Some(number) = self.barrier_of(exchange) {
                let gone = self.gates.entry(number).or_default().gone.clone();
                self.clock(id).join(&gone);
            }
            return;
        }
        let Some(access) = self.ground.access(exchange) else {
            return;
        };
        // Checked before the clocks join: a GET does race with the PUT that it reads.
        self.check(id, access, 0, exchange.event(), exchange.origin);
        match access {
            Access::Put(name) => {
                let known = self.clock(id).clone();
                self.board.insert(name, known);
            }
            Access::Get(name) => {
                if let Some(known) = self.board.get(&name).cloned() {
                    self.clock(id).join(&known);
                }
            }
            Access::Read(_)
            | Access::Write(_)
            | Access::Skip
            | Access::Miss
            | Access::Arrive(_)
            | Access::Gather
            | Access::Leave
            | Access::Stop => {}
        }
    }

    fn barrier_of<V>(&mut self, exchange: &Exchange<'_, V>) -> Option<u32> {
        match exchange.asked() {
            Some(Asked::Name(name)) => self.ground.arrival(name),
            Some(Asked::Site(_) | Asked::Unknown(_) | Asked::Iteration(_)) | None => None,
        }
    }

    fn arrive(&mut self, id: MediatorId, barrier: &str, number: u32, origin: &Origin) {
        let participants = self.participants.get(barrier).copied().unwrap_or(u32::MAX);
        let round = self.gates.entry(number).or_default().round;
        self.check(id, Access::Arrive(number), round, Event::Barrier, origin);
        let known = self.clock(id).clone();
        let gate = self.gates.entry(number).or_default();
        gate.coming.join(&known);
        gate.arrived += 1;
        if gate.arrived >= participants {
            gate.gone = std::mem::take(&mut gate.coming);
            (gate.arrived, gate.round) = (0, gate.round + 1);
        }
    }

    /// Compares what a mediator does with what others did at this site, and notes it.
    fn check(&mut self, id: MediatorId, access: Access, round: u64, event: Event, origin: &Origin) {
        let time = self.clock(id).tick(id);
        let Some(site) = self.site else {
            return;
        };
        let clock = &self.clocks[id.0 as usize];
        let meets = |seen: &&Seen| match (seen.access, access) {
            (Access::Arrive(a), Access::Arrive(b)) => a == b && seen.round != round,
            // That others may wait in a circle is nothing that this one touches.
            (Access::Leave, _) | (_, Access::Leave) => false,
            (theirs, own) => theirs.conflicts(own),
        };
        let is_free = |seen: &&Seen| seen.mediator != id && clock.of(seen.mediator) < seen.time;
        let rivals = self.seen.iter().filter(meets).filter(is_free);
        let mut found = Vec::new();
        for seen in rivals {
            let party = |id: MediatorId, event, origin: &Origin| Party {
                mediator: self.name(id),
                event,
                origin: origin.clone(),
            };
            found.push(Race {
                site: self.map.site_name(site),
                over: self.contended(seen.access, access),
                first: party(seen.mediator, seen.event, &seen.origin),
                second: party(id, event, origin),
            });
        }
        found.into_iter().for_each(|race| self.add(race));
        self.see(Seen {
            mediator: id,
            time,
            access,
            round,
            event,
            origin: origin.clone(),
        });
    }

    /// Notes what a mediator has done here: of what it does again and again the last time, which is
    /// the one that others have not heard of if they have not heard of any.
    fn see(&mut self, seen: Seen) {
        let is_same = |other: &&mut Seen| {
            other.mediator == seen.mediator
                && other.access == seen.access
                && other.round == seen.round
                && other.event == seen.event
                && other.origin == seen.origin
        };
        match self.seen.iter_mut().find(is_same) {
            Some(before) => before.time = seen.time,
            None => self.seen.push(seen),
        }
    }

    /// Keeps a race, unless one of the same mediators for the same thing is there.
    fn add(&mut self, race: Race) {
        let pair = |race: &Race| {
            let (a, b) = (race.first.mediator.clone(), race.second.mediator.clone());
            if a < b { (a, b) } else { (b, a) }
        };
        let is_same = |other: &Race| other.over == race.over && pair(other) == pair(&race);
        let of_site = self.of_site.entry(race.site.clone()).or_default();
        if !of_site.iter().any(|&place| is_same(&self.races[place])) {
            of_site.push(self.races.len());
            self.races.push(race);
        }
    }

    fn contended(&self, first: Access, second: Access) -> Contended {
        match (first, second) {
            (Access::Skip, _) => Contended::Skip,
            (Access::Put(name), _) | (_, Access::Put(name)) => {
                Contended::Blackboard(self.ground.name_of(name).to_owned())
            }
            (Access::Arrive(name), _) => Contended::Barrier(self.ground.name_of(name).to_owned()),
            (Access::Stop, _) => Contended::Stop,
            _ => Contended::Rows,
        }
    }

    fn clock(&mut self, id: MediatorId) -> &mut Clock {
        let place = id.0 as usize;
        if self.clocks.len() <= place {
            self.clocks.resize_with(place + 1, Clock::default);
        }
        &mut self.clocks[place]
    }

    fn name(&self, id: MediatorId) -> String {
        let name = self.names.get(id.0 as usize).cloned();
        name.unwrap_or_else(|| format!("mediator {}", id.0))
    }
}
