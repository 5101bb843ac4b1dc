//! The line of a step.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

/// The size of a step's line in bytes.
pub const LINE_BYTES: usize = 176;

/// What of a line the chain covers.
const CHAINED_BYTES: usize = 132;
const CRC_AT: usize = 172;
/// In the place of an offset: the step keeps no names.
const NO_NAMES: u64 = u64::MAX;

/// The phase of a step, in the order in which they depend on each other.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StepPhase {
    /// The state before the step, where that is not what the step before left.
    State,
    /// The seed of the step's random numbers.
    Seed,
    /// The items that it was fed.
    Batch,
    /// The learning rate, and whatever else the schedule set.
    Schedule,
    /// The values that passed the sites of the model.
    Forward,
    /// What mediators and model exchanged, in either pass.
    Exchanges,
    /// The loss.
    Loss,
    /// The gradients that passed the sites of the model.
    Backward,
    /// The gradients of parameters.
    Gradients,
    /// The optimizer's state after the update.
    Optimizer,
    /// The parameters after the update.
    Parameters,
}

impl StepPhase {
    /// Every phase, in order.
    pub const ALL: [Self; 11] = [
        Self::State,
        Self::Seed,
        Self::Batch,
        Self::Schedule,
        Self::Forward,
        Self::Exchanges,
        Self::Loss,
        Self::Backward,
        Self::Gradients,
        Self::Optimizer,
        Self::Parameters,
    ];

    /// Returns the name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state before the step",
            Self::Seed => "seed",
            Self::Batch => "batch",
            Self::Schedule => "schedule",
            Self::Forward => "forward pass",
            Self::Exchanges => "exchanges",
            Self::Loss => "loss",
            Self::Backward => "backward pass",
            Self::Gradients => "gradients of parameters",
            Self::Optimizer => "state of the optimizer",
            Self::Parameters => "parameters",
        }
    }
}

impl fmt::Display for StepPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The first half of a BLAKE3 digest.
///
/// Two different contents have the same one by chance with a probability of 2^-128; who makes them
/// on purpose needs some 2^64 trials.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ShortDigest(pub [u8; 16]);

impl From<Digest> for ShortDigest {
    fn from(digest: Digest) -> Self {
        let mut short = [0; 16];
        short.copy_from_slice(&digest.0[..16]);
        Self(short)
    }
}

impl Serialize for ShortDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for ShortDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(ShortVisitor)
    }
}

struct ShortVisitor;

impl Visitor<'_> for ShortVisitor {
    type Value = ShortDigest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest of 16 bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<ShortDigest, E> {
        let short = bytes.try_into().map(ShortDigest);
        short.map_err(|_| E::custom("expected a digest of 16 bytes"))
    }
}

/// The first twelve hexadecimal digits, as of a [`Digest`].
impl fmt::Display for ShortDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("b3:")?;
        self.0[..6]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ShortDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One step of a training run, as its ledger has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLine {
    /// The number of the step, from 0 on.
    pub step: u64,
    /// The seed of its random numbers.
    pub seed: u64,
    /// The learning rate; 0 if nothing was updated.
    pub rate: f64,
    /// The loss; NaN if the step names none.
    pub loss: f64,
    /// What it was fed.
    pub batch: ShortDigest,
    /// The learning rate and all else that the schedule set.
    pub schedule: ShortDigest,
    /// The digest of the step's runs in their journal.
    pub exchanges: ShortDigest,
    /// The gradients of parameters, by name.
    pub gradients: ShortDigest,
    /// The optimizer's state after the step, by name.
    pub optimizer: ShortDigest,
    /// The parameters after the step, by name.
    pub parameters: ShortDigest,
    /// How many runs it had. The journal has them one after the other, if it keeps the step.
    pub runs: u32,
    /// Where the file of names has the step's digests, if it has.
    pub names_at: Option<u64>,
    /// The chain up to and with this line.
    pub chain: Digest,
}

impl StepLine {
    /// Continues a chain with this line.
    #[must_use]
    pub fn chained(mut self, previous: &Digest) -> Self {
        self.chain = self.chain_after(previous);
        self
    }

    /// Returns the chain that this line makes of the one before.
    pub fn chain_after(&self, previous: &Digest) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"interloom step");
        hasher.update(&previous.0);
        hasher.update(&self.encode()[..CHAINED_BYTES]);
        Digest(*hasher.finalize().as_bytes())
    }

    /// Returns the first phase in which two lines of one step differ; nothing if they are equal,
    /// or differ only in what came before.
    ///
    /// Numbers are compared by their bits.
    pub fn first_difference(&self, other: &Self) -> Option<StepPhase> {
        self.differences(other).next()
    }

    /// Returns the phases in which two lines of one step differ, in order.
    pub(super) fn differences(&self, other: &Self) -> impl Iterator<Item = StepPhase> + use<> {
        let phases = [
            (StepPhase::Seed, self.seed == other.seed),
            (StepPhase::Batch, self.batch == other.batch),
            (StepPhase::Schedule, self.schedule == other.schedule),
            (StepPhase::Exchanges, self.exchanges == other.exchanges),
            (StepPhase::Loss, bits_equal(self.loss, other.loss)),
            (StepPhase::Gradients, self.gradients == other.gradients),
            (StepPhase::Optimizer, self.optimizer == other.optimizer),
            (StepPhase::Parameters, self.parameters == other.parameters),
        ];
        let differing = phases.into_iter().filter(|(_, is_equal)| !is_equal);
        differing.map(|(phase, _)| phase)
    }

    /// Returns the line's bytes.
    pub fn encode(&self) -> [u8; LINE_BYTES] {
        let mut line = Vec::with_capacity(LINE_BYTES);
        line.extend(self.step.to_le_bytes());
        line.extend(self.seed.to_le_bytes());
        line.extend(self.rate.to_bits().to_le_bytes());
        line.extend(self.loss.to_bits().to_le_bytes());
        for digest in [
            self.batch,
            self.schedule,
            self.exchanges,
            self.gradients,
            self.optimizer,
            self.parameters,
        ] {
            line.extend(digest.0);
        }
        line.extend(self.runs.to_le_bytes());
        line.extend(self.names_at.unwrap_or(NO_NAMES).to_le_bytes());
        line.extend(self.chain.0);
        line.extend(crc32fast::hash(&line).to_le_bytes());
        line.try_into().expect("the fields fill the line")
    }

    /// Reads a line's bytes; nothing if they are not what was written.
    pub fn decode(bytes: &[u8; LINE_BYTES]) -> Option<Self> {
        let short_number = |at| u32::from_le_bytes(part(bytes, at));
        let is_whole = crc32fast::hash(&bytes[..CRC_AT]) == short_number(CRC_AT);
        let number = |at| u64::from_le_bytes(part(bytes, at));
        let digest = |at| ShortDigest(part(bytes, at));
        let names_at = number(132);
        is_whole.then(|| Self {
            step: number(0),
            seed: number(8),
            rate: f64::from_bits(number(16)),
            loss: f64::from_bits(number(24)),
            batch: digest(32),
            schedule: digest(48),
            exchanges: digest(64),
            gradients: digest(80),
            optimizer: digest(96),
            parameters: digest(112),
            runs: short_number(128),
            names_at: (names_at != NO_NAMES).then_some(names_at),
            chain: Digest(part(bytes, 140)),
        })
    }
}

fn bits_equal(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits()
}

fn part<const N: usize>(bytes: &[u8; LINE_BYTES], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}
