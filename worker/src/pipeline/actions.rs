//! The effects of a shard's chain: creating versions, listing them, publishing batches.
//!
//! Owns carrying out one [`Action`] and what its outcome means. Must never decide what to do next: the core does.

use std::time::Duration;

use bytes::Bytes;
use stockstream_core::chain::{Action, Created as Known, ShardChain};
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::codec::{self, CodecError};
use stockstream_core::layout::version_of;
use stockstream_core::lineage::Head;
use stockstream_core::member::Formats;
use stockstream_core::mutants::{Mutant, broken};
use stockstream_core::row::Partition;

use super::context::Context;
use super::error::PipelineError;
use crate::ambient;
use crate::failpoint::{Fate, Point, meet};
use crate::sink::{self, PublishTarget};
use crate::storage::{CreateOptions, Created, Deadline, Operation, Store, StoreError};

/// No create of a version is sent this long after its bytes were made: far below the hour after which versions may be
/// collected, so that a delayed request can never bring back a version that was collected.
pub const CREATE_LIFETIME: Duration = Duration::from_secs(600);

/// How an action ended.
#[derive(Debug)]
pub enum Outcome {
    /// A create's outcome is known.
    Created(Known),
    /// The highest version above, if any.
    Listed(Option<u64>),
    /// Every file exists.
    Published {
        /// Files of rows.
        files: u64,
        /// Bytes of those files.
        bytes: u64,
        /// Their partitions.
        partitions: Vec<Partition>,
    },
}

/// An action under way: the version being created lives as long as its deadline.
#[derive(Debug, Clone, Copy)]
pub struct Lifetime {
    version: u64,
    deadline: Deadline,
}

impl Lifetime {
    /// The lifetime of the version that an action creates, kept from the first attempt on.
    pub fn of(action: &Action, before: Option<Lifetime>) -> Option<Lifetime> {
        match action {
            Action::Create { version, .. } => Some(match before {
                Some(lifetime) if lifetime.version == *version => lifetime,
                _ => Lifetime {
                    version: *version,
                    deadline: Deadline::after(ambient::lapsed(CREATE_LIFETIME)),
                },
            }),
            _ => before,
        }
    }

    /// True when nothing of this version may be sent any more.
    pub fn is_over(&self) -> bool {
        self.deadline.check().is_err()
    }
}

/// Carries out one action.
///
/// # Errors
/// The store's fault; the action's outcome is then unknown or nothing happened, and the same action is due again.
pub async fn carry_out(
    context: &Context,
    shard: &str,
    action: Action,
    lifetime: Option<Lifetime>,
    is_take: bool,
) -> Result<Outcome, PipelineError> {
    match action {
        Action::Create { version, bytes } => {
            let key = context.keys.checkpoint(shard, version);
            meet(Point::BeforeCreate);
            if broken(Mutant::PublishBeforeCommit) {
                publish_uncommitted(context, shard, &bytes).await?;
            }
            let options = CreateOptions {
                deadline: lifetime.map(|lifetime| lifetime.deadline),
                ..CreateOptions::default()
            };
            let created = context.state.create_with(&key, bytes, options).await?;
            if is_take {
                meet(Point::DuringTake);
            }
            if meet(Point::AfterCreate) == Fate::LoseReply {
                let url = context.state.url_of(&key);
                return Err(lost_reply(url).into());
            }
            Ok(Outcome::Created(match created {
                Created::New | Created::AlreadyOurs => Known::Ours,
                Created::Exists(_) => Known::Others,
            }))
        }
        Action::ListAfter { version } => {
            let above = newest_above(&context.state, context, shard, version).await?;
            Ok(Outcome::Listed(above))
        }
        Action::Publish { batch } => {
            let name = context.batch_name(shard, batch.version);
            let target = PublishTarget {
                output: &context.output,
                rejects: &context.rejects,
                partition_by: &context.settings.partition_by,
                compression: context.settings.compression,
            };
            meet(Point::BeforePublish);
            let published = sink::publish_with(&batch, &name, &target, &|_| {
                meet(Point::MidPublish);
            })
            .await?;
            if meet(Point::AfterPublish) == Fate::LoseReply {
                return Err(lost_reply(context.output.url().to_owned()).into());
            }
            Ok(Outcome::Published {
                files: published.files.len() as u64,
                bytes: published.files.iter().map(|file| file.bytes).sum(),
                // Each further file of a partition asks for nothing.
                partitions: match &context.catalog {
                    Some(catalog) => catalog.unknown(published.partitions),
                    None => published.partitions,
                },
            })
        }
    }
}

/// What the protocol forbids.
async fn publish_uncommitted(
    context: &Context,
    shard: &str,
    bytes: &[u8],
) -> Result<(), PipelineError> {
    for batch in codec::decode(bytes).map_or_else(|_| Vec::new(), |version| version.outbox) {
        let target = PublishTarget {
            output: &context.output,
            rejects: &context.rejects,
            partition_by: &context.settings.partition_by,
            compression: context.settings.compression,
        };
        sink::publish(&batch, &context.batch_name(shard, batch.version), &target).await?;
    }
    Ok(())
}

fn lost_reply(url: String) -> StoreError {
    StoreError::Unknown {
        url: url.clone(),
        cause: Box::new(StoreError::Unavailable {
            url,
            operation: Operation::Create,
            attempts: 1,
            detail: "the reply was lost (failpoint)".to_owned(),
        }),
    }
}

/// Tells the chain how its action ended.
pub fn report(chain: &mut ShardChain, outcome: Outcome) {
    match outcome {
        Outcome::Created(created) => chain.created(created),
        Outcome::Listed(above) => chain.listed(above),
        Outcome::Published {
            files, partitions, ..
        } => chain.published(files, partitions),
    }
}

/// The highest version of a chain above `version`, if any.
async fn newest_above(
    state: &Store,
    context: &Context,
    shard: &str,
    version: u64,
) -> Result<Option<u64>, PipelineError> {
    let after = context.keys.checkpoint(shard, version);
    let listed = state.list_after(&context.keys.chain(shard), &after).await?;
    Ok(listed
        .iter()
        .filter_map(|object| version_in(&object.key))
        .max())
}

/// The version that a checkpoint's key names.
pub fn version_in(key: &str) -> Option<u64> {
    version_of(key.rsplit('/').next()?)
}

/// The newest version of a chain; `None` when it has none.
///
/// # Errors
/// The store's fault; [`PipelineError::Checkpoint`] when the newest version can't be read, which is never skipped.
pub async fn load_newest(
    context: &Context,
    shard: &str,
) -> Result<Option<Checkpoint>, PipelineError> {
    let newest = load_newest_bytes(context, shard).await?;
    newest.map(|newest| newest.decode()).transpose()
}

/// The newest version of a chain as it is stored.
pub struct Newest {
    url: String,
    bytes: Bytes,
    reads: Formats,
}

impl Newest {
    /// The format that it says it has.
    pub fn format(&self) -> Option<u16> {
        codec::format_of(&self.bytes)
    }

    /// The checkpoint.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    pub fn decode(&self) -> Result<Checkpoint, PipelineError> {
        let decoded = match self.format() {
            Some(found) if !self.reads.read(found) => Err(CodecError::UnknownFormat { found }),
            _ => codec::decode(&self.bytes),
        };
        decoded.map_err(|source| PipelineError::Checkpoint {
            url: self.url.clone(),
            source,
        })
    }

    /// What lineage needs to know of it. A version of a format that this release doesn't know still stands for a
    /// shard that somebody reads.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`] when it is damaged.
    pub fn head(&self) -> Result<Head, PipelineError> {
        match self.decode() {
            Ok(checkpoint) => Ok(Head::of(&checkpoint, self.format().unwrap_or_default())),
            Err(PipelineError::Checkpoint {
                source: CodecError::UnknownFormat { found },
                ..
            }) => Ok(Head::unreadable(found)),
            Err(error) => Err(error),
        }
    }
}

/// The bytes of a chain's newest version; `None` when it has none.
///
/// # Errors
/// The store's fault.
pub async fn load_newest_bytes(
    context: &Context,
    shard: &str,
) -> Result<Option<Newest>, PipelineError> {
    loop {
        let Some(version) = newest_above(&context.state, context, shard, 0).await? else {
            return Ok(None);
        };
        let key = context.keys.checkpoint(shard, version);
        // A version that was listed and is gone was collected meanwhile: then there is a newer one.
        let Some(bytes) = context.state.get(&key).await? else {
            continue;
        };
        let url = context.state.url_of(&key);
        let reads = context.reads;
        return Ok(Some(Newest { url, bytes, reads }));
    }
}
