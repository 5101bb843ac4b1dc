//! What is known of the run that a program is for.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::BitOr;

use interloom_engine::{Site, SiteMap};

use crate::error::Place;
use crate::form::{Form, Shapes};
use crate::step::{Action, Program};

/// What is known of the run that a program is for.
#[derive(Clone, Copy, Debug)]
pub struct CheckContext<'k> {
    pub(crate) map: &'k SiteMap,
    pub(crate) name: Option<&'k str>,
    pub(crate) givens: Option<&'k [&'k str]>,
    pub(crate) forms: Option<&'k BTreeMap<String, Form>>,
    pub(crate) barriers: Option<&'k [&'k str]>,
    /// The shapes of whole tensors, and the mediator's rows.
    pub(crate) shapes: Option<(&'k Shapes, Option<u32>)>,
    /// Whether the run passes no other sites than these.
    pub(crate) order: Option<(&'k Shapes, bool)>,
    pub(crate) effects: Option<Effects>,
    pub(crate) steps: Option<Option<u32>>,
    pub(crate) model: Option<Model<'k>>,
    pub(crate) supplied: Option<Supplied<'k>>,
}

impl<'k> CheckContext<'k> {
    /// Knows the model's sites, and nothing else.
    pub const fn of(map: &'k SiteMap) -> Self {
        Self {
            map,
            name: None,
            givens: None,
            forms: None,
            barriers: None,
            shapes: None,
            order: None,
            effects: None,
            steps: None,
            model: None,
            supplied: None,
        }
    }

    /// Knows the name of the mediator, with which errors say whose program they are about.
    pub const fn named(mut self, name: &'k str) -> Self {
        self.name = Some(name);
        self
    }

    /// Knows the names of all values that the machine will be given.
    pub const fn givens(mut self, names: &'k [&'k str]) -> Self {
        self.givens = Some(names);
        self
    }

    /// Knows the forms of some of the values that the machine will be given.
    pub const fn given_forms(mut self, forms: &'k BTreeMap<String, Form>) -> Self {
        self.forms = Some(forms);
        self
    }

    /// Knows the names of all barriers of the run.
    pub const fn barriers(mut self, names: &'k [&'k str]) -> Self {
        self.barriers = Some(names);
        self
    }

    /// Knows what passes the model's sites, for a mediator with `rows` rows, or one that sees the
    /// whole batch.
    ///
    /// That has to hold in the run: leave it out if another mediator swaps or skips with another
    /// shape.
    pub const fn shapes(mut self, shapes: &'k Shapes, rows: Option<u32>) -> Self {
        self.shapes = Some((shapes, rows));
        self
    }

    /// Knows in which order the model passes its sites ([`Shapes::pass`]); shapes do not matter
    /// here.
    ///
    /// The run may pass more sites after these: a generation passes its first steps as a shorter
    /// one does.
    pub const fn order(mut self, order: &'k Shapes) -> Self {
        self.order = Some((order, false));
        self
    }

    /// Knows in which order the model passes its sites, and that the run passes no others.
    pub const fn whole_order(mut self, order: &'k Shapes) -> Self {
        self.order = Some((order, true));
        self
    }

    /// Knows what all programs of the run may do together, this one among them.
    ///
    /// Without this, whatever a mediator may do is taken to happen.
    pub const fn effects(mut self, effects: Effects) -> Self {
        self.effects = Some(effects);
        self
    }

    /// Knows how many steps the run declares, or that it declares none.
    pub const fn steps(mut self, steps: Option<u32>) -> Self {
        self.steps = Some(steps);
        self
    }

    /// Knows what the model's modules take and make.
    pub const fn model(mut self, model: &'k dyn ModelShapes) -> Self {
        self.model = Some(Model(model));
        self
    }

    /// Knows the modules that the run is supplied with by name, which a program can call beside
    /// those of the model.
    pub const fn supplied(mut self, supplied: &'k dyn SuppliedModules) -> Self {
        self.supplied = Some(Supplied(supplied));
        self
    }
}

impl<'k> From<&'k SiteMap> for CheckContext<'k> {
    fn from(map: &'k SiteMap) -> Self {
        Self::of(map)
    }
}

/// A model's answers about shapes, before a run.
pub trait ModelShapes {
    /// Returns the shape of what the module at `path` makes of a tensor of this shape, if it is
    /// called outside its place.
    ///
    /// `None` if that is not known, and why it cannot take any tensor of this shape if it cannot.
    fn call(&self, path: &str, input: &[u64]) -> Option<Result<Vec<u64>, String>>;

    /// Returns why the model cannot continue when the module at the site `input` is not computed,
    /// and what it returns for the whole batch has the shape `output` instead; `None` if it
    /// can, or if that is not known.
    fn skip(&self, input: Site, output: &[u64]) -> Option<String>;
}

/// What is known of modules that a run is supplied with, before it.
pub trait SuppliedModules {
    /// Returns the names that a program can call.
    fn names(&self) -> Vec<String>;

    /// Returns the form of what a module makes of a value of this form.
    ///
    /// `None` if that is not known, and why it cannot take any value of this form if it cannot.
    fn form(&self, name: &str, input: &Form) -> Option<Result<Form, String>>;
}

/// Supplied modules that are asked.
#[derive(Clone, Copy)]
pub(crate) struct Supplied<'k>(pub(crate) &'k dyn SuppliedModules);

impl Supplied<'_> {
    pub(crate) fn has(self, name: &str) -> bool {
        self.0.names().iter().any(|known| known == name)
    }
}

impl fmt::Debug for Supplied<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.names()).finish()
    }
}

/// A model that is asked.
#[derive(Clone, Copy)]
pub(crate) struct Model<'k>(pub(crate) &'k dyn ModelShapes);

impl fmt::Debug for Model<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a model")
    }
}

/// A skip that a program comes to in every run that comes to a good end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Skipped {
    /// Where in the program.
    pub at: Place,
    /// The module's input.
    pub site: Site,
    /// The shape of the replacement, if it is known.
    pub output: Option<Vec<u64>>,
}

/// The effects that programs may have on a run beside reading and swapping.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Effects {
    pub(crate) skips: u32,
    pub(crate) stops: bool,
    pub(crate) reshapes: bool,
}

impl Effects {
    /// Returns what a program may do.
    pub fn of(program: &Program) -> Self {
        let effects = program.actions().map(|action| Self {
            skips: u32::from(matches!(action, Action::Skip { .. })),
            stops: matches!(action, Action::Stop),
            reshapes: matches!(action, Action::Write { reshape: true, .. }),
        });
        effects.fold(Self::default(), BitOr::bitor)
    }

    /// Returns how many steps are skips.
    pub const fn skips(self) -> u32 {
        self.skips
    }

    /// Returns whether a mediator may stop the run.
    pub const fn may_stop(self) -> bool {
        self.stops
    }

    /// Returns whether a swap may change a shape.
    pub const fn reshapes(self) -> bool {
        self.reshapes
    }

    /// Returns whether shapes may be other ones than in a pass without mediators.
    pub const fn may_reshape(self) -> bool {
        self.reshapes || self.skips > 0
    }
}

impl BitOr for Effects {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self {
            skips: self.skips.saturating_add(other.skips),
            stops: self.stops || other.stops,
            reshapes: self.reshapes || other.reshapes,
        }
    }
}
