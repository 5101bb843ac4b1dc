//! What names stand for.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Origin, Tensor, Thing};

/// Names with what they stand for.
pub(crate) type Globals<T> = Rc<RefCell<BTreeMap<String, Thing<T>>>>;

/// What is saved, by name, of all runs.
pub(crate) type Saved<T> = Rc<RefCell<BTreeMap<String, SavedThing<T>>>>;

/// Something that was saved, which may change in its place afterwards.
pub(crate) struct SavedThing<T> {
    pub(crate) thing: Thing<T>,
    /// What it was when it was saved.
    pub(crate) snapshot: Thing<T>,
}

/// The names that one body sees.
pub(crate) struct Names<T> {
    own: RefCell<BTreeMap<String, Thing<T>>>,
    /// What there was when the body was written.
    before: BTreeMap<String, Thing<T>>,
    /// Those of all bodies that stand together, the last value of each.
    shared: Globals<T>,
    saved: Saved<T>,
    /// Where each own value was read.
    read_at: RefCell<BTreeMap<String, Origin>>,
}

impl<T: Tensor> Names<T> {
    pub(crate) fn new(
        before: BTreeMap<String, Thing<T>>,
        shared: Globals<T>,
        saved: Saved<T>,
    ) -> Self {
        Self {
            own: RefCell::default(),
            before,
            shared,
            saved,
            read_at: RefCell::default(),
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<Thing<T>> {
        let own = self.own.borrow().get(name).cloned();
        let own = own.or_else(|| self.before.get(name).cloned());
        own.or_else(|| self.shared.borrow().get(name).cloned())
    }

    pub(super) fn assign(&self, name: &str, thing: Thing<T>, read_at: Option<Origin>) {
        self.own.borrow_mut().insert(name.to_owned(), thing.clone());
        self.shared.borrow_mut().insert(name.to_owned(), thing);
        let mut places = self.read_at.borrow_mut();
        match read_at {
            Some(origin) => places.insert(name.to_owned(), origin),
            None => places.remove(name),
        };
    }

    /// Saves what a name stands for; the name is the body's own from then on.
    pub(super) fn save(&self, name: &str, thing: Thing<T>) {
        self.own.borrow_mut().insert(name.to_owned(), thing.clone());
        let snapshot = thing.snapshot();
        let saved = SavedThing { thing, snapshot };
        self.saved.borrow_mut().insert(name.to_owned(), saved);
    }

    pub(super) fn read_at(&self, name: &str) -> Option<Origin> {
        self.read_at.borrow().get(name).cloned()
    }
}
