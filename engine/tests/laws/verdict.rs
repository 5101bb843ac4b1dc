//! What a run shows, whether the engine made it or the reference.

use interloom_engine::array::Array;
use interloom_engine::{Asker, Audit, Meeting, Note, Point, RunEnd, RunError, Site, SiteMap};

use crate::programs::{BARRIERS, Case, Style};
use crate::support::{Ran, Record};

/// What a run shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) log: Vec<Record>,
    pub(crate) end: End,
    pub(crate) output: Option<Array>,
    /// The inputs at which modules were skipped, with the points inside whose iterations do not
    /// line up any more.
    pub(crate) out_of_step: Vec<(Site, Vec<Point>)>,
}

/// How a run ends; mediators are numbered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    Completed,
    /// By whom, and where.
    Stopped(usize, Option<Site>),
    Failed(Vec<(usize, &'static str)>),
    /// Where, who skipped, and who did not.
    PartialSkip(Site, Vec<usize>, Vec<usize>),
    SkipMisfit(Site, Vec<usize>),
    NeverFired(Vec<usize>),
    /// The barriers that are closed, and who waits there.
    Unmet(Vec<(usize, Vec<usize>)>),
    Circle(Vec<(usize, Vec<usize>)>),
}

/// Runs a case with the engine.
pub(crate) fn engine(case: &Case, style: Style) -> Verdict {
    verdict_of(case.run(style), case)
}

pub(crate) fn verdict_of(ran: Ran, case: &Case) -> Verdict {
    Verdict {
        end: end_of(&ran, &case.model.map),
        out_of_step: out_of_step(&ran.report.audit, &case.model.map),
        output: ran.output,
        log: ran.log,
    }
}

fn out_of_step(audit: &Audit, map: &SiteMap) -> Vec<(Site, Vec<Point>)> {
    let of_note = |note: &Note| match note {
        Note::OutOfStep { module, uneven } => {
            let (point, iteration) = map.site(module).expect("a site of the model");
            let uneven = uneven.iter().filter_map(|name| map.point(name));
            Some((point.at(iteration.expect("written out")), uneven.collect()))
        }
        _ => None,
    };
    audit.notes.iter().filter_map(of_note).collect()
}

pub(crate) fn end_of(ran: &Ran, map: &SiteMap) -> End {
    let number = |name: &String| {
        let number: Result<usize, _> = name[1..].parse();
        number.expect("a mediator is named by its number")
    };
    let numbers = |names: &[String]| names.iter().map(number).collect();
    let askers = |askers: &[Asker]| askers.iter().map(|asker| number(&asker.mediator)).collect();
    let waiting = |meetings: &[Meeting]| {
        let meeting = |meeting: &Meeting| {
            let place = BARRIERS.iter().position(|name| *name == meeting.barrier);
            let waiting = meeting.waiting.iter().map(|asker| number(&asker.mediator));
            (place.expect("a barrier of the case"), waiting.collect())
        };
        meetings.iter().map(meeting).collect()
    };
    let site = |name: &str| {
        let (point, iteration) = map.site(name).expect("a site of the model");
        point.at(iteration.expect("written out"))
    };
    match &ran.report.result {
        Ok(RunEnd::Completed) => End::Completed,
        Ok(RunEnd::Stopped { by, at }) => End::Stopped(number(by), at.as_deref().map(site)),
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
            ..
        }) => End::PartialSkip(site(at), askers(skipping), numbers(others)),
        Err(RunError::SkipMisfit {
            site: at, skipping, ..
        }) => End::SkipMisfit(site(at), askers(skipping)),
        Err(RunError::BarrierUnmet(meetings)) => End::Unmet(waiting(meetings)),
        Err(RunError::Circle(meetings)) => End::Circle(waiting(meetings)),
        Err(RunError::NeverFired(silent)) => {
            let names: Vec<String> = silent
                .iter()
                .map(|silent| silent.mediator.clone())
                .collect();
            End::NeverFired(numbers(&names))
        }
        Err(other) => panic!("{other}"),
    }
}
