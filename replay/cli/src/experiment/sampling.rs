//! Tokens that are drawn.

use interloom_journal::Policy;

use super::{FileExperiment, Generated, Mode, RunReport};

const INPUTS: &str = "model = 'induction'\n\
    [[input]]\nname = 'a'\ntokens = [17, 3, 29, 17, 3]\n\
    [[input]]\nname = 'b'\ntokens = [8, 35]\n\
    [[input]]\nname = 'c'\ntokens = [[8, 35], [8, 35], [17, 3, 29, 17, 3]]\n";

const DRAWN: &str =
    "generate = { tokens = 6, temperature = 9, top_k = 30, top_p = 0.98, seed = 5 }\n";

fn experiment(runs: &str) -> FileExperiment {
    FileExperiment::new("e.toml", &format!("{INPUTS}{runs}"))
}

fn run(runs: &str) -> Vec<RunReport> {
    let ran = experiment(runs).run(Mode::Plain, Policy::Digest, &mut ());
    ran.unwrap_or_else(|error| panic!("{error}")).0.runs
}

/// What is generated of each row.
fn tokens(run: &RunReport) -> Vec<Vec<u32>> {
    let rows = run.rows.iter().filter_map(|row| row.generated.clone());
    let all = run.generated.clone().into_iter().chain(rows);
    all.map(|generated: Generated| generated.tokens).collect()
}

#[test]
fn r52_a_row_draws_the_same_alone_and_in_company() {
    let of = |input: &str, keys: &str| {
        let text = format!("[[run]]\nname = 'r'\ninput = {input}\n{keys}");
        tokens(&run(&text)[0])
    };
    let [a, b] = ["'a'", "'b'"].map(|input| of(input, DRAWN).remove(0));
    assert_eq!(of("['b', 'a']", DRAWN), [b.clone(), a.clone()]);
    // The first of the copies is the one that is alone.
    let copies = of("'c'", DRAWN);
    assert_eq!((&copies[0], &copies[2]), (&b, &a));
    assert_ne!(copies[1], b);
    let invoke = |(at, input): (usize, &&str)| {
        format!(
            "[[run.invoke]]\nname = 'i{at}'\ninput = '{input}'\nprogram = ''\noptional = true\n"
        )
    };
    let invokes: String = ["b", "a", "b"].iter().enumerate().map(invoke).collect();
    let invokes = format!("[[run]]\nname = 'r'\n{DRAWN}{invokes}");
    assert_eq!(tokens(&run(&invokes)[0]), [b.clone(), a.clone(), b]);
    assert_ne!(of("'a'", &DRAWN.replace("seed = 5", "seed = 6"))[0], a);
    // Without heat it is what is most likely.
    let both = "['a', 'b']";
    let cold = of(both, "generate = 6\n");
    for keys in ["", ", temperature = 0", ", top_k = 1, seed = 9"] {
        let keys = format!("generate = {{ tokens = 6{keys} }}\n");
        assert_eq!(of(both, &keys), cold, "{keys}");
    }
}

#[test]
fn seeds_are_swept_over() {
    let text = "[[run]]\nname = 'r_{s}'\neach = { s = '0..6' }\ninput = 'a'\n\
                generate = { tokens = 5, temperature = 4, seed = '{s}' }\n";
    let mut drawn: Vec<Vec<u32>> = run(text).iter().flat_map(tokens).collect();
    drawn.sort();
    drawn.dedup();
    assert!(drawn.len() > 3, "{drawn:?}");
}

/// What a program puts in the place of a draw is what the row goes on with.
#[test]
fn a_draw_is_a_site() {
    let run_of = |program: &str| {
        let text = format!("[[run]]\nname = 'r'\ninput = 'a'\n{DRAWN}{program}");
        tokens(&run(&text)[0]).remove(0)
    };
    let free = run_of("");
    let forced = run_of(
        "program = 'for i in 1 { d = sample.output; d[0] = d[0] * 0 + 7; sample.output = d }'\n",
    );
    assert_eq!((forced[0], forced[1]), (free[0], 7));
}

#[test]
fn what_nothing_can_be_drawn_with_is_refused_with_its_place() {
    let errors = [
        "temperature = -1",
        "temperature = nan",
        "top_k = 0",
        "top_k = 1.5",
        "top_p = 0",
        "top_p = 1.01",
        "top_p = 'all'",
        "seed = -1",
        "seed = [1]",
        "heat = 1",
    ]
    .map(|key| {
        let keys = format!("generate = {{ tokens = 2, {key} }}\n");
        let text = format!("[[run]]\nname = 'r'\ninput = 'a'\n{keys}");
        let error = experiment(&text).check().unwrap_err();
        format!("{} {error}", error.code())
    });
    insta::assert_snapshot!(errors.join("\n"), @"
    E137 e.toml:14:40: `temperature` must be a finite number from 0, where 0 takes the most likely token, found -1
    E137 e.toml:14:40: `temperature` must be a finite number from 0, where 0 takes the most likely token, found NaN
    E137 e.toml:14:34: `top_k` must be at least 1 token; leave it out to draw from all, found 0
    E113 e.toml:14:34: `top_k` must be a whole number, found 1.5
    E137 e.toml:14:34: `top_p` must be a probability above 0 and at most 1; leave it out to draw from all, found 0
    E137 e.toml:14:34: `top_p` must be a probability above 0 and at most 1; leave it out to draw from all, found 1.01
    E113 e.toml:14:34: `top_p` must be a number, found all
    E113 e.toml:14:33: `seed` must be a whole number from 0, found -1
    E113 e.toml:14:33: `seed` must be a number, found a list
    E112 e.toml:14:26: [run.generate] has no key `heat`; nearest: `seed`, `tokens`, `top_k`
    ");
    let without = experiment("[[run]]\nname = 'r'\ninput = 'a'\ngenerate = { seed = 2 }\n");
    insta::assert_snapshot!(without.check().unwrap_err(), @"e.toml:14:12: `tokens` must be how many to generate, found nothing");
}
