//! What users type and what they get: exit codes, messages, bad input of every kind, and what a run shows.
//!
//! Each module is one place where input can be bad: the command line and the YAML, ticks, state and output, the disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

#[path = "cli/commands.rs"]
mod commands;
#[path = "cli/disk.rs"]
mod disk;
#[path = "cli/inputs.rs"]
mod inputs;
#[path = "cli/live.rs"]
mod live;
#[path = "cli/state.rs"]
mod state;
#[path = "cli/ticks.rs"]
mod ticks;

use stockstream_tests::Finished;

/// Asserts how a command ended: its exit code, that stderr holds every text, and nothing that looks like a crash.
#[track_caller]
fn assert_ended(finished: &Finished, code: i32, texts: &[&str]) {
    let all = format!("{}\nstderr:\n{}", finished.name, finished.stderr);
    assert_eq!(finished.status.code(), Some(code), "{all}");
    for text in texts {
        assert!(finished.stderr.contains(text), "no {text:?} in: {all}");
    }
    assert!(!finished.stderr.contains("panicked"), "{all}");
}
