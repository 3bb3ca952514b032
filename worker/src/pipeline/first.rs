//! What a shard without a chain is taken from.
//!
//! Owns gathering what the lineage needs. The take itself is what creates the first version.

use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::lineage::{
    Author, Decision, LineageError, Roots, ShardInfo, first_version_of_child, first_version_of_root,
};

use super::actions::load_newest;
use super::context::Context;
use super::error::PipelineError;

/// The state that a shard's first version comes from; version and epoch are 0.
///
/// # Errors
/// The store's fault, or a lineage that contradicts the stored state.
pub async fn first_version(
    context: &Context,
    shard: &str,
    decision: &Decision,
    roots: &Roots,
    listing: &[ShardInfo],
) -> Result<Checkpoint, PipelineError> {
    let identity = context.identity(shard);
    let author = Author {
        state_id: identity.state_id,
        incarnation: identity.incarnation,
        owner: String::new(),
        writer: identity.writer,
        window_size: context.settings.plan.window_size,
    };
    let refused = |source: LineageError| PipelineError::Lineage {
        shard: shard.to_owned(),
        source,
    };
    let first = match decision {
        Decision::StartChild { from } => {
            let mut chains = Vec::with_capacity(from.len());
            for parent in from {
                chains.extend(load_newest(context, &parent.shard).await?);
            }
            let child = listing.iter().find(|info| info.id == shard);
            let child = child.ok_or_else(|| PipelineError::Unlisted {
                shard: shard.to_owned(),
            })?;
            first_version_of_child(&author, child, from, &chains).map_err(refused)?
        }
        _ => first_version_of_root(&author, roots, shard).map_err(refused)?,
    };
    Ok(Checkpoint {
        version: 0,
        epoch: 0,
        owner: String::new(),
        ..first
    })
}
