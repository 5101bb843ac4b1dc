//! Scenarios that are thrown together at random: Interloom does what the interpreter of the rules
//! does, and where the two of the reference do something else, the rules say why.

use std::fmt::Write as _;
use std::path::Path;

use burn::tensor::Device;
use interloom_conform::{Folder, REFERENCES, Verdict};
use serde_json::{Value, json};

/// Numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// Once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// Writes one scenario.
struct Author {
    dice: Dice,
    model: &'static str,
    /// Names that were given a value somewhere.
    names: Vec<String>,
    lists: Vec<String>,
    barriers: Vec<&'static str>,
    count: usize,
}

const MODELS: [&str; 5] = ["stack4", "recur5", "tup3", "tup3_0d", "gpt2t"];

impl Author {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        // GPT-2 takes longest.
        let model = if dice.once_in(8) {
            "gpt2t"
        } else {
            MODELS[dice.below(4) as usize]
        };
        Self {
            dice,
            model,
            names: Vec::new(),
            lists: Vec::new(),
            barriers: Vec::new(),
            count: 0,
        }
    }

    fn scenario(mut self) -> Value {
        if self.dice.once_in(4) {
            self.barriers = vec!["b", "c"];
        }
        let mut edits = Vec::new();
        let mut models = vec!["base"];
        for name in ["e", "f"] {
            if self.dice.once_in(5) {
                let base = *self.dice.pick(&models);
                edits.push(json!({ "name": name, "base": base, "inplace": false, "steps": self.steps(0, 2) }));
                models.push(name);
            }
        }
        let runs = 1 + u64::from(self.dice.once_in(6));
        let runs: Vec<Value> = (0..runs).map(|_| self.run(&models)).collect();
        json!({ "model": self.model, "edits": edits, "traces": runs })
    }

    /// A scenario with backward passes.
    fn differentiated(mut self) -> Value {
        let input = if self.model == "gpt2t" { "ids0" } else { "x0" };
        let is_alone = !self.dice.once_in(3);
        let count = if is_alone { 1 } else { 2 };
        let blocks: Vec<Value> = (0..count)
            .map(|_| json!({ "input": input, "steps": self.passes() }))
            .collect();
        let mut run = json!({ "on": "base", "barriers": {}, "pre": [] });
        match &blocks[..] {
            [only] => run["direct"] = only.clone(),
            _ => run["invokes"] = blocks.into(),
        }
        json!({ "model": self.model, "edits": [], "traces": [run] })
    }

    /// Reads and writes in the order of the model, and a backward pass or two from what was read.
    fn passes(&mut self) -> Vec<Value> {
        let last = if self.model == "gpt2t" {
            "lm_head"
        } else {
            "head"
        };
        let mut steps = Vec::new();
        let mut read: Vec<String> = Vec::new();
        let mut modules: Vec<&str> = self.modules().to_vec();
        modules.retain(|module| *module != last && *module != "unused");
        for module in modules {
            if self.dice.once_in(2) {
                continue;
            }
            let port = if self.dice.once_in(4) {
                "input"
            } else {
                "output"
            };
            let target = format!("{module}.{port}");
            let name = self.fresh("h");
            steps.push(json!({ "op": "read", "target": target, "as": name, "save": true }));
            read.push(name.clone());
            if self.model == "stack4" && self.dice.once_in(3) {
                let expr = json!(["mul", ["var", name], 1.5]);
                steps.push(json!({ "op": "write", "target": target, "expr": expr }));
            }
        }
        let output = self.fresh("o");
        let last = format!("{last}.output");
        steps.push(json!({ "op": "read", "target": last, "as": output, "save": true }));
        read.push(output.clone());
        let passes = 1 + u64::from(self.dice.once_in(5));
        for _ in 0..passes {
            let of = self.dice.pick(&read).clone();
            let of = if self.dice.once_in(4) {
                of
            } else {
                output.clone()
            };
            let loss = json!(["sum", ["mul", ["var", of], ["var", of]]]);
            let loss = if self.dice.once_in(12) {
                json!(["var", of])
            } else {
                loss
            };
            let body = self.gradients(&read);
            let backward = json!({ "op": "backward", "of": loss, "body": body });
            if self.dice.once_in(6) {
                steps.push(json!({ "op": "try", "as": self.fresh("err"), "body": [backward] }));
            } else {
                steps.push(backward);
            }
            for parameter in ["head.weight", "embed.weight", "embed.bias"] {
                if self.model != "gpt2t" && self.dice.once_in(3) {
                    let name = self.fresh("p");
                    steps.push(json!({ "op": "save_param_grad", "param": parameter, "as": name }));
                }
            }
        }
        steps
    }

    /// What is done in a backward pass: mostly with later values first.
    fn gradients(&mut self, read: &[String]) -> Vec<Value> {
        let mut names: Vec<&String> = read.iter().rev().collect();
        names.retain(|_| self.dice.once_in(2));
        if self.dice.once_in(8) {
            names.reverse();
        }
        let mut steps = Vec::new();
        for of in names {
            let gradient = self.fresh("g");
            steps.push(json!({ "op": "read_grad", "var": of, "as": gradient }));
            if self.dice.once_in(3) {
                let expr = json!(["mul", ["var", gradient], 2.0]);
                steps.push(json!({ "op": "write_grad", "var": of, "expr": expr }));
            }
        }
        if self.dice.once_in(8) {
            let target = self.target();
            steps.push(json!({ "op": "read", "target": target, "as": self.fresh("m") }));
        }
        steps
    }

    fn run(&mut self, models: &[&str]) -> Value {
        let on = *self.dice.pick(models);
        let is_language = self.model == "gpt2t";
        let inputs: &[&str] = if is_language {
            &["ids0", "ids1"]
        } else {
            &["x0", "x0", "x1", "x3"]
        };
        let block = |author: &mut Self, is_rowless: bool| {
            let input = if is_rowless {
                Value::Null
            } else {
                (*author.dice.pick(inputs)).into()
            };
            json!({ "input": input, "steps": author.steps(0, 4) })
        };
        let mut run = json!({ "on": on, "barriers": {}, "pre": [] });
        if !self.barriers.is_empty() {
            run["barriers"] = json!({ "b": 2, "c": 1 + self.dice.below(3) });
        }
        if self.barriers.is_empty() && self.dice.once_in(2) {
            run["direct"] = block(self, false);
            if is_language && self.dice.once_in(2) {
                run["direct"]["generate"] = json!({ "max_new_tokens": 1 + self.dice.below(3) });
            }
        } else {
            let count = 1 + self.dice.below(3);
            let mut blocks = vec![block(self, false)];
            for _ in 1..count {
                let is_rowless = self.dice.once_in(4);
                blocks.push(block(self, is_rowless));
            }
            run["invokes"] = blocks.into();
        }
        run
    }

    fn steps(&mut self, depth: u32, most: u64) -> Vec<Value> {
        let count = 1 + self.dice.below(most);
        (0..count).map(|_| self.step(depth)).collect()
    }

    fn step(&mut self, depth: u32) -> Value {
        match self.dice.below(40) {
            0..10 => {
                let target = self.target();
                let name = self.name();
                json!({ "op": "read", "target": target, "as": name, "save": self.dice.once_in(2) })
            }
            10..16 => {
                let target = self.target();
                json!({ "op": "write", "target": target, "expr": self.expression(1) })
            }
            16..18 => {
                let expr = self.expression(2);
                json!({ "op": "let", "as": self.name(), "expr": expr, "save": self.dice.once_in(2) })
            }
            18 => {
                if self.names.is_empty() {
                    self.mark()
                } else {
                    json!({ "op": "save", "name": self.dice.pick(&self.names) })
                }
            }
            19 => self.mark(),
            20..23 if depth < 2 => {
                json!({ "op": "try", "as": self.fresh("err"), "body": self.steps(depth + 1, 2) })
            }
            23 => {
                if self.dice.once_in(2) {
                    json!({ "op": "stop" })
                } else {
                    json!({ "op": "raise", "message": "no" })
                }
            }
            24..27 => {
                let module = *self.dice.pick(self.modules());
                json!({ "op": "skip", "module": module, "expr": self.expression(1) })
            }
            27..29 if !self.barriers.is_empty() => {
                json!({ "op": "barrier", "name": self.dice.pick(&self.barriers) })
            }
            29..33 if depth < 2 => {
                let (variable, iterations) = (self.fresh("i"), self.iterations());
                let mut body = self.steps(depth + 1, 3);
                if iterations["slice"][1].is_null() {
                    // Without a request that is always made it may have no end.
                    body.insert(
                        0,
                        json!({ "op": "read", "target": self.target(), "as": self.name() }),
                    );
                }
                json!({ "op": "iter", "iter": iterations, "var": variable, "body": body })
            }
            33 => {
                if self.dice.once_in(3) {
                    json!({ "op": "next", "step": 1 + self.dice.below(2) })
                } else {
                    self.mark()
                }
            }
            34 => {
                if self.names.is_empty() || depth >= 2 {
                    self.mark()
                } else {
                    let variable = self.dice.pick(&self.names).clone();
                    json!({ "op": "if_eq", "var": variable, "value": 1.0, "body": self.steps(depth + 1, 2) })
                }
            }
            35..37 => {
                if self.lists.is_empty() || self.dice.once_in(3) {
                    let list = self.fresh("xs");
                    self.lists.push(list.clone());
                    json!({ "op": "list", "as": list })
                } else {
                    let list = self.dice.pick(&self.lists).clone();
                    json!({ "op": "append", "list": list, "expr": self.expression(1) })
                }
            }
            37 => {
                let modules = if self.dice.once_in(2) {
                    Value::Null
                } else {
                    json!([self.dice.pick(self.modules())])
                };
                let is_of_inputs = self.dice.once_in(2);
                json!({
                    "op": "cache", "as": self.fresh("cache"), "modules": modules,
                    "include_inputs": is_of_inputs, "include_output": !is_of_inputs || self.dice.once_in(2),
                })
            }
            38 if !self.names.is_empty() => {
                let variable = self.dice.pick(&self.names).clone();
                json!({ "op": "inplace_fill", "var": variable, "value": self.dice.below(2) as f64 })
            }
            _ => {
                let target = self.target();
                json!({ "op": "read", "target": target, "as": self.name(), "save": true })
            }
        }
    }

    fn mark(&mut self) -> Value {
        json!({ "op": "mark", "text": self.fresh("here") })
    }

    fn fresh(&mut self, stem: &str) -> String {
        self.count += 1;
        format!("{stem}{}", self.count)
    }

    /// A name for a value: mostly a new one.
    fn name(&mut self) -> String {
        if !self.names.is_empty() && self.dice.once_in(4) {
            return self.dice.pick(&self.names).clone();
        }
        let name = self.fresh("a");
        self.names.push(name.clone());
        name
    }

    fn iterations(&mut self) -> Value {
        let start = self.dice.below(3);
        let end = start + self.dice.below(4);
        match self.dice.below(6) {
            0 => json!({ "slice": [null, null] }),
            1 => json!({ "slice": [start, null] }),
            2 => json!({ "slice": [start, end] }),
            3 => json!({ "list": [self.dice.below(6), self.dice.below(6)] }),
            _ => json!({ "int": self.dice.below(4) }),
        }
    }

    fn modules(&self) -> &'static [&'static str] {
        match self.model {
            "stack4" => &[
                "embed",
                "layers.0",
                "layers.1",
                "layers.2",
                "layers.2.fc",
                "layers.2.act",
                "layers.3",
                "head",
                "unused",
            ],
            "recur5" => &["embed", "cell", "cell", "cell.fc", "cell.act", "head"],
            "gpt2t" => &[
                "transformer",
                "transformer.wte",
                "transformer.h.0",
                "transformer.h.1",
                "transformer.h.0.attn",
                "transformer.h.1.mlp",
                "transformer.h.0.ln_1",
                "transformer.ln_f",
                "lm_head",
            ],
            _ => &[
                "embed",
                "layers.0",
                "layers.1",
                "layers.1.fc",
                "layers.2",
                "head",
            ],
        }
    }

    fn target(&mut self) -> String {
        let ports = ["output", "output", "output", "input", "input", "inputs"];
        if self.dice.once_in(12) {
            return ["output", "input", "inputs"][self.dice.below(3) as usize].to_owned();
        }
        let (block, operations): (&str, &[&str]) = match self.model {
            "recur5" => (
                "cell",
                &["self_fc_0", "self_act_0", "torch_mul_0", "h_0", "h_1"],
            ),
            "stack4" => (
                "layers.1",
                &["self_fc_0", "self_act_0", "torch_mul_0", "h_0", "h_2"],
            ),
            _ => ("layers.1", &["self_fc_0", "torch_tanh_0", "h_0"]),
        };
        let port = *self.dice.pick(&ports);
        if self.model != "gpt2t" && self.dice.once_in(10) {
            let operation = *self.dice.pick(operations);
            return format!("{block}.source.{operation}.{port}");
        }
        let module = *self.dice.pick(self.modules());
        format!("{module}.{port}")
    }

    fn expression(&mut self, depth: u32) -> Value {
        let tensors = ["c4_2", "c4_2", "c4_3", "c4_5", "v4", "x0", "ids0"];
        match self.dice.below(16) {
            0..5 => json!(["tensor", self.dice.pick(&tensors)]),
            5..9 if !self.names.is_empty() => json!(["var", self.dice.pick(&self.names)]),
            9 if !self.lists.is_empty() => json!(["var", self.dice.pick(&self.lists)]),
            9 | 10 => json!(["read", self.target()]),
            11 => [json!(0.0), json!(1.0), json!(2), json!(["none"])][self.dice.below(4) as usize]
                .clone(),
            _ if depth == 0 => json!(["tensor", "c4_2"]),
            12 => {
                let operation = *self.dice.pick(&["add", "sub", "mul"]);
                json!([
                    operation,
                    self.expression(depth - 1),
                    self.expression(depth - 1)
                ])
            }
            13 => match self.dice.below(4) {
                0 => json!(["rows2", self.expression(depth - 1), 0, 3]),
                1 => json!(["rows", self.expression(depth - 1), 0, 2]),
                2 => json!(["index", self.expression(0), 0]),
                _ => json!(["index", ["index", ["read", self.target()], 0], 0]),
            },
            14 => {
                let function = *self.dice.pick(&["zeros_like", "sum", "clone"]);
                json!([function, self.expression(depth - 1)])
            }
            _ => match self.dice.below(4) {
                0 => json!([
                    "tuple_replace0",
                    self.expression(depth - 1),
                    self.expression(depth - 1)
                ]),
                1 => json!([
                    "tuple",
                    self.expression(depth - 1),
                    self.expression(depth - 1)
                ]),
                2 => json!(["inputs", [self.expression(depth - 1)], {}]),
                _ => {
                    let module = *self.dice.pick(self.modules());
                    json!(["module", module, self.expression(depth - 1)])
                }
            },
        }
    }
}

/// Runs the scenarios of some seeds; returns those in which something is wrong.
fn wrong(seeds: std::ops::Range<u64>, write: fn(Author) -> Value) -> String {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance");
    let place = tempfile::tempdir().unwrap();
    let home = place.path();
    std::fs::create_dir_all(home.join("models")).unwrap();
    for entry in recorded.join("models").read_dir().unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), home.join("models").join(entry.file_name())).unwrap();
    }
    std::fs::copy(
        recorded.join("inputs.safetensors"),
        home.join("inputs.safetensors"),
    )
    .unwrap();
    for seed in seeds {
        let scenario = write(Author::new(seed));
        let path = home.join("scenarios").join(seed.to_string());
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("scenario.json"), scenario.to_string()).unwrap();
    }
    let folder = Folder::open(home, &Device::flex()).unwrap();
    let mut wrong = String::new();
    let (mut same, mut by_rule, mut broken) = (0, 0, 0);
    for id in folder.ids() {
        let scenario = || {
            std::fs::read_to_string(home.join("scenarios").join(id).join("scenario.json")).unwrap()
        };
        match folder.scripts_by_rules(id) {
            Ok(found) if found.is_empty() => {}
            Ok(found) => writeln!(wrong, "{id}: {found:?}\n{}", scenario()).unwrap(),
            // A list may be in itself.
            Err(_) => {
                broken += 1;
                continue;
            }
        }
        if let Ok(found) = folder.programs_by_rules(id)
            && !found.is_empty()
            && is_program(&scenario())
        {
            writeln!(wrong, "{id} as programs: {found:?}\n{}", scenario()).unwrap();
        }
        for reference in REFERENCES {
            match folder.compare_unrecorded(id, reference) {
                Verdict::Same => same += 1,
                Verdict::ByRule { .. } => by_rule += 1,
                other => writeln!(wrong, "{id} {reference}: {other:?}\n{}", scenario()).unwrap(),
            }
        }
    }
    println!("{same} same, {by_rule} by rule, {broken} cannot be run");
    wrong
}

/// Whether a program says the same as the scenario: where lists have several names none does, and
/// which pass a parameter's gradient is of is not known if one may fail.
fn is_program(scenario: &str) -> bool {
    scenario.contains("backward") && !scenario.contains("\"try\"")
}

#[test]
fn what_is_thrown_together_is_the_same_or_by_rule() {
    let wrong = wrong(0..400, Author::scenario);
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
#[ignore = "minutes: cargo test --release --workspace --test random -- --ignored"]
fn what_is_thrown_together_often() {
    let wrong = wrong(1000..13_000, Author::scenario);
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn gradients_that_are_thrown_together_are_the_same_or_by_rule() {
    let wrong = wrong(0..40, Author::differentiated);
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
#[ignore = "minutes: cargo test --release --workspace --test random -- --ignored"]
fn gradients_that_are_thrown_together_often() {
    let wrong = wrong(100..400, Author::differentiated);
    assert!(wrong.is_empty(), "{wrong}");
}
