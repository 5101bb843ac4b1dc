//! A journal on the screen.

use std::io;
use std::path::Path;

use interloom_journal::{IndexedJournal, JournalError};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::figures::Figures;
use super::view;
use super::walk::{Flow, Walk};
use crate::CliError;
use crate::commands::Ending;
use crate::experiment::ExperimentError;

/// Walks through a journal until the user has seen enough; `problem` is what is wrong after its
/// last exchange.
pub(super) fn run(
    path: &Path,
    journal: IndexedJournal,
    figures: Figures,
    at: u64,
    problem: Option<&JournalError>,
) -> Result<Ending, CliError> {
    let mut walk = Walk::new(&path.display().to_string(), journal, figures, at);
    if let Some(error) = problem {
        walk.say(format!("{error} ({})", error.code()));
    }
    let mut screen = Screen::take().map_err(|error| cannot(&error))?;
    loop {
        let view = walk.view(screen.size().map_err(|error| cannot(&error))?)?;
        let drawn = screen.0.draw(|frame| view::draw(frame, &view));
        drawn.map_err(|error| cannot(&error))?;
        if let Event::Key(key) = event::read().map_err(|error| cannot(&error))?
            && key.kind != KeyEventKind::Release
            && walk.press(key)? == Flow::Quit
        {
            return Ok(Ending::Done);
        }
    }
}

/// The terminal, which is given back as it was however this ends: `try_init` sees to panics,
/// dropping to everything else.
struct Screen(DefaultTerminal);

impl Screen {
    fn take() -> io::Result<Self> {
        let taken = ratatui::try_init();
        if taken.is_err() {
            // It may have been taken in part.
            ratatui::try_restore().ok();
        }
        taken.map(Self)
    }

    fn size(&self) -> io::Result<ratatui::layout::Size> {
        self.0.size()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is no caller left to report to.
        ratatui::try_restore().ok();
    }
}

fn cannot(error: &io::Error) -> CliError {
    ExperimentError::Output {
        path: "the terminal".to_owned(),
        reason: format!("{error}; `--plain` needs none"),
    }
    .into()
}
