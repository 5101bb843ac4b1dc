//! Backward passes within a run: where they begin, what their hooks report, and where they end.

use std::collections::VecDeque;

use burn::tensor::{Float, Gradients, Tensor};
use interloom_engine::replay::{Played, pass_recorded};
use interloom_engine::{Flow, Site};

use super::slot::{Slot, halt, halt_because, is_halting, look};
use crate::active::is_running;
use crate::caught::catch;
use crate::erase::Erase;
use crate::error::BackwardFailure;
use crate::gradient::{Hook, Parts, assemble, disassemble, inside};
use crate::parameters::Parameters;
use crate::run::RecordedPass;
use crate::tensor::{AnyTensor, with_typed};
use crate::value::Value;

/// Differentiates a loss, as `loss.backward()` does, and lets the run under way on this thread see
/// it: mediators read and replace the gradients of what passed, and of parameters.
///
/// Without a run it is `loss.backward()`.
///
/// ```
/// # use burn::{nn::{Linear, LinearConfig}, prelude::*};
/// # use interloom_backends::{Hooked, Run, Sites, backward};
/// # let device = Device::flex().autodiff();
/// let model = Hooked::from(LinearConfig::new(2, 2).init(&device));
/// let sites = Sites::bind(&model)?;
/// let mut run = Run::new("clip", &sites);
/// let seen = run
///     .mediator("clip", async |cx| {
///         let gradient = cx.grad("").await?.tensor::<2>()?;
///         cx.set_grad("", gradient.clone().clamp(-0.5, 0.5)).await?;
///         Ok(gradient)
///     })
///     .gradients([""]);
/// let x = Tensor::<2>::ones([1, 2], &device);
/// let gradients = run.execute(|| backward(&model.forward(x).sum()))?.completed()?;
/// let weight = model.inner().weight.grad(&gradients).unwrap();
/// assert_eq!(weight.into_data().to_vec::<f32>()?, [0.5; 4]);
/// assert_eq!(seen.take().unwrap().into_data().to_vec::<f32>()?, [1.0; 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Panics
///
/// Without a run, as burn's does: if the loss belongs to no graph, or to one that is used up. In a
/// run that is the run's error.
pub fn backward<const D: usize>(loss: &Tensor<D>) -> Gradients {
    if !is_running() {
        return loss.backward();
    }
    let value = loss.clone().without_autodiff().erase();
    let loss = AnyTensor::new(loss.clone());
    differentiate(&loss, Some(&value))
}

/// What the backward passes of a run are made with.
#[derive(Default)]
pub(crate) struct Supply {
    /// The passes that are played where mediators ask for one.
    pub(crate) passes: VecDeque<RecordedPass>,
    /// The model's parameters.
    pub(crate) parameters: Parameters,
}

/// Performs the backward pass that mediators asked for at the site that was just left: from a
/// record if there is one, else of the graph.
pub(super) fn differentiate_all(losses: Vec<Value>) {
    if let Some(pass) = look(|active| active.supply.passes.pop_front()).flatten() {
        return play(&pass);
    }
    let mut losses = losses.into_iter().filter_map(|loss| match loss {
        Value::Tensor(tensor) => Some(with_typed!(tensor, |tensor: Tensor<_, Float>| {
            tensor.reshape([1])
        })),
        _ => None,
    });
    let first: Tensor<1> = losses.next().expect("a loss that the run has checked");
    let sum = losses.fold(first, |sum, loss| sum + loss);
    differentiate(&AnyTensor::new(sum), None);
}

/// Takes the steps of a graph, and lets the run see it; `shown` is the loss of the code around the
/// model.
fn differentiate(loss: &AnyTensor, shown: Option<&Value>) -> Gradients {
    if look(|active| active.interleaver.is_backward()) == Some(true) && shown.is_some() {
        halt_because(|after| failed(after, BackwardFailure::Nested));
    }
    if !loss.is_tracked() {
        halt_because(|after| failed(after, BackwardFailure::NoGraph));
    }
    look(|active| active.interleaver.begin_backward(shown));
    let loss = loss.clone();
    let taken = catch(|| with_typed!(loss, |loss: Tensor<_, Float>| loss.backward()));
    match taken {
        Ok(mut gradients) => {
            pass_parameters(&mut gradients);
            let is_halted = Slot::with(|active| {
                active.interleaver.end_backward();
                active.interleaver.is_halted()
            });
            if is_halted {
                halt();
            }
            gradients
        }
        Err(payload) if is_halting(&*payload) => halt(),
        Err(payload) => {
            let message = interloom_engine::panic_message(&*payload);
            halt_because(|after| failed(after, BackwardFailure::Burn(message)))
        }
    }
}

/// Passes the gradients of the parameters that the loss reaches, of those that mediators may ask
/// for; what becomes of them is what the optimizer is given.
fn pass_parameters(gradients: &mut Gradients) {
    let sites = look(|active| active.interleaver.parameter_sites()).unwrap_or_default();
    for site in sites {
        let (path, parameter) = Slot::with(|active| active.parameter(site));
        let Some(parameter) = parameter else {
            halt_because(|after| failed(after, BackwardFailure::Parameter(path)));
        };
        let Some(gradient) = parameter.gradient(gradients) else {
            continue;
        };
        if look(|active| active.interleaver.passes_gradient(site)) != Some(true) {
            continue;
        }
        let flow = Slot::with(|active| {
            active.last = Some(site);
            inside(|| {
                active
                    .interleaver
                    .provide_gradient(site, Value::Tensor(gradient))
            })
        });
        match flow {
            Flow::Continue(Value::Tensor(gradient)) => {
                parameter.replace_gradient(gradients, gradient);
            }
            Flow::Continue(_) => unreachable!("a swap keeps the kind"),
            Flow::Skip(_) => unreachable!("the interleaver refuses a skip at a gradient"),
            Flow::Halt => halt(),
        }
    }
}

/// Plays a recorded backward pass.
fn play(pass: &RecordedPass) {
    let is_halted = Slot::with(|active| {
        let run = &mut active.interleaver;
        let had_stopped = run.is_halted();
        run.begin_backward(None);
        for (passed, brought) in pass.visits() {
            match pass_recorded(run, passed, brought.clone()) {
                Played::On => {}
                // What the record does not have was not waited for when it was made.
                Played::Halted | Played::Missing(_) => return true,
            }
        }
        run.end_backward();
        had_stopped || run.is_halted()
    });
    if is_halted {
        halt();
    }
}

fn failed(after: Option<String>, why: BackwardFailure) -> crate::error::ForwardError {
    crate::error::ForwardError::Backward { after, why }
}

/// Passes the gradient of a hooked value: called by burn, in the middle of its backward pass.
pub(crate) fn pass_gradient(hook: Hook, parts: Parts) -> Parts {
    match look(|active| active.arrives_back(hook)) {
        // The graph has outlived its run, or another value has taken this one's place.
        None | Some(Back::Unawaited) => parts,
        Some(Back::Unseen) => halt_because(|after| failed(after, BackwardFailure::Unseen)),
        Some(Back::Awaited(site)) => {
            let gradient = assemble(hook, parts);
            let flow = Slot::with(|active| {
                active.last = Some(site);
                inside(|| active.interleaver.provide_gradient(site, gradient))
            });
            match flow {
                Flow::Continue(gradient) => disassemble(hook, &gradient),
                Flow::Halt => halt(),
                Flow::Skip(_) => unreachable!("the interleaver refuses a skip at a gradient"),
            }
        }
    }
}

/// Notes that a backward pass has brought no gradient to a part of a value.
pub(crate) fn note_unreached_part(hook: Hook) {
    look(|active| {
        if active.numbered.number() == hook.run {
            active.interleaver.note_unreached_part(hook.ticket);
        }
    });
}

/// What becomes of a gradient.
pub(super) enum Back {
    Unawaited,
    Awaited(Site),
    /// The run has not seen the pass begin.
    Unseen,
}

impl super::Active {
    /// Returns the path of the parameter whose gradient passes a site, and the parameter if it is
    /// known.
    fn parameter(&self, site: Site) -> (String, Option<AnyTensor>) {
        let path = self.interleaver.map().path_name(site.point.path);
        (path.to_owned(), self.supply.parameters.get(path).cloned())
    }

    fn arrives_back(&mut self, hook: Hook) -> Back {
        if self.numbered.number() != hook.run {
            return Back::Unawaited;
        }
        if !self.interleaver.is_backward() {
            return Back::Unseen;
        }
        match self.interleaver.gradient_of(hook.ticket) {
            Some(site) if self.interleaver.passes_gradient(site) => Back::Awaited(site),
            Some(_) | None => Back::Unawaited,
        }
    }
}
