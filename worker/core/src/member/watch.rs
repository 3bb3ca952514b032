//! Who lives, seen by one worker from listings of `members/`.
//!
//! Owns the rule: dead = a beat that didn't change in so many listings in a row, each at least one heartbeat after the
//! one before, while one's own beats succeeded. A store that is away for everybody kills nobody. Hints (a refused
//! connection) make it faster and are refuted by the second change of the beat after them.

use std::collections::BTreeMap;

use super::document::MemberInfo;
use crate::time::Monotonic;

/// Members whose beat hasn't changed for this long are deleted, in microseconds.
pub const FORGET_AFTER: i64 = 600_000_000;

/// Changes of a beat that refute a hint. The first one may have been written before the death.
const REFUTED_BY: u32 = 2;

/// A member that was met first with a beat so many expiries older than another's is dead unless its beat changes.
const LONG_DEAD_EXPIRIES: i64 = 5;

/// When a member counts as dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTiming {
    /// Between two beats, in microseconds.
    pub heartbeat: i64,
    /// Listings in a row without a change.
    pub rounds: u32,
}

impl LeaseTiming {
    /// Of the spec's `lease.heartbeat` and `lease.expiry`, in microseconds.
    pub fn new(heartbeat: i64, expiry: i64) -> Self {
        let rounds = expiry / heartbeat.max(1);
        LeaseTiming {
            heartbeat,
            rounds: u32::try_from(rounds).unwrap_or(u32::MAX).max(2),
        }
    }

    /// After how long without a beat of its own a worker stops reading, in microseconds.
    pub fn expiry(&self) -> i64 {
        self.heartbeat.saturating_mul(i64::from(self.rounds))
    }
}

/// A member as a listing shows it. Tags are the store's ETags: they change with the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The member id.
    pub member: String,
    /// Of its `beat`, if there is one.
    pub beat: Option<String>,
    /// Of its `info`, if there is one.
    pub info: Option<String>,
    /// How much older its beat is than the newest object of the same listing, by the store's own stamps, in
    /// microseconds; 0 when it has no beat.
    pub age: i64,
}

/// What a listing calls for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Members whose `info` has changed, with its new tag: read it.
    pub fetch: Vec<(String, String)>,
    /// The listing lacks this worker's own `info`: write it again.
    pub own_info_is_missing: bool,
    /// Members that can be deleted.
    pub forget: Vec<String>,
}

/// A member as others may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Its newest known `info`; `None` before it was read.
    pub info: Option<MemberInfo>,
    /// False when it counts as dead.
    pub is_live: bool,
}

#[derive(Clone, Debug)]
struct Peer {
    beat: Option<String>,
    info_tag: Option<String>,
    info: Option<MemberInfo>,
    /// Listings in a row that count and showed no change.
    unchanged: u32,
    changed_at: Monotonic,
    /// A hint says that it is dead; changes of its beat since.
    hinted: Option<u32>,
    /// A hint was refuted: further ones are ignored until it can be reached elsewhere. Not until any change of its info:
    /// each take is one, and where its port refuses this worker alone, the two would take from each other for ever.
    ignores_hints: bool,
}

/// One worker's view of all members.
#[derive(Clone, Debug)]
pub struct Watch {
    me: MemberInfo,
    timing: LeaseTiming,
    peers: BTreeMap<String, Peer>,
    /// When the newest beat that succeeded was sent.
    beaten: Option<Monotonic>,
    /// No beat has failed, and one has succeeded, since the last listing that counts.
    beats_succeed: bool,
    counted_at: Option<Monotonic>,
    /// When the set of live members, or who of them is draining, last changed.
    changed_at: Monotonic,
}

impl Watch {
    /// The view of a worker that has seen nobody yet.
    pub fn new(me: MemberInfo, timing: LeaseTiming, now: Monotonic) -> Self {
        Watch {
            me,
            timing,
            peers: BTreeMap::new(),
            beaten: None,
            beats_succeed: false,
            counted_at: None,
            changed_at: now,
        }
    }

    /// This worker's beat, sent at `sent`, succeeded.
    pub fn beat_succeeded(&mut self, sent: Monotonic) {
        self.beaten = Some(sent);
        self.beats_succeed = true;
    }

    /// This worker's beat, or its listing, failed: no listing before the next one counts against anybody who lives. Who was
    /// found dead before stays so until its beat changes.
    pub fn beat_failed(&mut self) {
        self.beats_succeed = false;
        let rounds = self.timing.rounds;
        let living = self
            .peers
            .values_mut()
            .filter(|peer| peer.unchanged < rounds);
        for peer in living {
            peer.unchanged = 0;
        }
    }

    /// Until when this worker may read without another beat; `None` before the first.
    pub fn may_read_until(&self) -> Option<Monotonic> {
        self.beaten.map(|beaten| beaten.plus(self.timing.expiry()))
    }

    /// This worker's own info changed.
    pub fn set_own(&mut self, me: MemberInfo, now: Monotonic) {
        if me.draining != self.me.draining {
            self.changed_at = now;
        }
        self.me = me;
    }

    /// This worker's own info.
    pub fn own(&self) -> &MemberInfo {
        &self.me
    }

    /// A listing, asked for at `now`, succeeded.
    pub fn listed(&mut self, now: Monotonic, seen: Vec<Seen>) -> Found {
        let before = self.live();
        let spaced = self
            .counted_at
            .is_none_or(|at| now >= at.plus(self.timing.heartbeat));
        let counts = spaced && self.beats_succeed;
        if counts {
            self.counted_at = Some(now);
            self.beats_succeed = false;
        }
        let mut found = Found {
            own_info_is_missing: true,
            ..Found::default()
        };
        let mut known = std::mem::take(&mut self.peers);
        // After an outage for everybody only this worker's beat is new: then stamps tell nothing.
        let others_live = seen
            .iter()
            .any(|entry| entry.member != self.me.member && entry.age < self.timing.expiry());
        for entry in seen {
            if entry.member == self.me.member {
                found.own_info_is_missing = entry.info.is_none();
                continue;
            }
            let peer = match known.remove(&entry.member) {
                Some(mut peer) => {
                    peer.look(&entry, counts, now);
                    peer
                }
                None => Peer::met(&entry, self.timing, others_live, now),
            };
            if peer.info_tag != entry.info
                && let Some(tag) = entry.info
            {
                found.fetch.push((entry.member.clone(), tag));
            }
            if now.since(peer.changed_at) >= FORGET_AFTER && peer.unchanged >= self.timing.rounds {
                found.forget.push(entry.member.clone());
            }
            self.peers.insert(entry.member, peer);
        }
        self.note_change(&before, now);
        found
    }

    /// A peer's `info` was read; `tag` is the one that the listing named.
    pub fn info_read(&mut self, member: &str, tag: String, info: MemberInfo, now: Monotonic) {
        let before = self.live();
        if let Some(peer) = self.peers.get_mut(member) {
            // Who holds my own address can't live: I do.
            let squats = info.address.is_some()
                && info.address == self.me.address
                && info.machine == self.me.machine;
            let moved = peer.info.as_ref().is_none_or(|known| {
                (&known.address, &known.machine) != (&info.address, &info.machine)
            });
            peer.ignores_hints &= !moved;
            if squats && peer.info.is_none() {
                peer.hinted = Some(0);
            }
            peer.info_tag = Some(tag);
            peer.info = Some(info);
        }
        self.note_change(&before, now);
    }

    /// A peer refused connections. True when this is news.
    pub fn refused(&mut self, member: &str, now: Monotonic) -> bool {
        let before = self.live();
        let Some(peer) = self.peers.get_mut(member) else {
            return false;
        };
        if peer.hinted.is_some() || peer.ignores_hints {
            return false;
        }
        peer.hinted = Some(0);
        self.note_change(&before, now);
        true
    }

    /// Every member but this worker.
    pub fn peers(&self) -> BTreeMap<String, MemberView> {
        self.peers
            .iter()
            .map(|(member, peer)| {
                let view = MemberView {
                    info: peer.info.clone(),
                    is_live: self.is_live(peer),
                };
                (member.clone(), view)
            })
            .collect()
    }

    /// Since when the same members have lived.
    pub fn stable_since(&self) -> Monotonic {
        self.changed_at
    }

    fn is_live(&self, peer: &Peer) -> bool {
        peer.hinted.is_none() && peer.unchanged < self.timing.rounds
    }

    /// Live peers, and whether they drain.
    fn live(&self) -> BTreeMap<String, bool> {
        self.peers
            .iter()
            .filter(|(_, peer)| self.is_live(peer))
            .map(|(member, peer)| {
                let draining = peer.info.as_ref().is_some_and(|info| info.draining);
                (member.clone(), draining)
            })
            .collect()
    }

    fn note_change(&mut self, before: &BTreeMap<String, bool>, now: Monotonic) {
        if *before != self.live() {
            self.changed_at = now;
        }
    }
}

impl Peer {
    /// A peer that is seen for the first time. What the store's stamps say of the time before counts in part: at least
    /// two listings of one's own are needed for a death, but for that of those who have long been dead.
    fn met(entry: &Seen, timing: LeaseTiming, others_live: bool, now: Monotonic) -> Peer {
        let long_dead = others_live && entry.age >= LONG_DEAD_EXPIRIES * timing.expiry();
        let rounds = u32::try_from(entry.age / timing.heartbeat.max(1)).unwrap_or(u32::MAX);
        Peer {
            beat: entry.beat.clone(),
            info_tag: None,
            info: None,
            unchanged: match long_dead {
                true => timing.rounds,
                false => rounds.min(timing.rounds.saturating_sub(2)),
            },
            changed_at: now.plus(-entry.age),
            hinted: None,
            ignores_hints: false,
        }
    }

    fn look(&mut self, entry: &Seen, counts: bool, now: Monotonic) {
        if self.beat != entry.beat {
            self.beat.clone_from(&entry.beat);
            self.unchanged = 0;
            self.changed_at = now;
            if let Some(changes) = &mut self.hinted {
                *changes += 1;
                if *changes >= REFUTED_BY {
                    self.hinted = None;
                    self.ignores_hints = true;
                }
            }
        } else if counts {
            self.unchanged = self.unchanged.saturating_add(1);
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
