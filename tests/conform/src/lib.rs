//! Recorded scenarios of a reference interleaver, run here and compared.
//!
//! A folder of scenarios has, for each, a programme as data and what the reference did with it on
//! one of five small models: what was saved, cached, caught and put out, and in which order
//! requests were served. [`Folder::compare`] runs one and says whether it is the
//! [same](Verdict::Same), what it does is what the rules of the behaviour say and differs from the
//! recording [by one of them](Verdict::ByRule), or it [differs](Verdict::Differs).

#![forbid(unsafe_code)]

mod cause;
mod compare;
mod error;
mod live;
mod naive;
mod outcome;
mod recording;
mod scenario;
mod table;
mod tensors;
mod user;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use burn::tensor::Device;
use interloom::Session;
use interloom_backends::Value;
use interloom_engine::Mediator;
use interloom_program::{Program, Results};

pub use compare::{Aspect, Difference};
pub use error::ConformError;
pub use live::run::Surroundings;
pub use table::Rule;

use live::models::{self, Model};
use live::run;
use live::script::{Script, ScriptGlobals};
use live::translate::{self, Plan};
use naive::{Manner, Material};
use outcome::Outcome;
use recording::Recording;
use scenario::{Scenario, Unsupported};

/// The versions of the reference that scenarios were recorded with: threads, and coroutines.
pub const REFERENCES: [&str; 2] = ["v050", "v081"];

/// Scenarios whose models are loaded.
pub struct Folder {
    path: PathBuf,
    ids: Vec<String>,
    device: Device,
    models: BTreeMap<&'static str, Model>,
    inputs: Rc<BTreeMap<String, Value>>,
    /// The inputs where gradients are asked for.
    differentiable: Rc<BTreeMap<String, Value>>,
    /// The same for the interpreters.
    material: Material,
}

/// How a scenario compares with its recording.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Everything is equal.
    Same,
    /// It is what the rules say, in every aspect, and differs from the recording, which is itself
    /// understood, by rules that say why.
    ByRule {
        /// The rules.
        rules: Vec<Rule>,
        /// In what it differs.
        differences: Vec<Difference>,
    },
    /// It has something that is outside the compared behaviour, and what.
    NotCompared(String),
    /// It differs, and no rule says why.
    Differs(Vec<Difference>),
    /// It cannot be read or run.
    Broken(String),
}

impl Folder {
    /// Opens a folder, and loads the models and inputs of its scenarios.
    ///
    /// # Errors
    ///
    /// [`ConformError`] if there is no scenario, or a model's weights or the inputs cannot be read.
    pub fn open(path: &Path, device: &Device) -> Result<Self, ConformError> {
        let scenarios = path.join("scenarios");
        let entries =
            std::fs::read_dir(&scenarios).map_err(|error| ConformError::file(&scenarios, error))?;
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| ConformError::file(&scenarios, error))?;
            if entry.path().join("scenario.json").exists() {
                ids.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        ids.sort();
        if ids.is_empty() {
            let path = path.display().to_string();
            return Err(ConformError::Empty { path });
        }
        let (mut models, mut weights) = (BTreeMap::new(), BTreeMap::new());
        for name in models::NAMES {
            let file = path.join(format!("models/{name}.safetensors"));
            if file.exists() {
                models.insert(name, Model::load(path, name, device)?);
                weights.insert(name, tensors::load(&file)?);
            }
        }
        let inputs = tensors::load(&path.join("inputs.safetensors"))?;
        let material = Material::new(&weights, &inputs);
        let on = |device: &Device| {
            let inputs = inputs.iter();
            let values =
                inputs.filter_map(|(name, plain)| Some((name.clone(), plain.to_value(device)?)));
            Rc::new(values.collect())
        };
        Ok(Self {
            path: path.to_owned(),
            ids,
            models,
            inputs: on(device),
            differentiable: on(&device.clone().autodiff()),
            device: device.clone(),
            material,
        })
    }

    /// Returns the device that the values of a scenario are on: one with gradients, if they are
    /// asked for.
    ///
    /// # Errors
    ///
    /// What keeps the scenario from being read.
    pub fn device(&self, id: &str) -> Result<Device, String> {
        Ok(self.device_of(&self.scenario(id)?))
    }

    fn device_of(&self, scenario: &Scenario) -> Device {
        if scenario.has_gradients() {
            self.device.clone().autodiff()
        } else {
            self.device.clone()
        }
    }

    /// Returns the names of the scenarios, in alphabetical order.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// Runs a scenario and compares it with what one version of the reference did.
    ///
    /// It is run as programs, and once more step by step as it is written if these leave a
    /// difference without a rule: in the reference names can stand for the same list, and
    /// programs have no references.
    pub fn compare(&self, id: &str, reference: &'static str) -> Verdict {
        match self.compare_programs(id, reference) {
            Verdict::Differs(_) | Verdict::Broken(_) => self.compare_scripts(id, reference),
            verdict => verdict,
        }
    }

    /// Does the same with programs only.
    pub fn compare_programs(&self, id: &str, reference: &'static str) -> Verdict {
        let recording = |_: &Scenario| self.recording(id, reference);
        self.judge(id, recording, |scenario| self.as_programs(scenario))
    }

    /// Does the same as it is written only.
    pub fn compare_scripts(&self, id: &str, reference: &'static str) -> Verdict {
        let recording = |_: &Scenario| self.recording(id, reference);
        self.judge(id, recording, |scenario| self.as_scripts(scenario))
    }

    /// Does the same, but with what the interpreter of that version of the reference does in the
    /// place of a recording.
    pub fn compare_unrecorded(&self, id: &str, reference: &'static str) -> Verdict {
        let recording = |scenario: &Scenario| {
            let played = naive::play(scenario, &self.material, Manner::of(reference))?;
            Ok(Recording::of(reference, played))
        };
        self.judge(id, recording, |scenario| self.as_scripts(scenario))
    }

    /// Returns in what Interloom differs from the interpreter of the rules, with programs.
    ///
    /// # Errors
    ///
    /// What keeps the scenario from being run.
    pub fn programs_by_rules(&self, id: &str) -> Result<Vec<Difference>, String> {
        self.by_rules(id, |scenario| self.as_programs(scenario))
    }

    /// Returns in what Interloom differs from the interpreter of the rules, with the scenario as it
    /// is written.
    ///
    /// # Errors
    ///
    /// What keeps the scenario from being run.
    pub fn scripts_by_rules(&self, id: &str) -> Result<Vec<Difference>, String> {
        self.by_rules(id, |scenario| self.as_scripts(scenario))
    }

    fn by_rules(
        &self,
        id: &str,
        run: impl FnOnce(&Scenario) -> Result<Outcome, NotRun>,
    ) -> Result<Vec<Difference>, String> {
        let scenario = self.scenario(id)?;
        match run(&scenario) {
            Ok(own) => {
                let rules = naive::play(&scenario, &self.material, Manner::Rules)?;
                Ok(compare::with_rules(&own, &rules))
            }
            Err(NotRun::Outside(_)) => Ok(Vec::new()),
            Err(NotRun::Broken(reason)) => Err(reason),
        }
    }

    fn judge(
        &self,
        id: &str,
        recording: impl FnOnce(&Scenario) -> Result<Recording, String>,
        run: impl FnOnce(&Scenario) -> Result<Outcome, NotRun>,
    ) -> Verdict {
        let read = self.scenario(id).and_then(|scenario| {
            let recorded = recording(&scenario)?;
            Ok((scenario, recorded))
        });
        let judged = read
            .map_err(NotRun::Broken)
            .and_then(|(scenario, recorded)| {
                let own = run(&scenario)?;
                self.judge_outcome(&scenario, &own, &recorded)
            });
        match judged {
            Ok(verdict) => verdict,
            Err(NotRun::Outside(what)) => Verdict::NotCompared(what),
            Err(NotRun::Broken(reason)) => Verdict::Broken(reason),
        }
    }

    /// What equals the recording is the same. What does not has to be what an interpreter of the
    /// rules does; and what was recorded, what an interpreter of that version of the reference
    /// does. Only then may rules say why they differ.
    fn judge_outcome(
        &self,
        scenario: &Scenario,
        own: &Outcome,
        recorded: &Recording,
    ) -> Result<Verdict, NotRun> {
        let differences = compare::with_recording(own, recorded);
        if differences.is_empty() {
            return Ok(Verdict::Same);
        }
        let play = |manner| naive::play(scenario, &self.material, manner).map_err(NotRun::Broken);
        let by_rules = compare::with_rules(own, &play(Manner::Rules)?);
        if !by_rules.is_empty() {
            return Ok(Verdict::Differs([differences, by_rules].concat()));
        }
        let manner = Manner::of(recorded.version);
        let not_understood = compare::with_recording(&play(manner)?, recorded);
        if !not_understood.is_empty() {
            let is_new = |found: &Difference| !differences.contains(found);
            let told = not_understood.into_iter().filter(is_new);
            let told = told.map(|found| Difference {
                detail: format!("of the recording itself, {}", found.detail),
                ..found
            });
            let told: Vec<Difference> = told.collect();
            return Ok(Verdict::Differs([differences, told].concat()));
        }
        let case = table::Case {
            scenario,
            own,
            recorded,
        };
        Ok(match table::explain(&case, &differences) {
            Some(rules) => Verdict::ByRule { rules, differences },
            None => Verdict::Differs(differences),
        })
    }

    /// Makes the runs of a scenario in a session, with mediators that `make` makes of its programs;
    /// returns whether it could be run at all.
    ///
    /// # Errors
    ///
    /// What keeps it from being run, other than something outside the compared behaviour.
    pub fn run(
        &self,
        id: &str,
        make: impl Fn(&Program, &Surroundings) -> Box<dyn Mediator<Value>>,
        session: &mut Session,
    ) -> Result<Option<Results<Value>>, String> {
        let scenario = self.scenario(id)?;
        let make = |plan: &Plan, index: usize, around: &Surroundings| {
            make(&plan.blocks[index].program, around)
        };
        let played = self.programs(&scenario).and_then(|plans| {
            let around = self.surroundings(&scenario)?;
            let played = run::play(&around, &plans, &make, Some(session));
            played.map_err(NotRun::Broken)?;
            Ok(around.results)
        });
        match played {
            Ok(results) => Ok(Some(results)),
            Err(NotRun::Outside(_)) => Ok(None),
            Err(NotRun::Broken(reason)) => Err(reason),
        }
    }

    fn as_programs(&self, scenario: &Scenario) -> Result<Outcome, NotRun> {
        let plans = self.programs(scenario)?;
        let around = self.surroundings(scenario)?;
        let make = |plan: &Plan, index: usize, around: &Surroundings| machine(plan, index, around);
        let own = run::play(&around, &plans, &make, None);
        let mut own = own.map_err(NotRun::Broken)?;
        own.caches
            .extend(run::collected(&around, scenario.cache_names()));
        Ok(own)
    }

    fn as_scripts(&self, scenario: &Scenario) -> Result<Outcome, NotRun> {
        let around = self.surroundings(scenario)?;
        let plans = scenario.plans()?;
        let scripts = plans.iter().map(|plan| {
            let scripts = plan.parts.iter().map(|part| Script::from(part.steps));
            Plan::new(plan, scripts.collect())
        });
        let scripts: Vec<Plan<Script>> = scripts.collect();
        let globals = ScriptGlobals::default();
        let make = |plan: &Plan<Script>, index: usize, around: &Surroundings| {
            globals.mediator(&plan.blocks[index].program, index, around)
        };
        let own = run::play(&around, &scripts, &make, None);
        let mut own = own.map_err(NotRun::Broken)?;
        own.caches
            .extend(run::collected(&around, scenario.cache_names()));
        for (name, saved) in globals.saved.borrow().iter() {
            let item = saved.thing.item().ok_or_else(|| {
                NotRun::Broken(format!(
                    "`{name}` is saved, and a list in it is in itself, or too long"
                ))
            })?;
            own.saved.insert(name.clone(), item);
        }
        Ok(own)
    }

    /// The programs of a scenario, each of which can be run.
    fn programs(&self, scenario: &Scenario) -> Result<Vec<Plan>, NotRun> {
        let around = self.surroundings(scenario)?;
        let is_by_name = |path: &str| around.model.is_by_name(path);
        let plans = translate::translate(scenario, &is_by_name)?;
        for block in plans.iter().flat_map(|plan| &plan.blocks) {
            let machine = around.machine(&block.program);
            machine.map_err(|error| NotRun::Broken(error.to_string()))?;
        }
        Ok(plans)
    }

    fn surroundings(&self, scenario: &Scenario) -> Result<Surroundings, NotRun> {
        let name = scenario.model.as_str();
        let unknown = || NotRun::Broken(format!("there is no model `{name}` in this folder"));
        let model = self.models.get(name).ok_or_else(unknown)?;
        let results = Results::new();
        if !scenario.has_gradients() {
            return Ok(Surroundings {
                model: model.clone(),
                inputs: self.inputs.clone(),
                gradients: None,
                results,
            });
        }
        let model = Model::load(&self.path, name, &self.device_of(scenario));
        let model = model.map_err(|error| NotRun::Broken(error.to_string()))?;
        let parameters = scenario.parameters();
        let is_known = |path: &String| model.sites().parameter(path).is_some();
        if !parameters.iter().all(is_known) {
            let what = "a gradient of a parameter that is stored in another way here";
            return Err(NotRun::Outside(what.to_owned()));
        }
        Ok(Surroundings {
            model,
            inputs: self.differentiable.clone(),
            gradients: Some(parameters),
            results,
        })
    }

    fn scenario(&self, id: &str) -> Result<Scenario, String> {
        let path = self.home(id).join("scenario.json");
        serde_json::from_str(&text(&path)?).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn recording(&self, id: &str, reference: &'static str) -> Result<Recording, String> {
        let home = self.home(id);
        let path = home.join(format!("expected.{reference}.json"));
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let json = serde_json::from_str(&text(&path)?).map_err(|error| wrong(&error))?;
        let tensors = home.join(format!("expected.{reference}.safetensors"));
        let tensors = if tensors.exists() {
            tensors::load(&tensors).map_err(|error| error.to_string())?
        } else {
            BTreeMap::new()
        };
        let log = home.join(format!("log.{reference}.jsonl"));
        Recording::read(reference, &json, &tensors, &text(&log)?).map_err(|error| wrong(&error))
    }

    fn home(&self, id: &str) -> PathBuf {
        self.path.join("scenarios").join(id)
    }
}

/// Why a scenario was not run.
enum NotRun {
    Outside(String),
    Broken(String),
}

impl From<Unsupported> for NotRun {
    fn from(error: Unsupported) -> Self {
        match error {
            Unsupported::Outside(what) => Self::Outside(what.to_owned()),
            Unsupported::Unknown(what) => Self::Broken(format!("{what} has no counterpart")),
        }
    }
}

fn machine(plan: &Plan, index: usize, around: &Surroundings) -> Box<dyn Mediator<Value>> {
    let machine = around.machine(&plan.blocks[index].program);
    Box::new(machine.expect("the limits were checked before the run"))
}

fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
