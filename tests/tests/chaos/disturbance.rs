//! What can happen.

use std::time::Duration;

use serde_json::{Value, json};
use stockstream_tests::restart::Random;

/// One blow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disturbance {
    /// A worker is killed with -9; one of its name starts again later.
    Kill,
    /// A worker gets SIGTERM; another starts.
    Stop,
    /// A worker stands still for up to twice the lease's expiry (SIGSTOP, SIGCONT).
    Pause,
    /// Workers are added, up to six.
    More,
    /// Workers get SIGTERM, down to three.
    Fewer,
    /// A shard is split.
    Split,
    /// Two shards are merged.
    Merge,
    /// The stream's server is killed with -9 and starts again.
    KillStream,
    /// S3 behaves badly for one to three seconds.
    Weather(Weather),
    /// A worker is killed while S3 throttles.
    KillInBadWeather,
}

/// How S3 behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weather {
    /// Three requests in ten are answered with 503 SlowDown.
    Throttled,
    /// Replies take 0.2 to 1.5 s.
    Slow,
    /// Connections are reset before the request is carried out.
    Reset,
    /// Writes are carried out and their replies lost.
    RepliesLost,
    /// Nothing is answered but with 500.
    Gone,
}

impl Disturbance {
    pub const ALL: [Disturbance; 14] = [
        Disturbance::Kill,
        Disturbance::Stop,
        Disturbance::Pause,
        Disturbance::More,
        Disturbance::Fewer,
        Disturbance::Split,
        Disturbance::Merge,
        Disturbance::KillStream,
        Disturbance::Weather(Weather::Throttled),
        Disturbance::Weather(Weather::Slow),
        Disturbance::Weather(Weather::Reset),
        Disturbance::Weather(Weather::RepliesLost),
        Disturbance::Weather(Weather::Gone),
        Disturbance::KillInBadWeather,
    ];

    /// How soon its shards are to be read again.
    pub fn goal(self) -> Option<Duration> {
        match self {
            Disturbance::Kill => Some(Duration::from_secs(2)),
            Disturbance::Stop | Disturbance::Fewer => Some(Duration::from_secs(1)),
            Disturbance::Pause => Some(Duration::from_secs(10)),
            // No goal of the product's: from here on a run's log is worth a look.
            Disturbance::Split | Disturbance::Merge => Some(Duration::from_secs(4)),
            _ => None,
        }
    }

    /// Each once, shuffled (Fisher and Yates).
    pub fn all_in_some_order(random: &mut Random) -> Vec<Disturbance> {
        let mut all = Disturbance::ALL.to_vec();
        for last in (1..all.len()).rev() {
            let other = usize::try_from(random.below(last as u64 + 1)).unwrap_or_default();
            all.swap(last, other);
        }
        all
    }
}

impl Weather {
    /// microburst's rules for it.
    pub fn rules(self) -> Value {
        match self {
            Weather::Throttled => json!([{
                "service": "s3", "probability": 0.3,
                "error": {"code": "SlowDown", "status": 503, "message": "Please reduce your request rate."},
            }]),
            Weather::Slow => json!([{
                "service": "s3", "latency": {"min_ms": 200, "max_ms": 1500},
            }]),
            Weather::Reset => json!([{"service": "s3", "probability": 0.5, "reset": true}]),
            Weather::RepliesLost => json!([{
                "service": "s3", "operation": "PutObject", "probability": 0.5,
                "response": {"abort_bytes": 0},
            }]),
            Weather::Gone => json!([{
                "service": "s3",
                "error": {"code": "InternalError", "status": 500, "message": "We encountered an internal error."},
            }]),
        }
    }

    /// No rule.
    pub fn fair() -> Value {
        json!([])
    }
}
