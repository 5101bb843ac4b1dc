//! Lets libFuzzer call [`interloom_fuzz::tools`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    interloom_fuzz::tools(bytes);
});
