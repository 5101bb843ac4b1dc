//! The experiment: a small model, three mediators, and all that can be different about it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use burn::module::{Module, Param, ParamId};
use burn::nn::{Linear, LinearConfig, Relu};
use burn::tensor::{Device, Tensor, TensorData};
use interloom::{Conclusion, Error, Mode, Session};
use interloom_backends::{Bound, Forward, Hooked, Run, Value};
use interloom_engine::{CacheSpec, Fault, MediatorId, ScheduleError, Scheduler, Site};
use interloom_journal::Policy;

/// Rows of the batch, and width of the input.
pub(crate) const INPUT: [usize; 2] = [2, 4];
const HIDDEN: usize = 8;
const OUTPUT: usize = 3;

/// A change of a parameter: its path, the number in it, and what is added.
pub(crate) type Change = (&'static str, usize, f32);

/// What an experiment does; the default is what is recorded.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// By what the activation is multiplied.
    pub(crate) scale: f64,
    /// Where.
    pub(crate) site: &'static str,
    /// What the mediator is called that does it.
    pub(crate) name: &'static str,
    /// Whether it puts the product back.
    pub(crate) swaps: bool,
    /// Whether it reads the value again in the end.
    pub(crate) reads_again: bool,
    /// Whether it asks in the end for a site that has been passed.
    pub(crate) fails: bool,
    /// Whether the last mediator that is ready comes first.
    pub(crate) last_first: bool,
    /// Whether the first two mediators are defined the other way round.
    pub(crate) turned: bool,
    /// What is added to the first number of the input.
    pub(crate) input: f32,
    /// What is added to one number of a parameter: its path, which number, how much.
    pub(crate) weight: Option<Change>,
    /// Whether there is a mediator that goes through a table, and in which order.
    pub(crate) table: Option<Table>,
    /// Whether what comes after `act` is collected by caches alone: `split` by that of a mediator,
    /// `down` by that of the run.
    pub(crate) caches: bool,
    /// Whether there is a mediator whose swaps are refused, all of them, because they do not fit.
    pub(crate) careless: bool,
    /// How many arrivals the barrier `meet` has, if there is one.
    pub(crate) barrier: Option<u32>,
    /// How many steps the runs declare.
    pub(crate) steps: Option<u32>,
    /// Which runs there are, by number.
    pub(crate) runs: Range<usize>,
    /// What the journal keeps of tensors.
    pub(crate) policy: Policy,
}

/// In which order a mediator goes through its table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Table {
    /// By their names.
    Sorted,
    /// As a hash map gives them, which is another order in each map.
    Hashed,
}

impl Table {
    /// Makes a mediator that adds one number of the table after the other to the activation.
    fn add_mediator(self, run: &mut Run) {
        let entries = (0..12_u8).map(|number| (number, f64::from(number) + 0.5));
        let numbers: Vec<f64> = match self {
            Self::Sorted => entries.collect::<BTreeMap<_, _>>().into_values().collect(),
            Self::Hashed => entries.collect::<HashMap<_, _>>().into_values().collect(),
        };
        run.mediator("table", |cx| async move {
            let mut value = cx.output("act").await?;
            for number in numbers {
                value = value + number;
                cx.set_output("act", value.clone()).await?;
            }
            Ok(())
        });
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            scale: 2.0,
            site: "act",
            name: "scale",
            swaps: true,
            reads_again: false,
            fails: false,
            last_first: false,
            turned: false,
            input: 0.0,
            weight: None,
            table: None,
            caches: false,
            careless: false,
            barrier: None,
            steps: None,
            runs: 0..2,
            policy: Policy::Digest,
        }
    }
}

/// Makes the experiment in this mode.
pub(crate) fn make(mode: Mode, plan: &Plan) -> Result<Conclusion, Error> {
    let device = Device::flex();
    let model = Bound::new(Hooked::from(Net::new(plan.weight, &device)))?;
    let x = Tensor::<2>::from_data(TensorData::new(input(plan.input), INPUT), &device);
    let session = Session::of(&model).policy(plan.policy);
    let mut session = session.input("x", x.clone()).open(mode)?;
    for number in plan.runs.clone() {
        let run = plan.run(number, &model);
        let ran = session.run(run, || model.forward(x.clone()));
        match ran {
            Err(Error::Forward(error)) if plan.fails => assert_eq!(error.code(), "E002"),
            ran => drop(ran?),
        }
    }
    session.conclude()
}

impl Plan {
    fn run(&self, number: usize, model: &Bound<Hooked<Net>>) -> Run {
        let mut run = Run::new(format!("run {number}"), model.sites());
        if self.last_first {
            run.scheduler(LastFirst);
        }
        if let Some(participants) = self.barrier {
            run.barrier("meet", participants);
        }
        if let Some(steps) = self.steps {
            run.steps(steps);
        }
        if self.caches {
            run.cache(CacheSpec::of(["down"]));
            run.mediator("collect", |cx| async move {
                cx.cache(CacheSpec::of(["split"])).await
            });
            self.scaling(&mut run);
            return run;
        }
        if self.turned {
            self.scaling(&mut run);
            watching(&mut run);
        } else {
            watching(&mut run);
            self.scaling(&mut run);
        }
        if let Some(table) = self.table {
            table.add_mediator(&mut run);
        }
        if self.careless {
            careless(&mut run);
        }
        run.mediator("logits", |cx| async move { cx.output("").await });
        run
    }

    fn scaling(&self, run: &mut Run) {
        let plan = self.clone();
        run.mediator(self.name, |cx| async move {
            let value = cx.output(plan.site).await?;
            if plan.swaps {
                cx.set_output(plan.site, value * plan.scale).await?;
            }
            if plan.reads_again {
                cx.output(plan.site).await?;
            }
            if plan.fails {
                cx.output("up").await?;
            }
            Ok(())
        });
    }
}

/// Reads one value after another, the last of them a tuple.
fn watching(run: &mut Run) {
    run.mediator("watch", |cx| async move {
        cx.output("up").await?;
        cx.output("act").await?;
        cx.output("split").await?;
        Ok(())
    });
}

/// Swaps in what does not fit, is refused each time, and goes on.
fn careless(run: &mut Run) {
    run.mediator("careless", |cx| async move {
        let wide = cx.output("act").await?;
        let entries = [
            ("wide".into(), wide.clone()),
            ("a: b, c".into(), Value::Int(-1)),
        ];
        let text = Value::Text("\", found f32[2, 8]; \n".into());
        for value in [
            Value::Unit,
            text.clone(),
            Value::Tuple([wide.clone(), wide.clone()].into()),
            Value::List([wide.clone(), Value::List([].into())].into()),
            Value::Map(entries.into()),
        ] {
            is_refused(cx.set_output("act", value).await)?;
        }
        let halves = cx.output("split").await?;
        let half = halves.item(0)?;
        for value in [
            wide.clone(),
            Value::Tuple([half.clone(), wide].into()),
            Value::Tuple([half.clone(), text].into()),
            Value::Tuple([half.clone(), half.clone(), Value::Unit].into()),
            Value::List([half.clone(), half].into()),
        ] {
            is_refused(cx.set_output("split", value).await)?;
        }
        Ok(())
    });
}

fn is_refused(answer: Result<(), Fault>) -> Result<(), Fault> {
    match answer {
        Err(fault) if fault.code() == "E004" => Ok(()),
        other => Err(Fault::raise(format!("it was not refused: {other:?}"))),
    }
}

/// Two layers; what the first puts out is cut in half.
#[derive(Module, Debug)]
pub(crate) struct Net {
    up: Hooked<Linear>,
    act: Hooked<Relu>,
    split: Hooked<Split>,
    down: Hooked<Linear>,
}

/// Multiplies each column by a number, and cuts what comes out in two.
#[derive(Module, Debug)]
struct Split {
    gain: Param<Tensor<1>>,
}

impl Forward<Tensor<2>> for Split {
    type Output = (Tensor<2>, Tensor<2>);

    fn forward(&self, x: Tensor<2>) -> Self::Output {
        let x = x * self.gain.val().unsqueeze::<2>();
        let [rows, width] = x.dims();
        let half = |columns| x.clone().slice([0..rows, columns]);
        (half(0..width / 2), half(width / 2..width))
    }
}

impl Forward<Tensor<2>> for Net {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = self.act.forward(self.up.forward(x));
        let (left, right) = self.split.forward(hidden);
        self.down.forward(left + right)
    }
}

impl Net {
    fn new(change: Option<Change>, device: &Device) -> Self {
        let changed = |name| change.filter(|(changed, ..)| *changed == name);
        let [up, gain, down] = ["up.weight", "split.gain", "down.weight"].map(changed);
        let gain = parameter([HIDDEN], 2, gain, device);
        Self {
            up: linear([INPUT[1], HIDDEN], 1, up, device).into(),
            act: Relu::new().into(),
            split: Split { gain }.into(),
            down: linear([HIDDEN / 2, OUTPUT], 3, down, device).into(),
        }
    }
}

fn linear(shape: [usize; 2], number: u64, change: Option<Change>, device: &Device) -> Linear {
    let config = LinearConfig::new(shape[0], shape[1]).with_bias(false);
    Linear {
        weight: parameter(shape, number, change, device),
        ..config.init(device)
    }
}

fn parameter<const D: usize>(
    shape: [usize; D],
    number: u64,
    change: Option<Change>,
    device: &Device,
) -> Param<Tensor<D>> {
    let length = shape.iter().product();
    let mut numbers: Vec<f32> = (0..length).map(|index| eighths(index * 7 + 3)).collect();
    if let Some((_, index, added)) = change {
        numbers[index] += added;
    }
    let tensor = Tensor::from_data(TensorData::new(numbers, shape), device);
    Param::initialized(ParamId::from(number), tensor)
}

fn input(added: f32) -> Vec<f32> {
    let mut input: Vec<f32> = (0..INPUT[0] * INPUT[1])
        .map(|index| eighths(index * 5 + 9))
        .collect();
    input[0] += added;
    input
}

/// Returns a small number without rounding errors, whatever is done with few of them.
fn eighths(seed: usize) -> f32 {
    (seed % 13) as f32 / 8.0 - 0.5
}

/// Definition order, backwards.
struct LastFirst;

impl Scheduler for LastFirst {
    fn choose(&mut self, _: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
        Ok(ready.len() - 1)
    }

    fn describe(&self) -> String {
        "last first".to_owned()
    }
}
