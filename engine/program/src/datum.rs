//! The data of a running program, and the results that it leaves.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use interloom_engine::{Cached, Fault};

/// The content of a variable of a program.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum<V> {
    /// A number.
    Number(f64),
    /// A value.
    Value(V),
    /// A list of numbers and values.
    List(Rc<Vec<Datum<V>>>),
}

impl<V> Datum<V> {
    /// Returns what kind of thing this is, with its article.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Number(_) => "a number",
            Self::Value(_) => "a value",
            Self::List(_) => "a list",
        }
    }
}

/// The results of programs: what they have saved, marked, caught and cached.
///
/// A handle: its clones are the same results. The machines of a run may share one, so that marks
/// stand in the order in which the run came to them; of two things saved by one name the later one
/// is kept.
pub struct Results<V>(Rc<RefCell<Inner<V>>>);

struct Inner<V> {
    saved: BTreeMap<String, Saved<V>>,
    /// How many times something was saved.
    saves: u64,
    marks: Vec<String>,
    caught: BTreeMap<String, Fault>,
    caches: BTreeMap<String, Cached<V>>,
}

struct Saved<V> {
    datum: Datum<V>,
    ticket: Ticket,
}

/// Which time something was saved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ticket(u64);

impl<V> Clone for Results<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> Default for Results<V> {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(Inner {
            saved: BTreeMap::new(),
            saves: 0,
            marks: Vec::new(),
            caught: BTreeMap::new(),
            caches: BTreeMap::new(),
        })))
    }
}

impl<V: Clone> Results<V> {
    /// Makes empty results.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns everything that was saved, by name.
    pub fn saved(&self) -> BTreeMap<String, Datum<V>> {
        let saved = &self.0.borrow().saved;
        let entries = saved.iter();
        entries
            .map(|(name, saved)| (name.clone(), saved.datum.clone()))
            .collect()
    }

    /// Returns what was saved by a name.
    pub fn get(&self, name: &str) -> Option<Datum<V>> {
        let saved = &self.0.borrow().saved;
        saved.get(name).map(|saved| saved.datum.clone())
    }

    /// Returns the value that was saved by a name; nothing also if that is a number or a list.
    pub fn value(&self, name: &str) -> Option<V> {
        match self.get(name)? {
            Datum::Value(value) => Some(value),
            Datum::Number(_) | Datum::List(_) => None,
        }
    }

    /// Returns the values of a list that was saved by a name; nothing also if that is no list, or
    /// has numbers in it.
    pub fn list(&self, name: &str) -> Option<Vec<V>> {
        let Datum::List(items) = self.get(name)? else {
            return None;
        };
        let value = |item: &Datum<V>| match item {
            Datum::Value(value) => Some(value.clone()),
            Datum::Number(_) | Datum::List(_) => None,
        };
        items.iter().map(value).collect()
    }

    /// Returns the marks, in the order in which they were made.
    pub fn marks(&self) -> Vec<String> {
        self.0.borrow().marks.clone()
    }

    /// Returns the errors that were caught under a name; of several the last.
    pub fn caught(&self) -> BTreeMap<String, Fault> {
        self.0.borrow().caught.clone()
    }

    /// Returns the cache of a name, once the program has declared it.
    pub fn cache(&self, name: &str) -> Option<Cached<V>> {
        self.0.borrow().caches.get(name).cloned()
    }

    /// Keeps a cache that a program, or a mediator beside it, has declared.
    pub fn declare_cache(&self, name: &str, cached: Cached<V>) {
        self.0.borrow_mut().caches.insert(name.to_owned(), cached);
    }

    /// Saves something, in place of what was saved by that name before.
    pub fn save(&self, name: &str, datum: Datum<V>) {
        self.save_growing(name, datum);
    }

    /// The same for a list that may keep growing.
    pub(crate) fn save_growing(&self, name: &str, datum: Datum<V>) -> Ticket {
        let mut inner = self.0.borrow_mut();
        inner.saves += 1;
        let ticket = Ticket(inner.saves);
        let saved = Saved { datum, ticket };
        inner.saved.insert(name.to_owned(), saved);
        ticket
    }

    /// Adds to a list that is saved, unless something else was saved by its name since.
    pub(crate) fn extend(&self, name: &str, ticket: Ticket, item: Datum<V>) {
        if let Some(saved) = self.0.borrow_mut().saved.get_mut(name)
            && let Datum::List(items) = &mut saved.datum
            && saved.ticket == ticket
        {
            Rc::make_mut(items).push(item);
        }
    }

    /// Notes that a program, or a mediator beside it, has come to a mark.
    pub fn mark(&self, text: &str) {
        self.0.borrow_mut().marks.push(text.to_owned());
    }

    /// Keeps an error that was caught, in place of one that was caught under that name before.
    pub fn catch(&self, name: &str, fault: Fault) {
        self.0.borrow_mut().caught.insert(name.to_owned(), fault);
    }
}
