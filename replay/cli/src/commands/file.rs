//! An experiment file, with what is to be another than it says.

use std::path::PathBuf;

use clap::Args;

use crate::CliError;
use crate::experiment::FileExperiment;

/// The options of commands that make the runs of an experiment file.
#[derive(Args)]
pub(super) struct File {
    /// The experiment file.
    #[arg(value_name = "EXPERIMENT")]
    experiment: PathBuf,
    /// Another model than the file names.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Another device than the file names: `cpu`, `cuda` or `cuda:N`.
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Another value for a name in the file's `[set]`; can be given several times.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

impl File {
    /// Reads the file.
    pub(super) fn open(&self) -> Result<FileExperiment, CliError> {
        let mut experiment = FileExperiment::open(&self.experiment)?;
        experiment.model.clone_from(&self.model);
        experiment.device.clone_from(&self.device);
        experiment.set = self.set.iter().cloned().collect();
        Ok(experiment)
    }
}

/// Reads `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=');
    let pair = pair.map(|(name, value)| (name.to_owned(), value.to_owned()));
    pair.ok_or_else(|| "it is written NAME=VALUE".to_owned())
}
