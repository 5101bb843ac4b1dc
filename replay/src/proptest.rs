//! Strategies for property tests of your own interventions, with the feature `proptest`.
//!
//! An intervention is seldom alone: other mediators read and change what it reads, own other rows
//! of the batch, and may have their turns before or after it. These strategies make such company,
//! small and finite, and proptest shrinks what it finds.
//!
//! ```
//! use ::proptest::prelude::*;
//! use ::proptest::test_runner::TestRunner;
//! use burn::tensor::Device;
//! use interloom::prelude::*;
//! use interloom::proptest::{invokes, schedules};
//! use interloom_models::induction::Sampler;
//! use interloom_engine::scheduler::scheduler;
//!
//! let device = Device::flex();
//! let model = Induction::trained(&device);
//! let batch = Sampler::new(7).batch(2);
//! // In the order in which the model passes them.
//! let sites = ["embed.output", "layers.0.attn.z.output", "layers.0.output", "layers.1.output"];
//!
//! // The intervention: it reads how strong the residual stream is, and is meant to change nothing.
//! let watch = |run: &mut Run| {
//!     run.mediator("watch", |cx| async move {
//!         let h = cx.output("layers.0").await?.tensor::<3>()?;
//!         Ok(h.abs().mean().into_scalar::<f32>())
//!     });
//! };
//! let logits = |company: &[interloom::proptest::Member], order: &str, watched: bool| {
//!     let mut run = Run::new("company", model.sites());
//!     for member in company {
//!         run.add(member.invoke(model.sites().map()).unwrap());
//!     }
//!     if watched {
//!         watch(&mut run);
//!     }
//!     run.scheduler(scheduler(order).unwrap());
//!     let ran = run.execute(|| model.forward(batch.tokens(&device))).unwrap();
//!     ran.completed().unwrap().into_data()
//! };
//! let config = ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() };
//! let with_rows = invokes(&sites, 2, 3)
//!     .prop_map(|all| all.into_iter().filter(|member| member.rows.is_some()).collect::<Vec<_>>());
//! TestRunner::new(config).run(&(with_rows, schedules()), |(company, order)| {
//!     // Rows of one's own commute with everything, so that only the watcher could make a difference.
//!     prop_assert_eq!(logits(&company, "in-order", false), logits(&company, &order, true));
//!     Ok(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::Arc;

use ::proptest::collection::vec;
use ::proptest::prelude::*;
use ::proptest::sample::select;
use interloom_backends::Value;
use interloom_engine::{Invoke, SiteMap};
use interloom_program::{Machine, Program, ProgramError, read};

/// The most rows of a batch that [`invokes`] gives away one by one.
pub const ROWS_MAX: u32 = 64;

/// Factors and summands that keep values finite and, but for one, tell them apart.
const NUMBERS: [f64; 5] = [1.0, 0.5, 2.0, -1.0, 0.0];

/// A mediator that was made up.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its name: `m0`, `m1`, and so on.
    pub name: String,
    /// How many rows of the batch it owns; without them it sees the whole batch.
    pub rows: Option<u32>,
    /// What it does.
    pub program: Program,
}

impl Member {
    /// Makes the mediator for a model with these sites.
    ///
    /// # Errors
    ///
    /// [`ProgramError`] if the program names a site that the model does not have.
    pub fn invoke(&self, map: &Arc<SiteMap>) -> Result<Invoke<Value>, ProgramError> {
        let invoke = Invoke::new(&self.name, Machine::new(&self.program, map)?);
        Ok(match self.rows {
            Some(rows) => invoke.rows(rows),
            None => invoke,
        })
    }
}

/// Chooses a site of a model, by name; it shrinks towards the first.
///
/// # Panics
///
/// Panics if no site is `wanted`.
pub fn sites(map: &SiteMap, wanted: impl Fn(&str) -> bool) -> BoxedStrategy<String> {
    let names = map.points().map(|point| map.point_name(point));
    let names: Vec<String> = names.filter(|name| wanted(name)).collect();
    assert!(!names.is_empty(), "no site of the model is wanted");
    select(names).boxed()
}

/// Makes up programs that read, scale, shift and save the float tensors at some of these sites.
///
/// The sites must be named in the order in which the model passes them, for a program asks for them
/// in that order. Each program asks for one at least; it shrinks towards that, and towards reading.
pub fn programs<S: AsRef<str>>(sites: &[S]) -> impl Strategy<Value = Program> + use<S> {
    let sites: Vec<String> = sites.iter().map(|site| site.as_ref().to_owned()).collect();
    vec(act(), sites.len()).prop_map(move |acts| program(&sites, &acts))
}

/// Makes up one to `most` mediators for a batch: all of them see the whole batch, or each of the
/// first `batch` owns one row of it and the rest see all.
///
/// A batch of more than [`ROWS_MAX`] rows is not divided. The sites are as for [`programs`].
pub fn invokes<S: AsRef<str>>(
    sites: &[S],
    batch: u32,
    most: usize,
) -> impl Strategy<Value = Vec<Member>> + use<S> {
    let others = vec(programs(sites), 0..=most.max(1));
    let owners = match batch {
        0 => 0,
        rows if rows > ROWS_MAX => 0,
        rows => rows as usize,
    };
    let owners = vec(programs(sites), owners);
    let first = programs(sites);
    (any::<bool>(), owners, first, others).prop_map(move |(divided, owners, first, others)| {
        let owners = if divided { owners } else { Vec::new() };
        let rest = match owners.is_empty() {
            true => std::iter::once(first)
                .chain(others)
                .take(most.max(1))
                .collect(),
            false => others,
        };
        members(owners, rest)
    })
}

/// Chooses an order, as [`scheduler`](interloom_engine::scheduler::scheduler) reads it; it shrinks
/// towards `in-order`.
pub fn schedules() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("in-order".to_owned()),
        any::<u64>().prop_map(|seed| format!("shuffle:{seed}")),
        (1u32..4, 1u32..32, any::<u64>())
            .prop_map(|(depth, length, seed)| format!("pct:{depth}:{length}:{seed}")),
    ]
}

/// What a program does at one site.
#[derive(Clone, Copy, Debug)]
enum Act {
    Nothing,
    Read,
    Save,
    Scale(f64),
    Shift(f64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Nothing),
        1 => Just(Act::Read),
        1 => Just(Act::Save),
        1 => select(&NUMBERS[..]).prop_map(Act::Scale),
        1 => select(&NUMBERS[..]).prop_map(Act::Shift),
    ]
}

fn program(sites: &[String], acts: &[Act]) -> Program {
    let mut program = Program::new();
    for (place, (site, act)) in sites.iter().zip(acts).enumerate() {
        let variable = format!("h{place}");
        program = match *act {
            Act::Nothing => program,
            Act::Read => program.read(site, &variable),
            Act::Save => program.read(site, &variable).save(&variable),
            Act::Scale(by) => program.write(site, read(site) * by),
            Act::Shift(by) => program.write(site, read(site) + by),
        };
    }
    match sites.first() {
        // One that asks for nothing would never fire.
        Some(site) if program.steps.is_empty() => program.read(site, "h0"),
        _ => program,
    }
}

fn members(owners: Vec<Program>, rest: Vec<Program>) -> Vec<Member> {
    let own = owners.into_iter().map(|program| (Some(1), program));
    let all = own.chain(rest.into_iter().map(|program| (None, program)));
    let member = |(place, (rows, program)): (usize, _)| Member {
        name: format!("m{place}"),
        rows,
        program,
    };
    all.enumerate().map(member).collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use interloom_backends::Run;
    use interloom_engine::scheduler::scheduler;
    use interloom_models::induction::{Induction, Sampler};

    use super::*;

    const SITES: [&str; 4] = [
        "embed.output",
        "layers.0.attn.z.output",
        "layers.0.output",
        "layers.1.output",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is made up is a run: nothing of it fails, and each mediator fires.
        #[test]
        fn what_is_made_up_runs(company in invokes(&SITES, 2, 3), order in schedules()) {
            let device = Device::flex();
            let model = Induction::trained(&device);
            let mut run = Run::new("company", model.sites());
            prop_assert!(!company.is_empty());
            let owned: u32 = company.iter().filter_map(|member| member.rows).sum();
            prop_assert!(owned == 0 || owned == 2);
            for member in &company {
                run.add(member.invoke(model.sites().map()).unwrap());
            }
            run.scheduler(scheduler(&order).unwrap());
            let ran = run.execute(|| model.forward(Sampler::new(1).batch(2).tokens(&device)));
            prop_assert!(ran.is_ok(), "{:?}", ran.err());
        }

        #[test]
        fn sites_are_those_that_are_wanted(
            site in sites(Induction::trained(&Device::flex()).sites().map(), |name| name.ends_with(".output"))
        ) {
            prop_assert!(site.ends_with(".output"));
        }
    }

    #[test]
    #[should_panic(expected = "no site of the model is wanted")]
    fn nothing_to_choose_from_is_said_at_once() {
        let _never_made = sites(&SiteMap::new(), |_| true);
    }
}
