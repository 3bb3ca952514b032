//! What members say of shards, and who is believed.
//!
//! Owns the claims in their infos and since when each chain stands as it stands. Must never ask or tell anybody.

use std::collections::BTreeMap;
use std::time::Duration;

use stockstream_core::lineage::Head;
use stockstream_core::member::MemberInfo;
use tokio::time::Instant;

use super::super::members::View;
use crate::ambient;

/// An owner that a chain names, but whose info doesn't name the shard, is believed for so many heartbeats after the
/// chain was first seen so: it may have taken the shard a moment ago.
pub(super) const BELIEVED_HEARTBEATS: u32 = 2;

/// A shard that nobody alive has held for so many expiries is taken by whoever sees that. By then every other worker has
/// seen the same members, and looked at the chain.
const NEGLECTED_EXPIRIES: u32 = 2;

/// What one member says of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    member: String,
    epoch: u64,
    ended: bool,
}

/// What members say of shards, and since when chains are known as they are.
#[derive(Debug)]
pub(super) struct Claims {
    by_shard: BTreeMap<String, Claim>,
    /// Claims up to this epoch no longer hold: their owner has said so.
    void: BTreeMap<String, u64>,
    changed: BTreeMap<String, Instant>,
    /// Shards with an epoch that wasn't known before, and since when it is: their owners may have joined after the last
    /// listing of the members.
    taken: BTreeMap<String, Instant>,
    /// When shards that nobody alive holds count as neglected.
    neglected_at: BTreeMap<String, Instant>,
    /// When the next belief in an owner ends.
    pub(super) believed_until: Option<Instant>,
}

/// What a member says of the shards that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// Nothing any more.
    Dead,
    /// It lives, and its info couldn't be read yet.
    Unheard,
    /// What is in its info.
    Heard,
}

/// What a new view of the members calls for.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Shards whose chains must be looked at again.
    pub(super) refresh: Vec<String>,
    /// True when the stream's shards are to be listed: one was read to its end, or another worker reads one that this one
    /// has never looked at, and whose siblings the listing may lack too.
    pub(super) list: bool,
    /// Shards whose owner has a newer epoch than the chain that is known: shard, epoch, owner.
    pub(super) taken: Vec<(String, u64, String)>,
}

impl Claims {
    pub(super) fn new(heads: &BTreeMap<String, Head>, now: Instant) -> Self {
        Claims {
            by_shard: BTreeMap::new(),
            void: BTreeMap::new(),
            changed: heads.keys().map(|shard| (shard.clone(), now)).collect(),
            taken: BTreeMap::new(),
            neglected_at: BTreeMap::new(),
            believed_until: None,
        }
    }

    pub(super) fn changed(&mut self, shard: &str, now: Instant) {
        self.changed.insert(shard.to_owned(), now);
    }

    /// Somebody has taken the shard, or begun it.
    pub(super) fn taken(&mut self, shard: &str, now: Instant) {
        self.taken.insert(shard.to_owned(), now);
    }

    /// Shards whose present epoch became known after a listing of the members was asked for.
    pub(super) fn taken_since(&mut self, listed: Instant) -> impl Iterator<Item = &str> {
        self.taken.retain(|_, at| *at > listed);
        self.taken.keys().map(String::as_str)
    }

    /// The owner of this epoch has given the shard up.
    pub(super) fn void(&mut self, shard: &str, epoch: u64) {
        let void = self.void.entry(shard.to_owned()).or_default();
        *void = epoch.max(*void);
    }

    /// The newest epoch whose owner has said that it gave the shard up; zero without one.
    pub(super) fn voided(&self, shard: &str) -> u64 {
        self.void.get(shard).copied().unwrap_or(0)
    }

    /// Whether nobody alive has held a shard for too long. Workers come to it one after another, so that not all take it.
    pub(super) fn is_neglected(&mut self, shard: &str, is_free: bool, expiry: Duration) -> bool {
        if !is_free {
            self.neglected_at.remove(shard);
            return false;
        }
        let now = Instant::now();
        let patience = || now + expiry * NEGLECTED_EXPIRIES + ambient::jitter(expiry);
        let at = self.neglected_at.entry(shard.to_owned());
        *at.or_insert_with(patience) <= now
    }

    /// When a belief in an owner ends without any news.
    pub(super) fn next_change(&self) -> Option<Instant> {
        self.believed_until
    }

    /// Takes over what members say now.
    pub(super) fn follow(&mut self, view: &View, heads: &BTreeMap<String, Head>) -> Changes {
        let mut now: BTreeMap<String, Claim> = BTreeMap::new();
        for info in infos(view) {
            for (shard, holding) in &info.shards {
                let newer = now
                    .get(shard)
                    .is_none_or(|claim| claim.epoch < holding.epoch);
                if newer {
                    let claim = Claim {
                        member: info.member.clone(),
                        epoch: holding.epoch,
                        ended: holding.ended,
                    };
                    now.insert(shard.clone(), claim);
                }
            }
        }
        let mut changes = Changes::default();
        for (shard, claim) in &now {
            let before = self.by_shard.get(shard);
            if claim.ended && !before.is_some_and(|before| before.ended) {
                changes.refresh.push(shard.clone());
                changes.list = true;
            }
            match heads.get(shard) {
                Some(head) if head.epoch >= claim.epoch => {}
                Some(_) => {
                    let taken = (shard.clone(), claim.epoch, claim.member.clone());
                    changes.taken.push(taken);
                }
                None => {
                    changes.refresh.push(shard.clone());
                    changes.list |= before.is_none();
                }
            }
        }
        let gone = self
            .by_shard
            .keys()
            .filter(|shard| !now.contains_key(*shard));
        changes.refresh.extend(gone.cloned());
        self.by_shard = now;
        changes
    }

    fn claim(&self, shard: &str) -> Option<&Claim> {
        let void = self.voided(shard);
        self.by_shard.get(shard).filter(|claim| claim.epoch > void)
    }

    /// True when a live member says that it reads the shard.
    pub(super) fn is_held(&self, shard: &str, view: &View) -> bool {
        let live = |member: &str| view.peers.get(member).is_some_and(|peer| peer.is_live);
        self.claim(shard)
            .is_some_and(|claim| !claim.ended && live(&claim.member))
    }

    /// The member that holds a shard or held it last; `None` when it was given up. `says` tells what is known of a member.
    pub(super) fn owner(
        &mut self,
        shard: &str,
        head: Option<&Head>,
        says: impl Fn(&str) -> Says,
        believed: Duration,
    ) -> Option<String> {
        let known = head.map_or(0, |head| head.epoch);
        if let Some(claim) = self.claim(shard).filter(|claim| claim.epoch >= known) {
            return Some(claim.member.clone());
        }
        let head = head.filter(|head| !head.owner.is_empty())?;
        let says = says(&head.owner);
        if says == Says::Dead {
            return Some(head.owner.clone());
        }
        if self.void.get(shard).is_some_and(|void| *void >= head.epoch) {
            return None;
        }
        if says == Says::Unheard {
            return Some(head.owner.clone());
        }
        let until = *self.changed.get(shard)? + believed;
        if until <= Instant::now() {
            return None;
        }
        self.believed_until = Some(self.believed_until.map_or(until, |at| at.min(until)));
        Some(head.owner.clone())
    }
}

/// The infos of members that read the same life of the stream, and can be believed.
pub(super) fn infos(view: &View) -> impl Iterator<Item = &MemberInfo> {
    view.peers
        .values()
        .filter_map(|peer| peer.info.as_ref())
        .filter(|info| info.incarnation == view.me.incarnation)
}

#[cfg(test)]
mod tests {
    use stockstream_core::hash::HashRange;
    use stockstream_core::sequence::Position;

    use super::*;

    const BELIEVED: Duration = Duration::from_secs(14);

    fn heads(version: u64) -> BTreeMap<String, Head> {
        let head = Head {
            position: Position::TrimHorizon,
            version,
            epoch: 3,
            owner: "w-1".to_owned(),
            format: 1,
            range: HashRange::ALL,
            parents: Vec::new(),
            drained: true,
        };
        BTreeMap::from([("a".to_owned(), head)])
    }

    /// Of shard a, whose chain names w-1, which claims nothing.
    fn owner(claims: &mut Claims, says: Says) -> Option<String> {
        claims.owner("a", heads(7).get("a"), |_| says, BELIEVED)
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_that_claims_nothing_is_believed_for_a_while_since_the_chain_changed() {
        let mut claims = Claims::new(&heads(7), Instant::now());
        assert!(owner(&mut claims, Says::Heard).is_some());
        let ends = claims.next_change();
        assert_eq!(ends, Some(Instant::now() + BELIEVED));
        tokio::time::advance(BELIEVED).await;
        assert!(owner(&mut claims, Says::Heard).is_none());
        claims.changed("a", Instant::now());
        assert!(owner(&mut claims, Says::Heard).is_some());
        claims.void("a", 3);
        assert!(owner(&mut claims, Says::Heard).is_none(), "it has said so");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_member_holds_that_was_not_heard_stays_its_own() {
        let mut claims = Claims::new(&heads(7), Instant::now());
        tokio::time::advance(100 * BELIEVED).await;
        assert!(owner(&mut claims, Says::Unheard).is_some());
        assert!(owner(&mut claims, Says::Heard).is_none());
        assert!(owner(&mut claims, Says::Dead).is_some(), "its name counts");
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_is_neglected_once_it_has_been_free_for_long_without_a_break() {
        let expiry = Duration::from_secs(6);
        let mut claims = Claims::new(&heads(7), Instant::now());
        assert!(!claims.is_neglected("a", true, expiry));
        tokio::time::advance(expiry * NEGLECTED_EXPIRIES).await;
        assert!(!claims.is_neglected("a", false, expiry));
        assert!(!claims.is_neglected("a", true, expiry));
        tokio::time::advance(expiry * (NEGLECTED_EXPIRIES + 1)).await;
        assert!(claims.is_neglected("a", true, expiry));
    }
}
