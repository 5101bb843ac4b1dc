//! The digest of the exchanges of one step, whatever else is in their journal.

use std::collections::BTreeMap;

use crate::chain::Chain;
use crate::digest::Digest;
use crate::exchange;
use crate::record::{
    CacheDeclaration, ExchangeRecord, OutcomeRecord, PaddingRecord, RunEndRecord, RunStart,
    SiteRef, Visit,
};
use crate::{padded, visit, wire};

/// The digest of what happened in the runs of one step: what the last of them has in a journal that
/// begins with the step.
///
/// Runs, exchanges and paths are numbered anew, so that the digest depends neither on the steps
/// that the journal has before, nor on where a journal begins.
#[derive(Debug)]
pub struct StepDigest {
    chain: Chain,
    runs: u32,
    exchanges: u64,
    /// The number of each path here, by that in the journal.
    paths: BTreeMap<u32, u32>,
    payload: Vec<u8>,
}

impl Default for StepDigest {
    fn default() -> Self {
        Self {
            chain: Chain::new(&Digest::ZERO),
            runs: 0,
            exchanges: 0,
            paths: BTreeMap::new(),
            payload: Vec::new(),
        }
    }
}

/// What was checked when it was written or read cannot be refused here.
const WRITTEN: &str = "a record that is in a journal";

impl StepDigest {
    /// Takes in the start of a run.
    pub fn start_run(&mut self, start: &RunStart) {
        let start = RunStart {
            run: self.runs,
            ..start.clone()
        };
        self.add(|payload| wire::encode_start_evidence(&start, payload));
    }

    /// Takes in an exchange; `paths` are the texts of the journal's paths, by number.
    pub fn exchange(&mut self, exchange: ExchangeRecord, paths: &[String]) {
        self.open_request(exchange, paths);
        self.exchanges += 1;
    }

    /// Takes in a request that is open at the end of its run.
    pub fn open_request(&mut self, exchange: ExchangeRecord, paths: &[String]) {
        let exchange = ExchangeRecord {
            run: self.runs,
            index: self.exchanges,
            asked: self.site(exchange.asked, paths),
            at: self.site(exchange.at, paths),
            ..exchange
        };
        self.payload.clear();
        let evidence = exchange::encode(&exchange, None, &mut self.payload).expect(WRITTEN);
        self.chain.add(&self.payload[..evidence]);
    }

    /// Takes in a visit.
    pub fn visit(&mut self, visit: &Visit, paths: &[String]) {
        let passed = visit.passed.iter();
        let visit = Visit {
            run: self.runs,
            passed: passed.map(|path| self.path(*path, paths)).collect(),
            ..visit.clone()
        };
        self.add(|payload| visit::encode(&visit, payload).expect(WRITTEN));
    }

    /// Takes in the declaration of a cache.
    pub fn cache_declaration(&mut self, cache: &CacheDeclaration) {
        let cache = CacheDeclaration {
            run: self.runs,
            ..cache.clone()
        };
        self.add(|payload| visit::encode_cache(&cache, payload).expect(WRITTEN));
    }

    /// Takes in how the rows of the run are padded.
    pub fn padding(&mut self, record: &PaddingRecord) {
        let record = PaddingRecord {
            run: self.runs,
            ..record.clone()
        };
        self.add(|payload| padded::encode(&record, payload));
    }

    /// Ends the run, and returns the digest up to here.
    pub fn end_run(&mut self, end: &RunEndRecord) -> Digest {
        self.payload.clear();
        let outcome: &OutcomeRecord = &end.outcome;
        wire::encode_named(outcome, &mut self.payload).expect(WRITTEN);
        let digest = self.chain.digest_with(&self.payload);
        self.chain.restart(&digest);
        self.runs += 1;
        digest
    }

    /// Returns how many runs have ended.
    pub const fn runs(&self) -> u32 {
        self.runs
    }

    fn site(&mut self, site: Option<SiteRef>, paths: &[String]) -> Option<SiteRef> {
        site.map(|site| SiteRef {
            path: self.path(site.path, paths),
            ..site
        })
    }

    /// Returns the number of a path here, which is taken in at its first use.
    fn path(&mut self, path: u32, paths: &[String]) -> u32 {
        if let Some(known) = self.paths.get(&path) {
            return *known;
        }
        let number = self.paths.len() as u32;
        self.paths.insert(path, number);
        self.add(|payload| wire::encode_path(number, &paths[path as usize], payload));
        number
    }

    fn add(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        self.payload.clear();
        encode(&mut self.payload);
        self.chain.add(&self.payload);
    }
}
