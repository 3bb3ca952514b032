//! Runs that follow a script, not a seed: what a seed would seldom meet.
#![allow(clippy::unwrap_used, clippy::panic)]

mod stage;
mod state_lost;
mod trimmed;
