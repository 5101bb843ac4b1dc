//! Binding a model: every hooked module learns its path, once.
//!
//! Burn knows a module's place only while it walks the module tree. [`Sites::bind`] walks it and
//! writes into every [`Hooked`](crate::Hooked) and [`Tap`](crate::Tap) which path it has in this
//! model, as two integers: the number of the binding, and the number of the path. A clone, a fork
//! or a moved module keeps both, so that an optimiser step does not lose them; a module that is put
//! into another model gets new ones when that model is bound. During a run of one model the modules
//! of another have the wrong binding, and pass no sites.
//!
//! Burn draws the random numbers of a parameter when it is first used. Left at that, the weights of
//! a fresh model would depend on its first run: on which modules that skips, and on what else draws
//! random numbers in it. So all parameters are drawn when a model is bound, in the order of the
//! module tree.

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor};
use interloom_engine::{PathId, Point, Port, PositionLayout, RowLayout, SiteMap};

use crate::edit::Edit;
use crate::error::ModelError;
use crate::hooked::Tap;

/// The sites of a bound model, and the edits that belong to it: what a [`Run`](crate::Run) is made
/// of.
///
/// The model stays a plain burn module: an optimiser, a learner or a record takes it as it is, and
/// what they give back passes the same sites.
///
/// ```
/// # use burn::{nn::{Linear, LinearConfig}, prelude::*};
/// # use interloom_backends::{Hooked, Run, Sites};
/// # let device = Device::flex();
/// #[derive(Module, Debug)]
/// struct Net { up: Hooked<Linear>, down: Hooked<Linear> }
///
/// let net = Net {
///     up: LinearConfig::new(2, 4).init(&device).into(),
///     down: LinearConfig::new(4, 2).init(&device).into(),
/// };
/// let sites = Sites::bind(&net)?;
///
/// let mut run = Run::new("read", &sites);
/// let hidden = run.mediator("read", async |cx| cx.output("up").await);
/// run.execute(|| net.down.forward(net.up.forward(Tensor::<2>::ones([1, 2], &device))))?;
/// assert_eq!(hidden.take().unwrap().tensor::<2>()?.dims(), [1, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sites {
    map: Arc<SiteMap>,
    binding: u32,
    edits: Vec<Edit>,
}

impl Sites {
    /// Binds a model: gives every hooked module its path, and draws every parameter that is still
    /// to be drawn, in the order of the module tree.
    ///
    /// Binding a model again gives it new sites; those of the binding before are no longer passed.
    ///
    /// # Errors
    ///
    /// [`ModelError::SharedPath`] if two hooked modules have one path, which happens if one wraps
    /// the other; [`ModelError::NoSites`] if nothing in the model is hooked.
    pub fn bind<M: Module>(model: &M) -> Result<Self, ModelError> {
        let number = NEXT_BINDING.fetch_add(1, Ordering::Relaxed);
        let binding = Binding {
            number,
            stack: Vec::new(),
            map: SiteMap::new(),
            shared: None,
        };
        BINDING.set(Some(binding));
        let clear = Clear;
        model.visit(&mut Walk);
        let Binding { map, shared, .. } = BINDING.take().expect("set above");
        drop(clear);
        match shared {
            Some(path) => Err(ModelError::SharedPath { path }),
            None if map.is_empty() => Err(ModelError::NoSites),
            None => Ok(Self {
                map: Arc::new(map),
                binding: number,
                edits: Vec::new(),
            }),
        }
    }

    /// Makes the sites of a model that is not here, for runs whose model a journal stands in for.
    pub fn without_model(map: SiteMap) -> Self {
        Self {
            map: Arc::new(map),
            binding: NEXT_BINDING.fetch_add(1, Ordering::Relaxed),
            edits: Vec::new(),
        }
    }

    /// Gives points second names, such as those of TransformerLens.
    ///
    /// # Errors
    ///
    /// [`ModelError::UnknownPoint`] if the model does not have one of the points.
    pub fn with_aliases(
        mut self,
        aliases: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ModelError> {
        let map = Arc::make_mut(&mut self.map);
        for (alias, point) in aliases {
            let found = map.point(&point);
            map.alias(&alias, found.ok_or_else(|| unknown(map, &point))?);
        }
        Ok(self)
    }

    /// Declares which tensors at a point carry rows of the batch, where their shape does not say
    /// it.
    ///
    /// # Errors
    ///
    /// [`ModelError::UnknownPoint`] if the model does not have the point.
    pub fn with_rows(mut self, point: &str, layout: RowLayout) -> Result<Self, ModelError> {
        let map = Arc::make_mut(&mut self.map);
        let found = map.point(point);
        map.declare_rows(found.ok_or_else(|| unknown(map, point))?, layout);
        Ok(self)
    }

    /// Adds a tap that is no field of the model, at the end of the paths: for what code around the
    /// model computes of it.
    ///
    /// # Errors
    ///
    /// [`ModelError::SharedPath`] if the model has the path.
    pub fn with_tap(mut self, path: &str) -> Result<(Self, Tap), ModelError> {
        let map = Arc::make_mut(&mut self.map);
        if map.path(path).is_some() {
            let path = path.to_owned();
            return Err(ModelError::SharedPath { path });
        }
        let tap = Tap::new();
        tap.place()
            .set(self.binding, map.add(path, &[Port::Output]));
        Ok((self, tap))
    }

    /// Declares which dimensions of the tensors at each point are positions of a sequence, as
    /// `layout` says of the point's name.
    pub fn with_positions(mut self, layout: impl Fn(&str) -> PositionLayout) -> Self {
        let map = Arc::make_mut(&mut self.map);
        let points: Vec<Point> = map.points().collect();
        for point in points {
            if !point.port.is_gradient() && point.port != Port::Fn {
                let layout = layout(&map.point_name(point));
                map.declare_positions(point, layout);
            }
        }
        self
    }

    /// Adds an edit, which runs before the mediators of every run of these sites, after the edits
    /// that there are.
    ///
    /// A clone has the edits that there were when it was cloned; what is added to one of them later
    /// leaves the other alone.
    ///
    /// ```
    /// # use burn::{nn::{Linear, LinearConfig}, prelude::*};
    /// # use interloom_backends::{Edit, Hooked, Run, Sites};
    /// # let device = Device::flex();
    /// let model = Hooked::from(LinearConfig::new(2, 2).init(&device));
    /// let base = Sites::bind(&model)?;
    /// let mut ablated = base.clone();
    /// ablated.edit(Edit::new("ablate", async |cx| {
    ///     let output = cx.output("").await?;
    ///     cx.set_output("", output * 0.0).await
    /// }));
    /// let run = Run::new("run", &ablated);
    /// let x = Tensor::<2>::ones([1, 2], &device);
    /// let sum: f32 = run.execute(|| model.forward(x))?.completed()?.sum().into_scalar();
    /// assert_eq!(sum, 0.0);
    /// assert_eq!(base.edits().len(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn edit(&mut self, edit: Edit) {
        self.edits.push(edit);
    }

    /// Removes every edit.
    pub fn clear_edits(&mut self) {
        self.edits.clear();
    }

    /// Returns the edits of the model, in the order in which they run.
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// Returns the map of sites.
    pub const fn map(&self) -> &Arc<SiteMap> {
        &self.map
    }

    pub(crate) const fn binding(&self) -> u32 {
        self.binding
    }
}

impl Deref for Sites {
    type Target = SiteMap;

    fn deref(&self) -> &SiteMap {
        &self.map
    }
}

impl AsRef<Self> for Sites {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// The place of one hooked module: its binding and its path, or neither.
///
/// Each module has its own; a clone starts with the place of its original.
#[derive(Debug, Default)]
pub(crate) struct Place(AtomicU64);

impl Place {
    pub(crate) fn point(&self, port: Port) -> (u32, Point) {
        let packed = self.0.load(Ordering::Relaxed);
        let path = PathId(packed as u32);
        ((packed >> 32) as u32, Point::new(path, port))
    }

    /// Returns whether its module belongs to a model that was bound.
    pub(crate) fn is_bound(&self) -> bool {
        self.point(Port::Output).0 != 0
    }

    fn set(&self, binding: u32, path: PathId) {
        let packed = (u64::from(binding) << 32) | u64::from(path.0);
        self.0.store(packed, Ordering::Relaxed);
    }
}

impl Clone for Place {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

/// Tells the binding in progress, if there is one, of a hooked module.
///
/// Called from `Module::visit`, which is the one moment at which burn tells a module where it is.
pub(crate) fn visit_place(place: &Place, ports: &[Port]) {
    BINDING.with_borrow_mut(|binding| {
        if let Some(binding) = binding {
            binding.add(place, ports);
        }
    });
}

/// Tells the binding in progress, if there is one, of the operations of a module: the place is that
/// of the first, and the others follow it.
pub(crate) fn visit_operations(place: &Place, operations: &[(&str, &[&str])]) {
    BINDING.with_borrow_mut(|binding| {
        if let Some(binding) = binding {
            for (index, (name, ports)) in operations.iter().enumerate() {
                let ports: Vec<Port> = ports
                    .iter()
                    .filter_map(|port| Port::from_name(port))
                    .collect();
                binding.stack.push((*name).to_owned());
                let path = binding.intern(&ports);
                binding.stack.pop();
                if let Some(path) = path.filter(|_| index == 0) {
                    place.set(binding.number, path);
                }
            }
        }
    });
}

thread_local! {
    static BINDING: RefCell<Option<Binding>> = const { RefCell::new(None) };
}

/// The number of the next binding; 0 means unbound. It is compared for equality only and orders
/// nothing.
static NEXT_BINDING: AtomicU32 = AtomicU32::new(1);

struct Binding {
    number: u32,
    stack: Vec<String>,
    map: SiteMap,
    shared: Option<String>,
}

impl Binding {
    fn add(&mut self, place: &Place, ports: &[Port]) {
        if let Some(path) = self.intern(ports) {
            place.set(self.number, path);
        }
    }

    /// Adds the path at hand, unless there is one like it, for which the binding fails.
    fn intern(&mut self, ports: &[Port]) -> Option<PathId> {
        let path = self.stack.join(".");
        if self.map.path(&path).is_some() {
            self.shared.get_or_insert(path);
            return None;
        }
        Some(self.map.add(&path, ports))
    }
}

/// Follows burn's walk through the module tree, and draws the parameters that are still to be
/// drawn.
struct Walk;

impl ModuleVisitor for Walk {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        drop(param.base());
        with_binding(|binding| {
            binding.map.add_parameter(&binding.stack.join("."));
        });
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        drop(param.base());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        drop(param.base());
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        with_binding(|binding| binding.stack.push(name.to_owned()));
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        with_binding(|binding| {
            binding.stack.pop();
        });
    }
}

/// Ends the binding in progress, also if a module's own walk panics.
struct Clear;

impl Drop for Clear {
    fn drop(&mut self) {
        BINDING.take();
    }
}

fn with_binding(f: impl FnOnce(&mut Binding)) {
    BINDING.with_borrow_mut(|binding| binding.as_mut().map(f));
}

fn unknown(map: &SiteMap, point: &str) -> ModelError {
    ModelError::UnknownPoint {
        asked: point.to_owned(),
        nearest: map.nearest(point),
    }
}
