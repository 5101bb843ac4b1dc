//! Lets libFuzzer call [`interloom_fuzz::head`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::head(bytes);
});
