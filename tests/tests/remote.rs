//! A session and a training run on a device that a server of burn's has, on this machine.
//!
//! `cargo test -p interloom-tests --features remote --test remote`

use std::net::TcpListener;
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::thread;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig, Tanh};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::remote::RemoteHost;
use burn::server::{RemoteServer, WebSocketTransport};
use burn::tensor::distributed::{
    DistributedConfig, DistributedContext, ReduceOperation, all_reduce,
};
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use interloom::journal::training::{Ledger, StepLine, first_parting};
use interloom::training::{DataOrder, Trained, Training, TrainingBuilder};
use interloom::{Error, Hooked, Run, Session, Sites, backward};
use interloom_backends::{Forward, device_name};

/// Burn's seeds are global to the process, and the server is in it.
static ALONE: Mutex<()> = Mutex::new(());

/// The device of a server of burn's, which has this machine's CPU.
fn remote() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let device = DEVICE.get_or_init(|| served(1).remove(0));
    device.clone()
}

/// Devices of a new server.
fn served(count: usize) -> Vec<Device> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    #[allow(clippy::disallowed_methods, reason = "the server")]
    thread::spawn(move || {
        let server = RemoteServer::new(vec![Device::flex(); count]);
        server.serve(WebSocketTransport::from_listener(listener))
    });
    let host = RemoteHost::websocket(&url);
    host.devices().expect("a connection").into_vec()
}

#[derive(Module, Debug)]
struct Net {
    up: Hooked<Linear>,
    act: Hooked<Tanh>,
    down: Hooked<Linear>,
}

impl Forward<Tensor<2>> for Net {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.down.forward(self.act.forward(self.up.forward(x)))
    }
}

/// A net whose weights are drawn here, wherever it is.
fn net(device: &Device) -> Net {
    let drawn = Device::flex().autodiff();
    drawn.seed(7);
    let net = Net {
        up: LinearConfig::new(3, 6).init(&drawn).into(),
        act: Tanh::new().into(),
        down: LinearConfig::new(6, 2).init(&drawn).into(),
    };
    net.fork(device)
}

/// Changes an activation and two gradients.
fn damp(run: &mut Run, net: &Net) {
    run.mediator("damp", async |cx| {
        let act = cx.output("act").await?;
        cx.set_output("act", act * 1.01).await?;
        cx.update_grad("up.output", |gradient| gradient * 0.5)
            .await?;
        cx.update_grad("down.bias", |gradient| gradient * 0.9).await
    })
    .gradients(["up", "down.bias"]);
    run.parameters(net);
}

fn settings(device: &Device) -> TrainingBuilder {
    Training::of(7, device).checkpoint_every(5)
}

fn train(
    mut training: Training,
    state: &mut Trained<Net>,
    device: &Device,
    total: u64,
) -> Result<(), Error> {
    let sites = Sites::bind(&state.module)?;
    let order = DataOrder::new(7, 40)?;
    while training.goes_on(total) {
        training.step(state, |step, state| {
            let items = step.items(&order, 8);
            let x: Vec<f32> = items.iter().map(|item| *item as f32 / 40.0).collect();
            let x = Tensor::<2>::from_data(TensorData::new(x, [8, 1]), device);
            // Drawn by the server, from the seed of the step.
            let noise = Tensor::<2>::random([8, 2], Distribution::Normal(0.0, 0.01), device);
            let target = x.clone().repeat_dim(1, 2).sin() + noise;
            let mut run = step.run(&sites);
            damp(&mut run, &state.module);
            let (loss, gradients) = step.record(run, || {
                let output = state.module.forward(x.repeat_dim(1, 3));
                let loss = (output - target).square().mean();
                let gradients = backward(&loss);
                (loss.into_scalar::<f32>(), gradients)
            })?;
            let gradients = GradientsParams::from_grads(gradients, &state.module);
            step.update(state, 0.01, gradients)?;
            Ok(f64::from(loss))
        })?;
    }
    training.finish()
}

fn state(device: &Device) -> Trained<Net> {
    Trained::new("net", net(device), AdamWConfig::new().init())
}

fn recorded(folder: &Path, device: &Device) -> Ledger {
    let mut state = state(device);
    let training = settings(device).record(folder, &mut state).unwrap();
    train(training, &mut state, device, 12).unwrap();
    Ledger::read(folder).unwrap()
}

#[test]
fn a_training_run_on_a_server_is_recorded_resumed_and_verified() {
    let _alone = ALONE.lock();
    let scratch = tempfile::tempdir().unwrap();
    let [whole, parts, here] = ["whole", "parts", "here"].map(|name| scratch.path().join(name));
    let device = remote().autodiff();
    assert_eq!(device_name(&device), "remote");
    let whole_ledger = recorded(&whole, &device);
    assert_eq!(whole_ledger.head().environment.arithmetic, "exact");

    // Another process would connect anew; what it needs is the folder.
    for total in [7, 12] {
        let mut state = state(&device);
        let training = settings(&device).record_or_resume(&parts, &mut state);
        train(training.unwrap(), &mut state, &device, total).unwrap();
    }
    let parts = Ledger::read(&parts).unwrap();
    assert_eq!(first_parting(&whole_ledger, &parts).unwrap(), None);
    let mut again = state(&device);
    let training = settings(&device).verify(&whole, 6..11, &mut again);
    train(training.unwrap(), &mut again, &device, 12).unwrap();

    // The server computes what this process would: with the same build, the same bits.
    let here = recorded(&here, &Device::flex().autodiff());
    let digests = |line: &StepLine| (line.gradients, line.optimizer, line.parameters);
    for (served, local) in whole_ledger.lines().iter().zip(here.lines()) {
        assert_eq!(served.loss.to_bits(), local.loss.to_bits());
        assert_eq!(digests(served), digests(local));
    }
    // But it does not go on there: the device is another one.
    let local = Device::flex().autodiff();
    let error = settings(&local).resume(&whole, &mut state(&local)).err();
    assert_eq!(error.expect("a refusal").code(), "E087");
}

#[test]
fn a_session_on_a_server_is_recorded_and_verified() {
    let _alone = ALONE.lock();
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a.ilj");
    let device = remote().autodiff();
    let net = net(&device);
    let sites = Sites::bind(&net).unwrap();
    let run = |mut session: Session| {
        let mut run = Run::new("damped", &sites);
        damp(&mut run, &net);
        let x = Tensor::<2>::ones([2, 3], &device);
        session
            .run(run, || backward(&net.forward(x).sum()))
            .unwrap();
        session.finish().unwrap();
    };
    run(Session::of(&(&net, &sites)).record(&path).unwrap());
    run(Session::of(&(&net, &sites)).verify(&path).unwrap());
}

/// What burn's training of replicas needs of its devices.
///
/// `cargo test -p interloom-tests --features remote --test remote collective -- --ignored`
#[test]
#[ignore = "burn's panic ends the other servers of this process, too"]
fn a_server_with_cpus_has_no_collective_operations() {
    let devices = served(2);
    let mean = ReduceOperation::Mean;
    let config = DistributedConfig {
        all_reduce_op: mean,
    };
    let _context = DistributedContext::init(devices.clone(), config);
    let reduced = devices.iter().map(|device| {
        let gradient = Tensor::<1>::ones([2], device);
        all_reduce(gradient, mean, devices.clone())
    });
    // The server's session panics, "not implemented".
    let reduced: Vec<_> = reduced.collect();
    assert!(
        reduced
            .into_iter()
            .all(|it| it.resolve().try_to_data().is_err())
    );
}
