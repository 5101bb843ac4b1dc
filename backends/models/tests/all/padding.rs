//! R52: prompts of different length in one batch, in every family.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use burn::tensor::{Tensor, TensorData};
use interloom_backends::{Kind, Run, Value};
use interloom_engine::{
    CacheSpec, Cached, Exchange, Moment, Observer, Padding, PaddingSide, Saved, Site, SiteMap,
};
use interloom_models::{INDUCTION, LanguageModel, Sampling, record_draws};

use crate::families::{families, opened};
use crate::support::cpu;

/// What may differ, as a part of the largest number of a value.
const TOLERANCE: f64 = 1e-5;

/// Short ones beside long ones; the third is as long as the first.
const LENGTHS: [usize; 5] = [6, 11, 6, 1, 3];

fn load(name: &str) -> LanguageModel {
    let folder = opened(name, "config.json").unwrap();
    LanguageModel::load(folder.path().to_str().unwrap(), &cpu()).unwrap()
}

/// Tokens that are not in a row.
fn prompts(known: usize) -> Vec<Vec<u32>> {
    let mut state = 7_u32;
    let mut token = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % known as u32
    };
    LENGTHS
        .map(|length| (0..length).map(&mut token).collect())
        .into()
}

fn slices(prompts: &[Vec<u32>]) -> Vec<&[u32]> {
    prompts.iter().map(Vec::as_slice).collect()
}

/// All that passes the sites of each prompt, each with an invoke of its own.
fn all_that_passes(model: &LanguageModel, prompts: &[&[u32]], new: usize) -> Vec<Cached<Value>> {
    let mut run = Run::new("all", model.sites());
    let cached: Vec<Saved<Cached<Value>>> = (0..prompts.len())
        .map(|row| {
            run.invoke(row.to_string(), 1, async |cx| {
                let cached = cx.cache(CacheSpec::all().both().operations()).await?;
                // A mediator that asks for nothing has not fired.
                cx.input("").await?;
                Ok(cached)
            })
        })
        .collect();
    let batch = model.batch(prompts).unwrap();
    run.execute(|| match new {
        0 => drop(batch.logits()),
        new => drop(batch.generate(new)),
    })
    .unwrap();
    cached
        .into_iter()
        .map(|saved| saved.take().unwrap())
        .collect()
}

fn leaves(value: &Value) -> Vec<(Vec<usize>, Vec<f64>)> {
    match value {
        Value::Tensor(tensor) => vec![(tensor.shape(), tensor.to_data().iter::<f64>().collect())],
        Value::Tuple(items) => items.iter().flat_map(leaves).collect(),
        _ => Vec::new(),
    }
}

/// How far numbers are from one another, as a part of the largest; 0 only for equal bits.
fn distance(alone: &[f64], together: &[f64]) -> f64 {
    let finite = alone.iter().filter(|number| number.is_finite());
    let largest = finite.fold(f64::MIN_POSITIVE, |most, number| most.max(number.abs()));
    let pairs = alone.iter().zip(together);
    let apart = pairs.map(|(a, b)| match a.to_bits() == b.to_bits() {
        true => 0.0,
        false => ((a - b).abs() / largest).max(f64::MIN_POSITIVE),
    });
    apart.fold(0.0, f64::max)
}

/// The largest distance at each site where there is one.
fn differences(
    map: &SiteMap,
    alone: &Cached<Value>,
    together: &Cached<Value>,
) -> BTreeMap<String, f64> {
    let mut differences = BTreeMap::new();
    let sites: Vec<_> = alone.sites().into_iter().collect();
    assert_eq!(sites, together.sites().into_iter().collect::<Vec<_>>());
    for site in sites {
        let [own, shared] = [alone, together].map(|cached| leaves(&cached.at(site).unwrap()));
        let name = map.site_name(site);
        assert_eq!(own.len(), shared.len(), "{name}");
        for ((shape, own), (other, shared)) in own.iter().zip(&shared) {
            assert_eq!(shape, other, "{name}");
            let apart = distance(own, shared);
            if apart > 0.0 {
                let most = differences.entry(name.clone()).or_insert(0.0_f64);
                *most = most.max(apart);
            }
        }
    }
    differences
}

/// Compares all sites of each prompt alone with those in the padded batch.
fn compare(model: &LanguageModel, prompts: &[&[u32]], new: usize) -> BTreeMap<String, f64> {
    let together = all_that_passes(model, prompts, new);
    let mut all = BTreeMap::new();
    for (prompt, together) in prompts.iter().zip(together) {
        let alone = all_that_passes(model, &[prompt], new).remove(0);
        for (site, apart) in differences(model.sites().map(), &alone, &together) {
            let most = all.entry(site).or_insert(0.0_f64);
            *most = most.max(apart);
        }
    }
    all
}

fn every_model() -> impl Iterator<Item = (String, LanguageModel)> {
    let names = families().into_iter().chain([INDUCTION.to_owned()]);
    names.map(|name| {
        let model = match &*name {
            INDUCTION => LanguageModel::load(INDUCTION, &cpu()).unwrap(),
            name => load(name),
        };
        (name, model)
    })
}

/// Flex multiplies matrices of different sizes in different orders, so that rounding differs from
/// the first product on, also where no row is padded.
#[test]
fn r52_a_padded_row_passes_every_site_as_it_does_alone() {
    for (name, model) in every_model() {
        let prompts = prompts(model.model().vocabulary());
        let apart = compare(&model, &slices(&prompts), 0);
        for (site, apart) in &apart {
            assert!(*apart < TOLERANCE, "{name} {site}: {apart}");
        }
        // What comes before the first product.
        let mut sites = apart.keys();
        let is_early = |site: &&String| site.starts_with("pos_embed.");
        assert_eq!(sites.find(is_early), None, "{name}");
    }
}

/// With what is kept of earlier tokens.
#[test]
fn r52_a_padded_row_is_continued_as_it_is_alone() {
    for (name, model) in every_model() {
        let prompts = prompts(model.model().vocabulary());
        let batch = model.batch(&slices(&prompts)).unwrap();
        if batch.room() == 0 {
            continue;
        }
        let alone = prompts.iter().map(|prompt| {
            let own = model.batch(&[prompt]).unwrap();
            own.generate(5).remove(0)
        });
        assert_eq!(batch.generate(5), alone.collect::<Vec<_>>(), "{name}");
        // Prompts that end early have fewer iterations alone.
        let apart = compare(&model, &slices(&prompts), 1);
        for (site, apart) in apart {
            assert!(apart < TOLERANCE, "{name} {site}: {apart}");
        }
    }
}

/// Frequencies that grow with the length of the sequence do so with that of each row.
#[test]
fn r52_rotary_positions_grow_with_each_row() {
    let folder = opened("llama", "config.json").unwrap();
    let path = folder.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["max_position_embeddings"] = 8.into();
    config["rope_parameters"] = serde_json::json!({
        "rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0,
    });
    std::fs::write(&path, config.to_string()).unwrap();
    let model = LanguageModel::load(folder.path().to_str().unwrap(), &cpu()).unwrap();
    let prompts = prompts(model.model().vocabulary());
    let prompts = slices(&prompts);
    let apart = compare(&model, &prompts, 0);
    assert!(apart.values().all(|apart| *apart < TOLERANCE), "{apart:?}");
    // The first and the third come to the end of the plain positions while they are continued.
    let together = model.batch(&prompts).unwrap().generate(5);
    for (prompt, together) in prompts.iter().zip(together) {
        let alone = model.batch(&[prompt]).unwrap().generate(5);
        assert_eq!(alone, [together]);
    }
}

/// R93 as well: invokes with rows of their own get their own gradients.
#[test]
fn r52_gradients_of_a_padded_row_are_those_that_it_has_alone() {
    let device = cpu().autodiff();
    for name in families() {
        let folder = opened(&name, "config.json").unwrap();
        let model = LanguageModel::load(folder.path().to_str().unwrap(), &device).unwrap();
        let prompts = prompts(model.model().vocabulary());
        let prompts = slices(&prompts);
        let gradients = |prompts: &[&[u32]]| -> Vec<Vec<(Vec<usize>, Vec<f64>)>> {
            let mut run = Run::new("gradients", model.sites());
            let gradients: Vec<_> = (0..prompts.len())
                .map(|row| {
                    let asked = run.mediator(row.to_string(), async |cx| {
                        let logits: Tensor<3> = cx.output("unembed").await?.tensor()?;
                        let weights = logits.clone().detach().sin();
                        cx.backward((logits * weights).sum()).await?;
                        cx.grad("layers.0.input").await
                    });
                    asked.rows(1).gradients(["layers.0.input"])
                })
                .collect();
            let batch = model.batch(prompts).unwrap();
            run.execute(|| batch.logits()).unwrap();
            gradients
                .iter()
                .map(|gradient| leaves(&gradient.take().unwrap()))
                .collect()
        };
        for (prompt, together) in prompts.iter().zip(gradients(&prompts)) {
            let alone = gradients(&[prompt]).remove(0);
            let ((shape, alone), (other, together)) = (&alone[0], &together[0]);
            assert_eq!(shape, other, "{name}");
            let apart = distance(alone, together);
            // A weight of the loss is as far apart as a logit.
            assert!(apart < 10.0 * TOLERANCE, "{name}: {apart}");
            assert!(together.iter().any(|number| *number != 0.0), "{name}");
        }
    }
}

/// The names of what the model puts out at each module and tap for a prompt, in order.
fn outputs(model: &LanguageModel, prompts: &[&[u32]]) -> Vec<String> {
    let passed = Passed::default();
    let mut run = Run::new("order", model.sites());
    run.observer(passed.clone());
    run.trace();
    let batch = model.batch(prompts).unwrap();
    run.execute(|| batch.logits()).unwrap();
    let map = model.sites().map();
    let names = passed.take().into_iter().map(|site| map.site_name(site));
    let is_output = |name: &String| name.contains(".output.") && !name.contains(".source.");
    names.filter(is_output).collect()
}

/// The sites that were passed, in their order.
#[derive(Clone, Default)]
pub(crate) struct Passed(Rc<RefCell<Vec<Site>>>);

impl Passed {
    pub(crate) fn take(&self) -> Vec<Site> {
        self.0.take()
    }
}

impl Observer<Value> for Passed {
    fn exchange(&mut self, _: &Exchange<'_, Value>) {}

    fn moment(&mut self, moment: &Moment<'_, Value>) {
        if let Moment::Enter { passed, .. } | Moment::Finish { passed } = moment {
            self.0.borrow_mut().extend_from_slice(passed);
        }
    }
}

/// Puts a number that is none at every padded place of a value.
fn poisoned(value: &Value) -> Value {
    let Value::Tensor(tensor) = value else {
        return value.clone();
    };
    let Some(ragged) = tensor.ragged().filter(|_| tensor.kind() == Kind::Float) else {
        return value.clone();
    };
    let (shape, data) = (tensor.shape(), tensor.to_data());
    let mut numbers: Vec<f32> = data.iter::<f32>().collect();
    for (index, number) in numbers.iter_mut().enumerate() {
        let mut rest = index;
        let mut place = vec![0; shape.len()];
        for (at, &length) in shape.iter().enumerate().rev() {
            place[at] = rest % length;
            rest /= length;
        }
        let is_padding = ragged.dimensions().iter().any(|(at, _)| {
            let own = ragged.own(*at, place[0], shape[*at] as u64);
            !own.contains(&(place[*at] as u64))
        });
        if is_padding {
            *number = f32::NAN;
        }
    }
    Value::from_data(TensorData::new(numbers, shape), &tensor.device()).unwrap()
}

/// Masks hold whatever a mediator makes of padding: not a bit of a row's own logits changes.
#[test]
fn edits_of_padding_change_nothing_that_is_read() {
    for (name, model) in every_model() {
        let prompts = prompts(model.model().vocabulary());
        let prompts = slices(&prompts);
        let sites = outputs(&model, &prompts);
        let own_logits = |edits: bool| -> Vec<Vec<u64>> {
            let mut run = Run::new("poison", model.sites());
            let sites = sites.clone();
            if edits {
                run.mediator("poison", async move |cx| {
                    // A pattern is what is mixed with, so that an edit of it is one of a row.
                    for site in sites.iter().filter(|site| !site.contains("pattern")) {
                        let value = cx.value(&**site).await?;
                        cx.set(&**site, poisoned(&value)).await?;
                    }
                    Ok(())
                });
            }
            let logits: Vec<Saved<Value>> = prompts
                .iter()
                .map(|_| {
                    run.invoke(format!("{}", run.setup().invokes().len()), 1, async |cx| {
                        cx.output("unembed").await
                    })
                })
                .collect();
            run.execute(|| model.batch(&prompts).unwrap().logits())
                .unwrap();
            let bits = |saved: Saved<Value>| {
                let leaves = leaves(&saved.take().unwrap());
                let numbers = leaves.into_iter().flat_map(|(_, numbers)| numbers);
                numbers.map(f64::to_bits).collect()
            };
            logits.into_iter().map(bits).collect()
        };
        assert!(own_logits(true) == own_logits(false), "{name}");
    }
}

#[test]
fn a_run_that_knows_of_another_batch_is_refused() {
    let model = LanguageModel::load(INDUCTION, &cpu()).unwrap();
    let prompts: [&[u32]; 3] = [&[1, 2, 3], &[4], &[5, 6]];
    let batch = |rows: &[usize]| {
        let rows: Vec<&[u32]> = rows.iter().map(|&row| prompts[row]).collect();
        model.batch(&rows).unwrap()
    };
    let mut run = Run::new("padded", model.sites());
    run.padding(batch(&[0, 1]).padding().cloned());
    let error = run.execute(|| batch(&[0, 2]).logits()).unwrap_err();
    assert_eq!(error.code(), "E138");
    insta::assert_snapshot!(error, @"the run was told of a batch of rows of [3, 1] tokens, padded on the left, and its model is called with one of rows of [3, 2] tokens, padded on the left; make a run of its own for each batch, and tell it of that (`run.padding(batch.padding())`) or of none");
    let mut run = Run::new("padded", model.sites());
    run.padding(batch(&[0, 1]).padding().cloned());
    assert!(run.execute(|| batch(&[0, 1]).logits()).is_ok());
    // The first batch is that of the run, also if its rows have one length.
    let run = Run::new("even", model.sites());
    let both = || (batch(&[0]).logits(), batch(&[0, 1]).logits());
    assert_eq!(run.execute(both).unwrap_err().code(), "E138");
}

#[test]
fn a_padding_is_that_of_the_rows_of_a_run() {
    let model = LanguageModel::load(INDUCTION, &cpu()).unwrap();
    let prompts: [&[u32]; 2] = [&[1, 2, 3], &[4]];
    let run = || {
        let mut run = Run::new("padded", model.sites());
        for (name, rows) in [("a", 1), ("b", 2)] {
            run.invoke(name, rows, async |cx| cx.output("layers.0").await);
        }
        run
    };
    let forward = || model.batch(&prompts).unwrap().logits();
    let called = run().execute(forward).unwrap_err();
    let mut told = run();
    told.padding(model.batch(&prompts).unwrap().padding().cloned());
    let told = told.execute(forward).unwrap_err();
    assert_eq!((called.code(), told.code()), ("E142", "E142"));
    assert_eq!(called.to_string(), told.to_string());
    insta::assert_snapshot!(told, @"expected a batch of 3 rows, which the mediators have together, found rows of [3, 1] tokens, padded on the left; give a run the padding of its own batch (`run.padding(batch.padding())`), and its mediators the rows of that batch");
    let mut empty = Run::new("empty", model.sites());
    empty.padding(Padding::new(PaddingSide::Left, [3, 0]));
    assert_eq!(empty.execute(forward).unwrap_err().code(), "E142");
}

/// Each draw passes a site of its own, with its probability, and what is put there is gone on with.
#[test]
fn r52_rows_draw_the_same_alone_and_padded() {
    let model = LanguageModel::load(INDUCTION, &cpu()).unwrap();
    let sampling = Sampling::seeded(3).temperature(6.0).unwrap();
    let prompts: [&[u32]; 3] = [&[1, 2, 3], &[4], &[1, 2, 3]];
    let batch = model.batch(&prompts).unwrap();
    let mut run = Run::new("drawn", model.sites());
    run.steps(5);
    let draws = record_draws(&mut run);
    let drawn = run.execute(|| batch.sample(5, &sampling)).unwrap();
    let drawn = drawn.completed().unwrap();
    let draws = draws.take().unwrap();
    for (row, tokens) in drawn.iter().enumerate() {
        let of_row: Vec<u32> = draws.iter().map(|step| step[row].token).collect();
        assert_eq!(of_row, *tokens);
    }
    let all = draws.iter().flatten();
    assert!(
        all.clone()
            .all(|draw| draw.probability > 0.0 && draw.probability < 1.0)
    );
    for row in 0..2 {
        let alone = model.batch(&[prompts[row]]).unwrap();
        assert_eq!(alone.sample(5, &sampling), [drawn[row].clone()]);
    }
    // A copy draws otherwise, unless it is told that it is none.
    assert_ne!(drawn[0], drawn[2]);
    let equal = batch.copies(vec![0; 3]).unwrap().sample(5, &sampling);
    assert_eq!((&equal[0], &equal[2]), (&drawn[0], &drawn[0]));
    let one = model.batch(&[prompts[0]]).unwrap();
    assert_eq!(one.copies(vec![0; 2]).unwrap_err().code(), "E033");
}
