//! Two schedules of a run of an experiment file.

use std::fmt::Write as _;

use interloom::Error;
use interloom::experiment::{FileExperiment, Flip, FlipSide, Turns as TurnsApart};
use serde_json::{Value, json};

use super::{Arguments, usage};
use crate::cli::progress::Bars;
use crate::cli::report::{count, outln};
use crate::cli::run::Turns;
use crate::cli::{Ending, explore};

pub(super) fn run(arguments: &Arguments) -> Result<Ending, Error> {
    let (run, schedules) = match both(&arguments.schedules) {
        Ok(both) => both,
        Err(message) => return Ok(usage(&message)),
    };
    let mut experiment = FileExperiment::open(&arguments.first)?;
    experiment.model.clone_from(&arguments.model);
    experiment.device.clone_from(&arguments.device);
    experiment.set = arguments.set.iter().cloned().collect();
    let granularity = arguments.granularity.into();
    let flip = experiment.bisect(run, schedules, granularity, &mut Bars::default())?;
    match (&flip, arguments.json) {
        (None, true) => outln!("{}", json!({ "same": true })),
        (None, false) => outln!("both schedules lead to the same outcome; nothing parts"),
        (Some(flip), true) => outln!("{}", as_json(flip)),
        (Some(flip), false) => outln!("{}", text(flip, &experiment.file, arguments.granularity)),
    }
    Ok(match flip {
        Some(_) => Ending::Diverged,
        None => Ending::Done,
    })
}

/// The run, if it is named, and its two schedules.
fn both(schedules: &[String]) -> Result<(Option<&str>, [&str; 2]), String> {
    let [first, second] = schedules else {
        let count = schedules.len();
        return Err(format!(
            "an experiment file is bisected between two schedules, and there are {count}: say `--schedule [RUN=]SCHEDULE` twice"
        ));
    };
    let split = |text| match str::split_once(text, '=') {
        Some((run, schedule)) => (Some(run), schedule),
        None => (None, text),
    };
    let ((run, first), (other, second)) = (split(first), split(second));
    match (run, other) {
        (Some(a), Some(b)) if a != b => Err(format!(
            "both schedules must be of one run, and these are of {a} and {b}"
        )),
        (run, other) => Ok((run.or(other), [first, second])),
    }
}

fn text(flip: &Flip, file: &str, turns: Turns) -> String {
    let mut text = format!("{}: ", flip.run);
    let runs = count(flip.runs, "run");
    match &flip.turns {
        Some(TurnsApart {
            site,
            earlier,
            later,
            ..
        }) => {
            let _infallible = write!(
                text,
                "one change of order flips the result, found in {runs}\n  at {site}: `{earlier}` before `{later}`, or after it"
            );
        }
        None => {
            let _infallible = write!(
                text,
                "the result flips, but by more than one change of order: the mediators ask for other sites on the way ({runs})"
            );
        }
    }
    let race = flip.turns.as_ref().and_then(|turns| turns.race.as_ref());
    if let Some((race, numbers)) = race {
        let _infallible = write!(text, "\n  {race}");
        if let [Some(first), Some(second)] = numbers {
            let _infallible = write!(
                text,
                "\n  these are exchanges {first} and {second} of the run"
            );
        }
    }
    for (number, side, other) in [
        (1, &flip.before, &flip.after),
        (2, &flip.after, &flip.before),
    ] {
        let _infallible = write!(text, "\n  {number}. {}", side.outcome);
        for (label, line) in differing(side, other) {
            let _infallible = write!(text, "\n     {label}  {line}");
        }
        let command = explore::run_command(file, &flip.run, &side.schedule, turns);
        let _infallible = write!(text, "\n     {command}");
    }
    text
}

/// The lines that the other side does not show.
fn differing<'a>(
    side: &'a FlipSide,
    other: &'a FlipSide,
) -> impl Iterator<Item = &'a (String, String)> {
    let shown = side.shown.iter();
    shown.filter(|line| !other.shown.contains(line))
}

fn as_json(flip: &Flip) -> Value {
    let side = |side: &FlipSide, other: &FlipSide| {
        let lines = differing(side, other).map(|(label, text)| json!([label, text]));
        json!({
            "end": side.outcome.end,
            "digest": side.outcome.digest.to_string(),
            "schedule": side.schedule.to_string(),
            "differs": lines.collect::<Vec<_>>(),
        })
    };
    let turns = flip.turns.as_ref().map(|turns| {
        let race = turns.race.as_ref();
        json!({
            "site": turns.site,
            "earlier": turns.earlier,
            "later": turns.later,
            "race": race.map(|(race, _)| explore::race_as_json(race)),
            "exchanges": race.map(|(_, numbers)| numbers),
        })
    });
    json!({
        "same": false,
        "run": flip.run,
        "runs": flip.runs,
        "turns": turns,
        "before": side(&flip.before, &flip.after),
        "after": side(&flip.after, &flip.before),
    })
}
