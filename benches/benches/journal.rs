//! What a journal costs: exchanges and tensors written, scanned, read and stepped through, each
//! beside writing the same bytes bare, and exchanges beside writing them as MCAP.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use criterion::{BatchSize, Bencher, Criterion, Throughput, criterion_group, criterion_main};
use interloom_journal::{
    DType, Digest, Event, ExchangeRecord, ExchangeResult, Experiment, Head, IndexedJournal,
    JournalReader, JournalWriter, OriginRecord, OutcomeRecord, Policy, RunStart, Sink, SiteRef,
    TensorLine, ValueTree,
};

/// Exchanges in one sample.
const COUNT: u64 = 10_000;

/// Exchanges in the journal that is stepped through.
const MANY: u64 = 1_000_000;

/// Tensors in one sample, as a block of SmolLM2 passes them on for a prompt of 64 tokens.
const TENSORS: usize = 100;
const SHAPE: [u64; 3] = [1, 64, 576];

fn exchanges(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.ilj");
    let mut bytes = Vec::new();
    write(&mut bytes, COUNT);
    let frame = bytes.len() / COUNT as usize;

    let mut group = criterion.benchmark_group(format!("{COUNT} exchanges of {frame} bytes"));
    group.throughput(Throughput::Elements(COUNT));
    let room = || Vec::with_capacity(bytes.len() + frame);
    group.bench_function("append, to memory", |bencher| {
        in_new(bencher, room, |sink| write(sink, COUNT));
    });
    group.bench_function("BufWriter, to memory", |bencher| {
        in_new(bencher, room, |sink| bare(sink, &bytes, frame));
    });
    group.bench_function("mcap without chunks, to memory", |bencher| {
        let room = || io::Cursor::new(room());
        in_new(bencher, room, |sink| as_mcap(sink, &bytes[..frame]));
    });
    group.bench_function("append, to a file", |bencher| {
        in_new(
            bencher,
            || Unsynced::create(&path),
            |sink| write(sink, COUNT),
        );
    });
    group.bench_function("BufWriter, to a file", |bencher| {
        in_new(
            bencher,
            || Unsynced::create(&path),
            |sink| bare(sink, &bytes, frame),
        );
    });

    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("skim", |bencher| bencher.iter(|| skim(&bytes)));
    group.bench_function("scan", |bencher| bencher.iter(|| scan(&bytes)));
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            let reader = JournalReader::new(&bytes[..], "bench.ilj").unwrap();
            reader.records().map(Result::unwrap).count()
        });
    });
    group.finish();
}

/// Writes an encoded exchange again and again as a message of an MCAP file without chunks, the
/// fastest way to write one; so only the container is measured. It has no checksum of a single
/// message.
fn as_mcap(sink: impl Write + Seek, message: &[u8]) {
    let options = mcap::WriteOptions::new()
        .compression(None)
        .use_chunks(false);
    let mut writer = options.create(sink).unwrap();
    let channel = writer.add_channel(0, "mediator", "msgpack", &BTreeMap::new());
    let mut header = mcap::records::MessageHeader {
        channel_id: channel.unwrap(),
        sequence: 0,
        log_time: 0,
        publish_time: 0,
    };
    for index in 0..COUNT {
        (header.sequence, header.log_time) = (index as u32, index);
        writer.write_to_known_channel(&header, message).unwrap();
    }
    writer.finish().unwrap();
}

fn tensors(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.ilj");
    let tensors: Vec<_> = (0..TENSORS).map(tensor).collect();
    let digests: Vec<_> = tensors.iter().map(|bytes| digest(bytes)).collect();
    let mut bytes = Vec::new();
    keep(&mut bytes, &tensors, |at| digests[at]);

    let mut group = criterion.benchmark_group(format!("{TENSORS} tensors f32{SHAPE:?}"));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("full, to a file", |bencher| {
        in_new(
            bencher,
            || Unsynced::create(&path),
            |sink| keep(sink, &tensors, |at| digest(&tensors[at])),
        );
    });
    group.bench_function("full with digests at hand, to a file", |bencher| {
        in_new(
            bencher,
            || Unsynced::create(&path),
            |sink| keep(sink, &tensors, |at| digests[at]),
        );
    });
    group.bench_function("write_all of the same tensors, to a file", |bencher| {
        in_new(
            bencher,
            || Unsynced::create(&path),
            |sink| {
                tensors
                    .iter()
                    .for_each(|bytes| sink.write_all(bytes).unwrap())
            },
        );
    });
    // What a user gets: a finished journal outlives a loss of power.
    group.bench_function("full, to a file that is made durable", |bencher| {
        let keep = |sink: &mut File| keep(sink, &tensors, |at| digest(&tensors[at]));
        in_new(bencher, || File::create(&path).unwrap(), keep);
    });
    group.bench_function("write_all of the same tensors, made durable", |bencher| {
        let write = |sink: &mut File| {
            tensors
                .iter()
                .for_each(|bytes| sink.write_all(bytes).unwrap());
            sink.sync_data().unwrap();
        };
        in_new(bencher, || File::create(&path).unwrap(), write);
    });
    group.bench_function("digests alone", |bencher| {
        bencher.iter(|| tensors.iter().map(|bytes| digest(bytes)).max());
    });
    group.bench_function("scan", |bencher| bencher.iter(|| scan(&bytes)));
    group.finish();
}

fn steps(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.ilj");
    write(Unsynced::create(&path), MANY);

    let mut group = criterion.benchmark_group(format!("{MANY} exchanges in a file"));
    group.sample_size(10);
    group.bench_function("open", |bencher| {
        bencher.iter(|| IndexedJournal::open(&path).unwrap().0.exchanges());
    });
    let (mut journal, problem) = IndexedJournal::open(&path).unwrap();
    assert_eq!((journal.exchanges(), problem), (MANY, None));
    group.sample_size(100);
    let mut at = MANY;
    group.bench_function("step back", |bencher| {
        bencher.iter(|| {
            at = at.checked_sub(1).unwrap_or(MANY - 1);
            journal.exchange(at).unwrap()
        });
    });
    group.bench_function("go anywhere", |bencher| {
        bencher.iter(|| {
            at = (at + 611_953) % MANY;
            journal.exchange(at).unwrap()
        });
    });
    println!("the index takes {} bytes", journal.index_bytes());
    group.finish();
}

/// Times `action` on a new sink; making and dropping the sink is not counted.
fn in_new<S>(bencher: &mut Bencher<'_>, new: impl FnMut() -> S, action: impl Fn(&mut S)) {
    let action = |mut sink: S| {
        action(&mut sink);
        sink
    };
    bencher.iter_batched(new, action, BatchSize::PerIteration);
}

/// A file whose end is not made durable: that would measure the disk.
struct Unsynced(File);

impl Unsynced {
    fn create(path: &Path) -> Self {
        Self(File::create(path).unwrap())
    }
}

impl Write for Unsynced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Sink for Unsynced {}

fn write(sink: impl Sink, count: u64) {
    let mut writer = start(sink, Policy::Digest);
    let path = writer.path("layers.3.output").unwrap();
    let mut exchange = exchange(path);
    for index in 0..count {
        exchange.index = index;
        writer.exchange(&exchange).unwrap();
    }
    writer.end_run(OutcomeRecord::default()).unwrap();
    writer.finish().unwrap();
}

fn bare(sink: &mut impl Write, bytes: &[u8], at_once: usize) {
    let mut writer = BufWriter::with_capacity(1 << 16, sink);
    for chunk in bytes.chunks(at_once) {
        writer.write_all(chunk).unwrap();
    }
    writer.flush().unwrap();
}

fn keep(sink: impl Sink, tensors: &[Vec<u8>], digest: impl Fn(usize) -> Digest) {
    let mut writer = start(sink, Policy::Full);
    let path = writer.path("layers.3.output").unwrap();
    let mut exchange = exchange(path);
    for (at, bytes) in tensors.iter().enumerate() {
        let digest = digest(at);
        writer.tensor(&digest, DType::F32, &SHAPE, bytes).unwrap();
        exchange.index = at as u64;
        exchange.value = Some(ValueTree::Leaf(TensorLine {
            dtype: DType::F32,
            shape: SHAPE.to_vec(),
            digest,
        }));
        writer.exchange(&exchange).unwrap();
    }
    writer.end_run(OutcomeRecord::default()).unwrap();
    writer.finish().unwrap();
}

fn start<S: Sink>(sink: S, policy: Policy) -> JournalWriter<S> {
    let head = Head {
        policy,
        ..Head::new(Experiment::default())
    };
    let mut writer = JournalWriter::new(sink, "bench.ilj", &head).unwrap();
    let start = RunStart {
        run: 0,
        name: "bench".to_owned(),
        mediators: Vec::new(),
        scheduler: "in-order".to_owned(),
        declared: Default::default(),
        keeps: Vec::new(),
    };
    writer.start_run(&start).unwrap();
    writer
}

fn exchange(path: u32) -> ExchangeRecord {
    let site = Some(SiteRef { path, iteration: 0 });
    ExchangeRecord {
        run: 0,
        index: 0,
        mediator: 0,
        event: Event::Value,
        asked: site,
        at: site,
        result: ExchangeResult::Served,
        value: Some(ValueTree::Leaf(TensorLine {
            dtype: DType::F32,
            shape: vec![1, 5, 576],
            digest: Digest::of_bytes("bench", b"value"),
        })),
        reshape: false,
        round: Default::default(),
        fault: None,
        origin: Some(OriginRecord {
            file: "steer.rs".into(),
            line: 7,
        }),
    }
}

fn tensor(number: usize) -> Vec<u8> {
    let elements = SHAPE.iter().product::<u64>();
    let elements = (0..elements).map(|at| at as f32 * 0.37 + number as f32);
    elements.flat_map(f32::to_le_bytes).collect()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::of_tensor(DType::F32, &SHAPE, bytes)
}

/// Checks each frame by itself.
fn skim(bytes: &[u8]) -> u64 {
    let mut frames = JournalReader::new(bytes, "bench.ilj").unwrap().skim();
    let mut length = 0;
    while let Some(frame) = frames.next_frame().unwrap() {
        length += frame.payload.len() as u64;
    }
    length
}

/// Checks everything, and decodes nothing.
fn scan(bytes: &[u8]) -> u64 {
    let mut reader = JournalReader::new(bytes, "bench.ilj").unwrap();
    let mut length = 0;
    while let Some(frame) = reader.next_frame().unwrap() {
        length += frame.payload.len() as u64;
    }
    length
}

criterion_group!(benches, exchanges, tensors, steps);
criterion_main!(benches);
