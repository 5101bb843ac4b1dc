//! The container of a journal: a preamble, then frames, each with its own checks.
//!
//! ```text
//! file     = preamble frame*
//! preamble = 64 bytes
//! frame    = header (24 bytes), payload, zeros up to a multiple of 8 bytes
//! ```
//!
//! A journal is only ever appended to, and each frame is checked by itself: a header with its own
//! CRC, so that a damaged length can neither make a reader allocate nor make it skip, a payload
//! CRC, and a sequence number without gaps. The header's CRC is continued from that of the
//! preamble's sync marker, so that a frame from a journal with another head does not pass.
//! `docs/FORMAT.md` gives the same as byte tables.
//!
//! The container is Interloom's own, because the unit of integrity has to be the frame.

/// The first eight bytes of a journal.
///
/// The first is not ASCII and the others hold both kinds of line ending, so that a transfer as
/// text is noticed (the same as in PNG).
pub const MAGIC: [u8; 8] = [0x89, b'I', b'L', b'J', 0x0D, 0x0A, 0x1A, 0x0A];

/// The format's major version: a reader refuses a larger one.
pub const FORMAT_MAJOR: u16 = 1;

/// The format's minor version: a reader accepts a larger one.
pub const FORMAT_MINOR: u16 = 0;

/// The size of the preamble in bytes.
pub const PREAMBLE_BYTES: usize = 64;

/// The size of a frame's header in bytes.
pub const FRAME_HEADER_BYTES: usize = 24;

/// Frames start at multiples of this number of bytes.
pub const FRAME_ALIGNMENT: usize = 8;

/// The largest payload of any frame in bytes: 1 GiB.
pub const PAYLOAD_BYTES_MAX: u32 = 1 << 30;

/// The largest payload of an exchange in bytes: 1 MiB.
pub const EXCHANGE_BYTES_MAX: u32 = 1 << 20;

/// The largest payload of a path, note or tick in bytes: 64 KiB.
pub const PATH_BYTES_MAX: u32 = 1 << 16;

/// The largest payload of a head, run start, run end, footer or passage in bytes: 64 MiB.
pub const HEAD_BYTES_MAX: u32 = 1 << 26;

/// Kinds from here on may be skipped by a reader that does not know them.
pub const OPTIONAL_KINDS: u8 = 0x80;

pub(super) const SYNC_BYTES: usize = 16;
const PREAMBLE_CRC_AT: usize = 60;
const HEADER_CRC_AT: usize = 20;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum FrameKind {
    /// The journal's head, in the first frame and only there.
    Head = 0x01,
    /// The start of a run.
    RunStart = 0x02,
    /// An interned path.
    Path = 0x03,
    /// An exchange.
    Exchange = 0x04,
    /// A tensor's bytes.
    Tensor = 0x05,
    /// The end of a run.
    RunEnd = 0x06,
    /// The end of a journal that was finished.
    Footer = 0x07,
    /// A line of source.
    Source = 0x08,
    /// A visit: the points that the model passed.
    Visit = 0x09,
    /// A request that is open when its run is over.
    Open = 0x0a,
    /// A cache that a mediator declares.
    CacheDeclaration = 0x0b,
    /// How the rows of a batch are padded.
    Padding = 0x0c,
    /// A remark.
    Note = 0x80,
    /// The digest of a run so far.
    Tick = 0x81,
    /// The passage of a run's model: its sites, and the outputs of its modules.
    Passage = 0x82,
}

impl FrameKind {
    /// Every kind of this version of the format.
    pub const ALL: [Self; 15] = [
        Self::Head,
        Self::RunStart,
        Self::Path,
        Self::Exchange,
        Self::Tensor,
        Self::RunEnd,
        Self::Footer,
        Self::Source,
        Self::Visit,
        Self::Open,
        Self::CacheDeclaration,
        Self::Padding,
        Self::Note,
        Self::Tick,
        Self::Passage,
    ];

    /// Returns the kind with this code, if this version of the format has it.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }

    /// Returns the name used in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::RunStart => "run start",
            Self::Path => "path",
            Self::Exchange => "exchange",
            Self::Tensor => "tensor",
            Self::RunEnd => "run end",
            Self::Footer => "footer",
            Self::Source => "source",
            Self::Visit => "visit",
            Self::Open => "open request",
            Self::CacheDeclaration => "cache declaration",
            Self::Padding => "padding",
            Self::Note => "note",
            Self::Tick => "tick",
            Self::Passage => "passage",
        }
    }

    /// Returns the largest payload in bytes.
    pub const fn bytes_max(self) -> u32 {
        match self {
            Self::Head | Self::RunStart | Self::RunEnd | Self::Footer | Self::Passage => {
                HEAD_BYTES_MAX
            }
            Self::Path | Self::Source | Self::Note | Self::Tick => PATH_BYTES_MAX,
            Self::Exchange | Self::Visit | Self::Open | Self::CacheDeclaration | Self::Padding => {
                EXCHANGE_BYTES_MAX
            }
            Self::Tensor => PAYLOAD_BYTES_MAX,
        }
    }
}

/// The first 64 bytes of a journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Preamble {
    /// The major version of the format.
    pub major: u16,
    /// The minor version of the format.
    pub minor: u16,
    /// The first 16 bytes of the BLAKE3 digest of the head's payload.
    pub sync: [u8; SYNC_BYTES],
}

impl Preamble {
    /// Makes the preamble of a journal in this version of the format with this head payload.
    pub fn for_head(payload: &[u8]) -> Self {
        let mut sync = [0; SYNC_BYTES];
        sync.copy_from_slice(&blake3::hash(payload).as_bytes()[..SYNC_BYTES]);
        Self {
            major: FORMAT_MAJOR,
            minor: FORMAT_MINOR,
            sync,
        }
    }

    /// Returns the bytes of this preamble.
    pub fn encode(&self) -> [u8; PREAMBLE_BYTES] {
        let mut bytes = [0; PREAMBLE_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.major.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.minor.to_le_bytes());
        bytes[12..28].copy_from_slice(&self.sync);
        let crc = crc32fast::hash(&bytes[..PREAMBLE_CRC_AT]);
        bytes[PREAMBLE_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a preamble.
    ///
    /// # Errors
    /// Names the first check that fails: magic, CRC, version, flags and reserved bytes.
    pub fn decode(bytes: &[u8; PREAMBLE_BYTES]) -> Result<Self, PreambleFault> {
        if bytes[..8] != MAGIC {
            return Err(PreambleFault::Magic);
        }
        if crc32fast::hash(&bytes[..PREAMBLE_CRC_AT]) != u32_at(bytes, PREAMBLE_CRC_AT) {
            return Err(PreambleFault::Damaged(
                "the preamble's CRC does not match its bytes",
            ));
        }
        let mut sync = [0; SYNC_BYTES];
        sync.copy_from_slice(&bytes[12..28]);
        let preamble = Self {
            major: u16_at(bytes, 8),
            minor: u16_at(bytes, 10),
            sync,
        };
        if preamble.major > FORMAT_MAJOR {
            return Err(PreambleFault::Newer(preamble.major, preamble.minor));
        }
        if preamble.major == 0 {
            return Err(PreambleFault::Damaged(
                "the preamble names major version 0, which never was",
            ));
        }
        // A newer minor version may use these bytes; what it writes there can be ignored.
        let reserved = &bytes[28..PREAMBLE_CRC_AT];
        let is_newer = preamble.minor > FORMAT_MINOR;
        if !is_newer && reserved.iter().any(|byte| *byte != 0) {
            return Err(PreambleFault::Damaged(
                "the preamble's flags and reserved bytes are not zero",
            ));
        }
        Ok(preamble)
    }

    /// Returns the CRC of the sync marker, which the CRC of each header continues.
    pub fn header_seed(&self) -> u32 {
        crc32fast::hash(&self.sync)
    }
}

/// An error of a preamble.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PreambleFault {
    /// It does not start with [`MAGIC`].
    Magic,
    /// Its major version, given with the minor one, is newer than [`FORMAT_MAJOR`].
    Newer(u16, u16),
    /// Another check failed.
    Damaged(&'static str),
}

/// The 24 bytes before a payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrameHeader {
    /// The code of the frame's [`FrameKind`].
    pub kind: u8,
    /// The payload's length in bytes, without the padding.
    pub length: u32,
    /// The frame's number, without gaps from 0.
    pub sequence: u64,
    /// The CRC-32 (IEEE) of the payload.
    pub payload_crc: u32,
}

impl FrameHeader {
    /// Returns the bytes of this header in a journal whose preamble gives this `header_seed`.
    pub fn encode(&self, header_seed: u32) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[0] = self.kind;
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = header_crc(header_seed, &bytes);
        bytes[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header of a journal whose preamble gives this `header_seed`.
    ///
    /// # Errors
    /// Names the check that failed. The length has not been compared with any limit.
    pub fn decode(
        bytes: &[u8; FRAME_HEADER_BYTES],
        header_seed: u32,
    ) -> Result<Self, &'static str> {
        if header_crc(header_seed, bytes) != u32_at(bytes, HEADER_CRC_AT) {
            return Err("the header's CRC does not match: damaged, or a frame of another journal");
        }
        if bytes[1..4] != [0; 3] {
            return Err("the header's flags and reserved bytes are not zero");
        }
        Ok(Self {
            kind: bytes[0],
            length: u32_at(bytes, 4),
            sequence: u64_at(bytes, 8),
            payload_crc: u32_at(bytes, 16),
        })
    }
}

/// Returns the number of zero bytes after a payload of this length.
pub fn padding(length: u64) -> usize {
    let over = (length % FRAME_ALIGNMENT as u64) as usize;
    (FRAME_ALIGNMENT - over) % FRAME_ALIGNMENT
}

/// Returns the bytes that a frame with a payload of this length takes in the file.
pub fn frame_bytes(length: u64) -> u64 {
    FRAME_HEADER_BYTES as u64 + length + padding(length) as u64
}

fn header_crc(header_seed: u32, bytes: &[u8; FRAME_HEADER_BYTES]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(header_seed);
    hasher.update(&bytes[..HEADER_CRC_AT]);
    hasher.finalize()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preambles_round_trip_and_every_flipped_bit_is_noticed() {
        let preamble = Preamble::for_head(b"head");
        let bytes = preamble.encode();
        assert_eq!(Preamble::decode(&bytes), Ok(preamble));
        for bit in 0..PREAMBLE_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Preamble::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_versions_of_a_preamble_are_checked() {
        let with = |major, minor| Preamble {
            major,
            minor,
            ..Preamble::for_head(b"")
        };
        assert!(Preamble::decode(&with(1, 7).encode()).is_ok());
        let newer = Preamble::decode(&with(2, 3).encode());
        assert_eq!(newer, Err(PreambleFault::Newer(2, 3)));
        assert!(matches!(
            Preamble::decode(&with(0, 9).encode()),
            Err(PreambleFault::Damaged(_))
        ));
    }

    #[test]
    fn reserved_bytes_must_be_zero_even_with_a_right_crc() {
        let mut bytes = Preamble::for_head(b"").encode();
        bytes[40] = 1;
        let crc = crc32fast::hash(&bytes[..PREAMBLE_CRC_AT]);
        bytes[PREAMBLE_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(
            Preamble::decode(&bytes),
            Err(PreambleFault::Damaged(_))
        ));

        let mut bytes = header().encode(7);
        bytes[2] = 1;
        let crc = header_crc(7, &bytes);
        bytes[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert!(FrameHeader::decode(&bytes, 7).is_err());
    }

    #[test]
    fn headers_round_trip_and_belong_to_one_journal() {
        let bytes = header().encode(7);
        assert_eq!(FrameHeader::decode(&bytes, 7), Ok(header()));
        assert!(FrameHeader::decode(&bytes, 8).is_err());
        assert!(FrameHeader::decode(&[0; FRAME_HEADER_BYTES], 7).is_err());
    }

    #[test]
    fn padding_fills_up_to_the_alignment() {
        let paddings: Vec<_> = (0..10).map(padding).collect();
        assert_eq!(paddings, [0, 7, 6, 5, 4, 3, 2, 1, 0, 7]);
        assert_eq!(frame_bytes(9), 40);
    }

    #[test]
    fn kinds_are_found_by_their_codes() {
        for kind in FrameKind::ALL {
            assert_eq!(FrameKind::from_code(kind as u8), Some(kind));
            assert!(kind.bytes_max() <= PAYLOAD_BYTES_MAX);
        }
        assert_eq!(FrameKind::from_code(0), None);
        assert_eq!(FrameKind::from_code(0x83), None);
    }

    fn header() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Exchange as u8,
            length: 75,
            sequence: 1 << 40,
            payload_crc: 0xDEAD_BEEF,
        }
    }
}
