//! What a run has, in whatever manner it is run.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::model::{Network, Value};
use super::rows::{Rows, has_tensor};
use super::task::{Scene, Task};
use crate::outcome::{Collected, Fault, Item, Said, Served};
use crate::scenario::Plan;
use crate::user::{Collects, Tensor};

/// A run that is put up.
pub(super) struct Stage {
    pub(super) scene: Rc<Scene>,
    pub(super) tasks: Vec<Task>,
    /// The rows of each; nothing of those that see the whole batch.
    pub(super) groups: Vec<Option<Rows>>,
    pub(super) edits: usize,
    pub(super) barriers: BTreeMap<String, u32>,
    pub(super) caches: Vec<Cache>,
    pub(super) tokens: Option<u32>,
    /// What the model is given.
    pub(super) input: Value,
    /// How often each point was passed.
    pub(super) counts: BTreeMap<String, u32>,
}

/// What a run came to.
#[derive(Default)]
pub(super) struct CameTo {
    pub(super) outputs: Vec<Item>,
    pub(super) caches: BTreeMap<String, Collected>,
    pub(super) served: Vec<Served>,
    pub(super) exchanges: Vec<Said>,
    pub(super) faults: Vec<Fault>,
}

/// A cache of one body, or of the run.
pub(super) struct Cache {
    pub(super) name: String,
    pub(super) owner: Option<usize>,
    pub(super) collects: Collects,
    entries: Vec<(String, Vec<Open>)>,
}

/// What a cache has of one pass of a module.
#[derive(Default)]
struct Open {
    inputs: Option<Value>,
    output: Option<Value>,
}

impl Stage {
    pub(super) fn new(
        scene: Rc<Scene>,
        plan: &Plan<'_>,
        tasks: Vec<Task>,
        groups: Vec<Option<Rows>>,
        input: Value,
    ) -> Self {
        let caches = plan.caches.iter();
        let caches = caches.map(|(name, collects)| Cache::new(name, None, collects.clone()));
        Self {
            scene,
            tasks,
            groups,
            edits: plan.parts.iter().filter(|part| part.is_edit).count(),
            barriers: plan.barriers.clone(),
            caches: caches.collect(),
            tokens: plan.tokens,
            input,
            counts: BTreeMap::new(),
        }
    }

    pub(super) fn all(&self) -> std::ops::Range<usize> {
        0..self.tasks.len()
    }

    pub(super) fn network(&self) -> Network {
        self.scene.network.clone()
    }

    pub(super) fn count(&self, point: &str) -> u32 {
        self.counts.get(point).copied().unwrap_or(0)
    }

    pub(super) fn has_point(&self, point: &str) -> bool {
        let (path, port) = point.rsplit_once('.').unwrap_or(("", point));
        let network = &self.scene.network;
        let mut paths = network.modules().into_iter().chain(network.operations());
        ["input", "output"].contains(&port) && paths.any(|own| own == path)
    }

    /// R50: what a body reads of a value.
    pub(super) fn rows_of(&self, who: usize, value: &Value) -> Value {
        self.groups[who].map_or_else(|| value.clone(), |rows| rows.of(value))
    }

    /// Returns whether rows of several bodies share the batch, so that the reference looks for
    /// them.
    pub(super) fn is_batched(&self) -> bool {
        self.groups.iter().flatten().count() > 1
    }

    /// Lets the caches see what passes a point.
    pub(super) fn collect(&mut self, point: &str, value: &Value) {
        for place in 0..self.caches.len() {
            let owner = self.caches[place].owner;
            let own = owner.map_or_else(|| value.clone(), |who| self.rows_of(who, value));
            self.caches[place].collect(point, own);
        }
    }
}

impl Cache {
    pub(super) fn new(name: &str, owner: Option<usize>, collects: Collects) -> Self {
        Self {
            name: name.to_owned(),
            owner,
            collects,
            entries: Vec::new(),
        }
    }

    /// One that collects nothing.
    pub(super) fn refused(name: &str) -> Self {
        let collects = Collects {
            modules: Some(Vec::new()),
            inputs: false,
            outputs: false,
        };
        Self::new(name, None, collects)
    }

    /// Returns whether it collects what passes a point; of operations it does not.
    pub(super) fn has(&self, point: &str) -> bool {
        let (path, port) = point.rsplit_once('.').unwrap_or(("", point));
        let is_side = match port {
            "input" => self.collects.inputs,
            "output" => self.collects.outputs,
            _ => false,
        };
        let is_listed = |modules: &Vec<String>| modules.iter().any(|module| module == path);
        is_side
            && !path.contains(".source.")
            && self.collects.modules.as_ref().is_none_or(is_listed)
    }

    /// What a module puts out goes with what it took in.
    pub(super) fn collect(&mut self, point: &str, value: Value) {
        if !self.has(point) {
            return;
        }
        let (path, port) = point.rsplit_once('.').unwrap_or(("", point));
        let place = self.entries.iter().position(|(own, _)| own == path);
        let place = place.unwrap_or_else(|| {
            self.entries.push((path.to_owned(), Vec::new()));
            self.entries.len() - 1
        });
        let passes = &mut self.entries[place].1;
        let is_open = passes.last().is_some_and(|open| match port {
            "input" => open.inputs.is_none(),
            _ => open.output.is_none(),
        });
        if !is_open {
            passes.push(Open::default());
        }
        let open = passes.last_mut().expect("one was pushed if there was none");
        match port {
            "input" => open.inputs = Some(value),
            _ => open.output = Some(value),
        }
    }

    /// Returns how many passes of a module it has.
    pub(super) fn passes(&self, path: &str) -> usize {
        let entry = self.entries.iter().find(|(own, _)| own == path);
        entry.map_or(0, |(_, passes)| passes.len())
    }

    /// What it has collected, as it is by now.
    pub(super) fn collected(&self) -> Collected {
        let entries = self.entries.iter();
        entries
            .map(|(path, passes)| {
                let item = |value: &Option<Value>| value.as_ref().and_then(Value::item);
                let passes = passes.iter().map(|open| crate::outcome::Entry {
                    inputs: item(&open.inputs),
                    output: item(&open.output),
                });
                (path.clone(), passes.collect())
            })
            .collect()
    }
}

/// Returns whether a tensor without dimensions is in a value.
pub(super) fn has_zero_dimensions(value: &Value) -> bool {
    has_tensor(value, &|array| array.shape().is_empty())
}

/// Returns the point of a module's input or output.
pub(super) fn point(path: &str, port: &str) -> String {
    match path {
        "" => port.to_owned(),
        path => format!("{path}.{port}"),
    }
}
