//! Two schedules of a run of an experiment file.

use anstream::eprintln;
use clap::Args;
use serde_json::{Value, json};

use crate::CliError;
use crate::commands::file::File;
use crate::commands::progress::Bars;
use crate::commands::report::{count, outln};
use crate::commands::run::Turns;
use crate::commands::{Ending, explore};
use crate::experiment::{Flip, FlipSide, Turns as TurnsApart};

/// Of two orders of a run of an experiment file, find the one change that flips the result.
///
/// The change is two turns that change places; what they race for is shown with it. Any schedules
/// will do that `interloom run --schedule` takes.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: File,
    /// One order of the mediators.
    #[arg(value_name = "[RUN=]SCHEDULE")]
    first: String,
    /// Another order of the mediators of the same run.
    #[arg(value_name = "[RUN=]SCHEDULE")]
    second: String,
    /// How long a turn of a mediator lasts: until it asks for another site, or until it has been
    /// served once.
    #[arg(long, value_name = "TURN", value_enum, default_value_t)]
    granularity: Turns,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    let (run, schedules) = match both(&arguments.first, &arguments.second) {
        Ok(both) => both,
        Err(message) => {
            eprintln!("{message}");
            return Ok(Ending::Usage);
        }
    };
    let experiment = arguments.file.open()?;
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
fn both<'s>(first: &'s str, second: &'s str) -> Result<(Option<&'s str>, [&'s str; 2]), String> {
    let split = |text: &'s str| match text.split_once('=') {
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
    let mut lines = heading(flip);
    let sides = [(&flip.before, &flip.after), (&flip.after, &flip.before)];
    for (number, (side, other)) in (1..).zip(sides) {
        lines.push(format!("  {number}. {}", side.outcome));
        lines.extend(differing(side, other).map(|(label, line)| format!("     {label}  {line}")));
        let command = explore::run_command(file, &flip.run, &side.schedule, turns);
        lines.push(format!("     {command}"));
    }
    lines.join("\n")
}

/// What changes places, and what it races for.
fn heading(flip: &Flip) -> Vec<String> {
    let (run, runs) = (&flip.run, count(flip.runs, "run"));
    let Some(turns) = &flip.turns else {
        return vec![format!(
            "{run}: the result flips, but by more than one change of order: the mediators ask for other sites on the way ({runs})"
        )];
    };
    let TurnsApart {
        site,
        earlier,
        later,
        race,
    } = turns;
    let mut lines = vec![
        format!("{run}: one change of order flips the result, found in {runs}"),
        format!("  at {site}: `{earlier}` before `{later}`, or after it"),
    ];
    if let Some((race, numbers)) = race {
        lines.push(format!("  {race}"));
        if let [Some(first), Some(second)] = numbers {
            lines.push(format!(
                "  these are exchanges {first} and {second} of the run"
            ));
        }
    }
    lines
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
