//! Processes that are killed, and go on in other processes.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use interloom::Error;
use interloom::journal::training::{LEDGER_FILE, Ledger, NAMES_FILE, SEGMENTS_FILE};

use crate::net::{
    FED, PART, SEED, State, alone, fresh, fresh_with_momentum, settings, train_in_parts,
};

const STEPS: u64 = 45;

/// The folder of the run that a child process is to go on with.
const FOLDER: &str = "INTERLOOM_TEST_FOLDER";
/// The loop that makes it, as [`Loop::name`] has it.
const LOOP: &str = "INTERLOOM_TEST_LOOP";
/// How many steps a child process makes in all; [`STEPS`] without it.
const TOTAL: &str = "INTERLOOM_TEST_STEPS";
/// The one step that a child process is to make again.
const AGAIN: &str = "INTERLOOM_TEST_AGAIN";
/// Where a child process is to kill itself: `STEP PLACE`.
const DIE_AT: &str = "INTERLOOM_TEST_DIE_AT";

/// A training run, by how it is made.
#[derive(Clone, Copy, Debug)]
enum Loop {
    /// A hand-written loop: gradients of two parts of a batch, AdamW.
    Accumulated,
    /// A hand-written loop: one pass, momentum.
    Momentum,
    /// Burn's `Learner`: gradients of two batches, AdamW, validation after each epoch.
    #[cfg(feature = "train")]
    Learner,
}

impl Loop {
    const ALL: &[Self] = &[
        Self::Accumulated,
        Self::Momentum,
        #[cfg(feature = "train")]
        Self::Learner,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Accumulated => "accumulated",
            Self::Momentum => "momentum",
            #[cfg(feature = "train")]
            Self::Learner => "learner",
        }
    }

    /// Begins the run in a folder or goes on with it, up to `total` steps.
    fn go_on(self, folder: &Path, total: u64) -> Result<(), Error> {
        match self {
            Self::Accumulated => by_hand(folder, total, fresh(SEED), PART),
            Self::Momentum => by_hand(folder, total, fresh_with_momentum(SEED), FED),
            #[cfg(feature = "train")]
            Self::Learner => crate::learner::go_on(folder, total),
        }
    }
}

fn by_hand(folder: &Path, total: u64, mut state: State, part: usize) -> Result<(), Error> {
    let mut training = settings().record_or_resume(folder, &mut state)?;
    train_in_parts(&mut training, &mut state, total, part, None)?;
    training.finish()
}

/// What a child process is; in the test run itself it does nothing.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let number = |name| {
        let text = std::env::var(name).ok()?;
        text.parse::<u64>().ok()
    };
    let total = number(TOTAL).unwrap_or(STEPS);
    match number(AGAIN) {
        Some(step) => {
            let mut state = fresh(SEED);
            let steps = step..step + 1;
            let mut training = settings().verify(folder, steps, &mut state).unwrap();
            train_in_parts(&mut training, &mut state, total, PART, None).unwrap();
        }
        None => {
            let name = std::env::var(LOOP).unwrap();
            let mut loops = Loop::ALL.iter();
            let of_name = loops.find(|it| it.name() == name).expect("a loop");
            of_name.go_on(folder, total).unwrap();
        }
    }
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

fn command(of: Loop, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "kills::child"])
        .env(FOLDER, folder)
        .env(LOOP, of.name());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn spawn(of: Loop, folder: &Path, die_at: Option<&str>) -> Child {
    let mut command = command(of, folder);
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
        8,
        "a ledger, names, five journals and their index: {names:?}"
    );
    for file in [LEDGER_FILE, NAMES_FILE, SEGMENTS_FILE] {
        assert!(names.contains(&folder.join(file)));
    }
    names.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Returns the files of the run that is never killed.
fn whole(of: Loop, scratch: &Path) -> Vec<Vec<u8>> {
    let folder = scratch.join(format!("{} whole", of.name()));
    assert!(spawn(of, &folder, None).wait().unwrap().success());
    files(&folder)
}

/// Lets the process end, and checks that the run is the one that was never killed.
fn check_end(of: Loop, folder: &Path, expected: &[Vec<u8>]) {
    assert!(spawn(of, folder, None).wait().unwrap().success());
    assert!(files(folder) == expected, "{}", folder.display());
}

#[test]
fn r104_a_process_is_killed_in_each_place_of_a_step_and_another_goes_on() {
    let _alone = alone();
    let scratch = tempfile::tempdir().unwrap();
    for &of in Loop::ALL {
        let expected = whole(of, scratch.path());
        for place in [
            "a part of the batch",
            "before the update",
            "after the update",
        ] {
            let folder = scratch.path().join(format!("{} {place}", of.name()));
            // The last step of a segment, the first, in the middle of an epoch and at its end, the
            // last of all.
            for step in [9, 10, 13, 14, 44] {
                let at = format!("{step} {place}");
                let status = spawn(of, &folder, Some(&at)).wait().unwrap();
                assert!(!status.success(), "{of:?} killed at {at}");
            }
            check_end(of, &folder, &expected);
        }
    }
}

/// How often processes of one loop were killed.
#[derive(Default)]
struct Kills {
    kills: u32,
    /// How many of them had come further than the one before.
    further: u32,
    /// How many runs were killed so often.
    runs: [u32; KILLS_A_RUN as usize + 1],
}

const KILLS_A_RUN: u32 = 4;

/// Numbers that look drawn.
struct Drawn(u64);

impl Drawn {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

/// Kills processes of each loop in turn at random moments until so many were; each run is killed
/// some times.
fn kill(kills: u32) {
    let scratch = tempfile::tempdir().unwrap();
    let mut drawn = Drawn(1);
    let loops = Loop::ALL.iter();
    let mut all: Vec<_> = loops
        .map(|of| (*of, whole(*of, scratch.path()), Kills::default()))
        .collect();
    while all.iter().map(|(.., counts)| counts.kills).sum::<u32>() < kills {
        for (of, expected, counts) in &mut all {
            let folder = scratch
                .path()
                .join(format!("{} {}", of.name(), counts.kills));
            let mut times = 0;
            while times < KILLS_A_RUN {
                let before = steps_in(&folder);
                if !kill_one(*of, &folder, &mut drawn) {
                    break;
                }
                times += 1;
                counts.further += u32::from(steps_in(&folder) > before);
            }
            counts.kills += times;
            counts.runs[times as usize] += 1;
            check_end(*of, &folder, expected);
            fs::remove_dir_all(&folder).unwrap();
        }
    }
    for (of, _, counts) in all {
        let Kills {
            kills,
            further,
            runs,
        } = counts;
        println!(
            "{of:?}: {kills} kills, {further} of them further than before; runs killed 0 to 4 times: {runs:?}"
        );
    }
}

/// Lets a process come to some step, and kills it a moment later, wherever it is then; returns
/// whether it was not over.
fn kill_one(of: Loop, folder: &Path, drawn: &mut Drawn) -> bool {
    let step = drawn.below(STEPS + 1);
    let mut child = spawn(of, folder, None);
    while steps_in(folder) < step as usize && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Less than a step, or the time in which a process begins.
    std::thread::sleep(Duration::from_micros(drawn.below(20_000)));
    let is_over = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    child.wait().unwrap();
    !is_over
}

/// Returns how many steps the ledger of a run has, whole.
fn steps_in(folder: &Path) -> usize {
    Ledger::read(folder).map_or(0, |ledger| ledger.lines().len())
}

#[test]
fn r104_processes_are_killed_at_any_moment_and_others_go_on() {
    let _alone = alone();
    kill(12);
}

/// `cargo test --release -p interloom --features train --test training thousand_processes --
/// --ignored --nocapture`
#[test]
#[ignore = "minutes: cargo test --workspace --test training -- --ignored"]
fn r104_a_thousand_processes_are_killed() {
    let _alone = alone();
    kill(1_000);
}

fn made(folder: &Path, total: u64, again: Option<u64>) -> bool {
    let mut command = command(Loop::Accumulated, folder);
    command.env(TOTAL, total.to_string());
    if let Some(step) = again {
        command.env(AGAIN, step.to_string());
    }
    command.status().unwrap().success()
}

/// `cargo test --release -p interloom --test training kills -- --ignored`
#[test]
#[ignore = "minutes: cargo test --workspace --test training -- --ignored"]
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
#[ignore = "many processes: cargo test --workspace --test training -- --ignored"]
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
