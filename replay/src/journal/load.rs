//! A whole journal in memory, for the uses that go back and forth in it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::digest::Digest;
use super::error::JournalError;
use super::read::JournalReader;
use super::record::{
    Exchange, Footer, Head, Note, Passage, PathLine, Record, RunEnd, RunStart, SiteRef,
    TensorRecord,
};

/// A journal, or the beginning of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Journal {
    /// The head.
    pub head: Head,
    /// The text of each path; a path's number is its position.
    pub paths: Vec<String>,
    /// The runs, in order.
    pub runs: Vec<Run>,
    /// The tensors whose bytes the journal has.
    pub tensors: BTreeMap<Digest, TensorRecord>,
    /// The remarks, in order.
    pub notes: Vec<Note>,
    /// The footer, if the recording was finished.
    pub footer: Option<Footer>,
}

/// A run of a [`Journal`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Run {
    /// How it started.
    pub start: RunStart,
    /// Its exchanges, in order.
    pub exchanges: Vec<Exchange>,
    /// What its model passed and put out, if that was kept.
    pub passage: Option<Passage>,
    /// How it ended, if the journal goes that far.
    pub end: Option<RunEnd>,
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

    /// An empty journal with this head.
    pub fn with_head(head: Head) -> Self {
        Self {
            head,
            paths: Vec::new(),
            runs: Vec::new(),
            tensors: BTreeMap::new(),
            notes: Vec::new(),
            footer: None,
        }
    }

    /// All exchanges, in order.
    pub fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        self.runs.iter().flat_map(|run| &run.exchanges)
    }

    /// The exchange with this index.
    pub fn exchange(&self, index: u64) -> Option<&Exchange> {
        let after = |run: &Run| {
            let last = run.exchanges.last();
            last.is_none_or(|exchange| exchange.index < index)
        };
        // Runs without exchanges say nothing about where to look, so the runs are passed in order.
        let run = self.runs.iter().find(|run| !after(run))?;
        let first = run.exchanges.first()?.index;
        let position = usize::try_from(index.checked_sub(first)?).ok()?;
        run.exchanges.get(position)
    }

    /// The text of a path.
    pub fn path(&self, id: u32) -> Option<&str> {
        self.paths.get(id as usize).map(String::as_str)
    }

    /// A site as text, such as `layers.3.attn.output.i0`.
    pub fn site(&self, site: SiteRef) -> String {
        match self.path(site.path) {
            Some(path) => format!("{path}.i{}", site.iteration),
            None => format!("path {}.i{}", site.path, site.iteration),
        }
    }

    /// The bytes of the tensor with this digest, if the journal has them.
    pub fn tensor(&self, digest: &Digest) -> Option<&TensorRecord> {
        self.tensors.get(digest)
    }

    /// The digest of the last run that ended, or [`Digest::ZERO`].
    pub fn digest(&self) -> Digest {
        let ends = self.runs.iter().rev().filter_map(|run| run.end.as_ref());
        ends.map(|end| end.digest).next().unwrap_or(Digest::ZERO)
    }

    /// The head, paths and runs as records: what a comparison needs, in an order that serves it.
    pub fn records(&self) -> impl Iterator<Item = Result<Record, JournalError>> + '_ {
        let paths = self.paths.iter().zip(0..).map(|(text, id)| {
            Record::Path(PathLine {
                id,
                text: text.clone(),
            })
        });
        let runs = self.runs.iter().flat_map(|run| {
            let start = Record::RunStart(run.start.clone());
            let exchanges = run.exchanges.iter().cloned().map(Record::Exchange);
            let end = run.end.clone().map(Record::RunEnd);
            std::iter::once(start).chain(exchanges).chain(end)
        });
        let head = Record::Head(Box::new(self.head.clone()));
        std::iter::once(head).chain(paths).chain(runs).map(Ok)
    }

    fn push(&mut self, record: Record) {
        match record {
            Record::Head(head) => self.head = *head,
            Record::Path(path) => self.paths.push(path.text),
            Record::RunStart(start) => self.runs.push(Run {
                start,
                exchanges: Vec::new(),
                passage: None,
                end: None,
            }),
            Record::Exchange(exchange) => {
                if let Some(run) = self.runs.last_mut() {
                    run.exchanges.push(exchange);
                }
            }
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
