//! `interloom explore`: does the order of the mediators make a difference?

use std::path::PathBuf;

use clap::Args;
use interloom::batch_invariance::BatchDependence;
use interloom::explore::{Exploration, ExploredOutcome, Orders};
use interloom_engine::Schedule;
use interloom_engine::explore::{
    Class, Contended, ExplorationProgress, OrderDependence, Party, Race,
};
use interloom_journal::plain;
use serde_json::{Value as Json, json};

use super::file::File;
use super::progress::Bars;
use super::report::{count, outln};
use super::run::{Folder, Turns};
use super::{Ending, report};
use crate::CliError;
use crate::experiment::{
    ExperimentSize, FileExperiment, FileFindings, MateFindings, RunFindings, Shrunken, SiteOrder,
};

/// Make the runs of an experiment file in every order of their mediators that can make a
/// difference.
///
/// Each run of the file is explored on its own, given what the runs before it have saved. Two runs
/// are alike if they end alike, save the same and have the same output, bit for bit. What only the
/// order decides is said first, with both lines; then whether it makes a difference, and a schedule
/// for each outcome, with which `interloom run --schedule` makes it again.
///
/// Exits with 0 if the order makes no difference or none was found, and with 1 if it makes one, or
/// if a run was not explored because one before it fails.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: File,
    /// Make each run of the file at most so many times.
    #[arg(long, value_name = "N", default_value_t = Exploration::RUNS, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Begin no further run after so many seconds in all; each run of the file is made once at
    /// least.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// How long a turn of a mediator lasts: until it asks for another site, or until it has been
    /// served once.
    #[arg(long, value_name = "TURN", value_enum, default_value_t)]
    granularity: Turns,
    /// Which orders are tried: `all` that can make a difference, or samples: `random:SEED` with
    /// equal chances, `pct:DEPTH` by random priorities.
    #[arg(long, value_name = "ORDERS", default_value_t)]
    schedules: Orders,
    /// A folder for a journal of each outcome, `RUN.1.ilj` and so on; older ones are replaced.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Also make of each difference the smallest experiment that shows it: fewer mediators, steps,
    /// iterations and tokens, and the smallest schedule. With `--out` it is written there,
    /// with a journal of both orders, and else it is printed.
    #[arg(long)]
    shrink: bool,
    /// Make at most so many runs to shrink each difference.
    #[arg(long, value_name = "N", requires = "shrink", default_value_t = FileExperiment::SHRINKING_RUNS, value_parser = clap::value_parser!(u64).range(1..))]
    shrink_runs: u64,
    /// Also run each invoke with rows alone, and say where its values are others than in the
    /// batch.
    #[arg(long)]
    batch_mates: bool,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    let experiment = arguments.file.open()?;
    // Before a model is loaded, let alone run.
    experiment.check()?;
    let folder = arguments.out.as_deref().map(Folder::make).transpose()?;
    let exploration = Exploration::new()
        .runs(arguments.runs)
        .orders(arguments.schedules)
        .granularity(arguments.granularity.into());
    let mut goes_on = until(arguments.seconds);
    let found = experiment.explore(
        &exploration,
        arguments.out.as_deref(),
        arguments.batch_mates,
        &mut Bars::default(),
        &mut goes_on,
    )?;
    let shrunken = match arguments.shrink {
        true => experiment.shrink(
            &found,
            &exploration,
            arguments.shrink_runs,
            arguments.out.as_deref(),
            &mut Bars::default(),
            &mut goes_on,
        )?,
        false => Vec::new(),
    };
    if let Some(folder) = folder {
        folder.keep();
    }
    match arguments.json {
        true => outln!("{}", as_json(&found, &shrunken)),
        false => show(&found, &shrunken, arguments),
    }
    Ok(
        match found.is_order_dependent() || !found.unexplored.is_empty() {
            true => Ending::Failed,
            false => Ending::Done,
        },
    )
}

/// Returns what says whether there is time for another run.
#[expect(
    clippy::disallowed_types,
    reason = "how many runs there is time for; none of them sees the clock"
)]
fn until(seconds: Option<u64>) -> impl FnMut(&ExplorationProgress) -> bool {
    let start = std::time::Instant::now();
    move |_| seconds.is_none_or(|seconds| start.elapsed().as_secs() < seconds)
}

fn show(found: &FileFindings, shrunken: &[Shrunken], arguments: &Arguments) {
    report::heading(&format!("{} on {}", found.file, found.model));
    if let Some(about) = &found.about {
        outln!("{}", about.trim());
    }
    for run in &found.runs {
        outln!();
        report::heading(&run.name);
        show_run(found, run, arguments.granularity);
        for small in shrunken.iter().filter(|small| small.run == run.name) {
            show_small(small, arguments);
        }
    }
    // The last one that was explored is the one that fails.
    if let (Some(failed), [_, ..]) = (found.runs.last(), &*found.unexplored) {
        outln!();
        outln!(
            "not explored, because `{}` before them fails in definition order: {}; whether the order matters there is not known",
            failed.name,
            found.unexplored.join(", ")
        );
    }
}

fn show_run(found: &FileFindings, run: &RunFindings, turns: Turns) {
    for race in &run.races {
        outln!("  {}", plain(&race.to_string()));
    }
    outln!("  {}", run.verdict);
    outln!("  {}", run.verdict.effort());
    let failed = |class: &Class<ExploredOutcome>| class.outcome.has_failed;
    let classes = &run.verdict.classes;
    if classes.len() > 1 || classes.iter().any(failed) || !run.journals.is_empty() {
        for (place, class) in classes.iter().enumerate() {
            show_class(found, run, place, class, turns);
        }
    }
    if let Some(mates) = &run.mates {
        show_mates(mates);
    }
}

fn show_class(
    found: &FileFindings,
    run: &RunFindings,
    place: usize,
    class: &Class<ExploredOutcome>,
    turns: Turns,
) {
    let runs = count(class.runs, "run");
    outln!("  {}. {}, in {runs}", place + 1, class.outcome);
    for (label, text) in run.differing_lines(place) {
        outln!("     {label}  {text}");
    }
    if run.verdict.classes.len() > 1 {
        for order in run.orders.get(place).into_iter().flatten() {
            let mediators = order.mediators.iter().map(|name| format!("`{name}`"));
            let mediators: Vec<String> = mediators.collect();
            outln!(
                "     order at {}: {}",
                order.site,
                mediators.join(", then ")
            );
        }
    }
    if let Some(journal) = run.journals.get(place) {
        outln!("     interloom replay {}", journal.display());
    }
    let command = run_command(&found.file, &run.name, &class.witness, turns);
    outln!("     {command}");
}

/// The command that makes a run of an experiment file in this order.
pub(super) fn run_command(file: &str, run: &str, schedule: &Schedule, turns: Turns) -> String {
    let granularity = match turns {
        Turns::Site => "",
        Turns::Exchange => " --granularity exchange",
    };
    format!("interloom run {file} --schedule {run}={schedule}{granularity}")
}

fn show_small(small: &Shrunken, arguments: &Arguments) {
    let others = small.outcomes.iter();
    let pairs: Vec<String> = others.map(|other| format!("1 and {}", other + 1)).collect();
    let left = match small.is_smallest {
        true => "nothing more can be taken away",
        false => "which may not be the smallest",
    };
    outln!(
        "  shrunk, for {}: {}, from {}; in {}, {left}",
        pairs.join(", "),
        small.after,
        small.before,
        count(small.runs, "run")
    );
    outln!("     in definition order {}", small.first);
    outln!("     otherwise {}, by {}", small.other, small.schedule);
    if arguments.out.is_none() {
        for line in small.experiment.text.lines() {
            match line {
                "" => outln!(),
                line => outln!("     | {line}"),
            }
        }
        return;
    }
    outln!("     interloom explore {}", small.experiment.file);
    for journal in &small.journals {
        outln!("     interloom replay {}", journal.display());
    }
}

fn show_mates(mates: &MateFindings) {
    match mates {
        MateFindings::NotAsked(reason) => outln!("  batch-mates: not compared, for {reason}"),
        MateFindings::Compared(invokes) => {
            for (invoke, dependence) in invokes {
                match dependence {
                    None => outln!("  batch-mates: `{invoke}` is the same alone, bit for bit"),
                    Some(found) => outln!("  batch-mates: {found}"),
                }
            }
        }
    }
}

fn as_json(found: &FileFindings, shrunken: &[Shrunken]) -> Json {
    json!({
        "file": found.file,
        "about": found.about,
        "model": found.model,
        "order_dependent": found.is_order_dependent(),
        "runs": found.runs.iter().map(run_as_json).collect::<Vec<_>>(),
        "unexplored": found.unexplored,
        "shrunken": shrunken.iter().map(small_as_json).collect::<Vec<_>>(),
    })
}

fn small_as_json(small: &Shrunken) -> Json {
    let extent = |extent: &ExperimentSize| {
        json!({
            "runs": extent.runs,
            "mediators": extent.mediators,
            "steps": extent.steps,
            "tokens": extent.tokens,
        })
    };
    let journals = small.journals.iter();
    let journals = journals.map(|path| json!(path.display().to_string()));
    json!({
        "run": small.run,
        "outcomes": small.outcomes,
        "file": small.experiment.file,
        "text": small.experiment.text,
        "before": extent(&small.before),
        "after": extent(&small.after),
        "first": small.first.to_string(),
        "other": small.other.to_string(),
        "schedule": small.schedule.to_string(),
        "runs": small.runs,
        "smallest": small.is_smallest,
        "journals": journals.collect::<Vec<_>>(),
    })
}

fn run_as_json(run: &RunFindings) -> Json {
    let verdict = &run.verdict;
    let classes = verdict.classes.iter().enumerate();
    let class = |(place, class): (usize, &Class<ExploredOutcome>)| {
        let lines = run.differing_lines(place).into_iter();
        json!({
            "end": class.outcome.end,
            "digest": class.outcome.digest.to_string(),
            "runs": class.runs,
            "schedule": class.witness.to_string(),
            "order": run.orders.get(place).map(|orders| {
                let order = |order: &SiteOrder| json!([order.site, order.mediators]);
                orders.iter().map(order).collect::<Vec<_>>()
            }),
            "journal": run.journals.get(place).map(|path| path.display().to_string()),
            "differs": lines.map(|(label, text)| json!([label, text])).collect::<Vec<_>>(),
        })
    };
    json!({
        "name": run.name,
        "races": run.races.iter().map(race_as_json).collect::<Vec<_>>(),
        "conclusion": match verdict.conclusion() {
            OrderDependence::Independent => "independent",
            OrderDependence::Dependent => "dependent",
            OrderDependence::Unknown => "unknown",
        },
        "verdict": verdict.to_string(),
        "runs": verdict.runs,
        "redundant": verdict.redundant,
        "pruned": verdict.pruned,
        "pending": verdict.pending,
        "complete": verdict.is_complete,
        "classes": classes.map(class).collect::<Vec<_>>(),
        "batch_mates": run.mates.as_ref().map(mates_as_json),
    })
}

pub(super) fn race_as_json(race: &Race) -> Json {
    let party = |party: &Party| {
        let (file, line) = party.origin.file_line().unzip();
        json!({
            "mediator": party.mediator,
            "event": party.event.name(),
            "file": file,
            "line": line,
        })
    };
    json!({
        "site": race.site,
        "over": match &race.over {
            Contended::Rows => "rows".to_owned(),
            Contended::Skip => "skip".to_owned(),
            Contended::Blackboard(name) => format!("blackboard {name}"),
            Contended::Barrier(name) => format!("barrier {name}"),
            Contended::Stop => "stop".to_owned(),
            other => format!("{other:?}"),
        },
        "first": party(&race.first),
        "second": party(&race.second),
    })
}

fn mates_as_json(mates: &MateFindings) -> Json {
    let mismatch = |found: &BatchDependence| {
        let elements = found.elements.as_ref();
        let finite = |number: f64| Some(number).filter(|number| number.is_finite());
        json!({
            "exchange": found.exchange,
            "alone": found.alone,
            "together": found.together,
            "largest": elements.and_then(|elements| finite(elements.absolute)),
            "relative": elements.and_then(|elements| finite(elements.relative)),
            "ulp": elements.and_then(|elements| elements.tensor.ulp_max),
        })
    };
    match mates {
        MateFindings::NotAsked(reason) => json!({ "not_compared": reason }),
        MateFindings::Compared(invokes) => {
            let invokes = invokes.iter();
            let invokes = invokes.map(|(invoke, found)| {
                json!({ "invoke": invoke, "mismatch": found.as_ref().map(mismatch) })
            });
            json!({ "compared": invokes.collect::<Vec<_>>() })
        }
    }
}
