//! The export as JSON lines: one object for each frame.

use std::io::{Read, Write};

use serde_json::{Value, json};

use super::{Exported, Out, Selection, next_record};
use crate::error::JournalError;
use crate::fault;
use crate::names::Names;
use crate::read::{FrameInfo, JournalReader};
use crate::record::{OriginRecord, PaddingRecord, Record};

/// Writes one line of JSON for each frame of a journal, from its head on; of exchanges, those
/// selected.
///
/// Each object has `sequence` and `offset` of the frame and its `kind`. Of a tensor it has the
/// digest, type and shape, not the elements. `name` is what errors call the output.
///
/// # Errors
/// Those of [`JournalReader`] but E065 after the head, which [`Exported::torn`] has, E061 if the
/// output cannot be written, and E072 if a selected site is not in the journal.
pub fn json_lines<R: Read, W: Write>(
    mut reader: JournalReader<R>,
    mut selection: Selection,
    sink: &mut W,
    name: &str,
) -> Result<Exported, JournalError> {
    let mut out = Out::new(sink, name);
    let mut names = Names::default();
    let mut exported = Exported::default();
    let journal = reader.name().to_owned();
    while let Some((info, record)) = next_record(&mut reader, &mut exported.torn)? {
        names.see(&record);
        if let Record::Exchange(exchange) = &record
            && !selection.takes(&names, exchange)
        {
            continue;
        }
        out.put(line(info, &record, &names).to_string().as_bytes())?;
        out.put(b"\n")?;
        exported.items += 1;
    }
    selection.check(&journal, &names)?;
    out.flush()?;
    Ok(exported)
}

fn line(info: FrameInfo, record: &Record, names: &Names) -> Value {
    let (kind, content) = content(record, names);
    let mut line = json!({
        "sequence": info.sequence,
        "offset": info.offset,
        "kind": kind,
    });
    if let (Value::Object(line), Value::Object(content)) = (&mut line, content) {
        line.extend(content);
    }
    line
}

fn content(record: &Record, names: &Names) -> (&'static str, Value) {
    // Records with named fields serialise to JSON: they have no numbers that JSON lacks but floats
    // in arguments, which become null there.
    let plain = |record: serde_json::Result<Value>| record.unwrap_or(Value::Null);
    match record {
        Record::Head(head) => ("head", json!({ "head": plain(serde_json::to_value(head)) })),
        Record::RunStart(start) => ("run start", plain(serde_json::to_value(start))),
        Record::Path(path) => ("path", json!({ "id": path.id, "path": path.text })),
        Record::Exchange(exchange) => ("exchange", names.json(exchange)),
        Record::Open(open) => ("open request", names.json(open)),
        Record::Visit(visit) => ("visit", names.visit_json(visit)),
        Record::CacheDeclaration(cache) => (
            "cache declaration",
            json!({
                "run": cache.run,
                "mediator": names.mediator(cache.mediator),
                "cache": cache.number,
                "modules": cache.modules,
                "inputs": cache.inputs,
                "outputs": cache.outputs,
                "gradients": cache.gradients,
                "fault": cache.fault.as_ref().map(fault::json),
            }),
        ),
        Record::Padding(PaddingRecord { run, padding }) => (
            "padding",
            json!({ "run": run, "side": padding.side().name(), "lengths": padding.lengths() }),
        ),
        Record::Source(source) => {
            let OriginRecord { file, line } = &source.origin;
            (
                "source",
                json!({ "id": source.id, "file": &**file, "line": line }),
            )
        }
        Record::Tensor(tensor) => (
            "tensor",
            json!({
                "digest": tensor.digest,
                "dtype": tensor.dtype.name(),
                "shape": tensor.shape,
                "bytes": tensor.bytes.len(),
            }),
        ),
        Record::RunEnd(end) => ("run end", plain(serde_json::to_value(end))),
        Record::Footer(footer) => ("footer", plain(serde_json::to_value(footer))),
        Record::Note(note) => ("note", plain(serde_json::to_value(note))),
        Record::Tick(tick) => ("tick", plain(serde_json::to_value(tick))),
        // Its values are for forks; here they would be most of the file.
        Record::Passage(passage) => (
            "passage",
            json!({
                "run": passage.run,
                "points": passage.points.len(),
                "passings": passage.passings.len(),
                "calls": passage.calls.len(),
            }),
        ),
    }
}
