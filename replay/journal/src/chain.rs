//! The digest of a run, over all that was exchanged so far.
//!
//! Lines of source are not in it: they stand beside the evidence, with a digest of their own, so
//! that code that has only moved is no divergence.

use super::digest::Digest;

/// BLAKE3 over the previous run's digest and the payloads since.
///
/// The payloads are gathered, so that BLAKE3 gets pieces that start at a multiple of their own
/// size. It hashes the chunks of such a piece beside each other; of any other piece, and of single
/// payloads, it hashes them one by one, which takes several times as long.
#[derive(Debug)]
pub(super) struct Chain {
    hasher: blake3::Hasher,
    pending: Vec<u8>,
}

/// What is hashed at once: as many chunks of BLAKE3 as the widest processors take beside each
/// other.
pub(super) const PIECE_BYTES: usize = 1 << 14;

impl Chain {
    /// A chain that continues from the digest of the run before.
    pub(super) fn new(previous: &Digest) -> Self {
        let mut pending = Vec::with_capacity(PIECE_BYTES);
        pending.extend_from_slice(&previous.0);
        Self {
            hasher: blake3::Hasher::new(),
            pending,
        }
    }

    /// Starts again from another digest, in the same memory.
    pub(super) fn restart(&mut self, previous: &Digest) {
        self.hasher.reset();
        self.pending.clear();
        self.pending.extend_from_slice(&previous.0);
    }

    /// Takes a payload in.
    #[inline]
    pub(super) fn add(&mut self, payload: &[u8]) {
        let mut rest = payload;
        while rest.len() >= PIECE_BYTES - self.pending.len() {
            rest = self.fill(rest);
        }
        self.pending.extend_from_slice(rest);
    }

    /// Completes a piece, hashes it and returns what is left of the payload.
    #[cold]
    fn fill<'p>(&mut self, payload: &'p [u8]) -> &'p [u8] {
        let (now, later) = payload.split_at(PIECE_BYTES - self.pending.len());
        self.pending.extend_from_slice(now);
        self.hasher.update(&self.pending);
        self.pending.clear();
        later
    }

    /// The digest of all that was taken in; more can follow.
    pub(super) fn digest(&self) -> Digest {
        self.digest_with(&[])
    }

    /// The digest that there is if this comes last.
    pub(super) fn digest_with(&self, last: &[u8]) -> Digest {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.pending);
        hasher.update(last);
        Digest(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_does_not_depend_on_how_payloads_are_gathered() {
        let lengths = [
            0,
            1,
            70,
            PIECE_BYTES - 103,
            PIECE_BYTES,
            PIECE_BYTES + 1,
            3 * PIECE_BYTES + 5,
            5,
        ];
        let mut chain = Chain::new(&Digest([9; 32]));
        let mut whole = vec![9; 32];
        for (number, length) in lengths.into_iter().enumerate() {
            let payload = vec![number as u8; length];
            chain.add(&payload);
            whole.extend(payload);
            assert_eq!(chain.digest().0, *blake3::hash(&whole).as_bytes());
        }
        assert_eq!(
            chain.digest_with(&[7; 100]).0,
            *blake3::hash(&[&whole[..], &[7; 100]].concat()).as_bytes()
        );
        chain.restart(&Digest([3; 32]));
        assert_eq!(chain.digest(), Chain::new(&Digest([3; 32])).digest());
    }
}
