//! The names that TransformerLens has for a model's points.

use interloom_backends::Sites;

use super::config::Norms;

const WHOLE: [(&str, &str); 4] = [
    ("hook_embed", "embed.output"),
    ("hook_pos_embed", "pos_embed.output"),
    ("ln_final.hook_scale", "norm.scale.output"),
    ("ln_final.hook_normalized", "norm.normalized.output"),
];

/// Those of a model whose tokens have types.
const WHOLE_TYPED: [(&str, &str); 6] = [
    ("embed.hook_embed", "embed.output"),
    ("embed.hook_pos_embed", "pos_embed.output"),
    ("embed.hook_token_type_embed", "type_embed.output"),
    ("embed.ln.hook_scale", "embed_norm.scale.output"),
    ("embed.ln.hook_normalized", "embed_norm.normalized.output"),
    ("hook_full_embed", "layers.0.input"),
];

const STREAM: [(&str, &str); 3] = [
    ("hook_resid_pre", "input"),
    ("hook_resid_mid", "resid_mid.output"),
    ("hook_resid_post", "output"),
];

/// Where norms are on the stream, TransformerLens has it in front of them.
const STREAM_ON_SUM: [(&str, &str); 4] = [
    ("hook_resid_pre", "input"),
    ("hook_resid_mid", "ln1.input"),
    ("hook_resid_post", "ln2.input"),
    ("hook_normalized_resid_post", "output"),
];

const IN_BLOCK: [(&str, &str); 20] = [
    ("ln1.hook_scale", "ln1.scale.output"),
    ("ln1.hook_normalized", "ln1.normalized.output"),
    ("ln1_post.hook_scale", "ln1_post.scale.output"),
    ("ln1_post.hook_normalized", "ln1_post.normalized.output"),
    ("ln2.hook_scale", "ln2.scale.output"),
    ("ln2.hook_normalized", "ln2.normalized.output"),
    ("ln2_post.hook_scale", "ln2_post.scale.output"),
    ("ln2_post.hook_normalized", "ln2_post.normalized.output"),
    ("attn.hook_q", "attn.q.output"),
    ("attn.hook_k", "attn.k.output"),
    ("attn.hook_v", "attn.v.output"),
    ("attn.hook_rot_q", "attn.rot_q.output"),
    ("attn.hook_rot_k", "attn.rot_k.output"),
    ("attn.hook_attn_scores", "attn.scores.output"),
    ("attn.hook_pattern", "attn.pattern.output"),
    ("attn.hook_z", "attn.z.output"),
    ("attn.hook_result", "attn.result.output"),
    ("mlp.hook_pre", "mlp.pre.output"),
    ("mlp.hook_pre_linear", "mlp.pre_linear.output"),
    ("mlp.hook_post", "mlp.post.output"),
];

/// What is added to the stream: what comes out of a layer, or of the norm behind it.
const ADDED: [(&str, [&str; 2]); 2] = [
    ("hook_attn_out", ["ln1_post.output", "attn.output"]),
    ("hook_mlp_out", ["ln2_post.output", "mlp.output"]),
];

/// In experts TransformerLens calls these otherwise than in a feed-forward layer.
const IN_EXPERT: [(&str, &str); 3] = [
    ("hook_gate", "pre.output"),
    ("hook_pre", "pre_linear.output"),
    ("hook_post", "post.output"),
];

/// Returns the names with the points that they name, of those points that a model with `layers`
/// blocks and `experts` experts in each has.
pub(super) fn aliases(
    sites: &Sites,
    layers: usize,
    experts: usize,
    norms: Norms,
) -> Vec<(String, String)> {
    let stream: &[_] = match norms {
        Norms::OnSum => &STREAM_ON_SUM,
        Norms::Before | Norms::Behind | Norms::Around => &STREAM,
    };
    let is_typed = sites.point("type_embed.output").is_some();
    let typed: &[_] = if is_typed { &WHOLE_TYPED } else { &[] };
    let has = |point: &String| sites.point(point).is_some();
    let mut all: Vec<(String, String)> = Vec::new();
    let mut add = |alias: String, mut points: Vec<String>| {
        points.retain(|point| has(point));
        all.extend(points.into_iter().next().map(|point| (alias, point)));
    };
    for (alias, point) in WHOLE.iter().chain(typed) {
        add((*alias).to_owned(), vec![(*point).to_owned()]);
    }
    for layer in 0..layers {
        let alias = |alias: &str| format!("blocks.{layer}.{alias}");
        let inside = |point: &str| format!("layers.{layer}.{point}");
        for (name, point) in stream.iter().chain(&IN_BLOCK) {
            add(alias(name), vec![inside(point)]);
        }
        for (name, points) in ADDED {
            add(alias(name), points.map(inside).to_vec());
        }
        for expert in 0..experts {
            for (name, point) in IN_EXPERT {
                let of_expert = |name: &str| format!("mlp.experts.{expert}.{name}");
                add(alias(&of_expert(name)), vec![inside(&of_expert(point))]);
            }
        }
    }
    all
}
