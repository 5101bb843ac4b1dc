//! Burn's `Learner`: the run that a hand-written loop makes, killed, verified, forked and refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::{Dataset as _, InMemDataset};
use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};
use burn::module::Module;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::distributed::{DistributedConfig, ReduceOperation};
use burn::tensor::{Device, Distribution, Tensor};
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::store::{Aggregate, Direction, Split};
use burn::train::metric::{LossMetric, MetricDefinition};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use burn::train::{
    ExecutionStrategy, InferenceStep, Learner, LearningResult, MetricEarlyStoppingStrategy,
    RegressionOutput, StoppingCondition, SupervisedTraining, TrainOutput, TrainStep,
    TrainingStrategy,
};
use insta::assert_snapshot;
use interloom::journal::training::{Ledger, StepPhase, first_parting};
use interloom::training::learner::{LearnerState, OrderedLoader, Recorder, replicas, step};
use interloom::training::{DataOrder, Training, TrainingBuilder};
use interloom::{Error, Run};
use interloom_backends::Forward as _;

use crate::kills::passing;
use crate::net::{
    FED, ITEMS, Net, PART, SEED, alone, damp, device, fresh_net, loss, rate_of, record, settings,
};

const EPOCH: u64 = ITEMS / FED as u64;

/// How many steps the schedule has begun, for a process to kill itself in one of them.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// The net, as burn trains it.
impl TrainStep for Net {
    type Input = Vec<u64>;
    type Output = RegressionOutput;

    fn step(&self, items: Vec<u64>) -> TrainOutput<RegressionOutput> {
        let output = step(
            self,
            |run| damped(run, self),
            || {
                let loss = loss(self, &items);
                (loss.clone(), of_loss(loss))
            },
        );
        passing(BEGUN.load(Ordering::Relaxed), "a part of the batch");
        output
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        gradients: GradientsParams,
    ) -> Self {
        let number = BEGUN.load(Ordering::Relaxed) - 1;
        passing(number, "before the update");
        let updated = optimizer.step(rate, self, gradients);
        passing(number, "after the update");
        updated
    }
}

impl InferenceStep for Net {
    type Input = Vec<u64>;
    type Output = RegressionOutput;

    fn step(&self, items: Vec<u64>) -> RegressionOutput {
        of_loss(loss(self, &items))
    }
}

fn damped(run: &mut Run, net: &Net) {
    damp(run);
    run.parameters(net);
}

/// The metric of the loss is all that is looked at.
fn of_loss(loss: Tensor<1>) -> RegressionOutput {
    let nothing = Tensor::zeros([1, 1], &loss.device());
    RegressionOutput::new(loss, nothing.clone(), nothing)
}

/// The schedule of the hand-written loop.
#[derive(Clone)]
struct Decay(u64);

impl LrScheduler for Decay {
    fn step(&mut self) -> f64 {
        self.0 += 1;
        BEGUN.store(self.0, Ordering::Relaxed);
        rate_of(self.0 - 1)
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar("step", self.0)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        self.0 = record.scalar("step").expect("a step");
        BEGUN.store(self.0, Ordering::Relaxed);
    }
}

#[derive(Clone)]
struct Items;

impl Batcher<u64, Vec<u64>> for Items {
    fn batch(&self, items: Vec<u64>, _: &Device) -> Vec<u64> {
        items
    }
}

type Loader = OrderedLoader<u64, Vec<u64>>;

fn items() -> InMemDataset<u64> {
    InMemDataset::new((0..ITEMS).collect())
}

fn loader(on: &Device) -> Arc<Loader> {
    OrderedLoader::new(
        items(),
        Items,
        PART,
        DataOrder::new(SEED, ITEMS).unwrap(),
        on,
    )
    .unwrap()
}

fn held_out() -> Arc<dyn DataLoader<Vec<u64>>> {
    let order = DataOrder::sequential(10).unwrap();
    let items = InMemDataset::new((ITEMS..ITEMS + 10).collect());
    OrderedLoader::new(items, Items, 5, order, &device().inner()).unwrap()
}

/// Where burn puts what it writes: beside the folder of the training run.
fn burns_folder(folder: &Path) -> PathBuf {
    folder.with_extension("burn")
}

fn learner() -> Learner<Net> {
    Learner::new(fresh_net(SEED), AdamWConfig::new().init(), Decay(0))
}

fn supervised(folder: &Path, loader: &Arc<Loader>, total: u64) -> SupervisedTraining<Net> {
    SupervisedTraining::new(burns_folder(folder), loader.clone(), held_out())
        .metrics((LossMetric::new(),))
        .num_epochs(total.div_ceil(EPOCH) as usize)
        .grads_accumulation(FED / PART)
        .with_application_logger(None)
        .renderer(Box::new(Quiet))
}

/// Opens a training run with the learner's state.
type Open = Box<dyn FnOnce(TrainingBuilder, &mut LearnerState<Net>) -> Result<Training, Error>>;

fn opened(
    open: impl FnOnce(TrainingBuilder, &mut LearnerState<Net>) -> Result<Training, Error> + 'static,
) -> Open {
    Box::new(open)
}

fn recorded(folder: &Path) -> Open {
    let folder = folder.to_owned();
    opened(move |settings, state| settings.record(folder, state))
}

fn record_or_resume(folder: &Path) -> Open {
    let folder = folder.to_owned();
    opened(move |settings, state| settings.record_or_resume(folder, state))
}

/// Launches a `Learner` whose training is opened so, with something changed about it.
fn launched(
    folder: &Path,
    total: u64,
    settings: TrainingBuilder,
    open: Open,
    change: impl FnOnce(SupervisedTraining<Net>) -> SupervisedTraining<Net>,
) -> (LearningResult<Net>, Result<Training, Error>) {
    let loader = loader(&device());
    let recorder = Recorder::new("net", &loader, settings, open);
    let training = supervised(folder, &loader, total).with_training_strategy(recorder.strategy());
    let result = change(training).launch(learner());
    (result, recorder.training())
}

/// Begins the run in a folder or goes on with it, up to `total` steps: what a process that is
/// killed does.
pub(crate) fn go_on(folder: &Path, total: u64) -> Result<(), Error> {
    let (_, training) = launched(folder, total, settings(), record_or_resume(folder), |it| it);
    training?.finish()
}

fn journals(folder: &Path) -> Vec<Vec<u8>> {
    let first = [
        "steps-00000000.ilj",
        "steps-00000010.ilj",
        "steps-00000020.ilj",
    ];
    first
        .map(|name| fs::read(folder.join(name)).unwrap())
        .into()
}

#[test]
fn r107_a_learner_makes_the_bits_of_a_loop_that_is_written_by_hand() {
    let _alone = alone();
    let scratch = tempfile::tempdir().unwrap();
    let [hand, burns] = ["hand", "burns"].map(|name| scratch.path().join(name));
    record(&hand, 25, None);
    go_on(&burns, 25).unwrap();

    // The exchanges of mediators, byte for byte: each with the digest of what passed.
    assert!(journals(&hand) == journals(&burns));
    let [hand, burns] = [hand, burns].map(|folder| Ledger::read(folder).unwrap());
    assert_eq!((hand.lines().len(), burns.lines().len()), (25, 25));
    for (by_hand, by_burn) in hand.lines().iter().zip(burns.lines()) {
        let step = by_hand.step;
        assert_eq!(by_hand.loss.to_bits(), by_burn.loss.to_bits());
        assert_eq!(by_hand.rate.to_bits(), by_burn.rate.to_bits());
        assert_eq!(by_hand.seed, by_burn.seed);
        assert_eq!(by_hand.batch, by_burn.batch);
        assert_eq!(by_hand.schedule, by_burn.schedule);
        assert_eq!(by_hand.exchanges, by_burn.exchanges);
        assert_eq!(by_hand.gradients, by_burn.gradients);
        assert_eq!(by_hand.parameters, by_burn.parameters);
        // Of the optimizer's state, the schedule and the plan are more than the loop has.
        let mut names = burns.names(step).unwrap().unwrap();
        names.retain(|named| named.name != "net.schedule" && named.name != "net.plan");
        assert_eq!(hand.names(step).unwrap().unwrap(), names);
    }
    let moments = burns.names(0).unwrap().unwrap();
    let moments = moments.iter().filter(|it| it.phase == StepPhase::Optimizer);
    assert!(moments.count() > 8);
}

/// Without a recorder, burn's own loop runs the mediators; and where nothing is drawn, a recorder
/// makes the weights of that loop.
#[test]
fn r107_mediators_run_in_burns_own_loop_and_to_the_same_end() {
    let _alone = alone();
    let scratch = tempfile::tempdir().unwrap();
    let by = |odd, train, strategy| {
        let result = odd_launched(odd, scratch.path(), train, strategy);
        result.model.net.up.inner().weight.val().into_data()
    };
    let single = || ExecutionStrategy::single(device()).into();
    let trained = |odd| by(odd, loader(&device()), single());
    // Burn puts the loader on a device with gradients, and so is it here.
    let train = loader(&Device::flex());
    let recorder = Recorder::new(
        "odd",
        &train,
        settings(),
        |settings, _| Ok(settings.plain()),
    );
    assert_eq!(
        trained(Odd::Scaled),
        by(Odd::Scaled, train, recorder.strategy())
    );
    assert_eq!(recorder.training().unwrap().next(), ITEMS / PART as u64);
    let (with, again, without) = (
        trained(Odd::Scaled),
        trained(Odd::Scaled),
        trained(Odd::Plain),
    );
    assert_eq!(with, again);
    assert_ne!(with, without);
}

#[test]
fn r104_a_learner_is_interrupted_verified_and_forked() {
    let _alone = alone();
    let scratch = tempfile::tempdir().unwrap();
    let [whole, stopped, fork] = ["whole", "stopped", "fork"].map(|it| scratch.path().join(it));
    go_on(&whole, 25).unwrap();
    // Burn's own handle ends it in the middle of an epoch, twice.
    for stop_after in [7, 9] {
        let open = record_or_resume(&stopped);
        let (result, training) = launched(&stopped, 25, settings(), open, |training| {
            let interrupter = training.interrupter();
            let logger = StopAfter {
                left: stop_after,
                interrupter,
            };
            training.with_progress_logger(logger)
        });
        assert!(result.interrupted.is_some() && result.error.is_none());
        training.unwrap().finish().unwrap();
    }
    go_on(&stopped, 25).unwrap();
    for file in ["ledger.ill", "names.ill", "steps-00000020.ilj"] {
        let [a, b] = [&whole, &stopped].map(|folder| fs::read(folder.join(file)).unwrap());
        assert!(a == b, "{file}");
    }

    // Steps of two epochs, from a checkpoint in the middle of one.
    let from = whole.clone();
    let open = opened(move |settings, state| settings.verify(from, 13..22, state));
    let (_, training) = launched(&whole, 25, settings(), open, |it| it);
    assert_eq!(training.unwrap().next(), 22);

    let (from, into) = (whole.clone(), fork.clone());
    let other = Training::of(SEED + 1, &device()).checkpoint_every(10);
    let open = opened(move |settings, state| settings.fork(from, 12, into, state));
    launched(&fork, 25, other, open, |it| it)
        .1
        .unwrap()
        .finish()
        .unwrap();
    let [whole, fork] = [whole, fork].map(|folder| Ledger::read(folder).unwrap());
    let parting = first_parting(&whole, &fork).unwrap().unwrap();
    assert_eq!((parting.step, parting.phase), (12, StepPhase::Seed));
}

/// Stops the training after some batches have been reported.
struct StopAfter {
    left: u32,
    interrupter: burn::train::Interrupter,
}

impl TrainingProgressLogger for StopAfter {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}
    fn start_split(&mut self, _: &str, _: usize) {}
    fn update_split(&mut self, _: usize) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.interrupter.stop(Some("enough"));
        }
    }
    fn update_epoch(&mut self, _: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

/// Stops two epochs after the one with the highest loss: the first, for the net learns.
fn early_stopping() -> MetricEarlyStoppingStrategy {
    MetricEarlyStoppingStrategy::new(
        &LossMetric::new(),
        Aggregate::Mean,
        Direction::Highest,
        Split::Valid,
        StoppingCondition::NoImprovementSince { n_epochs: 2 },
    )
}

#[test]
fn r107_early_stopping_and_burns_checkpoints_go_on_working_across_a_resume() {
    let _alone = alone();
    let scratch = tempfile::tempdir().unwrap();
    let [whole, resumed] = ["whole", "resumed"].map(|name| scratch.path().join(name));
    let run = |folder: &Path, epochs: u64| {
        let own = folder.to_owned();
        let open = opened(move |settings, state| settings.record_or_resume(own, state));
        let each_epoch = Training::of(SEED, &device()).checkpoint_every(EPOCH);
        let (_, training) = launched(folder, epochs * EPOCH, each_epoch, open, |training| {
            training
                .early_stopping(early_stopping())
                .with_default_checkpointers()
        });
        let training = training.unwrap();
        let made = training.next();
        training.finish().unwrap();
        made
    };
    assert_eq!(run(&whole, 9), 3 * EPOCH);
    assert_eq!(run(&resumed, 2), 2 * EPOCH);
    assert_eq!(run(&resumed, 9), 3 * EPOCH);
    // And it stays stopped.
    assert_eq!(run(&resumed, 9), 3 * EPOCH);
    let [a, b] = [&whole, &resumed].map(|it| fs::read(it.join("ledger.ill")).unwrap());
    assert!(a == b);
    for file in [
        "train/epoch-3/Loss.log",
        "valid/epoch-1/Loss.log",
        "valid/epoch-2/Loss.log",
        "valid/epoch-3/Loss.log",
    ] {
        let [a, b] = [&whole, &resumed].map(|it| fs::read(burns_folder(it).join(file)).unwrap());
        assert!(a.len() > 8 && a == b, "{file}");
    }
}

#[test]
fn r103_a_learner_that_is_fed_otherwise_does_not_go_on() {
    let _alone = alone();
    let scratch = tempfile::tempdir().unwrap();
    let run = scratch.path().join("run");
    go_on(&run, 15).unwrap();
    let open = record_or_resume(&run);
    let (_, training) = launched(&run, 25, settings(), open, |it| it.grads_accumulation(5));
    let error = training.err().expect("a refusal");
    assert_eq!(error.code(), "E079");
    let words = "it is of 40 items an epoch, 4 a batch, 2 batches a step, and now it is 40 items an epoch, 4 a batch, 5";
    assert!(error.to_string().contains(words), "{error}");
    go_on(&run, 25).unwrap();
}

fn refused(
    settings: TrainingBuilder,
    change: impl FnOnce(SupervisedTraining<Net>) -> SupervisedTraining<Net>,
) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("run");
    let own = folder.clone();
    let open = opened(move |settings, state| settings.record(own, state));
    let (result, training) = launched(&folder, 25, settings, open, change);
    let error = training.err().expect("a refusal");
    assert!(!folder.exists(), "nothing is begun");
    if let Some(told) = result.error {
        assert!(told.to_string().contains(error.code()));
    }
    format!("{} {error}", error.code())
}

#[test]
fn r107_what_cannot_hold_the_rule_is_refused_with_the_reason() {
    let _alone = alone();
    // A loader of burn's, with its own shuffle and two workers.
    let scratch = tempfile::tempdir().unwrap();
    let ordered = loader(&device());
    let burns = DataLoaderBuilder::new(Items)
        .batch_size(PART)
        .shuffle(SEED)
        .num_workers(2)
        .build(items());
    let recorder = Recorder::new("net", &ordered, settings(), recorded(scratch.path()));
    let training = SupervisedTraining::new(scratch.path(), burns, held_out())
        .with_application_logger(None)
        .renderer(Box::new(Quiet))
        .with_training_strategy(recorder.strategy());
    training.launch(learner());
    let error = recorder.training().err().expect("a refusal");
    assert_eq!(error.code(), "E128");
    assert_snapshot!(error, @"the training of this `Learner` cannot be recorded and resumed to the bit: its training data come from another loader than the `OrderedLoader` of its `Recorder`: burn's own loaders begin their shuffle anew after a resume, and with several workers deliver in the order of arrival; give `SupervisedTraining::new` a clone of that `Arc`");

    assert_snapshot!(refused(settings(), |it| it.checkpoint(2)), @"E128 the training of this `Learner` cannot be recorded and resumed to the bit: it begins from burn's checkpoint of epoch 2, which has no position in the data, no seeds, and an optimizer state that is dropped where it does not fit; leave `checkpoint(2)` away, and resume the folder of the training run");
    let other = Training::of(SEED, &device()).checkpoint_every(7);
    assert_snapshot!(refused(other, |it| it.early_stopping(early_stopping())), @"E128 the training of this `Learner` cannot be recorded and resumed to the bit: early stopping judges whole epochs, of 5 steps, and the training run makes a checkpoint every 7 steps: after a resume in the middle of an epoch its metrics would be of the rest of it; call `checkpoint_every(5)`, or leave early stopping away");
    let single = || TrainingStrategy::Default(ExecutionStrategy::single(device()));
    assert_snapshot!(refused(settings(), |it| it.with_training_strategy(single())), @"E128 the training of this `Learner` cannot be recorded and resumed to the bit: it was launched with another strategy, or not at all: burn's strategies for several devices train on a thread for each, and their loops cannot be entered at a step; call `with_training_strategy(recorder.strategy())` last, and launch before asking for the training run");
}

#[test]
fn what_fails_in_a_step_ends_the_training_with_its_error() {
    let _alone = alone();
    let error_of = |odd| {
        let scratch = tempfile::tempdir().unwrap();
        let train = loader(&device());
        let own = scratch.path().join("run");
        let record = |settings: TrainingBuilder, state: &mut _| settings.record(own, state);
        let recorder = Recorder::new("odd", &train, settings(), record);
        let result = odd_launched(odd, scratch.path(), train, recorder.strategy());
        let error = recorder.training().err().expect("an error");
        let told = result
            .error
            .expect("an error that burn is told")
            .to_string();
        assert!(told.contains(error.code()), "{told}");
        format!("{} {error}", error.code())
    };
    assert!(error_of(Odd::Lost).starts_with("E001 mediator `lost` failed"));
    assert_snapshot!(error_of(Odd::Wide), @"E089 the loss of step 0 is a tensor of 2 numbers, expected one; take its mean or its sum");
    assert_snapshot!(error_of(Odd::Uncalled), @"E129 `TrainStep::step` of `OddNet` makes no call of `learner::step`, expected one for each batch, which gives the step its loss and its mediators; make the forward pass in `learner::step(self, mediators, || (loss, output))`");
    assert_snapshot!(error_of(Odd::CalledTwice), @"E129 `TrainStep::step` of `OddNet` makes two calls of `learner::step`, expected one for each batch, which gives the step its loss and its mediators; make the forward pass in `learner::step(self, mediators, || (loss, output))`");
}

fn odd_launched(
    odd: Odd,
    folder: &Path,
    train: Arc<Loader>,
    strategy: TrainingStrategy<OddNet>,
) -> LearningResult<OddNet> {
    *ODD.lock().unwrap() = odd;
    let training = SupervisedTraining::new(folder, train, held_out())
        .with_application_logger(None)
        .renderer(Box::new(Quiet))
        .with_training_strategy(strategy);
    let model = OddNet {
        net: fresh_net(SEED),
    };
    training.launch(Learner::new(model, AdamWConfig::new().init(), 0.01))
}

/// What [`OddNet`] does in a step.
#[derive(Clone, Copy)]
enum Odd {
    Plain,
    /// A mediator changes an activation.
    Scaled,
    /// A mediator asks for what is not there.
    Lost,
    /// The loss is a tensor of two numbers.
    Wide,
    /// The pass is not made as a step.
    Uncalled,
    CalledTwice,
}

static ODD: Mutex<Odd> = Mutex::new(Odd::Plain);

#[derive(Module, Debug)]
struct OddNet {
    net: Net,
}

impl TrainStep for OddNet {
    type Input = Vec<u64>;
    type Output = RegressionOutput;

    fn step(&self, items: Vec<u64>) -> TrainOutput<RegressionOutput> {
        let odd = *ODD.lock().unwrap();
        let forward = || {
            let loss = without_noise(&self.net, &items);
            let item = of_loss(loss.clone());
            match odd {
                Odd::Wide => (Tensor::cat(vec![loss.clone(), loss], 0), item),
                _ => (loss, item),
            }
        };
        let mediators = |run: &mut Run| match odd {
            Odd::Scaled => {
                run.mediator("scale", async |cx| {
                    cx.update_output("net.act", |h| h * 0.5).await
                });
            }
            Odd::Lost => {
                run.mediator("lost", async |cx| cx.output("net.nowhere").await.map(drop));
            }
            _ => {}
        };
        match odd {
            Odd::Uncalled => {
                let (loss, item) = forward();
                TrainOutput::new(self, loss.backward(), item)
            }
            Odd::CalledTwice => {
                step(self, mediators, forward);
                step(self, mediators, forward)
            }
            _ => step(self, mediators, forward),
        }
    }
}

impl InferenceStep for OddNet {
    type Input = Vec<u64>;
    type Output = RegressionOutput;

    fn step(&self, items: Vec<u64>) -> RegressionOutput {
        of_loss(without_noise(&self.net, &items))
    }
}

fn without_noise(net: &Net, items: &[u64]) -> Tensor<1> {
    let x: Vec<f32> = items.iter().map(|item| *item as f32 / 40.0).collect();
    let device = &net.devices()[0];
    let x = Tensor::<1>::from_floats(&x[..], device).reshape([items.len(), 1]);
    net.forward(x.repeat_dim(1, 3)).square().mean()
}

/// Burn's strategy for several devices on the CPU: its own words, and ours before it.
#[test]
fn replicas_need_collective_operations() {
    let config = || DistributedConfig {
        all_reduce_op: ReduceOperation::Mean,
    };
    let devices = || vec![device(), device()];
    let burn = std::panic::catch_unwind(|| ExecutionStrategy::ddp(devices(), config()));
    let burn = burn.err().expect("a panic of burn's");
    let words = burn.downcast_ref::<String>().expect("words");
    assert_snapshot!(words, @"Distributed operations are not supported for device Flex(Cpu)");
    let error = replicas(devices(), config()).err().expect("a refusal");
    assert_snapshot!(format!("{} {error}", error.code()), @"E131 burn 0.22.1 cannot train replicas on `cpu`: expected several GPUs, each once, for it adds gradients up with the collective operations of CUDA, and panics where there are none; train with `ExecutionStrategy::single`, or record one process a rank and reduce the gradients between them");
}

/// A build with burn's training loop has threads; a thread that records has none to share with.
#[test]
fn a_thread_that_records_sums_in_one_order() {
    let _alone = alone();
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("run");
    record(&folder, 1, None);
    let ledger = Ledger::read(&folder).unwrap();
    assert_eq!(
        ledger.head().environment.arithmetic,
        "one thread (burn-flex/rayon)"
    );
    let device = Device::flex();
    device.seed(SEED);
    let many = Tensor::<1>::random([9 << 20], Distribution::Default, &device);
    let sum = || many.clone().sum().into_scalar::<f32>().to_bits();
    let first = sum();
    assert!((0..30).all(|_| sum() == first));
}

#[test]
fn a_loader_delivers_epochs_in_order_and_its_slices_share_no_item() {
    let train = loader(&device());
    let order = DataOrder::new(SEED, ITEMS).unwrap();
    let epoch = |of: &dyn DataLoader<Vec<u64>>| -> Vec<u64> {
        let batches: Vec<Vec<u64>> = of.iter().collect::<Result<_, _>>().unwrap();
        assert!(batches.iter().all(|batch| batch.len() <= PART));
        batches.concat()
    };
    let expected = |epoch| -> Vec<u64> { (0..ITEMS).map(|at| order.item(epoch, at)).collect() };
    assert_eq!(epoch(&*train), expected(0));
    assert_eq!(epoch(&*train), expected(1));
    let moved = train.to_device(&device());
    assert_eq!(epoch(&*moved), expected(2));
    assert_eq!(epoch(&*train.from_epoch(7)), expected(7));
    let slices = [train.slice(0, 13), train.slice(13, 40)];
    let parts = slices.map(|slice| {
        assert!(slice.iter().progress().items_total == slice.num_items());
        slice
    });
    // Each has gone on to the epoch after the one that was looked at.
    assert_eq!(parts.map(|part| epoch(&*part)).concat(), expected(3));
    assert_eq!(items().len(), ITEMS as usize);
}

/// A renderer that shows nothing.
struct Quiet;

impl MetricsRendererTraining for Quiet {
    fn update_train(&mut self, _: MetricState) {}
    fn update_valid(&mut self, _: MetricState) {}
}

impl MetricsRendererEvaluation for Quiet {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl TrainingProgressLogger for Quiet {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}
    fn start_split(&mut self, _: &str, _: usize) {}
    fn update_split(&mut self, _: usize) {}
    fn update_epoch(&mut self, _: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

impl EvaluationProgressLogger for Quiet {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}

impl MetricsRenderer for Quiet {
    fn manual_close(&mut self) {}
    fn register_metric(&mut self, _: MetricDefinition) {}
}
