use super::*;
use crate::files::Tokenizer;
use crate::files::test_files::{GgufFile, strings};

/// Letters, some of their pairs with a space in front or not, two commands and two bytes.
fn pieces() -> GgufFile {
    let tokens = [
        "<unk>", "<s>", "</s>", "▁", "a", "b", "c", "ab", "▁ab", "▁a", "<|user|>", "  ", "<0xC3>",
        "<0xA9>",
    ];
    let scores = (0..tokens.len()).map(|id| -(id as f32)).collect();
    let kinds = vec![2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 3, 4, 6, 6];
    let text = |text: &str| GgufValue::String(text.to_owned());
    GgufFile::new()
        .with("tokenizer.ggml.model", text("llama"))
        .with("tokenizer.ggml.pre", text("default"))
        .with(
            "tokenizer.ggml.tokens",
            GgufValue::Array(GgufArray::String(strings(&tokens))),
        )
        .with(
            "tokenizer.ggml.scores",
            GgufValue::Array(GgufArray::F32(scores)),
        )
        .with(
            "tokenizer.ggml.token_type",
            GgufValue::Array(GgufArray::I32(kinds)),
        )
}

fn read_with(keys: &[(&str, GgufValue)]) -> Tokenizer {
    let with = |file: GgufFile, (key, value): &(&str, GgufValue)| file.with(key, value.clone());
    let file = keys.iter().fold(pieces(), with).open();
    Tokenizer::from_gguf(&file).unwrap()
}

fn split(keys: &[(&str, GgufValue)], text: &str) -> Vec<String> {
    let tokenizer = read_with(keys);
    let ids = tokenizer.encode(text).unwrap();
    ids.into_iter().map(|id| tokenizer.token_text(id)).collect()
}

#[test]
fn texts_are_split_into_pieces() {
    let without_space = [("tokenizer.ggml.add_space_prefix", GgufValue::Bool(false))];
    for (keys, text, expected) in [
        (&[][..], "ab c", &[" ab", " ", "c"][..]),
        (&without_space, "ab c", &["ab", " ", "c"]),
        (&[], "", &[]),
        (&[], "aé", &[" a", "<0xC3>", "<0xA9>"]),
        // A space comes in front again behind what is cut out.
        (&[], "a<|user|>a", &[" a", "<|user|>", " a"]),
        (&without_space, "a<|user|>a", &["a", "<|user|>", "a"]),
        // What the user defines is cut out before spaces are looked at.
        (&without_space, "a  b", &["a", "  ", "b"]),
        (&without_space, "</s>a<unk>", &["</s>", "a", "<unk>"]),
    ] {
        assert_eq!(split(keys, text), expected, "{text}");
    }
}

#[test]
fn pieces_are_a_text_again() {
    for text in ["ab c", " ab", "aé b"] {
        let tokenizer = read_with(&[]);
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
}

#[test]
fn a_character_without_a_piece_is_an_error() {
    let error = read_with(&[]).encode("ab<|user|>cü").unwrap_err();
    assert_eq!(error.code(), "E047");
    insta::assert_snapshot!(error, @r#"expected a token for every character of the text, found none for "ü" (U+00FC) at byte 11 (in tiny.gguf); leave this character out: the vocabulary has no token for it, and none for what is unknown"#);
}

#[test]
fn a_text_begins_and_ends_as_keys_say() {
    let number = GgufValue::U32;
    let flag = GgufValue::Bool;
    for (keys, expected) in [
        (&[][..], &[1, 9][..]),
        (&[("tokenizer.ggml.add_bos_token", flag(false))], &[9]),
        (&[("tokenizer.ggml.bos_token_id", number(10))], &[10, 9]),
        (&[("tokenizer.ggml.add_eos_token", flag(true))], &[1, 9, 2]),
        (
            &[
                ("tokenizer.ggml.add_bos_token", flag(false)),
                ("tokenizer.ggml.add_eos_token", flag(true)),
                ("tokenizer.ggml.eos_token_id", number(10)),
            ],
            &[9, 10],
        ),
    ] {
        let found = read_with(keys).encode_prompt("a").unwrap();
        assert_eq!(found, expected, "{keys:?}");
    }
}

/// llama.cpp strips what follows the commands of Phi-3, as its `tokenizer.json` does.
#[test]
fn the_commands_of_phi_3_strip_what_follows() {
    let phi = [("general.name", GgufValue::String("Phi-3 Mini".to_owned()))];
    assert_eq!(split(&phi, "<|user|>\n a"), ["<|user|>", " a"]);
    assert_eq!(split(&phi, "<s> a"), ["<s>", " ", " a"]);
    assert_eq!(split(&[], "<|user|> a"), ["<|user|>", " ", " a"]);
}

#[test]
fn faulty_pieces_are_refused() {
    let scores = |scores| GgufValue::Array(GgufArray::F32(scores));
    for (key, value, code) in [
        ("tokenizer.ggml.scores", scores(vec![0.0]), "E047"),
        ("tokenizer.ggml.scores", GgufValue::U8(0), "E042"),
        ("tokenizer.ggml.add_space_prefix", GgufValue::U8(0), "E042"),
        ("tokenizer.ggml.bos_token_id", GgufValue::U32(99), "E047"),
        ("tokenizer.ggml.token_type", scores(vec![0.0]), "E042"),
        (
            "tokenizer.ggml.token_type",
            GgufValue::Array(GgufArray::I32(vec![1])),
            "E047",
        ),
    ] {
        let file = pieces().with(key, value.clone()).open();
        let error = Tokenizer::from_gguf(&file).map(drop).unwrap_err();
        assert_eq!(error.code(), code, "{key} {value:?}");
    }
    let mut file = pieces();
    file.keys.retain(|(key, _)| key != "tokenizer.ggml.scores");
    let error = Tokenizer::from_gguf(&file.open()).map(drop).unwrap_err();
    assert_eq!(error.code(), "E042");
}
