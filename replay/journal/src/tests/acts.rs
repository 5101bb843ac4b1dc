//! Every kind of fault of the table in `docs/TRUST.md`, and where it is done.

use super::faults::{FaultFile, Plan, framed, header_of, payload_of, preamble_of, renumber, split};
use super::frame::{FRAME_HEADER_BYTES, FrameKind, PREAMBLE_BYTES, Preamble};
use super::trust::{Original, Row};
use super::*;

/// Does a fault to a journal in each place, and counts in the row what is noticed.
pub(super) type Act = fn(&mut Row, &Original);

/// What disks, transfers and crashes do to bytes.
pub(super) const DAMAGE: &[(&str, Act)] = &[
    ("each bit flipped", |row, original| {
        let mut bytes = original.bytes.clone();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            row.read(original, &bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }),
    ("each byte set to zero that is not", |row, original| {
        let mut bytes = original.bytes.clone();
        for at in 0..bytes.len() {
            let byte = std::mem::take(&mut bytes[at]);
            if byte != 0 {
                row.read(original, &bytes);
            }
            bytes[at] = byte;
        }
    }),
    ("cut at each byte", |row, original| {
        for cut in 0..original.bytes.len() {
            row.read(original, &original.bytes[..cut]);
        }
    }),
    ("each byte and all after it set to zero", |row, original| {
        for cut in 0..original.bytes.len() - 1 {
            let mut bytes = original.bytes.clone();
            bytes[cut..].fill(0);
            if bytes != original.bytes {
                row.read(original, &bytes);
            }
        }
    }),
    (
        "cut after each frame, then 1 to 64 zeros",
        |row, original| {
            for end in original.ends() {
                for zeros in 1..=64 {
                    let zeros = vec![0; zeros];
                    row.read(original, &[&original.bytes[..end], &zeros].concat());
                }
            }
        },
    ),
    ("cut after each frame, then other bytes", |row, original| {
        for end in original.ends() {
            for garbage in [&b"\xFF"[..], b"chapter one\n", &[0x04; 64], &original.bytes] {
                row.read(original, &[&original.bytes[..end], garbage].concat());
            }
        }
    }),
    ("a frame dropped", |row, original| {
        for at in 1..original.frames.len() {
            row.read(original, &without(original, at).concat());
        }
    }),
    ("a frame repeated", |row, original| {
        for at in 0..original.frames.len() {
            row.read(original, &repeated(original, at).concat());
        }
    }),
    ("two frames swapped", |row, original| {
        for pair in pairs(original) {
            row.read(original, &swapped(original, pair).concat());
        }
    }),
    ("a frame of a journal with another head", |row, original| {
        let other = other_frames();
        for at in 1..original.frames.len().min(other.len()) {
            let mut frames = original.frames.clone();
            frames[at].clone_from(&other[at]);
            row.read(original, &frames.concat());
        }
    }),
    ("a cut and a flipped bit, 10,000 pairs", |row, original| {
        let mut random = Random(7);
        for _ in 0..10_000 {
            let cut = 1 + random.below(original.bytes.len());
            let mut bytes = original.bytes[..cut].to_vec();
            bytes[random.below(cut)] ^= 1 << random.below(8);
            row.read(original, &bytes);
        }
    }),
];

/// Forgeries: changes after which CRCs and numbers are made right again.
pub(super) const FORGERY: &[(&str, Act)] = &[
    (
        "a frame dropped, CRCs and numbers made right",
        |row, original| {
            for at in 2..original.frames.len() {
                let is_tensor = matches!(original.records[at - 1], Record::Tensor(_));
                if !is_tensor {
                    row.read(original, &forged(original, without(original, at)));
                }
            }
        },
    ),
    (
        "a frame repeated, CRCs and numbers made right",
        |row, original| {
            for at in 1..original.frames.len() {
                row.read(original, &forged(original, repeated(original, at)));
            }
        },
    ),
    (
        "two frames swapped, CRCs and numbers made right",
        |row, original| {
            for pair in pairs(original) {
                row.read(original, &forged(original, swapped(original, pair)));
            }
        },
    ),
    ("a wrong length, CRCs made right", |row, original| {
        let seed = original.seed();
        for at in 1..original.frames.len() {
            let header = header_of(&original.frames[at], seed);
            let lengths = [
                0,
                1,
                8,
                header.length ^ 1,
                header.length + 8,
                1 << 20,
                u32::MAX,
            ];
            for length in lengths {
                let mut forged = header;
                forged.length = length;
                let mut frames = original.frames.clone();
                let from = FRAME_HEADER_BYTES;
                let rest: Vec<u8> = frames[at..].concat()[from..].to_vec();
                let payload = rest.get(..length as usize).unwrap_or(&rest);
                forged.payload_crc = crc32fast::hash(payload);
                frames[at][..from].copy_from_slice(&forged.encode(seed));
                if length != header.length {
                    row.read(original, &frames.concat());
                }
            }
        }
    }),
    ("an unknown kind that must be known", |row, original| {
        for at in 2..original.frames.len() {
            for kind in [0x00, 0x0C, 0x40, 0x7F] {
                row.read(original, &with_kind(original, at, kind));
            }
        }
    }),
    ("an unknown kind that may be skipped", |row, original| {
        for at in 2..original.frames.len() {
            for kind in [0x83, 0xC0, 0xFF] {
                row.read(original, &with_kind(original, at, kind));
            }
        }
    }),
    ("a newer minor version", |row, original| {
        for minor in [1, 9, u16::MAX] {
            row.read(original, &with_version(original, 1, minor));
        }
    }),
    ("a newer major version", |row, original| {
        for (major, minor) in [(2, 0), (2, 1), (u16::MAX, 0)] {
            row.read(original, &with_version(original, major, minor));
        }
    }),
    ("the major version 0", |row, original| {
        row.read(original, &with_version(original, 0, 1));
    }),
    (
        "a tensor taken out, CRCs and numbers made right",
        |row, original| {
            for at in tensors(original) {
                row.read(original, &forged(original, without(original, at)));
            }
        },
    ),
    ("a tensor altered, CRCs made right", |row, original| {
        let seed = original.seed();
        for at in tensors(original) {
            let header = header_of(&original.frames[at], seed);
            for byte in 0..header.length as usize {
                let mut frames = original.frames.clone();
                frames[at][FRAME_HEADER_BYTES + byte] ^= 1;
                row.read(original, &forged(original, frames));
            }
        }
    }),
    ("a tensor under another tensor's digest", |row, original| {
        let seed = original.seed();
        for at in tensors(original) {
            for other in tensors(original).into_iter().filter(|other| *other != at) {
                let frame = &original.frames[other];
                let digest = &payload_of(frame, &header_of(frame, seed))[..32];
                let mut frames = original.frames.clone();
                frames[at][FRAME_HEADER_BYTES..][..32].copy_from_slice(digest);
                row.read(original, &forged(original, frames));
            }
        }
    }),
];

/// What the system does to a writer or a reader.
pub(super) const SYSTEM: &[(&str, Act)] = &[
    ("short writes of 1 to 64 bytes", |row, original| {
        for at_once in 1..=64 {
            let at_once = Some(at_once);
            row.write(
                original,
                Plan {
                    at_once,
                    ..Plan::default()
                },
            );
        }
    }),
    ("every other write interrupted", |row, original| {
        let interrupts = true;
        row.write(
            original,
            Plan {
                interrupts,
                ..Plan::default()
            },
        );
    }),
    ("the disk full at each byte", |row, original| {
        for room in 0..original.bytes.len() {
            let room = Some(room);
            row.write(
                original,
                Plan {
                    room,
                    ..Plan::default()
                },
            );
        }
    }),
    ("each write refused once", |row, original| {
        let writes = Row::new("")
            .write(original, Plan::default())
            .disk
            .borrow()
            .writes;
        for failing_write in 1..=writes {
            let failing_write = Some(failing_write);
            row.write(
                original,
                Plan {
                    failing_write,
                    ..Plan::default()
                },
            );
        }
    }),
    ("the power cut at each flush", |row, original| {
        let flushes = Row::new("")
            .write(original, Plan::default())
            .disk
            .borrow()
            .flushes;
        for power_cut in 1..=flushes {
            let power_cut = Some(power_cut);
            let file = row.write(
                original,
                Plan {
                    power_cut,
                    ..Plan::default()
                },
            );
            // What was not flushed is gone, half there, or has its length but not its bytes.
            let (bytes, safe) = (file.bytes(), file.disk.borrow().safe);
            let half = (safe + bytes.len()) / 2;
            for kept in [safe, half] {
                for zeros in [0, bytes.len() - kept] {
                    let image = [&bytes[..kept], &vec![0; zeros]].concat();
                    let mut found = Row::new("");
                    found.read(original, &image);
                    row.changed += found.changed;
                }
            }
        }
    }),
    ("the end not made durable", |row, original| {
        let failing_sync = true;
        row.write(
            original,
            Plan {
                failing_sync,
                ..Plan::default()
            },
        );
    }),
    ("reading refused at each byte", |row, original| {
        for readable in 0..original.bytes.len() {
            row.cases += 1;
            let readable = Some(readable);
            let plan = Plan {
                readable,
                ..Plan::default()
            };
            let file = FaultFile::with_bytes(plan, &original.bytes);
            let mut records = Vec::new();
            let error = match JournalReader::new(file, "a.ilj") {
                Err(error) => error,
                Ok(reader) => reader
                    .filter_map(|item| item.map(|(_, record)| records.push(record)).err())
                    .last()
                    .expect("the source fails"),
            };
            row.refuse(error.code());
            row.changed += u64::from(!original.begins_with(&records));
        }
    }),
];

fn without(original: &Original, at: usize) -> Vec<Vec<u8>> {
    let mut frames = original.frames.clone();
    frames.remove(at);
    frames
}

fn repeated(original: &Original, at: usize) -> Vec<Vec<u8>> {
    let mut frames = original.frames.clone();
    frames.insert(at, frames[at].clone());
    frames
}

fn swapped(original: &Original, (a, b): (usize, usize)) -> Vec<Vec<u8>> {
    let mut frames = original.frames.clone();
    frames.swap(a, b);
    frames
}

/// All pairs of different frames after the head.
fn pairs(original: &Original) -> Vec<(usize, usize)> {
    let count = original.frames.len();
    (2..count)
        .flat_map(|a| (a + 1..count).map(move |b| (a, b)))
        .filter(|(a, b)| original.frames[*a] != original.frames[*b])
        .collect()
}

fn tensors(original: &Original) -> Vec<usize> {
    let is_tensor = |at: &usize| matches!(original.records[at - 1], Record::Tensor(_));
    (1..original.frames.len()).filter(is_tensor).collect()
}

/// The frames of the same run on another device.
fn other_frames() -> Vec<Vec<u8>> {
    let head = Head {
        device: "cuda:0".into(),
        ..samples::head()
    };
    let mut bytes = Vec::new();
    samples::write_golden(JournalWriter::new(&mut bytes, "b.ilj", &head).unwrap()).unwrap();
    split(&bytes)
}

/// The journal with one more frame, of this kind.
fn with_kind(original: &Original, at: usize, kind: u8) -> Vec<u8> {
    let mut frames = original.frames.clone();
    let frame = framed(&original.bytes, kind, 0, b"what later versions write");
    frames.insert(at, frame);
    forged(original, frames)
}

/// Makes numbers and CRCs right, and the count of frames in the footer if it is the last.
pub(super) fn forged(original: &Original, mut frames: Vec<Vec<u8>>) -> Vec<u8> {
    if let Some(Record::Footer(footer)) = original.records.last()
        && frames.last() == original.frames.last()
    {
        let last = frames.len() - 1;
        let footer = Footer {
            frames: last as u64 - 1,
            ..footer.clone()
        };
        let mut payload = Vec::new();
        super::super::wire::encode_named(&footer, &mut payload).unwrap();
        frames[last] = framed(&original.bytes, FrameKind::Footer as u8, 0, &payload);
    }
    renumber(frames)
}

fn with_version(original: &Original, major: u16, minor: u16) -> Vec<u8> {
    let preamble = Preamble {
        major,
        minor,
        ..preamble_of(&original.bytes)
    };
    [&preamble.encode()[..], &original.bytes[PREAMBLE_BYTES..]].concat()
}

/// A small generator, the same everywhere (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) % limit as u64) as usize
    }
}
