//! What recording costs on a GPU: a forward pass of the induction transformer, plain, and with
//! values of every layer recorded, read one by one and read together.
//!
//! ```sh
//! cargo bench --workspace --features cuda --bench cuda
//! ```

use criterion::{Criterion, criterion_group, criterion_main};
use interloom::prelude::*;
use interloom_models::induction::Sampler;

fn recorded(criterion: &mut Criterion) {
    let device = match parse_device("cuda") {
        Ok(device) => device,
        Err(error) => return eprintln!("nothing is measured: {error}"),
    };
    let model = Induction::trained(&device);
    for sequences in [8, 64] {
        let tokens = Sampler::new(1).batch(sequences).tokens(&device);
        let mut group =
            criterion.benchmark_group(format!("induction on CUDA, {sequences} sequences"));
        group.sample_size(20);
        group.bench_function("plain", |bencher| {
            bencher.iter(|| model.forward(tokens.clone()).into_data());
        });
        for (name, bytes) in [
            ("12 values recorded, one by one", 0),
            ("12 values recorded, together", 256 << 20),
        ] {
            group.bench_function(name, |bencher| {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let journal = folder.path().join("bench.ilj");
                let mut session = Session::record(journal, &model).expect("a new journal");
                session.set_readback_budget(bytes);
                bencher.iter(|| {
                    let mut run = Run::new("read", model.sites());
                    run.mediator("activations", |cx| async move {
                        for layer in 0..2 {
                            cx.input(&format!("layers.{layer}")).await?;
                            for part in ["q", "k", "v", "pattern", "z"] {
                                cx.output(&format!("layers.{layer}.attn.{part}")).await?;
                            }
                        }
                        Ok(())
                    });
                    let ran = session.run(run, || model.forward(tokens.clone()).into_data());
                    ran.expect("a run that only reads succeeds");
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, recorded);
criterion_main!(benches);
