//! Panics that end as errors, so that a program need not show them as well.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// How many calls there are on this thread, one inside another, that catch a panic.
    static CATCHING: Cell<u32> = const { Cell::new(0) };
}

/// Returns whether a run catches panics on this thread and reports them as errors, such as E036 or
/// E011.
///
/// The panic hook is the program's: a library has to leave it alone. A program that does not want
/// to show such panics twice installs a hook that asks this first.
///
/// ```
/// let shown = std::panic::take_hook();
/// std::panic::set_hook(Box::new(move |panic| {
///     if !interloom_backends::panics_are_caught() {
///         shown(panic);
///     }
/// }));
/// ```
pub fn panics_are_caught() -> bool {
    // A thread that is being torn down catches nothing.
    CATCHING
        .try_with(|catching| catching.get() > 0)
        .unwrap_or(false)
}

/// Runs `f`, and returns what it panics with if it does.
///
/// The caller reports what became of the panic, and reads nothing that `f` may have left half done.
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    let _catching = Catching::begin();
    catch_unwind(AssertUnwindSafe(f))
}

/// The part of a thread's work whose panics are caught, here or by the thread that waits for it.
pub(crate) struct Catching;

impl Catching {
    pub(crate) fn begin() -> Self {
        CATCHING.set(CATCHING.get() + 1);
        Self
    }
}

impl Drop for Catching {
    fn drop(&mut self) {
        CATCHING.set(CATCHING.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_inside_is_caught() {
        let seen = catch(|| {
            let inner = catch(|| panic!("inner"));
            (inner.is_err(), panics_are_caught())
        });
        assert_eq!(seen.ok(), Some((true, true)));
        assert!(!panics_are_caught());
    }
}
