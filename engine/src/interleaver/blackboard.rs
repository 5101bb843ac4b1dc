//! Named values that the mediators of a run share.

use std::sync::Arc;

use super::Interleaver;
use crate::event::{Delivery, Event, Origin, Step};
use crate::fault::{Fault, FaultKind};
use crate::mediator::{Mediator, MediatorId};
use crate::observer::{Asked, Outcome};
use crate::planted::{self, Bug};
use crate::site::Site;
use crate::value::Value;

impl<V: Value> Interleaver<V> {
    pub(super) fn put(
        &mut self,
        id: MediatorId,
        (name, value): (Arc<str>, V),
        origin: Origin,
        rest: Box<dyn Mediator<V>>,
        at: Option<Site>,
    ) -> Step<V> {
        self.shared(id, Event::Put, (&name, &value), at, &origin);
        if !(planted::has(Bug::KeepsFirstPut) && self.blackboard.contains_key(&name)) {
            self.blackboard.insert(name, value);
        }
        self.resume(id, rest, Delivery::Done, &origin)
    }

    pub(super) fn get(
        &mut self,
        id: MediatorId,
        name: &str,
        origin: Origin,
        rest: Box<dyn Mediator<V>>,
        at: Option<Site>,
    ) -> Step<V> {
        match self.blackboard.get(name).cloned() {
            Some(value) => {
                self.shared(id, Event::Get, (name, &value), at, &origin);
                self.resume(id, rest, Delivery::Value(value), &origin)
            }
            None => {
                let fault = Fault::from(FaultKind::NotShared {
                    asked: name.to_owned(),
                    there: self.blackboard.keys().map(ToString::to_string).collect(),
                });
                let refused = (Event::Get, Asked::Name(name), fault);
                self.decline(id, refused, origin, rest, at)
            }
        }
    }

    fn shared(
        &mut self,
        id: MediatorId,
        event: Event,
        (name, value): (&str, &V),
        at: Option<Site>,
        origin: &Origin,
    ) {
        self.lane(id).account.serve(event);
        let outcome = Outcome::Served(Some(value));
        self.observe(id, event, Some(Asked::Name(name)), at, outcome, origin);
    }
}
