//! A trace for viewers such as Perfetto and `chrome://tracing`.

use std::io::{Read, Write};

use serde_json::{Value, json};

use super::{Exported, Out, Selection, next_record};
use crate::error::JournalError;
use crate::names::Names;
use crate::read::JournalReader;
use crate::record::{ExchangeRecord, Record, RunStart, Visit};

/// Writes the exchanges of a journal, from its head on as a trace in the Chrome JSON format: a
/// process for each run, a lane for each mediator, and the exchange's index as the time. A backward
/// pass has an instant where it begins and where it ends.
///
/// A journal has no clock; a microsecond in the trace is one exchange. `name` is what errors call
/// the output.
///
/// # Errors
/// As [`json_lines`](super::json_lines()).
pub fn trace<R: Read, W: Write>(
    mut reader: JournalReader<R>,
    mut selection: Selection,
    sink: &mut W,
    name: &str,
) -> Result<Exported, JournalError> {
    let mut out = Out::new(sink, name);
    let mut names = Names::default();
    let mut exported = Exported::default();
    out.put(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
    let (mut separator, mut exchanges) = ("\n", 0);
    let journal = reader.name().to_owned();
    while let Some((_, record)) = next_record(&mut reader, &mut exported.torn)? {
        names.see(&record);
        if let Record::Exchange(exchange) = &record {
            exchanges = exchange.index + 1;
        }
        let events = match &record {
            Record::RunStart(start) => lanes(start),
            Record::Visit(visit) => turn(visit, exchanges, &names).into_iter().collect(),
            Record::Exchange(exchange) if selection.takes(&names, exchange) => {
                exported.items += 1;
                vec![event(exchange, &names)]
            }
            _ => continue,
        };
        for event in events {
            out.put(separator.as_bytes())?;
            out.put(event.to_string().as_bytes())?;
            separator = ",\n";
        }
    }
    selection.check(&journal, &names)?;
    out.put(b"\n]}\n")?;
    out.flush()?;
    Ok(exported)
}

/// The names of a run and of its mediators' lanes. Lanes count from 1: viewers take 0 for another
/// thing.
fn lanes(start: &RunStart) -> Vec<Value> {
    let run = format!("run {} {:?}", start.run, start.name);
    let mut events = vec![json!({
        "ph": "M", "name": "process_name", "pid": start.run, "tid": 0, "args": { "name": run },
    })];
    for (lane, mediator) in (1_u64..).zip(&start.mediators) {
        events.push(json!({
            "ph": "M", "name": "thread_name", "pid": start.run, "tid": lane,
            "args": { "name": mediator.name },
        }));
    }
    events
}

/// The beginning or the end of a backward pass, as an instant before the exchange that comes next.
fn turn(visit: &Visit, exchanges: u64, names: &Names) -> Option<Value> {
    let name = names.turn(visit)?;
    Some(json!({
        "ph": "i",
        "s": "p",
        "name": name,
        "cat": "backward pass",
        "pid": visit.run,
        "tid": 0,
        "ts": exchanges,
        "args": names.visit_json(visit),
    }))
}

fn event(exchange: &ExchangeRecord, names: &Names) -> Value {
    let site = exchange.asked.or(exchange.at).map(|site| names.site(site));
    let site = site.unwrap_or_default();
    let name = format!("{} {site}", exchange.event.name());
    json!({
        "ph": "X",
        "name": name.trim_end(),
        "cat": exchange.event.name(),
        "pid": exchange.run,
        "tid": u64::from(exchange.mediator) + 1,
        "ts": exchange.index,
        "dur": 1,
        "args": names.json(exchange),
    })
}
