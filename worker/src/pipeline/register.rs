//! A shard's rounds of registering partitions in the catalog, beside its actions.
//!
//! Owns when the next round begins. Must never hold up the shard: a round that fails only waits for the next.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use stockstream_core::chain::ShardChain;
use stockstream_core::row::Partition;
use tokio::time::Instant;

use super::context::Context;
use crate::ambient::jitter;
use crate::catalog::{Registrar, Round, Standing};
use crate::observe::{ConditionStatus, Observer};

/// Pauses after a failed round.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The most partitions that are offered to one round.
const MOST_OFFERED: usize = 1_000;

/// A shard's rounds.
pub struct Registering {
    registrar: Option<Arc<Registrar>>,
    round: Option<Pin<Box<dyn Future<Output = Round> + Send>>>,
    not_before: Instant,
    pause: Duration,
}

impl Registering {
    /// No round yet; never one without a catalog.
    pub fn new(context: &Context) -> Self {
        Registering {
            registrar: context.catalog.clone(),
            round: None,
            not_before: Instant::now(),
            pause: FIRST_PAUSE,
        }
    }

    /// Begins a round when partitions wait.
    pub fn start(&mut self, chain: &ShardChain) {
        let Some(registrar) = &self.registrar else {
            return;
        };
        if self.round.is_some() || !chain.is_taken() || Instant::now() < self.not_before {
            return;
        }
        let waiting: Vec<Partition> = chain.unregistered().take(MOST_OFFERED).cloned().collect();
        if !waiting.is_empty() {
            let registrar = registrar.clone();
            self.round = Some(Box::pin(async move { registrar.register(waiting).await }));
        }
    }

    /// Waits for the round under way; for ever when there is none.
    pub async fn ended(&mut self) -> Round {
        match &mut self.round {
            Some(round) => round.await,
            None => std::future::pending().await,
        }
    }

    /// Takes note of a round that has ended.
    pub fn finish(&mut self, round: &Round, chain: &mut ShardChain, context: &Context) {
        self.round = None;
        chain.registered(&round.done);
        if let Some(standing) = &round.standing {
            tell(&context.observer, standing, context.clock.wall().0);
        }
        if round.failed {
            self.not_before = Instant::now() + self.pause + jitter(self.pause / 2);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        } else {
            self.pause = FIRST_PAUSE;
        }
    }

    /// When the next round may begin, if partitions wait and none is under way.
    pub fn next(&self, chain: &ShardChain) -> Option<Instant> {
        let waits = self.registrar.is_some() && self.round.is_none() && chain.is_taken();
        (waits && chain.unregistered().next().is_some()).then_some(self.not_before)
    }
}

/// Sets the condition `CatalogReady`.
pub fn tell(observer: &Observer, standing: &Standing, now: i64) {
    let status = match standing.ready {
        true => ConditionStatus::True,
        false => ConditionStatus::False,
    };
    if !standing.ready {
        tracing::warn!(
            event = "catalog_not_ready",
            reason = standing.reason,
            "{}",
            standing.message
        );
    }
    observer.set_condition(
        "CatalogReady",
        status,
        standing.reason,
        standing.message.as_str(),
        now,
    );
}
