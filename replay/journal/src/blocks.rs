//! Reading a source in large blocks, of which frames are pieces.

use std::io::{self, Read};

/// A source, and what has been read of it and not been used.
#[derive(Debug)]
pub(super) struct Blocks<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// What is read first: more than most journals have before their first exchange.
const FIRST_BYTES: usize = 1 << 13;

/// What is read at once after that; larger than the buffer of a `BufReader`, which it so passes by.
const BLOCK_BYTES: usize = 1 << 17;

impl<R: Read> Blocks<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            start: 0,
            end: 0,
        }
    }

    /// What is there of the next `wanted` bytes: less than that only where the source ends.
    ///
    /// Memory grows with what is really there, whatever is wanted.
    #[inline]
    pub(super) fn peek(&mut self, wanted: usize) -> io::Result<&[u8]> {
        if self.end - self.start < wanted {
            self.fill(wanted)?;
        }
        let end = self.end.min(self.start.saturating_add(wanted));
        Ok(&self.buffer[self.start..end])
    }

    /// Goes on after `count` bytes, which have been seen by [`peek`](Self::peek), and gives them.
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> &[u8] {
        let start = self.start;
        self.start += count;
        &self.buffer[start..self.start]
    }

    #[cold]
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() == FIRST_BYTES {
            self.buffer.resize(BLOCK_BYTES, 0);
        }
        while self.end < wanted {
            if self.buffer.is_empty() {
                self.buffer.resize(FIRST_BYTES, 0);
            } else if self.end == self.buffer.len() {
                let twice = (2 * self.end).clamp(BLOCK_BYTES, wanted.max(BLOCK_BYTES));
                self.buffer.resize(twice, 0);
            }
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<R> Blocks<R> {
    /// The source, to go to another place in it: what was read ahead is forgotten.
    pub(super) fn rewound(&mut self) -> &mut R {
        (self.start, self.end) = (0, 0);
        &mut self.source
    }

    /// The source, which has been read further than what was used.
    pub(super) fn into_source(self) -> R {
        self.source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Dripping<'a>(&'a [u8], usize);

    impl Read for Dripping<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.1);
            self.0.read(&mut bytes[..count])
        }
    }

    #[test]
    fn pieces_of_all_sizes_come_as_they_are() {
        let bytes: Vec<u8> = (0..3 * BLOCK_BYTES).map(|at| (at / 7) as u8).collect();
        for at_once in [1000, BLOCK_BYTES - 1, usize::MAX] {
            let mut blocks = Blocks::new(Dripping(&bytes, at_once));
            let mut at = 0;
            for size in (0..).map(|number| number * 977 % (BLOCK_BYTES + 1000)) {
                let found = blocks.peek(size).unwrap().len();
                assert_eq!(found, size.min(bytes.len() - at));
                assert_eq!(blocks.take(found), &bytes[at..at + found]);
                at += found;
                if found < size {
                    break;
                }
            }
            assert_eq!(at, bytes.len());
        }
    }

    #[test]
    fn memory_grows_with_what_is_there() {
        let bytes = [1; 100];
        let mut blocks = Blocks::new(&bytes[..]);
        assert_eq!(blocks.peek(1 << 30).unwrap().len(), 100);
        assert!(blocks.buffer.capacity() <= 2 * BLOCK_BYTES);
    }
}
