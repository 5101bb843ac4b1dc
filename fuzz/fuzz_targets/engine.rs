//! Lets libFuzzer call [`interloom_fuzz::engine`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::engine(bytes);
});
