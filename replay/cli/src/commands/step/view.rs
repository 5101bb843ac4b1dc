//! What is on the screen: made of a journal, then drawn, so that a picture depends on nothing else.

use interloom_journal::{ExchangeRecord, JournalError, ValueTree, plain};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect, Size};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::figures::{self, TENSORS_SHOWN};
use super::lanes::Lanes;
use super::walk::{Mode, Question, Walk, site_of};

/// How tall the lanes are at most, with their frame.
const LANES_HEIGHT: u16 = 10;
/// How wide a mediator's name is at most.
const NAME_WIDTH: usize = 16;
/// The smallest screen on which there is anything to see.
const SMALLEST: Size = Size {
    width: 40,
    height: 12,
};

const HERE: Style = Style::new().add_modifier(Modifier::REVERSED);
const QUIET: Style = Style::new().add_modifier(Modifier::DIM);
const NAME: Style = Style::new().add_modifier(Modifier::BOLD);
const BAD: Style = Style::new().fg(Color::Red);

/// Everything on the screen, as text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    title: String,
    /// The exchanges around the one at hand.
    list: Vec<Row>,
    /// What there is to say of the one at hand: names and texts.
    details: Vec<(&'static str, String)>,
    lanes: Lanes,
    status: String,
    /// A text over everything else.
    over: Option<(&'static str, Vec<String>)>,
}

/// One exchange in the list.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Row {
    is_here: bool,
    is_bad: bool,
    text: String,
}

/// Where things stand on the screen.
struct Places {
    title: Rect,
    list: Rect,
    details: Rect,
    lanes: Rect,
    status: Rect,
}

impl View {
    pub(super) fn of(walk: &mut Walk, size: Size) -> Result<Self, JournalError> {
        let places = Places::of(size);
        let here = walk.here()?;
        let mut view = Self {
            title: title(walk, here.as_ref()),
            list: Vec::new(),
            details: Vec::new(),
            lanes: Lanes::default(),
            status: status(walk),
            over: over(walk),
        };
        if let Some(here) = here {
            view.list = list(walk, inner(places.list).height.into())?;
            view.details = details(walk, &here)?;
            let room = usize::from(inner(places.lanes).width).saturating_sub(NAME_WIDTH + 1);
            view.lanes = Lanes::around(walk, &here, room / 2)?;
        }
        Ok(view)
    }
}

/// How many exchanges the list shows on a screen of this size.
pub(super) fn list_height(size: Size) -> u16 {
    inner(Places::of(size).list).height
}

/// Draws a view.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let area = frame.area();
    if area.width < SMALLEST.width || area.height < SMALLEST.height {
        let text = format!(
            "a screen of {}x{} at least",
            SMALLEST.width, SMALLEST.height
        );
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let places = Places::of(area.as_size());
    frame.render_widget(Line::styled(view.title.as_str(), NAME), places.title);
    draw_list(frame, view, places.list);
    draw_details(frame, view, places.details);
    draw_lanes(frame, view, places.lanes);
    frame.render_widget(Line::raw(view.status.as_str()), places.status);
    if let Some((title, lines)) = &view.over {
        draw_over(frame, title, lines, area);
    }
}

impl Places {
    fn of(size: Size) -> Self {
        let all = Rect::new(0, 0, size.width, size.height);
        let lanes = LANES_HEIGHT.min(size.height / 3).max(3);
        let rows = [
            Constraint::Length(1),
            Constraint::Min(3),
            Constraint::Length(lanes),
            Constraint::Length(1),
        ];
        let [title, middle, lanes, status] = Layout::vertical(rows).areas(all);
        let halves = [Constraint::Percentage(55), Constraint::Percentage(45)];
        let [list, details] = Layout::horizontal(halves).areas(middle);
        Self {
            title,
            list,
            details,
            lanes,
            status,
        }
    }
}

/// What is within the frame of a pane.
fn inner(pane: Rect) -> Rect {
    Block::bordered().inner(pane)
}

fn title(walk: &mut Walk, here: Option<&ExchangeRecord>) -> String {
    let (name, exchanges) = (plain(&walk.name), walk.journal.exchanges());
    let Some(here) = here else {
        return format!("{name}: no exchange");
    };
    let last = exchanges - 1;
    let run = &walk.journal.runs()[here.run as usize].start;
    let (at, number, run) = (here.index, here.run, plain(&run.name));
    format!("{name}: exchange {at} of 0 to {last}, run {number} {run:?}")
}

fn status(walk: &Walk) -> String {
    if let Some(message) = &walk.message {
        return plain(message);
    }
    match &walk.mode {
        Mode::Asking(Question::Number, text) => format!("exchange: {}_", plain(text)),
        Mode::Asking(Question::Search, text) => format!("search: {}_", plain(text)),
        Mode::Walking | Mode::Reading { .. } => {
            "j next  k back  : number  s site  m mediator  e event  / search  w why  ? keys  q quit"
                .to_owned()
        }
    }
}

fn over(walk: &Walk) -> Option<(&'static str, Vec<String>)> {
    match &walk.mode {
        Mode::Reading { title, lines, from } => Some((title, lines[*from..].to_vec())),
        Mode::Walking | Mode::Asking(..) => None,
    }
}

/// So many exchanges around the one at hand, which stays in the middle where there are enough.
fn list(walk: &mut Walk, height: usize) -> Result<Vec<Row>, JournalError> {
    let (at, exchanges) = (walk.at, walk.journal.exchanges());
    let height = height as u64;
    let last = exchanges.saturating_sub(height);
    let first = at.saturating_sub(height / 2).min(last);
    let mut shown = Vec::new();
    for index in first..exchanges.min(first + height) {
        let exchange = walk.journal.exchange(index)?;
        let names = walk.journal.names(&exchange);
        let mediator = plain(&names.mediator(exchange.mediator));
        let site = site_of(&exchange).map(|site| plain(&names.site(site)));
        shown.push((exchange, mediator, site.unwrap_or_default()));
    }
    let widths = shown
        .iter()
        .map(|(_, mediator, _)| mediator.chars().count());
    let width = widths.max().unwrap_or(0).min(NAME_WIDTH);
    let rows = shown.iter().map(|(exchange, mediator, site)| Row {
        is_here: exchange.index == at,
        is_bad: exchange.fault.is_some(),
        text: format!(
            "{:>6} {:<9} {mediator:<width$.width$} {site}",
            exchange.index,
            exchange.event.name()
        ),
    });
    Ok(rows.collect())
}

fn details(
    walk: &mut Walk,
    here: &ExchangeRecord,
) -> Result<Vec<(&'static str, String)>, JournalError> {
    let names = walk.journal.names(here);
    let site = |site| plain(&names.site(site));
    let mut details = vec![
        ("event", here.event.name().to_owned()),
        ("mediator", plain(&names.mediator(here.mediator))),
    ];
    details.extend(here.asked.map(|asked| ("asked", site(asked))));
    details.extend(here.at.map(|at| ("at", site(at))));
    details.push(("result", here.result.name().to_owned()));
    if let Some(fault) = &here.fault {
        details.push(("fault", plain(&format!("{}: {fault}", fault.code()))));
    }
    if let Some(origin) = &here.origin {
        details.push(("origin", plain(&format!("{}:{}", origin.file, origin.line))));
    }
    if let Some(value) = &here.value {
        details.push(("value", plain(&value.to_string())));
        tensors(walk, value, &mut details)?;
    }
    Ok(details)
}

/// The figures of the first tensors of a value.
fn tensors(
    walk: &mut Walk,
    value: &ValueTree,
    details: &mut Vec<(&'static str, String)>,
) -> Result<(), JournalError> {
    let found = figures::tensors(value);
    for (kind, digest) in found.iter().take(TENSORS_SHOWN) {
        details.push(("tensor", format!("{kind} {}", digest.short())));
        match walk.figures.of(digest)? {
            Some(figures) => {
                let lines = figures::lines(&figures);
                let lines = lines.into_iter().chain(figures::histogram(&figures));
                details.extend(lines.map(|text| ("", text)));
            }
            None => details.push(("", "only its digest was kept".to_owned())),
        }
    }
    if found.len() > TENSORS_SHOWN {
        details.push(("", format!("and {} more", found.len() - TENSORS_SHOWN)));
    }
    Ok(())
}

fn draw_list(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let rows = view.list.iter().map(|row| {
        let style = match (row.is_here, row.is_bad) {
            (true, true) => HERE.patch(BAD),
            (true, false) => HERE,
            (false, true) => BAD,
            (false, false) => Style::new(),
        };
        Line::styled(row.text.as_str(), style)
    });
    let rows: Vec<_> = rows.collect();
    let block = Block::bordered().title("exchanges");
    frame.render_widget(Paragraph::new(rows).block(block), area);
}

fn draw_details(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let lines = view.details.iter().map(|(name, text)| {
        let name = Span::styled(format!("{name:<9}"), NAME);
        Line::from(vec![name, Span::raw(text.as_str())])
    });
    let lines: Vec<_> = lines.collect();
    let block = Block::bordered().title("at hand");
    let paragraph = Paragraph::new(lines).wrap(Wrap { trim: false });
    frame.render_widget(paragraph.block(block), area);
}

fn draw_lanes(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let height = usize::from(inner(area).height);
    let lanes = &view.lanes.lanes;
    // The lane at hand is always there to see.
    let current = lanes.iter().position(|lane| lane.is_current).unwrap_or(0);
    let first = (current + 1).saturating_sub(height);
    let lines = lanes.iter().skip(first).take(height).map(|lane| {
        let name: String = lane.name.chars().take(NAME_WIDTH).collect();
        let style = if lane.is_current { NAME } else { Style::new() };
        let mut spans = vec![Span::styled(format!("{name:<NAME_WIDTH$} "), style)];
        spans.extend(lane.strip.chars().enumerate().map(|(at, glyph)| {
            let style = match (at == view.lanes.cursor, glyph) {
                (true, _) => HERE,
                (false, '·') => QUIET,
                (false, '✗') => BAD,
                (false, _) => Style::new(),
            };
            Span::styled(glyph.to_string(), style)
        }));
        spans.push(Span::raw(format!("  {}", lane.state)));
        Line::from(spans)
    });
    let lines: Vec<_> = lines.collect();
    let block = Block::bordered().title("mediators, and what they wait for");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_over(frame: &mut Frame<'_>, title: &str, lines: &[String], area: Rect) {
    let wide = lines.iter().map(|line| line.chars().count()).max();
    let width = (wide.unwrap_or(0) as u16 + 4).min(area.width - 2);
    let height = (lines.len() as u16 + 2).min(area.height - 2);
    let place = Rect {
        x: (area.width - width) / 2,
        y: (area.height - height) / 2,
        width,
        height,
    };
    let lines: Vec<_> = lines.iter().map(|line| Line::raw(line.as_str())).collect();
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(title);
    frame.render_widget(Paragraph::new(lines).block(block), place);
}
