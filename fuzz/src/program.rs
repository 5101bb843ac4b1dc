//! The target for programs as data.

use std::sync::{Arc, OnceLock};

use interloom_engine::array::Array;
use interloom_engine::{Port, SiteMap};
use interloom_program::{Machine, Program};

/// Reads a program in JSON, or in msgpack if it does not begin as JSON does, and takes it to a
/// machine.
///
/// # Panics
///
/// Panics if a program that was read is written and read as another one.
pub fn program(bytes: &[u8]) -> bool {
    let read: Option<Program> = match bytes.first() {
        Some(b'{') => serde_json::from_slice(bytes).ok(),
        _ => rmp_serde::from_slice(bytes).ok(),
    };
    let Some(program) = read else {
        return false;
    };
    static MAP: OnceLock<Arc<SiteMap>> = OnceLock::new();
    let map = MAP.get_or_init(|| Arc::new(map()));
    if let Err(error) = program.check(&**map) {
        assert!(!error.to_string().is_empty());
        return false;
    }
    // Whatever is accepted survives a round trip; as text, for what is not a number is equal to
    // nothing.
    let json = serde_json::to_string(&program).expect("a checked program");
    let again: Program = serde_json::from_str(&json).expect("what was written");
    assert_eq!(serde_json::to_string(&again).expect("a program"), json);
    let packed = rmp_serde::to_vec_named(&program).expect("a checked program");
    let again: Program = rmp_serde::from_slice(&packed).expect("what was written");
    assert_eq!(rmp_serde::to_vec_named(&again).expect("a program"), packed);
    let text = interloom_cli::experiment::to_text(&program);
    assert_eq!(interloom_cli::experiment::to_text(&again), text);
    Machine::<Array>::new(&program, map).expect("a checked program");
    true
}

fn map() -> SiteMap {
    let mut map = SiteMap::new();
    for path in ["", "layers.0", "layers.1", "layers.1.attn"] {
        map.add(path, &[Port::Input, Port::Output]);
    }
    map
}
