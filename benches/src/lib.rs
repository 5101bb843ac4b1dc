//! Criterion benches of the workspace; they are in `benches/benches`, each beside what it is
//! compared with. Here is what several of them make.

use interloom_models::files::{Safetensors, Weights};
use safetensors::tensor::{Dtype, TensorView};

/// The size of a Llama model with tied embeddings, whose weights are random.
#[derive(Clone, Copy, Debug)]
pub struct LlamaSize {
    /// How many blocks it has.
    pub layers: usize,
    /// The width of the residual stream.
    pub width: usize,
    /// The width of all keys of a position.
    pub keys: usize,
    /// The width inside of a feed-forward layer.
    pub hidden: usize,
    /// How many tokens it knows.
    pub vocabulary: usize,
}

impl LlamaSize {
    /// Returns what the hub and llama.cpp call each tensor, and its shape.
    pub fn tensors(self) -> Vec<(String, String, Vec<usize>)> {
        let Self {
            layers,
            width,
            keys,
            hidden,
            vocabulary,
        } = self;
        let of_block = |layer: usize| {
            [
                ("input_layernorm", "attn_norm", vec![width]),
                ("post_attention_layernorm", "ffn_norm", vec![width]),
                ("self_attn.q_proj", "attn_q", vec![width, width]),
                ("self_attn.k_proj", "attn_k", vec![keys, width]),
                ("self_attn.v_proj", "attn_v", vec![keys, width]),
                ("self_attn.o_proj", "attn_output", vec![width, width]),
                ("mlp.gate_proj", "ffn_gate", vec![hidden, width]),
                ("mlp.up_proj", "ffn_up", vec![hidden, width]),
                ("mlp.down_proj", "ffn_down", vec![width, hidden]),
            ]
            .map(|(hub, gguf, shape)| {
                let hub = format!("model.layers.{layer}.{hub}.weight");
                (hub, format!("blk.{layer}.{gguf}.weight"), shape)
            })
        };
        let around = [
            ("model.embed_tokens", "token_embd", vec![vocabulary, width]),
            ("model.norm", "output_norm", vec![width]),
        ]
        .map(|(hub, gguf, shape)| (format!("{hub}.weight"), format!("{gguf}.weight"), shape));
        around
            .into_iter()
            .chain((0..layers).flat_map(of_block))
            .collect()
    }

    /// Makes weights between -0.05 and 0.05, as a file has them.
    pub fn weights(self) -> Weights {
        let mut random = 1_u32;
        let mut number = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((random >> 8) as f32 / 16_777_216.0 - 0.5) * 0.1
        };
        let filled: Vec<(String, Vec<usize>, Vec<u8>)> = self
            .tensors()
            .into_iter()
            .map(|(name, _, shape)| {
                let count = shape.iter().product();
                let numbers = (0..count).flat_map(|_: usize| number().to_le_bytes());
                let bytes = numbers.collect();
                (name, shape, bytes)
            })
            .collect();
        let views = filled.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            (name.clone(), view.expect("as many bytes as the shape has"))
        });
        let file = safetensors::serialize(views, None).expect("a file");
        Weights::from_safetensors(Safetensors::from_bytes(file, "weights").expect("a file"))
    }
}
