//! The check of a journal, from its first byte to its last.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use super::digest::Digest;
use super::error::JournalError;
use super::policy::Policy;
use super::read::JournalReader;
use super::record::{Record, RunEndRecord};
use super::value::ValueTree;

/// The content of a journal, and what is wrong with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    /// The format, as major and minor version.
    pub version: (u16, u16),
    /// What the journal keeps of tensors.
    pub policy: Policy,
    /// How many frames are good.
    pub frames: u64,
    /// Where the last good frame ends, in bytes.
    pub good_bytes: u64,
    /// The runs that had begun, in order.
    pub runs: Vec<CheckedRun>,
    /// How many exchanges are good.
    pub exchanges: u64,
    /// How many paths there are.
    pub paths: u64,
    /// How many tensors have their bytes in the journal.
    pub tensors: u64,
    /// How many bytes those have.
    pub tensor_bytes: u64,
    /// How often the models of the runs were at a site at which something was served or collected,
    /// or at their end.
    pub visits: u64,
    /// How many notes there are.
    pub notes: u64,
    /// How many digests there are of runs that continue.
    pub ticks: u64,
    /// How many passages there are: what the models of runs passed and returned.
    pub passages: u64,
    /// The digest of the last run that ended.
    pub digest: Digest,
    /// Whether the recording was finished.
    pub is_complete: bool,
    /// The first thing that is wrong.
    pub problem: Option<JournalError>,
}

/// A run of a journal that was checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckedRun {
    /// Its name.
    pub name: String,
    /// How many of its exchanges are good.
    pub exchanges: u64,
    /// How it ended, if the journal goes that far.
    pub end: Option<RunEndRecord>,
}

/// Reads the journal at `path` to its end and checks all of it.
///
/// What is wrong with a journal whose head can be read stands in the [`Check`]. Beyond the checks
/// of a [`JournalReader`] this looks for the tensors that the exchanges of a journal should have by
/// its policy, if nothing else is wrong and the journal was finished.
///
/// # Errors
/// Those of [`JournalReader::open`].
pub fn check(path: impl AsRef<Path>) -> Result<Check, JournalError> {
    let name = path.as_ref().display().to_string();
    let reader = JournalReader::open(path)?;
    Ok(check_reader(reader, &name, &mut |_| {}))
}

/// As [`check()`], and lets `see` have each good record.
pub(super) fn check_reader<R: Read>(
    mut reader: JournalReader<R>,
    name: &str,
    see: &mut dyn FnMut(Record),
) -> Check {
    let mut check = Check {
        version: reader.version(),
        policy: reader.head().policy,
        ..Check::nothing()
    };
    let mut tensors = Tensors::default();
    loop {
        match reader.next_record() {
            Ok(Some((_, record))) => {
                check.count(&record, &mut tensors);
                see(record);
            }
            Ok(None) => break,
            Err(error) => {
                check.problem = Some(error);
                break;
            }
        }
    }
    check.frames = reader.good_frames();
    check.good_bytes = reader.good_bytes();
    check.digest = reader.digest();
    check.is_complete = reader.is_complete();
    // In a journal that was cut, missing tensors say nothing.
    if check.problem.is_none() && check.is_complete {
        check.problem = tensors.first_missing(name);
    }
    check
}

/// The tensors that exchanges name, and those that are there.
#[derive(Default)]
struct Tensors {
    /// By digest, the first exchange that names it.
    named: BTreeMap<Digest, u64>,
    kept: BTreeSet<Digest>,
    paths: Vec<String>,
    /// What the last run says itself of the tensors that are kept.
    patterns: Vec<String>,
}

impl Tensors {
    fn first_missing(self, journal: &str) -> Option<JournalError> {
        let missing = self
            .named
            .into_iter()
            .filter(|(digest, _)| !self.kept.contains(digest));
        let (digest, exchange) = missing.min_by_key(|(_, exchange)| *exchange)?;
        Some(JournalError::MissingTensor {
            journal: journal.into(),
            exchange,
            digest,
        })
    }
}

impl Check {
    /// What there is of a journal of which nothing was read.
    pub(super) fn nothing() -> Self {
        Self {
            version: (0, 0),
            policy: Policy::default(),
            frames: 0,
            good_bytes: 0,
            runs: Vec::new(),
            exchanges: 0,
            paths: 0,
            tensors: 0,
            tensor_bytes: 0,
            visits: 0,
            notes: 0,
            ticks: 0,
            passages: 0,
            digest: Digest::ZERO,
            is_complete: false,
            problem: None,
        }
    }

    fn count(&mut self, record: &Record, tensors: &mut Tensors) {
        match record {
            Record::RunStart(start) => {
                tensors.patterns.clone_from(&start.keeps);
                self.runs.push(CheckedRun {
                    name: start.name.clone(),
                    exchanges: 0,
                    end: None,
                });
            }
            Record::Path(path) => {
                self.paths += 1;
                tensors.paths.push(path.text.clone());
            }
            Record::Exchange(exchange) => {
                self.exchanges += 1;
                if let Some(run) = self.runs.last_mut() {
                    run.exchanges += 1;
                }
                let (index, value) = (exchange.index, exchange.value.as_ref());
                self.name_tensors(index, exchange.point(), value, tensors);
            }
            Record::Open(open) => {
                self.name_tensors(open.index, open.point(), open.value.as_ref(), tensors);
            }
            Record::Visit(visit) => {
                self.visits += 1;
                let point = visit.passed.last().copied();
                self.name_tensors(self.exchanges, point, visit.value(), tensors);
            }
            Record::Tensor(tensor) => {
                self.tensors += 1;
                self.tensor_bytes += tensor.bytes.len() as u64;
                if self.policy != Policy::Digest || !tensors.patterns.is_empty() {
                    tensors.kept.insert(tensor.digest);
                }
            }
            Record::RunEnd(end) => {
                if let Some(run) = self.runs.last_mut() {
                    run.end = Some(end.clone());
                }
            }
            Record::Note(_) => self.notes += 1,
            Record::Tick(_) => self.ticks += 1,
            Record::Passage(_) => self.passages += 1,
            Record::Head(_)
            | Record::Footer(_)
            | Record::Source(_)
            | Record::CacheDeclaration(_)
            | Record::Padding(_) => {}
        }
    }

    /// Notes the tensors of a value at an exchange and a point, if the journal should have them.
    fn name_tensors(
        &self,
        exchange: u64,
        point: Option<u32>,
        value: Option<&ValueTree>,
        tensors: &mut Tensors,
    ) {
        let point = point.and_then(|path| tensors.paths.get(path as usize));
        let point = point.map(String::as_str);
        let is_kept = self.policy.keeps_at(exchange, point, &tensors.patterns);
        if let (true, Some(value)) = (is_kept, value) {
            value.for_each_leaf(&mut |tensor| {
                tensors.named.entry(tensor.digest).or_insert(exchange);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, ExchangeRecord, JournalWriter, samples};

    fn check_bytes(bytes: &[u8]) -> Check {
        let reader = JournalReader::new(bytes, "test.ilj").unwrap();
        check_reader(reader, "test.ilj", &mut |_| {})
    }

    #[test]
    fn a_good_journal_is_counted() {
        let golden = samples::golden();
        let check = check_bytes(&golden);
        assert_eq!(check.problem, None);
        assert_eq!((check.version, check.is_complete), ((1, 0), true));
        assert_eq!(check.good_bytes, golden.len() as u64);
        assert_eq!((check.exchanges, check.paths, check.notes), (16, 5, 1));
        assert_eq!((check.ticks, check.passages, check.visits), (2, 1, 18));
        assert_eq!((check.tensors, check.tensor_bytes), (15, 116));
        let ends: Vec<_> = check.runs.iter().map(|run| run.end.is_some()).collect();
        assert_eq!(ends, [true, true, true]);
        assert_eq!(check.runs[0].exchanges, 12);
    }

    #[test]
    fn a_tensor_is_missed_whichever_record_names_it() {
        let named = |write: fn(&mut JournalWriter<&mut Vec<u8>>, ValueTree)| {
            let mut bytes = Vec::new();
            let mut writer = JournalWriter::new(&mut bytes, "test.ilj", &samples::head()).unwrap();
            writer.start_run(&samples::run_start(0)).unwrap();
            writer.path("a.output").unwrap();
            write(&mut writer, samples::tensor(&[1.0]));
            writer.end_run(samples::completed()).unwrap();
            writer.finish().unwrap();
            check_bytes(&bytes).problem.map(|error| error.code())
        };
        let by_visit = named(|writer, value| {
            writer
                .visit(&samples::visit(0, &[0], Some((0, value))))
                .unwrap();
        });
        let by_exchange = named(|writer, value| {
            let exchange = ExchangeRecord {
                value: Some(value),
                ..samples::exchange(0, 0, Event::Put)
            };
            writer.exchange(&exchange).unwrap();
        });
        let by_open_request = named(|writer, value| {
            let open = ExchangeRecord {
                value: Some(value),
                asked: None,
                ..samples::open_request(0, 0)
            };
            writer.open_request(&open).unwrap();
        });
        assert_eq!([by_visit, by_exchange, by_open_request], [Some("E071"); 3]);
    }

    #[test]
    fn what_is_wrong_is_said_with_all_that_is_good_before_it() {
        let mut golden = samples::golden();
        let (records, _) = samples::read_all(&golden);
        let offset = records[12].0.offset;
        golden[offset as usize + 30] ^= 1;
        let check = check_bytes(&golden);
        assert_eq!(check.problem.unwrap().code(), "E064");
        assert_eq!((check.frames, check.good_bytes), (12, offset));
        assert!(!check.is_complete && check.runs[0].end.is_none());
    }
}
