//! Changes of a stream that take a while on AWS: creation, deletion, reshards, encryption, mode. With a
//! delay the stream says CREATING, UPDATING or DELETING until the change is made; without one it is
//! made at once.
//!
//! The new state is written down first and shown second, while appends wait: so a reader never sees a
//! closed shard without its children, and no record falls between them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::reshard::Draft;
use super::stream::Control;
use super::{
    Birth, Reshard, ReshardError, Shard, ShardClosed, ShardTip, Stream, StreamMeta, StreamMode,
};
use crate::store::StoreError;

/// What a stream is about to become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Usable at all.
    Create,
    /// Gone.
    Delete,
    /// Other shards.
    Reshard(Reshard),
    /// Encrypted with this key, or with none.
    Encrypt(Option<String>),
    /// Another mode.
    Mode(StreamMode),
}

/// A change under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// What will have happened.
    pub change: Change,
    /// When it was asked for: milliseconds since the Unix epoch.
    pub since_millis: u64,
    /// When it is made.
    pub due_millis: u64,
}

impl Transition {
    /// A clock that was set back must not hold a change up: one asked for in the future is due.
    fn is_due(&self, now_millis: u64) -> bool {
        now_millis >= self.due_millis || now_millis < self.since_millis
    }
}

/// What a stream says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Not usable yet.
    Creating,
    /// Usable.
    Active,
    /// Usable, and about to change.
    Updating,
    /// About to go.
    Deleting,
}

impl Status {
    /// AWS's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Updating => "UPDATING",
            Self::Deleting => "DELETING",
        }
    }

    pub(super) fn of(transition: Option<&Transition>) -> Self {
        match transition.map(|transition| &transition.change) {
            None => Self::Active,
            Some(Change::Create) => Self::Creating,
            Some(Change::Delete) => Self::Deleting,
            Some(_) => Self::Updating,
        }
    }
}

/// Why a change isn't made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Another change is under way.
    #[error("the stream is {}", .0.name())]
    NotActive(Status),
    /// The stream was deleted.
    #[error("the stream was deleted")]
    Deleted,
    /// The shards don't allow it.
    #[error(transparent)]
    Reshard(#[from] ReshardError),
    /// It couldn't be written down; nothing changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// When a change is made.
#[derive(Debug, Clone, Copy)]
pub struct When {
    /// Milliseconds since the Unix epoch.
    pub now_millis: u64,
    /// How long the change takes; 0: at once.
    pub delay_millis: u64,
}

impl Stream {
    /// Begins a change, and makes it if it takes no time. `prepare` may refuse, and edits the settings
    /// that change with the request rather than with its end. [`Change::Delete`] only marks the
    /// stream: see [`Stream::delete`].
    ///
    /// # Errors
    /// The stream isn't active, `prepare` refused, the change isn't possible, or it can't be saved;
    /// then nothing changed.
    pub fn begin<E: From<ChangeError>>(
        &self,
        change: Change,
        when: When,
        prepare: impl FnOnce(&mut StreamMeta) -> Result<(), E>,
        births: &mut dyn FnMut(u32) -> Birth,
        save: impl FnOnce(&StreamMeta) -> Result<(), StoreError>,
    ) -> Result<(), E> {
        let mut control = self.control_mut();
        if control.deleted {
            return Err(ChangeError::Deleted.into());
        }
        let status = Status::of(control.transition.as_ref());
        if status != Status::Active {
            return Err(ChangeError::NotActive(status).into());
        }
        let mut before = self.describe(&control);
        prepare(&mut before)?;
        // Drafted in any case: what isn't possible is refused at once.
        let after = draft(&control, &before, &change, when.now_millis, births)?;
        if when.delay_millis == 0 {
            save(&after).map_err(ChangeError::Store)?;
            self.adopt(&mut control, after);
            return Ok(());
        }
        before.transition = Some(Transition {
            change,
            since_millis: when.now_millis,
            due_millis: when.now_millis.saturating_add(when.delay_millis),
        });
        save(&before).map_err(ChangeError::Store)?;
        self.adopt(&mut control, before);
        Ok(())
    }

    /// Makes the change under way if it is time. True when the stream is to be deleted, which is the
    /// caller's to do.
    ///
    /// # Errors
    /// The change can't be saved; it stays under way.
    pub fn settle(
        &self,
        now_millis: u64,
        births: &mut dyn FnMut(u32) -> Birth,
        save: impl FnOnce(&StreamMeta) -> Result<(), StoreError>,
    ) -> Result<bool, ChangeError> {
        // Nothing is under way for almost every call: no lock then.
        if self.in_transition() {
            let mut control = self.control_mut();
            let due = control.transition.clone();
            let Some(due) = due.filter(|transition| transition.is_due(now_millis)) else {
                return Ok(false);
            };
            if due.change == Change::Delete {
                return Ok(!control.deleted);
            }
            let before = self.describe(&control);
            let after = draft(&control, &before, &due.change, now_millis, births)?;
            save(&after)?;
            self.adopt(&mut control, after);
        }
        Ok(false)
    }

    /// Shows what was written down.
    fn adopt(&self, control: &mut Control, meta: StreamMeta) {
        let open: BTreeSet<u32> = control.open.iter().map(|shard| shard.number()).collect();
        for described in meta.shards {
            match (control.shards.get(&described.number), described.closed) {
                (Some(shard), Some(end)) if open.contains(&described.number) => shard.close(end),
                (Some(_), _) => {}
                (None, _) => {
                    let number = described.number;
                    let shard = Shard::new(described, ShardTip::default(), self.store.clone());
                    control.shards.insert(number, Arc::new(shard));
                }
            }
        }
        control.settings = meta.settings;
        control.next_shard = meta.next_shard;
        self.in_transition
            .store(meta.transition.is_some(), Ordering::Release);
        control.transition = meta.transition;
        control.refresh();
    }
}

/// The stream after the change.
fn draft(
    control: &Control,
    before: &StreamMeta,
    change: &Change,
    now_millis: u64,
    births: &mut dyn FnMut(u32) -> Birth,
) -> Result<StreamMeta, ChangeError> {
    let mut after = StreamMeta {
        transition: None,
        ..before.clone()
    };
    match change {
        Change::Create | Change::Delete => {}
        Change::Encrypt(key) => after.settings.encryption_key.clone_from(key),
        Change::Mode(mode) => after.settings.mode = *mode,
        Change::Reshard(reshard) => {
            let closing = |number: u32| -> Option<ShardClosed> {
                Some(control.shards.get(&number)?.closing(now_millis))
            };
            Draft::new(before, &closing, births).apply(reshard, &mut after)?;
        }
    }
    Ok(after)
}
