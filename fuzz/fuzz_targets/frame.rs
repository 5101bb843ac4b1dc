//! Lets libFuzzer call [`interloom_fuzz::frame`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::frame(bytes);
});
