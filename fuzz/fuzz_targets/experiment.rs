//! Lets libFuzzer call [`interloom_fuzz::experiment`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::experiment(bytes);
});
