//! The Llama architecture in plain loops over `f64`, to compare with.
//!
//! Written from the papers and the Python library transformers: RMS norms (Zhang and Sennrich
//! 2019), rotary positions in halves (Su et al. 2021, `rotate_half`), grouped heads (Ainslie et al.
//! 2023), SwiGLU (Shazeer 2020).

use std::collections::BTreeMap;

use crate::llama_files::{EPSILON, Sizes, Stored, THETA};

type Vector = Vec<f64>;

/// A model in `f64`.
pub(crate) struct Reference<'a> {
    pub(crate) weights: &'a BTreeMap<String, Stored>,
    pub(crate) sizes: Sizes,
}

impl Reference<'_> {
    /// The logits at every position.
    pub(crate) fn logits(&self, tokens: &[u32]) -> Vec<Vector> {
        let mut residual: Vec<Vector> = tokens
            .iter()
            .map(|&token| self.row("model.embed_tokens.weight", token as usize))
            .collect();
        for layer in 0..self.sizes.layers {
            let prefix = format!("model.layers.{layer}");
            let normalized = self.norms(&residual, &format!("{prefix}.input_layernorm"));
            add(&mut residual, &self.attention(&normalized, &prefix));
            let normalized = self.norms(&residual, &format!("{prefix}.post_attention_layernorm"));
            add(&mut residual, &self.mlp(&normalized, &prefix));
        }
        let head = match self.sizes.tied {
            true => "model.embed_tokens",
            false => "lm_head",
        };
        let normalized = self.norms(&residual, "model.norm");
        normalized.iter().map(|x| self.linear(x, head)).collect()
    }

    fn attention(&self, xs: &[Vector], prefix: &str) -> Vec<Vector> {
        let Sizes {
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.sizes;
        let project = |name: &str| -> Vec<Vector> {
            let name = format!("{prefix}.self_attn.{name}_proj");
            xs.iter().map(|x| self.linear(x, &name)).collect()
        };
        let (q, k, v) = (project("q"), project("k"), project("v"));
        let head = |x: &Vector, head: usize| x[head * head_dim..(head + 1) * head_dim].to_vec();
        let mut z = vec![vec![0.0; heads * head_dim]; xs.len()];
        for h in 0..heads {
            let group = h / (heads / kv_heads);
            for (position, z) in z.iter_mut().enumerate() {
                let query = rotate(&head(&q[position], h), position);
                let scores: Vector = (0..=position)
                    .map(|other| {
                        let key = rotate(&head(&k[other], group), other);
                        dot(&query, &key) / (head_dim as f64).sqrt()
                    })
                    .collect();
                for (other, share) in softmax(&scores).into_iter().enumerate() {
                    for (i, value) in head(&v[other], group).into_iter().enumerate() {
                        z[h * head_dim + i] += share * value;
                    }
                }
            }
        }
        let output = format!("{prefix}.self_attn.o_proj");
        z.iter().map(|z| self.linear(z, &output)).collect()
    }

    fn mlp(&self, xs: &[Vector], prefix: &str) -> Vec<Vector> {
        let name = |part: &str| format!("{prefix}.mlp.{part}_proj");
        let one = |x: &Vector| {
            let gate = self.linear(x, &name("gate"));
            let up = self.linear(x, &name("up"));
            let silu = |x: f64| x / (1.0 + (-x).exp());
            let post: Vector = gate.iter().zip(&up).map(|(g, u)| silu(*g) * u).collect();
            self.linear(&post, &name("down"))
        };
        xs.iter().map(one).collect()
    }

    fn norms(&self, xs: &[Vector], name: &str) -> Vec<Vector> {
        let gain = self.row(&format!("{name}.weight"), 0);
        let one = |x: &Vector| {
            let mean_square = dot(x, x) / x.len() as f64;
            let scale = 1.0 / (mean_square + EPSILON).sqrt();
            x.iter()
                .zip(&gain)
                .map(|(x, gain)| x * scale * gain)
                .collect()
        };
        xs.iter().map(one).collect()
    }

    fn linear(&self, x: &Vector, name: &str) -> Vector {
        let weight = format!("{name}.weight");
        let outputs = self.weights[&weight].0[0];
        let bias = self.weights.get(&format!("{name}.bias"));
        (0..outputs)
            .map(|output| {
                let bias = bias.map_or(0.0, |(_, values)| f64::from(values[output]));
                dot(&self.row(&weight, output), x) + bias
            })
            .collect()
    }

    /// A row of a matrix, or the whole of a vector.
    fn row(&self, name: &str, row: usize) -> Vector {
        let (shape, values) = &self.weights[name];
        let width = *shape.last().unwrap();
        let row = &values[row * width..(row + 1) * width];
        row.iter().copied().map(f64::from).collect()
    }
}

/// `x * cos + rotate_half(x) * sin`, where the second half of `x` is the partner of the first.
fn rotate(x: &[f64], position: usize) -> Vector {
    let half = x.len() / 2;
    let angle = |pair: usize| position as f64 / THETA.powf(2.0 * pair as f64 / x.len() as f64);
    let turned = |i: usize| if i < half { -x[i + half] } else { x[i - half] };
    (0..x.len())
        .map(|i| x[i] * angle(i % half).cos() + turned(i) * angle(i % half).sin())
        .collect()
}

fn softmax(scores: &[f64]) -> Vector {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vector = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter()
        .zip(right)
        .map(|(left, right)| left * right)
        .sum()
}

fn add(left: &mut [Vector], right: &[Vector]) {
    for (left, right) in left.iter_mut().zip(right) {
        for (left, right) in left.iter_mut().zip(right) {
            *left += right;
        }
    }
}
