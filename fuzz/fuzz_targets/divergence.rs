//! Lets libFuzzer call [`interloom_fuzz::divergence`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::divergence(bytes);
});
