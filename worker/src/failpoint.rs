//! Named points at which the kill-and-restart suite ends the process or loses a reply.
//!
//! Compiled to nothing without the feature `failpoints`. With it, `STOCKSTREAM_FAILPOINTS` names what happens:
//! `POINT=ACTION[@N]`, separated by commas; `ACTION` is `kill` (SIGKILL to this process) or `lose` (the caller acts as
//! if the reply was lost), at the N-th time that the point is met (default: the first).

use std::time::Duration;

use stockstream_core::mutants::{Mutant, broken};

/// A named point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// After `pipeline.json` was created, before the output is claimed.
    AfterClaim,
    /// After `roots.json` was created, before any version.
    AfterRoots,
    /// After every root has its first version, before `started` says so.
    BeforeStarted,
    /// Before a version of a chain is sent.
    BeforeCreate,
    /// After a version was created, before its outcome is acted on.
    AfterCreate,
    /// After the version of a take was created, before it is acted on.
    DuringTake,
    /// Before the first file of a batch is written.
    BeforePublish,
    /// After some files of a batch were written, before the others.
    MidPublish,
    /// After all files of a batch were written, before any version drops the batch.
    AfterPublish,
    /// After an action's reply was lost, before the action is tried again.
    BeforeRetry,
    /// Between two deletions of old versions.
    DuringCollection,
}

impl Point {
    /// Every point.
    pub const ALL: [Point; 11] = [
        Point::AfterClaim,
        Point::AfterRoots,
        Point::BeforeStarted,
        Point::BeforeCreate,
        Point::AfterCreate,
        Point::DuringTake,
        Point::BeforePublish,
        Point::MidPublish,
        Point::AfterPublish,
        Point::BeforeRetry,
        Point::DuringCollection,
    ];

    /// The name in `STOCKSTREAM_FAILPOINTS`.
    pub fn name(self) -> &'static str {
        match self {
            Point::AfterClaim => "after_claim",
            Point::AfterRoots => "after_roots",
            Point::BeforeStarted => "before_started",
            Point::BeforeCreate => "before_create",
            Point::AfterCreate => "after_create",
            Point::DuringTake => "during_take",
            Point::BeforePublish => "before_publish",
            Point::MidPublish => "mid_publish",
            Point::AfterPublish => "after_publish",
            Point::BeforeRetry => "before_retry",
            Point::DuringCollection => "during_collection",
        }
    }
}

/// What the caller shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Go on.
    GoOn,
    /// Act as if the reply was lost.
    LoseReply,
}

/// Meets a point.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn meet(_point: Point) -> Fate {
    Fate::GoOn
}

#[cfg(feature = "failpoints")]
pub use active::meet;

/// How old a version must be before it is collected: an hour, which no request lives. The suite shortens it with
/// `STOCKSTREAM_COLLECTION_AGE_MILLISECONDS`.
pub fn collection_age() -> Duration {
    if broken(Mutant::CollectAtOnce) {
        return Duration::ZERO;
    }
    shortened(
        "STOCKSTREAM_COLLECTION_AGE_MILLISECONDS",
        Duration::from_secs(3600),
    )
}

/// Between two rounds of collection: a minute. The suite shortens it with `STOCKSTREAM_COLLECTION_EVERY_MILLISECONDS`.
pub fn collection_interval() -> Duration {
    shortened(
        "STOCKSTREAM_COLLECTION_EVERY_MILLISECONDS",
        Duration::from_secs(60),
    )
}

/// Between two rounds of making tombstones: an hour. The suite shortens it with
/// `STOCKSTREAM_TOMBSTONE_EVERY_MILLISECONDS`.
pub fn tombstone_interval() -> Duration {
    shortened(
        "STOCKSTREAM_TOMBSTONE_EVERY_MILLISECONDS",
        Duration::from_secs(3600),
    )
}

/// How long ago a shard must have ended before its chain becomes a tombstone: the stream's retention. The suite shortens
/// it with `STOCKSTREAM_TOMBSTONE_AGE_MILLISECONDS`.
pub fn tombstone_age(retention: Duration) -> Duration {
    shortened("STOCKSTREAM_TOMBSTONE_AGE_MILLISECONDS", retention)
}

#[cfg(not(feature = "failpoints"))]
fn shortened(_variable: &str, whole: Duration) -> Duration {
    crate::ambient::lapsed(whole)
}

#[cfg(feature = "failpoints")]
fn shortened(variable: &str, whole: Duration) -> Duration {
    let given = std::env::var(variable).ok();
    let millis = given.and_then(|millis| millis.parse().ok());
    millis.map_or(crate::ambient::lapsed(whole), Duration::from_millis)
}

#[cfg(feature = "failpoints")]
mod active {
    use std::collections::HashMap;
    use std::sync::{Mutex, OnceLock, PoisonError};

    use super::{Fate, Point};

    #[derive(Clone, Copy)]
    struct Rule {
        point: Point,
        kill: bool,
        at: u64,
    }

    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    static MET: Mutex<Option<HashMap<Point, u64>>> = Mutex::new(None);

    fn rules() -> &'static [Rule] {
        RULES.get_or_init(|| {
            let text = std::env::var("STOCKSTREAM_FAILPOINTS").unwrap_or_default();
            text.split(',').filter_map(parse).collect()
        })
    }

    fn parse(rule: &str) -> Option<Rule> {
        let (name, what) = rule.split_once('=')?;
        let (action, at) = what.split_once('@').unwrap_or((what, "1"));
        Some(Rule {
            point: Point::ALL.into_iter().find(|point| point.name() == name)?,
            kill: action == "kill",
            at: at.parse().ok()?,
        })
    }

    /// Meets a point.
    pub fn meet(point: Point) -> Fate {
        let met = {
            let mut counts = MET.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.get_or_insert_default().entry(point).or_default();
            *count += 1;
            *count
        };
        let rule = rules()
            .iter()
            .find(|rule| rule.point == point && rule.at == met);
        match rule {
            Some(rule) if rule.kill => {
                let _ = rustix::process::kill_process(
                    rustix::process::getpid(),
                    rustix::process::Signal::KILL,
                );
                // The signal is on its way; nothing may happen any more.
                loop {
                    std::thread::park();
                }
            }
            Some(_) => Fate::LoseReply,
            None => Fate::GoOn,
        }
    }
}
