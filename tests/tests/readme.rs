//! The README's commands, run as they stand, one after the other, in a fresh copy of the tree.
//!
//! The block `make test` is left out: it is what runs this test. What that command does is what you are looking at.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use stockstream_tests::{Binary, PATIENCE, Process, repository, scratch};

/// Every block of the README in its order: how it begins, and what must be in its output.
const BLOCKS: [(&str, &[&str]); 5] = [
    (
        "make demo",
        &[
            "3,610 from 5 tickers",
            "late ticks    0",
            "dead letters  0",
            "Look next:",
        ],
    ),
    (
        "make rows",
        &["avg_close", " rows in all", "shardId-000000000000"],
    ),
    ("bin/stockstream worker", &["1,090 in 5 Parquet files"]),
    ("bin/stockstream validate", &["is valid"]),
    ("make test", &[]),
];

/// For a block: the demo takes 40 s, and may have to compile this project's crates.
const LONGEST: Duration = Duration::from_secs(900);

fn blocks(language: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let fence = format!("```{language}\n");
    readme
        .split(&fence)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default().to_owned())
        .collect()
}

/// Copies what is in version control, or would be. Times are kept, so that cargo sees what it has built already.
fn copy_tree(to: &Path) {
    let mut list = Command::new("git");
    list.current_dir(repository()).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let listed = Process::spawn(&mut list).unwrap().wait(PATIENCE).unwrap();
    for name in listed.success().unwrap().stdout.split_terminator('\0') {
        let from = repository().join(name);
        // Removed but not committed yet.
        if !from.exists() {
            continue;
        }
        let target = to.join(name);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&from, &target).unwrap();
        let modified = from.metadata().unwrap().modified().unwrap();
        File::options()
            .append(true)
            .open(&target)
            .unwrap()
            .set_modified(modified)
            .unwrap();
    }
}

/// As a user's shell: without what cargo and make tell their children.
fn shell(block: &str, directory: &Path) -> Command {
    const TOLD: [&str; 6] = [
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_CRATE_",
        "CARGO_BIN_",
        "MAKE",
        "STOCKSTREAM_BIN",
    ];
    const EXACTLY: [&str; 4] = ["CARGO", "MFLAGS", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH"];
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", block])
        .current_dir(directory);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if TOLD.iter().any(|start| name.starts_with(start)) || EXACTLY.contains(&name.as_str()) {
            command.env_remove(name);
        }
    }
    command
}

#[test]
fn every_command_does_what_it_says() {
    // Fails with a message that names `make test` when nothing was built.
    Binary::Product.path().unwrap();
    let found = blocks("bash");
    let begin: Vec<&str> = BLOCKS.iter().map(|(begin, _)| *begin).collect();
    assert!(
        found.len() == begin.len()
            && found
                .iter()
                .zip(&begin)
                .all(|(block, begin)| block.starts_with(begin)),
        "the README has the blocks {found:#?}; this test knows {begin:?}: bring them together"
    );

    let tree = scratch().unwrap();
    copy_tree(tree.path());
    for (block, (begin, expected)) in found.iter().zip(BLOCKS) {
        if begin == "make test" {
            continue;
        }
        let process = Process::spawn_group(&mut shell(block, tree.path())).unwrap();
        let finished = process.wait(LONGEST).unwrap().success().unwrap();
        for text in expected {
            assert!(
                finished.stdout.contains(text),
                "`{block}` should print {text:?}\nstdout:\n{}\nstderr:\n{}",
                finished.stdout,
                finished.stderr
            );
        }
    }
}

#[test]
fn the_pipeline_shown_is_valid() {
    let shown = blocks("yaml");
    assert_eq!(shown.len(), 1);
    let directory = scratch().unwrap();
    let file = directory.path().join("pipeline.yaml");
    std::fs::write(&file, &shown[0]).unwrap();
    let mut command = Binary::Product.command().unwrap();
    let process = Process::spawn(command.args(["validate", "-f"]).arg(&file)).unwrap();
    let finished = process.wait(PATIENCE).unwrap().success().unwrap();
    assert!(
        finished.stdout.contains("default/stock-ticks is valid"),
        "{finished:?}"
    );
}

#[test]
fn every_page_linked_is_there() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let mut links = 0;
    for rest in readme.split("](").skip(1) {
        let link = rest.split(')').next().unwrap();
        if !link.starts_with("https://") {
            links += 1;
            assert!(
                repository().join(link).is_file(),
                "the README links to {link}, which isn't there"
            );
        }
    }
    assert!(links >= 8, "{links} links");
}
