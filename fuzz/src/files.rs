//! Targets for the files of language models.

use interloom_models::decoder::DecoderConfig;
use interloom_models::files::{Gguf, RawTensor, Safetensors, Tokenizer};

const NAME: &str = "fuzz";

/// Reads a GGUF file with all its tensors, and what it says of configuration and tokenizer.
///
/// # Panics
///
/// Panics if a tensor is not of the size that its shape says.
pub fn gguf(bytes: &[u8]) -> bool {
    let Ok(gguf) = Gguf::from_bytes(bytes.to_vec(), NAME) else {
        return false;
    };
    if let Ok(config) = DecoderConfig::from_gguf(&gguf) {
        check_config(&config);
    }
    if let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) {
        check_tokenizer(&tokenizer);
    }
    let names: Vec<String> = gguf.tensors().keys().cloned().collect();
    names.iter().for_each(|name| {
        if let Ok(tensor) = gguf.load(name) {
            check_tensor(&tensor);
        }
    });
    true
}

/// Reads a safetensors file with all its tensors.
///
/// # Panics
///
/// Panics if a tensor is not of the size that its shape says.
pub fn safetensors(bytes: &[u8]) -> bool {
    let Ok(file) = Safetensors::from_bytes(bytes.to_vec(), NAME) else {
        return false;
    };
    let shapes = file.shapes();
    let shapes: Vec<(String, Vec<usize>)> = shapes
        .map(|(name, shape)| (name.to_owned(), shape.to_vec()))
        .collect();
    for (name, shape) in shapes {
        if let Ok(tensor) = file.load(&name) {
            assert_eq!(tensor.shape, shape);
            check_tensor(&tensor);
        }
    }
    true
}

/// Reads the text of a `config.json`.
///
/// # Panics
///
/// Panics if a configuration is accepted whose sizes do not fit together.
pub fn config(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    match DecoderConfig::from_json(&text, NAME) {
        Ok(config) => {
            check_config(&config);
            true
        }
        Err(error) => {
            assert!(error.to_string().contains(NAME), "{error}");
            false
        }
    }
}

fn check_tensor(tensor: &RawTensor) {
    assert_eq!(tensor.shape.iter().product::<usize>(), tensor.data.len());
}

fn check_config(config: &DecoderConfig) {
    let attention = &config.attention;
    let sizes = [
        config.width,
        config.embedding_width,
        config.mlp.hidden,
        config.blocks.len(),
        attention.heads,
        attention.kv_heads,
        attention.head_width,
        config.vocabulary,
        config.positions,
        config.longest(),
    ];
    assert!(!sizes.contains(&0), "{config:?}");
    assert!(attention.heads.is_multiple_of(attention.kv_heads));
    for block in &config.blocks {
        assert!(
            block
                .rotary
                .is_none_or(|number| number < config.rotary.len())
        );
        assert!(!block.has_experts || config.experts.is_some());
    }
    let tokens = config.bos_id.iter().chain(&config.eos_ids);
    assert!(tokens.copied().all(|id| (id as usize) < config.vocabulary));
}

/// What is split can be put together again.
fn check_tokenizer(tokenizer: &Tokenizer) {
    const TEXT: &str = "ab c 12";
    if let Ok(ids) = tokenizer.encode(TEXT) {
        for &id in &ids {
            assert!((id as usize) < tokenizer.vocab_size());
        }
        assert_eq!(tokenizer.decode(&ids).unwrap(), TEXT);
    }
}
