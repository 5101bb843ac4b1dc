//! Lets libFuzzer call [`interloom_fuzz::safetensors`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::safetensors(bytes);
});
