//! The fuzz targets over their seeds, and over damages that are the same each time.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

/// What a byte is replaced by, and what is put before it.
const DAMAGES: &[u8] = b"\"\\{}[]:,.+-0e9= \n\x00\xff";

fn every_damage(target: &str, check: fn(&[u8])) {
    // Where it runs, not where it was compiled: checkouts share a cache.
    let run = std::env::var_os("CARGO_MANIFEST_DIR");
    let root = run.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let folder = root.join("seeds").join(target);
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        seeds += 1;
        check(&seed);
        for at in 0..seed.len() {
            // Each byte is left out, and meets two of the damages.
            let mut damaged = seed.clone();
            damaged.remove(at);
            check(&damaged);
            for turn in [at, at * 7 + 3] {
                let byte = DAMAGES[turn % DAMAGES.len()];
                let mut damaged = seed.clone();
                damaged[at] = byte;
                check(&damaged);
                damaged[at] = seed[at];
                damaged.insert(at, byte);
                check(&damaged);
            }
        }
    }
    assert!(seeds >= 5, "{seeds} seeds for {target}");
}

#[test]
fn ticks_are_read_alike_whatever_is_damaged() {
    every_damage("ticks", stockstream_fuzz::ticks);
}

/// A line of a template whose digits, texts and spaces are cut, too.
#[test]
fn blocks_are_read_as_lines_whatever_is_damaged() {
    every_damage("ticks", stockstream_fuzz::blocks);
}

#[test]
fn replies_are_read_alike_whatever_is_damaged() {
    every_damage("replies", stockstream_fuzz::replies);
}
