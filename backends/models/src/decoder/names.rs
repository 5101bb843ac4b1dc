//! What families call their weights.

/// What a family calls its weights, without the endings `.weight` and `.bias`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    /// What can be in front of all names but that of the output layer; the first is that of a
    /// model with its output layer.
    pub(crate) stems: &'static [&'static str],
    pub(crate) embed: &'static str,
    pub(crate) project_in: &'static str,
    pub(crate) type_embed: &'static str,
    pub(crate) embed_norm: &'static str,
    pub(crate) pos_embed: &'static str,
    /// The layer in front of the output layer, and its norm; without what is in front of others.
    pub(crate) transform: [&'static str; 2],
    /// The bias of the output layer, with its ending.
    pub(crate) unembed_bias: &'static str,
    /// What is in front of a block's number.
    pub(crate) blocks: &'static str,
    /// What is between the number of a group of blocks that share their weights, and that of a
    /// block in it.
    pub(crate) inner_blocks: &'static str,
    pub(crate) norm: &'static str,
    pub(crate) project_out: &'static str,
    pub(crate) unembed: &'static str,
    pub(crate) ln1: &'static str,
    pub(crate) ln1_post: &'static str,
    pub(crate) ln2: &'static str,
    pub(crate) ln2_post: &'static str,
    pub(crate) qkv: QkvNames,
    pub(crate) q_norm: &'static str,
    pub(crate) k_norm: &'static str,
    pub(crate) output: &'static str,
    pub(crate) mlp: MlpNames,
    pub(crate) router: &'static str,
    /// What is in front of an expert's number.
    pub(crate) experts: &'static str,
    pub(crate) expert: [&'static str; 3],
    pub(crate) shared_gate: &'static str,
    pub(crate) shared: [&'static str; 3],
    /// Whether the weights of linear layers in blocks are `[in, out]`.
    pub(crate) is_transposed: bool,
    /// What older files of the family have in each block, and is no weight.
    pub(crate) left: &'static [&'static str],
    /// What files of the family have outside of blocks, and this model does not use.
    pub(crate) left_whole: &'static [&'static str],
}

/// The linear layers of queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub(crate) enum QkvNames {
    Split([&'static str; 3]),
    Fused(&'static str, Fused),
}

/// The order of rows in a layer that is queries, keys and values at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fused {
    /// All queries, all keys, all values.
    Whole,
    /// For each key and value head its queries, its key and its value.
    Grouped,
}

/// The linear layers of a feed-forward layer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MlpNames {
    Gated([&'static str; 3]),
    /// Gate and input in one, in this order, and the output.
    FusedGate([&'static str; 2]),
    Plain([&'static str; 2]),
}

/// The names of llama, which most families have made their own.
pub(crate) const LLAMA_NAMES: Names = Names {
    stems: &["model.", ""],
    embed: "embed_tokens",
    project_in: "project_in",
    type_embed: "type_embed",
    embed_norm: "embed_norm",
    pos_embed: "embed_positions",
    transform: ["transform", "transform_norm"],
    unembed_bias: "lm_head.bias",
    blocks: "layers",
    inner_blocks: "",
    norm: "norm",
    project_out: "project_out",
    unembed: "lm_head",
    ln1: "input_layernorm",
    ln1_post: "post_attention_layernorm",
    ln2: "post_attention_layernorm",
    ln2_post: "post_feedforward_layernorm",
    qkv: QkvNames::Split(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    q_norm: "self_attn.q_norm",
    k_norm: "self_attn.k_norm",
    output: "self_attn.o_proj",
    mlp: MlpNames::Gated(["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]),
    router: "mlp.gate",
    experts: "mlp.experts",
    expert: ["gate_proj", "up_proj", "down_proj"],
    shared_gate: "mlp.shared_expert_gate",
    shared: [
        "mlp.shared_expert.gate_proj",
        "mlp.shared_expert.up_proj",
        "mlp.shared_expert.down_proj",
    ],
    is_transposed: false,
    left: &[],
    left_whole: &[],
};
