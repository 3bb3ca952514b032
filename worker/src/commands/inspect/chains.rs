//! The newest version of every chain below a state path.

use super::no_pipeline;
use crate::cli::Failure;
pub(super) use crate::page::NewestVersion as Newest;
use crate::page::newest_versions;
use crate::storage::Store;

/// All chains, by incarnation and shard.
///
/// # Errors
/// The store's fault, or that there are none.
pub(super) async fn newest(store: &Store) -> Result<Vec<Newest>, Failure> {
    let newest = newest_versions(store).await.map_err(Failure::failed)?;
    if newest.is_empty() {
        return Err(no_pipeline(store, "checkpoints"));
    }
    Ok(newest)
}
