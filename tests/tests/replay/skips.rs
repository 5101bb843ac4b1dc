//! A pass of a skipped module counts for the sites inside it, which nothing else in a journal says.

use std::path::Path;

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData};
use interloom::{Error, Policy, Session};
use interloom_backends::{Bound, Forward, Hooked, Run};
use interloom_journal::divergence::compare_journals;
use interloom_journal::{Journal, races};

/// A residual block, whose layer is a site of its own.
#[derive(Module, Debug)]
struct Block {
    fc: Hooked<Linear>,
}

impl Forward<Tensor<2>> for Block {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.clone() + self.fc.forward(x)
    }
}

/// A block that is called three times.
#[derive(Module, Debug)]
struct Thrice {
    block: Hooked<Block>,
}

impl Forward<Tensor<2>> for Thrice {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        (0..3).fold(x, |x, _| self.block.forward(x))
    }
}

fn tensor(rows: usize, values: impl Fn(usize) -> f32) -> Tensor<2> {
    let values: Vec<f32> = (0..rows * 2).map(values).collect();
    Tensor::from_data(TensorData::new(values, [rows, 2]), &Device::flex())
}

/// Records a run of two rows whose second call of the block is skipped, and whose two mediators
/// give their row of what the layer in it puts out the third time.
fn record(path: &Path, weight: f32) -> Result<(), Error> {
    let fc = Linear {
        weight: Param::from_tensor(tensor(2, |place| weight * place as f32)),
        bias: None,
    };
    let block = Block { fc: fc.into() }.into();
    let model = Bound::new(Hooked::from(Thrice { block }))?;
    let mut session = Session::of(&model).policy(Policy::Full).record(path)?;
    let mut run = Run::new("run", model.sites());
    run.mediator("skip", async |cx| {
        // Nothing passes here but zeros, so that the weights show in the third iteration only.
        cx.skip_at("block.input.i1", tensor(2, |_| 1.0)).await
    });
    for name in ["a", "b"] {
        run.invoke(name, 1, async |cx| {
            cx.set("block.fc.output.i2", tensor(1, |_| 0.5)).await
        });
    }
    session.run(run, || model.forward(tensor(2, |_| 0.0)))?;
    session.finish()?;
    Ok(())
}

#[test]
fn what_is_in_a_repeated_module_is_known_by_its_iteration_after_a_skip() {
    let folder = tempfile::tempdir().unwrap();
    let paths = [("a.ilj", 0.25), ("b.ilj", 0.5)].map(|(name, weight)| {
        let path = folder.path().join(name);
        record(&path, weight).unwrap();
        path
    });
    let journal = Journal::load(&paths[0]).unwrap();
    let sites = journal.runs[0].visits.iter();
    let sites = sites.filter_map(|(_, visit)| visit.site());
    let sites = sites.map(|site| (journal.path(site.path).unwrap(), site.iteration));
    let sites: Vec<_> = sites.collect();
    assert_eq!(sites, [("block.input", 1), ("block.fc.output", 2)]);

    // Each has its row of what was brought in that iteration.
    assert_eq!(races(&journal)[0].races, []);

    let diff = compare_journals(&paths[0], &paths[1], 0).unwrap();
    let divergence = diff.comparison.divergence.unwrap().to_string();
    assert!(
        divergence.contains("the model comes to block.fc.output.i2"),
        "{divergence}"
    );
}
