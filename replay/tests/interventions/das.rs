//! Distributed alignment search on hierarchical equality, with the task of the example `das`.

#[path = "../../examples/das/task.rs"]
mod task;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::TensorData;
use interloom::interventions::Rotation;

use super::*;
use task::{Network, Numbers, WIDTH};

#[test]
fn a_network_made_by_hand_is_one_of_the_causal_model() {
    let device = Device::flex();
    let network = Network::by_hand(&device);
    let mut numbers = Numbers::new(3);
    assert_eq!(task::accuracy(&network, &mut numbers, 12_800, &device), 1.0);
    let mut accuracy = |rotation: &Rotation| {
        task::interchange_accuracy(&network, rotation, &mut numbers, 12_800, &device).unwrap()
    };
    assert_eq!(accuracy(&task::unrotated(&device)), 1.0);
    // Any other basis of the two halves is as good, and one across them is not.
    let halves = Tensor::<2>::eye(WIDTH, &device);
    let turned = numbers_in_halves(&device);
    let within = Rotation::of(halves.clone() + turned.clone()).unwrap();
    assert_eq!(accuracy(&within), 1.0);
    let across = Rotation::of(halves + turned.flip([1])).unwrap();
    assert!(accuracy(&across) < 0.9);
}

/// Numbers that leave each half of the dimensions to itself.
fn numbers_in_halves(device: &Device) -> Tensor<2> {
    let half = WIDTH / 2;
    let zeros = Tensor::<2>::zeros([half, half], device);
    let first = Tensor::cat(vec![numbers(1, [half, half], device), zeros.clone()], 1);
    let second = Tensor::cat(vec![zeros, numbers(2, [half, half], device)], 1);
    Tensor::cat(vec![first, second], 0)
}

/// What the example does, in fewer steps: a rotation that begins anywhere learns directions in
/// which the network is more of the causal model than it was.
#[test]
fn a_rotation_learns_the_variables_of_a_network() {
    let device = Device::flex().autodiff();
    let network = trained(3, 300, &device);
    let start = Rotation::of(numbers(7, [WIDTH, WIDTH], &device)).unwrap();
    let before = accuracy(&network, &start, 1280, &device);
    let learned = task::align(&network, start, &mut Numbers::new(5), 60, &device).unwrap();
    let after = accuracy(&network, &learned, 1280, &device);
    assert!(defect(&learned.directions()) <= 1e-6);
    assert!(after > before + 0.1, "{before} {after}");
}

/// The whole of it, as the example does, but with numbers that no other test draws: `cargo test
/// --release -p interloom --test interventions -- --ignored --nocapture das`.
#[test]
#[ignore = "minutes: cargo test --release --workspace --test interventions -- --ignored das"]
fn das_reaches_what_it_does_in_pyvene() {
    let device = Device::flex().autodiff();
    let accuracies = [1, 2, 3, 4, 5].map(|seed| {
        let network = trained(seed, 3 * 1024, &device);
        let start = Rotation::of(numbers(6 + seed as u32, [WIDTH, WIDTH], &device)).unwrap();
        let mut drawn = Numbers::new(4 + seed);
        let learned = task::align(&network, start, &mut drawn, 2000, &device).unwrap();
        let accuracy = accuracy(&network, &learned, 12_800, &device);
        println!("seed {seed}: interchange accuracy {accuracy}");
        accuracy
    });
    // That of pyvene's notebook, for each seed.
    assert!(accuracies.iter().all(|it| *it >= 0.97), "{accuracies:?}");
}

/// A network that is trained for some steps, from weights that the seed draws.
fn trained(seed: u64, steps: u32, device: &Device) -> task::BoundNetwork {
    let network = Network::drawn(device).map(|network| {
        network.map(&mut Redrawn {
            numbers: Numbers::new(seed),
        })
    });
    task::train(network, &mut Numbers::new(1), steps, device)
}

fn accuracy(
    network: &task::BoundNetwork,
    rotation: &Rotation,
    count: usize,
    device: &Device,
) -> f64 {
    let mut held_out = Numbers::new(6);
    task::interchange_accuracy(network, rotation, &mut held_out, count, device).unwrap()
}

/// Draws parameters anew from [`Numbers`]: burn's own are global to the process, and other tests
/// draw some, too.
struct Redrawn {
    numbers: Numbers,
}

impl ModuleMapper for Redrawn {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let shape = tensor.dims();
            let count = shape.iter().product();
            let values: Vec<f32> = (0..count).map(|_| self.numbers.number() / 4.0).collect();
            let data = TensorData::new(values, shape);
            Tensor::from_data(data, &tensor.device()).set_require_grad(true)
        })
    }
}
