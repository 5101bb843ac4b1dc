//! Where in an experiment file something stands.

use std::fmt;
use std::ops::Range;

/// A line and a column of a file, as the user named it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spot {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The character in the line, from 1.
    pub column: u32,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The text of a file with the places of its lines.
#[derive(Clone, Debug)]
pub(super) struct Source {
    file: String,
    text: String,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
}

impl Source {
    pub(super) fn new(file: &str, text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
            lines: std::iter::once(0)
                .chain(ends.map(|(at, _)| at + 1))
                .collect(),
        }
    }

    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// Returns the line of a place in bytes, from 1.
    pub(super) fn line(&self, at: usize) -> u32 {
        self.lines.partition_point(|&start| start <= at) as u32
    }

    pub(super) fn spot(&self, at: usize) -> Spot {
        let line = self.line(at);
        let start = self.lines[line as usize - 1];
        let before = self.text.get(start..at).unwrap_or("");
        Spot {
            file: self.file.clone(),
            line,
            column: before.chars().count() as u32 + 1,
        }
    }

    /// Returns the text of a TOML string with the place of each of its bytes in the file.
    pub(super) fn located(&self, span: Range<usize>, text: &str) -> Located {
        let raw = self.text.get(span.clone()).unwrap_or("");
        let mut places = Places::default();
        places.string(raw, span.start);
        // Should TOML and this ever disagree, the place is that of the whole string.
        if places.offsets.len() != text.len() {
            places.offsets = vec![span.start; text.len()];
        }
        places.offsets.push(span.end);
        Located {
            text: text.to_owned(),
            offsets: places.offsets,
        }
    }
}

/// A text that comes from a file, perhaps with escapes and substitutions.
#[derive(Clone, Debug)]
pub(super) struct Located {
    text: String,
    /// The place in the file of each byte, and of the end.
    offsets: Vec<usize>,
}

impl Located {
    /// A text that is a file of its own.
    pub(super) fn whole(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            offsets: (0..=text.len()).collect(),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the place in the file of a byte.
    pub(super) fn offset(&self, at: usize) -> usize {
        self.offsets[at.min(self.offsets.len() - 1)]
    }

    /// Returns the text with `with` in place of each `what`; it stands where that stood.
    pub(super) fn replace(&self, what: &str, with: &str) -> Self {
        let (mut text, mut offsets) = (String::new(), Vec::new());
        let mut rest = 0;
        for (at, _) in self.text.match_indices(what) {
            text.push_str(&self.text[rest..at]);
            offsets.extend_from_slice(&self.offsets[rest..at]);
            text.push_str(with);
            offsets.extend(std::iter::repeat_n(self.offsets[at], with.len()));
            rest = at + what.len();
        }
        text.push_str(&self.text[rest..]);
        offsets.extend_from_slice(&self.offsets[rest..]);
        Self { text, offsets }
    }
}

/// The places of the bytes that a TOML string stands for.
#[derive(Default)]
struct Places {
    offsets: Vec<usize>,
}

impl Places {
    fn string(&mut self, raw: &str, start: usize) {
        let quotes = ["\"\"\"", "'''", "\"", "'"];
        let Some(quote) = quotes.into_iter().find(|quote| raw.starts_with(quote)) else {
            return;
        };
        let Some(inner) = raw[quote.len()..].strip_suffix(quote) else {
            return;
        };
        let mut start = start + quote.len();
        let mut inner = inner;
        if quote.len() == 3 {
            // A newline right after the quotes is not part of the text.
            let trimmed = inner.strip_prefix("\r\n").or(inner.strip_prefix('\n'));
            let trimmed = trimmed.unwrap_or(inner);
            start += inner.len() - trimmed.len();
            inner = trimmed;
        }
        match quote.starts_with('"') {
            true => self.escaped(inner, start),
            false => self.offsets.extend(start..start + inner.len()),
        }
    }

    fn escaped(&mut self, inner: &str, start: usize) {
        let mut rest = inner;
        while let Some(first) = rest.chars().next() {
            let at = start + (inner.len() - rest.len());
            if first != '\\' {
                self.offsets.extend(at..at + first.len_utf8());
                rest = &rest[first.len_utf8()..];
                continue;
            }
            let (stands_for, length) = escape(rest);
            self.offsets.extend(std::iter::repeat_n(at, stands_for));
            rest = rest.get(length..).unwrap_or("");
        }
    }
}

/// Returns for an escape how many bytes it stands for, and how long it is.
fn escape(text: &str) -> (usize, usize) {
    let hexadecimal = |digits: usize| {
        let code = text.get(2..2 + digits);
        let code = code.and_then(|code| u32::from_str_radix(code, 16).ok());
        let character = code.and_then(char::from_u32);
        (character.map_or(0, char::len_utf8), 2 + digits)
    };
    match text[1..].chars().next() {
        Some('x') => hexadecimal(2),
        Some('u') => hexadecimal(4),
        Some('U') => hexadecimal(8),
        // At the end of a line it takes all blanks with it.
        Some(blank) if blank.is_whitespace() => {
            (0, 1 + text[1..].len() - text[1..].trim_start().len())
        }
        _ => (1, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::de::DeTable;

    #[test]
    fn lines_and_columns_are_counted_from_one() {
        let source = Source::new("a.toml", "ab\ncä = 1\n");
        let spot = |at| source.spot(at).to_string();
        assert_eq!(spot(0), "a.toml:1:1");
        assert_eq!(spot(3), "a.toml:2:1");
        assert_eq!(spot(7), "a.toml:2:4");
        assert_eq!(spot(99), "a.toml:3:1");
    }

    /// Every byte of a string is found where it stands, whichever way it is written.
    #[test]
    fn strings_know_where_their_bytes_stand() {
        for (text, lines) in [
            ("s = \"ab\"", vec![1, 1]),
            ("s = '''\na\n\\b\n'''", vec![2, 2, 3, 3, 3]),
            ("s = \"\"\"\na\nb\"\"\"", vec![2, 2, 3]),
            ("s = \"\"\"a\\nb\nc\"\"\"", vec![1, 1, 1, 1, 2]),
            ("s = \"\"\"a \\\n   \n  b\"\"\"", vec![1, 1, 3]),
            (
                "s = \"\"\"\\u00e9\n\\U0001F600x\"\"\"",
                vec![1, 1, 1, 2, 2, 2, 2, 2],
            ),
            ("s = \"\"\"\r\na\r\nb\"\"\"", vec![2, 2, 2, 3]),
        ] {
            let table = DeTable::parse(text).unwrap();
            let value = table.get_ref().get("s").unwrap();
            let decoded = value.get_ref().as_str().unwrap();
            let source = Source::new("a.toml", text);
            let located = source.located(value.span(), decoded);
            let found = (0..decoded.len()).map(|at| source.line(located.offset(at)));
            let found: Vec<u32> = found.collect();
            assert_eq!(found, lines, "{text:?}");
        }
    }

    #[test]
    fn substitutions_stand_where_the_placeholder_stood() {
        let located = Located::whole("a{x}b{x}");
        let replaced = located.replace("{x}", "12345");
        assert_eq!(replaced.text(), "a12345b12345");
        let offsets: Vec<usize> = (0..=12).map(|at| replaced.offset(at)).collect();
        assert_eq!(offsets, [0, 1, 1, 1, 1, 1, 4, 5, 5, 5, 5, 5, 8]);
    }
}
