//! The seeds of the corpora, made by code: small files of every kind, most of them good.

use interloom_engine::Schedule;
use interloom_engine::scheduler::Choice;
use interloom_journal::frame::{FRAME_HEADER_BYTES, FrameKind, PREAMBLE_BYTES};
use interloom_journal::{
    DType, Digest, Event, ExchangeRecord, ExchangeResult, Experiment, Head, JournalReader,
    JournalWriter, OutcomeRecord, Policy, RunStart, SiteRef, TensorLine, ValueTree,
};
use interloom_models::files::gguf::TensorType;
use interloom_program::{Program, caught, get, given, map, module, read, tuple, var};

/// A name and bytes; names that start with `refused` or `dead` say what is to be expected.
type Seed = (&'static str, Vec<u8>);

/// Every corpus with its seeds.
pub(crate) fn all() -> [(&'static str, Vec<Seed>); 18] {
    [
        ("journal", journals()),
        ("tools", journals_for_tools()),
        ("frame", frames()),
        ("head", heads()),
        ("exchange", exchanges()),
        ("open", journals_to_look_at()),
        ("recover", journals_to_recover()),
        ("divergence", pairs()),
        ("gguf", ggufs()),
        ("safetensors", safetensors()),
        ("config", configs()),
        ("engine", scripts()),
        ("laws", cases()),
        ("schedule", schedules()),
        ("program", programs()),
        ("experiment", experiments()),
        ("arguments", arguments()),
        ("canary", canaries()),
    ]
}

/// A journal with every kind of record.
const GOLDEN: &[u8] = include_bytes!("../../../replay/journal/tests/golden/v1_0.ilj");

fn journals() -> Vec<Seed> {
    let mut cut = GOLDEN.to_vec();
    // Within its first run.
    cut.truncate(cut.len() / 2);
    vec![
        ("golden", GOLDEN.to_vec()),
        ("empty", small(0)),
        ("runs", small(3)),
        ("refused-cut", cut),
    ]
}

/// Fewer than there are for reading: looking at them takes longer.
fn journals_to_look_at() -> Vec<Seed> {
    let is_wanted = |seed: &Seed| matches!(seed.0, "golden" | "refused-cut");
    journals().into_iter().filter(is_wanted).collect()
}

/// With one in which an exchange gives a tensor another shape than it has; a fuzzer found it, and
/// what was exported was no file of its format.
fn journals_for_tools() -> Vec<Seed> {
    let mut seeds = journals_to_look_at();
    seeds.push(("refused-shape", with_another_shape()));
    seeds
}

fn with_another_shape() -> Vec<u8> {
    let head = Head {
        version: "0".into(),
        policy: Policy::Full,
        ..Head::new(Experiment::default())
    };
    let mut bytes = Vec::new();
    let mut writer = JournalWriter::new(&mut bytes, "seed", &head).unwrap();
    writer.start_run(&start(0)).unwrap();
    let digest = Digest::of_tensor(DType::U8, &[2], &[1, 2]);
    assert!(writer.tensor(&digest, DType::U8, &[2], &[1, 2]).unwrap());
    let path = writer.path("layers.0.output").unwrap();
    let tensor = ValueTree::Leaf(TensorLine {
        dtype: DType::U8,
        shape: vec![33],
        digest,
    });
    let site = SiteRef { path, iteration: 0 };
    let exchange = ExchangeRecord {
        run: 0,
        index: 0,
        mediator: 0,
        event: Event::Value,
        asked: Some(site),
        at: Some(site),
        result: ExchangeResult::Served,
        value: Some(tensor),
        reshape: false,
        round: Default::default(),
        fault: None,
        origin: None,
    };
    writer.exchange(&exchange).unwrap();
    // The end of the run is not there, so that no digest shows that the exchange was altered.
    drop(writer);
    bytes
}

fn journals_to_recover() -> Vec<Seed> {
    let mut open = small(2);
    // Without its footer and the end of its last run.
    open.truncate(open.len() * 2 / 3);
    let mut seeds = journals_to_look_at();
    seeds.push(("refused-open", open));
    seeds
}

/// Two journals, with the length of the first before them.
fn pairs() -> Vec<Seed> {
    let pair = |first: &[u8], second: &[u8]| {
        let length = (first.len() as u16).to_le_bytes();
        [&length[..], first, second].concat()
    };
    vec![
        ("same", pair(&small(1), &small(1))),
        ("shorter", pair(&small(2), &small(1))),
        ("others", pair(GOLDEN, &small(1))),
        ("refused-nothing", pair(&[], &[])),
    ]
}

fn heads() -> Vec<Seed> {
    let header = &GOLDEN[PREAMBLE_BYTES..];
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    let payload = header[FRAME_HEADER_BYTES..][..length].to_vec();
    let mut cut = payload.clone();
    cut.truncate(length / 2);
    vec![("golden", payload), ("refused-cut", cut)]
}

fn cases() -> Vec<Seed> {
    let names = ["case-0", "case-1", "case-2", "case-3", "case-4"];
    let mut state = 2;
    // Those that succeed are kept, so that the names stay true.
    let mut case = |name| loop {
        let bytes: Vec<u8> = (0..120).map(|_| next(&mut state)).collect();
        if interloom_fuzz::laws(&bytes) {
            break (name, bytes);
        }
    };
    let mut seeds: Vec<Seed> = names.into_iter().map(&mut case).collect();
    seeds.push(("refused-nothing", vec![]));
    seeds
}

fn schedules() -> Vec<Seed> {
    let choice = |(place, ready)| Choice { place, ready };
    let choices = [(0, 3), (0, 2), (2, 3), (1, 2), (1, 2), (0, 4)].map(choice);
    let text = Schedule::new(0x1234_5678_9abc_def0, choices).to_string();
    let damaged = text.replace("def0", "def1");
    vec![
        ("choices", text.into()),
        ("in-order", b"in-order".to_vec()),
        ("shuffle", b"shuffle:7".to_vec()),
        ("pct", b"pct:2:10:1".to_vec()),
        ("refused-damaged", damaged.into()),
        ("refused-word", b"backwards".to_vec()),
    ]
}

fn programs() -> Vec<Seed> {
    let body = Program::new()
        .read("layers.0.output", "x")
        .append("l", var("x") * 2.0 - f64::NAN)
        .next(1);
    let program = Program::new()
        .in_file("seed")
        .line(3)
        .list("l")
        .set("x", 1.0)
        .each(0..2, "i", body)
        .catch("e", Program::new().skip("layers.1", get("k")))
        .choose(
            caught("e"),
            Program::new().stop(),
            Program::new().barrier("b"),
        )
        .put("k", map([("a", tuple([var("x"), given("v")]))]))
        .write(
            "layers.1.output",
            module("layers.0", read("layers.1.output")),
        )
        .save("l");
    let json = serde_json::to_string(&program).unwrap();
    let packed = rmp_serde::to_vec_named(&program).unwrap();
    vec![
        (
            "refused-site",
            json.replace("layers.0.output", "layers.7.output").into(),
        ),
        ("json", json.into()),
        ("packed", packed),
        ("nothing", br#"{"steps":[]}"#.to_vec()),
        ("refused-text", b"{}".to_vec()),
    ]
}

fn arguments() -> Vec<Seed> {
    let words = |words: &str| words.replace(' ', "\0").into_bytes();
    let explore = "explore e.toml --schedules pct:2 --runs 3 --set a=b --granularity exchange --shrink --json";
    vec![
        ("explore", words(explore)),
        (
            "run",
            words("run e.toml --journal j --full --fork j@3 --schedule r=shuffle:1"),
        ),
        ("step", words("step j.ilj --help")),
        ("version", words("--version")),
        ("refused-word", words("backwards e.toml")),
        ("refused-value", words("explore e.toml --runs 0")),
    ]
}

/// A journal of runs without exchanges.
fn small(runs: u32) -> Vec<u8> {
    // Named here, so that a new version of the package makes no other corpus.
    let head = Head {
        version: "0".into(),
        ..Head::new(Experiment::default())
    };
    let mut bytes = Vec::new();
    let mut writer = JournalWriter::new(&mut bytes, "seed", &head).unwrap();
    for run in 0..runs {
        writer.start_run(&start(run)).unwrap();
        writer.path(&format!("a{run}.output")).unwrap();
        writer.end_run(OutcomeRecord::default()).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

fn start(run: u32) -> RunStart {
    RunStart {
        run,
        name: "r".into(),
        mediators: vec![],
        scheduler: "s".into(),
        declared: Default::default(),
        keeps: Vec::new(),
    }
}

/// Every step of the language, and a file with sweeps.
const PROGRAM: &str = r#"model = "induction"
[set]
n = 2
[[input]]
name = "a"
tokens = [[1, 2], [3, 4]]
[[given]]
name = "v"
tensor = "f.safetensors#t"
[report]
top = 1
[[run]]
name = "r{i}"
each = { i = "0..{n}", j = ["x"] }
barriers = { met = 1 }
[[run.invoke]]
name = "i"
input = "a"
optional = true
program = '''
cache c = both(..); h = layers.{i}[.., -1..] # comment
try { layers.0 *= 2 - -1.5e-3; skip "a b" = (h, {k: $v}) } catch e
if not (h > 0 and caught(e)) or all() { stop } else if set(h) { next 2 } else { raise "no" }
for i in [0, 2] { append(l, patch(h, [0], get(x))) }
l = []; save l, h; put x = unembed(zeros_like(h)[]); barrier met; mark 'm'; reshape input = inf
'''
"#;

fn experiments() -> Vec<Seed> {
    let shipped = include_bytes!("../../../replay/cli/experiments/patching.toml");
    let broken = PROGRAM.replace("barrier met;", "barrier;");
    vec![
        ("patching", shipped.to_vec()),
        ("every-step", PROGRAM.into()),
        ("refused-program", broken.into()),
        ("refused-text", b"hello".to_vec()),
    ]
}

fn frames() -> Vec<Seed> {
    let start = &GOLDEN[..PREAMBLE_BYTES + FRAME_HEADER_BYTES];
    // A newer minor version may use the reserved bytes; a fuzzer found that what they hold is not
    // written again.
    let mut newer = start[..PREAMBLE_BYTES].to_vec();
    (newer[10], newer[40]) = (99, 0x80);
    let crc = crc32fast::hash(&newer[..PREAMBLE_BYTES - 4]).to_le_bytes();
    newer[PREAMBLE_BYTES - 4..].copy_from_slice(&crc);
    vec![
        ("newer-minor", newer),
        ("head", start.to_vec()),
        ("preamble", start[..PREAMBLE_BYTES].to_vec()),
        ("refused-short", start[..9].to_vec()),
    ]
}

const EXCHANGES: [&str; 16] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15",
];

/// Where backward passes begin and end in the golden journal.
const TURNS: [&str; 4] = ["begin", "end", "begin-with-loss", "end-at-once"];

fn exchanges() -> Vec<Seed> {
    let mut frames = JournalReader::new(GOLDEN, "golden").unwrap().skim();
    let (mut payloads, mut turns) = (Vec::new(), Vec::new());
    while let Some(frame) = frames.next_frame().unwrap() {
        let seed = |kind| [&[kind as u8], frame.payload].concat();
        match frame.known_kind() {
            Some(kind @ FrameKind::Exchange) => payloads.push(seed(kind)),
            // Other visits end with nil.
            Some(kind @ FrameKind::Visit) if !frame.payload.ends_with(&[0xC0]) => {
                turns.push(seed(kind));
            }
            _ => {}
        }
    }
    assert_eq!(
        (payloads.len(), turns.len()),
        (EXCHANGES.len(), TURNS.len())
    );
    let mut seeds: Vec<Seed> = EXCHANGES.into_iter().zip(payloads).collect();
    seeds.extend(TURNS.into_iter().zip(turns));
    seeds.push((
        "path",
        [&[FrameKind::Path as u8, 0x92, 0x00, 0xA1][..], b"a"].concat(),
    ));
    // Of run 2, on the right, rows of three positions and one; and rows that do not differ.
    let padding =
        |rows: [u8; 2]| [&[FrameKind::Padding as u8, 0x93, 2, 1, 0x92][..], &rows].concat();
    seeds.push(("padding", padding([3, 1])));
    seeds.push(("refused-padding", padding([3, 3])));
    seeds.push(("refused-kind", vec![0x7F, 0x90]));
    seeds
}

fn safetensors() -> Vec<Seed> {
    let file = |header: &str, data: &[u8]| {
        let length = (header.len() as u64).to_le_bytes();
        [&length[..], header.as_bytes(), data].concat()
    };
    let two = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[8,12]}}"#;
    let scalar = r#"{"s":{"dtype":"F16","shape":[],"data_offsets":[0,2]}}"#;
    let gap = r#"{"s":{"dtype":"F16","shape":[],"data_offsets":[2,4]}}"#;
    vec![
        ("two", file(two, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])),
        ("scalar", file(scalar, &[0, 0x3C])),
        ("refused-gap", file(gap, &[0, 0, 0, 0x3C])),
    ]
}

fn configs() -> Vec<Seed> {
    let llama = r#"{"model_type":"llama","hidden_size":8,"intermediate_size":12,"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"vocab_size":6,"rms_norm_eps":1e-5,"rope_theta":10000.0,"max_position_embeddings":16,"tie_word_embeddings":true,"bos_token_id":1,"eos_token_id":[2,0]}"#;
    let mistral = r#"{"model_type":"mistral","hidden_size":8,"intermediate_size":12,"num_hidden_layers":2,"num_attention_heads":2,"num_key_value_heads":2,"head_dim":6,"vocab_size":9,"sliding_window":null,"rope_parameters":{"rope_type":"default","rope_theta":5e5}}"#;
    let window = mistral.replace("null", "4");
    let phi = r#"{"model_type":"phi3","hidden_size":8,"num_attention_heads":2,"original_max_position_embeddings":4,"max_position_embeddings":16,"rope_scaling":{"type":"longrope","short_factor":[1,2],"long_factor":[1,3]}}"#;
    let gemma = r#"{"model_type":"gemma3_text","num_hidden_layers":3,"sliding_window":5,"sliding_window_pattern":2,"rope_parameters":{"full_attention":{"rope_type":"yarn","factor":2.0,"rope_theta":1e6},"sliding_attention":null}}"#;
    let experts = r#"{"model_type":"qwen2_moe","num_hidden_layers":4,"num_experts":4,"decoder_sparse_step":2,"mlp_only_layers":[1],"layer_types":["full_attention","full_attention","full_attention","full_attention"]}"#;
    let falcon = r#"{"model_type":"falcon","hidden_size":32,"num_attention_heads":4,"num_kv_heads":2,"new_decoder_architecture":true,"alibi":true}"#;
    let scaled = llama.replace(
        r#""rope_theta""#,
        r#""rope_scaling":{"type":"mrope"},"rope_theta""#,
    );
    vec![
        ("llama", llama.into()),
        ("mistral", mistral.into()),
        ("window", window.into()),
        ("factors", phi.into()),
        ("nested", gemma.into()),
        ("experts", experts.into()),
        ("design", falcon.into()),
        ("refused-scaling", scaled.into()),
        ("refused-text", "not JSON".into()),
    ]
}

fn canaries() -> Vec<Seed> {
    vec![
        ("alive", b"!alive".to_vec()),
        ("dead", b"it is !dead".to_vec()),
    ]
}

/// Scripts by hand, and some that look random.
/// A fuzzer found it: one mediator leaves fewer rows than the batch has at a point that is declared
/// to be batched, and another one reads its own.
const FEWER_ROWS: &[u8] = &[
    0xa4, 0xbf, 0x82, 0xbe, 0xd3, 0xa9, 0x53, 0x1c, 0x62, 0x99, 0x99, 0x08, 0x2b, 0xea, 0x0f, 0xe2,
    0xb1, 0x25, 0x56, 0x06, 0x29, 0xc3, 0x50, 0xe0, 0xe5, 0x30, 0x03, 0xd5, 0x1f, 0xc9, 0x68, 0x37,
    0x1b, 0x12, 0x08, 0x2b, 0xea, 0x0f, 0xe2, 0xb1, 0x25, 0x56, 0x06, 0x29, 0xc3, 0x50, 0xe0, 0xe5,
    0x30, 0x03, 0xd5, 0x1f, 0xc9, 0x68, 0x37, 0x1b, 0x12, 0x3a, 0xcb, 0x2d, 0xce, 0xb0, 0xa5, 0x30,
    0x19, 0xee, 0xef, 0xda, 0x33, 0xa1, 0x44, 0x2b, 0x39, 0x89, 0xf9, 0x39, 0xe3, 0xe8, 0x30, 0x4e,
    0x45, 0xa1, 0xa4, 0x7c, 0x7f, 0x92, 0x61, 0x77, 0xa1, 0xa4, 0x77, 0x00, 0x2b, 0x63, 0x3a, 0xcb,
    0x2d, 0xce, 0xb0, 0xa5, 0x30, 0x19, 0xee, 0xef, 0xda, 0x33, 0xa1, 0x44, 0x2b, 0x39, 0x89, 0xf9,
    0x39, 0xe3, 0xe8, 0x30, 0x4e, 0x45, 0xa1, 0xa4, 0x7c, 0x7f, 0x92, 0x61, 0x77, 0xa1, 0xa4, 0x77,
    0x00, 0x2b, 0x63,
];

fn scripts() -> Vec<Seed> {
    // A model of one child, which is not called twice; then one mediator: its steps, and no rows.
    let one = |steps: &[u8]| {
        let tree = [1, 0, 0, 0, 0, 0];
        let count = [1, (steps.len() / 3) as u8];
        [&tree[..], &count, steps].concat()
    };
    let mut seeds = vec![
        ("nothing", vec![]),
        // Read the input of the child, swap its output, stop the model's run there.
        ("swap-and-stop", one(&[0, 2, 0, 0, 3, 0, 4, 3, 0, 8, 0, 0])),
        // Read the input of the child and skip it with that.
        ("skip", one(&[0, 2, 0, 7, 2, 0, 0, 3, 0])),
        // Ask for the child's input after its output, uncaught.
        ("refused-order", one(&[0, 3, 0, 0, 2, 0])),
        // Ask for an iteration that does not come.
        ("refused-iteration", one(&[0, 3, 3])),
        ("refused-fault", one(&[0, 0, 0, 9, 0, 0])),
        ("refused-fewer-rows", FEWER_ROWS.to_vec()),
    ];
    let names = [
        "random-0", "random-1", "random-2", "random-3", "random-4", "random-5",
    ];
    let mut state = 1u64;
    for name in names {
        // Those that succeed are kept, so that the names stay true.
        let bytes = loop {
            let bytes: Vec<u8> = (0..160).map(|_| next(&mut state)).collect();
            let transcript = interloom_fuzz::transcript(&bytes);
            if transcript.succeeded && transcript.exchanges.len() > 8 {
                break bytes;
            }
        };
        seeds.push((name, bytes));
    }
    seeds
}

fn next(state: &mut u64) -> u8 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 56) as u8
}

fn ggufs() -> Vec<Seed> {
    let whole = Gguf::tiny();
    let mut old = whole.clone();
    old[4] = 1;
    // The first type that is not supported, as that of a tensor.
    let mut other = Gguf::default();
    other.tensor("IQ2_XXS", &[256], 16, &[5; 66]);
    vec![
        ("tiny", whole),
        ("formats", Gguf::formats()),
        ("pieces", Gguf::pieces()),
        ("refused-format", other.bytes()),
        ("refused-version", old),
    ]
}

/// Writes a GGUF file, without a check.
#[derive(Default)]
struct Gguf {
    keys: u64,
    header: Vec<u8>,
    tensors: u64,
    infos: Vec<u8>,
    data: Vec<u8>,
}

impl Gguf {
    /// A llama of one block, with a vocabulary of eight.
    fn tiny() -> Vec<u8> {
        let mut file = Self::default();
        file.text("general.architecture", "llama");
        for (key, value) in [
            ("llama.embedding_length", 4),
            ("llama.feed_forward_length", 4),
            ("llama.block_count", 1),
            ("llama.attention.head_count", 2),
            ("llama.attention.head_count_kv", 1),
            ("llama.context_length", 16),
            ("tokenizer.ggml.bos_token_id", 0),
            ("tokenizer.ggml.eos_token_id", 0),
        ] {
            file.value(key, 4, &u32::to_le_bytes(value));
        }
        let epsilon = "llama.attention.layer_norm_rms_epsilon";
        file.value(epsilon, 6, &1e-5f32.to_le_bytes());
        file.text("tokenizer.ggml.model", "gpt2");
        file.text("tokenizer.ggml.pre", "smollm");
        let tokens = ["<end>", "a", "b", "ab", "c", "Ġ", "1", "2"];
        file.texts("tokenizer.ggml.tokens", &tokens);
        file.texts("tokenizer.ggml.merges", &["a b"]);
        let kinds = [3i32, 1, 1, 1, 1, 1, 1, 1].map(i32::to_le_bytes).concat();
        file.value(
            "tokenizer.ggml.token_type",
            9,
            &[&5u32.to_le_bytes()[..], &8u64.to_le_bytes(), &kinds].concat(),
        );
        file.tensor("token_embd.weight", &[4, 8], 0, &[1; 128]);
        file.tensor("output_norm.weight", &[4], 1, &[2; 8]);
        // One block of Q8_0: a scale and 32 numbers.
        file.tensor("blk.0.ffn_up.weight", &[32, 1], 8, &[3; 34]);
        file.bytes()
    }

    /// A vocabulary of SentencePiece, and the keys of a Gemma 2.
    fn pieces() -> Vec<u8> {
        let mut file = Self::default();
        file.text("general.architecture", "gemma2");
        for (key, value) in [
            ("gemma2.embedding_length", 4),
            ("gemma2.feed_forward_length", 4),
            ("gemma2.block_count", 3),
            ("gemma2.attention.head_count", 2),
            ("gemma2.attention.head_count_kv", 1),
            ("gemma2.context_length", 16),
            ("gemma2.attention.sliding_window", 4),
        ] {
            file.value(key, 4, &u32::to_le_bytes(value));
        }
        let epsilon = "gemma2.attention.layer_norm_rms_epsilon";
        file.value(epsilon, 6, &1e-6f32.to_le_bytes());
        file.text("tokenizer.ggml.model", "llama");
        let tokens = ["<s>", "a", "b", "ab", "c", "▁", "1", "2", "▁c", "<0x0A>"];
        file.texts("tokenizer.ggml.tokens", &tokens);
        let count = (tokens.len() as u64).to_le_bytes();
        let array = |kind: u32, items: Vec<[u8; 4]>| {
            [&kind.to_le_bytes()[..], &count, &items.concat()].concat()
        };
        let scores = (0..tokens.len()).map(|id| (-(id as f32)).to_le_bytes());
        let kinds = [3i32, 1, 1, 1, 1, 1, 1, 1, 1, 6].map(i32::to_le_bytes);
        file.value("tokenizer.ggml.scores", 9, &array(6, scores.collect()));
        file.value("tokenizer.ggml.token_type", 9, &array(5, kinds.to_vec()));
        file.value("tokenizer.ggml.bos_token_id", 4, &0u32.to_le_bytes());
        file.bytes()
    }

    /// A block of each quantised format, whose bytes count up.
    fn formats() -> Vec<u8> {
        let mut file = Self::default();
        for kind in TensorType::all().filter(|kind| kind.block_values() > 1) {
            let block: Vec<u8> = (0..kind.block_bytes()).map(|at| at as u8).collect();
            let extents = [kind.block_values() as u64];
            file.tensor(kind.name(), &extents, kind.id(), &block);
        }
        file.bytes()
    }

    fn bytes(self) -> Vec<u8> {
        let start = [&b"GGUF"[..], &3u32.to_le_bytes()].concat();
        let counts = [self.tensors.to_le_bytes(), self.keys.to_le_bytes()].concat();
        let mut bytes = [start, counts, self.header, self.infos].concat();
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(self.data);
        bytes
    }

    fn value(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.keys += 1;
        self.header.extend(string(key));
        self.header.extend(kind.to_le_bytes());
        self.header.extend(value);
    }

    fn text(&mut self, key: &str, text: &str) {
        self.value(key, 8, &string(text));
    }

    fn texts(&mut self, key: &str, texts: &[&str]) {
        let items: Vec<u8> = texts.iter().flat_map(|text| string(text)).collect();
        let count = (texts.len() as u64).to_le_bytes();
        self.value(key, 9, &[&8u32.to_le_bytes()[..], &count, &items].concat());
    }

    fn tensor(&mut self, name: &str, extents: &[u64], kind: u32, data: &[u8]) {
        self.tensors += 1;
        self.infos.extend(string(name));
        self.infos.extend((extents.len() as u32).to_le_bytes());
        self.infos
            .extend(extents.iter().flat_map(|extent| extent.to_le_bytes()));
        self.infos.extend(kind.to_le_bytes());
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self.infos.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(data);
    }
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}
