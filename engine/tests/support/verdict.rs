//! What a run shows, as the engine and the reference both say it.

use interloom_engine::array::Array;
use interloom_engine::{Meeting, Note, RunEnd, RunError, Site, SiteMap};

use crate::programs::{Case, Style};
use crate::support::{Ran, Record};

/// What a run shows.
#[derive(Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) log: Vec<Record>,
    pub(crate) end: End,
    pub(crate) output: Option<Array>,
    /// The loops that ended because an iteration never came: whose, in which iteration, and the last one.
    pub(crate) ended: Vec<(u32, u32, Option<u32>)>,
}

/// How a run ends; mediators are numbered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    Completed,
    Stopped {
        by: u32,
        at: Option<Site>,
    },
    Failed(Vec<(u32, &'static str)>),
    PartialSkip {
        at: Site,
        skipping: Vec<u32>,
        others: Vec<u32>,
    },
    SkipMisfit {
        at: Site,
        skipping: Vec<u32>,
    },
    NeverFired(Vec<u32>),
    /// The barriers that are closed, and who waits there.
    Unmet(Vec<(String, Vec<u32>)>),
    Circle(Vec<(String, Vec<u32>)>),
}

fn end_of(ran: &Ran, map: &SiteMap) -> End {
    let number = |name: &String| {
        name[1..]
            .parse()
            .expect("a mediator is named by its number")
    };
    let numbers = |names: &[String]| names.iter().map(number).collect();
    let waiting = |meetings: &[Meeting]| {
        let meeting = |meeting: &Meeting| (meeting.barrier.clone(), numbers(&meeting.waiting));
        meetings.iter().map(meeting).collect()
    };
    let site = |name: &str| {
        let (point, iteration) = map.site(name).expect("a site of the model");
        point.at(iteration.expect("written out"))
    };
    match &ran.report.result {
        Ok(RunEnd::Completed) => End::Completed,
        Ok(RunEnd::Stopped { by, at }) => End::Stopped {
            by: number(by),
            at: at.as_deref().map(site),
        },
        Err(RunError::Mediators(failures)) => {
            let failure = failures.iter();
            End::Failed(
                failure
                    .map(|failure| (number(&failure.mediator), failure.fault.code()))
                    .collect(),
            )
        }
        Err(RunError::PartialSkip {
            site: at,
            skipping,
            others,
        }) => End::PartialSkip {
            at: site(at),
            skipping: numbers(skipping),
            others: numbers(others),
        },
        Err(RunError::SkipMisfit {
            site: at, skipping, ..
        }) => End::SkipMisfit {
            at: site(at),
            skipping: numbers(skipping),
        },
        Err(RunError::BarrierUnmet(meetings)) => End::Unmet(waiting(meetings)),
        Err(RunError::Circle(meetings)) => End::Circle(waiting(meetings)),
        Err(RunError::NeverFired(names)) => End::NeverFired(numbers(names)),
        Err(other) => panic!("{other}"),
    }
}

fn ended_loops(ran: &Ran) -> Vec<(u32, u32, Option<u32>)> {
    let accounts = (0..).zip(&ran.report.audit.mediators);
    let notes =
        accounts.flat_map(|(who, account)| account.notes.iter().map(move |note| (who, note)));
    let ended = notes.map(|(who, note)| match note {
        Note::LoopEnded {
            iteration, last, ..
        } => (who, *iteration, *last),
        other => panic!("{other}"),
    });
    ended.collect()
}

/// Runs a case.
pub(crate) fn engine(case: &Case, style: Style) -> Verdict {
    let ran = case.run(style);
    Verdict {
        ended: ended_loops(&ran),
        end: end_of(&ran, &case.model.map),
        output: ran.output,
        log: ran.log,
    }
}
