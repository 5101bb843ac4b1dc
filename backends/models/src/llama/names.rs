//! The names of a GGUF file's tensors, and those that they have elsewhere.

use super::LlamaConfig;
use crate::files::RowOrder;

/// What Hugging Face calls a tensor of a GGUF file; unknown names stay, and are left over.
pub(super) fn hugging_face_name(stored: &str, config: &LlamaConfig) -> (String, RowOrder) {
    let top = match stored {
        "token_embd.weight" => Some("model.embed_tokens.weight"),
        "output_norm.weight" => Some("model.norm.weight"),
        "output.weight" => Some("lm_head.weight"),
        _ => None,
    };
    if let Some(top) = top {
        return (top.to_owned(), RowOrder::AsStored);
    }
    block_name(stored, config).unwrap_or_else(|| (stored.to_owned(), RowOrder::AsStored))
}

fn block_name(stored: &str, config: &LlamaConfig) -> Option<(String, RowOrder)> {
    let (block, rest) = stored.strip_prefix("blk.")?.split_once('.')?;
    let canonical = block
        .parse::<usize>()
        .is_ok_and(|number| number.to_string() == block);
    let (part, ending) = rest.split_once('.')?;
    if !canonical || !matches!(ending, "weight" | "bias") {
        return None;
    }
    let (module, rows) = match part {
        "attn_norm" => ("input_layernorm", RowOrder::AsStored),
        "attn_q" => (
            "self_attn.q_proj",
            RowOrder::Interleaved {
                heads: config.heads,
            },
        ),
        "attn_k" => (
            "self_attn.k_proj",
            RowOrder::Interleaved {
                heads: config.kv_heads,
            },
        ),
        "attn_v" => ("self_attn.v_proj", RowOrder::AsStored),
        "attn_output" => ("self_attn.o_proj", RowOrder::AsStored),
        "ffn_norm" => ("post_attention_layernorm", RowOrder::AsStored),
        "ffn_gate" => ("mlp.gate_proj", RowOrder::AsStored),
        "ffn_up" => ("mlp.up_proj", RowOrder::AsStored),
        "ffn_down" => ("mlp.down_proj", RowOrder::AsStored),
        _ => return None,
    };
    Some((format!("model.layers.{block}.{module}.{ending}"), rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::ModelFiles;
    use crate::files::test_files::tiny_model;

    #[test]
    fn gguf_names_become_those_of_hugging_face() {
        let (_, weights) = super::super::open(ModelFiles::Gguf(tiny_model().open())).unwrap();
        let names: Vec<&str> = weights.names().collect();
        insta::assert_snapshot!(names.join("\n"), @r"
        model.embed_tokens.weight
        model.layers.0.input_layernorm.weight
        model.layers.0.mlp.down_proj.weight
        model.layers.0.mlp.gate_proj.weight
        model.layers.0.mlp.up_proj.weight
        model.layers.0.post_attention_layernorm.weight
        model.layers.0.self_attn.k_proj.weight
        model.layers.0.self_attn.o_proj.weight
        model.layers.0.self_attn.q_proj.weight
        model.layers.0.self_attn.v_proj.weight
        model.norm.weight
        ");
        assert_eq!(
            weights.shape("model.layers.0.mlp.down_proj.weight"),
            Some(&[8, 12][..])
        );
    }

    #[test]
    fn other_names_stay() {
        let config = LlamaConfig::from_gguf(&tiny_model().open()).unwrap();
        let name = |stored: &str| hugging_face_name(stored, &config).0;
        assert_eq!(name("output.weight"), "lm_head.weight");
        assert_eq!(
            name("blk.11.attn_k.bias"),
            "model.layers.11.self_attn.k_proj.bias"
        );
        for stored in [
            "blk.01.attn_q.weight",
            "blk.0.attn_q.scale",
            "blk.x.attn_q.weight",
            "rope_freqs.weight",
        ] {
            assert_eq!(name(stored), stored);
        }
    }
}
