//! What the rows must be, worked out from the stream's log alone.
//!
//! Owns a plain reading of the design's rules (sections 2 and 4): windows, watermarks, floors, lateness, dead letters,
//! lineage of shards. Uses nothing of `stockstream-core`.
//!
//! One thing it leaves out: the advance of idle shards, which depends on when replies came. It needn't know it. An idle
//! watermark never passes the present minus the delay (its base is at most the newest arrival minus the delay, and it
//! grows with the time). So a tick whose window ends later than its arrival minus the delay is counted whatever was
//! idle, and one whose window is closed by ticks alone is late whatever was idle. The producer makes no others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use stockstream_local::Kinesis;
use stockstream_local::api::{
    GetRecordsRequest, GetShardIteratorRequest, ListShardsRequest, ShardView, StreamRef,
};
use stockstream_local::log::{StoredRecord, hash_key};

use crate::network::lock;
use crate::rows::Row;
use crate::store::Objects;
use crate::stream::STREAM;
use crate::watch::Outcome;

/// The rules' numbers, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Window size.
    pub window: i64,
    /// Watermark delay.
    pub delay: i64,
    /// How far ahead of its arrival a tick may be.
    pub max_ahead: i64,
    /// Reading begins with what arrives from the start on; else with all there is.
    pub from_start: bool,
}

/// Works the rows out.
#[derive(Debug)]
pub struct Oracle {
    log: Arc<Kinesis>,
    rules: Rules,
    roots: Option<Roots>,
    shards: BTreeMap<String, Shard>,
    windows: BTreeMap<(String, i64), Window>,
    rejects: BTreeMap<(String, String), String>,
    /// Arrival and sequence number of every record that is owed, by shard.
    owed: BTreeMap<String, Vec<(i64, String)>>,
    /// Ticks whose fate depends on what was idle: the producer made a mistake.
    doubtful: Vec<String>,
}

#[derive(Debug)]
struct Roots {
    start_millis: i64,
    shards: Vec<String>,
}

/// How far the oracle is with a shard.
#[derive(Debug)]
struct Shard {
    range: (u128, u128),
    iterator: Option<String>,
    /// Records that arrived before, in milliseconds, aren't owed.
    from: i64,
    watermark: Option<i64>,
    floors: Vec<((u128, u128), i64)>,
}

/// A window's ticks.
#[derive(Debug)]
struct Window {
    trade_date: String,
    closes: Vec<f64>,
    volume: f64,
}

impl Oracle {
    /// Knows nothing yet.
    pub fn new(log: Arc<Kinesis>, rules: Rules) -> Self {
        Oracle {
            log,
            rules,
            roots: None,
            shards: BTreeMap::new(),
            windows: BTreeMap::new(),
            rejects: BTreeMap::new(),
            owed: BTreeMap::new(),
            doubtful: Vec::new(),
        }
    }

    /// Reads what the log has. False while no worker has chosen where reading begins.
    pub fn catch_up(&mut self, objects: &Mutex<Objects>) -> bool {
        if self.roots.is_none() {
            self.roots = read_roots(&lock(objects));
        }
        if self.roots.is_none() {
            return false;
        }
        let listing = list(&self.log);
        for view in &listing {
            if !self.shards.contains_key(&view.shard_id) {
                self.begin(view, &listing);
            }
            self.read(&view.shard_id);
        }
        true
    }

    /// The end of the newest window of a ticker that ticks alone have closed, in microseconds.
    pub fn closed_through(&self, ticker: &str) -> Option<i64> {
        let hash = hash_key(ticker);
        let open = self
            .shards
            .values()
            .find(|shard| shard.iterator.is_some() && holds(shard.range, hash))?;
        open.closed_through(hash)
    }

    /// Records that are owed, by shard, in order: arrival in milliseconds, and sequence number.
    pub fn owed(&self) -> &BTreeMap<String, Vec<(i64, String)>> {
        &self.owed
    }

    /// What the output must hold once every window is closed; and what makes that doubtful.
    pub fn outcome(&self) -> (Outcome, Vec<String>) {
        let rows = self.windows.iter().map(|((ticker, start), window)| {
            let count = window.closes.len() as f64;
            let sum: f64 = window.closes.iter().sum();
            let row = Row {
                ticker: ticker.clone(),
                start: *start,
                end: start + self.rules.window,
                trade_date: window.trade_date.clone(),
                figures: vec![
                    sum / count,
                    window.closes.last().copied().unwrap_or(f64::NAN),
                    window.closes.first().copied().unwrap_or(f64::NAN),
                    count,
                    window.volume,
                    window.closes.iter().copied().fold(f64::INFINITY, f64::min),
                ],
            };
            ((ticker.clone(), *start), row)
        });
        let outcome = Outcome {
            rows: rows.collect(),
            rejects: self.rejects.clone(),
        };
        (outcome, self.doubtful.clone())
    }

    fn begin(&mut self, view: &ShardView, listing: &[ShardView]) {
        let Some(roots) = &self.roots else { return };
        let range = range(view);
        let mut shard = Shard {
            range,
            iterator: None,
            from: 0,
            watermark: None,
            floors: Vec::new(),
        };
        if roots.shards.contains(&view.shard_id) {
            if self.rules.from_start {
                shard.from = roots.start_millis;
            }
        } else {
            let before = roots
                .shards
                .iter()
                .any(|root| is_ancestor(&view.shard_id, root, listing));
            if before {
                // It was over when reading began.
                self.shards.insert(view.shard_id.clone(), shard);
                return;
            }
            let parents = parents(view)
                .into_iter()
                .filter_map(|parent| self.shards.get(&parent));
            for parent in parents {
                shard.watermark = match (shard.watermark, parent.watermark) {
                    (Some(one), Some(other)) => Some(one.min(other)),
                    (one, other) => one.or(other),
                };
                let own = parent.watermark.map(|watermark| (parent.range, watermark));
                for (range, watermark) in parent.floors.iter().copied().chain(own) {
                    let (from, to) = (range.0.max(shard.range.0), range.1.min(shard.range.1));
                    if from <= to {
                        shard.floors.push(((from, to), watermark));
                    }
                }
            }
        }
        shard.iterator = iterator(&self.log, &view.shard_id);
        self.shards.insert(view.shard_id.clone(), shard);
    }

    fn read(&mut self, id: &str) {
        loop {
            let Some(shard) = self.shards.get_mut(id) else {
                return;
            };
            let Some(iterator) = shard.iterator.take() else {
                return;
            };
            let request = GetRecordsRequest {
                shard_iterator: Some(iterator.clone()),
                ..GetRecordsRequest::default()
            };
            let found = match self.log.get_records(&request) {
                Ok(found) => found,
                Err(error) => {
                    self.doubtful
                        .push(format!("the log of {id} can't be read: {error}"));
                    return;
                }
            };
            shard.iterator = found.next_shard_iterator;
            let (from, empty) = (shard.from, found.records.is_empty());
            for record in found.records {
                if i64::try_from(record.0.arrival_millis).unwrap_or(0) >= from {
                    self.apply(id, &record.0);
                }
            }
            if empty {
                return;
            }
        }
    }

    fn apply(&mut self, id: &str, record: &StoredRecord) {
        let arrival = i64::try_from(record.arrival_millis).unwrap_or(0) * 1_000;
        let sequence = record.sequence_number.to_string();
        self.owed
            .entry(id.to_owned())
            .or_default()
            .push((arrival / 1_000, sequence.clone()));
        let Some(shard) = self.shards.get_mut(id) else {
            return;
        };
        let rejected = match Tick::parse(record.record.data()) {
            Err(reason) => Some(reason),
            Ok(tick) if !holds(shard.range, tick.hash) => Some("wrong_shard"),
            Ok(tick) if tick.at - arrival > self.rules.max_ahead => Some("ahead_of_time"),
            Ok(tick) => {
                let start = tick.at - tick.at.rem_euclid(self.rules.window);
                let end = start + self.rules.window;
                if shard
                    .closed_through(tick.hash)
                    .is_some_and(|bound| end <= bound)
                {
                    Some("late")
                } else {
                    if end <= arrival - self.rules.delay {
                        self.doubtful.push(format!(
                            "{sequence} of {id}, {} µs too old",
                            arrival - self.rules.delay - end
                        ));
                    }
                    let window = self.windows.entry((tick.ticker, start)).or_insert(Window {
                        trade_date: tick.trade_date,
                        closes: Vec::new(),
                        volume: 0.0,
                    });
                    window.closes.push(tick.close);
                    window.volume += tick.volume;
                    let seen = tick.at.min(arrival) - self.rules.delay;
                    shard.watermark = Some(shard.watermark.map_or(seen, |before| before.max(seen)));
                    None
                }
            }
        };
        if let Some(reason) = rejected {
            self.rejects
                .insert((id.to_owned(), sequence), reason.to_owned());
        }
    }
}

impl Shard {
    fn closed_through(&self, hash: u128) -> Option<i64> {
        let floors = self.floors.iter().filter(|(range, _)| holds(*range, hash));
        floors
            .map(|(_, watermark)| *watermark)
            .chain(self.watermark)
            .max()
    }
}

/// A tick as plainly read.
struct Tick {
    ticker: String,
    hash: u128,
    at: i64,
    trade_date: String,
    close: f64,
    volume: f64,
}

impl Tick {
    fn parse(data: &[u8]) -> Result<Self, &'static str> {
        let value: Value = serde_json::from_slice(data).map_err(|_| "malformed")?;
        let text = |name: &str| value[name].as_str().ok_or("missing_field");
        let number = |name: &str| value[name].as_f64().ok_or("invalid_field");
        let at: jiff::Timestamp = text("timestamp")?.parse().map_err(|_| "invalid_field")?;
        let ticker = text("ticker")?.to_owned();
        Ok(Tick {
            hash: hash_key(&ticker),
            ticker,
            at: at.as_microsecond(),
            trade_date: text("date")?.to_owned(),
            close: number("close")?,
            volume: number("volume")?,
        })
    }
}

fn holds(range: (u128, u128), hash: u128) -> bool {
    range.0 <= hash && hash <= range.1
}

fn range(view: &ShardView) -> (u128, u128) {
    let range = &view.hash_key_range;
    let key = |text: &str| text.parse().unwrap_or(0);
    (key(&range.starting_hash_key), key(&range.ending_hash_key))
}

/// A shard's parents.
pub fn parents(view: &ShardView) -> Vec<String> {
    let parents = [&view.parent_shard_id, &view.adjacent_parent_shard_id];
    parents.into_iter().flatten().cloned().collect()
}

fn is_ancestor(shard: &str, of: &str, listing: &[ShardView]) -> bool {
    let Some(view) = listing.iter().find(|view| view.shard_id == of) else {
        return false;
    };
    let parents = parents(view);
    parents
        .iter()
        .any(|parent| parent == shard || is_ancestor(shard, parent, listing))
}

/// Every shard of the log, parents before their children.
pub fn list(log: &Kinesis) -> Vec<ShardView> {
    let request = ListShardsRequest {
        stream: StreamRef::named(STREAM),
        ..ListShardsRequest::default()
    };
    log.list_shards(&request)
        .map(|found| found.shards)
        .unwrap_or_default()
}

fn iterator(log: &Kinesis, shard: &str) -> Option<String> {
    let request = GetShardIteratorRequest {
        stream: StreamRef::named(STREAM),
        shard_id: Some(shard.to_owned()),
        shard_iterator_type: Some("TRIM_HORIZON".to_owned()),
        ..GetShardIteratorRequest::default()
    };
    log.get_shard_iterator(&request)
        .ok()
        .map(|found| found.shard_iterator)
}

fn read_roots(objects: &Objects) -> Option<Roots> {
    let (_, object) = objects
        .under("state/shards")
        .find(|(path, _)| path.ends_with("/roots.json"))?;
    let document: Value = serde_json::from_slice(&object.bytes).ok()?;
    let shard = |root: &Value| root["shard"].as_str().map(str::to_owned);
    Some(Roots {
        start_millis: document["start_millis"].as_i64()?,
        shards: document["roots"]
            .as_array()?
            .iter()
            .filter_map(shard)
            .collect(),
    })
}
