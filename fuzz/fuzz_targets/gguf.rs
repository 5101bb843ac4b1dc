//! Lets libFuzzer call [`interloom_fuzz::gguf`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::gguf(bytes);
});
