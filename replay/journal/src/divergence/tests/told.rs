//! Runs that have all that can be another, as what is passed to a writer.

use interloom_engine::{Fault, FaultKind, Padding, PaddingSide, Round};

use super::*;
use crate::{
    BackwardTurn, CacheDeclaration, FailureLine, JournalWriter, OutcomeRecord, PaddingRecord,
    Policy, SiteRef, Visit,
};

pub(super) const NORM: u32 = 2;
pub(super) const GRAD: u32 = 3;
/// A gradient that is passed in iteration 1, and not served.
pub(super) const PASSED_GRAD: u32 = 4;

/// A run as what is passed to a writer.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) start: RunStart,
    pub(super) happened: Vec<Record>,
    pub(super) outcome: OutcomeRecord,
}

pub(super) fn site(path: u32, iteration: u32) -> Option<SiteRef> {
    Some(SiteRef { path, iteration })
}

pub(super) fn not_owner(rows: u32) -> Fault {
    FaultKind::NotOwner {
        site: "layers.3.attn.output.i1".into(),
        rows,
        batch: 2,
    }
    .into()
}

/// A run that has all that can be another: a loop, a cache declaration, visits, a refused value, an
/// open request and a failure.
pub(super) fn recorded() -> Told {
    let line = |event, mediator| ExchangeRecord {
        mediator,
        ..exchange(0, 0, event)
    };
    let register = ExchangeRecord {
        asked: site(NORM, 3),
        round: Round::Until { last: 7 },
        origin: Some(samples::origin("e.toml", 3)),
        ..line(Event::Register, 1)
    };
    let read = ExchangeRecord {
        asked: site(ATTN, 0),
        at: site(ATTN, 0),
        value: Some(tensor(&[1.0])),
        ..line(Event::Value, 0)
    };
    let swap = ExchangeRecord {
        asked: site(ATTN, 1),
        at: site(ATTN, 1),
        result: ExchangeResult::Refused,
        value: Some(tensor(&[9.0, 9.0])),
        reshape: true,
        fault: Some(not_owner(1)),
        origin: Some(samples::origin("e.toml", 4)),
        ..line(Event::Swap, 1)
    };
    let late = ExchangeRecord {
        asked: site(MLP, 5),
        result: ExchangeResult::Refused,
        fault: Some(samples::later_fault()),
        ..line(Event::Value, 0)
    };
    let open = ExchangeRecord {
        origin: Some(samples::origin("e.toml", 5)),
        ..samples::open_request(0, 0)
    };
    let happened = vec![
        Record::Exchange(register),
        Record::CacheDeclaration(samples::cache_declaration(0)),
        Record::Visit(samples::visit(0, &[ATTN], Some((0, tensor(&[1.0]))))),
        Record::Exchange(read),
        Record::Visit(samples::visit(
            0,
            &[NORM, MLP, ATTN],
            Some((1, tensor(&[2.0]))),
        )),
        Record::Exchange(swap),
        Record::Visit(samples::visit(0, &[NORM], None)),
        Record::Exchange(late),
        Record::Open(open),
    ];
    Told {
        start: RunStart {
            declared: samples::declared(),
            ..run_start(0)
        },
        happened,
        outcome: samples::failed(),
    }
}

/// A run with two backward passes: of the loss of a mediator, and then of one of the code around
/// the model, in which a gradient is collected.
pub(super) fn differentiated() -> Told {
    let turn = |passed: &[u32], turn| Record::Visit(samples::backward(0, passed, turn));
    let served = |passed: &[u32], iteration, elements: &[f32]| {
        Record::Visit(samples::visit(
            0,
            passed,
            Some((iteration, tensor(elements))),
        ))
    };
    let loss = ExchangeRecord {
        at: site(ATTN, 0),
        value: Some(tensor(&[3.0])),
        ..exchange(0, 0, Event::Backward)
    };
    let read = ExchangeRecord {
        asked: site(GRAD, 0),
        at: site(GRAD, 0),
        value: Some(tensor(&[0.5])),
        ..exchange(0, 0, Event::Value)
    };
    let outer = Visit {
        brought: samples::brought(1, tensor(&[4.0])),
        ..samples::backward(0, &[NORM], BackwardTurn::Begin)
    };
    Told {
        happened: vec![
            served(&[MLP, ATTN], 0, &[1.0]),
            Record::Exchange(loss),
            turn(&[], BackwardTurn::Begin),
            served(&[PASSED_GRAD, GRAD], 0, &[0.5]),
            Record::Exchange(read),
            turn(&[], BackwardTurn::End),
            Record::Visit(outer),
            served(&[GRAD], 1, &[0.25]),
            turn(&[PASSED_GRAD], BackwardTurn::End),
            Record::Visit(samples::visit(0, &[MLP], None)),
        ],
        outcome: samples::completed(),
        ..recorded()
    }
}

/// A run whose rows are padded.
pub(super) fn padded() -> Told {
    let mut padded = recorded();
    padded.start.mediators[0].rows = Some((0, 2));
    padded
        .happened
        .insert(2, Record::Padding(samples::padding(0, &[3, 5])));
    padded
}

impl Told {
    pub(super) fn pad(&mut self, side: PaddingSide, lengths: [u32; 2]) {
        let padding = Padding::new(side, lengths).unwrap();
        self.happened[2] = Record::Padding(PaddingRecord { run: 0, padding });
    }

    pub(super) fn exchange(&mut self, number: usize) -> &mut ExchangeRecord {
        let exchanges = self.happened.iter_mut().filter_map(|record| match record {
            Record::Exchange(exchange) => Some(exchange),
            _ => None,
        });
        exchanges.into_iter().nth(number).unwrap()
    }

    pub(super) fn visit(&mut self, number: usize) -> &mut Visit {
        let visits = self.happened.iter_mut().filter_map(|record| match record {
            Record::Visit(visit) => Some(visit),
            _ => None,
        });
        visits.into_iter().nth(number).unwrap()
    }

    pub(super) fn cache(&mut self) -> &mut CacheDeclaration {
        let caches = self.happened.iter_mut().filter_map(|record| match record {
            Record::CacheDeclaration(cache) => Some(cache),
            _ => None,
        });
        caches.into_iter().next().unwrap()
    }

    pub(super) fn open(&mut self) -> &mut ExchangeRecord {
        match self.happened.last_mut() {
            Some(Record::Open(open)) => open,
            _ => panic!("the open request is last"),
        }
    }

    pub(super) fn why(&mut self) -> &mut FailureLine {
        match &mut self.outcome {
            OutcomeRecord::Failed(failure) => failure,
            _ => panic!("the run failed"),
        }
    }

    /// The journal's bytes, and the digest of its run.
    pub(super) fn written(&self) -> (Vec<u8>, Digest) {
        let head = Head {
            policy: Policy::Digest,
            ..samples::head()
        };
        let mut bytes = Vec::new();
        let mut writer = JournalWriter::new(&mut bytes, "a.ilj", &head).unwrap();
        writer.start_run(&self.start).unwrap();
        for path in [
            "layers.3.attn.output",
            "layers.3.mlp.output",
            "layers.3.norm.output",
            "layers.3.attn.output.grad",
            "layers.3.mlp.output.grad.i1",
        ] {
            writer.path(path).unwrap();
        }
        for record in &self.happened {
            let numbered = |exchange: &ExchangeRecord, index| ExchangeRecord {
                index,
                ..exchange.clone()
            };
            let index = writer.next_index();
            match record {
                Record::Exchange(exchange) => writer.exchange(&numbered(exchange, index)),
                Record::Open(open) => writer.open_request(&numbered(open, index)),
                Record::Visit(visit) => writer.visit(visit),
                Record::CacheDeclaration(cache) => writer.cache_declaration(cache),
                Record::Padding(padding) => writer.padding(padding),
                other => panic!("{other:?}"),
            }
            .unwrap();
        }
        let digest = writer.end_run(self.outcome.clone()).unwrap().digest;
        writer.finish().unwrap();
        (bytes, digest)
    }

    pub(super) fn journal(&self) -> Journal {
        let (bytes, _) = self.written();
        let reader = JournalReader::new(&bytes[..], "a.ilj").unwrap();
        let (journal, error) = Journal::read_prefix(reader);
        assert_eq!(error, None);
        journal
    }
}
