//! What either side of a run can do otherwise than was recorded, one thing at a time.
//!
//! Each case is a recording of which one thing is another. Two recordings part if and only if their
//! digests differ, in whichever direction they are compared, and whether they are in memory or in
//! files.

use std::path::{Path, PathBuf};

use interloom_engine::{FaultKind, PaddingSide, Round, Tree};

use super::told::*;
use super::*;
use crate::{FailureLine, JournalWriter};

/// The first exchange of a journal that was not: what is another, and what makes it so.
type Case = (&'static str, fn(&mut Told));

/// Each thing that is another, and is a divergence.
const OTHERS: &[Case] = &[
    (
        "another value is brought, and nothing else is another",
        |run| {
            run.visit(1).brought = samples::brought(1, tensor(&[2.5]));
        },
    ),
    ("a value of another shape is brought", |run| {
        run.visit(1).brought = samples::brought(1, tensor(&[2.0, 2.0]));
    }),
    ("another point is passed on the way", |run| {
        run.visit(1).passed = vec![NORM, NORM, ATTN];
    }),
    ("one point more is passed on the way", |run| {
        run.visit(1).passed = vec![NORM, MLP, MLP, ATTN];
    }),
    ("one point fewer, and another value", |run| {
        let visit = run.visit(1);
        visit.passed = vec![NORM, ATTN];
        visit.brought = samples::brought(1, tensor(&[2.5]));
    }),
    ("the model ends elsewhere", |run| {
        run.visit(2).passed = vec![MLP]
    }),
    ("the model stays where it was", |run| {
        drop(run.happened.remove(6));
    }),
    ("one visit more, before an exchange", |run| {
        let visit = samples::visit(0, &[NORM, MLP], Some((0, tensor(&[7.0]))));
        run.visit(1).passed = vec![ATTN];
        run.happened.insert(4, Record::Visit(visit));
    }),
    ("something is served where the model ends", |run| {
        run.visit(2).brought = samples::brought(1, tensor(&[7.0]));
    }),
    ("another value is refused", |run| {
        run.exchange(2).value = Some(tensor(&[9.0, 8.0]));
    }),
    ("no value is refused", |run| run.exchange(2).value = None),
    ("a swap that may not reshape", |run| {
        run.exchange(2).reshape = false;
    }),
    ("a loop that ends earlier", |run| {
        run.exchange(0).round = Round::Until { last: 6 };
    }),
    ("a loop without an end", |run| {
        run.exchange(0).round = Round::Open
    }),
    ("no loop", |run| run.exchange(0).round = Round::Alone),
    ("another particular of a fault", |run| {
        run.exchange(2).fault = Some(not_owner(0));
    }),
    ("another fault", |run| {
        run.exchange(2).fault = Some(FaultKind::Closed.into());
    }),
    ("another particular of a fault that is not known", |run| {
        let of = Tree::List([Tree::Int(-8), Tree::Unit].into());
        let asked = Tree::Text("layers.0.attn.output.i1".into());
        let particulars = Tree::Map([("asked".into(), asked), ("of".into(), of)].into());
        let code = "E900".into();
        run.exchange(3).fault = Some(FaultKind::Unknown { code, particulars }.into());
    }),
    ("another cache is refused", |run| run.cache().number = 1),
    ("a cache of other modules is refused", |run| {
        run.cache().modules = None;
    }),
    ("a cache of inputs is refused", |run| {
        run.cache().inputs = true;
    }),
    ("a cache is not refused", |run| run.cache().fault = None),
    ("another mediator's cache is refused", |run| {
        run.cache().mediator = 0;
    }),
    ("a cache is refused for something else", |run| {
        let passed = vec!["layers.0.mlp.output".into(), "layers.0.input".into()];
        run.cache().fault = Some(FaultKind::LateCache { passed }.into());
    }),
    ("no cache is refused", |run| drop(run.happened.remove(1))),
    ("the cache is refused later", |run| {
        let cache = run.happened.remove(1);
        run.happened.insert(3, cache);
    }),
    ("the cache is refused when the model has begun", |run| {
        let cache = run.happened.remove(1);
        run.happened.insert(2, cache);
    }),
    ("another request is open", |run| {
        run.open().asked = site(MLP, 6);
    }),
    ("a request with another value is open", |run| {
        run.open().value = Some(tensor(&[4.0, 1.5]));
    }),
    ("the open request may not reshape", |run| {
        run.open().reshape = false;
    }),
    ("no request is open", |run| drop(run.happened.pop())),
    ("one more request is open", |run| {
        let more = ExchangeRecord {
            mediator: 0,
            ..run.open().clone()
        };
        run.happened.push(Record::Open(more));
    }),
    ("it fails for another variable", |run| {
        let fault = interloom_engine::ProgramFault::Unset("y".into());
        let failure = interloom_engine::Failure {
            mediator: "read".into(),
            at: Some("layers.0.attn.output.i1".into()),
            origin: interloom_engine::Origin::Unknown,
            fault: fault.into(),
        };
        *run.why() = FailureLine::new(
            "E103",
            &interloom_engine::RunError::Mediators(vec![failure]),
        );
    }),
    ("it fails with another code", |run| {
        run.why().code = "E020".into()
    }),
    ("it is stopped", |run| run.outcome = samples::stopped()),
    ("a mediator has other rows", |run| {
        run.start.mediators[0].rows = Some((0, 2));
    }),
    ("the run has one step more", |run| {
        run.start.declared.steps = Some(5);
    }),
    ("no gradient may be asked for", |run| {
        run.start.declared.gradients.clear();
    }),
    ("a cache of gradients is refused", |run| {
        run.cache().gradients = true;
    }),
];

/// Each thing of a padding that is another, and is a divergence.
const OTHERS_PADDED: &[Case] = &[
    ("rows of other lengths", |run| {
        run.pad(PaddingSide::Left, [5, 3])
    }),
    ("padding on the other side", |run| {
        run.pad(PaddingSide::Right, [3, 5]);
    }),
    ("no padding", |run| drop(run.happened.remove(2))),
    ("no padding, and another value", |run| {
        run.happened.remove(2);
        run.visit(0).brought = samples::brought(0, tensor(&[1.5]));
        run.exchange(1).value = Some(tensor(&[1.5]));
    }),
    ("more before the model is called", |run| {
        let more = exchange(0, 0, Event::Barrier);
        run.happened.insert(2, Record::Exchange(more));
    }),
];

/// Each thing of a backward pass that is another, and is a divergence.
const OTHERS_BACKWARD: &[Case] = &[
    ("a mediator gives another loss", |run| {
        run.exchange(0).value = Some(tensor(&[3.5]));
    }),
    ("the code around the model gives another loss", |run| {
        run.visit(4).brought = samples::brought(1, tensor(&[4.5]));
    }),
    ("no loss is given", |run| run.visit(4).brought = None),
    ("no second backward pass begins", |run| {
        drop(run.happened.drain(6..9));
        run.visit(4).passed = vec![NORM, MLP];
    }),
    ("the second backward pass begins elsewhere", |run| {
        run.visit(4).passed = vec![NORM, MLP];
    }),
    ("the second backward pass does not end", |run| {
        drop(run.happened.remove(8));
        run.visit(6).passed = vec![PASSED_GRAD, MLP];
    }),
    ("a gradient of another value is served", |run| {
        run.visit(2).brought = samples::brought(0, tensor(&[0.75]));
        run.exchange(1).value = Some(tensor(&[0.75]));
    }),
    (
        "a gradient of another value is brought, and changed",
        |run| {
            run.visit(2).brought = samples::brought(0, tensor(&[0.75]));
        },
    ),
    ("a gradient of another value is collected", |run| {
        run.visit(5).brought = samples::brought(1, tensor(&[0.75]));
    }),
    ("a gradient of another iteration is collected", |run| {
        run.visit(5).brought = samples::brought(2, tensor(&[0.25]));
    }),
    ("a gradient is not passed", |run| {
        run.visit(2).passed = vec![GRAD]
    }),
    ("a gradient more is passed at the end", |run| {
        run.visit(6).passed = vec![PASSED_GRAD, GRAD];
    }),
];

/// Each thing that is another, and is none.
const NONE: &[Case] = &[
    ("nothing", |_| {}),
    ("the source lies elsewhere", |run| {
        for number in [0, 2] {
            run.exchange(number).origin = Some(samples::origin("/home/x/e.toml", 4));
        }
        run.open().origin = Some(samples::origin("/home/x/e.toml", 4));
    }),
    ("lines of source have moved", |run| {
        run.exchange(0).origin = Some(samples::origin("e.toml", 30));
        run.exchange(1).origin = Some(samples::origin("e.toml", 31));
        run.open().origin = None;
    }),
    ("the scheduler has another name", |run| {
        run.start.scheduler = "seeded 7".into();
    }),
    ("what is passed is said in two visits", |run| {
        run.visit(1).passed = vec![ATTN];
        let piece = samples::visit(0, &[NORM, MLP], None);
        run.happened.insert(4, Record::Visit(piece));
    }),
];

/// The divergence of two runs, however they are compared.
fn parted(folder: &Path, a: &Told, b: &Told) -> Option<Divergence> {
    let (first, second) = (a.journal(), b.journal());
    let there = super::compare(&first, &second).divergence;
    let back = super::compare(&second, &first).divergence;
    assert_eq!(there.is_some(), back.is_some());
    if let (Some(there), Some(back)) = (&there, &back) {
        assert_eq!(there.class, back.class);
        assert_eq!(there.index, back.index);
    }
    let paths = [("a.ilj", a), ("b.ilj", b)].map(|(name, told)| {
        let path = folder.join(name);
        std::fs::write(&path, told.written().0).unwrap();
        path
    });
    let in_files = compare_journals(&paths[0], &paths[1], CONTEXT_DEFAULT).unwrap();
    let nameless = in_files.comparison.divergence.map(|divergence| Divergence {
        journals: None,
        ..divergence
    });
    assert_eq!(nameless, there);
    there
}

/// A divergence in one line: what kind of difference it is, what each side has, and the fields.
fn brief(divergence: &Divergence) -> String {
    let sides = [&divergence.recorded, &divergence.live].map(|side| match side {
        DivergenceSide::Exchange(line) => format!("exchange {}", line.index),
        DivergenceSide::Open(line) => format!("open {}", line.asked.as_deref().unwrap_or("-")),
        DivergenceSide::CacheDeclaration {
            mediator, number, ..
        } => format!("cache {number} of {mediator}"),
        DivergenceSide::RunStart { .. } => "start".to_owned(),
        DivergenceSide::Padding(_) => "padding".to_owned(),
        DivergenceSide::RunEnd { .. } => "end".to_owned(),
        DivergenceSide::Visit {
            site,
            backward_pass,
            turn,
            passed,
            ..
        } => match (site, backward_pass, turn) {
            (Some(site), None, None) => format!("visit {site} after {passed}"),
            _ => {
                let phase = crate::backward::phase(*backward_pass, *turn);
                let site = site
                    .as_deref()
                    .map_or_else(String::new, |site| format!("{site} "));
                format!("visit {site}{phase} after {passed}")
            }
        },
        DivergenceSide::Nothing => "nothing".to_owned(),
    });
    let (class, index) = (divergence.class.name(), divergence.index);
    let mut brief = format!("{class} at {index}, {} | {}", sides[0], sides[1]);
    if !divergence.differences.is_empty() {
        brief.push_str("\n    ");
        brief.push_str(&super::fields(divergence).replace('\n', "; "));
    }
    brief
}

/// The divergence of each case from `recorded`, in brief.
fn briefs(recorded: &Told, cases: &[Case]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let digest = recorded.written().1;
    let mut all = String::new();
    for (name, change) in cases {
        let mut live = recorded.clone();
        change(&mut live);
        assert_ne!(live.written().1, digest, "{name}");
        let divergence = parted(folder.path(), recorded, &live).expect(name);
        // Both reports have what differs.
        assert!(divergence.to_string().lines().count() > 4, "{name}");
        assert_eq!(divergence.to_json()["class"], divergence.class.name());
        all.push_str(&format!("{name}: {}\n", brief(&divergence)));
    }
    all
}

#[test]
fn each_thing_of_a_backward_pass_that_is_another_is_a_divergence_of_its_own() {
    assert_snapshot!(briefs(&differentiated(), OTHERS_BACKWARD), @"
    a mediator gives another loss: value at 0, exchange 0 | exchange 0
        value digest: b3:540f18a1cdd3 | b3:d969fd795fa8
    the code around the model gives another loss: value at 2, visit backward pass 1 begins after 1 | visit backward pass 1 begins after 1
        value digest: b3:1b499d563b09 | b3:3a82222cfc3d
    no loss is given: value at 2, visit backward pass 1 begins after 1 | visit backward pass 1 begins after 1
        value: f32[1] b3:1b499d563b09 | none
    no second backward pass begins: schedule at 2, visit backward pass 1 begins after 1 | visit layers.3.mlp.output after 2
        points passed: 1 | 2; point 2: none | layers.3.mlp.output; phase: the beginning of backward pass 1 | the forward pass; value: f32[1] b3:1b499d563b09 | none
    the second backward pass begins elsewhere: schedule at 2, visit backward pass 1 begins after 1 | visit backward pass 1 begins after 2
        points passed: 1 | 2; point 2: none | layers.3.mlp.output
    the second backward pass does not end: schedule at 2, visit backward pass 1 ends after 1 | visit layers.3.mlp.output in backward pass 1 after 2
        points passed: 1 | 2; point 2: none | layers.3.mlp.output; phase: the end of backward pass 1 | backward pass 1
    a gradient of another value is served: value at 1, exchange 1 | exchange 1
        value digest: b3:755c2b5ba07f | b3:7b113de507cc
    a gradient of another value is brought, and changed: value at 1, visit layers.3.attn.output.grad.i0 in backward pass 0 after 2 | visit layers.3.attn.output.grad.i0 in backward pass 0 after 2
        value digest: b3:755c2b5ba07f | b3:7b113de507cc
    a gradient of another value is collected: value at 2, visit layers.3.attn.output.grad.i1 in backward pass 1 after 1 | visit layers.3.attn.output.grad.i1 in backward pass 1 after 1
        value digest: b3:75ae85027121 | b3:7b113de507cc
    a gradient of another iteration is collected: schedule at 2, visit layers.3.attn.output.grad.i1 in backward pass 1 after 1 | visit layers.3.attn.output.grad.i2 in backward pass 1 after 1
        iteration: 1 | 2
    a gradient is not passed: schedule at 1, visit layers.3.attn.output.grad.i0 in backward pass 0 after 2 | visit layers.3.attn.output.grad.i0 in backward pass 0 after 1
        points passed: 2 | 1; point 1: layers.3.mlp.output.grad.i1 | layers.3.attn.output.grad
    a gradient more is passed at the end: schedule at 2, visit backward pass 1 ends after 1 | visit backward pass 1 ends after 2
        points passed: 1 | 2; point 2: none | layers.3.attn.output.grad
    ");
}

#[test]
fn each_thing_of_a_padding_that_is_another_is_a_divergence_of_its_own() {
    assert_snapshot!(briefs(&padded(), OTHERS_PADDED), @"
    rows of other lengths: value at 1, padding | padding
        padding: rows of [3, 5] tokens, padded on the left | rows of [5, 3] tokens, padded on the left
    padding on the other side: value at 1, padding | padding
        padding: rows of [3, 5] tokens, padded on the left | rows of [3, 5] tokens, padded on the right
    no padding: value at 1, padding | exchange 1
        padding: rows of [3, 5] tokens, padded on the left | rows of one length
    no padding, and another value: value at 1, padding | exchange 1
        padding: rows of [3, 5] tokens, padded on the left | rows of one length
    more before the model is called: protocol at 1, padding | exchange 1
    ");
}

#[test]
fn rows_that_are_padded_otherwise_are_said_of_both_runs() {
    let divergence = divergence(&padded(), |run| run.pad(PaddingSide::Right, [5, 3]));
    assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 1 (run "forward 0")
      class: value (the rows of the batch are padded otherwise)
      recorded: head b3:0a2abc29ff5c, device cpu, schedule in order
      this run: head b3:0a2abc29ff5c, device cpu, schedule in order
        0  REGISTER  steer  layers.3.norm.output.i3
      - 1  the batch has rows of [3, 5] tokens, padded on the left  <- recorded
      + 1  the batch has rows of [5, 3] tokens, padded on the right  <- this run
        1  VALUE     read   layers.3.attn.output.i0  f32[1] b3:3727969e4408  (recorded next)
        2  SWAP      steer  layers.3.attn.output.i1  refused  E006: the swap at `layers.3.attn.output.i1` concerns the whole batch, of which this mediator owns 1 of 2 rows; keep the shape, or the function, or run the intervention alone  f32[2] b3:07e1428f4826  (recorded next)
      padding: rows of [3, 5] tokens, padded on the left recorded, rows of [5, 3] tokens, padded on the right in this run
    "#);
    assert_eq!(
        divergence.to_json()["live"],
        serde_json::json!({ "padding": { "side": "right", "lengths": [5, 3] } })
    );
}

#[test]
fn each_thing_that_is_another_is_a_divergence_of_its_own() {
    assert_snapshot!(briefs(&recorded(), OTHERS), @r#"
    another value is brought, and nothing else is another: value at 2, visit layers.3.attn.output.i1 after 3 | visit layers.3.attn.output.i1 after 3
        value digest: b3:bff49fae92d9 | b3:64b8ebbfbe34
    a value of another shape is brought: value at 2, visit layers.3.attn.output.i1 after 3 | visit layers.3.attn.output.i1 after 3
        value shape: [1] | [2]
    another point is passed on the way: schedule at 2, visit layers.3.attn.output.i1 after 3 | visit layers.3.attn.output.i1 after 3
        point 2: layers.3.mlp.output | layers.3.norm.output
    one point more is passed on the way: schedule at 2, visit layers.3.attn.output.i1 after 3 | visit layers.3.attn.output.i1 after 4
        points passed: 3 | 4; point 3: layers.3.attn.output | layers.3.mlp.output
    one point fewer, and another value: schedule at 2, visit layers.3.attn.output.i1 after 3 | visit layers.3.attn.output.i1 after 2
        points passed: 3 | 2; point 2: layers.3.mlp.output | layers.3.attn.output; value digest: b3:bff49fae92d9 | b3:64b8ebbfbe34
    the model ends elsewhere: schedule at 3, visit layers.3.norm.output after 1 | visit layers.3.mlp.output after 1
        point 1: layers.3.norm.output | layers.3.mlp.output
    the model stays where it was: schedule at 3, visit layers.3.norm.output after 1 | exchange 3
    one visit more, before an exchange: schedule at 2, visit layers.3.attn.output.i1 after 3 | visit layers.3.mlp.output.i0 after 2
        points passed: 3 | 2; point 3: layers.3.attn.output | none; value digest: b3:bff49fae92d9 | b3:934c4ea53010
    something is served where the model ends: value at 3, visit layers.3.norm.output after 1 | visit layers.3.norm.output.i1 after 1
        value: none | f32[1] b3:934c4ea53010
    another value is refused: value at 2, exchange 2 | exchange 2
        value digest: b3:07e1428f4826 | b3:b4e7b7db5cd8
    no value is refused: value at 2, exchange 2 | exchange 2
        value: f32[2] b3:07e1428f4826 | none
    a swap that may not reshape: protocol at 2, exchange 2 | exchange 2
        reshape: true | false
    a loop that ends earlier: protocol at 0, exchange 0 | exchange 0
        loop: to iteration 7 | to iteration 6
    a loop without an end: protocol at 0, exchange 0 | exchange 0
        loop: to iteration 7 | without an end
    no loop: protocol at 0, exchange 0 | exchange 0
        loop: to iteration 7 | none
    another particular of a fault: protocol at 2, exchange 2 | exchange 2
        fault.rows: 1 | 0
    another fault: protocol at 2, exchange 2 | exchange 2
        fault: E006: the swap at `layers.3.attn.output.i1` concerns the whole batch, of which this mediator owns 1 of 2 rows; keep the shape, or the function, or run the intervention alone | E010: the context's own mediator does not run now; a context makes requests only while it does, and the body of a loop has a context of its own
    another particular of a fault that is not known: protocol at 3, exchange 3 | exchange 3
        fault.of[0]: -7 | -8
    another cache is refused: protocol at 1, cache 0 of steer | cache 1 of steer
        cache: 0 | 1
    a cache of other modules is refused: protocol at 1, cache 0 of steer | cache 0 of steer
        modules: ["layers.0.attn"] | all
    a cache of inputs is refused: protocol at 1, cache 0 of steer | cache 0 of steer
        inputs: false | true
    a cache is not refused: protocol at 1, cache 0 of steer | cache 0 of steer
        fault: E017: the cache comes too late for `layers.0.mlp.output`, which the model has passed; declare it before the mediator's first request | none
    another mediator's cache is refused: schedule at 1, cache 0 of steer | cache 0 of read
        mediator: steer | read
    a cache is refused for something else: protocol at 1, cache 0 of steer | cache 0 of steer
        fault.passed: ["layers.0.mlp.output"] | ["layers.0.mlp.output", "layers.0.input"]
    no cache is refused: protocol at 1, cache 0 of steer | exchange 1
    the cache is refused later: protocol at 1, cache 0 of steer | exchange 1
    the cache is refused when the model has begun: schedule at 1, cache 0 of steer | visit layers.3.attn.output.i0 after 1
    another request is open: protocol at 4, open layers.3.mlp.output.i5 | open layers.3.mlp.output.i6
        asked: layers.3.mlp.output.i5 | layers.3.mlp.output.i6
    a request with another value is open: value at 4, open layers.3.mlp.output.i5 | open layers.3.mlp.output.i5
        value digest: b3:ebfb8908a9f3 | b3:d476d885d1e7
    the open request may not reshape: protocol at 4, open layers.3.mlp.output.i5 | open layers.3.mlp.output.i5
        reshape: true | false
    no request is open: protocol at 4, open layers.3.mlp.output.i5 | end
    one more request is open: protocol at 4, end | open layers.3.mlp.output.i5
    it fails for another variable: protocol at 4, end | end
        outcome.mediators[0].fault.E103.unset: "x" | "y"
    it fails with another code: protocol at 4, end | end
        outcome: "mediator `read` failed at `layers.0.attn.output.i1`: `x` has no value yet; give it one on every path that leads here" | "mediator `read` failed at `layers.0.attn.output.i1`: `x` has no value yet; give it one on every path that leads here"; code: E103 | E020
    it is stopped: protocol at 4, end | end
        outcome: "mediator `read` failed at `layers.0.attn.output.i1`: `x` has no value yet; give it one on every path that leads here" | "stopped by `steer` at `layers.0.attn.output.i70000`"; code: E103 | none
    a mediator has other rows: protocol at 0, start | start
        mediators: "read" [rows 0 to 0], "steer" [optional] | "read" [rows 0 to 1], "steer" [optional]
    the run has one step more: protocol at 0, start | start
        steps: 4 | 5
    no gradient may be asked for: protocol at 0, start | start
        gradients: layers.0.attn.output.grad | none
    a cache of gradients is refused: protocol at 1, cache 0 of steer | cache 0 of steer
    "#);
}

#[test]
fn what_is_no_part_of_a_run_is_no_divergence_and_in_no_digest() {
    let folder = tempfile::tempdir().unwrap();
    let (recorded, digest) = (recorded(), recorded().written().1);
    for (name, change) in NONE {
        let mut live = recorded.clone();
        change(&mut live);
        assert_eq!(parted(folder.path(), &recorded, &live), None, "{name}");
        // How a long way is cut into visits is the writer's affair, and always the same.
        if !name.contains("in two visits") {
            assert_eq!(live.written().1, digest, "{name}");
        }
    }
}

/// The report of what differs, as text.
fn report(change: fn(&mut Told)) -> String {
    divergence(&recorded(), change).to_string()
}

fn divergence(recorded: &Told, change: fn(&mut Told)) -> Divergence {
    let mut live = recorded.clone();
    change(&mut live);
    let divergence = super::compare(&recorded.journal(), &live.journal()).divergence;
    divergence.unwrap()
}

fn case(name: &str) -> fn(&mut Told) {
    let mut cases = OTHERS.iter().chain(OTHERS_BACKWARD);
    cases.find(|(other, _)| *other == name).unwrap().1
}

#[test]
fn the_model_brings_another_value() {
    assert_snapshot!(report(case("another value is brought, and nothing else is another")), @r#"
    error[E080]: replay diverged at exchange 2 (run "forward 0", site layers.3.attn.output.i1)
      class: value (the model brought another value)
      recorded: head b3:0a2abc29ff5c, device cpu, schedule in order
      this run: head b3:0a2abc29ff5c, device cpu, schedule in order
        0  REGISTER  steer  layers.3.norm.output.i3
        1  VALUE     read   layers.3.attn.output.i0  f32[1] b3:3727969e4408
      - 2  the model comes to layers.3.attn.output.i1 with f32[1] b3:bff49fae92d9, after 3 points  <- recorded
      + 2  the model comes to layers.3.attn.output.i1 with f32[1] b3:64b8ebbfbe34, after 3 points  <- this run
        2  SWAP      steer  layers.3.attn.output.i1  refused  E006: the swap at `layers.3.attn.output.i1` concerns the whole batch, of which this mediator owns 1 of 2 rows; keep the shape, or the function, or run the intervention alone  f32[2] b3:07e1428f4826  (recorded next)
        3  VALUE     read   layers.3.mlp.output.i5   refused  E018: fault E900, which this version does not know, with {"asked": "layers.0.attn.output.i1", "of": [-7, ()]}; replay it with the version that recorded it  (recorded next)
      value digest: b3:bff49fae92d9 recorded, b3:64b8ebbfbe34 in this run
      note: the schedules and all exchanges before it are equal -> the model's own arithmetic, or its input, differs
    "#);
}

#[test]
fn the_model_comes_to_a_site_more() {
    assert_snapshot!(report(case("one visit more, before an exchange")), @r#"
    error[E080]: replay diverged at exchange 2 (run "forward 0", site layers.3.attn.output.i1)
      class: schedule (another mediator or another site came next)
      recorded: head b3:0a2abc29ff5c, device cpu, schedule in order
      this run: head b3:0a2abc29ff5c, device cpu, schedule in order
        0  REGISTER  steer  layers.3.norm.output.i3
        1  VALUE     read   layers.3.attn.output.i0  f32[1] b3:3727969e4408
      - 2  the model comes to layers.3.attn.output.i1 with f32[1] b3:bff49fae92d9, after 3 points  <- recorded
      + 2  the model comes to layers.3.mlp.output.i0 with f32[1] b3:934c4ea53010, after 2 points  <- this run
        2  SWAP      steer  layers.3.attn.output.i1  refused  E006: the swap at `layers.3.attn.output.i1` concerns the whole batch, of which this mediator owns 1 of 2 rows; keep the shape, or the function, or run the intervention alone  f32[2] b3:07e1428f4826  (recorded next)
        3  VALUE     read   layers.3.mlp.output.i5   refused  E018: fault E900, which this version does not know, with {"asked": "layers.0.attn.output.i1", "of": [-7, ()]}; replay it with the version that recorded it  (recorded next)
      points passed: 3 recorded, 2 in this run
      point 3: layers.3.attn.output recorded, none in this run
      value digest: b3:bff49fae92d9 recorded, b3:934c4ea53010 in this run
    "#);
}

#[test]
fn a_report_says_in_which_backward_pass_the_runs_part() {
    let reports = [
        "the code around the model gives another loss",
        "no second backward pass begins",
        "a gradient of another value is served",
        "a gradient is not passed",
    ];
    let reports = reports.map(|name| divergence(&differentiated(), case(name)).to_string());
    assert_snapshot!(reports.join("\n"), @r#"
    error[E080]: replay diverged at exchange 2 (run "forward 0", backward pass 1)
      class: value (the code around the model gave another loss)
      recorded: head b3:0a2abc29ff5c, device cpu, schedule in order
      this run: head b3:0a2abc29ff5c, device cpu, schedule in order
        0  BACKWARD  read  at layers.3.attn.output.i0    f32[1] b3:540f18a1cdd3
        1  VALUE     read  layers.3.attn.output.grad.i0  f32[1] b3:755c2b5ba07f
      - 2  backward pass 1 begins with the loss f32[1] b3:1b499d563b09, after 1 point  <- recorded
      + 2  backward pass 1 begins with the loss f32[1] b3:3a82222cfc3d, after 1 point  <- this run
      value digest: b3:1b499d563b09 recorded, b3:3a82222cfc3d in this run
      note: the schedules and all exchanges before it are equal -> what the model put out, or the code that makes a loss of it, differs
    error[E080]: replay diverged at exchange 2 (run "forward 0", backward pass 1)
      class: schedule (another mediator or another site came next)
      recorded: head b3:0a2abc29ff5c, device cpu, schedule in order
      this run: head b3:0a2abc29ff5c, device cpu, schedule in order
        0  BACKWARD  read  at layers.3.attn.output.i0    f32[1] b3:540f18a1cdd3
        1  VALUE     read  layers.3.attn.output.grad.i0  f32[1] b3:755c2b5ba07f
      - 2  backward pass 1 begins with the loss f32[1] b3:1b499d563b09, after 1 point  <- recorded
      + 2  the model comes to layers.3.mlp.output, after 2 points  <- this run
      points passed: 1 recorded, 2 in this run
      point 2: none recorded, layers.3.mlp.output in this run
      phase: the beginning of backward pass 1 recorded, the forward pass in this run
      value: f32[1] b3:1b499d563b09 recorded, none in this run
    error[E080]: replay diverged at exchange 1 (run "forward 0", backward pass 0, site layers.3.attn.output.grad.i0, mediator "read")
      class: value (the same exchange carried another value)
      recorded: head b3:0a2abc29ff5c, device cpu, schedule in order
      this run: head b3:0a2abc29ff5c, device cpu, schedule in order
        0  BACKWARD  read  at layers.3.attn.output.i0    f32[1] b3:540f18a1cdd3
      - 1  VALUE     read  layers.3.attn.output.grad.i0  f32[1] b3:755c2b5ba07f  <- recorded
      + 1  VALUE     read  layers.3.attn.output.grad.i0  f32[1] b3:7b113de507cc  <- this run
      value digest: b3:755c2b5ba07f recorded, b3:7b113de507cc in this run
      note: the schedules and all exchanges before it are equal -> the model's own arithmetic, or its input, differs
    error[E080]: replay diverged at exchange 1 (run "forward 0", backward pass 0, site layers.3.attn.output.grad.i0)
      class: schedule (another mediator or another site came next)
      recorded: head b3:0a2abc29ff5c, device cpu, schedule in order
      this run: head b3:0a2abc29ff5c, device cpu, schedule in order
        0  BACKWARD  read  at layers.3.attn.output.i0    f32[1] b3:540f18a1cdd3
      - 1  the model comes to layers.3.attn.output.grad.i0 in backward pass 0 with f32[1] b3:755c2b5ba07f, after 2 points  <- recorded
      + 1  the model comes to layers.3.attn.output.grad.i0 in backward pass 0 with f32[1] b3:755c2b5ba07f, after 1 point  <- this run
        1  VALUE     read  layers.3.attn.output.grad.i0  f32[1] b3:755c2b5ba07f  (recorded next)
      points passed: 2 recorded, 1 in this run
      point 1: layers.3.mlp.output.grad.i1 recorded, layers.3.attn.output.grad in this run
    "#);
    let json = divergence(&differentiated(), case("a gradient is not passed")).to_json();
    assert_eq!(json["backward_pass"], 0);
    let json = divergence(&differentiated(), case("no second backward pass begins")).to_json();
    assert_eq!(json["recorded"]["visit"]["turn"], "begins");
}

#[test]
fn another_cache_is_refused() {
    assert_snapshot!(report(case("a cache is refused for something else")), @r#"
    error[E080]: replay diverged at exchange 1 (run "forward 0", mediator "steer")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:0a2abc29ff5c, device cpu, schedule in order
      this run: head b3:0a2abc29ff5c, device cpu, schedule in order
        0  REGISTER  steer  layers.3.norm.output.i3
      - 1  cache 0 of steer is refused: E017: the cache comes too late for `layers.0.mlp.output`, which the model has passed; declare it before the mediator's first request  <- recorded
      + 1  cache 0 of steer is refused: E017: the cache comes too late for `layers.0.mlp.output`, `layers.0.input`, which the model has passed; declare it before the mediator's first request  <- this run
        1  VALUE     read   layers.3.attn.output.i0  f32[1] b3:3727969e4408  (recorded next)
        2  SWAP      steer  layers.3.attn.output.i1  refused  E006: the swap at `layers.3.attn.output.i1` concerns the whole batch, of which this mediator owns 1 of 2 rows; keep the shape, or the function, or run the intervention alone  f32[2] b3:07e1428f4826  (recorded next)
      fault.passed: ["layers.0.mlp.output"] recorded, ["layers.0.mlp.output", "layers.0.input"] in this run
    "#);
    assert_snapshot!(report(case("no cache is refused")), @r#"
    error[E080]: replay diverged at exchange 1 (run "forward 0", mediator "steer")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:0a2abc29ff5c, device cpu, schedule in order
      this run: head b3:0a2abc29ff5c, device cpu, schedule in order
        0  REGISTER  steer  layers.3.norm.output.i3
      - 1  cache 0 of steer is refused: E017: the cache comes too late for `layers.0.mlp.output`, which the model has passed; declare it before the mediator's first request  <- recorded
      + 1  VALUE     read   layers.3.attn.output.i0  f32[1] b3:3727969e4408  <- this run
        1  VALUE     read   layers.3.attn.output.i0  f32[1] b3:3727969e4408  (recorded next)
        2  SWAP      steer  layers.3.attn.output.i1  refused  E006: the swap at `layers.3.attn.output.i1` concerns the whole batch, of which this mediator owns 1 of 2 rows; keep the shape, or the function, or run the intervention alone  f32[2] b3:07e1428f4826  (recorded next)
    "#);
}

#[test]
fn another_request_is_open() {
    assert_snapshot!(report(case("another request is open")), @r#"
    error[E080]: replay diverged at exchange 4 (run "forward 0", site layers.3.mlp.output.i5, mediator "steer")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:0a2abc29ff5c, device cpu, schedule in order
      this run: head b3:0a2abc29ff5c, device cpu, schedule in order
        0  REGISTER  steer  layers.3.norm.output.i3
        1  VALUE     read   layers.3.attn.output.i0  f32[1] b3:3727969e4408
        2  SWAP      steer  layers.3.attn.output.i1  refused  E006: the swap at `layers.3.attn.output.i1` concerns the whole batch, of which this mediator owns 1 of 2 rows; keep the shape, or the function, or run the intervention alone  f32[2] b3:07e1428f4826
        3  VALUE     read   layers.3.mlp.output.i5   refused  E018: fault E900, which this version does not know, with {"asked": "layers.0.attn.output.i1", "of": [-7, ()]}; replay it with the version that recorded it
      - 4  SWAP      steer  layers.3.mlp.output.i5   still open  f32[2] b3:ebfb8908a9f3  <- recorded
      + 4  SWAP      steer  layers.3.mlp.output.i6   still open  f32[2] b3:ebfb8908a9f3  <- this run
      asked: layers.3.mlp.output.i5 recorded, layers.3.mlp.output.i6 in this run
    "#);
    assert_snapshot!(report(case("one more request is open")), @r#"
    error[E080]: replay diverged at exchange 4 (run "forward 0", site layers.3.mlp.output.i5, mediator "read")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:0a2abc29ff5c, device cpu, schedule in order
      this run: head b3:0a2abc29ff5c, device cpu, schedule in order
        0  REGISTER  steer  layers.3.norm.output.i3
        1  VALUE     read   layers.3.attn.output.i0  f32[1] b3:3727969e4408
        2  SWAP      steer  layers.3.attn.output.i1  refused  E006: the swap at `layers.3.attn.output.i1` concerns the whole batch, of which this mediator owns 1 of 2 rows; keep the shape, or the function, or run the intervention alone  f32[2] b3:07e1428f4826
        3  VALUE     read   layers.3.mlp.output.i5   refused  E018: fault E900, which this version does not know, with {"asked": "layers.0.attn.output.i1", "of": [-7, ()]}; replay it with the version that recorded it
      - 4  the run ends: "mediator `read` failed at `layers.0.attn.output.i1`: `x` has no value yet; give it one on every path that leads here" (E103)  <- recorded
      + 4  SWAP      read   layers.3.mlp.output.i5   still open  f32[2] b3:ebfb8908a9f3  <- this run
    "#);
}

#[test]
fn a_value_that_is_brought_in_another_iteration_is_a_divergence() {
    let folder = tempfile::tempdir().unwrap();
    // It is collected, and nothing is exchanged there.
    let collected = |iteration| {
        let mut run = recorded();
        run.visit(2).brought = samples::brought(iteration, tensor(&[7.0]));
        run
    };
    let divergence = parted(folder.path(), &collected(1), &collected(3)).unwrap();
    assert_snapshot!(brief(&divergence), @"
    schedule at 3, visit layers.3.norm.output.i1 after 1 | visit layers.3.norm.output.i3 after 1
        iteration: 1 | 3
    ");
}

#[test]
fn the_tensors_that_a_model_brought_are_compared_where_journals_have_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, elements: [f32; 2]| -> PathBuf {
        let path = folder.path().join(name);
        let mut writer = JournalWriter::create(&path, &samples::head()).unwrap();
        writer.start_run(&run_start(0)).unwrap();
        let shape = [2];
        let bytes = samples::bytes(&elements);
        let digest = Digest::of_tensor(DType::F32, &shape, &bytes);
        writer.tensor(&digest, DType::F32, &shape, &bytes).unwrap();
        let id = writer.path("layers.3.attn.output").unwrap();
        let visit = samples::visit(0, &[id], Some((0, tensor(&elements))));
        writer.visit(&visit).unwrap();
        let end = ExchangeRecord {
            at: site(id, 0),
            ..exchange(0, 0, Event::End)
        };
        writer.exchange(&end).unwrap();
        writer.end_run(samples::completed()).unwrap();
        writer.finish().unwrap();
        path
    };
    let (first, second) = (path("a.ilj", [1.0, 2.0]), path("b.ilj", [1.0, 2.5]));
    let diff = compare_journals(&first, &second, 0).unwrap();
    let divergence = diff.comparison.divergence.unwrap();
    let tensor = divergence.tensor.as_ref().unwrap();
    assert_eq!((tensor.differing, &*tensor.first), (1, &[1][..]));
    assert_eq!(divergence.source, Some(ValueSource::Model));
}

#[test]
fn json_has_what_the_sides_have() {
    let sides = |name| {
        let mut live = recorded();
        case(name)(&mut live);
        let divergence = super::compare(&recorded().journal(), &live.journal()).divergence;
        let json = divergence.unwrap().to_json();
        format!("{}\n{}", json["recorded"], json["live"])
    };
    let texts = [
        "one point fewer, and another value",
        "another cache is refused",
        "no request is open",
    ];
    assert_snapshot!(texts.map(sides).join("\n"), @r#"
    {"visit":{"backward_pass":null,"passed":3,"site":"layers.3.attn.output.i1","turn":null,"value":{"tensor":{"digest":"bff49fae92d95705bd353e1778a0d1bdae10f49418dce4f9d5b381262dc4aa34","dtype":"f32","shape":[1]}}}}
    {"visit":{"backward_pass":null,"passed":2,"site":"layers.3.attn.output.i1","turn":null,"value":{"tensor":{"digest":"64b8ebbfbe3400c3ba83798513dd0880a30a2c4584241830e24c57c8dfbb0e6a","dtype":"f32","shape":[1]}}}}
    {"cache_declaration":{"cache":0,"fault":{"code":"E017","message":"the cache comes too late for `layers.0.mlp.output`, which the model has passed; declare it before the mediator's first request","particulars":{"passed":["layers.0.mlp.output"]}},"mediator":"steer"}}
    {"cache_declaration":{"cache":1,"fault":{"code":"E017","message":"the cache comes too late for `layers.0.mlp.output`, which the model has passed; declare it before the mediator's first request","particulars":{"passed":["layers.0.mlp.output"]}},"mediator":"steer"}}
    {"open":{"asked":"layers.3.mlp.output.i5","at":null,"event":"SWAP","fault":null,"index":4,"loop":null,"mediator":"steer","origin":{"file":"e.toml","line":5},"reshape":true,"result":"open","value":{"tensor":{"digest":"ebfb8908a9f354a24d48c06a056e071b2dea21f691f7c242e80be73bdd1d32ab","dtype":"f32","shape":[2]}}}}
    {"run_end":{"code":"E103","outcome":"mediator `read` failed at `layers.0.attn.output.i1`: `x` has no value yet; give it one on every path that leads here"}}
    "#);
}

#[test]
fn the_page_says_where_journals_part_between_exchanges() {
    let folder = tempfile::tempdir().unwrap();
    let summary = |name| {
        let is_backward = OTHERS_BACKWARD.iter().any(|(other, _)| *other == name);
        let base = if is_backward {
            differentiated()
        } else {
            recorded()
        };
        let mut live = base.clone();
        case(name)(&mut live);
        let paths = [("a.ilj", &base), ("b.ilj", &live)].map(|(name, told)| {
            let path = folder.path().join(name);
            std::fs::write(&path, told.written().0).unwrap();
            path
        });
        let mut out = Vec::new();
        diff_page(&paths[0], &paths[1], 10, &mut out, "out").unwrap();
        let page = String::from_utf8(out).unwrap();
        let (_, rest) = page.split_once("\"summary\":\"").unwrap();
        let mut length = 0;
        while rest[length..].starts_with("\\\"") || !rest[length..].starts_with('"') {
            length += if rest[length..].starts_with('\\') {
                2
            } else {
                1
            };
        }
        rest[..length].to_owned()
    };
    let texts = [
        "another value is brought, and nothing else is another",
        "another cache is refused",
        "another request is open",
        "no request is open",
        "a gradient is not passed",
        "no second backward pass begins",
    ];
    assert_snapshot!(texts.map(summary).join("\n"), @r#"
    The first divergence is at exchange 2 (value). No row is marked, for they part between exchanges: a.ilj has its model at layers.3.attn.output.i1, b.ilj has its model at layers.3.attn.output.i1.
    The first divergence is at exchange 1 (protocol). No row is marked, for they part between exchanges: a.ilj declares a cache of \"steer\", b.ilj declares a cache of \"steer\".
    The first divergence is at exchange 4 (protocol). No row is marked, for they part between exchanges: a.ilj ends with a request of \"steer\" open, b.ilj ends with a request of \"steer\" open.
    The first divergence is at exchange 4 (protocol). No row is marked, for they part between exchanges: a.ilj ends with a request of \"steer\" open, b.ilj ends the run (\"mediator `read` failed at `layers.0.attn.output.i1`: `x` has no value yet; give it one on every path that leads here\").
    The first divergence is at exchange 1 (schedule). No row is marked, for they part between exchanges: a.ilj has its model at layers.3.attn.output.grad.i0 in backward pass 0, b.ilj has its model at layers.3.attn.output.grad.i0 in backward pass 0.
    The first divergence is at exchange 2 (schedule). No row is marked, for they part between exchanges: a.ilj begins backward pass 1, b.ilj has its model at layers.3.mlp.output.
    "#);
}
