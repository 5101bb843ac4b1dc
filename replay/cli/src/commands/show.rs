//! `interloom show`: what was exchanged?

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use interloom_journal::export::absent_site;
use interloom_journal::{
    Evidence, ExchangeRecord, JournalError, JournalReader, Names, Record, Visit, is_at, site_of,
};

use super::report::outln;
use super::training::Located;
use super::{Ending, training};
use crate::CliError;

/// Print the exchanges of a journal, one in a line: number, run, event, mediator, site, what became
/// of it, value.
///
/// Between them stands where a backward pass begins and ends. The last line says what it proves
/// that the journal could be read.
#[derive(Args)]
pub(super) struct Arguments {
    /// The journal; or the folder of a training run, whose steps are printed, or a step of it:
    /// `runs/a@1200`.
    #[arg(value_name = "FILE")]
    journal: PathBuf,
    /// Only those of this run.
    #[arg(long, value_name = "N")]
    run: Option<u32>,
    /// Only those at this site: `layers.3.attn.output.i0`, or without iteration, or without port.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Only those of this mediator.
    #[arg(long, value_name = "MEDIATOR")]
    mediator: Option<String>,
    /// Print each as JSON.
    #[arg(long)]
    json: bool,
}

/// Which of the things that were asked for are in the journal.
#[derive(Default)]
struct Seen {
    names: Names,
    runs: u32,
    /// The paths of the sites of all exchanges.
    paths: BTreeSet<u32>,
    site: bool,
    mediator: bool,
    mediators: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    if training::is_training(&arguments.journal) {
        return training::show(&arguments.journal, arguments.json);
    }
    let Located { journal, runs } = training::located(&arguments.journal)?;
    let is_meant = |run: u32| runs.as_ref().is_none_or(|runs| runs.contains(&run));
    let mut seen = Seen::default();
    let mut evidence = Evidence::default();
    let mut reader = JournalReader::open(&journal)?;
    let torn = loop {
        let (info, record) = match reader.next_record() {
            Ok(Some(next)) => next,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        seen.see(&record, arguments);
        evidence.see(&info, &record);
        match &record {
            Record::Exchange(exchange)
                if is_meant(exchange.run) && arguments.takes(&seen.names, exchange) =>
            {
                show(&seen.names, exchange, arguments.json);
            }
            Record::Visit(visit) if is_meant(visit.run) && arguments.shows_passes(visit) => {
                if let Some(turn) = seen.names.turn(visit) {
                    outln!("{:>6}  run {}  {turn}", "", visit.run);
                }
            }
            _ => {}
        }
    };
    evidence.end(&reader);
    if torn.is_none() {
        seen.check(arguments)?;
    }
    if arguments.json {
        outln!("{}", evidence.to_json());
    } else {
        outln!("proves {evidence}");
    }
    torn.map_or(Ok(Ending::Done), |error| Err(error.into()))
}

fn show(names: &Names, exchange: &ExchangeRecord, json: bool) {
    if json {
        outln!("{}", names.json(exchange));
    } else {
        outln!("{}", names.text(exchange));
    }
}

impl Arguments {
    fn takes(&self, names: &Names, exchange: &ExchangeRecord) -> bool {
        self.run.is_none_or(|run| exchange.run == run)
            && self.is_at(names, exchange)
            && self.is_by(names, exchange)
    }

    /// Whether the beginning and the end of a backward pass are shown, between all exchanges.
    fn shows_passes(&self, visit: &Visit) -> bool {
        let is_all = self.site.is_none() && self.mediator.is_none() && !self.json;
        is_all && self.run.is_none_or(|run| visit.run == run)
    }

    fn is_at(&self, names: &Names, exchange: &ExchangeRecord) -> bool {
        let site = self.site.as_ref();
        site.is_none_or(|site| is_at(names, exchange, site))
    }

    fn is_by(&self, names: &Names, exchange: &ExchangeRecord) -> bool {
        let mediator = self.mediator.as_ref();
        mediator.is_none_or(|mediator| names.mediator(exchange.mediator) == *mediator)
    }
}

impl Seen {
    fn see(&mut self, record: &Record, arguments: &Arguments) {
        self.names.see(record);
        match record {
            Record::RunStart(_) => {
                self.runs += 1;
                for name in self.names.mediators() {
                    if !self.mediators.contains(name) {
                        self.mediators.push(name.clone());
                    }
                }
            }
            Record::Exchange(exchange) => {
                self.paths.extend(site_of(exchange).map(|site| site.path));
                self.site |= arguments.is_at(&self.names, exchange);
                self.mediator |= arguments.is_by(&self.names, exchange);
            }
            Record::Head(_)
            | Record::Path(_)
            | Record::RunEnd(_)
            | Record::Tensor(_)
            | Record::Footer(_)
            | Record::Note(_)
            | Record::Tick(_)
            | Record::Passage(_)
            | Record::Source(_)
            | Record::Visit(_)
            | Record::Open(_)
            | Record::CacheDeclaration(_)
            | Record::Padding(_) => {}
        }
    }

    /// Says what was asked for and is not in the journal: a slip of the pen would look like an
    /// empty result.
    fn check(&self, arguments: &Arguments) -> Result<(), JournalError> {
        let absent = |what: String, has: String| JournalError::Absent {
            journal: arguments.journal.display().to_string().into(),
            what,
            has,
        };
        if let Some(run) = arguments.run.filter(|run| *run >= self.runs) {
            let has = match self.runs {
                0 => "no run".to_owned(),
                1 => "run 0".to_owned(),
                runs => format!("runs 0 to {}", runs - 1),
            };
            return Err(absent(format!("run {run}"), has));
        }
        if let Some(site) = arguments.site.as_ref().filter(|_| !self.site) {
            let journal = arguments.journal.display().to_string();
            return Err(absent_site(&journal, site, &self.names, &self.paths));
        }
        if let Some(mediator) = arguments.mediator.as_ref().filter(|_| !self.mediator) {
            let has = format!("{:?}", self.mediators);
            return Err(absent(
                format!("exchange of the mediator {mediator:?}"),
                has,
            ));
        }
        Ok(())
    }
}
