//! Distributed alignment search on hierarchical equality, as in the notebook of pyvene: is a
//! network's first layer one of the causal model "are w and x equal, are y and z equal, are these
//! two answers equal"?
//!
//! A network is trained on 3 million inputs, and then, frozen, a rotation of its first block in
//! 2,000 steps. What is counted is on 12,800 interchange interventions that training has not seen:
//! how often the network answers as the causal model does.
//!
//! ```sh
//! cargo run --release -p interloom --example das -- 2
//! ```
//!
//! The argument is the seed of network, rotation and data.

mod task;

use interloom::interventions::{Learned, Rotation};
use interloom::prelude::*;

use task::{Network, Numbers, WIDTH};

/// As many steps as three times over 1,048,576 inputs in batches of 1024.
const STEPS: u32 = 3 * 1024;
/// Ten times over 200 batches.
const ALIGNING: usize = 2000;
/// How many interchange interventions are counted.
const COUNTED: usize = 12_800;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seed = std::env::args().nth(1).map_or(Ok(2), |seed| seed.parse())?;
    let device = Device::flex();
    let by_hand = Network::by_hand(&device);
    let mut numbers = Numbers::new(seed);
    let right = task::accuracy(&by_hand, &mut numbers, COUNTED, &device);
    println!("by hand: task accuracy {right:.4}");
    let unrotated = task::unrotated(&device);
    let right = task::interchange_accuracy(&by_hand, &unrotated, &mut numbers, COUNTED, &device)?;
    println!("by hand: interchange accuracy {right:.4}");

    let learning = Device::flex().autodiff();
    learning.seed(seed);
    let network = task::train(Network::drawn(&learning), &mut numbers, STEPS, &learning);
    let right = task::accuracy(&network, &mut numbers, COUNTED, &learning);
    println!("trained: task accuracy {right:.4}");
    let start = Rotation::new(WIDTH, WIDTH, &learning)?;
    for (name, rotation) in [
        ("as drawn", start.clone()),
        (
            "trained",
            task::align(&network, start, &mut numbers, ALIGNING, &learning)?,
        ),
    ] {
        let mut held_out = Numbers::new(!seed);
        let right =
            task::interchange_accuracy(&network, &rotation, &mut held_out, COUNTED, &learning)?;
        println!("trained: interchange accuracy {right:.4} with the rotation {name}");
        if name == "trained" {
            rotation.save("das.safetensors")?;
            println!("the rotation is in das.safetensors");
        }
    }
    Ok(())
}
