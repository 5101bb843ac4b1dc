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
    /// The names of the values whose gradients it may ask for.
    gradients: Vec<String>,
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
            gradients: Vec::new(),
            make: Arc::new(make),
        }
    }

    /// Lets a run succeed even if nothing that the edit asks for is ever served.
    pub fn optional(mut self) -> Self {
        self.is_optional = true;
        self
    }

    /// Declares the values whose gradients the edit may ask for in each run: modules, whose outputs
    /// are meant, points, or aliases. A [program](crate::Edit::of) says so by itself.
    ///
    /// ```
    /// # use burn::{nn::{Linear, LinearConfig}, prelude::*};
    /// # use interloom_backends::{Bound, Edit, Hooked, Run, backward};
    /// # let device = Device::flex().autodiff();
    /// # let model = Hooked::from(LinearConfig::new(2, 2).init(&device));
    /// let halve = Edit::new("halve", async |cx| cx.update_grad("", |g| g * 0.5).await);
    /// let mut model = Bound::new(model)?;
    /// model.edit(halve.gradients([""]));
    /// let run = Run::new("train", &model);
    /// let x = Tensor::<2>::ones([1, 2], &device);
    /// let gradients = run.execute(|| backward(&model.forward(x).sum()))?.completed()?;
    /// let weight = model.inner().weight.grad(&gradients).unwrap();
    /// assert_eq!(weight.into_data().to_vec::<f32>()?, [0.5; 4]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn gradients<S: Into<String>>(mut self, of: impl IntoIterator<Item = S>) -> Self {
        self.gradients.extend(of.into_iter().map(Into::into));
        self
    }

    /// Returns the edit's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes the edit's mediator for a run.
    pub(crate) fn invoke(&self, map: &Arc<SiteMap>) -> Invoke<Value> {
        let invoke = Invoke::new(&*self.name, (self.make)(map));
        let invoke = invoke.gradients(self.gradients.iter().map(String::as_str));
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
            name,
            is_optional,
            gradients,
            make: _,
        } = self;
        f.debug_struct("Edit")
            .field("name", name)
            .field("is_optional", is_optional)
            .field("gradients", gradients)
            .finish_non_exhaustive()
    }
}
