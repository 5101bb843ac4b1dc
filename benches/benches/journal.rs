//! What a journal costs: writing an exchange to memory and reading it back, beside writing the same bytes bare and as MCAP.

use std::collections::BTreeMap;
use std::io::{BufWriter, Cursor, Write};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use interloom::journal::{
    DType, Digest, Event, Exchange, ExchangeResult, Experiment, Head, JournalReader, JournalWriter,
    Origin, Outcome, RunStart, SiteRef, ValueTree,
};

/// Exchanges in one sample.
const COUNT: u64 = 10_000;

fn exchange(index: u64, path: u32) -> Exchange {
    Exchange {
        run: 0,
        index,
        mediator: 0,
        event: Event::Value,
        asked: Some(SiteRef { path, iteration: 0 }),
        at: Some(SiteRef { path, iteration: 0 }),
        result: ExchangeResult::Served,
        value: Some(ValueTree::Tensor {
            dtype: DType::F32,
            shape: vec![1, 5, 576],
            digest: Digest::of_bytes("bench", b"value"),
        }),
        fault: None,
        origin: Some(Origin {
            file: "steer.rs".to_owned(),
            line: 7,
        }),
    }
}

fn write_all() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer =
        JournalWriter::new(&mut bytes, "bench.ilj", &Head::new(Experiment::default())).unwrap();
    let start = RunStart {
        run: 0,
        name: "bench".to_owned(),
        mediators: Vec::new(),
        scheduler: "in-order".to_owned(),
        declared: None,
    };
    writer.start_run(&start).unwrap();
    let path = writer.path("layers.3.output").unwrap();
    let mut exchange = exchange(0, path);
    for index in 0..COUNT {
        exchange.index = index;
        writer.exchange(&exchange).unwrap();
    }
    writer.end_run(Outcome::default()).unwrap();
    writer.finish().unwrap();
    bytes
}

fn journal(criterion: &mut Criterion) {
    let bytes = write_all();
    let mut group = criterion.benchmark_group("journal of 10,000 exchanges");
    group.throughput(Throughput::Elements(COUNT));
    group.bench_function("write", |bencher| bencher.iter(write_all));
    group.bench_function("bare BufWriter of the same bytes", |bencher| {
        let chunk = bytes.len() / COUNT as usize;
        bencher.iter_batched(
            || BufWriter::new(Vec::with_capacity(bytes.len())),
            |mut writer| {
                bytes
                    .chunks(chunk)
                    .for_each(|chunk| writer.write_all(chunk).unwrap());
                writer.into_inner().unwrap()
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("read and check", |bencher| {
        bencher.iter(|| {
            let reader = JournalReader::new(&bytes[..], "bench.ilj").unwrap();
            reader.records().map(Result::unwrap).count()
        });
    });
    group.finish();
}

/// The same exchanges as messages of an MCAP file without chunks, the fastest way to write one. They are encoded beforehand, as our
/// own frames, so that only the container is measured; it has no checksum of a single message.
fn mcap(criterion: &mut Criterion) {
    let bytes = write_all();
    let message = &bytes[..bytes.len() / COUNT as usize];
    let mut group = criterion.benchmark_group("journal of 10,000 exchanges");
    group.throughput(Throughput::Elements(COUNT));
    group.bench_function("mcap without chunks, encoded beforehand", |bencher| {
        bencher.iter(|| {
            let options = mcap::WriteOptions::new()
                .compression(None)
                .use_chunks(false);
            let mut writer = options.create(Cursor::new(Vec::new())).unwrap();
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
            writer.into_inner().into_inner()
        });
    });
    group.finish();
}

criterion_group!(benches, journal, mcap);
criterion_main!(benches);
