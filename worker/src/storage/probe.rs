//! Does a store keep the one promise that exactly-once rests on?
//!
//! Owns the probe that every worker runs at its start. Leaves nothing behind where it may delete.

use bytes::Bytes;
use futures::future::join_all;

use super::create::Created;
use super::error::{Operation, StoreError};
use super::store::Store;

/// Creates that race for one object.
const RACERS: usize = 16;

/// Stores whose create-if-absent is known to hold.
const KNOWN_TO_WORK: &str =
    "Stores known to work: Amazon S3, Cloudflare R2, MinIO, and a local disk through file://.";

/// What a sound store's probe saw besides.
#[derive(Debug, Default)]
pub struct ProbeReport {
    /// The probe's objects could not be deleted. Collection of old checkpoints needs that permission, output doesn't.
    pub delete_denied: Option<StoreError>,
}

/// Proves that a second create fails and that of 16 concurrent ones exactly one wins, and that what was written is
/// read and listed. Its objects lie in `_stockstream-probe/`, which readers of Hive layouts skip.
///
/// # Errors
/// [`StoreError::Unsound`] with what was tried and seen, or the fault that kept it from being tried.
pub async fn probe(store: &Store) -> Result<ProbeReport, StoreError> {
    let random = getrandom::u64().map_err(|error| StoreError::Open {
        url: store.url().to_owned(),
        detail: format!("no randomness: {error}"),
    })?;
    let folder = format!("_stockstream-probe/{random:016x}");
    let seen = check(store, &folder).await;
    let mut report = ProbeReport::default();
    for name in ["twice", "race"] {
        if let Err(error) = store.delete(&format!("{folder}/{name}")).await {
            report.delete_denied = Some(error);
        }
    }
    seen.map(|()| report)
}

async fn check(store: &Store, folder: &str) -> Result<(), StoreError> {
    twice(store, &format!("{folder}/twice")).await?;
    race(store, &format!("{folder}/race")).await?;
    let listed = store.list(folder).await?;
    if listed.len() != 2 {
        return Err(unsound(
            store,
            format!(
                "of 2 objects that were just created, its listing shows {}",
                listed.len()
            ),
        ));
    }
    Ok(())
}

async fn twice(store: &Store, key: &str) -> Result<(), StoreError> {
    let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
    match known(store.create(key, first.clone()).await)? {
        Created::New | Created::AlreadyOurs => {}
        Created::Exists(_) => {
            return Err(unsound(store, "a new object was there already".to_owned()));
        }
    }
    match known(store.create(key, second).await)? {
        Created::Exists(found) if found == first => {}
        Created::New | Created::AlreadyOurs => {
            return Err(unsound(
                store,
                "creating an object a second time succeeded and replaced it: \
                 the store ignores create-if-absent (If-None-Match: *)"
                    .to_owned(),
            ));
        }
        Created::Exists(_) => {
            return Err(unsound(
                store,
                "a create that failed changed the object".to_owned(),
            ));
        }
    }
    match store.get(key).await? {
        Some(found) if found == first => Ok(()),
        _ => Err(unsound(
            store,
            "an object that was just created can't be read back".to_owned(),
        )),
    }
}

async fn race(store: &Store, key: &str) -> Result<(), StoreError> {
    let creates = (0..RACERS).map(|racer| store.create(key, Bytes::from(format!("racer {racer}"))));
    let mut winners = Vec::new();
    for (racer, outcome) in join_all(creates).await.into_iter().enumerate() {
        match known(outcome)? {
            Created::New | Created::AlreadyOurs => winners.push(racer),
            Created::Exists(_) => {}
        }
    }
    let [winner] = winners[..] else {
        return Err(unsound(
            store,
            format!(
                "of {RACERS} concurrent creates of one object {} succeeded in place of one",
                winners.len()
            ),
        ));
    };
    match store.get(key).await? {
        Some(found) if found == format!("racer {winner}") => Ok(()),
        _ => Err(unsound(
            store,
            "after concurrent creates the object isn't that of the one that succeeded".to_owned(),
        )),
    }
}

/// A probe's object matters to nobody: what kept its outcome unknown is what the user should read.
fn known(outcome: Result<Created, StoreError>) -> Result<Created, StoreError> {
    outcome.map_err(|error| match error {
        StoreError::Unknown { cause, .. } => *cause,
        StoreError::Rejected {
            url,
            operation: Operation::Create,
            detail,
        } => StoreError::Unsound {
            url,
            reason: format!("it refuses create-if-absent: {detail}. {KNOWN_TO_WORK}"),
        },
        other => other,
    })
}

fn unsound(store: &Store, seen: String) -> StoreError {
    StoreError::Unsound {
        url: store.url().to_owned(),
        reason: format!(
            "{seen}; two workers could both believe that their write counts. {KNOWN_TO_WORK}"
        ),
    }
}
