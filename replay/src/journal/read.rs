//! Reading a journal as a stream, in constant memory, with every check made on the way.
//!
//! A record is given out only after its frame's CRCs, its number, its encoding and its place among
//! the others have been checked, so what comes out is always an exact beginning of what was
//! written. When the journal is damaged or cut, the records before the damage come out first, then
//! the error, then nothing more.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::digest::Digest;
use super::error::{JournalError, OPEN, Place};
use super::frame::{
    FRAME_HEADER_BYTES, FrameHeader, Kind, OPTIONAL_KINDS, PAYLOAD_BYTES_MAX, PREAMBLE_BYTES,
    Preamble, frame_bytes, padding,
};
use super::order::Order;
use super::record::{Experiment, Head, Record, TensorRecord};
use super::start::{read_preamble, read_up_to};
use super::wire;

/// Reads the records of a journal one after another, the head first.
#[derive(Debug)]
pub struct JournalReader<R> {
    source: R,
    journal: Arc<str>,
    preamble: Preamble,
    head: Head,
    order: Order,
    payload: Vec<u8>,
    scratch: Vec<u8>,
    frames: u64,
    offset: u64,
    next: Next,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Next {
    Head,
    Frame,
    /// The end of what is there, which may be torn.
    End,
    Failed(JournalError),
}

/// What [`JournalReader::follow`] finds.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is taken apart at once"
)]
pub enum Followed {
    /// The next record.
    Record(FrameInfo, Record),
    /// The file goes no further yet; ask again later.
    Waiting,
    /// The recording was finished.
    Finished,
}

/// What a writer takes over from a reader.
#[derive(Debug)]
pub(super) struct Parts<R> {
    pub(super) source: R,
    pub(super) journal: Arc<str>,
    pub(super) preamble: Preamble,
    pub(super) order: Order,
    pub(super) frames: u64,
    pub(super) offset: u64,
}

/// Which frame a record came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrameInfo {
    /// The frame's number.
    pub sequence: u64,
    /// Where it starts, in bytes.
    pub offset: u64,
}

const READ_BYTES: usize = 1 << 16;

impl JournalReader<BufReader<File>> {
    /// Opens the journal at `path` and reads its head.
    ///
    /// # Errors
    /// E060 if there is no such file, and those of [`JournalReader::new`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        let journal = path.as_ref().display().to_string();
        let file = File::open(path);
        let file =
            file.map_err(|error| JournalError::io(&journal.as_str().into(), OPEN, &error))?;
        Self::new(BufReader::with_capacity(READ_BYTES, file), &journal)
    }
}

impl<R: Read> JournalReader<R> {
    /// Reads the head of the journal in `source`; `name` is what errors call it.
    ///
    /// # Errors
    /// E062 if it is something else, E063 if its format is newer, E065 if it ends within the head,
    /// E061 if it cannot be read, and E064, E066, E067 or E069 if the head is damaged.
    pub fn new(mut source: R, name: &str) -> Result<Self, JournalError> {
        let journal: Arc<str> = name.into();
        let preamble = read_preamble(&mut source, &journal)?;
        let mut reader = Self {
            source,
            journal,
            preamble,
            // Stands here until the first frame has been read.
            head: Head::new(Experiment::default()),
            order: Order::new(),
            payload: Vec::new(),
            scratch: Vec::new(),
            frames: 0,
            offset: PREAMBLE_BYTES as u64,
            next: Next::Head,
        };
        reader.read_head()?;
        Ok(reader)
    }

    /// The records without where they stand, as a comparison takes them.
    pub fn records(self) -> impl Iterator<Item = Result<Record, JournalError>> {
        self.map(|item| item.map(|(_, record)| record))
    }

    /// The journal's head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The journal's format, as major and minor version.
    pub fn version(&self) -> (u16, u16) {
        (self.preamble.major, self.preamble.minor)
    }

    /// Whether the footer has been read: the recording was finished, and nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.order.footer()
    }

    /// Where the last good frame ends, in bytes.
    pub fn good_bytes(&self) -> u64 {
        self.offset
    }

    /// How many frames are good so far, the head included.
    pub fn good_frames(&self) -> u64 {
        self.frames
    }

    /// How many exchanges are good so far.
    pub fn good_exchanges(&self) -> u64 {
        self.order.exchanges()
    }

    /// The digest of the last run that has ended so far.
    pub fn digest(&self) -> Digest {
        self.order.digest()
    }

    /// What errors call the journal.
    pub fn name(&self) -> &str {
        &self.journal
    }

    pub(super) fn into_parts(self) -> Parts<R> {
        Parts {
            source: self.source,
            journal: self.journal,
            preamble: self.preamble,
            order: self.order,
            frames: self.frames,
            offset: self.offset,
        }
    }

    /// Reads the next record of a journal that may still be written; `source` starts with the journal.
    ///
    /// Where the file ends without a footer, be it within a frame, this says so and can be called
    /// again when there is more. A writer that has to be followed closely calls
    /// [`flush`](super::JournalWriter::flush).
    ///
    /// # Errors
    /// Those of [`next_record`](Self::next_record) but E065; after one, always the same.
    pub fn follow(&mut self) -> Result<Followed, JournalError>
    where
        R: Seek,
    {
        if let Next::Failed(error) = &self.next {
            return Err(error.clone());
        }
        if self.next == Next::End && !self.order.footer() {
            let sought = self.source.seek(SeekFrom::Start(self.offset));
            sought.map_err(|error| JournalError::io(&self.journal, "read", &error))?;
            self.next = Next::Frame;
        }
        match self.next_record() {
            Ok(Some((info, record))) => Ok(Followed::Record(info, record)),
            Ok(None) if self.order.footer() => Ok(Followed::Finished),
            Ok(None) | Err(JournalError::Torn { .. }) => Ok(Followed::Waiting),
            Err(error) => Err(error),
        }
    }

    /// Reads the next record; `None` at the journal's end.
    ///
    /// # Errors
    /// E061 if it cannot be read, E064 if it is damaged, E065 if it ends early, E066 to E069 if
    /// its content does not fit.
    pub fn next_record(&mut self) -> Result<Option<(FrameInfo, Record)>, JournalError> {
        match self.next {
            Next::End | Next::Failed(_) => Ok(None),
            Next::Head => {
                self.next = Next::Frame;
                let info = FrameInfo {
                    sequence: 0,
                    offset: PREAMBLE_BYTES as u64,
                };
                Ok(Some((info, Record::Head(Box::new(self.head.clone())))))
            }
            Next::Frame => {
                let record = self.read_record();
                match &record {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(JournalError::Torn { .. }) => self.next = Next::End,
                    Err(error) => self.next = Next::Failed(error.clone()),
                }
                record
            }
        }
    }

    fn read_record(&mut self) -> Result<Option<(FrameInfo, Record)>, JournalError> {
        loop {
            let place = self.place();
            let Some(header) = self.read_frame(&place)? else {
                return Ok(None);
            };
            let record = match Kind::from_code(header.kind) {
                Some(kind) => Some(self.take_record(kind, &place)?),
                None => None,
            };
            self.frames += 1;
            self.offset += frame_bytes(u64::from(header.length));
            if let Some(record) = record {
                let info = FrameInfo {
                    sequence: place.frame,
                    offset: place.offset,
                };
                return Ok(Some((info, record)));
            }
        }
    }

    fn read_head(&mut self) -> Result<(), JournalError> {
        let place = self.place();
        let header = self.read_frame(&place)?;
        let Some(header) = header else {
            return Err(self.torn("the head is missing".to_owned()));
        };
        if header.kind != Kind::Head as u8 {
            let found = format!("a frame of kind {:#04x}", header.kind);
            return Err(place.out_of_sequence("the head".to_owned(), found));
        }
        if Preamble::for_head(&self.payload).sync != self.preamble.sync {
            return Err(
                place.corrupt("the head is not the one that the preamble's sync marker names")
            );
        }
        self.head = wire::decode_head(&self.payload)
            .map_err(|reason| place.malformed(Kind::Head.name(), reason))?;
        self.frames = 1;
        self.offset += frame_bytes(u64::from(header.length));
        Ok(())
    }

    fn take_record(&mut self, kind: Kind, place: &Place) -> Result<Record, JournalError> {
        let record = wire::decode(kind, &self.payload, &mut self.scratch)
            .map_err(|reason| place.malformed(kind.name(), reason))?;
        match &record {
            Record::Head(_) => {
                let expected = "only the first frame to be a head".to_owned();
                return Err(place.out_of_sequence(expected, "another head".to_owned()));
            }
            Record::RunStart(start) => self.order.start_run(start, place)?,
            Record::Path(path) => self.order.path(path, &self.payload, place)?,
            Record::Exchange(exchange) => {
                self.order.check_exchange(exchange, place)?;
                self.order.add_exchange(&self.payload);
            }
            Record::Tensor(tensor) => check_tensor(tensor, place)?,
            Record::RunEnd(end) => self.order.end_run(end, place)?,
            Record::Footer(footer) => self.order.footer_at(footer, place)?,
            Record::Note(_) => {}
        }
        Ok(record)
    }

    /// Reads a frame's payload into `self.payload`; `None` at the end.
    fn read_frame(&mut self, place: &Place) -> Result<Option<FrameHeader>, JournalError> {
        let Some(header) = self.read_header(place)? else {
            return Ok(None);
        };
        let length = u64::from(header.length);
        self.payload.clear();
        // Grows with what is really there, whatever the length says.
        let read = self
            .source
            .by_ref()
            .take(length)
            .read_to_end(&mut self.payload);
        let read = read.map_err(|error| JournalError::io(&self.journal, "read", &error))? as u64;
        if read < length {
            let frame = place.frame;
            return Err(self.torn(format!(
                "the payload of frame {frame} has {read} of {length} bytes"
            )));
        }
        if crc32fast::hash(&self.payload) != header.payload_crc {
            return Err(place.corrupt("the payload's CRC does not match its bytes"));
        }
        let mut zeros = [0; 8];
        let zeros = &mut zeros[..padding(length)];
        if self.read_up_to(zeros)? < zeros.len() {
            return Err(self.torn(format!("the padding of frame {} is cut", place.frame)));
        }
        if zeros.iter().any(|byte| *byte != 0) {
            return Err(place.corrupt("the padding is not zero"));
        }
        Ok(Some(header))
    }

    fn read_header(&mut self, place: &Place) -> Result<Option<FrameHeader>, JournalError> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let read = self.read_up_to(&mut bytes)?;
        if read > 0 && self.order.footer() {
            return Err(place.corrupt("bytes follow the footer"));
        }
        if read == 0 {
            return self.end().map(|()| None);
        }
        if bytes == [0; FRAME_HEADER_BYTES] {
            // What a file system leaves of appended bytes that never reached the disk.
            let frame = place.frame;
            return Err(self.torn(format!(
                "frame {frame} and what follows is filled with zeros"
            )));
        }
        if read < bytes.len() {
            let frame = place.frame;
            return Err(self.torn(format!(
                "the header of frame {frame} has {read} of 24 bytes"
            )));
        }
        let header = FrameHeader::decode(&bytes, self.preamble.header_seed())
            .map_err(|check| place.corrupt(check))?;
        check_header(&header, place)?;
        Ok(Some(header))
    }

    fn end(&self) -> Result<(), JournalError> {
        match self.order.open_run() {
            Some(run) => Err(self.torn(format!("run {run} has no end"))),
            None => Ok(()),
        }
    }

    fn torn(&self, missing: String) -> JournalError {
        JournalError::Torn {
            journal: self.journal.clone(),
            frames: self.frames,
            exchanges: self.order.exchanges(),
            good_bytes: self.offset,
            missing,
        }
    }

    fn place(&self) -> Place {
        Place {
            journal: self.journal.clone(),
            frame: self.frames,
            offset: self.offset,
        }
    }

    fn read_up_to(&mut self, bytes: &mut [u8]) -> Result<usize, JournalError> {
        read_up_to(&mut self.source, bytes)
            .map_err(|error| JournalError::io(&self.journal, "read", &error))
    }
}

impl<R: Read> Iterator for JournalReader<R> {
    type Item = Result<(FrameInfo, Record), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().transpose()
    }
}

/// Searches the journal at `path` for the bytes of the tensor with this digest.
///
/// # Errors
/// Those of [`JournalReader`], up to the place where the tensor stands.
pub fn find_tensor(
    path: impl AsRef<Path>,
    digest: &Digest,
) -> Result<Option<TensorRecord>, JournalError> {
    for record in JournalReader::open(path)? {
        if let (_, Record::Tensor(tensor)) = record?
            && tensor.digest == *digest
        {
            return Ok(Some(tensor));
        }
    }
    Ok(None)
}

fn check_header(header: &FrameHeader, place: &Place) -> Result<(), JournalError> {
    if header.sequence != place.frame {
        let expected = format!("frame {}", place.frame);
        return Err(place.out_of_sequence(expected, header.sequence.to_string()));
    }
    let kind = Kind::from_code(header.kind);
    if kind.is_none() && header.kind < OPTIONAL_KINDS {
        let reason = format!(
            "kind {:#04x} is not known to this version and may not be skipped; upgrade Interloom",
            header.kind
        );
        return Err(place.malformed("record", reason));
    }
    let limit = kind.map_or(PAYLOAD_BYTES_MAX, Kind::bytes_max);
    if header.length > limit {
        let subject = format!(
            "the size of this {} in bytes",
            kind.map_or("record", Kind::name)
        );
        return Err(place.limit(subject, u64::from(header.length), u64::from(limit)));
    }
    Ok(())
}

fn check_tensor(tensor: &TensorRecord, place: &Place) -> Result<(), JournalError> {
    let found = Digest::of_tensor(tensor.dtype, &tensor.shape, &tensor.bytes);
    if found == tensor.digest {
        return Ok(());
    }
    let subject = format!("a tensor {}{:?}", tensor.dtype, tensor.shape);
    Err(place.digest(subject, tensor.digest, found))
}
