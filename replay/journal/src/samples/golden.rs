//! The golden journal, and how it is written.

use super::*;

/// How many exchanges the golden journal has.
pub(crate) const GOLDEN_EXCHANGES: u64 = 16;

/// How many exchanges there are from one tick to the next in the golden journal.
pub(crate) const GOLDEN_TICKS: u64 = 4;

/// Writes the golden journal: each kind of record, each event, result, outcome, loop and kind of
/// value, and faults that are known, that have no particulars and that are not known.
pub(crate) fn write_golden<S: Sink>(
    writer: JournalWriter<S>,
) -> Result<JournalSummary, JournalError> {
    let mut writer = writer.ticking(GOLDEN_TICKS);
    writer.note("made by", "the tests of the journal")?;
    write_watched_run(&mut writer)?;
    write_unwatched_run(&mut writer)?;
    write_failed_run(&mut writer)?;
    writer.finish()
}

/// A run with a cache, with a visit and an exchange for each event, and with two backward passes.
fn write_watched_run<S: Sink>(writer: &mut JournalWriter<S>) -> Result<(), JournalError> {
    writer.start_run(&RunStart {
        declared: declared(),
        keeps: Vec::new(),
        ..run_start(0)
    })?;
    writer.cache_declaration(&granted_cache(0))?;
    for (index, event) in (0..).zip(Event::ALL) {
        let path =
            writer.path(["layers.0.attn.output", "layers.0.mlp.output"][index as usize % 2])?;
        let elements = [index as f32, 0.5];
        keep(writer, &elements)?;
        let iteration = index as u32 / 2;
        writer.visit(&visit(0, &[path], Some((iteration, tensor(&elements)))))?;
        let site = SiteRef { path, iteration };
        writer.exchange(&ExchangeRecord {
            asked: Some(site),
            at: Some(site),
            reshape: event == Event::Swap,
            round: match event {
                Event::Register => Round::Until { last: 7 },
                _ => Round::Alone,
            },
            fault: (event == Event::Exception).then(|| FaultKind::ForeignAwait.into()),
            origin: match event {
                Event::Swap | Event::Barrier => Some(origin("steer.rs", 12)),
                Event::Get => Some(origin("other.rs", 7)),
                _ => None,
            },
            ..tensor_exchange(index, index as u32 % 2, event, path, &elements)
        })?;
    }
    write_backward_passes(writer)?;
    writer.passage(&passage(0))?;
    writer.end_run_with(completed(), Some(cached()))?;
    Ok(())
}

/// A backward pass of the loss that a mediator gave, in which one gradient is read and another one
/// passes, and one of a loss of the code around the model.
fn write_backward_passes<S: Sink>(writer: &mut JournalWriter<S>) -> Result<(), JournalError> {
    let path = writer.path("layers.0.attn.output.grad")?;
    let unvisited = writer.path("layers.0.mlp.output.grad.i1")?;
    writer.visit(&backward(0, &[1], BackwardTurn::Begin))?;
    keep(writer, &[0.25, -0.5])?;
    writer.visit(&visit(0, &[path], Some((5, tensor(&[0.25, -0.5])))))?;
    let site = SiteRef { path, iteration: 5 };
    writer.exchange(&ExchangeRecord {
        asked: Some(site),
        at: Some(site),
        ..tensor_exchange(writer.next_index(), 0, Event::Value, path, &[0.25, -0.5])
    })?;
    writer.visit(&backward(0, &[unvisited], BackwardTurn::End))?;
    keep(writer, &[3.0])?;
    writer.visit(&Visit {
        brought: brought(1, tensor(&[3.0])),
        ..backward(0, &[], BackwardTurn::Begin)
    })?;
    writer.visit(&backward(0, &[], BackwardTurn::End))
}

/// A run whose model was not watched, with an exchange that has everything.
fn write_unwatched_run<S: Sink>(writer: &mut JournalWriter<S>) -> Result<(), JournalError> {
    writer.start_run(&run_start(1))?;
    keep(writer, &[1.0, 2.0])?;
    writer.exchange(&ExchangeRecord {
        index: writer.next_index(),
        ..exchange_with_everything()
    })?;
    writer.end_run(stopped())?;
    Ok(())
}

/// A run that failed: with padded rows, a loop, a cache that is refused, a fault of a later
/// version, and a request that is open at its end.
fn write_failed_run<S: Sink>(writer: &mut JournalWriter<S>) -> Result<(), JournalError> {
    writer.start_run(&padded_start(2))?;
    let path = writer.path("iteration")?;
    writer.exchange(&ExchangeRecord {
        mediator: 1,
        asked: Some(SiteRef { path, iteration: 3 }),
        round: Round::Open,
        ..exchange(2, writer.next_index(), Event::Register)
    })?;
    writer.cache_declaration(&cache_declaration(2))?;
    writer.padding(&padding(2, &[3, 300, 1]))?;
    keep(writer, &[7.0, 0.25])?;
    writer.visit(&visit(2, &[0, 1, 0], Some((1, tensor(&[7.0, 0.25])))))?;
    let site = SiteRef {
        path: 0,
        iteration: 1,
    };
    writer.exchange(&ExchangeRecord {
        asked: Some(site),
        at: Some(site),
        result: ExchangeResult::Refused,
        fault: Some(later_fault()),
        ..exchange(2, writer.next_index(), Event::Value)
    })?;
    writer.visit(&visit(2, &[1], None))?;
    writer.exchange(&ExchangeRecord {
        fault: Some(ProgramFault::Unset("x".into()).into()),
        ..exchange(2, writer.next_index(), Event::Exception)
    })?;
    keep(writer, &[4.0, 0.5])?;
    writer.open_request(&open_request(2, writer.next_index()))?;
    writer.end_run(failed())?;
    Ok(())
}

/// Writes the bytes of a tensor of f32 elements.
fn keep<S: Sink>(writer: &mut JournalWriter<S>, elements: &[f32]) -> Result<bool, JournalError> {
    let (shape, bytes) = ([elements.len() as u64], bytes(elements));
    let digest = Digest::of_tensor(DType::F32, &shape, &bytes);
    writer.tensor(&digest, DType::F32, &shape, &bytes)
}

/// The bytes of the golden journal.
pub(crate) fn golden() -> Vec<u8> {
    let mut bytes = Vec::new();
    write_golden(JournalWriter::new(&mut bytes, "test.ilj", &positioned_head()).unwrap()).unwrap();
    bytes
}
