//! Named points at which the kill-and-restart suite ends the process or loses a reply.
//!
//! Compiled to nothing without the feature `failpoints`. With it, `STOCKSTREAM_FAILPOINTS` names what happens:
//! `POINT=ACTION[@N]`, separated by commas; `ACTION` is `kill` (SIGKILL to this process) or `lose` (the caller acts as
//! if the reply was lost), at the N-th time that the point is met (default: the first).

/// A named point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// Before a version of a chain is sent.
    BeforeCreate,
    /// After a version was created, before its outcome is acted on.
    AfterCreate,
    /// After the version of a take was created, before it is acted on.
    DuringTake,
    /// After some files of a batch were written, before the others.
    MidPublish,
    /// After all files of a batch were written, before any version drops the batch.
    AfterPublish,
    /// Between two deletions of old versions.
    DuringCollection,
}

impl Point {
    /// Every point.
    pub const ALL: [Point; 6] = [
        Point::BeforeCreate,
        Point::AfterCreate,
        Point::DuringTake,
        Point::MidPublish,
        Point::AfterPublish,
        Point::DuringCollection,
    ];

    /// The name in `STOCKSTREAM_FAILPOINTS`.
    pub fn name(self) -> &'static str {
        match self {
            Point::BeforeCreate => "before_create",
            Point::AfterCreate => "after_create",
            Point::DuringTake => "during_take",
            Point::MidPublish => "mid_publish",
            Point::AfterPublish => "after_publish",
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

/// How old a version must be before it is collected: an hour, which no request lives; shortened only for the suite.
pub fn collection_age() -> std::time::Duration {
    const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
    #[cfg(feature = "failpoints")]
    if let Some(seconds) = std::env::var("STOCKSTREAM_COLLECTION_AGE_SECONDS")
        .ok()
        .and_then(|seconds| seconds.parse().ok())
    {
        return std::time::Duration::from_secs(seconds);
    }
    HOUR
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
