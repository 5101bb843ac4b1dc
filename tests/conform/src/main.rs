//! `conform`: does the interleaver do what a reference was recorded doing?
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use interloom_backends::parse_device;
use interloom_conform::{Difference, Folder, REFERENCES, Verdict};
use serde_json::{Value, json};

/// Run recorded scenarios of a reference interleaver, and compare what happens.
///
/// Prints a line for each: the same, by rule (by which, and why), or differs. Exits with 4 if one
/// differs without a rule, and with 1 if one cannot be run.
#[derive(Parser)]
#[command(name = "conform")]
struct Arguments {
    /// A folder with scenarios/, models/ and inputs.safetensors.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The version of the reference to compare with: threads (v050) or coroutines (v081).
    #[arg(long, value_name = "VERSION", default_value = "v081", value_parser = REFERENCES)]
    reference: String,
    /// The device: `cpu`, `cuda` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Report as JSON: an object with a list of scenarios and the counts.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, Box<dyn std::error::Error>> {
    let device = parse_device(&arguments.device)?;
    let folder = Folder::open(&arguments.folder, &device)?;
    let references = REFERENCES.into_iter();
    let reference = references
        .rev()
        .find(|reference| *reference == arguments.reference)
        .expect("checked by the parser of the arguments");
    // A model that cannot compute what a scenario gives it panics, which is a result here.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let ids = folder.ids().iter();
    let verdicts = ids.map(|id| (id.as_str(), folder.compare(id, reference)));
    let verdicts: Vec<(&str, Verdict)> = verdicts.collect();
    std::panic::set_hook(hook);
    let counts = Counts::of(&verdicts);
    if arguments.json {
        line(format_args!("{:#}", as_json(&verdicts, &counts, reference)))?
    } else {
        show(&verdicts, &counts, reference)?
    }
    Ok(counts.code())
}

/// Writes a line to standard output; ends quietly where a reader such as `head` has closed it.
fn line(text: fmt::Arguments<'_>) -> io::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written,
    }
}

/// How many scenarios came to what.
#[derive(Default)]
struct Counts {
    same: usize,
    by_rule: usize,
    not_compared: usize,
    differ: usize,
    broken: usize,
}

impl Counts {
    fn of(verdicts: &[(&str, Verdict)]) -> Self {
        let mut counts = Self::default();
        for (_, verdict) in verdicts {
            match verdict {
                Verdict::Same => counts.same += 1,
                Verdict::ByRule { .. } => counts.by_rule += 1,
                Verdict::NotCompared(_) => counts.not_compared += 1,
                Verdict::Differs(_) => counts.differ += 1,
                Verdict::Broken(_) => counts.broken += 1,
            }
        }
        counts
    }

    fn code(&self) -> u8 {
        match (self.broken, self.differ) {
            (0, 0) => 0,
            (0, _) => 4,
            _ => 1,
        }
    }
}

fn show(verdicts: &[(&str, Verdict)], counts: &Counts, reference: &str) -> io::Result<()> {
    let width = verdicts.iter().map(|(id, _)| id.len()).max().unwrap_or(0);
    for (id, verdict) in verdicts {
        match verdict {
            Verdict::Same => line(format_args!("{id:width$}  same"))?,
            Verdict::ByRule { rules, differences } => {
                let aspects = aspects(differences).join(", ");
                let rules = rules.iter();
                let rules: Vec<String> = rules
                    .map(|rule| format!("{}: {}", rule.rule, rule.reason))
                    .collect();
                line(format_args!(
                    "{id:width$}  by rule ({aspects}): {}",
                    rules.join("; ")
                ))?;
            }
            Verdict::NotCompared(what) => {
                line(format_args!("{id:width$}  not compared: {what}"))?;
            }
            Verdict::Differs(differences) => {
                line(format_args!("{id:width$}  DIFFERS"))?;
                for difference in differences {
                    line(format_args!("{:width$}    {difference}", ""))?;
                }
            }
            Verdict::Broken(reason) => line(format_args!("{id:width$}  cannot be run: {reason}"))?,
        }
    }
    let Counts {
        same,
        by_rule,
        not_compared,
        differ,
        broken,
    } = counts;
    line(format_args!(
        "{} scenarios against {reference}: {same} same, {by_rule} by rule, {not_compared} not compared, \
         {differ} differ, {broken} cannot be run",
        verdicts.len()
    ))
}

fn as_json(verdicts: &[(&str, Verdict)], counts: &Counts, reference: &str) -> Value {
    let scenarios = verdicts.iter().map(|(id, verdict)| {
        let (kind, rules, detail) = match verdict {
            Verdict::Same => ("same", vec![], vec![]),
            Verdict::ByRule { rules, differences } => {
                ("by_rule", rules.clone(), details(differences))
            }
            Verdict::NotCompared(what) => ("not_compared", vec![], vec![what.clone()]),
            Verdict::Differs(differences) => ("differs", vec![], details(differences)),
            Verdict::Broken(reason) => ("broken", vec![], vec![reason.clone()]),
        };
        let rules = rules.iter();
        let rules = rules.map(|rule| json!({ "rule": rule.rule, "reason": rule.reason }));
        json!({ "id": id, "verdict": kind, "rules": rules.collect::<Vec<_>>(), "details": detail })
    });
    json!({
        "reference": reference,
        "scenarios": scenarios.collect::<Vec<_>>(),
        "same": counts.same,
        "by_rule": counts.by_rule,
        "not_compared": counts.not_compared,
        "differ": counts.differ,
        "broken": counts.broken,
    })
}

fn aspects(differences: &[Difference]) -> Vec<&'static str> {
    let differences = differences.iter();
    differences.map(|found| found.aspect.name()).collect()
}

fn details(differences: &[Difference]) -> Vec<String> {
    differences.iter().map(ToString::to_string).collect()
}
