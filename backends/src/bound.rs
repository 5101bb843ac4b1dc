//! A model together with its sites.

use std::ops::Deref;

use burn::module::Module;
use interloom_engine::{PositionLayout, RowLayout};

use crate::bind::Sites;
use crate::edit::Edit;
use crate::error::ModelError;

/// A model with its [`Sites`], for code that keeps both in one place.
#[derive(Clone, Debug)]
pub struct Bound<M> {
    model: M,
    sites: Sites,
}

impl<M: Module> Bound<M> {
    /// Binds a model, as [`Sites::bind`] does.
    ///
    /// # Errors
    ///
    /// As for [`Sites::bind`].
    pub fn new(model: M) -> Result<Self, ModelError> {
        let sites = Sites::bind(&model)?;
        Ok(Self { model, sites })
    }

    /// Replaces the model by another of the same structure, such as the next step of its optimiser.
    pub fn map(self, f: impl FnOnce(M) -> M) -> Self {
        Self {
            model: f(self.model),
            sites: self.sites,
        }
    }

    /// Gives back the model.
    pub fn into_inner(self) -> M {
        self.model
    }
}

impl<M> Bound<M> {
    /// Returns the sites of the model.
    pub const fn sites(&self) -> &Sites {
        &self.sites
    }

    /// Gives points second names: [`Sites::with_aliases`].
    ///
    /// # Errors
    ///
    /// [`ModelError::UnknownPoint`] if the model does not have one of the points.
    pub fn with_aliases(
        mut self,
        aliases: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ModelError> {
        self.sites = self.sites.with_aliases(aliases)?;
        Ok(self)
    }

    /// Declares which tensors at a point carry rows of the batch: [`Sites::with_rows`].
    ///
    /// # Errors
    ///
    /// [`ModelError::UnknownPoint`] if the model does not have the point.
    pub fn with_rows(mut self, point: &str, layout: RowLayout) -> Result<Self, ModelError> {
        self.sites = self.sites.with_rows(point, layout)?;
        Ok(self)
    }

    /// Declares which dimensions are positions of a sequence: [`Sites::with_positions`].
    pub fn with_positions(mut self, layout: impl Fn(&str) -> PositionLayout) -> Self {
        self.sites = self.sites.with_positions(layout);
        self
    }

    /// Adds an edit: [`Sites::edit`].
    pub fn edit(&mut self, edit: Edit) {
        self.sites.edit(edit);
    }

    /// Removes every edit.
    pub fn clear_edits(&mut self) {
        self.sites.clear_edits();
    }
}

impl<M> Deref for Bound<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.model
    }
}

impl<M> AsRef<Sites> for Bound<M> {
    fn as_ref(&self) -> &Sites {
        &self.sites
    }
}
