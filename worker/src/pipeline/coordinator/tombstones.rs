//! Chains of shards that ended long ago, made small.
//!
//! Owns when they are rewritten, and by whom: one live worker each, told by the shard's name. Two of them at once do no
//! harm, they create the same version. What a tombstone is, the core says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::codec;
use stockstream_core::hash::key_hash;
use stockstream_core::layout::MEMBERS;
use stockstream_core::lineage::{Head, Tombstone, tombstone};
use stockstream_core::sequence::Position;
use tokio::time::Instant;

use super::super::actions::load_newest_bytes;
use super::super::collect::collect;
use super::super::context::Context;
use super::super::error::PipelineError;
use super::super::start::list_chains;
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
        let Some(turns) = self.turns() else {
            return;
        };
        let view = self.membership.view.borrow();
        let goes_on = |(shard, head): &(&String, &Head)| {
            !(head.position == Position::ShardEnd && head.drained) || self.buried.contains(*shard)
        };
        let others = self.started.heads.iter().filter(goes_on);
        let mut others: BTreeSet<String> = others.map(|(shard, _)| shard.clone()).collect();
        let listed = self.listing.iter().map(|listed| &listed.id);
        others.extend(
            listed
                .filter(|shard| self.claims.is_held(shard, &view))
                .cloned(),
        );
        let work = Burial {
            context: self.started.context.clone(),
            heads: self.started.heads.clone(),
            retention: tombstone_age(self.started.retention),
            format: *self.format.borrow(),
        };
        drop(view);
        let mine = move |shard: &String| turns.falls_to_me(shard) && !others.contains(shard);
        ambient::spawn_in(&mut self.jobs, async move {
            Job::Buried(work.round(mine).await)
        });
    }

    /// `None` while this worker isn't among the live ones.
    fn turns(&self) -> Option<Turns> {
        let view = self.membership.view.borrow();
        let members = self.members(&view);
        let turn = members.keys().position(|id| *id == view.me.member)?;
        Some(Turns {
            turn: turn as u128,
            members: members.len() as u128,
        })
    }
}

/// Which shards fall to this worker, of the live ones.
struct Turns {
    turn: u128,
    members: u128,
}

impl Turns {
    fn falls_to_me(&self, shard: &str) -> bool {
        key_hash(shard) % self.members == self.turn
    }
}

/// One round over the chains that are in the store, whoever had them: what ended under another worker, this one may never
/// have looked at.
struct Burial {
    context: Arc<Context>,
    heads: BTreeMap<String, Head>,
    retention: Duration,
    format: u16,
}

impl Burial {
    /// The shards that need no further look.
    async fn round(mut self, mine: impl Fn(&String) -> bool) -> Vec<String> {
        let mut buried = Vec::new();
        let chains = list_chains(&self.context).await.unwrap_or_else(|error| {
            not_buried("", &error);
            BTreeSet::new()
        });
        for shard in chains.into_iter().filter(mine) {
            match self.bury(&shard).await {
                Ok(true) => buried.push(shard),
                Ok(false) => {}
                Err(error) => not_buried(&shard, &error),
            }
        }
        buried
    }

    /// True when the chain ends with a tombstone now, and nothing lies before it.
    async fn bury(&mut self, shard: &str) -> Result<bool, PipelineError> {
        let context = &self.context.clone();
        let Some(newest) = load_newest_bytes(context, shard).await? else {
            return Ok(false);
        };
        let head = newest.head()?;
        let ended = head.position == Position::ShardEnd && head.drained;
        if !ended || !context.reads.read(head.format) {
            return Ok(false);
        }
        let ended = newest.decode()?;
        let age = ended_since(context, shard).await?;
        if ended.windows.is_empty() && ended.latest.is_empty() {
            // Small as it is. What came before it goes once it may.
            collect(context, shard).await?;
            return Ok(age >= micros(collection_age()));
        }
        self.learn_children(&ended).await?;
        let passed = age >= micros(self.retention);
        let Tombstone::Rewrite(rewritten) = tombstone(&ended, &self.heads, passed) else {
            return Ok(false);
        };
        let bytes = codec::encode_as(&rewritten, self.format).map_err(|source| {
            PipelineError::Checkpoint {
                url: context.state.url_of(&context.keys.chain(shard)),
                source,
            }
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

    /// A child that another worker had from its beginning is a chain that this one never looked at.
    async fn learn_children(&mut self, ended: &Checkpoint) -> Result<(), PipelineError> {
        for child in &ended.children {
            if !self.heads.contains_key(child)
                && let Some(newest) = load_newest_bytes(&self.context, child).await?
            {
                self.heads.insert(child.clone(), newest.head()?);
            }
        }
        Ok(())
    }
}

fn not_buried(shard: &str, error: &PipelineError) {
    tracing::warn!(event = "not_buried", shard, cause = %error, "trying again later");
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
