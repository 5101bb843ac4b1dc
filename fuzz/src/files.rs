//! Targets for the files of language models.

use interloom_models::files::{Gguf, RawTensor, Safetensors, Tokenizer};
use interloom_models::llama::LlamaConfig;

const NAME: &str = "fuzz";

/// Reads a GGUF file with all its tensors, and what it says of configuration and tokenizer.
///
/// # Panics
///
/// Panics if a tensor is not of the size that its shape says.
pub fn gguf(bytes: &[u8]) -> bool {
    let Ok(mut gguf) = Gguf::from_bytes(bytes.to_vec(), NAME) else {
        return false;
    };
    if let Ok(config) = LlamaConfig::from_gguf(&gguf) {
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
    let Ok(mut file) = Safetensors::from_bytes(bytes.to_vec(), NAME) else {
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
    match LlamaConfig::from_json(&text, NAME) {
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

fn check_config(config: &LlamaConfig) {
    let sizes = [
        config.hidden_size,
        config.intermediate_size,
        config.layers,
        config.heads,
        config.kv_heads,
        config.head_dim,
        config.vocab_size,
        config.max_positions,
    ];
    assert!(!sizes.contains(&0), "{config:?}");
    assert!(config.heads.is_multiple_of(config.kv_heads) && config.head_dim.is_multiple_of(2));
    let tokens = config.bos_id.iter().chain(&config.eos_ids);
    assert!(tokens.copied().all(|id| (id as usize) < config.vocab_size));
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
