use std::fs;

use super::super::ModelSource;
use super::super::test_files::safetensors_bytes;
use super::*;

/// A folder with files of these names and contents.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

/// The code and the message with which a model is refused, without the folder's random name.
fn refusal(folder: &tempfile::TempDir, model: &str) -> String {
    let path = match model {
        "" => folder.path().to_owned(),
        file => folder.path().join(file),
    };
    let opened = ModelSource::resolve(path.to_str().unwrap()).and_then(|source| {
        let files = source.open()?;
        files.tokenizer().map(drop)
    });
    let error = opened.unwrap_err();
    let message = error.to_string();
    let shown = folder.path().to_str().unwrap();
    format!("{} {}", error.code(), message.replace(shown, "FOLDER"))
}

const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 269060552\n";

/// In place of each file of a model, and whatever it is that is there.
#[test]
fn what_is_in_place_of_a_file_is_named() {
    let weights = safetensors_bytes(&[]);
    let good: [(&str, &[u8]); 3] = [
        ("config.json", b"{\"model_type\": \"llama\"}"),
        ("tokenizer.json", b"{}"),
        ("model.safetensors", &weights),
    ];
    let contents: [(&[u8], &str); 14] = [
        (LFS, "git lfs pull"),
        (b"<!DOCTYPE html>\n<html><head>", "a web page"),
        (b"\n <HTML lang=\"en\">", "/resolve/"),
        (b"<?xml version=\"1.0\"?><Error>", "a server"),
        (b"Entry not found", "the answer of a server"),
        (b"Invalid username or password.", "log in first"),
        (b"PK\x03\x04\0\0archive/data.pkl", "a zip archive"),
        (b"\x80\x02}q\0", "a Python pickle"),
        (b"\x1f\x8b\x08\0\0\0", "unpack it"),
        (b"\x89HDF\r\n\x1a\n\0\0", "TensorFlow"),
        (b"\x93NUMPY\x01\0", "NumPy"),
        (b"tjgg\x03\0\0\0", "came before GGUF"),
        (b"GGUF\x03\0\0\0", "a GGUF file"),
        (b"", "an empty file"),
    ];
    let index = ("model.safetensors.index.json", &b"x"[..]);
    let sharded = [good[0], good[1], index, ("m-1.safetensors", &weights)];
    let places = good.iter().map(|(name, _)| (&good[..], *name));
    for (files, name) in places.chain([(&sharded[..], index.0)]) {
        for (content, expected) in contents {
            let mut files = files.to_vec();
            files
                .iter_mut()
                .find(|(other, _)| *other == name)
                .unwrap()
                .1 = content;
            let refusal = refusal(&folder(&files), "");
            let code = refusal.starts_with("E145 expected a ");
            assert!(code && refusal.contains(expected), "{name}: {refusal}");
        }
    }
    for (content, expected) in contents
        .into_iter()
        .filter(|(content, _)| !content.starts_with(b"GGUF"))
    {
        let refusal = refusal(&folder(&[("m.gguf", content)]), "m.gguf");
        assert!(
            refusal.starts_with("E145 ") && refusal.contains(expected),
            "{refusal}"
        );
    }
    let refusal = refusal(&folder(&[("m.gguf", &weights)]), "m.gguf");
    assert!(refusal.contains("found a safetensors file"), "{refusal}");
}

#[test]
fn parts_of_a_gguf_file_are_to_be_merged() {
    let parts: [(&str, &[u8]); 2] = [
        ("m-00001-of-00002.gguf", b"x"),
        ("m-00002-of-00002.gguf", b"x"),
    ];
    for (files, model) in [
        (&parts[..], ""),
        (&parts[..1], ""),
        (&parts[..], parts[0].0),
    ] {
        let refusal = refusal(&folder(files), model);
        assert!(refusal.contains("llama-gguf-split --merge"), "{refusal}");
    }
    for name in [
        "m-00001-of-00001.gguf",
        "m-of-x.gguf",
        "m.gguf",
        "a-1-of-2.gguf",
    ] {
        assert_eq!(merge_parts(name), None, "{name}");
    }
}

/// Keys of a configuration may be called as servers call their errors.
#[test]
fn what_is_what_its_name_says_is_not_refused_for_how_it_begins() {
    let good = folder(&[("a.json", b"{\"error\": 1}"), ("b.json", b" [1]")]);
    for name in ["a.json", "b.json", "none.json"] {
        check(&good.path().join(name), Content::Json).unwrap();
    }
    // The length of a header may begin as a pickle does, or a packed file, or an answer.
    for length in [640_u64, 896, 1152, 1408, 0x8b1f, 0x34_30_34] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(b"{\"__metadata__\": {}}");
        bytes.resize(8 + length as usize, b' ');
        let weights = folder(&[("model.safetensors", &bytes)]);
        check(
            &weights.path().join("model.safetensors"),
            Content::Safetensors,
        )
        .unwrap();
    }
}

/// As editors on Windows write them.
#[test]
fn marks_of_byte_order_are_named() {
    let wide = |order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        "\u{feff}{}".encode_utf16().flat_map(order).collect()
    };
    for (bytes, expected) in [
        ("\u{feff}{}".as_bytes(), "a byte order mark in front of it"),
        (&wide(u16::to_le_bytes), "a text in UTF-16"),
        (&wide(u16::to_be_bytes), "a text in UTF-16"),
    ] {
        let files: [(&str, &[u8]); 3] = [
            ("config.json", bytes),
            ("tokenizer.json", b"{}"),
            ("model.safetensors", b"x"),
        ];
        let refusal = refusal(&folder(&files), "");
        let advice = "save it as UTF-8 without a byte order mark";
        let is_named = refusal.starts_with("E145 ") && refusal.ends_with(advice);
        assert!(is_named && refusal.contains(expected), "{refusal}");
    }
}

#[test]
fn weights_in_another_format_are_named_with_what_to_do() {
    let config: (&str, &[u8]) = ("config.json", b"{}");
    let with = |name: &str| {
        refusal(
            &folder(&[config, ("tokenizer.json", b"{}"), (name, b"x")]),
            "",
        )
    };
    let by_name = [
        "pytorch_model.bin",
        "pytorch_model-00001-of-00002.bin",
        "tf_model.h5",
        "flax_model.msgpack",
        "model.onnx",
        "model.pt",
        "consolidated.00.pth",
        "last.ckpt",
        "zero_to_fp32.py",
        "__0_0.distcp",
        "weights.npz",
        "model.safetensors.incomplete",
        "model.zip",
        "README.md",
    ]
    .map(|name| {
        with(name).replace(
            "E040 expected *.safetensors beside config.json in FOLDER, found ",
            "",
        )
    });
    insta::assert_snapshot!(by_name.join("\n"), @r#"
    pytorch_model.bin, weights of PyTorch; convert it to safetensors in Python: `transformers.AutoModelForCausalLM.from_pretrained("FOLDER").save_pretrained("FOLDER")`
    pytorch_model-00001-of-00002.bin, weights of PyTorch; convert it to safetensors in Python: `transformers.AutoModelForCausalLM.from_pretrained("FOLDER").save_pretrained("FOLDER")`
    tf_model.h5, weights of TensorFlow; convert it to safetensors in Python, with transformers 4: `transformers.AutoModelForCausalLM.from_pretrained("FOLDER", from_tf=True).save_pretrained("FOLDER")`
    flax_model.msgpack, weights of Flax; convert it to safetensors in Python, with transformers 4: `transformers.AutoModelForCausalLM.from_pretrained("FOLDER", from_flax=True).save_pretrained("FOLDER")`
    model.onnx, a model of ONNX, which is a graph of operations without modules; fetch the model that it was exported from, with its safetensors files
    model.pt, a file of PyTorch; convert it to safetensors: load its state dict in Python, and write that with `safetensors.torch.save_file` as model.safetensors, under the names that the hub has for the weights
    consolidated.00.pth, weights as Meta publishes them; convert it with the script `convert_llama_weights_to_hf.py` of transformers
    last.ckpt, a checkpoint of training; convert it to safetensors: load its state dict in Python, and write that with `safetensors.torch.save_file` as model.safetensors, under the names that the hub has for the weights
    zero_to_fp32.py, a checkpoint of DeepSpeed, whose weights are in parts; put them together with the script that is there, `python zero_to_fp32.py . pytorch_model.bin`, and convert that to safetensors
    __0_0.distcp, a checkpoint of PyTorch in parts (FSDP); put them together in Python with `torch.distributed.checkpoint.format_utils.dcp_to_torch_save`, and convert that to safetensors
    weights.npz, arrays of NumPy, as MLX wrote weights; fetch the model that it was made of, with its safetensors files
    model.safetensors.incomplete, a download that was not completed; fetch the model again, with all its files
    model.zip, a zip archive; unpack it, and give what is in it
    no such file; fetch the model again, with all its files
    "#);
    // Given by itself, each is refused for the same reason.
    for name in [
        "pytorch_model.bin",
        "model.onnx",
        "model.pt",
        "last.ckpt",
        "tf_model.h5",
    ] {
        let refusal = refusal(&folder(&[(name, b"x")]), name);
        assert!(
            refusal.starts_with("E043 ") && refusal.contains(&format!("found {name}, ")),
            "{refusal}"
        );
    }
}

#[test]
fn tokenizers_in_another_format_are_named_with_what_to_do() {
    let weights = safetensors_bytes(&[]);
    for name in [
        "tokenizer.model",
        "vocab.json",
        "vocab.txt",
        "tekken.json",
        "qwen.tiktoken",
    ] {
        let files: [(&str, &[u8]); 3] = [
            ("config.json", b"{}"),
            ("model.safetensors", &weights),
            (name, b"x"),
        ];
        let refusal = refusal(&folder(&files), "");
        let start =
            format!("E040 expected tokenizer.json beside config.json in FOLDER, found {name}, ");
        assert!(
            refusal.starts_with(&start) && refusal.contains("AutoTokenizer"),
            "{refusal}"
        );
    }
}

#[test]
fn folders_that_are_no_whole_model_say_what_they_are() {
    let weights = safetensors_bytes(&[]);
    let model: [(&str, &[u8]); 3] = [
        ("config.json", b"{}"),
        ("tokenizer.json", b"{}"),
        ("model.safetensors", &weights),
    ];
    let model_and = |name| [&model[..], &[(name, b"{}" as &[u8])]].concat();
    let index = br#"{"weight_map": {"a": "m-1.safetensors"}}"#;
    let refusals = [
        refusal(&folder(&[]), ""),
        refusal(
            &folder(&[
                ("adapter_config.json", b"{}"),
                ("adapter_model.safetensors", &weights),
            ]),
            "",
        ),
        refusal(&folder(&model_and("adapter_config.json")), ""),
        refusal(&folder(&model_and("quantize_config.json")), ""),
        refusal(&folder(&[("model.safetensors", &weights)]), ""),
        refusal(
            &folder(&[("blobs/1", b""), ("snapshots/ab12/config.json", b"{}")]),
            "",
        ),
        refusal(
            &folder(&[("tiny/config.json", b"{}"), ("README.md", b"")]),
            "",
        ),
        refusal(&folder(&[("model_index.json", b"{}")]), ""),
        refusal(
            &folder(&[("params.json", b"{}"), ("consolidated.00.pth", b"")]),
            "",
        ),
        refusal(&folder(&[("notes.txt", b"")]), ""),
        refusal(&folder(&[("a.gguf", b""), ("b.gguf", b"")]), ""),
        refusal(
            &folder(&[
                model[0],
                model[1],
                ("model.safetensors.index.json", index),
                ("m-2.safetensors", &weights),
            ]),
            "",
        ),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @"
    E040 expected config.json or exactly one .gguf file in FOLDER, found an empty folder; fetch the model into it, or check the path
    E043 expected the weights of a whole model, found an adapter (LoRA), which changes the weights of another model (at adapter_config.json of FOLDER); merge it into its model in Python: `peft.AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload().save_pretrained(OTHER)`, and give that folder
    E043 expected the weights of a whole model, found an adapter (LoRA), which changes the weights of another model (at adapter_config.json of FOLDER); merge it into its model in Python: `peft.AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload().save_pretrained(OTHER)`, and give that folder
    E043 expected weights that are not quantised, found quantised weights (GPTQ or AWQ) (at quantize_config.json of FOLDER); use the model that it was made of, whose weights are not quantised
    E040 expected config.json or exactly one .gguf file in FOLDER, found weights without a configuration; fetch config.json and tokenizer.json of the model as well
    E040 expected config.json or exactly one .gguf file in FOLDER, found a folder of the hub's cache; give FOLDER/snapshots/ab12 as the model
    E040 expected config.json or exactly one .gguf file in FOLDER, found a folder around a model's; give FOLDER/tiny as the model
    E040 expected config.json or exactly one .gguf file in FOLDER, found a pipeline of diffusers; give the folder of a language model
    E040 expected config.json or exactly one .gguf file in FOLDER, found consolidated.00.pth, weights as Meta publishes them; convert it with the script `convert_llama_weights_to_hf.py` of transformers
    E040 expected config.json or exactly one .gguf file in FOLDER, found neither; give the path of the model's folder or of its .gguf file
    E040 expected config.json or exactly one .gguf file in FOLDER, found 2 .gguf files: a.gguf, b.gguf; give the path of one of them
    E040 expected the shard FOLDER/m-1.safetensors that FOLDER/model.safetensors.index.json names, found nothing there; fetch this file as well
    ");
}
