//! The sites of language models of the Llama architecture: their shapes, their names, and edits.

use burn::tensor::Tensor;
use interloom_backends::{Run, Value};
use interloom_engine::{Cx, Fault};
use interloom_models::{DRAWS, LanguageModel};

use crate::llama::{PROMPT, distance, grouped, load};
use crate::llama_files::{GROUPED, ONE_KEY, WIDE};
use crate::support::{bits, floats, passed_operations, points, reader};

/// Runs the model on [`PROMPT`] with one mediator, and returns its logits.
fn logits_with<F, Fut>(model: &LanguageModel, program: F) -> Tensor<3>
where
    F: FnOnce(Cx<Value>) -> Fut,
    Fut: Future<Output = Result<(), Fault>> + 'static,
{
    let mut run = Run::new("test", model.sites());
    run.mediator("m", program);
    let ran = run.execute(|| model.batch(&[&PROMPT]).unwrap().logits());
    ran.unwrap().output.ok().unwrap()
}

/// The table in the module's documentation.
#[test]
fn every_point_has_the_documented_shape() {
    let model = grouped();
    let mut run = Run::new("read all", model.sites());
    // A forward pass draws nothing.
    let mut names = points(model.sites());
    names.retain(|name| !name.starts_with(DRAWS));
    let saved: Vec<_> = names.iter().map(|name| reader(&mut run, name)).collect();
    let logits = run
        .execute(|| model.batch(&[&PROMPT]).unwrap().logits())
        .unwrap()
        .output;
    let line = |(name, saved): (&String, &interloom_engine::Saved<Option<Value>>)| {
        format!(
            "{name} {}",
            saved.take().unwrap().expect("every point is passed")
        )
    };
    let all = names.iter().zip(&saved);
    let (operations, modules): (Vec<_>, Vec<_>) =
        all.partition(|(name, _)| name.contains(".source."));
    let lines: Vec<String> = modules.into_iter().map(line).collect();
    insta::assert_snapshot!(passed_operations(operations, "layers.0."), @r#"
    attn.source.projection_0.input f32[1, 7, 16]
    attn.source.projection_0.output f32[1, 7, 16]
    attn.source.projection_0.fn "projection"
    attn.source.reshape_0.input f32[1, 7, 16]
    attn.source.reshape_0.output f32[1, 7, 4, 4]
    attn.source.reshape_0.fn "reshape"
    attn.source.split_0.output f32[1, 7, 4, 4]
    attn.source.split_0.fn "split"
    attn.source.split_1.output f32[1, 7, 2, 4]
    attn.source.split_1.fn "split"
    attn.source.split_2.output f32[1, 7, 2, 4]
    attn.source.split_2.fn "split"
    attn.source.rotate_0.input f32[1, 7, 4, 4]
    attn.source.rotate_0.output f32[1, 7, 4, 4]
    attn.source.rotate_0.fn "rotate"
    attn.source.swap_dims_0.input f32[1, 7, 4, 4]
    attn.source.swap_dims_0.output f32[1, 4, 7, 4]
    attn.source.swap_dims_0.fn "swap_dims"
    attn.source.rotate_1.input f32[1, 7, 2, 4]
    attn.source.rotate_1.output f32[1, 7, 2, 4]
    attn.source.rotate_1.fn "rotate"
    attn.source.swap_dims_1.input f32[1, 7, 2, 4]
    attn.source.swap_dims_1.output f32[1, 2, 7, 4]
    attn.source.swap_dims_1.fn "swap_dims"
    attn.source.swap_dims_2.input f32[1, 7, 2, 4]
    attn.source.swap_dims_2.output f32[1, 2, 7, 4]
    attn.source.swap_dims_2.fn "swap_dims"
    attn.source.sqrt_0.input 4.0
    attn.source.sqrt_0.output 2.0
    attn.source.sqrt_0.fn "sqrt"
    attn.source.share_0.input f32[1, 2, 7, 4]
    attn.source.share_0.output f32[1, 4, 7, 4]
    attn.source.share_0.fn "share"
    attn.source.scores_0.input (f32[1, 4, 7, 4], f32[1, 4, 7, 4], 2.0)
    attn.source.scores_0.output f32[1, 4, 7, 7]
    attn.source.scores_0.fn "scores"
    attn.source.mask_fill_0.input (f32[1, 4, 7, 7], bool[1, 4, 7, 7], -inf)
    attn.source.mask_fill_0.output f32[1, 4, 7, 7]
    attn.source.mask_fill_0.fn "mask_fill"
    attn.source.softmax_0.input f32[1, 4, 7, 7]
    attn.source.softmax_0.output f32[1, 4, 7, 7]
    attn.source.softmax_0.fn "softmax"
    attn.source.share_1.input f32[1, 2, 7, 4]
    attn.source.share_1.output f32[1, 4, 7, 4]
    attn.source.share_1.fn "share"
    attn.source.matmul_0.input (f32[1, 4, 7, 7], f32[1, 4, 7, 4])
    attn.source.matmul_0.output f32[1, 4, 7, 4]
    attn.source.matmul_0.fn "matmul"
    attn.source.swap_dims_3.input f32[1, 4, 7, 4]
    attn.source.swap_dims_3.output f32[1, 7, 4, 4]
    attn.source.swap_dims_3.fn "swap_dims"
    attn.source.reshape_1.input f32[1, 7, 4, 4]
    attn.source.reshape_1.output f32[1, 7, 16]
    attn.source.reshape_1.fn "reshape"
    attn.source.self_output_0.input f32[1, 7, 16]
    attn.source.self_output_0.output f32[1, 7, 16]
    attn.source.self_output_0.fn "self.output"
    mlp.source.self_gate_0.input f32[1, 7, 16]
    mlp.source.self_gate_0.output f32[1, 7, 24]
    mlp.source.self_gate_0.fn "self.gate"
    mlp.source.self_up_0.input f32[1, 7, 16]
    mlp.source.self_up_0.output f32[1, 7, 24]
    mlp.source.self_up_0.fn "self.up"
    mlp.source.silu_0.input f32[1, 7, 24]
    mlp.source.silu_0.output f32[1, 7, 24]
    mlp.source.silu_0.fn "activation::silu"
    mlp.source.self_down_0.input f32[1, 7, 24]
    mlp.source.self_down_0.output f32[1, 7, 16]
    mlp.source.self_down_0.fn "self.down"
    "#);
    let of_block: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("layers.0."))
        .collect();
    insta::assert_snapshot!(of_block.join("\n"), @r"
    input f32[1, 7, 16]
    output f32[1, 7, 16]
    ln1.input f32[1, 7, 16]
    ln1.output f32[1, 7, 16]
    ln1.scale.output f32[1, 7, 1]
    ln1.normalized.output f32[1, 7, 16]
    attn.input f32[1, 7, 16]
    attn.output f32[1, 7, 16]
    attn.q.output f32[1, 7, 4, 4]
    attn.k.output f32[1, 7, 2, 4]
    attn.v.output f32[1, 7, 2, 4]
    attn.rot_q.output f32[1, 7, 4, 4]
    attn.rot_k.output f32[1, 7, 2, 4]
    attn.scores.output f32[1, 4, 7, 7]
    attn.pattern.output f32[1, 4, 7, 7]
    attn.z.output f32[1, 7, 4, 4]
    attn.result.output f32[1, 7, 4, 16]
    resid_mid.output f32[1, 7, 16]
    ln2.input f32[1, 7, 16]
    ln2.output f32[1, 7, 16]
    ln2.scale.output f32[1, 7, 1]
    ln2.normalized.output f32[1, 7, 16]
    mlp.input f32[1, 7, 16]
    mlp.output f32[1, 7, 16]
    mlp.pre.output f32[1, 7, 24]
    mlp.pre_linear.output f32[1, 7, 24]
    mlp.post.output f32[1, 7, 24]
    ");
    let second = lines
        .iter()
        .filter_map(|line| line.strip_prefix("layers.1."));
    assert_eq!(second.collect::<Vec<_>>(), of_block);
    let whole: Vec<&str> = lines
        .iter()
        .filter(|line| !line.starts_with("layers."))
        .map(String::as_str)
        .collect();
    insta::assert_snapshot!(whole.join("\n"), @r"
    input i32[1, 7]
    output f32[1, 7, 260]
    embed.input i32[1, 7]
    embed.output f32[1, 7, 16]
    norm.input f32[1, 7, 16]
    norm.output f32[1, 7, 16]
    norm.scale.output f32[1, 7, 1]
    norm.normalized.output f32[1, 7, 16]
    unembed.input f32[1, 7, 16]
    unembed.output f32[1, 7, 260]
    ");
    // Reading all of it changed nothing.
    assert_eq!(
        bits(logits.ok().unwrap()),
        bits(model.batch(&[&PROMPT]).unwrap().logits())
    );
}

#[test]
fn transformer_lens_names_stand_for_the_documented_points() {
    let model = grouped();
    let sites = model.sites();
    let aliases: Vec<String> = sites
        .aliases()
        .filter(|(alias, _)| !alias.starts_with("blocks.1."))
        .map(|(alias, point)| format!("{alias} = {}", sites.point_name(point)))
        .collect();
    insta::assert_snapshot!(aliases.join("\n"), @r"
    blocks.0.attn.hook_attn_scores = layers.0.attn.scores.output
    blocks.0.attn.hook_k = layers.0.attn.k.output
    blocks.0.attn.hook_pattern = layers.0.attn.pattern.output
    blocks.0.attn.hook_q = layers.0.attn.q.output
    blocks.0.attn.hook_result = layers.0.attn.result.output
    blocks.0.attn.hook_rot_k = layers.0.attn.rot_k.output
    blocks.0.attn.hook_rot_q = layers.0.attn.rot_q.output
    blocks.0.attn.hook_v = layers.0.attn.v.output
    blocks.0.attn.hook_z = layers.0.attn.z.output
    blocks.0.hook_attn_out = layers.0.attn.output
    blocks.0.hook_mlp_out = layers.0.mlp.output
    blocks.0.hook_resid_mid = layers.0.resid_mid.output
    blocks.0.hook_resid_post = layers.0.output
    blocks.0.hook_resid_pre = layers.0.input
    blocks.0.ln1.hook_normalized = layers.0.ln1.normalized.output
    blocks.0.ln1.hook_scale = layers.0.ln1.scale.output
    blocks.0.ln2.hook_normalized = layers.0.ln2.normalized.output
    blocks.0.ln2.hook_scale = layers.0.ln2.scale.output
    blocks.0.mlp.hook_post = layers.0.mlp.post.output
    blocks.0.mlp.hook_pre = layers.0.mlp.pre.output
    blocks.0.mlp.hook_pre_linear = layers.0.mlp.pre_linear.output
    hook_embed = embed.output
    ln_final.hook_normalized = norm.normalized.output
    ln_final.hook_scale = norm.scale.output
    ");
    let per_block = |block: &str| {
        sites
            .aliases()
            .filter(|(alias, _)| alias.starts_with(block))
            .count()
    };
    assert_eq!(per_block("blocks.0."), per_block("blocks.1."));

    // Every name reaches what its point does.
    let mut run = Run::new("aliases", sites);
    let pairs: Vec<_> = sites
        .aliases()
        .map(|(alias, point)| {
            let name = sites.point_name(point);
            (reader(&mut run, alias), reader_of(&mut run, &name, alias))
        })
        .collect();
    run.execute(|| model.batch(&[&PROMPT]).unwrap().logits())
        .unwrap();
    for (aliased, named) in pairs {
        let data = |saved: interloom_engine::Saved<Option<Value>>| match saved.take().unwrap() {
            Some(Value::Tensor(tensor)) => tensor.to_data(),
            other => panic!("a tensor, found {other:?}"),
        };
        assert_eq!(data(aliased), data(named));
    }
}

/// A reader of a point that several aliases may name.
fn reader_of(run: &mut Run, site: &str, reason: &str) -> interloom_engine::Saved<Option<Value>> {
    let site = site.to_owned();
    run.mediator(format!("{site} for {reason}"), move |cx| async move {
        Ok(Some(cx.value(&site).await?))
    })
    .into()
}

#[test]
fn patterns_are_causal_and_their_rows_sum_to_one() {
    for sizes in [GROUPED, WIDE, ONE_KEY] {
        let (model, _tiny) = load(sizes);
        let mut run = Run::new("patterns", model.sites());
        let saved = reader(&mut run, "layers.1.attn.pattern.output");
        run.execute(|| model.batch(&[&PROMPT]).unwrap().logits())
            .unwrap();
        let pattern: Tensor<4> = saved.take().unwrap().unwrap().tensor().unwrap();
        let length = PROMPT.len();
        assert_eq!(pattern.dims(), [1, sizes.heads, length, length]);
        for (row, keys) in floats(pattern).chunks(length).enumerate() {
            let query = row % length;
            let sum: f32 = keys.iter().sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum}");
            assert!(keys[..=query].iter().all(|&share| share > 0.0));
            assert!(keys[query + 1..].iter().all(|&share| share == 0.0));
        }
    }
}

#[test]
fn scores_can_be_replaced() {
    let model = grouped();
    let plain = model.batch(&[&PROMPT]).unwrap().logits();
    // Equal scores for all keys that may be seen: a uniform pattern.
    let mut run = Run::new("uniform", model.sites());
    run.mediator("m", |cx| async move {
        let scores = cx.output("layers.0.attn.scores").await?;
        cx.set_output("layers.0.attn.scores", scores.clone() * 0.0)
            .await?;
        cx.output("layers.0.attn.pattern").await.map(|_| ())
    });
    let pattern = reader(&mut run, "layers.0.attn.pattern.output");
    let changed = run
        .execute(|| model.batch(&[&PROMPT]).unwrap().logits())
        .unwrap()
        .output;
    assert!(distance(&floats(changed.ok().unwrap()), &floats(plain)) > 1e-3);
    let pattern: Tensor<4> = pattern.take().unwrap().unwrap().tensor().unwrap();
    for (row, keys) in floats(pattern).chunks(PROMPT.len()).enumerate() {
        let query = row % PROMPT.len();
        let share = 1.0 / (query + 1) as f32;
        let (seen, hidden) = keys.split_at(query + 1);
        assert!(seen.iter().all(|&found| (found - share).abs() < 1e-6));
        assert!(
            hidden.iter().all(|&found| found == 0.0),
            "the future stays hidden"
        );
    }
}

#[test]
fn a_head_can_be_ablated() {
    let model = grouped();
    let mut run = Run::new("ablate", model.sites());
    run.mediator("m", |cx| async move {
        let z: Tensor<4> = cx.output("blocks.1.attn.hook_z").await?.tensor()?;
        cx.set("blocks.1.attn.hook_z", z * 0.0).await
    });
    let attended = reader(&mut run, "layers.1.attn.output");
    let mid = reader(&mut run, "layers.1.resid_mid.output");
    let before = reader(&mut run, "layers.1.input");
    run.execute(|| model.batch(&[&PROMPT]).unwrap().logits())
        .unwrap();
    let [attended, mid, before] = [attended, mid, before]
        .map(|saved| -> Tensor<3> { saved.take().unwrap().unwrap().tensor().unwrap() });
    // Without biases nothing is added where all heads are silent.
    assert!(floats(attended).iter().all(|&value| value == 0.0));
    assert_eq!(floats(mid), floats(before));
}

/// What the heads add is what their layer puts out, and an edit of one is an edit of the output.
#[test]
fn the_result_of_a_head_is_its_part_of_the_output() {
    let model = grouped();
    let plain = model.batch(&[&PROMPT]).unwrap().logits();
    let run = |edited: bool| {
        let mut run = Run::new("results", model.sites());
        if edited {
            run.mediator("m", |cx| async move {
                let site = "blocks.1.attn.hook_result";
                let result: Tensor<4> = cx.value(site).await?.tensor()?;
                let zeros = result.clone().narrow(2, 0, 1) * 0.0;
                let rest = result.clone().narrow(2, 1, 3);
                cx.set(site, Tensor::cat(vec![zeros, rest], 2)).await
            });
        }
        let result = reader(&mut run, "layers.1.attn.result.output");
        let output = reader(&mut run, "layers.1.attn.output");
        let logits = run.execute(|| model.batch(&[&PROMPT]).unwrap().logits());
        let result: Tensor<4> = result.take().unwrap().unwrap().tensor().unwrap();
        let output: Tensor<3> = output.take().unwrap().unwrap().tensor().unwrap();
        (logits.unwrap().completed().unwrap(), result, output)
    };
    for edited in [false, true] {
        let (logits, result, output) = run(edited);
        let sum = result.sum_dim(2).reshape(output.dims());
        assert!(distance(&floats(sum), &floats(output)) < 1e-5);
        assert_eq!(
            bits(logits) == bits(plain.clone()),
            !edited,
            "reading changes no bit"
        );
    }
}

#[test]
fn the_residual_stream_can_be_replaced() {
    let model = grouped();
    let other: [u32; 7] = [9, 8, 7, 6, 5, 4, 3];
    let mut run = Run::new("clean", model.sites());
    let clean = run.mediator("m", |cx| async move {
        cx.value("blocks.1.hook_resid_post").await
    });
    let expected = run
        .execute(|| model.batch(&[&other]).unwrap().logits())
        .unwrap()
        .output
        .ok()
        .unwrap();
    let clean = clean.take().unwrap();
    let patched = logits_with(&model, |cx| async move {
        cx.set("blocks.1.hook_resid_post", clean).await
    });
    // After the last block nothing else is left of the prompt.
    assert_eq!(bits(patched), bits(expected));
    let halved = logits_with(&model, |cx| async move {
        let mlp = cx.output("layers.0.mlp").await?;
        cx.set_output("layers.0.mlp", mlp * 0.5).await
    });
    assert!(
        distance(
            &floats(halved),
            &floats(model.batch(&[&PROMPT]).unwrap().logits())
        ) > 1e-3
    );
}

#[test]
fn a_block_can_be_skipped() {
    let model = grouped();
    let mut run = Run::new("skip", model.sites());
    run.mediator("m", |cx| async move {
        let residual = cx.input("layers.0").await?;
        cx.skip("layers.0", residual).await
    });
    let inside = reader(&mut run, "layers.0.attn.z.output");
    let embedded = reader(&mut run, "embed.output");
    let next = reader(&mut run, "layers.1.input");
    run.execute(|| model.batch(&[&PROMPT]).unwrap().logits())
        .unwrap();
    assert!(inside.take().unwrap().is_none());
    let [embedded, next] = [embedded, next]
        .map(|saved| -> Tensor<3> { saved.take().unwrap().unwrap().tensor().unwrap() });
    assert_eq!(bits(embedded), bits(next));
}
