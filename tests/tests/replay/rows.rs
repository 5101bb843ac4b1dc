//! Runs of a model that declares which tensors carry rows of the batch: the journal says it, so
//! that it stands in for the model alone.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use interloom::{Conclusion, Mode, Session, Subject};
use interloom_backends::{Bound, Run, Sites, Tap, Value};
use interloom_engine::{RowLayout, Saved};
use interloom_journal::{BatchedTensors, JournalReader, Policy};

use crate::known::Known;

/// A model that scales its rows by a table, which has as many rows as the batch and is not of them.
#[derive(Module, Debug)]
struct Scaled {
    table: Tap,
    both: Tap,
    scaled: Tap,
}

impl Scaled {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let table = Tensor::from_data([[2.0, 4.0], [8.0, 16.0]], &x.device());
        let table: Tensor<2> = self.table.pass(table);
        let (x, table): (Tensor<2>, Tensor<2>) = self.both.pass((x, table));
        self.scaled.pass(x * table.sum_dim(0))
    }
}

fn bound() -> Bound<Scaled> {
    let scaled = Scaled {
        table: Tap::new(),
        both: Tap::new(),
        scaled: Tap::new(),
    };
    let bound = Bound::new(scaled).unwrap();
    let bound = bound.with_rows("table.output", RowLayout::Shared).unwrap();
    let leaves = RowLayout::Leaves(vec![true, false]);
    let bound = bound.with_rows("both.output", leaves).unwrap();
    bound
        .with_rows("scaled.output", RowLayout::Batched)
        .unwrap()
}

/// A run with a mediator for each row, which reads all of the table, and replaces its own row.
fn by_row(sites: &Sites, saved: &mut Vec<Saved<Vec<Value>>>) -> Run {
    let mut run = Run::new("by row", sites);
    for (name, factor) in [("first", 0.5), ("second", 4.0)] {
        saved.push(run.invoke(name, 1, async move |cx| {
            let table = cx.output("table").await?;
            let both = cx.output("both").await?;
            cx.update_output("scaled", |x| x * factor).await?;
            Ok(vec![table, both])
        }));
    }
    run
}

fn make(
    mode: Mode,
    subject: &dyn Subject,
    model: Option<&Bound<Scaled>>,
) -> (Conclusion, Vec<TensorData>) {
    let session = Session::of(subject).policy(Policy::Full);
    let mut session = session.open(mode).unwrap();
    let mut saved = Vec::new();
    let run = by_row(subject.sites(), &mut saved);
    let x = || Tensor::<2>::from_data([[1.0, 2.0], [4.0, 8.0]], &Device::flex());
    let forward = || model.expect("a model that is called").forward(x());
    session.run(run, forward).unwrap();
    let mut read = Vec::new();
    // A mediator that was replaced has returned nothing.
    for value in saved
        .into_iter()
        .flat_map(|saved| saved.take().unwrap_or_default())
    {
        value.each_tensor(&mut |tensor| read.push(tensor.to_data()));
    }
    (session.conclude().unwrap(), read)
}

#[test]
fn r50_a_journal_serves_declared_rows_without_their_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ilj");
    let model = bound();
    let (recorded, read) = make(Mode::Record(path.clone()), &model, Some(&model));
    let Conclusion::Recorded { digest, .. } = recorded else {
        panic!("{recorded:?}");
    };
    let shapes: Vec<&[usize]> = read.iter().map(|data| &data.shape()[..]).collect();
    let of_one: [&[usize]; 3] = [&[2, 2], &[1, 2], &[2, 2]];
    assert_eq!(shapes, [of_one, of_one].concat());

    let known = Known::of(&path);
    let served = make(Mode::Serve(path.clone()), &known, None);
    let driven = make(Mode::Drive(path.clone()), &model, Some(&model));
    let verified = make(Mode::Verify(path), &model, Some(&model));
    for (conclusion, found) in [served, driven, verified] {
        let Conclusion::Verified {
            digest: again,
            divergence,
            ..
        } = conclusion
        else {
            panic!("{conclusion:?}");
        };
        assert!(divergence.is_none(), "{}", divergence.unwrap());
        assert_eq!(again, digest);
        assert!(found.is_empty() || found == read);
    }
}

#[test]
fn a_head_says_which_tensors_carry_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ilj");
    let model = bound();
    make(Mode::Record(path.clone()), &model, Some(&model));
    let reader = JournalReader::open(&path).unwrap();
    let sites = reader.head().sites.clone().unwrap();
    let lines = [
        (BatchedTensors::Each(false), vec![0]),
        (BatchedTensors::Listed(vec![true, false]), vec![1]),
        (BatchedTensors::Each(true), vec![2]),
    ];
    assert_eq!(sites.rows, lines);
}
