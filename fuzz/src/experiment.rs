//! The target for experiment files and the programs in them.

use interloom_cli::experiment::FileExperiment;

const NAME: &str = "fuzz.toml";

/// Reads an experiment file with its programs, as far as that needs no model.
///
/// # Panics
///
/// Panics if what is refused is not said with its place in the file.
pub fn experiment(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    match FileExperiment::new(NAME, &text).check() {
        Ok(()) => true,
        Err(error) => {
            let message = error.to_string();
            let place = message
                .strip_prefix(NAME)
                .and_then(|rest| rest.strip_prefix(':'));
            let line = place.and_then(|place| place.split(':').next()?.parse::<usize>().ok());
            let lines = text.matches('\n').count() + 1;
            assert!(
                line.is_some_and(|line| (1..=lines).contains(&line)),
                "{message}"
            );
            false
        }
    }
}
