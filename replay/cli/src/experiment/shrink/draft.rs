//! An experiment that is being made smaller, and its text.

use std::collections::BTreeSet;

use interloom_engine::SiteMap;
use toml_writer::{ToTomlValue as _, TomlStringBuilder};

use super::super::checks::called;
use super::super::language::{resolve, to_text};
use super::super::plan::{
    Content, Given, Input, InvokePlan, Plan, RunPlan, SamplingPlan, SuppliedModule,
};
use super::ExperimentSize;

/// An experiment without sweeps, whose last run is the one in question.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) model: String,
    pub(super) device: String,
    pub(super) positions: Option<u32>,
    pub(super) inputs: Vec<Input>,
    pub(super) givens: Vec<Given>,
    pub(super) modules: Vec<SuppliedModule>,
    pub(super) runs: Vec<RunPlan>,
}

impl Draft {
    /// Takes what a file says up to one of its runs.
    pub(super) fn of(plan: Plan, model: &str, device: &str, run: usize) -> Self {
        let mut runs = plan.runs;
        runs.truncate(run + 1);
        Self {
            model: model.to_owned(),
            device: device.to_owned(),
            positions: plan.positions,
            inputs: plan.inputs,
            givens: plan.givens,
            modules: plan.modules,
            runs,
        }
    }

    pub(super) fn last(&self) -> &RunPlan {
        self.runs.last().expect("the run in question")
    }

    /// Returns which inputs are run on.
    pub(super) fn used_inputs(&self) -> BTreeSet<usize> {
        self.runs.iter().flat_map(RunPlan::rows).collect()
    }

    /// Returns the given values of the file that its programs name.
    fn used_givens(&self) -> impl Iterator<Item = &Given> {
        let mut names = BTreeSet::new();
        for invoke in self.invokes() {
            // Which names they are does not depend on the sites.
            names.extend(resolve(&mut invoke.program.clone(), &SiteMap::new()));
        }
        let givens = self.givens.iter();
        givens.filter(move |given| names.contains(&given.name))
    }

    /// Returns the trained modules of the file that its programs call.
    fn used_modules(&self) -> impl Iterator<Item = &SuppliedModule> {
        let programs = self.invokes().map(|invoke| called(&invoke.program));
        let names: BTreeSet<&str> = programs.flatten().collect();
        let modules = self.modules.iter();
        modules.filter(move |module| names.contains(&*module.name))
    }

    /// Leaves out the given values and trained modules that no program uses.
    pub(super) fn of_what_is_used(&self) -> Self {
        Self {
            givens: self.used_givens().cloned().collect(),
            modules: self.used_modules().cloned().collect(),
            ..self.clone()
        }
    }

    fn invokes(&self) -> impl Iterator<Item = &InvokePlan> {
        self.runs.iter().flat_map(|run| &run.invokes)
    }

    pub(super) fn extent(&self) -> ExperimentSize {
        let tokens = self.used_inputs().into_iter();
        let tokens = tokens.map(|input| match &self.inputs[input].content {
            Content::Tokens(rows) => rows.iter().map(Vec::len).sum(),
            Content::Prompt(prompt) => prompt.split_whitespace().count(),
            Content::Pair(_) | Content::Chat(_) | Content::Tensor(_) | Content::Pixels(_) => 1,
        });
        let steps = self
            .invokes()
            .map(|invoke| invoke.program.actions().count());
        ExperimentSize {
            runs: self.runs.len(),
            mediators: self.last().invokes.len(),
            steps: steps.sum(),
            tokens: tokens.sum(),
        }
    }

    /// Returns the text of the experiment, as a file has it; there is none if a program cannot be
    /// written.
    pub(super) fn to_text(&self) -> Option<String> {
        let mut text = format!("model = {}\n", quoted(&self.model));
        if self.device != "cpu" {
            text += &format!("device = {}\n", quoted(&self.device));
        }
        if let Some(positions) = self.positions {
            text += &format!("positions = {positions}\n");
        }
        for input in self.used_inputs() {
            let Input {
                name,
                content,
                types,
                ..
            } = &self.inputs[input];
            let rows = |key: &str, rows: &[Vec<u32>]| match rows {
                [row] => format!("{key} = {row:?}"),
                rows => format!("{key} = {rows:?}"),
            };
            let content = match content {
                Content::Prompt(prompt) => format!("prompt = {}", quoted(prompt)),
                Content::Chat(chat) => chat.to_text(quoted),
                Content::Tensor(tensor) => format!("tensor = {}", quoted(tensor)),
                Content::Pair(pair) => {
                    let [first, second] = pair.each_ref().map(|text| quoted(text));
                    format!("pair = [{first}, {second}]")
                }
                Content::Pixels(tensor) => format!("pixels = {}", quoted(tensor)),
                Content::Tokens(tokens) => rows("tokens", tokens),
            };
            text += &format!("\n[[input]]\nname = {}\n{content}\n", quoted(name));
            if let Some(types) = types {
                text += &format!("{}\n", rows("types", types));
            }
        }
        for Given { name, tensor, .. } in self.used_givens() {
            let (name, tensor) = (quoted(name), quoted(tensor));
            text += &format!("\n[[given]]\nname = {name}\ntensor = {tensor}\n");
        }
        let modules = self.used_modules();
        let modules = modules.map(|SuppliedModule { name, file, .. }| {
            format!("{} = {}\n", quoted(name), quoted(file))
        });
        let modules: String = modules.collect();
        if !modules.is_empty() {
            text += &format!("\n[modules]\n{modules}");
        }
        for run in &self.runs {
            text += &self.run(run)?;
        }
        Some(text)
    }

    fn run(&self, run: &RunPlan) -> Option<String> {
        let mut text = format!("\n[[run]]\nname = {}\n", quoted(&run.name));
        let name = |input: &usize| quoted(&self.inputs[*input].name);
        match &run.batch[..] {
            [] => {}
            [input] => text += &format!("input = {}\n", name(input)),
            inputs => {
                let names: Vec<String> = inputs.iter().map(name).collect();
                text += &format!("input = [{}]\n", names.join(", "));
            }
        }
        if let Some(steps) = run.generate {
            text += &generation(steps, run.sampling);
        }
        if !run.barriers.is_empty() {
            let barriers = run.barriers.iter();
            let barriers = barriers.map(|(name, count)| format!("{} = {count}", quoted(name)));
            text += &format!(
                "barriers = {{ {} }}\n",
                barriers.collect::<Vec<_>>().join(", ")
            );
        }
        for invoke in &run.invokes {
            text += &format!("\n[[run.invoke]]\nname = {}\n", quoted(&invoke.name));
            if let Some(input) = &invoke.input {
                text += &format!("input = {}\n", name(input));
            }
            if invoke.optional {
                text += "optional = true\n";
            }
            text += &format!("program = {}\n", program(&to_text(&invoke.program)?));
        }
        Some(text + &report(run))
    }
}

/// Writes how many tokens are generated, and how they are drawn.
fn generation(tokens: u32, sampling: Option<SamplingPlan>) -> String {
    let Some(plan) = sampling else {
        return format!("generate = {tokens}\n");
    };
    let figures = [
        (
            "temperature",
            plan.temperature.map(|number| format!("{number:?}")),
        ),
        ("top_k", plan.top_k.map(|count| count.to_string())),
        ("top_p", plan.top_p.map(|number| format!("{number:?}"))),
    ];
    let figures = figures
        .into_iter()
        .filter_map(|(key, figure)| Some(format!("{key} = {}, ", figure?)));
    let figures: String = figures.collect();
    format!(
        "generate = {{ tokens = {tokens}, {figures}seed = {} }}\n",
        plan.seed
    )
}

fn report(run: &RunPlan) -> String {
    let texts = |texts: &[(String, usize)]| {
        let texts: Vec<String> = texts.iter().map(|(text, _)| quoted(text)).collect();
        format!("[{}]", texts.join(", "))
    };
    let report = &run.report;
    let mut lines = String::new();
    // A generation has no logits to show; a run may have these from the whole file.
    let has_logits = run.generate.is_none();
    if has_logits && report.top > 0 {
        lines += &format!("top = {}\n", report.top);
    }
    if !report.answers.is_empty() {
        lines += &format!("answers = {}\n", texts(&report.answers));
    }
    if let (true, Some((from, _))) = (has_logits, report.loss_from) {
        lines += &format!("loss_from = {from}\n");
    }
    if !report.lens.is_empty() {
        lines += &format!("lens = {}\n", texts(&report.lens));
    }
    match lines.is_empty() {
        true => lines,
        false => format!("\n[run.report]\n{lines}"),
    }
}

/// Writes a program where nothing has to be escaped, unless something has to.
fn program(text: &str) -> String {
    let is_plain = |character: char| character == '\n' || !character.is_control();
    if text.contains("'''") || !text.chars().all(is_plain) {
        return quoted(text);
    }
    let lines: String = text.lines().map(|line| format!("    {line}\n")).collect();
    format!("'''\n{lines}'''")
}

/// Writes a text as TOML has it, in one line, so that it can also be a key.
fn quoted(text: &str) -> String {
    TomlStringBuilder::new(text).as_basic().to_toml_value()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(text: &str) -> Plan {
        Plan::read("e.toml", text, &BTreeMap::new()).unwrap_or_else(|error| {
            panic!("{error}\n{text}");
        })
    }

    fn draft(text: &str) -> Draft {
        let plan = read(text);
        let (model, device) = (plan.model.clone(), plan.device.clone());
        let last = plan.runs.len() - 1;
        Draft::of(plan, &model, &device, last)
    }

    const EVERYTHING: &str = r#"
        model = "induction"
        device = "cuda:1"
        [set]
        n = 2
        [[input]]
        name = "a"
        tokens = [[1, 2], [3, 4]]
        [[input]]
        name = "b"
        prompt = "say \"{n}\"\n\u0007"
        [[input]]
        name = "unused"
        tokens = [1]
        [[input]]
        name = "c"
        tensor = "f.safetensors#t"
        [[given]]
        name = "v"
        tensor = "f.safetensors#v"
        [[given]]
        name = "unused"
        tensor = "f.safetensors#v"
        [modules]
        steer = "s.safetensors"
        unused = "s.safetensors"
        [report]
        top = 1
        [[run]]
        name = "r{i}"
        each = { i = "0..{n}" }
        barriers = { met = 1, "a b" = 2 }
        [[run.invoke]]
        name = "i"
        input = "a"
        optional = true
        program = '''
            layers.{i}[.., 1] *= $v; try { raise "it''s" } catch e
            for i in 2.. { next; save h = [] }
            mark "'"
        '''
        [[run.invoke]]
        name = "j"
        input = "b"
        program = "mark \"''' and\\n\""
        [run.report]
        loss_from = 1
        lens = "h"
        answers = ["1", "2"]
        [[run]]
        name = "one"
        input = ["a", "c"]
        program = "save h = abs(steer(layers.0))"
        [[run]]
        name = "plain"
        input = "c"
        generate = 3
        [[run]]
        name = "drawn"
        input = "c"
        generate = { tokens = 2, top_p = 0.5, temperature = "1.5" }
    "#;

    /// What is written is read as the same experiment, and written in the same way again.
    #[test]
    fn what_is_written_is_read_as_the_same_experiment() {
        let whole = draft(EVERYTHING);
        let text = whole.to_text().unwrap();
        let again = draft(&text);
        assert_eq!(again.to_text().unwrap(), text);
        assert_eq!(again.extent(), whole.extent());
        assert!(!text.contains("unused"), "{text}");
        assert_eq!((again.runs.len(), again.inputs.len()), (5, 3));
        assert_eq!(again.modules.len(), 1);
        for (run, other) in again.runs.iter().zip(&whole.runs) {
            assert_eq!(run.name, other.name);
            assert_eq!(
                (run.generate, run.sampling, &run.barriers),
                (other.generate, other.sampling, &other.barriers)
            );
            for (invoke, other) in run.invokes.iter().zip(&other.invokes) {
                assert_eq!(to_text(&invoke.program), to_text(&other.program));
                assert_eq!(invoke.optional, other.optional);
            }
        }
    }

    #[test]
    fn the_extent_is_what_a_reader_would_count() {
        // Two runs of nine steps, for a list that is saved is two; one of two, for the same reason;
        // one of none.
        let extent = draft(EVERYTHING).extent();
        assert_eq!(
            extent.to_string(),
            "5 runs, 0 mediators, 20 steps, 8 tokens"
        );
    }
}
