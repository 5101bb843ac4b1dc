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
    insta::assert_snapshot!(unknown, @r#"e.toml:3:8: the model does not take this: token 262, "[PAD]", but the model knows 262 tokens; leave it out, there is no embedding for it"#);
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

const CHATML: &str = "{{ bos_token }}{% for m in messages %}\n[{{ m.role }}] {{ m.content | trim }}</s>\n{% endfor %}\n{% if add_generation_prompt %}[assistant]{% endif %}";

fn with_template(template: &str) -> Place {
    let place = with_special();
    let settings = json!({"bos_token": "<s>", "chat_template": template});
    save(&place, "tiny/tokenizer_config.json", &settings.to_string());
    place
}

fn of_chat(messages: &str, more: &str) -> String {
    format!(
        "model = 'tiny'\n[set]\nname = 'b'\n[[input]]\nname = 'p'\nchat = [{messages}]\n{more}[[run]]\nname = 'r'\ninput = 'p'\nprogram = 'save t = input'\n"
    )
}

/// Rendered by the model's template, without a second beginning, and recorded as text.
#[test]
fn a_chat_becomes_the_text_that_the_model_was_trained_on() {
    let place = with_template(CHATML);
    let file = of_chat("{ role = 'user', content = ' a {name} ' }", "");
    save(&place, "e.toml", &file);
    let ended = place
        .run(&["run", "e.toml", "--json", "--journal", "e.ilj", "--full"])
        .with(0);
    assert_eq!(ended.err, "");
    let json: Json = serde_json::from_str(&ended.out).unwrap();
    let rendered = "<s>[user] a b</s>\n[assistant]";
    assert_eq!(json["prompts"][0]["rendered"], rendered);
    let tokens = json["prompts"][0]["tokens"].as_array().unwrap();
    let texts: String = tokens
        .iter()
        .map(|token| token["text"].as_str().unwrap())
        .collect();
    assert_eq!(
        (texts.as_str(), &tokens[0]["special"], &tokens[1]["special"]),
        (rendered, &json!(true), &json!(false))
    );
    // The program sees the same.
    assert!(
        json["runs"][0]["invokes"][0]["saved"]["t"]
            .to_string()
            .contains(&format!("[1,{}]", tokens.len()))
    );
    let head = Journal::load(place.path("e.ilj")).unwrap().head;
    let recorded = serde_json::to_value(&head.experiment.arguments["rendered.p"]).unwrap();
    assert_eq!(recorded, rendered);
    for mode in ["verify", "serve", "drive"] {
        place.run(&["replay", "e.ilj", "--mode", mode]).with(0);
    }
    // An answer is begun unless the last message is one, or the file says otherwise.
    let ends = |messages: &str, more: &str| {
        save(&place, "e.toml", &of_chat(messages, more));
        let json = place.run(&["run", "e.toml", "--json"]).with(0).out;
        let json: Json = serde_json::from_str(&json).unwrap();
        json["prompts"][0]["rendered"]
            .as_str()
            .unwrap()
            .ends_with("[assistant]")
    };
    let (user, answer) = (
        "{ role = 'user', content = 'a' }",
        "{ role = 'assistant', content = 'b' }",
    );
    assert!(ends(user, "") && !ends(user, "add_generation_prompt = false\n"));
    let both = format!("{user}, {answer}");
    assert!(!ends(&both, "") && ends(&both, "add_generation_prompt = true\n"));
}

/// What a template sees is in the order of the file.
#[test]
fn a_chat_may_have_tools_and_whatever_else_its_template_looks_for() {
    let place = with_template(
        "{{ tools | tojson }}{% for m in messages %}[{{ m.content }}{{ m.tool_calls }}]{% endfor %}{{ thinks }}{{ documents }}",
    );
    let messages = "{ role = 'user', content = 'a' }, { role = 'assistant', tool_calls = { z = 1, b = true } }";
    let with =
        "[input.chat_with]\nthinks = false\n[[input.chat_with.tools]]\nz = { y = 1 }\nb = 0.5\n";
    save(&place, "e.toml", &of_chat(messages, with));
    let json = place.run(&["run", "e.toml", "--json"]).with(0).out;
    let json: Json = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["prompts"][0]["rendered"],
        r#"[{"z": {"y": 1}, "b": 0.5}][a][{'z': 1, 'b': True}]FalseNone"#
    );
}

#[test]
fn a_chat_that_has_no_text_is_refused() {
    let user = "{ role = 'user', content = 'a' }";
    let fails = |place: &Place, code: &str| place.run(&["run", "e.toml"]).error(code, 1);
    let none = with_special();
    save(&none, "e.toml", &of_chat(user, ""));
    insta::assert_snapshot!(fails(&none, "E146"), @"e.toml:5:8: expected a template for chats in tiny, found none; write the text of the chat as a `prompt`, or take the model that was trained on chats");
    let strict = with_template(
        "{% for m in messages %}\n{% if m.role != 'system' %}{{ raise_exception('a chat begins with the system') }}{% endif %}\n{% endfor %}",
    );
    save(&strict, "e.toml", &of_chat(user, ""));
    insta::assert_snapshot!(fails(&strict, "E147"), @"e.toml:5:8: expected tiny/tokenizer_config.json to make a text of the chat, found a chat begins with the system (at line 2 of the template); give the roles and contents that the template takes");
    let dated = with_template("{{ strftime_now('%d %b %Y') }}");
    save(&dated, "e.toml", &of_chat(user, ""));
    insta::assert_snapshot!(fails(&dated, "E147"), @"e.toml:5:8: expected tiny/tokenizer_config.json to make a text of the chat, found that it asks for today's date (`strftime_now`), with which a prompt would be another one every day (at line 1 of the template); write the text of the chat as a `prompt`");

    let place = with_template(CHATML);
    let failed = |text: String, code: &str| {
        save(&place, "e.toml", &text);
        fails(&place, code)
    };
    let refusals = [
        failed(of_chat("{ role = 'user' }", ""), "E113"),
        failed(of_chat("{ rol = 'user', content = 'a' }", ""), "E113"),
        failed(of_chat(user, "chat_with = 1\n"), "E113"),
        failed(of_chat(user, "chat_with = { day = 1979-05-27 }\n"), "E113"),
        failed(of_chat("'a'", ""), "E113"),
        failed(of_chat("", ""), "E113"),
        failed(of_chat(user, "prompt = 'a'\n"), "E116"),
        failed(of_chat(user, "add_generation_prompt = 1\n"), "E113"),
        failed(
            experiment("a", "").replace("[[run]]", "add_generation_prompt = true\n[[run]]"),
            "E116",
        ),
        failed(of_chat(user, "").replace("'tiny'", "'induction'"), "E146"),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @r#"
    e.toml:6:8: `chat` must be a list of messages, each with a `role` and a `content` or `tool_calls`, found one with ["role"]
    e.toml:6:8: `chat` must be a list of messages, each with a `role` and a `content` or `tool_calls`, found one with ["rol", "content"]
    e.toml:7:13: `chat_with` must be a table, found 1
    e.toml:7:21: `chat_with` must be texts, numbers, truths, lists and tables, found a date
    e.toml:6:9: `chat` must be a list of tables like { role = "user", content = "..." }, found "a"
    e.toml:4:1: `chat` must be at least one message, found nothing
    e.toml:5:8: the input `p` has several of `prompt`, `pair`, `chat`, `tokens`, `tensor` and `pixels`; give it one of them
    e.toml:7:25: `add_generation_prompt` must be `true` or `false`, found 1
    e.toml:5:25: `add_generation_prompt` is about a `chat`, and there is none; leave it out, or give the input a `chat`
    e.toml:5:8: expected a template for chats in induction, found none; write the text of the chat as a `prompt`, or take the model that was trained on chats
    "#);
}
