//! A file of known length that is read piecewise, never past its end.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::FileError;

/// An open file, or bytes that stand for one.
pub(crate) struct Input {
    reader: BufReader<Box<dyn ReadSeek>>,
    length: u64,
    path: PathBuf,
    name: String,
}

pub(crate) trait ReadSeek: Read + Seek + Send + Sync {}
impl<T: Read + Seek + Send + Sync> ReadSeek for T {}

impl Input {
    /// Opens a plain file.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        // Before opening: to open a named pipe would wait for a writer.
        let metadata = std::fs::metadata(path).map_err(|source| FileError::io(path, source))?;
        if !metadata.is_file() {
            let kind = match metadata.is_dir() {
                true => std::io::ErrorKind::IsADirectory,
                false => std::io::ErrorKind::InvalidInput,
            };
            let source = std::io::Error::new(kind, "not a plain file");
            return Err(FileError::Unreadable {
                path: path.to_owned(),
                source,
            });
        }
        let file = std::fs::File::open(path).map_err(|source| FileError::io(path, source))?;
        Ok(Self::new(Box::new(file), metadata.len(), path))
    }

    /// Reads from bytes in memory; `name` is what messages call them.
    pub(crate) fn from_bytes(bytes: Vec<u8>, name: &str) -> Self {
        let length = bytes.len() as u64;
        Self::new(
            Box::new(std::io::Cursor::new(bytes)),
            length,
            Path::new(name),
        )
    }

    fn new(reader: Box<dyn ReadSeek>, length: u64, path: &Path) -> Self {
        Self {
            reader: BufReader::new(reader),
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

    /// Moves to a byte from which [`Input::fill`] continues.
    pub(crate) fn seek(&mut self, offset: u64) -> Result<(), FileError> {
        let moved = self.reader.seek(SeekFrom::Start(offset));
        moved
            .map(drop)
            .map_err(|source| FileError::io(&self.path, source))
    }

    /// Fills a buffer from the current position.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<(), FileError> {
        let filled = self.reader.read_exact(buffer);
        filled.map_err(|source| FileError::io(&self.path, source))
    }

    /// Reads `length` bytes at `offset`; nothing is allocated if the file does not reach so far.
    pub(crate) fn read_at(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, FileError> {
        let end = offset.checked_add(length).filter(|&end| end <= self.length);
        let (Some(_), Ok(size)) = (end, usize::try_from(length)) else {
            return Err(FileError::malformed(
                &self.name,
                format!("byte {offset}"),
                format!("{length} bytes"),
                format!("the end of the file after {} bytes", self.length),
            ));
        };
        let mut bytes = vec![0; size];
        self.seek(offset)?;
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads a whole text file of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    let mut input = Input::open(path)?;
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
        let mut input = Input::from_bytes(vec![1, 2, 3, 4], "four");
        assert_eq!(input.read_at(1, 3).unwrap(), [2, 3, 4]);
        assert!(input.read_at(4, 0).unwrap().is_empty());
        for (offset, length) in [(0, 5), (4, 1), (u64::MAX, 2), (2, u64::MAX)] {
            assert_eq!(input.read_at(offset, length).unwrap_err().code(), "E042");
        }
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
