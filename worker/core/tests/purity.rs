//! The core sees no clock, no randomness, no runtime and no network: held to it by its dependencies, by its lints and by
//! its source.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates (or their first part, before a `-`) that would let the world in.
const BANNED: &[&str] = &[
    "aws",
    "tokio",
    "async",
    "mio",
    "socket2",
    "hyper",
    "h2",
    "reqwest",
    "rustls",
    "ring",
    "object_store",
    "arrow",
    "parquet",
    "datafusion",
    "kube",
    "k8s",
    "rand",
    "rand_core",
    "getrandom",
    "fastrand",
    "uuid",
    "chrono",
    "time",
    "tempfile",
    "rustix",
    "stockstream",
    "tracing",
    "backon",
];

/// Words that name a clock, randomness, a thread, a file or a socket. None of them may stand in the core's code.
const WORDS: &[&str] = &[
    "SystemTime",
    "Instant",
    "std::thread",
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "Timestamp::now",
    "Zoned::now",
    "RandomState",
    "async fn",
    ".await",
    "unsafe ",
];

/// Dependencies of a normal build (no tests, no build scripts), as `cargo tree` resolves them.
fn dependencies() -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "-p",
            "stockstream-core",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--offline",
            "--locked",
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

fn is_banned(name: &str) -> bool {
    let first = name.split('-').next().unwrap_or(name);
    BANNED.contains(&name) || BANNED.contains(&first)
}

#[test]
fn no_dependency_lets_the_world_in() {
    let found = dependencies();
    assert!(found.contains(&"serde".to_owned()), "{found:?}");
    let banned: Vec<_> = found
        .iter()
        .filter(|name| is_banned(name) && *name != "stockstream-core")
        .collect();
    assert!(
        banned.is_empty(),
        "worker/core must not depend on {banned:?}"
    );
}

#[test]
fn the_lints_ban_clocks_threads_files_and_random_hashing() {
    let text = std::fs::read_to_string("clippy.toml").unwrap();
    for path in [
        "std::time::SystemTime::now",
        "std::time::Instant::now",
        "jiff::Timestamp::now",
        "std::thread::spawn",
        "std::fs::File",
        "std::net::TcpStream",
        "std::hash::RandomState",
        "std::collections::HashMap",
    ] {
        assert!(
            text.contains(&format!("\"{path}\"")),
            "worker/core/clippy.toml must ban {path}"
        );
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_source_names_a_clock_a_thread_a_file_or_a_socket() {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    assert!(files.len() > 10);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            let code = line.split("//").next().unwrap_or_default();
            for word in WORDS {
                assert!(
                    !code.contains(word),
                    "{}:{number} names {word}: {line}",
                    file.display()
                );
            }
        }
    }
}
