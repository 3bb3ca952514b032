//! Pages for users name what the binaries have: every metric, every reason for a dead letter, every reason that the operator
//! gives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use stockstream_core::row::DeadReason;
use stockstream_tests::{Binary, PATIENCE, Process, repository, scratch, wait_until};

fn page(name: &str) -> String {
    std::fs::read_to_string(repository().join("docs").join(name)).unwrap()
}

fn get(address: &str, path: &str) -> anyhow::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    write!(
        connection,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut reply = String::new();
    connection.read_to_string(&mut reply)?;
    Ok(reply)
}

#[test]
fn operations_names_every_metric() {
    let data = scratch().unwrap();
    let mut command = Binary::Product.command().unwrap();
    command
        .args([
            "dev",
            "-f",
            "examples/quickstart.yaml",
            "--memory",
            "--listen",
            "127.0.0.1:0",
            "--log-format",
            "text",
            "--data-dir",
        ])
        .arg(data.path());
    let mut worker = Process::spawn(&mut command).unwrap();
    let line = worker
        .wait_for_line(PATIENCE, |line| line.contains("metrics at http://"))
        .unwrap();
    let (_, rest) = line.split_once("metrics at http://").unwrap();
    let address = rest
        .split(|character: char| character.is_whitespace())
        .next()
        .unwrap();

    // The shards' metrics are there once a shard was taken.
    let metrics = wait_until("the shards' metrics", PATIENCE, || {
        let reply = get(address, "/metrics")?;
        Ok(reply.contains("stockstream_shard_epoch{").then_some(reply))
    });
    let page = page("operations.md");
    let mut families = 0;
    for line in metrics.unwrap().lines() {
        let Some(family) = line.strip_prefix("# TYPE ") else {
            continue;
        };
        let (name, kind) = family.split_once(' ').unwrap();
        let exposed = match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        families += 1;
        assert!(
            page.contains(&format!("`{exposed}`")) || page.contains(&format!("`{exposed}{{")),
            "docs/operations.md doesn't name {exposed} ({family})"
        );
    }
    assert!(families > 25, "{families} metrics");
    worker.kill().unwrap();
}

#[test]
fn exactly_once_names_every_reason_for_a_dead_letter() {
    let page = page("exactly-once.md");
    for reason in DeadReason::ALL {
        assert!(
            page.contains(&format!("`{}`", reason.label())),
            "docs/exactly-once.md doesn't name {reason}"
        );
    }
}

/// What is given as a reason somewhere in `operator/src`, by what it is given to.
#[test]
fn kubernetes_names_every_reason_of_the_operator() {
    let mut reasons = BTreeSet::new();
    reasons_below(&repository().join("operator/src"), &mut reasons);
    // Fewer: the sources are written otherwise now, and `reasons_of` doesn't see them any more.
    assert!(reasons.len() >= 45, "{}: {reasons:?}", reasons.len());

    let page = page("kubernetes.md");
    let (_, section) = page
        .split_once("\n## Troubleshooting by condition\n")
        .unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows: Vec<&str> = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .collect();
    for reason in reasons {
        let quoted = format!("`{reason}`");
        assert!(
            rows.iter().any(|row| row.contains(&quoted)),
            "docs/kubernetes.md, Troubleshooting by condition, has no row for {reason}"
        );
    }
}

fn reasons_below(folder: &Path, reasons: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            reasons_below(&path, reasons);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = std::fs::read_to_string(&path).unwrap();
            let product = text.split("#[cfg(test)]").next().unwrap();
            reasons.extend(
                reasons_of(product)
                    .into_iter()
                    .filter(|word| is_reason(word)),
            );
        }
    }
}

/// Words that may be reasons.
fn reasons_of(source: &str) -> Vec<String> {
    const CALLS: [&str; 5] = [
        "Standing::new(",
        "Verdict::new(",
        " verdict(",
        "refused(",
        "warning(",
    ];
    let mut found = Vec::new();
    for call in CALLS {
        for arguments in source.split(call).skip(1) {
            found.extend(literals(arguments));
        }
    }
    // A reason and what is said with it: `("StreamCreated", format!(…))`.
    for inner in source.split('(').skip(1) {
        let Some(rest) = inner.trim_start().strip_prefix('"') else {
            continue;
        };
        let Some((word, rest)) = rest.split_once('"') else {
            continue;
        };
        let said = rest.trim_start().strip_prefix(',').map(str::trim_start);
        if said.is_some_and(|said| said.starts_with("format!") || said.starts_with('"')) {
            found.push(word.to_owned());
        }
    }
    // `const INVALID: &str = "InvalidSpec"`.
    for constant in source.split("&str = \"").skip(1) {
        found.extend(constant.split('"').next().map(str::to_owned));
    }
    found
}

/// The string literals up to the end of a call's arguments.
fn literals(arguments: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = 0;
    let mut characters = arguments.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                let mut literal = String::new();
                while let Some(inner) = characters.next() {
                    match inner {
                        '"' => break,
                        '\\' => literal.extend(characters.next()),
                        inner => literal.push(inner),
                    }
                }
                found.push(literal);
            }
            '(' => open += 1,
            ')' if open == 0 => break,
            ')' => open -= 1,
            _ => {}
        }
    }
    found
}

/// One word in CamelCase that is neither a condition's type nor its status.
fn is_reason(word: &str) -> bool {
    const OTHERS: [&str; 12] = [
        "True",
        "False",
        "Unknown",
        "Ready",
        "Reconciling",
        "Stalled",
        "StreamReady",
        "CatalogReady",
        "StorageReady",
        "WorkersAvailable",
        "ShardCoverage",
        "KeyedByTicker",
    ];
    let mut characters = word.chars();
    characters
        .next()
        .is_some_and(|first| first.is_ascii_uppercase())
        && characters
            .next()
            .is_some_and(|second| second.is_ascii_lowercase())
        && characters.all(|other| other.is_ascii_alphanumeric())
        && !OTHERS.contains(&word)
}
