//! Journals in formats that other programs read.

mod arrays;
mod kept;
mod lines;
#[cfg(feature = "mcap")]
mod mcap;
mod page;
mod statistics;
mod trace;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::sync::Arc;

use interloom_engine::nearest_of;

use super::error::{FileAction, JournalError};
use super::index::{is_at, site_of};
use super::names::{Names, plain};
use super::read::{FrameInfo, JournalReader};
use super::record::{ExchangeRecord, Head, Record};

pub use arrays::{npz, safetensors};
pub use kept::KeptTensors;
pub use lines::json_lines;
#[cfg(feature = "mcap")]
pub use mcap::mcap;
pub use page::{PAGE_EXCHANGES_DEFAULT, page};
pub(crate) use page::{PageItems, file_name, in_markup, write_page};
pub use statistics::{Finite, Statistics};
pub use trace::trace;

/// The amount that was exported.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Exported {
    /// How many frames, exchanges or tensors.
    pub items: u64,
    /// That the journal ends early (E065), if it does: what is there of it was exported.
    pub torn: Option<JournalError>,
}

/// The selection of exchanges to export: those at any of these sites, or all if there is none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selection {
    sites: Vec<String>,
    is_found: Vec<bool>,
    /// The paths of the sites of all exchanges.
    seen: BTreeSet<u32>,
}

impl Selection {
    /// Selects the exchanges at `sites`, each named as [`Names::is_site`] says.
    pub fn of(sites: &[String]) -> Self {
        Self {
            sites: sites.to_vec(),
            is_found: vec![false; sites.len()],
            seen: BTreeSet::new(),
        }
    }

    fn takes(&mut self, names: &Names, exchange: &ExchangeRecord) -> bool {
        let mut takes = self.sites.is_empty();
        self.seen.extend(site_of(exchange).map(|site| site.path));
        for (site, is_found) in self.sites.iter().zip(&mut self.is_found) {
            if is_at(names, exchange, site) {
                *is_found = true;
                takes = true;
            }
        }
        takes
    }

    /// A site that was named and is not in the journal.
    fn check(&self, journal: &str, names: &Names) -> Result<(), JournalError> {
        let missing = self
            .sites
            .iter()
            .zip(&self.is_found)
            .find(|(_, found)| !**found);
        match missing {
            Some((site, _)) => Err(absent_site(journal, site, names, &self.seen)),
            None => Ok(()),
        }
    }
}

/// Makes the error that a journal has no exchange at a site; of the paths of those that it has,
/// names those most like it.
pub fn absent_site(journal: &str, site: &str, names: &Names, seen: &BTreeSet<u32>) -> JournalError {
    let others = seen.iter().filter_map(|path| names.path(*path));
    JournalError::Absent {
        journal: journal.into(),
        what: format!("exchange at the site {site:?}"),
        has: nearest_sites(site, others.map(plain).collect()),
    }
}

/// Returns the sites most like one that is not among them, and how many more there are.
pub(crate) fn nearest_sites(site: &str, others: BTreeSet<String>) -> String {
    let count = others.len();
    let nearest = nearest_of(site, others.into_iter());
    match count - nearest.len() {
        _ if nearest.is_empty() => "no site at all".to_owned(),
        0 => nearest.join(", "),
        more => format!("{}, {more} more", nearest.join(", ")),
    }
}

fn no_tensors(journal: &str, head: &Head) -> JournalError {
    JournalError::Absent {
        journal: journal.into(),
        what: "tensor of these exchanges".to_owned(),
        has: format!("the policy {}", head.policy),
    }
}

/// Reads the next record; a journal that ends early ends there, and `torn` says so.
fn next_record<R: Read>(
    reader: &mut JournalReader<R>,
    torn: &mut Option<JournalError>,
) -> Result<Option<(FrameInfo, Record)>, JournalError> {
    match reader.next_record() {
        Err(error) if error.is_torn() => {
            *torn = Some(error);
            Ok(None)
        }
        read => read,
    }
}

/// Turns a failure of the output into an error that names it.
fn written<T>(result: io::Result<T>, name: &Arc<str>) -> Result<T, JournalError> {
    result.map_err(|error| JournalError::io(name, FileAction::Other("write to"), &error))
}

/// An output with the name that errors give it.
struct Out<'a, W> {
    sink: &'a mut W,
    name: Arc<str>,
}

impl<W: Write> Out<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        written(self.sink.write_all(bytes), &self.name)
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        written(self.sink.flush(), &self.name)
    }
}

impl<'a, W: Write> Out<'a, W> {
    fn new(sink: &'a mut W, name: &str) -> Self {
        Self {
            sink,
            name: name.into(),
        }
    }
}
