//! Small experiments.

use std::fs;

use crate::Place;

/// A folder with one experiment, `e.toml`.
pub(crate) fn with_text(text: &str) -> Place {
    let place = Place::new();
    fs::write(place.path("e.toml"), text).unwrap();
    place
}

/// A folder with one experiment, `e.toml`: a run of the induction model on three tokens, by
/// programs of these names.
pub(crate) fn with_programs(more: &str, programs: &[(&str, &str)]) -> Place {
    let mut text = format!(
        "model = 'induction'\n[[input]]\nname = 'a'\ntokens = [1, 2, 3]\n[[run]]\nname = 'r'\ninput = 'a'\n{more}\n"
    );
    for (name, program) in programs {
        text += &format!("[[run.invoke]]\nname = '{name}'\nprogram = '''\n{program}\n'''\n");
    }
    with_text(&text)
}
