//! A run beside what the reference was recorded doing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use interloom_backends::Value;
use interloom_engine::program::{Datum, Results};
use interloom_engine::{Event, Fault, FaultKind, RunError};
use serde_json::Value as Json;

use super::run::{Served, Trace};
use super::tensors::{Plain, Tensors};

/// Sums of another library round differently.
const TOLERANCE: f64 = 1e-5;

/// The same on a GPU, whose tensor cores may round the factors of a product to the 10 bits of TF32: a relative error of up to 2⁻¹⁰
/// for each of a few layers.
const TOLERANCE_OF_GPUS: f64 = 1e-2;

/// More runs than any scenario has.
const RUNS_MAX: usize = 1000;

/// The message of the error that stands for a STOP where the reference lets one be caught.
pub(super) const STOP_AS_ERROR: &str = "a stop that travels as an exception";

/// What the reference was recorded doing.
pub(super) struct Expected {
    /// The version of the reference.
    pub(super) version: &'static str,
    pub(super) json: Json,
    pub(super) tensors: Tensors,
    /// The served requests, in order.
    pub(super) order: Vec<Served>,
}

/// What running a scenario came to.
pub(super) struct Performed {
    pub(super) traces: Vec<Trace>,
    pub(super) results: Results<Value>,
    /// What each cache collected: the sites, by path and iteration, and their values.
    pub(super) caches: BTreeMap<String, Vec<(String, Value)>>,
    /// The class of the error with which the reference ended instead, where a rule says so.
    pub(super) ended_with: Option<&'static str>,
}

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

/// Compares every aspect, and returns those that differ.
pub(super) fn compare(own: &Performed, expected: &Expected) -> Vec<Difference> {
    let differences = [
        status(own, expected),
        error(own, expected),
        saved(own, expected),
        marks(own, expected),
        caught(own, expected),
        outputs(own, expected),
        caches(own, expected),
        order(own, expected),
    ];
    differences.into_iter().flatten().collect()
}

impl Performed {
    /// Returns the codes of everything that failed.
    pub(super) fn codes(&self) -> impl Iterator<Item = &'static str> {
        self.traces
            .iter()
            .flat_map(|trace| trace.codes.iter().copied())
    }

    fn status(&self) -> &'static str {
        let is_fine = |trace: &Trace| trace.error.is_none();
        if self.ended_with.is_none() && self.traces.iter().all(is_fine) {
            "ok"
        } else {
            "error"
        }
    }
}

fn status(own: &Performed, expected: &Expected) -> Option<Difference> {
    let (found, recorded) = (own.status(), expected.json["status"].as_str()?);
    let error = own.traces.iter().find_map(|trace| trace.error.as_deref());
    let class = expected.json["error"]["class"].as_str();
    (found != recorded).then(|| Difference {
        aspect: Aspect::Status,
        detail: format!(
            "found {found} ({}), recorded {recorded} ({})",
            error.unwrap_or("no error"),
            class.unwrap_or("no error")
        ),
    })
}

/// Compares the kinds of errors and the sites that they are about, if there is one on both sides.
fn error(own: &Performed, expected: &Expected) -> Option<Difference> {
    let error = &expected.json["error"];
    let class = error["class"].as_str()?;
    let codes: Vec<&str> = own.codes().collect();
    let cause = own.traces.iter().find_map(|trace| trace.cause.as_ref());
    let is_kin = match (own.ended_with, cause) {
        (Some(ended_with), _) => class == ended_with,
        (None, Some(RunError::Mediators(failures))) => {
            let mut failures = failures.iter();
            failures.any(|failure| is_like(&failure.fault, error))
        }
        (None, _) => codes.is_empty() || codes.iter().any(|code| kin(code).contains(&class)),
    };
    (!is_kin).then(|| Difference {
        aspect: Aspect::Error,
        detail: format!("found {codes:?}, recorded {class}"),
    })
}

/// Returns whether an error is of the recorded kind, and about the site that its message names, if it names one.
fn is_like(fault: &Fault, recorded: &Json) -> bool {
    let class = recorded["class"].as_str().unwrap_or_default();
    let message = recorded["message"].as_str().unwrap_or_default();
    match fault.kind() {
        FaultKind::Raised(own) if own == STOP_AS_ERROR => class == "EarlyStopException",
        FaultKind::OutOfOrder { asked, .. } | FaultKind::NotProvided { asked, .. } => {
            let is_there = message.contains(asked) || !names_a_site(message);
            kin(fault.code()).contains(&class) && is_there
        }
        FaultKind::NotShared { asked, .. } => {
            // Python words it in several ways, but it names the variable, if it names anything.
            let names_it = message.contains(&format!("'v_{asked}'"));
            kin(fault.code()).contains(&class) && (names_it || !message.contains("'v_"))
        }
        _ => kin(fault.code()).contains(&class),
    }
}

/// Returns whether a message has something like `layers.0.output.i0` in it.
fn names_a_site(message: &str) -> bool {
    let mut rests = message.split(".i").skip(1);
    rests.any(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()))
}

/// The reference's classes for an error of ours; it words some of them differently in each version (R10).
fn kin(code: &str) -> &'static [&'static str] {
    const PYTHON: &[&str] = &[
        "AttributeError",
        "IndexError",
        "KeyError",
        "NameError",
        "RuntimeError",
        "TypeError",
        "UnboundLocalError",
        "ValueError",
    ];
    match code {
        "E001" => &["AttributeError", "ValueError"],
        "E002" | "E003" => &["OutOfOrderError", "ValueError"],
        "E004" | "E005" | "E006" => &["IndexError", "RuntimeError", "TypeError", "ValueError"],
        // A barrier that nobody has declared is a name that is not there.
        "E015" => &["NameError", "RuntimeError", "ValueError"],
        "E017" | "E020" | "E021" | "E025" | "E026" => &["RuntimeError", "ValueError"],
        "E016" => &["KeyError", "NameError", "UnboundLocalError"],
        // The user's own error, an expression's, or the model's on a value that it cannot take.
        "E007" | "E011" | "E013" | "E035" | "E036" | "E103" => PYTHON,
        _ => &[],
    }
}

/// Compares what was saved; a value that was changed in place later counts as it was when it was saved.
fn saved(own: &Performed, expected: &Expected) -> Option<Difference> {
    let mut recorded: BTreeMap<&str, &Json> = BTreeMap::new();
    let entries = expected.json["saved"].as_object()?;
    for (name, value) in entries {
        let name = name.strip_suffix("@snapshot").unwrap_or(name);
        recorded.insert(
            name,
            entries.get(&format!("{name}@snapshot")).unwrap_or(value),
        );
    }
    let found = own.results.saved();
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let unequal = found.iter().find(|(name, datum)| {
        let recorded = recorded.get(name.as_str());
        recorded.is_some_and(|recorded| !is_datum(datum, recorded, &expected.tensors))
    });
    if let Some((name, datum)) = unequal {
        return Some(Difference {
            aspect: Aspect::Saved,
            detail: format!(
                "`{name}` is {}, which is not what was recorded",
                shown(datum)
            ),
        });
    }
    let recorded: Vec<&str> = recorded.into_keys().collect();
    lists(Aspect::Saved, &names, &recorded)
}

fn shown(datum: &Datum<Value>) -> String {
    match datum {
        Datum::Number(number) => number.to_string(),
        Datum::Value(value) => value.to_string(),
        Datum::List(items) => format!("a list of {}", items.len()),
    }
}

fn marks(own: &Performed, expected: &Expected) -> Option<Difference> {
    let found = own.results.marks();
    let recorded: Vec<String> = texts(&expected.json["marks"]);
    lists(Aspect::Marks, &found, &recorded)
}

fn caught(own: &Performed, expected: &Expected) -> Option<Difference> {
    let found = own.results.caught();
    let none = serde_json::Map::new();
    let recorded = expected.json["caught"].as_object().unwrap_or(&none);
    for (name, fault) in &found {
        let recorded = recorded.get(name);
        if recorded.is_some_and(|recorded| !is_like(fault, recorded)) {
            return Some(other(
                Aspect::Caught,
                format!(
                    "`{name}` is {} ({fault}), recorded {}",
                    fault.code(),
                    recorded.map_or(&Json::Null, |recorded| &recorded["class"])
                ),
            ));
        }
    }
    let found: Vec<&String> = found.keys().collect();
    let recorded: Vec<&String> = recorded.keys().collect();
    lists(Aspect::Caught, &found, &recorded)
}

/// Compares the outputs of the runs that came to their end.
fn outputs(own: &Performed, expected: &Expected) -> Option<Difference> {
    let recorded = expected.json["outputs"].as_object();
    let last = recorded.and_then(|runs| runs.keys().filter_map(|key| key.parse().ok()).max());
    let count = last.map_or(0, |last: usize| last.saturating_add(1));
    (0..own.traces.len().max(count.min(RUNS_MAX))).find_map(|index| {
        let found = own
            .traces
            .get(index)
            .and_then(|trace| trace.outputs.as_ref());
        let recorded = recorded.and_then(|runs| runs.get(&index.to_string()));
        let what = match (found, recorded) {
            (None, None) => return None,
            (None, Some(_)) => "the model did not come to its end".to_owned(),
            (Some(_), None) => "the model came to its end".to_owned(),
            (Some(found), Some(recorded)) => {
                let recorded = recorded.as_array().map_or(&[][..], Vec::as_slice);
                let is_same =
                    |(own, other): (&Value, &Json)| is_value(own, other, &expected.tensors);
                if found.len() == recorded.len() && found.iter().zip(recorded).all(is_same) {
                    return None;
                }
                format!("{found:?} is not what was recorded")
            }
        };
        Some(other(Aspect::Outputs, format!("run {index}: {what}")))
    })
}

/// Compares caches by module and iteration.
///
/// The reference notes the model itself as an empty path or not at all, and no operations.
fn caches(own: &Performed, expected: &Expected) -> Option<Difference> {
    for (name, modules) in expected.json["caches"].as_object()? {
        let Some(cache) = own.caches.get(name) else {
            return Some(other(Aspect::Caches, format!("there is no cache `{name}`")));
        };
        let own_paths = cache.iter().filter_map(|(site, _)| path_of(site));
        let recorded = modules.as_object().into_iter().flatten();
        let paths: BTreeSet<&str> = recorded
            .map(|(path, _)| &path[..])
            .chain(own_paths)
            .collect();
        for path in paths.into_iter().filter(|path| !path.is_empty()) {
            let (inputs, outputs) = (side(cache, path, "input"), side(cache, path, "output"));
            let entries = modules[path].as_array().map_or(&[][..], Vec::as_slice);
            for (iteration, entry) in entries.iter().enumerate() {
                let input = first_argument(&entry["inputs"]);
                let own = |values: &[&Value]| values.get(iteration).copied().cloned();
                let is_same = is_entry(own(&outputs).as_ref(), &entry["output"], &expected.tensors)
                    && is_entry(own(&inputs).as_ref(), input, &expected.tensors);
                if !is_same {
                    let what = format!("`{name}` differs at `{path}`, iteration {iteration}");
                    return Some(other(Aspect::Caches, what));
                }
            }
            let most = inputs.len().max(outputs.len());
            if most > entries.len() {
                let what = format!(
                    "`{name}` has {most} iterations of `{path}`, recorded {}",
                    entries.len()
                );
                return Some(other(Aspect::Caches, what));
            }
        }
    }
    None
}

/// The module of a site such as `layers.0.output.i1`; none for the model itself and for operations.
fn path_of(site: &str) -> Option<&str> {
    let (point, _) = site.rsplit_once(".i")?;
    let (path, _) = point.rsplit_once('.')?;
    (!path.contains(".source.")).then_some(path)
}

/// What was collected at a module's inputs or outputs, by iteration.
fn side<'c>(cache: &'c [(String, Value)], path: &str, port: &str) -> Vec<&'c Value> {
    let start = format!("{path}.{port}.i");
    let at = cache.iter().filter(|(site, _)| {
        let rest = site.strip_prefix(&start);
        rest.is_some_and(|rest| rest.parse::<u32>().is_ok())
    });
    at.map(|(_, value)| value).collect()
}

fn is_entry(own: Option<&Value>, expected: &Json, tensors: &Tensors) -> bool {
    match own {
        Some(own) => is_value(own, expected, tensors),
        None => expected["kind"] == "none" || expected.is_null(),
    }
}

/// The first argument by place, of arguments by place and by name.
fn first_argument(inputs: &Json) -> &Json {
    match inputs["kind"].as_str() {
        Some("tuple") => &inputs["items"][0]["items"][0],
        _ => inputs,
    }
}

fn order(own: &Performed, expected: &Expected) -> Option<Difference> {
    let found = own.traces.iter().flat_map(|trace| &trace.served);
    let found: Vec<String> = match expected.version {
        "v050" => found.filter_map(line_of_threads).collect(),
        _ => found.map(line).collect(),
    };
    let recorded: Vec<String> = expected.order.iter().map(line).collect();
    lists(Aspect::Order, &found, &recorded)
}

/// The older version does not log who waits at barriers, nor at which iteration an operation was.
fn line_of_threads((who, event, site): &Served) -> Option<String> {
    let is_operation = site.contains(".source.");
    match (event, site.rsplit_once(".i")) {
        (Event::Barrier, _) => None,
        (_, Some((point, _))) if is_operation => {
            Some(line(&(*who, *event, point.replace(".source.", "."))))
        }
        _ => Some(line(&(*who, *event, site.clone()))),
    }
}

fn line((who, event, what): &Served) -> String {
    format!("m{who} {} {what}", event.name())
}

fn is_datum(datum: &Datum<Value>, expected: &Json, tensors: &Tensors) -> bool {
    match datum {
        Datum::Number(number) => expected["value"].as_f64() == Some(*number),
        Datum::Value(value) => is_value(value, expected, tensors),
        Datum::List(items) => {
            let others = expected["items"].as_array().map_or(&[][..], Vec::as_slice);
            let mut pairs = items.iter().zip(others);
            items.len() == others.len() && pairs.all(|(item, other)| is_datum(item, other, tensors))
        }
    }
}

fn is_value(own: &Value, expected: &Json, tensors: &Tensors) -> bool {
    let items = |name: &str| expected[name].as_array().map_or(&[][..], Vec::as_slice);
    match (own, expected["kind"].as_str().unwrap_or_default()) {
        (Value::Tensor(own), "tensor") => {
            let other = expected["key"].as_str().and_then(|key| tensors.get(key));
            let data: Vec<f64> = own.to_data().iter::<f64>().collect();
            let tolerance = match own.is_on_host() {
                true => TOLERANCE,
                false => TOLERANCE_OF_GPUS,
            };
            other.is_some_and(|other| is_close(&own.shape(), &data, other, tolerance))
        }
        (Value::Float(own), "float" | "int") => expected["value"].as_f64() == Some(*own),
        (Value::Int(own), "float" | "int") => expected["value"].as_i64() == Some(*own),
        (Value::Unit, "none") => true,
        (Value::Tuple(own) | Value::List(own), "tuple" | "list") => {
            let others = items("items");
            let mut pairs = own.iter().zip(others);
            own.len() == others.len() && pairs.all(|(item, other)| is_value(item, other, tensors))
        }
        (Value::Map(own), "dict") => {
            let is_same = |(name, item): &(std::sync::Arc<str>, Value)| {
                let other = expected["items"].get(&**name);
                other.is_some_and(|other| is_value(item, other, tensors))
            };
            let count = expected["items"]
                .as_object()
                .map_or(0, serde_json::Map::len);
            own.len() == count && own.iter().all(is_same)
        }
        _ => false,
    }
}

fn is_close(shape: &[usize], data: &[f64], other: &Plain, tolerance: f64) -> bool {
    // Burn has no tensors without dimensions.
    let is_shaped = shape == other.shape || (other.shape.is_empty() && shape == [1]);
    let size = |scale: f64, x: &f64| scale.max(x.abs());
    let limit = tolerance * other.data.iter().fold(1e-3, size);
    let mut pairs = data.iter().zip(&other.data);
    let is_near = |(a, b): (&f64, &f64)| (a - b).abs() <= limit || (a.is_nan() && b.is_nan());
    is_shaped && pairs.all(is_near)
}

fn other(aspect: Aspect, detail: String) -> Difference {
    Difference { aspect, detail }
}

/// Compares two lists, and says where they part.
fn lists<T: PartialEq + PartialEq<U> + fmt::Debug, U: fmt::Debug>(
    aspect: Aspect,
    found: &[T],
    recorded: &[U],
) -> Option<Difference> {
    let mut pairs = found.iter().zip(recorded);
    let place = pairs.position(|(own, other)| *own != *other);
    let place = place.unwrap_or(found.len().min(recorded.len()));
    if place == found.len() && place == recorded.len() {
        return None;
    }
    let at = |item: Option<String>| item.unwrap_or_else(|| "nothing more".to_owned());
    Some(Difference {
        aspect,
        detail: format!(
            "item {place} is {}, recorded {}",
            at(found.get(place).map(|item| format!("{item:?}"))),
            at(recorded.get(place).map(|item| format!("{item:?}")))
        ),
    })
}

fn texts(list: &Json) -> Vec<String> {
    let items = list.as_array().map_or(&[][..], Vec::as_slice);
    let text = |item: &Json| item.as_str().unwrap_or_default().to_owned();
    items.iter().map(text).collect()
}
