//! The newest version of every chain below a state path.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::codec;
use stockstream_core::layout::{SHARDS, version_of};
use stockstream_core::time::Micros;

use super::no_pipeline;
use crate::cli::Failure;
use crate::storage::Store;

/// Objects that are read at the same time.
const AT_ONCE: usize = 16;

/// The newest version of a chain.
pub(super) struct Newest {
    pub(super) incarnation: String,
    pub(super) shard: String,
    pub(super) version: u64,
    /// When it was committed, by the store's stamp.
    pub(super) committed: Micros,
    /// What it holds, or why it can't be read.
    pub(super) checkpoint: Result<Box<Checkpoint>, String>,
}

/// All chains, by incarnation and shard.
///
/// # Errors
/// The store's fault, or that there are none.
pub(super) async fn newest(store: &Store) -> Result<Vec<Newest>, Failure> {
    let mut newest: BTreeMap<(String, String), (u64, Micros, String)> = BTreeMap::new();
    for object in store.list(SHARDS).await.map_err(Failure::failed)? {
        let parts: Vec<&str> = object.key.split('/').collect();
        if let [_, incarnation, shard, name] = parts[..]
            && let Some(version) = version_of(name)
        {
            let found = (version, object.last_modified, object.key.clone());
            let entry = newest.entry((incarnation.to_owned(), shard.to_owned()));
            let entry = entry.or_insert_with(|| found.clone());
            if version > entry.0 {
                *entry = found;
            }
        }
    }
    if newest.is_empty() {
        return Err(no_pipeline(store, "checkpoints"));
    }
    let reads = newest.into_iter().map(|((incarnation, shard), found)| {
        let (version, committed, key) = found;
        async move {
            let bytes = store.get(&key).await.map_err(Failure::failed)?;
            let checkpoint = codec::decode(&bytes.unwrap_or_default());
            Ok::<_, Failure>(Newest {
                incarnation,
                shard,
                version,
                committed,
                checkpoint: checkpoint.map(Box::new).map_err(|error| error.to_string()),
            })
        }
    });
    futures::stream::iter(reads)
        .buffered(AT_ONCE)
        .try_collect()
        .await
}
