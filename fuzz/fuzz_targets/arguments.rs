//! Lets libFuzzer call [`interloom_fuzz::arguments`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::arguments(bytes);
});
