//! The source of a run's two sides: live, or a journal.
//!
//! Every run of a session goes through the same interleaver and the same recorder. A [`Source`]
//! says where the two sides come from: the model live or [passed from a
//! record](interloom_engine::replay::pass_recorded), the mediators live or
//! [scripted](interloom_engine::replay::scripted).

use interloom_backends::{BackwardFailure, ForwardError, PrefixCache, RecordedPass, Run, Value};
use interloom_engine::replay::{Said, ScriptedRequest, scripted};
use interloom_engine::{CacheSpec, Fault, Invoke, Origin};

use super::passages;
use super::prefix::Prefix;
use super::recorded::Recorded;
use crate::divergence::Divergence;
use crate::error::Error;
use crate::journal::{
    self, BackwardTurn, CacheDeclaration, Event, ExchangeRecord, ExchangeResult, Head, SiteRef,
};

/// Where the sides of a session's runs come from.
pub(super) trait Source {
    /// Prepares the next run.
    ///
    /// # Errors
    ///
    /// [`Error::NotKept`] or [`Error::Unwatched`] if the journal has not kept what is to be
    /// played.
    fn stage(&mut self, run: Run, head: &Head) -> Result<Staged, Error>;

    /// Returns the journal that the model of a run is played from.
    ///
    /// # Panics
    ///
    /// Panics if no run was staged with [`Model::Recorded`].
    fn recorded(&self) -> &Recorded {
        unreachable!("the model of this source is live")
    }

    /// Returns why the last run could not make a recorded backward pass again, in which it has
    /// diverged, if that is because of what stood in for the mediators.
    fn severed(&self, _: &Divergence) -> Option<ForwardError> {
        None
    }
}

/// A run that is about to be made.
pub(super) struct Staged {
    pub(super) run: Run,
    pub(super) model: Model,
    /// What need not be computed.
    pub(super) shared: Option<PrefixCache>,
    /// What the mediators must say again before the run is forked.
    pub(super) prefix: Option<Prefix>,
    /// The exchange before which nothing may diverge, if the session is a fork.
    pub(super) fork: Option<u64>,
}

/// The model's side of a run.
pub(super) enum Model {
    Live,
    /// The recorded run whose model is played; nothing if the journal has no such run.
    Recorded(Option<Box<journal::RunRecord>>),
}

impl Staged {
    fn live(run: Run) -> Self {
        Self {
            run,
            model: Model::Live,
            shared: None,
            prefix: None,
            fork: None,
        }
    }

    /// A run whose model is played from a journal.
    ///
    /// # Errors
    ///
    /// [`Error::Unwatched`] if the journal does not have the model's side of it.
    fn recorded(
        run: Run,
        past: Option<journal::RunRecord>,
        recorded: &Recorded,
    ) -> Result<Self, Error> {
        if let Some(past) = &past
            && past.visits.is_empty()
            && past.exchanges.iter().any(|exchange| exchange.at.is_some())
        {
            return Err(Error::Unwatched {
                journal: recorded.name(),
                run: past.start.name.clone(),
            });
        }
        Ok(Self {
            model: Model::Recorded(past.map(Box::new)),
            ..Self::live(run)
        })
    }
}

/// Both sides are live.
pub(super) struct Live;

impl Source for Live {
    fn stage(&mut self, run: Run, _: &Head) -> Result<Staged, Error> {
        Ok(Staged::live(run))
    }
}

/// A journal stands in for the model.
pub(super) struct Served(pub(super) Recorded);

impl Source for Served {
    fn stage(&mut self, run: Run, _: &Head) -> Result<Staged, Error> {
        let past = self.0.next_run();
        Staged::recorded(run, past, &self.0)
    }

    fn recorded(&self) -> &Recorded {
        &self.0
    }
}

/// A journal stands in for the mediators.
pub(super) struct Driven {
    recorded: Recorded,
    /// The run that was staged last.
    past: Option<journal::RunRecord>,
}

impl Driven {
    pub(super) const fn new(recorded: Recorded) -> Self {
        let past = None;
        Self { recorded, past }
    }
}

impl Source for Driven {
    fn stage(&mut self, mut run: Run, _: &Head) -> Result<Staged, Error> {
        self.past = self.recorded.next_run();
        if let Some(past) = &self.past {
            run.replace_mediators(scripts(&self.recorded, past, &run)?);
            run.gradients(&past.start.declared.gradients);
            run.play_backward(passes(&self.recorded, past, &run)?);
        }
        Ok(Staged::live(run))
    }

    fn severed(&self, divergence: &Divergence) -> Option<ForwardError> {
        let past = self.past.as_ref()?;
        let begin = begin_of_pass(past, divergence.backward_pass?)?;
        let (exchange, at) = replaced_before(&self.recorded, past, begin)?;
        let mediator = past.start.mediators.get(exchange.mediator as usize)?;
        let site = self.recorded.journal().site(at);
        let why = BackwardFailure::Severed {
            gradient: divergence.site.clone(),
            site: site.clone(),
            mediator: mediator.name.clone(),
        };
        let after = Some(site);
        Some(ForwardError::Backward { after, why })
    }
}

/// A journal stands in for the model of the runs before an exchange. In the run of that exchange
/// both sides are live, and the mediators must say again what they said; all that comes after is
/// new.
pub(super) struct Forked {
    recorded: Recorded,
    exchange: u64,
    is_left: bool,
}

impl Forked {
    /// Forks a journal at an exchange.
    ///
    /// # Errors
    ///
    /// E072 if the journal ends before the exchange.
    pub(super) fn new(recorded: Recorded, exchange: u64) -> Result<Self, Error> {
        Ok(Self {
            recorded: recorded.up_to(exchange)?,
            exchange,
            is_left: false,
        })
    }

    /// Returns whether a run is over before the exchange.
    fn is_after(&self, past: &journal::RunRecord) -> bool {
        let last = past.exchanges.last();
        past.end.is_some() && last.is_none_or(|last| last.index < self.exchange)
    }

    /// Prepares the run of the exchange.
    fn leave(&mut self, mut run: Run, past: &journal::RunRecord, head: &Head) -> Staged {
        self.is_left = true;
        let prefix = Prefix::new(self.recorded.journal(), past, self.exchange, head);
        let shared = passages::of_run(&self.recorded, past, run.sites());
        if let Some(shared) = &shared {
            let before = past.exchanges.iter();
            let before = before.filter(|exchange| exchange.index < self.exchange);
            let all = before.count() as u64;
            let mediators = run.setup().invokes().len() as u32;
            run.share_exchanges(shared, all, guaranteed(past, all as usize, mediators));
        }
        Staged {
            shared,
            prefix: Some(prefix),
            fork: Some(self.exchange),
            ..Staged::live(run)
        }
    }
}

impl Source for Forked {
    fn stage(&mut self, run: Run, head: &Head) -> Result<Staged, Error> {
        if self.is_left {
            return Ok(Staged::live(run));
        }
        Ok(match self.recorded.next_run() {
            Some(past) if self.is_after(&past) => Staged {
                fork: Some(self.exchange),
                ..Staged::recorded(run, Some(past), &self.recorded)?
            },
            Some(past) => self.leave(run, &past, head),
            None => {
                self.is_left = true;
                Staged::live(run)
            }
        })
    }

    fn recorded(&self) -> &Recorded {
        &self.recorded
    }
}

/// Returns the backward passes that mediators of a recorded run asked for. Their losses have no
/// graph in a journal, so that it stands in for these passes, too.
fn passes(
    recorded: &Recorded,
    past: &journal::RunRecord,
    run: &Run,
) -> Result<Vec<RecordedPass>, Error> {
    let mut passes = Vec::new();
    // The pass that is being read, if mediators asked for it.
    let mut open: Option<RecordedPass> = None;
    for (exchange, visit) in &past.visits {
        match visit.backward {
            Some(BackwardTurn::Begin) => {
                open = visit.brought.is_none().then(RecordedPass::default);
                continue;
            }
            None if open.is_none() => continue,
            Some(BackwardTurn::End) | None => {}
        }
        let Some(pass) = &mut open else { continue };
        let (sites, brought) = recorded.visit(visit, *exchange, run.sites().map())?;
        pass.visit(sites, brought);
        if visit.backward.is_some() {
            passes.extend(open.take());
        }
    }
    // One that a failure broke off.
    passes.extend(open);
    Ok(passes)
}

/// Returns the exchange before which a backward pass of a recorded run began, if the code around
/// the model asked for it.
fn begin_of_pass(past: &journal::RunRecord, pass: u32) -> Option<u64> {
    let begins = past.visits.iter();
    let mut begins = begins.filter(|(_, visit)| visit.backward == Some(BackwardTurn::Begin));
    let (exchange, begin) = begins.nth(pass as usize)?;
    begin.brought.is_some().then_some(*exchange)
}

/// Returns the last exchange before another one in which a mediator replaced a value of a forward
/// pass, and where; what an operation calls is no value.
fn replaced_before<'p>(
    recorded: &Recorded,
    past: &'p journal::RunRecord,
    exchange: u64,
) -> Option<(&'p ExchangeRecord, SiteRef)> {
    let before = past.exchanges.iter().rev();
    let mut replaced = before
        .filter(|line| line.index < exchange && line.result == ExchangeResult::Served)
        .filter(|line| matches!(line.event, Event::Swap | Event::Skip))
        .filter_map(|line| Some((line, line.asked?)));
    replaced.find(|(_, at)| {
        let port = recorded.text(*at).rsplit('.').next();
        matches!(port, Some("input" | "output"))
    })
}

/// Returns how many of the first `all` exchanges of a run are over before a mediator can make one
/// that is not among them.
///
/// A mediator may do something else as soon as its own last exchange of these is over, and one that
/// was not recorded at once. One that the recording retires with these has nothing more to say.
fn guaranteed(past: &journal::RunRecord, all: usize, mediators: u32) -> u64 {
    let (before, after) = past.exchanges.split_at(all);
    let is_own = |number: u32| move |exchange: &&ExchangeRecord| exchange.mediator == number;
    let numbers = 0..mediators;
    let over = numbers.map(|number| {
        let says_more = after
            .iter()
            .chain(&past.open)
            .any(|line| line.mediator == number);
        let own_last = before.iter().rposition(|line| is_own(number)(&line));
        match own_last {
            Some(_) if !says_more => all,
            Some(last) => last + 1,
            None => 0,
        }
    });
    over.min().unwrap_or(all) as u64
}

/// Makes mediators that say what those of a recorded run said.
fn scripts(
    recorded: &Recorded,
    past: &journal::RunRecord,
    run: &Run,
) -> Result<Vec<Invoke<Value>>, Error> {
    let numbered = past.start.mediators.iter().zip(0..);
    let invokes = numbered.map(|(line, number)| {
        let lines = script(recorded, past, run, number)?;
        let mut invoke = Invoke::new(line.name.clone(), scripted(lines, run.sites().map()));
        if let Some((_, count)) = line.rows {
            invoke = invoke.rows(count);
        }
        Ok(if line.optional {
            invoke.optional()
        } else {
            invoke
        })
    });
    invokes.collect()
}

/// Returns what one mediator of a recorded run said, in order, with the caches that it declared.
fn script(
    recorded: &Recorded,
    past: &journal::RunRecord,
    run: &Run,
    number: u32,
) -> Result<Vec<ScriptedRequest<Value>>, Error> {
    let declared = past.cache_declarations.iter();
    let mut declared = declared
        .filter(|(_, cache)| cache.mediator == number)
        .peekable();
    let mut lines = Vec::new();
    let own = past.exchanges.iter().chain(&past.open);
    for exchange in own.filter(|exchange| exchange.mediator == number) {
        while let Some((_, cache)) =
            declared.next_if(|(position, _)| position.exchange <= exchange.index)
        {
            lines.push(cache_line(cache));
        }
        lines.push(script_line(recorded, exchange, run)?);
    }
    lines.extend(declared.map(|(_, cache)| cache_line(cache)));
    Ok(lines)
}

fn cache_line(cache: &CacheDeclaration) -> ScriptedRequest<Value> {
    let spec = match &cache.modules {
        Some(modules) => CacheSpec::of(modules.iter().map(String::as_str)),
        None => CacheSpec::all(),
    };
    let spec = match (cache.inputs, cache.outputs) {
        (true, true) => spec.both(),
        (true, false) => spec.inputs(),
        (false, _) => spec,
    };
    let spec = if cache.gradients {
        spec.gradients()
    } else {
        spec
    };
    ScriptedRequest {
        said: Said::Cache { spec },
        origin: Origin::Unknown,
    }
}

fn script_line(
    recorded: &Recorded,
    exchange: &ExchangeRecord,
    run: &Run,
) -> Result<ScriptedRequest<Value>, Error> {
    let target = || recorded.target(exchange.asked, run.sites().map());
    // The names of barriers and of the blackboard stand where a site would.
    let name = || exchange.asked.map_or("", |site| recorded.text(site)).into();
    let value = || recorded.value_of(exchange);
    let said = match exchange.event {
        Event::Value => Said::Value { target: target() },
        Event::Swap => Said::Swap {
            target: target(),
            value: value()?,
            reshape: exchange.reshape,
        },
        Event::Skip => Said::Skip {
            target: target(),
            value: value()?,
        },
        Event::Register => Said::Register {
            iteration: exchange.asked.map_or(0, |site| site.iteration),
            round: exchange.round,
        },
        Event::Barrier => Said::Barrier { name: name() },
        Event::Put => Said::Put {
            name: name(),
            value: value()?,
        },
        Event::Get => Said::Get { name: name() },
        Event::Backward => Said::Backward { loss: value()? },
        Event::Stop => Said::Stop,
        Event::End => Said::End,
        Event::Exception => Said::Exception {
            fault: match &exchange.fault {
                Some(fault) => fault.clone(),
                None => Fault::raise("the journal does not say why"),
            },
        },
    };
    let origin = exchange.origin.as_ref();
    let origin = origin.map_or(Origin::Unknown, |origin| Origin::Program {
        file: origin.file.clone(),
        line: origin.line,
    });
    Ok(ScriptedRequest { said, origin })
}
