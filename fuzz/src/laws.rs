//! The target that holds the engine against its reference: bytes become a model, programs and a
//! schedule.

use interloom_engine::scheduler::{recording, scheduler};

use crate::as_program::PROGRAM;
use crate::generate::scripted;
use crate::programs::{Case, Style};
use crate::reference::judge;
use crate::verdict::{End, Verdict, engine, verdict_of};

const STYLES: [Style; 3] = [Style::Machine, Style::Async, PROGRAM];

/// Runs a case in every style in which a mediator can be written, in definition order and in
/// another order.
///
/// # Panics
///
/// Panics if the engine does another thing than the reference, or the same schedule leads to two
/// runs.
pub fn laws(bytes: &[u8]) -> bool {
    let Some((seed, bytes)) = bytes.split_first() else {
        return false;
    };
    let case = scripted(bytes);
    let (reference, _) = judge(&case);
    for style in STYLES {
        assert_eq!(engine(&case, style), reference, "{style:?} of {case:?}");
    }
    let (shuffled, schedule) = in_order(&case, Style::Machine, &format!("shuffle:{seed}"));
    for style in STYLES {
        let (again, used) = in_order(&case, style, &schedule);
        assert_eq!(
            (again, &used),
            (shuffled.clone(), &schedule),
            "{style:?} of {case:?}"
        );
    }
    matches!(reference.end, End::Completed | End::Stopped(..))
}

/// Runs a case with a scheduler, and returns what it showed and what was chosen.
fn in_order(case: &Case, style: Style, text: &str) -> (Verdict, String) {
    let mut trial = case.trial(style);
    let (scheduler, recording) = recording(scheduler(text).expect("a scheduler's text"));
    trial.scheduler(scheduler);
    let verdict = verdict_of(trial.run(case.input()), case);
    (verdict, recording.schedule().to_string())
}
