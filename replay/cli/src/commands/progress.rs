//! Progress on standard error: a bar where that is a terminal, else a line now and then.

#![expect(
    clippy::disallowed_types,
    reason = "what is said of the progress of a run does not reach it"
)]

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use interloom_models::files::Download;

use super::report;
use crate::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// How long nothing is said of work that goes on, where no terminal shows a bar.
const SILENCE: Duration = Duration::from_secs(10);

/// Shows one bar at a time.
#[derive(Default)]
pub(super) struct Bars {
    bar: Option<ProgressBar>,
    /// The work under way, where no terminal shows its bar.
    lines: Option<Lines>,
    /// The file that the bar is about, while one is downloaded.
    file: String,
}

impl Progress for Bars {
    fn begin(&mut self, what: &str, steps: u64) {
        self.finish();
        if !std::io::stderr().is_terminal() {
            self.lines = Some(Lines {
                what: what.to_owned(),
                steps,
                done: 0,
                said: Instant::now(),
            });
            return;
        }
        let bar =
            styled("{msg:>20} {bar:40} {pos}/{len} {eta}", steps).with_message(what.to_owned());
        bar.tick();
        self.bar = Some(bar);
    }

    fn step(&mut self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
        if let Some(lines) = &mut self.lines {
            lines.step(Instant::now());
        }
    }

    fn remark(&mut self, text: &str) {
        self.finish();
        anstream::eprintln!("note: {text}");
    }

    fn download(&mut self, download: Download<'_>) {
        if self.file != download.file {
            self.finish();
            self.file = download.file.to_owned();
            let bar = styled(
                "{msg:>20} {bar:40} {bytes}/{total_bytes} {eta}",
                download.total,
            );
            self.bar = Some(bar.with_message(self.file.clone()));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(download.received);
        }
    }

    fn warn(&mut self, warning: &str) {
        self.finish();
        report::warning(warning);
    }
}

/// Work of which a line is printed now and then.
struct Lines {
    what: String,
    steps: u64,
    done: u64,
    /// When the last line was printed, or the work began.
    said: Instant,
}

impl Lines {
    fn step(&mut self, now: Instant) {
        self.done += 1;
        if let Some(line) = self.due(now) {
            anstream::eprintln!("{line}");
            self.said = now;
        }
    }

    /// Returns the line that is due, if one is: not for the end, which is seen by itself.
    fn due(&self, now: Instant) -> Option<String> {
        let is_due = now.duration_since(self.said) >= SILENCE && self.done < self.steps;
        is_due.then(|| format!("{}: {} of {}", self.what, self.done, self.steps))
    }
}

impl Bars {
    fn finish(&mut self) {
        self.lines = None;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn styled(template: &str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_after_a_while_and_not_at_the_end() {
        let start = Instant::now();
        let mut lines = Lines {
            what: "running".to_owned(),
            steps: 3,
            done: 1,
            said: start,
        };
        assert_eq!(lines.due(start + SILENCE / 2), None);
        let line = lines.due(start + SILENCE);
        assert_eq!(line.as_deref(), Some("running: 1 of 3"));
        lines.done = 3;
        assert_eq!(lines.due(start + SILENCE), None);
    }
}
