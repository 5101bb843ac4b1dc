//! Lets libFuzzer call [`interloom_fuzz::exchange`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::exchange(bytes);
});
