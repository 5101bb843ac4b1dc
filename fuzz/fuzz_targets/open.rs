//! Lets libFuzzer call [`interloom_fuzz::open`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::open(bytes);
});
