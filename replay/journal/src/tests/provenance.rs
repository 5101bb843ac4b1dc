//! Values that are followed back.

use std::io::Cursor;

use super::super::provenance::{ProvenanceLimits, is_a_way_back, provenance, provenance_of};
use super::*;

/// What one exchange does: mediator, event, site and elements.
type ExchangeLine = (u32, Event, &'static str, [f32; 1]);

/// A journal of one run, whose mediators have these rows.
fn journal(
    rows: [Option<(u32, u32)>; 3],
    lines: &[ExchangeLine],
) -> IndexedJournal<Cursor<Vec<u8>>> {
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

/// One step: an exchange, how it has its value, and from which.
type Told = (u64, &'static str, Vec<u64>);

/// The way back from the last exchange.
fn way(rows: [Option<(u32, u32)>; 3], lines: &[ExchangeLine]) -> Vec<Told> {
    told(rows, lines, ProvenanceLimits::default())
}

fn told(
    rows: [Option<(u32, u32)>; 3],
    lines: &[ExchangeLine],
    extent: ProvenanceLimits,
) -> Vec<Told> {
    let mut journal = journal(rows, lines);
    let last = journal.exchanges() - 1;
    let steps = provenance_of(&mut journal, last, extent, &()).unwrap();
    assert!(is_a_way_back(&steps));
    let step = steps.iter();
    step.map(|step| (step.exchange.index, step.from.name(), step.sources.clone()))
        .collect()
}

const WHOLE: [Option<(u32, u32)>; 3] = [None; 3];

#[test]
fn a_value_that_nobody_touched_is_the_models() {
    let found = way(WHOLE, &[(0, Event::Value, "m.output", [1.0])]);
    assert_eq!(found, [(0, "model", vec![])]);
    // A swap after it says nothing.
    let lines = [
        (1, Event::Swap, "n.output", [1.0]),
        (0, Event::Value, "m.output", [1.0]),
        (1, Event::Swap, "o.output", [1.0]),
    ];
    let expected = [
        (2, "read", vec![1]),
        (1, "model", vec![0]),
        (0, "brought", vec![]),
    ];
    assert_eq!(way(WHOLE, &lines), expected);
}

#[test]
fn what_was_put_in_before_may_have_changed_what_the_model_computes() {
    let lines = [
        (0, Event::Swap, "a.output", [1.0]),
        (0, Event::Swap, "b.output", [2.0]),
        // It takes the place of the first.
        (0, Event::Swap, "a.output", [3.0]),
        (1, Event::Skip, "c.input", [4.0]),
        // The blackboard is none of the model's.
        (0, Event::Put, "d", [5.0]),
        (2, Event::Value, "m.output", [6.0]),
    ];
    assert_eq!(way(WHOLE, &lines)[0], (5, "model", vec![3, 2, 1]));
    // Nor is what was put into other rows.
    let rows = [Some((0, 1)), Some((1, 1)), Some((1, 1))];
    assert_eq!(way(rows, &lines)[0], (5, "model", vec![3]));
}

#[test]
fn the_latest_swap_counts_and_others_only_in_common_rows() {
    let lines = [
        (0, Event::Swap, "m.output", [1.0]),
        (1, Event::Swap, "m.output", [2.0]),
        (2, Event::Value, "m.output", [2.0]),
    ];
    let ends = |index| (index, "brought", vec![]);
    assert_eq!(way(WHOLE, &lines), [(2, "put", vec![1]), ends(1)]);
    // `b` has rows that `c` does not see; what `a` put there is another value in part.
    let rows = [Some((0, 2)), Some((2, 1)), Some((1, 1))];
    assert_eq!(way(rows, &lines), [(2, "put-in-part", vec![0]), ends(0)]);
    let rows = [Some((0, 1)), Some((1, 0)), Some((1, 2))];
    assert_eq!(way(rows, &lines), [(2, "model", vec![])]);
    // Two have each put in a part.
    let rows = [Some((0, 1)), Some((1, 1)), None];
    let expected = [(2, "put-in-part", vec![1, 0]), ends(1), ends(0)];
    let lines = [lines[0], lines[1], (2, Event::Value, "m.output", [7.0])];
    assert_eq!(way(rows, &lines), expected);
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
        (4, "put", vec![3]),
        (3, "read", vec![2]),
        (2, "put", vec![1]),
        (1, "read", vec![0]),
        (0, "model", vec![]),
    ];
    assert_eq!(way(WHOLE, &lines), expected);
}

#[test]
fn what_a_mediator_computed_came_from_what_it_had_been_given() {
    let lines = [
        (0, Event::Value, "m.output", [1.0]),
        (1, Event::Value, "m.output", [1.0]),
        (0, Event::Value, "n.output", [2.0]),
        (1, Event::Get, "shared", [3.0]),
        (1, Event::Swap, "n.output", [9.0]),
    ];
    let expected = [
        (4, "computed", vec![3, 1]),
        (3, "brought", vec![]),
        (1, "model", vec![]),
    ];
    assert_eq!(way(WHOLE, &lines), expected);
}

/// Mediators that each compute from what the other has put in.
fn ping_pong(rounds: usize) -> Vec<ExchangeLine> {
    let sites = ["a.output", "b.output"];
    let mut lines = Vec::new();
    for round in 0..rounds {
        let (number, site) = (round as f32, sites[round % 2]);
        let before = (round.max(1) - 1) as f32;
        lines.push(((round % 2) as u32, Event::Value, site, [before + 0.5]));
        lines.push((
            (round % 2) as u32,
            Event::Value,
            sites[(round + 1) % 2],
            [before],
        ));
        lines.push(((round % 2) as u32, Event::Swap, site, [number]));
    }
    lines
}

#[test]
fn a_way_is_as_deep_and_as_wide_as_was_asked_for_and_tells_nothing_twice() {
    let lines = ping_pong(20);
    let told = |depth, width| told(WHOLE, &lines, ProvenanceLimits { depth, width });
    assert_eq!(told(0, 4), [(59, "computed", vec![58, 57])]);
    assert_eq!(told(1, 1).len(), 3, "{:?}", told(1, 1));
    assert!(told(2, 4).len() < told(5, 4).len());
    // All of it: each exchange once, in whatever number of ways it is reached.
    assert!(told(1000, 1000).len() <= 60);
    let mut journal = journal(WHOLE, &lines);
    let extent = ProvenanceLimits { depth: 0, width: 1 };
    let steps = provenance_of(&mut journal, 59, extent, &()).unwrap();
    insta::assert_snapshot!(steps[0].words("b"), @r#""b" computed it from some of what it had been given: exchanges 58 and 1 more; not followed further"#);
}

#[test]
fn a_site_means_its_last_value_and_one_without_is_refused() {
    let lines = [
        (0, Event::Value, "m.output", [1.0]),
        (0, Event::Value, "m.output", [2.0]),
        (0, Event::Barrier, "m.output", [3.0]),
    ];
    let mut journal = journal(WHOLE, &lines);
    let extent = ProvenanceLimits::default();
    let steps = provenance(&mut journal, "m", Some(0), extent, &()).unwrap();
    assert_eq!((steps.len(), steps[0].exchange.index), (1, 1));
    for (site, run) in [("n", None), ("m", Some(1))] {
        let error = provenance(&mut journal, site, run, extent, &()).unwrap_err();
        assert_eq!(error.code(), "E072");
    }
    let error = provenance_of(&mut journal, 2, extent, &()).unwrap_err();
    assert_eq!(error.code(), "E072");
}

#[test]
fn a_gradient_came_from_the_losses_of_its_backward_pass() {
    let lines = [
        (0, Event::Swap, "a.output", [1.0]),
        (0, Event::Value, "m.output", [2.0]),
        (0, Event::Backward, "m.output", [3.0]),
        (1, Event::Backward, "m.output", [4.0]),
        (1, Event::Swap, "b.output.grad", [5.0]),
        (0, Event::Value, "a.output.grad", [6.0]),
    ];
    let expected = [
        (5, "differentiated", vec![3, 2, 4]),
        (3, "brought", vec![]),
        (2, "computed", vec![1]),
        (1, "model", vec![0]),
        (0, "brought", vec![]),
        (4, "brought", vec![]),
    ];
    assert_eq!(way(WHOLE, &lines), expected);
    // One loss is differentiated for all rows, and what is put in only in its own.
    let rows = [Some((0, 1)), Some((1, 1)), None];
    assert_eq!(way(rows, &lines)[0], (5, "differentiated", vec![3, 2]));
    // What was put in for this gradient is what is read.
    let swapped = [
        (0, Event::Backward, "m.output", [3.0]),
        (1, Event::Swap, "a.output.grad", [6.0]),
        (0, Event::Value, "a.output.grad", [6.0]),
    ];
    let put = [(2, "put", vec![1]), (1, "brought", vec![])];
    assert_eq!(way(WHOLE, &swapped), put);
    let words = |width| {
        let mut journal = journal(WHOLE, &lines);
        let extent = ProvenanceLimits { depth: 1, width };
        let steps = provenance_of(&mut journal, 5, extent, &()).unwrap();
        steps[0].words("a")
    };
    insta::assert_snapshot!([3, 2, 1].map(words).join("\n"), @"
    a backward pass computed it from the losses of exchanges 3 and 2, after exchange 4 had put something in
    a backward pass computed it from the losses of exchanges 3, 2 and 1 more
    a backward pass computed it from the losses of exchanges 3 and 2 more
    ");
    // A site means the value that passes there, and not the loss that is given there.
    let mut journal = journal(WHOLE, &lines[..3]);
    let steps = provenance(&mut journal, "m", None, ProvenanceLimits::default(), &()).unwrap();
    assert_eq!(steps[0].exchange.index, 1);
}

/// A run with three backward passes: of the loss of a mediator, of one of the code around the
/// model, and again of the loss of a mediator.
fn watched() -> IndexedJournal<Cursor<Vec<u8>>> {
    use BackwardTurn::{Begin, End};
    use Event::{Backward, Swap, Value};

    let mut bytes = Vec::new();
    let mut writer = JournalWriter::new(&mut bytes, "a.ilj", &samples::head()).unwrap();
    writer.start_run(&samples::run_start(0)).unwrap();
    for path in ["m.output", "a.output.grad", "m.output.grad"] {
        writer.path(path).unwrap();
    }
    let served = |writer: &mut JournalWriter<_>, (path, iteration), events: &[Event]| {
        let brought = Some((iteration, samples::tensor(&[path as f32])));
        writer.visit(&samples::visit(0, &[path], brought)).unwrap();
        for event in events {
            let (index, site) = (writer.next_index(), SiteRef { path, iteration });
            let exchange = ExchangeRecord {
                asked: Some(site).filter(|_| *event != Backward),
                at: Some(site),
                ..samples::tensor_exchange(index, 1, *event, path, &[index as f32 + 10.0])
            };
            writer.exchange(&exchange).unwrap();
        }
    };
    served(&mut writer, (0, 0), &[Swap, Backward]);
    writer.visit(&samples::backward(0, &[], Begin)).unwrap();
    served(&mut writer, (1, 0), &[Value]);
    writer.visit(&samples::backward(0, &[], End)).unwrap();
    let outer = Visit {
        brought: samples::brought(1, samples::tensor(&[9.0])),
        ..samples::backward(0, &[], Begin)
    };
    writer.visit(&outer).unwrap();
    served(&mut writer, (2, 1), &[Swap]);
    served(&mut writer, (1, 1), &[Value]);
    writer.visit(&samples::backward(0, &[], End)).unwrap();
    served(&mut writer, (0, 2), &[Value, Backward]);
    writer.visit(&samples::backward(0, &[], Begin)).unwrap();
    served(&mut writer, (1, 2), &[Value]);
    writer.visit(&samples::backward(0, &[], End)).unwrap();
    writer.end_run(samples::completed()).unwrap();
    writer.finish().unwrap();
    let reader = JournalReader::new(Cursor::new(bytes), "a.ilj").unwrap();
    let (journal, problem) = IndexedJournal::new(reader);
    assert_eq!(problem, None);
    journal
}

#[test]
fn a_gradient_has_nothing_from_other_backward_passes() {
    let mut journal = watched();
    let passes = journal.runs()[0].passes.iter();
    let passes: Vec<_> = passes.map(|pass| (pass.first, pass.is_outer)).collect();
    assert_eq!(passes, [(2, false), (3, true), (7, false)]);
    let mut told = |index| {
        let extent = ProvenanceLimits::default();
        let steps = provenance_of(&mut journal, index, extent, &()).unwrap();
        let step = &steps[0];
        format!("{index} {:?}: {}", step.sources, step.words("steer"))
    };
    insta::assert_snapshot!([2, 4, 5, 7].map(&mut told).join("\n"), @"
    2 [1]: a backward pass computed it from the loss of exchange 1
    4 [3, 0]: a backward pass computed it from a loss of the code around the model, after exchanges 3 and 0 had put something in
    5 [0]: the model computed it, after exchange 0 had put something in
    7 [6]: a backward pass computed it from the loss of exchange 6
    ");
}
