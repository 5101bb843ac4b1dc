//! Rows that differ in length, in one batch: positions are those of each row, and what is read is
//! what the row alone has.

use interloom_journal::Policy;

use super::kept::Kept;
use super::{FileExperiment, Mode, RowReport, RunReport};

/// The rows, by the names of their inputs.
const ROWS: [(&str, &[u32]); 4] = [
    ("a", &[17, 3, 29, 17, 3]),
    ("b", &[8, 35]),
    ("c", &[5, 9, 14, 22, 5, 9, 14, 22, 5]),
    ("d", &[8, 30]),
];

fn text(runs: &str) -> String {
    let input = |(name, tokens): (&str, &[u32])| {
        format!("[[input]]\nname = '{name}'\ntokens = {tokens:?}\n")
    };
    format!("model = 'induction'\n{}{runs}", ROWS.map(input).concat())
}

fn run(runs: &str) -> Result<Vec<RunReport>, String> {
    let experiment = FileExperiment::new("e.toml", &text(runs));
    let report = experiment.run(Mode::Plain, Policy::Digest, &mut ());
    let report = report.map_err(|error| format!("{} {error}", error.code()))?;
    Ok(report.0.runs)
}

/// A run of a program on these inputs together.
fn together(inputs: &[&str], program: &str) -> Result<RunReport, String> {
    let text = format!("[[run]]\nname = 'r'\ninput = {inputs:?}\nprogram = '''\n{program}'''\n");
    run(&text).map(|mut runs| runs.remove(0))
}

fn saved(run: &RunReport, invoke: &str, name: &str) -> (Vec<usize>, Vec<f64>) {
    let invoke = run.invokes.iter().find(|other| other.name == invoke);
    let kept = &invoke.unwrap().kept;
    let (_, kept) = kept.iter().find(|(other, _)| other == name).unwrap();
    match kept {
        Kept::Tensor(data) => (data.shape().to_vec(), data.iter::<f64>().collect()),
        other => panic!("{other}"),
    }
}

/// Checks numbers that may differ by rounding, for products of other sizes are computed in another
/// order.
#[track_caller]
fn assert_close(one: &[f64], other: &[f64], what: &str) {
    assert_eq!(one.len(), other.len(), "{what}");
    let largest = other.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
    for (one, other) in one.iter().zip(other) {
        assert!(
            (one - other).abs() < 1e-5 * largest,
            "{what}: {one} {other}"
        );
    }
}

/// Programs that save one thing, of which a row has the last elements of dimension 1.
const PROGRAMS: [&str; 18] = [
    "save x = layers.0[.., 0]",
    "save x = layers.0[.., 1]",
    "save x = layers.0[.., -1]",
    "save x = layers.0[.., -2..]",
    "save x = layers.0[.., 0..2]",
    "save x = layers.0[.., 1..]",
    "save x = layers.0[.., ..-1]",
    "save x = layers.0",
    "h = layers.0; save x = (h * 2 - abs(h) / 3)[.., 1]",
    "h = layers.0; g = h[.., 1..] + h[.., ..-1]; save x = g[.., 0]",
    "h = layers.1; save x = unembed(h)[.., 0]",
    "h = layers.0; save x = layers.1(h)[.., 1]",
    "h = layers.0; h[.., 0] = 0; layers.0 = h; save x = output[.., 1]",
    "layers.0[.., 1] = 0; save x = output[.., -1]",
    "layers.0[.., 1..] *= 2; save x = layers.0",
    "layers.0.attn.z[.., ..-1, 2] *= -1; save x = output[.., -1]",
    "layers.0.attn.v[.., 0] = layers.0.attn.v[.., -1]; save x = output",
    "layers.1.attn.scores[.., .., -1, 0] += 3; save x = output[.., -1]",
];

#[test]
fn r52_positions_are_those_of_each_row() {
    let inputs: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
    for program in PROGRAMS {
        let batch = together(&inputs, program).unwrap_or_else(|error| panic!("{program}: {error}"));
        let (shape, all) = saved(&batch, "r", "x");
        let width: usize = all.len() / shape[0];
        for (row, name) in inputs.iter().enumerate() {
            let alone = together(&[name], program).unwrap();
            let (own_shape, own) = saved(&alone, "r", "x");
            assert_eq!(own_shape[2..], shape[2..], "{program}");
            let all = &all[row * width..(row + 1) * width];
            assert_close(
                &all[width - own.len()..],
                &own,
                &format!("{program} of {name}"),
            );
        }
    }
}

#[test]
fn r52_an_invoke_sees_what_its_prompt_passes_alone() {
    let programs: Vec<&str> = PROGRAMS
        .iter()
        .copied()
        .chain([
            "save x = sum(layers.0.attn.pattern)",
            "save x = mean(layers.0, 1)",
            "backward sum(output[.., -1, 7]) { save x = layers.0.grad }",
            "skip layers.1 = layers.1.input * 0.5; save x = output",
        ])
        .collect();
    for (number, program) in programs.iter().enumerate() {
        // What has to be done together is done by all, and otherwise each does something else.
        let has_to = program.starts_with("skip");
        let of = |row: usize| match has_to {
            true => program,
            false => programs[(number + row) % PROGRAMS.len()],
        };
        let invokes = ROWS.iter().enumerate().map(|(row, (name, _))| {
            format!(
                "[[run.invoke]]\nname = 'i{name}'\ninput = '{name}'\nprogram = '''\n{}'''\n",
                match row {
                    0 => program,
                    row => of(row),
                }
            )
        });
        let runs = format!("[[run]]\nname = 'r'\n{}", invokes.collect::<String>());
        let batch = run(&runs)
            .unwrap_or_else(|error| panic!("{program}: {error}"))
            .remove(0);
        let alone = together(&["a"], program).unwrap();
        let ((shape, batch), (own, alone)) = (saved(&batch, "ia", "x"), saved(&alone, "r", "x"));
        assert_eq!(shape, own, "{program}");
        assert_close(&batch, &alone, program);
    }
}

#[test]
fn what_would_mix_padding_with_tokens_is_refused() {
    let failures = [
        "save x = sum(layers.0)",
        "save x = mean(layers.0, 1)",
        "save x = softmax(layers.0.attn.pattern, -1)",
        "save x = matmul(layers.0.attn.pattern, layers.0.attn.pattern)",
        "save x = layers.0[.., 2]",
        "layers.0[.., -3..] = 0",
    ]
    .map(|program| together(&["a", "b"], program).unwrap_err());
    insta::assert_snapshot!(failures.join("\n"), @"
    E103 mediator `r` failed at `layers.0.output.i0` (e.toml:18): `sum` is not possible over the positions of rows that differ in length, of which some are padding; take positions that all rows have, such as `[.., -1]`, or give each prompt an invoke of its own
    E103 mediator `r` failed at `layers.0.output.i0` (e.toml:18): `mean` is not possible over the positions of rows that differ in length, of which some are padding; take positions that all rows have, such as `[.., -1]`, or give each prompt an invoke of its own
    E103 mediator `r` failed at `layers.0.attn.pattern.output.i0` (e.toml:18): `softmax` is not possible over the positions of rows that differ in length, of which some are padding; take positions that all rows have, such as `[.., -1]`, or give each prompt an invoke of its own
    E103 mediator `r` failed at `layers.0.attn.pattern.output.i0` (e.toml:18): `matmul` is not possible over the positions of rows that differ in length, of which some are padding; take positions that all rows have, such as `[.., -1]`, or give each prompt an invoke of its own
    E108 e.toml:18, mediator `r`: the span `2..3` does not lie in dimension 1 of [2, 2, 64]
    E108 e.toml:18, mediator `r`: the span `-3..` does not lie in dimension 1 of [2, 2, 64]
    ");
    // Along other dimensions they are possible.
    assert!(together(&["a", "b"], "save x = sum(layers.0, -1)[.., 0]").is_ok());
}

#[test]
fn loss_and_tokens_leave_padding_out() {
    let report = "[run.report]\ntop = 2\nloss_from = 0\nanswers = ['3']\n";
    let inputs: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
    let batch = run(&format!(
        "[[run]]\nname = 'r'\ninput = {inputs:?}\n{report}"
    ))
    .unwrap();
    for (row, name) in batch[0].rows.iter().zip(inputs) {
        let alone = run(&format!("[[run]]\nname = 'r'\ninput = '{name}'\n{report}")).unwrap();
        let alone = &alone[0].rows[0];
        assert_eq!(row.top[0].token, alone.top[0].token);
        let numbers = |row: &RowReport| [row.loss.unwrap(), row.answers[0].logit, row.top[1].logit];
        assert_close(&numbers(row), &numbers(alone), name);
    }
    let from = |from| {
        run(&format!(
            "[[run]]\nname = 'r'\ninput = ['a', 'b']\n[run.report]\nloss_from = {from}\n"
        ))
    };
    insta::assert_snapshot!(from(1).unwrap_err(), @"E113 e.toml:18:13: `loss_from` must be a position that has a next token: from 0 to 0, because the shortest row of the run `r` has 2 tokens, found 1");
}

#[test]
fn rows_are_continued_together_as_alone() {
    let inputs: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
    let generation = |inputs: &[&str]| {
        let program = "for i in 0..4 { layers.0[.., 0] *= 1.5 }";
        run(&format!(
            "[[run]]\nname = 'r'\ngenerate = 4\ninput = {inputs:?}\nprogram = '{program}'\n"
        ))
        .unwrap()
        .remove(0)
    };
    let batch = generation(&inputs);
    assert!(batch.generated.is_none());
    for (row, name) in batch.rows.iter().zip(&inputs) {
        assert_eq!(row.generated, generation(&[name]).generated);
        assert_eq!(row.input, *name);
    }
}
