//! Training the induction transformer, and its file of weights.

use std::collections::{BTreeMap, HashMap};

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use interloom_backends::{Bound, Hooked, parameters};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{Batch, Induction, POSITIONS, Sampler, VOCABULARY, replace};

/// Sequences in one training step.
pub const BATCH: usize = 64;
/// The learning rate of each step.
pub const LEARNING_RATE: f64 = 2e-3;
const WEIGHT_DECAY: f32 = 0.01;
const EPSILON: f32 = 1e-8;

/// Trains a model from a seed, step by step, the same way every time.
pub struct Trainer {
    model: Bound<Hooked<Induction>>,
    optimizer: ModuleOptimizer,
    sampler: Sampler,
    device: Device,
}

impl Trainer {
    /// Draws a model and its data from `seed`.
    ///
    /// Burn's seed is global to the process, so that nothing else may draw numbers meanwhile.
    pub fn new(seed: u64, device: &Device) -> Self {
        let device = device.clone().autodiff();
        Self {
            model: Induction::new(seed, &device),
            optimizer: optimizer(),
            sampler: Sampler::new(seed),
            device,
        }
    }

    /// Makes one step, and returns the loss before it: the mean cross entropy on the repeated
    /// parts, in nats.
    pub fn step(self) -> (Self, f32) {
        let Self {
            model,
            mut optimizer,
            mut sampler,
            device,
        } = self;
        let batch = sampler.batch(BATCH);
        let loss = foretold_loss(model.forward(batch.tokens(&device)), &batch);
        let value = loss.clone().into_scalar();
        let gradients = GradientsParams::from_grads(loss.backward(), &*model);
        let model = model.map(|model| optimizer.step(LEARNING_RATE, model, gradients));
        let next = Self {
            model,
            optimizer,
            sampler,
            device,
        };
        (next, value)
    }

    /// Returns the model as it is now, without the graph that training needs.
    pub fn model(&self) -> Hooked<Induction> {
        (*self.model).clone().valid()
    }
}

/// Returns the optimizer that the trained model was trained with: AdamW with a weight decay of
/// 0.01.
pub fn optimizer() -> ModuleOptimizer {
    let adam = AdamWConfig::new()
        .with_weight_decay(WEIGHT_DECAY)
        .with_epsilon(EPSILON);
    adam.init()
}

/// The file of weights does not fit the model.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the weights do not fit the induction transformer: {0}")]
pub struct WeightsError(String);

/// Returns a safetensors file of the model's parameters, by their paths, with `metadata`.
///
/// # Errors
///
/// [`WeightsError`] if a parameter is not of `f32`.
pub fn save_weights(
    model: &Hooked<Induction>,
    metadata: BTreeMap<String, String>,
) -> Result<Vec<u8>, WeightsError> {
    let parameters = parameters(model);
    let views = parameters.iter().map(|(path, data)| {
        let view = TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes());
        view.map(|view| (path.clone(), view)).map_err(fits_not)
    });
    let views: Vec<_> = views.collect::<Result<_, _>>()?;
    // The library takes a hash map and writes it as it comes: the tensors are the same bytes every
    // time, the order of the metadata before them is not.
    let metadata: HashMap<String, String> = metadata.into_iter().collect();
    safetensors::serialize(views, Some(metadata)).map_err(fits_not)
}

/// Returns the model with the parameters of a safetensors file.
///
/// # Errors
///
/// [`WeightsError`] if the file is damaged, or lacks a parameter or has it in another shape.
pub fn load_weights(
    model: Hooked<Induction>,
    bytes: &[u8],
    device: &Device,
) -> Result<Hooked<Induction>, WeightsError> {
    let file = SafeTensors::deserialize(bytes).map_err(fits_not)?;
    let mut loader = Loader {
        stack: Vec::new(),
        file,
        device,
        error: None,
    };
    let model = model.map(&mut loader);
    match loader.error {
        None => Ok(model),
        Some(error) => Err(error),
    }
}

/// Returns the metadata of a safetensors file.
pub(super) fn metadata(bytes: &[u8]) -> Option<BTreeMap<String, String>> {
    let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
    let metadata = header.metadata().clone()?;
    Some(metadata.into_iter().collect())
}

struct Loader<'a> {
    stack: Vec<String>,
    file: SafeTensors<'a>,
    device: &'a Device,
    error: Option<WeightsError>,
}

impl Loader<'_> {
    /// Reads what belongs to a parameter, without drawing the numbers that it would otherwise start
    /// with.
    fn read<const D: usize>(&self, param: &Param<Tensor<D>>) -> Result<TensorData, WeightsError> {
        let path = self.stack.join(".");
        let view = self.file.tensor(&path).map_err(fits_not)?;
        let expected = param.lazy_shape().to_vec();
        if view.dtype() != Dtype::F32 || view.shape() != expected {
            let found = (view.dtype(), view.shape());
            return Err(WeightsError(format!(
                "`{path}` is {found:?}, expected F32 {expected:?}"
            )));
        }
        let floats = view.data().chunks_exact(4);
        let floats: Vec<f32> = floats
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        Ok(TensorData::new(floats, expected))
    }
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.read(&param) {
            Ok(data) => replace(param, data, self.device),
            Err(error) => {
                self.error.get_or_insert(error);
                param
            }
        }
    }
}

/// Returns the mean cross entropy, in nats, of the tokens that the first copies foretell; `logits`
/// are `[batch, position, token]`.
pub fn foretold_loss(logits: Tensor<3>, batch: &Batch) -> Tensor<1> {
    let device = &logits.device();
    let foretold: Vec<(usize, usize)> = batch.foretold().collect();
    let count = foretold.len();
    let rows = foretold
        .iter()
        .map(|(sequence, position)| (sequence * POSITIONS + position) as i32);
    let targets = foretold
        .iter()
        .map(|&(sequence, position)| batch.token(sequence, position + 1) as i32);
    let indices =
        |values: Vec<i32>| Tensor::<1, Int>::from_data(TensorData::new(values, [count]), device);
    let logits = logits.reshape([batch.len() * POSITIONS, VOCABULARY]);
    let logits = logits.select(0, indices(rows.collect()));
    let targets = indices(targets.collect()).reshape([count, 1]);
    activation::log_softmax(logits, 1)
        .gather(1, targets)
        .neg()
        .mean()
}

fn fits_not(error: impl std::fmt::Display) -> WeightsError {
    WeightsError(error.to_string())
}
