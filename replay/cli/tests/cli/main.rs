//! The program itself, as a user starts it: what it prints, what it writes, how it ends.

mod attribute;
mod bisect;
mod check;
mod diff;
mod drawn;
mod encoders;
mod endings;
mod experiment;
mod explain;
mod explore;
mod export;
mod journals;
mod language_model;
mod modules;
mod padded;
mod page;
mod pipes;
mod races;
mod refusals;
mod results;
mod run;
mod sample;
mod served;
mod show;
mod shrink;
mod step;
mod tiny_llama;
mod tokens;
mod torn;
mod training;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A journal with every kind of record, event and value.
const GOLDEN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../journal/tests/golden/v1_0.ilj"
);

/// What a finished command has left behind.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    /// Checks the exit code, and shows all there is if it is another.
    #[track_caller]
    fn with(self, code: i32) -> Self {
        let Self {
            code: found,
            out,
            err,
        } = &self;
        assert_eq!(
            *found,
            Some(code),
            "standard output:\n{out}\nstandard error:\n{err}"
        );
        self
    }

    /// Checks that the command has failed with this error, and returns its message.
    #[track_caller]
    fn error(self, code: &str, exit: i32) -> String {
        let ended = self.with(exit);
        let (first, rest) = ended.err.split_once('\n').unwrap_or((&ended.err, ""));
        let message = first.strip_prefix(&format!("error[{code}]: "));
        let more = format!("  `interloom explain {code}` says more\n");
        let recover = "  `interloom recover` makes a whole journal of what is good\n";
        let is_torn = code == "E065" && rest == format!("{more}{recover}");
        assert!(rest == more || is_torn, "{}", ended.err);
        message
            .unwrap_or_else(|| panic!("{}", ended.err))
            .to_owned()
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// A folder in which the program runs, and which is removed with all that it writes.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the program in the folder, which is also its cache.
    fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = program(self.0.path());
        command
            .args(arguments)
            .env("INTERLOOM_CACHE", self.0.path());
        command.output().unwrap().into()
    }

    /// The names of the files in the folder.
    fn files(&self) -> Vec<String> {
        let entries = self.0.path().read_dir().unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

/// The program, without the terminal and the settings of the user who runs the tests.
fn program(folder: &Path) -> Command {
    plain(Command::new(env!("CARGO_BIN_EXE_interloom")), folder)
}

fn plain(mut command: Command, folder: &Path) -> Command {
    command.current_dir(folder);
    for variable in [
        "COLUMNS",
        "LINES",
        "INTERLOOM_LOG",
        "CLICOLOR_FORCE",
        "FORCE_COLOR",
    ] {
        command.env_remove(variable);
    }
    command
}

/// A number of exchanges, in words.
fn exchanges(number: impl std::fmt::Display) -> String {
    match number.to_string().as_str() {
        "1" => "1 exchange".to_owned(),
        number => format!("{number} exchanges"),
    }
}

/// The lines that say that a replay, with model and mediators live, is identical.
fn proof(exchanges: impl std::fmt::Display, digest: impl std::fmt::Display) -> String {
    let exchanges = self::exchanges(exchanges);
    format!(
        "bit-identical, {exchanges}, digest {digest}\nproves L3: model and mediators ran again, and every exchange is \
         the recorded one, bit for bit\n"
    )
}

/// Replaces what differs from place to place: the folder, and what Windows does to names.
fn without_folder(place: &Place, text: &str) -> String {
    let folder = place.0.path().display().to_string();
    text.replace(&format!("{folder}{}", std::path::MAIN_SEPARATOR), "")
        .replace(&folder, ".")
        .replace("interloom.exe", "interloom")
}
