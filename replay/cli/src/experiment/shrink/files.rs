//! What shrinking leaves in a folder.

use std::fs;
use std::io;
use std::path::Path;

use interloom_engine::{Granularity, Schedule};

use crate::experiment::ExperimentError;

/// Says above the text how the two orders are made.
pub(super) fn with_comment(
    text: &str,
    path: &Path,
    run: &str,
    schedule: &Schedule,
    granularity: Granularity,
) -> String {
    let path = path.display();
    let turns = match granularity {
        Granularity::Site => "",
        Granularity::Exchange => " --granularity exchange",
    };
    format!(
        "# Made by `interloom explore --shrink`: the order of the mediators of `{run}` makes a difference, as shown by\n\
         #\n\
         #     interloom explore {path}{turns}\n\
         #     interloom run {path} --schedule {run}={schedule}{turns}\n\n{text}"
    )
}

/// Copies what a trained module is in: a file, or a folder of files.
pub(super) fn copy_module(from: &Path, to: &Path) -> Result<(), ExperimentError> {
    let copy = || -> io::Result<()> {
        if !from.is_dir() {
            return fs::copy(from, to).map(drop);
        }
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            if entry.path().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        Ok(())
    };
    copy().map_err(|error| cannot_write(to, error.to_string()))
}

/// Writes a file.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), ExperimentError> {
    fs::write(path, bytes).map_err(|error| cannot_write(path, error.to_string()))
}

pub(super) fn cannot_write(path: &Path, reason: String) -> ExperimentError {
    ExperimentError::Output {
        path: path.display().to_string(),
        reason,
    }
}
