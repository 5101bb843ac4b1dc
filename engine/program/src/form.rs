//! The forms of the values that pass a model's sites, and their order, as far as they are known
//! before a run.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use interloom_engine::{RowLayout, Site, SiteMap};

/// The structure of a value: its tensors with their shapes, and how they hang together.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Form {
    /// A tensor of this shape.
    Tensor(Vec<u64>),
    /// A tuple.
    Tuple(Vec<Form>),
    /// A list.
    List(Vec<Form>),
    /// Named values, in their own order.
    Map(Vec<(String, Form)>),
    /// Any other value, such as a boolean.
    Other,
}

impl Form {
    /// Returns what a mediator with `rows` rows reads; `leaf` is the number of the first tensor.
    fn rows(&self, rows: u32, batch: u32, layout: &RowLayout, leaf: &mut usize) -> Self {
        let mut inner = |form: &Self| form.rows(rows, batch, layout, leaf);
        match self {
            Self::Tensor(shape) => {
                let mut shape = shape.clone();
                if layout.is_batched(*leaf, shape.first().copied(), batch) {
                    shape[0] = rows.into();
                }
                *leaf += 1;
                Self::Tensor(shape)
            }
            Self::Tuple(items) => Self::Tuple(items.iter().map(inner).collect()),
            Self::List(items) => Self::List(items.iter().map(inner).collect()),
            Self::Map(items) => {
                let items = items.iter();
                Self::Map(
                    items
                        .map(|(name, form)| (name.clone(), inner(form)))
                        .collect(),
                )
            }
            Self::Other => Self::Other,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor(shape) => write!(f, "a tensor {shape:?}"),
            Self::Tuple(items) => write!(f, "a tuple ({})", listed(items)),
            Self::List(items) => write!(f, "a list [{}]", listed(items)),
            Self::Map(items) => write!(f, "a map {{{}}}", listed(items.iter().map(named))),
            Self::Other => f.write_str("no tensor"),
        }
    }
}

/// Items with commas between them.
pub(crate) fn listed<I: fmt::Display>(items: impl IntoIterator<Item = I>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

/// An item of a map.
pub(crate) fn named(item: &(String, impl fmt::Display)) -> String {
    format!("{}: {}", item.0, item.1)
}

/// The forms of what passed a model's sites, in order, in a pass without mediators.
///
/// The shapes and the order of another pass of equal size are taken to be the same: a model whose
/// sites depend on what is in its tensors must not be described so.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shapes {
    batch: u32,
    sites: BTreeMap<Site, Form>,
    order: BTreeMap<Site, u32>,
}

impl Shapes {
    /// Knows nothing yet of a pass with `batch` rows.
    pub const fn new(batch: u32) -> Self {
        Self {
            batch,
            sites: BTreeMap::new(),
            order: BTreeMap::new(),
        }
    }

    /// Adds the shape of the whole tensor at a site.
    pub fn add(&mut self, site: Site, shape: Vec<u64>) {
        self.add_form(site, Form::Tensor(shape));
    }

    /// Adds the form of the whole value at a site.
    pub fn add_form(&mut self, site: Site, form: Form) {
        self.sites.insert(site, form);
    }

    /// Says that the model passed this site next; a site that was passed already stays where it is.
    pub fn pass(&mut self, site: Site) {
        let place = self.order.len() as u32;
        self.order.entry(site).or_insert(place);
    }

    /// Returns the shape of what a mediator with `rows` rows reads at a site; with none, it reads
    /// everything.
    ///
    /// There is none of a tuple, a list or a map.
    pub fn of(&self, map: &SiteMap, site: Site, rows: Option<u32>) -> Option<Vec<u64>> {
        match self.form(map, site, rows)? {
            Form::Tensor(shape) => Some(shape),
            Form::Tuple(_) | Form::List(_) | Form::Map(_) | Form::Other => None,
        }
    }

    /// Returns the form of what a mediator with `rows` rows reads at a site; with none, it reads
    /// everything.
    pub fn form(&self, map: &SiteMap, site: Site, rows: Option<u32>) -> Option<Form> {
        let form = self.sites.get(&site)?;
        Some(match rows {
            Some(rows) => form.rows(rows, self.batch, map.layout(site.point), &mut 0),
            None => form.clone(),
        })
    }

    /// Returns the form at a point if it is the same in every iteration that is known.
    pub(crate) fn form_of_point(
        &self,
        map: &SiteMap,
        site: Site,
        rows: Option<u32>,
    ) -> Option<Form> {
        let iterations = self.sites.range(passings(site));
        let mut forms = iterations.map(|(site, _)| self.form(map, *site, rows));
        let first = forms.next()??;
        forms
            .all(|other| other.as_ref() == Some(&first))
            .then_some(first)
    }

    /// Returns how many rows the pass had.
    pub const fn batch(&self) -> u32 {
        self.batch
    }

    /// Returns the place of a site in the order of the pass.
    pub(crate) fn place(&self, site: Site) -> Option<u32> {
        self.order.get(&site).copied()
    }

    /// Returns how many sites the pass came to.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Returns the last visit of a point.
    pub(crate) fn last(&self, site: Site) -> Option<Site> {
        let iterations = self.order.range(passings(site));
        iterations.last().map(|(site, _)| *site)
    }

    /// Returns whether the pass came to a point once only.
    pub(crate) fn is_single(&self, site: Site) -> bool {
        self.order.range(passings(site)).count() == 1
    }
}

/// All visits of the point of a site.
fn passings(site: Site) -> RangeInclusive<Site> {
    site.point.at(0)..=site.point.at(u32::MAX)
}
