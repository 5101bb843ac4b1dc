//! Lets libFuzzer call [`interloom_fuzz::laws`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::laws(bytes);
});
