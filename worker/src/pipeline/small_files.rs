//! Too many small files, and what can be done about them.
//!
//! Owns the estimate of how many files a round of publishing makes, and the words, with the cost of each way out.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stockstream_core::cost::{
    HOURS_A_MONTH, LIST_PRICES, MANY_FILES, files_a_round, longer_interval,
};
use stockstream_core::row::PartitionColumn;
use stockstream_crds::duration::GoDuration;

/// How rows become files.
#[derive(Clone, Copy, Debug)]
pub struct Filing<'a> {
    /// Partition columns.
    pub partition_by: &'a [PartitionColumn],
    /// Between two rounds of publishing: `output.publishInterval`, or the window when that is longer.
    pub every: Duration,
    /// Open shards.
    pub shards: f64,
}

impl Filing<'_> {
    /// What to say of so many files in a round of publishing, over all shards; `None` when they aren't too many.
    pub fn advice(&self, files: f64) -> Option<String> {
        let times = longer_interval(files)?;
        let longer = self.every.mul_f64(times);
        let longer_hour = self.an_hour(files) / times;
        let mut text = format!(
            "about {} files are published every {}: {}. Every query opens them. More than {} are many. Publish less often: \
             output.publishInterval {} makes {}, and rows come up to {} later",
            number(files),
            go(self.every),
            self.cost(self.an_hour(files)),
            number(MANY_FILES),
            go(longer),
            self.cost(longer_hour),
            go(longer - self.every),
        );
        if self.partition_by.contains(&PartitionColumn::Ticker) {
            let fewer: Vec<&str> = self
                .partition_by
                .iter()
                .filter(|column| **column != PartitionColumn::Ticker)
                .map(|column| column.name())
                .collect();
            let files = files_a_round(false, 0.0, self.shards, 1.0);
            text.push_str(&format!(
                ". Or partition by fewer columns: output.partitionBy [{}] makes {} files in a round, {}, and a query for one \
                 ticker reads all of a day's; it needs a new state.path and output.path",
                fewer.join(", "),
                number(files),
                self.cost(self.an_hour(files)),
            ));
        }
        Some(text)
    }

    fn an_hour(&self, files: f64) -> f64 {
        files * 3_600.0 / self.every.as_secs_f64().max(1.0)
    }

    fn cost(&self, an_hour: f64) -> String {
        let dollars = an_hour * LIST_PRICES.put_thousand / 1_000.0 * HOURS_A_MONTH;
        format!(
            "{} an hour, {dollars:.2} $ a month in PUT requests",
            number(an_hour)
        )
    }
}

/// Files of the newest round of publishing of each shard of this worker.
#[derive(Debug, Default)]
pub struct FileTally {
    tally: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    files: BTreeMap<String, u64>,
    open_shards: usize,
}

impl FileTally {
    /// So many shards are open, whoever reads them.
    pub fn open_shards(&self, count: usize) {
        self.lock().open_shards = count;
    }

    /// A shard has published so many files in a round. Returns the files of a round over all shards, if those of other
    /// workers publish as many, and the number of shards.
    pub fn published(&self, shard: &str, files: u64) -> (f64, f64) {
        let mut tally = self.lock();
        tally.files.insert(shard.to_owned(), files);
        let (mine, open) = (as_f64(tally.files.len()), as_f64(tally.open_shards));
        let shards = mine.max(open);
        let all: u64 = tally.files.values().sum();
        let all = usize::try_from(all).map_or(f64::MAX, as_f64);
        (all * shards / mine, shards)
    }

    /// A shard is no longer read here.
    pub fn forget(&self, shard: &str) {
        self.lock().files.remove(shard);
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[allow(clippy::cast_precision_loss, reason = "an estimate, for people")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

fn go(duration: Duration) -> GoDuration {
    GoDuration::new(Duration::from_secs(duration.as_secs()))
}

/// A count for people: whole, with commas.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and counts are far below"
)]
pub fn number(count: f64) -> String {
    crate::observe::terminal::text::count(count.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [PartitionColumn; 2] = [PartitionColumn::Ticker, PartitionColumn::TradeDate];

    #[test]
    fn both_ways_out_are_named_with_their_cost() {
        let filing = Filing {
            partition_by: &BOTH,
            every: Duration::from_secs(60),
            shards: 4.0,
        };
        assert_eq!(filing.advice(1_000.0), None);
        let advice = filing.advice(5_000.0).unwrap_or_default();
        for part in [
            "about 5,000 files are published every 1m",
            "300,000 an hour, 1095.00 $ a month",
            "publishInterval 5m makes 60,000 an hour, 219.00 $ a month",
            "up to 4m later",
            "partitionBy [trade_date] makes 4 files in a round, 240 an hour, 0.88 $ a month",
        ] {
            assert!(advice.contains(part), "no {part:?} in {advice}");
        }
    }

    #[test]
    fn a_worker_takes_the_others_shards_to_be_like_its_own() {
        let tally = FileTally::default();
        tally.open_shards(4);
        assert_eq!(tally.published("a", 300), (1_200.0, 4.0));
        assert_eq!(tally.published("b", 100), (800.0, 4.0));
        assert_eq!(tally.published("a", 100), (400.0, 4.0));
        tally.forget("a");
        assert_eq!(tally.published("b", 50), (200.0, 4.0));
    }

    #[test]
    fn without_the_ticker_only_time_helps() {
        let filing = Filing {
            partition_by: &BOTH[1..],
            every: Duration::from_secs(60),
            shards: 2_000.0,
        };
        let advice = filing.advice(2_000.0).unwrap_or_default();
        assert!(advice.contains("publishInterval 2m"), "{advice}");
        assert!(!advice.contains("partitionBy"), "{advice}");
    }
}
