//! Pages for users name what the binary has: every metric, every reason for a dead letter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::{Read, Write};
use std::net::TcpStream;

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
