//! The order of a journal's records: numbers without gaps, and the digest chain.
//!
//! Writer and reader step the same [`Order`], so that what one refuses to write is what the other
//! refuses to read.

use std::borrow::Cow;

use interloom_engine::Misfit;

use super::cached::CachedLine;
use super::chain::Chain;
use super::digest::Digest;
use super::error::{JournalError, Place};
use super::frame::FrameKind;
use super::model_side::ModelSide;
use super::record::{
    BackwardTurn, CacheDeclaration, ExchangeRecord, ExchangeResult, Footer, OutcomeRecord,
    PaddingRecord, PassageRecord, PathLine, RunEndRecord, RunStart, SiteRef, Tick, Visit,
};
use super::wire;

/// Where a journal stands between two records.
#[derive(Debug)]
pub(super) struct Order {
    paths: u32,
    sources: u32,
    runs: u32,
    exchanges: u64,
    /// How many exchanges there were at the last tick.
    ticked: u64,
    open: Option<OpenRun>,
    model: ModelSide,
    chain: Chain,
    /// Over the lines of source of the open run.
    source_chain: Chain,
    /// Over the passages of the open run, if it has any.
    passages: Option<Chain>,
    digest: Digest,
    footer: bool,
}

#[derive(Clone, Copy, Debug)]
struct OpenRun {
    run: u32,
    first: u64,
    /// Whether it has open requests, which only its end follows.
    is_over: bool,
    /// How many rows its mediators have together.
    rows: u32,
    /// Whether it is known how its rows are padded.
    is_padded: bool,
}

/// What an exchange says of its place among the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) run: u32,
    pub(super) index: u64,
    pub(super) asked: Option<SiteRef>,
    pub(super) at: Option<SiteRef>,
    pub(super) result: ExchangeResult,
}

impl From<&ExchangeRecord> for Numbers {
    fn from(exchange: &ExchangeRecord) -> Self {
        Self {
            run: exchange.run,
            index: exchange.index,
            asked: exchange.asked,
            at: exchange.at,
            result: exchange.result,
        }
    }
}

/// What a visit says of its place among the others.
#[derive(Clone, Debug)]
pub(super) struct Passed<'a> {
    pub(super) run: u32,
    pub(super) paths: Cow<'a, [u32]>,
    /// The iteration of the last of them, if a value was brought there.
    pub(super) iteration: Option<u32>,
    /// The turn of a backward pass.
    pub(super) backward: Option<BackwardTurn>,
}

impl<'a> From<&'a Visit> for Passed<'a> {
    fn from(visit: &'a Visit) -> Self {
        Self {
            run: visit.run,
            paths: Cow::Borrowed(&visit.passed),
            iteration: visit.brought.as_ref().map(|brought| brought.iteration),
            backward: visit.backward,
        }
    }
}

impl Order {
    pub(super) fn new() -> Self {
        Self {
            paths: 0,
            sources: 0,
            runs: 0,
            exchanges: 0,
            ticked: 0,
            open: None,
            model: ModelSide::default(),
            chain: Chain::new(&Digest::ZERO),
            source_chain: Chain::new(&Digest::ZERO),
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

    /// How many lines of source there are so far; the next has this number.
    pub(super) fn sources(&self) -> u32 {
        self.sources
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

    /// The end that the open run has if it is over now; of the run that comes next, if none is
    /// open.
    ///
    /// # Errors
    /// The outcome cannot be written, in words.
    pub(super) fn end_of_run(
        &self,
        outcome: OutcomeRecord,
        cached: Option<Vec<CachedLine>>,
    ) -> Result<RunEndRecord, String> {
        let mut evidence = Vec::new();
        wire::encode_named(&outcome, &mut evidence)?;
        let first = self.open.map_or(self.exchanges, |open| open.first);
        Ok(RunEndRecord {
            run: self.open_run().unwrap_or(self.runs),
            exchanges: self.exchanges - first,
            outcome,
            digest: self.chain.digest_with(&evidence),
            sources: self.source_chain.digest(),
            passages: self.passages.as_ref().map(Chain::digest),
            cached,
        })
    }

    pub(super) fn path(
        &mut self,
        path: &PathLine,
        payload: &[u8],
        place: Place<'_>,
    ) -> Result<(), JournalError> {
        self.check_is_open("a path", place)?;
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
            is_over: false,
            rows: start.rows(),
            is_padded: false,
        });
        self.model = ModelSide::default();
        let mut evidence = Vec::new();
        wire::encode_start_evidence(start, &mut evidence);
        self.chain.add(&evidence);
        Ok(())
    }

    /// Checks an exchange or open request that comes next; [`Order::add_exchange`] then takes it
    /// in.
    #[inline]
    pub(super) fn check_exchange(
        &mut self,
        kind: FrameKind,
        exchange: Numbers,
        place: Place<'_>,
    ) -> Result<(), JournalError> {
        let is_open_request = kind == FrameKind::Open;
        let has_path = |site: Option<SiteRef>| site.is_none_or(|site| site.path < self.paths);
        let is_next = self.exchanges == exchange.index
            && has_path(exchange.asked)
            && has_path(exchange.at)
            && is_open_request == (exchange.result == ExchangeResult::Open)
            && self
                .open
                .is_some_and(|open| open.run == exchange.run && (is_open_request || !open.is_over));
        // As good as every exchange is: what is wrong with one is looked for by itself.
        if !is_next {
            self.check_numbers(kind, exchange, place)?;
        }
        let place_of_model = self.model.exchange(exchange.at);
        place_of_model.map_err(|(expected, found)| place.out_of_sequence(expected, found))?;
        // Open requests are the last records of their run.
        if let Some(open) = &mut self.open {
            open.is_over |= is_open_request;
        }
        Ok(())
    }

    #[cold]
    fn check_numbers(
        &self,
        kind: FrameKind,
        exchange: Numbers,
        place: Place<'_>,
    ) -> Result<(), JournalError> {
        let is_open_request = kind == FrameKind::Open;
        if is_open_request != (exchange.result == ExchangeResult::Open) {
            let reason = format!("its result is {}", exchange.result.name());
            return Err(place.malformed(kind.name(), reason));
        }
        let what = if is_open_request {
            "an open request"
        } else {
            "an exchange"
        };
        self.check_run(what, exchange.run, place)?;
        if !is_open_request {
            self.check_goes_on(what, place)?;
        }
        self.expect("exchange", self.exchanges, exchange.index, place)?;
        self.check_site(exchange.asked, place)?;
        self.check_site(exchange.at, place)
    }

    /// Takes in an exchange or open request that was checked, of whose payload so many bytes are
    /// evidence.
    #[inline]
    pub(super) fn add_exchange(&mut self, kind: FrameKind, payload: &[u8], evidence: usize) {
        self.exchanges += u64::from(kind == FrameKind::Exchange);
        let (evidence, source) = payload.split_at(evidence);
        self.chain.add(evidence);
        self.source_chain.add(source);
    }

    /// Takes in the evidence of another record that was checked.
    pub(super) fn add_evidence(&mut self, evidence: &[u8]) {
        self.chain.add(evidence);
    }

    pub(super) fn check_visit(
        &mut self,
        visit: Passed<'_>,
        place: Place<'_>,
    ) -> Result<(), JournalError> {
        self.check_run("a visit", visit.run, place)?;
        self.check_goes_on("a visit", place)?;
        let mut paths = visit.paths.iter();
        paths.try_for_each(|path| self.check_path(*path, place))?;
        let last = visit.paths.last().copied();
        let place_of_model = match visit.backward {
            Some(turn) => self.model.backward(turn),
            None => self
                .model
                .visit(last.zip(visit.iteration).map(SiteRef::from)),
        };
        place_of_model.map_err(|(expected, found)| place.out_of_sequence(expected, found))
    }

    pub(super) fn check_cache_declaration(
        &self,
        cache: &CacheDeclaration,
        place: Place<'_>,
    ) -> Result<(), JournalError> {
        self.check_run("a cache declaration", cache.run, place)?;
        self.check_goes_on("a cache declaration", place)
    }

    /// Checks that a padding stands before all that the model of its run passes, and is one of the
    /// rows of its mediators.
    pub(super) fn check_padding(
        &mut self,
        record: &PaddingRecord,
        place: Place<'_>,
    ) -> Result<(), JournalError> {
        self.check_run("a padding", record.run, place)?;
        self.check_goes_on("a padding", place)?;
        let is_ahead = self.model == ModelSide::Ahead;
        let open = self
            .open
            .as_mut()
            .filter(|open| is_ahead && !open.is_padded);
        let Some(open) = open else {
            let expected = "one padding at most, before the model comes to a site".to_owned();
            return Err(place.out_of_sequence(expected, "a padding".to_owned()));
        };
        open.is_padded = true;
        let fits = record.padding.fits(open.rows);
        fits.map_err(|Misfit { expected, found }| {
            let reason = format!("expected {expected}, found {found}");
            place.malformed(FrameKind::Padding.name(), reason)
        })
    }

    /// Takes in a line of source.
    pub(super) fn source(
        &mut self,
        id: u32,
        payload: &[u8],
        place: Place<'_>,
    ) -> Result<(), JournalError> {
        self.check_is_open("a source line", place)?;
        self.expect("source line", u64::from(self.sources), u64::from(id), place)?;
        self.sources = self.sources.checked_add(1).ok_or_else(|| {
            place.limit("the number of source lines", 1 << 32, u64::from(u32::MAX))
        })?;
        self.source_chain.add(payload);
        Ok(())
    }

    /// Checks that an exchange names a line of source that is there.
    pub(super) fn check_source(
        &self,
        source: Option<u32>,
        place: Place<'_>,
    ) -> Result<(), JournalError> {
        match source {
            Some(source) if source >= self.sources => {
                let expected = format!("a source line below {}", self.sources);
                Err(place.out_of_sequence(expected, format!("source line {source}")))
            }
            _ => Ok(()),
        }
    }

    /// The tick that is to be written before the next exchange, if there is one after each `every`.
    #[inline]
    pub(super) fn due_tick(&mut self, every: u64) -> Option<Tick> {
        if self.exchanges - self.ticked >= every {
            self.tick_now()
        } else {
            None
        }
    }

    #[cold]
    fn tick_now(&mut self) -> Option<Tick> {
        if self.open?.first == self.exchanges {
            return None;
        }
        self.ticked = self.exchanges;
        Some(Tick {
            exchanges: self.exchanges,
            digest: self.chain.digest(),
        })
    }

    pub(super) fn tick(&mut self, tick: &Tick, place: Place<'_>) -> Result<(), JournalError> {
        self.check_is_open("a tick", place)?;
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
        passage: &PassageRecord,
        place: Place<'_>,
    ) -> Result<(), JournalError> {
        self.check_run("a passage", passage.run, place)
    }

    /// Takes in a passage that was checked.
    pub(super) fn add_passage(&mut self, payload: &[u8]) {
        let passages = self
            .passages
            .get_or_insert_with(|| Chain::new(&Digest::ZERO));
        passages.add(payload);
    }

    /// Ends the open run, with the digests of all that it had.
    pub(super) fn end_run(
        &mut self,
        end: &RunEndRecord,
        place: Place<'_>,
    ) -> Result<(), JournalError> {
        let Some(open) = self.open else {
            let found = format!("the end of run {}", end.run);
            return Err(place.out_of_sequence("the start of a run".to_owned(), found));
        };
        self.expect("end of run", u64::from(open.run), u64::from(end.run), place)?;
        let found = self
            .end_of_run(end.outcome.clone(), None)
            .map_err(|reason| place.malformed(FrameKind::RunEnd.name(), reason))?;
        if found.exchanges != end.exchanges {
            let expected = format!("run {} to have {} exchanges", end.run, end.exchanges);
            return Err(place.out_of_sequence(expected, found.exchanges.to_string()));
        }
        let digests = [
            ("run", Some(end.digest), Some(found.digest)),
            (
                "the source lines of run",
                Some(end.sources),
                Some(found.sources),
            ),
            ("the passages of run", end.passages, found.passages),
        ];
        let differing = digests
            .into_iter()
            .find(|(_, expected, found)| expected != found);
        if let Some((what, expected, found)) = differing {
            let [expected, found] = [expected, found].map(|digest| digest.unwrap_or(Digest::ZERO));
            return Err(place.digest(format!("{what} {}", end.run), expected, found));
        }
        self.close_run(&found);
        Ok(())
    }

    /// Ends the open run with [the end that it has](Self::end_of_run).
    pub(super) fn close_run(&mut self, end: &RunEndRecord) {
        // The chain of exchanges continues in the next run, so that a run cannot be taken out; the
        // others are of one run each.
        self.passages = None;
        self.digest = end.digest;
        self.chain.restart(&end.digest);
        self.source_chain.restart(&Digest::ZERO);
        self.ticked = self.exchanges;
        self.open = None;
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

    /// Checks that something belongs to the open run.
    fn check_run(&self, what: &str, run: u32, place: Place<'_>) -> Result<(), JournalError> {
        match self.open {
            Some(open) if open.run == run => Ok(()),
            Some(open) => {
                let found = format!("one of run {run}");
                Err(place.out_of_sequence(format!("{what} of run {}", open.run), found))
            }
            None => {
                let found = format!("{what} of run {run}");
                Err(place.out_of_sequence("the start of a run".to_owned(), found))
            }
        }
    }

    /// Checks that a run is open, in which alone something can stand.
    pub(super) fn check_is_open(&self, what: &str, place: Place<'_>) -> Result<(), JournalError> {
        if self.open.is_some() {
            return Ok(());
        }
        let expected = "the start of a run".to_owned();
        Err(place.out_of_sequence(expected, what.to_owned()))
    }

    /// Checks that the open run has no open requests yet.
    fn check_goes_on(&self, what: &str, place: Place<'_>) -> Result<(), JournalError> {
        match self.open {
            Some(open) if open.is_over => {
                let expected = format!("the end of run {}, after its open requests", open.run);
                Err(place.out_of_sequence(expected, what.to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn check_site(&self, site: Option<SiteRef>, place: Place<'_>) -> Result<(), JournalError> {
        site.map_or(Ok(()), |site| self.check_path(site.path, place))
    }

    fn check_path(&self, path: u32, place: Place<'_>) -> Result<(), JournalError> {
        if path < self.paths {
            return Ok(());
        }
        let expected = format!("a path below {}", self.paths);
        Err(place.out_of_sequence(expected, format!("path {path}")))
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
