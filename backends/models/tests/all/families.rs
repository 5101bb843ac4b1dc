//! Tiny random models of every family against what PyTorch and transformers computed of them.
//!
//! A folder in `tests/families` is a model as the hub has it, with every parameter off its usual
//! start, in the style of today and in that of older files (`config.old.json`), and what is
//! expected for two batches of tokens: what enters the first block and leaves each, the attention
//! patterns, the logits, the loss, and the gradients of the loss. `docs/MODELS.md` is made of what
//! is found here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use interloom_backends::{Run, Value, backward};
use interloom_engine::{CacheSpec, Saved};
use interloom_models::decoder::DecoderLm;
use interloom_models::files::{FileError, ModelSource};
use interloom_models::mamba::MambaLm;
use interloom_models::{CausalLm, LanguageModel, TypedTokens};
use tempfile::TempDir;

use safetensors::tensor::Dtype;

use crate::gpt2_files::{Stored, TOKENIZER, folder as write_folder, read_stored};
use crate::gradients::next_token_loss;
use crate::support::{bits, cpu, floats, reader};

/// What may differ, as a part of the largest number that is expected.
const TOLERANCE: f64 = 1e-4;

fn folder_of_families() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families")
}

/// Those that fill in masked tokens, and continue no text.
const MASKED: [&str; 2] = ["albert", "bert"];

/// The names of the others.
fn causal() -> Vec<String> {
    let mut names = families();
    names.retain(|name| !MASKED.contains(&name.as_str()));
    names
}

/// Where a file of a model is; GPT-2 has a folder of its own, with three precisions.
pub(crate) fn file_of(name: &str, file: &str) -> PathBuf {
    match name {
        "gpt2" => {
            let file = file.replace(".safetensors", ".f32.safetensors");
            folder_of_families().join("../gpt2").join(file)
        }
        _ => folder_of_families().join(name).join(file),
    }
}

/// The names of the models, sorted.
pub(crate) fn families() -> Vec<String> {
    let folders = std::fs::read_dir(folder_of_families()).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().into_string().unwrap()
    };
    let mut names: Vec<String> = folders.map(name).chain(["gpt2".to_owned()]).collect();
    names.sort();
    assert!(names.len() > 20, "{names:?}");
    names
}

/// Writes the folder of a model with one of its configurations.
pub(crate) fn opened(name: &str, config: &str) -> Option<TempDir> {
    let to = tempfile::tempdir().unwrap();
    let config = std::fs::read(file_of(name, config)).ok()?;
    std::fs::write(to.path().join("config.json"), config).unwrap();
    std::fs::write(to.path().join("tokenizer.json"), TOKENIZER).unwrap();
    let weights = "model.safetensors";
    std::fs::copy(file_of(name, weights), to.path().join(weights)).unwrap();
    Some(to)
}

fn load(folder: &TempDir, device: &Device) -> LanguageModel {
    let path = folder.path().to_str().unwrap();
    LanguageModel::load(path, device).unwrap_or_else(|error| panic!("{error}"))
}

/// A case of what is expected.
pub(crate) struct Case<'e> {
    pub(crate) name: &'static str,
    pub(crate) expected: &'e [(String, Stored)],
}

impl Case<'_> {
    fn find(&self, key: &str) -> Option<&Stored> {
        let key = format!("{}.{key}", self.name);
        let found = self.expected.iter().find(|(name, _)| *name == key);
        found.map(|(_, stored)| stored)
    }

    pub(crate) fn rows(&self) -> Vec<Vec<u32>> {
        let ids = self.find("input_ids").unwrap();
        let tokens: Vec<u32> = ids.numbers().into_iter().map(|id| id as u32).collect();
        tokens.chunks(ids.1[1]).map(<[u32]>::to_vec).collect()
    }

    /// How far numbers are from those expected, as a part of the largest of these.
    pub(crate) fn distance(&self, key: &str, found: &[f64]) -> f64 {
        let expected = self.find(key).unwrap_or_else(|| panic!("{key}")).numbers();
        assert_eq!(found.len(), expected.len(), "{} {key}", self.name);
        let largest = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let furthest = apart.fold(0.0, |most: f64, x| if x <= most { most } else { x });
        furthest / largest
    }
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Tensor(tensor) => tensor.to_data().iter::<f64>().collect(),
        other => panic!("a tensor, found {other}"),
    }
}

/// A model of either kind.
pub(crate) enum Model {
    Decoder(Box<DecoderLm>),
    Mamba(Box<MambaLm>),
}

impl Model {
    pub(crate) fn open(folder: &Path) -> Result<Self, FileError> {
        let files = ModelSource::resolve(folder.to_str().unwrap())?.open()?;
        let device = cpu().autodiff();
        Ok(if files.architecture()? == "mamba" {
            Self::Mamba(Box::new(MambaLm::load(files, &device)?))
        } else {
            Self::Decoder(Box::new(DecoderLm::load(files, &device)?))
        })
    }

    fn lm(&self) -> &dyn CausalLm {
        match self {
            Self::Decoder(model) => &**model,
            Self::Mamba(model) => &**model,
        }
    }

    fn logits(&self, case: &Case<'_>) -> Tensor<3> {
        let rows = case.rows();
        let shape = [rows.len(), rows[0].len()];
        let given = |key: &str| {
            let numbers = case.find(key)?.numbers();
            let numbers: Vec<i32> = numbers.into_iter().map(|number| number as i32).collect();
            let data = TensorData::new(numbers, shape);
            Some(Tensor::<2, Int>::from_data(data, &cpu().autodiff()))
        };
        let tokens = given("input_ids").unwrap();
        match (self, given("token_type_ids")) {
            (Self::Decoder(model), Some(types)) => model.forward_typed(tokens, types, None),
            _ => self.lm().forward(tokens),
        }
    }

    fn layers(&self) -> usize {
        match self {
            Self::Decoder(model) => model.config().blocks.len(),
            Self::Mamba(model) => model.config().layers,
        }
    }
}

/// What of a model is compared, in the order of the page.
const COMPARED: [&str; 6] = [
    "stream",
    "patterns",
    "logits",
    "loss",
    "its gradients",
    "parameters",
];

/// The largest differences, in the order of [`COMPARED`].
pub(crate) type Furthest = [f64; COMPARED.len()];

/// Compares a case of a model.
fn compare(model: &Model, case: &Case<'_>) -> Furthest {
    let (layers, sites) = (model.layers(), model.lm().sites());
    let mut run = Run::new(case.name, sites);
    let modules: Vec<String> = (0..layers).map(|layer| format!("layers.{layer}")).collect();
    let cached = run.cache(
        CacheSpec::of(modules.iter().map(String::as_str))
            .both()
            .gradients(),
    );
    let mut read: Vec<(Saved<Option<Value>>, String)> = Vec::new();
    let mut read_site = |site: String, key: String| read.push((reader(&mut run, &site), key));
    for layer in 0..layers {
        let site = format!("layers.{layer}");
        let before = match layer {
            0 => "embed".to_owned(),
            _ => format!("block.{}", layer - 1),
        };
        read_site(format!("{site}.input"), before);
        read_site(format!("{site}.output"), format!("block.{layer}"));
        if case.find(&format!("attn.{layer}")).is_some() {
            let pattern = format!("{site}.attn.pattern.output");
            read_site(pattern, format!("attn.{layer}"));
        }
    }
    // The last is behind the last norm, if there is one. That of mamba lacks what enters.
    let last = match sites.point("transform.input") {
        Some(_) => "transform.input".to_owned(),
        None => "unembed.input".to_owned(),
    };
    let numbered = (0..=layers)
        .rev()
        .map(|number| format!("hidden_states.{number}"));
    let last_key = numbered.into_iter().find(|key| case.find(key).is_some());
    read_site(last, last_key.unwrap());
    let ran = run.execute(|| {
        let logits = model.logits(case);
        let loss = loss_of(case, logits.clone());
        drop(backward(&loss));
        (logits, loss)
    });
    let (logits, loss) = ran.unwrap().completed().unwrap();

    let mut furthest = Furthest::default();
    let mut note = |what: usize, key: &str, found: &[f64]| {
        let distance = case.distance(key, found);
        assert!(distance <= TOLERANCE, "{} {key}: {distance}", case.name);
        furthest[what] = furthest[what].max(distance);
    };
    for (saved, key) in read {
        let what = usize::from(key.starts_with("attn."));
        note(what, &key, &numbers(&saved.take().unwrap().unwrap()));
    }
    let wide = |numbers: Vec<f32>| numbers.into_iter().map(f64::from).collect::<Vec<f64>>();
    note(2, "logits", &wide(floats(logits)));
    note(3, "loss", &wide(floats(loss)));
    note(
        4,
        "grad.embed",
        &numbers(&cached.input_grads("layers.0")[0]),
    );
    for (layer, module) in modules.iter().enumerate() {
        let gradients = cached.output_grads(module);
        note(4, &format!("grad.block.{layer}"), &numbers(&gradients[0]));
    }
    furthest
}

pub(crate) fn layers_of(model: &LanguageModel) -> usize {
    let has = |layer: &usize| {
        model
            .sites()
            .point(&format!("layers.{layer}.output"))
            .is_some()
    };
    (0..).take_while(has).count()
}

/// The loss of a case: of the next token, or of the labels of all positions.
fn loss_of(case: &Case<'_>, logits: Tensor<3>) -> Tensor<1> {
    let rows = case.rows();
    match case.find("labels") {
        None => {
            let prompts: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
            next_token_loss(logits, &prompts)
        }
        Some(labels) => {
            let shape = [rows.len(), rows[0].len(), 1];
            let labels = labels.numbers().into_iter().map(|label| label as i32);
            let labels = TensorData::new(labels.collect::<Vec<_>>(), shape);
            let labels = Tensor::<3, Int>::from_data(labels, &logits.device());
            let log = activation::log_softmax(logits, 2);
            log.gather(2, labels).mean().neg()
        }
    }
}

/// The norm and the sum of the gradients of all parameters.
fn of_all_parameters(model: &Model, case: &Case<'_>) -> [f64; 2] {
    struct Visitor<'g> {
        gradients: &'g burn::tensor::Gradients,
        /// A tied parameter is at two places.
        seen: BTreeSet<ParamId>,
        squares: f64,
        sum: f64,
    }
    impl ModuleVisitor for Visitor<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let is_new = self.seen.insert(param.id);
            let Some(gradient) = param.val().grad(self.gradients).filter(|_| is_new) else {
                return;
            };
            for value in gradient.into_data().iter::<f64>() {
                self.squares += value * value;
                self.sum += value;
            }
        }
    }
    let logits = model.logits(case);
    let gradients = loss_of(case, logits).backward();
    let mut visitor = Visitor {
        gradients: &gradients,
        seen: BTreeSet::new(),
        squares: 0.0,
        sum: 0.0,
    };
    match model {
        Model::Decoder(model) => model.model().visit(&mut visitor),
        Model::Mamba(model) => model.model().visit(&mut visitor),
    }
    [visitor.squares.sqrt(), visitor.sum]
}

/// The same, as a file says that it is expected.
fn expected_of_all_parameters(file: &Path, case: &str) -> [f64; 2] {
    #[derive(serde::Deserialize)]
    struct One {
        l2: f64,
        sum: f64,
    }
    let text = std::fs::read_to_string(file).unwrap();
    let all: BTreeMap<String, BTreeMap<String, One>> = serde_json::from_str(&text).unwrap();
    let squares: f64 = all[case].values().map(|one| one.l2 * one.l2).sum();
    [squares.sqrt(), all[case].values().map(|one| one.sum).sum()]
}

#[test]
fn every_family_computes_what_transformers_does() {
    let mut rows = Vec::new();
    for name in families() {
        let folder = opened(&name, "config.json").unwrap();
        let model = Model::open(folder.path()).unwrap_or_else(|error| panic!("{error}"));
        let expected = read_stored(&file_of(&name, "expected.safetensors"));
        let gradients = file_of(&name, "gradients.json");
        let furthest = compare_all(&model, &expected, &gradients);
        rows.push((name, furthest));
    }
    check_page(&rows);
}

/// Compares both cases of a model, the gradients of whose parameters are in a file.
pub(crate) fn compare_all(
    model: &Model,
    expected: &[(String, Stored)],
    gradients: &Path,
) -> Furthest {
    let mut furthest = Furthest::default();
    for name in ["long", "short"] {
        let case = Case { name, expected };
        let mut found = compare(model, &case);
        let parameters = of_all_parameters(model, &case);
        let expected = expected_of_all_parameters(gradients, name);
        let apart = parameters.iter().zip(expected).map(|(a, b)| (a - b).abs());
        found[5] = apart.fold(0.0, f64::max) / expected[0];
        assert!(found[5] <= TOLERANCE, "{parameters:?} {expected:?}");
        for (furthest, found) in furthest.iter_mut().zip(found) {
            *furthest = furthest.max(found);
        }
    }
    furthest
}

const PAGE_BEGINS: &str = "\
# Models

Language models of these families are read from the folders of the Hugging Face hub (`config.json`, `*.safetensors`,
`tokenizer.json`), most of them from GGUF files as well. All but Mamba (`interloom_models::mamba`) are one decoder, `interloom_models::decoder`,
described by configuration, so that a site has one name in all of them; the documentation of both has a table of sites. ViT
(`interloom_models::vit`, whose test is `backends/models/tests/all/vit.rs`) takes images, `pixels` in an experiment file.

A configuration is read as the class of the Python library transformers 5 reads it: in the style of today and in that of older files, with
the defaults of the class for what is missing. Rotary positions are plain or scaled (`linear`, `dynamic`, `llama3`, `yarn`, `longrope`).
What a configuration asks for and is not computed is refused with its name (E043), never ignored. Weights may have the prefix of the
whole model or not; masks and frequencies that older files carry along are left. BERT and ALBERT fill in masked tokens, with their types if there
are any (`pair` and `types` in an experiment file), and continue no text; the others are causal. Alibi in Falcon is that of the attention that
transformers takes by itself, `sdpa`: its `eager` one adds the biases twice. Nonlinearities are all that transformers names but `prelu` and
`xielu`, which have parameters. Beside these models, `scripts/random-models` makes ones of random settings, which a test compares in the same way.

`backends/models/tests/families` has a tiny random model of each family, with every parameter off its usual start, and what transformers
5.24 and PyTorch 2.15 computed of it. The table is made by the test that compares, and has the largest difference in two batches, as a
part of the largest number: of the residual stream in front of and behind each block and of the last norm, of the attention patterns, of
the logits, of the loss, of the loss's gradients in the stream, and of the norm and sum of the gradients of all parameters. 1e-4 fails.

The last two columns are of GGUF files: the architecture as llama.cpp calls it, and how far the logits of the model are from those of its
folder after a conversion by the rules of llama.cpp's converter; 1e-5 fails. Five of these families are also compared with files made by the
Python library gguf, in F16, Q8_0 and a format for each matrix in turn (`backends/models/tests/gguf`). Weights are decoded to f32 when they are
read, from F32, F16, BF16, F64, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL and IQ4_XS, each value rounded once. The converter leaves
out the windows of Mistral and StarCoder 2, so a file has none of them; what is not a key at all (the nonlinearity, what Gemma 2 and 3 divide
scores by) is that of the published models. Any other key of the architecture must be read, or say nothing, or the file is refused (E043).

";

const PAGE_ENDS: &str = "
## Prompts of different length

A batch may have prompts of different length (`LanguageModel::batch`). The shorter ones are padded: on the left in models that continue texts,
on the right in BERT and ALBERT. Padded keys have no share of any pattern, whatever a mediator does to scores, values or what is in front of
them; the numbers of positions (learned ones, those of rotary positions by each row's own length, alibi's), and windows are those of the row
alone; Mamba's convolutions and states get zeros from padding, as from what is before a sequence. A model of one's own says whether and where
it is padded (`CausalLm::padding_side`).

A mediator with rows of its own sees the positions that its rows have alone, at every site: `[.., 0]` is the first token of its prompt and
`[.., -1]` the last, the shapes are those of the prompt alone, and what it sets is put in the same places. One that sees rows of different
length gets them padded to the longest of its own; programs count positions in each row's own tokens all the same. What it does to padding
changes not a bit of what is read elsewhere. `pos_embed.input` has the numbers of the positions, for each row if rows are padded and once for
all if not.

A row differs from the row alone by rounding only: Flex multiplies matrices of different sizes in different orders, so that it does in a batch
without padding as well. In the tiny models each site of each row, in every family, is within 1e-5 of the largest number there, and most are
within 1e-6; what comes before the first product is equal bit for bit
(`backends/models/tests/all/padding.rs`). Where a row's scaled rotary positions (`dynamic`, `longrope`) change within a generation, all rows are
computed anew in that step, and its sites have all positions so far.

Sequences have at most as many positions as the model, and 8192 if no other limit is set (`positions` in an experiment file,
`LanguageModel::limit_positions`): a limit of Interloom's, refused as one (E139), because attention computes a number for each pair of
positions, and all of them pass a site.
";

/// Checks `docs/MODELS.md`: all of it is as it would be written now, but that numbers may be up to
/// four times those of the machine on which it was made.
fn check_page(rows: &[(String, Furthest)]) {
    let mut page = PAGE_BEGINS.to_owned();
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let head = ["model", "`model_type`"].into_iter().chain(COMPARED);
    let head = head.chain(["GGUF", "from GGUF"]);
    page += &line(head.clone().map(str::to_owned).collect());
    page += &line(head.map(|_| "---".to_owned()).collect());
    for (name, furthest) in rows {
        let config = std::fs::read_to_string(file_of(name, "config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        let family = config["model_type"].as_str().unwrap();
        let names = [format!("`{name}`"), format!("`{family}`")];
        let numbers = furthest.iter().map(|distance| format!("{distance:.0e}"));
        let gguf = match crate::gguf_families::compared(name) {
            Some((architecture, distance)) => {
                [format!("`{architecture}`"), format!("{distance:.0e}")]
            }
            None => ["-", "-"].map(str::to_owned),
        };
        page += &line(names.into_iter().chain(numbers).chain(gguf).collect());
    }
    page += PAGE_ENDS;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/MODELS.md");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let is_close = |written: &str, found: &str| match (written.parse(), found.parse()) {
        (Ok::<f64, _>(written), Ok::<f64, _>(found)) => found <= 4.0 * written.max(1e-7),
        _ => written == found,
    };
    let (old, new): (Vec<&str>, Vec<&str>) = (
        written.split_whitespace().collect(),
        page.split_whitespace().collect(),
    );
    let is_same =
        old.len() == new.len() && old.iter().zip(&new).all(|(old, new)| is_close(old, new));
    if !is_same {
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("MODELS.md");
        std::fs::write(&made, page).unwrap();
        panic!(
            "{} is not what is found: compare it with {}",
            path.display(),
            made.display()
        );
    }
}

#[test]
fn configurations_of_older_files_say_the_same() {
    for name in families() {
        let Some(old) = opened(&name, "config.old.json") else {
            continue;
        };
        let new = opened(&name, "config.json").unwrap();
        let tokens = [9_u32, 3, 77, 64, 3, 12, 100, 5, 41, 30];
        let logits = |folder: &TempDir| -> Tensor<3> {
            let model = load(folder, &cpu());
            model.batch(&[&tokens]).unwrap().logits()
        };
        assert_eq!(bits(logits(&old)), bits(logits(&new)), "{name}");
    }
}

#[test]
fn generation_with_a_cache_is_generation_from_scratch() {
    for name in causal() {
        let folder = opened(&name, "config.json").unwrap();
        let model = load(&folder, &cpu());
        let mut tokens = vec![9_u32, 3, 77, 64];
        let generated = model.batch(&[&tokens]).unwrap().generate(9).concat();
        assert!(!generated.is_empty(), "{name}");
        for &token in &generated {
            let all = floats(model.batch(&[&tokens]).unwrap().logits());
            let last = &all[all.len() - model.model().vocabulary()..];
            let largest = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b]));
            assert_eq!(largest, Some(token as usize), "{name} {generated:?}");
            tokens.push(token);
        }
    }
}

/// Each name is of the point that the classes of TransformerLens have under it.
#[test]
fn names_of_transformer_lens_are_those_of_its_classes() {
    for (name, alias, point) in [
        ("bert", "embed.hook_token_type_embed", "type_embed.output"),
        ("bert", "hook_full_embed", "layers.0.input"),
        ("bert", "blocks.1.hook_resid_mid", "layers.1.ln1.input"),
        ("bert", "blocks.1.hook_resid_post", "layers.1.ln2.input"),
        (
            "bert",
            "blocks.1.hook_normalized_resid_post",
            "layers.1.output",
        ),
        (
            "llama",
            "blocks.1.hook_resid_mid",
            "layers.1.resid_mid.output",
        ),
        ("llama", "blocks.1.hook_resid_post", "layers.1.output"),
        (
            "mixtral",
            "blocks.1.mlp.experts.2.hook_gate",
            "layers.1.mlp.experts.2.pre.output",
        ),
        (
            "mixtral",
            "blocks.1.mlp.experts.2.hook_pre",
            "layers.1.mlp.experts.2.pre_linear.output",
        ),
    ] {
        let model = load(&opened(name, "config.json").unwrap(), &cpu());
        let named = model.sites().point(alias);
        assert!(
            named.is_some() && named == model.sites().point(point),
            "{name} {alias}"
        );
    }
}

/// Masked scores stay masked whatever a mediator makes of scores.
#[test]
fn no_edit_of_scores_shows_what_is_hidden() {
    for name in causal() {
        let folder = opened(&name, "config.json").unwrap();
        let model = load(&folder, &cpu());
        let prompt = [9_u32, 3, 77, 64, 3, 12, 100];
        let batch = model.batch(&[&prompt]).unwrap();
        if name == "mamba" {
            continue;
        }
        let patterns = |edit: bool| {
            let mut run = Run::new("edit", model.sites());
            for layer in 0..layers_of(&model) {
                if edit {
                    let site = format!("layers.{layer}.attn.scores");
                    // Smaller than any number that might stand for a mask.
                    run.mediator(format!("{layer}"), async move |cx| {
                        cx.update_output(&site, |scores| scores * 0.0 - 3e30).await
                    });
                }
            }
            let read: Vec<_> = (0..layers_of(&model))
                .map(|layer| reader(&mut run, &format!("layers.{layer}.attn.pattern.output")))
                .collect();
            run.execute(|| batch.logits()).unwrap();
            let read = read.into_iter();
            read.map(|saved| numbers(&saved.take().unwrap().unwrap()))
                .collect::<Vec<_>>()
        };
        for (layer, (plain, edited)) in patterns(false).iter().zip(patterns(true)).enumerate() {
            let rows = plain.chunks(prompt.len()).zip(edited.chunks(prompt.len()));
            for (row, (plain, edited)) in rows.enumerate() {
                let query = row % prompt.len();
                let seen = plain.iter().filter(|&&share| share > 0.0).count();
                assert!(plain[query + 1..].iter().all(|&share| share == 0.0));
                for (plain, edited) in plain.iter().zip(edited) {
                    let expected = if *plain > 0.0 { 1.0 / seen as f64 } else { 0.0 };
                    let what = format!("{name} {layer} {row}");
                    assert!(
                        (edited - expected).abs() < 1e-6,
                        "{what}: {edited} {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_fills_in_masked_tokens_continues_no_text() {
    let mut said = Vec::new();
    for name in MASKED {
        let folder = opened(name, "config.json").unwrap();
        let model = load(&folder, &cpu());
        let batch = model.batch(&[&[9, 3, 77]]).unwrap();
        assert_eq!(batch.logits().dims(), [1, 3, 112]);
        assert_eq!((batch.room(), batch.generate(4).concat()), (0, Vec::new()));
        let error = batch.with_room(1).unwrap_err();
        said.push(error.to_string().replace(model.name(), name));
        // The first position sees the last.
        let mut run = Run::new("pattern", model.sites());
        let pattern = reader(&mut run, "layers.0.attn.pattern.output");
        let batch = model.batch(&[&[9, 3, 77]]).unwrap();
        run.execute(|| batch.logits()).unwrap();
        assert!(
            numbers(&pattern.take().unwrap().unwrap())
                .iter()
                .all(|&share| share > 0.0)
        );
    }
    insta::assert_snapshot!(said.join("\n"), @r"
    the input does not fit the model: 1 new tokens of the model `albert`, which fills in masked ones and continues no text; ask for its logits
    the input does not fit the model: 1 new tokens of the model `bert`, which fills in masked ones and continues no text; ask for its logits
    ");
}

/// Files from TensorFlow call the parameters of norms otherwise, and have heads that are not used.
#[test]
fn older_files_of_bert_are_the_same_model() {
    let logits = |folder: &TempDir| load(folder, &cpu()).batch(&[&[9, 3, 77]]).unwrap().logits();
    let folder = opened("bert", "config.json").unwrap();
    let new = bits(logits(&folder));
    let mut stored = read_stored(&file_of("bert", "model.safetensors"));
    for (name, _) in &mut stored {
        *name = name.replace("LayerNorm.weight", "LayerNorm.gamma");
        *name = name.replace("LayerNorm.bias", "LayerNorm.beta");
    }
    for name in ["bert.pooler.dense.bias", "cls.seq_relationship.weight"] {
        stored.push((name.to_owned(), Stored(Dtype::F32, vec![2], vec![0; 8])));
    }
    let config = std::fs::read_to_string(file_of("bert", "config.json")).unwrap();
    assert_eq!(bits(logits(&write_folder(&config, &stored))), new);
}

/// An output layer that is not the embedding has a bias of its own; what tied models have in its
/// place is in the files, and not looked at.
#[test]
fn an_output_layer_of_its_own_has_its_own_bias() {
    for (name, head) in [("bert", "cls."), ("albert", "")] {
        let logits =
            |folder: &TempDir| load(folder, &cpu()).batch(&[&[9, 3, 77]]).unwrap().logits();
        let tied = bits(logits(&opened(name, "config.json").unwrap()));
        let mut stored = read_stored(&file_of(name, "model.safetensors"));
        let find = |stored: &[(String, Stored)], name: &str| {
            let found = stored.iter().position(|(stored, _)| stored == name);
            found.unwrap_or_else(|| panic!("{name}"))
        };
        let copy =
            |Stored(kind, shape, bytes): &Stored| Stored(*kind, shape.clone(), bytes.clone());
        let bias = find(&stored, &format!("{head}predictions.bias"));
        let embedding = format!("{name}.embeddings.word_embeddings.weight");
        let embedding = find(&stored, &embedding);
        stored.retain(|(name, _)| !name.contains("predictions.decoder."));
        let own = [("weight", embedding), ("bias", bias)];
        for (what, from) in own {
            let own = copy(&stored[from].1);
            stored.push((format!("{head}predictions.decoder.{what}"), own));
        }
        stored[bias].1.2.fill(0);
        let config = std::fs::read_to_string(file_of(name, "config.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
        config["tie_word_embeddings"] = false.into();
        let untied = write_folder(&config.to_string(), &stored);
        assert_eq!(bits(logits(&untied)), tied, "{name}");
    }
}
