//! Replays: a record in the place of the model or of the mediators, at the same interleaver.
//!
//! What an [`Observer`](crate::Observer) sees of a run is all that either side said. So either can
//! be played from a record while the other is live, and the interleaver between them counts, serves
//! and refuses as it always does:
//!
//! - [`pass_recorded`] passes the sites that a recorded model passed, with the values that it
//!   brought;
//! - [`scripted`] makes a mediator that says what a recorded one said, its children among it.
//!
//! ```
//! use std::sync::Arc;
//! use interloom_engine::replay::{ScriptedRequest, Played, Said, pass_recorded, scripted};
//! use interloom_engine::{Invoke, Origin, Port, Setup, SiteMap, array::Array};
//!
//! let mut map = SiteMap::new();
//! map.add("act", &[Port::Output]);
//! let map = Arc::new(map);
//! let act = map.point("act.output").unwrap();
//!
//! let mut setup = Setup::new(map.clone());
//! let line = |said| ScriptedRequest { said, origin: Origin::Unknown };
//! let script = vec![line(Said::Value { target: act.into() }), line(Said::End)];
//! setup.invoke(Invoke::new("read", scripted(script, &map)));
//! let mut run = setup.start()?;
//! assert_eq!(pass_recorded(&mut run, &[act.at(0)], Some(Array::scalar(1.0))), Played::On);
//! assert_eq!(run.exchanges(), 2);
//! assert!(run.finish().result.is_ok());
//! # Ok::<(), interloom_engine::RunError>(())
//! ```

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::cache::{CacheSpec, Cached};
use crate::event::{Delivery, Origin, Request, Step, Target};
use crate::fault::Fault;
use crate::interleaver::{Flow, Interleaver};
use crate::iterations::Round;
use crate::map::SiteMap;
use crate::mediator::Mediator;
use crate::site::Site;
use crate::value::Value;

/// The end of a run whose sites were passed from a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Played {
    /// The model continues.
    On,
    /// The run was stopped, or has failed: no further site is passed.
    Halted,
    /// A mediator waits for a site for which the record has no value, because no mediator waited
    /// there.
    Missing(Site),
}

/// Passes the sites that a recorded model passed one after the other, gradients among them; `value`
/// is what it brought to the last of them.
///
/// The iterations of a forward pass are those that the run counts; of a gradient, the site's is
/// taken. Where the record has a backward pass begin or end, and how it has rows padded before all
/// that is passed ([`Interleaver::take_padding`]), the caller says so to the run.
pub fn pass_recorded<V: Value>(
    run: &mut Interleaver<V>,
    passed: &[Site],
    value: Option<V>,
) -> Played {
    let mut value = value;
    for (place, &site) in passed.iter().enumerate() {
        let is_gradient = site.point.port.is_gradient();
        let is_awaited = match is_gradient {
            true => run.passes_gradient(site),
            false => run.passes(site.point),
        };
        if !is_awaited {
            continue;
        }
        let is_last = place + 1 == passed.len();
        let Some(value) = value.take_if(|_| is_last) else {
            let missing = match is_gradient {
                true => site,
                false => site.point.at(run.passed(site.point) - 1),
            };
            return Played::Missing(missing);
        };
        // What the model continues with follows from what it passes next.
        let flow = match is_gradient {
            true => run.provide_gradient(site, value),
            false => run.provide(site.point, value),
        };
        if matches!(flow, Flow::Halt) {
            return Played::Halted;
        }
    }
    Played::On
}

/// A recorded message of a mediator, with its place in the user's source.
#[derive(Clone, Debug)]
pub struct ScriptedRequest<V> {
    /// What it said.
    pub said: Said<V>,
    /// Where it stands.
    pub origin: Origin,
}

/// A message of a mediator, with its values.
#[derive(Clone, Debug)]
pub enum Said<V> {
    /// A request for a site's value.
    Value {
        /// The site.
        target: Target,
    },
    /// A replacement for a site's value.
    Swap {
        /// The site.
        target: Target,
        /// The replacement.
        value: V,
        /// Whether the shape may change.
        reshape: bool,
    },
    /// An output for a module that is then not computed.
    Skip {
        /// The module's input.
        target: Target,
        /// The output.
        value: V,
    },
    /// A child; the lines that follow are its own, up to its end.
    Register {
        /// The child's own iteration.
        iteration: u32,
        /// The loop that it is an iteration of, if it is one.
        round: Round,
    },
    /// An arrival at a barrier.
    Barrier {
        /// The barrier's name.
        name: Arc<str>,
    },
    /// A value for the blackboard.
    Put {
        /// The value's name.
        name: Arc<str>,
        /// The value.
        value: V,
    },
    /// A request for a value of the blackboard.
    Get {
        /// The value's name.
        name: Arc<str>,
    },
    /// A backward pass from a loss.
    Backward {
        /// The loss.
        loss: V,
    },
    /// A cache; no exchange.
    Cache {
        /// What it collects.
        spec: CacheSpec,
    },
    /// The end of the model's run.
    Stop,
    /// The end of the mediator, or of the child that acts for it.
    End,
    /// The failure of the mediator, or of the child that acts for it.
    Exception {
        /// Why it failed.
        fault: Fault,
    },
}

/// Makes a mediator that says what stands in a script, whatever it is answered, and then ends. Its
/// caches collect for the model whose sites `map` lists; what they collect is seen by observers.
pub fn scripted<V: Clone + 'static>(
    lines: Vec<ScriptedRequest<V>>,
    map: &Arc<SiteMap>,
) -> impl Mediator<V> + use<V> {
    Scripted {
        lines: lines.into(),
        next: Rc::default(),
        map: map.clone(),
    }
}

/// A mediator or one of its children: they continue in the same script.
struct Scripted<V> {
    lines: Rc<[ScriptedRequest<V>]>,
    next: Rc<Cell<usize>>,
    map: Arc<SiteMap>,
}

impl<V: Clone + 'static> Mediator<V> for Scripted<V> {
    fn resume(self: Box<Self>, _: Delivery<V>) -> Step<V> {
        // The answer is not looked at: what the mediator made of it is the next recorded line.
        let place = self.next.get();
        let Some(line) = self.lines.get(place) else {
            return Step::End;
        };
        self.next.set(place + 1);
        let ScriptedRequest { said, origin } = line.clone();
        let request = match said {
            Said::Cache { spec } => {
                return Step::Cache {
                    spec,
                    into: Cached::new(self.map.clone()),
                    origin,
                    rest: self,
                };
            }
            Said::Stop => return Step::Stop { origin },
            Said::End => return Step::End,
            Said::Exception { fault } => return Step::Fail { fault, origin },
            Said::Value { target } => Request::Value { target },
            Said::Swap {
                target,
                value,
                reshape,
            } => Request::Swap {
                target,
                value,
                reshape,
            },
            Said::Skip { target, value } => Request::Skip { target, value },
            Said::Register { iteration, round } => Request::Register {
                child: Box::new(Self {
                    lines: self.lines.clone(),
                    next: self.next.clone(),
                    map: self.map.clone(),
                }),
                iteration: Some(iteration),
                round,
            },
            Said::Barrier { name } => Request::Barrier { name },
            Said::Put { name, value } => Request::Put { name, value },
            Said::Get { name } => Request::Get { name },
            Said::Backward { loss } => Request::Backward { loss },
        };
        Step::Ask {
            request,
            origin,
            rest: self,
        }
    }
}
