//! Arithmetic on one thread, in a build that has threads.
//!
//! Burn's training loop takes `burn-flex` with `rayon`, whatever else a build asks for. Sums of
//! many elements are then made of partial sums, in an order that depends on which thread is done
//! first. A thread that is the only one of a pool shares its work with no other, and takes it in
//! one order; so does each thread that opens a session or a training run in such a build. Without
//! `rayon`, burn-flex computes on one thread as well.

use std::cell::OnceCell;

use rayon::{ThreadPool, ThreadPoolBuilder};

thread_local! {
    /// The pool of this thread, if it was made here.
    static POOL: OnceCell<ThreadPool> = const { OnceCell::new() };
}

/// Makes this thread the only one of a pool, and returns whether it is; a thread of a larger pool
/// stays there.
pub(crate) fn is_alone() -> bool {
    if rayon::current_thread_index().is_none() {
        let pool = ThreadPoolBuilder::new().num_threads(1).use_current_thread();
        if let Ok(pool) = pool.build() {
            POOL.with(|own| own.set(pool).is_ok());
        }
    }
    rayon::current_thread_index().is_some() && rayon::current_num_threads() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_alone_and_one_of_a_pool_is_not() {
        assert!(is_alone());
        assert!(is_alone());
        let pool = ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        assert!(!pool.install(is_alone));
        let pool = ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert!(pool.install(is_alone));
    }
}
