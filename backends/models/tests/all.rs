//! The models and their files from outside.
//!
//! One binary, because linking burn is slow.

#[path = "all/calls.rs"]
mod calls;
#[path = "all/designs.rs"]
mod designs;
#[path = "all/families.rs"]
mod families;
#[path = "all/gguf_blocks.rs"]
mod gguf_blocks;
#[path = "all/gguf_convert.rs"]
mod gguf_convert;
#[path = "all/gguf_families.rs"]
mod gguf_families;
#[path = "all/gguf_models.rs"]
mod gguf_models;
#[path = "all/gguf_quantised.rs"]
mod gguf_quantised;
#[path = "all/gpt2.rs"]
mod gpt2;
#[path = "all/gpt2_files.rs"]
mod gpt2_files;
#[path = "all/gradients.rs"]
mod gradients;
#[path = "all/in_one.rs"]
mod in_one;
#[path = "all/induction.rs"]
mod induction;
#[path = "all/language.rs"]
mod language;
#[path = "all/llama.rs"]
mod llama;
#[path = "all/llama_files.rs"]
mod llama_files;
#[path = "all/llama_reference.rs"]
mod llama_reference;
#[path = "all/llama_sites.rs"]
mod llama_sites;
#[path = "all/padding.rs"]
mod padding;
#[path = "all/random_models.rs"]
mod random_models;
#[path = "all/smollm2.rs"]
mod smollm2;
#[allow(dead_code, reason = "the tests of the backends use more of it")]
#[path = "../../tests/all/support.rs"]
mod support;
#[path = "all/threads.rs"]
mod threads;
#[path = "all/vit.rs"]
mod vit;
