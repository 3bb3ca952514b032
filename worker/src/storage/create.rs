//! Create-if-absent, to a known outcome.
//!
//! Owns the one write that exactly-once rests on. Sends the caller's bytes and no others; never decides from a status
//! alone: "exists" counts only once a read has returned the object.

use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};
use stockstream_core::mutants::{Mutant, broken};

use super::classify::{Attempt, Failure};
use super::deadline::{Deadline, Expired};
use super::error::{Operation, StoreError};
use super::store::Store;

/// What a create came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// This call made the object.
    New,
    /// The object was there with our content: an earlier attempt of ours, of this process or of its predecessor.
    AlreadyOurs,
    /// The object was there with other content; these are its bytes.
    Exists(Bytes),
}

/// Asked before every attempt; an error ends the create without sending anything further.
pub type Guard<'a> = &'a (dyn Fn() -> Result<(), Expired> + Send + Sync);

/// Tells from an existing object's bytes whether it holds our content.
pub type Same<'a> = &'a (dyn Fn(&Bytes) -> bool + Send + Sync);

/// Limits and comparison of a create beyond the store's policy.
#[derive(Clone, Copy, Default)]
pub struct CreateOptions<'a> {
    /// No attempt is started or goes on after it.
    pub deadline: Option<Deadline>,
    /// Asked before every attempt.
    pub before_attempt: Option<Guard<'a>>,
    /// In place of "the bytes are equal".
    pub same: Option<Same<'a>>,
}

impl Store {
    /// Creates an object that must not exist.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when an attempt may have taken effect: keep the bytes and call again with the same. After
    /// any other error nothing was created.
    pub async fn create(&self, key: &str, bytes: Bytes) -> Result<Created, StoreError> {
        self.create_with(key, bytes, CreateOptions::default()).await
    }

    /// True when [`Store::create_all`] makes many files quicker than one by one.
    pub fn makes_many(&self) -> bool {
        self.directory.is_some()
    }

    /// Creates objects that must not exist, as far as that goes without any trouble, and says which were made. The
    /// others are to be created one by one, which finds out what is the matter. Blocks.
    ///
    /// Makes none where [`Store::makes_many`] is false. Holds a file handle an object.
    pub fn create_all(&self, objects: &[(String, Bytes)], given_up: &AtomicBool) -> Vec<bool> {
        let none = || vec![false; objects.len()];
        let Some(directory) = &self.directory else {
            return none();
        };
        let paths = objects
            .iter()
            .map(|(key, bytes)| Ok((self.root.path_of(key)?, bytes.clone())));
        let Ok(files) = paths.collect::<Result<Vec<_>, StoreError>>() else {
            return none();
        };
        for _ in objects {
            self.meter.sent(Operation::Create);
        }
        directory.create_all(&files, given_up)
    }

    /// Like [`Store::create`], with a deadline, a guard before each attempt and a comparison of content.
    ///
    /// # Errors
    /// As [`Store::create`]; [`StoreError::Expired`] when the deadline or the guard ended it before anything was sent.
    pub async fn create_with(
        &self,
        key: &str,
        bytes: Bytes,
        options: CreateOptions<'_>,
    ) -> Result<Created, StoreError> {
        let overall = Deadline::after(self.policy.overall);
        let overall = options
            .deadline
            .map_or(overall, |deadline| deadline.min(overall));
        let mut pauses = self.policy.pauses();
        // Once an attempt may have taken effect, no later failure is certain.
        let mut maybe_applied = false;
        let mut number = 1;
        loop {
            let guard = options.before_attempt.map_or(Ok(()), |guard| guard());
            if let Err(expired) = guard.and_then(|()| overall.check()) {
                return Err(self.failed(key, self.expired(key, expired), maybe_applied));
            }
            let error = match self.try_create(key, &bytes, number, overall).await? {
                Ok(()) => return Ok(Created::New),
                Err(Failure::Exists) => {
                    // From here on the object may be ours: only its bytes can tell.
                    maybe_applied = true;
                    let read = overall.run(self.get(key)).await;
                    match read.unwrap_or_else(|expired| Err(self.expired(key, expired))) {
                        Ok(Some(found)) => return Ok(compare(&bytes, found, options.same)),
                        // S3's 409 for two writers at once also reads as "exists": nothing is there yet.
                        Ok(None) => vanished(self, key, number),
                        Err(error) => return Err(self.failed(key, error, true)),
                    }
                }
                Err(Failure::Transient {
                    error,
                    maybe_applied: this,
                }) => {
                    maybe_applied |= this;
                    error
                }
                Err(Failure::Permanent(error)) => {
                    return Err(self.failed(key, error, maybe_applied));
                }
                Err(Failure::Absent) => vanished(self, key, number),
            };
            match pauses.next() {
                Some(pause) if pause < overall.remaining() => tokio::time::sleep(pause).await,
                _ => return Err(self.failed(key, error, maybe_applied)),
            }
            number += 1;
        }
    }

    async fn try_create(
        &self,
        key: &str,
        bytes: &Bytes,
        number: u32,
        overall: Deadline,
    ) -> Result<Result<(), Failure>, StoreError> {
        let path = self.root.path_of(key)?;
        let attempt = Attempt {
            root: &self.root,
            operation: Operation::Create,
            key,
            number,
        };
        let put = self.objects.put_opts(
            &path,
            PutPayload::from_bytes(bytes.clone()),
            PutOptions::from(PutMode::Create),
        );
        let limit = Deadline::after(self.policy.attempt).min(overall);
        self.meter.sent(Operation::Create);
        Ok(match limit.run(put).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(attempt.classify(&error)),
            Err(_) => Err(attempt.timed_out()),
        })
    }

    fn expired(&self, key: &str, _: Expired) -> StoreError {
        StoreError::Expired {
            url: self.url_of(key),
            operation: Operation::Create,
        }
    }

    fn failed(&self, key: &str, error: StoreError, maybe_applied: bool) -> StoreError {
        if maybe_applied {
            StoreError::Unknown {
                url: self.url_of(key),
                cause: Box::new(error),
            }
        } else {
            error
        }
    }
}

fn compare(ours: &Bytes, found: Bytes, same: Option<Same<'_>>) -> Created {
    let is_same =
        ours == &found || same.is_some_and(|same| same(&found)) || broken(Mutant::ExistsIsOurs);
    if is_same {
        Created::AlreadyOurs
    } else {
        Created::Exists(found)
    }
}

fn vanished(store: &Store, key: &str, attempts: u32) -> StoreError {
    StoreError::Unavailable {
        url: store.url_of(key),
        operation: Operation::Create,
        attempts,
        detail: "the store said that it exists, and then that it doesn't".to_owned(),
    }
}
