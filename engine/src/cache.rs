//! Caches: what modules take in and put out, collected while the model runs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::map::SiteMap;
use crate::site::{Point, Port, Site};

/// The modules that a cache collects, and which side of them.
///
/// Outputs are collected unless it is said otherwise.
///
/// ```
/// use interloom_engine::CacheSpec;
///
/// let residual_stream = CacheSpec::of(["layers.0", "layers.1"]);
/// let everything = CacheSpec::all().both();
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CacheSpec {
    /// The paths; `None` is every module.
    modules: Option<Vec<String>>,
    inputs: bool,
    outputs: bool,
    gradients: bool,
    operations: bool,
}

impl CacheSpec {
    /// Collects the outputs of the modules at `paths`, which may also be aliases of points.
    pub fn of<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self {
            modules: Some(paths.into_iter().map(Into::into).collect()),
            inputs: false,
            outputs: true,
            gradients: false,
            operations: false,
        }
    }

    /// Collects the outputs of every module that the model passes; of operations, see
    /// [`operations`](Self::operations).
    pub const fn all() -> Self {
        Self {
            modules: None,
            inputs: false,
            outputs: true,
            gradients: false,
            operations: false,
        }
    }

    /// Collects those of the operations inside the modules as well; listed ones are collected in
    /// any case.
    pub fn operations(mut self) -> Self {
        self.operations = true;
        self
    }

    /// Collects inputs instead of outputs.
    pub fn inputs(mut self) -> Self {
        (self.inputs, self.outputs) = (true, false);
        self
    }

    /// Collects inputs and outputs.
    pub fn both(mut self) -> Self {
        (self.inputs, self.outputs) = (true, true);
        self
    }

    /// Collects also the gradients of what is collected, where a backward pass comes to it, and of
    /// the parameters that are listed.
    pub fn gradients(mut self) -> Self {
        self.gradients = true;
        self
    }

    /// Returns the paths of the modules; `None` is every module.
    pub fn modules(&self) -> Option<&[String]> {
        self.modules.as_deref()
    }

    /// Returns whether inputs and outputs are collected.
    pub const fn sides(&self) -> (bool, bool) {
        (self.inputs, self.outputs)
    }

    /// Returns whether gradients are collected, too.
    pub const fn has_gradients(&self) -> bool {
        self.gradients
    }

    /// Returns whether the modules are listed, so that one which is not passed is missed.
    pub(crate) const fn is_listed(&self) -> bool {
        self.modules.is_some()
    }

    /// Returns the points to collect, in order and each once.
    ///
    /// # Errors
    ///
    /// The name of a point that the model does not have.
    pub fn points(&self, map: &SiteMap) -> Result<Vec<Point>, String> {
        let mut points = self.values(map)?;
        if self.gradients {
            let gradients = points.iter().filter_map(|point| point.gradient());
            let listed = self.modules.iter().flatten();
            let parameters = listed.filter_map(|path| map.parameter(path));
            let gradients: Vec<Point> = gradients.chain(parameters).collect();
            points.extend(gradients);
        }
        points.sort();
        points.dedup();
        Ok(points)
    }

    /// Returns the points of the forward pass.
    fn values(&self, map: &SiteMap) -> Result<Vec<Point>, String> {
        let is_chosen = |port: &Port| match port {
            Port::Input => self.inputs,
            Port::Output => self.outputs,
            Port::Fn | Port::InputGrad | Port::OutputGrad | Port::ParameterGrad => false,
        };
        let Some(modules) = &self.modules else {
            let is_meant = |point: &Point| self.operations || !map.is_operation(point.path);
            let points = map.points().filter(|point| is_chosen(&point.port));
            return Ok(points.filter(is_meant).collect());
        };
        let mut points = Vec::new();
        for module in modules {
            let ports = Port::FORWARD.into_iter().filter(is_chosen);
            let before = points.len();
            points.extend(ports.filter_map(|port| map.point_at(module, port)));
            let is_parameter = self.gradients && map.parameter(module).is_some();
            if points.len() == before && !is_parameter {
                return Err(self.missing(module));
            }
        }
        Ok(points)
    }

    fn missing(&self, module: &str) -> String {
        let port = if self.outputs {
            Port::Output
        } else {
            Port::Input
        };
        match module {
            "" => port.name().to_owned(),
            module => format!("{module}.{port}"),
        }
    }
}

/// The values that a cache has collected, for each point by iteration.
///
/// A handle: its clones are the same cache, and it can be read during the run and after it.
pub struct Cached<V>(Rc<Shelf<V>>);

struct Shelf<V> {
    map: Arc<SiteMap>,
    values: RefCell<BTreeMap<Site, V>>,
}

impl<V> Clone for Cached<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V: Clone> Cached<V> {
    /// Makes an empty cache for the model whose sites `map` lists.
    pub fn new(map: Arc<SiteMap>) -> Self {
        Self(Rc::new(Shelf {
            map,
            values: RefCell::new(BTreeMap::new()),
        }))
    }

    /// Returns the first output of the module at `path` that was collected.
    pub fn output(&self, path: &str) -> Option<V> {
        self.outputs(path).into_iter().next()
    }

    /// Returns the outputs of the module at `path`, in the order of their iterations.
    pub fn outputs(&self, path: &str) -> Vec<V> {
        self.values_at(path, Port::Output)
    }

    /// Returns the first input of the module at `path` that was collected.
    pub fn input(&self, path: &str) -> Option<V> {
        self.inputs(path).into_iter().next()
    }

    /// Returns the inputs of the module at `path`, in the order of their iterations.
    pub fn inputs(&self, path: &str) -> Vec<V> {
        self.values_at(path, Port::Input)
    }

    /// Returns the gradients of the outputs of the module at `path`, in the order of their
    /// iterations; or of the parameter at `path`, in the order of the backward passes.
    pub fn output_grads(&self, path: &str) -> Vec<V> {
        self.values_at(path, Port::OutputGrad)
    }

    /// Returns the gradients of the inputs of the module at `path`, in the order of their
    /// iterations.
    pub fn input_grads(&self, path: &str) -> Vec<V> {
        self.values_at(path, Port::InputGrad)
    }

    /// Returns the value at one site.
    pub fn at(&self, site: Site) -> Option<V> {
        self.0.values.borrow().get(&site).cloned()
    }

    /// Returns the sites that were collected, in the order of the site map.
    pub fn sites(&self) -> Vec<Site> {
        self.0.values.borrow().keys().copied().collect()
    }

    /// Returns how many values were collected.
    pub fn len(&self) -> usize {
        self.0.values.borrow().len()
    }

    /// Returns whether nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn insert(&self, site: Site, value: V) {
        self.0.values.borrow_mut().insert(site, value);
    }

    pub(crate) fn has(&self, point: Point) -> bool {
        let values = self.0.values.borrow();
        values.range(iterations_of(point)).next().is_some()
    }

    fn values_at(&self, path: &str, port: Port) -> Vec<V> {
        let Some(point) = self.0.map.point_at(path, port) else {
            return Vec::new();
        };
        let values = self.0.values.borrow();
        let iterations = values.range(iterations_of(point));
        iterations.map(|(_, value)| value.clone()).collect()
    }
}

fn iterations_of(point: Point) -> std::ops::RangeInclusive<Site> {
    point.at(0)..=point.at(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> Arc<SiteMap> {
        let mut map = SiteMap::new();
        map.add("", &[Port::Input, Port::Output]);
        map.add("cell", &[Port::Input, Port::Output]);
        let pattern = map.add("cell.pattern", &[Port::Output]);
        map.alias("hook_pattern", Point::new(pattern, Port::Output));
        Arc::new(map)
    }

    fn names(spec: &CacheSpec) -> Result<Vec<String>, String> {
        let map = map();
        let points = spec.points(&map)?;
        Ok(points
            .into_iter()
            .map(|point| map.point_name(point))
            .collect())
    }

    #[test]
    fn r70_modules_are_named_by_path_or_alias_and_each_point_once() {
        let cell = CacheSpec::of(["cell"]);
        assert_eq!(names(&cell), Ok(vec!["cell.output".to_owned()]));
        assert_eq!(names(&cell.clone().inputs()).unwrap(), ["cell.input"]);
        let twice = CacheSpec::of(["hook_pattern", "cell.pattern", ""]).both();
        let expected = ["input", "output", "cell.pattern.output"];
        assert_eq!(names(&twice).unwrap(), expected);
        assert_eq!(names(&CacheSpec::all()).unwrap().len(), 3);
        assert_eq!(names(&CacheSpec::all().both()).unwrap().len(), 5);
    }

    #[test]
    fn a_module_without_the_side_is_named() {
        let pattern = CacheSpec::of(["cell", "cell.pattern"]).inputs();
        assert_eq!(names(&pattern), Err("cell.pattern.input".to_owned()));
        assert_eq!(
            names(&CacheSpec::of(["sell"])),
            Err("sell.output".to_owned())
        );
        let empty = CacheSpec::of([""]);
        let nothing = empty.points(&SiteMap::new());
        assert_eq!(nothing, Err("output".to_owned()));
    }

    #[test]
    fn r70_iterations_become_a_list() {
        let map = map();
        let cached = Cached::new(map.clone());
        let point = map.point("cell.output").unwrap();
        for (iteration, value) in [(2, 'c'), (0, 'a'), (1, 'b')] {
            cached.insert(point.at(iteration), value);
        }
        assert_eq!(cached.outputs("cell"), ['a', 'b', 'c']);
        assert_eq!(cached.output("cell"), Some('a'));
        assert_eq!(cached.at(point.at(2)), Some('c'));
        assert_eq!(cached.at(point.at(3)), None);
        assert_eq!(
            cached.sites(),
            [0, 1, 2].map(|iteration| point.at(iteration))
        );
        assert_eq!(
            (cached.input("cell"), cached.outputs("sell")),
            (None, vec![])
        );
        assert!(!cached.is_empty() && cached.has(point));
    }
}
