//! The helpers themselves: lines, ends, signals, waiting.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::process::Command;
use std::time::Duration;

use stockstream_tests::{PATIENCE, Process, wait_until};

#[test]
fn an_answer_ends_the_waiting_and_a_deadline_names_what_was_missing() {
    let mut asked = 0;
    let answer = wait_until("three", Duration::from_secs(60), || {
        asked += 1;
        Ok((asked == 3).then_some(asked))
    });
    assert_eq!(answer.unwrap(), 3);

    let error = wait_until("rain", Duration::ZERO, || Ok(None::<()>)).expect_err("no rain");
    assert!(error.to_string().contains("rain"), "{error}");
}

fn shell(script: &str) -> Process {
    Process::spawn(Command::new("sh").args(["-c", script])).unwrap()
}

#[test]
fn a_line_of_either_stream_is_found_once() {
    let mut process = shell("echo one; echo two >&2; echo three; echo one; exec sleep 600");
    for line in ["three", "two", "one", "one"] {
        let found = process.wait_for_line(PATIENCE, |text| text == line);
        assert_eq!(found.unwrap(), line);
    }
    assert!(process.is_running().unwrap());
    process.kill().unwrap();
    let error = process.wait_for_line(PATIENCE, |line| line == "one");
    assert!(format!("{:?}", error.unwrap_err()).contains("it ended"));
}

#[test]
fn the_end_has_the_status_and_all_output() {
    let finished = shell("printf out; printf err >&2; exit 3")
        .wait(PATIENCE)
        .unwrap();
    assert_eq!(finished.status.code(), Some(3));
    assert_eq!(
        (finished.stdout.as_str(), finished.stderr.as_str()),
        ("out", "err")
    );
    assert!(finished.success().unwrap_err().to_string().contains("err"));
}

#[test]
fn one_that_does_not_end_is_killed_and_named() {
    let error = shell("echo busy; exec sleep 600")
        .wait(Duration::from_millis(500))
        .unwrap_err();
    assert!(format!("{error:?}").contains("sleep 600"), "{error:?}");
}

#[test]
fn a_group_ends_as_a_whole() {
    let mut process =
        Process::spawn_group(Command::new("sh").args(["-c", "sleep 600 & echo $!; wait"])).unwrap();
    let child = process.wait_for_line(PATIENCE, |_| true).unwrap();
    process.kill().unwrap();
    let stat = format!("/proc/{child}/stat");
    wait_until("the child's end", PATIENCE, || {
        // Nobody may have reaped it yet: a zombie has ended too.
        let state = std::fs::read_to_string(&stat).unwrap_or_default();
        Ok((state.is_empty() || state.contains(") Z ")).then_some(()))
    })
    .unwrap();
}
