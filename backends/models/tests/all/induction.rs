//! The induction transformer: what it has learned, and that it is trained the same way every time.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use burn::module::Module;
use burn::tensor::{Int, Tensor};
use interloom_backends::{Bound, Hooked, Run, parameters};
use interloom_models::induction::{
    HEADS, HeadScores, Induction, InductionConfig, LAYERS, POSITIONS, Sampler, Trainer, VOCABULARY,
    head_scores, load_weights, save_weights, score,
};

use crate::support::{bits, cpu, floats, passed_operations, points, reader};

/// Burn's seed is global to the process: tests that draw from it hold this lock.
fn seed_lock() -> MutexGuard<'static, ()> {
    static SEED: Mutex<()> = Mutex::new(());
    SEED.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn it_has_learned_what_its_file_says() {
    let model = Induction::trained(&cpu());
    // Sequences that neither training nor the file's own evaluation has seen.
    let batch = Sampler::new(0xF5E5).batch(128);
    let score = score(model.forward(batch.tokens(&cpu())), &batch);
    let said = |key: &str| -> f64 { Induction::provenance()[key].parse().unwrap() };
    assert!((score.loss - said("loss")).abs() < 0.03, "{score:?}");
    assert!(
        (score.accuracy - said("accuracy")).abs() < 0.03,
        "{score:?}"
    );
}

#[test]
fn layer_1_has_induction_heads_and_layer_0_has_none() {
    let model = Induction::trained(&cpu());
    let batch = Sampler::new(0xF5E6).batch(32);
    let mut run = Run::new("patterns", model.sites());
    let site = |layer: usize| format!("blocks.{layer}.attn.hook_pattern");
    let saved: Vec<_> = (0..LAYERS)
        .map(|layer| reader(&mut run, &site(layer)))
        .collect();
    run.execute(|| model.forward(batch.tokens(&cpu()))).unwrap();
    let scores: Vec<Vec<HeadScores>> = saved
        .iter()
        .map(|saved| {
            let pattern = saved.take().unwrap().unwrap().tensor().unwrap();
            head_scores(pattern, &batch)
        })
        .collect();
    assert!(scores.iter().all(|layer| layer.len() == HEADS));
    assert!(
        scores[0].iter().all(|head| head.prefix_matching < 0.1),
        "{scores:?}"
    );
    assert!(
        scores[1].iter().all(|head| head.prefix_matching > 0.5),
        "{scores:?}"
    );
    // What the induction heads look for was written by a previous-token head.
    let previous = scores[0].iter().map(|head| head.previous_token);
    assert!(previous.fold(0.0, f64::max) > 0.4, "{scores:?}");
}

/// The circuit is causal: without the previous-token heads there is no induction.
#[test]
fn without_layer_0_the_model_guesses() {
    let model = Induction::trained(&cpu());
    let batch = Sampler::new(0xF5E7).batch(32);
    let loss_without = |site: &'static str| {
        let mut run = Run::new("ablate", model.sites());
        run.mediator("zero", move |cx| async move {
            let z = cx.value(site).await?;
            cx.set(site, z * 0.0).await
        });
        let ran = run.execute(|| model.forward(batch.tokens(&cpu())));
        score(ran.unwrap().output.ok().unwrap(), &batch).loss
    };
    let plain = score(model.forward(batch.tokens(&cpu())), &batch).loss;
    assert!(loss_without("blocks.0.attn.hook_z") > plain + 1.5);
    assert!(loss_without("blocks.1.attn.hook_z") > plain + 1.5);
}

#[test]
fn its_sites_are_documented_and_its_patterns_causal() {
    let model = Induction::trained(&cpu());
    let batch = Sampler::new(3).batch(2);
    let mut run = Run::new("read all", model.sites());
    let names = points(model.sites());
    let saved: Vec<_> = names.iter().map(|name| reader(&mut run, name)).collect();
    run.execute(|| model.forward(batch.tokens(&cpu()))).unwrap();
    let all = names.iter().zip(&saved);
    let (operations, modules): (Vec<_>, Vec<_>) =
        all.partition(|(name, _)| name.contains(".source."));
    let lines = modules.into_iter().map(|(name, saved)| {
        let value = saved.take().unwrap().expect("every point is passed");
        if name.ends_with("pattern.output") {
            assert_causal(value.clone().tensor().unwrap());
        }
        format!("{name} {value}")
    });
    let lines: Vec<String> = lines.filter(|line| !line.starts_with("layers.1")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    input i32[2, 48]
    output f32[2, 48, 40]
    embed.input i32[2, 48]
    embed.output f32[2, 48, 64]
    position_tap.output f32[2, 48, 64]
    layers.0.input f32[2, 48, 64]
    layers.0.output f32[2, 48, 64]
    layers.0.attn.input f32[2, 48, 64]
    layers.0.attn.output f32[2, 48, 64]
    layers.0.attn.q.output f32[2, 48, 4, 16]
    layers.0.attn.k.output f32[2, 48, 4, 16]
    layers.0.attn.v.output f32[2, 48, 4, 16]
    layers.0.attn.scores.output f32[2, 4, 48, 48]
    layers.0.attn.pattern.output f32[2, 4, 48, 48]
    layers.0.attn.z.output f32[2, 48, 4, 16]
    unembed.input f32[2, 48, 64]
    unembed.output f32[2, 48, 40]
    ");
    insta::assert_snapshot!(passed_operations(operations, "layers.1.attn.source."), @r#"
    linear_0.input f32[2, 48, 64]
    linear_0.output f32[2, 48, 64]
    linear_0.fn "linear"
    reshape_0.input f32[2, 48, 64]
    reshape_0.output f32[2, 48, 4, 16]
    reshape_0.fn "reshape"
    heads_0.output f32[2, 48, 4, 16]
    heads_0.fn "heads"
    swap_dims_0.input f32[2, 48, 4, 16]
    swap_dims_0.output f32[2, 4, 48, 16]
    swap_dims_0.fn "swap_dims"
    heads_1.output f32[2, 48, 4, 16]
    heads_1.fn "heads"
    swap_dims_1.input f32[2, 48, 4, 16]
    swap_dims_1.output f32[2, 4, 48, 16]
    swap_dims_1.fn "swap_dims"
    heads_2.output f32[2, 48, 4, 16]
    heads_2.fn "heads"
    swap_dims_2.input f32[2, 48, 4, 16]
    swap_dims_2.output f32[2, 4, 48, 16]
    swap_dims_2.fn "swap_dims"
    swap_dims_3.input f32[2, 4, 48, 16]
    swap_dims_3.output f32[2, 4, 16, 48]
    swap_dims_3.fn "swap_dims"
    matmul_0.input (f32[2, 4, 48, 16], f32[2, 4, 16, 48])
    matmul_0.output f32[2, 4, 48, 48]
    matmul_0.fn "matmul"
    sqrt_0.input 16.0
    sqrt_0.output 4.0
    sqrt_0.fn "sqrt"
    unsqueeze_0.input bool[48, 48]
    unsqueeze_0.output bool[1, 1, 48, 48]
    unsqueeze_0.fn "unsqueeze"
    expand_0.input bool[1, 1, 48, 48]
    expand_0.output bool[2, 4, 48, 48]
    expand_0.fn "expand"
    mask_fill_0.input (f32[2, 4, 48, 48], bool[2, 4, 48, 48], -1000000000.0)
    mask_fill_0.output f32[2, 4, 48, 48]
    mask_fill_0.fn "mask_fill"
    softmax_0.input f32[2, 4, 48, 48]
    softmax_0.output f32[2, 4, 48, 48]
    softmax_0.fn "activation::softmax"
    matmul_1.input (f32[2, 4, 48, 48], f32[2, 4, 48, 16])
    matmul_1.output f32[2, 4, 48, 16]
    matmul_1.fn "matmul"
    swap_dims_4.input f32[2, 4, 48, 16]
    swap_dims_4.output f32[2, 48, 4, 16]
    swap_dims_4.fn "swap_dims"
    reshape_1.input f32[2, 48, 4, 16]
    reshape_1.output f32[2, 48, 64]
    reshape_1.fn "reshape"
    self_output_0.input f32[2, 48, 64]
    self_output_0.output f32[2, 48, 64]
    self_output_0.fn "self.output"
    "#);
    let aliases = model.sites().aliases().map(|(alias, _)| alias);
    let aliases: Vec<&str> = aliases
        .filter(|alias| !alias.starts_with("blocks.1"))
        .collect();
    insta::assert_snapshot!(aliases.join(" "), @"blocks.0.attn.hook_attn_scores blocks.0.attn.hook_k blocks.0.attn.hook_pattern blocks.0.attn.hook_q blocks.0.attn.hook_v blocks.0.attn.hook_z blocks.0.hook_attn_out blocks.0.hook_resid_post blocks.0.hook_resid_pre hook_embed hook_pos_embed");
}

#[test]
fn r90_attention_attends_by_another_function() {
    let model = Induction::trained(&cpu());
    let batch = Sampler::new(3).batch(2);
    let mut run = Run::new("even", model.sites());
    run.function("even", |scores| {
        let scores = scores.tensor::<4>()?;
        let (shape, device) = (scores.dims(), scores.device());
        let sums = Tensor::<4>::ones(shape, &device).tril(0);
        Ok((sums.clone() / sums.sum_dim(3)).into())
    });
    run.mediator("even", async |cx| {
        cx.set("layers.1.attn.source.softmax_0.fn", "even").await
    });
    let even = run.execute(|| model.forward(batch.tokens(&cpu())));
    let even = score(even.unwrap().completed().unwrap(), &batch).loss;
    let plain = score(model.forward(batch.tokens(&cpu())), &batch).loss;
    assert!(even > plain + 1.5, "{even} {plain}");
}

fn assert_causal(pattern: Tensor<4>) {
    for (row, keys) in floats(pattern).chunks(POSITIONS).enumerate() {
        let sum: f32 = keys.iter().sum();
        assert!((sum - 1.0).abs() < 1e-5);
        assert!(
            keys[row % POSITIONS + 1..]
                .iter()
                .all(|&share| share == 0.0)
        );
    }
}

fn digest(model: &Hooked<Induction>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (path, data) in parameters(model) {
        hasher.update(path.as_bytes());
        hasher.update(data.as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Digests of the parameters after three steps from seed 1, by the vector instructions that burn
/// finds at run time.
///
/// Exponentials and logarithms come from the system's mathematical library, so that they hold for
/// Linux with glibc.
const RECORDED: [(&str, &str); 1] = [("avx512f", "e322f1e37ee215fb")];

/// The class of this machine's vector instructions.
fn vector_class() -> &'static str {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "avx512f";
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            return "avx2+fma";
        }
    }
    "other"
}

#[test]
fn training_is_the_same_every_time() {
    let _lock = seed_lock();
    let train = || {
        let mut trainer = Trainer::new(1, &cpu());
        let mut losses = Vec::new();
        for _ in 0..3 {
            let (next, loss) = trainer.step();
            trainer = next;
            losses.push(loss.to_bits());
        }
        (digest(&trainer.model()), losses)
    };
    let (first, second) = (train(), train());
    assert_eq!(first, second);
    let class = vector_class();
    match RECORDED.iter().find(|(recorded, _)| *recorded == class) {
        Some((_, recorded)) => assert_eq!(first.0, *recorded, "on {class}"),
        None => eprintln!(
            "no digest is recorded for {class}: two runs were compared with each other only ({})",
            first.0
        ),
    }
}

#[test]
fn a_seed_draws_one_model_and_another_seed_another() {
    let _lock = seed_lock();
    let model = |seed| digest(&Induction::new(seed, &cpu()));
    assert_eq!(model(1), model(1));
    assert_ne!(model(1), model(2));
}

/// Loading the trained weights draws no random numbers, so that it changes no seed.
#[test]
fn loading_draws_no_random_numbers() {
    let _lock = seed_lock();
    let draw = || {
        let distribution = burn::tensor::Distribution::Default;
        bits(Tensor::<1>::random([4], distribution, &cpu()))
    };
    cpu().seed(5);
    let expected = draw();
    cpu().seed(5);
    Induction::trained(&cpu());
    assert_eq!(draw(), expected);
}

#[test]
fn the_trained_model_can_be_trained_further() {
    let device = cpu().autodiff();
    let model = Induction::trained(&device);
    let batch = Sampler::new(8).batch(2);
    let loss = model.forward(batch.tokens(&device)).mean();
    let gradients = burn::optim::GradientsParams::from_grads(loss.backward(), &*model);
    assert_eq!(gradients.len(), parameters(&*model).len());
    // Also if it was loaded for inference first.
    let model = Bound::new(Induction::trained(&cpu()).into_inner().train()).unwrap();
    let loss = model.forward(batch.tokens(&device)).mean();
    let gradients = burn::optim::GradientsParams::from_grads(loss.backward(), &*model);
    assert_eq!(gradients.len(), parameters(&*model).len());
}

#[test]
fn weights_come_back_from_their_file_and_damage_is_refused() {
    let model = Induction::trained(&cpu()).into_inner();
    let metadata = BTreeMap::from([("seed".to_owned(), "1".to_owned())]);
    let bytes = save_weights(&model, metadata).unwrap();
    let again = load_weights(model.clone(), &bytes, &cpu()).unwrap();
    assert_eq!(digest(&again), digest(&model));

    let refused = |bytes: &[u8]| {
        let error = load_weights(model.clone(), bytes, &cpu()).unwrap_err();
        error.to_string()
    };
    for cut in [0, 7, 100, bytes.len() - 1] {
        refused(&bytes[..cut]);
    }
    let text = String::from_utf8_lossy(&bytes[..2000]).into_owned();
    let renamed = text.find("unembed.weight").unwrap();
    let mut other = bytes.clone();
    other[renamed] = b'U';
    insta::assert_snapshot!(refused(&other), @"the weights do not fit the induction transformer: tensor `unembed.weight` not found");
    assert_eq!(VOCABULARY, 40);
}

#[test]
fn a_model_is_as_wide_as_its_configuration() {
    let _seed = seed_lock();
    let default = InductionConfig::default().init(3, &cpu());
    assert_eq!(digest(&default), digest(&Induction::new(3, &cpu())));
    let wide = InductionConfig::of_width(256).unwrap().init(3, &cpu());
    let shape = |name: &str| {
        let parameters = parameters(&*wide);
        let found = parameters.iter().find(|(path, _)| path == name);
        found.unwrap().1.shape().to_vec()
    };
    assert_eq!(shape("position"), [POSITIONS, 256]);
    assert_eq!(shape("layers.1.attn.output.weight"), [256, 256]);

    let mut run = Run::new("heads", wide.sites());
    let heads = reader(&mut run, "layers.1.attn.z.output");
    let tokens = Sampler::new(3).batch(2).tokens(&cpu());
    run.execute(|| wide.forward(tokens)).unwrap();
    let heads = heads.take().unwrap().unwrap().tensor::<4>().unwrap();
    assert_eq!(heads.dims(), [2, POSITIONS, HEADS, 64]);

    for uneven in [0, 1, 255] {
        assert_eq!(InductionConfig::of_width(uneven), None);
    }
}

/// What the kernels say about it does not speak of shapes.
#[test]
fn a_panic_over_an_input_without_elements_tells_the_input() {
    let model = Induction::trained(&cpu());
    let forward = |shape: [usize; 2], rows: Option<u32>| {
        let mut run = Run::new("empty", model.sites());
        let reads = run.mediator("m", async |cx| cx.output("").await);
        if let Some(rows) = rows {
            reads.rows(rows);
        }
        run.execute(|| model.forward(Tensor::<2, Int>::zeros(shape, &cpu())))
    };
    for (shape, rows) in [([1, 0], None), ([1, 0], Some(1)), ([0, 3], None)] {
        let error = forward(shape, rows).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "E036");
        let message = error.to_string();
        let told = format!(
            "; expected at least one row and one token in the model's input, found i32{shape:?}: give it some"
        );
        assert!(message.ends_with(&told), "{message}");
    }
    // A panic over anything else says nothing of the kind.
    let error = forward([1, 100], None).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "E036");
    assert!(!error.to_string().contains("at least one"), "{error}");
}

/// Masked scores stay masked whatever a mediator makes of scores.
#[test]
fn no_edit_of_scores_shows_the_future() {
    let model = Induction::trained(&cpu());
    let batch = Sampler::new(3).batch(1);
    for (factor, shift) in [(0.0, 0.0), (0.0, -3e30), (-1.0, 0.0)] {
        let mut run = Run::new("edit", model.sites());
        run.mediator("m", async move |cx| {
            let edit = move |scores| scores * factor + shift;
            cx.update_output("layers.1.attn.scores", edit).await
        });
        let pattern = reader(&mut run, "layers.1.attn.pattern.output");
        run.execute(|| model.forward(batch.tokens(&cpu()))).unwrap();
        let pattern: Tensor<4> = pattern.take().unwrap().unwrap().tensor().unwrap();
        let length = pattern.dims()[3];
        for (row, keys) in floats(pattern).chunks(length).enumerate() {
            let (seen, hidden) = keys.split_at(row % length + 1);
            assert!((seen.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            assert!(hidden.iter().all(|&share| share == 0.0), "{factor} {shift}");
        }
    }
}
