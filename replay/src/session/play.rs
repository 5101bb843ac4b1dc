//! The model of a recorded run, played to live mediators, and what a run comes to.

use interloom_backends::{ForwardError, Ran, Run, RunOutput, Sites, Value};
use interloom_engine::replay::{Played, pass_recorded};
use interloom_engine::{Audit, Interleaver, RunEnd};

use super::recorded::Recorded;
use crate::error::Error;
use crate::journal::{self, BackwardTurn, FailureLine, OutcomeRecord};

/// A run that was made: how it ended, as the journal has it, and what its caller receives.
pub(super) struct Made<Y> {
    pub(super) outcome: OutcomeRecord,
    pub(super) result: Result<Ran<Y>, Error>,
}

impl<Y> Made<Y> {
    pub(super) fn of(result: Result<Ran<Y>, ForwardError>) -> Self {
        let outcome = match &result {
            Ok(ran) => outcome_of(&ran.end),
            Err(error) => OutcomeRecord::Failed(failure_of(error)),
        };
        Self {
            outcome,
            result: result.map_err(Error::from),
        }
    }

    /// A run of which nothing is known after the mediators asked for what the recording does not
    /// have.
    fn unknown() -> Self {
        let end = RunEnd::Completed;
        Self {
            outcome: outcome_of(&end),
            result: Ok(Ran {
                output: RunOutput::Served,
                end,
                audit: Audit::default(),
            }),
        }
    }
}

/// Returns whether a run failed in its model, and not because of what its mediators asked for.
pub(super) fn is_of_model(error: &ForwardError) -> bool {
    !matches!(
        error,
        ForwardError::Run { .. } | ForwardError::Unsteady { .. }
    )
}

/// Plays the model of a recorded run to live mediators.
pub(super) fn play<Y>(
    run: Run,
    past: Option<&journal::RunRecord>,
    recorded: &Recorded,
) -> Result<Made<Y>, Error> {
    let sites = run.sites().clone();
    let mut interleaver = match run.start() {
        Ok(interleaver) => interleaver,
        Err(error) => return Ok(Made::of(Err(error))),
    };
    let Some(past) = past else {
        interleaver.cancel();
        return Ok(Made::unknown());
    };
    take_padding(&mut interleaver, past);
    if !interleaver.is_halted() && !pass_all(&mut interleaver, past, recorded, &sites)? {
        interleaver.cancel();
        return Ok(Made::unknown());
    }
    let outcome = past.end.as_ref().map(|end| &end.outcome);
    if let Some(OutcomeRecord::Failed(failure)) = outcome
        && failure.run_error().is_none()
    {
        if past.visits.is_empty() && !past.exchanges.is_empty() {
            // It passed nothing, and its mediators received their verdicts.
            interleaver.finish();
        } else {
            // The model itself failed, after all that it passed.
            interleaver.cancel();
        }
        return Ok(Made {
            outcome: OutcomeRecord::Failed(failure.clone()),
            result: Err(Error::RecordedFailure {
                run: past.start.name.clone(),
                code: failure.code.clone(),
                message: failure.to_string(),
            }),
        });
    }
    let report = interleaver.finish();
    Ok(Made::of(match report.result {
        Ok(end) => Ok(Ran {
            output: RunOutput::Served,
            end,
            audit: report.audit,
        }),
        Err(error) => Err(ForwardError::Run {
            error: Box::new(error),
            audit: report.audit,
        }),
    }))
}

/// Tells a run how the rows of the recorded batch are padded, as the model did. Mediators with
/// other rows have parted from the recording before.
fn take_padding(interleaver: &mut Interleaver<Value>, past: &journal::RunRecord) {
    let padding = past.padding.as_ref().map(|(_, record)| &record.padding);
    let padding = padding.filter(|padding| padding.fits(interleaver.batch()).is_ok());
    if let Some(padding) = padding.filter(|_| !interleaver.is_halted()) {
        let _another_is_a_divergence = interleaver.take_padding(Some(padding));
    }
}

/// Passes all that a recorded model passed, and returns whether the record had a value wherever a
/// mediator waited.
fn pass_all(
    interleaver: &mut Interleaver<Value>,
    past: &journal::RunRecord,
    recorded: &Recorded,
    sites: &Sites,
) -> Result<bool, Error> {
    for (exchange, visit) in &past.visits {
        let (passed, value) = recorded.visit(visit, *exchange, sites.map())?;
        let (brought, loss) = if visit.backward.is_some() {
            (None, value)
        } else {
            (value, None)
        };
        match pass_recorded(interleaver, &passed, brought) {
            Played::On => {}
            // A backward pass that was asked for at the site of a stop is still performed.
            Played::Halted if interleaver.has_losses() => {}
            Played::Halted if !interleaver.is_backward() => return Ok(true),
            Played::Halted => {}
            Played::Missing(_) => return Ok(false),
        }
        match visit.backward {
            Some(BackwardTurn::Begin) => {
                interleaver.take_losses();
                interleaver.begin_backward(loss.as_ref());
            }
            Some(BackwardTurn::End) => interleaver.end_backward(),
            None => {}
        }
    }
    Ok(true)
}

fn outcome_of(end: &RunEnd) -> OutcomeRecord {
    match end {
        RunEnd::Completed => OutcomeRecord::Completed,
        RunEnd::Stopped { by, at } => OutcomeRecord::Stopped {
            by: by.clone(),
            at: at.clone(),
        },
    }
}

/// Returns a failure as the journal has it; lines of source are no part of it.
fn failure_of(error: &ForwardError) -> FailureLine {
    match &error.without_origins() {
        ForwardError::Run { error, .. } => FailureLine::new(error.code(), &**error),
        error => FailureLine::new(error.code(), error),
    }
}
