//! How large a journal of an experiment will be at most, before its first run.

use interloom_engine::{Port, Site, SiteMap};
use interloom_journal::Policy;
use interloom_program::{Action, Condition, Expr, Over, Program, ProgramStep, Shapes};

use super::outlook::Outlook;
use super::plan::{Plan, RunPlan};
use super::rows::Rows;

/// How many exchanges an experiment has at most, and how large the largest of the tensors in them
/// is.
///
/// A loop without an end is taken to have as many iterations as the run generates tokens, and one
/// more; without a generation, two, because a site is passed once and the next request for it is
/// refused. A model that passes a site more often in one pass has more exchanges than this.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Estimate {
    /// The exchanges of all runs.
    pub exchanges: u64,
    /// The bytes of the largest tensor, with elements of 4 bytes; nothing if the shapes are not
    /// known, because a batch is too long to be tried, or invokes may change them.
    pub tensor_bytes: Option<u64>,
    /// The bytes of what its head has of the model's sites and of prompts, and of what its runs
    /// keep of their caches and of rows that are padded.
    pub name_bytes: u64,
}

/// How many bytes the end of a run has at most for what a cache collects at one point, beside the
/// point's name.
const CACHED_BYTES: u64 = 64;

/// How many bytes the padding of a run has at most beside the lengths of its rows, and for each.
const PADDING_BYTES: (u64, u64) = (48, 5);

impl Estimate {
    /// Returns how many bytes a journal will have at most; nothing if it keeps tensors whose shapes
    /// are not known.
    pub fn bytes(&self, policy: Policy) -> Option<u64> {
        let tensor_bytes = match policy {
            Policy::Digest => 0,
            Policy::Full | Policy::Sampled(_) => self.tensor_bytes?,
        };
        let bytes = policy.estimated_bytes(self.exchanges, tensor_bytes);
        Some(bytes.saturating_add(self.name_bytes))
    }

    pub(super) fn of(
        plan: &Plan,
        map: &SiteMap,
        inputs: &[Rows],
        outlooks: &[Outlook<'_>],
    ) -> Self {
        let mut estimate = Self {
            exchanges: 0,
            tensor_bytes: Some(0),
            name_bytes: 0,
        };
        for (run, outlook) in plan.runs.iter().zip(outlooks) {
            let mut count = Counting {
                run,
                map,
                shapes: outlook.shapes(),
                tensor_bytes: estimate.tensor_bytes,
                cached_bytes: 0,
            };
            for invoke in &run.invokes {
                let exchanges = count.program(&invoke.program);
                estimate.exchanges = estimate.exchanges.saturating_add(exchanges);
            }
            estimate.tensor_bytes = count.tensor_bytes;
            estimate.name_bytes += count.cached_bytes + padding_bytes(run, inputs);
        }
        estimate
    }
}

/// Returns how many bytes the padding of a run's rows has at most, if they differ in length.
fn padding_bytes(run: &RunPlan, inputs: &[Rows]) -> u64 {
    let rows = run.rows();
    let rows = rows.iter().flat_map(|&input| &inputs[input].tokens);
    let lengths: Vec<usize> = rows.map(Vec::len).collect();
    let is_even = lengths.iter().all(|length| *length == lengths[0]);
    let (fixed, each) = PADDING_BYTES;
    if is_even {
        0
    } else {
        fixed + each * lengths.len() as u64
    }
}

struct Counting<'p> {
    run: &'p RunPlan,
    map: &'p SiteMap,
    shapes: Option<&'p Shapes>,
    tensor_bytes: Option<u64>,
    cached_bytes: u64,
}

impl Counting<'_> {
    /// The exchanges of a mediator: what it asks for, and its end.
    fn program(&mut self, program: &Program) -> u64 {
        self.steps(&program.steps).saturating_add(1)
    }

    fn steps(&mut self, steps: &[ProgramStep]) -> u64 {
        let counts = steps.iter().map(|step| self.action(&step.action));
        counts.fold(0, u64::saturating_add)
    }

    fn action(&mut self, action: &Action) -> u64 {
        match action {
            Action::Let { value, .. } | Action::Append { value, .. } => self.value(value),
            Action::Put { value, .. } | Action::Backward { loss: value } => self.value(value) + 1,
            Action::Write { site, value, .. } => {
                self.site(site, Port::Output);
                self.value(value) + 1
            }
            // Its value has the shape of the module's output, whose input the site is.
            Action::Skip { site, value } => {
                self.site(&site.replace(".input", ".output"), Port::Output);
                self.value(value) + 1
            }
            Action::Cache {
                modules, gradients, ..
            } => {
                self.cache(modules.as_deref(), *gradients);
                0
            }
            Action::Stop | Action::Raise { .. } | Action::Barrier { .. } => 1,
            Action::Try { body, .. } => self.steps(body),
            Action::If {
                condition,
                then,
                otherwise,
            } => {
                let both = self.steps(then).max(self.steps(otherwise));
                self.condition(condition).saturating_add(both)
            }
            // Each iteration is registered, and ends.
            Action::Each {
                iterations, body, ..
            } => {
                let iteration = self.steps(body).saturating_add(2);
                self.iterations(iterations).saturating_mul(iteration)
            }
            _ => 0,
        }
    }

    /// Takes in what a cache of these modules, or of all, collects on both of their sides.
    fn cache(&mut self, modules: Option<&[String]>, gradients: bool) {
        let lines = if gradients { 2 } else { 1 };
        let line = |name: usize| lines * (name as u64 + CACHED_BYTES);
        self.cached_bytes += match modules {
            Some(modules) => {
                let lines = modules.iter().map(|module| 2 * line(module.len()));
                lines.sum::<u64>()
            }
            None => {
                let points = self.map.module_points();
                let lines = points.map(|point| line(self.map.point_name(point).len()));
                lines.sum()
            }
        };
    }

    fn condition(&mut self, condition: &Condition) -> u64 {
        match condition {
            Condition::Compare { left, right, .. } => self.value(left) + self.value(right),
            Condition::Not(condition) => self.condition(condition),
            Condition::All(conditions) | Condition::Any(conditions) => {
                let counts = conditions.iter().map(|condition| self.condition(condition));
                counts.sum()
            }
            _ => 0,
        }
    }

    fn value(&mut self, value: &Expr) -> u64 {
        let own = match value {
            Expr::Read(site) => {
                self.site(site, Port::Output);
                1
            }
            Expr::Get(_) => 1,
            _ => 0,
        };
        let inside = value.operands().into_iter();
        inside.map(|operand| self.value(operand)).sum::<u64>() + own
    }

    fn iterations(&self, over: &Over) -> u64 {
        let open = self.run.generate.map_or(2, |new| u64::from(new) + 1);
        match over {
            Over::One(_) => 1,
            Over::List(list) => list.len() as u64,
            Over::Slice { start, end } => {
                let start = u64::from(start.unwrap_or(0));
                // A loop ends when the model has finished, however far it is to go.
                let end = end.map_or(open, |end| u64::from(end).min(open));
                end.saturating_sub(start).max(1)
            }
            _ => open,
        }
    }

    /// Takes in the size of what passes a site.
    fn site(&mut self, name: &str, port: Port) {
        let named = self.map.site(name).map(|(point, _)| point);
        let point = named.or_else(|| self.map.point_at(name, port));
        let shape = self.shapes.zip(point).and_then(|(shapes, point)| {
            let site = Site {
                // A gradient is as large as its value.
                point: point.forward(),
                iteration: 0,
            };
            shapes.of(self.map, site, None)
        });
        let bytes = shape.map(|shape| shape.iter().product::<u64>().saturating_mul(4));
        self.tensor_bytes = self
            .tensor_bytes
            .zip(bytes)
            .map(|(most, bytes)| most.max(bytes));
    }
}
