//! `paths` of `tests/decoders` for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pintle_decoders::run("paths", input));
