//! What a shard without a chain is taken from.
//!
//! Owns gathering what the lineage needs. The take itself is what creates the first version.

use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::lineage::{
    Author, Decision, LineageError, Roots, ShardInfo, first_version_after_recreation,
    first_version_of_child,
};

use super::actions::load_newest;
use super::context::Context;
use super::error::PipelineError;

/// The state that a shard's first version comes from; version and epoch are 0. `before` holds the chains of the stream's
/// life before, all ended, when there was one.
///
/// # Errors
/// The store's fault, or a lineage that contradicts the stored state.
pub async fn first_version(
    context: &Context,
    shard: &str,
    decision: &Decision,
    roots: &Roots,
    listing: &[ShardInfo],
    before: &[Checkpoint],
) -> Result<Checkpoint, PipelineError> {
    let Decision::StartChild { from } = decision else {
        return first_version_of_root(context, shard, roots, before);
    };
    let mut chains = Vec::with_capacity(from.len());
    for parent in from {
        chains.extend(load_newest(context, &parent.shard).await?);
    }
    let child = listing.iter().find(|info| info.id == shard);
    let child = child.ok_or_else(|| PipelineError::Unlisted {
        shard: shard.to_owned(),
    })?;
    first_version_of_child(&author(context), child, from, &chains)
        .map(unwritten)
        .map_err(|source| refused(shard, source))
}

/// The state that a root's first version comes from.
///
/// # Errors
/// A lineage that contradicts the stored state.
pub fn first_version_of_root(
    context: &Context,
    shard: &str,
    roots: &Roots,
    before: &[Checkpoint],
) -> Result<Checkpoint, PipelineError> {
    first_version_after_recreation(&author(context), roots, shard, before)
        .map(unwritten)
        .map_err(|source| refused(shard, source))
}

fn author(context: &Context) -> Author {
    Author {
        state_id: context.state_id.clone(),
        incarnation: context.incarnation.to_string(),
        owner: String::new(),
        writer: env!("CARGO_PKG_VERSION").to_owned(),
        window_size: context.settings.plan.window_size,
    }
}

/// The take creates the first version: it counts from here.
fn unwritten(first: Checkpoint) -> Checkpoint {
    Checkpoint {
        version: 0,
        epoch: 0,
        owner: String::new(),
        ..first
    }
}

fn refused(shard: &str, source: LineageError) -> PipelineError {
    PipelineError::Lineage {
        shard: shard.to_owned(),
        source,
    }
}
