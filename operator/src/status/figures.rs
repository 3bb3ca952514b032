//! Lag, watermark, shards and costs, in the form in which people read them.

use stockstream_core::cost::{HOURS_A_MONTH, LIST_PRICES};
use stockstream_crds::spec::{ShardStatus, ShardSummary, StockStreamStatus};

use super::Findings;
use crate::workers::{ReportedShard, Told};

/// Shards that are listed one by one.
const MOST_SHARDS: usize = 50;

/// Fills in what workers tell.
pub(super) fn fill(status: &mut StockStreamStatus, told: &Told) {
    let is_open = |shard: &ReportedShard| shard.phase != "Ended";
    let open = || told.shards.values().filter(|shard| is_open(shard));
    let lag = open().filter_map(|shard| shard.millis_behind_latest).max();
    status.lag = lag.map(lag_text);
    // A shard that had no tick yet has no watermark, and holds up nobody's figures.
    status.watermark = open()
        .filter_map(|shard| shard.watermark.clone())
        .min()
        .map(|watermark| whole_seconds(&watermark));
    // An owner that has published nothing yet tells nothing: what was told before stands.
    let published = told
        .shards
        .values()
        .filter_map(|shard| shard.published_through.as_deref());
    let published = published.map(whole_seconds).max();
    status.last_published_window = published.max(status.last_published_window.take());
    let count = |phases: &[&str]| {
        let shards = told.shards.values();
        let count = shards
            .filter(|shard| phases.contains(&shard.phase.as_str()))
            .count();
        i32::try_from(count).unwrap_or(i32::MAX)
    };
    status.shard_summary = Some(ShardSummary {
        total: i32::try_from(told.shards.len()).unwrap_or(i32::MAX),
        reading: count(&["Reading", "BackPressure"]),
        ended: count(&["Ended"]),
        failed: count(&["Failed"]),
    });
    status.shards = worst(told.shards.values().filter(|shard| is_open(shard)));
}

/// Those that can't go on first, then those furthest behind; listed by name.
fn worst<'a>(shards: impl Iterator<Item = &'a ReportedShard>) -> Vec<ShardStatus> {
    let mut shards: Vec<&ReportedShard> = shards.collect();
    let badness = |shard: &ReportedShard| {
        let lag = shard.millis_behind_latest.unwrap_or(0);
        (shard.phase == "Failed", lag_step(lag))
    };
    shards.sort_by(|a, b| badness(b).cmp(&badness(a)).then(a.shard.cmp(&b.shard)));
    shards.truncate(MOST_SHARDS);
    shards.sort_by(|a, b| a.shard.cmp(&b.shard));
    shards
        .into_iter()
        .map(|shard| ShardStatus {
            shard: shard.shard.clone(),
            owner: shard.owner.clone(),
            epoch: i64::try_from(shard.epoch).unwrap_or(i64::MAX),
            position: shard.position.clone(),
            lag_millis: shard
                .millis_behind_latest
                .map(|lag| i64::try_from(lag_step(lag)).unwrap_or(i64::MAX)),
            watermark: shard.watermark.as_deref().map(whole_seconds),
        })
        .collect()
}

/// A lag below a second is none to speak of, and above it two digits tell enough: else each look would be another status.
fn lag_step(millis: u64) -> u64 {
    match millis {
        0..1_000 => 0,
        millis => {
            let step = 10_u64.pow(millis.ilog10().saturating_sub(1));
            millis / step * step
        }
    }
}

fn lag_text(millis: u64) -> String {
    let seconds = lag_step(millis) / 1_000;
    match seconds {
        0 => "<1s".to_owned(),
        1..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        _ => format!("{}h", seconds / 3_600),
    }
}

fn whole_seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

/// Two digits tell enough.
pub(super) fn rounded(rate: u64) -> String {
    let step = match rate {
        0..100 => 1,
        rate => 10_u64.pow(rate.ilog10() - 1),
    };
    (rate / step * step).to_string()
}

/// The stream alone: it is what costs money while nothing happens.
pub(super) fn cost(found: &Findings<'_>) -> Option<String> {
    let (_, facts) = found.stream?;
    let facts = facts?;
    let hourly = match facts.is_on_demand {
        true => LIST_PRICES.stream_hour,
        false => LIST_PRICES.shard_hour * f64::from(facts.open_shards),
    };
    Some(format!(
        "{:.0} USD a month for the stream",
        hourly * HOURS_A_MONTH
    ))
}
