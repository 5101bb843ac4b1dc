//! The builder of a session, which gathers what it depends on from the model itself.

use std::fmt::Display;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, TensorData};
use interloom_backends::{Bound, BuildArithmetic, Sites, Value, visit_parameters};
#[cfg(feature = "models")]
use interloom_models::LanguageModel;

use super::{Mode, Session};
use crate::environment;
use crate::error::Error;
use crate::interventions::NamedInterventions;
use crate::journal::{
    Digest, Experiment, Head, JournalReader, ModelIdentity, Policy, Tokens, check_is_another,
};

/// A model as a session describes it in its journal: name, sites, device and parameters.
pub trait Subject {
    /// Returns the model's name.
    fn name(&self) -> &str;

    /// Returns the model's sites.
    fn sites(&self) -> &Sites;

    /// Returns the device that the model runs on.
    fn device(&self) -> Device;

    /// Calls `visit` with the path and the data of every parameter, in the order of the module
    /// tree.
    fn visit_parameters(&self, visit: &mut dyn FnMut(&str, TensorData));

    /// Returns the number formats of the weights in the model's files, if they are others than
    /// those that are computed with.
    fn number_formats(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns the model's identity: its name and the digest of each parameter. Nothing, if the
    /// parameters are not here.
    fn identity(&self) -> Option<ModelIdentity> {
        let visit_all = |visit: &mut dyn FnMut(&str, TensorData)| self.visit_parameters(visit);
        Some(environment::identity_of(self.name(), visit_all))
    }
}

#[cfg(feature = "models")]
impl Subject for LanguageModel {
    fn name(&self) -> &str {
        self.name()
    }

    fn sites(&self) -> &Sites {
        self.sites()
    }

    fn device(&self) -> Device {
        self.device().clone()
    }

    fn number_formats(&self) -> Vec<String> {
        self.number_formats().to_vec()
    }

    fn visit_parameters(&self, visit: &mut dyn FnMut(&str, TensorData)) {
        self.visit_parameters(visit);
    }
}

impl<M: Module> Subject for Bound<M> {
    /// The model's type.
    fn name(&self) -> &str {
        short_name::<M>()
    }

    fn sites(&self) -> &Sites {
        self.sites()
    }

    fn device(&self) -> Device {
        device_of(&**self)
    }

    fn visit_parameters(&self, visit: &mut dyn FnMut(&str, TensorData)) {
        visit_parameters(&**self, visit);
    }
}

/// A burn module with its bound sites, which stays the caller's own.
impl<M: Module> Subject for (&M, &Sites) {
    /// The module's type.
    fn name(&self) -> &str {
        short_name::<M>()
    }

    fn sites(&self) -> &Sites {
        self.1
    }

    fn device(&self) -> Device {
        device_of(self.0)
    }

    fn visit_parameters(&self, visit: &mut dyn FnMut(&str, TensorData)) {
        visit_parameters(self.0, visit);
    }
}

fn device_of(module: &impl Module) -> Device {
    // A module without parameters has no device of its own, and computes where its input is.
    let devices = module.devices();
    devices.into_iter().next().unwrap_or_else(Device::flex)
}

/// Returns the last part of a type's path, without its arguments: `Mlp` of `Hooked<net::Mlp>`.
pub(crate) fn short_name<M>() -> &'static str {
    let name = std::any::type_name::<M>();
    let name = name.rsplit('<').find(|part| !part.is_empty());
    let name = name.unwrap_or_default().trim_end_matches('>');
    name.rsplit("::").next().unwrap_or(name)
}

/// A session that is about to open.
///
/// Model, sites, device, build and processor are gathered from the things themselves; the caller
/// adds what the session cannot see: inputs, seeds, and how to make the runs again.
///
/// ```
/// use burn::tensor::Device;
/// use interloom::{Policy, Session};
/// use interloom_models::induction::{Induction, Sampler};
///
/// let device = Device::flex();
/// let model = Induction::trained(&device);
/// let tokens = Sampler::new(7).batch(2).tokens(&device);
/// # let folder = std::env::temp_dir().join(format!("interloom-builder-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("a.ilj");
/// let session = Session::of(&model)
///     .policy(Policy::Full)
///     .input("tokens", tokens)
///     .record(&path)?;
/// session.finish()?;
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct SessionBuilder {
    pub(super) head: Head,
    device: Device,
    accepts_inexact: bool,
}

impl SessionBuilder {
    pub(super) fn new(model: &(impl Subject + ?Sized)) -> Self {
        let device = model.device();
        let head = environment::head(Experiment::default(), &device, Policy::Digest);
        Self {
            head: Head {
                model: model.identity(),
                number_formats: model.number_formats(),
                sites: Some(environment::site_table(model.sites().map())),
                ..head
            },
            device,
            accepts_inexact: false,
        }
    }

    /// Chooses what the journal keeps of tensors; digests, unless this says otherwise.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.head.policy = policy;
        self
    }

    /// Seeds the device of the model, and notes the seed.
    ///
    /// Burn's seeds are global to the process: what else draws numbers in it draws others.
    pub fn seed(mut self, seed: u64) -> Self {
        self.device.seed(seed);
        self.head.seeds.push(seed);
        self
    }

    /// Notes an input by its digest.
    pub fn input(self, name: &str, value: impl Into<Value>) -> Self {
        let mut digests = Vec::new();
        value.into().each_tensor(&mut |tensor| {
            digests.push(environment::tensor_digest(tensor.to_data()));
        });
        let digest = match digests[..] {
            [digest] => digest,
            _ => {
                let bytes: Vec<u8> = digests.iter().flat_map(|digest| digest.0).collect();
                Digest::of_bytes("input", &bytes)
            }
        };
        self.input_digest(name, digest)
    }

    /// Notes an input whose digest is known.
    pub fn input_digest(mut self, name: impl Into<String>, digest: Digest) -> Self {
        self.head.inputs.push((name.into(), digest));
        self
    }

    /// Notes a module with parameters of its own that mediators call, by a name: a comparison finds
    /// it changed.
    pub fn module(self, name: &str, module: &impl Module) -> Self {
        let visit_all = |visit: &mut dyn FnMut(&str, TensorData)| visit_parameters(module, visit);
        self.owned(environment::identity_of(name, visit_all))
    }

    /// Notes each of these interventions as a [`module`](Self::module).
    pub fn interventions(self, named: &NamedInterventions) -> Self {
        named.iter().fold(self, |session, (name, own)| {
            session.owned(environment::identity_of(name, |visit| {
                own.visit_parameters(visit);
            }))
        })
    }

    fn owned(mut self, module: ModelIdentity) -> Self {
        self.head.modules.push(module);
        self
    }

    /// Keeps the tokens of inputs, for who replays without a tokenizer.
    pub fn tokens(mut self, tokens: Tokens) -> Self {
        self.head.tokens = tokens;
        self
    }

    /// Notes the order of the mediators, in order unless this says otherwise.
    pub fn schedule(mut self, schedule: impl Into<String>) -> Self {
        self.head.schedule = schedule.into();
        self
    }

    /// Accepts that equal inputs may give other bits: that this build, or the one that recorded the
    /// journal, has other arithmetic than [exact](interloom_backends::BuildArithmetic) one.
    ///
    /// A comparison may then find differences without a cause, and one that finds none does not
    /// promise to do so again.
    pub const fn accept_inexact(mut self) -> Self {
        self.accepts_inexact = true;
        self
    }

    /// Notes which experiment this is, with arguments from which its runs can be made again.
    pub fn experiment(mut self, experiment: Experiment) -> Self {
        self.head.experiment = experiment;
        self
    }

    /// Returns the head that the journal will have.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Opens the session in a mode that is data.
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if a journal cannot be created or opened, a fork would replace the one
    /// that it goes along (E070), or what is to be appended to ends early (E065) or has another
    /// head (E074); [`Error::Inexact`] if this build or the journal is not exact.
    pub fn open(self, mode: Mode) -> Result<Session, Error> {
        if let Mode::Fork { from, into, .. } = &mode {
            check_is_another(from, into, "it is the journal that is forked")?;
        }
        if !self.accepts_inexact && mode != Mode::Plain {
            check_exact(&"this build", &self.head)?;
            if let Some(path) = mode.compared() {
                check_exact(&path.display(), JournalReader::open(path)?.head())?;
            }
        }
        Session::open(&mode, self.head, self.device)
    }

    /// Makes runs, and keeps nothing.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn plain(self) -> Result<Session, Error> {
        self.open(Mode::Plain)
    }

    /// Records to a new journal.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn record(self, path: impl AsRef<Path>) -> Result<Session, Error> {
        self.open(Mode::Record(path.as_ref().to_owned()))
    }

    /// Adds runs to a journal of earlier runs with the same head, see [`Mode::Append`].
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn append(self, path: impl AsRef<Path>) -> Result<Session, Error> {
        self.open(Mode::Append(path.as_ref().to_owned()))
    }

    /// Compares runs with those of a journal.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn verify(self, path: impl AsRef<Path>) -> Result<Session, Error> {
        self.open(Mode::Verify(path.as_ref().to_owned()))
    }

    /// Compares runs with those of a journal from this one on, see [`Mode::VerifyFrom`].
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); E072 if the journal does not have so many runs.
    pub fn verify_from(self, path: impl AsRef<Path>, run: u32) -> Result<Session, Error> {
        let path = path.as_ref().to_owned();
        self.open(Mode::VerifyFrom { path, run })
    }

    /// Lets a journal stand in for the model.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn serve(self, path: impl AsRef<Path>) -> Result<Session, Error> {
        self.open(Mode::Serve(path.as_ref().to_owned()))
    }

    /// Lets a journal stand in for the mediators.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn drive(self, path: impl AsRef<Path>) -> Result<Session, Error> {
        self.open(Mode::Drive(path.as_ref().to_owned()))
    }

    /// Forks a journal at an exchange into a new one.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn fork(
        self,
        from: impl AsRef<Path>,
        exchange: u64,
        into: impl AsRef<Path>,
    ) -> Result<Session, Error> {
        let (from, into) = (from.as_ref().to_owned(), into.as_ref().to_owned());
        self.open(Mode::Fork {
            from,
            exchange,
            into,
        })
    }
}

pub(crate) fn check_exact(place: &dyn Display, head: &Head) -> Result<(), Error> {
    if BuildArithmetic::is_exact_name(&head.arithmetic) {
        return Ok(());
    }
    Err(Error::Inexact {
        place: place.to_string(),
        arithmetic: head.arithmetic.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::short_name;

    #[test]
    fn a_model_is_named_by_the_last_part_of_its_type() {
        struct Net;
        assert_eq!(short_name::<Net>(), "Net");
        assert_eq!(short_name::<Option<Option<Net>>>(), "Net");
    }
}
