//! The network between workers and what they talk to.
//!
//! Owns the fate of each request: how long it takes, whether it or its reply is lost, who can't reach whom. A request
//! that was sent goes its way whatever becomes of its sender.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::note;
use crate::random::Random;
use crate::trace::Trace;

/// Whom a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The object store.
    Store,
    /// The stream.
    Stream,
    /// Another worker.
    Worker,
}

/// How often what goes wrong, of 1,000 requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Takes up to a second and a half.
    pub slow: u64,
    /// Takes effect after its sender has given up.
    pub stray: u64,
    /// Never arrives.
    pub lost: u64,
    /// Takes effect, and the reply is lost.
    pub reply_lost: u64,
    /// Refused: slow down.
    pub throttled: u64,
    /// A create that answers "exists" though nothing is there (S3's 409 of two writers at once), or an iterator that expired.
    pub odd: u64,
}

/// Why a request has no proper answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The connection was refused: nothing happened.
    Refused,
    /// The connection broke: it may have happened.
    Reset,
    /// Slow down: nothing happened.
    Throttled,
    /// The peer's odd answer: nothing happened.
    Odd,
}

/// One worker's process on the network.
#[derive(Debug)]
pub struct Link {
    /// The process, as traces name it.
    pub process: String,
    cut: Mutex<Cut>,
}

/// Until when which peer can't be reached.
#[derive(Debug, Default)]
struct Cut {
    store: Option<Instant>,
    stream: Option<Instant>,
    worker: Option<Instant>,
}

impl Cut {
    fn of(&mut self, peer: Peer) -> &mut Option<Instant> {
        match peer {
            Peer::Store => &mut self.store,
            Peer::Stream => &mut self.stream,
            Peer::Worker => &mut self.worker,
        }
    }
}

impl Link {
    /// A link that is whole.
    pub fn new(process: String) -> Self {
        Link {
            process,
            cut: Mutex::default(),
        }
    }

    /// Cuts the link to a peer for a while.
    pub fn cut(&self, peer: Peer, time: Duration) {
        *lock(&self.cut).of(peer) = Some(Instant::now() + time);
    }

    fn is_cut(&self, peer: Peer) -> bool {
        lock(&self.cut)
            .of(peer)
            .is_some_and(|until| Instant::now() < until)
    }
}

/// The network.
#[derive(Debug)]
pub struct Network {
    trace: Trace,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Random,
    weather: Weather,
    /// Outages that hit everybody.
    out: Cut,
    requests: [u64; 2],
    numbers: u64,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug)]
struct Fate {
    number: u64,
    before: Duration,
    after: Duration,
    how: How,
    /// A broken connection is noticed; else the sender waits for ever.
    noticed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Served,
    Lost,
    ReplyLost,
    Throttled,
    Odd,
}

impl Network {
    /// A network with the weather of a run.
    pub fn new(seed: u64, trace: Trace, weather: Weather) -> Self {
        Network {
            trace,
            state: Mutex::new(State {
                random: Random::of(seed, "network"),
                weather,
                out: Cut::default(),
                requests: [0; 2],
                numbers: 0,
            }),
        }
    }

    /// Lets a peer be out of reach for everybody for a while.
    pub fn outage(&self, peer: Peer, time: Duration) {
        *lock(&self.state).out.of(peer) = Some(Instant::now() + time);
    }

    /// From now on everything goes well.
    pub fn heal(&self) {
        let mut state = lock(&self.state);
        state.weather = Weather::default();
        state.out = Cut::default();
    }

    /// Requests sent to the store and to the stream so far.
    pub fn requests(&self) -> [u64; 2] {
        lock(&self.state).requests
    }

    fn is_out(&self, link: &Link, peer: Peer) -> bool {
        let out = *lock(&self.state).out.of(peer);
        link.is_cut(peer) || out.is_some_and(|until| Instant::now() < until)
    }

    fn draw(&self, peer: Peer) -> Fate {
        let mut state = lock(&self.state);
        match peer {
            Peer::Store => state.requests[0] += 1,
            Peer::Stream => state.requests[1] += 1,
            Peer::Worker => {}
        }
        state.numbers += 1;
        let number = state.numbers;
        let weather = state.weather;
        let random = &mut state.random;
        let mut fate = Fate {
            number,
            before: random.millis(1, 15),
            after: random.millis(1, 15),
            how: How::Served,
            noticed: random.chance(500),
        };
        let mut dice = i64::try_from(random.bits() % 1_000).unwrap_or(0);
        let mut is = |share: u64| {
            dice -= i64::try_from(share).unwrap_or(0);
            dice < 0
        };
        if is(weather.slow) {
            fate.before = random.millis(50, 1_000);
            fate.after = random.millis(1, 500);
        } else if is(weather.stray) {
            fate.before = random.millis(1_500, 12_000);
        } else if is(weather.lost) {
            fate.how = How::Lost;
        } else if is(weather.reply_lost) {
            fate.how = How::ReplyLost;
        } else if is(weather.throttled) {
            fate.how = How::Throttled;
        } else if is(weather.odd) {
            fate.how = How::Odd;
        }
        fate
    }

    /// Sends a request, and waits for its answer, for ever when none comes. `serve` is what the peer does.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn request<T: Send + 'static>(
        self: &Arc<Self>,
        link: &Arc<Link>,
        peer: Peer,
        what: impl fmt::Display + Send + 'static,
        serve: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let fate = self.draw(peer);
        note!(self.trace, "{} #{} {what}", link.process, fate.number);
        let (answer, answered) = oneshot::channel();
        let (network, link) = (self.clone(), link.clone());
        // Not one of the worker's tasks: what was sent is on its way, whatever becomes of the sender.
        tokio::spawn(async move {
            if let Some(result) = network.carry(&link, peer, fate, serve).await {
                let _ = answer.send(result);
            }
        });
        match answered.await {
            Ok(result) => result,
            Err(_) => std::future::pending().await,
        }
    }

    /// `None` when the sender hears nothing.
    async fn carry<T>(
        &self,
        link: &Link,
        peer: Peer,
        fate: Fate,
        serve: impl FnOnce() -> T,
    ) -> Option<Result<T, NoAnswer>> {
        let (process, number) = (&link.process, fate.number);
        let cut_at_once = self.is_out(link, peer);
        sleep(fate.before).await;
        if self.is_out(link, peer) || fate.how == How::Lost {
            note!(self.trace, "{process} #{number} lost");
            let fault = match cut_at_once {
                true => NoAnswer::Refused,
                false => NoAnswer::Reset,
            };
            return fate.noticed.then_some(Err(fault));
        }
        let refused = match fate.how {
            How::Throttled => Some(NoAnswer::Throttled),
            How::Odd => Some(NoAnswer::Odd),
            _ => None,
        };
        if let Some(refused) = refused {
            note!(self.trace, "{process} #{number} {refused:?}");
            sleep(fate.after).await;
            return Some(Err(refused));
        }
        note!(self.trace, "{process} #{number} served");
        let served = serve();
        sleep(fate.after).await;
        if self.is_out(link, peer) || fate.how == How::ReplyLost {
            note!(self.trace, "{process} #{number} reply lost");
            return fate.noticed.then_some(Err(NoAnswer::Reset));
        }
        Some(Ok(served))
    }
}

/// Locks; a run has one thread, so nobody waits.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
