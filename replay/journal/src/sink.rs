//! Sinks, to which journals are written.

use std::fs::File;
use std::io::{self, Write};

/// A sink, to which a journal is written.
pub trait Sink: Write {
    /// Makes what was written durable, as far as the sink can.
    ///
    /// # Errors
    /// Those of the sink.
    fn sync(&mut self) -> io::Result<()> {
        self.flush()
    }
}

impl Sink for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

impl Sink for Vec<u8> {}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn sync(&mut self) -> io::Result<()> {
        (**self).sync()
    }
}
