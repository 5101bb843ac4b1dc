//! Loops over iterations, each of which is a child mediator.

use std::panic::Location;

use super::Cx;
use super::ask::FromDelivery;
use super::mailbox::mediator_at;
use crate::event::{Delivery, Request};
use crate::fault::Fault;
use crate::iterations::Iterations;

impl<V: 'static> Cx<V> {
    /// Runs `body` once for each of `iterations`, in ascending order, and returns what it returned.
    ///
    /// Each iteration is a child mediator with a context of its own, and a request in it that names
    /// no iteration is for that one. When the child has ended, this mediator continues at the
    /// same site. A loop without an upper bound ends with the last of the steps that the run
    /// declares, or else with what the model passes; a loop with one ends there too, and the
    /// iterations that never came are a warning in the audit.
    ///
    /// ```
    /// # use interloom_engine::{array::Array, mediator, Cx};
    /// # use std::sync::Arc;
    /// # let map = Arc::new(interloom_engine::SiteMap::new());
    /// let (trace, outputs) = mediator(map, async |cx: Cx<Array>| {
    ///     cx.for_each(1..4, async |cx, i| {
    ///         let h = cx.output("cell").await?; // the output of iteration i
    ///         cx.set_output("cell", h.map(|x| x + f64::from(i))).await?;
    ///         Ok(h)
    ///     })
    ///     .await
    /// });
    /// ```
    ///
    /// # Errors
    ///
    /// [`FaultKind::SecondRequest`](crate::FaultKind::SecondRequest) and
    /// [`FaultKind::Closed`](crate::FaultKind::Closed) as for any request. A fault that leaves the
    /// body fails the mediator and is not returned here; the model's end
    /// ([`FaultKind::NotProvided`](crate::FaultKind::NotProvided)) ends the loop.
    #[track_caller]
    pub fn for_each<T, I, F, Fut>(
        &self,
        iterations: I,
        mut body: F,
    ) -> impl Future<Output = Result<Vec<T>, Fault>> + use<V, T, I, F, Fut>
    where
        T: 'static,
        I: Into<Iterations>,
        F: FnMut(Cx<V>, u32) -> Fut,
        Fut: Future<Output = Result<T, Fault>> + 'static,
    {
        let (cx, line) = (self.clone(), Location::caller());
        let iterations = iterations.into();
        async move {
            let mut results = Vec::new();
            for (iteration, round) in iterations.rounds(cx.iteration()) {
                // A child whose own iteration this is, so that the body need not name it in its
                // requests.
                let program = |cx: Cx<V>| body(cx, iteration);
                let (child, result) = mediator_at(cx.0.map.clone(), iteration, program);
                let request = Request::Register {
                    child: Box::new(child),
                    iteration: Some(iteration),
                    round,
                };
                let turn: Turn = cx.ask_at(request, line).await?;
                results.extend(result.take());
                if matches!(turn, Turn::Over) {
                    break;
                }
            }
            Ok(results)
        }
    }
}

/// What the interleaver says of a loop when one of its children has ended.
enum Turn {
    GoOn,
    Over,
}

impl<V> FromDelivery<V> for Turn {
    fn from_delivery(delivery: Delivery<V>) -> Result<Self, Fault> {
        match delivery {
            Delivery::Over => Ok(Self::Over),
            Delivery::Refused(fault) if fault.is_beyond_steps() => Ok(Self::Over),
            Delivery::Refused(fault) => Err(fault),
            Delivery::Done | Delivery::Value(_) | Delivery::Start => Ok(Self::GoOn),
        }
    }
}
