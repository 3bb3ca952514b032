//! A subscription as the body of an answer: messages in AWS's event stream encoding, one after the
//! other as the client takes them; carries out scripted faults on the way. Must never decide what an
//! event holds, when one is due or which fault strikes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{self, Header, HeaderValue};
use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde::Serialize;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Sleep;

use super::faulty::{self, EventFaults};
use super::http::{Closed, Ending, Service};
use crate::api::{ErrorKind, Kinesis, KinesisError, SubscribeToShardEvent, Subscription};
use crate::faults::Faults;

/// The type of a body of messages.
pub(super) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// The type of a message's payload.
const JSON: &str = "application/x-amz-json-1.1";

/// Bytes of a message beside its payload, about.
const OVERHEAD: usize = 160;

type Event = Poll<Option<Result<SubscribeToShardEvent, KinesisError>>>;

/// The bytes of a message, or the end of the connection in its stead.
type Message = Result<Bytes, Closed>;

/// The body: polled by the connection only when the client has taken what went before, so that a slow
/// one holds no more than that.
pub(super) struct EventStream {
    state: State,
    kinesis: Arc<Kinesis>,
    faults: Option<Faults>,
    timer: Pin<Box<Sleep>>,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
}

enum State {
    /// Nothing was sent yet.
    Beginning(Box<Subscription>),
    Waiting(Box<Subscription>),
    /// The subscription is polled on a thread that may wait for the disk.
    Reading(JoinHandle<(Box<Subscription>, Event)>),
    /// A scripted fault keeps a message back until the timer ends.
    Delayed(Box<Subscription>, Message),
    Ended,
}

impl EventStream {
    /// The body of `subscription`, which also ends when the server does.
    pub fn new(subscription: Subscription, service: Service) -> Self {
        let mut stopped = service.stopped;
        Self {
            state: State::Beginning(Box::new(subscription)),
            kinesis: service.kinesis,
            faults: service.faults,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            stopped: Box::pin(async move {
                // An error means that the server was dropped: end as well.
                let _ = stopped.wait_for(|stop| *stop).await;
            }),
        }
    }

    /// The next message; none at the end.
    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Beginning(subscription) => {
                    self.state = State::Waiting(subscription);
                    let nothing = serde_json::json!({});
                    return Poll::Ready(encode("event", "initial-response", &nothing));
                }
                _ if self.stopped.as_mut().poll(context).is_ready() => return Poll::Ready(None),
                State::Waiting(mut subscription) if self.kinesis.is_durable() => {
                    let waker = context.waker().clone();
                    self.state = State::Reading(tokio::task::spawn_blocking(move || {
                        let event = subscription.poll_next(&mut Context::from_waker(&waker));
                        (subscription, event)
                    }));
                }
                State::Waiting(mut subscription) => {
                    let event = subscription.poll_next(context);
                    if let Some(message) = self.told(subscription, event, context) {
                        return message;
                    }
                }
                State::Reading(mut reading) => match Pin::new(&mut reading).poll(context) {
                    Poll::Pending => {
                        self.state = State::Reading(reading);
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(failure(&error)),
                    Poll::Ready(Ok((subscription, event))) => {
                        if let Some(message) = self.told(subscription, event, context) {
                            return message;
                        }
                    }
                },
                State::Delayed(subscription, message) => {
                    if self.timer.as_mut().poll(context).is_pending() {
                        self.state = State::Delayed(subscription, message);
                        return Poll::Pending;
                    }
                    self.state = State::Waiting(subscription);
                    return Poll::Ready(Some(message));
                }
            }
        }
    }

    /// What follows from what the subscription told; none when there is to be another look.
    fn told(
        &mut self,
        subscription: Box<Subscription>,
        event: Event,
        context: &mut Context<'_>,
    ) -> Option<Poll<Option<Message>>> {
        match event {
            Poll::Ready(None) => Some(Poll::Ready(None)),
            Poll::Ready(Some(Ok(event))) => self.send(subscription, &event),
            Poll::Ready(Some(Err(error))) => Some(Poll::Ready(exception(&error))),
            Poll::Pending => {
                let due = tokio::time::Instant::now() + subscription.due_in();
                self.state = State::Waiting(subscription);
                self.timer.as_mut().reset(due);
                let pending = self.timer.as_mut().poll(context).is_pending();
                pending.then_some(Poll::Pending)
            }
        }
    }

    /// Sends an event, or what a scripted fault makes of it.
    fn send(
        &mut self,
        mut subscription: Box<Subscription>,
        event: &SubscribeToShardEvent,
    ) -> Option<Poll<Option<Message>>> {
        let faults = self.faults.as_ref();
        let EventFaults { delay, end } = faulty::event(faults, &subscription);
        if let Some(end) = end {
            return Some(Poll::Ready(match end {
                Ending::Closed => Some(Err(Closed)),
                Ending::Error(error) => exception(&error),
            }));
        }
        self.kinesis.pace(&mut subscription, event);
        let message = encode("event", "SubscribeToShardEvent", event);
        match message {
            Some(message) if !delay.is_zero() => {
                self.timer
                    .as_mut()
                    .reset(tokio::time::Instant::now() + delay);
                self.state = State::Delayed(subscription, message);
                None
            }
            message => {
                self.state = State::Waiting(subscription);
                Some(Poll::Ready(message))
            }
        }
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        let message = ready!(self.poll_message(context));
        Poll::Ready(message.map(|message| message.map(Frame::data)))
    }
}

/// A message of AWS's: its kind (`event`, `exception`), its type by that kind, and JSON.
fn encode(kind: &'static str, name: &'static str, payload: &impl Serialize) -> Option<Message> {
    let header = |name: &'static str, value: &'static str| {
        Header::new(name, HeaderValue::String(value.into()))
    };
    let named = match kind {
        "exception" => ":exception-type",
        _ => ":event-type",
    };
    let headers = vec![
        header(named, name),
        header(":content-type", JSON),
        header(":message-type", kind),
    ];
    let encoded = serde_json::to_vec(payload).map_err(|error| error.to_string());
    let encoded = encoded.and_then(|payload| {
        let mut bytes = Vec::with_capacity(payload.len() + OVERHEAD);
        write_message_to(
            &event_stream::Message::new_from_parts(headers, payload),
            &mut bytes,
        )
        .map_err(|error| error.to_string())?;
        Ok(Bytes::from(bytes))
    });
    encoded
        .inspect_err(|error| tracing::error!(%error, name, "an event couldn't be written"))
        .ok()
        .map(Ok)
}

/// The last message of a stream that fails.
fn exception(error: &KinesisError) -> Option<Message> {
    let payload = serde_json::json!({"message": error.message});
    encode("exception", error.kind.name(), &payload)
}

fn failure(error: &JoinError) -> Option<Message> {
    tracing::error!(%error, "reading for a subscription failed");
    exception(&KinesisError::new(
        ErrorKind::InternalFailure,
        format!("reading the shard failed: {error}"),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use aws_smithy_eventstream::frame::read_message_from;

    use super::*;

    fn headers(message: &event_stream::Message) -> Vec<String> {
        let text = |header: &Header| {
            let value = header.value().as_string().unwrap();
            format!("{} {}", header.name().as_str(), value.as_str())
        };
        message.headers().iter().map(text).collect()
    }

    #[test]
    fn an_event_and_an_exception_have_the_headers_that_clients_tell_them_by() {
        let event = encode("event", "initial-response", &serde_json::json!({}));
        let event = event.unwrap().unwrap();
        let event = read_message_from(event).unwrap();
        assert_eq!(
            headers(&event),
            [
                ":event-type initial-response",
                ":content-type application/x-amz-json-1.1",
                ":message-type event",
            ]
        );
        assert_eq!(event.payload().as_ref(), b"{}");
        let error = KinesisError::new(ErrorKind::ResourceInUse, "taken");
        let error = read_message_from(exception(&error).unwrap().unwrap()).unwrap();
        assert_eq!(
            headers(&error),
            [
                ":exception-type ResourceInUseException",
                ":content-type application/x-amz-json-1.1",
                ":message-type exception",
            ]
        );
        assert_eq!(error.payload().as_ref(), br#"{"message":"taken"}"#);
    }
}
