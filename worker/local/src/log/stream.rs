//! A stream: its shards, how records are routed to them, and its settings. Changes that take a while
//! are in `transition`, reshards in `reshard`; must never hand out names, ARNs or messages.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{HashKeyRange, Shard, ShardMeta, ShardTip, Status, Transition};
use crate::store::{RecordStore, StoreError};

/// Who decides the number of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StreamMode {
    /// The user.
    Provisioned,
    /// The service (this one never reshards by itself).
    OnDemand,
}

/// What a stream is, without its records: this is what a durable log writes down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamMeta {
    /// Its name.
    pub name: String,
    /// When it was made: milliseconds since the Unix epoch, unique in the log, so that a stream made
    /// anew under the same name can be told from the old one.
    pub created_millis: u64,
    /// What may be changed about it.
    #[serde(flatten)]
    pub settings: Settings,
    /// The number the next shard gets.
    pub next_shard: u32,
    /// All shards, open and closed, that haven't expired.
    pub shards: Vec<ShardMeta>,
    /// The change under way.
    #[serde(default)]
    pub transition: Option<Transition>,
}

/// What may be changed about a stream at any time, beside its shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How long records are kept.
    pub retention_hours: u32,
    /// Who decides the number of shards.
    pub mode: StreamMode,
    /// Bytes of key and data a record may have.
    pub max_record_bytes: usize,
    /// The key that records are said to be encrypted with. Nothing is: there is no KMS.
    #[serde(default)]
    pub encryption_key: Option<String>,
    /// Tags by key.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Registered consumers, by name.
    #[serde(default)]
    pub consumers: BTreeMap<String, ConsumerMeta>,
    /// The highest number in an ARN of a consumer that is gone.
    #[serde(default)]
    pub gone_consumer_seconds: u64,
    /// When the number of shards was set in the last 24 hours: milliseconds since the Unix epoch.
    #[serde(default)]
    pub scaled_millis: Vec<u64>,
}

impl Settings {
    /// A provisioned stream's or an on-demand stream's, without anything else set.
    #[must_use]
    pub fn new(mode: StreamMode, retention_hours: u32, max_record_bytes: usize) -> Self {
        Self {
            retention_hours,
            mode,
            max_record_bytes,
            encryption_key: None,
            tags: BTreeMap::new(),
            consumers: BTreeMap::new(),
            gone_consumer_seconds: 0,
            scaled_millis: Vec::new(),
        }
    }

    fn retention_millis(&self) -> u64 {
        u64::from(self.retention_hours) * 3_600_000
    }
}

/// A registered consumer (enhanced fan-out).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerMeta {
    /// When it was registered: milliseconds since the Unix epoch.
    pub created_millis: u64,
    /// When it was deregistered, while it is being deleted.
    #[serde(default)]
    pub deleting_since_millis: Option<u64>,
    /// The number in its ARN: seconds since the Unix epoch of its registration, or above it where a
    /// consumer that is gone had that number.
    #[serde(default)]
    pub arn_seconds: u64,
    /// Tags by key.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// What a new stream is to be.
#[derive(Debug, Clone)]
pub struct NewStream {
    /// Its name.
    pub name: String,
    /// Open shards to begin with, at least 1.
    pub shards: u32,
    /// All else.
    pub settings: Settings,
}

impl NewStream {
    /// The stream's description, with shards that split the key space evenly. `birth` is its
    /// creation time and its shards' birth, `first_uid` the uid of the first shard.
    #[must_use]
    pub fn describe(self, birth: u64, first_uid: u64) -> StreamMeta {
        let ranges = HashKeyRange::even(self.shards);
        let shards = ranges
            .into_iter()
            .zip(0..)
            .map(|(range, number)| ShardMeta {
                uid: first_uid + u64::from(number),
                number,
                birth,
                created_millis: birth,
                range,
                parent: None,
                adjacent_parent: None,
                closed: None,
            });
        StreamMeta {
            name: self.name,
            created_millis: birth,
            settings: self.settings,
            next_shard: self.shards,
            shards: shards.collect(),
            transition: None,
        }
    }
}

/// A stream in use.
#[derive(Debug)]
pub struct Stream {
    name: String,
    created_millis: u64,
    pub(super) store: Option<Arc<dyn RecordStore>>,
    /// Whether a change is under way: so that every call can ask without a lock.
    pub(super) in_transition: AtomicBool,
    control: RwLock<Control>,
}

/// What changes in a stream's life. Writers hold off every append.
#[derive(Debug)]
pub(super) struct Control {
    pub deleted: bool,
    pub transition: Option<Transition>,
    pub settings: Settings,
    pub next_shard: u32,
    pub shards: BTreeMap<u32, Arc<Shard>>,
    /// The open shards by hash range: they cover the key space without gap or overlap.
    pub open: Vec<Arc<Shard>>,
}

impl Control {
    /// Recomputes what follows from the shards.
    pub(super) fn refresh(&mut self) {
        let open = self
            .shards
            .values()
            .filter(|shard| shard.meta().closed.is_none());
        self.open = open.cloned().collect();
        self.open.sort_by_key(|shard| shard.range().start);
    }
}

/// What appends need, with the stream held still: no shard opens or closes meanwhile.
pub struct Routes<'a> {
    control: RwLockReadGuard<'a, Control>,
}

impl Routes<'_> {
    /// The open shard that takes `hash_key`.
    #[must_use]
    pub fn shard(&self, hash_key: u128) -> Option<&Arc<Shard>> {
        let after = self
            .control
            .open
            .partition_point(|shard| shard.range().start <= hash_key);
        self.control.open.get(after.checked_sub(1)?)
    }

    /// Whether records are said to be encrypted.
    #[must_use]
    pub fn encrypted(&self) -> bool {
        self.control.settings.encryption_key.is_some()
    }

    /// Bytes of key and data a record may have.
    #[must_use]
    pub fn max_record_bytes(&self) -> usize {
        self.control.settings.max_record_bytes
    }
}

impl Stream {
    /// A stream as described; `tip` says where a shard's records lie in `store`.
    pub fn new(
        meta: StreamMeta,
        tip: impl Fn(u64) -> ShardTip,
        store: Option<Arc<dyn RecordStore>>,
    ) -> Self {
        let shards = meta.shards.into_iter().map(|shard| {
            let tip = tip(shard.uid);
            (
                shard.number,
                Arc::new(Shard::new(shard, tip, store.clone())),
            )
        });
        let in_transition = AtomicBool::new(meta.transition.is_some());
        let mut control = Control {
            deleted: false,
            transition: meta.transition,
            settings: meta.settings,
            next_shard: meta.next_shard,
            shards: shards.collect(),
            open: Vec::new(),
        };
        control.refresh();
        Self {
            name: meta.name,
            created_millis: meta.created_millis,
            store,
            in_transition,
            control: RwLock::new(control),
        }
    }

    pub(super) fn control(&self) -> RwLockReadGuard<'_, Control> {
        self.control.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn control_mut(&self) -> RwLockWriteGuard<'_, Control> {
        self.control.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it was made; another stream of the same name has another time.
    pub fn created_millis(&self) -> u64 {
        self.created_millis
    }

    /// What the stream is now.
    pub fn meta(&self) -> StreamMeta {
        self.describe(&self.control())
    }

    pub(super) fn describe(&self, control: &Control) -> StreamMeta {
        StreamMeta {
            name: self.name.clone(),
            created_millis: self.created_millis,
            settings: control.settings.clone(),
            next_shard: control.next_shard,
            shards: control.shards.values().map(|shard| shard.meta()).collect(),
            transition: control.transition.clone(),
        }
    }

    /// Whether a change is under way.
    pub fn in_transition(&self) -> bool {
        self.in_transition.load(Ordering::Acquire)
    }

    /// What the stream says of itself.
    pub fn status(&self) -> Status {
        Status::of(self.control().transition.as_ref())
    }

    /// Holds the shards still for appends; none once the stream is deleted.
    pub fn routes(&self) -> Option<Routes<'_>> {
        let control = self.control();
        (!control.deleted).then_some(Routes { control })
    }

    /// How many shards are open.
    pub fn open_shards(&self) -> usize {
        self.control().open.len()
    }

    /// A shard by its number.
    pub fn shard(&self, number: u32) -> Option<Arc<Shard>> {
        self.control().shards.get(&number).cloned()
    }

    /// All shards, by number.
    pub fn shards(&self) -> Vec<Arc<Shard>> {
        self.control().shards.values().cloned().collect()
    }

    /// The shards made from shard `number`.
    pub fn children(&self, number: u32) -> Vec<ShardMeta> {
        let control = self.control();
        let metas = control.shards.values().map(|shard| shard.meta());
        metas
            .filter(|meta| meta.parent == Some(number) || meta.adjacent_parent == Some(number))
            .collect()
    }

    /// How long records are kept.
    pub fn retention(&self) -> Duration {
        Duration::from_millis(self.control().settings.retention_millis())
    }

    /// Records that arrived before are trimmed.
    pub fn cutoff(&self, now_millis: u64) -> u64 {
        now_millis.saturating_sub(self.control().settings.retention_millis())
    }

    /// What `look` finds in the settings as they are now; none once the stream is deleted.
    pub fn inspect<T>(&self, look: impl FnOnce(&Settings) -> T) -> Option<T> {
        let control = self.control();
        (!control.deleted).then(|| look(&control.settings))
    }

    /// Wakes all who wait for one of its shards.
    pub fn wake(&self) {
        self.shards().iter().for_each(|shard| shard.wake());
    }

    /// What may be changed about it, as it is now.
    pub fn settings(&self) -> Settings {
        self.control().settings.clone()
    }

    /// Changes settings: `change` decides on a copy, `save` writes it down, then it is seen. Changes
    /// come one after the other.
    ///
    /// # Errors
    /// What `change` or `save` returns; then nothing changed.
    pub fn change<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&mut Settings) -> Result<T, E>,
        save: impl FnOnce(&StreamMeta) -> Result<(), StoreError>,
    ) -> Result<T, E> {
        let mut control = self.control_mut();
        let mut meta = self.describe(&control);
        let outcome = change(&mut meta.settings)?;
        save(&meta)?;
        control.settings = meta.settings;
        Ok(outcome)
    }

    /// Ends the stream once `forget` has removed it from the store; later appends find it deleted.
    ///
    /// # Errors
    /// What `forget` returns.
    pub fn delete(
        &self,
        forget: impl FnOnce(&StreamMeta) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut control = self.control_mut();
        forget(&self.describe(&control))?;
        control.deleted = true;
        drop(control);
        self.wake();
        Ok(())
    }

    /// Gives up expired records, and closed shards all of whose records have expired.
    ///
    /// # Errors
    /// The store can't be read, or what `save` returns.
    pub fn trim(
        &self,
        now_millis: u64,
        save: impl FnOnce(&StreamMeta) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let cutoff = self.cutoff(now_millis);
        let shards = self.shards();
        for shard in &shards {
            shard.trim_before(cutoff)?;
        }
        let expired = |shard: &Arc<Shard>| {
            shard
                .meta()
                .closed
                .is_some_and(|closed| closed.at_millis < cutoff)
        };
        if !shards.iter().any(expired) {
            return Ok(());
        }
        let mut control = self.control_mut();
        if control.deleted {
            return Ok(());
        }
        let mut meta = self.describe(&control);
        meta.shards
            .retain(|shard| shard.closed.is_none_or(|closed| closed.at_millis >= cutoff));
        save(&meta)?;
        control.shards.retain(|_, shard| !expired(shard));
        Ok(())
    }
}
