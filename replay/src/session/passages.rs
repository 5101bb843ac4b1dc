//! Passages of models, between memory and journal.
//!
//! With its passage a run can be forked without computing what was over before the exchange at
//! which it is left; the model computes all else again.

use std::collections::BTreeMap;

use interloom_backends::{self as backends, PrefixCache, Sites, Standing};

use super::recorded::Recorded;
use crate::journal::{self, ValueTree};

/// Makes the journal's passage of what a model did; `write` keeps a value's tensors, which come in
/// the order of [`Passage::values`](backends::Passage::values).
pub(super) fn to_journal<E>(
    passage: &backends::Passage,
    run: u32,
    sites: &Sites,
    mut write: impl FnMut(&backends::Value) -> Result<ValueTree, E>,
) -> Result<journal::PassageRecord, E> {
    let mut points = Points::default();
    let mut passings = Vec::with_capacity(passage.passings.len());
    for passing in &passage.passings {
        passings.push(journal::PassingRecord {
            point: points.number(sites.point_name(passing.point)),
            exchanges: passing.had.unwrap_or_default().exchanges,
            given: passing.given.as_ref().map(&mut write).transpose()?,
        });
    }
    let mut calls = Vec::with_capacity(passage.calls.len());
    for (&begin, call) in &passage.calls {
        calls.push(journal::PassedCallRecord {
            begin: place(begin),
            end: place(call.end),
            output: write(&call.output)?,
        });
    }
    Ok(journal::PassageRecord {
        run,
        points: points.texts,
        passings,
        calls,
    })
}

/// Makes the passage again that a journal has of a run; nothing if it has none, not all of its
/// tensors, or one of a model with other sites.
pub(super) fn of_run(
    recorded: &Recorded,
    run: &journal::RunRecord,
    sites: &Sites,
) -> Option<PrefixCache> {
    let passage = run.passage.as_ref()?;
    let points = passage.points.iter().map(|text| sites.map().point(text));
    let points = points.collect::<Option<Vec<_>>>()?;
    // Without one of its tensors the model computes, which costs time and nothing else.
    let value = |tree: &ValueTree| recorded.value(tree, 0).ok();
    let mut made = backends::Passage::default();
    for passing in &passage.passings {
        let given = match &passing.given {
            Some(tree) => Some(value(tree)?),
            None => None,
        };
        made.passings.push(backends::Passing {
            point: points[passing.point as usize],
            given,
            had: Some(Standing {
                turns: 0,
                exchanges: passing.exchanges,
            }),
        });
    }
    for call in &passage.calls {
        let output = value(&call.output)?;
        let end = call.end as usize;
        made.calls
            .insert(call.begin as usize, backends::PassedCall { end, output });
    }
    Some(PrefixCache::of(made))
}

/// The texts of points, each once.
#[derive(Default)]
struct Points {
    numbers: BTreeMap<String, u32>,
    texts: Vec<String>,
}

impl Points {
    fn number(&mut self, text: String) -> u32 {
        let next = place(self.texts.len());
        *self.numbers.entry(text).or_insert_with_key(|text| {
            self.texts.push(text.clone());
            next
        })
    }
}

fn place(place: usize) -> u32 {
    u32::try_from(place).expect("a run whose values fit in memory passes fewer sites")
}
