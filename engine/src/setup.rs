//! What a run is made of, before it starts.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::RunError;
use crate::interleaver::Interleaver;
use crate::map::SiteMap;
use crate::mediator::{Group, Invoke, MediatorId};
use crate::observer::Observer;
use crate::scheduler::{InOrder, Scheduler};
use crate::value::{Rows, Value};

/// A run before it starts.
pub struct Setup<V> {
    pub(crate) map: Arc<SiteMap>,
    pub(crate) invokes: Vec<Invoke<V>>,
    pub(crate) scheduler: Box<dyn Scheduler>,
    pub(crate) observer: Option<Box<dyn Observer<V>>>,
}

impl<V: Value> Setup<V> {
    /// Prepares a run of the model whose sites `map` lists.
    pub fn new(map: Arc<SiteMap>) -> Self {
        Self {
            map,
            invokes: Vec::new(),
            scheduler: Box::new(InOrder),
            observer: None,
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

    /// Lets `observer` see every exchange.
    pub fn observer(&mut self, observer: impl Observer<V> + 'static) {
        self.observer = Some(Box::new(observer));
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
        let group = |invoke: &Invoke<V>| match invoke.rows {
            None => Ok(Group::Whole),
            Some(count) => {
                let rows = Rows { start, count };
                start = start.checked_add(count).ok_or(RunError::BatchTooLarge)?;
                Ok(Group::Rows(rows))
            }
        };
        self.invokes.iter().map(group).collect()
    }

    /// Starts every mediator in definition order, and runs each to its first request.
    ///
    /// If [`Interleaver::is_halted`] says so afterwards, the model must not run.
    ///
    /// # Errors
    ///
    /// [`RunError::DuplicateName`] and [`RunError::BatchTooLarge`]; nothing has been started then.
    pub fn start(self) -> Result<Interleaver<V>, RunError> {
        let groups = self.groups()?;
        let mut names = BTreeSet::new();
        if let Some(twin) = self
            .invokes
            .iter()
            .find(|invoke| !names.insert(&invoke.name))
        {
            return Err(RunError::DuplicateName(twin.name.clone()));
        }
        let mut interleaver = Interleaver::new(self, groups);
        interleaver.start();
        Ok(interleaver)
    }
}
