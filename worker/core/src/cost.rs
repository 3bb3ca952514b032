//! What a pipeline asks of S3 and Kinesis in an hour, and what that costs.
//!
//! Owns the formulas and the list prices. They count what a running pipeline does again and again; starts, hand-overs,
//! retries, and what other programs do with the rows are left out. Must never know the spec.

/// The day on which [`LIST_PRICES`] were put down.
pub const PRICES_AS_OF: &str = "2026-11-26";

/// The region whose prices these are.
pub const PRICES_REGION: &str = "us-east-1";

/// Hours in a month, as AWS' calculator counts them.
pub const HOURS_A_MONTH: f64 = 730.0;

/// AWS' public prices, in US dollars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// S3 Standard: a thousand PUT, COPY, POST or LIST requests.
    pub put_thousand: f64,
    /// S3 Standard: a thousand GET or HEAD requests.
    pub get_thousand: f64,
    /// KMS: a thousand requests.
    pub kms_thousand: f64,
    /// Kinesis, provisioned: a shard for an hour.
    pub shard_hour: f64,
    /// Kinesis, provisioned: a million PUT payload units of up to 25 KB.
    pub payload_units_million: f64,
    /// Kinesis, on demand: a stream for an hour.
    pub stream_hour: f64,
    /// Kinesis, on demand: a GB written; each record counts in whole KB.
    pub on_demand_in_gb: f64,
    /// Kinesis, on demand: a GB read by polling.
    pub on_demand_out_gb: f64,
    /// Kinesis, on demand: a GB read by enhanced fan-out.
    pub on_demand_fan_out_gb: f64,
    /// Kinesis, provisioned: a consumer on a shard for an hour, with enhanced fan-out.
    pub consumer_shard_hour: f64,
    /// Kinesis, provisioned: a GB read by enhanced fan-out.
    pub fan_out_gb: f64,
}

/// List prices of [`PRICES_REGION`] as of [`PRICES_AS_OF`] (AWS' pricing pages of S3, Kinesis Data Streams and KMS).
pub const LIST_PRICES: Prices = Prices {
    put_thousand: 0.005,
    get_thousand: 0.000_4,
    kms_thousand: 0.003,
    shard_hour: 0.015,
    payload_units_million: 0.014,
    stream_hour: 0.04,
    on_demand_in_gb: 0.08,
    on_demand_out_gb: 0.04,
    on_demand_fan_out_gb: 0.05,
    consumer_shard_hour: 0.015,
    fan_out_gb: 0.013,
};

/// How the stream is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// By shards.
    Provisioned,
    /// By what goes in and out.
    OnDemand,
}

/// What a pipeline is like while ticks flow into every shard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Worker processes.
    pub workers: f64,
    /// Open shards.
    pub shards: f64,
    /// `state.lease.heartbeat`, in seconds.
    pub heartbeat: f64,
    /// `state.commitInterval`, in seconds.
    pub commit_interval: f64,
    /// `output.publishInterval`, in seconds.
    pub publish_interval: f64,
    /// `window.size`, in seconds: nothing is published more often than windows close.
    pub window: f64,
    /// Files that one round of publishing writes, over all shards: see [`files_a_round`].
    pub files: f64,
    /// Ticks a second, over all shards.
    pub ticks: f64,
    /// Bytes of a record.
    pub tick_bytes: f64,
    /// How the stream is paid for.
    pub capacity: Capacity,
    /// Whether shards are read with enhanced fan-out.
    pub fan_out: bool,
    /// Whether each object is encrypted with a KMS key without an S3 Bucket Key.
    pub kms_each_object: bool,
}

/// What is paid for, in an hour and a month.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Which service.
    pub service: &'static str,
    /// What for.
    pub what: &'static str,
    /// How many in an hour.
    pub per_hour: f64,
    /// Of what.
    pub unit: &'static str,
    /// US dollars for one.
    pub price: f64,
}

impl Item {
    /// US dollars a month.
    pub fn dollars_a_month(&self) -> f64 {
        self.per_hour * self.price * HOURS_A_MONTH
    }
}

/// Requests to the state, output and rejects paths in an hour. The counter `stockstream_storage_requests_total` counts
/// the same.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StorageRequests {
    /// PUT: one beat a worker and heartbeat.
    pub beats: f64,
    /// LIST: the members, once a worker and heartbeat; two objects a worker, a thousand a page.
    pub member_lists: f64,
    /// PUT: versions of checkpoints.
    pub commits: f64,
    /// LIST: the chain after each version.
    pub commit_lists: f64,
    /// LIST: each chain once a minute for collection; a thousand versions a page, an hour's are kept.
    pub collection_lists: f64,
    /// DELETE: every version once.
    pub deletes: f64,
    /// PUT: files of rows.
    pub files: f64,
}

impl StorageRequests {
    /// PUT in all.
    pub fn put(&self) -> f64 {
        self.beats + self.commits + self.files
    }

    /// LIST in all.
    pub fn list(&self) -> f64 {
        self.member_lists + self.commit_lists + self.collection_lists
    }
}

/// Objects in a page of ListObjectsV2 (S3 API reference).
const PAGE: f64 = 1_000.0;

/// Between two rounds of collection of one shard, in seconds.
pub const COLLECTION_EVERY: f64 = 60.0;

/// Files that one round of publishing writes: one a partition, and, when the ticker is no partition column, one a
/// shard and date.
pub fn files_a_round(by_ticker: bool, tickers: f64, shards: f64, dates: f64) -> f64 {
    let folders = if by_ticker { tickers } else { shards };
    folders * dates.max(1.0)
}

impl Load {
    /// Between two rounds of publishing, in seconds.
    pub fn publish_every(&self) -> f64 {
        self.publish_interval.max(self.window)
    }

    /// Versions of one shard's chain in an hour: every `commitInterval`, and with each seal; a seal begins the interval
    /// anew.
    pub fn commits_a_shard(&self) -> f64 {
        let every = self.publish_every();
        // A seal comes a little after its time, a commit that falls on it is made before.
        ((every / self.commit_interval).floor() + 1.0) * 3_600.0 / every
    }

    /// Requests in an hour.
    pub fn requests(&self) -> StorageRequests {
        let beats = self.workers * 3_600.0 / self.heartbeat;
        let commits = self.shards * self.commits_a_shard();
        let member_pages = (2.0 * self.workers / PAGE).ceil();
        let chain_pages = (self.commits_a_shard() / PAGE).ceil().max(1.0);
        StorageRequests {
            beats,
            member_lists: beats * member_pages,
            commits,
            commit_lists: commits,
            collection_lists: self.shards * chain_pages * 3_600.0 / COLLECTION_EVERY,
            deletes: commits,
            files: self.files * 3_600.0 / self.publish_every(),
        }
    }

    /// Everything that is paid for.
    pub fn items(&self, prices: &Prices) -> Vec<Item> {
        let mut items = self.storage_items(prices);
        items.extend(self.stream_items(prices));
        items
    }

    fn storage_items(&self, prices: &Prices) -> Vec<Item> {
        let requests = self.requests();
        let (put, list) = (prices.put_thousand / 1_000.0, prices.put_thousand / 1_000.0);
        let item = |what, per_hour, unit, price| Item {
            service: "S3",
            what,
            per_hour,
            unit,
            price,
        };
        let mut items = vec![
            item("beats of the workers", requests.beats, "PUT", put),
            item(
                "listings of the workers",
                requests.member_lists,
                "LIST",
                list,
            ),
            item("checkpoints", requests.commits, "PUT", put),
            item(
                "proof that nobody fenced them",
                requests.commit_lists,
                "LIST",
                list,
            ),
            item(
                "looking for old checkpoints",
                requests.collection_lists,
                "LIST",
                list,
            ),
            item("removing them", requests.deletes, "DELETE", 0.0),
            item("files of rows", requests.files, "PUT", put),
        ];
        if self.kms_each_object {
            items.push(Item {
                service: "KMS",
                what: "a key for each object (bucketKey: true makes this next to nothing)",
                per_hour: requests.put(),
                unit: "request",
                price: prices.kms_thousand / 1_000.0,
            });
        }
        items
    }

    fn stream_items(&self, prices: &Prices) -> Vec<Item> {
        const GB: f64 = 1_000_000_000.0;
        const KIB: f64 = 1_024.0;
        const PAYLOAD_UNIT: f64 = 25.0 * KIB;
        let item = |what, per_hour, unit, price| Item {
            service: "Kinesis",
            what,
            per_hour,
            unit,
            price,
        };
        let ticks = self.ticks * 3_600.0;
        let read = ticks * self.tick_bytes / GB;
        match self.capacity {
            Capacity::Provisioned => {
                let units = ticks * (self.tick_bytes / PAYLOAD_UNIT).ceil();
                let mut items = vec![
                    item("shards", self.shards, "shard-hour", prices.shard_hour),
                    item(
                        "ticks in",
                        units,
                        "payload unit",
                        prices.payload_units_million / 1_000_000.0,
                    ),
                ];
                if self.fan_out {
                    let hour = prices.consumer_shard_hour;
                    items.push(item("enhanced fan-out", self.shards, "shard-hour", hour));
                    items.push(item("ticks out", read, "GB", prices.fan_out_gb));
                }
                items
            }
            Capacity::OnDemand => {
                let written = ticks * (self.tick_bytes / KIB).ceil() * KIB / GB;
                let out = match self.fan_out {
                    true => prices.on_demand_fan_out_gb,
                    false => prices.on_demand_out_gb,
                };
                vec![
                    item("the stream", 1.0, "stream-hour", prices.stream_hour),
                    item("ticks in", written, "GB", prices.on_demand_in_gb),
                    item("ticks out", read, "GB", out),
                ]
            }
        }
    }
}

/// More files than this in one round of publishing are told to the user: readers open each of them.
pub const MANY_FILES: f64 = 1_000.0;

/// The shortest publish interval, in whole multiples of the present one, at which no more than [`MANY_FILES`] files are
/// made in the time of the present one; `None` when there aren't too many.
pub fn longer_interval(files: f64) -> Option<f64> {
    (files > MANY_FILES).then(|| (files / MANY_FILES).ceil())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Load {
        Load {
            workers: 2.0,
            shards: 4.0,
            heartbeat: 2.0,
            commit_interval: 10.0,
            publish_interval: 60.0,
            window: 60.0,
            files: 100.0,
            ticks: 1_000.0,
            tick_bytes: 200.0,
            capacity: Capacity::Provisioned,
            fan_out: false,
            kms_each_object: false,
        }
    }

    fn near(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-6 * expected.abs().max(1.0),
            "{found} is not {expected}"
        );
    }

    fn dollars(load: &Load, what: &str) -> f64 {
        let items = load.items(&LIST_PRICES);
        let item = items.iter().find(|item| item.what == what);
        item.map_or(f64::NAN, Item::dollars_a_month)
    }

    #[test]
    fn requests_follow_the_intervals() {
        let requests = load().requests();
        near(requests.beats, 2.0 * 1_800.0);
        near(requests.member_lists, 3_600.0);
        near(requests.commits, 4.0 * 420.0);
        near(requests.commit_lists, 1_680.0);
        near(requests.collection_lists, 240.0);
        near(requests.files, 6_000.0);
        near(requests.put(), 3_600.0 + 1_680.0 + 6_000.0);
        near(requests.list(), 3_600.0 + 1_680.0 + 240.0);
    }

    #[test]
    fn a_seal_is_a_commit_of_its_own() {
        let commits = |commit_interval, publish_interval| {
            let load = Load {
                commit_interval,
                publish_interval,
                ..load()
            };
            load.commits_a_shard()
        };
        near(commits(10.0, 60.0), 420.0); // 10, 20 … 60, and the seal after it
        near(commits(25.0, 60.0), 180.0); // 25, 50, and the seal at 60
        near(commits(300.0, 60.0), 60.0);
        near(commits(300.0, 1.0), 60.0); // windows close once a minute
    }

    #[test]
    fn many_workers_need_more_pages() {
        let load = Load {
            workers: 600.0,
            ..load()
        };
        near(load.requests().member_lists, 2.0 * load.requests().beats);
    }

    #[test]
    fn prices_are_per_thousand_million_and_gigabyte() {
        let load = load();
        near(dollars(&load, "checkpoints"), 1_680.0 * 730.0 * 0.000_005);
        near(dollars(&load, "removing them"), 0.0);
        near(dollars(&load, "shards"), 4.0 * 0.015 * 730.0);
        near(dollars(&load, "ticks in"), 3.6 * 0.014 * 730.0);
        let on_demand = Load {
            capacity: Capacity::OnDemand,
            ..load
        };
        // Each record counts as 1 KiB.
        near(
            dollars(&on_demand, "ticks in"),
            3_600_000.0 * 1_024.0 / 1e9 * 0.08 * 730.0,
        );
        near(dollars(&on_demand, "ticks out"), 0.72 * 0.04 * 730.0);
    }

    #[test]
    fn a_longer_interval_is_proposed_only_for_too_many_files() {
        assert_eq!(longer_interval(1_000.0), None);
        assert_eq!(longer_interval(1_001.0), Some(2.0));
        assert_eq!(longer_interval(5_000.0), Some(5.0));
        near(files_a_round(true, 500.0, 4.0, 1.0), 500.0);
        near(files_a_round(false, 500.0, 4.0, 2.0), 8.0);
    }
}
