//! `diff`: where two journals part.

use std::fs;

use interloom_journal::{
    Event, ExchangeRecord, ExchangeResult, Experiment, Head, JournalWriter, MediatorLine,
    OutcomeRecord, Policy, RunStart, SiteRef, ValueTree,
};

use crate::Place;
use crate::sample::{Sample, pair};

#[test]
fn equal_journals_are_equal_whatever_their_heads() {
    let other = Sample {
        device: "cuda:0",
        policy: Policy::Digest,
        ..Sample::default()
    };
    let place = pair(&Sample::default(), &other);
    assert_eq!(
        place.run(&["diff", "a.ilj", "a.ilj"]).with(0).out,
        "8 exchanges equal\n"
    );
    let out = place.run(&["diff", "a.ilj", "b.ilj"]).with(0).out;
    insta::assert_snapshot!(out, @r#"
    8 exchanges equal
      device: "cpu" in a.ilj, "cuda:0" in b.ilj
    "#);
    let json = place.run(&["diff", "a.ilj", "b.ilj", "--json"]).with(0).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["equal"], true);
    assert_eq!(json["environment"]["code"], "E081");
}

#[test]
fn another_value_is_shown_element_by_element() {
    let other = Sample {
        computed: [6.0, 8.000_001],
        ..Sample::default()
    };
    let place = pair(&Sample::default(), &other);
    let out = place.run(&["diff", "a.ilj", "b.ilj"]).with(4).out;
    insta::assert_snapshot!(out, @r#"
    error[E080]: a.ilj and b.ilj part at exchange 5 (run "patched", site layers.1.mlp.output.i0, mediator "patch")
      class: value (the same exchange carried another value)
      a.ilj: head b3:6bfd395caa76, device cpu, schedule in-order
      b.ilj: head b3:6bfd395caa76, device cpu, schedule in-order
        2  VALUE      patch  layers.0.attn.output.i0    f32[2] b3:3956c2eac076
        3  SWAP       patch  layers.0.attn.output.i0    f32[2] b3:acc346244904
        4  VALUE      read   layers.0.attn.output.i0    f32[2] b3:acc346244904
      - 5  SWAP       patch  layers.1.mlp.output.i0     f32[2] b3:63d355adf510  <- a.ilj
      + 5  SWAP       patch  layers.1.mlp.output.i0     f32[2] b3:5ba04c717494  <- b.ilj
        6  VALUE      read   layers.1.mlp.output.i0     f32[2] b3:63d355adf510  (next in a.ilj)
        7  EXCEPTION  read   at layers.1.mlp.output.i0  E013: it failed  (next in a.ilj)
      value digest: b3:63d355adf510 in a.ilj, b3:5ba04c717494 in b.ilj
      tensor: 1 of 2 elements differ, first at [1]: 0x41000000 (8.0) in a.ilj, 0x41000001 (8.000001) in b.ilj; at most 1 ulp apart (1.2e-7 relative)
      note: the schedules are equal up to here, and so is the value last served to "patch" (exchange 2) -> the mediator's own arithmetic differs
      aligned by run, mediator, event, site and iteration: 6 equal, 2 other, 0 in a.ilj only, 0 in b.ilj only
      the first other: exchange 5 in a.ilj, and in b.ilj:
           5  run 1  SWAP       patch  layers.1.mlp.output.i0  served  f32[2] b3:5ba04c717494
      help: interloom step a.ilj --at 5
      help: interloom why a.ilj --exchange 5
      help: interloom step b.ilj --at 5
      help: interloom why b.ilj --exchange 5
    "#);
    let short = place
        .run(&["diff", "a.ilj", "b.ilj", "--context", "0"])
        .with(4)
        .out;
    assert!(short.lines().count() < out.lines().count());
    let json = place.run(&["diff", "a.ilj", "b.ilj", "--json"]).with(4).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["divergence"]["tensor"]["differing"], 1);
    assert_eq!(json["divergence"]["tensor"]["ulp_max"], 1);
    assert_eq!(json["divergence"]["journals"][1], "b.ilj");
    assert_eq!(json["aligned"]["other"], 2);
}

#[test]
fn an_exchange_too_many_is_told_from_a_value() {
    let other = Sample {
        reads_again: true,
        computed: [6.0, 9.0],
        ..Sample::default()
    };
    let place = pair(&Sample::default(), &other);
    let out = place.run(&["diff", "a.ilj", "b.ilj"]).with(4).out;
    insta::assert_snapshot!(out, @r#"
    error[E080]: a.ilj and b.ilj part at exchange 5 (run "patched", site layers.1.mlp.output.i0, mediator "patch")
      class: schedule (another mediator or another site came next)
      a.ilj: head b3:6bfd395caa76, device cpu, schedule in-order
      b.ilj: head b3:6bfd395caa76, device cpu, schedule in-order
        2  VALUE      patch  layers.0.attn.output.i0    f32[2] b3:3956c2eac076
        3  SWAP       patch  layers.0.attn.output.i0    f32[2] b3:acc346244904
        4  VALUE      read   layers.0.attn.output.i0    f32[2] b3:acc346244904
      - 5  SWAP       patch  layers.1.mlp.output.i0     f32[2] b3:63d355adf510  <- a.ilj
      + 5  VALUE      read   layers.0.attn.output.i0    f32[2] b3:acc346244904  <- b.ilj
        6  VALUE      read   layers.1.mlp.output.i0     f32[2] b3:63d355adf510  (next in a.ilj)
        7  EXCEPTION  read   at layers.1.mlp.output.i0  E013: it failed  (next in a.ilj)
      mediator: patch in a.ilj, read in b.ilj
      at: layers.1.mlp.output.i0 in a.ilj, layers.0.attn.output.i0 in b.ilj
      event: SWAP in a.ilj, VALUE in b.ilj
      asked: layers.1.mlp.output.i0 in a.ilj, layers.0.attn.output.i0 in b.ilj
      value digest: b3:63d355adf510 in a.ilj, b3:acc346244904 in b.ilj
      note: what a.ilj has here comes 1 exchange later in b.ilj -> exchanges were added, or made in another order
      aligned by run, mediator, event, site and iteration: 6 equal, 2 other, 0 in a.ilj only, 1 in b.ilj only
      the first other: exchange 5 in a.ilj, and in b.ilj:
           6  run 1  SWAP       patch  layers.1.mlp.output.i0  served  f32[2] b3:78dced0cebdf
      help: interloom step a.ilj --at 5
      help: interloom step b.ilj --at 5
    "#);
    let back = place.run(&["diff", "b.ilj", "a.ilj"]).with(4).out;
    assert!(back.contains("1 in b.ilj only, 0 in a.ilj only"), "{back}");
}

#[test]
fn journals_that_cannot_be_read_are_errors() {
    let place = pair(&Sample::default(), &Sample::default());
    let bytes = fs::read(place.path("a.ilj")).unwrap();
    fs::write(place.path("b.ilj"), &bytes[..bytes.len() * 3 / 4]).unwrap();
    for files in [["a.ilj", "b.ilj"], ["b.ilj", "a.ilj"]] {
        let message = place.run(&["diff", files[0], files[1]]).error("E065", 1);
        assert!(message.starts_with("b.ilj ends early"), "{message}");
    }
    fs::create_dir(place.path("folder")).unwrap();
    for (file, code, exit) in [("none.ilj", "E060", 1), ("folder", "E061", 1)] {
        place.run(&["diff", "a.ilj", file]).error(code, exit);
        place.run(&["diff", file, "a.ilj"]).error(code, exit);
    }
    place.run(&["diff", "a.ilj"]).with(2);
}

/// Writes a journal of a mediator that reads one site in these iterations.
fn write_loop(path: &std::path::Path, iterations: &[u32]) {
    let mut writer = JournalWriter::create(path, &Head::new(Experiment::default())).unwrap();
    let start = RunStart {
        run: 0,
        name: "loop".to_owned(),
        mediators: vec![MediatorLine {
            name: "read".to_owned(),
            rows: None,
            optional: false,
        }],
        scheduler: "in-order".to_owned(),
        declared: Default::default(),
        keeps: Vec::new(),
    };
    writer.start_run(&start).unwrap();
    let path = writer.path("layers.0.output").unwrap();
    for iteration in iterations {
        let site = SiteRef {
            path,
            iteration: *iteration,
        };
        let exchange = ExchangeRecord {
            run: 0,
            index: writer.next_index(),
            mediator: 0,
            event: Event::Value,
            asked: Some(site),
            at: Some(site),
            result: ExchangeResult::Served,
            value: Some(ValueTree::Int(i64::from(*iteration))),
            reshape: false,
            round: Default::default(),
            fault: None,
            origin: None,
        };
        writer.exchange(&exchange).unwrap();
    }
    writer.end_run(OutcomeRecord::default()).unwrap();
    writer.finish().unwrap();
}

#[test]
fn iterations_belong_together_whatever_stands_between() {
    let place = Place::new();
    write_loop(&place.path("a.ilj"), &[0, 1, 2, 3, 4]);
    write_loop(&place.path("b.ilj"), &[0, 1, 3, 4, 5]);
    let out = place.run(&["diff", "a.ilj", "b.ilj"]).with(4).out;
    insta::assert_snapshot!(out, @r#"
    error[E080]: a.ilj and b.ilj part at exchange 2 (run "loop", site layers.0.output.i2, mediator "read")
      class: schedule (another mediator or another site came next)
      a.ilj: head b3:75e22497ab1f, schedule in-order
      b.ilj: head b3:75e22497ab1f, schedule in-order
        0  VALUE  read  layers.0.output.i0  0
        1  VALUE  read  layers.0.output.i1  1
      - 2  VALUE  read  layers.0.output.i2  2  <- a.ilj
      + 2  VALUE  read  layers.0.output.i3  3  <- b.ilj
        3  VALUE  read  layers.0.output.i3  3  (next in a.ilj)
        4  VALUE  read  layers.0.output.i4  4  (next in a.ilj)
      at: layers.0.output.i2 in a.ilj, layers.0.output.i3 in b.ilj
      asked: layers.0.output.i2 in a.ilj, layers.0.output.i3 in b.ilj
      value: 2 in a.ilj, 3 in b.ilj
      note: what b.ilj has here comes 1 exchange later in a.ilj -> exchanges were left out, or made in another order
      aligned by run, mediator, event, site and iteration: 4 equal, 0 other, 1 in a.ilj only, 1 in b.ilj only
      help: interloom step a.ilj --at 2
      help: interloom step b.ilj --at 2
    "#);
    let out = place.run(&["diff", "b.ilj", "a.ilj"]).with(4).out;
    assert!(
        out.contains("-> exchanges were added, or made in another order"),
        "{out}"
    );
}

#[test]
fn what_is_missing_or_too_much_at_the_end_is_told_where_it_would_be() {
    let place = Place::new();
    write_loop(&place.path("a.ilj"), &[0, 1, 2]);
    write_loop(&place.path("b.ilj"), &[0, 1]);
    insta::assert_snapshot!(place.run(&["diff", "a.ilj", "b.ilj"]).with(4).out, @r#"
    error[E080]: a.ilj and b.ilj part at exchange 2 (run "loop", site layers.0.output.i2, mediator "read")
      class: protocol (something else was done, or the answer was another one)
      a.ilj: head b3:75e22497ab1f, schedule in-order
      b.ilj: head b3:75e22497ab1f, schedule in-order
        0  VALUE  read  layers.0.output.i0  0
        1  VALUE  read  layers.0.output.i1  1
      - 2  VALUE  read  layers.0.output.i2  2  <- a.ilj
      + 2  the run ends: "completed"  <- b.ilj
      aligned by run, mediator, event, site and iteration: 2 equal, 0 other, 1 in a.ilj only, 0 in b.ilj only
      help: interloom step a.ilj --at 2
    "#);
    insta::assert_snapshot!(place.run(&["diff", "b.ilj", "a.ilj"]).with(4).out, @r#"
    error[E080]: b.ilj and a.ilj part at exchange 2 (run "loop", site layers.0.output.i2, mediator "read")
      class: protocol (something else was done, or the answer was another one)
      b.ilj: head b3:75e22497ab1f, schedule in-order
      a.ilj: head b3:75e22497ab1f, schedule in-order
        0  VALUE  read  layers.0.output.i0  0
        1  VALUE  read  layers.0.output.i1  1
      - 2  the run ends: "completed"  <- b.ilj
      + 2  VALUE  read  layers.0.output.i2  2  <- a.ilj
      aligned by run, mediator, event, site and iteration: 2 equal, 0 other, 0 in b.ilj only, 1 in a.ilj only
      help: interloom step a.ilj --at 2
    "#);
}

#[test]
fn a_run_that_one_has_more_is_shown_by_its_own_names() {
    let short = Sample {
        is_short: true,
        ..Sample::default()
    };
    let place = pair(&Sample::default(), &short);
    let out = place.run(&["diff", "a.ilj", "b.ilj"]).with(4).out;
    insta::assert_snapshot!(out, @r#"
    error[E080]: a.ilj and b.ilj part at exchange 2 (run "clean")
      class: protocol (something else was done, or the answer was another one)
      a.ilj: head b3:6bfd395caa76, device cpu, schedule in-order
      b.ilj: head b3:6bfd395caa76, device cpu, schedule in-order
        0  VALUE  read   layers.0.attn.output.i0     f32[2] b3:acc346244904
        1  END    read   at layers.0.attn.output.i0
      - 2  run "patched" starts, with ["read", "patch"]  <- a.ilj
      + 2  nothing more  <- b.ilj
        2  VALUE  patch  layers.0.attn.output.i0     f32[2] b3:3956c2eac076  (next in a.ilj)
        3  SWAP   patch  layers.0.attn.output.i0     f32[2] b3:acc346244904  (next in a.ilj)
      aligned by run, mediator, event, site and iteration: 2 equal, 0 other, 6 in a.ilj only, 0 in b.ilj only
      runs in a.ilj only: "patched"
    "#);
    let out = place.run(&["diff", "b.ilj", "a.ilj"]).with(4).out;
    assert!(out.contains("- 2  nothing more  <- b.ilj"), "{out}");
}

/// A run in the middle that only one side has does not keep those after it from being compared.
#[test]
fn runs_are_aligned_by_name() {
    let text = |between: &str, scale: &str| {
        format!(
            "model = 'induction'\n[[input]]\nname = 'a'\ntokens = [1, 2, 3]\n\
             [[run]]\nname = 'first'\ninput = 'a'\nprogram = 'save h = layers.0'\n{between}\
             [[run]]\nname = 'last'\ninput = 'a'\nprogram = 'layers.0 *= {scale}'\n"
        )
    };
    let between = "[[run]]\nname = 'between'\ninput = 'a'\nprogram = 'save h = layers.1'\n";
    let place = Place::new();
    let record = |name: &str, text: String| {
        fs::write(place.path("e.toml"), text).unwrap();
        place.run(&["run", "e.toml", "--journal", name]).with(0);
    };
    record("a.ilj", text("", "2"));
    record("b.ilj", text(between, "2"));
    record("c.ilj", text(between, "3"));
    let out = place.run(&["diff", "a.ilj", "b.ilj"]).with(4).out;
    let aligned = out
        .lines()
        .skip_while(|line| !line.starts_with("  aligned"))
        .take(2);
    insta::assert_snapshot!(aligned.collect::<Vec<_>>().join("\n"), @r#"
      aligned by run, mediator, event, site and iteration: 5 equal, 0 other, 0 in a.ilj only, 2 in b.ilj only
      runs in b.ilj only: "between"
    "#);
    let json = place.run(&["diff", "c.ilj", "a.ilj", "--json"]).with(4).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let aligned = &json["aligned"];
    assert_eq!(aligned["runs_only_first"], serde_json::json!(["between"]));
    assert_eq!(aligned["runs_only_second"], serde_json::json!([]));
    // The last run reads the same, and writes something else.
    assert_eq!(
        (&aligned["equal"], &aligned["other"]),
        (&4.into(), &1.into())
    );
}
