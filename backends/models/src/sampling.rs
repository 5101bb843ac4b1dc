//! Sampling: which token follows is drawn from what the model makes of it.

use std::cmp::Ordering;

use interloom_backends::{Run, Value};
use interloom_engine::{AtFault, Code, Fault, Saved};

use crate::language::DRAWS;

/// How tokens are drawn: temperature, then the most likely ones, then as many of these as are
/// likely together, in the order and by the definitions of the Python library transformers.
///
/// ```
/// use interloom_models::Sampling;
///
/// let sampling = Sampling::seeded(7).temperature(0.8)?.top_k(50)?.top_p(0.95)?;
/// let likely = sampling.distribution(&[1.0, 3.0, 2.0]);
/// assert_eq!(likely[0].token, 1);
/// assert!(Sampling::seeded(7).top_p(0.0).is_err());
/// # Ok::<(), interloom_models::SamplingError>(())
/// ```
///
/// # Draws
///
/// The number that decides a draw is a function of the seed, the step and the row, and of nothing
/// that was drawn before: the first 53 bits of BLAKE3("interloom draw", seed, step, copy, tokens of
/// the prompt), where `copy` counts the equal prompts before it ([`TokenBatch::copies`]). So a row
/// draws the same alone and in any company, and copies of a prompt draw differently.
///
/// [`TokenBatch::copies`]: crate::TokenBatch::copies
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    seed: u64,
    temperature: f64,
    top_k: Option<u32>,
    top_p: Option<f64>,
}

/// A value with which nothing can be drawn.
///
/// Code `E137`, explained in `docs/errors/E137.md`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{what}` must be {expected}, found {found}")]
pub struct SamplingError {
    /// Which value.
    pub what: &'static str,
    /// What it is.
    pub found: String,
    /// What it can be.
    pub expected: &'static str,
}

impl SamplingError {
    /// Returns the error's stable code.
    pub const fn code(&self) -> &'static str {
        "E137"
    }
}

/// The codes of this module.
pub(crate) const CODES: &[Code] = &[Code::new(
    "E137",
    "nothing can be drawn with this",
    AtFault::Misuse,
)];

/// A token that was drawn, or can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// The token.
    pub token: u32,
    /// Its probability among the tokens that could be drawn.
    pub probability: f64,
}

/// The name of the mediator that puts draws into journals.
pub const SAMPLER: &str = "(sampler)";

/// Lets the journal of a run have each draw of the generation in it, and returns where those of
/// each step will be.
///
/// It is a mediator after those that the run has. It reads what passes [`DRAWS`] and puts it on the
/// blackboard, under that name: a pair of token and probability for each row, as plain numbers,
/// which a journal has in full under every policy. So a replay compares each draw, and where a
/// journal stands in for the model, these are the draws again.
pub fn record_draws(run: &mut Run) -> Saved<Vec<Vec<Draw>>> {
    let sampler = run.mediator(SAMPLER, async |cx| {
        cx.for_each(.., async |cx, _| {
            let draws = draws_of(&cx.output(DRAWS).await?)?;
            let plain = draws.iter().map(|draw| {
                let pair = [
                    Value::Int(draw.token.into()),
                    Value::Float(draw.probability),
                ];
                Value::Tuple(pair.into())
            });
            cx.put(DRAWS, Value::List(plain.collect())).await?;
            Ok(draws)
        })
        .await
    });
    sampler.optional().into()
}

/// Returns the draws that passed in one step.
fn draws_of(passed: &Value) -> Result<Vec<Draw>, Fault> {
    let numbers = |item: usize| match passed.item(item) {
        Ok(Value::Tensor(tensor)) => Ok(tensor.to_data().iter::<f64>().collect::<Vec<_>>()),
        _ => Err(Fault::raise(format!(
            "`{DRAWS}` passes tokens and probabilities, found {passed}"
        ))),
    };
    let pairs = numbers(0)?.into_iter().zip(numbers(1)?);
    let draws = pairs.map(|(token, probability)| Draw {
        token: token as u32,
        probability,
    });
    Ok(draws.collect())
}

/// A row whose tokens are drawn: its prompt, and how many equal ones come before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrawnRow<'p> {
    pub(crate) prompt: &'p [u32],
    pub(crate) copy: u64,
}

impl Sampling {
    /// Draws from all tokens as they are, by this seed.
    pub const fn seeded(seed: u64) -> Self {
        Self {
            seed,
            temperature: 1.0,
            top_k: None,
            top_p: None,
        }
    }

    /// Divides logits by a temperature. With 0 the most likely token is taken, the lowest of
    /// equals: what is drawn in the limit.
    ///
    /// # Errors
    ///
    /// [`SamplingError`] if it is below 0 or not finite.
    pub fn temperature(self, temperature: f64) -> Result<Self, SamplingError> {
        match temperature.is_finite() && temperature >= 0.0 {
            true => Ok(Self {
                temperature,
                ..self
            }),
            false => Err(SamplingError {
                what: "temperature",
                found: temperature.to_string(),
                expected: "a finite number from 0, where 0 takes the most likely token",
            }),
        }
    }

    /// Draws from the `count` most likely tokens only, of equals from the lowest.
    ///
    /// # Errors
    ///
    /// [`SamplingError`] if it is 0.
    pub fn top_k(self, count: u32) -> Result<Self, SamplingError> {
        match count {
            0 => Err(SamplingError {
                what: "top_k",
                found: "0".to_owned(),
                expected: "at least 1 token; leave it out to draw from all",
            }),
            count => Ok(Self {
                top_k: Some(count),
                ..self
            }),
        }
    }

    /// Draws from as few of the most likely tokens as have this probability together.
    ///
    /// # Errors
    ///
    /// [`SamplingError`] if it is not above 0 and at most 1.
    pub fn top_p(self, probability: f64) -> Result<Self, SamplingError> {
        match probability > 0.0 && probability <= 1.0 {
            true => Ok(Self {
                top_p: Some(probability),
                ..self
            }),
            false => Err(SamplingError {
                what: "top_p",
                found: probability.to_string(),
                expected: "a probability above 0 and at most 1; leave it out to draw from all",
            }),
        }
    }

    /// Returns the tokens that can be drawn, the most likely first and of equals the lowest, with
    /// probabilities whose sum is 1.
    ///
    /// A logit that is not a number is none of them, unless all are none: then it is the first
    /// token.
    pub fn distribution(&self, logits: &[f32]) -> Vec<Draw> {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let logit = |token: u32| match f64::from(logits[token as usize]) {
            number if number.is_nan() => f64::NEG_INFINITY,
            number => number,
        };
        let likelier = |a: &u32, b: &u32| match logit(*b).total_cmp(&logit(*a)) {
            Ordering::Equal => a.cmp(b),
            other => other,
        };
        let most = match self.temperature {
            0.0 => 1,
            _ => self.top_k.map_or(order.len(), |count| count as usize),
        };
        if most < order.len() {
            order.select_nth_unstable_by(most, likelier);
            order.truncate(most);
        }
        order.sort_unstable_by(likelier);
        let best = order.first().map_or(0.0, |&token| logit(token));
        let weight = |&token: &u32| match logit(token) == best {
            true => 1.0,
            false => ((logit(token) - best) / self.temperature).exp(),
        };
        let weights: Vec<f64> = order.iter().map(weight).collect();
        let kept = self.kept(&weights);
        let sum: f64 = weights[..kept].iter().sum();
        let pairs = order.into_iter().zip(weights).take(kept);
        pairs
            .map(|(token, weight)| Draw {
                token,
                probability: weight / sum,
            })
            .collect()
    }

    /// Returns how many of the most likely tokens have the probability together.
    fn kept(&self, weights: &[f64]) -> usize {
        let Some(top_p) = self.top_p else {
            return weights.len();
        };
        let sum: f64 = weights.iter().sum();
        let mut before = 0.0;
        let is_kept = |weight: &&f64| {
            let is_kept = before < top_p;
            before += **weight / sum;
            is_kept
        };
        weights.iter().take_while(is_kept).count()
    }

    /// Draws the next token of a row.
    pub(crate) fn draw(&self, logits: &[f32], row: DrawnRow<'_>, step: u64) -> Draw {
        let distribution = self.distribution(logits);
        let number = self.number(row, step);
        let mut reached = 0.0;
        let drawn = distribution.iter().find(|draw| {
            reached += draw.probability;
            number < reached
        });
        // The sum may be rounded to below the number.
        let last = distribution.last();
        *drawn.or(last).expect("a model has at least one token")
    }

    /// Returns the number from 0 to below 1 that decides a draw.
    fn number(&self, row: DrawnRow<'_>, step: u64) -> f64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"interloom draw");
        for number in [self.seed, step, row.copy] {
            hasher.update(&number.to_le_bytes());
        }
        for token in row.prompt {
            hasher.update(&token.to_le_bytes());
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        (u64::from_le_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 6] = [0.5, 2.0, -1.0, 2.0, 1.0, f32::NAN];

    fn row(copy: u64) -> DrawnRow<'static> {
        DrawnRow {
            prompt: &[3, 1, 4],
            copy,
        }
    }

    /// The definitions, one after another, over all tokens.
    fn naive(logits: &[f32], temperature: f64, top_k: usize, top_p: f64) -> Vec<(u32, f64)> {
        let softmax = |scores: &[(u32, f64)]| -> Vec<(u32, f64)> {
            let sum: f64 = scores.iter().map(|(_, score)| score.exp()).sum();
            let share = |(token, score): &(u32, f64)| (*token, score.exp() / sum);
            scores.iter().map(share).collect()
        };
        let mut scores: Vec<(u32, f64)> = (0..)
            .zip(logits)
            .filter(|(_, logit)| !logit.is_nan())
            .map(|(token, logit)| (token, f64::from(*logit) / temperature))
            .collect();
        scores.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
        scores.truncate(top_k);
        let shares = softmax(&scores);
        // Those whose sum with all that are less likely is at most what may be left out.
        let tail = |at: usize| shares[at..].iter().map(|(_, share)| share).sum::<f64>();
        let kept: Vec<(u32, f64)> = scores
            .iter()
            .enumerate()
            .filter(|(at, _)| *at == 0 || tail(*at) > 1.0 - top_p + 1e-12)
            .map(|(_, score)| *score)
            .collect();
        softmax(&kept)
    }

    #[test]
    fn distributions_are_those_of_their_definition() {
        let mut state = 1_u64;
        let mut logit = |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // Of few values, so that some are equal.
            (state >> 60) as f32 / 3.0
        };
        for size in [1, 2, 7, 40] {
            let logits: Vec<f32> = (0..size).map(&mut logit).collect();
            for temperature in [0.3, 1.0, 2.5] {
                for top_k in [1, 3, size as u32] {
                    for top_p in [0.01, 0.5, 0.9, 1.0] {
                        let sampling = Sampling::seeded(0)
                            .temperature(temperature)
                            .and_then(|sampling| sampling.top_k(top_k)?.top_p(top_p));
                        let found = sampling.unwrap().distribution(&logits);
                        let expected = naive(&logits, temperature, top_k as usize, top_p);
                        assert_eq!(found.len(), expected.len(), "{temperature} {top_k} {top_p}");
                        for (draw, (token, share)) in found.iter().zip(expected) {
                            assert_eq!(draw.token, token);
                            assert!((draw.probability - share).abs() < 1e-12);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn equals_are_taken_from_the_lowest() {
        let sampling = Sampling::seeded(0);
        let tokens = |sampling: Sampling| -> Vec<u32> {
            let distribution = sampling.distribution(&LOGITS);
            distribution.iter().map(|draw| draw.token).collect()
        };
        assert_eq!(tokens(sampling), [1, 3, 4, 0, 2, 5]);
        assert_eq!(tokens(sampling.top_k(1).unwrap()), [1]);
        assert_eq!(tokens(sampling.temperature(0.0).unwrap()), [1]);
        // A token without a number is never drawn.
        assert_eq!(sampling.distribution(&LOGITS)[5].probability, 0.0);
        let even = sampling.distribution(&[f32::INFINITY, 0.0, f32::INFINITY]);
        assert_eq!((even[0].probability, even[2].probability), (0.5, 0.0));
        assert_eq!(sampling.distribution(&[f32::NAN; 2])[0].token, 0);
    }

    /// A chi-square test with 3 degrees of freedom, whose value is above 16.3 once in a thousand
    /// times; the seed is fixed.
    #[test]
    fn tokens_are_drawn_as_often_as_they_are_likely() {
        const DRAWS: u64 = 20_000;
        let sampling = Sampling::seeded(11)
            .temperature(0.7)
            .unwrap()
            .top_k(4)
            .unwrap();
        let distribution = sampling.distribution(&LOGITS);
        for copy in [0, 1] {
            let mut counts = [0_u64; LOGITS.len()];
            for step in 0..DRAWS {
                let draw = sampling.draw(&LOGITS, row(copy), step);
                assert!(distribution.contains(&draw));
                counts[draw.token as usize] += 1;
            }
            let square = distribution.iter().map(|draw| {
                let expected = draw.probability * DRAWS as f64;
                (counts[draw.token as usize] as f64 - expected).powi(2) / expected
            });
            let square: f64 = square.sum();
            assert!(square < 16.3, "{square} {counts:?}");
        }
    }

    #[test]
    fn a_draw_depends_on_seed_step_and_row_alone() {
        let number = |seed, step, copy| Sampling::seeded(seed).number(row(copy), step).to_bits();
        let first = number(7, 3, 0);
        assert_eq!(first, number(7, 3, 0));
        for other in [number(8, 3, 0), number(7, 4, 0), number(7, 3, 1)] {
            assert_ne!(first, other);
        }
        let other = DrawnRow {
            prompt: &[3, 1, 5],
            copy: 0,
        };
        assert_ne!(first, Sampling::seeded(7).number(other, 3).to_bits());
        // What was drawn once is drawn by every later version.
        assert_eq!(
            Sampling::seeded(7).number(row(0), 3),
            0.105_063_691_571_912_42
        );
    }

    #[test]
    fn values_with_which_nothing_can_be_drawn_are_refused() {
        let sampling = Sampling::seeded(0);
        let errors = [
            sampling.temperature(-0.5),
            sampling.temperature(f64::NAN),
            sampling.temperature(f64::INFINITY),
            sampling.top_k(0),
            sampling.top_p(0.0),
            sampling.top_p(1.5),
            sampling.top_p(f64::NAN),
        ]
        .map(|result| {
            let error = result.unwrap_err();
            format!("{} {error}", error.code())
        });
        insta::assert_snapshot!(errors.join("\n"), @"
        E137 `temperature` must be a finite number from 0, where 0 takes the most likely token, found -0.5
        E137 `temperature` must be a finite number from 0, where 0 takes the most likely token, found NaN
        E137 `temperature` must be a finite number from 0, where 0 takes the most likely token, found inf
        E137 `top_k` must be at least 1 token; leave it out to draw from all, found 0
        E137 `top_p` must be a probability above 0 and at most 1; leave it out to draw from all, found 0
        E137 `top_p` must be a probability above 0 and at most 1; leave it out to draw from all, found 1.5
        E137 `top_p` must be a probability above 0 and at most 1; leave it out to draw from all, found NaN
        ");
    }
}
