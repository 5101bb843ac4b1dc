//! The report of a divergence for people.

use std::fmt;

use interloom_engine::Padding;
use unicode_width::UnicodeWidthStr;

use super::sides::Sides;
use super::{
    Alignment, Divergence, DivergenceClass, DivergenceSide, ExchangeLine, FieldDifference,
    RunIdentity, TensorDifference, ValueSource,
};
use crate::{ExchangeResult, backward, count, plain};

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sides = Sides::of(self);
        self.write_headline(f)?;
        write!(
            f,
            "\n  class: {} ({})",
            self.class.name(),
            meaning(self.class, [&self.recorded, &self.live])
        )?;
        self.write_made(f, &sides)?;
        self.write_exchanges(f, &sides)?;
        for difference in &self.differences {
            write!(f, "\n  {}", field_text(difference, &sides))?;
        }
        if let (Some(tensor), Some(pair)) = (&self.tensor, &self.tensors) {
            let place = if pair.place.is_empty() {
                ""
            } else {
                " at value"
            };
            let text = tensor.text(&sides);
            write!(f, "\n  tensor{place}{}: {text}", pair.place)?;
        }
        for note in self.notes() {
            write!(f, "\n  note: {note}")?;
        }
        for difference in &self.environment {
            write!(f, "\n  environment: {}", difference.text(&sides))?;
        }
        Ok(())
    }
}

impl Divergence {
    fn write_headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, index, run) = (Self::CODE, self.index, &self.run);
        let parted = match &self.journals {
            Some([recorded, live]) => format!("{recorded} and {live} part"),
            None => "replay diverged".to_owned(),
        };
        write!(
            f,
            "error[{code}]: {parted} at exchange {index} (run {run:?}"
        )?;
        if let Some(pass) = self.backward_pass {
            write!(f, ", backward pass {pass}")?;
        }
        if let Some(site) = &self.site {
            write!(f, ", site {}", plain(site))?;
        }
        if let Some(mediator) = &self.mediator {
            write!(f, ", mediator {mediator:?}")?;
        }
        f.write_str(")")
    }

    /// What each side was made with, in a line of its own.
    fn write_made(&self, f: &mut fmt::Formatter<'_>, sides: &Sides) -> fmt::Result {
        let width = sides.names.iter().map(|name| name.width()).max();
        let [recorded, live] = &self.made;
        let each = [(recorded, None), (live, recorded.as_ref())];
        for (name, (made, other)) in sides.names.iter().zip(each) {
            if let Some(made) = made {
                let gap = " ".repeat(width.unwrap_or(0) - name.width());
                write!(f, "\n  {name}: {gap}{}", made_text(made, other))?;
            }
        }
        Ok(())
    }

    fn write_exchanges(&self, f: &mut fmt::Formatter<'_>, sides: &Sides) -> fmt::Result {
        let mut rows: Vec<Row> = self
            .context
            .iter()
            .map(|line| Row::of(" ", line, ""))
            .collect();
        rows.push(Row::of_side(
            "-",
            self.index,
            &self.recorded,
            &sides.marks[0],
        ));
        rows.push(Row::of_side("+", self.index, &self.live, &sides.marks[1]));
        let following = self.following.iter();
        rows.extend(following.map(|line| Row::of(" ", line, &sides.next)));
        write_rows(f, &rows)
    }

    /// What follows from the facts, in sentences.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let is_of_value = matches!(
            self.class,
            DivergenceClass::Value | DivergenceClass::Environment
        );
        if let (true, Some(source)) = (is_of_value, self.source) {
            notes.push(self.source_note(source));
        }
        notes.extend(
            self.alignment
                .map(|alignment| self.alignment_note(alignment)),
        );
        notes
    }

    fn alignment_note(&self, alignment: Alignment) -> String {
        let (count, how) = match alignment {
            Alignment::Missing(count) => (count, "left out"),
            Alignment::Extra(count) => (count, "added"),
        };
        let exchanges = if count == 1 { "exchange" } else { "exchanges" };
        let later = match (alignment, &self.journals) {
            (Alignment::Missing(_), Some([a, b])) => {
                format!("what {b} has here comes {count} {exchanges} later in {a}")
            }
            (Alignment::Extra(_), Some([a, b])) => {
                format!("what {a} has here comes {count} {exchanges} later in {b}")
            }
            (Alignment::Missing(_), None) => {
                format!("what this run did here was recorded {count} {exchanges} later")
            }
            (Alignment::Extra(_), None) => {
                format!("what was recorded here came {count} {exchanges} later in this run")
            }
        };
        format!("{later} -> exchanges were {how}, or made in another order")
    }

    fn source_note(&self, source: ValueSource) -> String {
        let mediator = self.mediator.as_deref().unwrap_or("?");
        match source {
            ValueSource::Model => {
                "the schedules and all exchanges before it are equal -> the model's own arithmetic, or its input, differs"
                    .to_owned()
            }
            ValueSource::Loss => {
                "the schedules and all exchanges before it are equal -> what the model put out, or the code that makes a loss \
                 of it, differs"
                    .to_owned()
            }
            ValueSource::Mediator { last_served: Some(index) } => format!(
                "the schedules are equal up to here, and so is the value last served to {mediator:?} (exchange {index}) \
                 -> the mediator's own arithmetic differs"
            ),
            ValueSource::Mediator { last_served: None } => format!(
                "{mediator:?} was served no value before -> what it brings with it differs"
            ),
        }
    }
}

fn meaning(class: DivergenceClass, sides: [&DivergenceSide; 2]) -> &'static str {
    let is_padding = |side: &&DivergenceSide| matches!(side, DivergenceSide::Padding(_));
    let recorded = sides[0];
    match class {
        DivergenceClass::Value if sides.iter().any(is_padding) => {
            "the rows of the batch are padded otherwise"
        }
        DivergenceClass::Value if matches!(recorded, DivergenceSide::RunEnd { .. }) => {
            "a cache collected another value"
        }
        DivergenceClass::Value
            if matches!(recorded, DivergenceSide::Visit { turn: Some(_), .. }) =>
        {
            "the code around the model gave another loss"
        }
        DivergenceClass::Value if matches!(recorded, DivergenceSide::Visit { .. }) => {
            "the model brought another value"
        }
        DivergenceClass::Schedule => "another mediator or another site came next",
        DivergenceClass::Protocol => "something else was done, or the answer was another one",
        DivergenceClass::Value => "the same exchange carried another value",
        DivergenceClass::Environment => "a value differs, and so does what values are made from",
    }
}

/// How much of a schedule is shown; that of a recorded order has all its choices.
const SCHEDULE_CHARACTERS_SHOWN: usize = 40;

/// `head b3:0123456789ab, device cpu, schedule in-order`, where what `other` has otherwise is
/// marked.
fn made_text(made: &RunIdentity, other: Option<&RunIdentity>) -> String {
    let fields = |made: &RunIdentity| {
        [
            ("head", made.id.to_string(), made.id.short()),
            ("device", made.device.clone(), plain(&made.device)),
            ("schedule", made.schedule.clone(), shortened(&made.schedule)),
        ]
    };
    let others = other.map(fields);
    let mut parts = Vec::new();
    for (place, (what, whole, shown)) in fields(made).into_iter().enumerate() {
        let other = others.as_ref().map_or("", |others| &others[place].1);
        let is_another = !other.is_empty() && other != whole;
        // Before a run has started nothing is known of its schedule.
        if !whole.is_empty() {
            let mark = if is_another { " (another)" } else { "" };
            parts.push(format!("{what} {shown}{mark}"));
        }
    }
    parts.join(", ")
}

fn shortened(schedule: &str) -> String {
    let schedule = plain(schedule);
    match schedule.char_indices().nth(SCHEDULE_CHARACTERS_SHOWN) {
        Some((end, _)) => format!("{}…", &schedule[..end]),
        None => schedule,
    }
}

impl fmt::Display for TensorDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&Sides::replay()))
    }
}

impl TensorDifference {
    fn text(&self, sides: &Sides) -> String {
        let mut text = format!(
            "{} of {} elements differ, first at {:?}: {}",
            self.differing,
            self.elements,
            self.first,
            sides.both(&self.first_recorded, &self.first_live)
        );
        if let Some(distance) = self.ulp_max {
            text.push_str(&format!("; at most {distance} ulp apart"));
        }
        if let Some(relative) = self.relative_max {
            text.push_str(&format!(" ({relative:.1e} relative)"));
        }
        if self.not_numbers > 0 {
            let count = self.not_numbers;
            text.push_str(&format!("; {count} not a number on one side"));
        }
        text
    }
}

fn field_text(difference: &FieldDifference, sides: &Sides) -> String {
    let FieldDifference {
        field,
        recorded,
        live,
    } = difference;
    let (recorded, live) = (plain(recorded), plain(live));
    if recorded == live {
        return format!("{field}: {recorded}");
    }
    format!("{field}: {}", sides.both(&recorded, &live))
}

/// One line of the list of exchanges: columns that are aligned with those of the other lines.
struct Row {
    mark: &'static str,
    index: String,
    columns: [String; 3],
    rest: String,
    remark: String,
}

impl Row {
    fn of(mark: &'static str, line: &ExchangeLine, remark: &str) -> Self {
        Self {
            mark,
            index: line.index.to_string(),
            columns: [
                line.event.name().to_owned(),
                plain(&line.mediator),
                sites(line),
            ],
            rest: carried(line),
            remark: remark.to_owned(),
        }
    }

    fn of_side(mark: &'static str, index: u64, side: &DivergenceSide, remark: &str) -> Self {
        let rest = match side {
            DivergenceSide::Exchange(line) | DivergenceSide::Open(line) => {
                return Self::of(mark, line, remark);
            }
            DivergenceSide::CacheDeclaration {
                mediator,
                number,
                fault,
            } => {
                let cache = format!("cache {number} of {}", plain(mediator));
                match fault {
                    Some(fault) => {
                        let (code, reason) = (fault.code(), plain(&fault.to_string()));
                        format!("{cache} is refused: {code}: {reason}")
                    }
                    None => format!("{cache} is declared"),
                }
            }
            DivergenceSide::Padding(padding) => {
                format!("the batch has {}", Padding::describe(Some(padding)))
            }
            DivergenceSide::RunStart { name, mediators } => {
                format!("run {name:?} starts, with {mediators:?}")
            }
            DivergenceSide::Visit {
                site,
                backward_pass,
                turn,
                passed,
                value,
            } => {
                let phase = backward::phase(*backward_pass, *turn);
                let moves = match (turn, backward_pass) {
                    (Some(_), _) => phase,
                    (None, None) => format!("the model comes to {}", site_text(site)),
                    (None, Some(_)) => format!("the model comes to {} {phase}", site_text(site)),
                };
                let value = match (value, turn) {
                    (None, _) => String::new(),
                    (Some(loss), Some(_)) => format!(" with the loss {loss}"),
                    (Some(value), None) => format!(" with {value}"),
                };
                format!("{moves}{value}, after {}", count(*passed, "point"))
            }
            DivergenceSide::RunEnd {
                outcome,
                code: None,
            } => format!("the run ends: {outcome:?}"),
            DivergenceSide::RunEnd {
                outcome,
                code: Some(code),
            } => {
                format!("the run ends: {outcome:?} ({})", plain(code))
            }
            DivergenceSide::Nothing => "nothing more".to_owned(),
        };
        Self {
            mark,
            index: index.to_string(),
            columns: Default::default(),
            rest,
            remark: remark.to_owned(),
        }
    }

    /// A row without an exchange: its text starts where the columns do.
    fn is_text(&self) -> bool {
        self.columns.iter().all(String::is_empty)
    }
}

fn write_rows(f: &mut fmt::Formatter<'_>, rows: &[Row]) -> fmt::Result {
    let width =
        |text: fn(&Row) -> &str| rows.iter().map(|row| text(row).width()).max().unwrap_or(0);
    let index_width = width(|row| &row.index);
    let widths = [
        width(|row| &row.columns[0]),
        width(|row| &row.columns[1]),
        width(|row| &row.columns[2]),
    ];
    for row in rows {
        let mut text = format!("  {} {:>index_width$}", row.mark, row.index);
        if !row.is_text() {
            for (column, width) in row.columns.iter().zip(widths) {
                text.push_str("  ");
                text.push_str(column);
                text.push_str(&" ".repeat(width - column.width()));
            }
        }
        for part in [&row.rest, &row.remark] {
            if !part.is_empty() {
                text.push_str("  ");
                text.push_str(part);
            }
        }
        write!(f, "\n{}", text.trim_end())?;
    }
    Ok(())
}

/// The site asked for, and the site at hand where that is another.
fn sites(line: &ExchangeLine) -> String {
    match (&line.asked, &line.at) {
        (Some(asked), Some(at)) if asked != at => format!("{} at {}", plain(asked), plain(at)),
        (Some(site), _) => plain(site),
        (None, Some(at)) => format!("at {}", plain(at)),
        (None, None) => String::new(),
    }
}

fn site_text(site: &Option<String>) -> String {
    plain(site.as_deref().unwrap_or("a point without a name"))
}

fn carried(line: &ExchangeLine) -> String {
    let mut parts = Vec::new();
    match line.result {
        ExchangeResult::Served => {}
        ExchangeResult::Refused => parts.push("refused".to_owned()),
        ExchangeResult::Open => parts.push("still open".to_owned()),
    }
    if let Some(fault) = &line.fault {
        parts.push(format!("{}: {}", fault.code(), plain(&fault.to_string())));
    }
    parts.extend(line.value.as_ref().map(ToString::to_string));
    parts.join("  ")
}
