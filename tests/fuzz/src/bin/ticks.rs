//! `make fuzz TARGET=ticks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|lines: &[u8]| {
    stockstream_fuzz::ticks(lines);
    stockstream_fuzz::blocks(lines);
});
