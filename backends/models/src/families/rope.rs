//! What configurations say of rotary positions, in the new style and in the old one.
//!
//! transformers 5 has all of it in `rope_parameters`; older files have `rope_theta` and
//! `partial_rotary_factor` at the top, and `rope_scaling` for what is scaled.

use super::keys::Keys;
use crate::decoder::{Layout, RotaryConfig, Scaling};
use crate::files::FileError;

/// What a class does about rotary positions.
#[derive(Clone, Copy)]
pub(super) struct Rope {
    /// The default of the base.
    pub(super) base: f64,
    /// Where older files have the base.
    pub(super) base_key: &'static str,
    /// Whether a part of a head can be rotated.
    pub(super) part: Part,
    /// The width of a head.
    pub(super) head_width: usize,
    /// The number of positions that the model was made for.
    pub(super) positions: usize,
    /// The default of `original_max_position_embeddings` in a class that has it as an attribute.
    pub(super) original: Option<usize>,
    pub(super) layout: Layout,
    /// Whether blocks of several kinds have parameters of their own.
    pub(super) has_kinds: bool,
    /// What scaling by a factor for each frequency is called.
    pub(super) long_names: &'static [&'static str],
}

/// Which part of a head is rotated.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// All of it; a configuration that says otherwise is refused.
    All,
    /// What a key says, or else a default.
    Key(&'static str, f64),
}

impl Rope {
    pub(super) const fn new(base: f64, head_width: usize, positions: usize) -> Self {
        Self {
            base,
            base_key: "rope_theta",
            part: Part::All,
            head_width,
            positions,
            original: None,
            layout: Layout::Halves,
            has_kinds: false,
            long_names: &["longrope"],
        }
    }

    /// Reads the keys of a model that rotates an even part of each head only.
    pub(super) fn even(&self, keys: &Keys<'_>) -> Result<RotaryConfig, FileError> {
        let rotary = self.read(keys)?;
        if rotary.width.is_multiple_of(2) {
            return Ok(rotary);
        }
        let expected = "an even part of a head";
        Err(keys.malformed("partial_rotary_factor", expected, rotary.width.to_string()))
    }

    /// Reads the keys of a model whose blocks have one kind of rotary positions.
    pub(super) fn read(&self, keys: &Keys<'_>) -> Result<RotaryConfig, FileError> {
        let scaled = keys.object("rope_scaling")?;
        let key = if scaled.is_some() {
            "rope_scaling"
        } else {
            "rope_parameters"
        };
        let parameters =
            scaled.map_or_else(|| keys.object("rope_parameters"), |it| Ok(Some(it)))?;
        let nested = |name: &&str| matches!(*name, "full_attention" | "sliding_attention");
        if let Some(name) = parameters.as_ref().and_then(|it| it.names().find(nested)) {
            let expected = "rotary positions of one kind for all blocks";
            return Err(keys.unsupported(key, expected, format!("some for `{name}`")));
        }
        let base = keys.number(self.base_key, self.base)?;
        self.parameters(keys, parameters.as_ref(), base)
    }

    /// Reads an object of parameters, where the rest of the configuration says that the base is
    /// `base` unless the object says otherwise.
    pub(super) fn parameters(
        &self,
        keys: &Keys<'_>,
        parameters: Option<&Keys<'_>>,
        base: f64,
    ) -> Result<RotaryConfig, FileError> {
        let width = self.width(keys, parameters)?;
        let (base, scaling) = match parameters {
            Some(parameters) => {
                let base = parameters.number("rope_theta", base)?;
                (base, self.scaling(keys, parameters)?)
            }
            None => (base, Scaling::None),
        };
        Ok(RotaryConfig {
            width,
            base,
            scaling,
            layout: self.layout,
        })
    }

    fn width(&self, keys: &Keys<'_>, parameters: Option<&Keys<'_>>) -> Result<usize, FileError> {
        const INNER: &str = "partial_rotary_factor";
        let inner = match parameters {
            Some(parameters) => parameters.optional_number(INNER)?,
            None => None,
        };
        let (key, default) = match self.part {
            Part::All => (INNER, 1.0),
            Part::Key(key, default) => (key, default),
        };
        let outer = keys.number(key, default)?;
        let part = inner.unwrap_or(outer);
        match self.part {
            Part::All if part != 1.0 => {
                Err(keys.unsupported(INNER, "1: heads are rotated as a whole", part.to_string()))
            }
            _ if !(0.0..=1.0).contains(&part) => {
                Err(keys.malformed(key, "a number from 0 to 1", part.to_string()))
            }
            _ => Ok((self.head_width as f64 * part) as usize),
        }
    }

    fn scaling(&self, keys: &Keys<'_>, from: &Keys<'_>) -> Result<Scaling, FileError> {
        let named = match from.optional_text("rope_type")? {
            Some(named) => Some(named),
            None => from.optional_text("type")?,
        };
        let named = named.unwrap_or_else(|| "default".to_owned());
        let need = |key: &str| match from.optional_number(key)? {
            Some(number) => Ok(number),
            None => Err(from.malformed(key, "a number", "no such key")),
        };
        let lists = |key: &str| match from.optional_numbers(key)? {
            Some(numbers) => Ok(numbers),
            None => Err(from.malformed(key, "a list of numbers", "no such key")),
        };
        Ok(match named.as_str() {
            "default" => Scaling::None,
            "linear" => Scaling::Linear {
                factor: need("factor")?,
            },
            "dynamic" => Scaling::Dynamic {
                factor: need("factor")?,
                original: self.positions,
            },
            "llama3" => Scaling::Llama3 {
                factor: need("factor")?,
                low: need("low_freq_factor")?,
                high: need("high_freq_factor")?,
                original: self.original(keys, from)?,
            },
            named if self.long_names.contains(&named) => {
                let original = self.original(keys, from)?;
                let factor = from.optional_number("factor")?;
                let factor = factor.unwrap_or(self.positions as f64 / original as f64);
                let stretched = (1.0 + factor.ln() / (original as f64).ln()).sqrt();
                let derived = if factor <= 1.0 { 1.0 } else { stretched };
                Scaling::LongRope {
                    short: lists("short_factor")?,
                    long: lists("long_factor")?,
                    attention_factor: from.optional_number("attention_factor")?.unwrap_or(derived),
                    original,
                }
            }
            "yarn" => self.yarn(from, self.original(keys, from)?)?,
            other => {
                let expected = "one of default, linear, dynamic, llama3, yarn, longrope";
                return Err(from.unsupported("rope_type", expected, format!("{other:?}")));
            }
        })
    }

    fn yarn(&self, from: &Keys<'_>, original: usize) -> Result<Scaling, FileError> {
        let factor = from.optional_number("factor")?;
        let factor = factor.unwrap_or(self.positions as f64 / original as f64);
        let stretched = |scale: f64| match factor <= 1.0 {
            true => 1.0,
            false => 0.1 * scale * factor.ln() + 1.0,
        };
        // As in Python, a scale of 0 counts as none.
        let scale =
            |key: &str| Ok::<_, FileError>(from.optional_number(key)?.filter(|&x| x != 0.0));
        let derived = match (scale("mscale")?, scale("mscale_all_dim")?) {
            (Some(scale), Some(all)) => stretched(scale) / stretched(all),
            _ => stretched(1.0),
        };
        let rotations = |key: &str, default: f64| {
            let given = from.optional_number(key)?.filter(|&x| x != 0.0);
            Ok::<_, FileError>(given.unwrap_or(default))
        };
        Ok(Scaling::Yarn {
            factor,
            attention_factor: from.optional_number("attention_factor")?.unwrap_or(derived),
            fast: rotations("beta_fast", 32.0)?,
            slow: rotations("beta_slow", 1.0)?,
            // transformers 5.24 looks for it beside the kinds, where it cannot be, and so takes the
            // default.
            truncates: self.has_kinds || from.flag("truncate", true)?,
            original,
        })
    }

    /// Returns the number of positions before scaling: what the top of the configuration says comes
    /// before what its parameters say.
    fn original(&self, keys: &Keys<'_>, from: &Keys<'_>) -> Result<usize, FileError> {
        const KEY: &str = "original_max_position_embeddings";
        let top = keys.optional_size(KEY)?.or(self.original);
        let inner = from.optional_size(KEY)?;
        Ok(top.or(inner).unwrap_or(self.positions))
    }
}
