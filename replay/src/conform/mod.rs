//! Recorded scenarios of a reference interleaver, run here and compared.
//!
//! A folder of scenarios has, for each, a programme as data and what the reference did with it on one of five small models:
//! what was saved, cached, caught and put out, and in which order requests were served. [`Folder::compare`] runs one and
//! says whether it is the [same](Verdict::Same), [differs on purpose](Verdict::OnPurpose) by a rule, or
//! [differs](Verdict::Differs).

mod compare;
mod error;
mod guise;
mod log;
mod models;
mod purposes;
mod recast;
mod rules;
mod run;
mod scenario;
mod script;
mod tensors;
mod translate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use burn::tensor::Device;
use interloom_backends::Value;
use interloom_engine::program::{Program, Results};
use interloom_engine::{Cached, Mediator, Site};

pub use compare::{Aspect, Difference};
pub(crate) use error::CODES;
pub use error::ConformError;
pub use rules::Rule;
pub use run::Surroundings;

use crate::session::Session;
use compare::{Expected, Performed};
use guise::{Guises, Manner};
use models::Model;
use scenario::Scenario;
use script::{Company, Script};
use translate::{Plan, Untranslated};

/// The versions of the reference that scenarios were recorded with: threads, and coroutines.
pub const REFERENCES: [&str; 2] = ["v050", "v081"];

/// Scenarios whose models are loaded.
pub struct Folder {
    path: PathBuf,
    ids: Vec<String>,
    models: BTreeMap<&'static str, Model>,
    inputs: Rc<BTreeMap<String, Value>>,
}

/// How a scenario compares with its recording.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// Everything is equal.
    Same,
    /// It differs by rules that account for everything.
    OnPurpose {
        /// The rules.
        rules: Vec<Rule>,
        /// In what it differs.
        differences: Vec<Difference>,
    },
    /// It has something that is outside the compared behaviour.
    NotCompared {
        /// The rule that has it.
        rule: Rule,
        /// What it is.
        what: String,
    },
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
        let mut models = BTreeMap::new();
        for name in models::NAMES {
            if path.join(format!("models/{name}.safetensors")).exists() {
                models.insert(name, Model::load(path, name, device)?);
            }
        }
        let inputs = tensors::load(&path.join("inputs.safetensors"))?;
        let inputs = inputs.iter();
        let inputs =
            inputs.filter_map(|(name, plain)| Some((name.clone(), plain.to_value(device)?)));
        Ok(Self {
            path: path.to_owned(),
            ids,
            models,
            inputs: Rc::new(inputs.collect()),
        })
    }

    /// Returns the names of the scenarios, in alphabetical order.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// Runs a scenario and compares it with what one version of the reference did.
    ///
    /// It is run as programs, and once more step by step as it is written if these leave a difference without a rule: in the
    /// reference names can stand for the same list, and programs have no references.
    pub fn compare(&self, id: &str, reference: &'static str) -> Verdict {
        self.compare_as(Way::Programs, Some(Way::Scripts), id, reference)
    }

    /// Does the same with programs only.
    pub fn compare_programs(&self, id: &str, reference: &'static str) -> Verdict {
        self.compare_as(Way::Programs, None, id, reference)
    }

    /// Judges a scenario that is run in one way, or in another one if that leaves a difference.
    fn compare_as(
        &self,
        way: Way,
        other: Option<Way>,
        id: &str,
        reference: &'static str,
    ) -> Verdict {
        let recorded = self.scenario(id).and_then(|scenario| {
            let expected = self.expected(id, reference)?;
            Ok((scenario, expected))
        });
        let (scenario, expected) = match recorded {
            Ok(recorded) => recorded,
            Err(reason) => return Verdict::Broken(reason),
        };
        match (self.judge(way, &scenario, &expected), other) {
            (Verdict::Differs(_) | Verdict::Broken(_), Some(other)) => {
                self.judge(other, &scenario, &expected)
            }
            (verdict, _) => verdict,
        }
    }

    fn judge(&self, way: Way, scenario: &Scenario, expected: &Expected) -> Verdict {
        let own = match self.perform(way, scenario, &[]) {
            Ok(own) => own,
            Err(NotRun::Outside(rule, what)) => return Verdict::NotCompared { rule, what },
            Err(NotRun::Broken(reason)) => return Verdict::Broken(reason),
        };
        let differences = compare::compare(&own, expected);
        if differences.is_empty() {
            return Verdict::Same;
        }
        let case = rules::Case {
            scenario,
            own: &own,
            expected,
            differences: &differences,
            redo: &|recast| {
                let again = self.perform(way, &recast.scenario, &recast.manners);
                again.ok()
            },
        };
        match rules::explain(&case) {
            Some(rules) => Verdict::OnPurpose { rules, differences },
            None => Verdict::Differs(differences),
        }
    }

    /// Makes the runs of a scenario in a session, with mediators that `make` makes of its programs; returns whether it could
    /// be run at all.
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
        let programs = self.programs(&scenario);
        match programs.and_then(|plans| self.make_runs(&scenario, plans, &make, Some(session))) {
            Ok(own) => Ok(Some(own.results)),
            Err(NotRun::Outside(..)) => Ok(None),
            Err(NotRun::Broken(reason)) => Err(reason),
        }
    }

    /// Makes the runs of a scenario, with mediators that behave in these manners.
    fn perform(
        &self,
        way: Way,
        scenario: &Scenario,
        manners: &[Manner],
    ) -> Result<Performed, NotRun> {
        let guises = Guises::new(manners);
        let mut own = match way {
            Way::Programs => {
                let make = |plan: &Plan, index: usize, around: &Surroundings| {
                    guises.put_on(machine(plan, index, around), plan, index)
                };
                self.make_runs(scenario, self.programs(scenario)?, &make, None)?
            }
            Way::Scripts => {
                let company = Company::new(manners);
                let make = |plan: &Plan<Script>, index: usize, around: &Surroundings| {
                    let mediator = company.mediator(&plan.blocks[index].program, index, around);
                    guises.put_on(mediator, plan, index)
                };
                let own = self.make_runs(scenario, translate::scripts(scenario)?, &make, None)?;
                company.save_in(&own.results).map_err(NotRun::Broken)?;
                own
            }
        };
        let sites = self.model(scenario)?.sites();
        let named = |site: &Site| sites.map().site_name(*site);
        for (all, missed) in guises.missed() {
            let all: Vec<String> = all.iter().map(named).collect();
            let missed: Vec<String> = missed.iter().map(named).collect();
            for cache in own.caches.values_mut() {
                let is_it = cache.iter().map(|(site, _)| site).eq(&all);
                cache.retain(|(site, _)| !is_it || !missed.contains(site));
            }
        }
        Ok(own)
    }

    /// The programs of a scenario, each of which can be run.
    fn programs(&self, scenario: &Scenario) -> Result<Vec<Plan>, NotRun> {
        let model = self.model(scenario)?;
        let is_by_name = |path: &str| model.is_by_name(path);
        let plans = translate::translate(scenario, &is_by_name)?;
        let around = self.surroundings(model);
        for block in plans.iter().flat_map(|plan| &plan.blocks) {
            let machine = around.machine(&block.program);
            machine.map_err(|error| NotRun::Broken(error.to_string()))?;
        }
        Ok(plans)
    }

    fn make_runs<P>(
        &self,
        scenario: &Scenario,
        plans: Vec<Plan<P>>,
        make: &run::Make<'_, P>,
        mut session: Option<&mut Session>,
    ) -> Result<Performed, NotRun> {
        let around = self.surroundings(self.model(scenario)?);
        let mut traces = Vec::new();
        for plan in &plans {
            let trace = run::run(&around, plan, make, session.as_deref_mut());
            let trace = trace.map_err(NotRun::Broken)?;
            let has_failed = trace.error.is_some();
            traces.push(trace);
            // The script that was recorded ends with its first error.
            if has_failed {
                break;
            }
        }
        let caches = collected(scenario, &traces, &around);
        Ok(Performed {
            traces,
            results: around.results,
            caches,
            ended_with: None,
        })
    }

    fn model(&self, scenario: &Scenario) -> Result<&Model, NotRun> {
        let name = scenario.model.as_str();
        let unknown = || NotRun::Broken(format!("there is no model `{name}` in this folder"));
        self.models.get(name).ok_or_else(unknown)
    }

    fn surroundings(&self, model: &Model) -> Surroundings {
        Surroundings {
            model: model.clone(),
            inputs: self.inputs.clone(),
            results: Results::new(),
        }
    }

    fn scenario(&self, id: &str) -> Result<Scenario, String> {
        let path = self.home(id).join("scenario.json");
        serde_json::from_str(&text(&path)?).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn expected(&self, id: &str, reference: &'static str) -> Result<Expected, String> {
        let path = self.home(id).join(format!("expected.{reference}.json"));
        let json = serde_json::from_str(&text(&path)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let path = self
            .home(id)
            .join(format!("expected.{reference}.safetensors"));
        let tensors = match path.exists() {
            true => tensors::load(&path).map_err(|error| error.to_string())?,
            false => BTreeMap::new(),
        };
        let path = self.home(id).join(format!("log.{reference}.jsonl"));
        let order = log::read_log(&text(&path)?, reference)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Expected {
            version: reference,
            json,
            tensors,
            order,
        })
    }

    fn home(&self, id: &str) -> PathBuf {
        self.path.join("scenarios").join(id)
    }
}

/// How the blocks of a scenario are run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Programs,
    Scripts,
}

/// Why a scenario was not run.
enum NotRun {
    Outside(Rule, String),
    Broken(String),
}

impl From<Untranslated> for NotRun {
    fn from(error: Untranslated) -> Self {
        let rule = Rule {
            rule: "R91",
            reason: "programs have no steps for a backward pass",
        };
        match error {
            Untranslated::Gradients => Self::Outside(rule, "a step about gradients".to_owned()),
            Untranslated::NoCounterpart(what) => Self::Broken(format!("{what} has no counterpart")),
        }
    }
}

fn machine(plan: &Plan, index: usize, around: &Surroundings) -> Box<dyn Mediator<Value>> {
    let machine = around.machine(&plan.blocks[index].program);
    Box::new(machine.expect("the limits were checked before the run"))
}

/// What the caches of a scenario collected, by site.
fn collected(
    scenario: &Scenario,
    traces: &[run::Trace],
    around: &Surroundings,
) -> BTreeMap<String, Vec<(String, Value)>> {
    let whole = traces.iter().flat_map(|trace| trace.caches.iter().cloned());
    let of_blocks = scenario.cache_names().into_iter();
    let of_blocks = of_blocks.filter_map(|name| {
        let cache = around.results.cache(&name)?;
        Some((name, cache))
    });
    let entries = |cache: &Cached<Value>| {
        let sites = cache.sites().into_iter();
        let entry = |site: Site| Some((around.sites().map().site_name(site), cache.at(site)?));
        sites.filter_map(entry).collect()
    };
    let caches = whole.chain(of_blocks);
    caches
        .map(|(name, cache)| (name, entries(&cache)))
        .collect()
}

fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
