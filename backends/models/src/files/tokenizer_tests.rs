use serde_json::{Value as Json, json};

use super::super::test_files::{GgufFile, strings};
use super::*;

/// All bytes, some merges, and two special tokens at the end.
fn bytes_and_merges(pre: &str) -> GgufFile {
    let (tokens, merges) = parts();
    let mut kinds = vec![1; tokens.len()];
    kinds[tokens.len() - 2] = 3;
    kinds[tokens.len() - 1] = 4;
    GgufFile::new()
        .with("tokenizer.ggml.model", GgufValue::String("gpt2".to_owned()))
        .with("tokenizer.ggml.pre", GgufValue::String(pre.to_owned()))
        .with(
            "tokenizer.ggml.tokens",
            GgufValue::Array(GgufArray::String(tokens)),
        )
        .with(
            "tokenizer.ggml.merges",
            GgufValue::Array(GgufArray::String(merges)),
        )
        .with(
            "tokenizer.ggml.token_type",
            GgufValue::Array(GgufArray::I32(kinds)),
        )
}

fn parts() -> (Vec<String>, Vec<String>) {
    let merges = strings(&[
        "h e", "l l", "he ll", "hell o", "Ġ hello", "1 2", "12 3", "Ġ Ġ", "! !",
    ]);
    let mut tokens: Vec<String> = byte_of_char().keys().map(char::to_string).collect();
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    tokens.extend(strings(&["<end>", "<user>"]));
    (tokens, merges)
}

fn split(pre: &str, text: &str) -> Vec<String> {
    let tokenizer = Tokenizer::from_gguf(&bytes_and_merges(pre).open()).unwrap();
    let ids = tokenizer.encode(text).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    ids.into_iter().map(|id| tokenizer.token_text(id)).collect()
}

#[test]
fn words_are_cut_as_the_name_says() {
    for (pre, text, expected) in [
        ("smollm", "hello hello", &["hello", " hello"][..]),
        ("smollm", "123", &["1", "2", "3"]),
        ("smollm", "  1", &["  ", "1"]),
        ("gpt-2", "123", &["123"]),
        ("gpt-2", "1231", &["123", "1"]),
        ("gpt-2", "  1", &[" ", " ", "1"]),
        ("gpt-2", " !!", &[" ", "!!"]),
        ("llama-bpe", "12312", &["123", "12"]),
        ("llama-bpe", "HELLO", &["H", "E", "L", "L", "O"]),
        ("default", "12312", &["123", "12"]),
        ("default", "hello!!", &["hello", "!!"]),
    ] {
        assert_eq!(split(pre, text), expected, "{pre} {text:?}");
    }
}

#[test]
fn special_tokens_are_one_token() {
    assert_eq!(
        split("smollm", "hello<end><user>he"),
        ["hello", "<end>", "<user>", "he"]
    );
    assert_eq!(split("smollm", ""), [""; 0]);
}

#[test]
fn bytes_within_characters_are_shown() {
    assert_eq!(split("gpt-2", "é"), ["<0xC3>", "<0xA9>"]);
    let tokenizer = Tokenizer::from_gguf(&bytes_and_merges("gpt-2").open()).unwrap();
    assert_eq!(tokenizer.token_text(9999), "<no token 9999>");
    assert_eq!(tokenizer.vocab_size(), 256 + 9 + 2);
    let unknown = tokenizer.decode(&[1, 9999]).unwrap_err();
    insta::assert_snapshot!(unknown, @"expected tokens below 267, found 9999 (in tiny.gguf); use the tokenizer that belongs to the model");
    assert_eq!(unknown.code(), "E047");
}

#[test]
fn a_single_token_is_exactly_one() {
    let tokenizer = Tokenizer::from_gguf(&bytes_and_merges("smollm").open()).unwrap();
    let id = tokenizer.single(" hello").unwrap();
    assert_eq!(tokenizer.token_text(id), " hello");
    let several = tokenizer.single("hello 1").unwrap_err();
    assert_eq!(several.code(), "E050");
    insta::assert_snapshot!(several, @r#"expected "hello 1" to be one token, found 3: ["hello", " ", "1"] (with the tokenizer of tiny.gguf); choose a text that is one token: most words need a space in front"#);
    assert_eq!(tokenizer.single("").unwrap_err().code(), "E050");
}

#[test]
fn a_text_without_tokens_is_an_error() {
    let file = GgufFile::new()
        .with("tokenizer.ggml.model", GgufValue::String("gpt2".to_owned()))
        .with(
            "tokenizer.ggml.tokens",
            GgufValue::Array(GgufArray::String(strings(&["a", "b", "c"]))),
        )
        .with(
            "tokenizer.ggml.merges",
            GgufValue::Array(GgufArray::String(Vec::new())),
        );
    let tokenizer = Tokenizer::from_gguf(&file.open()).unwrap();
    assert_eq!(tokenizer.encode("abc").unwrap(), [0, 1, 2]);
    let error = tokenizer.encode("abxc").unwrap_err();
    assert_eq!(error.code(), "E047");
    insta::assert_snapshot!(error, @r#"expected a token for every character of the text, found none for "x" (U+0078) at byte 2 (in tiny.gguf); leave this character out: the vocabulary has no token for it, and none for what is unknown"#);
}

#[test]
fn faulty_metadata_is_refused() {
    let array = |texts: &[&str]| GgufValue::Array(GgufArray::String(strings(texts)));
    for (key, value, code) in [
        (
            "tokenizer.ggml.model",
            GgufValue::String("llama".to_owned()),
            "E047",
        ),
        ("tokenizer.ggml.model", GgufValue::U8(0), "E042"),
        (
            "tokenizer.ggml.pre",
            GgufValue::String("qwen2".to_owned()),
            "E047",
        ),
        ("tokenizer.ggml.tokens", array(&["a", "b", "a"]), "E047"),
        ("tokenizer.ggml.tokens", GgufValue::Bool(true), "E042"),
        ("tokenizer.ggml.merges", array(&["h e", "x q"]), "E047"),
        ("tokenizer.ggml.merges", array(&["he"]), "E047"),
        ("tokenizer.ggml.merges", array(&[" he"]), "E047"),
        (
            "tokenizer.ggml.token_type",
            GgufValue::Array(GgufArray::I32(vec![1])),
            "E047",
        ),
        (
            "tokenizer.ggml.token_type",
            GgufValue::Array(GgufArray::F32(vec![1.0])),
            "E042",
        ),
    ] {
        let file = bytes_and_merges("smollm").with(key, value.clone()).open();
        let error = Tokenizer::from_gguf(&file).map(drop).unwrap_err();
        assert_eq!(error.code(), code, "{key} {value:?}");
    }
    let unknown = Tokenizer::from_gguf(&bytes_and_merges("qwen2").open())
        .map(drop)
        .unwrap_err();
    insta::assert_snapshot!(unknown, @r#"expected the word splitting `smollm`, `gpt-2`, `llama-bpe` or `default`, found "qwen2" (in tiny.gguf); use the model as a folder with config.json, *.safetensors and a tokenizer.json of the model BPE"#);
}

fn json_file(change: impl Fn(&mut Json)) -> String {
    let (tokens, merges) = parts();
    let vocab: BTreeMap<&String, usize> = tokens.iter().zip(0..).collect();
    let end = tokens.len() - 2;
    let mut json = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [{"id": end, "content": "<end>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "vocab": vocab, "merges": merges},
    });
    change(&mut json);
    json.to_string()
}

#[test]
fn a_json_file_gives_the_same_tokens() {
    let metadata = Tokenizer::from_gguf(&bytes_and_merges("gpt-2").open()).unwrap();
    let truncated = |json: &mut Json| {
        json["truncation"] =
            json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    };
    let spaced = |json: &mut Json| json["pre_tokenizer"]["add_prefix_space"] = json!(true);
    for (text, file) in [
        ("hello 123<end>é!!", json_file(truncated)),
        (" hello", json_file(|_| ())),
    ] {
        let tokenizer = Tokenizer::from_json(&file, "tokenizer.json").unwrap();
        assert_eq!(
            tokenizer.encode(text).unwrap(),
            metadata.encode(text).unwrap()
        );
    }
    let tokenizer = Tokenizer::from_json(&json_file(spaced), "tokenizer.json").unwrap();
    assert_eq!(
        tokenizer.encode("hello").unwrap(),
        metadata.encode(" hello").unwrap()
    );
}

#[test]
fn faulty_json_files_are_refused() {
    let refused = |change: fn(&mut Json)| {
        let error = Tokenizer::from_json(&json_file(change), "tokenizer.json")
            .map(drop)
            .unwrap_err();
        assert_eq!(error.code(), "E047");
        error
    };
    refused(|json| json["model"]["type"] = json!("Unigram"));
    refused(|json| json["model"]["vocab"]["a"] = json!(0));
    refused(|json| json["model"]["vocab"] = json!([["a", 0.0]]));
    refused(|json| json["decoder"] = json!({"type": "Unheard"}));
    refused(|json| json["model"]["continuing_subword_prefix"] = json!("##"));
    // The tokenizers crate would write past a buffer's end here, and panic.
    let long = refused(|json| json["model"]["merges"] = json!(["hello hello"]));
    insta::assert_snapshot!(long, @r#"expected merge 0 to join two tokens into a third, found "hello" and "hello" (in tokenizer.json); fetch the file again"#);
    assert_eq!(
        Tokenizer::from_json("{", "t").map(drop).unwrap_err().code(),
        "E047"
    );
}

/// A byte-level tokenizer.json whose post-processor puts `<s>` in front.
fn json_with_template() -> String {
    let (tokens, merges) = parts();
    let vocab: serde_json::Map<String, Json> = (0_u32..)
        .zip(&tokens)
        .map(|(id, token)| (token.clone(), json!(id)))
        .collect();
    let begin = tokens.len();
    let special = json!({
        "id": begin, "content": "<s>", "special": true, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false
    });
    let template = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [begin], "tokens": ["<s>"]}}
    });
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [special],
        "normalizer": null, "pre_tokenizer": bytes, "post_processor": template, "decoder": bytes,
        "model": {"type": "BPE", "vocab": vocab, "merges": merges}
    })
    .to_string()
}

#[test]
fn a_prompt_begins_as_the_post_processor_says() {
    let tokenizer = Tokenizer::from_json(&json_with_template(), "tokenizer.json").unwrap();
    let ids = tokenizer.encode_prompt("hello 1").unwrap();
    let read: Vec<String> = ids.iter().map(|&id| tokenizer.token_text(id)).collect();
    assert_eq!(read, ["<s>", "hello", " ", "1"]);
    // Only a prompt does.
    assert_eq!(tokenizer.encode("hello 1").unwrap(), ids[1..]);
    assert_eq!(tokenizer.single("hello").unwrap(), ids[1]);
}

/// What a file asks for is not always what is good for comparing runs.
#[test]
fn merges_are_never_left_out_at_random() {
    let dropped = |dropout: f32| json_file(|json| json["model"]["dropout"] = json!(dropout));
    let plain = Tokenizer::from_json(&json_file(|_| ()), "tokenizer.json").unwrap();
    assert!(plain.notes().is_empty());
    for dropout in [0.5, 1.0] {
        let tokenizer = Tokenizer::from_json(&dropped(dropout), "tokenizer.json").unwrap();
        let text = "hello hello hello 1231 he";
        for _ in 0..20 {
            assert_eq!(tokenizer.encode(text).unwrap(), plain.encode(text).unwrap());
        }
        assert!(tokenizer.notes()[0].contains(&format!("dropout {dropout}")));
    }
    assert!(
        Tokenizer::from_json(&dropped(0.0), "t")
            .unwrap()
            .notes()
            .is_empty()
    );
}

/// A vocabulary of words as SentencePiece writes them, without bytes.
fn words(change: impl Fn(&mut Json)) -> Tokenizer {
    let mut json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "unk_token": null, "byte_fallback": false, "fuse_unk": true,
            "vocab": {"\u{2581}": 0, "a": 1, "b": 2, "\u{2581}a": 3, "?": 4, "<0xC3>": 5, "<0xA9>": 6},
            "merges": ["\u{2581} a"]},
    });
    change(&mut json);
    Tokenizer::from_json(&json.to_string(), "tokenizer.json").unwrap()
}

/// Two prompts would silently be one.
#[test]
fn no_character_is_left_out() {
    let tokenizer = words(|_| ());
    assert_eq!(tokenizer.encode("ab a").unwrap(), [3, 2, 3]);
    let refused = ["THE", "ab\u{e9}", "a b \u{1f642}b"].map(|text| {
        let error = tokenizer.encode(text).unwrap_err();
        assert_eq!(
            (
                error.code(),
                tokenizer.encode_prompt(text).unwrap_err().code()
            ),
            ("E047", "E047")
        );
        error.to_string()
    });
    insta::assert_snapshot!(refused.join("\n"), @r#"
    expected a token for every character of the text, found none for "T" (U+0054) at byte 0 (in tokenizer.json); leave this character out: the vocabulary has no token for it, and none for what is unknown
    expected a token for every character of the text, found none for "é" (U+00E9) at byte 2 (in tokenizer.json); leave this character out: the vocabulary has no token for it, and none for what is unknown
    expected a token for every character of the text, found none for "🙂" (U+1F642) at byte 4 (in tokenizer.json); leave this character out: the vocabulary has no token for it, and none for what is unknown
    "#);
    // Nor where there is a token for what is unknown, or for bytes.
    let unknown = words(|json| json["model"]["unk_token"] = json!("?"));
    assert_eq!(unknown.encode("aXXb").unwrap(), [3, 4, 2]);
    let bytes = words(|json| json["model"]["byte_fallback"] = json!(true));
    assert_eq!(bytes.encode("a\u{e9}").unwrap(), [3, 5, 6]);
    assert_eq!(bytes.encode("a\u{e8}").unwrap_err().code(), "E047");
}

#[test]
fn tokenizers_of_other_models_split_as_the_library_does() {
    let wordpiece = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": {"[UNK]": 0, "play": 1, "##ing": 2, ".": 3}},
    });
    let tokenizer = Tokenizer::from_json(&wordpiece.to_string(), "tokenizer.json").unwrap();
    assert_eq!(tokenizer.encode("Playing played.").unwrap(), [1, 2, 0, 3]);
    let unigram = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true},
        "decoder": {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true},
        "model": {"type": "Unigram", "unk_id": null, "vocab": [["\u{2581}a", -1.0], ["b", -2.0], ["\u{2581}", -3.0]]},
    });
    let tokenizer = Tokenizer::from_json(&unigram.to_string(), "tokenizer.json").unwrap();
    assert_eq!(tokenizer.encode("ab a").unwrap(), [0, 1, 0]);
    assert_eq!(tokenizer.encode("a\u{e9}").unwrap_err().code(), "E047");
}

#[test]
fn a_prompt_begins_as_gguf_keys_say() {
    let prompt = |file: GgufFile| {
        let tokenizer = Tokenizer::from_gguf(&file.open()).unwrap();
        let ids = tokenizer.encode_prompt("hello").unwrap();
        let read: Vec<String> = ids.iter().map(|&id| tokenizer.token_text(id)).collect();
        read.join("|")
    };
    let begins = |pre: &str| {
        let end = (parts().0.len() - 2) as u32;
        bytes_and_merges(pre).with("tokenizer.ggml.bos_token_id", GgufValue::U32(end))
    };
    let add = |file: GgufFile, add| file.with("tokenizer.ggml.add_bos_token", GgufValue::Bool(add));
    assert_eq!(prompt(begins("smollm")), "hello");
    assert_eq!(prompt(add(begins("smollm"), true)), "<end>|hello");
    // The default of llama.cpp for this word splitting.
    assert_eq!(prompt(begins("llama-bpe")), "<end>|hello");
    assert_eq!(prompt(add(begins("llama-bpe"), false)), "hello");
}
