//! From the text of an experiment file to what is to be run.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::str::FromStr;

use interloom_models::files::{ChatMap, ChatMessage, ChatValue};
use interloom_program::Program;
use toml::de::DeTable;

use super::error::ExperimentError;
use super::heads::{MARK, MarkedProgram};
use super::language;
use super::plan::{
    Chat, Content, Given, Input, InvokePlan, Plan, ReportPlan, RunPlan, SamplingPlan,
    SuppliedModule,
};
use super::source::{Located, Source};
use super::sweep::{Budget, Sweep, sweeps};
use super::table::Table;

/// How many runs a file may have, and how many invokes a run, with those that sweeps make.
pub(super) const RUNS_MAX: usize = 4096;

const FILE: [&str; 10] = [
    "about",
    "model",
    "device",
    "positions",
    "set",
    "input",
    "given",
    "modules",
    "report",
    "run",
];
const INPUT: [&str; 10] = [
    "name",
    "prompt",
    "pair",
    "chat",
    OPENS_ANSWER,
    CHAT_WITH,
    "tokens",
    "tensor",
    "types",
    "pixels",
];
const OPENS_ANSWER: &str = "add_generation_prompt";
const CHAT_WITH: &str = "chat_with";
const GIVEN: [&str; 2] = ["name", "tensor"];
const REPORT: [&str; 3] = ["top", "answers", "loss_from"];
const RUN_REPORT: [&str; 4] = ["top", "answers", "loss_from", "lens"];
const RUN: [&str; 9] = [
    "name", "each", "input", "program", "optional", "invoke", "generate", "barriers", "report",
];
/// Above the most positions that a file may allow.
const POSITIONS_END: u32 = interloom_models::MAX_POSITIONS as u32 + 1;
/// How many tokens may be generated.
const GENERATED: Range<u32> = 1..65_537;
/// The number of tokens, and how they are drawn.
const GENERATE: [&str; 5] = ["tokens", "temperature", "top_k", "top_p", "seed"];
const INVOKE: [&str; 5] = ["name", "each", "input", "program", "optional"];

impl Plan {
    /// Reads the text of an experiment file, which messages call `file`, with other values for what
    /// it sets.
    pub(super) fn read(
        file: &str,
        text: &str,
        others: &BTreeMap<String, String>,
    ) -> Result<Self, ExperimentError> {
        let source = Source::new(file, text);
        let parsed = DeTable::parse(text).map_err(|error| ExperimentError::NotToml {
            at: source.spot(error.span().map_or(0, |span| span.start)),
            reason: error.message().trim().replace('\n', ", "),
        })?;
        let table = Table::new(&source, parsed.get_ref(), 0, "the file", &FILE)?;
        let set = Sweep::set(&source, &table, others)?;
        let budget = Budget::new(&source);
        let mut plan = Self {
            about: table.text("about")?.map(|about| about.text().to_owned()),
            model: table.needed_text("model")?.text().to_owned(),
            model_at: table.at("model"),
            device_at: table.at("device"),
            positions: table.count("positions", 1..POSITIONS_END)?,
            device: match table.text("device")? {
                Some(device) => device.text().to_owned(),
                None => "cpu".to_owned(),
            },
            inputs: inputs(&source, &table, &set, &budget)?,
            givens: givens(&source, &table)?,
            modules: modules(&source, &table)?,
            runs: Vec::new(),
            marked: Vec::new(),
            source: source.clone(),
        };
        let reader = Runs {
            source: &source,
            inputs: &plan.inputs,
            set,
            budget,
            report: match table.table("report", "[report]", &REPORT)? {
                Some(report) => read_report(&report)?,
                None => ReportPlan::default(),
            },
            marked: RefCell::default(),
        };
        let runs = reader.runs(&table)?;
        plan.marked = reader.marked.into_inner().into_values().flatten().collect();
        plan.runs = runs;
        Ok(plan)
    }
}

fn inputs(
    source: &Source,
    file: &Table<'_>,
    set: &Sweep,
    budget: &Budget<'_>,
) -> Result<Vec<Input>, ExperimentError> {
    let mut inputs: Vec<Input> = Vec::new();
    for table in file.tables("input", "[[input]]", &INPUT)? {
        let name = table.needed_name("name")?;
        let at = table.at("name");
        let taken = inputs.iter().any(|input| input.name == name);
        check_free(source, at, "two inputs", &name, taken)?;
        let prompt = match table.text("prompt")? {
            Some(prompt) => Some(set.fill(&prompt, budget)?),
            None => None,
        };
        let prompt = prompt.map(|prompt| Content::Prompt(prompt.text().to_owned()));
        let types = table.rows("types")?;
        let contents = [
            prompt,
            pair(&table, set, budget)?.map(Content::Pair),
            chat(source, &table, set, budget)?.map(Content::Chat),
            table.rows("tokens")?.map(Content::Tokens),
            table
                .text("tensor")?
                .map(|tensor| Content::Tensor(tensor.text().to_owned())),
            table
                .text("pixels")?
                .map(|tensor| Content::Pixels(tensor.text().to_owned())),
        ];
        let mut contents = contents.into_iter().flatten();
        match (contents.next(), contents.next()) {
            (Some(content), None) => {
                let is_of_tokens = matches!(content, Content::Tokens(_) | Content::Tensor(_));
                if types.is_some() && !is_of_tokens {
                    return Err(ExperimentError::Conflict {
                        at: source.spot(table.at("types")),
                        what: "`types` are of `tokens` or a `tensor`, and there are none"
                            .to_owned(),
                        instead: "leave them out, or write the texts as a `pair`".to_owned(),
                    });
                }
                inputs.push(Input {
                    name,
                    content,
                    types,
                    at,
                });
            }
            (found, _) => {
                let count = if found.is_some() { "several" } else { "none" };
                return Err(ExperimentError::Conflict {
                    at: source.spot(at),
                    what: format!(
                        "the input `{name}` has {count} of `prompt`, `pair`, `chat`, `tokens`, `tensor` and `pixels`"
                    ),
                    instead: "give it one of them".to_owned(),
                });
            }
        }
    }
    Ok(inputs)
}

/// Reads two texts.
fn pair(
    input: &Table<'_>,
    set: &Sweep,
    budget: &Budget<'_>,
) -> Result<Option<[String; 2]>, ExperimentError> {
    let Some(texts) = input.texts("pair")? else {
        return Ok(None);
    };
    let fill = |(text, _): &(Located, usize)| Ok(set.fill(text, budget)?.text().to_owned());
    let texts: Vec<String> = texts
        .iter()
        .map(fill)
        .collect::<Result<_, ExperimentError>>()?;
    let found = format!("a list of {}", texts.len());
    let pair: Result<[String; 2], _> = texts.try_into();
    pair.map(Some)
        .map_err(|_| input.wrong("pair", "a list of two texts", found, input.at("pair")))
}

/// Reads what was said; an answer is begun unless the last message is one, or the file says
/// otherwise.
fn chat(
    source: &Source,
    input: &Table<'_>,
    set: &Sweep,
    budget: &Budget<'_>,
) -> Result<Option<Chat>, ExperimentError> {
    let conflict = |key: &str| ExperimentError::Conflict {
        at: source.spot(input.at(key)),
        what: format!("`{key}` is about a `chat`, and there is none"),
        instead: "leave it out, or give the input a `chat`".to_owned(),
    };
    if !input.has("chat") {
        let stray = [OPENS_ANSWER, CHAT_WITH]
            .into_iter()
            .find(|key| input.has(key));
        return stray.map_or(Ok(None), |key| Err(conflict(key)));
    }
    let mut messages = Vec::new();
    for keys in input.maps(
        "chat",
        "a list of tables like { role = \"user\", content = \"...\" }",
    )? {
        messages.push(message(input, keys, set, budget)?);
    }
    let Some(last) = messages.last() else {
        return Err(input.missing("chat", "at least one message"));
    };
    let is_answered = last.role() == "assistant";
    Ok(Some(Chat {
        opens_answer: match input.has(OPENS_ANSWER) {
            true => input.truth(OPENS_ANSWER)?,
            false => !is_answered,
        },
        with: input.map(CHAT_WITH)?.unwrap_or_default(),
        messages,
    }))
}

/// Makes a message of its keys, with the values of the file in its text.
fn message(
    input: &Table<'_>,
    mut keys: ChatMap,
    set: &Sweep,
    budget: &Budget<'_>,
) -> Result<ChatMessage, ExperimentError> {
    let find = |key: &str| keys.iter().find(|(name, _)| name == key);
    let has_role = matches!(find("role"), Some((_, ChatValue::Text(_))));
    let says = find("content").or(find("tool_calls")).is_some();
    if !(has_role && says) {
        let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
        let expected = "a list of messages, each with a `role` and a `content` or `tool_calls`";
        return Err(input.wrong(
            "chat",
            expected,
            format!("one with {names:?}"),
            input.at("chat"),
        ));
    }
    for (name, value) in &mut keys {
        if let ("content", ChatValue::Text(content)) = (name.as_str(), &mut *value) {
            let filled = set.fill(&Located::whole(content), budget)?;
            *content = filled.text().to_owned();
        }
    }
    Ok(ChatMessage::of(keys))
}

fn givens(source: &Source, file: &Table<'_>) -> Result<Vec<Given>, ExperimentError> {
    let mut givens: Vec<Given> = Vec::new();
    for table in file.tables("given", "[[given]]", &GIVEN)? {
        let name = table.needed_name("name")?;
        let taken = givens.iter().any(|given| given.name == name);
        check_free(source, table.at("name"), "two given values", &name, taken)?;
        givens.push(Given {
            name,
            tensor: table.needed_text("tensor")?.text().to_owned(),
            at: table.at("tensor"),
        });
    }
    Ok(givens)
}

fn modules(source: &Source, file: &Table<'_>) -> Result<Vec<SuppliedModule>, ExperimentError> {
    let module = |(name, value): (String, _)| {
        let place = file.located(&name, value)?;
        let at = place.offset(0);
        if !language::is_free(&name) {
            return Err(ExperimentError::Value {
                at: source.spot(at),
                key: "modules".to_owned(),
                expected:
                    "a table whose keys are words that the language of programs does not use itself"
                        .to_owned(),
                found: format!("`{name}`"),
            });
        }
        Ok(SuppliedModule {
            name,
            file: place.text().to_owned(),
            at,
        })
    };
    file.inner("modules")?.into_iter().map(module).collect()
}

fn read_report(table: &Table<'_>) -> Result<ReportPlan, ExperimentError> {
    let texts = |key| -> Result<Vec<(String, usize)>, ExperimentError> {
        let texts = table.texts(key)?.unwrap_or_default().into_iter();
        Ok(texts
            .map(|(text, at)| (text.text().to_owned(), at))
            .collect())
    };
    Ok(ReportPlan {
        top: table.count("top", 1..101)?.unwrap_or(0),
        answers: texts("answers")?,
        loss_from: table
            .count("loss_from", 0..u32::MAX)?
            .map(|from| (from, table.at("loss_from"))),
        lens: texts("lens")?,
    })
}

/// Reads runs and their invokes, one for each value that is swept over.
struct Runs<'p> {
    source: &'p Source,
    inputs: &'p [Input],
    set: Sweep,
    budget: Budget<'p>,
    report: ReportPlan,
    /// By the place of the program in the file, and the name; none if the name cannot be a number
    /// there.
    marked: RefCell<BTreeMap<(usize, String), Option<MarkedProgram>>>,
}

impl Runs<'_> {
    fn runs(&self, file: &Table<'_>) -> Result<Vec<RunPlan>, ExperimentError> {
        let mut runs: Vec<RunPlan> = Vec::new();
        let tables = file.tables("run", "[[run]]", &RUN)?;
        if tables.is_empty() {
            return Err(file.missing("run", "one or more tables `[[run]]`"));
        }
        for (place, table) in tables.iter().enumerate() {
            for sweep in sweeps(table, &self.set, &self.budget)? {
                let run = self.run(place, table, &sweep)?;
                let taken = runs.iter().any(|other| other.name == run.name);
                check_free(self.source, run.at, "two runs", &run.name, taken)?;
                if runs.len() == RUNS_MAX {
                    return Err(self.too_many(run.at, "runs in the file"));
                }
                runs.push(run);
            }
        }
        Ok(runs)
    }

    fn run(
        &self,
        place: usize,
        table: &Table<'_>,
        sweep: &Sweep,
    ) -> Result<RunPlan, ExperimentError> {
        let (generate, sampling) = self.generation(table, sweep)?;
        let run = RunPlan {
            table: place,
            each: sweep.beyond(&self.set),
            name: self.name(table, sweep)?,
            at: table.at("name"),
            batch: self.batch(table, sweep)?,
            invokes: self.invokes(table, sweep)?,
            generate,
            sampling,
            barriers: barriers(table)?,
            report: match table.table("report", "[run.report]", &RUN_REPORT)? {
                Some(report) => read_report(&report)?,
                None => self.report.clone(),
            },
        };
        self.check_rows(&run)?;
        for (lens, at) in &run.report.lens {
            let saved: BTreeSet<String> = run.invokes.iter().flat_map(InvokePlan::saves).collect();
            if !saved.contains(lens) {
                return Err(self.unknown(
                    *at,
                    "saved value",
                    lens,
                    saved.iter().map(String::as_str),
                ));
            }
        }
        let unfit = [
            ("top", run.report.top > 0),
            ("loss_from", run.report.loss_from.is_some()),
        ];
        let unfit = unfit
            .into_iter()
            .find(|&(_, asked)| asked && table.has("report"));
        if let (Some((key, _)), Some(_)) = (unfit, run.generate) {
            return Err(self.conflict(
                run.at,
                format!(
                    "`{key}` is about the logits of one forward pass, and the run `{}` generates",
                    run.name
                ),
                "leave one of them out",
            ));
        }
        Ok(run)
    }

    /// Reads how many tokens a run generates, and how they are drawn: a number, or a table.
    fn generation(
        &self,
        table: &Table<'_>,
        sweep: &Sweep,
    ) -> Result<(Option<u32>, Option<SamplingPlan>), ExperimentError> {
        if !table.is_table("generate") {
            return Ok((table.count("generate", GENERATED)?, None));
        }
        let Some(table) = table.table("generate", "[run.generate]", &GENERATE)? else {
            return Ok((None, None));
        };
        let tokens = table.count("tokens", GENERATED)?;
        let tokens = tokens.ok_or_else(|| table.missing("tokens", "how many to generate"))?;
        let is_drawn = GENERATE[1..].iter().any(|key| table.has(key));
        let plan = SamplingPlan {
            seed: self
                .figure(&table, "seed", "a whole number from 0", sweep)?
                .unwrap_or(0),
            temperature: self.figure(&table, "temperature", "a number", sweep)?,
            top_k: self.figure(&table, "top_k", "a whole number", sweep)?,
            top_p: self.figure(&table, "top_p", "a number", sweep)?,
        };
        plan.sampling().map_err(|error| {
            let at = self.source.spot(table.at(error.what));
            ExperimentError::at(at, interloom::Error::from(error).into())
        })?;
        Ok((Some(tokens), is_drawn.then_some(plan)))
    }

    /// Reads a number, which may be a text in which a sweep puts its value.
    fn figure<T: FromStr>(
        &self,
        table: &Table<'_>,
        key: &str,
        expected: &str,
        sweep: &Sweep,
    ) -> Result<Option<T>, ExperimentError> {
        let Some(text) = table.figure(key)? else {
            return Ok(None);
        };
        let text = sweep.fill(&text, &self.budget)?;
        match text.text().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(table.wrong(key, expected, text.text().to_owned(), table.at(key))),
        }
    }

    fn name(&self, table: &Table<'_>, sweep: &Sweep) -> Result<String, ExperimentError> {
        let text = table.needed_text("name")?;
        table.as_swept_name("name", sweep.fill(&text, &self.budget)?.text())
    }

    fn batch(&self, table: &Table<'_>, sweep: &Sweep) -> Result<Vec<usize>, ExperimentError> {
        let names = table.texts("input")?.unwrap_or_default();
        let names = names.into_iter();
        names
            .map(|(name, at)| self.input(&sweep.fill(&name, &self.budget)?, at))
            .collect()
    }

    fn input(&self, name: &Located, at: usize) -> Result<usize, ExperimentError> {
        let name = name.text();
        let found = self.inputs.iter().position(|input| input.name == name);
        let names = self.inputs.iter().map(|input| input.name.as_str());
        found.ok_or_else(|| self.unknown(at, "input", name, names))
    }

    fn invokes(
        &self,
        table: &Table<'_>,
        sweep: &Sweep,
    ) -> Result<Vec<InvokePlan>, ExperimentError> {
        let tables = table.tables("invoke", "[[run.invoke]]", &INVOKE)?;
        if table.has("program") && !tables.is_empty() {
            return Err(self.conflict(
                table.at("program"),
                "the run has a `program` and invokes".to_owned(),
                "put the program into an invoke, or leave the invokes out",
            ));
        }
        if tables.is_empty() {
            // A run without a program shows what the model does by itself.
            let program = match table.has("program") {
                true => self.program(table, sweep)?,
                false => return Ok(Vec::new()),
            };
            return Ok(vec![InvokePlan {
                name: self.name(table, sweep)?,
                input: None,
                program,
                uses: BTreeSet::new(),
                optional: table.truth("optional")?,
                each: Vec::new(),
            }]);
        }
        let mut invokes: Vec<InvokePlan> = Vec::new();
        for table in &tables {
            for inner in sweeps(table, sweep, &self.budget)? {
                let each = inner.beyond(sweep);
                let invoke = self.invoke(table, &inner, each)?;
                let at = table.at("name");
                let taken = invokes.iter().any(|other| other.name == invoke.name);
                check_free(self.source, at, "two invokes of a run", &invoke.name, taken)?;
                if invokes.len() == RUNS_MAX {
                    return Err(self.too_many(at, "invokes in the run"));
                }
                invokes.push(invoke);
            }
        }
        Ok(invokes)
    }

    fn invoke(
        &self,
        table: &Table<'_>,
        sweep: &Sweep,
        each: Vec<(String, String)>,
    ) -> Result<InvokePlan, ExperimentError> {
        let input = match table.text("input")? {
            Some(name) => Some(self.input(&sweep.fill(&name, &self.budget)?, table.at("input"))?),
            None => None,
        };
        Ok(InvokePlan {
            name: self.name(table, sweep)?,
            input,
            program: self.program(table, sweep)?,
            uses: BTreeSet::new(),
            optional: table.truth("optional")?,
            each,
        })
    }

    fn program(&self, table: &Table<'_>, sweep: &Sweep) -> Result<Program, ExperimentError> {
        let text = table.needed_text("program")?;
        let program = self.parsed(&text, sweep)?;
        for (name, value) in sweep.names_in(&text) {
            self.mark(&text, sweep, name, value);
        }
        Ok(program)
    }

    fn parsed(&self, text: &Located, sweep: &Sweep) -> Result<Program, ExperimentError> {
        let text = sweep.fill(text, &self.budget)?;
        let program = language::parse(&text, |at| self.source.line(at));
        let program = program.map_err(|error| ExperimentError::Syntax {
            at: self.source.spot(error.at),
            expected: error.expected,
            found: error.found,
        })?;
        Ok(program.in_file(self.source.file()))
    }

    /// Notes where a name stands in a program, once for all values that it is swept over.
    fn mark(&self, text: &Located, sweep: &Sweep, name: &str, value: &str) {
        let mut marked = self.marked.borrow_mut();
        let key = (text.offset(0), name.to_owned());
        let marked = marked.entry(key).or_insert_with(|| {
            let program = self.parsed(text, &sweep.with(name, &MARK.to_string()));
            program.ok().map(|program| MarkedProgram {
                name: name.to_owned(),
                values: BTreeSet::new(),
                program,
            })
        });
        if let Some(marked) = marked {
            marked.values.insert(value.to_owned());
        }
    }

    /// Checks that a run has rows, and that it is clear whose they are.
    fn check_rows(&self, run: &RunPlan) -> Result<(), ExperimentError> {
        let owns = run.invokes.iter().find(|invoke| invoke.input.is_some());
        if let (false, Some(invoke)) = (run.batch.is_empty(), owns) {
            return Err(self.conflict(
                run.at,
                format!(
                    "the run `{}` has an `input`, and its invoke `{}` too",
                    run.name, invoke.name
                ),
                "name the inputs in the run or in its invokes",
            ));
        }
        if run.rows().is_empty() {
            return Err(self.conflict(
                run.at,
                format!("the run `{}` has no input", run.name),
                "give `input` the name of an [[input]]",
            ));
        }
        Ok(())
    }

    fn unknown<'n>(
        &self,
        at: usize,
        kind: &'static str,
        name: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> ExperimentError {
        ExperimentError::unknown(self.source.spot(at), kind, name, names)
    }

    fn too_many(&self, at: usize, what: &str) -> ExperimentError {
        let what = format!("there are more than {RUNS_MAX} {what}");
        self.conflict(at, what, "sweep over less, or split the file")
    }

    fn conflict(&self, at: usize, what: String, instead: &str) -> ExperimentError {
        ExperimentError::Conflict {
            at: self.source.spot(at),
            what,
            instead: instead.to_owned(),
        }
    }
}

fn barriers(table: &Table<'_>) -> Result<Vec<(String, u32)>, ExperimentError> {
    let entries = table.inner("barriers")?.into_iter();
    let barrier = |(name, value): (String, _)| {
        let participants = table.number(&name, value, 1..65_537)?;
        Ok((name, participants))
    };
    entries.map(barrier).collect()
}

fn check_free(
    source: &Source,
    at: usize,
    what: &str,
    name: &str,
    taken: bool,
) -> Result<(), ExperimentError> {
    match taken {
        false => Ok(()),
        true => Err(ExperimentError::Conflict {
            at: source.spot(at),
            what: format!("{what} have the name `{name}`"),
            instead: "give each its own; in a sweep, put its values into the name".to_owned(),
        }),
    }
}
