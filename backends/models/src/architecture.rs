//! The families of language models that can be loaded from files.

use burn::tensor::Device;

use crate::causal::CausalLm;
use crate::config::{missing, parse};
use crate::decoder::DecoderLm;
use crate::families::{ARCHITECTURES, Family, Kind};
use crate::files::gguf::GgufValue;
use crate::files::{FileError, Gguf, ModelFiles};

/// A family of language models: how its files name it, and what loads it.
#[derive(Clone, Copy, Debug)]
pub struct Architecture {
    /// The values of `model_type` in a `config.json`.
    pub model_types: &'static [&'static str],
    /// The value of `general.architecture` in a GGUF file, if the family is read from such files.
    pub gguf: Option<&'static str>,
    /// How its models are computed.
    pub(crate) kind: Kind,
}

/// What names a model's family: its place, and the file it is in.
enum Naming<'f> {
    Json(&'f str),
    Gguf(&'f str),
}

impl Architecture {
    /// Returns the family of a model's files.
    ///
    /// # Errors
    ///
    /// E042 if the files do not say it, E043 if it is none of [`ARCHITECTURES`].
    pub fn of(files: &ModelFiles) -> Result<&'static Self, FileError> {
        let found = files.architecture()?;
        match files {
            ModelFiles::Gguf(gguf) => {
                check_whole(gguf).and_then(|()| named(&found, &Naming::Gguf(gguf.name())))
            }
            ModelFiles::Folder(folder) => named(&found, &Naming::Json(&folder.config_file())),
        }
    }

    /// Reads the configuration, and takes every weight.
    ///
    /// # Errors
    ///
    /// E042 to E046: what can be wrong with the configuration or the weights.
    pub fn load(files: ModelFiles, device: &Device) -> Result<Box<dyn CausalLm>, FileError> {
        match Self::of(&files)?.kind {
            Kind::Decoder(_) => Ok(Box::new(DecoderLm::load(files, device)?)),
            Kind::Other(load) | Kind::Images(load) => load(files, device),
        }
    }

    /// Returns whether the models of the family that a `config.json` names so take images, and no
    /// text.
    pub(crate) fn takes_images(model_type: &str) -> bool {
        let mut families = ARCHITECTURES.iter();
        families.any(|family| {
            matches!(family.kind, Kind::Images(_)) && family.model_types.contains(&model_type)
        })
    }

    /// Returns what loads the decoders of this family; `file` is what messages call its files.
    pub(crate) fn decoder(&'static self, file: &str) -> Result<&'static Family, FileError> {
        match &self.kind {
            Kind::Decoder(family) => Ok(family),
            Kind::Other(_) | Kind::Images(_) => {
                let found = format!("`{}`", self.model_types.join("`, `"));
                let (place, expected) = ("its family", "one that is a decoder");
                let advice = "load it as a language model";
                Err(FileError::unsupported(file, place, expected, found, advice))
            }
        }
    }

    /// Returns the family that the text of a `config.json` names.
    pub(crate) fn of_json(text: &str, file: &str) -> Result<&'static Self, FileError> {
        #[derive(serde::Deserialize)]
        struct Named {
            model_type: Option<String>,
        }
        let Named { model_type } = parse(text, file)?;
        let found = model_type.ok_or_else(|| missing(file, "model_type"))?;
        named(&found, &Naming::Json(file))
    }

    /// Returns the family that a GGUF file names.
    pub(crate) fn of_gguf(gguf: &Gguf) -> Result<&'static Self, FileError> {
        named(
            gguf.text("general.architecture")?,
            &Naming::Gguf(gguf.name()),
        )
    }
}

/// Refuses what is in a GGUF file, but no model.
fn check_whole(gguf: &Gguf) -> Result<(), FileError> {
    const KEY: &str = "general.type";
    let kind = gguf.optional(KEY, "a text", GgufValue::as_str)?;
    let (place, found, advice) = match kind {
        Some(kind) if kind != "model" => {
            let advice = match kind {
                "adapter" => {
                    "merge it with its model, with `llama-export-lora`, and give the result"
                }
                _ => "give the file of the model that it belongs to",
            };
            (format!("metadata key `{KEY}`"), format!("`{kind}`"), advice)
        }
        _ if gguf.tensors().is_empty() => {
            let found = "no tensors, but a vocabulary only".to_owned();
            (
                "its table of tensors".to_owned(),
                found,
                "give a file with the model's weights",
            )
        }
        _ => return Ok(()),
    };
    Err(FileError::unsupported(
        gguf.name(),
        place,
        "a model",
        found,
        advice,
    ))
}

fn named(found: &str, naming: &Naming<'_>) -> Result<&'static Architecture, FileError> {
    let names = |family: &'static Architecture| match naming {
        Naming::Gguf(_) => Vec::from_iter(family.gguf),
        Naming::Json(_) => family.model_types.to_vec(),
    };
    let is_named = |family: &&'static Architecture| names(family).contains(&found);
    let family = ARCHITECTURES.iter().find(is_named);
    family.ok_or_else(|| unknown(naming, found, ARCHITECTURES.iter().flat_map(names)))
}

fn unknown(
    naming: &Naming<'_>,
    found: &str,
    known: impl Iterator<Item = &'static str>,
) -> FileError {
    let (file, place) = match naming {
        Naming::Gguf(file) => (file, "metadata key `general.architecture`"),
        Naming::Json(file) => (file, "key `model_type`"),
    };
    let known: Vec<String> = known.map(|name| format!("`{name}`")).collect();
    let expected = match &known[..] {
        [only] => format!("the architecture {only}"),
        several => format!("one of the architectures {}", several.join(", ")),
    };
    let advice = "use a model of such an architecture, such as smollm2-135m";
    FileError::unsupported(file, place, expected, format!("`{found}`"), advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_files::{GgufFile, safetensors_bytes, tiny_model};
    use crate::files::{ModelFolder, Safetensors};

    fn folder(config: &str) -> ModelFiles {
        let weights = Safetensors::from_bytes(safetensors_bytes(&[]), "model.safetensors");
        ModelFiles::Folder(ModelFolder {
            path: "model".into(),
            config: config.to_owned(),
            weights: weights.unwrap(),
        })
    }

    #[test]
    fn a_family_is_found_by_the_name_that_its_files_have_for_it() {
        for files in [
            ModelFiles::Gguf(tiny_model().open()),
            folder(r#"{"model_type": "llama"}"#),
        ] {
            assert_eq!(Architecture::of(&files).unwrap().model_types, ["llama"]);
        }
    }

    #[test]
    fn files_of_no_family_are_refused() {
        let other = GgufValue::String("mistral".to_owned());
        let gguf = tiny_model().with("general.architecture", other).open();
        let errors = [
            ModelFiles::Gguf(gguf),
            folder(r#"{"model_type": "t5"}"#),
            folder("{}"),
            folder("["),
        ]
        .map(|files| {
            let error = Architecture::of(&files).unwrap_err();
            format!("{} {error}", error.code())
        });
        insta::assert_snapshot!(errors.join("\n"), @r"
        E043 expected one of the architectures `llama`, `qwen2`, `qwen3`, `qwen2moe`, `gemma`, `gemma2`, `gemma3`, `phi2`, `phi3`, `olmo`, `olmo2`, `stablelm`, `starcoder2`, `granite`, `smollm3`, `command-r`, `falcon`, `gpt2`, `gptneox`, `bloom`, `mamba`, found `mistral` (at metadata key `general.architecture` of tiny.gguf); use a model of such an architecture, such as smollm2-135m
        E043 expected one of the architectures `llama`, `mistral`, `ministral`, `mixtral`, `qwen2`, `qwen3`, `qwen2_moe`, `gemma`, `gemma2`, `gemma3_text`, `phi`, `phi3`, `olmo`, `olmo2`, `stablelm`, `starcoder2`, `granite`, `smollm3`, `cohere`, `falcon`, `gpt2`, `gpt_neox`, `gptj`, `opt`, `bloom`, `bert`, `albert`, `mamba`, `vit`, found `t5` (at key `model_type` of model/config.json); use a model of such an architecture, such as smollm2-135m
        E042 expected a value, found no such key (at key `model_type` of model/config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
        E042 expected a model's configuration, found EOF while parsing a list at line 1 column 1 (at the JSON of model/config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
        ");
    }

    #[test]
    fn what_is_no_model_in_a_gguf_file_is_refused() {
        let kind = |kind: &str| GgufValue::String(kind.to_owned());
        let files = [
            tiny_model().with("general.type", kind("adapter")),
            tiny_model().with("general.type", kind("mmproj")),
            GgufFile::new().with("general.architecture", kind("llama")),
        ];
        let errors = files.map(|file| {
            let error = Architecture::of(&ModelFiles::Gguf(file.open())).unwrap_err();
            format!("{} {error}", error.code())
        });
        insta::assert_snapshot!(errors.join("\n"), @r"
        E043 expected a model, found `adapter` (at metadata key `general.type` of tiny.gguf); merge it with its model, with `llama-export-lora`, and give the result
        E043 expected a model, found `mmproj` (at metadata key `general.type` of tiny.gguf); give the file of the model that it belongs to
        E043 expected a model, found no tensors, but a vocabulary only (at its table of tensors of tiny.gguf); give a file with the model's weights
        ");
        let model = tiny_model().with("general.type", kind("model")).open();
        assert!(Architecture::of(&ModelFiles::Gguf(model)).is_ok());
    }

    /// Otherwise files would be read by another family than the one that knows them.
    #[test]
    fn no_two_families_have_one_name() {
        let types = ARCHITECTURES.iter().flat_map(|family| family.model_types);
        let gguf = ARCHITECTURES.iter().filter_map(|family| family.gguf);
        for names in [Vec::from_iter(types.copied()), Vec::from_iter(gguf)] {
            let mut unique = names.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), names.len(), "{names:?}");
        }
    }
}
