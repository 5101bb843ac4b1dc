//! The most similar of several names, for the advice in messages.

/// Names are compared up to this many characters: a file chooses how long its names are.
const COMPARED_CHARS: usize = 96;

/// The name that is most similar to `wanted`, if one is similar at all.
///
/// Similar means that at most a third of the characters differ. Of equally similar names the
/// first is taken.
pub(crate) fn most_similar<'a>(
    wanted: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wanted: Vec<char> = wanted.chars().take(COMPARED_CHARS).collect();
    let most = (wanted.len() / 3).max(2);
    names
        .into_iter()
        .map(|name| (edit_distance(&wanted, name), name))
        .filter(|&(distance, _)| distance <= most)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// The number of characters to insert, delete or replace (Levenshtein 1966).
fn edit_distance(wanted: &[char], name: &str) -> usize {
    let mut row: Vec<usize> = (0..=wanted.len()).collect();
    for (line, found) in name.chars().take(COMPARED_CHARS).enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, &expected) in wanted.iter().enumerate() {
            let replaced = diagonal + usize::from(found != expected);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[wanted.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_counts_changes() {
        for (a, b, distance) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            let a: Vec<char> = a.chars().collect();
            assert_eq!(edit_distance(&a, b), distance, "{a:?} {b}");
        }
    }

    #[test]
    fn only_similar_names_are_proposed() {
        let names = ["model.norm.weight", "lm_head.weight"];
        assert_eq!(
            most_similar("model.norm.weigth", names),
            Some("model.norm.weight")
        );
        assert_eq!(most_similar("something else", names), None);
        assert_eq!(most_similar("anything", []), None);
    }
}
