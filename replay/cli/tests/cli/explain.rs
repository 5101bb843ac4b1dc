//! Help, usage and the catalogue of codes.

use crate::{Place, without_folder};

fn help(command: &[&str]) -> String {
    let place = Place::new();
    let ended = place.run(&[command, &["--help"]].concat()).with(0);
    assert_eq!(ended.err, "");
    without_folder(&place, &ended.out)
}

#[test]
fn help_of_the_program() {
    insta::assert_snapshot!(help(&[]));
}

#[test]
fn help_of_demo() {
    insta::assert_snapshot!(help(&["demo"]), @r"
    Ablate each head of a trained two-layer transformer, record every exchange, and replay the journal
    in a new process

    Usage: interloom demo [OPTIONS]

    Options:
          --journal <FILE>  Where to write the journal; an older journal there is replaced [default:
                            interloom-demo.ilj]
          --full            Keep the values of all tensors in the journal, not only their digests
          --sample <N>      Keep the values of the tensors of every Nth exchange only, the first
                            included
          --json            Report as JSON
      -h, --help            Print help
    ");
}

#[test]
fn help_of_run() {
    insta::assert_snapshot!(help(&["run"]));
}

#[test]
fn help_of_explore() {
    insta::assert_snapshot!(help(&["explore"]), @"
    Make the runs of an experiment file in every order of their mediators that can make a difference.

    Each run of the file is explored on its own, given what the runs before it have saved. Two runs are
    alike if they end alike, save the same and have the same output, bit for bit. What only the order
    decides is said first, with both lines; then whether it makes a difference, and a schedule for each
    outcome, with which `interloom run --schedule` makes it again.

    Exits with 0 if the order makes no difference or none was found, and with 1 if it makes one, or if a
    run was not explored because one before it fails.

    Usage: interloom explore [OPTIONS] <EXPERIMENT>

    Arguments:
      <EXPERIMENT>
              The experiment file

    Options:
          --model <MODEL>
              Another model than the file names

          --device <DEVICE>
              Another device than the file names: `cpu`, `cuda` or `cuda:N`

          --set <NAME=VALUE>
              Another value for a name in the file's `[set]`; can be given several times

          --runs <N>
              Make each run of the file at most so many times
              
              [default: 1000]

          --seconds <S>
              Begin no further run after so many seconds in all; each run of the file is made once at
              least

          --granularity <TURN>
              How long a turn of a mediator lasts: until it asks for another site, or until it has been
              served once
              
              [default: site]
              [possible values: site, exchange]

          --schedules <ORDERS>
              Which orders are tried: `all` that can make a difference, or samples: `random:SEED` with
              equal chances, `pct:DEPTH` by random priorities
              
              [default: all]

          --out <DIR>
              A folder for a journal of each outcome, `RUN.1.ilj` and so on; older ones are replaced

          --shrink
              Also make of each difference the smallest experiment that shows it: fewer mediators,
              steps, iterations and tokens, and the smallest schedule. With `--out` it is written there,
              with a journal of both orders, and else it is printed

          --shrink-runs <N>
              Make at most so many runs to shrink each difference
              
              [default: 5000]

          --batch-mates
              Also run each invoke with rows alone, and say where its values are others than in the
              batch

          --json
              Report as JSON

      -h, --help
              Print help (see a summary with '-h')
    ");
}

#[test]
fn help_of_replay() {
    insta::assert_snapshot!(help(&["replay"]), @r"
    Make the runs of a journal again, and compare every exchange.

    Says `bit-identical` and what that proves, and exits with 0; or shows the first difference and exits
    with 4.

    Usage: interloom replay [OPTIONS] <FILE>

    Arguments:
      <FILE>
              The journal

    Options:
          --model <MODEL>
              Where the model is, if it is not where the recording found it

          --mode <MODE>
              What is live: `verify` runs model and mediators; `serve` gives the mediators the journal's
              values and runs no model; `drive` asks the model for what the journal's mediators asked
              for, and runs none. The last two need a journal that was recorded with `--full`
              
              [default: verify]
              [possible values: verify, serve, drive]

          --json
              Report as JSON

      -h, --help
              Print help (see a summary with '-h')
    ");
}

#[test]
fn help_of_bisect() {
    insta::assert_snapshot!(help(&["bisect"]), @r"
    Find the first exchange at which two journals, builds, devices or orders part.

    Exits with 0 if nothing parts, and with 4 if something does.

    Usage: interloom bisect <COMMAND>

    Commands:
      journals   Find the first exchange at which two journals part; each is read once
      build      Make the runs of a journal again with this build and with another one, and find where
                 the two part
      rerun      Make the runs of a journal again, on another device or in another order, and find where
                 they part from it
      schedules  Of two orders of a run of an experiment file, find the one change that flips the result
      help       Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')
    ");
}

#[test]
fn help_of_step() {
    insta::assert_snapshot!(help(&["step"]), @r"
    Go through a journal, forwards and back: on the screen where there is a terminal, and line by line
    for scripts.

    On the screen `?` lists the keys. In lines, commands are read from standard input: next [N], back
    [N], goto N, site SITE and mediator NAME (the next one there), show, why, quit. Each prints the
    exchange at which it arrives; `show` also the figures of the tensors that are kept, which JSON
    always has. Exits with 2 if a command was not understood.

    Usage: interloom step [OPTIONS] <FILE>

    Arguments:
      <FILE>
              The journal; or a step of a training run: `runs/a@1200`

    Options:
          --at <N>
              Begin at this exchange
              
              [default: 0]

          --plain
              Read commands line by line, also where there is a terminal

          --json
              Print each exchange as JSON; commands are read line by line

      -h, --help
              Print help (see a summary with '-h')
    ");
}

#[test]
fn help_of_causal_trace() {
    insta::assert_snapshot!(help(&["causal-trace"]), @r"
    Patch the residual stream of a clean prompt into a corrupt one, after every block and at every
    position.

    A number is the share of the logit difference between answer and foil that patching restores: 0 is
    as after the corrupt prompt, 1 as after the clean one. The runs are recorded and then replayed.

    Usage: interloom causal-trace [OPTIONS] --model <MODEL> --clean <TEXT> --corrupt <TEXT> --answer <TEXT> --foil <TEXT>

    Options:
          --model <MODEL>
              A GGUF file, a Hugging Face folder, `smollm2-135m` (see scripts/fetch-smollm2),
              `hf:ORG/NAME`, or `induction`

          --clean <TEXT>
              The prompt whose activations are put in; numbers, if the model has no tokenizer

          --corrupt <TEXT>
              The prompt that they are put into, of as many tokens

          --answer <TEXT>
              The answer to the clean prompt: one token, most often with a space in front

          --foil <TEXT>
              The answer to the corrupt prompt: one token

          --csv <FILE>
              Where to write block, position, token and restored share as comma-separated values

          --svg <FILE>
              Where to write the heat map as SVG

          --journal <FILE>
              Where to write the journal; an older journal there is replaced
              
              [default: causal-trace.ilj]

          --full
              Keep the values of all tensors in the journal, not only their digests

          --sample <N>
              Keep the values of the tensors of every Nth exchange only, the first included

          --no-replay
              Do not replay the journal at the end

          --device <DEVICE>
              The device: `cpu`, `cuda` or `cuda:N`
              
              [default: cpu]

          --json
              Report as JSON

      -h, --help
              Print help (see a summary with '-h')
    ");
}

#[test]
fn help_of_sites() {
    insta::assert_snapshot!(help(&["sites"]), @r"
    List the sites of a model, in the order of its module tree, with their shapes and their
    TransformerLens names.

    The shapes are those of a batch of one row of three tokens, or of one image; a site that such a
    batch does not pass has none.

    Usage: interloom sites [OPTIONS] --model <MODEL>

    Options:
          --model <MODEL>
              `induction`, or a language model: a GGUF file, a Hugging Face folder, `smollm2-135m`, or
              `hf:ORG/NAME`

          --operations
              List the operations inside the modules as well: the calls in their forward functions

          --parameters
              List the gradients of the parameters as well, which are sites at the end of a backward
              pass

          --json
              Report as JSON

      -h, --help
              Print help (see a summary with '-h')
    ");
}

#[test]
fn help_of_explain() {
    insta::assert_snapshot!(help(&["explain"]), @r"
    Say what an error code means and what to do; without one, list all of them

    Usage: interloom explain [OPTIONS] [CODE]

    Arguments:
      [CODE]  The code, such as E002

    Options:
          --json  Report as JSON
      -h, --help  Print help
    ");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let place = Place::new();
    for arguments in [
        &["frobnicate"][..],
        &["replay"],
        &["demo", "--sequences", "3"],
        &["sites"],
        &["causal-trace", "--model", "m"],
    ] {
        let ended = place.run(arguments).with(2);
        assert_eq!(ended.out, "");
        assert!(ended.err.contains("Usage: interloom"), "{}", ended.err);
    }
    let unknown = place.run(&["frobnicate"]).err;
    assert!(
        unknown.starts_with("error: unrecognized subcommand 'frobnicate'\n"),
        "{unknown}"
    );
    assert!(place.run(&[]).with(2).err.contains("Commands:\n"));
    assert_eq!(place.files(), [""; 0]);
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = Place::new().run(&["--version"]).with(0).out;
    assert_eq!(
        version,
        format!("interloom {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_code_is_explained() {
    let place = Place::new();
    let explained = place.run(&["explain", "E002"]).with(0).out;
    insta::assert_snapshot!(explained, @"
    E002: the site was already passed
    at fault: mediator

    A value can be read and replaced only while the model passes its site, and the
    model passes each site once per iteration. The mediator asked for a site that
    the model had already left. The fault is delivered to the mediator, which may
    catch it and continue.

    for example:

        error[E002]: mediator `r` failed at `layers.1.output.i0` (e.toml:17): `layers.0.output.i0` was
        already passed when it was asked for, with the model at `layers.1.output.i0`; ask for it before you
        ask for a later site, or keep the value when it passes

    what to do: Ask for sites in the order in which the model passes them, or keep
    an earlier value in a variable.
    ");
    assert_eq!(place.run(&["explain", "e002"]).with(0).out, explained);
}

#[test]
fn a_code_that_there_is_not_is_wrong_usage() {
    let ended = Place::new().run(&["explain", "nope"]).with(2);
    assert_eq!(ended.out, "");
    insta::assert_snapshot!(ended.err, @"no error code `nope`; `interloom explain` lists all of them");
}

#[test]
fn all_codes_are_listed_in_order() {
    let place = Place::new();
    let list = place.run(&["explain"]).with(0).out;
    let known = interloom_cli::codes();
    assert_eq!(list.lines().count(), known.len());
    for (line, code) in list.lines().zip(&known) {
        assert_eq!(line, format!("{}  {}", code.code, code.title));
    }
    let mut sorted: Vec<&str> = list.lines().collect();
    sorted.sort_unstable();
    assert!(sorted.iter().eq(list.lines().collect::<Vec<_>>().iter()));
    assert!(known.len() > 50 && list.contains("E080  "));
}

#[test]
fn the_sites_of_the_induction_model_are_listed() {
    let sites = Place::new()
        .run(&["sites", "--model", "induction"])
        .with(0)
        .out;
    let lines: Vec<&str> = sites.lines().collect();
    let start = |line: &str| line.split(' ').next().map(str::to_owned);
    assert_eq!(
        [start(lines[0]), start(lines[1])],
        [Some("input".to_owned()), Some("output".to_owned())]
    );
    // Parameters have gradients, and are listed where that is asked for.
    let all = Place::new()
        .run(&["sites", "--model", "induction", "--parameters"])
        .with(0)
        .out;
    let parameters: Vec<&str> = all.lines().skip(lines.len()).collect();
    assert!(all.starts_with(&sites));
    assert_eq!(
        parameters[0].split_whitespace().next(),
        Some("embed.weight.grad")
    );
    let named = |line: &&&str| line.starts_with("layers.1.attn.output.weight.grad");
    let found = parameters.iter().find(named).unwrap();
    assert!(found.ends_with("[64, 64]"), "{found}");
    let named = |line: &&&str| line.starts_with("layers.1.attn.pattern.output");
    let found = lines.iter().find(named).unwrap();
    assert_eq!(
        found.split_whitespace().last(),
        Some("blocks.1.attn.hook_pattern")
    );
}
