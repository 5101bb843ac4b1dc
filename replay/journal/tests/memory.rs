//! What reading a journal takes of memory: the same, however long it is.
#![allow(unsafe_code)] // A global allocator cannot be written without; see below.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use interloom_engine::Round;
use interloom_journal::{
    Declared, Event, ExchangeRecord, ExchangeResult, Experiment, Head, IndexedJournal,
    JournalReader, JournalWriter, OutcomeRecord, RunStart, SiteRef, ValueTree, check,
};

/// The system's allocator, which counts the bytes that each thread holds, and has held at most.
struct Counting;

thread_local! {
    // Constant and without a destructor, so that using them allocates nothing, also while a thread begins or ends.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    HELD.set(HELD.get() + bytes);
    MOST.set(MOST.get().max(HELD.get()));
}

// SAFETY: every call is passed on unchanged to `System`, which keeps the contract of `GlobalAlloc`;
// counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: `pointer` comes from `System`, as all that this allocator gives out.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.cast_signed() - layout.size().cast_signed());
        // SAFETY: as for `dealloc`, and the caller vouches for `size`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many bytes `work` holds at most beyond what was held before.
fn most<T>(work: impl FnOnce() -> T) -> (isize, T) {
    let before = HELD.get();
    MOST.set(before);
    let result = work();
    (MOST.get() - before, result)
}

fn record(path: &Path, exchanges: u64) {
    let mut writer = JournalWriter::create(path, &Head::new(Experiment::default())).unwrap();
    let start = RunStart {
        run: 0,
        name: "long".to_owned(),
        mediators: Vec::new(),
        scheduler: "in-order".to_owned(),
        declared: Declared::default(),
        keeps: Vec::new(),
    };
    writer.start_run(&start).unwrap();
    let path = writer.path("layers.3.output").unwrap();
    let site = Some(SiteRef { path, iteration: 0 });
    for index in 0..exchanges {
        let exchange = ExchangeRecord {
            run: 0,
            index,
            mediator: 0,
            event: Event::Value,
            asked: site,
            at: site,
            result: ExchangeResult::Served,
            value: Some(ValueTree::Text(format!("value {index:09}").into())),
            reshape: false,
            round: Round::Alone,
            fault: None,
            origin: None,
        };
        writer.exchange(&exchange).unwrap();
    }
    writer.end_run(OutcomeRecord::default()).unwrap();
    writer.finish().unwrap();
}

#[test]
fn a_journal_is_written_and_read_in_memory_that_does_not_grow_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let measure = |exchanges: u64| {
        let path = folder.path().join("a.ilj");
        let (writing, ()) = most(|| record(&path, exchanges));
        let (reading, read) = most(|| JournalReader::open(&path).unwrap().flatten().count());
        assert!(read as u64 > exchanges);
        let (scanning, scanned) = most(|| {
            let (mut reader, mut frames) = (JournalReader::open(&path).unwrap(), 0);
            while reader.next_frame().unwrap().is_some() {
                frames += 1;
            }
            frames
        });
        assert_eq!(scanned + 1, read);
        let (checking, found) = most(|| check(&path).unwrap());
        assert_eq!((found.exchanges, found.problem), (exchanges, None));
        [writing, reading, scanning, checking]
    };
    let (few, many) = (measure(5_000), measure(100_000));
    // All hold buffers, which are there from the first block on.
    assert!(few.iter().all(|bytes| *bytes > 10_000), "{few:?}");
    for (few, many) in few.into_iter().zip(many) {
        assert!(many <= few + 1024, "{few} bytes, then {many}");
    }
}

#[test]
fn an_index_takes_less_than_a_byte_for_each_exchange() {
    let folder = tempfile::tempdir().unwrap();
    let open = |exchanges: u64| {
        let path = folder.path().join("a.ilj");
        record(&path, exchanges);
        let (bytes, (mut journal, problem)) = most(|| IndexedJournal::open(&path).unwrap());
        assert_eq!((journal.exchanges(), problem), (exchanges, None));
        let last = journal.exchange(exchanges - 1).unwrap();
        assert_eq!(last.index, exchanges - 1);
        assert!(journal.index_bytes() as u64 <= exchanges + 1024);
        bytes
    };
    let (few, many) = (open(5_000), open(100_000));
    assert!(many - few <= 95_000, "{few} bytes, then {many}");
}
