//! A vocabulary of SentencePiece: pieces with scores, which are joined as llama.cpp does.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

/// What a space is in pieces.
pub(crate) const SPACE: char = '\u{2581}';

/// The pieces of a vocabulary.
pub(crate) struct Pieces {
    numbers: BTreeMap<String, u32>,
    /// By number.
    scores: Vec<f32>,
    /// The pieces that stand for one byte each, by byte.
    bytes: Vec<Option<u32>>,
    /// Whether a space comes before a text, and before what follows a token that is cut out of it.
    pub(crate) adds_space: bool,
}

/// A part of a text that is a piece, or a character; both in a list of those that are left.
#[derive(Clone, Copy)]
struct Part {
    start: usize,
    /// Where it ends; the same as the start if it was joined to the one before.
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that together are a piece. The greatest is joined first: that of the best score,
/// and of several the leftmost.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Where the two ended when they were found.
    ends: [usize; 2],
}

impl Pieces {
    /// Makes the pieces of a vocabulary whose tokens have a score each.
    pub(super) fn new(numbers: &BTreeMap<&str, u32>, scores: Vec<f32>, adds_space: bool) -> Self {
        let byte = |byte: u8| numbers.get(format!("<0x{byte:02X}>").as_str()).copied();
        let bytes = (0..=u8::MAX).map(byte).collect();
        let own = |(piece, &number): (&&str, &u32)| ((*piece).to_owned(), number);
        Self {
            numbers: numbers.iter().map(own).collect(),
            scores,
            bytes,
            adds_space,
        }
    }

    /// Returns the pieces of a text without tokens that are cut out of it first, or the first
    /// character that has none.
    pub(crate) fn split(&self, text: &str) -> Result<Vec<u32>, char> {
        let front = if self.adds_space && !text.is_empty() {
            " "
        } else {
            ""
        };
        let text = [front, text].concat().replace(' ', &SPACE.to_string());
        let mut numbers = Vec::new();
        for Part { start, end, .. } in self.joined(&text) {
            let part = &text[start..end];
            if let Some(&number) = self.numbers.get(part) {
                numbers.push(number);
                continue;
            }
            for byte in part.bytes() {
                let number = self.bytes[usize::from(byte)];
                let character = part.chars().next().unwrap_or(SPACE);
                numbers.push(number.ok_or(if character == SPACE { ' ' } else { character })?);
            }
        }
        Ok(numbers)
    }

    /// Joins characters to pieces until no two neighbours are one.
    fn joined(&self, text: &str) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for (start, character) in text.char_indices() {
            let number = parts.len();
            parts.push(Part {
                start,
                end: start + character.len_utf8(),
                previous: number.checked_sub(1),
                next: Some(number + 1),
            });
        }
        let Some(last) = parts.last_mut() else {
            return parts;
        };
        last.next = None;
        let mut pairs: BinaryHeap<Pair> = (1..parts.len())
            .filter_map(|right| self.pair(text, &parts, Some(right - 1), Some(right)))
            .collect();
        while let Some(Pair {
            left, right, ends, ..
        }) = pairs.pop()
        {
            if [parts[left].end, parts[right].end] != ends || parts[left].next != Some(right) {
                continue;
            }
            parts[left].end = parts[right].end;
            parts[left].next = parts[right].next;
            parts[right].end = parts[right].start;
            if let Some(next) = parts[left].next {
                parts[next].previous = Some(left);
            }
            pairs.extend(self.pair(text, &parts, parts[left].previous, Some(left)));
            pairs.extend(self.pair(text, &parts, Some(left), parts[left].next));
        }
        parts.retain(|part| part.end > part.start);
        parts
    }

    fn pair(
        &self,
        text: &str,
        parts: &[Part],
        left: Option<usize>,
        right: Option<usize>,
    ) -> Option<Pair> {
        let (left, right) = (left?, right?);
        let ends = [parts[left].end, parts[right].end];
        let number = self.numbers.get(&text[parts[left].start..ends[1]])?;
        let score = self.scores.get(*number as usize).copied()?;
        Some(Pair {
            score,
            left,
            right,
            ends,
        })
    }
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        by_score.then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Pair {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(of: &[(&str, f32)], adds_space: bool) -> Pieces {
        let numbers = of
            .iter()
            .zip(0..)
            .map(|((piece, _), number)| (*piece, number));
        let scores = of.iter().map(|(_, score)| *score).collect();
        Pieces::new(&numbers.collect(), scores, adds_space)
    }

    #[test]
    fn the_best_pair_is_joined_first_and_of_several_the_leftmost() {
        let pieces = pieces(
            &[
                ("a", -9.0),
                ("b", -9.0),
                ("ab", -1.0),
                ("ba", -2.0),
                ("aa", -2.0),
                ("aba", -3.0),
            ],
            false,
        );
        for (text, expected) in [
            ("", &[][..]),
            ("b", &[1]),
            ("aba", &[5]),
            ("baba", &[1, 5]),
            ("aaa", &[4, 0]),
            ("bab", &[1, 2]),
        ] {
            assert_eq!(pieces.split(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn spaces_are_characters_and_bytes_stand_for_others() {
        let vocabulary = [
            ("▁", -1.0),
            ("a", -2.0),
            ("▁a", -3.0),
            ("<0xC3>", 0.0),
            ("<0xA9>", 0.0),
        ];
        let split = |adds_space, text: &str| pieces(&vocabulary, adds_space).split(text);
        assert_eq!(split(false, "a a").unwrap(), [1, 2]);
        assert_eq!(split(true, "a  a").unwrap(), [2, 0, 2]);
        assert_eq!(split(false, "é").unwrap(), [3, 4]);
        assert_eq!(split(false, "aü").unwrap_err(), 'ü');
        assert!(split(true, "").unwrap().is_empty());
    }

    /// Joins one pair after the other, each found anew.
    fn slowly(pieces: &Pieces, text: &str) -> Vec<String> {
        let mut parts: Vec<String> = text.chars().map(String::from).collect();
        loop {
            let score = |at: usize| {
                let number = pieces.numbers.get(&parts[at..at + 2].concat())?;
                Some((pieces.scores[*number as usize], at))
            };
            let mut best: Option<(f32, usize)> = None;
            for found in (1..parts.len()).filter_map(|at| score(at - 1)) {
                if best.is_none_or(|best| found.0 > best.0) {
                    best = Some(found);
                }
            }
            let Some((_, at)) = best else {
                return parts;
            };
            let joined = parts[at..at + 2].concat();
            parts.splice(at..at + 2, [joined]);
        }
    }

    proptest! {
        #[test]
        fn it_is_as_joining_one_pair_after_the_other(
            more in prop::collection::btree_map("[abc]{2,4}", -4_i8..0, 1..12),
            text in "[abcd]{0,24}",
        ) {
            let mut vocabulary = vec![("a", -9.0), ("b", -9.0), ("c", -9.0), ("<0x64>", 0.0)];
            vocabulary.extend(more.iter().map(|(piece, score)| (piece.as_str(), f32::from(*score))));
            let pieces = pieces(&vocabulary, false);
            let expected: Vec<u32> = slowly(&pieces, &text)
                .iter()
                .map(|part| pieces.numbers.get(part).copied().unwrap_or(3))
                .collect();
            prop_assert_eq!(pieces.split(&text).unwrap(), expected);
        }
    }
}
