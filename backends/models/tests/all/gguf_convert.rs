//! Conversion of a Hugging Face folder to a GGUF file, by the rules of llama.cpp's
//! `convert_hf_to_gguf.py`.
//!
//! Written from what the converter does, not from what the reader undoes: each family's keys, names
//! of tensors, and changes of their values.

use std::collections::BTreeMap;

use interloom_models::files::gguf::{GgufArray, GgufValue};
use serde_json::Value as Json;

/// A tensor: its shape and its values.
pub(crate) type Tensor = (Vec<usize>, Vec<f32>);

/// A GGUF file that is being written; all tensors are F32.
#[derive(Default)]
pub(crate) struct GgufWriter {
    keys: Vec<(String, GgufValue)>,
    tensors: Vec<(String, Vec<usize>, u32, Vec<u8>)>,
}

impl GgufWriter {
    pub(crate) fn set(&mut self, key: &str, value: GgufValue) {
        self.keys.retain(|(other, _)| other != key);
        self.keys.push((key.to_owned(), value));
    }

    pub(crate) fn add(&mut self, name: &str, shape: &[usize], kind: u32, data: Vec<u8>) {
        let tensor = (name.to_owned(), shape.to_vec(), kind, data);
        self.tensors.push(tensor);
    }

    fn add_f32(&mut self, name: &str, (shape, values): &Tensor) {
        let data = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.add(name, shape, 0, data);
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut header = [&b"GGUF"[..], &3_u32.to_le_bytes()].concat();
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            write_text(&mut header, key);
            write_value(&mut header, value);
        }
        let mut data = Vec::new();
        for (name, shape, kind, bytes) in &self.tensors {
            data.resize(data.len().next_multiple_of(32), 0);
            write_text(&mut header, name);
            header.extend((shape.len() as u32).to_le_bytes());
            let extents = shape.iter().rev().map(|&extent| extent as u64);
            header.extend(extents.flat_map(u64::to_le_bytes));
            header.extend(kind.to_le_bytes());
            header.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
        }
        header.resize(header.len().next_multiple_of(32), 0);
        [header, data].concat()
    }
}

fn write_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn write_value(bytes: &mut Vec<u8>, value: &GgufValue) {
    let mut put = |kind: u32, content: &[u8]| {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(content);
    };
    match value {
        GgufValue::U32(value) => put(4, &value.to_le_bytes()),
        GgufValue::F32(value) => put(6, &value.to_le_bytes()),
        GgufValue::Bool(value) => put(7, &[u8::from(*value)]),
        GgufValue::String(text) => {
            put(8, &[]);
            write_text(bytes, text);
        }
        GgufValue::Array(array) => {
            let (kind, content): (u32, Vec<u8>) = match array {
                GgufArray::I32(values) => {
                    (5, values.iter().flat_map(|v| v.to_le_bytes()).collect())
                }
                GgufArray::F32(values) => {
                    (6, values.iter().flat_map(|v| v.to_le_bytes()).collect())
                }
                GgufArray::String(texts) => {
                    let mut content = Vec::new();
                    texts.iter().for_each(|text| write_text(&mut content, text));
                    (8, content)
                }
                other => panic!("{other:?}"),
            };
            put(9, &kind.to_le_bytes());
            bytes.extend((array.len() as u64).to_le_bytes());
            bytes.extend(content);
        }
        other => panic!("{other:?}"),
    }
}

/// What the converter does not write, and takes for granted: a configuration that says it.
pub(crate) fn as_converted(mut config: Json) -> Json {
    match config["model_type"].as_str().unwrap() {
        // The window is left out.
        "mistral" | "starcoder2" => config["sliding_window"] = Json::Null,
        // What scores are divided by is that of most of the models.
        "gemma2" | "gemma3_text" => config["query_pre_attn_scalar"] = config["head_dim"].clone(),
        _ => {}
    }
    config
}

/// Returns the name of a family's architecture, if the converter knows it.
pub(crate) fn architecture(model_type: &str) -> Option<&'static str> {
    Some(match model_type {
        "llama" | "mistral" | "mixtral" => "llama",
        "qwen2" => "qwen2",
        "qwen2_moe" => "qwen2moe",
        "qwen3" => "qwen3",
        "gemma" => "gemma",
        "gemma2" => "gemma2",
        "gemma3_text" => "gemma3",
        "phi" => "phi2",
        "phi3" => "phi3",
        "olmo" => "olmo",
        "olmo2" => "olmo2",
        "stablelm" => "stablelm",
        "starcoder2" => "starcoder2",
        "granite" => "granite",
        "smollm3" => "smollm3",
        "cohere" => "command-r",
        "falcon" => "falcon",
        "gpt2" => "gpt2",
        "gpt_neox" => "gptneox",
        "bloom" => "bloom",
        "mamba" => "mamba",
        _ => return None,
    })
}

/// Converts a model; nothing if the converter does not know its family.
pub(crate) fn converted(config: &Json, tensors: &BTreeMap<String, Tensor>) -> Option<GgufWriter> {
    let family = config["model_type"].as_str().unwrap();
    let conversion = Conversion {
        architecture: architecture(family)?,
        family,
        config,
    };
    let mut writer = GgufWriter::default();
    conversion.keys(&mut writer);
    conversion.tensors(tensors, &mut writer);
    Some(writer)
}

struct Conversion<'c> {
    architecture: &'static str,
    family: &'c str,
    config: &'c Json,
}

impl Conversion<'_> {
    fn find(&self, names: &[&str]) -> Option<&Json> {
        let found = names.iter().map(|name| &self.config[*name]);
        found.into_iter().find(|value| !value.is_null())
    }

    fn size(&self, names: &[&str]) -> Option<usize> {
        self.find(names)
            .map(|value| value.as_u64().unwrap() as usize)
    }

    fn heads(&self) -> usize {
        self.size(&["num_attention_heads", "n_head"]).unwrap()
    }

    fn kv_heads(&self) -> Option<usize> {
        match self.family {
            "falcon" if self.config["multi_query"] == true => Some(1),
            "falcon" => self.size(&["num_kv_heads"]),
            _ => self.size(&["num_key_value_heads"]),
        }
    }

    fn width(&self) -> usize {
        self.size(&["hidden_size", "n_embd"]).unwrap()
    }

    fn head_width(&self) -> usize {
        let share = || self.width() / self.heads();
        self.size(&["head_dim"]).unwrap_or_else(share)
    }

    /// The parameters of rotary positions, of blocks without a window.
    fn rotary(&self) -> &Json {
        let all = &self.config["rope_parameters"];
        all.get("full_attention").unwrap_or(all)
    }

    fn keys(&self, writer: &mut GgufWriter) {
        let text = GgufValue::String(self.architecture.to_owned());
        writer.set("general.architecture", text);
        let mut put = |key: &str, value: Option<GgufValue>| {
            if let Some(value) = value {
                writer.set(&format!("{}.{key}", self.architecture), value);
            }
        };
        let whole = |size: usize| GgufValue::U32(size as u32);
        let number = |value: &Json| GgufValue::F32(value.as_f64().unwrap() as f32);
        if self.family == "mamba" {
            put("context_length", Some(whole(1 << 20)));
            put("feed_forward_length", Some(whole(0)));
            put("attention.head_count", Some(whole(0)));
            put("ssm.dt_b_c_rms", Some(GgufValue::Bool(false)));
            for (key, name) in [
                ("ssm.conv_kernel", "conv_kernel"),
                ("ssm.inner_size", "intermediate_size"),
                ("ssm.state_size", "state_size"),
                ("ssm.time_step_rank", "time_step_rank"),
            ] {
                put(key, self.size(&[name]).map(whole));
            }
            let epsilon = self.find(&["layer_norm_epsilon"]).map(number);
            put("attention.layer_norm_rms_epsilon", epsilon);
        } else {
            let positions = ["max_position_embeddings", "n_positions", "seq_length"];
            let positions = self.size(&positions).unwrap_or(self.width());
            put("context_length", Some(whole(positions)));
            let hidden = ["intermediate_size", "n_inner", "ffn_hidden_size"];
            let hidden = self.size(&hidden).unwrap_or(4 * self.width());
            put("feed_forward_length", Some(whole(hidden)));
            put("attention.head_count", Some(whole(self.heads())));
            put("attention.head_count_kv", self.kv_heads().map(whole));
            let epsilon = self.find(&["rms_norm_eps"]).map(number);
            put("attention.layer_norm_rms_epsilon", epsilon);
            let epsilons = ["layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"];
            put(
                "attention.layer_norm_epsilon",
                self.find(&epsilons).map(number),
            );
            let head = self.size(&["head_dim"]).map(whole);
            put("attention.key_length", head.clone());
            put("attention.value_length", head);
            put(
                "expert_count",
                self.size(&["num_local_experts", "num_experts"]).map(whole),
            );
            put(
                "expert_used_count",
                self.size(&["num_experts_per_tok"]).map(whole),
            );
        }
        put("embedding_length", Some(whole(self.width())));
        let layers = self.size(&["num_hidden_layers", "n_layer"]).unwrap();
        put("block_count", Some(whole(layers)));
        self.keys_of_rotary(&mut put);
        self.keys_of_family(&mut put);
    }

    fn keys_of_rotary(&self, put: &mut impl FnMut(&str, Option<GgufValue>)) {
        let rotary = self.rotary();
        let number = |value: &Json| value.as_f64().map(|number| GgufValue::F32(number as f32));
        // Where the converter does not say the base, that of the fixtures is llama.cpp's.
        let is_said = !matches!(
            self.family,
            "gpt_neox" | "falcon" | "phi" | "gemma" | "gemma2"
        );
        if is_said {
            put("rope.freq_base", number(&rotary["rope_theta"]));
        }
        let local = &self.config["rope_parameters"]["sliding_attention"]["rope_theta"];
        put("rope.freq_base_swa", number(local));
        if rotary["rope_type"] == "linear" {
            put(
                "rope.scaling.type",
                Some(GgufValue::String("linear".to_owned())),
            );
            put("rope.scaling.factor", number(&rotary["factor"]));
        }
        let part = rotary["partial_rotary_factor"].as_f64();
        let is_whole = matches!(
            self.family,
            "llama" | "mistral" | "mixtral" | "granite" | "smollm3"
        );
        let width = part
            .or(is_whole.then_some(1.0))
            .map(|part| part * self.head_width() as f64);
        put(
            "rope.dimension_count",
            width.map(|width| GgufValue::U32(width as u32)),
        );
    }

    fn keys_of_family(&self, put: &mut impl FnMut(&str, Option<GgufValue>)) {
        let mut take = |key: &str, name: &str| {
            let value = match &self.config[name] {
                Json::Bool(flag) => Some(GgufValue::Bool(*flag)),
                Json::Number(number) => match number.as_u64() {
                    Some(size) => Some(GgufValue::U32(size as u32)),
                    None => Some(GgufValue::F32(number.as_f64().unwrap() as f32)),
                },
                _ => None,
            };
            put(key, value);
        };
        match self.family {
            "gpt_neox" | "stablelm" => take("use_parallel_residual", "use_parallel_residual"),
            "gemma2" | "gemma3_text" => {
                take("attn_logit_softcapping", "attn_logit_softcapping");
                take("final_logit_softcapping", "final_logit_softcapping");
                take("attention.sliding_window", "sliding_window");
            }
            "phi3" => {
                take("attention.sliding_window", "sliding_window");
                let original = "original_max_position_embeddings";
                take("rope.scaling.original_context_length", original);
            }
            "olmo" => take("attention.clamp_kqv", "clip_qkv"),
            "granite" => {
                take("attention.scale", "attention_multiplier");
                take("embedding_scale", "embedding_multiplier");
                take("residual_scale", "residual_multiplier");
                take("logit_scale", "logits_scaling");
            }
            "cohere" => take("logit_scale", "logit_scale"),
            "qwen2_moe" => {
                take("expert_feed_forward_length", "moe_intermediate_size");
                take(
                    "expert_shared_feed_forward_length",
                    "shared_expert_intermediate_size",
                );
            }
            "llama" | "mistral" | "mixtral" => take("vocab_size", "vocab_size"),
            _ => {}
        }
        if let ("phi3", Some(_)) = (self.family, self.rotary().get("long_factor")) {
            let [most, original] = [
                "max_position_embeddings",
                "original_max_position_embeddings",
            ]
            .map(|name| self.config[name].as_f64().unwrap());
            let factor = (1.0 + (most / original).ln() / original.ln()).sqrt();
            put(
                "rope.scaling.attn_factor",
                Some(GgufValue::F32(factor as f32)),
            );
        }
        match self.family {
            "olmo" => put("attention.layer_norm_epsilon", Some(GgufValue::F32(1e-5))),
            "cohere" => put(
                "rope.scaling.type",
                Some(GgufValue::String("none".to_owned())),
            ),
            "falcon" => put(
                "tensor_data_layout",
                Some(GgufValue::String("jploski".to_owned())),
            ),
            _ => {}
        }
    }

    fn tensors(&self, tensors: &BTreeMap<String, Tensor>, writer: &mut GgufWriter) {
        let mut stacks: BTreeMap<String, BTreeMap<usize, &Tensor>> = BTreeMap::new();
        for (name, tensor) in tensors {
            if let Some((stack, number)) = self.stacked(name) {
                stacks.entry(stack).or_default().insert(number, tensor);
            } else {
                writer.add_f32(&self.name(name), &self.changed(name, tensor.clone()));
            }
        }
        for (name, parts) in stacks {
            let first = &parts[&0].0;
            let shape = [&[parts.len()][..], first].concat();
            let values = parts.values().flat_map(|(_, values)| values.clone());
            writer.add_f32(&name, &(shape, values.collect()));
        }
        let lists = ["long", "short"].map(|length| {
            let factors = self.rotary()[format!("{length}_factor")].as_array()?.iter();
            let factors: Vec<f32> = factors.map(|x| x.as_f64().unwrap() as f32).collect();
            Some((format!("rope_factors_{length}.weight"), factors))
        });
        let divisors = (self.rotary()["rope_type"] == "llama3")
            .then(|| ("rope_freqs.weight".to_owned(), self.divisors()));
        for (name, factors) in lists.into_iter().flatten().chain(divisors) {
            writer.add_f32(&name, &(vec![factors.len()], factors));
        }
    }

    /// What each frequency of Llama 3.1 is divided by.
    fn divisors(&self) -> Vec<f32> {
        let rotary = self.rotary();
        let number = |key: &str| rotary[key].as_f64().unwrap();
        let width = self.head_width();
        let original = number("original_max_position_embeddings");
        let [low, high] = [number("low_freq_factor"), number("high_freq_factor")];
        let factor = number("factor");
        let divisor = |pair: usize| {
            let frequency = number("rope_theta").powf(-2.0 * pair as f64 / width as f64);
            let length = std::f64::consts::TAU / frequency;
            if length < original / high {
                1.0
            } else if length > original / low {
                factor
            } else {
                let smooth = (original / length - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        (0..width / 2).map(|pair| divisor(pair) as f32).collect()
    }

    /// The tensor that one of an expert, or the norm of a head, becomes a part of, and its number.
    fn stacked(&self, name: &str) -> Option<(String, usize)> {
        if let Some((front, rest)) = name.split_once(".norms.") {
            let number = rest.strip_suffix(".weight")?.parse().unwrap();
            return Some((self.name(&format!("{front}.weight")), number));
        }
        let (front, rest) = name.split_once(".experts.")?;
        let (number, matrix) = rest.split_once('.')?;
        let block = front.split('.').nth(2)?;
        let part = match matrix {
            "gate_proj.weight" | "w1.weight" => "gate",
            "up_proj.weight" | "w3.weight" => "up",
            "down_proj.weight" | "w2.weight" => "down",
            other => panic!("{other}"),
        };
        let stack = format!("blk.{block}.ffn_{part}_exps.weight");
        Some((stack, number.parse().unwrap()))
    }

    fn name(&self, name: &str) -> String {
        let (module, ending) = match name.rsplit_once('.') {
            Some((module, ending @ ("weight" | "bias"))) => (module, format!(".{ending}")),
            _ => (name, String::new()),
        };
        let block = [".layers.", ".h."].into_iter().find_map(|between| {
            let (_, rest) = module.split_once(between)?;
            rest.split_once('.')
        });
        match block {
            Some((number, module)) => format!("blk.{number}.{}{ending}", self.in_block(module)),
            None => format!("{}{ending}", top(module)),
        }
    }

    fn in_block(&self, module: &str) -> &'static str {
        let has_norms_around = matches!(self.family, "gemma2" | "gemma3_text" | "olmo2");
        match module {
            "input_layernorm" | "ln_1" | "norm" | "ln_mlp" => "attn_norm",
            "ln_attn" => "attn_norm_2",
            "post_attention_layernorm" if has_norms_around => "post_attention_norm",
            "post_attention_layernorm" | "pre_feedforward_layernorm" | "ln_2" => "ffn_norm",
            "post_feedforward_layernorm" => "post_ffw_norm",
            "self_attn.q_proj" => "attn_q",
            "self_attn.k_proj" => "attn_k",
            "self_attn.v_proj" => "attn_v",
            "self_attn.q_norm" | "self_attn.q_layernorm" => "attn_q_norm",
            "self_attn.k_norm" | "self_attn.k_layernorm" => "attn_k_norm",
            "attn.c_attn"
            | "self_attn.qkv_proj"
            | "attention.query_key_value"
            | "self_attention.query_key_value" => "attn_qkv",
            "self_attn.o_proj"
            | "self_attn.dense"
            | "attn.c_proj"
            | "attention.dense"
            | "self_attention.dense" => "attn_output",
            "mlp.gate_proj" => "ffn_gate",
            "mlp.up_proj" | "mlp.gate_up_proj" | "mlp.fc1" | "mlp.c_fc" | "mlp.dense_h_to_4h" => {
                "ffn_up"
            }
            "mlp.down_proj" | "mlp.fc2" | "mlp.c_proj" | "mlp.dense_4h_to_h" => "ffn_down",
            "mlp.gate" | "block_sparse_moe.gate" => "ffn_gate_inp",
            "mlp.shared_expert_gate" => "ffn_gate_inp_shexp",
            "mlp.shared_expert.gate_proj" => "ffn_gate_shexp",
            "mlp.shared_expert.up_proj" => "ffn_up_shexp",
            "mlp.shared_expert.down_proj" => "ffn_down_shexp",
            "mixer.A_log" => "ssm_a",
            "mixer.D" => "ssm_d",
            "mixer.conv1d" => "ssm_conv1d",
            "mixer.dt_proj" => "ssm_dt",
            "mixer.in_proj" => "ssm_in",
            "mixer.out_proj" => "ssm_out",
            "mixer.x_proj" => "ssm_x",
            other => panic!("{other}"),
        }
    }

    /// What the converter makes of a tensor.
    fn changed(&self, name: &str, tensor: Tensor) -> Tensor {
        let is = |ending: &str| name.contains(ending);
        match self.family {
            "gemma" | "gemma2" | "gemma3_text" if name.ends_with("norm.weight") => {
                mapped(tensor, |value| value + 1.0)
            }
            "llama" | "mistral" | "mixtral" | "granite" | "smollm3" | "olmo" => {
                if is("q_proj") {
                    permuted(&tensor, self.heads())
                } else if is("k_proj") {
                    permuted(&tensor, self.kv_heads().unwrap())
                } else {
                    tensor
                }
            }
            "gpt2" if tensor.0.len() == 2 && is(".c_") => transposed(&tensor),
            "gpt_neox" | "bloom" | "falcon" if is("query_key_value") => self.regrouped(&tensor),
            "mamba" if name.ends_with("A_log") => mapped(tensor, |value| -value.exp()),
            "mamba" if name.ends_with("conv1d.weight") => {
                (vec![tensor.0[0], tensor.0[2]], tensor.1)
            }
            _ => tensor,
        }
    }

    /// All queries, all keys and all values, of rows that are grouped by keys.
    fn regrouped(&self, (shape, values): &Tensor) -> Tensor {
        let (heads, head) = (self.heads(), self.head_width());
        let groups = if self.family == "falcon" {
            self.kv_heads().unwrap()
        } else {
            heads
        };
        let columns = values.len() / shape[0];
        let queries = heads / groups;
        let piece = |group: usize, number: usize| {
            let start = (group * (queries + 2) + number) * head * columns;
            values[start..start + head * columns].to_vec()
        };
        let mut all = Vec::new();
        for group in 0..groups {
            (0..queries).for_each(|query| all.extend(piece(group, query)));
        }
        for part in 0..2 {
            (0..groups).for_each(|group| all.extend(piece(group, queries + part)));
        }
        (shape.clone(), all)
    }
}

fn top(module: &str) -> &'static str {
    match module {
        "model.embed_tokens"
        | "transformer.wte"
        | "transformer.word_embeddings"
        | "gpt_neox.embed_in"
        | "backbone.embeddings" => "token_embd",
        "transformer.wpe" => "position_embd",
        "transformer.word_embeddings_layernorm" => "token_embd_norm",
        "model.norm"
        | "model.final_layernorm"
        | "transformer.ln_f"
        | "gpt_neox.final_layer_norm"
        | "backbone.norm_f" => "output_norm",
        "lm_head" | "embed_out" => "output",
        other => panic!("{other}"),
    }
}

fn mapped((shape, values): Tensor, change: impl Fn(f32) -> f32) -> Tensor {
    (shape, values.into_iter().map(change).collect())
}

fn transposed((shape, values): &Tensor) -> Tensor {
    let (rows, columns) = (shape[0], shape[1]);
    let at = |index: usize| values[index % rows * columns + index / rows];
    (vec![columns, rows], (0..values.len()).map(at).collect())
}

/// Within each head, the first half of the rows and the second in turn.
fn permuted((shape, values): &Tensor, heads: usize) -> Tensor {
    let (rows, columns) = (shape[0], values.len() / shape[0]);
    let width = rows / heads;
    let from = |row: usize| {
        let (head, row) = (row / width, row % width);
        head * width + row % 2 * (width / 2) + row / 2
    };
    let row = |row: usize| &values[from(row) * columns..][..columns];
    (shape.clone(), (0..rows).flat_map(row).copied().collect())
}
