//! The texts that the numbers in exchanges stand for, and exchanges as lines of text and as JSON.

use interloom_engine::Round;
use serde_json::{Value, json};

use super::backward::{self, Passes};
use super::fault;
use super::record::{
    BackwardTurn, ExchangeRecord, ExchangeResult, OriginRecord, Record, RunStart, SiteRef, Visit,
};
use super::value::{TensorLine, ValueTree};

/// The paths of a journal and the mediators of its current run, gathered while it is read.
#[derive(Clone, Debug, Default)]
pub struct Names {
    paths: Vec<String>,
    sources: Vec<OriginRecord>,
    mediators: Vec<String>,
    /// The backward passes of the current run, as far as its visits were seen.
    passes: Passes,
}

impl Names {
    /// Takes the names that a record brings, if any.
    pub fn see(&mut self, record: &Record) {
        match record {
            Record::Path(path) => self.add_path(path.id, &path.text),
            Record::RunStart(start) => self.start_run(start),
            Record::Source(source) => self.sources.push(source.origin.clone()),
            Record::Visit(visit) => drop(self.passes.visit(visit.backward)),
            _ => {}
        }
    }

    /// Takes the mediators of a run.
    pub fn start_run(&mut self, start: &RunStart) {
        let names = start.mediators.iter().map(|line| line.name.clone());
        self.mediators = names.collect();
        self.passes = Passes::default();
    }

    /// Takes the text of a path.
    pub fn add_path(&mut self, id: u32, text: &str) {
        // Numbers come without gaps; a later text for a known number replaces the first.
        let id = id as usize;
        if id < self.paths.len() {
            self.paths[id] = text.to_owned();
        } else if id == self.paths.len() {
            self.paths.push(text.to_owned());
        }
    }

    /// Returns the name of a mediator, or `#` and its position.
    pub fn mediator(&self, position: u32) -> String {
        match self.mediators.get(position as usize) {
            Some(name) => name.clone(),
            None => format!("#{position}"),
        }
    }

    /// Returns the text of a path.
    pub fn path(&self, id: u32) -> Option<&str> {
        self.paths.get(id as usize).map(String::as_str)
    }

    /// The lines of source, by number.
    pub(super) fn sources(&self) -> &[OriginRecord] {
        &self.sources
    }

    /// What the model passed up to a site, as JSON.
    pub(super) fn visit_json(&self, visit: &Visit) -> Value {
        let passed = visit.passed.iter();
        json!({
            "run": visit.run,
            "passed": passed.map(|path| self.path(*path)).collect::<Vec<_>>(),
            "iteration": visit.brought.as_ref().map(|brought| brought.iteration),
            "value": visit.value().map(value_json),
            "backward_pass": self.passes.of(visit.backward),
            "backward": visit.backward.map(BackwardTurn::name),
        })
    }

    /// Returns the beginning or the end of a backward pass in words, with the loss that the code
    /// around the model gave; `None` of a visit that is neither. The visit is the last that was
    /// [seen](Self::see).
    pub fn turn(&self, visit: &Visit) -> Option<String> {
        let phase = backward::phase(self.passes.of(visit.backward), Some(visit.backward?));
        let loss = visit.value();
        let loss = loss.map_or_else(String::new, |loss| format!(" with the loss {loss}"));
        Some(format!("{phase}{loss}"))
    }

    /// Returns the backward pass under way in words, after the last visit that was
    /// [seen](Self::see); `None` in a forward pass.
    pub(super) fn phase(&self) -> Option<String> {
        let pass = self.passes.under_way()?;
        Some(backward::phase(Some(pass), None))
    }

    /// Returns the paths, by number.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Returns the mediators of the current run, by position.
    pub fn mediators(&self) -> &[String] {
        &self.mediators
    }

    /// Returns a site as text, such as `layers.3.attn.output.i0`.
    pub fn site(&self, site: SiteRef) -> String {
        match self.path(site.path) {
            Some(path) => format!("{path}.i{}", site.iteration),
            None => format!("path {}.i{}", site.path, site.iteration),
        }
    }

    /// Returns whether `text` names a site: in full (`layers.3.attn.output.i0`), in all iterations
    /// (`layers.3.attn.output`), or at every port (`layers.3.attn`); that of a gradient with `grad`
    /// (`layers.3.attn.output.grad.i0`, `layers.3.attn.grad`).
    pub fn is_site(&self, site: SiteRef, text: &str) -> bool {
        let Some(path) = self.path(site.path) else {
            return false;
        };
        let Some(value) = path.strip_suffix(".grad") else {
            return is_point(path, site.iteration, text);
        };
        let of_value = text.rsplit_once(".grad");
        of_value
            .is_some_and(|(start, end)| is_point(value, site.iteration, &format!("{start}{end}")))
    }

    /// Returns an exchange as one line: number, run, event, mediator, site, what became of it,
    /// value.
    pub fn text(&self, exchange: &ExchangeRecord) -> String {
        let mediator = plain(&self.mediator(exchange.mediator));
        let mut text = format!(
            "{:>6}  run {}  {:<9}  {mediator}",
            exchange.index,
            exchange.run,
            exchange.event.name()
        );
        let parts = [
            plain(&self.place(exchange)),
            outcome(exchange),
            exchange
                .value
                .as_ref()
                .map_or_else(String::new, ValueTree::to_string),
        ];
        for part in parts.iter().filter(|part| !part.is_empty()) {
            text.push_str("  ");
            text.push_str(part);
        }
        text
    }

    /// Returns an exchange as JSON, with all its fields and names in place of numbers.
    pub fn json(&self, exchange: &ExchangeRecord) -> Value {
        let origin = exchange.origin.as_ref();
        json!({
            "index": exchange.index,
            "run": exchange.run,
            "mediator": self.mediator(exchange.mediator),
            "event": exchange.event.name(),
            "asked": exchange.asked.map(|site| self.site(site)),
            "at": exchange.at.map(|site| self.site(site)),
            "result": exchange.result.name(),
            "value": exchange.value.as_ref().map(value_json),
            "reshape": exchange.reshape,
            "loop": round_json(exchange.round),
            "fault": exchange.fault.as_ref().map(fault::json),
            "origin": origin.map(|origin| json!({ "file": &*origin.file, "line": origin.line })),
        })
    }

    /// The site asked for, and the site at hand where that is another.
    fn place(&self, exchange: &ExchangeRecord) -> String {
        match (exchange.asked, exchange.at) {
            (Some(asked), Some(at)) if asked != at => {
                format!("{} at {}", self.site(asked), self.site(at))
            }
            (Some(site), _) => self.site(site),
            (None, Some(at)) => format!("at {}", self.site(at)),
            (None, None) => String::new(),
        }
    }
}

/// Whether `text` names a path in an iteration, in all of them, or with its other ports.
fn is_point(path: &str, iteration: u32, text: &str) -> bool {
    let Some(rest) = strip(path, text) else {
        let found = strip(text, path).and_then(|rest| rest.strip_prefix('i'));
        return found == Some(iteration.to_string().as_str());
    };
    !rest.contains('.')
}

/// What follows `start` and a dot in `text`; nothing if the two are equal.
fn strip<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(start)?;
    if rest.is_empty() || start.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix('.')
}

/// What became of a request, with the fault if there is one.
fn outcome(exchange: &ExchangeRecord) -> String {
    let Some(fault) = &exchange.fault else {
        return exchange.result.name().to_owned();
    };
    let became = match exchange.result {
        ExchangeResult::Refused => "refused",
        ExchangeResult::Served | ExchangeResult::Open => "failed",
    };
    let message = plain(&fault.to_string());
    format!("{became}: {}: {message}", fault.code())
}

/// The loop of a REGISTER, if there is one.
pub(crate) fn round_json(round: Round) -> Value {
    match round {
        Round::Alone => Value::Null,
        Round::Open => json!("open"),
        Round::Until { last } => json!({ "last": last }),
    }
}

/// A value, with the kind named wherever JSON could not tell it.
pub(crate) fn value_json(tree: &ValueTree) -> Value {
    match tree {
        ValueTree::Unit => json!({ "unit": null }),
        ValueTree::Bool(truth) => json!(truth),
        ValueTree::Int(number) => json!(number),
        // JSON has neither infinities nor NaN, and readers may round: the bits say it all.
        ValueTree::Float(number) => {
            json!({ "float": format!("{number:?}"), "bits": format!("{:#018x}", number.to_bits()) })
        }
        ValueTree::Text(text) => json!(&**text),
        ValueTree::Leaf(TensorLine {
            dtype,
            shape,
            digest,
        }) => {
            json!({ "tensor": { "dtype": dtype.name(), "shape": shape, "digest": digest } })
        }
        ValueTree::Tuple(items) => {
            json!({ "tuple": items.iter().map(value_json).collect::<Vec<_>>() })
        }
        ValueTree::List(items) => json!(items.iter().map(value_json).collect::<Vec<_>>()),
        ValueTree::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, entry)| json!([&**key, value_json(entry)]));
            json!({ "map": entries.collect::<Vec<_>>() })
        }
    }
}

/// Returns a number of things, such as `1 run` and `2 runs`.
pub fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// Writes a name or message, which may hold anything, as part of one line: characters are escaped
/// that would control the terminal, break the line, or change the direction of what stands beside
/// them.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            plain.extend(character.escape_debug());
        } else if is_separator(character) || is_of_direction(character) {
            plain.extend(character.escape_unicode());
        } else {
            plain.push(character);
        }
    }
    plain
}

/// Whether a character begins a new line or paragraph without being a control character.
fn is_separator(character: char) -> bool {
    matches!(character, '\u{2028}' | '\u{2029}')
}

/// Whether a character is there only to say in which direction others are written (Unicode's
/// `Bidi_Control`).
fn is_of_direction(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn names() -> Names {
        let mut names = Names::default();
        names.start_run(&samples::run_start(0));
        names.add_path(0, "layers.1.attn.output");
        names.add_path(1, "layers.10.attn.output");
        names.add_path(2, "output");
        names.add_path(3, "layers.1.attn.output.grad");
        names
    }

    #[test]
    fn a_site_is_named_in_full_or_by_its_beginning() {
        let site = SiteRef {
            path: 0,
            iteration: 12,
        };
        let cases = [
            ("layers.1.attn.output.i12", true),
            ("layers.1.attn.output", true),
            ("layers.1.attn", true),
            ("layers.1", false),
            ("layers.1.attn.output.i1", false),
            ("layers.1.attn.output.i", false),
            ("layers.1.attn.output.12", false),
            ("layers.10.attn", false),
            ("", false),
        ];
        for (text, expected) in cases {
            assert_eq!(names().is_site(site, text), expected, "{text}");
        }
        // A gradient is named as its value is, and is none of its value's sites.
        let gradient = SiteRef { path: 3, ..site };
        let cases = [
            ("layers.1.attn.output.grad.i12", true),
            ("layers.1.attn.output.grad", true),
            ("layers.1.attn.grad", true),
            ("layers.1.attn", false),
            ("layers.1.attn.output", false),
            ("layers.1.grad", false),
            ("layers.1.attn.output.grad.i1", false),
            ("layers.1.attn.output.gradient", false),
        ];
        for (text, expected) in cases {
            assert_eq!(names().is_site(gradient, text), expected, "{text}");
        }
        // The root's own ports have no path before them.
        let root = SiteRef { path: 2, ..site };
        assert!(names().is_site(root, "output") && names().is_site(root, ""));
        assert!(!names().is_site(SiteRef { path: 9, ..site }, "output"));
    }

    #[test]
    fn a_name_neither_controls_the_terminal_nor_turns_its_line_around() {
        let cases = [
            ("a\u{1b}[31mb\r\n", r"a\u{1b}[31mb\r\n"),
            ("\u{202e}abc\u{2066}", r"\u{202e}abc\u{2066}"),
            ("\u{200f}\u{61c}\u{9b}", r"\u{200f}\u{61c}\u{9b}"),
            ("a\u{2028}b", r"a\u{2028}b"),
            // Nor is anything else changed.
            (
                "\"e\u{301}\" \\ שלום 👩\u{200d}🔬",
                "\"e\u{301}\" \\ שלום 👩\u{200d}🔬",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn an_exchange_is_one_line_whatever_it_holds() {
        let mut exchange = samples::exchange_with_everything();
        exchange.fault = Some(interloom_engine::Fault::raise("two\nlines"));
        let text = names().text(&exchange);
        insta::assert_snapshot!(text, @r#"   300  run 1  SWAP       steer  layers.10.attn.output.i2 at layers.1.attn.output.i70000  refused: E013: two\nlines  ((), true, -7, -0.0, "é", f32[2] b3:acc346244904, [], {"k": 9223372036854775807})"#);
        assert_eq!(text.lines().count(), 1);
        let json = names().json(&exchange);
        assert_eq!(json["asked"], "layers.10.attn.output.i2");
        assert_eq!(json["value"]["tuple"][1], true);
        assert_eq!(json["fault"]["message"], "two\nlines");
    }

    #[test]
    fn a_backward_pass_begins_and_ends_in_words() {
        let (_, records): (Vec<_>, Vec<_>) =
            samples::read_all(&samples::golden()).0.into_iter().unzip();
        let mut names = Names::default();
        let mut lines = Vec::new();
        for record in records {
            names.see(&record);
            match &record {
                Record::Visit(visit) => lines.extend(names.turn(visit)),
                Record::Exchange(exchange) => {
                    lines.extend(
                        names
                            .phase()
                            .map(|phase| format!("{}  {phase}", names.text(exchange))),
                    );
                }
                _ => {}
            }
        }
        insta::assert_snapshot!(lines.join("\n"), @"
        backward pass 0 begins
            11  run 0  VALUE      read  layers.0.attn.output.grad.i5  served  f32[2] b3:f99b64dba6ed  in backward pass 0
        backward pass 0 ends
        backward pass 1 begins with the loss f32[1] b3:540f18a1cdd3
        backward pass 1 ends
        ");
    }
}
