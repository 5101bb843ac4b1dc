//! Journals and records for tests.

use std::collections::BTreeMap;

use super::*;
use interloom_engine::ProgramFault;
use interloom_engine::{
    Asker, Failure, Fault, FaultKind, Meeting, Misfit, NoGradient, NoLeaf, Padding, PaddingSide,
    Pending, Refusal, Round, RunError, ScheduleError, Silent, Tree,
};

mod golden;
mod random;

pub(crate) use golden::{GOLDEN_EXCHANGES, GOLDEN_TICKS, golden, write_golden};
pub(crate) use random::{
    any_cache_declaration, any_exchange, any_fault, any_head, any_origin, any_padding, any_visit,
};

/// A head with something in every field.
pub(crate) fn head() -> Head {
    let arguments = [
        ("prompt", Argument::from("The Eiffel Tower is in")),
        ("scale", 0.5.into()),
        ("steps", 3.into()),
        ("verify", true.into()),
        ("layers", Argument::List(vec![3.into(), 5.into()])),
    ];
    Head {
        format: FORMAT_NAME.into(),
        version: "0.1.0".into(),
        build: Build {
            rustc: "rustc 1.95.0".into(),
            target: "x86_64-unknown-linux-gnu".into(),
            profile: "release".into(),
            features: vec!["hub".into()],
        },
        seeds: vec![42, u64::MAX],
        device: "cpu".into(),
        cpu_features: vec!["avx2".into(), "fma".into()],
        arithmetic: "exact".into(),
        policy: Policy::Full,
        experiment: Experiment {
            name: "steer".into(),
            arguments: BTreeMap::from(arguments.map(|(name, value)| (name.into(), value))),
        },
        model: Some(ModelIdentity {
            name: "tiny".into(),
            digest: Digest::of_bytes("model", b"tiny"),
            parameters: vec![
                (
                    "layers.0.weight".into(),
                    Digest::of_bytes("parameter", b"0"),
                ),
                (
                    "layers.1.weight".into(),
                    Digest::of_bytes("parameter", b"1"),
                ),
            ],
        }),
        number_formats: Vec::new(),
        modules: Vec::new(),
        inputs: vec![("prompt".into(), Digest::of_bytes("input", b"prompt"))],
        schedule: "in order".into(),
        sites: Some(SiteTable {
            paths: vec![
                (String::new(), vec!["output".into()]),
                (
                    "layers.0.attn".into(),
                    vec!["input".into(), "output".into()],
                ),
            ],
            aliases: vec![(
                "blocks.0.hook_attn_out".into(),
                "layers.0.attn.output".into(),
            )],
            positions: Vec::new(),
            rows: Vec::new(),
        }),
        tokens: Tokens::from([("prompt".into(), vec![vec![464, 412]])]),
    }
}

/// The head of a journal of a model that says which dimensions are positions, and which tensors
/// have rows.
pub(crate) fn positioned_head() -> Head {
    let sites = head().sites.map(|sites| SiteTable {
        positions: vec![
            (vec![vec![1]], vec![0, 2]),
            (vec![vec![], vec![2, 3]], vec![1]),
        ],
        rows: vec![
            (BatchedTensors::Each(false), vec![0]),
            (BatchedTensors::Listed(vec![true, false]), vec![1, 2]),
        ],
        ..sites
    });
    Head { sites, ..head() }
}

/// A run with two mediators, of which one has three rows.
pub(crate) fn padded_start(run: u32) -> RunStart {
    let mut start = run_start(run);
    start.mediators[0].rows = Some((0, 3));
    start
}

/// A padding of rows of these lengths, on the left.
pub(crate) fn padding(run: u32, lengths: &[u32]) -> PaddingRecord {
    let padding = Padding::new(PaddingSide::Left, lengths.iter().copied());
    PaddingRecord {
        run,
        padding: padding.expect("rows that differ in length"),
    }
}

/// A run with two mediators.
pub(crate) fn run_start(run: u32) -> RunStart {
    RunStart {
        run,
        name: format!("forward {run}"),
        mediators: vec![
            MediatorLine {
                name: "read".into(),
                rows: Some((0, 1)),
                optional: false,
            },
            MediatorLine {
                name: "steer".into(),
                rows: None,
                optional: true,
            },
        ],
        scheduler: "in order".into(),
        declared: Declared::default(),
        keeps: Vec::new(),
    }
}

/// What a run with two barriers declares.
pub(crate) fn declared() -> Declared {
    let barrier = |name: &str, participants| BarrierLine {
        name: name.into(),
        participants,
    };
    Declared {
        barriers: vec![barrier("again", 3), barrier("meet", 2)],
        steps: Some(4),
        gradients: vec!["layers.0.attn.output.grad".into()],
    }
}

/// A run's ordinary end.
pub(crate) fn completed() -> OutcomeRecord {
    OutcomeRecord::Completed
}

/// The end of a run that a mediator stopped.
pub(crate) fn stopped() -> OutcomeRecord {
    OutcomeRecord::Stopped {
        by: "steer".into(),
        at: Some("layers.0.attn.output.i70000".into()),
    }
}

/// The end of a run in which a mediator failed.
pub(crate) fn failed() -> OutcomeRecord {
    let failure = Failure {
        mediator: "read".into(),
        at: Some("layers.0.attn.output.i1".into()),
        origin: interloom_engine::Origin::Unknown,
        fault: ProgramFault::Unset("x".into()).into(),
    };
    let error = RunError::Mediators(vec![failure]);
    OutcomeRecord::Failed(FailureLine::new(error.code(), &error))
}

/// An exchange without a value.
pub(crate) fn exchange(run: u32, index: u64, event: Event) -> ExchangeRecord {
    ExchangeRecord {
        run,
        index,
        mediator: 0,
        event,
        asked: None,
        at: None,
        result: ExchangeResult::Served,
        value: None,
        reshape: false,
        round: Round::Alone,
        fault: None,
        origin: None,
    }
}

/// An exchange at `path`, with an f32 tensor of these elements.
pub(crate) fn tensor_exchange(
    index: u64,
    mediator: u32,
    event: Event,
    path: u32,
    elements: &[f32],
) -> ExchangeRecord {
    let site = SiteRef { path, iteration: 0 };
    ExchangeRecord {
        mediator,
        asked: Some(site),
        at: Some(site),
        value: Some(tensor(elements)),
        ..exchange(0, index, event)
    }
}

/// A value: an f32 tensor of rank 1.
pub(crate) fn tensor(elements: &[f32]) -> ValueTree {
    let shape = vec![elements.len() as u64];
    let digest = Digest::of_tensor(DType::F32, &shape, &bytes(elements));
    ValueTree::Leaf(TensorLine {
        dtype: DType::F32,
        shape,
        digest,
    })
}

/// The bytes of f32 elements.
pub(crate) fn bytes(elements: &[f32]) -> Vec<u8> {
    elements
        .iter()
        .flat_map(|element| element.to_le_bytes())
        .collect()
}

/// An exchange with something in every field, and every kind of value.
pub(crate) fn exchange_with_everything() -> ExchangeRecord {
    ExchangeRecord {
        run: 1,
        index: 300,
        mediator: 1,
        event: Event::Swap,
        asked: Some(SiteRef {
            path: 1,
            iteration: 2,
        }),
        at: Some(SiteRef {
            path: 0,
            iteration: 70_000,
        }),
        result: ExchangeResult::Refused,
        value: Some(value_with_everything()),
        reshape: true,
        round: Round::Alone,
        fault: Some(out_of_order("layers.0.mlp.output.i2")),
        origin: Some(origin("steer.rs", 12)),
    }
}

/// A line of source.
pub(crate) fn origin(file: &str, line: u32) -> OriginRecord {
    OriginRecord {
        file: file.into(),
        line,
    }
}

/// The fault of a request for a site that has been passed.
pub(crate) fn out_of_order(asked: &str) -> Fault {
    let kind = FaultKind::OutOfOrder {
        asked: asked.into(),
        at: Some("layers.0.attn.output.i70000".into()),
    };
    kind.into()
}

/// The fault of a cache that comes too late.
pub(crate) fn late_cache() -> Fault {
    let passed = vec!["layers.0.mlp.output".into()];
    FaultKind::LateCache { passed }.into()
}

/// A fault of a later version.
pub(crate) fn later_fault() -> Fault {
    let entry = |key: &str, value| (key.into(), value);
    let kind = FaultKind::Unknown {
        code: "E900".into(),
        particulars: Tree::Map(
            [
                entry("asked", Tree::Text("layers.0.attn.output.i1".into())),
                entry("of", Tree::List([Tree::Int(-7), Tree::Unit].into())),
            ]
            .into(),
        ),
    };
    kind.into()
}

/// Each fault of this version, with its particulars.
pub(crate) fn faults() -> Vec<Fault> {
    let (site, names) = (|| "layers.0.input.i0".to_owned(), || vec!["a".to_owned()]);
    let misfit = || Misfit {
        expected: "f32[1, 2]".into(),
        found: "i64[3]".into(),
    };
    let kinds = [
        FaultKind::UnknownSite {
            asked: site(),
            nearest: names(),
        },
        FaultKind::OutOfOrder {
            asked: site(),
            at: Some(site()),
        },
        FaultKind::NotProvided {
            asked: site(),
            stopped_by: Some(("stop".into(), Some(site()))),
            hint: names(),
        },
        FaultKind::Misfit {
            site: site(),
            misfit: misfit(),
        },
        FaultKind::NotSkippable {
            site: site(),
            example: site(),
        },
        FaultKind::NotOwner {
            site: site(),
            rows: 1,
            batch: 2,
        },
        FaultKind::Type(misfit()),
        FaultKind::ForeignAwait,
        FaultKind::SecondRequest,
        FaultKind::Closed,
        FaultKind::Panicked("so it is".into()),
        FaultKind::Restless { limit: 100_000 },
        FaultKind::Raised("not enough".into()),
        FaultKind::BeyondSteps {
            iteration: 4,
            steps: 3,
        },
        FaultKind::UnknownBarrier {
            asked: "meet".into(),
            nearest: names(),
        },
        FaultKind::NotShared {
            asked: "x".into(),
            there: names(),
        },
        FaultKind::LateCache { passed: names() },
        FaultKind::NoGradient {
            asked: site(),
            why: NoGradient::Unreached,
        },
        FaultKind::Loss {
            at: site(),
            misfit: misfit(),
        },
        FaultKind::NoBackward { at: Some(site()) },
        FaultKind::NoValue {
            asked: "layers.0.weight.output".to_owned(),
            gradient: "layers.0.weight.grad".to_owned(),
        },
    ];
    let programs = program_faults(&site(), &misfit());
    let kinds = kinds.into_iter().map(Fault::from);
    kinds.chain(programs.into_iter().map(Fault::from)).collect()
}

/// Each failure of a run of this version, with its particulars.
pub(crate) fn run_errors() -> Vec<RunError> {
    let site = || "layers.0.input.i0".to_owned();
    let names = || vec!["a".to_owned()];
    let origin = interloom_engine::Origin::default();
    let asker = || Asker {
        mediator: "a".into(),
        at: Some(site()),
        origin: origin.clone(),
    };
    let meeting = || Meeting {
        barrier: "meet".into(),
        participants: 2,
        waiting: vec![asker()],
        missing: names(),
    };
    vec![
        RunError::Mediators(vec![Failure {
            mediator: "a".into(),
            at: Some(site()),
            origin: origin.clone(),
            fault: Fault::raise("not enough"),
        }]),
        RunError::PartialSkip {
            site: site(),
            skipping: vec![asker()],
            others: names(),
            waiting: vec![Pending {
                mediator: "b".into(),
                event: interloom_engine::Event::Value,
                site: site(),
                origin: origin.clone(),
            }],
        },
        RunError::SkipMisfit {
            site: site(),
            skipping: vec![asker()],
            misfit: Misfit {
                expected: "f32[1]".into(),
                found: "f32[2]".into(),
            },
        },
        RunError::NeverFired(vec![Silent {
            mediator: "a".into(),
            request: Refusal {
                event: interloom_engine::Event::Value,
                site: site(),
                fault: Some(Fault::raise("not enough")),
                origin: origin.clone(),
            },
        }]),
        RunError::DuplicateName("a".into()),
        RunError::BatchTooLarge,
        RunError::BarrierUnmet(vec![meeting()]),
        RunError::Circle(vec![meeting()]),
        RunError::DuplicateBarrier("meet".into()),
        RunError::UnknownCached {
            asked: site(),
            nearest: names(),
        },
        RunError::UnknownGradient {
            asked: site(),
            nearest: names(),
        },
        RunError::Schedule(ScheduleError::Ready {
            choice: 1,
            wanted: 2,
            ready: 3,
            site: site(),
        }),
    ]
}

fn program_faults(site: &str, misfit: &Misfit) -> Vec<ProgramFault> {
    let (site, misfit) = (|| site.to_owned(), || misfit.clone());
    let name = || "x".to_owned();
    vec![
        ProgramFault::Unset(name()),
        ProgramFault::NotGiven(name()),
        ProgramFault::NoModules(name()),
        ProgramFault::Kind {
            place: "a sum".into(),
            expected: "a number".into(),
            found: "a list".into(),
        },
        ProgramFault::Misfit {
            place: "a sum".into(),
            misfit: misfit(),
        },
        ProgramFault::Span {
            start: Some(-1),
            end: Some(2),
            dimension: 1,
            shape: vec![2, 1],
        },
        ProgramFault::NoItem {
            item: "3".into(),
            length: 2,
        },
        ProgramFault::NeverPassed {
            site: site(),
            last: Some(site()),
        },
        ProgramFault::LateCache {
            passed: vec![site()],
            reached: site(),
            since: "step 1".into(),
        },
        ProgramFault::Unskippable(site()),
        ProgramFault::Call {
            reason: "no such module".into(),
        },
        ProgramFault::Skip {
            site: site(),
            expected: "f32[1]".into(),
            found: "f32[2]".into(),
            reason: "it does not fit".into(),
        },
        ProgramFault::PartialSkip {
            site: site(),
            others: name(),
        },
        ProgramFault::TooManyLeaves { limit: 64 },
    ]
}

/// What a model passed on the way to the last of these paths, and what it brought there.
pub(crate) fn visit(run: u32, passed: &[u32], brought: Option<(u32, ValueTree)>) -> Visit {
    Visit {
        run,
        passed: passed.to_vec(),
        brought: brought.and_then(|(iteration, value)| self::brought(iteration, value)),
        backward: None,
    }
}

/// What a model passed before a backward pass begins or ends.
pub(crate) fn backward(run: u32, passed: &[u32], turn: BackwardTurn) -> Visit {
    Visit {
        backward: Some(turn),
        ..visit(run, passed, None)
    }
}

/// What a model brought to a site in this iteration.
pub(crate) fn brought(iteration: u32, value: ValueTree) -> Option<Brought> {
    Some(Brought { iteration, value })
}

/// A cache of all that modules take in and return, and of its gradients.
pub(crate) fn granted_cache(run: u32) -> CacheDeclaration {
    CacheDeclaration {
        mediator: 0,
        number: 0,
        modules: None,
        inputs: true,
        gradients: true,
        fault: None,
        ..cache_declaration(run)
    }
}

/// A cache of a mediator that was refused.
pub(crate) fn cache_declaration(run: u32) -> CacheDeclaration {
    CacheDeclaration {
        run,
        mediator: 1,
        number: 0,
        modules: Some(vec!["layers.0.attn".to_owned()]),
        inputs: false,
        outputs: true,
        gradients: false,
        fault: Some(late_cache()),
    }
}

/// A request that is open when its run is over.
pub(crate) fn open_request(run: u32, index: u64) -> ExchangeRecord {
    ExchangeRecord {
        mediator: 1,
        asked: Some(SiteRef {
            path: 1,
            iteration: 5,
        }),
        result: ExchangeResult::Open,
        value: Some(tensor(&[4.0, 0.5])),
        reshape: true,
        origin: Some(origin("other.rs", 7)),
        ..exchange(run, index, Event::Swap)
    }
}

fn value_with_everything() -> ValueTree {
    let items = [
        ValueTree::Unit,
        ValueTree::Bool(true),
        ValueTree::Int(-7),
        ValueTree::Float(-0.0),
        ValueTree::Text("é".into()),
        tensor(&[1.0, 2.0]),
        ValueTree::List([].into()),
        ValueTree::Map([("k".into(), ValueTree::Int(i64::MAX))].into()),
    ];
    ValueTree::Tuple(items.into())
}

/// What a model passed and returned.
pub(crate) fn passage(run: u32) -> PassageRecord {
    let passing = |point, exchanges, given| PassingRecord {
        point,
        exchanges,
        given,
    };
    PassageRecord {
        run,
        points: vec!["layers.0.input".into(), "layers.0.output".into()],
        passings: vec![
            passing(0, 0, None),
            passing(1, 4, Some(tensor(&[0.0, 0.5]))),
            passing(0, 8, None),
        ],
        calls: vec![PassedCallRecord {
            begin: 0,
            end: 2,
            output: tensor(&[2.0, 0.5]),
        }],
    }
}

/// What two caches collected.
pub(crate) fn cached() -> Vec<CachedLine> {
    let line = |owner, point: &str, values| CachedLine {
        owner,
        number: 0,
        point: point.to_owned(),
        values,
        digest: Digest::of_bytes("cached", point.as_bytes()),
    };
    vec![
        line(None, "layers.0.mlp.output", 1),
        line(Some(1), "layers.0.attn.output", 2),
    ]
}

/// All records that can be read from `bytes`, and the error that stopped it.
pub(crate) fn read_all(bytes: &[u8]) -> (Vec<(FrameInfo, Record)>, Option<JournalError>) {
    let mut records = Vec::new();
    let reader = match JournalReader::new(bytes, "test.ilj") {
        Ok(reader) => reader,
        Err(error) => return (records, Some(error)),
    };
    for record in reader {
        match record {
            Ok(record) => records.push(record),
            Err(error) => return (records, Some(error)),
        }
    }
    (records, None)
}
