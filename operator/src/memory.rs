//! What an operator keeps in mind of each pipeline between two reconciles.
//!
//! Owns when AWS and workers are asked again. Nothing here is needed to be right: an operator that starts anew asks everything
//! once more.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use stockstream_crds::StockStreamStatus;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::apply::Applied;
use crate::aws::glue::CatalogLook;
use crate::aws::kinesis::StreamLook;
use crate::aws::{Standing, State};
use crate::workers::Told;

/// A part that is as it should be is looked at again after this: somebody may have changed it.
const READY_AGAIN: Duration = Duration::from_secs(300);
/// A part that AWS is changing.
const WAITING_AGAIN: Duration = Duration::from_secs(2);
/// A part that somebody has to mend: they expect it to be noticed soon.
const STUCK_AGAIN: Duration = Duration::from_secs(30);
/// A part that couldn't be told: at first after this, then ever later.
const FAILING_AGAIN: Duration = Duration::from_secs(2);
/// And at last.
const FAILING_AT_MOST: Duration = Duration::from_secs(120);

/// A look that is under way is waited for again after this.
const FETCH_AGAIN: Duration = Duration::from_secs(1);

/// Failures in a row after which what was ready counts as not ready.
const TOLD_AFTER: u32 = 3;

/// A look and when it is to be taken again.
#[derive(Clone, Debug)]
pub struct Look<T> {
    /// What it gave.
    pub found: T,
    generation: i64,
    due: Instant,
    failures: u32,
}

/// A look that has a standing.
pub trait Stands {
    /// The standing.
    fn standing(&self) -> &Standing;
}

impl Stands for Standing {
    fn standing(&self) -> &Standing {
        self
    }
}

impl Stands for StreamLook {
    fn standing(&self) -> &Standing {
        &self.standing
    }
}

impl Stands for CatalogLook {
    fn standing(&self) -> &Standing {
        &self.standing
    }
}

impl<T: Stands> Look<T> {
    /// A look that was taken now, for this generation of the spec.
    /// What was ready and can't be told just now stays as it was for a few looks: a throttled call is no news.
    pub fn new(found: T, generation: i64, before: Option<&Self>, now: Instant) -> Self
    where
        T: Clone,
    {
        let failures = match found.standing().state {
            State::Failing => before.map_or(0, |before| before.failures).saturating_add(1),
            _ => 0,
        };
        let wait = match found.standing().state {
            State::Ready => READY_AGAIN,
            State::Waiting => WAITING_AGAIN,
            State::Stuck => STUCK_AGAIN,
            State::Failing => backed_off(failures),
        };
        let kept = before.filter(|before| {
            failures > 0
                && failures < TOLD_AFTER
                && before.generation == generation
                && before.found.standing().state == State::Ready
        });
        Self {
            found: kept.map_or(found, |before| before.found.clone()),
            generation,
            due: now + wait,
            failures,
        }
    }

    /// False when it is to be taken again: its time has come, or the spec has changed.
    pub fn holds(&self, generation: i64, now: Instant) -> bool {
        self.generation == generation && now < self.due
    }

    /// When it is to be taken again.
    pub fn due(&self) -> Instant {
        self.due
    }
}

/// A part that AWS has: the look that was taken last, and the one that is under way. That one goes on between reconciles.
#[derive(Debug)]
pub struct Part<T> {
    look: Option<Look<T>>,
    under_way: Option<UnderWay<T>>,
}

/// A look that hasn't come back yet, for this generation of the spec. Who forgets it ends it.
#[derive(Debug)]
struct UnderWay<T> {
    generation: i64,
    task: JoinHandle<Option<T>>,
}

impl<T> Drop for UnderWay<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<T> Default for Part<T> {
    fn default() -> Self {
        Self {
            look: None,
            under_way: None,
        }
    }
}

impl<T: Stands + Clone + Send + 'static> Part<T> {
    /// Begins to look, if it is time and no look is under way. A look that gives `None` found nothing to look at.
    pub fn begin<F>(&mut self, generation: i64, look: impl FnOnce() -> F)
    where
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let holds = |look: &Look<T>| look.holds(generation, Instant::now());
        if self.under_way.is_none() && !self.look.as_ref().is_some_and(holds) {
            self.under_way = Some(UnderWay {
                generation,
                task: tokio::spawn(look()),
            });
        }
    }

    /// Waits for the look that is under way; what it found, if it came back in time.
    pub async fn wait_until(&mut self, until: Instant) -> Option<T> {
        let under_way = self.under_way.as_mut()?;
        let ended = tokio::time::timeout_at(until, &mut under_way.task)
            .await
            .ok()?;
        let generation = under_way.generation;
        self.under_way = None;
        let found = ended
            .inspect_err(|error| tracing::error!(event = "look_broke_off", %error))
            .ok()??;
        let now = Instant::now();
        let look = Look::new(found.clone(), generation, self.look.as_ref(), now);
        self.look = Some(look);
        Some(found)
    }

    /// What the last look found.
    pub fn found(&self) -> Option<&T> {
        self.look.as_ref().map(|look| &look.found)
    }

    /// True while a look is under way.
    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Forgets the part: the pipeline has none.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Doubling, to a bound.
pub fn backed_off(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
    FAILING_AGAIN.saturating_mul(factor).min(FAILING_AT_MOST)
}

/// What is kept of one pipeline.
#[derive(Debug, Default)]
pub struct Memory {
    /// What was applied.
    pub applied: Applied,
    /// The stream.
    pub stream: Part<StreamLook>,
    /// The catalog.
    pub catalog: Part<CatalogLook>,
    /// The buckets.
    pub storage: Part<Standing>,
    /// Changes of the number of shards that this operator asked for and the status may not show yet.
    pub scalings: Vec<Timestamp>,
    /// The status that was written last, and when.
    written: Option<(Instant, StockStreamStatus)>,
    /// What the workers told last, when, and at which addresses they were asked.
    pub asked: Option<(Instant, Vec<String>, Told)>,
    /// Ticks over all shards, and when that was told.
    pub ticks: Option<(u64, Instant)>,
    /// Ticks a second, as they were told last.
    pub tick_rate: Option<u64>,
    /// How often in a row the workers' answers changed nothing.
    pub quiet: u32,
    /// Reconciles in a row that failed.
    pub failures: u32,
}

/// Workers are asked after this, when there was something new.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// And after this, when there has been nothing for long.
const ASK_AT_MOST: Duration = Duration::from_secs(60);

/// The watch brings what was written within so long.
const SEEN_WITHIN: Duration = Duration::from_secs(3);

impl Memory {
    /// The status that was written a moment ago: the watch may not have brought it yet.
    pub fn written(&self) -> Option<StockStreamStatus> {
        let (at, status) = self.written.as_ref()?;
        (at.elapsed() < SEEN_WITHIN).then(|| status.clone())
    }

    /// A status was written now.
    pub fn wrote(&mut self, status: &StockStreamStatus) {
        self.written = Some((Instant::now(), status.clone()));
    }

    /// When the workers are to be asked again.
    pub fn ask_again(&self) -> Duration {
        let factor = 2_u32.saturating_pow(self.quiet.min(8));
        ASK_AGAIN.saturating_mul(factor).min(ASK_AT_MOST)
    }

    /// Waits for the looks that are under way.
    pub async fn settle(&mut self, until: Instant) {
        let _ = tokio::join!(
            self.stream.wait_until(until),
            self.catalog.wait_until(until),
            self.storage.wait_until(until),
        );
    }

    /// True while AWS is being looked at.
    pub fn is_looking(&self) -> bool {
        self.stream.is_under_way() || self.catalog.is_under_way() || self.storage.is_under_way()
    }

    /// The earliest moment at which a look is to be taken again, or one that is under way is to be fetched.
    pub fn due(&self) -> Option<Instant> {
        [
            self.stream.look.as_ref().map(Look::due),
            self.catalog.look.as_ref().map(Look::due),
            self.storage.look.as_ref().map(Look::due),
            self.is_looking().then(|| Instant::now() + FETCH_AGAIN),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

#[cfg(test)]
mod tests;
