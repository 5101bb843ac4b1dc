//! What caches collect, and what they miss: R70 and R71.

use interloom_engine::array::Array;
use interloom_engine::{
    CacheSpec, Cached, Cx, Delivery, Fault, FaultKind, Flow, Invoke, Note, RunEnd, RunError,
};

use crate::support::{Model, Move, STACK_SITES, Trial, machine, stack, table};

/// What the model passes at `site` without mediators.
fn untouched(model: &Model, site: &'static str, rows: u64) -> Array {
    let mut trial = Trial::of(model);
    let seen = trial.whole("watch", async move |cx| cx.value(site).await);
    trial.run(table(rows, 0.0));
    seen.take().unwrap()
}

#[test]
fn r70_a_cache_of_the_run_collects_everything_after_all_changes() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let cached = trial.cache(CacheSpec::of(["embed", "layers.0"]).both());
    trial.rows("a", 1, async |cx| {
        let x = cx.output("embed").await?;
        cx.set_output("embed", x.map(|_| 7.0)).await
    });
    trial.rows("b", 1, async |cx| {
        let x = cx.output("embed").await?;
        cx.set_output("embed", x.map(|_| 8.0)).await
    });
    let ran = trial.run(table(2, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert_eq!(cached.output("embed").unwrap().data(), [7.0, 7.0, 8.0, 8.0]);
    assert_eq!(cached.input("layers.0"), cached.output("embed"));
    assert_eq!(
        cached.input("embed"),
        Some(untouched(&model, "embed.input.i0", 2))
    );
    assert_eq!(cached.len(), 4);
    assert_eq!(cached.output("layers.1"), None);
}

#[test]
fn r70_a_cache_of_an_invoke_collects_its_rows() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.rows("a", 1, async |cx| cx.output("").await);
    let cached = trial.rows("b", 2, async |cx| cx.cache(CacheSpec::of(["embed"])).await);
    let whole = trial.whole("all", async |cx| cx.cache(CacheSpec::of(["embed"])).await);
    trial.run(table(3, 0.0));
    let all = untouched(&model, "embed.output.i0", 3);
    assert_eq!(whole.take().unwrap().output("embed").as_ref(), Some(&all));
    let own = cached.take().unwrap().output("embed").unwrap();
    assert_eq!((own.shape(), own.data()), (&[2, 2][..], &all.data()[2..]));
}

#[test]
fn r70_iterations_become_a_list_and_all_modules_are_collected() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let cached = trial.cache(CacheSpec::all().both());
    trial.run(table(1, 0.0));
    assert_eq!(cached.len(), STACK_SITES.len());
    let heads = cached.outputs("head");
    let expected = ["head.output.i0", "head.output.i1"].map(|site| untouched(&model, site, 1));
    assert_eq!(heads, expected);
    assert_eq!(cached.output(""), Some(model.plain(table(1, 0.0))));
    let site = model.point("head.output").at(1);
    assert_eq!(cached.at(site).as_ref(), Some(&expected[1]));
}

#[test]
fn r70_a_cache_goes_on_while_a_child_acts_and_after_the_mediator_has_ended() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let cached = trial.whole("loops", async |cx| {
        let cached = cx.cache(CacheSpec::all()).await?;
        cx.for_each(0, async |cx, _| cx.output("layers.0.fc").await)
            .await?;
        Ok(cached)
    });
    trial.run(table(1, 0.0));
    let outputs = STACK_SITES
        .iter()
        .filter(|site| site.contains("output"))
        .count();
    assert_eq!(cached.take().unwrap().len(), outputs);
}

#[test]
fn r70_a_child_may_declare_a_cache_for_its_invoke() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let cached = trial.rows("a", 1, async |cx| {
        cx.for_each(0, async |cx, _| cx.cache(CacheSpec::of(["head"])).await)
            .await
    });
    trial.rows("b", 1, async |cx| cx.output("").await);
    trial.run(table(2, 0.0));
    let cached = cached.take().unwrap().pop().unwrap();
    let shapes = cached.outputs("head");
    assert!(shapes.iter().all(|value| value.shape() == [1, 2]));
    assert_eq!(shapes.len(), 2);
}

#[test]
fn r70_an_alias_names_its_point() {
    let mut map = interloom_engine::SiteMap::new();
    let embed = map.add("embed", &[interloom_engine::Port::Output]);
    let point = interloom_engine::Point::new(embed, interloom_engine::Port::Output);
    map.alias("hook_embed", point);
    let mut setup = interloom_engine::Setup::new(map.into());
    let cached = setup.cache(CacheSpec::of(["hook_embed"]));
    let mut run = setup.start().unwrap();
    assert!(run.passes(point));
    let passed = run.provide(point, Array::scalar(1.0));
    assert_eq!(passed, Flow::Continue(Array::scalar(1.0)));
    assert!(run.finish().result.is_ok());
    assert_eq!(cached.output("hook_embed"), Some(Array::scalar(1.0)));
    assert_eq!(cached.output("embed"), Some(Array::scalar(1.0)));
}

#[test]
fn r70_a_skipped_module_has_its_input_and_its_replacement() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let cached = trial.cache(CacheSpec::of(["layers.0", "layers.0.fc"]).both());
    trial.whole("skipper", async |cx| {
        cx.skip("layers.0", table(1, 50.0)).await
    });
    let ran = trial.run(table(1, 0.0));
    let input = untouched(&model, "layers.0.input.i0", 1);
    assert_eq!(cached.input("layers.0"), Some(input));
    assert_eq!(cached.output("layers.0"), Some(table(1, 50.0)));
    let sites = ["layers.0.fc.input", "layers.0.fc.output"].map(str::to_owned);
    let missed = Note::CacheMissed {
        sites: sites.into(),
    };
    assert_eq!(ran.report.audit.notes, [missed]);
}

#[test]
fn r70_the_site_of_a_stop_is_collected() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let cached = trial.cache(CacheSpec::all());
    trial.whole("stopper", async |cx| {
        cx.set_output("embed", table(1, 9.0)).await?;
        cx.stop().await
    });
    trial.run(table(1, 0.0));
    assert_eq!(cached.output("embed"), Some(table(1, 9.0)));
    assert_eq!(cached.len(), 1);
}

#[test]
fn r70_the_site_of_a_failure_is_not() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let cached = trial.cache(CacheSpec::of(["embed"]).both());
    trial.whole("broken", async |cx| {
        cx.output("embed").await?;
        Err::<(), _>(Fault::raise("no"))
    });
    let ran = trial.run(table(1, 0.0));
    assert!(cached.input("embed").is_some() && cached.output("embed").is_none());
    assert_eq!(ran.report.audit.warnings().count(), 1);
    // Nor that of a skip that some do not make.
    let mut trial = Trial::of(&model);
    let cached = trial.cache(CacheSpec::of(["embed"]).inputs());
    trial.rows("a", 1, async |cx| cx.skip("embed", table(1, 0.0)).await);
    trial.rows("b", 1, async |cx| cx.output("").await);
    assert_eq!(trial.run(table(2, 0.0)).error().code(), "E020");
    assert!(cached.is_empty());
}

#[test]
fn r71_a_cache_that_comes_too_late_says_so_at_once() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let caught = trial.whole("late", async |cx| {
        cx.output("layers.0").await?;
        let late = cx.cache(CacheSpec::of(["embed", "layers.0", "layers.1"]).both());
        let late = late.await.err();
        let in_time = cx.cache(CacheSpec::of(["layers.0", "head"])).await?;
        Ok((late, in_time))
    });
    let ran = trial.run(table(1, 0.0));
    let (late, in_time) = caught.take().unwrap();
    let passed = ["embed.input", "embed.output", "layers.0.input"];
    let passed = passed.map(str::to_owned).into();
    assert_eq!(late, Some(FaultKind::LateCache { passed }.into()));
    // The site at hand is still collected.
    assert!(in_time.output("layers.0").is_some());
    assert_eq!(in_time.outputs("head").len(), 2);
    // It is no exchange.
    assert_eq!(ran.log.len(), 2);
}

#[test]
fn r71_a_later_passing_of_the_site_at_hand_is_too_late() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("late", async |cx| {
        cx.value("head.output.i1").await?;
        cx.cache(CacheSpec::of(["head"])).await
    });
    assert_eq!(trial.run(table(1, 0.0)).codes(), [("late", "E017")]);
}

#[test]
fn r71_a_cache_of_all_modules_is_late_as_soon_as_one_was_passed() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("late", async |cx| {
        cx.output("embed").await?;
        cx.cache(CacheSpec::all().both()).await
    });
    assert_eq!(trial.run(table(1, 0.0)).codes(), [("late", "E017")]);
}

#[test]
fn r71_a_module_that_was_missed_is_named_at_the_end() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let of_run = trial.cache(CacheSpec::of(["head", "embed"]));
    trial.whole("a", async |cx| {
        cx.cache(CacheSpec::of(["layers.1"])).await?;
        cx.cache(CacheSpec::all()).await
    });
    trial.whole("stopper", async |cx| {
        cx.output("layers.0").await?;
        cx.stop().await
    });
    let ran = trial.run(table(1, 0.0));
    let missed = |site: &str| Note::CacheMissed {
        sites: vec![site.to_owned()],
    };
    let audit = &ran.report.audit;
    // What a cache of all modules has not seen, the model has not passed.
    assert_eq!(audit.mediators[0].notes, [missed("layers.1.output")]);
    assert_eq!(audit.notes, [missed("head.output")]);
    assert_eq!(of_run.len(), 1);
    assert!(ran.report.result.is_ok());
}

#[test]
fn r71_a_cache_of_an_unknown_module_is_refused() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("a", async |cx| cx.cache(CacheSpec::of(["layer.0"])).await);
    assert_eq!(trial.run(table(1, 0.0)).codes(), [("a", "E001")]);
    let mut trial = Trial::of(&model);
    trial.cache(CacheSpec::of(["layer.0"]));
    trial.whole("a", async |_| -> Result<(), Fault> {
        unreachable!("nothing is started")
    });
    let error = trial.try_run(table(1, 0.0)).err().unwrap();
    assert!(matches!(error, RunError::UnknownCached { asked, .. } if asked == "layer.0.output"));
}

#[test]
fn r6_a_cache_makes_only_its_own_points_be_looked_at() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.cache(CacheSpec::of(["layers.1"]));
    let mut run = trial.into_setup().start().unwrap();
    let mut asked = Vec::new();
    model.forward(table(1, 0.0), &mut |point, value| {
        if !run.passes(point) {
            return Flow::Continue(value);
        }
        asked.push(model.map.point_name(point));
        run.provide(point, value)
    });
    assert_eq!(asked, ["layers.1.output"]);
}

#[test]
fn r70_a_hand_written_machine_declares_a_cache() {
    let model = stack();
    let cached = Cached::new(model.map.clone());
    let into = cached.clone();
    let program = machine(move |delivery| match delivery {
        Delivery::Start => Move::Cache(CacheSpec::of(["embed"]), into.clone()),
        Delivery::Done => Move::End,
        other => panic!("{other:?}"),
    });
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("a", program));
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.lines(), ["0 END @ - served"]);
    assert_eq!(
        cached.output("embed"),
        Some(untouched(&model, "embed.output.i0", 1))
    );
}

#[test]
fn r71_a_mediator_that_declares_caches_without_end_is_failed() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("stubborn", async |cx: Cx<Array>| -> Result<(), Fault> {
        loop {
            let _ = cx.cache(CacheSpec::of(["nowhere"])).await;
        }
    });
    assert_eq!(trial.run(table(1, 0.0)).codes(), [("stubborn", "E012")]);
}
