//! Commit, then publish: the protocol of one shard's chain, as a state machine without effects.
//!
//! Owns when a version is created, what it seals, when a batch may be published and when this owner must stop. The
//! caller asks [`ShardChain::poll`] for the next action, carries it out, and reports its outcome; at most one action is
//! under way at a time. Must never let anything be published whose version isn't known to be created and newest.
//!
//! ```text
//!          poll                created            listed: nothing above
//!   Idle ───────▶ Creating ───────────▶ Listing ─────────────────────────▶ Idle
//!    │ ▲              │ lost                │ something above
//!    ▼ │ published    ▼                     ▼
//!  Publishing      Fenced ◀─────────────────┘
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::checkpoint::{Checkpoint, Handover, batch_bytes};
use crate::codec::{self, CodecError};
use crate::generation::AggregateConflict;
use crate::lineage::Head;
use crate::mutants::{Mutant, broken};
use crate::plan::Plan;
use crate::row::{Batch, Partition};
use crate::sequence::Position;
use crate::state::{Applied, ParsedRecords, RecordMeta, ShardState};
use crate::time::{Micros, Monotonic};

/// Who writes the chain, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The pipeline's random id.
    pub state_id: String,
    /// The stream's life.
    pub incarnation: String,
    /// The shard.
    pub shard: String,
    /// This worker's member id.
    pub owner: String,
    /// This release.
    pub writer: String,
    /// When this worker began to take the shard, by its wall clock. For people.
    pub since: Micros,
    /// The format in which versions are written.
    pub format: u16,
}

/// The most partitions that wait for the catalog, a shard. Beyond it a partition isn't noted; it is again with its next
/// file. 100,000 tickers of one day fit.
pub const MAX_UNREGISTERED: usize = 100_000;

/// When a chain commits and seals. Times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// At least this long between commits that seal nothing.
    pub commit_interval: i64,
    /// At least this long between seals.
    pub publish_interval: i64,
    /// Unpublished bytes above this seal at once, and reading waits until they are out.
    pub max_outbox: usize,
    /// An idle shard commits how far it has read at least this often.
    pub read_through_interval: i64,
    /// True when published partitions must be registered in a catalog.
    pub keeps_unregistered: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            commit_interval: 10_000_000,
            publish_interval: 60_000_000,
            max_outbox: 4 * 1024 * 1024,
            read_through_interval: 4 * 3_600_000_000,
            keeps_unregistered: false,
        }
    }
}

/// What the caller shall do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create this version, if absent, with exactly these bytes. Report [`ShardChain::created`].
    Create {
        /// The version.
        version: u64,
        /// The bytes; the same for as long as the outcome is unknown.
        bytes: Bytes,
    },
    /// List the chain after this version. Report [`ShardChain::listed`].
    ListAfter {
        /// The version.
        version: u64,
    },
    /// Write the batch's files, each if absent. Report [`ShardChain::published`].
    Publish {
        /// The batch.
        batch: Arc<Batch>,
    },
}

/// How a create ended, once it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The object holds our bytes.
    Ours,
    /// The object holds other bytes.
    Others,
}

/// Why a chain can't be taken or go on. Fencing is an outcome, not an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The checkpoint is another pipeline's or shard's.
    #[error(
        "the checkpoint belongs to {found}, not to {expected}: the state path is shared or was copied. \
         Give each pipeline a state path of its own"
    )]
    Foreign {
        /// state id/incarnation/shard found.
        found: String,
        /// state id/incarnation/shard expected.
        expected: String,
    },
    /// The YAML contradicts the chain.
    #[error(transparent)]
    Aggregates(#[from] AggregateConflict),
    /// The state can't be written.
    #[error("version {version} of the chain can't be written: {source}")]
    Encode {
        /// The version.
        version: u64,
        /// Why.
        source: CodecError,
    },
}

/// A version whose bytes don't change any more.
#[derive(Debug, Clone)]
struct Frozen {
    version: u64,
    bytes: Bytes,
    position: Position,
    read_through: Option<Micros>,
    format: u16,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Creating(Frozen),
    Listing(Frozen),
    Publishing(Arc<Batch>),
    /// Looks whether there is another owner, without having created anything.
    Checking,
    Fenced {
        version: u64,
    },
}

/// One shard's chain in the hands of its owner.
#[derive(Debug)]
pub struct ShardChain {
    identity: Identity,
    pace: Pace,
    state: ShardState,
    /// Range, parents and children; everything else is written afresh.
    lineage: Checkpoint,
    epoch: u64,
    /// The newest version known to be ours and newest; 0 before the first.
    version: u64,
    outbox: VecDeque<Arc<Batch>>,
    outbox_bytes: usize,
    unregistered: BTreeSet<Partition>,
    phase: Phase,
    /// The version of the take is known to stand.
    taken: bool,
    /// Between the take and the first time that everything recovered is out.
    recovering: bool,
    /// Unpublished bytes were above the limit; reading waits until they are out.
    back_pressure: bool,
    finishing: bool,
    /// Finishing for a successor, who seals and publishes what is open.
    releasing: bool,
    /// Nothing new is committed for now.
    held: bool,
    /// Something said that there may be another owner.
    doubted: bool,
    last_commit: Monotonic,
    last_seal: Monotonic,
    committed_position: Position,
    committed_read_through: Option<Micros>,
    committed_format: u16,
}

impl ShardChain {
    /// Begins to take a shard: the next version, with the next epoch, seals what `newest` left unsealed. Nothing may be
    /// read before that version is known to stand ([`ShardChain::wants_records`]).
    ///
    /// `newest` is the chain's newest version, or for a shard without a chain a first state with version and epoch 0.
    ///
    /// # Errors
    /// [`ChainError`] when the checkpoint is another's, or the YAML contradicts it.
    pub fn take(
        identity: Identity,
        plan: Arc<Plan>,
        pace: Pace,
        newest: Checkpoint,
        now: Monotonic,
    ) -> Result<Self, ChainError> {
        let name = |state: &str, incarnation: &str, shard: &str| {
            format!("state {state}, incarnation {incarnation}, shard {shard}")
        };
        let found = name(&newest.state_id, &newest.incarnation, &newest.shard);
        let expected = name(&identity.state_id, &identity.incarnation, &identity.shard);
        if found != expected {
            return Err(ChainError::Foreign { found, expected });
        }
        let mut newest = newest;
        if broken(Mutant::ForgottenOutbox) {
            newest.outbox.clear();
        }
        if broken(Mutant::RegroupSealedBatch) {
            for batch in newest.outbox.drain(..) {
                newest.unsealed.rows.append(&mut batch.rows.clone());
                newest.unsealed.late.extend(batch.late.iter().cloned());
                newest.unsealed.dead.extend(batch.dead.iter().cloned());
            }
        }
        let state = ShardState::restore(plan, &newest, now)?;
        let mut lineage = newest;
        let outbox: VecDeque<Arc<Batch>> = lineage.outbox.drain(..).collect();
        let mut chain = ShardChain {
            epoch: lineage.epoch + u64::from(!broken(Mutant::TakeWithoutNewEpoch)),
            version: lineage.version,
            outbox_bytes: outbox.iter().map(|batch| batch_bytes(batch)).sum(),
            outbox,
            // Without a catalog nothing would ever take them off the list.
            unregistered: lineage
                .unregistered
                .drain(..)
                .filter(|_| pace.keeps_unregistered)
                .collect(),
            committed_position: lineage.position.clone(),
            committed_read_through: lineage.read_through,
            committed_format: identity.format,
            phase: Phase::Idle,
            taken: false,
            recovering: true,
            back_pressure: false,
            finishing: false,
            releasing: false,
            held: false,
            doubted: false,
            last_commit: now,
            last_seal: now,
            identity,
            pace,
            state,
            lineage: stripped(lineage),
        };
        chain.freeze(true, now)?;
        Ok(chain)
    }

    /// The next action, or `None` when there is nothing to do before the next deadline or input. Asked again while an
    /// action's outcome is unknown, it gives the same action.
    ///
    /// # Errors
    /// [`ChainError::Encode`] when the state can't be written at all.
    pub fn poll(&mut self, now: Monotonic) -> Result<Option<Action>, ChainError> {
        if let Phase::Idle = self.phase {
            self.leave_idle(now)?;
        }
        if broken(Mutant::NewBytesForAmbiguousPut)
            && matches!(self.phase, Phase::Creating(_))
            && self.state.is_dirty()
        {
            self.freeze(false, now)?;
        }
        Ok(match &self.phase {
            Phase::Creating(frozen) => Some(Action::Create {
                version: frozen.version,
                bytes: frozen.bytes.clone(),
            }),
            Phase::Listing(frozen) => Some(Action::ListAfter {
                version: frozen.version,
            }),
            Phase::Publishing(batch) => Some(Action::Publish {
                batch: batch.clone(),
            }),
            Phase::Checking => Some(Action::ListAfter {
                version: self.version,
            }),
            Phase::Idle | Phase::Fenced { .. } => None,
        })
    }

    fn leave_idle(&mut self, now: Monotonic) -> Result<(), ChainError> {
        if self.taken && std::mem::take(&mut self.doubted) {
            self.phase = Phase::Checking;
            return Ok(());
        }
        if let Some(batch) = self.outbox.front().filter(|_| !self.releasing) {
            self.phase = Phase::Publishing(batch.clone());
            return Ok(());
        }
        self.recovering &= self.releasing;
        match self.due(now) {
            Some(seal) => self.freeze(seal, now),
            None => Ok(()),
        }
    }

    /// Whether a commit is due, and whether it seals.
    fn due(&self, now: Monotonic) -> Option<bool> {
        if self.held {
            return None;
        }
        if self.releasing {
            // The version that says SHARD_END seals everything: nobody looks for unsealed rows behind it.
            let last = self.state.position().is_final();
            return self.state.is_dirty().then_some(last);
        }
        let unsealed = !self.state.unsealed().is_empty();
        let flush = self.flushes();
        if unsealed && (flush || now >= self.last_seal.plus(self.pace.publish_interval)) {
            return Some(true);
        }
        let waited = now >= self.last_commit.plus(self.pace.commit_interval);
        if self.state.is_dirty() && (flush || waited) {
            return Some(false);
        }
        self.read_through_is_due().then_some(false)
    }

    /// Whether everything goes out at once, whatever the intervals say.
    fn flushes(&self) -> bool {
        self.finishing || self.back_pressure || self.state.position().is_final()
    }

    fn read_through_is_due(&self) -> bool {
        match (self.state.read_through(), self.committed_read_through) {
            (Some(now), Some(before)) => now.0 - before.0 >= self.pace.read_through_interval,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Makes the next version's bytes. From here on they don't change.
    fn freeze(&mut self, seal: bool, now: Monotonic) -> Result<(), ChainError> {
        let version = self.version + 1;
        if seal {
            self.seal(version);
            self.last_seal = now;
        }
        let mut checkpoint = self.lineage.clone();
        self.state.write_to(&mut checkpoint);
        checkpoint.version = version;
        checkpoint.epoch = self.epoch;
        checkpoint.owner.clone_from(&self.identity.owner);
        checkpoint.writer.clone_from(&self.identity.writer);
        checkpoint.outbox = self.outbox.iter().cloned().collect();
        checkpoint.unregistered = self.unregistered.iter().cloned().collect();
        checkpoint.handover = (self.identity.format >= codec::HANDOVER_FORMAT).then(|| Handover {
            from: self.lineage.owner.clone(),
            at: self.identity.since,
        });
        let bytes = codec::encode_as(&checkpoint, self.identity.format)
            .map_err(|source| ChainError::Encode { version, source })?;
        self.state.mark_clean();
        self.last_commit = now;
        self.phase = Phase::Creating(Frozen {
            version,
            bytes: Bytes::from(bytes),
            position: checkpoint.position,
            read_through: checkpoint.read_through,
            format: self.identity.format,
        });
        Ok(())
    }

    /// Makes everything unsealed the batch of `version`.
    fn seal(&mut self, version: u64) {
        if self.state.unsealed().is_empty() {
            return;
        }
        let columns = self.state.columns();
        let pending = self.state.take_unsealed();
        let batch = Batch {
            version,
            columns,
            rows: pending.rows,
            late: pending.late,
            dead: pending.dead,
        };
        self.outbox_bytes += batch_bytes(&batch);
        self.outbox.push_back(Arc::new(batch));
    }

    /// Reports how the create ended.
    pub fn created(&mut self, created: Created) {
        self.phase = match (std::mem::replace(&mut self.phase, Phase::Idle), created) {
            (Phase::Creating(frozen), Created::Ours) => Phase::Listing(frozen),
            (Phase::Creating(frozen), Created::Others) => Phase::Fenced {
                version: frozen.version,
            },
            (other, _) => other,
        };
        if broken(Mutant::NoListAfterCreate) {
            self.listed(None);
        }
    }

    /// Reports the highest version found above the one just created, if any.
    pub fn listed(&mut self, above: Option<u64>) {
        self.phase = match (std::mem::replace(&mut self.phase, Phase::Idle), above) {
            (Phase::Listing(frozen), None) => {
                self.version = frozen.version;
                self.taken = true;
                self.committed_position = frozen.position;
                self.committed_read_through = frozen.read_through;
                self.committed_format = frozen.format;
                Phase::Idle
            }
            (Phase::Checking, None) => Phase::Idle,
            (Phase::Listing(_) | Phase::Checking, Some(version)) => Phase::Fenced { version },
            (other, _) => other,
        };
    }

    /// Reports that every file of the batch exists: how many files of rows, and their partitions.
    pub fn published(&mut self, files: u64, partitions: impl IntoIterator<Item = Partition>) {
        let Phase::Publishing(batch) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        self.outbox.pop_front();
        self.outbox_bytes -= batch_bytes(&batch);
        let counters = self.state.counters_mut();
        counters.rows_published += batch.rows.len() as u64;
        counters.files_published += files;
        if self.pace.keeps_unregistered {
            for partition in partitions {
                if self.unregistered.len() < MAX_UNREGISTERED {
                    self.unregistered.insert(partition);
                }
            }
        }
        if self.outbox.is_empty() && self.state.unsealed().is_empty() {
            self.back_pressure = false;
        }
    }

    /// Reports partitions that the catalog has.
    pub fn registered<'a>(&mut self, partitions: impl IntoIterator<Item = &'a Partition>) {
        for partition in partitions {
            if self.unregistered.remove(partition) {
                self.state.touch();
            }
        }
    }

    /// True when the next record may be applied. False before the take stands, under back-pressure, once the shard is
    /// at its end, and when this owner is fenced, finishing or held.
    pub fn wants_records(&self) -> bool {
        let fenced = matches!(self.phase, Phase::Fenced { .. });
        !(fenced
            || !self.taken
            || self.held
            || self.back_pressure
            || self.finishing
            || self.state.position().is_final())
    }

    /// Applies one record, with all that it holds. Only while [`ShardChain::wants_records`].
    pub fn apply(&mut self, meta: &RecordMeta, data: &Bytes, now: Monotonic) -> Applied {
        let applied = self.state.apply(meta, data, now);
        self.note_pressure();
        applied
    }

    /// As [`ShardChain::apply`], of records that were parsed ahead; see [`ShardState::apply_parsed`].
    pub fn apply_parsed(
        &mut self,
        records: &mut ParsedRecords,
        most: usize,
        now: Monotonic,
    ) -> Option<Applied> {
        let applied = self.state.apply_parsed(records, most, now);
        self.note_pressure();
        applied
    }

    /// Takes note of an empty reply at the tip; see [`ShardState::observe_empty_tip`].
    pub fn observe_empty_tip(&mut self, sent: Monotonic, wall: Micros) {
        if self.wants_records() {
            self.state.observe_empty_tip(sent, wall);
            self.note_pressure();
        }
    }

    /// Takes note of where a file source goes on.
    pub fn set_file_marks(&mut self, marks: &[u64]) {
        self.state.set_file_marks(marks);
    }

    /// The shard was closed and has been read to its end; its children inherit the open windows.
    pub fn end_of_shard(&mut self, children: Vec<String>) {
        self.lineage.children = children;
        self.state.end(Position::ShardEnd);
    }

    /// The stream of this incarnation no longer exists. Its windows stay open for the next one's shards.
    pub fn end_of_stream(&mut self) {
        self.state.end(Position::StreamGone);
    }

    /// The input is bounded and was read to its end: every window closes.
    pub fn end_of_input(&mut self) {
        self.state.close_all_windows();
        self.state.end(Position::ShardEnd);
    }

    /// Closes every window though the shard goes on: the caller knows that no more ticks come for now.
    pub fn close_all_windows(&mut self) {
        self.state.close_all_windows();
        self.note_pressure();
    }

    /// Stops reading; seals, commits and publishes what there is ([`ShardChain::is_done`]).
    pub fn finish(&mut self) {
        self.finishing = true;
    }

    /// Stops reading for a successor: commits what is applied, and leaves sealing and publishing to the successor's take
    /// ([`ShardChain::is_done`]). Nothing is sealed early, and the shard is silent for one commit and one take only.
    pub fn release(&mut self) {
        self.finishing = true;
        self.releasing = true;
    }

    /// While held, nothing is read and no new version begins: this worker's lease may have run out. What was committed
    /// before is still published.
    pub fn hold(&mut self, held: bool) {
        self.held = held && !broken(Mutant::CommitWithoutLease);
    }

    /// True while nothing new is read or committed.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// The format of the versions from the next one on. When it is older than before, somebody has joined who can't read
    /// the newest version: the next one is due without any other change.
    pub fn set_format(&mut self, format: u16) {
        if broken(Mutant::FormatNotLowered) {
            return;
        }
        if format < self.identity.format {
            self.state.touch();
        }
        self.identity.format = format;
    }

    /// What lineage needs to know of the newest version known to be ours.
    pub fn head(&self) -> Head {
        Head {
            position: self.committed_position.clone(),
            version: self.version,
            epoch: self.epoch,
            owner: self.identity.owner.clone(),
            format: self.committed_format,
            range: self.lineage.range,
            parents: self.lineage.parents.clone(),
            drained: broken(Mutant::ReleaseBeforeOutboxIsEmpty)
                || (self.is_settled() && self.unregistered.is_empty()),
        }
    }

    /// Counts records that were lost before they could be read.
    pub fn note_loss(&mut self, seconds: u64) {
        let counters = self.state.counters_mut();
        counters.losses += 1;
        counters.lost_seconds += seconds;
    }

    /// Something says that the shard may have another owner: the chain is listed before anything else is done.
    pub fn doubt(&mut self) {
        self.doubted = true;
    }

    /// True until the chain has been listed since [`ShardChain::doubt`].
    pub fn is_doubted(&self) -> bool {
        self.doubted || matches!(self.phase, Phase::Checking)
    }

    fn note_pressure(&mut self) {
        if self.unpublished_bytes() > self.pace.max_outbox {
            self.back_pressure = true;
        }
    }

    /// The version that fenced this owner, once one has.
    pub fn fenced_by(&self) -> Option<u64> {
        match self.phase {
            Phase::Fenced { version } => Some(version),
            _ => None,
        }
    }

    /// True when everything is committed and published, and nothing will change without further records.
    pub fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Idle)
            && self.version > 0
            && self.outbox.is_empty()
            && self.state.unsealed().is_empty()
            && !self.state.is_dirty()
    }

    /// True when the shard has been read to its end, and only the registering of partitions is left.
    pub fn waits_for_catalog(&self) -> bool {
        self.state.position().is_final() && self.is_settled() && !self.unregistered.is_empty()
    }

    /// True when the owner that was told to finish, or has read the shard to its end, has nothing left to do.
    pub fn is_done(&self) -> bool {
        if self.releasing {
            return matches!(self.phase, Phase::Idle) && self.taken && !self.state.is_dirty();
        }
        if broken(Mutant::ReleaseBeforeOutboxIsEmpty) && self.committed_position.is_final() {
            return self.taken;
        }
        let over = self.finishing || self.state.position().is_final();
        over && self.is_settled() && (self.finishing || self.unregistered.is_empty())
    }

    /// When [`ShardChain::poll`] may have something to do without further input.
    pub fn deadline(&self) -> Option<Monotonic> {
        if !matches!(self.phase, Phase::Idle) {
            return None;
        }
        if self.held && (self.outbox.is_empty() || self.releasing) {
            return None;
        }
        if self.releasing {
            return self.state.is_dirty().then_some(self.last_commit);
        }
        let unsettled = !self.state.unsealed().is_empty() || self.state.is_dirty();
        let now_due = self.doubted
            || (self.flushes() && unsettled)
            || !self.outbox.is_empty()
            || self.read_through_is_due();
        if now_due {
            return Some(self.last_commit); // it has passed
        }
        let seal = (!self.state.unsealed().is_empty())
            .then(|| self.last_seal.plus(self.pace.publish_interval));
        let commit = self
            .state
            .is_dirty()
            .then(|| self.last_commit.plus(self.pace.commit_interval));
        seal.into_iter().chain(commit).min()
    }

    /// The state, for reading.
    pub fn state(&self) -> &ShardState {
        &self.state
    }

    /// Fencing number of this owner.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The newest version known to be ours; 0 while the first isn't.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The position in the newest version known to be ours.
    pub fn committed_position(&self) -> &Position {
        &self.committed_position
    }

    /// Sealed batches that are not yet out.
    pub fn outbox_batches(&self) -> usize {
        self.outbox.len()
    }

    /// Rough size of everything that isn't out, in bytes.
    pub fn unpublished_bytes(&self) -> usize {
        self.state.unsealed_bytes() + self.outbox_bytes
    }

    /// True while reading waits for unpublished bytes to get out.
    pub fn is_under_back_pressure(&self) -> bool {
        self.back_pressure
    }

    /// True from the take until what it recovered is out.
    pub fn is_recovering(&self) -> bool {
        self.recovering
    }

    /// Partitions that the catalog doesn't have yet.
    pub fn unregistered(&self) -> impl Iterator<Item = &Partition> {
        self.unregistered.iter()
    }

    /// The owner before the take, if there was one.
    pub fn previous_owner(&self) -> Option<&str> {
        let owner = self.lineage.owner.as_str();
        (!owner.is_empty()).then_some(owner)
    }

    /// True once the version of the take is known to stand.
    pub fn is_taken(&self) -> bool {
        self.taken
    }

    /// The shards that follow, once the shard has ended.
    pub fn children(&self) -> &[String] {
        &self.lineage.children
    }

    /// Who owns it.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// Only what the chain itself carries from version to version.
fn stripped(mut checkpoint: Checkpoint) -> Checkpoint {
    checkpoint.windows = Vec::new();
    checkpoint.latest = Vec::new();
    checkpoint.unsealed = crate::checkpoint::Pending::default();
    checkpoint
}
