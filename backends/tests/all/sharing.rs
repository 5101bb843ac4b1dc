//! What mediators of a burn model share: loops over steps, barriers, the blackboard, caches.

use interloom_backends::{Run, Value};
use interloom_engine::CacheSpec;

use crate::runs::{typed, x};
use crate::support::{Mlp, bits};

#[test]
fn r31_a_loop_steers_every_step() {
    let model = Mlp::bound(1);
    let plain = || model.forward(x());
    let mut run = Run::new("steps", model.sites());
    run.steps(3);
    let seen = run.mediator("steer", |cx| async move {
        cx.for_each(.., |cx, step| async move {
            let out = cx.output("down").await?;
            cx.set_output("down", out * f64::from(step)).await?;
            Ok(step)
        })
        .await
    });
    let steps = || [(); 3].map(|()| model.forward(x()));
    let [first, second, third] = run.execute(steps).unwrap().output.ok().unwrap();
    assert_eq!(seen.take().unwrap(), [0, 1, 2]);
    assert_eq!(bits(first), bits(plain() * 0.0));
    assert_eq!(bits(second), bits(plain()));
    assert_eq!(bits(third), bits(plain() * 2.0));
}

#[test]
fn r40_r72_one_row_patches_another_through_the_blackboard() {
    let model = Mlp::bound(2);
    let mut run = Run::new("patch", model.sites());
    run.barrier("read", 2);
    run.invoke("source", 1, |cx| async move {
        let hidden = cx.output("act").await?;
        cx.put("hidden", hidden).await?;
        cx.barrier("read").await
    });
    run.invoke("target", 1, |cx| async move {
        cx.barrier("read").await?;
        let hidden: Value = cx.get("hidden").await?;
        cx.set_output("act", hidden).await
    });
    let output = run
        .execute(|| model.forward(x()))
        .unwrap()
        .output
        .ok()
        .unwrap();
    // Both rows now compute from the first row's hidden activation.
    let rows = [0, 1].map(|row| bits(output.clone().slice([row..row + 1])));
    assert_eq!(rows[0], rows[1]);
    assert_eq!(rows[0], bits(model.forward(x().slice([0..1]))));
}

#[test]
fn r70_a_cache_has_what_all_mediators_left() {
    let model = Mlp::bound(3);
    let mut run = Run::new("cache", model.sites());
    let cache = run.cache(CacheSpec::of(["act", "down"]).both());
    run.mediator("double", |cx| async move {
        let hidden = cx.output("act").await?;
        cx.set_output("act", hidden * 2.0).await
    });
    let output = run
        .execute(|| model.forward(x()))
        .unwrap()
        .output
        .ok()
        .unwrap();
    let act = typed(cache.output("act").unwrap());
    let plain = typed(cache.input("act").unwrap());
    assert_eq!(
        bits(act.clone()),
        bits(burn::tensor::activation::gelu(plain) * 2.0)
    );
    assert_eq!(bits(typed(cache.input("down").unwrap())), bits(act));
    assert_eq!(bits(typed(cache.output("down").unwrap())), bits(output));
    assert_eq!(cache.len(), 4);
}
