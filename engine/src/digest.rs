//! Digests of what a run is made of and of what it shows.
//!
//! The engine compares outcomes and programmes by the 128-bit FNV-1a hash (Fowler, Noll, Vo; RFC
//! 9923), which needs no library and tells apart whatever was not made to collide. Tensors of a
//! model are digested by who knows them.

use std::fmt;

/// A 128-bit digest.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Fingerprint(pub u128);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Makes a [`Fingerprint`] of what it is fed.
///
/// ```
/// use interloom_engine::Digester;
///
/// let mut one = Digester::new();
/// one.text("ab").text("c");
/// let mut other = Digester::new();
/// other.text("a").text("bc");
/// assert_ne!(one.finish(), other.finish()); // lengths count
/// ```
#[derive(Clone, Debug)]
pub struct Digester(u128);

/// The offset basis and the prime of 128-bit FNV.
const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = (1 << 88) + 0x13b;

impl Digester {
    /// Begins.
    pub const fn new() -> Self {
        Self(BASIS)
    }

    /// Adds bytes, without their number.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for &byte in bytes {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(PRIME);
        }
        self
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.bytes(&number.to_le_bytes())
    }

    /// Adds a text with its length.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64).bytes(text.as_bytes())
    }

    /// Returns the digest of all that was added.
    pub const fn finish(&self) -> Fingerprint {
        Fingerprint(self.0)
    }

    /// Returns the digest in 64 bits, for texts that people copy.
    pub(crate) const fn finish_short(&self) -> u64 {
        ((self.0 >> 64) ^ self.0) as u64
    }
}

impl Default for Digester {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the CRC-32 of `bytes` (ISO-HDLC, the one of gzip), which finds every error of up to 32
/// neighbouring bits.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let is_odd = crc & 1 == 1;
            crc >>= 1;
            if is_odd {
                crc ^= POLYNOMIAL;
            }
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_check_values_come_out() {
        // RFC 9923 lists the 128-bit hashes of these strings.
        let digest = |text: &str| Digester::new().bytes(text.as_bytes()).finish().to_string();
        assert_eq!(digest(""), "6c62272e07bb014262b821756295c58d");
        assert_eq!(digest("a"), "d228cb696f1a8caf78912b704e4a8964");
        assert_eq!(digest("foobar"), "343e1662793c64bf6f0d3597ba446f18");
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
