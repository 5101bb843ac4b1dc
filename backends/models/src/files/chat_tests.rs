use std::fs;

use serde_json::json;

use super::super::gguf::GgufArray;
use super::super::test_files::{GgufFile, strings};
use super::*;

fn message(role: &str, content: &str) -> ChatMessage {
    ChatMessage::new(role, content)
}

/// A chat of a user, an answer, and the user again.
fn chat() -> Vec<ChatMessage> {
    vec![
        message("system", "Be brief."),
        message("user", " Hi \"you\"\n"),
        message("assistant", "<think>x</think>\n\nHello & bye"),
        message("user", "é?"),
    ]
}

fn template(source: &str) -> ChatTemplate {
    let tokens = [("bos_token", "<s>"), ("eos_token", "</s>")];
    ChatTemplate {
        file: "chat_template.jinja".to_owned(),
        source: Ok(source.to_owned()),
        tokens: tokens
            .map(|(role, text)| (role.to_owned(), text.to_owned()))
            .into(),
    }
}

fn render(source: &str) -> String {
    template(source).render(&chat(), true, &[]).unwrap()
}

/// The templates of the kinds that published models have; what is expected is what transformers
/// makes of them.
#[test]
fn templates_of_published_models_are_rendered() {
    let chatml = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    assert_eq!(
        render(chatml),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi \"you\"\n<|im_end|>\n<|im_start|>assistant\n<think>x</think>\n\nHello & bye<|im_end|>\n<|im_start|>user\né?<|im_end|>\n<|im_start|>assistant\n"
    );
    let closed = template(chatml).render(&chat()[1..3], false, &[]).unwrap();
    assert!(closed.starts_with("<|im_start|>system\nYou are helpful<|im_end|>\n<|im_start|>user"));
    assert!(closed.ends_with("bye<|im_end|>\n"), "{closed}");

    let llama2 = "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}";
    assert_eq!(
        render(llama2),
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hi \"you\" [/INST] <think>x</think>\n\nHello & bye </s><s>[INST] é? [/INST]"
    );

    // Llama 3.1 has a date of its own where there is none.
    let llama3 = "{{- bos_token }}\n{%- if not date_string is defined %}\n    {%- if strftime_now is defined %}\n        {%- set date_string = strftime_now(\"%d %b %Y\") %}\n    {%- else %}\n        {%- set date_string = \"26 Jul 2024\" %}\n    {%- endif %}\n{%- endif %}\n{#- what is said first #}\n{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content']|trim %}\n    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system_message = \"\" %}\n{%- endif %}\n{{- \"<|start_header_id|>system<|end_header_id|>\\n\\n\" }}\n{{- \"Today Date: \" + date_string + \"\\n\\n\" }}\n{{- system_message }}\n{{- \"<|eot_id|>\" }}\n{%- for message in messages %}\n    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n";
    assert_eq!(
        render(llama3),
        "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi \"you\"<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n<think>x</think>\n\nHello & bye<|eot_id|><|start_header_id|>user<|end_header_id|>\n\né?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    );

    // Qwen 3 looks for the last question from behind, with a namespace, and cuts thoughts out.
    let qwen3 = "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}\n{%- for message in messages[::-1] %}\n    {%- set index = (messages|length - 1) - loop.index0 %}\n    {%- if ns.multi_step_tool and message.role == \"user\" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}\n        {%- set ns.multi_step_tool = false %}\n        {%- set ns.last_query_index = index %}\n    {%- endif %}\n{%- endfor %}\n{%- for message in messages %}\n    {%- if message.role == \"assistant\" %}\n        {%- set content = message.content %}\n        {%- if '</think>' in content %}\n            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}\n        {%- endif %}\n        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}\n    {%- else %}\n        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n    {%- endif %}\n{%- endfor %}\n{{- ns.last_query_index }}";
    let qwen = render(qwen3);
    assert!(
        qwen.contains("<|im_start|>assistant\nHello & bye<|im_end|>") && qwen.ends_with('3'),
        "{qwen}"
    );

    // Gemma calls the assistant a model, and has no role for the system.
    let gemma = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}";
    assert_eq!(
        template(gemma).render(&chat()[3..], true, &[]).unwrap(),
        "<s><start_of_turn>user\né?<end_of_turn>\n<start_of_turn>model\n"
    );
}

/// As the environment of transformers is: blocks take their line with them, JSON is Python's.
#[test]
fn what_is_written_is_written_as_python_does() {
    for (source, expected) in [
        ("a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc"),
        (
            "{{ messages[3] | tojson }}",
            r#"{"role": "user", "content": "é?"}"#,
        ),
        (
            "{{ messages[3] | tojson(indent=2) }}",
            "{\n  \"role\": \"user\",\n  \"content\": \"é?\"\n}",
        ),
        (
            "{{ [1, 2.5, true, none, []] | tojson(ensure_ascii=false) }}",
            "[1, 2.5, true, null, []]",
        ),
        ("{{ '<&>\"' | tojson }}{{ '<&>' }}", "\"<&>\\\"\"<&>"),
        (
            "{{ true }} {{ false }} {{ none }} {{ nothing }}",
            "True False None ",
        ),
        (
            "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{{ m.role[0] }}{% endfor %}",
            "su",
        ),
        (
            "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ loop.index }}{% endfor %}",
            "234",
        ),
        (
            "{% for key, value in messages[3].items() %}{{ key }}={{ value }};{% endfor %}",
            "role=user;content=é?;",
        ),
        (
            "{% for m in messages %}{% generation %}{{ m.role[0] }}{%- endgeneration -%}\n{% endfor %}",
            "suau",
        ),
        (
            "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{{ twice('a') }}",
            "aa",
        ),
        (
            "{{ pad_token is defined }}{{ tools is defined }}{{ bos_token }}",
            "FalseTrue<s>",
        ),
        (
            "{{ 'a,b'.split(',') | join('-') }}{{ 'X'.lower() }}{{ ' y '.strip() }}",
            "a-bxy",
        ),
    ] {
        assert_eq!(render(source), expected, "{source}");
    }
}

#[test]
fn a_template_that_fails_names_its_line() {
    let failures = [
        "{% if messages %}\n{{ raise_exception('Only user and assistant roles are supported!') }}\n{% endif %}",
        "a\n{{ strftime_now('%d %B %Y') }}",
        "a\nb\n{% for x in %}",
        "a\n{{ messages | nofilter }}",
        "{% include 'other' %}",
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
        "{{ messages.nothing.at.all }}",
    ]
    .map(|source| {
        let error = template(source).render(&chat(), true, &[]).unwrap_err();
        assert_eq!(error.code(), "E147");
        error.to_string()
    });
    insta::assert_snapshot!(failures.join("\n"), @"
    expected chat_template.jinja to make a text of the chat, found Only user and assistant roles are supported! (at line 2 of the template); give the roles and contents that the template takes
    expected chat_template.jinja to make a text of the chat, found that it asks for today's date (`strftime_now`), with which a prompt would be another one every day (at line 2 of the template); write the text of the chat as a `prompt`
    expected chat_template.jinja to make a text of the chat, found unexpected end of block (at line 3 of the template); write the text of the chat as a `prompt`
    expected chat_template.jinja to make a text of the chat, found filter nofilter is unknown (at line 2 of the template); write the text of the chat as a `prompt`
    expected chat_template.jinja to make a text of the chat, found unknown statement include (at line 1 of the template); write the text of the chat as a `prompt`
    expected chat_template.jinja to make a text of the chat, found engine ran out of fuel (at line 1 of the template); write the text of the chat as a `prompt`
    expected chat_template.jinja to make a text of the chat, found `messages.nothing` is undefined (at line 1 of the template); write the text of the chat as a `prompt`
    ");
}

#[test]
fn the_template_is_found_where_models_have_it() {
    let find = |files: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let found = ChatTemplate::of_folder(folder.path()).unwrap();
        found.map(|template| {
            template
                .render(&chat(), true, &[])
                .map_err(|error| error.code())
        })
    };
    let settings =
        |template: Json| json!({"bos_token": "<b>", "chat_template": template}).to_string();
    assert_eq!(find(&[]), None);
    assert_eq!(find(&[("tokenizer_config.json", "{}")]), None);
    assert_eq!(
        find(&[("tokenizer_config.json", &settings(Json::Null))]),
        None
    );
    let one = settings(json!("{{ bos_token }}1"));
    assert_eq!(
        find(&[("tokenizer_config.json", &one)]),
        Some(Ok("<b>1".to_owned()))
    );
    let file = ("chat_template.jinja", "{{ bos_token }}2\n");
    assert_eq!(
        find(&[("tokenizer_config.json", &one), file]),
        Some(Ok("<b>2".to_owned()))
    );
    let named =
        json!([{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]);
    assert_eq!(
        find(&[("tokenizer_config.json", &settings(named))]),
        Some(Ok("d".to_owned()))
    );
    let map = json!({"default": "d", "rag": "r"});
    assert_eq!(
        find(&[("tokenizer_config.json", &settings(map))]),
        Some(Ok("d".to_owned()))
    );
    for other in [json!([{"name": "tool_use", "template": "t"}]), json!(5)] {
        assert_eq!(
            find(&[("tokenizer_config.json", &settings(other))]),
            Some(Err("E147"))
        );
    }
    // The token is that of the file that overrules the others.
    let roles = (
        "special_tokens_map.json",
        r#"{"bos_token": {"content": "<c>"}}"#,
    );
    assert_eq!(
        find(&[("tokenizer_config.json", &one), roles]),
        Some(Ok("<c>1".to_owned()))
    );

    let text = |text: &str| GgufValue::String(text.to_owned());
    let tokens = GgufValue::Array(GgufArray::String(strings(&["<g>", "</g>"])));
    let gguf = GgufFile::new()
        .with("tokenizer.ggml.tokens", tokens)
        .with("tokenizer.ggml.bos_token_id", GgufValue::U32(0))
        .with("tokenizer.ggml.eos_token_id", GgufValue::U32(1));
    assert!(ChatTemplate::of_gguf(&gguf.open()).unwrap().is_none());
    let gguf = gguf.with(
        "tokenizer.chat_template",
        text("{{ bos_token }}{{ eos_token }}"),
    );
    let template = ChatTemplate::of_gguf(&gguf.open()).unwrap().unwrap();
    assert_eq!(template.render(&chat(), true, &[]).unwrap(), "<g></g>");
}

fn value_of(json: &Json) -> ChatValue {
    match json {
        Json::Null => ChatValue::None,
        Json::Bool(truth) => ChatValue::Truth(*truth),
        Json::Number(number) => number.as_i64().map_or_else(
            || ChatValue::Float(number.as_f64().unwrap()),
            ChatValue::Integer,
        ),
        Json::String(text) => ChatValue::Text(text.clone()),
        Json::Array(items) => ChatValue::List(items.iter().map(value_of).collect()),
        Json::Object(_) => ChatValue::Map(map_of(json)),
    }
}

fn map_of(json: &Json) -> ChatMap {
    let entries = json.as_object().unwrap().iter();
    entries
        .map(|(name, value)| (name.clone(), value_of(value)))
        .collect()
}

/// What transformers 5.24 makes of templates of published models, with tools and without, and of
/// the filters, tests and methods that templates use.
#[test]
fn everything_is_rendered_as_by_transformers() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chats.json");
    let cases: Vec<Json> = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert!(cases.len() > 100);
    let mut wrong = Vec::new();
    for case in &cases {
        let messages = case["messages"].as_array().unwrap();
        let messages: Vec<ChatMessage> = messages
            .iter()
            .map(|one| ChatMessage::of(map_of(one)))
            .collect();
        let template = template(case["template"].as_str().unwrap());
        let opens = case["opens_answer"].as_bool().unwrap();
        let found = template.render(&messages, opens, &map_of(&case["with"]));
        let found = found.map_err(|error| error.to_string());
        if found.as_deref().ok() != case["expected"].as_str() {
            wrong.push(format!(
                "{}: {found:?}\n{:?}",
                case["name"], case["expected"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
