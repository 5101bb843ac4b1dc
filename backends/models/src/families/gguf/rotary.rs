//! Rotary positions, which all architectures describe with the same keys.

use super::{Metadata, Storage};
use crate::decoder::{DecoderConfig, RotaryConfig, Scaling};
use crate::files::FileError;

/// What llama.cpp takes if a file does not say the base.
const BASE: f64 = 10_000.0;
/// What each frequency of a model with scaled positions is divided by.
pub(super) const DIVISORS: &str = "rope_freqs.weight";
/// The same for short and for long sequences.
pub(super) const SHORT_AND_LONG: [&str; 2] =
    ["rope_factors_short.weight", "rope_factors_long.weight"];

/// Reads the rotary positions of a model that has any.
pub(super) fn read(
    metadata: &Metadata<'_>,
    storage: Storage,
    config: &mut DecoderConfig,
) -> Result<(), FileError> {
    let (head, positions) = (config.attention.head_width, config.positions);
    // A model without any may still have their width; the first are those of blocks without a
    // window, and the second, which are never scaled, those of the others.
    const WIDTH: &str = "rope.dimension_count";
    let width = metadata.size(WIDTH)?.unwrap_or(head);
    let [first, others @ ..] = &mut config.rotary[..] else {
        return Ok(());
    };
    if storage == Storage::Interleaved && width != head {
        let expected = format!("{head}, the width of a head");
        return Err(metadata.unsupported(WIDTH, expected, width.to_string()));
    }
    *first = RotaryConfig {
        width,
        base: metadata.number("rope.freq_base")?.unwrap_or(BASE),
        scaling: scaling(metadata, positions)?,
        layout: first.layout,
    };
    for other in others {
        other.width = width;
        other.base = metadata.number("rope.freq_base_swa")?.unwrap_or(BASE);
    }
    Ok(())
}

fn scaling(metadata: &Metadata<'_>, positions: usize) -> Result<Scaling, FileError> {
    const KIND: &str = "rope.scaling.type";
    let kind = metadata.text(KIND)?.unwrap_or("linear");
    // Older files have the factor under the second name.
    let factor = match metadata.number("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => metadata.number("rope.scale_linear")?,
    };
    let factor = factor.filter(|&factor| factor != 0.0).unwrap_or(1.0);
    let original = metadata.size("rope.scaling.original_context_length")?;
    let original = original.unwrap_or(positions);
    let divisors = |name: &str| {
        let tensor = metadata.tensor(name)?;
        let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
        Ok::<_, FileError>(tensor.map(|tensor| wide(tensor.data)))
    };
    let each = divisors(DIVISORS)?;
    let [short, long] = SHORT_AND_LONG.map(divisors);
    match (kind, each, short?, long?) {
        ("none" | "linear", Some(divisors), None, None) if factor == 1.0 || kind == "none" => {
            Ok(Scaling::Divided { divisors })
        }
        (_, None, Some(short), Some(long)) if factor == 1.0 => Ok(Scaling::LongRope {
            short,
            long,
            attention_factor: metadata.number("rope.scaling.attn_factor")?.unwrap_or(1.0),
            original,
        }),
        ("none", None, None, None) => Ok(Scaling::None),
        ("linear", None, None, None) if factor == 1.0 => Ok(Scaling::None),
        ("linear", None, None, None) => Ok(Scaling::Linear { factor }),
        ("yarn", None, None, None) => Ok(Scaling::Yarn {
            factor,
            attention_factor: 1.0 + 0.1 * factor.max(1.0).ln(),
            fast: metadata
                .number("rope.scaling.yarn_beta_fast")?
                .unwrap_or(32.0),
            slow: metadata
                .number("rope.scaling.yarn_beta_slow")?
                .unwrap_or(1.0),
            truncates: true,
            original,
        }),
        (kind, ..) => {
            let expected = "none, linear, yarn, or factors for each frequency, not several";
            let found = format!("{kind:?} with a factor of {factor} and the tensors of the file");
            Err(metadata.unsupported(KIND, expected, found))
        }
    }
}
