//! What a recorded training of a `Learner` cannot be.

use thiserror::Error;

/// The reason for which the training of a `Learner` cannot be recorded and resumed to the bit.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
#[non_exhaustive]
pub enum LearnerRefusal {
    /// The data come from another loader than the one that the training is recorded with.
    #[error(
        "its training data come from another loader than the `OrderedLoader` of its `Recorder`: burn's own loaders begin \
         their shuffle anew after a resume, and with several workers deliver in the order of arrival; give \
         `SupervisedTraining::new` a clone of that `Arc`"
    )]
    Loader,
    /// It begins from a checkpoint of burn's.
    #[error(
        "it begins from burn's checkpoint of epoch {epoch}, which has no position in the data, no seeds, and an optimizer state \
         that is dropped where it does not fit; leave `checkpoint({epoch})` away, and resume the folder of the training run"
    )]
    Checkpoint {
        /// The epoch.
        epoch: usize,
    },
    /// The data are on another device than the training run.
    #[error(
        "its data are made on {loader}, and the training run seeds {run}; give both the same device"
    )]
    Device {
        /// The device of the loader.
        loader: String,
        /// That of the training run.
        run: String,
    },
    /// Early stopping would judge epochs of which a part was made in another process.
    #[error(
        "early stopping judges whole epochs, of {epoch} steps, and the training run makes a checkpoint every {checkpoints} steps: \
         after a resume in the middle of an epoch its metrics would be of the rest of it; call \
         `checkpoint_every({epoch})`, or leave early stopping away"
    )]
    EarlyStopping {
        /// How many steps an epoch has.
        epoch: u64,
        /// How many steps there are from one checkpoint to the next.
        checkpoints: u64,
    },
    /// Burn trained with another strategy, or not at all.
    #[error(
        "it was launched with another strategy, or not at all: burn's strategies for several devices train on a thread for each, \
         and their loops cannot be entered at a step; call `with_training_strategy(recorder.strategy())` last, and launch \
         before asking for the training run"
    )]
    Strategy,
}
