//! Chains of shards that ended long ago, made small.
//!
//! Owns when they are rewritten, and by whom: one live worker each, told by the shard's name. Two of them at once do no
//! harm, they create the same version. What a tombstone is, the core says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stockstream_core::codec;
use stockstream_core::hash::key_hash;
use stockstream_core::layout::MEMBERS;
use stockstream_core::lineage::{Head, Tombstone, tombstone};
use stockstream_core::sequence::Position;
use tokio::time::Instant;

use super::super::actions::load_newest;
use super::super::collect::collect;
use super::super::context::Context;
use super::super::error::PipelineError;
use super::Coordinator;
use super::jobs::Job;
use crate::ambient;
use crate::clock::micros;
use crate::failpoint::{collection_age, tombstone_age, tombstone_interval};

impl Coordinator<'_> {
    /// Makes tombstones of what ended longer ago than the stream keeps records, about once an hour.
    pub(super) fn bury(&mut self) {
        let now = Instant::now();
        if now < self.bury_at {
            return;
        }
        let every = tombstone_interval();
        self.bury_at = now + every + ambient::jitter(every / 10);
        let ended = self.started.heads.iter().filter(|(shard, head)| {
            head.position == Position::ShardEnd && head.drained && !self.buried.contains(*shard)
        });
        let mine: Vec<String> = ended
            .map(|(shard, _)| shard.clone())
            .filter(|shard| self.buries(shard))
            .collect();
        if mine.is_empty() {
            return;
        }
        let context = self.started.context.clone();
        let (heads, format) = (self.started.heads.clone(), *self.format.borrow());
        let retention = tombstone_age(self.started.retention);
        ambient::spawn_in(&mut self.jobs, async move {
            let mut buried = Vec::new();
            for shard in mine {
                match bury(&context, &heads, &shard, retention, format).await {
                    Ok(true) => buried.push(shard),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(event = "not_buried", shard, cause = %error, "trying again later");
                    }
                }
            }
            Job::Buried(buried)
        });
    }

    /// True when the shard falls to this worker, among the live ones.
    fn buries(&self, shard: &str) -> bool {
        let view = self.membership.view.borrow();
        let members = self.members(&view);
        let count = members.len().max(1) as u128;
        let turn = members.keys().position(|member| *member == view.me.member);
        turn.is_some_and(|turn| key_hash(shard) % count == turn as u128)
    }
}

/// True when the chain ends with a tombstone now.
async fn bury(
    context: &Arc<Context>,
    heads: &BTreeMap<String, Head>,
    shard: &str,
    retention: Duration,
    format: u16,
) -> Result<bool, PipelineError> {
    let Some(ended) = load_newest(context, shard).await? else {
        return Ok(false);
    };
    let age = ended_since(context, shard).await?;
    if ended.windows.is_empty() && ended.latest.is_empty() {
        // Small as it is. What came before it goes once it may.
        collect(context, shard).await?;
        return Ok(age >= micros(collection_age()));
    }
    let Tombstone::Rewrite(rewritten) = tombstone(&ended, heads, age >= micros(retention)) else {
        return Ok(false);
    };
    let bytes =
        codec::encode_as(&rewritten, format).map_err(|source| PipelineError::Checkpoint {
            url: context.state.url_of(&context.keys.chain(shard)),
            source,
        })?;
    let key = context.keys.checkpoint(shard, rewritten.version);
    context.state.create(&key, Bytes::from(bytes)).await?;
    tracing::info!(
        event = "buried",
        shard,
        version = rewritten.version,
        "its children have what it held"
    );
    Ok(false) // older versions go in a later round
}

/// How long ago the chain's newest version was written, in microseconds, by the store's own stamps: the newest beat is
/// its clock.
async fn ended_since(context: &Context, shard: &str) -> Result<i64, PipelineError> {
    let chain = context.state.list(&context.keys.chain(shard)).await?;
    let beats = context.state.list(MEMBERS).await?;
    let newest = |objects: &[crate::storage::ObjectInfo]| {
        objects.iter().map(|object| object.last_modified.0).max()
    };
    Ok(newest(&beats)
        .zip(newest(&chain))
        .map_or(0, |(now, then)| now - then))
}
