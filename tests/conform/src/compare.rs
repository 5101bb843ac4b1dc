//! In what two of the three differ: what Interloom did, what an interpreter did, what was recorded.

use std::collections::BTreeSet;
use std::fmt;

use crate::cause::Cause;
use crate::outcome::{Collected, Entry, Fault, Item, Outcome, Said, Served, Told, of_tensors};
use crate::recording::Recording;

/// Something in which a run can differ from the recording.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Aspect {
    /// Whether it succeeds.
    Status,
    /// Which kind of error it ends with.
    Error,
    /// The saved values.
    Saved,
    /// The order in which user code ran.
    Marks,
    /// The errors that were caught.
    Caught,
    /// What the model put out.
    Outputs,
    /// What caches collected.
    Caches,
    /// The order of the served requests.
    Order,
}

impl Aspect {
    /// Returns the aspect's name in reports and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Error => "error",
            Self::Saved => "saved",
            Self::Marks => "marks",
            Self::Caught => "caught",
            Self::Outputs => "outputs",
            Self::Caches => "caches",
            Self::Order => "order",
        }
    }
}

/// One aspect in which a run differs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// In what.
    pub aspect: Aspect,
    /// What was found, and what was recorded.
    pub detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.aspect.name(), self.detail)
    }
}

/// Compares what was done with what was recorded, in every aspect.
pub(crate) fn with_recording(own: &Outcome, recorded: &Recording) -> Vec<Difference> {
    let differences = [
        status(own, recorded),
        error(own, recorded),
        saved(own, recorded),
        lists(Aspect::Marks, &own.marks, &recorded.marks),
        caught(own, recorded),
        outputs(own, recorded),
        caches(own, recorded),
        order(own, recorded),
    ];
    differences.into_iter().flatten().collect()
}

/// Compares what Interloom did with what an interpreter of the rules did: in every aspect, and
/// every exchange.
pub(crate) fn with_rules(own: &Outcome, rules: &Outcome) -> Vec<Difference> {
    let is_one_end = own.faults.len() == rules.faults.len()
        && own
            .faults
            .iter()
            .zip(&rules.faults)
            .all(|(own, other)| own.is_like(other));
    let shown = |faults: &[Fault]| match faults {
        [] => "no error".to_owned(),
        faults => faults
            .iter()
            .map(Fault::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    };
    let end = (!is_one_end).then(|| Difference {
        aspect: Aspect::Error,
        detail: format!(
            "{}, by the rules {}",
            shown(&own.faults),
            shown(&rules.faults)
        ),
    });
    let is_same = |one: &Fault, other: &Fault| one.is_like(other);
    let differences = [
        end,
        named(Aspect::Saved, &own.saved, &rules.saved, Item::is_like),
        lists(Aspect::Marks, &own.marks, &rules.marks),
        named(Aspect::Caught, &own.caught, &rules.caught, is_same),
        named(
            Aspect::Outputs,
            &own.outputs,
            &rules.outputs,
            |one, other| all_like(one, other),
        ),
        named(Aspect::Caches, &own.caches, &rules.caches, collected_alike),
        lists(
            Aspect::Order,
            &kinds(&own.exchanges),
            &kinds(&rules.exchanges),
        ),
    ];
    differences.into_iter().flatten().collect()
}

/// The exchanges, with errors by their kinds.
fn kinds(exchanges: &[Said]) -> Vec<Said> {
    let exchanges = exchanges.iter().map(|said| Said {
        fault: said.fault.map(Cause::kind),
        ..said.clone()
    });
    exchanges.collect()
}

fn status(own: &Outcome, recorded: &Recording) -> Option<Difference> {
    let name = |is_ok| if is_ok { "ok" } else { "error" };
    let found = own.faults.is_empty();
    let error = own.faults.first().map(Fault::to_string);
    let class = recorded.error.as_ref().map(|error| error.class.as_str());
    (found != recorded.is_ok).then(|| Difference {
        aspect: Aspect::Status,
        detail: format!(
            "found {} ({}), recorded {} ({})",
            name(found),
            error.as_deref().unwrap_or("no error"),
            name(recorded.is_ok),
            class.unwrap_or("no error")
        ),
    })
}

/// Compares the kinds of errors and the sites that they are about, if there is one on both sides.
fn error(own: &Outcome, recorded: &Recording) -> Option<Difference> {
    let told = recorded.error.as_ref()?;
    let mut faults = own.faults.iter();
    let is_told = own.faults.is_empty() || faults.any(|fault| fault.is_told_as(told));
    (!is_told).then(|| Difference {
        aspect: Aspect::Error,
        detail: format!(
            "found {}, recorded {}: {}",
            own.faults[0], told.class, told.message
        ),
    })
}

/// Compares what was saved; a value that was changed in place later counts as it was when it was
/// saved.
fn saved(own: &Outcome, recorded: &Recording) -> Option<Difference> {
    let names: BTreeSet<&String> = own.saved.keys().chain(recorded.saved.keys()).collect();
    let unequal = names.into_iter().find(|name| {
        let is_like = |own: Option<&Item>, other: Option<&Item>| {
            own.zip(other)
                .is_some_and(|(own, other)| own.is_like(other))
        };
        let (last, first) = (own.saved.get(*name), own.snapshots.get(*name));
        let is_changed = recorded.snapshots.contains_key(*name);
        match (is_changed, own.snapshots.is_empty()) {
            // Values never change here.
            (true, true) => !is_like(last, recorded.snapshots.get(*name)),
            (true, false) => {
                !is_like(first, recorded.snapshots.get(*name))
                    || !is_like(last, recorded.saved.get(*name))
            }
            (false, _) => !is_like(last, recorded.saved.get(*name)),
        }
    });
    let shown = |item: Option<&Item>| item.map_or("nothing".to_owned(), brief);
    unequal.map(|name| {
        let found = shown(own.saved.get(name));
        let told = shown(recorded.snapshots.get(name).or(recorded.saved.get(name)));
        let told = if found == told {
            "with other numbers".to_owned()
        } else {
            told
        };
        other(
            Aspect::Saved,
            format!("`{name}` is {found}, recorded {told}"),
        )
    })
}

fn caught(own: &Outcome, recorded: &Recording) -> Option<Difference> {
    named(
        Aspect::Caught,
        &own.caught,
        &recorded.caught,
        |own: &Fault, told: &Told| own.is_told_as(told),
    )
}

fn outputs(own: &Outcome, recorded: &Recording) -> Option<Difference> {
    named(
        Aspect::Outputs,
        &own.outputs,
        &recorded.outputs,
        |own, other| all_like(own, other),
    )
}

/// Compares caches by module and pass.
fn caches(own: &Outcome, recorded: &Recording) -> Option<Difference> {
    recorded.caches.iter().find_map(|(name, theirs)| {
        let Some(ours) = own.caches.get(name) else {
            let detail = format!("there is no cache `{name}`");
            return Some(other(Aspect::Caches, detail));
        };
        let difference = named(Aspect::Caches, ours, theirs, |own, other| {
            passes_alike(own, other)
        })?;
        Some(other(
            Aspect::Caches,
            format!("`{name}`: {}", difference.detail),
        ))
    })
}

fn collected_alike(own: &Collected, other: &Collected) -> bool {
    named(Aspect::Caches, own, other, |own, other| {
        passes_alike(own, other)
    })
    .is_none()
}

fn passes_alike(own: &[Entry], other: &[Entry]) -> bool {
    let side = |own: &Option<Item>, other: &Option<Item>| match (own, other) {
        (Some(own), Some(other)) => own.is_like(other),
        (own, other) => own.is_none() && other.is_none(),
    };
    let is_like = |(own, other): (&Entry, &Entry)| {
        side(&own.inputs, &other.inputs) && side(&own.output, &other.output)
    };
    own.len() == other.len() && own.iter().zip(other).all(is_like)
}

fn all_like(own: &[Item], other: &[Item]) -> bool {
    let mut pairs = own.iter().zip(other);
    own.len() == other.len() && pairs.all(|(own, other)| own.is_like(other))
}

fn order(own: &Outcome, recorded: &Recording) -> Option<Difference> {
    let own = of_tensors(&own.served).into_iter();
    let own: Vec<String> = match recorded.version {
        "v050" => own
            .filter_map(|own| own.of_threads())
            .map(|own| own.to_string())
            .collect(),
        _ => own.map(|own| own.to_string()).collect(),
    };
    let recorded: Vec<String> = recorded.served.iter().map(Served::to_string).collect();
    lists(Aspect::Order, &own, &recorded)
}

/// Compares two things with names, and says where they part.
fn named<K: Ord + fmt::Debug, A, B>(
    aspect: Aspect,
    own: &std::collections::BTreeMap<K, A>,
    others: &std::collections::BTreeMap<K, B>,
    is_like: impl Fn(&A, &B) -> bool,
) -> Option<Difference> {
    let names: BTreeSet<&K> = own.keys().chain(others.keys()).collect();
    names.into_iter().find_map(|name| {
        let what = match (own.get(name), others.get(name)) {
            (Some(own), Some(other)) if is_like(own, other) => return None,
            (Some(_), Some(_)) => "is not the same",
            (None, _) => "is missing",
            (_, None) => "is too much",
        };
        Some(other(aspect, format!("{name:?} {what}")))
    })
}

fn other(aspect: Aspect, detail: String) -> Difference {
    Difference { aspect, detail }
}

/// Compares two lists, and says where they part.
fn lists<T: PartialEq + fmt::Display>(
    aspect: Aspect,
    found: &[T],
    recorded: &[T],
) -> Option<Difference> {
    let mut pairs = found.iter().zip(recorded);
    let place = pairs.position(|(own, other)| own != other);
    let place = place.unwrap_or(found.len().min(recorded.len()));
    if place == found.len() && place == recorded.len() {
        return None;
    }
    let at = |items: &[T]| {
        let item = items.get(place);
        item.map_or("nothing more".to_owned(), |item| format!("`{item}`"))
    };
    let detail = format!("item {place} is {}, recorded {}", at(found), at(recorded));
    Some(other(aspect, detail))
}

fn brief(item: &Item) -> String {
    match item {
        Item::None => "nothing".to_owned(),
        Item::Bool(truth) => truth.to_string(),
        Item::Number(number) => number.to_string(),
        Item::Text(text) => text.clone(),
        Item::Tensor { shape, .. } => format!("a tensor {shape:?}"),
        Item::Sequence(items) => format!("a sequence of {}", items.len()),
        Item::Map(items) => format!("a map of {}", items.len()),
    }
}
