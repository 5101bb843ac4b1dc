//! Edits: interventions that belong to a model.

use std::fmt;
use std::sync::Arc;

use interloom_engine::{Cx, Fault, Invoke, Mediator, SiteMap};

use crate::value::Value;

/// A mediator that runs in every run of a model, before the run's own and on the whole batch.
///
/// It is made anew for each run; what the maker captures is shared by them. See
/// [`Sites::edit`](crate::Sites::edit).
#[derive(Clone)]
pub struct Edit {
    name: Arc<str>,
    is_optional: bool,
    make: Arc<Make>,
}

type Make = dyn Fn(&Arc<SiteMap>) -> Box<dyn Mediator<Value>> + Send + Sync;

impl Edit {
    /// Makes an edit of an async closure.
    ///
    /// The name stands in reports and journals; no mediator of a run may have the same one.
    pub fn new<F, Fut>(name: impl Into<Arc<str>>, program: F) -> Self
    where
        F: Fn(Cx<Value>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Fault>> + 'static,
    {
        Self::of(name, move |map| {
            let (mediator, _) = interloom_engine::mediator(map.clone(), program.clone());
            Box::new(mediator)
        })
    }

    /// Makes an edit of mediators of any make, such as machines of a program.
    pub fn of(
        name: impl Into<Arc<str>>,
        make: impl Fn(&Arc<SiteMap>) -> Box<dyn Mediator<Value>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            is_optional: false,
            make: Arc::new(make),
        }
    }

    /// Lets a run succeed even if nothing that the edit asks for is ever served.
    pub fn optional(mut self) -> Self {
        self.is_optional = true;
        self
    }

    /// Returns the edit's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes the edit's mediator for a run.
    pub(crate) fn invoke(&self, map: &Arc<SiteMap>) -> Invoke<Value> {
        let invoke = Invoke::new(&*self.name, (self.make)(map));
        if self.is_optional {
            invoke.optional()
        } else {
            invoke
        }
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name, is_optional, ..
        } = self;
        f.debug_struct("Edit")
            .field("name", name)
            .field("is_optional", is_optional)
            .finish_non_exhaustive()
    }
}
