//! Models that continue no text: pairs of texts in BERT and ALBERT, images in ViT.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value as Json, json};

use crate::Place;

fn fixture(name: &str) -> PathBuf {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../backends/models/tests");
    models.join(name)
}

/// A folder with a model; `words` are in the tokenizer beside it, from token 5 on.
fn with_model(name: &str, words: &[&str]) -> Place {
    let place = Place::new();
    fs::create_dir(place.path("model")).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(fixture(name).join(file), place.path("model").join(file)).unwrap();
    }
    if !words.is_empty() {
        let path = place.path("model/tokenizer.json");
        fs::write(path, tokenizer(words).to_string()).unwrap();
    }
    place
}

fn tokenizer(words: &[&str]) -> Json {
    let special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"];
    let named = special.iter().chain(words).enumerate();
    let vocabulary: serde_json::Map<String, Json> = named
        .map(|(id, word)| ((*word).to_owned(), json!(id)))
        .collect();
    let token = |name: &str, kind: u32| json!({"SpecialToken": {"id": name, "type_id": kind}});
    let text = |name: &str, kind: u32| json!({"Sequence": {"id": name, "type_id": kind}});
    let of = |name: &str, id: u32| json!({"id": name, "ids": [id], "tokens": [name]});
    let single = [token("[CLS]", 0), text("A", 0), token("[SEP]", 0)];
    let pair = single
        .iter()
        .cloned()
        .chain([text("B", 1), token("[SEP]", 1)]);
    json!({
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": pair.collect::<Vec<_>>(),
            "special_tokens": {"[CLS]": of("[CLS]", 1), "[SEP]": of("[SEP]", 2)},
        },
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
}

fn save(place: &Place, text: &str) {
    fs::write(place.path("e.toml"), text).unwrap();
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let chunks = bytes.chunks_exact(4);
    chunks
        .map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap()))
        .collect()
}

/// The numbers of a tensor in a file.
fn stored(path: &Path, name: &str) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    floats(file.tensor(name).unwrap().data())
}

/// The rows of whole numbers in what is expected of a model.
fn whole(name: &str, key: &str) -> Vec<Vec<i64>> {
    let bytes = fs::read(fixture(name).join("expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(key).unwrap();
    let chunks = view.data().chunks_exact(8);
    let numbers = chunks.map(|chunk| i64::from_le_bytes(chunk.try_into().unwrap()));
    let numbers: Vec<i64> = numbers.collect();
    numbers
        .chunks(view.shape()[1])
        .map(<[i64]>::to_vec)
        .collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    assert!(apart.fold(0.0, f32::max) <= 1e-4 * largest);
}

/// Runs the experiment, and returns what it has saved under a name.
fn saved(place: &Place, name: &str) -> Vec<f32> {
    place.run(&["run", "e.toml", "--out", "out"]).with(0);
    stored(&place.path("out/tensors.safetensors"), name)
}

#[test]
fn types_of_tokens_are_those_of_the_file() {
    for name in ["bert", "albert"] {
        let place = with_model(&format!("families/{name}"), &["a"]);
        let fixture = format!("families/{name}");
        let tokens = whole(&fixture, "long.input_ids");
        let types = whole(&fixture, "long.token_type_ids");
        let run = "[[run]]\nname = 'r'\ninput = 'p'\nprogram = 'save logits = unembed.output'\n";
        save(
            &place,
            &format!(
                "model = 'model'\n[[input]]\nname = 'p'\ntokens = {tokens:?}\ntypes = {types:?}\n{run}"
            ),
        );
        let expected = stored(
            &self::fixture(&fixture).join("expected.safetensors"),
            "long.logits",
        );
        assert_close(&saved(&place, "r/r/logits"), &expected);
    }
}

/// In a batch, padded, and alone.
#[test]
fn the_texts_of_a_pair_have_a_type_each() {
    let place = with_model(
        "families/bert",
        &["the", "man", "went", "he", "bought", "milk"],
    );
    let inputs = "model = 'model'\n\
        [[input]]\nname = 'pair'\npair = ['the man [MASK]', '{who} bought milk']\n\
        [[input]]\nname = 'typed'\ntokens = [1, 5, 6, 4, 2, 8, 9, 10, 2]\ntypes = [0, 0, 0, 0, 0, 1, 1, 1, 1]\n\
        [[input]]\nname = 'plain'\ntokens = [1, 5, 6, 4, 2, 8, 9, 10, 2]\n\
        [[input]]\nname = 'short'\nprompt = 'the man'\n\
        [set]\nwho = 'he'\n";
    let alone = |name: &str| {
        let run = format!(
            "[[run]]\nname = '{name}'\ninput = '{name}'\nprogram = 'save l = unembed.output'\n"
        );
        save(&place, &format!("{inputs}{run}"));
        saved(&place, &format!("{name}/{name}/l"))
    };
    let pair = alone("pair");
    assert_eq!(pair, alone("typed"));
    assert_ne!(pair, alone("plain"));
    let batch = "[[run]]\nname = 'r'\n\
        [[run.invoke]]\nname = 'short'\ninput = 'short'\nprogram = 'save l = unembed.output'\n\
        [[run.invoke]]\nname = 'pair'\ninput = 'pair'\nprogram = 'save l = unembed.output'\n";
    save(&place, &format!("{inputs}{batch}"));
    assert_close(&saved(&place, "r/pair/l"), &pair);

    let ended = place.run(&["run", "e.toml", "--journal", "e.ilj", "--full"]);
    let ended = ended.with(0);
    assert!(
        ended.out.contains("0 [CLS]  1 \"the\"") || ended.out.contains("[SEP]"),
        "{}",
        ended.out
    );
    place.run(&["replay", "e.ilj"]).with(0);
    // Its rows are padded on the right, which the journal says.
    fs::remove_dir_all(place.path("model")).unwrap();
    place.run(&["replay", "e.ilj", "--mode", "serve"]).with(0);
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let bert = with_model("families/bert", &["a"]);
    let vit = with_model("vit", &[]);
    write_images(&vit);
    let of = |place: &Place, input: &str| {
        save(
            place,
            &format!(
                "model = 'model'\n[[input]]\nname = 'p'\n{input}\n[[run]]\nname = 'r'\ninput = 'p'\n"
            ),
        );
        let ended = place.run(&["run", "e.toml"]).with(1);
        ended.err.lines().next().unwrap().to_owned()
    };
    let said = [
        of(&bert, "tokens = [1, 2]\ntypes = [0]"),
        of(&bert, "tokens = [1, 2]\ntypes = [0, 2]"),
        of(&bert, "tokens = [[1], [2]]\ntypes = [0]"),
        of(&bert, "prompt = 'a'\ntypes = [0]"),
        of(&bert, "pair = ['a']"),
        of(&bert, "pixels = 'images.safetensors#long'"),
        of(&vit, "tokens = [1, 2]"),
        of(&vit, "prompt = 'a'"),
        of(&vit, "pixels = 'images.safetensors#wide'"),
        of(&vit, "pixels = 'images.safetensors#none'"),
        of(&vit, "pixels = 'none.npy'"),
    ];
    insta::assert_snapshot!(said.join("\n"), @r"
    error[E118]: e.toml:7:8: the model does not take this: types of [1] tokens; give it those of [2]
    error[E118]: e.toml:7:8: the model does not take this: a token of type 2, but the model knows 2 types; they are counted from 0
    error[E118]: e.toml:3:8: the model does not take this: types of 1 rows; give it those of 2
    error[E116]: e.toml:5:9: `types` are of `tokens` or a `tensor`, and there are none; leave them out, or write the texts as a `pair`
    error[E113]: e.toml:4:8: `pair` must be a list of two texts, found a list of 1
    error[E118]: e.toml:3:8: the model does not take this: images, but the model `model` takes tokens; give it some text
    error[E118]: e.toml:6:8: the model does not take this: tokens, but the model `model` takes images; give it pixels [3, 16, 16]
    error[E118]: e.toml:3:8: the model does not take this: a text, but the model `model` takes images; give it pixels
    error[E117]: e.toml:3:8: cannot take the tensor `images.safetensors#wide`: the model takes images [3, 16, 16] or [images, 3, 16, 16], and this is [3, 16, 17]
    error[E117]: e.toml:3:8: cannot take the tensor `images.safetensors#none`: expected a tensor `none` in images.safetensors, found no such tensor; see the file's table of tensors
    error[E117]: e.toml:3:8: cannot take the tensor `none.npy`: No such file or directory (os error 2)
    ");
}

/// Writes the images that the fixture of ViT has, and one of another size.
fn write_images(place: &Place) {
    let bytes = fs::read(fixture("vit/expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let [long, short] =
        ["long", "short"].map(|case| file.tensor(&format!("{case}.pixel_values")).unwrap());
    let wide = vec![0; 3 * 16 * 17 * 4];
    let wide = TensorView::new(Dtype::F32, vec![3, 16, 17], &wide).unwrap();
    let tensors = [("long", long), ("short", short), ("wide", wide)];
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 16, 16), }\n";
    let length = (header.len() as u16).to_le_bytes();
    let npy = [
        b"\x93NUMPY\x01\x00",
        &length[..],
        header.as_bytes(),
        tensors[1].1.data(),
    ];
    fs::write(place.path("short.npy"), npy.concat()).unwrap();
    let bytes = safetensors::serialize(tensors, None).unwrap();
    fs::write(place.path("images.safetensors"), bytes).unwrap();
}

#[test]
fn images_are_classified_looked_into_and_patched() {
    let place = with_model("vit", &[]);
    write_images(&place);
    let text = "model = 'model'\n\
        [[input]]\nname = 'two'\npixels = 'images.safetensors#long'\n\
        [[input]]\nname = 'one'\npixels = 'short.npy'\n\
        [[run]]\nname = 'plain'\ninput = 'two'\nprogram = 'save h = layers.1[0..1, 0]; save l = classifier.output'\n\
        [[run]]\nname = 'lens'\ninput = 'one'\nreport.lens = 'seen'\nreport.top = 2\nreport.answers = ['c1', 'c2']\n\
        program = 'save seen = classifier(norm(layers.1[.., 0])); save l = classifier.output'\n\
        [[run]]\nname = 'patched'\ninput = 'one'\nprogram = 'layers.1[.., 0] = $plain.h; save l = classifier.output'\n";
    save(&place, text);
    let ended = place
        .run(&[
            "run",
            "e.toml",
            "--out",
            "out",
            "--journal",
            "e.ilj",
            "--full",
        ])
        .with(0);
    let tensors = place.path("out/tensors.safetensors");
    let expected = stored(&fixture("vit/expected.safetensors"), "long.logits");
    let plain = stored(&tensors, "plain/plain/l");
    assert_close(&plain, &expected);
    let patched = stored(&tensors, "patched/patched/l");
    assert_ne!(patched, stored(&tensors, "lens/lens/l"));
    let report: Vec<&str> = ended
        .out
        .lines()
        .filter(|line| line.contains('%'))
        .collect();
    insta::assert_snapshot!(report.join("\n"), @r#"
      one   next "c4" 31.7 %, "c6" 13.2 %; "c1" 9.5 %, "c2" 12.4 %; difference -0.2654
      seen  "c6" 48.6 %, "c4" 14.0 %
    "#);
    place.run(&["replay", "e.ilj"]).with(0);
    place.run(&["replay", "e.ilj", "--mode", "serve"]).with(0);

    let message = place
        .run(&["tokens", "--model", "model", "a"])
        .error("E040", 1);
    assert!(message.contains("takes images"), "{message}");
    let sites = place.run(&["sites", "--model", "model"]).with(0).out;
    assert!(
        sites.contains("layers.2.attn.pattern.output             [1, 4, 17, 17]"),
        "{sites}"
    );
}

/// What is left in a folder is explored and replayed from there, without the images that it is of.
#[test]
fn the_images_of_a_shrunken_experiment_are_beside_it() {
    let place = with_model("vit", &[]);
    write_images(&place);
    let text = "model = 'model'\n\
        [[input]]\nname = 'two'\npixels = 'images.safetensors#long'\n\
        [[input]]\nname = 'one'\npixels = 'short.npy'\n\
        [[input]]\nname = 'unused'\npixels = 'short.npy'\n\
        [[run]]\nname = 'r'\ninput = ['two', 'one']\n\
        [[run.invoke]]\nname = 'a'\nprogram = 'save h = layers.1; norm.output *= 0.5'\n\
        [[run.invoke]]\nname = 'b'\nprogram = 'norm.output[.., 0] += 1'\n";
    save(&place, text);
    let command = ["explore", "e.toml", "--shrink", "--out", "w"];
    place.run(&command).with(1);
    for file in ["images.safetensors", "short.npy", "e.toml"] {
        fs::remove_file(place.path(file)).unwrap();
    }
    let small = fs::read_to_string(place.path("w/r.2.small.toml")).unwrap();
    for name in ["two", "one"] {
        let pixels = format!("pixels = \"r.2.small.safetensors#pixels.{name}\"");
        assert!(small.contains(&pixels), "{small}");
    }
    let images = fs::read(place.path("w/r.2.small.safetensors")).unwrap();
    let images = SafeTensors::deserialize(&images).unwrap();
    let mut names = images.names();
    names.sort_unstable();
    assert_eq!(names, ["pixels.one", "pixels.two"]);
    let original = fs::read(fixture("vit/expected.safetensors")).unwrap();
    let original = SafeTensors::deserialize(&original).unwrap();
    let long = original.tensor("long.pixel_values").unwrap();
    assert_eq!(images.tensor("pixels.two").unwrap(), long);

    let again = ["explore", "w/r.2.small.toml", "--json"];
    let again: Json = serde_json::from_str(&place.run(&again).with(1).out).unwrap();
    assert_eq!(
        again["runs"][0]["verdict"],
        "order-dependent: 2 outcomes of 2 schedules, which cover all"
    );
    for journal in ["w/r.2.small.1.ilj", "w/r.2.small.2.ilj"] {
        place.run(&["replay", journal]).with(0);
    }
}
