//! What the hub calls the tensors of a GGUF file.

use super::Storage;
use super::rotary::{DIVISORS, SHORT_AND_LONG};
use crate::decoder::{DecoderConfig, Fused, LLAMA_NAMES, MlpNames, Names, QkvNames};
use crate::files::{Gguf, GgufLayout};

/// Returns what the tensors of a file are called: as the hub does, but that queries, keys and
/// values are fused or split as they are in the file, and that no matrix is transposed.
pub(super) fn of_file(gguf: &Gguf, hub: Names) -> Names {
    let is_fused = gguf.tensors().contains_key("blk.0.attn_qkv.weight");
    let qkv = match (is_fused, hub.qkv) {
        (true, QkvNames::Fused(name, _)) => QkvNames::Fused(name, Fused::Whole),
        (true, QkvNames::Split(_)) => QkvNames::Fused("self_attn.qkv_proj", Fused::Whole),
        (false, QkvNames::Fused(..)) => LLAMA_NAMES.qkv,
        (false, split @ QkvNames::Split(_)) => split,
    };
    Names {
        qkv,
        is_transposed: false,
        // They are part of the configuration.
        left_whole: &[DIVISORS, SHORT_AND_LONG[0], SHORT_AND_LONG[1]],
        ..hub
    }
}

/// The tensors of a file.
pub(super) struct Tensors<'a> {
    names: &'a Names,
    config: &'a DecoderConfig,
    storage: Storage,
    /// Whether the norm in front of the attention of a parallel block is the second in the file.
    has_second_norm: bool,
}

impl<'a> Tensors<'a> {
    pub(super) fn new(
        gguf: &Gguf,
        names: &'a Names,
        config: &'a DecoderConfig,
        storage: Storage,
    ) -> Self {
        Self {
            names,
            config,
            storage,
            has_second_norm: gguf.tensors().contains_key("blk.0.attn_norm_2.weight"),
        }
    }

    /// Returns what the hub calls a tensor, and how it is stored; an unknown name stays, and is
    /// left over.
    pub(super) fn hub_name(&self, stored: &str) -> (String, GgufLayout) {
        let name = self.top(stored).or_else(|| self.in_block(stored));
        name.unwrap_or_else(|| (stored.to_owned(), GgufLayout::AsIs))
    }

    fn top(&self, stored: &str) -> Option<(String, GgufLayout)> {
        let names = self.names;
        let (part, ending) = stored.split_once('.')?;
        let stem = names.stems.first().copied().unwrap_or_default();
        let name = match (part, ending) {
            (_, ending) if !matches!(ending, "weight" | "bias") => return None,
            ("output", "weight") => format!("{}.weight", names.unembed),
            ("output", _) => names.unembed_bias.to_owned(),
            ("token_embd", _) => format!("{stem}{}.{ending}", names.embed),
            ("token_embd_norm", _) => format!("{stem}{}.{ending}", names.embed_norm),
            ("position_embd", _) => format!("{stem}{}.{ending}", names.pos_embed),
            ("output_norm", _) => format!("{stem}{}.{ending}", names.norm),
            _ => return None,
        };
        Some((name, self.gain(part, ending)))
    }

    fn in_block(&self, stored: &str) -> Option<(String, GgufLayout)> {
        let (block, rest) = stored.strip_prefix("blk.")?.split_once('.')?;
        is_number(block).then_some(())?;
        let (part, ending) = rest.split_once('.')?;
        let stem = self.names.stems.first().copied().unwrap_or_default();
        let front = format!("{stem}{}.{block}", self.names.blocks);
        // Older files have each expert by itself.
        if let Some((number, "weight")) = ending.split_once('.') {
            let module = self.expert(part)?;
            let number = is_number(number).then_some(number)?;
            let experts = self.names.experts;
            let name = format!("{front}.{experts}.{number}.{module}.weight");
            return Some((name, GgufLayout::AsIs));
        }
        if !matches!(ending, "weight" | "bias") {
            return None;
        }
        if let Some(module) = part
            .strip_suffix("_exps")
            .and_then(|part| self.expert(part))
        {
            let name = format!("{front}.{}.*.{module}.{ending}", self.names.experts);
            return Some((name, GgufLayout::Stacked));
        }
        let (module, stored) = self.module(part, ending)?;
        Some((format!("{front}.{module}.{ending}"), stored))
    }

    fn module(&self, part: &str, ending: &str) -> Option<(&'static str, GgufLayout)> {
        let names = self.names;
        let attention = &self.config.attention;
        let qkv = |number: usize| match names.qkv {
            QkvNames::Split(split) => Some(split[number]),
            QkvNames::Fused(..) => None,
        };
        let mlp = |number: usize| match names.mlp {
            MlpNames::Gated(names) => Some(names[number]),
            // Without a gate, or with the gate in the second.
            MlpNames::Plain(names) | MlpNames::FusedGate(names) => {
                number.checked_sub(1).map(|number| names[number])
            }
        };
        let rows = |heads: usize| match self.storage {
            Storage::Interleaved => GgufLayout::Interleaved { heads },
            Storage::Plain | Storage::GainsPlusOne => GgufLayout::AsIs,
        };
        let as_is = |module: Option<&'static str>| Some((module?, GgufLayout::AsIs));
        let norm = |module: &'static str| Some((module, self.gain(part, ending)));
        match part {
            "attn_norm" if self.has_second_norm => norm(names.ln2),
            "attn_norm" | "attn_norm_2" => norm(names.ln1),
            "ffn_norm" => norm(names.ln2),
            "post_attention_norm" => norm(names.ln1_post),
            "post_ffw_norm" => norm(names.ln2_post),
            "attn_q_norm" => norm(names.q_norm),
            "attn_k_norm" => norm(names.k_norm),
            "attn_q" => Some((qkv(0)?, rows(attention.heads))),
            "attn_k" => Some((qkv(1)?, rows(attention.kv_heads))),
            "attn_v" => as_is(qkv(2)),
            "attn_qkv" => match (names.qkv, self.storage) {
                (QkvNames::Fused(name, _), Storage::Plain) => as_is(Some(name)),
                _ => None,
            },
            "attn_output" => as_is(Some(names.output)),
            "ffn_gate" => as_is(mlp(0)),
            "ffn_up" => as_is(mlp(1)),
            "ffn_down" => as_is(mlp(2)),
            "ffn_gate_inp" => as_is(Some(names.router)),
            "ffn_gate_inp_shexp" => as_is(Some(names.shared_gate)),
            "ffn_gate_shexp" => as_is(Some(names.shared[0])),
            "ffn_up_shexp" => as_is(Some(names.shared[1])),
            "ffn_down_shexp" => as_is(Some(names.shared[2])),
            _ => None,
        }
    }

    fn expert(&self, part: &str) -> Option<&'static str> {
        let [gate, up, down] = self.names.expert;
        match part {
            "ffn_gate" => Some(gate),
            "ffn_up" => Some(up),
            "ffn_down" => Some(down),
            _ => None,
        }
    }

    fn gain(&self, part: &str, ending: &str) -> GgufLayout {
        let is_gain = part.ends_with("_norm") && ending == "weight";
        if is_gain && self.storage == Storage::GainsPlusOne {
            GgufLayout::PlusOne
        } else {
            GgufLayout::AsIs
        }
    }
}

/// Whether a text is a number as the converter writes it.
fn is_number(text: &str) -> bool {
    let number = text.parse::<usize>();
    number.is_ok_and(|number| number.to_string() == text)
}
