//! Patterns of points, by which a run says of which it keeps the tensors.

/// Returns whether the tensors at a point are kept, by the last of some patterns that matches it;
/// nothing if none does.
///
/// A pattern that begins with `!` is of points whose tensors are not kept. The rest of it names
/// points: `*` stands for any text, and one that ends before a dot has all that is inside.
pub(super) fn is_kept(patterns: &[String], point: &str) -> Option<bool> {
    let mut last_first = patterns.iter().rev();
    last_first.find_map(|pattern| {
        let excluded = pattern.strip_prefix('!');
        names(excluded.unwrap_or(pattern), point).then_some(excluded.is_none())
    })
}

/// Returns whether a pattern names a point, or what the point is inside of.
fn names(pattern: &str, point: &str) -> bool {
    let inside = point.match_indices('.').map(|(dot, _)| &point[..dot]);
    inside.chain([point]).any(|name| is_match(pattern, name))
}

/// Returns whether a text is what a pattern stands for.
///
/// Each part between two `*` is taken where it comes first, so that no text and pattern of a
/// journal, however made, take longer than their lengths multiplied.
fn is_match(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let (between, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in between.split('*') {
        match text.split_once(part) {
            Some((_, behind)) => text = behind,
            None => return false,
        }
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tries every text for each `*`.
    fn tried(pattern: &str, text: &str) -> bool {
        match pattern.split_once('*') {
            None => pattern == text,
            Some((start, rest)) => text.strip_prefix(start).is_some_and(|tail| {
                let mut places = 0..=tail.len();
                places.any(|place| tried(rest, &tail[place..]))
            }),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_stands_for_what_every_try_finds(pattern in "[ab*]{0,7}", text in "[ab]{0,9}") {
            prop_assert_eq!(is_match(&pattern, &text), tried(&pattern, &text));
        }
    }

    #[test]
    fn a_pattern_names_points_and_what_is_inside() {
        let all = [
            "blocks.1.attn.output",
            "blocks.11.attn.output",
            "blocks.1.mlp.input",
        ];
        for (pattern, expected) in [
            ("*", [true, true, true]),
            ("", [false, false, false]),
            ("blocks", [true, true, true]),
            ("blocks.1", [true, false, true]),
            ("blocks.1*", [true, true, true]),
            ("blocks.*.attn", [true, true, false]),
            ("*.attn.output", [true, true, false]),
            ("*attn*put", [true, true, false]),
            ("blocks.1.attn.output", [true, false, false]),
            ("blocks.1.attn.out", [false, false, false]),
            ("*.grad", [false, false, false]),
        ] {
            assert_eq!(
                all.map(|point| names(pattern, point)),
                expected,
                "{pattern}"
            );
        }
        assert!(names("", ""), "the model's own point");
        assert!(names("ü*", "üa"));
        assert!(!names("a*a", "a"));
    }

    #[test]
    fn no_pattern_takes_long() {
        let (pattern, point) = ("a*".repeat(2_000) + "b", "a".repeat(10_000));
        assert!(!names(&pattern, &point));
        assert!(names(&pattern, &(point + "b")));
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        let patterns = ["*", "!blocks", "blocks.1"].map(str::to_owned);
        let kept = |point| is_kept(&patterns, point);
        assert_eq!(kept("embed.output"), Some(true));
        assert_eq!(kept("blocks.0.output"), Some(false));
        assert_eq!(kept("blocks.1.output"), Some(true));
        assert_eq!(is_kept(&patterns[1..], "embed.output"), None);
    }
}
