//! Differences between the environments of two recordings, from their heads.

use std::collections::BTreeMap;
use std::fmt;

use super::fields;
use super::sides::Sides;
use crate::{Argument, Digest, Head, ModelIdentity};

/// How many changed parameters or inputs are named.
const CHANGES_SHOWN: usize = 4;

/// One difference between two environments.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EnvironmentDifference {
    /// What differs, such as `device` or `model`.
    pub subject: &'static str,
    /// What it was in the recording.
    pub recorded: String,
    /// What it is in this run.
    pub live: String,
    /// The first few parameters or inputs whose content changed, came or went.
    pub changed: Vec<String>,
    /// How many those are in all.
    pub changed_count: u64,
}

impl EnvironmentDifference {
    /// Returns whether values are made from this: another model, input, seed or argument makes
    /// other values by intention, another device or build only by accident.
    pub fn makes_values(&self) -> bool {
        matches!(
            self.subject,
            "seeds" | "experiment" | "model" | "modules" | "inputs"
        )
    }

    /// The difference in the words for these two sides.
    pub(super) fn text(&self, sides: &Sides) -> String {
        let mut text = format!(
            "{}: {}",
            self.subject,
            sides.both(&self.recorded, &self.live)
        );
        if self.changed_count > 0 {
            let changed = self.changed.join(", ");
            text.push_str(&format!("; {} changed: {changed}", self.changed_count));
        }
        let more = self.changed_count.saturating_sub(self.changed.len() as u64);
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
        text
    }
}

/// `device: "cpu" recorded, "cuda:0" in this run`.
impl fmt::Display for EnvironmentDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&Sides::replay()))
    }
}

/// All differences between two environments, as an error report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EnvironmentReport {
    /// The differences; at least one.
    pub differences: Vec<EnvironmentDifference>,
}

impl EnvironmentReport {
    /// The stable code.
    pub const CODE: &'static str = "E081";

    /// Compares the head of a recording with that of another run; `None` if they agree.
    ///
    /// What is kept of tensors is no part of the environment and not compared.
    pub fn between(recorded: &Head, live: &Head) -> Option<Self> {
        let differences = between(recorded, live);
        (!differences.is_empty()).then_some(Self { differences })
    }

    /// Returns the same facts as `Display`, as JSON for programs.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "code": Self::CODE,
            "differences": super::json::environment(&self.differences),
        })
    }
}

impl fmt::Display for EnvironmentReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.differences.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(
            f,
            "error[{}]: this is not the environment of the recording ({count} difference{plural})",
            Self::CODE
        )?;
        for difference in &self.differences {
            write!(f, "\n  {difference}")?;
        }
        f.write_str(
            "\n  help: use the recorded environment, or compare knowing that values may differ",
        )
    }
}

/// The differences between two heads.
pub(super) fn between(recorded: &Head, live: &Head) -> Vec<EnvironmentDifference> {
    let texts = |head: &Head| {
        [
            ("version", head.version.clone()),
            ("compiler", head.build.rustc.clone()),
            ("target", head.build.target.clone()),
            ("profile", head.build.profile.clone()),
            ("features", head.build.features.join(" ")),
            ("device", head.device.clone()),
            ("processor", head.cpu_features.join(" ")),
            ("arithmetic", head.arithmetic.clone()),
            ("schedule", head.schedule.clone()),
        ]
    };
    let mut differences = Vec::new();
    for ((subject, recorded), (_, live)) in texts(recorded).into_iter().zip(texts(live)) {
        push(
            &mut differences,
            subject,
            format!("{recorded:?}"),
            format!("{live:?}"),
        );
    }
    let seeds = |head: &Head| format!("{:?}", head.seeds);
    push(&mut differences, "seeds", seeds(recorded), seeds(live));
    let experiments = (
        experiment_text(recorded, live),
        experiment_text(live, recorded),
    );
    push(&mut differences, "experiment", experiments.0, experiments.1);
    differences.extend(models(recorded.model.as_ref(), live.model.as_ref()));
    let modules = |head: &Head| parameters_of(&head.modules);
    differences.extend(named("modules", &modules(recorded), &modules(live)));
    differences.extend(named("inputs", &recorded.inputs, &live.inputs));
    differences
}

/// The parameters of modules, with the names of these in front.
fn parameters_of(modules: &[ModelIdentity]) -> Vec<(String, Digest)> {
    let parameters = modules.iter().flat_map(|module| {
        let named = |(name, digest): &(String, _)| (format!("{}.{name}", module.name), *digest);
        module.parameters.iter().map(named)
    });
    parameters.collect()
}

/// The differences between two heads in everything that they have, also in what is no part of the
/// environment.
pub(crate) fn between_heads(recorded: &Head, live: &Head) -> Vec<EnvironmentDifference> {
    let mut differences = between(recorded, live);
    let policy = |head: &Head| format!("{:?}", head.policy);
    push(&mut differences, "policy", policy(recorded), policy(live));
    let sites = |head: &Head| -> Vec<(String, String)> {
        let Some(table) = &head.sites else {
            return Vec::new();
        };
        let ports = |(path, ports): &(String, Vec<String>)| (path.clone(), ports.join(" "));
        let aliases = table.aliases.iter();
        let aliases = aliases.map(|(alias, point)| (alias.clone(), point.clone()));
        let points: Vec<(&str, &str)> = table.points().collect();
        let said = |what: &str, layout: String, of: &[u32]| -> Vec<(String, String)> {
            let named = of.iter().filter_map(|place| points.get(*place as usize));
            let named = named.map(|(path, port)| format!("the {what} of {path}.{port}"));
            named.map(|name| (name, layout.clone())).collect()
        };
        let positions = table.positions.iter();
        let positions =
            positions.flat_map(|(layout, of)| said("positions", format!("{layout:?}"), of));
        let rows = table.rows.iter();
        let rows = rows.flat_map(|(tensors, of)| said("rows", format!("{tensors:?}"), of));
        let named = table.paths.iter().map(ports);
        named.chain(aliases).chain(positions).chain(rows).collect()
    };
    differences.extend(named("sites", &sites(recorded), &sites(live)));
    let tokens = |head: &Head| Vec::from_iter(head.tokens.clone());
    differences.extend(named("tokens", &tokens(recorded), &tokens(live)));
    differences
}

fn push(
    differences: &mut Vec<EnvironmentDifference>,
    subject: &'static str,
    recorded: String,
    live: String,
) {
    let mut fields = Vec::new();
    fields::add(&mut fields, subject, recorded, live);
    differences.extend(fields.into_iter().map(|field| EnvironmentDifference {
        subject,
        recorded: field.recorded,
        live: field.live,
        changed: Vec::new(),
        changed_count: 0,
    }));
}

/// The experiment of `head`, with those arguments that `other` does not have alike.
fn experiment_text(head: &Head, other: &Head) -> String {
    let others = &other.experiment.arguments;
    let arguments = head.experiment.arguments.iter();
    let differing = arguments.filter(|(name, value)| others.get(*name) != Some(*value));
    let texts: Vec<_> = differing
        .map(|(name, value)| argument_text(name, value, others.get(name)))
        .collect();
    let space = if texts.is_empty() { "" } else { " " };
    format!("{:?}{space}{}", head.experiment.name, texts.join(" "))
}

/// An argument; of a text of several lines the first line that is another on the other side.
fn argument_text(name: &str, value: &Argument, other: Option<&Argument>) -> String {
    let (Argument::Text(text), Some(Argument::Text(other))) = (value, other) else {
        return format!("{name}={value}");
    };
    let same = text.lines().zip(other.lines());
    let same = same.take_while(|(line, other)| line == other).count();
    match text.lines().nth(same) {
        _ if !text.contains('\n') && !other.contains('\n') => format!("{name}={value}"),
        Some(line) => format!("{name}:{}={:?}", same + 1, line.trim()),
        None => format!("{name} ends after line {same}"),
    }
}

fn models(
    recorded: Option<&ModelIdentity>,
    live: Option<&ModelIdentity>,
) -> Option<EnvironmentDifference> {
    if recorded == live {
        return None;
    }
    let text = |model: Option<&ModelIdentity>| match model {
        Some(model) => format!("{:?} {}", model.name, model.digest.short()),
        None => "none".to_owned(),
    };
    let parameters = |model: Option<&ModelIdentity>| {
        model.map_or_else(Vec::new, |model| model.parameters.clone())
    };
    // Without a model on one side, listing all parameters of the other says nothing.
    let (changed, changed_count) = match (recorded, live) {
        (Some(_), Some(_)) => changes(&parameters(recorded), &parameters(live)),
        _ => (Vec::new(), 0),
    };
    Some(EnvironmentDifference {
        subject: "model",
        recorded: text(recorded),
        live: text(live),
        changed,
        changed_count,
    })
}

/// The difference between two lists of named things.
fn named<T: Clone + PartialEq>(
    subject: &'static str,
    recorded: &[(String, T)],
    live: &[(String, T)],
) -> Option<EnvironmentDifference> {
    if recorded == live {
        return None;
    }
    let (changed, changed_count) = changes(recorded, live);
    Some(EnvironmentDifference {
        subject,
        recorded: recorded.len().to_string(),
        live: live.len().to_string(),
        changed,
        changed_count,
    })
}

/// The names of what differs or that only one side has, first few and count.
fn changes<T: Clone + PartialEq>(
    recorded: &[(String, T)],
    live: &[(String, T)],
) -> (Vec<String>, u64) {
    let by_name = |list: &[(String, T)]| -> BTreeMap<String, T> { list.iter().cloned().collect() };
    let (recorded_by_name, live_by_name) = (by_name(recorded), by_name(live));
    let changed = recorded
        .iter()
        .filter_map(|(name, digest)| match live_by_name.get(name) {
            Some(other) if other == digest => None,
            Some(_) => Some(name.clone()),
            None => Some(format!("{name} (only recorded)")),
        });
    let added = live
        .iter()
        .filter(|(name, _)| !recorded_by_name.contains_key(name));
    let added = added.map(|(name, _)| format!("{name} (only in this run)"));
    let all: Vec<String> = changed.chain(added).collect();
    let count = all.len() as u64;
    (all.into_iter().take(CHANGES_SHOWN).collect(), count)
}
