//! Sparse autoencoders as SAELens saves them: a folder with `cfg.json` and
//! `sae_weights.safetensors`.
//!
//! What `SAE.save_model` and `save_inference_model` of sae-lens 6 write for the architectures
//! `standard`, `jumprelu`, `gated` and `topk`. Autoencoders that are trained as `batchtopk` or
//! `matryoshka_batchtopk` are saved there as `jumprelu`.

use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value as Json};

use super::InterventionError;
use super::autoencoder::{AutoencoderParts, FeatureActivation, SparseAutoencoder};
use super::file::{Layout, check_finite, check_names, described, open, read};

const CONFIGURATION: &str = "cfg.json";
const WEIGHTS: &str = "sae_weights.safetensors";

/// The settings that every architecture has.
const SHARED: [&str; 9] = [
    "apply_b_dec_to_input",
    "architecture",
    "d_in",
    "d_sae",
    "device",
    "dtype",
    "metadata",
    "normalize_activations",
    "reshape_activations",
];
/// Those that only `topk` has.
const OF_TOP_K: [&str; 2] = ["k", "rescale_acts_by_decoder_norm"];

/// A sparse autoencoder from a SAELens folder, with what its configuration says of its use.
#[derive(Debug, Clone)]
pub struct SaeLens {
    /// The autoencoder.
    pub autoencoder: SparseAutoencoder,
    /// The `metadata` of the configuration: free text that changes no number, such as
    /// `model_name`, `hook_name` and `sae_lens_version`.
    pub metadata: Map<String, Json>,
}

impl SaeLens {
    /// Loads a folder that SAELens has saved.
    ///
    /// Weights of f16 or bf16 are widened, which is exact, and computed with in f32. Where
    /// `rescale_acts_by_decoder_norm` is set, as it is for each `topk` that sae-lens trains, the
    /// lengths of the decoder's rows are folded into the weights: rows have length 1, and features
    /// are what sae-lens computes, but for rounding.
    ///
    /// # Errors
    ///
    /// [`InterventionError::File`] if a file cannot be read or is damaged;
    /// [`InterventionError::Setting`] for a setting that is unknown or not supported, by its name;
    /// [`InterventionError::Contents`] if the weights are not those that the configuration
    /// describes.
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self, InterventionError> {
        let folder = folder.as_ref();
        let (configuration, weights) = (folder.join(CONFIGURATION), folder.join(WEIGHTS));
        let (text, bytes) = (read(&configuration)?, read(&weights)?);
        let file = configuration.display().to_string();
        let configuration = Configuration::read(&text, &file)?;
        let file = weights.display().to_string();
        let tensors = open(&bytes, &file)?;
        let parts = configuration.parts(&tensors, &file, device)?;
        let activation = configuration.activation;
        let autoencoder = SparseAutoencoder::of(parts, activation, configuration.subtracts_bias)?;
        Ok(Self {
            autoencoder,
            metadata: configuration.metadata,
        })
    }

    /// Returns where in the model the autoencoder belongs, by the name that SAELens has for it,
    /// such as `blocks.1.hook_resid_post`: models here know these names as aliases.
    pub fn hook_name(&self) -> Option<&str> {
        self.metadata.get("hook_name")?.as_str()
    }
}

/// What a `cfg.json` says.
struct Configuration {
    width: usize,
    features: usize,
    activation: FeatureActivation,
    subtracts_bias: bool,
    /// Whether features are measured in lengths of their decoder rows.
    scales_by_length: bool,
    dtype: Dtype,
    metadata: Map<String, Json>,
}

impl Configuration {
    fn read(text: &[u8], file: &str) -> Result<Self, InterventionError> {
        let settings: Map<String, Json> = serde_json::from_slice(text)
            .map_err(|error| InterventionError::damaged(file, error.to_string()))?;
        let settings = Settings { file, settings };
        let architecture =
            settings.one_of("architecture", &["standard", "jumprelu", "gated", "topk"])?;
        let own: &[&str] = match architecture {
            "topk" => &OF_TOP_K,
            _ => &[],
        };
        settings.check_known(own)?;
        settings.one_of_or("normalize_activations", &["none"], "none")?;
        settings.one_of_or("reshape_activations", &["none"], "none")?;
        let activation = match architecture {
            "jumprelu" => FeatureActivation::JumpRelu,
            "gated" => FeatureActivation::Gated,
            "topk" => FeatureActivation::TopK {
                k: settings.size("k")?,
            },
            _ => FeatureActivation::Relu,
        };
        let dtypes = [
            "float32",
            "torch.float32",
            "float16",
            "torch.float16",
            "bfloat16",
            "torch.bfloat16",
        ];
        let dtype = match settings.one_of_or("dtype", &dtypes, "float32")? {
            "float16" | "torch.float16" => Dtype::F16,
            "bfloat16" | "torch.bfloat16" => Dtype::BF16,
            _ => Dtype::F32,
        };
        Ok(Self {
            width: settings.size("d_in")?,
            features: settings.size("d_sae")?,
            activation,
            subtracts_bias: settings.flag("apply_b_dec_to_input", true)?,
            scales_by_length: settings.flag("rescale_acts_by_decoder_norm", false)?,
            dtype,
            metadata: settings.map("metadata")?,
        })
    }

    fn parts(
        &self,
        tensors: &SafeTensors<'_>,
        file: &str,
        device: &Device,
    ) -> Result<AutoencoderParts, InterventionError> {
        let (width, features) = (self.width, self.features);
        let (bias, own): (_, &[&str]) = match self.activation {
            FeatureActivation::Relu | FeatureActivation::TopK { .. } => ("b_enc", &[]),
            FeatureActivation::JumpRelu => ("b_enc", &["threshold"]),
            FeatureActivation::Gated => ("b_mag", &["b_gate", "r_mag"]),
        };
        let mut layout: Layout = vec![
            ("W_enc", vec![width, features]),
            (bias, vec![features]),
            ("W_dec", vec![features, width]),
            ("b_dec", vec![width]),
        ];
        layout.extend(own.iter().map(|&name| (name, vec![features])));
        check_names(tensors, &layout, file)?;
        let mut read = Vec::new();
        for (name, shape) in &layout {
            let view = tensors.tensor(name).expect("its name was found");
            if view.dtype() != self.dtype || view.shape() != shape {
                let expected = format!("{:?}{shape:?}", self.dtype).to_lowercase();
                let place = format!("parameter `{name}`");
                return Err(InterventionError::contents(
                    file,
                    place,
                    expected,
                    described(&view),
                ));
            }
            let data = widened(&view);
            check_finite(&data, name, file)?;
            read.push(data);
        }
        if self.scales_by_length {
            self.fold_lengths(&mut read, file)?;
        }
        let mut read = read.into_iter();
        let mut next = || read.next().expect("one for each of the layout");
        let (encoder, encoder_bias) = (next(), next());
        let (decoder, decoder_bias) = (next(), next());
        // In the order of the layout.
        let mut own = |name| {
            let has = own.contains(&name);
            has.then(|| Tensor::from_data(next(), device))
        };
        Ok(AutoencoderParts {
            encoder: Tensor::from_data(encoder, device),
            encoder_bias: Tensor::from_data(encoder_bias, device),
            decoder: Tensor::from_data(decoder, device),
            decoder_bias: Tensor::from_data(decoder_bias, device),
            threshold: own("threshold"),
            gate_bias: own("b_gate"),
            magnitude: own("r_mag"),
        })
    }
}

impl Configuration {
    /// Multiplies what a feature reads with the length of what it writes, and divides that by it.
    /// The lengths are summed in f64, on the host, so that they are the same for every device.
    fn fold_lengths(&self, parts: &mut [TensorData], file: &str) -> Result<(), InterventionError> {
        let [encoder, bias, decoder, ..] = parts else {
            unreachable!("the layout has them");
        };
        let mut lengths = Vec::with_capacity(self.features);
        for (feature, row) in floats(decoder).chunks_mut(self.width).enumerate() {
            let squares = row.iter().map(|&x| f64::from(x) * f64::from(x));
            let length = squares.sum::<f64>().sqrt() as f32;
            if length == 0.0 {
                let place = format!("parameter `W_dec`, feature {feature}");
                let expected = "a row with a length, as `rescale_acts_by_decoder_norm` is true";
                return Err(InterventionError::contents(file, place, expected, "zeros"));
            }
            row.iter_mut().for_each(|x| *x /= length);
            lengths.push(length);
        }
        for row in floats(encoder).chunks_mut(self.features) {
            row.iter_mut()
                .zip(&lengths)
                .for_each(|(x, length)| *x *= length);
        }
        let biases = floats(bias).iter_mut().zip(&lengths);
        biases.for_each(|(x, length)| *x *= length);
        Ok(())
    }
}

fn floats(data: &mut TensorData) -> &mut [f32] {
    data.as_mut_slice().expect("they were made f32")
}

/// Returns the numbers of a tensor as f32.
fn widened(view: &TensorView<'_>) -> TensorData {
    let dtype = match view.dtype() {
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        _ => DType::F32,
    };
    let shape = view.shape().to_vec();
    TensorData::from_bytes_vec(view.data().to_vec(), shape, dtype).convert::<f32>()
}

/// The settings of a configuration, by name.
struct Settings<'f> {
    file: &'f str,
    settings: Map<String, Json>,
}

impl Settings<'_> {
    fn check_known(&self, own: &[&str]) -> Result<(), InterventionError> {
        let is_known = |name: &str| SHARED.contains(&name) || own.contains(&name);
        match self.settings.iter().find(|(name, _)| !is_known(name)) {
            Some((name, value)) => {
                let mut known = [&SHARED[..], own].concat();
                known.sort_unstable();
                Err(InterventionError::Setting {
                    file: self.file.to_owned(),
                    setting: name.clone(),
                    found: value.to_string(),
                    expected: format!("no such setting, but {known:?}"),
                    advice: "what it would change is not known; load and save the autoencoder with sae-lens 6 \
                             (`save_inference_model`)",
                })
            }
            None => Ok(()),
        }
    }

    fn refused(&self, name: &str, expected: impl Into<String>) -> InterventionError {
        let found = self.settings.get(name);
        InterventionError::Setting {
            file: self.file.to_owned(),
            setting: name.to_owned(),
            found: found.map_or("missing".to_owned(), Json::to_string),
            expected: expected.into(),
            advice: "fold it into the weights with sae-lens, or use another autoencoder",
        }
    }

    fn one_of(
        &self,
        name: &str,
        supported: &[&'static str],
    ) -> Result<&'static str, InterventionError> {
        let found = self.settings.get(name).and_then(Json::as_str);
        let known = supported.iter().find(|known| found == Some(known));
        known.copied().ok_or_else(|| {
            let supported: Vec<String> =
                supported.iter().map(|known| format!("{known:?}")).collect();
            self.refused(name, supported.join(" or "))
        })
    }

    fn one_of_or(
        &self,
        name: &str,
        supported: &[&'static str],
        default: &'static str,
    ) -> Result<&'static str, InterventionError> {
        match self.settings.get(name) {
            None => Ok(default),
            Some(_) => self.one_of(name, supported),
        }
    }

    fn size(&self, name: &str) -> Result<usize, InterventionError> {
        let size = self.settings.get(name).and_then(Json::as_u64);
        let size = size.and_then(|size| usize::try_from(size).ok());
        let size = size.filter(|&size| size > 0);
        size.ok_or_else(|| self.refused(name, "a number of 1 or more"))
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool, InterventionError> {
        match self.settings.get(name) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.refused(name, "true or false")),
        }
    }

    fn map(&self, name: &str) -> Result<Map<String, Json>, InterventionError> {
        match self.settings.get(name) {
            None => Ok(Map::new()),
            Some(value) => {
                let map = value.as_object().cloned();
                map.ok_or_else(|| self.refused(name, "a table"))
            }
        }
    }
}
