//! What people find where a model's files should be, and what can be done with it: weights in other
//! formats, adapters, pointers in place of files, pages of a web site.

use std::path::Path;

use super::FileError;
use super::input::Input;
use super::source::{CONFIG_FILE, TOKENIZER_FILE};

/// How many bytes at the beginning of a file are looked at.
const LOOKED_AT: u64 = 256;

/// What a file should hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Content {
    Safetensors,
    Gguf,
    Json,
}

/// Something that is known by how it begins, with what to do about it.
struct Known {
    begins: &'static [&'static [u8]],
    what: &'static str,
    advice: &'static str,
}

const FETCH_ITSELF: &str = "fetch the file itself: on the hub its address has `/resolve/` where the page has `/blob/`; for a model that \
     asks for a login, log in first";
const UNPACK: &str = "unpack it, and give what is in it";
const CONVERT_STATE: &str = "convert it to safetensors: load its state dict in Python, and write that with `safetensors.torch.save_file` as \
     model.safetensors, under the names that the hub has for the weights";

const SAVE_AS_UTF_8: &str = "save it as UTF-8 without a byte order mark";

/// The byte order marks of UTF-16.
const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

const KNOWN: &[Known] = &[
    Known {
        begins: &[b"version https://git-lfs", b"version https://hawser"],
        what: "a git-lfs pointer, which is a text in place of the file",
        advice: "run `git lfs install` and then `git lfs pull` where it was cloned, or fetch the file itself",
    },
    Known {
        begins: &[b"<!doctype html", b"<html", b"<head", b"<!--"],
        what: "a web page",
        advice: FETCH_ITSELF,
    },
    Known {
        begins: &[b"<?xml"],
        what: "an XML text, with which a server says that it does not send the file",
        advice: FETCH_ITSELF,
    },
    Known {
        begins: &[
            b"entry not found",
            b"not found",
            b"404",
            b"401",
            b"403",
            b"invalid username or password",
            b"repository not found",
            b"access to model",
            b"unauthorized",
            b"{\"error\"",
        ],
        what: "the answer of a server that does not send the file",
        advice: FETCH_ITSELF,
    },
    Known {
        begins: &[b"pk\x03\x04"],
        what: "a zip archive, as which PyTorch writes its files",
        advice: "unpack it if it holds a model; if PyTorch wrote it, convert it to safetensors",
    },
    Known {
        begins: &[b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"],
        what: "a Python pickle, as PyTorch wrote its files",
        advice: CONVERT_STATE,
    },
    Known {
        begins: &[
            b"\x1f\x8b",
            b"bzh",
            b"\xfd7zxz",
            b"\x28\xb5\x2f\xfd",
            b"7z\xbc\xaf",
        ],
        what: "a packed file",
        advice: UNPACK,
    },
    Known {
        begins: &[b"\x89hdf\r\n\x1a\n"],
        what: "an HDF5 file, as TensorFlow writes them",
        advice: CONVERT_STATE,
    },
    Known {
        begins: &[b"\x93numpy"],
        what: "an array of NumPy",
        advice: CONVERT_STATE,
    },
    Known {
        begins: &[b"lmgg", b"fmgg", b"tjgg", b"algg"],
        what: "a file of GGML, which came before GGUF",
        advice: "convert the original model to GGUF with llama.cpp's `convert_hf_to_gguf.py`",
    },
];

/// Refuses a file that holds something else than its name says; what cannot be read is left to who
/// reads it.
pub(crate) fn check(path: &Path, content: Content) -> Result<(), FileError> {
    let Ok(input) = Input::open(path) else {
        return Ok(());
    };
    let length = input.length().min(LOOKED_AT);
    let found = match input.read_at(0, length) {
        Ok(bytes) => other_than(content, &bytes),
        Err(_) => None,
    };
    let Some((found, advice)) = found else {
        return Ok(());
    };
    let expected = match content {
        Content::Safetensors => "a safetensors file",
        Content::Gguf => "a GGUF file",
        Content::Json => "a JSON text",
    };
    Err(FileError::Stray {
        expected: format!("{expected} at {}", path.display()),
        found: found.to_owned(),
        advice: advice.to_owned(),
    })
}

/// Returns what a file holds that begins like this, if it is known and something else than
/// expected.
fn other_than(content: Content, bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    if bytes.is_empty() {
        let advice = "fetch it again; a download that fails may leave such a file";
        return Some(("an empty file", advice));
    }
    let text = bytes.trim_ascii_start().to_ascii_lowercase();
    let begins = |known: &&Known| known.begins.iter().any(|begin| text.starts_with(begin));
    let is_table = bytes.len() > 9 && bytes[8] == b'{' && bytes[4..8] == [0; 4];
    let is_expected = match content {
        // An object of JSON may well have a key of this name.
        Content::Json => text.first() == Some(&b'{'),
        // The length of a table of tensors may be any number.
        Content::Safetensors => is_table,
        Content::Gguf => false,
    };
    if let Some(known) = KNOWN.iter().find(begins).filter(|_| !is_expected) {
        return Some((known.what, known.advice));
    }
    match content {
        Content::Json if UTF_16.iter().any(|mark| bytes.starts_with(mark)) => {
            Some(("a text in UTF-16", SAVE_AS_UTF_8))
        }
        Content::Json if bytes.starts_with(b"\xef\xbb\xbf") => {
            Some(("a byte order mark in front of it", SAVE_AS_UTF_8))
        }
        Content::Gguf if is_table => Some((
            "a safetensors file",
            "give the folder, which must also hold config.json and tokenizer.json",
        )),
        Content::Safetensors | Content::Json if bytes.starts_with(b"GGUF") => Some((
            "a GGUF file",
            "name it .gguf, and give its path as the model",
        )),
        Content::Safetensors if bytes[0] == b'{' => {
            Some(("a JSON text", "fetch the weights themselves"))
        }
        _ => None,
    }
}

/// Weights in other formats, by how their names begin and end.
struct OtherWeights {
    begins: &'static str,
    ends: &'static str,
    what: &'static str,
    advice: Advice,
}

enum Advice {
    /// transformers reads it, with this argument; if there is one, its version 4.
    Transformers(&'static str),
    Text(&'static str),
}

const META: &str = "convert it with the script `convert_llama_weights_to_hf.py` of transformers";

/// The first that fits is meant.
const OTHER_WEIGHTS: &[OtherWeights] = &[
    OtherWeights {
        begins: "pytorch_model",
        ends: ".bin",
        what: "weights of PyTorch",
        advice: Advice::Transformers(""),
    },
    OtherWeights {
        begins: "consolidated.",
        ends: ".pth",
        what: "weights as Meta publishes them",
        advice: Advice::Text(META),
    },
    OtherWeights {
        begins: "tf_model",
        ends: ".h5",
        what: "weights of TensorFlow",
        advice: Advice::Transformers(", from_tf=True"),
    },
    OtherWeights {
        begins: "flax_model",
        ends: ".msgpack",
        what: "weights of Flax",
        advice: Advice::Transformers(", from_flax=True"),
    },
    OtherWeights {
        begins: "ggml-",
        ends: ".bin",
        what: "weights of GGML, which came before GGUF",
        advice: Advice::Text("fetch the original model, or a .gguf file of it"),
    },
    OtherWeights {
        begins: "zero_to_fp32",
        ends: ".py",
        what: "a checkpoint of DeepSpeed, whose weights are in parts",
        advice: Advice::Text(
            "put them together with the script that is there, `python zero_to_fp32.py . pytorch_model.bin`, and convert that \
             to safetensors",
        ),
    },
    OtherWeights {
        begins: "",
        ends: ".distcp",
        what: "a checkpoint of PyTorch in parts (FSDP)",
        advice: Advice::Text(
            "put them together in Python with `torch.distributed.checkpoint.format_utils.dcp_to_torch_save`, and convert that \
             to safetensors",
        ),
    },
    OtherWeights {
        begins: "",
        ends: ".bin",
        what: "weights of PyTorch",
        advice: Advice::Text(CONVERT_STATE),
    },
    OtherWeights {
        begins: "",
        ends: ".pt",
        what: "a file of PyTorch",
        advice: Advice::Text(CONVERT_STATE),
    },
    OtherWeights {
        begins: "",
        ends: ".pth",
        what: "a file of PyTorch",
        advice: Advice::Text(CONVERT_STATE),
    },
    OtherWeights {
        begins: "",
        ends: ".pkl",
        what: "a Python pickle",
        advice: Advice::Text(CONVERT_STATE),
    },
    OtherWeights {
        begins: "",
        ends: ".ckpt",
        what: "a checkpoint of training",
        advice: Advice::Text(CONVERT_STATE),
    },
    OtherWeights {
        begins: "",
        ends: ".h5",
        what: "weights of TensorFlow",
        advice: Advice::Text(CONVERT_STATE),
    },
    OtherWeights {
        begins: "",
        ends: ".msgpack",
        what: "weights of Flax",
        advice: Advice::Text(CONVERT_STATE),
    },
    OtherWeights {
        begins: "",
        ends: ".onnx",
        what: "a model of ONNX, which is a graph of operations without modules",
        advice: Advice::Text(
            "fetch the model that it was exported from, with its safetensors files",
        ),
    },
    OtherWeights {
        begins: "",
        ends: ".tflite",
        what: "a model of TensorFlow Lite, which is a graph of operations without modules",
        advice: Advice::Text(
            "fetch the model that it was exported from, with its safetensors files",
        ),
    },
    OtherWeights {
        begins: "",
        ends: ".npz",
        what: "arrays of NumPy, as MLX wrote weights",
        advice: Advice::Text("fetch the model that it was made of, with its safetensors files"),
    },
    OtherWeights {
        begins: "",
        ends: ".zip",
        what: "a zip archive",
        advice: Advice::Text(UNPACK),
    },
    OtherWeights {
        begins: "",
        ends: ".gz",
        what: "a packed file",
        advice: Advice::Text(UNPACK),
    },
    OtherWeights {
        begins: "",
        ends: ".tar",
        what: "an archive",
        advice: Advice::Text(UNPACK),
    },
    OtherWeights {
        begins: "",
        ends: ".incomplete",
        what: "a download that was not completed",
        advice: Advice::Text("fetch the model again, with all its files"),
    },
    OtherWeights {
        begins: "",
        ends: ".part",
        what: "a download that was not completed",
        advice: Advice::Text("fetch the model again, with all its files"),
    },
];

/// Returns what weights of another format a file has by its name, and what to do with it.
pub(crate) fn weights_by_name(folder: &Path, name: &str) -> Option<(String, String)> {
    let lower = name.to_ascii_lowercase();
    let fits =
        |known: &&OtherWeights| lower.starts_with(known.begins) && lower.ends_with(known.ends);
    let known = OTHER_WEIGHTS.iter().find(fits)?;
    let advice = match known.advice {
        Advice::Text(text) => text.to_owned(),
        Advice::Transformers(argument) => {
            let folder = folder.display();
            let version = if argument.is_empty() {
                ""
            } else {
                ", with transformers 4"
            };
            format!(
                "convert it to safetensors in Python{version}: `transformers.AutoModelForCausalLM.from_pretrained(\"{folder}\"{argument}).save_pretrained(\"{folder}\")`"
            )
        }
    };
    Some((format!("{name}, {}", known.what), advice))
}

/// Returns what is in a folder in place of safetensors files.
pub(crate) fn instead_of_weights(folder: &Path, names: &[String]) -> (String, String) {
    other_weights(folder, names).unwrap_or_else(|| {
        let advice = "fetch the model again, with all its files";
        ("no such file".to_owned(), advice.to_owned())
    })
}

fn other_weights(folder: &Path, names: &[String]) -> Option<(String, String)> {
    // In the order of the table, in which what is certain comes first.
    let found = OTHER_WEIGHTS.iter().find_map(|known| {
        let lower = |name: &&String| {
            let lower = name.to_ascii_lowercase();
            lower.starts_with(known.begins) && lower.ends_with(known.ends)
        };
        names.iter().find(lower)
    });
    weights_by_name(folder, found?)
}

/// What other libraries read a tokenizer from.
const OTHER_TOKENIZERS: &[&str] = &[
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "vocab.txt",
    "tekken.json",
    "tokenizer.tiktoken",
];

/// Returns what is in a folder in place of a tokenizer.json.
pub(crate) fn instead_of_tokenizer(folder: &Path, names: &[String]) -> (String, String) {
    let other = names
        .iter()
        .find(|name| OTHER_TOKENIZERS.contains(&name.as_str()) || name.ends_with(".tiktoken"));
    match other {
        Some(other) => {
            let folder = folder.display();
            let advice = format!(
                "make {TOKENIZER_FILE} of it in Python: `transformers.AutoTokenizer.from_pretrained(\"{folder}\").save_pretrained(\"{folder}\")`"
            );
            (format!("{other}, from which it can be made"), advice)
        }
        None => {
            let advice = "fetch the model again, with all its files";
            ("no such file".to_owned(), advice.to_owned())
        }
    }
}

/// Refuses a folder whose files say that its weights are not all there is to the model, or are not
/// what they seem.
pub(crate) fn check_folder(folder: &Path, names: &[String]) -> Result<(), FileError> {
    const ADAPTER: &str = "adapter_config.json";
    let has = |name: &str| names.iter().any(|other| other == name);
    if has(ADAPTER) {
        let advice = "merge it into its model in Python: `peft.AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload().save_pretrained(OTHER)`, and give \
             that folder";
        let found = "an adapter (LoRA), which changes the weights of another model";
        return Err(unsupported(
            folder,
            ADAPTER,
            "the weights of a whole model",
            found,
            advice,
        ));
    }
    let quantised = ["quantize_config.json", "quant_config.json"];
    if let Some(name) = quantised.into_iter().find(|name| has(name)) {
        let advice = "use the model that it was made of, whose weights are not quantised";
        let found = "quantised weights (GPTQ or AWQ)";
        return Err(unsupported(
            folder,
            name,
            "weights that are not quantised",
            found,
            advice,
        ));
    }
    Ok(())
}

fn unsupported(folder: &Path, name: &str, expected: &str, found: &str, advice: &str) -> FileError {
    let folder = folder.display().to_string();
    FileError::unsupported(&folder, name, expected, found, advice)
}

/// Returns what to do about a GGUF file that is one of several parts (`NAME-00001-of-00003.gguf`),
/// if it is one.
pub(crate) fn merge_parts(name: &str) -> Option<&'static str> {
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (rest, count) = name
        .to_ascii_lowercase()
        .strip_suffix(".gguf")
        .and_then(|stem| {
            let (rest, count) = stem.rsplit_once("-of-")?;
            Some((rest.to_owned(), count.to_owned()))
        })?;
    let (_, part) = rest.rsplit_once('-')?;
    let is_part = is_number(part) && is_number(&count) && count != "00001";
    is_part.then_some(
        "merge the parts with llama.cpp's `llama-gguf-split --merge FIRST-PART MERGED.gguf`, and give the merged file",
    )
}

/// Returns what is in a folder that has neither a configuration nor a GGUF file.
pub(crate) fn instead_of_model(folder: &Path, names: &[String]) -> (String, String) {
    let give = |inner: &Path| format!("give {} as the model", inner.display());
    if names.is_empty() {
        let advice = "fetch the model into it, or check the path";
        return ("an empty folder".to_owned(), advice.to_owned());
    }
    if let Some(inner) = only_inner_model(&folder.join("snapshots"))
        .filter(|_| names.iter().any(|name| name == "snapshots"))
    {
        return ("a folder of the hub's cache".to_owned(), give(&inner));
    }
    if let Some(inner) = only_inner_model(folder) {
        return ("a folder around a model's".to_owned(), give(&inner));
    }
    let has = |name: &str| names.iter().any(|other| other == name);
    if has("model_index.json") {
        let advice = "give the folder of a language model".to_owned();
        return ("a pipeline of diffusers".to_owned(), advice);
    }
    if names.iter().any(|name| name.ends_with(".safetensors")) {
        let advice = format!("fetch {CONFIG_FILE} and {TOKENIZER_FILE} of the model as well");
        return ("weights without a configuration".to_owned(), advice);
    }
    other_weights(folder, names).unwrap_or_else(|| {
        let advice = "give the path of the model's folder or of its .gguf file";
        ("neither".to_owned(), advice.to_owned())
    })
}

/// Returns the only folder inside this one that has a model's configuration.
fn only_inner_model(folder: &Path) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut models = paths.filter(|path| path.join(CONFIG_FILE).exists());
    models.next().filter(|_| models.next().is_none())
}

#[cfg(test)]
#[path = "stray_tests.rs"]
mod tests;
