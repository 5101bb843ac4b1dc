//! What is no exchange and yet was refused: caches.
//!
//! That a cache was refused stands in a note of the journal, so that exchanges are what they always were. A note is written
//! when it happens, and is read by [`serve`](super::serve), which has nothing else to know it from.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use interloom_backends::Value;
use interloom_engine::{Exchange, Fault, MediatorId, Moment, Observer, Rehearsal, Unfinished};

use super::convert::Recorder;
use super::tape::Tape;
use crate::journal::Note;

/// The key of a note: `RUN MEDIATOR NUMBER CODE MESSAGE`.
const KEY: &str = "interloom.cache-refused";

/// A cache that was refused: whose, which of its own, and what it was told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RefusedCache {
    mediator: u32,
    number: u32,
    code: String,
    message: String,
}

/// Returns the caches that were refused in a run.
pub(super) fn of_run(notes: &[Note], run: u32) -> Vec<RefusedCache> {
    let own = notes.iter().filter(|note| note.key == KEY);
    let own = own.filter_map(|note| RefusedCache::read(&note.value));
    own.filter(|(of, _)| *of == run)
        .map(|(_, refused)| refused)
        .collect()
}

/// Lets the mediators of a rehearsal be refused the same caches.
pub(super) fn refuse(refused: &[RefusedCache], mediators: &mut Rehearsal<Value>) {
    for cache in refused {
        let fault = Fault::recorded(&cache.code, cache.message.clone());
        mediators.refuse_cache(MediatorId(cache.mediator), cache.number, fault);
    }
}

/// Notes the caches that were refused in a run before it goes on live, or is served.
pub(super) fn note(refused: &[RefusedCache], tape: &Rc<RefCell<Tape>>, run: u32) {
    for cache in refused {
        // As for exchanges: the first failure poisons the tape, which reports it.
        let _reported_at_the_end = tape.borrow_mut().note(KEY, &cache.write(run));
    }
}

/// Notes each cache that is refused in a run.
pub(super) struct Watch {
    tape: Rc<RefCell<Tape>>,
    /// Who has exchanges that come before.
    recorder: Recorder,
    run: u32,
    /// How many caches of each mediator were refused before the run went on live.
    before: BTreeMap<u32, u32>,
}

impl Watch {
    pub(super) fn new(
        tape: Rc<RefCell<Tape>>,
        recorder: Recorder,
        run: u32,
        before: &[RefusedCache],
    ) -> Self {
        let mut counts = BTreeMap::new();
        for cache in before {
            *counts.entry(cache.mediator).or_default() += 1;
        }
        Self {
            tape,
            recorder,
            run,
            before: counts,
        }
    }
}

impl Observer<Value> for Watch {
    fn exchange(&mut self, _: &Exchange<'_, Value>) {}

    fn moment(&mut self, moment: &Moment<'_, Value>) {
        if let Moment::CacheRefused {
            mediator,
            number,
            fault,
        } = *moment
        {
            let before = self.before.get(&mediator.0).copied().unwrap_or(0);
            let refused = RefusedCache {
                mediator: mediator.0,
                number: number.saturating_add(before),
                code: fault.code().to_owned(),
                message: fault.to_string(),
            };
            let _reported_at_the_end = self.recorder.flush();
            note(&[refused], &self.tape, self.run);
        }
    }
}

impl RefusedCache {
    /// Returns whether its mediator has come to it.
    pub(super) fn is_declared(&self, unfinished: &[Unfinished<Value>]) -> bool {
        let own = unfinished.get(self.mediator as usize);
        own.is_some_and(|own| self.number < own.declared)
    }

    fn write(&self, run: u32) -> String {
        let Self {
            mediator,
            number,
            code,
            message,
        } = self;
        format!("{run} {mediator} {number} {code} {message}")
    }

    /// Reads what [`write`](Self::write) has written; what it has not is somebody's remark.
    fn read(text: &str) -> Option<(u32, Self)> {
        let mut parts = text.splitn(5, ' ');
        let mut number = || parts.next()?.parse().ok();
        let (run, mediator, place) = (number()?, number()?, number()?);
        let refused = Self {
            mediator,
            number: place,
            code: parts.next()?.to_owned(),
            message: parts.next()?.to_owned(),
        };
        Some((run, refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_a_remark_is_none() {
        let refused = RefusedCache {
            mediator: 3,
            number: 0,
            code: "E017".to_owned(),
            message: "the cache is late: `a b` was passed".to_owned(),
        };
        let note = |key: &str, value: String| Note {
            key: key.to_owned(),
            value,
        };
        let notes = [
            note(KEY, refused.write(2)),
            note("elsewhere", refused.write(2)),
            note(KEY, refused.write(1)),
            note(KEY, "2 three 0 E017 x".to_owned()),
            note(KEY, String::new()),
        ];
        assert_eq!(of_run(&notes, 2), std::slice::from_ref(&refused));
        assert_eq!(of_run(&notes, 1), [refused]);
        assert_eq!(of_run(&notes, 0), []);
    }
}
