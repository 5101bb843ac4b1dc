//! What a journal's records must satisfy together: numbers without gaps, and the digest chain.
//!
//! Writer and reader step the same [`Order`], so that what one refuses to write is what the other
//! refuses to read.

use super::chain::Chain;
use super::digest::Digest;
use super::error::{JournalError, Place};
use super::record::{Exchange, Footer, Passage, PathLine, RunEnd, RunStart, SiteRef, Tick};

/// Where a journal stands between two records.
#[derive(Debug)]
pub(super) struct Order {
    paths: u32,
    runs: u32,
    exchanges: u64,
    /// How many exchanges there were at the last tick.
    ticked: u64,
    open: Option<OpenRun>,
    chain: Chain,
    /// Over the passages of the open run, if it has any.
    passages: Option<Chain>,
    digest: Digest,
    footer: bool,
}

#[derive(Clone, Copy, Debug)]
struct OpenRun {
    run: u32,
    first: u64,
}

/// What an exchange says of its place among the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) run: u32,
    pub(super) index: u64,
    pub(super) asked: Option<SiteRef>,
    pub(super) at: Option<SiteRef>,
}

impl From<&Exchange> for Numbers {
    fn from(exchange: &Exchange) -> Self {
        Self {
            run: exchange.run,
            index: exchange.index,
            asked: exchange.asked,
            at: exchange.at,
        }
    }
}

impl Order {
    pub(super) fn new() -> Self {
        Self {
            paths: 0,
            runs: 0,
            exchanges: 0,
            ticked: 0,
            open: None,
            chain: Chain::new(&Digest::ZERO),
            passages: None,
            digest: Digest::ZERO,
            footer: false,
        }
    }

    /// How many exchanges there are so far; the next has this index.
    pub(super) fn exchanges(&self) -> u64 {
        self.exchanges
    }

    /// How many paths there are so far; the next has this number.
    pub(super) fn paths(&self) -> u32 {
        self.paths
    }

    /// How many runs have started; the next has this number.
    pub(super) fn runs(&self) -> u32 {
        self.runs
    }

    /// The run that has started and not ended.
    pub(super) fn open_run(&self) -> Option<u32> {
        self.open.map(|open| open.run)
    }

    /// Whether the footer has been passed.
    pub(super) fn footer(&self) -> bool {
        self.footer
    }

    /// Takes the footer back, so that more can follow.
    pub(super) fn reopen(&mut self) {
        self.footer = false;
    }

    /// The digest of the last run that ended.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// The number of exchanges of the open run, and the digest if it ended here.
    pub(super) fn run_so_far(&self) -> (u64, Digest) {
        let first = self.open.map_or(self.exchanges, |open| open.first);
        (self.exchanges - first, self.chain.digest())
    }

    pub(super) fn path(
        &mut self,
        path: &PathLine,
        payload: &[u8],
        place: Place<'_>,
    ) -> Result<(), JournalError> {
        self.expect("path", u64::from(self.paths), u64::from(path.id), place)?;
        self.paths = self
            .paths
            .checked_add(1)
            .ok_or_else(|| place.limit("the number of paths", 1 << 32, u64::from(u32::MAX)))?;
        self.chain.add(payload);
        Ok(())
    }

    pub(super) fn start_run(
        &mut self,
        start: &RunStart,
        place: Place<'_>,
    ) -> Result<(), JournalError> {
        if let Some(open) = self.open {
            let found = format!("the start of run {}", start.run);
            return Err(place.out_of_sequence(format!("the end of run {}", open.run), found));
        }
        self.expect("run", u64::from(self.runs), u64::from(start.run), place)?;
        self.runs = self
            .runs
            .checked_add(1)
            .ok_or_else(|| place.limit("the number of runs", 1 << 32, u64::from(u32::MAX)))?;
        self.open = Some(OpenRun {
            run: start.run,
            first: self.exchanges,
        });
        Ok(())
    }

    /// Checks an exchange that comes next; [`Order::add_exchange`] then takes it in.
    pub(super) fn check_exchange(
        &self,
        exchange: Numbers,
        place: Place<'_>,
    ) -> Result<(), JournalError> {
        match self.open {
            Some(open) if open.run == exchange.run => {}
            Some(open) => {
                let found = format!("one of run {}", exchange.run);
                return Err(
                    place.out_of_sequence(format!("an exchange of run {}", open.run), found)
                );
            }
            None => {
                let found = format!("an exchange of run {}", exchange.run);
                return Err(place.out_of_sequence("the start of a run".to_owned(), found));
            }
        }
        self.expect("exchange", self.exchanges, exchange.index, place)?;
        self.check_site(exchange.asked, place)?;
        self.check_site(exchange.at, place)
    }

    pub(super) fn add_exchange(&mut self, payload: &[u8]) {
        self.exchanges += 1;
        self.chain.add(payload);
    }

    /// The tick that is to be written before the next exchange, if there is one after each `every`.
    pub(super) fn due_tick(&mut self, every: u64) -> Option<Tick> {
        let is_due = self.exchanges - self.ticked >= every;
        if !is_due || self.open?.first == self.exchanges {
            return None;
        }
        self.ticked = self.exchanges;
        Some(Tick {
            exchanges: self.exchanges,
            digest: self.chain.digest(),
        })
    }

    pub(super) fn tick(&mut self, tick: &Tick, place: Place<'_>) -> Result<(), JournalError> {
        if self.open.is_none() {
            let found = "a tick".to_owned();
            return Err(place.out_of_sequence("the start of a run".to_owned(), found));
        }
        self.expect("tick after exchange", self.exchanges, tick.exchanges, place)?;
        let digest = self.chain.digest();
        if digest != tick.digest {
            let subject = format!("the first {} exchanges", self.exchanges);
            return Err(place.digest(subject, tick.digest, digest));
        }
        self.ticked = self.exchanges;
        Ok(())
    }

    pub(super) fn check_passage(
        &self,
        passage: &Passage,
        place: Place<'_>,
    ) -> Result<(), JournalError> {
        let Some(open) = self.open else {
            let found = format!("the passage of run {}", passage.run);
            return Err(place.out_of_sequence("the start of a run".to_owned(), found));
        };
        let (expected, found) = (u64::from(open.run), u64::from(passage.run));
        self.expect("passage of run", expected, found, place)
    }

    /// Takes in a passage that was checked.
    pub(super) fn add_passage(&mut self, payload: &[u8]) {
        let passages = self
            .passages
            .get_or_insert_with(|| Chain::new(&Digest::ZERO));
        passages.add(payload);
    }

    /// The digest of the passages of the open run, if it has any yet.
    pub(super) fn passages_so_far(&self) -> Option<Digest> {
        self.passages.as_ref().map(Chain::digest)
    }

    pub(super) fn end_run(&mut self, end: &RunEnd, place: Place<'_>) -> Result<(), JournalError> {
        let Some(open) = self.open else {
            let found = format!("the end of run {}", end.run);
            return Err(place.out_of_sequence("the start of a run".to_owned(), found));
        };
        self.expect("end of run", u64::from(open.run), u64::from(end.run), place)?;
        let (exchanges, digest) = self.run_so_far();
        if exchanges != end.exchanges {
            let expected = format!("run {} to have {} exchanges", end.run, end.exchanges);
            return Err(place.out_of_sequence(expected, exchanges.to_string()));
        }
        if digest != end.digest {
            return Err(place.digest(format!("run {}", end.run), end.digest, digest));
        }
        if let Some(expected) = end.passages {
            // Format 1.3 has passages and no digest of them.
            let found = self.passages_so_far().unwrap_or(Digest::ZERO);
            if found != expected {
                return Err(place.digest(
                    format!("the passages of run {}", end.run),
                    expected,
                    found,
                ));
            }
        }
        self.passages = None;
        self.digest = digest;
        self.chain = Chain::new(&digest);
        self.ticked = self.exchanges;
        self.open = None;
        Ok(())
    }

    pub(super) fn footer_at(
        &mut self,
        footer: &Footer,
        place: Place<'_>,
    ) -> Result<(), JournalError> {
        if let Some(open) = self.open {
            let expected = format!("the end of run {}", open.run);
            return Err(place.out_of_sequence(expected, "the footer".to_owned()));
        }
        self.expect("footer after frame", place.frame, footer.frames, place)?;
        self.expect(
            "footer after exchange",
            self.exchanges,
            footer.exchanges,
            place,
        )?;
        if footer.digest != self.digest {
            let subject = "the last run, as the footer gives it".to_owned();
            return Err(place.digest(subject, footer.digest, self.digest));
        }
        self.footer = true;
        Ok(())
    }

    fn check_site(&self, site: Option<SiteRef>, place: Place<'_>) -> Result<(), JournalError> {
        match site {
            Some(site) if site.path >= self.paths => {
                let expected = format!("a path below {}", self.paths);
                Err(place.out_of_sequence(expected, format!("path {}", site.path)))
            }
            _ => Ok(()),
        }
    }

    fn expect(
        &self,
        what: &str,
        expected: u64,
        found: u64,
        place: Place<'_>,
    ) -> Result<(), JournalError> {
        if expected == found {
            return Ok(());
        }
        Err(place.out_of_sequence(format!("{what} {expected}"), found.to_string()))
    }
}
