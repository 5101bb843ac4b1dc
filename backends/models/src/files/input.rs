//! A file of known length that is read piecewise, never past its end.
//!
//! Files are read, not mapped into memory. A mapped file that is cut while it is used ends the
//! program with a signal, and one that is written to changes the weights of a model without a sign
//! in what was recorded with them. What is read here goes through a small buffer for each thread
//! into the memory in which it stays, so that mapping would save that copy and the clearing of the
//! memory.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::FileError;

/// How many bytes are read and decoded at a time: few enough to stay in a cache of the processor.
const PIECE_BYTES: usize = 256 << 10;

/// Turns numbers that are stored in some way into as many values.
pub(crate) type Decode = fn(&[u8], &mut [f32]);

/// An open file, or bytes that stand for one.
pub(crate) struct Input {
    content: Content,
    length: u64,
    path: PathBuf,
    name: String,
}

enum Content {
    File(File),
    Memory(Vec<u8>),
}

impl Input {
    /// Opens a plain file.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        // Before opening: to open a named pipe would wait for a writer.
        let metadata = std::fs::metadata(path).map_err(|source| FileError::io(path, source))?;
        if !metadata.is_file() {
            let kind = match metadata.is_dir() {
                true => ErrorKind::IsADirectory,
                false => ErrorKind::InvalidInput,
            };
            let source = std::io::Error::new(kind, "not a plain file");
            return Err(FileError::Unreadable {
                path: path.to_owned(),
                source,
            });
        }
        let file = File::open(path).map_err(|source| FileError::io(path, source))?;
        Ok(Self::new(Content::File(file), metadata.len(), path))
    }

    /// Reads from bytes in memory; `name` is what messages call them.
    pub(crate) fn from_bytes(bytes: Vec<u8>, name: &str) -> Self {
        let length = bytes.len() as u64;
        Self::new(Content::Memory(bytes), length, Path::new(name))
    }

    fn new(content: Content, length: u64, path: &Path) -> Self {
        Self {
            content,
            length,
            path: path.to_owned(),
            name: path.display().to_string(),
        }
    }

    /// The length in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The name that messages use.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns a reader from the first byte on.
    pub(crate) fn reader(&self) -> impl Read {
        BufReader::new(Reader { input: self, at: 0 })
    }

    /// Returns what happened while the file was read, as an error.
    pub(crate) fn fault(&self, source: std::io::Error) -> FileError {
        FileError::io(&self.path, source)
    }

    /// Reads `length` bytes at `offset`; nothing is allocated if the file does not reach so far.
    pub(crate) fn read_at(&self, offset: u64, length: u64) -> Result<Vec<u8>, FileError> {
        let size = self.check_range(offset, length)?;
        let mut bytes = vec![0; size];
        self.fill(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads `length` bytes at `offset`, which are blocks of so many bytes for so many values, and
    /// decodes them piece by piece, on several threads; an incomplete block at the end is left out.
    pub(crate) fn decode_at(
        &self,
        offset: u64,
        length: u64,
        [bytes, values]: [usize; 2],
        decode: impl Fn(&[u8], &mut [f32]) + Sync,
    ) -> Result<Vec<f32>, FileError> {
        let blocks = self.check_range(offset, length)? / bytes;
        let mut decoded = vec![0.0; blocks * values];
        let at_a_time = (PIECE_BYTES / bytes).clamp(1, blocks.max(1));
        let pieces = decoded.par_chunks_mut(at_a_time * values).enumerate();
        let done = pieces.map_init(
            || vec![0; at_a_time * bytes],
            |piece, (number, decoded)| {
                let piece = &mut piece[..decoded.len() / values * bytes];
                self.fill(offset + (number * at_a_time * bytes) as u64, piece)?;
                decode(piece, decoded);
                Ok(())
            },
        );
        // Of several errors the first in the file is returned.
        let done: Vec<Result<(), FileError>> = done.collect();
        done.into_iter().collect::<Result<(), FileError>>()?;
        Ok(decoded)
    }

    fn check_range(&self, offset: u64, length: u64) -> Result<usize, FileError> {
        let end = offset.checked_add(length).filter(|&end| end <= self.length);
        match (end, usize::try_from(length)) {
            (Some(_), Ok(size)) => Ok(size),
            _ => Err(FileError::malformed(
                &self.name,
                format!("byte {offset}"),
                format!("{length} bytes"),
                format!("the end of the file after {} bytes", self.length),
            )),
        }
    }

    fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        let mut reader = Reader {
            input: self,
            at: offset,
        };
        let filled = reader.read_exact(buffer);
        filled.map_err(|source| self.fault(source))
    }
}

/// A place in a file, which no other reader of it moves.
struct Reader<'i> {
    input: &'i Input,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = match &self.input.content {
            Content::File(file) => read_at(file, buffer, self.at)?,
            Content::Memory(bytes) => {
                let start = usize::try_from(self.at).unwrap_or(usize::MAX);
                let mut rest = bytes.get(start..).unwrap_or_default();
                rest.read(buffer)?
            }
        };
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

/// Reads a whole text file of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    let input = Input::open(path)?;
    let length = input.length();
    if length > limit {
        return Err(FileError::malformed(
            input.name(),
            "its length",
            format!("at most {limit} bytes"),
            format!("{length} bytes"),
        ));
    }
    let bytes = input.read_at(0, length)?;
    String::from_utf8(bytes).map_err(|error| {
        let byte = error.utf8_error().valid_up_to();
        FileError::malformed(
            input.name(),
            format!("byte {byte}"),
            "UTF-8 text",
            "other bytes",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_stays_inside_the_file() {
        let input = Input::from_bytes(vec![1, 2, 3, 4], "four");
        assert_eq!(input.read_at(1, 3).unwrap(), [2, 3, 4]);
        assert!(input.read_at(4, 0).unwrap().is_empty());
        for (offset, length) in [(0, 5), (4, 1), (u64::MAX, 2), (2, u64::MAX)] {
            assert_eq!(input.read_at(offset, length).unwrap_err().code(), "E042");
        }
    }

    #[test]
    fn pieces_are_of_whole_blocks() {
        let bytes: Vec<u8> = (0..2 * PIECE_BYTES + 5)
            .map(|at| (at % 251) as u8)
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bytes");
        std::fs::write(&path, &bytes).unwrap();
        let input = Input::open(&path).unwrap();
        let memory = Input::from_bytes(bytes.clone(), "bytes");
        // Of each block the first byte and the last.
        for block in [1, 2, 210, PIECE_BYTES + 1] {
            let ends = |bytes: &[u8], values: &mut [f32]| {
                assert!(bytes.len().is_multiple_of(block));
                for (bytes, values) in bytes.chunks(block).zip(values.chunks_mut(2)) {
                    values.copy_from_slice(&[bytes[0].into(), bytes[block - 1].into()]);
                }
            };
            let whole = bytes[1..].chunks_exact(block);
            let expected: Vec<f32> = whole
                .flat_map(|bytes| [bytes[0].into(), bytes[block - 1].into()])
                .collect();
            for input in [&input, &memory] {
                let length = bytes.len() as u64 - 1;
                let found = input.decode_at(1, length, [block, 2], ends);
                assert_eq!(found.unwrap(), expected, "{block}");
                let beyond = input.decode_at(2, length, [block, 2], ends);
                assert_eq!(beyond.unwrap_err().code(), "E042");
            }
        }
        // A file that is cut while it is read ends in an error.
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(9).unwrap();
        assert_eq!(input.read_at(0, 10).unwrap_err().code(), "E041");
    }

    #[test]
    fn only_plain_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let code = |path: &Path| Input::open(path).map(drop).unwrap_err().code();
        assert_eq!(code(folder.path()), "E041");
        assert_eq!(code(&folder.path().join("none")), "E040");
    }

    #[test]
    fn texts_are_limited_and_must_be_utf8() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, b"{}").unwrap();
        assert_eq!(read_text(&path, 2).unwrap(), "{}");
        assert_eq!(read_text(&path, 1).unwrap_err().code(), "E042");
        std::fs::write(&path, b"a\xff").unwrap();
        let message = read_text(&path, 9).unwrap_err().to_string();
        assert!(
            message.contains("found other bytes (at byte 1 of"),
            "{message}"
        );
    }
}
