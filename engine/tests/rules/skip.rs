//! Modules that are not computed: R20 to R24.

use interloom_engine::{
    CacheSpec, Delivery, Event, Fault, FaultKind, Invoke, Note, RunEnd, RunError,
};

use crate::support::{Backwards, Model, Module, Move, Ran, Trial, machine, stack, table};

/// What [`stack`] makes of `output` as the output of `layers.0`.
fn from_layer_0(
    model: &Model,
    output: interloom_engine::array::Array,
) -> interloom_engine::array::Array {
    let module = |path: &str| -> &Module {
        model
            .modules
            .iter()
            .find(|module| module.path == path)
            .unwrap()
    };
    ["layers.1.fc", "layers.1", "head", "head", ""]
        .into_iter()
        .fold(output, |x, path| module(path).arithmetic(&x))
}

#[test]
fn r20_a_skipped_module_is_not_computed_and_its_inner_sites_are_not_passed() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("skipper", async |cx| {
        cx.skip("layers.0", table(2, 50.0)).await
    });
    let ran = trial.run(table(2, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert!(
        ran.sites
            .iter()
            .all(|site| !site.starts_with("layers.0.fc"))
    );
    assert!(ran.sites.contains(&"layers.0.output.i0".to_owned()));
    assert_eq!(ran.output, Some(from_layer_0(&model, table(2, 50.0))));
}

#[test]
fn r20_the_replacement_may_be_read_and_swapped_at_the_output() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let saved = trial.whole("skipper", async |cx| {
        cx.skip("layers.0", table(2, 50.0)).await?;
        let output = cx.output("layers.0").await?;
        cx.set_output("layers.0", table(2, 60.0)).await?;
        Ok(output)
    });
    let ran = trial.run(table(2, 0.0));
    assert_eq!(saved.take(), Some(table(2, 50.0)));
    assert_eq!(ran.output, Some(from_layer_0(&model, table(2, 60.0))));
}

#[test]
fn r20_the_input_may_still_be_read_and_the_last_skip_wins() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let saved = trial.whole("skipper", async |cx| {
        cx.skip("layers.0", table(2, 50.0)).await?;
        let input = cx.input("layers.0").await?;
        cx.skip("layers.0", table(2, 70.0)).await?;
        Ok(input)
    });
    let ran = trial.run(table(2, 0.0));
    assert!(saved.take().is_some());
    assert_eq!(ran.output, Some(from_layer_0(&model, table(2, 70.0))));
}

#[test]
fn r20_a_hand_written_machine_skips() {
    let model = stack();
    let input = model.point("layers.0.input");
    let machine = machine(move |delivery| match delivery {
        Delivery::Start => Move::Skip(input, table(2, 50.0)),
        Delivery::Done => Move::End,
        other => panic!("{other:?}"),
    });
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("skipper", machine));
    assert_eq!(
        trial.run(table(2, 0.0)).output,
        Some(from_layer_0(&model, table(2, 50.0)))
    );
}

#[test]
fn r20_an_output_cannot_be_skipped() {
    let model = stack();
    let output = model.point("embed.output");
    let machine = machine(move |delivery| match delivery {
        Delivery::Start => Move::Skip(output, table(2, 50.0)),
        Delivery::Refused(fault) => Move::Fail(fault),
        other => panic!("{other:?}"),
    });
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("skipper", machine));
    let ran = trial.run(table(2, 0.0));
    let fault = FaultKind::NotSkippable {
        site: "embed.output.i0".to_owned(),
        example: "input".to_owned(),
    };
    assert_eq!(ran.faults(), [("skipper", &fault)]);
}

#[test]
fn r20_inner_sites_of_a_skipped_module_are_not_provided_and_iterations_count_on() {
    let model = Model::tree(&[
        ("", &["a", "b"]),
        ("a", &["shared"]),
        ("b", &["shared"]),
        ("shared", &[]),
    ]);
    let mut trial = Trial::of(&model);
    trial.whole("skipper", async |cx| cx.skip("a", table(1, 5.0)).await);
    let first = trial.whole("first", async |cx| cx.input("shared").await);
    trial.whole("second", async |cx| {
        match cx.value("shared.input.i1").await.map_err(Fault::into_kind) {
            Err(FaultKind::NotProvided { .. }) => Ok(()),
            other => panic!("{other:?}"),
        }
    });
    let ran = trial.run(table(1, 0.0));
    // The first passing that there is has number 0.
    assert_eq!(first.take(), Some(table(1, 5.0)));
    assert_eq!(ran.error().code(), "E022");
    assert!(ran.error().to_string().starts_with("`second` never fired"));
}

#[test]
fn r21_the_replacements_of_all_invokes_are_joined_in_batch_order() {
    let model = stack();
    let mut trial = Trial::of(&model);
    for (name, first) in [("a", 10.0), ("b", 12.0), ("c", 14.0)] {
        trial.rows(name, 1, async move |cx| {
            cx.skip("layers.0", table(1, first)).await
        });
    }
    let saved = trial.whole("reader", async |cx| cx.output("layers.0").await);
    let ran = trial.run(table(3, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert_eq!(saved.take(), Some(table(3, 10.0)));
}

#[test]
fn r21_the_batch_order_is_not_the_schedulers() {
    let model = stack();
    let mut trial = Trial::of(&model);
    for (name, first) in [("a", 10.0), ("b", 12.0), ("c", 14.0)] {
        trial.rows(name, 1, async move |cx| {
            cx.skip("layers.0", table(1, first)).await
        });
    }
    let saved = trial.whole("reader", async |cx| cx.output("layers.0").await);
    trial.scheduler(Backwards);
    trial.run(table(3, 0.0));
    assert_eq!(saved.take(), Some(table(3, 10.0)));
}

#[test]
fn r21_an_invoke_with_no_rows_at_all_need_not_skip() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.rows("a", 2, async |cx| cx.skip("layers.0", table(2, 10.0)).await);
    trial.rows("none", 0, async |_| Ok(()));
    let ran = trial.run(table(2, 0.0));
    assert_eq!(ran.output, Some(from_layer_0(&model, table(2, 10.0))));
}

/// Who skips `layers.0`, and who does not; each skip is asked for at that site, on a line of this
/// file.
fn partial_skip(ran: &Ran) -> (Vec<&str>, Vec<&str>) {
    let RunError::PartialSkip {
        site,
        skipping,
        others,
        ..
    } = ran.error()
    else {
        panic!("{:?}", ran.error());
    };
    assert_eq!(site, "layers.0.input.i0");
    for asker in skipping {
        assert_eq!(asker.at.as_ref(), Some(site));
        let (file, _) = asker.origin.file_line().expect("a line");
        assert_eq!(file, file!());
    }
    let names = skipping.iter().map(|asker| &*asker.mediator);
    (names.collect(), others.iter().map(String::as_str).collect())
}

#[test]
fn r21_a_partial_skip_fails_the_run_and_names_both_sides() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.rows("a", 1, async |cx| cx.skip("layers.0", table(1, 10.0)).await);
    trial.rows("b", 1, async |cx| cx.output("layers.0").await);
    trial.rows("c", 1, async |cx| cx.skip("layers.0", table(1, 10.0)).await);
    trial.rows("d", 1, async |_| Ok(()));
    trial.whole("rowless", async |cx| cx.output("").await);
    let ran = trial.run(table(4, 0.0));
    assert_eq!(partial_skip(&ran), (vec!["a", "c"], vec!["b", "d"]));
    assert_eq!(ran.output, None);
}

#[test]
fn r21_replacements_that_do_not_join_fail_the_run() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.rows("a", 1, async |cx| cx.skip("layers.0", table(1, 10.0)).await);
    trial.rows("b", 1, async |cx| {
        let narrow = interloom_engine::array::Array::new(&[1, 3], &[0.0; 3]);
        cx.skip("layers.0", narrow).await
    });
    let ran = trial.run(table(2, 0.0));
    let RunError::SkipMisfit {
        site,
        skipping,
        misfit,
    } = ran.error()
    else {
        panic!("{:?}", ran.error());
    };
    assert_eq!(site, "layers.0.input.i0");
    let names: Vec<&str> = skipping.iter().map(|asker| &*asker.mediator).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(misfit.to_string(), "expected f64[1, 2], found f64[1, 3]");
}

#[test]
fn r22_a_mediator_without_rows_need_not_skip() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let seen = trial.whole("rowless", async |cx| {
        let input = cx.input("layers.0").await?;
        Ok((input, cx.output("layers.0").await?))
    });
    trial.rows("a", 1, async |cx| cx.skip("layers.0", table(1, 10.0)).await);
    trial.rows("b", 1, async |cx| cx.skip("layers.0", table(1, 20.0)).await);
    let ran = trial.run(table(2, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert_eq!(seen.take().unwrap().1.data(), [10.0, 11.0, 20.0, 21.0]);
}

#[test]
fn r22_a_mediator_without_rows_skips_alone_for_the_whole_batch() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("edit", async |cx| cx.skip("layers.0", table(2, 10.0)).await);
    trial.rows("a", 1, async |cx| cx.output("").await);
    let seen = trial.rows("b", 1, async |cx| cx.output("layers.0").await);
    let ran = trial.run(table(2, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert_eq!(seen.take(), Some(table(1, 12.0)));
    assert_eq!(ran.output, Some(from_layer_0(&model, table(2, 10.0))));
}

#[test]
fn r22_rows_that_skip_beside_a_mediator_without_rows_replace_their_own() {
    let model = stack();
    for is_first in [true, false] {
        let mut trial = Trial::of(&model);
        let add = |trial: &mut Trial<'_>| {
            trial.whole("rowless", async |cx| {
                cx.skip("layers.0", table(2, 10.0)).await
            });
        };
        if is_first {
            add(&mut trial);
        }
        trial.rows("a", 1, async |cx| cx.output("").await);
        trial.rows("b", 1, async |cx| cx.skip("layers.0", table(1, 50.0)).await);
        if !is_first {
            add(&mut trial);
        }
        let ran = trial.run(table(2, 0.0));
        let joined = interloom_engine::array::Array::new(&[2, 2], &[10.0, 11.0, 50.0, 51.0]);
        assert_eq!(ran.output, Some(from_layer_0(&model, joined)));
    }
}

#[test]
fn r22_rows_that_do_not_fit_the_replacement_for_the_whole_batch_fail_the_run() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("edit", async |cx| cx.skip("layers.0", table(2, 10.0)).await);
    trial.rows("a", 1, async |cx| cx.output("").await);
    trial.rows("b", 1, async |cx| cx.skip("layers.0", table(2, 50.0)).await);
    let ran = trial.run(table(2, 0.0));
    let RunError::SkipMisfit {
        skipping, misfit, ..
    } = ran.error()
    else {
        panic!("{:?}", ran.error());
    };
    let names: Vec<&str> = skipping.iter().map(|asker| &*asker.mediator).collect();
    assert_eq!(names, ["edit", "b"]);
    assert_eq!(misfit.to_string(), "expected f64[1, 2], found f64[2, 2]");
}

#[test]
fn r22_where_nobody_has_rows_a_mediator_without_rows_skips() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("first", async |cx| {
        cx.skip("layers.0", table(2, 10.0)).await
    });
    trial.whole("last", async |cx| cx.skip("layers.0", table(2, 20.0)).await);
    let ran = trial.run(table(2, 0.0));
    assert_eq!(ran.output, Some(from_layer_0(&model, table(2, 20.0))));
}

#[test]
fn r22_where_all_rows_are_skipped_nothing_is_left_of_the_whole_replacement() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.rows("a", 1, async |cx| cx.skip("layers.0", table(1, 10.0)).await);
    trial.whole("rowless", async |cx| {
        cx.skip("layers.0", table(2, 30.0)).await
    });
    trial.rows("b", 1, async |cx| cx.skip("layers.0", table(1, 12.0)).await);
    let ran = trial.run(table(2, 0.0));
    assert_eq!(ran.output, Some(from_layer_0(&model, table(2, 10.0))));
}

#[test]
fn r23_the_whole_model_can_be_skipped() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("skipper", async |cx| cx.skip("", table(2, 10.0)).await);
    let ran = trial.run(table(2, 0.0));
    assert_eq!(ran.sites, ["input.i0", "output.i0"]);
    assert_eq!(ran.output, Some(table(2, 10.0)));
    assert_eq!(ran.report.audit.mediators[0].served(Event::Skip), 1);
}

#[test]
fn r20_a_stop_at_the_same_site_comes_before_a_skip() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.rows("skipper", 1, async |cx| {
        cx.skip("layers.0", table(1, 10.0)).await
    });
    trial.rows("stopper", 1, async |cx| {
        cx.input("layers.0").await?;
        cx.stop().await?;
        Ok(())
    });
    let ran = trial.run(table(2, 0.0));
    let stopped = RunEnd::Stopped {
        by: "stopper".to_owned(),
        at: Some("layers.0.input.i0".to_owned()),
    };
    assert_eq!(ran.report.result, Ok(stopped));
}

/// `cell` four times, with `cell.act` inside, once or twice in each.
fn recurrent(acts: &[&str]) -> Model {
    Model::tree(&[
        ("", &["cell", "cell", "cell", "cell"]),
        ("cell", acts),
        ("cell.act", &[]),
    ])
}

/// Skips `cell` in some iterations, and returns the iterations in which `cell.act` was passed.
fn acts_beside_skips(model: &Model, skipped: &[u32]) -> (Vec<u32>, Ran) {
    let mut trial = Trial::of(model);
    let acts = trial.cache(CacheSpec::of(["cell.act"]).inputs());
    for &iteration in skipped {
        trial.whole(&format!("skip {iteration}"), async move |cx| {
            let input = format!("cell.input.i{iteration}");
            cx.skip_at(&*input, table(1, 5.0)).await
        });
    }
    let ran = trial.run(table(1, 0.0));
    let sites = acts.sites().into_iter();
    (sites.map(|site| site.iteration).collect(), ran)
}

#[test]
fn r24_iteration_k_inside_a_module_stays_the_one_in_iteration_k_of_it() {
    let model = recurrent(&["cell.act"]);
    for skipped in [&[0][..], &[1], &[3], &[0, 1], &[1, 2], &[0, 2, 3]] {
        let (acts, ran) = acts_beside_skips(&model, skipped);
        let computed = (0..4).filter(|iteration| !skipped.contains(iteration));
        let expected: Vec<u32> = computed.collect();
        assert_eq!(acts, expected, "without {skipped:?}");
        assert_eq!(ran.report.audit.notes, []);
    }
}

#[test]
fn r24_a_loop_reads_the_module_and_what_is_inside_in_one_step() {
    let model = recurrent(&["cell.act"]);
    let mut trial = Trial::of(&model);
    trial.whole("skipper", async |cx| cx.skip("cell", table(1, 5.0)).await);
    let read = trial.whole("reader", async |cx| {
        cx.for_each(1..4, async |cx, _| {
            let (cell, act) = (cx.input("cell").await?, cx.input("cell.act").await?);
            Ok((cell, act))
        })
        .await
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    let rounds = read.take().expect("it ended");
    assert_eq!(rounds.len(), 3);
    // `cell` passes its input on to `cell.act` as it is.
    assert!(rounds.iter().all(|(cell, act)| cell == act), "{rounds:?}");
}

#[test]
fn r24_what_is_passed_twice_in_a_pass_of_the_module_goes_on_by_two() {
    let model = recurrent(&["cell.act", "cell.act"]);
    let (acts, ran) = acts_beside_skips(&model, &[1]);
    assert_eq!(acts, [0, 1, 4, 5, 6, 7]);
    // How often it will be is not known before the first pass, and taken to be once.
    let (acts, _) = acts_beside_skips(&model, &[0]);
    assert_eq!(acts, [1, 2, 3, 4, 5, 6]);
    assert_eq!(ran.report.audit.notes, []);
}

#[test]
fn r24_where_the_count_is_not_whole_it_stays_and_the_audit_says_so() {
    let model = Model::tree(&[
        ("", &["cell", "cell.act", "cell", "cell", "cell"]),
        ("cell", &["cell.act"]),
        ("cell.act", &[]),
    ]);
    let (acts, ran) = acts_beside_skips(&model, &[2]);
    assert_eq!(acts, [0, 1, 2, 3]);
    let notes = &ran.report.audit.notes;
    assert_eq!(
        notes,
        &[Note::OutOfStep {
            module: "cell.input.i2".to_owned(),
            uneven: vec!["cell.act.input".to_owned(), "cell.act.output".to_owned()],
        }]
    );
    assert!(ran.report.audit.warnings().eq(notes));
}

#[test]
fn r24_what_a_skipped_pass_had_inside_is_over() {
    let model = recurrent(&["cell.act"]);
    let mut trial = Trial::of(&model);
    let late = trial.whole("late", async |cx| {
        cx.skip("cell", table(1, 5.0)).await?;
        cx.output("cell").await?;
        Ok(cx.input("cell.act").await.map_err(Fault::into_kind))
    });
    trial.whole("waiting", async |cx| cx.input("cell.act").await);
    let ran = trial.run(table(1, 0.0));
    assert!(
        matches!(late.take(), Some(Err(FaultKind::OutOfOrder { asked, .. })) if asked == "cell.act.input.i0")
    );
    // The last passing is named, and not the one that was only counted.
    let FaultKind::NotProvided { asked, hint, .. } = ran.faults()[0].1 else {
        panic!("{:?}", ran.faults());
    };
    assert_eq!(
        (asked.as_str(), &hint[..]),
        ("cell.act.input.i0", &["cell.act.input.i3".to_owned()][..])
    );
}

#[test]
fn r24_a_cache_has_missed_nothing_of_what_was_only_counted() {
    let model = recurrent(&["cell.act"]);
    let mut trial = Trial::of(&model);
    let cached = trial.whole("cacher", async |cx| {
        cx.skip("cell", table(1, 5.0)).await?;
        cx.output("cell").await?;
        cx.cache(CacheSpec::of(["cell.act"])).await
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    let sites = cached.take().expect("it ended").sites().into_iter();
    let iterations: Vec<u32> = sites.map(|site| site.iteration).collect();
    assert_eq!(iterations, [1, 2, 3]);
}

#[test]
fn r24_nothing_is_counted_for_a_skip_that_was_not_made() {
    let model = recurrent(&["cell.act"]);
    let mut trial = Trial::of(&model);
    trial.rows("a", 1, async |cx| cx.skip("cell", table(1, 5.0)).await);
    trial.rows("b", 1, async |cx| cx.input("cell.act").await);
    let ran = trial.run(table(2, 0.0));
    assert_eq!(ran.error().code(), "E020");
    assert_eq!(ran.sites, ["input.i0", "cell.input.i0"]);
}
