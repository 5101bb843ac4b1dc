//! The comparison of two journals: where they diverge, and what only one of them has.

use std::collections::BTreeMap;
use std::path::Path;

use super::compare::LOOK_AHEAD;
use super::{Comparer, Divergence, DivergenceClass, EnvironmentReport, ReplayComparison};
use crate::{ExchangeRecord, JournalError, JournalReader, Names, Record, find_tensor, plain};

/// The result of a comparison of two journals.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalDiff {
    /// How far they are equal, and where they diverge.
    pub comparison: ReplayComparison,
    /// What each has after that, if they diverge.
    pub aligned: Option<Aligned>,
    /// How their heads differ.
    pub environment: Option<EnvironmentReport>,
    /// What keeps either from being read to its end: all of this is said of the good beginnings.
    pub problems: Vec<JournalError>,
}

/// The exchanges of two journals, aligned: two belong together if run, mediator, event, site and
/// iteration are the same, in the order in which they come. Two runs are the same if they have one
/// name; of several of a name, the first goes with the first.
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
    /// The names of the runs that only the first journal has.
    pub runs_only_first: Vec<String>,
    /// The names of the runs that only the second journal has.
    pub runs_only_second: Vec<String>,
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
/// A journal that ends early is compared as far as it goes: that it does is no difference, but one
/// of the [`problems`](JournalDiff::problems).
///
/// # Errors
/// Those of [`JournalReader`] but E065 after the head, if a journal cannot be read as far as the
/// two are equal.
pub fn compare_journals(
    first: &Path,
    second: &Path,
    context: usize,
) -> Result<JournalDiff, JournalError> {
    let (comparison, problems) = first_difference(first, second, context)?;
    let (aligned, problems) = match &comparison.divergence {
        Some(_) => {
            let (aligned, problems) = align(first, second)?;
            (Some(aligned), problems)
        }
        None => (None, problems),
    };
    let (first, second) = (JournalReader::open(first)?, JournalReader::open(second)?);
    Ok(JournalDiff {
        comparison,
        aligned,
        environment: EnvironmentReport::between(first.head(), second.head()),
        problems,
    })
}

/// Finds where the journals at two paths diverge, without aligning what they have after that.
///
/// Each is read once, in constant memory, and no further than is needed to see how they continue
/// after the difference. A journal that ends early is compared as far as it goes; that it does is
/// given beside what was found.
///
/// # Errors
/// Those of [`JournalReader`] but E065 after the head, if a journal cannot be read as far as the
/// two are equal.
pub fn first_difference(
    first: &Path,
    second: &Path,
    context: usize,
) -> Result<(ReplayComparison, Vec<JournalError>), JournalError> {
    let names = [first, second].map(|path| plain(&path.display().to_string()));
    let mut comparer = Comparer::new(JournalReader::open(first)?.records())
        .with_context(context)
        .with_journals(&names[0], &names[1]);
    // How far it is seen to after the difference.
    let mut after = LOOK_AHEAD;
    let mut torn = None;
    for record in JournalReader::open(second)?.records() {
        match record {
            Ok(record) => {
                let is_exchange = matches!(record, Record::Exchange(_));
                if comparer.record(&record).is_some() && is_exchange {
                    after = match after.checked_sub(1) {
                        Some(after) => after,
                        None => break,
                    };
                }
            }
            // What was found before stands.
            Err(_) if comparer.divergence().is_some() => break,
            Err(error) if error.is_torn() => torn = Some(error),
            Err(error) => return Err(error),
        }
    }
    if let Some(divergence) = comparer.divergence_mut() {
        compare_tensors(divergence, first, second);
    }
    let (comparison, problem) = match &torn {
        // What the first one has after that, the second one may have had too.
        Some(_) => comparer.so_far(),
        None => comparer.conclude(),
    };
    let problems: Vec<_> = problem.into_iter().chain(torn).collect();
    let damage = problems.iter().find(|problem| !problem.is_torn());
    match damage.filter(|_| comparison.divergence.is_none()) {
        Some(damage) => Err(damage.clone()),
        None => Ok((comparison, problems)),
    }
}

/// Compares the elements of the first tensors that differ, where both journals have them.
fn compare_tensors(divergence: &mut Divergence, first: &Path, second: &Path) {
    // Values of exchanges that do not belong together say nothing about one another.
    let is_of_value = matches!(
        divergence.class,
        DivergenceClass::Value | DivergenceClass::Environment
    );
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

/// Aligns two journals, as far as each can be read, and gives what keeps them from being read
/// further.
fn align(first: &Path, second: &Path) -> Result<(Aligned, Vec<JournalError>), JournalError> {
    let mut aligned = Aligned::default();
    let (read, problems) =
        match_exchanges(first, second, |names, exchange, partner| match partner {
            None => aligned.only_second += 1,
            Some(partner) if partner.is_equal => aligned.equal += 1,
            Some(partner) => {
                aligned.other += 1;
                aligned.first_other.get_or_insert_with(|| AlignedPair {
                    first: partner.index,
                    second: exchange.index,
                    text: names.text(exchange),
                });
            }
        })?;
    let [first, second] = &read;
    aligned.only_first = first.exchanges - aligned.equal - aligned.other;
    aligned.runs_only_first = first.runs_beyond(second);
    aligned.runs_only_second = second.runs_beyond(first);
    Ok((aligned, problems))
}

/// The exchange of the first journal that belongs to one of the second.
#[derive(Clone, Copy)]
struct Partner {
    index: u64,
    is_equal: bool,
}

/// What was read of a journal.
#[derive(Default)]
struct Read {
    exchanges: u64,
    /// How many runs there are of each name.
    runs: BTreeMap<String, u64>,
    /// The name of the run under way, with its number among those of this name.
    run: (String, u64),
}

impl Read {
    fn start_run(&mut self, name: &str) {
        let count = self.runs.entry(name.to_owned()).or_default();
        *count += 1;
        self.run = (name.to_owned(), *count);
    }

    /// Returns the names of the runs that the other does not have, or of which it has fewer.
    fn runs_beyond(&self, other: &Self) -> Vec<String> {
        let has_fewer = |(name, count): &(&String, &u64)| other.runs.get(*name) < Some(*count);
        let runs = self.runs.iter().filter(has_fewer);
        runs.map(|(name, _)| name.clone()).collect()
    }
}

/// Shows each exchange of the second journal with its partner, and gives what both have, and what
/// keeps the two from being read further.
fn match_exchanges(
    first: &Path,
    second: &Path,
    mut see: impl FnMut(&Names, &ExchangeRecord, Option<Partner>),
) -> Result<([Read; 2], Vec<JournalError>), JournalError> {
    let mut places: BTreeMap<Short, Vec<(u64, Short)>> = BTreeMap::new();
    let (read_first, of_first) = each_exchange(first, |names, run, exchange| {
        let entry = (exchange.index, content(exchange));
        places
            .entry(place(names, run, exchange))
            .or_default()
            .push(entry);
    })?;
    let mut taken: BTreeMap<Short, usize> = BTreeMap::new();
    let (read_second, of_second) = each_exchange(second, |names, run, exchange| {
        let place = place(names, run, exchange);
        let count = taken.entry(place).or_default();
        let entry = places.get(&place).and_then(|entries| entries.get(*count));
        *count += 1;
        let partner = entry.map(|(index, recorded)| Partner {
            index: *index,
            is_equal: *recorded == content(exchange),
        });
        see(names, exchange, partner);
    })?;
    let problems = of_first.into_iter().chain(of_second).collect();
    Ok(([read_first, read_second], problems))
}

/// One exchange or two that belong together, by their indices in the two journals.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Row {
    Equal(u64, u64),
    Other(u64, u64),
    First(u64),
    Second(u64),
}

/// The exchanges of two journals beside each other: in the order of the first, with what only the
/// second has between, before what it comes before there.
pub(super) fn rows(first: &Path, second: &Path) -> Result<Vec<Row>, JournalError> {
    let mut partners = BTreeMap::new();
    let mut alone = Vec::new();
    let ([read, _], _) = match_exchanges(first, second, |_, exchange, partner| match partner {
        Some(partner) => drop(partners.insert(partner.index, (exchange.index, partner.is_equal))),
        None => alone.push(exchange.index),
    })?;
    let mut alone = alone.into_iter().peekable();
    let mut rows = Vec::new();
    for index in 0..read.exchanges {
        let Some((partner, is_equal)) = partners.get(&index).copied() else {
            rows.push(Row::First(index));
            continue;
        };
        while let Some(earlier) = alone.next_if(|alone| *alone < partner) {
            rows.push(Row::Second(earlier));
        }
        rows.push(match is_equal {
            true => Row::Equal(index, partner),
            false => Row::Other(index, partner),
        });
    }
    rows.extend(alone.map(Row::Second));
    Ok(rows)
}

/// Shows each exchange that can be read with its run, and gives what was read, and what keeps the
/// others from it.
fn each_exchange(
    path: &Path,
    mut see: impl FnMut(&Names, &(String, u64), &ExchangeRecord),
) -> Result<(Read, Option<JournalError>), JournalError> {
    let (mut names, mut read) = (Names::default(), Read::default());
    for record in JournalReader::open(path)?.records() {
        match record {
            Ok(Record::Exchange(exchange)) => {
                read.exchanges += 1;
                see(&names, &read.run, &exchange);
            }
            Ok(record) => {
                if let Record::RunStart(start) = &record {
                    read.start_run(&start.name);
                }
                names.see(&record);
            }
            Err(error) => return Ok((read, Some(error))),
        }
    }
    Ok((read, None))
}

/// Where an exchange belongs: run, mediator, event, site and iteration.
fn place(names: &Names, run: &(String, u64), exchange: &ExchangeRecord) -> Short {
    let site = exchange.asked.or(exchange.at);
    short(&format!(
        "{run:?} {:?} {} {:?}",
        names.mediator(exchange.mediator),
        exchange.event.code(),
        site.map(|site| names.site(site))
    ))
}

/// What it carries: answer, value and fault.
fn content(exchange: &ExchangeRecord) -> Short {
    let value = exchange.value.as_ref().map(crate::value_json);
    let ExchangeRecord {
        reshape,
        round,
        fault,
        ..
    } = exchange;
    let result = exchange.result.code();
    short(&format!("{result} {value:?} {reshape} {round:?} {fault:?}"))
}

fn short(text: &str) -> Short {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
    short
}
