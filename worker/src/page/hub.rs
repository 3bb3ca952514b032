//! One look at the pipeline a second, for all watchers together, as long as there are any.
//!
//! Owns who watches, the newest view and its bytes. Must never look while nobody watches, nor wait for a slow watcher:
//! one that missed a change gets the whole view again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::changes::Parts;
use super::gather::{Gatherer, Memory};
use super::view::PipelineView;
use crate::ambient;

/// Between two looks; with many tickers, twice as long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY_WITH_MANY: Duration = Duration::from_secs(2);
const MANY_TICKERS: usize = 1_000;
/// Most that watch at the same time.
pub(super) const MAX_WATCHERS: usize = 32;

/// The view of one look.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Counts looks; a change leads from the number before to this one.
    pub(super) number: u64,
    pub(super) view: PipelineView,
    /// What changed since the number before, as JSON.
    pub(super) change: Bytes,
    full: OnceLock<Bytes>,
}

impl Snapshot {
    /// The whole view as JSON; made once, when first asked for.
    pub(super) fn full(&self) -> Bytes {
        let full = || serde_json::to_vec(&self.view).unwrap_or_default().into();
        self.full.get_or_init(full).clone()
    }
}

/// The newest snapshot; none before the first look.
type Newest = Option<Arc<Snapshot>>;

/// Where watchers meet.
#[derive(Debug)]
pub(super) struct Hub {
    gatherer: Gatherer,
    watchers: Mutex<Watchers>,
    newest: watch::Sender<Newest>,
    stopped: watch::Receiver<bool>,
    number: AtomicU64,
    /// Tells the looks of this process from those of another.
    pub(super) life: String,
}

#[derive(Debug, Default)]
struct Watchers {
    count: usize,
    looking: bool,
}

/// Somebody who watches, until dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    hub: Arc<Hub>,
    pub(super) newest: watch::Receiver<Newest>,
}

impl Hub {
    pub(super) fn new(gatherer: Gatherer, stopped: watch::Receiver<bool>) -> Self {
        Hub {
            gatherer,
            watchers: Mutex::default(),
            newest: watch::Sender::new(None),
            stopped,
            number: AtomicU64::new(0),
            life: format!("{:08x}", ambient::random_u64().unwrap_or_default() >> 32),
        }
    }

    /// Begins to watch; `None` when [`MAX_WATCHERS`] do already.
    pub(super) fn watch(self: &Arc<Self>) -> Option<Watcher> {
        let mut watchers = self.lock();
        if watchers.count >= MAX_WATCHERS {
            return None;
        }
        watchers.count += 1;
        if !std::mem::replace(&mut watchers.looking, true) {
            // What was seen when somebody watched last is of no use.
            self.newest.send_replace(None);
            tokio::spawn(Arc::clone(self).look_while_watched());
        }
        Some(Watcher {
            hub: Arc::clone(self),
            newest: self.newest.subscribe(),
        })
    }

    /// How many watch.
    pub(super) fn count(&self) -> usize {
        self.lock().count
    }

    async fn look_while_watched(self: Arc<Self>) {
        let mut looking = Looking(Some(Arc::clone(&self)));
        let mut memory = Memory::default();
        let mut parts = Parts::default();
        let mut stopped = self.stopped.clone();
        loop {
            let began = Instant::now();
            let view = self.gatherer.gather(&mut memory).await;
            let many = view.tickers.len() > MANY_TICKERS;
            match Parts::of(&view) {
                Ok(next) => {
                    self.show(view, &parts, &next);
                    parts = next;
                }
                Err(error) => {
                    tracing::warn!(event = "page_failed", cause = %error, "the page isn't renewed");
                }
            }
            let next = began
                + if many {
                    LOOK_EVERY_WITH_MANY
                } else {
                    LOOK_EVERY
                };
            tokio::select! {
                () = sleep_until(next) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            let mut watchers = self.lock();
            if watchers.count == 0 {
                watchers.looking = false;
                looking.0 = None;
                self.newest.send_replace(None);
                return;
            }
        }
    }

    fn show(&self, view: PipelineView, before: &Parts, after: &Parts) {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let change = before.changes(after).to_string().into();
        let snapshot = Snapshot {
            number,
            view,
            change,
            full: OnceLock::new(),
        };
        self.newest.send_replace(Some(Arc::new(snapshot)));
    }

    fn lock(&self) -> MutexGuard<'_, Watchers> {
        // Counting can't panic.
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever watches next must look anew, however the look before ended.
struct Looking(Option<Arc<Hub>>);

impl Drop for Looking {
    fn drop(&mut self) {
        if let Some(hub) = self.0.take() {
            hub.lock().looking = false;
        }
    }
}

impl Watcher {
    /// The newest snapshot, waiting for the first; `None` when the server stops.
    pub(super) async fn snapshot(&mut self) -> Newest {
        let mut stopped = self.hub.stopped.clone();
        tokio::select! {
            newest = self.newest.wait_for(Option::is_some) => newest.ok()?.clone(),
            _ = stopped.wait_for(|stopped| *stopped) => None,
        }
    }

    /// The next snapshot; `None` when the server stops.
    pub(super) async fn next(&mut self) -> Newest {
        let mut stopped = self.hub.stopped.clone();
        tokio::select! {
            changed = self.newest.changed() => changed.ok()?,
            _ = stopped.wait_for(|stopped| *stopped) => return None,
        }
        self.snapshot().await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.hub.lock().count -= 1;
    }
}
