//! What the reference was recorded doing, as it is in files.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::outcome::{
    Collected, Entry, Fault, Item, OF_GRADIENTS, Outcome, Served, Told, of_tensors,
};
use crate::tensors::Tensors;

/// What the reference was recorded doing.
pub(crate) struct Recording {
    pub(crate) version: &'static str,
    pub(crate) is_ok: bool,
    pub(crate) error: Option<Told>,
    /// The values as they were in the end.
    pub(crate) saved: BTreeMap<String, Item>,
    /// Those that were changed later, as they were when they were saved.
    pub(crate) snapshots: BTreeMap<String, Item>,
    pub(crate) marks: Vec<String>,
    pub(crate) caught: BTreeMap<String, Told>,
    pub(crate) outputs: BTreeMap<usize, Vec<Item>>,
    pub(crate) caches: BTreeMap<String, Collected>,
    pub(crate) served: Vec<Served>,
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    ///
    /// What is not as such files are.
    pub(crate) fn read(
        version: &'static str,
        json: &Json,
        tensors: &Tensors,
        log: &str,
    ) -> Result<Self, String> {
        let mut saved = items(&json["saved"], tensors)?;
        let changed: Vec<String> = saved
            .keys()
            .filter(|name| name.ends_with("@snapshot"))
            .cloned()
            .collect();
        let mut snapshots = BTreeMap::new();
        for name in changed {
            let item = saved.remove(&name).expect("a name of it");
            snapshots.insert(name.trim_end_matches("@snapshot").to_owned(), item);
        }
        let mut outputs = BTreeMap::new();
        for (run, steps) in object(&json["outputs"]) {
            let run = run
                .parse()
                .map_err(|_| format!("there is no run `{run}`"))?;
            outputs.insert(run, list(steps, tensors)?);
        }
        let mut caches = BTreeMap::new();
        for (name, modules) in object(&json["caches"]) {
            let mut collected = Collected::new();
            for (path, entries) in object(modules) {
                let entries = array(entries).iter().map(|entry| entry_of(entry, tensors));
                collected.insert(path.clone(), entries.collect::<Result<_, _>>()?);
            }
            caches.insert(name.clone(), collected);
        }
        let caught = object(&json["caught"]);
        Ok(Self {
            version,
            is_ok: json["status"].as_str().ok_or("there is no status")? == "ok",
            error: json["error"].is_object().then(|| told(&json["error"])),
            saved,
            snapshots,
            marks: array(&json["marks"])
                .iter()
                .map(|text| text.as_str().unwrap_or_default().to_owned())
                .collect(),
            caught: caught
                .map(|(name, error)| (name.clone(), told(error)))
                .collect(),
            outputs,
            caches,
            served: read_log(log, version)?,
        })
    }

    /// Puts what an interpreter of the reference came to in the place of a recording.
    pub(crate) fn of(version: &'static str, played: Outcome) -> Self {
        let Outcome {
            faults,
            saved,
            mut snapshots,
            marks,
            caught,
            outputs,
            caches,
            served,
            ..
        } = played;
        let served = of_tensors(&served);
        snapshots.retain(|name, own| !saved.get(name).is_some_and(|saved| own.is_like(saved)));
        let caught = caught.iter();
        Self {
            version,
            is_ok: faults.is_empty(),
            error: faults.first().map(Fault::told),
            saved,
            snapshots,
            marks,
            caught: caught
                .map(|(name, fault)| (name.clone(), fault.told()))
                .collect(),
            outputs,
            caches,
            served: match version {
                "v050" => served.iter().filter_map(Served::of_threads).collect(),
                _ => served,
            },
        }
    }
}

fn object(json: &Json) -> impl Iterator<Item = (&String, &Json)> {
    json.as_object().into_iter().flatten()
}

fn array(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn told(error: &Json) -> Told {
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    Told {
        class: text("class"),
        message: text("message"),
    }
}

fn items(json: &Json, tensors: &Tensors) -> Result<BTreeMap<String, Item>, String> {
    let items = object(json);
    items
        .map(|(name, value)| Ok((name.clone(), item(value, tensors)?)))
        .collect()
}

fn list(json: &Json, tensors: &Tensors) -> Result<Vec<Item>, String> {
    array(json)
        .iter()
        .map(|value| item(value, tensors))
        .collect()
}

fn item(json: &Json, tensors: &Tensors) -> Result<Item, String> {
    let number = || {
        json["value"]
            .as_f64()
            .ok_or_else(|| format!("{json} is no number"))
    };
    Ok(match json["kind"].as_str().unwrap_or_default() {
        "none" => Item::None,
        "bool" => Item::Bool(json["value"].as_bool().unwrap_or_default()),
        "int" | "float" => Item::Number(number()?),
        "opaque" => Item::Text(json["type"].as_str().unwrap_or_default().to_owned()),
        "tensor" => {
            let key = json["key"].as_str().unwrap_or_default();
            let plain = tensors.get(key);
            let plain = plain.ok_or_else(|| format!("there is no tensor `{key}`"))?;
            plain.to_item()
        }
        "tuple" | "list" => Item::Sequence(list(&json["items"], tensors)?),
        "dict" => Item::Map(items(&json["items"], tensors)?),
        kind => return Err(format!("there is nothing of the kind `{kind}`")),
    })
}

fn entry_of(json: &Json, tensors: &Tensors) -> Result<Entry, String> {
    let side = |json: &Json| {
        if json["kind"] == "none" || json.is_null() {
            Ok(None)
        } else {
            item(json, tensors).map(Some)
        }
    };
    Ok(Entry {
        inputs: side(&json["inputs"])?,
        output: side(&json["output"])?,
    })
}

/// Reads a log of served requests, of the version that is named.
fn read_log(text: &str, version: &str) -> Result<Vec<Served>, String> {
    let mut served = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line: Json =
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 1))?;
        let entry = match version {
            "v050" => entry_of_threads(&line),
            _ => entry_of_coroutines(&line),
        };
        served.extend(entry);
    }
    Ok(served)
}

/// `["resume", M, served, next]`: the served request is `[event, location, occurrence]`.
fn entry_of_coroutines(line: &Json) -> Option<Served> {
    let event = event(line[2][0].as_str()?)?;
    if line[0] != "resume" {
        return None;
    }
    if event == "BARRIER" {
        return Some(Served(mediator(&line[1])?, event, String::new()));
    }
    // What the reference calls a skip's place is the module's input.
    let site = line[2][1].as_str()?.replace(".skip", ".input");
    if is_of_tensor(&site) {
        return Some(Served(OF_GRADIENTS, event, site));
    }
    let site = site.strip_prefix("model.").unwrap_or(&site);
    let site = format!("{site}.i{}", line[2][2]);
    Some(Served(mediator(&line[1])?, event, site))
}

/// `["handle", M, event, requester, provider, "served"]`; a child has its parent's name with an
/// iteration behind it.
fn entry_of_threads(line: &Json) -> Option<Served> {
    let event = event(line[2].as_str()?)?;
    if line[0] != "handle" || line[5] != "served" {
        return None;
    }
    let site = line[3].as_str()?;
    if is_of_tensor(site) {
        return Some(Served(OF_GRADIENTS, event, site.to_owned()));
    }
    let site = site.strip_prefix("model.").unwrap_or(site);
    Some(Served(mediator(&line[1])?, event, site.to_owned()))
}

/// Whether a place is that of a tensor's gradient, as in `<tensor0>.grad`.
fn is_of_tensor(site: &str) -> bool {
    site.starts_with('<') && site.contains(">.grad")
}

fn event(name: &str) -> Option<&'static str> {
    let events = ["VALUE", "SWAP", "SKIP", "BARRIER"].into_iter();
    events.into_iter().find(|event| *event == name)
}

fn mediator(name: &Json) -> Option<u32> {
    let name = name.as_str()?.strip_prefix('m')?;
    name.split('.').next()?.parse().ok()
}
