//! Where a user is in a journal, and what a key does.

use interloom_journal::{
    Direction, Event, ExchangeRecord, IndexedJournal, JournalError, Names, SiteRef,
};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Size;

use super::figures::Figures;
use super::view::{self, View};
use crate::commands::why;

/// A journal on the screen.
pub(super) struct Walk {
    pub(super) name: String,
    pub(super) journal: IndexedJournal,
    pub(super) figures: Figures,
    /// The exchange at hand.
    pub(super) at: u64,
    pub(super) mode: Mode,
    pub(super) message: Option<String>,
    /// What was last searched for.
    search: String,
    /// How many exchanges a page has.
    page: u64,
}

/// What keys are for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    /// Going about.
    Walking,
    /// The text of an answer.
    Asking(Question, String),
    /// Reading a text over everything else, from a line on.
    Reading {
        title: &'static str,
        lines: Vec<String>,
        from: usize,
    },
}

/// What is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Question {
    /// The number of an exchange.
    Number,
    /// A text to search for.
    Search,
}

/// What happens after a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flow {
    Stay,
    Quit,
}

/// The keys, for `?`.
const HELP: &[(&str, &str)] = &[
    ("j ↓ space", "the next exchange"),
    ("k ↑", "the one before"),
    ("PgDn PgUp", "a page on, a page back"),
    ("g Home, G End", "the first, the last"),
    (":", "to the exchange of a number"),
    ("s S", "the next, the previous at this site"),
    ("m M", "the next, the previous of this mediator"),
    ("e E", "the next, the previous with this event"),
    ("f F", "the next, the previous that was refused or failed"),
    ("r R", "the next, the previous run"),
    ("/", "search in site, mediator, event, value and fault"),
    ("n N", "search on, search back"),
    ("w", "why: where this value came from"),
    ("?", "this list"),
    ("q Esc Ctrl-C", "quit"),
];

impl Walk {
    pub(super) fn new(name: &str, journal: IndexedJournal, figures: Figures, at: u64) -> Self {
        Self {
            name: name.to_owned(),
            journal,
            figures,
            at,
            mode: Mode::Walking,
            message: None,
            search: String::new(),
            page: 1,
        }
    }

    /// Says something, until the next key.
    pub(super) fn say(&mut self, message: String) {
        self.message = Some(message);
    }

    /// What is on a screen of this size.
    pub(super) fn view(&mut self, size: Size) -> Result<View, JournalError> {
        self.page = u64::from(view::list_height(size)).max(1);
        View::of(self, size)
    }

    /// Does what a key says.
    pub(super) fn press(&mut self, key: KeyEvent) -> Result<Flow, JournalError> {
        self.message = None;
        let is_interrupt =
            key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
        if is_interrupt {
            return Ok(Flow::Quit);
        }
        match std::mem::replace(&mut self.mode, Mode::Walking) {
            Mode::Walking => self.walk(key.code),
            Mode::Asking(question, text) => self.ask(question, text, key.code),
            Mode::Reading { title, lines, from } => {
                self.read(title, lines, from, key.code);
                Ok(Flow::Stay)
            }
        }
    }

    fn walk(&mut self, key: KeyCode) -> Result<Flow, JournalError> {
        use Direction::{Back, Forward};

        match key {
            KeyCode::Char('q') | KeyCode::Esc => return Ok(Flow::Quit),
            KeyCode::Char('j' | ' ') | KeyCode::Down | KeyCode::Enter => self.go(1),
            KeyCode::Char('k') | KeyCode::Up => self.go(-1),
            KeyCode::PageDown => self.page(Forward),
            KeyCode::PageUp => self.page(Back),
            KeyCode::Char('g') | KeyCode::Home => self.at = 0,
            KeyCode::Char('G') | KeyCode::End => {
                self.at = self.journal.exchanges().saturating_sub(1);
            }
            KeyCode::Char(':') => self.mode = Mode::Asking(Question::Number, String::new()),
            KeyCode::Char('/') => self.mode = Mode::Asking(Question::Search, String::new()),
            KeyCode::Char('n') => self.search(Forward)?,
            KeyCode::Char('N') => self.search(Back)?,
            KeyCode::Char('s') => self.seek_site(Forward)?,
            KeyCode::Char('S') => self.seek_site(Back)?,
            KeyCode::Char('m') => self.seek_mediator(Forward)?,
            KeyCode::Char('M') => self.seek_mediator(Back)?,
            KeyCode::Char('e') => self.seek_event(Forward)?,
            KeyCode::Char('E') => self.seek_event(Back)?,
            KeyCode::Char('f') => self.seek_fault(Forward)?,
            KeyCode::Char('F') => self.seek_fault(Back)?,
            KeyCode::Char('r') => self.seek_run(Forward)?,
            KeyCode::Char('R') => self.seek_run(Back)?,
            KeyCode::Char('w') => self.why()?,
            KeyCode::Char('?' | 'h') => self.help(),
            _ => {}
        }
        Ok(Flow::Stay)
    }

    fn ask(
        &mut self,
        question: Question,
        mut text: String,
        key: KeyCode,
    ) -> Result<Flow, JournalError> {
        match key {
            KeyCode::Esc => return Ok(Flow::Stay),
            KeyCode::Enter => {
                self.answer(question, &text)?;
                return Ok(Flow::Stay);
            }
            // Nothing left to take back: nothing is asked any more.
            KeyCode::Backspace if text.is_empty() => return Ok(Flow::Stay),
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char(character) => text.push(character),
            _ => {}
        }
        self.mode = Mode::Asking(question, text);
        Ok(Flow::Stay)
    }

    fn answer(&mut self, question: Question, text: &str) -> Result<(), JournalError> {
        match question {
            Question::Number => {
                let last = self.journal.exchanges().saturating_sub(1);
                match text.trim().parse::<u64>() {
                    Ok(number) if number <= last => self.at = number,
                    _ => self.say(format!("no exchange {text:?}: they go from 0 to {last}")),
                }
                Ok(())
            }
            Question::Search => {
                if !text.is_empty() {
                    text.clone_into(&mut self.search);
                }
                self.search(Direction::Forward)
            }
        }
    }

    fn read(&mut self, title: &'static str, lines: Vec<String>, from: usize, key: KeyCode) {
        let last = lines.len().saturating_sub(1);
        let from = match key {
            KeyCode::Char('j' | ' ') | KeyCode::Down => (from + 1).min(last),
            KeyCode::Char('k') | KeyCode::Up => from.saturating_sub(1),
            KeyCode::PageDown => (from + self.page as usize).min(last),
            KeyCode::PageUp => from.saturating_sub(self.page as usize),
            // Any other key ends it.
            _ => return,
        };
        self.mode = Mode::Reading { title, lines, from };
    }

    fn go(&mut self, steps: i64) {
        match self.at.checked_add_signed(steps) {
            None => self.say("this is the first exchange".to_owned()),
            Some(at) if at >= self.journal.exchanges() => {
                self.say("this is the last exchange".to_owned());
            }
            Some(at) => self.at = at,
        }
    }

    fn page(&mut self, direction: Direction) {
        let last = self.journal.exchanges().saturating_sub(1);
        self.at = match direction {
            Direction::Forward => self.at.saturating_add(self.page).min(last),
            Direction::Back => self.at.saturating_sub(self.page),
        };
    }

    fn search(&mut self, direction: Direction) -> Result<(), JournalError> {
        if self.search.is_empty() {
            self.say("nothing was searched for yet: type / and a text".to_owned());
            return Ok(());
        }
        let text = self.search.to_lowercase();
        let what = format!("with {:?}", self.search);
        self.seek(direction, &what, |names, exchange| {
            names.text(exchange).to_lowercase().contains(&text)
        })
    }

    fn seek_site(&mut self, direction: Direction) -> Result<(), JournalError> {
        let Some(exchange) = self.here()? else {
            return Ok(());
        };
        // In every iteration.
        let path = |exchange: &ExchangeRecord| site_of(exchange).map(|site| site.path);
        let wanted = path(&exchange);
        self.seek(direction, "at this site", |_, exchange| {
            path(exchange) == wanted
        })
    }

    fn seek_mediator(&mut self, direction: Direction) -> Result<(), JournalError> {
        let Some(exchange) = self.here()? else {
            return Ok(());
        };
        let names = self.journal.names(&exchange);
        let wanted = names.mediator(exchange.mediator);
        self.seek(direction, "of this mediator", |names, exchange| {
            names.mediator(exchange.mediator) == wanted
        })
    }

    fn seek_event(&mut self, direction: Direction) -> Result<(), JournalError> {
        let Some(exchange) = self.here()? else {
            return Ok(());
        };
        let wanted = exchange.event;
        self.seek(
            direction,
            &format!("with {}", wanted.name()),
            |_, exchange| exchange.event == wanted,
        )
    }

    fn seek_fault(&mut self, direction: Direction) -> Result<(), JournalError> {
        self.seek(direction, "that was refused or failed", |_, exchange| {
            exchange.fault.is_some() || exchange.event == Event::Exception
        })
    }

    fn seek_run(&mut self, direction: Direction) -> Result<(), JournalError> {
        let Some(exchange) = self.here()? else {
            return Ok(());
        };
        let runs = self.journal.runs().iter();
        let firsts = runs.map(|run| run.first);
        let exchanges = self.journal.exchanges();
        let here = self.journal.runs()[exchange.run as usize].first;
        let found = match direction {
            // A run may have no exchanges, and then begins where the next one does.
            Direction::Forward => firsts
                .filter(|first| *first > self.at && *first < exchanges)
                .min(),
            Direction::Back if self.at > here => Some(here),
            Direction::Back => firsts.filter(|first| *first < here).max(),
        };
        match found {
            Some(first) => self.at = first,
            None => self.say("there is no further run that way".to_owned()),
        }
        Ok(())
    }

    fn seek(
        &mut self,
        direction: Direction,
        what: &str,
        is_wanted: impl FnMut(&Names, &ExchangeRecord) -> bool,
    ) -> Result<(), JournalError> {
        match self.journal.find(self.at, direction, is_wanted)? {
            Some(found) => self.at = found,
            None => {
                let side = match direction {
                    Direction::Forward => "after",
                    Direction::Back => "before",
                };
                self.say(format!("no exchange {what} {side} this one"));
            }
        }
        Ok(())
    }

    fn why(&mut self) -> Result<(), JournalError> {
        match why::way_back(&mut self.journal, self.at) {
            Ok(steps) => {
                self.mode = Mode::Reading {
                    title: "where this value came from",
                    lines: why::lines(&mut self.journal, &steps),
                    from: 0,
                };
            }
            // Most exchanges carry no value.
            Err(JournalError::Absent { .. }) => {
                self.say("this exchange carries no value".to_owned());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn help(&mut self) {
        let lines = HELP.iter().map(|(keys, what)| format!("{keys:<14} {what}"));
        self.mode = Mode::Reading {
            title: "keys",
            lines: lines.collect(),
            from: 0,
        };
    }

    /// The exchange at hand, if there is any in the journal.
    pub(super) fn here(&mut self) -> Result<Option<ExchangeRecord>, JournalError> {
        match self.journal.exchanges() {
            0 => Ok(None),
            _ => self.journal.exchange(self.at).map(Some),
        }
    }
}

/// Where an exchange is made: what it asks for, or else what the model is passing.
pub(super) fn site_of(exchange: &ExchangeRecord) -> Option<SiteRef> {
    exchange.asked.or(exchange.at)
}
