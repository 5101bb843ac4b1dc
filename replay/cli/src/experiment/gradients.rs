//! Gradients in experiment files: their values, the order in which they come, and what is wrong
//! with programs that ask for others.

use interloom_engine::RunEnd;
use interloom_journal::Policy;

use super::kept::Kept;
use super::{FileExperiment, FileReport, Mode};

const INPUTS: &str = "model = 'induction'\n\
    [[input]]\nname = 'a'\ntokens = [17, 3, 29, 17, 3]\n\
    [[input]]\nname = 'b'\ntokens = [17, 8, 29, 17, 8]\n";

/// The gradient of a logit at the embeddings.
const PLAIN: &str = "backward output[0..1, -1, 29] { save g = embed.grad }";

/// Makes a run for each program, with its name and its input.
fn experiment(programs: &[(&str, &str, &str)]) -> FileExperiment {
    let mut text = INPUTS.to_owned();
    for (name, input, program) in programs {
        text +=
            &format!("[[run]]\nname = '{name}'\ninput = '{input}'\nprogram = '''\n{program}'''\n");
    }
    FileExperiment::new("e.toml", &text)
}

#[track_caller]
fn report(experiment: &FileExperiment) -> FileReport {
    let run = experiment.run(Mode::Plain, Policy::Digest, &mut ());
    run.unwrap_or_else(|error| panic!("{error}")).0
}

/// Returns the numbers of what a program of the last run has saved under this name.
fn saved(report: &FileReport, name: &str) -> Vec<f64> {
    let run = report.runs.last().unwrap();
    let mut kept = run.invokes.iter().flat_map(|invoke| &invoke.kept);
    let (_, kept) = kept.find(|(other, _)| other == name).unwrap();
    match kept {
        Kept::Tensor(data) => data.iter::<f64>().collect(),
        other => panic!("{other}"),
    }
}

/// What goes wrong with a program on the first input.
fn failure(program: &str) -> String {
    let experiment = experiment(&[("r", "a", program)]);
    let result = experiment.run(Mode::Plain, Policy::Digest, &mut ());
    let error = result.expect_err("it does not work");
    format!("{} {error}", error.code())
}

#[test]
fn r96_attribution_between_equal_inputs_is_exactly_zero() {
    let attribute = "h = layers.0\n\
        backward output[.., -1, 29] - output[.., -1, 8] { g = layers.0.grad }\n\
        save effect = sum(($clean.h - h) * g, -1)\nsave size = sum(abs(g))";
    let effects = |other: &str| {
        let clean = ("clean", other, "save h = layers.0");
        let report = report(&experiment(&[clean, ("r", "a", attribute)]));
        assert!(saved(&report, "size")[0] > 0.1);
        saved(&report, "effect")
    };
    assert_eq!(effects("a"), [0.0; 5]);
    assert!(effects("b")[1..].iter().all(|effect| *effect != 0.0));
}

#[test]
fn r91_what_comes_before_a_gradient_sees_what_it_was_replaced_by() {
    let halved = "backward output[0..1, -1, 29] { layers.1.grad *= 0.5\nsave g = embed.grad }";
    let zero = "backward output[0..1, -1, 29] { layers.1.grad = 0\nsave g = embed.grad }";
    let compare = "save half = $halved.g * 2 - $plain.g\nsave none = $zero.g\nsave some = $plain.g";
    let report = report(&experiment(&[
        ("plain", "a", PLAIN),
        ("halved", "a", halved),
        ("zero", "a", zero),
        ("r", "a", compare),
    ]));
    assert!(saved(&report, "half").iter().all(|x| *x == 0.0));
    assert!(saved(&report, "none").iter().all(|x| *x == 0.0));
    assert!(saved(&report, "some").iter().any(|x| *x != 0.0));
}

#[test]
fn r93_each_invoke_of_a_batch_has_the_gradients_that_it_has_alone() {
    let mut text = experiment(&[("one", "a", PLAIN), ("two", "b", PLAIN)]).text;
    text += "[[run]]\nname = 'both'\n";
    for (name, input) in [("x", "a"), ("y", "b")] {
        text +=
            &format!("[[run.invoke]]\nname = '{name}'\ninput = '{input}'\nprogram = '{PLAIN}'\n");
    }
    text += "[[run]]\nname = 'r'\ninput = 'a'\n\
        program = 'save x = $both.x.g - $one.g; save y = $both.y.g - $two.g'\n";
    let report = report(&FileExperiment::new("e.toml", &text));
    for name in ["x", "y"] {
        let difference = saved(&report, name);
        assert!(difference.iter().all(|x| x.abs() < 1e-5), "{difference:?}");
    }
}

#[test]
fn a_cache_of_gradients_is_kept_and_given_to_later_runs() {
    let cache = "cache c = both(layers.1) grad\nbackward output[0..1, -1, 29]";
    let compare = "save d = $cached.c['layers.1.output.grad.i0'] - $read.g";
    let read = "backward output[0..1, -1, 29] { save g = layers.1.grad }";
    let report = report(&experiment(&[
        ("cached", "a", cache),
        ("read", "a", read),
        ("r", "a", compare),
    ]));
    let kept = &report.runs[0].invokes[0].kept;
    let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "c.layers.1.input.i0",
            "c.layers.1.output.i0",
            "c.layers.1.input.grad.i0",
            "c.layers.1.output.grad.i0"
        ]
    );
    assert!(saved(&report, "d").iter().all(|x| *x == 0.0));
}

/// Each step of the induction model's generation is a pass of its own over the whole sequence.
#[test]
fn r93_each_iteration_has_a_backward_pass_of_its_own() {
    let each = "save gs = []\nfor i in .. {\n\
        backward output[0..1, -1, 29] { append(gs, sum(abs(layers.0.grad))) }\n}";
    let mut generation = experiment(&[("r", "a", each)]);
    generation.text = generation.text.replace("input =", "generate = 3\ninput =");
    let report = report(&generation);
    for step in 0..3 {
        assert!(saved(&report, &format!("gs.{step}"))[0] > 0.1);
    }
}

#[test]
fn a_backward_pass_without_anything_to_read_is_a_pass() {
    let report = report(&experiment(&[(
        "r",
        "a",
        "backward sum(output)\nsave h = output",
    )]));
    assert_eq!(report.runs[0].end, Ok(RunEnd::Completed));
}

/// Burn locks the graph of the model's parameters meanwhile.
#[test]
fn r94_modules_are_called_in_a_backward_pass() {
    let program = "\
        h = layers.0
        before = unembed(h)
        backward sum(output[.., -1, 11])
        g = layers.0.grad
        save off = sum(abs(unembed(h) - before))
        save lens = sum(abs(unembed(g)))";
    let report = report(&experiment(&[("r", "a", program)]));
    assert_eq!(saved(&report, "off"), [0.0]);
    assert!(saved(&report, "lens")[0] > 0.0);
}

#[test]
fn what_is_wrong_with_a_backward_pass_is_said() {
    let failures = [
        // Before the run.
        "backward output[.., -1, 29]\ng = layers.0.atn.grad",
        "backward output[.., -1, 29]\ng = layers.0.attn.inputs.grad",
        "loss = sum(output)\nbackward loss { g = layers.1.grad; backward sum(g) }",
        "backward output[.., -1]",
        "backward 3",
        "backward sum(output)\nlayers.0.grad = layers.0.grad[.., 0]",
        "backward sum(output)\nskip layers.0.input.grad = layers.0.input.grad",
        "backward sum(output)\ng = layers.0.grad\nh = layers.0",
        // In it.
        "g = layers.0.grad",
        "backward sum(output) { a = layers.0.grad; b = layers.1.grad }",
        "h = layers.0\nbackward sum(h)\ng = layers.1.grad",
        "backward sum(input)\ng = layers.1.grad",
        "h = layers.0\nbackward sum(zeros_like(h))\ng = layers.0.grad",
    ];
    insta::assert_snapshot!(failures.map(failure).join("\n"), @"
    E104 e.toml:13, mediator `r`: the model has no site `layers.0.atn.output.grad`; nearest: `layers.0.attn.output.grad`, `layers.1.attn.output.grad`, `layers.0.attn.k.output.grad`
    E104 e.toml:13, mediator `r`: the model has no site `layers.0.attn.inputs.output.grad`; nearest: `layers.0.attn.scores.output.grad`, `layers.0.attn.k.output.grad`, `layers.0.attn.q.output.grad`
    E108 e.toml:13, mediator `r`: no backward pass can begin at `layers.1.output.grad.i0`, within another one; ask for it at a site of the forward pass
    E108 e.toml:12, mediator `r`: a backward pass is not possible: expected a loss of one element, found a tensor [1, 1, 40]
    E108 e.toml:12, mediator `r`: a backward pass takes a value, not a number
    E109 e.toml:13, mediator `r`: the replacement for `layers.0.output.grad` is a tensor [1, 1, 64], but the site has a tensor [1, 5, 64] for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write
    E108 e.toml:13, mediator `r`: `layers.0.input.grad` cannot be skipped; a module is skipped at its input
    E119 e.toml:14, mediator `r`: `layers.0.output.i0` is asked for after `output.i0` (e.toml:12), but the model passes it before; ask for it first, and keep the value if it is needed later
    E054 mediator `r` failed (e.toml:12): there is no gradient `layers.0.output.grad.i0`: the run had no backward pass; ask for one with `cx.backward(loss)`, in a program `backward LOSS`, or call `backward` inside of the run
    E002 mediator `r` failed at `layers.0.output.grad.i0` (e.toml:12): `layers.1.output.grad.i0` was already passed when it was asked for, with the model at `layers.0.output.grad.i0`; ask for it before you ask for a later site, or keep the value when it passes
    E054 mediator `r` failed (e.toml:14): there is no gradient `layers.1.output.grad.i0`: no backward pass reached it, because the loss does not depend on its value or that has no graph; check the loss, and that the model is on an autodiff device
    E055 mediator `r` failed at `input.i0` (e.toml:12): the loss for the backward pass at `input.i0` cannot be differentiated: expected a float tensor of one element, found i32[1]; reduce it to one float element, by a sum or a mean
    E058 the backward pass after `layers.0.output.i0` failed: the loss belongs to no graph; put the model on an autodiff device (`device.autodiff()`), and compute the loss from what it passes, without detaching it
    ");
}

#[test]
fn r95_the_gradient_of_a_parameter_is_read_replaced_and_collected() {
    let plain = "backward output[0..1, -1, 29] {\n\
        save q = grad(layers.1.attn.query.weight)\nsave p = unembed.weight.grad }";
    let edited = "cache c = outputs(layers.1.attn.query.weight) grad\n\
        backward output[0..1, -1, 29] {\n\
        layers.1.attn.query.weight.grad *= 0.5\nsave q = grad(layers.1.attn.query.weight.i0) }";
    let compare = "save half = $edited.q * 2 - $plain.q\n\
        save same = $edited.c['layers.1.attn.query.weight.grad.i0'] - $edited.q\n\
        save some = sum(abs($plain.q)) + sum(abs($plain.p))";
    let report = report(&experiment(&[
        ("plain", "a", plain),
        ("edited", "a", edited),
        ("r", "a", compare),
    ]));
    assert!(saved(&report, "half").iter().all(|x| *x == 0.0));
    assert!(saved(&report, "same").iter().all(|x| *x == 0.0));
    assert!(saved(&report, "some")[0] > 0.1);
}

#[test]
fn r95_a_parameter_that_is_taken_for_a_module_is_refused_with_what_it_has() {
    let read = failure("save w = unembed.weight");
    assert!(read.starts_with("E104"), "{read}");
    assert!(read.contains("`unembed.weight.grad`"), "{read}");
    let cached = failure("cache c = outputs(unembed.weight)");
    assert!(cached.contains("`unembed.weight.grad`"), "{cached}");
    let unreached =
        failure("backward layers.0[0..1, -1, 0] { save g = unembed.weight.grad }\nsave o = output");
    assert!(unreached.starts_with("E054"), "{unreached}");
}
