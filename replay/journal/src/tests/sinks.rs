//! Writers whose file fails, or takes little at a time.

use super::faults::{FaultFile, Plan};
use super::*;

#[test]
fn short_and_interrupted_writes_lose_nothing() {
    for (at_once, interrupts) in [(1, false), (7, false), (64, true)] {
        let at_once = Some(at_once);
        let file = FaultFile::new(Plan {
            at_once,
            interrupts,
            ..Plan::default()
        });
        let writer = JournalWriter::unbuffered(file.clone(), &samples::positioned_head()).unwrap();
        samples::write_golden(writer).unwrap();
        assert!(file.bytes() == samples::golden());
    }
}

#[test]
fn after_a_failed_write_every_call_gives_the_first_error() {
    for failing in 2..12 {
        let sink = FaultFile::new(Plan {
            failing_write: Some(failing),
            ..Plan::default()
        });
        let mut writer = JournalWriter::unbuffered(sink, &samples::positioned_head()).unwrap();
        writer.start_run(&samples::run_start(0)).ok();
        for index in 0..20 {
            writer
                .exchange(&samples::exchange(0, index, Event::Stop))
                .ok();
        }
        let first = writer.failure().unwrap().clone();
        assert_eq!(first.code(), "E061");
        assert_eq!(writer.flush().unwrap_err(), first);
        assert_eq!(writer.path("a.output").unwrap_err(), first);
        assert_eq!(writer.note("a", "b").unwrap_err(), first);
        assert_eq!(writer.start_run(&samples::run_start(1)).unwrap_err(), first);
        assert_eq!(writer.end_run(samples::completed()).unwrap_err(), first);
        assert_eq!(
            writer
                .tensor(&Digest::ZERO, DType::U8, &[0], &[])
                .unwrap_err(),
            first
        );
        assert_eq!(
            writer
                .exchange(&samples::exchange(0, 0, Event::Stop))
                .unwrap_err(),
            first
        );
        assert_eq!(writer.finish().unwrap_err(), first);
    }
}

#[test]
fn a_failed_sync_is_reported() {
    let sink = FaultFile::new(Plan {
        failing_sync: true,
        ..Plan::default()
    });
    let writer = JournalWriter::new(sink, "run.ilj", &samples::head()).unwrap();
    let error = writer.finish().unwrap_err();
    insta::assert_snapshot!(error, @"could not make durable the end of run.ilj: the disk is gone");
}

#[test]
fn a_refused_exchange_stops_the_journal() {
    let mut writer = JournalWriter::new(Vec::new(), "run.ilj", &samples::head()).unwrap();
    writer.start_run(&samples::run_start(0)).unwrap();
    let first = writer
        .exchange(&samples::exchange(0, 1, Event::Stop))
        .unwrap_err();
    assert_eq!(first.code(), "E067");
    assert_eq!(
        writer
            .exchange(&samples::exchange(0, 0, Event::Stop))
            .unwrap_err(),
        first
    );
    assert_eq!(writer.finish().unwrap_err(), first);
}
