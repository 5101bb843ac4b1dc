//! Lets libFuzzer call [`interloom_fuzz::canary`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::canary(bytes);
});
