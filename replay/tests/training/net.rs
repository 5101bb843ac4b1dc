//! A small net that is trained, and the loop that trains it: the same in every mode.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::nn::{Linear, LinearConfig, Tanh};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, GradientsAccumulator, GradientsParams, SgdConfig};
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use interloom::training::{DataOrder, Trained, Training, TrainingBuilder};
use interloom::{Error, Hooked, Sites, backward};
use interloom_backends::Forward;

use crate::kills::passing;

/// Burn's seeds are global to the process.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Module, Debug)]
pub(crate) struct Net {
    pub(crate) up: Hooked<Linear>,
    pub(crate) act: Hooked<Tanh>,
    pub(crate) down: Hooked<Linear>,
}

impl Forward<Tensor<2>> for Net {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.down.forward(self.act.forward(self.up.forward(x)))
    }
}

pub(crate) type State = Trained<Net>;

pub(crate) const SEED: u64 = 7;
pub(crate) const ITEMS: u64 = 40;
/// How many items a step is fed.
pub(crate) const FED: usize = 8;
/// How many of them are passed at once, where gradients are added up.
pub(crate) const PART: usize = 4;

pub(crate) fn device() -> Device {
    Device::flex().autodiff()
}

/// Fresh weights; others if `seed` is another.
pub(crate) fn fresh_net(seed: u64) -> Net {
    let device = device();
    device.seed(seed);
    Net {
        up: LinearConfig::new(3, 6).init(&device).into(),
        act: Tanh::new().into(),
        down: LinearConfig::new(6, 2).init(&device).into(),
    }
}

/// A fresh net, and an optimizer with two moments and a count.
pub(crate) fn fresh(seed: u64) -> State {
    Trained::new("net", fresh_net(seed), AdamWConfig::new().init())
}

/// A fresh net, and an optimizer with one moment.
pub(crate) fn fresh_with_momentum(seed: u64) -> State {
    let momentum = SgdConfig::new().with_momentum(Some(MomentumConfig::new()));
    Trained::new("net", fresh_net(seed), momentum.init())
}

pub(crate) fn settings() -> TrainingBuilder {
    Training::of(SEED, &device()).checkpoint_every(10)
}

/// What goes wrong in a training run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// A bit of a weight, between two steps.
    Weight { element: usize, bit: u32 },
    /// An activation, by a mediator.
    Activation { site: &'static str },
    /// A gradient at a site, by a mediator.
    Gradient { site: &'static str },
    /// A bit of a parameter's gradient.
    ParameterGradient { element: usize, bit: u32 },
    /// A moment of the optimizer, between two steps.
    Moment,
    /// Two items in another order.
    Order,
    /// Another item.
    Item,
    /// Noise from another seed.
    Seed,
    /// Another learning rate.
    Rate { scale: f64 },
    /// A parameter that is made of itself anew after the step.
    Parametrisation,
}

/// Trains until `total` steps are made, with a fault in one step; the gradients of two parts of a
/// batch are added up.
pub(crate) fn train(
    training: &mut Training,
    state: &mut State,
    total: u64,
    fault: Option<(u64, Fault)>,
) -> Result<(), Error> {
    train_in_parts(training, state, total, PART, fault)
}

/// Trains as [`train`] does, with parts of a batch of `part` items.
pub(crate) fn train_in_parts(
    training: &mut Training,
    state: &mut State,
    total: u64,
    part: usize,
    fault: Option<(u64, Fault)>,
) -> Result<(), Error> {
    let sites = Sites::bind(&state.module)?;
    while training.goes_on(total) {
        let number = training.next();
        let fault = fault.and_then(|(at, fault)| (at == number).then_some(fault));
        match fault {
            Some(Fault::Weight { element, bit }) => flip_weight(state, element, bit),
            Some(Fault::Moment) => spoil_moment(state),
            _ => {}
        }
        make_step(training, state, &sites, part, fault)?;
    }
    Ok(())
}

pub(crate) fn make_step(
    training: &mut Training,
    state: &mut State,
    sites: &Sites,
    part: usize,
    fault: Option<Fault>,
) -> Result<(), Error> {
    let order = DataOrder::new(training.seed(), ITEMS)?;
    training.step(state, |step, state| {
        let mut items = order.batch(step.number(), FED as u64);
        match fault {
            Some(Fault::Order) => items.swap(2, 5),
            Some(Fault::Item) => items[3] = (items[3] + 1) % ITEMS,
            Some(Fault::Seed) => device().seed(99),
            _ => {}
        }
        step.fed_items("items", &items);
        let rate = rate_of(step.number());
        let rate = match fault {
            Some(Fault::Rate { scale }) => rate * scale,
            _ => rate,
        };
        let mut sum = GradientsAccumulator::new();
        let mut total = 0.0;
        for part in items.chunks(part) {
            let mut run = step.run(sites);
            damp(&mut run);
            run.parameters(&state.module);
            if let Some(fault @ (Fault::Activation { .. } | Fault::Gradient { .. })) = fault {
                spoil_site(&mut run, fault);
            }
            let (loss, gradients) = step.record(run, || {
                let loss = loss(&state.module, part);
                let gradients = backward(&loss);
                (loss.into_scalar::<f32>(), gradients)
            })?;
            total += f64::from(loss);
            passing(step.number(), "a part of the batch");
            let gradients = GradientsParams::from_grads(gradients, &state.module);
            sum.accumulate(&state.module, gradients);
        }
        let mut gradients = sum.grads();
        if let Some(Fault::ParameterGradient { element, bit }) = fault {
            let id = state.module.up.inner().weight.id;
            let gradient = gradients.remove::<2>(id).expect("a gradient");
            gradients.register(id, flipped(gradient, element, bit));
        }
        passing(step.number(), "before the update");
        step.update(state, rate, gradients)?;
        passing(step.number(), "after the update");
        if fault == Some(Fault::Parametrisation) {
            // As one that is derived from others: the rows are scaled to their own norm.
            change_weight(state, |weight| {
                let norm = weight.clone().square().sum_dim(1).sqrt();
                weight / norm.clone() * norm * 1.000_001
            });
        }
        Ok(total)
    })?;
    Ok(())
}

/// The learning rate of a step.
pub(crate) fn rate_of(step: u64) -> f64 {
    0.01 / (1.0 + step as f64 / 50.0)
}

/// The error of the net at some items, with noise that is drawn in the step.
pub(crate) fn loss(net: &Net, items: &[u64]) -> Tensor<1> {
    let device = device();
    let x: Vec<f32> = items
        .iter()
        .flat_map(|item| [*item as f32 / 40.0, (*item % 7) as f32 / 7.0, 1.0])
        .collect();
    let x = Tensor::<2>::from_data(TensorData::new(x, [items.len(), 3]), &device);
    let noise = Tensor::<2>::random([items.len(), 2], Distribution::Normal(0.0, 0.01), &device);
    let target = x.clone().slice([0..items.len(), 0..2]).sin() + noise;
    (net.forward(x) - target).square().mean()
}

/// Changes an activation and a gradient.
pub(crate) fn damp(run: &mut interloom::Run) {
    run.mediator("damp", async |cx| {
        let act = cx.output("act").await?;
        cx.set_output("act", act * 1.01).await?;
        cx.update_grad("up.output", |gradient| gradient * 0.5)
            .await?;
        cx.update_grad("down.bias", |gradient| gradient * 0.9).await
    })
    .gradients(["up", "down.bias"]);
}

fn spoil_site(run: &mut interloom::Run, fault: Fault) {
    match fault {
        Fault::Activation { site } => {
            run.mediator("fault", async move |cx| {
                let value = cx.output(site).await?;
                cx.set_output(site, value * 1.000_001).await
            });
        }
        Fault::Gradient { site } => {
            let at = format!("{site}.output");
            run.mediator("fault", async move |cx| {
                cx.update_grad(&at, |gradient| gradient * 1.000_001).await
            })
            .gradients([site]);
        }
        _ => unreachable!("no fault of a site"),
    }
}

fn flip_weight(state: &mut State, element: usize, bit: u32) {
    change_weight(state, |weight| flipped(weight, element, bit));
}

fn change_weight(state: &mut State, change: impl FnOnce(Tensor<2>) -> Tensor<2>) {
    let id = state.module.up.inner().weight.id;
    state.module = state
        .module
        .clone()
        .map(&mut WeightChange(id, Some(change)));
}

/// Changes one parameter, and keeps what hooks the modules have.
struct WeightChange<F>(ParamId, Option<F>);

impl<F: FnOnce(Tensor<2>) -> Tensor<2>> ModuleMapper for WeightChange<F> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if param.id != self.0 {
            return param;
        }
        let change = self.1.take().expect("one parameter of this name");
        let (id, weight, mapper) = param.consume();
        let device = weight.device();
        let changed = change(Tensor::from_data(weight.into_data(), &device));
        let changed = Tensor::<D>::from_data(changed.into_data(), &device).require_grad();
        Param::from_mapped_value(id, changed, mapper)
    }
}

fn spoil_moment(state: &mut State) {
    use interloom::training::{StateKind, StatePart as _};

    let mut saved = state.read().expect("a state");
    let moments = saved
        .iter_mut()
        .filter(|((kind, _), data)| *kind == StateKind::Optimizer && data.num_elements() > 2);
    let ((_, _), data) = moments.into_iter().next().expect("a moment");
    let mut numbers = data.as_slice::<f32>().expect("floats").to_vec();
    // Not the last bit: the decay of a moment may round that away.
    numbers[1] = f32::from_bits(numbers[1].to_bits() ^ (1 << 8));
    *data = TensorData::new(numbers, data.shape().clone());
    state.load(saved).expect("a state");
}

fn flipped<const D: usize>(tensor: Tensor<D>, element: usize, bit: u32) -> Tensor<D> {
    let device = tensor.device();
    let data = tensor.into_data();
    let mut numbers = data.as_slice::<f32>().expect("floats").to_vec();
    numbers[element] = f32::from_bits(numbers[element].to_bits() ^ (1 << bit));
    Tensor::from_data(TensorData::new(numbers, data.shape().clone()), &device)
}

/// Records a whole run.
pub(crate) fn record(folder: &Path, total: u64, fault: Option<(u64, Fault)>) {
    let mut state = fresh(SEED);
    let settings = match fault {
        None => settings(),
        // A weight that is changed between two steps would be seen at once.
        Some(_) => settings().check_state_every(0),
    };
    let mut training = settings.record(folder, &mut state).expect("a new run");
    train(&mut training, &mut state, total, fault).expect("steps");
    training.finish().expect("an end");
}
