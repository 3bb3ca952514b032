//! Looks at AWS that go on between reconciles.
//!
//! Owns when a look is to be taken again, and what is believed while one fails. Must never hold up who asks: what hasn't come
//! back is fetched later.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::aws::glue::CatalogLook;
use crate::aws::kinesis::StreamLook;
use crate::aws::{Standing, State};

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
            State::Waiting | State::Unseen => WAITING_AGAIN,
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
}

/// A task that goes on between reconciles. Who forgets it ends it.
#[derive(Debug)]
pub struct Task<T>(Option<Running<T>>);

#[derive(Debug)]
struct Running<T> {
    generation: i64,
    task: JoinHandle<T>,
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<T> Default for Task<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> Task<T> {
    /// Begins it for this generation of the spec, unless one runs.
    pub fn begin<F>(&mut self, generation: i64, task: impl FnOnce() -> F)
    where
        F: Future<Output = T> + Send + 'static,
    {
        if self.0.is_none() {
            let task = tokio::spawn(task());
            self.0 = Some(Running { generation, task });
        }
    }

    /// Waits for it; its generation and what it gave, if it ended in time.
    pub async fn wait_until(&mut self, until: Instant) -> Option<(i64, T)> {
        let running = self.0.as_mut()?;
        let ended = tokio::time::timeout_at(until, &mut running.task)
            .await
            .ok()?;
        let generation = running.generation;
        self.0 = None;
        let given = ended
            .inspect_err(|error| tracing::error!(event = "task_broke_off", %error))
            .ok()?;
        Some((generation, given))
    }

    /// True while it runs, or what it gave wasn't fetched.
    pub fn is_running(&self) -> bool {
        self.0.is_some()
    }
}

/// A part that AWS has: the look that was taken last, and the one that is under way.
#[derive(Debug)]
pub struct Part<T> {
    look: Option<Look<T>>,
    under_way: Task<Option<T>>,
    /// What looks found and nobody has taken: a step is told once, also when its look is hidden behind a better one.
    news: Vec<T>,
}

impl<T> Default for Part<T> {
    fn default() -> Self {
        Self {
            look: None,
            under_way: Task::default(),
            news: Vec::new(),
        }
    }
}

impl<T: Stands + Clone + Send + 'static> Part<T> {
    /// Begins to look, if it is time and no look is under way; whether it did. A look that gives `None` found nothing to look
    /// at.
    pub fn begin<F>(&mut self, generation: i64, look: impl FnOnce() -> F) -> bool
    where
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let holds = |look: &Look<T>| look.holds(generation, Instant::now());
        if self.under_way.is_running() || self.look.as_ref().is_some_and(holds) {
            return false;
        }
        self.under_way.begin(generation, look);
        true
    }

    /// Waits for the look that is under way. In the past, `until` only fetches what has come.
    pub async fn wait_until(&mut self, until: Instant) {
        let Some((generation, Some(found))) = self.under_way.wait_until(until).await else {
            return;
        };
        self.news.push(found.clone());
        let look = Look::new(found, generation, self.look.as_ref(), Instant::now());
        self.look = Some(look);
    }

    /// What looks found since this was asked before.
    pub fn take_news(&mut self) -> Vec<T> {
        std::mem::take(&mut self.news)
    }

    /// What the last look found, whatever the spec was then.
    pub fn found(&self) -> Option<&T> {
        self.look.as_ref().map(|look| &look.found)
    }

    /// What the last look found, if it was for this generation of the spec.
    pub fn found_for(&self, generation: i64) -> Option<&T> {
        let look = self.look.as_ref()?;
        (look.generation == generation).then_some(&look.found)
    }

    /// True while a look is under way.
    pub fn is_under_way(&self) -> bool {
        self.under_way.is_running()
    }

    /// When to come back for it: soon while a look is under way, at once when the spec has changed since.
    pub fn due(&self, generation: i64) -> Option<Instant> {
        let now = Instant::now();
        if self.is_under_way() {
            return Some(now + FETCH_AGAIN);
        }
        let look = self.look.as_ref()?;
        Some(match look.generation == generation {
            true => look.due,
            false => now,
        })
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

#[cfg(test)]
mod tests;
