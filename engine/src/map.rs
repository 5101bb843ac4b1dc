//! The sites that a model has: interned paths, their ports, aliases, and which tensors carry rows
//! of the batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::padding::PositionLayout;
use crate::site::{PathId, Point, Port, Site};
use crate::value::RowLayout;

/// How many nearest names an error message shows.
const NEAREST_MAX: usize = 3;

/// The sites of one model, as they are known once it is bound.
///
/// The map is built once, shared by every run of the model, and never changes under a run.
///
/// ```
/// use interloom_engine::{Port, SiteMap};
///
/// let mut map = SiteMap::new();
/// let layer = map.add("layers.0", &[Port::Input, Port::Output]);
/// map.alias("blocks.0.hook_resid_post", interloom_engine::Point::new(layer, Port::Output));
///
/// let point = map.point("layers.0.output").unwrap();
/// assert_eq!(map.point("blocks.0.hook_resid_post"), Some(point));
/// assert_eq!(map.site_name(point.at(2)), "layers.0.output.i2");
/// assert_eq!(map.nearest("layer.0.output")[0], "layers.0.output");
/// ```
#[derive(Clone, Debug, Default)]
pub struct SiteMap {
    paths: Vec<Entry>,
    by_path: BTreeMap<Arc<str>, PathId>,
    aliases: BTreeMap<Arc<str>, Point>,
    parameters: Vec<Arc<str>>,
    by_parameter: BTreeMap<Arc<str>, PathId>,
}

#[derive(Clone, Debug)]
struct Entry {
    path: Arc<str>,
    /// Of the ports of a forward pass; the gradient of what passes has the same rows.
    layouts: [Option<RowLayout>; Port::FORWARD.len()],
    positions: [PositionLayout; Port::FORWARD.len()],
}

impl SiteMap {
    /// Returns a map without sites.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `ports` to `path`, which is empty for the model itself, and returns the path's number.
    pub fn add(&mut self, path: &str, ports: &[Port]) -> PathId {
        let id = self.intern(path);
        for &port in ports {
            let forward = port.forward() as usize;
            self.paths[id.0 as usize].layouts[forward].get_or_insert(RowLayout::ByShape);
        }
        id
    }

    /// Gives `point` a second name, such as `blocks.4.hook_resid_post`.
    ///
    /// # Panics
    ///
    /// Panics if the map does not have `point`: the maker of the map makes its aliases.
    pub fn alias(&mut self, name: &str, point: Point) {
        assert!(
            self.has(point),
            "alias `{name}` of a point that the map does not have"
        );
        self.aliases.insert(name.into(), point);
    }

    /// Adds a parameter, after those that there are, and returns the point of its gradient. One
    /// that there is keeps its place.
    pub fn add_parameter(&mut self, path: &str) -> Point {
        let next = self.parameters.len() as u32;
        let path: Arc<str> = path.into();
        let id = self.by_parameter.entry(path.clone()).or_insert_with(|| {
            self.parameters.push(path);
            PathId::parameter(next)
        });
        Point::new(*id, Port::ParameterGrad)
    }

    /// Declares which tensors at `point` carry rows of the batch.
    ///
    /// # Panics
    ///
    /// Panics if the map does not have `point`.
    pub fn declare_rows(&mut self, point: Point, layout: RowLayout) {
        assert!(
            self.has(point),
            "row layout of a point that the map does not have"
        );
        let forward = point.port.forward() as usize;
        self.paths[point.path.0 as usize].layouts[forward] = Some(layout);
    }

    /// Declares which dimensions of the tensors at `point` are positions of a sequence.
    ///
    /// # Panics
    ///
    /// Panics if the map does not have `point`.
    pub fn declare_positions(&mut self, point: Point, layout: PositionLayout) {
        assert!(
            self.has(point),
            "positions of a point that the map does not have"
        );
        let forward = point.port.forward() as usize;
        self.paths[point.path.0 as usize].positions[forward] = layout;
    }

    /// Returns how many paths the map has, without those of parameters.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Returns whether the map has no path.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Returns whether the model has `point`; it has the gradients of all that passes, and of its
    /// parameters.
    #[inline]
    pub fn has(&self, point: Point) -> bool {
        if point.is_parameter() {
            return self.parameter_name(point.path).is_some();
        }
        let entry = self.paths.get(point.path.0 as usize);
        entry.is_some_and(|entry| entry.layouts[point.port.forward() as usize].is_some())
    }

    /// Returns which tensors at `point` carry rows of the batch; a parameter has none.
    pub fn layout(&self, point: Point) -> &RowLayout {
        if point.is_parameter() {
            return &RowLayout::Shared;
        }
        let entry = self.paths.get(point.path.0 as usize);
        entry
            .and_then(|entry| entry.layouts[point.port.forward() as usize].as_ref())
            .unwrap_or(&RowLayout::ByShape)
    }

    /// Returns which dimensions of the tensors at `point` are positions; none of a parameter's.
    pub fn positions(&self, point: Point) -> &PositionLayout {
        const NONE: &PositionLayout = &PositionLayout::NONE;
        let entry = self.paths.get(point.path.0 as usize);
        let entry = entry.filter(|_| !point.is_parameter());
        entry.map_or(NONE, |entry| {
            &entry.positions[point.port.forward() as usize]
        })
    }

    /// Returns whether it is declared of some point which tensors carry rows; elsewhere their
    /// shapes decide.
    pub fn declares_rows(&self) -> bool {
        let mut layouts = self.paths.iter().flat_map(|entry| &entry.layouts);
        layouts.any(|layout| {
            layout
                .as_ref()
                .is_some_and(|layout| *layout != RowLayout::ByShape)
        })
    }

    /// Returns the number of `path`.
    pub fn path(&self, path: &str) -> Option<PathId> {
        self.by_path.get(path).copied()
    }

    /// Returns the text of a path.
    ///
    /// # Panics
    ///
    /// Panics if `id` comes from another map.
    pub fn path_name(&self, id: PathId) -> &str {
        match id.parameter_place() {
            None => &self.paths[id.0 as usize].path,
            Some(place) => &self.parameters[place],
        }
    }

    fn parameter_name(&self, id: PathId) -> Option<&str> {
        self.parameters
            .get(id.parameter_place()?)
            .map(|path| &**path)
    }

    /// Returns the point of the gradient of the parameter at `path`.
    pub fn parameter(&self, path: &str) -> Option<Point> {
        let id = *self.by_parameter.get(path)?;
        Some(Point::new(id, Port::ParameterGrad))
    }

    /// Iterates over the paths of the model's parameters, in their order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> + '_ {
        self.parameters.iter().map(|path| &**path)
    }

    /// Returns the point that is written `name`: `layers.0.output`, or an alias, or either with
    /// `.grad` behind it for the gradient of what passes there.
    ///
    /// `layers.0.grad` is the gradient of the module's output, and `layers.0.weight.grad` that of a
    /// parameter.
    pub fn point(&self, name: &str) -> Option<Point> {
        let value = self.aliases.get(name).copied();
        value
            .or_else(|| self.written_out(name))
            .or_else(|| match name {
                "grad" => self.gradient(""),
                name => self.gradient(name.strip_suffix(".grad")?),
            })
    }

    /// Returns the gradient's point of what passes at `name`: a module, whose output is meant, a
    /// point, or an alias; or of the parameter of this name.
    pub fn gradient(&self, name: &str) -> Option<Point> {
        let value = self.aliases.get(name).copied();
        let value = value
            .or_else(|| self.written_out(name))
            .or_else(|| self.point_at(name, Port::Output));
        match value {
            Some(value) => value.gradient(),
            None => self.parameter(name),
        }
    }

    /// Returns the point at `port` of `path`.
    ///
    /// An alias names a whole point, so that `point_at("blocks.4.hook_resid_pre", Port::Output)`,
    /// which is how TransformerLens users think of it, is the point behind the alias whatever
    /// the port.
    pub fn point_at(&self, path: &str, port: Port) -> Option<Point> {
        match self.aliases.get(path) {
            Some(&point) if port.is_gradient() => point.gradient(),
            Some(&point) => Some(point),
            None => self
                .path(path)
                .map(|id| Point::new(id, port))
                .filter(|&point| self.has(point))
                .or_else(|| match port {
                    Port::OutputGrad | Port::ParameterGrad => self.parameter(path),
                    _ => None,
                }),
        }
    }

    /// Returns the site that is written `name`, with an iteration (`.i2`) or without.
    pub fn site(&self, name: &str) -> Option<(Point, Option<u32>)> {
        if let Some(point) = self.point(name) {
            return Some((point, None));
        }
        let (head, iteration) = name.rsplit_once(".i")?;
        // `parse` alone would take a sign.
        let is_number = iteration.bytes().all(|byte| byte.is_ascii_digit());
        let iteration = iteration.parse().ok().filter(|_| is_number)?;
        Some((self.point(head)?, Some(iteration)))
    }

    /// Returns the text of a point; the model's own have no path (`output`).
    pub fn point_name(&self, point: Point) -> String {
        match self.path_name(point.path) {
            "" => point.port.name().to_owned(),
            path => format!("{path}.{}", point.port),
        }
    }

    /// Returns the text of a point that the map may not have.
    pub(crate) fn any_name(&self, point: Point) -> String {
        let is_known = (point.path.0 as usize) < self.len();
        match is_known || self.parameter_name(point.path).is_some() {
            true => self.point_name(point),
            false => format!("path {} of another model, {}", point.path.0, point.port),
        }
    }

    /// Returns the text of a site.
    pub fn site_name(&self, site: Site) -> String {
        format!("{}.i{}", self.point_name(site.point), site.iteration)
    }

    /// Iterates over every point of a forward pass, in the order in which the paths were added.
    pub fn points(&self) -> impl Iterator<Item = Point> + '_ {
        let ids = (0..self.paths.len() as u32).map(PathId);
        ids.flat_map(|id| Port::FORWARD.map(|port| Point::new(id, port)))
            .filter(|&point| self.has(point))
    }

    /// Iterates over every alias and its point, in alphabetical order.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, Point)> + '_ {
        self.aliases.iter().map(|(name, &point)| (&**name, point))
    }

    /// Returns the names most like `name`, nearest first.
    ///
    /// A name that starts as an alias does is compared with the aliases, any other with the model's
    /// own points. Where a parameter is taken for a module, its gradient is all there is.
    pub fn nearest(&self, name: &str) -> Vec<String> {
        if let Some(parameter) = self.as_parameter(name) {
            return vec![self.point_name(parameter)];
        }
        let value = name.strip_suffix(".grad");
        let points = self.points();
        let points = points.filter(|point| value.is_none() || point.gradient().is_some());
        let points = points.map(|point| self.point_name(point));
        let candidates = points.chain(self.aliases.keys().map(|alias| alias.to_string()));
        match value {
            None => nearest_of(name, candidates),
            Some(value) => {
                let named = candidates.chain(self.parameters().map(str::to_owned));
                let named = named.map(|name| (distance(value, &name), name));
                // `layers.0.grad` is the gradient of the output.
                let outputs = self.points().filter(|point| point.port == Port::Output);
                let modules = outputs.map(|point| {
                    let far = distance(value, self.path_name(point.path));
                    (far, self.point_name(point))
                });
                let nearest = nearest_scored(named.chain(modules)).into_iter();
                nearest.map(|name| format!("{name}.grad")).collect()
            }
        }
    }

    /// Returns the point of a parameter's gradient, where `name` asks for the parameter itself, as
    /// if it were a module: `embed.weight`, `embed.weight.output`.
    pub fn as_parameter(&self, name: &str) -> Option<Point> {
        let of_port = || {
            let (path, port) = name.rsplit_once('.')?;
            Port::from_name(port).and_then(|_| self.parameter(path))
        };
        self.parameter(name).or_else(of_port)
    }

    /// Returns whether a path is that of an operation: a call inside a module's forward function,
    /// which is named below `source`.
    ///
    /// # Panics
    ///
    /// Panics if `path` comes from another map.
    pub fn is_operation(&self, path: PathId) -> bool {
        let mut names = self.path_name(path).rsplit('.');
        names.nth(1) == Some("source")
    }

    /// Iterates over every point of a forward pass that is not one of an operation, in the order in
    /// which the paths were added.
    pub fn module_points(&self) -> impl Iterator<Item = Point> + '_ {
        self.points().filter(|point| !self.is_operation(point.path))
    }

    /// Iterates over every path, in the order in which they were added.
    pub fn paths(&self) -> impl Iterator<Item = &str> + '_ {
        self.paths.iter().map(|entry| &*entry.path)
    }

    /// Iterates over the points of every path below `path`: `cell.act.input` for `cell`, and all
    /// others' for the model itself.
    ///
    /// # Panics
    ///
    /// Panics if `path` comes from another map.
    pub fn points_below(&self, path: PathId) -> impl Iterator<Item = Point> + '_ {
        let above = match self.path_name(path) {
            "" => String::new(),
            name => format!("{name}."),
        };
        self.points().filter(move |point| {
            point.path != path && self.path_name(point.path).starts_with(&above)
        })
    }

    fn intern(&mut self, path: &str) -> PathId {
        if let Some(id) = self.path(path) {
            return id;
        }
        let next = u32::try_from(self.paths.len()).ok().map(PathId);
        let is_module = |id: &PathId| id.parameter_place().is_none();
        let id = next.filter(is_module).expect("more than 2^31 paths");
        let path: Arc<str> = path.into();
        self.by_path.insert(path.clone(), id);
        self.paths.push(Entry {
            path,
            layouts: [const { None }; Port::FORWARD.len()],
            positions: [PositionLayout::NONE; Port::FORWARD.len()],
        });
        id
    }

    /// Returns the point of a forward pass whose whole name this is.
    fn written_out(&self, name: &str) -> Option<Point> {
        let (path, port) = name.rsplit_once('.').unwrap_or(("", name));
        let port = Port::from_name(port).filter(|port| !port.is_gradient())?;
        let point = Point::new(self.path(path)?, port);
        self.has(point).then_some(point)
    }
}

/// Returns the few candidates most like `name`, nearest first: what a message about an unknown name
/// lists.
pub fn nearest_of(name: &str, candidates: impl Iterator<Item = String>) -> Vec<String> {
    nearest_scored(candidates.map(|candidate| (distance(name, &candidate), candidate)))
}

fn distance(left: &str, right: &str) -> usize {
    strsim::damerau_levenshtein(left, right)
}

/// Returns the few candidates with the smallest distances, each once.
fn nearest_scored(candidates: impl Iterator<Item = (usize, String)>) -> Vec<String> {
    let mut scored: Vec<(usize, String)> = candidates.collect();
    scored.sort();
    let mut nearest: Vec<String> = Vec::with_capacity(NEAREST_MAX);
    for (_, candidate) in scored {
        if nearest.len() < NEAREST_MAX && !nearest.contains(&candidate) {
            nearest.push(candidate);
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack() -> SiteMap {
        let mut map = SiteMap::new();
        for path in [
            "",
            "embed",
            "layers.0",
            "layers.0.fc",
            "layers.1",
            "layers.1.fc",
        ] {
            map.add(path, &[Port::Input, Port::Output]);
        }
        map.add("layers.1.pattern", &[Port::Output]);
        let resid = map.point("layers.1.output").unwrap();
        map.alias("blocks.1.hook_resid_post", resid);
        map
    }

    #[test]
    fn names_round_trip() {
        let map = stack();
        for point in map.points() {
            assert_eq!(map.point(&map.point_name(point)), Some(point));
            let site = point.at(7);
            assert_eq!(map.site(&map.site_name(site)), Some((point, Some(7))));
        }
        assert_eq!(map.points().count(), 13);
    }

    #[test]
    fn r91_all_that_passes_has_a_gradient() {
        let map = stack();
        for point in map.points() {
            let gradient = point.gradient().unwrap();
            let name = map.point_name(gradient);
            assert_eq!(name, format!("{}.grad", map.point_name(point)));
            assert_eq!(map.point(&name), Some(gradient));
            assert_eq!(map.site(&format!("{name}.i3")), Some((gradient, Some(3))));
            assert!(map.has(gradient));
        }
        let output = map.point("layers.1.output.grad");
        assert!(output.is_some());
        for name in ["layers.1.grad", "blocks.1.hook_resid_post.grad"] {
            assert_eq!(map.point(name), output, "{name}");
        }
        for name in ["layers.1", "layers.1.output", "blocks.1.hook_resid_post"] {
            assert_eq!(map.gradient(name), output, "{name}");
        }
        assert_eq!(map.point("grad"), map.point("output.grad"));
        assert_eq!(map.point("layers.1.output.grad.grad"), None);
        assert_eq!(map.point("upgrad"), None);
        assert_eq!(map.point("layers.1.pattern.input.grad"), None);
        assert_eq!(
            map.nearest("layers.1.fcc.output.grad")[0],
            "layers.1.fc.output.grad"
        );
        // What is called has none.
        let mut map = SiteMap::new();
        map.add("source.relu_0", &[Port::Fn, Port::Output]);
        assert_eq!(map.point("source.relu_0.fn.grad"), None);
        let nearest = map.nearest("source.relu_0.fn.grad");
        assert_eq!(nearest, ["source.relu_0.output.grad"]);
    }

    #[test]
    fn r95_a_parameter_has_a_gradient_and_nothing_else() {
        let mut map = stack();
        let (paths, points) = (map.len(), map.points().count());
        let weight = map.add_parameter("layers.1.fc.weight");
        let bias = map.add_parameter("layers.1.fc.bias");
        assert_eq!(map.add_parameter("layers.1.fc.weight"), weight);
        // A module that is added later moves none.
        map.add("head", &[Port::Output]);
        assert!(weight < bias && map.has(bias));
        assert_eq!((map.len(), map.points().count()), (paths + 1, points + 1));
        assert_eq!(map.point_name(weight), "layers.1.fc.weight.grad");
        for name in ["layers.1.fc.weight.grad", "layers.1.fc.weight.grad.i2"] {
            assert_eq!(map.site(name).map(|(point, _)| point), Some(weight));
        }
        assert_eq!(map.gradient("layers.1.fc.weight"), Some(weight));
        assert_eq!(map.layout(weight), &RowLayout::Shared);
        for name in ["layers.1.fc.weight", "layers.1.fc.weight.output"] {
            assert_eq!(map.point(name), None);
            assert_eq!(map.as_parameter(name), Some(weight));
            assert_eq!(map.nearest(name), ["layers.1.fc.weight.grad"]);
        }
        assert_eq!(map.as_parameter("layers.1.fc.output"), None);
        assert_eq!(
            map.nearest("layers.1.fc.bia.grad")[0],
            "layers.1.fc.bias.grad"
        );
        assert_eq!(
            map.nearest("layers.1.fcc.grad")[0],
            "layers.1.fc.output.grad"
        );
        let parameters: Vec<&str> = map.parameters().collect();
        assert_eq!(parameters, ["layers.1.fc.weight", "layers.1.fc.bias"]);
    }

    #[test]
    fn a_port_that_the_path_lacks_is_no_point() {
        let map = stack();
        assert_eq!(map.point("layers.1.pattern.input"), None);
        assert_eq!(map.point_at("layers.1.pattern", Port::Input), None);
        assert!(map.point("layers.1.pattern.output").is_some());
    }

    #[test]
    fn an_alias_stands_for_its_point_at_any_port() {
        let map = stack();
        let point = map.point("layers.1.output");
        assert_eq!(map.point("blocks.1.hook_resid_post"), point);
        assert_eq!(map.point_at("blocks.1.hook_resid_post", Port::Input), point);
        assert_eq!(
            map.site("blocks.1.hook_resid_post.i3"),
            point.map(|point| (point, Some(3)))
        );
    }

    #[test]
    fn r90_operations_are_named_below_source() {
        let mut map = stack();
        map.add("layers.1.source.softmax_0", &Port::FORWARD);
        map.add("source.matmul_0", &[Port::Output]);
        map.add("source", &[Port::Output]);
        map.add("resource.fc", &[Port::Output]);
        let operations = map.points().filter(|point| map.is_operation(point.path));
        let operations: Vec<String> = operations.map(|point| map.point_name(point)).collect();
        let expected = [
            "layers.1.source.softmax_0.input",
            "layers.1.source.softmax_0.output",
            "layers.1.source.softmax_0.fn",
            "source.matmul_0.output",
        ];
        assert_eq!(operations, expected);
        assert_eq!(map.module_points().count(), map.points().count() - 4);
    }

    #[test]
    fn points_below_a_path_are_not_those_of_its_namesakes() {
        let mut map = stack();
        map.add("layers.10.fc", &[Port::Output]);
        let below = |path: &str| -> Vec<String> {
            let points = map.points_below(map.path(path).expect("a path"));
            points.map(|point| map.point_name(point)).collect()
        };
        let of_layer_1 = [
            "layers.1.fc.input",
            "layers.1.fc.output",
            "layers.1.pattern.output",
        ];
        assert_eq!(below("layers.1"), of_layer_1);
        assert_eq!(below("embed"), [""; 0]);
        assert_eq!(below("").len(), map.points().count() - 2);
    }

    #[test]
    fn nearest_names_come_in_order() {
        let map = stack();
        assert_eq!(map.nearest("layers.1.fcc.output")[0], "layers.1.fc.output");
        assert_eq!(map.nearest("layer.0.input")[0], "layers.0.input");
        assert_eq!(
            map.nearest("blocks.1.hook_resid_pst")[0],
            "blocks.1.hook_resid_post"
        );
        assert_eq!(map.nearest("xyz").len(), NEAREST_MAX);
    }

    #[test]
    fn site_text_is_refused_when_it_is_not_one() {
        let map = stack();
        for text in [
            "",
            "layers",
            "layers.0",
            "layers.0.output.i",
            "layers.0.output.ix",
            "output.i-1",
            "output.i+1",
        ] {
            assert_eq!(map.site(text), None, "{text}");
        }
        assert!(map.site("output").is_some());
    }
}
