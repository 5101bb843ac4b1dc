//! A journal and its runs made again, on another device or in another order.

use std::path::PathBuf;

use clap::Args;
use interloom::{Conclusion, Mode};

use super::journals::{ending, show};
use crate::CliError;
use crate::commands::progress::Bars;
use crate::commands::run::Turns;
use crate::commands::{Ending, report};
use crate::experiment::{Changes, Schedules, replay_changed};

/// Make the runs of a journal again, on another device or in another order, and find where they
/// part from it.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(super) struct Arguments {
    /// The journal.
    #[arg(value_name = "JOURNAL")]
    journal: PathBuf,
    /// Another device: `cpu`, `cuda` or `cuda:N`.
    #[arg(long, value_name = "DEVICE", group = "change")]
    device: Option<String>,
    /// Another order of the mediators, as `interloom run --schedule` takes it; can be given
    /// several times.
    #[arg(long = "schedule", value_name = "[RUN=]SCHEDULE", group = "change")]
    schedules: Vec<String>,
    /// How long a turn of a mediator lasts: until it asks for another site, or until it has been
    /// served once.
    #[arg(
        long,
        value_name = "TURN",
        value_enum,
        default_value_t,
        requires = "schedules"
    )]
    granularity: Turns,
    /// Where the model is, if it is not where the recording found it.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    let changes = Changes {
        model: arguments.model.clone(),
        device: arguments.device.clone(),
        schedules: schedules_of(arguments),
    };
    let journal = &arguments.journal;
    let conclusion = replay_changed(journal, Mode::Verify, &changes, &mut Bars::default())?;
    let Conclusion::Verified {
        exchanges,
        divergence,
        ..
    } = &conclusion
    else {
        unreachable!("a replay verifies");
    };
    let divergence = divergence.as_deref();
    let next = divergence.map(|divergence| report::next(divergence, journal, None));
    show(
        arguments.json,
        (*exchanges, &[]),
        divergence,
        &next.unwrap_or_default(),
    );
    Ok(ending(divergence))
}

fn schedules_of(arguments: &Arguments) -> Option<Schedules> {
    let mut schedules = Schedules {
        granularity: arguments.granularity.into(),
        ..Schedules::default()
    };
    arguments
        .schedules
        .iter()
        .for_each(|schedule| schedules.add(schedule));
    (!arguments.schedules.is_empty()).then_some(schedules)
}
