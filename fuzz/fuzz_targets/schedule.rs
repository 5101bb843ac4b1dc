//! Lets libFuzzer call [`interloom_fuzz::schedule`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::schedule(bytes);
});
