//! Every target over its corpus, as it is, cut and mutated.
//!
//! The corpora are made by [`seeds`]; a test compares them, so that they stay what the formats are.

mod havoc;
mod seeds;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use interloom_fuzz::{TARGETS, Target, canary, repaired, transcript};

/// How many mutations of one seed are tried: each byte of short ones, some of long ones.
const MUTATIONS_MAX: usize = 1500;

/// How many times several mutations of a seed are tried together, unless `INTERLOOM_FUZZ_ROUNDS`
/// says otherwise.
const ROUNDS: usize = 2000;

/// The targets that write files or run everything several times.
const SLOW: [&str; 4] = ["open", "recover", "divergence", "laws"];

/// How many times less is tried of those.
const SHARE: usize = 10;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target)
}

/// The files of a corpus, by name; there is at least one.
fn read_corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(corpus(target))
        .unwrap_or_else(|error| panic!("no corpus for {target}: {error}"))
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus of {target} is empty");
    files
}

/// Cuts, flipped bits, and bytes set to what lengths and numbers are most often wrong with.
fn mutations(seed: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    mutations_of(seed, MUTATIONS_MAX)
}

fn mutations_of(seed: &[u8], most: usize) -> impl Iterator<Item = Vec<u8>> {
    let step = (3 * seed.len()).div_ceil(most).max(1);
    (0..seed.len()).step_by(step).flat_map(move |at| {
        let with = |byte: u8| {
            let mut bytes = seed.to_vec();
            bytes[at] = byte;
            bytes
        };
        let flipped = with(seed[at] ^ 1 << (at % 8));
        let extreme = with(if at % 2 == 0 { 0xFF } else { 0 });
        [seed[..at].to_vec(), flipped, extreme]
    })
}

/// Runs a target over its corpus and its mutations; what was accepted, what was refused.
fn run((name, target): Target) -> (usize, usize) {
    let share = if SLOW.contains(&name) { SHARE } else { 1 };
    let (mut accepted, mut refused) = (0, 0);
    let mut count = |bytes: &[u8]| match target(bytes) {
        true => accepted += 1,
        false => refused += 1,
    };
    count(&[]);
    for (_, seed) in read_corpus(name) {
        count(&seed);
        mutations_of(&seed, MUTATIONS_MAX / share).for_each(|bytes| count(&bytes));
    }
    let seeds = read_corpus(name).into_iter().map(|(_, seed)| seed);
    let rounds = std::env::var("INTERLOOM_FUZZ_ROUNDS").ok();
    let rounds = rounds.map_or(ROUNDS / share, |rounds| rounds.parse().unwrap());
    havoc::Havoc::new(seeds.collect())
        .take(rounds)
        .for_each(|bytes| count(&bytes));
    (accepted, refused)
}

/// A test for each target; each must accept something and refuse something.
macro_rules! targets {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            let target = TARGETS.iter().find(|(name, _)| *name == stringify!($name));
            let (accepted, refused) = run(*target.unwrap());
            assert!(accepted > 0, "all of {refused} inputs were refused");
            assert!(refused > 0, "all of {accepted} inputs were accepted");
        })*

        #[test]
        fn every_target_has_a_test_a_program_and_a_corpus() {
            let tested = [$(stringify!($name)),*];
            assert_eq!(tested, TARGETS.map(|(name, _)| name));
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            for name in tested.into_iter().chain(["canary"]) {
                assert!(root.join("fuzz_targets").join(format!("{name}.rs")).exists(), "{name}");
                read_corpus(name);
            }
        }
    };
}

targets!(
    journal,
    tools,
    frame,
    head,
    exchange,
    open,
    recover,
    divergence,
    gguf,
    safetensors,
    config,
    engine,
    laws,
    schedule,
    program,
    experiment,
    arguments
);

#[test]
fn the_canary_fails() {
    for (name, seed) in read_corpus("canary") {
        let result = std::panic::catch_unwind(|| canary(&seed));
        assert_eq!(result.is_err(), name.starts_with("dead"), "{name}");
    }
    // A mutation must be able to bring it to life, and to kill it.
    let dead = |bytes: &[u8]| std::panic::catch_unwind(|| canary(bytes)).is_err();
    let outcomes: BTreeSet<bool> = mutations(b"a !dead bird")
        .map(|bytes| dead(&bytes))
        .collect();
    assert_eq!(outcomes.len(), 2);
}

#[test]
fn every_seed_is_accepted_or_named_otherwise() {
    for (target, function) in TARGETS {
        for (name, seed) in read_corpus(target) {
            assert_eq!(
                function(&seed),
                !name.starts_with("refused"),
                "{target}/{name}"
            );
        }
    }
}

#[test]
fn the_scripts_make_every_exchange_that_there_is() {
    let mut seen = BTreeSet::new();
    for (_, seed) in read_corpus("engine") {
        for bytes in std::iter::once(seed.clone()).chain(mutations(&seed)) {
            for line in transcript(&bytes).exchanges {
                let event = line.split(' ').next().unwrap().to_owned();
                let outcome = ["Served", "Refused"];
                let outcome = outcome.into_iter().find(|outcome| line.contains(outcome));
                seen.insert((event, outcome.unwrap()));
            }
        }
    }
    let seen: Vec<String> = seen
        .iter()
        .map(|(event, outcome)| format!("{event} {outcome}"))
        .collect();
    let expected = [
        "END Served",
        "EXCEPTION Served",
        "SKIP Refused",
        "SKIP Served",
        "STOP Served",
        "SWAP Refused",
        "SWAP Served",
        "VALUE Refused",
        "VALUE Served",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn repairing_changes_nothing_that_is_whole() {
    for (name, seed) in read_corpus("journal") {
        if !name.starts_with("refused") {
            assert!(repaired(&seed) == seed, "{name}");
        }
        // What is repaired is past the checksums.
        for bytes in mutations(&seed) {
            let again = repaired(&repaired(&bytes));
            assert!(again == repaired(&bytes), "{name}");
        }
    }
}

#[test]
fn the_corpora_are_small_and_what_the_seeds_make() {
    let mut total = 0;
    for (target, seeds) in seeds::all() {
        let files = read_corpus(target);
        let named = |(name, bytes): (&str, Vec<u8>)| (name.to_owned(), bytes);
        let mut seeds: Vec<_> = seeds.into_iter().map(named).collect();
        seeds.sort();
        let names = |files: &[(String, Vec<u8>)]| -> Vec<String> {
            files.iter().map(|(name, _)| name.clone()).collect()
        };
        assert_eq!(names(&files), names(&seeds), "{target}");
        for (file, seed) in files.iter().zip(&seeds) {
            assert!(
                file == seed,
                "{target}/{} is not what the seeds make",
                file.0
            );
            total += file.1.len();
        }
    }
    assert!(total < 72 << 10, "{total} bytes");
}

#[test]
#[ignore = "writes the corpora: cargo test --workspace --test corpus -- --ignored write"]
fn write_the_corpora() {
    for (target, seeds) in seeds::all() {
        let folder = corpus(target);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}
