//! Runs as a whole: how they start and end, and what they were made with.

use super::*;

#[test]
fn another_outcome() {
    let mut live = journal(exchanges());
    let end = live.runs[0].end.as_mut().unwrap();
    end.outcome = samples::failed();
    let divergence = compare(&journal(exchanges()), &live).divergence.unwrap();
    assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 7 (run "forward 0")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:5582b1f51d37, device cpu, schedule in order
      this run: head b3:5582b1f51d37, device cpu, schedule in order
        3  SWAP   steer  layers.3.mlp.output.i0  f32[3] b3:ad157cd7bf9a
        4  VALUE  read   layers.3.mlp.output.i0  f32[3] b3:ad157cd7bf9a
        5  END    read
        6  END    steer
      - 7  the run ends: "completed"  <- recorded
      + 7  the run ends: "mediator `read` failed at `layers.0.attn.output.i1`: `x` has no value yet; give it one on every path that leads here" (E103)  <- this run
      outcome: "completed" recorded, "mediator `read` failed at `layers.0.attn.output.i1`: `x` has no value yet; give it one on every path that leads here" in this run
      code: none recorded, E103 in this run
    "#);
}

#[test]
fn runs_that_start_otherwise_or_not_at_all() {
    let recorded = journal(exchanges());
    let mut live = recorded.clone();
    live.runs[0].start.mediators.push(MediatorLine {
        name: "third".into(),
        rows: None,
        optional: false,
    });
    let divergence = compare(&recorded, &live).divergence.unwrap();
    assert_eq!(
        (divergence.class, divergence.index),
        (DivergenceClass::Protocol, 0)
    );
    assert_eq!(divergence.differences[0].field, "mediators");

    live.runs[0].start.mediators = [("a", Some((0, 2)), false), ("b", Some((2, 0)), true)]
        .map(|(name, rows, optional)| MediatorLine {
            name: name.into(),
            rows,
            optional,
        })
        .into();
    let divergence = compare(&recorded, &live).divergence.unwrap();
    let mediators = &divergence.differences[0].live;
    assert_eq!(
        mediators,
        r#""a" [rows 0 to 1], "b" [no row at 2] [optional]"#
    );

    live.runs.clear();
    let divergence = compare(&recorded, &live).divergence.unwrap();
    assert_eq!(divergence.live, DivergenceSide::Nothing);
    let divergence = compare(&live, &recorded).divergence.unwrap();
    assert_eq!(divergence.recorded, DivergenceSide::Nothing);
    assert!(matches!(divergence.live, DivergenceSide::RunStart { .. }));

    let scheduler = RunStart {
        scheduler: "recorded".into(),
        ..run_start(0)
    };
    live = recorded.clone();
    live.runs[0].start = scheduler;
    assert_eq!(compare(&recorded, &live).divergence, None);
}

#[test]
fn barriers_and_steps_are_compared() {
    let with = |declared| {
        let mut journal = journal(exchanges());
        journal.runs[0].start.declared = declared;
        journal
    };
    let recorded = with(samples::declared());
    let mut other = samples::declared();
    other.barriers[1].participants = 3;
    other.steps = None;
    let divergence = compare(&recorded, &with(other)).divergence.unwrap();
    assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 0 (run "forward 0")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:5582b1f51d37, device cpu, schedule in order
      this run: head b3:5582b1f51d37, device cpu, schedule in order
      - 0  run "forward 0" starts, with ["read", "steer"]  <- recorded
      + 0  run "forward 0" starts, with ["read", "steer"]  <- this run
        0  VALUE  read   layers.3.attn.output.i0  f32[2] b3:acc346244904  (recorded next)
        1  VALUE  steer  layers.3.attn.output.i0  f32[2] b3:acc346244904  (recorded next)
      barriers: "again" of 3, "meet" of 2 recorded, "again" of 3, "meet" of 3 in this run
      steps: 4 recorded, none in this run
    "#);
    let fewer = with(crate::Declared::default());
    let divergence = compare(&recorded, &fewer).divergence.unwrap();
    assert_eq!(divergence.differences[0].live, "none");
}

#[test]
fn a_value_from_another_model_is_of_the_environment() {
    let recorded = journal(exchanges());
    let mut live = recorded.clone();
    live.runs[0].exchanges[0].value = Some(tensor(&[3.0, 4.0]));
    live.head.device = "cuda:0".into();
    let divergence = compare(&recorded, &live).divergence.unwrap();
    assert_eq!(divergence.class, DivergenceClass::Value);
    let model = live.head.model.as_mut().unwrap();
    model.digest = Digest::of_bytes("model", b"other");
    model.parameters[1].1 = Digest::of_bytes("parameter", b"other");
    let divergence = compare(&recorded, &live).divergence.unwrap();
    assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 0 (run "forward 0", site layers.3.attn.output.i0, mediator "read")
      class: environment (a value differs, and so does what values are made from)
      recorded: head b3:5582b1f51d37, device cpu, schedule in order
      this run: head b3:42f86c2bfeb6 (another), device cuda:0 (another), schedule in order
      - 0  VALUE    read   layers.3.attn.output.i0  f32[2] b3:acc346244904  <- recorded
      + 0  VALUE    read   layers.3.attn.output.i0  f32[2] b3:3956c2eac076  <- this run
        1  VALUE    steer  layers.3.attn.output.i0  f32[2] b3:acc346244904  (recorded next)
        2  BARRIER  read                            (recorded next)
      value digest: b3:acc346244904 recorded, b3:3956c2eac076 in this run
      note: the schedules and all exchanges before it are equal -> the model's own arithmetic, or its input, differs
      environment: device: "cpu" recorded, "cuda:0" in this run
      environment: model: "tiny" b3:4eaf7dad414b recorded, "tiny" b3:8581f4346f74 in this run; 1 changed: layers.1.weight
    "#);
}

#[test]
fn environments() {
    let recorded = samples::head();
    assert_eq!(
        EnvironmentReport::between(&recorded, &recorded.clone()),
        None
    );
    let mut live = Head {
        version: "0.2.0".into(),
        device: "cuda:0 NVIDIA H200".into(),
        cpu_features: vec!["avx2".into()],
        seeds: vec![7],
        arithmetic: "fast".into(),
        schedule: "seeded 7".into(),
        ..recorded.clone()
    };
    live.build.profile = "dev".into();
    live.experiment.arguments.insert("scale".into(), 1.5.into());
    let numbered = |count: u8| (0..count).map(|n| (format!("layers.{n}.bias"), Digest([n; 32])));
    live.model.as_mut().unwrap().parameters.extend(numbered(6));
    live.inputs[0].1 = Digest::ZERO;
    let report = EnvironmentReport::between(&recorded, &live).unwrap();
    assert_snapshot!(report, @r#"
        error[E081]: this is not the environment of the recording (10 differences)
          version: "0.1.0" recorded, "0.2.0" in this run
          profile: "release" recorded, "dev" in this run
          device: "cpu" recorded, "cuda:0 NVIDIA H200" in this run
          processor: "avx2 fma" recorded, "avx2" in this run
          arithmetic: "exact" recorded, "fast" in this run
          schedule: "in order" recorded, "seeded 7" in this run
          seeds: [42, 18446744073709551615] recorded, [7] in this run
          experiment: "steer" scale=0.5 recorded, "steer" scale=1.5 in this run
          model: "tiny" b3:4eaf7dad414b recorded, "tiny" b3:4eaf7dad414b in this run; 6 changed: layers.0.bias (only in this run), layers.1.bias (only in this run), layers.2.bias (only in this run), layers.3.bias (only in this run) and 2 more
          inputs: 1 recorded, 1 in this run; 1 changed: prompt
          help: use the recorded environment, or compare knowing that values may differ
    "#);
    assert_eq!(
        report.to_json()["differences"].as_array().unwrap().len(),
        report.differences.len()
    );
    live.model = None;
    let report = EnvironmentReport::between(&recorded, &live).unwrap();
    assert!(report.to_string().contains("model: \"tiny\" b3:"));
    assert!(report.to_string().contains("recorded, none in this run"));
}

#[test]
fn each_side_says_what_it_was_made_with_and_what_is_another() {
    let recorded = journal(exchanges());
    let mut live = recorded.clone();
    live.runs[0].exchanges[0].value = Some(tensor(&[3.0, 4.0]));
    live.runs[0].start.scheduler = format!("ilsched1:{}", "a".repeat(90));
    live.head.device = "cuda:0\u{7}".into();
    let made = |recorded: &Journal, live: &Journal| {
        let text = compare(recorded, live).divergence.unwrap().to_string();
        let lines = text.lines().skip(2).take(2);
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(made(&recorded, &live), @r"
    recorded: head b3:5582b1f51d37, device cpu, schedule in order
    this run: head b3:460b6ed36863 (another), device cuda:0\u{7} (another), schedule ilsched1:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa… (another)
    ");
    // One that has no runs has no schedule yet.
    let mut none = recorded.clone();
    none.runs.clear();
    assert_snapshot!(made(&none, &recorded), @"
    recorded: head b3:5582b1f51d37, device cpu
    this run: head b3:5582b1f51d37, device cpu, schedule in order
    ");
}
