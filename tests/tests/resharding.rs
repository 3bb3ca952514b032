//! Splits, merges and UpdateShardCount while ticks flow, with workers that end in the middle: the output is that of one
//! worker alone, children inherit what is open, and chains that ended become small.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use stockstream_tests::restart::{Pace, Stage, Worker, is_empty, tell};
use stockstream_tests::{Binary, PATIENCE, wait_until};

/// Tombstones and collection at once, and all the time.
const HASTE: [(&str, &str); 4] = [
    ("STOCKSTREAM_COLLECTION_AGE_MILLISECONDS", "0"),
    ("STOCKSTREAM_COLLECTION_EVERY_MILLISECONDS", "1000"),
    ("STOCKSTREAM_TOMBSTONE_AGE_MILLISECONDS", "0"),
    ("STOCKSTREAM_TOMBSTONE_EVERY_MILLISECONDS", "1000"),
];

/// Ticks sent before each change of the shards.
const PART: usize = 600;

/// Workers on the stream.
const WORKERS: usize = 3;

/// How the shards change.
#[derive(Clone, Copy, Debug)]
enum Change {
    Split,
    Merge,
    Scale(i32),
}

/// Each kind, and each after another.
const CHANGES: [Change; 8] = [
    Change::Split,
    Change::Split,
    Change::Merge,
    Change::Scale(6),
    Change::Split,
    Change::Scale(4),
    Change::Merge,
    Change::Scale(5),
];

fn worker(stage: &Stage) -> Worker {
    stage.pipeline.worker(Binary::Failpoints, &HASTE).unwrap()
}

fn change(stage: &mut Stage, change: Change) {
    let open = stage.stream.open_shards().unwrap();
    let at = |stage: &mut Stage, count: usize| {
        usize::try_from(stage.random.below(count as u64)).unwrap()
    };
    match change {
        Change::Split => {
            let shard = open[at(stage, open.len())].clone();
            stage.stream.split(&shard).unwrap();
        }
        Change::Merge => {
            let first = at(stage, open.len() - 1);
            let (one, next) = (&open[first].0, &open[first + 1].0);
            stage.stream.merge(one, next).unwrap();
        }
        Change::Scale(target) => stage.stream.update_shard_count(target).unwrap(),
    }
}

#[test]
fn shards_split_merge_and_scale_under_workers_that_end_in_the_middle() {
    let mut stage = Stage::set("resharding", "in_the_middle", Pace::Busy).unwrap();
    let mut workers: Vec<Worker> = (0..WORKERS).map(|_| worker(&stage)).collect();
    stage.send(PART).unwrap();
    stage.send_until_more_is_out().unwrap();
    for next in CHANGES {
        stage.send(PART).unwrap();
        change(&mut stage, next);
        // Somewhere between the end of the parents and the beginning of the children.
        std::thread::sleep(stage.random.duration(Duration::from_secs(2))); // nothing is asserted about it
        stage.replace_one(&mut workers, worker).unwrap();
        stage.send_until_more_is_out().unwrap();
    }
    let records = stage.send_sentinels().unwrap();
    stage.reader.until_records(records).unwrap();
    must_be_covered(&stage);
    until_shared_out(&stage);
    until_buried(&stage);
    tell(&format!("{records} records through {CHANGES:?}"));
    stage.finish(records, workers).unwrap();
}

/// The open leaves of the lineage are the stream's open shards; every other shard ended, and has children.
fn must_be_covered(stage: &Stage) {
    let open: BTreeSet<String> = stage
        .stream
        .open_shards()
        .unwrap()
        .into_iter()
        .map(|(shard, _, _)| shard)
        .collect();
    let lineage = stage.pipeline.inspect_state("lineage").unwrap();
    let nodes = lineage.as_array().unwrap();
    let name = |node: &Value| node["shard"].as_str().unwrap().to_owned();
    let reading: BTreeSet<String> = nodes
        .iter()
        .filter(|node| node["state"] == "Open")
        .map(name)
        .collect();
    assert_eq!(reading, open, "{lineage:#}");
    let keys: f64 = nodes
        .iter()
        .filter(|node| node["state"] == "Open")
        .map(|node| node["keys"].as_f64().unwrap())
        .sum();
    assert!((keys - 100.0).abs() < 1e-6, "{keys} % of the keys");
    for node in nodes.iter().filter(|node| node["state"] == "Ended") {
        assert_ne!(node["children"], Value::Array(Vec::new()), "{node:#}");
    }
}

/// Each open shard is in one worker's hands, as they say themselves.
fn until_shared_out(stage: &Stage) {
    wait_until("one worker for each shard", PATIENCE, || {
        let open = stage.stream.open_shards()?;
        let mut open: Vec<String> = open.into_iter().map(|(shard, _, _)| shard).collect();
        let members = stage.pipeline.inspect_state("members")?;
        let mut members: Vec<&Value> = members.as_array().into_iter().flatten().collect();
        // Those that were killed are listed as well, with older beats.
        members.sort_by_key(|member| Reverse(member["beat"].as_str()));
        let live = members.into_iter().take(WORKERS);
        let held = live.flat_map(|member| member["shards"].as_array().into_iter().flatten());
        let held = held.filter(|holding| holding["ended"] == false);
        let mut held: Vec<&str> = held
            .filter_map(|holding| holding["shard"].as_str())
            .collect();
        open.sort();
        held.sort_unstable();
        Ok((open == held).then_some(()))
    })
    .unwrap();
}

/// Every chain that ended has handed its windows on, holds none any more, and nothing of it is left to publish.
fn until_buried(stage: &Stage) {
    let mut left = Vec::new();
    let buried = wait_until("tombstones", PATIENCE, || {
        let mut ended = 0;
        left.clear();
        for head in stage.pipeline.heads()? {
            let Ok(checkpoint) = stage.pipeline.inspect(&head) else {
                return Ok(None); // a tombstone has taken its place meanwhile
            };
            if checkpoint["position"] == "shard_end" {
                ended += 1;
                let held = ["windows", "latest", "outbox"]
                    .into_iter()
                    .filter(|field| !is_empty(&checkpoint[*field]));
                let held: Vec<&str> = held.collect();
                if !held.is_empty() {
                    left.push(format!("{}: {held:?}", head.display()));
                }
            }
        }
        Ok((ended >= CHANGES.len() && left.is_empty()).then_some(()))
    });
    buried.unwrap_or_else(|error| panic!("{error}; still holding: {left:#?}"));
}
