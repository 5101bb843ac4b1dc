//! The digests of a step by name.
//!
//! ```text
//! file  = frame*
//! frame = length u32, crc32 of the payload u32, payload (msgpack)
//! ```
//!
//! A payload is a list of names, or a step with one digest for each name of a list that stands
//! before it: names change seldom.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use serde::{Deserialize, Serialize};

use super::line::{ShortDigest, StepPhase};
use crate::digest::Digest;

/// The digest of one gradient, moment or parameter of a step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamedDigest {
    /// What of the step it is.
    pub phase: StepPhase,
    /// The name, such as `model.blocks.0.attn.query.weight`.
    pub name: String,
    /// Its digest.
    pub digest: ShortDigest,
}

impl NamedDigest {
    /// Names a digest.
    pub fn new(phase: StepPhase, name: String, digest: Digest) -> Self {
        Self {
            phase,
            name,
            digest: digest.into(),
        }
    }
}

/// Returns the digest of the parts of a phase, by name; [`ShortDigest::default`] if there are none.
pub fn digest_of_names(parts: &[NamedDigest], phase: StepPhase) -> ShortDigest {
    let mut hasher = blake3::Hasher::new();
    let mut parts = parts.iter().filter(|part| part.phase == phase).peekable();
    if parts.peek().is_none() {
        return ShortDigest::default();
    }
    for part in parts {
        // A length before each name: no two lists give the same bytes.
        hasher.update(&(part.name.len() as u64).to_le_bytes());
        hasher.update(part.name.as_bytes());
        hasher.update(&part.digest.0);
    }
    Digest(*hasher.finalize().as_bytes()).into()
}

/// The largest payload in bytes: a million names.
const PAYLOAD_BYTES_MAX: u32 = 1 << 26;

#[derive(Deserialize, Serialize)]
enum Payload {
    Names(Vec<(StepPhase, String)>),
    Step {
        step: u64,
        names_at: u64,
        digests: Vec<ShortDigest>,
    },
}

/// The file of names of a ledger, at its end.
#[derive(Debug)]
pub(super) struct NamesWriter {
    file: File,
    end: u64,
    /// The list that the next step may refer to.
    known: Option<NameList>,
}

/// Where a list of names stands, and the names.
type NameList = (u64, Vec<(StepPhase, String)>);

/// What was read of a step.
pub(super) struct ReadStep {
    pub(super) parts: Vec<NamedDigest>,
    /// Where its frame ends.
    pub(super) end: u64,
    /// The list that it refers to.
    pub(super) list: NameList,
}

impl NamesWriter {
    /// Continues a file at `end`, and removes what is behind.
    pub(super) fn continued(mut file: File, end: u64, known: Option<NameList>) -> io::Result<Self> {
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        Ok(Self { file, end, known })
    }

    /// Writes a step, and returns where it stands.
    pub(super) fn write(&mut self, step: u64, parts: &[NamedDigest]) -> io::Result<u64> {
        let is_listed = |names: &[(StepPhase, String)]| {
            let all = names.iter().zip(parts);
            let is_same = |((phase, name), part): (&(StepPhase, String), &NamedDigest)| {
                *phase == part.phase && *name == part.name
            };
            names.len() == parts.len() && all.into_iter().all(is_same)
        };
        let names_at = match &self.known {
            Some((at, names)) if is_listed(names) => *at,
            _ => {
                let names: Vec<_> = parts
                    .iter()
                    .map(|part| (part.phase, part.name.clone()))
                    .collect();
                let at = self.frame(&Payload::Names(names.clone()))?;
                self.known = Some((at, names));
                at
            }
        };
        self.frame(&Payload::Step {
            step,
            names_at,
            digests: parts.iter().map(|part| part.digest).collect(),
        })
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn frame(&mut self, payload: &Payload) -> io::Result<u64> {
        let payload = rmp_serde::to_vec(payload).map_err(io::Error::other)?;
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(payload.len() + 8);
        frame.extend(length.to_le_bytes());
        frame.extend(crc32fast::hash(&payload).to_le_bytes());
        frame.extend(payload);
        self.file.write_all(&frame)?;
        let at = self.end;
        self.end += frame.len() as u64;
        Ok(at)
    }
}

/// Reads the digests of a step; the reason, if they are not there.
pub(super) fn read(file: &mut File, at: u64, step: u64) -> Result<ReadStep, String> {
    let (payload, end) = frame(file, at)?;
    let Payload::Step {
        step: found,
        names_at,
        digests,
    } = payload
    else {
        return Err(format!("byte {at} is not a step"));
    };
    let Payload::Names(names) = frame(file, names_at)?.0 else {
        return Err(format!("byte {names_at} is not a list of names"));
    };
    if found != step || names.len() != digests.len() {
        return Err(format!(
            "byte {at} is not step {step} with {} names",
            names.len()
        ));
    }
    let parts = names
        .iter()
        .zip(digests)
        .map(|((phase, name), digest)| NamedDigest {
            phase: *phase,
            name: name.clone(),
            digest,
        });
    Ok(ReadStep {
        parts: parts.collect(),
        end,
        list: (names_at, names),
    })
}

fn frame(file: &mut File, at: u64) -> Result<(Payload, u64), String> {
    let cannot = |error: io::Error| format!("byte {at} cannot be read: {error}");
    let mut header = [0; 8];
    file.seek(SeekFrom::Start(at)).map_err(cannot)?;
    file.read_exact(&mut header).map_err(cannot)?;
    let [a, b, c, d, crc @ ..] = header;
    let length = u32::from_le_bytes([a, b, c, d]);
    if length > PAYLOAD_BYTES_MAX {
        return Err(format!("byte {at} announces {length} bytes"));
    }
    let mut payload = vec![0; length as usize];
    file.read_exact(&mut payload).map_err(cannot)?;
    if crc32fast::hash(&payload) != u32::from_le_bytes(crc) {
        return Err(format!("the checksum at byte {at} does not match"));
    }
    let read = rmp_serde::from_slice(&payload);
    let payload = read.map_err(|error| format!("byte {at} is malformed: {error}"))?;
    Ok((payload, at + 8 + u64::from(length)))
}
