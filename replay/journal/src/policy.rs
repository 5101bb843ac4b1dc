//! The policy of a journal: what it keeps of tensors, and what that costs.

use std::fmt;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use super::frame::{FRAME_HEADER_BYTES, PREAMBLE_BYTES};
use super::pattern;
use super::wire::TENSOR_FIXED_BYTES;

/// The policy of a journal: what it keeps of tensors.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Type, shape and digest.
    #[default]
    Digest,
    /// Type, shape, digest, and the bytes once for each digest.
    Full,
    /// As `Full` for each exchange whose index is a multiple of this number, and as `Digest` for
    /// the others. Which these are depends on nothing else, so that two recordings of one
    /// program keep the same tensors.
    Sampled(NonZeroU64),
}

impl Policy {
    /// Keeps the tensors of every `every`th exchange, from the first on; of all of them for 0 or 1.
    pub const fn sampled(every: u64) -> Self {
        match NonZeroU64::new(every) {
            Some(every) if every.get() > 1 => Self::Sampled(every),
            _ => Self::Full,
        }
    }

    /// Returns whether the tensors of the exchange of this index are kept.
    pub const fn keeps(self, index: u64) -> bool {
        match self {
            Self::Digest => false,
            Self::Full => true,
            Self::Sampled(every) => index.is_multiple_of(every.get()),
        }
    }

    /// Returns whether the tensors of an exchange at a point are kept, in a run that
    /// [says of some points itself](crate::RunStart::keeps) whether theirs are.
    pub(super) fn keeps_at(self, index: u64, point: Option<&str>, patterns: &[String]) -> bool {
        let own = point.and_then(|point| pattern::is_kept(patterns, point));
        own.unwrap_or_else(|| self.keeps(index))
    }

    /// Returns the name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::Full => "full",
            Self::Sampled(_) => "sampled",
        }
    }

    /// Returns how many bytes a journal will have at most, before it is recorded: with so many
    /// exchanges, each with a tensor of `tensor_bytes` bytes (0 if there is none).
    ///
    /// A tensor that occurs again is kept once, so that the journal may well be smaller. What is
    /// taken for granted: a head of 64 KiB, exchanges of 256 bytes, tensors of rank 8 or less.
    /// Parameters of a model (one line each in the head) and long messages come on top.
    pub const fn estimated_bytes(self, exchanges: u64, tensor_bytes: u64) -> u64 {
        let kept = match self {
            Self::Digest => 0,
            Self::Full => exchanges,
            Self::Sampled(every) => exchanges.div_ceil(every.get()),
        };
        let frame = FRAME_HEADER_BYTES as u64 + PADDING_MAX;
        let tensor = frame + TENSOR_FIXED_BYTES as u64 + 8 * RANK_TYPICAL;
        let tensors = match tensor_bytes {
            0 => 0,
            bytes => kept.saturating_mul(bytes.saturating_add(tensor)),
        };
        let others = exchanges.saturating_mul(EXCHANGE_BYTES_TYPICAL + frame);
        let head = PREAMBLE_BYTES as u64 + HEAD_BYTES_TYPICAL;
        tensors.saturating_add(others).saturating_add(head)
    }
}

const PADDING_MAX: u64 = 7;
const RANK_TYPICAL: u64 = 8;
const EXCHANGE_BYTES_TYPICAL: u64 = 256;
const HEAD_BYTES_TYPICAL: u64 = 1 << 16;

/// `digest`, `full`, or `sampled (one in 16)`.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Sampled(every) => write!(f, " (one in {every})"),
            Self::Digest | Self::Full => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Digest, Event, Head, JournalWriter, check, samples};

    #[test]
    fn a_policy_is_one_key_of_the_head() {
        let written = |policy| {
            let head = Head {
                policy,
                ..samples::head()
            };
            let json = serde_json::to_value(&head).unwrap();
            assert_eq!(serde_json::from_value::<Head>(json.clone()).unwrap(), head);
            json["policy"].clone()
        };
        assert_eq!(written(Policy::Digest), "digest");
        assert_eq!(written(Policy::Full), "full");
        assert_eq!(
            written(Policy::sampled(16)),
            serde_json::json!({ "sampled": 16 })
        );
        let mut json = serde_json::to_value(samples::head()).unwrap();
        json["policy"] = serde_json::json!({ "sampled": 0 });
        assert!(serde_json::from_value::<Head>(json).is_err());
    }

    #[test]
    fn every_nth_exchange_is_sampled_from_the_first_on() {
        let kept = |policy: Policy| {
            (0..7)
                .filter(|index| policy.keeps(*index))
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(Policy::sampled(3)), [0, 3, 6]);
        assert_eq!(kept(Policy::Digest), [0; 0]);
        assert_eq!(kept(Policy::Full).len(), 7);
        assert_eq!(
            (Policy::sampled(1), Policy::sampled(0)),
            (Policy::Full, Policy::Full)
        );
        assert_eq!(Policy::sampled(16).to_string(), "sampled (one in 16)");
    }

    /// Writes a journal of exchanges that all have another tensor; gives its size and its tensors.
    fn record(policy: Policy, exchanges: u64, elements: usize) -> (u64, u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ilj");
        let head = Head {
            policy,
            ..samples::head()
        };
        let mut writer = JournalWriter::create(&path, &head).unwrap();
        writer.start_run(&samples::run_start(0)).unwrap();
        let site = writer.path("layers.3.attn.output").unwrap();
        for index in 0..exchanges {
            let row = vec![index as f32; elements];
            let (shape, bytes) = ([elements as u64], samples::bytes(&row));
            let digest = Digest::of_tensor(DType::F32, &shape, &bytes);
            let is_kept = writer.tensor(&digest, DType::F32, &shape, &bytes).unwrap();
            assert_eq!(is_kept, policy.keeps(index));
            let exchange = samples::tensor_exchange(index, 0, Event::Value, site, &row);
            writer.exchange(&exchange).unwrap();
        }
        writer.end_run(samples::completed()).unwrap();
        let bytes = writer.finish().unwrap().bytes;
        let check = check(&path).unwrap();
        assert_eq!((check.policy, check.problem), (policy, None));
        (bytes, check.tensors)
    }

    #[test]
    fn a_journal_is_not_larger_than_was_estimated() {
        for policy in [Policy::Digest, Policy::Full, Policy::sampled(7)] {
            let (bytes, tensors) = record(policy, 1000, 256);
            let expected = (0..1000).filter(|index| policy.keeps(*index)).count() as u64;
            assert_eq!(tensors, expected);
            let estimate = policy.estimated_bytes(1000, 1024);
            assert!(
                bytes <= estimate,
                "{policy}: {bytes} bytes, estimated {estimate}"
            );
            // Of some use: not more than what is always there, and a quarter of the tensors.
            let much = bytes + bytes / 4 + (1 << 16) + 1000 * 256;
            assert!(
                estimate <= much,
                "{policy}: {bytes} bytes, estimated {estimate}"
            );
        }
        assert_eq!(Policy::Full.estimated_bytes(u64::MAX, u64::MAX), u64::MAX);
        assert!(Policy::Full.estimated_bytes(0, 0) > 0);
    }
}
