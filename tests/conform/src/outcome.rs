//! The outcome of a scenario, in Interloom or in a reference.

use std::collections::BTreeMap;
use std::fmt;

use crate::cause::Cause;

/// Sums of another library round differently.
const TOLERANCE: f64 = 1e-5;

/// The same on a GPU, whose tensor cores may round the factors of a product to the 10 bits of TF32:
/// a relative error of up to 2⁻¹⁰ for each of a few layers.
const TOLERANCE_OF_GPUS: f64 = 1e-2;

/// What a scenario came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// What failed; nothing of a scenario that succeeds.
    pub(crate) faults: Vec<Fault>,
    /// What was saved, as it is in the end.
    pub(crate) saved: BTreeMap<String, Item>,
    /// The same as it was when it was saved, where values can change.
    pub(crate) snapshots: BTreeMap<String, Item>,
    pub(crate) marks: Vec<String>,
    pub(crate) caught: BTreeMap<String, Fault>,
    /// What the model put out, by run and step.
    pub(crate) outputs: BTreeMap<usize, Vec<Item>>,
    pub(crate) caches: BTreeMap<String, Collected>,
    /// The requests that were served.
    pub(crate) served: Vec<Served>,
    pub(crate) exchanges: Vec<Said>,
}

/// An exchange: who said what, where the model was, and what became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Said {
    pub(crate) who: u32,
    pub(crate) event: &'static str,
    /// The site, the name or the iteration that it is about; empty if it is about none.
    pub(crate) asked: String,
    /// The site that the model was passing.
    pub(crate) at: Option<String>,
    /// Why it was refused, or why who said it failed.
    pub(crate) fault: Option<Cause>,
}

impl Said {
    /// Returns whether it is an event that came to this.
    pub(crate) fn is(&self, event: &str, fault: Option<Cause>) -> bool {
        self.event == event && self.fault == fault
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            who, event, asked, ..
        } = self;
        let at = self.at.as_deref().unwrap_or("-");
        write!(f, "m{who} {event} {asked} @ {at} ")?;
        match self.fault {
            Some(cause) => cause.fmt(f),
            None => f.write_str("served"),
        }
    }
}

/// What a cache has of each module, pass by pass.
pub(crate) type Collected = BTreeMap<String, Vec<Entry>>;

/// What a cache has of one pass of a module.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entry {
    pub(crate) inputs: Option<Item>,
    pub(crate) output: Option<Item>,
}

/// The number of those that read and replace gradients: in the reference they have none.
pub(crate) const OF_GRADIENTS: u32 = u32::MAX;

/// A served request: the mediator's number, the event, and the site; nothing for a barrier.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Served(pub(crate) u32, pub(crate) &'static str, pub(crate) String);

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(who, event, site) = self;
        write!(f, "m{who} {event} {site}")
    }
}

impl Served {
    /// Words it as the older version does, which does not log who waits at barriers, nor at which
    /// iteration an operation was.
    pub(crate) fn of_threads(&self) -> Option<Self> {
        let Self(who, event, site) = self;
        match (*event, site.rsplit_once(".i")) {
            ("BARRIER", _) => None,
            (_, Some((point, _))) if site.contains(".source.") => {
                Some(Self(*who, event, point.replace(".source.", ".")))
            }
            _ => Some(self.clone()),
        }
    }
}

/// Words gradients as the reference does, which numbers the tensors that they are of and does not
/// log whose requests these are; of parameters it logs nothing.
pub(crate) fn of_tensors(served: &[Served]) -> Vec<Served> {
    let mut tensors: Vec<&str> = Vec::new();
    let served = served.iter().filter_map(|own| {
        let Served(_, event, site) = own;
        let Some((of, _)) = site.split_once(".grad") else {
            return Some(own.clone());
        };
        let is_tensor = of.starts_with('<') || of.ends_with("input") || of.ends_with("output");
        if !is_tensor {
            return None;
        }
        let known = tensors.iter().position(|tensor| *tensor == site);
        let place = known.unwrap_or_else(|| {
            tensors.push(site);
            tensors.len() - 1
        });
        Some(Served(OF_GRADIENTS, event, format!("<tensor{place}>.grad")))
    });
    served.collect()
}

/// A value without its device and its type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    None,
    Bool(bool),
    Number(f64),
    /// Something that scenarios only pass on.
    Text(String),
    Tensor {
        shape: Vec<usize>,
        numbers: Vec<f64>,
        is_on_host: bool,
    },
    Sequence(Vec<Item>),
    Map(BTreeMap<String, Item>),
}

impl Item {
    /// Returns whether two are the same but for rounding.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Tensor {
                    shape,
                    numbers,
                    is_on_host,
                },
                Self::Tensor {
                    shape: other_shape,
                    numbers: others,
                    is_on_host: is_other_on_host,
                },
            ) => {
                let tolerance = if is_on_host & is_other_on_host {
                    TOLERANCE
                } else {
                    TOLERANCE_OF_GPUS
                };
                is_shaped_like(shape, other_shape) && is_close(numbers, others, tolerance)
            }
            (Self::Sequence(own), Self::Sequence(others)) => {
                let mut pairs = own.iter().zip(others);
                own.len() == others.len() && pairs.all(|(own, other)| own.is_like(other))
            }
            (Self::Map(own), Self::Map(others)) => {
                let mut pairs = own.iter().zip(others);
                own.len() == others.len()
                    && pairs.all(|(own, other)| own.0 == other.0 && own.1.is_like(other.1))
            }
            (own, other) => own == other,
        }
    }
}

/// Burn has no tensors without dimensions.
fn is_shaped_like(one: &[usize], other: &[usize]) -> bool {
    let is_single = |shape: &[usize]| shape.is_empty() || shape == [1];
    one == other || (is_single(one) && is_single(other))
}

fn is_close(numbers: &[f64], others: &[f64], tolerance: f64) -> bool {
    let size = |scale: f64, x: &f64| scale.max(x.abs());
    let limit = tolerance * others.iter().fold(1e-3, size);
    let mut pairs = numbers.iter().zip(others);
    numbers.len() == others.len()
        && pairs.all(|(a, b)| (a - b).abs() <= limit || (a.is_nan() && b.is_nan()) || a == b)
}

/// Why something failed, and the site or the name that it is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Fault {
    pub(crate) cause: Cause,
    pub(crate) about: Option<String>,
}

impl Fault {
    pub(crate) const fn of(cause: Cause) -> Self {
        Self { cause, about: None }
    }

    pub(crate) fn about(cause: Cause, about: &str) -> Self {
        let about = Some(about.to_owned());
        Self { cause, about }
    }

    /// Returns whether it is the error that a reference was recorded with: of such a class, and
    /// about the site or the name that its message names, if it names one.
    pub(crate) fn is_told_as(&self, told: &Told) -> bool {
        self.cause.classes().contains(&told.class.as_str()) && self.is_named_in(&told.message)
    }

    fn is_named_in(&self, message: &str) -> bool {
        // Gradients are named by the tensor there.
        let is_of_tensor = message.contains(">.grad");
        let names_something = (names_a_site(message) && !is_of_tensor) || message.contains("'v_");
        match (&self.about, self.cause) {
            _ if !names_something => true,
            (None, Cause::UnknownBarrier) => !names_a_site(message),
            (None, _) => false,
            (Some(name), Cause::NotShared) => message.contains(&format!("'v_{name}'")),
            // What the reference calls a skip's place is the module's input.
            (Some(site), _) => message.replace(".skip.i", ".input.i").contains(&**site),
        }
    }

    /// Words it as the reference would.
    pub(crate) fn told(&self) -> Told {
        let about = self.about.as_deref().unwrap_or_default();
        let message = match self.cause {
            Cause::NotShared => format!("'v_{about}'"),
            _ => about.to_owned(),
        };
        let class = match self.cause {
            Cause::Class(class) => class.to_owned(),
            cause => match cause.classes() {
                [first, ..] => (*first).to_owned(),
                [] => cause.to_string(),
            },
        };
        Told { class, message }
    }

    /// Returns whether two faults are of one kind and about the same.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.cause.kind() == other.cause.kind() && self.about == other.about
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.about {
            None => self.cause.fmt(f),
            Some(about) => write!(f, "{} about `{about}`", self.cause),
        }
    }
}

/// An error that the reference was recorded with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Told {
    pub(crate) class: String,
    pub(crate) message: String,
}

/// Returns whether a message has something like `layers.0.output.i0` in it.
fn names_a_site(message: &str) -> bool {
    let mut rests = message.split(".i").skip(1);
    rests.any(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()))
}

/// Leaves out the last arrival at each barrier: the reference does not log these. Barriers have no
/// names there.
pub(crate) fn without_last_arrivals(
    served: Vec<Served>,
    barriers: &BTreeMap<String, u32>,
) -> Vec<Served> {
    /// Who has passed a barrier since it last opened, with the places in the log.
    #[derive(Default)]
    struct Round {
        passed: Vec<(usize, u32)>,
        /// Whose request was served last before it opened; `None` before the model started.
        before: Option<u32>,
    }

    let mut rounds: BTreeMap<String, Round> = BTreeMap::new();
    let mut kept: Vec<Option<Served>> = Vec::new();
    for Served(who, event, what) in served {
        if event != "BARRIER" {
            kept.push(Some(Served(who, event, what)));
            continue;
        }
        let last = kept
            .iter()
            .rev()
            .flatten()
            .map(|Served(who, ..)| *who)
            .next();
        kept.push(Some(Served(who, event, String::new())));
        let participants = barriers.get(&what).copied().unwrap_or(0) as usize;
        let round = rounds.entry(what).or_default();
        if round.passed.is_empty() {
            round.before = last;
        }
        round.passed.push((kept.len() - 1, who));
        if round.passed.len() < participants {
            continue;
        }
        // It opened in the turn of the last to come. Before the model starts mediators run in their
        // order, so that the last has the highest number.
        let passed = std::mem::take(&mut round.passed);
        let is_in = |who: &u32| passed.iter().any(|(_, other)| other == who);
        let last = round.before.filter(is_in);
        let last = last.or_else(|| passed.iter().map(|(_, who)| *who).max());
        if let Some((place, _)) = passed.iter().find(|(_, who)| Some(*who) == last) {
            kept[*place] = None;
        }
    }
    kept.into_iter().flatten().collect()
}
