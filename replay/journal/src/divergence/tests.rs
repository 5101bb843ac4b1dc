//! Divergences of each class, with their reports.

mod runs;
mod sides;
mod told;

use insta::assert_snapshot;

use super::*;
use crate::samples::{self, exchange, run_start, tensor, tensor_exchange};
use crate::{
    CachedLine, ExchangeRecord, Head, Journal, JournalError, JournalReader, MediatorLine, Record,
    RunEndRecord, RunRecord, RunStart,
};

const ATTN: u32 = 0;
const MLP: u32 = 1;

/// A journal with one run of these exchanges.
fn journal(exchanges: Vec<ExchangeRecord>) -> Journal {
    let mut journal = Journal::with_head(samples::head());
    journal.paths = vec!["layers.3.attn.output".into(), "layers.3.mlp.output".into()];
    let end = RunEndRecord {
        run: 0,
        exchanges: exchanges.len() as u64,
        outcome: samples::completed(),
        digest: Digest::ZERO,
        sources: Digest::ZERO,
        passages: None,
        cached: None,
    };
    journal.runs.push(RunRecord {
        start: run_start(0),
        exchanges,
        visits: Vec::new(),
        open: Vec::new(),
        cache_declarations: Vec::new(),
        padding: None,
        passage: None,
        end: Some(end),
    });
    journal
}

/// Two mediators: one reads and steers, the other reads.
fn exchanges() -> Vec<ExchangeRecord> {
    vec![
        tensor_exchange(0, 0, Event::Value, ATTN, &[1.0, 2.0]),
        tensor_exchange(1, 1, Event::Value, ATTN, &[1.0, 2.0]),
        exchange(0, 2, Event::Barrier),
        tensor_exchange(3, 1, Event::Swap, MLP, &[1.1, 2.5, 3.0]),
        tensor_exchange(4, 0, Event::Value, MLP, &[1.1, 2.5, 3.0]),
        exchange(0, 5, Event::End),
        ExchangeRecord {
            mediator: 1,
            ..exchange(0, 6, Event::End)
        },
    ]
}

fn compare(recorded: &Journal, live: &Journal) -> ReplayComparison {
    let mut comparer = Comparer::new(recorded.records());
    live.records().for_each(|record| {
        comparer.record(&record.unwrap());
    });
    comparer.finish().unwrap()
}

/// The divergence of a run whose exchanges are changed by `change`.
fn diverge(change: impl FnOnce(&mut Vec<ExchangeRecord>)) -> Divergence {
    let mut live = exchanges();
    change(&mut live);
    compare(&journal(exchanges()), &journal(live))
        .divergence
        .unwrap()
}

fn renumber(exchanges: &mut [ExchangeRecord]) {
    for (index, exchange) in (0..).zip(exchanges) {
        exchange.index = index;
    }
}

#[test]
fn equal_runs_do_not_diverge_and_origins_do_not_count() {
    let mut live = exchanges();
    live[3].origin = Some(OriginRecord {
        file: "moved.rs".into(),
        line: 9,
    });
    let comparison = compare(&journal(exchanges()), &journal(live));
    let expected = ReplayComparison {
        exchanges: 7,
        divergence: None,
    };
    assert_eq!(comparison, expected);
}

#[test]
fn what_caches_collected_is_compared_where_both_sides_have_it() {
    let with = |cached| {
        let mut journal = journal(exchanges());
        journal.runs[0].end.as_mut().unwrap().cached = cached;
        journal
    };
    let lines = samples::cached();
    let [recorded, unknown] = [Some(lines.clone()), None].map(with);
    let others = [
        (Vec::new(), 2),
        (lines[1..].to_vec(), 1),
        (
            vec![
                lines[0].clone(),
                CachedLine {
                    values: 3,
                    ..lines[1].clone()
                },
            ],
            1,
        ),
        (
            vec![
                lines[0].clone(),
                CachedLine {
                    number: 1,
                    ..lines[1].clone()
                },
            ],
            2,
        ),
    ];
    for (other, count) in others {
        let other = with(Some(other));
        for (a, b) in [(&recorded, &other), (&other, &recorded)] {
            let divergence = compare(a, b).divergence.unwrap();
            assert_eq!(divergence.class, DivergenceClass::Value);
            assert_eq!(divergence.differences.len(), count);
        }
        assert_eq!(compare(&unknown, &other).divergence, None);
    }
    assert_eq!(compare(&recorded, &recorded).divergence, None);
    let divergence = compare(&recorded, &with(Some(Vec::new())))
        .divergence
        .unwrap();
    assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 7 (run "forward 0")
      class: value (a cache collected another value)
      recorded: head b3:5582b1f51d37, device cpu, schedule in order
      this run: head b3:5582b1f51d37, device cpu, schedule in order
        3  SWAP   steer  layers.3.mlp.output.i0  f32[3] b3:ad157cd7bf9a
        4  VALUE  read   layers.3.mlp.output.i0  f32[3] b3:ad157cd7bf9a
        5  END    read
        6  END    steer
      - 7  the run ends: "completed"  <- recorded
      + 7  the run ends: "completed"  <- this run
      cache 0 of the run at layers.0.mlp.output: 1 value b3:e93bcd053dc4 recorded, nothing in this run
      cache 0 of steer at layers.0.attn.output: 2 values b3:baf870e7e700 recorded, nothing in this run
    "#);
}

#[test]
fn paths_are_compared_by_text() {
    let mut live = journal(exchanges());
    live.paths.reverse();
    for exchange in &mut live.runs[0].exchanges {
        for site in [&mut exchange.asked, &mut exchange.at]
            .into_iter()
            .flatten()
        {
            site.path = 1 - site.path;
        }
    }
    assert_eq!(compare(&journal(exchanges()), &live).divergence, None);
    live.paths.reverse();
    let divergence = compare(&journal(exchanges()), &live).divergence.unwrap();
    assert_eq!(
        (divergence.class, divergence.index),
        (DivergenceClass::Schedule, 0)
    );
}

#[test]
fn a_value_of_a_mediator() {
    let one_ulp_up = f32::from_bits(1.1f32.to_bits() + 1);
    let live = [one_ulp_up, 2.5, 3.0];
    let mut divergence = diverge(|exchanges| exchanges[3].value = Some(tensor(&live)));
    let recorded = samples::bytes(&[1.1, 2.5, 3.0]);
    divergence
        .compare_tensors(&recorded, &samples::bytes(&live))
        .unwrap();
    assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 3 (run "forward 0", site layers.3.mlp.output.i0, mediator "steer")
      class: value (the same exchange carried another value)
      recorded: head b3:5582b1f51d37, device cpu, schedule in order
      this run: head b3:5582b1f51d37, device cpu, schedule in order
        0  VALUE    read   layers.3.attn.output.i0  f32[2] b3:acc346244904
        1  VALUE    steer  layers.3.attn.output.i0  f32[2] b3:acc346244904
        2  BARRIER  read
      - 3  SWAP     steer  layers.3.mlp.output.i0   f32[3] b3:ad157cd7bf9a  <- recorded
      + 3  SWAP     steer  layers.3.mlp.output.i0   f32[3] b3:73df7826a323  <- this run
        4  VALUE    read   layers.3.mlp.output.i0   f32[3] b3:ad157cd7bf9a  (recorded next)
        5  END      read                            (recorded next)
      value digest: b3:ad157cd7bf9a recorded, b3:73df7826a323 in this run
      tensor: 1 of 3 elements differ, first at [0]: 0x3f8ccccd (1.1) recorded, 0x3f8cccce (1.1000001) in this run; at most 1 ulp apart (1.1e-7 relative)
      note: the schedules are equal up to here, and so is the value last served to "steer" (exchange 1) -> the mediator's own arithmetic differs
    "#);
    let source = ValueSource::Mediator {
        last_served: Some(1),
    };
    assert_eq!(divergence.source, Some(source));
}

#[test]
fn a_value_of_a_mediator_that_was_served_none() {
    let recorded = vec![tensor_exchange(0, 1, Event::Swap, ATTN, &[1.0])];
    let live = vec![tensor_exchange(0, 1, Event::Swap, ATTN, &[2.0])];
    let divergence = compare(&journal(recorded), &journal(live))
        .divergence
        .unwrap();
    assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 0 (run "forward 0", site layers.3.attn.output.i0, mediator "steer")
      class: value (the same exchange carried another value)
      recorded: head b3:5582b1f51d37, device cpu, schedule in order
      this run: head b3:5582b1f51d37, device cpu, schedule in order
      - 0  SWAP  steer  layers.3.attn.output.i0  f32[1] b3:3727969e4408  <- recorded
      + 0  SWAP  steer  layers.3.attn.output.i0  f32[1] b3:bff49fae92d9  <- this run
      value digest: b3:3727969e4408 recorded, b3:bff49fae92d9 in this run
      note: "steer" was served no value before -> what it brings with it differs
    "#);
}

#[test]
fn a_value_of_the_model() {
    let divergence = diverge(|exchanges| exchanges[0].value = Some(tensor(&[1.0, 2.5])));
    assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 0 (run "forward 0", site layers.3.attn.output.i0, mediator "read")
      class: value (the same exchange carried another value)
      recorded: head b3:5582b1f51d37, device cpu, schedule in order
      this run: head b3:5582b1f51d37, device cpu, schedule in order
      - 0  VALUE    read   layers.3.attn.output.i0  f32[2] b3:acc346244904  <- recorded
      + 0  VALUE    read   layers.3.attn.output.i0  f32[2] b3:cca587c86cd8  <- this run
        1  VALUE    steer  layers.3.attn.output.i0  f32[2] b3:acc346244904  (recorded next)
        2  BARRIER  read                            (recorded next)
      value digest: b3:acc346244904 recorded, b3:cca587c86cd8 in this run
      note: the schedules and all exchanges before it are equal -> the model's own arithmetic, or its input, differs
    "#);
}

#[test]
fn places_in_nested_values() {
    let tree = |hidden: &[f32], text: &str, number| {
        let entries = [
            ("hidden".into(), tensor(hidden)),
            ("text".into(), ValueTree::Text(text.into())),
        ];
        let map = ValueTree::Map(entries.into());
        let floats = (0..6)
            .map(|extra| ValueTree::Float(number + f64::from(extra)))
            .collect();
        let items = [ValueTree::Unit, map, ValueTree::List(floats)];
        Some(ValueTree::Tuple(items.into()))
    };
    let with = |value| {
        let mut exchanges = exchanges();
        exchanges[3].value = value;
        journal(exchanges)
    };
    let recorded = with(tree(&[1.0], "a", 0.5));
    let content = compare(&recorded, &with(tree(&[2.0], "b", -0.5)))
        .divergence
        .unwrap();
    assert_eq!(content.tensors.as_ref().unwrap().place, "[1].hidden");
    assert_snapshot!(fields(&content), @r#"
        value[1].hidden digest: b3:3727969e4408 | b3:bff49fae92d9
        value[1].text: "a" | "b"
        value[2][0]: 0.5 (0x3fe0000000000000) | -0.5 (0xbfe0000000000000)
        value[2][1]: 1.5 (0x3ff8000000000000) | 0.5 (0x3fe0000000000000)
        value: 4 more places | 4 more places
    "#);
    let shape = compare(&recorded, &with(tree(&[1.0, 2.0], "a", 0.5)))
        .divergence
        .unwrap();
    assert_eq!(shape.tensors, None);
    assert_snapshot!(fields(&shape), @"value[1].hidden shape: [1] | [2]");
    let kind = compare(&recorded, &with(Some(ValueTree::Int(3))))
        .divergence
        .unwrap();
    assert_snapshot!(fields(&kind), @r#"value: ((), {"hidden": f32[1] b3:3727969e4408, "text": "a"}, [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]) | 3"#);
    let none = compare(&recorded, &with(None)).divergence.unwrap();
    assert_snapshot!(fields(&none), @r#"value: ((), {"hidden": f32[1] b3:3727969e4408, "text": "a"}, [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]) | none"#);
}

fn fields(divergence: &Divergence) -> String {
    let lines = divergence.differences.iter().map(|difference| {
        format!(
            "{}: {} | {}",
            difference.field, difference.recorded, difference.live
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn another_mediator_next() {
    let divergence = diverge(|exchanges| {
        exchanges.swap(3, 4);
        renumber(exchanges);
    });
    assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 3 (run "forward 0", site layers.3.mlp.output.i0, mediator "steer")
      class: schedule (another mediator or another site came next)
      recorded: head b3:5582b1f51d37, device cpu, schedule in order
      this run: head b3:5582b1f51d37, device cpu, schedule in order
        0  VALUE    read   layers.3.attn.output.i0  f32[2] b3:acc346244904
        1  VALUE    steer  layers.3.attn.output.i0  f32[2] b3:acc346244904
        2  BARRIER  read
      - 3  SWAP     steer  layers.3.mlp.output.i0   f32[3] b3:ad157cd7bf9a  <- recorded
      + 3  VALUE    read   layers.3.mlp.output.i0   f32[3] b3:ad157cd7bf9a  <- this run
        4  VALUE    read   layers.3.mlp.output.i0   f32[3] b3:ad157cd7bf9a  (recorded next)
        5  END      read                            (recorded next)
      mediator: steer recorded, read in this run
      event: SWAP recorded, VALUE in this run
      note: what this run did here was recorded 1 exchange later -> exchanges were left out, or made in another order
    "#);
}

#[test]
fn another_event() {
    let divergence = diverge(|exchanges| exchanges[3].event = Event::Skip);
    assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 3 (run "forward 0", site layers.3.mlp.output.i0, mediator "steer")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:5582b1f51d37, device cpu, schedule in order
      this run: head b3:5582b1f51d37, device cpu, schedule in order
        0  VALUE    read   layers.3.attn.output.i0  f32[2] b3:acc346244904
        1  VALUE    steer  layers.3.attn.output.i0  f32[2] b3:acc346244904
        2  BARRIER  read
      - 3  SWAP     steer  layers.3.mlp.output.i0   f32[3] b3:ad157cd7bf9a  <- recorded
      + 3  SKIP     steer  layers.3.mlp.output.i0   f32[3] b3:ad157cd7bf9a  <- this run
        4  VALUE    read   layers.3.mlp.output.i0   f32[3] b3:ad157cd7bf9a  (recorded next)
        5  END      read                            (recorded next)
      event: SWAP recorded, SKIP in this run
    "#);
}

#[test]
fn another_answer() {
    let divergence = diverge(|exchanges| {
        exchanges[4].result = ExchangeResult::Refused;
        exchanges[4].value = None;
        exchanges[4].fault = Some(Fault::raise("it has been passed\nask earlier"));
    });
    assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 4 (run "forward 0", site layers.3.mlp.output.i0, mediator "read")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:5582b1f51d37, device cpu, schedule in order
      this run: head b3:5582b1f51d37, device cpu, schedule in order
        0  VALUE    read   layers.3.attn.output.i0  f32[2] b3:acc346244904
        1  VALUE    steer  layers.3.attn.output.i0  f32[2] b3:acc346244904
        2  BARRIER  read
        3  SWAP     steer  layers.3.mlp.output.i0   f32[3] b3:ad157cd7bf9a
      - 4  VALUE    read   layers.3.mlp.output.i0   f32[3] b3:ad157cd7bf9a  <- recorded
      + 4  VALUE    read   layers.3.mlp.output.i0   refused  E013: it has been passed\nask earlier  <- this run
        5  END      read                            (recorded next)
        6  END      steer                           (recorded next)
      result: served recorded, refused in this run
      fault: none recorded, E013: it has been passed\nask earlier in this run
      value: f32[3] b3:ad157cd7bf9a recorded, none in this run
    "#);
}

#[test]
fn an_exchange_that_is_left_out() {
    let divergence = diverge(|exchanges| {
        exchanges.remove(2);
        renumber(exchanges);
    });
    assert_eq!(divergence.alignment, Some(Alignment::Missing(1)));
    assert_eq!(
        (divergence.class, divergence.index),
        (DivergenceClass::Schedule, 2)
    );
}

#[test]
fn an_exchange_that_is_added() {
    let divergence = diverge(|exchanges| {
        exchanges.insert(3, exchange(0, 3, Event::Stop));
        exchanges.insert(3, exchange(0, 3, Event::Stop));
        renumber(exchanges);
    });
    assert_eq!(divergence.alignment, Some(Alignment::Extra(2)));
    assert!(
        divergence
            .to_string()
            .contains("came 2 exchanges later in this run")
    );
}

#[test]
fn exchanges_that_are_missing_at_the_end() {
    let divergence = diverge(|exchanges| exchanges.truncate(5));
    assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 5 (run "forward 0", mediator "read")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:5582b1f51d37, device cpu, schedule in order
      this run: head b3:5582b1f51d37, device cpu, schedule in order
        1  VALUE    steer  layers.3.attn.output.i0  f32[2] b3:acc346244904
        2  BARRIER  read
        3  SWAP     steer  layers.3.mlp.output.i0   f32[3] b3:ad157cd7bf9a
        4  VALUE    read   layers.3.mlp.output.i0   f32[3] b3:ad157cd7bf9a
      - 5  END      read                            <- recorded
      + 5  the run ends: "completed"  <- this run
        6  END      steer                           (recorded next)
    "#);
}

#[test]
fn exchanges_that_are_extra_at_the_end() {
    let divergence = diverge(|exchanges| exchanges.push(exchange(0, 7, Event::Stop)));
    assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 7 (run "forward 0", mediator "read")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:5582b1f51d37, device cpu, schedule in order
      this run: head b3:5582b1f51d37, device cpu, schedule in order
        3  SWAP   steer  layers.3.mlp.output.i0  f32[3] b3:ad157cd7bf9a
        4  VALUE  read   layers.3.mlp.output.i0  f32[3] b3:ad157cd7bf9a
        5  END    read
        6  END    steer
      - 7  the run ends: "completed"  <- recorded
      + 7  STOP   read                           <- this run
    "#);
}

#[test]
fn json_has_the_facts_of_the_text() {
    let mut divergence = diverge(|exchanges| exchanges[3].value = Some(tensor(&[1.1, 2.5, 4.0])));
    let recorded = samples::bytes(&[1.1, 2.5, 3.0]);
    divergence
        .compare_tensors(&recorded, &samples::bytes(&[1.1, 2.5, 4.0]))
        .unwrap();
    let json = divergence.to_json();
    assert_eq!(json["code"], "E080");
    assert_eq!(json["class"], "value");
    assert_eq!(json["index"], 3);
    assert_eq!(json["site"], "layers.3.mlp.output.i0");
    assert_eq!(json["recorded"]["exchange"]["event"], "SWAP");
    assert_eq!(json["source"]["mediator"]["last_served"], 1);
    assert_eq!(json["tensor"]["first"][0], 2);
    assert_eq!(json["tensor"]["differing"], 1);
    assert_eq!(json["context"].as_array().unwrap().len(), 3);
    assert_eq!(json["following"][0]["index"], 4);
    let digest = json["tensors"]["recorded"].as_str().unwrap();
    assert_eq!(
        Digest::from_hex(digest),
        Some(divergence.tensors.unwrap().recorded)
    );
}

#[test]
fn the_first_divergence_stays_and_context_is_limited() {
    let recorded = journal(exchanges());
    let mut comparer = Comparer::new(recorded.records()).with_context(2);
    comparer.path(0, "layers.3.attn.output");
    comparer.path(1, "layers.3.mlp.output");
    comparer.start_run(&run_start(0));
    for exchange in &exchanges()[..3] {
        assert_eq!(comparer.observe(exchange), None);
    }
    assert_eq!(comparer.exchanges(), 3);
    let other = tensor_exchange(3, 1, Event::Swap, MLP, &[9.0]);
    let first = comparer.observe(&other).unwrap().clone();
    assert_eq!(first.context.len(), 2);
    let last = exchange(0, 4, Event::Exception);
    assert_eq!(comparer.observe(&last), Some(&first));
    let mismatch = comparer.divergence_mut().unwrap().compare_tensors(&[], &[]);
    assert_eq!(mismatch, Err(TensorMismatch::NoPair));
}

#[test]
fn a_recording_that_cannot_be_read_is_an_error_and_not_a_divergence() {
    let bytes = samples::golden();
    let (records, _) = samples::read_all(&bytes);
    let cut = records[12].0.offset as usize + 5;
    let reader = JournalReader::new(&bytes[..cut], "run.ilj").unwrap();
    let mut comparer = Comparer::new(reader.records());
    for (_, record) in &records {
        assert_eq!(comparer.record(record), None);
    }
    let error: JournalError = comparer.finish().unwrap_err();
    assert_eq!(error.code(), "E065");
}

#[test]
fn a_journal_read_as_a_stream_equals_itself() {
    let bytes = samples::golden();
    let reader = JournalReader::new(&bytes[..], "run.ilj").unwrap();
    let mut comparer = Comparer::new(reader.records());
    for (_, record) in samples::read_all(&bytes).0 {
        assert_eq!(comparer.record(&record), None);
        assert!(!matches!(record, Record::Head(_)) || comparer.environment().is_empty());
    }
    assert_eq!(
        comparer.finish().unwrap().exchanges,
        samples::GOLDEN_EXCHANGES
    );
}
