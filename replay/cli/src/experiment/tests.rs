//! Files that are none, files that do not fit their model, and what good ones come to.

use std::collections::BTreeMap;
use std::fs;

use super::plan::Plan;
use super::*;

/// The start of a file, in four lines.
const START: &str = "model = 'induction'\n[[input]]\nname = 'a'\ntokens = [1, 2, 3]\n";

fn plan(text: &str) -> Result<Plan, ExperimentError> {
    Plan::read("e.toml", text, &BTreeMap::new())
}

/// Shows what is wrong with each text, with its code.
#[track_caller]
fn errors<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let shown = texts.into_iter().map(|text| match plan(text) {
        Ok(plan) => panic!("{text} is {plan:?}"),
        Err(error) => format!("{} {error}", error.code()),
    });
    shown.collect::<Vec<_>>().join("\n")
}

fn after_start<const N: usize>(texts: [&str; N]) -> String {
    let texts = texts.map(|text| format!("{START}{text}"));
    errors(texts.iter().map(String::as_str))
}

/// What goes wrong when a file is run that can be read.
#[track_caller]
fn failure(text: &str) -> String {
    let experiment = FileExperiment::new("e.toml", text);
    experiment.check().expect("it can be read");
    let result = experiment.run(Mode::Plain, Policy::Digest, &mut ());
    let error = result.expect_err("it does not fit");
    format!("{} {error}", error.code())
}

fn report(text: &str) -> FileReport {
    let experiment = FileExperiment::new("e.toml", text);
    let run = experiment.run(Mode::Plain, Policy::Digest, &mut ());
    run.unwrap_or_else(|error| panic!("{error}")).0
}

#[test]
fn what_is_no_toml_is_said_with_its_place() {
    insta::assert_snapshot!(errors([
        "model = ",
        "model = 'a'\nmodel = 'b'",
        "model = 'a'\n[[run]\n",
        "x = \"\"\"",
        "\u{0}\u{1}",
    ]), @r#"
    E111 e.toml:1:9: not TOML: string values must be quoted, expected literal string
    E111 e.toml:2:1: not TOML: duplicate key
    E111 e.toml:2:7: not TOML: unclosed array table, expected `]`
    E111 e.toml:1:8: not TOML: invalid multi-line basic string, expected `"`
    E111 e.toml:1:3: not TOML: key with no value, expected `=`
    "#);
}

#[test]
fn unknown_keys_are_said_with_the_nearest() {
    insta::assert_snapshot!(errors(["modle = 'a'", "model = 'a'\n[[inputs]]\nname = 'x'"]), @"
    E112 e.toml:1:1: the file has no key `modle`; nearest: `model`, `modules`, `about`
    E112 e.toml:2:3: the file has no key `inputs`; nearest: `input`, `about`, `modules`
    ");
    insta::assert_snapshot!(after_start([
        "prompts = 'x'",
        "[[run]]\nname = 'r'\nprograms = 'stop'",
        "[[run]]\nname = 'r'\n[[run.invoke]]\nname = 'i'\noption = true",
        "[report]\nlens = 'x'",
        "[[run]]\nname = 'r'\nreport = { tops = 1 }",
        "[[given]]\nname = 'x'\nfile = 'y'",
    ]), @"
    E112 e.toml:5:1: [[input]] has no key `prompts`; nearest: `prompt`, `pixels`, `tokens`
    E112 e.toml:7:1: [[run]] has no key `programs`; nearest: `program`, `generate`, `name`
    E112 e.toml:9:1: [[run.invoke]] has no key `option`; nearest: `optional`, `each`, `input`
    E112 e.toml:6:1: [report] has no key `lens`; nearest: `top`, `answers`, `loss_from`
    E112 e.toml:7:12: [run.report] has no key `tops`; nearest: `top`, `lens`, `answers`
    E112 e.toml:7:1: [[given]] has no key `file`; nearest: `name`, `tensor`
    ");
}

#[test]
fn values_of_the_wrong_kind_are_said() {
    insta::assert_snapshot!(errors(["", "model = 3", "model = 'induction'", "model = 'a'\nrun = 3", "model = 'a'\nrun = [3]"]), @"
    E113 e.toml:1:1: `model` must be a text, found nothing
    E113 e.toml:1:9: `model` must be a text, found 3
    E113 e.toml:1:1: `run` must be one or more tables `[[run]]`, found nothing
    E113 e.toml:2:7: `run` must be a list of tables, each of which begins with `[[run]]`, found 3
    E113 e.toml:2:8: `run` must be a list of tables, each of which begins with `[[run]]`, found 3
    ");
    insta::assert_snapshot!(after_start([
        "[[run]]\ninput = 'a'",
        "[[run]]\nname = 'a b'\ninput = 'a'",
        "[[run]]\nname = 'r'\ninput = 'a'\nprogram = 5",
        "[[run]]\nname = 'r'\ninput = 'a'\ngenerate = 0",
        "[[run]]\nname = 'r'\ninput = 'a'\ngenerate = '3'",
        "[[run]]\nname = 'r'\ninput = 'a'\nbarriers = 3",
        "[[run]]\nname = 'r'\ninput = 'a'\nbarriers = { met = -1 }",
        "[[run]]\nname = 'r'\ninput = 'a'\nreport = { top = 101 }",
        "[[run]]\nname = 'r'\ninput = 'a'\neach = { x = '0..' }",
        "[[run]]\nname = 'r'\ninput = 'a'\neach = { x = '0..9999999' }",
        "[[run]]\nname = 'r'\ninput = 'a'\neach = { x = [[1]] }",
        "[[run]]\nname = 'r'\ninput = 'a'\neach = { x = '0..4096', y = '0..2' }",
        "[[run]]\nname = 'r'\ninput = 'a'\neach = { x = [] }",
        "[[run]]\nname = 'r'\ninput = 'a'\n[[run.invoke]]\nname = 'i'",
        "[[run]]\nname = 'r'\ninput = 'a'\n[[run.invoke]]\nname = 'i'\nprogram = ''\noptional = 1",
        "[set]\nx = [1]",
        "[[input]]\nname = 'b'\ntokens = [1.5]",
        "[[input]]\nname = 'b'\ntokens = [[1], []]",
        "[[input]]\nname = 'b'\ntokens = []",
        "[[input]]\nname = 'b'\ntokens = [1, 1979-05-27]",
    ]), @r#"
    E113 e.toml:5:1: `name` must be a text, found nothing
    E113 e.toml:6:8: `name` must be one word of at most 256 letters, digits and `_` that does not begin with a digit; `.`, `-` and `+` stand before a digit only, found "a b"
    E113 e.toml:8:11: `program` must be a text, found 5
    E113 e.toml:8:12: `generate` must be a whole number from 1 to 65536, found 0
    E113 e.toml:8:12: `generate` must be a whole number from 1 to 65536, found "3"
    E113 e.toml:8:12: `barriers` must be a table, found 3
    E113 e.toml:8:20: `met` must be a whole number from 1 to 65536, found -1
    E113 e.toml:8:18: `top` must be a whole number from 1 to 100, found 101
    E113 e.toml:8:14: `each.x` must be a list of numbers or texts, or a range such as "0..12", found "0.."
    E113 e.toml:8:14: `each.x` must be at least one value, and at most 4096 with the others, found 4097 of them, with 1 of the names before
    E113 e.toml:8:15: `each.x` must be a list of numbers or texts, or a range such as "0..12", found a list
    E113 e.toml:8:29: `each.y` must be at least one value, and at most 4096 with the others, found 2 of them, with 4096 of the names before
    E113 e.toml:8:14: `each.x` must be at least one value, and at most 4096 with the others, found 0 of them, with 1 of the names before
    E113 e.toml:8:1: `program` must be a text, found nothing
    E113 e.toml:11:12: `optional` must be `true` or `false`, found 1
    E113 e.toml:6:5: `x` must be a number or a text, found a list
    E113 e.toml:7:11: `tokens` must be a whole number from 0, found 1.5
    E113 e.toml:7:10: `tokens` must be a list of at least one token, or a list of such lists, found rows of [1, 0] tokens
    E113 e.toml:7:10: `tokens` must be a list of at least one token, or a list of such lists, found rows of [0] tokens
    E113 e.toml:7:14: `tokens` must be a whole number from 0, found a date
    "#);
}

#[test]
fn parts_that_do_not_go_together_are_said() {
    insta::assert_snapshot!(after_start([
        "[[input]]\nname = 'a'\ntokens = [1]",
        "[[input]]\nname = 'b'\ntokens = [1]\nprompt = 'x'",
        "[[input]]\nname = 'b'",
        "[[given]]\nname = 'v'\ntensor = 'f#t'\n[[given]]\nname = 'v'\ntensor = 'f#t'",
        "[[run]]\nname = 'r'",
        "[[run]]\nname = 'r'\ninput = 'b'",
        "[[run]]\nname = 'r'\ninput = []",
        "[[run]]\nname = 'r'\ninput = 'a'\n[[run]]\nname = 'r'\ninput = 'a'",
        "[[run]]\nname = 'r'\ninput = 'a'\neach = { x = '0..2' }",
        "[[run]]\nname = 'r'\ninput = 'a'\nprogram = 'stop'\n[[run.invoke]]\nname = 'i'\nprogram = 'stop'",
        "[[run]]\nname = 'r'\ninput = 'a'\n[[run.invoke]]\nname = 'i'\ninput = 'a'\nprogram = 'stop'",
        "[[run]]\nname = 'r'\n[[run.invoke]]\nname = 'i'\ninput = 'a'\nprogram = ''\n[[run.invoke]]\nname = 'i'\nprogram = ''",
        "[[run]]\nname = 'r'\ninput = 'a'\ngenerate = 3\nreport = { top = 1 }",
        "[[run]]\nname = 'r'\ninput = 'a'\nprogram = 'save h = output'\nreport = { lens = 'g' }",
    ]), @"
    E116 e.toml:6:8: two inputs have the name `a`; give each its own; in a sweep, put its values into the name
    E116 e.toml:6:8: the input `b` has several of `prompt`, `pair`, `chat`, `tokens`, `tensor` and `pixels`; give it one of them
    E116 e.toml:6:8: the input `b` has none of `prompt`, `pair`, `chat`, `tokens`, `tensor` and `pixels`; give it one of them
    E116 e.toml:9:8: two given values have the name `v`; give each its own; in a sweep, put its values into the name
    E116 e.toml:6:8: the run `r` has no input; give `input` the name of an [[input]]
    E115 e.toml:7:9: there is no input `b`; nearest: `a`
    E116 e.toml:6:8: the run `r` has no input; give `input` the name of an [[input]]
    E116 e.toml:9:8: two runs have the name `r`; give each its own; in a sweep, put its values into the name
    E116 e.toml:6:8: two runs have the name `r`; give each its own; in a sweep, put its values into the name
    E116 e.toml:8:11: the run has a `program` and invokes; put the program into an invoke, or leave the invokes out
    E116 e.toml:6:8: the run `r` has an `input`, and its invoke `i` too; name the inputs in the run or in its invokes
    E116 e.toml:12:8: two invokes of a run have the name `i`; give each its own; in a sweep, put its values into the name
    E116 e.toml:6:8: `top` is about the logits of one forward pass, and the run `r` generates; leave one of them out
    E115 e.toml:9:19: there is no saved value `g`; nearest: `h`
    ");
    let other = BTreeMap::from([("blok".to_owned(), "1".to_owned())]);
    let text = format!("{START}[set]\nblock = 1\n[[run]]\nname = 'r'\ninput = 'a'");
    let error = Plan::read("e.toml", &text, &other).unwrap_err();
    insta::assert_snapshot!(error, @"e.toml:5:1: there is no value in [set] `blok`; nearest: `block`");
}

/// The line is that of the step, however the text is written.
#[test]
fn programs_that_cannot_be_read_are_said_with_line_and_column() {
    insta::assert_snapshot!(after_start([
        "[[run]]\nname = 'r'\ninput = 'a'\nprogram = 'save 3'",
        "[[run]]\nname = 'r'\ninput = 'a'\nprogram = '''\n  h = output\n  save h +\n'''",
        "[[run]]\nname = 'r'\ninput = 'a'\nprogram = \"\"\"h = output\\n\\\n   save h +\"\"\"",
        "[[run]]\nname = 'r{x}'\ninput = 'a'\neach = { x = [0, '-1'] }\nprogram = '''\n  h = layers.{x}'''",
    ]), @r#"
    E114 e.toml:8:17: expected the variable that is saved, found the number 3
    E114 e.toml:10:10: expected the end of the step, found `+`
    E114 e.toml:9:11: expected the end of the step, found `+`
    E114 e.toml:10:13: expected a step or an expression, found the character '.'
    "#);
}

#[test]
fn programs_are_checked_before_the_model_runs() {
    let failures = [
        "h = layers.0.atn",
        "\nlayers.2 = layers.1",
        "save g",
        "h = $clean.h",
        "barrier met",
        "h = unembd(output)",
        "h = blocks.0.hook_resid_pst",
        "cache c = outputs(layers.9)",
    ]
    .map(|program| {
        failure(&format!(
            "{START}[[run]]\nname = 'r'\ninput = 'a'\nprogram = '''\n{program}'''\n"
        ))
    });
    insta::assert_snapshot!(failures.join("\n"), @"
    E104 e.toml:9, mediator `r`: the model has no site `layers.0.atn.output`; nearest: `layers.0.attn.output`, `layers.1.attn.output`, `layers.0.attn.k.output`
    E104 e.toml:10, mediator `r`: the model has no site `layers.2.output`; nearest: `layers.0.output`, `layers.1.output`, `layers.0.input`
    E105 e.toml:9, mediator `r`: `g` has no value here, whichever way the program comes; no step before this one gives anything a value
    E107 e.toml:9, mediator `r`: the program is given no value `clean.h`; it is given none at all
    E106 e.toml:9, mediator `r`: the run has no barrier `met`; it has none at all
    E102 e.toml:9, mediator `r`: the model has no module `unembd` to call; nearest: `unembed`, `embed`, `sample`
    E104 e.toml:9, mediator `r`: the model has no site `blocks.0.hook_resid_pst`; nearest: `blocks.0.hook_resid_post`, `blocks.0.hook_resid_pre`, `blocks.1.hook_resid_post`
    E104 e.toml:9, mediator `r`: the model has no site `layers.9.output`; nearest: `layers.0.output`, `layers.1.output`, `layers.0.input`
    ");
}

#[test]
fn a_number_fills_a_site_or_a_part_of_it_and_goes_over_the_blackboard() {
    let text = format!(
        "{START}[[run]]\nname = 'r'\ninput = 'a'\nprogram = \"\"\"\n\
         layers.0 = -1 / 2\nsave all = layers.0\nn = 3\nlayers.1[.., 0, 0..2] = n\nsave part = layers.1[.., 0, 0..3]\n\
         put flag = n * 2\nsave twice = get(flag) + 1\n\"\"\"\n"
    );
    let (report, _) = FileExperiment::new("e.toml", &text)
        .run(Mode::Plain, Policy::Digest, &mut ())
        .unwrap();
    let kept: Vec<String> = report.runs[0].invokes[0]
        .kept
        .iter()
        .map(|(name, kept)| match kept {
            Kept::Tensor(data) => format!("{name} {}", Summary::of(data)),
            other => format!("{name} {other:?}"),
        })
        .collect();
    insta::assert_snapshot!(kept.join("\n"), @r"
    all f32 [1, 3, 64]  mean -0.5000  min -0.5000  max -0.5000  [-0.5000, -0.5000, -0.5000, -0.5000, …]
    part f32 [1, 1, 3]  mean 1.9900  min -0.0301  max 3.0000  [3.0000, 3.0000, -0.0301]
    twice Number(7.0)
    ");
}

#[test]
fn a_list_goes_over_the_blackboard_and_through_runs() {
    let text = format!(
        "{START}[[run]]\nname = 'r'\n\
         [[run.invoke]]\nname = 'maker'\ninput = 'a'\nprogram = '''\n  l = []\n  append(l, 1)\n  put l = l\n  append(l, 2)\n  save l'''\n\
         [[run.invoke]]\nname = 'taker'\ninput = 'a'\nprogram = '''\n  l = get(l)\n  append(l, (3, l))\n  save l\n  \
         save part = clip(l, [-1..9])\n  save row = zeros_like(layers.0)[0][1..3]'''\n\
         [[run]]\nname = 'later'\ninput = 'a'\nprogram = '''\n  l = $r.taker.l\n  append(l, $r.maker.l[1])\n  save l'''\n"
    );
    let (report, _) = FileExperiment::new("e.toml", &text)
        .run(Mode::Plain, Policy::Digest, &mut ())
        .unwrap();
    let invokes = report.runs.iter().flat_map(|run| &run.invokes);
    let kept = invokes.flat_map(|invoke| {
        let name = &invoke.name;
        invoke.kept.iter().map(move |(key, kept)| match kept {
            Kept::Tensor(data) => format!("{name}.{key} {}", Summary::of(data)),
            other => format!("{name}.{key} {other:?}"),
        })
    });
    insta::assert_snapshot!(kept.collect::<Vec<_>>().join("\n"), @r"
    maker.l.0 Number(1.0)
    maker.l.1 Number(2.0)
    taker.l.0 Number(1.0)
    taker.l.1.0 Number(3.0)
    taker.l.1.1.0 Number(1.0)
    taker.part.0.0 Number(3.0)
    taker.part.0.1.0 Number(1.0)
    taker.row f32 [2, 64]  mean 0.0000  min 0.0000  max 0.0000  [0.0000, 0.0000, 0.0000, 0.0000, …]
    later.l.0 Number(1.0)
    later.l.1.0 Number(3.0)
    later.l.1.1.0 Number(1.0)
    later.l.2 Number(2.0)
    ");
}

#[test]
fn kinds_and_shapes_are_checked_before_the_run() {
    let failures = [
        "layers.0[.., 3] *= 0",
        "layers.0 = layers.0[.., 0]",
        "n = 0\nlayers.0.attn.z = n",
        "a = []\nlayers.0 = layers.0 + a",
        "layers.1 = layers.0.attn.z",
    ]
    .map(|program| {
        failure(&format!(
            "{START}[[run]]\nname = 'r'\ninput = 'a'\nprogram = '''\n{program}'''\n"
        ))
    });
    insta::assert_snapshot!(failures.join("\n"), @"
    E108 e.toml:9, mediator `r`: the span `3..4` does not lie in dimension 1 of [1, 3, 64]
    E109 e.toml:9, mediator `r`: the replacement for `layers.0.output` is a tensor [1, 1, 64], but the site has a tensor [1, 3, 64] for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write
    E108 e.toml:10, mediator `r`: a write takes a value, not a number
    E108 e.toml:10, mediator `r`: `add` takes numbers and values, not a list
    E109 e.toml:9, mediator `r`: the replacement for `layers.1.output` is a tensor [1, 3, 4, 16], but the site has a tensor [1, 3, 64] for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write
    ");
    // The first step of a generation has to work, whatever those after it have.
    let text = format!(
        "{START}[[run]]\nname = 'r'\ninput = 'a'\ngenerate = 3\nprogram = 'for i in .. {{ layers.0[.., 3] *= 0 }}'\n"
    );
    insta::assert_snapshot!(failure(&text), @"E108 e.toml:9, mediator `r`: the span `3..4` does not lie in dimension 1 of [1, 3, 64]");
}

#[test]
fn inputs_are_checked_against_the_model() {
    let run = "[[run]]\nname = 'r'\ninput = ['a', 'b']\n";
    let failures = [
        "prompt = 'text'",
        "tokens = [1, 2, 40]",
        "tensor = 'nothing.safetensors#t'",
        "tensor = 'nothing'",
    ]
    .map(|input| failure(&format!("{START}[[input]]\nname = 'b'\n{input}\n{run}")));
    // What the system says of a missing file is not the same everywhere.
    let failures = failures.join("\n").replace(
        "The system cannot find the file specified.",
        "No such file or directory",
    );
    insta::assert_snapshot!(failures, @"
    E118 e.toml:6:8: the model does not take this: a text, but the model `induction` has no tokenizer; give it tokens
    E118 e.toml:9:8: the model does not take this: token 40, but the model knows 40 tokens; they are 0 to 39
    E117 e.toml:6:8: cannot take the tensor `nothing.safetensors#t`: No such file or directory (os error 2)
    E117 e.toml:6:8: cannot take the tensor `nothing`: it is written FILE#NAME, with a safetensors file and a tensor in it
    ");
    let long = format!("{START}[[run]]\nname = 'r'\ninput = 'a'\ngenerate = 46");
    insta::assert_snapshot!(failure(&long), @"E118 e.toml:6:8: the model does not take this: 3 tokens and 46 new ones, but the model has 48 positions; shorten the prompt");
    let answer = format!("{START}[[run]]\nname = 'r'\ninput = 'a'\n[report]\nanswers = ['40']");
    insta::assert_snapshot!(failure(&answer), @r#"E118 e.toml:9:12: the model does not take this: "40", which is no token of the model `induction`; they are 0 to 39"#);
    let model =
        "model = 'nowhere'\n[[input]]\nname = 'a'\ntokens = [1]\n[[run]]\nname = 'r'\ninput = 'a'";
    assert!(failure(model).starts_with("E040 "));
    let device = format!("device = 'abacus'\n{START}[[run]]\nname = 'r'\ninput = 'a'");
    insta::assert_snapshot!(failure(&device), @"E034 e.toml:1:10: no device `abacus`: known devices are `cpu`, `cuda` and `cuda:N`");
}

#[test]
fn tensors_of_files_are_given_and_are_inputs() {
    use safetensors::tensor::{Dtype, TensorView};

    let folder = tempfile::tempdir().unwrap();
    let floats: Vec<u8> = [0.5f32; 64].iter().flat_map(|x| x.to_le_bytes()).collect();
    let ids: Vec<u8> = [3i64, 1, 2, 5, 6, 7]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let below: Vec<u8> = [5i64, -100].iter().flat_map(|x| x.to_le_bytes()).collect();
    let odd: Vec<u8> = ((1i64 << 24) + 1).to_le_bytes().to_vec();
    let view =
        |dtype, shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
    let tensors = [
        ("push", view(Dtype::F32, &[1, 1, 64], &floats)),
        ("ids", view(Dtype::I64, &[2, 3], &ids)),
        ("below", view(Dtype::I64, &[2], &below)),
        ("odd", view(Dtype::I64, &[1], &odd)),
        ("cube", view(Dtype::I64, &[1, 2, 3], &ids)),
        ("none", view(Dtype::I64, &[0, 3], &[])),
    ];
    let bytes = safetensors::serialize(tensors, None).unwrap();
    fs::write(folder.path().join("t.safetensors"), bytes).unwrap();
    let file = folder.path().join("e.toml");
    let run = |input: &str, given: &str, program: &str| {
        let text = format!(
            "model = 'induction'\n[[input]]\nname = 'a'\ntensor = 't.safetensors#{input}'\n[[given]]\nname = 'push'\n\
             tensor = 't.safetensors#{given}'\n[[run]]\nname = 'r'\ninput = 'a'\nprogram = '{program}'\n"
        );
        let experiment = FileExperiment::new(&file.display().to_string(), &text);
        experiment.run(Mode::Plain, Policy::Digest, &mut ())
    };
    let program = "save t = input; h = layers.0[0..1, -1]; layers.0[0..1, -1] += $push; save d = layers.0[0..1, -1] - h";
    let (report, _) = run("ids", "push", program).unwrap();
    let kept: Vec<String> = report.runs[0]
        .lines()
        .into_iter()
        .map(|(n, text)| format!("{n}: {text}"))
        .collect();
    insta::assert_snapshot!(kept.join("\n"), @"
    d: f32 [1, 1, 64]  mean 0.5000  min 0.5000  max 0.5000  [0.5000, 0.5000, 0.5000, 0.5000, …]
    t: i32 [2, 3]  mean 4.0000  min 1.0000  max 7.0000  [3.0000, 1.0000, 2.0000, 5.0000, …]
    ");

    // Whole numbers are given as the floats that they are.
    let (report, _) = run("ids", "ids", "save t = $push").unwrap();
    let lines = report.runs[0].lines();
    assert_eq!(
        lines[0].1,
        "f32 [2, 3]  mean 4.0000  min 1.0000  max 7.0000  [3.0000, 1.0000, 2.0000, 5.0000, …]"
    );

    let folder = folder.path().display().to_string();
    let failures = [
        ("below", "push"),
        ("cube", "push"),
        ("none", "push"),
        ("push", "push"),
        ("ids", "odd"),
        ("nope", "push"),
        ("ids", "nope"),
    ];
    let failures = failures.map(|(input, given)| {
        let error = run(input, given, "stop").unwrap_err();
        let text = format!("{} {error}", error.code());
        text.replace(&format!("{folder}{}", std::path::MAIN_SEPARATOR), "")
    });
    insta::assert_snapshot!(failures.join("\n"), @r#"
    E117 e.toml:3:8: cannot take the tensor `t.safetensors#below`: tokens are integers from 0 to 2^32 - 1, and number 1 of these (from 0) is -100, which marks labels that a loss leaves out; take the inputs that belong to them
    E117 e.toml:3:8: cannot take the tensor `t.safetensors#cube`: tokens have one dimension or two, and these [1, 2, 3]
    E117 e.toml:3:8: cannot take the tensor `t.safetensors#none`: there are no tokens in it, its shape is [0, 3]
    E117 e.toml:3:8: cannot take the tensor `t.safetensors#push`: tokens are integers from 0 to 2^32 - 1, and these are F32
    E117 e.toml:7:10: cannot take the tensor `t.safetensors#odd`: expected floats, or whole numbers that F32 holds exactly, found I64 (at tensor `odd` of t.safetensors); write it as one of the types F32, F16, BF16, F64
    E117 e.toml:3:8: cannot take the tensor `t.safetensors#nope`: the file has no such tensor; it has ["below", "cube", "ids", "none", "odd", "push"]
    E117 e.toml:7:10: cannot take the tensor `t.safetensors#nope`: expected a tensor `nope` in t.safetensors, found no such tensor; see the file's table of tensors
    "#);
}

#[test]
fn sweeps_make_runs_and_invokes() {
    let text = format!(
        "{START}[set]\nlayers = 2\n[[run]]\nname = 'L{{layer}}_{{kind}}'\neach = {{ layer = '0..{{layers}}', kind = ['attn', 'mlp'] }}\n\
         [[run.invoke]]\nname = 'p{{p}}'\neach = {{ p = [0, 2] }}\ninput = 'a'\nprogram = 'h = layers.{{layer}}.{{kind}}[.., {{p}}]'\n"
    );
    let plan = plan(&text).unwrap();
    let names: Vec<&str> = plan.runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["L0_attn", "L0_mlp", "L1_attn", "L1_mlp"]);
    let invokes = plan.runs[2].invokes.iter();
    let invokes: Vec<String> = invokes
        .map(|invoke| {
            format!(
                "{}: {}",
                invoke.name,
                to_text(&invoke.program).unwrap().trim()
            )
        })
        .collect();
    assert_eq!(
        invokes,
        [
            "p0: h = layers.1.attn[.., 0..1]",
            "p2: h = layers.1.attn[.., 2..3]"
        ]
    );
    let one = BTreeMap::from([("layers".to_owned(), "1".to_owned())]);
    assert_eq!(Plan::read("e.toml", &text, &one).unwrap().runs.len(), 2);
}

/// Later programs are given what earlier runs saved, by the short name if it is clear whose it is.
#[test]
fn later_runs_use_what_earlier_ones_saved() {
    let text = format!(
        "{START}[[run]]\nname = 'one'\n\
         [[run.invoke]]\nname = 'x'\ninput = 'a'\nprogram = 'save h = embed.output; save n = 2 + 3; save both = 1'\n\
         [[run.invoke]]\nname = 'y'\ninput = 'a'\nprogram = 'save l = []; append(l, embed.output); append(l, 7); save both = 2'\n\
         [[run]]\nname = 'two'\ninput = 'a'\nprogram = '''\n\
         save same = sum(embed.output - $one.h)\nsave n = $one.n * 2\nsave first = sum(layers.0.input) - sum($one.l[0])\nsave y = $one.y.both\n'''\n"
    );
    let lines = |run: &RunReport| {
        let lines = run.lines().into_iter();
        lines
            .map(|(name, text)| format!("{name}: {text}"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    insta::assert_snapshot!(lines(&report(&text).runs[1]), @"
    first: f32 [1]  mean 4.3631  min 4.3631  max 4.3631  [4.3631]
    n: 10
    same: f32 [1]  mean 0.0000  min 0.0000  max 0.0000  [0.0000]
    y: 2
    ");
    let unclear = text.replace("$one.y.both", "$one.both");
    insta::assert_snapshot!(failure(&unclear), @"E107 e.toml:22, mediator `two`: the program is given no value `one.both`; nearest: `one.x.both`, `one.y.both`, `one.h`");
}

#[test]
fn everything_that_programs_leave_is_reported() {
    let text = format!(
        "{START}[[run]]\nname = 'r'\n\
         [[run.invoke]]\nname = 'gone'\ninput = 'a'\nprogram = '''\n  h = layers.1\n  try {{ g = layers.0 }} catch late\n  \
         if caught(late) {{ mark 'too late' }}\n  save h\n  barrier met'''\n\
         [[run.invoke]]\nname = 'other'\ninput = 'a'\nprogram = '''\n  cache c = outputs(layers.0.attn)\n  barrier met\n  stop'''\n\
         [run.barriers]\nmet = 2\n\
         [[run]]\nname = 'plain'\ninput = 'a'\n[run.report]\ntop = 2\nloss_from = 0\nanswers = ['3', '1']\n\
         [[run]]\nname = 'more'\ninput = 'a'\ngenerate = 4\nprogram = '''\n  save all = []\n  for i in .. {{ append(all, argmax_last(output)) }}'''\n"
    );
    let report = report(&text);
    let json = without_fractions(report.to_json());
    insta::assert_snapshot!(serde_json::to_string(&json).unwrap(), @r#"{"about":null,"file":"e.toml","model":"induction","runs":[{"each":{},"end":"stopped by `other` at `layers.1.output.i0`","generated":null,"invokes":[{"caught":{"late":"`layers.0.output.i0` was already passed when it was asked for, with the model at `layers.1.output.i0`; ask for it before you ask for a later site, or keep the value when it passes"},"each":{},"marks":["too late"],"name":"gone","saved":{"h":{"dtype":"f32","first":["number","number","number","number"],"max":"number","mean":"number","min":"number","shape":[1,3,64]}}},{"caught":{},"each":{},"marks":[],"name":"other","saved":{"c.layers.0.attn.output.i0":{"dtype":"f32","first":["number","number","number","number"],"max":"number","mean":"number","min":"number","shape":[1,3,64]}}}],"lenses":[],"name":"r","rows":[],"warnings":[]},{"each":{},"end":"completed","generated":null,"invokes":[],"lenses":[],"name":"plain","rows":[{"answers":[{"logit":"number","probability":"number","text":"3","token":3},{"logit":"number","probability":"number","text":"1","token":1}],"input":"a","invoke":null,"loss":"number","top":[{"logit":"number","probability":"number","text":"1","token":1},{"logit":"number","probability":"number","text":"23","token":23}]}],"warnings":[]},{"each":{},"end":"completed","generated":{"text":"1 2 3 1","tokens":[1,2,3,1]},"invokes":[{"caught":{},"each":{},"marks":[],"name":"more","saved":{"all.0":{"dtype":"i64","first":["number"],"max":"number","mean":"number","min":"number","shape":[1]},"all.1":{"dtype":"i64","first":["number"],"max":"number","mean":"number","min":"number","shape":[1]},"all.2":{"dtype":"i64","first":["number"],"max":"number","mean":"number","min":"number","shape":[1]},"all.3":{"dtype":"i64","first":["number"],"max":"number","mean":"number","min":"number","shape":[1]}}}],"lenses":[],"name":"more","rows":[],"warnings":[]}]}"#);
    let names: Vec<String> = report.tensors().into_iter().map(|(name, _)| name).collect();
    insta::assert_snapshot!(names.join(" "), @"r/gone/h r/other/c.layers.0.attn.output.i0 more/more/all.0 more/more/all.1 more/more/all.2 more/more/all.3");
}

/// Numbers that are not whole may differ in their last places from machine to machine.
fn without_fractions(json: serde_json::Value) -> serde_json::Value {
    use serde_json::Value as Json;

    match json {
        Json::Number(number) if number.is_f64() => Json::from("number"),
        Json::Array(items) => items.into_iter().map(without_fractions).collect(),
        Json::Object(entries) => {
            let entries = entries.into_iter();
            entries
                .map(|(key, value)| (key, without_fractions(value)))
                .collect()
        }
        other => other,
    }
}

/// A small file cannot make a large one of itself.
#[test]
fn what_sweeps_make_is_limited() {
    let long = "{x}".repeat(1000);
    let value = "y".repeat(10_000);
    let twice = format!(
        "{START}[set]\nx = '{value}'\n[[run]]\nname = 'r'\ninput = 'a'\nprogram = '#{long}'"
    );
    let often = format!(
        "{START}[[run]]\nname = 'r{{i}}'\ninput = 'a'\neach = {{ i = '0..4096' }}\nprogram = '#{}'",
        "z".repeat(3000)
    );
    insta::assert_snapshot!(errors([twice.as_str(), &often]), @"
    E116 e.toml:10:12: with this, what sweeps make is longer than 8388608 bytes; sweep over less, or split the file
    E116 e.toml:9:12: with this, what sweeps make is longer than 8388608 bytes; sweep over less, or split the file
    ");
    let name = "z".repeat(100_000);
    let error = plan(&format!("{START}[[run]]\nname = 'r'\ninput = '{name}'")).unwrap_err();
    assert_eq!(error.code(), "E115");
}

#[test]
fn iterations_that_never_came_are_a_warning() {
    let text = format!(
        "{START}[[run]]\nname = 'r'\ninput = 'a'\ngenerate = 2\nprogram = 'for i in 0..5 {{ h = layers.0 }}'\n"
    );
    insta::assert_snapshot!(report(&text).runs[0].warnings.join("\n"), @"r: iterations 2 to 4 of a loop never came, or not all of them: `layers.0.output.i2` was not passed");
}

#[test]
fn a_journals_head_gives_the_experiment_back() {
    let experiment = FileExperiment {
        model: Some("m".to_owned()),
        set: BTreeMap::from([("x".to_owned(), "a=b".to_owned())]),
        ..FileExperiment::new("e.toml", "text")
    };
    let described = experiment.describe();
    assert_eq!(
        FileExperiment::from_arguments(&described).unwrap(),
        experiment
    );
    for name in ["file", "text"] {
        let mut cut = described.clone();
        cut.arguments.remove(name);
        assert_eq!(
            FileExperiment::from_arguments(&cut).unwrap_err().code(),
            "E091"
        );
    }
    for wrong in [
        Argument::Int(3),
        Argument::List(vec![Argument::Int(3)]),
        Argument::List(vec!["x".into()]),
    ] {
        let mut cut = described.clone();
        cut.arguments.insert("set".to_owned(), wrong);
        assert_eq!(
            FileExperiment::from_arguments(&cut).unwrap_err().code(),
            "E091"
        );
    }
}

#[test]
fn files_that_are_no_text_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("bytes.toml"), [b'a', 0xFF, 0xFE]).unwrap();
    fs::write(path("long.toml"), vec![b'#'; FILE_BYTES_MAX as usize + 1]).unwrap();
    fs::create_dir(path("folder.toml")).unwrap();
    let message = |name: &str| {
        let error = FileExperiment::open(&path(name)).unwrap_err();
        assert_eq!(error.code(), "E110");
        let folder = format!("{}{}", folder.path().display(), std::path::MAIN_SEPARATOR);
        error.to_string().replace(&folder, "")
    };
    fs::write(folder.path().join("a.ilj"), b"\x89ILJ\r\n\x1a\n").unwrap();
    insta::assert_snapshot!(message("a.ilj"), @"cannot read the experiment a.ilj: it is a journal, of runs that `interloom replay a.ilj` makes again; name an experiment file, which is TOML");
    insta::assert_snapshot!(message("bytes.toml"), @"cannot read the experiment bytes.toml: it is no text in UTF-8 from byte 1 on; experiment files are TOML");
    insta::assert_snapshot!(message("long.toml"), @"cannot read the experiment long.toml: it has more than 1048576 bytes; put tensors into a safetensors file");
    insta::assert_snapshot!(message("folder.toml"), @"cannot read the experiment folder.toml: it is a folder; name a file in it");
    assert!(message("nothing.toml").starts_with("cannot read the experiment nothing.toml: "));
}

#[test]
fn a_limit_of_positions_is_set_in_the_file() {
    let run = "[[run]]\nname = 'r'\ninput = 'a'\ngenerate = 3\n";
    let limited = format!("positions = 5\n{START}{run}");
    insta::assert_snapshot!(failure(&limited), @"E118 e.toml:7:8: the model does not take this: 6 tokens, and Interloom's own limit is 5, although the model has 48 positions; shorten the prompt, or set another limit: `positions = 6` in an experiment file, `LanguageModel::limit_positions`");
    assert_eq!(
        report(&format!("positions = 6\n{START}{run}")).runs.len(),
        1
    );
    let wrong = errors(["model = 'induction'\npositions = 0\n"]);
    insta::assert_snapshot!(wrong, @"E113 e.toml:2:13: `positions` must be a whole number from 1 to 67108864, found 0");
}
