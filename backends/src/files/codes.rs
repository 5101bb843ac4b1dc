//! What the error codes of model files mean.

use interloom_engine::{AtFault, Code};

/// What `interloom explain` says about the files of models.
pub(crate) const CODES: &[Code] = &[
    Code::new(
        "E040",
        "no such model",
        AtFault::Misuse,
        "There is no file, folder or known model of that name. A model is a path to a GGUF file, a path to a Hugging Face \
         folder (config.json, *.safetensors, tokenizer.json), the name `smollm2-135m` once `scripts/fetch-smollm2` has \
         fetched it, or `hf:ORG/NAME`.",
    ),
    Code::new(
        "E041",
        "a model file cannot be read",
        AtFault::Environment,
        "The operating system refused to open or read a file of the model. The message has its reason.",
    ),
    Code::new(
        "E042",
        "a model file is damaged",
        AtFault::Model,
        "A file of the model is cut, altered or miswritten; the message says at which place. Fetch it again.",
    ),
    Code::new(
        "E043",
        "a model is not supported",
        AtFault::Model,
        "The model is of another architecture, or uses something that would make it compute differently (scaled rotary \
         positions, sliding windows, experts, a quantisation that is not read). Models of the plain Llama architecture are \
         supported, as GGUF (F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0) or safetensors (F16, BF16, F32, F64).",
    ),
    Code::new(
        "E044",
        "a tensor is missing",
        AtFault::Model,
        "The configuration describes a model with a tensor that the weights do not have. Configuration and weights belong to \
         different models, or a shard is missing.",
    ),
    Code::new(
        "E045",
        "a tensor has another shape",
        AtFault::Model,
        "The configuration and the weights are of different models.",
    ),
    Code::new(
        "E046",
        "a model file has tensors to spare",
        AtFault::Model,
        "The weights have tensors that a plain Llama model does not use. Ignoring them would compute something else than the \
         model that they belong to.",
    ),
    Code::new(
        "E047",
        "the tokenizer cannot be used",
        AtFault::Model,
        "The tokenizer is missing, damaged, of a kind that is not supported, or met a text that it cannot represent.",
    ),
    Code::new(
        "E048",
        "the hub cannot be used",
        AtFault::Environment,
        "`hf:ORG/NAME` needs the Hugging Face hub: it was not reached, refused the request, or this build is without the \
         feature `hub`. With the files in a folder, `--model FOLDER` needs no network.",
    ),
    Code::new(
        "E049",
        "a file is not the known one",
        AtFault::Model,
        "A model that is known by name has a known length and checksum, and the file in the cache has another. Delete it and \
         fetch it again.",
    ),
    Code::new(
        "E050",
        "a text is not one token",
        AtFault::Misuse,
        "An answer must be one token. The message shows how the text is split. Most words need a space in front: ` Paris`.",
    ),
];
