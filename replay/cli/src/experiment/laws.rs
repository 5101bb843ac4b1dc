//! Whatever a text is, it is read or refused.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::error::ExperimentError;
use super::plan::Plan;

fn plan(text: &str) -> Result<Plan, ExperimentError> {
    Plan::read("e.toml", text, &BTreeMap::new())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _whatever_it_is = plan(&text);
    }

    /// A good file with some characters changed.
    #[test]
    fn no_changed_file_panics(at in 0usize..3000, with in "[\\[\\]{}='\"0-9a-z.\n]{0,3}") {
        let text = include_str!("../../experiments/patching.toml");
        let at = text.char_indices().map(|(at, _)| at).nth(at).unwrap_or(0);
        let cut = text[at..].chars().next().map_or(0, char::len_utf8);
        let changed = format!("{}{with}{}", &text[..at], &text[at + cut..]);
        let _whatever_it_is = plan(&changed);
    }
}
