//! Whatever is changed is found at its first exchange, and named.

use interloom::Conclusion;
use interloom_journal::divergence::{
    Alignment, Divergence, DivergenceClass, DivergenceSide, EnvironmentReport, ValueSource,
};

use crate::plan::Plan;
use crate::{Recording, without_heads};

/// What a changed experiment differs in from the recording of `recorded`.
fn differs(recorded: &Plan, live: &Plan) -> (Option<Divergence>, Option<EnvironmentReport>) {
    let conclusion = Recording::of(recorded).verify(live);
    assert!(!conclusion.is_identical(), "{live:?} is called identical");
    match conclusion {
        Conclusion::Verified {
            divergence,
            environment,
            ..
        } => (
            divergence.map(|divergence| without_heads(*divergence)),
            environment,
        ),
        other => panic!("{other:?}"),
    }
}

/// As [`differs`], where the environments are alike.
fn diverges(live: &Plan) -> Divergence {
    let (divergence, environment) = differs(&Plan::default(), live);
    assert_eq!(environment, None);
    divergence.expect("the runs part")
}

#[test]
fn a_changed_intervention_is_the_mediators_own_arithmetic() {
    let plan = Plan {
        scale: 2.000_000_2,
        ..Plan::default()
    };
    let divergence = diverges(&plan);
    assert_eq!(divergence.class, DivergenceClass::Value);
    assert_eq!(divergence.mediator.as_deref(), Some("scale"));
    assert_eq!(divergence.site.as_deref(), Some("act.output.i0"));
    assert_eq!(divergence.run, "run 0");
    let source = ValueSource::Mediator {
        last_served: Some(divergence.index - 1),
    };
    assert_eq!(divergence.source, Some(source));
    assert_eq!(divergence.tensor, None, "the journal keeps no bytes");
    insta::assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 3 (run "run 0", site act.output.i0, mediator "scale")
      class: value (the same exchange carried another value)
      recorded: head b3:000000000000, device cpu, schedule in-order
      this run: head b3:000000000000, device cpu, schedule in-order
        0  VALUE  watch  up.output.i0      f32[2, 8] b3:0208f76ca2a2
        1  VALUE  watch  act.output.i0     f32[2, 8] b3:5c9c3a7cd5d3
        2  VALUE  scale  act.output.i0     f32[2, 8] b3:5c9c3a7cd5d3
      - 3  SWAP   scale  act.output.i0     f32[2, 8] b3:e11913fd27b1  <- recorded
      + 3  SWAP   scale  act.output.i0     f32[2, 8] b3:6b70bb934cca  <- this run
        4  END    scale  at act.output.i0  (recorded next)
        5  VALUE  watch  split.output.i0   (f32[2, 4] b3:af8d0aa71e95, f32[2, 4] b3:524bc48f58a0)  (recorded next)
      value digest: b3:e11913fd27b1 recorded, b3:6b70bb934cca in this run
      note: the schedules are equal up to here, and so is the value last served to "scale" (exchange 2) -> the mediator's own arithmetic differs
    "#);
}

#[test]
fn what_only_a_cache_saw_is_compared_too() {
    let caches = Plan {
        caches: true,
        ..Plan::default()
    };
    let recording = Recording::of(&caches);
    assert!(recording.verify(&caches).is_identical());
    let with_weight = |path| Plan {
        weight: Some((path, 3, 0.25)),
        ..caches.clone()
    };
    let (divergence, _) = differs(&caches, &with_weight("down.weight"));
    let divergence = divergence.expect("the cache of the run has another value");
    assert_eq!(
        divergence.class,
        DivergenceClass::Environment,
        "the model is another"
    );
    assert_eq!(
        divergence.site.as_deref(),
        Some("down.output.i0"),
        "{divergence}"
    );
    assert_eq!(divergence.differences.len(), 1, "{divergence}");
    assert_eq!(divergence.differences[0].field, "value digest");
    let (divergence, _) = differs(&caches, &with_weight("split.gain"));
    insta::assert_snapshot!(divergence.expect("both caches have other values"), @r#"
    error[E080]: replay diverged at exchange 4 (run "run 0", site split.output.i0)
      class: environment (a value differs, and so does what values are made from)
      recorded: head b3:000000000000, device cpu, schedule in-order
      this run: head b3:010101010101 (another), device cpu, schedule in-order
        0  END    collect
        1  VALUE  scale    act.output.i0     f32[2, 8] b3:5c9c3a7cd5d3
        2  SWAP   scale    act.output.i0     f32[2, 8] b3:e11913fd27b1
        3  END    scale    at act.output.i0
      - 4  the model comes to split.output.i0 with (f32[2, 4] b3:af8d0aa71e95, f32[2, 4] b3:524bc48f58a0), after 2 points  <- recorded
      + 4  the model comes to split.output.i0 with (f32[2, 4] b3:3d607601959e, f32[2, 4] b3:524bc48f58a0), after 2 points  <- this run
      value[0] digest: b3:af8d0aa71e95 recorded, b3:3d607601959e in this run
      note: the schedules and all exchanges before it are equal -> the model's own arithmetic, or its input, differs
      environment: model: "Net" b3:55853d951813 recorded, "Net" b3:ef61e102f5c3 in this run; 1 changed: split.gain
    "#);
}

#[test]
fn another_site_is_another_schedule() {
    let plan = Plan {
        site: "up",
        ..Plan::default()
    };
    let divergence = diverges(&plan);
    assert_eq!(divergence.class, DivergenceClass::Schedule);
    insta::assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 1 (run "run 0", site act.output.i0, mediator "watch")
      class: schedule (another mediator or another site came next)
      recorded: head b3:000000000000, device cpu, schedule in-order
      this run: head b3:000000000000, device cpu, schedule in-order
        0  VALUE  watch  up.output.i0   f32[2, 8] b3:0208f76ca2a2
      - 1  VALUE  watch  act.output.i0  f32[2, 8] b3:5c9c3a7cd5d3  <- recorded
      + 1  VALUE  scale  up.output.i0   f32[2, 8] b3:0208f76ca2a2  <- this run
        2  VALUE  scale  act.output.i0  f32[2, 8] b3:5c9c3a7cd5d3  (recorded next)
        3  SWAP   scale  act.output.i0  f32[2, 8] b3:e11913fd27b1  (recorded next)
      mediator: watch recorded, scale in this run
      at: act.output.i0 recorded, up.output.i0 in this run
      asked: act.output.i0 recorded, up.output.i0 in this run
      value digest: b3:5c9c3a7cd5d3 recorded, b3:0208f76ca2a2 in this run
      note: what was recorded here came 3 exchanges later in this run -> exchanges were added, or made in another order
    "#);
}

#[test]
fn an_exchange_too_many_is_named() {
    let plan = Plan {
        reads_again: true,
        ..Plan::default()
    };
    let divergence = diverges(&plan);
    assert_eq!(divergence.mediator.as_deref(), Some("scale"));
    assert_eq!(divergence.class, DivergenceClass::Protocol);
    assert_eq!(divergence.alignment, Some(Alignment::Extra(1)));
    insta::assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 4 (run "run 0", site act.output.i0, mediator "scale")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:000000000000, device cpu, schedule in-order
      this run: head b3:000000000000, device cpu, schedule in-order
        0  VALUE  watch  up.output.i0        f32[2, 8] b3:0208f76ca2a2
        1  VALUE  watch  act.output.i0       f32[2, 8] b3:5c9c3a7cd5d3
        2  VALUE  scale  act.output.i0       f32[2, 8] b3:5c9c3a7cd5d3
        3  SWAP   scale  act.output.i0       f32[2, 8] b3:e11913fd27b1
      - 4  END    scale  at act.output.i0    <- recorded
      + 4  VALUE  scale  act.output.i0       f32[2, 8] b3:e11913fd27b1  <- this run
        5  VALUE  watch  split.output.i0     (f32[2, 4] b3:af8d0aa71e95, f32[2, 4] b3:524bc48f58a0)  (recorded next)
        6  END    watch  at split.output.i0  (recorded next)
      event: END recorded, VALUE in this run
      asked: none recorded, act.output.i0 in this run
      value: none recorded, f32[2, 8] b3:e11913fd27b1 in this run
      note: what was recorded here came 1 exchange later in this run -> exchanges were added, or made in another order
    "#);
}

#[test]
fn an_exchange_too_few_is_named() {
    let plan = Plan {
        swaps: false,
        ..Plan::default()
    };
    let divergence = diverges(&plan);
    assert_eq!(divergence.class, DivergenceClass::Protocol);
    assert_eq!(divergence.mediator.as_deref(), Some("scale"));
    assert_eq!(divergence.alignment, Some(Alignment::Missing(1)));
    insta::assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 3 (run "run 0", site act.output.i0, mediator "scale")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:000000000000, device cpu, schedule in-order
      this run: head b3:000000000000, device cpu, schedule in-order
        0  VALUE  watch  up.output.i0      f32[2, 8] b3:0208f76ca2a2
        1  VALUE  watch  act.output.i0     f32[2, 8] b3:5c9c3a7cd5d3
        2  VALUE  scale  act.output.i0     f32[2, 8] b3:5c9c3a7cd5d3
      - 3  SWAP   scale  act.output.i0     f32[2, 8] b3:e11913fd27b1  <- recorded
      + 3  END    scale  at act.output.i0  <- this run
        4  END    scale  at act.output.i0  (recorded next)
        5  VALUE  watch  split.output.i0   (f32[2, 4] b3:af8d0aa71e95, f32[2, 4] b3:524bc48f58a0)  (recorded next)
      event: SWAP recorded, END in this run
      asked: act.output.i0 recorded, none in this run
      value: f32[2, 8] b3:e11913fd27b1 recorded, none in this run
      note: what this run did here was recorded 1 exchange later -> exchanges were left out, or made in another order
    "#);
}

#[test]
fn another_order_of_mediators_is_another_schedule() {
    let plan = Plan {
        last_first: true,
        ..Plan::default()
    };
    let divergence = diverges(&plan);
    assert_eq!(divergence.class, DivergenceClass::Schedule);
    assert_eq!(divergence.site.as_deref(), Some("act.output.i0"));
    insta::assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 1 (run "run 0", site act.output.i0, mediator "watch")
      class: schedule (another mediator or another site came next)
      recorded: head b3:000000000000, device cpu, schedule in-order
      this run: head b3:000000000000, device cpu, schedule last first (another)
        0  VALUE  watch  up.output.i0   f32[2, 8] b3:0208f76ca2a2
      - 1  VALUE  watch  act.output.i0  f32[2, 8] b3:5c9c3a7cd5d3  <- recorded
      + 1  VALUE  scale  act.output.i0  f32[2, 8] b3:5c9c3a7cd5d3  <- this run
        2  VALUE  scale  act.output.i0  f32[2, 8] b3:5c9c3a7cd5d3  (recorded next)
        3  SWAP   scale  act.output.i0  f32[2, 8] b3:e11913fd27b1  (recorded next)
      mediator: watch recorded, scale in this run
      note: what this run did here was recorded 1 exchange later -> exchanges were left out, or made in another order
    "#);
}

#[test]
fn mediators_defined_the_other_way_round_are_found_before_the_run() {
    let plan = Plan {
        turned: true,
        ..Plan::default()
    };
    let divergence = diverges(&plan);
    assert_eq!(
        (divergence.class, divergence.index),
        (DivergenceClass::Protocol, 0)
    );
    assert_eq!(divergence.differences[0].field, "mediators");
    insta::assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 0 (run "run 0")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:000000000000, device cpu, schedule in-order
      this run: head b3:000000000000, device cpu, schedule in-order
      - 0  run "run 0" starts, with ["watch", "scale", "logits"]  <- recorded
      + 0  run "run 0" starts, with ["scale", "watch", "logits"]  <- this run
        0  VALUE  watch  up.output.i0   f32[2, 8] b3:0208f76ca2a2  (recorded next)
        1  VALUE  watch  act.output.i0  f32[2, 8] b3:5c9c3a7cd5d3  (recorded next)
      mediators: "watch", "scale", "logits" recorded, "scale", "watch", "logits" in this run
    "#);
}

#[test]
fn another_name_of_a_mediator_is_found_before_the_run() {
    let plan = Plan {
        name: "double",
        ..Plan::default()
    };
    let divergence = diverges(&plan);
    assert_eq!(
        (divergence.class, divergence.index),
        (DivergenceClass::Protocol, 0)
    );
    insta::assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 0 (run "run 0")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:000000000000, device cpu, schedule in-order
      this run: head b3:000000000000, device cpu, schedule in-order
      - 0  run "run 0" starts, with ["watch", "scale", "logits"]  <- recorded
      + 0  run "run 0" starts, with ["watch", "double", "logits"]  <- this run
        0  VALUE  watch  up.output.i0   f32[2, 8] b3:0208f76ca2a2  (recorded next)
        1  VALUE  watch  act.output.i0  f32[2, 8] b3:5c9c3a7cd5d3  (recorded next)
      mediators: "watch", "scale", "logits" recorded, "watch", "double", "logits" in this run
    "#);
}

#[test]
fn a_run_too_many_and_too_few_are_named() {
    let divergence = diverges(&Plan {
        runs: 0..3,
        ..Plan::default()
    });
    assert_eq!(divergence.recorded, DivergenceSide::Nothing);
    insta::assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 18 (run "run 1")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:000000000000, device cpu, schedule in-order
      this run: head b3:000000000000, device cpu, schedule in-order
        14  VALUE  watch   split.output.i0     (f32[2, 4] b3:af8d0aa71e95, f32[2, 4] b3:524bc48f58a0)
        15  END    watch   at split.output.i0
        16  VALUE  logits  output.i0           f32[2, 3] b3:51a9df7a3ed3
        17  END    logits  at output.i0
      - 18  nothing more  <- recorded
      + 18  run "run 2" starts, with ["watch", "scale", "logits"]  <- this run
    "#);
    let divergence = diverges(&Plan {
        runs: 0..1,
        ..Plan::default()
    });
    assert_eq!(divergence.live, DivergenceSide::Nothing);
    insta::assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 9 (run "run 0")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:000000000000, device cpu, schedule in-order
      this run: head b3:000000000000, device cpu, schedule in-order
         5  VALUE  watch   split.output.i0     (f32[2, 4] b3:af8d0aa71e95, f32[2, 4] b3:524bc48f58a0)
         6  END    watch   at split.output.i0
         7  VALUE  logits  output.i0           f32[2, 3] b3:51a9df7a3ed3
         8  END    logits  at output.i0
      -  9  run "run 1" starts, with ["watch", "scale", "logits"]  <- recorded
      +  9  nothing more  <- this run
         9  VALUE  watch   up.output.i0        f32[2, 8] b3:0208f76ca2a2  (recorded next)
        10  VALUE  watch   act.output.i0       f32[2, 8] b3:5c9c3a7cd5d3  (recorded next)
    "#);
}

#[test]
fn a_run_that_fails_is_not_one_that_succeeds() {
    let fails = Plan {
        fails: true,
        ..Plan::default()
    };
    insta::assert_snapshot!(diverges(&fails), @r#"
    error[E080]: replay diverged at exchange 4 (run "run 0", site act.output.i0, mediator "scale")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:000000000000, device cpu, schedule in-order
      this run: head b3:000000000000, device cpu, schedule in-order
        0  VALUE  watch  up.output.i0                   f32[2, 8] b3:0208f76ca2a2
        1  VALUE  watch  act.output.i0                  f32[2, 8] b3:5c9c3a7cd5d3
        2  VALUE  scale  act.output.i0                  f32[2, 8] b3:5c9c3a7cd5d3
        3  SWAP   scale  act.output.i0                  f32[2, 8] b3:e11913fd27b1
      - 4  END    scale  at act.output.i0               <- recorded
      + 4  VALUE  scale  up.output.i0 at act.output.i0  refused  E002: `up.output.i0` was already passed when it was asked for, with the model at `act.output.i0`; ask for it before you ask for a later site, or keep the value when it passes  <- this run
        5  VALUE  watch  split.output.i0                (f32[2, 4] b3:af8d0aa71e95, f32[2, 4] b3:524bc48f58a0)  (recorded next)
        6  END    watch  at split.output.i0             (recorded next)
      event: END recorded, VALUE in this run
      asked: none recorded, up.output.i0 in this run
      result: served recorded, refused in this run
      fault: none recorded, E002: `up.output.i0` was already passed when it was asked for, with the model at `act.output.i0`; ask for it before you ask for a later site, or keep the value when it passes in this run
    "#);
    let (divergence, environment) = differs(&fails, &Plan::default());
    assert_eq!(environment, None);
    insta::assert_snapshot!(divergence.unwrap(), @r#"
    error[E080]: replay diverged at exchange 4 (run "run 0", site up.output.i0, mediator "scale")
      class: protocol (something else was done, or the answer was another one)
      recorded: head b3:000000000000, device cpu, schedule in-order
      this run: head b3:000000000000, device cpu, schedule in-order
        0  VALUE      watch  up.output.i0                   f32[2, 8] b3:0208f76ca2a2
        1  VALUE      watch  act.output.i0                  f32[2, 8] b3:5c9c3a7cd5d3
        2  VALUE      scale  act.output.i0                  f32[2, 8] b3:5c9c3a7cd5d3
        3  SWAP       scale  act.output.i0                  f32[2, 8] b3:e11913fd27b1
      - 4  VALUE      scale  up.output.i0 at act.output.i0  refused  E002: `up.output.i0` was already passed when it was asked for, with the model at `act.output.i0`; ask for it before you ask for a later site, or keep the value when it passes  <- recorded
      + 4  END        scale  at act.output.i0               <- this run
        5  EXCEPTION  scale  at act.output.i0               E002: `up.output.i0` was already passed when it was asked for, with the model at `act.output.i0`; ask for it before you ask for a later site, or keep the value when it passes  (recorded next)
      event: VALUE recorded, END in this run
      asked: up.output.i0 recorded, none in this run
      result: refused recorded, served in this run
      fault: E002: `up.output.i0` was already passed when it was asked for, with the model at `act.output.i0`; ask for it before you ask for a later site, or keep the value when it passes recorded, none in this run
    "#);
}

#[test]
fn another_input_is_named_and_explains_the_value() {
    let (divergence, environment) = differs(
        &Plan::default(),
        &Plan {
            input: 0.125,
            ..Plan::default()
        },
    );
    let divergence = divergence.expect("the runs part");
    assert_eq!(divergence.class, DivergenceClass::Environment);
    assert_eq!(divergence.site.as_deref(), Some("up.output.i0"));
    let differences = environment.expect("the heads differ").differences;
    assert_eq!(differences.len(), 1);
    assert_eq!(
        (differences[0].subject, &differences[0].changed[..]),
        ("inputs", &["x".to_owned()][..])
    );
    insta::assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 0 (run "run 0", site up.output.i0, mediator "watch")
      class: environment (a value differs, and so does what values are made from)
      recorded: head b3:000000000000, device cpu, schedule in-order
      this run: head b3:010101010101 (another), device cpu, schedule in-order
      - 0  VALUE  watch  up.output.i0   f32[2, 8] b3:0208f76ca2a2  <- recorded
      + 0  VALUE  watch  up.output.i0   f32[2, 8] b3:33db3b5232f2  <- this run
        1  VALUE  watch  act.output.i0  f32[2, 8] b3:5c9c3a7cd5d3  (recorded next)
        2  VALUE  scale  act.output.i0  f32[2, 8] b3:5c9c3a7cd5d3  (recorded next)
      value digest: b3:0208f76ca2a2 recorded, b3:33db3b5232f2 in this run
      note: the schedules and all exchanges before it are equal -> the model's own arithmetic, or its input, differs
      environment: inputs: 1 recorded, 1 in this run; 1 changed: x
    "#);
}

#[test]
fn a_changed_weight_is_named_by_its_path() {
    let weight = Some(("down.weight", 0, 0.125));
    let (divergence, environment) = differs(
        &Plan::default(),
        &Plan {
            weight,
            ..Plan::default()
        },
    );
    let divergence = divergence.expect("the runs part");
    assert_eq!(divergence.class, DivergenceClass::Environment);
    assert_eq!(divergence.site.as_deref(), Some("output.i0"));
    let differences = environment.expect("the heads differ").differences;
    assert_eq!(differences.len(), 1);
    assert_eq!(differences[0].changed, ["down.weight"]);
    insta::assert_snapshot!(divergence, @r#"
    error[E080]: replay diverged at exchange 7 (run "run 0", site output.i0, mediator "logits")
      class: environment (a value differs, and so does what values are made from)
      recorded: head b3:000000000000, device cpu, schedule in-order
      this run: head b3:010101010101 (another), device cpu, schedule in-order
        3  SWAP   scale   act.output.i0       f32[2, 8] b3:e11913fd27b1
        4  END    scale   at act.output.i0
        5  VALUE  watch   split.output.i0     (f32[2, 4] b3:af8d0aa71e95, f32[2, 4] b3:524bc48f58a0)
        6  END    watch   at split.output.i0
      - 7  VALUE  logits  output.i0           f32[2, 3] b3:51a9df7a3ed3  <- recorded
      + 7  VALUE  logits  output.i0           f32[2, 3] b3:746f29090776  <- this run
        8  END    logits  at output.i0        (recorded next)
      value digest: b3:51a9df7a3ed3 recorded, b3:746f29090776 in this run
      note: the schedules and all exchanges before it are equal -> the model's own arithmetic, or its input, differs
      environment: model: "Net" b3:55853d951813 recorded, "Net" b3:dddfdc9c814b in this run; 1 changed: down.weight
    "#);
}

#[test]
fn equal_exchanges_of_another_model_are_not_called_identical() {
    // The activation that this number is multiplied by is zero in every row.
    let weight = Some(("split.gain", 0, 0.0625));
    let conclusion = Recording::of(&Plan::default()).verify(&Plan {
        weight,
        ..Plan::default()
    });
    let Conclusion::Verified {
        divergence,
        environment,
        ..
    } = &conclusion
    else {
        panic!("{conclusion:?}");
    };
    assert_eq!(*divergence, None);
    assert_eq!(
        environment.as_ref().unwrap().differences[0].changed,
        ["split.gain"]
    );
    assert!(!conclusion.is_identical());
}

#[test]
fn a_barrier_and_a_number_of_steps_that_nobody_used_are_still_part_of_the_run() {
    for live in [
        Plan {
            barrier: Some(2),
            ..Plan::default()
        },
        Plan {
            steps: Some(3),
            ..Plan::default()
        },
    ] {
        let divergence = diverges(&live);
        assert_eq!(
            (divergence.class, divergence.index),
            (DivergenceClass::Protocol, 0)
        );
        let difference = &divergence.differences[0];
        assert_eq!(difference.recorded, "none");
        assert!(["\"meet\" of 2", "3"].contains(&&*difference.live));
        let again = Recording::of(&live).verify(&live);
        assert!(again.is_identical());
    }
}
