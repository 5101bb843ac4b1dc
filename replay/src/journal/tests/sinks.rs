//! Sinks that fail, and sinks that take little at a time.

use std::io::{self, Write};

use super::*;

/// Takes `room` bytes, at most `at_once` in one call, then reports a full disk.
struct Narrow<'a> {
    taken: &'a mut Vec<u8>,
    room: usize,
    at_once: usize,
    interrupt: bool,
    interrupted: bool,
}

impl<'a> Narrow<'a> {
    fn new(taken: &'a mut Vec<u8>, room: usize, at_once: usize) -> Self {
        Self {
            taken,
            room,
            at_once,
            interrupt: false,
            interrupted: false,
        }
    }
}

impl Write for Narrow<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.interrupted = self.interrupt && !self.interrupted;
        if self.interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = bytes.len().min(self.at_once).min(self.room);
        if count == 0 && !bytes.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "no space left on device",
            ));
        }
        self.room -= count;
        self.taken.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Narrow<'_> {}

#[test]
fn short_and_interrupted_writes_lose_nothing() {
    for (at_once, interrupt) in [(1, false), (7, false), (64, true)] {
        let mut bytes = Vec::new();
        let mut sink = Narrow::new(&mut bytes, usize::MAX, at_once);
        sink.interrupt = interrupt;
        samples::write_golden(JournalWriter::with_buffer(sink, &samples::head(), 0).unwrap())
            .unwrap();
        assert!(bytes == samples::golden());
    }
}

#[test]
fn a_full_disk_at_any_byte_leaves_a_prefix_and_is_reported() {
    let golden = samples::golden();
    for room in 0..golden.len() {
        let mut bytes = Vec::new();
        let writer = JournalWriter::with_buffer(
            Narrow::new(&mut bytes, room, usize::MAX),
            &samples::head(),
            0,
        );
        let error = writer.and_then(samples::write_golden).unwrap_err();
        assert_eq!(error.code(), "E061");
        assert!(bytes == golden[..room]);
    }
}

/// Fails its nth write, and would take all others.
struct FailingOnce {
    writes: usize,
    failing: usize,
}

impl Write for FailingOnce {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        if self.writes == self.failing {
            return Err(io::Error::other("a cable was pulled"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for FailingOnce {}

#[test]
fn after_a_failed_write_every_call_gives_the_first_error() {
    for failing in 2..12 {
        let sink = FailingOnce { writes: 0, failing };
        let mut writer = JournalWriter::with_buffer(sink, &samples::head(), 0).unwrap();
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

struct Unsyncable;

impl Write for Unsyncable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Unsyncable {
    fn sync(&mut self) -> io::Result<()> {
        Err(io::Error::other("the disk is gone"))
    }
}

#[test]
fn a_failed_sync_is_reported() {
    let writer = JournalWriter::new(Unsyncable, "run.ilj", &samples::head()).unwrap();
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

/// A source that fails after some bytes.
struct FailingSource<'a>(&'a [u8]);

impl io::Read for FailingSource<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::Error::other("the network is gone"));
        }
        self.0.read(bytes)
    }
}

#[test]
fn a_source_that_fails_is_reported_wherever_it_fails() {
    let golden = samples::golden();
    let (whole, _) = samples::read_all(&golden);
    for cut in 0..golden.len() {
        let source = FailingSource(&golden[..cut]);
        let mut records = 0;
        let error = match JournalReader::new(source, "run.ilj") {
            Err(error) => Some(error),
            Ok(mut reader) => reader.find_map(|record| {
                records += usize::from(record.is_ok());
                record.err()
            }),
        };
        assert_eq!(error.unwrap().code(), "E061", "at {cut}");
        assert!(records <= whole.len());
    }
}
