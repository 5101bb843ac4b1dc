//! The families of language models that can be loaded from files.

use burn::tensor::Device;

use crate::causal::CausalLm;
use crate::files::{FileError, ModelFiles};
use crate::{gpt2, llama};

/// Every family, in the order in which messages name them.
pub const ARCHITECTURES: &[Architecture] = &[llama::ARCHITECTURE, gpt2::ARCHITECTURE];

/// A family of language models: how its files name it, and what loads it.
#[derive(Clone, Copy, Debug)]
pub struct Architecture {
    /// The values of `model_type` in a `config.json`.
    pub model_types: &'static [&'static str],
    /// The value of `general.architecture` in a GGUF file, if the family is read from such files.
    pub gguf: Option<&'static str>,
    /// Reads the configuration, and takes every weight.
    pub load: ModelLoader,
}

/// Makes a model of its files: E042 to E046 if something is wrong with the configuration or the
/// weights.
pub type ModelLoader = fn(ModelFiles, &Device) -> Result<Box<dyn CausalLm>, FileError>;

impl Architecture {
    /// Returns the family of a model's files.
    ///
    /// # Errors
    ///
    /// E042 if the files do not say it, E043 if it is none of [`ARCHITECTURES`].
    pub fn of(files: &ModelFiles) -> Result<&'static Self, FileError> {
        let found = files.architecture()?;
        let names = |family: &Self| match files {
            ModelFiles::Gguf(_) => Vec::from_iter(family.gguf),
            ModelFiles::Folder(_) => family.model_types.to_vec(),
        };
        let is_named = |family: &&Self| names(family).contains(&found.as_str());
        let family = ARCHITECTURES.iter().find(is_named);
        family.ok_or_else(|| unknown(files, &found, ARCHITECTURES.iter().flat_map(names)))
    }
}

fn unknown(
    files: &ModelFiles,
    found: &str,
    known: impl Iterator<Item = &'static str>,
) -> FileError {
    let (file, place) = match files {
        ModelFiles::Gguf(gguf) => (
            gguf.name().to_owned(),
            "metadata key `general.architecture`",
        ),
        ModelFiles::Folder(folder) => (folder.config_file(), "key `model_type`"),
    };
    let known: Vec<String> = known.map(|name| format!("`{name}`")).collect();
    let expected = match &known[..] {
        [only] => format!("the architecture {only}"),
        several => format!("one of the architectures {}", several.join(", ")),
    };
    let advice = "use a model of such an architecture, such as smollm2-135m";
    FileError::unsupported(&file, place, expected, format!("`{found}`"), advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::gguf::GgufValue;
    use crate::files::test_files::{safetensors_bytes, tiny_model};
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
            folder(r#"{"model_type": "mistral"}"#),
        ] {
            let family = Architecture::of(&files).unwrap();
            assert_eq!(family.model_types, llama::ARCHITECTURE.model_types);
        }
    }

    #[test]
    fn files_of_no_family_are_refused() {
        let other = GgufValue::String("mistral".to_owned());
        let gguf = tiny_model().with("general.architecture", other).open();
        let errors = [
            ModelFiles::Gguf(gguf),
            folder(r#"{"model_type": "mamba"}"#),
            folder("{}"),
            folder("["),
        ]
        .map(|files| {
            let error = Architecture::of(&files).unwrap_err();
            format!("{} {error}", error.code())
        });
        insta::assert_snapshot!(errors.join("\n"), @r"
        E043 expected the architecture `llama`, found `mistral` (at metadata key `general.architecture` of tiny.gguf); use a model of such an architecture, such as smollm2-135m
        E043 expected one of the architectures `llama`, `mistral`, `gpt2`, found `mamba` (at key `model_type` of model/config.json); use a model of such an architecture, such as smollm2-135m
        E042 expected a value, found no such key (at key `model_type` of model/config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
        E042 expected a model's configuration, found EOF while parsing a list at line 1 column 1 (at the JSON of model/config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
        ");
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
