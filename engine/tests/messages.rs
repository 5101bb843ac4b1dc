//! The text of every fault and every failed run, as a user gets it.

mod support;

use std::collections::BTreeSet;
use std::future::{pending, poll_fn};

use interloom_engine::array::Array;
use interloom_engine::program::{Place, ProgramError, ProgramFault};
use interloom_engine::{
    Cx, Delivery, Fault, Invoke, Misfit, Origin, Request, RunError, Setup, codes, mediator,
};

use crate::support::{Move, Trial, machine, stack, table};

/// Runs mediators on [`stack`] with two rows, and returns the run's error.
fn fail(add: impl FnOnce(&mut Trial<'_>)) -> RunError {
    let model = stack();
    let mut trial = Trial::of(&model);
    add(&mut trial);
    match trial.try_run(table(2, 0.0)) {
        Ok(ran) => ran.error().clone(),
        Err(error) => error,
    }
}

/// The message without the number of the line, which changes with this file.
fn text(error: &RunError) -> String {
    let text = error.to_string();
    let mut parts = text.split(concat!(file!(), ":"));
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str("messages.rs:N");
        plain.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    }
    plain
}

fn alone<T: 'static>(
    program: impl AsyncFnOnce(Cx<Array>) -> Result<T, Fault> + 'static,
) -> RunError {
    fail(|trial| {
        trial.whole("patch", move |cx| program(cx));
    })
}

#[test]
fn e001_unknown_site() {
    let error = alone(async |cx| cx.output("layer.0.fc").await);
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): the model has no site `layer.0.fc.output`; nearest: `layers.0.fc.output`, `layers.1.fc.output`, `layers.0.fc.input`");
}

#[test]
fn e001_unknown_site_of_a_model_without_sites() {
    let map = std::sync::Arc::new(interloom_engine::SiteMap::new());
    let (program, _) = mediator(map.clone(), async |cx: Cx<Array>| {
        cx.output("layers.0").await
    });
    let mut setup = Setup::new(map);
    setup.invoke(Invoke::new("patch", program));
    let error = setup.start().unwrap().finish().result.unwrap_err();
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): the model has no site `layers.0.output`; it has no sites at all, was it bound?");
}

#[test]
fn e002_out_of_order() {
    let error = alone(async |cx| {
        cx.output("layers.1").await?;
        cx.output("layers.0").await
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `layers.1.output.i0` (messages.rs:N): `layers.0.output.i0` was already passed when it was asked for, with the model at `layers.1.output.i0`; ask for it before you ask for a later site, or keep the value when it passes");
}

#[test]
fn e002_out_of_order_after_the_end() {
    let error = alone(async |cx| {
        let _ = cx.value("head.output.i2").await;
        cx.output("layers.0").await
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): `layers.0.output.i0` was already passed when it was asked for; ask for it before you ask for a later site, or keep the value when it passes");
}

#[test]
fn e003_not_provided_in_a_later_iteration() {
    let error = alone(async |cx| cx.value("head.output.i2").await);
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): the model finished without passing `head.output.i2`; passed in this run: `head.output.i1`");
}

#[test]
fn e003_not_provided_after_a_stop_and_in_a_skipped_module() {
    let error = fail(|trial| {
        trial.whole("skipper", async |cx| {
            cx.skip("layers.0", table(2, 0.0)).await
        });
        trial.whole("stopper", async |cx| {
            cx.output("layers.1").await?;
            cx.stop().await?;
            Ok(())
        });
        trial.whole("inner", async |cx| cx.output("layers.0.fc").await);
        trial.whole("later", async |cx| cx.output("head").await);
    });
    insta::assert_snapshot!(text(&error), @r#"
    mediator `inner` failed (messages.rs:N): the run ended without passing `layers.0.fc.output.i0`, for mediator `stopper` stopped it at `layers.1.output.i0`; passed in this run: `layers.1.fc.output.i0`, `layers.0.output.i0`, `layers.1.fc.input.i0`
    mediator `later` failed (messages.rs:N): the run ended without passing `head.output.i0`, for mediator `stopper` stopped it at `layers.1.output.i0`; passed in this run: `embed.output.i0`, `embed.input.i0`, `layers.0.output.i0`
    "#);
}

#[test]
fn e003_not_provided_when_the_model_never_ran() {
    let error = fail(|trial| {
        trial.whole("stopper", async |cx| {
            cx.stop().await?;
            Ok(())
        });
        trial.whole("reader", async |cx| cx.output("head").await);
    });
    insta::assert_snapshot!(text(&error), @"mediator `reader` failed (messages.rs:N): the run ended without passing `head.output.i0`, for mediator `stopper` stopped it before the model started; check that the module is called in this run");
}

#[test]
fn e004_misfit() {
    let error = alone(async |cx| cx.set_output("embed", table(3, 0.0)).await);
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `embed.output.i0` (messages.rs:N): the replacement for `embed.output.i0` does not fit: expected f64[2, 2], found f64[3, 2]; a swap keeps kind and shape, a mediator that owns the whole batch may ask for a reshaping swap");
}

#[test]
fn e005_not_skippable() {
    let model = stack();
    let output = model.point("embed.output");
    let error = fail(|trial| {
        let skip = machine(move |delivery| match delivery {
            Delivery::Refused(fault) => Move::Fail(fault),
            _ => Move::Ask(Request::Skip {
                target: output.into(),
                value: table(2, 0.0),
            }),
        });
        trial.invoke(Invoke::new("patch", skip));
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `embed.output.i0`: `embed.output.i0` cannot be skipped; a module is skipped at its input, such as `input`");
}

#[test]
fn e006_not_owner() {
    let error = fail(|trial| {
        trial.rows("patch", 1, async |cx| {
            cx.reshape("embed.output", Array::scalar(0.0)).await
        });
        trial.rows("other", 1, async |_| Ok(()));
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `embed.output.i0` (messages.rs:N): the swap at `embed.output.i0` may not change the shape: this mediator owns 1 of 2 rows of the batch");
}

#[test]
fn e007_type() {
    let error = alone(async |cx| {
        let x = cx.output("embed").await?;
        let [rows, width, depth] = x.shape() else {
            let misfit = Misfit {
                expected: "a tensor of rank 3".to_owned(),
                found: format!("f64{:?}", x.shape()),
            };
            return Err(misfit.into());
        };
        Ok(rows * width * depth)
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `embed.output.i0` (messages.rs:N): the value is not what was asked for: expected a tensor of rank 3, found f64[2, 2]; check the site's kind and rank");
}

#[test]
fn e008_foreign_await() {
    let error = alone(async |_| {
        pending::<()>().await;
        Ok(())
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed: the mediator awaits a future that is not Interloom's; only the requests of its own context may be awaited, for nothing else could be replayed");
}

#[test]
fn e009_second_request() {
    let error = alone(async |cx: Cx<Array>| {
        let mut first = Box::pin(cx.input("embed"));
        let mut second = Box::pin(cx.output("embed"));
        poll_fn(|context| {
            let _ = first.as_mut().poll(context);
            second.as_mut().poll(context)
        })
        .await
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): the mediator made a second request while one was outstanding; await each request before the next");
}

#[test]
fn e010_closed() {
    let error = alone(async |cx: Cx<Array>| {
        let mut ask = Box::pin(cx.input("embed"));
        ask.as_mut().await?;
        ask.as_mut().await
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `embed.input.i0` (messages.rs:N): the mediator's run is over; a context makes requests only while its own mediator runs");
}

#[test]
fn e011_panicked() {
    let error = alone(async |cx: Cx<Array>| -> Result<(), Fault> {
        let x = cx.output("embed").await?;
        panic!("no room for {} numbers", x.data().len())
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `embed.output.i0` (messages.rs:N): the mediator panicked: no room for 4 numbers");
}

#[test]
fn e011_panicked_without_a_message() {
    let error = alone(async |_| -> Result<(), Fault> { std::panic::panic_any(7) });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed: the mediator panicked: a panic without a message");
}

#[test]
fn e012_restless() {
    let error = alone(async |cx: Cx<Array>| -> Result<(), Fault> {
        loop {
            let _ = cx.output("nowhere").await;
        }
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): the mediator made 4096 requests without leaving one site; it would never let the model go on");
}

#[test]
fn e013_raised() {
    let error = alone(async |cx: Cx<Array>| {
        cx.output("embed").await?;
        Err::<(), _>(Fault::raise("the direction has no norm"))
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `embed.output.i0` (messages.rs:N): the direction has no norm");
}

#[test]
fn e013_raised_by_a_program_in_a_file() {
    let origin = Origin::Program {
        file: "ablate.json".into(),
        line: 12,
    };
    let failed = RunError::Mediators(vec![interloom_engine::Failure {
        mediator: "ablate".to_owned(),
        at: Some("embed.output.i0".to_owned()),
        origin,
        fault: Fault::raise("the direction has no norm"),
    }]);
    insta::assert_snapshot!(text(&failed), @"mediator `ablate` failed at `embed.output.i0` (ablate.json:12): the direction has no norm");
}

#[test]
fn e020_partial_skip() {
    let error = fail(|trial| {
        trial.rows("a", 1, async |cx| cx.skip("embed", table(1, 0.0)).await);
        trial.rows("b", 1, async |cx| cx.output("embed").await);
    });
    insta::assert_snapshot!(text(&error), @"`embed.input.i0` is skipped by `a` but not by `b`; invokes that share a batch skip a module together or not at all");
}

#[test]
fn e021_skip_misfit() {
    let error = fail(|trial| {
        trial.rows("a", 1, async |cx| cx.skip("embed", table(1, 0.0)).await);
        trial.rows("b", 1, async |cx| {
            cx.skip("embed", Array::new(&[1, 3], &[0.0; 3])).await
        });
    });
    insta::assert_snapshot!(text(&error), @"the replacements of `a`, `b` for the skipped `embed.input.i0` cannot be joined: expected f64[1, 2], found f64[1, 3]");
}

#[test]
fn e022_never_fired() {
    let error = fail(|trial| {
        for name in ["a", "b"] {
            trial.whole(name, async |cx| Ok(cx.value("head.output.i2").await.ok()));
        }
    });
    insta::assert_snapshot!(text(&error), @"`a`, `b` never fired: no request was served; declare the intervention optional if that is meant");
}

#[test]
fn e023_duplicate_name() {
    let error = fail(|trial| {
        trial.whole("patch", async |_| Ok(()));
        trial.whole("patch", async |_| Ok(()));
    });
    insta::assert_snapshot!(text(&error), @"two mediators of the run are named `patch`; reports and journals tell them apart by name, so choose another");
}

#[test]
fn e024_batch_too_large() {
    let error = fail(|trial| {
        trial.rows("a", u32::MAX, async |_| Ok(()));
        trial.rows("b", 1, async |_| Ok(()));
    });
    insta::assert_snapshot!(text(&error), @"the invokes of the run have more than 2^32 rows together; split the batch");
}

#[test]
fn the_code_of_failed_mediators_is_that_of_the_first() {
    let error = fail(|trial| {
        trial.whole("a", async |cx| cx.value("head.output.i2").await);
        trial.whole("b", async |cx| cx.value("head.output.i3").await);
    });
    assert_eq!(error.code(), "E003");
    assert_eq!(error.to_string().lines().count(), 2);
    assert_eq!(RunError::Mediators(Vec::new()).code(), "E013");
}

/// The code of one of each; the enums are open to other crates, so that the count is checked against the catalogue.
fn every_code() -> Vec<&'static str> {
    let misfit = || Misfit {
        expected: String::new(),
        found: String::new(),
    };
    let faults = [
        Fault::UnknownSite {
            asked: String::new(),
            nearest: Vec::new(),
        },
        Fault::OutOfOrder {
            asked: String::new(),
            at: None,
        },
        Fault::NotProvided {
            asked: String::new(),
            stopped_by: None,
            hint: Vec::new(),
        },
        Fault::Misfit {
            site: String::new(),
            misfit: misfit(),
        },
        Fault::NotSkippable {
            site: String::new(),
            example: String::new(),
        },
        Fault::NotOwner {
            site: String::new(),
            rows: 0,
            batch: 0,
        },
        Fault::Type(misfit()),
        Fault::ForeignAwait,
        Fault::SecondRequest,
        Fault::Closed,
        Fault::Panicked(String::new()),
        Fault::Restless { limit: 0 },
        Fault::Raised(String::new()),
    ];
    let errors = [
        RunError::PartialSkip {
            site: String::new(),
            skipping: Vec::new(),
            others: Vec::new(),
        },
        RunError::SkipMisfit {
            site: String::new(),
            skipping: Vec::new(),
            misfit: misfit(),
        },
        RunError::NeverFired(Vec::new()),
        RunError::DuplicateName(String::new()),
        RunError::BatchTooLarge,
    ];
    let at = || Place {
        file: None,
        line: None,
        step: 1,
    };
    let (name, nearest) = (String::new(), Vec::<String>::new());
    let programs = [
        ProgramError::UnknownSite {
            at: at(),
            name: name.clone(),
            nearest: nearest.clone(),
        },
        ProgramError::UnsetVariable {
            at: at(),
            name: name.clone(),
            nearest: nearest.clone(),
        },
        ProgramError::UnknownGiven {
            at: at(),
            name: name.clone(),
            nearest: nearest.clone(),
        },
        ProgramError::TooDeep { at: at() },
        ProgramError::TooLarge { at: at() },
        ProgramError::UnknownModule {
            at: at(),
            name,
            nearest,
        },
    ];
    let faults = faults.iter().map(Fault::code);
    let codes = faults.chain(errors.iter().map(RunError::code));
    let codes = codes.chain(programs.iter().map(ProgramError::code));
    codes
        .chain([Fault::Program(ProgramFault::Unset(String::new())).code()])
        .collect()
}

#[test]
fn every_variant_has_a_code_of_its_own_in_the_catalogue() {
    let listed: Vec<&str> = codes().map(|code| code.code).collect();
    assert!(listed.is_sorted());
    let unique: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(unique.len(), listed.len());
    // The catalogue has one entry for each variant and no other.
    assert_eq!(every_code(), listed);
}

#[test]
fn every_entry_of_the_catalogue_says_something() {
    for code in codes() {
        assert!(
            code.code.starts_with('E') && code.code.len() == 4,
            "{code:?}"
        );
        assert!(
            !code.title.is_empty() && !code.title.ends_with('.'),
            "{code:?}"
        );
        assert!(
            code.explanation.len() > 60 && code.explanation.ends_with('.'),
            "{code:?}"
        );
        assert!(!code.explanation.contains("  "), "{code:?}");
        assert!(!code.at_fault.name().is_empty());
    }
}
