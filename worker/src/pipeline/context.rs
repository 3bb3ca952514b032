//! What every shard of a pipeline shares.

use std::sync::Arc;

use stockstream_core::chain::Identity;
use stockstream_core::layout::{BatchName, Incarnation, StateKeys};
use stockstream_core::member::Formats;

use super::progress::Progress;
use super::settings::Settings;
use super::small_files::FileTally;
use crate::catalog::Registrar;
use crate::clock::Clock;
use crate::observe::Observer;
use crate::source::kinesis::ReadBudget;
use crate::storage::Store;

/// What every shard of a pipeline shares.
#[derive(Clone)]
pub struct Context {
    /// The spec, translated.
    pub settings: Arc<Settings>,
    /// Checkpoints.
    pub state: Store,
    /// Rows.
    pub output: Store,
    /// Late ticks and dead letters.
    pub rejects: Store,
    /// Registers partitions, if there is a catalog.
    pub catalog: Option<Arc<Registrar>>,
    /// The pipeline's random id.
    pub state_id: String,
    /// The stream's life.
    pub incarnation: Incarnation,
    /// Keys of this incarnation's chains.
    pub keys: StateKeys,
    /// This worker's name.
    pub name: String,
    /// This worker's member id: its name and a random process id.
    pub member: String,
    /// How much may be read ahead of what is applied.
    pub read_budget: ReadBudget,
    /// When shards last got on.
    pub progress: Arc<Progress>,
    /// How many files a round of publishing makes.
    pub files: Arc<FileTally>,
    /// Clocks.
    pub clock: Clock,
    /// Who wants to know.
    pub observer: Observer,
    /// The checkpoint formats that this worker reads.
    pub reads: Formats,
}

impl Context {
    /// Who this worker is in a shard's chain, which it writes in this format.
    pub fn identity(&self, shard: &str, format: u16) -> Identity {
        Identity {
            state_id: self.state_id.clone(),
            incarnation: self.incarnation.to_string(),
            shard: shard.to_owned(),
            owner: self.member.clone(),
            writer: env!("CARGO_PKG_VERSION").to_owned(),
            since: self.clock.wall(),
            format,
        }
    }

    /// The name of a shard's batch.
    pub fn batch_name(&self, shard: &str, version: u64) -> BatchName {
        BatchName {
            state_id: self.state_id.clone(),
            incarnation: self.incarnation.clone(),
            shard: shard.to_owned(),
            version,
        }
    }
}
