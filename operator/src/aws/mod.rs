//! What a pipeline needs of AWS: its stream, its table, its bucket.
//!
//! Each has a plan, which is pure and says the one next step, and an edge, which looks and takes it. Must never wait: what
//! takes AWS minutes is looked at again by a later reconcile.

pub mod calls;
pub mod count;
pub mod error;
pub mod glue;
pub mod kinesis;
pub mod storage;
pub mod stream_plan;
pub mod table_plan;

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};

/// What became of a part that AWS has: the condition that tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is as the spec says.
    pub state: State,
    /// Stable CamelCase reason.
    pub reason: &'static str,
    /// For people: what was seen, and what to do.
    pub message: String,
    /// Steps that were taken, for events: reason and message.
    pub done: Vec<(&'static str, String)>,
}

/// Whether a part is as the spec says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    Ready,
    /// It is getting there by itself: look again soon.
    Waiting,
    /// It couldn't be told or done just now: try again, ever later.
    Failing,
    /// Somebody has to do something.
    Stuck,
    /// AWS hasn't answered yet.
    Unseen,
}

impl Standing {
    /// A standing without steps.
    pub fn new(state: State, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            state,
            reason,
            message: message.into(),
            done: Vec::new(),
        }
    }
}

/// The standard AWS configuration for a region. Endpoints come from the environment, as every AWS tool has them.
pub async fn configuration(region: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts())
        .region(Region::new(region.to_owned()))
        .load()
        .await
}

/// One call takes seconds at most: a reconcile must not hang on a silent network.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(Duration::from_secs(6))
        .operation_timeout(Duration::from_secs(12))
        .build()
}
