//! What the tests break journals with: one file that fails in every way, and damage to bytes.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use super::frame::{FRAME_HEADER_BYTES, FrameHeader, PREAMBLE_BYTES, Preamble, padding};
use super::*;

/// How a [`FaultFile`] fails; the default does not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    /// How many bytes there is room for.
    pub(super) room: Option<usize>,
    /// How many bytes one write takes.
    pub(super) at_once: Option<usize>,
    /// Whether every other write is interrupted.
    pub(super) interrupts: bool,
    /// Which write fails, once, counted from 1.
    pub(super) failing_write: Option<usize>,
    /// At which flush the power goes, counted from 1.
    pub(super) power_cut: Option<usize>,
    /// Whether the end cannot be made durable.
    pub(super) failing_sync: bool,
    /// How many bytes can be read before reading fails.
    pub(super) readable: Option<usize>,
}

/// What a [`FaultFile`] holds, and what has been asked of it.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) bytes: Vec<u8>,
    /// How many bytes a flush has made safe.
    pub(super) safe: usize,
    pub(super) writes: usize,
    pub(super) flushes: usize,
    is_dead: bool,
    position: usize,
}

/// A file that fails as its plan says.
#[derive(Clone, Debug)]
pub(super) struct FaultFile {
    plan: Plan,
    pub(super) disk: Rc<RefCell<Disk>>,
}

impl FaultFile {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan,
            disk: Rc::default(),
        }
    }

    /// A file to read from.
    pub(super) fn with_bytes(plan: Plan, bytes: &[u8]) -> Self {
        let file = Self::new(plan);
        file.disk.borrow_mut().bytes = bytes.to_vec();
        file
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.disk.borrow().bytes.clone()
    }
}

impl Write for FaultFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.disk.borrow_mut();
        disk.writes += 1;
        if disk.is_dead {
            return Err(io::Error::other("the power is gone"));
        }
        if self.plan.interrupts && disk.writes % 2 == 1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.plan.failing_write == Some(disk.writes) {
            return Err(io::Error::other("a cable was pulled"));
        }
        let room = self
            .plan
            .room
            .map_or(usize::MAX, |room| room - disk.bytes.len());
        let at_once = self.plan.at_once.unwrap_or(usize::MAX);
        let count = bytes.len().min(at_once).min(room);
        if count == 0 && !bytes.is_empty() {
            let kind = io::ErrorKind::StorageFull;
            return Err(io::Error::new(kind, "no space left on device"));
        }
        disk.bytes.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut disk = self.disk.borrow_mut();
        disk.flushes += 1;
        if disk.is_dead || self.plan.power_cut == Some(disk.flushes) {
            disk.is_dead = true;
            return Err(io::Error::other("the power is gone"));
        }
        disk.safe = disk.bytes.len();
        Ok(())
    }
}

impl Sink for FaultFile {
    fn sync(&mut self) -> io::Result<()> {
        if self.plan.failing_sync {
            return Err(io::Error::other("the disk is gone"));
        }
        self.flush()
    }
}

impl Read for FaultFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.disk.borrow_mut();
        let readable = self.plan.readable.unwrap_or(usize::MAX);
        let end = disk.bytes.len().min(readable);
        let count = bytes.len().min(end - disk.position);
        if count == 0 && disk.position >= readable {
            return Err(io::Error::other("the network is gone"));
        }
        let position = disk.position;
        bytes[..count].copy_from_slice(&disk.bytes[position..position + count]);
        disk.position += count;
        Ok(count)
    }
}

/// The preamble, then each frame.
pub(super) fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (records, _) = samples::read_all(bytes);
    let mut starts: Vec<_> = records
        .iter()
        .map(|(info, _)| info.offset as usize)
        .collect();
    starts.insert(0, 0);
    starts.push(bytes.len());
    starts
        .windows(2)
        .map(|ends| bytes[ends[0]..ends[1]].to_vec())
        .collect()
}

/// Makes the numbers and CRCs of frames right again.
pub(super) fn renumber(mut frames: Vec<Vec<u8>>) -> Vec<u8> {
    let seed = seed(&frames[0]);
    for (number, frame) in (0..).zip(&mut frames[1..]) {
        let mut header = header_of(frame, seed);
        header.sequence = number;
        header.payload_crc = crc32fast::hash(payload_of(frame, &header));
        frame[..FRAME_HEADER_BYTES].copy_from_slice(&header.encode(seed));
    }
    frames.concat()
}

/// A frame of this journal.
pub(super) fn framed(journal: &[u8], kind: u8, sequence: u64, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        kind,
        length: payload.len() as u32,
        sequence,
        payload_crc: crc32fast::hash(payload),
    };
    let zeros = vec![0; padding(payload.len() as u64)];
    [&header.encode(seed(journal))[..], payload, &zeros].concat()
}

/// The CRC that those of the headers in this journal continue.
pub(super) fn seed(journal: &[u8]) -> u32 {
    preamble_of(journal).header_seed()
}

pub(super) fn preamble_of(journal: &[u8]) -> Preamble {
    Preamble::decode(journal[..PREAMBLE_BYTES].try_into().unwrap()).unwrap()
}

pub(super) fn header_of(frame: &[u8], seed: u32) -> FrameHeader {
    FrameHeader::decode(frame[..FRAME_HEADER_BYTES].try_into().unwrap(), seed).unwrap()
}

pub(super) fn payload_of<'a>(frame: &'a [u8], header: &FrameHeader) -> &'a [u8] {
    &frame[FRAME_HEADER_BYTES..][..header.length as usize]
}
