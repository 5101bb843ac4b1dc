//! A file that is renamed into its place when it is whole, and is not there before.
//!
//! All that is made *of* a journal is written so; a recording is not, so that a crash leaves what
//! was written.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// A file that is written beside its place, and takes it when it is whole; until then an older file
/// stays there.
///
/// Dropped before that, it is removed.
#[derive(Debug)]
pub struct Unfinished {
    file: File,
    path: PathBuf,
    place: PathBuf,
    is_put: bool,
}

/// How many names are tried: other processes may have left files of these.
const NAMES: u32 = 1000;

impl Unfinished {
    /// Begins a file for `place`, in the same folder and so on the same disk.
    ///
    /// # Errors
    /// The system's, if no file can be made there or what is there is no regular file.
    pub fn beside(place: &Path) -> io::Result<Self> {
        // Where a link leads, not where it stands.
        let place = place.canonicalize().unwrap_or_else(|_| place.to_owned());
        if place.metadata().is_ok_and(|there| !there.is_file()) {
            return Err(io::Error::other("what is there is not a regular file"));
        }
        for number in 0..NAMES {
            let path = beside(&place, number);
            let mut options = OpenOptions::new();
            match options.read(true).write(true).create_new(true).open(&path) {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        path,
                        place,
                        is_put: false,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Returns the file, empty at first.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns the path that the file has until it is renamed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the file in its place, once all of it is on the disk.
    ///
    /// # Errors
    /// The system's; an older file is then still there.
    pub fn put(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.place)?;
        self.is_put = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_put {
            // A drop cannot report an error.
            fs::remove_file(&self.path).ok();
        }
    }
}

/// `out.json` becomes `out.json.0.part`.
fn beside(place: &Path, number: u32) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(format!(".{number}.part"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn an_older_file_stays_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("out");
        fs::write(&place, "older").unwrap();
        // Whatever is called as it would be is left alone.
        fs::write(beside(&place, 0), "somebody's").unwrap();
        let begun = Unfinished::beside(&place).unwrap();
        begun.file().write_all(b"half").unwrap();
        drop(begun);
        assert_eq!(fs::read(&place).unwrap(), b"older");
        let begun = Unfinished::beside(&place).unwrap();
        begun.file().write_all(b"whole").unwrap();
        begun.put().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"whole");
        assert_eq!(fs::read(beside(&place, 0)).unwrap(), b"somebody's");
        assert_eq!(folder.path().read_dir().unwrap().count(), 2);
    }

    #[test]
    fn only_a_regular_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Unfinished::beside(folder.path()).is_err());
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_goes_on_to_lead_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (place, link) = (folder.path().join("out"), folder.path().join("link"));
        fs::write(&place, "older").unwrap();
        std::os::unix::fs::symlink("out", &link).unwrap();
        let begun = Unfinished::beside(&link).unwrap();
        begun.file().write_all(b"whole").unwrap();
        begun.put().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"whole");
        assert!(link.is_symlink());
    }
}
