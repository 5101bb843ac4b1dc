//! Runs in which the model passes no site at all: which of three reasons it is.

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::Tensor;
use interloom_backends::{ForwardError, Hooked, Ran, Run, Sites, Unreached};
use interloom_engine::CacheSpec;

use crate::runs::x;
use crate::support::{Mlp, bits, cpu, reader, tensor_on};

fn model(salt: usize) -> Hooked<Mlp> {
    Mlp::new(salt, &cpu()).into()
}

/// Runs `f` with a mediator that reads the output of a layer.
fn reads<Y>(sites: &Sites, f: impl FnOnce() -> Y) -> Result<Ran<Y>, ForwardError> {
    let mut run = Run::new("reads", sites);
    run.mediator("m", async |cx| cx.output("up").await);
    run.execute(f)
}

fn reason<Y>(result: Result<Ran<Y>, ForwardError>) -> (Unreached, String) {
    match result.map(drop).unwrap_err() {
        ForwardError::Unreached { why, audit, error } => {
            assert_eq!(error.unwrap().code(), "E003");
            assert_eq!(audit.mediators.len(), 1);
            (why, why.to_string())
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_model_that_is_not_bound_is_e051() {
    let bound = model(1);
    let sites = Sites::bind(&bound).unwrap();
    let unbound = model(1);
    let (why, text) = reason(reads(&sites, || unbound.forward(x())));
    // The model and its three layers.
    assert_eq!(why, Unreached::Unbound { calls: 4 });
    assert_eq!(why.code(), "E051");
    insta::assert_snapshot!(text, @"the hooks that were called in it (4) are of a model that is not bound; bind the model that you call (`Sites::bind(&model)`), and make the run of these sites");
    // Also if another model is called in the same run, on purpose or not.
    let other = model(2);
    Sites::bind(&other).unwrap();
    let both = reads(&sites, || (unbound.forward(x()), other.forward(x())));
    assert_eq!(reason(both).0, Unreached::Unbound { calls: 4 });
}

#[test]
fn another_model_and_one_that_was_bound_again_are_e052() {
    let (one, two) = (model(1), model(2));
    let sites = Sites::bind(&one).unwrap();
    let other = Sites::bind(&two).unwrap();
    let (why, text) = reason(reads(&sites, || two.forward(x())));
    assert_eq!(why, Unreached::Elsewhere { calls: 4 });
    assert_eq!(why.code(), "E052");
    insta::assert_snapshot!(text, @"the hooks that were called in it (4) are of another binding than its sites: of another model, or of this one before it was bound again; make the run of the sites of the model that you call, and bind a model once");
    assert!(reads(&other, || two.forward(x())).is_ok());

    let again = Sites::bind(&one).unwrap();
    let (why, _) = reason(reads(&sites, || one.forward(x())));
    assert_eq!(why, Unreached::Elsewhere { calls: 4 });
    assert!(reads(&again, || one.forward(x())).is_ok());
}

#[test]
fn another_thread_and_no_call_at_all_are_e053() {
    let model = model(1);
    let sites = Sites::bind(&model).unwrap();
    let elsewhere = reads(&sites, || {
        std::thread::scope(|scope| {
            let output = scope.spawn(|| bits(model.forward(x())));
            output.join().unwrap()
        })
    });
    let (why, text) = reason(elsewhere);
    assert_eq!((why, why.code()), (Unreached::Nowhere, "E053"));
    insta::assert_snapshot!(text, @"no hook was called on its thread; call the model inside of the run, on the same thread, and its modules through their hooks");
    assert_eq!(reason(reads(&sites, || ())).0, Unreached::Nowhere);
    // A module past its hook.
    let past = || model.inner().up.inner().forward(x());
    assert_eq!(reason(reads(&sites, past)).0, Unreached::Nowhere);
}

#[test]
fn the_whole_message_says_how_the_run_failed() {
    let sites = Sites::bind(&model(1)).unwrap();
    let error = reads(&sites, || ()).unwrap_err();
    assert_eq!(error.code(), "E053");
    let message = error.to_string();
    let why = "the run passed no site: no hook was called on its thread; ";
    assert!(message.starts_with(why), "{message}");
    let how = message.split("; so ").nth(1).unwrap();
    assert!(how.starts_with("mediator `m` failed ("), "{message}");
    assert!(how.contains("without passing `up.output.i0`"), "{message}");
    // A record has the faults that the mediators were given, and its code.
    assert_eq!(error.without_origins().code(), "E003");
}

#[test]
fn a_cache_of_a_model_that_is_not_reached_is_no_empty_cache() {
    let (bound, unbound) = (model(1), model(1));
    let sites = Sites::bind(&bound).unwrap();
    let mut run = Run::new("cache", &sites);
    let cache = run.cache(CacheSpec::all());
    let error = run.execute(|| unbound.forward(x())).unwrap_err();
    assert_eq!((error.code(), cache.len()), ("E051", 0));
    insta::assert_snapshot!(error, @"the run passed no site: the hooks that were called in it (4) are of a model that is not bound; bind the model that you call (`Sites::bind(&model)`), and make the run of these sites");
    assert!(sites.shapes(2, || unbound.forward(x())).is_err());
}

#[test]
fn what_waits_for_nothing_is_not_missed() {
    let (bound, unbound) = (model(1), model(1));
    let sites = Sites::bind(&bound).unwrap();
    // A run without mediators; one whose mediator need not fire; one that stops before the model.
    let run = Run::new("nothing", &sites);
    assert!(run.execute(|| unbound.forward(x())).is_ok());
    let mut run = Run::new("optional", &sites);
    let read = reader(&mut run, "up.output");
    assert!(run.execute(|| unbound.forward(x())).is_ok());
    assert!(read.take().unwrap().is_none());
    let mut run = Run::new("stops", &sites);
    run.mediator("m", async |cx| cx.stop().await.map(drop));
    assert!(run.execute(|| unbound.forward(x())).is_ok());
    // Where one site is passed, another that is not is what it always was.
    let run = reads(&sites, || {
        bound.inner().down.forward(tensor_on([2, 5], 1, &cpu()))
    });
    assert_eq!(run.unwrap_err().code(), "E003");
}

/// The model stays a module: an optimiser takes it and gives it back, and its sites are the same.
#[test]
fn a_bound_model_is_a_plain_module() {
    let device = cpu().autodiff();
    let x = || tensor_on::<2>([2, 4], 3, &device);
    let mut model = Mlp::new(1, &device);
    let sites = Sites::bind(&model).unwrap();
    let mut optimizer = SgdConfig::new().init();
    for step in 0..3 {
        let mut run = Run::new(format!("step {step}"), &sites);
        run.mediator("halves", async |cx| {
            let hidden = cx.output("act").await?;
            cx.set_output("act", hidden * 0.5).await
        });
        let loss = run.execute(|| {
            let hidden: Tensor<2> = model.act.forward(model.up.forward(x()));
            model.down.forward(hidden).mean()
        });
        let gradients = loss.unwrap().output.ok().unwrap().backward();
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(0.1, model, gradients);
    }
    // It was not wrapped as a whole, so that it has no site of its own.
    assert!(sites.point("output").is_none());
}
