//! `make fuzz TARGET=replies`.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| stockstream_fuzz::replies(body));
