//! A whole journal in memory, for the uses that go back and forth in it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::digest::Digest;
use super::error::JournalError;
use super::read::JournalReader;
use super::record::{
    CacheDeclaration, ExchangeRecord, Footer, Head, NoteRecord, PaddingRecord, PassageRecord,
    PathLine, Record, RunEndRecord, RunStart, SiteRef, TensorRecord, Visit,
};

/// A journal, or the beginning of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Journal {
    /// The head.
    pub head: Head,
    /// The text of each path; a path's number is its position.
    pub paths: Vec<String>,
    /// The runs, in order.
    pub runs: Vec<RunRecord>,
    /// The tensors whose bytes the journal has.
    pub tensors: BTreeMap<Digest, TensorRecord>,
    /// The remarks, in order.
    pub notes: Vec<NoteRecord>,
    /// The footer, if the recording was finished.
    pub footer: Option<Footer>,
    /// The index of the exchange after the last.
    pub(super) next_exchange: u64,
}

/// A run of a [`Journal`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunRecord {
    /// How it started.
    pub start: RunStart,
    /// Its exchanges, in order.
    pub exchanges: Vec<ExchangeRecord>,
    /// What its model passed, in order, each with the index of the exchange that comes next.
    pub visits: Vec<(u64, Visit)>,
    /// The requests that were open when it was over.
    pub open: Vec<ExchangeRecord>,
    /// The caches that mediators declared, in order, each with where that was.
    pub cache_declarations: Vec<(RunPosition, CacheDeclaration)>,
    /// How its rows are padded, if they differ in length, with the number of visits, exchanges and
    /// cache declarations before.
    pub padding: Option<(usize, PaddingRecord)>,
    /// What its model passed and returned, if that was kept.
    pub passage: Option<PassageRecord>,
    /// How it ended, if the journal goes that far.
    pub end: Option<RunEndRecord>,
}

/// A place between the visits and exchanges of a [`RunRecord`].
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct RunPosition {
    /// The index of the exchange that comes next.
    pub exchange: u64,
    /// How many visits of the run come before.
    pub visits: usize,
}

impl RunRecord {
    /// Returns what happened in the run, in order: visits, exchanges, cache declarations, the
    /// padding among them, and then the requests that are open at its end.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let open = self.open.iter().cloned().map(Record::Open);
        let mut happened = self.exchanged().chain(open).enumerate().peekable();
        let mut padding = self.padding.as_ref();
        std::iter::from_fn(move || {
            let next = happened.peek().map_or(usize::MAX, |(place, _)| *place);
            match padding.take_if(|(place, _)| *place <= next) {
                Some((_, padding)) => Some(Record::Padding(padding.clone())),
                None => happened.next().map(|(_, record)| record),
            }
        })
    }

    /// Returns visits, exchanges and cache declarations, in order.
    fn exchanged(&self) -> impl Iterator<Item = Record> + '_ {
        let mut exchanges = self.exchanges.iter().peekable();
        let mut visits = self.visits.iter().enumerate().peekable();
        let mut caches = self.cache_declarations.iter().peekable();
        std::iter::from_fn(move || {
            let next = exchanges.peek().map_or(u64::MAX, |exchange| exchange.index);
            let before_visit = |place: usize, exchange: u64| RunPosition {
                exchange,
                visits: place,
            };
            let here = match visits.peek() {
                Some((place, (exchange, _))) if *exchange <= next => {
                    before_visit(*place, *exchange)
                }
                _ => before_visit(usize::MAX, next),
            };
            if let Some((_, cache)) = caches.next_if(|(position, _)| *position <= here) {
                return Some(Record::CacheDeclaration(cache.clone()));
            }
            match visits.next_if(|(_, (exchange, _))| *exchange <= next) {
                Some((_, (_, visit))) => Some(Record::Visit(visit.clone())),
                None => exchanges.next().cloned().map(Record::Exchange),
            }
        })
    }

    fn new(start: RunStart) -> Self {
        Self {
            start,
            exchanges: Vec::new(),
            visits: Vec::new(),
            open: Vec::new(),
            cache_declarations: Vec::new(),
            padding: None,
            passage: None,
            end: None,
        }
    }
}

impl Journal {
    /// Reads the journal at `path`.
    ///
    /// # Errors
    /// Those of [`JournalReader`]; a journal that is cut or damaged is refused as a whole.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        match Self::load_prefix(path)? {
            (journal, None) => Ok(journal),
            (_, Some(error)) => Err(error),
        }
    }

    /// Reads the journal at `path` as far as it is good, and gives what is wrong after that.
    ///
    /// # Errors
    /// Those of [`JournalReader::open`]: not even the head can be read.
    pub fn load_prefix(
        path: impl AsRef<Path>,
    ) -> Result<(Self, Option<JournalError>), JournalError> {
        Ok(Self::read_prefix(JournalReader::open(path)?))
    }

    /// Reads what `reader` still gives, as far as it is good.
    pub fn read_prefix<R: Read>(mut reader: JournalReader<R>) -> (Self, Option<JournalError>) {
        let mut journal = Self::with_head(reader.head().clone());
        loop {
            match reader.next_record() {
                Ok(Some((_, record))) => journal.push(record),
                Ok(None) => return (journal, None),
                Err(error) => return (journal, Some(error)),
            }
        }
    }

    /// Makes an empty journal with this head.
    pub fn with_head(head: Head) -> Self {
        Self {
            head,
            paths: Vec::new(),
            runs: Vec::new(),
            tensors: BTreeMap::new(),
            notes: Vec::new(),
            footer: None,
            next_exchange: 0,
        }
    }

    /// Iterates over all exchanges, in order.
    pub fn exchanges(&self) -> impl Iterator<Item = &ExchangeRecord> {
        self.runs.iter().flat_map(|run| &run.exchanges)
    }

    /// Returns the exchange with this index.
    pub fn exchange(&self, index: u64) -> Option<&ExchangeRecord> {
        let after = |run: &RunRecord| {
            let last = run.exchanges.last();
            last.is_none_or(|exchange| exchange.index < index)
        };
        // Runs without exchanges say nothing about where to look, so the runs are passed in order.
        let run = self.runs.iter().find(|run| !after(run))?;
        let first = run.exchanges.first()?.index;
        let position = usize::try_from(index.checked_sub(first)?).ok()?;
        run.exchanges.get(position)
    }

    /// Returns the text of a path.
    pub fn path(&self, id: u32) -> Option<&str> {
        self.paths.get(id as usize).map(String::as_str)
    }

    /// Returns a site as text, such as `layers.3.attn.output.i0`.
    pub fn site(&self, site: SiteRef) -> String {
        match self.path(site.path) {
            Some(path) => format!("{path}.i{}", site.iteration),
            None => format!("path {}.i{}", site.path, site.iteration),
        }
    }

    /// Returns the bytes of the tensor with this digest, if the journal has them.
    pub fn tensor(&self, digest: &Digest) -> Option<&TensorRecord> {
        self.tensors.get(digest)
    }

    /// Returns the digest of the last run that ended, or [`Digest::ZERO`].
    pub fn digest(&self) -> Digest {
        let ends = self.runs.iter().rev().filter_map(|run| run.end.as_ref());
        ends.map(|end| end.digest).next().unwrap_or(Digest::ZERO)
    }

    /// Iterates over the paths as records, in order.
    pub fn path_records(&self) -> impl Iterator<Item = Record> + '_ {
        self.paths.iter().zip(0..).map(|(text, id)| {
            Record::Path(PathLine {
                id,
                text: text.clone(),
            })
        })
    }

    /// Iterates over the head, paths and runs as records: what a comparison needs, in an order that
    /// serves it.
    pub fn records(&self) -> impl Iterator<Item = Result<Record, JournalError>> + '_ {
        let paths = self.path_records();
        let runs = self.runs.iter().flat_map(|run| {
            let start = Record::RunStart(run.start.clone());
            let end = run.end.clone().map(Record::RunEnd);
            std::iter::once(start).chain(run.records()).chain(end)
        });
        let head = Record::Head(Box::new(self.head.clone()));
        std::iter::once(head).chain(paths).chain(runs).map(Ok)
    }

    fn push(&mut self, record: Record) {
        match record {
            Record::Head(head) => self.head = *head,
            Record::Path(path) => self.paths.push(path.text),
            Record::RunStart(start) => self.runs.push(RunRecord::new(start)),
            Record::Exchange(exchange) => {
                self.next_exchange = exchange.index + 1;
                if let Some(run) = self.runs.last_mut() {
                    run.exchanges.push(exchange);
                }
            }
            Record::Visit(visit) => {
                if let Some(run) = self.runs.last_mut() {
                    run.visits.push((self.next_exchange, visit));
                }
            }
            Record::Open(open) => {
                if let Some(run) = self.runs.last_mut() {
                    run.open.push(open);
                }
            }
            Record::CacheDeclaration(cache) => {
                if let Some(run) = self.runs.last_mut() {
                    let position = RunPosition {
                        exchange: self.next_exchange,
                        visits: run.visits.len(),
                    };
                    run.cache_declarations.push((position, cache));
                }
            }
            Record::Padding(padding) => {
                if let Some(run) = self.runs.last_mut() {
                    let before =
                        run.visits.len() + run.exchanges.len() + run.cache_declarations.len();
                    run.padding = Some((before, padding));
                }
            }
            // Exchanges have them.
            Record::Source(_) => {}
            Record::Tensor(tensor) => {
                self.tensors.insert(tensor.digest, tensor);
            }
            Record::RunEnd(end) => {
                if let Some(run) = self.runs.last_mut() {
                    run.end = Some(end);
                }
            }
            Record::Footer(footer) => self.footer = Some(footer),
            Record::Note(note) => self.notes.push(note),
            // It has been checked, and says nothing that is not here.
            Record::Tick(_) => {}
            Record::Passage(passage) => {
                if let Some(run) = self.runs.last_mut() {
                    run.passage = Some(passage);
                }
            }
        }
    }
}
