//! The peer of every round: a reader that does nothing with the records, one task a shard, within Kinesis' own limits or
//! without them.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use aws_sdk_kinesis::types::ShardIteratorType;

use super::stage::{STREAM, Source};

/// Reads everything as fast as the server answers this SDK. Returns records a second.
pub fn read_everything(source: &Source, records: usize) -> anyhow::Result<f64> {
    let began = Instant::now();
    source.runtime.block_on(async {
        let listed = source
            .client
            .list_shards()
            .stream_name(STREAM)
            .send()
            .await?;
        let mut readers = tokio::task::JoinSet::new();
        for shard in listed.shards() {
            readers.spawn(read(source.client.clone(), shard.shard_id().to_owned()));
        }
        let mut found = 0;
        while let Some(read) = readers.join_next().await {
            found += read??;
        }
        anyhow::ensure!(found == records, "{found} of {records} were read");
        anyhow::Ok(())
    })?;
    Ok(records as f64 / began.elapsed().max(Duration::from_millis(1)).as_secs_f64())
}

async fn read(client: aws_sdk_kinesis::Client, shard: String) -> anyhow::Result<usize> {
    let iterator = client
        .get_shard_iterator()
        .stream_name(STREAM)
        .shard_id(shard);
    let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon);
    let mut next = iterator.send().await?.shard_iterator;
    let mut found = 0;
    loop {
        let iterator = next.context("the shard has ended")?;
        let reply = client.get_records().shard_iterator(iterator).send().await?;
        found += reply.records().len();
        if reply.millis_behind_latest() == Some(0) {
            return Ok(found);
        }
        next = reply.next_shard_iterator;
    }
}
