//! What is promised of a GPU, shown on one. Each test needs an NVIDIA GPU and its driver:
//!
//! ```sh
//! cargo test --release --workspace --features cuda --test cuda -- --ignored --test-threads 1 --nocapture
//! ```
//!
//! What they print stands in docs/CUDA.md.

use std::path::{Path, PathBuf};
use std::process::Command;

use burn::tensor::Device;
use interloom::{Conclusion, Mode, Session, SessionBuilder};
use interloom_backends::{ReuseStats, Value, describe_device, parse_device};
use interloom_cli::experiment::{FileExperiment, FileReport, RunReport};
use interloom_conform::{Folder, REFERENCES, Verdict};
use interloom_engine::Mediator;
use interloom_journal::{Journal, Policy};
use interloom_program::Program;
use interloom_tests::Scenarios;

const DEVICE: &str = "cuda";

/// The journal that a test and the process that it starts speak of.
const JOURNAL: &str = "INTERLOOM_TEST_JOURNAL";

fn gpu() -> Device {
    parse_device(DEVICE).expect("these tests need a GPU")
}

fn scenarios() -> Folder {
    // On a machine that has the program and not its source, the folder is named.
    let home = std::env::var_os("INTERLOOM_TEST_SCENARIOS").map(PathBuf::from);
    let home = home.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance"));
    Folder::open(&home, &gpu()).expect("the recorded scenarios")
}

fn opened(policy: Policy) -> SessionBuilder {
    Session::of(&Scenarios::on(gpu())).policy(policy)
}

fn machine(
    program: &Program,
    around: &interloom_conform::Surroundings,
) -> Box<dyn Mediator<Value>> {
    Box::new(around.machine(program).expect("within the limits"))
}

#[test]
#[ignore = "needs a GPU: the command is above"]
fn the_device_says_what_it_is() {
    let text = describe_device(DEVICE);
    println!("{text}");
    assert!(text.contains("NVIDIA"), "{text}");
    assert!(parse_device("cuda:99").is_err());
}

/// L1: the recorded scenarios are the same as on the CPU, as far as a reference's values are
/// compared.
#[test]
#[ignore = "needs a GPU: the command is above"]
fn no_scenario_differs_without_a_rule() {
    let folder = scenarios();
    for reference in REFERENCES {
        let (mut same, mut by_rule, mut not_compared) = (0, 0, 0);
        let mut differ = Vec::new();
        for id in folder.ids() {
            match folder.compare(id, reference) {
                Verdict::Same => same += 1,
                Verdict::ByRule { .. } => by_rule += 1,
                Verdict::NotCompared(_) => not_compared += 1,
                other => differ.push(format!("{id}: {other:?}")),
            }
        }
        println!(
            "{reference}: {same} same, {by_rule} by rule, {not_compared} not compared, {} differ",
            differ.len()
        );
        assert!(differ.is_empty(), "{}", differ.join("\n"));
    }
}

/// L3: each scenario, made again, gives every value bit for bit, and no byte of a journal depends
/// on when tensors are read.
#[test]
#[ignore = "needs a GPU: the command is above"]
fn every_scenario_is_reproduced_bit_for_bit() {
    let folder = scenarios();
    let place = tempfile::tempdir().unwrap();
    let (mut identical, mut parted) = (0, Vec::new());
    for id in folder.ids() {
        let mut journals = Vec::new();
        for late in [None, Some(0), Some(1000)] {
            let path = place.path().join("scenario.ilj");
            let mut session = opened(Policy::Full).record(&path).unwrap();
            if let Some(bytes) = late {
                session.set_readback_budget(bytes);
            }
            folder.run(id, machine, &mut session).unwrap();
            session.conclude().unwrap();
            journals.push(std::fs::read(path).unwrap());
        }
        let path = place.path().join("scenario.ilj");
        let mut session = opened(Policy::Full).verify(&path).unwrap();
        folder.run(id, machine, &mut session).unwrap();
        let conclusion = session.conclude().unwrap();
        let same_bytes = journals.windows(2).all(|pair| pair[0] == pair[1]);
        match conclusion.is_identical() && same_bytes {
            true => identical += 1,
            false => parted.push(format!("{id}: same bytes {same_bytes}, {conclusion:#?}")),
        }
    }
    println!("{identical} scenarios bit-identical, {} not", parted.len());
    assert!(parted.is_empty(), "{}", parted.join("\n"));
}

/// A fork takes what modules put out from the journal, to the GPU and back without a changed bit.
#[test]
#[ignore = "needs a GPU: the command is above"]
fn every_scenario_is_the_same_when_it_is_forked() {
    let folder = scenarios();
    let place = tempfile::tempdir().unwrap();
    let (mut forks, mut effort, mut parted) = (0, ReuseStats::default(), Vec::new());
    for id in folder.ids() {
        let make = |mode| {
            let mut session = opened(Policy::Full).open(mode).unwrap();
            session.keep_passages(true);
            folder.run(id, machine, &mut session).unwrap();
            match session.conclude().unwrap() {
                Conclusion::Recorded {
                    exchanges,
                    digest,
                    effort,
                    ..
                } => (exchanges, digest, effort),
                other => panic!("{other:?}"),
            }
        };
        let from = place.path().join("from.ilj");
        let (exchanges, digest, _) = make(Mode::Record(from.clone()));
        let into = place.path().join("into.ilj");
        let exchange = exchanges / 2;
        let (_, forked, own) = make(Mode::Fork {
            from,
            exchange,
            into,
        });
        forks += 1;
        effort += own;
        if forked != digest {
            parted.push(format!("{id} at {exchange}: {forked}, recorded {digest}"));
        }
    }
    println!("{forks} forks, {effort:?}");
    assert!(parted.is_empty(), "{}", parted.join("\n"));
    assert!(effort.known > 0);
}

/// L3 between processes: the ablation of every head of the induction transformer.
#[test]
#[ignore = "needs a GPU: the command is above"]
fn ablations_are_reproduced_in_a_new_process() {
    let place = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("INTERLOOM_TEST_KEEP").map(PathBuf::from);
    let journal = kept
        .unwrap_or_else(|| place.path().to_owned())
        .join("ablation.ilj");
    let (report, _) = ablation(DEVICE)
        .run(Mode::Record(journal.clone()), Policy::Full, &mut ())
        .unwrap();
    let losses: Vec<(f64, &str)> = report
        .runs
        .iter()
        .map(|run| (loss(run), &*run.name))
        .collect();
    let (most, name) = losses
        .iter()
        .copied()
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap();
    assert_eq!(name, "without_L0H0", "as on the CPU");
    for round in 0..3 {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "replays_a_journal_of_its_parent",
                "--ignored",
                "--nocapture",
            ])
            .env(JOURNAL, &journal)
            .output()
            .unwrap();
        assert!(child.status.success(), "{child:?}");
        println!("process {round}: bit-identical");
    }
    let exchanges = Journal::load(&journal).unwrap().exchanges().count();
    println!("{exchanges} exchanges, loss {:?} to {most:?}", losses[0].0);
}

#[test]
#[ignore = "is started by another test"]
fn replays_a_journal_of_its_parent() {
    let Some(journal) = std::env::var_os(JOURNAL) else {
        return;
    };
    for mode in [Mode::Verify, Mode::Serve, Mode::Drive] {
        let mode = mode(PathBuf::from(&journal));
        let (_, conclusion) = ablation(DEVICE).run(mode, Policy::Full, &mut ()).unwrap();
        assert!(conclusion.is_identical(), "{conclusion:#?}");
    }
}

/// L2: a journal of a GPU answers the mediators on a CPU, bit for bit: they only copy and zero.
#[test]
#[ignore = "needs a GPU: the command is above"]
fn a_journal_of_the_gpu_is_served_without_it() {
    let place = tempfile::tempdir().unwrap();
    let journal = place.path().join("ablation.ilj");
    let recorded = Mode::Record(journal.clone());
    ablation(DEVICE)
        .run(recorded, Policy::Full, &mut ())
        .unwrap();
    let served = Mode::Serve(journal);
    let (_, conclusion) = ablation("cpu").run(served, Policy::Full, &mut ()).unwrap();
    assert!(conclusion.is_identical(), "{conclusion:#?}");
    let Conclusion::Verified { exchanges, .. } = conclusion else {
        unreachable!("a replay verifies");
    };
    println!("{exchanges} exchanges served on the CPU");
}

/// L4: the CPU gives close values, and a replay on it says so and does not call them equal.
#[test]
#[ignore = "needs a GPU: the command is above"]
fn the_cpu_parts_from_the_gpu_and_the_report_says_where() {
    let place = tempfile::tempdir().unwrap();
    let journal = place.path().join("ablation.ilj");
    let recorded = Mode::Record(journal.clone());
    let (on_gpu, _) = ablation(DEVICE)
        .run(recorded, Policy::Full, &mut ())
        .unwrap();
    let verify = Mode::Verify(journal);
    let (on_cpu, conclusion) = ablation("cpu").run(verify, Policy::Full, &mut ()).unwrap();
    let Conclusion::Verified {
        divergence: Some(divergence),
        ..
    } = &conclusion
    else {
        panic!("{conclusion:#?}");
    };
    println!("{divergence}");
    let [on_gpu, on_cpu] = [on_gpu, on_cpu].map(|report: FileReport| loss(&report.runs[0]));
    println!("loss {on_gpu:?} on the GPU, {on_cpu:?} on the CPU");
    assert!((on_gpu - on_cpu).abs() < 1e-4);
}

/// The loss of a run on what repeats.
fn loss(run: &RunReport) -> f64 {
    run.rows[0].loss.unwrap()
}

fn ablation(device: &str) -> FileExperiment {
    let text = include_str!("../../replay/cli/experiments/ablation.toml");
    let mut experiment = FileExperiment::new("ablation.toml", text);
    experiment.device = Some(device.to_owned());
    experiment
}
