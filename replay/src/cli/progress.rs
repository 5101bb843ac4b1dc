//! Progress bars on standard error, where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use interloom::experiments::Progress;

/// Shows one bar at a time.
#[derive(Default)]
pub(super) struct Bars(Option<ProgressBar>);

impl Progress for Bars {
    fn begin(&mut self, what: &str, steps: u64) {
        self.finish();
        let style = ProgressStyle::with_template("{msg:>20} {bar:40} {pos}/{len} {eta}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(steps)
            .with_style(style)
            .with_message(what.to_owned());
        bar.tick();
        self.0 = Some(bar);
    }

    fn step(&mut self) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
        }
    }
}

impl Bars {
    fn finish(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.finish();
    }
}
