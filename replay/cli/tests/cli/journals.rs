//! `demo` and `replay`: journals that are good, that diverge, and that are not what they should be.

use std::collections::BTreeMap;
use std::fs;

use burn::tensor::Device;
use interloom::{Conclusion, Mode, Session};
use interloom_backends::Run;
use interloom_cli::experiment::FileExperiment;
use interloom_journal::frame::{PREAMBLE_BYTES, Preamble};
use interloom_journal::{
    Argument, Experiment, Head, Journal, JournalReader, JournalWriter, Policy,
};
use interloom_models::induction::{Induction, Sampler};

use crate::Place;

/// A run of the intact model, and one for each head without it.
fn ablation() -> FileExperiment {
    let text = r#"
model = "induction"
[[input]]
name = "sequences"
tokens = [[17, 3, 29, 8, 17, 3, 29, 8, 17], [35, 11, 22, 0, 35, 11, 22, 0, 35]]
[[run]]
name = "intact"
input = "sequences"
program = "save logits = output"
[[run]]
name = "without_L{layer}H{head}"
each = { layer = "0..2", head = "0..4" }
input = "sequences"
program = """
    layers.{layer}.attn.z[.., .., {head}] = 0
    save logits = output
"""
"#;
    let mut experiment = FileExperiment::new("heads.toml", text);
    experiment.device = Some("cpu".to_owned());
    experiment
}

/// A journal of few exchanges that the program can make again, at `a.ilj`.
fn small(place: &Place) -> Conclusion {
    let experiment = ablation();
    let mode = Mode::Record(place.path("a.ilj"));
    experiment.run(mode, Policy::Digest, &mut ()).unwrap().1
}

/// The line that says that a replay of what was recorded is identical.
fn proof(recorded: &Conclusion) -> String {
    match recorded {
        Conclusion::Recorded {
            exchanges, digest, ..
        } => crate::proof(exchanges, digest),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_demo_shows_eight_heads_and_proves_them() {
    let place = Place::new();
    let out = place.run(&["demo", "--journal", "demo.ilj"]).with(0).out;
    let heads = out
        .lines()
        .filter(|line| line.starts_with('L') && line[2..].starts_with('H'));
    assert_eq!(heads.count(), 8, "{out}");
    assert!(out.contains("\nintact "), "{out}");

    let journal = Journal::load(place.path("demo.ilj")).unwrap();
    let (exchanges, digest) = (journal.exchanges().count(), journal.digest());
    let proof = crate::proof(exchanges, digest);
    assert!(out.ends_with(&proof), "{out}");
    assert!(
        out.contains(&format!("recorded {} in ", crate::exchanges(exchanges))),
        "{out}"
    );
    assert_eq!(place.files(), ["demo.ilj"]);

    // Once more, in yet another process; and again over the older journal.
    assert_eq!(place.run(&["replay", "demo.ilj"]).with(0).out, proof);
    assert!(place.run(&["demo", "--journal", "demo.ilj"]).with(0).out == out);
}

#[test]
fn the_demo_overwrites_nothing_but_a_journal() {
    let place = Place::new();
    fs::write(place.path("notes.txt"), "chapter one").unwrap();
    let message = place
        .run(&["demo", "--journal", "notes.txt"])
        .error("E070", 1);
    insta::assert_snapshot!(message, @"will not overwrite notes.txt: it exists and is not an Interloom journal; move it away or record to another path");
    assert_eq!(fs::read(place.path("notes.txt")).unwrap(), b"chapter one");
    place
        .run(&["demo", "--journal", "no/such/folder.ilj"])
        .error("E061", 5);
}

#[test]
fn a_journal_of_this_process_is_replayed_in_another() {
    let place = Place::new();
    let recorded = small(&place);
    assert_eq!(
        place.run(&["replay", "a.ilj"]).with(0).out,
        proof(&recorded)
    );
}

#[test]
fn a_replay_is_reported_as_json() {
    let place = Place::new();
    let Conclusion::Recorded {
        exchanges, digest, ..
    } = small(&place)
    else {
        panic!("nothing was recorded");
    };
    let out = place.run(&["replay", "--json", "a.ilj"]).with(0).out;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let expected = serde_json::json!({
        "identical": true,
        "proves": "L3: model and mediators ran again, and every exchange is the recorded one, bit for bit",
        "exchanges": exchanges, "digest": digest.to_string(),
        "divergence": null, "environment": null,
    });
    assert_eq!(json, expected);
}

#[test]
fn a_full_journal_stands_in_for_the_model_or_for_the_mediators() {
    let place = Place::new();
    place
        .run(&["demo", "--journal", "full.ilj", "--full"])
        .with(0);
    let replay = |mode| {
        place
            .run(&["replay", "full.ilj", "--mode", mode])
            .with(0)
            .out
    };
    let lines = |out: String| out.lines().map(str::to_owned).collect::<Vec<_>>();
    let (verify, serve, drive) = (
        lines(replay("verify")),
        lines(replay("serve")),
        lines(replay("drive")),
    );
    assert_eq!((&verify[0], &verify[0]), (&serve[0], &drive[0]));
    insta::assert_snapshot!(serve[1], @"proves L2: given the recorded values, the mediators asked for and gave what was recorded, bit for bit; no model ran");
    insta::assert_snapshot!(drive[1], @"proves L3 for the model: asked what was recorded, it gave the recorded values, bit for bit; no mediator ran");

    // With digests only there is nothing to give.
    place.run(&["demo", "--journal", "digests.ilj"]).with(0);
    for mode in ["serve", "drive"] {
        let message = place
            .run(&["replay", "digests.ilj", "--mode", mode])
            .error("E095", 1);
        assert!(
            message.starts_with("digests.ilj has only the digest of a tensor of exchange "),
            "{message}"
        );
    }
    place
        .run(&["replay", "full.ilj", "--mode", "guess"])
        .with(2);
}

#[test]
fn a_replay_that_diverges_is_exit_code_4() {
    let place = Place::new();
    record_something_else(&place);
    let out = place.run(&["replay", "a.ilj"]).with(4).out;
    assert!(
        out.starts_with("error[E080]: replay diverged at exchange 0 (run \"intact\")\n"),
        "{out}"
    );
    assert!(out.contains("\nerror[E081]: "), "{out}");
    assert!(!out.contains("bit-identical"), "{out}");

    let out = place.run(&["replay", "a.ilj", "--json"]).with(4).out;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["identical"], false);
    assert_eq!(json["divergence"]["code"], "E080");
    assert_eq!(json["environment"]["code"], "E081");
}

/// Records a run under the name of an experiment that makes other runs.
fn record_something_else(place: &Place) {
    let device = Device::flex();
    let model = Induction::trained(&device);
    let arguments = BTreeMap::from([
        ("file".to_owned(), Argument::Text("heads.toml".to_owned())),
        ("text".to_owned(), Argument::Text(ablation().text)),
    ]);
    let experiment = Experiment {
        name: FileExperiment::NAME.to_owned(),
        arguments,
    };
    let session = Session::of(&model).experiment(experiment);
    let mut session = session.record(place.path("a.ilj")).unwrap();
    let mut run = Run::new("intact", model.sites());
    run.mediator("other", |cx| async move { cx.output("").await });
    let tokens = Sampler::new(1).batch(1).tokens(&device);
    session.run(run, || model.forward(tokens)).unwrap();
    session.finish().unwrap();
}

#[test]
fn an_experiment_that_the_program_does_not_have_is_refused() {
    let place = Place::new();
    let experiment = Experiment {
        name: "thesis".to_owned(),
        ..Experiment::default()
    };
    let model = Induction::trained(&Device::flex());
    let session = Session::of(&model).experiment(experiment);
    let session = session.record(place.path("a.ilj")).unwrap();
    session.finish().unwrap();
    let message = place.run(&["replay", "a.ilj"]).error("E090", 1);
    insta::assert_snapshot!(message, @"the journal was recorded by experiment `thesis`, which this program does not have (it has those of experiment files); replay it with the program that recorded it, through `Session::verify`");
}

#[test]
fn an_argument_that_is_missing_is_named() {
    let place = Place::new();
    let experiment = Experiment {
        name: FileExperiment::NAME.to_owned(),
        ..Experiment::default()
    };
    let model = Induction::trained(&Device::flex());
    let session = Session::of(&model).experiment(experiment);
    let session = session.record(place.path("a.ilj")).unwrap();
    session.finish().unwrap();
    let message = place.run(&["replay", "a.ilj"]).error("E091", 1);
    insta::assert_snapshot!(message, @"experiment `file` needs the argument `file` (a text), found nothing");
}

#[test]
fn a_journal_that_is_not_there_is_named() {
    let message = Place::new()
        .run(&["replay", "nothing.ilj"])
        .error("E060", 1);
    insta::assert_snapshot!(message, @"no journal at nothing.ilj: the file does not exist; check the path");
}

#[test]
fn another_file_is_no_journal() {
    let place = Place::new();
    fs::write(place.path("a.ilj"), "PK\u{3}\u{4} something else").unwrap();
    let message = place.run(&["replay", "a.ilj"]).error("E062", 1);
    insta::assert_snapshot!(message, @"a.ilj is not an Interloom journal: expected it to start with 89 49 4c 4a 0d 0a 1a 0a, found 50 4b 03 04 20 73 6f 6d; check the path: journals are what `interloom run --journal` writes");
    fs::write(place.path("a.ilj"), "").unwrap();
    place.run(&["replay", "a.ilj"]).error("E062", 1);
    // A folder opens on some systems, and cannot be read.
    fs::create_dir(place.path("folder")).unwrap();
    assert_ne!(place.run(&["replay", "folder"]).code, Some(0));
}

#[test]
fn a_flipped_bit_is_reported_with_its_frame() {
    let place = Place::new();
    small(&place);
    let mut bytes = fs::read(place.path("a.ilj")).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 0x10;
    fs::write(place.path("a.ilj"), &bytes).unwrap();
    let message = place.run(&["replay", "a.ilj"]).error("E064", 1);
    assert!(
        message.starts_with("a.ilj is damaged in frame "),
        "{message}"
    );
}

#[test]
fn a_journal_that_was_cut_is_reported_with_what_is_left() {
    let place = Place::new();
    small(&place);
    let bytes = fs::read(place.path("a.ilj")).unwrap();
    fs::write(place.path("a.ilj"), &bytes[..bytes.len() * 2 / 3]).unwrap();
    let message = place.run(&["replay", "a.ilj"]).error("E065", 1);
    assert!(message.starts_with("a.ilj ends early: "), "{message}");
    let err = place.run(&["replay", "a.ilj"]).err;
    assert!(err.contains("`interloom recover`"), "{err}");
    // What is recovered can be replayed, as far as it goes.
    place.run(&["recover", "a.ilj"]).with(3);
    place.run(&["replay", "a.recovered.ilj"]).with(4);
}

#[test]
fn a_newer_format_is_refused() {
    let place = Place::new();
    small(&place);
    let mut bytes = fs::read(place.path("a.ilj")).unwrap();
    let start: &mut [u8; PREAMBLE_BYTES] = bytes.first_chunk_mut().unwrap();
    let newer = Preamble {
        major: 2,
        ..Preamble::decode(start).unwrap()
    };
    *start = newer.encode();
    fs::write(place.path("a.ilj"), &bytes).unwrap();
    let message = place.run(&["replay", "a.ilj"]).error("E063", 5);
    insta::assert_snapshot!(message, @"a.ilj has journal format 2.0, and this version of Interloom reads up to 1.x; upgrade Interloom to read it");
}

/// A journal that was recorded on a GPU, as far as its head goes.
fn of_a_gpu(place: &Place) {
    recorded_with(place, "gpu.ilj", |head| {
        head.device = "cuda, a GPU that is not here".into();
        let device = head.experiment.arguments.get_mut("device").unwrap();
        *device = Argument::from("cuda");
    });
}

/// A journal that has all tensors, at `own.ilj`, and the same with another head.
fn recorded_with(place: &Place, name: &str, change: impl FnOnce(&mut Head)) {
    let experiment = ablation();
    let mode = Mode::Record(place.path("own.ilj"));
    experiment.run(mode, Policy::Full, &mut ()).unwrap();
    let mut reader = JournalReader::open(place.path("own.ilj")).unwrap();
    let mut head = reader.head().clone();
    change(&mut head);
    let mut writer = JournalWriter::create(place.path(name), &head).unwrap();
    while let Some((_, record)) = reader.next_record().unwrap() {
        writer.record(&record).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_journal_of_a_device_that_is_not_here_is_served_and_not_verified() {
    let place = Place::new();
    of_a_gpu(&place);
    let served = place
        .run(&["replay", "gpu.ilj", "--mode", "serve"])
        .with(0)
        .out;
    assert!(served.contains("no model ran"), "{served}");
    let message = place.run(&["replay", "gpu.ilj"]).error("E034", 5);
    assert!(message.contains("cuda"), "{message}");
}
