use burn::tensor::Device;

use super::super::test_files::tiny_model;
use super::*;
use crate::LanguageModel;
use crate::families::llama;

/// A folder with the named files, all empty.
fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        std::fs::write(folder.path().join(file), b"").unwrap();
    }
    folder
}

fn resolve(path: &Path) -> Result<ModelSource, FileError> {
    ModelSource::resolve(path.to_str().unwrap())
}

/// The message, with the folder's random name replaced.
fn message(error: &FileError, folder: &tempfile::TempDir) -> String {
    error
        .to_string()
        .replace(folder.path().to_str().unwrap(), "FOLDER")
}

#[test]
fn files_and_folders_are_told_apart() {
    let gguf = folder(&["model.GGUF", "README.md"]);
    let path = gguf.path().join("model.GGUF");
    assert_eq!(resolve(&path).unwrap(), ModelSource::Gguf(path.clone()));
    assert_eq!(resolve(gguf.path()).unwrap(), ModelSource::Gguf(path));

    let full = folder(&[
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "extra.gguf",
    ]);
    let found = resolve(full.path()).unwrap();
    assert_eq!(found, ModelSource::Folder(full.path().to_owned()));
    assert_eq!(found.path(), full.path());
}

#[test]
fn incomplete_folders_say_what_is_missing() {
    for (files, expected) in [
        (
            &[][..],
            "expected config.json or exactly one .gguf file in FOLDER, found an empty folder",
        ),
        (
            &["notes.txt"],
            "expected config.json or exactly one .gguf file in FOLDER, found neither",
        ),
        (&["b.gguf", "a.gguf"], "found 2 .gguf files: a.gguf, b.gguf"),
        (
            &["config.json", "tokenizer.json"],
            "expected *.safetensors beside config.json in FOLDER",
        ),
        (
            &["config.json", "m.safetensors"],
            "expected tokenizer.json beside config.json in FOLDER",
        ),
    ] {
        let folder = folder(files);
        let error = resolve(folder.path()).unwrap_err();
        assert_eq!(error.code(), "E040");
        let message = message(&error, &folder);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_missing_path_names_its_sibling() {
    let folder = folder(&["SmolLM2.Q4_1.gguf", "notes.txt"]);
    let error = resolve(&folder.path().join("SmolLM2.Q4_0.gguf")).unwrap_err();
    insta::assert_snapshot!(message(&error, &folder), @"expected a .gguf file or a model's folder at FOLDER/SmolLM2.Q4_0.gguf, found nothing there; did you mean FOLDER/SmolLM2.Q4_1.gguf?");
    let error = resolve(&folder.path().join("nothing/like/it.gguf")).unwrap_err();
    insta::assert_snapshot!(message(&error, &folder), @"expected a .gguf file or a model's folder at FOLDER/nothing/like/it.gguf, found nothing there; check the path, or name a model: `induction`, `smollm2-135m`, `hf:ORG/NAME`");
    let error = ModelSource::resolve("HuggingFaceTB/SmolLM2-360M").unwrap_err();
    insta::assert_snapshot!(error, @"expected a .gguf file or a model's folder at HuggingFaceTB/SmolLM2-360M, found nothing there; check the path; a model of the hub is `hf:HuggingFaceTB/SmolLM2-360M`");
    let error = ModelSource::resolve("smollm2-135").unwrap_err();
    insta::assert_snapshot!(error, @"expected a .gguf file or a model's folder at smollm2-135, found nothing there; did you mean the model `smollm2-135m`?");
}

#[test]
fn other_files_are_unsupported() {
    let folder = folder(&["model.safetensors", "model.pt"]);
    for (file, advice) in [
        ("model.safetensors", "give the folder"),
        ("model.pt", "convert"),
    ] {
        let error = resolve(&folder.path().join(file)).unwrap_err();
        assert_eq!(error.code(), "E043");
        assert!(error.to_string().contains(advice), "{error}");
    }
}

#[test]
fn smollm2_is_looked_up_in_the_cache() {
    let cache = tempfile::tempdir().unwrap();
    let missing = smollm2(cache.path()).unwrap_err();
    assert_eq!(missing.code(), "E040");
    insta::assert_snapshot!(message(&missing, &cache), @"expected the model smollm2-135m at FOLDER/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf, found nothing there; run `scripts/fetch-smollm2`, which downloads it (93 MB)");

    let path = cache.path().join(SMOLLM2_FILE);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, b"GGUF").unwrap();
    let short = smollm2(cache.path()).unwrap_err();
    assert_eq!(short.code(), "E049");
    insta::assert_snapshot!(message(&short, &cache), @"expected FOLDER/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf to be 98362432 bytes long, found 4; delete it and run `scripts/fetch-smollm2`");

    // A file with a hole takes no space.
    std::fs::File::create(&path)
        .unwrap()
        .set_len(SMOLLM2_BYTES)
        .unwrap();
    assert_eq!(smollm2(cache.path()).unwrap(), ModelSource::Gguf(path));
}

#[test]
fn names_of_the_hub_are_checked() {
    let parsed = |model: &str| HubModel::parse(model).map(|m| (m.repository, m.revision));
    let main = ("org/name-1.5".to_owned(), "main".to_owned());
    assert_eq!(parsed("org/name-1.5").unwrap(), main);
    assert_eq!(parsed("o/n@refs/pr/1").unwrap().1, "refs/pr/1");
    for model in [
        "", "name", "a/b/c", "../b", "a/..", "a/b@", "a/b@../x", "a /b", "a/b@x y", "a/b@/etc",
    ] {
        let error = ModelSource::resolve(&format!("hf:{model}")).unwrap_err();
        assert_eq!(error.code(), "E040", "{model}");
    }
    insta::assert_snapshot!(HubModel::parse("gpt2").unwrap_err(), @"expected a model of the hub as `hf:ORG/NAME[@REVISION]`, found `hf:gpt2`; for example hf:HuggingFaceTB/SmolLM2-135M-Instruct");
}

#[cfg(not(feature = "hub"))]
#[test]
fn without_the_hub_its_models_cannot_be_had() {
    let error = ModelSource::resolve("hf:org/name").unwrap_err();
    assert_eq!(error.code(), "E048");
    insta::assert_snapshot!(error, @"expected to fetch org/name (revision main) from the Hugging Face hub, found that this program was built without the feature `hub`; build it with `--features hub`, or fetch the model yourself and give its folder");
}

/// A file of settings counts alone, whatever the configuration says.
#[test]
fn generations_end_where_their_settings_say() {
    let folder = tempfile::tempdir().unwrap();
    let save = |file: &str, bytes: &[u8]| std::fs::write(folder.path().join(file), bytes).unwrap();
    save(
        "config.json",
        br#"{"model_type": "llama", "eos_token_id": 3}"#,
    );
    save("tokenizer.json", b"{}");
    save(
        "model.safetensors",
        &super::super::test_files::safetensors_bytes(&[]),
    );
    let ends = |settings: &str| {
        save("generation_config.json", settings.as_bytes());
        resolve(folder.path()).unwrap().open().unwrap().end_tokens()
    };
    let files = resolve(folder.path()).unwrap().open().unwrap();
    assert_eq!(files.end_tokens().unwrap(), None);
    for (settings, expected) in [
        (r#"{"eos_token_id": 1}"#, &[1][..]),
        (r#"{"eos_token_id": [1, 205]}"#, &[1, 205]),
        (r#"{"eos_token_id": null}"#, &[]),
        (r#"{"eos_token_id": -1}"#, &[]),
        ("{}", &[]),
    ] {
        assert_eq!(
            ends(settings).unwrap().as_deref(),
            Some(expected),
            "{settings}"
        );
    }
    assert_eq!(
        ends(r#"{"eos_token_id": "</s>"}"#).unwrap_err().code(),
        "E042"
    );
    assert_eq!(ends("<html>").unwrap_err().code(), "E145");
}

/// The configuration of the tiny model as a folder has it.
const TINY_CONFIG: &[u8] = br#"{"model_type": "llama", "hidden_size": 8, "intermediate_size": 12,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 6,
    "max_position_embeddings": 16, "rms_norm_eps": 0.000009999999747378752,
    "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 0}"#;

/// The tokenizer of the tiny model, with more tokens.
fn tiny_tokenizer(more: &str) -> String {
    format!(
        r#"{{"added_tokens": [], "decoder": {{"type": "ByteLevel", "add_prefix_space": false,
        "trim_offsets": true, "use_regex": true}}, "model": {{"type": "BPE",
        "vocab": {{"<end>": 0, "a": 1, "b": 2, "ab": 3{more}}}, "merges": ["a b"]}}}}"#
    )
}

#[test]
fn a_model_is_opened_from_either_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    std::fs::write(&path, tiny_model().bytes()).unwrap();
    let gguf = resolve(&path).unwrap().open().unwrap();
    assert_eq!(gguf.architecture().unwrap(), "llama");
    assert_eq!(gguf.tokenizer().unwrap().encode("ab").unwrap(), [3]);
    let (config, mut weights) = llama::open(gguf).unwrap();

    let other = tempfile::tempdir().unwrap();
    let save = |file: &str, bytes: &[u8]| std::fs::write(other.path().join(file), bytes).unwrap();
    save("config.json", TINY_CONFIG);
    save("tokenizer.json", tiny_tokenizer("").as_bytes());
    let names: Vec<String> = weights.names().map(str::to_owned).collect();
    let mut tensors = Vec::new();
    for name in &names {
        let shape = weights.shape(name).unwrap().to_vec();
        let data = weights.take(name, &shape).unwrap().data;
        let bytes: Vec<u8> = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.push((name, shape, bytes));
    }
    weights.finish().unwrap();
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(n, s, b)| (n.as_str(), "F32", &s[..], &b[..]))
        .collect();
    save(
        "model.safetensors",
        &super::super::test_files::safetensors_bytes(&tensors),
    );
    let files = resolve(other.path()).unwrap().open().unwrap();
    assert_eq!(files.architecture().unwrap(), "llama");
    assert_eq!(files.tokenizer().unwrap().encode("ab").unwrap(), [3]);
    let (found, mut weights) = llama::open(files).unwrap();
    assert_eq!(found, config);
    assert!(weights.names().eq(names.iter().map(String::as_str)));
    for (name, _, shape, bytes) in tensors {
        let data = weights.take(name, shape).unwrap().data;
        assert!(
            data.iter()
                .flat_map(|value| value.to_le_bytes())
                .eq(bytes.iter().copied()),
            "{name}"
        );
    }
    weights.finish().unwrap();

    save(
        "tokenizer.json",
        tiny_tokenizer(r#", "c": 4, "d": 5, "e": 6"#).as_bytes(),
    );
    let source = resolve(other.path()).unwrap();
    let error = LanguageModel::from_source(&source, "more tokens", &Device::flex()).unwrap_err();
    assert_eq!(error.code(), "E047");
}

#[test]
#[ignore = "needs the SmolLM2 file: scripts/fetch-smollm2, then cargo test -p interloom-models -- --ignored"]
fn smollm2_is_tokenised() {
    let files = ModelSource::resolve(SMOLLM2).unwrap().open().unwrap();
    let tokenizer = files.tokenizer().unwrap();
    let (config, _) = llama::open(files).unwrap();
    let attention = &config.attention;
    assert_eq!(
        (
            config.blocks.len(),
            config.width,
            attention.heads,
            attention.kv_heads
        ),
        (30, 576, 9, 3)
    );
    assert_eq!(
        (config.vocabulary, config.bos_id, &config.eos_ids[..]),
        (49152, Some(1), &[2, 0][..])
    );
    assert!(config.output.is_tied && config.rotary[0].base == 100_000.0);
    // The tokens are those of a reference in Python that applies the merges one by one.
    let texts: [(&str, &[u32]); 5] = [
        ("The capital of France is", &[504, 3575, 282, 4649, 314]),
        (
            "The Eiffel Tower is located in the city of",
            &[504, 414, 46682, 18669, 314, 3807, 281, 260, 2240, 282],
        ),
        (
            "In 1969, 3 men; don't  stop\n\n  x = 12.5",
            &[
                788, 216, 33, 41, 38, 41, 28, 216, 35, 1800, 43, 1326, 982, 216, 2853, 8866, 1792,
                446, 216, 33, 34, 30, 37,
            ],
        ),
        (
            "naïve café — 東京 🦀",
            &[
                3546, 46494, 37366, 1841, 17097, 247, 126, 16736, 122, 15107, 116, 218,
            ],
        ),
        ("<|im_start|>user\nHi<|im_end|>", &[1, 4093, 198, 26843, 2]),
    ];
    for (text, ids) in texts {
        assert_eq!(tokenizer.encode(text).unwrap(), ids, "{text}");
        assert_eq!(tokenizer.decode(ids).unwrap(), text);
    }
    assert_eq!(tokenizer.single(" Paris").unwrap(), 7042);
    assert_eq!(tokenizer.token_text(7042), " Paris");
    // The vocabulary has no token for this byte.
    assert_eq!(tokenizer.encode("a\u{4}b").unwrap_err().code(), "E047");
}

#[test]
#[ignore = "needs the SmolLM2 file: scripts/fetch-smollm2, then cargo test -p interloom-models -- --ignored"]
fn smollm2_is_read_whole() {
    let files = ModelSource::resolve(SMOLLM2).unwrap().open().unwrap();
    let (_, mut weights) = llama::open(files).unwrap();
    let shapes: Vec<(String, Vec<usize>)> = weights
        .names()
        .map(|name| (name.to_owned(), weights.shape(name).unwrap().to_vec()))
        .collect();
    assert_eq!(shapes.len(), 272);
    let mut parameters = 0;
    let mut digest = blake3::Hasher::new();
    for (name, shape) in &shapes {
        let tensor = weights.take(name, shape).unwrap();
        assert!(tensor.data.iter().all(|value| value.is_finite()), "{name}");
        parameters += tensor.data.len();
        let bytes: Vec<u8> = tensor
            .data
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        digest.update(&bytes);
    }
    // Of the tensors in the order of their names, dequantised and reordered with NumPy and the
    // Python package gguf.
    let expected = "69c53703ba52227ae6d571d012fa71cd1fe1d06e2281f461db31dc5726a3a742";
    assert_eq!(digest.finalize().to_hex().as_str(), expected);
    assert_eq!(parameters, 134_515_008);
    weights.finish().unwrap();
}
