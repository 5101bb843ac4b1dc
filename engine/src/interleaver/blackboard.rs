//! Named values that the mediators of a run share.

use std::sync::Arc;

use super::Interleaver;
use crate::event::{Delivery, Event, Origin, Step};
use crate::fault::{Fault, FaultKind};
use crate::mediator::{Mediator, MediatorId};
use crate::observer::{Message, Outcome};
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
        self.lane(id).account.serve(Event::Put);
        let message = Message::Put {
            name: &name,
            value: &value,
        };
        self.observe(id, message, at, Outcome::Served(None), &origin);
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
        let message = Message::Get { name };
        match self.blackboard.get(name).cloned() {
            Some(value) => {
                self.lane(id).account.serve(Event::Get);
                self.observe(id, message, at, Outcome::Served(Some(&value)), &origin);
                self.resume(id, rest, Delivery::Value(value), &origin)
            }
            None => {
                let fault = Fault::from(FaultKind::NotShared {
                    asked: name.to_owned(),
                    there: self.blackboard.keys().map(ToString::to_string).collect(),
                });
                self.decline(id, (message, fault), origin, rest, at)
            }
        }
    }
}
