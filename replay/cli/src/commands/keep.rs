//! What a recording keeps of tensors.

use clap::Args;
use clap::builder::RangedU64ValueParser;
use interloom_journal::Policy;

/// The options of commands that always record.
#[derive(Args)]
pub(super) struct Keep {
    /// Keep the values of all tensors in the journal, not only their digests.
    #[arg(long)]
    full: bool,
    /// Keep the values of the tensors of every Nth exchange only, the first included.
    #[arg(long, value_name = "N", conflicts_with = "full", value_parser = every())]
    sample: Option<u64>,
}

impl Keep {
    pub(super) const fn policy(&self) -> Policy {
        policy(self.full, self.sample)
    }
}

/// The policy that two options ask for.
pub(super) const fn policy(full: bool, sample: Option<u64>) -> Policy {
    match (full, sample) {
        (true, _) => Policy::Full,
        (false, Some(every)) => Policy::sampled(every),
        (false, None) => Policy::Digest,
    }
}

/// Every first, second, third one: 0 is none of these.
pub(super) fn every() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..)
}
