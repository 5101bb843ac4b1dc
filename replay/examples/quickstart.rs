//! A few lines on a real model: read an activation of one prompt, put it into another, and record
//! what happened.
//!
//! ```sh
//! scripts/fetch-smollm2
//! cargo run --release -p interloom --example quickstart
//! ```

use interloom::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lm = LanguageModel::load("smollm2-135m", &parse_device("cpu")?)?;
    let (france, italy) = (
        lm.prompt("The capital of France is")?,
        lm.prompt("The capital of Italy is")?,
    );
    let mut session = Session::record("quickstart.ilj", &lm)?;

    let mut clean = Run::new("clean", lm.sites());
    let thought = clean.mediator("read", async |cx| cx.output("layers.23").await);
    session.run(clean, || france.logits())?;

    let thought = thought.take().ok_or("the mediator has not returned")?;
    let mut patched = Run::new("patched", lm.sites());
    patched.mediator("write", async move |cx| {
        cx.set_output("layers.23", thought).await
    });
    let tokens = session.run(patched, || italy.generate(1))?.completed()?;

    println!("The capital of Italy is{}", lm.text(&tokens.concat()));
    println!("{:?}", session.finish()?);
    Ok(())
}
