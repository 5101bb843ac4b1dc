//! The check that a file to be written is not the one that is read.

use std::path::Path;

use super::error::JournalError;

/// Refuses to write `to` where it is the same file as `from`, by whatever name; `reason` says what
/// `from` is.
///
/// # Errors
/// E070 if they are one file.
pub fn check_is_another(from: &Path, to: &Path, reason: &str) -> Result<(), JournalError> {
    if !is_same_file(from, to) {
        return Ok(());
    }
    Err(JournalError::WouldOverwrite {
        journal: to.display().to_string().into(),
        reason: reason.to_owned(),
    })
}

/// Whether two paths lead to one file: a hard link has another path, but the same device and inode.
#[cfg(unix)]
fn is_same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    match (a.metadata(), b.metadata()) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        // What is not there is no other file.
        _ => false,
    }
}

/// Whether two paths lead to one file; hard links are not seen through.
#[cfg(not(unix))]
fn is_same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_itself_by_every_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a"), "").unwrap();
        std::fs::write(path("b"), "").unwrap();
        assert!(is_same_file(&path("a"), &path("./a")));
        assert!(!is_same_file(&path("a"), &path("b")));
        assert!(!is_same_file(&path("none"), &path("none")));
        let refused = check_is_another(&path("a"), &path("a"), "it is read").unwrap_err();
        assert_eq!(refused.code(), "E070");
        #[cfg(unix)]
        {
            std::fs::hard_link(path("a"), path("hard")).unwrap();
            std::os::unix::fs::symlink("a", path("soft")).unwrap();
            assert!(is_same_file(&path("hard"), &path("a")));
            assert!(is_same_file(&path("soft"), &path("hard")));
            assert!(!is_same_file(&path("soft"), &path("b")));
        }
    }
}
