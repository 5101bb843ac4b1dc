//! `interloom conform`: does the interleaver do what a reference was recorded doing?

use std::path::PathBuf;

use clap::Args;
use interloom_backends::parse_device;
use serde_json::{Value, json};

use super::Ending;
use super::report::outln;
use crate::Error;
use crate::conform::{Difference, Folder, REFERENCES, Verdict};

/// Run recorded scenarios of a reference interleaver, and compare what happens.
///
/// Prints a line for each: the same, differs on purpose (by which rule, and why), or differs. Exits with 4 if one differs
/// without a rule, and with 1 if one cannot be run.
#[derive(Args)]
pub(super) struct Arguments {
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

pub(super) fn run(arguments: &Arguments) -> Result<Ending, Error> {
    let device = parse_device(&arguments.device)?;
    let folder = Folder::open(&arguments.folder, &device)?;
    let reference = REFERENCES
        .into_iter()
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
    match arguments.json {
        true => outln!("{:#}", as_json(&verdicts, &counts, reference)),
        false => show(&verdicts, &counts, reference),
    }
    Ok(counts.ending())
}

/// How many scenarios came to what.
#[derive(Default)]
struct Counts {
    same: usize,
    on_purpose: usize,
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
                Verdict::OnPurpose { .. } => counts.on_purpose += 1,
                Verdict::NotCompared { .. } => counts.not_compared += 1,
                Verdict::Differs(_) => counts.differ += 1,
                Verdict::Broken(_) => counts.broken += 1,
            }
        }
        counts
    }

    fn ending(&self) -> Ending {
        match (self.broken, self.differ) {
            (0, 0) => Ending::Done,
            (0, _) => Ending::Diverged,
            _ => Ending::Failed,
        }
    }
}

fn show(verdicts: &[(&str, Verdict)], counts: &Counts, reference: &str) {
    let width = verdicts.iter().map(|(id, _)| id.len()).max().unwrap_or(0);
    for (id, verdict) in verdicts {
        match verdict {
            Verdict::Same => outln!("{id:width$}  same"),
            Verdict::OnPurpose { rules, differences } => {
                let aspects = aspects(differences).join(", ");
                let rules = rules.iter();
                let rules: Vec<String> = rules
                    .map(|rule| format!("{}: {}", rule.rule, rule.reason))
                    .collect();
                outln!(
                    "{id:width$}  differs on purpose ({aspects}): {}",
                    rules.join("; ")
                );
            }
            Verdict::NotCompared { rule, what } => {
                outln!(
                    "{id:width$}  not compared ({what}): {}: {}",
                    rule.rule,
                    rule.reason
                );
            }
            Verdict::Differs(differences) => {
                outln!("{id:width$}  DIFFERS");
                for difference in differences {
                    outln!("{:width$}    {difference}", "");
                }
            }
            Verdict::Broken(reason) => outln!("{id:width$}  cannot be run: {reason}"),
        }
    }
    let Counts {
        same,
        on_purpose,
        not_compared,
        differ,
        broken,
    } = counts;
    outln!(
        "{} scenarios against {reference}: {same} same, {on_purpose} differ on purpose, {not_compared} not compared, \
         {differ} differ, {broken} cannot be run",
        verdicts.len()
    );
}

fn as_json(verdicts: &[(&str, Verdict)], counts: &Counts, reference: &str) -> Value {
    let scenarios = verdicts.iter().map(|(id, verdict)| {
        let (kind, rules, detail) = match verdict {
            Verdict::Same => ("same", vec![], vec![]),
            Verdict::OnPurpose { rules, differences } => {
                ("on_purpose", rules.clone(), details(differences))
            }
            Verdict::NotCompared { rule, what } => {
                ("not_compared", vec![*rule], vec![what.clone()])
            }
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
        "on_purpose": counts.on_purpose,
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
