//! Two journals, compared: where they part, and what each has that the other has not.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Class, Comparer, Comparison, Divergence, EnvironmentReport};
use crate::journal::{Exchange, JournalError, JournalReader, Names, Record, find_tensor, plain};

/// What a comparison of two journals came to.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalDiff {
    /// How far they are equal, and where they part.
    pub comparison: Comparison,
    /// What each has after that, if they part.
    pub aligned: Option<Aligned>,
    /// How their heads differ.
    pub environment: Option<EnvironmentReport>,
}

/// The exchanges of two journals, aligned: two belong together if run, mediator, event, site and
/// iteration are the same, in the order in which they come.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Aligned {
    /// How many are in both, and equal.
    pub equal: u64,
    /// How many are in both, with another value, answer or fault.
    pub other: u64,
    /// How many are in the first journal only.
    pub only_first: u64,
    /// How many are in the second journal only.
    pub only_second: u64,
    /// The first of those with another value, answer or fault.
    pub first_other: Option<AlignedPair>,
}

/// Two exchanges that belong together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AlignedPair {
    /// The index of the one in the first journal.
    pub first: u64,
    /// The index of the one in the second journal.
    pub second: u64,
    /// The second one in words.
    pub text: String,
}

/// Compares the journals at two paths; `context` exchanges before a difference are kept.
///
/// # Errors
/// Those of [`JournalReader`], if a journal cannot be read as far as the two are equal.
pub fn compare_journals(
    first: &Path,
    second: &Path,
    context: usize,
) -> Result<JournalDiff, JournalError> {
    let reader = JournalReader::open(first)?;
    let head = reader.head().clone();
    let names = [first, second].map(|path| plain(&path.display().to_string()));
    let mut comparer = Comparer::new(reader.records())
        .with_context(context)
        .with_journals(&names[0], &names[1]);
    let live = JournalReader::open(second)?;
    let environment = EnvironmentReport::between(&head, live.head());
    for record in live.records() {
        match record {
            Ok(record) => drop(comparer.record(&record)),
            // What was found before stands.
            Err(_) if comparer.divergence().is_some() => break,
            Err(error) => return Err(error),
        }
    }
    if let Some(divergence) = comparer.divergence_mut() {
        compare_tensors(divergence, first, second);
    }
    let comparison = comparer.finish()?;
    let aligned = match &comparison.divergence {
        Some(_) => Some(align(first, second)?),
        None => None,
    };
    Ok(JournalDiff {
        comparison,
        aligned,
        environment,
    })
}

/// Compares the elements of the first tensors that differ, where both journals have them.
fn compare_tensors(divergence: &mut Divergence, first: &Path, second: &Path) {
    // Values of exchanges that do not belong together say nothing about one another.
    let is_of_value = matches!(divergence.class, Class::Value | Class::Environment);
    let Some(pair) = divergence.tensors.clone().filter(|_| is_of_value) else {
        return;
    };
    // This adds to a report that stands without it.
    let recorded = find_tensor(first, &pair.recorded).ok().flatten();
    let live = find_tensor(second, &pair.live).ok().flatten();
    if let (Some(recorded), Some(live)) = (recorded, live) {
        let _sizes_are_checked = divergence.compare_tensors(&recorded.bytes, &live.bytes);
    }
}

/// Half of a BLAKE3 digest: 32 bytes an exchange are enough to align millions.
type Short = [u8; 16];

/// Aligns two journals, as far as each can be read.
fn align(first: &Path, second: &Path) -> Result<Aligned, JournalError> {
    let mut places: BTreeMap<Short, Vec<(u64, Short)>> = BTreeMap::new();
    let mut only_first = 0;
    each_exchange(first, |names, exchange| {
        only_first += 1;
        let entry = (exchange.index, content(exchange));
        places
            .entry(place(names, exchange))
            .or_default()
            .push(entry);
    })?;
    let mut taken: BTreeMap<Short, usize> = BTreeMap::new();
    let mut aligned = Aligned {
        only_first,
        ..Aligned::default()
    };
    each_exchange(second, |names, exchange| {
        let place = place(names, exchange);
        let count = taken.entry(place).or_default();
        let entry = places.get(&place).and_then(|entries| entries.get(*count));
        *count += 1;
        let Some((index, recorded)) = entry else {
            aligned.only_second += 1;
            return;
        };
        aligned.only_first -= 1;
        if *recorded == content(exchange) {
            aligned.equal += 1;
            return;
        }
        aligned.other += 1;
        aligned.first_other.get_or_insert_with(|| AlignedPair {
            first: *index,
            second: exchange.index,
            text: names.text(exchange),
        });
    })?;
    Ok(aligned)
}

fn each_exchange(path: &Path, mut see: impl FnMut(&Names, &Exchange)) -> Result<(), JournalError> {
    let mut names = Names::default();
    for record in JournalReader::open(path)?.records() {
        match record {
            Ok(Record::Exchange(exchange)) => see(&names, &exchange),
            Ok(record) => names.see(&record),
            Err(_) => break,
        }
    }
    Ok(())
}

/// Where an exchange belongs: run, mediator, event, site and iteration.
fn place(names: &Names, exchange: &Exchange) -> Short {
    let site = exchange.asked.or(exchange.at);
    short(&format!(
        "{} {:?} {} {:?}",
        exchange.run,
        names.mediator(exchange.mediator),
        exchange.event.code(),
        site.map(|site| names.site(site))
    ))
}

/// What it carries: answer, value and fault.
fn content(exchange: &Exchange) -> Short {
    let value = exchange.value.as_ref().map(crate::journal::value_json);
    let fault = exchange.fault.as_ref();
    let fault = fault.map(|fault| (&fault.code, &fault.message));
    let result = exchange.result.code();
    short(&format!("{result} {value:?} {fault:?}"))
}

fn short(text: &str) -> Short {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
    short
}
