//! A journal whose runs are made again by this build and by another one.
//!
//! The other build is asked through its command line (`--with`), so that every build that has
//! `replay --json` can be compared.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use interloom::{Conclusion, Mode};
use serde_json::{Value, json};

use crate::commands::progress::Bars;
use crate::commands::report::{self, outln};
use crate::commands::{Ending, replay};
use crate::{CliError, experiment};

/// Make the runs of a journal again with this build and with another one, and find where the two
/// part.
#[derive(Args)]
pub(super) struct Arguments {
    /// The journal.
    #[arg(value_name = "JOURNAL")]
    journal: PathBuf,
    /// The other build of this program.
    #[arg(long, value_name = "PROGRAM")]
    with: PathBuf,
    /// Where the model is, if it is not where the recording found it.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

/// How much of what a program says is shown where it is not understood.
const SAID_MAX: usize = 200;

/// What a build made of the journal.
struct Side {
    name: String,
    /// What its `replay --json` says.
    report: Value,
}

/// How two builds stand to each other.
enum Verdict {
    /// Both make the journal's exchanges.
    Same,
    /// Both make the same exchanges, which are not the journal's.
    SameButNotTheJournal,
    /// They part at an exchange at which one of them, or each in its way, leaves the journal.
    Part(u64),
    /// Both leave the journal in the same way; where they part from one another is not in it.
    PartAfter(u64),
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    let (journal, program) = (&arguments.journal, &arguments.with);
    let model = arguments.model.as_deref();
    // The other one first: that it cannot be run should be known before minutes have passed.
    let other = Side {
        name: program.display().to_string(),
        report: ask(program, journal, model)?,
    };
    let conclusion = experiment::replay(journal, Mode::Verify, model, &mut Bars::default())?;
    let own = Side {
        name: "this build".to_owned(),
        report: replay::as_json(&conclusion),
    };
    let verdict = Verdict::of(&own.report, &other.report);
    match arguments.json {
        true => outln!("{}", as_json(&verdict, &own, &other)),
        false => show(&verdict, &conclusion, &own, &other, journal),
    }
    Ok(match verdict {
        Verdict::Same => Ending::Done,
        Verdict::SameButNotTheJournal | Verdict::Part(_) | Verdict::PartAfter(_) => {
            Ending::Diverged
        }
    })
}

/// Has another build make the runs of a journal again, and returns its report.
fn ask(program: &Path, journal: &Path, model: Option<&str>) -> Result<Value, CliError> {
    let cannot = |reason: String| CliError::OtherProgram {
        program: program.display().to_string(),
        reason,
    };
    let mut command = Command::new(program);
    command.arg("replay").arg(journal).arg("--json");
    if let Some(model) = model {
        command.args(["--model", model]);
    }
    let output = command
        .output()
        .map_err(|error| cannot(format!("it cannot be started: {error}; check the path")))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let report: Option<Value> = serde_json::from_str(&said).ok();
    // 0 is identical, 4 is diverged; all else is no report.
    if let (Some(0 | 4), Some(report)) = (output.status.code(), report)
        && report["digest"].is_string()
    {
        return Ok(report);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint: String = complaint.trim().chars().take(SAID_MAX).collect();
    let reason = match complaint.is_empty() {
        true => "it gave no report of a replay; is it another build of interloom?".to_owned(),
        false => format!("its replay failed ({}): {complaint}", output.status),
    };
    Err(cannot(reason))
}

impl Verdict {
    fn of(own: &Value, other: &Value) -> Self {
        let parts = |report: &Value| report["divergence"]["index"].as_u64();
        match (parts(own), parts(other)) {
            (None, None) => Self::Same,
            (Some(at), None) | (None, Some(at)) => Self::Part(at),
            (Some(_), Some(_)) if own["digest"] == other["digest"] => Self::SameButNotTheJournal,
            (Some(a), Some(b)) if a != b => Self::Part(a.min(b)),
            (Some(at), Some(_)) if is_alike(own, other) => Self::PartAfter(at),
            (Some(at), Some(_)) => Self::Part(at),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::SameButNotTheJournal => "same, but not the journal",
            Self::Part(_) => "part",
            Self::PartAfter(_) => "part later",
        }
    }

    fn index(&self) -> Option<u64> {
        match self {
            Self::Same | Self::SameButNotTheJournal => None,
            Self::Part(at) | Self::PartAfter(at) => Some(*at),
        }
    }
}

/// Whether both builds did the same where they left the journal, but for the line of the source.
fn is_alike(own: &Value, other: &Value) -> bool {
    let live = |report: &Value| {
        let mut live = report["divergence"]["live"].clone();
        if let Some(exchange) = live.get_mut("exchange").and_then(Value::as_object_mut) {
            exchange.remove("origin");
        }
        live
    };
    live(own) == live(other)
}

fn show(verdict: &Verdict, conclusion: &Conclusion, own: &Side, other: &Side, journal: &Path) {
    for side in [own, other] {
        outln!("{}: {}", side.name, summary(&side.report, journal));
    }
    match verdict {
        Verdict::Same => {
            outln!("the builds are the same here: both make every exchange of the journal");
            return;
        }
        Verdict::SameButNotTheJournal => {
            outln!("the builds are the same here, and both part from the journal:");
        }
        Verdict::Part(at) => outln!("the builds part at exchange {at}:"),
        Verdict::PartAfter(at) => outln!(
            "the builds part after exchange {at}, at which both leave the journal in the same way; record it with one of \
             them, and bisect that journal with the other:"
        ),
    }
    if let Conclusion::Verified {
        divergence: Some(divergence),
        ..
    } = conclusion
    {
        outln!("{divergence}");
        report::help(&report::next(divergence, journal, None));
    }
    let is_told = matches!(
        verdict,
        Verdict::SameButNotTheJournal | Verdict::PartAfter(_)
    );
    if !is_told && !other.report["divergence"].is_null() {
        for line in told(&other.report["divergence"], &other.name) {
            outln!("{line}");
        }
    }
}

/// One line on what a build made of the journal.
fn summary(report: &Value, journal: &Path) -> String {
    let divergence = &report["divergence"];
    if divergence.is_null() {
        return format!("makes its {} exchanges", report["exchanges"]);
    }
    format!(
        "parts from {} at exchange {}, class {}",
        journal.display(),
        divergence["index"],
        text(&divergence["class"])
    )
}

/// The report of another build, as far as it is needed beside its own.
fn told(divergence: &Value, program: &str) -> Vec<String> {
    let exchange = |mark: &str, side: &Value, whose: &str| {
        let exchange = &side["exchange"];
        if exchange.is_null() {
            return format!("  {mark} {side}  <- {whose}");
        }
        let site = match exchange["asked"].is_null() {
            true => &exchange["at"],
            false => &exchange["asked"],
        };
        format!(
            "  {mark} {}  {}  {}  {}  {}  <- {whose}",
            exchange["index"],
            text(&exchange["event"]),
            text(&exchange["mediator"]),
            text(site),
            exchange["value"]
        )
    };
    let mut lines = vec![
        exchange("-", &divergence["recorded"], "recorded"),
        exchange("+", &divergence["live"], program),
    ];
    let list = |key: &str| divergence[key].as_array().cloned().unwrap_or_default();
    for difference in list("differences") {
        let [field, recorded, live] =
            ["field", "recorded", "live"].map(|key| text(&difference[key]).to_owned());
        lines.push(format!(
            "  {field}: {recorded} recorded, {live} by {program}"
        ));
    }
    lines.extend(
        list("notes")
            .iter()
            .map(|note| format!("  note: {}", text(note))),
    );
    for difference in list("environment") {
        let [subject, recorded, live] =
            ["subject", "recorded", "live"].map(|key| text(&difference[key]).to_owned());
        lines.push(format!(
            "  environment: {subject}: {recorded} recorded, {live} in {program}"
        ));
    }
    lines
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn as_json(verdict: &Verdict, own: &Side, other: &Side) -> Value {
    let index = verdict.index();
    let class = index.and_then(|at| {
        let sides = [&other.report["divergence"], &own.report["divergence"]];
        let side = sides.into_iter().find(|side| side["index"] == at);
        side.map(|side| side["class"].clone())
    });
    json!({
        "same": matches!(verdict, Verdict::Same),
        "verdict": verdict.name(),
        "index": index,
        "class": class,
        "this_build": own.report,
        "other": { "program": other.name, "report": other.report },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(divergence: Option<(u64, &str, u32)>, digest: &str) -> Value {
        let divergence = divergence.map(|(index, value, line)| {
            let origin = json!({ "file": "a.rs", "line": line });
            json!({ "index": index, "live": { "exchange": { "value": value, "origin": origin } } })
        });
        json!({ "digest": digest, "divergence": divergence })
    }

    #[test]
    fn builds_are_compared_through_the_journal() {
        let good = report(None, "a");
        let cases = [
            (&good, report(None, "a"), "same", None),
            // The lines of the source are in the digest, and do not count.
            (&good, report(None, "b"), "same", None),
            (&good, report(Some((5, "x", 1)), "b"), "part", Some(5)),
        ];
        for (own, other, name, index) in cases {
            for (own, other) in [(own, &other), (&other, own)] {
                let verdict = Verdict::of(own, other);
                assert_eq!((verdict.name(), verdict.index()), (name, index));
            }
        }
        let own = report(Some((5, "x", 1)), "b");
        let cases = [
            (
                report(Some((5, "x", 1)), "b"),
                "same, but not the journal",
                None,
            ),
            (report(Some((5, "x", 2)), "c"), "part later", Some(5)),
            (report(Some((5, "y", 1)), "c"), "part", Some(5)),
            (report(Some((3, "x", 1)), "c"), "part", Some(3)),
        ];
        for (other, name, index) in cases {
            let verdict = Verdict::of(&own, &other);
            assert_eq!((verdict.name(), verdict.index()), (name, index), "{other}");
        }
    }
}
