//! Reading one shard by enhanced fan-out.
//!
//! Owns the subscription: when it may be asked for, when it is renewed, and how its end is to be taken. Must never
//! decide whose the shard is: an end that another subscriber may have caused is told, and the chain is asked.

use std::sync::Arc;
use std::time::Duration;

use stockstream_core::sequence::Position;
use tokio::time::{Instant, timeout};

use super::{PushedEvent, Reading, StreamClient, StreamError, Subscription};
use crate::ambient::jitter;

/// A subscription lasts 5 minutes (Kinesis API reference, SubscribeToShard): it is renewed before.
const RENEW_AFTER: Duration = Duration::from_secs(285);
const RENEW_JITTER: Duration = Duration::from_secs(10);

/// Events come every 5 seconds at least, with records or without.
const SILENCE: Duration = Duration::from_secs(30);

/// Pauses between two calls that failed. A second call within 5 seconds of one that succeeded is refused.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A pause after a call that somebody has to allow first.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// What a subscription brought.
#[derive(Debug)]
pub enum Pushed {
    /// As a read does. Without records it says nothing of the tip: a poll has to confirm it.
    Reading(Reading),
    /// Nothing, and the subscription says that nothing is waiting.
    Quiet,
    /// It ended before its time, or another one took over: is the shard still ours?
    Evicted,
    /// It ended; subscribe again.
    Over,
}

/// What became of a call.
#[derive(Debug)]
pub enum Subscribed {
    /// It was accepted.
    Yes,
    /// Not now; it is tried again.
    NotYet(StreamError),
    /// Somebody has to allow it first; it is tried again in minutes.
    Refused(StreamError),
}

struct Live {
    events: Box<dyn Subscription>,
    renew_at: Instant,
}

/// Subscribes to one shard.
pub struct Subscriber {
    client: Arc<dyn StreamClient>,
    shard: String,
    live: Option<Live>,
    not_before: Instant,
    pause: Duration,
}

impl Subscriber {
    /// A subscriber, unless the client's pipeline only polls.
    pub fn new(client: Arc<dyn StreamClient>, shard: &str) -> Option<Self> {
        client.has_fan_out().then(|| Subscriber {
            client,
            shard: shard.to_owned(),
            live: None,
            not_before: Instant::now(),
            pause: FIRST_PAUSE,
        })
    }

    /// True while there is a subscription that needn't be renewed yet.
    pub fn is_live(&mut self) -> bool {
        if let Some(live) = &self.live
            && Instant::now() >= live.renew_at
        {
            self.live = None;
        }
        self.live.is_some()
    }

    /// True when a call may be made.
    pub fn is_due(&self) -> bool {
        self.live.is_none() && Instant::now() >= self.not_before
    }

    /// Gives the subscription up.
    pub fn drop_subscription(&mut self) {
        self.live = None;
        self.back_off();
    }

    /// Subscribes from a position.
    pub async fn subscribe(&mut self, position: &Position) -> Subscribed {
        let asked = Instant::now();
        match self.client.subscribe(&self.shard, position).await {
            Ok(events) => {
                self.live = Some(Live {
                    events,
                    renew_at: asked + RENEW_AFTER - jitter(RENEW_JITTER),
                });
                Subscribed::Yes
            }
            Err(error) if is_refused(&error) => {
                self.not_before = Instant::now() + REFUSED_PAUSE + jitter(REFUSED_PAUSE / 4);
                Subscribed::Refused(error)
            }
            Err(error) => {
                self.back_off();
                Subscribed::NotYet(error)
            }
        }
    }

    /// The next event.
    ///
    /// # Errors
    /// The stream's fault; the subscription is over.
    pub async fn next(&mut self) -> Result<Pushed, StreamError> {
        let Some(live) = &mut self.live else {
            return Ok(Pushed::Over);
        };
        let Ok(event) = timeout(SILENCE, live.events.next()).await else {
            self.drop_subscription();
            return Ok(Pushed::Over);
        };
        match event {
            Ok(Some(event)) => {
                self.pause = FIRST_PAUSE;
                Ok(self.judge(event))
            }
            // Before its time: somebody else may have subscribed.
            Ok(None) | Err(StreamError::InUse { .. }) => {
                self.drop_subscription();
                Ok(Pushed::Evicted)
            }
            Err(error) => {
                self.drop_subscription();
                Err(error)
            }
        }
    }

    fn judge(&mut self, event: PushedEvent) -> Pushed {
        let PushedEvent {
            records,
            millis_behind_latest,
            children,
            is_last,
        } = event;
        if is_last {
            self.live = None;
        }
        if !records.is_empty() {
            // The end is told by a poll, so that no record can be lost with it.
            return Pushed::Reading(Reading::Records {
                records,
                millis_behind_latest,
            });
        }
        match (is_last, millis_behind_latest) {
            (true, _) if !children.is_empty() => Pushed::Reading(Reading::Closed { children }),
            (true, _) => Pushed::Over,
            (false, 0) => Pushed::Quiet,
            (false, _) => Pushed::Reading(Reading::Empty {
                millis_behind_latest,
            }),
        }
    }

    fn back_off(&mut self) {
        self.not_before = Instant::now() + self.pause + jitter(self.pause / 2);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether waiting alone won't help: a permission is missing, or the stream has as many consumers as it may.
fn is_refused(error: &StreamError) -> bool {
    match error {
        StreamError::AccessDenied { .. }
        | StreamError::Credentials { .. }
        | StreamError::Invalid { .. } => true,
        StreamError::Throttled { operation, .. } => *operation == super::REGISTER,
        _ => false,
    }
}
