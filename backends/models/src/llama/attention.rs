//! Attention with grouped heads and rotary positions.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData, activation};
use interloom_backends::{Forward, Operations, Tap, operations};

use super::LlamaConfig;
use crate::attention::{KvCache, scores};
use crate::projection::Projection;

/// Causal attention, in which several query heads share a key and value head (Ainslie et al. 2023).
#[derive(Module, Debug)]
pub struct LlamaAttention {
    query: Projection,
    key: Projection,
    value: Projection,
    output: Projection,
    q: Tap,
    k: Tap,
    v: Tap,
    rot_q: Tap,
    rot_k: Tap,
    scores: Tap,
    pattern: Tap,
    z: Tap,
    source: Operations,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl LlamaAttention {
    pub(super) fn new([query, key, value, output]: [Projection; 4], config: &LlamaConfig) -> Self {
        Self {
            query,
            key,
            value,
            output,
            q: Tap::new(),
            k: Tap::new(),
            v: Tap::new(),
            rot_q: Tap::new(),
            rot_k: Tap::new(),
            scores: Tap::new(),
            pattern: Tap::new(),
            z: Tap::new(),
            source: Operations::new(Self::OPERATIONS),
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        }
    }
}

#[operations]
impl LlamaAttention {
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        angles: &Angles,
        cache: &mut KvCache,
        layer: usize,
    ) -> Tensor<3> {
        let [batch, positions, _] = x.dims();
        let split = |projection: &Projection, heads| {
            let projected = projection.forward(x.clone());
            projected.reshape([batch, positions, heads, self.head_dim])
        };
        let q = self.q.pass(split(&self.query, self.heads));
        let k = self.k.pass(split(&self.key, self.kv_heads));
        let v = self.v.pass(split(&self.value, self.kv_heads));
        let q = self.rot_q.pass(angles.rotate(q)).swap_dims(1, 2);
        let k = self.rot_k.pass(angles.rotate(k)).swap_dims(1, 2);

        let (k, v) = cache.extend(layer, k, v.swap_dims(1, 2));
        let scale = (self.head_dim as f64).sqrt();
        let scores = self.scores.pass(scores(q, self.share(k), scale));
        let pattern = self.pattern.pass(activation::softmax(scores, 3));
        let z = self.z.pass(pattern.matmul(self.share(v)).swap_dims(1, 2));
        self.output
            .forward(z.reshape([batch, positions, self.heads * self.head_dim]))
    }
}

impl LlamaAttention {
    /// Gives each query head its key or value head: head `h` reads group `h / (heads / kv_heads)`.
    fn share(&self, shared: Tensor<4>) -> Tensor<4> {
        let [batch, kv_heads, positions, width] = shared.dims();
        let group = self.heads / self.kv_heads;
        if group == 1 {
            return shared;
        }
        let grouped = shared.unsqueeze_dim::<5>(2);
        let grouped = grouped.expand([batch, kv_heads, group, positions, width]);
        grouped.reshape([batch, self.heads, positions, width])
    }
}

/// The cosines and sines of rotary positions (Su et al. 2021), in the half-split layout of Hugging
/// Face.
#[derive(Module, Debug)]
pub struct Rotary {
    /// `[position, half the head width]`.
    cos: Tensor<2>,
    sin: Tensor<2>,
}

/// The cosines and sines of the positions at hand, `[1, position, 1, half the head width]`.
pub(super) struct Angles {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rotary {
    pub(super) fn new(config: &LlamaConfig, positions: usize, device: &Device) -> Self {
        let half = config.head_dim / 2;
        let angle = |index: usize| {
            let (position, pair) = (index / half, index % half);
            let exponent = -2.0 * pair as f64 / config.head_dim as f64;
            position as f64 * config.rope_theta.powf(exponent)
        };
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = (0..positions * half)
                .map(|index| f(angle(index)) as f32)
                .collect();
            Tensor::from_data(TensorData::new(values, [positions, half]), device)
        };
        Self {
            cos: table(f64::cos),
            sin: table(f64::sin),
        }
    }

    pub(super) fn at(&self, start: usize, count: usize) -> Angles {
        let slice = |table: &Tensor<2>| {
            let half = table.dims()[1];
            let rows = table.clone().narrow(0, start, count);
            rows.reshape([1, count, 1, half])
        };
        Angles {
            cos: slice(&self.cos),
            sin: slice(&self.sin),
        }
    }
}

impl Angles {
    pub(super) fn positions(&self) -> usize {
        self.cos.dims()[1]
    }

    /// Rotates `[batch, position, head, width]`: the pair of dimension `i` is dimension `i + width
    /// / 2`.
    fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let half = x.dims()[3] / 2;
        let (a, b) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
        let (cos, sin) = (self.cos.clone(), self.sin.clone());
        let first = a.clone() * cos.clone() - b.clone() * sin.clone();
        let second = a * sin + b * cos;
        Tensor::cat(vec![first, second], 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> LlamaConfig {
        LlamaConfig::from_json(
            r#"{"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 10, "rms_norm_eps": 1e-5,
                "max_position_embeddings": 32}"#,
            "config.json",
        )
        .unwrap()
    }

    fn counted(shape: [usize; 4]) -> Tensor<4> {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|index| (index as f32 * 0.37).sin())
            .collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    fn floats(tensor: Tensor<4>) -> Vec<f32> {
        tensor.into_data().try_into_vec().unwrap()
    }

    #[test]
    fn rotation_keeps_lengths_and_the_first_position() {
        let device = Device::flex();
        let rotary = Rotary::new(&config(), 8, &device);
        let x = counted([1, 8, 4, 4]);
        let rotated = floats(rotary.at(0, 8).rotate(x.clone()));
        let x = floats(x);
        assert_eq!(rotated[..16], x[..16], "position 0 is not rotated");
        let square = |values: &[f32]| values.iter().map(|x| x * x).sum::<f32>();
        for (before, after) in x.chunks(4).zip(rotated.chunks(4)) {
            assert!((square(before) - square(after)).abs() < 1e-5);
        }
        assert_ne!(rotated[16..], x[16..]);
    }

    #[test]
    fn rotated_products_depend_on_the_distance_only() {
        let device = Device::flex();
        let rotary = Rotary::new(&config(), 16, &device);
        let (q, k) = (counted([1, 1, 1, 4]), counted([1, 1, 1, 4]) * 0.5 + 0.1);
        let product = |from: usize, to: usize| {
            let q = rotary.at(from, 1).rotate(q.clone());
            let k = rotary.at(to, 1).rotate(k.clone());
            floats(q * k).iter().sum::<f32>()
        };
        assert!((product(3, 1) - product(9, 7)).abs() < 1e-5);
        assert!((product(3, 1) - product(3, 2)).abs() > 1e-4);
    }
}
