//! What the scripts of a scenario share.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use interloom_backends::{Sites, Value};
use interloom_engine::Mediator;
use interloom_engine::program::Results;

use super::thing::Thing;
use super::{Body, Script};
use crate::conform::guise::Manner;
use crate::conform::run::Surroundings;

/// What the scripts of a scenario share.
pub(in crate::conform) struct Company {
    sharing: Sharing,
    /// The names of the run, with what earlier runs have saved.
    board: RefCell<Rc<Names>>,
    saved: Rc<Names>,
}

pub(super) type Names = RefCell<BTreeMap<String, Thing>>;

/// When a body sees what others give a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sharing {
    /// At once.
    AtOnce,
    /// It keeps what it saw first.
    KeepsWhatItSaw,
    /// At once, but the names of an iteration are seen once its parent goes on, and an iteration sees those that its parent saw.
    BetweenChildren,
}

impl Company {
    pub(in crate::conform) fn new(manners: &[Manner]) -> Self {
        let sharing = if manners.contains(&Manner::KeepsWhatItSaw) {
            Sharing::KeepsWhatItSaw
        } else if manners.contains(&Manner::SharesBetweenChildren) {
            Sharing::BetweenChildren
        } else {
            Sharing::AtOnce
        };
        Self {
            sharing,
            board: RefCell::default(),
            saved: Rc::default(),
        }
    }

    /// Makes a mediator of the script of the block at this place of its run.
    pub(in crate::conform) fn mediator(
        &self,
        script: &Script,
        index: usize,
        around: &Surroundings,
    ) -> Box<dyn Mediator<Value>> {
        if index == 0 {
            let saved = self.saved.borrow().clone();
            self.board.replace(Rc::new(RefCell::new(saved)));
        }
        let (board, saved) = (self.board.borrow().clone(), self.saved.clone());
        let body = Rc::new(Body::new(around, self.sharing, board, saved));
        let steps = script.0.clone();
        let map = Sites::map(around.sites()).clone();
        let (mediator, _) = interloom_engine::mediator(map, move |cx| body.steps(cx, steps));
        Box::new(mediator)
    }

    /// Saves what was saved as it is by now.
    ///
    /// # Errors
    ///
    /// What cannot be told: a list that is in itself.
    pub(in crate::conform) fn save_in(&self, results: &Results<Value>) -> Result<(), String> {
        for (name, thing) in self.saved.borrow().iter() {
            let told = thing.datum();
            let told = told.map_err(|_| {
                format!("`{name}` is saved, and a list in it is in itself, or too long")
            })?;
            results.save(name, told);
        }
        Ok(())
    }
}
