//! The device of a recording, and another one in its place.

use burn::tensor::Device;
use interloom::{Conclusion, Mode, Session};
use interloom_backends::Run;
use interloom_models::{INDUCTION, LanguageModel};

fn make(mode: Mode, device: &Device) -> Conclusion {
    let model = LanguageModel::load(INDUCTION, device).unwrap();
    let mut session = Session::of(&model).open(mode).unwrap();
    let mut run = Run::new("run", model.sites());
    run.mediator("read", async |cx| cx.output("").await);
    let logits = || model.batch(&[&[17_u32, 3, 29][..]]).unwrap().logits();
    session.run(run, logits).unwrap();
    session.conclude().unwrap()
}

#[test]
fn a_replay_on_a_device_that_keeps_graphs_is_on_another_device() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ilj");
    let device = Device::flex();
    make(Mode::Record(path.clone()), &device);
    for (device, expected) in [
        (device.clone(), ""),
        (device.autodiff(), "\"cpu\" \"cpu, autodiff\""),
    ] {
        let Conclusion::Verified { environment, .. } = make(Mode::Verify(path.clone()), &device)
        else {
            panic!("a verification");
        };
        let differences = environment.map_or_else(Vec::new, |report| report.differences);
        let found = differences
            .iter()
            .map(|difference| format!("{} {}", difference.recorded, difference.live));
        assert_eq!(found.collect::<Vec<_>>().join(", "), expected);
    }
}
