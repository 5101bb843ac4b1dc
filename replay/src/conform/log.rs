//! The logs of the reference: which requests were served, in order.

use interloom_engine::Event;
use serde_json::Value as Json;

use super::run::Served;

/// Reads a log of served requests, of the version that is named.
pub(super) fn read_log(text: &str, version: &str) -> Result<Vec<Served>, String> {
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
    if event == Event::Barrier {
        return Some((mediator(&line[1])?, event, String::new()));
    }
    // What the reference calls a skip's place is the module's input.
    let site = line[2][1].as_str()?.replace(".skip", ".input");
    let site = site.strip_prefix("model.").unwrap_or(&site);
    Some((
        mediator(&line[1])?,
        event,
        format!("{site}.i{}", line[2][2]),
    ))
}

/// `["handle", M, event, requester, provider, "served"]`; a child has its parent's name with an iteration behind it.
fn entry_of_threads(line: &Json) -> Option<Served> {
    let event = event(line[2].as_str()?)?;
    if line[0] != "handle" || line[5] != "served" {
        return None;
    }
    let site = line[3].as_str()?;
    let site = site.strip_prefix("model.").unwrap_or(site);
    Some((mediator(&line[1])?, event, site.to_owned()))
}

fn event(name: &str) -> Option<Event> {
    Event::ALL.into_iter().find(|event| event.name() == name)
}

fn mediator(name: &Json) -> Option<u32> {
    let name = name.as_str()?.strip_prefix('m')?;
    name.split('.').next()?.parse().ok()
}
