//! A small journal: a value that is read in one run is put into another.

use std::path::Path;

use interloom_engine::Fault;
use interloom_journal::{
    DType, Digest, Event, ExchangeRecord, ExchangeResult, Experiment, Head, JournalWriter,
    MediatorLine, OutcomeRecord, Policy, RunStart, SiteRef, TensorLine, ValueTree,
};

use crate::Place;

/// What can be different about it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The numbers that `patch` computes.
    pub(crate) computed: [f32; 2],
    /// Whether `read` reads once more at the end.
    pub(crate) reads_again: bool,
    /// Whether there is no second run.
    pub(crate) is_short: bool,
    /// What is kept of tensors.
    pub(crate) policy: Policy,
    /// The device in the head.
    pub(crate) device: &'static str,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            computed: [6.0, 8.0],
            reads_again: false,
            is_short: false,
            policy: Policy::Full,
            device: "cpu",
        }
    }
}

/// A folder with two journals, `a.ilj` and `b.ilj`.
pub(crate) fn pair(first: &Sample, second: &Sample) -> Place {
    let place = Place::new();
    first.write(&place.path("a.ilj"));
    second.write(&place.path("b.ilj"));
    place
}

const ATTENTION: &str = "layers.0.attn.output";
const MLP: &str = "layers.1.mlp.output";

/// One exchange: mediator, event, path, elements of the tensor.
type Line<'a> = (u32, Event, &'a str, Option<[f32; 2]>);

impl Sample {
    /// Writes the journal.
    pub(crate) fn write(&self, path: &Path) {
        let head = Head {
            version: "0.1.0".into(),
            policy: self.policy,
            device: self.device.into(),
            ..Head::new(Experiment::default())
        };
        let mut writer = JournalWriter::create(path, &head).unwrap();
        let (clean, corrupt) = ([1.0, 2.0], [3.0, 4.0]);
        let first = [
            (0, Event::Value, ATTENTION, Some(clean)),
            (0, Event::End, ATTENTION, None),
        ];
        write_run(&mut writer, "clean", &["read"], &first);
        if self.is_short {
            writer.finish().unwrap();
            return;
        }
        let mut second: Vec<Line<'_>> = vec![
            (1, Event::Value, ATTENTION, Some(corrupt)),
            (1, Event::Swap, ATTENTION, Some(clean)),
            (0, Event::Value, ATTENTION, Some(clean)),
            (1, Event::Swap, MLP, Some(self.computed)),
            (0, Event::Value, MLP, Some(self.computed)),
        ];
        if self.reads_again {
            second.insert(3, (0, Event::Value, ATTENTION, Some(clean)));
        }
        second.push((0, Event::Exception, MLP, None));
        write_run(&mut writer, "patched", &["read", "patch"], &second);
        writer.finish().unwrap();
    }
}

fn write_run(writer: &mut JournalWriter, name: &str, mediators: &[&str], lines: &[Line<'_>]) {
    let run = writer.next_run();
    let mediators = mediators.iter().map(|name| MediatorLine {
        name: (*name).to_owned(),
        rows: None,
        optional: false,
    });
    let start = RunStart {
        run,
        name: name.to_owned(),
        mediators: mediators.collect(),
        scheduler: "in-order".to_owned(),
        declared: Default::default(),
        keeps: Vec::new(),
    };
    writer.start_run(&start).unwrap();
    for (mediator, event, path, elements) in lines {
        let path = writer.path(path).unwrap();
        let site = SiteRef { path, iteration: 0 };
        let is_over = matches!(event, Event::End | Event::Exception);
        let exchange = ExchangeRecord {
            run,
            index: writer.next_index(),
            mediator: *mediator,
            event: *event,
            asked: (!is_over).then_some(site),
            at: Some(site),
            result: ExchangeResult::Served,
            value: elements.map(|elements| tensor(writer, elements)),
            reshape: false,
            round: Default::default(),
            fault: (*event == Event::Exception).then(|| Fault::raise("it failed")),
            origin: None,
        };
        writer.exchange(&exchange).unwrap();
    }
    writer.end_run(OutcomeRecord::default()).unwrap();
}

fn tensor(writer: &mut JournalWriter, elements: [f32; 2]) -> ValueTree {
    let bytes = elements.map(f32::to_le_bytes).concat();
    let digest = Digest::of_tensor(DType::F32, &[2], &bytes);
    writer.tensor(&digest, DType::F32, &[2], &bytes).unwrap();
    ValueTree::Leaf(TensorLine {
        dtype: DType::F32,
        shape: vec![2],
        digest,
    })
}
