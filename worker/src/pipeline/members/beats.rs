//! This worker's beat, and what the listing of all members shows.
//!
//! Owns the loop "beat, list, read changed infos", once a heartbeat, and the view that everything else reads. Its
//! requests are given up after a heartbeat: a late beat is worth nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use stockstream_core::layout::{MEMBERS, member_beat, member_info, member_of};
use stockstream_core::member::{LeaseTiming, MemberInfo, MemberView, Seen, Watch};
use stockstream_core::time::Monotonic;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::peers::Peers;
use super::probes::probe_peers;
use super::task::Task;
use crate::ambient;
use crate::clock::Clock;
use crate::storage::{Policy, Store, StoreError};

/// Infos that are read at the same time.
const READ_AT_ONCE: usize = 16;
/// The shortest time for one request: a heartbeat may be shorter than a slow answer of S3.
const LEAST_TIME: Duration = Duration::from_secs(1);
/// Members that are forgotten in one round.
const FORGOTTEN_AT_ONCE: usize = 8;
/// A change of this worker's own info waits this long for further ones.
const GATHER: Duration = Duration::from_millis(20);

/// What is known of all members at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// This worker's own info.
    pub me: MemberInfo,
    /// The others.
    pub peers: BTreeMap<String, MemberView>,
    /// Since when the same members have lived.
    pub stable_since: Monotonic,
    /// Listings that succeeded so far.
    pub listings: u64,
    /// When the last of them was asked for.
    pub listed_at: Instant,
}

impl View {
    /// Live peers that can be reached from here: member, address, token.
    pub fn live_addresses(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.peers
            .iter()
            .filter(|(_, peer)| peer.is_live)
            .filter_map(|(member, peer)| {
                let info = peer.info.as_ref()?;
                let address = self.address(info)?;
                Some((member.as_str(), address, info.token.as_str()))
            })
    }

    /// A live peer's address and token.
    pub fn contact(&self, member: &str) -> Option<(String, String)> {
        self.live_addresses()
            .find(|(id, _, _)| *id == member)
            .map(|(_, address, token)| (address.to_owned(), token.to_owned()))
    }

    pub(super) fn reachable(&self, member: &str) -> Option<(String, String)> {
        self.contact(member)
            .map(|(address, _)| (member.to_owned(), address))
    }

    /// The next live peers after this worker in the ring of member ids.
    pub(super) fn next_peers(&self, count: usize) -> Vec<(String, String)> {
        let mut live = self.all_reachable();
        let next = live.partition_point(|(member, _)| *member < self.me.member);
        live.rotate_left(next);
        live.truncate(count);
        live
    }

    pub(super) fn all_reachable(&self) -> Vec<(String, String)> {
        self.live_addresses()
            .map(|(member, address, _)| (member.to_owned(), address.to_owned()))
            .collect()
    }

    /// A loopback address means nothing on another machine.
    fn address<'a>(&self, info: &'a MemberInfo) -> Option<&'a str> {
        let address = info.address.as_deref()?;
        let is_local = ["127.", "localhost:", "[::1]"]
            .iter()
            .any(|start| address.starts_with(start));
        let same_machine = info.machine.is_some() && info.machine == self.me.machine;
        (!is_local || same_machine).then_some(address)
    }
}

/// What the pipeline holds of its membership.
#[derive(Debug)]
pub struct MembershipHandle {
    /// The newest view.
    pub view: watch::Receiver<View>,
    /// Until when this worker may read.
    pub lease: watch::Receiver<Instant>,
    /// This worker's own info; written when it changes.
    pub own: watch::Sender<MemberInfo>,
    /// Members to look at out of turn.
    pub suspects: mpsc::Sender<String>,
    task: Task,
}

impl MembershipHandle {
    /// Stops the beats. The member's objects stay.
    pub fn stop(&self) {
        self.task.stop();
    }
}

/// The loop.
#[derive(Debug)]
pub struct Membership {
    store: Store,
    clock: Clock,
    heartbeat: Duration,
    watch: Watch,
    counter: u64,
    listings: u64,
    listed_at: Instant,
    view: watch::Sender<View>,
    lease: watch::Sender<Instant>,
    own: watch::Receiver<MemberInfo>,
    dead: mpsc::Receiver<String>,
    /// The own info isn't known to be stored as it is.
    info_due: bool,
}

impl Membership {
    /// Writes this worker's info and first beat, lists the others once, and goes on in the background.
    ///
    /// # Errors
    /// The store's fault in this first round: without it nothing would be known of the others.
    pub async fn join(
        store: Store,
        clock: Clock,
        timing: LeaseTiming,
        me: MemberInfo,
        peers: Arc<dyn Peers>,
    ) -> Result<MembershipHandle, StoreError> {
        let heartbeat = Duration::from_micros(timing.heartbeat.unsigned_abs());
        let now = clock.monotonic();
        let watch = Watch::new(me.clone(), timing, now);
        let first = View {
            me: me.clone(),
            peers: BTreeMap::new(),
            stable_since: now,
            listings: 0,
            listed_at: Instant::now(),
        };
        let (view, view_receiver) = watch::channel(first);
        let (lease, lease_receiver) = watch::channel(Instant::now());
        let (own, own_receiver) = watch::channel(me);
        let (suspects, suspected) = mpsc::channel(64);
        let (dead_sender, dead) = mpsc::channel(64);
        let mut membership = Membership {
            store: store.clone(),
            clock,
            heartbeat,
            watch,
            counter: 0,
            listings: 0,
            listed_at: Instant::now(),
            view,
            lease,
            own: own_receiver,
            dead,
            info_due: true,
        };
        // The first round has the store's own patience.
        membership.write_info().await?;
        membership.beat().await?;
        membership.list().await?;
        let time = heartbeat.max(LEAST_TIME);
        membership.store = store.with_policy(Policy {
            attempt: time,
            overall: time,
            attempts: 1,
            ..Policy::default()
        });
        let probes = probe_peers(peers, view_receiver.clone(), suspected, dead_sender);
        let task = Task::new(ambient::spawn(async move {
            tokio::select! {
                biased;
                () = membership.run() => {}
                () = probes => {}
            }
        }));
        Ok(MembershipHandle {
            view: view_receiver,
            lease: lease_receiver,
            own,
            suspects,
            task,
        })
    }

    async fn run(&mut self) {
        let mut next = Instant::now() + self.heartbeat;
        loop {
            tokio::select! {
                biased;
                // First: however often this worker's info changes, nothing holds up the beats for longer than one request.
                () = sleep_until(next) => {
                    self.round().await;
                    // From the end of the round: listings must lie a heartbeat apart.
                    next = Instant::now() + self.heartbeat;
                }
                Some(member) = self.dead.recv() => {
                    let now = self.clock.monotonic();
                    if self.watch.refused(&member, now) {
                        tracing::info!(event = "member_refuses", member, "its port refuses connections: it counts as dead");
                        self.show();
                    }
                }
                changed = self.own.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(GATHER).await;
                    self.info_due = true;
                    self.note("info", Self::write_info).await;
                }
            }
        }
    }

    async fn round(&mut self) {
        let beaten = self.note("beat", Self::beat).await;
        if self.info_due {
            self.note("info", Self::write_info).await;
        }
        if beaten {
            self.note("listing", Self::list).await;
        }
    }

    /// Runs one step; false when it failed.
    async fn note(
        &mut self,
        what: &str,
        step: impl AsyncFnOnce(&mut Self) -> Result<(), StoreError>,
    ) -> bool {
        let Err(error) = step(self).await else {
            return true;
        };
        self.watch.beat_failed();
        tracing::warn!(event = "membership_failed", what, cause = %error, "trying again at the next heartbeat");
        false
    }

    async fn write_info(&mut self) -> Result<(), StoreError> {
        let info = self.own.borrow_and_update().clone();
        let key = member_info(&info.member);
        // These types always have a JSON form.
        let bytes = info.encode().unwrap_or_default();
        self.store.put_overwrite(&key, Bytes::from(bytes)).await?;
        self.watch.set_own(info, self.clock.monotonic());
        self.info_due = false;
        self.show();
        Ok(())
    }

    async fn beat(&mut self) -> Result<(), StoreError> {
        self.counter += 1;
        let key = member_beat(&self.watch.own().member);
        let (sent, sent_at) = (self.clock.monotonic(), Instant::now());
        let bytes = Bytes::from(self.counter.to_string());
        self.store.put_overwrite(&key, bytes).await?;
        self.watch.beat_succeeded(sent);
        if let Some(until) = self.watch.may_read_until() {
            let left = until.since(sent).unsigned_abs();
            self.lease
                .send_replace(sent_at + Duration::from_micros(left));
        }
        Ok(())
    }

    async fn list(&mut self) -> Result<(), StoreError> {
        let (now, asked) = (self.clock.monotonic(), Instant::now());
        let listed = self.store.list(MEMBERS).await?;
        let newest = listed.iter().map(|object| object.last_modified.0).max();
        let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
        for object in listed {
            let Some((member, name)) = member_of(&object.key) else {
                continue;
            };
            let tag = object
                .etag
                .unwrap_or_else(|| format!("{}-{}", object.last_modified.0, object.size));
            let entry = seen.entry(member.to_owned()).or_insert_with(|| Seen {
                member: member.to_owned(),
                beat: None,
                info: None,
                age: 0,
            });
            match name {
                "beat" => {
                    entry.beat = Some(tag);
                    entry.age = newest.map_or(0, |newest| newest - object.last_modified.0);
                }
                "info" => entry.info = Some(tag),
                _ => {}
            }
        }
        let found = self.watch.listed(now, seen.into_values().collect());
        self.info_due |= found.own_info_is_missing;
        self.read_infos(found.fetch).await;
        self.listings += 1;
        self.listed_at = asked;
        self.show();
        let forgotten = found.forget.iter().take(FORGOTTEN_AT_ONCE);
        futures::future::join_all(forgotten.map(|member| self.forget(member))).await;
        Ok(())
    }

    /// Reads infos for as long as one request may take; what isn't read by then is read after the next listing. Hundreds
    /// of them, or a slow store, don't hold up the beats.
    async fn read_infos(&mut self, fetch: Vec<(String, String)>) {
        let by = Instant::now() + self.heartbeat.max(LEAST_TIME);
        let store = self.store.clone();
        let mut reads = futures::stream::iter(fetch)
            .map(|(member, tag)| {
                let (store, key) = (store.clone(), member_info(&member));
                async move { (member, tag, store.get(&key).await) }
            })
            .buffer_unordered(READ_AT_ONCE);
        while let Ok(Some((member, tag, read))) = timeout_at(by, reads.next()).await {
            let info = match read {
                Ok(Some(bytes)) => MemberInfo::decode(&bytes).map_err(|error| error.to_string()),
                Ok(None) => continue,
                Err(error) => Err(error.to_string()),
            };
            match info {
                Ok(info) => {
                    let now = self.clock.monotonic();
                    self.watch.info_read(&member, tag, info, now);
                }
                Err(cause) => tracing::warn!(
                    event = "member_unread",
                    member,
                    cause,
                    "trying again at the next heartbeat"
                ),
            }
        }
    }

    async fn forget(&self, member: &str) {
        for key in [member_beat(member), member_info(member)] {
            if let Err(error) = self.store.delete(&key).await {
                tracing::debug!(event = "member_not_forgotten", member, cause = %error, "trying again later");
            }
        }
    }

    fn show(&self) {
        self.view.send_replace(View {
            me: self.watch.own().clone(),
            peers: self.watch.peers(),
            stable_since: self.watch.stable_since(),
            listings: self.listings,
            listed_at: self.listed_at,
        });
    }
}

/// Removes a member that ends in good order, so that nobody waits for its death.
///
/// # Errors
/// The store's fault: then the others see it die.
pub async fn leave(store: &Store, member: &str) -> Result<(), StoreError> {
    store.delete(&member_beat(member)).await?;
    store.delete(&member_info(member)).await
}

#[cfg(test)]
#[path = "beats_tests.rs"]
mod tests;
