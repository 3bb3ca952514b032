//! Does a store keep the one promise that exactly-once rests on?
//!
//! Owns the probe that every worker runs at its start. Leaves nothing behind where it may delete, and two objects
//! with fixed names where it may not.

use bytes::Bytes;
use futures::future::join_all;

use super::create::Created;
use super::error::{Operation, StoreError};
use super::store::Store;
use crate::ambient;

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

/// Where the probe's objects lie; readers of Hive layouts skip such names.
const FOLDER: &str = "_stockstream-probe";

/// Proves that a second create fails and that of 16 concurrent ones exactly one wins, and that what was written is
/// read and listed.
///
/// With the permission to delete, each probe has names of its own. Without it names are fixed, so that leftovers
/// don't grow; a later probe then finds the objects there and proves that no create changes them. Nobody deletes
/// those, so probes at the same time don't disturb each other.
///
/// # Errors
/// [`StoreError::Unsound`] with what was tried and seen, or the fault that kept it from being tried.
pub async fn probe(store: &Store) -> Result<ProbeReport, StoreError> {
    let random = ambient::random_u64().map_err(|error| StoreError::Open {
        url: store.url().to_owned(),
        detail: format!("no randomness: {error}"),
    })?;
    let tag = format!("{random:016x}");
    // Deleting what isn't there needs the permission too.
    if let Err(error) = store.delete(&format!("{FOLDER}/{tag}")).await {
        let probed = Probe {
            store,
            folder: format!("{FOLDER}/kept"),
            tag,
            kept: true,
        };
        probed.check().await?;
        return Ok(ProbeReport {
            delete_denied: Some(error),
        });
    }
    let folder = format!("{FOLDER}/{tag}");
    let probed = Probe {
        store,
        folder: folder.clone(),
        tag,
        kept: false,
    };
    let seen = probed.check().await;
    let mut report = ProbeReport::default();
    for name in ["twice", "race"] {
        if let Err(error) = store.delete(&format!("{folder}/{name}")).await {
            report.delete_denied = Some(error);
        }
    }
    seen.map(|()| report)
}

/// One probe of a store.
struct Probe<'a> {
    store: &'a Store,
    folder: String,
    /// What tells this probe's bytes from those of every other one.
    tag: String,
    /// Names are fixed: the objects may be there already, made by another probe.
    kept: bool,
}

impl Probe<'_> {
    async fn check(&self) -> Result<(), StoreError> {
        self.twice(&format!("{}/twice", self.folder)).await?;
        self.race(&format!("{}/race", self.folder)).await?;
        let listed = self.store.list(&self.folder).await?;
        if listed.len() != 2 {
            return Err(self.unsound(format!(
                "of 2 objects that were just created, its listing shows {}",
                listed.len()
            )));
        }
        Ok(())
    }

    async fn twice(&self, key: &str) -> Result<(), StoreError> {
        let first = Bytes::from(format!("first {}", self.tag));
        let second = Bytes::from(format!("second {}", self.tag));
        let there = match known(self.store.create(key, first.clone()).await)? {
            Created::New | Created::AlreadyOurs => first,
            Created::Exists(found) if self.kept => found,
            Created::Exists(_) => {
                return Err(self.unsound("a new object was there already".to_owned()));
            }
        };
        match known(self.store.create(key, second).await)? {
            Created::Exists(found) if found == there => {}
            Created::New | Created::AlreadyOurs => {
                return Err(self.unsound(
                    "creating an object a second time succeeded and replaced it: \
                     the store ignores create-if-absent (If-None-Match: *)"
                        .to_owned(),
                ));
            }
            Created::Exists(_) => {
                return Err(self.unsound("a create that failed changed the object".to_owned()));
            }
        }
        match self.store.get(key).await? {
            Some(found) if found == there => Ok(()),
            _ => Err(self.unsound("an object that was just created can't be read back".to_owned())),
        }
    }

    async fn race(&self, key: &str) -> Result<(), StoreError> {
        let bytes = |racer: usize| Bytes::from(format!("racer {racer} {}", self.tag));
        let creates = (0..RACERS).map(|racer| self.store.create(key, bytes(racer)));
        let mut winners = Vec::new();
        let mut there = None;
        for (racer, outcome) in join_all(creates).await.into_iter().enumerate() {
            match known(outcome)? {
                Created::New | Created::AlreadyOurs => winners.push(racer),
                Created::Exists(found) => there = Some(found),
            }
        }
        let expected = match (&winners[..], there) {
            ([winner], _) => bytes(*winner),
            // Another probe, before this one or beside it, made the object.
            ([], Some(found)) if self.kept => found,
            _ => {
                return Err(self.unsound(format!(
                    "of {RACERS} concurrent creates of one object {} succeeded in place of one",
                    winners.len()
                )));
            }
        };
        match self.store.get(key).await? {
            Some(found) if found == expected => Ok(()),
            _ => Err(self.unsound(
                "after concurrent creates the object isn't that of the one that succeeded"
                    .to_owned(),
            )),
        }
    }

    fn unsound(&self, seen: String) -> StoreError {
        StoreError::Unsound {
            url: self.store.url().to_owned(),
            reason: format!(
                "{seen}; two workers could both believe that their write counts. {KNOWN_TO_WORK}"
            ),
        }
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
