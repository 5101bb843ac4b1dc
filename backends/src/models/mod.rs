//! Models that come with Interloom: a trained induction transformer, and language models of the Llama architecture.

mod call;
pub mod induction;
pub mod llama;
