//! The target for schedules as text.

use interloom_engine::scheduler::scheduler;
use interloom_engine::{Code, Schedule, ScheduleError};

/// Reads a schedule, as a list of choices and as the text of any scheduler.
///
/// # Panics
///
/// Panics if a list has two texts, or a place is named that the text does not have.
pub fn schedule(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let made = scheduler(&text);
    if let Ok(made) = &made {
        // What it says of itself makes it again.
        let described = made.describe();
        let again = scheduler(&described).map(|again| again.describe());
        assert_eq!(again.as_ref(), Ok(&described));
    }
    match text.parse::<Schedule>() {
        Ok(schedule) => {
            let written = schedule.to_string();
            assert_eq!(written.parse().as_ref(), Ok(&schedule));
            assert!(
                written.len() <= text.len(),
                "{text} is written as {written}"
            );
            assert!(made.is_ok());
            true
        }
        Err(error) => {
            if let ScheduleError::Text { at, .. } = error {
                assert!(at <= text.len() && text.is_char_boundary(at), "{error}");
            }
            assert!(interloom_engine::codes().any(|known: &Code| known.code == error.code()));
            made.is_ok()
        }
    }
}
