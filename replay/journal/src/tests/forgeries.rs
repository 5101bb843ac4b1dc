//! The faults of the table in `docs/TRUST.md` that forge one record of each kind, with all CRCs and
//! numbers made right.

use interloom_engine::{Fault, FaultKind, Padding, PaddingSide, Round};

use super::acts::{Act, forged};
use super::faults::framed;
use super::frame::FrameKind;
use super::trust::{Original, Row};
use super::*;
use crate::{exchange, padded, passage, visit, wire};

/// Forgeries of single records.
pub(super) const RECORDS: &[(&str, Act)] = &[
    ("a run start altered, CRCs made right", |row, original| {
        each(row, original, FrameKind::RunStart, |record| match record {
            Record::RunStart(start) => altered_starts(start).iter().map(named).collect(),
            _ => Vec::new(),
        });
    }),
    (
        "the gradients of a run altered, CRCs made right",
        |row, original| {
            each(row, original, FrameKind::RunStart, |record| match record {
                Record::RunStart(start) => altered_gradients(start).iter().map(named).collect(),
                _ => Vec::new(),
            });
        },
    ),
    ("a path altered, CRCs made right", |row, original| {
        each(row, original, FrameKind::Path, |record| match record {
            Record::Path(path) => altered_paths(path).iter().map(path_payload).collect(),
            _ => Vec::new(),
        });
    }),
    ("an exchange altered, CRCs made right", |row, original| {
        each(row, original, FrameKind::Exchange, |record| match record {
            Record::Exchange(exchange) => exchange_payloads(exchange),
            _ => Vec::new(),
        });
    }),
    (
        "another particular of a fault, CRCs made right",
        |row, original| {
            each(row, original, FrameKind::Exchange, |record| match record {
                Record::Exchange(exchange) => {
                    let faults = exchange.fault.iter().flat_map(altered_faults);
                    let exchanges = faults.map(|fault| ExchangeRecord {
                        fault: Some(fault),
                        ..exchange.clone()
                    });
                    exchanges.map(|exchange| payload_of(&exchange, 0)).collect()
                }
                _ => Vec::new(),
            });
        },
    ),
    (
        "a source number altered, CRCs made right",
        |row, original| {
            each(row, original, FrameKind::Exchange, |record| match record {
                Record::Exchange(exchange) => other_sources(exchange),
                _ => Vec::new(),
            });
        },
    ),
    (
        "an open request altered, CRCs made right",
        |row, original| {
            each(row, original, FrameKind::Open, |record| match record {
                Record::Open(open) => [exchange_payloads(open), other_sources(open)].concat(),
                _ => Vec::new(),
            });
        },
    ),
    (
        "an exchange as an open request, and the other way, CRCs made right",
        |row, original| {
            for (at, record) in original.records.iter().enumerate() {
                let (kind, exchange) = match record {
                    Record::Exchange(exchange) => (FrameKind::Open, exchange),
                    Record::Open(open) => (FrameKind::Exchange, open),
                    _ => continue,
                };
                for result in ExchangeResult::ALL {
                    let other = ExchangeRecord {
                        result,
                        ..exchange.clone()
                    };
                    replaced(row, original, at, kind, &payload_of(&other, 0));
                }
            }
        },
    ),
    ("a source line altered, CRCs made right", |row, original| {
        each(row, original, FrameKind::Source, |record| match record {
            Record::Source(source) => altered_sources(source),
            _ => Vec::new(),
        });
    }),
    (
        "a source line added, CRCs and numbers made right",
        |row, original| {
            let count = original.records.iter();
            let count = count
                .filter(|record| matches!(record, Record::Source(_)))
                .count();
            let mut payload = Vec::new();
            visit::encode_source(count as u32, &samples::origin("more.rs", 1), &mut payload);
            inserted(row, original, FrameKind::Source, &payload);
        },
    ),
    ("a visit altered, CRCs made right", |row, original| {
        each(row, original, FrameKind::Visit, |record| match record {
            Record::Visit(visit) => altered_visits(visit).iter().map(visit_payload).collect(),
            _ => Vec::new(),
        });
    }),
    (
        "the turn of a backward pass altered, CRCs made right",
        |row, original| {
            each(row, original, FrameKind::Visit, |record| match record {
                Record::Visit(visit) => altered_turns(visit).iter().map(visit_payload).collect(),
                _ => Vec::new(),
            });
        },
    ),
    (
        "a visit added, CRCs and numbers made right",
        |row, original| {
            for run in 0..3 {
                for value in [None, Some((0, ValueTree::Int(42)))] {
                    let payload = visit_payload(&samples::visit(run, &[0], value));
                    inserted(row, original, FrameKind::Visit, &payload);
                }
            }
        },
    ),
    (
        "another visit in place of a visit, CRCs and numbers made right",
        |row, original| {
            let is_visit = |record: &Record| matches!(record, Record::Visit(_));
            let places = (0..original.records.len()).filter(|at| is_visit(&original.records[*at]));
            let places: Vec<usize> = places.collect();
            for &at in &places {
                for &other in places.iter().filter(|other| **other != at) {
                    let mut frames = original.frames.clone();
                    frames[at + 1].clone_from(&original.frames[other + 1]);
                    row.read(original, &forged(original, frames));
                }
            }
        },
    ),
    (
        "a cache declaration altered, CRCs made right",
        |row, original| {
            each(
                row,
                original,
                FrameKind::CacheDeclaration,
                |record| match record {
                    Record::CacheDeclaration(cache) => {
                        altered_caches(cache).iter().map(cache_payload).collect()
                    }
                    _ => Vec::new(),
                },
            );
        },
    ),
    (
        "a cache declaration added, CRCs and numbers made right",
        |row, original| {
            for run in 0..3 {
                let payload = cache_payload(&samples::cache_declaration(run));
                inserted(row, original, FrameKind::CacheDeclaration, &payload);
            }
        },
    ),
    ("a padding altered, CRCs made right", |row, original| {
        each(row, original, FrameKind::Padding, |record| match record {
            Record::Padding(padding) => altered_paddings(padding)
                .iter()
                .map(padding_payload)
                .collect(),
            _ => Vec::new(),
        });
    }),
    (
        "a padding added, CRCs and numbers made right",
        |row, original| {
            for run in 0..3 {
                for lengths in [&[1, 2, 3][..], &[1, 2]] {
                    let payload = padding_payload(&samples::padding(run, lengths));
                    inserted(row, original, FrameKind::Padding, &payload);
                }
            }
        },
    ),
    (
        "an open request added, CRCs and numbers made right",
        |row, original| {
            for (run, exchanges) in [(0, 12), (1, 13), (2, 14), (2, 16)] {
                let payload = payload_of(&samples::open_request(run, exchanges), 0);
                inserted(row, original, FrameKind::Open, &payload);
            }
        },
    ),
    ("a tick altered, CRCs made right", |row, original| {
        each(row, original, FrameKind::Tick, |record| match record {
            Record::Tick(tick) => {
                let altered = [
                    Tick {
                        exchanges: tick.exchanges + 1,
                        ..tick.clone()
                    },
                    Tick {
                        digest: Digest::ZERO,
                        ..tick.clone()
                    },
                ];
                altered.iter().map(named).collect()
            }
            _ => Vec::new(),
        });
    }),
    ("a passage altered, CRCs made right", |row, original| {
        each(row, original, FrameKind::Passage, |record| match record {
            Record::Passage(passage) => altered_passages(passage)
                .iter()
                .map(passage_payload)
                .collect(),
            _ => Vec::new(),
        });
    }),
    (
        "an outcome or a digest of a run altered, CRCs made right",
        |row, original| {
            each(row, original, FrameKind::RunEnd, |record| match record {
                Record::RunEnd(end) => altered_ends(end).iter().map(named).collect(),
                _ => Vec::new(),
            });
        },
    ),
];

/// Puts each of the payloads that `altered` makes of a record in its place.
fn each(
    row: &mut Row,
    original: &Original,
    kind: FrameKind,
    altered: impl Fn(&Record) -> Vec<Vec<u8>>,
) {
    for (at, record) in original.records.iter().enumerate() {
        for payload in altered(record) {
            replaced(row, original, at, kind, &payload);
        }
    }
}

fn replaced(row: &mut Row, original: &Original, at: usize, kind: FrameKind, payload: &[u8]) {
    let mut frames = original.frames.clone();
    frames[at + 1] = framed(&original.bytes, kind as u8, at as u64, payload);
    row.read(original, &frames.concat());
}

/// Puts a frame in each place after the head.
fn inserted(row: &mut Row, original: &Original, kind: FrameKind, payload: &[u8]) {
    for at in 2..=original.frames.len() {
        let mut frames = original.frames.clone();
        frames.insert(at, framed(&original.bytes, kind as u8, 0, payload));
        row.read(original, &forged(original, frames));
    }
}

/// The same record, changed in each of these ways.
fn each_altered<T: Clone>(record: &T, changes: &[fn(&mut T)]) -> Vec<T> {
    let altered = |change: &fn(&mut T)| {
        let mut altered = record.clone();
        change(&mut altered);
        altered
    };
    changes.iter().map(altered).collect()
}

fn named(record: &impl serde::Serialize) -> Vec<u8> {
    let mut payload = Vec::new();
    wire::encode_named(record, &mut payload).unwrap();
    payload
}

fn path_payload(path: &PathLine) -> Vec<u8> {
    let mut payload = Vec::new();
    wire::encode_path(path.id, &path.text, &mut payload);
    payload
}

/// An exchange whose line of source, if it has one, has this number.
fn payload_of(exchange: &ExchangeRecord, source: u32) -> Vec<u8> {
    let source = exchange.origin.as_ref().map(|_| source);
    let mut payload = Vec::new();
    exchange::encode(exchange, source, &mut payload).unwrap();
    payload
}

fn visit_payload(visit: &Visit) -> Vec<u8> {
    let mut payload = Vec::new();
    visit::encode(visit, &mut payload).unwrap();
    payload
}

fn cache_payload(cache: &CacheDeclaration) -> Vec<u8> {
    let mut payload = Vec::new();
    visit::encode_cache(cache, &mut payload).unwrap();
    payload
}

fn padding_payload(padding: &PaddingRecord) -> Vec<u8> {
    let mut payload = Vec::new();
    padded::encode(padding, &mut payload);
    payload
}

fn passage_payload(passage: &PassageRecord) -> Vec<u8> {
    let mut payload = Vec::new();
    passage::encode(passage, &mut payload).unwrap();
    payload
}

fn altered_starts(start: &RunStart) -> Vec<RunStart> {
    each_altered(
        start,
        &[
            |start| start.run += 1,
            |start| start.name.push('x'),
            |start| start.mediators[0].name.push('x'),
            |start| start.mediators[0].rows = Some((0, 2)),
            |start| start.mediators[1].rows = Some((1, 1)),
            |start| start.mediators[1].optional = false,
            |start| drop(start.mediators.pop()),
            |start| start.mediators.swap(0, 1),
            |start| start.declared.steps = Some(5),
            |start| {
                let meet = BarrierLine {
                    name: "more".into(),
                    participants: 2,
                };
                start.declared.barriers.push(meet);
            },
        ],
    )
}

/// The same start with other gradients that may be asked for.
fn altered_gradients(start: &RunStart) -> Vec<RunStart> {
    let altered = each_altered(
        start,
        &[
            |start| start.declared.gradients.clear(),
            |start| {
                let more = "layers.0.mlp.output.grad".to_owned();
                start.declared.gradients.push(more);
            },
            |start| {
                let first = start.declared.gradients.iter_mut().take(1);
                first.for_each(|gradient| gradient.push('x'));
            },
        ],
    );
    let altered = altered.into_iter();
    altered.filter(|altered| altered != start).collect()
}

fn altered_paths(path: &PathLine) -> Vec<PathLine> {
    each_altered(
        path,
        &[
            |path| path.id += 1,
            |path| path.text.push('x'),
            |path| path.text.clear(),
        ],
    )
}

/// The payloads of an exchange with one field that is another, or one more line of source.
fn exchange_payloads(exchange: &ExchangeRecord) -> Vec<Vec<u8>> {
    let altered = alterations(exchange);
    let lines = [0, 0];
    let altered = altered.iter().filter(|altered| {
        // Only a SWAP reshapes, and only a REGISTER loops.
        exchange::encode(altered, None, &mut Vec::new()).is_ok()
    });
    altered
        .map(|altered| payload_of(altered, lines[0]))
        .collect()
}

fn alterations(exchange: &ExchangeRecord) -> Vec<ExchangeRecord> {
    each_altered(
        exchange,
        &[
            |exchange| exchange.run ^= 1,
            |exchange| exchange.index += 1,
            |exchange| exchange.mediator += 1,
            |exchange| {
                exchange.event =
                    Event::ALL[(usize::from(exchange.event.code()) + 1) % Event::ALL.len()]
            },
            |exchange| exchange.asked = exchange.asked.xor(Some((0, 3).into())),
            |exchange| exchange.at = exchange.at.xor(Some((1, 3).into())),
            |exchange| exchange.at = exchange.at.map(|at| (at.path, at.iteration + 1).into()),
            |exchange| {
                exchange.result = match exchange.result {
                    ExchangeResult::Served => ExchangeResult::Refused,
                    ExchangeResult::Refused => ExchangeResult::Open,
                    ExchangeResult::Open => ExchangeResult::Served,
                };
            },
            |exchange| exchange.value = Some(ValueTree::Int(42)),
            |exchange| exchange.value = None,
            |exchange| exchange.reshape ^= true,
            |exchange| exchange.round = Round::Open,
            |exchange| exchange.round = Round::Until { last: 8 },
            |exchange| exchange.fault = Some(FaultKind::Closed.into()),
            |exchange| exchange.fault = None,
        ],
    )
    .into_iter()
    .filter(|altered| altered != exchange)
    .collect()
}

/// The same exchange with another line of source, or one that is not there.
fn other_sources(exchange: &ExchangeRecord) -> Vec<Vec<u8>> {
    let sources = [None, Some(0), Some(1), Some(2), Some(u32::MAX)];
    // Both lines are named by exchanges of the golden journal, in this order.
    let own = exchange
        .origin
        .as_ref()
        .map(|origin| u32::from(&*origin.file == "other.rs"));
    let others = sources.into_iter().filter(|source| *source != own);
    let payloads = others.map(|source| {
        let mut payload = Vec::new();
        exchange::encode(exchange, source, &mut payload).unwrap();
        payload
    });
    payloads.collect()
}

/// Faults that are nearly the same.
fn altered_faults(fault: &Fault) -> Vec<Fault> {
    let mut kinds = vec![FaultKind::SecondRequest];
    match fault.kind().clone() {
        FaultKind::OutOfOrder { asked, at } => kinds.extend([
            FaultKind::OutOfOrder {
                asked: format!("{asked}0"),
                at: at.clone(),
            },
            FaultKind::OutOfOrder { asked, at: None },
        ]),
        FaultKind::Unknown { code, particulars } => kinds.extend([
            FaultKind::Unknown {
                code: format!("{code}0"),
                particulars: particulars.clone(),
            },
            FaultKind::Unknown {
                code,
                particulars: interloom_engine::Tree::List([particulars].into()),
            },
        ]),
        _ => kinds.push(FaultKind::Raised("x".into())),
    }
    kinds.into_iter().map(Fault::from).collect()
}

fn altered_sources(source: &SourceLine) -> Vec<Vec<u8>> {
    let altered = each_altered(
        source,
        &[
            |source| source.id += 1,
            |source| source.origin.file = "forged.rs".into(),
            |source| source.origin.line += 1,
        ],
    );
    let payloads = altered.iter().map(|source| {
        let mut payload = Vec::new();
        visit::encode_source(source.id, &source.origin, &mut payload);
        payload
    });
    payloads.collect()
}

fn altered_visits(visit: &Visit) -> Vec<Visit> {
    let altered = each_altered(
        visit,
        &[
            |visit| visit.run ^= 1,
            |visit| visit.run += 1,
            |visit| visit.passed.iter_mut().take(1).for_each(|path| *path ^= 1),
            |visit| visit.passed.iter_mut().take(1).for_each(|path| *path = 99),
            |visit| visit.passed.push(0),
            |visit| visit.passed.insert(0, 1),
            |visit| visit.passed.truncate(1),
            |visit| visit.passed.reverse(),
            |visit| visit.brought = samples::brought(0, ValueTree::Int(42)),
            |visit| visit.brought = None,
            |visit| {
                if let Some(brought) = &mut visit.brought {
                    brought.iteration ^= 1;
                }
            },
        ],
    );
    altered
        .into_iter()
        .filter(|altered| altered != visit)
        .collect()
}

/// The same visit with another turn of a backward pass, or with another loss.
fn altered_turns(visit: &Visit) -> Vec<Visit> {
    let mut altered = each_altered(
        visit,
        &[
            |visit| visit.backward = Some(BackwardTurn::Begin),
            |visit| visit.backward = Some(BackwardTurn::End),
            |visit| visit.backward = None,
        ],
    );
    if visit.backward.is_some() {
        altered.extend(each_altered(
            visit,
            &[
                |visit| visit.passed.push(0),
                |visit| visit.passed.clear(),
                |visit| visit.brought = None,
                |visit| visit.brought = samples::brought(0, ValueTree::Int(42)),
                |visit| {
                    let brought = visit.brought.iter_mut();
                    brought.for_each(|brought| brought.iteration += 1);
                },
            ],
        ));
    }
    // A visit without a turn has passed something.
    let is_visit = |visit: &Visit| visit.backward.is_some() || !visit.passed.is_empty();
    altered.retain(|altered| altered != visit && is_visit(altered));
    altered
}

fn altered_caches(cache: &CacheDeclaration) -> Vec<CacheDeclaration> {
    let altered = each_altered(
        cache,
        &[
            |cache| cache.run ^= 1,
            |cache| cache.mediator ^= 1,
            |cache| cache.number += 1,
            |cache| cache.modules = None,
            |cache| cache.modules = Some(vec!["layers.0.mlp".into()]),
            |cache| cache.inputs ^= true,
            |cache| cache.outputs ^= true,
            |cache| cache.gradients ^= true,
            |cache| cache.fault = None,
            |cache| cache.fault = Some(FaultKind::Closed.into()),
            |cache| {
                let passed = vec!["layers.0.mlp.input".into()];
                cache.fault = Some(FaultKind::LateCache { passed }.into());
            },
        ],
    );
    let altered = altered.into_iter();
    altered.filter(|altered| altered != cache).collect()
}

/// The same padding of other rows, on the other side, of another run, and what is none of the run.
fn altered_paddings(record: &PaddingRecord) -> Vec<PaddingRecord> {
    let of = |side, lengths: &[u32]| PaddingRecord {
        run: record.run,
        padding: Padding::new(side, lengths.iter().copied()).unwrap(),
    };
    let lengths = record.padding.lengths();
    let mut reversed = lengths.to_vec();
    reversed.reverse();
    vec![
        of(PaddingSide::Right, lengths),
        of(PaddingSide::Left, &reversed),
        of(PaddingSide::Left, &lengths[1..]),
        of(PaddingSide::Left, &[lengths, &[1]].concat()),
        of(PaddingSide::Left, &[3, 300, 0]),
        PaddingRecord {
            run: record.run ^ 1,
            ..record.clone()
        },
    ]
}

/// The same passage with one thing that is another.
fn altered_passages(passage: &PassageRecord) -> Vec<PassageRecord> {
    each_altered(
        passage,
        &[
            |passage| passage.run ^= 1,
            |passage| passage.points[1].push('x'),
            |passage| passage.points.push("layers.9.output".into()),
            |passage| passage.passings[0].point ^= 1,
            |passage| passage.passings[1].exchanges -= 1,
            |passage| passage.passings[1].given = None,
            |passage| drop(passage.passings.pop()),
            |passage| passage.calls[0].end -= 1,
            |passage| passage.calls[0].output = ValueTree::Int(42),
            |passage| passage.calls.clear(),
        ],
    )
}

/// The same end with another outcome, or another digest.
fn altered_ends(end: &RunEndRecord) -> Vec<RunEndRecord> {
    let altered = each_altered(
        end,
        &[
            |end| end.run ^= 1,
            |end| end.exchanges += 1,
            |end| end.outcome = OutcomeRecord::Completed,
            |end| {
                end.outcome = OutcomeRecord::Stopped {
                    by: "read".into(),
                    at: None,
                };
            },
            |end| end.outcome = OutcomeRecord::Failed(FailureLine::new("E020", &"x")),
            |end| {
                if let OutcomeRecord::Failed(failure) = &mut end.outcome {
                    failure.code.push('0');
                }
            },
            |end| {
                if let OutcomeRecord::Failed(failure) = &mut end.outcome {
                    failure.why = interloom_engine::Tree::Unit;
                }
            },
            |end| end.digest = Digest::ZERO,
            |end| end.sources = Digest::ZERO,
            |end| end.passages = Some(Digest::ZERO),
        ],
    );
    altered
        .into_iter()
        .filter(|altered| altered != end)
        .collect()
}
