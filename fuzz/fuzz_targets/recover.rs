//! Lets libFuzzer call [`interloom_fuzz::recover`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::recover(bytes);
});
