//! The state of a training run: what the next step depends on, by name.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Bool, Bytes, Int, Tensor, TensorData};
use interloom_backends::visit_parameters;
use serde::{Deserialize, Serialize};

use super::optimizer::{NamedState, named_state, with_named_state};

/// What a part of the state is: trained, or kept by what trains it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StateKind {
    /// A parameter.
    Parameter,
    /// A moment, a count or a position: state of an optimizer, of a schedule, or of one's own.
    Optimizer,
}

/// All that a step depends on besides its number and its data: models, optimizers, schedules, the
/// parameters of mediators.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::{AdamConfig, SgdConfig};
/// use burn::tensor::Device;
/// use interloom::training::{StatePart, Trained, TrainingState};
///
/// /// A model, and a linear map at one of its sites, each with its own optimizer.
/// struct Both {
///     model: Trained<Linear>,
///     edit: Trained<Linear>,
/// }
///
/// impl TrainingState for Both {
///     fn parts(&mut self) -> Vec<&mut dyn StatePart> {
///         vec![&mut self.model, &mut self.edit]
///     }
/// }
///
/// let device = Device::flex().autodiff();
/// let linear = || LinearConfig::new(2, 2).init(&device);
/// let mut both = Both {
///     model: Trained::new("model", linear(), AdamConfig::new().init()),
///     edit: Trained::new("edit", linear(), SgdConfig::new().init()),
/// };
/// assert_eq!(both.parts().len(), 2);
/// ```
pub trait TrainingState {
    /// Returns the parts, in an order that is always the same. No two have the same name.
    fn parts(&mut self) -> Vec<&mut dyn StatePart>;
}

/// A named part of the state of a training run.
pub trait StatePart {
    /// Returns the part's name, with which the names of its tensors begin.
    fn name(&self) -> &str;

    /// Returns all that a checkpoint needs of the part, by kind and name.
    ///
    /// # Errors
    ///
    /// What cannot be read, in words.
    fn read(&self) -> Result<StateTensors, String>;

    /// Takes over what [`read`](Self::read) returned in another process.
    ///
    /// # Errors
    ///
    /// What is missing, left over or of another shape, in words; the part may have changed then.
    fn load(&mut self, saved: StateTensors) -> Result<(), String>;
}

/// The tensors of a part, by kind and name.
pub type StateTensors = BTreeMap<(StateKind, String), TensorData>;

/// A module and the optimizer that trains it.
pub struct Trained<M> {
    /// The module.
    pub module: M,
    /// The optimizer, with its state.
    pub optimizer: ModuleOptimizer,
    name: String,
}

impl<M: Module> Trained<M> {
    /// Joins a module and its optimizer under a name.
    pub fn new(name: impl Into<String>, module: M, optimizer: ModuleOptimizer) -> Self {
        // Burn draws parameters lazily: those that no step uses would be drawn by a checkpoint.
        visit_parameters(&module, |_, _| {});
        Self {
            module,
            optimizer,
            name: name.into(),
        }
    }
}

impl<M: Module> TrainingState for Trained<M> {
    fn parts(&mut self) -> Vec<&mut dyn StatePart> {
        vec![self]
    }
}

impl<M: Module> StatePart for Trained<M> {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&self) -> Result<StateTensors, String> {
        let state = named_state(self.optimizer.to_record(), &paths_of(&self.module)?)?;
        Ok(tensors_of(&self.module, state))
    }

    fn load(&mut self, saved: StateTensors) -> Result<(), String> {
        let (parameters, state) = by_kind(saved);
        self.module = with_parameters(self.module.clone(), parameters)?;
        let paths = paths_of(&self.module)?;
        self.optimizer = with_named_state(self.optimizer.clone(), &paths, &state)?;
        Ok(())
    }
}

/// Returns the parameters of a module with the state of its optimizer.
pub(super) fn tensors_of(module: &impl Module, state: NamedState) -> StateTensors {
    let mut tensors = StateTensors::new();
    visit_parameters(module, |path, data| {
        tensors.insert((StateKind::Parameter, path.to_owned()), data);
    });
    let state = state.into_iter();
    tensors.extend(state.map(|(name, data)| ((StateKind::Optimizer, name), data)));
    tensors
}

/// Splits the tensors of a part into parameters, by path, and the state of what trains them.
pub(super) fn by_kind(saved: StateTensors) -> (BTreeMap<String, TensorData>, NamedState) {
    let mut parameters = BTreeMap::new();
    let mut state = BTreeMap::new();
    for ((kind, name), data) in saved {
        match kind {
            StateKind::Parameter => parameters.insert(name, data),
            StateKind::Optimizer => state.insert(name, data),
        };
    }
    (parameters, state)
}

/// Returns a module with the saved parameters, each of which it must have.
pub(super) fn with_parameters<M: Module>(
    module: M,
    saved: BTreeMap<String, TensorData>,
) -> Result<M, String> {
    let mut loader = ParameterLoader {
        path: Vec::new(),
        saved,
        problem: None,
    };
    let module = module.map(&mut loader);
    if let Some(problem) = loader.problem {
        return Err(problem);
    }
    match loader.saved.keys().next() {
        None => Ok(module),
        Some(name) => Err(format!("the module has no parameter `{name}`")),
    }
}

/// Returns the paths of a module's float parameters, by burn's names for them.
///
/// # Errors
///
/// Two paths of one parameter, in words: burn's optimizers update the first and leave the other.
pub(super) fn paths_of(module: &impl Module) -> Result<BTreeMap<ParamId, String>, String> {
    let mut paths = Paths::default();
    module.visit(&mut paths);
    match paths.shared {
        None => Ok(paths.found),
        Some((first, second)) => Err(format!(
            "`{first}` and `{second}` are one parameter, of which burn's optimizers update the first and leave the second; keep it \
             in one place, and use its value in the other"
        )),
    }
}

/// Returns the gradient of each parameter of a module that has one, by path.
pub(super) fn gradients_of(
    module: &impl Module,
    gradients: &GradientsParams,
) -> Vec<(String, TensorData)> {
    let mut reader = GradientReader {
        path: Vec::new(),
        gradients,
        found: Vec::new(),
    };
    module.visit(&mut reader);
    reader.found
}

/// Something of one's own that steps depend on, such as a schedule or a count, as bytes.
///
/// ```
/// use interloom::training::{SavedBytes, StatePart};
///
/// let mut position = SavedBytes::new("position", 7_u64.to_le_bytes());
/// position.bytes = 8_u64.to_le_bytes().to_vec();
/// assert_eq!(position.read()?.len(), 1);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedBytes {
    /// The bytes.
    pub bytes: Vec<u8>,
    name: String,
}

impl SavedBytes {
    /// Names some bytes.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            name: name.into(),
        }
    }
}

impl StatePart for SavedBytes {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&self) -> Result<StateTensors, String> {
        let data = TensorData::new(self.bytes.clone(), [self.bytes.len()]);
        Ok([((StateKind::Optimizer, "bytes".to_owned()), data)].into())
    }

    fn load(&mut self, mut saved: StateTensors) -> Result<(), String> {
        let key = (StateKind::Optimizer, "bytes".to_owned());
        let data = saved.remove(&key).ok_or("its bytes are missing")?;
        if let Some((_, name)) = saved.keys().next() {
            return Err(format!("`{name}` is left over"));
        }
        self.bytes = data
            .try_to_vec::<u8>()
            .map_err(|error| format!("{error:?}"))?;
        Ok(())
    }
}

/// A schedule of burn's, and the rate that it gave last.
pub struct Scheduled<S> {
    /// The schedule.
    pub schedule: S,
    name: String,
}

impl<S: burn::lr_scheduler::LrScheduler> Scheduled<S> {
    /// Names a schedule.
    pub fn new(name: impl Into<String>, schedule: S) -> Self {
        Self {
            schedule,
            name: name.into(),
        }
    }
}

impl<S: burn::lr_scheduler::LrScheduler> StatePart for Scheduled<S> {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&self) -> Result<StateTensors, String> {
        let bytes = self.schedule.to_record().into_bytes();
        let bytes = bytes.map_err(|error| error.to_string())?.to_vec();
        SavedBytes::new(&self.name, bytes).read()
    }

    fn load(&mut self, saved: StateTensors) -> Result<(), String> {
        let mut bytes = SavedBytes::new(&self.name, []);
        bytes.load(saved)?;
        let record = Bytes::from_bytes_vec(bytes.bytes);
        let record = burn::lr_scheduler::LrSchedulerRecord::from_bytes(record);
        self.schedule
            .load_record(record.map_err(|error| error.to_string())?);
        Ok(())
    }
}

#[derive(Default)]
struct Paths {
    path: Vec<String>,
    found: BTreeMap<ParamId, String>,
    shared: Option<(String, String)>,
}

impl ModuleVisitor for Paths {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        match self.found.get(&param.id) {
            None => {
                self.found.insert(param.id, path);
            }
            Some(first) => {
                self.shared.get_or_insert((first.clone(), path));
            }
        }
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}

struct GradientReader<'a> {
    path: Vec<String>,
    gradients: &'a GradientsParams,
    found: Vec<(String, TensorData)>,
}

impl ModuleVisitor for GradientReader<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.found.push((self.path.join("."), gradient.into_data()));
        }
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}

/// Replaces every parameter by the saved one of its path, in the very bits: burn's own loading may
/// transform what it reads.
struct ParameterLoader {
    path: Vec<String>,
    saved: BTreeMap<String, TensorData>,
    problem: Option<String>,
}

impl ParameterLoader {
    /// Takes out what belongs to the parameter at hand, if it is of this shape and type.
    fn take(&mut self, old: &TensorData) -> Option<TensorData> {
        let path = self.path.join(".");
        let problem = match self.saved.remove(&path) {
            None => format!("there is no parameter `{path}` in it"),
            Some(data) if data.shape() != old.shape() || data.dtype() != old.dtype() => format!(
                "`{path}` is {:?} {:?} in it, and {:?} {:?} in the module",
                data.dtype(),
                data.shape(),
                old.dtype(),
                old.shape()
            ),
            Some(data) => return Some(data),
        };
        self.problem.get_or_insert(problem);
        None
    }
}

/// Replaces the value of a parameter of any kind.
macro_rules! map_kind {
    ($method:ident, $kind:ty, |$new:ident, $old:ident| $like:expr) => {
        fn $method<const D: usize>(
            &mut self,
            param: Param<Tensor<D, $kind>>,
        ) -> Param<Tensor<D, $kind>> {
            let (id, $old, mapper) = param.consume();
            let value = match self.take(&$old.to_data()) {
                None => $old,
                Some(data) => {
                    let $new = Tensor::<D, $kind>::from_data(data, &$old.device());
                    $like
                }
            };
            Param::from_mapped_value(id, value, mapper)
        }
    };
}

impl ModuleMapper for ParameterLoader {
    map_kind!(map_float, burn::tensor::Float, |new, old| {
        new.set_require_grad(old.is_require_grad())
    });
    map_kind!(map_int, Int, |new, old| new);
    map_kind!(map_bool, Bool, |new, old| new);

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}
