//! What texts become: `tokens`, and the tokens of prompts in what `run` shows.

use std::fs;

use interloom_journal::Journal;
use serde_json::{Value as Json, json};

use crate::{Place, tiny_llama};

/// A folder with a model whose prompts begin with `<s>`.
fn with_special() -> Place {
    let place = Place::new();
    tiny_llama::write_with(&place.path("tiny"), &["<s>", "</s>"]);
    place
}

fn save(place: &Place, file: &str, text: &str) {
    fs::write(place.path(file), text).unwrap();
}

fn experiment(prompt: &str, more: &str) -> String {
    format!(
        "model = 'tiny'\n[[input]]\nname = 'p'\nprompt = {prompt:?}\n[[run]]\nname = 'r'\ninput = 'p'\n{more}"
    )
}

#[test]
fn tokens_are_shown_with_positions_numbers_and_pieces() {
    let place = with_special();
    let ended = place
        .run(&["tokens", "--model", "tiny", "x a é</s>", ""])
        .with(0);
    insta::assert_snapshot!(ended.out, @r#"
    every prompt begins with <s> (token 260)

    "x a é</s>": 7 tokens
      position      id  token
             0     260  <s>  special
             1      87  "x"
             2     256  " a"
             3     220  " "
             4     127  "<0xC3>"
             5     102  "<0xA9>"
             6     261  </s>  special

    "": 1 token
      position      id  token
             0     260  <s>  special
    "#);
    assert_eq!(ended.err, "");
    let json = place
        .run(&["tokens", "--model", "tiny", "--json", "<s>b"])
        .with(0)
        .out;
    let json: Json = serde_json::from_str(&json).unwrap();
    assert_eq!(json["begin"], json!({"id": 260, "text": "<s>"}));
    let first = &json["texts"][0];
    assert_eq!(
        first["tokens"][2],
        json!({"position": 2, "id": 65, "text": "b", "special": false})
    );
    assert_eq!(first["warnings"].as_array().unwrap().len(), 1);
}

#[test]
fn a_tokenizer_without_a_beginning_says_so_and_one_that_is_changed_too() {
    let place = Place::new();
    tiny_llama::write(&place.path("tiny"));
    let file = place.path("tiny/tokenizer.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"dropout\":null", "\"dropout\":0.25")).unwrap();
    let out = place.run(&["tokens", "--model", "tiny", "x a"]).with(0).out;
    insta::assert_snapshot!(out, @r#"
    nothing is put in front of a prompt
    note: tiny/tokenizer.json leaves out merges at random (dropout 0.25), which is for training; here none are, so that a text always has the same tokens

    "x a": 2 tokens
      position      id  token
             0      87  "x"
             1     256  " a"
    "#);
    save(&place, "e.toml", &experiment("x a", ""));
    let err = place.run(&["run", "e.toml"]).with(0).err;
    assert!(
        err.starts_with("note: tiny/tokenizer.json leaves out merges at random"),
        "{err}"
    );
}

#[test]
fn what_has_no_tokens_is_named() {
    let place = with_special();
    let none = place
        .run(&["tokens", "--model", "induction", "x"])
        .error("E033", 1);
    insta::assert_snapshot!(none, @"the input does not fit the model: a text, but the model `induction` has no tokenizer; give it tokens");
    place
        .run(&["tokens", "--model", "none", "x"])
        .error("E040", 1);
    place.run(&["tokens", "--model", "tiny"]).with(2);
    // The weights are not read.
    fs::write(place.path("tiny/config.json"), "{}").unwrap();
    place.run(&["tokens", "--model", "tiny", "x"]).with(0);
}

/// The positions are those that the programs of the file name.
#[test]
fn a_run_shows_the_tokens_of_its_prompts() {
    let place = with_special();
    save(
        &place,
        "e.toml",
        &experiment("x a</s>", "program = 'save t = input[.., 2]'\n"),
    );
    let out = place.run(&["run", "e.toml", "--out", "out"]).with(0).out;
    insta::assert_snapshot!(out, @r#"
    e.toml on tiny
    p: 0 <s>  1 "x"  2 " a"  3 </s>

    r                    t  i32 [1, 1]  mean 256.0000  min 256.0000  max 256.0000  [256.0000]

    results: out
    "#);
    let json: Json =
        serde_json::from_slice(&fs::read(place.path("out/results.json")).unwrap()).unwrap();
    assert_eq!(
        json["prompts"][0]["tokens"][3],
        json!({"position": 3, "id": 261, "text": "</s>", "special": true})
    );
    // Tokens that stand in the file need not be shown.
    let tokens = experiment("", "").replace("prompt = \"\"", "tokens = [1, 2]");
    save(&place, "t.toml", &tokens);
    let out = place.run(&["run", "t.toml", "--json"]).with(0).out;
    assert!(!out.contains("prompts"), "{out}");
}

/// In the report, on standard error, and in the head of the journal.
#[test]
fn a_beginning_that_is_there_twice_is_told() {
    let place = with_special();
    save(
        &place,
        "e.toml",
        &experiment("<s>x a", "program = 'save t = input'\n"),
    );
    let ended = place
        .run(&["run", "e.toml", "--journal", "e.ilj", "--full"])
        .with(0);
    insta::assert_snapshot!(ended.err, @"warning: e.toml:3:8: the prompt `p` begins with <s> (token 260), and the model's files put one in front of every prompt, so that there are two; leave it out");
    assert!(
        ended.out.contains("p: 0 <s>  1 <s>  2 \"x\"")
            && ended.out.contains("  warning: e.toml:3:8: "),
        "{}",
        ended.out
    );
    let json = place.run(&["run", "e.toml", "--json"]).with(0).out;
    let json: Json = serde_json::from_str(&json).unwrap();
    let warning = &json["prompts"][0]["warnings"][0];
    let head = Journal::load(place.path("e.ilj")).unwrap().head;
    let noted = serde_json::to_value(&head.experiment.arguments["warnings"]).unwrap();
    assert_eq!(noted, json!([warning]));
    for mode in ["verify", "serve", "drive"] {
        place.run(&["replay", "e.ilj", "--mode", mode]).with(0);
    }
    // Once is as it should be.
    save(
        &place,
        "e.toml",
        &experiment("x a", "program = 'save t = input'\n"),
    );
    assert_eq!(place.run(&["run", "e.toml"]).with(0).err, "");
}

#[test]
fn a_token_that_the_model_does_not_know_is_an_error_where_it_is_used() {
    let place = with_special();
    let settings = json!({"added_tokens_decoder": {"262": {"content": "[PAD]", "special": true}}});
    save(&place, "tiny/tokenizer_config.json", &settings.to_string());
    save(&place, "e.toml", &experiment("x a", ""));
    place.run(&["run", "e.toml"]).with(0);
    save(&place, "e.toml", &experiment("x[PAD]", ""));
    let unknown = place.run(&["run", "e.toml"]).error("E118", 1);
    insta::assert_snapshot!(unknown, @r#"e.toml:3:8: the model does not take this: the input does not fit the model: token 262, "[PAD]", but the model knows 262 tokens; leave it out, there is no embedding for it"#);
    // A vocabulary that is larger than the model's is that of another one.
    let file = place.path("tiny/tokenizer.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"vocab\":{", "\"vocab\":{\"zz\":262,")).unwrap();
    fs::remove_file(place.path("tiny/tokenizer_config.json")).unwrap();
    let other = place.run(&["run", "e.toml"]).error("E047", 1);
    insta::assert_snapshot!(other, @r#"e.toml:1:9: expected a vocabulary of the model's 262 tokens, from 0 on, found token 262, "zz" (in tiny); use the tokenizer that belongs to the model"#);
}

#[test]
fn a_generation_ends_with_any_of_the_tokens_that_its_settings_name() {
    let place = with_special();
    save(&place, "e.toml", &experiment("x a", "generate = 12\n"));
    let generated = || {
        let json = place.run(&["run", "e.toml", "--json"]).with(0).out;
        let json: Json = serde_json::from_str(&json).unwrap();
        let tokens = json["runs"][0]["generated"]["tokens"]
            .as_array()
            .unwrap()
            .clone();
        tokens
            .iter()
            .map(|token| token.as_u64().unwrap())
            .collect::<Vec<u64>>()
    };
    let all = generated();
    assert_eq!(all.len(), 12);
    let end = all[3];
    let first = all.iter().position(|&token| token == end).unwrap();
    for ends in [json!(end), json!([261, end])] {
        save(
            &place,
            "tiny/generation_config.json",
            &json!({"eos_token_id": ends}).to_string(),
        );
        assert_eq!(generated(), all[..=first]);
    }
    save(&place, "tiny/generation_config.json", "{}");
    assert_eq!(generated(), all);
}
