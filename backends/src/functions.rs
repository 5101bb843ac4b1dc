//! The functions that a mediator can put in the place of what an operation calls, by name.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use interloom_engine::{Fault, SiteMap, nearest_of};
use interloom_program::Modules;

use crate::value::Value;

/// The functions of a run by name: what a swap at an operation's `fn` can put in the place of what
/// the source calls.
///
/// A handle: its clones are the same functions, so that a mediator can add one of its own while the
/// run is under way. A journal has the name of a function only: whoever makes a run again, without
/// the journal in the place of its model, gives it functions of the same names.
///
/// A function takes what passes the operation's `input`, one operand or a tuple of several, and
/// returns what is to pass its `output`. See [`Operations`](crate::Operations).
#[derive(Clone, Default)]
pub struct Functions {
    named: Rc<RefCell<BTreeMap<Arc<str>, Function>>>,
    modules: Rc<RefCell<Option<Rc<dyn Modules<Value>>>>>,
}

/// A function by erased values.
pub(crate) type Function = Rc<dyn Fn(Value) -> Result<Value, Fault>>;

/// What there is by a name.
pub(crate) enum Found {
    Function(Function),
    Nothing {
        /// The names most like it.
        nearest: Vec<String>,
    },
}

impl Functions {
    /// Adds a function; one that has the name already is replaced.
    pub fn add(
        &self,
        name: impl Into<Arc<str>>,
        function: impl Fn(Value) -> Result<Value, Fault> + 'static,
    ) {
        self.named
            .borrow_mut()
            .insert(name.into(), Rc::new(function));
    }

    /// Lets every module of the model be called by its path, as `modules` does it.
    pub(crate) fn set_modules(&self, modules: impl Modules<Value> + 'static) {
        *self.modules.borrow_mut() = Some(Rc::new(modules));
    }

    /// Finds a function by its name, or else a module by its path; `written` is what the source
    /// calls, which there is in any case.
    pub(crate) fn find(&self, name: &str, map: &SiteMap, written: &str) -> Found {
        if let Some(function) = self.named.borrow().get(name) {
            return Found::Function(function.clone());
        }
        let modules = self.modules.borrow();
        if let (Some(modules), Some(_)) = (&*modules, map.path(name)) {
            let (modules, path) = (modules.clone(), name.to_owned());
            return Found::Function(Rc::new(move |input| modules.call(&path, input)));
        }
        let named = self.named.borrow();
        let named = named.keys().map(|name| name.to_string());
        let paths = modules.iter().flat_map(|_| map.paths()).map(str::to_owned);
        let all = named.chain(paths).chain([written.to_owned()]);
        Found::Nothing {
            nearest: nearest_of(name, all.filter(|name| !name.is_empty())),
        }
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.named.borrow();
        f.debug_set().entries(named.keys()).finish()
    }
}
