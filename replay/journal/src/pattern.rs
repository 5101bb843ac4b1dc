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
    match pattern.split_once('*') {
        None => {
            let rest = point.strip_prefix(pattern);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }
        Some((start, rest)) => point.strip_prefix(start).is_some_and(|tail| {
            let mut ends = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
            ends.any(|end| names(rest, &tail[end..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
