//! A deterministic sequence of ticks with everything in it that restarts could get wrong.
//!
//! Owns what the ticks are. Event times are fixed and long past, so that nothing depends on when they are sent.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;

use super::Random;

/// The tickers; with two shards, both have several. Some are odd: Hive escapes them, or they look like a path.
pub const TICKERS: [&str; 8] = [
    "AAPL",
    "MSFT",
    "GOOG",
    "AMZN",
    "TSLA",
    "BRK/B",
    "ÄÖ €=:",
    "..",
];

/// 2024-01-02T20:00:00Z in milliseconds: windows lie on two days.
const BEGIN: i64 = 1_704_225_600_000;

/// Event time between two ticks: each ticker has about three ticks a minute.
const STEP: i64 = 2_500;

/// Event times jump back by at most this much without being late: the watermark delay is two minutes.
const DISORDER: u64 = 90_000;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The partition key.
    pub key: String,
    /// A hash key in place of the partition key's, for producers that don't keep to the contract.
    pub hash_key: Option<&'static str>,
    /// The record.
    pub data: String,
}

/// The sequence.
#[derive(Clone, Debug)]
pub struct Market {
    random: Random,
    clock: i64,
    number: u64,
}

impl Market {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Market {
            random: Random::new(seed),
            clock: BEGIN,
            number: 0,
        }
    }

    /// The next `count` ticks.
    pub fn ticks(&mut self, count: usize) -> Vec<Tick> {
        self.take(count).collect()
    }

    /// One tick a ticker, far ahead: they close every window but their own, which no run of any length closes.
    #[must_use]
    pub fn sentinels() -> Vec<Tick> {
        const AHEAD: i64 = 30 * 86_400_000;
        TICKERS
            .iter()
            .map(|ticker| Tick {
                key: (*ticker).to_owned(),
                hash_key: None,
                data: sound(ticker, BEGIN + AHEAD, 10_000, 1, 0, true),
            })
            .collect()
    }

    /// Writes `count` ticks as NDJSON into `folder`: some files hold several tickers, one is in a folder of its own.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn write_files(&mut self, folder: &Path, count: usize) -> anyhow::Result<()> {
        const NAMES: [&str; 5] = [
            "a.ndjson",
            "b.ndjson",
            "c.ndjson",
            "empty.ndjson",
            "more/d.ndjson",
        ];
        std::fs::create_dir_all(folder.join("more"))?;
        let mut files = Vec::new();
        for name in NAMES {
            let path = folder.join(name);
            let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
            files.push(BufWriter::new(file));
        }
        for tick in self.take(count) {
            let ticker = TICKERS.iter().position(|ticker| *ticker == tick.key);
            let file = [0, 1, 2, 4][ticker.unwrap_or_default() % 4];
            writeln!(files[file], "{}", tick.data)?;
        }
        for mut file in files {
            file.flush()?;
        }
        Ok(())
    }

    fn unusable(&mut self, ticker: &str) -> String {
        let (number, at) = (self.number, instant(self.clock));
        match self.random.below(8) {
            0 => format!("tick {number} isn't JSON"),
            1 => format!(r#"{{"n":{number},"ticker":"{ticker}","close":1.5}}"#),
            2 => format!(r#"{{"n":{number},"ticker":"{ticker}","timestamp":"{at}","close":null}}"#),
            3 => {
                format!(r#"{{"n":{number},"ticker":"{ticker}","timestamp":"{at}","close":"high"}}"#)
            }
            4 => format!(
                r#"{{"n":{number},"ticker":"{ticker}","timestamp":"yesterday","close":1.5}}"#
            ),
            5 => format!(r#"{{"n":{number},"ticker":"{ticker}","timestamp":"{at}","close":NaN}}"#),
            6 => format!(
                r#"{{"n":{number},"ticker":"{}","timestamp":"{at}","close":1.5}}"#,
                "A".repeat(65)
            ),
            _ => {
                format!(r#"{{"n":{number},"ticker":{number},"timestamp":"{at}","close":1.5}}"#)
            }
        }
    }
}

impl Iterator for Market {
    type Item = Tick;

    fn next(&mut self) -> Option<Tick> {
        self.number += 1;
        self.clock += STEP;
        let index = self.random.below(TICKERS.len() as u64);
        let ticker = TICKERS[usize::try_from(index).unwrap_or_default()];
        let mut tick = Tick {
            key: ticker.to_owned(),
            hash_key: None,
            data: String::new(),
        };
        if self.random.one_in(60) {
            tick.data = self.unusable(ticker);
            return Some(tick);
        }
        if self.random.one_in(200) {
            // Half of these meet their own shard by chance; the others violate the key contract.
            tick.hash_key = Some(match self.number % 2 {
                0 => "0",
                _ => "340282366920938463463374607431768211455",
            });
        }
        let back = match self.random.one_in(40) {
            true => 400_000 + self.random.below(400_000), // late
            false => self.random.below(DISORDER),
        };
        let at = self.clock - i64::try_from(back).unwrap_or_default();
        let cents = 10_000 + self.random.below(5_000);
        let volume = self.random.below(1_000);
        let dated = !self.random.one_in(10);
        tick.data = sound(ticker, at, cents, volume, self.number, dated);
        Some(tick)
    }
}

fn instant(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |at| at.to_string())
}

/// A sound tick. Prices in hundredths have no exact double: a sum in another order is another number.
fn sound(ticker: &str, at: i64, cents: u64, volume: u64, number: u64, dated: bool) -> String {
    let price = |cents: u64| format!("{}.{:02}", cents / 100, cents % 100);
    let at = instant(at);
    let date = match dated {
        true => format!(r#""date":"{}","#, at.get(..10).unwrap_or_default()),
        false => String::new(),
    };
    format!(
        r#"{{"n":{number},"ticker":"{ticker}",{date}"timestamp":"{at}","open":{},"high":{},"low":{},"close":{},"volume":{volume}}}"#,
        price(cents - 7),
        price(cents + 13),
        price(cents - 19),
        price(cents),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_whole_sequence() {
        let sequence = |seed| Market::new(seed).ticks(2_000);
        assert_eq!(sequence(7), sequence(7));
        assert_ne!(sequence(7), sequence(8));
    }
}
