//! `show` and `why`: what was exchanged, and where a value came from.

use std::fs;

use crate::sample::Sample;
use crate::{GOLDEN, Place};

fn sample() -> Place {
    let place = Place::new();
    Sample::default().write(&place.path("a.ilj"));
    place
}

#[test]
fn every_exchange_is_a_line() {
    let out = sample().run(&["show", "a.ilj"]).with(0).out;
    insta::assert_snapshot!(out, @"
         0  run 0  VALUE      read  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
         1  run 0  END        read  at layers.0.attn.output.i0  served
         2  run 1  VALUE      patch  layers.0.attn.output.i0  served  f32[2] b3:3956c2eac076
         3  run 1  SWAP       patch  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
         4  run 1  VALUE      read  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
         5  run 1  SWAP       patch  layers.1.mlp.output.i0  served  f32[2] b3:63d355adf510
         6  run 1  VALUE      read  layers.1.mlp.output.i0  served  f32[2] b3:63d355adf510
         7  run 1  EXCEPTION  read  at layers.1.mlp.output.i0  failed: E013: it failed
    proves that the journal is whole: 19 frames by CRCs and numbers, 8 of 8 exchanges by the digests of 2 runs up to frame 17, and its end by the footer; none of L1 to L4, because neither model nor mediators ran
    ");
    let place = Place::new();
    fs::copy(GOLDEN, place.path("a.ilj")).unwrap();
    let out = place.run(&["show", "a.ilj"]).with(0).out;
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), 21);
    insta::assert_snapshot!(lines[10..16].join("\n"), @"
    10  run 0  BACKWARD   read  layers.0.attn.output.i5  served  f32[2] b3:b5a3d8b18dbf
        run 0  backward pass 0 begins
    11  run 0  VALUE      read  layers.0.attn.output.grad.i5  served  f32[2] b3:f99b64dba6ed
        run 0  backward pass 0 ends
        run 0  backward pass 1 begins with the loss f32[1] b3:540f18a1cdd3
        run 0  backward pass 1 ends
    ");
    insta::assert_snapshot!(lines[16], @r#"    12  run 1  SWAP       steer  layers.0.mlp.output.i2 at layers.0.attn.output.i70000  refused: E002: `layers.0.mlp.output.i2` was already passed when it was asked for, with the model at `layers.0.attn.output.i70000`; ask for it before you ask for a later site, or keep the value when it passes  ((), true, -7, -0.0, "é", f32[2] b3:acc346244904, [], {"k": 9223372036854775807})"#);
}

#[test]
fn exchanges_are_chosen_by_run_site_and_mediator() {
    let place = sample();
    let count = |arguments: &[&str]| {
        let all = [&["show", "a.ilj"], arguments].concat();
        let out = place.run(&all).with(0).out;
        assert!(out.lines().last().unwrap().starts_with("proves that "));
        out.lines().count() - 1
    };
    assert_eq!(count(&[]), 8);
    assert_eq!(count(&["--run", "0"]), 2);
    assert_eq!(count(&["--mediator", "patch"]), 3);
    assert_eq!(count(&["--site", "layers.0.attn"]), 5);
    assert_eq!(
        count(&["--site", "layers.0.attn.output.i0", "--run", "1"]),
        3
    );
    assert_eq!(count(&["--site", "layers.1.mlp", "--mediator", "patch"]), 1);
    // Each is there, and no exchange is all of them.
    assert_eq!(count(&["--site", "layers.1.mlp", "--run", "0"]), 0);
}

#[test]
fn what_the_journal_does_not_have_is_said() {
    let place = sample();
    let refused = |arguments: &[&str]| {
        let all = [&["show", "a.ilj"], arguments].concat();
        place.run(&all).error("E072", 1)
    };
    insta::assert_snapshot!(refused(&["--run", "2"]), @"a.ilj has no run 2; it has runs 0 to 1");
    insta::assert_snapshot!(refused(&["--site", "layers.9"]), @r#"a.ilj has no exchange at the site "layers.9"; it has layers.1.mlp.output, layers.0.attn.output"#);
    insta::assert_snapshot!(refused(&["--mediator", "nobody"]), @r#"a.ilj has no exchange of the mediator "nobody"; it has ["read", "patch"]"#);
}

#[test]
fn an_exchange_is_json_too() {
    let out = sample()
        .run(&["show", "a.ilj", "--json", "--site", "layers.1.mlp"])
        .with(0)
        .out;
    let lines: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 4);
    insta::assert_snapshot!(lines[3], @r#"{"digested_exchanges":8,"exchanges":8,"frames":19,"last_digest_frame":17,"level":null,"proves":"that the journal is whole: 19 frames by CRCs and numbers, 8 of 8 exchanges by the digests of 2 runs up to frame 17, and its end by the footer; none of L1 to L4, because neither model nor mediators ran","runs":2,"ticks":0,"whole":true}"#);
    assert_eq!(lines[0]["event"], "SWAP");
    assert_eq!(lines[0]["asked"], "layers.1.mlp.output.i0");
    assert_eq!(lines[0]["value"]["tensor"]["shape"][0], 2);
    assert_eq!(lines[2]["fault"]["code"], "E013");
}

#[test]
fn a_cut_journal_is_shown_up_to_the_cut() {
    let place = sample();
    let bytes = fs::read(place.path("a.ilj")).unwrap();
    fs::write(place.path("a.ilj"), &bytes[..bytes.len() / 2]).unwrap();
    let ended = place.run(&["show", "a.ilj"]).with(1);
    let lines = ended.out.lines().count();
    assert!(0 < lines && lines < 8, "{}", ended.out);
    ended.error("E065", 1);
}

#[test]
fn a_value_is_followed_back_through_the_other_run() {
    let place = sample();
    let out = place.run(&["why", "a.ilj", "layers.0.attn"]).with(0).out;
    insta::assert_snapshot!(out, @"
    4  run 1  VALUE      read  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
       <- put there by exchange 3
    3  run 1  SWAP       patch  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
       <- the same value was read by exchange 0
    0  run 0  VALUE      read  layers.0.attn.output.i0  served  f32[2] b3:acc346244904
       <- the model computed it
    ");
    let out = place
        .run(&["why", "a.ilj", "layers.1.mlp.output.i0"])
        .with(0)
        .out;
    insta::assert_snapshot!(out, @r#"
    6  run 1  VALUE      read  layers.1.mlp.output.i0  served  f32[2] b3:63d355adf510
       <- put there by exchange 5
    5  run 1  SWAP       patch  layers.1.mlp.output.i0  served  f32[2] b3:63d355adf510
       <- "patch" computed it from some of what it had been given: exchange 2
    2  run 1  VALUE      patch  layers.0.attn.output.i0  served  f32[2] b3:3956c2eac076
       <- the model computed it
    "#);
    let first = place
        .run(&["why", "a.ilj", "layers.0.attn", "--run", "0"])
        .with(0)
        .out;
    assert_eq!(first.lines().count(), 2, "{first}");
    let again = place.run(&["why", "a.ilj", "--exchange", "0"]).with(0).out;
    assert_eq!(first, again);
    let json = place
        .run(&["why", "a.ilj", "layers.0.attn", "--json"])
        .with(0)
        .out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 3);
    assert_eq!(json[2]["from"], "the model computed it");
}

#[test]
fn a_value_that_there_is_not_has_no_origin() {
    let place = sample();
    let message = place.run(&["why", "a.ilj", "layers.7"]).error("E072", 1);
    insta::assert_snapshot!(message, @r#"a.ilj has no value at the site "layers.7"; it has layers.1.mlp.output, layers.0.attn.output"#);
    place
        .run(&["why", "a.ilj", "layers.1.mlp", "--run", "0"])
        .error("E072", 1);
    let message = place
        .run(&["why", "a.ilj", "--exchange", "1"])
        .error("E072", 1);
    insta::assert_snapshot!(message, @"a.ilj has no value in exchange 1; it has a request without one there");
    let message = place
        .run(&["why", "a.ilj", "--exchange", "99"])
        .error("E072", 1);
    insta::assert_snapshot!(message, @"a.ilj has no exchange 99; it has exchanges 0 to 7");
    place.run(&["why", "a.ilj"]).with(2);
}

const COMPUTED: &str = r#"
model = "induction"

[[input]]
name = "tokens"
tokens = [5, 3, 8, 1, 5, 3, 8]

[[run]]
name = "clean"
input = "tokens"
program = '''
    a = layers.0.attn
    b = layers.1.attn
    mean = a * 0.5
    save mean
'''

[[run]]
name = "steered"
input = "tokens"
[[run.invoke]]
name = "steer"
program = '''
    y = layers.0.attn.z
    x = layers.0.attn
    put seen = x * 2
    layers.0.attn = x + $clean.mean
    z = layers.0
    if mean(z) > 100 {
        z = z + mean(y)
    }
    layers.0 = z * 2
    layers.1.attn *= 0.5
'''
[[run.invoke]]
name = "other"
program = '''
    q = layers.0
    w = get(seen)
    total = w * 1
    for i in 0..1 {
        total = total + layers.1
    }
    layers.1 = total
'''

[[run]]
name = "generated"
input = "tokens"
generate = 3
program = '''
    for i in .. {
        h = layers.0
        layers.1 += h * 2
    }
'''
"#;

#[test]
fn a_value_is_followed_through_what_programs_compute() {
    let place = Place::new();
    fs::write(place.path("e.toml"), COMPUTED).unwrap();
    place.run(&["run", "e.toml", "--journal", "a.ilj"]).with(0);
    fs::remove_file(place.path("e.toml")).unwrap();
    let why = |line: &str| {
        let arguments = line.split(' ');
        let all: Vec<&str> = ["why", "a.ilj"].into_iter().chain(arguments).collect();
        place.run(&all).with(0).out
    };
    // An iteration uses what it has read itself.
    insta::assert_snapshot!(why("layers.1.output.i2 --depth 0"), @r#"
      32  run 2  SWAP       generated  layers.1.output.i2  served  f32[1, 9, 64] b3:7be658e640d7
          <- "generated" computed it from exchanges 31 and 30 (e.toml:54: layers.1 += h * 2); not followed further
    help: `--depth N` and `--width N` follow it further
    "#);
    insta::assert_snapshot!(why("layers.0.attn --run 1"), @r#"
    6  run 1  SWAP       steer  layers.0.attn.output.i0  served  f32[1, 7, 64] b3:68cee768bf3f
       <- "steer" computed it from exchanges 4 and 0 (e.toml:27: layers.0.attn = x + $clean.mean)
      4  run 1  VALUE      steer  layers.0.attn.output.i0  served  f32[1, 7, 64] b3:775b8bba9335
         <- the model computed it
      0  run 0  VALUE      clean  layers.0.attn.output.i0  served  f32[1, 7, 64] b3:775b8bba9335
         <- the model computed it
    "#);
    insta::assert_snapshot!(why("layers.1.attn --run 1"), @r#"
      13  run 1  SWAP       steer  layers.1.attn.output.i0  served  f32[1, 7, 64] b3:f7c1f7074964
          <- "steer" computed it from exchange 12 (e.toml:33: layers.1.attn *= 0.5)
      12  run 1  VALUE      steer  layers.1.attn.output.i0  served  f32[1, 7, 64] b3:bcaca1c1f0ea
          <- the model computed it, after exchanges 8 and 6 had put something in
         8  run 1  SWAP       steer  layers.0.output.i0  served  f32[1, 7, 64] b3:9ef568e8bbc4
            <- "steer" computed it from some of exchanges 7 and 3 (e.toml:32: layers.0 = z * 2)
           7  run 1  VALUE      steer  layers.0.output.i0  served  f32[1, 7, 64] b3:fb1ca40ca9af
              <- the model computed it, after exchange 6 had put something in; not followed further
           3  run 1  VALUE      steer  layers.0.attn.z.output.i0  served  f32[1, 7, 4, 16] b3:1547532a1412
              <- the model computed it
         6  run 1  SWAP       steer  layers.0.attn.output.i0  served  f32[1, 7, 64] b3:68cee768bf3f
            <- "steer" computed it from exchanges 4 and 0 (e.toml:27: layers.0.attn = x + $clean.mean)
           4  run 1  VALUE      steer  layers.0.attn.output.i0  served  f32[1, 7, 64] b3:775b8bba9335
              <- the model computed it
           0  run 0  VALUE      clean  layers.0.attn.output.i0  served  f32[1, 7, 64] b3:775b8bba9335
              <- the model computed it
    help: `--depth N` and `--width N` follow it further
    "#);
    insta::assert_snapshot!(why("layers.1.output --run 1"), @r#"
      17  run 1  SWAP       other  layers.1.output.i0  served  f32[1, 7, 64] b3:aa19675a2683
          <- "other" computed it from some of exchanges 15 and 10 (e.toml:44: layers.1 = total)
        15  run 1  VALUE      other  layers.1.output.i0  served  f32[1, 7, 64] b3:76d8747695c5
            <- the model computed it, after exchanges 13, 8 and 6 had put something in
          13  run 1  SWAP       steer  layers.1.attn.output.i0  served  f32[1, 7, 64] b3:f7c1f7074964
              <- "steer" computed it from exchange 12 (e.toml:33: layers.1.attn *= 0.5)
          12  run 1  VALUE      steer  layers.1.attn.output.i0  served  f32[1, 7, 64] b3:bcaca1c1f0ea
              <- the model computed it, after exchanges 8 and 6 had put something in; not followed further
           8  run 1  SWAP       steer  layers.0.output.i0  served  f32[1, 7, 64] b3:9ef568e8bbc4
              <- "steer" computed it from some of exchanges 7 and 3 (e.toml:32: layers.0 = z * 2)
             7  run 1  VALUE      steer  layers.0.output.i0  served  f32[1, 7, 64] b3:fb1ca40ca9af
                <- the model computed it, after exchange 6 had put something in; not followed further
             3  run 1  VALUE      steer  layers.0.attn.z.output.i0  served  f32[1, 7, 4, 16] b3:1547532a1412
                <- the model computed it
           6  run 1  SWAP       steer  layers.0.attn.output.i0  served  f32[1, 7, 64] b3:68cee768bf3f
              <- "steer" computed it from exchanges 4 and 0 (e.toml:27: layers.0.attn = x + $clean.mean)
             4  run 1  VALUE      steer  layers.0.attn.output.i0  served  f32[1, 7, 64] b3:775b8bba9335
                <- the model computed it
             0  run 0  VALUE      clean  layers.0.attn.output.i0  served  f32[1, 7, 64] b3:775b8bba9335
                <- the model computed it
        10  run 1  GET        other  seen.i0 at layers.0.output.i0  served  f32[1, 7, 64] b3:7ea371d49b3a
            <- put there by exchange 5
         5  run 1  PUT        steer  seen.i0 at layers.0.attn.output.i0  served  f32[1, 7, 64] b3:7ea371d49b3a
            <- "steer" computed it from exchange 4 (e.toml:26: put seen = x * 2)
    help: `--depth N` and `--width N` follow it further
    "#);
    let json = why("layers.0.attn --run 1 --json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    insta::assert_snapshot!(json[0]["formula"], @r#"{"exact":true,"givens":[],"step":"e.toml:27: layers.0.attn = x + $clean.mean"}"#);
    assert_eq!(json[0]["sources"], serde_json::json!([4, 0]));
    assert_eq!(
        (&json[1]["kind"], &json[1]["depth"]),
        (&"model".into(), &1.into())
    );
    let narrow = why("layers.1.output --run 1 --depth 1 --width 1");
    assert!(
        narrow.contains("from some of exchanges 15 and 1 more "),
        "{narrow}"
    );
}
