//! The few forms of msgpack that canonical records are made of, each in its shortest encoding.
//!
//! What is read here is refused in any other encoding, so that whatever can be read is, byte for
//! byte, what would be written.

use std::fmt;

/// Appends an array's start.
#[inline]
pub(super) fn array(out: &mut Vec<u8>, length: usize) {
    match length {
        0..16 => out.push(0x90 | length as u8),
        _ => long_array(out, length),
    }
}

fn long_array(out: &mut Vec<u8>, length: usize) {
    match length {
        0..0x1_0000 => with_u16(out, 0xdc, length as u16),
        _ => with_u32(out, 0xdd, length as u32),
    }
}

/// Appends a number that is not negative.
///
/// Most numbers of an exchange are small: these are appended where the call is, which makes a sixth
/// of what an exchange costs.
#[inline]
pub(super) fn uint(out: &mut Vec<u8>, number: u64) {
    match number {
        0..0x80 => out.push(number as u8),
        _ => long_uint(out, number),
    }
}

fn long_uint(out: &mut Vec<u8>, number: u64) {
    match number {
        0..0x100 => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..0x1_0000 => with_u16(out, 0xcd, number as u16),
        0x1_0000..0x1_0000_0000 => with_u32(out, 0xce, number as u32),
        _ => with_u64(out, 0xcf, number),
    }
}

/// Appends a number.
pub(super) fn int(out: &mut Vec<u8>, number: i64) {
    match number {
        0.. => uint(out, number as u64),
        -32..0 => out.push(number as u8),
        -0x80..-32 => out.extend_from_slice(&[0xd0, number as u8]),
        -0x8000..-0x80 => with_u16(out, 0xd1, number as u16),
        -0x8000_0000..-0x8000 => with_u32(out, 0xd2, number as u32),
        _ => with_u64(out, 0xd3, number as u64),
    }
}

/// Appends a float, with all its bits.
pub(super) fn float(out: &mut Vec<u8>, number: f64) {
    with_u64(out, 0xcb, number.to_bits());
}

/// Appends a boolean.
pub(super) fn truth(out: &mut Vec<u8>, truth: bool) {
    out.push(0xc2 | u8::from(truth));
}

/// Appends nil.
pub(super) fn nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

/// Appends a text.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length @ 32..0x100 => out.extend_from_slice(&[0xd9, length as u8]),
        length @ 0x100..0x1_0000 => with_u16(out, 0xda, length as u16),
        length => with_u32(out, 0xdb, length as u32),
    }
    out.extend_from_slice(text.as_bytes());
}

/// Appends 32 bytes.
pub(super) fn digest(out: &mut Vec<u8>, digest: &[u8; 32]) {
    out.extend_from_slice(&[0xc4, 32]);
    out.extend_from_slice(digest);
}

fn with_u16(out: &mut Vec<u8>, form: u8, number: u16) {
    let [a, b] = number.to_be_bytes();
    out.extend_from_slice(&[form, a, b]);
}

fn with_u32(out: &mut Vec<u8>, form: u8, number: u32) {
    let [a, b, c, d] = number.to_be_bytes();
    out.extend_from_slice(&[form, a, b, c, d]);
}

fn with_u64(out: &mut Vec<u8>, form: u8, number: u64) {
    out.push(form);
    out.extend_from_slice(&number.to_be_bytes());
}

/// Reads what the functions above write, from the front of a payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unpacker<'a> {
    rest: &'a [u8],
    length: usize,
}

/// Why a payload is not what was expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unexpected {
    /// It ends early.
    End,
    /// Bytes follow what was expected.
    More(usize),
    /// Something else stands at this byte.
    Other {
        /// Where.
        at: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// It stands at this byte in another encoding.
    NotCanonical(usize),
    /// The value has more levels than this.
    TooDeep(usize),
}

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("the payload ends early"),
            Self::More(bytes) => write!(f, "{bytes} bytes follow the record in its frame"),
            Self::Other { at, expected } => {
                write!(f, "expected {expected} at byte {at} of the payload")
            }
            Self::NotCanonical(at) => {
                write!(f, "byte {at} of the payload is not the canonical encoding")
            }
            Self::TooDeep(limit) => write!(f, "the value is more than {limit} levels deep"),
        }
    }
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self {
            rest: payload,
            length: payload.len(),
        }
    }

    /// How many bytes have been read.
    pub(super) fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    /// How many bytes are left: no array can have more items.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The error that something else stands at `at`.
    pub(super) fn other(&self, at: usize, expected: &'static str) -> Unexpected {
        Unexpected::Other { at, expected }
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<(), Unexpected> {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(Unexpected::More(more)),
        }
    }

    /// The length of an array.
    pub(super) fn array(&mut self) -> Result<usize, Unexpected> {
        let at = self.position();
        let (length, least) = match self.byte()? {
            form @ 0x90..=0x9f => return Ok(usize::from(form & 0x0f)),
            0xdc => (u64::from(self.u16()?), 16),
            0xdd => (u64::from(self.u32()?), 0x1_0000),
            _ => return Err(self.other(at, "an array")),
        };
        // More items than bytes cannot follow, whatever the word size.
        let length = usize::try_from(length).map_err(|_| Unexpected::End)?;
        canonical(length, length >= least, at)
    }

    /// An array of just this many items.
    pub(super) fn array_of(
        &mut self,
        length: usize,
        expected: &'static str,
    ) -> Result<(), Unexpected> {
        let at = self.position();
        match self.array()? {
            found if found == length => Ok(()),
            _ => Err(self.other(at, expected)),
        }
    }

    /// Whether nil stands here, which is then passed.
    pub(super) fn nil(&mut self) -> bool {
        match self.rest.split_first() {
            Some((0xc0, rest)) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Whether a boolean stands here.
    pub(super) fn is_truth(&self) -> bool {
        matches!(self.rest.first(), Some(0xc2 | 0xc3))
    }

    /// What is left, from here to the end of the payload.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Passes so many bytes, which were read in another way.
    pub(super) fn skip(&mut self, bytes: usize) -> Result<(), Unexpected> {
        self.rest = self.rest.get(bytes..).ok_or(Unexpected::End)?;
        Ok(())
    }

    /// A number that is not negative.
    pub(super) fn uint(&mut self) -> Result<u64, Unexpected> {
        let at = self.position();
        let (number, least) = match self.byte()? {
            form @ 0..0x80 => return Ok(u64::from(form)),
            0xcc => (u64::from(self.byte()?), 0x80),
            0xcd => (u64::from(self.u16()?), 0x100),
            0xce => (u64::from(self.u32()?), 0x1_0000),
            0xcf => (self.u64()?, 0x1_0000_0000),
            _ => return Err(self.other(at, "a number that is not negative")),
        };
        canonical(number, number >= least, at)
    }

    /// A number of 32 bits that is not negative.
    pub(super) fn u32_number(&mut self) -> Result<u32, Unexpected> {
        let at = self.position();
        let number = u32::try_from(self.uint()?);
        number.map_err(|_| self.other(at, "a number of 32 bits"))
    }

    /// A number.
    pub(super) fn int(&mut self) -> Result<i64, Unexpected> {
        let at = self.position();
        let (number, below) = match self.rest.first() {
            Some(form @ 0xe0..) => (i64::from(*form as i8), 0),
            Some(0xd0..=0xd3) => match self.byte()? {
                0xd0 => (i64::from(self.byte()? as i8), -32),
                0xd1 => (i64::from(self.u16()? as i16), -0x80),
                0xd2 => (i64::from(self.u32()? as i32), -0x8000),
                _ => (self.u64()? as i64, -0x8000_0000),
            },
            _ => {
                let number = i64::try_from(self.uint()?);
                return number.map_err(|_| self.other(at, "a number of 64 bits with a sign"));
            }
        };
        if below == 0 {
            self.byte()?;
        }
        canonical(number, number < below, at)
    }

    /// A float.
    pub(super) fn float(&mut self) -> Result<f64, Unexpected> {
        let at = self.position();
        match self.byte()? {
            0xcb => Ok(f64::from_bits(self.u64()?)),
            _ => Err(self.other(at, "a float of 64 bits")),
        }
    }

    /// A boolean.
    pub(super) fn truth(&mut self) -> Result<bool, Unexpected> {
        let at = self.position();
        match self.byte()? {
            form @ 0xc2..=0xc3 => Ok(form == 0xc3),
            _ => Err(self.other(at, "a truth value")),
        }
    }

    /// A text.
    pub(super) fn text(&mut self) -> Result<&'a str, Unexpected> {
        let at = self.position();
        let (length, least) = match self.byte()? {
            form @ 0xa0..=0xbf => (u32::from(form & 0x1f), 0),
            0xd9 => (u32::from(self.byte()?), 32),
            0xda => (u32::from(self.u16()?), 0x100),
            0xdb => (self.u32()?, 0x1_0000),
            _ => return Err(self.other(at, "a text")),
        };
        let length = canonical(length, length >= least, at)?;
        let bytes = self.bytes(usize::try_from(length).map_err(|_| Unexpected::End)?)?;
        str::from_utf8(bytes).map_err(|_| self.other(at, "a text in UTF-8"))
    }

    /// 32 bytes.
    pub(super) fn digest(&mut self) -> Result<[u8; 32], Unexpected> {
        let at = self.position();
        match self.rest.first_chunk::<2>() {
            Some([0xc4, 32]) => {
                self.rest = &self.rest[2..];
                self.chunk::<32>().copied()
            }
            _ => Err(self.other(at, "a digest of 32 bytes")),
        }
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Unexpected> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Unexpected::End)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], Unexpected> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Unexpected::End)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, Unexpected> {
        self.chunk::<1>().map(|[byte]| *byte)
    }

    fn u16(&mut self) -> Result<u16, Unexpected> {
        self.chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    fn u32(&mut self) -> Result<u32, Unexpected> {
        self.chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    fn u64(&mut self) -> Result<u64, Unexpected> {
        self.chunk().map(|bytes| u64::from_be_bytes(*bytes))
    }
}

fn canonical<T>(found: T, is_shortest: bool, at: usize) -> Result<T, Unexpected> {
    if is_shortest {
        return Ok(found);
    }
    Err(Unexpected::NotCanonical(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers at which one form gives way to the next.
    fn edges() -> impl Iterator<Item = i64> {
        let powers = [5, 7, 8, 15, 16, 31, 32, 63].map(|power| 1_i128 << power);
        let around = powers
            .into_iter()
            .flat_map(|power| [power - 1, power, power + 1, -power - 1, -power, 1 - power]);
        around
            .chain([0])
            .filter_map(|number| i64::try_from(number).ok())
    }

    #[test]
    fn numbers_are_written_as_the_library_for_msgpack_writes_them_and_read_back() {
        for number in edges() {
            let mut bytes = Vec::new();
            int(&mut bytes, number);
            assert_eq!(bytes, rmp_serde::to_vec(&number).unwrap());
            let mut unpacker = Unpacker::new(&bytes);
            assert_eq!((unpacker.int(), unpacker.end()), (Ok(number), Ok(())));
            if let Ok(number) = u64::try_from(number) {
                assert_eq!(Unpacker::new(&bytes).uint(), Ok(number));
            }
        }
        let mut bytes = Vec::new();
        uint(&mut bytes, u64::MAX);
        assert_eq!(Unpacker::new(&bytes).uint(), Ok(u64::MAX));
        assert!(Unpacker::new(&bytes).int().is_err());
    }

    #[test]
    fn texts_and_arrays_of_every_length_are_written_as_the_library_writes_them() {
        for length in [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536] {
            let (mut bytes, given) = (Vec::new(), "x".repeat(length));
            text(&mut bytes, &given);
            assert_eq!(bytes, rmp_serde::to_vec(&given).unwrap());
            assert_eq!(Unpacker::new(&bytes).text(), Ok(&*given));

            let (mut bytes, items) = (Vec::new(), vec![0_u8; length]);
            array(&mut bytes, length);
            assert_eq!(Unpacker::new(&bytes).array(), Ok(length));
            bytes.extend(&items);
            let library = rmp_serde::to_vec(
                &items
                    .iter()
                    .map(|item| u32::from(*item))
                    .collect::<Vec<_>>(),
            );
            assert_eq!(bytes, library.unwrap());
        }
    }

    #[test]
    fn longer_forms_are_refused() {
        let not_canonical = Err(Unexpected::NotCanonical(0));
        for bytes in [
            &[0xcc, 1][..],
            &[0xcd, 0, 1],
            &[0xce, 0, 0, 0, 1],
            &[0xcf, 0, 0, 0, 0, 0, 0, 0, 1],
        ] {
            assert_eq!(Unpacker::new(bytes).uint(), not_canonical);
            assert_eq!(Unpacker::new(bytes).int().map(|_| 0), not_canonical);
        }
        for bytes in [
            &[0xd0, 0xff][..],
            &[0xd0, 1],
            &[0xd1, 0xff, 0xff],
            &[0xd2, 0, 0, 0, 1],
        ] {
            assert_eq!(Unpacker::new(bytes).int(), Err(Unexpected::NotCanonical(0)));
        }
        assert_eq!(Unpacker::new(&[0xd3; 9]).int(), Ok(-0x2c2c_2c2c_2c2c_2c2d));
        assert_eq!(
            Unpacker::new(&[0xd9, 1, b'a']).text(),
            Err(Unexpected::NotCanonical(0))
        );
        assert_eq!(
            Unpacker::new(&[0xdc, 0, 1, 0]).array(),
            Err(Unexpected::NotCanonical(0))
        );
        assert_eq!(
            Unpacker::new(&[0xc5, 0, 32]).digest(),
            Err(Unexpected::Other {
                at: 0,
                expected: "a digest of 32 bytes"
            })
        );
        assert_eq!(
            Unpacker::new(&[0xa2, 0xff, 0xff]).text(),
            Err(Unexpected::Other {
                at: 0,
                expected: "a text in UTF-8"
            })
        );
    }
}
