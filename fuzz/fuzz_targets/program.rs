//! Lets libFuzzer call [`interloom_fuzz::program`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::program(bytes);
});
