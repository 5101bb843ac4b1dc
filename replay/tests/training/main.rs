//! Training runs: recorded, killed, resumed, made again, compared and forked.

mod faults;
mod files;
mod net;
mod sittings;
