//! Sessions of runs with backward passes: whoever stands in for a side, the exchanges are the same.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor};
use interloom::{Conclusion, Mode, Session};
use interloom_backends::{Bound, Hooked, Run, Sites, Value, backward};
use interloom_engine::{
    CacheSpec, Cx, Delivery, Fault, Mediator, Origin, Point, Request, Step, Target,
};
use interloom_journal::{BackwardTurn, Digest, Event, Journal, Policy};
use interloom_models::induction::{Induction, Sampler};
use interloom_program::{Machine, Program, read};
use tempfile::TempDir;

use crate::identical::assert_same;

/// Who calls `backward`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asks {
    /// A mediator, from what it has read.
    Mediator,
    /// The code around the model.
    Driver,
}

struct Subject {
    model: Bound<Hooked<Induction>>,
    tokens: Tensor<2, Int>,
}

impl Subject {
    fn new() -> Self {
        let device = Device::flex().autodiff();
        let model = Induction::trained(&device);
        let tokens = Sampler::new(7).batch(2).tokens(&device);
        Self { model, tokens }
    }

    /// Makes two runs: of gradients that are read, scaled and collected, and of an ablation.
    fn make(&self, mode: Mode, asks: Asks, factor: f64) -> Result<Conclusion, interloom::Error> {
        let session = Session::of(&self.model).policy(Policy::Full);
        let mut session = session.input("tokens", self.tokens.clone()).open(mode)?;
        let mut run = Run::new("gradients", self.model.sites());
        run.mediator("asks", async move |cx| {
            if asks == Asks::Mediator {
                let logits = cx.output("").await?.tensor::<3>()?;
                cx.backward(loss(logits)).await?;
            }
            cx.grad("unembed.input").await
        })
        .gradients(["unembed.input"]);
        run.mediator("scales", async move |cx| {
            cx.update_grad("layers.1", move |gradient| gradient * factor)
                .await
        })
        .gradients(["layers.1"]);
        run.mediator("attributes", attribution).gradients([
            "layers.1",
            "layers.0.attn",
            "layers.0",
        ]);
        run.parameters(&self.model);
        run.mediator("clips", async move |cx| {
            let before = cx.grad("layers.0.attn.output.weight").await?;
            cx.set_grad("layers.0.attn.output.weight", before * factor)
                .await?;
            cx.grad("unembed.weight").await
        })
        .gradients(["layers.0.attn.output.weight", "unembed.weight"]);
        run.mediator("collects", async |cx| {
            let collected = ["embed", "layers.0", "layers.0.attn.output.weight"];
            cx.cache(CacheSpec::of(collected).gradients())
                .await
                .map(drop)
        });
        session.run(run, || self.forward(asks))?;
        let mut run = Run::new("ablation", self.model.sites());
        run.mediator("zero", async |cx| {
            cx.update_output("layers.0.attn", |h| h * 0.0).await
        });
        session.run(run, || self.model.forward(self.tokens.clone()))?;
        session.conclude()
    }

    fn forward(&self, asks: Asks) {
        let logits = self.model.forward(self.tokens.clone());
        if asks == Asks::Driver {
            let _ = backward(&loss(logits));
        }
    }
}

/// Gradient times activation, as attribution patching has it.
async fn attribution(cx: Cx<Value>) -> Result<(), Fault> {
    let activation = cx.output("layers.0.attn").await?;
    cx.grad("layers.1").await?;
    // The residual stream after the attention's output was added to it.
    cx.grad("layers.0").await?;
    let gradient = cx.grad("layers.0.attn").await?;
    cx.put("attribution", gradient * activation).await
}

/// The mean log probability of the first token, which is as good as any.
fn loss(logits: Tensor<3>) -> Tensor<1> {
    log_softmax(logits, 2).narrow(2, 0, 1).mean()
}

fn recorded(asks: Asks) -> (Subject, TempDir, Conclusion) {
    let subject = Subject::new();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.ilj");
    let conclusion = subject.make(Mode::Record(path), asks, 0.5).unwrap();
    (subject, folder, conclusion)
}

fn digest_of(conclusion: &Conclusion) -> Digest {
    match conclusion {
        Conclusion::Recorded { digest, .. } | Conclusion::Verified { digest, .. } => *digest,
        other => panic!("{other:?}"),
    }
}

#[test]
fn r92_a_journal_has_the_backward_pass() {
    for asks in [Asks::Mediator, Asks::Driver] {
        let (_subject, folder, _) = recorded(asks);
        let journal = Journal::load(folder.path().join("a.ilj")).unwrap();
        let run = &journal.runs[0];
        let turns = run.visits.iter().filter_map(|(_, visit)| visit.backward);
        let turns: Vec<_> = turns.collect();
        assert_eq!(turns, [BackwardTurn::Begin, BackwardTurn::End]);
        let begin = run
            .visits
            .iter()
            .find(|(_, visit)| visit.backward.is_some());
        assert_eq!(begin.unwrap().1.value().is_some(), asks == Asks::Driver);
        let gradients = run.start.declared.gradients.iter();
        assert!(
            gradients
                .clone()
                .any(|name| name == "layers.0.attn.output.grad")
        );
        let asked = run
            .exchanges
            .iter()
            .filter(|exchange| exchange.event == Event::Backward);
        assert_eq!(asked.count(), usize::from(asks == Asks::Mediator));
    }
}

#[test]
fn r92_runs_with_backward_passes_are_the_same_in_every_mode() {
    for asks in [Asks::Mediator, Asks::Driver] {
        let (subject, folder, conclusion) = recorded(asks);
        let path = folder.path().join("a.ilj");
        let again = subject.make(Mode::Verify(path.clone()), asks, 0.5).unwrap();
        assert_same(&conclusion, &again);
        for mode in [Mode::Serve(path.clone()), Mode::Drive(path.clone())] {
            let replayed = subject.make(mode.clone(), asks, 0.5).unwrap();
            assert!(replayed.is_identical(), "{asks:?}, {mode:?}: {replayed:#?}");
            assert_eq!(
                digest_of(&replayed),
                digest_of(&conclusion),
                "{asks:?}, {mode:?}"
            );
        }
    }
}

#[test]
fn r92_a_fork_in_the_middle_of_a_backward_pass() {
    for asks in [Asks::Mediator, Asks::Driver] {
        let (subject, folder, conclusion) = recorded(asks);
        let from = folder.path().join("a.ilj");
        let journal = Journal::load(&from).unwrap();
        for exchange in 0..=journal.exchanges().count() as u64 {
            let mode = Mode::Fork {
                from: from.clone(),
                exchange,
                into: folder.path().join(format!("{exchange}.ilj")),
            };
            let forked = subject.make(mode, asks, 0.5).unwrap();
            assert_eq!(
                digest_of(&forked),
                digest_of(&conclusion),
                "{asks:?} at {exchange}"
            );
        }
    }
}

/// Halves a gradient in a pass of its own, each state with what was answered.
enum Halve {
    Begin,
    Output,
    Asked,
    Gradient,
    Halved,
    Upstream,
    Parameter,
}

impl Halve {
    fn target(name: &str, sites: &Sites) -> Target {
        sites.map().point(name).expect("a site").into()
    }
}

/// A machine by hand needs the sites, and the answers that it keeps are in its state.
struct ByHand(Halve, Sites);

impl Mediator<Value> for ByHand {
    fn resume(self: Box<Self>, delivery: Delivery<Value>) -> Step<Value> {
        let Self(state, sites) = *self;
        let read = |name| Request::Value {
            target: Halve::target(name, &sites),
        };
        let (state, request) = match (state, delivery) {
            (Halve::Begin, Delivery::Start) => (Halve::Output, read("output")),
            (Halve::Output, Delivery::Value(logits)) => {
                let logits = logits.tensor::<3>().expect("logits");
                let loss = Value::from(logits.sum());
                (Halve::Asked, Request::Backward { loss })
            }
            (Halve::Asked, Delivery::Done) => (Halve::Gradient, read("layers.1.output.grad")),
            (Halve::Gradient, Delivery::Value(gradient)) => {
                let target = Halve::target("layers.1.output.grad", &sites);
                let value = gradient * 0.5;
                let request = Request::Swap {
                    target,
                    value,
                    reshape: false,
                };
                (Halve::Halved, request)
            }
            (Halve::Halved, Delivery::Done) => (Halve::Upstream, read("layers.0.output.grad")),
            (Halve::Upstream, Delivery::Value(_)) => (Halve::Parameter, read("embed.weight.grad")),
            (_, Delivery::Refused(fault)) => {
                let origin = Origin::Unknown;
                return Step::Fail { fault, origin };
            }
            _ => return Step::End,
        };
        Step::Ask {
            request,
            origin: Origin::Unknown,
            rest: Box::new(Self(state, sites)),
        }
    }

    fn gradients(&self) -> Vec<Point> {
        let names = ["layers.1.output", "layers.0.output", "embed.weight.grad"];
        let point = |name| self.1.map().point(name).expect("a site");
        names.map(point).into()
    }
}

#[test]
fn r80_a_backward_pass_is_the_same_however_its_mediator_is_written() {
    let subject = Subject::new();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.ilj");
    let sites = subject.model.sites();
    let make = |mode: Mode, add: &dyn Fn(&mut Run)| {
        let session = Session::of(&subject.model).policy(Policy::Full);
        let mut session = session.open(mode).unwrap();
        let mut run = Run::new("halve", sites);
        run.parameters(&subject.model);
        add(&mut run);
        session
            .run(run, || subject.model.forward(subject.tokens.clone()))
            .unwrap();
        session.conclude().unwrap()
    };
    let by_closure = |run: &mut Run| {
        run.mediator("halve", async |cx| {
            let logits = cx.output("").await?.tensor::<3>()?;
            cx.backward(logits.sum()).await?;
            cx.update_grad("layers.1", |gradient| gradient * 0.5)
                .await?;
            cx.grad("layers.0").await?;
            cx.grad("embed.weight").await.map(drop)
        })
        .gradients(["layers.1", "layers.0", "embed.weight"]);
    };
    let by_hand = |run: &mut Run| {
        run.machine("halve", ByHand(Halve::Begin, sites.clone()));
    };
    let program = Program::new()
        .backward(read("output").sum())
        .write("layers.1.output.grad", read("layers.1.output.grad") * 0.5)
        .read("layers.0.output.grad", "upstream")
        .read("embed.weight.grad", "parameter");
    // As another process has it.
    let text = serde_json::to_string(&program).unwrap();
    let program: Program = serde_json::from_str(&text).unwrap();
    let as_data = |run: &mut Run| {
        run.machine("halve", Machine::new(&program, sites.map()).unwrap());
    };
    let recorded = make(Mode::Record(path.clone()), &by_closure);
    for add in [&by_closure as &dyn Fn(&mut Run), &by_hand, &as_data] {
        for mode in [
            Mode::Verify(path.clone()),
            Mode::Serve(path.clone()),
            Mode::Drive(path.clone()),
        ] {
            let again = make(mode, add);
            assert!(again.is_identical(), "{again:#?}");
            assert_eq!(digest_of(&again), digest_of(&recorded));
        }
    }
}

#[test]
fn a_gradient_that_is_another_is_found_where_it_is() {
    let (subject, folder, _) = recorded(Asks::Mediator);
    let path = folder.path().join("a.ilj");
    let verified = subject
        .make(Mode::Verify(path), Asks::Mediator, 0.25)
        .unwrap();
    let Conclusion::Verified {
        divergence: Some(divergence),
        ..
    } = verified
    else {
        panic!("{verified:?}");
    };
    let report = divergence.to_string();
    assert!(report.contains("layers.1.output.grad.i0"), "{report}");
}
