//! Interventions by name, for programmes to call.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use interloom_backends::{Value, visit_parameters};
use interloom_engine::{Fault, Misfit, nearest_of};
use interloom_program::{Form, Modules, SuppliedModules};

use super::file::{Stored, kind_of, read};
use super::rows::{ErasedRows, erased};
use super::{
    InterventionError, Learned, LinearProbe, LoReft, Rotation, SparseAutoencoder, SteeringVector,
};

/// An intervention of any kind, as it is found in a file.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "a program holds few of them, and each is moved once"
)]
pub enum Intervention {
    /// `h + v`.
    SteeringVector(SteeringVector),
    /// `h + R^T (W h + b - R h)`.
    LoReft(LoReft),
    /// A subspace, for interchange interventions.
    Rotation(Rotation),
    /// Features.
    SparseAutoencoder(SparseAutoencoder),
    /// Logits.
    LinearProbe(LinearProbe),
}

/// What an intervention computes under a name, of a value without its type.
#[derive(Clone, Copy)]
enum Function {
    Steer,
    Edit,
    Rotate,
    Interchange,
    Reconstruct,
    Encode,
    Decode,
    Insert,
    Probe,
}

impl Intervention {
    /// Loads an intervention of whichever kind the file has.
    ///
    /// # Errors
    ///
    /// As [`Learned::load`], and [`InterventionError::Contents`] if the kind is not known.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, InterventionError> {
        let path = path.as_ref();
        let (bytes, file) = (read(path)?, path.display().to_string());
        Ok(match kind_of(&bytes, &file)?.as_str() {
            SteeringVector::KIND => SteeringVector::from_bytes(&bytes, &file, device)?.into(),
            LoReft::KIND => LoReft::from_bytes(&bytes, &file, device)?.into(),
            Rotation::KIND => Rotation::from_bytes(&bytes, &file, device)?.into(),
            SparseAutoencoder::KIND => SparseAutoencoder::from_bytes(&bytes, &file, device)?.into(),
            LinearProbe::KIND => LinearProbe::from_bytes(&bytes, &file, device)?.into(),
            other => {
                let known = [
                    SteeringVector::KIND,
                    LoReft::KIND,
                    Rotation::KIND,
                    SparseAutoencoder::KIND,
                    LinearProbe::KIND,
                ];
                let expected = format!("one of {known:?}");
                let found = format!("`{other}`");
                return Err(InterventionError::contents(
                    &file, "the kind", expected, found,
                ));
            }
        })
    }

    /// Returns the kind, as files name it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::SteeringVector(_) => SteeringVector::KIND,
            Self::LoReft(_) => LoReft::KIND,
            Self::Rotation(_) => Rotation::KIND,
            Self::SparseAutoencoder(_) => SparseAutoencoder::KIND,
            Self::LinearProbe(_) => LinearProbe::KIND,
        }
    }

    /// Calls `visit` with the name and the data of every parameter.
    pub fn visit_parameters(&self, visit: &mut dyn FnMut(&str, TensorData)) {
        match self {
            Self::SteeringVector(own) => visit_parameters(own, visit),
            Self::LoReft(own) => visit_parameters(own, visit),
            Self::Rotation(own) => visit_parameters(own, visit),
            Self::SparseAutoencoder(own) => visit_parameters(own, visit),
            Self::LinearProbe(own) => visit_parameters(own, visit),
        }
    }

    /// Returns the intervention with parameters that keep no gradients: gradients pass through it,
    /// and what it returns where nothing is tracked is not tracked.
    #[must_use]
    pub fn frozen(self) -> Self {
        match self {
            Self::SteeringVector(own) => own.no_grad().into(),
            Self::LoReft(own) => own.no_grad().into(),
            Self::Rotation(own) => own.no_grad().into(),
            Self::SparseAutoencoder(own) => own.no_grad().into(),
            Self::LinearProbe(own) => own.no_grad().into(),
        }
    }

    /// The functions that it has, by what follows its name: nothing for itself.
    const fn functions(&self) -> &'static [(&'static str, Function)] {
        match self {
            Self::SteeringVector(_) => &[("", Function::Steer)],
            Self::LoReft(_) => &[("", Function::Edit)],
            Self::Rotation(_) => &[
                ("", Function::Rotate),
                ("interchange", Function::Interchange),
            ],
            Self::SparseAutoencoder(_) => &[
                ("", Function::Reconstruct),
                ("encode", Function::Encode),
                ("decode", Function::Decode),
                ("insert", Function::Insert),
            ],
            Self::LinearProbe(_) => &[("", Function::Probe)],
        }
    }

    /// Returns the widths that a function takes, one for each value, and the width that it makes.
    fn widths(&self, function: Function) -> (Vec<usize>, usize) {
        match self {
            Self::SteeringVector(own) => (vec![own.width()], own.width()),
            Self::LoReft(own) => (vec![own.width()], own.width()),
            Self::Rotation(own) => match function {
                Function::Interchange => (vec![own.width(); 2], own.width()),
                _ => (vec![own.width()], own.rank()),
            },
            Self::SparseAutoencoder(own) => match function {
                Function::Encode => (vec![own.width()], own.features()),
                Function::Decode => (vec![own.features()], own.width()),
                Function::Insert => (vec![own.width(), own.features()], own.width()),
                _ => (vec![own.width()], own.width()),
            },
            Self::LinearProbe(own) => (vec![own.width()], own.classes()),
        }
    }

    /// Computes a function of rows, of which there are as many as the function takes values.
    fn compute(
        &self,
        function: Function,
        first: Tensor<2>,
        second: Option<Tensor<2>>,
    ) -> Tensor<2> {
        match (self, second) {
            (Self::SteeringVector(own), _) => own.forward(first),
            (Self::LoReft(own), _) => own.forward(first),
            (Self::Rotation(own), Some(source)) => own.interchange(first, source),
            (Self::Rotation(own), None) => own.rotate(first),
            (Self::SparseAutoencoder(own), Some(edited)) => own.insert(first, edited),
            (Self::SparseAutoencoder(own), None) => match function {
                Function::Encode => own.encode(first),
                Function::Decode => own.decode(first),
                _ => own.forward(first),
            },
            (Self::LinearProbe(own), _) => own.forward(first),
        }
    }

    /// Computes a function of a value, which is a tuple if the function takes two.
    fn call(&self, function: Function, input: Value) -> Result<Value, Misfit> {
        let (widths, _) = self.widths(function);
        let [first, second] = match widths[..] {
            [own, other] => [
                ErasedRows::of(input.item(0)?, own).map(Some)?,
                ErasedRows::of(input.item(1)?, other).map(Some)?,
            ],
            _ => [ErasedRows::of(input, widths[0]).map(Some)?, None],
        };
        let first = first.expect("each takes one or more");
        if let Some(second) = &second
            && second.before() != first.before()
        {
            return Err(Misfit {
                expected: format!(
                    "two tensors with {:?} before their last dimension",
                    first.before()
                ),
                found: format!("{:?} before that of the second", second.before()),
            });
        }
        let before = first.before().to_vec();
        let made = self.compute(function, first.rows, second.map(|second| second.rows));
        erased(made, &before)
    }

    /// Returns the form of what a function makes of a value of a form; nothing if that is not
    /// known.
    fn form(&self, function: Function, input: &Form) -> Option<Result<Form, Misfit>> {
        let (widths, makes) = self.widths(function);
        let given = match (input, widths.len()) {
            (Form::Tensor(shape), 1) => vec![shape],
            (Form::Tuple(items), count) if items.len() == count => {
                let shapes = items.iter().map(|item| match item {
                    Form::Tensor(shape) => Some(shape),
                    _ => None,
                });
                shapes.collect::<Option<Vec<_>>>()?
            }
            (Form::Other, _) => return None,
            (other, _) => {
                return Some(Err(Misfit {
                    expected: described(&widths),
                    found: other.to_string(),
                }));
            }
        };
        let fits = given.iter().zip(&widths).all(|(shape, &width)| {
            shape.last() == Some(&(width as u64))
                && shape[..shape.len() - 1] == given[0][..given[0].len() - 1]
        });
        if !fits {
            return Some(Err(Misfit {
                expected: described(&widths),
                found: input.to_string(),
            }));
        }
        let mut shape = given[0].clone();
        *shape.last_mut()? = makes as u64;
        Some(Ok(Form::Tensor(shape)))
    }
}

impl SuppliedModules for NamedInterventions {
    fn names(&self) -> Vec<String> {
        self.callable().collect()
    }

    fn form(&self, name: &str, input: &Form) -> Option<Result<Form, String>> {
        let form = Self::form(self, name, input)?;
        Some(form.map_err(|fault| fault.to_string()))
    }
}

fn described(widths: &[usize]) -> String {
    match widths {
        [width] => format!("floats with a last dimension of {width}"),
        widths => format!("a tuple of floats, equal but for last dimensions of {widths:?}"),
    }
}

macro_rules! into {
    ($($kind:ident)*) => {
        $(
            impl From<$kind> for Intervention {
                fn from(own: $kind) -> Self {
                    Self::$kind(own)
                }
            }
        )*
    };
}

into!(SteeringVector LoReft Rotation SparseAutoencoder LinearProbe);

/// Interventions by name, as a run gives them to programmes.
///
/// A programme calls them as it calls a module of the model: `steer(layers.3)`. A steering vector
/// and a LoReFT return the changed value, a rotation what the value has in its directions, a sparse
/// autoencoder what is left after encoding and decoding, a probe its logits. Beyond that a rotation
/// has `das.interchange((base, source))`, and an autoencoder `sae.encode(h)`,
/// `sae.decode(features)` and `sae.insert((h, features))`.
#[derive(Clone, Debug, Default)]
pub struct NamedInterventions {
    named: BTreeMap<String, Intervention>,
}

impl NamedInterventions {
    /// Makes an empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an intervention; one that has the name already is replaced.
    pub fn add(&mut self, name: impl Into<String>, intervention: impl Into<Intervention>) {
        self.named.insert(name.into(), intervention.into());
    }

    /// Iterates over the interventions, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Intervention)> {
        self.named.iter().map(|(name, own)| (name.as_str(), own))
    }

    /// Iterates over the names that a programme can call.
    pub fn callable(&self) -> impl Iterator<Item = String> {
        self.named.iter().flat_map(|(name, own)| {
            let functions = own.functions().iter();
            functions.map(move |(function, _)| match *function {
                "" => name.clone(),
                function => format!("{name}.{function}"),
            })
        })
    }

    /// Returns whether a path begins with the name of one of these, so that it is none of the
    /// model's.
    pub fn has(&self, path: &str) -> bool {
        self.named.contains_key(split(path).0)
    }

    /// Computes what a name stands for, of a value.
    ///
    /// # Errors
    ///
    /// A fault if there is no such function, or it cannot take the value.
    pub fn call(&self, path: &str, input: Value) -> Result<Value, Fault> {
        let (intervention, function) = self.find(path)?;
        let made = intervention.call(function, input);
        made.map_err(|misfit| unlike(path, &misfit))
    }

    /// Returns the form of what a name makes of a value of this form; nothing if that is not known
    /// before the run.
    ///
    /// # Errors
    ///
    /// A fault if there is no such function, or it can take no such value.
    pub fn form(&self, path: &str, input: &Form) -> Option<Result<Form, Fault>> {
        let (intervention, function) = match self.find(path) {
            Ok(found) => found,
            Err(fault) => return Some(Err(fault)),
        };
        let form = intervention.form(function, input)?;
        Some(form.map_err(|misfit| unlike(path, &misfit)))
    }

    /// Lets programmes call these beside the modules of a model.
    pub fn beside<M: Modules<Value>>(self, model: M) -> impl Modules<Value> {
        Beside { named: self, model }
    }

    fn find(&self, path: &str) -> Result<(&Intervention, Function), Fault> {
        let (name, function) = split(path);
        let found = self.named.get(name).and_then(|own| {
            let mut functions = own.functions().iter();
            let (_, function) = functions.find(|(known, _)| *known == function)?;
            Some((own, *function))
        });
        found.ok_or_else(|| {
            let nearest = nearest_of(path, self.callable());
            let nearest: Vec<String> = nearest.iter().map(|name| format!("`{name}`")).collect();
            Fault::raise(format!(
                "no intervention is called `{path}`; nearest: {}",
                nearest.join(", ")
            ))
        })
    }
}

/// Returns the name of an intervention and of its function.
fn split(path: &str) -> (&str, &str) {
    path.split_once('.').unwrap_or((path, ""))
}

fn unlike(path: &str, misfit: &Misfit) -> Fault {
    Fault::raise(format!(
        "`{path}` takes {}, found {}",
        misfit.expected, misfit.found
    ))
}

/// Interventions and the modules of a model.
struct Beside<M> {
    named: NamedInterventions,
    model: M,
}

impl<M: Modules<Value>> Modules<Value> for Beside<M> {
    fn call(&self, path: &str, input: Value) -> Result<Value, Fault> {
        if self.named.has(path) {
            self.named.call(path, input)
        } else {
            self.model.call(path, input)
        }
    }

    fn shape(&self, path: &str, input: &[u64]) -> Option<Result<Vec<u64>, Fault>> {
        if !self.named.has(path) {
            return self.model.shape(path, input);
        }
        let form = self.named.form(path, &Form::Tensor(input.to_vec()))?;
        match form {
            Ok(Form::Tensor(shape)) => Some(Ok(shape)),
            Ok(_) => None,
            Err(fault) => Some(Err(fault)),
        }
    }
}
