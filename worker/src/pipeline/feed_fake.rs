//! A stream of one's own making, and a shard of it that is polled at once, for the tests of feeding.

use std::fmt;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use async_trait::async_trait;
use stockstream_core::hash::HashRange;

use super::*;
use crate::source::kinesis::{ListedShard, Listing, Reply, StreamRecord};

/// A stream that keeps records for a day, at first, and doesn't list the shard any more. Its replies are numbered from 0: a new iterator goes on
/// with the one after the last.
pub(super) struct Fake<F> {
    reply: F,
    next: AtomicU64,
    retention_hours: Arc<AtomicI32>,
}

impl<F> Fake<F> {
    pub(super) fn new(reply: F) -> Arc<Self> {
        Self::keeping(Arc::new(AtomicI32::new(24)), reply)
    }

    /// With a retention that changes.
    pub(super) fn keeping(retention_hours: Arc<AtomicI32>, reply: F) -> Arc<Self> {
        Arc::new(Fake {
            reply,
            next: AtomicU64::new(0),
            retention_hours,
        })
    }
}

impl<F> fmt::Debug for Fake<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

#[async_trait]
impl<F: Fn(u64) -> Result<Reply, StreamError> + Send + Sync> StreamClient for Fake<F> {
    fn name(&self) -> &str {
        "fake"
    }

    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        Ok(StreamDescription {
            created_millis: 1,
            is_active: true,
            retention_hours: self.retention_hours.load(Ordering::SeqCst),
        })
    }

    async fn list_shards(&self, _: Listing) -> Result<Vec<ListedShard>, StreamError> {
        Ok(vec![ListedShard {
            id: "another".to_owned(),
            range: HashRange::ALL,
            parents: Vec::new(),
            closed: false,
        }])
    }

    async fn iterator(&self, _: &str, _: &Position) -> Result<String, StreamError> {
        Ok(self.next.load(Ordering::SeqCst).to_string())
    }

    async fn get_records(&self, iterator: &str, _: i32) -> Result<Reply, StreamError> {
        let number = iterator.parse().map_err(|_| StreamError::ExpiredIterator)?;
        self.next.store(number + 1, Ordering::SeqCst);
        (self.reply)(number)
    }
}

/// Reply `number`: these records, or none.
pub(super) fn reply(
    number: u64,
    record: Option<StreamRecord>,
    millis_behind: i64,
) -> Result<Reply, StreamError> {
    Ok(Reply {
        records: record.into_iter().collect(),
        next: Some((number + 1).to_string()),
        millis_behind_latest: millis_behind,
        children: Vec::new(),
    })
}

/// A record of so many bytes.
pub(super) fn record(sequence: u64, arrival: Micros, bytes: usize) -> StreamRecord {
    StreamRecord {
        sequence: SequenceNumber::from(sequence),
        arrival,
        data: Bytes::from(vec![0; bytes]),
    }
}

/// Where a shard's reading begins, with what every test here has in common.
pub(super) fn start(shard: &str, budget: ReadBudget) -> PollStart {
    PollStart {
        shard: shard.to_owned(),
        position: Position::TrimHorizon,
        read_through: None,
        retention: Duration::from_secs(24 * 3_600),
        on_data_loss: OnDataLoss::Fail,
        budget,
    }
}

/// Polls without any pause.
pub(super) fn poll_at_once(
    client: Arc<dyn StreamClient>,
    start: PollStart,
) -> mpsc::Receiver<Input> {
    let clock = Clock::system();
    let guard = Arc::new(IncarnationGuard::new(client, clock.clone(), 1));
    let at_once = ReaderSettings {
        interval: Duration::ZERO,
        idle_interval: Duration::ZERO,
        bytes_per_second: u64::MAX,
        limit: 10_000,
    };
    poll_kinesis(guard, clock, start, at_once)
}
