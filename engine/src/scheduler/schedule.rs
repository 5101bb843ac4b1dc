//! The choices of a run as a list, and the list as a short text.
//!
//! `ilsched1:8c3d…:3x16,2/3,2:5f0e…` is the version, the digest of the [run](super::RunFingerprint)
//! in 16 digits, three each for sites, mediators, rows, barriers and steps and one for the
//! granularity, the choices, and the CRC-32 of all before it in 8. Only choices among two or more
//! mediators count. They are written as
//!
//! - `c/n`: the one at place `c`, from 0, of `n` that are ready;
//! - `n`: `0/n`, `0/n−1`, … `0/2`: `n` mediators in definition order, as at a site where all turns
//!   are in order;
//! - either with `xk`: the same `k` times over;
//! - nothing at all if there are no choices.
//!
//! Each list has one text: whatever can be written as `n` is, and equal neighbours are written
//! once.

use std::fmt;
use std::str::FromStr;

use super::ScheduleError;
use crate::digest::crc32;

/// What the text of a recorded schedule begins with.
pub(super) const MAGIC: &str = "ilsched1:";

/// The most choices that a text may stand for.
const CHOICES_MAX: usize = 1 << 20;

/// One choice between mediators that were ready.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Choice {
    /// The place of the one that continued, in definition order of those that were ready.
    pub place: u32,
    /// How many were ready: two or more.
    pub ready: u32,
}

/// The choices of a run, and the digest of the run that it belongs to.
///
/// ```
/// use interloom_engine::scheduler::Schedule;
///
/// let text = "ilsched1:00000000000000ab:3x2,2/3,2:091fe3c8";
/// let schedule: Schedule = text.parse().unwrap();
/// assert_eq!(schedule.choices().len(), 6);
/// assert_eq!(schedule.to_string(), text);
/// ```
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Schedule {
    programme: u64,
    choices: Vec<Choice>,
}

impl Schedule {
    /// Makes a schedule of choices; those among fewer than two mediators are none, and left out.
    ///
    /// # Panics
    ///
    /// Panics if a choice is of a place beyond those that are ready.
    pub fn new(programme: u64, choices: impl IntoIterator<Item = Choice>) -> Self {
        let is_choice = |choice: &Choice| {
            assert!(choice.place < choice.ready, "{choice:?} is of nobody");
            choice.ready > 1
        };
        Self {
            programme,
            choices: choices.into_iter().filter(is_choice).collect(),
        }
    }

    /// Returns the digest of the run that the schedule belongs to.
    pub const fn programme(&self) -> u64 {
        self.programme
    }

    /// Returns the choices, in order.
    pub fn choices(&self) -> &[Choice] {
        &self.choices
    }

    /// Returns how many choices are not the first in definition order.
    pub fn deviations(&self) -> usize {
        self.choices
            .iter()
            .filter(|choice| choice.place > 0)
            .count()
    }
}

/// A piece of the text.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Token {
    /// So many in definition order.
    InOrder(u32),
    One(Choice),
}

impl Token {
    /// Returns the token that the choices begin with, and how many of them it stands for.
    fn first(choices: &[Choice]) -> Option<(Self, usize)> {
        let first = *choices.first()?;
        let count = first.ready as usize - 1;
        let falls = choices.get(..count).is_some_and(|run| {
            (2..=first.ready)
                .rev()
                .zip(run)
                .all(|(ready, choice)| *choice == Choice { place: 0, ready })
        });
        Some(match falls {
            true => (Self::InOrder(first.ready), count),
            false => (Self::One(first), 1),
        })
    }

    const fn len(self) -> usize {
        match self {
            Self::InOrder(ready) => ready as usize - 1,
            Self::One(_) => 1,
        }
    }

    fn push_to(self, choices: &mut Vec<Choice>) {
        match self {
            Self::InOrder(most) => {
                choices.extend((2..=most).rev().map(|ready| Choice { place: 0, ready }));
            }
            Self::One(choice) => choices.push(choice),
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InOrder(ready) => write!(f, "{ready}"),
            Self::One(Choice { place, ready }) => write!(f, "{place}/{ready}"),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{MAGIC}{:016x}:", self.programme);
        let mut rest = &self.choices[..];
        let mut separator = "";
        while let Some((token, length)) = Token::first(rest) {
            let mut times = 0;
            while Token::first(rest) == Some((token, length)) {
                times += 1;
                rest = &rest[length..];
            }
            text += &match times {
                1 => format!("{separator}{token}"),
                times => format!("{separator}{token}x{times}"),
            };
            separator = ",";
        }
        text.push(':');
        write!(f, "{text}{:08x}", crc32(text.as_bytes()))
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let mut reader = Reader { text, at: 0 };
        reader.literal(MAGIC, "`ilsched1:`")?;
        let programme =
            reader.hexadecimal(16, "the programme's digest, 16 digits of 0-9 and a-f")?;
        reader.literal(":", "`:` after the digest")?;
        let begin = reader.at;
        // The checksum first: damage should be reported as such, and not by its consequences.
        let end = text.rfind(':').filter(|&end| end >= begin);
        let end = end.ok_or_else(|| reader.unexpected("`:` and the checksum"))?;
        let mut tail = Reader { text, at: end + 1 };
        let stated = tail.hexadecimal(8, "the checksum, 8 digits of 0-9 and a-f")?;
        if tail.at < text.len() {
            return Err(tail.unexpected("the end of the schedule"));
        }
        let computed = crc32(&text.as_bytes()[..=end]);
        if stated != u64::from(computed) {
            return Err(ScheduleError::Checksum {
                stated: stated as u32,
                computed,
                length: end + 1,
            });
        }
        let mut choices = Vec::new();
        while reader.at < end {
            if reader.at > begin {
                reader.literal(",", "`,` between choices")?;
            }
            reader.choices(&mut choices)?;
        }
        Ok(Self { programme, choices })
    }
}

/// A place in a text.
struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn unexpected(&self, expected: &'static str) -> ScheduleError {
        ScheduleError::Text {
            at: self.at,
            expected: expected.into(),
            found: quoted_from(self.text, self.at),
        }
    }

    fn literal(&mut self, literal: &str, expected: &'static str) -> Result<(), ScheduleError> {
        match self.rest().starts_with(literal) {
            true => {
                self.at += literal.len();
                Ok(())
            }
            false => Err(self.unexpected(expected)),
        }
    }

    fn hexadecimal(&mut self, digits: usize, expected: &'static str) -> Result<u64, ScheduleError> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let found = self.rest().as_bytes().get(..digits);
        let is_number = found.is_some_and(|bytes| bytes.iter().all(is_digit));
        let number = is_number.then(|| u64::from_str_radix(&self.rest()[..digits], 16));
        let Some(Ok(number)) = number else {
            return Err(self.unexpected(expected));
        };
        self.at += digits;
        Ok(number)
    }

    fn decimal(&mut self, expected: &'static str) -> Result<u32, ScheduleError> {
        let length = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let digits = &self.rest()[..length];
        let number = digits
            .parse()
            .ok()
            .filter(|_| !(length > 1 && digits.starts_with('0')));
        let number = number.ok_or_else(|| self.unexpected(expected))?;
        self.at += length;
        Ok(number)
    }

    /// Reads one token, with its repetitions.
    fn choices(&mut self, choices: &mut Vec<Choice>) -> Result<(), ScheduleError> {
        let begin = self.at;
        let first = self.decimal("a number of mediators")?;
        let token = match self.rest().starts_with('/') {
            false => Token::InOrder(first),
            true => {
                self.at += 1;
                let ready = self.decimal("a number of mediators after `/`")?;
                Token::One(Choice {
                    place: first,
                    ready,
                })
            }
        };
        let is_sound = match token {
            Token::InOrder(ready) => ready > 1,
            Token::One(Choice { place, ready }) => ready > 1 && place < ready,
        };
        let mut times = 1;
        if self.rest().starts_with('x') {
            self.at += 1;
            times = self.decimal("a number of times after `x`")? as usize;
        }
        let end = token
            .len()
            .checked_mul(times)
            .and_then(|count| count.checked_add(choices.len()));
        let problem = match end {
            _ if !is_sound => "a place below a number of mediators that is at least 2",
            Some(end) if end > CHOICES_MAX => "at most 1,048,576 choices in all",
            None => "at most 1,048,576 choices in all",
            Some(_) => {
                (0..times).for_each(|_| token.push_to(choices));
                return Ok(());
            }
        };
        self.at = begin;
        Err(self.unexpected(problem))
    }
}

/// Returns the first characters from a byte on, for a message.
pub(super) fn quoted_from(text: &str, at: usize) -> String {
    const SHOWN: usize = 16;
    match text.get(at..) {
        None | Some("") => "the end of the text".to_owned(),
        Some(rest) => format!(
            "`{}`",
            rest.chars().take(SHOWN).collect::<String>().escape_debug()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(choices: &[(u32, u32)]) -> Schedule {
        let choice = |&(place, ready): &(u32, u32)| Choice { place, ready };
        Schedule::new(0xab, choices.iter().map(choice))
    }

    /// The choices as they are written.
    fn body(choices: &[(u32, u32)]) -> String {
        let text = schedule(choices).to_string();
        let body = text.split(':').nth(2).unwrap();
        body.to_owned()
    }

    #[test]
    fn lists_are_written_as_short_as_they_can_be() {
        assert_eq!(body(&[]), "");
        assert_eq!(body(&[(0, 1)]), "");
        assert_eq!(body(&[(0, 3), (0, 2), (0, 3), (0, 2)]), "3x2");
        assert_eq!(body(&[(2, 3), (0, 2)]), "2/3,2");
        assert_eq!(body(&[(0, 3), (1, 2), (0, 2)]), "0/3,1/2,2");
        assert_eq!(body(&[(0, 3), (0, 3), (0, 3), (0, 2), (0, 2)]), "0/3x2,3,2");
        assert_eq!(body(&[(1, 2), (1, 2), (1, 2)]), "1/2x3");
    }

    #[test]
    fn a_text_that_overflows_is_refused_before_anything_is_allocated() {
        for body in [
            "2x4294967295",
            "4294967295x4294967295",
            "0/2x4294967295",
            "1048578",
        ] {
            let head = format!("{MAGIC}{:016x}:{body}:", 1);
            let error = format!("{head}{:08x}", crc32(head.as_bytes())).parse::<Schedule>();
            let message = error.unwrap_err().to_string();
            assert!(message.contains("at most 1,048,576 choices"), "{message}");
        }
    }
}
