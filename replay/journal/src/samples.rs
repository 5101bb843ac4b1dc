//! Journals and records for tests.

use std::collections::BTreeMap;

use interloom_engine::ProgramFault;
use interloom_engine::{
    Asker, Failure, Fault, FaultKind, Meeting, Misfit, NoLeaf, Pending, Refusal, Round, RunError,
    ScheduleError, Silent, Tree,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

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
        }),
        tokens: Tokens::from([("prompt".into(), vec![vec![464, 412]])]),
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
pub(crate) fn visit(run: u32, passed: &[u32], value: Option<ValueTree>) -> Visit {
    Visit {
        run,
        passed: passed.to_vec(),
        value,
    }
}

/// A cache of all that modules take in and return.
pub(crate) fn granted_cache(run: u32) -> CacheDeclaration {
    CacheDeclaration {
        mediator: 0,
        number: 0,
        modules: None,
        inputs: true,
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

/// What a model passed and put out.
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

/// How many exchanges the golden journal has.
pub(crate) const GOLDEN_EXCHANGES: u64 = 14;

/// How many exchanges there are from one tick to the next in the golden journal.
pub(crate) const GOLDEN_TICKS: u64 = 4;

/// Writes the golden journal: each kind of record, each event, result, outcome, loop and kind of value, and faults that are
/// known, that have no particulars and that are not known.
pub(crate) fn write_golden<S: Sink>(
    writer: JournalWriter<S>,
) -> Result<JournalSummary, JournalError> {
    let mut writer = writer.ticking(GOLDEN_TICKS);
    writer.note("made by", "the tests of the journal")?;
    write_watched_run(&mut writer)?;
    write_unwatched_run(&mut writer)?;
    write_failed_run(&mut writer)?;
    writer.finish()
}

/// A run with a cache, and with a visit and an exchange for each event.
fn write_watched_run<S: Sink>(writer: &mut JournalWriter<S>) -> Result<(), JournalError> {
    writer.start_run(&RunStart {
        declared: declared(),
        ..run_start(0)
    })?;
    writer.cache_declaration(&granted_cache(0))?;
    for (index, event) in (0..).zip(Event::ALL) {
        let path =
            writer.path(["layers.0.attn.output", "layers.0.mlp.output"][index as usize % 2])?;
        let elements = [index as f32, 0.5];
        keep(writer, &elements)?;
        writer.visit(&visit(0, &[path], Some(tensor(&elements))))?;
        let site = SiteRef {
            path,
            iteration: index as u32 / 2,
        };
        writer.exchange(&ExchangeRecord {
            asked: Some(site),
            at: Some(site),
            reshape: event == Event::Swap,
            round: match event {
                Event::Register => Round::Until { last: 7 },
                _ => Round::Alone,
            },
            fault: (event == Event::Exception).then(|| FaultKind::ForeignAwait.into()),
            origin: match event {
                Event::Swap | Event::Barrier => Some(origin("steer.rs", 12)),
                Event::Get => Some(origin("other.rs", 7)),
                _ => None,
            },
            ..tensor_exchange(index, index as u32 % 2, event, path, &elements)
        })?;
    }
    writer.passage(&passage(0))?;
    writer.end_run_with(completed(), Some(cached()))?;
    Ok(())
}

/// A run whose model was not watched, with an exchange that has everything.
fn write_unwatched_run<S: Sink>(writer: &mut JournalWriter<S>) -> Result<(), JournalError> {
    writer.start_run(&run_start(1))?;
    keep(writer, &[1.0, 2.0])?;
    writer.exchange(&ExchangeRecord {
        index: writer.next_index(),
        ..exchange_with_everything()
    })?;
    writer.end_run(stopped())?;
    Ok(())
}

/// A run that failed: with a loop, a cache that is refused, a fault of a later version, and a request that is open at its end.
fn write_failed_run<S: Sink>(writer: &mut JournalWriter<S>) -> Result<(), JournalError> {
    writer.start_run(&run_start(2))?;
    let path = writer.path("iteration")?;
    writer.exchange(&ExchangeRecord {
        mediator: 1,
        asked: Some(SiteRef { path, iteration: 3 }),
        round: Round::Open,
        ..exchange(2, writer.next_index(), Event::Register)
    })?;
    writer.cache_declaration(&cache_declaration(2))?;
    keep(writer, &[7.0, 0.25])?;
    writer.visit(&visit(2, &[0, 1, 0], Some(tensor(&[7.0, 0.25]))))?;
    let site = SiteRef {
        path: 0,
        iteration: 1,
    };
    writer.exchange(&ExchangeRecord {
        asked: Some(site),
        at: Some(site),
        result: ExchangeResult::Refused,
        fault: Some(later_fault()),
        ..exchange(2, writer.next_index(), Event::Value)
    })?;
    writer.visit(&visit(2, &[1], None))?;
    writer.exchange(&ExchangeRecord {
        fault: Some(ProgramFault::Unset("x".into()).into()),
        ..exchange(2, writer.next_index(), Event::Exception)
    })?;
    keep(writer, &[4.0, 0.5])?;
    writer.open_request(&open_request(2, writer.next_index()))?;
    writer.end_run(failed())?;
    Ok(())
}

/// Writes the bytes of a tensor of f32 elements.
fn keep<S: Sink>(writer: &mut JournalWriter<S>, elements: &[f32]) -> Result<bool, JournalError> {
    let (shape, bytes) = ([elements.len() as u64], bytes(elements));
    let digest = Digest::of_tensor(DType::F32, &shape, &bytes);
    writer.tensor(&digest, DType::F32, &shape, &bytes)
}

/// The bytes of the golden journal.
pub(crate) fn golden() -> Vec<u8> {
    let mut bytes = Vec::new();
    write_golden(JournalWriter::new(&mut bytes, "test.ilj", &head()).unwrap()).unwrap();
    bytes
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

pub(crate) fn any_head() -> impl Strategy<Value = Head> {
    let texts = || vec(any::<String>(), 0..3);
    let digests = || vec((any::<String>(), any_digest()), 0..3);
    let model = (any::<String>(), any_digest(), digests());
    let experiment = (
        any::<String>(),
        proptest::collection::btree_map(any::<String>(), any_argument(), 0..4),
    );
    let policy = prop_oneof![Just(Policy::Digest), (0..40u64).prop_map(Policy::sampled),];
    (
        texts(),
        vec(any::<u64>(), 0..3),
        experiment,
        option::of(model),
        (digests(), policy),
    )
        .prop_map(
            |(features, seeds, (name, arguments), model, (inputs, policy))| Head {
                policy,
                cpu_features: features,
                seeds,
                experiment: Experiment { name, arguments },
                model: model.map(|(name, digest, parameters)| ModelIdentity {
                    name,
                    digest,
                    parameters,
                }),
                inputs,
                ..head()
            },
        )
}

fn any_argument() -> impl Strategy<Value = Argument> {
    let leaf = prop_oneof![
        any::<String>().prop_map(Argument::Text),
        any::<i64>().prop_map(Argument::Int),
        any::<u64>().prop_map(|bits| Argument::Float(f64::from_bits(bits))),
        any::<bool>().prop_map(Argument::Bool),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| vec(inner, 0..4).prop_map(Argument::List))
}

/// An exchange or an open request, as the writer takes it.
pub(crate) fn any_exchange() -> impl Strategy<Value = ExchangeRecord> {
    let site = || option::of((any::<u32>(), any::<u32>()).prop_map(SiteRef::from));
    (
        (any::<u32>(), any::<u64>(), any::<u32>()),
        any_event(),
        (site(), site()),
        select(ExchangeResult::ALL.to_vec()),
        option::of(any_value()),
        option::of(any_fault()),
        option::of(any_origin()),
    )
        .prop_map(
            |((run, index, mediator), said, (asked, at), result, value, fault, origin)| {
                let (event, reshape, round) = said;
                ExchangeRecord {
                    run,
                    index,
                    mediator,
                    event,
                    asked,
                    at,
                    result,
                    value,
                    reshape,
                    round,
                    fault,
                    origin,
                }
            },
        )
}

/// An event, with what only a SWAP and a REGISTER have.
fn any_event() -> impl Strategy<Value = (Event, bool, Round)> {
    let round = prop_oneof![
        Just(Round::Alone),
        Just(Round::Open),
        any::<u32>().prop_map(|last| Round::Until { last }),
    ];
    let plain = select(Event::ALL.to_vec()).prop_map(|event| (event, false, Round::Alone));
    prop_oneof![
        plain,
        any::<bool>().prop_map(|reshape| (Event::Swap, reshape, Round::Alone)),
        round.prop_map(|round| (Event::Register, false, round)),
    ]
}

pub(crate) fn any_origin() -> impl Strategy<Value = OriginRecord> {
    let file = any::<String>();
    (file, any::<u32>()).prop_map(|(file, line)| origin(&file, line))
}

pub(crate) fn any_visit() -> impl Strategy<Value = Visit> {
    let passed = vec(any::<u32>(), 1..6);
    (any::<u32>(), passed, option::of(any_value())).prop_map(|(run, passed, value)| Visit {
        run,
        passed,
        value,
    })
}

pub(crate) fn any_cache_declaration() -> impl Strategy<Value = CacheDeclaration> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>());
    let modules = option::of(vec(any::<String>(), 0..3));
    let sides = (any::<bool>(), any::<bool>());
    (numbers, modules, sides, option::of(any_fault())).prop_map(
        |((run, mediator, number), modules, (inputs, outputs), fault)| CacheDeclaration {
            run,
            mediator,
            number,
            modules,
            inputs,
            outputs,
            fault,
        },
    )
}

/// A fault of this version or of a later one.
pub(crate) fn any_fault() -> impl Strategy<Value = Fault> {
    let later = (0..1000_u32, any_particulars()).prop_map(|(number, particulars)| {
        let code = format!("E9{number:03}");
        Fault::from(FaultKind::Unknown { code, particulars })
    });
    let text = any::<String>();
    prop_oneof![
        select(faults()),
        text.prop_map(Fault::raise),
        (any::<String>(), option::of(any::<String>()))
            .prop_map(|(asked, at)| { Fault::from(FaultKind::OutOfOrder { asked, at }) }),
        later,
    ]
}

/// Particulars as they are read: sequences are lists.
fn any_particulars() -> impl Strategy<Value = Tree<NoLeaf>> {
    let leaf = prop_oneof![
        Just(Tree::Unit),
        any::<bool>().prop_map(Tree::Bool),
        any::<i64>().prop_map(Tree::Int),
        any::<u64>().prop_map(|bits| Tree::Float(f64::from_bits(bits))),
        any::<String>().prop_map(|text| Tree::Text(text.into())),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let entry = (any::<String>(), inner.clone());
        let entry = entry.prop_map(|(key, item)| (std::sync::Arc::from(key), item));
        prop_oneof![
            vec(inner, 0..4).prop_map(|items| Tree::List(items.into())),
            vec(entry, 0..4).prop_map(|entries| Tree::Map(entries.into())),
        ]
    })
}

pub(crate) fn any_value() -> impl Strategy<Value = ValueTree> {
    let tensor = (
        select(DType::ALL.to_vec()),
        vec(any::<u64>(), 0..5),
        any_digest(),
    );
    let leaf = prop_oneof![
        Just(ValueTree::Unit),
        any::<bool>().prop_map(ValueTree::Bool),
        any::<i64>().prop_map(ValueTree::Int),
        any::<u64>().prop_map(|bits| ValueTree::Float(f64::from_bits(bits))),
        any::<String>().prop_map(|text| ValueTree::Text(text.into())),
        tensor.prop_map(|(dtype, shape, digest)| {
            ValueTree::Leaf(TensorLine {
                dtype,
                shape,
                digest,
            })
        }),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let entry = (any::<String>(), inner.clone());
        let entry = entry.prop_map(|(key, item)| (std::sync::Arc::from(key), item));
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| ValueTree::Tuple(items.into())),
            vec(inner.clone(), 0..4).prop_map(|items| ValueTree::List(items.into())),
            vec(entry, 0..4).prop_map(|entries| ValueTree::Map(entries.into())),
        ]
    })
}

fn any_digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}
