//! A journal line by line: commands on standard input, exchanges on standard output.

use std::io::{self, BufRead};

use anstream::eprintln;
use interloom_journal::{
    Direction, ExchangeRecord, FileAction, IndexedJournal, JournalError, Names, is_at,
};
use serde_json::json;

use super::figures::{self, Figures, TENSORS_SHOWN};
use crate::CliError;
use crate::commands::report::{count, outln};
use crate::commands::{Ending, why};

const COMMANDS: &str = "next [N], back [N], goto N, site SITE, mediator NAME, show, why, quit";

/// A line of input, understood.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Command {
    Next(u64),
    Back(u64),
    Goto(u64),
    Site(String),
    Mediator(String),
    Show,
    Why,
    Quit,
}

/// A journal and the exchange at hand.
struct Stepper {
    journal: IndexedJournal,
    figures: Figures,
    at: u64,
    json: bool,
}

/// Obeys what standard input says, from the exchange `at` on; prints JSON if that is asked for.
pub(super) fn run(
    journal: IndexedJournal,
    figures: Figures,
    at: u64,
    json: bool,
) -> Result<Ending, CliError> {
    let (exchanges, runs) = (journal.exchanges(), journal.runs().len() as u64);
    match json {
        true => outln!("{}", json!({ "exchanges": exchanges, "runs": runs })),
        false => outln!("{} in {}", count(exchanges, "exchange"), count(runs, "run")),
    }
    let mut stepper = Stepper {
        journal,
        figures,
        at,
        json,
    };
    stepper.show()?;
    let mut ending = Ending::Done;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| unreadable(&error))?;
        match Command::parse(&line) {
            Ok(None) => {}
            Ok(Some(Command::Quit)) => break,
            Ok(Some(command)) => stepper.obey(command)?,
            Err(reason) => {
                eprintln!("{reason}; commands: {COMMANDS}");
                ending = Ending::Usage;
            }
        }
    }
    Ok(ending)
}

fn unreadable(error: &io::Error) -> CliError {
    let error = JournalError::Io {
        journal: "standard input".into(),
        doing: FileAction::Read,
        kind: error.kind(),
        reason: error.to_string(),
    };
    error.into()
}

impl Command {
    /// Understands a line; nothing stands in an empty one.
    fn parse(line: &str) -> Result<Option<Self>, String> {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let number = |default: Option<u64>| match (rest, default) {
            ("", Some(default)) => Ok(default),
            _ => rest
                .parse()
                .map_err(|_| format!("`{word}` needs a whole number, found {rest:?}")),
        };
        let text = || match rest {
            "" => Err(format!("`{word}` needs a name")),
            rest => Ok(rest.to_owned()),
        };
        let nothing = |command| match rest {
            "" => Ok(command),
            rest => Err(format!("`{word}` takes nothing, found {rest:?}")),
        };
        Ok(Some(match word {
            "" => return Ok(None),
            "next" | "n" => Self::Next(number(Some(1))?),
            "back" | "b" => Self::Back(number(Some(1))?),
            "goto" | "g" => Self::Goto(number(None)?),
            "site" => Self::Site(text()?),
            "mediator" => Self::Mediator(text()?),
            "show" | "s" => nothing(Self::Show)?,
            "why" | "w" => nothing(Self::Why)?,
            "quit" | "q" => nothing(Self::Quit)?,
            _ => return Err(format!("no command {word:?}")),
        }))
    }
}

impl Stepper {
    fn obey(&mut self, command: Command) -> Result<(), CliError> {
        match command {
            Command::Next(steps) => self.go(self.at.checked_add(steps), "after the last exchange"),
            Command::Back(steps) => {
                self.go(self.at.checked_sub(steps), "before the first exchange")
            }
            Command::Goto(index) => self.go(Some(index), "after the last exchange"),
            Command::Site(site) => self.seek(&format!("at {site}"), |names, exchange| {
                is_at(names, exchange, &site)
            }),
            Command::Mediator(name) => self.seek(&format!("of {name:?}"), |names, exchange| {
                names.mediator(exchange.mediator) == name
            }),
            Command::Show => {
                self.show()?;
                self.show_figures()
            }
            Command::Why => self.why(),
            Command::Quit => Ok(()),
        }
    }

    fn go(&mut self, to: Option<u64>, beyond: &str) -> Result<(), CliError> {
        match to.filter(|to| *to < self.journal.exchanges()) {
            Some(to) => {
                self.at = to;
                self.show()
            }
            None => {
                self.say(&format!("that is {beyond}; still at exchange {}", self.at));
                Ok(())
            }
        }
    }

    fn seek(
        &mut self,
        what: &str,
        is_wanted: impl FnMut(&Names, &ExchangeRecord) -> bool,
    ) -> Result<(), CliError> {
        match self.journal.find(self.at, Direction::Forward, is_wanted)? {
            Some(found) => self.go(Some(found), ""),
            None => {
                self.say(&format!("no exchange {what} after exchange {}", self.at));
                Ok(())
            }
        }
    }

    fn show(&mut self) -> Result<(), CliError> {
        if self.journal.exchanges() > 0 {
            let exchange = self.journal.exchange(self.at)?;
            match self.json {
                true => {
                    let mut json = self.journal.names(&exchange).json(&exchange);
                    if let Some(value) = &exchange.value {
                        json["figures"] = self.figures.json(value)?;
                    }
                    outln!("{json}");
                }
                false => outln!("{}", self.journal.text(&exchange)),
            }
        }
        Ok(())
    }

    /// Shows the figures of the first tensors of the exchange at hand; JSON has them already.
    fn show_figures(&mut self) -> Result<(), CliError> {
        if self.json || self.journal.exchanges() == 0 {
            return Ok(());
        }
        let exchange = self.journal.exchange(self.at)?;
        let tensors = exchange.value.as_ref().map(figures::tensors);
        let tensors = tensors.unwrap_or_default();
        for (kind, digest) in tensors.iter().take(TENSORS_SHOWN) {
            let figures = match self.figures.of(digest)? {
                Some(figures) => figures::lines(&figures).join("  "),
                None => "only its digest was kept".to_owned(),
            };
            outln!("        {kind} {}  {figures}", digest.short());
        }
        if tensors.len() > TENSORS_SHOWN {
            outln!("        and {} more", tensors.len() - TENSORS_SHOWN);
        }
        Ok(())
    }

    fn why(&mut self) -> Result<(), CliError> {
        match why::way_back(&mut self.journal, self.at) {
            Ok(steps) if self.json => outln!("{}", why::as_json(&mut self.journal, &steps)),
            Ok(steps) => why::show(&mut self.journal, &steps),
            // Most exchanges carry no value: that ends no session.
            Err(error @ JournalError::Absent { .. }) => self.say(&error.to_string()),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Says why nothing is shown.
    fn say(&self, message: &str) {
        match self.json {
            true => outln!("{}", json!({ "message": message, "at": self.at })),
            false => outln!("{message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood_or_refused_with_a_reason() {
        let good = [
            ("", None),
            ("next", Some(Command::Next(1))),
            ("  n   12 ", Some(Command::Next(12))),
            ("b", Some(Command::Back(1))),
            ("goto 7", Some(Command::Goto(7))),
            ("site a.output", Some(Command::Site("a.output".into()))),
            (
                "mediator two words",
                Some(Command::Mediator("two words".into())),
            ),
            ("s", Some(Command::Show)),
            ("w", Some(Command::Why)),
            ("q", Some(Command::Quit)),
        ];
        for (line, command) in good {
            assert_eq!(Command::parse(line), Ok(command), "{line}");
        }
        let bad = [
            "goto", "goto x", "next -1", "back 1 2", "site", "mediator", "quit now", "jump",
        ];
        for line in bad {
            assert!(Command::parse(line).is_err(), "{line}");
        }
    }
}
