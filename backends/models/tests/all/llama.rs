//! Language models of the Llama architecture: their numbers, their prompts, their generation.

use burn::tensor::{Device, Tensor, TensorData, activation};
use interloom_backends::Run;
use interloom_models::decoder::DecoderLm;
use interloom_models::files::ModelSource;
use interloom_models::{CausalLm as _, LanguageModel};

use crate::llama_files::{GROUPED, ONE_KEY, POSITIONS, Sizes, Tiny, VOCABULARY, WIDE, weights};
use crate::llama_reference::Reference;
use crate::support::{bits, cpu, floats, reader};

pub(crate) const PROMPT: [u32; 7] = [72, 101, 3, 3, 258, 200, 0];

pub(crate) fn load(sizes: Sizes) -> (LanguageModel, Tiny) {
    let tiny = Tiny::write(sizes);
    let model = LanguageModel::load(tiny.path(), &cpu()).unwrap();
    (model, tiny)
}

pub(crate) fn grouped() -> LanguageModel {
    load(GROUPED).0
}

/// Continues one prompt.
fn generated(model: &LanguageModel, prompt: &[u32], new: usize) -> Vec<u32> {
    let batch = model.batch(&[prompt]).unwrap();
    batch.generate(new).concat()
}

pub(crate) fn distance(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    let pairs = left.iter().zip(right);
    pairs
        .map(|(left, right)| (left - right).abs())
        .fold(0.0, f32::max)
}

#[test]
fn logits_are_those_of_the_reference() {
    for sizes in [GROUPED, WIDE, ONE_KEY] {
        let (model, tiny) = load(sizes);
        let reference = Reference {
            weights: &tiny.weights,
            sizes,
        };
        let expected = reference.logits(&PROMPT).concat();
        let expected: Vec<f32> = expected.into_iter().map(|x| x as f32).collect();
        let logits = model.batch(&[&PROMPT]).unwrap().logits();
        assert_eq!(logits.dims(), [1, PROMPT.len(), VOCABULARY]);
        let error = distance(&floats(logits), &expected);
        assert!(error < 1e-4, "{sizes:?}: {error}");
        let spread = expected.iter().copied().fold(f32::MIN, f32::max);
        assert!(spread > 1.0, "the model says something: {spread}");
    }
}

#[test]
fn a_batch_is_computed_row_by_row() {
    let model = grouped();
    let other: Vec<u32> = PROMPT.iter().rev().copied().collect();
    let both = floats(model.batch(&[&PROMPT, &other]).unwrap().logits());
    let one_by_one = [
        floats(model.batch(&[&PROMPT]).unwrap().logits()),
        floats(model.batch(&[&other]).unwrap().logits()),
    ];
    assert!(distance(&both, &one_by_one.concat()) < 1e-5);
}

#[test]
fn generation_with_a_cache_is_generation_from_scratch() {
    for sizes in [GROUPED, WIDE, ONE_KEY] {
        let (model, _tiny) = load(sizes);
        let new = 8;
        let mut run = Run::new("generate", model.sites());
        let steps: Vec<_> = (0..new)
            .map(|step| reader(&mut run, &format!("output.i{step}")))
            .collect();
        let generated = run.execute(|| generated(&model, &PROMPT, new));
        let generated = generated.unwrap().output.ok().unwrap();
        let mut tokens = PROMPT.to_vec();
        for (step, &token) in generated.iter().enumerate() {
            let scratch = floats(model.batch(&[&tokens]).unwrap().logits());
            let last = &scratch[scratch.len() - VOCABULARY..];
            let cached: Tensor<3> = steps[step].take().unwrap().unwrap().tensor().unwrap();
            let expected = if step == 0 { PROMPT.len() } else { 1 };
            assert_eq!(cached.dims(), [1, expected, VOCABULARY]);
            let cached = floats(cached);
            assert!(
                distance(&cached[cached.len() - VOCABULARY..], last) < 1e-5,
                "step {step}"
            );
            assert_eq!(largest(last), token, "step {step}");
            tokens.push(token);
        }
        assert!(generated.len() == new || generated.last() == Some(&(VOCABULARY as u32 - 1)));
    }
}

fn largest(row: &[f32]) -> u32 {
    (0..row.len())
        .max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)))
        .unwrap() as u32
}

#[test]
fn each_generated_token_is_an_iteration() {
    let model = grouped();
    let mut run = Run::new("generate", model.sites());
    let site = |step: usize| format!("layers.1.attn.pattern.output.i{step}");
    let saved: Vec<_> = (0..5).map(|step| reader(&mut run, &site(step))).collect();
    let generated = run
        .execute(|| generated(&model, &PROMPT, 4))
        .unwrap()
        .output;
    assert_eq!(generated.ok().unwrap().len(), 4);
    let shapes = saved.iter().map(|saved| match saved.take().unwrap() {
        Some(value) => value.to_string(),
        None => "not passed".to_owned(),
    });
    insta::assert_snapshot!(shapes.collect::<Vec<_>>().join("\n"), @r"
    f32[1, 4, 7, 7]
    f32[1, 4, 1, 8]
    f32[1, 4, 1, 9]
    f32[1, 4, 1, 10]
    not passed
    ");
}

#[test]
fn generation_can_be_steered_and_ends_at_the_end_of_text() {
    let model = grouped();
    let end = VOCABULARY as u32 - 1;
    let force = |step: usize, token: u32| {
        let mut run = Run::new("steer", model.sites());
        run.mediator("force", move |cx| async move {
            let site = format!("output.i{step}");
            let logits: Tensor<3> = cx.value(&site).await?.tensor()?;
            let [_, positions, tokens] = logits.dims();
            let mut row = vec![0.0; positions * tokens];
            row[(positions - 1) * tokens + token as usize] = 9.0;
            let forced = burn::tensor::TensorData::new(row, [1, positions, tokens]);
            cx.set(&site, Tensor::<3>::from_data(forced, &cpu())).await
        });
        let ran = run.execute(|| generated(&model, &PROMPT, 6));
        ran.unwrap().output.ok().unwrap()
    };
    assert_eq!(force(2, 17)[2], 17);
    let ended = force(3, end);
    assert_eq!((ended.len(), ended[3]), (4, end));
    assert!(generated(&model, &PROMPT, 0).is_empty());
}

/// Each row is continued as it would be alone, also after another has come to its end.
#[test]
fn a_batch_is_continued_row_by_row() {
    let model = grouped();
    let other: Vec<u32> = PROMPT.iter().rev().copied().collect();
    let alone = [generated(&model, &PROMPT, 6), generated(&model, &other, 6)];
    let both = model.batch(&[&PROMPT, &other]).unwrap();
    assert_eq!(both.rows().collect::<Vec<_>>(), [&PROMPT[..], &other]);
    assert_eq!(both.generate(6), alone);

    let end = VOCABULARY as u32 - 1;
    let mut run = Run::new("end the first", model.sites());
    run.invoke("force", 1, move |cx| async move {
        let logits: Tensor<3> = cx.value("output.i2").await?.tensor()?;
        let mut row = vec![0.0; VOCABULARY];
        row[end as usize] = 9.0;
        assert_eq!(logits.dims(), [1, 1, VOCABULARY]);
        let forced = TensorData::new(row, logits.dims());
        cx.set("output.i2", Tensor::<3>::from_data(forced, &cpu()))
            .await
    });
    run.invoke("watch", 1, async |cx| cx.value("output.i5").await.map(drop));
    let ended = run
        .execute(|| both.generate(6))
        .unwrap()
        .output
        .ok()
        .unwrap();
    assert_eq!(ended[0], [&alone[0][..2], &[end]].concat());
    assert_eq!(ended[1], alone[1]);
}

#[test]
fn prompts_are_checked() {
    let model = grouped();
    let ids = |length: usize| vec![1_u32; length];
    let cases: [(&[&[u32]], usize); 5] = [
        (&[], 0),
        (&[&[1], &[]], 0),
        (&[&ids(POSITIONS + 1)], 0),
        (&[&ids(POSITIONS)], 1),
        (&[&[1, VOCABULARY as u32]], 0),
    ];
    let check = |prompts: &[&[u32]], new: usize| {
        let batch = model.batch(prompts)?;
        batch.with_room(new).map(drop)
    };
    let messages = cases.map(|(prompts, new)| {
        let error = check(prompts, new).unwrap_err();
        assert_eq!(error.code(), "E033");
        error.to_string()
    });
    insta::assert_snapshot!(messages.join("\n"), @r#"
    the input does not fit the model: no prompt, at least one is expected; give it some text
    the input does not fit the model: prompts of [1, 0] tokens, at least 1 in each is expected; give it some text
    the input does not fit the model: 25 tokens and 0 new ones, but the model has 24 positions; shorten the prompt
    the input does not fit the model: 24 tokens and 1 new ones, but the model has 24 positions; shorten the prompt
    the input does not fit the model: token 260, "<no token 260>", but the model knows 260 tokens; leave it out, there is no embedding for it
    "#);
    assert!(check(&[&ids(POSITIONS), &ids(2)], 0).is_ok());
    assert_eq!(
        check(&[&[1], &ids(POSITIONS)], 1).unwrap_err().code(),
        "E033"
    );
    assert_eq!(check(&[&[1]], usize::MAX).unwrap_err().code(), "E033");
    // The longest prompt works, and so does generation up to the last position.
    assert_eq!(
        model.batch(&[&ids(POSITIONS)]).unwrap().logits().dims()[1],
        POSITIONS
    );
    assert!(generated(&model, &ids(POSITIONS - 2), 2).len() <= 2);
    // Where there are no more positions, a generation ends.
    let full = ids(POSITIONS - 3);
    assert_eq!(
        generated(&model, &full, usize::MAX),
        generated(&model, &full, 3)
    );
    assert!(generated(&model, &ids(POSITIONS), 5).is_empty());
}

#[test]
fn text_is_encoded_and_checked() {
    let model = grouped();
    let ids = model.encode(" hell").unwrap();
    assert_eq!(model.text(&ids), " hell");
    assert_eq!(ids, [258, 257]);
    for text in ["", &"x".repeat(POSITIONS + 1)] {
        assert_eq!(model.encode(text).unwrap_err().code(), "E033");
    }
    assert_eq!(model.model().vocabulary(), VOCABULARY);
    assert_eq!(model.model().positions(), POSITIONS);
}

#[test]
fn a_prompt_begins_with_the_token_that_the_files_ask_for() {
    let tiny = Tiny::write(GROUPED);
    let settings = r#"{"add_bos_token": true, "bos_token": "<end>"}"#;
    std::fs::write(tiny.folder.path().join("tokenizer_config.json"), settings).unwrap();
    let model = LanguageModel::load(tiny.path(), &cpu()).unwrap();
    assert_eq!(model.encode(" he").unwrap(), [VOCABULARY as u32 - 1, 258]);
    assert_eq!(model.token(" he").unwrap(), 258);
}

#[test]
fn a_tied_model_may_carry_its_output_layer_along() {
    let mut stored = weights(GROUPED);
    let embedding = stored["model.embed_tokens.weight"].clone();
    stored.insert("lm_head.weight".to_owned(), embedding);
    let with = Tiny::write_with(stored.clone(), GROUPED);
    let with = LanguageModel::load(with.path(), &cpu()).unwrap();
    let without = grouped().batch(&[&PROMPT]).unwrap().logits();
    assert_eq!(
        bits(with.batch(&[&PROMPT]).unwrap().logits()),
        bits(without)
    );

    let (shape, values) = stored.get_mut("lm_head.weight").unwrap();
    shape[0] -= 1;
    values.truncate(shape[0] * shape[1]);
    let other = Tiny::write_with(stored, GROUPED);
    let error = LanguageModel::load(other.path(), &cpu()).unwrap_err();
    assert_eq!(error.code(), "E045");
}

#[test]
fn folders_of_another_model_are_refused() {
    let mut missing = weights(GROUPED);
    missing.remove("model.layers.1.mlp.up_proj.weight");
    let mut more = weights(GROUPED);
    more.insert(
        "model.layers.1.extra.weight".to_owned(),
        (vec![1], vec![0.0]),
    );
    let mut untied = GROUPED;
    untied.tied = false;
    let error = |weights, sizes| {
        let tiny = Tiny::write_with(weights, sizes);
        LanguageModel::load(tiny.path(), &cpu()).unwrap_err().code()
    };
    assert_eq!(error(missing, GROUPED), "E044");
    assert_eq!(error(more, GROUPED), "E046");
    assert_eq!(error(weights(GROUPED), untied), "E044");
    assert_eq!(error(weights(WIDE), GROUPED), "E045");
}

#[test]
fn gradients_reach_the_embedding() {
    let tiny = Tiny::write(GROUPED);
    let device: Device = cpu().autodiff();
    let files = ModelSource::resolve(tiny.path()).unwrap().open().unwrap();
    let model = DecoderLm::load(files, &device).unwrap();
    assert_eq!(model.model().inner().len(), GROUPED.layers);
    let tokens = TensorData::new(PROMPT.map(|token| token as i32).to_vec(), [1, PROMPT.len()]);
    let logits = model.forward(Tensor::from_data(tokens, &device));
    let loss = activation::log_softmax(logits, 2).mean();
    let gradients =
        burn::optim::GradientsParams::from_grads(loss.backward(), model.model().inner());
    let parameters = interloom_backends::parameters(&**model.model());
    // The tied embedding is one parameter at two places.
    assert_eq!(gradients.len(), parameters.len() - 1);
}
