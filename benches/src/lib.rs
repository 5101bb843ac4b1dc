//! Criterion benches of the workspace; they are in `benches/benches`, each beside what it is
//! compared with.
