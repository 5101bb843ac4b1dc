//! Models give the same bits on any number of threads.

use interloom_models::LanguageModel;

use crate::families::{families, opened};
use crate::support::{bits, cpu};

/// Enough rows that products, patterns and nonlinearities of the tiny models are divided.
const ROWS: u32 = 24;
const POSITIONS: u32 = 40;

fn logits(folder: &str, threads: usize) -> Vec<u32> {
    let rows = (0..ROWS).map(|row| (0..POSITIONS).map(move |at| (row * 31 + at * 7) % 97 + 3));
    let rows: Vec<Vec<u32>> = rows.map(Iterator::collect).collect();
    let prompts: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.unwrap().install(|| {
        let model = LanguageModel::load(folder, &cpu()).unwrap();
        bits(model.batch(&prompts).unwrap().logits())
    })
}

#[test]
fn every_family_has_the_bits_of_one_thread() {
    for name in families() {
        let folder = opened(&name, "config.json").unwrap();
        let folder = folder.path().to_str().unwrap();
        let one = logits(folder, 1);
        for threads in [2, 5] {
            assert!(logits(folder, threads) == one, "{name}, {threads} threads");
        }
    }
}
