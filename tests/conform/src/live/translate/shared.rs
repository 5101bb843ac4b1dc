//! What the bodies of a run share.

use std::collections::BTreeSet;

use super::Body;
use super::names::Names;
use super::steps::Translator;
use crate::scenario::Unsupported;

/// What a body shares with the other bodies of its run, and has from earlier runs.
#[derive(Debug, Default)]
pub(super) struct SharedNames {
    /// The names that are on the blackboard by others: those that they give values, and those that
    /// are put there first.
    pub(super) others: BTreeSet<String>,
    /// The names that earlier runs gave values.
    pub(super) earlier: BTreeSet<String>,
    /// Those of all these names that stand for lists.
    pub(super) lists: BTreeSet<String>,
    /// The names of others that may be second ones of a list.
    pub(super) seconds: BTreeSet<String>,
    /// The lists that another body makes more than once.
    pub(super) remade: BTreeSet<String>,
    /// The names of the body's own that others use.
    pub(super) wanted: BTreeSet<String>,
    /// The names of earlier runs that this body puts on the blackboard before all else.
    pub(super) seeds: BTreeSet<String>,
    /// Whether it is still to be found out what others use.
    pub(super) is_draft: bool,
}

/// What a body uses that it gave no value.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// The names of others.
    pub(super) shared: BTreeSet<String>,
    /// The lists of others, or of earlier runs, that it appends to.
    pub(super) appended: BTreeSet<String>,
}

impl SharedNames {
    /// Finds out what each of the bodies shares.
    pub(super) fn of_all(
        bodies: &[Body<'_>],
        earlier: &Names,
        by_name: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Self>, Unsupported> {
        let mut all: Vec<Self> = (0..bodies.len())
            .map(|index| Self::draft(bodies, index, earlier))
            .collect();
        let mut uses = Vec::new();
        for (body, shared) in bodies.iter().zip(&all) {
            uses.push(Translator::new(by_name, shared).uses(body.steps)?);
        }
        for (index, body) in bodies.iter().enumerate() {
            let others = uses.iter().enumerate();
            let others = others.filter(|(other, _)| *other != index);
            let used = others.flat_map(|(_, uses)| &uses.shared);
            let wanted = used.filter(|name| body.names.contain(name)).cloned();
            all[index].wanted = wanted.collect();
            all[index].is_draft = false;
        }
        check_lists(bodies, &all)?;
        // What several set one after another is in one place, and so is a list that grows.
        let used = uses
            .iter()
            .flat_map(|uses| uses.shared.iter().chain(&uses.appended));
        let seeds = used.filter(|name| earlier.saved.contains(*name)).cloned();
        let seeds: BTreeSet<String> = seeds.collect();
        for shared in &mut all {
            shared.others.extend(seeds.iter().cloned());
        }
        // The first one is started first.
        if let Some(first) = all.first_mut() {
            first.seeds = seeds;
        }
        Ok(all)
    }

    fn draft(bodies: &[Body<'_>], index: usize, earlier: &Names) -> Self {
        let mut others = Names::default();
        for (other, body) in bodies.iter().enumerate() {
            if other != index {
                others.extend(body.names.clone());
            }
        }
        let is_list = |name: &&String| {
            if others.contain(name) {
                !others.variables.contains(*name)
            } else {
                !earlier.variables.contains(*name)
            }
        };
        let lists = others.lists.iter().chain(&earlier.lists);
        let lists = lists.filter(is_list).cloned().collect();
        Self {
            lists,
            others: others.variables.into_iter().chain(others.lists).collect(),
            earlier: earlier.variables.union(&earlier.lists).cloned().collect(),
            seconds: others.seconds.union(&earlier.seconds).cloned().collect(),
            remade: others.remade,
            wanted: BTreeSet::new(),
            seeds: BTreeSet::new(),
            is_draft: true,
        }
    }

    /// Returns whether others, or an earlier run, have the name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.others.contains(name) || self.earlier.contains(name)
    }
}

/// Refuses lists of one name that a third body would have to tell apart.
fn check_lists(bodies: &[Body<'_>], all: &[SharedNames]) -> Result<(), Unsupported> {
    for (body, shared) in bodies.iter().zip(all) {
        let mut lists = shared.wanted.intersection(&body.names.lists);
        let is_of_several = |list: &&String| {
            let wanting = all.iter().filter(|other| other.wanted.contains(*list));
            wanting.count() > 1
        };
        if let Some(list) = lists.find(is_of_several) {
            let what = format!("the list `{list}`, which several bodies make and others use,");
            return Err(what.into());
        }
    }
    Ok(())
}
