//! The catalogue of operations: each that we use has a row, and gives the same bits each time.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::nn::{LayerNormConfig, Linear, LinearConfig, RmsNormConfig};
use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Bool, Device, Distribution, Int, Tensor, TensorData, activation};
use interloom::training::sum_in_order;

/// The methods of burn's tensors, of version 0.22.1.
const METHODS: &str = include_str!("determinism/methods.txt");

/// Methods that make no value of a tensor: they describe it, move it between devices, or are of its
/// graph.
const NO_VALUES: [&str; 33] = [
    "autodiff",
    "backward",
    "detach",
    "device",
    "dims",
    "dtype",
    "execute",
    "finish",
    "from_data",
    "from_dispatch",
    "inner",
    "into_data",
    "into_dispatch",
    "into_scalar",
    "is_autodiff",
    "is_require_grad",
    "is_tracked",
    "new",
    "output",
    "rank",
    "register",
    "require_grad",
    "set_require_grad",
    "shape",
    "to_data",
    "to_device",
    "without_autodiff",
    "grad",
    "grad_remove",
    "grad_replace",
    "into_primitive",
    "from_primitive",
    "val",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The rows of the catalogue: the operations of each, and its case.
fn rows() -> Vec<(Vec<String>, String)> {
    let page = fs::read_to_string(root().join("docs/DETERMINISM.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{row}");
        let operations = cells[0]
            .split_whitespace()
            .map(|name| name.replace('`', ""));
        (operations.collect(), cells[4].to_owned())
    })
    .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut entries: Vec<PathBuf> = entries.collect();
    entries.sort();
    for path in entries {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if stem.is_some_and(|stem| stem == "tests" || stem.ends_with("_tests")) {
            // What tests compute is not what models do.
        } else if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names that are called as methods in a file, without comments.
fn calls(text: &str) -> BTreeSet<String> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices('(') {
        let before = &text[..at];
        // A turbofish may stand between the name and the bracket.
        let before = match before.strip_suffix('>') {
            Some(generic) => generic.rsplit_once("::<").map_or(generic, |(name, _)| name),
            None => before,
        };
        let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let name = before
            .rsplit(|character| !is_part(character))
            .next()
            .unwrap_or_default();
        let lead = &before[..before.len() - name.len()];
        if lead.ends_with('.') || lead.ends_with("::") {
            names.insert(name.to_owned());
        }
    }
    names
}

#[test]
fn every_operation_that_is_used_has_a_row() {
    let known: BTreeSet<&str> = METHODS.lines().collect();
    let rows = rows();
    let catalogued: BTreeSet<&str> = rows
        .iter()
        .flat_map(|(operations, _)| operations.iter().map(String::as_str))
        .collect();
    let mut files = Vec::new();
    for folder in [
        "backends/models/src",
        "replay/src/training",
        "replay/src/interventions",
    ] {
        sources(&root().join(folder), &mut files);
    }
    assert!(files.len() > 40);
    let mut missing = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let operations = calls(&text)
            .into_iter()
            .filter(|name| known.contains(&**name) && !NO_VALUES.contains(&&**name));
        let unknown = operations.filter(|name| !catalogued.contains(&**name));
        missing.extend(unknown.map(|name| format!("{name} ({})", file.display())));
    }
    assert!(
        missing.is_empty(),
        "without a row in docs/DETERMINISM.md: {missing:#?}"
    );
}

#[test]
fn calls_are_found() {
    let text = "x.matmul(y)\n// a.comment(b)\nTensor::<1>::zeros([1])\nx.into_scalar::<f32>()";
    let expected = ["into_scalar", "matmul", "zeros"].map(str::to_owned);
    assert_eq!(calls(text), expected.into());
}

#[test]
fn every_row_has_a_case_and_every_case_a_row() {
    let named: BTreeSet<String> = rows().into_iter().map(|(_, case)| case).collect();
    let cases: BTreeSet<String> = cases().iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(named, cases);
}

#[test]
fn every_case_gives_the_same_bits_on_the_cpu() {
    each_case_is_the_same(&Device::flex());
}

/// `cargo test --release -p interloom-tests --features cuda --test determinism -- --ignored`
#[cfg(feature = "cuda")]
#[test]
#[ignore = "needs a GPU: docs/DETERMINISM.md has the command"]
fn every_case_gives_the_same_bits_on_cuda() {
    each_case_is_the_same(&Device::cuda(0));
}

fn each_case_is_the_same(device: &Device) {
    let device = device.clone().autodiff();
    for (name, case) in cases() {
        let made: Vec<_> = (0..4)
            .map(|turn| {
                // What ran before must not matter.
                let _other = Tensor::<2>::ones([64 + turn, 64], &device)
                    .matmul(Tensor::ones([64, 8], &device));
                device.seed(11);
                let x = Tensor::<2>::random([37, 65], Distribution::Normal(0.0, 1.5), &device);
                bits(case, x)
            })
            .collect();
        assert!(!made[0].0.is_empty());
        for other in &made[1..] {
            assert!(made[0] == *other, "{name}");
        }
    }
}

/// The bits of a case's result, and of the gradient of its input.
fn bits(case: fn(Tensor<2>) -> Tensor<2>, x: Tensor<2>) -> (Vec<u32>, Vec<u32>) {
    let x = x.detach().require_grad();
    let y = case(x.clone());
    // A loss whose gradient differs from element to element.
    let [rows, columns] = y.dims();
    let weights = Tensor::<1, Int>::arange(0..(rows * columns) as i64, &y.device()).float();
    let weights = weights.reshape([rows, columns]).sin();
    let gradient = if y.clone().is_require_grad() || y.clone().is_tracked() {
        let loss = sum_in_order(y.clone() * weights);
        x.grad(&loss.backward())
            .map(|gradient| words(gradient.into_data()))
    } else {
        None
    };
    (words(y.into_data()), gradient.unwrap_or_default())
}

fn words(data: TensorData) -> Vec<u32> {
    let numbers = data.try_to_vec::<f32>().expect("floats");
    numbers.into_iter().map(f32::to_bits).collect()
}

type Case = (&'static str, fn(Tensor<2>) -> Tensor<2>);

fn cases() -> Vec<Case> {
    vec![
        ("elementwise", |x| {
            let positive = x.clone().abs() + 0.1;
            let scaled = (x.clone() - 0.5) * 3.0 / positive.clone();
            let roots =
                positive.clone().sqrt() + positive.clone().recip() + positive.powf_scalar(1.5);
            scaled + roots - x.clone().square().clamp(-2.0, 2.0)
                + x.powi_scalar(3).neg().clamp_max(1.0)
        }),
        ("transcendental", |x| {
            let bounded = x.clone().sin() + x.clone().tanh() + x.clone().erf();
            bounded + x.clone().exp() + (x.abs() + 0.1).log()
        }),
        ("comparisons", |x| {
            let is_great = x
                .clone()
                .greater_scalar(0.5)
                .bool_and(x.clone().lower_scalar(2.0));
            let is_any = is_great.clone().any().float().reshape([1, 1]);
            is_great.float() + is_any + x.is_nan().bool_not().all().float().reshape([1, 1])
        }),
        ("masks", |x| {
            let mask = Tensor::<2, Bool>::tril_mask([37, 65], 0, &x.device());
            x.clone().mask_fill(mask.clone(), -3.0) + x.clone().mask_where(mask, x.square())
        }),
        ("matmul", |x| x.clone().matmul(x.transpose())),
        ("sums along a dimension", |x| {
            x.clone().sum_dim(0) + x.clone().mean_dim(1) + x.square().sum_dim(1)
        }),
        ("mean", |x| x.mean().reshape([1, 1])),
        ("sum in order", |x| sum_in_order(x).reshape([1, 1])),
        ("maxima", |x| {
            let (top, _) = x.clone().topk_with_indices(3, 1);
            top.sum_dim(1)
                + x.clone().max_dim(1)
                + x.clone().max().reshape([1, 1])
                + x.min().reshape([1, 1])
        }),
        ("gather", |x| {
            let columns = indices(37, 65, &x.device()).reshape([37, 1]);
            x.gather(1, columns)
        }),
        ("select", |x| {
            let rows = indices(80, 37, &x.device());
            x.select(0, rows)
        }),
        ("scatter", |x| {
            let columns = indices(37 * 65, 65, &x.device()).reshape([37, 65]);
            let zeros = Tensor::zeros([37, 65], &x.device());
            zeros.scatter(1, columns, x, burn::tensor::IndexingUpdateOp::Add)
        }),
        ("moves", |x| {
            let parts = Tensor::cat(
                vec![x.clone().narrow(0, 3, 20), x.clone().slice([0..17, 0..65])],
                0,
            );
            let row = x.clone().slice([0..1, 0..65]).expand([37, 65]);
            let turned = x.clone().swap_dims(0, 1).reshape([37, 65]);
            let stacked: Tensor<3> = Tensor::stack(vec![x.clone(), x], 0);
            parts + row + turned + stacked.sum_dim(0).reshape([37, 65])
        }),
        ("cast", |x| {
            x.cast(burn::tensor::FloatDType::F16)
                .cast(burn::tensor::FloatDType::F32)
        }),
        ("random", |x| {
            let noise = Tensor::random([37, 65], Distribution::Normal(0.0, 1.0), &x.device());
            x + noise
        }),
        ("softmax", |x| {
            activation::softmax(x.clone(), 1) + activation::log_softmax(x, 0)
        }),
        ("activations", |x| {
            let gates = activation::silu(x.clone()) + activation::relu(x.clone());
            activation::gelu(x.clone())
                + gates
                + activation::sigmoid(x.clone())
                + activation::softplus(x, 1.0)
        }),
        ("layers", |x| {
            let device = x.device();
            let linear: Linear = LinearConfig::new(65, 65).init(&device);
            let norms = LayerNormConfig::new(65).init(&device).forward(x.clone());
            linear.forward(x.clone()) + norms + RmsNormConfig::new(65).init(&device).forward(x)
        }),
        ("optimizers", |x| {
            let configs: [ModuleOptimizer; 3] = [
                AdamConfig::new().init(),
                AdamWConfig::new().init(),
                SgdConfig::new().init(),
            ];
            let mut sum = Tensor::zeros([65, 4], &x.device());
            for mut optimizer in configs {
                let mut linear: Linear = LinearConfig::new(65, 4).init(&x.device());
                for _ in 0..3 {
                    let loss = sum_in_order(linear.forward(x.clone().detach()).square());
                    let gradients = GradientsParams::from_grads(loss.backward(), &linear);
                    linear = optimizer.step(0.01, linear, gradients);
                }
                sum = sum + linear.valid().weight.val().autodiff();
            }
            sum
        }),
    ]
}

/// Some indices below `end`, with repetitions.
fn indices(count: usize, end: usize, device: &Device) -> Tensor<1, Int> {
    let numbers: Vec<i64> = (0..count)
        .map(|number| (number * number * 7 % end) as i64)
        .collect();
    Tensor::from_data(TensorData::new(numbers, [count]), device)
}
