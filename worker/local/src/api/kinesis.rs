//! The in-process Kinesis: all streams, their store and clock. Operations are in `control`, `shards`
//! and `data`; here are the state they share and the upkeep.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::limits::Limits;
use super::shards::reshard_error;
use super::subscription::Subscriptions;
use super::{ErrorKind, KinesisError, StreamRef};
use crate::clock::{Clock, SystemClock};
use crate::log::{Birth, Change, ChangeError, Shard, Status, Stream, StreamMeta, When};
use crate::store::{DiskOptions, DiskStore, Ids, RecordStore, StoreError};

/// Where records are kept.
#[derive(Debug, Clone)]
pub enum Storage {
    /// In memory; gone with the process.
    Memory {
        /// Bytes of records at most, overhead included: above it the oldest are given up.
        max_bytes: u64,
    },
    /// In a directory, which this process then owns alone.
    Directory(DiskOptions),
}

impl Default for Storage {
    fn default() -> Self {
        Self::Memory {
            max_bytes: 1024 * 1024 * 1024,
        }
    }
}

/// How long a stream or consumer says that it isn't active yet or any more, as AWS's do for seconds to
/// minutes. All zero by default: over when the call returns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delays {
    /// CREATING, of streams and consumers.
    pub creating: Duration,
    /// UPDATING, of streams.
    pub updating: Duration,
    /// DELETING, of streams and consumers.
    pub deleting: Duration,
}

/// How to open a [`Kinesis`].
#[derive(Debug, Clone)]
pub struct KinesisOptions {
    /// Where records are kept.
    pub storage: Storage,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// The account in ARNs and messages.
    pub account_id: String,
    /// Bytes of the newest records that a durable log also keeps in memory, for readers at the tip.
    pub tail_bytes: usize,
    /// How long changes take.
    pub delays: Delays,
    /// Whether AWS's rates are enforced: what a shard takes and gives, and how often calls may come.
    pub enforce_limits: bool,
}

impl Default for KinesisOptions {
    fn default() -> Self {
        Self {
            storage: Storage::default(),
            clock: Arc::new(SystemClock::new()),
            account_id: "000000000000".to_owned(),
            tail_bytes: 128 * 1024 * 1024,
            delays: Delays::default(),
            enforce_limits: false,
        }
    }
}

/// Who calls, as far as answers depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The region in ARNs: the one that the request was signed for.
    pub region: String,
}

impl Default for Caller {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
        }
    }
}

/// All streams of one account. Operations take `&self`, don't block on anything but the disk and may
/// be called from any thread; call [`Kinesis::maintain`] every second or so.
#[derive(Debug)]
pub struct Kinesis {
    pub(super) options: KinesisOptions,
    pub(super) store: Option<Arc<DiskStore>>,
    pub(super) streams: RwLock<BTreeMap<String, Arc<Stream>>>,
    ids: Mutex<Ids>,
    pub(super) subscriptions: Subscriptions,
    /// Shards in all, refreshed by upkeep: what the memory for newest records is divided by.
    shards: AtomicUsize,
    pub(super) limits: Limits,
}

impl Kinesis {
    /// Opens the log: empty in memory, or with what its directory holds.
    ///
    /// # Errors
    /// The directory can't be opened: in use, not writable, damaged.
    pub fn open(options: KinesisOptions) -> Result<Self, StoreError> {
        let Storage::Directory(disk) = &options.storage else {
            return Ok(Self {
                limits: Limits::new(options.enforce_limits),
                options,
                store: None,
                streams: RwLock::default(),
                ids: Mutex::default(),
                subscriptions: Subscriptions::default(),
                shards: AtomicUsize::new(0),
            });
        };
        let (store, recovered) = DiskStore::open(disk.clone())?;
        let store = Arc::new(store);
        let records: Arc<dyn RecordStore> = store.clone();
        let tip = |uid| recovered.tips.get(&uid).copied().unwrap_or_default();
        let streams = recovered.streams.into_iter().map(|meta| {
            let name = meta.name.clone();
            (
                name,
                Arc::new(Stream::new(meta, tip, Some(records.clone()))),
            )
        });
        Ok(Self {
            streams: RwLock::new(streams.collect()),
            ids: Mutex::new(recovered.ids),
            subscriptions: Subscriptions::default(),
            shards: AtomicUsize::new(recovered.tips.len()),
            store: Some(store),
            limits: Limits::new(options.enforce_limits),
            options,
        })
    }

    /// The time now: milliseconds since the Unix epoch.
    pub(super) fn now(&self) -> u64 {
        self.options.clock.wall_millis()
    }

    /// Whether operations touch a disk.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.store.is_some()
    }

    pub(super) fn record_store(&self) -> Option<Arc<dyn RecordStore>> {
        self.store
            .clone()
            .map(|store| store as Arc<dyn RecordStore>)
    }

    /// Numbers for `shards` new shards: unique, and a birth above all before, whatever the clock says.
    pub(super) fn give_birth(&self, shards: u32) -> Birth {
        let now_millis = self.now();
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.last_birth = now_millis.max(ids.last_birth + 1);
        let first_uid = ids.next_uid;
        ids.next_uid += u64::from(shards);
        Birth {
            birth: ids.last_birth,
            first_uid,
            now_millis,
        }
    }

    /// Writes down what a stream is, if the log is durable.
    pub(super) fn save(&self, stream: &StreamMeta) -> Result<(), StoreError> {
        let ids = *self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.store {
            Some(store) => store.save_stream(stream, ids),
            None => Ok(()),
        }
    }

    pub(super) fn no_stream(&self, name: &str) -> KinesisError {
        let account = &self.options.account_id;
        KinesisError::not_found(format!("Stream {name} under account {account} not found."))
    }

    /// The stream of that name, as it is now.
    pub(super) fn stream(&self, name: &str) -> Result<Arc<Stream>, KinesisError> {
        let found = {
            let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
            streams.get(name).cloned()
        };
        let stream = found.ok_or_else(|| self.no_stream(name))?;
        if self.settle(&stream)? {
            return Err(self.no_stream(name));
        }
        Ok(stream)
    }

    /// Makes the change that is under way if it is time; true when the stream is gone by it.
    pub(super) fn settle(&self, stream: &Arc<Stream>) -> Result<bool, KinesisError> {
        let gone = stream
            .settle(self.now(), &mut |shards| self.give_birth(shards), |meta| {
                self.save(meta)
            })
            .map_err(|error| self.change_error(stream.name(), error))?;
        if gone {
            self.remove(stream)?;
        }
        Ok(gone)
    }

    /// Begins a change of a stream that takes `delay`; `prepare` may refuse it.
    pub(super) fn begin(
        &self,
        stream: &Stream,
        change: Change,
        delay: Duration,
        prepare: impl FnOnce(&mut StreamMeta) -> Result<(), KinesisError>,
    ) -> Result<(), KinesisError> {
        let when = When {
            now_millis: self.now(),
            delay_millis: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        };
        stream
            .begin(
                change,
                when,
                |meta| prepare(meta).map_err(Refused::Request),
                &mut |shards| self.give_birth(shards),
                |meta| self.save(meta),
            )
            .map_err(|refused| match refused {
                Refused::Request(error) => error,
                Refused::Stream(error) => self.change_error(stream.name(), error),
            })
    }

    fn change_error(&self, name: &str, error: ChangeError) -> KinesisError {
        match error {
            ChangeError::NotActive(status) => self.not_active(name, status),
            ChangeError::Deleted => self.no_stream(name),
            ChangeError::Reshard(error) => reshard_error(name, &self.options.account_id, error),
            ChangeError::Store(error) => error.into(),
        }
    }

    pub(super) fn not_active(&self, name: &str, status: Status) -> KinesisError {
        let (account, status) = (&self.options.account_id, status.name());
        KinesisError::new(
            ErrorKind::ResourceInUse,
            format!("Stream {name} under account {account} not ACTIVE, instead in state {status}"),
        )
    }

    /// Refuses unless the stream is ACTIVE.
    pub(super) fn check_active(&self, stream: &Stream) -> Result<(), KinesisError> {
        match stream.status() {
            Status::Active => Ok(()),
            status => Err(self.not_active(stream.name(), status)),
        }
    }

    /// The stream that a request names, by name or ARN, for reading and writing records: one that is
    /// being created isn't there yet.
    pub(super) fn resolve_data(&self, reference: &StreamRef) -> Result<Arc<Stream>, KinesisError> {
        let stream = self.resolve(reference)?;
        if stream.in_transition() && stream.status() == Status::Creating {
            return Err(self.no_stream(stream.name()));
        }
        Ok(stream)
    }

    /// The stream that a request names, by name or ARN.
    pub(super) fn resolve(&self, reference: &StreamRef) -> Result<Arc<Stream>, KinesisError> {
        let name = self.name_of(reference)?;
        self.stream(&name)
    }

    /// The name in a request's name or ARN.
    pub(super) fn name_of(&self, reference: &StreamRef) -> Result<String, KinesisError> {
        let by_arn = match &reference.stream_arn {
            Some(arn) => Some(self.name_in_arn(arn)?),
            None => None,
        };
        match (&reference.stream_name, by_arn) {
            (Some(name), Some(by_arn)) if *name != by_arn => {
                Err(KinesisError::invalid_argument(format!(
                    "StreamName {name} and StreamARN {} name different streams.",
                    reference.stream_arn.as_deref().unwrap_or_default()
                )))
            }
            (Some(name), _) => Ok(name.clone()),
            (None, Some(by_arn)) => Ok(by_arn),
            (None, None) => Err(KinesisError::invalid_argument(
                "Either StreamName or StreamARN must be specified.",
            )),
        }
    }

    /// The stream's name in an ARN such as `arn:aws:kinesis:us-east-1:000000000000:stream/ticks`.
    pub(super) fn name_in_arn(&self, arn: &str) -> Result<String, KinesisError> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", partition, "kinesis", _region, account, resource] = parts[..] else {
            return Err(invalid_arn(arn));
        };
        let name = resource
            .strip_prefix("stream/")
            .filter(|name| !name.is_empty());
        match name {
            Some(name) if partition.starts_with("aws") && account == self.options.account_id => {
                Ok(name.to_owned())
            }
            Some(name) if partition.starts_with("aws") => Err(KinesisError::not_found(format!(
                "Stream {name} under account {account} not found."
            ))),
            _ => Err(invalid_arn(arn)),
        }
    }

    /// The ARN of a stream for a caller.
    pub(super) fn arn(&self, caller: &Caller, name: &str) -> String {
        format!(
            "arn:aws:kinesis:{}:{}:stream/{name}",
            caller.region, self.options.account_id
        )
    }

    pub(super) fn all_streams(&self) -> Vec<Arc<Stream>> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.values().cloned().collect()
    }

    /// Upkeep: gives up expired records and those above the cap, and makes appends survive a power
    /// failure. To be called every second or so; what it takes is bounded by what expired.
    ///
    /// # Errors
    /// The disk fails; calling again later is right.
    pub fn maintain(&self) -> Result<(), StoreError> {
        let now = self.now();
        for stream in &self.all_streams() {
            if let Err(error) = self.settle(stream) {
                tracing::warn!(%error, stream = stream.name(), "a change is still under way");
            }
        }
        self.subscriptions.forget(self.options.clock.monotonic());
        let streams = self.all_streams();
        for stream in &streams {
            stream.trim(now, |meta| self.save(meta))?;
        }
        let shards = streams.iter().map(|stream| stream.shards().len()).sum();
        self.shards.store(shards, Ordering::Relaxed);
        match (&self.store, &self.options.storage) {
            (Some(store), _) => {
                store.sync()?;
                store.trim(&|| {
                    let streams = self.all_streams();
                    let shards = streams.iter().flat_map(|stream| stream.shards());
                    shards.map(|shard| (shard.uid(), shard)).collect()
                })
            }
            (None, Storage::Memory { max_bytes }) => {
                trim_memory(&streams, *max_bytes);
                Ok(())
            }
            (None, Storage::Directory(_)) => Ok(()),
        }
    }

    /// How much of the newest records a shard keeps in memory beside the store.
    pub(super) fn tail_budget(&self) -> usize {
        (self.options.tail_bytes / self.shards.load(Ordering::Relaxed).max(1))
            .clamp(64 * 1024, 8 * 1024 * 1024)
    }
}

/// Who refused a change: the request's own rules, or the stream.
enum Refused {
    Request(KinesisError),
    Stream(ChangeError),
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        Self::Stream(error)
    }
}

fn invalid_arn(arn: &str) -> KinesisError {
    KinesisError::invalid_argument(format!(
        "StreamARN {arn} is invalid: arn:aws:kinesis:REGION:ACCOUNT:stream/NAME is expected."
    ))
}

/// Gives up the oldest records of all shards until `max_bytes` are kept.
fn trim_memory(streams: &[Arc<Stream>], max_bytes: u64) {
    let shards: Vec<Arc<Shard>> = streams.iter().flat_map(|stream| stream.shards()).collect();
    let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    loop {
        let held: Vec<_> = shards.iter().map(|shard| (shard, shard.memory())).collect();
        let total: usize = held.iter().map(|(_, (_, bytes))| bytes).sum();
        let oldest = held
            .iter()
            .filter_map(|(shard, (oldest, bytes))| Some(((*oldest)?, *bytes, shard)))
            .min_by_key(|(oldest, _, _)| *oldest);
        let Some((_, bytes, shard)) = oldest.filter(|_| total > max_bytes) else {
            return;
        };
        // In steps, so that shards of the same age lose alike.
        shard.trim_bytes((total - max_bytes).min(bytes.div_ceil(8)).max(1));
    }
}
