//! Going over the frames of a journal as fast as they can be trusted one by one.

use std::io::Read;

use super::error::JournalError;
use super::frame::FrameKind;
use super::read::{Frame, JournalReader};

/// Gives the frames of a journal after the head, each checked by itself.
///
/// A frame is what was written: its CRCs, its length, its number, its kind and its padding are
/// right. What only the frames before it tell is not looked at, nor is what a payload says: whether
/// it has the one encoding that it may have, whether an exchange belongs where it stands, whether
/// the digests of runs and tensors are right, and whether the end of a run is missing. A
/// [`JournalReader`] checks all of that. The caller checks what it takes from here, as
/// [`find_tensor`](super::find_tensor) does.
#[derive(Debug)]
pub struct Skim<R> {
    reader: JournalReader<R>,
    is_over: bool,
}

impl<R: Read> Skim<R> {
    pub(super) fn new(reader: JournalReader<R>) -> Self {
        Self {
            reader,
            is_over: false,
        }
    }

    /// Gives the next frame; `None` after the footer, at the end, and after an error.
    ///
    /// # Errors
    /// E061 if it cannot be read, E064 if it is damaged, E065 if it ends within a frame, E066 or
    /// E067 if its kind or its number is another than it can be, E069 if it is larger than its
    /// kind allows.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, JournalError> {
        if self.is_over {
            return Ok(None);
        }
        // Until it is known that there is another one.
        self.is_over = true;
        let frame = self.reader.skim_frame()?;
        self.is_over = frame
            .as_ref()
            .is_none_or(|frame| frame.known_kind() == Some(FrameKind::Footer));
        Ok(frame)
    }
}
