//! The error codes of model files.

use interloom_engine::{AtFault, Code};

/// The codes of the files of models.
pub(crate) const CODES: &[Code] = &[
    Code::new("E040", "no such model", AtFault::Misuse),
    Code::new("E041", "a model file cannot be read", AtFault::Environment),
    Code::new("E042", "a model file is damaged", AtFault::Model),
    Code::new("E043", "a model is not supported", AtFault::Model),
    Code::new("E044", "a tensor is missing", AtFault::Model),
    Code::new("E045", "a tensor has another shape", AtFault::Model),
    Code::new("E046", "a model file has tensors to spare", AtFault::Model),
    Code::new("E047", "the tokenizer cannot be used", AtFault::Model),
    Code::new("E048", "the hub cannot be used", AtFault::Environment),
    Code::new("E049", "a file is not the known one", AtFault::Model),
    Code::new("E050", "a text is not one token", AtFault::Misuse),
    Code::new(
        "E145",
        "a model file holds something else than its name says",
        AtFault::Misuse,
    ),
];
