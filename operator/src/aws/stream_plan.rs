//! The next step towards a pipeline's stream.
//!
//! Owns what is made of a stream that isn't as the spec says, within Kinesis' limits. Pure: facts in, one step out; the facts
//! after it are looked at anew. Must never take a step that another one has to wait for.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use stockstream_crds::pipeline::{KinesisSettings, StreamCapacity};
use stockstream_crds::spec::Management;

/// Tag that names who a stream belongs to: `namespace/name`.
pub const OWNER_TAG: &str = "stockstream.dev/owner";
/// Tag of a stream that the operator made: the StockStream's uid.
pub const MADE_FOR_TAG: &str = "stockstream.dev/made-for";

/// UpdateShardCount: so often in a rolling day (AWS' documentation of UpdateShardCount).
pub const SCALINGS_A_DAY: usize = 10;

/// What is seen of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFacts {
    /// Its ARN.
    pub arn: String,
    /// CREATING, ACTIVE, UPDATING or DELETING.
    pub status: String,
    /// Open shards.
    pub open_shards: u32,
    /// Whether AWS scales it.
    pub is_on_demand: bool,
    /// How long it keeps records.
    pub retention_hours: i32,
    /// The key that encrypts it.
    pub key: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `namespace/name`.
    pub name: String,
    /// The StockStream's uid.
    pub uid: String,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is as the spec says.
    None,
    /// Somebody else is to make it.
    Missing,
    /// It is being made, changed or deleted.
    Wait,
    /// It isn't as the spec says, and the spec says that somebody else looks after it. It can be read all the same.
    Differs(String),
    /// It isn't as the spec says, and is another pipeline's: `namespace/name`.
    BelongsToAnother(String),
    /// Today's changes of its shards are used up: `open` of the wanted `target`.
    QuotaUsedUp {
        /// Shards that it has.
        open: u32,
        /// Shards that it shall have.
        target: u32,
    },
    /// Make it.
    Create,
    /// Say whose it is.
    Tag,
    /// Keep records for longer.
    IncreaseRetention(i32),
    /// Keep records less long.
    DecreaseRetention(i32),
    /// Encrypt it with this key.
    Encrypt(String),
    /// Scale it by hand, or let AWS.
    SetMode {
        /// Whether AWS scales it.
        on_demand: bool,
    },
    /// To this many shards: the target, or as near to it as one step may come.
    SetShards(u32),
}

/// The next step of the pipeline `owner` (`namespace/name`). `scalings`: when the operator changed the number of shards before.
pub fn next_step(
    wish: &KinesisSettings,
    owner: &str,
    found: Option<&StreamFacts>,
    scalings: &[Timestamp],
    now: Timestamp,
) -> Step {
    let is_managed = wish.management == Management::Managed;
    let Some(found) = found else {
        return if is_managed {
            Step::Create
        } else {
            Step::Missing
        };
    };
    // The status of a stream that is UPDATING is that of its shards: it is read meanwhile, and not changed.
    if found.status != "ACTIVE" {
        return Step::Wait;
    }
    if !is_managed {
        return match difference(wish, found) {
            Some(difference) => Step::Differs(difference),
            None => Step::None,
        };
    }
    let step = change(wish, found, scalings, now);
    match found.tags.get(OWNER_TAG) {
        None => Step::Tag,
        // Who reads it together with its owner, and wants nothing else, is welcome.
        Some(other) if other != owner && step != Step::None => {
            Step::BelongsToAnother(other.clone())
        }
        Some(_) => step,
    }
}

/// The next change of an active stream that may be changed.
fn change(
    wish: &KinesisSettings,
    found: &StreamFacts,
    scalings: &[Timestamp],
    now: Timestamp,
) -> Step {
    let retention = hours(wish.retention);
    if found.retention_hours < retention {
        return Step::IncreaseRetention(retention);
    }
    if found.retention_hours > retention {
        return Step::DecreaseRetention(retention);
    }
    if let Some(key) = &wish.encryption_key
        && !is_key(found.key.as_deref(), key)
    {
        return Step::Encrypt(key.clone());
    }
    match wish.capacity {
        StreamCapacity::OnDemand if !found.is_on_demand => Step::SetMode { on_demand: true },
        StreamCapacity::OnDemand => Step::None,
        StreamCapacity::Provisioned { .. } if found.is_on_demand => {
            Step::SetMode { on_demand: false }
        }
        StreamCapacity::Provisioned { shards } if shards == found.open_shards => Step::None,
        StreamCapacity::Provisioned { shards } if scalings_left(scalings, now) == 0 => {
            Step::QuotaUsedUp {
                open: found.open_shards,
                target: shards,
            }
        }
        StreamCapacity::Provisioned { shards } => {
            Step::SetShards(reachable(found.open_shards, shards))
        }
    }
}

/// As near to `target` as UpdateShardCount comes at once: at most double, at least half.
fn reachable(open: u32, target: u32) -> u32 {
    target.clamp(open.div_ceil(2).max(1), open.saturating_mul(2).max(1))
}

/// How many changes of the number of shards are left today.
pub fn scalings_left(scalings: &[Timestamp], now: Timestamp) -> usize {
    SCALINGS_A_DAY.saturating_sub(recent(scalings, now).count())
}

/// Those of the last 24 hours.
pub fn recent(scalings: &[Timestamp], now: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
    let day_ago = now
        .checked_sub(SignedDuration::from_hours(24))
        .unwrap_or(Timestamp::MIN);
    scalings.iter().copied().filter(move |at| *at > day_ago)
}

/// True when the operator made the stream for this StockStream: then it may be deleted with it.
pub fn is_ours(found: &StreamFacts, owner: &Owner) -> bool {
    found.tags.get(MADE_FOR_TAG) == Some(&owner.uid)
}

fn difference(wish: &KinesisSettings, found: &StreamFacts) -> Option<String> {
    let retention = hours(wish.retention);
    if found.retention_hours != retention {
        return Some(format!(
            "it keeps records for {} hours, spec.source.kinesis.retention says {retention}",
            found.retention_hours
        ));
    }
    match &wish.encryption_key {
        Some(key) if !is_key(found.key.as_deref(), key) => {
            Some(format!("it isn't encrypted with {key}"))
        }
        _ => None,
    }
}

/// A key is named by its id, its ARN or an alias; Kinesis gives back what it was given.
fn is_key(found: Option<&str>, wished: &str) -> bool {
    found.is_some_and(|found| {
        found == wished
            || found.ends_with(&format!(":{wished}"))
            || found.ends_with(&format!(":key/{wished}"))
            || wished.ends_with(&format!(":{found}"))
            || wished.ends_with(&format!(":key/{found}"))
    })
}

fn hours(retention: Duration) -> i32 {
    i32::try_from(retention.as_secs() / 3_600).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
