//! How far long work has come.

use interloom_models::files::Download;

/// Receives the progress of long work, and what is remarkable about it.
pub trait Progress {
    /// Begins work of so many steps.
    fn begin(&mut self, what: &str, steps: u64);

    /// Completes one step.
    fn step(&mut self);

    /// Reports something that is done otherwise than was to be expected.
    fn remark(&mut self, _: &str) {}

    /// Reports how much of a file has been downloaded.
    fn download(&mut self, _: Download<'_>) {}

    /// Warns of something that may go wrong, before the work that it is about.
    fn warn(&mut self, _: &str) {}
}

/// Discards all of it.
impl Progress for () {
    fn begin(&mut self, _: &str, _: u64) {}

    fn step(&mut self) {}
}
