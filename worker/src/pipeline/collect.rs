//! Collection of old versions.
//!
//! Owns which versions of a chain may go: those older than the newest `keep`, and, by the store's own stamps, an hour
//! older than the newest; oldest first. The newest version of a chain is never deleted.

use stockstream_core::time::Micros;

use super::actions::version_in;
use super::context::Context;
use super::error::PipelineError;
use crate::clock::micros;
use crate::failpoint::{Point, collection_age, meet};
use crate::storage::ObjectInfo;

/// The most versions that one round deletes.
const MOST_PER_ROUND: usize = 1_000;

/// Deletes what may go; returns how many versions went.
///
/// # Errors
/// The store's fault. What was deleted before it may go anyway.
pub async fn collect(context: &Context, shard: &str) -> Result<usize, PipelineError> {
    let listed = context.state.list(&context.keys.chain(shard)).await?;
    let doomed = doomed(
        &listed,
        context.settings.keep_versions,
        micros(collection_age()),
    );
    for key in &doomed {
        context.state.delete(key).await?;
        meet(Point::DuringCollection);
    }
    Ok(doomed.len())
}

/// The keys that may go, oldest version first.
fn doomed(listed: &[ObjectInfo], keep: usize, age: i64) -> Vec<String> {
    let mut versions: Vec<(u64, Micros, &str)> = listed
        .iter()
        .filter_map(|object| {
            let version = version_in(&object.key)?;
            Some((version, object.last_modified, object.key.as_str()))
        })
        .collect();
    versions.sort_unstable();
    let Some((_, newest, _)) = versions.last().copied() else {
        return Vec::new();
    };
    versions.truncate(versions.len().saturating_sub(keep.max(1)));
    versions
        .iter()
        // Oldest first and without gaps: what is left must always be the end of the chain.
        .take_while(|(_, modified, _)| modified.plus(age) <= newest)
        .take(MOST_PER_ROUND)
        .map(|(_, _, key)| (*key).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: u64, modified: i64) -> ObjectInfo {
        ObjectInfo {
            key: format!("shards/k1/s/{version:020}.ckpt"),
            size: 1,
            last_modified: Micros(modified),
            etag: None,
        }
    }

    fn versions(doomed: &[String]) -> Vec<u64> {
        doomed.iter().filter_map(|key| version_in(key)).collect()
    }

    #[test]
    fn only_versions_that_are_both_old_and_beyond_the_newest_few_go_oldest_first() {
        let listed: Vec<_> = [(4, 400), (1, 100), (3, 300), (2, 200), (5, 500)]
            .map(|(version, modified)| object(version, modified))
            .into();
        assert_eq!(versions(&doomed(&listed, 2, 0)), [1, 2, 3]);
        assert_eq!(versions(&doomed(&listed, 2, 300)), [1, 2]);
        assert_eq!(versions(&doomed(&listed, 2, 1_000)), [0u64; 0]);
    }

    #[test]
    fn the_newest_version_stays_whatever_is_asked_for() {
        let listed = [object(7, 0)];
        assert!(doomed(&listed, 0, 0).is_empty());
        assert!(doomed(&[], 0, 0).is_empty());
    }

    #[test]
    fn a_young_version_protects_all_above_it() {
        let listed = [object(1, 900), object(2, 0), object(3, 0), object(4, 1_000)];
        assert!(doomed(&listed, 1, 500).is_empty());
    }

    #[test]
    fn other_objects_are_left_alone() {
        let mut listed = vec![object(1, 0), object(2, 100), object(3, 100)];
        listed[0].key = "shards/k1/s/notes.txt".to_owned();
        assert_eq!(versions(&doomed(&listed, 1, 0)), [2]);
    }
}
