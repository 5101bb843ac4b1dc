//! Progress bars on standard error, where that is a terminal.

use super::report;
use crate::experiments::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use interloom_backends::files::Download;

/// Shows one bar at a time.
#[derive(Default)]
pub(super) struct Bars {
    bar: Option<ProgressBar>,
    /// The file that the bar is about, while one is downloaded.
    file: String,
}

impl Progress for Bars {
    fn begin(&mut self, what: &str, steps: u64) {
        self.finish();
        let bar =
            styled("{msg:>20} {bar:40} {pos}/{len} {eta}", steps).with_message(what.to_owned());
        bar.tick();
        self.bar = Some(bar);
    }

    fn step(&mut self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
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

impl Bars {
    fn finish(&mut self) {
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
