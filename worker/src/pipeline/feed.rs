//! What a shard's runner is fed with, and the task that polls Kinesis for it.
//!
//! Owns reading ahead by one reply. Must never apply anything: it hands over in order and stops when nobody listens.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stockstream_core::sequence::Position;
use stockstream_core::state::RecordMeta;
use stockstream_core::time::{Micros, Monotonic};
use tokio::sync::{Mutex, mpsc};

use super::error::PipelineError;
use crate::clock::Clock;
use crate::source::kinesis::{
    ReaderSettings, Reading, ShardReader, StreamClient, StreamDescription, StreamError,
};

/// What comes from the source, in the shard's order.
#[derive(Debug)]
pub enum Input {
    /// Records.
    Records {
        /// In the shard's order.
        records: Vec<(RecordMeta, Bytes)>,
        /// How far behind the tip, in milliseconds; `None` for files.
        millis_behind_latest: Option<i64>,
        /// Files: the marks after the last of these records.
        marks: Vec<u64>,
    },
    /// Nothing at the tip.
    EmptyAtTip {
        /// When the request was sent.
        sent: Monotonic,
        /// The same, by the clock.
        wall: Micros,
    },
    /// Nothing here, more further on.
    Behind(i64),
    /// The shard has been read to its end.
    Closed {
        /// Its children.
        children: Vec<String>,
    },
    /// The stream of this incarnation no longer exists.
    Gone,
    /// Bounded input has come to its end.
    End,
    /// A call failed; it is tried again.
    Trouble(StreamError),
    /// Reading can't go on.
    Failed(PipelineError),
}

/// Replies held ready while the runner is busy.
const READ_AHEAD: usize = 1;

/// How long a call that is refused waits before it is tried again.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// Checks that the stream is still the one that the state knows.
///
/// One description serves all iterators obtained before it was asked for.
#[derive(Debug)]
pub struct IncarnationGuard {
    client: Arc<dyn StreamClient>,
    clock: Clock,
    created_millis: i64,
    /// When the last description that agreed was asked for.
    confirmed: Mutex<Option<Monotonic>>,
}

impl IncarnationGuard {
    /// A guard for the life of the stream that was created then.
    pub fn new(client: Arc<dyn StreamClient>, clock: Clock, created_millis: i64) -> Self {
        IncarnationGuard {
            client,
            clock,
            created_millis,
            confirmed: Mutex::new(None),
        }
    }

    /// The stream's client.
    pub fn client(&self) -> &Arc<dyn StreamClient> {
        &self.client
    }

    /// True when the stream that an iterator obtained at `obtained` belongs to is the known one.
    ///
    /// # Errors
    /// The stream's fault.
    pub async fn confirm(&self, obtained: Monotonic) -> Result<bool, StreamError> {
        let mut confirmed = self.confirmed.lock().await;
        if confirmed.is_some_and(|at| at > obtained) {
            return Ok(true);
        }
        let asked = self.clock.monotonic();
        let found = self.client.describe().await?;
        let same = found.created_millis == self.created_millis;
        if same {
            *confirmed = Some(asked);
        }
        Ok(same)
    }

    /// Describes the stream.
    ///
    /// # Errors
    /// The stream's fault.
    pub async fn describe(&self) -> Result<StreamDescription, StreamError> {
        self.client.describe().await
    }
}

/// Starts to poll a shard from `position`. The task ends when the receiver is dropped, the shard ends or reading fails.
pub fn poll_kinesis(
    guard: Arc<IncarnationGuard>,
    clock: Clock,
    shard: String,
    settings: ReaderSettings,
    position: Position,
) -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let client = guard.client().clone();
    let reader = ShardReader::new(client, clock.clone(), shard, settings, position);
    tokio::spawn(async move {
        let mut poll = Poll {
            guard,
            clock,
            reader,
            sender: sender.clone(),
        };
        tokio::select! {
            () = poll.run() => {}
            () = sender.closed() => {}
        }
    });
    receiver
}

struct Poll {
    guard: Arc<IncarnationGuard>,
    clock: Clock,
    reader: ShardReader,
    sender: mpsc::Sender<Input>,
}

impl Poll {
    async fn run(&mut self) {
        loop {
            let next = self.next().await;
            let last = matches!(next, Input::Closed { .. } | Input::Failed(_));
            let refused = matches!(&next, Input::Trouble(error) if !error.is_transient());
            if self.sender.send(next).await.is_err() || last {
                return;
            }
            if refused {
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }

    async fn next(&mut self) -> Input {
        if self.reader.needs_iterator()
            && let Err(input) = self.enter().await
        {
            return input;
        }
        match self.reader.read().await {
            Ok(reading) => handed_over(reading),
            Err(StreamError::ExpiredIterator) => Input::Behind(0),
            Err(error) => self.judge(error).await,
        }
    }

    /// Gets an iterator, and makes sure that it belongs to the stream that the state knows.
    async fn enter(&mut self) -> Result<(), Input> {
        if let Err(error) = self.reader.ensure_iterator().await {
            tokio::time::sleep(Duration::from_millis(200)).await;
            return Err(self.judge(error).await);
        }
        match self.guard.confirm(self.clock.monotonic()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.changed().await),
            Err(error) => Err(self.judge(error).await),
        }
    }

    /// What a fault means: another life of the stream explains some of them.
    async fn judge(&mut self, error: StreamError) -> Input {
        if matches!(
            error,
            StreamError::NotFound { .. } | StreamError::Invalid { .. }
        ) && let Ok(false) = self.guard.confirm(self.clock.monotonic()).await
        {
            return self.changed().await;
        }
        Input::Trouble(error)
    }

    async fn changed(&self) -> Input {
        let found = match self.guard.describe().await {
            Ok(found) => format!("k{}", found.created_millis),
            Err(error) => format!("unknown ({error})"),
        };
        Input::Failed(PipelineError::StreamChanged {
            stream: self.guard.client().name().to_owned(),
            expected: format!("k{}", self.guard.created_millis),
            found,
        })
    }
}

fn handed_over(reading: Reading) -> Input {
    match reading {
        Reading::Records {
            records,
            millis_behind_latest,
        } => Input::Records {
            records: records
                .into_iter()
                .map(|record| {
                    let meta = RecordMeta {
                        sequence: record.sequence,
                        arrival: record.arrival,
                    };
                    (meta, record.data)
                })
                .collect(),
            millis_behind_latest: Some(millis_behind_latest),
            marks: Vec::new(),
        },
        Reading::EmptyAtTip { sent, wall } => Input::EmptyAtTip { sent, wall },
        Reading::Empty {
            millis_behind_latest,
        } => Input::Behind(millis_behind_latest),
        Reading::Closed { children } => Input::Closed { children },
    }
}
