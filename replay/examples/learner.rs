//! Trains a classifier with burn's `Learner`, with a mediator in each step: a training run that is
//! recorded, and can be killed, resumed and verified.
//!
//! ```sh
//! cargo run --release -p interloom --features train --example learner -- --journal run
//! cargo run --release -p interloom --features train --example learner -- --journal run --verify 30..40
//! cargo run --release -p interloom --features train --example learner -- --journal run --resume --epochs 4
//! cargo run --release -- show run
//! ```
//!
//! The task: is a point of a square inside of a circle? While it learns, one hidden unit is
//! silenced, so that the classifier does not come to need it. Burn shows progress and metrics, and
//! keeps its own checkpoints, as without Interloom.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::InMemDataset;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig, Relu};
use burn::optim::AdamConfig;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{
    ClassificationOutput, InferenceStep, Learner, SupervisedTraining, TrainOutput, TrainStep,
};
use clap::Parser;
use interloom::training::learner::{OrderedLoader, Recorder, step};
use interloom::training::{DataOrder, Training, cross_entropy};
use interloom::{Error, Hooked, Run};
use interloom_backends::Forward;

mod arguments;

use arguments::{TrainingArguments, ended};

/// Trains a classifier with burn's `Learner`.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    training: TrainingArguments,
    #[arg(long, default_value_t = 2)]
    epochs: usize,
    /// What weights, points and their order are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where burn puts its metrics and checkpoints.
    #[arg(long, default_value = "burn-artifacts")]
    artifacts: PathBuf,
}

/// `[batch, 2]` points to `[batch, 2]` logits.
#[derive(Module, Debug)]
struct Classifier {
    up: Hooked<Linear>,
    act: Hooked<Relu>,
    down: Hooked<Linear>,
}

const HIDDEN: usize = 32;

impl Classifier {
    fn new(device: &Device) -> Self {
        Self {
            up: LinearConfig::new(2, HIDDEN).init(device).into(),
            act: Relu::new().into(),
            down: LinearConfig::new(HIDDEN, 2).init(device).into(),
        }
    }

    fn classify(&self, batch: Batch) -> ClassificationOutput {
        let logits = self.forward(batch.points);
        let loss = cross_entropy(logits.clone(), batch.classes.clone());
        ClassificationOutput::new(loss, logits, batch.classes)
    }
}

impl Forward<Tensor<2>> for Classifier {
    type Output = Tensor<2>;

    fn forward(&self, points: Tensor<2>) -> Tensor<2> {
        self.down.forward(self.act.forward(self.up.forward(points)))
    }
}

impl TrainStep for Classifier {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        step(self, silence_a_unit, || {
            let output = self.classify(batch);
            (output.loss.clone(), output)
        })
    }
}

impl InferenceStep for Classifier {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.classify(batch)
    }
}

/// The mediator of each step.
fn silence_a_unit(run: &mut Run) {
    run.mediator("silence", async |cx| {
        let hidden = cx.output("act").await?.tensor::<2>()?;
        let rows = hidden.dims()[0];
        let zeros = Tensor::zeros([rows, 1], &hidden.device());
        cx.set_output("act", hidden.slice_assign([0..rows, 3..4], zeros))
            .await
    });
}

#[derive(Clone, Debug)]
struct Point {
    x: f32,
    y: f32,
}

impl Point {
    /// The points of a square of a grid whose position depends on a seed.
    fn draw(seed: u64, count: usize) -> InMemDataset<Self> {
        let order = DataOrder::new(seed, 1 << 20).expect("a grid of points");
        let at = |item: u64| (item as f32 + 0.5) / 1024.0 * 2.0 - 1.0;
        let point = |position| {
            let item = order.item(0, position);
            Self {
                x: at(item % 1024),
                y: at(item / 1024),
            }
        };
        InMemDataset::new((0..count as u64).map(point).collect())
    }

    fn is_inside(&self) -> bool {
        self.x * self.x + self.y * self.y < 0.5
    }
}

struct Points;

#[derive(Clone, Debug)]
struct Batch {
    points: Tensor<2>,
    classes: Tensor<1, Int>,
}

impl Batcher<Point, Batch> for Points {
    fn batch(&self, points: Vec<Point>, device: &Device) -> Batch {
        let count = points.len();
        let classes = points.iter().map(|point| i64::from(point.is_inside()));
        let classes = TensorData::new(classes.collect::<Vec<_>>(), [count]);
        let points = points.iter().flat_map(|point| [point.x, point.y]);
        let points = TensorData::new(points.collect::<Vec<_>>(), [count, 2]);
        Batch {
            points: Tensor::from_data(points, device),
            classes: Tensor::from_data(classes, device),
        }
    }
}

const TRAINED: usize = 2000;
const HELD_OUT: usize = 500;

fn main() -> ExitCode {
    ended(run(&Arguments::parse()).map_err(Into::into))
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let Arguments { seed, epochs, .. } = *arguments;
    let device = Device::flex().autodiff();
    let order = DataOrder::new(seed, TRAINED as u64)?;
    let train = OrderedLoader::new(Point::draw(seed, TRAINED), Points, 32, order, &device)?;
    let held_out = Point::draw(seed + 1, HELD_OUT);
    let held_out = OrderedLoader::new(
        held_out,
        Points,
        100,
        DataOrder::sequential(HELD_OUT as u64)?,
        &device,
    )?;
    let settings = Training::of(seed, &device).checkpoint_every(20);
    let mode = arguments.training.mode();
    // Opened once burn has its learner ready.
    let recorder = Recorder::new("classifier", &train, settings, move |settings, state| {
        settings.open(mode, state)
    });
    let training = SupervisedTraining::new(&arguments.artifacts, train, valid(held_out))
        .metrics((AccuracyMetric::new(), LossMetric::new()))
        .num_epochs(epochs)
        .with_default_checkpointers()
        .with_application_logger(None)
        .summary()
        .with_training_strategy(recorder.strategy());
    device.seed(seed);
    let adam = AdamConfig::new().init();
    training.launch(Learner::new(Classifier::new(&device), adam, 1e-2));
    let training = recorder.training()?;
    let next = training.next();
    training.finish()?;
    if !arguments.training.say_verified() {
        println!("{next} steps");
    }
    Ok(())
}

fn valid(loader: Arc<OrderedLoader<Point, Batch>>) -> Arc<dyn DataLoader<Batch>> {
    loader
}
