//! Files of a training run that are damaged, exchanged, old or foreign: each is an error with a
//! code.

use std::fs;
use std::path::{Path, PathBuf};

use interloom::Error;
use interloom::journal::training::{
    LEDGER_FILE, Ledger, LedgerWriter, NAMES_FILE, checkpoint_folder,
};
use interloom::training::Training;

use crate::net::{Fault, SEED, alone, device, fresh, record, settings, train};

const STEPS: u64 = 25;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Resumes a run that has been tampered with, and returns the error, or that it went on to the end.
fn resume(run: &Path) -> Result<(), Error> {
    let mut state = fresh(SEED);
    let mut training = settings().resume(run, &mut state)?;
    train(&mut training, &mut state, STEPS + 3, None)?;
    training.finish()
}

fn code(run: &Path) -> &'static str {
    resume(run).expect_err("a fault that is seen").code()
}

/// A recorded run, and copies of it to tamper with.
struct Runs {
    folder: tempfile::TempDir,
    copies: u32,
}

impl Runs {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        record(&folder.path().join("run"), STEPS, None);
        Self { folder, copies: 0 }
    }

    fn copy(&mut self) -> PathBuf {
        self.copies += 1;
        let target = self.folder.path().join(format!("copy-{}", self.copies));
        copy(&self.folder.path().join("run"), &target);
        target
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_anywhere_in_a_checkpoint_is_seen() {
    let _alone = alone();
    let mut runs = Runs::new();
    let checkpoint = checkpoint_folder(20);
    for file in [
        "parameters.safetensors",
        "optimizer.safetensors",
        "manifest.json",
    ] {
        let length = fs::metadata(runs.folder.path().join("run").join(&checkpoint).join(file))
            .unwrap()
            .len();
        for at in (0..length).step_by(length as usize / 12) {
            let run = runs.copy();
            let path = run.join(&checkpoint).join(file);
            change(&path, |bytes| bytes[at as usize] ^= 4);
            // A blank of the manifest may become something that JSON skips as well.
            if let Err(error) = resume(&run) {
                assert_eq!(error.code(), "E079", "{file} {at}: {error}");
            } else {
                assert_eq!(file, "manifest.json", "{at}");
            }
        }
    }
}

#[test]
fn torn_exchanged_old_and_foreign_checkpoints_are_seen() {
    let _alone = alone();
    let mut runs = Runs::new();
    let at = |run: &Path, step| run.join(checkpoint_folder(step));
    for file in [
        "parameters.safetensors",
        "optimizer.safetensors",
        "manifest.json",
    ] {
        let run = runs.copy();
        change(&at(&run, 20).join(file), |bytes| {
            bytes.truncate(bytes.len() / 2)
        });
        assert_eq!(code(&run), "E079", "cut {file}");
        let run = runs.copy();
        fs::remove_file(at(&run, 20).join(file)).unwrap();
        assert_eq!(code(&run), "E079", "without {file}");
        let run = runs.copy();
        fs::copy(at(&run, 10).join(file), at(&run, 20).join(file)).unwrap();
        assert_eq!(code(&run), "E079", "an older {file}");
    }
    // The two files for each other.
    let run = runs.copy();
    let (a, b) = (
        at(&run, 20).join("parameters.safetensors"),
        at(&run, 20).join("optimizer.safetensors"),
    );
    let (first, second) = (fs::read(&a).unwrap(), fs::read(&b).unwrap());
    fs::write(&a, second).unwrap();
    fs::write(&b, first).unwrap();
    assert_eq!(code(&run), "E079");
    // A whole one of an earlier step under a later name.
    let run = runs.copy();
    fs::remove_dir_all(at(&run, 20)).unwrap();
    copy(&at(&run, 10), &at(&run, 20));
    assert_eq!(code(&run), "E079");
    // A whole one of another run.
    let other = runs.folder.path().join("other");
    let mut state = fresh(SEED);
    let mut training = Training::of(99, &device())
        .checkpoint_every(10)
        .record(&other, &mut state)
        .unwrap();
    train(&mut training, &mut state, STEPS, None).unwrap();
    training.finish().unwrap();
    let run = runs.copy();
    fs::remove_dir_all(at(&run, 20)).unwrap();
    copy(&at(&other, 20), &at(&run, 20));
    assert_eq!(code(&run), "E079");
    // One that has not been finished does not count.
    let run = runs.copy();
    fs::rename(at(&run, 20), run.join(".unfinished-checkpoint-00000020")).unwrap();
    resume(&run).unwrap();
    // Without any there is nothing to begin from.
    let run = runs.copy();
    for step in [0, 10, 20] {
        fs::remove_dir_all(at(&run, step)).unwrap();
    }
    assert_eq!(code(&run), "E089");
}

#[test]
fn a_damaged_ledger_is_seen() {
    let _alone = alone();
    let mut runs = Runs::new();
    let length = fs::metadata(runs.folder.path().join("run").join(LEDGER_FILE))
        .unwrap()
        .len();
    for at in (0..length).step_by(97) {
        let run = runs.copy();
        change(&run.join(LEDGER_FILE), |bytes| bytes[at as usize] ^= 16);
        let error = Ledger::read(&run);
        // The last four bytes of a line are zeros, which are checked, too.
        assert_eq!(
            error.expect_err("damage is seen").code(),
            "E078",
            "byte {at}"
        );
    }
    let run = runs.copy();
    fs::write(run.join(LEDGER_FILE), "something else").unwrap();
    assert_eq!(code(&run), "E078");
    let run = runs.copy();
    fs::remove_file(run.join(LEDGER_FILE)).unwrap();
    assert_eq!(code(&run), "E060");
    // A line that was taken out.
    let run = runs.copy();
    change(&run.join(LEDGER_FILE), |bytes| {
        let end = bytes.len();
        bytes.drain(end - 3 * 176..end - 2 * 176);
    });
    assert_eq!(code(&run), "E078");
    // Lines that end before a checkpoint.
    let run = runs.copy();
    change(&run.join(LEDGER_FILE), |bytes| {
        bytes.truncate(bytes.len() - 10 * 176)
    });
    assert_eq!(code(&run), "E079");
    // Names that are gone, or damaged where they are needed.
    let run = runs.copy();
    change(&run.join(NAMES_FILE), |bytes| {
        let end = bytes.len();
        bytes[end - 5] ^= 1;
    });
    assert_eq!(code(&run), "E078");
    let run = runs.copy();
    fs::remove_file(run.join(NAMES_FILE)).unwrap();
    assert_eq!(code(&run), "E061");
}

#[test]
fn a_checkpoint_that_is_whole_and_not_what_the_ledger_has_is_seen() {
    let _alone = alone();
    let mut runs = Runs::new();
    let run = runs.copy();
    // Steps 10 to 19 of another run, under the chain of this one.
    let other = runs.folder.path().join("other");
    record(&other, STEPS, Some((12, Fault::Rate { scale: 2.0 })));
    let (ours, theirs) = [&run, &other]
        .map(|run| run.join(checkpoint_folder(20)))
        .into();
    let chain = |run: &Path| Ledger::read(run).unwrap().chain_before(20).unwrap();
    let (chain, their_chain) = (chain(&run).to_string(), chain(&other).to_string());
    fs::remove_dir_all(&ours).unwrap();
    copy(&theirs, &ours);
    change(&ours.join("manifest.json"), |bytes| {
        let text = String::from_utf8(std::mem::take(bytes)).unwrap();
        assert!(text.contains(&their_chain), "{text}");
        *bytes = text.replace(&their_chain, &chain).into_bytes();
    });
    assert_eq!(code(&run), "E079");
}

#[test]
fn what_is_left_of_a_run_without_its_ledger_is_not_written_over() {
    let _alone = alone();
    let mut runs = Runs::new();
    let run = runs.copy();
    fs::remove_file(run.join(LEDGER_FILE)).unwrap();
    let names = fs::read(run.join(NAMES_FILE)).unwrap();
    let begun = || settings().record_or_resume(&run, &mut fresh(SEED));
    assert_eq!(begun().err().unwrap().code(), "E070");
    assert_eq!(fs::read(run.join(NAMES_FILE)).unwrap(), names);
    fs::remove_file(run.join(NAMES_FILE)).unwrap();
    assert_eq!(begun().err().unwrap().code(), "E070");
}

#[test]
fn a_resume_that_comes_out_otherwise_leaves_the_journals() {
    let _alone = alone();
    let mut runs = Runs::new();
    let run = runs.copy();
    let journal = run.join("steps-00000020.ilj");
    let before = fs::read(&journal).unwrap();
    let mut state = fresh(SEED);
    let mut training = settings().resume(&run, &mut state).unwrap();
    let fault = Some((21, Fault::Rate { scale: 2.0 }));
    let error = train(&mut training, &mut state, STEPS, fault).unwrap_err();
    assert_eq!(error.code(), "E088");
    drop(training);
    assert_eq!(fs::read(&journal).unwrap(), before);
    // So does one that is ended early; the right one writes it again.
    let mut training = settings().resume(&run, &mut state).unwrap();
    let sites = interloom::Sites::bind(&state.module).unwrap();
    crate::net::make_step(&mut training, &mut state, &sites, crate::net::PART, None).unwrap();
    training.finish().unwrap();
    assert_eq!(fs::read(&journal).unwrap(), before);
    resume(&run).unwrap();
    let leftover = run.join(".unfinished-steps-00000020.ilj");
    assert!(fs::read(&journal).unwrap().len() > before.len() && !leftover.exists());
}

#[test]
fn a_checkpoint_is_not_taken_for_a_bad_one_by_another_model() {
    use burn::nn::{Linear, LinearConfig, Tanh};
    use burn::optim::SgdConfig;
    use interloom::training::Trained;

    let _alone = alone();
    let mut runs = Runs::new();
    let run = runs.copy();
    let linear: Linear = LinearConfig::new(3, 6).init(&device());
    let mut other = Trained::new("net", linear, SgdConfig::new().init());
    let error = settings().resume(&run, &mut other).err().unwrap();
    assert_eq!(error.code(), "E079");
    let message = error.to_string();
    assert!(
        message.contains("`net` does not take it: ") && !message.contains("remove"),
        "{message}"
    );
    let mut none = Trained::new("net", Tanh::new(), SgdConfig::new().init());
    assert_eq!(
        settings().resume(&run, &mut none).err().unwrap().code(),
        "E079"
    );
    // One without parameters is recorded, and goes on.
    let run = runs.folder.path().join("none");
    for steps in [0..10, 10..15] {
        let settings = settings().trust_checkpoint();
        let mut training = settings.record_or_resume(&run, &mut none).unwrap();
        assert_eq!(training.next(), steps.start);
        while training.goes_on(steps.end) {
            training.step(&mut none, |_, _| Ok(f64::NAN)).unwrap();
        }
        training.finish().unwrap();
    }
}

#[test]
fn a_parameter_in_two_places_is_refused() {
    use burn::module::Module;
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::SgdConfig;
    use interloom::training::Trained;

    #[derive(Module, Debug)]
    struct Tied {
        first: Linear,
        second: Linear,
    }

    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let first = LinearConfig::new(2, 2).with_bias(false).init(&device());
    let second = first.clone();
    let mut tied = Trained::new("tied", Tied { first, second }, SgdConfig::new().init());
    let error = settings().record(folder.path().join("run"), &mut tied);
    let error = error.err().unwrap();
    assert_eq!(error.code(), "E089");
    let message = error.to_string();
    assert!(
        message.contains("`first.weight` and `second.weight` are one parameter"),
        "{message}"
    );
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_a_refusal_of_the_system() {
    let _alone = alone();
    let mut runs = Runs::new();
    let run = runs.copy();
    let mut state = fresh(SEED);
    let mut training = settings().resume(&run, &mut state).unwrap();
    // In the way of the next checkpoint is a file.
    fs::write(run.join(checkpoint_folder(30)), "in the way").unwrap();
    let error = train(&mut training, &mut state, 35, None).unwrap_err();
    assert_eq!(error.code(), "E061");
    drop(training);
    fs::remove_file(run.join(checkpoint_folder(30))).unwrap();
    let mut training = settings().resume(&run, &mut state).unwrap();
    train(&mut training, &mut state, 35, None).unwrap();
    training.finish().unwrap();
}

#[test]
fn lines_that_another_process_wrote_are_not_cut_off() {
    let _alone = alone();
    let mut runs = Runs::new();
    let run = runs.copy();
    let ledger = Ledger::read(&run).unwrap();
    resume(&run).unwrap();
    let error = LedgerWriter::append(&ledger).unwrap_err();
    assert_eq!(error.code(), "E073");
    assert_eq!(Ledger::read(&run).unwrap().lines().len() as u64, STEPS + 3);
}

#[test]
fn a_run_goes_on_only_as_what_it_was() {
    let _alone = alone();
    let mut runs = Runs::new();
    let run = runs.copy();
    let refused = |builder: interloom::training::TrainingBuilder| {
        let mut state = fresh(SEED);
        builder
            .resume(&run, &mut state)
            .err()
            .expect("another run")
            .code()
    };
    let of = |seed| Training::of(seed, &device());
    assert_eq!(refused(of(8).checkpoint_every(10)), "E087");
    assert_eq!(refused(of(SEED).checkpoint_every(5)), "E087");
    assert_eq!(refused(of(SEED).checkpoint_every(0)), "E089");
    let none = of(SEED).checkpoint_every(0);
    let begun = none.clone().record(run.join("new"), &mut fresh(SEED));
    assert_eq!(begun.err().unwrap().code(), "E089");
    let again = none.verify(&run, 3..4, &mut fresh(SEED));
    assert_eq!(again.err().unwrap().code(), "E089");
    let experiment = interloom::journal::Experiment {
        name: "another rate".to_owned(),
        ..Default::default()
    };
    assert_eq!(refused(settings().experiment(experiment)), "E087");
    // Other bits may be accepted, and another seed is none of these.
    assert_eq!(refused(of(8).checkpoint_every(10).accept_inexact()), "E087");
    let mut state = fresh(SEED);
    let error = settings().record(&run, &mut state).err().unwrap();
    assert_eq!(error.code(), "E070");
    let error = settings().verify(&run, 20..26, &mut state).err().unwrap();
    assert_eq!(error.code(), "E072");
    let error = settings()
        .fork(&run, 26, run.join("fork"), &mut state)
        .err()
        .unwrap();
    assert_eq!(error.code(), "E072");
}
