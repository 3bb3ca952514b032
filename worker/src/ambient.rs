//! What the data path takes from its surroundings: randomness, the time since boot, tasks, and rules that count in hours.
//!
//! Owns the only way to each of them, so that a simulation can put others in their place: a seeded generator, tokio's
//! paused clock, a [`Gate`] for each worker that can pause or kill all of its tasks, and hours that pass in minutes.
//! Substitutes hold for the thread that made them; the product never makes any. Must never decide anything.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

thread_local! {
    static SUBSTITUTE: RefCell<Option<Substitute>> = const { RefCell::new(None) };
    static GATE: RefCell<Option<Gate>> = const { RefCell::new(None) };
}

/// What a simulation has put in place of this thread's surroundings.
struct Substitute {
    random: u64,
    origin: Instant,
    lapse: u32,
}

/// Holds a simulation's substitutes in place until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it puts the machine's own surroundings back"]
pub struct Simulated(());

/// Puts a generator seeded with `seed` and tokio's clock in place of this thread's surroundings. Rules that count in
/// hours (how old a version must be before it is collected, how long a create may live) count `lapse` times faster.
pub fn simulate(seed: u64, lapse: u32) -> Simulated {
    SUBSTITUTE.set(Some(Substitute {
        random: seed,
        origin: Instant::now(),
        lapse: lapse.max(1),
    }));
    Simulated(())
}

impl Drop for Simulated {
    fn drop(&mut self) {
        SUBSTITUTE.set(None);
    }
}

fn substitute<T>(ask: impl FnOnce(&mut Substitute) -> T) -> Option<T> {
    SUBSTITUTE.with_borrow_mut(|found| found.as_mut().map(ask))
}

/// 64 random bits.
///
/// # Errors
/// The machine gives none.
pub fn random_u64() -> Result<u64, getrandom::Error> {
    match substitute(|found| next(&mut found.random)) {
        Some(random) => Ok(random),
        None => getrandom::u64(),
    }
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A random part of `most`; half of it where there is no randomness.
pub fn jitter(most: Duration) -> Duration {
    let random = random_u64().map_or(u64::MAX / 2, |random| random);
    most.mul_f64(random as f64 / u64::MAX as f64)
}

/// The time since the machine was started, suspended time included.
pub fn boot_time() -> Duration {
    if let Some(passed) = substitute(|found| found.origin.elapsed()) {
        // Nothing begins at the very start of a machine.
        return Duration::from_secs(1_000) + passed;
    }
    let now = clock_gettime(ClockId::Boottime);
    // CLOCK_BOOTTIME starts at 0 and its nanoseconds are below 10^9, so neither conversion can fail.
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

/// A rule that counts in minutes or hours, as long as it is here: shorter in a simulation, in which all of them shrink alike.
pub fn lapsed(whole: Duration) -> Duration {
    whole / substitute(|found| found.lapse).unwrap_or(1)
}

/// Starts a task. In a simulation it belongs to the worker whose task started it.
pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    match current_gate() {
        None => tokio::spawn(work),
        Some(gate) => tokio::spawn(gate.run(work)),
    }
}

/// Starts a task as one of `tasks`; otherwise like [`spawn`].
pub fn spawn_in<F>(tasks: &mut JoinSet<F::Output>, work: F)
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    match current_gate() {
        None => tasks.spawn(work),
        Some(gate) => tasks.spawn(gate.run(work)),
    };
}

/// The gate of the task that is being polled on this thread; `None` in the product.
pub fn current_gate() -> Option<Gate> {
    GATE.with_borrow(Clone::clone)
}

/// Stands before all tasks of one simulated worker, and can stop them as signals stop a process.
///
/// Tasks that are woken together run in the order in which they were started: tokio's watch channel wakes those that
/// listen to it in an order that it draws.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<Behind>>);

#[derive(Debug, Default)]
struct Behind {
    stance: Stance,
    tasks: u64,
    /// How to wake each unfinished task.
    wakers: BTreeMap<u64, Waker>,
    /// Tasks that were woken.
    woken: BTreeSet<u64>,
    /// How to wake the task that wakes those.
    usher: Usher,
}

#[derive(Debug, Default)]
enum Usher {
    #[default]
    Missing,
    Starting,
    Waiting(Waker),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stance {
    #[default]
    Open,
    Paused,
    Killed,
}

impl Gate {
    /// Runs `work` behind this gate; tasks that it starts come behind it too.
    pub fn run<F: Future>(&self, work: F) -> Gated<F> {
        let mut behind = self.behind();
        behind.tasks += 1;
        Gated {
            gate: self.clone(),
            task: behind.tasks,
            waker: Waker::from(Arc::new(Bell {
                gate: self.clone(),
                task: behind.tasks,
            })),
            work: Some(Box::pin(work)),
        }
    }

    /// From now on no task does anything, while time and everything outside goes on: SIGSTOP.
    pub fn pause(&self) {
        self.take(Stance::Paused);
    }

    /// Lets paused tasks go on: SIGCONT.
    pub fn resume(&self) {
        self.take(Stance::Open);
    }

    /// Drops every task where it stands: SIGKILL. None of them ever completes.
    pub fn kill(&self) {
        self.take(Stance::Killed);
    }

    fn take(&self, stance: Stance) {
        let mut behind = self.behind();
        if behind.stance == Stance::Killed {
            return;
        }
        behind.stance = stance;
        let woken: Vec<Waker> = behind.wakers.values().cloned().collect();
        drop(behind);
        woken.iter().for_each(Waker::wake_by_ref);
    }

    fn behind(&self) -> MutexGuard<'_, Behind> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the tasks that were woken, in order, again and again.
    fn usher(&self, context: &Context<'_>) -> Poll<()> {
        let woken: Vec<Waker> = {
            let mut behind = self.behind();
            behind.usher = Usher::Waiting(context.waker().clone());
            let woken = std::mem::take(&mut behind.woken);
            let waker = |task| behind.wakers.get(&task).cloned();
            woken.into_iter().filter_map(waker).collect()
        };
        woken.iter().for_each(Waker::wake_by_ref);
        Poll::Pending
    }
}

/// Wakes one task, by way of the usher.
struct Bell {
    gate: Gate,
    task: u64,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let usher = {
            let mut behind = self.gate.behind();
            behind.woken.insert(self.task);
            match &behind.usher {
                Usher::Waiting(usher) => Some(usher.clone()),
                Usher::Missing | Usher::Starting => None,
            }
        };
        if let Some(usher) = usher {
            usher.wake();
        }
    }
}

/// Work behind a [`Gate`].
#[derive(Debug)]
pub struct Gated<F> {
    gate: Gate,
    task: u64,
    waker: Waker,
    /// `None` once it was killed.
    work: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let (stance, starts) = {
            let mut behind = this.gate.behind();
            behind.wakers.insert(this.task, context.waker().clone());
            let starts = matches!(behind.usher, Usher::Missing);
            if starts {
                behind.usher = Usher::Starting;
            }
            (behind.stance, starts)
        };
        if starts {
            let gate = this.gate.clone();
            tokio::spawn(std::future::poll_fn(move |context| gate.usher(context)));
        }
        let _inside = Inside::of(&this.gate);
        match (stance, &mut this.work) {
            (Stance::Open, Some(work)) => work.as_mut().poll(&mut Context::from_waker(&this.waker)),
            (Stance::Killed, work) => {
                *work = None;
                Poll::Pending
            }
            (Stance::Paused, _) | (_, None) => Poll::Pending,
        }
    }
}

impl<F> Drop for Gated<F> {
    fn drop(&mut self) {
        self.gate.behind().wakers.remove(&self.task);
    }
}

/// While it lives, this thread polls a task of the gate.
struct Inside(Option<Gate>);

impl Inside {
    fn of(gate: &Gate) -> Self {
        Inside(GATE.replace(Some(gate.clone())))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        GATE.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    async fn tick(ticks: Arc<AtomicU32>) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            ticks.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn seconds(seconds: u64) {
        tokio::time::sleep(Duration::from_millis(seconds * 1_000 + 1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_pauses_and_kills_tasks_and_those_that_they_start() {
        let (gate, ticks) = (Gate::default(), Arc::new(AtomicU32::new(0)));
        let inner = ticks.clone();
        tokio::spawn(gate.run(async move {
            spawn(tick(inner.clone()));
            tick(inner).await;
        }));
        seconds(2).await;
        assert_eq!(ticks.load(Ordering::SeqCst), 4);
        gate.pause();
        seconds(3).await;
        assert_eq!(ticks.load(Ordering::SeqCst), 4);
        gate.resume();
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        // The timer that ran out meanwhile fires once, as after SIGCONT.
        assert_eq!(ticks.load(Ordering::SeqCst), 6);
        gate.kill();
        gate.resume();
        seconds(3).await;
        assert_eq!(ticks.load(Ordering::SeqCst), 6);
        // Both tasks have let go of everything.
        assert_eq!(Arc::strong_count(&ticks), 1);
        assert!(current_gate().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_seed_decides_everything_random_and_the_boot_time_follows_the_paused_clock() {
        let draw = || (random_u64().unwrap(), jitter(Duration::from_secs(1)));
        let first = {
            let _simulated = simulate(7, 60);
            let before = boot_time();
            tokio::time::advance(Duration::from_secs(5)).await;
            assert_eq!(boot_time() - before, Duration::from_secs(5));
            assert_eq!(lapsed(Duration::from_secs(3_600)), Duration::from_secs(60));
            (draw(), draw())
        };
        let again = {
            let _simulated = simulate(7, 60);
            (draw(), draw())
        };
        assert_eq!(first, again);
        assert_ne!(first.0, first.1);
        assert_eq!(lapsed(Duration::from_secs(3_600)).as_secs(), 3_600);
        assert_ne!(draw().0, draw().0);
    }
}
