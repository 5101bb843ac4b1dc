//! What is to be run: the experiment of a file with its sweeps written out.

use std::collections::{BTreeMap, BTreeSet};

use interloom_models::files::{ChatMap, ChatMessage, ChatValue};
use interloom_models::{Sampling, SamplingError};
use interloom_program::{Action, Program};

use super::heads::MarkedProgram;
use super::source::Source;

/// What an experiment file says.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) source: Source,
    pub(super) about: Option<String>,
    pub(super) model: String,
    pub(super) model_at: usize,
    pub(super) device: String,
    pub(super) device_at: usize,
    /// How many positions sequences may have, in place of the limit that there is.
    pub(super) positions: Option<u32>,
    pub(super) inputs: Vec<Input>,
    pub(super) givens: Vec<Given>,
    pub(super) modules: Vec<SuppliedModule>,
    pub(super) runs: Vec<RunPlan>,
    /// The places in programs that names stand for.
    pub(super) marked: Vec<MarkedProgram>,
}

/// Something that the model is run on.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) content: Content,
    /// The types of the tokens of each row, if the file has them.
    pub(super) types: Option<Vec<Vec<u32>>>,
    pub(super) at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Prompt(String),
    /// Two texts, whose tokens have a type each.
    Pair([String; 2]),
    Chat(Chat),
    /// Rows, each of at least one token.
    Tokens(Vec<Vec<u32>>),
    /// `FILE#NAME`.
    Tensor(String),
    /// Images: `FILE#NAME`.
    Pixels(String),
}

/// What was said before an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chat {
    pub(super) messages: Vec<ChatMessage>,
    /// Whether the answer of the model is begun.
    pub(super) opens_answer: bool,
    /// What else the template sees.
    pub(super) with: ChatMap,
}

impl Chat {
    /// Returns the keys of an input, as a file has them.
    pub(super) fn to_text(&self, quoted: impl Fn(&str) -> String + Copy) -> String {
        let messages = self.messages.iter();
        let messages: Vec<String> = messages.map(|one| table_of(one.keys(), quoted)).collect();
        let (messages, opens) = (messages.join(", "), self.opens_answer);
        let with = match &self.with[..] {
            [] => String::new(),
            with => format!("\nchat_with = {}", table_of(with, quoted)),
        };
        format!("chat = [{messages}]\nadd_generation_prompt = {opens}{with}")
    }
}

/// Writes a table in one line.
fn table_of(entries: &[(String, ChatValue)], quoted: impl Fn(&str) -> String + Copy) -> String {
    let is_bare = |key: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        !key.is_empty() && key.bytes().all(is_plain)
    };
    let entry = |(key, value): &(String, ChatValue)| {
        let value = in_one_line(value, quoted)?;
        let key = if is_bare(key) {
            key.clone()
        } else {
            quoted(key)
        };
        Some(format!("{key} = {value}"))
    };
    let entries: Vec<String> = entries.iter().filter_map(entry).collect();
    format!("{{ {} }}", entries.join(", "))
}

/// Writes a value in one line; nothing if a file cannot have it.
fn in_one_line(value: &ChatValue, quoted: impl Fn(&str) -> String + Copy) -> Option<String> {
    Some(match value {
        ChatValue::None => return None,
        ChatValue::Truth(truth) => truth.to_string(),
        ChatValue::Integer(number) => number.to_string(),
        ChatValue::Float(number) => format!("{number:?}"),
        ChatValue::Text(text) => quoted(text),
        ChatValue::List(items) => {
            let items = items.iter().filter_map(|item| in_one_line(item, quoted));
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
        ChatValue::Map(entries) => table_of(entries, quoted),
    })
}

/// A tensor from a file that programs are given.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) name: String,
    /// `FILE#NAME`.
    pub(super) tensor: String,
    pub(super) at: usize,
}

/// A trained module from a file, which programs call by its name.
#[derive(Clone, Debug)]
pub(super) struct SuppliedModule {
    pub(super) name: String,
    /// A file of an intervention, or a folder of SAELens.
    pub(super) file: String,
    pub(super) at: usize,
}

/// One run.
#[derive(Clone, Debug)]
pub(super) struct RunPlan {
    pub(super) name: String,
    pub(super) at: usize,
    /// The inputs of the batch, if its invokes have none of their own.
    pub(super) batch: Vec<usize>,
    pub(super) invokes: Vec<InvokePlan>,
    pub(super) generate: Option<u32>,
    /// How tokens are drawn; nothing if the most likely ones are taken.
    pub(super) sampling: Option<SamplingPlan>,
    pub(super) barriers: Vec<(String, u32)>,
    pub(super) report: ReportPlan,
    /// Which of the file's tables `[[run]]` it is from.
    pub(super) table: usize,
    /// What it is swept over, with its own values.
    pub(super) each: Vec<(String, String)>,
}

/// How tokens are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct SamplingPlan {
    pub(super) seed: u64,
    pub(super) temperature: Option<f64>,
    pub(super) top_k: Option<u32>,
    pub(super) top_p: Option<f64>,
}

impl SamplingPlan {
    pub(super) fn sampling(self) -> Result<Sampling, SamplingError> {
        let sampling = Sampling::seeded(self.seed);
        let sampling = sampling.temperature(self.temperature.unwrap_or(1.0))?;
        let sampling = self
            .top_k
            .map_or(Ok(sampling), |count| sampling.top_k(count))?;
        self.top_p
            .map_or(Ok(sampling), |share| sampling.top_p(share))
    }
}

/// One program of a run.
#[derive(Clone, Debug)]
pub(super) struct InvokePlan {
    pub(super) name: String,
    /// The invoke's own rows; without them it sees the whole batch.
    pub(super) input: Option<usize>,
    pub(super) program: Program,
    /// The given values that the program names, once its sites are resolved.
    pub(super) uses: BTreeSet<String>,
    pub(super) optional: bool,
    /// What it is swept over within its run, with its own values.
    pub(super) each: Vec<(String, String)>,
}

/// What is shown of a run beside what its programs save.
#[derive(Clone, Debug, Default)]
pub(super) struct ReportPlan {
    pub(super) top: u32,
    pub(super) answers: Vec<(String, usize)>,
    pub(super) loss_from: Option<(u32, usize)>,
    pub(super) lens: Vec<(String, usize)>,
}

impl RunPlan {
    /// Returns the inputs of the batch, in order.
    pub(super) fn rows(&self) -> Vec<usize> {
        match self.batch.is_empty() {
            true => self
                .invokes
                .iter()
                .filter_map(|invoke| invoke.input)
                .collect(),
            false => self.batch.clone(),
        }
    }

    /// Returns the names under which later programs are given what this run saves and caches, each
    /// with its invoke and the name there.
    pub(super) fn shares(&self) -> BTreeMap<String, (usize, String)> {
        let mut shares = BTreeMap::new();
        let mut owners: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, invoke) in self.invokes.iter().enumerate() {
            for saved in invoke.kept() {
                let name = format!("{}.{}.{saved}", self.name, invoke.name);
                shares.insert(name, (index, saved.clone()));
                owners.entry(saved).or_default().push(index);
            }
        }
        for (saved, owners) in owners {
            // What two invokes save has no short name.
            if let [owner] = owners[..] {
                shares.insert(format!("{}.{saved}", self.name), (owner, saved));
            }
        }
        shares
    }
}

impl InvokePlan {
    /// Returns the names of what the program saves.
    pub(super) fn saves(&self) -> BTreeSet<String> {
        let name = |action: &Action| match action {
            Action::Save { variable } => Some(variable.clone()),
            _ => None,
        };
        self.program.actions().filter_map(name).collect()
    }

    /// Returns the names of the program's caches.
    pub(super) fn caches(&self) -> BTreeSet<String> {
        let name = |action: &Action| match action {
            Action::Cache { name, .. } => Some(name.clone()),
            _ => None,
        };
        self.program.actions().filter_map(name).collect()
    }

    /// Returns the names of what later programs may be given: what the program saves, and its
    /// caches.
    fn kept(&self) -> BTreeSet<String> {
        let mut kept = self.saves();
        kept.extend(self.caches());
        kept
    }
}
