//! The setup of a run: mediators, barriers, caches, scheduler and observers.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cache::{CacheSpec, Cached};
use crate::error::RunError;
use crate::interleaver::Interleaver;
use crate::map::SiteMap;
use crate::mediator::{Group, Invoke, MediatorId};
use crate::observer::Observer;
use crate::padding::Padding;
use crate::scheduler::{Granularity, InOrder, RunFingerprint, Scheduler};
use crate::site::Point;
use crate::value::{Rows, Value};

/// The points of a cache, in order, whether they are listed, and where to collect them.
type ResolvedCache<V> = (Vec<Point>, bool, Cached<V>);

/// A run before it starts.
pub struct Setup<V> {
    pub(crate) map: Arc<SiteMap>,
    pub(crate) invokes: Vec<Invoke<V>>,
    pub(crate) scheduler: Box<dyn Scheduler>,
    pub(crate) granularity: Granularity,
    pub(crate) observers: Vec<Box<dyn Observer<V>>>,
    pub(crate) barriers: Vec<(Arc<str>, u32)>,
    pub(crate) steps: Option<u32>,
    pub(crate) padding: Option<Padding>,
    pub(crate) traces: bool,
    caches: Vec<(CacheSpec, Cached<V>)>,
    /// The names of values whose gradients may be asked for.
    gradients: Vec<String>,
}

impl<V: Value> Setup<V> {
    /// Prepares a run of the model whose sites `map` lists.
    pub fn new(map: Arc<SiteMap>) -> Self {
        Self {
            map,
            invokes: Vec::new(),
            scheduler: Box::new(InOrder),
            granularity: Granularity::Site,
            observers: Vec::new(),
            barriers: Vec::new(),
            steps: None,
            padding: None,
            traces: false,
            caches: Vec::new(),
            gradients: Vec::new(),
        }
    }

    /// Adds a mediator; its number is its place in definition order.
    pub fn invoke(&mut self, invoke: Invoke<V>) -> MediatorId {
        let id = MediatorId(self.invokes.len() as u32);
        self.invokes.push(invoke);
        id
    }

    /// Chooses the order of mediators; the default is [`InOrder`].
    pub fn scheduler(&mut self, scheduler: impl Scheduler + 'static) {
        self.scheduler = Box::new(scheduler);
    }

    /// Chooses how long a turn of a mediator lasts; the default is [`Granularity::Site`].
    pub fn granularity(&mut self, granularity: Granularity) {
        self.granularity = granularity;
    }

    /// Lets `observer` see every exchange, after those that were added before it.
    pub fn observer(&mut self, observer: impl Observer<V> + 'static) {
        self.observers.push(Box::new(observer));
    }

    /// Shows the observers which points the model passes, also where no mediator waits.
    ///
    /// [`Moment::Enter`](crate::Moment::Enter) and [`Moment::Finish`](crate::Moment::Finish) have
    /// them. That costs four bytes for each visit between two of these.
    pub fn trace(&mut self) {
        self.traces = true;
    }

    /// Declares a barrier for `participants` mediators; with 1 or 0 no mediator waits there.
    pub fn barrier(&mut self, name: &str, participants: u32) {
        self.barriers.push((name.into(), participants));
    }

    /// Declares how many steps the run has, at which a loop without an upper bound ends.
    pub fn steps(&mut self, steps: u32) {
        self.steps = Some(steps);
    }

    /// Declares which positions of the rows of the batch are padding, if any are: mediators see
    /// those of their own rows.
    pub fn padding(&mut self, padding: Option<Padding>) {
        self.padding = padding;
    }

    /// Collects what modules receive or return, of the whole batch, after the changes of all
    /// mediators.
    pub fn cache(&mut self, spec: CacheSpec) -> Cached<V> {
        let cached = Cached::new(self.map.clone());
        self.caches.push((spec, cached.clone()));
        cached
    }

    /// Declares values whose gradients mediators may ask for: modules, whose outputs are meant,
    /// points, or aliases; and parameters.
    pub fn gradients<S: Into<String>>(&mut self, of: impl IntoIterator<Item = S>) {
        self.gradients.extend(of.into_iter().map(Into::into));
    }

    /// Declares every value that passes as one whose gradient mediators may ask for.
    pub fn all_gradients(&mut self) {
        let points = self.map.points().filter(|point| point.gradient().is_some());
        let names: Vec<String> = points.map(|point| self.map.point_name(point)).collect();
        self.gradients(names);
    }

    /// Returns the barriers with the numbers of their participants, in the order of their
    /// declaration.
    pub fn barriers(&self) -> impl Iterator<Item = (&str, u32)> {
        self.barriers.iter().map(|(name, count)| (&**name, *count))
    }

    /// Returns the sites of the model.
    pub const fn map(&self) -> &Arc<SiteMap> {
        &self.map
    }

    /// Returns how many steps the run declares.
    pub const fn declared_steps(&self) -> Option<u32> {
        self.steps
    }

    /// Returns the padding that the run declares.
    pub const fn declared_padding(&self) -> Option<&Padding> {
        self.padding.as_ref()
    }

    /// Returns the mediators, in definition order.
    pub fn invokes(&self) -> &[Invoke<V>] {
        &self.invokes
    }

    /// Returns what the journal calls the scheduler.
    pub fn schedule(&self) -> String {
        self.scheduler.describe()
    }

    /// Returns the rows of each mediator, in definition order.
    ///
    /// # Errors
    ///
    /// [`RunError::BatchTooLarge`] if the rows cannot be counted in 32 bits.
    pub fn groups(&self) -> Result<Vec<Group>, RunError> {
        let mut start = 0u32;
        let group = |invoke: &Invoke<V>| match invoke.own_rows() {
            None => Ok(Group::Whole),
            Some(count) => {
                let rows = Rows { start, count };
                start = start.checked_add(count).ok_or(RunError::BatchTooLarge)?;
                Ok(Group::Rows(rows))
            }
        };
        self.invokes.iter().map(group).collect()
    }

    /// Returns how many rows the mediators have together; 0 if none has rows of its own.
    ///
    /// # Errors
    ///
    /// As [`groups`](Self::groups).
    pub fn batch(&self) -> Result<u32, RunError> {
        Ok(self.groups()?.iter().map(Group::end).max().unwrap_or(0))
    }

    /// Starts every mediator in definition order, and runs each to its first request.
    ///
    /// If [`Interleaver::is_halted`] says so afterwards, the model must not run.
    ///
    /// # Errors
    ///
    /// [`RunError::DuplicateName`], [`RunError::BatchTooLarge`], [`RunError::DuplicateBarrier`],
    /// [`RunError::UnknownCached`], and [`RunError::Schedule`] if the scheduler is for another run;
    /// nothing has been started then.
    pub fn start(mut self) -> Result<Interleaver<V>, RunError> {
        let groups = self.groups()?;
        self.check()?;
        self.begin_schedule()?;
        self.barriers.sort();
        let caches = self.resolve_caches()?;
        let gradients = self.declared_gradients()?;
        let mut interleaver = Interleaver::new(self, groups, &gradients);
        for (number, (points, is_listed, into)) in (0..).zip(caches) {
            interleaver.add_cache((None, number), points, is_listed, into);
        }
        interleaver.start();
        Ok(interleaver)
    }

    /// Lets the scheduler see what the run is made of.
    fn begin_schedule(&mut self) -> Result<(), RunError> {
        let mut scheduler = std::mem::replace(&mut self.scheduler, Box::new(InOrder));
        scheduler.begin(&RunFingerprint::new(self))?;
        self.scheduler = scheduler;
        Ok(())
    }

    /// Replaces the mediators by others, such as a script of what they said before.
    pub fn replace_mediators(&mut self, invokes: Vec<Invoke<V>>) {
        self.invokes = invokes;
    }

    /// Refuses names that stand for two things.
    fn check(&self) -> Result<(), RunError> {
        let names = self.invokes.iter().map(|invoke| &*invoke.name);
        if let Some(twin) = twin(names) {
            return Err(RunError::DuplicateName(twin.to_owned()));
        }
        match twin(self.barriers.iter().map(|(name, _)| &**name)) {
            Some(twin) => Err(RunError::DuplicateBarrier(twin.to_owned())),
            None => Ok(()),
        }
    }

    /// Returns the points of the gradients that the run declares, in order: those of its mediators
    /// and its own, without what mediators collect in caches.
    ///
    /// # Errors
    ///
    /// [`RunError::UnknownGradient`] if the model does not have one of them.
    pub fn declared_gradients(&self) -> Result<Vec<Point>, RunError> {
        let map = &self.map;
        let of_mediators = self
            .invokes
            .iter()
            .flat_map(|invoke| invoke.mediator.gradients());
        let of_mediators = of_mediators.filter(|point| map.has(*point));
        let mut points: Vec<Point> = of_mediators.filter_map(Point::own_gradient).collect();
        let of_invokes = self.invokes.iter().flat_map(Invoke::declared_gradients);
        for asked in of_invokes.chain(self.gradients.iter().cloned()) {
            let value = asked.strip_suffix(".grad").unwrap_or(&asked);
            match map.gradient(value) {
                Some(point) => points.push(point),
                None => {
                    // Of all that has a gradient, parameters among it.
                    let nearest = map.nearest(&format!("{value}.grad")).into_iter();
                    let nearest = nearest.map(|name| name.trim_end_matches(".grad").to_owned());
                    let nearest = nearest.collect();
                    return Err(RunError::UnknownGradient { asked, nearest });
                }
            }
        }
        points.sort_unstable();
        points.dedup();
        Ok(points)
    }

    fn resolve_caches(&mut self) -> Result<Vec<ResolvedCache<V>>, RunError> {
        let map = &self.map;
        let resolve = |(spec, into): (CacheSpec, Cached<V>)| match spec.points(map) {
            Ok(points) => Ok((points, spec.is_listed(), into)),
            Err(asked) => {
                let nearest = map.nearest(&asked);
                Err(RunError::UnknownCached { asked, nearest })
            }
        };
        self.caches.drain(..).map(resolve).collect()
    }
}

/// Returns a name that occurs twice.
fn twin<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Option<&'n str> {
    // Of few names each is compared with each, which allocates nothing: an exploration sets up many
    // small runs.
    const FEW: usize = 8;
    if names.clone().nth(FEW).is_none() {
        let mut numbered = names.clone().enumerate();
        let is_twin =
            |(place, name): &(usize, &str)| names.clone().take(*place).any(|n| n == *name);
        return numbered.find(is_twin).map(|(_, name)| name);
    }
    let mut seen = BTreeSet::new();
    let mut names = names;
    names.find(|&name| !seen.insert(name))
}
