//! Lets libFuzzer call [`interloom_fuzz::config`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::config(bytes);
});
