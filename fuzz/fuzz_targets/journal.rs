//! Lets libFuzzer call [`interloom_fuzz::journal`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::journal(bytes);
});
