//! The environment of a run: all that it depends on besides its mediators, gathered here and
//! nowhere else.

use burn::tensor::{Device, TensorData};
use interloom_backends::parallel::products_per_sum;
use interloom_backends::{BuildArithmetic, Sites, describe_device, device_name};
use interloom_engine::{Point, Port, PositionLayout, RowLayout, SiteMap};

use crate::journal::{
    BatchedTensors, Build, DType, Digest, Experiment, Head, ModelIdentity, Policy, SiteTable,
    TENSOR_RANK_MAX,
};
use crate::session::digest_of_tensor;

/// Returns the head of a journal of `experiment` on a device, with this build and this machine in
/// it.
pub(crate) fn head(experiment: Experiment, device: &Device, policy: Policy) -> Head {
    Head {
        build: build(),
        device: described(device),
        cpu_features: processor(),
        arithmetic: arithmetic_of(device).to_string(),
        policy,
        schedule: "in-order".to_owned(),
        ..Head::new(experiment)
    }
}

/// Returns the name of a device, with what its arithmetic depends on: where it keeps graphs, burn
/// makes softmax, sigmoid and layer norms of other operations, whose last bits are others.
fn described(device: &Device) -> String {
    let name = describe_device(&device_name(device));
    if device.is_autodiff() {
        format!("{name}, autodiff")
    } else {
        name
    }
}

/// Returns the digest of a model whose parameters `visit_all` goes through.
pub fn identity_of(
    name: &str,
    visit_all: impl FnOnce(&mut dyn FnMut(&str, TensorData)),
) -> ModelIdentity {
    let mut parameters = Vec::new();
    visit_all(&mut |path, data| {
        parameters.push((path.to_owned(), tensor_digest(data)));
    });
    identity_of_digests(name, parameters)
}

/// Returns the identity of a model whose parameters are digested, in the model's order.
pub(crate) fn identity_of_digests(name: &str, parameters: Vec<(String, Digest)>) -> ModelIdentity {
    ModelIdentity {
        name: name.to_owned(),
        digest: digest_of_all(&parameters),
        parameters,
    }
}

/// Returns the sites of a model by name, as they stand in the head of a journal whose mediators can
/// be served without the model.
pub(crate) fn site_table(map: &SiteMap) -> SiteTable {
    let mut paths: Vec<(String, Vec<String>)> = Vec::new();
    for point in map.points() {
        let (path, port) = (map.path_name(point.path), point.port.name().to_owned());
        match paths.last_mut().filter(|(last, _)| last == path) {
            Some((_, ports)) => ports.push(port),
            None => paths.push((path.to_owned(), vec![port])),
        }
    }
    let aliases = map.aliases();
    let aliases = aliases.map(|(alias, point)| (alias.to_owned(), map.point_name(point)));
    SiteTable {
        paths,
        aliases: aliases.collect(),
        positions: lines(map, |point| journal_positions(map.positions(point))),
        rows: lines(map, |point| journal_rows(map.layout(point))),
    }
}

/// Returns what is said of points, each thing with all points of which it is.
fn lines<T: PartialEq>(map: &SiteMap, said: impl Fn(Point) -> Option<T>) -> Vec<(T, Vec<u32>)> {
    let mut lines: Vec<(T, Vec<u32>)> = Vec::new();
    for (place, point) in (0..).zip(map.points()) {
        let Some(said) = said(point) else {
            continue;
        };
        match lines.iter_mut().find(|(known, _)| *known == said) {
            Some((_, points)) => points.push(place),
            None => lines.push((said, vec![place])),
        }
    }
    lines
}

/// Returns the dimensions of positions that a tensor can have; nothing if there are none.
fn journal_positions(layout: &PositionLayout) -> Option<Vec<Vec<u8>>> {
    let dimensions = |leaf: &[usize]| {
        let small = leaf.iter().filter(|&&at| at < TENSOR_RANK_MAX);
        small.map(|&at| at as u8).collect::<Vec<u8>>()
    };
    let layout: Vec<Vec<u8>> = layout.leaves().map(dimensions).collect();
    layout.iter().any(|leaf| !leaf.is_empty()).then_some(layout)
}

/// Returns which tensors carry rows; nothing if their shapes say it.
fn journal_rows(layout: &RowLayout) -> Option<BatchedTensors> {
    match layout {
        RowLayout::Batched => Some(BatchedTensors::Each(true)),
        RowLayout::Shared => Some(BatchedTensors::Each(false)),
        RowLayout::Leaves(leaves) => Some(BatchedTensors::Listed(leaves.clone())),
        _ => None,
    }
}

fn row_layout(tensors: &BatchedTensors) -> RowLayout {
    match tensors {
        BatchedTensors::Each(true) => RowLayout::Batched,
        BatchedTensors::Each(false) => RowLayout::Shared,
        BatchedTensors::Listed(leaves) => RowLayout::Leaves(leaves.clone()),
    }
}

/// Returns the sites and the parameters that a journal's head has; nothing if they are not those of
/// a model.
pub fn sites_of(head: &Head) -> Option<Sites> {
    let table = head.sites.as_ref()?;
    let mut map = SiteMap::new();
    let parameters = head.model.iter().flat_map(|model| &model.parameters);
    for (path, _) in parameters {
        map.add_parameter(path);
    }
    for (path, ports) in &table.paths {
        let ports = ports.iter().map(|port| Port::from_name(port));
        map.add(path, &ports.collect::<Option<Vec<_>>>()?);
    }
    for (alias, point) in &table.aliases {
        map.alias(alias, map.point(point)?);
    }
    let points: Vec<(&str, &str)> = table.points().collect();
    let point = |map: &SiteMap, place: u32| {
        let (path, port) = points.get(place as usize)?;
        map.point_at(path, Port::from_name(port)?)
    };
    for (tensors, places) in &table.rows {
        for place in places {
            let point = point(&map, *place)?;
            map.declare_rows(point, row_layout(tensors));
        }
    }
    for (layout, places) in &table.positions {
        let leaves = layout
            .iter()
            .map(|leaf| leaf.iter().map(|&at| at.into()).collect());
        let layout = PositionLayout::new(leaves);
        for place in places {
            let point = point(&map, *place)?;
            map.declare_positions(point, layout.clone());
        }
    }
    Some(Sites::without_model(map))
}

/// Returns the digest of a tensor, as journals have it.
pub fn tensor_digest(data: TensorData) -> Digest {
    digest_of_tensor(&data)
}

/// Returns the digest of a list of tokens.
pub fn tokens_digest(tokens: &[u32]) -> Digest {
    let bytes: Vec<u8> = tokens
        .iter()
        .flat_map(|token| token.to_le_bytes())
        .collect();
    Digest::of_tensor(DType::U32, &[tokens.len() as u64], &bytes)
}

/// Returns what the arithmetic of a device depends on, asked by this thread.
fn arithmetic_of(device: &Device) -> BuildArithmetic {
    match interloom_backends::arithmetic_of(device) {
        #[cfg(feature = "train")]
        BuildArithmetic::Threads { feature } if crate::one_thread::is_alone() => {
            BuildArithmetic::OneThread { feature }
        }
        arithmetic => arithmetic,
    }
}

fn digest_of_all(parameters: &[(String, Digest)]) -> Digest {
    let mut bytes = Vec::new();
    for (path, digest) in parameters {
        // A length before each path: no two lists of parameters give the same bytes.
        bytes.extend((path.len() as u64).to_le_bytes());
        bytes.extend(path.as_bytes());
        bytes.extend(digest.0);
    }
    Digest::of_bytes("model", &bytes)
}

fn build() -> Build {
    let mut features = Vec::new();
    if cfg!(feature = "cuda") {
        features.push("cuda".to_owned());
    }
    if cfg!(feature = "train") {
        features.push("train".to_owned());
    }
    Build {
        rustc: env!("INTERLOOM_RUSTC").to_owned(),
        target: env!("INTERLOOM_TARGET").to_owned(),
        profile: env!("INTERLOOM_PROFILE").to_owned(),
        features,
    }
}

/// Returns what the last bits of arithmetic depend on: the vector instructions that the tensor
/// library may choose between at run time, and how many products its matrix kernel adds at once.
fn processor() -> Vec<String> {
    let sums = format!("gemm-{}", products_per_sum());
    let mut features: Vec<String> = vector_instructions();
    features.push(sums);
    features.sort();
    features
}

#[cfg(target_arch = "x86_64")]
fn vector_instructions() -> Vec<String> {
    let detected = [
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512dq", is_x86_feature_detected!("avx512dq")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512vl", is_x86_feature_detected!("avx512vl")),
        ("fma", is_x86_feature_detected!("fma")),
        ("sse4.2", is_x86_feature_detected!("sse4.2")),
    ];
    let present = detected.into_iter().filter(|&(_, present)| present);
    present.map(|(name, _)| name.to_owned()).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn vector_instructions() -> Vec<String> {
    vec![std::env::consts::ARCH.to_owned()]
}
