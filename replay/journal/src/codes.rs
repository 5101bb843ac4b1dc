//! The error codes of journals.

use interloom_engine::{AtFault, Code};

/// The codes of journals.
pub(crate) const CODES: &[Code] = &[
    Code::new("E060", "no such journal", AtFault::Misuse),
    Code::new(
        "E061",
        "a journal cannot be read or written",
        AtFault::Environment,
    ),
    Code::new("E062", "not a journal", AtFault::Misuse),
    Code::new("E063", "a journal of a newer format", AtFault::Environment),
    Code::new("E064", "a damaged journal", AtFault::Journal),
    Code::new("E065", "a journal that ends early", AtFault::Journal),
    Code::new("E066", "a malformed record", AtFault::Journal),
    Code::new("E067", "a journal out of sequence", AtFault::Journal),
    Code::new("E068", "a digest does not match", AtFault::Journal),
    Code::new("E069", "a limit is exceeded", AtFault::Journal),
    Code::new("E070", "a file would be overwritten", AtFault::Misuse),
    Code::new("E071", "a tensor is missing", AtFault::Journal),
    Code::new("E072", "not in the journal", AtFault::Misuse),
    Code::new("E073", "a journal has another writer", AtFault::Environment),
    Code::new("E074", "a journal is of other runs", AtFault::Misuse),
    Code::new("E078", "a damaged ledger", AtFault::Journal),
    Code::new(
        "E086",
        "a journal of another training run",
        AtFault::Journal,
    ),
    Code::new("E130", "a rank is no replica", AtFault::Environment),
    Code::new(
        "E136",
        "a journal is not the one of the index",
        AtFault::Journal,
    ),
    Code::new("E141", "a damaged index of journals", AtFault::Journal),
];
