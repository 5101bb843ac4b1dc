//! Outcomes of runs, in a form that can be compared.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use crate::digest::{Digester, Fingerprint};
use crate::error::{Meeting, RunError};
use crate::interleaver::{Report, RunEnd};
use crate::observer::{Asked, Exchange, Observer};
use crate::setup::Setup;
use crate::site::Site;
use crate::value::Value;

/// The outcome of a run: how it ended, and a digest of the exchanges of each mediator and of what
/// else was added.
///
/// It does not depend on the order in which mediators had their turns, but on what each of them
/// asked for and got: orders that differ in nothing else are one outcome.
///
/// ```
/// use std::sync::Arc;
/// use interloom_engine::{array::Array, RunOutcome, Setup, SiteMap};
///
/// let mut setup: Setup<Array> = Setup::new(Arc::new(SiteMap::new()));
/// let watch = RunOutcome::watch(&mut setup, |value: &Array, digester| {
///     value.data().iter().for_each(|x| drop(digester.number(x.to_bits())));
/// });
/// let report = setup.start()?.finish();
/// assert_eq!(watch.outcome(&report).end, "completed");
/// # Ok::<(), interloom_engine::RunError>(())
/// ```
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RunOutcome {
    /// How the run ended: `completed`, who stopped it, or the code of the error with the mediators
    /// concerned.
    pub end: String,
    /// The digest.
    pub digest: Fingerprint,
}

impl RunOutcome {
    /// Watches the run; `digest` adds a value to a digest, with whatever of it counts as a
    /// difference.
    pub fn watch<V: Value>(
        setup: &mut Setup<V>,
        digest: impl Fn(&V, &mut Digester) + 'static,
    ) -> Watch {
        let watch = Watch::default();
        let by_mediator = watch.0.clone();
        setup.observer(Watcher {
            by_mediator,
            digest,
        });
        watch
    }

    /// Adds something else that the run showed, such as the model's output.
    pub fn with(mut self, name: &str, add: impl FnOnce(&mut Digester)) -> Self {
        let mut digester = Digester::new();
        digester.bytes(&self.digest.0.to_le_bytes()).text(name);
        add(&mut digester);
        self.digest = digester.finish();
        self
    }
}

impl fmt::Display for RunOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, digest {}", self.end, self.digest)
    }
}

/// The digests of a run's exchanges; see [`RunOutcome::watch`].
#[derive(Debug, Default)]
pub struct Watch(Rc<RefCell<Vec<Digester>>>);

impl Watch {
    /// Returns what the run showed, once it is over.
    pub fn outcome(&self, report: &Report) -> RunOutcome {
        let mut all = Digester::new();
        for own in &*self.0.borrow() {
            all.bytes(&own.finish().0.to_le_bytes());
        }
        let end = describe_end(report.result.as_ref());
        all.text(&end);
        for account in &report.audit.mediators {
            all.text(&account.state.to_string());
        }
        RunOutcome {
            end,
            digest: all.finish(),
        }
    }
}

struct Watcher<F> {
    by_mediator: Rc<RefCell<Vec<Digester>>>,
    digest: F,
}

impl<V, F: Fn(&V, &mut Digester)> Observer<V> for Watcher<F> {
    fn exchange(&mut self, exchange: &Exchange<'_, V>) {
        let mut by_mediator = self.by_mediator.borrow_mut();
        let place = exchange.mediator.0 as usize;
        if by_mediator.len() <= place {
            by_mediator.resize_with(place + 1, Digester::new);
        }
        let own = &mut by_mediator[place];
        own.bytes(&[exchange.event() as u8]);
        match exchange.asked() {
            None => own.bytes(&[0]),
            Some(Asked::Site(site)) => add_site(own.bytes(&[1]), site),
            Some(Asked::Unknown(name)) => own.bytes(&[2]).text(name),
            Some(Asked::Name(name)) => own.bytes(&[3]).text(name),
            Some(Asked::Iteration(iteration)) => own.bytes(&[4]).number(u64::from(iteration)),
        };
        match exchange.at {
            None => own.bytes(&[0]),
            Some(site) => add_site(own.bytes(&[1]), site),
        };
        match (exchange.fault(), exchange.value()) {
            (Some(fault), _) => drop(own.bytes(&[2]).text(fault.code())),
            (None, Some(value)) => (self.digest)(value, own.bytes(&[1])),
            (None, None) => drop(own.bytes(&[0])),
        }
    }
}

fn add_site(digester: &mut Digester, site: Site) -> &mut Digester {
    let Site { point, iteration } = site;
    digester
        .number(point.index() as u64)
        .number(u64::from(iteration))
}

/// Says how a run ended, with names in an order that does not depend on the schedule.
///
/// ```
/// use interloom_engine::{explore::describe_end, RunEnd, RunError};
///
/// assert_eq!(describe_end(Ok(&RunEnd::Completed)), "completed");
/// let twins = RunError::DuplicateName("a".to_owned());
/// assert_eq!(describe_end(Err(&twins)), "failed with E023");
/// ```
pub fn describe_end(result: Result<&RunEnd, &RunError>) -> String {
    let error = match result {
        Ok(end) => return end.to_string(),
        Err(error) => error,
    };
    let mut who: Vec<String> = match error {
        RunError::Mediators(failures) => failures
            .iter()
            .map(|failure| format!("{} {}", failure.mediator, failure.fault.code()))
            .collect(),
        RunError::PartialSkip { skipping, .. } | RunError::SkipMisfit { skipping, .. } => skipping
            .iter()
            .map(|asker| asker.mediator.clone())
            .collect(),
        RunError::NeverFired(silent) => silent
            .iter()
            .map(|silent| silent.mediator.clone())
            .collect(),
        RunError::BarrierUnmet(meetings) | RunError::Circle(meetings) => {
            meetings.iter().map(meeting).collect()
        }
        RunError::DuplicateName(_)
        | RunError::BatchTooLarge
        | RunError::DuplicateBarrier(_)
        | RunError::UnknownCached { .. }
        | RunError::UnknownGradient { .. }
        | RunError::Schedule(_) => Vec::new(),
    };
    who.sort_unstable();
    match who.is_empty() {
        true => format!("failed with {}", error.code()),
        false => format!("failed with {}: {}", error.code(), who.join(", ")),
    }
}

fn meeting(meeting: &Meeting) -> String {
    let waiting = meeting.waiting.iter().map(|asker| asker.mediator.as_str());
    let waiting: Vec<&str> = waiting.collect();
    format!("{} at {}", waiting.join(" and "), meeting.barrier)
}
