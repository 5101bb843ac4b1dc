//! The document and the code have one transition table.

use std::fmt::Write;

use interloom_engine::transition::{TRANSITIONS, Transition};

const BEGIN: &str = "<!-- transitions: begin; `cargo test -p interloom-engine --test protocol` prints what belongs here -->\n";
const END: &str = "<!-- transitions: end -->";

/// Draws the table, one row for each transition, in the order of the code.
fn drawn() -> String {
    let mut table = "\n| in state | on | to state |\n|---|---|---|\n".to_owned();
    for row in TRANSITIONS {
        let Transition { from, on, to } = row;
        let on = format!("{on:?}").to_lowercase();
        writeln!(table, "| {from} | {on} | {to} |").expect("a string takes everything");
    }
    table.push('\n');
    table
}

#[test]
fn the_document_has_the_table_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PROTOCOL.md");
    let text = std::fs::read_to_string(path).expect("docs/PROTOCOL.md");
    let (_, rest) = text.split_once(BEGIN).expect("the marker where it begins");
    let (found, _) = rest.split_once(END).expect("the marker where it ends");
    let drawn = drawn();
    assert!(
        found == drawn,
        "the table in docs/PROTOCOL.md is not that of the code; between the markers belongs:\n{drawn}"
    );
}
