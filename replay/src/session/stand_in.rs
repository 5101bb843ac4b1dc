//! What was refused, read from the message of its refusal: a journal has no refused values.
//!
//! A swap is refused for the structure, the kinds and the shapes of its value, and the message has all of them, in the words
//! of [`Value`]'s `Display`. So zeros stand in for the tensors, and are refused for the same reason, in the same words.

use burn::tensor::{Device, TensorData};
use interloom_backends::Value;

use super::recorded::{build, burn_dtype};
use crate::journal::{DType, Digest, VALUE_DEPTH_MAX, ValueTree};

/// The bytes of zeros that stand in for one value: the message is a file's, and nobody refuses so much.
const BYTES_MAX: usize = 1 << 30;

/// Returns what a message says did not fit, with zeros for the content of tensors; nothing if that cannot be read or made.
pub(super) fn of_message(message: &str, device: &Device) -> Option<Value> {
    of_tree(&misfit(message)?, device)
}

fn of_tree(tree: &ValueTree, device: &Device) -> Option<Value> {
    let mut left = BYTES_MAX;
    let tensor = &mut |dtype: DType, shape: &[u64], _: &Digest| {
        let lengths: Option<Vec<usize>> = shape.iter().map(|&n| usize::try_from(n).ok()).collect();
        let lengths = lengths.ok_or(())?;
        let first = Some(dtype.element_bytes() as usize);
        let bytes = lengths
            .iter()
            .fold(first, |bytes, &length| bytes?.checked_mul(length));
        let bytes = bytes.ok_or(())?;
        left = left.checked_sub(bytes).ok_or(())?;
        let zeros = TensorData::from_bytes_vec(vec![0; bytes], lengths, burn_dtype(dtype));
        Value::from_data(zeros, device).map_err(|_| ())
    };
    build(tree, tensor).ok()
}

/// Reads `… does not fit: expected VALUE, found VALUE; …`, and returns what was found.
fn misfit(message: &str) -> Option<ValueTree> {
    let (_, rest) = message.split_once(" does not fit: expected ")?;
    let mut reader = Reader { rest };
    reader.described()?;
    reader.word(", found ")?;
    let found = reader.described()?;
    (reader.rest.is_empty() || reader.rest.starts_with("; ")).then_some(found)
}

/// What is left of a text that `Value`'s `Display` has written.
struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    /// Reads `VALUE` or `PART within VALUE`, and returns the whole value.
    fn described(&mut self) -> Option<ValueTree> {
        let value = self.value(VALUE_DEPTH_MAX)?;
        match self.word(" within ") {
            Some(()) => self.value(VALUE_DEPTH_MAX),
            None => Some(value),
        }
    }

    /// Reads a value in which so many others enclose the innermost one.
    fn value(&mut self, depth: usize) -> Option<ValueTree> {
        let items = |reader: &mut Self, close| {
            let depth = depth.checked_sub(1)?;
            reader.items(close, |reader| reader.value(depth))
        };
        if self.word("(").is_some() {
            return items(self, ")").map(ValueTree::Tuple);
        }
        if self.word("[").is_some() {
            return items(self, "]").map(ValueTree::List);
        }
        if self.word("{").is_some() {
            let depth = depth.checked_sub(1)?;
            let entries = self.items("}", |reader| reader.entry(depth))?;
            return Some(ValueTree::Map(entries));
        }
        if self.rest.starts_with('"') {
            return self.text().map(ValueTree::Text);
        }
        match self.plain() {
            "nothing" => Some(ValueTree::Unit),
            "true" => Some(ValueTree::Bool(true)),
            "false" => Some(ValueTree::Bool(false)),
            name if self.rest.starts_with('[') => self.tensor(name),
            number => match number.parse() {
                Ok(number) => Some(ValueTree::Int(number)),
                Err(_) => number.parse().ok().map(ValueTree::Float),
            },
        }
    }

    fn entry(&mut self, depth: usize) -> Option<(String, ValueTree)> {
        let key = match self.rest.starts_with('"') {
            true => self.text()?,
            false => {
                let (key, _) = self.rest.split_once(':')?;
                self.rest = &self.rest[key.len()..];
                key.to_owned()
            }
        };
        self.word(": ")?;
        Some((key, self.value(depth)?))
    }

    fn tensor(&mut self, dtype: &str) -> Option<ValueTree> {
        let dtype = DType::ALL.into_iter().find(|known| known.name() == dtype)?;
        self.word("[")?;
        let shape = self.items("]", |reader| reader.plain().parse().ok())?;
        Some(ValueTree::Tensor {
            dtype,
            shape,
            digest: Digest::ZERO,
        })
    }

    /// Reads what stands between commas, up to the bracket that closes it.
    fn items<T>(&mut self, close: &str, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        while self.word(close).is_none() {
            if !items.is_empty() {
                self.word(", ")?;
            }
            items.push(item(self)?);
        }
        Some(items)
    }

    /// Reads a text between quotation marks, with Rust's escapes.
    fn text(&mut self) -> Option<String> {
        self.word("\"")?;
        let mut text = String::new();
        loop {
            match self.character()? {
                '"' => return Some(text),
                '\\' => text.push(self.escaped()?),
                plain => text.push(plain),
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        Some(match self.character()? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '0' => '\0',
            'u' => {
                self.word("{")?;
                let (number, _) = self.rest.split_once('}')?;
                self.rest = &self.rest[number.len()..];
                self.word("}")?;
                char::from_u32(u32::from_str_radix(number, 16).ok()?)?
            }
            itself => itself,
        })
    }

    /// Reads letters, digits and what else a name or number has.
    fn plain(&mut self) -> &'t str {
        let is_plain =
            |character: char| character.is_ascii_alphanumeric() || "+-.".contains(character);
        let end = self.rest.find(|character: char| !is_plain(character));
        let (plain, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        plain
    }

    fn character(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let first = characters.next();
        self.rest = characters.as_str();
        first
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(expected: &str, found: &str) -> String {
        format!(
            "the replacement for `a.output.i0` does not fit: expected {expected}, found {found}; a swap keeps kind and shape"
        )
    }

    /// What the stand-in of a message looks like.
    fn read(found: &str) -> Option<String> {
        let value = of_message(&told("f32[1]", found), &Device::flex());
        value.map(|value| value.to_string())
    }

    #[test]
    fn what_was_found_is_made_again() {
        for (found, whole) in [
            ("f32[2, 3]", "f32[2, 3]"),
            ("i32[2]", "i32[2]"),
            ("bool[1, 1]", "bool[1, 1]"),
            ("(f32[2], nothing, [])", "(f32[2], nothing, [])"),
            ("f32[2] within (f32[2], true)", "(f32[2], true)"),
            ("{mask: -3, \"a: b\": 1.0}", "{mask: -3, \"a: b\": 1.0}"),
            ("[NaN, -inf, 1e300, ()]", "[NaN, -inf, 1e300, ()]"),
            (r#"", found \"\n\u{7f}""#, r#"", found \"\n\u{7f}""#),
        ] {
            assert_eq!(read(found).as_deref(), Some(whole));
        }
        let message = told("f32[2] within (\", found 1\", f32[2])", "false");
        let value = of_message(&message, &Device::flex()).unwrap();
        assert_eq!(value.to_string(), "false");
    }

    #[test]
    fn what_is_no_value_or_too_much_is_not_made() {
        let deep = "(".repeat(1_000_000);
        for found in [
            "",
            "f32[2, 3",
            "f32[2, x]",
            "f32[-1]",
            "f32[]",
            "quantised[2]",
            "f32[2] and more",
            "(f32[2] f32[2])",
            "{f32[2]}",
            "\"no end",
            r#""\u{d800}""#,
            "f32[4294967296, 4294967296, 4294967296]",
            "f64[18446744073709551616]",
            "(f32[200000000], f32[200000000])",
            &deep,
        ] {
            assert_eq!(read(found), None, "{:.40}", found);
        }
        assert!(of_message("the mediator is late", &Device::flex()).is_none());
    }

    fn trees() -> impl Strategy<Value = ValueTree> {
        let tensor = (0..DType::ALL.len(), prop::collection::vec(0..4_u64, 1..4));
        let leaf = prop_oneof![
            Just(ValueTree::Unit),
            any::<bool>().prop_map(ValueTree::Bool),
            any::<i64>().prop_map(ValueTree::Int),
            any::<f64>().prop_map(ValueTree::Float),
            any::<String>().prop_map(ValueTree::Text),
            tensor.prop_map(|(dtype, shape)| ValueTree::Tensor {
                dtype: DType::ALL[dtype],
                shape,
                digest: Digest::ZERO,
            }),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let items = || prop::collection::vec(inner.clone(), 0..4);
            let entry = (prop_oneof!["[a-z_.]{1,4}", any::<String>()], inner.clone());
            prop_oneof![
                items().prop_map(ValueTree::Tuple),
                items().prop_map(ValueTree::List),
                prop::collection::vec(entry, 0..4).prop_map(ValueTree::Map),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_value_is_read_as_it_was_shown(expected in trees(), found in trees()) {
            let device = Device::flex();
            let shown = |tree| of_tree(tree, &device).unwrap().to_string();
            let (inner, whole) = (shown(&expected), shown(&found));
            for message in [told(&inner, &whole), told("1", &format!("{inner} within {whole}"))] {
                let read = misfit(&message).expect("a message");
                // One NaN is shown as another.
                prop_assert_eq!(format!("{read:?}"), format!("{found:?}"));
            }
        }

        #[test]
        fn no_message_is_a_panic(text in any::<String>()) {
            drop(read(&text));
        }
    }
}
