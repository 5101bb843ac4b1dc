use std::fs;

use serde_json::json;

use super::super::Tokenizer;
use super::*;

/// A byte-level vocabulary of the letters a to c and two special tokens, and a post-processor that
/// puts `<s>` in front if asked to.
fn tokenizer_json(begins: bool) -> Json {
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false})
    };
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let template = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<s>"), special(1, "</s>")],
        "normalizer": null, "pre_tokenizer": bytes, "decoder": bytes,
        "post_processor": if begins { template } else { Json::Null },
        "model": {"type": "BPE", "vocab": {"<s>": 0, "</s>": 1, "a": 2, "b": 3, "c": 4, "<": 5,
            ">": 6, "x": 7}, "merges": []}
    })
}

/// How the prompt reads of a tokenizer with these files beside it.
fn prompt(begins: bool, files: &[(&str, Json)], text: &str) -> Result<String, FileError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    fs::write(&path, tokenizer_json(begins).to_string()).unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content.to_string()).unwrap();
    }
    let tokenizer = Tokenizer::from_json_file(&path)?;
    let ids = tokenizer.encode_prompt(text)?;
    let read = ids.iter().map(|&id| match id {
        0..=7 => tokenizer.token_text(id),
        _ => format!("{id}={}", tokenizer.token_text(id)),
    });
    Ok(read.collect::<Vec<_>>().join("|"))
}

/// As transformers does it: only some classes make the post-processor anew.
#[test]
fn what_comes_around_a_text_depends_on_the_class() {
    let settings = |class: Option<&str>, begins: Option<bool>, ends: Option<bool>| {
        json!({"tokenizer_class": class, "add_bos_token": begins, "add_eos_token": ends,
            "bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}})
    };
    let plain = [
        "PreTrainedTokenizerFast",
        "GPT2TokenizerFast",
        "GPT2Tokenizer",
        "Qwen2TokenizerFast",
        "TokenizersBackend",
        "CodeGenTokenizerFast",
    ];
    for class in plain.map(Some).into_iter().chain([None]) {
        for flag in [None, Some(false), Some(true)] {
            let files = [("tokenizer_config.json", settings(class, flag, flag))];
            assert_eq!(
                prompt(false, &files, "ab").unwrap(),
                "a|b",
                "{class:?} {flag:?}"
            );
            assert_eq!(
                prompt(true, &files, "ab").unwrap(),
                "<s>|a|b",
                "{class:?} {flag:?}"
            );
        }
    }
    let anew = CLASSES
        .iter()
        .map(|class| (class.name.to_owned(), class.begins));
    for (class, begins) in
        anew.flat_map(|(name, begins)| [(format!("{name}Fast"), begins), (name, begins)])
    {
        let rules = [
            // What the class has if it makes anything anew.
            (
                None,
                Some(true),
                if begins { "<s>|a|</s>" } else { "a|</s>" },
            ),
            (Some(false), None, "a"),
            (Some(true), None, "<s>|a"),
            (Some(true), Some(true), "<s>|a|</s>"),
            (Some(false), Some(true), "a|</s>"),
        ];
        for (bos, eos, expected) in rules {
            let files = [("tokenizer_config.json", settings(Some(&class), bos, eos))];
            for in_file in [false, true] {
                let found = prompt(in_file, &files, "a").unwrap();
                assert_eq!(found, expected, "{class} {bos:?} {eos:?} {in_file}");
            }
        }
        let neither = [("tokenizer_config.json", settings(Some(&class), None, None))];
        let [with, without] = match class.strip_suffix("Fast").unwrap_or(&class) {
            // These make it anew whatever the settings say.
            "GPTNeoXTokenizer" => ["a", "a"],
            "CodeLlamaTokenizer" => ["<s>|a", "<s>|a"],
            _ => ["<s>|a", "a"],
        };
        assert_eq!(prompt(true, &neither, "a").unwrap(), with, "{class}");
        assert_eq!(prompt(false, &neither, "a").unwrap(), without, "{class}");
    }
}

/// Version 5 of the library neither writes nor reads `add_bos_token`; version 4 has it in mind if
/// nothing says it.
#[test]
fn what_comes_around_a_text_depends_on_the_version_that_made_the_files() {
    let with = |class: &str, version: Option<&str>, begins: Option<bool>, in_file: bool| {
        let settings =
            json!({"tokenizer_class": class, "add_bos_token": begins, "bos_token": "<s>"});
        let config = json!({"model_type": "llama", "transformers_version": version});
        let files = [("tokenizer_config.json", settings), ("config.json", config)];
        prompt(in_file, &files, "a").unwrap()
    };
    let [four, five] = [Some("4.46.3"), Some("5.24.0.dev0")];
    for (class, version, begins, expected) in [
        // What is made of a file whose post-processor adds nothing, and of one that adds `<s>`.
        ("LlamaTokenizer", four, None, ["<s>|a", "<s>|a"]),
        ("LlamaTokenizer", four, Some(true), ["<s>|a", "<s>|a"]),
        ("LlamaTokenizerFast", four, Some(false), ["a", "a"]),
        ("LlamaTokenizer", five, None, ["a", "<s>|a"]),
        ("LlamaTokenizer", five, Some(true), ["a", "<s>|a"]),
        ("GemmaTokenizer", five, Some(false), ["a", "<s>|a"]),
        ("LlamaTokenizer", None, None, ["a", "<s>|a"]),
        ("LlamaTokenizer", None, Some(true), ["<s>|a", "<s>|a"]),
        ("GPTNeoXTokenizer", four, None, ["a", "a"]),
        ("GPTNeoXTokenizer", four, Some(true), ["<s>|a", "<s>|a"]),
        ("GPTNeoXTokenizerFast", five, Some(true), ["a", "a"]),
        ("CodeLlamaTokenizer", five, Some(false), ["<s>|a", "<s>|a"]),
        ("PreTrainedTokenizerFast", four, Some(true), ["a", "<s>|a"]),
    ] {
        let found = [false, true].map(|in_file| with(class, version, begins, in_file));
        assert_eq!(found, expected, "{class} {version:?} {begins:?}");
    }
}

/// Where the two versions would not do the same, it is told.
#[test]
fn what_version_five_would_do_otherwise_is_noted() {
    let notes = |version: &str, in_file: bool| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        fs::write(&path, tokenizer_json(in_file).to_string()).unwrap();
        let settings = json!({"tokenizer_class": "LlamaTokenizer", "add_bos_token": true,
            "add_eos_token": true, "bos_token": "<s>", "eos_token": "</s>"});
        fs::write(path.with_file_name(SETTINGS_FILE), settings.to_string()).unwrap();
        let config = json!({"model_type": "llama", "transformers_version": version});
        fs::write(path.with_file_name(CONFIG_FILE), config.to_string()).unwrap();
        let folder = folder.path().to_str().unwrap();
        let notes = Tokenizer::from_json_file(&path).unwrap().notes().to_vec();
        notes.concat().replace(folder, "model")
    };
    assert_eq!(notes("5.24.0", true), "");
    insta::assert_snapshot!(notes("4.46.3", true), @"a text becomes `<s>TEXT</s>`, as model/tokenizer_config.json says by the rule of transformers 4; transformers 5 looks at tokenizer.json alone, and makes `<s>TEXT` of it");
}

#[test]
fn the_class_is_that_of_the_family_if_nothing_names_it() {
    let settings = (
        "tokenizer_config.json",
        json!({"add_bos_token": true, "bos_token": "<s>"}),
    );
    let with =
        |config: Json| prompt(false, &[settings.clone(), ("config.json", config)], "a").unwrap();
    assert_eq!(with(json!({"model_type": "llama"})), "<s>|a");
    assert_eq!(with(json!({"model_type": "gpt2"})), "a");
    assert_eq!(
        with(json!({"model_type": "gpt2", "tokenizer_class": "LlamaTokenizer"})),
        "<s>|a"
    );
    assert_eq!(
        with(json!({"model_type": "llama", "tokenizer_class": "PreTrainedTokenizerFast"})),
        "a"
    );
    // The default of the class, as no file says which token it is.
    let only = (
        "tokenizer_config.json",
        json!({"add_bos_token": true, "tokenizer_class": "LlamaTokenizer"}),
    );
    assert_eq!(prompt(false, &[only], "a").unwrap(), "<s>|a");
}

#[test]
fn tokens_are_added_from_every_file() {
    let extra = |special: bool| {
        json!({"content": "<x>", "special": special, "lstrip": false, "rstrip": false,
        "normalized": false, "single_word": false})
    };
    let decoder = json!({"added_tokens_decoder": {"0": {"content": "<s>", "special": true}, "8": extra(true)}});
    let spelled = "a|<|x|>|b";
    assert_eq!(prompt(false, &[], "a<x>b").unwrap(), spelled);
    let one = "a|8=<x>|b";
    let cases: &[&[(&str, Json)]] = &[
        &[("tokenizer_config.json", decoder)],
        &[(
            "tokenizer_config.json",
            json!({"added_tokens_decoder": {"8": extra(false)}}),
        )],
        &[("added_tokens.json", json!({"<x>": 8}))],
        &[("special_tokens_map.json", json!({"pad_token": "<x>"}))],
        &[(
            "special_tokens_map.json",
            json!({"additional_special_tokens": ["<x>"]}),
        )],
        &[(
            "special_tokens_map.json",
            json!({"additional_special_tokens": [extra(true)]}),
        )],
        &[(
            "tokenizer_config.json",
            json!({"extra_special_tokens": {"image_token": "<x>"}}),
        )],
        &[(
            "tokenizer_config.json",
            json!({"eos_token": {"__type": "AddedToken", "content": "<x>"}}),
        )],
    ];
    for files in cases {
        assert_eq!(prompt(false, files, "a<x>b").unwrap(), one, "{files:?}");
    }
    // The later file is not looked at where the first has all tokens with their numbers.
    let both = [
        ("tokenizer_config.json", json!({"added_tokens_decoder": {}})),
        ("special_tokens_map.json", json!({"pad_token": "<x>"})),
    ];
    assert_eq!(prompt(false, &both, "a<x>b").unwrap(), spelled);
    // Without, it overrules.
    let both = [
        (
            "tokenizer_config.json",
            json!({"add_bos_token": true, "bos_token": "a", "tokenizer_class": "LlamaTokenizer"}),
        ),
        ("special_tokens_map.json", json!({"bos_token": "</s>"})),
    ];
    assert_eq!(prompt(false, &both, "b").unwrap(), "</s>|b");
    // How a token is found is what the added tokens say.
    let strips =
        json!({"added_tokens_decoder": {"0": {"content": "<s>", "special": true, "rstrip": true}}});
    assert_eq!(
        prompt(false, &[("tokenizer_config.json", strips)], "<s>a").unwrap(),
        "<s>|a"
    );
}

/// In which order transformers adds what has no number in any file.
#[test]
fn tokens_without_a_number_are_added_in_the_order_of_their_roles() {
    let settings = json!({"mask_token": "<3>", "pad_token": "<2>", "unk_token": "<1>",
        "image_token": "<4>", "extra_special_tokens": ["<5>"], "additional_special_tokens": ["<9>"]});
    let map = json!({"pad_token": "<2>", "additional_special_tokens": ["<9>"]});
    let object = json!({"extra_special_tokens": {"image_token": "<1>"}, "additional_special_tokens": ["<2>"]});
    let read = |files: &[(&str, Json)]| -> Vec<String> {
        let texts = ["<1>", "<2>", "<3>", "<4>", "<5>", "<9>"];
        let ids = texts.map(|text| {
            // Digits have no token by themselves.
            let found = prompt(false, files, text).unwrap_or_else(|_| "-".to_owned());
            found.split('=').next().unwrap_or_default().to_owned()
        });
        ids.to_vec()
    };
    let both = [(SETTINGS_FILE, settings), (ROLES_FILE, map.clone())];
    assert_eq!(read(&both), ["8", "9", "10", "11", "12", "-"]);
    assert_eq!(read(&both[..1]), ["8", "9", "10", "11", "12", "-"]);
    assert_eq!(read(&[(ROLES_FILE, map)]), ["-", "8", "-", "-", "-", "9"]);
    assert_eq!(
        read(&[(SETTINGS_FILE, object)]),
        ["8", "9", "-", "-", "-", "-"]
    );
}

#[test]
fn settings_that_make_no_sense_are_errors() {
    let messages = [
        json!({"add_bos_token": true, "tokenizer_class": "LlamaTokenizer", "bos_token": "<bos>",
            "added_tokens_decoder": {"20": {"content": "<bos>"}}}),
        json!({"add_bos_token": true, "tokenizer_class": "GemmaTokenizer"}),
        json!({"add_bos_token": "yes"}),
        json!({"added_tokens_decoder": {"x": {"content": "a"}}}),
        json!({"added_tokens_decoder": {"8": {}}}),
        json!({"bos_token": 5}),
        json!([]),
    ]
    .map(|settings| {
        let error = prompt(false, &[("tokenizer_config.json", settings)], "a").unwrap_err();
        assert_eq!(error.code(), "E047");
        let message = error.to_string();
        let (start, rest) = message.split_once(" (in ").unwrap();
        format!("{start}; {}", rest.split_once("; ").unwrap().1)
    });
    insta::assert_snapshot!(messages.join("\n"), @r#"
    expected "<bos>" to be token 20, as this file says, found that tokenizer.json makes it 8; the files are not of one tokenizer: fetch them again, all together
    expected `bos_token` to be a token of tokenizer.json, found "<bos>", which is none; the files are not of one tokenizer: fetch them again, all together
    expected true or false under `add_bos_token`, found "yes"; fetch the file again
    expected tokens by their numbers under `added_tokens_decoder`, found "x"; fetch the file again
    expected a token under `added_tokens_decoder`, found {}; fetch the file again
    expected a token under `bos_token`, found 5; fetch the file again
    expected an object of settings, found invalid type: sequence, expected a map at line 1 column 0; fetch the file again
    "#);
}

/// As transformers does it: only some classes set anew whether a space is put in front.
#[test]
fn a_space_in_front_depends_on_the_class() {
    let with = |class: &str, adds: Option<bool>, in_file: bool| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let mut tokenizer = tokenizer_json(false);
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": in_file, "trim_offsets": true,
            "use_regex": true});
        tokenizer["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [bytes]});
        tokenizer["model"]["vocab"]["\u{120}"] = json!(8);
        fs::write(&path, tokenizer.to_string()).unwrap();
        let settings = json!({"tokenizer_class": class, "add_prefix_space": adds});
        fs::write(path.with_file_name(SETTINGS_FILE), settings.to_string()).unwrap();
        let tokenizer = Tokenizer::from_json_file(&path).unwrap();
        tokenizer.encode("a").unwrap() == [8, 2]
    };
    for in_file in [false, true] {
        for adds in [None, Some(false), Some(true)] {
            for class in [
                "GPT2Tokenizer",
                "GPTNeoXTokenizerFast",
                "Qwen2Tokenizer",
                "CodeGenTokenizerFast",
            ] {
                let expected = adds == Some(true);
                assert_eq!(
                    with(class, adds, in_file),
                    expected,
                    "{class} {adds:?} {in_file}"
                );
            }
            for class in [
                "PreTrainedTokenizerFast",
                "TokenizersBackend",
                "BloomTokenizerFast",
            ] {
                assert_eq!(
                    with(class, adds, in_file),
                    in_file,
                    "{class} {adds:?} {in_file}"
                );
            }
        }
    }
}

/// As transformers does it: what BERT does about case and accents is what its settings say, and
/// only then what is in `tokenizer.json`.
#[test]
fn case_and_accents_are_as_the_class_of_bert_says() {
    let read = |files: &[(&str, Json)], in_file: bool| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let normalizer = json!({"type": "BertNormalizer", "clean_text": true,
            "handle_chinese_chars": true, "strip_accents": null, "lowercase": in_file});
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": normalizer, "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null,
            "decoder": null,
            "model": {"type": "WordPiece", "unk_token": "?", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": {"?": 0, "a": 1, "A": 2, "\u{e4}": 3, "\u{c4}": 4}}
        });
        fs::write(&path, tokenizer.to_string()).unwrap();
        for (name, content) in files {
            fs::write(path.with_file_name(name), content.to_string()).unwrap();
        }
        let tokenizer = Tokenizer::from_json_file(&path).unwrap();
        tokenizer.encode("A \u{c4}").unwrap()
    };
    let settings = |class: &str, keys: Json| {
        let mut settings = keys;
        settings["tokenizer_class"] = json!(class);
        [(SETTINGS_FILE, settings)]
    };
    for in_file in [false, true] {
        for class in ["BertTokenizer", "BertTokenizerFast"] {
            let read = |keys| read(&settings(class, keys), in_file);
            assert_eq!(read(json!({})), [1, 1]);
            assert_eq!(read(json!({"do_lower_case": true})), [1, 1]);
            assert_eq!(read(json!({"do_lower_case": false})), [2, 4]);
            assert_eq!(read(json!({"strip_accents": false})), [1, 3]);
            assert_eq!(
                read(json!({"do_lower_case": false, "strip_accents": true})),
                [2, 2]
            );
        }
        let file = if in_file { [1, 1] } else { [2, 4] };
        let other = settings(
            "PreTrainedTokenizerFast",
            json!({"do_lower_case": !in_file}),
        );
        assert_eq!(read(&other, in_file), file);
        assert_eq!(
            read(&[(CONFIG_FILE, json!({"model_type": "bert"}))], in_file),
            [1, 1]
        );
        assert_eq!(
            read(&[(CONFIG_FILE, json!({"model_type": "llama"}))], in_file),
            file
        );
    }
}

#[test]
fn special_tokens_in_a_text_are_text_if_the_settings_say_so() {
    let spelled = |text: &str, split: Option<bool>| {
        let settings = json!({"split_special_tokens": split, "pad_token": "<x>"});
        prompt(true, &[(SETTINGS_FILE, settings)], text).unwrap()
    };
    assert_eq!(spelled("a<x>", None), "<s>|a|8=<x>");
    assert_eq!(spelled("a<x>", Some(false)), "<s>|a|8=<x>");
    assert_eq!(spelled("a<x>", Some(true)), "<s>|a|<|x|>");
}
