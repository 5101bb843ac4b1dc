//! The table of `docs/TRUST.md`: every kind of fault, done to the golden journal in every place.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use super::super::check::check_reader;
use super::acts::{DAMAGE, FORGERY, SYSTEM};
use super::faults::{FaultFile, Plan, seed, split};
use super::forgeries::RECORDS;
use super::*;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/TRUST.md");
const START: &str = "<!-- computed by a test: begin -->\n";
const END: &str = "<!-- computed by a test: end -->\n";

/// One line of the table.
pub(super) struct Row {
    fault: &'static str,
    pub(super) cases: u64,
    /// Read to the end, finished, and the same as the original.
    whole: u64,
    /// Good as far as it goes, and known not to be finished.
    unfinished: u64,
    /// Refused, by code.
    refused: BTreeMap<&'static str, u64>,
    /// Something was read that was not written.
    pub(super) changed: u64,
    /// Whether all CRCs were made right, so that only the digest at the end of a run shows an
    /// alteration.
    is_forged: bool,
}

/// A good journal, to which things are done.
pub(super) struct Original {
    pub(super) bytes: Vec<u8>,
    /// The preamble, then each frame.
    pub(super) frames: Vec<Vec<u8>>,
    pub(super) records: Vec<Record>,
}

impl Original {
    fn new(bytes: Vec<u8>) -> Self {
        let (records, error) = samples::read_all(&bytes);
        assert_eq!(error, None);
        let reader = JournalReader::new(&bytes[..], "a.ilj").unwrap();
        let check = check_reader(reader, "a.ilj", &mut |_| {});
        assert_eq!((check.problem, check.is_complete), (None, true));
        Self {
            frames: split(&bytes),
            records: records.into_iter().map(|(_, record)| record).collect(),
            bytes,
        }
    }

    pub(super) fn seed(&self) -> u32 {
        seed(&self.bytes)
    }

    /// Where each frame starts, and where the last ends.
    pub(super) fn ends(&self) -> Vec<usize> {
        let lengths = self.frames.iter().map(Vec::len);
        lengths
            .scan(0, |end, length| {
                *end += length;
                Some(*end)
            })
            .collect()
    }

    /// Whether these records are the beginning of this journal, apart from notes, ticks and
    /// tensors, which may stand elsewhere or be missing, and from the places of passages and
    /// lines of source in their run.
    pub(super) fn begins_with(&self, records: &[Record]) -> bool {
        let mut mine = self.records.iter().filter(is_in_place);
        let exact = records
            .iter()
            .filter(is_in_place)
            .all(|record| mine.next() == Some(record));
        let kept = records.iter().all(|record| match record {
            record if is_in_place(&record) => true,
            record => self.records.contains(record) || matches!(record, Record::Footer(_)),
        });
        exact && kept
    }
}

/// Whether a record has its place among the others.
fn is_in_place(record: &&Record) -> bool {
    !matches!(
        record,
        Record::Tensor(_)
            | Record::Note(_)
            | Record::Source(_)
            | Record::Tick(_)
            | Record::Passage(_)
            | Record::Footer(_)
    )
}

impl Row {
    pub(super) fn new(fault: &'static str) -> Self {
        Self {
            fault,
            cases: 0,
            whole: 0,
            unfinished: 0,
            refused: BTreeMap::new(),
            changed: 0,
            is_forged: false,
        }
    }

    /// Reads what has become of `original`, and counts what came of that.
    pub(super) fn read(&mut self, original: &Original, bytes: &[u8]) {
        self.cases += 1;
        let mut records = Vec::new();
        let check = match JournalReader::new(bytes, "a.ilj") {
            Ok(reader) => check_reader(reader, "a.ilj", &mut |record| records.push(record)),
            Err(error) => return self.refuse(error.code()),
        };
        let is_exact = original.begins_with(&records);
        let is_refused = check.problem.is_some();
        self.changed += u64::from(!(is_exact || self.is_forged && is_refused));
        match &check.problem {
            Some(error) => self.refuse(error.code()),
            None if check.is_complete => {
                self.whole += 1;
                // It claims to be all of it.
                let count = |records: &[Record]| records.iter().filter(is_in_place).count();
                let all = count(&records) == count(&original.records);
                self.changed += u64::from(!all);
            }
            None => self.unfinished += 1,
        }
    }

    pub(super) fn refuse(&mut self, code: &'static str) {
        *self.refused.entry(code).or_default() += 1;
    }

    /// Writes the golden journal to a file that fails, and reads what is there then.
    pub(super) fn write(&mut self, original: &Original, plan: Plan) -> FaultFile {
        self.cases += 1;
        let file = FaultFile::new(plan);
        let writer = JournalWriter::unbuffered(file.clone(), &samples::positioned_head());
        match writer.and_then(samples::write_golden) {
            Ok(_) => self.whole += 1,
            Err(error) => self.refuse(error.code()),
        }
        let bytes = file.bytes();
        let is_prefix = original.bytes.starts_with(&bytes);
        self.changed += u64::from(!is_prefix);
        let (records, _) = samples::read_all(&bytes);
        let records: Vec<_> = records.into_iter().map(|(_, record)| record).collect();
        self.changed += u64::from(!original.begins_with(&records));
        file
    }
}

fn table() -> Vec<Row> {
    let original = Original::new(samples::golden());
    let groups = [
        (DAMAGE, false),
        (FORGERY, true),
        (RECORDS, true),
        (SYSTEM, false),
    ];
    let acts = groups
        .into_iter()
        .flat_map(|(acts, is_forged)| acts.iter().map(move |act| (act, is_forged)));
    let rows = acts.map(|((fault, act), is_forged)| {
        let mut row = Row::new(fault);
        row.is_forged = is_forged;
        act(&mut row, &original);
        row
    });
    rows.collect()
}

/// The table as the document has it.
fn rendered(rows: &[Row]) -> String {
    let mut text = String::from(
        "| fault | cases | whole | unfinished | refused with | changed |\n|---|---:|---:|---:|---|---:|\n",
    );
    for row in rows {
        let refused = row.refused.iter();
        let refused: Vec<_> = refused
            .map(|(code, count)| format!("{code}: {count}"))
            .collect();
        let Row {
            fault,
            cases,
            whole,
            unfinished,
            changed,
            ..
        } = row;
        let refused = refused.join(", ");
        writeln!(
            text,
            "| {fault} | {cases} | {whole} | {unfinished} | {refused} | {changed} |"
        )
        .unwrap();
    }
    text
}

/// The document, split before and after its table.
fn document() -> (String, String, String) {
    let text = fs::read_to_string(DOCUMENT).unwrap().replace("\r\n", "\n");
    let (before, rest) = text.split_once(START).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    (before.to_owned(), table.to_owned(), after.to_owned())
}

#[test]
fn the_table_of_faults_is_the_documented_one() {
    let rows = table();
    assert!(rows.len() >= 45);
    for row in &rows {
        assert!(row.cases > 0, "{} was not tried", row.fault);
        assert_eq!(row.changed, 0, "{} changed what is read", row.fault);
        let counted = row.whole + row.unfinished + row.refused.values().sum::<u64>();
        assert_eq!(counted, row.cases, "{}", row.fault);
    }
    assert_eq!(document().1, rendered(&rows));
}

#[test]
#[ignore = "writes the table into docs/TRUST.md: cargo test -p interloom-journal --lib -- --ignored write_the_table"]
fn write_the_table_of_faults() {
    let (before, _, after) = document();
    let text = [&before, START, &rendered(&table()), END, &after].concat();
    fs::write(DOCUMENT, text).unwrap();
}
