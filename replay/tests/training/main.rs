//! Training runs: recorded, killed, resumed, made again, compared and forked.

mod exact;
mod faults;
mod files;
mod kills;
mod learned;
#[cfg(feature = "train")]
mod learner;
mod net;
mod ranks;
mod sittings;
