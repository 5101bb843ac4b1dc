//! Journals and records for tests.

use std::collections::BTreeMap;

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
        quirks: Quirks::current(),
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
        declared: None,
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
pub(crate) fn completed() -> Outcome {
    Outcome {
        text: "completed".into(),
        code: None,
    }
}

/// An exchange without a value.
pub(crate) fn exchange(run: u32, index: u64, event: Event) -> Exchange {
    Exchange {
        run,
        index,
        mediator: 0,
        event,
        asked: None,
        at: None,
        result: ExchangeResult::Served,
        value: None,
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
) -> Exchange {
    let site = SiteRef { path, iteration: 0 };
    Exchange {
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
    ValueTree::Tensor {
        dtype: DType::F32,
        shape,
        digest,
    }
}

/// The bytes of f32 elements.
pub(crate) fn bytes(elements: &[f32]) -> Vec<u8> {
    elements
        .iter()
        .flat_map(|element| element.to_le_bytes())
        .collect()
}

/// An exchange with something in every field, and every kind of value.
pub(crate) fn exchange_with_everything() -> Exchange {
    Exchange {
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
        fault: Some(FaultLine {
            code: "E010".into(),
            message: "out of order".into(),
        }),
        origin: Some(Origin {
            file: "steer.rs".into(),
            line: 12,
        }),
    }
}

fn value_with_everything() -> ValueTree {
    ValueTree::Tuple(vec![
        ValueTree::Unit,
        ValueTree::Bool(true),
        ValueTree::Int(-7),
        ValueTree::Float(-0.0),
        ValueTree::Text("é".into()),
        tensor(&[1.0, 2.0]),
        ValueTree::List(vec![]),
        ValueTree::Map(vec![("k".into(), ValueTree::Int(i64::MAX))]),
    ])
}

/// What a model passed and put out.
pub(crate) fn passage(run: u32) -> Passage {
    let passing = |point, exchanges, given| Passing {
        point,
        exchanges,
        given,
    };
    Passage {
        run,
        points: vec!["layers.0.input".into(), "layers.0.output".into()],
        passings: vec![
            passing(0, 0, None),
            passing(1, 4, Some(tensor(&[0.0, 0.5]))),
            passing(0, 8, None),
        ],
        calls: vec![PassedCall {
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

/// Writes the golden journal of format 1.4: each kind of record, event and value.
pub(crate) fn write_golden<S: Sink>(writer: JournalWriter<S>) -> Result<Summary, JournalError> {
    write_with_events(writer.ticking(GOLDEN_TICKS), &Event::ALL, true)
}

/// How many exchanges there are from one tick to the next in the golden journal.
pub(crate) const GOLDEN_TICKS: u64 = 4;

/// The head of golden journals that are older than quirks.
pub(crate) fn head_v1_3() -> Head {
    Head {
        quirks: Quirks::default(),
        sites: None,
        tokens: Tokens::new(),
        ..head()
    }
}

/// The bytes of the golden journal of format 1.3, which is older than quirks.
pub(crate) fn golden_v1_3() -> Vec<u8> {
    let mut bytes = Vec::new();
    let writer = JournalWriter::unbuffered(&mut bytes, &head(), 3).unwrap();
    write_golden(writer).unwrap();
    bytes
}

/// The bytes of the golden journal of format 1.2, which is older than passages.
pub(crate) fn golden_v1_2() -> Vec<u8> {
    let mut bytes = Vec::new();
    let writer = JournalWriter::unbuffered(&mut bytes, &head(), 2).unwrap();
    write_golden(writer).unwrap();
    bytes
}

/// The bytes of the golden journal of format 1.1, which is older than ticks.
pub(crate) fn golden_v1_1() -> Vec<u8> {
    let mut bytes = Vec::new();
    let writer = JournalWriter::unbuffered(&mut bytes, &head(), 1).unwrap();
    write_golden(writer).unwrap();
    bytes
}

/// The bytes of the golden journal of format 1.0, which is older than PUT and GET, and lacks a tensor.
pub(crate) fn golden_v1_0() -> Vec<u8> {
    let mut bytes = Vec::new();
    let writer = JournalWriter::unbuffered(&mut bytes, &head(), 0).unwrap();
    write_with_events(writer, &Event::ALL[..8], false).unwrap();
    bytes
}

fn write_with_events<S: Sink>(
    mut writer: JournalWriter<S>,
    events: &[Event],
    all_tensors: bool,
) -> Result<Summary, JournalError> {
    writer.note("made by", "the tests of the journal")?;
    writer.start_run(&RunStart {
        declared: Some(declared()),
        ..run_start(0)
    })?;
    for (index, event) in (0..).zip(events.iter().copied()) {
        let path =
            writer.path(["layers.0.attn.output", "layers.0.mlp.output"][index as usize % 2])?;
        let elements = [index as f32, 0.5];
        let exchange = tensor_exchange(index, index as u32 % 2, event, path, &elements);
        if let Some(ValueTree::Tensor {
            dtype,
            shape,
            digest,
        }) = &exchange.value
        {
            writer.tensor(digest, *dtype, shape, &bytes(&elements))?;
        }
        writer.exchange(&exchange)?;
    }
    writer.passage(&passage(0))?;
    writer.end_run_with(completed(), Some(cached()))?;
    writer.start_run(&run_start(1))?;
    if all_tensors {
        let elements = bytes(&[1.0, 2.0]);
        let digest = Digest::of_tensor(DType::F32, &[2], &elements);
        writer.tensor(&digest, DType::F32, &[2], &elements)?;
    }
    writer.exchange(&Exchange {
        index: events.len() as u64,
        ..exchange_with_everything()
    })?;
    writer.end_run(Outcome {
        text: "failed".into(),
        code: Some("E010".into()),
    })?;
    writer.finish()
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

pub(crate) fn any_exchange() -> impl Strategy<Value = Exchange> {
    let site = || option::of((any::<u32>(), any::<u32>()).prop_map(SiteRef::from));
    let fault = (any::<String>(), any::<String>());
    let origin = (any::<String>(), any::<u32>());
    (
        (any::<u32>(), any::<u64>(), any::<u32>()),
        select(Event::ALL.to_vec()),
        (site(), site()),
        any::<bool>(),
        option::of(any_value()),
        option::of(fault),
        option::of(origin),
    )
        .prop_map(
            |((run, index, mediator), event, (asked, at), served, value, fault, origin)| Exchange {
                run,
                index,
                mediator,
                event,
                asked,
                at,
                result: if served {
                    ExchangeResult::Served
                } else {
                    ExchangeResult::Refused
                },
                value,
                fault: fault.map(|(code, message)| FaultLine { code, message }),
                origin: origin.map(|(file, line)| Origin { file, line }),
            },
        )
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
        any::<String>().prop_map(ValueTree::Text),
        tensor.prop_map(|(dtype, shape, digest)| ValueTree::Tensor {
            dtype,
            shape,
            digest
        }),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(ValueTree::Tuple),
            vec(inner.clone(), 0..4).prop_map(ValueTree::List),
            vec((any::<String>(), inner), 0..4).prop_map(ValueTree::Map),
        ]
    })
}

fn any_digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}
