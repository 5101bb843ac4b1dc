//! Language models of any family: what they are given, and how it reads.

use burn::tensor::Tensor;
use interloom_backends::{Run, Value};
use interloom_models::LanguageModel;
use interloom_models::induction::{Induction, POSITIONS, VOCABULARY};

use crate::llama_files::{GROUPED, Tiny};
use crate::support::{bits, cpu};

const REPEATED: [u32; 9] = [3, 1, 4, 15, 9, 3, 1, 4, 15];

fn induction() -> LanguageModel {
    LanguageModel::load("induction", &cpu()).unwrap()
}

#[test]
fn a_model_without_a_tokenizer_has_numbers_for_tokens() {
    let model = induction();
    assert_eq!(model.name(), "induction");
    assert_eq!(model.token("7").unwrap(), 7);
    assert_eq!(
        (model.token_text(7), model.text(&[7, 12])),
        ("7".to_owned(), "7 12".to_owned())
    );
    let messages = [
        model.encode("7 12").map(drop),
        model.prompt("7 12").map(drop),
        model.token("40").map(drop),
        model.token(" 7").map(drop),
    ]
    .map(|error| {
        let error = error.unwrap_err();
        assert_eq!(error.code(), "E033");
        error.to_string()
    });
    insta::assert_snapshot!(messages.join("\n"), @r#"
    the input does not fit the model: a text, but the model `induction` has no tokenizer; give it tokens
    the input does not fit the model: a text, but the model `induction` has no tokenizer; give it tokens
    the input does not fit the model: "40", which is no token of the model `induction`; they are 0 to 39
    the input does not fit the model: " 7", which is no token of the model `induction`; they are 0 to 39
    "#);
}

#[test]
fn prompts_of_every_family_are_checked() {
    let model = induction();
    let long = vec![1; POSITIONS + 1];
    let prompts: [&[&[u32]]; 4] = [&[], &[&[]], &[&long], &[&[VOCABULARY as u32]]];
    let messages = prompts.map(|prompts| {
        let error = model.batch(prompts).unwrap_err();
        assert_eq!(error.code(), "E033");
        error.to_string()
    });
    insta::assert_snapshot!(messages.join("\n"), @r"
    the input does not fit the model: no prompt, at least one is expected; give it some text
    the input does not fit the model: a prompt of 0 tokens, at least 1 is expected; give it some text
    the input does not fit the model: 49 tokens and 0 new ones, but the model has 48 positions; shorten the prompt
    the input does not fit the model: token 40, but the model knows 40 tokens; they are 0 to 39
    ");
    let full = model.batch(&[&long[1..]]).unwrap();
    assert_eq!((full.room(), full.generate(3)), (0, vec![Vec::new()]));
    assert!(full.clone().with_room(0).is_ok());
    assert_eq!(full.with_room(1).unwrap_err().code(), "E033");
}

/// Of a model that keeps nothing of earlier tokens, too, each new token is an iteration.
#[test]
fn a_model_without_a_cache_continues_what_it_is_given() {
    let model = induction();
    let batch = model.batch(&[&REPEATED]).unwrap();
    let mut run = Run::new("generate", model.sites());
    let logits = [0, 1, 2].map(|step| {
        let site = format!("output.i{step}");
        run.mediator(site.clone(), async move |cx| cx.value(&site).await)
    });
    let generated = run
        .execute(|| batch.generate(3))
        .unwrap()
        .output
        .ok()
        .unwrap();
    // It continues the repetition.
    assert_eq!(generated, [[9, 3, 1]]);
    let mut tokens = REPEATED.to_vec();
    for (step, &token) in generated[0].iter().enumerate() {
        let scratch = model.batch(&[&tokens]).unwrap().logits();
        let passed: Tensor<3> = logits[step].take().unwrap().tensor().unwrap();
        assert_eq!(bits(passed), bits(scratch));
        tokens.push(token);
    }
}

#[test]
fn the_parameters_of_a_model_are_those_of_its_modules() {
    let paths = |model: &LanguageModel| {
        let mut paths = Vec::new();
        model.visit_parameters(&mut |path, data| paths.push((path.to_owned(), data)));
        paths
    };
    let expected = interloom_backends::parameters(&*Induction::trained(&cpu()));
    assert_eq!(paths(&induction()), expected);
    let tiny = Tiny::write(GROUPED);
    let llama = LanguageModel::load(tiny.path(), &cpu()).unwrap();
    let llama = paths(&llama);
    let (first, _) = &llama[0];
    // The tied embedding is at two places.
    assert_eq!(
        (first.as_str(), llama.len()),
        ("embed.weight", tiny.weights.len() + 1)
    );
}

#[test]
fn modules_of_a_model_are_called_by_path() {
    use interloom_program::Modules as _;
    let model = induction();
    let batch = model.batch(&[&REPEATED]).unwrap();
    let mut run = Run::new("read", model.sites());
    let input = run.mediator("read", async |cx| cx.input("").await);
    let logits = run.execute(|| batch.logits()).unwrap().output.ok().unwrap();
    let called = model.call("", input.take().unwrap()).unwrap();
    assert_eq!(bits(called.tensor::<3>().unwrap()), bits(logits));
    assert!(model.call("embed", Value::Unit).is_err());
}

/// What is ours is named as ours, and can be set; what is the model's stays.
#[test]
fn a_limit_of_positions_is_named_and_set() {
    let tiny = Tiny::write(GROUPED);
    let load = || LanguageModel::load(tiny.path(), &cpu()).unwrap();
    let ids = vec![1_u32; 12];
    let limited = load().limit_positions(11);
    assert_eq!(limited.positions(), 11);
    let errors = [
        limited.batch(&[&ids]).unwrap_err(),
        limited
            .batch(&[&ids[..4]])
            .unwrap()
            .with_room(8)
            .unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.code(), "E139");
        insta::allow_duplicates! {
            insta::assert_snapshot!(error, @"12 tokens, and Interloom's own limit is 11, although the model has 24 positions; shorten the prompt, or set another limit: `positions = 12` in an experiment file, `LanguageModel::limit_positions`");
        }
    }
    assert_eq!(limited.batch(&[&ids[..4]]).unwrap().room(), 7);
    let wide = load().limit_positions(usize::MAX);
    assert_eq!(wide.positions(), load().positions());
    let full = vec![1_u32; wide.positions() + 1];
    assert_eq!(wide.batch(&[&full]).unwrap_err().code(), "E033");
}
