//! A few lines on a real model: read an activation of one prompt, put it into another, and record what happened.
//!
//! ```sh
//! scripts/fetch-smollm2
//! cargo run --release -p interloom --example quickstart
//! ```

use interloom::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lm = LanguageModel::load("smollm2-135m", &parse_device("cpu")?)?;
    let (france, italy) = (
        lm.encode("The capital of France is")?,
        lm.encode("The capital of Italy is")?,
    );
    let head = environment::head(Experiment::default(), "cpu", Policy::Digest);
    let mut session = Session::open(Mode::Record("quickstart.ilj".into()), head)?;

    let mut clean = Run::new("clean", lm.sites());
    let thought = clean.mediator("read", |cx| async move {
        cx.output("blocks.23.hook_resid_post").await
    });
    session.run(clean, || lm.logits(&[&france]))?;

    let thought = thought.take().ok_or("the mediator has not returned")?;
    let mut patched = Run::new("patched", lm.sites());
    patched.mediator("write", |cx| async move {
        cx.set_output("layers.23", thought).await
    });
    let tokens = session
        .run(patched, || lm.generate(&italy, 1))?
        .output
        .unwrap_or_default();

    println!("The capital of Italy is{}", lm.tokenizer().decode(&tokens)?);
    println!("{:?}", session.finish()?);
    Ok(())
}
