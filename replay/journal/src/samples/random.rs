//! Strategies for random records.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

pub(crate) fn any_head() -> impl Strategy<Value = Head> {
    let texts = || vec(any::<String>(), 0..3);
    let digests = || vec((any::<String>(), any_digest()), 0..3);
    let model = || (any::<String>(), any_digest(), digests());
    let experiment = (
        any::<String>(),
        proptest::collection::btree_map(any::<String>(), any_argument(), 0..4),
    );
    let policy = prop_oneof![Just(Policy::Digest), (0..40u64).prop_map(Policy::sampled),];
    (
        texts(),
        vec(any::<u64>(), 0..3),
        experiment,
        (option::of(model()), vec(model(), 0..3), texts()),
        (digests(), policy),
    )
        .prop_map(
            |(features, seeds, (name, arguments), (model, modules, formats), (inputs, policy))| {
                Head {
                    policy,
                    cpu_features: features,
                    seeds,
                    experiment: Experiment { name, arguments },
                    model: model.map(identity),
                    number_formats: formats,
                    modules: modules.into_iter().map(identity).collect(),
                    inputs,
                    ..head()
                }
            },
        )
}

fn identity((name, digest, parameters): (String, Digest, Vec<(String, Digest)>)) -> ModelIdentity {
    ModelIdentity {
        name,
        digest,
        parameters,
    }
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
    let brought = option::of((any::<u32>(), any_value()));
    let turn = option::weighted(
        0.3,
        prop_oneof![Just(BackwardTurn::Begin), Just(BackwardTurn::End)],
    );
    (any::<u32>(), passed, brought, turn).prop_map(|(run, passed, brought, backward)| Visit {
        backward,
        ..visit(run, &passed, brought)
    })
}

pub(crate) fn any_cache_declaration() -> impl Strategy<Value = CacheDeclaration> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>());
    let modules = option::of(vec(any::<String>(), 0..3));
    let sides = (any::<bool>(), any::<bool>(), any::<bool>());
    (numbers, modules, sides, option::of(any_fault())).prop_map(
        |((run, mediator, number), modules, (inputs, outputs, gradients), fault)| {
            CacheDeclaration {
                run,
                mediator,
                number,
                modules,
                inputs,
                outputs,
                gradients,
                fault,
            }
        },
    )
}

pub(crate) fn any_padding() -> impl Strategy<Value = PaddingRecord> {
    let side = prop_oneof![Just(PaddingSide::Left), Just(PaddingSide::Right)];
    (any::<u32>(), side, vec(1..=u32::MAX, 1..6)).prop_map(|(run, side, mut lengths)| {
        lengths.extend([1, 2]);
        let padding = Padding::new(side, lengths);
        let padding = padding.expect("rows that differ in length");
        PaddingRecord { run, padding }
    })
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
