//! Processes that are killed, and go on in other processes.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use interloom::journal::training::{LEDGER_FILE, NAMES_FILE};

use crate::net::{SEED, alone, fresh, record, settings, train};

const STEPS: u64 = 45;

/// The folder of the run that a child process is to go on with.
const FOLDER: &str = "INTERLOOM_TEST_FOLDER";
/// How many steps a child process makes in all; [`STEPS`] without it.
const TOTAL: &str = "INTERLOOM_TEST_STEPS";
/// The one step that a child process is to make again.
const AGAIN: &str = "INTERLOOM_TEST_AGAIN";
/// Where a child process is to kill itself: `STEP PLACE`.
const DIE_AT: &str = "INTERLOOM_TEST_DIE_AT";

/// What a child process is; in the test run itself it does nothing.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let mut state = fresh(SEED);
    let mut training = match number(AGAIN) {
        Some(step) => settings().verify(folder, step..step + 1, &mut state),
        None => settings().record_or_resume(folder, &mut state),
    }
    .unwrap();
    train(
        &mut training,
        &mut state,
        number(TOTAL).unwrap_or(STEPS),
        None,
    )
    .unwrap();
    training.finish().unwrap();
}

/// Kills the process if it is a child that is to die at this place of this step.
pub(crate) fn passing(step: u64, place: &str) {
    static AT: OnceLock<Option<String>> = OnceLock::new();
    let at = AT.get_or_init(|| std::env::var(DIE_AT).ok());
    if at
        .as_ref()
        .is_some_and(|at| *at == format!("{step} {place}"))
    {
        let own = std::process::id().to_string();
        let killed = Command::new("kill").args(["-9", &own]).status();
        panic!("still alive: {killed:?}");
    }
}

fn spawn(folder: &Path, die_at: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "kills::child"])
        .env(FOLDER, folder);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(at) = die_at {
        command.env(DIE_AT, at);
    }
    command.spawn().unwrap()
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    names.sort();
    assert_eq!(
        names.len(),
        7,
        "a ledger, names, and five journals: {names:?}"
    );
    for file in [LEDGER_FILE, NAMES_FILE] {
        assert!(names.contains(&folder.join(file)));
    }
    names.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Lets the process end, and checks that the run is the one that was never killed.
fn check_end(folder: &Path, expected: &[Vec<u8>]) {
    assert!(spawn(folder, None).wait().unwrap().success());
    assert!(files(folder) == expected, "{}", folder.display());
}

#[test]
fn r104_a_process_is_killed_in_each_place_of_a_step_and_another_goes_on() {
    let _alone = alone();
    let scratch = tempfile::tempdir().unwrap();
    let whole = scratch.path().join("whole");
    record(&whole, STEPS, None);
    let expected = files(&whole);
    for place in [
        "a part of the batch",
        "before the update",
        "after the update",
    ] {
        let folder = scratch.path().join(place);
        // The last step of a segment, the first, the second time in one, the last of all.
        for step in [9, 10, 13, 14, 44] {
            let status = spawn(&folder, Some(&format!("{step} {place}")))
                .wait()
                .unwrap();
            assert!(!status.success(), "killed at {step}, {place}");
        }
        check_end(&folder, &expected);
    }
}

/// Kills processes at random moments until so many were; each run is killed some times.
fn kill(kills: u32) {
    let scratch = tempfile::tempdir().unwrap();
    let whole = scratch.path().join("whole");
    record(&whole, STEPS, None);
    let expected = files(&whole);
    let mut random = 1_u64;
    let mut killed = 0;
    while killed < kills {
        let folder = scratch.path().join(format!("run-{killed}"));
        for _ in 0..4 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let mut child = spawn(&folder, None);
            // Some of them before the first step, some after the last.
            std::thread::sleep(Duration::from_micros(5_000 + (random >> 33) % 250_000));
            let is_over = child.try_wait().unwrap().is_some();
            child.kill().unwrap();
            child.wait().unwrap();
            killed += u32::from(!is_over);
            if is_over {
                break;
            }
        }
        check_end(&folder, &expected);
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn r104_processes_are_killed_at_any_moment_and_others_go_on() {
    let _alone = alone();
    kill(12);
}

/// `cargo test --release -p interloom --test training kills -- --ignored`
#[test]
#[ignore = "some minutes"]
fn r104_a_thousand_processes_are_killed() {
    let _alone = alone();
    kill(1_000);
}

fn made(folder: &Path, total: u64, again: Option<u64>) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "kills::child"])
        .env(FOLDER, folder);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.env(TOTAL, total.to_string());
    if let Some(step) = again {
        command.env(AGAIN, step.to_string());
    }
    command.status().unwrap().success()
}

/// `cargo test --release -p interloom --test training kills -- --ignored`
#[test]
#[ignore = "some minutes"]
fn r104_every_step_of_a_thousand_is_made_again_alone_in_a_process() {
    let _alone = alone();
    let scratch = tempfile::tempdir().unwrap();
    let run = scratch.path().join("run");
    assert!(made(&run, 1_000, None));
    for step in 0..1_000 {
        assert!(made(&run, 1_000, Some(step)), "step {step}");
    }
    // It can fail: with a checkpoint that is not the one that was made.
    let weights = run.join("checkpoint-00000990/parameters.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(weights, bytes).unwrap();
    assert!(!made(&run, 1_000, Some(995)));
}

#[test]
#[ignore = "some seconds"]
fn r104_three_processes_of_five_hundred_steps_are_identical() {
    let _alone = alone();
    let scratch = tempfile::tempdir().unwrap();
    let runs = ["a", "b", "c"].map(|name| scratch.path().join(name));
    for run in &runs {
        assert!(made(run, 500, None));
    }
    for file in [LEDGER_FILE, NAMES_FILE, "steps-00000490.ilj"] {
        let [a, b, c] = runs.each_ref().map(|run| fs::read(run.join(file)).unwrap());
        assert!(a == b && b == c, "{file}");
    }
}
