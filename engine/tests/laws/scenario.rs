//! A case as a file: a scenario in the words of the conformance tests, with its model.
//!
//! Added to them are the `model` (its modules in order, the first being the root, with what each
//! computes and calls), the `rows` of an invoke and whether it is `optional`, the `steps` that a
//! run declares, and what [`Step`] adds.

use std::collections::BTreeMap;

use interloom_engine::Point;
use serde::{Deserialize, Serialize};

use crate::programs::{BARRIERS, Case, Program};
use crate::steps::{Collects, Step};
use crate::support::{Model, Module};

/// One run of one model.
#[derive(Deserialize, Serialize)]
pub(crate) struct Scenario {
    id: String,
    doc: String,
    model: Tree,
    traces: [Trace; 1],
}

#[derive(Deserialize, Serialize)]
struct Tree {
    modules: Vec<Node>,
}

/// `(x · scale + shift) mod 1009` of what the calls make of its input.
#[derive(Deserialize, Serialize)]
struct Node {
    path: String,
    scale: f64,
    shift: f64,
    calls: Vec<String>,
}

#[derive(Deserialize, Serialize)]
struct Trace {
    on: String,
    invokes: Vec<Block>,
    barriers: BTreeMap<String, u32>,
    pre: Vec<Step>,
    steps: Option<u32>,
    /// The values whose gradients may be asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gradients: Vec<String>,
}

#[derive(Deserialize, Serialize)]
struct Block {
    /// None for an invoke without rows.
    input: Option<String>,
    rows: Option<u32>,
    optional: bool,
    steps: Vec<Step>,
}

impl Scenario {
    /// Writes a case down; it is named by what is in it.
    pub(crate) fn of(case: &Case, doc: &str) -> Self {
        let node = |module: &Module| Node {
            path: module.path.clone(),
            scale: module.scale,
            shift: module.shift,
            calls: module
                .children
                .iter()
                .map(|&child| case.model.modules[child].path.clone())
                .collect(),
        };
        let block = |program: &Program| Block {
            input: program.rows.map(|_| "x".to_owned()),
            rows: program.rows,
            optional: program.is_optional,
            steps: program.lines.clone(),
        };
        let of_run = |collects: &Collects| Step::Cache {
            r#as: "run".to_owned(),
            collects: collects.clone(),
        };
        let name = |point: &Point| case.model.map.point_name(*point);
        let names = BARRIERS.map(str::to_owned);
        let mut scenario = Self {
            id: String::new(),
            doc: doc.to_owned(),
            model: Tree {
                modules: case.model.modules.iter().map(node).collect(),
            },
            traces: [Trace {
                on: "base".to_owned(),
                invokes: case.programs.iter().map(block).collect(),
                barriers: names.into_iter().zip(case.barriers).collect(),
                pre: case.cache.iter().map(of_run).collect(),
                steps: case.steps,
                gradients: case.gradients.iter().map(name).collect(),
            }],
        };
        let text = serde_json::to_string(&scenario).expect("data");
        scenario.id = format!("case-{:016x}", digest(text.as_bytes()));
        scenario
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Makes the case that is written down.
    ///
    /// # Panics
    ///
    /// Panics if a module calls one that comes before it, or that there is not.
    pub(crate) fn case(&self) -> Case {
        let nodes = &self.model.modules;
        let place = |path: &String| nodes.iter().position(|node| node.path == *path);
        let module = |(index, node): (usize, &Node)| Module {
            path: node.path.clone(),
            scale: node.scale,
            shift: node.shift,
            children: node
                .calls
                .iter()
                .map(|path| place(path).filter(|&child| child > index))
                .map(|child| child.expect("a later module"))
                .collect(),
        };
        let [trace] = &self.traces;
        let program = |block: &Block| Program {
            lines: block.steps.clone(),
            rows: block.rows,
            is_optional: block.optional,
        };
        let model = Model::new(nodes.iter().enumerate().map(module).collect());
        let gradients = trace.gradients.iter().map(|name| model.point(name));
        Case {
            gradients: gradients.collect(),
            model,
            programs: trace.invokes.iter().map(program).collect(),
            barriers: BARRIERS.map(|name| trace.barriers[name]),
            steps: trace.steps,
            cache: trace.pre.iter().find_map(|step| match step {
                Step::Cache { collects, .. } => Some(collects.clone()),
                _ => None,
            }),
        }
    }
}

/// FNV-1a of 64 bits.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |digest, &byte| {
        (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
