//! docs/local-kinesis.md: its blocks run as they stand, but for the port, against a server that they start; and what
//! it says is served is what is served.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use stockstream_local::api::Operation;
use stockstream_tests::{Binary, PATIENCE, Process, repository, scratch};

/// The port that the page says.
const SHOWN: &str = "127.0.0.1:4567";

fn page() -> String {
    std::fs::read_to_string(repository().join("docs/local-kinesis.md")).unwrap()
}

/// The blocks of a language, in order.
fn blocks(language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let page = page();
    let found = page.split(&fence).skip(1);
    found
        .map(|rest| rest.split("```").next().unwrap_or_default().to_owned())
        .collect()
}

/// Starts the server with a line of the page's first block, on a free port; returns its address.
fn start(line: &str, more: &[&str], directory: &Path) -> (Process, String) {
    let line = line
        .split('#')
        .next()
        .unwrap()
        .replace(SHOWN, "127.0.0.1:0");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..2], ["stockstream", "kinesis"], "{line}");
    let mut command = Binary::Product.command().unwrap();
    command.args(&words[1..]).args(more).current_dir(directory);
    let mut server = Process::spawn(&mut command).unwrap();
    let greeting = server
        .wait_for_line(PATIENCE, |line| line.contains("http://"))
        .unwrap();
    let (_, rest) = greeting.split_once("http://").unwrap();
    let address = rest.split_whitespace().next().unwrap().to_owned();
    (server, address)
}

/// Ctrl-C, which it obeys with exit code 0.
fn stop(mut server: Process) {
    server.signal(Signal::INT).unwrap();
    server.wait(PATIENCE).unwrap().success().unwrap();
}

/// Runs commands in a shell that has the AWS CLI and boto3, with the server's address for the page's.
fn run(program: &str, flags: &[&str], text: &str, environment: &str, address: &str) -> String {
    let python = std::env::var("STOCKSTREAM_PYTHON").unwrap();
    let tools = Path::new(&python).parent().unwrap();
    let text = text.replace(SHOWN, address);
    let script = format!("{environment}\nexec {program} {} \"$1\"", flags.join(" "));
    let mut command = Command::new("bash");
    command
        .args([
            "-euo",
            "pipefail",
            "-c",
            &script.replace(SHOWN, address),
            "run",
            &text,
        ])
        .env(
            "PATH",
            format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()),
        );
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    let finished = Process::spawn(&mut command)
        .unwrap()
        .wait(PATIENCE)
        .unwrap();
    finished.success().unwrap().stdout
}

#[test]
fn the_page_names_every_operation() {
    let page = page();
    for operation in Operation::ALL {
        assert!(
            page.contains(operation.name()),
            "docs/local-kinesis.md doesn't name {operation}"
        );
    }
}

#[test]
fn each_way_to_start_it_serves_the_clients_shown() {
    let directory = scratch().unwrap();
    let shell = blocks("sh");
    let (starts, clients) = (&shell[0], &shell[1]);
    let lines: Vec<&str> = starts.lines().collect();
    assert_eq!(lines.len(), 2, "durable and in memory: {starts}");
    // What the clients need is what the shell block exports.
    let exports: String = clients
        .lines()
        .filter(|line| line.starts_with("export"))
        .map(|line| format!("{line}\n"))
        .collect();
    let python = &blocks("python")[0];
    for line in lines {
        let (server, address) = start(line, &[], directory.path());
        let listed = run("bash", &["-euc"], clients, "", &address);
        assert!(listed.contains("shardId-000000000001"), "{line}: {listed}");
        run("python", &["-c"], python, &exports, &address);
        stop(server);
    }
}

#[test]
fn the_faults_shown_are_taken_at_the_start_and_at_run_time() {
    let directory = scratch().unwrap();
    std::fs::write(directory.path().join("faults.json"), &blocks("json")[0]).unwrap();
    let starts = &blocks("sh")[0];
    let line = starts
        .lines()
        .find(|line| line.contains("--memory"))
        .unwrap();
    let (server, address) = start(line, &["--faults", "faults.json"], directory.path());
    let show = format!("curl --fail --silent --show-error http://{address}/_stockstream/faults");
    let before = run("bash", &["-euc"], &show, "", &address);
    assert!(before.contains("InternalFailureException"), "{before}");
    let replace = blocks("sh")[2].replace("curl ", "curl --fail --silent --show-error ");
    run("bash", &["-euc"], &replace, "", &address);
    let after = run("bash", &["-euc"], &show, "", &address);
    assert!(
        after.contains("expire_iterator") && !after.contains("InternalFailureException"),
        "{after}"
    );
    stop(server);
}
