//! Values that are followed back.

use std::io::Cursor;

use super::super::provenance::{Source, provenance, provenance_of};
use super::*;

/// What one exchange does: mediator, event, site and elements.
type Line = (u32, Event, &'static str, [f32; 1]);

/// A journal of one run, whose mediators have these rows.
fn journal(rows: [Option<(u32, u32)>; 3], lines: &[Line]) -> IndexedJournal<Cursor<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut writer = JournalWriter::new(&mut bytes, "a.ilj", &samples::head()).unwrap();
    let mediators = ["a", "b", "c"].into_iter().zip(rows);
    let start = RunStart {
        mediators: mediators
            .map(|(name, rows)| MediatorLine {
                name: name.into(),
                rows,
                optional: false,
            })
            .collect(),
        ..samples::run_start(0)
    };
    writer.start_run(&start).unwrap();
    for (index, (mediator, event, path, elements)) in (0..).zip(lines) {
        let path = writer.path(path).unwrap();
        let exchange = samples::tensor_exchange(index, *mediator, *event, path, elements);
        writer.exchange(&exchange).unwrap();
    }
    writer.end_run(samples::completed()).unwrap();
    writer.finish().unwrap();
    let reader = JournalReader::new(Cursor::new(bytes), "a.ilj").unwrap();
    let (journal, problem) = IndexedJournal::new(reader);
    assert_eq!(problem, None);
    journal
}

/// The way back from the last exchange: each exchange and its source.
fn way(rows: [Option<(u32, u32)>; 3], lines: &[Line]) -> Vec<(u64, Source)> {
    let mut journal = journal(rows, lines);
    let last = journal.exchanges() - 1;
    let steps = provenance_of(&mut journal, last).unwrap();
    let step = steps.iter().map(|step| (step.exchange.index, step.from));
    step.collect()
}

const WHOLE: [Option<(u32, u32)>; 3] = [None; 3];

#[test]
fn a_value_that_nobody_touched_is_the_models() {
    let found = way(WHOLE, &[(0, Event::Value, "m.output", [1.0])]);
    assert_eq!(found, [(0, Source::Model)]);
    // A swap elsewhere, or later, says nothing.
    let lines = [
        (1, Event::Swap, "n.output", [1.0]),
        (0, Event::Value, "m.output", [1.0]),
    ];
    assert_eq!(way(WHOLE, &lines), [(1, Source::Model)]);
}

#[test]
fn the_latest_swap_counts_and_others_only_in_common_rows() {
    let lines = [
        (0, Event::Swap, "m.output", [1.0]),
        (1, Event::Swap, "m.output", [2.0]),
        (2, Event::Value, "m.output", [2.0]),
    ];
    let ends = (1, Source::Mediator(None));
    assert_eq!(way(WHOLE, &lines), [(2, Source::Put(1)), ends]);
    // `b` has rows that `c` does not see; what `a` put there is another value in part.
    let rows = [Some((0, 2)), Some((2, 1)), Some((1, 1))];
    let ends = (0, Source::Mediator(None));
    assert_eq!(way(rows, &lines), [(2, Source::PutInPart(0)), ends]);
    let rows = [Some((0, 1)), Some((1, 0)), Some((1, 2))];
    assert_eq!(way(rows, &lines), [(2, Source::Model)]);
}

#[test]
fn a_skip_puts_the_output_and_the_blackboard_is_followed() {
    let lines = [
        (0, Event::Value, "m.output", [5.0]),
        (0, Event::Put, "shared", [5.0]),
        (1, Event::Get, "shared", [5.0]),
        (1, Event::Skip, "n.input", [5.0]),
        (2, Event::Value, "n.output", [5.0]),
    ];
    let expected = [
        (4, Source::Put(3)),
        (3, Source::Read(2)),
        (2, Source::Put(1)),
        (1, Source::Read(0)),
        (0, Source::Model),
    ];
    assert_eq!(way(WHOLE, &lines), expected);
}

#[test]
fn what_a_mediator_computed_names_what_it_was_served_last() {
    let lines = [
        (0, Event::Value, "m.output", [1.0]),
        (1, Event::Value, "m.output", [1.0]),
        (0, Event::Value, "n.output", [2.0]),
        (1, Event::Swap, "n.output", [9.0]),
    ];
    assert_eq!(way(WHOLE, &lines), [(3, Source::Mediator(Some(1)))]);
}

#[test]
fn a_site_means_its_last_value_and_one_without_is_refused() {
    let lines = [
        (0, Event::Value, "m.output", [1.0]),
        (0, Event::Value, "m.output", [2.0]),
        (0, Event::Barrier, "m.output", [3.0]),
    ];
    let mut journal = journal(WHOLE, &lines);
    let steps = provenance(&mut journal, "m", Some(0)).unwrap();
    assert_eq!((steps.len(), steps[0].exchange.index), (1, 1));
    for (site, run) in [("n", None), ("m", Some(1))] {
        let error = provenance(&mut journal, site, run).unwrap_err();
        assert_eq!(error.code(), "E072");
    }
    let error = provenance_of(&mut journal, 2).unwrap_err();
    assert_eq!(error.code(), "E072");
}
