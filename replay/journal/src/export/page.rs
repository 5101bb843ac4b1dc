//! A page for browsers that shows a journal: one file, which loads nothing.
//!
//! The page is `page/page.html` with the style, the script, and the journal as JSON in it. Whatever
//! a journal says is data to the script, which puts it into the page as text; in the JSON no
//! character is left that could end the element around it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::statistics::Statistics;
use super::{Exported, Out, Selection, next_record};
use crate::digest::Digest;
use crate::error::JournalError;
use crate::index::Frames;
use crate::names::{Names, plain};
use crate::read::JournalReader;
use crate::record::{ExchangeRecord, Head, Record, RunEndRecord, RunStart};
use crate::value::{TensorLine, ValueTree};

/// The number of exchanges that a page shows by default; browsers stay quick with so many.
pub const PAGE_EXCHANGES_DEFAULT: usize = 5000;

/// How many characters of a name, message or value are shown.
const TEXT_CHARACTERS: usize = 1000;
/// How many mediators of a run get a lane before they have done anything.
const LANES_DECLARED: usize = 256;
/// How many tensors of one value are shown.
const TENSORS_SHOWN: usize = 8;

/// The page, with a mark where each of its parts stands.
const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Writes a journal as one HTML page: for each run a lane for each mediator, and a row for each
/// site in the order in which the model passed them.
///
/// The first `limit` of the selected exchanges are shown, and the page says how many are not.
/// `name` is what errors call the output. The same journal gives the same bytes.
///
/// # Errors
/// Those of [`JournalReader`], E061 if the output cannot be written, and E072 if a selected site is
/// not in the journal.
pub fn page<R: Read + Seek, W: Write>(
    mut reader: JournalReader<R>,
    mut selection: Selection,
    limit: usize,
    sink: &mut W,
    name: &str,
) -> Result<Exported, JournalError> {
    let journal = reader.name().to_owned();
    let mut names = Names::default();
    let mut tensors = PageTensors::default();
    let mut shown = Shown::new(limit);
    let mut torn = None;
    while let Some((info, record)) = next_record(&mut reader, &mut torn)? {
        names.see(&record);
        match &record {
            Record::RunStart(start) => shown.start_run(start),
            Record::RunEnd(end) => shown.end_run(end),
            Record::Tensor(tensor) => tensors.keep(tensor.digest, info.offset),
            Record::Exchange(exchange) => {
                let takes = selection.takes(&names, exchange);
                if shown.take(&names, exchange, takes) {
                    tensors.want(exchange);
                }
            }
            _ => {}
        }
    }
    selection.check(&journal, &names)?;
    let title = file_name(&journal);
    let facts = shown.facts(reader.head());
    let tensors = tensors.statistics(reader)?;
    let data = json!({
        "kind": "journal",
        "title": title,
        "facts": facts,
        "left_out": shown.left_out(),
        "runs": shown.runs.iter().map(PageRun::json).collect::<Vec<_>>(),
        "items": shown.items,
        "tensors": tensors,
    });
    write_page(sink, name, &title, &data)?;
    Ok(Exported {
        items: shown.items.len() as u64,
        torn,
    })
}

/// Writes the page around `data`; `title` is plain text.
pub(crate) fn write_page<W: Write>(
    sink: &mut W,
    name: &str,
    title: &str,
    data: &Value,
) -> Result<(), JournalError> {
    let mut out = Out::new(sink, name);
    let parts = [
        ("{title}", in_markup(title)),
        ("{style}", STYLE.to_owned()),
        ("{data}", in_script(data)),
        ("{script}", SCRIPT.to_owned()),
    ];
    let mut rest = PAGE;
    for (mark, text) in parts {
        // What was put in is not looked at again: a title that looks like a mark stays a title.
        let (before, after) = rest.split_once(mark).unwrap_or((rest, ""));
        out.put(before.as_bytes())?;
        out.put(text.as_bytes())?;
        rest = after;
    }
    out.put(rest.as_bytes())?;
    out.flush()
}

/// The last part of a path, so that a page does not depend on where its journal lies.
pub(crate) fn file_name(path: &str) -> String {
    let name = Path::new(path).file_name();
    plain(&name.map_or_else(|| path.into(), |name| name.to_string_lossy()))
}

/// Text for between tags.
pub(crate) fn in_markup(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// JSON for within a script element: nothing in it can end that element or begin a comment.
fn in_script(data: &Value) -> String {
    let text = data.to_string();
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            // They stand in strings only, where this is the same character.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// What a page shows of a journal.
struct Shown {
    limit: usize,
    items: Vec<Value>,
    runs: Vec<PageRun>,
    /// How many exchanges were selected.
    selected: u64,
    /// How many exchanges there are.
    exchanges: u64,
    runs_seen: u64,
}

/// A run with its lanes.
struct PageRun {
    run: u32,
    title: String,
    /// The lane of each mediator, by position.
    lanes: BTreeMap<u32, usize>,
    mediators: Vec<Value>,
}

impl Shown {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            items: Vec::new(),
            runs: Vec::new(),
            selected: 0,
            exchanges: 0,
            runs_seen: 0,
        }
    }

    fn start_run(&mut self, start: &RunStart) {
        self.runs_seen += 1;
        if self.items.len() < self.limit && self.runs.len() < self.limit {
            self.runs.push(PageRun::new(start));
        }
    }

    fn end_run(&mut self, end: &RunEndRecord) {
        if let Some(run) = self.runs.last_mut().filter(|run| run.run == end.run) {
            run.title = run_title(&run.title, end);
        }
    }

    /// Takes an exchange if it is selected and there is room.
    fn take(&mut self, names: &Names, exchange: &ExchangeRecord, is_selected: bool) -> bool {
        self.exchanges += 1;
        self.selected += u64::from(is_selected);
        let run = self
            .runs
            .last_mut()
            .filter(|run| run.run == exchange.run && is_selected && self.items.len() < self.limit);
        let Some(run) = run else {
            return false;
        };
        let lane = run.lane(names, exchange.mediator);
        let mut item = item(names, exchange);
        item.insert("lane".to_owned(), json!(lane));
        self.items.push(Value::Object(item));
        true
    }

    fn facts(&self, head: &Head) -> Vec<Value> {
        let mut facts = head_facts(head);
        facts.push(json!(["exchanges", self.exchanges]));
        facts.push(json!(["runs", self.runs_seen]));
        facts
    }

    fn left_out(&self) -> Option<String> {
        let exchanges = self.selected - self.items.len() as u64;
        let runs = self.runs_seen - self.runs.len() as u64;
        (exchanges > 0 || runs > 0).then(|| {
            format!(
                "This page has the first {} exchanges and leaves out {exchanges} more, and {runs} later runs. \
                 `interloom export --limit N` shows more, `--site SITE` others.",
                self.items.len()
            )
        })
    }
}

impl PageRun {
    fn new(start: &RunStart) -> Self {
        let mut run = Self {
            run: start.run,
            title: format!("{}: {}", start.run, cut(&start.name)),
            lanes: BTreeMap::new(),
            mediators: Vec::new(),
        };
        for (position, mediator) in (0..).zip(start.mediators.iter().take(LANES_DECLARED)) {
            let mut title = Vec::new();
            if let Some((first, count)) = mediator.rows {
                title.push(format!("{count} rows of the batch from row {first}"));
            }
            if mediator.optional {
                title.push("optional".to_owned());
            }
            run.add_lane(position, &mediator.name, &title.join(", "));
        }
        run
    }

    fn add_lane(&mut self, position: u32, name: &str, title: &str) -> usize {
        let lane = self.mediators.len();
        self.lanes.insert(position, lane);
        self.mediators
            .push(json!({ "name": cut(name), "title": title }));
        lane
    }

    fn lane(&mut self, names: &Names, position: u32) -> usize {
        match self.lanes.get(&position) {
            Some(lane) => *lane,
            None => self.add_lane(position, &names.mediator(position), ""),
        }
    }

    fn json(&self) -> Value {
        json!({ "run": self.run, "title": self.title, "mediators": self.mediators })
    }
}

/// A run's name with how it ended.
fn run_title(title: &str, end: &RunEndRecord) -> String {
    let code = end.outcome.code();
    let code = code.map_or_else(String::new, |code| format!(" {}", cut(code)));
    format!("{title} ({}{code})", cut(&end.outcome.to_string()))
}

/// What the head of a journal says to people, as pairs of name and text.
fn head_facts(head: &Head) -> Vec<Value> {
    let model = head.model.as_ref();
    let model = model.map(|model| format!("{} {}", cut(&model.name), model.digest.short()));
    vec![
        json!(["experiment", cut(&head.experiment.name)]),
        json!(["model", model]),
        json!(["device", cut(&head.device)]),
        json!(["arithmetic", cut(&head.arithmetic)]),
        json!(["schedule", cut(&head.schedule)]),
        json!(["keeps", head.policy.to_string()]),
        json!(["recorded by", format!("interloom {}", cut(&head.version))]),
    ]
}

/// An exchange as the script knows it.
fn item(names: &Names, exchange: &ExchangeRecord) -> Map<String, Value> {
    let site = |site: Option<_>| site.map(|site| cut(&names.site(site)));
    let fault = exchange.fault.as_ref();
    let fault = fault.map(|fault| cut(&format!("{}: {fault}", fault.code())));
    let origin = exchange.origin.as_ref();
    let origin = origin.map(|origin| format!("{}:{}", cut(&origin.file), origin.line));
    let value = exchange.value.as_ref().map(|value| cut(&value.to_string()));
    let mut tensors = Vec::new();
    let count = exchange
        .value
        .as_ref()
        .map_or(0, |value| walk(&mut String::new(), value, &mut tensors));
    let fields = [
        ("index", json!(exchange.index)),
        ("run", json!(exchange.run)),
        ("event", json!(exchange.event.name())),
        ("asked", json!(site(exchange.asked))),
        ("at", json!(site(exchange.at))),
        ("phase", json!(names.phase())),
        ("result", json!(exchange.result.name())),
        ("fault", json!(fault)),
        ("value", json!(value)),
        ("origin", json!(origin)),
        ("more_tensors", json!(count - tensors.len())),
        ("tensors", json!(tensors)),
    ];
    let fields = fields.into_iter();
    fields.map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Gathers the first tensors of a value with their places in it, and counts all of them.
fn walk(place: &mut String, value: &ValueTree, tensors: &mut Vec<Value>) -> usize {
    match value {
        ValueTree::Leaf(TensorLine {
            dtype,
            shape,
            digest,
        }) => {
            if tensors.len() < TENSORS_SHOWN {
                tensors.push(json!({
                    "place": cut(place), "dtype": dtype.name(), "shape": shape, "digest": digest,
                }));
            }
            1
        }
        ValueTree::Tuple(items) | ValueTree::List(items) => {
            let items = items.iter().enumerate();
            let counts = items.map(|(at, item)| walk_in(place, &format!("[{at}]"), item, tensors));
            counts.sum()
        }
        ValueTree::Map(entries) => {
            let entries = entries.iter();
            let counts =
                entries.map(|(key, item)| walk_in(place, &format!(".{key}"), item, tensors));
            counts.sum()
        }
        _ => 0,
    }
}

fn walk_in(place: &mut String, step: &str, value: &ValueTree, tensors: &mut Vec<Value>) -> usize {
    let length = place.len();
    place.push_str(step);
    let count = walk(place, value, tensors);
    place.truncate(length);
    count
}

/// The beginning of a text, with control characters written out.
fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARACTERS) {
        None => plain(text),
        Some((end, _)) => format!("{}… ({} bytes)", plain(&text[..end]), text.len()),
    }
}

/// The tensors that a page shows figures of.
#[derive(Default)]
struct PageTensors {
    /// Where the frame of each tensor of the journal starts.
    kept: BTreeMap<Digest, u64>,
    /// Those that exchanges on the page name.
    wanted: Vec<Digest>,
}

impl PageTensors {
    fn keep(&mut self, digest: Digest, offset: u64) {
        self.kept.entry(digest).or_insert(offset);
    }

    fn want(&mut self, exchange: &ExchangeRecord) {
        let mut left = TENSORS_SHOWN;
        if let Some(value) = &exchange.value {
            value.for_each_leaf(&mut |tensor| {
                if left > 0 {
                    self.wanted.push(tensor.digest);
                    left -= 1;
                }
            });
        }
    }

    /// The figures of each wanted tensor that the journal keeps, by its digest; one tensor is in
    /// memory at a time.
    fn statistics<R: Read + Seek>(
        mut self,
        reader: JournalReader<R>,
    ) -> Result<Map<String, Value>, JournalError> {
        let mut frames = Frames::new(reader.into_parts());
        self.wanted.sort_unstable();
        self.wanted.dedup();
        let mut statistics = Map::new();
        for digest in &self.wanted {
            if let Some(offset) = self.kept.get(digest) {
                let tensor = frames.tensor(*offset)?;
                statistics.insert(digest.to_string(), Statistics::of(&tensor).json());
            }
        }
        Ok(statistics)
    }
}

/// Some exchanges of a journal, for a page of two.
pub(crate) struct PageItems {
    /// Each as the script knows it, by index.
    pub(crate) items: BTreeMap<u64, Value>,
    /// The figures of their tensors, by digest.
    pub(crate) tensors: Map<String, Value>,
    /// The name of each run that they are of.
    pub(crate) runs: BTreeMap<u32, String>,
    /// What the journal's head says to people.
    pub(crate) facts: Vec<Value>,
}

impl PageItems {
    /// Reads the exchanges of these indices, as far as the journal is good.
    pub(crate) fn read(path: &Path, wanted: &BTreeSet<u64>) -> Result<Self, JournalError> {
        let mut reader = JournalReader::open(path)?;
        let mut page = Self {
            items: BTreeMap::new(),
            tensors: Map::new(),
            runs: BTreeMap::new(),
            facts: head_facts(reader.head()),
        };
        let (mut names, mut tensors) = (Names::default(), PageTensors::default());
        let mut run = String::new();
        while let Ok(Some((info, record))) = reader.next_record() {
            names.see(&record);
            match &record {
                Record::RunStart(start) => run = format!("{}: {}", start.run, cut(&start.name)),
                Record::Tensor(tensor) => tensors.keep(tensor.digest, info.offset),
                Record::Exchange(exchange) if wanted.contains(&exchange.index) => {
                    let mut item = item(&names, exchange);
                    let mediator = cut(&names.mediator(exchange.mediator));
                    item.insert("mediator".to_owned(), json!(mediator));
                    page.items.insert(exchange.index, Value::Object(item));
                    page.runs.entry(exchange.run).or_insert_with(|| run.clone());
                    tensors.want(exchange);
                }
                _ => {}
            }
        }
        page.tensors = tensors.statistics(reader)?;
        Ok(page)
    }
}
